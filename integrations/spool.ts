/**
 * Spool: orders on disk until the other side has them, dead letters, and the counts that prove nothing vanished. One
 * SQLite file (WAL) in a directory that one process holds. What add() has resolved survives SIGKILL and loss of power.
 */
import { chmodSync, closeSync, fdatasync, fsyncSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { Fault } from '../core/fault.ts'
import { makeFolder } from './make-folder.ts'
import { Reserve } from './reserve.ts'

export interface SpoolLimits {
  /** A receiver that is down for days must not fill the disk of a node that others live on. */
  orders: number
  /** The same, by bytes: orders of one body of megabytes each. */
  bytes: number
  /** One message that no receiver takes: scripts send items, and an item may hold a body of any size. */
  orderBytes: number
  /** A webhook that was revoked makes a dead letter of everything: the oldest go, counted as dropped. */
  deadLetters: number
  deadLetterBytes: number
  /** The file itself, which shrinks only where the disk is full: the last line, should what the limits above count be less than what it takes. */
  fileBytes: number
}

export const SPOOL_LIMITS: SpoolLimits = {
  orders: 100_000,
  bytes: 256 * 1024 * 1024,
  orderBytes: 4 * 1024 * 1024,
  deadLetters: 10_000,
  deadLetterBytes: 64 * 1024 * 1024,
  fileBytes: 1024 * 1024 * 1024,
}

/** An order as it lies on disk. Times are ms since 1970. */
export interface SpooledOrder {
  seq: number
  id: string
  integration: string
  script: string
  destination: string
  /** JSON. */
  arguments: string
  /** What the limits count: the texts above in UTF-8. */
  bytes: number
  /** When the script sent it. */
  accepted: number
  /** When it entered the spool: later than `accepted` for a dead letter that is tried again. Its age counts from here. */
  since: number
  attempts: number
  /** Not to be tried before; of one never tried, when it came. */
  due: number
  /** 1: it failed so often that those behind it pass. */
  aside: number
  /** Why the last attempt failed, for people. */
  cause: string | null
}

export type NewOrder = Pick<
  SpooledOrder,
  'id' | 'integration' | 'script' | 'destination' | 'arguments' | 'bytes' | 'accepted'
>

export type Postponement = Pick<SpooledOrder, 'attempts' | 'due' | 'aside'> & { cause: string; reason: string }

/** Why nobody will try again. */
export interface Epitaph {
  /** Of the Fault: `HTTP_404`. */
  code: string
  reason: string
  /** What the receiver answered, if it did. */
  status: number | null
  excerpt: string | null
  attempts: number
  died: number
}

export interface DeadLetter extends Epitaph {
  id: string
  integration: string
  script: string
  destination: string
  bytes: number
  accepted: number
}

export interface Backlog {
  destination: string
  spooled: number
  /** Of the order tried most often, and why it failed last. */
  attempts: number
  cause: string | null
}

/** `produced = delivered + spooled + deadLettered`, in every committed state of the file. */
export interface Counts {
  produced: number
  delivered: number
  spooled: number
  /** Given up, whether the letter is still kept or not. */
  deadLettered: number
  /** Of the dead-lettered: those no longer kept, deleted by a person or pushed out by younger ones. */
  dropped: number
  /** Attempts that failed and were, or will be, followed by another. */
  retries: number
  /** Never accepted: the caller got a Fault. */
  refused: number
  /** The same by cause: `retried http-503`, `dead HTTP_404`, `refused SPOOL_FULL`. */
  byCause: { [cause: string]: number }
}

/** One step of the next transaction. */
type Write = Entry | Record

/** Somebody wants in: told when the disk has it, or that it has not. */
interface Entry {
  kind: 'entry'
  apply: () => void
  done: () => void
  fail: (fault: Fault) => void
}

/**
 * Something has happened outside, which a full disk can't undo: written until it is written. It need not outlive a loss
 * of power, after which the order is sent once more.
 */
interface Record {
  kind: 'record'
  apply: () => void
  done: () => void
}

export class Spool {
  readonly #database: DatabaseSync
  readonly #wal: number
  readonly #limits: SpoolLimits
  readonly #reserve: Reserve
  readonly #statements: Statements
  readonly #tally: Map<string, number>
  /** Increments of the transaction under way, or of refusals that the next one takes along. */
  #increments = new Map<string, number>()
  #writes: Write[] = []
  /** Entries that are committed and not yet known to be on the disk. */
  #committed: Entry[] = []
  #flushing: NodeJS.Immediate | NodeJS.Timeout | null = null
  #syncing = false
  #looking: NodeJS.Timeout | null = null
  #idle: (() => void)[] = []
  #broken: Fault | null = null
  #closing = false
  /** Asked for and not yet committed. */
  #reserved = { orders: 0, bytes: 0 }
  /** Highest number the disk is known to have. What is younger is not handed out. */
  #published: number

  static open(directory: string, limits: SpoolLimits = SPOOL_LIMITS): Spool {
    try {
      makeFolder(directory)
      return new Spool(directory, claim(directory, limits), limits)
    } catch (error) {
      throw openingFault(directory, error)
    }
  }

  private constructor(directory: string, database: DatabaseSync, limits: SpoolLimits) {
    this.#database = database
    this.#limits = limits
    this.#reserve = new Reserve(join(directory, RESERVE))
    this.#wal = openSync(join(directory, `${FILE}-wal`), 'r')
    this.#statements = prepare(database)
    this.#tally = new Map(this.#statements.counts.all().map(row => [row.name as string, row.value as number]))
    this.#published = this.#youngest()
    if (this.#reserve.held || this.#makeRoom()) this.#fitLog()
    else this.#awaitRoom()
  }

  /** Resolves when the order is on disk; rejects with a Fault when it is not and never will be. */
  add(order: NewOrder): Promise<void> {
    this.#checkRoom(order)
    return this.#enter(order, () => {
      this.#insert(order, order.accepted)
      this.#increment('produced', 1)
    })
  }

  count(name: string): void {
    this.#increment(name, 1)
    this.#schedule()
  }

  destinations(): string[] {
    return this.#statements.destinations.all().map(row => row.destination as string)
  }

  /** The order of this destination whose turn it is, whether or not it may go yet: of two, the one that waits longer. */
  next(destination: string): SpooledOrder | null {
    const head = this.#statements.head.get(destination, this.#published) as SpooledOrder | undefined
    const aside = this.#statements.aside.get(destination, this.#published) as SpooledOrder | undefined
    if (head === undefined || aside === undefined) return head ?? aside ?? null
    return aside.due < head.due ? aside : head
  }

  delivered(order: SpooledOrder): Promise<void> {
    return this.#record(() => {
      this.#remove(order)
      this.#increment('delivered', 1)
    })
  }

  postponed(order: SpooledOrder, { attempts, due, aside, cause, reason }: Postponement): Promise<void> {
    return this.#record(() => {
      this.#statements.postpone.run(attempts, due, aside, reason, order.seq)
      this.#increment('retries', 1)
      this.#increment(`retried ${cause}`, 1)
    })
  }

  buried(order: SpooledOrder, epitaph: Epitaph): Promise<void> {
    return this.#record(() => {
      this.#remove(order)
      const { id, integration, script, destination, bytes, accepted } = order
      const { code, reason, status, excerpt, attempts, died } = epitaph
      const whose = [id, integration, script, destination, order.arguments, bytes, accepted] as const
      this.#statements.bury.run(...whose, code, reason, status, excerpt, attempts, died)
      this.#increment('deadLettered', 1)
      this.#increment('deadLetterBytes', bytes)
      this.#increment(`dead ${code}`, 1)
      this.#makeRoomForTheDead()
    })
  }

  /** Youngest first. */
  deadLetters(): DeadLetter[] {
    return this.#statements.letters.all() as unknown as DeadLetter[]
  }

  deadLetter(id: string): DeadLetter & { arguments: string } {
    const letter = this.#statements.letter.get(id) as (DeadLetter & { arguments: string }) | undefined
    if (letter === undefined) throw new Fault('DEAD_LETTER_UNKNOWN', `no dead letter has the id "${id}"`)
    return letter
  }

  /** Back into the spool, at its end, as if never tried. */
  redeliver(id: string, now: number): Promise<void> {
    const letter = this.deadLetter(id)
    this.#checkRoom(letter)
    return this.#enter(letter, () => {
      // Asked twice in one turn, or pushed out meanwhile: once is what was wanted.
      if (this.#statements.exhume.run(id).changes === 0) return
      this.#insert(letter, now)
      this.#increment('deadLettered', -1)
      this.#increment('deadLetterBytes', -letter.bytes)
    })
  }

  drop(id: string): Promise<void> {
    const { bytes } = this.deadLetter(id)
    return this.#record(() => {
      if (this.#statements.exhume.run(id).changes === 0) return
      this.#increment('dropped', 1)
      this.#increment('deadLetterBytes', -bytes)
    })
  }

  where(id: string): 'spooled' | 'dead' | 'gone' {
    if (this.#statements.waits.get(id) !== undefined) return 'spooled'
    return this.#statements.letter.get(id) === undefined ? 'gone' : 'dead'
  }

  get empty(): boolean {
    return this.#value('spooled') === 0
  }

  counts(): Counts {
    const names = new Set([...this.#tally.keys(), ...this.#increments.keys()])
    const causes = [...names].filter(name => name.includes(' ')).sort()
    return {
      produced: this.#value('produced'),
      delivered: this.#value('delivered'),
      spooled: this.#value('spooled'),
      deadLettered: this.#value('deadLettered'),
      dropped: this.#value('dropped'),
      retries: this.#value('retries'),
      refused: this.#value('refused'),
      byCause: Object.fromEntries(causes.map(name => [name, this.#value(name)])),
    }
  }

  /** What waits, the longest queue first. */
  backlog(): Backlog[] {
    return this.#statements.backlog.all() as unknown as Backlog[]
  }

  /** Writes what is left to write, if the disk takes it, and lets go of the directory. */
  async close(): Promise<void> {
    this.#closing = true
    while (this.#flushing !== null || this.#syncing) await new Promise<void>(resolve => this.#idle.push(resolve))
    if (this.#looking !== null) clearInterval(this.#looking)
    closeSync(this.#wal)
    this.#database.close()
  }

  #checkRoom({ bytes }: { bytes: number }): void {
    if (this.#broken !== null) throw this.#broken
    if (!this.#reserve.held) {
      const needed = `${Math.ceil(this.#reserve.needed / 1024)} KiB`
      throw new Fault('SPOOL_DISK_FULL', `the disk is full: orders are accepted again when ${needed} are free`)
    }
    const { orders, bytes: room, orderBytes } = this.#limits
    if (bytes > orderBytes) {
      throw new Fault('ORDER_TOO_LARGE', `one order may hold ${orderBytes} bytes, found ${bytes}`)
    }
    const waiting = this.#value('spooled') + this.#reserved.orders
    const waitingBytes = this.#value('spooledBytes') + this.#reserved.bytes
    if (waiting + 1 > orders || waitingBytes + bytes > room) {
      const found = `${waiting} orders of ${waitingBytes} bytes wait`
      throw new Fault(
        'SPOOL_FULL',
        `the spool holds ${orders} orders or ${room} bytes, and ${found}: is a receiver down?`,
      )
    }
  }

  #enter({ bytes }: { bytes: number }, apply: () => void): Promise<void> {
    this.#reserved.orders++
    this.#reserved.bytes += bytes
    return new Promise((done, fail) => this.#write({ kind: 'entry', apply, done, fail }))
  }

  #record(apply: () => void): Promise<void> {
    return new Promise(done => this.#write({ kind: 'record', apply, done }))
  }

  #insert(order: NewOrder, since: number): void {
    const { id, integration, script, destination, bytes, accepted } = order
    this.#statements.insert.run(id, integration, script, destination, order.arguments, bytes, accepted, since, since)
    this.#increment('spooled', 1)
    this.#increment('spooledBytes', bytes)
  }

  #remove({ seq, bytes }: SpooledOrder): void {
    this.#statements.remove.run(seq)
    this.#increment('spooled', -1)
    this.#increment('spooledBytes', -bytes)
  }

  #makeRoomForTheDead(): void {
    const { deadLetters, deadLetterBytes } = this.#limits
    while (
      this.#value('deadLettered') - this.#value('dropped') > deadLetters ||
      this.#value('deadLetterBytes') > deadLetterBytes
    ) {
      const { bytes } = this.#statements.exhumeOldest.get() as { bytes: number }
      this.#increment('dropped', 1)
      this.#increment('deadLetterBytes', -bytes)
    }
  }

  #value(name: string): number {
    return (this.#tally.get(name) ?? 0) + (this.#increments.get(name) ?? 0)
  }

  #youngest(): number {
    return (this.#statements.youngest.get() as { seq: number } | undefined)?.seq ?? 0
  }

  #increment(name: string, by: number): void {
    this.#increments.set(name, (this.#increments.get(name) ?? 0) + by)
  }

  #write(write: Write): void {
    this.#writes.push(write)
    this.#schedule()
  }

  /** All writes of one turn of the event loop share a transaction. */
  #schedule(): void {
    this.#flushing ??= setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = null
    const writes = this.#writes
    this.#writes = []
    const failure = this.#fits(this.#reserved.bytes) ? this.#commit(writes) : new Fault('SPOOL_DISK_FULL', DISK_FULL)
    if (failure !== null) this.#salvage(writes, failure)
    this.#reserved = { orders: 0, bytes: 0 }
    this.#sync()
    this.#rest()
  }

  /** What is large beside the reserve must find room twice, in the log and in the file, and some for its pages. */
  #fits(bytes: number): boolean {
    return bytes <= this.#reserve.bytes / 4 || this.#reserve.free >= 3 * bytes
  }

  /** Who wanted in hears that the disk is full; what has happened outside is written alone, now or when there is room. */
  #salvage(writes: Write[], failure: Fault): void {
    for (const write of writes) if (write.kind === 'entry') write.fail(failure)
    const records = writes.filter(write => write.kind === 'record')
    if (this.#commit(records) === null) return
    this.#reserve.release()
    this.#awaitRoom()
    this.#foldLog()
    if (this.#commit(records) === null) return
    if (this.#closing) {
      // Room may never come. What is not written down is sent once more by the next process.
      for (const record of records) record.done()
      return
    }
    this.#writes = records
    this.#flushing = setTimeout(() => this.#flush(), DISK_PAUSE_MS)
  }

  /** Frees the room of the log by writing what it holds into the file. Fails where the reserve was not enough. */
  #foldLog(): void {
    try {
      this.#database.exec('pragma wal_checkpoint(truncate)')
    } catch (error) {
      diskFault(error)
    }
  }

  /** Nobody is let in before the reserve is whole again. */
  #awaitRoom(): void {
    this.#looking ??= setInterval(() => {
      if (!this.#reserve.hold() && !this.#makeRoom()) return
      clearInterval(this.#looking!)
      this.#looking = null
      this.#fitLog()
    }, DISK_PAUSE_MS).unref()
  }

  /** A file that has filled a small disk would keep its size when nothing is left in it, and nobody would be let in again. */
  #makeRoom(): boolean {
    const { page_count: pages } = this.#database.prepare('pragma page_count').get() as { page_count: number }
    const { freelist_count: unused } = this.#database.prepare('pragma freelist_count').get() as {
      freelist_count: number
    }
    if (!this.empty || unused < pages / 2) return false
    try {
      this.#database.exec('vacuum')
    } catch (error) {
      diskFault(error)
      return false
    }
    this.#foldLog()
    return this.#reserve.hold()
  }

  /** The log holds no more than can be folded into the file when nothing but the reserve is left: half, and what comes. */
  #fitLog(): void {
    const { page_size: pageBytes } = this.#database.prepare('pragma page_size').get() as { page_size: number }
    this.#database.exec(`pragma wal_autocheckpoint = ${Math.floor(this.#reserve.bytes / 2 / pageBytes)}`)
  }

  /** All or nothing. */
  #commit(writes: Write[]): Fault | null {
    const refusals = new Map(this.#increments)
    try {
      this.#database.exec('begin immediate')
      for (const write of writes) write.apply()
      for (const [name, by] of this.#increments) this.#statements.count.run(name, by)
      this.#database.exec('commit')
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('rollback')
      this.#increments = refusals
      return diskFault(error)
    }
    for (const [name, by] of this.#increments) this.#tally.set(name, (this.#tally.get(name) ?? 0) + by)
    this.#increments.clear()
    for (const write of writes) {
      if (write.kind === 'entry') this.#committed.push(write)
      else write.done()
    }
    return null
  }

  /**
   * The commit above has written the log but not waited for the disk (synchronous=NORMAL): waiting takes milliseconds
   * and would stop the process. One wait in a thread answers for all that was committed before it began.
   */
  #sync(): void {
    if (this.#syncing || this.#committed.length === 0) return
    const entries = this.#committed
    this.#committed = []
    this.#syncing = true
    const youngest = this.#youngest()
    fdatasync(this.#wal, error => {
      this.#syncing = false
      if (error === null) {
        this.#published = youngest
        for (const entry of entries) entry.done()
      } else {
        // After a failed sync nobody knows what the disk holds; a second one would say "all well" (fsync(2)).
        this.#broken = new Fault('SPOOL_DISK_FAILED', `the spool's disk failed: ${error.message}`)
        for (const entry of entries) entry.fail(this.#broken)
      }
      this.#sync()
      this.#rest()
    })
  }

  #rest(): void {
    if (this.#flushing !== null || this.#syncing) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

const FILE = 'spool.db'
const RESERVE = 'reserve'
/** Layout of the file. A later one is not understood, and not touched. */
const LAYOUT = 1
/** A full disk is looked at again after this long: neither a busy loop, nor minutes after somebody made room. */
const DISK_PAUSE_MS = 1000
/** The log is cut to this after a rush; without it the file keeps the size of its worst day. */
const LOG_BYTES = 16 * 1024 * 1024

const SCHEMA = `
  create table orders (
    seq integer primary key autoincrement, id text not null unique,
    integration text not null, script text not null, destination text not null,
    bytes integer not null, accepted integer not null, since integer not null,
    attempts integer not null default 0, due integer not null, aside integer not null default 0, cause text,
    arguments text not null
  ) strict;
  create index in_order on orders (destination, aside, seq);
  create index by_due on orders (destination, due) where aside = 1;
  create table dead_letters (
    seq integer primary key autoincrement, id text not null unique,
    integration text not null, script text not null, destination text not null,
    bytes integer not null, accepted integer not null,
    code text not null, reason text not null, status integer, excerpt text, attempts integer not null, died integer not null,
    arguments text not null
  ) strict;
  create table counts (name text primary key, value integer not null) strict, without rowid;
`

/**
 * SQLite's own lock on the file, held for as long as the database is open, is the claim: the kernel lets go of it however
 * the process ends, and it holds between containers, where process ids say nothing.
 */
function claim(directory: string, { fileBytes }: SpoolLimits): DatabaseSync {
  const path = join(directory, FILE)
  const database = new DatabaseSync(path)
  try {
    database.exec('pragma locking_mode = exclusive')
    database.exec('pragma journal_mode = wal')
    database.exec('pragma synchronous = full')
    const { user_version: layout } = database.prepare('pragma user_version').get() as { user_version: number }
    if (layout > LAYOUT) {
      throw new Fault('SPOOL_LAYOUT', `${path} was written by a later version (layout ${layout}, expected ${LAYOUT})`)
    }
    // Nothing is written to a spool that is there: on a full disk what waits is still to be listed and delivered.
    const layingOut = layout === 0 ? `${SCHEMA} pragma user_version = ${LAYOUT};` : ''
    database.exec(`begin immediate; ${layingOut} commit`)
    database.exec(`pragma synchronous = normal; pragma journal_size_limit = ${LOG_BYTES}`)
    const { page_size: pageBytes } = database.prepare('pragma page_size').get() as { page_size: number }
    database.exec(`pragma max_page_count = ${Math.floor(fileBytes / pageBytes)}`)
  } catch (error) {
    database.close()
    if (sqliteCode(error) !== SQLITE_BUSY) throw error
    throw new Fault('SPOOL_IN_USE', `${directory} is in use by process ${owner(directory)}`)
  }
  // The orders hold the passwords of their receivers.
  chmodSync(path, 0o600)
  chmodSync(`${path}-wal`, 0o600)
  sign(directory)
  // The files are on disk when the directory that names them is.
  const folder = openSync(directory, 'r')
  fsyncSync(folder)
  closeSync(folder)
  return database
}

/** Tells whom to ask; it is not the lock. */
const OWNER = 'owner.pid'

function sign(directory: string): void {
  const path = join(directory, OWNER)
  try {
    writeFileSync(path, `${process.pid}\n`)
  } catch (error) {
    if (!isDiskFull(error)) throw error
    // Better nobody's number than the last one's.
    rmSync(path, { force: true })
  }
}

function owner(directory: string): string {
  try {
    return readFileSync(join(directory, OWNER), 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

/** Why there is no spool, for people. */
function openingFault(directory: string, error: unknown): Fault {
  if (error instanceof Fault) return error
  const { message } = error as Error
  if (isDiskFull(error)) {
    return new Fault('SPOOL_DISK_FULL', `the disk is full, and the spool in ${directory} can't be opened: ${message}`)
  }
  if (DAMAGED.has(sqliteCode(error))) {
    const found = `${join(directory, FILE)} is damaged, or no spool at all: ${message}`
    return new Fault('SPOOL_DAMAGED', `${found}; what waits there can't be read: move it away, and a new one is made`)
  }
  return new Fault('SPOOL_UNUSABLE', `the spool needs a directory of its own to write to, ${directory}: ${message}`)
}

const SQLITE_BUSY = 5
const SQLITE_FULL = 13
/** SQLITE_IOERR and its extended codes: `code & 0xff`. */
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26
const DAMAGED: ReadonlySet<number | null> = new Set([SQLITE_CORRUPT, SQLITE_NOTADB])

function isDiskFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return sqliteCode(error) === SQLITE_FULL || code === 'ENOSPC' || code === 'EDQUOT'
}

function diskFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  const code = sqliteCode(error)
  if (code === SQLITE_FULL) return new Fault('SPOOL_DISK_FULL', DISK_FULL)
  if (code === SQLITE_IOERR) return new Fault('SPOOL_DISK_FAILED', `the disk of the spool failed: ${error}`)
  throw error
}

const DISK_FULL = 'the disk is full, or the spool has reached the size it may have; the order was not accepted'

function sqliteCode(error: unknown): number | null {
  return error instanceof Error && 'errcode' in error ? (error.errcode as number) & 0xff : null
}

type Statements = ReturnType<typeof prepare>

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql)
  return {
    counts: statement('select name, value from counts'),
    count: statement(
      'insert into counts values (?, ?) on conflict (name) do update set value = value + excluded.value',
    ),
    youngest: statement("select seq from sqlite_sequence where name = 'orders'"),
    destinations: statement('select distinct destination from orders'),
    insert: statement(
      `insert into orders (id, integration, script, destination, arguments, bytes, accepted, since, due)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    head: statement('select * from orders where destination = ? and aside = 0 and seq <= ? order by seq limit 1'),
    aside: statement('select * from orders where destination = ? and aside = 1 and seq <= ? order by due limit 1'),
    remove: statement('delete from orders where seq = ?'),
    postpone: statement('update orders set attempts = ?, due = ?, aside = ?, cause = ? where seq = ?'),
    waits: statement('select 1 from orders where id = ?'),
    backlog: statement(
      `select destination, count(*) as spooled, max(attempts) as attempts, cause
       from orders group by destination order by spooled desc`,
    ),
    bury: statement(
      `insert into dead_letters (id, integration, script, destination, arguments, bytes, accepted,
       code, reason, status, excerpt, attempts, died) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    letters: statement(
      `select id, integration, script, destination, bytes, accepted, code, reason, status, excerpt, attempts, died
       from dead_letters order by seq desc`,
    ),
    letter: statement(
      `select id, integration, script, destination, arguments, bytes, accepted,
       code, reason, status, excerpt, attempts, died from dead_letters where id = ?`,
    ),
    exhume: statement('delete from dead_letters where id = ?'),
    exhumeOldest: statement('delete from dead_letters where seq = (select min(seq) from dead_letters) returning bytes'),
  }
}
