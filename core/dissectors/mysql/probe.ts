/**
 * Whether bytes are MySQL's, on any port and also in the middle of a connection: by the structure of the first packet,
 * whose parts must add up to its length.
 */
import { Cursor } from '../../cursor.ts'
import type { Context, Side } from '../../dissector.ts'
import { looksLikeStatement } from '../../sql.ts'
import { isBinlogEvent } from './binlog.ts'
import { CLOSE, EXECUTE, PING, PREPARE, QUERY } from './commands.ts'
import { isCompressed } from './compressed.ts'
import { readGreeting } from './greeting.ts'
import { FULL, lenenc, lenencNumber, lenencText } from './intake.ts'
import { isLogin } from './request.ts'
import type { Session } from './session.ts'

/** So much of a long statement is enough to know one. */
const ENOUGH = 64
/** Greetings, logins, results, errors: none of them is longer. */
const MOST = 4096
/** With the byte in front of it. */
const HEADER_OF_EVENT = 20
/** A header of seven bytes, a header of four, a command. */
const SHORTEST_COMPRESSED = 12
/** ER_ERROR_FIRST, CR_MIN_ERROR; and what MariaDB adds ends with 4 and three digits. */
const [FIRST_ERROR, LAST_ERROR] = [1000, 16_000]

export function probe(at: Cursor, from: Side, ctx: Context<Session>): boolean {
  // No client sends command 0.
  if (from === 'client' && at.peek(3) === 0 && at.peek(4) === 0) {
    at.need(SHORTEST_COMPRESSED)
    if (!isCompressed(at)) return false
    at.skip(7)
  }
  const length = at.u8() | (at.u8() << 8) | (at.u8() << 16)
  const sequence = at.u8()
  if (length === 0) return false
  if (from === 'client' && sequence === 0) return isCommand(at, length, ctx)
  // Whoever asks for more keeps others from looking: what the next bytes cannot settle is not asked for.
  if (length > MOST) return false
  if (from === 'client') return sequence === 1 && isLoginStart(at, length, ctx) && isLogin(at.within(length))
  if (length > HEADER_OF_EVENT && at.peek() === 0 && isBinlogEvent(at, length)) return true
  if (sequence === 0) return isHello(at, length, ctx)
  return sequence === 1 && isAnswer(at, length)
}

/** Of a login as it has been since MySQL 4.1: the zeros in it. */
function isLoginStart(at: Cursor, length: number, ctx: Context<Session>): boolean {
  if (length < 32) return ctx.hinted
  for (let i = 9; i < 28; i++) if (at.peek(i) !== 0) return ctx.hinted
  return true
}

function isHello(at: Cursor, length: number, ctx: Context<Session>): boolean {
  const protocol = at.peek()
  if (protocol === 0xff) return isError(at, length)
  if (protocol !== 10 && !(protocol === 9 && ctx.hinted)) return false
  const digit = at.peek(1)
  return digit > 48 && digit < 58 && readGreeting(at.within(length)) !== null
}

function isCommand(at: Cursor, length: number, ctx: Context<Session>): boolean {
  const code = at.u8()
  if (code === QUERY || code === PREPARE) {
    const size = Math.min(length - 1, at.remaining)
    if (size < length - 1 && size < ENOUGH) at.need(ENOUGH)
    const text = at.within(size)
    // Attributes of a query: none, in one set.
    if (text.remaining > 2 && text.peek() === 0 && text.peek(1) === 1) text.skip(2)
    return looksLikeStatement(text.bytes, text.position, text.end)
  }
  if (length === FULL) return false
  if (code === EXECUTE) {
    if (length < 10) return false
    at.skip(4)
    return at.u8() <= 0x0f && at.u32le() === 1
  }
  return ctx.hinted && ((code === PING && length === 1) || (code === CLOSE && length === 5))
}

function isAnswer(at: Cursor, length: number): boolean {
  const first = at.peek()
  if (first === 0xff) return isError(at, length)
  if (first === 0) return isOk(at.within(length))
  if (length > 10) return false
  const body = at.within(length)
  // Number of columns, and the first of them.
  const count = lenenc(body)
  if (count < 1 || body.remaining > 1) return false
  const size = at.u8() | (at.u8() << 8) | (at.u8() << 16)
  if (at.u8() !== 2 || size > MOST || size < 4) return false
  return at.u8() === 3 && at.latin1(3) === 'def'
}

/** ff code(2) # state(5) text */
function isError(at: Cursor, length: number): boolean {
  const code = at.peek(1) | (at.peek(2) << 8)
  if (code < FIRST_ERROR || code > LAST_ERROR) return false
  const body = at.within(length)
  body.skip(3)
  if (body.remaining > 5 && body.peek() === 35) {
    body.skip(1)
    if (!/^[0-9A-Z]{5}$/.test(body.latin1(5))) return false
  }
  return body.remaining > 5 && isText(body)
}

/** 00 rows id status(2) warnings(2) text; a server is in a transaction or commits by itself, and mostly both or one. */
function isOk(body: Cursor): boolean {
  body.skip(1)
  lenencNumber(body)
  lenencNumber(body)
  const status = body.u16le()
  body.skip(2)
  if ((status & 3) === 0 || status & 0x8000) return false
  if (body.remaining === 0) return true
  if (status & 0x4000) {
    lenencText(body)
    lenencText(body)
    return body.remaining === 0
  }
  if (body.peek() === body.remaining - 1) body.skip(1)
  return isText(body)
}

function isText(body: Cursor): boolean {
  const rest = new Cursor(body.bytes, body.position, body.end, true)
  while (rest.remaining > 0) {
    const byte = rest.u8()
    if (byte < 32 && byte !== 9 && byte !== 10 && byte !== 13) return false
  }
  return true
}
