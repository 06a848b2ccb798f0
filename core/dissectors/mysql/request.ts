/**
 * What a client of MySQL asks for: the login, and commands. A command begins a new sequence of packets, what belongs to
 * an older one (a file, a proof of identity) goes on counting.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html
 *
 *   command(1) arguments
 */
import { type Cursor, indexOf } from '../../cursor.ts'
import type { Context, Message } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { REDACTED, redactStatement, type SqlValue } from '../../sql.ts'
import {
  BULK_EXECUTE,
  CHANGE_USER,
  CLOSE,
  COMMANDS,
  CONNECT_ATTRIBUTES,
  CONNECT_WITH_DB,
  type Command,
  DEPRECATE_EOF,
  EXECUTE,
  INIT_DB,
  LONG_DATA,
  PLUGIN_AUTH,
  PLUGIN_AUTH_LENENC,
  PREPARE,
  PROTOCOL_41,
  QUERY,
  QUERY_ATTRIBUTES,
  SECURE_CONNECTION,
  SSL,
} from './commands.ts'
import { Intake, lenenc, lenencText, u64le } from './intake.ts'
import {
  type Asked,
  forget,
  forgetAll,
  MAX_REMEMBERED,
  type Parameter,
  type Session,
  type Statement,
} from './session.ts'
import { binaryOf, type Column, type Room, typeOf } from './values.ts'

/** What an item says about a request. */
export interface RequestBody extends Json {
  /** `COM_QUERY`, `COM_STMT_EXECUTE`, ...; `Login` and `SSLRequest` at the start. */
  command: string
  /** Text of the statement, passwords hidden; absent where it was prepared before the capture began. */
  query?: string
  /** Bytes of the statement, where `query` is only its beginning. */
  querySize?: number
  statementId?: number
  /** In the order of the question marks; absent where their number or types are not known. */
  parameters?: SqlValue[]
  /** Of COM_STMT_BULK_EXECUTE: the parameters of each row; null stands for NULL, and `DEFAULT` or `IGNORE` for those. */
  bulk?: SqlValue[][]
  /** Query attributes by name (MySQL 8). */
  attributes?: { [name: string]: SqlValue }
  database?: string
  user?: string
}

/** What is kept of a request in any case: a statement. */
const HEAD = 65_536
/** Rows of a bulk that are told. */
const MAX_BULK = 10_000

export class Request {
  readonly intake = new Intake()

  read(at: Cursor, ctx: Context<Session>): Message | null {
    const { intake } = this
    intake.next(at, this, Math.max(ctx.keep, HEAD), 0)
    const { state } = ctx
    const body = intake.cursor()
    if (intake.sequence === 0) return command(this.intake, body, ctx)
    if ((intake.sequence === 1 || intake.sequence === 2) && state.last === null && isLogin(body))
      return login(intake, body, ctx)
    // A proof of identity belongs to the login; all else is a file, which ends with an empty packet.
    const { last } = state
    if (last === null || last.answer === 'login') return null
    last.infile ??= { bytes: 0, complete: false }
    last.infile.bytes += intake.length
    if (intake.length === 0) last.infile.complete = true
    return null
  }
}

// ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Packets of a semi-synchronous replica: how far it is. */
const SEMISYNC = 0xef

function command(intake: Intake, at: Cursor, ctx: Context<Session>): Message | null {
  const { state } = ctx
  const code = at.u8()
  if (code === SEMISYNC && state.streaming) return null
  const known = COMMANDS.get(code)
  if (known === undefined) at.fail(`a command, found ${code}`)
  const asked = plain(known, intake.lastSequence, state)
  const details = ARGUMENTS[code]?.(at, asked, intake, ctx) ?? {}
  const body: RequestBody = { command: known.name, ...details }
  if (state.database !== null && body.database === undefined) body.database = state.database
  if (state.user !== null && body.user === undefined) body.user = state.user
  state.last = asked
  const message: Message = { kind: 'request', body, memo: asked }
  if (known.answer === 'none') message.unanswered = true
  return message
}

function plain(known: Command, sequence: number, { doubt }: Session): Asked {
  return {
    answer: known.answer,
    sequence,
    binary: known.binary === true,
    query: '',
    statement: null,
    newest: false,
    database: null,
    user: null,
    capabilities: 0,
    infile: null,
    doubt,
  }
}

type Arguments = (at: Cursor, asked: Asked, intake: Intake, ctx: Context<Session>) => Json

const ARGUMENTS: { readonly [code: number]: Arguments | undefined } = {
  [INIT_DB]: (at, asked) => {
    asked.database = at.text(at.remaining)
    return { database: asked.database }
  },
  [QUERY]: (at, asked, intake, ctx) => {
    const details: Json = {}
    if (hasAttributes(at, ctx.state)) {
      const attributes = queryAttributes(at, ctx)
      if (attributes !== null) details.attributes = attributes
    }
    statement(details, at, intake)
    asked.database = USE.exec(details.query)?.[1] ?? null
    return details
  },
  4: at => ({ table: textToNul(at) }),
  5: at => ({ schema: at.text(at.remaining) }),
  6: at => ({ schema: at.text(at.remaining) }),
  12: at => ({ processId: at.u32le() }),
  [CHANGE_USER]: (at, asked) => {
    asked.user = textToNul(at)
    at.skip(at.u8())
    const database = textToNul(at)
    if (database !== '') asked.database = database
    return { user: asked.user, database }
  },
  18: at => {
    const position = at.u32le()
    at.skip(2)
    return { position, serverId: at.u32le(), file: at.text(at.remaining) }
  },
  21: at => ({ serverId: at.u32le() }),
  [PREPARE]: (at, asked, intake, { state }) => {
    const details: Json = {}
    statement(details, at, intake)
    asked.query = details.query
    state.prepared = details.query.slice(0, MAX_REMEMBERED)
    return details
  },
  [EXECUTE]: execute,
  [BULK_EXECUTE]: executeBulk,
  [LONG_DATA]: (at, _asked, intake, { state }) => {
    const statementId = at.u32le()
    const parameter = at.u16le()
    const known = state.statements.get(statementId)
    doubted(state, statementId, null)
    if (known !== undefined && known.long !== null && parameter < known.parameters)
      known.long.set(parameter, (known.long.get(parameter) ?? 0) + intake.length - 7)
    return { statementId, ...query(known), parameter, dataSize: intake.length - 7 }
  },
  [CLOSE]: (at, _asked, _intake, { state }) => {
    const statementId = at.u32le()
    const details = { statementId, ...query(state.statements.get(statementId)) }
    forget(state, statementId)
    return details
  },
  26: (at, _asked, _intake, { state }) => {
    const statementId = at.u32le()
    const known = state.statements.get(statementId)
    if (known !== undefined) known.long = new Map()
    doubted(state, statementId, new Map())
    return { statementId, ...query(known) }
  },
  27: at => ({ option: at.u16le() }),
  28: (at, asked, _intake, { state }) => {
    const statementId = at.u32le()
    asked.statement = state.statements.get(statementId) ?? null
    return { statementId, ...query(asked.statement), maxRows: at.u32le() }
  },
  31: (_at, _asked, _intake, { state }) => {
    forgetAll(state)
    return {}
  },
  30: at => {
    at.skip(2)
    const serverId = at.u32le()
    const file = at.text(at.u32le())
    return { serverId, file, position: u64le(at) }
  },
}

const USE = /^\s*use\s+`?([^`;\s]{1,64})`?\s*;?\s*$/i

function statement(details: Json, at: Cursor, intake: Intake): void {
  const size = intake.length - (at.position - intake.start)
  details.query = redactStatement(at.text(at.remaining))
  if (intake.isCut) details.querySize = size
}

function query(known: Statement | undefined | null): { query?: string } {
  return known ? { query: known.query } : {}
}

/** 0xffffffff: the statement that was prepared last, whose number the client does not know yet (MariaDB). */
const NEWEST = 0xffffffff
const PARAMETERS_COUNTED = 8

/** id(4) flags(1) iterations(4) parameters */
function execute(at: Cursor, asked: Asked, intake: Intake, ctx: Context<Session>): Json {
  const { state } = ctx
  const statementId = at.u32le()
  const flags = at.u8()
  if (at.u32le() !== 1) at.fail('one iteration')
  const known = state.statements.get(statementId) ?? null
  asked.statement = known
  const details: Json = { statementId, ...query(known) }
  asked.newest = statementId === NEWEST
  if (asked.newest && state.prepared !== null) details.query = state.prepared
  doubted(state, statementId, new Map())
  if (known === null) return details
  const isCounted = (flags & PARAMETERS_COUNTED) !== 0
  const count = isCounted ? lenenc(at) : known.parameters
  if (count < known.parameters) at.fail(`${known.parameters} parameters`)
  const parameters = count === 0 ? [] : boundValues(at, count, known, intake, ctx, isCounted)
  known.long = new Map()
  if (parameters !== null && ctx.keep > 0) {
    details.parameters = parameters.slice(0, known.parameters).map(({ value }) => value)
    if (parameters.length > known.parameters) details.attributes = named(parameters.slice(known.parameters))
  }
  return details
}

/** What was sent ahead for a statement that is not known for certain. */
function doubted({ doubt }: Session, id: number, long: Statement['long']): void {
  const statement = doubt?.statements.get(id)
  if (statement !== undefined) statement.long = long
}

interface Bound {
  name: string
  value: SqlValue
}

/**
 * null-bitmap((count + 7) / 8) new(1) (type(1) flags(1) [name])* value*
 * null: not all of them are known.
 */
function boundValues(
  at: Cursor,
  count: number,
  known: Statement,
  intake: Intake,
  ctx: Context<Session>,
  isNamed: boolean,
): Bound[] | null {
  const nulls = at.view((count + 7) >> 3)
  let { types } = known
  if (at.u8() === 1) {
    types = readTypes(at, count, isNamed)
    known.types = types
  }
  const { long } = known
  if (types === null || types.length < count || long === null) return null
  const room: Room = { left: Math.max(ctx.keep, HEAD) }
  const values: Bound[] = []
  for (let i = 0; i < count; i++) {
    const { name } = types[i]!
    const sent = long.get(i)
    if (sent !== undefined) values.push({ name, value: { size: sent } })
    else if ((nulls[i >> 3]! >> (i & 7)) & 1) values.push({ name, value: null })
    else {
      // The rest was not kept.
      if (intake.isCut && at.remaining < 9) return null
      const value = binaryOf(at, column(types[i]!), room)
      if (value === undefined) return null
      values.push({ name, value })
    }
  }
  return values
}

function readTypes(at: Cursor, count: number, isNamed: boolean): Parameter[] {
  const types: Parameter[] = []
  for (let i = 0; i < count; i++) {
    const type = typeOf(at.u8())
    const unsigned = (at.u8() & 0x80) !== 0
    types.push({ type, unsigned, name: isNamed ? lenencText(at) : '' })
  }
  return types
}

function column({ type, unsigned, name }: Parameter): Column {
  return { name, table: '', type, unsigned, decimals: null, binary: false }
}

/** id(4) flags(2) (type(2))* then for each row and parameter: indicator(1) [value] */
function executeBulk(at: Cursor, asked: Asked, intake: Intake, ctx: Context<Session>): Json {
  const { state } = ctx
  const statementId = at.u32le()
  const flags = at.u16le()
  const known = state.statements.get(statementId) ?? null
  asked.statement = known
  const details: Json = { statementId, ...query(known) }
  asked.newest = statementId === NEWEST
  if (asked.newest && state.prepared !== null) details.query = state.prepared
  if (known === null || known.parameters === 0 || ctx.keep === 0) return details
  if (flags & TYPES_SENT) known.types = readTypes(at, known.parameters, false)
  const { types } = known
  if (types === null) return details
  const room: Room = { left: ctx.keep }
  const bulk: SqlValue[][] = []
  while (at.remaining > 0 && bulk.length < MAX_BULK && room.left > 0) {
    if (intake.isCut && at.remaining < HEAD / 2) break
    const row: SqlValue[] = []
    for (const type of types) {
      const indicator = at.u8()
      if (indicator !== 0) {
        row.push(INDICATORS[indicator] ?? null)
        continue
      }
      const value = binaryOf(at, column(type), room)
      if (value === undefined) return details
      row.push(value)
    }
    bulk.push(row)
  }
  details.bulk = bulk
  return details
}

const TYPES_SENT = 128
const INDICATORS: { readonly [indicator: number]: string | null } = { 1: null, 2: 'DEFAULT', 3: 'IGNORE' }

// ── attributes of queries ───────────────────────────────────────────────────────────────────────────────────────────

/** A statement does not begin with a number of attributes and the number one. */
function hasAttributes(at: Cursor, { capabilities }: Session): boolean {
  if (capabilities !== null) return (capabilities & QUERY_ATTRIBUTES) !== 0
  return at.remaining > 1 && at.peek() < 9 && at.peek(1) === 1
}

/** count set-count(1) null-bitmap new(1) (type(1) flags(1) name)* value*; null: there are none. */
function queryAttributes(at: Cursor, ctx: Context<Session>): { [name: string]: SqlValue } | null {
  const count = lenenc(at)
  if (lenenc(at) !== 1) at.fail('one set of attributes')
  if (count <= 0) return null
  const nulls = at.view((count + 7) >> 3)
  if (at.u8() !== 1) at.fail('types of attributes')
  const types = readTypes(at, count, true)
  const room: Room = { left: Math.max(ctx.keep, HEAD) }
  return named(
    types.map((type, i) => {
      if ((nulls[i >> 3]! >> (i & 7)) & 1) return { name: type.name, value: null }
      const value = binaryOf(at, column(type), room)
      return value === undefined ? at.fail(`a type of attributes, found ${type.type}`) : { name: type.name, value }
    }),
  )
}

function named(values: readonly Bound[]): { [name: string]: SqlValue } {
  return Object.fromEntries(values.map(({ name, value }) => [name, value]))
}

// ── the login ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** capabilities(4) largest packet(4) character set(1) filler(23), and no more in a request for TLS. */
const LOGIN_HEAD = 32
/** Of the filler, the last four bytes are MariaDB's. */
const FILLER = 19
/** A login that does not say so is of a client from before MySQL 4.1: capabilities(2) largest packet(3) user NUL */
const OLD_HEAD = 5

export function isLogin(at: Cursor): boolean {
  if (at.remaining < LOGIN_HEAD) return isOldLogin(at)
  const { bytes, position: p } = at
  if (((bytes[p]! | (bytes[p + 1]! << 8)) & PROTOCOL_41) === 0) return isOldLogin(at)
  for (let i = 9; i < 9 + FILLER; i++) if (bytes[p + i] !== 0) return false
  return at.remaining === LOGIN_HEAD || indexOf(bytes, 0, p + LOGIN_HEAD, at.end) >= 0
}

function isOldLogin(at: Cursor): boolean {
  if (at.remaining <= OLD_HEAD || ((at.peek() | (at.peek(1) << 8)) & PROTOCOL_41) !== 0) return false
  const end = indexOf(at.bytes, 0, at.position + OLD_HEAD, at.end)
  if (end < 0) return false
  for (let i = at.position + OLD_HEAD; i < end; i++) if (at.bytes[i]! < 32) return false
  return true
}

function login(intake: Intake, at: Cursor, ctx: Context<Session>): Message {
  const { state } = ctx
  const capabilities = at.peek(1) & (PROTOCOL_41 >> 8) ? at.u32le() : at.u16le()
  if (intake.length === LOGIN_HEAD && capabilities & SSL) {
    return { kind: 'request', body: { command: 'SSLRequest' } satisfies RequestBody, unanswered: true, becomes: 'tls' }
  }
  const body: RequestBody = { command: 'Login' }
  const asked = plain({ name: 'Login', answer: 'login' }, intake.lastSequence, state)
  asked.capabilities = capabilities
  if (capabilities & PROTOCOL_41) {
    at.skip(4)
    body.characterSet = at.u8()
    at.skip(23)
    body.user = textToNul(at)
    if (capabilities & PLUGIN_AUTH_LENENC) at.skip(Math.max(0, lenenc(at)))
    else if (capabilities & SECURE_CONNECTION) at.skip(at.u8())
    else textToNul(at)
    body.password = REDACTED
    const database = capabilities & CONNECT_WITH_DB && at.remaining > 0 ? textToNul(at) : ''
    if (database !== '') body.database = database
    if (capabilities & PLUGIN_AUTH && at.remaining > 0) body.authPlugin = textToNul(at)
    if (capabilities & CONNECT_ATTRIBUTES && at.remaining > 0) body.connectionAttributes = connectionAttributes(at)
  } else {
    at.skip(3)
    body.user = textToNul(at)
    body.password = REDACTED
  }
  asked.user = body.user ?? null
  asked.database = body.database ?? null
  state.capabilities = capabilities & (state.greeting?.capabilities ?? capabilities)
  state.eof = (state.capabilities & DEPRECATE_EOF) === 0
  state.last = asked
  return { kind: 'request', body, memo: asked }
}

/** length (name value)* */
function connectionAttributes(at: Cursor): { [name: string]: string } {
  const pairs = at.within(Math.max(0, lenenc(at)))
  const attributes: [string, string][] = []
  while (pairs.remaining > 0) attributes.push([lenencText(pairs), lenencText(pairs)])
  return Object.fromEntries(attributes)
}

/** Up to a NUL, or to the end where there is none. */
export function textToNul(at: Cursor): string {
  const end = indexOf(at.bytes, 0, at.position, at.end)
  const text = at.text((end < 0 ? at.end : end) - at.position)
  if (end >= 0) at.skip(1)
  return text
}
