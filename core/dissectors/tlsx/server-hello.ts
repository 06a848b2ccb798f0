/**
 * ServerHello: RFC 8446, 4.1.3, RFC 5246, 7.4.1.3.
 *
 *   version(2) random(32) n(1) session id(n) suite(2) compression(1) [n(2) extensions(n)]
 */
import { type Cursor, Malformed } from '../../cursor.ts'
import { cipherSuiteName, isWeakSuite } from './cipher-suites.ts'
import { compressionName, groupName, isDeprecated, isTls13, versionName } from './codes.ts'
import { Essence } from './essence.ts'
import { readExtensions, readHex, readProtocols, readSessionId } from './extensions.ts'
import { ja3s } from './fingerprints.ts'
import { extensionsOf, type Named } from './lists.ts'
import { Memo } from './memo.ts'

/** A ServerHello: what is its own, and what it has in common with others. */
export interface ServerHello {
  /** Hex, as in ClientHello. */
  random: string
  sessionId: string
  /** It is none: the client is to begin again (RFC 8446, 4.1.4). */
  retry: boolean
  choice: Choice
}

/** What the server chose, and what that is called. */
export interface Choice {
  version: number
  versionName: string
  /** All behind it is encrypted. */
  tls13: boolean
  suite: number
  suiteName: string
  compressionName: string
  extensions: Named
  alpn: string | null
  /** Of the key share, or the one that a HelloRetryRequest asks for. */
  group: string | null
  /** The offered pre-shared key was taken. */
  preSharedKey: boolean
  ja3s: string
  ja3sText: string
  /** `deprecated-version`, `weak-cipher-suite` */
  warnings: readonly string[]
  /** A part that could not be read; the others are there. */
  problem: string | null
  /** Of answers that say nothing of their own but random number and session id: what is before these and behind. */
  texts: { head: Uint8Array; tail: Uint8Array } | null
}

/** SHA-256 of "HelloRetryRequest". */
const RETRY = 'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'
/** Up to here drafts of TLS 1.3 left out what nobody needs any more. */
const LAST_SHORT_DRAFT = 0x7f15
/** Of servers and what their clients make them choose there are some hundreds. */
const MAX_REMEMBERED = 500
const remembered = new Memo<Choice>(MAX_REMEMBERED)

export function readServerHello(at: Cursor): ServerHello {
  const legacyVersion = at.u16()
  const random = readHex(at, 32)
  const short = legacyVersion >> 8 === 0x7f && legacyVersion <= LAST_SHORT_DRAFT
  const sessionId = short ? '' : readSessionId(at)
  const suite = at.u16()
  const compression = short ? 0 : at.u8()
  const { position } = at
  const essence = essenceOf(at, legacyVersion, suite, compression)
  const choiceOf = () => {
    at.position = position
    return readChoice(at, legacyVersion, suite, compression)
  }
  const choice = essence === null ? choiceOf() : remembered.get(essence, choiceOf)
  return { random, sessionId, retry: random === RETRY, choice }
}

/** HelloRetryRequest as drafts of TLS 1.3 had it: version(2) [suite(2), from draft 19] n(2) extensions(n). */
export function readDraftRetry(at: Cursor): ServerHello {
  const version = at.u16()
  if (!isTls13(version)) at.fail(`a version of TLS 1.3, found ${version}`)
  const suite = version >= 0x7f13 ? at.u16() : 0
  return { random: '', sessionId: '', retry: true, choice: readChoice(at, version, suite, 0) }
}

/** All that `readChoice` goes by, so written that no two choices are written the same; null where it cannot be read. */
function essenceOf(at: Cursor, legacyVersion: number, suite: number, compression: number): string | null {
  ESSENCE.begin()
  ESSENCE.u16(legacyVersion)
  ESSENCE.u16(suite)
  ESSENCE.u8(compression)
  try {
    if (at.remaining > 0) {
      const list = at.within(at.u16())
      while (list.remaining > 0) {
        const type = list.u16()
        const length = list.u16()
        list.need(length)
        const next = list.position + length
        ESSENCE.u16(type)
        const most = SERVER_EXTENSIONS.get(type)?.most
        if (most !== undefined) {
          const count = Math.min(most, length)
          ESSENCE.u16(count)
          ESSENCE.take(list, count)
        }
        list.position = next
      }
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    return null
  }
  return ESSENCE.text
}

const ESSENCE = new Essence()

function readChoice(at: Cursor, legacyVersion: number, suite: number, compression: number): Choice {
  const found: Found = { version: legacyVersion, alpn: null, group: null, preSharedKey: false }
  const types: number[] = []
  const problem = readExtensions(at, types, (type, data) => SERVER_EXTENSIONS.get(type)?.read(data, found))
  const { version, alpn, group, preSharedKey } = found
  const warnings: string[] = []
  if (isDeprecated(version)) warnings.push('deprecated-version')
  if (isWeakSuite(suite)) warnings.push('weak-cipher-suite')
  return {
    version,
    versionName: versionName(version),
    tls13: isTls13(version),
    suite,
    suiteName: cipherSuiteName(suite),
    compressionName: compressionName(compression),
    extensions: extensionsOf(types),
    alpn,
    group: group === null ? null : groupName(group),
    preSharedKey,
    ...ja3s(legacyVersion, suite, types),
    warnings,
    problem,
    texts: null,
  }
}

interface Found {
  version: number
  alpn: string | null
  group: number | null
  preSharedKey: boolean
}

interface Extension {
  read: (data: Cursor, found: Found) => unknown
  /** So many bytes at most are what `read` goes by; absent: none. */
  most?: number
}

const ALL = 0xffff
const SERVER_EXTENSIONS = new Map<number, Extension>([
  [16, { read: (data, found) => (found.alpn = readProtocols(data.within(data.u16()))[0] ?? null), most: ALL }],
  [40, { read: readServerShare, most: 2 }],
  [41, { read: (_, found) => (found.preSharedKey = true) }],
  [43, { read: (data, found) => (found.version = data.u16()), most: 2 }],
  [51, { read: readServerShare, most: 2 }],
])

function readServerShare(data: Cursor, found: Found): void {
  found.group = data.u16()
}
