/** What became of every byte and every message. `bytes = headers + parsed + skipped`, and every skip has its cause. */

/** Why bytes were passed over, in the words that are shown to users. */
export type SkipCause =
  | 'not IP'
  | 'unknown link type'
  | 'unreadable headers'
  | 'IP fragments not completed'
  | 'transport not dissected'
  | 'unknown protocol'
  | 'encrypted'
  | 'sent twice'
  | 'after a gap'
  | 'malformed'
  | 'message cut short'
  | 'in a reset'
  | 'behind the end'
  | 'over a limit'

/** Limits that closed something before its time, each with its own count. */
export type LimitCause =
  | 'connections'
  | 'dormant flows'
  | 'buffered bytes'
  | 'message size'
  | 'waiting requests'
  | 'out-of-order bytes'

export interface ProtocolTally {
  items: number
  pairs: number
  /** Requests without an answer, and answers without a request. */
  halfPairs: number
  events: number
  failed: number
  bytes: number
}

/** What others made of bytes that were passed over as of an unknown protocol. */
export interface Reclaimed {
  parsed: number
  /** By cause, that one not among them. */
  skipped: readonly (readonly [cause: string, bytes: number])[]
  /** Limits that closed something before its time, each with its count. */
  limits: readonly (readonly [cause: string, count: number])[]
  protocols: readonly (readonly [name: string, tally: ProtocolTally])[]
}

/** A capture that somebody made up may name another one with every packet. */
const MAX_UNKNOWN_LINKS = 16

const NONE: ProtocolTally = Object.freeze({ items: 0, pairs: 0, halfPairs: 0, events: 0, failed: 0, bytes: 0 })

export class Tally {
  packets = 0
  /** Captured bytes, link headers included. */
  bytes = 0
  /** Bytes of link, IP and transport headers and of Ethernet padding. */
  headers = 0
  parsed = 0
  skipped = new Map<SkipCause, number>()
  /** Packets of link types that are not read, by their LINKTYPE_ value; null: of all that were too many to list. */
  unknownLinks = new Map<number | null, number>()
  /** Bytes that were on the wire and not in the capture, as far as sequence numbers and lengths tell. */
  missing = 0
  gaps = 0
  connections = 0
  limits = new Map<LimitCause, number>()
  protocols = new Map<string, ProtocolTally>()

  skip(cause: SkipCause, bytes: number): void {
    if (bytes > 0) this.skipped.set(cause, (this.skipped.get(cause) ?? 0) + bytes)
  }

  unknownLink(linkType: number): void {
    const { unknownLinks } = this
    const key = unknownLinks.has(linkType) || unknownLinks.size < MAX_UNKNOWN_LINKS ? linkType : null
    unknownLinks.set(key, (unknownLinks.get(key) ?? 0) + 1)
  }

  limit(cause: LimitCause): void {
    this.limits.set(cause, (this.limits.get(cause) ?? 0) + 1)
  }

  protocol(name: string): ProtocolTally {
    // Asked for three times an item, mostly for the same one as before.
    if (name !== this.latestName) {
      this.latestName = name
      this.latest = this.find(name)
    }
    return this.latest
  }
  private latestName: string | null = null
  private latest: ProtocolTally = NONE

  private find(name: string): ProtocolTally {
    let found = this.protocols.get(name)
    if (found === undefined) {
      found = { items: 0, pairs: 0, halfPairs: 0, events: 0, failed: 0, bytes: 0 }
      this.protocols.set(name, found)
    }
    return found
  }

  /** Bytes that were passed over as unknown have been read by somebody else since: what has become of them. */
  reclaim({ parsed, skipped, limits, protocols }: Reclaimed): void {
    let reclaimed = parsed
    this.parsed += parsed
    for (const [cause, bytes] of skipped) {
      this.skip(cause as SkipCause, bytes)
      reclaimed += bytes
    }
    for (const [cause, count] of limits) {
      const known = cause as LimitCause
      this.limits.set(known, (this.limits.get(known) ?? 0) + count)
    }
    for (const [name, counts] of protocols) {
      const tally = this.protocol(name)
      for (const key of Object.keys(counts) as (keyof ProtocolTally)[]) tally[key] += counts[key]
    }
    const unknown = (this.skipped.get('unknown protocol') ?? 0) - reclaimed
    if (unknown === 0) this.skipped.delete('unknown protocol')
    else this.skipped.set('unknown protocol', unknown)
  }

  get skippedBytes(): number {
    let sum = 0
    for (const bytes of this.skipped.values()) sum += bytes
    return sum
  }
}
