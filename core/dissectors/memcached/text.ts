/**
 * Memcached in lines: the classic commands, and the meta commands with their flags of one letter.
 *
 *   client   set k 0 0 3 CRLF abc CRLF       get k1 k2 CRLF                           mg k v s CRLF
 *   server   STORED CRLF                     VALUE k1 0 3 CRLF abc CRLF END CRLF      VA 3 s3 CRLF abc CRLF
 */
import { type Cursor, utf8 } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { decimal, Intake, MAX_SIZE, type Pending, type Value } from './value.ts'

/** What stands behind the name. */
type Form = 'store' | 'keys' | 'timed keys' | 'key' | 'number' | 'time' | 'words' | 'meta' | 'meta store' | 'nothing'

/** What its answer looks like. */
type Family = 'stored' | 'values' | 'deleted' | 'number' | 'touched' | 'told' | 'meta' | 'end of quiet' | 'any'

export interface Kind {
  name: string
  form: Form
  answer: Family
  /** What HD means to the client. */
  done?: string
}

const KINDS: readonly Kind[] = [
  { name: 'get', form: 'keys', answer: 'values' },
  { name: 'gets', form: 'keys', answer: 'values' },
  { name: 'gat', form: 'timed keys', answer: 'values' },
  { name: 'gats', form: 'timed keys', answer: 'values' },
  { name: 'set', form: 'store', answer: 'stored' },
  { name: 'add', form: 'store', answer: 'stored' },
  { name: 'replace', form: 'store', answer: 'stored' },
  { name: 'append', form: 'store', answer: 'stored' },
  { name: 'prepend', form: 'store', answer: 'stored' },
  { name: 'cas', form: 'store', answer: 'stored' },
  { name: 'delete', form: 'key', answer: 'deleted' },
  { name: 'incr', form: 'number', answer: 'number' },
  { name: 'decr', form: 'number', answer: 'number' },
  { name: 'touch', form: 'time', answer: 'touched' },
  { name: 'flush_all', form: 'words', answer: 'told' },
  { name: 'version', form: 'words', answer: 'told' },
  { name: 'verbosity', form: 'words', answer: 'told' },
  { name: 'stats', form: 'words', answer: 'told' },
  { name: 'quit', form: 'words', answer: 'told' },
  { name: 'mg', form: 'meta', answer: 'meta', done: 'HIT' },
  { name: 'ms', form: 'meta store', answer: 'meta', done: 'STORED' },
  { name: 'md', form: 'meta', answer: 'meta', done: 'DELETED' },
  { name: 'ma', form: 'meta', answer: 'meta', done: 'OK' },
  { name: 'me', form: 'meta', answer: 'meta', done: 'HIT' },
  { name: 'mn', form: 'nothing', answer: 'end of quiet' },
]
export const BY_NAME: ReadonlyMap<string, Kind> = new Map(KINDS.map(kind => [kind.name, kind]))

/** A thousand keys of 250 characters in one `get`. */
const MAX_LINE = 262_144
const MAX_KEY = 250
/** Keys, values and lines that one message keeps; a million would make a stop. */
const MAX_KEPT = 1000
/** Commands of which nothing is known; the server answers ERROR where it does not know them either. */
const UNKNOWN = /^[a-z_]{2,32}$/

const CR = 13

/** The words of the line at the cursor, which moves behind it. */
export function readWords(at: Cursor): string[] {
  const start = at.position
  const lf = at.lineEnd(MAX_LINE)
  const end = lf > start && at.bytes[lf - 1] === CR ? lf - 1 : lf
  for (let i = start; i < end; i++) if (at.bytes[i]! < 0x20) at.fail('words')
  at.position = lf + 1
  const words = utf8(at.bytes, start, end).split(' ')
  return words.includes('') ? words.filter(word => word !== '') : words
}

// ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One command; its line is read, its data perhaps in part. */
export class Command implements Pending {
  readonly kind: Kind
  readonly body: Json
  intake: Intake | null = null
  /** `noreply`. */
  isSilent = false
  /** The flag q: an answer comes only if it says something unusual. */
  isQuiet = false

  constructor(kind: Kind, body: Json) {
    this.kind = kind
    this.body = body
  }
}

/** The line alone. */
export function readCommand(at: Cursor, keep: number): Command {
  const [name = '', ...words] = readWords(at)
  const kind =
    BY_NAME.get(name) ?? (UNKNOWN.test(name) ? { name, form: 'words' as const, answer: 'any' as const } : null)
  if (kind === null) at.fail('a command')
  const command = new Command(kind, { command: name, key: null })
  READERS[kind.form](command, words, at, keep)
  return command
}

type Reader = (command: Command, words: string[], at: Cursor, keep: number) => void

const READERS: Readonly<Record<Form, Reader>> = {
  store: readStore,
  keys: (command, words, at) => readKeys(command, words, at),
  'timed keys': (command, words, at) => {
    command.body.exptime = signed(words.shift(), at)
    readKeys(command, words, at)
  },
  key: (command, words, at) => {
    takeNoreply(command, words)
    command.body.key = key(words[0], at)
    // Old clients name a time; only 0 is allowed.
    atMost(words, 2, at)
  },
  number: (command, words, at) => {
    takeNoreply(command, words)
    command.body.key = key(words[0], at)
    command.body.delta = unsigned(words[1], at)
    atMost(words, 2, at)
  },
  time: (command, words, at) => {
    takeNoreply(command, words)
    command.body.key = key(words[0], at)
    command.body.exptime = signed(words[1], at)
    atMost(words, 2, at)
  },
  words: (command, words) => {
    if (command.kind.name !== 'stats') takeNoreply(command, words)
    if (words.length > 0) command.body.args = words.slice(0, MAX_KEPT)
  },
  meta: (command, [name, ...flags], at) => readMeta(command, name, flags, at),
  'meta store': (command, [name, length, ...flags], at, keep) => {
    readMeta(command, name, flags, at)
    command.intake = new Intake(size(length, at), 2, keep)
  },
  nothing: (_command, words, at) => atMost(words, 0, at),
}

function readStore(command: Command, words: string[], at: Cursor, keep: number): void {
  const { body, kind } = command
  takeNoreply(command, words)
  body.key = key(words[0], at)
  body.flags = unsigned(words[1], at)
  body.exptime = signed(words[2], at)
  command.intake = new Intake(size(words[3], at), 2, keep)
  if (kind.name === 'cas') body.cas = unsigned(words[4], at)
  atMost(words, kind.name === 'cas' ? 5 : 4, at)
}

function readKeys({ body }: Command, words: string[], at: Cursor): void {
  body.key = key(words[0], at)
  for (const word of words) key(word, at)
  if (words.length > 1) body.keys = words.slice(0, MAX_KEPT)
  if (words.length > MAX_KEPT) body.omitted = words.length - MAX_KEPT
}

function readMeta(command: Command, name: string | undefined, flags: string[], at: Cursor): void {
  command.body.key = key(name, at)
  if (flags.length > 0) command.body.metaFlags = flags.slice(0, MAX_KEPT)
  command.isQuiet = flags.includes('q')
}

function takeNoreply(command: Command, words: string[]): void {
  if (words.at(-1) !== 'noreply') return
  words.pop()
  command.isSilent = true
  command.body.noreply = true
}

function key(word: string | undefined, at: Cursor): string {
  if (word === undefined || word.length > MAX_KEY) at.fail(`a key of at most ${MAX_KEY} bytes`)
  return word
}

function unsigned(word: string | undefined, at: Cursor): number | string {
  if (word === undefined || !/^\d{1,20}$/.test(word)) at.fail(`a number, found ${word}`)
  return decimal(word)
}

function signed(word: string | undefined, at: Cursor): number {
  if (word === undefined || !/^-?\d{1,15}$/.test(word)) at.fail(`a number of seconds, found ${word}`)
  return Number(word)
}

function size(word: string | undefined, at: Cursor): number {
  const length = word !== undefined && /^\d{1,10}$/.test(word) ? Number(word) : -1
  if (length < 0 || length > MAX_SIZE) at.fail(`a size of at most ${MAX_SIZE} bytes, found ${word}`)
  return length
}

function atMost(words: readonly string[], most: number, at: Cursor): void {
  if (words.length > most) at.fail(`at most ${most} words, found ${words.length}`)
}

/** The data of a command, and the CR LF behind it. */
export function readData(at: Cursor, command: Command): void {
  if (command.intake === null) return
  Object.assign(command.body, command.intake.read(at, command))
  readEnd(at)
}

function readEnd(at: Cursor): void {
  if (at.u16() !== 0x0d0a) at.fail('CR LF behind the data')
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const ERRORS: ReadonlySet<string> = new Set(['ERROR', 'CLIENT_ERROR', 'SERVER_ERROR'])

/** First words of the lines of an answer, by what was asked. */
const FITTING: Readonly<Record<Exclude<Family, 'any'>, ReadonlySet<string>>> = {
  stored: new Set(['STORED', 'NOT_STORED', 'EXISTS', 'NOT_FOUND']),
  values: new Set(['VALUE', 'END']),
  deleted: new Set(['DELETED', 'NOT_FOUND']),
  number: new Set(['NUMBER', 'NOT_FOUND']),
  touched: new Set(['TOUCHED', 'NOT_FOUND']),
  told: new Set(['OK', 'VERSION', 'STAT', 'ITEM', 'PREFIX', 'RESET', 'END']),
  meta: new Set(['VA', 'HD', 'EN', 'NF', 'NS', 'EX', 'ME']),
  'end of quiet': new Set(['VA', 'HD', 'EN', 'NF', 'NS', 'EX', 'ME', 'MN']),
}
/** Answers to those who administrate; also lines of the log that `watch` brings, and of all keys. */
const OTHERS = ['BUSY', 'BADCLASS', 'NOSPARE', 'NOTFULL', 'UNSAFE', 'SAME', 'LINE', 'LOG']
const ALL: ReadonlySet<string> = new Set([...Object.values(FITTING).flatMap(set => [...set]), ...OTHERS])

/** What the codes of the meta commands are called elsewhere. */
const CODES: Readonly<Record<string, string>> = {
  EN: 'MISS',
  NF: 'NOT_FOUND',
  NS: 'NOT_STORED',
  EX: 'EXISTS',
  MN: 'MN',
}

interface Entry extends Value {
  key: string
  flags: number | string
  cas?: number | string
}

/** One answer: a line, or several to END. Each whole part of a long one is committed. */
export class Answer implements Pending {
  intake: Intake | null = null
  private head: Json = {}
  private readonly values: Entry[] = []
  private readonly stats: Map<string, string> = new Map()
  private readonly lines: string[] = []
  private omitted = 0
  private parts = 0
  /** Bytes of values that may still be kept, for all of them together. */
  private room: number
  private weight = 0

  constructor(keep: number) {
    this.room = keep
  }

  read(at: Cursor, asked: Kind | undefined): Json {
    for (;;) {
      if (this.intake !== null) {
        const whole = this.readValue(at, this.intake)
        if (whole !== null) return whole
      }
      const words = readWords(at)
      const word = firstWord(words[0] ?? '')
      const fits = asked === undefined || asked.answer === 'any' ? ALL : FITTING[asked.answer]
      if (!fits.has(word) && !ERRORS.has(word)) at.fail(`an answer to ${asked?.name ?? 'a command'}`)
      const isPart = this.takePart(word, words, at, asked)
      if (!isPart && this.parts > 0 && word !== 'END' && !ERRORS.has(word)) at.fail('END')
      if (!isPart) return this.finish(word, words, asked)
    }
  }

  /** Whether the line is not the last one. */
  private takePart(word: string, words: string[], at: Cursor, asked: Kind | undefined): boolean {
    switch (word) {
      case 'VALUE':
        this.head = { key: key(words[1], at), flags: unsigned(words[2], at) }
        if (words.length > 4) this.head.cas = unsigned(words[4], at)
        this.expect(size(words[3], at), at)
        return true
      case 'VA':
        this.head = { status: asked?.done ?? 'VA', code: 'VA' }
        if (words.length > 2) this.head.metaFlags = words.slice(2, MAX_KEPT)
        this.expect(size(words[1], at), at)
        return true
      case 'STAT':
        if (this.count()) this.stats.set(words[1] ?? '', words.slice(2).join(' '))
        this.commit(at, 64)
        return true
      case 'ITEM':
      case 'PREFIX':
      case 'LINE':
        if (this.count()) this.lines.push(words.join(' '))
        this.commit(at, 128)
        return true
      default:
        return false
    }
  }

  /** Whether one more is kept. */
  private count(): boolean {
    this.parts++
    if (this.parts <= MAX_KEPT) return true
    this.omitted++
    return false
  }

  private expect(length: number, at: Cursor): void {
    this.intake = new Intake(length, 2, this.parts < MAX_KEPT ? this.room : 0)
    at.commit(this, this.weight)
  }

  /** The answer when it ends here. */
  private readValue(at: Cursor, intake: Intake): Json | null {
    const value = intake.read(at, this)
    readEnd(at)
    this.intake = null
    if (this.head.code === 'VA') return { ...this.head, ...value }
    if (this.count()) {
      this.values.push({ ...this.head, ...value } as Entry)
      if (value.value !== null) this.room = Math.max(0, this.room - value.valueSize)
    }
    this.commit(at, value.value === null ? 64 : 64 + value.value.length)
    return null
  }

  private commit(at: Cursor, weight: number): void {
    this.weight += weight
    at.commit(this, this.weight)
  }

  private finish(word: string, words: string[], asked: Kind | undefined): Json {
    const body: Json = { status: word }
    if (word === 'END') body.status = this.ending(asked)
    else if (word === 'NUMBER') {
      body.status = 'OK'
      body.number = decimal(words[0]!)
    } else if (word === 'VERSION') {
      body.status = 'OK'
      body.version = words.slice(1).join(' ')
    } else if (asked?.answer === 'meta' || META.has(word)) describeMeta(body, word, words, asked)
    else if (words.length > 1) body.message = words.slice(word === 'LOG' ? 0 : 1).join(' ')
    if (this.values.length > 0) body.values = this.values
    if (this.stats.size > 0) body.stats = Object.fromEntries(this.stats)
    if (this.lines.length > 0) body.lines = this.lines
    if (this.omitted > 0) body.omitted = this.omitted
    return body
  }

  private ending(asked: Kind | undefined): string {
    if (this.values.length > 0) return 'HIT'
    return asked?.answer === 'values' ? 'MISS' : 'END'
  }
}

const META: ReadonlySet<string> = new Set(['HD', 'EN', 'NF', 'NS', 'EX', 'ME', 'MN'])

function describeMeta(body: Json, word: string, words: string[], asked: Kind | undefined): void {
  if (!META.has(word)) {
    if (words.length > 1) body.message = words.slice(1).join(' ')
    return
  }
  body.status = CODES[word] ?? asked?.done ?? word
  body.code = word
  if (word === 'ME') {
    body.key = words[1] ?? null
    body.details = words.slice(2, MAX_KEPT)
  } else if (words.length > 1) body.metaFlags = words.slice(1, MAX_KEPT)
}

/** Numbers, lines of `watch` and those of all keys have no word of their own. */
function firstWord(word: string): string {
  if (/^\d{1,20}$/.test(word)) return 'NUMBER'
  if (word.startsWith('key=')) return 'LINE'
  return word.startsWith('ts=') ? 'LOG' : word
}

export function isError(status: string): boolean {
  return ERRORS.has(status)
}
