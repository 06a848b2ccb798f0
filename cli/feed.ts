/** The live table: one line an item, as wide as the terminal and no wider. */
import {
  type Batch,
  REQUEST_BODY_END,
  REQUEST_BODY_START,
  RESPONSE_BODY_END,
  RESPONSE_BODY_START,
  SPANS,
} from '../core/batch.ts'
import { utf8 } from '../core/cursor.ts'
import type { Face, Summary } from '../core/dissector.ts'
import type { Endpoint, Item } from '../core/item.ts'
import { badge, columned, columnsOf, type Look, type Paint, paint, printable, sized, timed } from './terminal.ts'

interface Cell {
  text: string
  /** A colour's name, or the CSS colour of a badge. */
  paint?: Paint | `#${string}`
}

interface Column {
  title: string
  width: number
  align: 'left' | 'right'
  cell(item: Item, row: Row): Cell
}

/** What the item's protocol says of it, and how long it took. */
interface Row {
  method: string
  summary: string
  status: string
  abbr: string
  color: string
}

const TIME: Column = {
  title: 'time',
  width: 12,
  align: 'left',
  cell: item => ({ text: clock(item.timestamp), paint: 'dim' }),
}
const SHORT_TIME: Column = {
  title: 'time',
  width: 8,
  align: 'left',
  cell: item => ({ text: clock(item.timestamp).slice(0, 8), paint: 'dim' }),
}
const PROTOCOL: Column = {
  title: 'proto',
  width: 7,
  align: 'left',
  cell: (_, { abbr, color }) => ({ text: ` ${abbr} `, paint: color as `#${string}` }),
}
const STATUS: Column = {
  title: 'status',
  width: 9,
  align: 'left',
  cell: (item, { status }) => {
    if (item.error) return { text: status || item.error.type, paint: 'yellow' }
    if (item.event) return { text: status }
    if (item.response === null) return { text: '-', paint: 'yellow' }
    if (!item.failed) return { text: status, paint: 'green' }
    return { text: status, paint: status.startsWith('4') ? 'yellow' : 'red' }
  },
}
const METHOD: Column = {
  title: 'method',
  width: 7,
  align: 'left',
  cell: (_, { method }) => ({ text: method, paint: 'bold' }),
}
const SOURCE: Column = {
  title: 'from',
  width: 21,
  align: 'right',
  cell: ({ src }) => ({ text: end(src), paint: 'dim' }),
}
const ARROW: Column = { title: '', width: 1, align: 'left', cell: () => ({ text: '→', paint: 'dim' }) }
const DESTINATION: Column = { title: 'to', width: 21, align: 'left', cell: ({ dst }) => ({ text: end(dst) }) }
const ELAPSED: Column = {
  title: 'took',
  width: 7,
  align: 'right',
  cell: ({ elapsedTime }) => {
    if (elapsedTime === null) return { text: '' }
    const text = timed(elapsedTime)
    return elapsedTime < SLOW_MS ? { text } : { text, paint: 'yellow' }
  },
}
const SIZES: Column = {
  title: 'sent/back',
  width: 15,
  align: 'right',
  cell: ({ requestSize, responseSize, event, size }) => {
    const whole = size === 0 ? '' : sized(size)
    return { text: event === null ? `${sized(requestSize)}/${sized(responseSize)}` : whole, paint: 'dim' }
  },
}
const SUMMARY: Column = { title: 'what', width: 0, align: 'left', cell: (_, { summary }) => ({ text: summary }) }

/** Answers that take this long are worth a colour. */
const SLOW_MS = 500
const GAP = 1
/** Below this the summary tells nothing. */
const MIN_SUMMARY = 12

/** Columns in order, the widest choice first; the summary takes what is left. */
const LAYOUTS: readonly (readonly Column[])[] = [
  [TIME, PROTOCOL, STATUS, METHOD, SUMMARY, SOURCE, ARROW, DESTINATION, ELAPSED, SIZES],
  [TIME, PROTOCOL, STATUS, METHOD, SUMMARY, SOURCE, ARROW, DESTINATION, ELAPSED],
  [SHORT_TIME, PROTOCOL, STATUS, METHOD, SUMMARY, DESTINATION, ELAPSED],
  [SHORT_TIME, PROTOCOL, STATUS, METHOD, SUMMARY, ELAPSED],
  [PROTOCOL, STATUS, METHOD, SUMMARY],
]
/** For pipes and files: nothing is cut, and what has no width comes last. */
const PLAIN = [TIME, PROTOCOL, STATUS, METHOD, SOURCE, ARROW, DESTINATION, ELAPSED, SIZES, SUMMARY]
const COMFORT = 24

export class Feed {
  private readonly look: Look
  private readonly protocols: Map<string, Face>
  private layout: readonly Column[] = PLAIN
  private summaryWidth = 0

  constructor(faces: readonly Face[], look: Look) {
    this.look = look
    this.protocols = new Map(faces.map(face => [face.name, face]))
    this.resize(look.width)
  }

  resize(width: number | null): void {
    if (width === null) return
    const room = (layout: readonly Column[]) =>
      width - layout.reduce((sum, column) => sum + column.width, 0) - GAP * (layout.length - 1)
    const narrowest = LAYOUTS.at(-1)!
    this.layout = LAYOUTS.find(layout => room(layout) >= COMFORT) ?? narrowest
    this.summaryWidth = Math.max(MIN_SUMMARY, room(this.layout))
  }

  heading(): string {
    const cells = this.layout.map(column => this.place(column, { text: column.title, paint: 'dim' }))
    return `${cells.join(' '.repeat(GAP)).trimEnd()}\n`
  }

  /** The lines of all items of a batch. */
  lines(batch: Batch): string {
    let text = ''
    for (let i = 0; i < batch.count; i++) text += this.line(JSON.parse(withoutBodies(batch, i)))
    return text
  }

  private line(item: Item): string {
    const told =
      this.protocols.get(item.protocol.macro)?.summarize(item.request, item.response, item.event) ?? ownWords(item)
    const row = { ...told, abbr: item.protocol.abbr, color: item.protocol.backgroundColor }
    const cells = this.layout.map(column => this.place(column, column.cell(item, row)))
    return `${cells.join(' '.repeat(GAP)).trimEnd()}\n`
  }

  private place(column: Column, cell: Cell): string {
    const text = printable(cell.text)
    const width = column === SUMMARY ? this.summaryWidth : column.width
    // A pipe's reader can do nothing with an ellipsis: there, what is too long stays whole.
    const fits = this.look.width !== null || columnsOf(text) <= width
    const placed = !fits
      ? text
      : column.align === 'right'
        ? columned(text, width).trimEnd().padStart(width)
        : columned(text, width)
    if (cell.paint === undefined) return placed
    if (!cell.paint.startsWith('#')) return paint(placed, cell.paint as Paint, this.look.depth)
    const blank = ' '.repeat(Math.max(0, width - columnsOf(text)))
    return badge(text, cell.paint, this.look.depth) + blank
  }
}

/** Bodies are most of an item, and a table shows none of them. */
function withoutBodies(batch: Batch, index: number): string {
  const { bytes, starts, spans } = batch
  const at = index * SPANS
  const end = starts[index + 1]!
  let text = ''
  let start = starts[index]!
  for (const [from, to] of [
    [spans[at + REQUEST_BODY_START]!, spans[at + REQUEST_BODY_END]!],
    [spans[at + RESPONSE_BODY_START]!, spans[at + RESPONSE_BODY_END]!],
  ] as const) {
    if (from < 0) continue
    text += `${utf8(bytes, start, from)}null`
    start = to
  }
  return text + utf8(bytes, start, end)
}

function end({ name, namespace, ip, port }: Endpoint): string {
  // ICMP has no ports.
  if (port === '') return name || ip
  if (name) return namespace ? `${name}.${namespace}:${port}` : `${name}:${port}`
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

function clock(timestamp: number): string {
  const at = new Date(timestamp)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`
}

/** A protocol that a script defines says it in its items. */
function ownWords({ request, response, event }: Item): Summary {
  const told = request ?? event
  const text = (value: unknown) => (value === undefined || value === null ? '' : String(value))
  return { method: text(told?.method), summary: text(told?.summary), status: text(response?.status) }
}
