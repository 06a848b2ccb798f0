/**
 * Streams that no dissector knows, handed to somebody who may: dissectors that live in scripts. Stands between
 * reassembly and conversation and listens to both; what is decided there stays decided. Bytes are handed over when they
 * are counted as of an unknown protocol, and only these: whoever reads them moves them from there in the tally.
 */
import type { Connection, Half } from './connections.ts'
import type { Conversation } from './conversation.ts'
import type { Ending } from './dissector.ts'
import type { Reader, Said } from './reassembly.ts'
import type { Refining } from './refining.ts'
import type { Tally } from './tally.ts'

/** Who is told what the ends of a connection send. */
export interface Listener extends Reader {
  end(c: Connection, half: Half, why: Ending): void
  finish(c: Connection, why: Ending): void
  /** `missing`: so many of its last bytes the capture cut off. */
  datagram(...said: [...Said, missing: number]): void
}

/** Who takes such streams. Everything comes in order; `bytes` are only valid during the call. */
export interface Claimant {
  /** Does it still want this stream? */
  wants(c: Connection): boolean
  bytes(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, when: When): void
  /** `next`: sequence number behind what is missing. */
  gap(c: Connection, half: Half, length: number, next: number): void
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

/** What is to be said of a half once it is decided. */
interface Kept {
  half: Half
  bytes: number
  tell(): void
}

export class Unclaimed implements Listener {
  private readonly conversation: Conversation
  private readonly claimant: Claimant
  private readonly refining: Refining
  private readonly tally: Tally
  private readonly undecided = new Map<Connection, Kept[]>()
  private size = 0

  constructor(conversation: Conversation, claimant: Claimant, refining: Refining, tally: Tally) {
    this.conversation = conversation
    this.claimant = claimant
    this.refining = refining
    this.tally = tally
  }

  bytes(...said: [...Said, ack: number]): void {
    const [c, half, bytes, start, end, seconds, nanoseconds, ack] = said
    const { next } = half
    const { parsed } = this.tally
    this.conversation.bytes(...said)
    // Those behind the end are counted as that.
    if (!this.isUnclaimed(c) || (half.ended && !c.unknown)) return
    if (this.tally.parsed !== parsed) {
      // A protocol ended within them, behind which another begins.
      this.lose(c)
      this.miss(c, half, end - start, next)
      return
    }
    const when = { seconds, nanoseconds, ack, next }
    if (this.isDecided(c)) {
      this.tellKept(c)
      this.claimant.bytes(c, half, bytes, start, end, when)
      return
    }
    const copy = Uint8Array.prototype.slice.call(bytes, start, end)
    this.keep(c, half, copy.length, () => this.claimant.bytes(c, half, copy, 0, copy.length, when))
    for (const [oldest] of this.undecided) {
      if (this.size <= MAX_UNDECIDED) break
      this.lose(oldest)
    }
  }

  datagram(...said: [...Said, missing: number]): void {
    const [c, half, bytes, start, end, seconds, nanoseconds, missing] = said
    const { parsed } = this.tally
    this.conversation.datagram(...said)
    if (missing > 0 || this.tally.parsed !== parsed || !this.isUnclaimed(c)) return
    this.claimant.bytes(c, half, bytes, start, end, { seconds, nanoseconds, ack: 0, next: 0 })
  }

  gap(c: Connection, half: Half, length: number): void {
    const { next } = half
    const held = half.held !== null
    this.conversation.gap(c, half, length)
    if (!this.isUnclaimed(c)) return
    // What was held of a message is counted as that.
    if (held) this.lose(c)
    this.miss(c, half, length, next)
  }

  end(c: Connection, half: Half, why: Ending): void {
    this.conversation.end(c, half, why)
    if (!this.isUnclaimed(c)) return
    this.keep(c, half, 0, () => this.claimant.end(c, half, why))
    if (this.isDecided(c)) this.tellKept(c)
  }

  finish(c: Connection, why: Ending): void {
    this.conversation.finish(c, why)
    if (!this.isUnclaimed(c)) return
    this.tellKept(c)
    this.claimant.finish(c, why)
  }

  /** Also lets go of what somebody knows meanwhile. Payload that is told of as it is has no other reader. */
  private isUnclaimed(c: Connection): boolean {
    if (c.dissector === null && c.passedOver === 'unknown protocol' && this.claimant.wants(c))
      return this.refining.unclaimed(c.transport) === undefined
    this.drop(c)
    if (c.dissector !== null) this.claimant.forget(c)
    return false
  }

  /** No dissector will want what was said so far. In mid-stream that is each time none holds any of it. */
  private isDecided(c: Connection): boolean {
    return c.unknown || (c.midstream && c.forth.held === null && c.back.held === null)
  }

  private keep(c: Connection, half: Half, bytes: number, tell: () => void): void {
    const kept = this.undecided.get(c)
    if (kept === undefined) this.undecided.set(c, [{ half, bytes, tell }])
    else kept.push({ half, bytes, tell })
    this.size += bytes
  }

  private miss(c: Connection, half: Half, length: number, next: number): void {
    this.keep(c, half, 0, () => this.claimant.gap(c, half, length, next))
    if (this.isDecided(c)) this.tellKept(c)
  }

  private tellKept(c: Connection): void {
    for (const { tell } of this.drop(c)) tell()
  }

  /** What is kept is handed to nobody: it may be counted otherwise. */
  private lose(c: Connection): void {
    for (const { half, bytes, tell } of this.drop(c)) {
      if (bytes === 0) tell()
      else this.claimant.gap(c, half, bytes, half.next)
    }
  }

  private drop(c: Connection): Kept[] {
    const kept = this.undecided.get(c)
    if (kept === undefined) return []
    this.undecided.delete(c)
    for (const { bytes } of kept) this.size -= bytes
    return kept
  }
}
