/**
 * In which packets items begin, for whoever writes packets and wants to say so beside them. The packets are read once to
 * find the items; then, in whatever order, each is asked for.
 */
import type { Connection, Half, Instant } from './connections.ts'
import { FragmentPieces } from './fragment-pieces.ts'
import type { Frame } from './frame.ts'
import type { Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import type { Protocols } from './registry.ts'
import type { Span } from './trace.ts'

/** A busy node has thousands of items a second, and a window may be hours long. Some 200 bytes each. */
const MAX_MARKS = 1_000_000
/** Packets of one connection that are remembered: items begin in the last few of them, but some connections never end. */
const MAX_SENT = 16_384

/** Packets come nearly in order of time. Seconds. */
const DISORDER = 2

export class ItemMarks {
  /** Items that are not marked: there were too many, or their first packet is too long ago. */
  unmarked = 0
  /** Ids by packet. */
  private readonly ids = new Map<string, string>()
  private readonly sent = new Map<Connection, Sent[]>()
  private readonly fragments = new FragmentPieces<string>()
  private readonly worker: string
  private readonly pipeline: Pipeline
  private inHand = ''
  private instant: Instant = { seconds: 0, nanoseconds: 0 }

  /** `worker` as in the ids of its items. `protocols` and `keepBodies` as those items were found with. */
  constructor(worker: string, protocols: Protocols, keepBodies: number) {
    this.worker = worker
    const trace = {
      packet: (c: Connection, half: Half, payload: number) => this.note(c, half, payload),
      item: (c: Connection, index: number, spans: readonly Span[]) => this.mark(c, index, spans),
      quote() {},
      wait: (frame: Frame) => this.fragments.add(frame, this.inHand, this.inHand.length),
      join: (frame: Frame) => {
        this.inHand = this.fragments.take(frame)[0] ?? this.inHand
      },
      end: (c: Connection) => {
        this.sent.delete(c)
      },
    }
    this.pipeline = new Pipeline({ protocols, worker: '', node: null, keepBodies, trace }, () => {})
  }

  packet(packet: Packet): void {
    this.inHand = keyOf(packet)
    this.instant = { seconds: packet.seconds, nanoseconds: packet.nanoseconds }
    this.pipeline.packet(packet)
  }

  finish(): void {
    this.pipeline.finish()
    this.sent.clear()
  }

  /** Ids of the items whose first byte this packet carries, a line each; null: of none. Each is told once. */
  of(packet: Packet): string | null {
    const key = keyOf(packet)
    const ids = this.ids.get(key)
    if (ids === undefined) return null
    // A copy of the packet, seen on another interface at the same moment, carries nothing new.
    this.ids.delete(key)
    return ids
  }

  private note(c: Connection, half: Half, payload: number): void {
    let sent = this.sent.get(c)
    if (sent === undefined) {
      sent = []
      this.sent.set(c, sent)
    }
    if (sent.length === MAX_SENT) sent.splice(0, MAX_SENT / 2)
    sent.push({ key: this.inHand, half, payload, ...this.instant })
  }

  private mark(c: Connection, index: number, spans: readonly Span[]): void {
    const first = this.firstOf(c, spans)
    if (first === null || this.ids.size === MAX_MARKS) {
      this.unmarked++
      return
    }
    const id = `${this.worker}/${c.stream}-${index}`
    const others = this.ids.get(first)
    this.ids.set(first, others === undefined ? id : `${others}\n${id}`)
  }

  /** Of an item that tells of the connection itself, its first packet. */
  private firstOf(c: Connection, spans: readonly Span[]): string | null {
    const sent = this.sent.get(c) ?? []
    const [span] = spans
    if (span === undefined) return sent[0]?.key ?? null
    const { half, first } = span
    let other: string | null = null
    for (let i = sent.length - 1; i >= 0; i--) {
      const one = sent[i]!
      if (one.seconds < first.seconds - DISORDER) return other
      if (one.seconds !== first.seconds || one.nanoseconds !== first.nanoseconds || one.payload === 0) continue
      if (one.half === half) return one.key
      other = one.key
    }
    return other
  }
}

interface Sent extends Instant {
  key: string
  half: Half
  /** Bytes. */
  payload: number
}

/** Two packets that are alike in this are one packet that was seen twice, or none that anybody can tell apart. */
function keyOf({ seconds, nanoseconds, length }: Packet): string {
  return `${seconds}.${nanoseconds} ${length}`
}
