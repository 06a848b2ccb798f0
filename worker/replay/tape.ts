/**
 * What both ends of each connection said, with times, and where in it the requests lie that have an answer to compare.
 * Hears a pipeline, be it of a capture or of what is being replayed.
 *
 * Places count bytes of a stream from its first one, and of UDP datagrams.
 */
import { formatAddress } from '../../core/address.ts'
import type { Batch } from '../../core/batch.ts'
import { type Connection, Half } from '../../core/connections.ts'
import { utf8 } from '../../core/cursor.ts'
import type { Ending } from '../../core/dissector.ts'
import { Fault } from '../../core/fault.ts'
import type { Item } from '../../core/item.ts'
import type { Answer } from '../../core/item-writer.ts'
import type { Request } from '../../core/pairing.ts'
import type { Said } from '../../core/reassembly.ts'
import type { Witness } from '../../core/witness.ts'

/** As an item has it. */
export interface End {
  ip: string
  port: number
}

/** What one side said at once: bytes of a stream from one packet, or a datagram. */
export interface Piece {
  start: number
  bytes: Uint8Array
  /** ms since 1970. */
  at: number
  /** Place in what the other side said: so much of it had been received. */
  heard: number
  /** When the latest of that was captured, ms since 1970; null: nothing had been. */
  heardAt: number | null
}

/** A request, and the answer that belongs to it. */
export interface Exchange {
  /** Id of the item. */
  id: string
  /** Name of the dissector: HTTP/1 is `http`, also where an item says `graphql`. */
  protocol: string
  /** Places in what the client sent. */
  start: number
  end: number
  /** Place behind the answer in what the server sent; null: there is none, or it is not certain. */
  answerEnd: number | null
  /** JSON of the item, which is written a little later; read when it is needed, for objects take many times the room. */
  text: Uint8Array | null
}

export function itemOf({ id, text }: Exchange): Item {
  if (text === null) throw new TypeError(`item ${id} was not written`)
  return JSON.parse(utf8(text, 0, text.length))
}

/** One side of a connection. */
export class Track {
  pieces: Piece[] = []
  /** Of all that was said, gaps included. */
  length = 0
  /** Place of the first byte or datagram that the capture lacks. */
  gap: number | null = null
  /** It said that it sends no more: when, and how much it had received then. */
  closed: { at: number; heard: number; heardAt: number | null } | null = null
  /** When the latest of it was said. */
  lastAt: number | null = null
  /** Sequence number behind `length`. */
  next = 0
  /** When each datagram was sent. */
  readonly times: number[] = []
  /** Datagrams that an exchange began with. */
  readonly claimed = new Set<number>()
}

export class Tape {
  readonly name: string
  readonly transport: 'tcp' | 'udp'
  readonly forth = new Track()
  readonly back = new Track()
  /** Where bytes are kept. */
  readonly exchanges: Exchange[] = []
  readonly began: number
  /** Its beginning was not seen. */
  readonly isMidstream: boolean
  ended: number
  /** Nothing of it is kept any more. */
  dropped = false
  /** Why it ended; null while it lives. */
  ending: Ending | null = null
  private known: Known
  private readonly addresses: readonly [End, End]

  constructor(c: Connection, at: number) {
    this.known = c
    this.name = c.stream
    this.transport = c.transport === 'udp' ? 'udp' : 'tcp'
    this.began = at
    this.isMidstream = c.midstream
    this.ended = at
    this.addresses = [
      { ip: formatAddress(c.words, 0), port: c.port },
      { ip: formatAddress(c.words, 4), port: c.otherPort },
    ]
  }

  get client(): Track {
    const { client, back } = this.known
    return client === back ? this.back : this.forth
  }

  get server(): Track {
    return this.client === this.forth ? this.back : this.forth
  }

  get clientEnd(): End {
    return this.addresses[this.client === this.forth ? 0 : 1]
  }

  get serverEnd(): End {
    return this.addresses[this.client === this.forth ? 1 : 0]
  }

  /** Another protocol followed the first one. */
  get hasSwitched(): boolean {
    return this.known.spoken.length > 0
  }

  get isEncrypted(): boolean {
    const { passedOver, dissector, spoken } = this.known
    if (passedOver === 'encrypted' || (dissector !== null && ENCRYPTED.includes(dissector.name))) return true
    return spoken.some(name => ENCRYPTED.includes(name))
  }

  /** Name of the dissector that had its turn first; null: none had. */
  get firstProtocol(): string | null {
    return this.known.spoken[0] ?? this.known.dissector?.name ?? null
  }

  /** Name of the dissector that reads at present; empty: none does. */
  get protocol(): string {
    return this.known.dissector?.name ?? ''
  }

  /** Its bytes are not what they seemed. */
  get isMalformed(): boolean {
    return this.known.malformed > 0
  }

  get resetBy(): 'client' | 'server' | null {
    return this.known.reset
  }

  /** Lets go of the connection, which is over: what is asked of it stays. */
  seal(why: Ending, at: number): void {
    const { client, back, spoken, dissector, passedOver, malformed, reset } = this.known
    this.ending = why
    this.ended = at
    const side = client === null ? null : client === back ? BACK : FORTH
    this.known = { client: side, forth: FORTH, back: BACK, spoken, dissector, passedOver, malformed, reset }
  }

  track(half: Half): Track {
    return half === this.known.forth ? this.forth : this.back
  }

  peer(track: Track): Track {
    return track === this.forth ? this.back : this.forth
  }
}

/** What is asked of a connection. */
type Known = Pick<
  Connection,
  'client' | 'forth' | 'back' | 'spoken' | 'dissector' | 'passedOver' | 'malformed' | 'reset'
>

/** Of connections that are over. */
const FORTH = new Half()
const BACK = new Half()

const ENCRYPTED = ['tlsx', 'dtls', 'quic']

export interface TapesSettings {
  /** What the pipeline was told as its `worker`. */
  worker: string
  /** Is anything of this connection wanted? Asked once. */
  wants(c: Connection): boolean
  /** Dissectors whose exchanges are wanted. */
  protocols: readonly string[]
  /** Bytes to keep over all connections; 0: none are kept, only places. */
  most: number
  /** Is what this connection says still worth keeping? Asked again as more is known. */
  keeps(tape: Tape): boolean
  /** A connection was heard for the first time. */
  opened(tape: Tape): void
  /** The item of an exchange is there. */
  exchanged(tape: Tape, exchange: Exchange): void
}

/** Beside the bytes of a piece, and beside the text of an exchange. */
const PIECE_BYTES = 256
const EXCHANGE_BYTES = 512
/** Of a connection, whatever it says. */
const TAPE_BYTES = 1024

export class Tapes implements Witness {
  private readonly settings: TapesSettings
  /** null: nobody wants it. */
  private readonly tapes = new Map<Connection, Tape | null>()
  /** By the ids of their items, which are still to come. */
  private readonly awaited = new Map<string, { tape: Tape; exchange: Exchange }>()
  private kept = 0

  constructor(settings: TapesSettings) {
    this.settings = settings
  }

  bytes(...said: [...Said, ack: number]): void {
    const [c, half, bytes, start, end, seconds, nanoseconds, ack] = said
    const at = milliseconds(seconds, nanoseconds)
    const tape = this.of(c, at)
    if (tape === null) return
    const track = tape.track(half)
    const peer = tape.peer(track)
    // Of a side that has not been heard yet nothing can have been received.
    const heard = peer.length === 0 ? 0 : clamp(peer.length + ((ack - peer.next) | 0), peer.length)
    this.add(tape, track, bytes, start, end, at, heard, end - start)
    track.next = half.next
  }

  datagram(...[c, half, bytes, start, end, seconds, nanoseconds]: Said): void {
    const at = milliseconds(seconds, nanoseconds)
    const tape = this.of(c, at)
    if (tape === null) return
    const track = tape.track(half)
    this.add(tape, track, bytes, start, end, at, tape.peer(track).length, 1)
  }

  gap(c: Connection, half: Half, length: number): void {
    const tape = this.of(c, milliseconds(c.lastSeconds, c.lastNanoseconds))
    if (tape === null) return
    const track = tape.track(half)
    track.gap ??= track.length
    track.length += tape.transport === 'udp' ? 1 : length
    track.next = half.next
    if (tape.transport === 'udp') track.times.push(milliseconds(c.lastSeconds, c.lastNanoseconds))
  }

  end(c: Connection, half: Half): void {
    const tape = this.tapes.get(c) ?? null
    if (tape === null) return
    const track = tape.track(half)
    const peer = tape.peer(track)
    const other = c.peer(half)
    const unheard = other.ackSeen && peer.length > 0 ? (other.acked - peer.next) | 0 : 0
    track.closed = {
      at: milliseconds(c.lastSeconds, c.lastNanoseconds),
      heard: clamp(peer.length + unheard, peer.length),
      heardAt: peer.lastAt,
    }
  }

  finish(c: Connection, why: Ending): void {
    const tape = this.tapes.get(c)
    this.tapes.delete(c)
    if (tape === undefined || tape === null) return
    this.spare(tape)
    tape.seal(why, milliseconds(c.lastSeconds, c.lastNanoseconds))
  }

  item(c: Connection, request: Request | null, answer: Answer | null): void {
    const tape = this.tapes.get(c) ?? null
    const protocol = c.dissector?.name ?? ''
    if (tape === null || tape.dropped || request === null || !this.settings.protocols.includes(protocol)) return
    const [start, end] = place(tape, request)
    if (start < 0) return
    const id = `${this.settings.worker}/${tape.name}-${c.items}`
    const exchange: Exchange = { id, protocol, start, end, answerEnd: null, text: null }
    if (answer !== null) exchange.answerEnd = placeBehind(tape.server, tape.transport, answer.end ?? 0)
    if (this.settings.most > 0) tape.exchanges.push(exchange)
    this.awaited.set(id, { tape, exchange })
  }

  /** What the pipeline hands over. */
  take(batch: Batch): void {
    const { bytes, starts, count } = batch
    for (let i = 0; i < count; i++) {
      const start = starts[i]!
      // {"id":"…","index":
      const id = utf8(bytes, start + 7, bytes.indexOf(34, start + 7))
      const found = this.awaited.get(id)
      if (found === undefined) continue
      this.awaited.delete(id)
      const { tape, exchange } = found
      const end = starts[i + 1]!
      if (this.settings.most > 0) this.count(EXCHANGE_BYTES + end - start)
      exchange.text = Buffer.from(bytes.subarray(start, end))
      this.settings.exchanged(tape, exchange)
    }
  }

  private of(c: Connection, at: number): Tape | null {
    const known = this.tapes.get(c)
    if (known !== undefined) return known
    const tape = this.settings.wants(c) ? new Tape(c, at) : null
    this.tapes.set(c, tape)
    if (tape !== null) {
      if (this.settings.most > 0) this.count(TAPE_BYTES)
      this.settings.opened(tape)
    }
    return tape
  }

  private add(
    tape: Tape,
    track: Track,
    bytes: Uint8Array,
    start: number,
    end: number,
    at: number,
    heard: number,
    length: number,
  ): void {
    const place = track.length
    track.length += length
    track.lastAt = at
    if (tape.transport === 'udp') track.times.push(at)
    if (this.settings.most === 0) return
    this.spare(tape)
    if (tape.dropped) return
    // Not slice, which copies nothing where the source's buffer is a Buffer.
    const { lastAt: heardAt } = tape.peer(track)
    track.pieces.push({ start: place, bytes: new Uint8Array(bytes.subarray(start, end)), at, heard, heardAt })
    this.count(PIECE_BYTES + end - start)
  }

  /** Lets go of what nobody will send or compare. */
  private spare(tape: Tape): void {
    if (tape.dropped) return
    if (!this.settings.keeps(tape)) {
      tape.dropped = true
      this.drop(tape.client)
      this.drop(tape.server)
    } else if (this.settings.protocols.includes(tape.protocol)) this.drop(tape.server)
  }

  private drop(track: Track): void {
    for (const { bytes } of track.pieces) this.kept -= PIECE_BYTES + bytes.length
    track.pieces = []
  }

  private count(bytes: number): void {
    this.kept += bytes
    if (this.kept > this.settings.most)
      throw new Fault(
        'REPLAY_TOO_LARGE',
        `what is to be replayed must fit into ${Math.round(this.settings.most / 1e6)} MB: choose some of it with --server, --protocol or --stream`,
      )
  }
}

function place(tape: Tape, request: Request): [start: number, end: number] {
  const { client, transport } = tape
  if (transport === 'udp') {
    const start = datagramAt(client, milliseconds(request.seconds, request.nanoseconds))
    return [start, start + 1]
  }
  const end = placeBehind(client, transport, request.end)
  return [end - request.size, end]
}

/** The one that came at this time, -1 if none did: nothing else tells it from others. */
function datagramAt({ times, claimed }: Track, at: number): number {
  for (let i = times.length - 1; i >= 0 && times[i]! >= at; i--)
    if (times[i] === at && !claimed.has(i)) {
      claimed.add(i)
      return i
    }
  return -1
}

/** Behind the message that ends before this sequence number; of datagrams, behind the one that came last. */
function placeBehind(track: Track, transport: 'tcp' | 'udp', seq: number): number {
  return transport === 'udp' ? track.length : track.length + ((seq - track.next) | 0)
}

function clamp(place: number, most: number): number {
  return Math.max(0, Math.min(place, most))
}

function milliseconds(seconds: number, nanoseconds: number): number {
  return seconds * 1e3 + nanoseconds / 1e6
}
