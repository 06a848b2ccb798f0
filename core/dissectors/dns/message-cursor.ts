/**
 * A cursor over one DNS message: domain names may point back into it (RFC 1035, 4.1.4).
 *
 *   label:    length(1)=1..63 octets(length)        pointer:  11 offset(14 bits)        end:  0(1)
 */
import { Cursor } from '../../cursor.ts'

/** RFC 1035, 3.1: octets of a name on the wire, lengths and the closing zero included. */
const MAX_NAME = 255
/** A chain of pointers that hold no label: no encoder makes more hops than a name can have labels. */
const MAX_POINTERS = 127
/** A pointer of 2 bytes stands for up to 1000 characters: 64 KiB that point at one long name would make 60 MB of text. */
const MAX_NAME_TEXT = 1 << 20

export class MessageCursor extends Cursor {
  /** Where offset 0 of the message lies in `bytes`. */
  private readonly start: number
  private readonly seen = new Map<number, Name>()
  private written = 0

  /** The message is whole: running out is Malformed. */
  constructor(bytes: Uint8Array, start: number, end: number) {
    super(bytes, start, end, true)
    this.start = start
  }

  /**
   * A name as users filter for it: without the closing dot, the root is `.`. Dots within labels and other characters
   * that master files give a meaning are escaped with a backslash, octets outside printable ASCII are `\DDD` (RFC 4343, 2.1).
   */
  domain(): string {
    const name = this.nameAt(this.position, 0)
    this.position += name.here
    this.written += name.text.length
    if (this.written > MAX_NAME_TEXT) this.fail(`names of at most ${MAX_NAME_TEXT} characters in one message`)
    return name.text === '' ? '.' : name.text
  }

  /** Does not move the cursor: a name that is pointed at lies elsewhere. */
  private nameAt(position: number, hops: number): Name {
    const known = this.seen.get(position)
    if (known !== undefined) return known
    const bytes = this.bytes
    let text = ''
    let p = position
    let size = 1
    let tail: Name | null = null
    while (true) {
      this.position = p
      const length = this.u8()
      if (length === 0) {
        p++
        break
      }
      if (length > 63) {
        if (length < 0xc0) this.fail(`a label of at most 63 bytes or a pointer, found a length byte of ${length}`)
        const target = this.start + (((length & 0x3f) << 8) | this.u8())
        // Strictly backwards: every hop comes nearer to the start, so that there is no loop.
        if (target >= position) this.fail('a compression pointer to an earlier name')
        if (hops === MAX_POINTERS) this.fail(`at most ${MAX_POINTERS} compression pointers in a name`)
        p += 2
        tail = this.nameAt(target, hops + 1)
        break
      }
      size += length + 1
      if (size > MAX_NAME) break
      this.need(length)
      if (text !== '') text += '.'
      for (let i = p + 1, end = i + length; i < end; i++) text += LABEL_TEXT[bytes[i]!]!
      p += length + 1
    }
    if (tail !== null) {
      size += tail.size - 1
      if (tail.text !== '') text = text === '' ? tail.text : `${text}.${tail.text}`
    }
    if (size > MAX_NAME) this.fail(`a name of at most ${MAX_NAME} bytes`)
    this.position = position
    const name = { text, size, here: p - position }
    this.seen.set(position, name)
    return name
  }
}

interface Name {
  /** Empty for the root. */
  text: string
  /** Octets of the whole name without compression. */
  size: number
  /** Octets that it takes where it stands. */
  here: number
}

/** What an octet of a label looks like in a master file. */
const LABEL_TEXT: readonly string[] = Array.from({ length: 256 }, (_, octet) => {
  const char = String.fromCharCode(octet)
  if ('.\\"();@$'.includes(char)) return `\\${char}`
  return octet > 0x20 && octet < 0x7f ? char : `\\${String(octet).padStart(3, '0')}`
})
