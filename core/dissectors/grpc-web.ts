/**
 * gRPC-Web: calls of gRPC in the bodies of HTTP/1.1 and HTTP/2, for clients that see no frames and no trailers.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 *
 *   request  = *( compressed(8) length(32) message(length) )
 *   response = *( compressed(8) length(32) message(length) )  80 length(32) "grpc-status: 5" CRLF "grpc-message: no" CRLF
 *
 * Of the types `application/grpc-web-text` the whole body is base64, perhaps in pieces.
 */
import type { Exchange, Refinement, Refiner } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { Written } from '../json-writer.ts'
import { readProtobuf } from './grpc/protobuf.ts'
import { milliseconds, percentDecoded, splitPath, statusName } from './grpc/status.ts'
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
const TYPE = '"application/grpc-web'
/** The first byte in which it is not every other type of an application. */
const TELLING = 13
const PREFIX = 5
const TRAILERS = 0x80

function refine({ request, response }: Exchange): Refinement | null {
  const asked = isOurs(request)
  const answered = isOurs(response)
  if (!asked && !answered) return null
  const found: Refinement = {}
  if (asked) found.request = requestOf(request as Written) as unknown as Json
  if (answered) {
    const told = responseOf(response as Written)
    if (Object.keys(told).length > 0) found.response = told as unknown as Json
    if (told.grpcStatus !== undefined && told.grpcStatus !== 0) found.failed = true
  }
  return found
}

function isOurs(part: Json | Written | null): boolean {
  if (!(part instanceof Written)) return false
  const { bytes, typeStart, typeEnd } = part
  if (typeStart < 0 || typeEnd - typeStart < TYPE.length || (bytes[typeStart + TELLING]! | 0x20) !== 103) return false
  return textOf(part, typeStart, typeStart + TYPE.length).toLowerCase() === TYPE
}

function requestOf(part: Written): GrpcWebRequest {
  const head = headOf(part)
  const headers = lowerCase(head.headers)
  const call = splitPath(String(head.path ?? ''))
  const timeout = milliseconds(headers['grpc-timeout'] ?? null)
  const { trailers: _, ...messages } = bodyOf(part, headers, head.postData)
  return { ...call, timeout, ...messages }
}

function responseOf(part: Written): GrpcWebResponse {
  const head = headOf(part)
  const headers = lowerCase(head.headers)
  const { trailers, ...messages } = bodyOf(part, headers, head.content)
  // Where nothing else is said, the end is said in front.
  const {
    'grpc-status': status = headers['grpc-status'],
    'grpc-message': message = headers['grpc-message'],
    'grpc-status-details-bin': details = headers['grpc-status-details-bin'],
    ...others
  } = trailers ?? {}
  const told: GrpcWebResponse = messages
  if (status !== undefined && /^\d{1,9}$/.test(status)) {
    told.grpcStatus = Number(status)
    told.grpcStatusName = statusName(told.grpcStatus)
    told.grpcMessage = percentDecoded(message ?? '')
    if (details !== undefined) {
      const bytes = Buffer.from(details, 'base64')
      told.grpcDetails = readProtobuf(bytes, 0, bytes.length) ?? details
    }
  }
  if (Object.keys(others).length > 0) told.grpcTrailers = others
  return told
}

/** All but the body's text. */
function headOf(part: Written): Json {
  const { start, end, bodyStart, bodyEnd } = part
  if (bodyStart < 0) return JSON.parse(textOf(part, start, end))
  return JSON.parse(`${textOf(part, start, bodyStart)}null${textOf(part, bodyEnd, end)}`)
}

function textOf({ bytes }: Written, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString()
}

/** One that is repeated counts by its first. */
function lowerCase(headers: Json): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String([value].flat()[0])] as const)
  return Object.fromEntries(pairs)
}

interface Body {
  messageCount?: number
  message?: JsonValue
  messages?: JsonValue[]
  /** null: none were seen. */
  trailers: Record<string, string> | null
}

function bodyOf(part: Written, headers: Record<string, string>, kept: Json | null): Body {
  const { bodyStart, bodyEnd } = part
  const nothing: Body = { trailers: null }
  // Nothing was sent, or nothing is kept.
  if (bodyStart < 0 || bodyEnd - bodyStart > MAX_BODY) return nothing
  const text: string = JSON.parse(textOf(part, bodyStart, bodyEnd))
  const type = headers['content-type'] ?? ''
  const sent = Buffer.from(text, kept?.encoding === 'base64' ? 'base64' : 'utf8')
  const bytes = /^application\/grpc-web-text/i.test(type) ? decodedPieces(sent.toString('latin1')) : sent
  const read = framesOf(bytes, headers['grpc-encoding'] ?? null, /\+json/i.test(type))
  if (read === null || kept?.truncated === true || !read.whole) return { trailers: read?.trailers ?? null }
  const { count, messages, trailers } = read
  const body: Body = { messageCount: count, message: count === 1 ? messages[0]! : null, trailers }
  if (count > 1) body.messages = messages
  return body
}

/** Each piece may have its own padding. */
function decodedPieces(text: string): Buffer {
  return Buffer.concat((text.match(/[^=\s]+=*/g) ?? []).map(piece => Buffer.from(piece, 'base64')))
}

interface Frames {
  count: number
  messages: JsonValue[]
  trailers: Record<string, string> | null
  /** The last one ends where the body does. */
  whole: boolean
}

/** null: they are no frames. */
function framesOf(b: Buffer, encoding: string | null, isJson: boolean): Frames | null {
  const read: Frames = { count: 0, messages: [], trailers: null, whole: false }
  let p = 0
  while (b.length - p >= PREFIX) {
    const flags = b[p]!
    if ((flags & ~(TRAILERS | 1)) !== 0) return null
    const start = p + PREFIX
    const end = start + b.readUInt32BE(p + 1)
    if (end > b.length) return read
    p = end
    const sent = b.subarray(start, end)
    const content =
      (flags & 1) === 0 || encoding === 'identity' ? sent : encoding === null ? null : decode(sent, [encoding])
    if ((flags & TRAILERS) !== 0) {
      if (content !== null) read.trailers = trailersOf(Buffer.from(content).toString('latin1'))
      break
    }
    read.count++
    if (read.messages.length === MAX_MESSAGES) continue
    if (content === null) read.messages.push(null)
    else read.messages.push(isJson ? parseJson(content) : readProtobuf(content, 0, content.length))
  }
  read.whole = p === b.length
  return read
}

function trailersOf(text: string): Record<string, string> {
  const pairs: [string, string][] = []
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) pairs.push([line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()])
  }
  return Object.fromEntries(pairs)
}

function parseJson(content: Uint8Array): JsonValue {
  try {
    return JSON.parse(Buffer.from(content.buffer, content.byteOffset, content.length).toString())
  } catch {
    // Whatever it is, the reader of the item has its bytes.
    return null
  }
}
