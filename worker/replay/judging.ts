/** What came of each request of a stream, or of the stream where bytes are compared: each is told of once. */
import type { Item, Json } from '../../core/item.ts'
import { COMPARISONS, compareBytes, compareDatagrams, type Difference } from './comparison.ts'
import type { Over } from './line.ts'
import type { Stream } from './plan.ts'
import { type Exchange, itemOf } from './tape.ts'

export type Verdict =
  | { kind: 'equal' }
  | { kind: 'different'; differences: Difference[] }
  /** An answer was recorded, and none came. */
  | { kind: 'missing'; why: Silence }
  | { kind: 'not compared'; why: 'no answer was recorded' | 'the recorded answer is not whole' }
  | { kind: 'not sent'; why: Silence }

export type Silence = Over | 'no answer within the timeout' | 'the answer is not of this protocol'

export interface Played {
  stream: Stream
  /** The recorded request with its answer; null: the whole stream, where bytes are compared. */
  recorded: Item | null
  verdict: Verdict
  /** The same, as it is answered now; null without an answer. */
  replayed: Item | null
}

/** Bytes and datagrams beyond the recorded ones that are kept to be told of: a target may send without end. */
const MORE_BYTES = 1 << 20
const MORE_DATAGRAMS = 16

export class Judge {
  /** Requests that were answered then, and have no answer yet. */
  awaited = 0
  /** Those that have one, or will have none. */
  settled = 0
  /** Place behind the last of these answers in what the target said on the present connection. */
  settledTo = 0
  /** The last answer of HTTP said that the connection ends with it. */
  isEnding = false
  /** Place in what the target said where the protocol that is read ended, 0 where none is read; null: it has not ended. */
  tailStart: number | null
  private readonly stream: Stream
  private readonly ignored: ReadonlySet<string>
  private readonly tell: (played: Played) => void
  /** By the place of the request; several where it has several answers (a zone transfer). */
  private readonly open = new Map<number, Exchange[]>()
  /** What the target said, where bytes are compared. */
  private readonly answers: Uint8Array[] = []
  private kept = 0

  constructor(stream: Stream, ignored: ReadonlySet<string>, tell: (played: Played) => void) {
    this.stream = stream
    this.ignored = ignored
    this.tell = tell
    this.tailStart = stream.tail === null ? 0 : null
    for (const exchange of stream.exchanges) {
      const others = this.open.get(exchange.start)
      if (others === undefined) this.open.set(exchange.start, [exchange])
      else others.push(exchange)
      if (exchange.answerEnd !== null) this.awaited++
    }
  }

  /** A request that has no answer yet begins at this place. */
  isRequest(place: number): boolean {
    return this.open.has(place)
  }

  /** Bytes or a datagram of the target. */
  receive(bytes: Uint8Array): void {
    const { stream, answers } = this
    if (stream.comparing !== 'bytes' && stream.tail === null) return
    if (stream.transport === 'udp') {
      if (answers.length < stream.answersLength + MORE_DATAGRAMS) answers.push(bytes)
      return
    }
    if (this.kept >= stream.answersLength + MORE_BYTES) return
    answers.push(bytes)
    this.kept += bytes.length
  }

  /** Another connection goes on where this one ended. */
  restart(): void {
    this.isEnding = false
    this.settledTo = 0
  }

  /** What was read of the target's answers; `base` is the place of the client where its connection began. */
  take(exchange: Exchange, base: number): void {
    const { stream } = this
    if (exchange.protocol !== stream.comparing || exchange.answerEnd === null) return
    const recorded = this.answer(exchange.start + base)
    if (recorded === null) return
    if (recorded.answerEnd !== null) this.settledTo = Math.max(this.settledTo, exchange.answerEnd)
    const [before, after] = [itemOf(recorded), itemOf(exchange)]
    // Where such an answer was recorded, the client knew better, for it went on.
    if (stream.comparing === 'http')
      this.isEnding = endsConnection(after.response!) && !(before.response !== null && endsConnection(before.response))
    if (recorded.end === stream.tail?.client) this.tailStart = exchange.answerEnd
    this.tell({ stream, recorded: before, verdict: this.verdictOf(before, after), replayed: after })
  }

  /** Those that were sent up to this place will have no answer. */
  abandon(sentTo: number, why: Silence): void {
    for (const recorded of this.sent(sentTo)) {
      this.answer(recorded.start)
      const verdict: Verdict = recorded.answerEnd === null ? UNANSWERED : { kind: 'missing', why }
      this.tell({ stream: this.stream, recorded: itemOf(recorded), verdict, replayed: null })
    }
  }

  /** Nothing is said any more. */
  settle(isAllSent: boolean, why: Silence): void {
    const { stream } = this
    for (const exchange of [...this.open.values()].flat())
      this.tell({ stream, recorded: itemOf(exchange), verdict: { kind: 'not sent', why }, replayed: null })
    this.open.clear()
    if (stream.comparing !== 'bytes' && stream.tail === null) return
    const verdict = isAllSent && this.tailStart !== null ? this.verdictOfBytes(why) : { kind: 'not sent' as const, why }
    this.tell({ stream, recorded: null, verdict, replayed: null })
  }

  /** In the order of their places. */
  private sent(sentTo: number): Exchange[] {
    const found: Exchange[] = []
    for (const exchanges of this.open.values()) {
      if (exchanges[0]!.start >= sentTo) break
      found.push(...exchanges.filter(({ end }) => end <= sentTo))
    }
    return found
  }

  private answer(start: number): Exchange | null {
    const [first, ...others] = this.open.get(start) ?? []
    if (others.length > 0) this.open.set(start, others)
    else this.open.delete(start)
    if (first === undefined) return null
    if (first.answerEnd !== null) {
      this.awaited--
      this.settled++
    }
    return first
  }

  private verdictOf(before: Item, after: Item): Verdict {
    const { comparing } = this.stream
    if (before.response === null) return UNANSWERED
    if (before.error !== null || comparing === 'bytes') return IN_PART
    const differences = COMPARISONS[comparing].compare(before.request!, before.response, after.response!, this.ignored)
    if (after.error !== null) differences.unshift({ what: 'end', recorded: null, replayed: after.error.msg })
    return differences.length === 0 ? { kind: 'equal' } : { kind: 'different', differences }
  }

  private verdictOfBytes(why: Silence): Verdict {
    const { transport, tail, answers, answersGap } = this.stream
    if (transport === 'udp') {
      const recorded = answers.map(({ bytes }) => bytes)
      return this.judged(recorded.length, this.answers.length, compareDatagrams(recorded, this.answers), why)
    }
    const from = tail?.server ?? 0
    const end = answersGap ?? Number.POSITIVE_INFINITY
    const parts = answers.map(({ start, bytes }) => bytes.subarray(Math.max(0, from - start), Math.max(0, end - start)))
    const recorded = Buffer.concat(parts)
    let replayed = Buffer.concat(this.answers).subarray(this.tailStart ?? 0)
    // Behind a gap nobody knows what was said.
    if (answersGap !== null) replayed = replayed.subarray(0, recorded.length)
    return this.judged(recorded.length, replayed.length, compareBytes(recorded, replayed), why)
  }

  private judged(recorded: number, replayed: number, differences: Difference[], why: Silence): Verdict {
    if (recorded === 0 && replayed === 0) return this.stream.answersGap === null ? UNANSWERED : IN_PART
    if (replayed === 0) return { kind: 'missing', why }
    return differences.length === 0 ? { kind: 'equal' } : { kind: 'different', differences }
  }
}

const UNANSWERED: Verdict = { kind: 'not compared', why: 'no answer was recorded' }
const IN_PART: Verdict = { kind: 'not compared', why: 'the recorded answer is not whole' }

/** RFC 9112, 9.3. */
function endsConnection({ httpVersion, headers }: Json): boolean {
  const found = Object.entries(headers as Json).find(([name]) => name.toLowerCase() === 'connection')
  const words = String(found?.[1] ?? '').toLowerCase()
  return words.includes('close') || (httpVersion === 'HTTP/1.0' && !words.includes('keep-alive'))
}
