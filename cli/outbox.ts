/** What scripts send: the spool on disk, opened with the first order, and what became of this run's orders. */
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../core/fault.ts'
import type { Delivery } from '../integrations/delivery.ts'
import type { Order } from '../integrations/integration.ts'
import type { Counts } from '../integrations/spool.ts'
import { stateFolder } from './state.ts'

export function defaultSpool(): string {
  return stateFolder('spool')
}

export async function openDelivery(directory: string): Promise<Delivery> {
  // Most runs send nothing, and a database and HTTP clients take time to load.
  const [{ Delivery }, { loadIntegrations }] = await Promise.all([
    import('../integrations/delivery.ts'),
    import('../integrations/integration.ts'),
  ])
  try {
    return Delivery.open(directory, { integrations: await loadIntegrations() })
  } catch (error) {
    if (error instanceof Fault && error.code === 'SPOOL_IN_USE')
      throw new Fault(error.code, `${error.message}; --spool DIR names another`)
    throw error
  }
}

export interface Sent {
  /** Waiting since earlier runs, and sent by this one. */
  before: number
  produced: number
  delivered: number
  spooled: number
  deadLettered: number
  refused: number
}

/** A script stands still while it waits for an answer: a receiver that takes longer has it delivered all the same. */
const REPLY_MS = 2000
/** After an answer that did not come, nobody waits for one for a while: a receiver that is down must not stop the run. */
const SILENCE_MS = 10_000

export class Outbox {
  readonly directory: string
  private opening: Promise<Delivery> | null = null
  private delivery: Delivery | null = null
  private atStart: Counts | null = null
  private silentUntil = 0

  constructor(directory: string) {
    this.directory = directory
  }

  open(): Promise<Delivery> {
    this.opening ??= openDelivery(this.directory).then(delivery => {
      this.delivery = delivery
      this.atStart = delivery.counts()
      delivery.run()
      return delivery
    })
    return this.opening
  }

  /** Resolves when the order is safe, with the other side's answer if that comes soon, else with nothing. */
  async send(order: Order): Promise<string> {
    const delivery = await this.open()
    const { id } = await delivery.accept(order)
    if (performance.now() < this.silentUntil) return ''
    const outcome = await Promise.race([delivery.settled(id), pause(REPLY_MS, null, { ref: false })])
    if (outcome?.kind === 'delivered') return outcome.reply.body
    this.silentUntil = performance.now() + SILENCE_MS
    return ''
  }

  /** Waits until everything that this run has sent is delivered, or so many ms, or `hurry`. */
  async drain(ms: number, hurry: Promise<void>): Promise<void> {
    if (this.delivery) await Promise.race([this.delivery.drain(ms, { own: true }), hurry])
  }

  /** null: nothing was sent, and the spool not even opened. */
  sent(): Sent | null {
    if (!this.delivery) return null
    const now = this.delivery.counts()
    const then = this.atStart!
    return {
      before: then.spooled,
      produced: now.produced - then.produced,
      delivered: now.delivered - then.delivered,
      spooled: now.spooled,
      deadLettered: now.deadLettered - then.deadLettered,
      refused: now.refused - then.refused,
    }
  }

  async close(): Promise<void> {
    await this.delivery?.close()
  }
}
