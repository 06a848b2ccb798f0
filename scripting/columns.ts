/**
 * Copies out of an item's JSON text just the values that scripts read, without parsing the rest. One row of cells an
 * item, one cell a column, all in one flat JSON array:
 *
 *   42 "GET" true null    the value itself
 *   []                    the item has no such field
 *   [0]                   an object, of which only fields are wanted (in columns of kind `object`: 1)
 *   [2]                   a value too large to be sent unasked
 *   [s,e]                 an object or array: its JSON text is texts[s..e)
 */
import {
  type Batch,
  REQUEST_BODY_END,
  REQUEST_BODY_START,
  REQUEST_END,
  REQUEST_START,
  RESPONSE_BODY_END,
  RESPONSE_BODY_START,
  RESPONSE_END,
  RESPONSE_START,
  SPANS,
} from '../core/batch.ts'
import type { Item } from '../core/item.ts'
import { constant, type JsonWriter } from '../core/json-writer.ts'

export interface Column {
  /** `['response', 'status']`; empty: the whole item. */
  path: readonly string[]
  /**
   * value: what is found, of an object only the mark that it is there. object: the same where an object is expected.
   * whole: objects with all their fields.
   */
  kind: 'value' | 'object' | 'whole'
  /** Values of any size; else those above `LARGE` bytes are left out. */
  large: boolean
}

/** Bytes of a value that is sent only when scripts really read it: a body read once in a thousand items must not travel with each. */
const LARGE = 512

/** Beyond any index and count here. */
const NO_END = 0x3fffffff

const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92
const ONE = 49
const LETTER_N = 110
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
const ABSENT = constant('[]')
const NODE = constant('[0]')
const WITHHELD = constant('[2]')

/** Where a field of an item stands: before `request`, at it, at `response`, or after. */
const PLACES: Record<keyof Item, 'head' | 'request' | 'response' | 'tail'> = {
  id: 'head',
  index: 'head',
  stream: 'head',
  worker: 'head',
  node: 'head',
  protocol: 'head',
  tls: 'head',
  src: 'head',
  dst: 'head',
  timestamp: 'head',
  startTime: 'head',
  request: 'request',
  response: 'response',
  requestSize: 'tail',
  responseSize: 'tail',
  elapsedTime: 'tail',
  passed: 'tail',
  failed: 'tail',
  error: 'tail',
  event: 'tail',
  data: 'tail',
  size: 'tail',
  entryFile: 'tail',
  record: 'tail',
}

/** Names of an item's fields. */
export const FIELDS: readonly string[] = Object.keys(PLACES)

/** A wanted field, and the wanted fields of it. */
class Branch {
  readonly depth: number
  readonly key: Uint8Array
  readonly size: number
  readonly names: string[] = []
  readonly children: Branch[] = []
  column = -1
  constructor(depth: number, name: string) {
    this.depth = depth
    this.key = constant(JSON.stringify(name).slice(1, -1))
    this.size = this.key.length
  }

  child(name: string): Branch {
    const at = this.names.indexOf(name)
    if (at >= 0) return this.children[at]!
    const made = new Branch(this.depth + 1, name)
    this.names.push(name)
    this.children.push(made)
    return made
  }

  /** The child whose name begins at `start` and ends with a quote. */
  find(bytes: Uint8Array, start: number): Branch | null {
    const { children } = this
    for (let k = 0; k < children.length; k++) {
      const child = children[k]!
      const { key, size } = child
      if (bytes[start + size] !== QUOTE || bytes[start] !== key[0]) continue
      let i = 1
      while (i < size && bytes[start + i] === key[i]) i++
      if (i >= size) return child
    }
    return null
  }
}

export class ColumnCutter {
  readonly columns: readonly Column[]
  readonly #root = new Branch(0, '')
  /** Start and end of each column's value in the item at hand; -1: not found. */
  readonly #found: Int32Array
  /** Wanted fields of the item that stand there. */
  readonly #inHead: number
  readonly #inRequest: Branch | null
  readonly #inResponse: Branch | null
  readonly #inTail: number
  /** Wanted names that no item is known to have: the whole text is searched. */
  readonly #anywhere: boolean
  #bytes: Uint8Array = ABSENT
  #spans: Int32Array = new Int32Array(SPANS)
  #spansAt = 0

  constructor(columns: readonly Column[]) {
    this.columns = columns
    this.#found = new Int32Array(columns.length * 2)
    for (const [index, column] of columns.entries()) {
      let branch = this.#root
      for (const name of column.path) branch = branch.child(name)
      branch.column = index
    }
    const { names, children } = this.#root
    const places = names.map(name => (FIELDS.includes(name) ? PLACES[name as keyof Item] : 'unknown'))
    this.#inHead = places.filter(place => place === 'head').length
    this.#inTail = places.filter(place => place === 'tail').length
    this.#anywhere = places.includes('unknown')
    this.#inRequest = children[names.indexOf('request')] ?? null
    this.#inResponse = children[names.indexOf('response')] ?? null
  }

  /** Appends the cells of all items. */
  cutAll(batch: Batch, cells: JsonWriter, texts: JsonWriter): void {
    if (this.columns.length > 0) for (let i = 0; i < batch.count; i++) this.cut(batch, i, cells, texts)
  }

  /** Appends the cells of item `i`, each followed by a comma. */
  cut(batch: Batch, i: number, cells: JsonWriter, texts: JsonWriter): void {
    const { columns } = this
    const found = this.#found
    for (let i = 0; i < found.length; i++) found[i] = -1
    this.#bytes = batch.bytes
    const start = batch.starts[i]!
    const end = batch.starts[i + 1]! - 1
    if (this.#root.column >= 0) this.#take(this.#root, start, end)
    if (this.#root.children.length > 0) this.#search(batch, i, start, end)
    for (let c = 0; c < columns.length; c++) {
      this.#cell(columns[c]!, found[c * 2]!, found[c * 2 + 1]!, cells, texts)
      cells.byte(COMMA)
    }
  }

  #search(batch: Batch, i: number, start: number, end: number): void {
    const { spans } = batch
    const at = i * SPANS
    this.#spans = spans
    this.#spansAt = at
    const request = spans[at + REQUEST_START]!
    const requestEnd = spans[at + REQUEST_END]!
    const response = spans[at + RESPONSE_START]!
    const responseEnd = spans[at + RESPONSE_END]!
    const spanned = request > start && requestEnd > request && response >= requestEnd && responseEnd > response
    if (this.#anywhere || !spanned) {
      this.#object(start, this.#root)
      return
    }
    if (this.#inHead > 0) this.#members(start + 1, this.#root, request, this.#inHead)
    if (this.#inRequest !== null) this.#value(request, requestEnd, this.#inRequest)
    if (this.#inResponse !== null) this.#value(response, responseEnd, this.#inResponse)
    if (this.#inTail > 0 && this.#bytes[responseEnd] === COMMA)
      this.#members(responseEnd + 1, this.#root, end, this.#inTail)
  }

  #value(start: number, end: number, branch: Branch): void {
    if (branch.column >= 0) this.#take(branch, start, end)
    if (branch.children.length > 0 && this.#bytes[start] === OPEN_BRACE) this.#object(start, branch)
  }

  #take(branch: Branch, start: number, end: number): void {
    this.#found[branch.column * 2] = start
    this.#found[branch.column * 2 + 1] = end
  }

  /** The members of the object at `start`. */
  #object(start: number, branch: Branch): number {
    if (this.#bytes[start + 1] === CLOSE_BRACE) return start + 2
    // Names at the first two levels are the dissectors' own and come once. Deeper ones are strangers' words: as in
    // JSON.parse the last of several counts.
    return this.#members(start + 1, branch, NO_END, branch.depth < 2 ? branch.children.length : NO_END)
  }

  /** Members from `at` (a quote) up to `until` or the end of the object; `left`: wanted ones after which to stop. */
  #members(at: number, branch: Branch, until: number, left: number): number {
    const bytes = this.#bytes
    const size = bytes.length
    while (at < until && bytes[at] === QUOTE) {
      const child = branch.find(bytes, at + 1)
      const start = (child === null ? this.#stringEnd(at + 1) : at + 1 + child.size) + 2
      const first = bytes[start]
      let end = start
      if (first === QUOTE || first === OPEN_BRACE || first === OPEN_BRACKET) end = this.#skip(start)
      else while (end < size && bytes[end] !== COMMA && bytes[end] !== CLOSE_BRACE) end++
      if (child !== null) {
        this.#value(start, end, child)
        if (--left === 0) return end
      }
      if (bytes[end] !== COMMA) return end + 1
      at = end + 1
    }
    return at
  }

  /** Index after the string, object or array at `start`. */
  #skip(start: number): number {
    const bytes = this.#bytes
    if (bytes[start] === QUOTE) return this.#string(start)
    let at = start
    let depth = 0
    while (at < bytes.length) {
      const byte = bytes[at]!
      if (byte === QUOTE) {
        at = this.#string(at)
        continue
      }
      at++
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
      else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) return at
    }
    return at
  }

  /** Index after the string at `start`. Bodies are known by their spans. */
  #string(start: number): number {
    const spans = this.#spans
    const at = this.#spansAt
    if (start === spans[at + REQUEST_BODY_START]) return spans[at + REQUEST_BODY_END]!
    if (start === spans[at + RESPONSE_BODY_START]) return spans[at + RESPONSE_BODY_END]!
    return this.#stringEnd(start + 1) + 1
  }

  #stringEnd(at: number): number {
    const bytes = this.#bytes
    for (; at < bytes.length; at++) {
      const byte = bytes[at]!
      if (byte === QUOTE) return at
      if (byte === BACKSLASH) at++
    }
    return at
  }

  #cell(column: Column, start: number, end: number, cells: JsonWriter, texts: JsonWriter): void {
    const bytes = this.#bytes
    const { kind } = column
    const first = start < 0 ? 0 : bytes[start]
    const object = first === OPEN_BRACE
    // In a column of objects a number would be a mark.
    const asText = object || first === OPEN_BRACKET || (kind === 'object' && first !== LETTER_N)
    if (start < 0) cells.raw(ABSENT)
    else if (object && kind === 'object') cells.byte(ONE)
    else if (object && kind === 'value') cells.raw(NODE)
    else if (end - start > LARGE && !column.large) cells.raw(WITHHELD)
    else if (!asText) cells.rawRange(bytes, start, end)
    else {
      cells.byte(OPEN_BRACKET)
      cells.integer(texts.length)
      cells.byte(COMMA)
      texts.rawRange(bytes, start, end)
      cells.integer(texts.length)
      cells.byte(CLOSE_BRACKET)
    }
  }
}
