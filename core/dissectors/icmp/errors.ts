/**
 * Errors of ICMP: RFC 792 and RFC 4443, with the extensions of RFC 4884.
 *
 *   unused, gateway, pointer or MTU(4) quoted packet [padding to 128 bytes, extension structure]
 *   extension structure: version 2(4 bits) 0(12) checksum(2), objects: length(2) class(1) type(1) value(length - 4)
 */
import { formatAddress } from '../../address.ts'
import { type Cursor, Malformed } from '../../cursor.ts'
import type { Context } from '../../dissector.ts'
import type { Json } from '../../item.ts'

/** A packet that could not go on. What it does not say, or what the quote does not reach, is absent. */
export interface Quoted {
  version: number
  src: { ip: string; port?: number }
  dst: { ip: string; port?: number }
  /** `tcp`, `udp`, or the number. */
  protocol: string
  /** Hops that it had left. */
  ttl: number
  /** Bytes of the whole packet that is quoted. */
  length: number
  /** Of TCP. */
  seq?: number
  /** Of ICMP. */
  type?: number
  code?: number
  identifier?: number
  sequence?: number
}

export function readError(at: Cursor, ctx: Context, into: Json): void {
  const version6 = ctx.transport === 'icmpv6'
  const kind = at.bytes[at.position - 4]!
  const first = at.position
  at.need(4)
  readFirstWord(at, version6, kind, into)
  at.position = first + 4
  const whole = at.end
  const announced = quoteLength(at, first, version6, kind)
  const extension = announced > 0 ? at.position + announced : at.position + OLD_EXTENSION
  const extended = extension + 4 <= whole && (announced > 0 || isExtension(at, extension))
  at.end = Math.min(whole, extended ? extension : whole)
  into.quoted = readQuoted(at)
  into.stream = ctx.related
  at.end = whole
  if (extended) {
    at.position = extension
    into.extensions = readExtensions(at)
  }
  at.position = whole
}

/** Where systems before RFC 4884 put the extensions, without saying so. */
const OLD_EXTENSION = 128

const UNREACHABLE = 3
const REDIRECT = 5
const PARAMETER = 12
const TOO_BIG_6 = 2
const PARAMETER_6 = 4
const FRAGMENTATION_NEEDED = 4

function readFirstWord(at: Cursor, version6: boolean, kind: number, into: Json): void {
  const code = at.bytes[at.position - 3]!
  if (version6) {
    if (kind === TOO_BIG_6) into.mtu = at.u32()
    else if (kind === PARAMETER_6) into.pointer = at.u32()
  } else if (kind === REDIRECT) into.gateway = address4(at)
  else if (kind === PARAMETER) into.pointer = at.u8()
  else if (kind === UNREACHABLE && code === FRAGMENTATION_NEEDED) {
    at.skip(2)
    into.mtu = at.u16()
  }
}

function quoteLength(at: Cursor, first: number, version6: boolean, kind: number): number {
  if (version6) return kind === 1 || kind === 3 ? at.bytes[first]! * 8 : 0
  return kind === UNREACHABLE || kind === 11 || kind === PARAMETER ? at.bytes[first + 1]! * 4 : 0
}

function isExtension(at: Cursor, start: number): boolean {
  if (at.bytes[start]! >> 4 !== 2) return false
  return checksum(at.bytes, start, at.end) === 0
}

/** RFC 1071, over `bytes[start..end)`: 0 when the checksum within is right. */
export function checksum(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0
  for (let i = start; i < end; i += 2) sum += (bytes[i]! << 8) | (i + 1 < end ? bytes[i + 1]! : 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

// ── the quoted packet ───────────────────────────────────────────────────────────────────────────────────────────────

/** null where not even an IP header fits. */
export function readQuoted(at: Cursor): Quoted | null {
  if (at.remaining < 1) return null
  const version = at.peek() >> 4
  if (version === 4 && at.remaining >= 20) return quoted4(at)
  if (version === 6 && at.remaining >= 40) return quoted6(at)
  return null
}

function quoted4(at: Cursor): Quoted {
  const start = at.position
  const header = (at.u8() & 15) * 4
  at.skip(1)
  const length = at.u16()
  at.skip(2)
  const fragment = at.u16() & 0x1fff
  const ttl = at.u8()
  const protocol = at.u8()
  at.skip(2)
  const src = { ip: address4(at) }
  const dst = { ip: address4(at) }
  const quoted: Quoted = { version: 4, src, dst, protocol: nameOf(protocol), ttl, length }
  const next = start + Math.max(20, header)
  if (fragment === 0) readTransport(at, next, protocol, quoted)
  return quoted
}

/** A chain of headers that is longer than this is an attack. */
const MAX_HEADERS = 16
const EXTENSION_HEADERS = [0, 43, 51, 60, 135, 139, 140]
const AUTHENTICATION = 51
const FRAGMENT = 44

function quoted6(at: Cursor): Quoted {
  at.skip(4)
  const length = at.u16() + 40
  let protocol = at.u8()
  const ttl = at.u8()
  const src = { ip: address6(at) }
  const dst = { ip: address6(at) }
  let next = at.position
  let later = false
  for (let i = 0; i < MAX_HEADERS && next + 8 <= at.end; i++) {
    if (protocol === FRAGMENT) later = ((at.bytes[next + 2]! << 8) | at.bytes[next + 3]!) >= 8
    else if (!EXTENSION_HEADERS.includes(protocol)) break
    const words = at.bytes[next + 1]!
    const size = protocol === FRAGMENT ? 8 : protocol === AUTHENTICATION ? (words + 2) * 4 : (words + 1) * 8
    protocol = at.bytes[next]!
    next += size
  }
  const quoted: Quoted = { version: 6, src, dst, protocol: nameOf(protocol), ttl, length }
  if (!later) readTransport(at, next, protocol, quoted)
  return quoted
}

function readTransport(at: Cursor, start: number, protocol: number, into: Quoted): void {
  if (start + 8 > at.end) return
  at.position = start
  if (protocol === 6 || protocol === 17 || protocol === 132) {
    into.src.port = at.u16()
    into.dst.port = at.u16()
    if (protocol === 6) into.seq = at.u32()
  } else if (protocol === 1 || protocol === 58) {
    into.type = at.u8()
    into.code = at.u8()
    at.skip(2)
    if (!IDENTIFIED.has(`${protocol} ${into.type}`)) return
    into.identifier = at.u16()
    into.sequence = at.u16()
  }
}

/** Types with an identifier and a sequence number. */
const IDENTIFIED = new Set(['1 0', '1 8', '1 13', '1 14', '1 15', '1 16', '1 17', '1 18', '58 128', '58 129'])
const NAMES: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' }

function nameOf(protocol: number): string {
  return NAMES[protocol] ?? String(protocol)
}

// ── extensions ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readExtensions(at: Cursor): Json[] {
  const found: Json[] = []
  at.skip(4)
  while (at.remaining >= 4) {
    const length = at.u16()
    const object: Json = { class: at.u8(), type: at.u8() }
    if (length < 4 || length - 4 > at.remaining) return found
    const value = at.within(length - 4)
    found.push(object)
    try {
      OBJECTS[object.class]?.(value, object)
    } catch (thrown) {
      if (!(thrown instanceof Malformed)) throw thrown
    }
    if (object.name === undefined) object.data = hex(value, value.remaining)
  }
  return found
}

const OBJECTS: Readonly<Record<number, (at: Cursor, into: Json) => void>> = {
  1: labels,
  2: interfaceInformation,
  3: interfaceIdentification,
}

/** RFC 4950.  label(20 bits) class(3) last(1) hops(8) */
function labels(at: Cursor, into: Json): void {
  into.name = 'mpls'
  into.labels = []
  while (at.remaining >= 4) {
    const word = at.u32()
    into.labels.push({ label: word >>> 12, class: (word >>> 9) & 7, last: (word & 0x100) !== 0, ttl: word & 255 })
  }
}

const ROLES = ['incoming', 'sub-IP of the incoming', 'outgoing', 'next hop']

/** RFC 5837.  type: role(2 bits) 0(2) index(1) address(1) name(1) MTU(1); each part where its bit is set, in this order. */
function interfaceInformation(at: Cursor, into: Json): void {
  const { type } = into
  into.name = 'interface'
  into.role = ROLES[type >> 6]
  if ((type & 8) !== 0) into.index = at.u32()
  if ((type & 4) !== 0) {
    const family = at.u16()
    at.skip(2)
    into.address = family === 2 ? address6(at) : address4(at)
  }
  if ((type & 2) !== 0) {
    const size = at.u8()
    if (size < 1) at.fail('a name of at least 1 byte')
    into.interface = at.text(size - 1).replace(/\0+$/, '')
  }
  if ((type & 1) !== 0) into.mtu = at.u32()
}

/** RFC 8335, 2.1.  type 1: name, 2: index(4), 3: family(2) length(1) 0(1) address */
function interfaceIdentification(at: Cursor, into: Json): void {
  into.name = 'interface'
  if (into.type === 1) into.interface = at.text(at.remaining).replace(/\0+$/, '')
  else if (into.type === 2) into.index = at.u32()
  else if (into.type === 3) {
    const family = at.u16()
    at.skip(2)
    into.address = family === 2 ? address6(at) : family === 1 ? address4(at) : hex(at, at.remaining)
  }
}

// ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function address4(at: Cursor): string {
  return `${at.u8()}.${at.u8()}.${at.u8()}.${at.u8()}`
}

export function address6(at: Cursor): string {
  at.need(16)
  return formatAddress(Int32Array.of(at.i32(), at.i32(), at.i32(), at.i32()))
}

export function hex(at: Cursor, count: number): string {
  return Buffer.from(at.view(count)).toString('hex')
}
