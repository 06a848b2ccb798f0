/**
 * What two ends say to each other: finds the protocol, lets its dissector read messages from bytes in order, matches
 * answers with requests, and finds the way back after bytes were lost.
 *
 * A side is `synced` while its messages begin where we think they do. After a gap, and in a connection whose beginning
 * was not seen, a side is synced again at a segment that the dissector's `probe` accepts; the first request after that
 * is `exact`: only an answer that begins at the very byte the request acknowledged belongs to it. A client that does
 * not wait for answers (`pipelined`) may have others under way, so there nothing is believed before a silence.
 */
import type { Connection, Half, Instant } from './connections.ts'
import { Cursor, Incomplete, Malformed } from './cursor.ts'
import type { Describe, Dissector, Ending, Message } from './dissector.ts'
import type { ItemError } from './item.ts'
import type { Answer, ItemWriter } from './item-writer.ts'
import { Written } from './json-writer.ts'
import { MAX_WAITING, MAX_WAITING_BYTES, type Request, Slab, Waiting, weightOf } from './pairing.ts'
import { payloadOf } from './payload.ts'
import { ReadingContext } from './reading-context.ts'
import type { Reader } from './reassembly.ts'
import { Recognition } from './recognition.ts'
import type { Refining } from './refining.ts'
import type { SkipCause, Tally } from './tally.ts'
import { Telling } from './telling.ts'
import type { Span } from './trace.ts'
import type { Witness } from './witness.ts'

/** First bytes of a side that are kept while no protocol is sure. */
const MAX_PROBED = 8192
/** How often a connection is asked what it is when its beginning was not seen, and any flow of datagrams. */
const MAX_ATTEMPTS = 64
/** So many malformed messages, and it is another protocol than it seemed. */
const MAX_MALFORMED = 8
/** A message that keeps more than this waiting for its end without committing is not believed any more. */
const MAX_MESSAGE = 16 << 20
/** From this size on a message is read again only when a good part more of it has come. */
const EAGER = 16_384
/** Room for the beginning of a message; thousands of connections may stop within one. */
const LEAST_HELD = 64
/** Smaller messages too, once so many bytes were read in vain: one byte a segment must not cost the square. */
const MAX_REREAD = 1 << 20
/** Beyond this a message is not even read again when the other side speaks. */
const MOST_REREAD = 64 << 20
/** Seconds of silence after which a client that does not wait for answers can have none under way. */
const QUIET = 1
/** A client that has waited for so many answers in a row is taken for one that waits. */
const LOCKSTEP = 4

/** What an ICMP error quotes: the beginning of a packet that `half` of `c` sent, behind its UDP header. */
export interface Quote {
  c: Connection
  half: Half
  bytes: Uint8Array
  start: number
  end: number
  /** Bytes that were sent and are not quoted. */
  missing: number
}

export class Conversation implements Reader {
  private readonly recognition: Recognition
  private readonly telling: Telling
  private readonly refining: Refining
  private readonly writer: ItemWriter
  private readonly tally: Tally
  private readonly slab = new Slab()
  private readonly context: ReadingContext
  private readonly at = new Cursor(new Uint8Array(0))
  /** Where the bytes in hand end in `half.held` or in the packet; the packet's time and acknowledgement. */
  private seconds = 0
  private nanoseconds = 0
  private ack = 0
  /** Bytes held for unfinished messages of all connections. */
  held = 0
  /** Somebody asks for the packets of messages. */
  traced = false

  /** What the datagram that comes next quotes. */
  set quoted(quote: Quote | null) {
    this.context.quoted = quote
  }

  constructor(
    dissectors: readonly Dissector[],
    refining: Refining,
    writer: ItemWriter,
    tally: Tally,
    keep: number,
    describe: Describe | null = null,
    witness: Witness | null = null,
  ) {
    this.refining = refining
    this.writer = writer
    this.tally = tally
    this.context = new ReadingContext(keep, describe)
    this.recognition = new Recognition(dissectors, this.at, this.context)
    this.telling = new Telling(refining, writer, tally, witness)
  }

  // ── bytes of a stream ───────────────────────────────────────────────────────────────────────────────────────────

  bytes(
    c: Connection,
    half: Half,
    bytes: Uint8Array,
    start: number,
    end: number,
    seconds: number,
    nanoseconds: number,
    ack: number,
  ): void {
    half.spoke = true
    if (c.dissector === null && (c.unknown || half.held !== null) && !half.ended)
      this.recognise(c, half, bytes, start, end)
    if (c.unknown || half.ended) {
      this.seconds = seconds
      this.nanoseconds = nanoseconds
      if (c.unknown) this.passOver(c, half, bytes, start, end)
      else this.tally.skip('behind the end', end - start)
      return
    }
    this.seconds = seconds
    this.nanoseconds = nanoseconds
    this.ack = ack
    if (c.waiting !== null && c.dissector?.patience !== undefined && c.dissector.keyed === true)
      this.expire(c, c.dissector.patience)
    if (half.held === null && half.progress === null) this.beginMessage(half)
    const peer = c.peer(half)
    if (peer.wanted > 0 && peer.reread < MOST_REREAD) {
      // Whoever is answered has said all: it is not waiting for more, only we were.
      peer.wanted = 0
      this.readHeld(c, peer)
      if (c.unknown) {
        this.passOver(c, half, bytes, start, end)
        return
      }
    }
    const known = c.dissector !== null
    if (half.held !== null) {
      this.hold(half, bytes, start, end)
      if (half.heldEnd - half.heldStart > MAX_MESSAGE) {
        this.tally.limit('message size')
        this.lose(c, 'over a limit')
      } else if (half.heldEnd - half.heldStart >= half.wanted) this.readHeld(c, half)
      this.beginHere(c, half, bytes, start, end)
    } else {
      const rest = this.process(c, half, bytes, start, end)
      if (rest < end) this.hold(half, bytes, rest, end)
    }
    half.lastSeconds = seconds
    if (!known && c.dissector !== null) this.readHeld(c, peer)
  }

  /** `length` bytes before what comes next were never seen. */
  gap(c: Connection, half: Half, length: number): void {
    if (c.unknown) return
    const { progress } = half
    if (c.dissector !== null && half.held === null && progress !== null && c.dissector.bridge?.(length, progress)) {
      half.size += length
      return
    }
    c.midstream = true
    if (half === c.client && half.held === null && progress === null)
      for (const request of c.waiting?.queue ?? []) request.followed = true
    this.unsync(c, half)
    const peer = c.peer(half)
    if (peer.begun) half.doubted = peer.next
    if (c.dissector === null) return
    if (half !== c.client) {
      if (c.pipelined) this.doubt(c)
      else for (const request of c.waiting?.queue ?? []) request.exact = true
    }
    if (c.dissector.lost !== undefined) c.state = c.dissector.lost(c.state, c.side(half))
    else this.open(c, 'middle')
    this.weigh(c)
  }

  /** This side sends no more. */
  end(c: Connection, half: Half, why: Ending): void {
    if (half.ended) return
    half.ended = true
    half.wanted = 0
    if (this.isReadable(c, half)) this.readHeld(c, half)
    // What was held may have ended the protocol.
    if (
      this.isReadable(c, half) &&
      (half.held !== null || half.progress !== null || (half !== c.client && c.transport === 'tcp'))
    )
      this.conclude(c, half, why)
    if (c.dissector === null) this.passHeld(c, half)
    this.drop(half, 'message cut short')
    if (c.dissector !== null && half !== c.client && c.early === null) {
      this.close(c, why)
      this.abandon(c, unanswered(c, why))
    }
  }

  private isReadable(c: Connection, half: Half): boolean {
    return !c.unknown && c.dissector !== null && half.synced
  }

  /** Both sides are silent from now on: whoever still waits, waits in vain. */
  finish(c: Connection, why: Ending): void {
    if (c.client !== null) this.end(c, c.client, why)
    this.end(c, c.forth, why)
    this.end(c, c.back, why)
    this.close(c, why)
    this.abandon(c, unanswered(c, why))
    this.held -= c.weight
    c.weight = 0
  }

  /** What the dissector still holds of messages that did not end. */
  private close(c: Connection, why: Ending): void {
    const { dissector } = c
    if (dissector?.close === undefined) return
    const half = c.client ?? c.forth
    this.aim(c, half, NOTHING, 0, 0, null)
    this.messageEnd = half.next
    for (const message of dissector.close(this.context, why)) this.deliver(c, half, message, 0, null)
    this.weigh(c)
  }

  private open(c: Connection, where: 'beginning' | 'middle'): void {
    c.state = c.dissector?.open?.(where, c.memo)
    this.weigh(c)
  }

  /** Notes what the state takes. */
  private weigh(c: Connection): void {
    const weight = c.dissector?.weight?.(c.state) ?? 0
    this.held += weight - c.weight
    c.weight = weight
  }

  // ── datagrams ───────────────────────────────────────────────────────────────────────────────────────────────────

  datagram(
    c: Connection,
    half: Half,
    bytes: Uint8Array,
    start: number,
    end: number,
    seconds: number,
    nanoseconds: number,
    missing: number,
  ): void {
    this.seconds = seconds
    this.nanoseconds = nanoseconds
    if (c.unknown) {
      this.passOver(c, half, bytes, start, end)
      return
    }
    this.context.missing = missing
    this.beginMessage(half)
    if (c.dissector?.patience !== undefined && c.waiting !== null) this.expire(c, c.dissector.patience)
    const rest = this.process(c, half, bytes, start, end)
    if (rest < end) this.tally.skip('message cut short', end - rest)
    this.context.missing = 0
  }

  /** The quoted packet did not arrive: the request in it waits in vain. */
  private refuse(reason: string): void {
    const quote = this.context.quoted
    if (quote === null || quote.half !== quote.c.client) return
    const { c } = quote
    c.refused = reason
    const { waiting } = c
    // TCP tries again by itself (RFC 1122, 4.2.3.9).
    if (c.transport === 'tcp' || waiting === null || waiting.count === 0) return
    const request = c.dissector!.keyed === true ? waiting.take(this.keyOf(quote)) : null
    if (request === null) return
    this.settle(waiting, request)
    this.telling.alone(c, request, { type: 'connection', msg: reason })
  }

  /** Of the request that is quoted, perhaps only in part; undefined when that cannot be told. */
  private keyOf({ c, half, bytes, start, end, missing }: Quote): string | number | undefined {
    const { context } = this
    this.aim(c, half, bytes, start, end, null)
    context.state = c.dissector!.open?.('middle', c.memo)
    const outer = context.missing
    context.missing = missing
    try {
      const message = c.dissector!.read(this.at, context)
      return message === null || Array.isArray(message) ? undefined : message.key
    } catch (thrown) {
      if (thrown === Incomplete || thrown instanceof Malformed) return undefined
      throw thrown
    } finally {
      context.missing = outer
    }
  }

  /** Requests that have waited for longer than the protocol's users do. */
  private expire(c: Connection, patience: number): void {
    const waiting = c.waiting!
    const { queue } = waiting
    for (let first = queue[0]; first !== undefined; first = queue[0]) {
      if ((this.seconds - first.seconds) * 1e3 + (this.nanoseconds - first.nanoseconds) / 1e6 < patience) return
      // A transfer that is under way, with those behind it.
      if (first.answers > 0 && c.transport === 'tcp') return
      waiting.shift()
      this.settle(waiting, first)
      this.telling.alone(c, first, NO_ANSWER)
    }
  }

  // ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private readHeld(c: Connection, half: Half): void {
    if (half.held === null) return
    const { held, heldStart, heldEnd } = half
    const rest = this.process(c, half, held, heldStart, heldEnd)
    if (half.held !== held) return
    half.heldStart = rest
    if (rest === heldEnd) this.release(half)
  }

  /** Makes what can be made of the bytes and returns where the unused ones begin. */
  private process(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): number {
    let position = start
    for (;;) {
      if (c.dissector === null) {
        const found = this.detect(c, half, bytes, position, end)
        if (found === 'more') return position
        if (found === 'no') {
          this.passOver(c, half, bytes, position, end)
          return end
        }
        const other = c.peer(half)
        if (other === c.client) {
          const wasHeld = half.held === bytes
          this.readHeld(c, other)
          // The client's bytes may have cost the connection, and this side what it held.
          if (wasHeld && half.held !== bytes) return end
        }
      }
      if (!half.synced) {
        const found = this.sync(c, half, bytes, position, end)
        if (found === 'more') return position
        if (found === 'no') {
          this.tally.skip('after a gap', end - position)
          return end
        }
      }
      const dissector = c.dissector
      position = this.read(c, half, bytes, position, end)
      if (dissector?.weight !== undefined) this.weigh(c)
      if (position === end || (c.dissector === dissector && half.synced && !c.unknown)) return position
      // Another protocol from here on, or the way has to be found again.
      if (c.unknown) {
        this.passOver(c, half, bytes, position, end)
        return end
      }
    }
  }

  private read(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): number {
    const { at, context } = this
    const dissector = c.dissector!
    const fromClient = half === c.client
    let position = start
    while (position < end) {
      const awaited = fromClient ? null : this.awaited(c, half, (half.next - (end - position)) | 0)
      this.aim(c, half, bytes, position, end, awaited)
      let message: Message | Message[] | null
      try {
        message = dissector.read(at, context)
        context.learnt = null
      } catch (thrown) {
        context.learnt = null
        if (thrown === Incomplete) {
          this.keepProgress(half, position)
          if (at.committed >= 0) position = at.committed
          this.waitForMore(half, end - position)
          return position
        }
        if (!(thrown instanceof Malformed)) throw thrown
        this.tally.skip('malformed', end - position)
        if (half.held === bytes) this.release(half)
        if (c.transport === 'tcp') this.lose(c, 'malformed')
        return end
      }
      if (message === null) {
        const next = at.committed >= 0 ? at.committed : at.position
        if (at.committed >= 0) this.keepProgress(half, position)
        else {
          this.count(c, this.takeSize(half, next - position))
          if (next > position) this.beginMessage(half)
        }
        if (next === position) {
          this.waitForMore(half, end - position)
          return position
        }
        position = next
        continue
      }
      const goesOn = at.committed >= 0 && (Array.isArray(message) ? message.at(-1) : message)?.within === true
      let size = 0
      if (goesOn) {
        this.keepProgress(half, position)
        position = at.committed
      } else {
        size = this.takeSize(half, at.position - position)
        position = at.position
        half.reread = 0
        this.count(c, size)
      }
      this.messageEnd = (half.next - (end - position)) | 0
      const wasHeld = half.held === bytes
      if (wasHeld) half.heldStart = position
      if (Array.isArray(message)) this.deliverAll(c, half, message, size, awaited)
      else this.deliver(c, half, message, size, awaited)
      // A limit may have cost the connection, and this side what it held.
      if (wasHeld && half.held !== bytes) return end
      if (!goesOn) this.beginMessage(half)
      if (c.dissector !== dissector || c.unknown || !half.synced) return position
    }
    return position
  }

  /** The request that the answer is for whose unread part begins at sequence number `start`. */
  private awaited(c: Connection, half: Half, start: number): Request | null {
    const { waiting } = c
    if (waiting === null || c.dissector!.keyed === true) return null
    if (half.progress !== null) {
      if (half.answering !== null || waiting.queue[0]?.exact !== true || waiting.queue[0].ack !== start)
        return half.answering
      // The client went on from here: the answer to the request that was not seen is over, whatever its head said.
      this.lastWord(c, half, 'lost', NOTHING, 0, 0, null)
      this.forget(half)
      half.size = 0
    }
    for (let lost = waiting.overtaken(start); lost !== null; lost = waiting.overtaken(start)) {
      this.settle(waiting, lost)
      this.telling.alone(c, lost, MISSED)
      if (c.pipelined) this.doubt(c)
    }
    half.answering = waiting.next(start)
    return half.answering
  }

  private aim(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, awaited: Request | null): void {
    const { at } = this
    at.bytes = bytes
    at.position = start
    at.end = end
    at.whole = c.transport !== 'tcp'
    at.progress = half.progress
    at.committed = -1
    this.context.aim(c, half, awaited)
  }
  /** Sequence number behind the message that is being delivered. */
  private messageEnd = 0

  private keepProgress(half: Half, from: number): void {
    const { at } = this
    if (at.committed < 0) return
    const read = at.committed - from
    half.progress = at.progress
    this.held += at.weight - half.weight
    half.weight = at.weight
    half.size += read
    this.tally.parsed += read
    half.reread = 0
  }

  /** The size of the message that ends here, `last` bytes of which were not committed before. */
  private takeSize(half: Half, last: number): number {
    const size = half.size + last
    this.tally.parsed += last
    half.size = 0
    this.forget(half)
    return size
  }

  private count(c: Connection, size: number): void {
    this.tally.protocol(c.dissector!.name).bytes += size
  }

  private waitForMore(half: Half, size: number): void {
    half.reread += size
    half.wanted = size > EAGER || half.reread > MAX_REREAD ? size + (size >> 3) + 1 : 0
  }

  private beginMessage(half: Half): void {
    half.seconds = this.seconds
    half.nanoseconds = this.nanoseconds
    half.ack = this.ack
  }

  private hold(half: Half, bytes: Uint8Array, start: number, end: number): void {
    const size = end - start
    const waiting = half.heldEnd - half.heldStart
    if (half.held === null) {
      half.held = new Uint8Array(Math.max(LEAST_HELD, size * 2))
      this.held += half.held.length
      half.heldStart = 0
      half.heldEnd = 0
    } else if (half.heldEnd + size > half.held.length) {
      if ((waiting + size) * 2 > half.held.length) {
        const larger = new Uint8Array((waiting + size) * 2)
        larger.set(half.held.subarray(half.heldStart, half.heldEnd))
        this.held += larger.length - half.held.length
        half.held = larger
      } else half.held.copyWithin(0, half.heldStart, half.heldEnd)
      half.heldStart = 0
      half.heldEnd = waiting
    }
    half.held.set(bytes.subarray(start, end), half.heldEnd)
    half.heldEnd += size
  }

  /** Nothing of what was held is wanted any more. */
  private release(half: Half): void {
    this.held -= half.held!.length
    half.held = null
  }

  private forget(half: Half): void {
    half.progress = null
    half.answering = null
    this.held -= half.weight
    half.weight = 0
  }

  /** Bytes that are nobody's: told of as they are, or counted. */
  private passOver(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
    const face = c.passedOver === 'unknown protocol' ? this.refining.unclaimed(c.transport) : undefined
    if (face === undefined || start === end) {
      this.tally.skip(c.passedOver, end - start)
      return
    }
    const size = end - start
    this.tally.parsed += size
    const tally = this.tally.protocol(face.name)
    tally.items++
    tally.events++
    tally.bytes += size
    const from = half === (c.client ?? c.forth) ? 'client' : 'server'
    const body = { from, length: size }
    const data = { ...payloadOf(bytes, start, end, this.context.keep) }
    const held = half.held === bytes
    const seconds = held ? half.seconds : this.seconds
    const nanoseconds = held ? half.nanoseconds : this.nanoseconds
    const span = this.spanOf(half, seconds, nanoseconds)
    const told: Answer = { face, asker: from, body, size, failed: false, version: undefined, data, span }
    this.writer.writeEvent(c, told, null, seconds, nanoseconds)
  }

  /** What was held for a protocol that nobody turned out to speak. */
  private passHeld(c: Connection, half: Half): void {
    if (half.held === null) return
    this.passOver(c, half, half.held, half.heldStart, half.heldEnd)
    half.heldStart = half.heldEnd
  }

  private drop(half: Half, cause: SkipCause): void {
    this.forget(half)
    half.size = 0
    half.wanted = 0
    half.reread = 0
    if (half.held === null) return
    this.tally.skip(cause, half.heldEnd - half.heldStart)
    this.release(half)
  }

  // ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Of several answers each belongs to the next request: whose the others are is certain where order alone decides. */
  private deliverAll(c: Connection, half: Half, messages: Message[], read: number, awaited: Request | null): void {
    const { dissector } = c
    let request = awaited
    for (const message of messages) {
      this.deliver(c, half, message, read, request)
      const next = c.waiting?.queue[0]
      if (request === null || next === request) continue
      request = next !== undefined && !next.exact && c.dissector === dissector ? next : null
    }
  }

  private deliver(c: Connection, half: Half, message: Message, read: number, awaited: Request | null): void {
    const size = message.size ?? read
    if (message.kind === 'event' || message.event !== undefined) this.deliverEvent(c, half, message, size)
    else if (message.kind === 'request') this.deliverRequest(c, half, message, size)
    else if (message.kind === 'response') this.deliverAnswer(c, half, message, size, awaited)
    const { becomes } = message
    if (becomes === undefined) return
    if (typeof becomes === 'string') this.become(c, becomes, undefined, message.again)
    else this.become(c, becomes.name, becomes.memo, message.again)
  }

  private deliverEvent(c: Connection, half: Half, message: Message, size: number): void {
    const { kind, body, event, version } = message
    const within = message.within === true
    const seconds = message.since?.seconds ?? (within ? this.seconds : half.seconds)
    const nanoseconds = message.since?.nanoseconds ?? (within ? this.nanoseconds : half.nanoseconds)
    const error = message.error ?? null
    const told: Answer = {
      face: message.as ?? c.dissector!,
      asker: message.asker ?? 'client',
      body: body!,
      size,
      failed: message.failed === true,
      version,
      gained: undefined,
      span: this.spanOf(half, seconds, nanoseconds),
    }
    this.telling.event(c, kind, told, event, error, seconds, nanoseconds)
    if (message.refuses !== undefined) this.refuse(message.refuses)
  }

  private deliverRequest(c: Connection, half: Half, message: Message, size: number): void {
    const body = message.body!
    const alone = message.unanswered === true
    const { seconds, nanoseconds, ack } = message.since ?? half
    const request: Request = {
      face: message.as ?? c.dissector!,
      asker: message.asker ?? 'client',
      body: body instanceof Written && !alone ? this.slab.keep(body) : body,
      size,
      end: this.messageEnd,
      seconds,
      nanoseconds,
      key: message.key,
      memo: message.memo,
      ack,
      exact: false,
      version: message.version,
      failed: message.failed === true,
      error: message.error ?? null,
      gained: undefined,
      followed: false,
      answers: 0,
      span: this.spanOf(half, seconds, nanoseconds),
    }
    if (alone) {
      this.telling.alone(c, request, null)
      return
    }
    c.waiting ??= new Waiting()
    const { waiting } = c
    if (waiting.count > 0) c.waited = 0
    if (c.transport === 'tcp' && c.dissector!.keyed !== true) {
      if (!c.pipelined && waiting.count > 0 && this.sentAhead(c, waiting, request)) {
        c.pipelined = true
        // Then there may have been others before the first one that we know of.
        if (waiting.queue.some(other => other.exact)) this.doubt(c)
      }
      if (half.exact) {
        const tooEarly = half.doubted !== null && ((request.ack - half.doubted) | 0) <= 0
        // The lost one had no answer yet: this client does not wait.
        if (tooEarly) c.pipelined = true
        if (c.pipelined && (tooEarly || !this.isQuiet(c))) {
          // Its answer is still to come, before that of any request sent from the same place.
          if (!tooEarly) half.doubted = request.ack
          this.telling.alone(c, request, MISSED)
          return
        }
        half.doubted = null
        half.exact = false
        request.exact = true
      }
    }
    if (waiting.count >= MAX_WAITING || waiting.bytes >= MAX_WAITING_BYTES) {
      this.tally.limit('waiting requests')
      if (c.dissector!.keyed === true) {
        const oldest = waiting.shift()!
        this.settle(waiting, oldest)
        this.telling.alone(c, oldest, MISSED)
        this.wait(waiting, request)
        return
      }
      this.telling.alone(c, request, MISSED)
      this.restart(c)
      return
    }
    const { early } = c
    if (early !== null) {
      c.early = null
      this.held -= early.weight
      this.telling.pair(c, request, early.answer, early.error, early.seconds, early.nanoseconds)
      return
    }
    this.wait(waiting, request)
  }

  private wait(waiting: Waiting, request: Request): void {
    waiting.queue.push(request)
    const weight = weightOf(request)
    waiting.bytes += weight
    this.held += weight
  }

  /** A request that was taken out of those that wait. */
  private settle(waiting: Waiting, request: Request): void {
    const weight = weightOf(request)
    waiting.bytes -= weight
    this.held -= weight
  }

  private isQuiet(c: Connection): boolean {
    return this.seconds - Math.max(c.forth.lastSeconds, c.back.lastSeconds) > QUIET
  }

  /** Sent although the answer to the request before it had not come: everything the client had seen, we have seen. */
  private sentAhead(c: Connection, waiting: Waiting, request: Request): boolean {
    const server = c.peer(c.client!)
    return (
      waiting.queue.at(-1)!.ack === request.ack ||
      (server.begun && server.synced && ((request.ack - server.next) | 0) <= 0)
    )
  }

  private deliverAnswer(c: Connection, half: Half, message: Message, size: number, awaited: Request | null): void {
    const keyed = c.dissector!.keyed === true
    const more = message.more === true
    let request = awaited
    if (keyed) request = c.waiting === null ? null : more ? c.waiting.peek(message.key) : c.waiting.take(message.key)
    else if (request !== null && !more) c.waiting!.shift()
    if (request !== null && !more) this.settle(c.waiting!, request)
    const error = message.error ?? null
    if (message.body === null) {
      if (request === null) return
      if (message.failed === true) {
        request.failed = true
        this.tally.protocol(request.face.name).failed++
      }
      this.telling.alone(c, request, error)
      return
    }
    const since = message.since ?? half
    const answer: Answer = {
      face: message.as ?? c.dissector!,
      asker: message.asker ?? 'client',
      body: message.body,
      size,
      end: this.messageEnd,
      failed: message.failed === true,
      version: message.version,
      gained: undefined,
      span: this.spanOf(half, since.seconds, since.nanoseconds),
    }
    if (request !== null) {
      request.answers++
      const { until } = message
      this.telling.pair(
        c,
        request,
        answer,
        error,
        until?.seconds ?? this.seconds,
        until?.nanoseconds ?? this.nanoseconds,
      )
      if (message.again !== undefined) this.answered = request
      if (!keyed && !more && request.followed && c.waiting!.queue[0]?.followed !== true) {
        // What was lost behind the request did not wait for this answer.
        c.pipelined = true
        this.doubt(c)
      } else if (c.pipelined && !keyed && c.waiting!.count === 0 && !c.peer(half).exact) {
        // As a handshake ends that was sent at once.
        if (++c.waited >= LOCKSTEP) c.pipelined = false
      }
      return
    }
    const client = c.peer(half)
    if (!keyed && client.synced && !client.exact && client.progress !== null && c.early === null) {
      // Refused before the request was complete (413, 417): it belongs to the request that is still coming.
      const weight = answer.body instanceof Written ? answer.body.end - answer.body.start : size
      if (answer.body instanceof Written) answer.body = this.slab.keep(answer.body)
      c.early = { answer, weight, error, seconds: this.seconds, nanoseconds: this.nanoseconds }
      this.held += weight
      return
    }
    this.telling.orphan(c, answer, error, since.seconds, since.nanoseconds)
  }

  /** From that packet to the one in hand. */
  private spanOf(half: Half, seconds: number, nanoseconds: number): Span | undefined {
    if (!this.traced) return undefined
    const last: Instant = { seconds: this.seconds, nanoseconds: this.nanoseconds }
    return { half, first: { seconds, nanoseconds }, last }
  }

  private abandon(c: Connection, error: ItemError): void {
    const { early } = c
    if (early !== null) {
      c.early = null
      this.held -= early.weight
      this.telling.orphan(c, early.answer, early.error, early.seconds, early.nanoseconds)
    }
    if (c.waiting === null || c.waiting.count === 0) return
    for (const request of c.waiting.clear()) {
      this.settle(c.waiting, request)
      this.telling.alone(c, request, error)
    }
  }

  /** Whose answers are under way is not known any more. */
  private doubt(c: Connection): void {
    const client = c.client!
    client.exact = true
    const last = c.waiting?.queue.at(-1)
    if (last !== undefined) client.doubted = last.ack
    this.abandon(c, MISSED)
  }

  /** The dissector's last word on a side that ended within a message. */
  private conclude(c: Connection, half: Half, why: Ending): void {
    if (half.held === null) {
      this.lastWord(c, half, why, NOTHING, 0, 0, half === c.client ? null : this.awaited(c, half, half.next))
      return
    }
    const { held, heldStart, heldEnd } = half
    const awaited = half === c.client ? null : this.awaited(c, half, (half.next - (heldEnd - heldStart)) | 0)
    half.heldStart = this.lastWord(c, half, why, held, heldStart, heldEnd, awaited)
    if (half.heldStart >= heldEnd) this.release(half)
  }

  private lastWord(
    c: Connection,
    half: Half,
    why: Ending,
    bytes: Uint8Array,
    start: number,
    end: number,
    awaited: Request | null,
  ): number {
    const dissector = c.dissector!
    if (dissector.end === undefined) return start
    this.aim(c, half, bytes, start, end, awaited)
    let message: Message | Message[] | null
    try {
      message = dissector.end(this.at, this.context, why)
    } catch (thrown) {
      if (thrown === Incomplete || thrown instanceof Malformed) return start
      throw thrown
    }
    if (message === null) return start
    const { position } = this.at
    this.messageEnd = (half.next - (end - position)) | 0
    const size = this.takeSize(half, position - start)
    this.count(c, size)
    this.deliverAll(c, half, [message].flat(), size, awaited)
    return position
  }

  private become(c: Connection, name: string, memo: unknown, again: string | number | undefined): void {
    this.close(c, 'closed')
    this.abandon(c, c.midstream ? MISSED : NO_ANSWER)
    for (const half of [c.forth, c.back]) {
      // What is committed was meant for the dissector before.
      this.forget(half)
      half.size = 0
    }
    const before = c.dissector!.name
    if (!c.spoken.includes(before)) c.spoken = [...c.spoken, before]
    const nobody = name === 'unknown' || name === 'encrypted'
    c.dissector = nobody ? null : this.recognition.named(name)
    c.memo = memo
    c.attempts = 0
    c.unknown = name !== 'unknown' && c.dissector === null
    if (name === 'encrypted') c.passedOver = 'encrypted'
    this.open(c, 'beginning')
    const { answered } = this
    this.answered = null
    if (c.unknown) {
      this.drop(c.forth, c.passedOver)
      this.drop(c.back, c.passedOver)
    } else if (answered !== null && again !== undefined && c.dissector !== null) {
      c.waiting ??= new Waiting()
      this.wait(c.waiting, {
        ...answered,
        face: c.dissector,
        key: again,
        memo: undefined,
        version: undefined,
        answers: 0,
      })
    }
  }
  /** The request whose answer ends a protocol. */
  private answered: Request | null = null

  // ── losing and finding the way ──────────────────────────────────────────────────────────────────────────────────

  /** Nothing of this connection is believed until its client begins a message that is recognised. */
  private lose(c: Connection, cause: SkipCause): void {
    this.close(c, 'lost')
    if (c.dissector === null || ++c.malformed >= MAX_MALFORMED) {
      this.abandon(c, MISSED)
      this.drop(c.forth, cause)
      this.drop(c.back, cause)
      c.unknown = true
      return
    }
    this.restart(c)
  }

  private restart(c: Connection): void {
    this.unsync(c, c.forth)
    this.unsync(c, c.back)
    this.doubt(c)
    this.open(c, 'middle')
  }

  private unsync(c: Connection, half: Half): void {
    if (c.dissector !== null && half.synced && (half.held !== null || half.progress !== null)) {
      // The message in hand ends here, as far as it was captured.
      this.conclude(c, half, 'lost')
    }
    this.drop(half, 'message cut short')
    half.synced = false
    half.exact = true
  }

  private sync(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): 'yes' | 'no' | 'more' {
    const server = half !== c.client
    const seq = (half.next - (end - start)) | 0
    if (!server || c.dissector!.keyed === true || !c.waiting?.queue.some(request => request.ack === seq)) {
      this.context.connection = c
      const answer = this.recognition.probe(c, c.dissector!, c.side(half), c.serverPort, c.hinted, bytes, start, end)
      if (answer === 'no' || (answer === 'more' && end - start < MAX_PROBED)) return answer
    }
    half.synced = true
    if (server)
      for (const request of c.waiting?.queue ?? []) {
        request.exact = true
        // Those sent behind it are answered behind it.
        if (c.pipelined) break
      }
    return 'yes'
  }

  // ── finding the protocol ────────────────────────────────────────────────────────────────────────────────────────

  private detect(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): 'yes' | 'no' | 'more' {
    if (half.rejected) return 'no'
    this.context.connection = c
    const found = this.recognition.find(c, half, bytes, start, end)
    if (found === 'more' && end - start < MAX_PROBED) return 'more'
    if (found === 'more' || found === null) {
      this.reject(c, half)
      return 'no'
    }
    c.dissector = found.dissector
    c.hinted = found.hinted
    c.client = found.side === 'client' ? half : c.peer(half)
    this.open(c, c.midstream ? 'middle' : 'beginning')
    if (c.midstream) {
      half.synced = true
      half.exact = true
      c.peer(half).synced = false
      c.peer(half).exact = true
    }
    return 'yes'
  }

  /**
   * In mid-stream somebody still wants to see more of what was held, and this segment, which came behind it, begins a
   * message of somebody who is sure: what was held is passed over.
   */
  private beginHere(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
    if (c.dissector !== null || c.unknown || !c.midstream || half.held === null) return
    const before = half.heldEnd - half.heldStart - (end - start)
    if (before <= 0) return
    this.context.connection = c
    const found = this.recognition.find(c, half, bytes, start, end)
    if (found === null || found === 'more') return
    this.tally.skip('unknown protocol', before)
    half.heldStart += before
    this.beginMessage(half)
    this.readHeld(c, half)
  }

  /** In a connection that nobody knows, or not for certain: does a protocol begin here that needs no other to do so? */
  private recognise(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
    if (c.passedOver !== 'unknown protocol' || (c.client !== null && c.client !== half)) return
    this.context.connection = c
    const found = this.recognition.opening(c, half, bytes, start, end)
    if (found === null) return
    c.unknown = false
    c.dissector = found.dissector
    c.hinted = found.hinted
    c.client = half
    c.malformed = 0
    for (const one of [half, c.peer(half)]) {
      this.drop(one, 'unknown protocol')
      one.rejected = false
      one.synced = true
      one.exact = false
      one.doubted = null
    }
    this.open(c, 'beginning')
  }

  /** In mid-stream the next segment may be the first of a message; a beginning that was seen and is nobody's settles it. */
  private reject(c: Connection, half: Half): void {
    c.attempts++
    if (c.midstream || c.transport !== 'tcp') c.unknown = c.attempts >= MAX_ATTEMPTS
    else {
      half.rejected = true
      c.unknown = half === c.client || c.peer(half).rejected
    }
    if (!c.unknown) return
    this.passHeld(c, c.peer(half))
    this.drop(c.peer(half), 'unknown protocol')
  }
}

const NOTHING = new Uint8Array(0)
const MISSED: ItemError = {
  type: 'pair-not-found',
  msg: 'packets are missing: which answer belongs to it is not certain',
}
const NO_ANSWER: ItemError = { type: 'timeout', msg: 'no answer came' }

function unanswered(c: Connection, why: Ending): ItemError {
  if (why === 'reset') return { type: 'connection', msg: `reset by the ${c.reset ?? 'other side'} before the answer` }
  if (why === 'closed') return { type: 'connection', msg: 'closed before the answer' }
  if (why === 'idle') return NO_ANSWER
  return { type: 'pair-not-found', msg: 'the capture ends before the answer' }
}
