/**
 * Handshakes of QUIC: versions 1 and 2 (RFC 9000, 9001, 9369) and draft 29, as far as everybody on the way can read
 * them: the Initial packets with ClientHello and ServerHello, Retry, and Version Negotiation. One item per handshake;
 * all behind it is `encrypted`.
 *
 *   long header:  1 1 type(2) ??(4) version(4) n(1) destination id(n) n(1) source id(n) …      several in one datagram
 *   Initial: … n(varint) token(n) length(varint) packet number(1 to 4) frames tag(16)          type, number and frames
 *   Retry: … token tag(16)                  Version Negotiation: version 0 … versions(4 each)  are encrypted
 */
import { Cursor, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message, Moment, Side } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import { json, listOf, orNull, plain } from '../json-shape.ts'
import { constant } from '../json-writer.ts'
import { isRetry, Seals, unseal, type Version, versionName, versionOf } from './quic/protection.ts'
import { readVarint, writeTransportParameters } from './quic/transport-parameters.ts'
import {
  beginHandshake,
  CLIENT_HELLO,
  FATAL,
  failureOf,
  type Handshake,
  type HandshakeAnswer,
  type Outcome,
  summarizeHandshake,
  takeAlert,
  takeServerMessage,
  writeAnswer,
} from './tlsx/handshake.ts'
import { type ClientHello, randomOf, readClientHello, writeHello } from './tlsx/hello.ts'
import { Messages } from './tlsx/messages.ts'
import { Pieces } from './tlsx/pieces.ts'

export const dissector: Dissector<Session> = {
  name: 'quic',
  title: 'QUIC',
  abbr: 'QUIC',
  version: '',
  color: '#5e35b1',
  reference: 'https://www.rfc-editor.org/rfc/rfc9000',
  transports: ['udp'],
  ports: [443, 8443, 853, 784],
  priority: 3,
  // The client's random number.
  keyed: true,
  open: () => ({ attempt: null }),
  probe,
  read,
  summarize: summarizeHandshake,
}

/** The hello, as in `tlsx`, and what the packet around it says. */
export interface QuicRequest extends ClientHello {
  /** That the client speaks: `v1`, `v2`, `draft-29`. */
  quicVersion: string
  /** What the client asks for, by the names of RFC 9000, 18.2; ids in hex, times in ms. */
  transportParameters: Json
}

/** As in `tlsx`. Certificates, ALPN and the server's transport parameters are encrypted. */
export interface QuicResponse extends HandshakeAnswer {
  /** That the server speaks; null where it did not get so far. */
  quicVersion: string | null
  /** The client had to prove its address first; absent where nothing was seen of it. */
  retry?: true
  /** The client sent data before the server had answered; absent where none was seen. */
  zeroRtt?: true
  /** Versions that the server speaks instead; the client begins again, which is another item. */
  versionNegotiation: string[]
  /** Who gave up, before encryption, and why. */
  connectionClose: { from: Side; errorCode: number; reason: string } | null
}

export interface Session {
  /** The handshake at hand. */
  attempt: Attempt | null
}

interface Attempt {
  since: Moment
  /** That the client speaks. */
  version: Version
  /** From which the keys are made: the client's choice, or the server's after a Retry. */
  connectionId: Uint8Array
  /** For the version that was spoken last: a server may go on with another one (RFC 9368, 2.3). */
  seals: Seals
  client: Flow
  server: Flow
  handshake: Handshake | null
  retry: boolean
  zeroRtt: boolean
  close: QuicResponse['connectionClose']
}

class Flow {
  stream = new Pieces()
  messages = new Messages()
  /** Bytes of Initial packets. */
  size = 0
}

type PacketType = 'initial' | '0-rtt' | 'handshake' | 'retry' | 'negotiation' | 'short' | 'unknown'

interface Packet {
  type: PacketType
  version: Version | undefined
  /** Indices: of the first byte, of the source id's length, of the packet number, and behind the last. */
  start: number
  source: number
  number: number
  end: number
}

const LONG = 0x80
const FIXED = 0x40
const MAX_CONNECTION_ID = 20
/** Type and version. */
const BEFORE_IDS = 5

/** The packet by which a connection is recognised, and which is the first that is read of it. */
interface Opened {
  packet: Packet
  seals: Seals
  frames: Cursor
}

/** Certain: the packet opens with the keys that it names. */
function probe(at: Cursor, from: Side, ctx: Context<Session>): boolean {
  if (from !== 'client' || (at.peek() & (LONG | FIXED)) !== (LONG | FIXED)) return false
  const packet = readPacket(at)
  const opened = packet.type === 'initial' ? begin(packet, at.bytes) : null
  ctx.learnt = opened
  return opened !== null
}

/** The first packet of an attempt: its keys follow from its own bytes. */
function begin(packet: Packet, bytes: Uint8Array): Opened | null {
  const seals = new Seals(packet.version!, destinationOf(packet, bytes))
  const frames = open(packet, seals, 'client', bytes)
  return frames === null ? null : { packet, seals, frames }
}

/** What `probe` left of the packet that begins there. */
function learntAt(start: number, { learnt }: Context<Session>): Opened | null {
  const opened = learnt as Opened | null
  return opened !== null && opened.packet.start === start ? opened : null
}

function read(at: Cursor, ctx: Context<Session>): Message[] | null {
  const messages: Message[] = []
  while (at.remaining > 0) {
    const packet = learntAt(at.position, ctx)?.packet ?? readPacket(at)
    at.position = packet.end
    const message = ctx.from === 'client' ? takeFromClient(packet, at, ctx) : takeFromServer(packet, at, ctx)
    if (message !== null) messages.push(message)
    // Nothing that follows can be read.
    if (message?.becomes !== undefined) at.position = at.end
  }
  return messages.length === 0 ? null : messages
}

// ── packets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What does not say its length has the rest of the datagram. */
function readPacket(at: Cursor): Packet {
  const start = at.position
  const first = at.u8()
  const packet: Packet = {
    type: 'short',
    version: undefined,
    start,
    source: 0,
    number: 0,
    end: at.end,
  }
  if ((first & LONG) === 0) return packet
  const code = at.u32()
  skipConnectionId(at)
  packet.source = at.position
  skipConnectionId(at)
  packet.number = at.position
  packet.type = 'unknown'
  if (code === 0) packet.type = 'negotiation'
  const version = versionOf(code)
  if (version === undefined) return packet
  packet.version = version
  packet.type = typeOf(version, (first >> 4) & 3)
  if (packet.type === 'retry') return packet
  if (packet.type === 'initial') at.skip(Number(readVarint(at)))
  const length = Number(readVarint(at))
  at.need(length)
  packet.number = at.position
  packet.end = at.position + length
  return packet
}

function typeOf({ initial, zeroRtt, retry }: Version, bits: number): PacketType {
  return bits === initial ? 'initial' : bits === zeroRtt ? '0-rtt' : bits === retry ? 'retry' : 'handshake'
}

function skipConnectionId(at: Cursor): void {
  const length = at.u8()
  if (length > MAX_CONNECTION_ID) at.fail(`a connection id of at most ${MAX_CONNECTION_ID} bytes, found ${length}`)
  at.skip(length)
}

function destinationOf({ start }: Packet, bytes: Uint8Array): Uint8Array {
  return idAt(bytes, start + BEFORE_IDS)
}

function sourceOf({ source }: Packet, bytes: Uint8Array): Uint8Array {
  return idAt(bytes, source)
}

function idAt(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.subarray(at + 1, at + 1 + bytes[at]!)
}

function open({ start, number, end }: Packet, seals: Seals, from: Side, bytes: Uint8Array): Cursor | null {
  const frames = unseal(seals.of(from), bytes, start, number, end)
  return frames === null ? null : new Cursor(frames, 0, frames.length, true)
}

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

function takeFromClient(packet: Packet, at: Cursor, ctx: Context<Session>): Message | null {
  const { state } = ctx
  const { attempt } = state
  switch (packet.type) {
    case 'initial': {
      // With another version it begins again, perhaps with the same id.
      const known = attempt !== null && attempt.version === packet.version
      let frames = known ? open(packet, sealsOf(attempt, packet), 'client', at.bytes) : null
      if (frames === null) {
        const opened = learntAt(packet.start, ctx) ?? begin(packet, at.bytes)
        if (opened === null) return null
        frames = opened.frames
        state.attempt = attemptOf(packet, at.bytes, opened.seals, ctx.moment)
      }
      state.attempt!.client.size += packet.end - packet.start
      return takeFrames(frames, packet, state.attempt!, ctx)
    }
    case '0-rtt':
      if (attempt !== null) attempt.zeroRtt = true
      return null
    case 'handshake':
    case 'short':
      // It has what we have not.
      return attempt === null ? null : missed(attempt, ctx)
  }
  return null
}

function attemptOf(packet: Packet, bytes: Uint8Array, seals: Seals, since: Moment): Attempt {
  return {
    since,
    version: packet.version!,
    connectionId: new Uint8Array(destinationOf(packet, bytes)),
    seals,
    client: new Flow(),
    server: new Flow(),
    handshake: null,
    retry: false,
    zeroRtt: false,
    close: null,
  }
}

function sealsOf(attempt: Attempt, { version }: Packet): Seals {
  if (attempt.seals.version !== version) attempt.seals = new Seals(version!, attempt.connectionId)
  return attempt.seals
}

function missed(attempt: Attempt, ctx: Context<Session>): Message {
  if (attempt.handshake === null) return { kind: 'nothing', body: {}, becomes: 'encrypted' }
  const error: ItemError = { type: 'dissection', msg: 'the ServerHello is missing from the capture' }
  return { ...answer(attempt, 'unknown', null, [], ctx), error, becomes: 'encrypted' }
}

/** A hello with the same random number is the second one, after a Retry or a HelloRetryRequest. */
function takeClientHello(body: Cursor, packet: Packet, attempt: Attempt, ctx: Context<Session>): Message | null {
  const { handshake } = attempt
  if (handshake !== null && handshake.key === randomOf(body)) return null
  const hello = readClientHello(body, 'q')
  attempt.handshake = beginHandshake(hello)
  const { out } = ctx
  const start = out.length
  writeHello(out, hello)
  out.raw(QUIC_VERSION)
  out.plain(packet.version!.name)
  out.raw(TRANSPORT_PARAMETERS)
  writeTransportParameters(out, hello.transportParameters ?? NO_PARAMETERS)
  out.byte(CLOSE)
  const message: Message = {
    kind: 'request',
    key: hello.random,
    body: out.since(start),
    since: attempt.since,
    size: attempt.client.size,
    version: packet.version!.name,
  }
  const { problem } = hello.offer
  if (problem !== null) message.error = { type: 'dissection', msg: problem }
  return message
}

const QUIC_VERSION = constant(',"quicVersion":')
const NO_PARAMETERS = new Cursor(new Uint8Array(0), 0, 0, true)
const TRANSPORT_PARAMETERS = constant(',"transportParameters":')
/** Of an object. */
const CLOSE = 0x7d

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

function takeFromServer(packet: Packet, at: Cursor, ctx: Context<Session>): Message | null {
  const { attempt } = ctx.state
  if (attempt === null) return null
  const { bytes } = at
  switch (packet.type) {
    case 'initial': {
      const frames = open(packet, sealsOf(attempt, packet), 'server', bytes)
      if (frames === null) return null
      attempt.server.size += packet.end - packet.start
      return takeFrames(frames, packet, attempt, ctx)
    }
    case 'retry':
      if (!isRetry(packet.version!, attempt.connectionId, bytes.subarray(packet.start, packet.end))) return null
      attempt.connectionId = new Uint8Array(sourceOf(packet, bytes))
      attempt.seals = new Seals(packet.version!, attempt.connectionId)
      attempt.retry = true
      attempt.client.stream = new Pieces()
      attempt.client.messages = new Messages()
      attempt.server.size += packet.end - packet.start
      return null
    case 'negotiation':
      return negotiate(packet, at, attempt, ctx)
  }
  return null
}

/** The server says which versions it speaks: this attempt is over, and the client begins another one. */
function negotiate(packet: Packet, { bytes }: Cursor, attempt: Attempt, ctx: Context<Session>): Message | null {
  if (attempt.handshake === null || Buffer.compare(sourceOf(packet, bytes), attempt.connectionId) !== 0) return null
  const versions = new Cursor(bytes, packet.number, packet.end, true)
  const offered: string[] = []
  while (versions.remaining >= 4 && offered.length < MAX_VERSIONS) offered.push(versionName(versions.u32()))
  ctx.state.attempt = null
  attempt.server.size += packet.end - packet.start
  return answer(attempt, outcomeOf(attempt), null, offered, ctx)
}

/** Of a list in one datagram. */
const MAX_VERSIONS = 256

// ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const [PADDING, PING, ACK, ACK_ECN, CRYPTO, CONNECTION_CLOSE] = [0x00, 0x01, 0x02, 0x03, 0x06, 0x1c]
/** CRYPTO_ERROR: an alert of TLS is added to it (RFC 9001, 4.8). */
const CRYPTO_ERROR = 0x100

/** RFC 9000, 12.4: what an Initial packet may have in it. */
function takeFrames(frames: Cursor, packet: Packet, attempt: Attempt, ctx: Context<Session>): Message | null {
  let found: Message | null = null
  try {
    while (frames.remaining > 0 && found === null) {
      const type = frames.u8()
      if (type === PADDING) skipPadding(frames)
      else if (type === ACK || type === ACK_ECN) skipAck(frames, type)
      else if (type === CRYPTO) {
        const start = Number(readVarint(frames))
        const length = Number(readVarint(frames))
        found = takeCrypto(start, frames.within(length), packet, attempt, ctx)
      } else if (type === CONNECTION_CLOSE) found = takeClose(frames, packet, attempt, ctx)
      else if (type !== PING) frames.fail(`a frame of an Initial packet, found type ${type}`)
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    // Sealed by one of both, so that it is QUIC whatever it says.
    if (attempt.handshake !== null) attempt.handshake.problem ??= cause.reason
  }
  return found
}

/** Often a thousand bytes: the first datagram of a client has at least 1200 (RFC 9000, 14.1). */
function skipPadding(frames: Cursor): void {
  const { bytes: b, end } = frames
  const words = new DataView(b.buffer, b.byteOffset, end)
  let { position: p } = frames
  while (p + 8 <= end && (words.getInt32(p) | words.getInt32(p + 4)) === PADDING) p += 8
  while (p < end && b[p] === PADDING) p++
  frames.position = p
}

function takeCrypto(
  start: number,
  bytes: Cursor,
  packet: Packet,
  attempt: Attempt,
  ctx: Context<Session>,
): Message | null {
  const { stream } = ctx.from === 'client' ? attempt.client : attempt.server
  // In order, as most are: no copy.
  if (stream.follow(start, bytes.remaining)) return takeMessages(bytes, packet, attempt, ctx)
  for (const fresh of stream.add(start, bytes.view(bytes.remaining))) {
    const found = takeMessages(new Cursor(fresh, 0, fresh.length, true), packet, attempt, ctx)
    if (found !== null) return found
  }
  return null
}

function takeMessages(bytes: Cursor, packet: Packet, attempt: Attempt, ctx: Context<Session>): Message | null {
  const { messages } = ctx.from === 'client' ? attempt.client : attempt.server
  messages.add(bytes)
  for (let message = messages.next(); message !== null; message = messages.next()) {
    if (ctx.from === 'client') {
      const request = message.type === CLIENT_HELLO ? takeClientHello(message.body, packet, attempt, ctx) : null
      if (request !== null) return request
      continue
    }
    attempt.handshake ??= beginHandshake(null)
    takeServerMessage(attempt.handshake, message.type, message.body)
    if (attempt.handshake.hello !== null) return conclude(packet, attempt, ctx)
  }
  return null
}

/** largest(varint) delay(varint) n(varint) first range(varint) n of: gap(varint) range(varint) [3 counts(varint)] */
function skipAck(frames: Cursor, type: number): void {
  readVarint(frames)
  readVarint(frames)
  const ranges = Number(readVarint(frames))
  readVarint(frames)
  for (let i = 0; i < ranges; i++) {
    readVarint(frames)
    readVarint(frames)
  }
  if (type === ACK_ECN) for (let i = 0; i < 3; i++) readVarint(frames)
}

/** code(varint) type of the frame at fault(varint) n(varint) reason(n) */
function takeClose(frames: Cursor, packet: Packet, attempt: Attempt, ctx: Context<Session>): Message | null {
  const errorCode = Number(readVarint(frames))
  readVarint(frames)
  const reason = frames.text(Number(readVarint(frames)))
  attempt.handshake ??= beginHandshake(null)
  attempt.close = { from: ctx.from, errorCode, reason }
  if (errorCode >= CRYPTO_ERROR && errorCode < CRYPTO_ERROR * 2)
    takeAlert(attempt.handshake, ctx.from, FATAL, errorCode - CRYPTO_ERROR)
  const error: ItemError = failureOf(attempt.handshake) ?? {
    type: 'connection',
    msg: `the ${ctx.from} gave up: ${TRANSPORT_ERRORS[errorCode] ?? `error ${errorCode}`}`,
  }
  return { ...answer(attempt, outcomeOf(attempt), packet, [], ctx), failed: true, error, becomes: 'encrypted' }
}

/** RFC 9000, 20.1. */
const TRANSPORT_ERRORS = [
  'NO_ERROR',
  'INTERNAL_ERROR',
  'CONNECTION_REFUSED',
  'FLOW_CONTROL_ERROR',
  'STREAM_LIMIT_ERROR',
  'STREAM_STATE_ERROR',
  'FINAL_SIZE_ERROR',
  'FRAME_ENCODING_ERROR',
  'TRANSPORT_PARAMETER_ERROR',
  'CONNECTION_ID_LIMIT_ERROR',
  'PROTOCOL_VIOLATION',
  'INVALID_TOKEN',
  'APPLICATION_ERROR',
  'CRYPTO_BUFFER_EXCEEDED',
  'KEY_UPDATE_ERROR',
  'AEAD_LIMIT_REACHED',
  'NO_VIABLE_PATH',
]

// ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────────

function conclude(packet: Packet, attempt: Attempt, ctx: Context<Session>): Message {
  const message = answer(attempt, outcomeOf(attempt), packet, [], ctx)
  message.becomes = 'encrypted'
  const { problem } = attempt.handshake!
  if (problem !== null) message.error = { type: 'dissection', msg: problem }
  return message
}

function outcomeOf({ handshake }: Attempt): Outcome {
  return handshake!.hello === null ? 'given-up' : 'encrypted'
}

function answer(
  attempt: Attempt,
  outcome: Outcome,
  packet: Packet | null,
  versionNegotiation: string[],
  { out, moment }: Context<Session>,
): Message {
  const handshake = attempt.handshake!
  const version = packet?.version
  const start = out.length
  writeAnswer(out, handshake, outcome, moment.seconds)
  if (attempt.retry) out.raw(RETRY_SEEN)
  if (attempt.zeroRtt) out.raw(ZERO_RTT_SEEN)
  if (outcome !== 'unknown') {
    out.raw(QUIC_VERSION)
    writeVersion(out, version?.name ?? null)
    out.raw(VERSION_NEGOTIATION)
    writeVersions(out, versionNegotiation)
    out.raw(CONNECTION_CLOSE_SEEN)
    writeClose(out, attempt.close)
  }
  out.byte(CLOSE)
  const message: Message = { kind: 'response', body: out.since(start), size: attempt.server.size }
  if (handshake.key !== undefined) message.key = handshake.key
  if (version !== undefined) message.version = version.name
  return message
}

const RETRY_SEEN = constant(',"retry":true')
const ZERO_RTT_SEEN = constant(',"zeroRtt":true')
const VERSION_NEGOTIATION = constant(',"versionNegotiation":')
const CONNECTION_CLOSE_SEEN = constant(',"connectionClose":')
const writeVersion = orNull(plain)
const writeVersions = listOf(plain)
const writeClose = orNull(json)
