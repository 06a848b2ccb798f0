/**
 * Redis: RESP2 and RESP3 over TCP, commands typed by hand, pub/sub, MONITOR, and what a master tells its replicas.
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 *   client   *3 CRLF $3 CRLF SET CRLF $1 CRLF k CRLF $1 CRLF v CRLF
 *   server   +OK CRLF
 *
 * Answers come in the order of commands. What comes between them unasked is an event: pushes, messages of channels,
 * lines of MONITOR, the replication stream. Of the confirmations of one SUBSCRIBE the first is the answer, the others
 * are events.
 */
import { type Cursor, latin1 } from '../cursor.ts'
import type { Context, Dissector, Message, Side, Summary } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { Call, MAX_INLINE } from './redis/call.ts'
import { findCommand, looksLikeName, MAX_NAME, type Role } from './redis/commands.ts'
import { type Attribute, number, Reply } from './redis/reply.ts'
import { redactAnswer, type SecretAnswer, secretAnswer } from './redis/secrets.ts'
import { Snapshot } from './redis/snapshot.ts'

export const dissector: Dissector<State> = {
  name: 'redis',
  title: 'Redis Serialization Protocol',
  abbr: 'REDIS',
  version: '2',
  color: '#a41e11',
  reference: 'https://redis.io/docs/latest/develop/reference/protocol-spec/',
  transports: ['tcp'],
  ports: [6379, 26379],
  priority: 30,
  probe,
  open,
  read: (at, ctx) => (ctx.from === 'client' ? readCall(at, ctx) : readServer(at, ctx)),
  bridge: (length, progress) => (progress as Call | Reply | Snapshot).bridge(length),
  summarize,
}

/** What an item says about an answer. */
export interface AnswerBody extends Json {
  /** Name of the RESP type: `Bulk String`, `Map`, `Error`. */
  type: string
  /**
   * Maps are objects when all their keys are text, else arrays of pairs; inf and nan are text; an error within an array
   * is `{ error }`; strings as in `Bulk`. null also when bodies are not wanted.
   */
  value: JsonValue
  /** First word of an error: `WRONGTYPE`. Of a verbatim string its format. */
  keyword: string | null
  attributes?: Attribute[]
  /** Elements that were not kept. */
  omitted?: number
}

/** Modes of a connection. */
export interface State {
  /** CLIENT REPLY. */
  replies: 'on' | 'off' | 'skip next'
  /** Since MULTI: how many commands were queued and which of them have a secret answer; null: no MULTI. */
  transaction: { queued: number; secrets: [number, SecretAnswer][] } | null
  monitoring: boolean
  /** Channels and patterns that the client listens to, as far as the server told. */
  channels: number
  patterns: number
  /** Confirmations of the last subscription that are still to come. */
  surplus: { word: string; count: number } | null
  /** What the server sends: answers, a copy of its data, or the commands that it has executed itself. */
  feed: 'answers' | 'snapshot' | 'stream'
  version: '2' | '3'
  /** The client speaks RESP: a word that is no known command is no command typed by hand. */
  framed: boolean
}

function open(): State {
  return {
    replies: 'on',
    transaction: null,
    monitoring: false,
    channels: 0,
    patterns: 0,
    surplus: null,
    feed: 'answers',
    version: '2',
    framed: false,
  }
}

/** What is known of a command when its answer comes. */
interface Asked {
  role: Role
  /** Kind of its confirmations: `subscribe`. */
  word: string
  /** Channels that it names. */
  channels: number
  secret: SecretAnswer | null
  /** Places in the answer to EXEC that have something secret. */
  secrets: readonly [number, SecretAnswer][]
}

const PLAIN: Asked = Object.freeze({ role: 'plain', word: '', channels: 0, secret: null, secrets: [] })
/** As long as a client makes a transaction of secrets; beyond it nobody counts. */
const MAX_SECRETS = 1000

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

const STAR = 42
const LF = 10
const CR = 13

function readCall(at: Cursor, ctx: Context<State>): Message | null {
  const call = at.progress === null ? new Call(ctx.keep) : (at.progress as Call)
  if (at.progress === null) {
    const first = at.u8()
    if (first !== STAR) {
      at.position--
      return readTyped(at, ctx, call)
    }
  }
  if (!call.read(at)) return null
  ctx.state.framed = true
  return request(call, 'Array', ctx.state)
}

function readTyped(at: Cursor, ctx: Context<State>, call: Call): Message | null {
  const { state } = ctx
  const start = at.position
  const lf = at.lineEnd(MAX_INLINE)
  const end = lf > start && at.bytes[lf - 1] === CR ? lf - 1 : lf
  at.position = lf + 1
  for (let i = start; i < end; i++) if (!isTypable(at.bytes[i]!)) at.fail('a command')
  const found = call.readLine(at.bytes, start, end)
  if (found === false) return null
  if (found === null) return unbalanced(at, start, end, state)
  if (
    call.command.name === '' &&
    (state.framed || !looksLikeName(Buffer.from(call.name, 'latin1'), 0, call.name.length))
  )
    at.fail('a command')
  return request(call, 'Inline', state)
}

/** Redis answers with an error, too, and hangs up. */
function unbalanced(at: Cursor, start: number, end: number, state: State): Message {
  let space = start
  while (space < end && at.bytes[space]! > 32) space++
  const known = space - start <= MAX_NAME ? findCommand(at.bytes, start, space) : undefined
  if (known === undefined && state.framed) at.fail('balanced quotes')
  return {
    kind: 'request',
    body: { type: 'Inline', command: known?.name ?? '', key: null, value: null, keyword: null, args: null },
    memo: PLAIN,
    error: { type: 'dissection', msg: 'expected balanced quotes' },
  }
}

function request(call: Call, type: 'Array' | 'Inline', state: State): Message {
  const { role, container } = call.command
  const secret = container ? secretAnswer(call.name, call.args) : null
  const message: Message =
    role === 'plain' && secret === null && state.transaction === null && state.replies === 'on'
      ? { kind: 'request', body: call.body(type), memo: PLAIN }
      : special(call, type, secret, state)
  if (state.version === '3') message.version = '3'
  return message
}

/** A command that changes how the connection is to be read, or one sent while it is so changed. */
function special(call: Call, type: 'Array' | 'Inline', secret: SecretAnswer | null, state: State): Message {
  const { role } = call.command
  const { transaction, replies } = state
  const isQueued = transaction !== null && !AT_ONCE.has(role)
  const mode = isQueued || role !== 'client' || word(call, 0) !== 'REPLY' ? '' : word(call, 1)
  const isSilent = mode === 'OFF' || mode === 'SKIP' || (role === 'replconf' && word(call, 0) === 'ACK')
  const message: Message = { kind: 'request', body: call.body(type), memo: PLAIN }
  if (isSilent || (replies !== 'on' && mode !== 'ON' && role !== 'reset')) message.unanswered = true
  state.replies = nextReplies(replies, mode, role)
  if (isQueued) {
    if (secret !== null && transaction.secrets.length < MAX_SECRETS)
      transaction.secrets.push([transaction.queued, secret])
    transaction.queued++
    return message
  }
  message.memo = {
    role,
    word: role === 'confirmed' ? call.name.toLowerCase() : '',
    channels: call.count,
    secret,
    secrets: role === 'exec' && transaction !== null ? transaction.secrets : [],
  } satisfies Asked
  if (role === 'multi' && transaction === null) state.transaction = { queued: 0, secrets: [] }
  if (role === 'exec' || role === 'discard' || role === 'reset') state.transaction = null
  return message
}

function word(call: Call, place: number): string {
  const arg = call.args[place]
  return typeof arg === 'string' ? arg.toUpperCase() : ''
}

/** Not queued by MULTI. */
const AT_ONCE: ReadonlySet<Role> = new Set<Role>(['multi', 'exec', 'discard', 'reset'])

function nextReplies(replies: State['replies'], mode: string, role: Role): State['replies'] {
  if (mode === 'ON' || role === 'reset') return 'on'
  if (mode === 'OFF' || replies === 'off') return 'off'
  return mode === 'SKIP' ? 'skip next' : 'on'
}

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A line of MONITOR has all arguments of a command in it. */
const MAX_MONITOR_LINE = 1024 * 1024
const DOLLAR = 36
/** One of these tells the version where HELLO was not seen. */
const ONLY_RESP3 = new Set(['Map', 'Set', 'Push', 'Double', 'Boolean', 'Bulk Error', 'Verbatim String', 'Big Number'])

function readServer(at: Cursor, ctx: Context<State>): Message | null {
  const { state } = ctx
  const asked = ctx.awaited as Asked | undefined
  if (at.progress === null) {
    const first = at.peek()
    // A master shows that it is alive while it prepares a snapshot.
    if (first === LF || first === CR) return skipLineEnd(at)
    if (state.feed === 'stream') return readReplicated(at, new Call(ctx.keep))
    if (state.feed === 'snapshot' || (asked?.role === 'sync' && first === DOLLAR))
      return readSnapshot(at, state, asked, new Snapshot())
    return readReply(at, ctx, asked, state.monitoring ? new Reply(ctx.keep, MAX_MONITOR_LINE) : new Reply(ctx.keep))
  }
  if (at.progress instanceof Reply) return readReply(at, ctx, asked, at.progress)
  if (at.progress instanceof Snapshot) return readSnapshot(at, state, asked, at.progress)
  return readReplicated(at, at.progress as Call)
}

function skipLineEnd(at: Cursor): null {
  if (at.u8() === CR && at.u8() !== LF) at.fail('LF after CR')
  return null
}

function readReply(at: Cursor, ctx: Context<State>, asked: Asked | undefined, reply: Reply): Message {
  const { state } = ctx
  reply.read(at)
  const { type, value } = reply
  if (ONLY_RESP3.has(type)) state.version = '3'
  if (type === 'Push' || (type === 'Array' && isPubSub(reply))) {
    if (!isAnswer(value, type, asked, state)) return push(reply, type, ctx)
    confirm(value, asked!, state)
  } else if (type === 'Simple String' && (state.monitoring || asked === undefined)) {
    const line = monitorLine(value, ctx)
    if (line !== null) return line
  }
  return answer(reply, asked, ctx)
}

function answer(reply: Reply, asked: Asked | undefined, ctx: Context<State>): Message {
  const { state } = ctx
  // The confirmations of one command come in a row, so that a number of them that was too high does no harm.
  if (state.surplus !== null && reply.value?.[0] !== state.surplus.word) state.surplus = null
  const failed = reply.type === 'Error' || reply.type === 'Bulk Error'
  let { value } = reply
  if (asked !== undefined && asked.role !== 'plain') switchModes(reply, asked, failed, state)
  if (asked?.secret) value = failed ? value : redactAnswer(asked.secret, value)
  if (asked !== undefined && asked.secrets.length > 0 && Array.isArray(value))
    for (const [place, secret] of asked.secrets)
      if (place < value.length) value[place] = redactAnswer(secret, value[place])
  const body: AnswerBody = {
    type: reply.type,
    value: ctx.keep > 0 || SHORT.has(reply.type) ? value : null,
    keyword: reply.keyword,
  }
  if (reply.attributes !== null && ctx.keep > 0) body.attributes = reply.attributes
  if (reply.omitted > 0 && ctx.keep > 0) body.omitted = reply.omitted
  const message: Message = { kind: 'response', body }
  if (failed) message.failed = true
  if (state.version === '3') message.version = '3'
  return message
}

/** Kept even when nobody wants bodies. */
const SHORT = new Set(['Simple String', 'Error', 'Bulk Error', 'Integer', 'Double', 'Boolean', 'Big Number', 'Null'])

function switchModes(reply: Reply, asked: Asked, failed: boolean, state: State): void {
  const { role } = asked
  if (failed || reply.value === 'QUEUED') return
  if (role === 'monitor') state.monitoring = true
  else if (role === 'hello') state.version = reply.type === 'Map' ? '3' : '2'
  else if (role === 'psync' && typeof reply.value === 'string') {
    if (reply.value.startsWith('FULLRESYNC')) state.feed = 'snapshot'
    else if (reply.value.startsWith('CONTINUE')) state.feed = 'stream'
  } else if (role === 'reset') {
    state.monitoring = false
    state.channels = 0
    state.patterns = 0
    state.surplus = null
    state.version = '2'
  }
}

// ── messages of channels ────────────────────────────────────────────────────────────────────────────────────────────

const MESSAGES = new Set(['message', 'pmessage', 'smessage'])
const CONFIRMATIONS = new Set(['subscribe', 'unsubscribe', 'psubscribe', 'punsubscribe', 'ssubscribe', 'sunsubscribe'])

/** RESP2 has no type of its own for what was not asked for. */
function isPubSub(reply: Reply): boolean {
  if (reply.count < 3 || reply.count > 4) return false
  const word = reply.value[0]
  if (typeof word !== 'string') return false
  return reply.count === (word === 'pmessage' ? 4 : 3) && (MESSAGES.has(word) || CONFIRMATIONS.has(word))
}

/** Whether a push, or an array that looks like one, is what `asked` waits for. */
function isAnswer(value: JsonValue, type: string, asked: Asked | undefined, state: State): boolean {
  const word = value[0]
  if (asked === undefined) return false
  if (CONFIRMATIONS.has(word) && asked.word === word && state.surplus?.word !== word) return true
  if (type === 'Push') return false
  // Who has subscribed in RESP2 may not send other commands: this is the answer to LRANGE or the like.
  return asked.role !== 'confirmed' && asked.role !== 'idle' && asked.role !== 'reset'
}

/** Takes note of a first confirmation, and of how many will follow. */
function confirm(value: JsonValue, asked: Asked, state: State): void {
  if (asked.role !== 'confirmed') return
  count(value, state)
  // Without channels UNSUBSCRIBE means all: one confirmation for each that is left.
  const left = asked.channels > 0 ? asked.channels - 1 : asked.word === 'punsubscribe' ? state.patterns : state.channels
  state.surplus = left > 0 ? { word: asked.word, count: left } : null
}

/** The number in a confirmation is that of channels and patterns together; shards are counted apart and not here. */
function count(value: JsonValue, state: State): void {
  const [word, , total] = value
  if (typeof total !== 'number') return
  if (word === 'subscribe' || word === 'unsubscribe') state.channels = Math.max(0, total - state.patterns)
  else if (word === 'psubscribe' || word === 'punsubscribe') state.patterns = Math.max(0, total - state.channels)
}

function push(reply: Reply, type: string, ctx: Context<State>): Message {
  const { state } = ctx
  const { value } = reply
  const word = typeof value[0] === 'string' ? value[0] : ''
  if (CONFIRMATIONS.has(word)) {
    count(value, state)
    if (state.surplus?.word === word)
      state.surplus = state.surplus.count > 1 ? { word, count: state.surplus.count - 1 } : null
  }
  const pattern = word === 'pmessage' ? 1 : 0
  const isInvalidation = word === 'invalidate'
  const isKnown = MESSAGES.has(word) || CONFIRMATIONS.has(word)
  const rest = value.slice(1)
  const body: Json = {
    type,
    command: word,
    key: isKnown ? (value[1 + pattern] ?? null) : isInvalidation ? (value[1]?.[0] ?? null) : null,
    value: isKnown ? (value[2 + pattern] ?? null) : rest.length > 1 ? rest : (rest[0] ?? null),
    keyword: null,
  }
  if (pattern > 0) body.pattern = value[1]
  if (reply.attributes !== null) body.attributes = reply.attributes
  if (ctx.keep === 0) body.value = null
  return event(body, state)
}

function event(body: Json, state: State): Message {
  return state.version === '3' ? { kind: 'event', body, version: '3' } : { kind: 'event', body }
}

// ── MONITOR ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** `1795221575.558031 [0 10.20.0.2:33375] "BLPOP" "queue" "2"` */
const MONITOR_LINE = /^(\d{1,12}\.\d{6}) \[(\d+) ([^\]]+(?:\](?=:)[^\]]*)?)\] (?=")/

function monitorLine(value: JsonValue, ctx: Context<State>): Message | null {
  const line = typeof value === 'string' ? value : value.text
  if (typeof line !== 'string') return null
  const match = MONITOR_LINE.exec(line)
  if (match === null) return null
  const call = new Call(ctx.keep)
  const bytes = Buffer.from(line)
  const start = Buffer.byteLength(match[0])
  // The end of a long line was not kept: its last argument is cut within its quotes.
  const isSplit = call.readLine(bytes, start, bytes.length) ?? call.readLine(bytes, start, bytes.lastIndexOf('" "') + 1)
  const body: Json = isSplit
    ? call.body('Monitor')
    : { type: 'Monitor', command: '', key: null, value: null, keyword: null, args: null }
  body.time = match[1]!
  body.database = Number(match[2])
  body.client = match[3]!
  return event(body, ctx.state)
}

// ── replication ─────────────────────────────────────────────────────────────────────────────────────────────────────

function readSnapshot(at: Cursor, state: State, asked: Asked | undefined, snapshot: Snapshot): Message {
  snapshot.read(at)
  state.feed = 'stream'
  const body: Json = { type: 'RDB', command: null, key: null, value: null, keyword: null, size: snapshot.size }
  return asked?.role === 'sync' ? { kind: 'response', body } : { kind: 'event', body }
}

/** What the master has executed, for its replicas to do likewise. */
function readReplicated(at: Cursor, call: Call): Message | null {
  if (at.progress === null && at.u8() !== STAR) at.fail('a command of the replication stream')
  return call.read(at) ? { kind: 'event', body: call.body('Replicated') } : null
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  return from === 'client' ? isCall(at, ctx.hinted) : isReply(at, ctx.hinted)
}

function isCall(at: Cursor, hinted: boolean): boolean {
  if (at.peek() !== STAR) return hinted && isTyped(at)
  at.skip(1)
  if (number(at) <= 0) return hinted
  if (at.u8() !== DOLLAR) return false
  if (hinted) return true
  const length = number(at)
  if (length < 1 || length > MAX_NAME) return false
  const start = at.position
  at.skip(length)
  if (!looksLikeName(at.bytes, start, at.position) || at.u16() !== 0x0d0a) return false
  return findCommand(at.bytes, start, start + length) !== undefined
}

/** A known command and the end of its line. */
function isTyped(at: Cursor): boolean {
  const start = at.position
  let byte = at.u8()
  while (byte !== 32 && byte !== CR && byte !== LF) {
    if (at.position - start > MAX_NAME) return false
    byte = at.u8()
  }
  const end = at.position - 1
  if (!looksLikeName(at.bytes, start, end) || findCommand(at.bytes, start, end) === undefined) return false
  for (; byte !== LF; byte = at.u8()) if (!isTypable(byte)) return false
  return !HTTP.test(latin1(at.bytes, start, at.position))
}

/** Also HTTP has a GET. */
const HTTP = / HTTP\/\d\.\d\r?\n$/

function isTypable(byte: number): boolean {
  return byte >= 32 || byte === CR || byte === 9
}

/** Errors that no other protocol begins with; POP3 says -ERR, too. */
const ERRORS = new Set([
  'ASK',
  'BUSYGROUP',
  'BUSYKEY',
  'CLUSTERDOWN',
  'CROSSSLOT',
  'EXECABORT',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'MOVED',
  'NOAUTH',
  'NOGROUP',
  'NOPERM',
  'NOPROTO',
  'NOREPLICAS',
  'NOSCRIPT',
  'NOTBUSY',
  'OOM',
  'READONLY',
  'TRYAGAIN',
  'UNKILLABLE',
  'WRONGPASS',
  'WRONGTYPE',
])
const SIMPLE = new Set(['PONG', 'QUEUED', 'FULLRESYNC', 'CONTINUE'])
/** Longer ones prove nothing that a shorter one does not. */
const MAX_PROBED_STRING = 4096
const MAX_PROBED_LINE = 512

function isReply(at: Cursor, hinted: boolean): boolean {
  const code = at.u8()
  switch (code) {
    case 43: // +
    case 45: // -
      return isLine(at, code, hinted)
    case 36: // $
      return isString(at, hinted)
    case 42: // *
    case 37: // %
    case 126: // ~
    case 62: // >
      return isAggregate(at, hinted)
    case 58: // :
      return isNumber(at)
    case 95: // _
      return at.u16() === 0x0d0a && hinted
    case 35: // #
      return ((code: number) => code === 116 || code === 102)(at.u8()) && at.u16() === 0x0d0a && hinted
    default:
      return false
  }
}

function isLine(at: Cursor, code: number, hinted: boolean): boolean {
  const start = at.position
  const end = at.lineEnd(MAX_PROBED_LINE)
  if (end === start || at.bytes[end - 1] !== CR) return false
  const line = latin1(at.bytes, start, end - 1)
  if (MONITOR_LINE.test(line)) return true
  const word = line.split(' ', 1)[0]!
  if (code === 43 ? SIMPLE.has(word) : ERRORS.has(word)) return true
  return hinted && (code === 43 ? line === 'OK' : /^[A-Z]+$/.test(word))
}

function isString(at: Cursor, hinted: boolean): boolean {
  const length = number(at)
  if (length < 0) return hinted
  if (length > MAX_PROBED_STRING) return hinted
  at.skip(length)
  return at.u16() === 0x0d0a
}

/** The first element tells. */
function isAggregate(at: Cursor, hinted: boolean): boolean {
  const count = number(at)
  if (count <= 0) return hinted
  switch (at.u8()) {
    case 36:
      return isString(at, hinted)
    case 58:
      return isNumber(at)
    case 42:
    case 37:
    case 126:
      return number(at) >= 0
    case 43:
      return at.lineEnd(MAX_PROBED_LINE) > at.position && hinted
    default:
      return false
  }
}

function isNumber(at: Cursor): boolean {
  let byte = at.u8()
  if (byte === 45) byte = at.u8()
  let digits = 0
  for (; byte >= 48 && byte <= 57; byte = at.u8()) if (++digits > 19) return false
  return digits > 0 && byte === CR && at.u8() === LF
}

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const told = request ?? event
  return {
    method: told?.command ?? (event === null ? '' : event.type),
    summary: shown(told?.key) || told?.keyword || '',
    status: response === null ? '' : status(response),
  }
}

function status(response: Json): string {
  if (response.type === 'Simple String' && typeof response.value === 'string') return response.value.split(' ', 1)[0]!
  const failed = response.type === 'Error' || response.type === 'Bulk Error'
  return failed ? (response.keyword ?? 'Error') : response.type
}

function shown(key: JsonValue): string {
  if (typeof key === 'string') return key
  return key?.text ?? key?.base64 ?? ''
}
