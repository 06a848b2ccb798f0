/**
 * Handshakes of TLS: SSL 3.0 (RFC 6101), TLS 1.0 to 1.3 (RFC 2246, 4346, 5246, 8446), and the hello of SSL 2.0 that asks
 * for them. One item per handshake; all behind it is `encrypted`.
 *
 *   record: type(1) version(2) length(2) fragment(length)      messages of the handshake flow through records of type 22
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Side } from '../dissector.ts'
import type { ItemError } from '../item.ts'
import {
  beginHandshake,
  CLIENT_HELLO,
  FATAL,
  failureOf,
  type Handshake,
  HELLO_RETRY_REQUEST,
  type Outcome,
  SERVER_HELLO,
  summarizeHandshake,
  takeAlert,
  takeClientMessage,
  takeServerMessage,
  writeAnswer,
} from './tlsx/handshake.ts'
import { type Hello, type Offered, randomOf, readClientHello, readSsl2Hello, writeHello } from './tlsx/hello.ts'
import { Messages } from './tlsx/messages.ts'

export type { Certificate } from './tlsx/certificates.ts'
export type { Alert, HandshakeAnswer } from './tlsx/handshake.ts'
export type { ClientHello } from './tlsx/hello.ts'

export const dissector: Dissector<Session> = {
  name: 'tlsx',
  title: 'Transport Layer Security',
  abbr: 'TLS',
  version: '',
  color: '#00838f',
  reference: 'https://www.rfc-editor.org/rfc/rfc8446',
  transports: ['tcp'],
  ports: [443, 8443, 6443, 2379, 2380, 10250, 853, 465, 993, 995, 636, 5671, 8883, 9443],
  priority: 3,
  // The client's random number.
  keyed: true,
  aliases: ['tls'],
  // A handshake in a record of SSL 3.0 or later.
  opening: [22, 3],
  open: where => ({ handshake: null, clientEncrypts: false, late: where === 'middle' }),
  probe,
  read,
  end,
  summarize: summarizeHandshake,
}

export interface Session {
  /** The one whose answer is awaited. */
  handshake: Handshake | null
  clientEncrypts: Flight['encrypts']
  /** Something came before it that was not captured: perhaps a first hello. */
  late: boolean
}

/** What a side has said of its handshake so far. */
interface Flight {
  handshake: Handshake | null
  messages: Messages
  /** It has announced that it encrypts from now on; `perhaps`: or that means nothing, as in TLS 1.3. */
  encrypts: boolean | 'perhaps'
}

const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const HANDSHAKE = 22
const APPLICATION_DATA = 23
const HEARTBEAT = 24

const HEADER = 5
/** RFC 5246, 6.2.3: compressed and encrypted it may be 2048 bytes longer than in clear. */
const MAX_RECORD = 16_384 + 2048
/** A message authentication code or tag alone is this long. */
const LEAST_ENCRYPTED = 16
/** Bytes that are looked at to see whether they are as random as encrypted ones are. */
const SAMPLE = 256
/** Of 256 random bytes 162 are different on average, fewer than 130 once in 10^8; text and numbers have far fewer. */
const LEAST_DIFFERENT = 130

function probe(at: Cursor, from: Side, ctx: Context<Session>): boolean {
  const first = at.peek()
  if (first >= 0x80) return from === 'client' && isSsl2Hello(at)
  const start = at.position
  if (first === HANDSHAKE && isHello(at, from)) return true
  at.position = start
  if (first === APPLICATION_DATA) return isEncrypted(at)
  // Somewhere between hello and encryption: only where nothing is known of the connection, else it is too little.
  return ctx.state === undefined && (first === HANDSHAKE || first === CHANGE_CIPHER_SPEC) && isRow(at)
}

function read(at: Cursor, ctx: Context<Session>): Message | null {
  const first = at.peek()
  if (ctx.from === 'client') return first >= 0x80 ? readOldHello(at, ctx) : readClient(at, ctx)
  const flight = (at.progress as Flight | null) ?? beginFlight(ctx)
  if (first < CHANGE_CIPHER_SPEC || first > HEARTBEAT) return refuse(at, flight, ctx)
  return readServer(at, ctx, flight)
}

/** The server's side ends within a handshake. */
function end(at: Cursor, ctx: Context<Session>, why: Ending): Message | null {
  const flight = at.progress as Flight | null
  if (ctx.from === 'client' || flight === null || flight.handshake === null) return null
  const { handshake } = flight
  if (handshake.hello === null && handshake.retry === null && handshake.alerts.length === 0) return null
  const missing = why === 'lost' || why === 'capture-ended' || why === 'idle'
  const outcome = missing ? 'unknown' : 'given-up'
  const error: ItemError = { type: missing ? 'dissection' : 'connection', msg: ENDINGS[why] }
  return { ...answer(handshake, outcome, ctx), failed: !missing, error: failureOf(handshake) ?? error }
}

const ENDINGS: Readonly<Record<Ending, string>> = {
  closed: 'closed before the handshake was complete',
  reset: 'reset before the handshake was complete',
  lost: 'packets are missing from the capture',
  idle: 'silence before the handshake was complete',
  'capture-ended': 'the capture ends before the handshake was complete',
}

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

function readClient(at: Cursor, ctx: Context<Session>): Message | null {
  const { state } = ctx
  const flight: Flight = (at.progress as Flight | null) ?? {
    handshake: null,
    messages: new Messages(),
    encrypts: state.clientEncrypts,
  }
  const start = at.position
  const { type, body } = readRecord(at)
  switch (type) {
    case HANDSHAKE:
      if (flight.encrypts === false || (flight.encrypts === 'perhaps' && body.peek() === CLIENT_HELLO)) {
        flight.messages.add(body)
        for (let message = flight.messages.next(); message !== null; message = flight.messages.next()) {
          if (message.type === CLIENT_HELLO) {
            const request = takeHello(message.body, ctx)
            if (request !== null) return request
          } else if (state.handshake !== null) takeClientMessage(state.handshake, message.type, message.body)
        }
      }
      break
    case CHANGE_CIPHER_SPEC:
      // In TLS 1.3 a second hello may follow it. Which version it is, the server's hello tells.
      flight.encrypts = state.handshake?.hello != null || 'perhaps'
      state.clientEncrypts = flight.encrypts
      break
    case ALERT:
      if (flight.encrypts !== true && body.remaining === 2 && state.handshake !== null) {
        const level = body.u8()
        takeAlert(state.handshake, 'client', level, body.u8())
        if (level === FATAL) return { ...conclude(state.handshake, ctx, false), size: state.handshake.size }
      }
      break
    case APPLICATION_DATA:
      // Early data, or a client that does not wait for the server's Finished (RFC 7918).
      if (state.handshake === null) {
        at.position = start
        return NOTHING_TO_READ
      }
      break
  }
  at.commit(flight, flight.messages.retain())
  return null
}

/** A second hello with the same random number is the answer to a HelloRetryRequest: null. */
function takeHello(body: Cursor, ctx: Context<Session>): Message | null {
  const { handshake } = ctx.state
  if (handshake !== null && handshake.key === randomOf(body)) return null
  return request(readClientHello(body, 't'), ctx)
}

/** length(2), its upper bit set; type(1) = 1; the hello */
function readOldHello(at: Cursor, ctx: Context<Session>): Message {
  const length = at.u16() & 0x7fff
  const body = at.within(length)
  const type = body.u8()
  if (type !== CLIENT_HELLO) body.fail(`a ClientHello of SSL 2.0, found message ${type}`)
  return request(readSsl2Hello(body), ctx)
}

function request(hello: Hello, { state, out }: Context<Session>): Message {
  state.handshake = beginHandshake(hello)
  state.clientEncrypts = false
  writeHello(out, hello)
  out.byte(CLOSE)
  const message: Message = { kind: 'request', key: hello.random, body: out.since(0) }
  const { problem } = hello.offer
  if (problem !== null) message.error = { type: 'dissection', msg: problem }
  return message
}

/** Of an object. */
const CLOSE = 0x7d

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

function beginFlight({ state }: Context<Session>): Flight {
  return { handshake: expected(state), messages: new Messages(), encrypts: false }
}

/** Whose answer comes next; null also where that is not certain. */
function expected({ handshake, late }: Session): Handshake | null {
  return late && handshake?.offer != null && mayBeSecond(handshake.offer) ? null : handshake
}

/**
 * Whether it looks like a hello that a HelloRetryRequest asked for: that has one key share, for a group that the client
 * would not have chosen by itself, or a cookie (RFC 8446, 4.1.2). The item is about the first one.
 */
function mayBeSecond({ groups, keyShares, extensions }: Offered): boolean {
  if (extensions.names.includes('cookie')) return true
  const shares = keyShares.filter(group => group !== 'GREASE')
  return shares.length === 1 && shares[0] !== groups.names.find(group => group !== 'GREASE')
}

function readServer(at: Cursor, ctx: Context<Session>, flight: Flight): Message | null {
  const start = at.position
  const { type, body } = readRecord(at)
  const { handshake } = flight
  if (handshake !== null) handshake.size += HEADER + body.remaining
  switch (type) {
    case HANDSHAKE: {
      if (flight.encrypts) return conclude(handshake!, ctx, true)
      const hello = takeServerMessages(flight, ctx.state, body)
      if (hello?.choice.tls13) return conclude(flight.handshake!, ctx, true)
      break
    }
    case CHANGE_CIPHER_SPEC:
      if (handshake?.hello != null) flight.encrypts = true
      // A HelloRetryRequest may be followed by one that means nothing.
      else if (handshake?.retry == null) {
        at.position = start
        return NOTHING_TO_READ
      }
      break
    case ALERT:
      if (!flight.encrypts && body.remaining === 2 && handshake !== null) {
        const level = body.u8()
        takeAlert(handshake, 'server', level, body.u8())
        if (level === FATAL) return conclude(handshake, ctx, false)
      }
      break
    case APPLICATION_DATA:
      if (handshake?.hello != null) return conclude(handshake, ctx, true)
      at.position = start
      return NOTHING_TO_READ
  }
  at.commit(flight, flight.messages.retain())
  return null
}

/** Returns the ServerHello when it was among them. */
function takeServerMessages(flight: Flight, state: Session, body: Cursor): Handshake['hello'] {
  flight.messages.add(body)
  for (let message = flight.messages.next(); message !== null; message = flight.messages.next()) {
    if (message.type === SERVER_HELLO || message.type === HELLO_RETRY_REQUEST)
      flight.handshake ??= expected(state) ?? beginHandshake(null)
    if (flight.handshake === null) continue
    takeServerMessage(flight.handshake, message.type, message.body)
    // Nothing behind it can be read in TLS 1.3, whatever it looks like.
    const { hello } = flight.handshake
    if (hello?.choice.tls13) return hello
  }
  return null
}

/** What answers a hello and is no record of TLS. */
function refuse(at: Cursor, { handshake }: Flight, ctx: Context<Session>): Message {
  if (handshake === null || handshake.size > 0)
    at.fail(`a record of TLS, found one that begins with the byte ${at.peek()}`)
  if (handshake.offer?.version === 'SSL 2.0') return NOTHING_TO_READ
  const error: ItemError = { type: 'dissection', msg: 'the server answered with something that is not TLS' }
  return { ...answer(handshake, 'given-up', ctx), failed: true, error, becomes: 'unknown' }
}

// ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const NOTHING_TO_READ: Message = { kind: 'nothing', body: {}, becomes: 'encrypted' }

function conclude(handshake: Handshake, ctx: Context<Session>, encrypted: boolean): Message {
  const message = answer(handshake, encrypted ? 'encrypted' : 'given-up', ctx)
  message.becomes = 'encrypted'
  const failure = failureOf(handshake)
  if (failure !== null && !encrypted) {
    message.failed = true
    message.error = failure
  } else if (handshake.problem !== null) message.error = { type: 'dissection', msg: handshake.problem }
  return message
}

function answer(handshake: Handshake, outcome: Outcome, { out, moment }: Context<Session>): Message {
  const { key, hello } = handshake
  writeAnswer(out, handshake, outcome, moment.seconds)
  out.byte(CLOSE)
  const message: Message = { kind: 'response', body: out.since(0) }
  if (key !== undefined) message.key = key
  if (hello !== null) message.version = hello.choice.versionName.replace(/^TLS /, '')
  return message
}

function readRecord(at: Cursor): { type: number; body: Cursor } {
  const type = at.u8()
  const version = at.u16()
  const length = at.u16()
  if (!isRecord(type, version, length)) at.fail(`a record of TLS, found type ${type}, version ${version}`)
  return { type, body: at.within(length) }
}

function isRecord(type: number, version: number, length: number): boolean {
  return (
    type >= CHANGE_CIPHER_SPEC &&
    type <= HEARTBEAT &&
    version >> 8 === 3 &&
    (version & 0xff) <= 4 &&
    length <= MAX_RECORD
  )
}

// ── recognition ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The shortest hello has a version, a random number, an empty session id and one suite. */
const LEAST_HELLO = 38
/** With the largest keys of post-quantum cryptography it has some thousands of bytes. */
const MOST_HELLO = 1 << 17

/** Type, length and version of the first message, which may be cut into records of a byte each. */
function isHello(at: Cursor, from: Side): boolean {
  const bytes: number[] = []
  while (bytes.length < 6) {
    const [type, version, length] = [at.u8(), at.u16(), at.u16()]
    if (type !== HANDSHAKE || !isRecord(type, version, length) || length === 0) return false
    for (let i = 0; i < length && bytes.length < 6; i++) bytes.push(at.u8())
  }
  const [type, high, middle, low, major, minor] = bytes as [number, number, number, number, number, number]
  const length = (high << 16) | (middle << 8) | low
  const isVersion = (major === 3 && minor <= 4) || major === 0x7f || major === 0xfb
  if (!isVersion || length < LEAST_HELLO || length > MOST_HELLO) return false
  if (from === 'client') return type === CLIENT_HELLO
  return type === SERVER_HELLO
}

/** A record of application data in the middle of a connection, and either another record behind it or random bytes. */
function isEncrypted(at: Cursor): boolean {
  const start = at.position
  const [type, version, length] = [at.u8(), at.u16(), at.u16()]
  if (!isRecord(type, version, length) || version === 0x0300 || length < LEAST_ENCRYPTED) return false
  if (at.remaining > length + HEADER) {
    at.skip(length)
    return isRecord(at.u8(), at.u16(), at.u16())
  }
  if (at.remaining === length) return true
  at.position = start + HEADER
  const different = new Set(at.view(Math.min(SAMPLE, length)))
  return length >= SAMPLE && different.size >= LEAST_DIFFERENT
}

/** So many records of the handshake in a row are no accident. */
const ROW = 2

function isRow(at: Cursor): boolean {
  for (let i = 0; i < ROW; i++) {
    const [type, version, length] = [at.u8(), at.u16(), at.u16()]
    if (!isRecord(type, version, length) || (type === CHANGE_CIPHER_SPEC && length !== 1)) return false
    if (i < ROW - 1) at.skip(length)
  }
  return true
}

/** RFC 5246, appendix E.2: whether the parts of the hello add up to its length. */
function isSsl2Hello(at: Cursor): boolean {
  const length = at.u16() & 0x7fff
  const [type, version] = [at.u8(), at.u16()]
  if (type !== CLIENT_HELLO || (version !== 2 && (version < 0x0300 || version > 0x0303))) return false
  const [kinds, id, challenge] = [at.u16(), at.u16(), at.u16()]
  if (kinds === 0 || kinds % 3 !== 0 || (id !== 0 && id !== 16) || challenge < 16 || challenge > 32) return false
  return length === 9 + kinds + id + challenge
}
