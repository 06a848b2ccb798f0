/**
 * The contract of a protocol. A file in core/dissectors that exports `dissector` (or `refiner`, `observer`, `face`) is
 * a protocol: nothing else has to be edited.
 *
 * The author never checks a length (the cursor does), keeps a buffer, matches an answer, knows an address, reads a
 * clock, logs or catches.
 */
import type { BufferPool } from './buffer-pool.ts'
import type { Cursor } from './cursor.ts'
import type { ItemError, Json, JsonValue } from './item.ts'
import type { JsonWriter, Written } from './json-writer.ts'

export type Side = 'client' | 'server'
export type Transport = 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'sctp'

/** How users see a protocol. Exported alone as `face` by one that only travels within others. */
export interface Face {
  /** Lower case, unique, as users filter for it: `http`, `http2`. */
  name: string
  /** What items say as `protocol.name`, where protocols share it: `http` for HTTP/2. Default: `name`. */
  family?: string
  /** `Hypertext Transfer Protocol`. */
  title: string
  /** For narrow columns: `HTTP`. */
  abbr: string
  /** Where messages do not say (`Message.version`). */
  version: string
  /** CSS colour of the badge. */
  color: string
  /** The specification. */
  reference: string
  /** A hint whom to ask first, never a proof. */
  ports: readonly number[]
  /** Position among those whose port does not decide: lower is asked first. Ask the certain ones first. */
  priority: number
  /** Told of only when somebody asks for it by name. */
  optional?: true
  /** Payload of this transport that no protocol claims is told of under this face. */
  unclaimed?: Transport
  /** One line for a table, from the item's own JSON. */
  summarize(request: Json | null, response: Json | null, event: Json | null): Summary
}

export interface Dissector<State = unknown> extends Face {
  transports: readonly Transport[]
  /** Other names that messages lead here by (`Message.becomes`): `websocket`, as HTTP's Upgrade says. */
  aliases?: readonly string[]
  /**
   * The two bytes that it begins with where it follows something that nobody knows (TLS behind any STARTTLS): `probe` is
   * asked again at segments of the client that begin so.
   */
  opening?: readonly [number, number]
  /**
   * Answers may overtake each other and are matched by `Message.key`. Without it answers come in the order of
   * their requests.
   */
  keyed?: boolean
  /**
   * ms after which a request counts as unanswered, when its connection is heard of again. Default: as long as the
   * connection lives; so in any case where answers of a stream come in order.
   */
  patience?: number
  /**
   * In datagrams: when no request waits, the state says nothing but what `open` tells. The engine keeps but a few numbers of
   * such a flow, of which there may be ten thousand a second.
   */
  answeredIsOver?: true
  /**
   * Do these first bytes, sent by `from`, begin a message of this protocol? Throw Incomplete (read past the end) to be
   * asked again with more; `more` says the same, and costs no exception. A wrong yes costs the whole connection: say yes to what cannot be anything else.
   * `ctx.hinted` says that the port speaks for it.
   */
  probe(at: Cursor, from: Side, ctx: Context<State>): boolean | 'more'
  /**
   * State of one connection, both sides: modes that were negotiated. What belongs to one request travels as its `memo`.
   * Called again when bytes were lost: then, and where listening began late, both sides are in the middle of something.
   * `memo` is what came with `Message.becomes`, also then.
   */
  open?(where?: 'beginning' | 'middle', memo?: unknown): State
  /** Bytes of `from` were lost: what is still known. Default: nothing but what `open` tells. */
  lost?(state: State, from: Side): State
  /** About how many bytes of memory the state takes, where they may be many: for the limit over all connections. */
  weight?(state: State): number
  /** The connection is over or not understood any more: whatever the state still holds is said now. */
  close?(ctx: Context<State>, why: Ending): Message[]
  /**
   * Reads one message of `ctx.from`, or several that end together. null: bytes were read (position moved or committed)
   * and no message came of it.
   * Changes `ctx.state` only after its last read from the cursor: when the bytes run out, state is as it was.
   */
  read(at: Cursor, ctx: Context<State>): Message | Message[] | null
  /**
   * The side `ctx.from` sends no more. `at` holds what was left unread, `at.progress` what was committed.
   * A message that ends with its connection is returned; one that is cut short carries an `error`.
   */
  end?(at: Cursor, ctx: Context<State>, why: Ending): Message | Message[] | null
  /**
   * `length` bytes at the cursor were not captured. true: they lie within the part of the message that
   * `progress` describes, which now has taken note of them. Otherwise the connection is lost.
   */
  bridge?(length: number, progress: unknown): boolean
}

export type Ending = 'closed' | 'reset' | 'lost' | 'idle' | 'capture-ended'

/** When the first byte of a message was captured, and where the other side stood then. Mostly kept and given back. */
export interface Moment {
  readonly seconds: number
  readonly nanoseconds: number
  readonly ack: number
}

export interface Context<State = unknown> {
  state: State
  /** Who sent the bytes at the cursor. */
  from: Side
  transport: Transport
  /** Port of the server side. */
  port: number
  /** The port is one of the dissector's own. */
  hinted: boolean
  /** The beginning of the connection was not seen, or bytes of it are missing. */
  midstream: boolean
  /** Bytes of a body worth keeping; 0 when nobody wants bodies. */
  keep: number
  /** Bytes behind the cursor's end that were on the wire and not captured; of streams and of UDP always 0. */
  missing: number
  /** What `probe` found out of these bytes and left here for the `read` that follows it; null otherwise. */
  learnt: unknown
  /** Errors of ICMP: the stream of the connection whose packet is quoted; null when it was not seen. */
  readonly related: string | null
  /**
   * While an answer is read in a protocol without keys: the `memo` of the request that it will be paired with;
   * undefined when that request was not seen.
   */
  awaited: unknown
  /** The request itself, as it was delivered; null when it was not seen. */
  readonly request: Json | Written | null
  /** In a keyed protocol: the `memo` of the newest request with this key that still waits; undefined: there is none. */
  requestOf(key: string | number): unknown
  /** Of what is read at present: for a message that is put together from parts between those of others. */
  readonly moment: Moment
  /** An empty writer for whoever writes the body's text himself; empty again at the next `read`. */
  out: JsonWriter
  /** For bytes that must outlive a `read`. */
  buffers: BufferPool
  /** Where somebody has the descriptions of messages that do not describe themselves. */
  describe: Describe | null
}

/**
 * Reads a message of gRPC whose description is known (.proto files), `path` being that of the call. null: it is not known,
 * or the bytes are not what it says.
 */
export type Describe = (path: string, direction: 'request' | 'response', content: Uint8Array) => JsonValue | null

export interface Message {
  /** `nothing` makes no item: of such a message only `becomes` is heeded. */
  kind: 'request' | 'response' | 'event' | 'nothing'
  /**
   * Plain JSON, or text already written by a JsonWriter (then only valid until the next `read`: the engine copies).
   * null, with a `key`: the request has no answer and will have none, and `error` says why.
   */
  body: Json | Written | null
  /** For `keyed` protocols: what an answer repeats of its request. */
  key?: string | number
  /**
   * Who sent the request, or the one that the answer is for. Default: the client. With keys the server may ask, too
   * (MQTT: both publish); the keys of both must differ. The asker is the item's `src`.
   */
  asker?: Side
  /** The answer tells of an error (HTTP 4xx and 5xx, -ERR, NXDOMAIN). */
  failed?: boolean
  /**
   * Requests: what reading the answer takes (a HEAD has no body). The answer's `read` finds it as `ctx.awaited`, in
   * keyed protocols by `ctx.requestOf`.
   */
  memo?: unknown
  /** This request will have no answer: deliver it now. */
  unanswered?: boolean
  /** The quoted packet of `ctx.related` did not arrive, for this reason: what it asked will have no answer. */
  refuses?: string
  /**
   * Of a request or a response that has no counterpart, because each side sends what it likes: what the item says as
   * its `event`, beside the message.
   */
  event?: Json | Written
  /** The answer is not the last one to its request (DNS zone transfer, gRPC stream): keep the request waiting. */
  more?: boolean
  /**
   * From the next byte on both sides speak another protocol: a name, 'unknown' to probe afresh, or 'encrypted' for what
   * nobody can read. The memo is for the other dissector's `open`.
   */
  becomes?: string | { name: string; memo: unknown }
  /**
   * It, the first of several, lies within a message that goes on: what `read` committed stays, and time is that of the
   * latest packet where it does not say `since`.
   */
  within?: true
  /** It belongs to a protocol that travels within the dissector's own. */
  as?: Face
  /** When it began, where that was before the bytes that `read` was shown. */
  since?: Moment
  /** When an answer ended, where that was before the bytes that `read` was shown. */
  until?: Moment
  /** Of an answer with `becomes`: the request is answered once more in the other protocol, under this key. */
  again?: string | number
  /** Bytes on the wire, where they are not those between the position before and after `read`. */
  size?: number
  /** The version, where the message tells: `1.0`. */
  version?: string
  error?: ItemError
}

export interface Summary {
  /** `GET`, `SET`, `A`. */
  method: string
  /** `/orders/7`, `cart:12`, `db.shop.svc`. */
  summary: string
  /** `200`, `OK`, `NXDOMAIN`; empty without an answer. */
  status: string
}

/**
 * Sees what others have read before it is written, and may make it its own (GraphQL in HTTP): then the item has the
 * refiner's face, keeps the name of the protocol that it travels in, and request, response and event gain fields.
 */
export interface Refiner extends Face {
  /** Names of those whose messages it wants to see: `http`, `ws`. */
  refines: readonly string[]
  /** Asked once an item, and most are not its own: `Written` tells where the type and the body lie, to look there first. */
  refine(exchange: Exchange): Refinement | null
}

/** What an item will say, null where there is none. Valid during the call alone. */
export interface Exchange {
  /** Name of whose it is so far. */
  host: string
  request: Json | Written | null
  response: Json | Written | null
  event: Json | Written | null
  /** An empty writer for a refiner who writes the text of fields himself; empty again at the next call. */
  out: JsonWriter
}

/** Fields that are added, as an object or its text; where there are none, nothing instead of an empty object. */
export interface Refinement {
  request?: Json | Written | undefined
  response?: Json | Written | undefined
  event?: Json | Written | undefined
  /** The answer tells of an error that the host does not see. */
  failed?: boolean
}

/** Sees connections themselves, not what is said on them (TCP). Of a transport at most one. */
export interface Observer<State = unknown> extends Face {
  transports: readonly Transport[]
  /** What is counted of one connection. */
  open(): State
  /** One packet of the connection: once a packet, so it adds to numbers and allocates nothing. */
  observe(state: State, passing: Passing): void
  /** When the connection has ended, and every minute in which it was heard of; null: nothing. */
  report(state: State, told: Reported): Told | null
}

/** One packet as its connection sees it; one object, overwritten with the next. */
export interface Passing {
  /** Sent by the end that sent the first packet. */
  forth: boolean
  seconds: number
  nanoseconds: number
  /** Bytes of the whole packet, headers included. */
  wire: number
  /** Bytes of payload, captured or not. */
  length: number
  /** Of TCP; the options are `bytes[optionsStart..optionsEnd)`. */
  seq: number
  ack: number
  flags: number
  window: number
  bytes: Uint8Array
  optionsStart: number
  optionsEnd: number
}

/** What the engine knows of a connection that is told of. */
export interface Reported {
  /** The client is not the end that sent the first packet. */
  swapped: boolean
  /** Why it ended; null while it lives. */
  why: Ending | null
  /** Protocols that were spoken, in this order. */
  protocols: readonly string[]
  /** Why its packets do not arrive, as an ICMP error told. */
  refused: string | null
}

export interface Told {
  body: Json
  failed: boolean
  error: ItemError | null
  /** Of the item: the connection's first packet. */
  seconds: number
  nanoseconds: number
}
