/**
 * Streams as files: for each stream that somebody asks for, a pcap with exactly its packets, in a folder that never holds
 * more than its limit. The oldest files go first.
 */
import { closeSync, openSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../core/fault.ts'
import type { Packet } from '../core/packet.ts'
import { PcapWriter } from '../core/pcap.ts'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import { parseStreamName } from '../core/stream-name.ts'
import { makeFolder } from '../integrations/make-folder.ts'
import { type Recording, readStream } from './recording.ts'

/** A script may ask for every stream there is. Bytes, and files. */
const MAX_BYTES = 1 << 30
const MAX_FILES = 10_000
/** So many new files are made before somebody looks whether there are too many. */
const LOOK_EVERY = 50
/** Written at once. Bytes. */
const CHUNK = 1 << 20
/** A stream that goes on is not read again for every item. ms. */
const FRESH_MS = 1000

export class StreamFiles {
  private readonly directory: string
  private readonly recording: Recording
  private readonly kind: 'growing' | 'whole'
  private readonly made = new Map<string, number>()
  private since = 0
  private queue: Promise<unknown> = Promise.resolve()

  constructor(directory: string, recording: Recording, kind: 'growing' | 'whole') {
    this.directory = directory
    this.recording = recording
    this.kind = kind
  }

  /** Throws a Fault where nothing is called so, or is here no more. */
  path(stream: string): Promise<string> {
    // Older scripts append the ending once more.
    const name = stream.replace(/(\.pcap)+$/, '.pcap')
    const made = this.queue.then(() => this.make(name))
    this.queue = made.catch(() => {})
    return made
  }

  private async make(stream: string): Promise<string> {
    if (parseStreamName(stream) === null)
      throw new Fault('STREAM_NAME', `expected a stream's name, as \`data.stream\` is, found "${stream.slice(0, 60)}"`)
    const path = join(this.directory, stream)
    const last = this.made.get(stream)
    if (last !== undefined && (this.kind === 'whole' || performance.now() - last < FRESH_MS) && exists(path))
      return path
    makeFolder(this.directory)
    // Whoever has the path never sees half a file.
    const draft = `${path}.draft`
    try {
      await this.write(stream, draft)
      renameSync(draft, path)
    } finally {
      rmSync(draft, { force: true })
    }
    this.made.set(stream, performance.now())
    if (this.since++ % LOOK_EVERY === 0) this.makeRoom()
    return path
  }

  private async write(stream: string, path: string): Promise<void> {
    for (const Format of [PcapFile, PcapngFile]) {
      const target = new Format(path)
      try {
        await readStream(this.recording, stream, packet => target.add(packet))
      } finally {
        target.close()
      }
      if (target.bytes > MAX_BYTES) throw new Fault('STREAM_TOO_LARGE', `${stream} has more than ${MAX_BYTES >> 20} MB`)
      if (target.packets === 0) throw new Fault('STREAM_GONE', `no packets of ${stream} are here, or no longer`)
      if (target.suits) return
    }
  }

  private makeRoom(): void {
    const files = readdirSync(this.directory)
      .filter(name => parseStreamName(name) !== null)
      .map(name => ({ path: join(this.directory, name), stat: statSync(join(this.directory, name)) }))
      .sort((a, b) => b.stat.mtimeMs - a.stat.mtimeMs)
    let bytes = 0
    for (const [i, { path, stat }] of files.entries()) {
      bytes += stat.size
      if (i > 0 && (i >= MAX_FILES || bytes > MAX_BYTES)) rmSync(path, { force: true })
    }
    // Of those that are there no more nobody need know how old they are.
    for (const [stream] of this.made) {
      if (this.made.size <= MAX_FILES) break
      this.made.delete(stream)
    }
  }
}

class PacketFile {
  packets = 0
  bytes = 0
  /** Everything could be written in this format. */
  suits = true
  private readonly file: number
  private chunks: Uint8Array[] = []
  private waiting = 0

  constructor(path: string) {
    this.file = openSync(path, 'w', 0o600)
  }

  put(chunk: Uint8Array): void {
    this.bytes += chunk.length
    if (this.bytes > MAX_BYTES) return
    this.chunks.push(chunk)
    this.waiting += chunk.length
    if (this.waiting >= CHUNK) this.flush()
  }

  close(): void {
    this.flush()
    closeSync(this.file)
  }

  private flush(): void {
    const all = Buffer.concat(this.chunks)
    this.chunks = []
    this.waiting = 0
    for (let done = 0; done < all.length; ) done += writeSync(this.file, all, done)
  }
}

/** Has one link type, that of the first packet. */
class PcapFile extends PacketFile {
  private linkType = 0
  private writer: PcapWriter | null = null

  add(packet: Packet): void {
    this.packets++
    if (this.writer === null) {
      this.linkType = packet.linkType
      this.writer = new PcapWriter(packet.linkType)
      this.put(this.writer.header())
    }
    if (packet.linkType === this.linkType) this.put(this.writer.record(packet))
    else this.suits = false
  }
}

/** For packets of interfaces of several kinds, one interface each. */
class PcapngFile extends PacketFile {
  private readonly kinds: number[] = []
  private readonly writer = new PcapngWriter()

  add(packet: Packet): void {
    if (this.packets++ === 0) this.put(this.writer.section(null))
    let interfaceId = this.kinds.indexOf(packet.linkType)
    if (interfaceId < 0) {
      interfaceId = this.kinds.push(packet.linkType) - 1
      this.put(this.writer.interface('', packet.linkType))
    }
    this.put(this.writer.packet({ ...packet, interfaceId }))
  }
}

function exists(path: string): boolean {
  try {
    const now = new Date()
    utimesSync(path, now, now)
    return true
  } catch {
    return false
  }
}
