/**
 * The body of an HTTP/1 message (RFC 9112, 6 and 7): found in the stream, kept up to a limit, decoded, written as JSON.
 *
 *   chunk = size-in-hex [ ";" extensions ] CRLF data CRLF      last: "0" CRLF trailers CRLF
 */
import { Buffer } from 'node:buffer'
import { brotliDecompressSync, constants, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import type { BufferPool } from '../../buffer-pool.ts'
import { type Cursor, indexOf, Malformed } from '../../cursor.ts'
import { constant, JsonWriter } from '../../json-writer.ts'
import { Head } from './head.ts'

const MAX_CHUNK_LINE = 4096
const MAX_TRAILERS = 65_536
/** A kilobyte that inflates to a gigabyte must cost no more than an honest body. */
const MAX_DECODED = 8 << 20
/** Each coding may inflate again: a field that names thousands of them must not. */
const MAX_CODINGS = 5

/** How the end of a body is found. */
export type Framing = 'none' | 'length' | 'chunked' | 'close'

export interface BodyReader {
  read(bytes: Uint8Array, start: number, end: number): void
  gap(): void
}

/** A body that is being read; what `read` commits between segments. */
export class Body {
  readonly framing: Framing
  /** Bytes still to come: of the body, or of the chunk. */
  remaining: number
  /** Bytes of the body so far, chunk headers not counted. */
  size = 0
  /** Bytes that were on the wire and not in the capture. */
  missing = 0
  trailers: string | null = null
  /** Is shown the body's bytes as they come. */
  reader: BodyReader | null = null
  private stage: 'size' | 'data' | 'after-data' | 'trailers' = 'size'
  private kept: Buffer = NOTHING
  private keptLength = 0
  private readonly keep: number
  private readonly pool: BufferPool

  constructor(framing: Framing, length: number, keep: number, pool: BufferPool) {
    this.framing = framing
    this.remaining = framing === 'length' ? length : 0
    this.keep = keep
    this.pool = pool
  }

  /** Memory in use. */
  get weight(): number {
    return this.kept.length
  }

  get content(): Uint8Array {
    return this.kept.subarray(0, this.keptLength)
  }

  /** Its bytes have been written elsewhere: `content` is gone. */
  release(): void {
    if (this.kept !== NOTHING) this.pool.give(this.kept)
    this.kept = NOTHING
  }

  /** Bytes were left out of `content`, at its end or where packets are missing. */
  get cut(): boolean {
    return this.keptLength < this.size
  }

  /** Takes what is there; true at the end of the body. The cursor stands behind the last byte that was taken. */
  read(at: Cursor): boolean {
    if (this.framing === 'length') {
      this.take(at)
      return this.remaining === 0
    }
    if (this.framing === 'close') {
      this.remaining = at.remaining
      this.take(at)
      return false
    }
    for (;;) {
      if (this.stage === 'data') {
        this.take(at)
        if (this.remaining > 0) return false
        this.stage = 'after-data'
      }
      const line = lineEnd(at, this.stage === 'trailers' ? MAX_TRAILERS : MAX_CHUNK_LINE)
      if (line < 0) return false
      if (this.stage === 'after-data') {
        if (line - at.position > 1 || (line > at.position && at.bytes[at.position] !== 13))
          at.fail('CRLF behind the data of a chunk')
        at.position = line + 1
        this.stage = 'size'
      } else if (this.stage === 'size') {
        this.remaining = chunkSize(at, line)
        at.position = line + 1
        this.stage = this.remaining === 0 ? 'trailers' : 'data'
      } else return this.readTrailers(at)
    }
  }

  /** `length` bytes are missing; true if they lie within what is known to be body. */
  bridge(length: number): boolean {
    if (this.framing === 'length' ? length > this.remaining : this.stage !== 'data' || length > this.remaining)
      return false
    this.remaining -= length
    this.size += length
    this.missing += length
    this.reader?.gap()
    return true
  }

  private take(at: Cursor): void {
    const count = Math.min(this.remaining, at.remaining)
    const wanted = Math.min(count, this.keep - this.keptLength)
    this.reader?.read(at.bytes, at.position, at.position + count)
    if (wanted > 0 && this.missing === 0) {
      if (this.keptLength + wanted > this.kept.length) {
        const expected =
          this.framing === 'length' && this.keptLength === 0 ? Math.min(this.remaining, this.keep, 65_536) : 0
        const larger = this.pool.take(Math.max(expected, this.keptLength + wanted))
        this.kept.copy(larger, 0, 0, this.keptLength)
        this.release()
        this.kept = larger
      }
      this.kept.set(at.bytes.subarray(at.position, at.position + wanted), this.keptLength)
      this.keptLength += wanted
    }
    this.size += count
    this.remaining -= count
    at.position += count
  }

  /** Trailers are read at once: nothing is taken before their empty line is here. */
  private readTrailers(at: Cursor): boolean {
    const first = at.bytes[at.position]
    if (first === 10 || (first === 13 && at.bytes[at.position + 1] === 10)) {
      at.position += first === 10 ? 1 : 2
      return true
    }
    const out = new JsonWriter(512)
    const next = new Head().fields(at.bytes, at.position, at.end, out)
    if (next < 0) {
      if (at.remaining > MAX_TRAILERS) at.fail(`trailers of at most ${MAX_TRAILERS} bytes`)
      return false
    }
    this.trailers = out.bytes.toString('utf8', 0, out.length)
    at.position = next
    return true
  }
}

const NOTHING = Buffer.alloc(0)

/** As Cursor.lineEnd, with -1 in place of a throw: chunks are too many for exceptions. */
function lineEnd(at: Cursor, limit: number): number {
  const found = indexOf(at.bytes, 10, at.position, at.end)
  if (found < 0) {
    if (at.remaining > limit) at.fail(`a line of at most ${limit} bytes`)
    return -1
  }
  return found
}

function chunkSize(at: Cursor, line: number): number {
  let size = 0
  let p = at.position
  for (; p < line; p++) {
    const code = at.bytes[p]!
    const digit =
      code >= 48 && code <= 57 ? code - 48 : (code | 0x20) >= 97 && (code | 0x20) <= 102 ? (code | 0x20) - 87 : -1
    if (digit < 0) break
    size = size * 16 + digit
  }
  const code = at.bytes[p]
  if (
    p === at.position ||
    size > Number.MAX_SAFE_INTEGER ||
    (code !== 13 && code !== 10 && code !== 59 && code !== 32 && code !== 9)
  )
    throw new Malformed('expected the size of a chunk in hexadecimal')
  return size
}

const TEXT = constant('"text":')
const NULL = constant('null')
const BASE64 = constant(',"encoding":"base64"')
const TRUNCATED = constant(',"truncated":true')

/**
 * Writes `"text":…` and what belongs to it, and returns where the text begins and ends.
 * `cut`: these are not all bytes of the body.
 */
export function writeText(out: JsonWriter, b: Uint8Array, start: number, end: number, cut: boolean): [number, number] {
  out.raw(TEXT)
  const begin = out.length
  if (out.text(b, start, end, cut)) {
    const done = out.length
    if (cut) out.raw(TRUNCATED)
    return [begin, done]
  }
  out.length = begin
  out.base64(b, start, end)
  const done = out.length
  out.raw(BASE64)
  if (cut) out.raw(TRUNCATED)
  return [begin, done]
}

export function writeNoText(out: JsonWriter): void {
  out.raw(TEXT)
  out.raw(NULL)
}

/**
 * The body without its content codings (RFC 9110, 8.4), the last applied first. null: it cannot be decoded, because
 * the coding is unknown, the bytes are not what they should be, or they are too many.
 */
export function decode(body: Uint8Array, codings: readonly string[]): Uint8Array | null {
  if (codings.length > MAX_CODINGS) return null
  for (const coding of codings.toReversed()) {
    const decoder = DECODERS.get(coding)
    if (decoder === undefined) return null
    try {
      body = decoder(body)
    } catch {
      // Whatever is wrong with it, the reader of the item gets the bytes as they were.
      return null
    }
  }
  return body
}

const PARTIAL = { maxOutputLength: MAX_DECODED, finishFlush: constants.Z_SYNC_FLUSH }

const BROTLI = { maxOutputLength: MAX_DECODED, finishFlush: constants.BROTLI_OPERATION_FLUSH }
const ZSTD = { maxOutputLength: MAX_DECODED, finishFlush: constants.ZSTD_e_flush }

const DECODERS: ReadonlyMap<string, (body: Uint8Array) => Uint8Array> = new Map([
  ['gzip', body => gunzipSync(body, PARTIAL)],
  ['x-gzip', body => gunzipSync(body, PARTIAL)],
  ['deflate', body => (isZlib(body) ? inflateSync : inflateRawSync)(body, PARTIAL)],
  ['br', body => brotliDecompressSync(body, BROTLI)],
  ['zstd', body => zstdDecompressSync(body, ZSTD)],
] satisfies [string, (body: Uint8Array) => Uint8Array][])

/** RFC 1950, 2.2. Some servers send raw deflate data where RFC 9110 wants the zlib format. */
function isZlib(body: Uint8Array): boolean {
  return (body[0]! & 0x0f) === 8 && ((body[0]! << 8) | body[1]!) % 31 === 0
}
