/**
 * One message of MongoDB's wire protocol, with the parts of every opcode in one shape. All numbers are little-endian.
 *
 *   header = length(4) request-id(4) response-to(4) opcode(4)
 *   OP_MSG        flags(4) *( 0 document | 1 size(4) name NUL *document ) [ checksum(4) ]
 *   OP_QUERY      flags(4) namespace NUL skip(4) limit(4) document [ document ]
 *   OP_REPLY      flags(4) cursor(8) from(4) count(4) *document
 *   OP_INSERT     flags(4) namespace NUL *document
 *   OP_UPDATE     0(4) namespace NUL flags(4) document document
 *   OP_DELETE     0(4) namespace NUL flags(4) document
 *   OP_GET_MORE   0(4) namespace NUL count(4) cursor(8)
 *   OP_KILL_CURSORS   0(4) count(4) *cursor(8)
 *   OP_COMPRESSED     opcode(4) size(4) compressor(1) bytes
 */
import { type Cursor, Malformed, utf8 } from '../../cursor.ts'
import { documentEnd, isType, Kept, type Sequence, textEnd, UNKNOWN } from './bson.ts'
import { COMPRESSORS, decompress } from './compression.ts'

export const OP_REPLY = 1
export const OP_UPDATE = 2001
export const OP_INSERT = 2002
export const OP_QUERY = 2004
export const OP_GET_MORE = 2005
export const OP_DELETE = 2006
export const OP_KILL_CURSORS = 2007
export const OP_COMPRESSED = 2012
export const OP_MSG = 2013

export const HEADER_SIZE = 16

export interface Header {
  length: number
  requestId: number
  responseTo: number
  opcode: number
}

interface Opcode {
  name: string
  /** Who sends it. */
  sender: 'client' | 'server' | 'both'
  /** Nobody answers it. */
  isUnanswered?: true
  /** By bit. */
  flags: { readonly [bit: number]: string }
  parse(kept: Kept, at: number): Parts
  /** Whether the cursor is at so many bytes of it. */
  probe(at: Cursor, size: number): boolean
}

/** What is within a message. Positions are those of `kept`. */
export interface Parts {
  flags: number
  /** `shop.orders` */
  namespace: string | null
  /** The command, query or answer; UNKNOWN: none, or not kept. */
  document: number
  /** Documents that a command has outside of its own. */
  sequences: readonly Sequence[]
  /** Numbers by their names in the specification; 64 bits beyond 2^53 as decimal strings. */
  numbers: { readonly [name: string]: number | string }
  cursors: readonly (number | string)[]
}

/** A message out of its wrapping. */
export interface Opened {
  header: Header
  /** By which it was wrapped. */
  compressor: string | null
  /** null: it stays in its wrapping. */
  content: Content | null
}

export interface Content {
  kept: Kept
  parts: Parts
}

/** Servers refuse messages above 48,000,000 bytes; a reply may be some larger than its documents. */
export const MAX_LENGTH = 48_000_000 + 16_384
/** The commands have one each, at most two. */
const MAX_SEQUENCES = 16
/** mongod takes more, drivers send fewer. */
const MAX_CURSORS = 1000

const CHECKSUM_PRESENT = 1
export const MORE_TO_COME = 2
/** A set bit among the lower 16 that nobody defined makes a message that must be refused. */
const MSG_FLAGS = 0xffff0003

export const OPCODES: ReadonlyMap<number, Opcode> = new Map<number, Opcode>([
  [
    OP_MSG,
    {
      name: 'OP_MSG',
      sender: 'both',
      flags: { 0: 'checksumPresent', 1: 'moreToCome', 16: 'exhaustAllowed' },
      parse: parseMsg,
      probe: isMsg,
    },
  ],
  [
    OP_QUERY,
    {
      name: 'OP_QUERY',
      sender: 'client',
      flags: {
        1: 'tailableCursor',
        2: 'slaveOk',
        3: 'oplogReplay',
        4: 'noCursorTimeout',
        5: 'awaitData',
        6: 'exhaust',
        7: 'partial',
      },
      parse: parseQuery,
      probe: (at, size) => isNamespace(at, 4) && isDocument(at, 8, size),
    },
  ],
  [
    OP_REPLY,
    {
      name: 'OP_REPLY',
      sender: 'server',
      flags: { 0: 'cursorNotFound', 1: 'queryFailure', 2: 'shardConfigStale', 3: 'awaitCapable' },
      parse: parseReply,
      probe: isReply,
    },
  ],
  [
    OP_INSERT,
    {
      name: 'OP_INSERT',
      sender: 'client',
      isUnanswered: true,
      flags: { 0: 'continueOnError' },
      parse: parseInsert,
      probe: (at, size) => isNamespace(at, 4) && isDocument(at, 0, size),
    },
  ],
  [
    OP_UPDATE,
    {
      name: 'OP_UPDATE',
      sender: 'client',
      isUnanswered: true,
      flags: { 0: 'upsert', 1: 'multiUpdate' },
      parse: parseUpdate,
      probe: (at, size) => isNamespace(at, 4) && isDocument(at, 4, size),
    },
  ],
  [
    OP_DELETE,
    {
      name: 'OP_DELETE',
      sender: 'client',
      isUnanswered: true,
      flags: { 0: 'singleRemove' },
      parse: parseDelete,
      probe: (at, size) => isNamespace(at, 4) && isDocument(at, 4, size),
    },
  ],
  [
    OP_GET_MORE,
    {
      name: 'OP_GET_MORE',
      sender: 'client',
      flags: {},
      parse: parseGetMore,
      probe: (at, size) => isNamespace(at, 4) && size < MAX_NAMESPACE,
    },
  ],
  [
    OP_KILL_CURSORS,
    {
      name: 'OP_KILL_CURSORS',
      sender: 'client',
      isUnanswered: true,
      flags: {},
      parse: parseKillCursors,
      probe: (at, size) => at.u32le() === 0 && at.u32le() === size / 8 - 1,
    },
  ],
])

export function openMessage(kept: Kept): Opened {
  const header = { length: kept.i32(0), requestId: kept.i32(4), responseTo: kept.i32(8), opcode: kept.i32(12) }
  if (header.opcode !== OP_COMPRESSED)
    return { header, compressor: null, content: parse(header.opcode, kept, HEADER_SIZE) }
  const opcode = u32(kept, HEADER_SIZE)
  const size = u32(kept, HEADER_SIZE + 4)
  const id = kept.u8(HEADER_SIZE + 8)
  if (!OPCODES.has(opcode) || size > MAX_LENGTH) throw new Malformed(`expected a compressed message, found ${opcode}`)
  const bytes = kept.missing > 0 ? null : decompress(id, kept.bytes.subarray(HEADER_SIZE + 9, kept.end), size)
  const content = bytes === null ? null : parse(opcode, new Kept(bytes, size), 0)
  return { header: { ...header, opcode }, compressor: COMPRESSORS[id]?.name ?? String(id), content }
}

function parse(opcode: number, kept: Kept, start: number): Content {
  return { kept, parts: OPCODES.get(opcode)!.parse(kept, start) }
}

/** Whether what is at the cursor, behind the header, is what `header` says. */
export function looksLike(at: Cursor, { opcode, length }: Header): boolean {
  if (opcode !== OP_COMPRESSED) return OPCODES.get(opcode)!.probe(at, length - HEADER_SIZE)
  const original = at.u32le()
  const size = at.u32le()
  const { begins = [] } = COMPRESSORS[at.u8()] ?? { begins: NEVER }
  return OPCODES.has(original) && size <= MAX_LENGTH && begins.every((byte, i) => at.peek(i) === byte)
}

const NEVER = [-1]

function parseMsg(kept: Kept, start: number): Parts {
  const flags = u32(kept, start)
  if ((flags & ~MSG_FLAGS) !== 0) throw new Malformed(`expected known flags, found ${flags}`)
  const end = kept.end - ((flags & CHECKSUM_PRESENT) === 0 ? 0 : 4)
  let document = UNKNOWN
  const sequences: Sequence[] = []
  for (let p = start + 4; p !== UNKNOWN && p < end; ) {
    const kind = kept.u8(p)
    if (kind === 0) {
      document = p + 1
      p = documentEnd(kept, document)
    } else if (kind === 1 && sequences.length < MAX_SEQUENCES) {
      const next = kept.after(p + 1, u32(kept, p + 1))
      const nameEnd = textEnd(kept, p + 5)
      if (nameEnd === UNKNOWN) break
      sequences.push({ name: utf8(kept.bytes, p + 5, nameEnd), start: nameEnd + 1, end: next })
      p = next
    } else throw new Malformed(`expected a section of kind 0 or 1, found ${kind}`)
  }
  return { ...NOTHING, flags, document, sequences }
}

function parseQuery(kept: Kept, start: number): Parts {
  const [namespace, p] = namespaceAt(kept, start + 4)
  const document = p + 8
  const fields = documentEnd(kept, document)
  const sequences =
    fields !== UNKNOWN && fields < kept.end ? [{ name: 'projection', start: fields, end: kept.end }] : []
  return {
    ...NOTHING,
    flags: u32(kept, start),
    namespace,
    document,
    sequences,
    numbers: { skip: i32(kept, p), limit: i32(kept, p + 4) },
  }
}

function parseReply(kept: Kept, start: number): Parts {
  const numbers = {
    cursorId: i64(kept, start + 4),
    startingFrom: i32(kept, start + 12),
    numberReturned: i32(kept, start + 16),
  }
  const first = start + 20
  const document = first < kept.end ? first : UNKNOWN
  return {
    ...NOTHING,
    flags: u32(kept, start),
    document,
    sequences: [{ name: 'documents', start: first, end: kept.end }],
    numbers,
  }
}

function parseInsert(kept: Kept, start: number): Parts {
  const [namespace, p] = namespaceAt(kept, start + 4)
  return { ...NOTHING, flags: u32(kept, start), namespace, sequences: [{ name: 'documents', start: p, end: kept.end }] }
}

function parseUpdate(kept: Kept, start: number): Parts {
  const [namespace, p] = namespaceAt(kept, start + 4)
  return { ...NOTHING, flags: u32(kept, p), namespace, sequences: [{ name: 'updates', start: p + 4, end: kept.end }] }
}

function parseDelete(kept: Kept, start: number): Parts {
  const [namespace, p] = namespaceAt(kept, start + 4)
  return { ...NOTHING, flags: u32(kept, p), namespace, sequences: [{ name: 'deletes', start: p + 4, end: kept.end }] }
}

function parseGetMore(kept: Kept, start: number): Parts {
  const [namespace, p] = namespaceAt(kept, start + 4)
  return { ...NOTHING, namespace, numbers: { batchSize: i32(kept, p) }, cursors: [i64(kept, p + 4)] }
}

function parseKillCursors(kept: Kept, start: number): Parts {
  const count = u32(kept, start + 4)
  const cursors: (number | string)[] = []
  for (let i = 0; i < Math.min(count, MAX_CURSORS); i++) cursors.push(i64(kept, start + 8 + i * 8))
  return { ...NOTHING, cursors }
}

const NOTHING: Parts = { flags: 0, namespace: null, document: UNKNOWN, sequences: [], numbers: {}, cursors: [] }

/** Databases have at most 63 bytes, collections 255. */
const MAX_NAMESPACE = 512

/** The name, and where it ends. */
function namespaceAt(kept: Kept, start: number): [string, number] {
  const end = textEnd(kept, start)
  if (end === UNKNOWN || end - start > MAX_NAMESPACE) throw new Malformed('expected the name of a collection')
  return [utf8(kept.bytes, start, end), end + 1]
}

function i32(kept: Kept, at: number): number {
  if (at + 4 > kept.edge(at)) throw new Malformed('expected a number')
  return kept.i32(at)
}

function u32(kept: Kept, at: number): number {
  return i32(kept, at) >>> 0
}

function i64(kept: Kept, at: number): number | string {
  const low = u32(kept, at)
  const high = i32(kept, at + 4)
  const value = (BigInt(high) << 32n) | BigInt(low)
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value.toString()
}

// ── recognising ─────────────────────────────────────────────────────────────────────────────────────────────────────

function isMsg(at: Cursor, size: number): boolean {
  if ((at.u32le() & ~MSG_FLAGS) !== 0) return false
  const kind = at.u8()
  if (kind === 0) return isDocument(at, 0, size)
  return kind === 1 && at.u32le() <= size && isName(at) && isDocument(at, 0, size)
}

const REPLY_FLAGS = 0xf

function isReply(at: Cursor, size: number): boolean {
  if ((at.u32le() & ~REPLY_FLAGS) !== 0) return false
  at.skip(12)
  return at.u32le() === 0 ? size === 20 : isDocument(at, 0, size)
}

/** `database.collection`, `skip` bytes on. */
function isNamespace(at: Cursor, skip: number): boolean {
  at.skip(skip)
  const start = at.position
  return isName(at) && at.bytes.subarray(start, at.position).includes(DOT)
}

const DOT = 46

/** The length of a document and its first field, `skip` bytes on. */
function isDocument(at: Cursor, skip: number, most: number): boolean {
  at.skip(skip)
  const length = at.u32le()
  if (length < 5 || length > most) return false
  const type = at.u8()
  return type === 0 ? length === 5 : isType(type) && isName(at)
}

const MAX_NAME = 256

/** Text with NUL behind it. */
function isName(at: Cursor): boolean {
  for (let i = 0; i < MAX_NAME; i++) {
    const byte = at.u8()
    if (byte === 0) return i > 0
    if (byte < 0x20 || byte === 0x7f) return false
  }
  return false
}
