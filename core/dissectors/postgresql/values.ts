/**
 * Values of PostgreSQL in their binary form, told as PostgreSQL itself writes them as text, so that a value reads the
 * same however it travelled. Object identifiers of types: src/include/catalog/pg_type.dat of PostgreSQL; the binary forms:
 * the `_send` functions in src/backend/utils/adt.
 */
import { formatAddress } from '../../address.ts'
import { Cursor, Malformed } from '../../cursor.ts'
import { binaryValue, type SqlValue, textValue } from '../../sql.ts'

/** The text of a value, in a cursor that holds it alone. Malformed where it is no value of this type. */
type Decode = (at: Cursor) => string

interface Type {
  name: string
  /** Absent: base64. */
  decode?: Decode
}

/** A value in binary form; `type` is an object identifier. Of its `size` bytes those up to `end` were kept. */
export function decodeBinary(type: number, bytes: Uint8Array, start: number, end: number, size: number): SqlValue {
  const decode = TYPES.get(type)?.decode
  if (decode === characters) return textValue(bytes, start, end, size)
  if (decode === undefined || end - start < size) return binaryValue(bytes, start, end, size)
  const at = new Cursor(bytes, start, end, true)
  try {
    const text = decode(at)
    return at.position === end ? text : binaryValue(bytes, start, end, size)
  } catch (thrown) {
    if (!(thrown instanceof Malformed)) throw thrown
    return binaryValue(bytes, start, end, size)
  }
}

export function typeName(type: number): string | null {
  return TYPES.get(type)?.name ?? null
}

const characters: Decode = at => at.text(at.remaining)

const DECODERS: { readonly [name: string]: Decode } = {
  bool: at => (at.u8() === 0 ? 'f' : 't'),
  bytea: at => `\\x${hex(at, at.remaining)}`,
  char: characters,
  name: characters,
  text: characters,
  bpchar: characters,
  varchar: characters,
  json: characters,
  xml: characters,
  unknown: characters,
  jsonb: at => {
    if (at.u8() !== 1) at.fail('version 1 of jsonb')
    return at.text(at.remaining)
  },
  int8: at => String(at.i64()),
  int2: at => String(at.i16()),
  int4: at => String(at.i32()),
  oid: at => String(at.u32()),
  xid: at => String(at.u32()),
  cid: at => String(at.u32()),
  regclass: at => String(at.u32()),
  regproc: at => String(at.u32()),
  regtype: at => String(at.u32()),
  tid: at => `(${at.u32()},${at.u16()})`,
  pg_lsn: at => `${at.u32().toString(16).toUpperCase()}/${at.u32().toString(16).toUpperCase()}`,
  float4: at => float(shortest(view(at, 4).getFloat32(0))),
  float8: at => float(at.f64()),
  numeric,
  uuid: at => {
    const digits = hex(at, 16)
    return [0, 8, 12, 16, 20].map((from, i) => digits.slice(from, [8, 12, 16, 20, 32][i])).join('-')
  },
  date: at => dateText(at.i32()),
  time: at => timeOfDay(microseconds(at)),
  timetz: at => timeOfDay(microseconds(at)) + zone(at.i32()),
  timestamp: at => timestamp(at.i64(), ''),
  timestamptz: at => timestamp(at.i64(), '+00'),
  interval,
  inet: address,
  cidr: address,
  macaddr: at => hex(at, 6).match(/../g)!.join(':'),
  macaddr8: at => hex(at, 8).match(/../g)!.join(':'),
  bit: bits,
  varbit: bits,
  point,
}

/** name, object identifier of the type, and of arrays of it. */
const KNOWN: readonly (readonly [string, number, number])[] = [
  ['bool', 16, 1000],
  ['bytea', 17, 1001],
  ['char', 18, 1002],
  ['name', 19, 1003],
  ['int8', 20, 1016],
  ['int2', 21, 1005],
  ['int4', 23, 1007],
  ['regproc', 24, 1008],
  ['text', 25, 1009],
  ['oid', 26, 1028],
  ['tid', 27, 1010],
  ['xid', 28, 1011],
  ['cid', 29, 1012],
  ['json', 114, 199],
  ['xml', 142, 143],
  ['point', 600, 1017],
  ['cidr', 650, 651],
  ['float4', 700, 1021],
  ['float8', 701, 1022],
  ['unknown', 705, 0],
  ['macaddr8', 774, 775],
  ['money', 790, 791],
  ['macaddr', 829, 1040],
  ['inet', 869, 1041],
  ['bpchar', 1042, 1014],
  ['varchar', 1043, 1015],
  ['date', 1082, 1182],
  ['time', 1083, 1183],
  ['timestamp', 1114, 1115],
  ['timestamptz', 1184, 1185],
  ['interval', 1186, 1187],
  ['timetz', 1266, 1270],
  ['bit', 1560, 1561],
  ['varbit', 1562, 1563],
  ['numeric', 1700, 1231],
  ['regclass', 2205, 2210],
  ['regtype', 2206, 2211],
  ['record', 2249, 2287],
  ['void', 2278, 0],
  ['uuid', 2950, 2951],
  ['pg_lsn', 3220, 3221],
  ['tsvector', 3614, 3643],
  ['tsquery', 3615, 3645],
  ['int4range', 3904, 3905],
  ['numrange', 3906, 3907],
  ['tsrange', 3908, 3909],
  ['tstzrange', 3910, 3911],
  ['daterange', 3912, 3913],
  ['int8range', 3926, 3927],
  ['jsonb', 3802, 3807],
  ['jsonpath', 4072, 4073],
]

const TYPES: ReadonlyMap<number, Type> = new Map(
  KNOWN.flatMap(([name, type, array]): [number, Type][] => {
    const decode = DECODERS[name]
    const single: [number, Type] = [type, decode === undefined ? { name } : { name, decode }]
    if (array === 0) return [single]
    const many: Type = { name: `${name}[]` }
    if (decode !== undefined) many.decode = at => arrayText(at, decode)
    return [single, [array, many]]
  }),
)

// ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function float(value: number): string {
  if (Object.is(value, -0)) return '-0'
  // PostgreSQL writes an exponent with a sign and at least two digits.
  return String(value).replace(/e([+-])(\d)$/, 'e$10$2')
}

/** The number with the fewest digits that is this one in 32 bits. */
function shortest(value: number): number {
  if (!Number.isFinite(value)) return value
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(value.toPrecision(digits))
    if (Math.fround(text) === value) return text
  }
  return Number(value.toPrecision(9))
}

const NUMERIC_SIGNS: { readonly [sign: number]: string } = {
  0: '',
  16384: '-',
  49152: 'NaN',
  53248: 'Infinity',
  61440: '-Infinity',
}
/** NUMERIC_DSCALE_MASK */
const MAX_SCALE = 16_383
/** Beyond it zeros would be written that nobody sent: a stranger's weight may be 32767 groups of four digits. */
const MAX_NUMERIC_DIGITS = 1000

/** count(2) weight(2) sign(2) scale(2), then as many digits to the base of 10000, each in two bytes. */
function numeric(at: Cursor): string {
  const [count, weight, sign, scale] = [at.u16(), at.i16(), NUMERIC_SIGNS[at.u16()], at.u16()]
  if (sign === undefined || scale > MAX_SCALE) at.fail('a numeric')
  if (sign.length > 1) return sign
  if (weight * 4 > MAX_NUMERIC_DIGITS || scale > MAX_NUMERIC_DIGITS) at.fail('a shorter numeric')
  const digits: number[] = []
  for (let i = 0; i < count; i++) digits.push(at.u16())
  let whole = ''
  for (let i = 0; i <= weight; i++) whole += group(digits[i] ?? 0)
  let fraction = ''
  for (let i = weight + 1; fraction.length < scale; i++) fraction += group(i < 0 ? 0 : (digits[i] ?? 0))
  const text = whole.replace(/^0+/, '') || '0'
  return `${sign}${text}${scale > 0 ? `.${fraction.slice(0, scale)}` : ''}`
}

function group(digit: number): string {
  return String(digit).padStart(4, '0')
}

// ── moments ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const DAY = 86_400_000
/** 2000-01-01 in ms since 1970. */
const EPOCH = 946_684_800_000
const FOREVER = 0x7fffffff

function dateText(days: number): string {
  if (days === FOREVER) return 'infinity'
  if (days === -FOREVER - 1) return '-infinity'
  const [text, era] = day(EPOCH + days * DAY)
  return text + era
}

/** Of ms since 1970: `2024-02-29`, and ` BC` where it belongs. */
function day(ms: number): [string, string] {
  const moment = new Date(ms)
  const year = moment.getUTCFullYear()
  if (Number.isNaN(year)) throw new Malformed('expected a date within 270000 years')
  const [month, date] = [moment.getUTCMonth() + 1, moment.getUTCDate()].map(part => String(part).padStart(2, '0'))
  return [`${String(year > 0 ? year : 1 - year).padStart(4, '0')}-${month}-${date}`, year > 0 ? '' : ' BC']
}

function timestamp(value: number | string, zoned: string): string {
  if (value === '9223372036854775807') return 'infinity'
  if (value === '-9223372036854775808') return '-infinity'
  const micro = BigInt(value)
  const perDay = BigInt(DAY) * 1000n
  const inDay = ((micro % perDay) + perDay) % perDay
  const days = Number((micro - inDay) / perDay)
  const [date, era] = day(EPOCH + days * DAY)
  return `${date} ${timeOfDay(Number(inDay))}${zoned}${era}`
}

function microseconds(at: Cursor): number {
  return Number(at.i64())
}

function timeOfDay(micro: number): string {
  const seconds = Math.floor(micro / 1e6)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return parts.map(part => String(part).padStart(2, '0')).join(':') + decimals(micro - seconds * 1e6)
}

function decimals(micro: number): string {
  return micro === 0 ? '' : `.${String(micro).padStart(6, '0').replace(/0+$/, '')}`
}

/** Seconds west of Greenwich. */
function zone(west: number): string {
  const [sign, seconds] = west > 0 ? ['-', west] : ['+', -west]
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  while (parts.length > 1 && parts.at(-1) === 0) parts.pop()
  return sign + parts.map(part => String(part).padStart(2, '0')).join(':')
}

/** microseconds(8) days(4) months(4) */
function interval(at: Cursor): string {
  const [micro, days, months] = [microseconds(at), at.i32(), at.i32()]
  const [years, rest] = [Math.trunc(months / 12), months % 12]
  const parts: string[] = []
  let negative = false
  const add = (count: number, unit: string) => {
    if (count === 0) return
    parts.push(`${negative && count > 0 ? '+' : ''}${count} ${unit}${count === 1 ? '' : 's'}`)
    negative = count < 0
  }
  add(years, 'year')
  add(rest, 'mon')
  add(days, 'day')
  if (micro !== 0 || parts.length === 0)
    parts.push(`${micro < 0 ? '-' : negative ? '+' : ''}${timeOfDay(Math.abs(micro))}`)
  return parts.join(' ')
}

// ── the others ──────────────────────────────────────────────────────────────────────────────────────────────────────

const IPV4 = 2
const IPV6 = 3

/** family(1) bits(1) is_cidr(1) size(1) address(size) */
function address(at: Cursor): string {
  const [family, mask, isCidr, size] = [at.u8(), at.u8(), at.u8(), at.u8()]
  if (family === IPV4 && size === 4) {
    const text = [at.u8(), at.u8(), at.u8(), at.u8()].join('.')
    return mask === 32 && isCidr === 0 ? text : `${text}/${mask}`
  }
  if (family !== IPV6 || size !== 16) at.fail('an address of IPv4 or IPv6')
  const text = formatAddress(Int32Array.of(at.i32(), at.i32(), at.i32(), at.i32()), 0)
  return mask === 128 && isCidr === 0 ? text : `${text}/${mask}`
}

/** count(4) and the bits, the first one highest. */
function bits(at: Cursor): string {
  const count = at.u32()
  if (at.remaining !== Math.ceil(count / 8)) at.fail(`${count} bits`)
  let text = ''
  while (at.remaining > 0) text += at.u8().toString(2).padStart(8, '0')
  return text.slice(0, count)
}

function point(at: Cursor): string {
  return `(${float(at.f64())},${float(at.f64())})`
}

function hex(at: Cursor, count: number): string {
  const bytes = at.view(count)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}

function view(at: Cursor, count: number): DataView {
  const bytes = at.view(count)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** A length that says that there is no value. */
const NULL = 0xffffffff
/** PostgreSQL's MAXDIM. */
const MAX_DIMENSIONS = 6

/** dimensions(4) has_null(4) element type(4), for each dimension size(4) lower bound(4), then length(4) value ... */
function arrayText(at: Cursor, decode: Decode): string {
  const dimensions = at.u32()
  if (dimensions > MAX_DIMENSIONS) at.fail(`at most ${MAX_DIMENSIONS} dimensions, found ${dimensions}`)
  at.skip(8)
  if (dimensions === 0) return '{}'
  const sizes: number[] = []
  const bounds: number[] = []
  for (let i = 0; i < dimensions; i++) {
    sizes.push(at.u32())
    bounds.push(at.i32())
  }
  const count = sizes.reduce((product, size) => product * size)
  // Each element takes four bytes at least.
  if (count === 0 || count > at.remaining / 4) at.fail(`room for ${count} elements`)
  const ranges = bounds.some(bound => bound !== 1)
    ? `${bounds.map((bound, i) => `[${bound}:${bound + sizes[i]! - 1}]`).join('')}=`
    : ''
  return ranges + dimension(at, decode, sizes, 0)
}

function dimension(at: Cursor, decode: Decode, sizes: readonly number[], depth: number): string {
  const isInnermost = depth + 1 === sizes.length
  const parts: string[] = []
  for (let i = 0; i < sizes[depth]!; i++)
    parts.push(isInnermost ? element(at, decode) : dimension(at, decode, sizes, depth + 1))
  return `{${parts.join(',')}}`
}

function element(at: Cursor, decode: Decode): string {
  const size = at.u32()
  if (size === NULL) return 'NULL'
  const value = at.within(size)
  const text = decode(value)
  if (value.remaining > 0) at.fail('the end of an element')
  if (text !== '' && !/[{}",\\\s]/.test(text) && text.toUpperCase() !== 'NULL') return text
  return `"${text.replace(/[\\"]/g, '\\$&')}"`
}
