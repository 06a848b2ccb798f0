/**
 * One packet of MySQL after another, the large ones as they come. What does not fit into one packet goes on in the next:
 *
 *   length(3, low byte first) sequence(1) payload(length)            a length of 0xffffff: more follows
 */
import { Cursor } from '../../cursor.ts'
import { LONG } from '../../sql.ts'

/** A packet of this length is not the last one. */
export const FULL = 0xffffff
/** max_allowed_packet is a gigabyte at most. */
const MAX_PARTS = 66

export class Intake {
  /** Of the first packet, and of the last one. */
  sequence = 0
  lastSequence = 0
  /** The payload, or its first bytes: `bytes[start..end)`. */
  bytes: Uint8Array = new Uint8Array(0)
  start = 0
  end = 0
  /** Bytes of the payload, and with all headers. */
  length = 0
  size = 0
  private parts = 0
  private left = 0
  private isLast = true
  private kept: Uint8Array = new Uint8Array(0)
  private keep = 0
  private interrupted = false

  /**
   * Reads the next payload. Of a long one the first `keep` bytes are kept, and what came of it is committed with `owner`
   * as progress.
   */
  next(at: Cursor, owner: object, keep: number, weight: number): void {
    if (this.parts === 0) {
      at.need(4)
      const p = at.position
      const b = at.bytes
      const length = b[p]! | (b[p + 1]! << 8) | (b[p + 2]! << 16)
      if (length <= LONG) at.need(4 + length)
      if (length < FULL && at.remaining >= 4 + length) {
        this.sequence = b[p + 3]!
        this.lastSequence = this.sequence
        this.length = length
        this.size = length + 4
        this.bytes = b
        this.start = p + 4
        this.end = p + 4 + (length > LONG ? Math.min(length, Math.max(keep, 0)) : length)
        at.position = p + 4 + length
        return
      }
      this.kept = new Uint8Array(0)
      this.end = 0
      this.length = 0
      this.size = 0
      this.keep = Math.max(keep, 0)
      this.interrupted = false
      this.header(at)
      this.sequence = this.lastSequence
    }
    for (;;) {
      if (this.left > 0) this.take(at)
      if (this.left > 0 || (!this.isLast && at.remaining < 4)) {
        at.commit(owner, weight + this.kept.length)
        at.need(this.left > 0 ? 1 : 4)
      }
      if (this.isLast) break
      this.header(at)
    }
    this.bytes = this.kept
    this.start = 0
    this.parts = 0
  }

  private header(at: Cursor): void {
    const length = at.u8() | (at.u8() << 8) | (at.u8() << 16)
    const sequence = at.u8()
    if (this.parts > 0 && sequence !== ((this.lastSequence + 1) & 255)) at.fail(`packet ${this.lastSequence + 1}`)
    if (++this.parts > MAX_PARTS) at.fail('a payload of at most a gigabyte')
    this.lastSequence = sequence
    this.left = length
    this.length += length
    this.size += length + 4
    this.isLast = length < FULL
  }

  private take(at: Cursor): void {
    const size = Math.min(this.left, at.remaining)
    const wanted = this.interrupted ? 0 : Math.min(size, this.keep - this.end)
    if (wanted > 0) {
      if (this.end + wanted > this.kept.length) {
        const larger = new Uint8Array(Math.max(this.kept.length * 2, this.end + wanted))
        larger.set(this.kept)
        this.kept = larger
      }
      this.kept.set(at.bytes.subarray(at.position, at.position + wanted), this.end)
      this.end += wanted
    }
    at.skip(size)
    this.left -= size
  }

  /** A long payload is on its way in. */
  get isOpen(): boolean {
    return this.parts > 0
  }

  /** Some of the payload was not kept. */
  get isCut(): boolean {
    return this.end - this.start < this.length
  }

  /** The payload, or what was kept of it. */
  cursor(): Cursor {
    return new Cursor(this.bytes, this.start, this.end, true)
  }

  /** Bytes that were not captured matter only within a long payload. */
  bridge(length: number): boolean {
    if (this.parts === 0 || length > this.left) return false
    this.left -= length
    if (this.end < this.keep) this.interrupted = true
    return true
  }
}

/** A number of one to nine bytes, low byte first; -1 where there is none (NULL). */
export function lenenc(at: Cursor): number {
  const first = at.u8()
  if (first < 0xfb) return first
  if (first === 0xfb) return -1
  if (first === 0xfc) return at.u16le()
  if (first === 0xfd) return u24le(at)
  if (first === 0xff) at.fail('a length')
  return Number(u64le(at))
}

/** Text whose length stands before it. */
export function lenencText(at: Cursor): string {
  return at.text(Math.max(0, lenenc(at)))
}

export function u24le(at: Cursor): number {
  return at.u8() | (at.u8() << 8) | (at.u8() << 16)
}

/** A number up to 2^53 - 1, a decimal string beyond. */
export function u64le(at: Cursor): number | string {
  const low = at.u32le()
  const high = at.u32le()
  return high <= 0x1fffff ? high * 0x100000000 + low : ((BigInt(high) << 32n) | BigInt(low)).toString()
}

/** As u64le, two's complement. */
export function i64le(at: Cursor): number | string {
  const low = at.u32le()
  const high = at.u32le() | 0
  if (high >= -0x1fffff && high <= 0x1fffff) return high * 0x100000000 + low
  return ((BigInt(high) << 32n) + BigInt(low)).toString()
}

/** As lenenc, exact beyond 2^53. */
export function lenencNumber(at: Cursor): number | string {
  if (at.peek() !== 0xfe) return lenenc(at)
  at.skip(1)
  return u64le(at)
}
