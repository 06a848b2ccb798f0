/**
 * One operation of NATS: a line, and with some a payload whose size the line's last word tells.
 *
 *   PUB subject [reply-to] size CRLF payload CRLF          SUB subject [queue] sid CRLF          PING CRLF
 *   HPUB subject [reply-to] header-size size CRLF headers payload CRLF
 */
import { type Cursor, utf8 } from '../../cursor.ts'
import type { Side } from '../../dissector.ts'
import { Intake, type Payload, readPayload } from './payload.ts'

/** Who sends it. `servers`: those of a cluster, leaf nodes and gateways to each other. */
type Sender = Side | 'both' | 'servers'

export interface Kind {
  name: string
  sender: Sender
  /** What follows the line; `headers`: a payload with headers, and two sizes. */
  follows: 'nothing' | 'payload' | 'headers'
  /** Words between name and sizes. */
  least: number
  most: number
  /** What follows the name is one text. */
  isText?: true
}

/** A message on a gateway names all queue groups that it was delivered to. */
const MANY = 1000

const KINDS: readonly Kind[] = [
  { name: 'INFO', sender: 'both', follows: 'nothing', least: 1, most: 1, isText: true },
  { name: 'CONNECT', sender: 'both', follows: 'nothing', least: 1, most: 1, isText: true },
  { name: 'PUB', sender: 'client', follows: 'payload', least: 1, most: 2 },
  { name: 'HPUB', sender: 'client', follows: 'headers', least: 1, most: 2 },
  { name: 'SUB', sender: 'client', follows: 'nothing', least: 2, most: 3 },
  { name: 'UNSUB', sender: 'client', follows: 'nothing', least: 1, most: 2 },
  { name: 'MSG', sender: 'server', follows: 'payload', least: 2, most: 3 },
  { name: 'HMSG', sender: 'both', follows: 'headers', least: 1, most: MANY },
  { name: 'PING', sender: 'both', follows: 'nothing', least: 0, most: 0 },
  { name: 'PONG', sender: 'both', follows: 'nothing', least: 0, most: 0 },
  { name: '+OK', sender: 'server', follows: 'nothing', least: 0, most: 0 },
  { name: '-ERR', sender: 'both', follows: 'nothing', least: 0, most: 1, isText: true },
  { name: 'RS+', sender: 'servers', follows: 'nothing', least: 1, most: 4 },
  { name: 'RS-', sender: 'servers', follows: 'nothing', least: 1, most: 4 },
  { name: 'RMSG', sender: 'servers', follows: 'payload', least: 1, most: MANY },
  { name: 'LS+', sender: 'servers', follows: 'nothing', least: 1, most: 5 },
  { name: 'LS-', sender: 'servers', follows: 'nothing', least: 1, most: 5 },
  { name: 'LMSG', sender: 'servers', follows: 'payload', least: 1, most: MANY },
  { name: 'A+', sender: 'servers', follows: 'nothing', least: 1, most: 1 },
  { name: 'A-', sender: 'servers', follows: 'nothing', least: 1, most: 1 },
]
const BY_NAME: ReadonlyMap<string, Kind> = new Map(KINDS.map(kind => [kind.name, kind]))
const LONGEST_NAME = Math.max(...KINDS.map(kind => kind.name.length))
/** By code of the first character, in capitals. */
const BEGINS: ReadonlySet<number> = new Set(KINDS.map(kind => kind.name.charCodeAt(0)))
/** Between a capital letter and its small one. */
const SMALL = 32
const SMALL_A = 97

/** CONNECT with a token of a whole organisation in it is the longest. */
const MAX_LINE = 65_536
/** max_payload may be set so high, no higher. */
const MAX_SIZE = 64 << 20
/** A longer payload is taken in as it comes. */
const LONG = 16_384

export class Operation {
  readonly kind: Kind
  /** What stands between name and sizes. */
  readonly words: readonly string[]
  readonly headerSize: number
  readonly size: number
  private intake: Intake | null = null

  constructor(kind: Kind, words: readonly string[], headerSize: number, size: number) {
    this.kind = kind
    this.words = words
    this.headerSize = headerSize
    this.size = size
  }

  /** The payload and the CR LF behind it. A long one is committed as it comes, with this object as progress. */
  readPayload(at: Cursor, keep: number): Payload | null {
    if (this.kind.follows === 'nothing') return null
    if (this.intake === null && (this.size <= LONG || at.remaining >= this.size + 2)) {
      const { bytes, position } = at
      at.skip(this.size)
      readEnd(at)
      return readPayload(bytes.subarray(position, position + this.size), this.headerSize, this.size, keep)
    }
    this.intake ??= new Intake(this.size, this.headerSize, keep)
    if (this.intake.left > 0) {
      this.intake.take(at)
      at.commit(this, this.intake.kept.length)
    }
    if (this.intake.left > 0) at.need(1)
    readEnd(at)
    return this.intake.payload(keep)
  }

  /** Bytes that were not captured matter only outside of a payload. */
  bridge(length: number): boolean {
    return this.intake?.miss(length) ?? false
  }
}

/** The line alone. */
export function readLine(at: Cursor): Operation {
  const { bytes, position } = at
  const kind = readKind(at)
  const lf = at.lineEnd(MAX_LINE)
  const end = lf > position && bytes[lf - 1] === CR ? lf - 1 : lf
  const start = Math.min(at.position, end)
  at.position = lf + 1
  const words = kind.isText ? textAlone(bytes, start, end) : split(at, start, end, kind.most + 2)
  const size = kind.follows === 'nothing' ? 0 : sizeOf(words.pop(), at)
  const headerSize = kind.follows === 'headers' ? sizeOf(words.pop(), at) : 0
  if (headerSize > size) at.fail(`headers of at most ${size} bytes, found ${headerSize}`)
  if (words.length < kind.least || words.length > kind.most)
    at.fail(`${kind.least} to ${kind.most} words after ${kind.name}, found ${words.length}`)
  return new Operation(kind, words, headerSize, size)
}

const CR = 13
const LF = 10
const SPACE = 32
const TAB = 9

/** The name and the character behind it, which stays unread when it ends the line. */
function readKind(at: Cursor): Kind {
  return kindOf(at) ?? at.fail('the name of an operation')
}

/** As `readKind`; null where no operation begins, for who probes: an exception costs more than the rest. */
export function kindOf(at: Cursor): Kind | null {
  const start = at.position
  let byte = at.u8()
  // At once: who probes must not wait for more of what is another protocol.
  if (!BEGINS.has(byte >= SMALL_A ? byte - SMALL : byte)) return null
  while (byte > SPACE) {
    if (at.position - start > LONGEST_NAME) return null
    byte = at.u8()
  }
  const kind = BY_NAME.get(utf8(at.bytes, start, at.position - 1).toUpperCase())
  if (kind === undefined || (byte !== SPACE && byte !== TAB && byte !== CR && byte !== LF)) return null
  if (byte === CR || byte === LF) at.position--
  return kind
}

function textAlone(bytes: Uint8Array, start: number, end: number): string[] {
  const text = utf8(bytes, start, end).trim()
  return text === '' ? [] : [text]
}

function split(at: Cursor, start: number, end: number, most: number): string[] {
  const { bytes } = at
  const words: string[] = []
  for (let i = start; i < end; i++) {
    while (i < end && (bytes[i] === SPACE || bytes[i] === TAB)) i++
    const from = i
    while (i < end && bytes[i] !== SPACE && bytes[i] !== TAB) if (bytes[i++]! < SPACE) at.fail('words')
    if (i === from) break
    if (words.length === most) at.fail(`at most ${most} words`)
    words.push(utf8(bytes, from, i))
  }
  return words
}

function sizeOf(word: string | undefined, at: Cursor): number {
  const size = word !== undefined && /^\d{1,9}$/.test(word) ? Number(word) : -1
  if (size < 0 || size > MAX_SIZE) at.fail(`a size of at most ${MAX_SIZE} bytes, found ${word}`)
  return size
}

function readEnd(at: Cursor): void {
  if (at.u16() !== 0x0d0a) at.fail('CR LF after the payload')
}
