/**
 * Memcached over TCP: classic commands, meta commands and the binary protocol.
 * https://github.com/memcached/memcached/blob/master/doc/protocol.txt
 *
 *   client   set k 0 0 3 CRLF abc CRLF        get k CRLF                                 mg k v CRLF
 *   server   STORED CRLF                      VALUE k 0 3 CRLF abc CRLF END CRLF         VA 3 CRLF abc CRLF
 *
 * Answers come in the order of commands. Commands that may have no answer (flag q, quiet opcodes) stand alone, and what
 * is answered to them is an event: nobody can tell which of them it is for.
 */
import { type Cursor, indexOf, latin1 } from '../cursor.ts'
import type { Context, Dissector, Message, Side, Summary } from '../dissector.ts'
import type { Json } from '../item.ts'
import { BinaryFrame, isHeader, REQUEST, RESPONSE, readAnswer, readRequest } from './memcached/binary.ts'
import { Answer, BY_NAME, Command, isError, type Kind, readCommand, readData, readWords } from './memcached/text.ts'
import { MAX_SIZE } from './memcached/value.ts'

export const dissector: Dissector<State> = {
  name: 'memcached',
  title: 'Memcached Protocol',
  abbr: 'MEMCACHED',
  version: '1',
  color: '#288c6f',
  reference: 'https://github.com/memcached/memcached/blob/master/doc/protocol.txt',
  transports: ['tcp'],
  ports: [11211],
  priority: 48,
  probe,
  open: () => ({ isQuiet: false, wasQuiet: false, mayAuthenticate: true }),
  lost,
  read: (at, ctx) => (ctx.from === 'client' ? readClient(at, ctx) : readServer(at, ctx)),
  summarize,
}

/** What a command says, in all three forms. Fields that its form does not have are absent. */
export interface CommandBody extends Json {
  /** `set`, `mg`, `getkq`; of an unknown opcode its number: `0x4a`. */
  command: string
  /** The first one. Of meta commands with the flag b in base64, as on the wire. */
  key: string | null
  keyEncoding?: 'base64'
  /** Where there are several. */
  keys?: string[]
  /** What the client notes beside the value. */
  flags?: number
  /** Seconds from now, or since 1970 when more than 30 days; 0: never. */
  exptime?: number
  cas?: number | string
  delta?: number | string
  noreply?: true
  /** Of meta commands: a letter, and what belongs to it. */
  metaFlags?: string[]
  /** Of commands without a key. */
  args?: string[]
  /** As in `Value`; `[REDACTED]` where it authenticates. */
  value?: string | null
}

/** What the server says. */
export interface AnswerBody extends Json {
  /** `HIT`, `MISS`, `STORED`, `OK`, `CLIENT_ERROR`: in the same words for all three forms. */
  status: string
  /** Of a meta command: `HD`, `EN`. */
  code?: string
  /** What was found, each with `key`, `flags`, `cas`, `value`. */
  values?: Json[]
  /** After incr and decr. */
  number?: number | string
  stats?: { [name: string]: string }
  /** What an error says. */
  message?: string
}

/** Modes of a connection. */
export interface State {
  /** Since a flag q, until `mn`: which command an answer is for is not certain. */
  isQuiet: boolean
  /** There was a flag q at some time. */
  wasQuiet: boolean
  /** A `set` at this place may be no `set` but name and password. */
  mayAuthenticate: boolean
}

/** Of a request in frames, for its answer. */
interface Asked {
  code: number
  opaque: number
}

/** Among what was lost may have been a flag q, or a refusal. */
function lost(state: State, from: Side): State {
  return { ...state, isQuiet: state.isQuiet || (from === 'client' && state.wasQuiet), mayAuthenticate: true }
}

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readClient(at: Cursor, ctx: Context<State>): Message {
  const begun = at.progress
  if (begun instanceof BinaryFrame || (begun === null && at.peek() === REQUEST)) return frameOfClient(at, ctx)
  const command = begun instanceof Command ? begun : readCommand(at, ctx.keep)
  const start = at.position
  readData(at, command)
  const { state } = ctx
  const { kind, body } = command
  if (state.mayAuthenticate && kind.name === 'set' && begun === null && isLogin(at.bytes, start, at.position - 2))
    redact(body)
  state.mayAuthenticate = false
  if (kind.answer === 'end of quiet') state.isQuiet = false
  if (command.isQuiet) {
    state.isQuiet = true
    state.wasQuiet = true
  }
  if (state.isQuiet || command.isSilent || kind.name === 'quit') return { kind: 'request', unanswered: true, body }
  return { kind: 'request', body, memo: kind }
}

/** Name and password are short. */
const MAX_LOGIN = 1024
const SPACE = 32

/** `user password`: two words. */
function isLogin(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_LOGIN) return false
  const space = indexOf(bytes, SPACE, start, end)
  return space > start && space < end - 1 && indexOf(bytes, SPACE, space + 1, end) < 0
}

function redact(body: Json): void {
  if (body.value !== null) body.value = '[REDACTED]'
  delete body.encoding
  delete body.truncated
}

function frameOfClient(at: Cursor, { keep }: Context<State>): Message {
  const { body, code, opaque, isQuiet } = readRequest(at, keep)
  if (isQuiet) return { kind: 'request', unanswered: true, version: 'binary', body }
  return { kind: 'request', version: 'binary', body, memo: { code, opaque } satisfies Asked }
}

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readServer(at: Cursor, ctx: Context<State>): Message {
  const begun = at.progress
  const isText = begun === null ? at.peek() !== RESPONSE : begun instanceof Answer
  if (!isText) return frameOfServer(at, ctx)
  const asked = ctx.awaited as Kind | Asked | undefined
  if (asked !== undefined && 'code' in asked) at.fail('a frame')
  const { state } = ctx
  const body = ((begun as Answer | null) ?? new Answer(ctx.keep)).read(at, asked)
  if (isRefusal(body)) state.mayAuthenticate = true
  const isUnasked =
    asked === undefined ? state.isQuiet || body.status === 'LOG' : asked.answer === 'end of quiet' && body.code !== 'MN'
  const message: Message = { kind: isUnasked ? 'event' : 'response', body }
  if (isError(body.status)) message.failed = true
  return message
}

/** The client will try again. */
function isRefusal({ status, message }: Json): boolean {
  return status === 'CLIENT_ERROR' && /^(unauthenticated|authentication failure)/.test(message ?? '')
}

function frameOfServer(at: Cursor, ctx: Context<State>): Message {
  const frame = readAnswer(at, ctx.keep)
  const asked = ctx.awaited as Kind | Asked | undefined
  const { body, isQuiet, isFailure } = frame
  const message: Message = { kind: isQuiet ? 'event' : 'response', version: 'binary', body }
  if (isFailure) message.failed = true
  if (isQuiet || asked === undefined) return message
  if (!('code' in asked) || asked.code !== frame.code || asked.opaque !== frame.opaque) at.fail('the answer in turn')
  return message
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Behind so long a value nobody waits for its CR LF to be sure. */
const MAX_PROBED = 4096
const MAX_PROBED_LINE = 2048
const CR = 13
const LF = 10

/** Whole lines that only memcached says to its clients, or to its server; `hinted` ones others say, too. */
const CERTAIN: Readonly<Record<Side, RegExp>> = {
  client:
    /^(gats? -?\d+( [^ ]+)+|gets( [^ ]+)+|(incr|decr) [^ ]+ \d+( noreply)?|touch [^ ]+ -?\d+( noreply)?|delete [^ ]+ noreply|flush_all( \d+)?( noreply)?|m[gda] [^ ]+( [a-zA-Z][^ ]*)+)$/,
  server: /^(STORED|NOT_STORED|EXISTS|NOT_FOUND|DELETED|TOUCHED|STAT [^ ]+ .*|(CLIENT|SERVER)_ERROR .*)$/,
}
const HINTED: Readonly<Record<Side, RegExp>> = {
  client:
    /^(get( [^ ]+)+|delete [^ ]+( 0)?|version|quit|mn|me [^ ]+( b)?|(stats|verbosity|lru_crawler|slabs|lru|watch|cache_memlimit)( .*)?|m[gda] [^ ]+)$/,
  server: /^(END|OK|RESET|ERROR|VERSION .*|\d{1,20}|(HD|EN|NF|NS|EX|MN)( [a-zA-Z][^ ]*)*|ME [^ ]+ .*)$/,
}
/** Lines with data behind them; the number is its size. */
const STORES: Readonly<Record<Side, RegExp>> = {
  client:
    /^(?:(?:set|add|replace|append|prepend) [^ ]+ \d+ -?\d+ (\d{1,10})|cas [^ ]+ \d+ -?\d+ (\d{1,10}) \d+|ms [^ ]+ (\d{1,10})(?: [a-zA-Z][^ ]*)*)(?: noreply)?$/,
  server: /^(?:VALUE [^ ]+ \d+ (\d{1,10})(?: \d+)?|VA (\d{1,10})(?: [a-zA-Z][^ ]*)*)$/,
}
/** How lines begin, for what has come of a line that is not whole. */
const BEGINNINGS: Readonly<Record<Side, readonly string[]>> = {
  client: [...BY_NAME.keys()],
  server: 'STORED NOT_STORED EXISTS NOT_FOUND DELETED TOUCHED STAT CLIENT_ERROR SERVER_ERROR VALUE VA'.split(' '),
}
const HINTED_BEGINNINGS: Readonly<Record<Side, readonly string[]>> = {
  client: 'lru_crawler slabs lru watch cache_memlimit'.split(' '),
  server: 'END OK RESET ERROR VERSION HD EN NF NS EX MN ME'.split(' '),
}

function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  if (at.peek() >= 0x80) return isHeader(at, from, ctx.midstream)
  const { bytes, position } = at
  const lf = indexOf(bytes, LF, position, Math.min(at.end, position + MAX_PROBED_LINE))
  if (lf < 0) {
    if (!ctx.midstream && isBeginning(latin1(bytes, position, at.end), from, ctx.hinted)) at.lineEnd(MAX_PROBED_LINE)
    return false
  }
  if (lf === position || bytes[lf - 1] !== CR) return false
  const line = latin1(bytes, position, lf - 1)
  const found = STORES[from].exec(line)
  if (found === null) return CERTAIN[from].test(line) || (ctx.hinted && HINTED[from].test(line))
  readWords(at)
  const size = Number(found.slice(1).find(digits => digits !== undefined))
  if (size > MAX_PROBED) return size <= MAX_SIZE
  at.skip(size)
  return at.u16() === 0x0d0a
}

/** Whether a line of memcached may go on so. */
function isBeginning(text: string, from: Side, hinted: boolean): boolean {
  if (text.length > MAX_PROBED_LINE) return false
  const [word] = text.split(' ', 1)
  const isWhole = text.length > word!.length
  const fits = (name: string) => (isWhole ? name === word : name.startsWith(word!.replace('\r', '')))
  if (BEGINNINGS[from].some(fits) || (hinted && HINTED_BEGINNINGS[from].some(fits))) return true
  return hinted && from === 'server' && /^\d{1,20}\r?$/.test(text)
}

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const told = request ?? event ?? response
  return {
    method: told?.command ?? '',
    summary: told?.keys?.join(' ') ?? told?.key ?? told?.args?.join(' ') ?? told?.values?.[0]?.key ?? '',
    status: (response ?? event)?.status ?? '',
  }
}
