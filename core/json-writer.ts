/**
 * JSON text written as UTF-8 bytes straight from packet bytes. An item is a kilobyte or more of text that is mostly
 * copied from the wire: going through JavaScript strings and objects would cost several times the copy.
 */
import { Buffer } from 'node:buffer'

/** Text of one JSON value in somebody's buffer. */
export class Written {
  bytes: Uint8Array
  start: number
  end: number
  /** The body's text within it (a JSON string, quotes included), which readers without interest in bodies leave out; -1: none. */
  bodyStart = -1
  bodyEnd = -1
  /** The media type within it, a JSON string too; -1: none. */
  typeStart = -1
  typeEnd = -1
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes
    this.start = start
    this.end = end
  }

  /** The same text, copied to `start` in other bytes. */
  movedTo(bytes: Uint8Array, start: number): Written {
    const by = start - this.start
    const moved = new Written(bytes, start, this.end + by)
    if (this.bodyStart >= 0) {
      moved.bodyStart = this.bodyStart + by
      moved.bodyEnd = this.bodyEnd + by
    }
    if (this.typeStart >= 0) {
      moved.typeStart = this.typeStart + by
      moved.typeEnd = this.typeEnd + by
    }
    return moved
  }
}

const ENCODER = new TextEncoder()
const HEX = ENCODER.encode('0123456789abcdef')
const REPLACEMENT = [0xef, 0xbf, 0xbd]

/** The letter behind the backslash. */
const LETTERS = [
  ['"', '"'],
  ['\\', '\\'],
  ['\b', 'b'],
  ['\f', 'f'],
  ['\n', 'n'],
  ['\r', 'r'],
  ['\t', 't'],
] as const
/**
 * What a byte becomes in a string: itself, or ESCAPED and a letter; RARE: another control character, or part of a longer
 * one. A backslash is written in front of every byte and mostly overwritten: to ask for it costs twice as much, because
 * nothing predicts where the quotes in a body of JSON are.
 */
const FORMS = new Uint16Array(256).fill(0xffff)
const RARE = 0xffff
const ESCAPED = 0x100
for (let i = 0x20; i < 0x80; i++) FORMS[i] = i
for (const [char, letter] of LETTERS) FORMS[char.charCodeAt(0)] = ESCAPED | letter.charCodeAt(0)

/** The same without line ends and tabs, and without DEL. */
const LINE_FORMS = FORMS.map((form, code) => (code < 0x20 || code === 0x7f ? RARE : form))

const DIGITS_64 = ENCODER.encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const EQUALS = 61
/** Above it the engine's own way is faster, which makes a string first. */
const LONG_BASE64 = 96
/** What Buffer's methods call, for any view. */
const { base64Slice } = Buffer.prototype as unknown as {
  base64Slice(this: Uint8Array, start: number, end: number): string
}

/** Text known in advance, as bytes. */
export function constant(text: string): Uint8Array {
  return ENCODER.encode(text)
}

export class JsonWriter {
  bytes: Buffer
  length = 0

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity)
  }

  /** Makes sure that `count` more bytes fit. */
  reserve(count: number): void {
    if (this.length + count > this.bytes.length) this.grow(count)
  }

  private grow(count: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.length + count))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) this.grow(1)
    this.bytes[this.length++] = value
  }

  /** Bytes that are JSON text already. */
  raw(text: Uint8Array): void {
    const count = text.length
    this.reserve(count)
    // Below some 16 bytes a loop beats the call into the engine's memmove.
    if (count > 16) this.bytes.set(text, this.length)
    else for (let i = 0, b = this.bytes, p = this.length; i < count; i++) b[p + i] = text[i]!
    this.length += count
  }

  rawRange(from: Uint8Array, start: number, end: number): void {
    const count = end - start
    this.reserve(count)
    // The calls into the engine take as long as a loop over so many bytes.
    if (count > 48) {
      if (from instanceof Buffer) from.copy(this.bytes, this.length, start, end)
      else this.bytes.set(from.subarray(start, end), this.length)
    } else for (let i = 0, b = this.bytes, p = this.length; i < count; i++) b[p + i] = from[start + i]!
    this.length += count
  }

  written(text: Written): void {
    this.rawRange(text.bytes, text.start, text.end)
  }

  /** Any JSON value by way of JSON.stringify. */
  value(value: unknown): void {
    this.ascii(JSON.stringify(value))
  }

  /** JSON text in a JavaScript string. */
  ascii(text: string): void {
    const size = text.length
    this.reserve(size * 3)
    if (size > 40) {
      this.length += ENCODER.encodeInto(text, this.bytes.subarray(this.length)).written
      return
    }
    for (let i = 0, b = this.bytes, p = this.length; i < size; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) {
        this.length += ENCODER.encodeInto(text, this.bytes.subarray(this.length)).written
        return
      }
      b[p + i] = code
    }
    this.length += size
  }

  /** A JSON string of ASCII that needs no escape. */
  plain(text: string): void {
    const size = text.length
    this.reserve(size + 2)
    const b = this.bytes
    const p = this.length
    b[p] = 34
    if (size > 16) b.write(text, p + 1, size, 'latin1')
    else for (let i = 0; i < size; i++) b[p + 1 + i] = text.charCodeAt(i)
    b[p + 1 + size] = 34
    this.length = p + size + 2
  }

  /** A JSON string, or nothing and false where something in it has to be escaped or is not ASCII. */
  asciiString(text: string): boolean {
    const size = text.length
    this.reserve(size + 2)
    const b = this.bytes
    let p = this.length
    b[p++] = 34
    for (let i = 0; i < size; i++) {
      const code = text.charCodeAt(i)
      if (FORMS[code] !== code) return false
      b[p++] = code
    }
    b[p++] = 34
    this.length = p
    return true
  }

  /** A whole number. */
  integer(value: number): void {
    this.reserve(20)
    if (value < 0 || value > 0x7fffffff || (value | 0) !== value) {
      this.ascii(String(value))
      return
    }
    const b = this.bytes
    let digits = 1
    for (let limit = 10; value >= limit && digits < 10; limit *= 10) digits++
    for (let i = this.length + digits - 1; i >= this.length; i--) {
      const rest = (value / 10) | 0
      b[i] = 48 + value - rest * 10
      value = rest
    }
    this.length += digits
  }

  /** `count` digits with leading zeros. */
  digits(value: number, count: number): void {
    this.reserve(count)
    const b = this.bytes
    for (let i = this.length + count - 1; i >= this.length; i--) {
      const rest = (value / 10) | 0
      b[i] = 48 + value - rest * 10
      value = rest
    }
    this.length += count
  }

  /** The lower `count` digits of 32 bits in hexadecimal. */
  hex(value: number, count: number): void {
    this.reserve(count)
    const b = this.bytes
    for (let i = this.length + count - 1; i >= this.length; i--) {
      b[i] = HEX[value & 15]!
      value >>>= 4
    }
    this.length += count
  }

  /** A JSON string, quotes included, of `from[start..end)` read as UTF-8; what is not UTF-8 becomes U+FFFD. */
  string(from: Uint8Array, start: number, end: number): void {
    this.byte(34)
    this.escaped(from, start, end)
    this.byte(34)
  }

  /** The inside of a JSON string. */
  escaped(from: Uint8Array, start: number, end: number): void {
    this.reserve((end - start) * 6)
    const out = this.bytes
    let p = this.length
    for (let i = start; i < end; i++) {
      const code = from[i]!
      const form = FORMS[code]!
      if (form !== RARE) {
        out[p] = 92
        p += form >> 8
        out[p++] = form
      } else if (code < 0x20) {
        out[p++] = 92
        out[p++] = 117
        out[p++] = 48
        out[p++] = 48
        out[p++] = HEX[code >> 4]!
        out[p++] = HEX[code & 15]!
      } else {
        const size = sequenceSize(from, i, end)
        if (size === 0) {
          out[p++] = REPLACEMENT[0]!
          out[p++] = REPLACEMENT[1]!
          out[p++] = REPLACEMENT[2]!
        } else {
          for (let k = 0; k < size; k++) out[p++] = from[i + k]!
          i += size - 1
        }
      }
    }
    this.length = p
  }

  /** Writes again what stands at `start` to `end`. */
  repeat(start: number, end: number): void {
    const count = end - start
    this.reserve(count)
    if (count > 16) this.bytes.copyWithin(this.length, start, end)
    else for (let i = 0, b = this.bytes, p = this.length; i < count; i++) b[p + i] = b[start + i]!
    this.length += count
  }

  /**
   * A JSON string of text for people, or nothing and false: not UTF-8, or with control characters that text has not.
   * `cut`: the text was cut off at `end`, perhaps within a character.
   */
  text(from: Uint8Array, start: number, end: number, cut: boolean): boolean {
    return this.inForms(FORMS, from, start, end, cut)
  }

  /** A JSON string of text without any control character, or nothing and false. */
  line(from: Uint8Array, start: number, end: number): boolean {
    return this.inForms(LINE_FORMS, from, start, end, false)
  }

  private inForms(forms: Uint16Array, from: Uint8Array, start: number, end: number, cut: boolean): boolean {
    this.reserve((end - start) * 3 + 2)
    const out = this.bytes
    let p = this.length
    out[p++] = 34
    for (let i = start; i < end; i++) {
      const code = from[i]!
      const form = forms[code]!
      if (form !== RARE) {
        out[p] = 92
        p += form >> 8
        out[p++] = form
      } else if (code < 0x80) return false
      else {
        const size = sequenceSize(from, i, end)
        if (size === 0) {
          if (cut && end - i < 4) break
          return false
        }
        for (let k = 0; k < size; k++) out[p++] = from[i + k]!
        i += size - 1
      }
    }
    out[p++] = 34
    this.length = p
    return true
  }

  /** A JSON string in base64 (RFC 4648, 4). */
  base64(from: Uint8Array, start: number, end: number): void {
    const size = end - start
    this.reserve(Math.ceil(size / 3) * 4 + 2)
    const b = this.bytes
    let p = this.length
    b[p++] = 34
    if (size > LONG_BASE64) p += b.write(base64Slice.call(from, start, end), p, 'latin1')
    else {
      let i = start
      for (; i + 2 < end; i += 3) {
        const three = (from[i]! << 16) | (from[i + 1]! << 8) | from[i + 2]!
        b[p++] = DIGITS_64[three >> 18]!
        b[p++] = DIGITS_64[(three >> 12) & 63]!
        b[p++] = DIGITS_64[(three >> 6) & 63]!
        b[p++] = DIGITS_64[three & 63]!
      }
      if (i < end) {
        const rest = (from[i]! << 16) | (i + 1 < end ? from[i + 1]! << 8 : 0)
        b[p++] = DIGITS_64[rest >> 18]!
        b[p++] = DIGITS_64[(rest >> 12) & 63]!
        b[p++] = i + 1 < end ? DIGITS_64[(rest >> 6) & 63]! : EQUALS
        b[p++] = EQUALS
      }
    }
    b[p++] = 34
    this.length = p
  }

  /** A JSON string of one character a byte, for bytes of 0x80 and more that are not UTF-8. */
  latin1(from: Uint8Array, start: number, end: number): void {
    this.value(Buffer.from(from.buffer, from.byteOffset + start, end - start).toString('latin1'))
  }

  /** All that was written, for longer than the writer keeps it. Small copies share an allocation. */
  save(): Buffer {
    const saved = Buffer.allocUnsafe(this.length)
    this.bytes.copy(saved, 0, 0, this.length)
    return saved
  }

  /** What was written from `start` on; gone when the writer is used again. */
  since(start: number): Written {
    return new Written(this.bytes, start, this.length)
  }
}

/** Length of the well-formed UTF-8 sequence at `i` (Unicode 16, table 3-7), 0 if there is none. */
export function sequenceSize(b: Uint8Array, i: number, end: number): number {
  const first = b[i]!
  if (first < 0xc2 || first > 0xf4) return 0
  const second = i + 1 < end ? b[i + 1]! : 0
  if (first < 0xe0) return (second & 0xc0) === 0x80 ? 2 : 0
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
  if (second < low || second > high) return 0
  if (i + 2 >= end || (b[i + 2]! & 0xc0) !== 0x80) return 0
  if (first < 0xf0) return 3
  return i + 3 < end && (b[i + 3]! & 0xc0) === 0x80 ? 4 : 0
}
