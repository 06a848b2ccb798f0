/**
 * Advanced Message Queuing Protocol 0-9-1 with RabbitMQ's extensions (amqp0-9-1.pdf, 4.2).
 * https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf
 *
 *   client, first   "AMQP" 0 0 9 1
 *   both            type(1) channel(2) size(4) payload(size) 0xCE
 *                   type 1 method: class(2) method(2) fields    2 content header    3 content body    8 heartbeat
 */
import { Cursor } from '../cursor.ts'
import type { Context, Dissector, Ending, Message, Side, Summary } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import type { Words } from '../words.ts'
import {
  type Asked,
  type Channels,
  channelOf,
  confirmsFrom,
  expectConfirm,
  keysOf,
  takeAll,
  takeAsked,
  takeConfirmed,
} from './amqp/channels.ts'
import { append, type Content, newContent, readHeader, writeBody } from './amqp/content.ts'
import { readFields, readTable } from './amqp/fields.ts'
import { findMethod, type Method } from './amqp/methods.ts'

export const dissector: Dissector<State> = {
  name: 'amqp',
  title: 'Advanced Message Queuing Protocol',
  abbr: 'AMQP',
  version: '0-9-1',
  color: '#ff6600',
  reference: 'https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf',
  transports: ['tcp'],
  ports: [5672, 5671],
  priority: 1,
  keyed: true,
  probe,
  open,
  lost,
  weight,
  read,
  end,
  close: unfinished,
  bridge,
  summarize,
}

/**
 * `request`, `response` and `event` alike: the name of the method, and its fields in camel case (`routingKey`,
 * `messageCount`). Text is text, or `{ base64, size }` where it is not UTF-8.
 */
export interface AmqpMethod extends Json {
  /** `basic publish`, `queue declare-ok`; also `protocol header` and `heartbeat`. */
  method: string
  channel: number
}

/** basic publish, deliver, return and get-ok. */
export interface AmqpContent extends AmqpMethod {
  exchange: Words
  routingKey: Words
  /** Those that are there; null when packets are missing. */
  properties: AmqpProperties | null
  /** Bytes, as announced. */
  bodySize: number
  /** Text, or base64 as `encoding` says; null when nobody wants bodies. */
  body: string | null
  encoding: 'base64' | null
  /** `body` is the beginning only. */
  truncated?: true
}

export interface AmqpProperties extends Json {
  contentType?: Words
  contentEncoding?: Words
  headers?: Json
  /** 1: transient, 2: persistent. */
  deliveryMode?: number
  priority?: number
  correlationId?: Words
  replyTo?: Words
  /** ms, as text. */
  expiration?: Words
  messageId?: Words
  /** Seconds since 1970. */
  timestamp?: number | string
  type?: Words
  userId?: Words
  appId?: Words
}

export interface State {
  channels: Channels
  /** What each side is sending, by channel. */
  contents: Record<Side, Map<number, Content>>
  /** Requests so far: each has its number as key. */
  keys: number
  /** Key of the client's protocol header, until the server has answered it; -1: none. */
  greeting: number
  version: string
  /** Keys of requests whose answers may have been lost: said with the next message. */
  forgotten: number[]
}

function open(): State {
  return {
    channels: new Map(),
    contents: { client: new Map(), server: new Map() },
    keys: 0,
    greeting: -1,
    version: '',
    forgotten: [],
  }
}

/**
 * What waits is not answered for certain any more. How many messages were published is known while nothing of the client
 * was lost, and so is what later ones are confirmed by.
 */
function lost(state: State, from: Side): State {
  const channels: Channels = new Map()
  const forgotten = [...state.forgotten]
  if (state.greeting >= 0) forgotten.push(state.greeting)
  for (const [number, channel] of state.channels) {
    forgotten.push(...keysOf(channel))
    const { confirms } = channel
    if (from === 'server' && confirms !== null) channelOf(channels, number).confirms = confirmsFrom(confirms.next)
  }
  const contents = { ...state.contents, [from]: new Map() }
  return { ...state, channels, contents, greeting: -1, forgotten }
}

function weight({ contents }: State): number {
  let bytes = 0
  for (const side of [contents.client, contents.server]) for (const { kept } of side.values()) bytes += kept.length
  return bytes
}

const METHOD = 1
const HEADER = 2
const BODY = 3
const HEARTBEAT = 8
const FRAME_END = 0xce
const LETTER_A = 0x41
/** Class of the methods on channel 0. */
const CONNECTION = 10
/** Size and end of a frame. */
const AROUND = 8
/** RabbitMQ lets frames be 128 kB unless told otherwise: a method or header beyond this is a wrong size. */
const MAX_FRAME = 1 << 20
/** As above, of a body: nobody sends more in one frame, and a wrong size would hide all that follows. */
const MAX_BODY_FRAME = 1 << 30
/** Many channels may begin a large content each and never end it. */
const MAX_UNFINISHED = 256
const FEW_UNFINISHED = 4
/** The key of what nobody asked for. */
const NOBODY = -1
/** From here on reply codes tell of errors; 200 is success, and some clients say 0 (1.2). */
const LEAST_ERROR = 300

function read(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  const told = readFrame(at, ctx)
  const { state } = ctx
  if (told === null || state.forgotten.length === 0) return told
  const forgotten = state.forgotten.map(
    (key): Message => ({ kind: 'response', key, body: null, error: { type: 'pair-not-found', msg: FORGOTTEN } }),
  )
  state.forgotten = []
  return [...(Array.isArray(told) ? told : [told]), ...forgotten]
}

const FORGOTTEN = 'packets are missing: the answer may have been in them'

function readFrame(at: Cursor, ctx: Context<State>): Message | Message[] | null {
  if (at.progress !== null) return readBody(at, ctx, at.progress as Frame)
  const type = at.u8()
  if (type === LETTER_A) return readGreeting(at, ctx)
  const channel = at.u16()
  const size = at.u32()
  if (type === BODY) {
    if (channel === 0) at.fail('content on a channel other than 0')
    if (size > MAX_BODY_FRAME) at.fail(`a frame of at most ${MAX_BODY_FRAME} bytes, found ${size}`)
    return readBody(at, ctx, startBody(ctx, channel, size))
  }
  if (size > MAX_FRAME) at.fail(`a frame of at most ${MAX_FRAME} bytes, found ${size}`)
  const payload = at.within(size)
  if (at.u8() !== FRAME_END) at.fail('the end of a frame')
  switch (type) {
    case METHOD:
      return readMethod(payload, ctx, channel, size + AROUND)
    case HEADER:
      return readContentHeader(payload, ctx, channel, size + AROUND)
    case HEARTBEAT:
      if (size !== 0) at.fail('an empty heartbeat')
      return { kind: 'event', body: { method: 'heartbeat', channel, from: ctx.from } }
  }
  return at.fail(`a type of frame, found ${type}`)
}

// ── methods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readMethod(at: Cursor, ctx: Context<State>, channel: number, size: number): Message | Message[] | null {
  const classId = at.u16()
  const methodId = at.u16()
  const method = findMethod(classId, methodId)
  const body: Json = { method: method?.name ?? `class ${classId} method ${methodId}`, channel }
  if (method === undefined) return alone(ctx, body, { type: 'dissection', msg: 'a method that is not known' })
  if (method.from !== 'either' && method.from !== ctx.from) at.fail(`a method of the ${ctx.from}, found ${method.name}`)
  const user = method.name === 'connection start-ok' ? userOf(at) : null
  const fault = readFields(at, method.fields, body)
  if (at.remaining > 0) at.fail(`the end of ${method.name}, found ${at.remaining} more bytes`)
  if (user !== null) body.user = user
  if (method.hasContent) {
    const contents = ctx.state.contents[ctx.from]
    const content = newContent(body, ctx.moment, size)
    content.fault = fault
    contents.delete(channel)
    if (contents.size < MAX_UNFINISHED) contents.set(channel, content)
    return null
  }
  const told = messagesOf(method, body, channel, ctx)
  if (fault !== null) for (const one of Array.isArray(told) ? told : [told]) one.error = dissection(fault)
  return told
}

function messagesOf(method: Method, body: Json, channel: number, ctx: Context<State>): Message | Message[] {
  const { state } = ctx
  if (method.isAnswer) return answer(method, body, channel, ctx)
  switch (method.name) {
    case 'connection start':
      return start(body, ctx)
    case 'connection close':
    case 'channel close':
      return close(method, body, channel, ctx)
    case 'channel open':
      state.channels.delete(channel)
      break
    case 'confirm select':
      channelOf(state.channels, channel).confirms ??= confirmsFrom(1)
      break
    case 'basic ack':
    case 'basic nack':
      if (ctx.from === 'server') return confirm(method, body, channel, state)
  }
  if (method.answers.length === 0 || body.noWait === true) return alone(ctx, body, null)
  return ask(method, body, channel, ctx)
}

/** What waits for no answer: of the client a request, of the server an event. */
function alone(ctx: Context<State>, body: Json, error: ItemError | null): Message {
  const message: Message =
    ctx.from === 'client' ? { kind: 'request', body, key: NOBODY, unanswered: true } : { kind: 'event', body }
  if (error !== null) message.error = error
  return message
}

function ask(method: Method, body: Json, channel: number, ctx: Context<State>): Message {
  const { state } = ctx
  const key = state.keys++
  channelOf(state.channels, channel)[ctx.from].push({ name: method.name, answers: method.answers, key })
  return { kind: 'request', body, key, asker: ctx.from }
}

function answer(method: Method, body: Json, channel: number, ctx: Context<State>): Message {
  const { state, from } = ctx
  const asker = from === 'client' ? 'server' : 'client'
  const asked = takeAsked(state.channels.get(channel), asker, method)
  if (method.name === 'channel close-ok') {
    state.channels.delete(channel)
    state.contents.client.delete(channel)
    state.contents.server.delete(channel)
  }
  return answerTo(asked, body, asker)
}

function answerTo(asked: Asked | undefined, body: Json, asker: Side): Message {
  if (asked?.key === null) return { kind: 'event', body }
  return { kind: 'response', key: asked?.key ?? NOBODY, body, asker }
}

function start(body: Json, ctx: Context<State>): Message | Message[] {
  const { state } = ctx
  const asks = ask(findMethod(10, 10)!, body, 0, ctx)
  if (state.greeting < 0) return asks
  const { method, channel, versionMajor, versionMinor } = body
  const accepted: Message = {
    kind: 'response',
    key: state.greeting,
    body: { method, channel, versionMajor, versionMinor },
    // Its bytes are counted where it is the request.
    size: 0,
  }
  state.greeting = -1
  return [accepted, asks]
}

/**
 * A server that closes with an error answers all that waits there: it is the only answer there will be. Where nothing
 * waits (what was published is not answered, a login is) it is an event.
 */
function close(method: Method, body: Json, channel: number, ctx: Context<State>): Message | Message[] {
  const { state, from } = ctx
  // The name that scripts know is misspelt.
  body.relyCode = body.replyCode
  const failed = body.replyCode >= LEAST_ERROR
  if (from === 'client' || !failed) {
    const message = ask(method, body, channel, ctx)
    if (failed) message.failed = true
    return message
  }
  const closed = method.classId === CONNECTION ? [...state.channels.values()] : [channelOf(state.channels, channel)]
  const keys = closed.flatMap(takeAll)
  channelOf(state.channels, channel).server.push({ name: method.name, answers: method.answers, key: null })
  if (keys.length === 0) return { kind: 'event', body, failed }
  return keys.map(key => ({ kind: 'response', key, body, failed }))
}

function confirm(method: Method, body: Json, channel: number, state: State): Message | Message[] {
  const confirms = state.channels.get(channel)?.confirms ?? null
  const keys =
    confirms === null || typeof body.deliveryTag === 'string'
      ? []
      : takeConfirmed(confirms, body.deliveryTag, body.multiple)
  if (keys.length === 0) return { kind: 'event', body }
  const failed = method.name === 'basic nack'
  return keys.map(key => ({ kind: 'response', key, body, failed }))
}

/** Who logs in: PLAIN is `[authorization] NUL user NUL password`, AMQPLAIN a table without its length. */
function userOf(at: Cursor): Words | null {
  const start = at.position
  at.skip(at.u32())
  const mechanism = at.text(at.u8())
  const response = at.within(at.u32())
  at.position = start
  if (mechanism === 'PLAIN') return response.text(response.remaining).split('\0')[1] ?? null
  if (mechanism !== 'AMQPLAIN') return null
  const { bytes, position, end } = response
  const table = new Uint8Array(4 + end - position)
  new DataView(table.buffer).setUint32(0, end - position)
  table.set(bytes.subarray(position, end), 4)
  const { value } = readTable(new Cursor(table, 0, table.length, true))
  return (value as Json).LOGIN ?? null
}

// ── content ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A body frame that is being read; what `read` commits between segments. */
interface Frame {
  channel: number
  /** null: its method was not seen. */
  content: Content | null
  /** Bytes of the payload still to come. */
  left: number
}

function readContentHeader(at: Cursor, ctx: Context<State>, channel: number, size: number): Message | null {
  const { bodySize, properties, fault } = readHeader(at)
  const contents = ctx.state.contents[ctx.from]
  const content = contents.get(channel)
  if (content === undefined) return null
  if (content.bodySize !== null) at.fail('a body')
  content.bodySize = bodySize
  content.fault ??= fault
  content.size += size
  content.body.properties = properties
  if (bodySize > 0) return null
  return finish(content, channel, ctx.from, ctx)
}

function startBody(ctx: Context<State>, channel: number, size: number): Frame {
  const content = ctx.state.contents[ctx.from].get(channel)
  return { channel, content: content === undefined || content.bodySize === null ? null : content, left: size }
}

function readBody(at: Cursor, ctx: Context<State>, frame: Frame): Message | null {
  const { content } = frame
  const taken = Math.min(frame.left, at.remaining)
  const start = at.position
  const isAllHere = content !== null && taken === content.bodySize && at.remaining > taken
  at.position += taken
  if (at.remaining > 0 && at.peek() !== FRAME_END) at.fail('the end of a frame')
  if (content !== null && !isAllHere) {
    if (content.received + frame.left > content.bodySize!)
      at.fail(`a body of ${content.bodySize} bytes, found ${content.received + frame.left}`)
    append(content, at.bytes, start, at.position, share(ctx))
    content.size += taken
  }
  frame.left -= taken
  if (at.remaining === 0) {
    at.commit(frame, content === null ? 0 : content.kept.length)
    return null
  }
  at.skip(1)
  if (content === null) return null
  if (isAllHere) {
    content.size += taken + AROUND
    return finish(content, frame.channel, ctx.from, ctx, at.bytes, start, start + Math.min(taken, ctx.keep))
  }
  content.size += AROUND
  if (content.received < content.bodySize!) {
    // Bytes that the other side lost cost us the state in between.
    ctx.state.contents[ctx.from].set(frame.channel, content)
    return null
  }
  return finish(content, frame.channel, ctx.from, ctx)
}

/** What may be kept of one body: what is wanted, unless many are under way at once. */
function share({ state, from, keep }: Context<State>): number {
  const { size } = state.contents[from]
  return size <= FEW_UNFINISHED ? keep : Math.floor((keep * FEW_UNFINISHED) / size)
}

/** The message of a content whose body is complete, or will be no more; kept is `bytes[start..end)`. */
function finish(
  content: Content,
  channel: number,
  from: Side,
  ctx: Context<State>,
  bytes = content.kept,
  start = 0,
  end = content.keptLength,
): Message {
  const { state } = ctx
  const { body, since, size, missing } = content
  if (state.contents[from].get(channel) === content) state.contents[from].delete(channel)
  writeBody(content, bytes, start, end, ctx.keep > 0)
  const message = contentMessage(body, channel, size, from, state)
  message.since = since
  message.size = size
  if (content.fault !== null) message.error = dissection(content.fault)
  if (missing > 0) message.error = dissection(`${missing} bytes of the body were not captured`)
  return message
}

function contentMessage(body: Json, channel: number, size: number, from: Side, state: State): Message {
  const known = state.channels.get(channel)
  if (body.method === 'basic get-ok') return answerTo(takeAsked(known, 'client', findMethod(60, 71)!), body, 'client')
  if (from === 'server') return { kind: 'event', body }
  const confirms = known?.confirms ?? null
  if (confirms === null) return { kind: 'request', key: NOBODY, body, unanswered: true }
  const key = state.keys++
  const isExpected = expectConfirm(confirms, key, size)
  return isExpected ? { kind: 'request', key, body } : { kind: 'request', key, body, unanswered: true }
}

function end(at: Cursor, ctx: Context<State>, why: Ending): Message | null {
  const frame = at.progress as Frame | null
  if (frame === null || frame.content === null) return null
  return cutShort(frame.content, frame.channel, ctx.from, ctx, why)
}

/** Contents that were to go on with a next frame. */
function unfinished(ctx: Context<State>, why: Ending): Message[] {
  const { contents } = ctx.state
  const begun = (['client', 'server'] as const).flatMap(from =>
    [...contents[from]]
      .filter(([, { bodySize }]) => bodySize !== null)
      .map(([channel, one]) => ({ from, channel, one })),
  )
  return begun.map(({ from, channel, one }) => cutShort(one, channel, from, ctx, why))
}

function cutShort(content: Content, channel: number, from: Side, ctx: Context<State>, why: Ending): Message {
  const message = finish(content, channel, from, ctx)
  const part = `after ${content.received} of ${content.bodySize} bytes of the body`
  message.error =
    why === 'closed' || why === 'reset'
      ? { type: 'connection', msg: `closed ${part}` }
      : dissection(`packets are missing ${part}`)
  return message
}

function bridge(length: number, progress: unknown): boolean {
  const frame = progress as Frame
  if (length > frame.left) return false
  frame.left -= length
  if (frame.content !== null) {
    frame.content.missing += length
    frame.content.received += length
    frame.content.size += length
  }
  return true
}

function dissection(msg: string): ItemError {
  return { type: 'dissection', msg }
}

// ── the first bytes ─────────────────────────────────────────────────────────────────────────────────────────────────

/** What follows `AMQP`, and how it is called; 1.0 after TLS or SASL has the same version. */
const VERSIONS: Readonly<Record<string, string>> = {
  '0 0 9 1': '0-9-1',
  '1 1 0 9': '0-9',
  '1 1 9 1': '0-9-1',
  '1 1 0 10': '0-10',
  '1 1 8 0': '0-8',
  '0 1 0 0': '1-0',
  '2 1 0 0': '1-0',
  '3 1 0 0': '1-0',
}

/** The client says which version it speaks; a server that does not speak it says which it does, and closes (4.2.2). */
function readGreeting(at: Cursor, ctx: Context<State>): Message {
  if (at.latin1(3) !== 'MQP') at.fail('AMQP')
  const numbers = [at.u8(), at.u8(), at.u8(), at.u8()].join(' ')
  const { state, from } = ctx
  const version = VERSIONS[numbers] ?? numbers.replaceAll(' ', '-')
  const body: Json = { method: 'protocol header', channel: 0, version }
  if (from === 'client') {
    state.greeting = state.keys++
    state.version = version
    return { kind: 'request', key: state.greeting, body, version }
  }
  const key = state.greeting
  state.greeting = -1
  const message: Message = { kind: 'response', key, body, failed: version !== state.version }
  // Both speak 1.0, which has nothing but this header in common with 0-9-1.
  if (version === state.version) message.becomes = 'unknown'
  return message
}

/** A longer first frame proves no more, and would wait for its end in vain. */
const MAX_PROBED_FRAME = 8000
const LEAST_METHOD = 4

/**
 * A header, or a method that this side may send whose fields end where the frame ends. A method that both may send, and
 * frames that are no methods, do not tell who is the server: they count where that is known.
 */
function probe(at: Cursor, from: Side, ctx: Context<State>): boolean {
  const type = at.u8()
  if (type === LETTER_A) return at.latin1(3) === 'MQP' && at.u8() < 4 && at.u8() < 2 && at.u8() < 10 && at.u8() < 11
  if (type !== METHOD && type !== HEADER && type !== HEARTBEAT) return false
  // State is there once the protocol has been found.
  const isKnown = ctx.hinted || (ctx.state as State | undefined) !== undefined
  if (type !== METHOD && !isKnown) return false
  const channel = at.u16()
  const size = at.u32()
  if (size > MAX_PROBED_FRAME || (type === HEARTBEAT) !== (size === 0)) return false
  if (type === METHOD) {
    if (size < LEAST_METHOD) return false
    const method = findMethod(at.u16(), at.u16())
    at.position -= LEAST_METHOD
    if (method === undefined || (method.classId === CONNECTION) !== (channel === 0)) return false
    if (method.from === 'either' ? !isKnown : method.from !== from) return false
  }
  const payload = at.within(size)
  if (at.u8() !== FRAME_END) return false
  if (type === METHOD) {
    const { fields } = findMethod(payload.u16(), payload.u16())!
    return readFields(payload, fields, {}) === null && payload.remaining === 0
  }
  return type === HEARTBEAT ? channel === 0 : channel !== 0 && readHeader(payload).fault === null
}

// ── in a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  const told = request ?? event ?? response
  return {
    method: told?.method ?? '',
    summary: told === null ? '' : subject(told),
    status: response === null ? '' : status(response),
  }
}

/** Exchange and routing key, or whatever names best what the method is about. */
function subject(told: Json): string {
  if (told.method === 'protocol header') return told.version
  if (told.replyCode !== undefined && told.exchange === undefined) return `${told.replyCode} ${shown(told.replyText)}`
  const names = [told.queue, told.destination, told.source, told.exchange, told.routingKey].map(shown)
  return (
    names.filter(name => name !== '').join(' ') ||
    shown(told.virtualHost ?? told.consumerTag ?? told.mechanism) ||
    shown(told.deliveryTag)
  )
}

function shown(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  return (value as { base64?: string } | null | undefined)?.base64 ?? ''
}

function status(response: Json): string {
  if (typeof response.replyCode === 'number') return String(response.replyCode)
  if (response.method === 'protocol header') return response.version
  const word = String(response.method).split(' ')[1] ?? ''
  return word.endsWith('-ok') || word === 'start' ? 'OK' : word.toUpperCase()
}
