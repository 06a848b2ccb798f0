/**
 * Memcached in frames.
 * https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped
 *
 *   magic(1)=0x80 of the client, 0x81 of the server  opcode(1)  key length(2)  extras length(1)  data type(1)=0
 *   vbucket or status(2)  body length(4)  opaque(4)  cas(8)  extras  key  value
 */
import type { Cursor } from '../../cursor.ts'
import type { Side } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { payloadOf } from '../../payload.ts'
import { Intake, MAX_SIZE, type Pending } from './value.ts'

export const REQUEST = 0x80
export const RESPONSE = 0x81

type Extras = 'none' | 'store' | 'number' | 'time' | 'time if any' | 'level'

interface Opcode {
  code: number
  name: string
  extras: Extras
  /** The server says only what is unusual. */
  isQuiet?: true
  key?: 'needed' | 'optional'
  /** A value follows the key. */
  hasValue?: true
  /** The value is what authenticates. */
  isSecret?: true
  /** The answer begins with the flags of the entry. */
  answersFlags?: true
}

const OPCODES: readonly Opcode[] = [
  { code: 0x00, name: 'get', extras: 'none', key: 'needed', answersFlags: true },
  { code: 0x01, name: 'set', extras: 'store', key: 'needed', hasValue: true },
  { code: 0x02, name: 'add', extras: 'store', key: 'needed', hasValue: true },
  { code: 0x03, name: 'replace', extras: 'store', key: 'needed', hasValue: true },
  { code: 0x04, name: 'delete', extras: 'none', key: 'needed' },
  { code: 0x05, name: 'incr', extras: 'number', key: 'needed' },
  { code: 0x06, name: 'decr', extras: 'number', key: 'needed' },
  { code: 0x07, name: 'quit', extras: 'none' },
  { code: 0x08, name: 'flush', extras: 'time if any' },
  { code: 0x09, name: 'getq', extras: 'none', key: 'needed', isQuiet: true, answersFlags: true },
  { code: 0x0a, name: 'noop', extras: 'none' },
  { code: 0x0b, name: 'version', extras: 'none' },
  { code: 0x0c, name: 'getk', extras: 'none', key: 'needed', answersFlags: true },
  { code: 0x0d, name: 'getkq', extras: 'none', key: 'needed', isQuiet: true, answersFlags: true },
  { code: 0x0e, name: 'append', extras: 'none', key: 'needed', hasValue: true },
  { code: 0x0f, name: 'prepend', extras: 'none', key: 'needed', hasValue: true },
  { code: 0x10, name: 'stat', extras: 'none', key: 'optional' },
  { code: 0x11, name: 'setq', extras: 'store', key: 'needed', hasValue: true, isQuiet: true },
  { code: 0x12, name: 'addq', extras: 'store', key: 'needed', hasValue: true, isQuiet: true },
  { code: 0x13, name: 'replaceq', extras: 'store', key: 'needed', hasValue: true, isQuiet: true },
  { code: 0x14, name: 'deleteq', extras: 'none', key: 'needed', isQuiet: true },
  { code: 0x15, name: 'incrq', extras: 'number', key: 'needed', isQuiet: true },
  { code: 0x16, name: 'decrq', extras: 'number', key: 'needed', isQuiet: true },
  { code: 0x17, name: 'quitq', extras: 'none', isQuiet: true },
  { code: 0x18, name: 'flushq', extras: 'time if any', isQuiet: true },
  { code: 0x19, name: 'appendq', extras: 'none', key: 'needed', hasValue: true, isQuiet: true },
  { code: 0x1a, name: 'prependq', extras: 'none', key: 'needed', hasValue: true, isQuiet: true },
  { code: 0x1b, name: 'verbosity', extras: 'level' },
  { code: 0x1c, name: 'touch', extras: 'time', key: 'needed' },
  { code: 0x1d, name: 'gat', extras: 'time', key: 'needed', answersFlags: true },
  { code: 0x1e, name: 'gatq', extras: 'time', key: 'needed', isQuiet: true, answersFlags: true },
  { code: 0x20, name: 'sasl list mechs', extras: 'none' },
  { code: 0x21, name: 'sasl auth', extras: 'none', key: 'needed', hasValue: true, isSecret: true },
  { code: 0x22, name: 'sasl step', extras: 'none', key: 'needed', hasValue: true, isSecret: true },
  { code: 0x23, name: 'gatk', extras: 'time', key: 'needed', answersFlags: true },
  { code: 0x24, name: 'gatkq', extras: 'time', key: 'needed', isQuiet: true, answersFlags: true },
]
const BY_CODE: ReadonlyMap<number, Opcode> = new Map(OPCODES.map(opcode => [opcode.code, opcode]))
const STAT = 0x10
const NUMBERS: ReadonlySet<number> = new Set([0x05, 0x06, 0x15, 0x16])

/** Bytes of extras that a request may have. */
const LENGTHS: Readonly<Record<Extras, readonly number[]>> = {
  none: [0],
  store: [8],
  number: [20],
  time: [4],
  'time if any': [0, 4],
  level: [4],
}

const STATUSES: ReadonlyMap<number, string> = new Map([
  [0x00, 'OK'],
  [0x01, 'NOT_FOUND'],
  [0x02, 'EXISTS'],
  [0x03, 'TOO_LARGE'],
  [0x04, 'INVALID_ARGUMENTS'],
  [0x05, 'NOT_STORED'],
  [0x06, 'NOT_A_NUMBER'],
  [0x07, 'WRONG_VBUCKET'],
  [0x20, 'AUTH_ERROR'],
  [0x21, 'AUTH_CONTINUE'],
  [0x81, 'UNKNOWN_COMMAND'],
  [0x82, 'OUT_OF_MEMORY'],
  [0x83, 'NOT_SUPPORTED'],
  [0x84, 'INTERNAL_ERROR'],
  [0x85, 'BUSY'],
  [0x86, 'TEMPORARY_FAILURE'],
])
/** What is no error: the entry is not there, or not as the client expected. */
const EXPECTED: ReadonlySet<number> = new Set([0x00, 0x01, 0x02, 0x05, 0x21])

const HEADER = 24
/** Statistics that one answer keeps. */
const MAX_KEPT = 1000
/** A longer one is none. */
const MAX_STATISTIC = 4096
const REDACTED = '[REDACTED]'

/** One frame; its value perhaps in part. */
export class BinaryFrame implements Pending {
  readonly code: number
  readonly opaque: number
  readonly status: number
  readonly body: Json
  intake: Intake | null = null

  constructor(code: number, opaque: number, status: number, body: Json) {
    this.code = code
    this.opaque = opaque
    this.status = status
    this.body = body
  }

  get isQuiet(): boolean {
    return BY_CODE.get(this.code)?.isQuiet === true
  }

  get isFailure(): boolean {
    return !EXPECTED.has(this.status)
  }
}

/** Answers to `stat` come one a frame; an empty one ends them. */
class Statistics implements Pending {
  readonly intake = null
  readonly entries: Map<string, string> = new Map()
  omitted = 0

  add({ body }: BinaryFrame): void {
    if (this.entries.size < MAX_KEPT) this.entries.set(body.key, body.value ?? '')
    else this.omitted++
  }
}

export function readRequest(at: Cursor, keep: number): BinaryFrame {
  const frame = at.progress === null ? readHead(at, REQUEST, keep) : (at.progress as BinaryFrame)
  readValue(at, frame)
  if (BY_CODE.get(frame.code)?.isSecret === true && frame.body.value != null) {
    frame.body.value = REDACTED
    delete frame.body.encoding
  }
  return frame
}

export function readAnswer(at: Cursor, keep: number): BinaryFrame {
  const begun = at.progress
  if (begun instanceof BinaryFrame) {
    readValue(at, begun)
    return begun
  }
  const statistics = begun instanceof Statistics ? begun : new Statistics()
  for (;;) {
    const frame = readHead(at, RESPONSE, keep)
    const isStatistic = frame.code === STAT && frame.status === 0
    if (!isStatistic && statistics.entries.size > 0) at.fail('more statistics')
    if (isStatistic && frame.intake !== null && frame.intake.size > MAX_STATISTIC) at.fail('a statistic')
    readValue(at, frame)
    if (isStatistic && frame.body.key !== null) {
      statistics.add(frame)
      at.commit(statistics, statistics.entries.size * 64)
      continue
    }
    if (statistics.entries.size > 0) frame.body.stats = Object.fromEntries(statistics.entries)
    if (statistics.omitted > 0) frame.body.omitted = statistics.omitted
    return frame
  }
}

/** Everything before the value. */
function readHead(at: Cursor, magic: number, keep: number): BinaryFrame {
  if (at.u8() !== magic) at.fail(`a frame that begins with ${magic}`)
  const code = at.u8()
  const keyLength = at.u16()
  const extrasLength = at.u8()
  at.skip(1)
  const status = at.u16()
  const length = at.u32()
  const opaque = at.u32()
  const cas = at.u64()
  const size = length - keyLength - extrasLength
  if (size < 0 || length > MAX_SIZE)
    at.fail(`a body of ${keyLength + extrasLength} to ${MAX_SIZE} bytes, found ${length}`)
  const opcode = BY_CODE.get(code)
  const command = opcode?.name ?? `0x${code.toString(16).padStart(2, '0')}`
  const body: Json = { command, key: null, opaque }
  if (magic === RESPONSE) body.status = statusName(status, code)
  else if (status !== 0) body.vbucket = status
  if (cas !== 0) body.cas = cas
  const extras = at.within(extrasLength)
  if (opcode !== undefined && magic === REQUEST) readExtras(extras, opcode.extras, body)
  else if (opcode?.answersFlags && extrasLength === 4) body.flags = extras.u32()
  const start = at.position
  at.skip(keyLength)
  if (keyLength > 0) readKey(at.bytes, start, at.position, body)
  const frame = new BinaryFrame(code, opaque, magic === RESPONSE ? status : 0, body)
  if (magic === RESPONSE && NUMBERS.has(code) && status === 0 && size === 8) body.number = at.u64()
  else if (size > 0 || opcode?.hasValue || (opcode?.answersFlags && magic === RESPONSE && status === 0))
    // The text of an error, and what a statistic says, are kept also where nobody wants bodies.
    frame.intake = new Intake(size, 0, status !== 0 || code === STAT ? Math.max(keep, MAX_STATISTIC) : keep)
  return frame
}

function readExtras(extras: Cursor, kind: Extras, body: Json): void {
  if (!LENGTHS[kind].includes(extras.remaining)) return
  if (kind === 'store') body.flags = extras.u32()
  if (kind === 'number') {
    body.delta = extras.u64()
    body.initial = extras.u64()
  }
  if (kind === 'level') body.level = extras.u32()
  else if (extras.remaining === 4) body.exptime = extras.u32()
}

function readKey(bytes: Uint8Array, start: number, end: number, body: Json): void {
  const { payload, encoding } = payloadOf(bytes, start, end, end - start)
  body.key = payload
  if (encoding !== null) body.keyEncoding = encoding
}

function readValue(at: Cursor, frame: BinaryFrame): void {
  if (frame.intake !== null) Object.assign(frame.body, frame.intake.read(at, frame))
}

function statusName(status: number, code: number): string {
  const isGet = BY_CODE.get(code)?.answersFlags === true
  if (isGet && status === 0) return 'HIT'
  if (isGet && status === 1) return 'MISS'
  return STATUSES.get(status) ?? `0x${status.toString(16)}`
}

/** Whether a whole header, or as much of it as has come, is that of a known command in all its parts. */
export function isHeader(at: Cursor, from: Side, isMidstream: boolean): boolean {
  if (at.peek() !== (from === 'client' ? REQUEST : RESPONSE)) return false
  if (at.remaining < HEADER && isMidstream) return false
  const opcode = BY_CODE.get(at.peek(1))
  if (opcode === undefined) return false
  at.skip(2)
  const keyLength = at.u16()
  const extrasLength = at.u8()
  if (at.u8() !== 0) return false
  const status = at.u16()
  if (from === 'server') {
    if (!STATUSES.has(status) || (status === 0 && extrasLength !== (opcode.answersFlags ? 4 : 0))) return false
  } else if (status !== 0 || !hasKey(opcode, keyLength) || !LENGTHS[opcode.extras].includes(extrasLength)) return false
  const size = at.u32() - keyLength - extrasLength
  at.skip(HEADER - 12)
  if (size < 0 || size > MAX_SIZE) return false
  return from === 'server' || opcode.hasValue === true || size === 0
}

function hasKey({ key }: Opcode, length: number): boolean {
  return length > 0 ? key !== undefined && length <= 250 : key !== 'needed'
}
