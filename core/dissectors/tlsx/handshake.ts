/**
 * What both sides say until they encrypt: messages of the handshake, in whatever records or datagrams they come, put
 * together to the answer that an item shows.
 *
 *   type(1) length(3) body(length)
 */
import { type Cursor, Malformed } from '../../cursor.ts'
import type { Side, Summary } from '../../dissector.ts'
import type { ItemError, Json } from '../../item.ts'
import { type Fields, flag, json, listOf, number, orNull, plain, shapeOf, text } from '../../json-shape.ts'
import { constant, JsonWriter } from '../../json-writer.ts'
import { chainWarnings, type Presented, readCertificate, type Shown } from './certificates.ts'
import { alertName, groupName, signatureName } from './codes.ts'
import type { Hello, Offered } from './hello.ts'
import { type Named, NO_EXTENSIONS, names } from './lists.ts'
import { type Choice, readDraftRetry, readServerHello, type ServerHello } from './server-hello.ts'

/**
 * How the handshake went. In TLS 1.3 all behind ServerHello is encrypted, and with it certificates, ALPN and what
 * became of early data: there `certificates` is empty and `alpn` null. Of a handshake that was cut short by lost
 * packets there are only the fields that were seen.
 */
export interface HandshakeAnswer {
  /** That the server chose: `TLS 1.2`. null where it did not get so far. */
  version: string | null
  /** As a number: 771 for TLS 1.2. */
  versionCode: number | null
  cipherSuite: string | null
  cipherSuiteCode: number | null
  compressionMethod: string | null
  random: string | null
  sessionId: string | null
  /** null also where it is encrypted, as in TLS 1.3. */
  alpn: string | null
  extensions: string[]
  /** Of the key exchange: `x25519`, `dh-2048`. */
  group: string | null
  /** With which the server signs its part of the key exchange, up to TLS 1.2. */
  signatureAlgorithm: string | null
  /** The client had to begin again: with which group, and whether with a cookie. */
  helloRetryRequest: { group: string | null } | null
  /** `full`; or what of an earlier session both went on with: `session-id`, `ticket`, `psk`. */
  resumption: string | null
  /** The server's own in front. */
  certificates: Shown[]
  /** The server sent an OCSP response with them. */
  ocspStapled: boolean
  clientCertificateRequested: boolean
  clientCertificates: Shown[]
  /** Seconds for which the server lets the client keep the ticket that it gave out in clear, null without one. */
  sessionTicketLifetime: number | null
  ja3s: string | null
  ja3sText: string | null
  alerts: Alert[]
  /** Both sides went over to encryption. */
  encrypted: boolean
  /**
   * `deprecated-version`, `weak-cipher-suite`, `weak-key-exchange`, `weak-key`, `weak-signature`,
   * `certificate-expired`, `certificate-not-yet-valid`, `self-signed-certificate`.
   */
  warnings: string[]
}

export interface Alert {
  from: Side
  level: 'warning' | 'fatal'
  /** `handshake_failure` */
  description: string
  code: number
}

/** One handshake, from its ClientHello on. */
export interface Handshake {
  /** The client's random number: no two handshakes have the same. undefined where the hello was not seen. */
  key: string | undefined
  offer: Offered | null
  hello: ServerHello | null
  retry: ServerHello | null
  certificates: Presented[] | null
  ocspStapled: boolean
  group: string | null
  signature: string | null
  certificateRequested: boolean
  clientCertificates: Presented[] | null
  /** The client has sent its part of the key exchange: it had the server's last message. */
  exchanged: boolean
  ticketLifetime: number | null
  /** The server's last message before it encrypts, if all came. */
  done: boolean
  alerts: Alert[]
  problem: string | null
  /** Bytes of the server so far. */
  size: number
}

export function beginHandshake(hello: Hello | null): Handshake {
  return {
    key: hello?.random,
    offer: hello?.offer.offered ?? null,
    hello: null,
    retry: null,
    certificates: null,
    ocspStapled: false,
    group: null,
    signature: null,
    certificateRequested: false,
    clientCertificates: null,
    exchanged: false,
    ticketLifetime: null,
    done: false,
    alerts: [],
    problem: null,
    size: 0,
  }
}

/** A chain has three or four; a server that sends more is not shown more of. */
const MAX_CERTIFICATES = 10
/** Only somebody who plays sends more of them. */
const MAX_ALERTS = 10

export const CLIENT_HELLO = 1
export const SERVER_HELLO = 2
export const NEW_SESSION_TICKET = 4
export const HELLO_VERIFY_REQUEST = 3
export const HELLO_RETRY_REQUEST = 6
export const CERTIFICATE = 11
export const SERVER_KEY_EXCHANGE = 12
export const CERTIFICATE_REQUEST = 13
export const SERVER_HELLO_DONE = 14
export const CLIENT_KEY_EXCHANGE = 16
export const CERTIFICATE_STATUS = 22

/** Takes one message of the server into the handshake; a message that cannot be read is named in `problem`. */
export function takeServerMessage(handshake: Handshake, type: number, body: Cursor): void {
  take(handshake, type, SERVER_MESSAGES.get(type), body)
}

export function takeClientMessage(handshake: Handshake, type: number, body: Cursor): void {
  take(handshake, type, CLIENT_MESSAGES.get(type), body)
}

export function takeAlert(handshake: Handshake, from: Side, level: number, code: number): void {
  if (handshake.alerts.length === MAX_ALERTS) return
  handshake.alerts.push({ from, level: level === FATAL ? 'fatal' : 'warning', description: alertName(code), code })
}

export const FATAL = 2

type Taking = (handshake: Handshake, body: Cursor) => void

function take(handshake: Handshake, type: number, taking: Taking | undefined, body: Cursor): void {
  try {
    taking?.(handshake, body)
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    handshake.problem ??= `handshake message ${type}: ${cause.reason}`
  }
}

const SERVER_MESSAGES = new Map<number, Taking>([
  [SERVER_HELLO, takeServerHello],
  [HELLO_RETRY_REQUEST, (handshake, body) => (handshake.retry = readDraftRetry(body))],
  [CERTIFICATE, (handshake, body) => (handshake.certificates ??= readChain(body))],
  [CERTIFICATE_STATUS, handshake => (handshake.ocspStapled = true)],
  [SERVER_KEY_EXCHANGE, takeKeyExchange],
  [CERTIFICATE_REQUEST, handshake => (handshake.certificateRequested = true)],
  [SERVER_HELLO_DONE, handshake => (handshake.done = true)],
  [NEW_SESSION_TICKET, (handshake, body) => (handshake.ticketLifetime = body.u32())],
])

const CLIENT_MESSAGES = new Map<number, Taking>([
  [CERTIFICATE, (handshake, body) => (handshake.clientCertificates ??= readChain(body))],
  [CLIENT_KEY_EXCHANGE, handshake => (handshake.exchanged = true)],
])

function takeServerHello(handshake: Handshake, body: Cursor): void {
  const hello = readServerHello(body)
  if (hello.retry) handshake.retry = hello
  else handshake.hello = hello
  handshake.problem ??= hello.choice.problem
}

/** n(3) of: n(3) certificate(n) */
function readChain(body: Cursor): Presented[] {
  const chain: Presented[] = []
  const list = body.within(body.u24())
  while (list.remaining > 0 && chain.length < MAX_CERTIFICATES) chain.push(readCertificate(list.view(list.u24())))
  return chain
}

const NAMED_CURVE = 3

/**
 * RFC 8422, 5.4 and RFC 5246, 7.4.3. Up to TLS 1.1 the signature does not say how it was made.
 *
 *   ECDHE:   [n(2) hint(n)] type(1) = 3 curve(2) n(1) point(n) [scheme(2) n(2) signature(n)]
 *   DHE:     [n(2) hint(n)] n(2) p(n) n(2) g(n) n(2) public key(n) [scheme(2) n(2) signature(n)]
 */
function takeKeyExchange(handshake: Handshake, body: Cursor): void {
  const { hello } = handshake
  if (hello === null) return
  const { suiteName: suite, version } = hello.choice
  const elliptic = suite.startsWith('TLS_ECDH')
  if (!elliptic && !suite.startsWith('TLS_DH')) return
  if (suite.includes('PSK')) body.skip(body.u16())
  if (elliptic) {
    if (body.u8() !== NAMED_CURVE) return
    handshake.group = groupName(body.u16())
    body.skip(body.u8())
  } else {
    handshake.group = `dh-${bits(body.view(body.u16()))}`
    body.skip(body.u16())
    body.skip(body.u16())
  }
  if ((version === 0x0303 || version === 0xfefd) && body.remaining >= 2) handshake.signature = signatureName(body.u16())
}

/** Of a number in network order. */
function bits(bytes: Uint8Array): number {
  const first = bytes.findIndex(byte => byte !== 0)
  return first < 0 ? 0 : (bytes.length - first) * 8 - (Math.clz32(bytes[first]!) - 24)
}

// ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Both went over to encryption; one gave up before; or nobody knows, because packets are missing. */
export type Outcome = 'encrypted' | 'given-up' | 'unknown'

/**
 * The handshake as far as it went, as an object that is not closed yet: other protocols have more to say. `seconds` since
 * 1970 is when.
 */
export function writeAnswer(out: JsonWriter, handshake: Handshake, outcome: Outcome, seconds: number): void {
  if (outcome === 'encrypted' && isOrdinary(handshake)) writeOrdinary(out, handshake.hello)
  else {
    const whole = answerOf(handshake, outcome === 'encrypted', seconds)
    writeAnswered(out, outcome === 'unknown' ? partOf(whole) : whole)
    out.length--
  }
}

/** As it is put together: what many handshakes share knows its text. */
interface Answered extends Omit<HandshakeAnswer, 'extensions' | 'certificates' | 'clientCertificates'> {
  extensions: Named
  certificates: readonly Presented[]
  clientCertificates: readonly Presented[]
}

const CHOSEN: Fields<Pick<Answered, Chosen>> = {
  version: orNull(plain),
  versionCode: orNull(number),
  cipherSuite: orNull(plain),
  cipherSuiteCode: orNull(number),
  compressionMethod: orNull(plain),
}
type Chosen = 'version' | 'versionCode' | 'cipherSuite' | 'cipherSuiteCode' | 'compressionMethod'

const OWN: Fields<Pick<Answered, Own>> = { random: orNull(plain), sessionId: orNull(plain) }
type Own = 'random' | 'sessionId'

const OTHERS: Fields<Omit<Answered, Chosen | Own>> = {
  alpn: orNull(text),
  extensions: names,
  group: orNull(plain),
  signatureAlgorithm: orNull(plain),
  helloRetryRequest: orNull(json),
  resumption: orNull(plain),
  certificates: listOf(presented),
  ocspStapled: flag,
  clientCertificateRequested: flag,
  clientCertificates: listOf(presented),
  sessionTicketLifetime: orNull(number),
  ja3s: orNull(plain),
  ja3sText: orNull(plain),
  alerts: listOf(json),
  encrypted: flag,
  warnings: listOf(plain),
}

const writeAnswered = shapeOf<Partial<Answered>>({ ...CHOSEN, ...OWN, ...OTHERS })

function presented(out: JsonWriter, { text }: Presented): void {
  out.raw(text)
}

function answerOf(handshake: Handshake, encrypted: boolean, seconds: number): Answered {
  const { hello, retry, certificates, clientCertificates, alerts } = handshake
  const choice = hello?.choice ?? null
  return {
    version: choice === null ? null : choice.versionName,
    versionCode: choice === null ? null : choice.version,
    cipherSuite: choice === null ? null : choice.suiteName,
    cipherSuiteCode: choice === null ? null : choice.suite,
    compressionMethod: choice === null ? null : choice.compressionName,
    random: hello === null ? null : hello.random,
    sessionId: hello === null ? null : hello.sessionId,
    alpn: choice === null ? null : choice.alpn,
    extensions: choice === null ? NO_EXTENSIONS : choice.extensions,
    group: handshake.group ?? (choice === null ? null : choice.group),
    signatureAlgorithm: handshake.signature,
    helloRetryRequest: retry === null ? null : { group: retry.choice.group },
    resumption: hello === null ? null : resumption(handshake, hello.choice, encrypted),
    certificates: certificates ?? [],
    ocspStapled: handshake.ocspStapled,
    clientCertificateRequested: handshake.certificateRequested,
    clientCertificates: clientCertificates ?? [],
    sessionTicketLifetime: handshake.ticketLifetime,
    ja3s: choice === null ? null : choice.ja3s,
    ja3sText: choice === null ? null : choice.ja3sText,
    alerts,
    encrypted,
    warnings: warnings(handshake, seconds),
  }
}

/**
 * Up to TLS 1.2 the server goes straight on to encryption when it remembers. A client that shows a ticket makes up a
 * session id, so as to know by its return that the ticket was taken (RFC 5077, 3.4).
 */
function resumption(handshake: Handshake, choice: Choice, encrypted: boolean): string | null {
  if (choice.tls13) return choice.preSharedKey ? 'psk' : 'full'
  if (handshake.done || handshake.exchanged || handshake.certificates !== null) return 'full'
  if (!encrypted) return null
  const { offer } = handshake
  if (offer === null) return null
  return (offer.sessionTicket ?? 0) > 0 ? 'ticket' : 'session-id'
}

const LEAST_DH_BITS = 2048

function warnings({ hello, group, certificates }: Handshake, seconds: number): string[] {
  if (hello === null) return []
  const found = [...hello.choice.warnings]
  if (group?.startsWith('dh-') && Number(group.slice(3)) < LEAST_DH_BITS) found.push('weak-key-exchange')
  if (certificates !== null) found.push(...chainWarnings(certificates, seconds))
  return found
}

/** Only what was seen: what was lost may have said more. */
function partOf(whole: Answered): Partial<Answered> {
  const { encrypted: _, resumption: __, ...seen } = whole
  return Object.fromEntries(Object.entries(seen).filter(([, value]) => value !== null && value !== false))
}

// ── most handshakes of TLS 1.3 ──────────────────────────────────────────────────────────────────────────────────────

/** Nothing is its own but random number and session id. */
function isOrdinary(handshake: Handshake): handshake is Handshake & { hello: ServerHello } {
  const { hello, retry, group, certificates, clientCertificates, ocspStapled, certificateRequested, alerts } = handshake
  return (
    hello?.choice.tls13 === true &&
    retry === null &&
    group === null &&
    certificates === null &&
    clientCertificates === null &&
    !ocspStapled &&
    !certificateRequested &&
    handshake.signature === null &&
    handshake.ticketLifetime === null &&
    alerts.length === 0
  )
}

function writeOrdinary(out: JsonWriter, { choice, random, sessionId }: ServerHello): void {
  choice.texts ??= textsOf(choice)
  out.raw(choice.texts.head)
  out.raw(RANDOM)
  out.plain(random)
  out.raw(SESSION_ID)
  out.plain(sessionId)
  out.raw(choice.texts.tail)
}

const RANDOM = constant(',"random":')
const SESSION_ID = constant(',"sessionId":')

function textsOf(choice: Choice): { head: Uint8Array; tail: Uint8Array } {
  const handshake = beginHandshake(null)
  handshake.hello = { random: '', sessionId: '', retry: false, choice }
  const answered = answerOf(handshake, true, 0)
  const out = new JsonWriter(2048)
  writeChosen(out, answered)
  const behind = out.length
  writeOthers(out, answered)
  out.bytes[behind] = COMMA
  return {
    head: new Uint8Array(out.bytes.subarray(0, behind - 1)),
    tail: new Uint8Array(out.bytes.subarray(behind, out.length - 1)),
  }
}

const COMMA = 0x2c
const writeChosen = shapeOf(CHOSEN)
const writeOthers = shapeOf(OTHERS)

// ── in short ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One line for a table: the server's name, and how it went. */
export function summarizeHandshake(request: Json | null, response: Json | null): Summary {
  const refused = response?.alerts?.find((alert: Json) => alert.level === 'fatal')
  return {
    method: request === null ? 'ServerHello' : 'ClientHello',
    summary: request?.sni ?? response?.alpn ?? request?.alpn[0] ?? response?.cipherSuite ?? '',
    status: refused?.description ?? response?.version ?? '',
  }
}

/** What the alerts say went wrong, null where nothing did. */
export function failureOf({ alerts }: Handshake): ItemError | null {
  const fatal = alerts.find(({ level }) => level === 'fatal')
  if (fatal === undefined) return null
  return { type: 'connection', msg: `the ${fatal.from} gave up: ${fatal.description} (alert ${fatal.code})` }
}
