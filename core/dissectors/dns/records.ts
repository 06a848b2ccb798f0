/**
 * The types of resource records and what their data holds
 * (https://www.iana.org/assignments/dns-parameters, RFC numbers beside the types).
 */
import { Malformed } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { signatureErrorName } from './codes.ts'
import {
  base32,
  base64,
  base64Text,
  domain,
  domains,
  type Field,
  field,
  grouped,
  hex,
  hexText,
  ip4,
  ip6,
  ip6Text,
  longString,
  salt,
  sized,
  string,
  strings,
  time,
  typeBitmap,
  u8,
  u16,
  u32,
  u48,
  unknownText,
  word,
} from './fields.ts'
import type { MessageCursor } from './message-cursor.ts'
import { serviceParameters } from './service-parameters.ts'

/**
 * Reads the data of a record, `at.end` being its end: into the fields of its type and `data`, its presentation as dig
 * prints it. Data that is not what its type promises becomes `\# length hex`; the reason is returned.
 */
export function readData(at: MessageCursor, type: number, record: Json): string | null {
  const start = at.position
  const known = BY_NUMBER.get(type)
  if (known?.fields === undefined) {
    record.data = unknownText(at)
    return null
  }
  const into: Json = known.within === undefined ? record : {}
  try {
    let data = ''
    for (const field of known.fields) {
      const text = field(at, into)
      if (text !== '') data = data === '' ? text : `${data} ${text}`
    }
    if (at.remaining > 0) at.fail(`the end of the ${known.name} record, found ${at.remaining} more bytes`)
    if (known.within !== undefined) record[known.within] = into
    record.data = known.print === undefined ? data : known.print(into)
    return null
  } catch (problem) {
    // The next record begins where this one's length says: one bad record must not hide the others.
    if (!(problem instanceof Malformed)) throw problem
    if (known.within === undefined) for (const name of known.own ?? []) delete record[name]
    at.position = start
    record.data = unknownText(at)
    return problem.reason
  }
}

export function typeName(number: number): string {
  return BY_NUMBER.get(number)?.name ?? `TYPE${number}`
}

export const OPT = 41
export const TSIG = 250
export const IXFR = 251
export const AXFR = 252

interface RecordType {
  number: number
  name: string
  /** Without: only its name is known, or it is only ever asked for. */
  fields?: readonly Field[]
  /** The object within the record that holds the fields. */
  within?: string
  /** The fields, where they are the record's own. */
  own?: readonly string[]
  /** Where the presentation is not the fields' own in their order. */
  print?: (fields: Json) => string
}

const SIGNATURE: readonly Field[] = [
  type('typeCovered'),
  u8('algorithm'),
  u8('labels'),
  u32('originalTtl'),
  time('expiration'),
  time('inception'),
  u16('keyTag'),
  domain('signer'),
  base64('signature'),
]
const KEY: readonly Field[] = [u16('flags'), u8('protocol'), u8('algorithm'), base64('publicKey')]
const DIGEST: readonly Field[] = [u16('keyTag'), u8('algorithm'), u8('digestType'), hex('digest')]
const CERTIFICATE: readonly Field[] = [u8('usage'), u8('selector'), u8('matchingType'), hex('data')]
const SERVICE: readonly Field[] = [u16('priority'), domain('target'), serviceParameters('params')]

/** A single field that is the record's own. */
function own(number: number, name: string, field: string, read: (name: string) => Field): RecordType {
  return { number, name, fields: [read(field)], own: [field] }
}

/** Fields in an object of the type's name. */
function within(number: number, name: string, fields: readonly Field[]): RecordType {
  return { number, name, fields, within: name.toLowerCase() }
}

const TYPES: readonly RecordType[] = [
  // RFC 1035
  own(1, 'A', 'ip', ip4),
  own(2, 'NS', 'ns', domain),
  own(3, 'MD', 'md', domain),
  own(4, 'MF', 'mf', domain),
  own(5, 'CNAME', 'cname', domain),
  within(6, 'SOA', [
    domain('mname'),
    domain('rname'),
    u32('serial'),
    u32('refresh'),
    u32('retry'),
    u32('expire'),
    u32('minimum'),
  ]),
  own(7, 'MB', 'mb', domain),
  own(8, 'MG', 'mg', domain),
  own(9, 'MR', 'mr', domain),
  { number: 10, name: 'NULL' },
  { number: 11, name: 'WKS' },
  own(12, 'PTR', 'ptr', domain),
  within(13, 'HINFO', [string('cpu'), string('os')]),
  within(14, 'MINFO', [domain('rmailbx'), domain('emailbx')]),
  within(15, 'MX', [u16('preference'), domain('name')]),
  own(16, 'TXT', 'txts', strings),
  // RFC 1183
  within(17, 'RP', [domain('mbox'), domain('txt')]),
  within(18, 'AFSDB', [u16('subtype'), domain('name')]),
  within(19, 'X25', [string('address')]),
  own(20, 'ISDN', 'isdn', strings),
  within(21, 'RT', [u16('preference'), domain('name')]),
  { number: 22, name: 'NSAP' },
  own(23, 'NSAP-PTR', 'ptr', domain),
  // RFC 2535, RFC 2931
  within(24, 'SIG', SIGNATURE),
  within(25, 'KEY', KEY),
  within(26, 'PX', [u16('preference'), domain('map822'), domain('mapx400')]),
  within(27, 'GPOS', [string('longitude'), string('latitude'), string('altitude')]),
  // RFC 3596
  own(28, 'AAAA', 'ip', ip6),
  // RFC 1876
  {
    number: 29,
    name: 'LOC',
    within: 'loc',
    fields: [
      locationVersion,
      centimetres('size'),
      centimetres('horizontal'),
      centimetres('vertical'),
      degrees('latitude'),
      degrees('longitude'),
      altitude,
    ],
    print: location,
  },
  { number: 30, name: 'NXT' },
  { number: 31, name: 'EID' },
  { number: 32, name: 'NIMLOC' },
  // RFC 2782
  within(33, 'SRV', [u16('priority'), u16('weight'), u16('port'), domain('name')]),
  { number: 34, name: 'ATMA' },
  // RFC 3403
  within(35, 'NAPTR', [
    u16('order'),
    u16('preference'),
    string('flags'),
    string('service'),
    string('regexp'),
    domain('replacement'),
  ]),
  // RFC 2230
  within(36, 'KX', [u16('preference'), domain('name')]),
  // RFC 4398
  within(37, 'CERT', [u16('type'), u16('keyTag'), u8('algorithm'), base64('certificate')]),
  { number: 38, name: 'A6' },
  // RFC 6672
  own(39, 'DNAME', 'dname', domain),
  { number: 40, name: 'SINK' },
  { number: OPT, name: 'OPT' },
  // RFC 3123
  own(42, 'APL', 'apl', prefixes),
  // RFC 4034
  within(43, 'DS', DIGEST),
  // RFC 4255
  within(44, 'SSHFP', [u8('algorithm'), u8('type'), hex('fingerprint')]),
  // RFC 4025
  within(45, 'IPSECKEY', [
    u8('precedence'),
    u8('gatewayType'),
    u8('algorithm'),
    gateway('gateway'),
    base64('publicKey'),
  ]),
  // RFC 4034
  within(46, 'RRSIG', SIGNATURE),
  within(47, 'NSEC', [domain('next'), typeBitmap('types', typeName)]),
  within(48, 'DNSKEY', KEY),
  // RFC 4701
  own(49, 'DHCID', 'dhcid', base64),
  // RFC 5155
  within(50, 'NSEC3', [
    u8('hashAlgorithm'),
    u8('flags'),
    u16('iterations'),
    salt('salt'),
    base32('next'),
    typeBitmap('types', typeName),
  ]),
  within(51, 'NSEC3PARAM', [u8('hashAlgorithm'), u8('flags'), u16('iterations'), salt('salt')]),
  // RFC 6698, RFC 8162
  within(52, 'TLSA', CERTIFICATE),
  within(53, 'SMIMEA', CERTIFICATE),
  // RFC 8005
  within(55, 'HIP', [hostIdentity, domains('servers')]),
  own(56, 'NINFO', 'txts', strings),
  within(57, 'RKEY', KEY),
  within(58, 'TALINK', [domain('previous'), domain('next')]),
  // RFC 7344
  within(59, 'CDS', DIGEST),
  within(60, 'CDNSKEY', KEY),
  // RFC 7929
  own(61, 'OPENPGPKEY', 'publicKey', base64),
  // RFC 7477
  within(62, 'CSYNC', [u32('serial'), u16('flags'), typeBitmap('types', typeName)]),
  // RFC 8976
  within(63, 'ZONEMD', [u32('serial'), u8('scheme'), u8('hashAlgorithm'), hex('digest')]),
  // RFC 9460
  within(64, 'SVCB', SERVICE),
  within(65, 'HTTPS', SERVICE),
  // RFC 9859
  within(66, 'DSYNC', [type('type'), u8('scheme'), u16('port'), domain('target')]),
  { number: 67, name: 'HHIT' },
  { number: 68, name: 'BRID' },
  // RFC 7208
  own(99, 'SPF', 'txts', strings),
  // RFC 6742
  within(104, 'NID', [u16('preference'), grouped('nodeId', 8, 4, ':')]),
  within(105, 'L32', [u16('preference'), ip4('locator')]),
  within(106, 'L64', [u16('preference'), grouped('locator', 8, 4, ':')]),
  within(107, 'LP', [u16('preference'), domain('name')]),
  // RFC 7043
  own(108, 'EUI48', 'eui', name => grouped(name, 6, 2, '-')),
  own(109, 'EUI64', 'eui', name => grouped(name, 8, 2, '-')),
  { number: 128, name: 'NXNAME' },
  // RFC 2930
  within(249, 'TKEY', [
    domain('algorithm'),
    u32('inception'),
    u32('expiration'),
    u16('mode'),
    signatureError('error'),
    sized('key', base64Text),
    sized('other', hexText),
  ]),
  // RFC 8945
  within(TSIG, 'TSIG', [
    domain('algorithm'),
    u48('time'),
    u16('fudge'),
    sized('mac', base64Text),
    u16('originalId'),
    signatureError('error'),
    sized('other', hexText),
  ]),
  { number: IXFR, name: 'IXFR' },
  { number: AXFR, name: 'AXFR' },
  { number: 253, name: 'MAILB' },
  { number: 254, name: 'MAILA' },
  { number: 255, name: 'ANY' },
  // RFC 7553
  within(256, 'URI', [u16('priority'), u16('weight'), longString('target')]),
  // RFC 8659
  within(257, 'CAA', [u8('flags'), word('tag'), longString('value')]),
  own(258, 'AVC', 'txts', strings),
  { number: 259, name: 'DOA' },
  { number: 260, name: 'AMTRELAY' },
  // RFC 9606
  own(261, 'RESINFO', 'txts', strings),
  own(262, 'WALLET', 'txts', strings),
  { number: 263, name: 'CLA' },
  { number: 264, name: 'IPN' },
  within(32768, 'TA', DIGEST),
  // RFC 4431
  within(32769, 'DLV', DIGEST),
]

const BY_NUMBER: ReadonlyMap<number, RecordType> = new Map(TYPES.map(type => [type.number, type]))

function type(name: string): Field {
  return field(name, at => typeName(at.u16()))
}

function signatureError(name: string): Field {
  return field(name, at => signatureErrorName(at.u16()))
}

/** RFC 3123, 4.   family(2) prefix(1) negation(1 bit) length(7 bits) address(length), trailing zeros left out */
function prefixes(name: string): Field {
  return (at, into) => {
    const all: string[] = []
    while (at.remaining > 0) {
      const family = at.u16()
      const prefix = at.u8()
      const length = at.u8()
      const bytes = at.view(length & 0x7f)
      const size = family === 1 ? 4 : 16
      if (family > 2 || family === 0 || bytes.length > size) at.fail(`an IPv4 or IPv6 prefix, found family ${family}`)
      const address = new Uint8Array(size)
      address.set(bytes)
      const text = size === 4 ? address.join('.') : ip6Text(address)
      all.push(`${length & 0x80 ? '!' : ''}${family}:${text}/${prefix}`)
    }
    into[name] = all
    return all.join(' ')
  }
}

/** RFC 4025, 2.5: what it is, the byte before the algorithm has said. */
function gateway(name: string): Field {
  return (at, into) => {
    const kind = GATEWAYS[into.gatewayType]
    if (kind === undefined) at.fail(`a gateway type of 0 to 3, found ${into.gatewayType}`)
    return kind(name)(at, into)
  }
}
const GATEWAYS: readonly ((name: string) => Field)[] = [noGateway, ip4, ip6, domain]

function noGateway(name: string): Field {
  return field(
    name,
    () => null,
    () => '.',
  )
}

/** RFC 8005, 5.   hit length(1) algorithm(1) key length(2) hit key */
function hostIdentity(at: MessageCursor, into: Json): string {
  const hitLength = at.u8()
  into.algorithm = at.u8()
  const keyLength = at.u16()
  into.hit = hexText(at, hitLength)
  into.publicKey = base64Text(at, keyLength)
  return `${into.algorithm} ${into.hit} ${into.publicKey}`
}

/** RFC 1876, 2: another version is laid out otherwise. */
function locationVersion(at: MessageCursor): string {
  const version = at.u8()
  if (version !== 0) at.fail(`version 0 of LOC, found ${version}`)
  return ''
}

/** base(4 bits) exponent(4 bits), in metres. */
function centimetres(name: string): Field {
  return (at, into) => {
    const byte = at.u8()
    if (byte >> 4 > 9 || (byte & 15) > 9) at.fail(`two decimal digits, found 0x${byte.toString(16)}`)
    into[name] = ((byte >> 4) * 10 ** (byte & 15)) / 100
    return ''
  }
}

/** Thousandths of a second of arc, 2^31 being the equator and the prime meridian. */
function degrees(name: string): Field {
  return (at, into) => {
    into[name] = (at.u32() - 0x8000_0000) / 3_600_000
    return ''
  }
}

/** Centimetres above 100 000 m below the ellipsoid, in metres. */
function altitude(at: MessageCursor, into: Json): string {
  into.altitude = (at.u32() - 10_000_000) / 100
  return ''
}

function location(loc: Json): string {
  const place = `${angle(loc.latitude, 'N', 'S')} ${angle(loc.longitude, 'E', 'W')} ${loc.altitude.toFixed(2)}m`
  return `${place} ${metres(loc.size)} ${metres(loc.horizontal)} ${metres(loc.vertical)}`
}

function angle(value: number, positive: string, negative: string): string {
  const thousandths = Math.round(Math.abs(value) * 3_600_000)
  const minutes = Math.floor(thousandths / 60_000)
  const seconds = ((thousandths % 60_000) / 1000).toFixed(3)
  return `${Math.floor(minutes / 60)} ${minutes % 60} ${seconds} ${value < 0 ? negative : positive}`
}

function metres(value: number): string {
  return value < 1 ? `${value.toFixed(2)}m` : `${value}m`
}
