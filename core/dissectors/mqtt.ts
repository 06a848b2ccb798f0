/**
 * MQTT 3.1, 3.1.1 and 5.0.
 * https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html, .../v3.1.1/mqtt-v3.1.1.html
 *
 *   type(4 bits) flags(4 bits) remaining-length(1-4) { variable header, payload }
 *   PUBLISH: topic-length(2) topic packet-identifier(2, QoS 1 and 2) properties(5.0) payload
 *
 * Both sides publish, and whoever receives answers.
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Side, Summary } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import { payloadOf } from '../payload.ts'
import type { Words } from '../words.ts'
import { isReason, LEAST_ERROR, PACKETS, type Packet, reasonOf, returnCodeOf } from './mqtt/codes.ts'
import { endOfProperties, REDACTED, readProperties, string, variable } from './mqtt/properties.ts'
import { expect, keyOf, take, type Waiting } from './mqtt/waiting.ts'

export const dissector: Dissector<State> = {
  name: 'mqtt',
  title: 'Message Queuing Telemetry Transport',
  abbr: 'MQTT',
  version: '',
  color: '#660066',
  reference: 'https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html',
  transports: ['tcp'],
  ports: [1883, 8883],
  priority: 5,
  keyed: true,
  probe,
  open,
  lost,
  weight,
  read,
  end,
  bridge: (length, progress) => (progress as Publication).bridge(length),
  summarize,
}

/** `request`, `response` and `event` alike; names are those of the specification in camel case. */
export interface MqttPacket extends Json {
  type: Packet
  packetId?: number
  /** 5.0 alone: the properties that are there. `userProperties` are by name. */
  properties?: Json
}

export interface MqttConnect extends MqttPacket {
  protocolName: 'MQTT' | 'MQIsdp'
  /** 3: 3.1, 4: 3.1.1, 5: 5.0. */
  protocolLevel: number
  /** The client is a bridge to another server, and says so by a bit of the level. */
  bridge?: true
  /** In 3.1 and 3.1.1 the same bit is called clean session. */
  cleanStart: boolean
  /** Seconds. */
  keepAlive: number
  clientId: Words
  will: MqttWill | null
  username: Words | null
  /** `[REDACTED]`, null without one. */
  password: string | null
}

export interface MqttWill extends Json {
  topic: Words
  qos: number
  retain: boolean
  payload: string | null
  payloadSize: number
  encoding: 'base64' | null
  properties?: Json
}

export interface MqttPublish extends MqttPacket {
  /** In place of a topic alias what it stands for; absent where that was not seen. */
  topic?: Words
  qos: number
  dup: boolean
  retain: boolean
  /** Text, or base64 as `encoding` says; null when nobody wants bodies. */
  payload: string | null
  /** Bytes; null where the version is not known and what comes first may be properties. */
  payloadSize: number | null
  encoding: 'base64' | null
  /** `payload` is the beginning only. */
  truncated?: true
}

/** CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH; SUBACK and UNSUBACK have one code for each topic. */
export interface MqttAnswer extends MqttPacket {
  reasonCode?: number
  /** `Success`, `Not authorized`. */
  reason?: string
  reasonCodes?: number[]
  reasons?: string[]
}

export interface State {
  /** As in CONNECT; 0: not known. */
  level: number
  /** For items; empty where not known. */
  version: string
  waiting: Waiting
  /** Keys of requests whose answers may have been lost: said with the next message. */
  forgotten: number[]
  /** What topic aliases of each side stand for. */
  aliases: Record<Side, { topics: Map<number, Words>; bytes: number }>
}

const VERSIONS: Readonly<Record<number, string>> = { 3: '3.1', 4: '3.1.1', 5: '5.0' }
const NAMES: ReadonlySet<string> = new Set(['MQTT', 'MQIsdp'])
const BRIDGE = 0x80

const CONNECT = 1
const PUBLISH = 3
const PUBREL = 6
const SUBSCRIBE = 8
const UNSUBSCRIBE = 10
const PINGREQ = 12
const AUTH = 15

/** Who may send it, which flags it has, and the type that it answers. */
interface Rule {
  from: Side | 'either'
  flags: number
  answers?: number
  /** Its fields, after the packet identifier where it has one. */
  read: (at: Cursor, body: Json, state: State) => void
}

/** By type; PUBLISH is read by itself. */
const RULES: readonly (Rule | undefined)[] = [
  undefined,
  { from: 'client', flags: 0, read: readConnect },
  { from: 'server', flags: 0, answers: CONNECT, read: readConnack },
  undefined,
  { from: 'either', flags: 0, answers: PUBLISH, read: readAcknowledgement },
  { from: 'either', flags: 0, answers: PUBLISH, read: readAcknowledgement },
  { from: 'either', flags: 2, read: readAcknowledgement },
  { from: 'either', flags: 0, answers: PUBREL, read: readAcknowledgement },
  { from: 'client', flags: 2, read: readSubscribe },
  { from: 'server', flags: 0, answers: SUBSCRIBE, read: readSuback },
  { from: 'client', flags: 2, read: readUnsubscribe },
  { from: 'server', flags: 0, answers: UNSUBSCRIBE, read: readSuback },
  { from: 'client', flags: 0, read: () => {} },
  { from: 'server', flags: 0, answers: PINGREQ, read: () => {} },
  { from: 'either', flags: 0, read: readReason },
  { from: 'either', flags: 0, read: readReason },
]

/** All but PUBLISH are small; a subscription to thousands of topics is smaller than this. */
const MAX_CONTROL = 1 << 20
/** Topics that aliases stand for: a sender may announce 65 535 of 64 kB each. */
const MAX_ALIAS_BYTES = 1 << 20
/** So much of a payload is looked at to tell whether properties come first. */
const MAX_INFERRED = 4096
/** The key of what nobody asked for. */
const NOBODY = -1

function open(): State {
  return {
    level: 0,
    version: '',
    waiting: { sizes: new Map(), bytes: 0 },
    forgotten: [],
    aliases: { client: { topics: new Map(), bytes: 0 }, server: { topics: new Map(), bytes: 0 } },
  }
}

/** The version stays. Which identifiers are in use, and what the other side's aliases stand for, is not known any more. */
function lost({ level, version, waiting, forgotten, aliases }: State, from: Side): State {
  return {
    ...open(),
    level,
    version,
    forgotten: [...forgotten, ...waiting.sizes.keys()],
    aliases: { ...aliases, [from]: { topics: new Map(), bytes: 0 } },
  }
}

function weight({ aliases }: State): number {
  return aliases.client.bytes + aliases.server.bytes
}

function read(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  const told = readPacket(at, ctx)
  const { state } = ctx
  if (told === null || state.forgotten.length === 0) return told
  // An identifier that is in use again is that of a newer request.
  const forgotten = state.forgotten
    .filter(key => !state.waiting.sizes.has(key))
    .map((key): Message => ({ kind: 'response', key, body: null, error: { type: 'pair-not-found', msg: FORGOTTEN } }))
  state.forgotten = []
  return [...(Array.isArray(told) ? told : [told]), ...forgotten]
}

const FORGOTTEN = 'packets are missing: the answer may have been in them'

function readPacket(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  if (at.progress !== null) return readOn(at, ctx, at.progress as Publication)
  const start = at.position
  const first = at.u8()
  const size = variable(at)
  const type = first >> 4
  if (type === PUBLISH) return readPublish(at, ctx, first & 15, size)
  const rule = RULES[type]
  if (rule === undefined || rule.flags !== (first & 15) || (rule.from !== 'either' && rule.from !== ctx.from))
    return at.fail(`a packet of the ${ctx.from}, found byte ${first}`)
  if (size > MAX_CONTROL) at.fail(`${PACKETS[type]} of at most ${MAX_CONTROL} bytes, found ${size}`)
  const content = at.within(size)
  const body: Json = { type: PACKETS[type] }
  if (type >= 4 && type <= 11) body.packetId = content.u16()
  rule.read(content, body, ctx.state)
  if (content.remaining > 0) at.fail(`the end of ${PACKETS[type]}, found ${content.remaining} more bytes`)
  const told = messageOf(type, rule, body, at.position - start, ctx)
  for (const one of Array.isArray(told) ? told : [told]) if (ctx.state.version !== '') one.version = ctx.state.version
  return told
}

// ── who answers whom ────────────────────────────────────────────────────────────────────────────────────────────────

function messageOf(type: number, rule: Rule, body: Json, size: number, ctx: Context<State>): Message | Message[] {
  const { state, from } = ctx
  const failed = isError(body)
  if (rule.answers === undefined) {
    if (type === AUTH && from === 'server') return challenge(body, failed, state)
    if (PACKETS[type] !== 'DISCONNECT') return ask(type, body, size, failed, ctx)
    return from === 'client'
      ? { kind: 'request', key: NOBODY, body, failed, unanswered: true }
      : { kind: 'event', body, failed }
  }
  const asker = from === 'client' ? 'server' : 'client'
  const key = keyOf(asker, rule.answers, body.packetId ?? 0)
  const answer: Message = { kind: 'response', key: take(state.waiting, key) ? key : NOBODY, asker, body, failed }
  // What the client authenticated itself with last is accepted or refused together with its CONNECT.
  const proof = keyOf('client', AUTH, 0)
  if (rule.answers === CONNECT && take(state.waiting, proof)) return [{ ...answer, key: proof }, answer]
  return answer
}

function ask(type: number, body: Json, size: number, failed: boolean, { state, from }: Context<State>): Message {
  const key = keyOf(from, type, body.packetId ?? 0)
  const message: Message = { kind: 'request', key, asker: from, body, failed }
  if (!expect(state.waiting, key, size)) message.unanswered = true
  return message
}

/** AUTH of the server answers that of the client, the first one CONNECT, which goes on waiting for its CONNACK. */
function challenge(body: Json, failed: boolean, { waiting }: State): Message {
  const proof = keyOf('client', AUTH, 0)
  if (take(waiting, proof)) return { kind: 'response', key: proof, body, failed }
  const connect = keyOf('client', CONNECT, 0)
  if (waiting.sizes.has(connect)) return { kind: 'response', key: connect, body, failed, more: true }
  return { kind: 'response', key: NOBODY, body, failed }
}

/** Return codes of 3.1.1 are all errors but 0; of the others those from 0x80 on. */
function isError({ type, reasonCode, reasonCodes }: Json): boolean {
  if (type === 'CONNACK') return reasonCode !== 0
  return reasonCode >= LEAST_ERROR || reasonCodes?.some((code: number) => code >= LEAST_ERROR) === true
}

// ── packets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readConnect(at: Cursor, body: Json, state: State): void {
  const name = at.text(at.u16())
  const level = at.u8()
  const version = level & ~BRIDGE
  if (!NAMES.has(name) || VERSIONS[version] === undefined) at.fail(`MQTT 3.1 to 5.0, found ${name} ${level}`)
  const flags = at.u8()
  if ((flags & 1) !== 0) at.fail('a reserved flag of 0')
  body.protocolName = name
  body.protocolLevel = version
  if (level !== version) body.bridge = true
  body.cleanStart = (flags & 2) !== 0
  body.keepAlive = at.u16()
  if (version === 5) body.properties = readProperties(at)
  body.clientId = string(at)
  body.will = (flags & 4) === 0 ? null : readWill(at, flags, version)
  body.username = (flags & 0x80) === 0 ? null : string(at)
  body.password = (flags & 0x40) === 0 ? null : REDACTED
  if ((flags & 0x40) !== 0) at.skip(at.u16())
  state.level = version
  state.version = VERSIONS[version]!
}

function readWill(at: Cursor, flags: number, version: number): MqttWill {
  const properties = version === 5 ? readProperties(at) : undefined
  const topic = string(at)
  const size = at.u16()
  const start = at.position
  at.skip(size)
  const { payload, encoding } = payloadOf(at.bytes, start, at.position, size)
  const will: MqttWill = {
    topic,
    qos: (flags >> 3) & 3,
    retain: (flags & 0x20) !== 0,
    payload,
    payloadSize: size,
    encoding,
  }
  if (properties !== undefined) will.properties = properties
  return will
}

function readConnack(at: Cursor, body: Json, state: State): void {
  infer(state, at.remaining > 2 ? 5 : 4)
  body.sessionPresent = (at.u8() & 1) === 1
  body.reasonCode = at.u8()
  body.reason = state.level === 5 ? reasonOf('CONNACK', body.reasonCode) : returnCodeOf(body.reasonCode)
  if (state.level === 5 && at.remaining > 0) body.properties = readProperties(at)
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP: success where nothing follows. */
function readAcknowledgement(at: Cursor, body: Json, state: State): void {
  if (at.remaining > 0) readReason(at, body, state)
}

function readReason(at: Cursor, body: Json, state: State): void {
  if (at.remaining > 0) infer(state, 5)
  if (state.level !== 5) return
  body.reasonCode = at.remaining === 0 ? 0 : at.u8()
  body.reason = reasonOf(body.type, body.reasonCode)
  if (at.remaining > 0) body.properties = readProperties(at)
}

function readSubscribe(at: Cursor, body: Json, state: State): void {
  infer(state, isListOfTopics(at.bytes, at.position, at.end, 1) ? 4 : 5)
  if (state.level === 5) body.properties = readProperties(at)
  const topics: Json[] = []
  while (at.remaining > 0) {
    const filter = string(at)
    const options = at.u8()
    const topic: Json = { filter, qos: options & 3 }
    if (state.level === 5) {
      topic.noLocal = (options & 4) !== 0
      topic.retainAsPublished = (options & 8) !== 0
      topic.retainHandling = (options >> 4) & 3
    }
    topics.push(topic)
  }
  body.topics = topics
}

function readUnsubscribe(at: Cursor, body: Json, state: State): void {
  infer(state, isListOfTopics(at.bytes, at.position, at.end, 0) ? 4 : 5)
  if (state.level === 5) body.properties = readProperties(at)
  const topics: Json[] = []
  while (at.remaining > 0) topics.push({ filter: string(at) })
  body.topics = topics
}

/** SUBACK and UNSUBACK, which has codes in 5.0 alone. Where the version is not known they may be something else. */
function readSuback(at: Cursor, body: Json, state: State): void {
  if (body.type === 'UNSUBACK') infer(state, at.remaining > 0 ? 5 : 4)
  if (state.level === 0) {
    at.skip(at.remaining)
    return
  }
  if (state.level === 5) body.properties = readProperties(at)
  const codes = [...at.view(at.remaining)]
  if (body.type === 'UNSUBACK' && state.level !== 5) return
  body.reasonCodes = codes
  body.reasons = codes.map(code => reasonOf(body.type, code))
}

/** What a packet shows that can only be of one version; 3.1 is read as 3.1.1. */
function infer(state: State, level: 4 | 5): void {
  if (state.level !== 0) return
  state.level = level
  if (level === 5) state.version = VERSIONS[5]!
}

/** In 5.0 properties come first, which would be a topic of no length or of too great a one. */
function isListOfTopics(b: Uint8Array, start: number, end: number, options: number): boolean {
  let at = start
  while (at + 2 < end) {
    const size = (b[at]! << 8) | b[at + 1]!
    if (size === 0) return false
    at += 2 + size + options
  }
  return at === end
}

// ── PUBLISH ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readPublish(at: Cursor, ctx: Context<State>, flags: number, size: number): Message | null {
  const end = at.position + size
  const qos = (flags >> 1) & 3
  if (qos === 3) at.fail('a QoS of 0 to 2')
  const { state } = ctx
  const topicSize = at.u16()
  if (topicSize + 2 + (qos > 0 ? 2 : 0) > size) at.fail(`a topic within ${size} bytes, found ${topicSize}`)
  const body: Json = { type: 'PUBLISH', topic: '', qos, dup: (flags & 8) !== 0, retain: (flags & 1) !== 0 }
  at.position -= 2
  body.topic = string(at)
  if (qos > 0) body.packetId = at.u16()
  const { level } = state
  const inferred = level === 0 ? inferLevel(at, end) : level
  if (inferred === 5) {
    const { position } = at
    const length = variable(at)
    if (at.position + length > end) at.fail(`properties within ${size} bytes, found ${length}`)
    at.position = position
    body.properties = readProperties(at)
  }
  if (inferred !== 0) infer(state, inferred as 4 | 5)
  if (inferred === 5) resolveAlias(body, state.aliases[ctx.from])
  const left = end - at.position
  if (at.remaining >= left) {
    const start = at.position
    at.position = end
    const message = ended(body, left, at.bytes, start, start + Math.min(left, ctx.keep), ctx)
    if (inferred === 0) withoutPayload(message)
    return message
  }
  const publication = new Publication(body, left, ctx.keep)
  if (inferred === 0) publication.isUnclear = true
  return readOn(at, ctx, publication)
}

/** 0: what follows may be no properties, or a payload that begins with a byte of 0. */
function inferLevel(at: Cursor, end: number): number {
  const stop = Math.min(end, at.position + MAX_INFERRED)
  at.need(stop - at.position)
  const properties = endOfProperties(at.bytes, at.position, stop)
  if (properties < 0) return 4
  return properties > at.position + 1 ? 5 : 0
}

function resolveAlias(body: Json, known: State['aliases']['client']): void {
  const alias = body.properties.topicAlias
  if (alias === undefined) return
  if (body.topic === '') {
    const topic = known.topics.get(alias)
    if (topic === undefined) delete body.topic
    else body.topic = topic
    return
  }
  const size = typeof body.topic === 'string' ? body.topic.length : body.topic.size
  if (known.bytes + size > MAX_ALIAS_BYTES) return
  known.topics.set(alias, body.topic)
  known.bytes += size
}

/** A PUBLISH whose payload is still coming; what `read` commits between segments. */
class Publication {
  readonly body: Json
  readonly size: number
  left: number
  missing = 0
  isUnclear = false
  kept: Uint8Array
  keptLength = 0

  constructor(body: Json, size: number, keep: number) {
    this.body = body
    this.size = size
    this.left = size
    this.kept = new Uint8Array(Math.min(size, keep, FIRST_ROOM))
    this.keep = keep
  }
  private readonly keep: number

  /** Takes what is there. */
  read(at: Cursor): void {
    const taken = Math.min(this.left, at.remaining)
    // What follows a hole would be taken for what comes right behind it.
    const length = this.missing > 0 ? 0 : Math.min(taken, this.keep - this.keptLength)
    if (length > 0) this.append(at.bytes.subarray(at.position, at.position + length))
    at.position += taken
    this.left -= taken
  }

  bridge(length: number): boolean {
    if (length > this.left) return false
    this.left -= length
    this.missing += length
    return true
  }

  private append(bytes: Uint8Array): void {
    const needed = this.keptLength + bytes.length
    if (needed > this.kept.length) {
      const larger = new Uint8Array(Math.min(Math.max(needed, this.kept.length * 2), this.size))
      larger.set(this.kept.subarray(0, this.keptLength))
      this.kept = larger
    }
    this.kept.set(bytes, this.keptLength)
    this.keptLength = needed
  }
}

/** Room for a payload that announces more than has come. */
const FIRST_ROOM = 16_384

function readOn(at: Cursor, ctx: Context<State>, publication: Publication): Message | null {
  publication.read(at)
  if (publication.left === 0) return concluded(publication, ctx)
  at.commit(publication, publication.kept.length)
  return null
}

function concluded(publication: Publication, ctx: Context<State>): Message {
  const { body, size, kept, keptLength, missing, isUnclear } = publication
  const message = ended(body, size, kept, 0, keptLength, ctx)
  if (missing > 0) message.error = dissection(`${missing} bytes of the payload were not captured`)
  if (isUnclear) withoutPayload(message)
  return message
}

/** `b[start..end)` is what is kept of a payload of `size` bytes. */
function ended(body: Json, size: number, b: Uint8Array, start: number, end: number, ctx: Context<State>): Message {
  const { state, from, keep } = ctx
  const { payload, encoding } = payloadOf(b, start, end, end - start)
  body.payload = keep > 0 || size === 0 ? payload : null
  body.payloadSize = size
  body.encoding = keep > 0 ? encoding : null
  if (keep > 0 && end - start < size) body.truncated = true
  const message: Message =
    body.qos > 0
      ? ask(PUBLISH, body, size, false, ctx)
      : { kind: 'request', key: NOBODY, asker: from, body, unanswered: true }
  if (state.version !== '') message.version = state.version
  return message
}

function withoutPayload(message: Message): void {
  const body = message.body as Json
  body.payload = null
  body.payloadSize = null
  body.encoding = null
  message.error = dissection('which version of MQTT this is was not seen: properties may come before the payload')
}

function end(at: Cursor, ctx: Context<State>, why: Ending): Message | null {
  const publication = at.progress as Publication | null
  if (publication === null) return null
  const { size, left } = publication
  const message = concluded(publication, ctx)
  const part = `after ${size - left} of ${size} bytes of the payload`
  message.error =
    why === 'closed' || why === 'reset'
      ? { type: 'connection', msg: `closed ${part}` }
      : dissection(`packets are missing ${part}`)
  return message
}

function dissection(msg: string): ItemError {
  return { type: 'dissection', msg }
}

// ── the first bytes ─────────────────────────────────────────────────────────────────────────────────────────────────

/** A longer packet than this is told by its beginning, or not at all. */
const MAX_PROBED = 4096

/**
 * CONNECT is certain. Where the connection or the port speaks for MQTT, packets that follow each other to the end of what
 * is there are, too.
 */
function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  // State is there once the protocol has been found.
  const isKnown = ctx.hinted || (ctx.state as State | undefined) !== undefined
  if (at.peek() === CONNECT << 4) return from === 'client' && isConnect(at)
  if (!isKnown || at.peek() >> 4 === 0) return false
  let whole = 0
  while (at.remaining > 0) {
    const found = passPacket(at, from)
    if (found === 'no') return false
    if (found === 'begun' || (found === 'cut' && whole > 0)) return true
    // Not enough to tell.
    if (found === 'cut') at.need(at.remaining + 1)
    whole++
  }
  return true
}

function isConnect(at: Cursor): boolean {
  at.skip(1)
  const size = variable(at)
  const length = at.u16()
  if (length !== 4 && length !== 6) return false
  if (!NAMES.has(at.text(length))) return false
  const level = at.u8() & ~BRIDGE
  const flags = at.u8()
  return VERSIONS[level] !== undefined && (flags & 1) === 0 && ((flags >> 3) & 3) !== 3 && size >= length + 6
}

/** Moves behind a packet that may be one. It goes on behind what is there: `begun` with its topic, or `cut` before. */
function passPacket(at: Cursor, from: Side): 'yes' | 'no' | 'begun' | 'cut' {
  const { bytes, end } = at
  const start = at.position
  const type = bytes[start]! >> 4
  const flags = bytes[start]! & 15
  const rule = RULES[type]
  if (type === PUBLISH ? ((flags >> 1) & 3) === 3 : rule === undefined || rule.flags !== flags) return 'no'
  if (rule !== undefined && rule.from !== 'either' && rule.from !== from) return 'no'
  let size = 0
  let position = start + 1
  for (let shift = 0; ; shift += 7) {
    if (shift === 28) return 'no'
    if (position >= end) return 'cut'
    const byte = bytes[position++]!
    size |= (byte & 0x7f) << shift
    if (byte < 0x80) break
  }
  if (!isSize(type, size)) return 'no'
  const stop = position + size
  if (type === PUBLISH) {
    const topic = passTopic(bytes, position, stop, end)
    if (topic !== 'yes') return topic
    if (stop > end) return 'begun'
    at.position = stop
    return 'yes'
  }
  const reason = type >= 4 && type <= 7 ? position + 2 : type >= 14 ? position : stop
  if (reason < Math.min(stop, end) && !isReason(bytes[reason]!)) return 'no'
  if (stop > end) return 'cut'
  at.position = stop
  return 'yes'
}

/** By the rules of each packet: PINGREQ has none, PUBACK two bytes or a reason as well. */
function isSize(type: number, size: number): boolean {
  switch (PACKETS[type]) {
    case 'PINGREQ':
    case 'PINGRESP':
      return size === 0
    case 'PUBLISH':
      return size > 2
    case 'DISCONNECT':
    case 'AUTH':
      return size < MAX_PROBED
    default:
      return size >= 2 && size < MAX_PROBED
  }
}

/**
 * Text without wildcards and control characters, within the packet that ends at `stop`; in 5.0 nothing where an alias
 * stands for it.
 */
function passTopic(b: Uint8Array, start: number, stop: number, end: number): 'yes' | 'no' | 'cut' {
  if (start + 2 > end) return 'cut'
  const topicEnd = start + 2 + ((b[start]! << 8) | b[start + 1]!)
  if (topicEnd > stop) return 'no'
  for (let i = start + 2; i < Math.min(topicEnd, end); i++) {
    const byte = b[i]!
    if (byte < 0x20 || byte === 0x7f || byte === HASH || byte === PLUS) return 'no'
  }
  return topicEnd > end ? 'cut' : 'yes'
}

const HASH = 35
const PLUS = 43

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const told = request ?? event ?? response
  return {
    method: told?.type ?? '',
    summary: told === null ? '' : subject(told),
    status: response === null ? '' : status(response),
  }
}

function subject(told: Json): string {
  if (told.topics !== undefined) return told.topics.map(({ filter }: Json) => shown(filter)).join(' ')
  return shown(told.topic ?? told.clientId ?? told.packetId ?? told.reason)
}

function shown(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  return (value as { base64?: string } | null | undefined)?.base64 ?? ''
}

function status(response: Json): string {
  if (response.reasonCodes !== undefined) {
    const refused = response.reasonCodes.findIndex((code: number) => code >= LEAST_ERROR)
    return refused < 0 ? 'OK' : response.reasons[refused]
  }
  return isError(response) ? response.reason : 'OK'
}
