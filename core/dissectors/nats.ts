/**
 * NATS: clients with servers, and servers among themselves (routes, leaf nodes, gateways).
 * https://docs.nats.io/reference/reference-protocols/nats-protocol
 *
 *   server   INFO {…} CRLF                                  client   CONNECT {…} CRLF  SUB inbox.* 1 CRLF
 *   client   PUB subject inbox.7 5 CRLF hello CRLF          server   MSG inbox.7 1 2 CRLF hi CRLF
 *
 * A publication with a reply subject is a request, and the first message under that subject is its answer. What nobody
 * answers is an event. With `verbose` the server confirms every operation, and each confirmation is an answer.
 */
import { type Cursor, latin1 } from '../cursor.ts'
import type { Context, Dissector, Message, Moment, Side, Summary } from '../dissector.ts'
import type { Json } from '../item.ts'
import { type ApiCall, apiCall, type Delivery, delivery, isPull, parseJson } from './nats/jetstream.ts'
import { kindOf, type Operation, readLine } from './nats/operation.ts'
import type { Payload } from './nats/payload.ts'

/** ms. Client libraries give up after some seconds; what somebody answers after a minute was no question of theirs. */
const PATIENCE = 60_000

export const dissector: Dissector<State> = {
  name: 'nats',
  title: 'NATS Client Protocol',
  abbr: 'NATS',
  version: '1',
  color: '#27aae1',
  reference: 'https://docs.nats.io/reference/reference-protocols/nats-protocol',
  transports: ['tcp'],
  ports: [4222, 6222, 7222, 7422],
  priority: 40,
  keyed: true,
  patience: PATIENCE,
  probe,
  open,
  read,
  bridge: (length, progress) => (progress as Operation).bridge(length),
  summarize,
}

/** INFO of the server, CONNECT of the client; their JSON. */
export interface GreetingBody extends Json {
  command: 'INFO' | 'CONNECT'
  /** Passwords, tokens and signatures are `[REDACTED]`. null: it is no JSON, or bodies are not wanted. */
  options: Json | null
}

/** PUB and HPUB. */
export interface PublicationBody extends Payload {
  command: 'PUB' | 'HPUB'
  subject: string
  replyTo: string | null
  /** A request to JetStream's API. */
  jetstream?: ApiCall
  /** An acknowledgement of this delivered message; the payload says which. */
  acknowledges?: Delivery
}

/** MSG and HMSG. */
export interface MessageBody extends Payload {
  command: 'MSG' | 'HMSG'
  subject: string
  /** Names the subscription. */
  sid: string
  /** Of the subscription, where that was seen. */
  queue?: string
  replyTo: string | null
  /** The answer to a request to JetStream's API. */
  jetstream?: ApiCall
  /** Delivered by JetStream. */
  delivery?: Delivery
}

/** SUB and UNSUB. */
export interface SubscriptionBody extends Json {
  command: 'SUB' | 'UNSUB'
  /** null for UNSUB, unless the SUB was seen. */
  subject: string | null
  queue: string | null
  sid: string
  /** UNSUB: the subscription ends after so many messages; null: at once. */
  maxMessages: number | null
}

/** PING, PONG, +OK and -ERR. */
export interface SignalBody extends Json {
  command: 'PING' | 'PONG' | '+OK' | '-ERR'
  /** What -ERR says, without quotes. */
  message: string | null
}

/** What servers say to each other: RS+ RS- RMSG LS+ LS- LMSG HMSG A+ A-. */
export interface ServerBody extends Json {
  command: string
  /** Words between the command and the sizes: which of them is account, subject or queue depends on the connection. */
  words: readonly string[]
}

/** Modes of a connection, and what waits for an answer. */
export interface State {
  /** CONNECT was seen and no byte after it was missed: what the server confirms can be counted. */
  counted: boolean
  verbose: boolean
  /** The server has not yet said what it thinks of CONNECT. */
  connecting: boolean
  /** Both ends are servers. */
  servers: boolean
  offersTls: boolean
  /** Clients' PINGs and their PONGs. */
  pings: number
  pongs: number
  /** `verbose`: keys of what is still to be confirmed; those with a reply subject have their answer elsewhere. */
  unconfirmed: string[]
  confirmations: number
  /** Reply subjects in order of their use. A call to the API is remembered, for its answer. */
  inboxes: Map<string, Inbox>
  /** By sid. */
  subscriptions: Map<string, Subscription>
}

interface Inbox {
  call: ApiCall | null
  /** When the request was sent, ms since 1970. */
  sent: number
  isAnswered: boolean
}

interface Subscription {
  subject: string
  queue: string | null
}

function open(): State {
  return {
    counted: false,
    verbose: false,
    connecting: false,
    servers: false,
    offersTls: false,
    pings: 0,
    pongs: 0,
    unconfirmed: [],
    confirmations: 0,
    inboxes: new Map(),
    subscriptions: new Map(),
  }
}

/** Who never listens to its inboxes, or subscribes without end, must not fill the memory. */
const MAX_INBOXES = 1024
const MAX_SUBSCRIPTIONS = 10_000
const MAX_UNCONFIRMED = 10_000

// ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function read(at: Cursor, ctx: Context<State>): Message | Message[] {
  const begun = at.progress as Operation | null
  if (begun === null && at.peek() >= 0x80) return compressed(at)
  if (begun === null && at.peek() === TLS_HANDSHAKE) return encrypted(at, ctx.state)
  const operation = begun ?? readLine(at)
  const payload = operation.readPayload(at, ctx.keep)
  const { kind, words } = operation
  const { state, from } = ctx
  if (kind.sender === 'servers' || (kind.name === 'HMSG' && isBetweenServers(words, from, state)))
    return betweenServers(kind.name, words, payload, state)
  if (kind.sender !== 'both' && kind.sender !== from) at.fail(`an operation of the ${from}, found ${kind.name}`)
  return MEANINGS[kind.name]!(words, payload, ctx)
}

type Meaning = (words: readonly string[], payload: Payload | null, ctx: Context<State>) => Message | Message[]

const MEANINGS: { readonly [name: string]: Meaning } = {
  INFO: ([text], _payload, ctx) => information(text!, ctx),
  CONNECT: ([text], _payload, ctx) => connection(text!, ctx),
  PUB: (words, payload, ctx) => publication('PUB', words, payload!, ctx),
  HPUB: (words, payload, ctx) => publication('HPUB', words, payload!, ctx),
  MSG: (words, payload, ctx) => delivered('MSG', words, payload!, ctx),
  HMSG: (words, payload, ctx) => delivered('HMSG', words, payload!, ctx),
  SUB: (words, _payload, { state }) => subscription(words, state),
  UNSUB: (words, _payload, { state }) => unsubscription(words, state),
  PING: (_words, _payload, { state, from }) => ping(from, state),
  PONG: (_words, _payload, { state, from }) => pong(from, state),
  '+OK': (_words, _payload, { state }) => confirmed(state),
  '-ERR': ([text = ''], _payload, { state, from }) => refused(text, from, state),
}

/** The first byte of TLS; the chunk that begins a stream of S2. */
const TLS_HANDSHAKE = 0x16
const S2_BEGINS = '\u00ff\u0006\u0000\u0000S2sTwO'

/** The client goes on in TLS where INFO offers or demands it. */
function encrypted(at: Cursor, state: State): Message {
  if (!state.offersTls) at.fail('an operation')
  return { kind: 'nothing', body: {}, becomes: 'tls' }
}

/** Nobody decompresses it here: what follows counts as an unknown protocol. */
function compressed(at: Cursor): Message {
  const start = at.position
  if (at.latin1(S2_BEGINS.length) !== S2_BEGINS) at.fail('an operation')
  at.position = start
  return { kind: 'nothing', body: {}, becomes: 's2' }
}

function signal(command: SignalBody['command'], message: string | null): SignalBody {
  return { command, message }
}

// ── greetings ───────────────────────────────────────────────────────────────────────────────────────────────────────

const SECRETS = ['pass', 'auth_token', 'jwt', 'sig', 'proxy_sig']
const REDACTED = '[REDACTED]'

function information(text: string, { state, from, keep }: Context<State>): Message {
  const options = parseJson(text)
  if (from === 'client') state.servers = true
  if (options?.tls_required === true || options?.tls_available === true) state.offersTls = true
  const body: GreetingBody = { command: 'INFO', options: keep > 0 ? redact(options) : null }
  return { kind: 'event', body }
}

function connection(text: string, { state, from, keep }: Context<State>): Message {
  const options = parseJson(text)
  const body: GreetingBody = { command: 'CONNECT', options: keep > 0 ? redact(options) : null }
  if (from === 'server' || SERVERS_SAY.some(name => options?.[name] !== undefined)) state.servers = true
  if (state.servers || state.connecting || options === null) return { kind: 'event', body }
  state.counted = true
  state.connecting = true
  // Who does not say so wants confirmations.
  state.verbose = options.verbose !== false
  return { kind: 'request', key: 'CONNECT', body }
}

/** A route, a leaf node or a gateway introduces itself with one of these. */
const SERVERS_SAY = ['cluster', 'gateway', 'lnoc', 'server_id']

function redact(options: Json | null): Json | null {
  if (options === null) return null
  for (const name of SECRETS) if (typeof options[name] === 'string' && options[name] !== '') options[name] = REDACTED
  return options
}

// ── publications and messages ───────────────────────────────────────────────────────────────────────────────────────

/** `_INBOX.<client>.<request>`: client libraries make a new one for every request. */
const INBOX_OF_ONE_REQUEST = /^_INBOX\.[^.]+\.[^.]+$/

function publication(
  command: 'PUB' | 'HPUB',
  words: readonly string[],
  payload: Payload,
  ctx: Context<State>,
): Message {
  const { state } = ctx
  const [subject, replyTo] = [words[0]!, words[1] ?? null]
  const body: PublicationBody = { command, subject, replyTo, ...payload }
  const call = apiCall(subject)
  if (call !== null) body.jetstream = { ...call, body: json(payload) }
  const acknowledged = delivery(subject)
  if (acknowledged !== null) body.acknowledges = acknowledged
  if (replyTo === null) return oneWay(body, state)
  const isUnique = !state.inboxes.has(replyTo) && (state.counted || INBOX_OF_ONE_REQUEST.test(replyTo))
  if (isPull(call) || !isUnique) return withoutAnswer(body, state)
  remember(state.inboxes, replyTo, { call, sent: clock(ctx.moment), isAnswered: false }, MAX_INBOXES)
  if (state.verbose) expectConfirmation(replyTo, state)
  return { kind: 'request', key: replyKey(replyTo), body }
}

function clock({ seconds, nanoseconds }: Moment): number {
  return seconds * 1e3 + nanoseconds / 1e6
}

function replyKey(subject: string): string {
  return `> ${subject}`
}

/** Nobody can tell which of several answers belongs to it. */
function withoutAnswer(body: Json, state: State): Message {
  return state.verbose ? oneWay(body, state) : { kind: 'request', unanswered: true, body }
}

/** Confirmed at most. */
function oneWay(body: Json, state: State): Message {
  if (!state.verbose) return { kind: 'event', body }
  const key = `ok ${state.confirmations++}`
  expectConfirmation(key, state)
  return { kind: 'request', key, body }
}

function delivered(command: 'MSG' | 'HMSG', words: readonly string[], payload: Payload, ctx: Context<State>): Message {
  const { state } = ctx
  const [subject, sid, replyTo] = [words[0]!, words[1]!, words[2] ?? null]
  const body: MessageBody = { command, subject, sid, replyTo, ...payload }
  const queue = state.subscriptions.get(sid)?.queue
  if (queue != null) body.queue = queue
  const from = delivery(replyTo)
  if (from !== null) body.delivery = from
  const inbox = state.inboxes.get(subject)
  if (inbox === undefined || inbox.isAnswered) return { kind: 'event', body }
  if (clock(ctx.moment) - inbox.sent >= PATIENCE) return { kind: 'event', body }
  inbox.isAnswered = true
  if (inbox.call !== null) body.jetstream = { ...inbox.call, body: json(payload) }
  inbox.call = null
  const message: Message = { kind: 'response', key: replyKey(subject), body }
  if (isFailure(body)) message.failed = true
  return message
}

function json({ payload, encoding, truncated }: Payload): Json | null {
  return payload === null || encoding !== undefined || truncated === true ? null : parseJson(payload)
}

/** Services tell of an error in a header, JetStream's API in its JSON, the server in the status. */
function isFailure({ status, headers, jetstream }: MessageBody): boolean {
  return (
    (status !== undefined && status >= 400) ||
    headers?.['Nats-Service-Error-Code'] !== undefined ||
    jetstream?.body?.error !== undefined
  )
}

// ── subscriptions ───────────────────────────────────────────────────────────────────────────────────────────────────

function subscription(words: readonly string[], state: State): Message {
  const subject = words[0]!
  const sid = words.at(-1)!
  const queue = words.length === 3 ? words[1]! : null
  remember(state.subscriptions, sid, { subject, queue }, MAX_SUBSCRIPTIONS)
  const body: SubscriptionBody = { command: 'SUB', subject, queue, sid, maxMessages: null }
  return oneWay(body, state)
}

function unsubscription(words: readonly string[], state: State): Message {
  const sid = words[0]!
  const maxMessages = words.length === 2 ? Number(words[1]) : null
  const { subject = null, queue = null } = state.subscriptions.get(sid) ?? {}
  if (maxMessages === null || maxMessages === 0) state.subscriptions.delete(sid)
  const body: SubscriptionBody = { command: 'UNSUB', subject, queue, sid, maxMessages }
  return oneWay(body, state)
}

function remember<Value>(map: Map<string, Value>, key: string, value: Value, most: number): void {
  if (map.size >= most) map.delete(map.keys().next().value!)
  map.set(key, value)
}

// ── signals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function ping(from: Side, state: State): Message {
  const body = signal('PING', null)
  if (from === 'server' || !state.counted || state.servers) return { kind: 'event', body }
  return { kind: 'request', key: `PING ${state.pings++}`, body }
}

/** The first one also says that CONNECT was well: clients send PING with it to hear that. */
function pong(from: Side, state: State): Message | Message[] {
  const body = signal('PONG', null)
  if (from === 'client' || !state.counted || state.servers || state.pongs >= state.pings) return { kind: 'event', body }
  const message: Message = { kind: 'response', key: `PING ${state.pongs++}`, body }
  if (!state.connecting) return message
  state.connecting = false
  return [{ kind: 'response', key: 'CONNECT', body }, message]
}

function expectConfirmation(key: string, state: State): void {
  state.unconfirmed.push(key)
  // Then nobody confirms, or nobody sees it.
  if (state.unconfirmed.length > MAX_UNCONFIRMED) {
    state.unconfirmed = []
    state.verbose = false
  }
}

function confirmed(state: State): Message {
  const body = signal('+OK', null)
  if (state.connecting) {
    state.connecting = false
    return { kind: 'response', key: 'CONNECT', body }
  }
  return answerTo(state.unconfirmed.shift(), body, state)
}

/** What has a reply subject waits for its answer there: that it was received is an event. */
function answerTo(key: string | undefined, body: SignalBody, state: State): Message {
  if (key === undefined || state.inboxes.has(key)) return { kind: 'event', body }
  return { kind: 'response', key, body }
}

/** Errors in place of a confirmation; others come unasked, or beside one. */
const REFUSALS = /^(Permissions Violation for (Publish|Subscription) |Invalid Subject$|Maximum Subscriptions)/i
const REFUSED_CONNECTIONS = /Authorization|Authentication|Maximum (Account )?(Active )?Connections|TLS Required/i

function refused(quoted: string, from: Side, state: State): Message {
  const text = quoted.replace(/^'(.*)'$/s, '$1')
  const body = signal('-ERR', text)
  if (from === 'client' || state.servers) return { kind: 'event', body }
  if (state.connecting && REFUSED_CONNECTIONS.test(text)) {
    state.connecting = false
    return { kind: 'response', key: 'CONNECT', failed: true, body }
  }
  if (!state.verbose || !REFUSALS.test(text)) return { kind: 'event', body }
  const key = state.unconfirmed.shift()
  if (key === undefined) return { kind: 'event', body }
  const inbox = state.inboxes.get(key)
  if (inbox !== undefined) inbox.isAnswered = true
  return { kind: 'response', key: inbox === undefined ? key : replyKey(key), failed: true, body }
}

// ── servers among themselves ────────────────────────────────────────────────────────────────────────────────────────

/** A client is told `subject sid [reply-to]`, and all clients number their subscriptions. */
function isBetweenServers(words: readonly string[], from: Side, state: State): boolean {
  return state.servers || from === 'client' || words.length < 2 || words.length > 3 || !/^\d+$/.test(words[1]!)
}

function betweenServers(command: string, words: readonly string[], payload: Payload | null, state: State): Message {
  state.servers = true
  const body: ServerBody = { command, words, ...payload }
  return { kind: 'event', body }
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Behind so long a payload nobody waits for its CR LF to be sure. */
const MAX_PROBED = 4096

function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  const start = at.position
  if (kindOf(at) === null) return false
  at.position = start
  const { kind, words, size } = readLine(at)
  const { name, sender, follows } = kind
  // Everybody writes the name in capitals, and CR before LF; who does not may be somebody else.
  if (latin1(at.bytes, start, start + name.length) !== name || at.bytes[at.position - 2] !== 0x0d) return false
  if (SENT_BY[name] !== undefined ? SENT_BY[name] !== from : sender === OTHER[from]) return false
  if (name === 'INFO') return isObject(words[0]!) && words[0]!.includes('"server_id"')
  if (name === 'CONNECT') return isObject(words[0]!)
  if (follows === 'nothing') return ctx.hinted && (name !== '-ERR' || /^'.*'$/.test(words[0] ?? ''))
  if (name === 'MSG' && !/^\d+$/.test(words[1]!)) return false
  if (follows === 'headers' && !isHeaders(at)) return false
  if (size > MAX_PROBED) return true
  at.skip(size)
  return at.u16() === 0x0d0a
}

/** What servers also say to each other begins so with clients. */
const SENT_BY: { readonly [name: string]: Side } = { INFO: 'server', CONNECT: 'client', HMSG: 'server' }
const OTHER = { client: 'server', server: 'client' } as const

function isObject(text: string): boolean {
  return text.startsWith('{') && text.endsWith('}')
}

const HEADERS_BEGIN = 'NATS/1.'

function isHeaders(at: Cursor): boolean {
  for (let i = 0; i < HEADERS_BEGIN.length; i++) if (at.peek(i) !== HEADERS_BEGIN.charCodeAt(i)) return false
  return true
}

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const told = request ?? event ?? response
  return {
    method: told?.command ?? '',
    summary: told?.subject ?? told?.message ?? told?.options?.name ?? told?.options?.server_name ?? shownWords(told),
    status: response === null ? '' : status(response),
  }
}

function shownWords(body: Json | null): string {
  return Array.isArray(body?.words) ? body.words.join(' ') : ''
}

function status(response: Json): string {
  if (response.command === '-ERR') return 'ERR'
  const error = response.jetstream?.body?.error?.code
  return String(error ?? response.status ?? 'OK')
}
