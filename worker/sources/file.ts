/**
 * Captures from files, named pipes and standard input, plain or compressed with gzip or zstd. What a file is, its first
 * bytes say, not its name.
 */
import { closeSync, fstatSync, open, readSync, type Stats } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable, Transform } from 'node:stream'
import { promisify } from 'node:util'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { type CaptureNotes, type Damage, noteDamage } from '../../core/capture-notes.ts'
import { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import { CaptureParser } from '../../core/pcap.ts'

/** `-` is standard input. A tar archive of captures is opened as one capture. Throws a Fault when there is nothing to read. */
export async function openCapture(path: string): Promise<OpenedCapture> {
  const { source, size } = path === '-' ? { source: new StreamInput(process.stdin), size: null } : await openPath(path)
  const input = await unpacked(source)
  try {
    if (!(await isTar(input))) return new CaptureFile(input, size, path === '-' ? null : path)
    const { CaptureArchive } = await import('./archive.ts')
    return new CaptureArchive(
      input,
      size,
      async stream => new CaptureFile(await unpacked(new StreamInput(stream)), null, null),
    )
  } catch (error) {
    input.close()
    throw error
  }
}

/** What the bytes are when they are not compressed any more. */
async function unpacked(source: Input): Promise<Beginning> {
  const input = new Beginning(source)
  try {
    const head = await input.peek(LONGEST_MAGIC)
    const compression = COMPRESSIONS.find(({ magics }) => magics.some(magic => magic.test(head))) ?? null
    return compression === null ? input : new Beginning(new Decompressed(input, compression))
  } catch (error) {
    input.close()
    throw error
  }
}

/** As the kernel's tools write them: POSIX and GNU. A tar begins with the name of its first file. */
const TAR_MAGIC = { at: 257, text: 'ustar' }
/** First bytes of captures, which nobody should have to wait for longer than for them. */
const CAPTURE_MAGIC = /^(\xa1\xb2|\xd4\xc3|\x4d\x3c|\x34\xcd|\x0a\x0d\x0d\x0a)/

async function isTar(input: Beginning): Promise<boolean> {
  if (CAPTURE_MAGIC.test(await input.peek(LONGEST_MAGIC))) return false
  const { at, text } = TAR_MAGIC
  return (await input.peek(at + text.length)).slice(at) === text
}

/** Ask `next` until it says null, then `load`, until that says false. */
export interface OpenedCapture {
  /** Bytes of the file, as it lies there; null where that is not known beforehand. */
  readonly size: number | null
  /** Bytes of the file that were read, before decompression. */
  readonly position: number
  readonly notes: CaptureNotes
  readonly format: 'pcap' | 'pcapng' | null
  readonly compression: 'gzip' | 'zstd' | null
  /** Reads the next bytes. false: there are none. Throws a Fault when this is no capture, or cannot be read on. */
  load(): Promise<boolean>
  /** The same object each time, overwritten by the next call; its bytes are valid until the next `load`. */
  next(): Packet | null
  /** At any time, also while `load` waits: that one then says false. */
  close(): void
}

export class CaptureFile implements OpenedCapture {
  readonly size: number | null
  private readonly input: Input
  private readonly parser = new CaptureParser()
  private readonly name: string | null
  private finished = false

  /** `name`: what it is called where it is no capture; null where that is told already. */
  constructor(input: Input, size: number | null, name: string | null) {
    this.input = input
    this.size = size
    this.name = name
  }

  async load(): Promise<boolean> {
    const { parser, input } = this
    if (this.finished) return false
    if (parser.stopped !== null) return this.finish()
    const count = await input.read(parser.room())
    if (this.finished) return false
    if (count === 0) return this.finish()
    parser.filled(count)
    return true
  }

  next(): Packet | null {
    try {
      return this.parser.next()
    } catch (error) {
      throw this.named(error)
    }
  }

  get position(): number {
    return this.input.position
  }

  get notes(): CaptureNotes {
    return this.parser.notes
  }

  get format(): 'pcap' | 'pcapng' | null {
    return this.parser.format
  }

  get compression(): 'gzip' | 'zstd' | null {
    return this.input.compression?.name ?? null
  }

  close(): void {
    this.finished = true
    this.input.close()
  }

  private finish(): false {
    const { parser, input } = this
    this.finished = true
    input.close()
    let cut: Damage | null = null
    if (input.failure !== null) {
      const whole = `a whole ${this.compression} stream`
      if (parser.notes.sections === 0)
        throw this.named(new Fault('CAPTURE_UNREADABLE', `expected ${whole}, found ${input.failure} at its beginning`))
      cut = noteDamage(parser.notes, 'compression', parser.notes.bytes, whole, input.failure)
    }
    // The rest of a compressed file would have to be unpacked to be counted.
    if (this.size !== null && this.compression === null) parser.unread(Math.max(0, this.size - input.position))
    try {
      parser.end(cut)
    } catch (error) {
      throw this.named(error)
    }
    return false
  }

  private named(error: unknown): unknown {
    if (!(error instanceof Fault) || this.name === null) return error
    return new Fault(error.code, `${this.name}: ${error.message}`)
  }
}

/** Bytes from somewhere. */
export interface Input {
  /** Bytes that were read from the file. */
  readonly position: number
  readonly compression: Compression | null
  /** Why it ended before its end. */
  readonly failure: string | null
  /** 0: the end. */
  read(into: Uint8Array): number | Promise<number>
  close(): void
}

export interface Compression {
  name: 'gzip' | 'zstd'
  /** First bytes, one character a byte. */
  magics: readonly RegExp[]
  create(): Transform & { bytesWritten: number }
}

/**
 * Bytes that a decompressor takes and gives at a time. Damage costs what the last of them held, so they are not larger
 * than speed asks for.
 */
const STEP = 64 * 1024

const COMPRESSIONS: readonly Compression[] = [
  { name: 'gzip', magics: [/^\x1f\x8b/], create: () => createGunzip({ chunkSize: STEP }) },
  {
    name: 'zstd',
    // A frame, or a frame to be skipped, with which parallel compressors begin.
    magics: [/^\x28\xb5\x2f\xfd/, /^[\x50-\x5f]\x2a\x4d\x18/],
    create: () => createZstdDecompress({ chunkSize: STEP }),
  },
]
const LONGEST_MAGIC = 4

async function openPath(path: string): Promise<{ source: Input; size: number | null }> {
  let fd: number
  try {
    // Not synchronously: opening a named pipe waits for its writer.
    fd = await promisify(open)(path, 'r')
  } catch (error) {
    throw unreadable(path, error as NodeJS.ErrnoException)
  }
  const stats = fstatSync(fd)
  if (stats.isDirectory()) {
    closeSync(fd)
    throw new Fault('CAPTURE_IS_DIRECTORY', `expected a capture file, found a directory at "${path}"`)
  }
  if (isPipe(stats)) return { source: new StreamInput(new Socket({ fd, readable: true, writable: false })), size: null }
  return { source: new FileInput(fd, path), size: stats.isFile() ? stats.size : null }
}

function isPipe(stats: Stats): boolean {
  return stats.isFIFO() || stats.isSocket()
}

function unreadable(path: string, error: NodeJS.ErrnoException): Fault {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    return new Fault('CAPTURE_NOT_FOUND', `expected a capture file, found nothing at "${path}"`)
  const found = error.code === 'EACCES' || error.code === 'EPERM' ? 'no permission to read' : error.message
  return new Fault('CAPTURE_UNREADABLE', `expected a readable capture file at "${path}", found ${found}`)
}

/** Read synchronously: the bytes are in memory or nearly so, and a promise and a thread for each chunk cost more. */
class FileInput implements Input {
  position = 0
  readonly compression = null
  readonly failure = null
  private readonly path: string
  private fd: number | null

  constructor(fd: number, path: string) {
    this.fd = fd
    this.path = path
  }

  read(into: Uint8Array): number {
    if (this.fd === null) return 0
    try {
      const count = readSync(this.fd, into)
      this.position += count
      return count
    } catch (error) {
      throw unreadable(this.path, error as NodeJS.ErrnoException)
    }
  }

  close(): void {
    if (this.fd === null) return
    closeSync(this.fd)
    this.fd = null
  }
}

/** Standard input and pipes, whose next bytes may be long in coming. */
class StreamInput implements Input {
  position = 0
  readonly compression = null
  readonly failure = null
  private readonly stream: Readable
  private readonly outlet: Outlet

  constructor(stream: Readable) {
    this.stream = stream
    this.outlet = new Outlet(stream)
  }

  async read(into: Uint8Array): Promise<number> {
    const { outlet } = this
    for (;;) {
      const count = outlet.take(into)
      this.position += count
      if (count > 0) return count
      if (outlet.error !== null) throw unreadable('-', outlet.error)
      if (outlet.ended) return 0
      await outlet.change()
    }
  }

  close(): void {
    this.stream.destroy()
  }
}

/** An input whose first bytes can be looked at before they are read. */
class Beginning implements Input {
  private readonly input: Input
  private head = new Uint8Array(0)

  constructor(input: Input) {
    this.input = input
  }

  get position(): number {
    return this.input.position - (this.compression === null ? this.head.length : 0)
  }

  get compression(): Compression | null {
    return this.input.compression
  }

  get failure(): string | null {
    return this.input.failure
  }

  /** Up to `count` bytes, fewer when there are no more, one character a byte. */
  async peek(count: number): Promise<string> {
    const head = new Uint8Array(Math.max(count, this.head.length))
    head.set(this.head)
    let { length } = this.head
    while (length < count) {
      const more = await this.input.read(head.subarray(length))
      if (more === 0) break
      length += more
    }
    this.head = head.subarray(0, length)
    return Buffer.from(this.head).toString('latin1')
  }

  read(into: Uint8Array): number | Promise<number> {
    const count = this.head.length
    if (count === 0) return this.input.read(into)
    into.set(this.head)
    this.head = this.head.subarray(count)
    // No capture is understood by its magic alone, so that nobody waits longer than needed.
    const more = this.input.read(into.subarray(count))
    return typeof more === 'number' ? count + more : more.then(length => count + length)
  }

  close(): void {
    this.input.close()
  }
}

/**
 * Gives a decompressor one step of input at a time, and the next only when everything that came of it was taken: what
 * lies in memory is bounded, and an end in the middle of the stream costs nothing that came before it.
 */
class Decompressed implements Input {
  failure: string | null = null
  readonly compression: Compression
  private readonly input: Input
  private readonly step = new Uint8Array(STEP)
  private stream: Transform & { bytesWritten: number }
  private outlet: Outlet
  /** What was written last, and how much the stream had read before. */
  private written: Uint8Array = new Uint8Array(0)
  private readBefore = 0
  private writing = false
  private inputEnded = false
  private closed = false

  constructor(input: Input, compression: Compression) {
    this.input = input
    this.compression = compression
    this.stream = compression.create()
    this.outlet = new Outlet(this.stream)
  }

  get position(): number {
    return this.input.position
  }

  async read(into: Uint8Array): Promise<number> {
    for (;;) {
      if (this.closed) return 0
      const count = this.outlet.take(into)
      if (count > 0) return count
      if (this.outlet.error !== null) {
        this.failure = this.outlet.error.message
        return 0
      }
      if (this.writing) await this.outlet.change()
      else if (this.leftOver.length > 0) {
        if (this.leftOver.length === this.written.length) this.failure = 'bytes that are no part of it'
        if (this.failure !== null) return 0
        this.beginNextFrame()
      } else if (this.outlet.ended) return 0
      else if (this.inputEnded) await this.outlet.change()
      else await this.writeStep()
    }
  }

  close(): void {
    this.closed = true
    this.stream.destroy()
    this.input.close()
  }

  private async writeStep(): Promise<void> {
    const count = await this.input.read(this.step)
    if (count > 0) this.write(this.step.subarray(0, count))
    else {
      this.inputEnded = true
      this.stream.end()
    }
  }

  private write(bytes: Uint8Array): void {
    const { stream, outlet } = this
    this.written = bytes
    this.readBefore = stream.bytesWritten
    this.writing = true
    stream.write(bytes, () => {
      if (stream !== this.stream) return
      this.writing = false
      outlet.wake()
    })
  }

  /** A decompressor of zstd ends with its first frame and leaves unread what follows; parallel compressors write many. */
  private get leftOver(): Uint8Array {
    return this.written.subarray(this.stream.bytesWritten - this.readBefore)
  }

  private beginNextFrame(): void {
    const rest = this.leftOver
    this.stream.destroy()
    this.stream = this.compression.create()
    this.outlet = new Outlet(this.stream)
    this.write(rest)
  }
}

/** The readable end of a stream, taken from piece by piece. */
class Outlet {
  ended = false
  error: Error | null = null
  private readonly stream: Readable
  private chunk: Uint8Array | null = null
  private waiting: (() => void) | null = null

  constructor(stream: Readable) {
    this.stream = stream
    stream.on('readable', () => this.wake())
    stream.on('end', () => this.finish(null))
    stream.on('close', () => this.finish(null))
    stream.on('error', error => this.finish(error))
  }

  /** Copies what is there; 0: nothing is. */
  take(into: Uint8Array): number {
    const chunk = this.chunk ?? (this.stream.read() as Uint8Array | null)
    if (chunk === null) return 0
    const count = Math.min(chunk.length, into.length)
    into.set(count < chunk.length ? chunk.subarray(0, count) : chunk)
    this.chunk = count < chunk.length ? chunk.subarray(count) : null
    return count
  }

  /** Until bytes are there, or the end, or `wake` is called. */
  change(): Promise<void> {
    return new Promise(resolve => {
      this.waiting = resolve
    })
  }

  wake(): void {
    const { waiting } = this
    this.waiting = null
    waiting?.()
  }

  private finish(error: Error | null): void {
    this.ended = true
    this.error ??= error
    this.wake()
  }
}
