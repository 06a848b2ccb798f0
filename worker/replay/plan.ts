/** What a capture holds that can be said again: for each connection what the client sent, when, and what it had heard. */
import { formatAddress } from '../../core/address.ts'
import type { Connection } from '../../core/connections.ts'
import { Fault } from '../../core/fault.ts'
import { Pipeline } from '../../core/pipeline.ts'
import type { Protocols } from '../../core/registry.ts'
import { parseStreamName } from '../../core/stream-name.ts'
import { KEPT_BODY, WORKER } from '../own-items.ts'
import { type Feed, readItemId } from './feed.ts'
import { type End, type Exchange, itemOf, type Piece, type Tape, Tapes } from './tape.ts'

/** Which streams; what is null does not choose. */
export interface Selection {
  /** Names, as in an item's `stream`. */
  streams: readonly string[] | null
  /** Id of the one item whose request is to be sent. */
  item: string | null
  /** Where the streams went; an address or a port alone may be null. */
  servers: readonly { ip: string | null; port: number | null }[] | null
  /** As `Stream.protocol` says. */
  protocols: readonly string[] | null
}

/** Why a stream is not replayed. */
export type Refusal =
  | 'encrypted: the same bytes mean nothing to another server'
  | 'its beginning is missing'
  | 'bytes of the client are missing'
  | 'datagrams were cut by the capture'
  | 'the server spoke first: nobody asked it'
  | 'sent to a group, not to a server'

/** What the client sends at once. */
export interface Send extends Piece {
  /** ms since the first packet of the capture. */
  at: number
  /** ms from what was said before until the latest that was heard. */
  took: number
  /** So many exchanges had been answered. */
  answered: number
  /** And a part of what followed had been received: an interim answer, or the beginning of the next one. */
  more: boolean
}

/** How answers are compared: by what a dissector reads in them, or byte by byte. */
export type Comparing = 'http' | 'redis' | 'dns' | 'bytes'
export const READ: readonly Comparing[] = ['http', 'redis', 'dns']

export interface Stream {
  name: string
  transport: 'tcp' | 'udp'
  client: End
  server: End
  /** `http`, `redis`, …; `tcp` or `udp` where nobody knows it. */
  protocol: string
  comparing: Comparing
  /** ms since the first packet of the capture. */
  began: number
  ended: number
  sends: Send[]
  /** In order of their requests. Empty where bytes are compared. */
  exchanges: Exchange[]
  /** From here on another protocol was spoken (WebSocket): places in what the client and the server sent. */
  tail: { client: number; server: number } | null
  /** What the server sent, where bytes are compared; `start` counts as in `tail`. */
  answers: Piece[]
  /** Bytes or datagrams of the server in all. */
  answersLength: number
  /** Place of the first byte of the server that the capture lacks. */
  answersGap: number | null
  /** Something of it is not of its protocol in the capture either. */
  isMalformed: boolean
  /** How the client ended it; null: the capture does not tell. */
  close: Close | null
  /** ms from what was said last until the last answer. */
  took: number
  /** Requests that are not sent, because bytes of the client are missing from there on. */
  cut: number
}

export interface Close extends Pick<Send, 'at' | 'heard' | 'took' | 'answered'> {
  how: 'end' | 'reset'
}

export interface Plan {
  /** In order of time. */
  streams: Stream[]
  refused: { name: string; protocol: string; server: End; why: Refusal }[]
}

/** Bytes that are kept of a capture: what is to be sent, and the answers to compare with. */
const MAX_KEPT = 512 << 20

export async function readPlan(feed: Feed, protocols: Protocols, selection: Selection): Promise<Plan> {
  const wanted = selection.item === null ? null : readItemId(selection.item)
  for (const name of wanted === null ? (selection.streams ?? []) : [wanted.stream]) checkTransport(name)
  const heard: Tape[] = []
  const tapes = new Tapes({
    worker: WORKER,
    wants: c => isSelected(c, selection, wanted?.stream ?? null),
    protocols: READ,
    most: MAX_KEPT,
    keeps: tape => isWorthKeeping(tape, selection),
    opened: tape => heard.push(tape),
    exchanged: () => {},
  })
  const settings = { protocols, worker: WORKER, node: null, keepBodies: KEPT_BODY, witness: tapes }
  const pipeline = new Pipeline(settings, batch => tapes.take(batch))
  let first: number | null = null
  await feed(packet => {
    first ??= packet.seconds * 1e3 + packet.nanoseconds / 1e6
    pipeline.packet(packet)
  })
  pipeline.finish()
  return planOf(heard, first ?? 0, selection)
}

function checkTransport(stream: string): void {
  const { transport = 'tcp' } = parseStreamName(stream) ?? {}
  if (transport !== 'tcp' && transport !== 'udp')
    throw new Fault(
      'TRANSPORT_NOT_REPLAYED',
      `what is replayed is what clients said over TCP and UDP, and ${stream} is of ${TITLES[transport]}`,
    )
}

const TITLES = { icmp: 'ICMP', icmpv6: 'ICMPv6', sctp: 'SCTP' } as const

function isSelected(c: Connection, { streams, servers }: Selection, stream: string | null): boolean {
  if (c.transport !== 'tcp' && c.transport !== 'udp') return false
  if (stream !== null) return c.stream === stream
  if (streams !== null && !streams.includes(c.stream)) return false
  // Which end is the server is not certain yet.
  const ends = [
    { ip: formatAddress(c.words, 0), port: c.port },
    { ip: formatAddress(c.words, 4), port: c.otherPort },
  ]
  return servers === null || ends.some(end => isAmong(servers, end))
}

/** As far as it is known by now. */
function isWorthKeeping(tape: Tape, { item, protocols }: Selection): boolean {
  if (tape.isEncrypted || (tape.isMidstream && item === null)) return false
  const { firstProtocol } = tape
  return protocols === null || firstProtocol === null || protocols.includes(firstProtocol)
}

function isAmong(servers: NonNullable<Selection['servers']>, end: End): boolean {
  return servers.some(({ ip, port }) => (ip === null || ip === end.ip) && (port === null || port === end.port))
}

function planOf(tapes: readonly Tape[], first: number, selection: Selection): Plan {
  if (selection.item !== null && tapes.length === 0)
    throw new Fault('STREAM_NOT_FOUND', `there is no stream ${readItemId(selection.item).stream} in the capture`)
  const plan: Plan = { streams: [], refused: [] }
  for (const tape of tapes) {
    const { name, serverEnd: server } = tape
    const protocol = protocolOf(tape)
    if (selection.servers !== null && !isAmong(selection.servers, server)) continue
    if (selection.protocols !== null && !selection.protocols.includes(protocol)) continue
    const stream = selection.item === null ? streamOf(tape, first) : requestAlone(tape, selection.item)
    if (typeof stream === 'string') plan.refused.push({ name, protocol, server, why: stream })
    else plan.streams.push(stream)
  }
  plan.streams.sort((a, b) => a.began - b.began)
  return plan
}

/** What the stream is known as: the first protocol that was spoken. */
function protocolOf(tape: Tape): string {
  return tape.firstProtocol ?? tape.transport
}

function streamOf(tape: Tape, first: number): Stream | Refusal {
  const { client, server } = tape
  const refusal = refusalOf(tape)
  if (refusal !== null) return refusal
  const comparing = comparingOf(tape)
  const all = exchangesOf(tape, comparing)
  let end = client.length
  if (client.gap !== null) {
    end = 0
    for (const one of all) if (one.end <= client.gap) end = Math.max(end, one.end)
    if (end === 0) return 'bytes of the client are missing'
  }
  const exchanges = all.filter(one => one.end <= end)
  const last = exchanges.at(-1)
  const switched = tape.hasSwitched && last !== undefined && last.answerEnd !== null
  const tail = switched ? { client: last.end, server: last.answerEnd! } : null
  const from = tail === null ? Number.POSITIVE_INFINITY : tail.server
  const answers = server.pieces.filter(piece => comparing === 'bytes' || piece.start + piece.bytes.length > from)
  return {
    ...described(tape, comparing),
    began: tape.began - first,
    ended: tape.ended - first,
    sends: sendsOf(tape, end, exchanges, first),
    exchanges,
    tail,
    answers,
    answersLength: server.length,
    answersGap: server.gap,
    isMalformed: tape.isMalformed,
    close: end < client.length ? null : closeOf(tape, exchanges, first),
    took: between(client.lastAt, server.lastAt),
    cut: all.length - exchanges.length,
  }
}

function refusalOf(tape: Tape): Refusal | null {
  const { client, server } = tape
  if (tape.isEncrypted) return 'encrypted: the same bytes mean nothing to another server'
  if (tape.transport === 'tcp') {
    if (tape.isMidstream) return 'its beginning is missing'
    return client.gap !== null && comparingOf(tape) === 'bytes' ? 'bytes of the client are missing' : null
  }
  if (isGroup(tape.serverEnd.ip) || isGroup(tape.clientEnd.ip)) return 'sent to a group, not to a server'
  if (client !== tape.forth) return 'the server spoke first: nobody asked it'
  return client.gap !== null || server.gap !== null ? 'datagrams were cut by the capture' : null
}

/** Multicast and broadcast. */
function isGroup(ip: string): boolean {
  return /^(22[4-9]|23\d)\./.test(ip) || ip.startsWith('ff') || ip.endsWith('.255')
}

function described(tape: Tape, comparing: Comparing) {
  const { name, transport, clientEnd: client, serverEnd: server } = tape
  return { name, transport, client, server, protocol: protocolOf(tape), comparing }
}

function comparingOf(tape: Tape): Comparing {
  return READ.find(one => one === protocolOf(tape)) ?? 'bytes'
}

function exchangesOf(tape: Tape, comparing: Comparing): Exchange[] {
  return tape.exchanges.filter(({ protocol }) => protocol === comparing).sort((a, b) => a.start - b.start)
}

/** What the client sent up to a place. */
function sendsOf({ client, transport }: Tape, end: number, exchanges: readonly Exchange[], first: number): Send[] {
  const answers = new Answers(exchanges)
  const sends: Send[] = []
  let before: number | null = null
  for (const piece of client.pieces) {
    if (piece.start >= end) break
    const bytes = transport === 'udp' ? piece.bytes : piece.bytes.subarray(0, end - piece.start)
    const took = between(before, piece.heardAt)
    sends.push({ ...piece, bytes, at: piece.at - first, took, ...answers.at(piece.start, piece.heard) })
    before = piece.at
  }
  return sends
}

/** ms that an answer took; 0 where there was none. */
function between(said: number | null, heard: number | null): number {
  return said === null || heard === null ? 0 : Math.max(0, heard - said)
}

/** Of exchanges that were answered, where their requests and their answers end, each in order. */
class Answers {
  private readonly requestEnds: readonly number[]
  private readonly answerEnds: readonly number[]

  constructor(exchanges: readonly Exchange[]) {
    const answered = exchanges.filter(({ answerEnd }) => answerEnd !== null)
    this.requestEnds = answered.map(({ end }) => end).sort((a, b) => a - b)
    this.answerEnds = answered.map(({ answerEnd }) => answerEnd!).sort((a, b) => a - b)
  }

  /** What a client had of them who had said so much and heard so much. An answer may come before its request is whole. */
  at(said: number, heard: number): { answered: number; more: boolean } {
    const answered = Math.min(countUpTo(this.requestEnds, said), countUpTo(this.answerEnds, heard))
    return { answered, more: heard > (this.answerEnds[answered - 1] ?? 0) }
  }
}

/** How many of these numbers, which are in order, are not greater. */
function countUpTo(numbers: readonly number[], most: number): number {
  let [low, high] = [0, numbers.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (numbers[middle]! <= most) low = middle + 1
    else high = middle
  }
  return low
}

function closeOf(tape: Tape, exchanges: readonly Exchange[], first: number): Stream['close'] {
  const { client, server, ending, resetBy, ended } = tape
  const answers = new Answers(exchanges)
  const { closed } = client
  if (closed !== null) {
    const { at, heard, heardAt } = closed
    const took = between(client.lastAt, heardAt)
    return { how: 'end', at: at - first, heard, took, answered: answers.at(client.length, heard).answered }
  }
  if (ending !== 'reset' || resetBy !== 'client') return null
  const { answered } = answers.at(client.length, server.length)
  const took = between(client.lastAt, server.lastAt)
  return { how: 'reset', at: ended - first, heard: server.length, took, answered }
}

/** A request without what its connection said before and after. */
function requestAlone(tape: Tape, id: string): Stream | Refusal {
  const comparing = comparingOf(tape)
  const { index } = readItemId(id)
  const found = exchangesOf(tape, comparing).find(one => one.id === `${WORKER}/${tape.name}-${index}`)
  if (found === undefined)
    throw new Fault(
      'ITEM_NOT_FOUND',
      `there is no request of HTTP/1, Redis or DNS with the id "${id}" in stream ${tape.name}, which speaks ${protocolOf(tape)}: of other protocols --stream replays all that was said`,
    )
  const { start, end } = found
  const bytes = bytesBetween(tape.client.pieces, start, end, tape.transport)
  if (bytes === null) return 'bytes of the client are missing'
  const took = itemOf(found).elapsedTime ?? 0
  return {
    ...described(tape, comparing),
    began: 0,
    ended: took,
    sends: [{ start, bytes, at: 0, heard: 0, heardAt: null, took: 0, answered: 0, more: false }],
    exchanges: [found],
    tail: null,
    answers: [],
    answersLength: 0,
    answersGap: null,
    isMalformed: tape.isMalformed,
    close: null,
    took,
    cut: 0,
  }
}

function bytesBetween(
  pieces: readonly Piece[],
  start: number,
  end: number,
  transport: 'tcp' | 'udp',
): Uint8Array | null {
  if (transport === 'udp') return pieces.find(piece => piece.start === start)?.bytes ?? null
  const parts = pieces
    .filter(piece => piece.start < end && piece.start + piece.bytes.length > start)
    .map(piece => piece.bytes.subarray(Math.max(0, start - piece.start), end - piece.start))
  const bytes = Buffer.concat(parts)
  return bytes.length === end - start ? bytes : null
}
