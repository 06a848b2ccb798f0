/** Messages of the handshake out of the fragments that records carry: one may have many, and a message many records. */
import { Cursor, Malformed } from '../../cursor.ts'

export interface HandshakeMessage {
  type: number
  body: Cursor
}

/** Chains of certificates have some thousand bytes, in tests a third of a million; a length of 16 MB is no message. */
const MAX_MESSAGE = 1 << 20
const HEADER = 4

/** type(1) length(3) body(length), again and again */
export class Messages {
  private bytes: Uint8Array
  private start = 0
  private end: number
  /** The bytes are somebody else's, and gone after this read. */
  private borrowed: boolean

  constructor() {
    this.bytes = EMPTY
    this.end = 0
    this.borrowed = true
  }

  /** Copies what waits for its rest, before the record is gone; returns what that takes, in bytes of memory. */
  retain(): number {
    if (this.borrowed) this.own(0)
    return this.bytes.length
  }

  add(fragment: Cursor): void {
    const { remaining } = fragment
    if (this.start === this.end) {
      // Most messages are whole in their record: no copy.
      this.bytes = fragment.bytes
      this.start = fragment.position
      this.end = fragment.end
      this.borrowed = true
      return
    }
    this.own(remaining)
    this.bytes.set(fragment.view(remaining), this.end)
    this.end += remaining
  }

  /** The next message that is whole; its body is gone with the record. */
  next(): HandshakeMessage | null {
    const { bytes, start } = this
    if (this.end - start < HEADER) return null
    const length = (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!
    if (length > MAX_MESSAGE) throw new Malformed(`expected a message of at most ${MAX_MESSAGE} bytes, found ${length}`)
    if (this.end - start < HEADER + length) return null
    this.start = start + HEADER + length
    return { type: bytes[start]!, body: new Cursor(bytes, start + HEADER, this.start, true) }
  }

  /** Makes the bytes its own, with room for more. Doubling: a message may come in records of a byte each. */
  private own(more: number): void {
    const size = this.end - this.start
    if (!this.borrowed && this.end + more <= this.bytes.length) return
    const larger = size + more === 0 ? EMPTY : new Uint8Array((size + more) * 2)
    larger.set(this.bytes.subarray(this.start, this.end))
    this.bytes = larger
    this.start = 0
    this.end = size
    this.borrowed = false
  }
}

const EMPTY = new Uint8Array(0)
