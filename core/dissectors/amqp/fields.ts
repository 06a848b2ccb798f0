/**
 * Fields of methods and properties, and field tables (4.2.5) with the type letters that RabbitMQ and its clients use,
 * which differ from the specification's: https://www.rabbitmq.com/amqp-0-9-1-errata
 *
 *   table = length(4) { name-length(1) name type(1) value }      array = length(4) { type(1) value }
 */
import type { Cursor } from '../../cursor.ts'
import type { Json, JsonValue } from '../../item.ts'
import { base64, type Words, words } from '../../words.ts'
import type { Field } from './methods.ts'

export const REDACTED = '[REDACTED]'
/** Each level costs a stranger six bytes, and us a call. Deeper tables are shown as the bytes they are. */
const MAX_DEPTH = 64

/**
 * Reads `fields` into `body`. What is wrong with a field table is returned, null for nothing: its length is known, so
 * what follows it is read nevertheless.
 */
export function readFields(at: Cursor, fields: readonly Field[], body: Json): string | null {
  let fault: string | null = null
  let bits = 0
  let bit = 8
  for (const { name, type } of fields) {
    if (type === 'bit') {
      if (bit === 8) {
        bits = at.u8()
        bit = 0
      }
      if (name !== '') body[name] = ((bits >> bit) & 1) === 1
      bit++
      continue
    }
    bit = 8
    let value: JsonValue
    if (type === 'table') {
      const table = readTable(at)
      value = table.value
      fault ??= table.fault
    } else value = readField(at, type)
    if (name !== '') body[name] = value
  }
  return fault
}

export function readField(at: Cursor, type: Exclude<Field['type'], 'bit' | 'table'>): JsonValue {
  switch (type) {
    case 'shortstr':
      return words(at, at.u8())
    case 'octet':
      return at.u8()
    case 'short':
      return at.u16()
    case 'long':
      return at.u32()
    case 'longlong':
    case 'timestamp':
      return at.u64()
    case 'longstr':
      return words(at, at.u32())
    case 'secret':
      at.skip(at.u32())
      return REDACTED
  }
}

export interface Table {
  value: Json | Words
  /** What could not be read of it. */
  fault: string | null
}

export function readTable(at: Cursor): Table {
  const reader = new TableReader()
  const value = reader.table(at.within(at.u32()), 0)
  return { value, fault: reader.fault }
}

class TableReader {
  fault: string | null = null

  table(at: Cursor, depth: number): Json | Words {
    if (depth > MAX_DEPTH) return words(at, at.remaining)
    const table: Json = {}
    while (at.remaining > 0 && this.fault === null) {
      const name = at.text(at.u8())
      const value = this.value(at, depth)
      // The only name that an assignment would take for something else.
      if (name === '__proto__') Object.defineProperty(table, name, { value, enumerable: true, configurable: true })
      else table[name] = value
    }
    return table
  }

  private array(at: Cursor, depth: number): JsonValue {
    if (depth > MAX_DEPTH) return words(at, at.remaining)
    const values: JsonValue[] = []
    while (at.remaining > 0 && this.fault === null) values.push(this.value(at, depth))
    return values
  }

  private value(at: Cursor, depth: number): JsonValue {
    const letter = at.u8()
    switch (String.fromCharCode(letter)) {
      case 'S':
        return words(at, at.u32())
      case 'I':
        return at.i32()
      case 't':
        return at.u8() !== 0
      case 'F':
        return this.table(at.within(at.u32()), depth + 1)
      case 'A':
        return this.array(at.within(at.u32()), depth + 1)
      case 'T':
        return at.u64()
      case 'l':
      case 'L':
        return at.i64()
      case 'V':
        return null
      case 'd':
        return finite(at.f64())
      case 'f':
        return finite(f32(at))
      case 'b':
        return at.i8()
      case 'B':
        return at.u8()
      case 's':
      case 'U':
        return at.i16()
      case 'u':
        return at.u16()
      case 'i':
        return at.u32()
      case 'D':
        return decimal(at)
      case 'x':
        return base64(at, at.u32())
      default:
        this.fault = `expected a type of field, found byte ${letter}`
        return null
    }
  }
}

/** JSON has no infinity. */
function finite(value: number): number | string {
  if (Number.isFinite(value)) return value
  return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf'
}

/** As few digits as tell this value from its neighbours of 32 bits. */
function f32(at: Cursor): number {
  const view = at.view(4)
  const value = new DataView(view.buffer, view.byteOffset, 4).getFloat32(0)
  const short = Number(value.toPrecision(7))
  return Math.fround(short) === value ? short : value
}

/** Exact, as text: `31.41`. */
function decimal(at: Cursor): string {
  const scale = at.u8()
  const value = at.i32()
  if (scale === 0) return String(value)
  const digits = String(Math.abs(value)).padStart(scale + 1, '0')
  return `${value < 0 ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
