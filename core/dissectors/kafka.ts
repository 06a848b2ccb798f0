/**
 * Apache Kafka, brokers of 0.8 to 4.x. https://kafka.apache.org/protocol
 *
 *   request    size(4) api key(2) version(2) correlation id(4) client id(2 + n) [tags] body
 *   response   size(4) correlation id(4) [tags] body
 *
 * Only the request says what a response is: its API and version travel as the request's memo.
 */
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message, Side, Summary } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { constant } from '../json-writer.ts'
import { API_VERSIONS, type Exchange, findApi } from './kafka/apis.ts'
import { Body, userName } from './kafka/body.ts'
import { compile, type Plan, parse } from './kafka/definition.ts'
import { errorName } from './kafka/error-codes.ts'
import { Gathering } from './kafka/gathering.ts'
import { uvarint } from './kafka/varint.ts'

export const dissector: Dissector<State> = {
  name: 'kafka',
  title: 'Apache Kafka Protocol',
  abbr: 'KAFKA',
  version: '12',
  color: '#000000',
  reference: 'https://kafka.apache.org/protocol',
  transports: ['tcp'],
  ports: [9092],
  priority: 20,
  keyed: true,
  probe,
  open,
  read: (at, ctx) => (ctx.from === 'client' ? readClient(at, ctx) : readServer(at, ctx)),
  end,
  bridge: (length, progress) => (progress as Gathering).miss(length),
  summarize,
}

/** What `records` within a payload are: `{ size, recordBatches, unread }`, of batches or of messages. */
export type { BatchRecord, OldMessage, RecordBatch } from './kafka/record-set.ts'

export interface RequestBody extends Json {
  /** Bytes behind the four that say so. */
  size: number
  /** `Fetch`; null: an API that came later. `SaslToken`: what follows SaslHandshake 0 has no header. */
  apiKeyName: string | null
  apiKey: number | null
  apiVersion: number | null
  correlationID: number | null
  clientID: string | null
  /**
   * Fields as Kafka names them, those of this version. Bytes are text where they are UTF-8, else base64, and then a
   * field beside them, `<name>Encoding`, is `base64`; `<name>Truncated`: there is more of them. The whole payload is
   * bytes where nothing is known of the version.
   */
  payload: JsonValue
  payloadEncoding?: 'base64'
  /** The end of the payload is missing: the message is larger than what is kept, or was not captured whole. */
  truncated?: true
  /** Array elements that are left out. */
  omitted?: number
  /** Bytes behind the payload that nothing is known of. */
  unread?: number
}

export interface ResponseBody extends Json {
  size: number
  correlationID: number | null
  /** The first error code within the payload that is not 0; null where nothing failed. */
  errorCode: number | null
  /** `NOT_LEADER_OR_FOLLOWER` */
  errorName: string | null
  payload: JsonValue
  payloadEncoding?: 'base64'
  truncated?: true
  omitted?: number
  /** Bytes behind the payload that nothing is known of. */
  unread?: number
}

/** Modes of a connection. */
export interface State {
  /** As the last SaslHandshake named it. */
  mechanism: string
  /** After SaslHandshake 0 the client sends bare tokens, until it sends a request. */
  tokens: boolean
}

function open(): State {
  return { mechanism: '', tokens: false }
}

/** A broker takes 100 MiB at most, and sends no more than a client asks for. */
const MAX_SIZE = 256 << 20
/** Larger messages are taken in as they come. */
const DIRECT = 16_384
/** Of a large message so many bytes are read, or as many as may be kept of bodies. */
const LEAST_KEPT = 256 << 10
const LEAST_REQUEST = 8
const LEAST_RESPONSE = 4

// ── the client ────────────────────────────────────────────────────────────────────────────────────────────────────────

function readClient(at: Cursor, ctx: Context<State>): Message | null {
  if (at.progress !== null) return gather(at, ctx, at.progress as Gathering)
  const size = sizeOf(at, ctx.state.tokens ? 0 : LEAST_REQUEST)
  if (ctx.state.tokens && !isRequest(at, size)) return token(at, ctx, size)
  if (at.remaining >= size || size <= DIRECT) return request(at.within(size), size, ctx)
  readHeader(new Cursor(at.bytes, at.position, at.end), size)
  return gather(at, ctx, gathering(size, ctx))
}

function sizeOf(at: Cursor, least: number): number {
  const size = at.u32()
  if (size < least || size > MAX_SIZE) at.fail(`a message of ${least} to ${MAX_SIZE} bytes, found ${size}`)
  return size
}

function gathering(size: number, ctx: Context<State>): Gathering {
  return new Gathering(size, Math.max(ctx.keep, LEAST_KEPT))
}

function gather(at: Cursor, ctx: Context<State>, message: Gathering): Message | null {
  if (!message.take(at)) return null
  const read = gathered(at, ctx, message)
  if (message.interrupted) read.error ??= { type: 'dissection', msg: 'a part of it was not captured' }
  return read
}

/** Of a large message that ends with its connection there is what has come of it. */
function end(at: Cursor, ctx: Context<State>): Message | null {
  if (at.progress === null) return null
  const message = at.progress as Gathering
  message.take(at)
  return { ...gathered(at, ctx, message), error: { type: 'dissection', msg: 'its end was not captured' } }
}

function gathered(at: Cursor, ctx: Context<State>, { size, cursor }: Gathering): Message {
  try {
    return ctx.from === 'client' ? request(cursor, size, ctx) : response(cursor, size, ctx)
  } catch (thrown) {
    // Nothing more will come.
    if (thrown === Incomplete) at.fail('the header of a message, found a part of it')
    throw thrown
  }
}

interface Header {
  key: number
  version: number
  correlationId: number
  /** Where the client id lies; `clientStart` is -1 for null. */
  clientStart: number
  clientEnd: number
  name: string | null
  /** null: an API or a version that came later. */
  exchange: Exchange | null
}

/** A client id is what an operator calls his program, a topic name is of 249 characters at most. */
const MAX_CLIENT_ID = 512

/** Leaves the cursor at the body; fails where this is no header. */
function readHeader(at: Cursor, size: number): Header {
  const start = at.position
  const key = at.u16()
  const version = at.u16()
  const correlationId = at.i32()
  const api = findApi(key)
  const exchange = api?.version(version) ?? null
  if (key > MAX_KEY || version > MAX_VERSION) at.fail(`an API key and a version, found ${key} and ${version}`)
  const header = { key, version, correlationId, clientStart: -1, clientEnd: -1, name: api?.name ?? null, exchange }
  if (exchange?.hasClientId === false) return header
  const length = at.i16()
  if (length > MAX_CLIENT_ID || length < -1 || at.position - start + length > size)
    at.fail(`a client id, found a length of ${length}`)
  if (length >= 0) {
    header.clientStart = at.position
    header.clientEnd = at.position + length
    at.skip(length)
    for (let i = header.clientStart; i < header.clientEnd; i++) if (at.bytes[i]! < 32) at.fail('a client id')
  }
  if (exchange?.hasRequestTags === true) skipTags(at)
  return header
}

/** Above what anybody has: vendors begin their own APIs at 10 000. */
const MAX_KEY = 0x7fff
const MAX_VERSION = 99

/** No tagged field of a header is known. */
function skipTags(at: Cursor): void {
  for (let count = uvarint(at); count > 0; count--) {
    uvarint(at)
    at.skip(uvarint(at))
  }
}

function request(at: Cursor, size: number, ctx: Context<State>): Message {
  const { out, state } = ctx
  const header = readHeader(at, size)
  const { key, version, correlationId, exchange } = header
  out.raw(SIZE)
  out.integer(size)
  out.raw(API_KEY_NAME)
  if (header.name === null) out.raw(NULL)
  else out.ascii(`"${header.name}"`)
  out.raw(API_KEY)
  out.integer(key)
  out.raw(API_VERSION)
  out.integer(version)
  out.raw(CORRELATION_ID)
  out.integer(correlationId)
  out.raw(CLIENT_ID)
  if (header.clientStart < 0) out.raw(NULL)
  else out.string(at.bytes, header.clientStart, header.clientEnd)
  const body = new Body(at, out, ctx.keep)
  const error = payload(at, body, exchange?.request ?? null, SECRET_APIS.has(key))
  out.byte(125)
  state.tokens = false
  if (body.mechanism !== '') state.mechanism = body.mechanism
  const message: Message = { kind: 'request', key: correlationId, body: out.since(0), memo: exchange ?? UNKNOWN }
  if (error !== null) message.error = { type: 'dissection', msg: error }
  if (key === PRODUCE && body.acks === 0) message.unanswered = true
  return message
}

const PRODUCE = 0
const SASL_HANDSHAKE = 17
/**
 * CreateTopics, DescribeConfigs, AlterConfigs, IncrementalAlterConfigs; SaslAuthenticate, delegation tokens,
 * AlterUserScramCredentials; Envelope: what cannot be read of them may be a secret.
 */
const SECRET_APIS = new Set([19, 32, 33, 36, 38, 39, 40, 41, 44, 51, 58])
/** Memo of a request whose answer cannot be read. */
const UNKNOWN = Object.freeze({})

/** What keeps it from being read to its end; null: nothing does. */
function payload(at: Cursor, body: Body, plan: Plan | null, isSecret: boolean): string | null {
  const { out } = body
  const start = at.position
  const before = out.length
  const { keep } = body
  out.raw(PAYLOAD)
  if (plan === null) {
    raw(at, body, isSecret)
    return null
  }
  let isCut = false
  try {
    body.mark()
    body.structure(plan)
  } catch (thrown) {
    if (thrown === Incomplete) isCut = true
    else if (thrown instanceof Malformed) {
      out.length = before
      out.raw(PAYLOAD)
      body.error = 0
      body.acks = null
      body.keep = keep
      at.position = start
      raw(at, body, isSecret)
      return thrown.reason
    } else throw thrown
  }
  if (isCut) {
    body.cut()
    out.raw(TRUNCATED)
  }
  if (body.omitted > 0) {
    out.raw(OMITTED)
    out.integer(body.omitted)
  }
  if (!isCut && at.remaining > 0) {
    out.raw(UNREAD)
    out.integer(at.remaining)
  }
  return null
}

function raw(at: Cursor, body: Body, isSecret: boolean): void {
  if (isSecret) body.out.raw(REDACTED)
  else body.blob(at.bytes, at.position, at.end, PAYLOAD_ENCODING, PAYLOAD_TRUNCATED)
}

// ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────────

function readServer(at: Cursor, ctx: Context<State>): Message | null {
  if (at.progress !== null) return gather(at, ctx, at.progress as Gathering)
  if (ctx.requestOf(TOKEN) !== undefined && !isAwaited(at, ctx)) return token(at, ctx, sizeOf(at, 0))
  const size = sizeOf(at, LEAST_RESPONSE)
  if (at.remaining >= size || size <= DIRECT) return response(at.within(size), size, ctx)
  return gather(at, ctx, gathering(size, ctx))
}

/** Whether a request waits for what comes. Then the client has gone on: the answer to its token was lost. */
function isAwaited(at: Cursor, ctx: Context<State>): boolean {
  const inner = new Cursor(at.bytes, at.position, at.end)
  return inner.u32() >= LEAST_RESPONSE && ctx.requestOf(inner.i32()) !== undefined
}

function response(at: Cursor, size: number, ctx: Context<State>): Message {
  const { out } = ctx
  const start = at.position
  const correlationId = at.i32()
  const asked = ctx.requestOf(correlationId) as Partial<Exchange> | undefined
  // Behind a gap it may be a token of SASL, which nobody shall see.
  if (asked === undefined && isPrintable(at.bytes, start, at.position)) at.fail('a response that somebody waits for')
  const exchange = asked?.response === undefined ? null : (asked as Exchange)
  out.raw(SIZE)
  out.integer(size)
  out.raw(CORRELATION_ID)
  out.integer(correlationId)
  const body = new Body(at, out, ctx.keep)
  const plan = exchange === null ? null : responsePlan(at, exchange)
  const error =
    plan === REFUSAL ? refusal(at, body) : payload(at, body, plan, exchange !== null && SECRET_APIS.has(exchange.key))
  out.raw(ERROR_CODE)
  if (body.error === 0) out.raw(NULL)
  else out.integer(body.error)
  out.raw(ERROR_NAME)
  if (body.error === 0) out.raw(NULL)
  else out.ascii(`"${errorName(body.error)}"`)
  out.byte(125)
  if (exchange?.key === SASL_HANDSHAKE && exchange.version === 0 && body.error === 0) ctx.state.tokens = true
  const message: Message = { kind: 'response', key: correlationId, body: out.since(0) }
  if (body.error !== 0) message.failed = true
  if (error !== null) message.error = { type: 'dissection', msg: error }
  return message
}

const UNSUPPORTED_VERSION = 35
/** What all of them begin with that know nothing of the version that the client asked for. */
const REFUSAL = compile(parse('errorCode:error'), 0, false)

/** Leaves the cursor at the body. */
function responsePlan(at: Cursor, exchange: Exchange): Plan {
  if (exchange.hasResponseTags) skipTags(at)
  const isRefusal = exchange.key === API_VERSIONS && at.remaining >= 2 && at.peek() === 0
  return isRefusal && at.peek(1) === UNSUPPORTED_VERSION ? REFUSAL : exchange.response
}

/** A broker that does not know the version asked for answers in the oldest one; some are not good at it. */
function refusal(at: Cursor, body: Body): string | null {
  const { out } = body
  const { length } = out
  const { position } = at
  const error = payload(at, body, findApi(API_VERSIONS)!.version(0)!.response, false)
  if (error === null) return null
  out.length = length
  at.position = position
  return payload(at, body, REFUSAL, false)
}

// ── bare tokens of SASL ───────────────────────────────────────────────────────────────────────────────────────────────

/** Key of a token: the client waits for the answer before it sends another one. */
const TOKEN = 'token'
/** Tickets of Kerberos have some kilobytes. */
const MAX_TOKEN = 128 << 10

/**   size(4) token(size), both ways */
function token(at: Cursor, ctx: Context<State>, size: number): Message {
  if (size > MAX_TOKEN) at.fail(`a token of at most ${MAX_TOKEN} bytes, found ${size}`)
  const authBytes = '[REDACTED]'
  if (ctx.from === 'server') {
    at.skip(size)
    const body: ResponseBody = { size, correlationID: null, payload: { authBytes }, errorCode: null, errorName: null }
    return { kind: 'response', key: TOKEN, body }
  }
  const username = userName(at.latin1(size))
  const { mechanism } = ctx.state
  const body: RequestBody = {
    size,
    apiKeyName: 'SaslToken',
    apiKey: null,
    apiVersion: null,
    correlationID: null,
    clientID: null,
    payload: username === null ? { mechanism, authBytes } : { mechanism, authBytes, username },
  }
  return { kind: 'request', key: TOKEN, body, memo: TOKEN }
}

/** Whether what follows its size is a request, and no token. */
function isRequest(at: Cursor, size: number): boolean {
  if (size < LEAST_REQUEST) return false
  const inner = new Cursor(at.bytes, at.position, Math.min(at.end, at.position + size), at.remaining >= size)
  try {
    const { exchange, correlationId } = readHeader(inner, size)
    return exchange !== null && correlationId >= 0
  } catch (thrown) {
    if (thrown instanceof Malformed) return false
    throw thrown
  }
}

// ── recognising ───────────────────────────────────────────────────────────────────────────────────────────────────────

function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  const size = at.u32()
  if (size < (from === 'client' ? LEAST_REQUEST : LEAST_RESPONSE) || size > MAX_SIZE) return false
  const inner = new Cursor(at.bytes, at.position, Math.min(at.end, at.position + size), at.remaining >= size)
  if (from === 'client') return isKnownRequest(inner, size, ctx)
  // Only its request makes a response recognisable.
  const asked = ctx.requestOf(inner.i32()) as Partial<Exchange> | undefined
  if (asked === undefined) return false
  return asked.response === undefined || fits(inner, responsePlan(inner, asked as Exchange), ctx) !== 'no'
}

function isKnownRequest(at: Cursor, size: number, ctx: Context<State>): boolean {
  const { key, exchange, correlationId, clientStart, clientEnd } = readHeader(at, size)
  if (correlationId < 0) return false
  const isNamed = clientEnd > clientStart && isPrintable(at.bytes, clientStart, clientEnd)
  // Clients that are newer than the table begin with this request, too.
  if (exchange === null) return key === API_VERSIONS && isNamed && size <= DIRECT && at.whole
  const isFitting = fits(at, exchange.request, ctx)
  if (isFitting === 'no') return false
  // Old librdkafka appends an empty list to the request that has no body.
  if (isFitting === 'whole') return at.remaining === 0 || (isNamed && key === API_VERSIONS)
  if (ctx.hinted || isNamed) return true
  throw Incomplete
}

/** Whether a body can be read as `plan` says. */
function fits(at: Cursor, plan: Plan, ctx: Context<State>): 'whole' | 'so far' | 'no' {
  ctx.out.length = 0
  try {
    new Body(at, ctx.out, 0).structure(plan)
    return at.whole ? 'whole' : 'no'
  } catch (thrown) {
    if (thrown === Incomplete) return 'so far'
    if (thrown instanceof Malformed) return 'no'
    throw thrown
  } finally {
    ctx.out.length = 0
  }
}

function isPrintable(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i]! < 32 || bytes[i]! > 126) return false
  return true
}

// ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const NULL = constant('null')
const SIZE = constant('{"size":')
const API_KEY_NAME = constant(',"apiKeyName":')
const API_KEY = constant(',"apiKey":')
const API_VERSION = constant(',"apiVersion":')
const CORRELATION_ID = constant(',"correlationID":')
const CLIENT_ID = constant(',"clientID":')
const PAYLOAD = constant(',"payload":')
const PAYLOAD_ENCODING = constant(',"payloadEncoding":"base64"')
const PAYLOAD_TRUNCATED = constant(',"payloadTruncated":true')
const TRUNCATED = constant(',"truncated":true')
const OMITTED = constant(',"omitted":')
const UNREAD = constant(',"unread":')
const ERROR_CODE = constant(',"errorCode":')
const ERROR_NAME = constant(',"errorName":')
const REDACTED = constant('"[REDACTED]"')

// ── in a table ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Names that a line has room for. */
const MAX_NAMES = 3

function summarize(request: Json | null, response: Json | null): Summary {
  const key = request?.apiKey
  return {
    method: request?.apiKeyName ?? (key == null ? '' : `API ${key}`),
    summary: request === null ? '' : subject(request.payload),
    status: response === null ? '' : (response.errorName ?? 'OK'),
  }
}

/** Where a payload says what it is about: fields, and the names within lists. */
const SUBJECTS = ['groupId', 'transactionalID', 'transactionalId', 'key', 'mechanism', 'clientSoftwareName', 'username']
const LISTS = ['topicData', 'topics', 'groups', 'groupIds', 'groupsNames', 'topicNames', 'coordinatorKeys', 'resources']
const NAMES = ['topic', 'name', 'topicName', 'groupId', 'resourceName', 'topicId']

function subject(payload: JsonValue): string {
  if (payload === null || typeof payload !== 'object') return ''
  const words = SUBJECTS.map(name => payload[name]).filter(isName)
  const list = LISTS.map(name => payload[name]).find(Array.isArray) ?? []
  const names = list.map((one: JsonValue) => (isName(one) ? one : NAMES.map(name => one?.[name]).find(isName)))
  words.push(...names.filter(isName).slice(0, MAX_NAMES))
  return names.length > MAX_NAMES ? `${words.join(' ')} …` : words.join(' ')
}

function isName(word: JsonValue): word is string {
  return typeof word === 'string' && word !== ''
}
