/**
 * Bytes that may end early or lie. Every length check of every protocol is in this file:
 * reading past what has arrived throws `Incomplete`, reading what cannot be throws `Malformed`.
 */
import { Buffer } from 'node:buffer'

/**
 * Control flow, not an error: the bytes are not here yet. One frozen value without a stack, because
 * it is thrown for every message that is cut by a segment.
 */
export const Incomplete = Object.freeze({ incomplete: true })

/** These bytes are not what the protocol allows; the text says what was expected and found. */
export class Malformed {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

const DECODER = new TextDecoder('utf-8', { ignoreBOM: true })
export const MAX_SAFE_HIGH = 0x1fffff

export class Cursor {
  bytes: Uint8Array
  /** Next byte to read, and the first byte that is not there; indices into `bytes`. */
  position: number
  end: number
  /** No byte will follow `end`: a datagram, or a field whose length was announced. Then running out is Malformed. */
  whole: boolean
  /** What an earlier read of this same message left behind with `commit`; null at the start of a message. */
  progress: unknown = null

  constructor(bytes: Uint8Array, position = 0, end = bytes.length, whole = false) {
    this.bytes = bytes
    this.position = position
    this.end = end
    this.whole = whole
  }

  get remaining(): number {
    return this.end - this.position
  }

  /** Throws unless `count` bytes are here. */
  need(count: number): void {
    if (this.position + count > this.end || count < 0) this.runOut(count)
  }

  /** For what is not allowed: `at.fail('a length of at least 4, found 2')`. */
  fail(expected: string): never {
    throw new Malformed(`expected ${expected}`)
  }

  /**
   * Everything up to here is read and will not be shown again: the next read of this message begins here and
   * finds `progress`. For messages that are larger than what should wait in memory. The engine forgets it after a
   * gap that the dissector cannot bridge; whatever `progress` holds must not be in the dissector's state yet.
   * `weight` is about how many bytes of memory it keeps, for the limit over all connections.
   */
  commit(progress: unknown, weight = 0): void {
    this.progress = progress
    this.weight = weight
    this.committed = this.position
  }
  /** Where the last commit was made, -1 if none since the engine last looked. For the engine. */
  committed = -1
  weight = 0

  u8(): number {
    if (this.position >= this.end) this.runOut(1)
    return this.bytes[this.position++]!
  }

  u16(): number {
    const p = this.position
    if (p + 2 > this.end) this.runOut(2)
    this.position = p + 2
    return (this.bytes[p]! << 8) | this.bytes[p + 1]!
  }

  u24(): number {
    const p = this.position
    if (p + 3 > this.end) this.runOut(3)
    this.position = p + 3
    return (this.bytes[p]! << 16) | (this.bytes[p + 1]! << 8) | this.bytes[p + 2]!
  }

  u32(): number {
    const p = this.position
    if (p + 4 > this.end) this.runOut(4)
    this.position = p + 4
    const b = this.bytes
    return ((b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!) >>> 0
  }

  i8(): number {
    return (this.u8() << 24) >> 24
  }

  i16(): number {
    return (this.u16() << 16) >> 16
  }

  i32(): number {
    return this.u32() | 0
  }

  /** A number up to 2^53 - 1, a decimal string beyond: JSON has no other exact form. */
  u64(): number | string {
    this.need(8)
    const high = this.u32()
    const low = this.u32()
    return high <= MAX_SAFE_HIGH ? high * 0x100000000 + low : ((BigInt(high) << 32n) | BigInt(low)).toString()
  }

  /** As u64, two's complement. */
  i64(): number | string {
    this.need(8)
    const high = this.i32()
    const low = this.u32()
    if (high >= -MAX_SAFE_HIGH && high <= MAX_SAFE_HIGH) return high * 0x100000000 + low
    return ((BigInt(high) << 32n) + BigInt(low)).toString()
  }

  u16le(): number {
    const value = this.u16()
    return ((value & 0xff) << 8) | (value >>> 8)
  }

  u32le(): number {
    const p = this.position
    this.need(4)
    this.position = p + 4
    const b = this.bytes
    return ((b[p + 3]! << 24) | (b[p + 2]! << 16) | (b[p + 1]! << 8) | b[p]!) >>> 0
  }

  f64(): number {
    this.need(8)
    const value = new DataView(this.bytes.buffer, this.bytes.byteOffset + this.position, 8).getFloat64(0)
    this.position += 8
    return value
  }

  /** Looks `ahead` bytes past the next one without moving. */
  peek(ahead = 0): number {
    if (this.position + ahead >= this.end) this.runOut(ahead + 1)
    return this.bytes[this.position + ahead]!
  }

  skip(count: number): void {
    this.need(count)
    this.position += count
  }

  /** A view, not a copy: it is gone when `read` returns. */
  view(count: number): Uint8Array {
    this.need(count)
    const p = this.position
    this.position = p + count
    return this.bytes.subarray(p, p + count)
  }

  /** UTF-8; what is not UTF-8 becomes U+FFFD. */
  text(count: number): string {
    this.need(count)
    const p = this.position
    this.position = p + count
    return utf8(this.bytes, p, p + count)
  }

  /** One character a byte. */
  latin1(count: number): string {
    this.need(count)
    const p = this.position
    this.position = p + count
    return latin1(this.bytes, p, p + count)
  }

  /** A cursor over the next `count` bytes alone, in which running out is Malformed. */
  within(count: number): Cursor {
    this.need(count)
    const p = this.position
    this.position = p + count
    return new Cursor(this.bytes, p, p + count, true)
  }

  /**
   * Index of the LF that ends the line at the cursor; the cursor does not move.
   * A line longer than `limit` bytes is Malformed.
   */
  lineEnd(limit: number): number {
    const found = indexOf(this.bytes, 10, this.position, this.end)
    if (found >= 0) {
      if (found - this.position > limit) this.fail(`a line of at most ${limit} bytes, found ${found - this.position}`)
      return found
    }
    if (this.end - this.position > limit) this.fail(`a line of at most ${limit} bytes`)
    return this.runOut(this.end - this.position + 1)
  }

  private runOut(count: number): never {
    if (this.whole || count < 0) throw new Malformed(`expected ${count} more bytes, found ${this.end - this.position}`)
    throw Incomplete
  }
}

/** As Uint8Array.indexOf, which would look beyond `end` through a whole buffer of other packets. */
export function indexOf(bytes: Uint8Array, byte: number, start: number, end: number): number {
  for (let i = start; i < end; i++) if (bytes[i] === byte) return i
  return -1
}

export function utf8(bytes: Uint8Array, start: number, end: number): string {
  for (let i = start; i < end; i++) if (bytes[i]! >= 0x80) return DECODER.decode(bytes.subarray(start, end))
  return latin1(bytes, start, end)
}

/** What `Buffer.toString` calls: it reads any view, and making a Buffer of one first takes as long as the copy. */
const { latin1Slice } = Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, start: number, end: number): string
}

export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return start < end ? latin1Slice.call(bytes, start, end) : ''
}
