/**
 * IP addresses as four signed 32-bit words, most significant first, and as text. IPv4 is kept IPv4-mapped
 * (RFC 4291, 2.5.5.2): 0, 0, 0xffff, address. IPv6 is written as RFC 5952 says.
 */

/** The address in `words[offset..offset + 4)`: `10.0.0.7`, `2001:db8::1`. IPv4-mapped addresses are written as IPv4. */
export function formatAddress(words: Int32Array, offset = 0): string {
  const last = words[offset + 3]!
  if (words[offset] === 0 && words[offset + 1] === 0 && words[offset + 2] === 0xffff) return dotted(last)
  return colons(words, offset)
}

/** The four words of an IPv4 or IPv6 address, null when the text is neither. */
export function parseAddress(text: string): Int32Array | null {
  return text.includes(':') ? parseColons(text) : parseDotted(text)
}

function dotted(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`
}

function colons(words: Int32Array, offset: number): string {
  const gap = longestZeros(words, offset)
  let text = ''
  for (let i = 0; i < GROUPS; i++) {
    if (i === gap.start) {
      text += '::'
      i = gap.end - 1
    } else {
      if (i > 0 && i !== gap.end) text += ':'
      text += group(words, offset, i).toString(16)
    }
  }
  return text
}

const GROUPS = 8

function group(words: Int32Array, offset: number, index: number): number {
  const word = words[offset + (index >> 1)]!
  return index % 2 === 0 ? word >>> 16 : word & 0xffff
}

/** RFC 5952, 4.2: the longest run of zero groups, the first of several, never a single group; -1 when there is none. */
function longestZeros(words: Int32Array, offset: number): { start: number; end: number } {
  const longest = { start: -1, end: -1 }
  let start = 0
  for (let i = 0; i <= GROUPS; i++) {
    if (i < GROUPS && group(words, offset, i) === 0) continue
    if (i - start >= 2 && i - start > longest.end - longest.start) {
      longest.start = start
      longest.end = i
    }
    start = i + 1
  }
  return longest
}

// No leading zeros: some readers take them for octal, so that one text would name two addresses.
const DOTTED = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/

function parseDotted(text: string): Int32Array | null {
  const word = dottedWord(text)
  return word === null ? null : Int32Array.of(0, 0, 0xffff, word)
}

function dottedWord(text: string): number | null {
  const parts = DOTTED.exec(text)
  if (parts === null) return null
  let word = 0
  for (let i = 1; i <= 4; i++) {
    const part = Number(parts[i])
    if (part > 255) return null
    word = (word << 8) | part
  }
  return word
}

const HEXADECIMAL = /^[0-9a-fA-F]{1,4}$/

function parseColons(text: string): Int32Array | null {
  const halves = text.split('::')
  if (halves.length > 2) return null
  const tail = parseGroups(halves.at(-1)!)
  const head = halves.length === 2 ? parseGroups(halves[0]!) : []
  if (head === null || tail === null) return null
  const zeros = GROUPS - head.length - tail.length
  if (halves.length === 2 ? zeros < 1 : zeros !== 0) return null
  // An IPv4 address stands for the last two groups only.
  if (halves.length === 2 && halves[0]!.includes('.')) return null

  const groups = [...head, ...new Array<number>(zeros).fill(0), ...tail]
  const words = new Int32Array(4)
  for (let i = 0; i < 4; i++) words[i] = (groups[2 * i]! << 16) | groups[2 * i + 1]!
  return words
}

function parseGroups(text: string): number[] | null {
  if (text === '') return []
  const parts = text.split(':')
  const groups: number[] = []
  for (const [i, part] of parts.entries()) {
    if (HEXADECIMAL.test(part)) {
      groups.push(Number.parseInt(part, 16))
      continue
    }
    const word = i === parts.length - 1 ? dottedWord(part) : null
    if (word === null) return null
    groups.push(word >>> 16, word & 0xffff)
  }
  return groups
}
