/**
 * What a client asks for at once: a statement as it is, or the messages of the extended query protocol up to Execute.
 * https://www.postgresql.org/docs/current/protocol-flow.html
 *
 *   Query     Q length query NUL
 *   Parse     P length statement NUL query NUL count(2) type(4)*
 *   Bind      B length portal NUL statement NUL count(2) format(2)* count(2) (length(4) bytes)* count(2) format(2)*
 *   Describe  D length S|P name NUL          Close   C length S|P name NUL
 *   Execute   E length portal NUL rows(4)    Sync    S length      Flush   H length
 *
 * A group of messages ends with its Execute; one that executes nothing ends with Sync or Flush, or before the next
 * Parse or Bind.
 */
import { type Cursor, indexOf, utf8 } from '../../cursor.ts'
import type { Context, Message } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { redactStatement, type SqlValue, textValue } from '../../sql.ts'
import { Intake } from './intake.ts'
import { type Asked, bind, define, type Formats, forget, type Portal, type Session, type Statement } from './session.ts'
import { decodeBinary } from './values.ts'

/** What an item says about a request. */
export interface RequestBody extends Json {
  /**
   * `Query`, `Execute`, `FunctionCall`; `Parse`, `Bind`, `Describe`, `Close` where nothing is executed; `Startup`,
   * `SSLRequest`, `GSSENCRequest`, `CancelRequest`.
   */
  command: string
  /** Text of the statement, passwords hidden; absent where it was prepared before the capture began. */
  query?: string
  /** Bytes of the statement, where `query` is only its beginning. */
  querySize?: number
  /** Name of the prepared statement, '' for the one without a name. */
  statement?: string
  portal?: string
  /** In the order of $1, $2. Text as the client sent it, binary values as PostgreSQL writes them; absent if unknown. */
  parameters?: SqlValue[]
  /** Rows after which the portal is to be suspended. */
  maxRows?: number
  database?: string
  user?: string
}

/** Bytes of memory for what is noted of one message, besides its text; about. */
const MESSAGE_WEIGHT = 64

export const CLIENT_TYPES = 'QPBEDCSHFdcfpX'

const [Q, P, B, E, D, C, S, H, F] = [...'QPBEDCSHF'].map(type => type.charCodeAt(0))
const STATEMENT = 83

export class Exchange {
  readonly intake = new Intake()
  private readonly keep: number
  private expects = ''
  private command = ''
  private body: Json = {}
  private portal: Portal | null = null
  private bound: [string, Portal][] | null = null
  private defined: Statement[] | null = null
  private described: (Statement | Portal | null)[] | null = null
  private closed: string[] | null = null
  /** Memory that it takes. */
  private weight = 0

  constructor(keep: number) {
    this.keep = keep
  }

  /** null: what was read belongs to a request that was told already, or to none. */
  read(at: Cursor, ctx: Context<Session>): Message | null {
    const { intake } = this
    for (;;) {
      if (this.expects !== '' && !intake.isOpen && !this.goesOn(at.peek())) return this.request(ctx, false)
      intake.next(at, CLIENT_TYPES, this.keep, this, this.weight)
      switch (intake.type) {
        case Q:
          return this.query(ctx)
        case F:
          return this.functionCall(ctx)
        case P:
          this.parse()
          break
        case B:
          this.bind(ctx.state)
          break
        case D:
          this.describe(ctx.state)
          break
        case C:
          this.close()
          break
        case E:
          return this.execute(ctx)
        case S:
          if (intake.size !== 5) at.fail('a Sync of 5 bytes')
          if (this.expects !== '') return this.request(ctx, true)
          sync(ctx.state)
          return null
        case H:
          if (intake.size !== 5) at.fail('a Flush of 5 bytes')
          return this.expects === '' ? null : this.request(ctx, false)
        default:
          this.other(ctx.state)
          return null
      }
      at.commit(this, this.weight)
    }
  }

  /** Whether a message of this type belongs to the group, which has begun. */
  private goesOn(type: number): boolean {
    if (type === P) return !/[12]/.test(this.expects)
    if (type === B) return !this.expects.includes('2')
    return type === E || type === D || type === C || type === S || type === H
  }

  private query(ctx: Context<Session>): Message {
    const { intake } = this
    const at = intake.cursor()
    const query = restText(at)
    if (!intake.isCut && at.remaining > 0) at.fail('the end of the message after the query')
    const body: RequestBody = { command: 'Query', query: redactStatement(query) }
    if (intake.isCut) body.querySize = intake.size - 6
    return this.told(ctx, body, plain('query', ctx.state))
  }

  private parse(): void {
    const { intake } = this
    const at = intake.cursor()
    const name = text(at)
    const query = redactStatement(restText(at))
    let types: number[] | null = null
    if (!intake.isCut) {
      types = []
      for (let count = at.u16(); count > 0; count--) types.push(at.u32())
      if (at.remaining > 0) at.fail('the end of the message after the types')
    } else this.body.querySize = intake.size - 5
    const statement: Statement = { name, query, types, columns: null, confirmed: false, old: false }
    this.defined ??= []
    this.defined.push(statement)
    this.body.query = query
    this.body.statement = name
    this.add('1', 'Parse', query.length)
  }

  private bind(session: Session): void {
    const { intake } = this
    const at = intake.cursor()
    const name = text(at)
    const source = text(at)
    const statement = this.statement(source, session)
    const parameters = this.parameters(at, statement?.types ?? null)
    const formats: Formats = intake.isCut ? null : shorts(at)
    if (!intake.isCut && at.remaining > 0) at.fail('the end of the message after the formats')
    this.portal = { statement, name: source, formats, columns: null }
    this.bound ??= []
    this.bound.push([name, this.portal])
    const { body } = this
    body.statement = source
    body.portal = name
    if (statement !== null) body.query = statement.query
    else delete body.query
    if (parameters !== null && this.keep > 0) body.parameters = parameters
    this.add('2', 'Bind', intake.end - intake.start)
  }

  /** null: a value cannot be told without knowing its type. */
  private parameters(at: Cursor, types: readonly number[] | null): SqlValue[] | null {
    const formats = shorts(at)
    const count = at.u16()
    const values: SqlValue[] = []
    let isKnown = true
    for (let i = 0; i < count; i++) {
      if (this.intake.isCut && at.remaining < 4) break
      const size = at.i32()
      if (size < 0) {
        values.push(null)
        continue
      }
      const kept = this.intake.isCut ? Math.min(size, at.remaining) : size
      const start = at.position
      at.skip(kept)
      const isBinary = formatOf(formats, i) === 1
      const type = types?.[i] ?? 0
      if (isBinary && type === 0) isKnown = false
      if (!isKnown || this.keep === 0) continue
      values.push(
        isBinary
          ? decodeBinary(type, at.bytes, start, start + kept, size)
          : textValue(at.bytes, start, start + kept, size),
      )
    }
    return isKnown ? values : null
  }

  private describe(session: Session): void {
    const at = this.intake.cursor()
    const what = at.u8()
    const name = text(at)
    this.described ??= []
    if (what === STATEMENT) {
      const statement = this.statement(name, session)
      this.described.push(statement)
      if (this.body.statement === undefined) {
        this.body.statement = name
        if (statement !== null) this.body.query = statement.query
      }
      this.add('tT', 'Describe', 0)
      return
    }
    const bound = this.bound?.findLast(([portal]) => portal === name)?.[1] ?? session.portals.get(name) ?? null
    this.described.push(bound)
    if (this.body.portal === undefined) this.fromPortal(name, session)
    this.add('T', 'Describe', 0)
  }

  private close(): void {
    const at = this.intake.cursor()
    const what = at.u8()
    const name = text(at)
    if (what === STATEMENT) {
      this.closed ??= []
      this.closed.push(name)
    }
    if (this.expects === '') this.body[what === STATEMENT ? 'statement' : 'portal'] = name
    this.add('3', 'Close', 0)
  }

  private execute(ctx: Context<Session>): Message {
    const at = this.intake.cursor()
    const name = text(at)
    const rows = at.u32()
    if (at.remaining > 0) at.fail('the end of the message after the number of rows')
    this.portal = this.bound?.findLast(([portal]) => portal === name)?.[1] ?? null
    if (this.portal === null) {
      this.body = {}
      this.fromPortal(name, ctx.state)
    }
    if (rows > 0) this.body.maxRows = rows
    this.expects += 'X'
    this.command = 'Execute'
    return this.request(ctx, false)
  }

  private fromPortal(name: string, session: Session): void {
    this.body.portal = name
    const portal = session.portals.get(name)
    if (portal === undefined) return
    this.portal = portal
    this.body.statement = portal.name
    if (portal.statement !== null) this.body.query = portal.statement.query
  }

  private functionCall(ctx: Context<Session>): Message {
    const at = this.intake.cursor()
    const body: RequestBody = { command: 'FunctionCall', functionId: at.u32() }
    const parameters = this.parameters(at, null)
    if (parameters !== null && this.keep > 0) body.parameters = parameters
    const asked = plain('function', ctx.state)
    const format = this.intake.isCut ? 1 : at.u16()
    asked.portal = { statement: null, name: '', formats: [format], columns: null }
    return this.told(ctx, body, asked)
  }

  /** The newest statement of this name, also one of this group. */
  private statement(name: string, session: Session): Statement | null {
    return this.defined?.findLast(statement => statement.name === name) ?? session.statements.get(name) ?? null
  }

  private add(confirmation: string, command: string, weight: number): void {
    this.expects += confirmation
    if (this.command === '' || RANK[command]! > RANK[this.command]!) this.command = command
    this.weight += weight + MESSAGE_WEIGHT
  }

  private request(ctx: Context<Session>, synced: boolean): Message {
    const { state } = ctx
    const { portal } = this
    for (const name of this.closed ?? []) forget(state, name)
    for (const statement of this.defined ?? []) define(state, statement)
    for (const [name, bound] of this.bound ?? []) bind(state, name, bound)
    const asked: Asked = {
      kind: 'extended',
      expects: this.expects,
      batch: state.batch,
      synced,
      portal,
      described: this.described ?? [],
      defined: this.defined ?? [],
      copy: null,
      doubt: state.doubt,
    }
    const message = this.told(ctx, { command: this.command, ...this.body }, asked)
    if (synced) state.batch = { failed: false }
    return message
  }

  private told(ctx: Context<Session>, body: RequestBody, asked: Asked): Message {
    const { state } = ctx
    if (state.database !== null) body.database = state.database
    if (state.user !== null) body.user = state.user
    state.last = asked
    const message: Message = { kind: 'request', body, memo: asked }
    if (state.version !== '3.0') message.version = state.version
    return message
  }

  /** What belongs to a request that was told already: data of COPY. Passwords and the end belong to none. */
  private other({ last }: Session): void {
    const { intake } = this
    const type = String.fromCharCode(intake.type)
    if (last === null) return
    if (type === 'd') {
      last.copy ??= { messages: 0, bytes: 0, complete: false }
      last.copy.messages++
      last.copy.bytes += intake.size - 5
    } else if (type === 'c') {
      last.copy ??= { messages: 0, bytes: 0, complete: false }
      last.copy.complete = true
    }
  }
}

/** Which message gives a group that executes nothing its name. */
const RANK: { readonly [command: string]: number } = { Close: 1, Describe: 2, Parse: 3, Bind: 4 }

/** Sync by itself: it belongs to the newest request, if that is of the same batch. */
function sync(session: Session): void {
  const { last, batch } = session
  if (last !== null && last.batch === batch && last.kind === 'extended') last.synced = true
  session.batch = { failed: false }
}

export function plain(kind: Asked['kind'], session: Session): Asked {
  return {
    kind,
    expects: '',
    batch: session.batch,
    synced: true,
    portal: null,
    described: [],
    defined: [],
    copy: null,
    doubt: session.doubt,
  }
}

export function formatOf(formats: readonly number[], place: number): number {
  return (formats.length === 1 ? formats[0] : formats[place]) ?? 0
}

/** count(2) value(2)* */
function shorts(at: Cursor): readonly number[] {
  const count = at.u16()
  if (count === 0) return NONE
  const values: number[] = []
  for (let i = 0; i < count; i++) values.push(at.u16())
  return values
}
const NONE: readonly number[] = Object.freeze([])

/** Up to a NUL, which must be there. */
export function text(at: Cursor): string {
  const end = indexOf(at.bytes, 0, at.position, at.end)
  if (end < 0) at.fail('a text that ends with NUL')
  const found = utf8(at.bytes, at.position, end)
  at.position = end + 1
  return found
}

/** As `text`, but what was kept may end before the NUL. */
function restText(at: Cursor): string {
  const end = indexOf(at.bytes, 0, at.position, at.end)
  const found = utf8(at.bytes, at.position, end < 0 ? at.end : end)
  at.position = end < 0 ? at.end : end + 1
  return found
}
