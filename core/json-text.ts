/**
 * Looks into JSON text as JsonWriter and JSON.stringify make it, without spaces, for the few values that somebody wants:
 * parsing a whole message for them costs several times as much.
 */
import { utf8 } from './cursor.ts'

const [QUOTE, COMMA, OPEN_LIST, BACKSLASH, CLOSE_LIST, OPEN, CLOSE] = [0x22, 0x2c, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d]

const NOTHING: Uint8Array = new Uint8Array(0)

/** The members of an object, one after the other: `for (m.enter(bytes, start); m.next(); ) …`. */
export class Members {
  bytes = NOTHING
  /** The name without its quotes. */
  nameStart = 0
  nameEnd = 0
  valueStart = 0
  valueEnd = 0

  /** `start`: where the object's brace is. */
  enter(bytes: Uint8Array, start: number): void {
    this.bytes = bytes
    this.valueEnd = start
  }

  next(): boolean {
    const { bytes } = this
    const p = this.valueEnd + 1
    if (bytes[p] !== QUOTE) return false
    this.nameStart = p + 1
    this.nameEnd = endOfString(bytes, p) - 1
    this.valueStart = this.nameEnd + 2
    this.valueEnd = endOfValue(bytes, this.valueStart)
    return true
  }

  isNamed(name: Uint8Array): boolean {
    const { bytes, nameStart } = this
    if (this.nameEnd - nameStart !== name.length) return false
    for (let i = 0; i < name.length; i++) if (bytes[nameStart + i] !== name[i]) return false
    return true
  }
}

/** Behind the value that begins at `p`. */
export function endOfValue(b: Uint8Array, p: number): number {
  const first = b[p]
  if (first === QUOTE) return endOfString(b, p)
  if (first !== OPEN && first !== OPEN_LIST) {
    let end = p
    for (; end < b.length; end++) {
      const code = b[end]
      if (code === COMMA || code === CLOSE || code === CLOSE_LIST) break
    }
    return end
  }
  let depth = 0
  for (let q = p; q < b.length; ) {
    const code = b[q]
    if (code === QUOTE) {
      q = endOfString(b, q)
      continue
    }
    q++
    if (code === OPEN || code === OPEN_LIST) depth++
    else if ((code === CLOSE || code === CLOSE_LIST) && --depth === 0) return q
  }
  return b.length
}

/** What the JSON string at `b[start..end)` says, its quotes included. */
export function stringAt(b: Uint8Array, start: number, end: number): string {
  for (let p = start + 1; p < end - 1; p++) if (b[p] === BACKSLASH) return JSON.parse(utf8(b, start, end))
  return utf8(b, start + 1, end - 1)
}

function endOfString(b: Uint8Array, p: number): number {
  for (let q = p + 1; q < b.length; q++) {
    const code = b[q]
    if (code === QUOTE) return q + 1
    if (code === BACKSLASH) q++
  }
  return b.length
}
