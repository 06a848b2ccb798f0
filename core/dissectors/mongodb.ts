/**
 * MongoDB's wire protocol: OP_MSG and all opcodes before it, plain and compressed.
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 *
 *   client   length(4) request-id(4)=7 0(4) OP_MSG(4) flags(4) 0 { find: "orders", $db: "shop" }
 *   server   length(4) request-id(4) response-to(4)=7 OP_MSG(4) flags(4) 0 { cursor: { firstBatch: […] }, ok: 1 }
 */
import { type Cursor, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message, Side, Summary } from '../dissector.ts'
import type { Json } from '../item.ts'
import { constant, type JsonWriter } from '../json-writer.ts'
import {
  BsonWriter,
  Fields,
  firstDocument,
  isArray,
  isDocument,
  Kept,
  numberOf,
  textOf,
  UNKNOWN,
} from './mongodb/bson.ts'
import { collectionOf, ERROR_NAMES } from './mongodb/commands.ts'
import { Intake } from './mongodb/intake.ts'
import {
  type Content,
  HEADER_SIZE,
  type Header,
  looksLike,
  MAX_LENGTH,
  MORE_TO_COME,
  OP_COMPRESSED,
  OP_DELETE,
  OP_GET_MORE,
  OP_INSERT,
  OP_KILL_CURSORS,
  OP_MSG,
  OP_QUERY,
  OP_REPLY,
  OP_UPDATE,
  OPCODES,
  type Opened,
  openMessage,
} from './mongodb/message.ts'
import { type Secrets, secretsOfCommand } from './mongodb/secrets.ts'

export const dissector: Dissector<State> = {
  name: 'mongodb',
  title: 'MongoDB Wire Protocol',
  abbr: 'MONGO',
  version: '1',
  color: '#13aa52',
  reference: 'https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/',
  transports: ['tcp'],
  ports: [27017, 27018, 27019],
  priority: 20,
  keyed: true,
  probe,
  open: () => ({
    streams: new Map(),
    exhausting: new Set(),
    unwanted: new Set(),
    queries: new Set(),
    getMores: new Set(),
  }),
  read,
  summarize,
}

/** What an item says about a request. */
export interface CommandBody extends Json {
  /** `OP_MSG`; what OP_COMPRESSED wraps. */
  opcode: string
  requestId: number
  /** `find`, also for OP_QUERY; null: it could not be decompressed. */
  command: string | null
  database: string | null
  collection: string | null
  /** Names of the flags that are set: `moreToCome`. */
  flags: string[]
  /** It came in OP_COMPRESSED: `zlib`. */
  compressor?: string
  /** getMore and killCursors of old: beyond 2^53 a decimal string. */
  cursorId?: number | string
  /**
   * The command as relaxed Extended JSON, with documents that it sent beside it at their place; of older opcodes, the
   * same under the names of the command. null when bodies are not wanted.
   */
  body: Json | null
  /** Not all of the body is there. */
  truncated?: true
}

/** What an item says about an answer. */
export interface ReplyBody extends Json {
  opcode: string
  requestId: number
  responseTo: number
  /** Also of a write of which a part failed. null: not known. */
  success: boolean | null
  errorCode: number | null
  /** `DuplicateKey`. */
  errorName: string | null
  errorMessage: string | null
  /** 0: there is no more. null: no cursor in the answer. */
  cursorId: number | string | null
  flags: string[]
  compressor?: string
  body: Json | null
  truncated?: true
}

export interface State {
  /** Answers of which more follow say that they respond to the one before: the id of the last one, and of the request. */
  streams: Map<number, number>
  /** Queries of old that are answered until the cursor is at its end. */
  exhausting: Set<number>
  /** Requests that forbade an answer, which not every server heeds. */
  unwanted: Set<number>
  /** OP_QUERY and OP_GET_MORE that wait for an answer: some drivers give both the same id. */
  queries: Set<number>
  getMores: Set<number>
}

/** A connection has one stream at a time, and few writes under way; those that were given up must not add up. */
const MAX_REMEMBERED = 64
/** A longer message is taken in as it comes. */
const LONG = 16_384
/** What is kept in any case: the names in a command, and what its answer says. */
const LEAST_KEPT = 16_384
/** A longer compressed message is not decompressed. */
const MAX_COMPRESSED = 4 << 20

// ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function read(at: Cursor, ctx: Context<State>): Message {
  return message(openMessage(readMessage(at, ctx)), ctx)
}

function readMessage(at: Cursor, ctx: Context<State>): Kept {
  if (at.progress === null) {
    const { position } = at
    const header = readHeader(at)
    if (header.length <= LONG || at.remaining >= header.length - HEADER_SIZE) {
      at.skip(header.length - HEADER_SIZE)
      return new Kept(at.bytes.subarray(position, at.position), header.length)
    }
    at.position = position
    const head = header.opcode === OP_COMPRESSED ? MAX_COMPRESSED : Math.max(ctx.keep, LEAST_KEPT)
    return takeIn(at, new Intake(header.length, head))
  }
  return takeIn(at, at.progress as Intake)
}

function takeIn(at: Cursor, intake: Intake): Kept {
  intake.take(at)
  if (intake.left > 0) {
    at.commit(intake, intake.weight)
    at.need(1)
  }
  return intake.kept()
}

/** Fails as early as it can: who probes must not wait for more of what is another protocol. */
function readHeader(at: Cursor): Header {
  const length = at.u32le()
  if (!isLength(length)) at.fail(`a message, found ${length} bytes`)
  const [requestId, responseTo, opcode] = [at.u32le() | 0, at.u32le() | 0, at.u32le()]
  if (!OPCODES.has(opcode) && opcode !== OP_COMPRESSED) at.fail(`an opcode, found ${opcode}`)
  return { length, requestId, responseTo, opcode }
}

function isLength(length: number): boolean {
  return length >= HEADER_SIZE && length <= MAX_LENGTH
}

function message(opened: Opened, ctx: Context<State>): Message {
  const { sender } = OPCODES.get(opened.header.opcode)!
  const { from } = ctx
  if (sender !== 'both' && sender !== from)
    throw new Malformed(`expected an opcode of the ${from}, found ${opened.header.opcode}`)
  return from === 'client' ? request(opened, ctx) : response(opened, ctx)
}

const OPCODE = constant('{"opcode":"')
const REQUEST_ID = constant('","requestId":')
const RESPONSE_TO = constant(',"responseTo":')
const COMMAND = constant(',"command":')
const DATABASE = constant(',"database":')
const COLLECTION = constant(',"collection":')
const SUCCESS = constant(',"success":true,"errorCode":null,"errorName":null,"errorMessage":null')
const OUTCOME = constant(',"success":')
const ERROR_CODE = constant(',"errorCode":')
const ERROR_NAME = constant(',"errorName":')
const ERROR_MESSAGE = constant(',"errorMessage":')
const CURSOR_ID = constant(',"cursorId":')
const NO_FLAGS = constant(',"flags":[]')
const FLAGS = constant(',"flags":')
const COMPRESSOR = constant(',"compressor":')
const BODY = constant(',"body":')
const NULL = constant('null')
const NO_DOCUMENT = constant('{}')
const TRUNCATED = constant(',"truncated":true')

function writeHead(out: JsonWriter, opcode: string, requestId: number): void {
  out.raw(OPCODE)
  out.ascii(opcode)
  out.raw(REQUEST_ID)
  out.integer(requestId)
}

function writeText(out: JsonWriter, name: Uint8Array, text: string | null): void {
  out.raw(name)
  if (text === null) out.raw(NULL)
  else out.value(text)
}

function writeValue(out: JsonWriter, name: Uint8Array, value: number | string | boolean | null): void {
  out.raw(name)
  if (typeof value === 'number') out.integer(value)
  else out.value(value)
}

/** Names of the bits that are set. */
function writeFlags(out: JsonWriter, opcode: number, flags: number): void {
  if (flags === 0) {
    out.raw(NO_FLAGS)
    return
  }
  const names = Object.entries(OPCODES.get(opcode)!.flags)
  out.raw(FLAGS)
  out.value(names.flatMap(([bit, name]) => ((flags >>> Number(bit)) & 1 ? [name] : [])))
}

// ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a request is about. */
interface Subject {
  command: string | null
  database: string | null
  collection: string | null
  /** Where the command is, within a message of old perhaps in another document. */
  document: number
}

const EXHAUST = 0x40

function request({ header, compressor, content }: Opened, ctx: Context<State>): Message {
  const { state, keep } = ctx
  const { opcode, requestId } = header
  const { name, isUnanswered } = OPCODES.get(opcode)!
  const subject = content === null ? NOBODY_KNOWS : subjectOf(opcode, content)
  const flags = content?.parts.flags ?? 0
  const { out } = ctx
  const start = out.length
  writeHead(out, name, requestId)
  writeText(out, COMMAND, subject.command)
  writeText(out, DATABASE, subject.database)
  writeText(out, COLLECTION, subject.collection)
  writeFlags(out, opcode, flags)
  if (compressor !== null) writeText(out, COMPRESSOR, compressor)
  if (opcode === OP_GET_MORE && content !== null) writeValue(out, CURSOR_ID, content.parts.cursors[0]!)
  out.raw(BODY)
  if (content === null || keep === 0 || subject.command === null) out.raw(NULL)
  else {
    const writer = new BsonWriter(content.kept, out, keep)
    BODIES[opcode]!(writer, subject, content, out)
    if (writer.truncated) out.raw(TRUNCATED)
  }
  out.byte(125)
  const body = out.since(start)
  const message: Message = { kind: 'request', key: requestId, body }
  if (isUnanswered === true) message.unanswered = true
  if (opcode === OP_MSG && (flags & MORE_TO_COME) !== 0) {
    message.unanswered = true
    remember(state.unwanted, requestId)
  }
  if (opcode === OP_QUERY) remember((flags & EXHAUST) === 0 ? state.queries : state.exhausting, requestId)
  if (opcode === OP_GET_MORE) {
    remember(state.getMores, requestId)
    message.key = keyOfMore(requestId)
  }
  return message
}

function remember(ids: Set<number>, id: number): void {
  if (ids.size >= MAX_REMEMBERED) ids.delete(ids.values().next().value!)
  ids.add(id)
}

const NOBODY_KNOWS: Subject = { command: null, database: null, collection: null, document: UNKNOWN }

/** Of opcodes that are commands of their own. */
const COMMANDS: { readonly [opcode: number]: string } = {
  [OP_QUERY]: 'find',
  [OP_INSERT]: 'insert',
  [OP_UPDATE]: 'update',
  [OP_DELETE]: 'delete',
  [OP_GET_MORE]: 'getMore',
  [OP_KILL_CURSORS]: 'killCursors',
}

function subjectOf(opcode: number, { kept, parts }: Content): Subject {
  const { namespace, document } = parts
  if (opcode === OP_MSG) return subjectOfCommand(kept, document, null)
  if (namespace === null) return { command: COMMANDS[opcode]!, database: null, collection: null, document }
  const dot = namespace.indexOf('.')
  if (dot < 0) return { command: COMMANDS[opcode]!, database: namespace, collection: null, document }
  const [database, collection] = [namespace.slice(0, dot), namespace.slice(dot + 1)]
  if (opcode === OP_QUERY && collection.startsWith('$cmd')) return subjectOfCommand(kept, document, database)
  return { command: COMMANDS[opcode]!, database, collection, document }
}

/** Beside options, the command of old is within a field. */
const WITHIN: ReadonlySet<string> = new Set(['$query', 'query'])

function subjectOfCommand(kept: Kept, document: number, known: string | null): Subject {
  if (document === UNKNOWN) return NOBODY_KNOWS
  const fields = new Fields(kept, document)
  const { first } = fields
  if (first === null) return NOBODY_KNOWS
  if (known !== null && WITHIN.has(first.name) && isDocument(first)) return subjectOfCommand(kept, first.at, known)
  const database = known ?? textOf(kept, fields.get('$db'))
  const collection = collectionOf(first.name, textOf(kept, first), textOf(kept, fields.get('collection')))
  return { command: first.name, database, collection, document }
}

type BodyOf = (writer: BsonWriter, subject: Subject, content: Content, out: JsonWriter) => void

/** The command of each opcode, as OP_MSG would have it. */
const BODIES: { readonly [opcode: number]: BodyOf } = {
  [OP_MSG]: (writer, { command, document }, { parts }) => {
    writer.document(document, secretsOfCommand(command!), parts.sequences)
  },
  [OP_QUERY]: (writer, { command, collection, document }, { parts }, out) => {
    if (document !== parts.document || collection === null || command !== 'find') {
      writer.document(document, secretsOfCommand(command!), [])
      return
    }
    out.ascii('{"find":')
    out.value(collection)
    out.ascii(',"filter":')
    writer.document(document, null, [])
    for (const { start } of parts.sequences) {
      out.ascii(',"projection":')
      writer.document(start, null, [])
    }
    out.ascii(`,"skip":${parts.numbers.skip},"limit":${parts.numbers.limit}}`)
  },
  [OP_INSERT]: (writer, { collection }, { parts }, out) => {
    out.ascii('{"insert":')
    out.value(collection)
    writer.sequences(parts.sequences)
    out.byte(125)
  },
  [OP_UPDATE]: (writer, { collection }, { kept, parts }, out) => {
    out.ascii('{"update":')
    out.value(collection)
    out.ascii(',"updates":[{"q":')
    const next = writer.document(parts.sequences[0]!.start, null, [])
    if (next !== UNKNOWN && next < kept.end) {
      out.ascii(',"u":')
      writer.document(next, null, [])
    }
    out.ascii('}]}')
  },
  [OP_DELETE]: (writer, { collection }, { parts }, out) => {
    out.ascii('{"delete":')
    out.value(collection)
    out.ascii(',"deletes":[{"q":')
    writer.document(parts.sequences[0]!.start, null, [])
    out.ascii(`,"limit":${parts.flags & 1}}]}`)
  },
  [OP_GET_MORE]: (_writer, { collection }, { parts }, out) =>
    out.value({ getMore: parts.cursors[0], collection, batchSize: parts.numbers.batchSize }),
  [OP_KILL_CURSORS]: (_writer, _subject, { parts }, out) => out.value({ cursors: parts.cursors }),
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function response({ header, compressor, content }: Opened, ctx: Context<State>): Message {
  const { state, keep } = ctx
  const { opcode, requestId, responseTo } = header
  const outcome = content === null ? NOTHING_KNOWN : outcomeOf(opcode, content)
  const flags = content?.parts.flags ?? 0
  const { success, cursorId } = outcome
  const { out } = ctx
  const start = out.length
  writeHead(out, OPCODES.get(opcode)!.name, requestId)
  writeValue(out, RESPONSE_TO, responseTo)
  if (success === true) out.raw(SUCCESS)
  else {
    writeValue(out, OUTCOME, success)
    writeValue(out, ERROR_CODE, outcome.errorCode)
    writeText(out, ERROR_NAME, outcome.errorName)
    writeText(out, ERROR_MESSAGE, outcome.errorMessage)
  }
  writeValue(out, CURSOR_ID, cursorId)
  writeFlags(out, opcode, flags)
  if (compressor !== null) writeText(out, COMPRESSOR, compressor)
  out.raw(BODY)
  if (content === null || keep === 0) out.raw(NULL)
  else writeAnswer(out, opcode, content, outcome, keep)
  out.byte(125)
  const body = out.since(start)
  if (state.unwanted.delete(responseTo)) return { kind: 'event', body }
  const id = state.streams.get(responseTo) ?? responseTo
  const isMore = opcode === OP_REPLY && isAnswerToMore(id, content, state)
  const message: Message = { kind: 'response', key: isMore ? keyOfMore(id) : id, body }
  if (success === false) message.failed = true
  state.streams.delete(responseTo)
  const goesOn = opcode === OP_MSG ? (flags & MORE_TO_COME) !== 0 : state.exhausting.has(id) && !isZero(cursorId)
  if (goesOn && state.streams.size < MAX_REMEMBERED) {
    message.more = true
    state.streams.set(requestId, id)
  } else state.exhausting.delete(id)
  return message
}

function writeAnswer(out: JsonWriter, opcode: number, content: Content, outcome: Outcome, keep: number): void {
  const { kept, parts } = content
  const writer = new BsonWriter(kept, out, keep)
  if (parts.document === UNKNOWN) out.raw(NO_DOCUMENT)
  else if (opcode === OP_MSG || outcome.isCommand)
    writer.document(parts.document, outcome.secrets, opcode === OP_MSG ? parts.sequences : [])
  else {
    out.ascii(`{"startingFrom":${parts.numbers.startingFrom}`)
    writer.sequences(parts.sequences)
    out.byte(125)
  }
  if (writer.truncated) out.raw(TRUNCATED)
}

function keyOfMore(requestId: number): string {
  return `${requestId} more`
}

/** Only a cursor that goes on does not start from 0, and one that has found nothing yet starts from there again. */
function isAnswerToMore(id: number, content: Content | null, state: State): boolean {
  if (state.exhausting.has(id)) return false
  const goesOn = Number(content?.parts.numbers.startingFrom ?? 0) > 0
  const isMore = goesOn || (state.getMores.has(id) && !state.queries.has(id))
  if (isMore) state.getMores.delete(id)
  else state.queries.delete(id)
  return isMore
}

function isZero(cursorId: number | string | null): boolean {
  return cursorId === 0 || cursorId === null
}

interface Outcome {
  success: boolean | null
  errorCode: number | null
  errorName: string | null
  errorMessage: string | null
  cursorId: number | string | null
  /** One document that says how it went, not those of a query. */
  isCommand: boolean
  secrets: Secrets
}

const NOTHING_KNOWN: Outcome = {
  success: null,
  errorCode: null,
  errorName: null,
  errorMessage: null,
  cursorId: null,
  isCommand: false,
  secrets: 'aside',
}
const QUERY_FAILED = 3

function outcomeOf(opcode: number, { kept, parts }: Content): Outcome {
  const { document, numbers } = parts
  const fields = document === UNKNOWN ? null : new Fields(kept, document)
  const ok = numberOf(kept, fields?.get('ok'))
  if (opcode === OP_REPLY && (ok === null || numbers.numberReturned !== 1)) {
    const cursorId = numbers.cursorId!
    if ((parts.flags & QUERY_FAILED) === 0) return { ...NOTHING_KNOWN, success: true, cursorId }
    return { ...NOTHING_KNOWN, success: false, ...errorOf(kept, fields), cursorId, isCommand: true }
  }
  if (fields === null) return NOTHING_KNOWN
  const cursor = fields.get('cursor')
  const cursorId = isDocument(cursor) ? numberOf(kept, new Fields(kept, cursor.at).get('id')) : null
  const cause = causeOf(kept, fields, ok)
  const error = cause === null ? null : errorOf(kept, cause)
  const success = ok === null ? null : cause === null
  return { ...NOTHING_KNOWN, success, ...error, cursorId, isCommand: true, secrets: secretsOf(fields) }
}

/** Only a conversation to authenticate has a number, and only getnonce answers with a nonce first. */
function secretsOf(fields: Fields): Secrets {
  return fields.get('conversationId') !== undefined || fields.first?.name === 'nonce' ? 'authentication' : 'aside'
}

/** The document that tells of an error: the answer itself, or one within it. null: all is well. */
function causeOf(kept: Kept, fields: Fields, ok: number | string | null): Fields | null {
  if (ok !== null && ok !== 1) return fields
  const errors = fields.get('writeErrors')
  const first = isArray(errors) ? firstDocument(kept, errors.at) : UNKNOWN
  if (first !== UNKNOWN) return new Fields(kept, first)
  const concern = fields.get('writeConcernError')
  if (isDocument(concern)) return new Fields(kept, concern.at)
  // bulkWrite counts them; getLastError has a text, or null.
  const isFailed = Number(numberOf(kept, fields.get('nErrors')) ?? 0) > 0 || textOf(kept, fields.get('err')) !== null
  return isFailed ? fields : null
}

type ErrorFields = Pick<Outcome, 'errorCode' | 'errorName' | 'errorMessage'>

function errorOf(kept: Kept, fields: Fields | null): ErrorFields {
  const code = numberOf(kept, fields?.get('code'))
  const errorCode = typeof code === 'number' ? code : null
  const known = errorCode === null ? null : (ERROR_NAMES[errorCode] ?? null)
  const [errmsg, old, last] = [fields?.get('errmsg'), fields?.get('$err'), fields?.get('err')]
  return {
    errorCode,
    errorName: textOf(kept, fields?.get('codeName')) ?? known,
    errorMessage: textOf(kept, errmsg) ?? textOf(kept, old) ?? textOf(kept, last),
  }
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

function probe(at: Cursor, from: Side): boolean | 'more' {
  // Without an exception: most of what is asked about is another protocol.
  const { position, remaining } = at
  if (!isLength(at.u32le())) return false
  if (remaining < HEADER_SIZE) return 'more'
  at.position = position
  const header = readHeader(at)
  const sender = OPCODES.get(header.opcode)?.sender ?? 'both'
  if (sender !== 'both' && sender !== from) return false
  // Some clients have -1 in the field that they do not use.
  const isAnswer = header.responseTo !== 0 && header.responseTo !== -1
  return isAnswer === (from === 'server') && looksLike(at, header)
}

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const answer = response ?? event
  return {
    method: request === null ? '' : (request.command ?? request.opcode),
    summary: [request?.database, request?.collection].filter(name => name != null).join('.'),
    status: answer === null ? '' : status(answer),
  }
}

function status({ success, errorName, errorCode }: Json): string {
  if (success === null) return ''
  return success ? 'OK' : String(errorName ?? errorCode ?? 'ERROR')
}
