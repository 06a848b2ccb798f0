/**
 * HTTP/1.0 and 1.1 (RFC 9110, RFC 9112; RFC 1945).
 *
 *   request  = method SP target SP "HTTP/1.1" CRLF  *( name ":" value CRLF )  CRLF  [ body ]
 *   response = "HTTP/1.1" SP status SP [ reason ] CRLF  *( name ":" value CRLF )  CRLF  [ body ]
 *
 * Answers come in the order of their requests. Nothing but the request's method tells whether an answer has a body.
 */
import { type Cursor, Incomplete, indexOf, Malformed, utf8 } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Side } from '../dissector.ts'
import type { ItemError } from '../item.ts'
import { constant, type JsonWriter, Written } from '../json-writer.ts'
import { Body, type Framing } from './http/body.ts'
import { parseCookies, parseSetCookies } from './http/forms.ts'
import { Head, isToken, MAX_HEAD } from './http/head.ts'
import { writeEnd } from './http/message-end.ts'
import { writeTarget } from './http/target.ts'
import { EventStream, isEventStream } from './sse.ts'

interface State {
  /** Heads of 1xx answers, which belong to the final one. */
  interim: string[]
}

export const dissector: Dissector<State> = {
  name: 'http',
  title: 'Hypertext Transfer Protocol',
  abbr: 'HTTP',
  version: '1.1',
  color: '#326de6',
  reference: 'https://www.rfc-editor.org/rfc/rfc9112',
  transports: ['tcp'],
  ports: [80, 443, 8080],
  priority: 0,
  open: () => ({ interim: [] }),
  probe,
  read: (at, ctx) => {
    const pending = at.progress as Pending | null
    if (pending !== null) return goOn(at, ctx, pending)
    return ctx.from === 'client' ? readRequest(at, ctx) : readResponse(at, ctx)
  },
  end,
  bridge: (length, progress) => (progress as Pending).body.bridge(length),
  summarize: (request, response) => ({
    method: request?.method ?? '',
    summary: request?.path ?? '',
    status: response === null ? '' : String(response.status),
  }),
}

/** A message whose head has been read and whose body has not ended: what is committed between segments. */
interface Pending {
  head: Head
  /** The JSON written so far. */
  text: Uint8Array
  body: Body
  headSize: number
  /** Of a request. */
  method: string
  /** Of a response; 0 for a request. */
  status: number
  version: string
  /** Of an answer whose body is events, told as they come. */
  events: EventStream | null
}

// ── detection ─────────────────────────────────────────────────────────────────────────────────────────────────────

const MAX_METHOD = 24
const VERSION = constant('HTTP/1.')

function probe(at: Cursor, from: Side): boolean | 'more' {
  const { bytes, position, end } = at
  if (from === 'server') {
    for (let i = 0; i < VERSION.length; i++) if (at.peek(i) !== VERSION[i]) return false
    return (
      isDigit(at.peek(7)) && at.peek(8) === 32 && isDigit(at.peek(9)) && isDigit(at.peek(10)) && isDigit(at.peek(11))
    )
  }
  let p = position
  while (p < end && (bytes[p] === 13 || bytes[p] === 10)) p++
  let q = p
  while (q < end && isToken(bytes[q]!)) q++
  if (q - p > MAX_METHOD || (q < end && (q === p || bytes[q] !== 32))) return false
  if (q === end) return 'more'
  at.position = p
  const line = at.lineEnd(MAX_HEAD)
  return versionBefore(bytes, q, bytes[line - 1] === 13 ? line - 1 : line) !== ''
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57
}

/** `1.0` or `1.1`, if ` HTTP/1.x` stands right before `end`. */
function versionBefore(b: Uint8Array, start: number, end: number): string {
  const p = end - 9
  if (p < start || b[p] !== 32) return ''
  for (let i = 0; i < VERSION.length; i++) if (b[p + 1 + i] !== VERSION[i]) return ''
  return minor(b[end - 1]!)
}

function minor(byte: number): string {
  return byte === 49 ? '1.1' : byte === 48 ? '1.0' : isDigit(byte) ? `1.${byte - 48}` : ''
}

// ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

const METHOD = constant('{"method":"')
const URL = constant('","url":')
const VERSION_AND_HEADERS = constant(',"httpVersion":"HTTP/1.1","headers":')
const COOKIES = constant(',"cookies":')
const NO_COOKIES = constant(',"cookies":{}')
const CLOSE = 125

function readRequest(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  const { bytes: b, position: begin, end } = at
  let p = begin
  // RFC 9112, 2.2: empty lines before a request are ignored.
  while (p < end && (b[p] === 13 || b[p] === 10)) p++
  if (p === end) {
    at.position = end
    return null
  }
  const line = lineEnd(at, p)
  const lineLast = b[line - 1] === 13 ? line - 1 : line
  let q = p
  while (isToken(b[q]!)) q++
  const version = versionBefore(b, q, lineLast)
  if (q === p || b[q] !== 32 || version === '') throw new Malformed('expected METHOD target HTTP/1.x')
  const { out } = ctx
  const method = methodName(b, p, q)
  out.raw(METHOD)
  out.ascii(method)
  out.raw(URL)
  writeTarget(out, b, q + 1, lineLast - 9, method)
  writeVersion(out, version)
  const head = new Head()
  const headEnd = head.fields(b, line + 1, end, out)
  if (headEnd < 0) throw tooLong(end - begin)
  if (head.cookies === null) out.raw(NO_COOKIES)
  else {
    out.raw(COOKIES)
    out.value(parseCookies(head.cookies))
  }
  const framing: Framing = head.chunked ? 'chunked' : head.length > 0 ? 'length' : 'none'
  return withBody(at, ctx, head, framing, headEnd, headEnd - begin, method, 0, version)
}

function writeVersion(out: JsonWriter, version: string): void {
  if (version === '1.1') out.raw(VERSION_AND_HEADERS)
  else out.ascii(`,"httpVersion":"HTTP/${version}","headers":`)
}

// ── responses ─────────────────────────────────────────────────────────────────────────────────────────────────────

const STATUS = constant('{"status":')
const STATUS_TEXT = constant(',"statusText":')
const INTERIM = constant(',"interim":')
/** Bytes of 1xx heads that are kept for the final answer: a server may send them without end. */
const MAX_INTERIM = 65_536

function readResponse(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  const { bytes: b, position: begin, end } = at
  const line = lineEnd(at, begin)
  const last = b[line - 1] === 13 ? line - 1 : line
  for (let i = 0; i < VERSION.length; i++)
    if (b[begin + i] !== VERSION[i]) throw new Malformed('expected HTTP/1.x and a status')
  const version = minor(b[begin + 7]!)
  const status = (b[begin + 9]! - 48) * 100 + (b[begin + 10]! - 48) * 10 + b[begin + 11]! - 48
  if (
    version === '' ||
    last < begin + 12 ||
    b[begin + 8] !== 32 ||
    !(status >= 100 && status <= 999) ||
    (last > begin + 12 && b[begin + 12] !== 32)
  )
    throw new Malformed('expected HTTP/1.x and a status of three digits')
  const { out, state } = ctx
  out.raw(STATUS)
  out.integer(status)
  out.raw(STATUS_TEXT)
  if (last > begin + 13) out.string(b, begin + 13, last)
  else out.ascii('""')
  writeVersion(out, version)
  const head = new Head()
  const headEnd = head.fields(b, line + 1, end, out)
  if (headEnd < 0) throw tooLong(end - begin)
  if (status < 200 && status !== 101) {
    out.byte(CLOSE)
    at.position = headEnd
    const size = state.interim.reduce((sum, text) => sum + text.length, out.length)
    if (size <= MAX_INTERIM) state.interim.push(out.bytes.toString('utf8', 0, out.length))
    return null
  }
  if (head.setCookies === null) out.raw(NO_COOKIES)
  else {
    out.raw(COOKIES)
    out.value(parseSetCookies(head.setCookies))
  }
  if (state.interim.length > 0) {
    out.raw(INTERIM)
    out.ascii(`[${state.interim.join(',')}]`)
  }
  const framing = responseFraming(at, head, headEnd, status, ctx.awaited as string | undefined)
  return withBody(
    at,
    ctx,
    head,
    framing,
    headEnd,
    headEnd - begin,
    (ctx.awaited as string | undefined) ?? '',
    status,
    version,
  )
}

/** RFC 9112, 6.3. */
function responseFraming(at: Cursor, head: Head, headEnd: number, status: number, method: string | undefined): Framing {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304 || (method === 'CONNECT' && status < 300))
    return 'none'
  if (head.chunked) return 'chunked'
  if (head.length === 0) return 'none'
  if (head.length < 0) return 'close'
  // The request was not seen and may have been a HEAD: then the next answer follows at once.
  if (method === undefined && startsWith(at.bytes, headEnd, at.end, VERSION)) return 'none'
  return 'length'
}

function startsWith(b: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (end - start < text.length) return false
  for (let i = 0; i < text.length; i++) if (b[start + i] !== text[i]) return false
  return true
}

// ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────

function withBody(
  at: Cursor,
  ctx: Context<State>,
  head: Head,
  framing: Framing,
  headEnd: number,
  headSize: number,
  method: string,
  status: number,
  version: string,
): Message | Message[] | null {
  const { out } = ctx
  const hasEvents = status === 200 && framing !== 'none' && isEventStream(out, head.typeStart)
  if (framing === 'none' || (framing === 'length' && at.end - headEnd >= head.length && !hasEvents)) {
    const bodyEnd = framing === 'none' ? headEnd : headEnd + head.length
    const size = bodyEnd - headEnd
    const kept = Math.min(size, ctx.keep)
    const written = writeEnd(
      out,
      0,
      head,
      at.bytes,
      headEnd,
      headEnd + kept,
      kept < size,
      size,
      headSize,
      null,
      status === 0 ? 'request' : 'response',
      ctx.keep > 0,
    )
    at.position = bodyEnd
    return message(ctx, written, head, method, status, version, null)
  }
  at.position = headEnd
  const body = new Body(framing, head.length, ctx.keep, ctx.buffers)
  const events = hasEvents ? new EventStream(targetOf(ctx), head.codings, ctx.keep) : null
  body.reader = events
  const ended = body.read(at)
  const pending: Pending = { head, text: NOTHING, body, headSize, method, status, version, events }
  if (ended) return withEvents(ctx, pending, null)
  pending.text = out.save()
  return waitFor(at, pending)
}

function targetOf({ request }: Context<State>): string | null {
  return request instanceof Written ? JSON.parse(utf8(request.bytes, request.start, request.end)).url : null
}

/** The body goes on; the events that have come are told. */
function waitFor(at: Cursor, pending: Pending): Message[] | null {
  const { body, text, events } = pending
  at.commit(pending, body.weight + text.length + (events?.weight ?? 0))
  if (events === null) return null
  const found = events.take()
  return found.length > 0 ? found : null
}

/** The body has ended. */
function withEvents(ctx: Context<State>, pending: Pending, error: ItemError | null): Message | Message[] {
  const { events, body } = pending
  if (events === null) return finish(ctx, pending, error)
  events.end(body.content)
  return [...events.take(), finish(ctx, pending, error)]
}

/** More bytes of a body. */
function goOn(at: Cursor, ctx: Context<State>, pending: Pending): Message | Message[] | null {
  if (!pending.body.read(at)) return waitFor(at, pending)
  ctx.out.raw(pending.text)
  return withEvents(ctx, pending, null)
}

function end(at: Cursor, ctx: Context<State>, why: Ending): Message | Message[] | null {
  const pending = at.progress as Pending | null
  if (pending === null) return null
  const { body } = pending
  ctx.out.raw(pending.text)
  if (body.framing === 'close' && why === 'closed') return withEvents(ctx, pending, null)
  const found = body.framing === 'length' ? `${body.size} of ${body.size + body.remaining} bytes` : `${body.size} bytes`
  const type = why === 'lost' || why === 'capture-ended' ? 'dissection' : 'connection'
  return withEvents(ctx, pending, { type, msg: `the body ends early, after ${found}: ${ENDINGS[why]}` })
}

const ENDINGS: Record<Ending, string> = {
  closed: 'the connection was closed',
  reset: 'the connection was reset',
  lost: 'packets are missing from the capture',
  idle: 'nothing more came',
  'capture-ended': 'the capture ends here',
}

function finish(ctx: Context<State>, pending: Pending, error: ItemError | null): Message {
  const { head, body, headSize, method, status, version } = pending
  const { content } = body
  const written = writeEnd(
    ctx.out,
    0,
    head,
    content,
    0,
    content.length,
    body.cut || error !== null,
    body.size,
    headSize,
    body.trailers,
    status === 0 ? 'request' : 'response',
    ctx.keep > 0,
  )
  body.release()
  if (error === null && body.missing > 0)
    error = { type: 'dissection', msg: `${body.missing} bytes of the body are missing from the capture` }
  return message(ctx, written, head, method, status, version, error)
}

function message(
  ctx: Context<State>,
  body: Written,
  head: Head,
  method: string,
  status: number,
  version: string,
  error: ItemError | null,
): Message {
  const made: Message = { kind: status === 0 ? 'request' : 'response', body, version }
  if (error !== null) made.error = error
  if (status === 0) made.memo = method
  else {
    if (ctx.state.interim.length > 0) ctx.state.interim = []
    if (status >= 400) made.failed = true
    if (status === 101) {
      const name = upgraded(head.upgrade)
      made.becomes = { name, memo: JSON.parse(utf8(body.bytes, body.start, body.end)) }
      if (name === 'http2') made.again = UPGRADED_STREAM
    } else if (method === 'CONNECT' && status < 300) made.becomes = 'unknown'
  }
  return made
}

/** RFC 7540, 3.2: the request that was upgraded is answered on this stream. */
const UPGRADED_STREAM = 1

/** The protocol that the answer's Upgrade names first. */
function upgraded(field: string): string {
  const token = field.split(/[,/ ]/, 1)[0]!
  return token === 'h2c' ? 'http2' : token
}

const NOTHING = new Uint8Array(0)

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT', 'TRACE']

/** The usual ones without making a string. */
function methodName(b: Uint8Array, start: number, end: number): string {
  for (const method of METHODS) {
    if (method.length !== end - start || method.charCodeAt(0) !== b[start]) continue
    let i = 1
    while (i < method.length && method.charCodeAt(i) === b[start + i]) i++
    if (i === method.length) return method
  }
  return utf8(b, start, end)
}

function lineEnd(at: Cursor, from: number): number {
  const found = indexOf(at.bytes, 10, from, at.end)
  if (found < 0) throw tooLong(at.end - from)
  return found
}

function tooLong(size: number): unknown {
  return size > MAX_HEAD ? new Malformed(`expected a head of at most ${MAX_HEAD} bytes`) : Incomplete
}
