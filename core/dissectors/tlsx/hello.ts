/**
 * ClientHello and ServerHello: RFC 8446, 4.1.2 and 4.1.3, RFC 5246, 7.4.1; in datagrams RFC 6347, 4.2.1.
 *
 *   ClientHello: version(2) random(32) n(1) session id(n) [DTLS: n(1) cookie(n)] n(2) suites(n) n(1) compressions(n)
 *                [n(2) extensions(n)]
 *   ServerHello: version(2) random(32) n(1) session id(n) suite(2) compression(1) [n(2) extensions(n)]
 *   extension:   type(2) length(2) data(length)
 */
import { type Cursor, Malformed } from '../../cursor.ts'
import { type Fields, flag, json, listOf, number, orNull, plain, shapeOf, text } from '../../json-shape.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { cipherSuiteName, isWeakSuite, ssl2KindName } from './cipher-suites.ts'
import {
  aeadName,
  certificateCompressionName,
  compressionName,
  extensionName,
  groupName,
  isDeprecated,
  isTls13,
  kdfName,
  pointFormatName,
  pskModeName,
  signatureName,
  versionName,
} from './codes.ts'
import { type Carrier, fingerprintsOf, highest, ja3sText, Listing, type Offer } from './fingerprints.ts'
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

/** As it is read: lists that clients send again and again are the same objects, which know their text. */
export interface Offered extends Omit<ClientHello, Repeated> {
  cipherSuites: Named
  extensions: Named
  groups: Named
  signatureAlgorithms: Named
}
type Repeated = 'cipherSuites' | 'extensions' | 'groups' | 'signatureAlgorithms'

export const OFFERED: Fields<Offered> = {
  version: plain,
  versions: listOf(plain),
  random: plain,
  sessionId: plain,
  sni: orNull(text),
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

export const writeOffered = shapeOf(OFFERED)

export function names(out: JsonWriter, { text }: Named): void {
  out.raw(text)
}

/** What a ClientHello says beyond what users are shown. */
export interface Hello {
  body: Offered
  /** A part that could not be read; the others are there. */
  problem: string | null
  /** What the client asks of QUIC, gone with the hello's bytes; null without it. */
  transportParameters: Cursor | null
}

/** Entries of a list that are shown; only a fuzzer offers more. */
const MAX_LISTED = 256
const MAX_SESSION_ID = 32

/** The random number of a ClientHello, which the cursor stays in front of: a second hello repeats that of the first. */
export function randomOf(at: Cursor): string {
  const { position } = at
  at.skip(2)
  const random = hex(at.view(32))
  at.position = position
  return random
}

export function readClientHello(at: Cursor, carrier: Carrier): Hello {
  const legacyVersion = at.u16()
  const random = hex(at.view(32))
  const sessionId = readSessionId(at)
  if (carrier === 'd') at.skip(at.u8())
  const suites = SUITES.read(at, at.u16())
  const compressions = readNumbers(at.within(at.u8()), 1)
  const found: Found = {
    supportedVersions: [],
    groups: GROUPS.none,
    pointFormats: [],
    signatures: SIGNATURES.none,
    alpn: [],
    protocol: null,
    keyShares: [],
    pskModes: [],
    certificateCompressions: [],
    sni: null,
    sessionTicket: null,
    preSharedKeys: 0,
    earlyData: false,
    ech: null,
    ocsp: false,
    transportParameters: null,
  }
  const types: number[] = []
  const problem = readExtensions(at, types, (type, data) => CLIENT_EXTENSIONS.get(type)?.(data, found))
  const extensions = EXTENSIONS.of(types)
  const offer: Offer = { legacyVersion, suites, extensions, ...found }
  const version = highest(found.supportedVersions) ?? legacyVersion
  const { ja3, ja3Text, ja4 } = fingerprintsOf(offer, carrier)
  return {
    problem,
    transportParameters: found.transportParameters,
    body: {
      version: versionName(version),
      versions: named(found.supportedVersions.length > 0 ? found.supportedVersions : [legacyVersion], versionName),
      random,
      sessionId,
      sni: found.sni,
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
    },
  }
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
  const sessionId = hex(at.view(id))
  const weak = suites.some(kind => kind >= 0x10000 || isWeakSuite(kind))
  return {
    problem: null,
    transportParameters: null,
    body: {
      version: versionName(version),
      versions: [versionName(version)],
      random: hex(at.view(challenge)),
      sessionId,
      sni: null,
      alpn: [],
      cipherSuites: new Named(suites, ssl2KindName, 0),
      compressionMethods: [],
      extensions: EXTENSIONS.none,
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
    },
  }
}

function warnings(deprecated: boolean, weak: boolean): string[] {
  return [...(deprecated ? ['deprecated-version'] : []), ...(weak ? ['weak-cipher-suite'] : [])]
}

// ── ServerHello ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** As numbers, for whoever puts the answer together. */
export interface ServerHello {
  version: number
  random: string
  sessionId: string
  suite: number
  compression: number
  extensions: number[]
  alpn: string | null
  /** Of the key share, or the one that a HelloRetryRequest asks for. */
  group: number | null
  /** The offered pre-shared key was taken. */
  preSharedKey: boolean
  /** It is no ServerHello: the client is to begin again (RFC 8446, 4.1.4). */
  retry: boolean
  ja3sText: string
  problem: string | null
}

/** SHA-256 of "HelloRetryRequest". */
const RETRY = 'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'
/** Up to here drafts of TLS 1.3 left out what nobody needs any more. */
const LAST_SHORT_DRAFT = 0x7f15

export function readServerHello(at: Cursor): ServerHello {
  const legacyVersion = at.u16()
  const random = hex(at.view(32))
  const short = legacyVersion >> 8 === 0x7f && legacyVersion <= LAST_SHORT_DRAFT
  const sessionId = short ? '' : readSessionId(at)
  const suite = at.u16()
  const compression = short ? 0 : at.u8()
  const hello = emptyServerHello(legacyVersion, random, sessionId, suite, compression)
  hello.retry = random === RETRY
  hello.problem = readExtensions(at, hello.extensions, (type, data) => SERVER_EXTENSIONS.get(type)?.(data, hello))
  hello.ja3sText = ja3sText(legacyVersion, suite, hello.extensions)
  return hello
}

/** HelloRetryRequest as drafts of TLS 1.3 had it: version(2) [suite(2), from draft 19] n(2) extensions(n). */
export function readDraftRetry(at: Cursor): ServerHello {
  const version = at.u16()
  if (!isTls13(version)) at.fail(`a version of TLS 1.3, found ${version}`)
  const hello = emptyServerHello(version, '', '', version >= 0x7f13 ? at.u16() : 0, 0)
  hello.retry = true
  hello.problem = readExtensions(at, hello.extensions, (type, data) => SERVER_EXTENSIONS.get(type)?.(data, hello))
  return hello
}

function emptyServerHello(
  version: number,
  random: string,
  sessionId: string,
  suite: number,
  compression: number,
): ServerHello {
  return {
    version,
    random,
    sessionId,
    suite,
    compression,
    extensions: [],
    alpn: null,
    group: null,
    preSharedKey: false,
    retry: false,
    ja3sText: '',
    problem: null,
  }
}

const SERVER_EXTENSIONS = new Map<number, (data: Cursor, hello: ServerHello) => void>([
  [16, (data, hello) => (hello.alpn = readProtocols(data.within(data.u16()))[0] ?? null)],
  [40, readServerShare],
  [41, (_, hello) => (hello.preSharedKey = true)],
  [43, (data, hello) => (hello.version = data.u16())],
  [51, readServerShare],
])

function readServerShare(data: Cursor, hello: ServerHello): void {
  hello.group = data.u16()
}

// ── extensions ──────────────────────────────────────────────────────────────────────────────────────────────────────

interface Found {
  supportedVersions: number[]
  groups: Named
  pointFormats: number[]
  signatures: Named
  alpn: string[]
  protocol: Uint8Array | null
  keyShares: number[]
  pskModes: number[]
  certificateCompressions: number[]
  sni: string | null
  sessionTicket: number | null
  preSharedKeys: number
  earlyData: boolean
  ech: ClientHello['ech']
  ocsp: boolean
  transportParameters: Cursor | null
}

const CLIENT_EXTENSIONS = new Map<number, (data: Cursor, found: Found) => void>([
  [0, readServerName],
  [5, (_, found) => (found.ocsp = true)],
  [10, (data, found) => (found.groups = GROUPS.read(data, data.u16()))],
  [11, (data, found) => (found.pointFormats = readNumbers(data.within(data.u8()), 1))],
  [13, (data, found) => (found.signatures = SIGNATURES.read(data, data.u16()))],
  [16, readClientProtocols],
  [17, (_, found) => (found.ocsp = true)],
  [27, (data, found) => (found.certificateCompressions = readNumbers(data.within(data.u8()), 2))],
  [35, (data, found) => (found.sessionTicket = data.remaining)],
  [40, readClientShares],
  [41, readPreSharedKeys],
  [42, (_, found) => (found.earlyData = true)],
  [43, (data, found) => (found.supportedVersions = readNumbers(data.within(data.u8()), 2))],
  [45, (data, found) => (found.pskModes = readNumbers(data.within(data.u8()), 1))],
  [51, readClientShares],
  [57, (data, found) => (found.transportParameters = data)],
  [0xfe0d, readEncryptedHello],
  [0xffa5, (data, found) => (found.transportParameters = data)],
])

/**
 * Each extension is framed by its length: one that lies costs no more than what follows it. Returns what was wrong.
 * Hellos before TLS 1.2 may end before the extensions.
 */
function readExtensions(at: Cursor, types: number[], read: (type: number, data: Cursor) => unknown): string | null {
  if (at.remaining === 0) return null
  let problem: string | null = null
  let reading = 'extensions'
  try {
    const list = at.within(at.u16())
    while (list.remaining > 0) {
      const type = list.u16()
      reading = `extension ${extensionName(type)}`
      const data = list.within(list.u16())
      types.push(type)
      try {
        read(type, data)
      } catch (cause) {
        if (!(cause instanceof Malformed)) throw cause
        problem ??= `${reading}: ${cause.reason}`
      }
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    problem ??= `${reading}: ${cause.reason}`
  }
  return problem
}

/** RFC 6066, 3:   n(2) of: type(1) = 0 n(2) name(n) */
function readServerName(data: Cursor, found: Found): void {
  // A server acknowledges with nothing, and some clients send as much.
  if (data.remaining === 0) return
  const list = data.within(data.u16())
  while (list.remaining > 0) {
    const type = list.u8()
    const name = list.text(list.u16())
    if (type === 0) found.sni ??= name
  }
}

function readClientProtocols(data: Cursor, found: Found): void {
  const length = data.u16()
  const { position } = data
  found.alpn = readProtocols(data.within(length))
  if (found.alpn.length === 0) return
  data.position = position
  found.protocol = data.view(data.u8())
}

/** RFC 7301, 3.1:   n(1) name(n) … */
function readProtocols(list: Cursor): string[] {
  const names: string[] = []
  while (list.remaining > 0) {
    const name = list.text(list.u8())
    if (names.length < MAX_LISTED) names.push(name)
  }
  return names
}

/** group(2) n(2) key(n) … */
function readClientShares(data: Cursor, found: Found): void {
  const list = data.within(data.u16())
  while (list.remaining > 0) {
    found.keyShares.push(list.u16())
    list.skip(list.u16())
  }
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

/** Encrypted Client Hello, draft-ietf-tls-esni-18, 5:   type(1) = 0 outer; kdf(2) aead(2) config id(1) … */
function readEncryptedHello(data: Cursor, found: Found): void {
  if (data.u8() !== 0) return
  const [kdf, aead] = [kdfName(data.u16()), aeadName(data.u16())]
  found.ech = { configId: data.u8(), kdf, aead }
}

// ── lists that clients send again and again ─────────────────────────────────────────────────────────────────────────

export class Named extends Listing {
  readonly names: readonly string[]
  /** As JSON; names need no escape. */
  readonly text: Uint8Array
  constructor(codes: readonly number[], name: (code: number) => string, number: number) {
    super(codes, number)
    this.names = named(codes, name)
    this.text = constant(codes.length === 0 ? '[]' : `["${this.names.join('","')}"]`)
  }
}

/** Of programs and their settings there are some hundreds. */
const MAX_REMEMBERED = 1000

/** Lists of one kind. */
class Lists {
  readonly none: Named
  private readonly remembered = new Memo<Named>(MAX_REMEMBERED)
  private readonly name: (code: number) => string
  private made = 0

  constructor(name: (code: number) => string) {
    this.name = name
    this.none = this.make([])
  }

  /** Of `length` bytes at the cursor, two for each number. */
  read(at: Cursor, length: number): Named {
    const { position } = at
    return this.remembered.get(at.latin1(length), () => {
      at.position = position
      return this.make(readNumbers(at.within(length), 2))
    })
  }

  of(codes: readonly number[]): Named {
    if (codes.length > MAX_LISTED) return this.make(codes)
    return this.remembered.get(String.fromCharCode(...codes), () => this.make(codes))
  }

  private make(codes: readonly number[]): Named {
    return new Named(codes, this.name, this.made++)
  }
}

const SUITES = new Lists(cipherSuiteName)
const GROUPS = new Lists(groupName)
const SIGNATURES = new Lists(signatureName)
export const EXTENSIONS = new Lists(extensionName)

// ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function readSessionId(at: Cursor): string {
  const length = at.u8()
  if (length > MAX_SESSION_ID) at.fail(`a session id of at most ${MAX_SESSION_ID} bytes, found ${length}`)
  return hex(at.view(length))
}

function readNumbers(list: Cursor, size: 1 | 2 | 3): number[] {
  const numbers: number[] = []
  while (list.remaining > 0) numbers.push(size === 2 ? list.u16() : size === 1 ? list.u8() : list.u24())
  return numbers
}

function named(codes: readonly number[], name: (code: number) => string): string[] {
  const names: string[] = []
  for (let i = 0; i < codes.length && i < MAX_LISTED; i++) names.push(name(codes[i]!))
  return names
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}
