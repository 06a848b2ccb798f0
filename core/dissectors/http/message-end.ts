/** What follows the headers in the JSON of a message: sizes, trailers, and the body in its decoded form. */
import { utf8 } from '../../cursor.ts'
import { constant, type JsonWriter, type Written } from '../../json-writer.ts'
import { decode, writeNoText, writeText } from './body.ts'
import { parseForm, parseMultipart } from './forms.ts'

/** What the headers say of the body and its place. */
export interface Described {
  /** Content-Type as JSON text in the writer, counted from where the message begins; -1 without one. */
  typeStart: number
  typeEnd: number
  /** Content codings in the order they were applied. */
  codings: string[] | null
  location: string
}

const HEADERS_SIZE = constant(',"headersSize":')
const BODY_SIZE = constant(',"bodySize":')
const NO_POST_DATA = constant(',"postData":null}')
const POST_DATA = constant(',"postData":{"mimeType":')
const PARAMS = constant(',"params":')
const TRAILERS = constant(',"trailers":')
const NO_PARAMS = constant(',"params":[],')
const CONTENT = constant(',"content":{"size":')
const CONTENT_ENCODING = constant(',"contentEncoding":')
const MIME_TYPE = constant(',"mimeType":')
const REDIRECT = constant(',"redirectURL":')
const NO_REDIRECT = constant(',"redirectURL":"","headersSize":')
const COMMA = 44
const CLOSE = 125

/**
 * Writes what can be written only when the body has ended, and closes the message that was begun at `from` in `out`.
 * `b[start..end)` is what was kept of the body, `size` what it was on the wire; `cut`: that is more than was kept.
 */
export function writeEnd(
  out: JsonWriter,
  from: number,
  head: Described,
  b: Uint8Array,
  start: number,
  end: number,
  cut: boolean,
  size: number,
  headSize: number,
  trailers: string | Uint8Array | null,
  kind: 'request' | 'response',
  wanted: boolean,
): Written {
  let span: [number, number] | null = null
  let content: Uint8Array | null = null
  let contentSize = size
  /** The codings that are still on it. */
  let codings: readonly string[] | null = null
  if (wanted && head.codings !== null && end > start) {
    content = decode(b.subarray(start, end), head.codings)
    if (content !== null) {
      contentSize = content.length
      if (contentSize > MAX_TEXT) {
        content = content.subarray(0, MAX_TEXT)
        cut = true
      }
    } else codings = head.codings
  }
  if (kind === 'request') {
    out.raw(HEADERS_SIZE)
    out.integer(headSize)
    out.raw(BODY_SIZE)
    out.integer(size)
    if (trailers !== null) {
      out.raw(TRAILERS)
      writeTrailers(out, trailers)
    }
    if (size === 0) out.raw(NO_POST_DATA)
    else {
      out.raw(POST_DATA)
      writeType(out, from, head)
      if (wanted) writeParameters(out, from, head, content ?? b.subarray(start, end))
      else out.raw(NO_PARAMS)
      if (!wanted) writeNoText(out)
      else
        span = content === null ? writeText(out, b, start, end, cut) : writeText(out, content, 0, content.length, cut)
      if (codings !== null) writeCodings(out, codings)
      out.byte(CLOSE)
      out.byte(CLOSE)
    }
  } else {
    out.raw(CONTENT)
    out.integer(contentSize)
    out.raw(MIME_TYPE)
    writeType(out, from, head)
    out.byte(COMMA)
    if (!wanted) writeNoText(out)
    else span = content === null ? writeText(out, b, start, end, cut) : writeText(out, content, 0, content.length, cut)
    if (codings !== null) writeCodings(out, codings)
    out.byte(CLOSE)
    if (head.location === '') out.raw(NO_REDIRECT)
    else {
      out.raw(REDIRECT)
      out.value(head.location)
      out.raw(HEADERS_SIZE)
    }
    out.integer(headSize)
    out.raw(BODY_SIZE)
    out.integer(size)
    if (trailers !== null) {
      out.raw(TRAILERS)
      writeTrailers(out, trailers)
    }
    out.byte(CLOSE)
  }
  const written = out.since(from)
  written.typeStart = head.typeStart < 0 ? -1 : from + head.typeStart
  written.typeEnd = head.typeEnd < 0 ? -1 : from + head.typeEnd
  if (span !== null && size > 0) {
    written.bodyStart = span[0]
    written.bodyEnd = span[1]
  }
  return written
}

function writeTrailers(out: JsonWriter, trailers: string | Uint8Array): void {
  if (typeof trailers === 'string') out.ascii(trailers)
  else out.raw(trailers)
}

function writeCodings(out: JsonWriter, codings: readonly string[]): void {
  out.raw(CONTENT_ENCODING)
  out.value(codings.join(', '))
}

/** What a body may be after decoding; the rest is left out and marked. */
const MAX_TEXT = 1 << 20

function writeType(out: JsonWriter, from: number, head: Described): void {
  if (head.typeStart < 0) out.ascii('""')
  else out.repeat(from + head.typeStart, from + head.typeEnd)
}

const FORM = constant('"application/x-www-form-urlencoded')
const MULTIPART = constant('"multipart/form-data')

function writeParameters(out: JsonWriter, from: number, head: Described, body: Uint8Array): void {
  const start = from + head.typeStart
  if (head.typeStart >= 0 && beginsWith(out.bytes, start, FORM)) {
    out.raw(PARAMS)
    out.value(parseForm(utf8(body, 0, body.length)))
    out.byte(COMMA)
  } else if (head.typeStart >= 0 && beginsWith(out.bytes, start, MULTIPART)) {
    // One character a byte, as the body is searched for the boundary.
    const type = JSON.parse(out.bytes.toString('latin1', start, from + head.typeEnd))
    out.raw(PARAMS)
    out.value(parseMultipart(body, type))
    out.byte(COMMA)
  } else out.raw(NO_PARAMS)
}

/** In any case of letters. */
function beginsWith(b: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = b[start + i]!
    if (code !== text[i] && (code | 0x20) !== text[i]) return false
  }
  return true
}
