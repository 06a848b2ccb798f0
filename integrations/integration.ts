/**
 * Integration: one place things are sent to. A file of this folder that exports `integration` is one; the folder is the
 * registry, so a new one edits nothing. What every one of them needs (disk, order, retry, dead letters) is delivery.ts.
 */
import { readdir } from 'node:fs/promises'
import { join, parse } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Fault } from '../core/fault.ts'
import type { Json } from '../core/item.ts'

export interface Integration {
  /** Its file's name without the ending, and `Order.integration`. */
  name: string
  /** For people: `Slack (incoming webhook)`. */
  title: string
  /** Throws a Fault that says what is wrong with the arguments. Runs before anything is promised. */
  check(order: Order): void
  /** Orders of one destination are sent one after another and wait together. Is logged and shown: never a secret in it. */
  destination(order: Order): string
  /**
   * One attempt. Resolves when the other side has acknowledged; throws Retryable when trying again may help, and a Fault
   * (Refused, when the other side said so) when it never will. Stops when the signal says so. Never retries by itself.
   */
  deliver(order: AcceptedOrder, signal: AbortSignal): Promise<Delivered>
}

/** What a script wants sent. Plain JSON: it lies on disk until the other side has it. */
export interface Order {
  integration: string
  /** Title of the script that sends it. */
  script: string
  arguments: Json
}

export interface AcceptedOrder extends Order {
  /** UUID, the same on every attempt, so that a receiver can tell a repetition. */
  id: string
  /** ms since 1970: when the script sent it, which may be hours before it arrives. */
  acceptedAt: number
}

export interface Delivered {
  /** HTTP status, or 0 where the other side has none. */
  status: number
  /** What it answered, as text; the first MAX_REPLY_BYTES of exchange.ts. */
  body: string
  /** The answer was longer, or ended early. */
  truncated: boolean
}

/** The other side could not take it now. */
export class Retryable extends Error {
  /** Short and greppable, of a small vocabulary, since it is counted by: `http-503`, `ECONNREFUSED`, `timeout`. */
  readonly reason: string
  /** ms the other side asked to wait; null when it did not say. */
  readonly after: number | null
  constructor(reason: string, message: string, after: number | null = null) {
    super(message)
    this.name = 'Retryable'
    this.reason = reason
    this.after = after
  }
}

/** The other side has said no, and will say it again. */
export class Refused extends Fault {
  readonly status: number
  /** The beginning of its answer. */
  readonly excerpt: string
  constructor(code: string, message: string, status: number, excerpt: string) {
    super(code, message)
    this.name = 'Refused'
    this.status = status
    this.excerpt = excerpt
  }
}

export type Integrations = ReadonlyMap<string, Integration>

export async function loadIntegrations(directory = import.meta.dirname): Promise<Integrations> {
  const found = new Map<string, Integration>()
  for (const file of (await readdir(directory)).sort()) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue
    const { integration } = (await import(pathToFileURL(join(directory, file)).href)) as { integration?: Integration }
    if (integration === undefined) continue
    const name = parse(file).name
    if (integration.name !== name) {
      throw new Fault(
        'INTEGRATION_MISNAMED',
        `${file} must export an integration named "${name}", found "${integration.name}"`,
      )
    }
    found.set(name, integration)
  }
  return found
}
