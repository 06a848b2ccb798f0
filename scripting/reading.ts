/**
 * Learns which fields of the items scripts read, so that just these are sent. A small field is learned when it is
 * first asked for; large ones and whole objects when they are asked for often enough to be cheaper unasked.
 */
import type { Column } from './columns.ts'

/** A script that reads by computed names must not make every item carry columns without end. */
const MAX_FIELDS_OF_ONE_OBJECT = 16
const MAX_COLUMNS = 64

/** Bytes of a value that is cheaper to send with every item than to be asked for once in a while. */
const SMALL = 128

/** Asking for one value costs about as much as sending it with this many items. */
const WORTH = 50
const LEAST_ASKED = 3

interface Asked {
  column: Column
  times: number
  /** Items handed over when it was first asked for. */
  since: number
}

export class Reading {
  #columns: Column[] = []
  readonly #asked = new Map<string, Asked>()

  /** Sent with every item from now on. Replaced, never changed, when something is learned. */
  get columns(): readonly Column[] {
    return this.#columns
  }

  /** The learned column of exactly this path. */
  column(path: readonly string[]): Column | undefined {
    return this.#columns.find(column => same(column.path, path))
  }

  /**
   * A script asked for `path` of one item, where it is `size` bytes long (0: an object of which fields will be asked
   * for). `items`: number handed over so far. Returns whether the field is now sent unasked.
   */
  ask(path: readonly string[], kind: Column['kind'], size: number, items: number): boolean {
    const column: Column = { path, kind, large: kind === 'whole' || size > SMALL }
    if (!column.large) {
      this.#learn(column)
      return true
    }
    const key = JSON.stringify([kind, path])
    const asked = this.#asked.get(key) ?? { column, times: 0, since: items }
    asked.times++
    if (asked.times < LEAST_ASKED || asked.times * WORTH < items - asked.since) {
      if (this.#asked.size < MAX_COLUMNS) this.#asked.set(key, asked)
      return false
    }
    this.#asked.delete(key)
    this.#learn(column)
    return true
  }

  #learn(column: Column): void {
    const parent = column.path.slice(0, -1)
    const siblings = this.#columns.filter(
      other => under(other.path, parent) && other.path.length === column.path.length,
    )
    if (this.#columns.length >= MAX_COLUMNS) column = { path: [], kind: 'whole', large: true }
    else if (siblings.length >= MAX_FIELDS_OF_ONE_OBJECT && parent.length > 0)
      column = { path: parent, kind: 'whole', large: true }
    const before = this.column(column.path)
    if (before?.kind === 'whole') column = before
    else if (before?.large) column = { ...column, large: true }
    // Fields of an object that now comes whole still come by themselves, for scripts that read just these.
    const kept = this.#columns.filter(other => other !== before)
    this.#columns = [...kept, column]
  }
}

function under(path: readonly string[], parent: readonly string[]): boolean {
  return path.length >= parent.length && parent.every((name, i) => path[i] === name)
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && under(a, b)
}
