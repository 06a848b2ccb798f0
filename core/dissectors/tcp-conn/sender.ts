/**
 * What one end of a TCP connection has sent, as far as sequence numbers tell: what was new, what came again, what is
 * missing, and how long the other end took to acknowledge it. The notions are those of Wireshark's TCP analysis.
 */

/**
 * Whoever misses something needs a round trip to get it again: what fills a hole sooner was overtaken on the way. So much
 * of a round trip, which is never the same twice; and where it is not known, so many microseconds.
 */
const REORDER_SHARE = 0.8
const REORDER_US = 3000
/** A retransmission so soon after the third acknowledgement of the same byte was not sent by a timer. */
const FAST_US = 20_000
/** Holes that are remembered; a sender whose capture has more has lost the older ones for good. */
const MAX_HOLES = 64

export class Sender {
  packets = 0
  /** Bytes on the wire, headers included. */
  wire = 0
  /** Payload, repeated bytes included. */
  payload = 0
  /** Payload without what came again. */
  fresh = 0

  /** Sequence number behind the highest byte that was seen, SYN and FIN counted. */
  next = 0
  begun = false
  isn = 0
  /** What it acknowledged last, and when it sent anything last. */
  ack = 0
  acks = false
  lastAt = 0
  firstDataAt = -1
  firstAckAt = -1

  /** As the header has it, not scaled. */
  window = -1
  windowSum = 0
  windows = 0
  /** -1: no SYN was seen, or it did not offer to scale. */
  scale = -1
  mss = -1
  sackPermitted = false
  timestamps = false

  syns = 0
  fins = 0
  resets = 0
  retransmissions = 0
  fast = 0
  spurious = 0
  outOfOrder = 0
  duplicateAcks = 0
  /** Equal ones since the last byte was acknowledged. */
  equalAcks = 0
  zeroWindows = 0
  windowFulls = 0
  keepAlives = 0
  /** Its last packet was one. */
  keptAlive = false
  probes = 0
  /** Times that a segment did not begin where the one before ended, or that bytes were acknowledged that nobody saw. */
  missing = 0
  missingBytes = 0
  ackedUnseen = 0
  duplicateSacks = 0

  /** One segment at a time is timed until it is acknowledged (RFC 6298, 3). */
  private timing = false
  private timedSeq = 0
  private timedAt = 0
  samples = 0
  rttMin = 0
  rttMax = 0
  rttSum = 0
  private rttLast = 0
  jitterSum = 0

  /** Between which sequence numbers nothing was seen, in order of their finding; null while there are none. */
  private holes: Hole[] | null = null

  begin(next: number): void {
    this.begun = true
    this.next = next
  }

  /** Bytes (or a FIN) that follow what was seen last. */
  advance(end: number, length: number, at: number): void {
    this.next = end
    this.fresh += length
    if (!this.timing && length > 0) {
      this.timing = true
      this.timedSeq = end
      this.timedAt = at
    }
  }

  /** Something begins `ahead` bytes behind what was seen last. */
  jump(seq: number, ahead: number, at: number): void {
    this.missing++
    this.missingBytes += ahead
    this.holes ??= []
    this.holes.push({ from: this.next, to: seq, at })
    if (this.holes.length > MAX_HOLES) this.holes.shift()
    this.next = seq
  }

  /** Bytes before `next`: sent again, or come late. `receiver` is the other end, `roundTrip` -1 when it is not known. */
  again(receiver: Sender, seq: number, end: number, length: number, at: number, roundTrip: number): void {
    // Whether the first or the second is acknowledged cannot be told (Karn).
    if (this.timing && ((this.timedSeq - seq) | 0) > 0) this.timing = false
    this.openedAt = Number.NEGATIVE_INFINITY
    const filled = this.fill(seq, end)
    const beyond = Math.max(0, (end - this.next) | 0)
    this.fresh += Math.min(length, filled + beyond)
    const reorder = roundTrip < 0 ? REORDER_US : roundTrip * REORDER_SHARE
    if (this.isFast(receiver, seq, at)) {
      this.retransmissions++
      this.fast++
    } else if (filled > 0 && at - this.openedAt < reorder) this.outOfOrder++
    else {
      this.retransmissions++
      if (length > 0 && receiver.acks && ((end - receiver.ack) | 0) <= 0) this.spurious++
    }
    if (beyond > 0) this.next = end
  }

  private isFast(receiver: Sender, seq: number, at: number): boolean {
    return receiver.equalAcks >= 2 && receiver.ack === seq && at - receiver.lastAt < FAST_US
  }

  /** The other end has everything before `ack`. */
  acknowledge(ack: number, at: number): void {
    const unseen = (ack - this.next) | 0
    // Of a capture that holds one direction only.
    if (this.packets === 0) this.next = ack
    else if (unseen > 0 && this.begun) {
      this.ackedUnseen++
      this.jump(ack, unseen, at)
    }
    if (this.timing && ((ack - this.timedSeq) | 0) >= 0) {
      this.timing = false
      this.sample(at - this.timedAt)
    }
  }

  /** Samples that have one before them. */
  get changes(): number {
    return Math.max(0, this.samples - 1)
  }

  private sample(time: number): void {
    if (time < 0) return
    if (this.samples === 0 || time < this.rttMin) this.rttMin = time
    if (time > this.rttMax) this.rttMax = time
    if (this.samples > 0) this.jitterSum += Math.abs(time - this.rttLast)
    this.rttLast = time
    this.rttSum += time
    this.samples++
  }

  /** How many bytes of `seq` to `end` were missing until now; since when, is `openedAt`. */
  private fill(seq: number, end: number): number {
    const { holes } = this
    if (holes === null) return 0
    let filled = 0
    for (let i = 0; i < holes.length; i++) {
      const hole = holes[i]!
      const start = ((seq - hole.from) | 0) > 0 ? seq : hole.from
      const stop = ((end - hole.to) | 0) < 0 ? end : hole.to
      const size = (stop - start) | 0
      if (size <= 0) continue
      filled += size
      this.openedAt = hole.at
      const rest = ((hole.to - stop) | 0) > 0 ? { from: stop, to: hole.to, at: hole.at } : null
      if (((start - hole.from) | 0) > 0) {
        hole.to = start
        if (rest !== null) holes.splice(++i, 0, rest)
      } else if (rest !== null) holes[i] = rest
      else holes.splice(i--, 1)
    }
    this.missingBytes -= filled
    if (holes.length === 0) this.holes = null
    return filled
  }
  private openedAt = 0
}

interface Hole {
  from: number
  to: number
  /** When something behind it was seen first. */
  at: number
}
