/**
 * Requests that wait for their answer. Better no pair than a wrong one: after bytes were lost, an answer belongs to a
 * request only if it begins at the very byte that the request acknowledged.
 */
import { Buffer } from 'node:buffer'
import type { Face, Side } from './dissector.ts'
import type { ItemError, Json } from './item.ts'
import { Written } from './json-writer.ts'
import type { Span } from './trace.ts'

/** A question that is never answered must not stay: a scanner opens thousands. */
export const MAX_WAITING = 10_000
/** Where only one direction was captured nothing is ever answered, and uploads are large. */
export const MAX_WAITING_BYTES = 8 << 20
/** What a request takes beside its text. */
const REQUEST_BYTES = 256

export interface Request {
  face: Face
  /** Who sent it. */
  asker: Side
  /** The body as the dissector gave it, or its text. */
  body: Json | Written
  size: number
  /** Sequence number behind its last byte, in a stream. */
  end: number
  seconds: number
  nanoseconds: number
  key: string | number | undefined
  memo: unknown
  /** The client had received everything before this byte of the server when it sent the request. */
  ack: number
  /** Sent after bytes were lost: how many answers are still under way is not known. */
  exact: boolean
  /** Bytes that the client sent next were lost, perhaps another request. */
  followed: boolean
  version: string | undefined
  failed: boolean
  error: ItemError | null
  /** Fields that a refiner adds. */
  gained: Json | Written | undefined
  /** Answers that were paired with it already (`Message.more`). */
  answers: number
  /** Where somebody asks for packets: those that it came in. */
  span?: Span | undefined
}

/** Memory that it takes while it waits. */
export function weightOf({ body, size }: Request): number {
  return REQUEST_BYTES + (body instanceof Written ? body.end - body.start : size)
}

export class Waiting {
  /** In order of sending. */
  readonly queue: Request[] = []
  /** Memory that they take. */
  bytes = 0

  get count(): number {
    return this.queue.length
  }

  /** Takes out the first one. */
  shift(): Request | undefined {
    // Mostly one waits: the engine does without moving the others.
    return this.queue.length === 1 ? this.queue.pop() : this.queue.shift()
  }

  /** The request that an answer beginning at sequence number `start` belongs to, null if that cannot be said. */
  next(start: number): Request | null {
    const first = this.queue[0]
    if (first === undefined) return null
    if (!first.exact) return first
    if (first.ack !== start) return null
    first.exact = false
    return first
  }

  /** Takes out the first request if the answer that begins at `start` comes after the one it should have had. */
  overtaken(start: number): Request | null {
    const first = this.queue[0]
    if (first === undefined || !first.exact || ((start - first.ack) | 0) <= 0) return null
    const second = this.queue[1]
    if (second !== undefined) second.exact = true
    return this.shift()!
  }

  /** The newest request with this key: an older one with the same key was repeated by its sender. */
  take(key: string | number | undefined): Request | null {
    const { queue } = this
    const last = queue.length - 1
    // Mostly the last one, or the only one: taking it out of the middle makes an array.
    if (last >= 0 && queue[last]!.key === key) return queue.pop()!
    for (let i = last - 1; i >= 0; i--) if (queue[i]!.key === key) return queue.splice(i, 1)[0]!
    return null
  }

  peek(key: string | number | undefined): Request | null {
    return this.queue.findLast(request => request.key === key) ?? null
  }

  clear(): Request[] {
    return this.queue.splice(0)
  }
}

/** Enough for some twenty requests; small, because one request that waits for an hour keeps its whole slab. */
const SLAB = 16_384

/** Copies of texts that must outlive the buffer they were written in, many to one allocation. */
export class Slab {
  private bytes = Buffer.alloc(0)
  private used = 0

  keep(text: Written): Written {
    const size = text.end - text.start
    if (this.used + size > this.bytes.length) {
      this.bytes = Buffer.allocUnsafeSlow(Math.max(SLAB, size))
      this.used = 0
    }
    const start = this.used
    copy(text, this.bytes, start)
    this.used += size
    return text.movedTo(this.bytes, start)
  }
}

/** Buffer.copy spares the view that TypedArray.set needs. */
function copy(text: Written, target: Buffer, at: number): void {
  if (text.bytes instanceof Buffer) text.bytes.copy(target, at, text.start, text.end)
  else target.set(text.bytes.subarray(text.start, text.end), at)
}
