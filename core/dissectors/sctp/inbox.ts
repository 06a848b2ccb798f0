/**
 * What one side of an association sends, put together: fragments by their transmission sequence numbers (RFC 9260, 6.9),
 * interleaved ones by message and number (RFC 8260, 2.1), each one once.
 */
import type { Moment } from '../../dissector.ts'

export interface Fragment {
  tsn: number
  stream: number
  /** Sequence number within the stream; of an interleaved one its message identifier. */
  ssn: number
  interleaved: boolean
  ppid: number
  /** Place among the fragments of its message. */
  index: number
  unordered: boolean
  first: boolean
  final: boolean
  /** Bytes of user data. */
  size: number
}

export interface UserMessage {
  fragment: Fragment
  fragments: number
  size: number
  /** The first bytes, as many as are kept and were captured. */
  kept: Uint8Array
  /** Of the first fragment, where there are several. */
  since: Moment | null
}

interface Held extends Fragment {
  bytes: Uint8Array
  moment: Moment
}

/** Behind a packet that was not captured, numbers pile up: an association has no more than this under way. */
const MAX_AHEAD = 4096
/** Where the beginning was not seen, so many numbers before the first one that was may still come. */
const MAX_REORDERED = 16
/** User data that waits for the rest of its message; a sender who never finishes one must not fill the memory. */
const MAX_WAITING_BYTES = 256 << 10
const MAX_WAITING = 256

export class Inbox {
  /** Everything up to here was seen; null before the first. */
  private seen: number | null = null
  private readonly ahead = new Set<number>()
  /** Fragments of unfinished messages, in order of their coming. */
  private readonly waiting = new Map<number | string, Held>()
  private waitingBytes = 0

  /** The first number that will be used. */
  begin(tsn: number): void {
    this.seen = (tsn - 1) >>> 0
    this.ahead.clear()
    this.drop(() => true)
  }

  /** The sender has given up everything up to `tsn` (RFC 3758). */
  forward(tsn: number): void {
    if (this.seen === null || isBefore(this.seen, tsn)) this.advanceTo(tsn)
    this.drop(held => !isBefore(tsn, held.tsn))
  }

  /** A message that is complete with this fragment; null for one that is not, or came before. */
  take(
    fragment: Fragment,
    bytes: Uint8Array,
    start: number,
    end: number,
    keep: number,
    moment: Moment,
  ): UserMessage | null {
    if (this.isKnown(fragment.tsn)) return null
    if (fragment.first && fragment.final) {
      const kept = bytes.subarray(start, Math.min(end, start + keep))
      return { fragment, fragments: 1, size: fragment.size, kept, since: null }
    }
    const copy = new Uint8Array(bytes.subarray(start, Math.min(end, start + keep)))
    const held = { ...fragment, bytes: copy, moment }
    this.hold(held)
    return this.complete(held, keep)
  }

  private isKnown(tsn: number): boolean {
    this.seen ??= (tsn - 1 - MAX_REORDERED) >>> 0
    if (!isBefore(this.seen, tsn) || this.ahead.has(tsn)) return true
    this.ahead.add(tsn)
    if (this.ahead.size > MAX_AHEAD) this.advanceTo(Math.min(...this.ahead))
    while (this.ahead.delete((this.seen + 1) >>> 0)) this.seen = (this.seen + 1) >>> 0
    return false
  }

  private advanceTo(tsn: number): void {
    this.seen = tsn
    for (const one of this.ahead) if (!isBefore(tsn, one)) this.ahead.delete(one)
    while (this.ahead.delete((this.seen + 1) >>> 0)) this.seen = (this.seen + 1) >>> 0
  }

  private hold(held: Held): void {
    this.waiting.set(keyOf(held, held.index), held)
    this.waitingBytes += held.bytes.length
    for (const [key, oldest] of this.waiting) {
      if (this.waitingBytes <= MAX_WAITING_BYTES && this.waiting.size <= MAX_WAITING) return
      this.remove(key, oldest)
    }
  }

  private remove(key: number | string, held: Held): void {
    this.waiting.delete(key)
    this.waitingBytes -= held.bytes.length
  }

  private drop(isOver: (held: Held) => boolean): void {
    for (const [key, held] of this.waiting) if (isOver(held)) this.remove(key, held)
  }

  /** The message that `newest` belongs to, if all of it is here. Mostly the last fragment comes last: it is looked for first. */
  private complete(newest: Held, keep: number): UserMessage | null {
    const message = [newest]
    for (let last = newest; !last.final; message.push(last)) {
      const next = this.part(last, last.index + 1)
      if (next === null) return null
      last = next
    }
    for (let first = newest; !first.first; message.unshift(first)) {
      const before = this.part(first, first.index - 1)
      if (before === null) return null
      first = before
    }
    for (const part of message) this.remove(keyOf(part, part.index), part)
    const size = message.reduce((sum, part) => sum + part.size, 0)
    const first = message[0]!
    return { fragment: first, fragments: message.length, size, kept: joined(message, keep), since: first.moment }
  }

  private part(of: Held, index: number): Held | null {
    const found = this.waiting.get(keyOf(of, index >>> 0))
    return found !== undefined && isSameMessage(found, of) ? found : null
  }
}

/** Transmission sequence numbers are everybody's own; interleaved fragments are numbered within their message. */
function keyOf({ interleaved, stream, unordered, ssn }: Fragment, index: number): number | string {
  return interleaved ? `${stream} ${unordered} ${ssn} ${index}` : index
}

function isSameMessage(a: Held, b: Held): boolean {
  if (a.interleaved !== b.interleaved || a.stream !== b.stream || a.unordered !== b.unordered) return false
  // The number of unordered messages is not used; theirs are told apart by their sequence numbers alone.
  return a.ssn === b.ssn || (a.unordered && !a.interleaved)
}

/** RFC 1982. */
function isBefore(a: number, b: number): boolean {
  return ((b - a) | 0) > 0
}

function joined(parts: readonly Held[], keep: number): Uint8Array {
  const size = Math.min(
    keep,
    parts.reduce((sum, { bytes }) => sum + bytes.length, 0),
  )
  const whole = new Uint8Array(size)
  let length = 0
  for (const { bytes } of parts) {
    const part = bytes.subarray(0, size - length)
    whole.set(part, length)
    length += part.length
  }
  return whole
}
