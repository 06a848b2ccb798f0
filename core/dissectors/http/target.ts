/**
 * The target of a request (RFC 9112, 3.2), or `:path` of HTTP/2, written as `targetUri`, `path`, `pathSegments` and
 * `queryString` behind the name `url`.
 */
import { utf8 } from '../../cursor.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { parseQuery } from './forms.ts'

const TARGET = constant(',"targetUri":')
const PATH = constant(',"path":')
const SEGMENTS = constant(',"pathSegments":')
const QUERY = constant(',"queryString":')
const COMMA = 44
const CLOSE = 125

export function writeTarget(out: JsonWriter, b: Uint8Array, start: number, end: number, method: string): void {
  const from = out.length
  out.string(b, start, end)
  const to = out.length
  out.raw(TARGET)
  out.repeat(from, to)
  // A leading slash and a JSON text as long as the target: nothing in it had to be escaped.
  if (b[start] !== 47 || to - from !== end - start + 2) {
    writeOddTarget(out, utf8(b, start, end), method)
    return
  }
  let question = start
  while (question < end && b[question] !== 63) question++
  out.raw(PATH)
  out.repeat(from, from + 1 + question - start)
  out.byte(34)
  out.raw(SEGMENTS)
  out.byte(91)
  for (let p = start; p < question; ) {
    let next = p + 1
    while (next < question && b[next] !== 47) next++
    if (p > start) out.byte(COMMA)
    out.byte(34)
    out.repeat(from + 2 + p - start, from + 1 + next - start)
    out.byte(34)
    p = next
  }
  out.byte(93)
  out.raw(QUERY)
  writeQuery(out, b, question + 1, end, from + 2 + question - start)
}

/** `written` is where the query's own text stands in `out` already. */
function writeQuery(out: JsonWriter, b: Uint8Array, start: number, end: number, written: number): void {
  const begin = out.length
  out.byte(123)
  let seen = 0
  for (let p = start; p < end; ) {
    let hash = 0
    let q = p
    while (q < end && b[q] !== 61 && b[q] !== 38) hash = (Math.imul(hash, 31) + b[q++]!) | 0
    let last = q
    let odd = q === p || b[q] !== 61
    while (last < end && b[last] !== 38) {
      if (b[last] === 37 || b[last] === 43) odd = true
      last++
    }
    for (let i = p; i < q; i++) if (b[i] === 37 || b[i] === 43) odd = true
    const bit = 1 << (hash & 31)
    if (odd || (seen & bit) !== 0) {
      out.length = begin
      out.value(parseQuery(utf8(b, start, end)))
      return
    }
    seen |= bit
    if (p > start) out.byte(COMMA)
    out.byte(34)
    out.repeat(written + p - start, written + q - start)
    out.byte(34)
    out.byte(58)
    out.byte(34)
    out.repeat(written + q + 1 - start, written + last - start)
    out.byte(34)
    p = last + 1
  }
  out.byte(CLOSE)
}

/** Absolute form, authority form, `*`, or something that needs escaping (RFC 9112, 3.2). */
function writeOddTarget(out: JsonWriter, target: string, method: string): void {
  let path = target
  const absolute = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i.exec(target)
  if (absolute !== null) path = target.slice(absolute[0].length) || '/'
  const question = method === 'CONNECT' ? -1 : path.indexOf('?')
  const query = question < 0 ? '' : path.slice(question + 1)
  if (question >= 0) path = path.slice(0, question)
  out.raw(PATH)
  out.value(path)
  out.raw(SEGMENTS)
  out.value(path.startsWith('/') ? path.slice(1).split('/') : [path])
  out.raw(QUERY)
  out.value(parseQuery(query))
}
