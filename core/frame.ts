/**
 * From a captured packet to its transport payload: link layer, tags, tunnels, IPv4 (RFC 791) and IPv6 (RFC 8200).
 * Nothing here throws or allocates. Every function below takes a frame and the index where its own header begins;
 * what encloses it ends at `frame.end`, and `frame.missing` bytes more were on the wire.
 */
import type { Packet } from './packet.ts'

/** What the headers around one transport payload say; one object, overwritten for each packet. */
export class Frame {
  bytes: Uint8Array = new Uint8Array(0)
  /** The transport header begins at `start` (it may itself be cut); the IP payload ends at `end`, paddings excluded. */
  start = 0
  end = 0
  /** Bytes of the IP payload that were not captured: `end - start + missing` is `payloadLength`. */
  missing = 0
  payloadLength = 0
  /** IP protocol number of the innermost header, IPv6 extension headers passed: 6 TCP, 17 UDP, 58 ICMPv6, 50 ESP. */
  protocol = 0
  /** 4 or 6. */
  version = 0
  /** Source in 0 to 3, destination in 4 to 7, as core/address.ts has them. */
  readonly words = new Int32Array(8)
  /** Mixed from VLAN ids and tunnel keys, 0 without them: equal addresses in different scopes are different hosts. */
  scope = 0
  /** Set for the verdict 'fragment' only. The offset counts bytes. */
  identification = 0
  fragmentOffset = 0
  moreFragments = false
  /** Set for the verdict 'unknown-link-type' only: the one that is not read. */
  linkType = 0
  /** Headers that were opened so far, against `MAX_LAYERS`. */
  layers = 0
  /** What the IP header said before a UDP tunnel was tried: `KEPT` numbers for each layer. */
  readonly kept = new Int32Array(KEPT * (MAX_LAYERS + 1))
}

/** 'ok': transport payload found; 'fragment': for `Fragments`; else the cause why the packet was skipped. */
export type Verdict =
  | 'ok'
  | 'fragment'
  /** ARP, spanning tree, 802.11 management: understood so far, and no IP inside. */
  | 'not-ip'
  /** The capture cut the packet within its headers. */
  | 'truncated'
  /** The headers contradict each other or the packet, which is complete. */
  | 'malformed'
  /** 802.11 with its protected bit. */
  | 'encrypted'
  /** 802.11 with several packets in one frame, or one packet in several frames. */
  | 'unsupported'
  | 'too-many-layers'
  | 'unknown-link-type'

export function decode(packet: Packet, frame: Frame): Verdict {
  const { start, end } = packet
  frame.bytes = packet.bytes
  frame.end = end
  // A few writers note a length on the wire that is smaller than what they captured.
  frame.missing = Math.max(packet.length - (end - start), 0)
  frame.scope = 0
  frame.layers = 0
  if (packet.linkType === ETHERNET) return ethernet(frame, start)
  return link(frame, packet.linkType, start)
}

/**
 * Goes on where `Fragments` has put a datagram together: `frame.bytes[start..end)` is an IP payload of
 * `frame.protocol`, which may be a tunnel or begin with IPv6 extension headers.
 */
export function resume(frame: Frame): Verdict {
  return payload(frame, frame.protocol, frame.start)
}

/** A packet built of nothing but headers must not exhaust the stack; real captures have shown 6. */
const MAX_LAYERS = 16

const ETHERNET = 1
const TEREDO = 3544
const TCP = 6
const UDP = 17

const IPV4 = 0x0800
const IPV6 = 0x86dd

/** Bytes that should be there are not: either the capture left them out, or nobody sent them. */
function short(frame: Frame): Verdict {
  return frame.missing > 0 ? 'truncated' : 'malformed'
}

// ---- link types: https://www.tcpdump.org/linktypes.html

type Layer = (frame: Frame, at: number) => Verdict

function link(frame: Frame, linkType: number, at: number): Verdict {
  const layer = LINKS.get(linkType)
  if (layer !== undefined) return layer(frame, at)
  frame.linkType = linkType
  return 'unknown-link-type'
}

const LINKS: ReadonlyMap<number, Layer> = new Map<number, Layer>([
  [0, loopback],
  [1, ethernet],
  [9, ppp],
  [10, fddi],
  [12, rawIp],
  [14, rawIp],
  [50, ppp],
  [51, pppoe],
  [101, rawIp],
  [104, ciscoHdlc],
  [105, wifi],
  [107, frameRelay],
  [108, loopback],
  [113, cooked],
  [119, prism],
  [127, radiotap],
  [138, firewire],
  [228, rawIp],
  [229, rawIp],
  [239, nflog],
  [242, infiniband],
  [258, pktap],
  [276, cooked2],
])

/** destination(6) source(6) type-or-length(2). Up to 1500 it is the length of an 802.3 frame with LLC inside. */
function ethernet(frame: Frame, at: number): Verdict {
  if (frame.end - at < 14) return short(frame)
  if (++frame.layers > MAX_LAYERS) return 'too-many-layers'
  const b = frame.bytes
  const type = (b[at + 12]! << 8) | b[at + 13]!
  if (type === IPV4) return ipv4(frame, at + 14)
  return type <= 1500 ? llc(frame, at + 14) : etherType(frame, type, at + 14)
}

/** `at` is the first byte after the type. Tags are passed here, one after the other. */
function etherType(frame: Frame, type: number, at: number): Verdict {
  for (;;) {
    switch (type) {
      case IPV4:
        return ipv4(frame, at)
      case IPV6:
        return ipv6(frame, at)
      // 802.1Q, 802.1ad and its forerunners.  priority(3 bits) drop(1) id(12) type(2)
      case 0x8100:
      case 0x88a8:
      case 0x9100:
      case 0x9200: {
        if (frame.end - at < 4) return short(frame)
        const id = u16(frame, at) & 0xfff
        // Id 0 carries a priority and names no network.
        if (id !== 0) enter(frame, VLAN, id)
        break
      }
      // VN-Tag, 802.1BR's forerunner: its port numbers differ by direction, so they are no scope.
      case 0x8926:
        at += 2
        break
      case 0x8847:
      case 0x8848:
        return mpls(frame, at)
      case 0x8864:
        return pppoe(frame, at)
      case 0x880b:
        return ppp(frame, at)
      case 0x6558:
        return ethernet(frame, at)
      // 802.1ah.  flags(1) service(3) and the customer's Ethernet frame
      case 0x88e7:
        if (frame.end - at < 4) return short(frame)
        enter(frame, SERVICE, u24(frame, at + 1))
        return ethernet(frame, at + 4)
      case 0x894f:
        return serviceHeader(frame, at)
      default:
        return 'not-ip'
    }
    if (frame.end - at < 4) return short(frame)
    type = u16(frame, at + 2)
    at += 4
    if (type <= 1500) return llc(frame, at)
  }
}

/** 802.2.  dsap(1) ssap(1) control(1), for SNAP aa aa 03 organisation(3) type(2) */
function llc(frame: Frame, at: number): Verdict {
  if (frame.end - at < 3) return short(frame)
  if (++frame.layers > MAX_LAYERS) return 'too-many-layers'
  const saps = u16(frame, at)
  if (saps === 0x0606) return rawIp(frame, at + 3)
  if (saps !== 0xaaaa) return 'not-ip'
  if (frame.end - at < 8) return short(frame)
  const organisation = u24(frame, at + 3)
  // 0x0000f8 is the bridge tunnel encapsulation of 802.1H: the same types.
  if (organisation !== 0 && organisation !== 0x0000f8) return 'not-ip'
  return etherType(frame, u16(frame, at + 6), at + 8)
}

/** LINUX_SLL.  direction(2) hardware(2) length(2) address(8) protocol(2) */
function cooked(frame: Frame, at: number): Verdict {
  if (frame.end - at < 16) return short(frame)
  return cookedProtocol(frame, u16(frame, at + 14), at + 16)
}

/** LINUX_SLL2.  protocol(2) 0(2) interface(4) hardware(2) direction(1) length(1) address(8) */
function cooked2(frame: Frame, at: number): Verdict {
  if (frame.end - at < 20) return short(frame)
  return cookedProtocol(frame, u16(frame, at), at + 20)
}

function cookedProtocol(frame: Frame, protocol: number, at: number): Verdict {
  const LLC = 4
  return protocol === LLC ? llc(frame, at) : etherType(frame, protocol, at)
}

/** The socket family of the capturing host in its own byte order; each BSD numbered IPv6 for itself. */
function loopback(frame: Frame, at: number): Verdict {
  if (frame.end - at < 4) return short(frame)
  const high = u16(frame, at)
  const family = high === 0 ? u16(frame, at + 2) : u16le(frame, at)
  switch (family) {
    case 2: // AF_INET everywhere
    case 10: // AF_INET6 on Linux
    case 23: // Windows
    case 24: // NetBSD, OpenBSD
    case 28: // FreeBSD
    case 30: // macOS
      return rawIp(frame, at + 4)
    default:
      return 'not-ip'
  }
}

function rawIp(frame: Frame, at: number): Verdict {
  if (frame.end <= at) return short(frame)
  return frame.bytes[at]! >> 4 === 6 ? ipv6(frame, at) : ipv4(frame, at)
}

/** RFC 1661, 1662.  [ff 03] protocol(1 or 2): the last byte of a protocol is odd, those before are even. */
function ppp(frame: Frame, at: number): Verdict {
  const b = frame.bytes
  if (frame.end - at < 2) return short(frame)
  // Link type 50 carries Cisco HDLC as well: its addresses are 0f and 8f.
  if ((b[at]! & 0x7f) === 0x0f && b[at + 1] === 0) return ciscoHdlc(frame, at)
  if (b[at] === 0xff && b[at + 1] === 3) at += 2
  if (frame.end <= at) return short(frame)
  let protocol = b[at++]!
  if (protocol % 2 === 0) {
    if (frame.end <= at) return short(frame)
    protocol = (protocol << 8) | b[at++]!
  }
  switch (protocol) {
    case 0x0021:
      return ipv4(frame, at)
    case 0x0057:
      return ipv6(frame, at)
    case 0x0281:
    case 0x0283:
      return mpls(frame, at)
    default:
      return 'not-ip'
  }
}

/** RFC 2516.  version and type 0x11(1) code(1) session(2) length(2), then PPP without ff 03 */
function pppoe(frame: Frame, at: number): Verdict {
  if (frame.end - at < 6) return short(frame)
  if (frame.bytes[at] !== 0x11) return 'malformed'
  const SESSION_DATA = 0
  return frame.bytes[at + 1] === SESSION_DATA ? ppp(frame, at + 6) : 'not-ip'
}

/** address(1) control(1) type(2) */
function ciscoHdlc(frame: Frame, at: number): Verdict {
  if (frame.end - at < 4) return short(frame)
  return etherType(frame, u16(frame, at + 2), at + 4)
}

/** RFC 2427.  address(2) control 03(1) nlpid(1); Cisco's own form has a type(2) after the address. */
function frameRelay(frame: Frame, at: number): Verdict {
  if (frame.end - at < 4) return short(frame)
  const b = frame.bytes
  if (b[at + 2] !== 3) return etherType(frame, u16(frame, at + 2), at + 4)
  switch (b[at + 3]) {
    case 0xcc:
      return ipv4(frame, at + 4)
    case 0x8e:
      return ipv6(frame, at + 4)
    // 03 00 80 organisation(3) type(2): a pad brings the type to an even place.
    case 0x00:
      if (frame.end - at < 10) return short(frame)
      return b[at + 4] === 0x80 && u24(frame, at + 5) === 0 ? etherType(frame, u16(frame, at + 8), at + 10) : 'not-ip'
    default:
      return 'not-ip'
  }
}

/** control(1) destination(6) source(6), then LLC for the controls 0x50 to 0x5f */
function fddi(frame: Frame, at: number): Verdict {
  if (frame.end - at < 13) return short(frame)
  return (frame.bytes[at]! & 0xf0) === 0x50 ? llc(frame, at + 13) : 'not-ip'
}

/** IP over IEEE 1394.  destination(8) source(8) type(2) */
function firewire(frame: Frame, at: number): Verdict {
  if (frame.end - at < 18) return short(frame)
  return etherType(frame, u16(frame, at + 16), at + 18)
}

/** IP over InfiniBand.  global route header(40) type(2) 0(2) */
function infiniband(frame: Frame, at: number): Verdict {
  if (frame.end - at < 44) return short(frame)
  return etherType(frame, u16(frame, at + 40), at + 44)
}

/** family(1) version(1) resource(2), then attributes in the byte order of the host: length(2) type(2) value, padded to 4. */
function nflog(frame: Frame, at: number): Verdict {
  const PAYLOAD = 9
  for (let i = at + 4; frame.end - i >= 4; ) {
    const big = frame.bytes[i + 3] === PAYLOAD && frame.bytes[i + 2] === 0
    const length = big ? u16(frame, i) : u16le(frame, i)
    if (length < 4) return 'malformed'
    if (big || u16le(frame, i + 2) === PAYLOAD) return rawIp(frame, i + 4)
    i += (length + 3) & ~3
  }
  return short(frame)
}

/** Apple.  length of this header(4) kind(4) link type(4) …, little-endian */
function pktap(frame: Frame, at: number): Verdict {
  if (frame.end - at < 12) return short(frame)
  if (++frame.layers > MAX_LAYERS) return 'too-many-layers'
  const length = u16le(frame, at)
  if (length < 12 || u16le(frame, at + 2) !== 0) return 'malformed'
  return link(frame, u16le(frame, at + 8), at + length)
}

/** version 0(1) pad(1) length(2) present(4) …, little-endian. https://www.radiotap.org */
function radiotap(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const b = frame.bytes
  const next = at + u16le(frame, at + 2)
  if (b[at] !== 0 || next < at + 8) return 'malformed'
  if (next > frame.end) return short(frame)
  const HAS_TIME = 0x01
  const HAS_FLAGS = 0x02
  const HAS_MORE = 0x80
  const PADDED_TO_4 = 0x20
  if ((b[at + 4]! & HAS_FLAGS) === 0) return wifi(frame, next)
  let i = at + 8
  while (i <= next && (b[i - 1]! & HAS_MORE) !== 0) i += 4
  // The time is 8 bytes at a place divisible by 8.
  if ((b[at + 4]! & HAS_TIME) !== 0) i = at + ((i - at + 7) & ~7) + 8
  if (i >= next) return 'malformed'
  return (b[i]! & PADDED_TO_4) === 0 ? wifi(frame, next) : paddedWifi(frame, next)
}

/** kind(4) length of this header(4) … in the byte order of the host; or AVS: version 0x80211001(4) length(4), big-endian. */
function prism(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const length = u16(frame, at + 4) === 0 ? u16(frame, at + 6) : u16le(frame, at + 4)
  return length < 8 ? 'malformed' : wifi(frame, at + length)
}

function wifi(frame: Frame, at: number): Verdict {
  return wifiData(frame, at, 1)
}

function paddedWifi(frame: Frame, at: number): Verdict {
  return wifiData(frame, at, 4)
}

/** 802.11.  control(2) duration(2) addresses(18) sequence(2) [address(6)] [quality(2)] [throughput(4)], then LLC */
function wifiData(frame: Frame, at: number, alignment: number): Verdict {
  if (frame.end - at < 24) return short(frame)
  const kind = frame.bytes[at]!
  const flags = frame.bytes[at + 1]!
  const DATA = 0x08
  const NO_DATA = 0x40
  const QUALITY = 0x80
  if ((kind & 0x0f) !== DATA || (kind & NO_DATA) !== 0) return 'not-ip'
  if ((flags & 0x40) !== 0) return 'encrypted'
  const fragment = frame.bytes[at + 22]! & 0x0f
  if (fragment !== 0) return 'unsupported'
  let length = (flags & 0x03) === 0x03 ? 30 : 24
  if ((kind & QUALITY) !== 0) {
    if (frame.end - at < length + 2) return short(frame)
    const aggregated = (frame.bytes[at + length]! & 0x80) !== 0
    if (aggregated) return 'unsupported'
    length += (flags & 0x80) === 0 ? 2 : 6
  }
  return llc(frame, at + ((length + alignment - 1) & -alignment))
}

// ---- between link and IP

/** RFC 3032.  label(20 bits) class(3) last(1) hops(8), repeated; what follows is told by its first four bits. */
function mpls(frame: Frame, at: number): Verdict {
  const b = frame.bytes
  for (;;) {
    if (frame.end - at < 5) return short(frame)
    at += 4
    if ((b[at - 2]! & 1) !== 0) break
  }
  switch (b[at]! >> 4) {
    case 4:
      return ipv4(frame, at)
    case 6:
      return ipv6(frame, at)
    // RFC 4385: the control word of a pseudowire, and then most likely Ethernet.
    case 0:
      return ethernet(frame, at + 4)
    default:
      return 'not-ip'
  }
}

/** RFC 8300.  flags(10 bits) length in words(6) kind(1) next(1) … */
function serviceHeader(frame: Frame, at: number): Verdict {
  if (frame.end - at < 4) return short(frame)
  const length = (frame.bytes[at + 1]! & 0x3f) * 4
  if (length < 8) return 'malformed'
  return nextProtocol(frame, frame.bytes[at + 3]!, at + length)
}

/** The numbers that VXLAN-GPE and the network service header share. */
function nextProtocol(frame: Frame, next: number, at: number): Verdict {
  switch (next) {
    case 1:
      return ipv4(frame, at)
    case 2:
      return ipv6(frame, at)
    case 3:
      return ethernet(frame, at)
    case 4:
      // Each one is at least 8 bytes, but a chain of them must not grow the stack.
      return ++frame.layers > MAX_LAYERS ? 'too-many-layers' : serviceHeader(frame, at)
    case 5:
      return mpls(frame, at)
    default:
      return 'not-ip'
  }
}

// ---- IP

/**
 * version(4 bits) length in words(4) class(1) total(2) identification(2) flags(3 bits) offset in 8 bytes(13)
 * hops(1) protocol(1) checksum(2) source(4) destination(4) options
 */
function ipv4(frame: Frame, at: number): Verdict {
  const b = frame.bytes
  const end = frame.end
  if (end - at < 20) return short(frame)
  if (++frame.layers > MAX_LAYERS) return 'too-many-layers'
  const first = b[at]!
  if (first >> 4 !== 4 || first < 0x45) return 'malformed'
  const header = (first & 15) << 2
  const total = (b[at + 2]! << 8) | b[at + 3]!
  if (total >= header) {
    const stop = at + total
    if (stop > end) {
      frame.missing = stop - end
    } else {
      frame.missing = 0
      frame.end = stop
    }
  } else if (total !== 0) {
    return 'malformed'
  }
  // A total of 0 is what segmentation offload shows for more than 65535 bytes: all that is here belongs to it.
  if (at + header > frame.end) return short(frame)

  const words = frame.words
  words[0] = 0
  words[1] = 0
  words[2] = 0xffff
  words[3] = word(b, at + 12)
  words[4] = 0
  words[5] = 0
  words[6] = 0xffff
  words[7] = word(b, at + 16)
  frame.version = 4
  const fragment = (b[at + 6]! << 8) | b[at + 7]!
  if ((fragment & 0x3fff) === 0) return payload(frame, b[at + 9]!, at + header)
  frame.identification = (b[at + 4]! << 8) | b[at + 5]!
  return fragmentOf(frame, b[at + 9]!, at + header, (fragment & 0x1fff) << 3, (fragment & 0x2000) !== 0)
}

/** version(4 bits) class(8) flow(20) payload length(2) next(1) hops(1) source(16) destination(16) */
function ipv6(frame: Frame, at: number): Verdict {
  const b = frame.bytes
  const end = frame.end
  if (end - at < 40) return short(frame)
  if (++frame.layers > MAX_LAYERS) return 'too-many-layers'
  if (b[at]! >> 4 !== 6) return 'malformed'
  const length = (b[at + 4]! << 8) | b[at + 5]!
  const next = b[at + 6]!
  const NOTHING = 59
  // Length 0 and yet a next header: a jumbogram (RFC 2675) or segmentation offload. All that is here belongs to it.
  if (length !== 0 || next === NOTHING) {
    const stop = at + 40 + length
    if (stop > end) {
      frame.missing = stop - end
    } else {
      frame.missing = 0
      frame.end = stop
    }
  }
  const words = frame.words
  words[0] = word(b, at + 8)
  words[1] = word(b, at + 12)
  words[2] = word(b, at + 16)
  words[3] = word(b, at + 20)
  words[4] = word(b, at + 24)
  words[5] = word(b, at + 28)
  words[6] = word(b, at + 32)
  words[7] = word(b, at + 36)
  frame.version = 6
  return payload(frame, next, at + 40)
}

function fragmentOf(frame: Frame, protocol: number, at: number, offset: number, more: boolean): Verdict {
  const length = frame.end + frame.missing - at
  const MAX_DATAGRAM = 65535
  if (length === 0 || offset + length > MAX_DATAGRAM || (more && length % 8 !== 0)) return 'malformed'
  frame.fragmentOffset = offset
  frame.moreFragments = more
  found(frame, protocol, at)
  return 'fragment'
}

function found(frame: Frame, protocol: number, at: number): void {
  frame.protocol = protocol
  frame.start = at
  frame.payloadLength = frame.end + frame.missing - at
}

/** What an IP header announces: https://www.iana.org/assignments/protocol-numbers */
function payload(frame: Frame, protocol: number, at: number): Verdict {
  if (protocol === TCP) {
    found(frame, protocol, at)
    return 'ok'
  }
  for (;;) {
    switch (protocol) {
      case UDP:
        return udp(frame, at)
      case 4:
        return ipv4(frame, at)
      case 41:
        return ipv6(frame, at)
      case 47:
        return gre(frame, at)
      case 97:
        return etherIp(frame, at)
      case 137:
        return mpls(frame, at)
      case 143:
        return ethernet(frame, at)
      // Extension headers: hop-by-hop, routing, destination, mobility, HIP, shim6.  next(1) length in 8 bytes - 1(1) …
      case 0:
      case 43:
      case 60:
      case 135:
      case 139:
      case 140: {
        // IPv4 has no such headers; there the number is the payload's own.
        if (frame.version === 4) break
        if (frame.end - at < 8) return short(frame)
        protocol = frame.bytes[at]!
        at += (frame.bytes[at + 1]! + 1) << 3
        if (at > frame.end) return short(frame)
        continue
      }
      // Authentication, RFC 4302.  next(1) length in words - 2(1) …
      case 51:
        if (frame.end - at < 8) return short(frame)
        protocol = frame.bytes[at]!
        at += (frame.bytes[at + 1]! + 2) << 2
        if (at > frame.end) return short(frame)
        continue
      // Fragment.  next(1) 0(1) offset in 8 bytes(13 bits) 0(2) more(1) identification(4)
      case 44: {
        if (frame.version === 4) break
        if (frame.end - at < 8) return short(frame)
        protocol = frame.bytes[at]!
        const fragment = u16(frame, at + 2) & 0xfff9
        // RFC 6946: one that is alone is whole.
        if (fragment !== 0) {
          frame.identification = word(frame.bytes, at + 4)
          return fragmentOf(frame, protocol, at + 8, fragment & 0xfff8, (fragment & 1) !== 0)
        }
        at += 8
        continue
      }
    }
    found(frame, protocol, at)
    return 'ok'
  }
}

// ---- tunnels in IP

/**
 * RFC 2784, 2890.  checksum(1 bit) routing(1) key(1) sequence(1) … version(3) type(2) [checksum(2) 0(2)] [key(4)] [sequence(4)]
 * What cannot be unwrapped stays GRE.
 */
function gre(frame: Frame, at: number): Verdict {
  found(frame, 47, at)
  if (frame.end - at < 4) return short(frame)
  const flags = u16(frame, at)
  const type = u16(frame, at + 2)
  if ((flags & 7) === 1) return pptp(frame, flags, at)
  if ((flags & 7) !== 0 || (flags & ROUTING) !== 0) return 'ok'

  const hasKey = (flags & KEY) !== 0
  const hasSequence = (flags & SEQUENCE) !== 0
  const keyAt = at + ((flags & CHECKSUM) === 0 ? 4 : 8)
  const next = keyAt + (hasKey ? 4 : 0) + (hasSequence ? 4 : 0)
  if (next > frame.end) return short(frame)
  const inner = greLayer(type, hasSequence)
  if (inner === null) return 'ok'
  if (hasKey) enterKey(frame, word(frame.bytes, keyAt), type)
  return inner(frame, next)
}

const CHECKSUM = 0x8000
const ROUTING = 0x4000
const KEY = 0x2000
const SEQUENCE = 0x1000

function greLayer(type: number, hasSequence: boolean): Layer | null {
  switch (type) {
    case IPV4:
      return ipv4
    case IPV6:
      return ipv6
    case 0x6558:
      return ethernet
    case 0x8847:
    case 0x8848:
      return mpls
    case 0x880b:
      return ppp
    // Type I of ERSPAN has no header of its own, and no sequence number tells it from type II.
    case 0x88be:
      return hasSequence ? erspan2 : ethernet
    case 0x22eb:
      return erspan3
    // Aruba: the 802.11 frames of an access point.
    case 0x8200:
      return wifi
    case 0x894f:
      return serviceHeader
    default:
      return null
  }
}

/** RFC 7637: NVGRE has 24 bits of network, never below 0x1000, and 8 of flow, which differ by direction. */
function enterKey(frame: Frame, key: number, type: number): void {
  const nvgre = type === 0x6558 && key >>> 8 >= 0x1000
  enter(frame, GRE_KEY, nvgre ? key >>> 8 : key)
}

/** RFC 2637.  flags(2) 880b(2) length(2) call(2) [sequence(4)] [acknowledgement(4)], then PPP. Calls differ by direction. */
function pptp(frame: Frame, flags: number, at: number): Verdict {
  const ACKNOWLEDGEMENT = 0x80
  const onlyAcknowledges = (flags & SEQUENCE) === 0
  if (onlyAcknowledges || u16(frame, at + 2) !== 0x880b) return 'ok'
  return ppp(frame, at + 12 + ((flags & ACKNOWLEDGEMENT) === 0 ? 0 : 4))
}

/** version 1(4 bits) vlan(12) class(3) …(3) session(10) port(32) */
function erspan2(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  return frame.bytes[at]! >> 4 === 1 ? ethernet(frame, at + 8) : 'malformed'
}

/** version 2(4 bits) … frame type(5 bits) … extended(1), 12 bytes; 8 more when extended */
function erspan3(frame: Frame, at: number): Verdict {
  if (frame.end - at < 12) return short(frame)
  const b = frame.bytes
  if (b[at]! >> 4 !== 2) return 'malformed'
  const next = at + ((b[at + 11]! & 1) === 0 ? 12 : 20)
  const frameType = (b[at + 10]! >> 2) & 0x1f
  return frameType === 2 ? rawIp(frame, next) : ethernet(frame, next)
}

/** RFC 3378.  version 3(4 bits) 0(12), then Ethernet */
function etherIp(frame: Frame, at: number): Verdict {
  found(frame, 97, at)
  if (frame.end - at < 2) return short(frame)
  return u16(frame, at) === 0x3000 ? ethernet(frame, at + 2) : 'ok'
}

// ---- tunnels in UDP

/** source(2) destination(2) length(2) checksum(2) */
function udp(frame: Frame, at: number): Verdict {
  found(frame, UDP, at)
  if (frame.end - at <= 8) return 'ok'
  const tunnel = tunnelAt(u16(frame, at), u16(frame, at + 2))
  return tunnel === null ? 'ok' : unwrap(frame, at + 8, tunnel)
}

/** Whether a datagram between these ports may be a tunnel, and then has ends within it. */
export function mayBeTunnel(source: number, destination: number): boolean {
  return tunnelAt(source, destination) !== null
}

/** By destination port: the source port of most tunnels is a hash. They answer 'malformed' when the bytes are not theirs. */
function tunnelAt(source: number, destination: number): Layer | null {
  switch (destination) {
    case 4789:
    case 8472:
      return vxlan
    case 4790:
      return vxlanGpe
    case 6081:
      return geneve
    case 2152:
      return gtpUser
    case TEREDO:
      return teredo
    case 6635:
      return mplsInUdp
    default:
      return source === TEREDO ? teredo : null
  }
}

/** A port proves nothing: where the bytes are not the tunnel's, the frame is again what it was, plain UDP. */
function unwrap(frame: Frame, at: number, tunnel: Layer): Verdict {
  const kept = frame.kept
  const base = frame.layers * KEPT
  kept.set(frame.words, base)
  kept[base + 8] = frame.start
  kept[base + 9] = frame.end
  kept[base + 10] = frame.missing
  kept[base + 11] = frame.scope
  kept[base + 12] = frame.version
  const layers = frame.layers

  const verdict = tunnel(frame, at)
  if (verdict !== 'malformed') return verdict

  for (let i = 0; i < 8; i++) frame.words[i] = kept[base + i]!
  frame.end = kept[base + 9]!
  frame.missing = kept[base + 10]!
  frame.scope = kept[base + 11]!
  frame.version = kept[base + 12]!
  frame.layers = layers
  found(frame, UDP, kept[base + 8]!)
  return 'ok'
}

const KEPT = 13

/** RFC 7348.  flags 08(1) 0(3) network(3) 0(1). With a group policy the flags are 88 and the zeros hold the group. */
function vxlan(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const b = frame.bytes
  if ((b[at]! & 0x7f) !== 0x08 || b[at + 7] !== 0) return 'malformed'
  if (b[at] === 0x08 && u24(frame, at + 1) !== 0) return 'malformed'
  enter(frame, NETWORK, u24(frame, at + 4))
  return ethernet(frame, at + 8)
}

/** draft-ietf-nvo3-vxlan-gpe.  flags 0c(1) 0(2) next(1) network(3) 0(1); without the bit 04 it is plain VXLAN. */
function vxlanGpe(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const b = frame.bytes
  const HAS_NEXT = 0x04
  if ((b[at]! & HAS_NEXT) === 0) return vxlan(frame, at)
  if ((b[at]! & 0xfc) !== 0x0c || u16(frame, at + 1) !== 0 || b[at + 7] !== 0) return 'malformed'
  enter(frame, NETWORK, u24(frame, at + 4))
  return nextProtocol(frame, b[at + 3]!, at + 8)
}

/** RFC 8926.  version 0(2 bits) options in words(6) control(1) critical(1) 0(6) type(2) network(3) 0(1) options */
function geneve(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const b = frame.bytes
  if (b[at]! >> 6 !== 0 || (b[at + 1]! & 0x3f) !== 0 || b[at + 7] !== 0) return 'malformed'
  const next = at + 8 + (b[at]! << 2)
  if (next > frame.end) return short(frame)
  enter(frame, NETWORK, u24(frame, at + 4))
  switch (u16(frame, at + 2)) {
    case IPV4:
      return ipv4(frame, next)
    case IPV6:
      return ipv6(frame, next)
    case 0x6558:
      return ethernet(frame, next)
    default:
      return 'malformed'
  }
}

/**
 * 3GPP TS 29.281.  version 1(3 bits) 1(1) 0(1) extension(1) sequence(1) number(1) kind ff(1) length(2) endpoint(4),
 * with any of the three bits: sequence(2) number(1) extension(1). An extension: length in words(1) … next(1).
 * Endpoints differ by direction, so they are no scope.
 */
function gtpUser(frame: Frame, at: number): Verdict {
  if (frame.end - at < 8) return short(frame)
  const b = frame.bytes
  const PACKET = 0xff
  if ((b[at]! & 0xf0) !== 0x30 || b[at + 1] !== PACKET) return 'malformed'
  const length = u16(frame, at + 2)
  if (at + 8 + length > frame.end + frame.missing) return 'malformed'
  if ((b[at]! & 0x07) === 0) return rawIp(frame, at + 8)
  let next = at + 12
  if (next > frame.end) return short(frame)
  while (b[next - 1] !== 0) {
    if (next >= frame.end) return short(frame)
    const words = b[next]!
    if (words === 0) return 'malformed'
    next += words << 2
    if (next > frame.end) return short(frame)
  }
  return rawIp(frame, next)
}

/** RFC 4380.  [00 01 id length(1) value length(1) id value nonce(8) confirmation(1)] [00 00 port(2) address(4)] IPv6 */
function teredo(frame: Frame, at: number): Verdict {
  const b = frame.bytes
  if (frame.end - at < 4) return short(frame)
  if (u16(frame, at) === 1) at += 13 + b[at + 2]! + b[at + 3]!
  if (frame.end - at < 4) return short(frame)
  if (u16(frame, at) === 0) at += 8
  if (frame.end <= at) return short(frame)
  return b[at]! >> 4 === 6 ? ipv6(frame, at) : 'malformed'
}

/** RFC 7510. Labels alone prove little, so only what is IP inside counts. */
function mplsInUdp(frame: Frame, at: number): Verdict {
  const verdict = mpls(frame, at)
  return verdict === 'not-ip' ? 'malformed' : verdict
}

// ---- scopes and numbers

/** Kinds of numbers, so that VLAN 5 and key 5 are different scopes. MPLS labels differ by direction and are none. */
const VLAN = 1 << 24
const SERVICE = 2 << 24
const NETWORK = 3 << 24
const GRE_KEY = 4 << 24

function enter(frame: Frame, kind: number, id: number): void {
  const mixed = Math.imul(frame.scope ^ kind ^ id, 0x9e3779b1)
  frame.scope = mixed ^ (mixed >>> 15)
}

function u16(frame: Frame, at: number): number {
  return (frame.bytes[at]! << 8) | frame.bytes[at + 1]!
}

function u16le(frame: Frame, at: number): number {
  return (frame.bytes[at + 1]! << 8) | frame.bytes[at]!
}

function u24(frame: Frame, at: number): number {
  return (frame.bytes[at]! << 16) | (frame.bytes[at + 1]! << 8) | frame.bytes[at + 2]!
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}
