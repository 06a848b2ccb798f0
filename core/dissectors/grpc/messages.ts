/**
 * Messages of gRPC within the DATA of one direction of a stream.
 *
 *   compressed(8) length(32) message(length)
 */
import type { Moment } from '../../dissector.ts'
import type { JsonValue } from '../../item.ts'
import { decode } from '../http/body.ts'
import { readProtobuf } from './protobuf.ts'

export const PREFIX = 5

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

/** A message that was read: its bytes without compression, and what they mean. */
export interface Decoded {
  /** null: the coding is not known, or what was kept is not all. */
  content: Uint8Array | null
  /** Fields by name or by number; null where they cannot be read. */
  message: JsonValue
}

/** With the names of its description, where somebody has one; null where nobody has. */
export type Describe = (content: Uint8Array) => JsonValue

/** `b` are the bytes behind the prefix. */
export function decodeMessage(
  b: Uint8Array,
  compressed: boolean,
  encoding: string | null,
  type: string | null,
  describe: Describe,
): Decoded {
  const content = compressed ? decompress(b, encoding) : b
  if (content === null) return { content: null, message: null }
  if (type?.includes('+json')) return { content, message: parseJson(content) }
  return { content, message: describe(content) ?? readProtobuf(content, 0, content.length) }
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
