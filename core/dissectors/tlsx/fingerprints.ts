/**
 * Fingerprints of whoever speaks TLS: JA3 and JA3S (github.com/salesforce/ja3), and JA4 for clients
 * (github.com/FoxIO-LLC/ja4, technical_details/JA4.md).
 */
import { hash } from 'node:crypto'
import { isGrease } from './codes.ts'

/** What a ClientHello offers, as numbers in its order. */
export interface Offer {
  /** Of the message itself: 0x0303 in TLS 1.3, too. */
  legacyVersion: number
  /** In the extension of this name; empty without it. */
  supportedVersions: readonly number[]
  suites: readonly number[]
  extensions: readonly number[]
  groups: readonly number[]
  pointFormats: readonly number[]
  signatures: readonly number[]
  /** The first protocol of ALPN, as bytes; null without one. */
  protocol: Uint8Array | null
}

/** How the hello travelled, in JA4's letters: TCP, QUIC, DTLS. */
export type Carrier = 't' | 'q' | 'd'

/** version,suites,extensions,groups,point formats: decimal, with dashes, without GREASE. */
export function ja3Text({ legacyVersion, suites, extensions, groups, pointFormats }: Offer): string {
  return `${legacyVersion},${dashed(suites)},${dashed(extensions)},${dashed(groups)},${pointFormats.join('-')}`
}

/** version,suite,extensions */
export function ja3sText(version: number, suite: number, extensions: readonly number[]): string {
  return `${version},${suite},${dashed(extensions)}`
}

export function md5(text: string): string {
  return hash('md5', text)
}

/** `t13d1516h2_8daaf6152771_e5627efa2ab1` */
export function ja4(offer: Offer, carrier: Carrier): string {
  const { legacyVersion, supportedVersions, suites, extensions, signatures, protocol } = offer
  const version = JA4_VERSIONS.get(highest(supportedVersions) ?? legacyVersion) ?? '00'
  const destination = extensions.includes(SERVER_NAME) ? 'd' : 'i'
  const names = hexes(extensions).filter(name => name !== '0000' && name !== '0010')
  const counts = count(suites) + count(extensions)
  const first = `${carrier}${version}${destination}${counts}${ends(protocol)}`
  const tail = hexes(signatures)
  const last = names.sort().join(',') + (tail.length > 0 ? `_${tail.join(',')}` : '')
  return `${first}_${digest(hexes(suites).sort().join(','))}_${names.length === 0 ? NOTHING : digest(last)}`
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

function dashed(codes: readonly number[]): string {
  let text = ''
  for (const code of codes) if (!isGrease(code)) text += text === '' ? code : `-${code}`
  return text
}

function hexes(codes: readonly number[]): string[] {
  const found: string[] = []
  for (const code of codes) if (!isGrease(code)) found.push(code.toString(16).padStart(4, '0'))
  return found
}

/** Two digits, 99 for all that is more. */
function count(codes: readonly number[]): string {
  let sum = 0
  for (const code of codes) if (!isGrease(code)) sum++
  return String(Math.min(sum, 99)).padStart(2, '0')
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
