/**
 * Compressed packets of MySQL, around any part of the packets within.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html
 *
 *   length(3, low byte first) sequence(1) length before compression(3; 0: not compressed) payload(length)
 */
import { inflateSync, zstdDecompressSync } from 'node:zlib'
import { Cursor, Incomplete } from '../../cursor.ts'
import type { Context, Message } from '../../dissector.ts'
import { u24le } from './intake.ts'

const HEADER = 7
/** First byte of what zlib makes with its usual window. */
const ZLIB = 0x78
const NOTHING = new Uint8Array(0)

/** What was inside the compressed packets of one side. */
export class Stream {
  private bytes: Uint8Array = NOTHING
  private start = 0
  private end = 0
  private progress: unknown = null
  /** Bytes of the message in hand that were committed. */
  private committed = 0
  /** The packet at the cursor is in `bytes` already. */
  private isTaken = false

  /**
   * Reads the next message from within. As long as there may be more in the packet at the cursor, the cursor stays in
   * front of it.
   */
  read<State>(
    at: Cursor,
    ctx: Context<State>,
    inner: (at: Cursor, ctx: Context<State>) => Message | Message[] | null,
  ): Message | Message[] | null {
    const before = at.position
    const length = u24le(at)
    at.skip(1)
    const inflated = u24le(at)
    at.need(length)
    if (!this.isTaken) {
      this.append(unpack(at, at.bytes.subarray(at.position, at.position + length), inflated))
      this.isTaken = true
    }
    while (this.start < this.end) {
      const cursor = new Cursor(this.bytes, this.start, this.end)
      cursor.progress = this.progress
      let message: Message | Message[] | null
      try {
        message = inner(cursor, ctx)
      } catch (thrown) {
        if (thrown !== Incomplete) throw thrown
        if (cursor.committed >= 0) this.commit(cursor)
        break
      }
      const size = this.committed + cursor.position - this.start
      this.start = cursor.position
      this.progress = null
      this.committed = 0
      if (message === null) continue
      at.position = before
      const messages = Array.isArray(message) ? message : [message]
      messages.at(-1)!.size ??= size
      return message
    }
    this.isTaken = false
    if (this.start === this.end) this.bytes = NOTHING
    at.position = before + HEADER + length
    return null
  }

  private commit(cursor: Cursor): void {
    this.committed += cursor.committed - this.start
    this.start = cursor.committed
    this.progress = cursor.progress
  }

  private append(more: Uint8Array): void {
    const waiting = this.end - this.start
    if (waiting === 0) {
      this.bytes = more
      this.start = 0
      this.end = more.length
      return
    }
    if (this.end + more.length > this.bytes.length) {
      const larger = new Uint8Array((waiting + more.length) * 2)
      larger.set(this.bytes.subarray(this.start, this.end))
      this.bytes = larger
      this.start = 0
      this.end = waiting
    }
    this.bytes.set(more, this.end)
    this.end += more.length
  }
}

/** A copy, which may be kept and written to. */
function unpack(at: Cursor, payload: Uint8Array, length: number): Uint8Array {
  if (length === 0) return payload.slice()
  let bytes: Uint8Array | null = null
  try {
    bytes = (payload[0] === ZLIB ? inflateSync : zstdDecompressSync)(payload, { maxOutputLength: length })
  } catch {
    // What is wrong with it is said below, as of anything that does not come to its length.
  }
  return bytes?.length === length ? bytes : at.fail(`${length} bytes, compressed`)
}

/** A packet that was too short to be compressed holds just one packet of the client: a new command. */
export function isCompressed(at: Cursor): boolean {
  if (at.remaining < HEADER + 5) return false
  const [length, inner] = [
    at.peek() | (at.peek(1) << 8) | (at.peek(2) << 16),
    at.peek(HEADER) | (at.peek(HEADER + 1) << 8),
  ]
  return (
    (at.peek(4) | at.peek(5) | at.peek(6)) === 0 &&
    at.peek(3) === 0 &&
    at.peek(HEADER + 2) === 0 &&
    at.peek(HEADER + 3) === 0 &&
    length === inner + 4
  )
}
