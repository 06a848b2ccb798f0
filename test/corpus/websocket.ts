/**
 * Compares items with what a client of WebSocket wrote down: every message that it sent and received, by its kind,
 * length and hash, the pings and pongs that reached it, and how the connection was closed.
 */
import { createHash } from 'node:crypto'
import type { WebSocketMessage } from '../../core/dissectors/ws.ts'
import type { Item } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

export const counters: Counters = {
  'websocket.frames': item => (isWebSocket(item) ? (item.event?.type ?? null) : null),
}

export const explanations: readonly Explanation[] = [
  {
    path: 'websocket/own__derived_deflate_no_context__midstream',
    count: 'websocket.frames',
    why: 'tshark reads no WebSocket whose handshake is missing',
  },
  {
    path: 'websocket/own__derived_fragments__midstream',
    count: 'websocket.frames',
    why: 'tshark reads no WebSocket whose handshake is missing',
  },
  {
    path: 'websocket/own__derived_deflate_no_context__fuzzed',
    count: 'websocket.frames close',
    why: 'behind a frame whose beginning is damaged four bytes are too few to be certain of',
  },
  {
    path: 'websocket/zeek__websocket_oversized-close-frame',
    count: 'websocket.frames',
    why: 'a close of more than 125 bytes is no frame (RFC 6455, 5.5)',
  },
  {
    path: '',
    count: 'websocket.frames continuation',
    why: 'a frame that goes on with a message belongs to the item of that message',
  },
]

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const told = items.filter(isWebSocket).map(read)
  const lost = expect === 'subset'
  for (const connection of (base ?? truth).connections) {
    const own = told.filter(({ port }) => port === String(connection.clientPort))
    for (const expected of messagesOf(connection)) judge(expected, own, lost, result)
    for (const { from, message, used } of own)
      if (!used && !isUntold(message, from))
        result.wrong.push({ what: `${from} sent ${describe(message)}, which nobody tells of`, unexpected: true })
  }
  return result
}

/** The client does not write down what it answers by itself. */
function isUntold({ opcode }: WebSocketMessage, from: Sender): boolean {
  return from === 'client' && (opcode === 'pong' || opcode === 'ping' || opcode === 'close')
}

type Sender = 'client' | 'server'

interface Told {
  from: Sender
  message: WebSocketMessage
  port: string
  isWhole: boolean
  used: boolean
}

interface Expected {
  from: Sender
  opcode: string
  is: (message: WebSocketMessage) => boolean
}

function isWebSocket(item: Item): boolean {
  return item.protocol.name === 'ws'
}

function read(item: Item): Told {
  const { request, response, src, error } = item
  const message = (request ?? response) as WebSocketMessage
  return { from: request === null ? 'server' : 'client', message, port: src.port, isWhole: error === null, used: false }
}

// biome-ignore lint/suspicious/noExplicitAny: see above.
function messagesOf(connection: any): Expected[] {
  const { sent, received, pings, pongs, close } = connection
  return [
    ...joined(sent).map(message => data('client', message)),
    ...received.map((message: Written) => data('server', message)),
    ...pings.map((text: string) => ({ from: 'server', opcode: 'ping', is: hasText(text) })),
    ...pongs.map((text: string) => ({ from: 'server', opcode: 'pong', is: hasText(text) })),
    { from: 'server', opcode: 'close', is: ({ code, reason }) => code === close.code && reason === close.reason },
  ]
}

interface Written {
  type: string
  len: number
  sha256: string
  text?: string
  fin?: boolean
  fragment?: boolean
}

interface Whole {
  type: string
  len: number
  sha256: string | null
  text: string | null
}

/** A message that was sent in parts is one; the parts of a text are told, of bytes only their hashes. */
function joined(sent: Written[]): Whole[] {
  const found: Whole[] = []
  let open: Whole | null = null
  for (const { type, len, sha256, text = null, fin } of sent) {
    if (open === null) {
      open = { type, len, sha256, text }
      found.push(open)
    } else {
      open.len += len
      open.text = open.text === null || text === null ? null : open.text + text
      open.sha256 = open.text === null ? null : createHash('sha256').update(open.text).digest('hex')
    }
    if (fin !== false) open = null
  }
  return found
}

function data(from: Sender, { type, len, sha256 }: Whole | Written): Expected {
  return {
    from,
    opcode: type,
    is: ({ payload, encoding, payloadLength }) =>
      payloadLength === len && (sha256 === null || sha256 === hashOf(payload!, encoding)),
  }
}

function hashOf(payload: string, encoding: string | undefined): string {
  const bytes = Buffer.from(payload, encoding === undefined ? 'utf8' : 'base64')
  return createHash('sha256').update(bytes).digest('hex')
}

function hasText(text: string): (message: WebSocketMessage) => boolean {
  return ({ payload }) => payload === text
}

function judge({ from, opcode, is }: Expected, own: Told[], lost: boolean, result: Comparison): void {
  result.expected++
  const candidates = own.filter(
    told => !told.used && told.isWhole && told.from === from && told.message.opcode === opcode,
  )
  const right = candidates.find(({ message }) => is(message))
  if (right !== undefined) {
    right.used = true
    result.equal++
  } else {
    const what = `${opcode} from the ${from}`
    result.missing.push(lost ? { what, why: 'packets missing from the capture' } : { what })
  }
}

function describe({ opcode, payload, payloadLength }: WebSocketMessage): string {
  return `${opcode} of ${payloadLength} bytes: ${String(payload).slice(0, 80)}`
}
