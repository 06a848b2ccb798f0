/**
 * What MySQL answers to one command: packets whose meaning depends on what was asked.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response.html
 *
 *   OK    00 rows id status(2) warnings(2) text        ERR   ff code(2) # state(5) text
 *   EOF   fe warnings(2) status(2), or as OK where the client asked for it (DEPRECATE_EOF)
 *   rows  columns column* [EOF] row* EOF                     again, while the status says that there are more
 */
import type { Cursor } from '../../cursor.ts'
import type { Context, Message } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { type SqlValue, textValue } from '../../sql.ts'
import { binlogEvent } from './binlog.ts'
import { COMPRESS, CURSOR_EXISTS, IN_TRANSACTION, MORE_RESULTS, SESSION_CHANGED, ZSTD } from './commands.ts'
import { FULL, Intake, lenenc, lenencNumber, lenencText, u24le } from './intake.ts'
import { textToNul } from './request.ts'
import {
  type Asked,
  describe,
  forgetAll,
  MAX_REMEMBERED,
  remember,
  type Session,
  type Statement,
  trust,
} from './session.ts'
import { binaryOf, type Column, type Room, textOf, typeOf } from './values.ts'

/** What one statement gave. */
export interface Result extends Json {
  affectedRows?: number | string
  /** Of an AUTO_INCREMENT column; 0: none. */
  lastInsertId?: number | string
  warnings?: number
  /** `Rows matched: 1  Changed: 1  Warnings: 0` */
  info?: string
  columns?: readonly Column[]
  /** Values in the order of `columns`: whole numbers and floats as numbers where they are exact, all else as text. */
  rows?: SqlValue[][]
  /** Rows that were not kept. */
  omittedRows?: number
  /** All that came, kept or not. */
  rowCount?: number
  /** Rows wait on the server for COM_STMT_FETCH. */
  cursor?: true
}

/** What an item says about an answer. Of several results, the last one. */
export interface ResponseBody extends Result {
  status: 'OK' | 'ERR'
  error: ServerError | null
  /** All, where there are several. */
  results?: Result[]
  transactionStatus?: 'idle' | 'transaction'
  /** What the session now is, as the server tells it: variables, schema, gtids. */
  session?: Json
  /** Of COM_STMT_PREPARE. */
  statementId?: number
  parameterCount?: number
  /** LOAD DATA LOCAL INFILE: the file the server asked for, and what it got, where that was all seen. */
  infile?: { name: string; bytes?: number }
  /** Of a login: what greeted the client, and how it had to prove who it is. */
  server?: { version: string; connectionId: number }
  authPlugin?: string
  /** caching_sha2_password: from the cache, or with the password itself. */
  authentication?: 'fast' | 'full'
  /** MariaDB: what it was doing meanwhile. */
  progress?: Json[]
  text?: string
}

export interface ServerError extends Json {
  code: number
  /** SQLSTATE: `42S02`; null in errors before the login. */
  sqlState: string | null
  message: string
}

/** A million rows must not become a million values in memory; the others are counted. */
const MAX_ROWS = 10_000
/** Bytes of memory for one, besides its text; about. */
const ROW_WEIGHT = 64
/** MAX_FIELDS of both servers. */
const MAX_COLUMNS = 4096
/** What a procedure that returns very many results tells of each. */
const MAX_RESULTS = 1000
const MAX_PROGRESS = 100
/** What is kept of a packet in any case: errors, columns. */
const HEAD = 65_536
const EOF_LENGTH = 5
const SHORTEST_COLUMN = 20
const COLUMN_TAIL = 13
const UNSIGNED = 0x20
/** No number of digits. */
const VARIABLE = 31
const BINARY = 63
const PROGRESS = 0xffff

type Stage =
  | 'head'
  | 'columns'
  | 'after columns'
  | 'rows'
  | 'parameters'
  | 'after parameters'
  | 'prepared columns'
  | 'last eof'
  | 'end'

export class Reply {
  readonly intake = new Intake()
  private readonly asked: Asked | null
  private readonly statement: Statement | null
  private readonly keep: number
  private readonly room: Room
  private stage: Stage = 'head'
  private sequence: number
  private isCounted = true
  private size = 0
  private left = 0
  private columns: Column[] = []
  private known: readonly Column[] | null = null
  private rows: SqlValue[][] = []
  private areRowsKnown = true
  private rowCount = 0
  private kept = 0
  private results: Result[] = []
  private details: Json = {}
  private error: ServerError | null = null
  private status: number | null = null
  private parameters = 0
  private preparedColumns = 0
  private schema: string | null = null
  private sawEof: boolean | null = null

  /** `asked` is null where the request was not seen. */
  constructor(asked: Asked | null, session: Session, keep: number) {
    this.asked = asked
    this.statement = asked?.newest ? session.newest : (asked?.statement ?? null)
    this.keep = keep
    this.room = { left: keep }
    this.sequence = asked?.sequence ?? 0
  }

  /** Reads on to the end of the answer. */
  read(at: Cursor, ctx: Context<Session>): Message {
    const { intake } = this
    for (;;) {
      intake.next(at, this, this.stage === 'rows' ? this.room.left : Math.max(this.keep, HEAD), this.weight)
      if (this.isCounted && intake.sequence !== ((this.sequence + 1) & 255))
        at.fail(`packet ${(this.sequence + 1) & 255}, found ${intake.sequence}`)
      this.sequence = intake.lastSequence
      this.size += intake.size
      this.take(intake.cursor(), ctx)
      if (this.stage === 'end') return this.told(ctx.state)
      at.commit(this, this.weight)
    }
  }

  private get weight(): number {
    return this.keep - this.room.left + this.kept * ROW_WEIGHT
  }

  private take(at: Cursor, ctx: Context<Session>): void {
    switch (this.stage) {
      case 'head':
        HEADS[this.asked?.answer ?? 'result']!.call(this, at, ctx)
        break
      case 'columns':
        if (this.asked?.answer === 'fields' && this.isFieldsEnd(at)) this.endFields(at)
        else this.columns.push(readColumn(at, this.asked?.answer === 'fields'))
        if (--this.left === 0) this.stage = 'after columns'
        break
      case 'after columns':
        // Whether EOF comes is agreed upon at the start; what ends the rows in its place is longer.
        this.sawEof = this.isEof(at)
        if (this.sawEof) {
          at.skip(3)
          this.status = at.u16le()
          this.stage = 'rows'
          if (this.status & CURSOR_EXISTS) this.endRows(true)
        } else this.row(at)
        break
      case 'rows':
        this.row(at)
        break
      case 'parameters':
        readColumn(at, false)
        if (--this.left === 0) this.endParameters(ctx.state.eof)
        break
      case 'after parameters':
        this.sawEof = this.isEof(at)
        if (this.sawEof) this.stage = this.left > 0 ? 'prepared columns' : 'end'
        else this.preparedColumn(at, ctx.state.eof)
        break
      case 'prepared columns':
        this.preparedColumn(at, ctx.state.eof)
        break
      case 'last eof':
        if (!this.isEof(at)) at.fail('EOF')
        this.stage = 'end'
        break
      case 'end':
        at.fail('nothing')
    }
  }

  private isEof(at: Cursor): boolean {
    return this.intake.length === EOF_LENGTH && at.peek() === 0xfe
  }

  // ── OK and ERR ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** False where the packet is none of OK, EOF, ERR. */
  isOutcome(at: Cursor): boolean {
    const first = at.peek()
    if (first === 0xff) this.readError(at)
    else if (first === 0 || (first === 0xfe && this.intake.length < FULL)) {
      this.readOk(at)
      this.stage = this.status! & MORE_RESULTS ? 'head' : 'end'
    } else return false
    return true
  }

  private readError(at: Cursor): void {
    at.skip(1)
    const code = at.u16le()
    if (code === PROGRESS && at.remaining > 0 && this.asked !== null) {
      this.readProgress(at)
      return
    }
    at.position -= 3
    this.error = readServerError(at)
    this.stage = 'end'
  }

  /** strings(1) stage(1) stages(1) progress(3) text */
  private readProgress(at: Cursor): void {
    at.skip(1)
    const [stage, stages, thousandths, text] = [at.u8(), at.u8(), u24le(at), lenencText(at)]
    this.details.progress ??= []
    if (this.details.progress.length < MAX_PROGRESS)
      this.details.progress.push({ stage, stages, percent: thousandths / 1000, text })
  }

  private readOk(at: Cursor): void {
    if (at.u8() === 0xfe && this.intake.length === EOF_LENGTH) {
      const warnings = at.u16le()
      this.status = at.u16le()
      this.add({ warnings })
      return
    }
    const result: Result = { affectedRows: lenencNumber(at), lastInsertId: lenencNumber(at) }
    this.status = at.u16le()
    result.warnings = at.u16le()
    if (at.remaining > 0) {
      // With session tracking the text has a length in front, and what changed comes behind it.
      const isCounted = (this.status & SESSION_CHANGED) !== 0 || at.peek() === at.remaining - 1
      const text = isCounted ? lenencText(at) : at.text(at.remaining)
      if (text !== '') result.info = text
      if (this.status & SESSION_CHANGED && at.remaining > 0) this.readChanges(at)
    }
    this.add(result)
  }

  /** length (type(1) length data)* */
  private readChanges(at: Cursor): void {
    const changes = at.within(Math.max(0, lenenc(at)))
    const session: Json = this.details.session ?? {}
    while (changes.remaining > 0) {
      const type = changes.u8()
      const data = changes.within(Math.max(0, lenenc(changes)))
      if (type === 0) {
        session.variables ??= {}
        while (data.remaining > 0) {
          const [name, value] = [lenencText(data), lenencText(data)]
          Object.defineProperty(session.variables, name, {
            value,
            enumerable: true,
            configurable: true,
            writable: true,
          })
        }
      } else if (type === 1) {
        this.schema = lenencText(data)
        session.schema = this.schema
      } else if (type === 3) {
        data.skip(1)
        session.gtids = lenencText(data)
      } else if (type === 4) session.characteristics = lenencText(data)
      else if (type === 5) session.transactionState = lenencText(data)
    }
    this.details.session = session
  }

  private add(result: Result): void {
    if (this.results.length === MAX_RESULTS) this.results.splice(0, 1)
    this.results.push(result)
  }

  // ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** count [1: columns follow, 0: they are as before] */
  beginRows(at: Cursor): void {
    const count = lenenc(at)
    if (count < 1 || count > MAX_COLUMNS) at.fail(`1 to ${MAX_COLUMNS} columns`)
    const follows = at.remaining === 1 ? at.u8() : 1
    if (follows > 1 || at.remaining > 0) at.fail('the end of the packet after the number of columns')
    this.columns = []
    this.rows = []
    this.rowCount = 0
    this.left = count
    this.known = follows === 1 ? this.columns : (this.statement?.columns ?? null)
    this.areRowsKnown = this.known !== null && this.asked !== null
    this.stage = follows === 1 ? 'columns' : 'after columns'
  }

  beginFields(at: Cursor): void {
    this.stage = 'columns'
    this.left = MAX_COLUMNS
    this.columns.push(readColumn(at, true))
  }

  private isFieldsEnd(at: Cursor): boolean {
    return at.peek() === 0xfe && this.intake.length < SHORTEST_COLUMN
  }

  private endFields(at: Cursor): void {
    this.readOk(at)
    const { warnings } = this.results.pop()!
    this.add({ warnings: warnings!, columns: this.columns })
    this.stage = 'end'
  }

  beginFetch(at: Cursor): void {
    this.stage = 'rows'
    this.known = this.statement?.columns ?? null
    this.areRowsKnown = this.known !== null
    this.row(at)
  }

  /** A row, or what ends them: no row begins with ff, and one with fe has 16 MB. */
  private row(at: Cursor): void {
    this.stage = 'rows'
    const first = this.intake.end > this.intake.start ? at.peek() : 0
    if (first === 0xff) this.readError(at)
    else if (first === 0xfe && this.intake.length < FULL) this.endRows(false, at)
    else this.keepRow(at)
  }

  private keepRow(at: Cursor): void {
    this.rowCount++
    if (!this.areRowsKnown || this.room.left <= 0 || this.kept >= MAX_ROWS) return
    const row = this.asked!.binary ? this.binaryRow(at) : this.textRow(at)
    if (row === null) {
      this.areRowsKnown = false
      return
    }
    this.rows.push(row)
    this.kept++
  }

  private textRow(at: Cursor): SqlValue[] {
    const row: SqlValue[] = []
    for (const column of this.known!) {
      if (this.intake.isCut && at.remaining < 9) break
      row.push(textOf(at, column, this.room))
    }
    if (!this.intake.isCut && at.remaining > 0) at.fail('the end of the row')
    return row
  }

  /** 00 null-bitmap((columns + 9) / 8, the first two bits unused) value* */
  private binaryRow(at: Cursor): SqlValue[] | null {
    if (at.u8() !== 0) at.fail('a row in binary form')
    const columns = this.known!
    const nulls = at.view((columns.length + 9) >> 3)
    const row: SqlValue[] = []
    for (const [i, column] of columns.entries()) {
      if ((nulls[(i + 2) >> 3]! >> ((i + 2) & 7)) & 1) {
        row.push(null)
        continue
      }
      if (this.intake.isCut && at.remaining < 9) break
      const value = binaryOf(at, column, this.room)
      if (value === undefined) return null
      row.push(value)
    }
    if (!this.intake.isCut && at.remaining > 0) at.fail('the end of the row')
    return row
  }

  private endRows(isCursor: boolean, at?: Cursor): void {
    const result: Result = {}
    if (at !== undefined) {
      this.readOk(at)
      Object.assign(result, this.results.pop())
      // Of rows that are sent nothing was affected.
      delete result.affectedRows
      delete result.lastInsertId
    }
    if (this.known !== null) result.columns = this.known
    if (isCursor || (this.status! & CURSOR_EXISTS && this.asked?.answer === 'result')) result.cursor = true
    else {
      if (this.areRowsKnown && this.keep > 0) {
        result.rows = this.rows
        if (this.rowCount > this.rows.length) result.omittedRows = this.rowCount - this.rows.length
      }
      result.rowCount = this.rowCount
    }
    this.add(result)
    this.stage = this.status! & MORE_RESULTS ? 'head' : 'end'
  }

  // ── prepared statements ─────────────────────────────────────────────────────────────────────────────────────────

  /** 00 id(4) columns(2) parameters(2) 00 [warnings(2)] */
  beginPrepared(at: Cursor): void {
    at.skip(1)
    this.details.statementId = at.u32le()
    this.preparedColumns = at.u16le()
    this.parameters = at.u16le()
    this.details.parameterCount = this.parameters
    this.left = this.parameters
    at.skip(1)
    // Behind the warnings a client may have asked to be told whether columns come at all.
    const isBare = at.remaining === 3 && at.peek(2) === 0
    if (isBare) this.stage = 'end'
    else if (this.parameters > 0) this.stage = 'parameters'
    else {
      this.left = this.preparedColumns
      this.stage = this.left > 0 ? 'prepared columns' : 'end'
    }
  }

  /** Where it is not known whether EOF comes, an answer that may end here does: an EOF by itself is passed over. */
  private endParameters(eof: boolean | null): void {
    this.left = this.preparedColumns
    if (eof === true || (eof === null && this.left > 0)) this.stage = 'after parameters'
    else this.stage = this.left > 0 ? 'prepared columns' : 'end'
  }

  private preparedColumn(at: Cursor, eof: boolean | null): void {
    this.stage = 'prepared columns'
    this.columns.push(readColumn(at, false))
    if (--this.left > 0) return
    this.stage = (eof ?? this.sawEof) ? 'last eof' : 'end'
  }

  // ── login, files, text ──────────────────────────────────────────────────────────────────────────────────────────

  /** fe plugin NUL data: prove it otherwise; 01 data: more of the same. */
  proceedLogin(at: Cursor): void {
    this.isCounted = false
    const first = at.u8()
    if (first === 0xfe) {
      this.details.authPlugin = at.remaining > 0 ? textToNul(at) : 'mysql_old_password'
    } else if (first === 1) {
      if (at.remaining === 1) {
        const step = at.u8()
        if (step === 3) this.details.authentication = 'fast'
        if (step === 4) this.details.authentication = 'full'
      }
    } else at.fail('OK, ERR or a step of the login')
  }

  beginInfile(at: Cursor): void {
    at.skip(1)
    this.details.infile = { name: at.text(at.remaining) }
    this.isCounted = false
  }

  readText(at: Cursor): void {
    this.details.text = textValue(at.bytes, at.position, at.end, this.intake.length)
    this.stage = 'end'
  }

  beginBinlog(at: Cursor, ctx: Context<Session>): void {
    const event = binlogEvent(at, this.intake.length, ctx.state)
    if (event !== null) this.details.event = event
    this.details.streaming = true
    this.stage = 'end'
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private told(session: Session): Message {
    const { error, results, details } = this
    const body: ResponseBody = { status: error === null ? 'OK' : 'ERR', error }
    if (error === null) Object.assign(body, results.at(-1))
    if (results.length > (error === null ? 1 : 0)) body.results = results
    const { streaming, ...others } = details
    const sent = this.asked?.infile
    if (others.infile !== undefined && sent?.complete) others.infile.bytes = sent.bytes
    Object.assign(body, others)
    if (this.asked?.answer === 'prepare' && this.columns.length > 0) body.columns = this.columns
    if (this.asked?.answer === 'login') this.greet(body, session)
    if (this.status !== null) body.transactionStatus = this.status & IN_TRANSACTION ? 'transaction' : 'idle'
    this.conclude(session, Boolean(streaming))
    const message: Message = { kind: 'response', body, size: this.size }
    if (error !== null) message.failed = true
    return message
  }

  private greet(body: ResponseBody, { greeting }: Session): void {
    if (greeting === null) return
    body.server = { version: greeting.version, connectionId: greeting.connectionId }
  }

  /** What the answer means for those that follow. */
  private conclude(session: Session, isStream: boolean): void {
    const { asked, error, details } = this
    if (asked === null) return
    trust(session, asked)
    if (error !== null) return
    if (isStream) session.streaming = true
    session.eof ??= this.sawEof
    const database = this.schema ?? asked.database
    if (database !== null) session.database = database
    if (asked.user !== null) session.user = asked.user
    if (asked.answer === 'login') {
      forgetAll(session)
      if (asked.capabilities & (COMPRESS | ZSTD))
        session.compressed =
          ((session.greeting?.capabilities ?? asked.capabilities) & asked.capabilities & (COMPRESS | ZSTD)) !== 0
    } else if (asked.answer === 'prepare') {
      session.newest = {
        query: asked.query.slice(0, MAX_REMEMBERED),
        parameters: this.parameters,
        columns: null,
        types: null,
        long: new Map(),
      }
      remember(session, details.statementId, session.newest)
      if (this.columns.length === this.preparedColumns) describe(session, session.newest, this.columns)
    } else if (this.statement !== null && this.columns.length > 0) describe(session, this.statement, this.columns)
  }
}

type Head = (this: Reply, at: Cursor, ctx: Context<Session>) => void

/** How an answer begins. */
const HEADS: { readonly [answer: string]: Head } = {
  ok(at) {
    if (!this.isOutcome(at)) at.fail('OK, EOF or ERR')
  },
  result(at) {
    const isInfile = at.peek() === 0xfb && at.remaining > 1
    if (isInfile) this.beginInfile(at)
    else if (!this.isOutcome(at)) this.beginRows(at)
  },
  rows(at) {
    this.beginFetch(at)
  },
  fields(at) {
    if (!this.isOutcome(at)) this.beginFields(at)
  },
  prepare(at) {
    if (at.peek() === 0) this.beginPrepared(at)
    else if (!this.isOutcome(at)) at.fail('a prepared statement or ERR')
  },
  text(at) {
    if (at.peek() !== 0xff || !this.isOutcome(at)) this.readText(at)
  },
  login(at) {
    const first = at.peek()
    if ((first !== 0 && first !== 0xff) || !this.isOutcome(at)) this.proceedLogin(at)
  },
  binlog(at, ctx) {
    const first = at.peek()
    if (first === 0) this.beginBinlog(at, ctx)
    else if (!this.isOutcome(at)) at.fail('an event')
  },
}

/**
 * catalog schema table original-table name original-name [extended type] 0c character-set(2) length(4) type(1) flags(2)
 * decimals(1) 00 00
 */
function readColumn(at: Cursor, isField: boolean): Column {
  const catalog = lenencText(at)
  if (catalog !== 'def') at.fail('the catalog def')
  lenencText(at)
  const table = lenencText(at)
  lenencText(at)
  const name = lenencText(at)
  lenencText(at)
  // MariaDB's name of a type of its own: uuid, inet6, json.
  // Of COM_FIELD_LIST the default value comes at the end.
  const extended =
    at.remaining > COLUMN_TAIL && !(isField && at.peek() === 12) ? at.within(Math.max(0, lenenc(at))) : null
  let type = ''
  if (extended !== null && at.remaining >= COLUMN_TAIL) {
    while (extended.remaining > 0) {
      const kind = extended.u8()
      const text = lenencText(extended)
      if (kind < 2) type = text
    }
  }
  if (lenenc(at) !== 12) at.fail('12 bytes at the end of a column')
  const characterSet = at.u16le()
  at.skip(4)
  const code = typeOf(at.u8())
  const flags = at.u16le()
  const decimals = at.u8()
  const column: Column = {
    name,
    table,
    type: code,
    unsigned: (flags & UNSIGNED) !== 0,
    decimals: decimals >= VARIABLE ? null : decimals,
    binary: characterSet === BINARY,
  }
  if (type !== '') column.extended = type
  return column
}

/** ff code(2) [# state(5)] text */
export function readServerError(at: Cursor): ServerError {
  at.skip(1)
  const code = at.u16le()
  let sqlState: string | null = null
  if (at.remaining > 5 && at.peek() === 35) {
    at.skip(1)
    sqlState = at.latin1(5)
  }
  return { code, sqlState, message: at.text(at.remaining) }
}
