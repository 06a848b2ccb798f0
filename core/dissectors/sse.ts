/**
 * Server-Sent Events (HTML, 9.2) in the body of an answer of type text/event-stream, told while the answer lasts.
 *
 *   event = *( ( "event" | "data" | "id" | "retry" | "" ) [ ":" [ " " ] text ] end-of-line )  end-of-line
 */
import { utf8 } from '../cursor.ts'
import type { Face, Message } from '../dissector.ts'
import { constant, type JsonWriter } from '../json-writer.ts'
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
const BOM = '\ufeff'
const NOTHING = new Uint8Array(0)

/** The body of one answer. */
export class EventStream {
  private readonly url: string | null
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
  private data: string[] = []
  private dataLength = 0
  private truncated = false
  private retry: number | null = null

  /** `codings` are those of the answer, in the order they were applied. */
  constructor(url: string | null, codings: readonly string[] | null, keep: number) {
    this.url = url
    // `Content-Encoding: none` keeps gateways from compressing; it is no coding.
    this.unpacking = codings === null || codings.every(one => one === 'none') ? null : new Unpacking(codings)
    this.keep = keep
  }

  /** Memory in use, about. */
  get weight(): number {
    return this.line.length + this.dataLength * 2 + (this.unpacking?.weight ?? 0)
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
    if (this.lineLength + wanted > this.line.length) {
      const larger = new Uint8Array((this.lineLength + wanted) * 2)
      larger.set(this.line.subarray(0, this.lineLength))
      this.line = larger
    }
    this.line.set(bytes.subarray(start, start + wanted), this.lineLength)
    this.lineLength += wanted
  }

  /** One line, without its end. */
  private readLine(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.dispatch()
      return
    }
    if (this.isLost) return
    let colon = start
    while (colon < end && bytes[colon] !== 58) colon++
    let name = utf8(bytes, start, colon)
    if (this.isFirstLine && name.startsWith(BOM)) name = name.slice(1)
    this.isFirstLine = false
    let from = Math.min(colon + 1, end)
    if (bytes[from] === 32 && from < end) from++
    switch (name) {
      case 'data':
        this.takeData(bytes, from, end)
        break
      case 'event':
        this.event = utf8(bytes, from, end)
        break
      case 'id':
        this.id = utf8(bytes, from, end)
        break
      case 'retry': {
        const text = utf8(bytes, from, end)
        if (/^\d{1,15}$/.test(text)) this.retry = Number(text)
        break
      }
      default:
        // A comment, or what means nothing.
        return
    }
    this.hasFields = true
  }

  private takeData(bytes: Uint8Array, start: number, end: number): void {
    const wanted = Math.min(end - start, this.keep - this.dataLength)
    if (wanted < end - start || this.data.length >= MAX_LINES) this.truncated = true
    if (this.data.length >= MAX_LINES) return
    this.data.push(utf8(bytes, start, start + Math.max(0, wanted)))
    this.dataLength += Math.max(0, wanted) + 1
  }

  private dispatch(): void {
    this.isFirstLine = false
    if (this.isLost) this.isLost = false
    else if (this.hasFields) {
      const { url, id, event, data, truncated, retry, size } = this
      const body: ServerSentEvent = {
        url,
        id,
        event: event === '' ? 'message' : event,
        data: data.length === 0 || this.keep === 0 ? null : data.join('\n'),
        ...(truncated && this.keep > 0 && { truncated }),
        retry,
      }
      this.found.push({ kind: 'event', as: face, within: true, body, size })
    }
    this.forget()
  }

  private forget(): void {
    this.size = 0
    this.hasFields = false
    this.id = null
    this.event = ''
    this.data = []
    this.dataLength = 0
    this.truncated = false
    this.retry = null
  }
}
