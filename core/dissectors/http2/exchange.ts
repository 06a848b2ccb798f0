/**
 * Exchanges: what frames of a stream add up to. A request is handed over when its side has ended, a response when it has
 * ended and its request too, or when a reset says that nothing more will come. Calls of gRPC that stream hand over each
 * message as it comes.
 */
import type { Context, Ending, Message, Moment, Side } from '../../dissector.ts'
import type { ItemError } from '../../item.ts'
import { feed, isOneMessage, lose, writeRequestFields, writeResponseFields } from '../grpc/call.ts'
import { milliseconds } from '../grpc/status.ts'
import { face as grpcFace } from '../grpc.ts'
import { EventStream } from '../sse.ts'
import { CANCEL, errorName, HEADER, isMessages, NO_ERROR } from './frames.ts'
import { type Head, joined, readTrailers, writeRequestHead, writeResponseHead } from './head.ts'
import { type Field, type FieldList, HeaderTable, UNKNOWN } from './hpack.ts'
import { finish, Part, writeKeptHead } from './part.ts'
import { Tunnel } from './tunnel.ts'

export interface State {
  client: Encoder
  server: Encoder
  /** By number, in the order in which they began. */
  streams: Map<number, Stream>
  /** Those that were reset a while ago: frames that were under way may still come. */
  reset: Set<number>
  /** Listening began late, or bytes were lost: frames may belong to streams whose beginning was not seen. */
  late: boolean
  /** Memory that the parts of messages take. */
  kept: number
  /** Streams whose response waits for a request that may have ended unseen. */
  stuck: boolean
}

/** One side's way of writing headers. */
export interface Encoder {
  table: HeaderTable
  /** A header block that goes on in CONTINUATION frames. */
  block: Block | null
}

export interface Block {
  stream: number
  /** The stream that PUSH_PROMISE announces; 0 for HEADERS. */
  promised: number
  endStream: boolean
  fragments: Uint8Array[]
  /** Bytes of the fragments, and of the frames. */
  length: number
  size: number
  since: Moment
}

export class Stream {
  readonly id: number
  /** null: nothing of it was seen, or it was handed over. */
  request: Part | null = null
  response: Part | null = null
  /** The request was handed over. */
  asked = false
  path = ''
  /** undefined: not decided yet. */
  grpc: boolean | undefined = undefined
  /** Only its data look like it: gRPC-Web's do, too. */
  looksLikeGrpc = false
  /** When the request began, and ms that its client is willing to wait. */
  since: Moment | null = null
  timeout: number | null = null
  /** What is said in it after CONNECT. */
  tunnel: Tunnel | null = null
  /** What the connection's sum holds of the tunnel's weight. */
  counted = 0

  constructor(id: number) {
    this.id = id
  }
}

/** Where nobody limits them, a client may open streams without end. */
const MAX_STREAMS = 4096
/** Streams whose late frames are known as such. */
const MAX_RESET = 1024
/** Of all messages of a connection that have not ended: many large uploads at once must not fill the worker. */
const MAX_KEPT = 16 << 20
/** Bytes of 1xx heads that are kept for the final answer: a server may send them without end. */
const MAX_INTERIM = 65_536
/** What a stream takes beside its parts. */
const STREAM_BYTES = 400
/** A response whose end may have been lost is given up when streams have begun whose numbers are so much larger. */
const MAX_BEHIND = 400

export function newState(where: 'beginning' | 'middle'): State {
  const state: State = {
    client: { table: new HeaderTable(), block: null },
    server: { table: new HeaderTable(), block: null },
    streams: new Map(),
    reset: new Set(),
    late: where === 'middle',
    kept: 0,
    stuck: false,
  }
  if (where === 'middle') for (const { table } of [state.client, state.server]) table.forget()
  return state
}

export function weightOf({ client, server, streams, kept }: State): number {
  return kept + streams.size * STREAM_BYTES + client.table.weight + server.table.weight
}

/** Frames of `side` were lost. */
export function loseFrames(state: State, side: Side): State {
  state[side].table.forget()
  state[side].block = null
  state.late = true
  for (const stream of state.streams.values()) {
    stream.tunnel?.lose()
    const part = side === 'client' ? stream.request : stream.response
    if (part === null || part.ended) continue
    part.doubtful = true
    part.events?.gap()
    lose(part)
    if (stream.response?.ended === true) state.stuck = true
  }
  return state
}

// ── headers ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** What follows a header block in the bytes at hand: a frame of data, and perhaps one of trailers. */
export interface Rest {
  bytes: Uint8Array
  start: number
  dataEnd: number
  /** The block of the trailers goes from here to `end`; -1: there are none. */
  trailersStart: number
  end: number
  /** The message ends with it. */
  isLast: boolean
  /** It was read along with the headers. */
  taken: boolean
}

/** A whole header block. */
export function headers(
  ctx: Context<State>,
  block: Omit<Block, 'fragments' | 'length'>,
  list: FieldList,
  rest: Rest | null,
): Message[] {
  const made: Message[] = []
  const { state } = ctx
  const id = block.promised === 0 ? block.stream : block.promised
  const known = state.streams.get(id)
  if (known === undefined && state.reset.has(id)) return made
  const stream = known ?? open(ctx, id, made)
  if (ctx.from === 'client' || block.promised !== 0) requestHeaders(ctx, stream, block, list, rest, made)
  else responseHeaders(ctx, stream, block, list, rest, made)
  return made
}

function requestHeaders(
  ctx: Context<State>,
  stream: Stream,
  block: Omit<Block, 'fragments' | 'length'>,
  list: FieldList,
  rest: Rest | null,
  made: Message[],
): void {
  const { out } = ctx
  if (stream.asked) return
  const begun = stream.request
  if (begun !== null && (begun.head !== null || !hasPseudoFields(list.fields))) {
    takeTrailers(ctx, begun, list, block.size)
    if (block.endStream) endRequest(ctx, stream, begun, made)
    return
  }
  const part = begun ?? new Part('request', block.since)
  stream.request = part
  stream.since = block.since
  part.size += block.size
  part.headSize += block.size
  const from = out.length
  const head = writeRequestHead(out, list, stream.id, block.promised === 0 ? 0 : block.stream, part)
  part.head = head
  part.said = head.grpc
  stream.path = head.path
  stream.timeout = milliseconds(head.grpc.timeout)
  decideGrpc(stream, head)
  const isTunnel = head.method === 'CONNECT'
  if (block.endStream || block.promised !== 0 || isTunnel) {
    part.ended = true
    made.push(requestMessage(ctx, stream, part, from, NOTHING, 0, 0, null))
    if (isTunnel) stream.tunnel = new Tunnel(head.protocol)
    if (stream.response?.ended === true) tellResponse(ctx, stream, stream.response, null, made)
    return
  }
  readRest(ctx, stream, part, from, list, rest, made)
}

function responseHeaders(
  ctx: Context<State>,
  stream: Stream,
  block: Omit<Block, 'fragments' | 'length'>,
  list: FieldList,
  rest: Rest | null,
  made: Message[],
): void {
  const { out } = ctx
  const { tunnel } = stream
  const { fields } = list
  if (tunnel?.isOpen) {
    if (block.endStream) endTunnel(ctx, stream, tunnel, made)
    return
  }
  const part = stream.response ?? new Part('response', block.since)
  stream.response = part
  if (part.ended) return
  if (
    part.head !== null ||
    (!hasPseudoFields(fields) && (part.bodySize > 0 || block.endStream || isTrailers(fields)))
  ) {
    takeTrailers(ctx, part, list, block.size)
    if (part.said.status !== null) stream.grpc ??= true
    if (block.endStream) endResponse(ctx, stream, part, made)
    return
  }
  const from = out.length
  const head = writeResponseHead(out, list, stream.id, part)
  if (head.status >= 100 && head.status < 200 && !block.endStream) {
    out.byte(CLOSE)
    const text = out.bytes.toString('utf8', from, out.length)
    out.length = from
    part.typeStart = -1
    part.typeEnd = -1
    const size = part.interim.reduce((sum, { length }) => sum + length, text.length)
    if (size <= MAX_INTERIM) part.interim = [...part.interim, text]
    return
  }
  part.size += block.size
  part.headSize += block.size
  part.head = head
  part.said = head.grpc
  if (head.grpc.status !== null) stream.grpc ??= true
  decideGrpc(stream, head)
  if (tunnel !== null && head.status >= 200 && head.status < 300) {
    part.ended = true
    made.push(responseMessage(ctx, stream, part, from, NOTHING, 0, 0, null))
    stream.response = null
    tunnel.open(Object.fromEntries(fields.map(({ name, value }) => [name, value])), ctx, made)
    if (block.endStream) endTunnel(ctx, stream, tunnel, made)
    return
  }
  // Refused: what follows is a body like any other.
  stream.tunnel = null
  if (block.endStream && part.interim.length === 0 && !hasUntold(stream)) {
    part.ended = true
    made.push(responseMessage(ctx, stream, part, from, NOTHING, 0, 0, null))
    drop(ctx, stream)
    return
  }
  if (head.status === 200 && isEventStream(head.type))
    part.events = new EventStream(stream.path === '' ? null : stream.path, head.codings, limitOf(ctx))
  readRest(ctx, stream, part, from, list, rest, made)
  if (block.endStream) endResponse(ctx, stream, part, made)
}

const NOTHING: Uint8Array = new Uint8Array(0)
const CLOSE = 125

function hasPseudoFields(fields: readonly Field[]): boolean {
  return fields.some(({ name }) => name.charCodeAt(0) === 58)
}

function isTrailers(fields: readonly Field[]): boolean {
  return fields.some(({ role }) => role === 'grpc-status') || !fields.includes(UNKNOWN)
}

function takeTrailers(ctx: Context<State>, part: Part, list: FieldList, size: number): void {
  const { text, grpc, lack } = readTrailers(ctx.out, list)
  part.size += size
  part.trailers = text
  part.said = joined(part.said, grpc)
  part.trailersLack = lack
  // What came before them was not seen.
  if (part.head === null) part.doubtful = true
}

/** The head stands in the writer from `from` on and is wanted later. */
function keepHead(ctx: Context<State>, part: Part, from: number, list: FieldList): void {
  const { out } = ctx
  part.known = list.head
  if (part.known === null) {
    const text = Buffer.allocUnsafe(out.length - from)
    out.bytes.copy(text, 0, from, out.length)
    part.text = text
  }
  out.length = from
  account(ctx.state, part)
}

function decideGrpc(stream: Stream, head: Head): void {
  if (head.type !== null) {
    stream.grpc = (stream.grpc === true && !stream.looksLikeGrpc) || head.isGrpc
    stream.looksLikeGrpc = false
  } else if (!head.incomplete) stream.grpc ??= false
}

function isEventStream(type: string | null): boolean {
  return type !== null && (type.charCodeAt(5) | 0x20) === 101 && /^text\/event-stream/i.test(type)
}

// ── DATA ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** More of what is said in a tunnel. */
export function tunnelled(
  ctx: Context<State>,
  stream: Stream,
  b: Uint8Array,
  start: number,
  end: number,
  made: Message[],
): void {
  stream.tunnel!.data(b, start, end, ctx, made)
  accountTunnel(ctx.state, stream)
}

/** END_STREAM of this side. */
export function endTunnel(ctx: Context<State>, stream: Stream, tunnel: Tunnel, made: Message[]): void {
  if (tunnel.end(ctx.from, ctx, 'closed', made)) drop(ctx, stream)
}

/** The part of a stream that DATA of this side belongs to; null where nobody wants it. */
export function partFor(ctx: Context<State>, id: number, made: Message[]): { stream: Stream; part: Part } | null {
  const { state, from } = ctx
  let stream = state.streams.get(id)
  if (stream === undefined) {
    if (!state.late || state.reset.has(id)) return null
    stream = open(ctx, id, made)
  }
  let part = from === 'client' ? stream.request : stream.response
  if (part === null) {
    if (from === 'client' && stream.asked) return null
    part = new Part(from === 'client' ? 'request' : 'response', ctx.moment)
    part.doubtful = true
    lose(part)
    if (from === 'client') stream.request = part
    else stream.response = part
  }
  return part.ended ? null : { stream, part }
}

/** Whether the frame has to be here as a whole before it can be understood. */
export function needsWhole({ grpc }: Stream, part: Part): boolean {
  return grpc === undefined || (grpc && (part.flow === null ? part.doubtful : part.flow.astray))
}

/** `b[start..end)` is the beginning of a frame's data (`first`), or more of it. */
export function data(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  b: Uint8Array,
  start: number,
  end: number,
  first: boolean,
  made: Message[],
): void {
  if (stream.grpc === undefined && end > start) {
    stream.grpc = isMessages(b, start, end)
    stream.looksLikeGrpc = stream.grpc
  }
  if (stream.grpc === true) feed(ctx, stream, part, b, start, end, first, limitOf(ctx), made)
  else part.append(b, start, end, limitOf(ctx), ctx)
  if (part.events !== null) {
    part.events.read(b, start, end)
    tellEvents(part.events, made)
  }
  account(ctx.state, part)
}

/** Those that have come since the last time; frames say by themselves whether they go on. */
function tellEvents(events: EventStream, made: Message[]): void {
  for (const { within: _, ...event } of events.take()) made.push(event)
}

/** A whole frame of data that is all there is: it need not be kept to be written. Says whether it was written. */
export function dataAtOnce(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  b: Uint8Array,
  start: number,
  end: number,
  made: Message[],
): boolean {
  if (!isAtOnce(ctx, stream, part, b, start, end)) return false
  const from = ctx.out.length
  writeKeptHead(ctx, part, stream.id)
  tellAtOnce(ctx, stream, part, from, b, start, end, made)
  return true
}

/**
 * What came together with the headers, which stand in the writer from `from` on: a message that is whole need not be kept
 * to be written. What is left over is read as any frame.
 */
function readRest(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  from: number,
  list: FieldList,
  rest: Rest | null,
  made: Message[],
): void {
  if (rest === null) {
    keepHead(ctx, part, from, list)
    return
  }
  const { bytes, start, dataEnd, trailersStart, end, isLast } = rest
  if (!isLast || !isAtOnce(ctx, stream, part, bytes, start, dataEnd)) {
    keepHead(ctx, part, from, list)
    // When a message of gRPC began, and an event, its own frame tells.
    if (isLast || stream.grpc !== false || part.events !== null) return
    part.size += HEADER + dataEnd - start
    part.append(bytes, start, dataEnd, limitOf(ctx), ctx)
    account(ctx.state, part)
  } else {
    const trailers = trailersStart < 0 ? null : trailersAt(ctx, stream, part, from, list, rest, made)
    part.size += HEADER + dataEnd - start
    if (trailers !== null) takeTrailers(ctx, part, trailers, HEADER + end - trailersStart)
    tellAtOnce(ctx, stream, part, from, bytes, start, dataEnd, made)
  }
  rest.taken = true
}

/** Where they cannot be read, what came before them is kept, as if it had come alone. */
function trailersAt(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  from: number,
  list: FieldList,
  { bytes, start, dataEnd, trailersStart, end }: Rest,
  made: Message[],
): FieldList {
  try {
    return ctx.state[ctx.from].table.read(bytes, trailersStart, end)
  } catch (thrown) {
    keepHead(ctx, part, from, list)
    part.flow = null
    part.size += HEADER + dataEnd - start
    data(ctx, stream, part, bytes, start, dataEnd, true, made)
    throw thrown
  }
}

function isAtOnce(ctx: Context<State>, stream: Stream, part: Part, b: Uint8Array, start: number, end: number): boolean {
  if (part.bodySize > 0 || part.head === null || !part.isWhole || end - start > ctx.keep || part.events !== null)
    return false
  if (part.direction === 'response' && (hasUntold(stream) || part.interim.length > 0)) return false
  return stream.grpc !== undefined && (!stream.grpc || isOneMessage(ctx, part, b, start, end))
}

function tellAtOnce(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  from: number,
  b: Uint8Array,
  start: number,
  end: number,
  made: Message[],
): void {
  part.bodySize = end - start
  part.ended = true
  if (part.direction === 'request') {
    made.push(requestMessage(ctx, stream, part, from, b, start, end, null))
    if (stream.response?.ended === true) tellResponse(ctx, stream, stream.response, null, made)
  } else {
    made.push(responseMessage(ctx, stream, part, from, b, start, end, null))
    drop(ctx, stream)
  }
}

/** END_STREAM of this side. */
export function endPart(ctx: Context<State>, stream: Stream, part: Part, made: Message[]): void {
  if (part.direction === 'request') endRequest(ctx, stream, part, made)
  else endResponse(ctx, stream, part, made)
}

function limitOf({ state, keep }: Context<State>): number {
  return state.kept < MAX_KEPT ? keep : 0
}

// ── the ends of messages ──────────────────────────────────────────────────────────────────────────────────────────

function awaitsRequest(stream: Stream): boolean {
  return hasUntold(stream) && !stream.request!.ended && !stream.request!.doubtful
}

/** A request that has to be told before its response. */
function hasUntold({ asked, request }: Stream): boolean {
  return !asked && request !== null && request.head !== null
}

function endRequest(ctx: Context<State>, stream: Stream, part: Part, made: Message[]): void {
  part.ended = true
  tellRequest(ctx, stream, part, null, made)
  if (stream.response?.ended === true) tellResponse(ctx, stream, stream.response, null, made)
}

/** The response may be whole before its request is: then it waits. */
function endResponse(ctx: Context<State>, stream: Stream, part: Part, made: Message[]): void {
  part.ended = true
  if (awaitsRequest(stream)) part.until ??= ctx.moment
  else tellResponse(ctx, stream, part, null, made)
}

function tellRequest(ctx: Context<State>, stream: Stream, part: Part, error: ItemError | null, made: Message[]): void {
  // What was sent before anybody listened is no message without its head.
  if (part.head !== null) {
    const from = ctx.out.length
    writeKeptHead(ctx, part, stream.id)
    const { content } = part
    made.push(requestMessage(ctx, stream, part, from, content, 0, content.length, error))
  }
  release(ctx, part)
}

/** The end of an exchange. */
function tellResponse(ctx: Context<State>, stream: Stream, part: Part, error: ItemError | null, made: Message[]): void {
  const { request } = stream
  if (!stream.asked && request !== null) tellRequest(ctx, stream, request, null, made)
  if (part.events !== null) {
    part.events.end(part.content)
    tellEvents(part.events, made)
  }
  if (part.head === null && part.said.status === null)
    made.push({ kind: 'response', body: null, key: stream.id, error: HEAD_MISSING })
  else {
    const from = ctx.out.length
    writeKeptHead(ctx, part, stream.id)
    const { content } = part
    made.push(responseMessage(ctx, stream, part, from, content, 0, content.length, error))
  }
  drop(ctx, stream)
}

const HEAD_MISSING: ItemError = {
  type: 'dissection',
  msg: 'the headers of the response are missing from the capture',
}

function requestMessage(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  from: number,
  b: Uint8Array,
  start: number,
  end: number,
  error: ItemError | null,
): Message {
  stream.asked = true
  const isGrpc = stream.grpc === true
  if (isGrpc) writeRequestFields(ctx, stream, part, b, start, end)
  const body = finish(ctx, part, from, b, start, end, ctx.keep > 0 && part.flow?.streams !== true)
  const message: Message = { kind: 'request', body, key: stream.id, since: part.since, size: part.size }
  if (isGrpc) message.as = grpcFace
  const found = error ?? incomplete(part)
  if (found !== null) message.error = found
  return message
}

function responseMessage(
  ctx: Context<State>,
  stream: Stream,
  part: Part,
  from: number,
  b: Uint8Array,
  start: number,
  end: number,
  error: ItemError | null,
): Message {
  const isGrpc = stream.grpc === true
  if (isGrpc) writeResponseFields(ctx, stream, part, b, start, end)
  const body = finish(ctx, part, from, b, start, end, ctx.keep > 0 && part.flow?.streams !== true)
  const message: Message = { kind: 'response', body, key: stream.id, since: part.since, size: part.size }
  if (isGrpc) message.as = grpcFace
  if (part.until !== null) message.until = part.until
  const status = part.head?.status ?? 0
  if (status >= 400 || (isGrpc && part.said.status !== null && part.said.status !== '0')) message.failed = true
  const found = error ?? incomplete(part)
  if (found !== null) message.error = found
  return message
}

function incomplete(part: Part): ItemError | null {
  if (part.missing > 0)
    return { type: 'dissection', msg: `${part.missing} bytes of the body are missing from the capture` }
  return part.doubtful ? { type: 'dissection', msg: 'packets are missing: some may have been of this message' } : null
}

// ── resets, refusals, ends ────────────────────────────────────────────────────────────────────────────────────────

/** RST_STREAM (RFC 9113, 6.4). */
export function resetStream(ctx: Context<State>, id: number, code: number): Message[] {
  const made: Message[] = []
  const { state } = ctx
  const stream = state.streams.get(id)
  if (stream === undefined) return made
  const failed = code !== NO_ERROR && code !== CANCEL
  abandon(ctx, stream, resetError(ctx, stream, code), failed || isOverdue(ctx, stream), made)
  state.reset.add(id)
  if (state.reset.size > MAX_RESET) {
    const [oldest] = state.reset
    state.reset.delete(oldest!)
  }
  return made
}

function resetError(ctx: Context<State>, stream: Stream, code: number): ItemError {
  const { from } = ctx
  if (isOverdue(ctx, stream))
    return {
      type: 'timeout',
      msg: `DEADLINE_EXCEEDED: no answer within ${stream.timeout} ms; reset by the ${from}: ${errorName(code)}`,
    }
  return { type: 'connection', msg: `the stream was reset by the ${from}: ${errorName(code)}` }
}

/** Its client gives up because the time is over that it was willing to wait. */
function isOverdue({ from, moment }: Context<State>, { since, timeout }: Stream): boolean {
  if (from !== 'client' || since === null || timeout === null) return false
  return (moment.seconds - since.seconds) * 1e3 + (moment.nanoseconds - since.nanoseconds) / 1e6 >= timeout * NEARLY
}

/** Timers of the client begin before its first packet does, and clocks differ. */
const NEARLY = 0.95

/** GOAWAY (RFC 9113, 6.8): the streams of the other side behind `last` are not looked at. */
export function goAway(ctx: Context<State>, last: number, code: number, debug: string): Message[] {
  const made: Message[] = []
  const { state, from } = ctx
  if (code !== NO_ERROR)
    made.push({
      kind: 'event',
      body: { type: 'GOAWAY', from, lastStreamId: last, errorCode: code, errorName: errorName(code), debugData: debug },
      error: { type: 'connection', msg: `the ${from} gave up the connection: ${errorName(code)}` },
    })
  const error: ItemError = { type: 'connection', msg: `not looked at: the ${from} goes away (${errorName(code)})` }
  for (const stream of [...state.streams.values()])
    if (stream.id > last && stream.id % 2 === (from === 'server' ? 1 : 0) && stream.response === null && !stream.tunnel)
      abandon(ctx, stream, error, code !== NO_ERROR, made)
  return made
}

/** Nothing more will come on any stream. */
export function closeAll(ctx: Context<State>, why: Ending): Message[] {
  const made: Message[] = []
  const type = why === 'lost' || why === 'capture-ended' ? 'dissection' : 'connection'
  for (const stream of [...ctx.state.streams.values()]) {
    // Whoever only waits is told of by the engine, as in other protocols.
    if (stream.asked && stream.response === null && !stream.tunnel?.isOpen) drop(ctx, stream)
    else abandon(ctx, stream, { type, msg: `the message ends early: ${ENDINGS[why]}` }, false, made)
  }
  return made
}

const ENDINGS: Record<Ending, string> = {
  closed: 'the connection was closed',
  reset: 'the connection was reset',
  lost: 'packets are missing from the capture',
  idle: 'nothing more came',
  'capture-ended': 'the capture ends here',
}

/** Tells what there is of a stream, and forgets it. */
function abandon(ctx: Context<State>, stream: Stream, error: ItemError, failed: boolean, made: Message[]): void {
  const { request, response, tunnel } = stream
  if (tunnel?.isOpen) {
    for (const side of ['client', 'server'] as const) tunnel.end(side, ctx, 'reset', made)
    drop(ctx, stream)
    return
  }
  if (response !== null && (response.head !== null || response.said.status !== null)) {
    // One that is whole needs no more of its request.
    tellResponse(ctx, stream, response, response.ended ? null : error, made)
    if (failed && !response.ended) made.at(-1)!.failed = true
    return
  }
  if (stream.asked) made.push({ kind: 'response', body: null, key: stream.id, error, failed })
  else if (request !== null && request.head !== null) {
    tellRequest(ctx, stream, request, error, made)
    const message = made.at(-1)!
    message.unanswered = true
    message.failed = failed
  }
  drop(ctx, stream)
}

// ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────

function open(ctx: Context<State>, id: number, made: Message[]): Stream {
  const { state } = ctx
  const stream = new Stream(id)
  state.streams.set(id, stream)
  if (state.streams.size === 1) return stream
  const [oldest] = state.streams.values()
  if (state.streams.size > MAX_STREAMS || (oldest!.response?.doubtful === true && id - oldest!.id > MAX_BEHIND))
    abandon(ctx, oldest!, GIVEN_UP, false, made)
  return stream
}

const GIVEN_UP: ItemError = { type: 'dissection', msg: 'its end was not seen, and many streams have begun since' }

/** Hands over what waits for ends that may have been lost. */
export function unstick(ctx: Context<State>, made: Message[]): void {
  ctx.state.stuck = false
  for (const stream of [...ctx.state.streams.values()])
    if (stream.response?.ended === true && stream.request?.doubtful === true)
      tellResponse(ctx, stream, stream.response, null, made)
}

function drop(ctx: Context<State>, stream: Stream): void {
  if (stream.request !== null) release(ctx, stream.request)
  if (stream.response !== null) release(ctx, stream.response)
  ctx.state.kept -= stream.counted
  ctx.state.streams.delete(stream.id)
}

function accountTunnel(state: State, stream: Stream): void {
  const { weight } = stream.tunnel!
  state.kept += weight - stream.counted
  stream.counted = weight
}

function release(ctx: Context<State>, part: Part): void {
  part.release(ctx)
  ctx.state.kept -= part.counted
  part.counted = 0
}

function account(state: State, part: Part): void {
  const { weight } = part
  state.kept += weight - part.counted
  part.counted = weight
}
