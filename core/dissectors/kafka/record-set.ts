/**
 * The records of one partition: batches (magic 2) or, until Kafka 0.10, single messages (magic 0 and 1).
 *
 *   batch    baseOffset(8) length(4) leaderEpoch(4) magic(1) crc(4) attributes(2) lastOffsetDelta(4) firstTimestamp(8)
 *            maxTimestamp(8) producerId(8) producerEpoch(2) baseSequence(4) count(4) records, compressed together
 *   record   length attributes(1) timestampDelta offsetDelta keyLength key valueLength value count count*(key value);
 *            all lengths and deltas are zigzag varints
 *   message  offset(8) size(4) crc(4) magic(1) attributes(1) [timestamp(8)] keyLength(4) key valueLength(4) value;
 *            compressed messages are the value of another one
 */
import { Cursor, Malformed } from '../../cursor.ts'
import { constant } from '../../json-writer.ts'
import type { Body } from './body.ts'
import { CODECS, type Codec, inflate } from './compression.ts'
import { varint, varlong } from './varint.ts'

/** What an item says of a batch (magic 2). Offsets and times are those of the first record plus its deltas. */
export interface RecordBatch {
  baseOffset: number | string
  /** Bytes behind this field. */
  batchLength: number
  partitionLeaderEpoch: number
  magic: 2
  crc: number
  attributes: number
  compression: string
  isTransactional: boolean
  isControl: boolean
  lastOffsetDelta: number
  /** ms since 1970. */
  firstTimestamp: number | string
  maxTimestamp: number | string
  producerId: number | string
  producerEpoch: number
  baseSequence: number
  recordCount: number
  record: BatchRecord[]
  /** Records that are not shown: beyond what is kept, not captured, or not to be decompressed. */
  omitted?: number
  /** Why nothing is shown of a compressed batch. */
  unreadable?: string
}

export interface BatchRecord {
  attributes: number
  timestampDelta: number | string
  offsetDelta: number
  /** Bytes; -1: null. */
  keyLength: number
  /** Text where it is UTF-8; else base64, and then `keyEncoding` says so. */
  key: string | null
  keyEncoding?: 'base64'
  valueLen: number
  value: string | null
  valueEncoding?: 'base64'
  /** The value is longer than what is kept. */
  valueTruncated?: true
  headers: { headerKey: string; value: string | null; valueEncoding?: 'base64' }[]
  /** Of control batches: `COMMIT`, `ABORT`. */
  control?: string
}

/** What an item says of a message (magic 0 and 1). */
export interface OldMessage {
  offset: number | string
  messageSize: number
  crc: number
  magic: 0 | 1
  attributes: number
  compression: string
  /** ms since 1970; magic 1 only. */
  timestamp?: number | string
  keyLength: number
  key: string | null
  valueLen: number
  /** null where it holds compressed messages. */
  value: string | null
  messages?: OldMessage[]
  unreadable?: string
}

const NULL = constant('null')
/** Up to the magic, which tells the rest. */
const MAGIC_AT = 16
/** Behind the length of a batch or a message. */
const PREAMBLE = 12
/** From the leader epoch to the count. */
const LEAST_BATCH = 49

export function readRecords(body: Body, size: number): void {
  const { at, out } = body
  if (size < 0) {
    out.raw(NULL)
    return
  }
  if (at.whole) at.need(size)
  const end = at.position + size
  const inner = new Cursor(at.bytes, at.position, Math.min(end, at.end), true)
  body.open(123, 125)
  out.raw(SIZE)
  out.integer(size)
  out.raw(BATCHES)
  body.open(91, 93)
  readSet(body, inner, readMessage)
  body.close()
  if (inner.remaining > 0 || end > at.end) {
    out.raw(UNREAD)
    out.integer(end - inner.position)
  }
  body.close()
  body.mark()
  at.skip(size)
}

/** As far as it can be read: a broker cuts the last batch where the client's limit is. */
function readSet(body: Body, at: Cursor, readOld: (body: Body, at: Cursor) => void): void {
  for (let count = 0; at.remaining > MAGIC_AT && !body.isFull; count++) {
    const start = at.position
    const isRead = body.attempt(() => {
      if (count > 0) body.out.byte(44)
      if (at.peek(MAGIC_AT) < 2) readOld(body, at)
      else readBatch(body, at)
    })
    if (isRead) continue
    at.position = start
    return
  }
}

// ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const COMPRESSION = 7
const TRANSACTIONAL = 0x10
const CONTROL = 0x20

function readBatch(body: Body, at: Cursor): void {
  const { out } = body
  const start = at.position
  const baseOffset = at.i64()
  const length = at.i32()
  if (length < LEAST_BATCH) at.fail(`a batch of at least ${LEAST_BATCH} bytes, found ${length}`)
  const end = start + PREAMBLE + length
  // What the broker cut off will come again; what was not kept will not.
  if (end > at.end && body.at.whole) at.need(end - at.position)
  body.open(123, 125)
  name(body, 'baseOffset')
  body.long(baseOffset)
  integer(body, 'batchLength', length)
  integer(body, 'partitionLeaderEpoch', at.i32())
  const magic = at.u8()
  if (magic !== 2) at.fail(`magic 0 to 2, found ${magic}`)
  integer(body, 'magic', magic)
  name(body, 'crc')
  body.long(at.u32())
  const attributes = at.u16()
  const codec = CODECS[attributes & COMPRESSION]
  if (codec === undefined) at.fail(`a known compression, found ${attributes & COMPRESSION}`)
  integer(body, 'attributes', attributes)
  name(body, 'compression')
  out.ascii(`"${codec}"`)
  name(body, 'isTransactional')
  body.boolean((attributes & TRANSACTIONAL) !== 0)
  name(body, 'isControl')
  body.boolean((attributes & CONTROL) !== 0)
  integer(body, 'lastOffsetDelta', at.i32())
  long(body, 'firstTimestamp', at)
  long(body, 'maxTimestamp', at)
  long(body, 'producerId', at)
  integer(body, 'producerEpoch', at.i16())
  integer(body, 'baseSequence', at.i32())
  const count = at.i32()
  if (count < 0) at.fail(`a number of records, found ${count}`)
  integer(body, 'recordCount', count)
  const present = Math.min(end, at.end)
  const content = new Cursor(at.bytes, at.position, present, true)
  at.position = present
  readContent(body, content, codec, count, (attributes & CONTROL) !== 0)
  body.close()
}

/** The records of a batch, `count` of them, compressed or not. */
function readContent(body: Body, at: Cursor, codec: Codec, count: number, isControl: boolean): void {
  const { out } = body
  name(body, 'record')
  body.open(91, 93)
  const plain = body.keep > 0 ? inflated(body, at, codec) : null
  let shown = 0
  if (plain instanceof Cursor)
    for (; shown < count && plain.remaining > 0 && body.keep > 0 && !body.isFull; shown++) {
      const length = varint(plain)
      // The rest of the batch was not kept.
      if (length > plain.remaining) break
      if (shown > 0) out.byte(44)
      readRecord(body, plain, plain.position + length, isControl)
    }
  body.close()
  if (shown < count) integer(body, 'omitted', count - shown)
  if (typeof plain === 'string') {
    name(body, 'unreadable')
    out.value(plain)
  }
}

/** What is within the compressed bytes; text: why they cannot be read. */
function inflated(body: Body, at: Cursor, codec: Codec): Cursor | string {
  if (codec === 'none') return at
  try {
    const bytes = inflate(codec, at.bytes.subarray(at.position, at.end), body.inflatable)
    body.inflatable -= bytes.length
    return new Cursor(bytes, 0, bytes.length, true)
  } catch (thrown) {
    if (!(thrown instanceof Malformed)) throw thrown
    return thrown.reason
  }
}

function readRecord(body: Body, at: Cursor, end: number, isControl: boolean): void {
  const { out } = body
  out.raw(ATTRIBUTES)
  body.integer(at.i8())
  out.raw(TIMESTAMP_DELTA)
  body.long(varlong(at))
  out.raw(OFFSET_DELTA)
  body.integer(varint(at))
  const keyLength = varint(at)
  out.raw(KEY_LENGTH)
  body.integer(keyLength)
  out.raw(KEY)
  const key = at.position
  field(body, at, keyLength, KEY_ENCODING, KEY_TRUNCATED)
  const valueLength = varint(at)
  out.raw(VALUE_LENGTH)
  body.integer(valueLength)
  out.raw(VALUE)
  field(body, at, valueLength, VALUE_ENCODING, VALUE_TRUNCATED)
  out.raw(HEADERS)
  const headers = varint(at)
  for (let i = 0; i < headers; i++) {
    if (i > 0) out.byte(44)
    const length = varint(at)
    at.need(length)
    out.raw(HEADER_KEY)
    out.string(at.bytes, at.position, at.position + length)
    at.position += length
    out.raw(VALUE)
    field(body, at, varint(at), VALUE_ENCODING, VALUE_TRUNCATED)
    out.byte(125)
  }
  out.byte(93)
  if (isControl && keyLength >= CONTROL_KEY) control(body, (at.bytes[key + 2]! << 8) | at.bytes[key + 3]!)
  out.byte(125)
  if (at.position > end) at.fail('a record that ends where it says')
  at.position = end
}

function field(body: Body, at: Cursor, length: number, encoding: Uint8Array, truncated: Uint8Array): void {
  if (length < 0) {
    body.out.raw(NULL)
    return
  }
  at.need(length)
  const start = at.position
  at.position = start + length
  body.blob(at.bytes, start, start + length, encoding, truncated)
}

/** version(2) type(2) */
const CONTROL_KEY = 4
const CONTROLS = ['ABORT', 'COMMIT', 'LEADER_CHANGE', 'SNAPSHOT_HEADER', 'SNAPSHOT_FOOTER', 'KRAFT_VERSION', 'VOTERS']

function control(body: Body, type: number): void {
  name(body, 'control')
  body.out.value(CONTROLS[type] ?? String(type))
}

// ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function readMessage(body: Body, at: Cursor): void {
  message(body, at, readInnerMessage)
}

/** Of a compressed message. Whatever that holds is not compressed again. */
function readInnerMessage(body: Body, at: Cursor): void {
  message(body, at, null)
}

function message(body: Body, at: Cursor, readInner: ((body: Body, at: Cursor) => void) | null): void {
  const { out } = body
  const offset = at.i64()
  const size = at.i32()
  const end = at.position + size
  at.need(size)
  body.open(123, 125)
  name(body, 'offset')
  body.long(offset)
  integer(body, 'messageSize', size)
  name(body, 'crc')
  body.long(at.u32())
  const magic = at.u8()
  if (magic > 1) at.fail(`a message within a message, found magic ${magic}`)
  integer(body, 'magic', magic)
  const attributes = at.u8()
  integer(body, 'attributes', attributes)
  const codec = CODECS[attributes & COMPRESSION]
  if (codec === undefined) at.fail(`a known compression, found ${attributes & COMPRESSION}`)
  name(body, 'compression')
  out.ascii(`"${codec}"`)
  if (magic === 1) long(body, 'timestamp', at)
  const keyLength = at.i32()
  integer(body, 'keyLength', keyLength)
  out.raw(KEY)
  field(body, at, keyLength, KEY_ENCODING, KEY_TRUNCATED)
  const valueLength = at.i32()
  integer(body, 'valueLen', valueLength)
  out.raw(VALUE)
  if (codec === 'none' || readInner === null || valueLength < 0)
    field(body, at, valueLength, VALUE_ENCODING, VALUE_TRUNCATED)
  else {
    out.raw(NULL)
    readCompressed(body, at.within(valueLength), codec, readInner)
  }
  if (at.position !== end) at.fail(`a message of ${size} bytes`)
  body.close()
}

function readCompressed(body: Body, at: Cursor, codec: Codec, readInner: (body: Body, at: Cursor) => void): void {
  const plain = body.keep > 0 ? inflated(body, at, codec) : null
  if (typeof plain === 'string') {
    name(body, 'unreadable')
    body.out.value(plain)
  } else if (plain !== null) {
    name(body, 'messages')
    body.open(91, 93)
    readSet(body, plain, readInner)
    body.close()
  }
}

// ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const SIZE = constant('"size":')
const BATCHES = constant(',"recordBatches":')
const UNREAD = constant(',"unread":')
const ATTRIBUTES = constant('{"attributes":')
const TIMESTAMP_DELTA = constant(',"timestampDelta":')
const OFFSET_DELTA = constant(',"offsetDelta":')
const KEY_LENGTH = constant(',"keyLength":')
const KEY = constant(',"key":')
const VALUE_LENGTH = constant(',"valueLen":')
const VALUE = constant(',"value":')
const HEADERS = constant(',"headers":[')
const HEADER_KEY = constant('{"headerKey":')
const KEY_ENCODING = constant(',"keyEncoding":"base64"')
const VALUE_ENCODING = constant(',"valueEncoding":"base64"')
const KEY_TRUNCATED = constant(',"keyTruncated":true')
const VALUE_TRUNCATED = constant(',"valueTruncated":true')

const LABELS = labels(
  'baseOffset batchLength partitionLeaderEpoch magic crc attributes compression isTransactional isControl ' +
    'lastOffsetDelta firstTimestamp maxTimestamp producerId producerEpoch baseSequence recordCount record omitted ' +
    'unreadable control offset messageSize timestamp keyLength valueLen messages',
)

function labels(names: string): ReadonlyMap<string, Uint8Array> {
  return new Map(names.split(' ').map(name => [name, constant(`"${name}":`)]))
}

/** The name of the next field of an object. */
function name(body: Body, label: string): void {
  const { out } = body
  if (out.bytes[out.length - 1] !== 123) out.byte(44)
  out.raw(LABELS.get(label)!)
}

function integer(body: Body, label: string, value: number): void {
  name(body, label)
  body.integer(value)
}

function long(body: Body, label: string, at: Cursor): void {
  name(body, label)
  body.long(at.i64())
}
