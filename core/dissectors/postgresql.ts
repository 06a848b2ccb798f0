/**
 * PostgreSQL, frontend/backend protocol 3.0 and 3.2: statements as they are and prepared ones, COPY, notifications and
 * replication. https://www.postgresql.org/docs/current/protocol.html
 *
 *   client   length(4) version(4) (name NUL value NUL)* NUL         at the start
 *            type(1) length(4, itself included) body                from then on, as the server always
 *
 * One item for each Query and each Execute, with the Parse and Bind that belong to it. Answers come in the order of
 * requests; what comes between them unasked is an event.
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Summary } from '../dissector.ts'
import type { Json } from '../item.ts'
import { REDACTED, textValue, verbOf } from '../sql.ts'
import { CLIENT_TYPES, Exchange, plain, type RequestBody, text } from './postgresql/exchange.ts'
import { Intake } from './postgresql/intake.ts'
import { CANCEL, GSS, MAX_STARTUP, probe, SSL, VERSIONS } from './postgresql/probe.ts'
import { notification, Reply, type ResponseBody, readError, SERVER_TYPES } from './postgresql/reply.ts'
import { type Asked, loseSome, openSession, type Session } from './postgresql/session.ts'

export type { RequestBody, ResponseBody }

export const dissector: Dissector<Session> = {
  name: 'postgresql',
  title: 'PostgreSQL Frontend/Backend Protocol',
  abbr: 'PGSQL',
  version: '3.0',
  color: '#336791',
  reference: 'https://www.postgresql.org/docs/current/protocol.html',
  transports: ['tcp'],
  ports: [5432],
  priority: 20,
  probe,
  open: openSession,
  lost: loseSome,
  read: (at, ctx) => (ctx.from === 'client' ? readClient(at, ctx) : readServer(at, ctx)),
  end,
  bridge: (length, progress) => (progress as Exchange | Reply | Lone).intake.bridge(length),
  summarize,
}

/** A message that belongs to no request. */
class Lone {
  readonly intake = new Intake()
}

/** What of data that nobody asked to keep is looked at: the head of a message of replication. */
const HEAD = 64

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readClient(at: Cursor, ctx: Context<Session>): Message | null {
  if (at.progress instanceof Exchange) return at.progress.read(at, ctx)
  if (at.progress instanceof Lone || (ctx.state.streaming && at.peek() === DATA) || isFeedback(at, ctx.state))
    return readFeedback(at, ctx, at.progress instanceof Lone ? at.progress : new Lone())
  if (at.peek() === 0) return readStartup(at, ctx)
  return new Exchange(ctx.keep).read(at, ctx)
}

function readStartup(at: Cursor, ctx: Context<Session>): Message {
  const length = at.u32()
  if (length < 8 || length > MAX_STARTUP) at.fail(`a length of 8 to ${MAX_STARTUP}, found ${length}`)
  const body = at.within(length - 4)
  const code = body.u32()
  if (code === SSL || code === GSS) {
    const command = code === SSL ? 'SSLRequest' : 'GSSENCRequest'
    return { kind: 'request', body: { command } satisfies RequestBody, memo: plain('encryption', ctx.state) }
  }
  if (code === CANCEL) {
    const request: RequestBody = { command: 'CancelRequest', processId: body.u32(), secretKey: REDACTED }
    return { kind: 'request', body: request, unanswered: true }
  }
  const version = VERSIONS.get(code)
  if (version === undefined) at.fail(`version 3.0 or 3.2, found ${code >>> 16}.${code & 0xffff}`)
  const settings = new Map<string, string>()
  for (let name = text(body); name !== ''; name = text(body)) settings.set(name, text(body))
  if (body.remaining > 0) at.fail('the end of the message after the settings')
  const { state } = ctx
  state.version = version
  state.user = settings.get('user') ?? null
  // The server takes the user's name where none is given.
  state.database = settings.get('database') ?? state.user
  const request: RequestBody = { command: 'Startup', protocolVersion: version }
  if (state.database !== null) request.database = state.database
  if (state.user !== null) request.user = state.user
  request.settings = Object.fromEntries(settings)
  state.last = plain('startup', state)
  return { kind: 'request', body: request, memo: state.last, version }
}

const DATA = 100
const STANDBY_STATUS = 114

/**
 * What a standby says whose START_REPLICATION was not seen: CopyData of 34 bytes that begins with r. Its last byte is no
 * character, so that it is no line of COPY FROM STDIN.
 */
function isFeedback(at: Cursor, { last }: Session): boolean {
  if (last !== null || at.peek() !== DATA || at.peek(4) !== 38) return false
  return at.peek(5) === STANDBY_STATUS && at.peek(38) <= 1
}

function readFeedback(at: Cursor, ctx: Context<Session>, lone: Lone): Message | null {
  lone.intake.next(at, CLIENT_TYPES, Math.max(ctx.keep, HEAD), lone, 0)
  const body = lone.intake.cursor()
  if (body.remaining === 0 || body.peek() !== STANDBY_STATUS || lone.intake.size !== 39) return null
  body.skip(1)
  const event: Json = {
    type: 'StandbyStatusUpdate',
    written: position(body),
    flushed: position(body),
    applied: position(body),
    clock: body.i64(),
    replyRequested: body.u8() === 1,
  }
  return { kind: 'event', body: event }
}

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** What may come at any time, and what is left of an answer whose beginning was not seen. */
const UNASKED = 'ANSZdcD'
const ANSWERS: { readonly [byte: string]: string } = { S: 'tls', G: 'encrypted', N: '' }

function readServer(at: Cursor, ctx: Context<Session>): Message | Message[] | null {
  const { state } = ctx
  if (at.progress instanceof Reply) return at.progress.read(at, ctx)
  if (at.progress instanceof Lone) return readLone(at, ctx, at.progress)
  const asked = ctx.awaited as Asked | undefined
  const type = String.fromCharCode(at.peek())
  if (asked?.kind === 'encryption' && type !== 'E') return readEncryption(at)
  if (isLone(type, asked, state)) return readLone(at, ctx, new Lone())
  return new Reply(asked ?? null, ctx.keep).read(at, ctx)
}

function isLone(type: string, asked: Asked | undefined, state: Session): boolean {
  if (state.streaming && (type === 'd' || type === 'c')) return true
  if (asked === undefined) return UNASKED.includes(type) || (type === 'E' && state.aligned)
  // The end of a Sync by itself, which nobody waits for.
  if (type === 'Z') return !(asked.kind === 'extended' && asked.batch.failed)
  return type === 'A'
}

function readEncryption(at: Cursor): Message {
  const answer = at.latin1(1)
  const becomes = ANSWERS[answer]
  if (becomes === undefined) at.fail('S, G or N')
  const body: ResponseBody = { commandTag: null, rowCount: null, error: null, accepted: becomes !== '' }
  return becomes === '' ? { kind: 'response', body } : { kind: 'response', body, becomes }
}

function readLone(at: Cursor, ctx: Context<Session>, lone: Lone): Message | null {
  const { state } = ctx
  const { intake } = lone
  intake.next(at, SERVER_TYPES, Math.max(ctx.keep, HEAD), lone, 0)
  const body = intake.cursor()
  const type = String.fromCharCode(intake.type)
  if (type === 'Z') state.aligned = true
  if (type === 'c') state.streaming = false
  const event = type === 'd' ? replicated(body, ctx, intake.size - 5) : UNASKED_EVENTS[type]?.(body)
  if (event === undefined || event === null) return null
  if (type === 'd') state.streaming = true
  return { kind: 'event', body: event }
}

const UNASKED_EVENTS: { readonly [type: string]: ((body: Cursor) => Json) | undefined } = {
  A: notification,
  N: body => ({ type: 'Notice', ...readError(body) }),
  E: body => ({ type: 'Error', ...readError(body) }),
  S: body => ({ type: 'ParameterStatus', name: text(body), value: text(body) }),
}

const WAL = 119
const KEEPALIVE = 107

/** What a primary tells its standbys: w start(8) end(8) clock(8) data, or k end(8) clock(8) reply(1). */
function replicated(body: Cursor, ctx: Context<Session>, size: number): Json | null {
  if (body.remaining === 0) return null
  const kind = body.u8()
  if (kind === KEEPALIVE && size === 18 && body.peek(16) <= 1)
    return { type: 'Keepalive', walEnd: position(body), clock: body.i64(), replyRequested: body.u8() === 1 }
  // Where START_REPLICATION was not seen, a line of COPY TO STDOUT may look like this.
  if (kind !== WAL || size < 25 || !ctx.state.streaming) return null
  const event: Json = { type: 'XLogData', walStart: position(body), walEnd: position(body), clock: body.i64() }
  event.dataSize = size - 25
  if (ctx.keep > 0) event.data = textValue(body.bytes, body.position, body.end, size - 25)
  return event
}

/** A place in the write-ahead log, as PostgreSQL writes it: `0/16B3748`. */
function position(at: Cursor): string {
  return `${at.u32().toString(16).toUpperCase()}/${at.u32().toString(16).toUpperCase()}`
}

function end(at: Cursor, ctx: Context<Session>, _why: Ending): Message | null {
  return at.progress instanceof Reply ? at.progress.end(ctx.state) : null
}

// ── one line ────────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  if (event !== null)
    return { method: event.type, summary: String(event.channel ?? event.message ?? event.walEnd ?? ''), status: '' }
  const query: string = request?.query ?? ''
  return {
    method: verbOf(query) || (request?.command ?? ''),
    summary: query || String(request?.statement || request?.database || ''),
    status: response === null ? '' : (response.error?.code ?? response.commandTag ?? 'OK'),
  }
}
