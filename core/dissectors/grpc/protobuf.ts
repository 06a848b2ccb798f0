/**
 * Protocol buffers read without their description (protobuf.dev, "Encoding").
 *
 *   field = tag(varint: number << 3 | type) value      type 0 varint, 1 64 bits, 2 length and bytes, 3 and 4 a group, 5 32 bits
 *
 * What the bytes do not say is not guessed: numbers are unsigned as they stand, 32 and 64 bits are told in both of their
 * readings, bytes are a text, a message or base64, and a field that is repeated is an array.
 */
import { isUtf8 } from 'node:buffer'
import { utf8 } from '../../cursor.ts'
import type { Json, JsonValue } from '../../item.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'

/** As deep as the usual libraries go. */
const MAX_DEPTH = 100
/** Fields of one message, those within it included: each byte may be one. */
const MAX_FIELDS = 20_000
/** A stranger's bytes are tried as a message at each depth: no more than so many in all. */
const MAX_TRIED = 4 << 20
const MAX_FIELD_NUMBER = (1 << 29) - 1

/** Fields by number; null if these bytes are no message. */
export function readProtobuf(b: Uint8Array, start: number, end: number): Json | null {
  const reading: Reading = { bytes: b, position: start, fields: 0, tried: 0 }
  const message = readFields(reading, end, 0, 0)
  return message === null || reading.position !== end ? null : message
}

/**
 * Writes what `readProtobuf` reads, without objects: senders write fields in the order of their numbers, one that is
 * repeated at once. Nothing and false where they do not, or these bytes are no message.
 */
export function writeProtobuf(out: JsonWriter, b: Uint8Array, start: number, end: number): boolean {
  const begin = out.length
  const reading: Reading = { bytes: b, position: start, fields: 0, tried: 0 }
  if (writeFields(out, reading, end, 0) === WRITTEN) return true
  out.length = begin
  return false
}

const WRITTEN = 1
/** These bytes are no message. */
const NONE = 0
/** They may be one, whose fields stand in another order or in groups: that one is for the reader. */
const ODD = -1
type Outcome = typeof WRITTEN | typeof NONE | typeof ODD

const OPEN = 123
const CLOSE = 125
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93
const COMMA = 44
const COLON = 58
const QUOTE = 34
const FIXED32 = constant('{"fixed32":')
const FLOAT = constant(',"float":')
const FIXED64 = constant('{"fixed64":')
const DOUBLE = constant(',"double":')
const BASE64 = constant('{"encoding":"base64","text":')

function writeFields(out: JsonWriter, reading: Reading, end: number, depth: number): Outcome {
  if (depth > MAX_DEPTH) return NONE
  let last = 0
  /** Where the last field's value begins, -1: in an array. */
  let single = -1
  out.byte(OPEN)
  while (reading.position < end) {
    const tag = number(reading, end)
    if (tag < 0) return NONE
    const field = tag < 0x80 ? tag >> 3 : Math.floor(tag / 8)
    if (field < 1 || field > MAX_FIELD_NUMBER || ++reading.fields > MAX_FIELDS) return NONE
    if (field === last) {
      if (single >= 0) {
        const written = out.length - single
        out.reserve(written + 1)
        out.bytes.copyWithin(single + 1, single, out.length)
        out.bytes[single] = OPEN_BRACKET
        out.length++
        single = -1
      }
      out.byte(COMMA)
    } else {
      if (field < last) return ODD
      if (last !== 0 && single < 0) out.byte(CLOSE_BRACKET)
      writeName(out, field, last !== 0)
      single = out.length
      last = field
    }
    const outcome = writeValue(out, reading, end, tag & 7, depth)
    if (outcome !== WRITTEN) return outcome
  }
  if (last !== 0 && single < 0) out.byte(CLOSE_BRACKET)
  out.byte(CLOSE)
  return WRITTEN
}

/** In one go: there is a name for every few bytes of a message. */
function writeName(out: JsonWriter, field: number, behindOther: boolean): void {
  out.reserve(5)
  const { bytes } = out
  let p = out.length
  if (behindOther) bytes[p++] = COMMA
  bytes[p++] = QUOTE
  if (field < 10) bytes[p++] = 48 + field
  else {
    out.length = p
    out.integer(field)
    out.reserve(2)
    p = out.length
  }
  out.bytes[p++] = QUOTE
  out.bytes[p++] = COLON
  out.length = p
}

function writeValue(out: JsonWriter, reading: Reading, end: number, type: number, depth: number): Outcome {
  if (type === 0) return writeVarint(out, reading, end)
  if (type === 2) {
    const length = number(reading, end)
    if (length < 0 || length > end - reading.position) return NONE
    const start = reading.position
    const outcome = writeBytes(out, reading, start, start + length, depth)
    reading.position = start + length
    return outcome
  }
  if (type === 1) return writeFixed(out, reading, end, 8)
  if (type === 5) return writeFixed(out, reading, end, 4)
  return type === 3 ? ODD : NONE
}

/** In two words: negative numbers have 64 bits, and a bigint would take longer than all the rest of the field. */
function writeVarint(out: JsonWriter, reading: Reading, end: number): Outcome {
  const { bytes, position } = reading
  let lower = 0
  let upper = 0
  for (let i = 0, p = position; p < end; i++, p++) {
    const byte = bytes[p]!
    const bits = byte & 0x7f
    if (i < 4) lower |= bits << (7 * i)
    else if (i > 4) upper |= bits << (7 * i - 32)
    else {
      lower |= bits << 28
      upper = bits >>> 4
    }
    if (i === 9 && byte > 1) break
    if (byte < 0x80) {
      reading.position = p + 1
      writeWords(out, upper >>> 0, lower >>> 0)
      return WRITTEN
    }
  }
  // It does not end, or has more bits than 64.
  const value = varint(reading, end)
  if (value === null) return NONE
  writeNumber(out, value)
  return WRITTEN
}

/** A number up to 2^53 - 1, a string beyond. */
function writeWords(out: JsonWriter, upper: number, lower: number): void {
  if (upper <= MAX_UPPER) out.integer(upper * 0x1_0000_0000 + lower)
  else {
    out.byte(QUOTE)
    writeLarge(out, upper, lower)
    out.byte(QUOTE)
  }
}

function writeNumber(out: JsonWriter, value: number | string): void {
  if (typeof value === 'number') {
    out.integer(value)
    return
  }
  out.byte(QUOTE)
  out.ascii(value)
  out.byte(QUOTE)
}

function writeBytes(out: JsonWriter, reading: Reading, start: number, end: number, depth: number): Outcome {
  const { bytes } = reading
  if (out.line(bytes, start, end)) return WRITTEN
  reading.tried += end - start
  if (reading.tried <= MAX_TRIED) {
    const { fields } = reading
    const begin = out.length
    reading.position = start
    const outcome = writeFields(out, reading, end, depth + 1)
    if (outcome === ODD || (outcome === WRITTEN && reading.position === end)) return outcome
    out.length = begin
    reading.fields = fields
  }
  if (textKind(bytes, start, end) !== 'none') out.string(bytes, start, end)
  else {
    out.raw(BASE64)
    out.base64(bytes, start, end)
    out.byte(CLOSE)
  }
  return WRITTEN
}

function writeFixed(out: JsonWriter, reading: Reading, end: number, size: 4 | 8): Outcome {
  if (size > end - reading.position) return NONE
  const { bytes, position } = reading
  for (let i = 0; i < size; i++) OCTETS[i] = bytes[position + i]!
  reading.position += size
  if (size === 4) {
    out.raw(FIXED32)
    out.integer(WORDS[0]!)
    out.raw(FLOAT)
    writePoint(out, FLOATS[0]!)
    return WRITTEN
  }
  const lower = WORDS[0]!
  const upper = WORDS[1]!
  const place = (lower ^ upper ^ (upper >>> 15)) & (KNOWN - 1)
  const known = KNOWN_TEXTS[place]!
  if (known !== null && KNOWN_VALUES[place * 2] === lower && KNOWN_VALUES[place * 2 + 1] === upper) {
    out.raw(known)
    return WRITTEN
  }
  const begin = out.length
  out.raw(FIXED64)
  writeWords(out, upper, lower)
  out.raw(DOUBLE)
  writePoint(out, DOUBLES[0]!)
  KNOWN_VALUES[place * 2] = lower
  KNOWN_VALUES[place * 2 + 1] = upper
  KNOWN_TEXTS[place] = Uint8Array.prototype.slice.call(out.bytes, begin, out.length)
  return WRITTEN
}

/** The other reading, and the end of both. */
function writePoint(out: JsonWriter, value: number): void {
  if (Number.isFinite(value)) out.ascii(String(value))
  else writeNumber(out, String(value))
  out.byte(CLOSE)
}

/** Prices and rates come again and again, and their digits take longer than all the rest of a field. */
const KNOWN = 256
const KNOWN_VALUES = new Uint32Array(KNOWN * 2)
const KNOWN_TEXTS: (Uint8Array | null)[] = new Array(KNOWN).fill(null)

/** One value's bytes in all their readings; as on the wire, the lowest first. */
const DOUBLES = new Float64Array(1)
const OCTETS = new Uint8Array(DOUBLES.buffer)
const WORDS = new Uint32Array(DOUBLES.buffer)
const FLOATS = new Float32Array(DOUBLES.buffer)
/** The upper word of the largest number that JavaScript counts up to. */
const MAX_UPPER = 0x1f_ffff

/** 64 bits as decimal digits, four at a time. */
function writeLarge(out: JsonWriter, upper: number, lower: number): void {
  let a = upper >>> 16
  let b = upper & 0xffff
  let c = lower >>> 16
  let d = lower & 0xffff
  let count = 0
  while ((a | b | c | d) !== 0) {
    b += (a % 10_000) << 16
    a = (a / 10_000) | 0
    c += (b % 10_000) * 0x1_0000
    b = (b / 10_000) | 0
    d += (c % 10_000) * 0x1_0000
    c = (c / 10_000) | 0
    GROUPS[count++] = d % 10_000
    d = (d / 10_000) | 0
  }
  out.integer(GROUPS[--count]!)
  while (count > 0) out.digits(GROUPS[--count]!, 4)
}
const GROUPS = new Uint16Array(5)

interface Reading {
  readonly bytes: Uint8Array
  position: number
  fields: number
  tried: number
}

/** Until `end`, or the tag that ends `group`. */
function readFields(reading: Reading, end: number, group: number, depth: number): Json | null {
  if (depth > MAX_DEPTH) return null
  const message: Json = {}
  while (reading.position < end) {
    const tag = varint(reading, end)
    if (typeof tag !== 'number') return null
    const number = Math.floor(tag / 8)
    const type = tag & 7
    if (number < 1 || number > MAX_FIELD_NUMBER || ++reading.fields > MAX_FIELDS) return null
    if (type === 4) return number === group ? message : null
    const value = readValue(reading, end, type, number, depth)
    if (value === null) return null
    const known = message[number]
    if (known === undefined) message[number] = value
    else if (Array.isArray(known)) known.push(value)
    else message[number] = [known, value]
  }
  return group === 0 ? message : null
}

function readValue(reading: Reading, end: number, type: number, number: number, depth: number): JsonValue {
  switch (type) {
    case 0:
      return varint(reading, end)
    case 1:
      return fixed(reading, end, 8)
    case 2: {
      const length = varint(reading, end)
      if (typeof length !== 'number' || length > end - reading.position) return null
      const start = reading.position
      const value = readBytes(reading, start, start + length, depth)
      reading.position = start + length
      return value
    }
    case 3:
      return readFields(reading, end, number, depth + 1)
    case 5:
      return fixed(reading, end, 4)
    default:
      return null
  }
}

/**
 * Text without control characters is a text. Bytes that are a message to their last one are a message, as the tags of
 * small field numbers are control characters; other text may have line ends and tabs.
 */
function readBytes(reading: Reading, start: number, end: number, depth: number): JsonValue {
  const { bytes } = reading
  const kind = textKind(bytes, start, end)
  if (kind === 'plain') return utf8(bytes, start, end)
  reading.tried += end - start
  if (reading.tried <= MAX_TRIED) {
    const { fields } = reading
    reading.position = start
    const message = readFields(reading, end, 0, depth + 1)
    if (message !== null && reading.position === end) return message
    reading.fields = fields
  }
  if (kind === 'lines') return utf8(bytes, start, end)
  return {
    encoding: 'base64',
    text: Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('base64'),
  }
}

function textKind(b: Uint8Array, start: number, end: number): 'plain' | 'lines' | 'none' {
  let kind: 'plain' | 'lines' = 'plain'
  let ascii = true
  for (let i = start; i < end; i++) {
    const code = b[i]!
    if (code === 9 || code === 10 || code === 13) kind = 'lines'
    else if (code < 0x20 || code === 0x7f) return 'none'
    else if (code >= 0x80) ascii = false
  }
  return ascii || isUtf8(b.subarray(start, end)) ? kind : 'none'
}

/** Most are one byte. -1: it does not end, or is no number of JavaScript's; then the position may be anywhere. */
function number(reading: Reading, end: number): number {
  const { bytes, position } = reading
  if (position < end && bytes[position]! < 0x80) {
    reading.position = position + 1
    return bytes[position]!
  }
  const value = varint(reading, end)
  return typeof value === 'number' ? value : -1
}

/** A number up to 2^53 - 1, a decimal string beyond; null if it does not end. */
function varint(reading: Reading, end: number): number | string | null {
  const { bytes } = reading
  let value = 0
  let scale = 1
  for (let p = reading.position; p < end && p - reading.position < 10; p++) {
    const byte = bytes[p]!
    value += (byte & 0x7f) * scale
    if (byte < 0x80) {
      const start = reading.position
      reading.position = p + 1
      return value <= Number.MAX_SAFE_INTEGER ? value : large(bytes, start, p)
    }
    scale *= 128
  }
  return null
}

function large(b: Uint8Array, start: number, last: number): string {
  let value = 0n
  for (let p = last; p >= start; p--) value = (value << 7n) | BigInt(b[p]! & 0x7f)
  return BigInt.asUintN(64, value).toString()
}

/** Whether it is an integer or has a point is not on the wire. */
function fixed(reading: Reading, end: number, size: 4 | 8): JsonValue {
  if (size > end - reading.position) return null
  const { bytes } = reading
  const data = new DataView(bytes.buffer, bytes.byteOffset + reading.position, size)
  reading.position += size
  if (size === 4) return { fixed32: data.getUint32(0, true), float: finite(data.getFloat32(0, true)) }
  const whole = data.getBigUint64(0, true)
  const small = whole <= BigInt(Number.MAX_SAFE_INTEGER)
  return { fixed64: small ? Number(whole) : whole.toString(), double: finite(data.getFloat64(0, true)) }
}

/** JSON has no other form for these. */
function finite(value: number): number | string {
  return Number.isFinite(value) ? value : String(value)
}
