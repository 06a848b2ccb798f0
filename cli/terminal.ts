/** What the terminal can show, and how to show it strangers' words without obeying them. */
import { isatty, WriteStream } from 'node:tty'

export interface Look {
  /** Columns; null when this is no terminal and nothing has to fit. */
  width: number | null
  /** 1: none; 4, 8 or 24: bits of colour. */
  depth: number
}

/** How descriptor 1 or 2 wants to be written to. NO_COLOR and FORCE_COLOR are respected. */
export function lookOf(descriptor: 1 | 2): Look {
  const stream = descriptor === 1 ? process.stdout : process.stderr
  if (!isatty(descriptor)) {
    // Whoever forces colour shows it on a terminal in the end, and may say how wide that is.
    const forced = Boolean(process.env.FORCE_COLOR)
    return { width: forced ? Number(process.env.COLUMNS) || null : null, depth: forced ? colorDepth() : 1 }
  }
  return { width: stream.columns || 80, depth: colorDepth() }
}

function colorDepth(): number {
  if (process.env.NO_COLOR) return 1
  return WriteStream.prototype.getColorDepth()
}

export type Paint = 'red' | 'green' | 'yellow' | 'blue' | 'cyan' | 'dim' | 'bold'
const CODES: Record<Paint, number> = { red: 31, green: 32, yellow: 33, blue: 34, cyan: 36, dim: 2, bold: 1 }

export function paint(text: string, how: Paint, depth: number): string {
  return depth === 1 ? text : `\x1b[${CODES[how]}m${text}\x1b[0m`
}

/** White text on a CSS colour `#rrggbb`. */
export function badge(text: string, color: string, depth: number): string {
  const rgb = Number.parseInt(color.slice(1), 16)
  if (depth === 1 || Number.isNaN(rgb)) return text
  const [red, green, blue] = [rgb >> 16, (rgb >> 8) & 255, rgb & 255]
  if (depth === 24) return `\x1b[48;2;${red};${green};${blue};38;2;255;255;255;1m${text}\x1b[0m`
  const step = (value: number) => Math.round(value / 51)
  if (depth === 8) return `\x1b[48;5;${16 + 36 * step(red) + 6 * step(green) + step(blue)};38;5;231;1m${text}\x1b[0m`
  return `\x1b[7m${text}\x1b[0m`
}

// Control characters, and the marks that turn the direction of writing: on a terminal they are orders.
const ORDERS = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
const ORDERS_BUT_COLOR = /\x1b\[[\d;]*m|[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

export function printable(text: string): string {
  return text.replace(ORDERS, '·')
}

/** As `printable`, but colours and tabs stay: scripts print them. */
export function printableWithColor(text: string): string {
  return text.replace(ORDERS_BUT_COLOR, found => (found.length > 1 ? found : '·'))
}

export function withoutColor(text: string): string {
  return text.replace(/\x1b\[[\d;]*m/g, '')
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u
const MARK = /\p{M}/u

/** Exactly `width` columns of `text`: cut with an ellipsis, or filled up with blanks. */
export function columned(text: string, width: number): string {
  let columns = 0
  let cut = 0
  let i = 0
  for (const character of text) {
    const wide = character < '\u0300' ? 1 : MARK.test(character) ? 0 : WIDE.test(character) ? 2 : 1
    if (columns + wide > width)
      return `${text.slice(0, cut)}…${' '.repeat(Math.max(0, width - 1 - columnsOf(text.slice(0, cut))))}`
    columns += wide
    i += character.length
    if (columns <= width - 1) cut = i
  }
  return text + ' '.repeat(width - columns)
}

export function columnsOf(text: string): number {
  let columns = 0
  for (const character of withoutColor(text))
    columns += character < '\u0300' ? 1 : MARK.test(character) ? 0 : WIDE.test(character) ? 2 : 1
  return columns
}

/** `1 234 567`. */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** `812 B`, `1.2 kB`, `34 MB`. */
export function sized(bytes: number): string {
  let value = bytes
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (value < 999.5 || unit === 'GB')
      return `${unit === 'B' || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${unit}`
    value /= 1000
  }
  return ''
}

/** `0.42 ms`, `18 ms`, `1.24 s`. */
export function timed(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`
  if (ms < 1000) return `${Math.round(ms)} ms`
  return `${(ms / 1000).toFixed(2)} s`
}

/** `1 packet`, `12 packets`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`
}
