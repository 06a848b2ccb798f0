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
import type { JsonWriter } from '../../json-writer.ts'

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
 * Writes what `readProtobuf` reads, without objects: most messages repeat no field. Nothing and false where one is
 * repeated, or these bytes are no message.
 */
export function writeProtobuf(out: JsonWriter, b: Uint8Array, start: number, end: number): boolean {
  const begin = out.length
  const reading: Reading = { bytes: b, position: start, fields: 0, tried: 0 }
  if (writeFields(out, reading, end, 0)) return true
  out.length = begin
  return false
}

function writeFields(out: JsonWriter, reading: Reading, end: number, depth: number): boolean {
  if (depth > MAX_DEPTH) return false
  let seen = 0
  out.byte(OPEN)
  while (reading.position < end) {
    const tag = varint(reading, end)
    if (typeof tag !== 'number' || tag >= MOST_TAG || ++reading.fields > MAX_FIELDS) return false
    const number = tag >>> 3
    if (number === 0 || (seen & (1 << number)) !== 0) return false
    if (seen !== 0) out.byte(COMMA)
    seen |= 1 << number
    out.byte(QUOTE)
    out.integer(number)
    out.byte(QUOTE)
    out.byte(COLON)
    if (!writeValue(out, reading, end, tag & 7, depth)) return false
  }
  out.byte(CLOSE)
  return true
}

/** Fields of larger numbers, groups and numbers with a point are rarer: those go by way of objects. */
const MOST_TAG = 32 << 3
const OPEN = 123
const CLOSE = 125
const COMMA = 44
const COLON = 58
const QUOTE = 34

function writeValue(out: JsonWriter, reading: Reading, end: number, type: number, depth: number): boolean {
  const value = varint(reading, end)
  if (type === 0 && typeof value === 'number') {
    out.integer(value)
    return true
  }
  if (type !== 2 || typeof value !== 'number' || value > end - reading.position) return false
  const start = reading.position
  const last = start + value
  const kind = textKind(reading.bytes, start, last)
  if (kind === 'plain') {
    out.string(reading.bytes, start, last)
    reading.position = last
    return true
  }
  // What may be several things is for the reader that can go back.
  return kind === 'none' && writeFields(out, reading, last, depth + 1) && reading.position === last
}

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
