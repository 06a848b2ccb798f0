/**
 * The copy of its data that a master sends to a new replica after +FULLRESYNC: an RDB file, no CR LF behind it.
 * https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
 *
 *   $length CRLF bytes            $EOF: mark(40) CRLF bytes mark(40)      LF while the master is still preparing it
 */
import type { Cursor } from '../../cursor.ts'

const MARK = 40
/** `$EOF:` + mark. */
const MAX_HEADER = 64

export class Snapshot {
  /** Bytes of the file that were read. */
  size = 0
  private left = -1
  private mark: Buffer | null = null

  /** Reads on to the end of the file. Nothing of it is kept: what was read is committed at once. */
  read(at: Cursor): void {
    if (this.left < 0 && this.mark === null) this.readHeader(at)
    if (this.mark === null) this.readCounted(at)
    else this.readToMark(at, this.mark)
  }

  bridge(length: number): boolean {
    // A lost mark would never be found again.
    if (this.mark !== null || length > this.left) return false
    this.left -= length
    this.size += length
    return true
  }

  private readHeader(at: Cursor): void {
    const end = at.lineEnd(MAX_HEADER)
    const line = at.latin1(end + 1 - at.position)
    const counted = /^\$(\d{1,15})\r\n$/.exec(line)
    const marked = /^\$EOF:(.{40})\r\n$/.exec(line)
    if (counted === null && marked === null) at.fail('the length of an RDB file')
    if (counted !== null) this.left = Number(counted[1])
    else this.mark = Buffer.from(marked![1]!, 'latin1')
    at.commit(this)
  }

  private readCounted(at: Cursor): void {
    const size = Math.min(this.left, at.remaining)
    at.skip(size)
    this.left -= size
    this.size += size
    at.commit(this)
    if (this.left > 0) at.need(1)
  }

  private readToMark(at: Cursor, mark: Buffer): void {
    const here = Buffer.from(at.bytes.buffer, at.bytes.byteOffset + at.position, at.remaining)
    const found = here.indexOf(mark)
    const size = found >= 0 ? found : Math.max(0, here.length - MARK + 1)
    at.skip(size)
    this.size += size
    at.commit(this)
    at.skip(MARK)
  }
}
