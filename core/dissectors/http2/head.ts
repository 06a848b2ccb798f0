/** The headers of an HTTP/2 message, written as JSON in the form that HTTP/1 has (RFC 9113, 8.2 and 8.3). */
import { constant, type JsonWriter } from '../../json-writer.ts'
import { parseCookies, parseSetCookies } from '../http/forms.ts'
import { NO_CODINGS } from '../http/head.ts'
import { writeTarget } from '../http/target.ts'
import { type Field, type FieldList, UNKNOWN, writeField } from './hpack.ts'

/** What is written of one header block. A few bytes may refer to megabytes (an HPACK bomb); servers refuse 8 to 64 KiB. */
const MAX_HEADERS = 262_144
const MAX_FIELDS = 2000
/** Longer texts are not kept to be written again: thousands of connections may have some each. */
const MAX_KNOWN = 2048

/** What the headers say about their message. One that came before is shared with the messages that had it. */
export interface Head {
  /** Of a request; empty where it is not known. */
  readonly method: string
  readonly path: string
  readonly pathField: Field | null
  /** Of extended CONNECT (RFC 8441). */
  readonly protocol: string
  /** Of a response; 0 where it is not known. */
  readonly status: number
  /** Content-Type; null where none was seen. */
  readonly type: string | null
  /** The type is one of gRPC's. */
  readonly isGrpc: boolean
  /** Content codings in the order they were applied. */
  readonly codings: string[] | null
  readonly location: string
  /** Fields are missing: they refer to what was not captured, or are too many. */
  readonly incomplete: boolean
  readonly grpc: GrpcFields
}

type NewHead = { -readonly [name in keyof Head]: Head[name] }

/** What gRPC says in headers and trailers, as it stands there. */
export interface GrpcFields {
  readonly encoding: string | null
  readonly timeout: string | null
  readonly status: string | null
  readonly message: string | null
  readonly details: string | null
}

/** A message whose text begins with its head and stays open. */
export interface Begun {
  /** Of its media type, counted from where the text begins; -1 without one. */
  typeStart: number
  typeEnd: number
}

/** Text of a head that came before, around the number of its stream. */
export interface KnownHead {
  head: Head
  before: Uint8Array
  behind: Uint8Array
  /** Counted from `behind`; -1 without one. */
  typeStart: number
  typeEnd: number
}

/** JSON of trailers, and what they say of gRPC. */
export interface Trailers {
  text: Uint8Array
  grpc: GrpcFields
  /** Fields are missing. */
  lack: boolean
}

const OPEN = constant('{')
const METHOD = constant('"method":')
/** The usual ones. */
const METHODS: ReadonlyMap<string, Uint8Array> = new Map(
  ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT'].map(name => [name, constant(`"${name}"`)]),
)
const URL = constant('"url":')
const VERSION = constant('"httpVersion":"HTTP/2.0","streamId":')
const STATUS = constant('"status":')
const STATUS_TEXT = constant('"statusText":"",')
const HEADERS = constant(',"headers":')
const COOKIES = constant(',"cookies":')
const NO_COOKIES = constant(',"cookies":{}')
const PUSHED_ON = constant(',"pushedOn":')
const INCOMPLETE = constant(',"incompleteHeaders":true')
const COMMA = 44

/** `pushedOn`: the stream on which a server promised it, 0 for a client's own. */
export function writeRequestHead(
  out: JsonWriter,
  list: FieldList,
  stream: number,
  pushedOn: number,
  begun: Begun,
): Head {
  if (list.head !== null && pushedOn === 0) return writeKnown(out, list.head, stream, begun)
  const { fields } = list
  const from = out.length
  const head = readHead(fields)
  out.raw(OPEN)
  if (head.method !== '') {
    out.raw(METHOD)
    const known = METHODS.get(head.method)
    if (known === undefined) out.value(head.method)
    else out.raw(known)
    out.byte(COMMA)
  }
  writePath(out, fields, head)
  out.raw(VERSION)
  const number = out.length
  out.integer(stream)
  const behind = out.length
  if (pushedOn !== 0) {
    out.raw(PUSHED_ON)
    out.integer(pushedOn)
  }
  writeRest(out, from, fields, head, begun, parseCookies)
  if (list.isKnown && pushedOn === 0 && out.length - from <= MAX_KNOWN)
    list.head = known(out, head, from, number, behind, begun)
  return head
}

export function writeResponseHead(out: JsonWriter, list: FieldList, stream: number, begun: Begun): Head {
  if (list.head !== null) return writeKnown(out, list.head, stream, begun)
  const { fields } = list
  const from = out.length
  const head = readHead(fields)
  out.raw(OPEN)
  if (head.status !== 0) {
    out.raw(STATUS)
    out.integer(head.status)
    out.byte(COMMA)
  }
  out.raw(STATUS_TEXT)
  out.raw(VERSION)
  const number = out.length
  out.integer(stream)
  const behind = out.length
  writeRest(out, from, fields, head, begun, parseSetCookies)
  if (list.isKnown && out.length - from <= MAX_KNOWN) list.head = known(out, head, from, number, behind, begun)
  return head
}

export function writeKnown(out: JsonWriter, known: KnownHead, stream: number, begun: Begun): Head {
  const { head, before, behind, typeStart, typeEnd } = known
  const from = out.length
  out.raw(before)
  out.integer(stream)
  if (typeStart >= 0) {
    begun.typeStart = out.length - from + typeStart
    begun.typeEnd = out.length - from + typeEnd
  }
  out.raw(behind)
  return head
}

function known(out: JsonWriter, head: Head, from: number, number: number, behind: number, begun: Begun): KnownHead {
  const { typeStart, typeEnd } = begun
  const skipped = typeStart < 0 ? 0 : behind - from
  return {
    head,
    before: copyOf(out, from, number),
    behind: copyOf(out, behind, out.length),
    typeStart: typeStart - skipped,
    typeEnd: typeEnd - skipped,
  }
}

function copyOf({ bytes }: JsonWriter, start: number, end: number): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end)
}

export function readTrailers(out: JsonWriter, list: FieldList): Trailers {
  if (list.trailers !== null) return list.trailers
  const { fields } = list
  const from = out.length
  const head = readHead(fields)
  writeFields(out, 0, fields, head, { typeStart: -1, typeEnd: -1 })
  const trailers: Trailers = { text: copyOf(out, from, out.length), grpc: head.grpc, lack: fields.includes(UNKNOWN) }
  out.length = from
  if (list.isKnown && trailers.text.length <= MAX_KNOWN) list.trailers = trailers
  return trailers
}

/** What is said of a call in front and behind. */
export function joined(front: GrpcFields, behind: GrpcFields): GrpcFields {
  if (behind === NOTHING_SAID) return front
  const { status, message, details } = behind
  return {
    encoding: front.encoding,
    timeout: front.timeout,
    status: status ?? front.status,
    message: message ?? front.message,
    details: details ?? front.details,
  }
}

export const NOTHING_SAID: GrpcFields = Object.freeze({
  encoding: null,
  timeout: null,
  status: null,
  message: null,
  details: null,
})

function newHead(): NewHead {
  return {
    method: '',
    path: '',
    pathField: null,
    protocol: '',
    status: 0,
    type: null,
    isGrpc: false,
    codings: null,
    location: '',
    incomplete: false,
    grpc: NOTHING_SAID,
  }
}

function readHead(fields: readonly Field[]): NewHead {
  const head = newHead()
  for (const field of fields) {
    const { role, value } = field
    if (role === '') {
      if (field === UNKNOWN) head.incomplete = true
      continue
    }
    switch (role) {
      case ':method':
        head.method = value
        break
      case ':path':
        head.path = value
        head.pathField = field
        break
      case ':protocol':
        head.protocol = value
        break
      case ':status':
        head.status = /^[1-9]\d\d$/.test(value) ? Number(value) : 0
        break
      case 'content-type':
        head.type = value
        head.isGrpc = isGrpcType(value)
        break
      case 'content-encoding':
        head.codings = codingsOf(value)
        break
      case 'location':
        head.location = value
        break
      case 'grpc-encoding':
        head.grpc = { ...head.grpc, encoding: value }
        break
      case 'grpc-timeout':
        head.grpc = { ...head.grpc, timeout: value }
        break
      case 'grpc-status':
        head.grpc = { ...head.grpc, status: value }
        break
      case 'grpc-message':
        head.grpc = { ...head.grpc, message: value }
        break
      case 'grpc-status-details-bin':
        head.grpc = { ...head.grpc, details: value }
        break
    }
  }
  return head
}

function isGrpcType(type: string): boolean {
  // Most are `application/json` and the like: no expression for them.
  return type === 'application/grpc' || (isLetterG(type.charCodeAt(12)) && /^application\/grpc(?!-web)/i.test(type))
}

function isLetterG(code: number): boolean {
  return (code | 0x20) === 103
}

function codingsOf(value: string): string[] | null {
  const codings = value
    .toLowerCase()
    .split(',')
    .map(part => part.trim())
    .filter(coding => !NO_CODINGS.has(coding))
  return codings.length > 0 ? codings : null
}

/** `url` to `queryString`, and the comma behind them. CONNECT has no path but an authority. */
function writePath(out: JsonWriter, fields: readonly Field[], { method, pathField }: Head): void {
  const field =
    pathField ?? (method === 'CONNECT' ? fields.find(({ role }) => role === ':authority') : undefined) ?? null
  if (field === null) return
  if (field.target !== null) {
    out.raw(field.target)
    return
  }
  const begin = out.length
  out.raw(URL)
  const bytes = Buffer.from(field.value)
  writeTarget(out, bytes, 0, bytes.length, method)
  out.byte(COMMA)
  if (field.uses > 0) field.target = Uint8Array.prototype.slice.call(out.bytes, begin, out.length)
}

function writeRest(
  out: JsonWriter,
  from: number,
  fields: readonly Field[],
  head: NewHead,
  begun: Begun,
  parse: (values: string[]) => Record<string, string>,
): void {
  out.raw(HEADERS)
  const cookies = writeFields(out, from, fields, head, begun)
  if (cookies === null) out.raw(NO_COOKIES)
  else {
    out.raw(COOKIES)
    out.value(parse(cookies))
  }
  if (head.incomplete) out.raw(INCOMPLETE)
}

/** Returns the cookies. Repeated names are joined, cookies as RFC 9113, 8.2.3 says. */
function writeFields(
  out: JsonWriter,
  from: number,
  fields: readonly Field[],
  head: NewHead,
  begun: Begun,
): string[] | null {
  const begin = out.length
  let cookies: string[] | null = null
  let seen = 0
  let size = 0
  let count = 0
  out.byte(123)
  for (const field of fields) {
    if (field === UNKNOWN) continue
    if (field.role === 'cookie' || field.role === 'set-cookie') {
      if (cookies === null) cookies = [field.value]
      else cookies.push(field.value)
      // Others of the name may be among the unknown: it would be told in part.
      if (head.incomplete) continue
    }
    size += field.size
    if (size > MAX_HEADERS || count === MAX_FIELDS) {
      head.incomplete = true
      break
    }
    if ((seen & field.bit) !== 0 && isRepeated(fields, field)) {
      out.length = begin
      writeMerged(out, from, fields, head, begun)
      return cookies
    }
    seen |= field.bit
    if (count++ > 0) out.byte(COMMA)
    const start = out.length
    writeField(out, field)
    if (field.role === 'content-type') noteType(out, from, start, begun)
  }
  out.byte(125)
  return cookies
}

/** Fields with a name of so many others before them are joined with those: comparing them all would cost the square. */
const MAX_COMPARED = 64

function isRepeated(fields: readonly Field[], field: Field): boolean {
  for (let i = 0; i < MAX_COMPARED; i++) {
    const other = fields[i]!
    if (other === field) return fields.lastIndexOf(field) !== i
    if (other.name === field.name) return true
  }
  return true
}

const TYPE_NAME = '"content-type":'.length

function noteType(out: JsonWriter, from: number, start: number, begun: Begun): void {
  begun.typeStart = start + TYPE_NAME - from
  begun.typeEnd = out.length - from
}

function writeMerged(out: JsonWriter, from: number, fields: readonly Field[], head: NewHead, begun: Begun): void {
  const merged = new Map<string, string>()
  let size = 0
  for (const { name, value, role, size: own } of fields) {
    if (name === '' || (head.incomplete && (role === 'cookie' || role === 'set-cookie'))) continue
    size += own
    if (size > MAX_HEADERS || merged.size === MAX_FIELDS) {
      head.incomplete = true
      break
    }
    const known = merged.get(name)
    merged.set(name, known === undefined ? value : `${known}${role === 'cookie' ? '; ' : ','}${value}`)
  }
  out.byte(123)
  let first = true
  for (const [name, value] of merged) {
    if (!first) out.byte(COMMA)
    first = false
    const start = out.length
    out.ascii(`${JSON.stringify(name)}:${JSON.stringify(value)}`)
    if (name === 'content-type') noteType(out, from, start, begun)
  }
  out.byte(125)
}
