/**
 * Picks the packets of one connection out of many, by the name of its stream. What belongs to a connection, the pipeline
 * says that named it: where the next one begins between the same ends, and which fragments were its datagrams.
 */
import type { Connection } from './connections.ts'
import { FragmentPieces } from './fragment-pieces.ts'
import { decode, Frame } from './frame.ts'
import { emptyPacket, type Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import type { Protocols } from './registry.ts'
import { formatStreamName, type StreamName, streamHash } from './stream-name.ts'
import type { Trace } from './trace.ts'

export interface StreamTaker {
  /** A packet of the connection, valid during the call. `number` is its number among all that were handed in, from 0. */
  own(packet: Packet, number: number): void
  /** An ICMP error that quotes one of its packets. */
  quote?(packet: Packet): void
}

/** Fragments are waited for no longer (core/fragments.ts): none of a connection's first datagram is older. Seconds. */
export const FRAGMENTS_BEFORE = 30
/** Packets of several interfaces come nearly in order of time. Seconds behind its beginning at which a stream is missed. */
const LATEST = 10

export class StreamPackets {
  /** Nothing more will be of it: it has ended, or it should have begun by now. */
  done = false
  /** Its beginning was there. */
  found = false
  private readonly name: StreamName
  private readonly text: string
  private readonly taker: StreamTaker
  private readonly begin: 'first packet' | 'middle'
  private readonly pipeline: Pipeline
  private readonly frame = new Frame()
  /** null: it was not found yet. */
  connection: Connection | null = null
  private inHand: Packet = emptyPacket()
  /** The other fragments of the datagram that the packet in hand completes. */
  private pieces: readonly Piece[] = []
  private readonly fragments = new FragmentPieces<Piece>()
  private number = -1

  /**
   * `middle`: its first packets are gone. Then it is what goes on between its ends when the packets begin; where a
   * handshake comes first, that is another connection.
   */
  constructor(name: StreamName, taker: StreamTaker, begin: 'first packet' | 'middle' = 'first packet') {
    this.begin = begin
    this.name = name
    this.text = formatStreamName(name)
    this.taker = taker
    const settings = { protocols: NO_PROTOCOLS, worker: '', node: null, keepBodies: 0, trace: this.trace() }
    this.pipeline = new Pipeline(settings, () => {})
  }

  /** In the order of the capture that named the stream, from `FRAGMENTS_BEFORE` its beginning on. */
  packet(packet: Packet): void {
    this.number++
    if (this.done) return
    if (!this.found && this.begin === 'first packet') {
      const late = packet.seconds - this.name.seconds || (packet.nanoseconds - this.name.nanoseconds) / 1e9
      this.done = late > LATEST
      if (this.done || (late < 0 && decode(packet, this.frame) !== 'fragment')) return
    }
    this.inHand = packet
    this.pieces = []
    this.pipeline.packet(packet)
  }

  private trace(): Trace {
    return {
      packet: c => {
        if (this.isMeant(c)) this.hand((packet, number) => this.taker.own(packet, number))
      },
      quote: c => {
        if (c === this.connection) this.hand(packet => this.taker.quote?.(packet))
      },
      wait: frame => {
        const piece = { packet: copied(this.inHand), number: this.number }
        this.fragments.add(frame, piece, piece.packet.end)
      },
      join: frame => {
        this.pieces = [...this.pieces, ...this.fragments.take(frame)]
      },
      item() {},
      end: c => {
        if (c === this.connection) this.done = true
      },
    }
  }

  private isMeant(c: Connection): boolean {
    if (!this.found && (this.begin === 'first packet' ? this.isNamed(c) : this.isBetweenEnds(c))) {
      this.found = true
      this.connection = c
    }
    return c === this.connection
  }

  private isNamed(c: Connection): boolean {
    return c.nanoseconds === this.name.nanoseconds && c.stream === this.text
  }

  private isBetweenEnds({ hash, transport, scope, midstream }: Connection): boolean {
    if (transport !== this.name.transport || streamHash(hash, transport, scope) !== this.name.hash) return false
    this.done = !midstream
    return midstream
  }

  private hand(to: (packet: Packet, number: number) => void): void {
    for (const { packet, number } of this.pieces) to(packet, number)
    to(this.inHand, this.number)
  }
}

interface Piece {
  packet: Packet
  number: number
}

function copied(packet: Packet): Packet {
  const { start, end } = packet
  return { ...packet, bytes: Uint8Array.prototype.slice.call(packet.bytes, start, end), start: 0, end: end - start }
}

const NO_PROTOCOLS: Protocols = { dissectors: [], refiners: [], observers: [], faces: [] }
