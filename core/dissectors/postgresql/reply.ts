/**
 * What PostgreSQL answers to one request: many messages, the last of which depends on what was asked.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 *
 *   RowDescription    T length count(2) (name NUL table(4) column(2) type(4) size(2) modifier(4) format(2))*
 *   DataRow           D length count(2) (length(4) bytes)*
 *   CommandComplete   C length tag NUL
 *   ErrorResponse     E length (code(1) text NUL)* NUL          NoticeResponse  N, the same
 *   ReadyForQuery     Z length status(1)
 */
import type { Cursor } from '../../cursor.ts'
import type { Context, Message } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { binaryValue, REDACTED, redactStatement, type SqlValue, textValue } from '../../sql.ts'
import { formatOf, text } from './exchange.ts'
import { Intake } from './intake.ts'
import { type Asked, type Column, describe, type Formats, forget, forgetAll, type Session, trust } from './session.ts'
import { decodeBinary, typeName } from './values.ts'

/** What one statement gave. */
export interface Result extends Json {
  /** `SELECT 3`, `INSERT 0 1`, `COPY 100`; '' of an empty statement, null where it did not come to its end. */
  commandTag: string | null
  /** Rows affected, copied or sent, as the tag says, else as they were counted; null where there is nothing to count. */
  rowCount: number | null
  /** Absent where no description of them was seen, null where there are none. */
  columns?: readonly Column[] | null
  /** Values in the order of `columns`, as PostgreSQL writes them as text. Absent where their form is not known. */
  rows?: SqlValue[][]
  /** Rows that were not kept. */
  omittedRows?: number
  copy?: Copy
  /** The portal has more rows. */
  suspended?: true
}

export interface Copy extends Json {
  direction: 'in' | 'out' | 'both'
  format: 'text' | 'binary'
  columns: number
  /** CopyData messages, and the bytes in them; absent where they were not all seen. */
  messages?: number
  bytes?: number
  /** The first of what the server sent. */
  data?: SqlValue
}

/** What an item says about an answer. Of several statements in one query, the result of the last one. */
export interface ResponseBody extends Result {
  /** Of all statements, where there are several. */
  results?: Result[]
  error: ServerError | null
  notices?: ServerError[]
  /** Settings that changed, and at the start all that the server reports. */
  settings?: { [name: string]: string }
  transactionStatus?: 'idle' | 'transaction' | 'failed'
  /** The server did nothing: there was an error before, and no Sync since. */
  skipped?: true
  /** Types of the parameters of the statement that was described. */
  parameterTypes?: (string | number)[]
  /** Of the start: how the client had to prove who it is. */
  authentication?: string
  processId?: number
  secretKey?: string
  /** What the server offers where it does not speak the client's version. */
  negotiated?: { version: string; unrecognized: string[] }
  /** Of a FunctionCall. */
  value?: SqlValue
}

/** An error or a notice; the names are those of the documentation (protocol-error-fields). */
export interface ServerError extends Json {
  /** `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, ...; not translated where the server tells it so. */
  severity: string
  /** SQLSTATE: `42P01`. */
  code: string
  message: string
}

export const SERVER_TYPES = 'RSKZTDCEN123tnsIAGHWdcVv'

/** A million rows must not become a million values in memory; the others are counted. */
const MAX_ROWS = 10_000
/** Bytes of memory for one, or for a notification, besides its text; about. */
const ROW_WEIGHT = 64
/** A stored procedure may raise a notice for every row. */
const MAX_NOTICES = 100
/** What a query of very many statements tells of each. */
const MAX_RESULTS = 1000
/** A server reports some fifteen. */
const MAX_SETTINGS = 200

const STATUS: { readonly [status: string]: 'idle' | 'transaction' | 'failed' } = {
  I: 'idle',
  T: 'transaction',
  E: 'failed',
}

const FIELDS: { readonly [code: string]: string } = {
  S: 'localizedSeverity',
  V: 'severity',
  C: 'code',
  M: 'message',
  D: 'detail',
  H: 'hint',
  P: 'position',
  p: 'internalPosition',
  q: 'internalQuery',
  W: 'where',
  s: 'schema',
  t: 'table',
  c: 'column',
  d: 'dataType',
  n: 'constraint',
  F: 'file',
  L: 'line',
  R: 'routine',
}
const NUMBERS = new Set(['position', 'internalPosition', 'line'])

const AUTHENTICATION: { readonly [kind: number]: string } = {
  0: 'ok',
  2: 'kerberos5',
  3: 'password',
  5: 'md5',
  6: 'scm',
  7: 'gss',
  8: 'gss',
  9: 'sspi',
  10: 'sasl',
  11: 'sasl',
  12: 'sasl',
}
const SASL = 10
const PENDING = new Set(['1', '2', '3', 'T'])

export class Reply {
  readonly intake = new Intake()
  private readonly asked: Asked | null
  private readonly keep: number
  private room: number
  /** Bytes of all messages that belong to it. */
  private size = 0
  /** How many of `asked.expects` came. */
  private step = 0
  private complete = false
  private prepares = false
  private columns: readonly Column[] | null | undefined
  private formats: Formats
  private types: number[] | null = null
  private descriptions = 0
  private described: { place: number; columns: readonly Column[] | null; types: number[] | null }[] = []
  private rows: SqlValue[][] = []
  private rowsSeen = 0
  private rowsKept = 0
  private copy: Copy | null = null
  private copied: { bytes: Uint8Array; count: number } | null = null
  private results: Result[] = []
  private error: ServerError | null = null
  private notices: ServerError[] = []
  private settings: Map<string, string> | null = null
  private details: Json = {}
  private status: string | null = null
  private events: Message[] = []

  /** `asked` is null where the request was not seen. */
  constructor(asked: Asked | null, keep: number) {
    this.asked = asked
    this.keep = keep
    this.room = keep
    this.formats = asked === null ? null : asked.kind === 'extended' ? (asked.portal?.formats ?? null) : []
    this.columns = asked?.portal?.columns ?? asked?.portal?.statement?.columns ?? undefined
  }

  /** Reads on to the end of the answer. */
  read(at: Cursor, ctx: Context<Session>): Message[] {
    const { intake, asked } = this
    for (;;) {
      const before = at.position
      intake.next(at, SERVER_TYPES, this.room, this, this.weight)
      const type = String.fromCharCode(intake.type)
      if (type === 'Z' && asked?.kind === 'extended' && !this.complete) {
        if (!asked.batch.failed) at.fail(`${asked.expects[this.step]} before ReadyForQuery`)
        if (asked.synced) this.take(type)
        else at.position = before
        this.details.skipped = true
        return this.told(ctx.state)
      }
      this.size += intake.size
      this.take(type)
      if (type === 'W') return this.told(ctx.state)
      if (this.isEnd(type)) return this.told(ctx.state)
      at.commit(this, this.weight)
    }
  }

  /** What is known when nothing more comes; null: not enough. */
  end(session: Session): Message | null {
    return this.asked?.kind === 'extended' && this.complete ? this.told(session).at(-1)! : null
  }

  bridge(length: number): boolean {
    return this.intake.bridge(length)
  }

  private get weight(): number {
    return this.keep - this.room + (this.rowsKept + this.events.length) * ROW_WEIGHT
  }

  private isEnd(type: string): boolean {
    if (type === 'Z') return true
    const { asked, error } = this
    if (error !== null && (error.severity === 'FATAL' || error.severity === 'PANIC')) return true
    if (asked === null) return false
    if (asked.kind === 'startup' || asked.kind === 'encryption') return error !== null
    return asked.kind === 'extended' && this.complete && !asked.synced
  }

  /** Takes the next confirmation for granted that is of this kind, and no other. */
  private confirm(kind: string): void {
    const { asked } = this
    if (asked?.kind !== 'extended') return
    if (asked.expects[this.step] !== kind) this.intake.cursor().fail(`${asked.expects[this.step]}, found ${kind}`)
    this.step++
    if (this.step === asked.expects.length) this.complete = true
  }

  private take(type: string): void {
    const at = this.intake.cursor()
    switch (type) {
      case '1':
        this.prepares = true
        this.confirm(type)
        break
      case '2':
      case '3':
        this.confirm(type)
        break
      case 't':
        this.confirm('t')
        this.types = []
        for (let count = at.u16(); count > 0; count--) this.types.push(at.u32())
        this.details.parameterTypes = this.types.map(type => typeName(type) ?? type)
        break
      case 'T':
      case 'n':
        this.describe(type === 'T' ? this.readColumns(at) : null)
        break
      case 'D':
        this.row(at)
        break
      case 'C':
        this.confirm('X')
        this.result(text(at))
        break
      case 'I':
        this.confirm('X')
        this.result('')
        break
      case 's':
        this.confirm('X')
        this.result(null)
        this.results.at(-1)!.suspended = true
        break
      case 'E':
        this.error = readError(at)
        if (this.asked?.kind === 'extended') this.complete = true
        break
      case 'N':
        if (this.notices.length < MAX_NOTICES) this.notices.push(readError(at))
        break
      case 'Z':
        this.status = String.fromCharCode(at.u8())
        if (STATUS[this.status] === undefined) at.fail('a transaction status')
        break
      case 'S': {
        const [name, value] = [text(at), text(at)]
        this.settings ??= new Map()
        if (this.settings.size < MAX_SETTINGS) this.settings.set(name, value)
        break
      }
      case 'G':
        this.beginCopy('in', at)
        break
      case 'H':
        this.beginCopy('out', at)
        break
      case 'W':
        this.beginCopy('both', at)
        break
      case 'd':
        this.copyData()
        break
      case 'A': {
        const event = notification(at)
        const { size } = this.intake
        this.size -= size
        this.events.push({ kind: 'event', body: event, size })
        break
      }
      default:
        this.detail(type, at)
    }
  }

  private detail(type: string, at: Cursor): void {
    const { details } = this
    if (type === 'R') {
      const kind = at.u32()
      const name = AUTHENTICATION[kind] ?? at.fail('a kind of authentication')
      if (kind === SASL) details.authentication = text(at)
      else if (kind === 0) details.authentication ??= 'trust'
      else details.authentication ??= name
    } else if (type === 'K') {
      details.processId = at.u32()
      details.secretKey = REDACTED
    } else if (type === 'V') {
      const size = at.i32()
      const form = this.asked?.portal?.formats?.[0] === 0 ? textValue : binaryValue
      details.value = size < 0 ? null : form(at.bytes, at.position, at.end, size)
    } else if (type === 'v') {
      const version = at.u32()
      const unrecognized: string[] = []
      for (let count = at.u32(); count > 0; count--) unrecognized.push(text(at))
      details.negotiated = { version: `${version >>> 16 || 3}.${version & 0xffff}`, unrecognized }
    }
  }

  private describe(columns: Column[] | null): void {
    const { asked } = this
    if (asked?.kind !== 'extended') {
      this.columns = columns
      // A description of a statement does not say in which form the rows come.
      if (this.types !== null) this.formats = null
      return
    }
    this.confirm('T')
    const isStatement = asked.expects[this.step - 2] === 't'
    const place = this.descriptions++
    this.described.push({ place, columns, types: isStatement ? this.types : null })
    this.columns = columns
    // What is told of a statement are its columns, not the form in which this portal sends them.
    if (isStatement) this.formats = asked.portal?.formats ?? null
  }

  private readColumns(at: Cursor): Column[] {
    const columns: Column[] = []
    const formats: number[] = []
    for (let count = at.u16(); count > 0; count--) {
      const name = text(at)
      at.skip(6)
      const type = at.u32()
      at.skip(6)
      columns.push({ name, type: typeName(type), typeId: type })
      formats.push(at.u16())
    }
    this.formats = formats
    return columns
  }

  private row(at: Cursor): void {
    if (this.asked?.kind === 'extended' && PENDING.has(this.asked.expects[this.step]!)) at.fail('no row')
    this.rowsSeen++
    if (this.room <= 0 || this.rowsKept >= MAX_ROWS || !this.isFormKnown) return
    const count = at.u16()
    const row: SqlValue[] = []
    for (let i = 0; i < count; i++) {
      if (this.intake.isCut && at.remaining < 4) break
      const size = at.i32()
      // A value that takes no room on the wire does in memory.
      this.room--
      if (size < 0) row.push(null)
      else {
        const kept = Math.min(size, at.remaining, Math.max(this.room, 0))
        if (!this.intake.isCut) at.need(size)
        row.push(this.value(at.bytes, at.position, at.position + kept, size, i))
        at.skip(Math.min(size, at.remaining))
        this.room -= kept
      }
    }
    if (!this.intake.isCut && at.remaining > 0) at.fail('the end of the row')
    this.rows.push(row)
    this.rowsKept++
  }

  /** Without knowing which values are binary, or of what type, a row cannot be told. */
  private get isFormKnown(): boolean {
    const { formats, columns } = this
    if (formats === null) return false
    return (columns !== undefined && columns !== null) || !formats.includes(1)
  }

  private value(bytes: Uint8Array, start: number, end: number, size: number, place: number): SqlValue {
    if (formatOf(this.formats!, place) !== 1) return textValue(bytes, start, end, size)
    return decodeBinary(this.columns?.[place]?.typeId ?? 0, bytes, start, end, size)
  }

  /** The end of one statement. */
  private result(commandTag: string | null): void {
    const { columns, rows, rowsSeen } = this
    const told = commandTag === null ? null : COUNT.exec(commandTag)
    const counted = rowsSeen > 0 || columns || commandTag === null ? rowsSeen : null
    const result: Result = { commandTag, rowCount: told === null ? counted : Number(told[1]) }
    if (this.copy !== null) result.copy = this.endCopy(this.copy)
    if (columns !== undefined) result.columns = columns
    if (this.keep > 0 && counted !== null && this.isFormKnown) {
      result.rows = rows
      if (rowsSeen > rows.length) result.omittedRows = rowsSeen - rows.length
    }
    if (this.results.length === MAX_RESULTS) this.results.splice(0, 1)
    this.results.push(result)
    this.rows = []
    this.rowsSeen = 0
    this.copy = null
    this.copied = null
    if (this.asked?.kind !== 'extended') this.columns = undefined
  }

  // ── COPY ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private beginCopy(direction: Copy['direction'], at: Cursor): void {
    const format = at.u8() === 0 ? 'text' : 'binary'
    this.copy = { direction, format, columns: at.u16() }
    if (direction === 'out') {
      this.copy.messages = 0
      this.copy.bytes = 0
    }
  }

  private copyData(): void {
    const { copy, intake } = this
    if (copy?.direction !== 'out') return
    copy.messages!++
    copy.bytes! += intake.size - 5
    if (this.room <= 0) return
    const count = Math.min(intake.end - intake.start, this.room)
    this.copied ??= { bytes: new Uint8Array(0), count: 0 }
    const { copied } = this
    if (copied.count + count > copied.bytes.length) {
      const larger = new Uint8Array(Math.max(copied.bytes.length * 2, copied.count + count))
      larger.set(copied.bytes)
      copied.bytes = larger
    }
    copied.bytes.set(intake.bytes.subarray(intake.start, intake.start + count), copied.count)
    copied.count += count
    this.room -= count
  }

  private endCopy(copy: Copy): Copy {
    const { copied } = this
    if (copied !== null) copy.data = textValue(copied.bytes, 0, copied.count, copy.bytes!)
    const sent = this.asked?.copy
    if (copy.direction === 'in' && sent?.complete) {
      copy.messages = sent.messages
      copy.bytes = sent.bytes
    }
    return copy
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private told(session: Session): Message[] {
    const { error, events, results } = this
    const body: ResponseBody = { commandTag: null, rowCount: null, error }
    if (error === null) Object.assign(body, results.at(-1))
    if (results.length > (error === null ? 1 : 0)) body.results = results
    if (results.length === 0 && this.described.length > 0 && this.columns !== undefined) body.columns = this.columns
    if (this.notices.length > 0) body.notices = this.notices
    if (this.settings !== null) body.settings = Object.fromEntries(this.settings)
    Object.assign(body, this.details)
    if (this.status !== null) body.transactionStatus = STATUS[this.status]!
    const message: Message = { kind: 'response', body, size: this.size }
    if (this.copy?.direction === 'both') {
      body.copy = this.copy
      message.more = true
      session.streaming = true
    }
    if (error !== null || body.skipped) message.failed = true
    if (session.version !== '3.0') message.version = session.version
    this.conclude(session)
    return events.length > 0 ? [...events, message] : [message]
  }

  /** What the answer means for those that follow. */
  private conclude(session: Session): void {
    const { asked } = this
    session.aligned = true
    // Which of them are gone is in the statement's text; not to know them is never wrong.
    if (this.results.some(({ commandTag }) => commandTag !== null && FORGETFUL.test(commandTag))) forgetAll(session)
    // It prepared a statement whose name and text were lost.
    if (asked === null && this.prepares) session.doubt = null
    if (asked === null) return
    trust(session, asked)
    const confirmed = [...asked.expects.slice(0, this.step)].filter(kind => kind === '1').length
    for (const statement of asked.defined.slice(0, confirmed)) statement.confirmed = true
    if (this.error !== null || this.details.skipped) {
      asked.batch.failed = asked.kind === 'extended'
      for (const statement of asked.defined.slice(confirmed))
        if (session.statements.get(statement.name) === statement) forget(session, statement.name)
    }
    for (const { place, columns, types } of this.described) {
      const described = asked.described[place]
      if (described === undefined || described === null) continue
      describe(session, described, columns)
      if (types !== null && 'types' in described) described.types = types
    }
  }
}

/** After it prepared statements may be gone. */
const FORGETFUL = /^(?:DEALLOCATE|DISCARD ALL)/
/** Rows at the end of a tag: `INSERT 0 5`, `SELECT 3`. */
const COUNT = / (\d{1,15})$/

export function readError(at: Cursor): ServerError {
  const error: ServerError = { severity: '', code: '', message: '' }
  for (let field = at.u8(); field !== 0; field = at.u8()) {
    const name = FIELDS[String.fromCharCode(field)]
    const value = text(at)
    if (name === undefined) continue
    if (name === 'localizedSeverity') error.severity ||= value
    else if (NUMBERS.has(name)) error[name] = Number(value)
    else if (name === 'internalQuery') error[name] = redactStatement(value)
    else error[name] = value
  }
  return error
}

export function notification(at: Cursor): Json {
  return { type: 'Notification', processId: at.u32(), channel: text(at), payload: text(at) }
}
