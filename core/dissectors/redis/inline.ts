/**
 * Splits a line into arguments as Redis does (sdssplitargs in sds.c) for commands typed by hand, and as MONITOR
 * writes them: `SET k "two words\x00\n"`, `SET k 'it\'s'`. Works on bytes because \xHH may make any.
 */

const SPACE = 32
const DOUBLE = 34
const SINGLE = 39
const BACKSLASH = 92
const SMALL_X = 120

/** The arguments in `line[start..end)`, null when quotes are unbalanced or text follows a closing quote. */
export function splitArguments(line: Uint8Array, start: number, end: number): Uint8Array[] | null {
  const found: Uint8Array[] = []
  for (let i = start; ; ) {
    while (i < end && isSpace(line[i]!)) i++
    if (i >= end) return found
    const begin = i
    while (i < end && !isSpace(line[i]!) && line[i] !== DOUBLE && line[i] !== SINGLE) i++
    if (i >= end || isSpace(line[i]!)) {
      found.push(line.subarray(begin, i))
      continue
    }
    // Unquoting only ever shortens.
    const out = new Uint8Array(end - begin)
    out.set(line.subarray(begin, i))
    const unquoted = unquote(line, i, end, out, i - begin)
    if (unquoted === null) return null
    found.push(out.subarray(0, unquoted.length))
    i = unquoted.next
  }
}

function unquote(
  line: Uint8Array,
  i: number,
  end: number,
  out: Uint8Array,
  length: number,
): { length: number; next: number } | null {
  while (i < end && !isSpace(line[i]!)) {
    const quote = line[i++]!
    if (quote !== DOUBLE && quote !== SINGLE) {
      out[length++] = quote
      continue
    }
    for (;;) {
      if (i >= end) return null
      const byte = line[i++]!
      if (byte === quote) break
      if (byte !== BACKSLASH || i >= end) out[length++] = byte
      else if (quote === SINGLE) {
        if (line[i] === SINGLE) out[length++] = line[i++]!
        else out[length++] = byte
      } else if (line[i] === SMALL_X && i + 2 < end && hex(line[i + 1]!) >= 0 && hex(line[i + 2]!) >= 0) {
        out[length++] = hex(line[i + 1]!) * 16 + hex(line[i + 2]!)
        i += 3
      } else out[length++] = escaped(line[i++]!)
    }
    if (i < end && !isSpace(line[i]!)) return null
  }
  return { length, next: i }
}

function escaped(letter: number): number {
  switch (letter) {
    case 110:
      return 10
    case 114:
      return 13
    case 116:
      return 9
    case 98:
      return 8
    case 97:
      return 7
    default:
      return letter
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || (byte >= 9 && byte <= 13)
}

function hex(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const letter = byte | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}
