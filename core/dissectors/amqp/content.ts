/**
 * What is published and delivered: a method, then a header frame and body frames of the same channel (2.3.5.2, 4.2.6).
 * Frames of other channels may come between them.
 *
 *   header: class(2) weight(2)=0 body-size(8) flags(2) properties
 */
import type { Cursor } from '../../cursor.ts'
import type { Moment } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { payloadOf } from '../../payload.ts'
import { readField, readTable } from './fields.ts'
import { PROPERTIES } from './methods.ts'

/** A content that is under way; plain, because it is part of the connection's state. */
export interface Content {
  /** What the item will say. */
  body: Json
  since: Moment
  /** Bytes of its frames so far. */
  size: number
  /** As the header announces it; null before the header. */
  bodySize: number | null
  /** Bytes of the body so far, missing ones included. */
  received: number
  /** Bytes that were on the wire and not in the capture. */
  missing: number
  kept: Uint8Array
  keptLength: number
  /** What could not be read of the properties. */
  fault: string | null
}

const BASIC = 60
const NOTHING = new Uint8Array(0)
/** Room for a body that announces more than has come. */
const LEAST_KEPT = 4096

export function newContent(body: Json, since: Moment, size: number): Content {
  return {
    body,
    since,
    size,
    bodySize: null,
    received: 0,
    missing: 0,
    kept: NOTHING,
    keptLength: 0,
    fault: null,
  }
}

export interface Header {
  bodySize: number
  properties: Json
  fault: string | null
}

/** `at` is over the payload of one frame. */
export function readHeader(at: Cursor): Header {
  if (at.u16() !== BASIC) at.fail('content of class basic')
  if (at.u16() !== 0) at.fail('weight 0')
  const bodySize = at.u64()
  if (typeof bodySize === 'string') at.fail('a body of less than 2^53 bytes')
  const flags = at.u16()
  if ((flags & 3) !== 0) at.fail('no more than 14 properties')
  const properties: Json = {}
  let fault: string | null = null
  for (let i = 0; i < PROPERTIES.length; i++) {
    if ((flags & (0x8000 >> i)) === 0) continue
    const { name, type } = PROPERTIES[i]!
    if (type === 'table') {
      const table = readTable(at)
      properties[name] = table.value
      fault ??= table.fault
    } else if (type !== 'bit') properties[name] = readField(at, type)
  }
  if (at.remaining > 0) at.fail(`properties as flagged, found ${at.remaining} more bytes`)
  return { bodySize, properties, fault }
}

/** Takes `bytes[start..end)` of the body; `most` is what of the body may be kept altogether. */
export function append(content: Content, bytes: Uint8Array, start: number, end: number, most: number): void {
  content.received += end - start
  // What follows a hole would be taken for what comes right behind it.
  if (content.missing > 0) return
  const { keptLength } = content
  const length = Math.min(end - start, most - keptLength)
  if (length <= 0) return
  if (keptLength + length > content.kept.length) {
    const room = Math.max(LEAST_KEPT, content.kept.length * 2, keptLength + length)
    const larger = new Uint8Array(Math.min(room, Math.max(content.bodySize ?? 0, keptLength + length)))
    larger.set(content.kept.subarray(0, keptLength))
    content.kept = larger
  }
  content.kept.set(bytes.subarray(start, start + length), keptLength)
  content.keptLength += length
}

/** Ends what the item says with the body, of which `bytes[start..end)` is kept. */
export function writeBody(content: Content, bytes: Uint8Array, start: number, end: number, wanted: boolean): void {
  const { body, bodySize } = content
  const isCut = bodySize !== end - start
  const { payload, encoding } = payloadOf(bytes, start, isCut ? wholeCharacters(bytes, start, end) : end, end - start)
  body.bodySize = bodySize
  body.body = wanted || bodySize === 0 ? payload : null
  body.encoding = wanted ? encoding : null
  if (isCut && wanted) body.truncated = true
}

/** Where `bytes[start..end)` ends when a character that the end cuts in two is left out. */
function wholeCharacters(bytes: Uint8Array, start: number, end: number): number {
  for (let i = end - 1; i >= Math.max(start, end - 4); i--) {
    const byte = bytes[i]!
    if (byte < 0x80) return end
    if (byte < 0xc0) continue
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return needs > end - i ? i : end
  }
  return end
}
