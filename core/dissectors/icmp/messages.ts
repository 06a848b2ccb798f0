/** The kinds of ICMP and ICMPv6 messages: https://www.iana.org/assignments/icmp-parameters and icmpv6-parameters. */
import type { Cursor } from '../../cursor.ts'
import type { Context } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { payloadOf } from '../../payload.ts'
import {
  flag,
  inverseDiscovery,
  neighbourAdvertisement,
  neighbourSolicitation,
  nodeInformation,
  redirect6,
  routerAdvertisement6,
  routerRenumbering,
  solicitation,
} from './discovery.ts'
import { address4, readError } from './errors.ts'
import { listenerQuery, listenerReport, listenerReport2 } from './listeners.ts'

/** Bytes of a message whose first four are read: what the engine knows beside them. */
export type Fields = (at: Cursor, ctx: Context, into: Json) => void

export interface Kind {
  name: string
  codes?: readonly string[]
  /** The type that answers this one, and the type that this one answers; both have an identifier and a sequence number. */
  answeredBy?: number
  answers?: number
  /** It quotes a packet, which will not arrive: `lost` says with which codes. */
  lost?: (code: number) => boolean
  read?: Fields
}

/** RFC 8335, 3. */
const EXTENDED_CODES = [
  'no error',
  'malformed query',
  'no such interface',
  'no such table entry',
  'multiple interfaces satisfy query',
]

/** RFC 792, 950, 1256, 8335. */
export const ICMP: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [0, { name: 'echo reply', answers: 8, read: echo }],
  [
    3,
    {
      name: 'destination unreachable',
      codes: [
        'network unreachable',
        'host unreachable',
        'protocol unreachable',
        'port unreachable',
        'fragmentation needed',
        'source route failed',
        'network unknown',
        'host unknown',
        'source host isolated',
        'network prohibited',
        'host prohibited',
        'network unreachable for this type of service',
        'host unreachable for this type of service',
        'communication prohibited',
        'host precedence violation',
        'precedence cutoff in effect',
      ],
      // Of a packet that was too large a smaller one comes again.
      lost: code => code !== 4,
      read: readError,
    },
  ],
  [4, { name: 'source quench', read: readError }],
  [
    5,
    {
      name: 'redirect',
      codes: ['for the network', 'for the host', 'for type of service and network', 'for type of service and host'],
      read: readError,
    },
  ],
  [6, { name: 'alternate host address' }],
  [8, { name: 'echo request', answeredBy: 0, read: echo }],
  [9, { name: 'router advertisement', read: routerAdvertisement }],
  [10, { name: 'router solicitation', read: reserved }],
  [
    11,
    {
      name: 'time exceeded',
      codes: ['in transit', 'of fragment reassembly'],
      lost: () => true,
      read: readError,
    },
  ],
  [
    12,
    {
      name: 'parameter problem',
      codes: ['pointer indicates the error', 'required option missing', 'bad length'],
      lost: () => true,
      read: readError,
    },
  ],
  [13, { name: 'timestamp request', answeredBy: 14, read: timestamp }],
  [14, { name: 'timestamp reply', answers: 13, read: timestamp }],
  [15, { name: 'information request', answeredBy: 16, read: echo }],
  [16, { name: 'information reply', answers: 15, read: echo }],
  [17, { name: 'address mask request', answeredBy: 18, read: addressMask }],
  [18, { name: 'address mask reply', answers: 17, read: addressMask }],
  [30, { name: 'traceroute' }],
  [37, { name: 'domain name request' }],
  [38, { name: 'domain name reply' }],
  [40, { name: 'security failure' }],
  [42, { name: 'extended echo request', answeredBy: 43, read: extendedEcho }],
  [43, { name: 'extended echo reply', answers: 42, codes: EXTENDED_CODES, read: extendedEchoReply }],
])

/** RFC 4443, 4861, 2710, 3810, 2894, 4620, 3122, 6275, 3971, 4286, 8335. */
export const ICMPV6: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [
    1,
    {
      name: 'destination unreachable',
      codes: [
        'no route to destination',
        'communication prohibited',
        'beyond scope of source address',
        'address unreachable',
        'port unreachable',
        'source address failed policy',
        'reject route to destination',
        'error in source routing header',
        'headers too long',
      ],
      lost: () => true,
      read: readError,
    },
  ],
  [2, { name: 'packet too big', read: readError }],
  [
    3,
    {
      name: 'time exceeded',
      codes: ['in transit', 'of fragment reassembly'],
      lost: () => true,
      read: readError,
    },
  ],
  [
    4,
    {
      name: 'parameter problem',
      codes: [
        'erroneous header field',
        'unrecognised next header',
        'unrecognised option',
        'incomplete header chain',
        'segment routing upper-layer error',
        'unrecognised next header at an intermediate node',
        'extension header too big',
        'extension header chain too long',
        'too many extension headers',
        'too many options',
        'option too big',
      ],
      lost: () => true,
      read: readError,
    },
  ],
  [128, { name: 'echo request', answeredBy: 129, read: echo }],
  [129, { name: 'echo reply', answers: 128, read: echo }],
  [130, { name: 'multicast listener query', read: listenerQuery }],
  [131, { name: 'multicast listener report', read: listenerReport }],
  [132, { name: 'multicast listener done', read: listenerReport }],
  [133, { name: 'router solicitation', read: solicitation }],
  [134, { name: 'router advertisement', read: routerAdvertisement6 }],
  [135, { name: 'neighbour solicitation', read: neighbourSolicitation }],
  [136, { name: 'neighbour advertisement', read: neighbourAdvertisement }],
  [137, { name: 'redirect', read: redirect6 }],
  [
    138,
    {
      name: 'router renumbering',
      codes: ['command', 'result'],
      read: routerRenumbering,
    },
  ],
  [
    139,
    {
      name: 'node information query',
      codes: ['about an IPv6 address', 'about a name', 'about an IPv4 address'],
      read: nodeInformation,
    },
  ],
  [
    140,
    {
      name: 'node information reply',
      codes: ['answered', 'refused', 'query type unknown'],
      read: nodeInformation,
    },
  ],
  [141, { name: 'inverse neighbour solicitation', read: inverseDiscovery }],
  [142, { name: 'inverse neighbour advertisement', read: inverseDiscovery }],
  [143, { name: 'multicast listener report v2', read: listenerReport2 }],
  [144, { name: 'home agent discovery request', answeredBy: 145, read: identified }],
  [145, { name: 'home agent discovery reply', answers: 144, read: identified }],
  [146, { name: 'mobile prefix solicitation', answeredBy: 147, read: identified }],
  [147, { name: 'mobile prefix advertisement', answers: 146, read: identified }],
  [148, { name: 'certification path solicitation' }],
  [149, { name: 'certification path advertisement' }],
  [151, { name: 'multicast router advertisement' }],
  [152, { name: 'multicast router solicitation' }],
  [153, { name: 'multicast router termination' }],
  [154, { name: 'fast handover' }],
  [155, { name: 'routing for low-power networks' }],
  [160, { name: 'extended echo request', answeredBy: 161, read: extendedEcho }],
  [161, { name: 'extended echo reply', answers: 160, codes: EXTENDED_CODES, read: extendedEchoReply }],
])

/** identifier(2) sequence(2) payload */
function echo(at: Cursor, ctx: Context, into: Json): void {
  into.identifier = at.u16()
  into.sequence = at.u16()
  into.payloadSize = at.remaining + ctx.missing
  Object.assign(into, payloadOf(at.bytes, at.position, at.end, ctx.keep))
  at.position = at.end
}

/** RFC 792.  identifier(2) sequence(2) originate(4) receive(4) transmit(4), ms since midnight UTC */
function timestamp(at: Cursor, _ctx: Context, into: Json): void {
  into.identifier = at.u16()
  into.sequence = at.u16()
  into.originate = at.u32()
  into.receive = at.u32()
  into.transmit = at.u32()
}

/** RFC 950.  identifier(2) sequence(2) mask(4) */
function addressMask(at: Cursor, _ctx: Context, into: Json): void {
  into.identifier = at.u16()
  into.sequence = at.u16()
  into.mask = address4(at)
}

/** identifier(2) 0(2) … */
function identified(at: Cursor, _ctx: Context, into: Json): void {
  into.identifier = at.u16()
}

/** RFC 8335.  identifier(2) sequence(1) 0(7 bits) local(1) extension structure */
function extendedEcho(at: Cursor, _ctx: Context, into: Json): void {
  into.identifier = at.u16()
  into.sequence = at.u8()
  into.local = flag(at.u8(), 1)
}

/** identifier(2) sequence(1) state(3 bits) 0(2) active(1) ipv4(1) ipv6(1) */
function extendedEchoReply(at: Cursor, _ctx: Context, into: Json): void {
  into.identifier = at.u16()
  into.sequence = at.u8()
  const bits = at.u8()
  into.state = NEIGHBOUR_STATES[bits >> 5] ?? String(bits >> 5)
  into.active = flag(bits, 4)
  into.ipv4 = flag(bits, 2)
  into.ipv6 = flag(bits, 1)
}

const NEIGHBOUR_STATES = ['reserved', 'incomplete', 'reachable', 'stale', 'delay', 'probe', 'failed']

/** RFC 1256.  count(1) words of an entry(1) lifetime(2), entries: address(4) preference(4) */
function routerAdvertisement(at: Cursor, _ctx: Context, into: Json): void {
  const count = at.u8()
  const words = at.u8()
  into.lifetime = at.u16()
  into.routers = []
  for (let i = 0; i < count && words >= 2; i++) {
    into.routers.push({ address: address4(at), preference: at.i32() })
    at.skip((words - 2) * 4)
  }
}

function reserved(at: Cursor): void {
  at.skip(4)
}
