/**
 * Hears everything that is said over TCP and UDP, in order, beside the conversation, and which of it each item tells of:
 * for who says it again (worker/replay.ts). A trace (trace.ts) hears of packets instead, before they are put in order and
 * also of those that say nothing.
 */
import type { Connection, Half } from './connections.ts'
import type { Ending } from './dissector.ts'
import type { Answer } from './item-writer.ts'
import type { Request } from './pairing.ts'
import type { Said } from './reassembly.ts'
import type { Listener } from './unclaimed.ts'

/** Bytes are only valid during the call, and heard before any item is made of them. */
export interface Witness extends Listener {
  /** What comes next is item number `c.items` of this connection, and its messages end where `Request.end` says. */
  item(c: Connection, request: Request | null, answer: Answer | null): void
}

/** Stands before whoever listens. */
export class Witnessed implements Listener {
  private readonly listener: Listener
  private readonly witness: Witness

  constructor(listener: Listener, witness: Witness) {
    this.listener = listener
    this.witness = witness
  }

  bytes(...said: [...Said, ack: number]): void {
    this.witness.bytes(...said)
    this.listener.bytes(...said)
  }

  gap(c: Connection, half: Half, length: number): void {
    this.witness.gap(c, half, length)
    this.listener.gap(c, half, length)
  }

  datagram(...said: [...Said, missing: number]): void {
    this.witness.datagram(...said)
    this.listener.datagram(...said)
  }

  end(c: Connection, half: Half, why: Ending): void {
    this.listener.end(c, half, why)
    this.witness.end(c, half, why)
  }

  finish(c: Connection, why: Ending): void {
    this.listener.finish(c, why)
    this.witness.finish(c, why)
  }
}
