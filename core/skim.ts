/** Something too long to wait in memory, on its way in: its first bytes are kept, the others passed over. */
import type { Cursor } from './cursor.ts'

export class Skim {
  /** Bytes of all of it. */
  readonly size: number
  /** Bytes that are still to come. */
  left: number
  /** `kept[0..count)` are the first bytes; its length is the memory that it takes. */
  kept: Uint8Array = new Uint8Array(0)
  count = 0
  /** Bytes were lost among those that were to be kept: what came behind them is not kept. */
  interrupted = false
  readonly keep: number

  constructor(size: number, keep: number) {
    this.size = size
    this.left = size
    this.keep = Math.max(0, Math.min(keep, size))
  }

  /** Takes what is at the cursor; true at the end. */
  take(at: Cursor): boolean {
    const size = Math.min(this.left, at.remaining)
    const wanted = this.interrupted ? 0 : Math.min(size, this.keep - this.count)
    if (wanted > 0) {
      if (this.count + wanted > this.kept.length) this.grow(wanted)
      this.kept.set(at.bytes.subarray(at.position, at.position + wanted), this.count)
      this.count += wanted
    }
    at.skip(size)
    this.left -= size
    return this.left === 0
  }

  /** `length` bytes were not captured. False when they reach beyond it. */
  miss(length: number): boolean {
    if (length > this.left) return false
    this.left -= length
    if (this.count < this.keep) this.interrupted = true
    return true
  }

  /** The first bytes, as many as came. */
  get beginning(): Uint8Array {
    return this.kept.subarray(0, this.count)
  }

  private grow(count: number): void {
    const larger = new Uint8Array(Math.min(this.keep, Math.max(this.kept.length * 2, this.count + count)))
    larger.set(this.kept)
    this.kept = larger
  }
}
