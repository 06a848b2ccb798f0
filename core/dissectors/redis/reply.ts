/**
 * One answer or push of a Redis server.
 * RESP2 and RESP3: https://redis.io/docs/latest/develop/reference/protocol-spec/, streamed types:
 * https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
 *
 *   +text CRLF  -text CRLF  :integer CRLF  ,double CRLF  (integer CRLF  #t CRLF  _ CRLF
 *   $length CRLF bytes CRLF       also ! (error) and = (three letters, a colon, text);  $-1 CRLF: null
 *   *count CRLF value ...         also ~ (set) and > (push);                            *-1 CRLF: null
 *   %count CRLF (key value) ...   also | (attributes of the value that follows)
 *   $? CRLF (;length CRLF bytes CRLF) ... ;0 CRLF        *? CRLF value ... . CRLF   also ~? and %?
 */
import type { Cursor } from '../../cursor.ts'
import type { JsonValue } from '../../item.ts'
import { Blob, type Bulk, beginning, bulk, keptSize } from './bulk.ts'

/** proto-max-bulk-len: a length beyond it is no length. */
export const MAX_BULK = 512 * 1024 * 1024
/** INT_MAX, the most elements that Redis itself believes. Nothing is allocated by this number. */
export const MAX_COUNT = 2 ** 31 - 1
/** Nesting is recursion for whoever reads the item; answers of Redis itself have some 7 levels. */
const MAX_DEPTH = 128
/** A million members of a set must not become a million values in memory; the others are counted. */
const MAX_KEPT_ELEMENTS = 10_000
/** Bytes of memory for one, besides its text; about. */
const ELEMENT_WEIGHT = 32
/** A line has no length in front: without a limit a stranger's text would be collected until its LF. */
const MAX_LINE = 64 * 1024
/** What of a message is kept in any case: enough to tell a push from an answer, and its channel. */
const HEAD_ELEMENTS = 4
const HEAD_BYTES = 1024
/** From here on what was read is not shown again, so that an array that comes in crumbs is not read again and again. */
export const COMMIT_AFTER = 512
/** A longer string is taken in as it comes. */
export const LONG_BULK = 16 * 1024

const TYPES: { readonly [code: number]: string } = {
  43: 'Simple String', // +
  45: 'Error', // -
  58: 'Integer', // :
  36: 'Bulk String', // $
  42: 'Array', // *
  95: 'Null', // _
  44: 'Double', // ,
  35: 'Boolean', // #
  33: 'Bulk Error', // !
  61: 'Verbatim String', // =
  40: 'Big Number', // (
  37: 'Map', // %
  126: 'Set', // ~
  62: 'Push', // >
}

const STAR = 42
const DOLLAR = 36
const PERCENT = 37
const PIPE = 124
const GREATER = 62
const TILDE = 126
const SEMICOLON = 59
const CR = 13
const STREAMED = -2

/** Attributes of the value at `at`, a JSON Pointer into the answer's value: '' for the whole. */
export interface Attribute {
  at: string
  value: JsonValue
}

export class Reply {
  /** Name of the type of the whole. */
  type = ''
  value: JsonValue = null
  /** Of an error: `ERR`, `MOVED`; of a verbatim string: `txt`. */
  keyword: string | null = null
  /** Elements of an aggregate. */
  count = 0
  /** Elements at any depth that were not kept. */
  omitted = 0
  attributes: Attribute[] | null = null

  private readonly keep: number
  /** Bytes and elements that may yet be kept. */
  private room: number
  private elements: number
  private readonly maxLine: number
  private frames: Frame[] = []
  private blob: Blob | null = null
  private blobType = 0
  private begun = false
  private done = false

  constructor(keep: number, maxLine = MAX_LINE) {
    this.keep = Math.max(keep, HEAD_BYTES)
    this.room = this.keep
    this.elements = keep === 0 ? 0 : MAX_KEPT_ELEMENTS
    this.maxLine = maxLine
  }

  /** Reads on to the end of the message. Whenever much has been read, it is committed with this object as progress. */
  read(at: Cursor): void {
    const start = at.position
    if (this.blob !== null) this.readBlob(at)
    while (!this.done) {
      if (this.begun || at.position - start > COMMIT_AFTER) this.commit(at)
      this.readElement(at)
    }
  }

  /** Bytes that were not captured matter only outside of a long string. */
  bridge(length: number): boolean {
    return this.blob?.miss(length) ?? false
  }

  private commit(at: Cursor): void {
    this.begun = true
    at.commit(this, this.keep - this.room + (MAX_KEPT_ELEMENTS - this.elements) * ELEMENT_WEIGHT)
  }

  /** Changes this object only when the element is all there. */
  private readElement(at: Cursor): void {
    const code = at.u8()
    if (code !== SEMICOLON && this.frames.length > 0 && this.frames.at(-1)!.code === SEMICOLON)
      at.fail('a part of a string')
    switch (code) {
      case 43:
        this.add(code, this.line(at))
        break
      case 45:
        this.addError(code, this.line(at))
        break
      case 58:
        this.add(code, integer(at))
        break
      case DOLLAR:
      case 33:
      case 61:
        this.readString(at, code)
        break
      case SEMICOLON:
        this.readChunk(at)
        break
      case STAR:
      case TILDE:
      case GREATER:
      case PERCENT:
      case PIPE:
        this.readAggregate(at, code)
        break
      case 46:
        this.endStreamed(at)
        break
      case 95:
        if (at.u16() !== 0x0d0a) at.fail('CR LF after _')
        this.add(code, null)
        break
      case 35: {
        const letter = at.u8()
        if ((letter !== 116 && letter !== 102) || at.u16() !== 0x0d0a) at.fail('#t or #f')
        this.add(code, letter === 116)
        break
      }
      case 44:
        this.add(code, double(at))
        break
      case 40:
        this.add(code, this.bigNumber(at))
        break
      default:
        at.fail(`a RESP type, found byte ${code}`)
    }
  }

  private readString(at: Cursor, code: number): void {
    const length = lengthOrStreamed(at)
    if (length > MAX_BULK) at.fail(`a string of at most ${MAX_BULK} bytes, found ${length}`)
    if (length === -1) this.add(code, null)
    else if (length === STREAMED) {
      if (code !== DOLLAR) at.fail('a length')
      this.open(at, new Frame(SEMICOLON, Number.POSITIVE_INFINITY))
    } else if (length > LONG_BULK && at.remaining < length + 2) {
      this.blob = new Blob(length, this.isWanted() ? this.room : 0)
      this.blobType = code
      this.commit(at)
      this.readBlob(at)
    } else {
      const start = at.position
      at.skip(length)
      if (at.u16() !== 0x0d0a) at.fail(`CR LF after ${length} bytes`)
      this.addString(code, this.isWanted() ? bulk(at.bytes, start, start + length, this.room) : null)
    }
  }

  private readBlob(at: Cursor): void {
    const blob = this.blob!
    if (at.remaining > 0 && blob.left > 0) {
      blob.take(at)
      this.commit(at)
    }
    if (blob.left > 0) at.need(1)
    if (at.u16() !== 0x0d0a) at.fail(`CR LF after ${blob.size} bytes`)
    this.blob = null
    this.addString(this.blobType, this.isWanted() ? blob.value() : null)
  }

  private addString(code: number, text: JsonValue): void {
    if (text !== null) this.room -= keptSize(text)
    if (code === 33) this.addError(code, text)
    else if (code === 61 && typeof text === 'string' && text.charAt(3) === ':') {
      if (this.frames.length === 0) this.keyword = text.slice(0, 3)
      this.add(code, text.slice(4))
    } else this.add(code, text)
  }

  private addError(code: number, text: JsonValue): void {
    if (this.frames.length === 0) {
      this.keyword = errorWord(text)
      this.add(code, text)
    } else this.add(code, { error: text })
  }

  private line(at: Cursor): Bulk {
    const end = at.lineEnd(this.maxLine)
    const start = at.position
    if (end === start || at.bytes[end - 1] !== CR) at.fail('CR before LF')
    at.position = end + 1
    return this.text(at, start, end - 1)
  }

  private bigNumber(at: Cursor): Bulk {
    const start = at.position
    const end = at.lineEnd(this.maxLine)
    const first = at.bytes[start] === 45 || at.bytes[start] === 43 ? start + 1 : start
    if (end < first + 2 || at.bytes[end - 1] !== CR) at.fail('a big number and CR LF')
    for (let i = first; i < end - 1; i++) if (at.bytes[i]! < 48 || at.bytes[i]! > 57) at.fail('a big number')
    at.position = end + 1
    return this.text(at, start, end - 1)
  }

  private text(at: Cursor, start: number, end: number): Bulk {
    const text = bulk(at.bytes, start, end, this.room)
    this.room -= keptSize(text)
    return text
  }

  /** A part of a streamed string. */
  private readChunk(at: Cursor): void {
    const frame = this.frames.at(-1)
    if (frame?.code !== SEMICOLON) at.fail('a value, found a part of a string')
    const length = number(at)
    if (length < 0 || length > MAX_BULK) at.fail(`a length, found ${length}`)
    if (length === 0) {
      this.frames.pop()
      this.addString(DOLLAR, beginning(Buffer.concat(frame!.values), frame!.seen))
      return
    }
    const part = at.view(length)
    if (at.u16() !== 0x0d0a) at.fail(`CR LF after ${length} bytes`)
    frame!.seen += length
    const kept = Math.min(length, Math.max(this.room - frame!.kept, 0))
    if (kept === 0) return
    frame!.kept += kept
    frame!.values.push(part.slice(0, kept))
  }

  private readAggregate(at: Cursor, code: number): void {
    const count = lengthOrStreamed(at)
    const isMap = code === PERCENT || code === PIPE
    if (count === -1) this.add(code, null)
    else if (count === STREAMED) {
      if (code === GREATER || code === PIPE) at.fail('a number of elements')
      this.open(at, new Frame(code, Number.POSITIVE_INFINITY))
    } else if (count === 0) this.close(new Frame(code, 0))
    else this.open(at, new Frame(code, isMap ? count * 2 : count))
  }

  private endStreamed(at: Cursor): void {
    if (at.u16() !== 0x0d0a) at.fail('CR LF after the end of a streamed value')
    const frame = this.frames.at(-1)
    if (frame === undefined || frame.left !== Number.POSITIVE_INFINITY) at.fail('a value, found an end')
    if (frame!.code === PERCENT && frame!.seen % 2 === 1) at.fail('a value for the last key of a map')
    this.frames.pop()
    this.close(frame!)
  }

  private open(at: Cursor, frame: Frame): void {
    if (this.frames.length === MAX_DEPTH) at.fail(`at most ${MAX_DEPTH} levels`)
    this.frames.push(frame)
  }

  /** All elements of an aggregate are there. */
  private close(frame: Frame): void {
    if (frame.code !== PIPE) this.add(frame.code, frame.json())
    else if (--this.elements >= 0) {
      if (this.attributes === null) this.attributes = []
      this.attributes.push({ at: this.pointer(), value: frame.json() })
    }
  }

  /** JSON Pointer of the value that comes next. */
  private pointer(): string {
    let path = ''
    for (const frame of this.frames) {
      const isMap = frame.code === PERCENT || frame.code === PIPE
      const key = isMap && frame.seen % 2 === 1 ? frame.values.at(-1) : null
      path += `/${typeof key === 'string' ? key.replaceAll('~', '~0').replaceAll('/', '~1') : isMap ? frame.seen >> 1 : frame.seen}`
    }
    return path
  }

  private add(code: number, value: JsonValue): void {
    const frame = this.frames.at(-1)
    if (frame === undefined) {
      this.type = value === null ? 'Null' : TYPES[code]!
      this.value = value
      this.done = true
      return
    }
    if (this.isWanted()) {
      frame.values.push(value)
      this.elements--
    } else this.omitted++
    frame.seen++
    if (--frame.left > 0) return
    this.frames.pop()
    if (this.frames.length === 0) this.count = frame.seen
    this.close(frame)
  }

  /** Whether the next element of the innermost aggregate is to be kept. */
  private isWanted(): boolean {
    if (this.elements > 0 || this.frames.length === 0) return true
    const frame = this.frames.at(-1)!
    // Of a map a value is kept if its key is.
    if ((frame.code === PERCENT || frame.code === PIPE) && frame.values.length % 2 === 1) return true
    return this.frames.length === 1 && frame.seen < HEAD_ELEMENTS
  }
}

class Frame {
  readonly code: number
  /** Values still to come; endless for a streamed one. */
  left: number
  seen = 0
  /** Bytes of a streamed string that are in `values`. */
  kept = 0
  readonly values: JsonValue[] = []

  constructor(code: number, left: number) {
    this.code = code
    this.left = left
  }

  json(): JsonValue {
    if (this.code !== PERCENT && this.code !== PIPE) return this.values
    const { values } = this
    const pairs: [JsonValue, JsonValue][] = []
    let named = true
    for (let i = 0; i < values.length; i += 2) {
      if (typeof values[i] !== 'string') named = false
      pairs.push([values[i], values[i + 1]])
    }
    if (!named) return pairs
    const object = Object.fromEntries(pairs)
    return Object.keys(object).length === pairs.length ? object : pairs
  }
}

/** Digits and CR LF, -1 allowed. */
export function number(at: Cursor): number {
  let byte = at.u8()
  if (byte === 45) {
    if (at.u8() !== 49 || at.u16() !== 0x0d0a) at.fail('-1 or a number')
    return -1
  }
  let value = 0
  if (byte === CR) at.fail('a number, found none')
  for (; byte !== CR; byte = at.u8()) {
    if (byte < 48 || byte > 57) at.fail(`a digit, found byte ${byte}`)
    value = value * 10 + byte - 48
    if (value > MAX_COUNT) at.fail(`a number up to ${MAX_COUNT}`)
  }
  if (at.u8() !== 10) at.fail('LF after CR')
  return value
}

/** First word of an error if it is one, like `ERR` or `WRONGTYPE`. */
function errorWord(error: JsonValue): string | null {
  const text = typeof error === 'string' ? error : error?.text
  if (typeof text !== 'string') return null
  const space = text.indexOf(' ')
  const word = space < 0 ? text : text.slice(0, space)
  return word !== '' && word.length <= 64 && word === word.toUpperCase() ? word : null
}

function lengthOrStreamed(at: Cursor): number {
  if (at.peek() !== 63) return number(at)
  at.skip(1)
  if (at.u16() !== 0x0d0a) at.fail('CR LF after ?')
  return STREAMED
}

/** A number up to 2^53 - 1, a decimal string beyond. */
function integer(at: Cursor): number | string {
  let byte = at.u8()
  const begin = at.position - 1
  const negative = byte === 45
  if (negative || byte === 43) byte = at.u8()
  let value = 0
  let digits = 0
  for (; byte !== CR; byte = at.u8()) {
    if (byte < 48 || byte > 57 || ++digits > 20) at.fail('a 64-bit integer')
    value = value * 10 + byte - 48
  }
  if (digits === 0 || at.u8() !== 10) at.fail('an integer and CR LF')
  if (value > Number.MAX_SAFE_INTEGER) return ascii(at, begin)
  return negative && value !== 0 ? -value : value
}

const DOUBLE = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/
const INFINITE = /^([+-]?)inf(inity)?$/i
const NOT_A_NUMBER = /^[+-]?nan(\([^)]*\))?$/i
/** More than any form of a double needs. */
const MAX_DOUBLE = 512

function double(at: Cursor): number | string {
  const start = at.position
  const end = at.lineEnd(MAX_DOUBLE)
  if (end === start || at.bytes[end - 1] !== CR) at.fail('CR before LF')
  const text = at.latin1(end - 1 - start)
  at.skip(2)
  if (DOUBLE.test(text)) {
    const value = Number(text)
    return Number.isFinite(value) ? value : text
  }
  const infinite = INFINITE.exec(text)
  if (infinite !== null) return infinite[1] === '-' ? '-inf' : 'inf'
  if (!NOT_A_NUMBER.test(text)) at.fail('a double')
  return 'nan'
}

function ascii(at: Cursor, begin: number): string {
  let text = ''
  for (let i = begin; at.bytes[i] !== CR; i++) if (at.bytes[i] !== 43) text += String.fromCharCode(at.bytes[i]!)
  return text
}
