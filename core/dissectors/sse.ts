/**
 * Server-Sent Events (HTML, 9.2) in the body of an answer of type text/event-stream, told while the answer lasts.
 *
 *   event = *( ( "event" | "data" | "id" | "retry" | "" ) [ ":" [ " " ] text ] end-of-line )  end-of-line
 */
import { utf8 } from '../cursor.ts'
import type { Face, Message } from '../dissector.ts'
import { text } from '../json-shape.ts'
import { constant, JsonWriter, Written } from '../json-writer.ts'
import { Unpacking } from './sse/unpacking.ts'

/** `event` of an item. */
export interface ServerSentEvent {
  /** Target of the request that is being answered; null when it was not seen. */
  url: string | null
  /** Its own; null when it has none. */
  id: string | null
  /** `message` unless it says otherwise. */
  event: string
  /** Its lines joined by LF; null when it has none, or nobody wants bodies. */
  data: string | null
  /** `data` is the beginning alone. */
  truncated?: true
  /** ms after which to connect again; null when it does not say. */
  retry: number | null
}

export const face: Face = {
  name: 'sse',
  title: 'Server-Sent Events',
  abbr: 'SSE',
  version: '1',
  color: '#2b8a8a',
  reference: 'https://html.spec.whatwg.org/multipage/server-sent-events.html',
  ports: [],
  priority: 0,
  summarize: (_request, _response, event) => ({
    method: event?.event ?? '',
    summary: event?.data ?? '',
    status: '',
  }),
}

const TYPE = constant('"text/event-stream')

/** Of a media type as a JSON string in `out`. */
export function isEventStream(out: JsonWriter, typeStart: number): boolean {
  if (typeStart < 0) return false
  for (let i = 0; i < TYPE.length; i++) {
    const byte = out.bytes[typeStart + i]!
    if ((byte >= 65 && byte <= 90 ? byte | 0x20 : byte) !== TYPE[i]) return false
  }
  return true
}

/** Beyond this a line is cut: whoever sends no end of line must not fill our memory. */
const MAX_LINE = 1 << 20
/** Lines of one event that are kept. */
const MAX_LINES = 10_000
const LF = 10
const CR = 13
const COLON = 58
const SPACE = 32
const NOTHING = new Uint8Array(0)
/** Above it the engine's own way of writing is faster, which makes a string first. */
const LONG = 1024
/** Room that a stream keeps from one event to the next. */
const MAX_ROOM = 65_536

const BOM = constant('\ufeff')
const DATA_FIELD = constant('data')
const EVENT_FIELD = constant('event')
const ID_FIELD = constant('id')
const RETRY_FIELD = constant('retry')

const EVENT = constant(',"event":')
const DATA = constant(',"data":')
const TRUNCATED = constant(',"truncated":true')
const RETRY = constant(',"retry":')
const NULL = constant('null')
const CLOSE = 125
/** Where events are written, one at a time. */
const OUT = new JsonWriter(1024)

/** The body of one answer. */
export class EventStream {
  /** JSON of an event up to its id. */
  private readonly front: Uint8Array
  private readonly unpacking: Unpacking | null
  /** Bytes of data to keep. */
  private readonly keep: number
  private found: Message[] = []
  /** The beginning of a line. */
  private line = NOTHING
  private lineLength = 0
  private isFirstLine = true
  /** The last byte was a CR: a LF belongs to it. */
  private behindReturn = false
  /** Bytes are missing: what comes belongs to an event that is lost, up to the next empty line. */
  private isLost = false
  /** Of the event at hand, heads of lines counted. */
  private size = 0
  private hasFields = false
  private id: string | null = null
  private event = ''
  /** Its lines with LF between them. */
  private data = NOTHING
  private dataLength = 0
  private dataLines = 0
  private truncated = false
  private retry: number | null = null

  /** `codings` are those of the answer, in the order they were applied. */
  constructor(url: string | null, codings: readonly string[] | null, keep: number) {
    this.front = constant(`{"url":${JSON.stringify(url)},"id":`)
    // `Content-Encoding: none` keeps gateways from compressing; it is no coding.
    this.unpacking = codings === null || codings.every(one => one === 'none') ? null : new Unpacking(codings)
    this.keep = keep
  }

  /** Memory in use, about. */
  get weight(): number {
    return this.line.length + this.data.length + (this.unpacking?.weight ?? 0)
  }

  /** More of the body as it is on the wire. */
  read(bytes: Uint8Array, start: number, end: number): void {
    if (this.unpacking === null) {
      this.text(bytes, start, end)
      return
    }
    const text = this.unpacking.add(bytes.subarray(start, end))
    if (text !== null) this.text(text, 0, text.length)
  }

  /** Bytes are missing from the capture. */
  gap(): void {
    this.unpacking?.lose()
    this.isLost = true
    this.forget()
    this.lineLength = 0
    this.behindReturn = false
  }

  /** No more will come. `content` is what was kept of the body, for codings that can be undone as a whole alone. */
  end(content: Uint8Array): void {
    const text = this.unpacking?.finish(content) ?? null
    if (text !== null) this.text(text, 0, text.length)
  }

  /** The events that have ended since it was asked last. */
  take(): Message[] {
    const { found } = this
    if (found.length > 0) this.found = []
    return found
  }

  private text(bytes: Uint8Array, start: number, end: number): void {
    let p = start
    if (this.behindReturn && p < end) {
      this.behindReturn = false
      if (bytes[p] === LF) {
        p++
        this.size++
      }
    }
    while (p < end) {
      let q = p
      while (q < end && bytes[q] !== LF && bytes[q] !== CR) q++
      this.size += q - p
      if (q === end) {
        this.keepLine(bytes, p, q)
        return
      }
      this.size++
      if (this.lineLength === 0) this.readLine(bytes, p, q)
      else {
        this.keepLine(bytes, p, q)
        const { line, lineLength } = this
        this.lineLength = 0
        this.readLine(line, 0, lineLength)
      }
      if (bytes[q] === CR) {
        if (q + 1 === end) this.behindReturn = true
        else if (bytes[q + 1] === LF) {
          q++
          this.size++
        }
      }
      p = q + 1
    }
  }

  private keepLine(bytes: Uint8Array, start: number, end: number): void {
    const wanted = Math.min(end - start, MAX_LINE - this.lineLength)
    this.line = withRoom(this.line, this.lineLength, wanted)
    copy(bytes, start, start + wanted, this.line, this.lineLength)
    this.lineLength += wanted
  }

  /** One line, without its end. */
  private readLine(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.dispatch()
      return
    }
    if (this.isLost) return
    if (this.isFirstLine && startsWith(bytes, start, end, BOM)) start += BOM.length
    this.isFirstLine = false
    let colon = start
    while (colon < end && bytes[colon] !== COLON) colon++
    let from = Math.min(colon + 1, end)
    if (bytes[from] === SPACE && from < end) from++
    if (isField(bytes, start, colon, DATA_FIELD)) this.takeData(bytes, from, end)
    else if (isField(bytes, start, colon, EVENT_FIELD)) this.event = utf8(bytes, from, end)
    else if (isField(bytes, start, colon, ID_FIELD)) this.id = utf8(bytes, from, end)
    else if (isField(bytes, start, colon, RETRY_FIELD)) {
      const text = utf8(bytes, from, end)
      if (/^\d{1,15}$/.test(text)) this.retry = Number(text)
    }
    // A comment, or what means nothing.
    else return
    this.hasFields = true
  }

  private takeData(bytes: Uint8Array, start: number, end: number): void {
    const wanted = Math.max(0, Math.min(end - start, this.keep - this.dataLength))
    if (wanted < end - start || this.dataLines === MAX_LINES) this.truncated = true
    if (this.dataLines === MAX_LINES) return
    this.data = withRoom(this.data, this.dataLength, wanted + 1)
    if (this.dataLines++ > 0) this.data[this.dataLength++] = LF
    copy(bytes, start, start + wanted, this.data, this.dataLength)
    this.dataLength += wanted
  }

  private dispatch(): void {
    this.isFirstLine = false
    if (this.isLost) this.isLost = false
    else if (this.hasFields)
      this.found.push({ kind: 'event', as: face, within: true, body: this.body(), size: this.size })
    this.forget()
  }

  /** A `ServerSentEvent`. */
  private body(): Written {
    const { id, event, retry } = this
    OUT.length = 0
    OUT.raw(this.front)
    if (id === null) OUT.raw(NULL)
    else text(OUT, id)
    OUT.raw(EVENT)
    text(OUT, event === '' ? 'message' : event)
    OUT.raw(DATA)
    if (this.dataLines === 0 || this.keep === 0) OUT.raw(NULL)
    else if (this.dataLength > LONG) OUT.value(utf8(this.data, 0, this.dataLength))
    else OUT.string(this.data, 0, this.dataLength)
    if (this.truncated && this.keep > 0) OUT.raw(TRUNCATED)
    OUT.raw(RETRY)
    if (retry === null) OUT.raw(NULL)
    else OUT.integer(retry)
    OUT.byte(CLOSE)
    const saved = OUT.save()
    return new Written(saved, 0, saved.length)
  }

  private forget(): void {
    this.size = 0
    this.hasFields = false
    this.id = null
    this.event = ''
    if (this.data.length > MAX_ROOM) this.data = NOTHING
    this.dataLength = 0
    this.dataLines = 0
    this.truncated = false
    this.retry = null
  }
}

function withRoom(kept: Uint8Array<ArrayBuffer>, length: number, wanted: number): Uint8Array<ArrayBuffer> {
  if (length + wanted <= kept.length) return kept
  const larger = new Uint8Array((length + wanted) * 2)
  larger.set(kept.subarray(0, length))
  return larger
}

function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > 40) to.set(from.subarray(start, end), at)
  else for (let i = start; i < end; i++) to[at++] = from[i]!
}

function startsWith(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (end - start < text.length) return false
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false
  return true
}

function isField(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  return end - start === name.length && startsWith(bytes, start, end, name)
}
