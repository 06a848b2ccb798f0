/**
 * JetStream within NATS: requests to its API and the reply subjects of what it delivers.
 * https://github.com/nats-io/nats-architecture-and-design, ADR-15 and ADR-37
 *
 *   $JS.API.<operation>[.<stream>[.<consumer>]]                     $JS.<domain>.API.…
 *   $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<ns since 1970>.<pending>
 *   $JS.ACK.<domain>.<account>.<stream>.<consumer>.<the same five>[.<token>]
 */
import type { Json, JsonValue } from '../../item.ts'

/** A request to the API, or its answer. */
export interface ApiCall extends Json {
  /** `STREAM.CREATE`; what is not known is all that follows `API.`. */
  api: string
  stream: string | null
  consumer: string | null
  /** The payload, where it is JSON. */
  body: JsonValue
}

/** What the reply subject of a delivered message tells. */
export interface Delivery extends Json {
  stream: string
  consumer: string
  /** How often it was delivered; the first time 1. */
  deliveries: number
  streamSequence: number | string
  consumerSequence: number | string
  /** When the stream took it in, ns since 1970: beyond 2^53, a decimal string. */
  timestamp: number | string
  /** Messages that wait behind it. */
  pending: number | string
}

/** Operations of more than two words; the others have two, but for INFO. */
const LONG_NAMES = [
  'CONSUMER.DURABLE.CREATE',
  'CONSUMER.LEADER.STEPDOWN',
  'CONSUMER.MSG.NEXT',
  'META.LEADER.STEPDOWN',
  'SERVER.REMOVE',
  'STREAM.LEADER.STEPDOWN',
  'STREAM.MSG.DELETE',
  'STREAM.MSG.GET',
  'STREAM.PEER.REMOVE',
  'STREAM.TEMPLATE.CREATE',
  'STREAM.TEMPLATE.DELETE',
  'STREAM.TEMPLATE.INFO',
  'STREAM.TEMPLATE.NAMES',
]
const SUBJECT = /^\$JS\.(?:[^.]+\.)?API\.(.+)$/

/** null: not for the API. */
export function apiCall(subject: string): ApiCall | null {
  if (!subject.startsWith('$JS.')) return null
  const operation = SUBJECT.exec(subject)?.[1]
  if (operation === undefined) return null
  const words = operation.split('.')
  const api = LONG_NAMES.find(name => isPrefix(name, operation)) ?? words.slice(0, 2).join('.')
  const rest = words.slice(api.split('.').length)
  return { api, stream: rest[0] ?? null, consumer: api.startsWith('CONSUMER.') ? (rest[1] ?? null) : null, body: null }
}

function isPrefix(name: string, operation: string): boolean {
  return operation === name || (operation.startsWith(name) && operation[name.length] === '.')
}

/** Its messages come under subjects of their own, a number of them that the request only bounds. */
export function isPull(call: ApiCall | null): boolean {
  return call?.api === 'CONSUMER.MSG.NEXT'
}

const WORDS = 9
const WORDS_WITH_DOMAIN = [11, 12]

/** null: not the reply subject of a delivered message. */
export function delivery(subject: string | null): Delivery | null {
  if (subject?.startsWith('$JS.ACK.') !== true) return null
  const words = subject.split('.')
  if (words.length !== WORDS && !WORDS_WITH_DOMAIN.includes(words.length)) return null
  const [stream, consumer, ...numbers] = words.slice(words.length === WORDS ? 2 : 4)
  const values = numbers.slice(0, 5)
  if (!values.every(word => /^\d{1,20}$/.test(word))) return null
  const [deliveries, streamSequence, consumerSequence, timestamp, pending] = values.map(exactly)
  return {
    stream: stream!,
    consumer: consumer!,
    deliveries: Number(deliveries),
    streamSequence: streamSequence!,
    consumerSequence: consumerSequence!,
    timestamp: timestamp!,
    pending: pending!,
  }
}

function exactly(digits: string): number | string {
  const value = Number(digits)
  return Number.isSafeInteger(value) ? value : digits
}

/** Longer texts stay texts. */
const MAX_JSON = 65_536
/** JSON.stringify calls itself for each level: thousands of brackets from a stranger would exhaust the stack. */
const MAX_LEVELS = 64

/** An object or an array; null for what is neither, or too large. */
export function parseJson(text: string): JsonValue {
  if (text.length > MAX_JSON || !/^\s*[{[]/.test(text) || levels(text) > MAX_LEVELS) return null
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function levels(text: string): number {
  let depth = 0
  let most = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 92) i++
      else if (code === 34) inString = false
    } else if (code === 34) inString = true
    else if (code === 91 || code === 123) most = Math.max(most, ++depth)
    else if (code === 93 || code === 125) depth--
  }
  return most
}
