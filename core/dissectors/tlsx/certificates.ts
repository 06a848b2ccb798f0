/**
 * X.509 certificates (RFC 5280) as a handshake shows them: read by OpenSSL, and remembered, because a server shows the
 * same ones all day and reading one takes longer than the rest of its handshake.
 */
import { hash, X509Certificate } from 'node:crypto'
import { latin1 } from '../../cursor.ts'
import { constant } from '../../json-writer.ts'
import { Memo } from './memo.ts'

export interface Certificate {
  /** `CN=www.example.com, O=Example, C=US`: the most particular part first. Empty where only `names` say whose it is. */
  subject: string
  issuer: string
  /** Subject alternative names: DNS names, addresses, URIs. */
  names: string[]
  /** RFC 3339. */
  notBefore: string | null
  notAfter: string | null
  /** Hex. */
  serial: string
  /** `rsa`, `rsa-pss`, `ec`, `ed25519`, …; null for a key that OpenSSL does not know. */
  keyType: string | null
  /** Bits. */
  keySize: number | null
  curve: string | null
  signatureAlgorithm: string | null
  ca: boolean
  selfSigned: boolean
  /** SHA-256 of the certificate, hex. */
  fingerprint: string
  /** Bytes. */
  size: number
}

/** What is no certificate, or none that OpenSSL reads, is shown by its hash and size. */
export interface UnreadableCertificate {
  fingerprint: string
  size: number
}

export type Shown = Certificate | UnreadableCertificate

/** A stranger's certificates come by the thousand, one's own are few. */
const MAX_REMEMBERED = 500
/** Of names for a whole content network; a larger one is no certificate but an attack on whoever reads it. */
const MAX_SIZE = 65_536
const MAX_NAMES = 1000

/** A certificate with what items say of it, as JSON: written once, shown with every handshake. */
export interface Presented {
  shown: Shown
  text: Uint8Array
  /** ms since 1970. */
  notBefore: number
  notAfter: number
  /** Warnings that hold at any time. */
  flaws: readonly string[]
}

/** With all names of a content network it has some 8000 bytes; a stranger's largest ones would fill the memory. */
const MAX_REMEMBERED_SIZE = 16_384
/** The end of its signature. */
const TAIL = 32

interface Known {
  bytes: Uint8Array
  presented: Presented
}

const remembered = new Memo<Known>(MAX_REMEMBERED)

/** Found by the end of its signature, and compared: a hash of all takes longer than both. */
export function readCertificate(bytes: Uint8Array): Presented {
  const { length } = bytes
  if (length > MAX_REMEMBERED_SIZE) return present(bytes)
  const tail = latin1(bytes, Math.max(0, length - TAIL), length)
  const known = remembered.get(tail, () => ({ bytes: new Uint8Array(bytes), presented: present(bytes) }))
  return Buffer.compare(known.bytes, bytes) === 0 ? known.presented : present(bytes)
}

function present(bytes: Uint8Array): Presented {
  const shown = parse(bytes, hash('sha256', bytes))
  const { notBefore = null, notAfter = null } = isReadable(shown) ? shown : {}
  return {
    shown,
    text: constant(JSON.stringify(shown)),
    notBefore: notBefore === null ? Number.NEGATIVE_INFINITY : Date.parse(notBefore),
    notAfter: notAfter === null ? Number.POSITIVE_INFINITY : Date.parse(notAfter),
    flaws: isReadable(shown) ? flawsOf(shown) : [],
  }
}

export function isReadable(shown: Shown): shown is Certificate {
  return 'subject' in shown
}

/**
 * What is wrong with a chain, its server's own certificate in front, at a time in seconds since 1970. Whether
 * somebody trusts its end is not known here.
 */
export function chainWarnings(chain: readonly Presented[], seconds: number): string[] {
  const found: string[] = []
  const own = chain[0]?.shown
  if (own !== undefined && isReadable(own) && own.selfSigned) found.push('self-signed-certificate')
  for (const { notBefore, notAfter, flaws } of chain) {
    if (notAfter < seconds * 1000) add(found, 'certificate-expired')
    if (notBefore > seconds * 1000) add(found, 'certificate-not-yet-valid')
    for (const flaw of flaws) add(found, flaw)
  }
  return found
}

function add(found: string[], warning: string): void {
  if (!found.includes(warning)) found.push(warning)
}

function flawsOf({ keyType, keySize, signatureAlgorithm, selfSigned }: Certificate): string[] {
  const flaws: string[] = []
  if (keySize !== null && keySize < (LEAST_BITS.get(keyType ?? '') ?? 0)) flaws.push('weak-key')
  // Nobody checks the signature of a root.
  if (!selfSigned && BROKEN_HASH.test(signatureAlgorithm ?? '')) flaws.push('weak-signature')
  return flaws
}

/** NIST SP 800-131A, of 2019. */
const LEAST_BITS = new Map([
  ['rsa', 2048],
  ['rsa-pss', 2048],
  ['dsa', 2048],
  ['ec', 224],
])
const BROKEN_HASH = /md2|md4|md5|sha1(?!\d)/i

function parse(bytes: Uint8Array, fingerprint: string): Shown {
  const unreadable = { fingerprint, size: bytes.length }
  if (bytes.length > MAX_SIZE) return unreadable
  let x509: X509Certificate
  try {
    x509 = new X509Certificate(bytes)
  } catch {
    // OpenSSL has as many ways of saying no as there are ways of being no certificate.
    return unreadable
  }
  return {
    subject: oneLine(x509.subject),
    issuer: oneLine(x509.issuer),
    names: alternativeNames(x509.subjectAltName ?? ''),
    notBefore: rfc3339(x509.validFrom, x509.validFromDate),
    notAfter: rfc3339(x509.validTo, x509.validToDate),
    serial: x509.serialNumber.toLowerCase(),
    ...describeKey(x509),
    signatureAlgorithm: x509.signatureAlgorithm ?? null,
    ca: x509.ca,
    selfSigned: x509.subject === x509.issuer && x509.checkIssued(x509),
    fingerprint,
    size: bytes.length,
  }
}

function describeKey(x509: X509Certificate): Pick<Certificate, 'keyType' | 'keySize' | 'curve'> {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = x509.publicKey
    const curve = asymmetricKeyDetails?.namedCurve ?? null
    const keySize = asymmetricKeyDetails?.modulusLength ?? (curve === null ? null : (CURVE_BITS.get(curve) ?? null))
    return { keyType: asymmetricKeyType ?? null, keySize, curve }
  } catch {
    // A key of a kind that OpenSSL was not built with.
    return { keyType: null, keySize: null, curve: null }
  }
}

const CURVE_BITS = new Map([
  ['prime192v1', 192],
  ['secp224r1', 224],
  ['prime256v1', 256],
  ['secp256k1', 256],
  ['brainpoolP256r1', 256],
  ['secp384r1', 384],
  ['brainpoolP384r1', 384],
  ['brainpoolP512r1', 512],
  ['secp521r1', 521],
])

/** OpenSSL writes one part a line, the most general one first. */
function oneLine(name: string | undefined): string {
  return (name ?? '').split('\n').reverse().join(', ')
}

/** What OpenSSL cannot read as a time, it says in words; the date is anything then. */
function rfc3339(words: string, date: Date): string | null {
  return words === BAD_TIME || Number.isNaN(date.getTime()) ? null : date.toISOString()
}

const BAD_TIME = 'Bad time value'

/** `DNS:a.test, IP Address:10.0.0.1, DirName:"CN = a\, b"`: a value that could be misread is quoted as in JSON. */
function alternativeNames(text: string): string[] {
  const names: string[] = []
  for (const [, quoted, plain] of text.matchAll(/[A-Za-z ]+:(?:("(?:[^"\\]|\\.)*")|([^,]*))(?:, |$)/g)) {
    if (names.length === MAX_NAMES) break
    names.push(quoted === undefined ? plain! : unquote(quoted))
  }
  return names
}

function unquote(text: string): string {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
