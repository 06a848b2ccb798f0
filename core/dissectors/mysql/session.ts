/** What the two sides of a connection to MySQL know of it, and what an answer has to know of its request. */
import type { Side } from '../../dissector.ts'
import type { Answer } from './commands.ts'
import { Stream } from './compressed.ts'
import type { Column } from './values.ts'

/** A prepared statement. */
export interface Statement {
  /** As items show it: without passwords, perhaps shortened. null: its beginning was not seen. */
  query: string
  parameters: number
  columns: readonly Column[] | null
  /** Types of the parameters, as the last execution gave them: they are not sent again. */
  types: readonly Parameter[] | null
  /** Parameters that were sent ahead in pieces, with their bytes; null: perhaps there were some. */
  long: Map<number, number> | null
}

export interface Parameter {
  type: string
  unsigned: boolean
  name: string
}

export interface Asked {
  answer: Answer
  /** Number of the last packet of the request: the answer goes on from there. */
  sequence: number
  /** Rows come in binary form. */
  binary: boolean
  /** Of COM_STMT_PREPARE. */
  query: string
  /** What is executed, whose columns may not be sent again. */
  statement: Statement | null
  /** It is the one that was prepared just before, whose number the client does not know yet. */
  newest: boolean
  /** The database from now on, if there is no error. */
  database: string | null
  user: string | null
  /** What the client offered: CLIENT_COMPRESS and others. */
  capabilities: number
  infile: Infile | null
  /** What was in doubt when it was sent. */
  doubt: Doubt | null
}

/** What a client sent for LOAD DATA LOCAL INFILE. */
export interface Infile {
  bytes: number
  /** It was seen to its end. */
  complete: boolean
}

export interface Greeting {
  version: string
  connectionId: number
  authPlugin: string | null
  capabilities: number
}

/** What was known before bytes of the client were lost, in which it may have changed. */
export interface Doubt {
  database: string | null
  user: string | null
  statements: Map<number, Statement>
}

export interface Session {
  greeting: Greeting | null
  /** null: the login was not seen. */
  capabilities: number | null
  database: string | null
  user: string | null
  statements: Map<number, Statement>
  /** Columns of all of them. */
  described: number
  /** EOF comes behind columns; null: not known. */
  eof: boolean | null
  /** The newest request. */
  last: Asked | null
  /** Text of the newest COM_STMT_PREPARE, which MariaDB's clients execute before they know its number. */
  prepared: string | null
  /** What it was answered with. */
  newest: Statement | null
  /** After COM_BINLOG_DUMP the server sends events without end. */
  streaming: boolean
  /** Events end with a checksum; null: not known. */
  checksum: boolean | null
  compressed: boolean
  /** What is inside compressed packets, on both sides. Not enumerable: it is a place in a stream, and no mode. */
  readonly streams: { client: Stream; server: Stream }
  /** null: nothing is, or nothing was known. */
  doubt: Doubt | null
}

export function openSession(): Session {
  const session = {
    greeting: null,
    capabilities: null,
    database: null,
    user: null,
    statements: new Map(),
    described: 0,
    eof: null,
    last: null,
    prepared: null,
    newest: null,
    streaming: false,
    checksum: null,
    compressed: false,
    doubt: null,
  }
  return Object.defineProperty(session, 'streams', {
    value: { client: new Stream(), server: new Stream() },
  }) as unknown as Session
}

/** What is still known after bytes of `from` were lost. */
export function loseSome(session: Session, from: Side): Session {
  const { database, user, statements, last, doubt } = session
  const next = openSession()
  next.greeting = session.greeting
  next.capabilities = session.capabilities
  next.eof = session.eof
  if (from === 'client') {
    next.doubt = {
      database: database ?? doubt?.database ?? null,
      user: user ?? doubt?.user ?? null,
      statements: new Map([...(doubt?.statements ?? []), ...statements]),
    }
    for (const statement of next.doubt.statements.values()) {
      // Both may have been sent once more.
      statement.types = null
      statement.long = null
    }
    return next
  }
  // A login that was not answered yet would begin all anew.
  if (last?.answer === 'login') return next
  next.user = user
  next.statements = statements
  next.described = session.described
  if (last === null || last.database === null || last.database === database) next.database = database
  return next
}

/** Of an answer to an `asked` that was sent since: what came before would have been answered before. */
export function trust(session: Session, asked: Asked): void {
  const { doubt } = session
  if (doubt === null || asked.doubt !== doubt) return
  session.doubt = null
  session.database ??= doubt.database
  session.user ??= doubt.user
  for (const [id, statement] of doubt.statements) {
    if (session.statements.has(id)) continue
    remember(session, id, { ...statement, columns: null })
    if (statement.columns !== null) describe(session, session.statements.get(id)!, statement.columns)
  }
}

/** Clients that prepare ever new statements and never close them must not fill the memory. */
const MAX_STATEMENTS = 1000
/** Columns of all of them. */
const MAX_DESCRIBED = 20_000
/** Of the text that is remembered of each. */
export const MAX_REMEMBERED = 4096

export function remember(session: Session, id: number, statement: Statement): void {
  const { statements } = session
  forget(session, id)
  statements.set(id, statement)
  if (statements.size <= MAX_STATEMENTS) return
  for (const oldest of statements.keys()) {
    forget(session, oldest)
    return
  }
}

/** Takes note of a statement's columns; not of those of ever more of them. */
export function describe(session: Session, statement: Statement, columns: readonly Column[]): void {
  const more = columns.length - (statement.columns?.length ?? 0)
  if (session.described + more > MAX_DESCRIBED) return
  session.described += more
  statement.columns = columns
}

export function forget(session: Session, id: number): void {
  session.described -= session.statements.get(id)?.columns?.length ?? 0
  session.statements.delete(id)
  session.doubt?.statements.delete(id)
}

export function forgetAll(session: Session): void {
  session.statements.clear()
  session.described = 0
  session.doubt = null
}
