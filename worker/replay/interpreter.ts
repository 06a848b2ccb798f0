/**
 * Reads what is being said to the target with the same dissectors that read the recording: as packets of a capture that
 * nobody made.
 *
 *   version(1) … length(2) … protocol(1) … source(4) destination(4)     IPv4 (RFC 791), then TCP (RFC 9293) or UDP (RFC 768)
 */
import { emptyPacket } from '../../core/packet.ts'
import { Pipeline } from '../../core/pipeline.ts'
import type { Protocols } from '../../core/registry.ts'
import { KEPT_BODY } from '../own-items.ts'
import { READ } from './plan.ts'
import { type Exchange, type Tape, Tapes } from './tape.ts'

export class Interpreter {
  private readonly pipeline: Pipeline
  private opened = 0
  private current: Interpretation | null = null
  private readonly owners = new Map<Tape, Interpretation>()

  constructor(protocols: Protocols) {
    const tapes = new Tapes({
      worker: 'replay',
      wants: () => true,
      protocols: READ,
      most: 0,
      keeps: () => false,
      opened: tape => {
        this.owners.set(tape, this.current!)
        this.current!.tapes.push(tape)
      },
      exchanged: (tape, exchange) => this.owners.get(tape)?.take(tape, exchange),
    })
    const settings = { protocols, worker: 'replay', node: null, keepBodies: KEPT_BODY, witness: tapes }
    this.pipeline = new Pipeline(settings, batch => tapes.take(batch))
  }

  /** `port` of the recorded server: it tells dissectors whom to ask first. `heard` is told of each exchange. */
  open(transport: 'tcp' | 'udp', port: number, heard: (exchange: Exchange) => void): Interpretation {
    const number = this.opened++
    const [client, clientPort] = [(10 << 24) | (number & 0xffffff), 49_152 + ((number >> 24) & 0x3fff)]
    return new Interpretation(transport, { client, clientPort, port }, heard, (packet, ms, interpretation) =>
      this.feed(packet, ms, interpretation),
    )
  }

  close(interpretation: Interpretation): void {
    for (const tape of interpretation.tapes) this.owners.delete(tape)
  }

  private feed(bytes: Uint8Array, ms: number, interpretation: Interpretation): void {
    const seconds = Math.floor(ms / 1e3)
    const nanoseconds = Math.min(999_999_999, Math.round((ms - seconds * 1e3) * 1e6))
    const { length } = bytes
    this.current = interpretation
    this.pipeline.packet({ ...emptyPacket(), linkType: RAW_IP, bytes, end: length, length, seconds, nanoseconds })
    this.pipeline.flush()
    this.current = null
  }
}

/** Link type of a packet that begins with its IP header. */
const RAW_IP = 101
/** Addresses for documentation (RFC 5737) stand for the target: nothing is sent there. */
const TARGET = 0xc0000201 | 0
/** Payload of one packet. */
const MOST = 60_000
/** Equal datagrams that are closer together are taken for copies that a capture made. */
const COPY_MS = 3

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

interface Ends {
  client: number
  clientPort: number
  port: number
}

/** One connection to the target. */
export class Interpretation {
  readonly tapes: Tape[] = []
  private readonly transport: 'tcp' | 'udp'
  private readonly ends: Ends
  private readonly heard: (exchange: Exchange) => void
  private readonly feed: (packet: Uint8Array, ms: number, self: Interpretation) => void
  private clientSeq = 1000
  private serverSeq = 5000
  private last = 0
  private lastDatagram: Record<'client' | 'server', { bytes: Uint8Array; ms: number } | null> = {
    client: null,
    server: null,
  }

  constructor(
    transport: 'tcp' | 'udp',
    ends: Ends,
    heard: (exchange: Exchange) => void,
    feed: (packet: Uint8Array, ms: number, self: Interpretation) => void,
  ) {
    this.transport = transport
    this.ends = ends
    this.heard = heard
    this.feed = feed
    if (transport === 'udp') return
    const ms = now()
    this.segment('client', NOTHING, SYN, ms)
    this.segment('server', NOTHING, SYN | ACK, ms)
    this.segment('client', NOTHING, ACK, ms)
  }

  sent(bytes: Uint8Array): void {
    this.say('client', bytes)
  }

  received(bytes: Uint8Array): void {
    this.say('server', bytes)
  }

  /** This side sends no more. */
  ended(side: 'client' | 'server'): void {
    if (this.transport === 'tcp') this.segment(side, NOTHING, FIN | ACK, this.time())
  }

  /** Nobody says anything any more. */
  finish(): void {
    if (this.transport === 'tcp') this.segment('client', NOTHING, RST | ACK, this.time())
  }

  /** Bytes or datagrams of the target in all. */
  get length(): number {
    return this.tapes.reduce((sum, tape) => sum + tape.server.length, 0)
  }

  take(tape: Tape, exchange: Exchange): void {
    const at = this.tapes.indexOf(tape)
    for (const earlier of this.tapes.slice(0, at)) {
      exchange.start += earlier.client.length
      exchange.end += earlier.client.length
    }
    this.heard(exchange)
  }

  private say(side: 'client' | 'server', bytes: Uint8Array): void {
    if (this.transport === 'udp') {
      this.datagram(side, bytes)
      return
    }
    const ms = this.time()
    for (let start = 0; start < bytes.length; start += MOST)
      this.segment(side, bytes.subarray(start, start + MOST), ACK, ms)
  }

  private datagram(side: 'client' | 'server', bytes: Uint8Array): void {
    const last = this.lastDatagram[side]
    let ms = this.time()
    if (last !== null && ms - last.ms < COPY_MS && Buffer.compare(last.bytes, bytes) === 0) {
      ms = last.ms + COPY_MS
      this.last = ms
    }
    this.lastDatagram[side] = { bytes, ms }
    const head = Buffer.alloc(28)
    this.addresses(head, side, 17, 8 + bytes.length)
    head.writeUInt16BE(8 + bytes.length, 24)
    this.feed(Buffer.concat([head, bytes]), ms, this)
  }

  private segment(side: 'client' | 'server', bytes: Uint8Array, flags: number, ms: number): void {
    const fromClient = side === 'client'
    const head = Buffer.alloc(40)
    this.addresses(head, side, 6, 20 + bytes.length)
    head.writeUInt32BE((fromClient ? this.clientSeq : this.serverSeq) >>> 0, 24)
    if ((flags & ACK) !== 0) head.writeUInt32BE((fromClient ? this.serverSeq : this.clientSeq) >>> 0, 28)
    head[32] = 0x50
    head[33] = flags
    const length = bytes.length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0)
    if (fromClient) this.clientSeq = (this.clientSeq + length) | 0
    else this.serverSeq = (this.serverSeq + length) | 0
    this.feed(Buffer.concat([head, bytes]), ms, this)
  }

  private addresses(head: Buffer, side: 'client' | 'server', protocol: number, length: number): void {
    const { client, clientPort, port } = this.ends
    const fromClient = side === 'client'
    head[0] = 0x45
    head.writeUInt16BE(20 + length, 2)
    head[8] = 64
    head[9] = protocol
    head.writeInt32BE(fromClient ? client : TARGET, 12)
    head.writeInt32BE(fromClient ? TARGET : client, 16)
    head.writeUInt16BE(fromClient ? clientPort : port, 20)
    head.writeUInt16BE(fromClient ? port : clientPort, 22)
  }

  /** No two messages have the same time: it tells datagrams from each other. */
  private time(): number {
    this.last = Math.max(now(), this.last + LEAST_MS)
    return this.last
  }
}

/** What a number of ms since 1970 can tell apart. */
const LEAST_MS = 0.001
const NOTHING = new Uint8Array(0)

function now(): number {
  return performance.timeOrigin + performance.now()
}
