/**
 * A message that is larger than what should be read again with each segment: its beginning is kept as it comes in,
 * the rest is passed over. Its size is as announced, without the four bytes that announce it.
 */
import { Cursor } from '../../cursor.ts'
import { Skim } from '../../skim.ts'

export class Gathering extends Skim {
  /** As of every Skim; until the end what came is committed. */
  override take(at: Cursor): boolean {
    if (super.take(at)) return true
    at.commit(this, this.kept.length)
    return false
  }

  override miss(length: number): boolean {
    // All of the rest: nothing would be left to end it with.
    return length < this.left && super.miss(length)
  }

  /** What was kept. In a part of a message running out is Incomplete. */
  get cursor(): Cursor {
    return new Cursor(this.kept, 0, this.count, this.count === this.size)
  }
}
