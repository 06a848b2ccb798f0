/**
 * The head of an HTTP/1 message, read and written as JSON in one pass (RFC 9112, sections 2 to 5; RFC 9110, 5).
 *
 *   field-line = field-name ":" OWS field-value OWS CRLF      ...      CRLF
 */
import { Buffer } from 'node:buffer'
import { indexOf, Malformed } from '../../cursor.ts'
import type { JsonWriter } from '../../json-writer.ts'

/** Servers refuse heads of 8 to 64 KiB; beyond this it is no head. */
export const MAX_HEAD = 262_144
const MAX_FIELDS = 2000
/** Names are compared with those of so many fields before them: more would cost the square. */
const MAX_COMPARED = 64

/** tchar of RFC 9110, 5.6.2. */
const TOKEN = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
  TOKEN[char.charCodeAt(0)] = 1

/** What may stand in a JSON string as it is. */
const PLAIN = new Uint8Array(256).fill(1, 0x20, 0x7f)
PLAIN[0x22] = PLAIN[0x5c] = 0

export function isToken(byte: number): boolean {
  return TOKEN[byte] === 1
}

function hashOf(name: string): number {
  let h = 0
  for (let i = 0; i < name.length; i++) h = (Math.imul(h, 31) + (name.charCodeAt(i) | 0x20)) | 0
  return h
}

/** What says that content is not encoded: RFC 9110, 8.4.1, and what some servers say instead. */
export const NO_CODINGS: ReadonlySet<string> = new Set(['', 'identity', 'none'])

const CONTENT_LENGTH = hashOf('content-length')
const CONTENT_TYPE = hashOf('content-type')
const CONTENT_ENCODING = hashOf('content-encoding')
const TRANSFER_ENCODING = hashOf('transfer-encoding')
const UPGRADE = hashOf('upgrade')
const COOKIE = hashOf('cookie')
const SET_COOKIE = hashOf('set-cookie')
const LOCATION = hashOf('location')

/** Few names say how to read a message: the rest need not be compared with each of those. */
const TAKEN = new Uint8Array(256)
for (const hash of [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, UPGRADE, COOKIE, SET_COOKIE, LOCATION])
  TAKEN[hash & 255] = 1

/** What the fields of one head say about its message. */
export class Head {
  /** Content-Length; -1 without one. */
  length = -1
  chunked = false
  /** Content-Encoding and the codings of Transfer-Encoding other than chunked, in the order they were applied. */
  codings: string[] | null = null
  /** Content-Type as JSON text in the writer that the head was written to; -1 without one. */
  typeStart = -1
  typeEnd = -1
  upgrade = ''
  location = ''
  cookies: string[] | null = null
  setCookies: string[] | null = null

  /**
   * Reads field lines from `p` on and writes them as a JSON object, repeated names joined by ",".
   * Returns the index behind the empty line, -1 if it has not come.
   */
  fields(b: Uint8Array, p: number, end: number, out: JsonWriter): number {
    const begin = out.length
    const first = p
    // Two bits of each name's hash: where both are set already, the name may stand in an earlier line.
    let seen = 0
    let alsoSeen = 0
    let count = 0
    out.byte(123)
    for (;;) {
      if (p >= end) return -1
      const start = p
      let code = b[p]!
      if (code === 13 || code === 10) {
        if (code === 13) {
          if (p + 1 >= end) return -1
          if (b[p + 1] !== 10) throw new Malformed(`expected LF after CR, found byte ${b[p + 1]}`)
          p++
        }
        out.byte(125)
        return p + 1
      }
      if (code === 32 || code === 9) {
        if (count === 0) throw new Malformed('expected a field name, found white space')
        out.length = begin
        return this.fieldsUnfolded(b, first, end, out)
      }
      if (++count > MAX_FIELDS) throw new Malformed(`expected at most ${MAX_FIELDS} fields`)
      out.reserve(ROOM)
      let bytes: Uint8Array = out.bytes
      let o = out.length
      let room = bytes.length - 4
      if (count > 1) bytes[o++] = 44
      bytes[o++] = 34
      let hash = 0
      while (TOKEN[code] === 1) {
        hash = (Math.imul(hash, 31) + (code | 0x20)) | 0
        if (o === room) {
          bytes = longer(out, o)
          room = bytes.length - 4
        }
        bytes[o++] = code
        if (++p >= end) return -1
        code = b[p]!
      }
      const nameEnd = p
      // White space before the colon is against the RFC and seen in the wild.
      while (code === 32 || code === 9) {
        if (++p >= end) return -1
        code = b[p]!
      }
      if (code !== 58 || nameEnd === start) throw new Malformed(`expected a field name and a colon, found byte ${code}`)
      const bit = 1 << (hash & 31)
      const other = 1 << ((hash >>> 5) & 31)
      if (
        (seen & bit) !== 0 &&
        (alsoSeen & other) !== 0 &&
        (count > MAX_COMPARED || repeats(b, first, start, nameEnd))
      ) {
        out.length = begin
        return this.fieldsMerged(b, first, end, out)
      }
      seen |= bit
      alsoSeen |= other
      bytes[o++] = 34
      bytes[o++] = 58
      out.length = o
      p++
      while (p < end && (b[p] === 32 || b[p] === 9)) p++
      p = this.value(b, p, end, out, hash, nameEnd - start)
      if (p < 0) return -1
      if (hash === CONTENT_TYPE && nameEnd - start === 12) {
        this.typeStart = o
        this.typeEnd = out.length
      }
    }
  }

  /** The value as a JSON string. */
  private value(b: Uint8Array, start: number, end: number, out: JsonWriter, hash: number, nameLength: number): number {
    out.reserve(ROOM)
    let bytes: Uint8Array = out.bytes
    let room = bytes.length - 4
    let o = out.length
    bytes[o++] = 34
    let p = start
    let code = 0
    while (p < end) {
      code = b[p]!
      if (PLAIN[code] === 0) break
      if (o === room) {
        bytes = longer(out, o)
        room = bytes.length - 4
      }
      bytes[o++] = code
      p++
    }
    const plain = code === 10 || (code === 13 && p + 1 < end && b[p + 1] === 10)
    let valueEnd = p
    if (plain) p += code === 13 ? 2 : 1
    else {
      while (p < end && b[p] !== 10) p++
      if (p === end) return -1
      valueEnd = p > start && b[p - 1] === 13 ? p - 1 : p
      p++
      if (b.subarray(start, valueEnd).includes(13)) {
        this.valueWithSpaces(b.subarray(start, p), out, hash, nameLength)
        return p
      }
    }
    if (p > end) return -1
    while (valueEnd > start && (b[valueEnd - 1] === 32 || b[valueEnd - 1] === 9)) {
      valueEnd--
      o--
    }
    if (plain) {
      bytes[o++] = 34
      out.length = o
    } else odd(b, start, valueEnd, out)
    if (TAKEN[hash & 255] === 1) this.take(b, start, valueEnd, hash, nameLength)
    return p
  }

  /** RFC 9112, 2.2: a CR by itself is read as a space. Most receivers refuse the message, and this shows what they refused. */
  private valueWithSpaces(line: Uint8Array, out: JsonWriter, hash: number, nameLength: number): void {
    const spaced = line.map(code => (code === 13 ? 32 : code))
    const start = spaced.findIndex(code => code !== 32 && code !== 9)
    this.value(spaced, start, spaced.length, out, hash, nameLength)
  }

  /** RFC 9112, 5.2: a value that goes on in the next line is read as if a space stood there. */
  private fieldsUnfolded(b: Uint8Array, first: number, end: number, out: JsonWriter): number {
    const unfolded = new Uint8Array(end - first + 2)
    let length = 0
    for (let p = first; ; ) {
      const lineEnd = indexOf(b, 10, p, end)
      if (lineEnd < 0) return -1
      const last = lineEnd > p && b[lineEnd - 1] === 13 ? lineEnd - 1 : lineEnd
      const isLast = last === p
      if (b[p] === 32 || b[p] === 9) {
        length -= 2
        while (length > 0 && (unfolded[length - 1] === 32 || unfolded[length - 1] === 9)) length--
        while (p < last && (b[p] === 32 || b[p] === 9)) p++
        unfolded[length++] = 32
      }
      unfolded.set(b.subarray(p, last), length)
      length += last - p
      unfolded[length++] = 13
      unfolded[length++] = 10
      p = lineEnd + 1
      if (!isLast) continue
      const whole = new Head()
      whole.fields(unfolded, 0, length, out)
      this.adopt(whole)
      return p
    }
  }

  private fieldsMerged(b: Uint8Array, p: number, end: number, out: JsonWriter): number {
    const merged = new Map<string, { name: string; value: string }>()
    const lone = new Head()
    const first = p
    for (let count = 0; ; count++) {
      if (count > MAX_FIELDS) throw new Malformed(`expected at most ${MAX_FIELDS} fields`)
      const lineEnd = indexOf(b, 10, p, end)
      if (lineEnd < 0) return -1
      let last = lineEnd
      if (last > p && b[last - 1] === 13) last--
      if (last === p) {
        const all: Record<string, string> = Object.create(null)
        for (const { name, value } of merged.values()) all[name] = value
        const before = out.length
        out.value(all)
        this.adopt(lone)
        this.findType(out, before)
        return lineEnd + 1
      }
      if (b[p] === 32 || b[p] === 9) return this.fieldsUnfolded(b, first, end, out)
      const scratch = out.length
      // One line as a head of its own: the same reading, its name and value are then joined with their like.
      const single = new Uint8Array(last - p + 4)
      single.set(b.subarray(p, last))
      single.set([13, 10, 13, 10], last - p)
      lone.fields(single, 0, single.length, out)
      const text = out.bytes.toString('utf8', scratch, out.length)
      out.length = scratch
      for (const [name, value] of Object.entries<string>(JSON.parse(text))) {
        const known = merged.get(name.toLowerCase())
        if (known === undefined) merged.set(name.toLowerCase(), { name, value })
        else known.value += `,${value}`
      }
      p = lineEnd + 1
    }
  }

  /** Where the merged fields tell the type. */
  private findType(out: JsonWriter, start: number): void {
    const text = out.bytes.toString('latin1', start, out.length)
    const found = /"content-type":("(?:[^"\\]|\\.)*")/i.exec(text)
    if (found === null) return
    this.typeEnd = start + found.index + found[0].length
    this.typeStart = this.typeEnd - found[1]!.length
  }

  /** What was noted in a first pass is forgotten. */
  private adopt(other: Head): void {
    this.length = other.length
    this.chunked = other.chunked
    this.codings = other.codings
    this.typeStart = other.typeStart
    this.typeEnd = other.typeEnd
    this.upgrade = other.upgrade
    this.location = other.location
    this.cookies = other.cookies
    this.setCookies = other.setCookies
  }

  /** Notes the fields that say how to read the message. */
  private take(b: Uint8Array, start: number, end: number, hash: number, nameLength: number): void {
    switch (hash) {
      case CONTENT_LENGTH:
        if (nameLength === 14) this.takeLength(b, start, end)
        break
      case CONTENT_ENCODING:
        if (nameLength === 16) this.takeCodings(latin1(b, start, end))
        break
      case TRANSFER_ENCODING:
        if (nameLength === 17) this.takeCodings(latin1(b, start, end))
        break
      case UPGRADE:
        if (nameLength === 7) this.upgrade = latin1(b, start, end).toLowerCase()
        break
      case COOKIE:
        if (nameLength === 6) this.cookies = appended(this.cookies, latin1(b, start, end))
        break
      case SET_COOKIE:
        if (nameLength === 10) this.setCookies = appended(this.setCookies, latin1(b, start, end))
        break
      case LOCATION:
        if (nameLength === 8) this.location = latin1(b, start, end)
        break
    }
  }

  private takeLength(b: Uint8Array, start: number, end: number): void {
    let value = 0
    for (let i = start; i < end; i++) {
      const digit = b[i]! - 48
      if (digit < 0 || digit > 9 || end - start > 15) {
        this.takeLengths(latin1(b, start, end))
        return
      }
      value = value * 10 + digit
    }
    if (end === start || (this.length >= 0 && this.length !== value))
      throw new Malformed(`expected one Content-Length, found ${this.length} and ${value}`)
    this.length = value
  }

  /** RFC 9112, 6.3: a list of equal values counts as one. */
  private takeLengths(text: string): void {
    const values = new Set(text.split(',').map(part => part.trim()))
    const [value] = values
    if (values.size !== 1 || !/^\d{1,15}$/.test(value!))
      throw new Malformed(`expected a Content-Length, found "${text}"`)
    this.length = Number(value)
  }

  private takeCodings(text: string): void {
    for (const part of text.toLowerCase().split(',')) {
      const coding = part.trim()
      if (coding === 'chunked') this.chunked = true
      else if (!NO_CODINGS.has(coding)) this.codings = appended(this.codings, coding)
    }
  }
}

/** What a name or a value is sure to find; longer ones ask for more. */
const ROOM = 256

/** `o` bytes of `out` are written: room for as many again. */
function longer(out: JsonWriter, o: number): Uint8Array {
  out.length = o
  out.reserve(o + ROOM)
  return out.bytes
}

/** A value with quotes, tabs, control characters or bytes beyond ASCII. */
function odd(b: Uint8Array, start: number, end: number, out: JsonWriter): void {
  const begin = out.length
  // Values are UTF-8 today and were Latin-1 once.
  if (out.text(b, start, end, false)) return
  out.length = begin
  out.latin1(b, start, end)
}

/** Does the name at `start` stand in an earlier line? */
function repeats(b: Uint8Array, first: number, start: number, nameEnd: number): boolean {
  const length = nameEnd - start
  for (let p = first; p < start; p = b.indexOf(10, p) + 1) {
    if (b[p + length] !== 58 && b[p + length] !== 32) continue
    let i = 0
    while (i < length && (b[p + i]! | 0x20) === (b[start + i]! | 0x20)) i++
    if (i === length) return true
  }
  return false
}

function latin1(b: Uint8Array, start: number, end: number): string {
  return Buffer.from(b.buffer, b.byteOffset + start, end - start).toString('latin1')
}

function appended(list: string[] | null, text: string): string[] {
  return list === null ? [text] : [...list, text]
}
