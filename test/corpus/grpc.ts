/**
 * gRPC items against what clients of grpc-js wrote down: the path of each call, length and hash of each message in both
 * directions, its status, and metadata. Calls that stream come as events, one a message, and a pair at their end.
 */

import { decode } from '../../core/dissectors/http/body.ts'
import type { Item, Json } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import { bytesOf, sha256 } from './http2.ts'
import type { Counters } from './oracle.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
type Truth = any

const LOST = 'messages behind a gap: tshark needs the bytes in between'

export const explanations: readonly Explanation[] = [
  { path: 'grpc/own__derived_unary__ipfrag_lost', count: '', why: LOST },
  { path: 'grpc/own__derived_unary__lost_in_capture', count: '', why: LOST },
  {
    path: 'grpc/own__derived_unary__midstream',
    count: 'grpc.messages',
    why: 'the content type was sent before the capture began: tshark knows gRPC by that alone',
  },
  {
    path: 'http2/deepflow__http_http2-multi',
    count: 'grpc.messages',
    why: 'the content type was sent before the capture began: tshark knows gRPC by that alone',
  },
  {
    path: 'grpc/deepflow__http_grpc-segmented',
    count: 'grpc.messages',
    why: 'the capture ends within the message: tshark counts what there is of it',
  },
  {
    path: 'grpc/own__derived_unary__resegmented',
    count: '',
    why: 'a preface in segments of a few bytes: tshark does not know the connection for HTTP/2',
  },
]

export const counters: Counters = {
  'grpc.messages': item => {
    if (item.protocol.macro !== 'grpc') return 0
    const alone = [item.request, item.response].filter(half => half?.messageCount === 1).length
    return alone + (item.event?.type === 'message' ? 1 : 0)
  },
}

export function compare(truth: Truth, items: Item[], { base, expect }: Circumstances): Comparison {
  const told = base ?? truth
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const calls = readCalls(items)
  const expected: Truth[] = (told.calls ?? []).filter(wasSent)
  const unused = new Set(calls)
  for (const call of expect === 'twice' ? [...expected, ...expected] : expected) {
    result.expected++
    const what = `${call.method} ${JSON.stringify(call.request ?? call.type ?? {}).slice(0, 60)}`
    const candidates = [...unused].filter(found => isMeant(found, call))
    const differs = (one: Call) => differences(one, base === null ? call : { ...call, ms: undefined })
    const found = candidates.find(one => differs(one).length === 0) ?? candidates[0]
    const different = found === undefined ? [] : differs(found)
    if (found !== undefined) unused.delete(found)
    const excused = expect === 'subset' && (found === undefined || found.item.error !== null || isHalf(found.item))
    if (found !== undefined && different.length === 0) result.equal++
    else if (excused) result.missing.push({ what, why: 'packets are missing from the capture' })
    else if (found === undefined) result.missing.push({ what })
    else result.wrong.push({ what: `${what}: ${different.join('; ')}` })
  }
  // Where packets are missing, halves cannot be told apart from others.
  for (const { item } of unused)
    if (expect !== 'subset' || !isHalf(item))
      result.wrong.push({ what: `nobody called this: ${item.request?.path} (${item.id})`, unexpected: true })
  for (const { item } of calls)
    if (item.request !== null && item.response !== null && item.request.streamId !== item.response.streamId)
      result.wrong.push({ what: `stream ${item.request.streamId} is paired with ${item.response.streamId}` })
  return result
}

function isHalf({ request, response }: Item): boolean {
  return request === null || response === null
}

/** One that found nobody to talk to is not in the capture. */
function wasSent({ details }: Truth): boolean {
  return !/^No connection established/.test(details)
}

interface Call {
  item: Item
  sent: string[]
  received: string[]
}

/** Items of gRPC, each with the hashes of its messages. */
function readCalls(items: Item[]): Call[] {
  const events = items.filter(item => item.event?.type === 'message' && item.protocol.macro === 'grpc')
  return items
    .filter(item => item.protocol.macro === 'grpc' && item.event === null)
    .map(item => {
      const stream = item.request?.streamId ?? item.response?.streamId
      const streamed = (direction: string) =>
        events
          .filter(
            ({ stream: connection, event }) =>
              connection === item.stream && event!.streamId === stream && event!.direction === direction,
          )
          .map(({ event }) => sha256(bytesOf(event!.content)))
      return {
        item,
        sent: messages(item.request, item.request?.postData, streamed('request')),
        received: messages(item.response, item.response?.content, streamed('response')),
      }
    })
}

function messages(half: Json | null, body: Json | null | undefined, streamed: string[]): string[] {
  if (half === null || streamed.length > 0 || half.messageCount === 0) return streamed
  const bytes = bytesOf(body ?? null)
  if (bytes.length < 5) return []
  const message = bytes.subarray(5, 5 + bytes.readUInt32BE(1))
  const plain = bytes[0] === 1 ? decode(message, [half.headers['grpc-encoding']]) : message
  return plain === null ? [] : [sha256(plain)]
}

function isMeant({ item, sent }: Call, call: Truth): boolean {
  if (item.request?.path !== undefined && item.request.path !== call.method) return false
  return sent.length === 0 || call.sent === undefined || sent[0] === call.sent[0]?.sha256
}

const CANCELLED = 1
const DEADLINE_EXCEEDED = 4

function differences({ item, sent, received }: Call, call: Truth): string[] {
  const found: string[] = []
  const differ = (what: string, was: unknown, is: unknown) => {
    if (was !== is) found.push(`${what} ${JSON.stringify(was)} expected, ${JSON.stringify(is)} found`)
  }
  const { request, response } = item
  // What a late listener does not know is not there, and said to be missing.
  const known = request?.incompleteHeaders !== true
  if (request === null) found.push('no request')
  else if (known || request.path !== undefined) differ('path', call.method, request.path)
  if (call.sent !== undefined) differ('messages sent', hashes(call.sent), sent.join())
  if (call.received !== undefined) differ('messages received', hashes(call.received), received.join())
  for (const [name, value] of Object.entries(call.metadata ?? {}))
    if (known) differ(name, metadata(value), first(request?.headers?.[name]))
  if (call.status === CANCELLED || call.status === DEADLINE_EXCEEDED) {
    differ('reset', true, /reset by the client: CANCEL/.test(item.error?.msg ?? ''))
    differ('deadline', call.status === DEADLINE_EXCEEDED, /^DEADLINE_EXCEEDED/.test(item.error?.msg ?? ''))
    return found
  }
  differ('error', null, item.error?.msg ?? null)
  if (response === null) return [...found, 'no response']
  const whole = response.incompleteHeaders !== true && response.grpcStatus !== undefined
  if (whole || response.grpcStatus !== undefined) differ('status', call.status, response.grpcStatus)
  if (whole) differ('details', call.details, response.grpcMessage)
  for (const [name, value] of Object.entries(call.initialMetadata ?? {}))
    if (whole) differ(name, metadata(value), response.headers[name])
  for (const [name, value] of Object.entries(call.trailers ?? {}))
    if (whole) differ(name, metadata(value), response.trailers?.[name] ?? response.headers[name])
  if (call.ms !== undefined && (item.elapsedTime === null || item.elapsedTime > call.ms + CLOCKS_DIFFER))
    found.push(`at most ${call.ms} ms expected, ${item.elapsedTime} found`)
  return found
}

/** ms: timers of the program and of the capture are not read at the same moment. */
const CLOCKS_DIFFER = 2

function hashes(list: { sha256: string }[]): string {
  return list.map(({ sha256 }) => sha256).join()
}

/** Of several values of one name grpc-js shows the first. */
function first(value: string | undefined): string | undefined {
  return value?.split(',', 1)[0]
}

/** Binary metadata is base64 on the wire. */
function metadata(value: Truth): string {
  return value?.type === 'Buffer' ? Buffer.from(value.data).toString('base64') : String(value)
}
