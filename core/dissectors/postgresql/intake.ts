/**
 * One message of PostgreSQL after another, the large ones as they come.
 *
 *   type(1) length(4, itself included) body(length - 4)
 */
import { Cursor } from '../../cursor.ts'
import { Skim } from '../../skim.ts'
import { LONG } from '../../sql.ts'

/** What PostgreSQL itself believes (PQ_LARGE_MESSAGE_LIMIT is 2^30 - 1, and a length field more). */
export const MAX_LENGTH = 0x40000004

/** What is kept of a long message in any case: statements, errors, descriptions of rows. */
const HEAD = 65_536
/** Rows and data of COPY, which may go on for gigabytes. */
const BULK = 'Dd'

export class Intake {
  type = 0
  /** The body in hand, or its first bytes: `bytes[start..end)`. */
  bytes: Uint8Array = new Uint8Array(0)
  start = 0
  end = 0
  /** Bytes of the whole message, type and length included. */
  size = 0
  private skim: Skim | null = null

  /**
   * Reads the next message, one of the types `known`. Of a long one the first `keep` bytes of its body are kept, and what
   * came of it is committed with `owner` as progress.
   */
  next(at: Cursor, known: string, keep: number, owner: object, weight: number): void {
    if (this.skim === null) {
      const type = at.peek()
      if (type >= 128 || !known.includes(String.fromCharCode(type))) at.fail(`one of the messages ${known}`)
      at.need(5)
      const b = at.bytes
      const p = at.position
      const length = ((b[p + 1]! << 24) | (b[p + 2]! << 16) | (b[p + 3]! << 8) | b[p + 4]!) >>> 0
      if (length < 4 || length > MAX_LENGTH) at.fail(`a length of 4 to ${MAX_LENGTH}, found ${length}`)
      const body = length - 4
      const kept = BULK.includes(String.fromCharCode(type)) ? Math.max(keep, 0) : Math.max(keep, HEAD)
      if (at.remaining >= length + 1) {
        this.type = type
        this.size = length + 1
        this.bytes = b
        this.start = p + 5
        this.end = this.start + (body > LONG ? Math.min(body, kept) : body)
        at.position = p + 5 + body
        return
      }
      if (body <= LONG) at.need(length + 1)
      this.type = type
      this.size = length + 1
      at.position = p + 5
      this.skim = new Skim(body, kept)
    }
    const { skim } = this
    if (!skim.take(at)) {
      at.commit(owner, weight + skim.kept.length)
      at.need(1)
    }
    this.bytes = skim.kept
    this.start = 0
    this.end = skim.count
    this.skim = null
  }

  /** A long message is on its way in. */
  get isOpen(): boolean {
    return this.skim !== null
  }

  /** Some of the body was not kept. */
  get isCut(): boolean {
    return this.end - this.start < this.size - 5
  }

  /** The body, or what was kept of it. */
  cursor(): Cursor {
    return new Cursor(this.bytes, this.start, this.end, true)
  }

  /** Bytes that were not captured matter only outside of a long message. */
  bridge(length: number): boolean {
    return this.skim?.miss(length) ?? false
  }
}
