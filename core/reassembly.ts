/**
 * TCP payloads in the order in which they were sent (RFC 9293, 3.4 and 3.10).
 *
 * What came twice is cut away: the first copy wins. What is missing is waited for as long as it may still come: until
 * the receiver has acknowledged it (then it was lost by the capture, not by the network) and a few more packets have
 * passed, or until too much has piled up behind it. Then the gap is reported, never papered over.
 *
 * The two directions keep their order too: bytes that answer others (their `ack` says which their sender had received)
 * wait for them, for a capture may swap an answer with its request.
 */
import type { Connection, Half, Segment } from './connections.ts'
import type { Tally } from './tally.ts'

/** Captures swap packets that came by different queues; more than this many places is loss. */
const REORDER_PACKETS = 16
/** And so many seconds, where few packets pass. */
const REORDER_SECONDS = 2
/** Behind a hole of a one-sided capture, where nothing acknowledges: some receive windows' worth. */
const MAX_EARLY_BYTES = 4 << 20
const MAX_EARLY_SEGMENTS = 4096
/** What a segment takes beside its bytes: one byte a segment must not cost hundreds that nobody counts. */
const SEGMENT_BYTES = 256

/** Bytes that one half sent, and when the packet was captured that brought them. They are only valid during the call. */
export type Said = [
  c: Connection,
  half: Half,
  bytes: Uint8Array,
  start: number,
  end: number,
  seconds: number,
  nanoseconds: number,
]

/** Who is told of the bytes in order. */
export interface Reader {
  /** `ack` is what the sender had received when it sent them. */
  bytes(...said: [...Said, ack: number]): void
  /** `length` bytes before `half.next` were never seen. */
  gap(c: Connection, half: Half, length: number): void
}

export class Reassembly {
  private readonly reader: Reader
  private readonly tally: Tally
  /** Bytes held back everywhere, for the limit over all connections. */
  held = 0
  /** Connections in which bytes are held back. */
  readonly stalled = new Set<Connection>()

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
    const peer = c.peer(half)
    // Behind a hole, too, the first copy may be here already.
    if (ahead > 0 || half.early !== null || this.isTooSoon(peer, ack)) {
      if (ahead < 0 && -ahead >= end - start) this.tally.skip('sent twice', end - start)
      else {
        // Not slice, which copies nothing where the source's buffer is a Buffer.
        const copy = new Uint8Array(bytes.subarray(start, end))
        this.hold(c, half, { seq, bytes: copy, missing, seconds, nanoseconds, ack }, ahead)
        if (ahead <= 0) this.drain(c)
      }
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
    if (peer.early !== null) this.drain(c)
  }

  /** The sender of these bytes had received bytes of `peer` that have not come here. */
  private isTooSoon(peer: Half, ack: number): boolean {
    if (unseenOf(peer, ack) <= 0) return false
    if (peer.seen) return true
    // Of a capture that holds one direction only.
    peer.next = ack
    return false
  }

  /** After each packet of a stalled connection: is it still worth waiting? */
  reconsider(c: Connection): void {
    for (const half of [c.forth, c.back]) {
      const { early } = half
      if (early === null) continue
      if (this.isOverdue(c, half)) half.overdue++
      if (half.overdue >= REORDER_PACKETS) this.giveUp(c, half)
      else if (half.earlyBytes > MAX_EARLY_BYTES || early.length > MAX_EARLY_SEGMENTS) {
        this.tally.limit('out-of-order bytes')
        this.giveUp(c, half)
      }
    }
  }

  /** Time has passed: what has been overdue for too long will not come. */
  tick(seconds: number): void {
    for (const c of this.stalled)
      for (const half of [c.forth, c.back])
        while (half.early !== null && seconds - half.early[0]!.seconds > REORDER_SECONDS && this.isOverdue(c, half))
          this.giveUp(c, half)
  }

  /** What is missing was received by whom it was meant for. */
  private isOverdue(c: Connection, half: Half): boolean {
    const first = half.early![0]!
    if (((first.seq - half.next) | 0) <= 0) return unseenOf(c.peer(half), first.ack) > 0
    return half.ackSeen && ((half.acked - half.next) | 0) > 0
  }

  /** Nothing more will come: everything that waits is delivered, with its gaps. */
  finish(c: Connection): void {
    while (c.forth.early !== null) this.giveUp(c, c.forth)
    while (c.back.early !== null) this.giveUp(c, c.back)
  }

  private hold(c: Connection, half: Half, segment: Segment, ahead: number): void {
    // Beyond any window: a stray packet of another connection, or of another life of this one.
    if (ahead > 0x40000000) {
      this.tally.skip('after a gap', segment.bytes.length)
      return
    }
    if (half.early === null) {
      half.early = []
      half.overdue = 0
      this.stalled.add(c)
    }
    const { early } = half
    let { seq, bytes } = segment
    let i = early.length
    while (i > 0 && ((early[i - 1]!.seq - seq) | 0) > 0) i--
    // The first copy wins: what overlaps those already here is cut away, and the rest fills the holes between them.
    for (;;) {
      const before = early[i - 1]
      const overlap = before === undefined ? -1 : (before.seq + before.bytes.length - seq) | 0
      const known = Math.min(Math.max(0, overlap), bytes.length)
      this.tally.skip('sent twice', known)
      if (known === bytes.length && overlap >= 0) return
      seq = (seq + known) | 0
      bytes = bytes.subarray(known)
      const after = early[i]
      const room = after === undefined ? bytes.length : Math.min((after.seq - seq) | 0, bytes.length)
      const whole = room === bytes.length
      if (room > 0 || whole) {
        early.splice(i++, 0, { ...segment, seq, bytes: bytes.subarray(0, room), missing: whole ? segment.missing : 0 })
        half.earlyBytes += SEGMENT_BYTES + room
        this.held += SEGMENT_BYTES + room
      }
      if (whole) return
      seq = (seq + room) | 0
      bytes = bytes.subarray(room)
      i++
    }
  }

  private giveUp(c: Connection, half: Half): void {
    const first = half.early![0]!
    const ahead = (first.seq - half.next) | 0
    if (ahead > 0) this.lose(c, half, ahead)
    else {
      const peer = c.peer(half)
      const unseen = unseenOf(peer, first.ack)
      const behind = peer.early === null ? unseen : Math.min(unseen, (peer.early[0]!.seq - peer.next) | 0)
      if (behind > 0) this.lose(c, peer, behind)
      // Each side waits for the other, which no network brings about: then the client spoke first.
      else if (half === c.client) first.ack = peer.next
      else if (unseen > 0) peer.early![0]!.ack = half.next
    }
    this.drain(c)
  }

  private lose(c: Connection, half: Half, length: number): void {
    half.next = (half.next + length) | 0
    half.overdue = 0
    this.tally.gaps++
    this.tally.missing += length
    this.reader.gap(c, half, length)
  }

  /** Delivers what has its turn, in both directions until neither can go on. */
  private drain(c: Connection): void {
    while (this.drainHalf(c, c.forth) || this.drainHalf(c, c.back)) {
      // One more round: what one side said may be what the other was waiting for.
    }
    if (c.forth.early === null && c.back.early === null) this.stalled.delete(c)
  }

  private drainHalf(c: Connection, half: Half): boolean {
    const { early } = half
    if (early === null) return false
    let taken = 0
    while (taken < early.length) {
      const { seq, bytes, missing, seconds, nanoseconds, ack } = early[taken]!
      const ahead = (seq - half.next) | 0
      if (ahead > 0 || this.isTooSoon(c.peer(half), ack)) break
      taken++
      half.earlyBytes -= SEGMENT_BYTES + bytes.length
      this.held -= SEGMENT_BYTES + bytes.length
      const known = Math.min(-ahead, bytes.length)
      if (known > 0) this.tally.skip('sent twice', known)
      if (known < bytes.length) {
        half.next = (half.next + bytes.length - known) | 0
        this.reader.bytes(c, half, bytes, known, bytes.length, seconds, nanoseconds, ack)
      }
      if (missing > 0 && known <= bytes.length && ((seq + bytes.length - half.next) | 0) === 0)
        this.lose(c, half, missing)
    }
    if (taken === 0) return false
    half.overdue = 0
    if (taken === early.length) half.early = null
    else early.splice(0, taken)
    return true
  }
}

/** Bytes of this half that are acknowledged and have not come. A FIN that has come has a number, too, and no byte. */
function unseenOf(half: Half, ack: number): number {
  const unseen = (ack - half.next) | 0
  return unseen === 1 && half.finSeen && half.next === half.fin ? 0 : unseen
}
