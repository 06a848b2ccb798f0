import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { formatAddress } from './address.ts'
import { Fragments } from './fragments.ts'
import { decode, Frame, resume, type Verdict } from './frame.ts'
import { emptyPacket, type Packet } from './packet.ts'
import { CaptureParser } from './pcap.ts'

const FIXTURES = new URL('fixtures/frame/', import.meta.url)

// ---- packets, field by field

type Bytes = readonly number[]

const u16 = (n: number): Bytes => [(n >>> 8) & 255, n & 255]
const u24 = (n: number): Bytes => [(n >>> 16) & 255, ...u16(n)]
const u32 = (n: number): Bytes => [...u16(n >>> 16), ...u16(n)]
const zeros = (count: number): Bytes => new Array<number>(count).fill(0)
const text = (value: string): Bytes => [...Buffer.from(value)]

const MAC = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
const ethernet = (type: number, ...inner: Bytes[]): Bytes => [...MAC, ...u16(type), ...inner.flat()]
const tag = (id: number, type: number): Bytes => [...u16(0xe000 | id), ...u16(type)]
const label = (value: number, last: 0 | 1): Bytes => [...u24((value << 4) | last), 64]
const snap = (type: number): Bytes => [0xaa, 0xaa, 3, 0, 0, 0, ...u16(type)]

const A4 = [10, 0, 0, 1]
const B4 = [200, 0, 0, 2]
const A6 = [0x20, 1, 0xd, 0xb8, ...zeros(11), 1]
const B6 = [0xfd, ...zeros(14), 2]

function ipv4(protocol: number, payload: Bytes, changes: { total?: number; options?: Bytes; fragment?: number } = {}) {
  const { options = [], fragment = 0x4000 } = changes
  const total = changes.total ?? 20 + options.length + payload.length
  const first = 0x45 + options.length / 4
  return [
    first,
    0,
    ...u16(total),
    0x12,
    0x34,
    ...u16(fragment),
    64,
    protocol,
    0,
    0,
    ...A4,
    ...B4,
    ...options,
    ...payload,
  ]
}

function ipv6(next: number, payload: Bytes, length = payload.length): Bytes {
  return [0x60, 0, 0, 0, ...u16(length), next, 64, ...A6, ...B6, ...payload]
}

const udp = (port: number, payload: Bytes): Bytes => [
  ...u16(50000),
  ...u16(port),
  ...u16(8 + payload.length),
  0,
  0,
  ...payload,
]
/** An IPv6 extension header of 8 · (1 + more) bytes. */
const extension = (next: number, more = 0): Bytes => [next, more, ...zeros(6 + 8 * more)]
const fragment6 = (next: number, offset: number, more: 0 | 1): Bytes => [
  next,
  0,
  ...u16(offset | more),
  0x89,
  0xab,
  0xcd,
  0xef,
]

const TCP = [...u16(40000), ...u16(80), ...u32(1), ...u32(2), 0x50, 0x18, 1, 0, 0, 0, 0, 0, ...text('hello')]
const INNER4 = ipv4(6, TCP)
const INNER6 = ipv6(6, TCP)
const INNER = ethernet(0x0800, INNER4)
const over4 = (protocol: number, payload: Bytes): Bytes => ethernet(0x0800, ipv4(protocol, payload))
const overUdp = (port: number, ...payload: Bytes[]): Bytes => over4(17, udp(port, payload.flat()))

// ---- tables

interface Case {
  name: string
  linkType?: number
  bytes: Bytes
  /** The innermost IP version; then the addresses are those of A and B. */
  version: 4 | 6
  scoped?: boolean
}

const V = { vxlan: [8, 0, 0, 0, ...u24(42), 0], gpe: (next: number) => [12, 0, 0, next, ...u24(42), 0] }
const WIFI_FROM_STATION = [0x08, 0x01, ...zeros(22)]
const WIFI_QUALITY = [0x88, 0x01, ...zeros(24)]
const WIFI_FOUR_ADDRESSES_QOS = [0x88, 0x03, ...zeros(28), 0, 0]

/** Each holds the same TCP segment at its end. */
const FOUND: readonly Case[] = [
  { name: 'Ethernet, IPv4', bytes: ethernet(0x0800, INNER4), version: 4 },
  { name: 'Ethernet, IPv6', bytes: ethernet(0x86dd, INNER6), version: 6 },
  { name: 'Ethernet padded', bytes: ethernet(0x0800, INNER4, zeros(20)), version: 4 },
  { name: 'IPv4 with options', bytes: over4(4, ipv4(6, TCP, { options: zeros(8) })), version: 4 },
  { name: 'IPv4 of total length 0', bytes: ethernet(0x0800, ipv4(6, TCP, { total: 0 })), version: 4 },
  { name: 'IPv4 with authentication', bytes: over4(51, [6, 4, ...zeros(22), ...TCP]), version: 4 },
  { name: '802.1Q', bytes: ethernet(0x8100, tag(5, 0x0800), INNER4), version: 4, scoped: true },
  { name: '802.1Q with a priority only', bytes: ethernet(0x8100, tag(0, 0x0800), INNER4), version: 4 },
  { name: '802.1ad', bytes: ethernet(0x88a8, tag(5, 0x8100), tag(6, 0x86dd), INNER6), version: 6, scoped: true },
  {
    name: '9100, three tags',
    bytes: ethernet(0x9100, tag(5, 0x8100), tag(6, 0x8100), tag(7, 0x0800), INNER4),
    version: 4,
    scoped: true,
  },
  { name: '802.1Q, LLC', bytes: ethernet(0x8100, tag(5, 53), snap(0x0800), INNER4), version: 4, scoped: true },
  { name: '802.3, SNAP', bytes: ethernet(53, snap(0x0800), INNER4), version: 4 },
  { name: '802.3, LLC of IP', bytes: ethernet(48, [6, 6, 3], INNER4), version: 4 },
  { name: 'PPPoE', bytes: ethernet(0x8864, [0x11, 0, 0, 1, 0, 47, 0, 0x21], INNER4), version: 4 },
  {
    name: 'MPLS, three labels',
    bytes: ethernet(0x8847, label(100, 0), label(200, 0), label(300, 1), INNER6),
    version: 6,
  },
  { name: 'MPLS pseudowire', bytes: ethernet(0x8847, label(100, 1), zeros(4), INNER), version: 4 },
  { name: '802.1ah', bytes: ethernet(0x88e7, [0, ...u24(77)], INNER), version: 4, scoped: true },
  { name: 'VN-Tag', bytes: ethernet(0x8926, [0, 1, 0, 2], u16(0x0800), INNER4), version: 4 },

  { name: 'Linux cooked', linkType: 113, bytes: [...zeros(14), ...u16(0x0800), ...INNER4], version: 4 },
  {
    name: 'Linux cooked with a tag',
    linkType: 113,
    bytes: [...zeros(14), ...u16(0x8100), ...tag(5, 0x0800), ...INNER4],
    version: 4,
    scoped: true,
  },
  {
    name: 'Linux cooked, LLC',
    linkType: 113,
    bytes: [...zeros(14), ...u16(4), ...snap(0x86dd), ...INNER6],
    version: 6,
  },
  { name: 'Linux cooked 2', linkType: 276, bytes: [...u16(0x86dd), ...zeros(18), ...INNER6], version: 6 },
  ...[2, 10, 23, 24, 28, 30].flatMap((family): Case[] => {
    const [inner, version] = family === 2 ? ([INNER4, 4] as const) : ([INNER6, 6] as const)
    return [
      { name: `null ${family}, little-endian`, linkType: 0, bytes: [family, 0, 0, 0, ...inner], version },
      { name: `null ${family}, big-endian`, linkType: 0, bytes: [...u32(family), ...inner], version },
      { name: `loop ${family}`, linkType: 108, bytes: [...u32(family), ...inner], version },
    ]
  }),
  ...[12, 14, 101, 228].map((linkType): Case => ({ name: `raw ${linkType}`, linkType, bytes: INNER4, version: 4 })),
  ...[12, 14, 101, 229].map((linkType): Case => ({ name: `raw ${linkType}`, linkType, bytes: INNER6, version: 6 })),
  { name: 'PPP with ff 03', linkType: 9, bytes: [0xff, 3, 0, 0x21, ...INNER4], version: 4 },
  { name: 'PPP without', linkType: 9, bytes: [0, 0x57, ...INNER6], version: 6 },
  { name: 'PPP with a compressed protocol', linkType: 50, bytes: [0x21, ...INNER4], version: 4 },
  { name: 'PPP, MPLS', linkType: 50, bytes: [0xff, 3, 2, 0x81, ...label(9, 1), ...INNER4], version: 4 },
  { name: 'PPP link with Cisco HDLC', linkType: 50, bytes: [0x0f, 0, 8, 0, ...INNER4], version: 4 },
  { name: 'Cisco HDLC', linkType: 104, bytes: [0x8f, 0, 0x86, 0xdd, ...INNER6], version: 6 },
  { name: 'Frame Relay, NLPID', linkType: 107, bytes: [0x18, 0x41, 3, 0xcc, ...INNER4], version: 4 },
  {
    name: 'Frame Relay, SNAP',
    linkType: 107,
    bytes: [0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 0x86, 0xdd, ...INNER6],
    version: 6,
  },
  { name: 'Frame Relay, Cisco', linkType: 107, bytes: [0x18, 0x41, 8, 0, ...INNER4], version: 4 },
  { name: '802.11', linkType: 105, bytes: [...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4], version: 4 },
  {
    name: '802.11 with quality and four addresses',
    linkType: 105,
    bytes: [...WIFI_FOUR_ADDRESSES_QOS, ...snap(0x0800), ...INNER4],
    version: 4,
  },
  {
    name: 'radiotap',
    linkType: 127,
    bytes: [0, 0, 8, 0, 0, 0, 0, 0, ...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4],
    version: 4,
  },
  {
    name: 'radiotap with time, second mask and padding to 4',
    linkType: 127,
    bytes: [0, 0, 25, 0, 3, 0, 0, 0x80, ...zeros(16), 0x20, ...WIFI_QUALITY, 0, 0, ...snap(0x0800), ...INNER4],
    version: 4,
  },
  {
    name: 'prism',
    linkType: 119,
    bytes: [0x44, 0, 0, 0, 144, 0, 0, 0, ...zeros(136), ...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4],
    version: 4,
  },
  { name: 'FDDI', linkType: 10, bytes: [0x54, ...zeros(12), ...snap(0x0800), ...INNER4], version: 4 },
  { name: 'IEEE 1394', linkType: 138, bytes: [...zeros(16), ...u16(0x0800), ...INNER4], version: 4 },
  { name: 'InfiniBand', linkType: 242, bytes: [...zeros(40), ...u16(0x0800), 0, 0, ...INNER4], version: 4 },
  {
    name: 'NFLOG',
    linkType: 239,
    bytes: [2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 5, 0, 10, 0, 65, 0, 0, 0, 49, 0, 9, 0, ...INNER4],
    version: 4,
  },
  { name: 'NFLOG, big-endian', linkType: 239, bytes: [2, 0, 0, 0, 0, 49, 0, 9, ...INNER4], version: 4 },
  { name: 'PKTAP', linkType: 258, bytes: [12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, ...INNER], version: 4 },

  {
    name: 'IPv6 extension headers',
    bytes: ethernet(
      0x86dd,
      ipv6(
        0,
        [
          extension(60),
          extension(43, 1),
          extension(135, 2),
          extension(139),
          extension(140),
          extension(51),
          [6, 2, ...zeros(14)],
          TCP,
        ].flat(),
      ),
    ),
    version: 6,
  },
  { name: 'IPv6 atomic fragment', bytes: ethernet(0x86dd, ipv6(44, [...fragment6(6, 0, 0), ...TCP])), version: 6 },
  { name: 'IPv6 of payload length 0', bytes: ethernet(0x86dd, ipv6(6, TCP, 0)), version: 6 },
  {
    name: 'IPv6 jumbogram',
    bytes: ethernet(0x86dd, ipv6(0, [6, 0, 0xc2, 4, ...u32(8 + TCP.length), ...TCP], 0)),
    version: 6,
  },

  { name: 'IPv4 in IPv4', bytes: over4(4, INNER4), version: 4 },
  { name: 'IPv6 in IPv4', bytes: over4(41, INNER6), version: 6 },
  { name: 'IPv4 in IPv6', bytes: ethernet(0x86dd, ipv6(4, INNER4)), version: 4 },
  { name: 'IPv6 in IPv6 with options', bytes: ethernet(0x86dd, ipv6(60, [...extension(41), ...INNER6])), version: 6 },
  { name: 'MPLS in IP', bytes: over4(137, [...label(3, 1), ...INNER4]), version: 4 },
  { name: 'Ethernet in IPv6', bytes: ethernet(0x86dd, ipv6(143, INNER)), version: 4 },
  { name: 'EtherIP', bytes: over4(97, [0x30, 0, ...INNER]), version: 4 },
  { name: 'GRE', bytes: over4(47, [0, 0, 8, 0, ...INNER4]), version: 4 },
  {
    name: 'GRE with checksum, key and sequence',
    bytes: over4(47, [0xb0, 0, 0x86, 0xdd, ...zeros(4), ...u32(7), ...u32(1), ...INNER6]),
    version: 6,
    scoped: true,
  },
  { name: 'GRE, Ethernet', bytes: over4(47, [0, 0, 0x65, 0x58, ...INNER]), version: 4 },
  { name: 'GRE, MPLS', bytes: over4(47, [0, 0, 0x88, 0x47, ...label(5, 1), ...INNER4]), version: 4 },
  { name: 'GRE, PPP', bytes: over4(47, [0, 0, 0x88, 0x0b, 0xff, 3, 0, 0x21, ...INNER4]), version: 4 },
  {
    name: 'GRE, 802.11',
    bytes: over4(47, [0, 0, 0x82, 0, ...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4]),
    version: 4,
  },
  {
    name: 'PPTP',
    bytes: over4(47, [0x30, 0x81, 0x88, 0x0b, 0, 47, 0, 9, ...u32(1), ...u32(2), 0xff, 3, 0, 0x21, ...INNER4]),
    version: 4,
  },
  { name: 'ERSPAN I', bytes: over4(47, [0, 0, 0x88, 0xbe, ...INNER]), version: 4 },
  { name: 'ERSPAN II', bytes: over4(47, [0x10, 0, 0x88, 0xbe, ...u32(1), 0x10, ...zeros(7), ...INNER]), version: 4 },
  { name: 'ERSPAN III', bytes: over4(47, [0x10, 0, 0x22, 0xeb, ...u32(1), 0x20, ...zeros(11), ...INNER]), version: 4 },
  {
    name: 'ERSPAN III, extended',
    bytes: over4(47, [0x10, 0, 0x22, 0xeb, ...u32(1), 0x20, ...zeros(10), 1, ...zeros(8), ...INNER]),
    version: 4,
  },
  {
    name: 'ERSPAN III, bare IP',
    bytes: over4(47, [0x10, 0, 0x22, 0xeb, ...u32(1), 0x20, ...zeros(9), 2 << 2, 0, ...INNER4]),
    version: 4,
  },

  { name: 'VXLAN', bytes: overUdp(4789, V.vxlan, INNER), version: 4, scoped: true },
  {
    name: 'VXLAN on 8472 with a group policy',
    bytes: overUdp(8472, [0x88, 0, 1, 2, ...u24(42), 0], INNER),
    version: 4,
    scoped: true,
  },
  { name: 'VXLAN-GPE, IPv6', bytes: overUdp(4790, V.gpe(2), INNER6), version: 6, scoped: true },
  {
    name: 'VXLAN-GPE, service header',
    bytes: overUdp(4790, V.gpe(4), [0, 2, 2, 3, ...zeros(4)], INNER),
    version: 4,
    scoped: true,
  },
  { name: 'Geneve, Ethernet', bytes: overUdp(6081, [0, 0, 0x65, 0x58, ...u24(0), 0], INNER), version: 4, scoped: true },
  {
    name: 'Geneve with options, IPv6',
    bytes: overUdp(6081, [3, 0x40, 0x86, 0xdd, ...u24(5), 0], zeros(12), INNER6),
    version: 6,
    scoped: true,
  },
  { name: 'GTP-U', bytes: overUdp(2152, [0x30, 0xff, ...u16(INNER4.length), ...u32(9)], INNER4), version: 4 },
  {
    name: 'GTP-U with extensions',
    bytes: overUdp(
      2152,
      [0x34, 0xff, ...u16(INNER6.length + 16), ...u32(9), 0, 0, 0, 0x85, 1, 0, 0, 0x85, 2, ...zeros(6), 0],
      INNER6,
    ),
    version: 6,
  },
  { name: 'Teredo', bytes: overUdp(3544, [0, 1, 1, 1, ...zeros(11)], zeros(8), INNER6), version: 6 },
  { name: 'MPLS in UDP', bytes: overUdp(6635, label(5, 1), INNER6), version: 6 },
  {
    name: 'VXLAN in GRE in IPv6',
    bytes: ethernet(0x86dd, ipv6(47, [0, 0, 8, 0, ...ipv4(17, udp(4789, [...V.vxlan, ...INNER]))])),
    version: 4,
    scoped: true,
  },
]

const SKIPPED: readonly { name: string; linkType?: number; bytes: Bytes; verdict: Verdict }[] = [
  { name: 'ARP', bytes: ethernet(0x0806, zeros(28)), verdict: 'not-ip' },
  { name: 'spanning tree', bytes: ethernet(38, [0x42, 0x42, 3], zeros(35)), verdict: 'not-ip' },
  { name: 'ARP in VXLAN', bytes: overUdp(4789, V.vxlan, ethernet(0x0806, zeros(28))), verdict: 'not-ip' },
  { name: 'PPPoE discovery', bytes: ethernet(0x8864, [0x11, 9, 0, 0, 0, 0]), verdict: 'not-ip' },
  { name: 'PPP link control', linkType: 9, bytes: [0xff, 3, 0xc0, 0x21, ...zeros(8)], verdict: 'not-ip' },
  { name: 'family 7', linkType: 0, bytes: [7, 0, 0, 0, ...INNER4], verdict: 'not-ip' },
  { name: '802.11 beacon', linkType: 105, bytes: [0x80, ...zeros(60)], verdict: 'not-ip' },
  { name: '802.11 data without data', linkType: 105, bytes: [0x48, ...zeros(60)], verdict: 'not-ip' },
  { name: '802.11 protected', linkType: 105, bytes: [0x08, 0x41, ...zeros(60)], verdict: 'encrypted' },
  {
    name: '802.11 aggregate',
    linkType: 105,
    bytes: [0x88, 1, ...zeros(22), 0x80, 0, ...zeros(60)],
    verdict: 'unsupported',
  },
  {
    name: '802.11 second fragment',
    linkType: 105,
    bytes: [0x08, 1, ...zeros(20), 1, 0, ...zeros(60)],
    verdict: 'unsupported',
  },
  { name: 'LLC of another protocol', bytes: ethernet(53, [0xe0, 0xe0, 3, 0, 0, 0, 8, 0], INNER4), verdict: 'not-ip' },
  {
    name: 'SNAP of another organisation',
    bytes: ethernet(53, [0xaa, 0xaa, 3, 0, 0, 12, 8, 0], INNER4),
    verdict: 'not-ip',
  },
  {
    name: 'PPPoE of version 2',
    bytes: ethernet(0x8864, [0x21, 0, 0, 1, 0, 47, 0, 0x21], INNER4),
    verdict: 'malformed',
  },
  {
    name: '802.11 control',
    linkType: 105,
    bytes: [0x84, 1, ...zeros(22), ...snap(0x0800), ...INNER4],
    verdict: 'not-ip',
  },
  {
    name: 'radiotap of version 1',
    linkType: 127,
    bytes: [1, 0, 8, 0, 0, 0, 0, 0, ...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4],
    verdict: 'malformed',
  },
  {
    name: 'radiotap without the flags it announces',
    linkType: 127,
    bytes: [0, 0, 8, 0, 2, 0, 0, 0, ...WIFI_FROM_STATION, ...snap(0x0800), ...INNER4],
    verdict: 'malformed',
  },
  {
    name: 'PKTAP with a header of 0',
    linkType: 258,
    bytes: [0, 0, 0, 0, 1, 0, 0, 0, 101, 0, 0, 0, ...INNER4],
    verdict: 'malformed',
  },
  { name: 'PKTAP in PKTAP without end', linkType: 258, bytes: endlessPktap(), verdict: 'too-many-layers' },
  { name: 'a service header of 4 bytes', bytes: ethernet(0x894f, [0, 1, 2, 1], INNER4), verdict: 'malformed' },
  {
    name: 'ERSPAN III of version 1',
    bytes: over4(47, [0x10, 0, 0x22, 0xeb, ...u32(1), 0x10, ...zeros(11), ...INNER]),
    verdict: 'malformed',
  },
  { name: 'seventeen IPv6 headers', linkType: 101, bytes: nested6(17, INNER6), verdict: 'too-many-layers' },
  { name: 'an unknown link type', linkType: 4444, bytes: INNER, verdict: 'unknown-link-type' },
  { name: 'no bytes', bytes: [], verdict: 'malformed' },
  { name: 'IPv4 version 5', bytes: ethernet(0x0800, [0x55, ...INNER4.slice(1)]), verdict: 'malformed' },
  { name: 'IPv4 header of 16 bytes', bytes: ethernet(0x0800, [0x44, ...INNER4.slice(1)]), verdict: 'malformed' },
  { name: 'IPv4 total below its header', bytes: ethernet(0x0800, ipv4(6, TCP, { total: 19 })), verdict: 'malformed' },
  {
    name: 'IPv4 options beyond the packet',
    bytes: ethernet(0x0800, [0x4f, ...ipv4(6, TCP.slice(0, 10), { total: 60 }).slice(1)]),
    verdict: 'truncated',
  },
  { name: 'IPv6 version 4', bytes: ethernet(0x86dd, [0x40, ...INNER6.slice(1)]), verdict: 'malformed' },
  {
    name: 'an extension header beyond the packet',
    bytes: ethernet(0x86dd, ipv6(0, [6, 200, ...zeros(14)])),
    verdict: 'malformed',
  },
  {
    name: 'a fragment beyond 65535',
    bytes: ethernet(0x0800, ipv4(17, TCP, { fragment: 0x1fff })),
    verdict: 'malformed',
  },
  {
    name: 'a fragment of 25 bytes with more to come',
    bytes: ethernet(0x0800, ipv4(17, TCP, { fragment: 0x2000 })),
    verdict: 'malformed',
  },
  { name: 'a fragment of nothing', bytes: ethernet(0x0800, ipv4(17, [], { fragment: 0x2000 })), verdict: 'malformed' },
  { name: 'IPv4 around IPv6 by the wrong number', bytes: over4(4, INNER6), verdict: 'malformed' },
  { name: 'seventeen IPv4 headers', linkType: 101, bytes: nested(17, INNER4), verdict: 'too-many-layers' },
]

function nested(count: number, inner: Bytes): Bytes {
  return count === 1 ? inner : nested(count - 1, ipv4(4, inner))
}

function nested6(count: number, inner: Bytes): Bytes {
  return count === 1 ? inner : nested6(count - 1, ipv6(41, inner))
}

function endlessPktap(): Bytes {
  return new Array<Bytes>(20).fill([12, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0]).flat()
}

/** Ports of tunnels, and payloads that are something else: they stay UDP of the outer addresses. */
const NOT_TUNNELS: readonly { name: string; port: number; payload: Bytes }[] = [
  { name: 'text to VXLAN', port: 4789, payload: text('GET / HTTP/1.1 and more of it') },
  {
    name: 'VXLAN with a broken inner IPv4',
    port: 4789,
    payload: [...V.vxlan, ...ethernet(0x0800, [0x44, ...INNER4.slice(1)])],
  },
  { name: 'VXLAN cut by its sender', port: 4789, payload: [...V.vxlan, ...MAC] },
  { name: 'VXLAN with reserved bits', port: 4789, payload: [8, 0, 0, 1, ...u24(42), 0, ...INNER] },
  { name: 'VXLAN with a broken GRE inside', port: 4789, payload: [...V.vxlan, ...over4(47, [0, 0])] },
  { name: 'Geneve with reserved bits', port: 6081, payload: [0, 1, 8, 0, ...zeros(4), ...INNER4] },
  { name: 'Geneve with a reserved byte', port: 6081, payload: [0, 0, 8, 0, 0, 0, 0, 1, ...INNER4] },
  { name: 'GTP end marker', port: 2152, payload: [0x30, 0xfe, ...u16(INNER4.length), ...u32(9), ...INNER4] },
  { name: 'GTP of version 2', port: 2152, payload: [0x50, 0xff, ...u16(INNER4.length), ...u32(9), ...INNER4] },
  {
    name: 'GTP with an extension of no length',
    port: 2152,
    payload: [0x34, 0xff, ...u16(INNER4.length + 8), ...u32(9), 0, 0, 0, 0x85, 0, 0, 0, 0, ...INNER4],
  },
  { name: 'DNS to 8472', port: 8472, payload: [0x12, 0x34, 1, 0, 0, 1, ...zeros(6), 1, 97, 0, 0, 1, 0, 1] },
  { name: 'VXLAN-GPE of an unknown version', port: 4790, payload: [0x3c, 0, 0, 1, ...zeros(4), ...INNER4] },
  { name: 'Geneve of version 1', port: 6081, payload: [0x40, 0, 8, 0, ...zeros(4), ...INNER4] },
  { name: 'Geneve whose options overrun', port: 6081, payload: [0x3f, 0, 8, 0, ...zeros(4), ...INNER4] },
  { name: 'GTP echo', port: 2152, payload: [0x32, 1, 0, 4, ...zeros(8)] },
  { name: 'GTP that is longer than the packet', port: 2152, payload: [0x30, 0xff, 0xff, 0xff, ...zeros(4), ...INNER4] },
  { name: 'text to Teredo', port: 3544, payload: text('hello there') },
  { name: 'text to MPLS', port: 6635, payload: text('hello there, all of you') },
]

/**
 * What is innermost in each packet, or why it is skipped; as tshark 4.0 counts, but for contradicting fragments, which it
 * dissects all the same.
 */
const CAPTURES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  '4in6.pcap': { tcp: 1 },
  '6in4-gre-ppp.pcap': { udp: 2 },
  '6in6in6.pcap': { udp: 1 },
  'erspan1.pcap': { icmp: 10 },
  'erspan2.pcap': { 'not-ip': 2, icmp: 4 },
  'erspan3-vlan.pcap': { icmp: 2 },
  'fragments-contradicting.pcap': { malformed: 1, fragment: 2 },
  'fragments-ipv4.pcap': { fragment: 2, udp: 1 },
  'fragments-ipv6-options.pcap': { fragment: 3, udp: 1 },
  'fragments-one-identification.pcap': { fragment: 12, udp: 6 },
  'fragments-ppp-ipv4-tcp.pcap': { fragment: 2, tcp: 1 },
  'fragments-twice-sll2.pcap': { 'not-ip': 2, igmp: 1, fragment: 16, udp: 4 },
  'fragments-vlan-ipv6-tcp.pcap': { fragment: 2, tcp: 1 },
  'frame-relay.pcap': { icmp: 10 },
  'geneve.pcap': { 'not-ip': 2, icmp: 8 },
  'gre-erspan-vxlan.pcap': { tcp: 7 },
  'gtp-teredo.pcap': { nothing: 7, icmpv6: 3 },
  'hdlc.pcap': { 'not-ip': 28, icmp: 10 },
  'ipip.pcap': { tcp: 4, icmp: 1 },
  'ipoib.pcap': { icmp: 6, 'not-ip': 4, tcp: 20 },
  'ipv6-srh-ipproto-ether.pcap': { icmpv6: 1 },
  'llc-snap.pcap': { tcp: 8 },
  'mpls-6in6-4in6-invalid.pcap': { truncated: 1 },
  'mpls-in-vlan.pcap': { tcp: 3 },
  'mpls-over-udp.pcap': { icmp: 2 },
  'nflog.pcap': { tcp: 13 },
  'nsh-over-vxlan-gpe.pcap': { udp: 1 },
  'pbb.pcap': { '89': 1, '112': 1, 'not-ip': 2, tcp: 8 },
  'pktap.pcap': { udp: 1 },
  'radiotap.pcap': { udp: 3 },
  'sll.pcap': { tcp: 1 },
  'sll2.pcap': { tcp: 3 },
  'too-many-layers.pcap': { 'too-many-layers': 1 },
  'truncated-ipv4.pcap': { truncated: 1 },
  'vntag.pcap': { '253': 5 },
  'vxlan-nsh.pcap': { icmp: 1 },
}

describe('frame', () => {
  const frame = new Frame()

  it('says which link type it does not know, also within another', () => {
    const packet = { ...emptyPacket(), linkType: 258, bytes: new Uint8Array(12), end: 12, length: 12 }
    packet.bytes.set([12, 0, 0, 0, 1, 0, 0, 0, 0x0f, 0x27, 0, 0])
    assert.equal(decode(packet, frame), 'unknown-link-type')
    assert.equal(frame.linkType, 9999)
  })

  for (const { name, linkType = 1, bytes, version, scoped = false } of FOUND) {
    it(`finds TCP in ${name} (IPv${version})`, () => {
      assert.equal(decode(packet(bytes, linkType), frame), 'ok')
      assert.equal(frame.protocol, 6)
      assert.deepEqual([...frame.bytes.subarray(frame.start, frame.end)], TCP)
      assert.equal(frame.missing, 0)
      assert.equal(frame.payloadLength, TCP.length)
      assert.equal(frame.version, version)
      assert.equal(formatAddress(frame.words, 0), version === 4 ? '10.0.0.1' : '2001:db8::1')
      assert.equal(formatAddress(frame.words, 4), version === 4 ? '200.0.0.2' : 'fd00::2')
      assert.equal(frame.scope !== 0, scoped)
    })
  }

  for (const { name, linkType = 1, bytes, verdict } of SKIPPED) {
    it(`calls ${name} ${verdict}`, () => assert.equal(decode(packet(bytes, linkType), frame), verdict))
  }

  for (const { name, port, payload } of NOT_TUNNELS) {
    it(`leaves ${name} as UDP`, () => {
      const datagram = udp(port, payload)
      const outer = ethernet(0x8100, tag(5, 0x86dd), ipv6(17, datagram))
      assert.equal(decode(packet(outer), frame), 'ok')
      const scope = frame.scope
      assert.equal(frame.protocol, 17)
      assert.deepEqual([...frame.bytes.subarray(frame.start, frame.end)], datagram)
      assert.equal(frame.payloadLength, datagram.length)
      assert.equal(frame.version, 6)
      assert.equal(formatAddress(frame.words, 4), 'fd00::2')
      decode(packet(ethernet(0x8100, tag(5, 0x0800), INNER4)), frame)
      assert.equal(frame.scope, scope, 'the tunnel that was none has left no scope')
    })
  }

  it('leaves what it does not know by its number', () => {
    for (const [protocol, payload] of [
      [50, zeros(32)],
      [59, []],
      [132, zeros(12)],
      [47, [0, 0, 0x12, 0x34, 1, 2]],
      [47, [0x40, 0, 8, 0, ...zeros(8)]],
    ] as const) {
      assert.equal(decode(packet(ethernet(0x86dd, ipv6(protocol, payload))), frame), 'ok')
      assert.equal(frame.protocol, protocol)
      assert.deepEqual([...frame.bytes.subarray(frame.start, frame.end)], [...payload])
    }
  })

  it('tells scopes apart by VLAN, network and key, and does not by label or endpoint', () => {
    const scopeOf = (bytes: Bytes): number => {
      assert.equal(decode(packet(bytes), frame), 'ok')
      return frame.scope
    }
    const scopes = [
      INNER,
      ...[1, 2, 4094].map(id => ethernet(0x8100, tag(id, 0x0800), INNER4)),
      ethernet(0x88a8, tag(1, 0x8100), tag(2, 0x0800), INNER4),
      ethernet(0x88a8, tag(2, 0x8100), tag(1, 0x0800), INNER4),
      ...[0, 1, 2, 0xffffff].map(network => overUdp(4789, [8, 0, 0, 0, ...u24(network), 0], INNER)),
      ...[1, 2, 0xffffffff].map(key => over4(47, [0x20, 0, 8, 0, ...u32(key), ...INNER4])),
    ].map(scopeOf)
    assert.equal(new Set(scopes).size, scopes.length)
    assert.equal(scopes[0], 0)

    assert.equal(scopeOf(ethernet(0x8847, label(1, 1), INNER4)), 0)
    assert.equal(scopeOf(overUdp(2152, [0x30, 0xff, ...u16(INNER4.length), ...u32(77)], INNER4)), 0)
    const nvgre = (flow: number): Bytes => over4(47, [0x20, 0, 0x65, 0x58, ...u24(0x1234), flow, ...INNER])
    assert.equal(scopeOf(nvgre(1)), scopeOf(nvgre(2)))
  })

  it('says what the snap length cut', () => {
    const whole = ethernet(0x0800, INNER4)
    assert.equal(decode(packet(whole.slice(0, 50), 1, whole.length), frame), 'ok')
    assert.deepEqual([frame.end - frame.start, frame.missing, frame.payloadLength], [16, 9, 25])
    const offloaded = ethernet(0x0800, ipv4(6, TCP, { total: 0 }))
    assert.equal(decode(packet(offloaded.slice(0, 50), 1, offloaded.length), frame), 'ok')
    assert.deepEqual([frame.end - frame.start, frame.missing, frame.payloadLength], [16, 9, 25])
    const tunnelled = overUdp(4789, V.vxlan, INNER)
    assert.equal(decode(packet(tunnelled.slice(0, -5), 1, tunnelled.length), frame), 'ok')
    assert.deepEqual([frame.protocol, frame.missing, frame.payloadLength], [6, 5, 25])
  })

  it('shows fragments with their place', () => {
    assert.equal(
      decode(packet(ethernet(0x0800, ipv4(17, TCP.slice(0, 24), { fragment: 0x2000 | 185 }))), frame),
      'fragment',
    )
    assert.deepEqual(
      [frame.protocol, frame.identification, frame.fragmentOffset, frame.moreFragments],
      [17, 0x1234, 1480, true],
    )
    assert.equal(
      decode(packet(ethernet(0x86dd, ipv6(0, [...extension(44), ...fragment6(60, 1448, 0), ...TCP]))), frame),
      'fragment',
    )
    assert.deepEqual(
      [frame.protocol, frame.identification, frame.fragmentOffset, frame.moreFragments],
      [60, 0x89abcdef | 0, 1448, false],
    )
    assert.deepEqual([...frame.bytes.subarray(frame.start, frame.end)], TCP)
  })

  it('goes on with a payload that was put together', () => {
    assert.equal(decode(packet(ethernet(0x86dd, ipv6(44, [...fragment6(60, 1448, 0), ...TCP]))), frame), 'fragment')
    const whole = [...extension(17), ...udp(4789, [...V.vxlan, ...INNER])]
    frame.bytes = Uint8Array.from(whole)
    frame.start = 0
    frame.end = whole.length
    assert.equal(resume(frame), 'ok')
    assert.deepEqual([frame.protocol, frame.version], [6, 4])
    assert.deepEqual([...frame.bytes.subarray(frame.start, frame.end)], TCP)
  })

  for (const [name, expected] of Object.entries(CAPTURES)) {
    it(`reads ${name}`, () => assert.deepEqual(countLayers(capture(name)), expected))
  }

  it('knows each capture that lies beside it', () => {
    const files = readdirSync(FIXTURES).filter(file => file.endsWith('.pcap'))
    assert.deepEqual(files.sort(), Object.keys(CAPTURES).sort())
  })

  it('cut at any length, throws nothing and never blames the packet', () => {
    const cut = new Frame()
    for (const whole of allPackets()) {
      const verdict = decode(whole, frame)
      if (verdict !== 'ok' && verdict !== 'fragment') continue
      for (let length = 0; length < whole.end - whole.start; length++) {
        const found = decode({ ...whole, end: whole.start + length }, cut)
        assert.ok(
          found === 'ok' || found === 'fragment' || found === 'truncated',
          `${found} at ${length} of ${whole.length}`,
        )
        if (found !== 'truncated') assertConsistent(cut, whole.start, whole.start + length)
      }
    }
  })

  it('reads nothing outside the packet', () => {
    for (const whole of allPackets()) {
      const length = whole.end - whole.start
      for (let cut = length; cut >= 0; cut -= Math.ceil((length + 1) / 40)) {
        const seen = [0x00, 0xff, 0x45].map(filler => {
          const around = new Uint8Array(cut + 200).fill(filler)
          around.set(whole.bytes.subarray(whole.start, whole.start + cut), 100)
          const verdict = decode({ ...whole, bytes: around, start: 100, end: 100 + cut }, frame)
          if (verdict !== 'ok' && verdict !== 'fragment') return [verdict]
          return [verdict, frame.start, frame.end, frame.missing, frame.protocol, frame.scope, ...frame.words]
        })
        assert.deepEqual(seen[1], seen[0])
        assert.deepEqual(seen[2], seen[0])
      }
    }
  })

  it('throws nothing on mutations', () => {
    const random = seeded(20)
    const packets = [...allPackets()]
    const verdicts = new Set<Verdict>()
    for (let round = 0; round < 60_000; round++) {
      const whole = packets[round % packets.length]!
      const bytes = whole.bytes.slice(whole.start, whole.end)
      for (let i = random(4); i >= 0; i--) bytes[random(Math.min(bytes.length, 120))] = random(256)
      const verdict = decode({ ...whole, bytes, start: 0, end: bytes.length, length: bytes.length }, frame)
      verdicts.add(verdict)
      if (verdict === 'ok' || verdict === 'fragment') assertConsistent(frame, 0, bytes.length)
    }
    assert.ok(verdicts.size >= 6, [...verdicts].join())
  })

  it('does not grow the stack with the packet', () => {
    const endless: readonly { head: Bytes; unit: Bytes }[] = [
      { head: ethernet(0x8100), unit: tag(5, 0x8100) },
      { head: ethernet(0x8847), unit: label(5, 0) },
      { head: ethernet(0x88e7), unit: [...zeros(4), ...ethernet(0x88e7)] },
      { head: ethernet(9), unit: [...snap(0x8100), 0, 5, 0, 9] },
      { head: ethernet(0x894f), unit: [0, 2, 2, 4, ...zeros(4)] },
      { head: ethernet(0x86dd, ipv6(0, [], 0)), unit: extension(0) },
      { head: ethernet(0x86dd, ipv6(51, [], 0)), unit: [51, 0, ...zeros(6)] },
    ]
    for (const { head, unit } of endless) {
      const bytes = new Uint8Array(262_144)
      bytes.set(head)
      for (let at = head.length; at + unit.length <= bytes.length; at += unit.length) bytes.set(unit, at)
      const whole = { ...emptyPacket(), bytes, end: bytes.length, length: bytes.length }
      assert.match(decode(whole, frame), /malformed|too-many-layers/)
    }
  })
})

function packet(bytes: Bytes, linkType = 1, length = bytes.length): Packet {
  return { ...emptyPacket(), bytes: Uint8Array.from(bytes), end: bytes.length, length, linkType }
}

function capture(name: string): Packet[] {
  const file = readFileSync(new URL(name, FIXTURES))
  const parser = new CaptureParser()
  parser.room().set(file)
  parser.filled(file.length)
  const packets: Packet[] = []
  for (let next = parser.next(); next !== null; next = parser.next()) {
    packets.push({ ...next, bytes: next.bytes.slice(next.start, next.end), start: 0, end: next.end - next.start })
  }
  return packets
}

function* allPackets(): Generator<Packet> {
  for (const { bytes, linkType } of FOUND) yield packet(bytes, linkType)
  for (const { bytes, linkType } of SKIPPED) yield packet(bytes, linkType)
  for (const { port, payload } of NOT_TUNNELS) yield packet(overUdp(port, payload))
  for (const name of Object.keys(CAPTURES)) yield* capture(name).slice(0, 5)
}

const NAMES: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmpv6',
  59: 'nothing',
}

function countLayers(packets: readonly Packet[]): Record<string, number> {
  const frame = new Frame()
  const fragments = new Fragments()
  const counts: Record<string, number> = {}
  for (const each of packets) {
    let verdict = decode(each, frame)
    while (verdict === 'fragment' && fragments.add(frame, each.seconds)) verdict = resume(frame)
    const name = verdict === 'ok' ? (NAMES[frame.protocol] ?? `${frame.protocol}`) : verdict
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

function assertConsistent(frame: Frame, start: number, end: number): void {
  assert.ok(start <= frame.start && frame.start <= frame.end && frame.end <= end)
  assert.ok(frame.missing >= 0)
  assert.equal(frame.payloadLength, frame.end - frame.start + frame.missing)
}

function seeded(seed: number): (limit: number) => number {
  return limit => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0
    return (seed >>> 8) % limit
  }
}
