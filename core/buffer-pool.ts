/**
 * Buffers that are used again. A body that comes in several segments needs one for some microseconds; allocated afresh
 * each time, they cost more in garbage collections than in copies.
 */
import { Buffer } from 'node:buffer'

/** Sizes are powers of two between these; what is larger is rare and not kept, but grows by doubling too. */
const SMALLEST = 12
const LARGEST = 20
/** Bytes that lie idle at most, over all sizes. */
const MAX_IDLE = 4 << 20

export class BufferPool {
  private readonly idle: Buffer[][] = Array.from({ length: LARGEST + 1 }, () => [])
  private idleBytes = 0

  /** A buffer of at least `size` bytes with somebody else's old bytes in it. */
  take(size: number): Buffer {
    const power = powerFor(size)
    if (power > LARGEST) return Buffer.allocUnsafeSlow(2 ** power)
    const found = this.idle[power]!.pop()
    if (found === undefined) return Buffer.allocUnsafeSlow(1 << power)
    this.idleBytes -= found.length
    return found
  }

  /** Nobody may look at it any more. */
  give(buffer: Buffer): void {
    const power = powerFor(buffer.length)
    if (power > LARGEST || buffer.length !== 1 << power || this.idleBytes + buffer.length > MAX_IDLE) return
    this.idleBytes += buffer.length
    this.idle[power]!.push(buffer)
  }
}

function powerFor(size: number): number {
  return Math.max(SMALLEST, 32 - Math.clz32(size - 1))
}
