/**
 * A message that is larger than what should be read again with each segment: its beginning is kept as it comes in,
 * the rest is passed over.
 */
import { Cursor } from '../../cursor.ts'

const FIRST_ROOM = 64 << 10

export class Gathering {
  /** As announced, without the four bytes that announce it. */
  readonly size: number
  /** Bytes were lost within what was to be kept. */
  broken = false
  private left: number
  private readonly keep: number
  private bytes: Buffer
  private count = 0

  constructor(size: number, keep: number) {
    this.size = size
    this.left = size
    this.keep = Math.min(size, keep)
    this.bytes = Buffer.allocUnsafeSlow(Math.min(this.keep, FIRST_ROOM))
  }

  /** Takes what is at the cursor. False: there is more to come. */
  take(at: Cursor): boolean {
    const size = Math.min(this.left, at.remaining)
    const wanted = this.broken ? 0 : Math.min(size, this.keep - this.count)
    if (wanted > 0) {
      if (this.count + wanted > this.bytes.length) this.grow(this.count + wanted)
      this.bytes.set(at.bytes.subarray(at.position, at.position + wanted), this.count)
      this.count += wanted
    }
    at.skip(size)
    this.left -= size
    if (this.left === 0) return true
    at.commit(this, this.bytes.length)
    return false
  }

  /** `length` bytes were not captured. False when they reach beyond this message. */
  miss(length: number): boolean {
    // Nothing would be left to end it with.
    if (length >= this.left) return false
    this.left -= length
    if (this.count < this.keep) this.broken = true
    return true
  }

  /** What was kept. In a part of a message running out is Incomplete. */
  get kept(): Cursor {
    return new Cursor(this.bytes, 0, this.count, this.count === this.size)
  }

  private grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.min(this.keep, Math.max(needed, this.bytes.length * 2)))
    this.bytes.copy(larger, 0, 0, this.count)
    this.bytes = larger
  }
}
