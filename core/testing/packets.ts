/** Packets built field by field, for tests that need a case no capture holds: Ethernet, IPv4, TCP or UDP. */
import { emptyPacket, type Packet } from '../packet.ts'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

export interface End {
  address: number
  port: number
}

export const CLIENT: End = { address: 0x0a000001, port: 40_000 }
export const SERVER: End = { address: 0x0a000002, port: 80 }

/** Milliseconds since the first packet of a test. */
export function packetOf(bytes: Uint8Array, milliseconds = 0): Packet {
  const seconds = 1_700_000_000 + Math.floor(milliseconds / 1e3)
  const nanoseconds = Math.round((milliseconds % 1e3) * 1e6)
  return { ...emptyPacket(), bytes, end: bytes.length, length: bytes.length, seconds, nanoseconds }
}

export interface Segment {
  seq: number
  ack?: number
  flags?: number
  payload?: string | Uint8Array
}

export function tcp(from: End, to: End, segment: Segment): Uint8Array {
  const { seq, ack = 0, flags = ACK, payload = '' } = segment
  const head = [...u16(from.port), ...u16(to.port), ...u32(seq), ...u32(ack), 0x50, flags, 1, 0, 0, 0, 0, 0]
  return ethernet(from, to, ipv4(from, to, 6, join(head, bytesOf(payload))))
}

export function udp(from: End, to: End, payload: string | Uint8Array): Uint8Array {
  const data = bytesOf(payload)
  return ethernet(from, to, ipv4(from, to, 17, join(udpHead(from, to, data.length), data)))
}

/** What lies behind the IP header may be anything: ICMP is 1, SCTP 132. */
export function ipv4Packet(from: End, to: End, protocol: number, payload: Uint8Array): Uint8Array {
  return ethernet(from, to, ipv4(from, to, protocol, payload))
}

/** The IPv4 packet in a frame, cut into fragments of at most `size` bytes of payload (a multiple of 8). */
export function fragments(frame: Uint8Array, size: number): Uint8Array[] {
  const payload = frame.subarray(34)
  const pieces: Uint8Array[] = []
  for (let offset = 0; offset < payload.length; offset += size) {
    const piece = join(frame.subarray(0, 34), payload.subarray(offset, offset + size))
    const more = offset + size < payload.length ? 0x2000 : 0
    piece.set(u16(piece.length - 14), 16)
    piece.set(u16(more | (offset >> 3)), 20)
    pieces.push(piece)
  }
  return pieces
}

/** The frame as the payload of VXLAN (RFC 7348) between two nodes. */
export function vxlan(frame: Uint8Array): Uint8Array {
  const from = { address: 0xc0a80001, port: 50_000 }
  const to = { address: 0xc0a80002, port: 4789 }
  return udp(from, to, join([8, 0, 0, 0, 0, 0, 42, 0], frame))
}

/** A TCP connection that knows its sequence numbers. Each packet comes a millisecond after the one before. */
export class Dialogue {
  readonly packets: Packet[] = []
  readonly client: Speaker
  readonly server: Speaker
  private milliseconds: number

  constructor(milliseconds = 0, { client = CLIENT, server = SERVER, clientSeq = 1000, serverSeq = 5000 } = {}) {
    this.milliseconds = milliseconds
    this.client = { end: client, next: clientSeq }
    this.server = { end: server, next: serverSeq }
  }

  open(): this {
    this.send(this.client, '', SYN)
    this.send(this.server, '', SYN | ACK)
    this.send(this.client, '')
    return this
  }

  /** The client sends this. */
  ask(payload: string | Uint8Array): Packet {
    return this.send(this.client, payload)
  }

  /** The server sends this. */
  tell(payload: string | Uint8Array): Packet {
    return this.send(this.server, payload)
  }

  close(): this {
    this.send(this.client, '', FIN | ACK)
    this.send(this.server, '', FIN | ACK)
    this.send(this.client, '')
    return this
  }

  wait(milliseconds: number): this {
    this.milliseconds += milliseconds
    return this
  }

  send(from: Speaker, payload: string | Uint8Array, flags = ACK): Packet {
    const peer = from === this.client ? this.server : this.client
    const data = bytesOf(payload)
    const ack = (flags & ACK) !== 0 ? peer.next : 0
    const frame = tcp(from.end, peer.end, { seq: from.next, ack, flags, payload: data })
    const packet = packetOf(frame, this.milliseconds++)
    from.next = (from.next + data.length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0)) >>> 0
    this.packets.push(packet)
    return packet
  }

  /** A packet that leaves the sequence numbers as they are. */
  stray(from: Speaker, segment: Segment): Packet {
    const peer = from === this.client ? this.server : this.client
    const packet = packetOf(tcp(from.end, peer.end, { ack: peer.next, ...segment }), this.milliseconds++)
    this.packets.push(packet)
    return packet
  }
}

export interface Speaker {
  end: End
  /** Sequence number of its next byte. */
  next: number
}

function ethernet(from: End, to: End, payload: Uint8Array): Uint8Array {
  return join([2, 0, ...u32(to.address), 2, 0, ...u32(from.address), 8, 0], payload)
}

function ipv4(from: End, to: End, protocol: number, payload: Uint8Array): Uint8Array {
  const head = [0x45, 0, ...u16(20 + payload.length), 0x12, 0x34, 0, 0, 64, protocol, 0, 0]
  return join([...head, ...u32(from.address), ...u32(to.address)], payload)
}

function udpHead(from: End, to: End, length: number): number[] {
  return [...u16(from.port), ...u16(to.port), ...u16(8 + length), 0, 0]
}

function bytesOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload
}

function join(head: ArrayLike<number>, tail: Uint8Array): Uint8Array {
  const whole = new Uint8Array(head.length + tail.length)
  whole.set(head)
  whole.set(tail, head.length)
  return whole
}

function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255]
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)]
}
