/**
 * Item: the one noun that everybody shares. Plain JSON: absence is null, no Buffer, Date or bigint, 64-bit numbers
 * beyond 2^53 are decimal strings. The names are those that scripts for this kind of tool already use.
 */

export interface Item {
  /** `{worker}/{stream}-{index}` */
  id: string
  /** Number of the item within its stream, from 0. */
  index: number
  /**
   * Name of the connection as a PCAP base name (core/stream-name.ts): ns since 1970 of its first packet and a hash of its
   * ends, `1700000000123456789_5f3a9c01.pcap`, for UDP `1700000000123456789_77c0ffee_udp.pcap`.
   */
  stream: string
  worker: string
  node: { ip: string; name: string } | null
  protocol: Protocol
  /** The bytes were encrypted on the wire. */
  tls: boolean
  src: Endpoint
  dst: Endpoint
  /** ms since 1970, with a fraction: the first byte of the request, or of the response where no request was seen. */
  timestamp: number
  /** The same moment in RFC 3339 with nanoseconds, UTC. */
  startTime: string
  request: Json | null
  response: Json | null
  /** Bytes of the message on the wire, headers of the protocol included, TCP and IP not. 0 where there is none. */
  requestSize: number
  responseSize: number
  /** ms, with a fraction, from the first byte of the request to the last byte of the response; null for half pairs. */
  elapsedTime: number | null
  /** Set by scripts (`test.pass`, `test.fail`); `failed` also by the dissector when the answer is an error. */
  passed: boolean
  failed: boolean
  error: ItemError | null
  /** One-way messages: what happened, when it is neither a request nor a response. */
  event: Json | null
  data: Json | null
  /** requestSize + responseSize; of an event, its own bytes. */
  size: number
  entryFile: string | null
  record: string | null
}

export interface ItemError {
  /** dissection: the bytes could not be read; connection: it ended first; timeout: nothing came in time. */
  type: 'dissection' | 'connection' | 'timeout' | 'pair-not-found'
  msg: string
}

/** One side of a conversation. What only Kubernetes or the kernel knows is null until somebody fills it in. */
export interface Endpoint {
  ip: string
  /** Empty for ICMP, which has none. */
  port: string
  name: string | null
  namespace: string | null
  pod: Json | null
  endpointSlice: Json | null
  service: Json | null
  processId: number | null
  processName: string | null
  resolutionMechanism: 'none' | 'ip' | 'ip-and-port' | 'dns' | 'http-header' | 'cgroup-id' | 'container-id' | 'syscall'
}

/** What an item says about its protocol. */
export interface Protocol {
  name: string
  version: string
  abbr: string
  longName: string
  /** The filter word that selects this protocol. */
  macro: string
  backgroundColor: string
  foregroundColor: string
  fontSize: number
  referenceLink: string
  ports: string[]
  layer4: string
  layer3: string
  priority: number
}

export type Json = { [name: string]: JsonValue }
// biome-ignore lint/suspicious/noExplicitAny: a script's view of JSON; narrowing it would only move the cast.
export type JsonValue = any
