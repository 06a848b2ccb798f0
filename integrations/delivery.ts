/**
 * Delivery: what scripts send, kept on disk (spool.ts) and brought to integrations at least once: one after another per
 * destination, tried again with growing pauses, and laid aside as a dead letter when the other side will never take it.
 */
import { randomUUID } from 'node:crypto'
import { Fault } from '../core/fault.ts'
import { type Delivered, type Integration, type Integrations, type Order, Refused, Retryable } from './integration.ts'
import {
  type Backlog,
  type Counts,
  type DeadLetter,
  type NewOrder,
  SPOOL_LIMITS,
  Spool,
  type SpooledOrder,
  type SpoolLimits,
} from './spool.ts'

/** Time and chance. */
export interface World {
  /** ms since 1970. */
  now(): number
  /** From 0 to 1. */
  random(): number
  /** Calls once after so many ms; what it returns calls it off. */
  after(ms: number, then: () => void): () => void
}

/** What became of one attempt. */
export type Outcome =
  | { kind: 'delivered'; reply: Delivered }
  | { kind: 'retrying'; cause: string; reason: string; due: number; aside: boolean }
  | { kind: 'dead-lettered'; code: string; reason: string; status: number | null; excerpt: string | null }

/** What settled() tells: an outcome, or how it stands when there will be none to see. */
export type Settled = Outcome | { kind: 'delivered earlier' } | { kind: 'spooled' }

/** A receiver that takes a connection and says nothing holds up everything behind it. */
export const ATTEMPT_TIMEOUT_MS = 30_000
/** A receiver that answers 500 to one order for ever, while it takes all others. With the pauses below: eight hours. */
export const MAX_ATTEMPTS = 100
/** An alert of last week wakes nobody to any use. Each order is tried at least once, however long it has waited. */
export const MAX_AGE_MS = 24 * 60 * 60 * 1000
/** Order is worth waiting for, but one order that a receiver chokes on must not stop those behind it. */
export const ATTEMPTS_IN_LINE = 5
/** Pauses double from the first to the longest: a receiver that struggles is not helped by a hundred workers asking. */
export const FIRST_PAUSE_MS = 500
export const LONGEST_PAUSE_MS = 5 * 60 * 1000
/**
 * A receiver that fails at every second order is there all the same, and would get two a second: after it has answered
 * well, the pauses begin so many doublings below the first, at 31 ms.
 */
const CREDIT = 4
/** `Retry-After: 31536000`, by malice or by a clock that is wrong, would park a destination until everything is too old. */
export const LONGEST_PAUSE_ASKED_MS = 60 * 60 * 1000
/** A script that makes up a URL per item would open a connection per item. */
const MAX_UNDER_WAY = 64

export interface DrainOptions {
  /** Waits for orders alone that were accepted since this was opened, not for what lay in the spool before. */
  own?: boolean
  /** The ms count anew whenever an order leaves the spool. */
  whileAnythingMoves?: boolean
}

export class Delivery {
  readonly #spool: Spool
  readonly #integrations: Integrations
  readonly #world: World
  readonly #lines = new Map<string, Line>()
  /** Lines with something to send and no place among those under way, in the order they came. */
  readonly #ready = new Set<Line>()
  readonly #underWay = new Set<Promise<void>>()
  readonly #asked = new Map<string, PromiseWithResolvers<Settled>>()
  readonly #draining = new Set<Drain>()
  /** Accepted since this was opened, and neither delivered nor laid aside. */
  readonly #own = new Set<string>()
  readonly #patience = new Set<AbortController>()
  #running = false
  #closed = false

  static open(directory: string, parts: { integrations: Integrations; world?: World; limits?: SpoolLimits }): Delivery {
    return new Delivery(Spool.open(directory, parts.limits ?? SPOOL_LIMITS), parts.integrations, parts.world ?? WORLD)
  }

  private constructor(spool: Spool, integrations: Integrations, world: World) {
    this.#spool = spool
    this.#integrations = integrations
    this.#world = world
  }

  /** Resolves when the order is on disk: from then on it is delivered, spooled or a dead letter. Else rejects with a Fault. */
  async accept(order: Order): Promise<{ id: string }> {
    this.#checkOpen()
    try {
      const entry = this.#entry(order)
      await this.#spool.add(entry)
      this.#own.add(entry.id)
      this.#wake(entry.destination)
      return { id: entry.id }
    } catch (error) {
      if (error instanceof Fault && !this.#closed) {
        this.#spool.count('refused')
        this.#spool.count(`refused ${error.code}`)
      }
      throw error
    }
  }

  /**
   * The outcome of the order's next attempt. Who asks in the same turn in which accept() resolved sees the first, with
   * the answer of the other side. To be raced against a timer by those who can't wait for a receiver that is down.
   */
  settled(id: string): Promise<Settled> {
    const asked = this.#asked.get(id)
    if (asked !== undefined) return asked.promise
    const where = this.#spool.where(id)
    if (where === 'gone') return Promise.resolve({ kind: 'delivered earlier' })
    if (where === 'dead') {
      const { code, reason, status, excerpt } = this.#spool.deadLetter(id)
      return Promise.resolve({ kind: 'dead-lettered', code, reason, status, excerpt })
    }
    const waiting = Promise.withResolvers<Settled>()
    this.#asked.set(id, waiting)
    return waiting.promise
  }

  /** Begins to deliver what lies in the spool and what comes. */
  run(): void {
    this.#checkOpen()
    if (this.#running) return
    this.#running = true
    for (const destination of this.#spool.destinations()) this.#wake(destination)
  }

  counts(): Counts {
    return this.#spool.counts()
  }

  /** Youngest first. */
  deadLetters(): DeadLetter[] {
    return this.#spool.deadLetters()
  }

  /** One of them, with what it was to bring. */
  deadLetter(id: string): DeadLetter & { arguments: string } {
    return this.#spool.deadLetter(id)
  }

  async redeliver(id: string): Promise<void> {
    this.#checkOpen()
    const { destination } = this.#spool.deadLetter(id)
    await this.#spool.redeliver(id, this.#world.now())
    this.#wake(destination)
  }

  async drop(id: string): Promise<void> {
    this.#checkOpen()
    await this.#spool.drop(id)
  }

  /** Waits until nothing is spooled, or so many ms, and says what is left. */
  async drain(ms: number, { own = false, whileAnythingMoves = false }: DrainOptions = {}): Promise<Backlog[]> {
    this.#checkOpen()
    if (!this.#drained(own)) {
      const { promise, resolve: end } = Promise.withResolvers<void>()
      let callOff = this.#world.after(ms, end)
      const moved = () => {
        if (!whileAnythingMoves) return
        callOff()
        callOff = this.#world.after(ms, end)
      }
      const drain = { own, moved, end }
      this.#draining.add(drain)
      await promise
      this.#draining.delete(drain)
      callOff()
    }
    return this.#closed ? [] : this.#spool.backlog()
  }

  /** Breaks off attempts under way (they stay spooled, and may arrive twice), and lets go of the directory. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const patience of this.#patience) patience.abort()
    for (const line of this.#lines.values()) line.callOff()
    await Promise.all(this.#underWay)
    await this.#spool.close()
    for (const { resolve } of this.#asked.values()) resolve({ kind: 'spooled' })
    for (const { end } of this.#draining) end()
  }

  #checkOpen(): void {
    if (this.#closed) throw new Fault('DELIVERY_CLOSED', 'the delivery has been closed')
  }

  #entry(order: Order): NewOrder {
    const integration = this.#integrations.get(order.integration)
    if (integration === undefined) throw unknownIntegration(order.integration, this.#integrations)
    integration.check(order)
    const destination = `${integration.name} ${integration.destination(order)}`
    const json = JSON.stringify(order.arguments)
    const bytes = Buffer.byteLength(json) + Buffer.byteLength(order.script) + Buffer.byteLength(destination)
    const { script } = order
    const accepted = this.#world.now()
    return { id: randomUUID(), integration: integration.name, script, destination, arguments: json, bytes, accepted }
  }

  #wake(destination: string): void {
    if (!this.#running || this.#closed) return
    let line = this.#lines.get(destination)
    if (line === undefined) {
      line = { destination, busy: false, failures: 0, notBefore: 0, callOff: () => {} }
      this.#lines.set(destination, line)
    }
    this.#advance(line)
  }

  #advance(line: Line): void {
    if (line.busy || this.#closed) return
    line.callOff()
    if (this.#underWay.size >= MAX_UNDER_WAY) {
      this.#ready.add(line)
      return
    }
    const now = this.#world.now()
    const order = this.#spool.next(line.destination)
    if (order === null) {
      this.#lines.delete(line.destination)
      return
    }
    const due = Math.max(order.due, line.notBefore)
    if (due > now) {
      line.callOff = this.#world.after(due - now, () => this.#advance(line))
      return
    }
    line.busy = true
    const attempt = this.#attempt(line, order).finally(() => {
      line.busy = false
      this.#underWay.delete(attempt)
      this.#advance(line)
      for (const ready of this.#ready) {
        if (this.#underWay.size >= MAX_UNDER_WAY) break
        this.#ready.delete(ready)
        this.#advance(ready)
      }
    })
    this.#underWay.add(attempt)
  }

  async #attempt(line: Line, order: SpooledOrder): Promise<void> {
    const result = await this.#deliver(order)
    if (result === 'broken off') return
    const outcome = this.#judge(line, order, result)
    await this.#record(order, outcome)
    this.#asked.get(order.id)?.resolve(outcome)
    this.#asked.delete(order.id)
    if (outcome.kind === 'retrying') return
    this.#own.delete(order.id)
    for (const { own, moved, end } of this.#draining) {
      if (this.#drained(own)) end()
      else moved()
    }
  }

  #drained(own: boolean): boolean {
    return own ? this.#own.size === 0 : this.#spool.empty
  }

  async #deliver(spooled: SpooledOrder): Promise<Delivered | Failure | 'broken off'> {
    const { id, script, accepted } = spooled
    const integration = this.#integrations.get(spooled.integration)
    if (integration === undefined) return unknownIntegration(spooled.integration, this.#integrations)
    const order = {
      id,
      integration: integration.name,
      script,
      acceptedAt: accepted,
      arguments: JSON.parse(spooled.arguments),
    }
    const patience = new AbortController()
    this.#patience.add(patience)
    const callOff = this.#world.after(ATTEMPT_TIMEOUT_MS, () => patience.abort())
    try {
      return await heeding(patience.signal, () => integration.deliver(order, patience.signal))
    } catch (error) {
      if (this.#closed) return 'broken off'
      if (patience.signal.aborted) return new Retryable('timeout', `no answer within ${ATTEMPT_TIMEOUT_MS} ms`)
      return error instanceof Retryable || error instanceof Fault ? error : bug(integration, error)
    } finally {
      callOff()
      this.#patience.delete(patience)
    }
  }

  #judge(line: Line, order: SpooledOrder, result: Delivered | Failure): Outcome {
    if (!(result instanceof Error)) {
      line.failures = -CREDIT
      return { kind: 'delivered', reply: result }
    }
    if (result instanceof Retryable) return this.#postpone(line, order, result)
    const { code, message: reason } = result
    const [status, excerpt] = result instanceof Refused ? [result.status, result.excerpt] : [null, null]
    return { kind: 'dead-lettered', code, reason, status, excerpt }
  }

  #postpone(line: Line, order: SpooledOrder, { reason: cause, message: reason, after }: Retryable): Outcome {
    const now = this.#world.now()
    line.failures++
    const asked = after === null ? null : Math.min(Math.max(after, FIRST_PAUSE_MS), LONGEST_PAUSE_ASKED_MS)
    line.notBefore = now + (asked ?? this.#pause(line.failures))
    const attempts = order.attempts + 1
    const dead = { kind: 'dead-lettered', status: null, excerpt: null } as const
    if (attempts >= MAX_ATTEMPTS) {
      return { ...dead, code: 'ATTEMPTS_EXHAUSTED', reason: `failed ${attempts} times, at last: ${reason}` }
    }
    if (now - order.since >= MAX_AGE_MS)
      return { ...dead, code: 'TOO_OLD', reason: `older than a day; at last: ${reason}` }
    const aside = stepsAside(order, line)
    const due = aside
      ? Math.max(line.notBefore, now + this.#pause(Math.max(ATTEMPTS_IN_LINE, attempts - CREDIT)))
      : line.notBefore
    return { kind: 'retrying', cause, reason, due, aside }
  }

  /** Doubles with every failure; half of it is chance, so that those who failed together don't return together. */
  #pause(failures: number): number {
    const whole = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS)
    return Math.round(whole * (0.5 + this.#world.random() / 2))
  }

  #record(order: SpooledOrder, outcome: Outcome): Promise<void> {
    if (outcome.kind === 'delivered') return this.#spool.delivered(order)
    const attempts = order.attempts + 1
    if (outcome.kind === 'dead-lettered') {
      return this.#spool.buried(order, { ...outcome, attempts, died: this.#world.now() })
    }
    return this.#spool.postponed(order, { ...outcome, attempts, aside: outcome.aside ? 1 : 0 })
  }
}

/** The queue of one destination. */
interface Line {
  destination: string
  busy: boolean
  /** In a row, with the credit deducted. */
  failures: number
  /** ms since 1970: what the last failure, or the other side, asked for. */
  notBefore: number
  callOff: () => void
}

/** Somebody waits in drain(). */
interface Drain {
  own: boolean
  /** An order has left the spool. */
  moved: () => void
  end: () => void
}

type Failure = Retryable | Fault

const WORLD: World = {
  now: Date.now,
  random: Math.random,
  after(ms, then) {
    const timer = setTimeout(then, ms)
    return () => clearTimeout(timer)
  },
}

/** With credit it has more attempts, but no less time: a receiver that restarts must not mix up the order. */
function stepsAside({ attempts, aside }: SpooledOrder, { failures }: Line): boolean {
  return aside === 1 || Math.min(attempts + 1, failures) >= ATTEMPTS_IN_LINE
}

/** Ends when the signal does, even if the work does not heed it. */
async function heeding<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const { promise: ended, reject } = Promise.withResolvers<never>()
  const end = () => reject(signal.reason)
  signal.addEventListener('abort', end)
  try {
    return await Promise.race([work(), ended])
  } finally {
    signal.removeEventListener('abort', end)
  }
}

function unknownIntegration(name: string, integrations: Integrations): Fault {
  const known = [...integrations.keys()].join(', ')
  return new Fault('INTEGRATION_UNKNOWN', `there is no integration "${name}"; expected one of: ${known}`)
}

/** Kept with its stack, to be delivered again when the integration is mended. */
function bug(integration: Integration, error: unknown): Fault {
  const stack = error instanceof Error ? error.stack : String(error)
  return new Fault('INTEGRATION_FAILED', `the integration ${integration.name} failed: ${stack}`)
}
