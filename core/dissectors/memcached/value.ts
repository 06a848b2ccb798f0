/**
 * What memcached keeps under a key: bytes that mean something to the applications alone. They may have megabytes:
 * `Intake` takes them in as they come and keeps no more than was asked for.
 */
import type { Cursor } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { payloadOf } from '../../payload.ts'

export interface Value extends Json {
  /** Bytes on the wire. */
  valueSize: number
  /** Text, or base64 as `encoding` says; null when bodies are not wanted. */
  value: string | null
  encoding?: 'base64'
  /** The value was longer than what is kept. */
  truncated?: true
}

/** What `at.progress` holds between two reads of one message. */
export interface Pending {
  intake: Intake | null
}

/** memcached can be told to take entries of 1 GB, no larger ones. */
export const MAX_SIZE = 1 << 30
/** A longer value is taken in as it comes. */
const LONG = 16_384

export class Intake {
  readonly size: number
  private readonly keep: number
  /** Bytes behind the value that belong to it: CR LF. */
  private readonly behind: number
  private left: number
  private kept = new Uint8Array(0)
  private count = 0

  constructor(size: number, behind: number, keep: number) {
    this.size = size
    this.behind = behind
    this.keep = Math.min(size, Math.max(keep, 0))
    this.left = size
  }

  /** The cursor stays before what is behind the value. A long one is committed as it comes, with `pending` as progress. */
  read(at: Cursor, pending: Pending): Value {
    const isUntouched = this.left === this.size
    if (isUntouched && (this.size <= LONG || at.remaining >= this.size + this.behind)) {
      at.need(this.size + this.behind)
      const start = at.position
      at.skip(this.size)
      return keptValue(at.bytes, start, start + this.keep, this.size)
    }
    pending.intake = this
    if (this.left > 0) this.take(at)
    at.commit(pending, this.kept.length)
    at.need(this.left > 0 ? 1 : this.behind)
    return keptValue(this.kept, 0, this.count, this.size)
  }

  private take(at: Cursor): void {
    const size = Math.min(this.left, at.remaining)
    const wanted = Math.min(size, this.keep - this.count)
    if (wanted > 0) {
      if (this.count + wanted > this.kept.length) this.grow(wanted)
      this.kept.set(at.bytes.subarray(at.position, at.position + wanted), this.count)
      this.count += wanted
    }
    at.skip(size)
    this.left -= size
  }

  private grow(count: number): void {
    const larger = new Uint8Array(Math.min(this.keep, Math.max(this.kept.length * 2, this.count + count)))
    larger.set(this.kept)
    this.kept = larger
  }
}

function keptValue(bytes: Uint8Array, start: number, end: number, size: number): Value {
  const kept = end - start
  if (kept === 0 && size > 0) return { valueSize: size, value: null }
  const { payload, encoding } = payloadOf(bytes, start, end, Math.max(kept, 1))
  const value: Value = { valueSize: size, value: payload }
  if (encoding !== null) value.encoding = encoding
  if (kept < size) value.truncated = true
  return value
}

/** 64 bits in decimal digits: a number up to 2^53 - 1, text beyond. */
export function decimal(digits: string): number | string {
  const number = Number(digits)
  return Number.isSafeInteger(number) ? number : digits
}
