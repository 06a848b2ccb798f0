/**
 * HTTP/2 (RFC 9113) with HPACK (RFC 7541): by prior knowledge, after an upgrade, or as it comes decrypted.
 *
 *   connection = client: "PRI * HTTP/2.0" CRLF CRLF "SM" CRLF CRLF  *frame      server: *frame
 *   frame      = length(24) type(8) flags(8) R(1) stream(31) payload(length)
 *   exchange   = HEADERS *CONTINUATION *DATA [ HEADERS *CONTINUATION ]  from each side, the last frame with END_STREAM
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Message, Side } from '../dissector.ts'
import { miss } from './grpc/call.ts'
import {
  type Block,
  closeAll,
  data,
  dataAtOnce,
  endPart,
  endTunnel,
  goAway,
  headers,
  loseFrames,
  needsWhole,
  newState,
  partFor,
  type Rest,
  resetStream,
  type State,
  type Stream,
  tunnelled,
  unstick,
  weightOf,
} from './http2/exchange.ts'
import * as frame from './http2/frames.ts'
import type { Part } from './http2/part.ts'

export const dissector: Dissector<State> = {
  name: 'http2',
  family: 'http',
  title: 'Hypertext Transfer Protocol Version 2',
  abbr: 'HTTP/2',
  version: '2.0',
  color: '#244c5a',
  reference: 'https://www.rfc-editor.org/rfc/rfc9113',
  transports: ['tcp'],
  ports: [80, 443, 8080, 50051],
  priority: 0,
  keyed: true,
  open: newState,
  lost: loseFrames,
  weight: weightOf,
  probe,
  read,
  close: closeAll,
  bridge: (length, progress) => bridge(length, progress as Run),
  summarize: (request, response, event) => ({
    method: request?.method ?? event?.type ?? '',
    summary: request?.path ?? event?.errorName ?? '',
    status: response === null ? '' : String(response.status ?? ''),
  }),
}

// ── detection ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Ports from here on are those that clients get (Linux). */
const FIRST_EPHEMERAL = 32_768

function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  const { bytes, position, end, remaining } = at
  if (from === 'client' && startsWith(bytes, position, end, frame.PREFACE)) {
    at.need(frame.PREFACE.length)
    return true
  }
  const verdict = frame.recognise(bytes, position, end)
  // SETTINGS without any setting are what many servers say first.
  const alone = verdict === 'likely' && ctx.state === undefined && at.peek(3) === frame.SETTINGS
  if (verdict === 'more' || alone) at.need(remaining + 1)
  if (verdict === 'client' || verdict === 'server') return verdict === from
  const state = ctx.state as State | undefined
  // Which end is the server's is known, or the port tells.
  if (verdict === 'certain') return state !== undefined || ctx.hinted || ctx.port < FIRST_EPHEMERAL
  if (verdict !== 'likely' || state === undefined || at.peek(3) !== frame.DATA) return false
  at.skip(5)
  return state.streams.has(at.u32())
}

/** As far as the bytes go. */
function startsWith(b: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  const length = Math.min(end - start, text.length)
  for (let i = 0; i < length; i++) if (b[start + i] !== text[i]) return false
  return length > 0
}

// ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** 'P' as the first byte of a length would announce more than 5 MB. */
const FIRST_OF_PREFACE = 0x50
/** Frames of other types than these need their bytes at once; SETTINGS_MAX_FRAME_SIZE is 16 KiB unless it is raised. */
const MAX_FRAME = 1 << 20

function read(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  const run = at.progress as Run | null
  if (run !== null) return goOn(at, ctx, run)
  if (ctx.from === 'client' && at.peek() === FIRST_OF_PREFACE) {
    if (!startsWith(at.bytes, at.position, at.end, frame.PREFACE)) at.fail('the preface of HTTP/2')
    at.skip(frame.PREFACE.length)
    return null
  }
  const length = at.u24()
  const type = at.u8()
  const flags = at.u8()
  const id = at.u32() & 0x7fffffff
  const fault = frame.fault(length, type, id)
  if (fault !== null) at.fail(fault)
  const encoder = ctx.state[ctx.from]
  if (encoder.block !== null && (type !== frame.CONTINUATION || id !== encoder.block.stream))
    at.fail(`CONTINUATION on stream ${encoder.block.stream}, found type ${type} on ${id}`)
  if (type === frame.DATA) return beginData(at, ctx, length, flags, id)
  if (type === frame.HEADERS) return readHeaders(at, ctx, length, flags, id)
  const end = endOf(at, length)
  const made = readers[type]?.(at, ctx, flags, id, end) ?? []
  at.position = end
  return answer(ctx, made)
}

/** Of a frame that is read at once. */
function endOf(at: Cursor, length: number): number {
  if (length > MAX_FRAME) at.fail(`a frame of at most ${MAX_FRAME} bytes, found ${length}`)
  at.need(length)
  return at.position + length
}

function answer(ctx: Context<State>, made: Message[]): Message | Message[] | null {
  if (ctx.state.stuck) unstick(ctx, made)
  return made.length === 0 ? null : made.length === 1 ? made[0]! : made
}

type Reader = (at: Cursor, ctx: Context<State>, flags: number, id: number, end: number) => Message[]

const readers: Record<number, Reader> = {
  [frame.RST_STREAM]: (at, ctx, _flags, id) => resetStream(ctx, id, at.u32()),
  [frame.PUSH_PROMISE]: readPushPromise,
  [frame.GOAWAY]: (at, ctx, _flags, _id, end) => {
    const last = at.u32() & 0x7fffffff
    return goAway(ctx, last, at.u32(), at.text(Math.min(end - at.position, MAX_DEBUG)))
  },
  [frame.CONTINUATION]: readContinuation,
}

/** Exclusive flag, stream and weight in front of a header block (RFC 9113, 6.2). */
const PRIORITY_SIZE = 5
/** What GOAWAY says for people. */
const MAX_DEBUG = 1024

function readHeaders(
  at: Cursor,
  ctx: Context<State>,
  length: number,
  flags: number,
  id: number,
): Message | Message[] | null {
  const frameEnd = endOf(at, length)
  const size = frame.HEADER + length
  if (ctx.from === 'client' && id % 2 === 0) at.fail(`an odd stream of a client, found ${id}`)
  const end = unpadded(at, flags, frameEnd)
  if ((flags & frame.HAS_PRIORITY) !== 0) {
    if (end - at.position < PRIORITY_SIZE) at.fail(`a priority of ${PRIORITY_SIZE} bytes`)
    at.skip(PRIORITY_SIZE)
  }
  const { bytes, position } = at
  const endStream = (flags & frame.END_STREAM) !== 0
  const block = { stream: id, promised: 0, endStream, size, since: ctx.moment }
  at.position = frameEnd
  if ((flags & frame.END_HEADERS) === 0) return answer(ctx, keepBlock(ctx, bytes, position, end, block))
  const list = ctx.state[ctx.from].table.read(bytes, position, end)
  const rest = endStream ? null : restBehind(at, id)
  const made = headers(ctx, block, list, rest)
  if (rest?.taken) at.position = rest.end
  return answer(ctx, made)
}

/**
 * Most messages are headers and a frame of data, sent together, perhaps with trailers: then they are read together. null:
 * something else follows, or is still to come.
 */
function restBehind({ bytes: b, position: p, end }: Cursor, id: number): Rest | null {
  const start = p + frame.HEADER
  if (start > end || b[p + 3] !== frame.DATA || frame.streamAt(b, p) !== id) return null
  const flags = b[p + 4]
  const dataEnd = start + frame.lengthAt(b, p)
  if (dataEnd > end || (flags !== 0 && flags !== frame.END_STREAM)) return null
  const rest: Rest = { bytes: b, start, dataEnd, trailersStart: -1, end: dataEnd, isLast: flags !== 0, taken: false }
  const trailersStart = dataEnd + frame.HEADER
  if (rest.isLast || trailersStart > end || b[dataEnd + 3] !== frame.HEADERS) return rest
  if (b[dataEnd + 4] !== (frame.END_STREAM | frame.END_HEADERS) || frame.streamAt(b, dataEnd) !== id) return rest
  const trailersEnd = trailersStart + frame.lengthAt(b, dataEnd)
  if (trailersEnd > end) return rest
  rest.trailersStart = trailersStart
  rest.end = trailersEnd
  rest.isLast = true
  return rest
}

function readPushPromise(at: Cursor, ctx: Context<State>, flags: number, id: number, frameEnd: number): Message[] {
  const size = frame.HEADER + frameEnd - at.position
  const end = unpadded(at, flags, frameEnd)
  if (end - at.position < 4 || ctx.from === 'client') at.fail('a promise of a server')
  const promised = at.u32() & 0x7fffffff
  if (promised === 0 || promised % 2 === 1) at.fail(`an even stream of a server, found ${promised}`)
  return readBlock(at, ctx, flags, end, { stream: id, promised, endStream: false, size, since: ctx.moment })
}

/** Where the payload ends without its padding; the cursor is moved behind the padding's length. */
function unpadded(at: Cursor, flags: number, end: number): number {
  if ((flags & frame.PADDED) === 0) return end
  if (at.position === end) at.fail('the length of the padding')
  const padding = at.u8()
  if (padding > end - at.position) at.fail(`padding within the frame, found ${padding}`)
  return end - padding
}

// ── header blocks ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Of one block in all its frames: servers refuse 8 to 64 KiB. */
const MAX_BLOCK = 1 << 18
/** Frames without a byte in them would cost nothing and come without end. */
const MAX_FRAGMENTS = 1024

function readBlock(
  at: Cursor,
  ctx: Context<State>,
  flags: number,
  end: number,
  block: Omit<Block, 'fragments' | 'length'>,
): Message[] {
  if ((flags & frame.END_HEADERS) !== 0) return decodeBlock(ctx, block, at.bytes, at.position, end)
  return keepBlock(ctx, at.bytes, at.position, end, block)
}

/** It goes on in CONTINUATION. */
function keepBlock(
  ctx: Context<State>,
  b: Uint8Array,
  start: number,
  end: number,
  block: Omit<Block, 'fragments' | 'length'>,
): Message[] {
  const fragment = new Uint8Array(b.subarray(start, end))
  ctx.state[ctx.from].block = { ...block, fragments: [fragment], length: fragment.length }
  return []
}

function readContinuation(at: Cursor, ctx: Context<State>, flags: number, _id: number, end: number): Message[] {
  const encoder = ctx.state[ctx.from]
  const { block } = encoder
  if (block === null) at.fail('a frame that CONTINUATION continues')
  const { fragments } = block
  const length = block.length + end - at.position
  if (length > MAX_BLOCK || fragments.length === MAX_FRAGMENTS)
    at.fail(`a header block of at most ${MAX_BLOCK} bytes in ${MAX_FRAGMENTS} frames`)
  fragments.push(new Uint8Array(at.bytes.subarray(at.position, end)))
  block.length = length
  block.size += frame.HEADER + end - at.position
  if ((flags & frame.END_HEADERS) === 0) return []
  encoder.block = null
  return decodeBlock(ctx, block, Buffer.concat(fragments), 0, length)
}

function decodeBlock(
  ctx: Context<State>,
  block: Omit<Block, 'fragments' | 'length'>,
  b: Uint8Array,
  start: number,
  end: number,
): Message[] {
  return headers(ctx, block, ctx.state[ctx.from].table.read(b, start, end), null)
}

// ── DATA ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A frame of DATA of which a part is read. */
interface Run {
  /** null: nobody wants it. */
  to: { stream: Stream; part: Part } | null
  /** The stream, if what is said in it is a tunnel's. */
  tunnel: Stream | null
  /** Bytes of data and of padding still to come. */
  remaining: number
  padding: number
  endStream: boolean
}

/** Undecided frames that are larger are no messages of gRPC, as far as anybody can tell. */
const MAX_UNDECIDED = 1 << 16

function beginData(
  at: Cursor,
  ctx: Context<State>,
  length: number,
  flags: number,
  id: number,
): Message | Message[] | null {
  let padding = 0
  if ((flags & frame.PADDED) !== 0) {
    if (length === 0) at.fail('the length of the padding')
    padding = at.u8()
    if (padding >= length) at.fail(`padding within the frame, found ${padding}`)
  }
  const count = length - padding - (padding > 0 || (flags & frame.PADDED) !== 0 ? 1 : 0)
  const endStream = (flags & frame.END_STREAM) !== 0
  const whole = at.remaining >= count + padding
  const known = ctx.state.streams.get(id)
  if (!whole && count <= MAX_UNDECIDED && (known === undefined ? ctx.state.late : isUndecided(ctx, known)))
    at.need(count + padding)
  const made: Message[] = []
  const tunnel = known !== undefined && known.tunnel !== null ? known : null
  const to = tunnel === null ? partFor(ctx, id, made) : null
  if (to !== null) to.part.size += frame.HEADER + length
  const { bytes, position } = at
  if (whole) {
    at.skip(count + padding)
    if (tunnel !== null) {
      tunnelled(ctx, tunnel, bytes, position, position + count, made)
      if (endStream) endTunnel(ctx, tunnel, tunnel.tunnel!, made)
    } else if (
      to !== null &&
      !(endStream && dataAtOnce(ctx, to.stream, to.part, bytes, position, position + count, made))
    ) {
      data(ctx, to.stream, to.part, bytes, position, position + count, true, made)
      if (endStream) endPart(ctx, to.stream, to.part, made)
    }
    return answer(ctx, made)
  }
  const run: Run = { to, tunnel, remaining: count, padding, endStream }
  take(at, ctx, run, true, made)
  return goesOn(at, ctx, run, made)
}

function goesOn(at: Cursor, ctx: Context<State>, run: Run, made: Message[]): Message | Message[] | null {
  at.commit(run)
  const found = answer(ctx, made)
  for (const message of made) message.within = true
  return found
}

function isUndecided({ from }: Context<State>, stream: Stream): boolean {
  const part = from === 'client' ? stream.request : stream.response
  return part !== null && needsWhole(stream, part)
}

function goOn(at: Cursor, ctx: Context<State>, run: Run): Message | Message[] | null {
  const made: Message[] = []
  take(at, ctx, run, false, made)
  if (run.remaining + run.padding > 0) return goesOn(at, ctx, run, made)
  if (run.endStream && run.to !== null) endPart(ctx, run.to.stream, run.to.part, made)
  if (run.endStream && run.tunnel !== null) endTunnel(ctx, run.tunnel, run.tunnel.tunnel!, made)
  return answer(ctx, made)
}

function take(at: Cursor, ctx: Context<State>, run: Run, first: boolean, made: Message[]): void {
  const count = Math.min(run.remaining, at.remaining)
  const { bytes, position } = at
  at.skip(count)
  run.remaining -= count
  if (run.to !== null && count > 0)
    data(ctx, run.to.stream, run.to.part, bytes, position, position + count, first, made)
  if (run.tunnel !== null) tunnelled(ctx, run.tunnel, bytes, position, position + count, made)
  const padding = Math.min(run.padding, at.remaining)
  at.skip(padding)
  run.padding -= padding
}

/** What is missing within a frame whose end is still to come is missing from its message alone. */
function bridge(length: number, run: Run): boolean {
  if (length >= run.remaining + run.padding) return false
  const missing = Math.min(length, run.remaining)
  run.remaining -= missing
  run.padding -= length - missing
  if (run.to !== null) {
    run.to.part.bodySize += missing
    run.to.part.missing += missing
    if (missing > 0) run.to.part.events?.gap()
    miss(run.to.part, missing)
  }
  if (missing > 0) run.tunnel?.tunnel?.lose()
  return true
}
