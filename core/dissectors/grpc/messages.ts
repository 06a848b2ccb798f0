/**
 * Messages of gRPC within the DATA of one direction of a stream.
 *
 *   compressed(8) length(32) message(length)
 */
import type { Moment } from '../../dissector.ts'
import type { JsonValue } from '../../item.ts'
import type { JsonWriter } from '../../json-writer.ts'
import { decode } from '../http/body.ts'
import { readProtobuf, writeProtobuf } from './protobuf.ts'

export const PREFIX = 5

/** Of the four bytes in the middle of a prefix. */
export function readLength(b: Uint8Array, p: number): number {
  return ((b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!) >>> 0
}

/** Where one direction stands: how many messages it has had, and how much of the next one. */
export interface MessageFlow {
  count: number
  /** A second message has begun: each one is told as it comes. */
  streams: boolean
  /** Bytes of the prefix that are here, and what they say. */
  prefixed: number
  compressed: boolean
  length: number
  /** Bytes of the message still to come. */
  remaining: number
  since: Moment
  /** Bytes of the message are missing. */
  damaged: boolean
  /** Bytes were lost, or are no messages: where the next one begins is not known. */
  astray: boolean
  /** Some messages may have been missed. */
  incomplete: boolean
}

export function newFlow(since: Moment): MessageFlow {
  return {
    count: 0,
    streams: false,
    prefixed: 0,
    compressed: false,
    length: 0,
    remaining: 0,
    since,
    damaged: false,
    astray: false,
    incomplete: false,
  }
}

/** With the names of its description, where somebody has one; null where nobody has. */
export type Describe = (content: Uint8Array) => JsonValue

/**
 * Writes what a message means: `b` are the bytes behind the prefix. Returns them without compression; null, and `null` is
 * written, where the coding is not known.
 */
export function writeMessage(
  out: JsonWriter,
  b: Uint8Array,
  compressed: boolean,
  encoding: string | null,
  type: string | null,
  describe: Describe | null,
): Uint8Array | null {
  const content = compressed ? decompress(b, encoding) : b
  if (content === null) out.value(null)
  else if (type?.includes('+json')) out.value(parseJson(content))
  else {
    const described = describe === null ? null : describe(content)
    if (described !== null) out.value(described)
    else if (!writeProtobuf(out, content, 0, content.length)) out.value(readProtobuf(content, 0, content.length))
  }
  return content
}

function decompress(b: Uint8Array, encoding: string | null): Uint8Array | null {
  return encoding === null ? null : encoding === 'identity' ? b : decode(b, [encoding])
}

function parseJson(content: Uint8Array): JsonValue {
  try {
    return JSON.parse(Buffer.from(content.buffer, content.byteOffset, content.length).toString())
  } catch {
    // Whatever it is, the reader of the item has its bytes.
    return null
  }
}
