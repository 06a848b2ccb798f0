/**
 * Reads the body of a message as its plan says, and writes it as JSON text straight from the packet's bytes.
 *
 *   classic     string  size(2) text      bytes  size(4) ...        array  count(4) ...
 *   flexible    string  size+1 (varint)   bytes  size+1 (varint)    array  count+1 (varint)    structure  ... tags
 *   tags        count (varint), count times: tag (varint) size (varint) value(size)
 */
import { isUtf8 } from 'node:buffer'
import { type Cursor, latin1, Malformed } from '../../cursor.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import type { Field, Plan } from './definition.ts'
import { readRecords } from './record-set.ts'
import { uvarint } from './varint.ts'

const NULL = constant('null')
const TRUE = constant('true')
const FALSE = constant('false')
const REDACTED = constant('"[REDACTED]"')
const MINUS_ONE = constant('-1')
const BILLION = 1e9

/** Deeper than any message of Kafka, and each level is one of its table. */
const MAX_DEPTH = 32
/** JSON text of one message. Small fields make much text of few bytes. */
const MAX_TEXT = 4 << 20
/** What the compressed records of one message may become: a small message may announce gigabytes. */
const MAX_INFLATED = 16 << 20
/** Unknown tagged fields of one structure that are shown. */
const MAX_UNKNOWN_TAGS = 100

export class Body {
  at: Cursor
  readonly out: JsonWriter
  /** Bytes of records and the like that may still be kept. */
  keep: number
  /** The first error code that is not 0. */
  error = 0
  /** Of a Produce request. */
  acks: number | null = null
  /** Of a SaslHandshake request. */
  mechanism = ''
  /** Bytes that compressed records may still become. */
  inflatable = MAX_INFLATED
  /** Elements that were read and not written. */
  omitted = 0
  /** Where the last string lies. */
  private stringStart = 0
  private stringEnd = 0
  /** Brackets that are open, and where the text may be cut and closed. */
  private readonly closers = new Uint8Array(MAX_DEPTH)
  private depth = 0
  private safe: number
  private safeDepth = 0
  private readonly limit: number

  constructor(at: Cursor, out: JsonWriter, keep: number) {
    this.at = at
    this.out = out
    this.keep = keep
    this.safe = out.length
    this.limit = out.length + MAX_TEXT
  }

  structure(plan: Plan): void {
    const { out } = this
    const { fields, tags } = plan
    this.open(123, 125)
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!
      this.mark()
      out.raw(field.label)
      field.read(this, field)
    }
    if (tags !== null) this.tagged(tags)
    this.close()
  }

  /** The bytes end within the message: closes the text behind the last value that was all there. */
  cut(): void {
    this.out.length = this.safe
    this.depth = this.safeDepth
    while (this.depth > 0) this.close()
  }

  open(opener: number, closer: number): void {
    this.out.byte(opener)
    this.closers[this.depth++] = closer
  }

  close(): void {
    this.out.byte(this.closers[--this.depth]!)
  }

  /** What is written up to here stays when the bytes end before the next mark. */
  mark(): void {
    this.safe = this.out.length
    this.safeDepth = this.depth
  }

  /** No more is written of what can be left out. */
  get isFull(): boolean {
    return this.out.length > this.limit
  }

  // ── arrays ────────────────────────────────────────────────────────────────────────────────────────────────────────

  elements(count: number, field: Field, read: (body: Body, field: Field) => void): void {
    const { at, out } = this
    if (count < 0) {
      out.raw(NULL)
      return
    }
    // Each has at least one byte.
    if (count > at.remaining && at.whole) at.fail(`${count} elements, found ${at.remaining} bytes`)
    this.open(91, 93)
    for (let i = 0; i < count; i++) {
      this.mark()
      const { isFull } = this
      const { length } = out
      if (i > 0) out.byte(44)
      read(this, field)
      if (isFull) {
        out.length = length
        this.omitted++
      }
    }
    this.close()
  }

  // ── tagged fields ─────────────────────────────────────────────────────────────────────────────────────────────────

  private tagged(known: ReadonlyMap<number, Field>): void {
    const { at, out } = this
    this.mark()
    const count = uvarint(at)
    if (count === 0) return
    const unknown: number[] = []
    for (let i = 0; i < count; i++) {
      this.mark()
      const tag = uvarint(at)
      const size = uvarint(at)
      const field = known.get(tag)
      at.need(size)
      const end = at.position + size
      if (field === undefined) {
        if (unknown.length < MAX_UNKNOWN_TAGS * 3) unknown.push(tag, at.position, end)
        at.position = end
        continue
      }
      this.comma()
      out.raw(field.label)
      field.read(this, field)
      if (at.position !== end) at.fail(`a tagged field of ${size} bytes`)
    }
    if (unknown.length > 0) this.unknownTags(unknown)
  }

  private unknownTags(places: readonly number[]): void {
    const { at, out } = this
    this.comma()
    out.raw(TAGGED_FIELDS)
    for (let i = 0; i < places.length; i += 3) {
      if (i > 0) out.byte(44)
      out.raw(TAG)
      out.integer(places[i]!)
      out.raw(TAG_VALUE)
      const start = places[i + 1]!
      this.base64(at.bytes, start, start + this.spend(places[i + 2]! - start))
      out.raw(TAG_END)
    }
    out.byte(93)
  }

  private comma(): void {
    if (this.out.bytes[this.out.length - 1] !== 123) this.out.byte(44)
  }

  // ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────

  integer(value: number): void {
    if (value === -1) this.out.raw(MINUS_ONE)
    else this.out.integer(value)
  }

  /** 64 bits: a decimal string where a number is not exact. */
  long(value: number | string): void {
    const { out } = this
    if (typeof value === 'string') out.value(value)
    else if (value > 0x7fffffff) {
      const high = Math.floor(value / BILLION)
      if (high > 0) {
        out.integer(high)
        out.digits(value - high * BILLION, 9)
      } else out.ascii(String(value))
    } else this.integer(value)
  }

  boolean(value: boolean): void {
    this.out.raw(value ? TRUE : FALSE)
  }

  errorCode(code: number): void {
    if (code !== 0 && this.error === 0) this.error = code
    this.integer(code)
  }

  string(size: number): void {
    const { at, out } = this
    if (size < 0) {
      out.raw(NULL)
      return
    }
    at.need(size)
    const start = at.position
    const end = start + size
    at.position = end
    this.stringStart = start
    this.stringEnd = end
    out.string(at.bytes, start, end)
  }

  mechanismName(size: number): void {
    this.string(size)
    if (size > 0) this.mechanism = latin1(this.at.bytes, this.stringStart, this.stringEnd)
  }

  /** The value of a setting, whose name was the string before. */
  setting(size: number): void {
    const { at, out } = this
    if (size <= 0 || !SECRET.test(latin1(at.bytes, this.stringStart, this.stringEnd))) {
      this.string(size)
      return
    }
    at.skip(size)
    out.raw(REDACTED)
  }

  secret(size: number): void {
    this.at.skip(Math.max(0, size))
    this.out.raw(size < 0 ? NULL : REDACTED)
  }

  data(size: number, field: Field): void {
    const { at } = this
    if (size < 0) {
      this.out.raw(NULL)
      return
    }
    at.need(size)
    const start = at.position
    at.position = start + size
    this.blob(at.bytes, start, start + size, field.encoding, field.truncated)
  }

  /** Text where it is UTF-8, else base64, of as much as may be kept. */
  blob(bytes: Uint8Array, start: number, end: number, encoding: Uint8Array, truncated: Uint8Array): void {
    const { out } = this
    const kept = this.spend(end - start)
    const isCut = kept < end - start
    if (isCut && kept === 0) out.raw(NULL)
    else if (!out.text(bytes, start, start + kept, isCut)) {
      if (!isCut && isUtf8(bytes.subarray(start, end))) out.string(bytes, start, end)
      else {
        this.base64(bytes, start, start + kept)
        out.raw(encoding)
      }
    }
    if (isCut) out.raw(truncated)
  }

  /** How many of `size` bytes may be kept. */
  private spend(size: number): number {
    const kept = Math.min(size, this.keep)
    this.keep -= kept
    return kept
  }

  private base64(bytes: Uint8Array, start: number, end: number): void {
    this.out.ascii(`"${view(bytes, start, end).toString('base64')}"`)
  }

  uuid(): void {
    const { at, out } = this
    at.need(16)
    const start = at.position
    at.position = start + 16
    out.ascii(`"${view(at.bytes, start, start + 16).toString('base64url')}"`)
  }

  /** Bytes that hold a structure with a version of its own, where they do; else just bytes. */
  embedded(size: number, field: Field): void {
    if (size < 2) {
      this.data(size, field)
      return
    }
    const { at } = this
    const inner = at.within(size)
    const isRead = this.attempt(() => {
      this.at = inner
      const version = inner.u16()
      if (version > MAX_EMBEDDED_VERSION) inner.fail('a version')
      inner.position -= 2
      this.structure(field.plans[Math.min(version, field.plans.length - 1)]!)
      if (inner.remaining > 0) inner.fail('nothing behind it')
    })
    this.at = at
    if (!isRead) this.blob(at.bytes, at.position - size, at.position, field.encoding, field.truncated)
  }

  /** false: the bytes are not what `read` takes them for, and nothing of it was written. */
  attempt(read: () => void): boolean {
    const { out, depth, keep, error } = this
    const { length } = out
    try {
      read()
      return true
    } catch (thrown) {
      if (!(thrown instanceof Malformed)) throw thrown
      out.length = length
      this.depth = depth
      this.keep = keep
      this.error = error
      return false
    }
  }

  /** Who it is that proves himself stays; the proof does not. */
  credentials(size: number): void {
    const { at } = this
    const start = at.position
    this.secret(size)
    const name = size > 0 && size <= MAX_CREDENTIALS ? userName(latin1(at.bytes, start, start + size)) : null
    if (name === null) return
    this.out.raw(USERNAME)
    this.out.value(name)
  }
}

/** Consumers are at 3; what they add later comes behind what is known, and is not taken for it. */
const MAX_EMBEDDED_VERSION = 9
/** PLAIN and SCRAM begin with a name; a longer first word is a token. */
const MAX_CREDENTIALS = 1024
/** Settings whose value nobody may see, as brokers themselves judge by type. */
const SECRET = /password|secret|sasl\.jaas\.config|ssl\.keystore\.key$|credential/i
const USERNAME = constant(',"username":')
const TAGGED_FIELDS = constant('"taggedFields":[')
const TAG = constant('{"tag":')
const TAG_VALUE = constant(',"value":')
const TAG_END = constant(',"valueEncoding":"base64"}')

/** RFC 4616 (PLAIN): `authzid NUL authcid NUL passwd`. RFC 5802 (SCRAM): `n,a=authzid,n=user,r=nonce`. */
export function userName(token: string): string | null {
  const plain = /^[^\0]*\0([^\0]+)\0/.exec(token)
  const name = plain ?? /^[npy](?:=[^,]*)?,(?:a=[^,]*)?,n=([^,]+),r=/.exec(token)
  return name === null ? null : Buffer.from(name[1]!, 'latin1').toString()
}

function view(bytes: Uint8Array, start: number, end: number): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
}

type Read = (body: Body, field: Field) => void

/** Types that take the same bytes in every version. */
const FIXED: Readonly<Record<string, Read>> = {
  bool: body => body.boolean(body.at.u8() !== 0),
  i8: body => body.integer(body.at.i8()),
  i16: body => body.integer(body.at.i16()),
  u16: body => body.out.integer(body.at.u16()),
  i32: body => body.integer(body.at.i32()),
  i64: body => body.long(body.at.i64()),
  f64: body => body.out.value(body.at.f64()),
  uuid: body => body.uuid(),
  error: body => body.errorCode(body.at.i16()),
  acks: body => {
    body.acks = body.at.i16()
    body.integer(body.acks)
  },
}

const shortSize = (body: Body) => body.at.i16()
const longSize = (body: Body) => body.at.i32()
const compactSize = (body: Body) => uvarint(body.at) - 1

/** By the name of the type, as tables have it. */
function readers(
  stringSize: (body: Body) => number,
  bytesSize: (body: Body) => number,
): Readonly<Record<string, Read>> {
  return {
    ...FIXED,
    string: body => body.string(stringSize(body)),
    setting: body => body.setting(stringSize(body)),
    mechanism: body => body.mechanismName(stringSize(body)),
    bytes: (body, field) => body.data(bytesSize(body), field),
    secret: body => body.secret(bytesSize(body)),
    credentials: body => body.credentials(bytesSize(body)),
    records: body => readRecords(body, bytesSize(body)),
  }
}

function structures(count: (body: Body) => number): Readonly<Record<Shape, Read>> {
  return {
    values: (body, field) => body.elements(count(body), field, field.element),
    structure: (body, field) => body.structure(field.plan),
    'nullable structure': (body, field) => {
      if (body.at.i8() < 0) body.out.raw(NULL)
      else body.structure(field.plan)
    },
    structures: (body, field) => body.elements(count(body), field, structureOf),
    embedded: (body, field) => body.embedded(count(body), field),
  }
}

const structureOf: Read = (body, field) => body.structure(field.plan)

export type Shape = 'values' | 'structure' | 'nullable structure' | 'structures' | 'embedded'

export const CLASSIC = { values: readers(shortSize, longSize), shapes: structures(longSize) }
export const FLEXIBLE = { values: readers(compactSize, compactSize), shapes: structures(compactSize) }
