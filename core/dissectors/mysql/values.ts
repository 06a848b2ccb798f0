/**
 * Values of MySQL: rows and parameters as text and in binary form.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
 */
import type { Cursor } from '../../cursor.ts'
import { binaryValue, type SqlValue, textValue } from '../../sql.ts'
import { i64le, lenenc, u64le } from './intake.ts'

export interface Column {
  name: string
  /** Name of the table as the statement calls it; '' where the column belongs to none. */
  table: string
  /** `LONG`, `VAR_STRING`, as `enum_field_types` calls them. */
  type: string
  unsigned: boolean
  /** Digits after the point of numbers and seconds; null where it depends. */
  decimals: number | null
  /** Character set 63: the bytes are no text. */
  binary: boolean
  /** MariaDB's name of a type of its own: `uuid`, `inet6`, `json`. */
  extended?: string
}

/** enum_field_types; the internal ones (14, 17 to 19) never cross a wire. */
const TYPES: { readonly [type: number]: string } = {
  0: 'DECIMAL',
  1: 'TINY',
  2: 'SHORT',
  3: 'LONG',
  4: 'FLOAT',
  5: 'DOUBLE',
  6: 'NULL',
  7: 'TIMESTAMP',
  8: 'LONGLONG',
  9: 'INT24',
  10: 'DATE',
  11: 'TIME',
  12: 'DATETIME',
  13: 'YEAR',
  15: 'VARCHAR',
  16: 'BIT',
  242: 'VECTOR',
  245: 'JSON',
  246: 'NEWDECIMAL',
  247: 'ENUM',
  248: 'SET',
  249: 'TINY_BLOB',
  250: 'MEDIUM_BLOB',
  251: 'LONG_BLOB',
  252: 'BLOB',
  253: 'VAR_STRING',
  254: 'STRING',
  255: 'GEOMETRY',
}

export function typeOf(code: number): string {
  return TYPES[code] ?? String(code)
}

/** What of a value is kept: the bytes of text that may yet be, counted down. */
export interface Room {
  left: number
}

/** One value of a text row. `length` -1: NULL. */
export function textOf(at: Cursor, { type }: Column, room: Room): SqlValue {
  const length = lenenc(at)
  // A value that takes no room on the wire does in memory.
  room.left--
  if (length < 0) return null
  if (INTEGERS.has(type) || FLOATS.has(type)) {
    const text = at.latin1(length)
    room.left -= length
    const number = Number(text)
    return Number.isSafeInteger(number) || (FLOATS.has(type) && Number.isFinite(number)) ? number : text
  }
  return characters(at, length, room, type === 'BIT' || type === 'GEOMETRY')
}

const INTEGERS = new Set(['TINY', 'SHORT', 'LONG', 'LONGLONG', 'INT24', 'YEAR'])
const FLOATS = new Set(['FLOAT', 'DOUBLE'])

/** `length` bytes, of which the last may not have been kept. */
function characters(at: Cursor, length: number, room: Room, isBinary: boolean): SqlValue {
  const kept = Math.min(length, at.remaining, Math.max(0, room.left))
  const value = (isBinary ? binaryValue : textValue)(at.bytes, at.position, at.position + kept, length)
  room.left -= kept
  at.skip(Math.min(length, at.remaining))
  return value
}

/** One value in binary form that is not NULL; undefined: of a type that is not known, so that its end is not either. */
export function binaryOf(at: Cursor, column: Column, room: Room): SqlValue | undefined {
  const { type, unsigned } = column
  room.left -= 8
  switch (type) {
    case 'TINY':
      return unsigned ? at.u8() : at.i8()
    case 'SHORT':
      return unsigned ? at.u16le() : (at.u16le() << 16) >> 16
    case 'YEAR':
      return at.u16le()
    case 'LONG':
    case 'INT24':
      return unsigned ? at.u32le() : at.u32le() | 0
    case 'LONGLONG':
      return unsigned ? u64le(at) : i64le(at)
    case 'FLOAT':
      return finite(shortest(view(at, 4).getFloat32(0, true)))
    case 'DOUBLE':
      return finite(view(at, 8).getFloat64(0, true))
    case 'NULL':
      return null
    case 'DATE':
    case 'DATETIME':
    case 'TIMESTAMP':
      return moment(at, column)
    case 'TIME':
      return duration(at, column)
    case 'BIT':
    case 'GEOMETRY':
    case 'VECTOR':
      return characters(at, Math.max(0, lenenc(at)), room, true)
    default:
      if (!STRINGS.has(type)) return undefined
      return characters(at, Math.max(0, lenenc(at)), room, false)
  }
}

const STRINGS = new Set([
  'DECIMAL',
  'VARCHAR',
  'JSON',
  'NEWDECIMAL',
  'ENUM',
  'SET',
  'TINY_BLOB',
  'MEDIUM_BLOB',
  'LONG_BLOB',
  'BLOB',
  'VAR_STRING',
  'STRING',
])

function view(at: Cursor, count: number): DataView {
  const bytes = at.view(count)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** JSON has no infinity. */
function finite(value: number): number | string {
  return Number.isFinite(value) ? value : String(value)
}

/** The number with the fewest digits that is this one in 32 bits. */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(value.toPrecision(digits))
    if (Math.fround(text) === value) return text
  }
  return value
}

/** length(1) year(2) month(1) day(1) hour(1) minute(1) second(1) microsecond(4), of which the end may be left out. */
function moment(at: Cursor, { type, decimals }: Column): string {
  const part = at.within(at.u8())
  const size = part.remaining
  if (size !== 0 && size !== 4 && size !== 7 && size !== 11) at.fail('a moment of 0, 4, 7 or 11 bytes')
  const date = size > 0 ? [digits(part.u16le(), 4), digits(part.u8(), 2), digits(part.u8(), 2)] : ['0000', '00', '00']
  if (type === 'DATE' && size <= 4) return date.join('-')
  const time = size > 4 ? [part.u8(), part.u8(), part.u8()] : [0, 0, 0]
  const text = `${date.join('-')} ${time.map(value => digits(value, 2)).join(':')}`
  return text + fraction(size > 7 ? part.u32le() : 0, decimals)
}

/** length(1) negative(1) days(4) hour(1) minute(1) second(1) microsecond(4), of which the end may be left out. */
function duration(at: Cursor, { decimals }: Column): string {
  const part = at.within(at.u8())
  const size = part.remaining
  if (size !== 0 && size !== 8 && size !== 12) at.fail('a time of 0, 8 or 12 bytes')
  if (size === 0) return `00:00:00${fraction(0, decimals)}`
  const sign = part.u8() === 0 ? '' : '-'
  const hours = part.u32le() * 24 + part.u8()
  const text = `${sign}${digits(hours, 2)}:${digits(part.u8(), 2)}:${digits(part.u8(), 2)}`
  return text + fraction(size > 8 ? part.u32le() : 0, decimals)
}

/** As many digits as the column has, else as many as there are. */
function fraction(micro: number, decimals: number | null): string {
  if (decimals !== null && decimals >= 1 && decimals <= 6) return `.${digits(micro, 6).slice(0, decimals)}`
  return micro === 0 ? '' : `.${digits(micro, 6)}`
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, '0')
}
