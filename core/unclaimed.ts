/**
 * Streams that no dissector knows, handed to somebody who may: dissectors that live in scripts. Stands between
 * reassembly and conversation and listens to both; what is decided there stays decided.
 */
import type { Connection, Half } from './connections.ts'
import type { Conversation } from './conversation.ts'
import type { Ending } from './dissector.ts'
import type { Reader } from './reassembly.ts'

/** Who is told what the ends of a connection send. */
export interface Listener extends Reader {
  end(c: Connection, half: Half, why: Ending): void
  finish(c: Connection, why: Ending): void
  datagram(
    c: Connection,
    half: Half,
    bytes: Uint8Array,
    start: number,
    end: number,
    seconds: number,
    nanoseconds: number,
    missing: number,
  ): void
}

/** Who takes such streams. Everything comes in order; `bytes` are only valid during the call. */
export interface Claimant {
  /** Does it still want this stream? */
  wants(c: Connection): boolean
  bytes(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, when: When): void
  gap(c: Connection, half: Half, length: number): void
  end(c: Connection, half: Half, why: Ending): void
  finish(c: Connection, why: Ending): void
  /** Somebody else knows the protocol now. */
  forget(c: Connection): void
}

/** Of the packet, and what its sender had received. */
export interface When {
  seconds: number
  nanoseconds: number
  ack: number
  /** Sequence number behind the bytes. */
  next: number
}

/** While it is not decided who knows a protocol its bytes are kept; over all connections no more than this. */
const MAX_UNDECIDED = 8 << 20

interface Kept {
  half: Half
  bytes: Uint8Array
  when: When
}

export class Unclaimed implements Listener {
  private readonly conversation: Conversation
  private readonly claimant: Claimant
  private readonly undecided = new Map<Connection, Kept[]>()
  private size = 0

  constructor(conversation: Conversation, claimant: Claimant) {
    this.conversation = conversation
    this.claimant = claimant
  }

  bytes(
    c: Connection,
    half: Half,
    bytes: Uint8Array,
    start: number,
    end: number,
    seconds: number,
    nanoseconds: number,
    ack: number,
  ): void {
    const { next } = half
    this.conversation.bytes(c, half, bytes, start, end, seconds, nanoseconds, ack)
    this.offer(c, half, bytes, start, end, { seconds, nanoseconds, ack, next })
  }

  datagram(
    c: Connection,
    half: Half,
    bytes: Uint8Array,
    start: number,
    end: number,
    seconds: number,
    nanoseconds: number,
    missing: number,
  ): void {
    this.conversation.datagram(c, half, bytes, start, end, seconds, nanoseconds, missing)
    if (missing === 0) this.offer(c, half, bytes, start, end, { seconds, nanoseconds, ack: 0, next: 0 })
  }

  gap(c: Connection, half: Half, length: number): void {
    this.conversation.gap(c, half, length)
    if (!this.isUnclaimed(c)) return
    this.decide(c)
    this.claimant.gap(c, half, length)
  }

  end(c: Connection, half: Half, why: Ending): void {
    this.conversation.end(c, half, why)
    if (!this.isUnclaimed(c)) return
    this.decide(c)
    this.claimant.end(c, half, why)
  }

  finish(c: Connection, why: Ending): void {
    this.conversation.finish(c, why)
    if (!this.isUnclaimed(c)) return
    this.decide(c)
    this.claimant.finish(c, why)
  }

  private offer(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, when: When): void {
    if (!this.isUnclaimed(c)) return
    if (c.unknown || c.midstream || c.transport !== 'tcp') {
      this.decide(c)
      this.claimant.bytes(c, half, bytes, start, end, when)
      return
    }
    const kept = this.undecided.get(c) ?? []
    kept.push({ half, bytes: bytes.slice(start, end), when })
    this.undecided.set(c, kept)
    this.size += end - start
    for (const [oldest] of this.undecided) {
      if (this.size <= MAX_UNDECIDED) break
      this.decide(oldest)
    }
  }

  /** Also lets go of what somebody knows meanwhile. */
  private isUnclaimed(c: Connection): boolean {
    if (c.dissector === null && c.passedOver === 'unknown protocol' && this.claimant.wants(c)) return true
    this.drop(c)
    if (c.dissector !== null) this.claimant.forget(c)
    return false
  }

  /** Hands over what was kept. */
  private decide(c: Connection): void {
    const kept = this.drop(c)
    for (const { half, bytes, when } of kept) this.claimant.bytes(c, half, bytes, 0, bytes.length, when)
  }

  private drop(c: Connection): Kept[] {
    const kept = this.undecided.get(c)
    if (kept === undefined) return []
    this.undecided.delete(c)
    for (const { bytes } of kept) this.size -= bytes.length
    return kept
  }
}
