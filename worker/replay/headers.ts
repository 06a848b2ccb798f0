/**
 * Headers of HTTP/1 requests, set anew: everything behind a changed head moves, and what is said of places moves with it.
 * A head ends with an empty line; lines end with CRLF, from some clients with LF alone (RFC 9112, 2.2).
 */
import { Fault } from '../../core/fault.ts'
import type { Send, Stream } from './plan.ts'
import type { Exchange } from './tape.ts'

export interface Header {
  name: string
  value: string
}

/** They say where the body ends, and bodies are sent as they were recorded. */
const FRAMING = ['content-length', 'transfer-encoding']
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Throws a Fault when it cannot be a header. */
export function checkHeader({ name, value }: Header): void {
  if (!TOKEN.test(name)) throw new Fault('HEADER_NAME', `expected the name of a header, found "${name}"`)
  if (/[\r\n\0]/.test(value))
    throw new Fault('HEADER_VALUE', `the value of header ${name} must be one line, found several`)
  if (FRAMING.includes(name.toLowerCase()))
    throw new Fault(
      'HEADER_FRAMING',
      `${name} says where a body ends, and bodies are sent as recorded: leave it as it is`,
    )
}

/** The stream with these headers in each of its requests. */
export function withHeaders(stream: Stream, headers: readonly Header[]): Stream {
  if (headers.length === 0) return stream
  const edits: Edit[] = []
  for (const exchange of stream.exchanges) edits.push(editOf(stream, exchange, headers, edits.at(-1)?.by ?? 0))
  const moved = (place: number) => movedPlace(edits, place)
  const sends: Send[] = []
  for (const send of stream.sends) {
    const start = moved(send.start)
    const end = moved(send.start + send.bytes.length)
    sends.push({ ...send, start, bytes: editedBytes(edits, send, end - start) })
  }
  const exchanges = stream.exchanges.map(one => ({ ...one, start: moved(one.start), end: moved(one.end) }))
  const tail = stream.tail === null ? null : { ...stream.tail, client: moved(stream.tail.client) }
  return { ...stream, sends, exchanges, tail }
}

/** A head, and what takes its place. */
interface Edit {
  /** Places in what the client sent. */
  start: number
  end: number
  head: Uint8Array
  /** Bytes by which what lies behind it moves. */
  by: number
}

function editOf({ sends }: Stream, { start, end }: Exchange, headers: readonly Header[], by: number): Edit {
  const old = headAt(sends, start, end)
  const head = Buffer.from(editedHead(old.toString('latin1'), headers), 'latin1')
  return { start, end: start + old.length, head, by: by + head.length - old.length }
}

/** The request from its beginning to the empty line behind its head. */
function headAt(sends: readonly Send[], start: number, end: number): Buffer {
  const parts: Uint8Array[] = []
  let size = 0
  const first = firstWhere(sends, send => send.start + send.bytes.length > start)
  for (let i = first; i < sends.length && sends[i]!.start < end; i++) {
    const send = sends[i]!
    const part = send.bytes.subarray(Math.max(0, start - send.start), end - send.start)
    parts.push(part)
    size += part.length
    if (size > MAX_HEAD) break
    const bytes = Buffer.concat(parts)
    const length = headLength(bytes)
    if (length > 0) return bytes.subarray(0, length)
  }
  const bytes = Buffer.concat(parts)
  const length = headLength(bytes)
  // Where a request was read, its head has an end.
  if (length < 0) throw new Fault('HEADER_END', 'a request to set a header in has a head without an end')
  return bytes.subarray(0, length)
}

/** More than any server takes. */
const MAX_HEAD = 1 << 20

function headLength(bytes: Buffer): number {
  // Empty lines before a request are ignored.
  let from = 0
  while (bytes[from] === 13 || bytes[from] === 10) from++
  for (let lf = bytes.indexOf(10, from); lf >= 0; lf = bytes.indexOf(10, lf + 1)) {
    if (bytes[lf + 1] === 10) return lf + 2
    if (bytes[lf + 1] === 13 && bytes[lf + 2] === 10) return lf + 3
  }
  return -1
}

/** The first of several of this name is replaced, the others go; what is not there comes last. */
export function editedHead(head: string, headers: readonly Header[]): string {
  const ending = head.endsWith('\r\n') ? '\r\n' : '\n'
  const begin = /^[\r\n]*/.exec(head)![0]
  const [request = '', ...fields] = head
    .slice(begin.length)
    .replace(/\r?\n\r?\n$/, '')
    .split(/\r?\n/)
  // A line that begins with blanks goes on with the field before it (RFC 9112, 5.2).
  const whole: string[] = []
  for (const field of fields) {
    if (/^[ \t]/.test(field) && whole.length > 0) whole[whole.length - 1] += ending + field
    else whole.push(field)
  }
  for (const { name, value } of headers) {
    const isIt = (field: string) => field.split(':', 1)[0]!.trim().toLowerCase() === name.toLowerCase()
    const at = whole.findIndex(isIt)
    const line = `${name}: ${value}`
    if (at < 0) whole.push(line)
    else {
      const rest = whole.slice(at + 1).filter(field => !isIt(field))
      whole.splice(at, whole.length - at, line, ...rest)
    }
  }
  return begin + [request, ...whole, '', ''].join(ending)
}

/** A place within a head moves behind it: a head is sent whole. */
function movedPlace(edits: readonly Edit[], place: number): number {
  const next = firstWhere(edits, ({ end }) => end > place)
  const by = edits[next - 1]?.by ?? 0
  const edit = edits[next]
  return edit !== undefined && edit.start < place ? edit.start + by + edit.head.length : place + by
}

/** What is sent in the place of a piece: heads that begin in it, and the rest of it that lies within no head. */
function editedBytes(edits: readonly Edit[], { start, bytes }: Send, size: number): Uint8Array {
  const parts: Uint8Array[] = []
  const last = start + bytes.length
  let position = start
  for (let i = firstWhere(edits, ({ end }) => end > start); i < edits.length && edits[i]!.start < last; i++) {
    const edit = edits[i]!
    if (edit.start >= position) parts.push(bytes.subarray(position - start, edit.start - start), edit.head)
    position = Math.min(edit.end, last)
  }
  parts.push(bytes.subarray(position - start))
  const edited = Buffer.concat(parts)
  if (edited.length !== size) throw new TypeError(`edited ${edited.length} bytes, expected ${size}`)
  return edited
}

/** Of those in order the number of the first of which it is true, as of all behind it; their count where it never is. */
function firstWhere<One>(all: readonly One[], isTrue: (one: One) => boolean): number {
  let [low, high] = [0, all.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (isTrue(all[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}
