/**
 * What a script finds: its hooks, its item, its globals. For editors, by a first line
 * `/// <reference path="…/scripting/script.d.ts" />`; nothing of it exists at run time.
 */

// ---- hooks: functions that a script defines; those that it does not define cost nothing
//
//   function onItemCaptured(data: Item)         every request with its answer, also half pairs and events
//   function onPacketCaptured(info: PacketInfo) every packet: thousands a second; also called onPacket
//
// Each may return a promise. (They are not declared here: the script's own function would be a second one.)

interface PacketInfo {
  /** ms since 1970, with a fraction. */
  timestamp: number
  /** Bytes that were captured. */
  captureLength: number
  /** Bytes that the packet had on the wire. */
  length: number
  /** Captured in part. */
  truncated: boolean
  /** An IP fragment. */
  fragmented: boolean
}

// ---- the item

/** Absence is null; 64-bit numbers beyond 2^53 are decimal strings. */
interface Item {
  /** `{worker}/{stream}-{index}` */
  id: string
  /** Number of the item within its stream, from 0. */
  index: number
  /**
   * Name of the connection: ns since 1970 of its first packet and a hash of its ends,
   * `1700000000123456789_5f3a9c01.pcap`, for UDP `1700000000123456789_77c0ffee_udp.pcap`.
   */
  stream: string
  worker: string
  node: { ip: string; name: string } | null
  protocol: ItemProtocol
  /** The bytes were encrypted on the wire. */
  tls: boolean
  src: ItemEndpoint
  dst: ItemEndpoint
  /** ms since 1970, with a fraction: the first byte of the request, or of the response where no request was seen. */
  timestamp: number
  /** The same moment in RFC 3339 with nanoseconds, UTC. */
  startTime: string
  /** null: an answer without its request. Its fields are the protocol's. */
  request: ItemMessage | null
  /** null: a request without its answer. */
  response: ItemMessage | null
  /** Bytes of the message on the wire. */
  requestSize: number
  responseSize: number
  /** ms, with a fraction; null for half pairs. */
  elapsedTime: number | null
  /** Set by `test.pass` and `test.fail`; `failed` also when the answer is an error. */
  passed: boolean
  failed: boolean
  error: { type: 'dissection' | 'connection' | 'timeout' | 'pair-not-found'; msg: string } | null
  /** One-way messages. */
  event: ItemMessage | null
  data: ItemMessage | null
  /** requestSize + responseSize. */
  size: number
  entryFile: string | null
  record: string | null
}

// biome-ignore lint/suspicious/noExplicitAny: each protocol has its own fields.
type ItemMessage = { [name: string]: any }

interface ItemEndpoint {
  ip: string
  port: string
  name: string | null
  namespace: string | null
  pod: ItemMessage | null
  endpointSlice: ItemMessage | null
  service: ItemMessage | null
  processId: number | null
  processName: string | null
  resolutionMechanism: 'none' | 'ip' | 'ip-and-port' | 'dns' | 'http-header' | 'cgroup-id' | 'container-id' | 'syscall'
}

interface ItemProtocol {
  /** `http`, `dns`, `redis` */
  name: string
  version: string
  /** `HTTP` */
  abbr: string
  longName: string
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

// ---- globals

/** Arguments are joined by a blank, objects shown as JSON. */
interface Console {
  log(...values: unknown[]): void
  info(...values: unknown[]): void
  warn(...values: unknown[]): void
  error(...values: unknown[]): void
  clear(): void
}
declare var console: Console

/** What was given by `--env NAME=VALUE`; frozen. */
// biome-ignore lint/suspicious/noExplicitAny: its values are whatever was given.
declare const env: Readonly<Record<string, any>>

declare const pcap: {
  /**
   * Path of a pcap file with the packets of this stream (`data.stream`), all that were captured by now. Throws when they
   * are gone. The file stays until newer ones need its room.
   */
  path(stream: string): string
}

declare const vendor: {
  /**
   * Returns when the request is safe on disk; it is then delivered at least once. An object as body is sent as JSON.
   * Throws when an argument is wrong or the disk is full.
   */
  webhook(method: string, url: string, body?: unknown, headers?: Record<string, string | number>): string
  /** `color`: `good`, `warning`, `danger` or `#rrggbb`. */
  slack(webhookUrl: string, pretext: string, text: string, color: string): void
}

declare const test: {
  /** Sets `data.passed`; return what it returns. */
  pass(data: Item): Item
  /** Sets `data.failed`; return what it returns. */
  fail(data: Item): Item
}

declare const utils: {
  nodeName(): string
}

// ---- protocols of one's own

/**
 * Defines a protocol, at the top level of the script. It is asked about connections that no other protocol knows, from
 * their first byte on. One call may take 50 ms; helpers that wait (`vendor`, …) cannot be called from it.
 */
declare function dissector<State = undefined>(definition: ScriptDissector<State>): void

interface ScriptDissector<State> {
  /** Lower case, unique: items have it as `protocol.name`. */
  name: string
  title?: string
  abbr?: string
  version?: string
  /** Of the badge: `#495057`. */
  color?: string
  reference?: string
  /** Default: tcp. */
  transports?: ('tcp' | 'udp')[]
  /** A hint whom to ask first, never a proof. */
  ports?: number[]
  /** Lower is asked first. */
  priority?: number
  /** Answers may overtake each other and are matched by `key`. Else they come in the order of their requests. */
  keyed?: boolean
  /** ms after which a request counts as unanswered. */
  patience?: number
  /** Do these first bytes begin a message? Say yes to what cannot be anything else. */
  probe(at: ScriptCursor, from: 'client' | 'server', ctx: DissectorContext<State>): boolean
  /** Makes the state of one connection; called again after bytes were lost. */
  open?(): State
  /**
   * Reads one message. Reading past the end of what has arrived is no mistake: it is called again when there is more.
   * So change `ctx.state` only after the last read. null: bytes were read, and no message came of it.
   */
  read(at: ScriptCursor, ctx: DissectorContext<State>): DissectorMessage | null
  /** The side sends no more: what can be made of the rest? */
  end?(at: ScriptCursor, ctx: DissectorContext<State>, why: string): DissectorMessage | null
}

interface DissectorContext<State> {
  /** Who sent the bytes. */
  from: 'client' | 'server'
  transport: 'tcp' | 'udp'
  /** Of the server. */
  port: number
  /** The port is one of the dissector's own. */
  hinted: boolean
  /** Bytes of a body worth keeping; 0 when nobody wants bodies. */
  keep: number
  state: State
  /** While an answer is read, without keys: `memo` of its request. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the script put there.
  awaited: any
}

interface DissectorMessage {
  kind: 'request' | 'response' | 'event'
  /** What items have as `request`, `response` or `event`. A table shows its `method`, `summary` and `status`. */
  body: object
  /** With `keyed`: what an answer repeats of its request. */
  key?: string | number
  /** The answer tells of an error. */
  failed?: boolean
  /** Of a request: what reading its answer takes. */
  memo?: unknown
  /** This request will have no answer. */
  unanswered?: boolean
  /** More answers to the same request follow. */
  more?: boolean
  version?: string
  /** What is wrong with the message. */
  error?: string
}

/** Bytes that may end early. Numbers are big-endian unless they say `le`. */
interface ScriptCursor {
  readonly remaining: number
  position: number
  u8(): number
  u16(): number
  u24(): number
  u32(): number
  i8(): number
  i16(): number
  i32(): number
  /** A decimal string beyond 2^53. */
  u64(): number | string
  i64(): number | string
  u16le(): number
  u32le(): number
  f64(): number
  peek(ahead?: number): number
  skip(count: number): void
  need(count: number): void
  /** UTF-8. */
  text(count: number): string
  /** One character a byte. */
  latin1(count: number): string
  view(count: number): Uint8Array
  /** A cursor over the next bytes alone. */
  within(count: number): ScriptCursor
  /** Position of the LF that ends the line. */
  lineEnd(limit: number): number
  /** For what is not allowed: `at.fail('a length of at least 4, found 2')`. The connection is looked at afresh. */
  fail(expected: string): never
}

declare function setTimeout(task: (...args: unknown[]) => void, ms?: number, ...args: unknown[]): number
declare function clearTimeout(id: number): void
