/**
 * Extension mechanisms for DNS: the OPT record (RFC 6891, 6.1.2).
 *
 *   name(1)=0 type(2)=41 udpSize(2) extendedRcode(1) version(1) do(1 bit) z(15 bits) length(2) options(length)
 *   option: code(2) length(2) value(length)
 */
import { Malformed } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { domain, type Field, field, hexText, ip6Text, u16, u32 } from './fields.ts'
import type { MessageCursor } from './message-cursor.ts'

export interface Edns {
  /** Largest datagram that the sender takes. */
  udpSize: number
  version: number
  /** DNSSEC records are wanted. */
  do: boolean
  /** Reserved bits. */
  z: number
  options: Json[]
}

/** Reads the options, `at.end` being their end. An option that is not what it promises is hex; the reason is returned. */
export function readOptions(at: MessageCursor, edns: Edns): string | null {
  let problem: string | null = null
  const end = at.end
  try {
    while (at.remaining > 0) {
      const code = at.u16()
      const length = at.u16()
      at.need(length)
      at.end = at.position + length
      const found = readOption(at, code, edns)
      problem ??= found
      at.end = end
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    problem ??= cause.reason
    at.end = end
  }
  return problem
}

/** What the OPT record's class and TTL hold. */
export function readEdns(udpSize: number, ttl: number): Edns {
  return { udpSize, version: (ttl >>> 16) & 255, do: (ttl & 0x8000) !== 0, z: ttl & 0x7fff, options: [] }
}

function readOption(at: MessageCursor, code: number, edns: Edns): string | null {
  const start = at.position
  const known = BY_CODE.get(code)
  const option: Json = { code, name: known?.name ?? `OPT${code}` }
  edns.options.push(option)
  if (known === undefined) {
    option.data = hexText(at, at.remaining).toLowerCase()
    return null
  }
  try {
    const fields: Json = {}
    option.data = known.read(at, fields)
    if (at.remaining > 0) at.fail(`the end of option ${known.name}, found ${at.remaining} more bytes`)
    Object.assign(option, fields)
    return null
  } catch (problem) {
    if (!(problem instanceof Malformed)) throw problem
    at.position = start
    option.data = hexText(at, at.remaining).toLowerCase()
    return problem.reason
  }
}

interface Option {
  code: number
  name: string
  read: Field
}

const ALGORITHMS = field(
  'algorithms',
  at => [...at.view(at.remaining)],
  numbers => numbers.join(' '),
)

const OPTIONS: readonly Option[] = [
  { code: 1, name: 'LLQ', read: longLivedQuery },
  { code: 2, name: 'UL', read: updateLease },
  { code: 3, name: 'NSID', read: field('text', at => at.text(at.remaining)) },
  // RFC 6975
  { code: 5, name: 'DAU', read: ALGORITHMS },
  { code: 6, name: 'DHU', read: ALGORITHMS },
  { code: 7, name: 'N3U', read: ALGORITHMS },
  { code: 8, name: 'CLIENT-SUBNET', read: clientSubnet },
  // RFC 7314
  { code: 9, name: 'EXPIRE', read: (at, into) => (at.remaining === 0 ? '' : u32('seconds')(at, into)) },
  { code: 10, name: 'COOKIE', read: cookie },
  { code: 11, name: 'TCP-KEEPALIVE', read: keepAlive },
  // RFC 7830: what it holds says nothing, its length is the message.
  { code: 12, name: 'PADDING', read: padding },
  // RFC 7901
  { code: 13, name: 'CHAIN', read: domain('trustPoint') },
  { code: 14, name: 'KEY-TAG', read: keyTags },
  { code: 15, name: 'EDE', read: extendedError },
  { code: 16, name: 'CLIENT-TAG', read: u16('tag') },
  { code: 17, name: 'SERVER-TAG', read: u16('tag') },
  // RFC 9567
  { code: 18, name: 'REPORT-CHANNEL', read: domain('agent') },
  { code: 19, name: 'ZONEVERSION', read: zoneVersion },
]

const BY_CODE: ReadonlyMap<number, Option> = new Map(OPTIONS.map(option => [option.code, option]))

/** RFC 8764, 3.2.   version(2) opcode(2) error(2) id(8) lease(4) */
function longLivedQuery(at: MessageCursor, into: Json): string {
  into.version = at.u16()
  into.opcode = at.u16()
  into.error = at.u16()
  into.leaseId = hexText(at, 8).toLowerCase()
  into.seconds = at.u32()
  return `${into.version} ${into.opcode} ${into.error} ${into.leaseId} ${into.seconds}`
}

/** RFC 9664, 4.   lease(4) [key lease(4)] */
function updateLease(at: MessageCursor, into: Json): string {
  into.seconds = at.u32()
  if (at.remaining === 0) return String(into.seconds)
  into.keySeconds = at.u32()
  return `${into.seconds} ${into.keySeconds}`
}

/** RFC 7871, 6.   family(2) source prefix(1) scope prefix(1) address, only as many bytes as the source prefix needs */
function clientSubnet(at: MessageCursor, into: Json): string {
  const family = at.u16()
  const source = at.u8()
  const scope = at.u8()
  const size = family === 1 ? 4 : 16
  if (family > 2 || source > size * 8) at.fail(`a prefix of IPv4 or IPv6, found family ${family} and ${source} bits`)
  const needed = (source + 7) >> 3
  const bytes = new Uint8Array(size)
  bytes.set(at.view(needed))
  // Family 0 with no bits: the client wants its address not told (7.1.2).
  into.ip = family === 0 ? '0' : family === 1 ? bytes.join('.') : ip6Text(bytes)
  into.sourcePrefix = source
  into.scopePrefix = scope
  return `${into.ip}/${source}/${scope}`
}

/** RFC 7873, 4.   client(8) [server(8..32)] */
function cookie(at: MessageCursor, into: Json): string {
  into.client = hexText(at, 8).toLowerCase()
  into.server = at.remaining === 0 ? null : hexText(at, at.remaining).toLowerCase()
  return into.client + (into.server ?? '')
}

/** RFC 7828, 3.1: in units of 100 ms; only answers carry it. */
function keepAlive(at: MessageCursor, into: Json): string {
  if (at.remaining === 0) return ''
  into.seconds = at.u16() / 10
  return `${into.seconds.toFixed(1)} secs`
}

function padding(at: MessageCursor, into: Json): string {
  into.size = at.remaining
  at.skip(at.remaining)
  return `(${into.size} bytes)`
}

/** RFC 8145, 4.1. */
function keyTags(at: MessageCursor, into: Json): string {
  const tags: number[] = []
  while (at.remaining > 0) tags.push(at.u16())
  into.tags = tags
  return tags.join(' ')
}

/** RFC 8914, 2.   code(2) text */
function extendedError(at: MessageCursor, into: Json): string {
  into.infoCode = at.u16()
  into.purpose = EXTENDED_ERRORS[into.infoCode] ?? null
  into.text = at.text(at.remaining)
  const purpose = into.purpose === null ? '' : ` (${into.purpose})`
  return into.text === '' ? `${into.infoCode}${purpose}` : `${into.infoCode}${purpose}: (${into.text})`
}

/** RFC 9660, 2.   labels(1) type(1) version */
function zoneVersion(at: MessageCursor, into: Json): string {
  if (at.remaining === 0) return ''
  into.labels = at.u8()
  into.type = at.u8()
  // Type 0: the serial of the zone's SOA.
  into.version = into.type === 0 ? at.u32() : hexText(at, at.remaining).toLowerCase()
  return `${into.labels} ${into.type} ${into.version}`
}

/** RFC 8914, 4, and the registry's later ones. */
const EXTENDED_ERRORS: readonly string[] = [
  'Other Error',
  'Unsupported DNSKEY Algorithm',
  'Unsupported DS Digest Type',
  'Stale Answer',
  'Forged Answer',
  'DNSSEC Indeterminate',
  'DNSSEC Bogus',
  'Signature Expired',
  'Signature Not Yet Valid',
  'DNSKEY Missing',
  'RRSIGs Missing',
  'No Zone Key Bit Set',
  'NSEC Missing',
  'Cached Error',
  'Not Ready',
  'Blocked',
  'Censored',
  'Filtered',
  'Prohibited',
  'Stale NXDOMAIN Answer',
  'Not Authoritative',
  'Not Supported',
  'No Reachable Authority',
  'Network Error',
  'Invalid Data',
  'Signature Expired before Valid',
  'Too Early',
  'Unsupported NSEC3 Iterations Value',
  'Unable to conform to policy',
  'Synthesized',
  'Invalid Query Type',
]
