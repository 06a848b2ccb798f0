/**
 * Neighbour discovery (RFC 4861, 6275, 8106, 8781, …), its inverse (RFC 3122), router renumbering (RFC 2894) and node
 * information (RFC 4620).
 *
 *   option: type(1) length in 8 bytes(1) value
 */
import { Cursor, Malformed } from '../../cursor.ts'
import type { Context } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { address6, hex, readQuoted } from './errors.ts'

/** 0(4) options */
export function solicitation(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(4)
  into.options = readOptions(at)
}

const PREFERENCES = ['medium', 'high', 'reserved', 'low']

/** hops(1) managed(1 bit) other(1) home(1) preference(2) proxy(1) 0(2) lifetime(2) reachable(4) retransmission(4) options */
export function routerAdvertisement6(at: Cursor, _ctx: Context, into: Json): void {
  into.hopLimit = at.u8()
  const flags = at.u8()
  into.managed = flag(flags, 0x80)
  into.other = flag(flags, 0x40)
  into.homeAgent = flag(flags, 0x20)
  into.preference = PREFERENCES[(flags >> 3) & 3]
  into.lifetime = at.u16()
  into.reachableTime = at.u32()
  into.retransmissionTime = at.u32()
  into.options = readOptions(at)
}

/** 0(4) target(16) options */
export function neighbourSolicitation(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(4)
  into.target = address6(at)
  into.options = readOptions(at)
}

/** router(1 bit) solicited(1) override(1) 0(29) target(16) options */
export function neighbourAdvertisement(at: Cursor, _ctx: Context, into: Json): void {
  const flags = at.u8()
  into.router = flag(flags, 0x80)
  into.solicited = flag(flags, 0x40)
  into.override = flag(flags, 0x20)
  at.skip(3)
  into.target = address6(at)
  into.options = readOptions(at)
}

/** 0(4) target(16) destination(16) options */
export function redirect6(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(4)
  into.target = address6(at)
  into.destination = address6(at)
  into.options = readOptions(at)
}

/** 0(4) options */
export function inverseDiscovery(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(4)
  into.options = readOptions(at)
}

/** RFC 2894, 3.  sequence(4) segment(1) flags(1) delay(2) 0(4), then parts that only routers read */
export function routerRenumbering(at: Cursor, _ctx: Context, into: Json): void {
  into.sequence = at.u32()
  into.segment = at.u8()
  const flags = at.u8()
  into.test = flag(flags, 0x80)
  into.result = flag(flags, 0x40)
  into.allInterfaces = flag(flags, 0x20)
  into.maxDelay = at.u16()
  at.skip(4)
  into.data = hex(at, at.remaining)
}

const QUERIES = ['nothing', 'supported types', 'node name', 'node addresses', 'IPv4 addresses']

/** RFC 4620, 4.  query(2) flags(2) nonce(8) data */
export function nodeInformation(at: Cursor, _ctx: Context, into: Json): void {
  const query = at.u16()
  into.query = QUERIES[query] ?? String(query)
  into.flags = at.u16()
  into.nonce = hex(at, 8)
  into.data = hex(at, at.remaining)
}

export function flag(bits: number, mask: number): boolean {
  return (bits & mask) !== 0
}

// ── options ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Option {
  name: string
  read: (at: Cursor, into: Json) => void
}

function readOptions(at: Cursor): Json[] {
  const options: Json[] = []
  while (at.remaining > 0) {
    const type = at.u8()
    const length = at.u8()
    if (length === 0) at.fail('an option of at least 8 bytes, found one of 0')
    const value = at.within(length * 8 - 2)
    const known = OPTIONS.get(type)
    const option: Json = { type, name: known?.name ?? String(type) }
    options.push(option)
    try {
      known?.read(value, option)
    } catch (thrown) {
      if (!(thrown instanceof Malformed)) throw thrown
      option.malformed = true
    }
    if (known === undefined) option.data = hex(value, value.remaining)
  }
  return options
}

const OPTIONS: ReadonlyMap<number, Option> = new Map<number, Option>([
  [1, { name: 'source link-layer address', read: linkAddress }],
  [2, { name: 'target link-layer address', read: linkAddress }],
  [3, { name: 'prefix', read: prefix }],
  [4, { name: 'redirected packet', read: redirected }],
  [5, { name: 'MTU', read: mtu }],
  [7, { name: 'advertisement interval', read: interval }],
  [8, { name: 'home agent', read: homeAgent }],
  [9, { name: 'source address list', read: addresses }],
  [10, { name: 'target address list', read: addresses }],
  [14, { name: 'nonce', read: nonce }],
  [24, { name: 'route', read: route }],
  [25, { name: 'DNS servers', read: servers }],
  [26, { name: 'flags extension', read: data }],
  [31, { name: 'DNS search list', read: searchList }],
  [33, { name: 'address registration', read: data }],
  [34, { name: '6LoWPAN context', read: data }],
  [37, { name: 'captive portal', read: uri }],
  [38, { name: 'NAT64 prefix', read: nat64 }],
])

/** Six bytes on Ethernet; what other links have is as long as their option says. */
function linkAddress(at: Cursor, into: Json): void {
  into.address = hex(at, at.remaining).match(/../g)!.join(':')
}

/** length(1) on-link(1 bit) autonomous(1) router(1) 0(5) valid(4) preferred(4) 0(4) prefix(16) */
function prefix(at: Cursor, into: Json): void {
  into.prefixLength = at.u8()
  const flags = at.u8()
  into.onLink = flag(flags, 0x80)
  into.autonomous = flag(flags, 0x40)
  into.routerAddress = flag(flags, 0x20)
  into.validLifetime = at.u32()
  into.preferredLifetime = at.u32()
  at.skip(4)
  into.prefix = address6(at)
}

function redirected(at: Cursor, into: Json): void {
  at.skip(6)
  into.quoted = readQuoted(at)
}

function mtu(at: Cursor, into: Json): void {
  at.skip(2)
  into.mtu = at.u32()
}

function interval(at: Cursor, into: Json): void {
  at.skip(2)
  into.interval = at.u32()
}

function homeAgent(at: Cursor, into: Json): void {
  at.skip(2)
  into.preference = at.u16()
  into.lifetime = at.u16()
}

function addresses(at: Cursor, into: Json): void {
  at.skip(6)
  into.addresses = []
  while (at.remaining >= 16) into.addresses.push(address6(at))
}

function nonce(at: Cursor, into: Json): void {
  into.nonce = hex(at, at.remaining)
}

/** RFC 4191.  length(1) 0(3 bits) preference(2) 0(3) lifetime(4) prefix(0, 8 or 16) */
function route(at: Cursor, into: Json): void {
  into.prefixLength = at.u8()
  into.preference = PREFERENCES[(at.u8() >> 3) & 3]
  into.lifetime = at.u32()
  into.prefix = partOfAddress(at, at.remaining)
}

function servers(at: Cursor, into: Json): void {
  at.skip(2)
  into.lifetime = at.u32()
  into.addresses = []
  while (at.remaining >= 16) into.addresses.push(address6(at))
}

/** RFC 8106, 5.2.  0(2) lifetime(4) names, zeros up to the end */
function searchList(at: Cursor, into: Json): void {
  at.skip(2)
  into.lifetime = at.u32()
  into.domains = []
  let labels: string[] = []
  while (at.remaining > 0) {
    const size = at.u8()
    if (size > 63) at.fail(`a label of at most 63 bytes, found ${size}`)
    if (size > 0) labels.push(at.text(size))
    else if (labels.length > 0) {
      into.domains.push(labels.join('.'))
      labels = []
    }
  }
}

function uri(at: Cursor, into: Json): void {
  into.uri = at.text(at.remaining).replace(/\0+$/, '')
}

const NAT64_LENGTHS = [96, 64, 56, 48, 40, 32]

/** RFC 8781.  lifetime in 8 s(13 bits) length code(3) prefix(12) */
function nat64(at: Cursor, into: Json): void {
  const bits = at.u16()
  into.lifetime = bits & 0xfff8
  into.prefixLength = NAT64_LENGTHS[bits & 7] ?? null
  into.prefix = partOfAddress(at, 12)
}

function data(at: Cursor, into: Json): void {
  into.data = hex(at, at.remaining)
}

/** The first `count` bytes of an address whose others are 0. */
function partOfAddress(at: Cursor, count: number): string {
  const whole = new Uint8Array(16)
  whole.set(at.view(Math.min(count, 16)))
  return address6(new Cursor(whole))
}
