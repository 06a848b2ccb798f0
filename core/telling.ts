/** Makes items of messages and pairs: asks the refiners, counts, and has those written that are wanted. */
import type { Connection } from './connections.ts'
import type { Message } from './dissector.ts'
import type { ItemError } from './item.ts'
import type { Answer, ItemWriter } from './item-writer.ts'
import type { Request } from './pairing.ts'
import type { Refining } from './refining.ts'
import type { Tally } from './tally.ts'
import type { Witness } from './witness.ts'

const NO_REQUEST: ItemError = { type: 'pair-not-found', msg: 'the request was not captured' }

export class Telling {
  private readonly refining: Refining
  private readonly writer: ItemWriter
  private readonly tally: Tally
  private readonly witness: Witness | null

  constructor(refining: Refining, writer: ItemWriter, tally: Tally, witness: Witness | null) {
    this.refining = refining
    this.writer = writer
    this.tally = tally
    this.witness = witness
  }

  /** What wants no answer and is none; `event`: what the item says as its event, of a request or an answer. */
  event(
    c: Connection,
    kind: Message['kind'],
    told: Answer,
    event: Message['event'],
    error: ItemError | null,
    seconds: number,
    nanoseconds: number,
  ): void {
    this.refining.refine(
      kind === 'request' ? told : null,
      kind === 'response' ? told : null,
      kind === 'event' ? told : null,
    )
    if (!this.refining.isTold(told.face)) {
      c.items++
      return
    }
    const tally = this.tally.protocol(told.face.name)
    tally.items++
    tally.events++
    if (told.failed) tally.failed++
    if (kind === 'event') this.writer.writeEvent(c, told, error, seconds, nanoseconds)
    else if (kind !== 'nothing') this.writer.writeOneWay(c, kind, told, event!, error, seconds, nanoseconds)
  }

  /** `seconds` and `nanoseconds`: when the answer was complete. */
  pair(
    c: Connection,
    request: Request,
    answer: Answer,
    error: ItemError | null,
    seconds: number,
    nanoseconds: number,
  ): void {
    const elapsed = Math.max(0, (seconds - request.seconds) * 1e9 + nanoseconds - request.nanoseconds)
    this.write(c, request, answer, error ?? request.error, request.seconds, request.nanoseconds, elapsed)
  }

  /** An answer whose request was not seen, or cannot be told. */
  orphan(c: Connection, answer: Answer, error: ItemError | null, seconds: number, nanoseconds: number): void {
    this.write(c, null, answer, error ?? NO_REQUEST, seconds, nanoseconds, -1)
  }

  /** A request that has no answer, or none that is certain. */
  alone(c: Connection, request: Request, error: ItemError | null): void {
    if (request.answers > 0) return
    this.write(c, request, null, request.error ?? error, request.seconds, request.nanoseconds, -1)
  }

  private write(
    c: Connection,
    request: Request | null,
    answer: Answer | null,
    error: ItemError | null,
    seconds: number,
    nanoseconds: number,
    elapsed: number,
  ): void {
    this.refining.refine(request, answer, null)
    const { face } = request ?? answer!
    if (!this.refining.isTold(face)) {
      // What somebody else is told of it has the same number.
      c.items++
      return
    }
    const tally = this.tally.protocol(face.name)
    tally.items++
    if (request !== null && answer !== null) tally.pairs++
    else tally.halfPairs++
    if (answer?.failed === true) tally.failed++
    this.witness?.item(c, request, answer)
    this.writer.write(c, request, answer, error, seconds, nanoseconds, elapsed)
  }
}
