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
import { constant, type JsonWriter, type Written } from '../json-writer.ts'
import {
  BsonWriter,
  type Field,
  fieldsOf,
  firstField,
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
import { secretsOfCommand, secretsOfReply } from './mongodb/secrets.ts'

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
  if (length < HEADER_SIZE || length > MAX_LENGTH) at.fail(`a message, found ${length} bytes`)
  const [requestId, responseTo, opcode] = [at.u32le() | 0, at.u32le() | 0, at.u32le()]
  if (!OPCODES.has(opcode) && opcode !== OP_COMPRESSED) at.fail(`an opcode, found ${opcode}`)
  return { length, requestId, responseTo, opcode }
}

function message(opened: Opened, ctx: Context<State>): Message {
  const { sender } = OPCODES.get(opened.header.opcode)!
  const { from } = ctx
  if (sender !== 'both' && sender !== from)
    throw new Malformed(`expected an opcode of the ${from}, found ${opened.header.opcode}`)
  return from === 'client' ? request(opened, ctx) : response(opened, ctx)
}

/** Names of the bits that are set. */
function flagNames(opcode: number, flags: number): string[] {
  if (flags === 0) return []
  return Object.entries(OPCODES.get(opcode)!.flags).flatMap(([bit, name]) =>
    (flags >>> Number(bit)) & 1 ? [name] : [],
  )
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
  const head: Json = {
    opcode: name,
    requestId,
    command: subject.command,
    database: subject.database,
    collection: subject.collection,
    flags: flagNames(opcode, flags),
  }
  if (compressor !== null) head.compressor = compressor
  if (opcode === OP_GET_MORE) head.cursorId = content?.parts.cursors[0] ?? null
  const body = write(ctx.out, head, out => {
    if (content === null || keep === 0 || subject.command === null) return false
    const writer = new BsonWriter(content.kept, out, keep)
    out.ascii(',"body":')
    BODIES[opcode]!(writer, subject, content, out)
    return writer.truncated
  })
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
  const [database, collection] = [namespace.slice(0, dot), namespace.slice(dot + 1)]
  if (opcode === OP_QUERY && collection.startsWith('$cmd')) return subjectOfCommand(kept, document, database)
  return { command: COMMANDS[opcode]!, database, collection, document }
}

/** Beside options, the command of old is within a field. */
const WITHIN: ReadonlySet<string> = new Set(['$query', 'query'])

function subjectOfCommand(kept: Kept, document: number, known: string | null): Subject {
  const fields = document === UNKNOWN ? [] : fieldsOf(kept, document)
  const first = fields[0]
  if (first === undefined) return NOBODY_KNOWS
  if (known !== null && WITHIN.has(first.name) && isDocument(first)) return subjectOfCommand(kept, first.at, known)
  const named = byName(fields)
  const database = known ?? textOf(kept, named.get('$db'))
  const collection = collectionOf(first.name, textOf(kept, first), textOf(kept, named.get('collection')))
  return { command: first.name, database, collection, document }
}

function byName(fields: readonly Field[]): Map<string, Field> {
  return new Map(fields.map(field => [field.name, field]))
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

/** The head, and what `rest` has to say; it returns whether something was left out. */
function write(out: JsonWriter, head: Json, rest: (out: JsonWriter) => boolean): Written {
  const start = out.length
  out.value(head)
  // Within the brace that ends the head.
  out.length--
  const before = out.length
  const isTruncated = rest(out)
  if (out.length === before) out.raw(NO_BODY)
  if (isTruncated) out.raw(TRUNCATED)
  out.byte(125)
  return out.since(start)
}

const NO_BODY = constant(',"body":null')
const TRUNCATED = constant(',"truncated":true')

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function response({ header, compressor, content }: Opened, ctx: Context<State>): Message {
  const { state, keep } = ctx
  const { opcode, requestId, responseTo } = header
  const outcome = content === null ? NOTHING_KNOWN : outcomeOf(opcode, content)
  const flags = content?.parts.flags ?? 0
  const { success, errorCode, errorName, errorMessage, cursorId } = outcome
  const head: Json = {
    opcode: OPCODES.get(opcode)!.name,
    requestId,
    responseTo,
    success,
    errorCode,
    errorName,
    errorMessage,
    cursorId,
    flags: flagNames(opcode, flags),
  }
  if (compressor !== null) head.compressor = compressor
  const body = write(ctx.out, head, out => {
    if (content === null || keep === 0) return false
    const { kept, parts } = content
    const writer = new BsonWriter(kept, out, keep)
    out.ascii(',"body":')
    if (parts.document === UNKNOWN) out.raw(NO_DOCUMENT)
    else if (opcode === OP_MSG || outcome.isCommand)
      writer.document(parts.document, secretsOfReply(outcome.names), opcode === OP_MSG ? parts.sequences : [])
    else {
      out.ascii(`{"startingFrom":${parts.numbers.startingFrom}`)
      writer.sequences(parts.sequences)
      out.byte(125)
    }
    return writer.truncated
  })
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

const NO_DOCUMENT = constant('{}')

function isZero(cursorId: number | string | null): boolean {
  return cursorId === 0 || cursorId === null
}

interface Outcome {
  success: boolean | null
  errorCode: number | null
  errorName: string | null
  errorMessage: string | null
  cursorId: number | string | null
  /** Names of the answer's fields. */
  names: readonly string[]
  /** One document that says how it went, not those of a query. */
  isCommand: boolean
}

const NOTHING_KNOWN: Outcome = {
  success: null,
  errorCode: null,
  errorName: null,
  errorMessage: null,
  cursorId: null,
  names: [],
  isCommand: false,
}
const QUERY_FAILED = 3

function outcomeOf(opcode: number, { kept, parts }: Content): Outcome {
  const fields = parts.document === UNKNOWN ? [] : fieldsOf(kept, parts.document)
  const named = byName(fields)
  const names = fields.map(({ name }) => name)
  const ok = numberOf(kept, named.get('ok'))
  const isQuery = opcode === OP_REPLY && (ok === null || parts.numbers.numberReturned !== 1)
  if (isQuery) {
    const cursorId = parts.numbers.cursorId!
    if ((parts.flags & QUERY_FAILED) === 0) return { ...NOTHING_KNOWN, success: true, cursorId, names }
    return { ...NOTHING_KNOWN, success: false, ...errorOf(kept, named), cursorId, names, isCommand: true }
  }
  const cursor = named.get('cursor')
  const cursorId = isDocument(cursor) ? numberOf(kept, byName(fieldsOf(kept, cursor.at)).get('id')) : null
  const cause = causeOf(kept, named, ok)
  const error = cause === null ? null : errorOf(kept, cause)
  return { ...NOTHING_KNOWN, success: ok === null ? null : cause === null, ...error, cursorId, names, isCommand: true }
}

/** The document that tells of an error: the answer itself, or one within it. null: all is well. */
function causeOf(kept: Kept, named: Map<string, Field>, ok: number | string | null): Map<string, Field> | null {
  if (ok !== null && ok !== 1) return named
  const errors = named.get('writeErrors')
  if (isArray(errors)) {
    const first = firstField(kept, errors.at)
    if (isDocument(first)) return byName(fieldsOf(kept, first.at))
  }
  const concern = named.get('writeConcernError')
  if (isDocument(concern)) return byName(fieldsOf(kept, concern.at))
  // bulkWrite counts them; getLastError has a text, or null.
  const isFailed = Number(numberOf(kept, named.get('nErrors')) ?? 0) > 0 || textOf(kept, named.get('err')) !== null
  return isFailed ? named : null
}

type ErrorFields = Pick<Outcome, 'errorCode' | 'errorName' | 'errorMessage'>

function errorOf(kept: Kept, named: Map<string, Field>): ErrorFields {
  const code = numberOf(kept, named.get('code'))
  const errorCode = typeof code === 'number' ? code : null
  const errorName =
    textOf(kept, named.get('codeName')) ?? (errorCode === null ? null : (ERROR_NAMES[errorCode] ?? null))
  const texts = ['errmsg', '$err', 'err'].map(name => textOf(kept, named.get(name)))
  return { errorCode, errorName, errorMessage: texts.find(text => text !== null) ?? null }
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

function probe(at: Cursor, from: Side): boolean {
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
