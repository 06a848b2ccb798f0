/**
 * ServerHello: RFC 8446, 4.1.3, RFC 5246, 7.4.1.3.
 *
 *   version(2) random(32) n(1) session id(n) suite(2) compression(1) [n(2) extensions(n)]
 */
import type { Cursor } from '../../cursor.ts'
import { isTls13 } from './codes.ts'
import { hex, readExtensions, readProtocols, readSessionId } from './extensions.ts'
import { ja3sText } from './fingerprints.ts'

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
