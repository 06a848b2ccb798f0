/**
 * TCP connections themselves (RFC 9293): how they began and ended, how long the way is, what came again and what is
 * missing. One item when a connection ends, and one every minute while it lives.
 *
 *   source(2) destination(2) seq(4) ack(4) offset(4 bits) 0(4) flags(1) window(2) checksum(2) urgent(2) options
 *   option: kind(1) [length(1) value]: 2 MSS, 3 window scale, 4 SACK permitted, 5 SACK, 8 timestamps
 */
import type { Observer, Passing, Reported, Told } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import { constant, type JsonWriter } from '../json-writer.ts'
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
  syn_count: number
  /** Bytes that were not captured, as sequence numbers and acknowledgements tell. */
  missing_bytes: number
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

function report(watch: Watch, told: Reported, out: JsonWriter): Told | null {
  if (watch.packets === 0) return null
  if (watch.forth === NOBODY) unfold(watch)
  const [local, remote] = told.swapped ? [watch.back, watch.forth] : [watch.forth, watch.back]
  const ended = endingOf(watch, told, local)
  const state = ended !== null ? 'closed' : watch.reports++ === 0 ? 'open' : 'in_progress'
  const halfClosed = local.fins > 0 !== remote.fins > 0 ? (local.fins > 0 ? local : remote) : null
  out.ascii(
    `{"state":"${state}","final":${told.why !== null},"ended":${quoted(ended)},"reset_by":${quoted(sideOf(watch.resetter, local))}`,
  )
  out.ascii(`,"half_closed_by":${quoted(sideOf(halfClosed, local))},"l7_detected":${JSON.stringify(told.protocols)}`)
  for (const { key, value } of BOTH) writeNumber(out, key, value(local, remote, watch))
  writeEnd(out, LOCAL, local, remote, watch)
  writeEnd(out, REMOTE, remote, local, watch)
  out.byte(CLOSE)
  const error = errorOf(watch, told, local, ended)
  const { seconds, nanoseconds } = watch
  return { body: out.since(0), error, failed: error !== null, seconds, nanoseconds }
}

interface Column {
  key: Uint8Array
  value: (own: Sender, other: Sender, watch: Watch) => number | null
}

function columns(table: Readonly<Record<string, Column['value']>>): Column[] {
  return Object.entries(table).map(([name, value]) => ({ key: constant(`,"${name}":`), value }))
}

/** What both ends are told of together. */
const BOTH = columns({
  local_pkts: own => own.packets,
  local_bytes: own => own.wire,
  remote_pkts: (_, other) => other.packets,
  remote_bytes: (_, other) => other.wire,
  connection_completeness: (_own, _other, watch) => watch.completeness,
  initial_rtt_us: (_own, _other, watch) => seen(roundTripOf(watch)),
  handshake_time_us: (_own, _other, { handshakeAt, synAt }) =>
    handshakeAt < 0 || synAt < 0 ? null : handshakeAt - synAt,
  connection_time_us: (_own, _other, watch) => watch.last,
  time_to_first_byte_us: timeToFirstByte,
  rtt_min_us: (own, other) =>
    own.samples === 0 ? shortest(other) : other.samples === 0 ? own.rttMin : Math.min(own.rttMin, other.rttMin),
  rtt_max_us: (own, other) => (own.samples + other.samples === 0 ? null : Math.max(own.rttMax, other.rttMax)),
  rtt_avg_us: (own, other) => average(own.rttSum + other.rttSum, own.samples + other.samples),
  rtt_samples: (own, other) => own.samples + other.samples,
  jitter_us: (own, other) => average(own.jitterSum + other.jitterSum, own.changes + other.changes),
  goodput_bytes: (own, other) => own.fresh + other.fresh,
  retransmissions: (own, other) => own.retransmissions + other.retransmissions,
  fast_retransmissions: (own, other) => own.fast + other.fast,
  spurious_retransmissions: (own, other) => own.spurious + other.spurious,
  retransmission_rate: (own, other) => share(own.retransmissions + other.retransmissions, own.packets + other.packets),
  out_of_order: (own, other) => own.outOfOrder + other.outOfOrder,
  dup_acks: (own, other) => own.duplicateAcks + other.duplicateAcks,
  zero_window_events: (own, other) => own.zeroWindows + other.zeroWindows,
  window_full_events: (own, other) => own.windowFulls + other.windowFulls,
  window_scale: own => seen(own.scale),
  avg_receive_window: (own, other) => average(own.windowSum + other.windowSum, own.windows + other.windows),
  missing_segments: (own, other) => own.missing + other.missing,
  rst_count: (own, other) => own.resets + other.resets,
  fin_count: (own, other) => own.fins + other.fins,
  keepalive_count: (own, other) => own.keepAlives + other.keepAlives,
})

/** What one end sent, and how long the other took to acknowledge it. */
const EACH = columns({
  payload_bytes: own => own.payload,
  goodput_bytes: own => own.fresh,
  mss: own => seen(own.mss),
  window_scale: own => seen(own.scale),
  avg_receive_window: own => average(own.windowSum, own.windows),
  syn_count: own => own.syns,
  fin_count: own => own.fins,
  rst_count: own => own.resets,
  retransmissions: own => own.retransmissions,
  fast_retransmissions: own => own.fast,
  spurious_retransmissions: own => own.spurious,
  duplicate_sacks: (_, other) => other.duplicateSacks,
  out_of_order: own => own.outOfOrder,
  dup_acks: own => own.duplicateAcks,
  zero_window_events: own => own.zeroWindows,
  zero_window_probes: own => own.probes,
  window_full_events: own => own.windowFulls,
  keepalive_count: own => own.keepAlives,
  missing_segments: own => own.missing,
  missing_bytes: own => own.missingBytes,
  acked_unseen: own => own.ackedUnseen,
  rtt_min_us: shortest,
  rtt_max_us: own => (own.samples === 0 ? null : own.rttMax),
  rtt_avg_us: own => average(own.rttSum, own.samples),
  rtt_samples: own => own.samples,
})

const [TRUE, FALSE] = [constant('true'), constant('false')]
const LOCAL = constant(',"local":{"sack_permitted":')
const REMOTE = constant(',"remote":{"sack_permitted":')
const TIMESTAMPS_KEY = constant(',"timestamps":')
const CLOSE = 125
const NULL = constant('null')

function writeEnd(out: JsonWriter, opening: Uint8Array, own: Sender, other: Sender, watch: Watch): void {
  out.raw(opening)
  out.raw(own.sackPermitted ? TRUE : FALSE)
  out.raw(TIMESTAMPS_KEY)
  out.raw(own.timestamps ? TRUE : FALSE)
  for (const { key, value } of EACH) writeNumber(out, key, value(own, other, watch))
  out.byte(CLOSE)
}

function writeNumber(out: JsonWriter, key: Uint8Array, value: number | null): void {
  out.raw(key)
  if (value === null) out.raw(NULL)
  else out.integer(value)
}

function quoted(word: string | null): string {
  return word === null ? 'null' : `"${word}"`
}

function sideOf(one: Sender | null, local: Sender): 'local' | 'remote' | null {
  return one === null ? null : one === local ? 'local' : 'remote'
}

function endingOf(watch: Watch, { why }: Reported, local: Sender): TcpConnection['ended'] {
  const { resetter, opener, completeness } = watch
  if (resetter !== null && completeness === (SAW_SYN | SAW_RST) && resetter !== opener) return 'refused'
  if (why === null) return null
  // What Fast Open sends along is answered no more than the SYN.
  if ((completeness & ~SAW_DATA) === SAW_SYN && local.syns > 1) return 'timeout'
  if (resetter !== null) return 'reset'
  if (watch.forth.fins > 0 && watch.back.fins > 0) return 'fin'
  return why === 'idle' ? 'idle' : why === 'closed' ? 'fin' : null
}

function errorOf(watch: Watch, told: Reported, local: Sender, ended: TcpConnection['ended']): ItemError | null {
  if (told.refused !== null && watch.synAckAt < 0 && local.syns > 0) return { type: 'connection', msg: told.refused }
  if (ended === 'refused') return { type: 'connection', msg: 'refused: a reset answers the SYN' }
  if (ended === 'timeout') {
    const seconds = (local.lastAt / 1e6).toFixed(1)
    return { type: 'timeout', msg: `no answer to ${local.syns} SYNs in ${seconds} s` }
  }
  if (ended !== 'reset' || (watch.completeness & SAW_FIN) !== 0) return null
  return { type: 'connection', msg: `reset by the ${watch.resetter === local ? 'client' : 'server'}` }
}

function timeToFirstByte(local: Sender, remote: Sender, { handshakeAt }: Watch): number | null {
  if (remote.firstDataAt < 0) return null
  const asked = local.firstDataAt >= 0 && local.firstDataAt <= remote.firstDataAt
  const since = asked ? local.firstDataAt : handshakeAt
  return since < 0 ? null : remote.firstDataAt - since
}

function shortest({ samples, rttMin }: Sender): number | null {
  return samples === 0 ? null : rttMin
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
