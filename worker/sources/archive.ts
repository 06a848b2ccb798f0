/**
 * Captures in a tar archive, plain or compressed: snapshots of our own, and folders of captures as others pack them. Their
 * packets are merged in order of time; what is no capture by its name is passed over.
 */
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { extract } from 'tar-stream'
import { type CaptureNotes, emptyNotes, noteDamage } from '../../core/capture-notes.ts'
import { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import type { Compression, Input, OpenedCapture } from './file.ts'
import { Runs } from './runs.ts'

const CAPTURE_NAME = /\.(pcap|pcapng|cap|dmp|ntar)(\.(gz|zst))?$/i
/** macOS packs beside each file another one that only looks like it. */
const SHADOW = /(^|\/)\._[^/]*$/
const STEP = 64 * 1024
/** An archive may hold captures without end, each with names and comments of its own. Entries of each kind. */
const MAX_KEPT = 200_000
/** As of one capture. */
const MAX_INTERFACES = 65_536

/** As CaptureFile. The first `load` that has packets comes when the whole archive was read. */
export class CaptureArchive implements OpenedCapture {
  readonly size: number | null
  readonly format = 'pcapng'
  readonly notes: CaptureNotes = emptyNotes()
  /** Captures that were read. */
  captures = 0
  private readonly input: Input
  private readonly open: (stream: Readable) => Promise<OpenedCapture>
  private readonly runs = new Runs()
  private reading: AsyncGenerator<void> | null = null
  private merged = false
  private closed = false

  /** `open` reads one capture of it. */
  constructor(input: Input, size: number | null, open: (stream: Readable) => Promise<OpenedCapture>) {
    this.input = input
    this.size = size
    this.open = open
  }

  async load(): Promise<boolean> {
    if (this.closed || this.merged) return false
    this.reading ??= this.read()
    const { done } = await this.reading.next()
    if (this.closed) return false
    if (!done) return true
    if (this.captures === 0) throw this.empty()
    this.merged = true
    return true
  }

  next(): Packet | null {
    if (!this.merged || this.closed) return null
    const packet = this.runs.next()
    if (packet !== null) this.notes.packets++
    return packet
  }

  get position(): number {
    return this.input.position
  }

  get compression(): Compression['name'] | null {
    return this.input.compression?.name ?? null
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.input.close()
    this.runs.close()
  }

  private empty(): Fault {
    const found = this.notes.damage.at(0)?.found ?? 'none'
    return new Fault('ARCHIVE_EMPTY', `expected captures (.pcap, .pcapng) in the archive, found ${found}`)
  }

  /** Yields between pieces, so that the caller may close it. */
  private async *read(): AsyncGenerator<void> {
    const archive = extract()
    const fed = this.feed(archive)
    try {
      for await (const entry of archive) {
        const { name, type } = entry.header
        if (type === 'file' && CAPTURE_NAME.test(name) && !SHADOW.test(name)) yield* this.readCapture(name, entry)
        else entry.resume()
        if (this.closed) return
      }
      await fed
    } catch (error) {
      if (error instanceof Fault) throw error
      noteDamage(this.notes, 'archive', this.input.position, 'a whole tar archive', (error as Error).message)
    }
    if (this.input.failure !== null)
      noteDamage(
        this.notes,
        'compression',
        this.input.position,
        `a whole ${this.compression} stream`,
        this.input.failure,
      )
  }

  private async feed(archive: ReturnType<typeof extract>): Promise<void> {
    for (;;) {
      const chunk = new Uint8Array(STEP)
      const count = await this.input.read(chunk)
      if (count === 0 || this.closed) break
      if (!archive.write(chunk.subarray(0, count))) await once(archive, 'drain')
    }
    archive.end()
  }

  private async *readCapture(name: string, entry: AsyncIterable<Uint8Array>): AsyncGenerator<void> {
    const { notes } = this
    const file = await this.open(Readable.from(whatThereIs(entry), { objectMode: false }))
    const first = notes.interfaces.length
    try {
      while (await file.load()) {
        for (let packet = file.next(); packet !== null; packet = file.next())
          this.runs.add(packet, first + packet.interfaceId)
        yield
        if (this.closed) return
      }
      this.captures++
    } catch (error) {
      if (!(error instanceof Fault) || error.code.startsWith('ARCHIVE')) throw error
      // One that is none does not spoil the others.
      noteDamage(notes, 'archive', this.input.position, `a capture in ${name}`, error.message)
    } finally {
      file.close()
    }
    const { interfaces, sections, bytes, parsed, damage, skippedBlocks, names, comments, secrets, dropped } = file.notes
    for (const one of interfaces) notes.interfaces.push(one)
    notes.sections += sections
    notes.bytes += bytes
    notes.parsed += parsed
    for (const one of damage) {
      const entry = noteDamage(notes, one.cause, one.offset, one.expected, `${one.found} (in ${name})`)
      entry.bytes += one.bytes
      entry.count += one.count - 1
    }
    for (const [kind, { count, bytes }] of Object.entries(skippedBlocks)) {
      notes.skippedBlocks[kind] ??= { count: 0, bytes: 0 }
      notes.skippedBlocks[kind].count += count
      notes.skippedBlocks[kind].bytes += bytes
    }
    keep(notes, 'names', names)
    // Packets are numbered anew.
    keep(
      notes,
      'comments',
      comments.map(({ text }) => ({ packet: null, text })),
    )
    keep(notes, 'secrets', secrets)
    for (const kind of ['names', 'comments', 'secrets'] as const) notes.dropped[kind] += dropped[kind]
    if (notes.interfaces.length > MAX_INTERFACES)
      throw new Fault('ARCHIVE_TOO_LARGE', `expected at most ${MAX_INTERFACES} interfaces in the archive, found more`)
  }
}

function keep<K extends 'names' | 'comments' | 'secrets'>(notes: CaptureNotes, kind: K, more: CaptureNotes[K]): void {
  const all: CaptureNotes[K][number][] = notes[kind]
  const room = Math.max(0, MAX_KEPT - all.length)
  for (const one of more.slice(0, room)) all.push(one)
  notes.dropped[kind] += Math.max(0, more.length - room)
}

/** An archive that ends too early says so by itself; what came of the capture before that is still read. */
async function* whatThereIs(entry: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* entry
  } catch {}
}
