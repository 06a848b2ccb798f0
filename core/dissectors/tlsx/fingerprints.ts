/**
 * Fingerprints of whoever speaks TLS: JA3 and JA3S (github.com/salesforce/ja3), and JA4 for clients
 * (github.com/FoxIO-LLC/ja4, technical_details/JA4.md).
 */
import { hash } from 'node:crypto'
import { isGrease } from './codes.ts'

/** A list of numbers as fingerprints write it, without GREASE. */
export class Listing {
  readonly codes: readonly number[]
  /** Without GREASE. */
  readonly plain: readonly number[]
  private inOrder: string | null = null
  private sorted: string | null = null

  constructor(codes: readonly number[]) {
    this.codes = codes
    this.plain = codes.filter(code => !isGrease(code))
  }

  /** `4865-4866` */
  get dashed(): string {
    this.inOrder ??= this.plain.join('-')
    return this.inOrder
  }

  /** JA4's digest of the list, sorted. */
  get digest(): string {
    this.sorted ??= digest(hexes(this.plain).sort().join(','))
    return this.sorted
  }
}

/** What a ClientHello offers, in its order. */
export interface Offer {
  /** Of the message itself: 0x0303 in TLS 1.3, too. */
  legacyVersion: number
  /** In the extension of this name; empty without it. */
  supportedVersions: readonly number[]
  suites: Listing
  extensions: Listing
  groups: Listing
  pointFormats: readonly number[]
  signatures: Listing
  /** The first protocol of ALPN, as bytes; null without one. */
  protocol: Uint8Array | null
}

/** How the hello travelled, in JA4's letters: TCP, QUIC, DTLS. */
export type Carrier = 't' | 'q' | 'd'

/** Of what a server chose: version,suite,extensions. */
export function ja3s(
  version: number,
  suite: number,
  extensions: readonly number[],
): { ja3s: string; ja3sText: string } {
  const ja3sText = `${version},${suite},${extensions.filter(code => !isGrease(code)).join('-')}`
  return { ja3s: hash('md5', ja3sText), ja3sText }
}

/** JA4 looks like `t13d1516h2_8daaf6152771_e5627efa2ab1`. */
export function fingerprintsOf(offer: Offer, carrier: Carrier): { ja3: string; ja3Text: string; ja4: string } {
  const { legacyVersion, supportedVersions, suites, extensions, protocol } = offer
  const ja3Text = ja3TextOf(offer)
  const version = JA4_VERSIONS.get(highest(supportedVersions) ?? legacyVersion) ?? '00'
  const destination = extensions.codes.includes(SERVER_NAME) ? 'd' : 'i'
  const counts = twoDigits(suites.plain.length) + twoDigits(extensions.plain.length)
  const digests = `${suites.digest}_${extensionDigest(offer)}`
  const ja4 = `${carrier}${version}${destination}${counts}${ends(protocol)}_${digests}`
  return { ja3: hash('md5', ja3Text), ja3Text, ja4 }
}

/** version,suites,extensions,groups,point formats: decimal, with dashes, without GREASE. */
function ja3TextOf({ legacyVersion, suites, extensions, groups, pointFormats }: Offer): string {
  return `${legacyVersion},${suites.dashed},${extensions.dashed},${groups.dashed},${pointFormats.join('-')}`
}

function extensionDigest({ extensions, signatures }: Offer): string {
  const names = hexes(extensions.plain.filter(code => code !== SERVER_NAME && code !== PROTOCOLS)).sort()
  if (names.length === 0) return NOTHING
  return digest(names.join(',') + (signatures.plain.length > 0 ? `_${hexes(signatures.plain).join(',')}` : ''))
}

/** The highest version that is not GREASE; undefined for none. DTLS counts downwards. */
export function highest(versions: readonly number[]): number | undefined {
  let best: number | undefined
  for (const version of versions) {
    if (isGrease(version)) continue
    if (best === undefined || (version >= 0xfe00 && version <= 0xfeff ? version < best : version > best)) best = version
  }
  return best
}

const SERVER_NAME = 0
const PROTOCOLS = 16
const NOTHING = '000000000000'
const JA4_VERSIONS = new Map([
  [0x0304, '13'],
  [0x0303, '12'],
  [0x0302, '11'],
  [0x0301, '10'],
  [0x0300, 's3'],
  [0x0002, 's2'],
  [0xfeff, 'd1'],
  [0xfefd, 'd2'],
  [0xfefc, 'd3'],
])

function twoDigits(count: number): string {
  return String(Math.min(count, 99)).padStart(2, '0')
}

/** First and last character; where one of them is neither letter nor digit, first and last digit of the hex. */
function ends(protocol: Uint8Array | null): string {
  if (protocol === null || protocol.length === 0) return '00'
  const [first, last] = [protocol[0]!, protocol.at(-1)!]
  if (isAlphanumeric(first) && isAlphanumeric(last)) return String.fromCharCode(first, last)
  return (first >> 4).toString(16) + (last & 15).toString(16)
}

function isAlphanumeric(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
}

function digest(text: string): string {
  return text === '' ? NOTHING : hash('sha256', text).slice(0, 12)
}

/** `1301`, `1302` */
function hexes(codes: readonly number[]): string[] {
  return codes.map(code => HEXES[code >> 8]! + HEXES[code & 0xff]!)
}

const HEXES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
