/** What the two sides of a connection to PostgreSQL know of it, and what an answer has to know of its request. */

import type { Side } from '../../dissector.ts'

/** A prepared statement. */
export interface Statement {
  name: string
  /** As items show it: without passwords, perhaps shortened. */
  query: string
  /** Object identifiers of the parameters' types, 0 where the server was left to find out; null: not known. */
  types: readonly number[] | null
  columns: readonly Column[] | null
  /** The server has said that it knows it. */
  confirmed: boolean
  /** From before bytes were lost, in which the name may have been given back. */
  old: boolean
}

/** A statement with its parameters, ready to be executed. */
export interface Portal {
  statement: Statement | null
  /** Name of the statement, also where nothing else is known of it. */
  name: string
  formats: Formats
  /** Where the portal itself was described. */
  columns: readonly Column[] | null
}

/** 0 text, 1 binary: none (all text), one for all columns, or one for each; null: not known. */
export type Formats = readonly number[] | null

export interface Column {
  name: string
  /** `int4`, `text[]`; null for types that do not come with PostgreSQL. */
  type: string | null
  /** Object identifier of the type. */
  typeId: number
}

/** The requests between two Syncs: after an error the server skips the rest of them. */
export interface Batch {
  failed: boolean
}

/** What a client sent of COPY FROM STDIN. */
export interface CopyIn {
  messages: number
  bytes: number
  /** It was seen to its end. */
  complete: boolean
}

export interface Asked {
  kind: 'startup' | 'encryption' | 'query' | 'extended' | 'function'
  /**
   * What the server confirms, in this order: 1 Parse, 2 Bind, 3 Close, T a description (t comes before that of a
   * statement), X the execution. Of a simple query nothing is said here: it ends with ReadyForQuery.
   */
  expects: string
  batch: Batch
  /** A Sync follows it, so that its answer ends with ReadyForQuery. */
  synced: boolean
  /** What is executed; null: not known. */
  portal: Portal | null
  /** What was to be described, in this order; null: not known. */
  described: readonly (Statement | Portal | null)[]
  /** Statements that it prepares. */
  defined: readonly Statement[]
  copy: CopyIn | null
  /** What was in doubt when it was sent. */
  doubt: Doubt | null
}

/** Statements from before bytes of the client were lost, in which their names may have come to mean others. */
export type Doubt = Map<string, Statement>

export interface Session {
  /** null: the beginning of the connection was not seen. */
  database: string | null
  user: string | null
  version: '3.0' | '3.2'
  statements: Map<string, Statement>
  /** Characters of all their texts. */
  remembered: number
  /** Columns of all statements and portals. */
  described: number
  portals: Map<string, Portal>
  batch: Batch
  /** The newest request. */
  last: Asked | null
  /** After START_REPLICATION both sides send CopyData as they like. */
  streaming: boolean
  /** What the server sends next begins an answer, or comes unasked. */
  aligned: boolean
  /** null: nothing is, or nothing was known. */
  doubt: Doubt | null
}

export function openSession(): Session {
  return {
    database: null,
    user: null,
    version: '3.0',
    statements: new Map(),
    remembered: 0,
    described: 0,
    portals: new Map(),
    batch: { failed: false },
    last: null,
    streaming: false,
    aligned: false,
    doubt: null,
  }
}

/** What is still known after bytes of `from` were lost. */
export function loseSome(session: Session, from: Side): Session {
  const next = openSession()
  next.database = session.database
  next.user = session.user
  next.version = session.version
  const kept = [...session.statements.values()].filter(({ name, confirmed }) => name !== '' && confirmed)
  if (from === 'client') next.doubt = new Map([...(session.doubt ?? []), ...kept.map(one => [one.name, one] as const)])
  else for (const statement of kept) adopt(next, statement)
  return next
}

/** Of an answer to an `asked` that was sent since: what was prepared before it would have been confirmed before. */
export function trust(session: Session, asked: Asked): void {
  const { doubt } = session
  if (doubt === null || asked.doubt !== doubt) return
  session.doubt = null
  for (const statement of doubt.values()) if (!session.statements.has(statement.name)) adopt(session, statement)
}

function adopt(session: Session, { columns, ...statement }: Statement): void {
  const adopted: Statement = { ...statement, columns: null, old: true }
  define(session, adopted)
  describe(session, adopted, columns)
}

/** Clients that prepare under ever new names and never close them must not fill the memory. */
const MAX_NAMES = 1000
/** Characters, of all statements of a connection together; ORMs prepare some hundred of a kilobyte each. */
const MAX_REMEMBERED = 1 << 20
/** Columns, of all that was described. */
const MAX_DESCRIBED = 20_000

export function define(session: Session, statement: Statement): void {
  const { statements } = session
  const { name } = statement
  // The server refuses a second statement of this name; only the one without a name is replaced.
  if (name !== '' && statements.get(name)?.old === false) return
  forget(session, name)
  statements.set(name, statement)
  session.remembered += statement.query.length
  for (const oldest of statements.keys()) {
    if (statements.size <= MAX_NAMES && session.remembered <= MAX_REMEMBERED) return
    forget(session, oldest)
  }
}

/** Takes note of what a statement or a portal was described as; not of the columns of ever more of them. */
export function describe(session: Session, what: Statement | Portal, columns: readonly Column[] | null): void {
  const more = (columns?.length ?? 0) - (what.columns?.length ?? 0)
  if (session.described + more > MAX_DESCRIBED) return
  session.described += more
  what.columns = columns
}

export function forget(session: Session, name: string): void {
  const { statements } = session
  session.doubt?.delete(name)
  const statement = statements.get(name)
  if (statement === undefined) return
  session.remembered -= statement.query.length
  session.described -= statement.columns?.length ?? 0
  statements.delete(name)
}

export function forgetAll(session: Session): void {
  for (const name of [...session.statements.keys()]) forget(session, name)
  session.doubt = null
}

export function bind(session: Session, name: string, portal: Portal): void {
  const { portals } = session
  unbind(session, name)
  portals.set(name, portal)
  if (portals.size <= MAX_NAMES) return
  for (const oldest of portals.keys()) {
    unbind(session, oldest)
    return
  }
}

function unbind(session: Session, name: string): void {
  session.described -= session.portals.get(name)?.columns?.length ?? 0
  session.portals.delete(name)
}
