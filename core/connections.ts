/**
 * The connection table: an open-addressing hash over both ends of a flow, with limits by count and by silence.
 * The table is asked once a packet, so it compares plain numbers and allocates nothing.
 */
import type { Dissector, Ending, Face, Side, Transport } from './dissector.ts'
import { Dormant } from './dormant.ts'
import type { Frame } from './frame.ts'
import type { ItemError } from './item.ts'
import type { Answer } from './item-writer.ts'
import type { Request, Waiting } from './pairing.ts'
import { endsHash, formatStreamName, streamHash } from './stream-name.ts'
import type { SkipCause } from './tally.ts'

/** A scan of a whole network opens one flow a packet: the table must not become the memory of the scan. */
export const MAX_CONNECTIONS = 200_000
/** Seconds of silence after which an open TCP connection is forgotten: long enough for idle pools and long polls. */
const TCP_PATIENCE = 1200
/** Seconds that a closed connection stays, so that its late retransmissions do not look like a new one. */
const CLOSED_PATIENCE = 60
/** Late retransmissions come soon or not at all: a busy node closes more than this in a minute. */
export const MAX_CLOSED = 4096
const UDP_PATIENCE = 10

/** What one side of a connection has sent. */
export class Half {
  /** Sequence number of the next byte to deliver. */
  next = 0
  /** Of its SYN, if it was seen. */
  isn: number | null = null
  /** `next` is known: a SYN or a first segment was seen. */
  begun = false
  /** Sequence number that the other side has acknowledged. */
  acked = 0
  ackSeen = false
  /** Segments that came before their turn, in order of sequence. */
  early: Segment[] | null = null
  earlyBytes = 0
  /** Packets of this connection since the receiver acknowledged a byte that is not here. */
  overdue = 0
  /** Sequence number behind the last byte, once a FIN told it. */
  fin = 0
  finSeen = false
  ended = false
  /** A packet of this side was seen. */
  seen = false

  /** Messages begin where we think they do. False after a gap and before the first recognised message. */
  synced = true
  /** Bytes waiting for the rest of their message: `held[heldStart..heldEnd)`. */
  held: Uint8Array | null = null
  heldStart = 0
  heldEnd = 0
  /** The message is not read again before this many bytes are here. */
  wanted = 0
  /** Bytes that were read in vain for the message at the cursor. */
  reread = 0
  progress: unknown = null
  /** The request that the answer in `progress` is for. */
  answering: Request | null = null
  /** Bytes that `progress` keeps. */
  weight = 0
  /** Bytes of the current message that were committed. */
  size = 0
  /** When the first byte of the current message was captured, and what it acknowledged. */
  seconds = 0
  nanoseconds = 0
  ack = 0
  /** Any payload was seen from this side. */
  spoke = false
  /** The next request comes after a loss. */
  exact = false
  /** Where the server stood when bytes of this side were lost: a request sent before it went on may follow a lost one. */
  doubted: number | null = null
  /** This side's first bytes are no protocol's. */
  rejected = false
  /** Time of the last payload. */
  lastSeconds = 0
  lastNanoseconds = 0
  /** UDP: length and sum of the last datagram, to know a second copy of it. */
  lastLength = -1
  lastSum = 0
}

export interface Early {
  answer: Answer
  /** Bytes of memory. */
  weight: number
  error: ItemError | null
  seconds: number
  nanoseconds: number
}

/** JSON text that items share: the fields from `stream` to `timestamp`. */
export interface Prefix {
  face: Face
  version: string
  /** Whose address is the `src`. */
  asker: Side
  /** The beginning of `id`. */
  identity: Uint8Array
  text: Uint8Array
}

export interface Segment {
  seq: number
  bytes: Uint8Array
  /** Bytes behind these that the capture cut off. */
  missing: number
  seconds: number
  nanoseconds: number
  ack: number
}

/** Of a packet: seconds since 1970, and nanoseconds on top. */
export interface Instant {
  readonly seconds: number
  readonly nanoseconds: number
}

export type Life = 'open' | 'closed' | 'datagrams'

const NONE: readonly string[] = []

export class Connection {
  /** Among those of its table. */
  readonly number: number
  /** Of its ends, as `endsHash` makes it. */
  readonly hash: number
  readonly transport: Transport
  readonly scope: number
  /** When its first packet was captured. */
  readonly seconds: number
  readonly nanoseconds: number
  /** Scope of the other end's packets, null before its first. */
  backScope: number | null = null
  /** Addresses of the end that sent the first packet (0 to 3) and of the other (4 to 7), as Frame.words. */
  readonly words: Int32Array
  readonly port: number
  readonly otherPort: number
  /** From the first packet's sender, and from the other end. */
  readonly forth = new Half()
  readonly back = new Half()
  /** Which half is the client's; null until a SYN or a protocol tells. */
  client: Half | null = null

  dissector: Dissector | null = null
  /** Nothing recognises it, or nobody could read it, and nothing will be asked again. */
  unknown = false
  /** Why what is `unknown` is passed over. */
  passedOver: SkipCause = 'unknown protocol'
  /** The beginning was not seen: segments may begin anywhere in a message. */
  midstream = false
  attempts = 0
  malformed = 0
  state: unknown = undefined
  /** What the protocol before left for the dissector. */
  memo: unknown = undefined
  /** Bytes that `state` keeps. */
  weight = 0
  hinted = false
  waiting: Waiting | null = null
  /** An answer that came before its request was complete. */
  early: Early | null = null
  /** The client has sent a request before it had the answer to the one before. */
  pipelined = false
  /** Answers in a row that the client has waited for since. */
  waited = 0
  reset: Side | null = null
  /** Why its packets do not arrive, as an ICMP error told last. */
  refused: string | null = null
  items = 0
  /** What the observer of its transport counts; null without one, and once it was told for the last time. */
  watch: unknown = null
  /** Second in which it was told of last, or began. */
  toldAt = 0
  /** Why it ended; null while it lives. */
  ending: Ending | null = null
  /** Protocols that were spoken before the present one. */
  spoken: readonly string[] = NONE
  /** JSON text: the beginning of the ids of all items. */
  identity: Uint8Array | null = null
  /** What items of one face and version share, the latest in front. */
  prefixes: Prefix[] = []

  /** In the table. */
  here = true
  /** A flow of datagrams that went on when it was dormant. */
  woken = false
  life: Life
  lastSeconds = 0
  lastNanoseconds = 0
  newer: Connection | null = null
  older: Connection | null = null

  constructor(
    number: number,
    hash: number,
    transport: Transport,
    frame: Frame,
    port: number,
    otherPort: number,
    first: Instant,
  ) {
    this.number = number
    this.seconds = first.seconds
    this.nanoseconds = first.nanoseconds
    this.hash = hash
    this.transport = transport
    this.scope = frame.scope
    this.words = frame.words.slice()
    this.port = port
    this.otherPort = otherPort
    // Heartbeats of SCTP come every half minute.
    this.life = transport === 'tcp' || transport === 'sctp' ? 'open' : 'datagrams'
  }

  /** A closed connection is kept by the thousand, for its ends and sequence numbers alone. */
  forget(): void {
    this.state = undefined
    this.memo = undefined
    this.waiting = null
    this.identity = null
    this.prefixes = []
  }

  peer(half: Half): Half {
    return half === this.forth ? this.back : this.forth
  }

  side(half: Half): Side {
    return half === this.client ? 'client' : 'server'
  }

  /** As items name it. */
  get stream(): string {
    const { seconds, nanoseconds, streamHash: hash, transport } = this
    return formatStreamName({ seconds, nanoseconds, hash, transport })
  }

  get streamHash(): number {
    return streamHash(this.hash, this.transport, this.scope)
  }

  /** Port of the server side; where roles are unknown, of the end that was spoken to. */
  get serverPort(): number {
    return this.client === this.back ? this.port : this.otherPort
  }
}

export class Connections {
  private slots: (Connection | null)[] = new Array(1024).fill(null)
  private mask = 1023
  count = 0
  private readonly dormant = new Dormant()
  private closed = 0
  private numbers = 0
  private readonly ages: Record<Life, Ages> = {
    open: new Ages(TCP_PATIENCE),
    closed: new Ages(CLOSED_PATIENCE),
    datagrams: new Ages(UDP_PATIENCE),
  }

  /**
   * The connection of this packet, or null. `forth` tells afterwards in which direction the packet goes. Where one
   * direction is tunnelled and the other is not, or has another key, the scopes differ: an answer finds the connection
   * that nobody has answered yet.
   */
  find(frame: Frame, transport: Transport, source: number, destination: number): Connection | null {
    const c = this.peek(frame, transport, source, destination)
    if (c !== null && !this.forth) c.backScope = frame.scope
    return c
  }

  /** As `find`, and the connection stays as it was: for a packet that is only told of. */
  peek(frame: Frame, transport: Transport, source: number, destination: number): Connection | null {
    const hash = endsHash(frame.words, source, destination)
    this.lastHash = hash
    const slots = this.slots
    const mask = this.mask
    let elsewhere: Connection | null = null
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const c = slots[i]!
      if (c === null) {
        if (elsewhere === null) return transport === 'udp' ? this.waken(frame, source, destination) : null
        this.forth = false
        return elsewhere
      }
      if (c.hash !== hash || c.transport !== transport) continue
      const { scope } = frame
      if (c.scope !== scope && c.backScope !== scope && c.backScope !== null) continue
      const a = c.words
      const b = frame.words
      if (
        c.scope === scope &&
        c.port === source &&
        c.otherPort === destination &&
        a[3] === b[3] &&
        a[7] === b[7] &&
        a[2] === b[2] &&
        a[6] === b[6] &&
        a[1] === b[1] &&
        a[5] === b[5] &&
        a[0] === b[0] &&
        a[4] === b[4]
      ) {
        this.forth = true
        return c
      }
      if (
        c.port === destination &&
        c.otherPort === source &&
        a[3] === b[7] &&
        a[7] === b[3] &&
        a[2] === b[6] &&
        a[6] === b[2] &&
        a[1] === b[5] &&
        a[5] === b[1] &&
        a[0] === b[4] &&
        a[4] === b[0]
      ) {
        if (c.backScope === scope || (c.backScope === null && c.scope === scope)) {
          this.forth = false
          return c
        }
        if (c.backScope === null) elsewhere = c
      }
    }
  }
  forth = true
  private lastHash = 0

  private waken(frame: Frame, source: number, destination: number): Connection | null {
    const c = this.dormant.take(this.lastHash, frame, source, destination)
    if (c === null) return null
    this.enter(c)
    this.forth = this.dormant.forth
    return c
  }

  /** For a packet that `find` has just not found. */
  add(frame: Frame, transport: Transport, source: number, destination: number, first: Instant): Connection {
    const c = new Connection(this.numbers++, this.lastHash, transport, frame, source, destination, first)
    this.enter(c)
    this.forth = true
    return c
  }

  private enter(c: Connection): void {
    if ((this.count + 1) * 2 > this.mask) this.enlarge()
    this.place(c)
    this.count++
    this.ages[c.life].push(c)
  }

  /**
   * Keeps of an answered flow of datagrams what it takes to go on under the same name. Once: a flow that goes on may do so
   * again. False: another one had to make room, before its time.
   */
  rest(c: Connection): boolean {
    this.remove(c)
    return this.dormant.add(c)
  }

  private place(c: Connection): void {
    let i = c.hash & this.mask
    while (this.slots[i] !== null) i = (i + 1) & this.mask
    this.slots[i] = c
  }

  private enlarge(): void {
    const old = this.slots
    this.mask = this.mask * 2 + 1
    this.slots = new Array(this.mask + 1).fill(null)
    for (const c of old) if (c !== null) this.place(c)
  }

  /** Marks the connection as active at this moment. */
  touch(c: Connection, seconds: number, nanoseconds: number): void {
    c.lastSeconds = seconds
    c.lastNanoseconds = nanoseconds
    this.ages[c.life].renew(c)
  }

  close(c: Connection): void {
    if (c.life !== 'open') return
    this.ages.open.remove(c)
    c.life = 'closed'
    c.forget()
    this.ages.closed.push(c)
    this.closed++
  }

  /** The closed connection that has to make room, if there are too many. */
  get surplus(): Connection | null {
    return this.closed > MAX_CLOSED ? this.ages.closed.oldest : null
  }

  remove(c: Connection): void {
    c.here = false
    this.ages[c.life].remove(c)
    this.count--
    if (c.life === 'closed') this.closed--
    const mask = this.mask
    let i = c.hash & mask
    while (this.slots[i] !== c) i = (i + 1) & mask
    // Linear probing without tombstones: what comes behind moves up into the hole.
    for (let j = (i + 1) & mask; ; j = (j + 1) & mask) {
      const moved = this.slots[j]!
      if (moved === null) break
      const home = moved.hash & mask
      if (((j - home) & mask) >= ((j - i) & mask)) {
        this.slots[i] = moved
        i = j
      }
    }
    this.slots[i] = null
  }

  /** The connection that has been silent for too long at `seconds`, if there is one. */
  expired(seconds: number): Connection | null {
    this.dormant.expire(seconds, UDP_PATIENCE)
    return this.ages.closed.expired(seconds) ?? this.ages.datagrams.expired(seconds) ?? this.ages.open.expired(seconds)
  }

  /** Whom to forget first when there are too many. */
  oldest(): Connection | null {
    return this.ages.closed.oldest ?? this.ages.datagrams.oldest ?? this.ages.open.oldest
  }

  /** Open connections that have been silent the longest come first. */
  *[Symbol.iterator](): Generator<Connection> {
    for (const ages of Object.values(this.ages)) {
      for (let c = ages.oldest; c !== null; ) {
        const next: Connection | null = c.newer
        yield c
        c = next
      }
    }
  }
}

/** Connections of one kind in order of their last packet. */
class Ages {
  oldest: Connection | null = null
  newest: Connection | null = null
  private readonly patience: number

  constructor(patience: number) {
    this.patience = patience
  }

  push(c: Connection): void {
    c.older = this.newest
    c.newer = null
    if (this.newest === null) this.oldest = c
    else this.newest.newer = c
    this.newest = c
  }

  remove(c: Connection): void {
    if (c.older === null) this.oldest = c.newer
    else c.older.newer = c.newer
    if (c.newer === null) this.newest = c.older
    else c.newer.older = c.older
    c.older = null
    c.newer = null
  }

  renew(c: Connection): void {
    if (this.newest === c) return
    this.remove(c)
    this.push(c)
  }

  expired(seconds: number): Connection | null {
    const c = this.oldest
    return c !== null && seconds - c.lastSeconds > this.patience ? c : null
  }
}
