/**
 * What of a message decides how it is read, apart from what is new in each: messages of the same essence are read once.
 * Clients and servers say the same all day, but for random numbers, keys and names.
 */
import type { Cursor } from '../../cursor.ts'

/** Of a browser it has some 300 bytes; a stranger who makes up longer ones is not remembered. */
const MAX_BYTES = 512

export class Essence {
  private readonly bytes = Buffer.allocUnsafeSlow(MAX_BYTES)
  private length = 0

  begin(): void {
    this.length = 0
  }

  u8(value: number): void {
    if (this.length < MAX_BYTES) this.bytes[this.length] = value
    this.length++
  }

  u16(value: number): void {
    this.u8(value >> 8)
    this.u8(value & 0xff)
  }

  /** The next `count` bytes at the cursor, which moves on. */
  take(at: Cursor, count: number): void {
    at.need(count)
    const { bytes, length } = this
    if (length + count <= MAX_BYTES) {
      const from = at.bytes
      const start = at.position
      for (let i = 0; i < count; i++) bytes[length + i] = from[start + i]!
    }
    this.length = length + count
    at.position += count
  }

  /** One character a byte; null where it is too long. */
  get text(): string | null {
    return this.length > MAX_BYTES ? null : this.bytes.toString('latin1', 0, this.length)
  }
}
