/**
 * Flows of datagrams themselves (RFC 768): who sent how much to whom, and for how long. One item when a flow has been
 * silent, and one every minute while it is not. Told of when asked for: a resolver has a flow for every question.
 */
import type { Observer, Passing, Reported, Told } from '../dissector.ts'
import type { Json } from '../item.ts'

export const observer: Observer<Flow> = {
  name: 'udp-conn',
  title: 'UDP Flow',
  abbr: 'FLOW',
  version: '',
  color: '#4b5563',
  reference: 'https://www.rfc-editor.org/rfc/rfc768',
  ports: [],
  priority: 100,
  optional: true,
  transports: ['udp'],
  open: () => new Flow(),
  observe,
  report,
  summarize,
}

/** `local` is the item's `src`, the end that asks, or sent first; `remote` its `dst`. Fields as those of `tcp-conn`. */
export interface UdpFlow extends Json {
  state: 'open' | 'in_progress' | 'closed'
  /** Nothing more will be told of it. Whoever adds up takes these. */
  final: boolean
  l7_detected: string[]
  local_pkts: number
  /** On the wire, headers included. */
  local_bytes: number
  remote_pkts: number
  remote_bytes: number
  /** Payload. */
  local_payload_bytes: number
  remote_payload_bytes: number
  /** From the first datagram to the last. */
  connection_time_us: number
}

class Flow {
  readonly forth = new Way()
  readonly back = new Way()
  seconds = 0
  nanoseconds = 0
  /** Microseconds since the first datagram. */
  last = 0
  reports = 0
}

/** One direction. */
class Way {
  packets = 0
  wire = 0
  payload = 0
}

function observe(flow: Flow, p: Passing): void {
  if (flow.forth.packets + flow.back.packets === 0) {
    flow.seconds = p.seconds
    flow.nanoseconds = p.nanoseconds
  }
  flow.last = (p.seconds - flow.seconds) * 1_000_000 + (((p.nanoseconds - flow.nanoseconds) * 0.001) | 0)
  const way = p.forth ? flow.forth : flow.back
  way.packets++
  way.wire += p.wire
  way.payload += p.length
}

function report(flow: Flow, { swapped, why, protocols }: Reported): Told | null {
  const [local, remote] = swapped ? [flow.back, flow.forth] : [flow.forth, flow.back]
  if (local.packets + remote.packets === 0) return null
  const ended = why !== null && why !== 'capture-ended'
  const body: UdpFlow = {
    state: ended ? 'closed' : flow.reports++ === 0 ? 'open' : 'in_progress',
    final: why !== null,
    l7_detected: [...protocols],
    local_pkts: local.packets,
    local_bytes: local.wire,
    remote_pkts: remote.packets,
    remote_bytes: remote.wire,
    local_payload_bytes: local.payload,
    remote_payload_bytes: remote.payload,
    connection_time_us: flow.last,
  }
  return { body, error: null, failed: false, seconds: flow.seconds, nanoseconds: flow.nanoseconds }
}

function summarize(_request: Json | null, _response: Json | null, event: Json | null) {
  const told = event as UdpFlow | null
  if (told === null) return { method: '', summary: '', status: '' }
  const spoken = told.l7_detected.length === 0 ? '' : `${told.l7_detected.join(', ')}: `
  const bytes = told.local_payload_bytes + told.remote_payload_bytes
  return {
    method: 'UDP',
    summary: `${spoken}${told.local_pkts + told.remote_pkts} packets, ${bytes} bytes in ${(told.connection_time_us / 1e6).toFixed(3)} s`,
    status: told.state,
  }
}
