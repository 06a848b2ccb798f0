/** Bytes of a handshake out of datagrams, which bring its pieces in any order, and some of them twice. */

/** A hello has a few thousand bytes; RFC 9000, 7.5 asks of nobody to keep more than 4096 that are out of order. */
const MAX_BYTES = 65_536
/** Clients cut their hello into some ten pieces to tease middleboxes. */
const MAX_PIECES = 256

export class Pieces {
  private waiting: { start: number; bytes: Uint8Array }[] = []
  /** Bytes from the beginning that have been taken. */
  private taken: number

  constructor(taken = 0) {
    this.taken = taken
  }

  /** Whether so many bytes are the next ones, and nothing waits for them: then they are taken, and need not be added. */
  follow(start: number, length: number): boolean {
    if (start !== this.taken || this.waiting.length > 0 || start + length > MAX_BYTES) return false
    this.taken += length
    return true
  }

  /** Returns the bytes that are in order now and were not before. */
  add(start: number, bytes: Uint8Array): Uint8Array[] {
    if (start + bytes.length > this.taken && start + bytes.length <= MAX_BYTES && this.waiting.length < MAX_PIECES)
      this.waiting.push({ start, bytes })
    const inOrder: Uint8Array[] = []
    for (let i = 0; i < this.waiting.length; i++) {
      const piece = this.waiting[i]!
      if (piece.start > this.taken) continue
      this.waiting.splice(i, 1)
      const fresh = piece.bytes.subarray(this.taken - piece.start)
      if (fresh.length > 0) inOrder.push(fresh)
      this.taken += fresh.length
      // It may have closed the gap before one that was passed over.
      i = -1
    }
    return inOrder
  }
}
