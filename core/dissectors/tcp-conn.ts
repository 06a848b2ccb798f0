/**
 * TCP connections themselves (RFC 9293): how they began and ended, how long the way is, what came again and what is
 * missing. One item when a connection ends, and one every minute while it lives.
 *
 *   source(2) destination(2) seq(4) ack(4) offset(4 bits) 0(4) flags(1) window(2) checksum(2) urgent(2) options
 *   option: kind(1) [length(1) value]: 2 MSS, 3 window scale, 4 SACK permitted, 5 SACK, 8 timestamps
 */
import type { Observer, Passing, Reported, Told } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import { Sender } from './tcp-conn/sender.ts'

export const observer: Observer<Watch> = {
  name: 'tcp-conn',
  title: 'TCP Connection',
  abbr: 'CONN',
  version: '',
  color: '#4b5563',
  reference: 'https://www.rfc-editor.org/rfc/rfc9293',
  ports: [],
  priority: 100,
  transports: ['tcp'],
  // Scripts that read `data.response.status` of every item would stumble over each connection.
  optional: true,
  open: () => new Watch(),
  observe,
  report,
  summarize,
}

/** `local` is the item's `src`, the end that opened the connection; `remote` its `dst`. Times are in microseconds. */
export interface TcpConnection extends Json {
  /** `open`: told of for the first time, and it lives; `in_progress`: it still does; `closed`. */
  state: 'open' | 'in_progress' | 'closed'
  /** Nothing more will be told of it: it has ended, or the capture has. Whoever adds up takes these. */
  final: boolean
  /** null while it lives. */
  ended: 'fin' | 'reset' | 'refused' | 'timeout' | 'idle' | null
  /** Who sent the first reset; who has sent a FIN while the other has not. */
  reset_by: 'local' | 'remote' | null
  half_closed_by: 'local' | 'remote' | null
  /** What was spoken on it. */
  l7_detected: string[]
  local_pkts: number
  /** On the wire, headers included. */
  local_bytes: number
  remote_pkts: number
  remote_bytes: number
  /** Sum of 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST. */
  connection_completeness: number
  /** From the last SYN and from the first one to the acknowledgement of its answer; null where they were not seen. */
  initial_rtt_us: number | null
  handshake_time_us: number | null
  /** From the first packet to the last. */
  connection_time_us: number
  /** From the client's first byte (or the handshake, if the server speaks first) to the server's. */
  time_to_first_byte_us: number | null
  rtt_min_us: number | null
  rtt_max_us: number | null
  rtt_avg_us: number | null
  rtt_samples: number
  /** Mean difference between a sample and the one before. */
  jitter_us: number | null
  /** Payload of both ends without what came again. */
  goodput_bytes: number
  retransmissions: number
  fast_retransmissions: number
  spurious_retransmissions: number
  /** Of the packets that carry something. */
  retransmission_rate: number
  out_of_order: number
  dup_acks: number
  zero_window_events: number
  window_full_events: number
  /** Of the client; null without. */
  window_scale: number | null
  avg_receive_window: number | null
  missing_segments: number
  rst_count: number
  fin_count: number
  keepalive_count: number
  /** Each end by itself. */
  local: TcpEnd
  remote: TcpEnd
}

/** What one end sent, and how long the other took to acknowledge it. */
export interface TcpEnd extends Json {
  payload_bytes: number
  goodput_bytes: number
  mss: number | null
  window_scale: number | null
  sack_permitted: boolean
  timestamps: boolean
  avg_receive_window: number | null
  syn_count: number
  fin_count: number
  rst_count: number
  retransmissions: number
  fast_retransmissions: number
  spurious_retransmissions: number
  /** Times that the other end told of bytes that came twice (RFC 2883). */
  duplicate_sacks: number
  out_of_order: number
  dup_acks: number
  zero_window_events: number
  zero_window_probes: number
  window_full_events: number
  keepalive_count: number
  missing_segments: number
  /** Bytes that were not captured, as sequence numbers and acknowledgements tell. */
  missing_bytes: number
  /** Times that the other end acknowledged what was not captured. */
  acked_unseen: number
  rtt_min_us: number | null
  rtt_max_us: number | null
  rtt_avg_us: number | null
  rtt_samples: number
}

/** Flags as they lie in the header. */
const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

const [SAW_SYN, SAW_SYN_ACK, SAW_ACK, SAW_DATA, SAW_FIN, SAW_RST] = [1, 2, 4, 8, 16, 32]

class Watch {
  /** A scan opens a hundred thousand connections by one SYN each: until a second packet comes, that is all there is. */
  syn: Offer | null = null
  forth: Sender = NOBODY
  back: Sender = NOBODY
  seconds = 0
  nanoseconds = 0
  packets = 0
  /** Microseconds since the first packet. */
  last = 0
  completeness = 0
  /** -1: not seen. */
  synAt = -1
  lastSynAt = -1
  synAckAt = -1
  handshakeAt = -1
  /** Who sent the first SYN, the first RST, the first FIN. */
  opener: Sender | null = null
  resetter: Sender | null = null
  reports = 0
}

/** A SYN of the end that sent the first packet, as far as its sender is concerned. */
class Offer {
  seq = 0
  wire = 0
  window = 0
  mss = -1
  scale = -1
  sackPermitted = false
  timestamps = false
}

/** Stands for both ends while there is only a SYN. */
const NOBODY = new Sender()

function unfold(watch: Watch): void {
  watch.forth = new Sender()
  watch.back = new Sender()
  const { syn, forth } = watch
  if (syn === null) return
  watch.syn = null
  forth.packets = 1
  forth.wire = syn.wire
  forth.syns = 1
  forth.isn = syn.seq
  forth.begin((syn.seq + 1) | 0)
  forth.window = syn.window
  forth.mss = syn.mss
  forth.scale = syn.scale
  forth.sackPermitted = syn.sackPermitted
  forth.timestamps = syn.timestamps
  watch.opener = forth
}

function observe(watch: Watch, p: Passing): void {
  if (watch.packets++ === 0) {
    watch.seconds = p.seconds
    watch.nanoseconds = p.nanoseconds
  }
  const at = (p.seconds - watch.seconds) * 1_000_000 + (((p.nanoseconds - watch.nanoseconds) * 0.001) | 0)
  watch.last = at
  if (watch.forth === NOBODY) {
    if (watch.packets === 1 && p.flags === SYN && p.length === 0) {
      watch.syn = offered(p)
      watch.completeness = SAW_SYN
      watch.synAt = 0
      watch.lastSynAt = 0
      return
    }
    unfold(watch)
  }
  const own = p.forth ? watch.forth : watch.back
  const peer = p.forth ? watch.back : watch.forth
  const { flags, length } = p
  own.packets++
  own.wire += p.wire
  own.payload += length
  own.keptAlive = false
  if ((flags & (SYN | RST)) !== 0) {
    if ((flags & RST) !== 0) reset(watch, own)
    else synchronise(watch, own, peer, p, at)
  } else order(watch, own, peer, p, at)
  if ((flags & ACK) !== 0) acknowledge(watch, own, peer, p, at)
  own.lastAt = at
}

function offered(p: Passing): Offer {
  const syn = new Offer()
  syn.seq = p.seq
  syn.wire = p.wire
  syn.window = p.window
  readOptions(syn, p)
  return syn
}

function reset(watch: Watch, own: Sender): void {
  own.resets++
  watch.completeness |= SAW_RST
  watch.resetter ??= own
}

function synchronise(watch: Watch, own: Sender, peer: Sender, p: Passing, at: number): void {
  own.syns++
  const answer = (p.flags & ACK) !== 0
  watch.completeness |= answer ? SAW_SYN_ACK : SAW_SYN
  if (answer) {
    watch.opener ??= peer
    if (watch.synAckAt < 0) watch.synAckAt = at
  } else {
    watch.opener ??= own
    if (watch.synAt < 0) watch.synAt = at
    if (own === watch.opener) watch.lastSynAt = at
  }
  const end = (p.seq + 1 + p.length) | 0
  if (own.syns > 1 && own.begun && own.isn === p.seq) {
    own.retransmissions++
    return
  }
  own.isn = p.seq
  own.begin(end)
  own.fresh += p.length
  own.window = p.window
  if (p.length > 0) data(watch, own, at)
  readOptions(own, p)
}

/** What a packet that neither opens nor resets adds to what its sender has sent before. */
function order(watch: Watch, own: Sender, peer: Sender, p: Passing, at: number): void {
  const { seq, flags, length } = p
  const fin = flags & FIN
  if (p.window === 0 && fin === 0) own.zeroWindows++
  if (length > 0) data(watch, own, at)
  if (fin !== 0) {
    own.fins++
    watch.completeness |= SAW_FIN
  }
  const end = (seq + length + fin) | 0
  if (!own.begun) {
    own.begin(end)
    own.fresh += length
    return
  }
  const ahead = (seq - own.next) | 0
  if (ahead === 0 && end === seq) return
  if (ahead === -1 && length <= 1 && fin === 0) {
    own.keepAlives++
    own.keptAlive = true
    return
  }
  if (ahead === 0 && length === 1 && peer.window === 0 && fin === 0) {
    // Its byte may be refused, and is sent again then.
    own.probes++
    return
  }
  if (ahead > 0) own.jump(seq, ahead, at)
  if (end === seq) return
  if (ahead >= 0) own.advance(end, length, at)
  else own.again(peer, seq, end, length, at, roundTripOf(watch))
  if (length > 0 && fin === 0 && isFull(peer, end)) own.windowFulls++
}

function data(watch: Watch, own: Sender, at: number): void {
  watch.completeness |= SAW_DATA
  if (own.firstDataAt < 0) own.firstDataAt = at
}

/** The receiver's window has no room for one byte more. */
function isFull(receiver: Sender, end: number): boolean {
  if (!receiver.acks || receiver.syns === 0 || receiver.window < 0) return false
  return ((end - receiver.ack) | 0) === windowOf(receiver)
}

/** In bytes. Only where both ends offered to scale does either (RFC 7323, 2.2); who offers alone is answered unscaled. */
function windowOf({ window, scale }: Sender): number {
  return scale > 0 ? window * 2 ** scale : window
}

function acknowledge(watch: Watch, own: Sender, peer: Sender, p: Passing, at: number): void {
  const { ack, flags, length } = p
  if (own.acks) {
    const further = (ack - own.ack) | 0
    if (further > 0) {
      own.ack = ack
      own.equalAcks = 0
      peer.acknowledge(ack, at)
    } else if (further === 0 && length === 0 && (flags & (SYN | FIN | RST)) === 0) maybeDuplicate(own, peer, p)
  } else {
    own.acks = true
    own.ack = ack
    own.firstAckAt = at
    if (!peer.begun) peer.begin(ack)
    else peer.acknowledge(ack, at)
  }
  if ((flags & (SYN | RST)) !== 0) return
  if (watch.handshakeAt < 0 && watch.synAckAt >= 0 && own === watch.opener) {
    watch.handshakeAt = at
    settleScales(watch)
  }
  watch.completeness |= SAW_ACK
  own.window = p.window
  own.windows++
  own.windowSum += windowOf(own)
  // Timestamps alone are by far the most common options.
  if (p.optionsEnd - p.optionsStart > 12) readSacks(own, p)
}

function maybeDuplicate(own: Sender, peer: Sender, p: Passing): void {
  // Whoever is asked whether he is there says the same again.
  if (peer.keptAlive) return
  if (p.window === 0 || p.window !== own.window || p.seq !== own.next) return
  own.duplicateAcks++
  own.equalAcks++
}

/** Of -1 and a number neither counts. */
function settleScales({ forth, back }: Watch): void {
  if (forth.scale >= 0 && back.scale >= 0) return
  forth.scale = -1
  back.scale = -1
}

function roundTripOf({ handshakeAt, lastSynAt }: Watch): number {
  return handshakeAt < 0 || lastSynAt < 0 ? -1 : handshakeAt - lastSynAt
}

// ── options ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const [END, PADDING, MSS, SCALE, SACK_PERMITTED, SACK, TIMESTAMPS] = [0, 1, 2, 3, 4, 5, 8]
/** RFC 7323, 2.3: what offers more means this. */
const MAX_SCALE = 14

function readOptions(own: Offer | Sender, { bytes, optionsStart, optionsEnd }: Passing): void {
  for (let i = optionsStart; i < optionsEnd; ) {
    const kind = bytes[i]!
    if (kind === END) return
    if (kind === PADDING) {
      i++
      continue
    }
    const length = i + 1 < optionsEnd ? bytes[i + 1]! : 0
    if (length < 2 || i + length > optionsEnd) return
    if (kind === MSS && length === 4) own.mss = (bytes[i + 2]! << 8) | bytes[i + 3]!
    else if (kind === SCALE && length === 3) own.scale = Math.min(bytes[i + 2]!, MAX_SCALE)
    else if (kind === SACK_PERMITTED) own.sackPermitted = true
    else if (kind === TIMESTAMPS) own.timestamps = true
    i += length
  }
}

/** RFC 2883: a first block at or before the acknowledgement tells of bytes that came twice. */
function readSacks(own: Sender, { bytes, optionsStart, optionsEnd, ack }: Passing): void {
  for (let i = optionsStart; i < optionsEnd; ) {
    const kind = bytes[i]!
    if (kind === END) return
    if (kind === PADDING) {
      i++
      continue
    }
    const length = i + 1 < optionsEnd ? bytes[i + 1]! : 0
    if (length < 2 || i + length > optionsEnd) return
    if (kind === SACK && length >= 10) {
      const end = (bytes[i + 6]! << 24) | (bytes[i + 7]! << 16) | (bytes[i + 8]! << 8) | bytes[i + 9]!
      if (((end - ack) | 0) <= 0) own.duplicateSacks++
      return
    }
    i += length
  }
}

// ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────────

function report(watch: Watch, told: Reported): Told | null {
  if (watch.packets === 0) return null
  if (watch.forth === NOBODY) unfold(watch)
  const [local, remote] = told.swapped ? [watch.back, watch.forth] : [watch.forth, watch.back]
  const ended = endingOf(watch, told, local)
  const { seconds, nanoseconds } = watch
  const error = errorOf(watch, told, local, ended)
  return { body: describe(watch, told, local, remote, ended), error, failed: error !== null, seconds, nanoseconds }
}

function describe(
  watch: Watch,
  told: Reported,
  local: Sender,
  remote: Sender,
  ended: TcpConnection['ended'],
): TcpConnection {
  const { synAt, handshakeAt } = watch
  const samples = local.samples + remote.samples
  const halfClosed = local.fins > 0 !== remote.fins > 0 ? (local.fins > 0 ? local : remote) : null
  const retransmissions = local.retransmissions + remote.retransmissions
  return {
    state: ended !== null ? 'closed' : watch.reports++ === 0 ? 'open' : 'in_progress',
    final: told.why !== null,
    ended,
    reset_by: sideOf(watch.resetter, local),
    half_closed_by: sideOf(halfClosed, local),
    l7_detected: [...told.protocols],
    local_pkts: local.packets,
    local_bytes: local.wire,
    remote_pkts: remote.packets,
    remote_bytes: remote.wire,
    connection_completeness: watch.completeness,
    initial_rtt_us: seen(roundTripOf(watch)),
    handshake_time_us: handshakeAt < 0 || synAt < 0 ? null : handshakeAt - synAt,
    connection_time_us: watch.last,
    time_to_first_byte_us: timeToFirstByte(local, remote, watch),
    rtt_min_us: shortest(local, remote),
    rtt_max_us: samples === 0 ? null : Math.max(local.rttMax, remote.rttMax),
    rtt_avg_us: average(local.rttSum + remote.rttSum, samples),
    rtt_samples: samples,
    jitter_us: average(local.jitterSum + remote.jitterSum, local.changes + remote.changes),
    goodput_bytes: local.fresh + remote.fresh,
    retransmissions,
    fast_retransmissions: local.fast + remote.fast,
    spurious_retransmissions: local.spurious + remote.spurious,
    retransmission_rate: share(retransmissions, local.packets + remote.packets),
    out_of_order: local.outOfOrder + remote.outOfOrder,
    dup_acks: local.duplicateAcks + remote.duplicateAcks,
    zero_window_events: local.zeroWindows + remote.zeroWindows,
    window_full_events: local.windowFulls + remote.windowFulls,
    window_scale: seen(local.scale),
    avg_receive_window: average(local.windowSum + remote.windowSum, local.windows + remote.windows),
    missing_segments: local.missing + remote.missing,
    rst_count: local.resets + remote.resets,
    fin_count: local.fins + remote.fins,
    keepalive_count: local.keepAlives + remote.keepAlives,
    local: describeEnd(local, remote),
    remote: describeEnd(remote, local),
  }
}

function describeEnd(own: Sender, other: Sender): TcpEnd {
  return {
    sack_permitted: own.sackPermitted,
    timestamps: own.timestamps,
    payload_bytes: own.payload,
    goodput_bytes: own.fresh,
    mss: seen(own.mss),
    window_scale: seen(own.scale),
    avg_receive_window: average(own.windowSum, own.windows),
    syn_count: own.syns,
    fin_count: own.fins,
    rst_count: own.resets,
    retransmissions: own.retransmissions,
    fast_retransmissions: own.fast,
    spurious_retransmissions: own.spurious,
    duplicate_sacks: other.duplicateSacks,
    out_of_order: own.outOfOrder,
    dup_acks: own.duplicateAcks,
    zero_window_events: own.zeroWindows,
    zero_window_probes: own.probes,
    window_full_events: own.windowFulls,
    keepalive_count: own.keepAlives,
    missing_segments: own.missing,
    missing_bytes: own.missingBytes,
    acked_unseen: own.ackedUnseen,
    rtt_min_us: shortest(own, NOBODY),
    rtt_max_us: own.samples === 0 ? null : own.rttMax,
    rtt_avg_us: average(own.rttSum, own.samples),
    rtt_samples: own.samples,
  }
}

function sideOf(one: Sender | null, local: Sender): 'local' | 'remote' | null {
  return one === null ? null : one === local ? 'local' : 'remote'
}

function endingOf(watch: Watch, { why }: Reported, local: Sender): TcpConnection['ended'] {
  const { resetter, opener, completeness } = watch
  if (resetter !== null && completeness === (SAW_SYN | SAW_RST) && resetter !== opener) return 'refused'
  if (why === null) return null
  if (isUnanswered(watch, local)) return 'timeout'
  if (resetter !== null) return 'reset'
  if (watch.forth.fins > 0 && watch.back.fins > 0) return 'fin'
  return why === 'idle' ? 'idle' : why === 'closed' ? 'fin' : null
}

function errorOf(watch: Watch, told: Reported, local: Sender, ended: TcpConnection['ended']): ItemError | null {
  if (told.refused !== null && watch.synAckAt < 0 && local.syns > 0) return { type: 'connection', msg: told.refused }
  if (ended === 'refused') return { type: 'connection', msg: 'refused: a reset answers the SYN' }
  if (isUnanswered(watch, local)) {
    const seconds = (local.lastAt / 1e6).toFixed(1)
    return { type: 'timeout', msg: `no answer to ${local.syns} SYNs in ${seconds} s` }
  }
  if (ended !== 'reset' || (watch.completeness & SAW_FIN) !== 0) return null
  return { type: 'connection', msg: `reset by the ${watch.resetter === local ? 'client' : 'server'}` }
}

/** Nothing but SYNs of one end. What Fast Open sends along is answered no more than they are. */
function isUnanswered({ completeness }: Watch, local: Sender): boolean {
  return (completeness & ~SAW_DATA) === SAW_SYN && local.syns > 1
}

function timeToFirstByte(local: Sender, remote: Sender, { handshakeAt }: Watch): number | null {
  if (remote.firstDataAt < 0) return null
  const asked = local.firstDataAt >= 0 && local.firstDataAt <= remote.firstDataAt
  const since = asked ? local.firstDataAt : handshakeAt
  return since < 0 ? null : remote.firstDataAt - since
}

function shortest(a: Sender, b: Sender): number | null {
  if (a.samples === 0) return b.samples === 0 ? null : b.rttMin
  return b.samples === 0 ? a.rttMin : Math.min(a.rttMin, b.rttMin)
}

function average(sum: number, count: number): number | null {
  return count === 0 ? null : Math.round(sum / count)
}

function share(part: number, all: number): number {
  return all === 0 ? 0 : Math.round((part / all) * 1e6) / 1e6
}

function seen(value: number): number | null {
  return value < 0 ? null : value
}

function summarize(_request: Json | null, _response: Json | null, event: Json | null) {
  const told = event as TcpConnection | null
  if (told === null) return { method: '', summary: '', status: '' }
  const spoken = told.l7_detected.length === 0 ? '' : `${told.l7_detected.join(', ')}: `
  const packets = told.local_pkts + told.remote_pkts
  const again = told.retransmissions === 0 ? '' : `, ${told.retransmissions} sent again`
  const time = `${(told.connection_time_us / 1e6).toFixed(told.connection_time_us < 1e6 ? 3 : 1)} s`
  return {
    method: 'TCP',
    summary: `${spoken}${packets} packets, ${told.goodput_bytes} bytes in ${time}${again}`,
    status: told.ended ?? told.state,
  }
}
