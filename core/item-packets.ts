/**
 * Finds which packets of a connection carried one of its items, by reading them once more: the packets of its request and
 * of its response, from the one with the first byte to the one with the last. Where messages lie between each other, as on
 * HTTP/2, what lies between is among them. An item that tells of the connection itself was carried by all until then.
 */
import type { Connection, Half, Instant } from './connections.ts'
import { FragmentPieces } from './fragment-pieces.ts'
import type { Frame } from './frame.ts'
import type { Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import type { Protocols } from './registry.ts'
import type { Span } from './trace.ts'
import type { Claimant } from './unclaimed.ts'

export interface ItemPackets {
  /** Numbers among the packets that were handed in, from 0, in their order. */
  packets: readonly number[]
  /** That with the item's first byte. */
  first: number
  /** When the first and the last of them were captured. */
  begin: Instant
  end: Instant
}

/** A part of an item, as somebody tells it who has seen no packets: that half sent it, between these moments. */
export interface Carried {
  /** `forth` sent the first packet of the connection. */
  half: 'forth' | 'back'
  first: Instant
  last: Instant
}

/** Dissectors that live elsewhere: they are given the streams that ours do not know, and may find the item there. */
export interface Seeker {
  readonly claimant: Claimant
  /** Wait for it before handing over more. */
  relief(): Promise<void>
  /** When all was handed over. null: none of them has made the item. */
  found(): Promise<readonly Carried[] | null>
}

export class ItemSearch {
  /** null: it was not there, or not yet. */
  found: ItemPackets | null = null
  private readonly stream: string
  private readonly index: number
  private connection: Connection | null = null
  private readonly pipeline: Pipeline
  private readonly sent: Sent[] = []
  private handed = 0
  private instant: Instant = { seconds: 0, nanoseconds: 0 }
  /** Numbers of the fragments that the packet in hand completes. */
  private pieces: readonly number[] = []
  private readonly fragments = new FragmentPieces<number>()

  /** `protocols` and `keepBodies` must be those that the item was found with: what is told decides how it is numbered. */
  constructor(
    stream: string,
    index: number,
    protocols: Protocols,
    keepBodies: number,
    claimant: Claimant | null = null,
  ) {
    this.stream = stream
    this.index = index
    const trace = {
      packet: (c: Connection, half: Half, payload: number) => this.note(c, half, payload),
      item: (c: Connection, number: number, spans: readonly Span[]) => this.take(c, number, spans),
      quote() {},
      wait: (frame: Frame) => this.fragments.add(frame, this.handed, 8),
      join: (frame: Frame) => {
        this.pieces = [...this.pieces, ...this.fragments.take(frame)]
      },
      end() {},
    }
    this.pipeline = new Pipeline({ protocols, worker: '', node: null, keepBodies, trace, claimant }, () => {})
  }

  /** All of the connection, in order, and the errors of ICMP that quote it. */
  packet(packet: Packet): void {
    if (this.found !== null) return
    this.instant = { seconds: packet.seconds, nanoseconds: packet.nanoseconds }
    this.pieces = []
    this.pipeline.packet(packet)
    this.handed++
  }

  finish(): void {
    if (this.found === null) this.pipeline.finish()
  }

  /** What a dissector that lives elsewhere has found; null: nothing. */
  tell(carried: readonly Carried[] | null): void {
    const c = this.connection
    if (c !== null && carried !== null)
      this.take(
        c,
        this.index,
        carried.map(({ half, first, last }) => ({ half: c[half], first, last })),
      )
  }

  private note(c: Connection, half: Half, payload: number): void {
    if (c.stream !== this.stream) return
    this.connection = c
    for (const number of [...this.pieces, this.handed]) this.sent.push({ number, half, payload, ...this.instant })
  }

  private take(c: Connection, index: number, spans: readonly Span[]): void {
    if (index !== this.index || this.found !== null || c.stream !== this.stream) return
    const parts = spans.length === 0 ? [this.sent] : spans.map(span => this.carriers(span))
    const first = parts[0]![0]
    if (first === undefined) return
    const carried = [...new Set(parts.flat())].sort((a, b) => a.number - b.number)
    const instants = carried.map(({ seconds, nanoseconds }) => ({ seconds, nanoseconds })).sort(compare)
    this.found = {
      packets: carried.map(({ number }) => number),
      first: first.number,
      begin: instants[0]!,
      end: instants.at(-1)!,
    }
  }

  private carriers({ half, first, last }: Span): Sent[] {
    const between = this.sent.filter(one => one.payload > 0 && compare(first, one) <= 0 && compare(one, last) <= 0)
    const byHalf = between.filter(one => one.half === half)
    return byHalf.some(one => compare(one, first) === 0) ? byHalf : between.filter(one => one.half !== half)
  }
}

/** A packet, as far as it matters here. */
interface Sent extends Instant {
  number: number
  half: Half
  /** Bytes. */
  payload: number
}

function compare(a: Instant, b: Instant): number {
  return a.seconds - b.seconds || a.nanoseconds - b.nanoseconds
}
