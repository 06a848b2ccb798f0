/**
 * Protection of Initial packets: its keys follow from what the client sends in clear, so that everybody on the way can
 * make them. RFC 9001, 5 and RFC 9369, 3.3.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import type { Side } from '../../dissector.ts'
import { encrypt } from './aes.ts'
import { type Block, blockOf, bytesOf, emptyBlock, Hmac, wordsOf } from './sha256.ts'

export interface Version {
  code: number
  /** `v1` */
  name: string
  salt: Hmac
  labels: Labels
  /** Types of long headers. */
  initial: number
  zeroRtt: number
  handshake: number
  retry: number
  retryKey: KeyObject
  retryNonce: Uint8Array
}

const V1 = { labels: labelsOf('quic'), initial: 0, zeroRtt: 1, handshake: 2, retry: 3 }

const VERSIONS: readonly Version[] = [
  {
    ...V1,
    code: 1,
    name: 'v1',
    salt: saltOf('38762cf7f55934b34d179ae6a4c80cadccbb7f0a'),
    retryKey: secretKey('be0c690b9f66575a1d766b54e368c84e'),
    retryNonce: hex('461599d35d632bf2239825bb'),
  },
  {
    code: 0x6b3343cf,
    name: 'v2',
    salt: saltOf('0dede3def700a6db819381be6e269dcbf9bd2ed9'),
    labels: labelsOf('quicv2'),
    initial: 1,
    zeroRtt: 2,
    handshake: 3,
    retry: 0,
    retryKey: secretKey('8fb4b01b56ac48e260fbcbcead7ccc92'),
    retryNonce: hex('d86969bc2d7c6d9990efb04a'),
  },
  {
    ...V1,
    code: 0xff00001d,
    name: 'draft-29',
    salt: saltOf('afbfec289993d24c9e9786f19c6111e04390a899'),
    retryKey: secretKey('ccce187ed09a09d05728155a6cb96be1'),
    retryNonce: hex('e54930f97f2136f0530a8c1c'),
  },
]

export function versionOf(code: number): Version | undefined {
  return VERSIONS.find(version => version.code === code)
}

/** `v1`, `draft-32`, `0xface0001` */
export function versionName(code: number): string {
  const known = versionOf(code)
  if (known !== undefined) return known.name
  return code >>> 8 === 0xff0000 ? `draft-${code & 0xff}` : `0x${code.toString(16).padStart(8, '0')}`
}

/** What one side's Initial packets are sealed with, in words. */
export interface Seal {
  /**
   * One character a byte. node:crypto asks of whatever is no string whether it is a KeyObject, which takes an exception
   * to find out, and to make one takes longer than to decrypt with it.
   */
  key: string
  iv: Int32Array
  /** Makes masks of samples. */
  hp: Int32Array
}

/** Of the connection whose client chose this id for the server. */
export class Seals {
  readonly version: Version
  private readonly initial = new Hmac()
  private client: Seal | null = null
  private server: Seal | null = null

  constructor(version: Version, connectionId: Uint8Array) {
    this.version = version
    this.initial.under(version.salt.of(blockOf(connectionId, BLOCK), SUM))
  }

  of(side: Side): Seal {
    this[side] ??= this.make(side)
    return this[side]
  }

  private make(side: Side): Seal {
    const { key, iv, hp } = this.version.labels
    SECRET.under(this.initial.of(SIDES[side], SUM))
    return {
      key: bytesOf(SECRET.of(key, SUM), KEY).toString('latin1'),
      iv: SECRET.of(iv, new Int32Array(8)),
      hp: SECRET.of(hp, new Int32Array(8)),
    }
  }
}

const BLOCK = emptyBlock()
const SUM = new Int32Array(8)
const SECRET = new Hmac()

/** What each key is made of, beside the secret. */
interface Labels {
  key: Block
  iv: Block
  hp: Block
}

function labelsOf(prefix: string): Labels {
  return { key: label(`${prefix} key`, 16), iv: label(`${prefix} iv`, 12), hp: label(`${prefix} hp`, 16) }
}

/** HKDF-Expand-Label (RFC 8446, 7.1) for at most 32 bytes: length(2) n(1) "tls13 " name n(1) = 0, then the round. */
function label(name: string, length: number): Block {
  const full = `tls13 ${name}`
  return blockOf(Buffer.from(`\0${String.fromCharCode(length, full.length)}${full}\0\x01`, 'latin1'))
}

const SIDES: Readonly<Record<Side, Block>> = { client: label('client in', 32), server: label('server in', 32) }

const SAMPLE = 16
const TAG = 16
/** The sample is taken as if the packet number had four bytes. */
const MOST_NUMBER = 4

/**
 * The frames of an Initial packet that begins at `start` with its packet number at `number` and ends at `end`; null if
 * these are not its keys, or not its bytes.
 */
export function unseal(seal: Seal, bytes: Uint8Array, start: number, number: number, end: number): Uint8Array | null {
  if (number + MOST_NUMBER + SAMPLE > end) return null
  encrypt(seal.hp, bytes, number + MOST_NUMBER, MASK)
  const mask = MASK[0]!
  const first = bytes[start]! ^ ((mask >>> 24) & 0x0f)
  const length = (first & 3) + 1
  const size = number + length - start
  const header = size <= LONGEST ? HEADERS[size]! : Buffer.allocUnsafeSlow(size)
  for (let i = 0; i < size; i++) header[i] = bytes[start + i]!
  header[0] = first
  bytesOf(seal.iv, NONCE)
  for (let i = 0; i < length; i++) {
    const byte = bytes[number + i]! ^ ((i < 3 ? mask >>> (16 - i * 8) : MASK[1]! >>> 24) & 0xff)
    header[size - length + i] = byte
    NONCE[NONCE.length - length + i]! ^= byte
  }
  const opening = createDecipheriv('aes-128-gcm', seal.key, NONCE, KEY_OPTIONS)
  opening.setAAD(header)
  for (let i = 0; i < TAG; i++) SUM_OF_ALL[i] = bytes[end - TAG + i]!
  opening.setAuthTag(SUM_OF_ALL)
  const frames = opening.update(bytes.subarray(number + length, end - TAG))
  try {
    opening.final()
  } catch {
    // The only thing that it complains of: the tag is another.
    return null
  }
  return frames
}

// What node:crypto is given lies outside of the heap from the beginning: a small array of its own would be moved there.
const KEY = Buffer.allocUnsafeSlow(16)
const NONCE = Buffer.allocUnsafeSlow(12)
const MASK = new Int32Array(4)
const KEY_OPTIONS = { encoding: 'latin1' } as const
const SUM_OF_ALL = Buffer.allocUnsafeSlow(TAG)
/** Only a token makes a header longer. */
const LONGEST = 128
const HEADER = Buffer.allocUnsafeSlow(LONGEST)
const HEADERS = Array.from({ length: LONGEST + 1 }, (_, size) => HEADER.subarray(0, size))

/** Whether the Retry packet is the answer to the client's first Initial packet (RFC 9001, 5.8). */
export function isRetry(version: Version, connectionId: Uint8Array, packet: Uint8Array): boolean {
  const sealing = createCipheriv('aes-128-gcm', version.retryKey, version.retryNonce)
  sealing.setAAD(Buffer.concat([Uint8Array.of(connectionId.length), connectionId, packet.subarray(0, -TAG)]))
  sealing.final()
  return sealing.getAuthTag().equals(packet.subarray(-TAG))
}

function saltOf(digits: string): Hmac {
  return new Hmac().under(wordsOf(hex(digits)))
}

function secretKey(digits: string): KeyObject {
  return createSecretKey(hex(digits))
}

function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}
