/**
 * A message that is longer than what should wait in memory: its beginning and its end are kept, which is where commands
 * and answers say what they are. Of a compressed one all is kept, or it cannot be read.
 */
import type { Cursor } from '../../cursor.ts'
import { Kept } from './bson.ts'

/** Behind its documents an answer has `ok`, an error, the cluster's time and its signature. */
const TAIL = 8192

export class Intake {
  readonly length: number
  private readonly head: number
  private readonly tailStart: number
  private bytes = new Uint8Array(0)
  private position = 0

  constructor(length: number, head: number) {
    this.length = length
    this.head = Math.min(length, head)
    this.tailStart = Math.max(this.head, length - TAIL)
  }

  /** Bytes of memory that it takes. */
  get weight(): number {
    return this.bytes.length
  }

  get left(): number {
    return this.length - this.position
  }

  /** Takes what is at the cursor. */
  take(at: Cursor): void {
    const size = Math.min(this.left, at.remaining)
    const from = this.position
    const to = from + size
    this.copy(at.bytes, at.position - from, from, Math.min(to, this.head), 0)
    this.copy(at.bytes, at.position - from, Math.max(from, this.tailStart), to, this.tailStart - this.head)
    at.skip(size)
    this.position = to
  }

  kept(): Kept {
    const missing = this.tailStart - this.head
    const end = this.length - missing
    return new Kept(this.bytes, end, missing > 0 ? this.head : end, missing)
  }

  /** `offset` is where the message begins in `source`. */
  private copy(source: Uint8Array, offset: number, start: number, end: number, less: number): void {
    if (end <= start) return
    if (end - less > this.bytes.length) {
      const most = this.length - (this.tailStart - this.head)
      const larger = new Uint8Array(Math.min(most, Math.max(this.bytes.length * 2, end - less)))
      larger.set(this.bytes)
      this.bytes = larger
    }
    this.bytes.set(source.subarray(offset + start, offset + end), start - less)
  }
}
