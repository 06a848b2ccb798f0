/**
 * Streams on their way to dissectors that live in scripts, one record after the other, numbers little-endian:
 *
 *   kind(1) half(1) why(1) -(1) stream(4) length(4) nanoseconds(4) seconds(8) ack(4) next(4) bytes(length)
 *
 * `open` comes first and its bytes are JSON (`Opening`); `next` is the sequence number behind the bytes; of a gap,
 * `length` counts what is missing and no bytes follow.
 */
import type { Ending, Transport } from '../../core/dissector.ts'

export const HEAD = 32

export type Kind = 'open' | 'bytes' | 'gap' | 'end' | 'finish' | 'forget'
export const KINDS: readonly Kind[] = ['open', 'bytes', 'gap', 'end', 'finish', 'forget']
export const ENDINGS: readonly Ending[] = ['closed', 'reset', 'lost', 'idle', 'capture-ended']

export interface Opening {
  transport: Transport
  /** When the connection began. */
  seconds: number
  nanoseconds: number
  /** Of its ends. */
  hash: number
  words: number[]
  scope: number
  port: number
  otherPort: number
  midstream: boolean
  /** The client's half, where a SYN told it. */
  client: 'forth' | 'back' | null
  /** Items of the connection so far. */
  items: number
}

export interface StreamRecord {
  kind: Kind
  half: 'forth' | 'back'
  why: Ending
  stream: number
  /** Of a gap: bytes that are missing. */
  length: number
  seconds: number
  nanoseconds: number
  ack: number
  next: number
  bytes: Buffer
}

export function writeRecord(target: Buffer, at: number, record: Omit<StreamRecord, 'bytes'>): void {
  target[at] = KINDS.indexOf(record.kind)
  target[at + 1] = record.half === 'forth' ? 0 : 1
  target[at + 2] = ENDINGS.indexOf(record.why)
  target[at + 3] = 0
  target.writeUInt32LE(record.stream, at + 4)
  target.writeUInt32LE(record.length, at + 8)
  target.writeUInt32LE(record.nanoseconds, at + 12)
  target.writeDoubleLE(record.seconds, at + 16)
  target.writeInt32LE(record.ack | 0, at + 24)
  target.writeInt32LE(record.next | 0, at + 28)
}

export function* readRecords(body: Buffer): Generator<StreamRecord> {
  for (let at = 0; at + HEAD <= body.length; ) {
    const kind = KINDS[body[at]!]!
    const length = body.readUInt32LE(at + 8)
    const end = at + HEAD + (kind === 'gap' ? 0 : length)
    yield {
      kind,
      half: body[at + 1] === 0 ? 'forth' : 'back',
      why: ENDINGS[body[at + 2]!]!,
      stream: body.readUInt32LE(at + 4),
      length,
      nanoseconds: body.readUInt32LE(at + 12),
      seconds: body.readDoubleLE(at + 16),
      ack: body.readInt32LE(at + 24),
      next: body.readInt32LE(at + 28),
      bytes: body.subarray(at + HEAD, end),
    }
    at = end
  }
}
