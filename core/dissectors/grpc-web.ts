/**
 * gRPC-Web: calls of gRPC in the bodies of HTTP/1.1 and HTTP/2, for clients that see no frames and no trailers.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 *
 *   request  = *( compressed(8) length(32) message(length) )
 *   response = *( compressed(8) length(32) message(length) )  80 length(32) "grpc-status: 5" CRLF "grpc-message: no" CRLF
 *
 * Of the types `application/grpc-web-text` the whole body is base64, perhaps in pieces.
 */
import { indexOf, latin1 } from '../cursor.ts'
import type { Exchange, Refinement, Refiner } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { Members, stringAt } from '../json-text.ts'
import { constant, type JsonWriter, Written } from '../json-writer.ts'
import { callText, writeStatus, writeTimeout } from './grpc/call.ts'
import { PREFIX, readLength, writeMessage } from './grpc/messages.ts'
import { milliseconds } from './grpc/status.ts'
import { decode } from './http/body.ts'

/** What a call's request has beside the fields of HTTP. */
export interface GrpcWebRequest {
  /** `shop.v1.Catalog` */
  service: string
  /** `GetItem` */
  rpc: string
  /** ms that the client is willing to wait (grpc-timeout); null: for ever. */
  timeout: number | null
  /** How many messages were sent; absent where not all of the body is known. */
  messageCount?: number
  /** The one message; null where there is none or several. Its form is that of gRPC: docs/protocols/grpc.md. */
  message?: JsonValue
  /** The messages where there are several, at most 1000 of them. */
  messages?: JsonValue[]
}

export interface GrpcWebResponse {
  grpcStatus?: number
  /** `NOT_FOUND` */
  grpcStatusName?: string
  /** Percent-decoded; empty without one. */
  grpcMessage?: string
  /** grpc-status-details-bin: a google.rpc.Status. */
  grpcDetails?: JsonValue
  /** What else stands in the last frame, names in small letters. */
  grpcTrailers?: { [name: string]: string }
  messageCount?: number
  message?: JsonValue
  messages?: JsonValue[]
}

export const refiner: Refiner = {
  name: 'grpc-web',
  family: 'http',
  title: 'gRPC-Web',
  abbr: 'gRPC-W',
  version: '1',
  color: '#2a6f7f',
  reference: 'https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md',
  ports: [80, 443, 8080],
  priority: 0,
  refines: ['http', 'http2'],
  refine,
  summarize: (request, response) => ({
    method: request?.rpc ?? '',
    summary: request?.path ?? '',
    status: response?.grpcStatusName ?? response?.status?.toString() ?? '',
  }),
}

/** Characters of a body; longer ones are not read: what they say would be in the item twice. */
const MAX_BODY = 1 << 20
const MAX_MESSAGES = 1000
const TRAILERS = 0x80
const TYPE = constant('"application/grpc-web')
/** The first byte in which it is not every other type of an application. */
const TELLING = 13

function refine({ request, response, out }: Exchange): Refinement | null {
  const asked = isOurs(request)
  const answered = isOurs(response)
  if (!asked && !answered) return null
  const found: Refinement = {}
  if (asked) found.request = readRequest(out, request)
  if (answered) {
    const { text, failed } = readResponse(out, response)
    found.response = text
    if (failed) found.failed = true
  }
  return found
}

function isOurs(part: Json | Written | null): part is Written {
  if (!(part instanceof Written)) return false
  const { bytes, typeStart, typeEnd } = part
  if (typeStart < 0 || typeEnd - typeStart < TYPE.length || (bytes[typeStart + TELLING]! | 0x20) !== 103) return false
  return startsWith(bytes, typeStart, TYPE)
}

/** `text` has no capital letters; case does not matter. */
function startsWith(b: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    const byte = b[start + i]!
    if ((byte >= 65 && byte <= 90 ? byte | 0x20 : byte) !== text[i]) return false
  }
  return true
}

// ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

const COUNT = constant(',"messageCount":')
const MESSAGE = constant(',"message":')
const MESSAGES = constant(',"messages":')
const GRPC_TRAILERS = constant(',"grpcTrailers":')
const NULL = constant('null')
const [COMMA, OPEN_LIST, CLOSE_LIST, OPEN, CLOSE] = [0x2c, 0x5b, 0x5d, 0x7b, 0x7d]

function readRequest(out: JsonWriter, part: Written): Written | undefined {
  const from = out.length
  const said = headOf(part)
  out.raw(callText(said.path))
  writeTimeout(out, milliseconds(said.timeout))
  writeMessages(out, bodyOf(part, said), said)
  return fieldsSince(out, from)
}

function readResponse(out: JsonWriter, part: Written): { text: Written | undefined; failed: boolean } {
  const from = out.length
  const said = headOf(part)
  const body = bodyOf(part, said)
  // Where nothing else is said, the end is said in front.
  if (body !== null && body.trailers !== null) readTrailers(body.trailers, said)
  const { status, message, details, others } = said
  writeMessages(out, body, said)
  writeStatus(out, status, message ?? '', details)
  if (others !== null) {
    out.raw(GRPC_TRAILERS)
    out.value(Object.fromEntries(others))
  }
  return { text: fieldsSince(out, from), failed: status !== null && /^\d{1,9}$/.test(status) && Number(status) !== 0 }
}

/** An object of the fields that were written with a comma in front; undefined: there are none. */
function fieldsSince(out: JsonWriter, from: number): Written | undefined {
  if (out.length === from) return undefined
  out.bytes[from] = OPEN
  out.byte(CLOSE)
  return out.since(from)
}

/** Nothing where the body is not known to its end. */
function writeMessages(out: JsonWriter, body: Body | null, { encoding, isJson }: Said): void {
  if (body === null || !body.isWhole) return
  const { bytes, count } = body
  out.raw(COUNT)
  out.integer(count)
  out.raw(MESSAGE)
  if (count !== 1) out.raw(NULL)
  if (count === 0) return
  if (count > 1) {
    out.raw(MESSAGES)
    out.byte(OPEN_LIST)
  }
  for (let i = 0, p = 0; i < count && i < MAX_MESSAGES; i++) {
    const start = p + PREFIX
    const end = start + readLength(bytes, p + 1)
    if (i > 0) out.byte(COMMA)
    writeMessage(out, bytes.subarray(start, end), bytes[p] === 1, encoding, isJson ? '+json' : null, null)
    p = end
  }
  if (count > 1) out.byte(CLOSE_LIST)
}

// ── headers and trailers ──────────────────────────────────────────────────────────────────────────────────────────

/** What they say of the call, as it stands there; null where they do not. */
interface Said {
  path: string
  timeout: string | null
  encoding: string | null
  status: string | null
  message: string | null
  details: string | null
  /** What else the trailers say. */
  others: [string, string][] | null
  /** Of the type. */
  isText: boolean
  isJson: boolean
}

const PATH = constant('path')
const HEADERS = constant('headers')
const TEXT_FORM = constant('-text')
const OF_JSON = constant('+json')
const PLUS = 43
const LETTER_G = 103
const LF = 10
const COLON = 58

function headOf(part: Written): Said {
  const { bytes, typeStart, typeEnd } = part
  const behind = typeStart + TYPE.length
  const said: Said = {
    path: '',
    timeout: null,
    encoding: null,
    status: null,
    message: null,
    details: null,
    others: null,
    isText: startsWith(bytes, behind, TEXT_FORM),
    isJson: false,
  }
  for (let p = behind; p < typeEnd; p++) if (bytes[p] === PLUS && startsWith(bytes, p, OF_JSON)) said.isJson = true
  const members = new Members()
  for (members.enter(bytes, part.start); members.next(); ) {
    if (members.isNamed(PATH)) said.path = stringAt(bytes, members.valueStart, members.valueEnd)
    else if (members.isNamed(HEADERS)) {
      readHeaders(bytes, members.valueStart, said)
      break
    }
  }
  return said
}

function readHeaders(bytes: Uint8Array, start: number, said: Said): void {
  const members = new Members()
  for (members.enter(bytes, start); members.next(); ) {
    const { nameStart, nameEnd, valueStart, valueEnd } = members
    const field = fieldAt(bytes, nameStart, nameEnd)
    if (field !== null) said[field] = stringAt(bytes, valueStart, valueEnd)
  }
}

type FieldOfCall = 'timeout' | 'encoding' | 'status' | 'message' | 'details'

const FIELDS: readonly [name: Uint8Array, field: FieldOfCall][] = [
  [constant('grpc-timeout'), 'timeout'],
  [constant('grpc-encoding'), 'encoding'],
  [constant('grpc-status'), 'status'],
  [constant('grpc-message'), 'message'],
  [constant('grpc-status-details-bin'), 'details'],
]

function fieldAt(bytes: Uint8Array, start: number, end: number): FieldOfCall | null {
  if ((bytes[start]! | 0x20) !== LETTER_G) return null
  for (const [name, field] of FIELDS) if (name.length === end - start && startsWith(bytes, start, name)) return field
  return null
}

/** The last frame: header fields as HTTP/1 has them. */
function readTrailers(bytes: Uint8Array, said: Said): void {
  for (let p = 0; p < bytes.length; ) {
    const found = indexOf(bytes, LF, p, bytes.length)
    const end = found < 0 ? bytes.length : found
    const colon = indexOf(bytes, COLON, p, end)
    if (colon > p) readTrailer(bytes, p, colon, end, said)
    p = end + 1
  }
}

function readTrailer(bytes: Uint8Array, start: number, colon: number, end: number, said: Said): void {
  const field = fieldAt(bytes, start, colon)
  const value = latin1(bytes, colon + 1, end).trim()
  if (field !== null && field !== 'timeout' && field !== 'encoding') said[field] = value
  else {
    said.others ??= []
    said.others.push([latin1(bytes, start, colon).trim().toLowerCase(), value])
  }
}

// ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Body {
  /** Without base64. */
  bytes: Uint8Array
  /** How many messages it begins with. */
  count: number
  /** The last frame; null: it was not seen. */
  trailers: Uint8Array | null
  /** The last frame ends where the body does. */
  isWhole: boolean
}

/** As the writer of bodies puts them behind the text. */
const BASE64 = constant(',"encoding":"base64"')
const CUT = constant(',"truncated":true')

/** null: there is none, none is kept, or it is not made of frames. */
function bodyOf(part: Written, said: Said): Body | null {
  const { bodyStart, bodyEnd } = part
  if (bodyStart < 0 || bodyEnd - bodyStart > MAX_BODY) return null
  const inBase64 = startsWith(part.bytes, bodyEnd, BASE64)
  const bytes = contentOf(part, inBase64, said.isText)
  const body: Body = { bytes, count: 0, trailers: null, isWhole: false }
  let p = 0
  while (bytes.length - p >= PREFIX) {
    const flags = bytes[p]!
    if ((flags & ~(TRAILERS | 1)) !== 0) return null
    const start = p + PREFIX
    const end = start + readLength(bytes, p + 1)
    if (end > bytes.length) return body
    p = end
    if ((flags & TRAILERS) !== 0) {
      body.trailers = trailersOf(bytes.subarray(start, end), (flags & 1) === 0 ? 'identity' : said.encoding)
      break
    }
    body.count++
  }
  const isCut = startsWith(part.bytes, inBase64 ? bodyEnd + BASE64.length : bodyEnd, CUT)
  body.isWhole = p === bytes.length && !isCut
  return body
}

function trailersOf(sent: Uint8Array, encoding: string | null): Uint8Array | null {
  return encoding === 'identity' ? sent : encoding === null ? null : decode(sent, [encoding])
}

/** The body without the item's base64 and without that of the text form. */
function contentOf({ bytes, bodyStart, bodyEnd }: Written, inBase64: boolean, isText: boolean): Uint8Array {
  if (inBase64 !== isText) {
    const content = fromBase64(bytes, bodyStart + 1, bodyEnd - 1)
    if (content !== null) return content
  }
  const sent = Buffer.from(stringAt(bytes, bodyStart, bodyEnd), inBase64 ? 'base64' : 'utf8')
  return isText ? decodedPieces(sent.toString('latin1')) : sent
}

/** Each piece may have its own padding. */
function decodedPieces(text: string): Buffer {
  return Buffer.concat((text.match(/[^=\s]+=*/g) ?? []).map(piece => Buffer.from(piece, 'base64')))
}

const EQUALS = 61
/** Six bits, EQUALS, or what is neither. */
const DIGITS = new Uint8Array(256).fill(255)
for (const [value, digit] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries())
  DIGITS[digit.charCodeAt(0)] = value

/** As `decodedPieces`; null where something else than digits and padding is among it. */
function fromBase64(b: Uint8Array, start: number, end: number): Uint8Array | null {
  const content = Buffer.allocUnsafe(((end - start) * 3) >> 2)
  let length = 0
  let bits = 0
  let value = 0
  for (let p = start; p < end; p++) {
    const code = b[p]!
    const digit = DIGITS[code]!
    if (digit < 64) {
      value = (value << 6) | digit
      bits += 6
      if (bits >= 8) {
        bits -= 8
        content[length++] = value >> bits
      }
    } else if (code === EQUALS) bits = 0
    else return null
  }
  return content.subarray(0, length)
}
