/**
 * Handshakes of TLS in datagrams: DTLS 1.0, 1.2 and 1.3 (RFC 4347, 6347, 9147). One item per handshake, as in `tlsx`;
 * all behind it is `encrypted`.
 *
 *   record:   type(1) version(2) epoch(2) number(6) length(2) fragments(length)           several in one datagram
 *   fragment: type(1) length(3) message number(2) offset(3) length(3) bytes(length)       epoch 0 is in clear
 */
import { Cursor } from '../cursor.ts'
import type { Context, Dissector, Message, Moment, Side } from '../dissector.ts'
import type { ItemError } from '../item.ts'
import { constant } from '../json-writer.ts'
import {
  beginHandshake,
  CLIENT_HELLO,
  FATAL,
  failureOf,
  type Handshake,
  type HandshakeAnswer,
  HELLO_VERIFY_REQUEST,
  type Outcome,
  SERVER_HELLO,
  summarizeHandshake,
  takeAlert,
  takeClientMessage,
  takeServerMessage,
  writeAnswer,
} from './tlsx/handshake.ts'
import { randomOf, readClientHello, writeHello } from './tlsx/hello.ts'
import type { HandshakeMessage } from './tlsx/messages.ts'
import { Pieces } from './tlsx/pieces.ts'

export const dissector: Dissector<Session> = {
  name: 'dtls',
  family: 'tlsx',
  title: 'Datagram Transport Layer Security',
  abbr: 'DTLS',
  version: '',
  color: '#00838f',
  reference: 'https://www.rfc-editor.org/rfc/rfc9147',
  transports: ['udp'],
  ports: [4433, 5684, 5349, 3391],
  priority: 3,
  // The client's random number.
  keyed: true,
  open: () => ({ handshake: null, since: null, client: beginVoice(), server: beginVoice() }),
  probe,
  read,
  summarize: summarizeHandshake,
}

export interface DtlsAnswer extends HandshakeAnswer {
  /** The client had to prove its address first (RFC 6347, 4.2.1); absent where nothing was seen of it. */
  helloVerifyRequest?: true
}

export interface Session {
  /** The one whose answer is awaited. */
  handshake: Handshake | null
  /** When its first hello began. */
  since: Moment | null
  client: Voice
  server: Voice
}

/** What a side has said of its handshake. */
interface Voice {
  /** Number of the message that comes next; those before it are repetitions. */
  next: number
  /** Messages that are not whole, or not in their turn; null while there are none, as mostly. */
  parts: Map<number, Part> | null
  /** Bytes of records in clear. */
  size: number
  /** The server has asked for a cookie; it has sent its hello. */
  verifies: boolean
  greeted: boolean
  /** Numbers of its records in clear from the hello on: a gap among them is a record that was lost. */
  records: number[] | null
  /** It has announced that it encrypts from now on. */
  changes: boolean
}

interface Part {
  type: number
  length: number
  /** What has come in order: `have` bytes, and room. */
  bytes: Buffer
  have: number
  /** What came before its turn. */
  pieces: Pieces | null
}

const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const HANDSHAKE = 22
const APPLICATION_DATA = 23
const HEADER = 13
const FRAGMENT_HEADER = 12
const MAX_RECORD = 16_384 + 2048
/** A chain of certificates; what is longer is no message. */
const MAX_MESSAGE = 65_536
/** Messages of a flight that may come before their turn. */
const MAX_AHEAD = 16
/** A flight has some ten; who sends more is not followed. */
const MAX_RECORDS = 256
const [LEAST_HELLO, MOST_HELLO] = [38, 1 << 16]

/** Certain: record, fragment and hello agree on what they are and how long. */
function probe(at: Cursor, from: Side): boolean {
  if (at.peek() !== HANDSHAKE) return false
  const { version, epoch, body } = readRecord(at)
  if (epoch !== 0 || !isVersion(version) || body.remaining < FRAGMENT_HEADER + 2) return false
  const hello = body.u8()
  const length = body.u24()
  const number = body.u16()
  const [offset, size] = [body.u24(), body.u24()]
  if (hello !== (from === 'client' ? CLIENT_HELLO : SERVER_HELLO) || number > 2) return false
  if (length < LEAST_HELLO || length > MOST_HELLO || offset !== 0 || size > length || size > body.remaining)
    return false
  return size >= 2 && isVersion(body.u16())
}

function read(at: Cursor, ctx: Context<Session>): Message[] | null {
  const messages: Message[] = []
  while (at.remaining > 0 && messages.at(-1)?.becomes === undefined) {
    const record = readRecord(at)
    const message = ctx.from === 'client' ? takeFromClient(record, ctx) : takeFromServer(record, ctx)
    if (message !== null) messages.push(message)
  }
  return messages.length === 0 ? null : messages
}

interface DtlsRecord {
  type: number
  version: number
  epoch: number
  /** The lower 32 bits. */
  number: number
  body: Cursor
}

/** Encrypted records of DTLS 1.3 have another header (RFC 9147, 4): they come behind the handshake in clear. */
function readRecord(at: Cursor): DtlsRecord {
  const type = at.u8()
  const version = at.u16()
  const epoch = at.u16()
  at.skip(2)
  const number = at.u32()
  const length = at.u16()
  if (type < CHANGE_CIPHER_SPEC || type > APPLICATION_DATA + 3 || !isVersion(version) || length > MAX_RECORD)
    at.fail(`a record of DTLS, found type ${type}, version ${version}`)
  return { type, version, epoch, number, body: at.within(length) }
}

/** 1.0, 1.2 and 1.3, which count downwards, and what OpenSSL had before 1.0. */
function isVersion(version: number): boolean {
  return version === 0xfeff || version === 0xfefd || version === 0xfefc || version === 0x0100
}

function beginVoice(): Voice {
  return { next: 0, parts: null, size: 0, verifies: false, greeted: false, records: null, changes: false }
}

// ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────────

function takeFromClient({ type, epoch, body }: DtlsRecord, ctx: Context<Session>): Message | null {
  const { state } = ctx
  if (epoch !== 0) return null
  if (state.handshake === null) state.since ??= ctx.moment
  state.client.size += HEADER + body.remaining
  if (type === ALERT) return takeAlertOf('client', body, ctx)
  if (type !== HANDSHAKE) return null
  let request: Message | null = null
  for (const { type, body: message } of takeMessages(body, state.client)) {
    if (type === CLIENT_HELLO) request = takeHello(message, ctx) ?? request
    else if (state.handshake !== null) takeClientMessage(state.handshake, type, message)
  }
  return request
}

/** A hello with the same random number is the same, repeated or with the cookie that the server asked for. */
function takeHello(body: Cursor, ctx: Context<Session>): Message | null {
  const { state } = ctx
  const { handshake } = state
  if (handshake !== null && handshake.key === randomOf(body)) return null
  const hello = readClientHello(body, 'd')
  const since = state.handshake === null ? (state.since ?? ctx.moment) : ctx.moment
  state.handshake = beginHandshake(hello)
  state.server = beginVoice()
  const start = ctx.out.length
  writeHello(ctx.out, hello)
  ctx.out.byte(CLOSE)
  const message: Message = {
    kind: 'request',
    key: hello.random,
    body: ctx.out.since(start),
    since,
    size: state.client.size,
  }
  const { problem } = hello.offer
  if (problem !== null) message.error = { type: 'dissection', msg: problem }
  return message
}

/** Of an object. */
const CLOSE = 0x7d

// ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────

function takeFromServer({ type, epoch, number, body }: DtlsRecord, ctx: Context<Session>): Message | null {
  const { state } = ctx
  const { server } = state
  // Its Finished, or what comes behind it.
  if (epoch !== 0) return state.handshake?.hello == null ? null : conclude(state.handshake, ctx)
  server.size += HEADER + body.remaining
  if (type === ALERT) return takeAlertOf('server', body, ctx)
  if (type === CHANGE_CIPHER_SPEC) server.changes = true
  const messages = type === HANDSHAKE ? takeMessages(body, server) : []
  if (server.greeted) {
    server.records ??= []
    if (server.records.length < MAX_RECORDS && !server.records.includes(number)) server.records.push(number)
  }
  for (const { type, body: message } of messages) {
    if (type === HELLO_VERIFY_REQUEST) server.verifies = true
    else {
      state.handshake ??= beginHandshake(null)
      takeServerMessage(state.handshake, type, message)
      const { hello } = state.handshake
      if (hello?.choice.tls13) return conclude(state.handshake, ctx)
    }
  }
  return null
}

// ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Messages that are whole now and whose turn it is. */
function takeMessages(body: Cursor, voice: Voice): HandshakeMessage[] {
  const messages: HandshakeMessage[] = []
  while (body.remaining > 0) {
    const type = body.u8()
    const length = body.u24()
    const number = body.u16()
    const offset = body.u24()
    const bytes = body.within(body.u24())
    if (length > MAX_MESSAGE) body.fail(`a message of at most ${MAX_MESSAGE} bytes, found ${length}`)
    // A client that begins anew begins with 0; a server may have forgotten that it asked for a cookie.
    if (type === CLIENT_HELLO || (type === SERVER_HELLO && number > voice.next))
      voice.next = Math.min(number, MAX_AHEAD)
    if (number < voice.next || number >= voice.next + MAX_AHEAD) continue
    if (number === voice.next && offset === 0 && bytes.remaining === length && voice.parts === null) {
      // Whole and in its turn, as most are: no copy.
      take(messages, voice, type, bytes)
      continue
    }
    voice.parts ??= new Map()
    const { parts } = voice
    addPiece(partAt(parts, number, type, length), offset, bytes.view(bytes.remaining))
    for (let part = parts.get(voice.next); part?.have === part?.length; part = parts.get(voice.next)) {
      if (part === undefined) break
      parts.delete(voice.next)
      take(messages, voice, part.type, new Cursor(part.bytes, 0, part.have, true))
    }
    if (parts.size === 0) voice.parts = null
  }
  return messages
}

/** The message whose turn it is. */
function take(messages: HandshakeMessage[], voice: Voice, type: number, body: Cursor): void {
  voice.next++
  if (type === SERVER_HELLO) voice.greeted = true
  messages.push({ type, body })
}

function partAt(parts: Map<number, Part>, number: number, type: number, length: number): Part {
  const known = parts.get(number)
  if (known !== undefined && known.type === type && known.length === length) return known
  const part = { type, length, bytes: EMPTY, have: 0, pieces: null }
  parts.set(number, part)
  return part
}

function addPiece(part: Part, offset: number, bytes: Uint8Array): void {
  const end = offset + bytes.length
  if (end > part.length || end <= part.have) return
  if (offset === part.have && part.pieces === null) append(part, bytes)
  else {
    part.pieces ??= new Pieces(part.have)
    for (const fresh of part.pieces.add(offset, new Uint8Array(bytes))) append(part, fresh)
  }
}

/** The room doubles up to what the message is said to have, so that it costs no more than what has come. */
function append(part: Part, bytes: Uint8Array): void {
  const have = part.have + bytes.length
  if (have > part.bytes.length) {
    const larger = Buffer.allocUnsafe(Math.min(part.length, have * 2))
    larger.set(part.bytes.subarray(0, part.have))
    part.bytes = larger
  }
  part.bytes.set(bytes, part.have)
  part.have = have
}

const EMPTY = Buffer.alloc(0)

function takeAlertOf(from: Side, body: Cursor, ctx: Context<Session>): Message | null {
  const { handshake } = ctx.state
  if (handshake === null || body.remaining !== 2) return null
  const level = body.u8()
  takeAlert(handshake, from, level, body.u8())
  if (level !== FATAL) return null
  return { ...answerTo(handshake, 'given-up', ctx), failed: true, error: failureOf(handshake)! }
}

/** Both encrypt from now on. */
function conclude(handshake: Handshake, ctx: Context<Session>): Message {
  if (isIncomplete(handshake, ctx.state.server)) {
    const error: ItemError = { type: 'dissection', msg: 'packets are missing from the capture' }
    return { ...answerTo(handshake, 'unknown', ctx), error }
  }
  const message = answerTo(handshake, 'encrypted', ctx)
  if (handshake.problem !== null) message.error = { type: 'dissection', msg: handshake.problem }
  return message
}

/** Before a server of DTLS 1.2 encrypts it says so; in DTLS 1.3 nothing in clear follows its hello. */
function isIncomplete({ hello, exchanged, done }: Handshake, { parts, records, changes }: Voice): boolean {
  if (hello!.choice.tls13) return false
  return parts !== null || (records !== null && isLossy(records)) || !changes || (exchanged && !done)
}

function isLossy(records: readonly number[]): boolean {
  let first = Number.POSITIVE_INFINITY
  let last = 0
  for (const number of records) {
    if (number < first) first = number
    if (number > last) last = number
  }
  return last - first >= records.length
}

function answerTo(handshake: Handshake, outcome: Outcome, { state, out, moment }: Context<Session>): Message {
  const start = out.length
  writeAnswer(out, handshake, outcome, moment.seconds)
  if (state.server.verifies) out.raw(HELLO_VERIFY_SEEN)
  out.byte(CLOSE)
  const message: Message = {
    kind: 'response',
    body: out.since(start),
    size: state.server.size,
    becomes: 'encrypted',
  }
  if (handshake.key !== undefined) message.key = handshake.key
  if (handshake.hello !== null) message.version = handshake.hello.choice.versionName.replace(/^DTLS /, '')
  return message
}

const HELLO_VERIFY_SEEN = constant(',"helloVerifyRequest":true')
