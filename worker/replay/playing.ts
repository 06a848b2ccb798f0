/**
 * Says one recorded stream to the target, as its client did: each piece when its time has come and the client had heard
 * then what it has heard now. Tells of each answer how it compares.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Interpretation, Interpreter } from './interpreter.ts'
import { Judge, type Played, type Silence } from './judging.ts'
import { type Ear, type Line, openTcp, openUdp, type Target } from './line.ts'
import type { Send, Stream } from './plan.ts'

export interface StreamEnd {
  /** Why it ended before everything was said; null: it did not. */
  over: Silence | null
  /** Nobody is there, or answers, where somebody had. */
  isSilent: boolean
  /** The target closed connections that were recorded as staying open, and another one was opened. */
  reopened: number
  bytesSent: number
  /** ms that the latest piece was sent behind its time. */
  late: number
}

export interface Playing {
  target: Target
  interpreter: Interpreter
  /** Recorded ms are divided by it; null: nothing is waited for but answers. */
  rate: number | null
  /** ms beyond what was recorded. */
  timeout: number
  ignored: ReadonlySet<string>
  signal: AbortSignal
  /** A connection was established, or a datagram answered: the target is there. */
  reached(): void
  played(played: Played): void
}

/** Where bytes are compared, an answer may be shorter than the recorded one: silence for so long ends it. */
const QUIET_MS = 500
/** An interim answer (100 Continue) is waited for no longer, as other clients do. */
const INTERIM_MS = 1000

/** Datagrams get lost; so many answers in a row do not. */
const MOST_SILENCES = 3
const SILENCE: Silence = 'no answer within the timeout'
/** A server closes what its client has closed, mostly at once. */
const PARTING_MS = 500

export async function play(stream: Stream, playing: Playing): Promise<StreamEnd> {
  const player = new Player(stream, playing)
  try {
    return await player.run()
  } finally {
    player.hangUp()
  }
}

class Player {
  private readonly stream: Stream
  private readonly playing: Playing
  private readonly began = performance.now()
  private line!: Line
  private interpretation!: Interpretation
  private readonly judge: Judge
  /** Place in the stream where the present connection began. */
  private base = 0
  /** Place behind what was sent. */
  private sentTo = 0
  private isReached = false
  private gaveUp = false
  /** So many answers, bytes or datagrams fewer than then have come, and nobody waits for them any more. */
  private shortfall = 0
  private receivedAtSend = 0
  /** How often in a row an answer was missed, and when that was. */
  private silences = 0
  private missedAt = 0
  private readonly end: StreamEnd = { over: null, isSilent: false, reopened: 0, bytesSent: 0, late: 0 }

  constructor(stream: Stream, playing: Playing) {
    this.stream = stream
    this.playing = playing
    this.judge = new Judge(stream, playing.ignored, played => playing.played(played))
    this.base = stream.sends[0]?.start ?? 0
    this.sentTo = this.base
  }

  async run(): Promise<StreamEnd> {
    await this.connect()
    for (const send of this.stream.sends) if (!(await this.say(send))) break
    if (this.isAllSent && this.line.over === null) await this.conclude()
    const silence: Silence = this.isNotUnderstood ? 'the answer is not of this protocol' : SILENCE
    const over = this.line.over ?? (this.gaveUp ? silence : null)
    if (!this.isAllSent || !this.isReached) this.end.over = over
    this.end.isSilent = !this.isReached && this.stream.answersLength > 0
    await this.part()
    this.interpretation.finish()
    this.judge.abandon(this.sentTo, over ?? silence)
    this.judge.settle(this.isAllSent, over ?? silence)
    return this.end
  }

  hangUp(): void {
    this.line?.destroy()
    if (this.interpretation !== undefined) this.playing.interpreter.close(this.interpretation)
  }

  // ── saying ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private async connect(): Promise<void> {
    const { target, signal, interpreter, timeout } = this.playing
    const { transport, server } = this.stream
    const interpretation = interpreter.open(transport, server.port, exchange => this.judge.take(exchange, this.base))
    this.interpretation = interpretation
    const ear: Ear = {
      received: bytes => {
        this.reach()
        this.judge.receive(bytes)
        interpretation.received(bytes)
      },
      ended: () => interpretation.ended('server'),
    }
    this.line = transport === 'udp' ? await openUdp(target, signal, ear) : await openTcp(target, timeout, signal, ear)
    if (transport === 'tcp' && this.line.over === null) this.reach()
  }

  private reach(): void {
    if (!this.isReached) this.playing.reached()
    this.isReached = true
  }

  /** false: nothing more can be said. */
  private async say(send: Send): Promise<boolean> {
    const { playing, end } = this
    await this.due(send.at)
    await this.untilHeard(send, playing.timeout + send.took)
    if (this.gaveUp) return false
    if ((this.line.over !== null || this.judge.isEnding) && !(await this.reopen(send))) return false
    if (playing.rate !== null) end.late = Math.max(end.late, performance.now() - this.dueAt(send.at))
    this.interpretation.sent(send.bytes)
    this.receivedAtSend = this.line.received
    this.sentTo = this.behind(send)
    end.bytesSent += send.bytes.length
    await this.line.send(send.bytes, playing.timeout)
    return true
  }

  /** Everything was said. */
  private async conclude(): Promise<void> {
    const { stream, line, interpretation, playing } = this
    const { close } = stream
    if (close !== null) {
      await this.due(close.at)
      await this.untilHeard({ ...close, start: this.sentTo, more: false }, playing.timeout + close.took)
      if (line.over !== null) return
      interpretation.ended('client')
      if (close.how === 'reset') {
        line.reset()
        return
      }
      line.end()
    }
    const patience = playing.timeout + stream.took
    if (this.isRead(this.sentTo)) await this.until(() => this.judge.awaited === 0, patience)
    else await this.untilBytes(stream.answersLength, patience)
  }

  /** Lets the target read to the end what was said: bytes that it has not read are lost when a connection is cut. */
  private async part(): Promise<void> {
    if (this.stream.transport === 'udp') return
    const { line } = this
    line.end()
    const deadline = performance.now() + PARTING_MS
    for (let left = PARTING_MS; line.over === null && left > 0; left = deadline - performance.now())
      await line.change(left)
  }

  private async due(at: number): Promise<void> {
    const { rate, signal } = this.playing
    if (rate === null) return
    for (let left = this.dueAt(at) - performance.now(); left > 0 && !signal.aborted; ) {
      await sleep(Math.min(left, LONGEST_MS), undefined, { signal }).catch(() => {})
      left = this.dueAt(at) - performance.now()
    }
  }

  private dueAt(at: number): number {
    return this.began + (at - this.stream.began) / (this.playing.rate ?? 1)
  }

  /**
   * HTTP has no memory: where the target closes connections that were recorded as staying open, the next request gets
   * one of its own.
   */
  private async reopen(send: Send): Promise<boolean> {
    const { stream, line } = this
    const isClosed = this.judge.isEnding || line.over === 'the target closed the connection'
    const isRequest = this.judge.isRequest(send.start) && this.isRead(send.start)
    if (stream.comparing !== 'http' || !isClosed || !isRequest) return false
    this.interpretation.finish()
    this.judge.abandon(this.sentTo, 'the target closed the connection')
    this.hangUp()
    this.base = send.start
    this.judge.restart()
    await this.connect()
    if (this.line.over !== null) return false
    this.end.reopened++
    return true
  }

  private get isAllSent(): boolean {
    const last = this.stream.sends.at(-1)
    return last === undefined || this.sentTo >= this.behind(last)
  }

  private behind({ start, bytes }: Send): number {
    return start + (this.stream.transport === 'udp' ? 1 : bytes.length)
  }

  // ── hearing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What the client says from this place on is read as requests. */
  private isRead(place: number): boolean {
    const { comparing, tail } = this.stream
    return comparing !== 'bytes' && (tail === null || place < tail.client)
  }

  /** Until the client has heard what it had heard then. */
  private async untilHeard(then: Pick<Send, 'start' | 'heard' | 'answered' | 'more'>, patience: number): Promise<void> {
    if (!this.isRead(then.start)) {
      this.gaveUp = !(await this.until(() => this.judge.tailStart !== null, patience)) && this.line.over === null
      if (!this.gaveUp) await this.untilBytes(then.heard, patience)
      return
    }
    const missing = () => then.answered - this.shortfall - this.judge.settled
    if (!(await this.until(() => missing() <= 0 || this.judge.isEnding, patience))) {
      if (this.line.over !== null) return
      // Of datagrams each is on its own; in a stream nothing comes behind what does not come.
      if (this.stream.transport === 'udp') this.miss(missing())
      else this.gaveUp = true
      return
    }
    const hasMore = () => missing() < 0 || this.interpretation.length > this.judge.settledTo
    if (then.more) await this.until(hasMore, Math.min(patience, INTERIM_MS))
  }

  /** As many bytes or datagrams as then, or fewer and silence behind them. */
  private async untilBytes(heard: number, patience: number): Promise<void> {
    const { line, stream } = this
    const missing = () =>
      heard - (stream.tail?.server ?? 0) - this.shortfall - (line.received - (this.judge.tailStart ?? 0))
    const deadline = performance.now() + patience
    while (missing() > 0 && line.over === null) {
      const silence = performance.now() - line.receivedAt
      const isQuiet = line.received > this.receivedAtSend && silence >= QUIET_MS
      const isLate = performance.now() >= deadline
      if (isQuiet) this.shortfall += missing()
      else if (isLate) {
        // What the capture lacks of the server, it may never have sent.
        if (stream.transport === 'udp' || stream.answersGap !== null) this.miss(missing())
        else this.gaveUp = true
        return
      } else await line.change(Math.min(deadline - performance.now(), QUIET_MS))
    }
  }

  /** So many answers were lost, or nobody answers any more. */
  private miss(count: number): void {
    this.shortfall += count
    const { receivedAt } = this.line
    this.silences = receivedAt > this.missedAt ? 1 : this.silences + 1
    this.missedAt = performance.now()
    if (this.silences >= MOST_SILENCES) this.gaveUp = true
  }

  /** false: it did not come true, because the time or the line is over, or nobody understands the target. */
  private async until(isTrue: () => boolean, patience: number): Promise<boolean> {
    const deadline = performance.now() + patience
    for (;;) {
      if (isTrue()) return true
      const left = deadline - performance.now()
      if (this.line.over !== null || left <= 0 || this.isNotUnderstood) return false
      await this.line.change(left)
    }
  }

  /** The target speaks another protocol. */
  private get isNotUnderstood(): boolean {
    const { comparing, isMalformed } = this.stream
    return comparing !== 'bytes' && !isMalformed && this.interpretation.tapes.at(-1)?.isMalformed === true
  }
}

/** What a timer can count to. */
const LONGEST_MS = 2 ** 31 - 1
