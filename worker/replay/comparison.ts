/** How an answer is compared with the recorded one, for each protocol, and what is left out because it always differs. */
import type { DnsRecord, DnsResponse } from '../../core/dissectors/dns.ts'
import type { AnswerBody } from '../../core/dissectors/redis.ts'
import type { Json, JsonValue } from '../../core/item.ts'
import type { Comparing } from './plan.ts'

/** Something that is not as it was recorded. */
export interface Difference {
  /** `status`, `header etag`, `body.items[3].price`, `byte 17`. */
  what: string
  /** null: there was none. */
  recorded: string | null
  replayed: string | null
}

export interface Comparison {
  /** Names that are left out unless everything is to be compared. */
  ignored: readonly string[]
  compare(request: Json, recorded: Json, replayed: Json, ignored: ReadonlySet<string>): Difference[]
}

/** Differences of one answer that are told; of a page that has changed there are thousands. */
const MAX_TOLD = 20
/** Characters of a value that are told. */
const MAX_VALUE = 200

export const COMPARISONS: Readonly<Record<Exclude<Comparing, 'bytes'>, Comparison>> = {
  http: {
    ignored: [
      // Time passes.
      ...['date', 'age', 'expires', 'last-modified'],
      // Of the connection, not of the answer; the body is compared itself.
      ...['connection', 'keep-alive', 'transfer-encoding', 'content-length'],
      // Made for each answer. Of Set-Cookie the names are compared.
      ...['set-cookie', 'x-request-id', 'x-correlation-id', 'x-trace-id', 'traceparent', 'x-amzn-requestid', 'cf-ray'],
      ...['x-amzn-trace-id', 'server-timing', 'x-runtime', 'x-response-time', 'x-envoy-upstream-service-time'],
    ],
    compare: compareHttp,
  },
  redis: { ignored: ['id', 'moment'], compare: compareRedis },
  // Caches count it down.
  dns: { ignored: ['ttl'], compare: compareDns },
}

/** What is left out by name: what differs by its nature, where nothing else is said, and what the user names. */
export function ignoredNames(strict: boolean, more: readonly string[]): ReadonlySet<string> {
  const defaults = strict ? [] : Object.values(COMPARISONS).flatMap(({ ignored }) => ignored)
  return new Set([...defaults, ...more.map(name => name.toLowerCase())])
}

// ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function compareHttp(_: Json, recorded: Json, replayed: Json, ignored: ReadonlySet<string>): Difference[] {
  const found = new Differences()
  found.compare('status', recorded.status, replayed.status)
  const [before, after] = [byName(recorded.headers), byName(replayed.headers)]
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    if (name === 'set-cookie' && ignored.has(name))
      found.compare('names of cookies', cookieNames(recorded), cookieNames(replayed))
    else if (!ignored.has(name)) found.compare(`header ${name}`, before.get(name), after.get(name))
  }
  if (!ignored.has('body')) {
    compareBody(found, recorded.content, replayed.content)
    found.compare('trailers', recorded.trailers, replayed.trailers)
  }
  return found.all
}

/** Names of headers are the same in any case. */
function byName(headers: Json): Map<string, JsonValue> {
  return new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function cookieNames({ cookies }: Json): string {
  return Object.keys(cookies ?? {})
    .sort()
    .join(', ')
}

/** JSON is compared by its values: neither the order of keys nor blanks matter. */
function compareBody(found: Differences, recorded: Json, replayed: Json): void {
  const [before, after] = [recorded?.text ?? null, replayed?.text ?? null]
  if (before === after) {
    // More of it than is kept may differ.
    found.compare('size of the body', recorded?.size ?? 0, replayed?.size ?? 0)
    return
  }
  const [a, b] = [jsonOf(before), jsonOf(after)]
  if (recorded?.encoding === 'base64' || replayed?.encoding === 'base64')
    for (const { what, ...rest } of compareBytes(bytesOf(recorded), bytesOf(replayed)))
      found.add({ what: `body, ${what}`, ...rest })
  else if (a !== undefined && b !== undefined) found.compare('body', a, b)
  else found.text('body', String(before ?? ''), String(after ?? ''))
}

function bytesOf(content: Json | undefined): Uint8Array {
  return Buffer.from(content?.text ?? '', content?.encoding === 'base64' ? 'base64' : 'utf8')
}

function jsonOf(text: unknown): JsonValue | undefined {
  if (typeof text !== 'string' || !/^\s*[[{]/.test(text) || isDeep(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Values within values: whoever goes down into them goes only so far. */
const MAX_DEPTH = 200

function isDeep(text: string): boolean {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i) | 32
    // [ or {, ] or }
    if (code === 123) depth++
    else if (code === 125) depth--
    if (depth > MAX_DEPTH) return true
  }
  return false
}

// ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Their answers have no order that one could rely on. */
const UNORDERED = ['SMEMBERS', 'SINTER', 'SUNION', 'SDIFF', 'KEYS', 'HKEYS', 'HVALS', 'PUBSUB CHANNELS', 'COMMAND LIST']
/** Their answers are pairs, as one list (RESP2). */
const UNORDERED_PAIRS = ['HGETALL', 'CONFIG GET']
/** Their answers tell of the moment, or of chance: the table of commands is long, and in another order in each server. */
const MOMENTARY =
  /^(TIME|INFO|COMMAND( DOCS)?|LASTSAVE|RANDOMKEY|SRANDMEMBER|SPOP|HRANDFIELD|ZRANDMEMBER|CLIENT (INFO|LIST)|(MEMORY|LATENCY|SLOWLOG|LOLWUT)\b.*)$/

function compareRedis(request: Json, recorded: Json, replayed: Json, ignored: ReadonlySet<string>): Difference[] {
  const found = new Differences()
  const command = nameOf(request)
  const [a, b] = [recorded, replayed] as [AnswerBody, AnswerBody]
  found.compare('type', a.type, b.type)
  found.compare('keyword', a.keyword ?? undefined, b.keyword ?? undefined)
  if (ignored.has('moment') && MOMENTARY.test(command) && a.type === b.type) return found.all
  if (ignored.has('id') && isGenerated(request) && a.type === b.type) return found.all
  const [before, after] = [ordered(command, a.value), ordered(command, b.value)]
  if (ignored.has('id') && command === 'HELLO') found.compare('value', withoutId(before), withoutId(after))
  else found.compare('value', before, after)
  return found.all
}

/** `GET`, `CLIENT ID` */
function nameOf({ command, keyword }: Json): string {
  return keyword === null || keyword === undefined ? command : `${command} ${keyword}`
}

/** The server makes it up: the number of a connection, the id of an entry. */
function isGenerated(request: Json): boolean {
  const { command, args } = request
  return (
    nameOf(request) === 'CLIENT ID' || (command === 'XADD' && (args as unknown[] | undefined)?.includes('*') === true)
  )
}

/** Of the answer to HELLO, in RESP3 and in RESP2. */
function withoutId(value: JsonValue): JsonValue {
  if (isObject(value)) return { ...value, id: null }
  if (!Array.isArray(value)) return value
  const at = value.indexOf('id')
  return at < 0 ? value : value.toSpliced(at, 2)
}

function ordered(command: string, value: JsonValue): JsonValue {
  if (!Array.isArray(value)) return value
  if (UNORDERED.includes(command)) return sorted(value)
  if (!UNORDERED_PAIRS.includes(command) || value.length % 2 === 1) return value
  const pairs = Array.from({ length: value.length / 2 }, (_, i) => value.slice(i * 2, i * 2 + 2))
  return sorted(pairs).flat()
}

function sorted(values: readonly JsonValue[]): JsonValue[] {
  const keys = values.map(value => [JSON.stringify(value), value] as const)
  return keys.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, value]) => value)
}

// ── DNS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Question, code and answers; not the id, and neither authorities nor additionals, which servers add as they like. */
function compareDns(_: Json, recorded: Json, replayed: Json, ignored: ReadonlySet<string>): Difference[] {
  const found = new Differences()
  const [a, b] = [recorded, replayed] as unknown as [DnsResponse, DnsResponse]
  found.compare('code', a.code, b.code)
  found.compare('truncated', a.flags.tc, b.flags.tc)
  found.compare('questions', a.questions, b.questions)
  const [before, after] = [a, b].map(({ answers }) => answers.map(record => recordText(record, ignored)).sort())
  for (const text of without(before!, after!)) found.add({ what: 'answer', recorded: text, replayed: null })
  for (const text of without(after!, before!)) found.add({ what: 'answer', recorded: null, replayed: text })
  return found.all
}

/** As in a master file. Servers rotate the order. */
function recordText({ name, ttl, class: kind, type, data }: DnsRecord, ignored: ReadonlySet<string>): string {
  return [name.toLowerCase(), ...(ignored.has('ttl') ? [] : [ttl]), kind, type, data].join(' ')
}

/** Those of `a` that are not in `b`, each as often as it is there more often. */
function without(a: readonly string[], b: readonly string[]): string[] {
  const rest = [...b]
  return a.filter(text => {
    const at = rest.indexOf(text)
    if (at < 0) return true
    rest.splice(at, 1)
    return false
  })
}

// ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where two streams of bytes part; both begin at the same place. */
export function compareBytes(recorded: Uint8Array, replayed: Uint8Array): Difference[] {
  const length = Math.min(recorded.length, replayed.length)
  let at = 0
  while (at < length && recorded[at] === replayed[at]) at++
  if (at === recorded.length && at === replayed.length) return []
  return [{ what: `byte ${at}`, recorded: excerpt(recorded, at), replayed: excerpt(replayed, at) }]
}

/** As many answers, each as it was. */
export function compareDatagrams(recorded: readonly Uint8Array[], replayed: readonly Uint8Array[]): Difference[] {
  const found = new Differences()
  for (let i = 0; i < Math.max(recorded.length, replayed.length); i++) {
    const [a, b] = [recorded[i], replayed[i]]
    if (a === undefined || b === undefined)
      found.add({
        what: `datagram ${i}`,
        recorded: a === undefined ? null : excerpt(a, 0),
        replayed: b === undefined ? null : excerpt(b, 0),
      })
    else for (const { what, ...rest } of compareBytes(a, b)) found.add({ what: `datagram ${i}, ${what}`, ...rest })
  }
  return found.all
}

/** Bytes that are told of where two streams part. */
const EXCERPT = 32

function excerpt(bytes: Uint8Array, at: number): string | null {
  if (at >= bytes.length) return null
  const part = bytes.subarray(at, at + EXCERPT)
  const text = part.every(byte => byte >= 32 && byte < 127)
    ? JSON.stringify(Buffer.from(part).toString('latin1'))
    : Buffer.from(part).toString('hex')
  return at + EXCERPT < bytes.length ? `${text}… (${bytes.length - at} bytes)` : text
}

// ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class Differences {
  readonly all: Difference[] = []

  add(difference: Difference): void {
    if (this.all.length < MAX_TOLD) this.all.push(difference)
  }

  /** Goes down into lists and objects as far as both have them. */
  compare(what: string, a: JsonValue, b: JsonValue): void {
    if (this.all.length >= MAX_TOLD || a === b) return
    if (Array.isArray(a) && Array.isArray(b)) {
      for (let i = 0; i < Math.max(a.length, b.length); i++) this.compare(`${what}[${i}]`, a[i], b[i])
    } else if (isObject(a) && isObject(b)) {
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) this.compare(`${what}.${key}`, a[key], b[key])
    } else if (typeof a === 'string' && typeof b === 'string' && Math.max(a.length, b.length) > MAX_VALUE)
      this.text(what, a, b)
    else this.add({ what, recorded: valueText(a), replayed: valueText(b) })
  }

  /** What differs in long texts lies somewhere within. */
  text(what: string, a: string, b: string): void {
    let at = 0
    while (at < a.length && at < b.length && a[at] === b[at]) at++
    const from = Math.max(0, at - CONTEXT)
    const place = from === 0 ? what : `${what} from character ${from}`
    this.add({ what: place, recorded: textFrom(a, from), replayed: textFrom(b, from) })
  }
}

/** Characters before the first one that differs. */
const CONTEXT = 20

function textFrom(text: string, from: number): string {
  const part = text.slice(from, from + MAX_VALUE)
  return from + MAX_VALUE < text.length ? `${part}…` : part
}

function isObject(value: JsonValue): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function valueText(value: JsonValue | undefined): string | null {
  if (value === undefined) return null
  return textFrom(typeof value === 'string' ? value : JSON.stringify(value), 0)
}
