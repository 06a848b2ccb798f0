/**
 * What a message of NATS carries: headers, where its operation has them, and bytes that mean something to the
 * applications alone. Payloads may have megabytes: `Intake` takes one in as it comes and keeps no more than was asked for.
 *
 *   NATS/1.0 [ SP status [ SP description ] ] CRLF  *( name ":" value CRLF )  CRLF  payload
 */
import { isUtf8 } from 'node:buffer'
import { utf8 } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { Skim } from '../../skim.ts'

export interface Payload extends Json {
  /** Values of a name that is repeated are an array. null: the operation has none, or they were not kept. */
  headers: Headers | null
  /** 503: nobody listens; 404, 408, 409: a pull brought nothing (more); 100: heartbeat, flow control. */
  status?: number
  /** Beside the status: `No Messages`. */
  description?: string
  /** Text, or base64 where it is not UTF-8; null when bodies are not wanted. */
  payload: string | null
  encoding?: 'base64'
  /** Bytes, headers not included. */
  payloadSize: number
  /** The payload was longer than what is kept. */
  truncated?: true
}

export interface Headers extends Json {
  [name: string]: string | string[]
}

/** Longer headers are not looked at. */
const MAX_HEADERS = 65_536
/** A thousand names make an object; a million would make a stop. */
const MAX_NAMES = 1000

/** `bytes` begins with headers of `headerSize` bytes; of all `size` bytes perhaps only the first are there. */
export function readPayload(bytes: Uint8Array, headerSize: number, size: number, keep: number): Payload {
  const found: Payload = {
    headers: null,
    payload: null,
    payloadSize: size - headerSize,
  }
  if (headerSize > 0 && headerSize <= Math.min(bytes.length, MAX_HEADERS)) readHeaders(bytes, headerSize, found)
  if (keep <= 0 || (bytes.length <= headerSize && size > headerSize)) return found
  const end = Math.min(bytes.length, headerSize + keep)
  if (end < size) found.truncated = true
  const text = textOf(bytes, headerSize, end, end < size)
  found.payload = text ?? base64(bytes.subarray(headerSize, end))
  if (text === null) found.encoding = 'base64'
  return found
}

/** A payload that is longer than what should wait in memory, with its headers. */
export class Intake extends Skim {
  readonly headerSize: number

  constructor(size: number, headerSize: number, keep: number) {
    super(size, (headerSize <= MAX_HEADERS ? headerSize : 0) + Math.max(keep, 0))
    this.headerSize = headerSize
  }

  payload(keep: number): Payload {
    return readPayload(this.beginning, this.headerSize, this.size, keep)
  }
}

/** `NATS/1.0 404 No Messages` */
const FIRST_LINE = /^NATS\/\d+\.\d+(?:[ \t]+(\d{3})(?:[ \t]+(.*))?)?[ \t]*$/

function readHeaders(bytes: Uint8Array, end: number, found: Payload): void {
  const lines = utf8(bytes, 0, end).split('\r\n', MAX_NAMES + 1)
  const first = FIRST_LINE.exec(lines[0]!)
  if (first === null) return
  if (first[1] !== undefined) found.status = Number(first[1])
  if (first[2] !== undefined) found.description = first[2]
  const headers: Headers = Object.create(null)
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    const before = headers[name]
    if (before === undefined) headers[name] = value
    else if (typeof before === 'string') headers[name] = [before, value]
    else before.push(value)
  }
  found.headers = headers
}

/** null: it is not UTF-8. The end of a text that was cut may lie within a character. */
function textOf(bytes: Uint8Array, start: number, end: number, isCut: boolean): string | null {
  for (let i = start; i < end; i++) {
    if (bytes[i]! < 0x80) continue
    const part = bytes.subarray(start, isCut ? wholeCharacters(bytes, start, end) : end)
    return isUtf8(part) ? utf8(part, 0, part.length) : null
  }
  return utf8(bytes, start, end)
}

function wholeCharacters(bytes: Uint8Array, start: number, end: number): number {
  for (let back = 1; back <= 4 && end - back >= start; back++) {
    const byte = bytes[end - back]!
    if (byte < 0x80) return end
    if (byte < 0xc0) continue
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return needs > back ? end - back : end
  }
  return end
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}
