/**
 * Between whom a packet travels, as the ring's index knows it: two ends without direction, and a protocol. A packet in a
 * tunnel travels between two pairs of ends, those outside and those inside, and is found by both. VLANs and interfaces
 * make no difference.
 */
import { decode, Frame, mayBeTunnel } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'

export class Flow {
  /** One end in 0 to 3, the other in 4 to 7, as core/address.ts has them; the lower one (as signed numbers) first. */
  readonly words = new Int32Array(8)
  lowerPort = 0
  upperPort = 0
  /** IP protocol number. */
  protocol = 0
  /** false: a later fragment, or a packet that was cut before its ports; both are then 0. */
  portsKnown = false

  /** Both ends as a packet has them, whose source is in 0 to 3. */
  set(words: Int32Array, sourcePort: number, destinationPort: number, protocol: number, portsKnown: boolean): void {
    const own = this.words
    let order = 0
    for (let i = 0; i < 4 && order === 0; i++) order = words[i]! - words[i + 4]!
    if (order === 0) order = sourcePort - destinationPort
    const first = order > 0 ? 4 : 0
    for (let i = 0; i < 4; i++) {
      own[i] = words[first + i]!
      own[i + 4] = words[(first ^ 4) + i]!
    }
    this.lowerPort = first === 0 ? sourcePort : destinationPort
    this.upperPort = first === 0 ? destinationPort : sourcePort
    this.protocol = protocol
    this.portsKnown = portsKnown
  }
}

/** Which packets a reader wants, as far as their flows can say. */
export interface FlowFilter {
  /** The flow is overwritten afterwards. */
  wants(flow: Flow): boolean
  /** Also the packets of which nobody can say between whom they travel: not IP, or cut before their addresses. */
  strangers: boolean
}

/** Packets of the flow between two ends, both ways, its later fragments included. Addresses as core/address.ts has them. */
export function between(
  one: { address: Int32Array; port: number },
  other: { address: Int32Array; port: number },
  protocol: number,
): FlowFilter {
  const wanted = new Flow()
  const words = new Int32Array([...one.address, ...other.address])
  wanted.set(words, one.port, other.port, protocol, true)
  return {
    strangers: false,
    wants(flow) {
      for (let i = 0; i < 8; i++) if (flow.words[i] !== wanted.words[i]) return false
      if (flow.protocol !== protocol) return false
      return !flow.portsKnown || (flow.lowerPort === wanted.lowerPort && flow.upperPort === wanted.upperPort)
    },
  }
}

/** What one packet belongs to; one object, overwritten for each packet. */
export class Flows {
  /** 0 to 2. */
  count = 0
  /** Nobody can say that these are all: it has to be looked at by whoever searches for anything. */
  stranger = false
  readonly list: readonly [Flow, Flow] = [new Flow(), new Flow()]
  private readonly words = new Int32Array(8)
  private readonly frame = new Frame()
  private readonly packet: Packet

  constructor() {
    this.packet = {
      bytes: new Uint8Array(0),
      start: 0,
      end: 0,
      length: 0,
      seconds: 0,
      nanoseconds: 0,
      linkType: 1,
      interfaceId: 0,
    }
  }

  /** The packet is `bytes[start..end)`, and had `length` bytes on the wire. */
  read(bytes: Uint8Array, start: number, end: number, length: number, linkType: number): void {
    const b = bytes
    // What nearly every packet is: Ethernet, IPv4, TCP or UDP, whole and in no tunnel.
    if (linkType === ETHERNET && end - start >= 38 && b[start + 12] === 8 && b[start + 13] === 0) {
      const at = start + 14
      const first = b[at]!
      const header = (first & 15) << 2
      const protocol = b[at + 9]!
      const next = at + header
      if (first >= 0x45 && first < 0x50 && (b[at + 6]! & 0x3f) === 0 && b[at + 7] === 0 && next + 4 <= end) {
        if (protocol === TCP || protocol === UDP) {
          const source = (b[next]! << 8) | b[next + 1]!
          const destination = (b[next + 2]! << 8) | b[next + 3]!
          if (protocol === TCP || !mayBeTunnel(source, destination)) {
            this.count = 1
            this.stranger = false
            setIpv4(this.list[0], word(b, at + 12), word(b, at + 16), source, destination, protocol)
            return
          }
        }
      }
    }
    this.readAny(bytes, start, end, length, linkType)
  }

  private readAny(bytes: Uint8Array, start: number, end: number, length: number, linkType: number): void {
    const { frame, packet, list } = this
    this.count = 0
    const at = outerIp(bytes, start, end, linkType)
    if (at >= 0 && this.readIp(bytes, at, end)) this.count = 1
    this.stranger = this.count === 0 && at !== NOT_PLAIN_IP

    packet.bytes = bytes
    packet.start = start
    packet.end = end
    packet.length = length
    packet.linkType = linkType
    const verdict = decode(packet, frame)
    if (verdict !== 'ok' && verdict !== 'fragment') {
      if (this.count === 0) this.stranger = true
      return
    }
    const inner = list[this.count]!
    const ported = PORTED.includes(frame.protocol) && (verdict === 'ok' || frame.fragmentOffset === 0)
    const known = ported && frame.end - frame.start >= 4
    const source = known ? (bytes[frame.start]! << 8) | bytes[frame.start + 1]! : 0
    const destination = known ? (bytes[frame.start + 2]! << 8) | bytes[frame.start + 3]! : 0
    const portless = verdict === 'ok' && !PORTED.includes(frame.protocol)
    inner.set(frame.words, source, destination, frame.protocol, known || portless)
    if (this.count === 0 || !equal(list[0], inner)) this.count++
  }

  /** false: these are no IP headers, or not all of them are there. */
  private readIp(b: Uint8Array, at: number, end: number): boolean {
    const { words } = this
    if (end - at < 20) return false
    const version = b[at]! >> 4
    let protocol: number
    let next: number
    let first = true
    if (version === 4) {
      words[0] = words[1] = words[4] = words[5] = 0
      words[2] = words[6] = 0xffff
      words[3] = word(b, at + 12)
      words[7] = word(b, at + 16)
      protocol = b[at + 9]!
      next = at + ((b[at]! & 15) << 2)
      first = (((b[at + 6]! & 0x1f) << 8) | b[at + 7]!) === 0
    } else if (version === 6 && end - at >= 40) {
      for (let i = 0; i < 8; i++) words[i] = word(b, at + 8 + 4 * i)
      protocol = b[at + 6]!
      next = at + 40
    } else return false
    const ported = PORTED.includes(protocol)
    const known = ported && first && next + 4 <= end
    const source = known ? (b[next]! << 8) | b[next + 1]! : 0
    const destination = known ? (b[next + 2]! << 8) | b[next + 3]! : 0
    // Behind extension headers of IPv6 there may be ports.
    const portless = !ported && first && (version === 4 || !EXTENSIONS.includes(protocol))
    this.list[0].set(words, source, destination, protocol, known || portless)
    return true
  }
}

const ETHERNET = 1
const TCP = 6
const UDP = 17
const PORTED: readonly number[] = [TCP, UDP, 132]
const EXTENSIONS: readonly number[] = [0, 43, 44, 51, 60, 135, 139, 140]

function setIpv4(flow: Flow, from: number, to: number, source: number, destination: number, protocol: number): void {
  const { words } = flow
  words[0] = words[1] = words[4] = words[5] = 0
  words[2] = words[6] = 0xffff
  const forward = from < to || (from === to && source <= destination)
  words[3] = forward ? from : to
  words[7] = forward ? to : from
  flow.lowerPort = forward ? source : destination
  flow.upperPort = forward ? destination : source
  flow.protocol = protocol
  flow.portsKnown = true
}

/** It has a header of its own kind in front (MPLS, PPPoE): whoever asks for plain IP does not mean it. */
const NOT_PLAIN_IP = -1
/** Not known to us; others may find IP in it. */
const UNKNOWN = -2
const MAX_TAGS = 4

/** Where the IP header begins behind Ethernet, its VLAN tags, Linux cooked headers, or nothing. */
function outerIp(b: Uint8Array, start: number, end: number, linkType: number): number {
  switch (linkType) {
    case ETHERNET:
      return behindType(b, start + 12, end)
    case 113:
      return behindType(b, start + 14, end)
    case 276:
      return end - start >= 20 && isIp(type(b, start)) ? start + 20 : UNKNOWN
    case 0:
    case 108:
      return start + 4
    case 12:
    case 14:
    case 101:
    case 228:
    case 229:
      return start
    default:
      return UNKNOWN
  }
}

function behindType(b: Uint8Array, at: number, end: number): number {
  for (let tags = 0; tags <= MAX_TAGS && at + 2 <= end; tags++) {
    const found = type(b, at)
    if (isIp(found)) return at + 2
    if (found === 0x8847 || found === 0x8848 || found === 0x8864) return NOT_PLAIN_IP
    if (found !== 0x8100 && found !== 0x88a8 && found !== 0x9100) break
    at += 4
  }
  return UNKNOWN
}

function isIp(etherType: number): boolean {
  return etherType === 0x0800 || etherType === 0x86dd
}

function type(b: Uint8Array, at: number): number {
  return (b[at]! << 8) | b[at + 1]!
}

function word(b: Uint8Array, at: number): number {
  return (b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!
}

function equal(one: Flow, other: Flow): boolean {
  for (let i = 0; i < 8; i++) if (one.words[i] !== other.words[i]) return false
  return (
    one.lowerPort === other.lowerPort &&
    one.upperPort === other.upperPort &&
    one.protocol === other.protocol &&
    one.portsKnown === other.portsKnown
  )
}
