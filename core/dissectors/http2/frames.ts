/**
 * Frames of HTTP/2 (RFC 9113, 4 and 6).
 *
 *   length(24) type(8) flags(8) R(1) stream(31) payload(length)
 */
import { constant } from '../../json-writer.ts'
import { whoseBlock } from './hpack.ts'

export const HEADER = 9

export const DATA = 0
export const HEADERS = 1
export const PRIORITY = 2
export const RST_STREAM = 3
export const SETTINGS = 4
export const PUSH_PROMISE = 5
export const PING = 6
export const GOAWAY = 7
export const WINDOW_UPDATE = 8
export const CONTINUATION = 9

export const END_STREAM = 0x01
export const ACK = 0x01
export const END_HEADERS = 0x04
export const PADDED = 0x08
export const HAS_PRIORITY = 0x20

/** Of the frame that begins at `p`. */
export function lengthAt(b: Uint8Array, p: number): number {
  return (b[p]! << 16) | (b[p + 1]! << 8) | b[p + 2]!
}

export function streamAt(b: Uint8Array, p: number): number {
  return ((b[p + 5]! << 24) | (b[p + 6]! << 16) | (b[p + 7]! << 8) | b[p + 8]!) & 0x7fffffff
}

/** What every client says first (RFC 9113, 3.4). */
export const PREFACE = constant('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/** RFC 9113, 7. */
const ERRORS = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
]
export const NO_ERROR = 0
export const CANCEL = 8

export function errorName(code: number): string {
  return ERRORS[code] ?? `0x${code.toString(16)}`
}

interface Kind {
  /** Flags that mean something. */
  flags: number
  /** On the connection (stream 0), on a stream, or on either. */
  on: 'connection' | 'stream' | 'either'
  least: number
  most: number
}

/** Where SETTINGS_MAX_FRAME_SIZE is not raised. Whoever raises it sends such frames rarely, and none of them first. */
const USUAL_SIZE = 16_384
/** SETTINGS_MAX_FRAME_SIZE cannot be more. */
const MAX_SIZE = (1 << 24) - 1
/** Fields of RFC 9113 and of extensions, six bytes each. */
const MAX_SETTINGS = 6 * 64

const KINDS: readonly Kind[] = [
  { flags: END_STREAM | PADDED, on: 'stream', least: 0, most: MAX_SIZE },
  { flags: END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY, on: 'stream', least: 0, most: MAX_SIZE },
  { flags: 0, on: 'stream', least: 5, most: 5 },
  { flags: 0, on: 'stream', least: 4, most: 4 },
  { flags: ACK, on: 'connection', least: 0, most: MAX_SETTINGS },
  { flags: END_HEADERS | PADDED, on: 'stream', least: 4, most: MAX_SIZE },
  { flags: ACK, on: 'connection', least: 8, most: 8 },
  { flags: 0, on: 'connection', least: 8, most: MAX_SIZE },
  { flags: 0, on: 'either', least: 4, most: 4 },
  { flags: END_HEADERS, on: 'stream', least: 0, most: MAX_SIZE },
]

/** What is wrong with this frame header; null when nothing is. Frames of unknown types may be anything. */
export function fault(length: number, type: number, stream: number): string | null {
  const kind = KINDS[type]
  if (kind === undefined) return null
  if (length < kind.least || length > kind.most) return `a length of ${kind.least} to ${kind.most}, found ${length}`
  if (kind.on === 'connection' && stream !== 0) return `stream 0, found ${stream}`
  if (kind.on === 'stream' && stream === 0) return 'a stream, found 0'
  return null
}

/**
 * Are `b[start..end)` frames? `client`, `server`: yes, and only that side sends such. `certain`: nothing else looks like
 * that. `likely`: nothing against it, little for it. `more`: what is here does not decide.
 */
export function recognise(b: Uint8Array, start: number, end: number): Verdict | 'more' {
  let likely = 0
  let certain = false
  for (let p = start; p < end; ) {
    if (end - p < HEADER) {
      if (!couldBegin(b, p, end)) return 'no'
      if (p === start) return 'more'
      break
    }
    const length = (b[p]! << 16) | (b[p + 1]! << 8) | b[p + 2]!
    const type = b[p + 3]!
    const flags = b[p + 4]!
    const stream = (b[p + 5]! << 24) | (b[p + 6]! << 16) | (b[p + 7]! << 8) | b[p + 8]!
    const kind = KINDS[type]
    if (kind === undefined || (flags & ~kind.flags) !== 0 || stream < 0 || length > USUAL_SIZE) return 'no'
    if (fault(length, type, stream) !== null) return 'no'
    const body = p + HEADER
    if (body + length > end) {
      if (p === start) return type === DATA ? 'likely' : 'more'
      break
    }
    const verdict = proves(b, body, length, type, flags)
    if (verdict === 'no' || verdict === 'client' || verdict === 'server') return verdict
    if (verdict === 'certain') certain = true
    likely++
    p = body + length
  }
  return certain || likely > 1 ? 'certain' : 'likely'
}

export type Verdict = 'client' | 'server' | 'certain' | 'likely' | 'no'

function couldBegin(b: Uint8Array, p: number, end: number): boolean {
  return b[p] === 0 && (end - p < 4 || b[p + 3]! < KINDS.length)
}

/** Whether a whole frame is one, by what it holds. */
function proves(b: Uint8Array, p: number, length: number, type: number, flags: number): Verdict {
  switch (type) {
    case HEADERS: {
      let begin = p
      let end = p + length
      if ((flags & PADDED) !== 0) {
        if (length < 1 || b[p]! >= length) return 'no'
        end -= b[p]!
        begin++
      }
      if ((flags & HAS_PRIORITY) !== 0) begin += 5
      if ((flags & END_HEADERS) === 0) return 'likely'
      return begin < end ? whoseBlock(b, begin, end) : 'no'
    }
    case SETTINGS:
      if (flags === ACK) return length === 0 ? 'likely' : 'no'
      if (length % 6 !== 0) return 'no'
      for (let i = p; i < p + length; i += 6) if (!isSetting(b, i)) return 'no'
      return length > 0 ? 'certain' : 'likely'
    case PING:
      return 'certain'
    case WINDOW_UPDATE:
      return b[p]! < 0x80 && (b[p]! | b[p + 1]! | b[p + 2]! | b[p + 3]!) !== 0 ? 'certain' : 'no'
    case RST_STREAM:
      return isError(b, p) ? 'certain' : 'no'
    case GOAWAY:
      return b[p]! < 0x80 && isError(b, p + 4) ? 'certain' : 'no'
    case DATA:
      return (flags & PADDED) === 0 && isMessages(b, p, p + length) ? 'certain' : 'likely'
    default:
      return 'likely'
  }
}

function isError(b: Uint8Array, p: number): boolean {
  return b[p] === 0 && b[p + 1] === 0 && b[p + 2] === 0 && b[p + 3]! < ERRORS.length
}

/** Identifiers that are registered, and those for grease (0x?a?a). */
function isSetting(b: Uint8Array, p: number): boolean {
  const id = (b[p]! << 8) | b[p + 1]!
  return (id > 0 && id <= 16) || (id & 0x0f0f) === 0x0a0a || id >= 0xf000
}

/** Whole messages of gRPC and nothing else: `compressed(8) length(32) message(length)`. */
export function isMessages(b: Uint8Array, start: number, end: number): boolean {
  let p = start
  while (end - p >= 5 && b[p]! <= 1) {
    const length = ((b[p + 1]! << 24) | (b[p + 2]! << 16) | (b[p + 3]! << 8) | b[p + 4]!) >>> 0
    if (length > end - p - 5) return false
    p += 5 + length
  }
  return p === end && p > start
}
