/** A call's part in HTTP/2's exchanges: messages out of DATA, and what gRPC adds to the JSON of a request and a response. */
import type { Context, Message } from '../../dissector.ts'
import type { JsonValue } from '../../item.ts'
import { text } from '../../json-shape.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { face } from '../grpc.ts'
import { writeNoText, writeText } from '../http/body.ts'
import type { Stream } from '../http2/exchange.ts'
import { isMessages } from '../http2/frames.ts'
import type { Part } from '../http2/part.ts'
import { type MessageFlow, newFlow, PREFIX, readLength, writeMessage } from './messages.ts'
import { readProtobuf, writeProtobuf } from './protobuf.ts'
import { percentDecoded, splitPath, statusName } from './status.ts'

/**
 * More of a direction's DATA; `first`: a frame begins. `limit` bytes of a message are kept at most. From the second message
 * on each one becomes an event.
 */
export function feed(
  ctx: Context,
  stream: Stream,
  part: Part,
  b: Uint8Array,
  start: number,
  end: number,
  first: boolean,
  limit: number,
  made: Message[],
): void {
  const length = end - start
  // Most calls say one thing in each direction.
  if (first && part.flow === null && !part.doubtful && length <= limit && isOneMessage(ctx, part, b, start, end)) {
    part.bodySize += length
    part.keep(b, start, end, limit, ctx)
    return
  }
  const flow = flowOf(ctx, part)
  part.bodySize += length
  if (flow.astray) {
    if (!first || !isMessages(b, start, end)) return
    flow.astray = false
    flow.damaged = false
    flow.prefixed = 0
    flow.remaining = 0
  }
  for (let p = start; p < end; ) {
    if (flow.prefixed === 0) {
      if (b[p]! > 1) {
        flow.astray = true
        flow.incomplete = true
        return
      }
      if (flow.count > 0 && !flow.streams) {
        flow.streams = true
        made.push(messageEvent(ctx, stream, part, flow))
      }
      part.clear()
      flow.since = ctx.moment
      flow.damaged = false
      flow.length = 0
    }
    if (flow.prefixed === 0 && end - p >= PREFIX) {
      flow.compressed = b[p] === 1
      flow.length = readLength(b, p + 1)
      flow.prefixed = PREFIX
      flow.remaining = flow.length
      part.keep(b, p, p + PREFIX, limit, ctx)
      p += PREFIX
    } else if (flow.prefixed < PREFIX) {
      if (flow.prefixed === 0) flow.compressed = b[p] === 1
      else flow.length = flow.length * 256 + b[p]!
      part.keep(b, p, p + 1, limit, ctx)
      p++
      if (++flow.prefixed < PREFIX) continue
      flow.remaining = flow.length
    } else {
      const size = Math.min(flow.remaining, end - p)
      part.keep(b, p, p + size, limit, ctx)
      flow.remaining -= size
      p += size
    }
    if (flow.remaining > 0) continue
    flow.prefixed = 0
    flow.count++
    if (flow.streams) made.push(messageEvent(ctx, stream, part, flow))
  }
}

/** `length` bytes of DATA were not captured. */
export function miss(part: Part, length: number): void {
  const { flow } = part
  if (flow === null) return
  // Within a message it is known where the next one begins.
  if (flow.prefixed === PREFIX && length < flow.remaining) {
    flow.remaining -= length
    flow.damaged = true
  } else lose(part)
}

/** Frames of this direction were lost. */
export function lose({ flow }: Part): void {
  if (flow === null) return
  flow.astray = true
  flow.incomplete = true
}

function flowOf(ctx: Context, part: Part): MessageFlow {
  if (part.flow !== null) return part.flow
  const flow = newFlow(ctx.moment)
  if (part.doubtful) {
    flow.astray = true
    flow.incomplete = true
  }
  part.flow = flow
  return flow
}

/** A direction's only DATA: one message and nothing else. Then `part.flow` says so. */
export function isOneMessage(ctx: Context, part: Part, b: Uint8Array, start: number, end: number): boolean {
  if (part.flow !== null || end - start < PREFIX || b[start]! > 1) return false
  const length = readLength(b, start + 1)
  if (length !== end - start - PREFIX) return false
  const flow = flowOf(ctx, part)
  flow.count = 1
  flow.compressed = b[start] === 1
  flow.length = length
  return true
}

// ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const TIMEOUT = constant(',"timeout":')
const STATUS = constant(',"grpcStatus":')
const STATUS_NAME = constant(',"grpcStatusName":')
const MESSAGE_TEXT = constant(',"grpcMessage":')
const DETAILS = constant(',"grpcDetails":')
const COUNT = constant(',"messageCount":')
const MESSAGE = constant(',"message":')
const PATH = constant(',"path":')
const NULL = constant('null')
const DONE = constant(',"grpcStatus":0,"grpcStatusName":"OK","grpcMessage":""')

/** `service` and `rpc`, each with a comma in front. */
export function callText(path: string): Uint8Array {
  const known = CALLS.get(path)
  if (known !== undefined) return known
  const { service, rpc } = splitPath(path)
  const made = constant(`,"service":${JSON.stringify(service)},"rpc":${JSON.stringify(rpc)}`)
  if (path.length > MAX_KNOWN_PATH) return made
  if (CALLS.size === MAX_CALLS) CALLS.clear()
  CALLS.set(path, made)
  return made
}

/** A cluster has a few hundred methods; who asks for ever new and ever longer ones must not fill the memory with them. */
const MAX_CALLS = 1024
const MAX_KNOWN_PATH = 256
const CALLS = new Map<string, Uint8Array>()

export function writeRequestFields(
  ctx: Context,
  stream: Stream,
  part: Part,
  b: Uint8Array,
  start: number,
  end: number,
): void {
  const { out } = ctx
  const path = part.head?.pathField ?? null
  if (path !== null) out.raw(callText(path.value))
  if (stream.timeout !== null || part.head?.incomplete === false) {
    writeTimeout(out, stream.timeout)
  }
  writeMessages(ctx, stream, part, b, start, end)
}

/** ms, with a comma in front; null: for ever. */
export function writeTimeout(out: JsonWriter, timeout: number | null): void {
  out.raw(TIMEOUT)
  if (timeout === null) out.raw(NULL)
  else out.ascii(String(timeout))
}

export function writeResponseFields(
  ctx: Context,
  stream: Stream,
  part: Part,
  b: Uint8Array,
  start: number,
  end: number,
): void {
  const { status, message, details } = part.said
  // Where headers are missing it may be among them.
  writeStatus(ctx.out, status, message === null && !part.lacks ? '' : message, details)
  writeMessages(ctx, stream, part, b, start, end)
}

/** What headers and trailers say of the end, each with a comma in front; a `message` of null is not told. */
export function writeStatus(
  out: JsonWriter,
  status: string | null,
  message: string | null,
  details: string | null,
): void {
  if (status === '0' && message === '' && details === null) out.raw(DONE)
  else if (status !== null && /^\d{1,9}$/.test(status)) {
    out.raw(STATUS)
    out.integer(Number(status))
    out.raw(STATUS_NAME)
    out.plain(statusName(Number(status)))
    if (message !== null) {
      out.raw(MESSAGE_TEXT)
      text(out, percentDecoded(message))
    }
    if (details !== null) {
      out.raw(DETAILS)
      out.value(statusDetails(details))
    }
  }
}

/** How many, and the one where there is one. Nothing where some may have been missed. */
function writeMessages(ctx: Context, stream: Stream, part: Part, b: Uint8Array, start: number, end: number): void {
  const { out } = ctx
  const { flow } = part
  if (!part.isWhole || !part.ended || flow?.incomplete === true || flow?.prefixed) return
  out.raw(COUNT)
  out.integer(flow?.count ?? 0)
  if (flow === null || flow.count !== 1 || end - start < PREFIX + flow.length) {
    out.raw(MESSAGE)
    out.raw(NULL)
    return
  }
  const begin = out.length
  out.raw(MESSAGE)
  const from = start + PREFIX
  if (!flow.compressed && ctx.describe === null && !isJson(part) && writeProtobuf(out, b, from, from + flow.length))
    return
  const content = writeDecoded(ctx, stream, part, b.subarray(from, from + flow.length))
  // Its coding may be among the headers that are missing.
  if (content === null && part.lacks) out.length = begin
}

function isJson({ head }: Part): boolean {
  return head?.type?.includes('+json') === true
}

function messageEvent(ctx: Context, stream: Stream, part: Part, flow: MessageFlow): Message {
  const { out } = ctx
  const { content } = part
  const whole = !flow.damaged && content.length >= PREFIX + flow.length
  const bytes = content.subarray(PREFIX)
  const from = out.length
  out.ascii(`{"type":"message","direction":"${part.direction}",`)
  if (!flow.incomplete) out.ascii(`"index":${flow.count - 1},`)
  out.ascii(`"streamId":${stream.id}`)
  if (stream.path !== '') {
    out.raw(PATH)
    out.value(stream.path)
    out.raw(callText(stream.path))
  }
  out.ascii(`,"compressed":${flow.compressed}`)
  out.raw(MESSAGE)
  let plain: Uint8Array | null = null
  if (whole) plain = writeDecoded(ctx, stream, part, bytes)
  else out.raw(NULL)
  const shown = plain ?? bytes
  out.ascii(`,"content":{"size":${whole ? shown.length : flow.length},`)
  const span = ctx.keep > 0 && !flow.damaged ? writeText(out, shown, 0, shown.length, !whole) : null
  if (span === null) writeNoText(out)
  out.ascii('}}')
  const body = out.since(from)
  if (span !== null) {
    body.bodyStart = span[0]
    body.bodyEnd = span[1]
  }
  const event: Message = { kind: 'event', as: face, body, since: flow.since, size: PREFIX + flow.length }
  if (flow.damaged) event.error = { type: 'dissection', msg: 'bytes of the message are missing from the capture' }
  else if (whole && plain === null) {
    const coding = part.said.encoding ?? 'unknown'
    event.error = { type: 'dissection', msg: `compressed (${coding}): the content is as it was sent` }
  }
  return event
}

function writeDecoded(ctx: Context, stream: Stream, part: Part, bytes: Uint8Array): Uint8Array | null {
  const { describe, out } = ctx
  const { path } = stream
  const named =
    describe === null || path === '' ? null : (content: Uint8Array) => describe(path, part.direction, content)
  return writeMessage(out, bytes, part.flow!.compressed, part.said.encoding, part.head?.type ?? null, named)
}

/** google.rpc.Status in base64 without padding. */
function statusDetails(text: string): JsonValue {
  const bytes = Buffer.from(text, 'base64')
  return readProtobuf(bytes, 0, bytes.length) ?? text
}
