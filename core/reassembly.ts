/**
 * TCP payloads in the order in which they were sent (RFC 9293, 3.4 and 3.10).
 *
 * What came twice is cut away: the first copy wins. What is missing is waited for as long as it may still come: until
 * the receiver has acknowledged it (then it was lost by the capture, not by the network) and a few more packets have
 * passed, or until too much has piled up behind it. Then the gap is reported, never papered over.
 */
import type { Connection, Half, Segment } from './connections.ts'
import type { Tally } from './tally.ts'

/** Captures swap packets that came by different queues; more than this many places is loss. */
const REORDER_PACKETS = 16
/** Behind a hole of a one-sided capture, where nothing acknowledges: some receive windows' worth. */
const MAX_EARLY_BYTES = 4 << 20
const MAX_EARLY_SEGMENTS = 4096

/** Who is told of the bytes in order. `ack` is what the sender had received when it sent them. */
export interface Reader {
  bytes(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, seconds: number, nanoseconds: number, ack: number): void
  /** `length` bytes before `half.next` were never seen. */
  gap(c: Connection, half: Half, length: number): void
}

export class Reassembly {
  private readonly reader: Reader
  private readonly tally: Tally
  /** Bytes held back everywhere, for the limit over all connections. */
  held = 0

  constructor(reader: Reader, tally: Tally) {
    this.reader = reader
    this.tally = tally
  }

  /** A segment's payload, `missing` of whose last bytes the capture cut off. */
  segment(
    c: Connection,
    half: Half,
    seq: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    missing: number,
    seconds: number,
    nanoseconds: number,
    ack: number,
  ): void {
    const ahead = (seq - half.next) | 0
    if (ahead > 0) {
      this.hold(c, half, { seq, bytes: bytes.slice(start, end), seconds, nanoseconds, ack }, ahead)
      return
    }
    if (ahead < 0) {
      const known = Math.min(-ahead, end - start)
      this.tally.skip('sent twice', known)
      start += known
      if (known < -ahead || start === end) return
    }
    half.next = (half.next + end - start) | 0
    if (end > start) this.reader.bytes(c, half, bytes, start, end, seconds, nanoseconds, ack)
    if (missing > 0) this.lose(c, half, missing)
    if (half.early !== null) this.drain(c, half)
  }

  /** After each packet of the connection while `half` has a hole: is it still worth waiting? */
  reconsider(c: Connection, half: Half): void {
    const early = half.early
    if (early === null) return
    const hole = half.next
    if (half.ackSeen && ((half.acked - hole) | 0) > 0) half.overdue++
    if (half.overdue >= REORDER_PACKETS) this.giveUp(c, half)
    else if (half.earlyBytes > MAX_EARLY_BYTES || early.length > MAX_EARLY_SEGMENTS) {
      this.tally.limit('out-of-order bytes')
      this.giveUp(c, half)
    }
  }

  /** Nothing more will come: everything that waits is delivered, with its gaps. */
  finish(c: Connection, half: Half): void {
    while (half.early !== null) this.giveUp(c, half)
  }

  private hold(c: Connection, half: Half, segment: Segment, ahead: number): void {
    // Beyond any window: a stray packet of another connection, or of another life of this one.
    if (ahead > 0x40000000) {
      this.tally.skip('after a gap', segment.bytes.length)
      return
    }
    half.early ??= []
    const early = half.early
    let i = early.length
    while (i > 0 && ((early[i - 1]!.seq - segment.seq) | 0) > 0) i--
    const before = early[i - 1]
    if (before !== undefined && ((before.seq + before.bytes.length - (segment.seq + segment.bytes.length)) | 0) >= 0) {
      this.tally.skip('sent twice', segment.bytes.length)
      return
    }
    early.splice(i, 0, segment)
    half.earlyBytes += segment.bytes.length
    this.held += segment.bytes.length
    this.reconsider(c, half)
  }

  private giveUp(c: Connection, half: Half): void {
    const length = (half.early![0]!.seq - half.next) | 0
    this.lose(c, half, length)
    this.drain(c, half)
  }

  private lose(c: Connection, half: Half, length: number): void {
    half.next = (half.next + length) | 0
    half.overdue = 0
    this.tally.gaps++
    this.tally.missing += length
    this.reader.gap(c, half, length)
  }

  private drain(c: Connection, half: Half): void {
    const early = half.early
    if (early === null) return
    let taken = 0
    while (taken < early.length) {
      const { seq, bytes, seconds, nanoseconds, ack } = early[taken]!
      const ahead = (seq - half.next) | 0
      if (ahead > 0) break
      taken++
      half.earlyBytes -= bytes.length
      this.held -= bytes.length
      const known = Math.min(-ahead, bytes.length)
      if (known > 0) this.tally.skip('sent twice', known)
      if (known === bytes.length) continue
      half.next = (half.next + bytes.length - known) | 0
      this.reader.bytes(c, half, bytes, known, bytes.length, seconds, nanoseconds, ack)
    }
    if (taken > 0) half.overdue = 0
    if (taken === early.length) half.early = null
    else if (taken > 0) early.splice(0, taken)
  }
}
