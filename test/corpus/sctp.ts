/** Compares user messages with what both ends wrote down: stream, protocol, length and a hash of every message. */
import type { SctpData } from '../../core/dissectors/sctp.ts'
import type { Item } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

const NUMBERS: Readonly<Record<string, number>> = { INIT: 1, INIT_ACK: 2, ABORT: 6, SHUTDOWN: 7, ERROR: 9 }

export const counters: Counters = { 'sctp.chunks': chunksOf }

export const explanations: readonly Explanation[] = [
  { path: '', count: 'sctp.chunks 3', why: 'acknowledgements of data are read, and are no items' },
  { path: '', count: 'sctp.chunks 4', why: 'heartbeats are no items' },
  { path: '', count: 'sctp.chunks 5', why: 'heartbeats are no items' },
  { path: '', count: 'sctp.chunks 8', why: 'the item of a SHUTDOWN stands for what answers it' },
  { path: '', count: 'sctp.chunks 14', why: 'the item of a SHUTDOWN stands for what answers it' },
  { path: '', count: 'sctp.chunks 10', why: 'the set-up is one item, whose answer stands for the cookies' },
  { path: '', count: 'sctp.chunks 11', why: 'the set-up is one item, whose answer stands for the cookies' },
  {
    path: 'sctp/arkime__m3ua_synthetic',
    count: 'sctp.chunks',
    why: 'most packets are there twice, and set-ups also from their end to their beginning',
  },
  { path: 'sctp/arkime__sctp-www', count: 'sctp.chunks 1', why: 'one INIT was sent three times' },
  {
    path: 'sctp/own__lossy',
    count: 'sctp.chunks 0',
    why: 'two fragments were sent again, and are counted once',
  },
]

interface Sent {
  ev: string
  stream: number
  ssn?: number
  ppid: number
  unordered: number
  len: number
  fnv1a: number
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const mine = items.filter(({ protocol }) => protocol.name === 'sctp')
  const left = mine.flatMap(({ event }) => (event?.stream === undefined ? [] : [event as SctpData]))
  for (const [events, ev, from] of [
    [truth.client, 'sent', 'client'],
    [truth.client, 'received', 'server'],
  ] as const)
    for (const sent of (events as Sent[]).filter(one => one.ev === ev)) {
      result.expected++
      const what = `${from}: stream ${sent.stream}, ppid ${sent.ppid}, ${sent.len} bytes`
      const i = left.findIndex(data => data.from === from && isEqual(data, sent))
      if (i < 0) result.missing.push({ what })
      else {
        left.splice(i, 1)
        result.equal++
      }
    }
  for (const data of left) result.wrong.push({ what: `${data.from}: ${data.tsn} was not sent`, unexpected: true })
  const setups = mine.filter(({ request, response }) => request !== null && response !== null)
  result.expected++
  if (setups.length === 1) result.equal++
  else result.missing.push({ what: `one set-up expected, ${setups.length} found` })
  return result
}

function isEqual(data: SctpData, sent: Sent): boolean {
  const bytes = Buffer.from(data.payload!, data.encoding ?? 'utf8')
  return (
    data.stream === sent.stream &&
    data.ppid === sent.ppid &&
    data.unordered === (sent.unordered === 1) &&
    data.length === sent.len &&
    (sent.ssn === undefined || data.unordered || data.ssn === sent.ssn) &&
    hashOf(bytes) === sent.fnv1a
  )
}

/** FNV-1a of 32 bits. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

function chunksOf({ protocol, request, response, event }: Item): string[] {
  if (protocol.name !== 'sctp') return []
  if (event?.stream !== undefined)
    return new Array<string>(event.fragments).fill(event.chunkType === 'I_DATA' ? '64' : '0')
  return [request, response, event].flatMap(one => {
    const number = NUMBERS[one?.chunkType]
    return number === undefined ? [] : [String(number)]
  })
}
