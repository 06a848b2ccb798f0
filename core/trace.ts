/**
 * Which packets a connection and its messages were made of, for whoever goes from an item back to them. The pipeline
 * tells while it reads; where nobody asks it asks itself once a packet and once a message whether somebody does.
 */
import type { Connection, Half, Instant } from './connections.ts'
import type { Frame } from './frame.ts'

export interface Trace {
  /** The packet in hand is of this connection and was sent by this half, with so many bytes behind its headers. */
  packet(c: Connection, half: Half, payload: number): void
  /** The packet in hand says something about a packet of this connection: an ICMP error. */
  quote(c: Connection): void
  /** The packet in hand is a fragment, and others of its datagram are missing. */
  wait(frame: Frame): void
  /** The packet in hand is the last fragment of its datagram that came: what is said of it is true of the others too. */
  join(frame: Frame): void
  /** An item was written. Those that speak of the whole connection have no spans. */
  item(c: Connection, index: number, spans: readonly Span[]): void
  /** Nothing more will be of this connection. */
  end(c: Connection): void
}

/**
 * Where a message was: in the packets that one half sent from the one to the other, by their times. `half` is who sent
 * what was read last; what the other one had said before may be told only then, and where `half` sent nothing at `first`
 * it is the other one's.
 */
export interface Span {
  half: Half
  first: Instant
  last: Instant
}
