/**
 * Stream Control Transmission Protocol: RFC 9260, user messages also interleaved (RFC 8260), in UDP (RFC 6951).
 *
 *   source(2) destination(2) verification tag(4) checksum(4), chunks: type(1) flags(1) length(2) value, padded to 4
 *   DATA: tsn(4) stream(2) ssn(2) ppid(4) user data; flags: 4 unordered, 2 first and 1 last fragment
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Message, Side } from '../dissector.ts'
import type { Json } from '../item.ts'
import { payloadOf } from '../payload.ts'
import { CHUNKS, payloadProtocol } from './sctp/codes.ts'
import { Inbox, type UserMessage } from './sctp/inbox.ts'
import { readCauses, readInit, type SctpSetup } from './sctp/parameters.ts'

export const dissector: Dissector<Association> = {
  name: 'sctp',
  title: 'Stream Control Transmission Protocol',
  abbr: 'SCTP',
  version: '',
  color: '#0f766e',
  reference: 'https://www.rfc-editor.org/rfc/rfc9260',
  transports: ['sctp', 'udp'],
  // Of the encapsulation in UDP.
  ports: [9899],
  priority: 61,
  keyed: true,
  open: () => ({ client: new Inbox(), server: new Inbox(), answer: null, tag: null }),
  probe,
  read,
  summarize,
}

/** A user message, as an `event`. */
export interface SctpData extends Json {
  chunkType: 'DATA' | 'I_DATA'
  /** Who sent it, as does the item's `src`. */
  from: Side
  /** Of the first fragment. */
  tsn: number
  stream: number
  /** Number within the stream; null for what is unordered. */
  ssn: number | null
  unordered: boolean
  ppid: number
  /** `NGAP`; null where the number is nobody's. */
  protocol: string | null
  fragments: number
  /** Bytes of the message. */
  length: number
  payload: string | null
  encoding: 'base64' | null
}

/** Another chunk that is told of, as an `event`: SHUTDOWN, ABORT, ERROR and what changes an association. */
export interface SctpControl extends Json {
  chunkType: string
  from: Side
}

interface Association {
  /** What either side has sent. */
  client: Inbox
  server: Inbox
  /** The answer to the INIT, until the set-up is complete. */
  answer: SctpSetup | null
  /** Of the INIT that waits for it. */
  tag: number | null
}

const HEADER = 12
/** A packet of one byte a chunk costs a jumbo frame some 2000 of them. */
const MAX_CHUNKS = 4096

function probe(at: Cursor, from: Side, ctx: Context<Association>): boolean {
  if (at.remaining < HEADER + 4) return false
  const first = at.peek(HEADER)
  // Whoever sends an INIT, or the echo of a cookie, opens the association; whoever answers does not.
  if (OPENING.includes(first) !== (from === 'client') && (OPENING.includes(first) || ANSWERING.includes(first)))
    return false
  if (ctx.transport === 'sctp') return true
  return ctx.hinted && isWhole(at)
}

const [DATA, INIT, INIT_ACK, ABORT, SHUTDOWN, ERROR] = [0, 1, 2, 6, 7, 9]
const [COOKIE_ECHO, COOKIE_ACK, I_DATA] = [10, 11, 64]
const [RE_CONFIG, FORWARD_TSN, ASCONF, I_FORWARD_TSN] = [130, 192, 193, 194]
const OPENING = [INIT, COOKIE_ECHO]
const ANSWERING = [INIT_ACK, COOKIE_ACK]

/** Known chunks that fill the datagram. */
function isWhole(at: Cursor): boolean {
  at.skip(HEADER)
  for (let i = 0; i < MAX_CHUNKS && at.remaining >= 4; i++) {
    const type = at.u8()
    at.skip(1)
    const length = at.u16()
    if (length < 4 || CHUNKS.get(type) === undefined) return false
    at.skip(Math.min(padded(length) - 4, Math.max(at.remaining, length - 4)))
  }
  return at.remaining === 0
}

function padded(length: number): number {
  return (length + 3) & ~3
}

function read(at: Cursor, ctx: Context<Association>): Message[] {
  const end = at.end
  at.skip(4)
  const tag = at.u32()
  const checksum = at.u32()
  const messages: Message[] = []
  for (let i = 0; i < MAX_CHUNKS && end - at.position >= 4; i++) {
    const type = at.u8()
    const flags = at.u8()
    const length = at.u16()
    if (length < 4) at.fail(`a chunk of at least 4 bytes, found ${length}`)
    at.end = Math.min(at.position + length - 4, end)
    const chunk: Chunk = { type, flags, tag, checksum, size: length }
    const next = at.end + padded(length) - length
    const message = readChunk(at, ctx, chunk)
    if (Array.isArray(message)) messages.push(...message)
    else if (message !== null) messages.push(message)
    at.end = end
    at.position = Math.min(next, end)
  }
  at.position = end
  return messages
}

interface Chunk {
  type: number
  flags: number
  tag: number
  checksum: number
  /** Header included, padding not. */
  size: number
}

/** null: acknowledgements, heartbeats and cookies, of which nobody is told by themselves. */
function readChunk(at: Cursor, ctx: Context<Association>, chunk: Chunk): Message | Message[] | null {
  switch (chunk.type) {
    case DATA:
    case I_DATA:
      return readData(at, ctx, chunk)
    case INIT:
      return readOpening(at, ctx, chunk)
    case INIT_ACK:
      ctx.state.answer = readSetup(at, ctx, chunk)
      return null
    case COOKIE_ACK:
      return complete(ctx, chunk)
    case ABORT:
      return readAbort(at, ctx, chunk)
    case FORWARD_TSN:
    case I_FORWARD_TSN:
      if (at.remaining >= 4) inboxOf(ctx).forward(at.u32())
      return null
    case SHUTDOWN:
      return tell(ctx, chunk, { cumulativeTsn: at.remaining >= 4 ? at.u32() : null })
    case ERROR:
      return tell(ctx, chunk, { causes: readCauses(at) })
    case RE_CONFIG:
    case ASCONF:
      return tell(ctx, chunk, {})
    default:
      return null
  }
}

function inboxOf(ctx: Context<Association>): Inbox {
  return ctx.from === 'client' ? ctx.state.client : ctx.state.server
}

function tell(ctx: Context<Association>, { type, size, checksum }: Chunk, fields: Json): Message {
  const chunkType = CHUNKS.get(type) ?? String(type)
  const body = { chunkType, from: ctx.from, checksum, length: size, ...fields }
  return { kind: 'event', body, size, asker: ctx.from }
}

// ── setting up ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readSetup(at: Cursor, ctx: Context<Association>, { type, checksum, size }: Chunk): SctpSetup {
  const setup = readInit(at, CHUNKS.get(type)!, checksum, size)
  inboxOf(ctx).begin(setup.initialTsn)
  return setup
}

function readOpening(at: Cursor, ctx: Context<Association>, chunk: Chunk): Message | null {
  if (at.remaining < 16) return null
  const setup = readSetup(at, ctx, chunk)
  // The same one again: the first waits for the answer.
  if (ctx.state.tag === setup.initiateTag) return null
  ctx.state.tag = setup.initiateTag
  ctx.state.answer = null
  return { kind: 'request', body: setup, key: setup.initiateTag, size: chunk.size }
}

/** The answer to the INIT, now that both sides are sure of each other. */
function complete({ state }: Context<Association>, { tag }: Chunk): Message | null {
  const { answer } = state
  if (state.tag === null || answer === null) return null
  state.tag = null
  state.answer = null
  return { kind: 'response', body: answer, key: tag, size: answer.length }
}

/** In place of an answer, or at any time later. */
function readAbort(at: Cursor, ctx: Context<Association>, chunk: Chunk): Message {
  const message = tell(ctx, chunk, { causes: readCauses(at) })
  if (ctx.from === 'server' && ctx.state.tag === chunk.tag) {
    ctx.state.tag = null
    return { ...message, kind: 'response', asker: 'client', key: chunk.tag, failed: true }
  }
  return { ...message, failed: true }
}

// ── user messages ───────────────────────────────────────────────────────────────────────────────────────────────────

function readData(at: Cursor, ctx: Context<Association>, chunk: Chunk): Message | null {
  const interleaved = chunk.type === I_DATA
  const header = interleaved ? 16 : 12
  if (at.remaining < header) return null
  const tsn = at.u32()
  const stream = at.u16()
  if (interleaved) at.skip(2)
  const ssn = interleaved ? at.u32() : at.u16()
  const last = at.u32()
  const fragment = {
    tsn,
    stream,
    ssn,
    interleaved,
    // Of an interleaved fragment behind the first it is the number of the fragment.
    ppid: last,
    index: interleaved ? ((chunk.flags & 2) !== 0 ? 0 : last) : tsn,
    unordered: (chunk.flags & 4) !== 0,
    first: (chunk.flags & 2) !== 0,
    final: (chunk.flags & 1) !== 0,
    size: chunk.size - 4 - header,
  }
  const message = inboxOf(ctx).take(fragment, at.bytes, at.position, at.end, ctx.keep, ctx.moment)
  return message === null ? null : deliver(message, ctx)
}

function deliver({ fragment, fragments, size, kept, since }: UserMessage, ctx: Context<Association>): Message {
  const { tsn, stream, ssn, unordered, ppid, interleaved } = fragment
  const body: SctpData = {
    chunkType: interleaved ? 'I_DATA' : 'DATA',
    from: ctx.from,
    tsn,
    stream,
    ssn: unordered && !interleaved ? null : ssn,
    unordered,
    ppid,
    protocol: payloadProtocol(ppid),
    fragments,
    length: size,
    ...payloadOf(kept, 0, kept.length, ctx.keep),
  }
  const message: Message = { kind: 'event', body, size, asker: ctx.from }
  return since === null ? message : { ...message, since }
}

function summarize(request: Json | null, response: Json | null, event: Json | null) {
  if (event === null) {
    const setup = request as SctpSetup | null
    const streams = setup === null ? '' : `${setup.outboundStreams} streams out, ${setup.inboundStreams} in`
    return { method: 'INIT', summary: streams, status: (response?.chunkType as string) ?? '' }
  }
  if (event.stream === undefined) return { method: event.chunkType, summary: `from the ${event.from}`, status: '' }
  const told = event as SctpData
  const subject = `${told.protocol ?? `ppid ${told.ppid}`}: stream ${told.stream}, ${told.length} bytes`
  return { method: told.chunkType, summary: `${subject} from the ${told.from}`, status: '' }
}
