/**
 * Packets in, items out: the only file that knows frames, fragments, reassembly and conversations alike. A pure
 * function of the packets: there is no clock but theirs, and nothing here knows a live packet from an old one.
 */
import type { Batch } from './batch.ts'
import { type Connection, Connections, type Half, MAX_CONNECTIONS } from './connections.ts'
import { Conversation, type Quote } from './conversation.ts'
import type { Describe, Ending, Observer, Passing, Transport } from './dissector.ts'
import { Fragments } from './fragments.ts'
import { decode, Frame, resume, type Verdict } from './frame.ts'
import { ItemWriter } from './item-writer.ts'
import { emptyPacket, type Packet } from './packet.ts'
import { Reassembly } from './reassembly.ts'
import { Refining } from './refining.ts'
import type { Protocols } from './registry.ts'
import { type SkipCause, Tally } from './tally.ts'
import type { Trace } from './trace.ts'
import { type Claimant, type Listener, Unclaimed } from './unclaimed.ts'
import { type Witness, Witnessed } from './witness.ts'

export interface PipelineSettings {
  protocols: Protocols
  /** Who says so, in every item's `worker` and `id`. */
  worker: string
  node: { ip: string; name: string } | null
  /** Bytes of each body to keep; 0 for none. */
  keepBodies: number
  /** Where somebody has descriptions of messages (.proto files). */
  describe?: Describe | null
  /** Who takes the streams that no dissector knows. */
  claimant?: Claimant | null
  /** Who wants to know which packets items were made of. */
  trace?: Trace | null
  /** Who hears everything. */
  witness?: Witness | null
}

/** Unfinished messages and segments before their turn, over all connections: half of what a worker may use. */
const MAX_HELD = 64 << 20
/** Two copies of one datagram, from a mirror port or from both ends of a veth pair, are closer together than this. */
const COPY_NANOSECONDS = 2_000_000

/** Seconds for which the last acknowledgements of a connection that has ended are waited for. */
const LINGER_SECONDS = 2
/** Connections that live are told of so often, where packets come. */
const TELL_SECONDS = 60

/** Link type of a packet that begins with its IP header. */
const RAW_IP = 101

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

export class Pipeline {
  readonly tally = new Tally()
  private readonly frame = new Frame()
  /** Of what an ICMP error quotes. */
  private readonly quotedFrame = new Frame()
  private readonly quotedPacket: Packet = { ...emptyPacket(), linkType: RAW_IP }
  private readonly fragments = new Fragments()
  private readonly connections = new Connections()
  private readonly writer: ItemWriter
  private readonly conversation: Conversation
  /** The conversation, or who stands before it. */
  private readonly listener: Listener
  private readonly witness: Witness | null
  private readonly reassembly: Reassembly
  private readonly trace: Trace | null
  /** Nobody remembers connections but the table. */
  private readonly mayRest: boolean
  private readonly tcpObserver: Observer | null
  private readonly udpObserver: Observer | null
  private readonly passing: Passing = emptyPassing()
  /** Connections that have ended and were not told of yet: what comes late still counts. */
  private ended: Connection[] = []
  private now = 0
  /** Payload of IP fragments that are waiting, or were in vain. */
  private fragmentBytes = 0

  constructor(settings: PipelineSettings, sink: (batch: Batch) => void) {
    const { observers } = settings.protocols
    this.tcpObserver = observerOf(observers, 'tcp')
    this.udpObserver = observerOf(observers, 'udp')
    const { protocols, keepBodies, describe = null, claimant = null, trace = null, witness = null } = settings
    this.trace = trace
    this.writer = new ItemWriter(settings.worker, settings.node, sink, trace)
    const refining = new Refining(protocols.refiners)
    refining.select(protocols)
    this.conversation = new Conversation(
      protocols.dissectors,
      refining,
      this.writer,
      this.tally,
      keepBodies,
      describe,
      witness,
    )
    this.conversation.traced = trace !== null
    const listener =
      claimant === null ? this.conversation : new Unclaimed(this.conversation, claimant, refining, this.tally)
    this.witness = witness
    this.listener = witness === null ? listener : new Witnessed(listener, witness)
    this.reassembly = new Reassembly(this.listener, this.tally)
    this.mayRest = trace === null && witness === null && claimant === null && this.udpObserver === null
  }

  packet(packet: Packet): void {
    const { tally, frame } = this
    tally.packets++
    const size = packet.end - packet.start
    tally.bytes += size
    if (packet.seconds > this.now) this.tick(packet.seconds)
    const verdict = decode(packet, frame)
    if (verdict === 'ok') {
      tally.headers += size - (frame.end - frame.start)
      this.transport(packet)
    } else if (verdict === 'fragment') {
      tally.headers += size - (frame.end - frame.start)
      this.fragment(packet)
    } else {
      if (verdict === 'unknown-link-type') tally.unknownLink(frame.linkType)
      tally.skip(CAUSES[verdict], size)
    }
  }

  /** A datagram that is whole now may hold a tunnel, and the tunnel another fragment. */
  private fragment(packet: Packet): void {
    const { tally, frame } = this
    for (let verdict: Verdict = 'fragment'; verdict === 'fragment'; ) {
      this.fragmentBytes += frame.end - frame.start
      if (!this.fragments.add(frame, packet.seconds)) {
        this.trace?.wait(frame)
        return
      }
      this.trace?.join(frame)
      const whole = frame.end - frame.start
      this.fragmentBytes -= whole
      verdict = resume(frame)
      tally.headers += whole - (frame.end - frame.start)
      if (verdict === 'ok') this.transport(packet)
      else if (verdict !== 'fragment') tally.skip(CAUSES[verdict], frame.end - frame.start)
    }
  }

  /** Time passes also without packets: who has been silent for too long is finished. */
  tick(seconds: number): void {
    this.now = seconds
    if (this.reassembly.stalled.size > 0) this.reassembly.tick(seconds)
    for (let c = this.connections.expired(seconds); c !== null; c = this.connections.expired(seconds))
      this.retire(c, 'idle')
    this.tellEnded(seconds - LINGER_SECONDS)
  }

  /** Hands over the items that are ready. */
  flush(): void {
    this.writer.flush()
  }

  /** Bytes of memory for unfinished messages and for segments before their turn. */
  get held(): number {
    return this.reassembly.held + this.conversation.held
  }

  /** No packet will come any more. */
  finish(): void {
    // One that is concluded may push an older one out.
    for (const c of [...this.connections]) if (c.here) this.retire(c, 'capture-ended')
    this.fragments.end()
    this.tally.skip('IP fragments not completed', this.fragmentBytes)
    this.fragmentBytes = 0
    this.writer.flush()
  }

  private transport(packet: Packet): void {
    const { protocol, version } = this.frame
    if (protocol === 6) this.tcp(packet)
    else if (protocol === 17) this.udp(packet)
    else if (protocol === 1 && version === 4) this.icmp(packet, 'icmp')
    else if (protocol === 58 && version === 6) this.icmp(packet, 'icmpv6')
    else if (protocol === 132) this.sctp(packet)
    else this.tally.skip('transport not dissected', this.frame.end - this.frame.start)
  }

  // ── TCP (RFC 9293, 3.1) ─────────────────────────────────────────────────────────────────────────────────────────

  private tcp(packet: Packet): void {
    const { frame, tally, connections } = this
    const { bytes: b, start: p, end } = frame
    const offset = end - p < 20 ? 0 : (b[p + 12]! >> 4) * 4
    const uncaptured = Math.max(0, p + offset - end)
    if (offset < 20 || uncaptured > frame.missing) {
      tally.skip('unreadable headers', end - p)
      return
    }
    // Of a packet that was cut within its options all but these is known.
    frame.missing -= uncaptured
    const start = p + offset - uncaptured
    tally.headers += start - p
    const source = (b[p]! << 8) | b[p + 1]!
    const destination = (b[p + 2]! << 8) | b[p + 3]!
    const seq = (b[p + 4]! << 24) | (b[p + 5]! << 16) | (b[p + 6]! << 8) | b[p + 7]!
    const ack = (b[p + 8]! << 24) | (b[p + 9]! << 16) | (b[p + 10]! << 8) | b[p + 11]!
    const flags = b[p + 13]!

    let c = connections.find(frame, 'tcp', source, destination)
    let forth = connections.forth
    if ((flags & (SYN | RST)) === SYN) {
      if (c !== null && this.isAnother(c, forth ? c.forth : c.back, seq)) {
        this.retire(c, 'closed')
        c = connections.find(frame, 'tcp', source, destination)
      }
      if (c === null) {
        c = this.open(frame, 'tcp', source, destination, packet)
        forth = true
      }
      this.handshake(c, forth, seq, ack, flags)
    } else if (c === null) {
      if (start === end && frame.missing === 0 && (flags & (FIN | RST)) !== 0) return
      c = this.open(frame, 'tcp', source, destination, packet)
      forth = true
      c.midstream = true
      c.forth.next = seq
      c.forth.begun = true
    }
    // What comes late does not keep a closed connection: the next one between these ends may begin unseen.
    if (c.life !== 'closed') connections.touch(c, packet.seconds, packet.nanoseconds)
    const half = forth ? c.forth : c.back
    const peer = forth ? c.back : c.forth
    half.seen = true
    this.trace?.packet(c, half, end - start + frame.missing)
    if (c.watch !== null) this.observeTcp(c, forth, packet, start, seq, ack, flags)
    if (!half.begun) {
      half.begun = true
      half.next = seq
    }
    if ((flags & ACK) !== 0) {
      if (!peer.begun) {
        peer.begun = true
        peer.next = ack
      }
      if (!peer.ackSeen || ((ack - peer.acked) | 0) > 0) peer.acked = ack
      peer.ackSeen = true
    }
    if ((flags & RST) !== 0) {
      tally.skip('in a reset', end - start)
      // One far outside of the window was not meant for this connection, or is an attack on it.
      const ahead = (seq - half.next) | 0
      if (c.life === 'open' && (seq === 0 || (ahead >= -1 && ahead < 1 << 24))) {
        c.reset = c.client === null ? null : c.side(half)
        this.conclude(c, 'reset')
      }
      return
    }
    const first = (flags & SYN) !== 0 ? (seq + 1) | 0 : seq
    if (c.life === 'closed') tally.skip('sent twice', end - start)
    else {
      // A FIN too waits for what was sent before it: what is missing there is a gap like any other.
      if (end > start || frame.missing > 0 || (flags & FIN) !== 0)
        this.reassembly.segment(c, half, first, b, start, end, frame.missing, packet.seconds, packet.nanoseconds, ack)
      if ((flags & FIN) !== 0) {
        half.fin = (first + end - start + frame.missing) | 0
        half.finSeen = true
      }
      if (half.early !== null || peer.early !== null) this.reassembly.reconsider(c)
      this.closeEnded(c, half)
      this.closeEnded(c, peer)
    }
    if (this.held > MAX_HELD) this.shed()
  }

  /** A SYN on a known pair of ends: the next connection between them, not the same SYN again. */
  private isAnother(c: Connection, half: Half, seq: number): boolean {
    if (c.life === 'closed') return true
    if (!half.begun) return false
    // Where the SYN was not seen, its number must at least lie near.
    return half.isn === null ? Math.abs((half.next - seq) | 0) > 1 << 20 : half.isn !== seq
  }

  private handshake(c: Connection, forth: boolean, seq: number, ack: number, flags: number): void {
    const half = forth ? c.forth : c.back
    const peer = forth ? c.back : c.forth
    if (half.begun) return
    half.begun = true
    half.isn = seq
    half.next = (seq + 1) | 0
    if ((flags & ACK) === 0) c.client ??= half
    else {
      c.client ??= peer
      if (!peer.begun) {
        peer.begun = true
        peer.next = ack
      }
    }
  }

  private closeEnded(c: Connection, half: Half): void {
    if (!half.finSeen || half.ended || half.next !== half.fin) return
    this.listener.end(c, half, 'closed')
    // The FIN has a sequence number of its own, which the other side acknowledges.
    half.next = (half.next + 1) | 0
    if (c.forth.ended && c.back.ended) this.conclude(c, 'closed')
  }

  private open(frame: Frame, transport: Transport, source: number, destination: number, first: Packet): Connection {
    if (this.connections.count >= MAX_CONNECTIONS) {
      this.tally.limit('connections')
      this.retire(this.connections.oldest()!, 'idle')
      this.connections.find(frame, transport, source, destination)
    }
    this.tally.connections++
    const c = this.connections.add(frame, transport, source, destination, first)
    const observer = this.observerOf(c)
    if (observer !== null) {
      c.watch = observer.open()
      c.toldAt = this.now
    }
    return c
  }

  /** Everything has been said; the connection stays for a while, for what comes late. */
  private conclude(c: Connection, why: Ending): void {
    this.reassembly.finish(c)
    if (why !== 'reset') {
      // A FIN may have waited behind what is given up now.
      this.closeEnded(c, c.forth)
      this.closeEnded(c, c.back)
      if (c.life === 'closed') return
    }
    c.ending = why
    this.listener.finish(c, why)
    this.connections.close(c)
    if (c.watch !== null && c.life === 'closed') {
      c.toldAt = this.now
      this.ended.push(c)
    }
    const { surplus } = this.connections
    if (surplus !== null) this.retire(surplus, 'closed')
  }

  private retire(c: Connection, why: Ending): void {
    if (c.life !== 'closed') this.conclude(c, why)
    this.tell(c)
    this.trace?.end(c)
    this.connections.remove(c)
  }

  // ── observers ───────────────────────────────────────────────────────────────────────────────────────────────────

  private observerOf({ transport }: Connection): Observer | null {
    return transport === 'tcp' ? this.tcpObserver : transport === 'udp' ? this.udpObserver : null
  }

  private observeTcp(
    c: Connection,
    forth: boolean,
    packet: Packet,
    payload: number,
    seq: number,
    ack: number,
    flags: number,
  ): void {
    const { passing, frame } = this
    const { bytes: b, start: p } = frame
    passing.forth = forth
    passing.seconds = packet.seconds
    passing.nanoseconds = packet.nanoseconds
    passing.wire = packet.length
    passing.length = frame.end - payload + frame.missing
    passing.seq = seq
    passing.ack = ack
    passing.flags = flags
    passing.window = (b[p + 14]! << 8) | b[p + 15]!
    passing.bytes = b
    passing.optionsStart = p + 20
    passing.optionsEnd = payload
    this.tcpObserver!.observe(c.watch, passing)
    if (packet.seconds - c.toldAt >= TELL_SECONDS && c.life !== 'closed') this.tellOf(c, this.tcpObserver!)
  }

  private observeUdp(c: Connection, forth: boolean, packet: Packet, length: number): void {
    const { passing } = this
    passing.forth = forth
    passing.seconds = packet.seconds
    passing.nanoseconds = packet.nanoseconds
    passing.wire = packet.length
    passing.length = length
    this.udpObserver!.observe(c.watch, passing)
    if (packet.seconds - c.toldAt >= TELL_SECONDS) this.tellOf(c, this.udpObserver!)
  }

  /** Those that ended before this second, and behind which nothing came since. */
  private tellEnded(before: number): void {
    const { ended } = this
    let done = 0
    while (done < ended.length && ended[done]!.toldAt < before) this.tell(ended[done++]!)
    if (done > 0) ended.splice(0, done)
  }

  /** For the last time. */
  private tell(c: Connection): void {
    if (c.watch === null) return
    this.tellOf(c, this.observerOf(c)!)
    c.watch = null
  }

  private tellOf(c: Connection, observer: Observer): void {
    c.toldAt = this.now
    const { spoken, dissector } = c
    const told = observer.report(c.watch, {
      swapped: c.client !== null && c.client === c.back,
      why: c.ending,
      protocols: dissector === null || spoken.includes(dissector.name) ? spoken : [...spoken, dissector.name],
      refused: c.refused,
    })
    if (told === null) return
    const { body, error, failed, seconds, nanoseconds } = told
    const tally = this.tally.protocol(observer.name)
    tally.items++
    tally.events++
    if (failed) tally.failed++
    this.writer.writeEvent(
      c,
      { face: observer, asker: 'client', body, size: 0, failed, version: undefined },
      error,
      seconds,
      nanoseconds,
    )
  }

  /** Who has been silent the longest holds the least that is still wanted. */
  private shed(): void {
    while (this.held > MAX_HELD) {
      const oldest = this.connections.oldest()
      if (oldest === null) return
      this.tally.limit('buffered bytes')
      this.retire(oldest, 'idle')
    }
  }

  // ── UDP (RFC 768) ───────────────────────────────────────────────────────────────────────────────────────────────

  private udp(packet: Packet): void {
    const { frame, tally, connections } = this
    const { bytes: b, start: p, end } = frame
    if (end - p < 8) {
      tally.skip('unreadable headers', end - p)
      return
    }
    const announced = (b[p + 4]! << 8) | b[p + 5]!
    // 0: a jumbogram (RFC 2675).
    const last = announced >= 8 && p + announced < end ? p + announced : end
    const start = p + 8
    tally.headers += 8 + end - last
    const source = (b[p]! << 8) | b[p + 1]!
    const destination = (b[p + 2]! << 8) | b[p + 3]!
    let c = connections.find(frame, 'udp', source, destination)
    let forth = connections.forth
    if (c === null) {
      c = this.open(frame, 'udp', source, destination, packet)
      forth = true
    }
    connections.touch(c, packet.seconds, packet.nanoseconds)
    const half = forth ? c.forth : c.back
    half.seen = true
    this.trace?.packet(c, half, last - start + frame.missing)
    if (c.watch !== null) this.observeUdp(c, forth, packet, last - start + frame.missing)
    // What nobody can read makes nothing that could come twice.
    const isNoise = c.unknown && c.passedOver === 'encrypted' && this.witness === null
    if (!isNoise && this.isCopy(half, packet, b, start, last)) tally.skip('sent twice', last - start)
    else if (frame.missing > 0) {
      tally.missing += frame.missing
      tally.skip('message cut short', last - start)
      this.witness?.gap(c, half, frame.missing)
    } else {
      this.listener.datagram(c, half, b, start, last, packet.seconds, packet.nanoseconds, 0)
      if (this.mayRest && isAnswered(c) && !connections.rest(c)) tally.limit('dormant flows')
    }
  }

  // ── ICMP (RFC 792, 4443) ────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Who asks and who is asked are told apart by two ports of our own making: pings of both ends at the same time are
   * two conversations. Everything that nobody asked for is said by the one who asks.
   */
  private icmp(packet: Packet, transport: 'icmp' | 'icmpv6'): void {
    const { frame, tally, connections } = this
    const { bytes: b, start: p, end } = frame
    if (end - p < 4) {
      tally.skip('unreadable headers', end - p)
      return
    }
    const type = b[p]!
    const answers = (transport === 'icmp' ? ICMP_ANSWERS : ICMPV6_ANSWERS).includes(type)
    const [source, destination] = answers ? [ASKED, ASKER] : [ASKER, ASKED]
    let c = connections.find(frame, transport, source, destination)
    let forth = connections.forth
    if (c === null) {
      c = this.open(frame, transport, source, destination, packet)
      forth = true
      c.client = answers ? c.back : c.forth
    }
    connections.touch(c, packet.seconds, packet.nanoseconds)
    const half = forth ? c.forth : c.back
    half.seen = true
    this.trace?.packet(c, half, end - p)
    // Whoever was answered meanwhile asks again, with the same numbers.
    const answered = isLater(c.peer(half), half)
    if (this.isCopy(half, packet, b, p, end) && !answered) {
      tally.skip('sent twice', end - p)
      return
    }
    tally.missing += frame.missing
    const quotes = (transport === 'icmp' ? ICMP_ERRORS : ICMPV6_ERRORS).includes(type)
    this.conversation.quoted = quotes ? this.quoted(p + 8, end) : null
    this.conversation.datagram(c, half, b, p, end, packet.seconds, packet.nanoseconds, frame.missing)
  }

  /** What an error quotes from its eighth byte on: the beginning of a packet that somebody sent. */
  private quoted(start: number, end: number): Quote | null {
    const { connections, quotedPacket, quotedFrame: frame } = this
    if (end - start < 20) return null
    quotedPacket.bytes = this.frame.bytes
    quotedPacket.start = start
    quotedPacket.end = end
    quotedPacket.length = end - start
    const verdict = decode(quotedPacket, frame)
    const { bytes: b, start: p, protocol } = frame
    if ((verdict !== 'ok' && verdict !== 'fragment') || frame.end - p < 8) return null
    // It travelled where the error travels.
    if (frame.scope === 0) frame.scope = this.frame.scope
    const transport = QUOTED_TRANSPORTS[protocol]
    if (transport === undefined) return null
    const ports = transport === 'tcp' || transport === 'udp' || transport === 'sctp'
    const source = ports ? (b[p]! << 8) | b[p + 1]! : ASKER
    const destination = ports ? (b[p + 2]! << 8) | b[p + 3]! : ASKED
    const c = connections.peek(frame, transport, source, destination)
    if (c === null) return null
    this.trace?.quote(c)
    const half = connections.forth ? c.forth : c.back
    return { c, half, bytes: b, start: transport === 'udp' ? p + 8 : p, end: frame.end, missing: frame.missing }
  }

  // ── SCTP (RFC 9260, 3.1) ────────────────────────────────────────────────────────────────────────────────────────

  private sctp(packet: Packet): void {
    const { frame, tally, connections } = this
    const { bytes: b, start: p, end } = frame
    if (end - p < 12) {
      tally.skip('unreadable headers', end - p)
      return
    }
    const source = (b[p]! << 8) | b[p + 1]!
    const destination = (b[p + 2]! << 8) | b[p + 3]!
    let c = connections.find(frame, 'sctp', source, destination)
    let forth = connections.forth
    if (c === null) {
      c = this.open(frame, 'sctp', source, destination, packet)
      forth = true
    }
    connections.touch(c, packet.seconds, packet.nanoseconds)
    const half = forth ? c.forth : c.back
    half.seen = true
    this.trace?.packet(c, half, end - p)
    if (this.isCopy(half, packet, b, p, end)) {
      tally.skip('sent twice', end - p)
      return
    }
    tally.missing += frame.missing
    this.conversation.datagram(c, half, b, p, end, packet.seconds, packet.nanoseconds, frame.missing)
  }

  /** The same bytes from the same end a moment ago. */
  private isCopy(half: Half, packet: Packet, b: Uint8Array, start: number, end: number): boolean {
    // Not the checksum of UDP: the sender's network card may fill it in after the capture.
    const sum = this.sumOf(b, start, end)
    const length = end - start
    const gap = (packet.seconds - half.lastSeconds) * 1e9 + packet.nanoseconds - half.lastNanoseconds
    const same = half.lastLength === length && half.lastSum === sum && gap >= 0 && gap < COPY_NANOSECONDS
    half.lastLength = length
    half.lastSum = sum
    half.lastSeconds = packet.seconds
    half.lastNanoseconds = packet.nanoseconds
    return same
  }

  /** Different for different bytes but once in four billion. Eight at a time: of QUIC and media all are datagrams. */
  private sumOf(b: Uint8Array, start: number, end: number): number {
    if (this.view.buffer !== b.buffer) this.view = new DataView(b.buffer)
    const { view } = this
    const last = b.byteOffset + end
    let at = b.byteOffset + start
    let odd = 0
    let even = 0
    for (; at + 8 <= last; at += 8) {
      odd = (Math.imul(odd, 0x9e3779b1) + view.getInt32(at, true)) | 0
      even = (Math.imul(even, 0x9e3779b1) + view.getInt32(at + 4, true)) | 0
    }
    let sum = (Math.imul(odd, 0x85ebca6b) + even) | 0
    for (; at < last; at++) sum = (Math.imul(sum, 0x9e3779b1) + view.getUint8(at)) | 0
    return sum
  }
  private view: DataView = new DataView(new ArrayBuffer(0))
}

/** Nothing is under way in either direction, and what was said before does not matter for what may come. */
function isAnswered(c: Connection): boolean {
  const { dissector, waiting, forth, back } = c
  return (
    dissector?.answeredIsOver === true &&
    waiting?.count === 0 &&
    c.items > 0 &&
    !c.woken &&
    c.backScope === c.scope &&
    c.refused === null &&
    c.early === null &&
    forth.progress === null &&
    back.progress === null
  )
}

function observerOf(observers: readonly Observer[], transport: Transport): Observer | null {
  const found = observers.filter(({ transports }) => transports.includes(transport))
  if (found.length > 1) throw new TypeError(`one observer of ${transport}, found ${found.map(({ name }) => name)}`)
  return found[0] ?? null
}

function emptyPassing(): Passing {
  return {
    forth: true,
    seconds: 0,
    nanoseconds: 0,
    wire: 0,
    length: 0,
    seq: 0,
    ack: 0,
    flags: 0,
    window: 0,
    bytes: new Uint8Array(0),
    optionsStart: 0,
    optionsEnd: 0,
  }
}

/** The last datagram of `a` came after that of `b`. */
function isLater(a: Half, b: Half): boolean {
  return a.lastSeconds > b.lastSeconds || (a.lastSeconds === b.lastSeconds && a.lastNanoseconds > b.lastNanoseconds)
}

const ASKER = 1
const ASKED = 0
/** Types that answer another one. */
const ICMP_ANSWERS = [0, 14, 16, 18, 43]
const ICMPV6_ANSWERS = [129, 145, 147, 161]
/** Types that quote a packet behind their first eight bytes. */
const ICMP_ERRORS = [3, 4, 5, 11, 12]
const ICMPV6_ERRORS = [1, 2, 3, 4]
const QUOTED_TRANSPORTS: Readonly<Record<number, Transport>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmpv6',
  132: 'sctp',
}

const CAUSES: Record<Verdict, SkipCause> = {
  ok: 'transport not dissected',
  fragment: 'IP fragments not completed',
  'not-ip': 'not IP',
  truncated: 'unreadable headers',
  malformed: 'unreadable headers',
  encrypted: 'not IP',
  unsupported: 'unreadable headers',
  'too-many-layers': 'unreadable headers',
  'unknown-link-type': 'unknown link type',
}
