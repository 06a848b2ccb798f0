/**
 * ClientHello: RFC 8446, 4.1.2, RFC 5246, 7.4.1.2; in datagrams RFC 6347, 4.2.1.
 *
 *   version(2) random(32) n(1) session id(n) [DTLS: n(1) cookie(n)] n(2) suites(n) n(1) compressions(n)
 *   [n(2) extensions(n)]         extension: type(2) length(2) data(length)
 */
import { type Cursor, Malformed } from '../../cursor.ts'
import { type Fields, flag, json, listOf, number, orNull, plain, shapeOf, text } from '../../json-shape.ts'
import { constant, JsonWriter } from '../../json-writer.ts'
import { isWeakSuite, ssl2KindName } from './cipher-suites.ts'
import {
  aeadName,
  certificateCompressionName,
  compressionName,
  groupName,
  isDeprecated,
  kdfName,
  pointFormatName,
  pskModeName,
  versionName,
} from './codes.ts'
import { Essence } from './essence.ts'
import { readExtensions, readHex, readProtocols, readSessionId } from './extensions.ts'
import { type Carrier, fingerprintsOf, highest } from './fingerprints.ts'
import { extensionsOf, GROUPS, Named, NO_EXTENSIONS, named, names, readNumbers, SIGNATURES, SUITES } from './lists.ts'
import { Memo } from './memo.ts'

/** What the client offers. Lists are in its order, with `GREASE` where it sent such a value. */
export interface ClientHello {
  /** The highest version that it offers: `TLS 1.3`. */
  version: string
  /** All versions that it offers by name; before TLS 1.3 only the highest is known. */
  versions: string[]
  /** Hex. */
  random: string
  /** Hex; empty for none. TLS 1.3 puts something here for the eyes of old middleboxes. */
  sessionId: string
  /** Server name indication: whom the client wants to speak to. */
  sni: string | null
  alpn: string[]
  /** IANA's names. */
  cipherSuites: string[]
  compressionMethods: string[]
  extensions: string[]
  groups: string[]
  pointFormats: string[]
  signatureAlgorithms: string[]
  /** Groups that it sends a public key of already. */
  keyShares: string[]
  pskModes: string[]
  /** Bytes of the session ticket that it shows; 0: it would like to have one; null: neither. */
  sessionTicket: number | null
  /** How many pre-shared keys of TLS 1.3 it offers: tickets of earlier sessions, mostly. */
  preSharedKeys: number
  /** It sends application data before the server has answered (0-RTT). */
  earlyData: boolean
  /** Encrypted Client Hello: then `sni` and `alpn` are the outer ones. */
  ech: { configId: number; kdf: string; aead: string } | null
  /** It asks for a stapled OCSP response. */
  ocsp: boolean
  certificateCompression: string[]
  /** MD5 in hex, and the text that it is made of; null for SSL 2.0. */
  ja3: string | null
  ja3Text: string | null
  ja4: string | null
  /** `deprecated-version`: it offers none better than TLS 1.1; `weak-cipher-suite`: it offers one. */
  warnings: string[]
}

/** A ClientHello: what is its own, and what it has in common with others. */
export interface Hello extends Pick<ClientHello, 'random' | 'sessionId' | 'sni'> {
  offer: Offer
  /** What the client asks of QUIC, gone with the hello's bytes; null without it. */
  transportParameters: Cursor | null
}

/** What a client offers to everybody. Lists that many clients send are the same objects, which know their text. */
export interface Offered extends Omit<ClientHello, keyof Hello | Repeated> {
  cipherSuites: Named
  extensions: Named
  groups: Named
  signatureAlgorithms: Named
}
type Repeated = 'cipherSuites' | 'extensions' | 'groups' | 'signatureAlgorithms'

export class Offer {
  readonly offered: Offered
  /** A part that could not be read; the others are there. */
  readonly problem: string | null
  private texts: Texts | null = null
  private hellos = 0

  constructor(offered: Offered, problem: string | null) {
    this.offered = offered
    this.problem = problem
  }

  /** For one more hello; null for the first: most of a stranger's stay alone. */
  textsForAnother(): Texts | null {
    if (this.hellos++ > 0)
      this.texts ??= { head: textOf(writeHead, this.offered), tail: textOf(writeTail, this.offered) }
    return this.texts
  }
}

/** The fields before those of the hello itself, and those behind them, as JSON. */
interface Texts {
  head: Uint8Array
  tail: Uint8Array
}

/** The fields of a hello as an object that is not closed yet: other protocols have more to say. */
export function writeHello(out: JsonWriter, { random, sessionId, sni, offer }: Hello): void {
  const { offered } = offer
  const texts = offer.textsForAnother()
  if (texts === null) writeHead(out, offered)
  else out.raw(texts.head)
  out.raw(RANDOM)
  out.plain(random)
  out.raw(SESSION_ID)
  out.plain(sessionId)
  out.raw(SNI)
  writeName(out, sni)
  if (texts === null) writeTail(out, offered)
  else out.raw(texts.tail)
}

const COMMA = 0x2c
const RANDOM = constant(',"random":')
const SESSION_ID = constant(',"sessionId":')
const SNI = constant(',"sni":')
const writeName = orNull(text)

const HEAD: Fields<Pick<Offered, 'version' | 'versions'>> = { version: plain, versions: listOf(plain) }
const TAIL: Fields<Omit<Offered, 'version' | 'versions'>> = {
  alpn: listOf(text),
  cipherSuites: names,
  compressionMethods: listOf(plain),
  extensions: names,
  groups: names,
  pointFormats: listOf(plain),
  signatureAlgorithms: names,
  keyShares: listOf(plain),
  pskModes: listOf(plain),
  sessionTicket: orNull(number),
  preSharedKeys: number,
  earlyData: flag,
  ech: orNull(json),
  ocsp: flag,
  certificateCompression: listOf(plain),
  ja3: orNull(plain),
  ja3Text: orNull(plain),
  ja4: orNull(text),
  warnings: listOf(plain),
}
const writeHeadObject = shapeOf(HEAD)
const writeTailObject = shapeOf(TAIL)

function writeHead(out: JsonWriter, offered: Offered): void {
  writeHeadObject(out, offered)
  // What follows belongs to the same object.
  out.length--
}

function writeTail(out: JsonWriter, offered: Offered): void {
  const start = out.length
  writeTailObject(out, offered)
  out.bytes[start] = COMMA
  out.length--
}

function textOf(write: (out: JsonWriter, offered: Offered) => void, offered: Offered): Uint8Array {
  SCRATCH.length = 0
  write(SCRATCH, offered)
  return new Uint8Array(SCRATCH.bytes.subarray(0, SCRATCH.length))
}

const SCRATCH = new JsonWriter(4096)

/** The random number of a ClientHello, which the cursor stays in front of: a second hello repeats that of the first. */
export function randomOf(at: Cursor): string {
  const { position } = at
  at.skip(2)
  const random = readHex(at, 32)
  at.position = position
  return random
}

/** Of programs, their settings and their versions there are some hundreds; browsers make up a new one each time. */
const MAX_REMEMBERED = 500
const remembered = new Memo<Offer>(MAX_REMEMBERED)

export function readClientHello(at: Cursor, carrier: Carrier): Hello {
  const legacyVersion = at.u16()
  const random = readHex(at, 32)
  const sessionId = readSessionId(at)
  if (carrier === 'd') at.skip(at.u8())
  const { position } = at
  const own: Own = { sni: null, transportParameters: null }
  const essence = essenceOf(at, legacyVersion, carrier, own)
  const offerOf = () => {
    at.position = position
    return readOffer(at, legacyVersion, carrier, own)
  }
  const offer = essence === null ? offerOf() : remembered.get(essence, offerOf)
  return { random, sessionId, sni: own.sni, offer, transportParameters: own.transportParameters }
}

/** What no two hellos need have in common. */
type Own = Pick<Hello, 'sni' | 'transportParameters'>

/**
 * All that `readOffer` goes by, so written that no two offers are written the same; null where it is too much, or cannot
 * be read.
 */
function essenceOf(at: Cursor, legacyVersion: number, carrier: Carrier, own: Own): string | null {
  ESSENCE.begin()
  ESSENCE.u8(carrier.charCodeAt(0))
  ESSENCE.u16(legacyVersion)
  const { end } = at
  try {
    const suites = at.u16()
    ESSENCE.u16(suites)
    ESSENCE.take(at, suites)
    const compressions = at.u8()
    ESSENCE.u8(compressions)
    ESSENCE.take(at, compressions)
    if (at.remaining > 0) {
      const length = at.u16()
      at.need(length)
      at.end = at.position + length
    }
    while (at.remaining > 0) {
      const type = at.u16()
      const length = at.u16()
      at.need(length)
      const next = at.position + length
      ESSENCE.u16(type)
      const matter = CLIENT_EXTENSIONS.get(type)?.matter
      if (matter === 'all') {
        ESSENCE.u16(length)
        ESSENCE.take(at, length)
      } else if (matter !== undefined) {
        const data = at.within(length)
        matter(data, own)
      }
      at.position = next
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    return null
  } finally {
    at.end = end
  }
  return ESSENCE.text
}

const ESSENCE = new Essence()

function readOffer(at: Cursor, legacyVersion: number, carrier: Carrier, own: Own): Offer {
  const suites = SUITES.read(at, at.u16())
  const compressions = readNumbers(at.within(at.u8()), 1)
  own.sni = null
  const found: Found = {
    own,
    supportedVersions: [],
    groups: GROUPS.none,
    pointFormats: [],
    signatures: SIGNATURES.none,
    alpn: [],
    protocol: null,
    keyShares: [],
    pskModes: [],
    certificateCompressions: [],
    sessionTicket: null,
    preSharedKeys: 0,
    earlyData: false,
    ech: null,
    ocsp: false,
  }
  const types: number[] = []
  const problem = readExtensions(at, types, (type, data) => CLIENT_EXTENSIONS.get(type)?.read(data, found))
  const extensions = extensionsOf(types)
  const version = highest(found.supportedVersions) ?? legacyVersion
  const { ja3, ja3Text, ja4 } = fingerprintsOf({ legacyVersion, suites, extensions, ...found }, carrier)
  const offered: Offered = {
    version: versionName(version),
    versions: named(found.supportedVersions.length > 0 ? found.supportedVersions : [legacyVersion], versionName),
    alpn: found.alpn,
    cipherSuites: suites,
    compressionMethods: named(compressions, compressionName),
    extensions,
    groups: found.groups,
    pointFormats: named(found.pointFormats, pointFormatName),
    signatureAlgorithms: found.signatures,
    keyShares: named(found.keyShares, groupName),
    pskModes: named(found.pskModes, pskModeName),
    sessionTicket: found.sessionTicket,
    preSharedKeys: found.preSharedKeys,
    earlyData: found.earlyData,
    ech: found.ech,
    ocsp: found.ocsp,
    certificateCompression: named(found.certificateCompressions, certificateCompressionName),
    ja3,
    ja3Text,
    ja4,
    warnings: warnings(isDeprecated(version), suites.codes.some(isWeakSuite)),
  }
  return new Offer(offered, problem)
}

/**
 * The hello of SSL 2.0, with which clients of its time asked for SSL 3.0 and TLS, too (RFC 5246, appendix E.2):
 *
 *   version(2) length of kinds(2) length of session id(2) length of challenge(2) kinds session-id challenge
 */
export function readSsl2Hello(at: Cursor): Hello {
  const version = at.u16()
  const [kinds, id, challenge] = [at.u16(), at.u16(), at.u16()]
  const suites = readNumbers(at.within(kinds), 3)
  const sessionId = readHex(at, id)
  const weak = suites.some(kind => kind >= 0x10000 || isWeakSuite(kind))
  const offered: Offered = {
    version: versionName(version),
    versions: [versionName(version)],
    alpn: [],
    cipherSuites: new Named(suites, ssl2KindName),
    compressionMethods: [],
    extensions: NO_EXTENSIONS,
    groups: GROUPS.none,
    pointFormats: [],
    signatureAlgorithms: SIGNATURES.none,
    keyShares: [],
    pskModes: [],
    sessionTicket: null,
    preSharedKeys: 0,
    earlyData: false,
    ech: null,
    ocsp: false,
    certificateCompression: [],
    ja3: null,
    ja3Text: null,
    ja4: null,
    warnings: warnings(isDeprecated(version), weak),
  }
  const random = readHex(at, challenge)
  return { random, sessionId, sni: null, offer: new Offer(offered, null), transportParameters: null }
}

function warnings(deprecated: boolean, weak: boolean): string[] {
  return [...(deprecated ? ['deprecated-version'] : []), ...(weak ? ['weak-cipher-suite'] : [])]
}

// ── extensions ──────────────────────────────────────────────────────────────────────────────────────────────────────

interface Found {
  own: Own
  supportedVersions: number[]
  groups: Named
  pointFormats: number[]
  signatures: Named
  alpn: string[]
  protocol: Uint8Array | null
  keyShares: number[]
  pskModes: number[]
  certificateCompressions: number[]
  sessionTicket: number | null
  preSharedKeys: number
  earlyData: boolean
  ech: ClientHello['ech']
  ocsp: boolean
}

interface Extension {
  read: (data: Cursor, found: Found) => unknown
  /** What of the data `read` goes by, as it is added to the essence; absent: nothing but that the extension is there. */
  matter?: 'all' | ((data: Cursor, own: Own) => void)
}

const CLIENT_EXTENSIONS = new Map<number, Extension>([
  [0, { read: (data, { own }) => readServerName(data, own), matter: readServerName }],
  [5, { read: (_, found) => (found.ocsp = true) }],
  [10, { read: (data, found) => (found.groups = GROUPS.read(data, data.u16())), matter: 'all' }],
  [11, { read: (data, found) => (found.pointFormats = readNumbers(data.within(data.u8()), 1)), matter: 'all' }],
  [13, { read: (data, found) => (found.signatures = SIGNATURES.read(data, data.u16())), matter: 'all' }],
  [16, { read: readClientProtocols, matter: 'all' }],
  [17, { read: (_, found) => (found.ocsp = true) }],
  [
    27,
    { read: (data, found) => (found.certificateCompressions = readNumbers(data.within(data.u8()), 2)), matter: 'all' },
  ],
  [35, { read: (data, found) => (found.sessionTicket = data.remaining), matter: data => ESSENCE.u16(data.remaining) }],
  [40, { read: readClientShares, matter: sharesMatter }],
  [41, { read: readPreSharedKeys, matter: keysMatter }],
  [42, { read: (_, found) => (found.earlyData = true) }],
  [43, { read: (data, found) => (found.supportedVersions = readNumbers(data.within(data.u8()), 2)), matter: 'all' }],
  [45, { read: (data, found) => (found.pskModes = readNumbers(data.within(data.u8()), 1)), matter: 'all' }],
  [51, { read: readClientShares, matter: sharesMatter }],
  [57, { read: (data, { own }) => readTransportParameters(data, own), matter: readTransportParameters }],
  [0xfe0d, { read: readEncryptedHello, matter: outerMatters }],
  [0xffa5, { read: (data, { own }) => readTransportParameters(data, own), matter: readTransportParameters }],
])

/** RFC 6066, 3:   n(2) of: type(1) = 0 n(2) name(n) */
function readServerName(data: Cursor, own: Own): void {
  // A server acknowledges with nothing, and some clients send as much.
  if (data.remaining === 0) return
  const list = data.within(data.u16())
  while (list.remaining > 0) {
    const type = list.u8()
    const name = list.text(list.u16())
    if (type === 0) own.sni ??= name
  }
}

function readTransportParameters(data: Cursor, own: Own): void {
  own.transportParameters = data
}

function readClientProtocols(data: Cursor, found: Found): void {
  const length = data.u16()
  const { position } = data
  found.alpn = readProtocols(data.within(length))
  if (found.alpn.length === 0) return
  data.position = position
  found.protocol = data.view(data.u8())
}

/** group(2) n(2) key(n) … */
function readClientShares(data: Cursor, found: Found): void {
  const list = data.within(data.u16())
  while (list.remaining > 0) {
    found.keyShares.push(list.u16())
    list.skip(list.u16())
  }
}

const [NO_MORE, ANOTHER] = [0, 1]

function sharesMatter(data: Cursor): void {
  const list = data.within(data.u16())
  for (; list.remaining > 0; list.skip(list.u16())) {
    ESSENCE.u8(ANOTHER)
    ESSENCE.u16(list.u16())
  }
  ESSENCE.u8(NO_MORE)
}

/** n(2) of: n(2) identity(n) age(4); then binders */
function readPreSharedKeys(data: Cursor, found: Found): void {
  const list = data.within(data.u16())
  while (list.remaining > 0) {
    list.skip(list.u16())
    list.skip(4)
    found.preSharedKeys++
  }
}

function keysMatter(data: Cursor): void {
  const list = data.within(data.u16())
  let keys = 0
  for (; list.remaining > 0; keys++) {
    list.skip(list.u16())
    list.skip(4)
  }
  ESSENCE.u16(keys)
}

/** Bytes up to the config id. */
const OUTER_HELLO = 6

/** Encrypted Client Hello, draft-ietf-tls-esni-18, 5:   type(1) = 0 outer; kdf(2) aead(2) config id(1) … */
function readEncryptedHello(data: Cursor, found: Found): void {
  if (data.u8() !== 0) return
  const [kdf, aead] = [kdfName(data.u16()), aeadName(data.u16())]
  found.ech = { configId: data.u8(), kdf, aead }
}

function outerMatters(data: Cursor): void {
  const count = Math.min(data.remaining, OUTER_HELLO)
  ESSENCE.u8(count)
  ESSENCE.take(data, count)
}
