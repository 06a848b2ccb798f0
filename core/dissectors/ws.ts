/**
 * WebSocket (RFC 6455) with permessage-deflate (RFC 7692), behind the handshake in HTTP.
 *
 *   message = frame *( frame )     the first tells text or binary, the others go on with it, the last has FIN
 *   close, ping and pong are frames of their own and may come between those of a message; a client masks what it sends
 *
 * Each side sends what it likes: every message is an item of its own, the client's as `request`, the server's as
 * `response`, with an `event` beside it that says who sent what.
 */
import { isUtf8 } from 'node:buffer'
import { type Cursor, Malformed } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Side } from '../dissector.ts'
import { emptyWindow, inflatePiece, moveWindow, type Window } from '../inflate.ts'
import type { ItemError, Json } from '../item.ts'
import { constant, type JsonWriter, Written } from '../json-writer.ts'
import { CLOSE, CONTINUATION, type Frame, isControl, OPCODES, readFrame, TEXT, unmask } from './ws/frame.ts'
import { type Agreed, agreedIn, UNKNOWN } from './ws/negotiation.ts'

/** `request` of an item if the client sent it, `response` if the server did. */
export interface WebSocketMessage {
  opcode: 'text' | 'binary' | 'close' | 'ping' | 'pong'
  /** Text, or base64 with `encoding`; null when nobody wants bodies. */
  payload: string | null
  encoding?: 'base64'
  /** `payload` is the beginning alone. */
  truncated?: true
  /** Bytes, without compression if it could be undone. */
  payloadLength: number
  /** It was compressed on the wire. */
  compressed: boolean
  /** How many it was sent in. */
  frames: number
  /** Of a close: RFC 6455, 7.4; null when it gives none. */
  code?: number | null
  /** Its text, which is its `payload` too. */
  reason?: string
  /** Sec-WebSocket-Protocol, as the handshake agreed; null when there is none or the handshake was not seen. */
  subprotocol: string | null
}

export interface WebSocketEvent {
  source: Side
  type: WebSocketMessage['opcode']
}

/** Of one connection, or of one stream of HTTP/2. */
export interface State {
  agreed: Agreed
  /** The handshake was not seen, or bytes are missing: the frame that comes first may go on with a message. */
  midstream: boolean
  client: Window
  server: Window
}

export const dissector: Dissector<State> = {
  name: 'ws',
  title: 'WebSocket',
  abbr: 'WS',
  version: '13',
  color: '#3e5cc9',
  reference: 'https://www.rfc-editor.org/rfc/rfc6455',
  transports: ['tcp'],
  ports: [],
  priority: 90,
  aliases: ['websocket'],
  open,
  lost: (state, from) => ({ ...state, midstream: true, [from]: emptyWindow() }),
  weight: ({ client, server }) => client.bytes.length + server.bytes.length,
  probe,
  read,
  end,
  bridge: (length, progress) => bridge(length, progress as Pending),
  summarize: (request, response) => {
    const { opcode, payload, payloadLength, code } = (request ?? response) as WebSocketMessage
    return {
      method: opcode,
      // Tables show who connected to whom, not who speaks.
      summary: `${request === null ? '←' : '→'} ${payload ?? `${payloadLength} bytes`}`,
      status: code == null ? '' : String(code),
    }
  },
}

/** `memo`: the answer of the handshake, as HTTP tells it. */
function open(where?: 'beginning' | 'middle', memo?: unknown): State {
  const headers = (memo as Json | undefined)?.headers
  return {
    agreed: headers === undefined ? UNKNOWN : agreedIn(headers),
    midstream: where === 'middle',
    client: emptyWindow(),
    server: emptyWindow(),
  }
}

// ── detection ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** So many frames in a row where nothing but they tell that this is WebSocket; fewer behind a gap. */
const FRAMES_OF_STRANGERS = 3
const FRAMES_BEHIND_GAP = 2
/** Whoever waits for the first frame of a stranger for longer than this keeps others from finding their beginning. */
const MAX_AWAITED = 256

/** WebSocket begins with HTTP: only what is heard in the middle is asked. */
function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  if (!ctx.midstream) return false
  const known = ctx.state as State | undefined
  const isStranger = known === undefined
  let expectsMore = false
  for (let count = 0; count < (isStranger ? FRAMES_OF_STRANGERS : FRAMES_BEHIND_GAP); count++) {
    const start = at.position
    const all = at.remaining
    const frame = readFrame(at, isStranger || known.agreed.compression !== 'none')
    const { opcode, fin, length } = frame
    if (frame.masked !== (from === 'client') || !isShortest(length, at.position - start, frame.masked)) return false
    if ((at.bytes[start]! & 0x30) !== 0 || (frame.rsv1 && (isControl(opcode) || opcode === CONTINUATION))) return false
    if (!isControl(opcode)) {
      // Zeros look like frames without end, and nothing tells of a message in its middle.
      if (length === 0 || (isStranger && !fin) || (opcode === CONTINUATION) !== expectsMore) return false
      expectsMore = !fin
    }
    if (isStranger && count === 0 && length > at.remaining && all > MAX_AWAITED) return false
    if (!isLikely(frame, at.view(length), ctx)) return false
    // Behind a gap one frame that ends where its segment ends will do, when its text is one.
    if (!isStranger && at.remaining === 0 && opcode === TEXT && fin && !frame.rsv1) return true
  }
  return true
}

/** 5.2: the length in as few bytes as possible. */
function isShortest(length: number, headSize: number, masked: boolean): boolean {
  const extra = headSize - 2 - (masked ? 4 : 0)
  return extra === 0 || (extra === 2 ? length > 125 : length > 0xffff)
}

function isLikely({ opcode, fin, rsv1, mask }: Frame, payload: Uint8Array, ctx: Context<State>): boolean {
  if (opcode === CLOSE) return payload.length !== 1
  if (opcode !== TEXT || !fin || rsv1) return true
  if (mask === 0) return isUtf8(payload)
  const plain = ctx.buffers.take(payload.length)
  unmask(payload, 0, payload.length, mask, 0, plain, 0)
  const is = isUtf8(plain.subarray(0, payload.length))
  ctx.buffers.give(plain)
  return is
}

// ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Frames that are longer do not wait for their end in memory. */
const SMALL = 4096
/** Of a compressed message, to be unfolded at its end; a longer one is not. */
const MAX_COMPRESSED = 1 << 20
/** A kilobyte that unfolds to a gigabyte must cost no more than an honest message. */
const MAX_INFLATED = 8 << 20

/** A message that has not ended: what is committed between frames, and within large ones. */
interface Pending {
  /** 0 where its first frame was not seen: then it is read and not told. */
  opcode: number
  compressed: boolean
  frames: number
  /** The frame at hand is the last. */
  fin: boolean
  mask: number
  /** Of the frame at hand: bytes that have come, and that are still to come. */
  done: number
  remaining: number
  kept: Buffer
  keptLength: number
  /** Bytes of payload so far. */
  length: number
  /** Bytes that were on the wire and not in the capture. */
  missing: number
  /** Bytes on the wire, heads of frames included. */
  wire: number
}

function read(at: Cursor, ctx: Context<State>): Message | null {
  const pending = at.progress as Pending | null
  if (pending !== null && pending.remaining > 0) return take(at, ctx, pending)
  const { agreed, midstream } = ctx.state
  const start = at.position
  const frame = readFrame(at, agreed.compression !== 'none')
  const { opcode, length } = frame
  if (isControl(opcode)) return control(at, ctx, frame, pending, start)
  const headSize = at.position - start
  if (pending !== null) {
    if (opcode !== CONTINUATION)
      throw new Malformed(`expected the message to go on, found a frame of ${OPCODES[opcode]}`)
    pending.frames++
    pending.fin = frame.fin
    pending.mask = frame.mask
    pending.done = 0
    pending.remaining = length
    pending.wire += headSize
    return take(at, ctx, pending)
  }
  if (opcode === CONTINUATION && !midstream) throw new Malformed('expected the first frame of a message')
  if (frame.fin && opcode !== CONTINUATION && (at.remaining >= length || length <= SMALL)) {
    at.need(length)
    const from = at.position
    at.position += length
    return whole(at.bytes, from, ctx, frame, headSize + length)
  }
  const begun: Pending = {
    opcode,
    compressed: frame.rsv1,
    frames: 1,
    fin: frame.fin,
    mask: frame.mask,
    done: 0,
    remaining: length,
    kept: NOTHING,
    keptLength: 0,
    length: 0,
    missing: 0,
    wire: headSize,
  }
  return take(at, ctx, begun)
}

function bridge(length: number, pending: Pending): boolean {
  if (length > pending.remaining) return false
  pending.remaining -= length
  pending.done += length
  pending.length += length
  pending.missing += length
  pending.wire += length
  return true
}

/** More of the frame at hand. */
function take(at: Cursor, ctx: Context<State>, pending: Pending): Message | null {
  const count = Math.min(pending.remaining, at.remaining)
  keep(at.bytes, at.position, count, ctx, pending)
  at.position += count
  pending.remaining -= count
  pending.done += count
  pending.length += count
  pending.wire += count
  if (pending.remaining === 0 && pending.fin) return finish(ctx, pending, null)
  at.commit(pending, pending.kept.length)
  return null
}

function keep(bytes: Uint8Array, start: number, count: number, ctx: Context<State>, pending: Pending): void {
  if (pending.missing > 0 || ctx.keep === 0 || pending.opcode === CONTINUATION) return
  const limit = pending.compressed ? Math.max(ctx.keep, MAX_COMPRESSED) : ctx.keep
  const wanted = Math.min(count, limit - pending.keptLength)
  if (wanted <= 0) return
  const size = pending.keptLength + wanted
  if (size > pending.kept.length) {
    const larger = ctx.buffers.take(size)
    pending.kept.copy(larger, 0, 0, pending.keptLength)
    release(ctx, pending)
    pending.kept = larger
  }
  unmask(bytes, start, start + wanted, pending.mask, pending.done, pending.kept, pending.keptLength)
  pending.keptLength = size
}

function release(ctx: Context<State>, pending: Pending): void {
  if (pending.kept !== NOTHING) ctx.buffers.give(pending.kept)
  pending.kept = NOTHING
}

const NOTHING = Buffer.alloc(0)

// ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────

function control(at: Cursor, ctx: Context<State>, frame: Frame, pending: Pending | null, start: number): Message {
  const { length } = frame
  at.need(length)
  const from = at.position
  at.position += length
  const message = whole(at.bytes, from, ctx, frame, at.position - start)
  if (pending === null) return message
  // The message around it goes on.
  at.commit(pending, pending.kept.length)
  message.within = true
  return message
}

/** A message in one frame, whose payload is at `start`. */
function whole(bytes: Uint8Array, start: number, ctx: Context<State>, frame: Frame, size: number): Message {
  const { opcode, mask, length, rsv1 } = frame
  const told: Told = { bytes, start, end: start + length, length, cut: false, compressed: rsv1, frames: 1, size }
  if (ctx.keep === 0 || (mask === 0 && !rsv1)) return tell(ctx, opcode, told)
  const plain = ctx.buffers.take(length)
  unmask(bytes, start, start + length, mask, 0, plain, 0)
  told.bytes = plain
  told.start = 0
  told.end = length
  const message = rsv1 ? inflated(ctx, opcode, told) : tell(ctx, opcode, told)
  ctx.buffers.give(plain)
  return message
}

function finish(ctx: Context<State>, pending: Pending, error: ItemError | null): Message | null {
  const { opcode, compressed, kept, keptLength, length, frames, wire, missing } = pending
  const cut = keptLength < length || error !== null
  const told: Told = { bytes: kept, start: 0, end: keptLength, length, cut, compressed, frames, size: wire }
  let message: Message | null = null
  // Whose beginning was not seen may be of any kind.
  if (opcode === CONTINUATION) forget(ctx)
  else message = compressed && ctx.keep > 0 ? inflated(ctx, opcode, told) : tell(ctx, opcode, told)
  release(ctx, pending)
  if (message === null) return null
  if (error === null && missing > 0)
    error = { type: 'dissection', msg: `${missing} bytes of the message are missing from the capture` }
  if (error !== null) message.error = error
  return message
}

function end(at: Cursor, ctx: Context<State>, why: Ending): Message | null {
  const pending = at.progress as Pending | null
  if (pending === null) return null
  const type = why === 'lost' || why === 'capture-ended' ? 'dissection' : 'connection'
  return finish(ctx, pending, { type, msg: `the message ends early, after ${pending.length} bytes: ${ENDINGS[why]}` })
}

const ENDINGS: Record<Ending, string> = {
  closed: 'the connection was closed',
  reset: 'the connection was reset',
  lost: 'packets are missing from the capture',
  idle: 'nothing more came',
  'capture-ended': 'the capture ends here',
}

/** As `tell`, without compression if that can be undone. */
function inflated(ctx: Context<State>, opcode: number, told: Told): Message {
  const { agreed, [ctx.from]: window } = ctx.state
  if (agreed.compression === 'other') return tell(ctx, opcode, told)
  const output = inflatePiece(told.bytes.subarray(told.start, told.end), window, MAX_INFLATED)
  const forgets = ctx.from === 'client' ? agreed.clientForgets : agreed.serverForgets
  if (output === null || told.cut) forget(ctx)
  else if (!forgets) moveWindow(window, output)
  if (output === null) {
    const message = tell(ctx, opcode, told)
    message.error = { type: 'dissection', msg: 'what the message was compressed with is not known' }
    return message
  }
  return tell(ctx, opcode, { ...told, bytes: output, start: 0, end: output.length, length: output.length })
}

/** What the side's messages refer back to is not known any more. */
function forget(ctx: Context<State>): void {
  ctx.state[ctx.from].length = 0
}

// ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A message and its payload, `bytes[start..end)`. */
interface Told {
  bytes: Uint8Array
  start: number
  end: number
  /** Of the payload, bytes that are not at hand counted. */
  length: number
  /** Some are not at hand. */
  cut: boolean
  compressed: boolean
  frames: number
  /** Bytes on the wire. */
  size: number
}

const EVENTS: Record<Side, readonly Written[]> = { client: events('client'), server: events('server') }

function events(source: Side): Written[] {
  return OPCODES.map(type => {
    const text = constant(JSON.stringify({ source, type }))
    return new Written(text, 0, text.length)
  })
}

const OPCODE = OPCODES.map(name => constant(`{"opcode":"${name}","payload":`))
const BASE64 = constant(',"encoding":"base64"')
const TRUNCATED = constant(',"truncated":true')
const LENGTH = constant(',"payloadLength":')
const COMPRESSED = constant(',"compressed":true,"frames":')
const NOT_COMPRESSED = constant(',"compressed":false,"frames":')
const CODE = constant(',"code":')
const REASON = constant(',"reason":')
const SUBPROTOCOL = constant(',"subprotocol":')
const NULL = constant('null')

function tell(ctx: Context<State>, opcode: number, told: Told): Message {
  const { out, from, keep } = ctx
  const { bytes, length, size } = told
  const begin = out.length
  out.raw(OPCODE[opcode]!)
  const bodyStart = out.length
  // A close tells its code before its reason (RFC 6455, 5.5.1).
  const start = opcode === CLOSE ? Math.min(told.start + 2, told.end) : told.start
  const end = Math.min(told.end, start + keep)
  const cut = told.cut || end < told.end
  let isText = true
  if (keep === 0) out.raw(NULL)
  else isText = writePayload(out, opcode, bytes, start, end, cut)
  const bodyEnd = out.length
  if (!isText) out.raw(BASE64)
  if (cut && keep > 0) out.raw(TRUNCATED)
  out.raw(LENGTH)
  out.integer(length)
  out.raw(told.compressed ? COMPRESSED : NOT_COMPRESSED)
  out.integer(told.frames)
  if (opcode === CLOSE) {
    out.raw(CODE)
    if (start - told.start < 2) out.raw(NULL)
    else out.integer((bytes[start - 2]! << 8) | bytes[start - 1]!)
    out.raw(REASON)
    out.string(bytes, start, end)
  }
  out.raw(SUBPROTOCOL)
  const { subprotocol } = ctx.state.agreed
  if (subprotocol === null) out.raw(NULL)
  else out.value(subprotocol)
  out.byte(125)
  const body = out.since(begin)
  if (end > start) {
    body.bodyStart = bodyStart
    body.bodyEnd = bodyEnd
  }
  return { kind: from === 'client' ? 'request' : 'response', body, event: EVENTS[from][opcode]!, size }
}

/** Says whether it is text; otherwise it is base64. */
function writePayload(
  out: JsonWriter,
  opcode: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  cut: boolean,
): boolean {
  const begin = out.length
  if (out.text(bytes, start, end, cut)) return true
  // STOMP ends its frames with a zero and SignalR with 0x1e: text all the same, when it was sent as such.
  if (opcode === TEXT && isUtf8(bytes.subarray(start, end))) {
    out.string(bytes, start, end)
    return true
  }
  out.length = begin
  out.base64(bytes, start, end)
  return false
}
