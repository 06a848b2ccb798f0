/**
 * BSON 1.1 (https://bsonspec.org/spec.html), written as relaxed Extended JSON 2 straight from the packet's bytes.
 *
 *   document = length(4) *( type(1) name NUL value ) NUL                string = length(4) bytes NUL
 *
 * A message may have 48 MB, of which the beginning and the end are kept. Lengths stand in front: what begins before the
 * hole and ends behind it can be stepped over, so that `ok` is found behind a megabyte of documents.
 */
import { latin1, Malformed } from '../../cursor.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { decimal128 } from './decimal128.ts'
import { Names } from './names.ts'
import { isCredentials, judge, type Secrets } from './secrets.ts'

/** Bytes of a message; `missing` bytes before `bytes[hole]` were not kept. */
export class Kept {
  readonly bytes: Uint8Array
  readonly end: number
  readonly hole: number
  readonly missing: number

  constructor(bytes: Uint8Array, end: number, hole = end, missing = 0) {
    this.bytes = bytes
    this.end = end
    this.hole = hole
    this.missing = missing
  }

  /** Where the bytes end that lie in one piece from `position` on. */
  edge(position: number): number {
    return position < this.hole ? this.hole : this.end
  }

  /** The position `count` bytes on; UNKNOWN if it lies in the hole. */
  after(position: number, count: number): number {
    if (count < 0) throw new Malformed(`expected a length, found ${count}`)
    const next = position + count
    if (position >= this.hole || next < this.hole || (next === this.hole && this.missing === 0))
      return this.checked(next)
    if (this.missing === 0) return this.checked(next)
    return next - this.hole >= this.missing ? this.checked(next - this.missing) : UNKNOWN
  }

  u8(position: number): number {
    if (position >= this.end) throw new Malformed('expected one more byte')
    return this.bytes[position]!
  }

  i32(position: number): number {
    const b = this.bytes
    return b[position]! | (b[position + 1]! << 8) | (b[position + 2]! << 16) | (b[position + 3]! << 24)
  }

  private checked(next: number): number {
    if (next > this.end) throw new Malformed(`expected ${next - this.end} more bytes`)
    return next
  }
}

export const UNKNOWN = -1

export interface Field {
  name: string
  type: number
  /** Where the value begins. */
  at: number
}

/** What commands and answers say of themselves. */
export type Wanted = (typeof WANTED)[number]

const WANTED = [
  '$db',
  '$err',
  'code',
  'codeName',
  'collection',
  'conversationId',
  'cursor',
  'err',
  'errmsg',
  'id',
  'nErrors',
  'ok',
  'writeConcernError',
  'writeErrors',
] as const
const NAMES = new Names(WANTED)

/** Of the fields of one document: the first one, and those that are wanted. Those that were not kept are left out. */
export class Fields {
  readonly first: Field | null
  /** Each name once: a stranger's document may have one a million times. */
  private readonly found: Field[] = []

  constructor(kept: Kept, start: number) {
    let first: Field | null = null
    const end = documentEnd(kept, start)
    for (let p = start + 4; p !== UNKNOWN; ) {
      const type = kept.u8(p)
      if (type === 0) {
        if (end !== UNKNOWN && p + 1 !== end) throw new Malformed('expected the end of a document')
        break
      }
      const nameEnd = textEnd(kept, p + 1)
      if (nameEnd === UNKNOWN) break
      const at = nameEnd + 1
      first ??= { name: latin1(kept.bytes, p + 1, nameEnd), type, at }
      const name = NAMES.find(kept.bytes, p + 1, nameEnd)
      if (name !== null && this.get(name) === undefined) this.found.push({ name, type, at })
      p = valueEnd(kept, type, at)
      if (end !== UNKNOWN && p > end) throw new Malformed('expected a value within its document')
    }
    this.first = first
  }

  get(name: Wanted): Field | undefined {
    for (const field of this.found) if (field.name === name) return field
    return undefined
  }
}

/** The first of an array of documents; UNKNOWN: there is none. */
export function firstDocument(kept: Kept, start: number): number {
  // length(4) type(1) "0" NUL
  const type = start + 4
  if (type + 3 > kept.edge(start) || kept.bytes[type] !== DOCUMENT) return UNKNOWN
  const nameEnd = textEnd(kept, type + 1)
  return nameEnd === UNKNOWN ? UNKNOWN : nameEnd + 1
}

/** Behind the document at `start`; UNKNOWN if it ends in the hole, or its length lies there. */
export function documentEnd(kept: Kept, start: number): number {
  if (start + 4 > kept.edge(start)) return kept.after(start, 4) === UNKNOWN ? UNKNOWN : cutOff(kept)
  const length = kept.i32(start)
  if (length < 5) throw new Malformed(`expected a document of at least 5 bytes, found ${length}`)
  return kept.after(start, length)
}

function cutOff(kept: Kept): number {
  if (kept.missing === 0) throw new Malformed('expected a length')
  return UNKNOWN
}

/** The NUL behind a text; UNKNOWN if it lies in the hole. */
export function textEnd(kept: Kept, start: number): number {
  const edge = kept.edge(start)
  for (let i = start; i < edge; i++) if (kept.bytes[i] === 0) return i
  if (edge === kept.end) throw new Malformed('expected NUL')
  return UNKNOWN
}

/** Documents in a row, under the name that an array of them would have. */
export interface Sequence {
  name: string
  /** Where the documents begin, and where they end; UNKNOWN: in the hole. */
  start: number
  end: number
}

const DOUBLE = 0x01
const STRING = 0x02
const DOCUMENT = 0x03
const ARRAY = 0x04
const BINARY = 0x05
const OBJECT_ID = 0x07
const BOOLEAN = 0x08
const DATE = 0x09
const REGEX = 0x0b
const POINTER = 0x0c
const CODE = 0x0d
const SYMBOL = 0x0e
const CODE_WITH_SCOPE = 0x0f
const INT32 = 0x10
const TIMESTAMP = 0x11
const INT64 = 0x12
const DECIMAL128 = 0x13

/** Sizes of values; negative: a length stands in front, to which so much is added. */
const SIZES: { readonly [type: number]: number } = {
  [DOUBLE]: 8,
  [STRING]: -4,
  [DOCUMENT]: NaN,
  [ARRAY]: NaN,
  [BINARY]: -5,
  6: 0,
  [OBJECT_ID]: 12,
  [BOOLEAN]: 1,
  [DATE]: 8,
  10: 0,
  [REGEX]: NaN,
  [POINTER]: -16,
  [CODE]: -4,
  [SYMBOL]: -4,
  [CODE_WITH_SCOPE]: NaN,
  [INT32]: 4,
  [TIMESTAMP]: 8,
  [INT64]: 8,
  [DECIMAL128]: 16,
  127: 0,
  255: 0,
}

export function isType(type: number): boolean {
  return SIZES[type] !== undefined
}

function valueEnd(kept: Kept, type: number, at: number): number {
  const size = SIZES[type]
  if (size === undefined) throw new Malformed(`expected a type of BSON, found ${type}`)
  if (size >= 0) return kept.after(at, size)
  if (type === REGEX) {
    const pattern = textEnd(kept, at)
    const options = pattern === UNKNOWN ? UNKNOWN : textEnd(kept, pattern + 1)
    return options === UNKNOWN ? UNKNOWN : options + 1
  }
  if (type === DOCUMENT || type === ARRAY) return documentEnd(kept, at)
  if (at + 4 > kept.edge(at)) return cutOff(kept)
  const length = kept.i32(at)
  return kept.after(at, type === CODE_WITH_SCOPE ? length : length - size)
}

// ── single values ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Of a string; null for another type, or one that was not kept. */
export function textOf(kept: Kept, field: Field | undefined): string | null {
  if (field === undefined || field.type !== STRING || field.at + 4 > kept.edge(field.at)) return null
  const start = field.at + 4
  const end = start + kept.i32(field.at) - 1
  if (end < start || end > kept.edge(start)) return null
  return Buffer.from(kept.bytes.buffer, kept.bytes.byteOffset + start, end - start).toString('utf8')
}

/** Of a number or truth; beyond 2^53 a decimal string. null for another type. */
export function numberOf(kept: Kept, field: Field | undefined): number | string | null {
  if (field === undefined) return null
  const { type, at } = field
  const size = SIZES[type]!
  if (!(size > 0) || at + size > kept.edge(at)) return null
  if (type === INT32) return kept.i32(at)
  if (type === INT64) return int64(kept, at)
  if (type === DOUBLE) return double(kept, at)
  return type === BOOLEAN ? kept.bytes[at]! : null
}

export function isDocument(field: Field | undefined): field is Field {
  return field?.type === DOCUMENT
}

export function isArray(field: Field | undefined): field is Field {
  return field?.type === ARRAY
}

const MAX_SAFE_HIGH = 0x1fffff

function int64(kept: Kept, at: number): number | string {
  const low = kept.i32(at) >>> 0
  const high = kept.i32(at + 4)
  if (high >= -MAX_SAFE_HIGH && high <= MAX_SAFE_HIGH) return high * 0x100000000 + low
  return ((BigInt(high) << 32n) | BigInt(low)).toString()
}

function double(kept: Kept, at: number): number {
  const { bytes } = kept
  return new DataView(bytes.buffer, bytes.byteOffset + at, 8).getFloat64(0, true)
}

// ── as JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Servers refuse documents that are nested deeper. */
const MAX_DEPTH = 200

const OID = constant('{"$oid":"')
const DATE_TEXT = constant('{"$date":"')
const DATE_NUMBER = constant('{"$date":{"$numberLong":"')
const UUID = constant('{"$uuid":"')
const BASE64 = constant('{"$binary":{"base64":"')
const SUBTYPE = constant('","subType":"')
const REDACTED = constant('"[REDACTED]"')
const END_1 = constant('"}')
const END_2 = constant('"}}')
const HEX = constant('0123456789abcdef')
const CONSTANTS: { readonly [type: number]: Uint8Array } = {
  6: constant('{"$undefined":true}'),
  10: constant('null'),
  127: constant('{"$maxKey":1}'),
  255: constant('{"$minKey":1}'),
}
const TRUE = constant('true')
const FALSE = constant('false')
const NULL = constant('null')
/** Milliseconds of the year 10000; dates from then on, and those before 1970, are numbers. */
const YEAR_10000 = 253_402_300_800_000
const OLD_BINARY = 2
const UUID_BINARY = 4

export class BsonWriter {
  /** Something was left out: too long, too deep, or not kept. */
  truncated = false
  private readonly kept: Kept
  private readonly out: JsonWriter
  /** Of what is written: at so many bytes no more is begun. */
  private readonly limit: number

  constructor(kept: Kept, out: JsonWriter, keep: number) {
    this.kept = kept
    this.out = out
    this.limit = out.length + keep
  }

  /** With `sequences` as fields of it. Returns where the document ends, or UNKNOWN. */
  document(start: number, secrets: Secrets | null, sequences: readonly Sequence[]): number {
    const { out } = this
    out.byte(123)
    const begun = out.length
    const end = this.fields(start, secrets, 0)
    for (const [i, sequence] of sequences.entries()) {
      if (i > 0 || out.length > begun) out.byte(44)
      this.sequence(sequence)
    }
    out.byte(125)
    return end
  }

  /** More fields of an object that is not yet closed. */
  sequences(sequences: readonly Sequence[]): void {
    for (const sequence of sequences) {
      this.out.byte(44)
      this.sequence(sequence)
    }
  }

  private sequence({ name, start, end }: Sequence): void {
    const { kept, out } = this
    out.value(name)
    out.ascii(':[')
    let p = start
    for (let first = true; p !== UNKNOWN && p < (end === UNKNOWN ? kept.hole : end); first = false) {
      if (out.length >= this.limit) {
        this.truncated = true
        break
      }
      if (!first) out.byte(44)
      out.byte(123)
      p = this.fields(p, null, 1)
      out.byte(125)
    }
    if (p === UNKNOWN || end === UNKNOWN) this.truncated = true
    out.byte(93)
  }

  private fields(start: number, secrets: Secrets | null, depth: number): number {
    const { kept, out } = this
    const { bytes } = kept
    const end = documentEnd(kept, start)
    let p = start + 4
    for (let first = true; ; first = false) {
      if (p === UNKNOWN || out.length >= this.limit) break
      const type = kept.u8(p)
      if (type === 0) {
        if (end !== UNKNOWN && p + 1 !== end) throw new Malformed('expected the end of a document')
        return end
      }
      const nameEnd = textEnd(kept, p + 1)
      if (nameEnd === UNKNOWN) break
      const at = nameEnd + 1
      const next = valueEnd(kept, type, at)
      if (end !== UNKNOWN && next > end) throw new Malformed('expected a value within its document')
      if (!first) out.byte(44)
      out.string(bytes, p + 1, nameEnd)
      out.byte(58)
      this.value(type, at, next, depth, secrets === null ? null : judge(secrets, bytes, p + 1, nameEnd))
      p = next
    }
    this.truncated = true
    return end
  }

  private elements(start: number, depth: number): void {
    const { kept, out } = this
    const end = documentEnd(kept, start)
    let p = start + 4
    for (let first = true; ; first = false) {
      if (p === UNKNOWN || out.length >= this.limit) break
      const type = kept.u8(p)
      if (type === 0) {
        if (end !== UNKNOWN && p + 1 !== end) throw new Malformed('expected the end of an array')
        return
      }
      const nameEnd = textEnd(kept, p + 1)
      if (nameEnd === UNKNOWN) break
      const next = valueEnd(kept, type, nameEnd + 1)
      if (end !== UNKNOWN && next > end) throw new Malformed('expected a value within its array')
      if (!first) out.byte(44)
      this.value(type, nameEnd + 1, next, depth, null)
      p = next
    }
    this.truncated = true
  }

  /** `next`: where it ends, as far as is known. */
  private value(type: number, at: number, next: number, depth: number, secrets: Secrets | 'secret' | null): void {
    const { kept, out } = this
    if (secrets === 'secret') {
      out.raw(REDACTED)
      return
    }
    if (type === DOCUMENT || type === ARRAY) {
      this.container(type, at, depth + 1, secrets)
      return
    }
    const size = SIZES[type]!
    if (size > 0 && at + size > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    switch (type) {
      case DOUBLE:
        this.number(double(kept, at))
        return
      case STRING:
        this.text(at, next)
        return
      case BINARY:
        this.binary(at, next)
        return
      case OBJECT_ID:
        this.objectId(at)
        return
      case BOOLEAN:
        out.raw(kept.bytes[at] === 0 ? FALSE : TRUE)
        return
      case DATE:
        this.date(int64(kept, at))
        return
      case INT32:
        out.integer(kept.i32(at))
        return
      case INT64:
        this.integer(int64(kept, at))
        return
      case TIMESTAMP:
        out.value({ $timestamp: { t: kept.i32(at + 4) >>> 0, i: kept.i32(at) >>> 0 } })
        return
      case DECIMAL128:
        out.value({ $numberDecimal: decimal128(kept.bytes, at) })
        return
      case REGEX:
        this.regex(at, next)
        return
      case CODE:
        this.wrapped('{"$code":', at, next)
        return
      case SYMBOL:
        this.wrapped('{"$symbol":', at, next)
        return
      case POINTER:
        this.pointer(at, next)
        return
      case CODE_WITH_SCOPE:
        this.codeWithScope(at, next, depth)
        return
      default:
        out.raw(CONSTANTS[type]!)
    }
  }

  private container(type: number, at: number, depth: number, secrets: Secrets | null): void {
    const { out, kept } = this
    if (depth > MAX_DEPTH || at + 4 > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
    } else if (type === ARRAY) {
      out.byte(91)
      this.elements(at, depth)
      out.byte(93)
    } else if (isCredentials(kept.bytes, at)) out.raw(REDACTED)
    else {
      out.byte(123)
      this.fields(at, secrets, depth)
      out.byte(125)
    }
  }

  private number(value: number): void {
    const { out } = this
    if (Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) out.integer(value)
    else if (Number.isFinite(value)) out.ascii(String(value))
    else out.ascii(`{"$numberDouble":"${value}"}`)
  }

  private integer(value: number | string): void {
    if (typeof value === 'number') this.out.integer(value)
    else this.out.ascii(`"${value}"`)
  }

  /** Of a string with its length in front and NUL behind. */
  private text(at: number, next: number): void {
    const { kept, out } = this
    const start = at + 4
    if (start > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    const length = kept.i32(at)
    if (length < 1) throw new Malformed(`expected a string with its NUL, found ${length} bytes`)
    let end = start + length - 1
    const most = Math.min(kept.edge(at), start + Math.max(0, this.limit - out.length))
    if (next === UNKNOWN || end > most) {
      this.truncated = true
      end = Math.min(end, most)
      // Not within a character.
      while (end > start && (kept.bytes[end]! & 0xc0) === 0x80) end--
    } else if (kept.bytes[end] !== 0) throw new Malformed('expected NUL behind a string')
    out.string(kept.bytes, start, end)
  }

  private wrapped(begin: string, at: number, next: number): void {
    this.out.ascii(begin)
    this.text(at, next)
    this.out.byte(125)
  }

  private binary(at: number, next: number): void {
    const { kept, out } = this
    if (at + 5 > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    const subtype = kept.bytes[at + 4]!
    let start = at + 5
    const length = kept.i32(at)
    if (subtype === UUID_BINARY && length === 16 && next === start + 16) {
      this.uuid(start)
      return
    }
    let end = start + length
    // The old form repeats the length within.
    if (subtype === OLD_BINARY && length >= 4) start += 4
    const most = Math.min(kept.edge(at), start + Math.max(0, this.limit - out.length))
    if (next === UNKNOWN || end > most) {
      this.truncated = true
      end = Math.max(start, most)
    }
    out.raw(BASE64)
    out.ascii(Buffer.from(kept.bytes.buffer, kept.bytes.byteOffset + start, end - start).toString('base64'))
    out.raw(SUBTYPE)
    this.hex(at + 4, at + 5)
    out.raw(END_2)
  }

  private objectId(at: number): void {
    const { out } = this
    out.raw(OID)
    this.hex(at, at + 12)
    out.raw(END_1)
  }

  private uuid(at: number): void {
    const { out } = this
    out.raw(UUID)
    let start = at
    for (const size of [4, 2, 2, 2, 6]) {
      if (start > at) out.byte(45)
      this.hex(start, start + size)
      start += size
    }
    out.raw(END_1)
  }

  private hex(start: number, end: number): void {
    const { out, kept } = this
    out.reserve((end - start) * 2)
    let p = out.length
    for (let i = start; i < end; i++) {
      const byte = kept.bytes[i]!
      out.bytes[p++] = HEX[byte >> 4]!
      out.bytes[p++] = HEX[byte & 15]!
    }
    out.length = p
  }

  private date(ms: number | string): void {
    const { out } = this
    if (typeof ms === 'number' && ms >= 0 && ms < YEAR_10000) {
      const text = new Date(ms).toISOString()
      out.raw(DATE_TEXT)
      out.ascii(ms % 1000 === 0 ? `${text.slice(0, 19)}Z` : text)
      out.raw(END_1)
    } else {
      out.raw(DATE_NUMBER)
      out.ascii(String(ms))
      out.raw(END_2)
    }
  }

  private regex(at: number, next: number): void {
    const { kept, out } = this
    const pattern = next === UNKNOWN ? UNKNOWN : textEnd(kept, at)
    if (pattern === UNKNOWN || next > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    out.ascii('{"$regularExpression":{"pattern":')
    out.string(kept.bytes, at, pattern)
    out.ascii(',"options":')
    out.string(kept.bytes, pattern + 1, next - 1)
    out.ascii('}}')
  }

  private pointer(at: number, next: number): void {
    const { out, kept } = this
    if (next === UNKNOWN || next > kept.edge(at)) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    out.ascii('{"$dbPointer":{"$ref":')
    this.text(at, next - 12)
    out.ascii(',"$id":')
    this.objectId(next - 12)
    out.ascii('}}')
  }

  private codeWithScope(at: number, next: number, depth: number): void {
    const { out, kept } = this
    // length(4) string document
    const scope = next === UNKNOWN || next > kept.edge(at) ? UNKNOWN : at + 8 + kept.i32(at + 4)
    if (scope === UNKNOWN || scope < at + 9 || scope + 5 > next || depth >= MAX_DEPTH) {
      this.truncated = true
      out.raw(NULL)
      return
    }
    out.ascii('{"$code":')
    this.text(at + 4, scope)
    out.ascii(',"$scope":{')
    this.fields(scope, null, depth + 1)
    out.ascii('}}')
  }
}
