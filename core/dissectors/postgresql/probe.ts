/**
 * Whether bytes are PostgreSQL's, on any port and also in the middle of a connection: by the structure of the first
 * message, whose parts must add up to its length.
 */
import { type Cursor, indexOf } from '../../cursor.ts'
import type { Side } from '../../dissector.ts'
import { looksLikeStatement } from '../../sql.ts'
import { text } from './exchange.ts'
import { MAX_LENGTH } from './intake.ts'
import { readError } from './reply.ts'

/** MAX_STARTUP_PACKET_LENGTH */
export const MAX_STARTUP = 10_000
export const CANCEL = 80_877_102
export const SSL = 80_877_103
export const GSS = 80_877_104
export const VERSIONS: ReadonlyMap<number, '3.0' | '3.2'> = new Map([
  [0x30000, '3.0'],
  [0x30002, '3.2'],
])
/** So much of a long statement is enough to know one. */
const ENOUGH = 64
/** A longer message is not waited for. */
const MOST = 4096
/** MaxTupleAttributeNumber; a function may have no more parameters than fit in 16 bits. */
const MAX_COLUMNS = 1664

export function probe(at: Cursor, from: Side): boolean {
  const type = at.peek()
  if (from === 'client' && type === 0) return isStartup(at)
  const check = (from === 'client' ? CLIENT : SERVER)[String.fromCharCode(type)]
  if (check === undefined) return false
  at.skip(1)
  const length = at.u32()
  if (length < 4 || length > MAX_LENGTH) return false
  if (check === isStatement) {
    const present = Math.min(length - 4, at.remaining)
    if (present < length - 4 && present < ENOUGH) at.need(ENOUGH)
    return isStatement(at.within(present), present < length - 4)
  }
  // Whoever asks for more keeps others from looking: what the next bytes cannot settle is not asked for.
  if (length > MOST || (check === isEmpty && length > 4)) return false
  return check(at.within(length - 4), false)
}

/** length(4) version(4) (name NUL value NUL)* NUL, or a request code in place of the version. */
function isStartup(at: Cursor): boolean {
  const length = at.u32()
  if (length < 8 || length > MAX_STARTUP) return false
  const version = at.u32()
  if (version === SSL || version === GSS) return length === 8
  if (version === CANCEL) return length >= 16 && length <= 12 + 256
  if (!VERSIONS.has(version)) return false
  const names = at.within(length - 8)
  let found = false
  for (let name = text(names); name !== ''; name = text(names)) {
    if (!/^[\w.]+$/.test(name)) return false
    if (name === 'user') found = true
    text(names)
  }
  return found && names.remaining === 0
}

type Check = (body: Cursor, isCut: boolean) => boolean

const isStatement: Check = (body, isCut) => {
  const nul = indexOf(body.bytes, 0, body.position, body.end)
  if (isCut ? nul >= 0 : nul !== body.end - 1) return false
  return looksLikeStatement(body.bytes, body.position, isCut ? body.end : nul)
}

const isEmpty: Check = body => body.remaining === 0

const CLIENT: { readonly [type: string]: Check } = {
  Q: isStatement,
  P: body => {
    text(body)
    const nul = indexOf(body.bytes, 0, body.position, body.end)
    if (nul < 0 || !(nul === body.position || looksLikeStatement(body.bytes, body.position, nul))) return false
    body.position = nul + 1
    return body.u16() * 4 === body.remaining
  },
  B: body => {
    text(body)
    text(body)
    if (!areFormats(body)) return false
    for (let count = body.u16(); count > 0; count--) skipValue(body)
    return areFormats(body) && body.remaining === 0
  },
  // A standby tells how far it is: r written(8) flushed(8) applied(8) clock(8) reply(1)
  d: body => body.remaining === 34 && body.u8() === 114 && body.peek(32) <= 1,
}

const SERVER: { readonly [type: string]: Check } = {
  1: isEmpty,
  2: isEmpty,
  3: isEmpty,
  n: isEmpty,
  Z: body => body.remaining === 1 && 'ITE'.includes(String.fromCharCode(body.u8())),
  T: body => {
    const count = body.u16()
    if (count > MAX_COLUMNS) return false
    for (let i = 0; i < count; i++) {
      text(body)
      body.skip(16)
      if (body.u16() > 1) return false
    }
    return count > 0 && body.remaining === 0
  },
  D: body => {
    const count = body.u16()
    if (count === 0 || count > MAX_COLUMNS) return false
    for (let i = 0; i < count; i++) skipValue(body)
    return body.remaining === 0
  },
  C: body => /^[A-Z]{2,}(?: [A-Z]+)*(?: \d+){0,2}$/.test(text(body)) && body.remaining === 0,
  E: isError,
  N: isError,
  R: body => body.remaining >= 4 && body.u32() <= 12 && body.remaining < MAX_STARTUP,
  t: body => {
    const count = body.u16()
    return count > 0 && count * 4 === body.remaining
  },
  G: isCopy,
  H: isCopy,
  W: isCopy,
  // A primary shows that it is there: k end(8) clock(8) reply(1)
  d: body => body.remaining === 18 && body.u8() === 107 && body.peek(16) <= 1,
}

function isError(body: Cursor): boolean {
  const { severity, code } = readError(body)
  return severity !== '' && /^[0-9A-Z]{5}$/.test(code) && body.remaining === 0
}

function isCopy(body: Cursor): boolean {
  return body.u8() <= 1 && body.u16() * 2 === body.remaining
}

function areFormats(body: Cursor): boolean {
  for (let count = body.u16(); count > 0; count--) if (body.u16() > 1) return false
  return true
}

function skipValue(body: Cursor): void {
  const size = body.i32()
  if (size < -1) body.fail('a length')
  if (size > 0) body.skip(size)
}
