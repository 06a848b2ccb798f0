/**
 * Items as scripts see them: plain objects to every test that JavaScript knows, of which only the fields that scripts
 * read have travelled. A field that is missing is fetched, and the script waits the while. Runs inside the
 * isolate, where it travels as text: `lazyItems` uses nothing from around it.
 */

/** A value's place: `cells[row * stride + column]`, in the language of scripting/columns.ts. */
interface Block {
  // biome-ignore lint/suspicious/noExplicitAny: cells are any JSON value.
  cells: any[]
  texts: string
  /** False: `texts` is UTF-8 with one byte a character. */
  ascii: boolean
}

interface Fetched extends Block {
  everyRow: boolean
  /** As in Layout. */
  marks: boolean
}

/** The items that came together. It lives as long as a script keeps one of them. */
export interface ItemBatch extends Block {
  seq: number
  count: number
  layout: Layout
  /** Columns that were fetched later, by field number; one cell a row. */
  fetched: (Fetched | undefined)[] | null
  /** The whole items, once the host gives them up: a line each. */
  lines: { text: string; ascii: boolean; starts: number[] } | null
}

/** Which fields came in which columns. */
interface Layout {
  stride: number
  /** Column number by field number; -1: none. */
  columns: number[]
  /** Columns that say of an object only that it is there. */
  marks: boolean[]
}

export type Fetch = (
  seq: number,
  row: number,
  path: string,
  whole: boolean,
) => [everyRow: boolean, kind: string, cells: string, texts: string, ascii: boolean]

type Plain = Record<string, unknown>

export interface ItemReader {
  /** `columns`: JSON text of the columns, each `[kind, ...path]`. */
  open(seq: number, count: number, columns: string, cells: string, texts: string, ascii: boolean): ItemBatch
  item(batch: ItemBatch, row: number): object
  /** To be called before memory is searched for the items that a script keeps: the reader keeps none itself. */
  letGo(): void
}

/** `names`: the fields of every item. */
export type ItemReaders = new (fetch: Fetch, names: readonly string[]) => ItemReader

export function lazyItems(): ItemReaders {
  // What scripts may replace is taken before they run.
  const { parse, stringify } = JSON
  const { get: getOf, set: setOf, has: hasOf, ownKeys, defineProperty, deleteProperty, preventExtensions } = Reflect
  const { getOwnPropertyDescriptor, setPrototypeOf } = Reflect
  const { hasOwn } = Object
  const decode = decodeURIComponent
  const escapeBytes = (globalThis as unknown as { escape(text: string): string }).escape
  const slice = Function.prototype.call.bind(String.prototype.slice) as (
    text: string,
    from: number,
    to: number,
  ) => string
  const { create } = Object
  const ProxyOf = Proxy

  /** Objects below this level are handed out as they are parsed: `request.headers` is on level 2. */
  const DEEPEST = 2

  const ABSENT = Symbol('absent')

  const NOTHING: (string | symbol)[] = []

  /** A field by its path. */
  class Field {
    readonly id: number
    readonly path: readonly string[]
    readonly children: Record<string, Field | undefined> = create(null)
    constructor(id: number, path: readonly string[]) {
      this.id = id
      this.path = path
    }
  }

  class Reader implements ItemReader {
    readonly #fetch: Fetch
    readonly #root = new Field(0, [])
    #fields = 1
    readonly #layouts: Record<string, Layout | undefined> = create(null)
    /** Items of the last batch, and how many of them were filled. */
    #count = 0
    filled = 0
    /** The script used most items as a whole: plain objects then cost it less. */
    #parsesAll = false
    /** The last batch, and what its last item holds. */
    #batch: ItemBatch | null = null
    shown: Plain | null = null
    /** An item that no script sees, used as the script used its last one. */
    #model: object | null = null
    #modelling = false

    constructor(fetch: Fetch, names: readonly string[]) {
      this.#fetch = fetch
      for (const name of names) this.child(this.#root, name)
    }

    open(seq: number, count: number, columns: string, cells: string, texts: string, ascii: boolean): ItemBatch {
      this.#parsesAll ||= this.#count > 0 && this.filled * 2 > this.#count
      this.filled = 0
      this.#count = count
      const layout = this.#layouts[columns] ?? this.#layout(columns)
      this.#layouts[columns] = layout
      this.#batch = this.#batchOf(seq, count, layout, parse(cells), texts, ascii)
      return this.#batch
    }

    #batchOf(seq: number, count: number, layout: Layout, cells: unknown[], texts: string, ascii: boolean): ItemBatch {
      return { seq, count, layout, cells, texts, ascii, fetched: null, lines: null }
    }

    #layout(text: string): Layout {
      const columns: number[] = []
      const marks: boolean[] = []
      for (const [kind, ...path] of parse(text) as string[][]) {
        let field = this.#root
        for (const name of path) field = this.child(field, name)
        while (columns.length <= field.id) columns.push(-1)
        columns[field.id] = marks.length
        marks.push(kind === 'object')
      }
      return { stride: marks.length, columns, marks }
    }

    item(batch: ItemBatch, row: number): object {
      const { columns, stride } = batch.layout
      const column = columns.length > 0 ? columns[0]! : -1
      if (this.#parsesAll && column >= 0) {
        const [start, end] = batch.cells[row * stride + column]
        return parse(text(batch, start, end))
      }
      return open(this, batch, row, this.#root, batch, column < 0 ? null : batch.cells[row * stride + column])
    }

    child(parent: Field, name: string): Field {
      const known = parent.children[name]
      if (known !== undefined) return known
      const made = new Field(this.#fields++, [...parent.path, name])
      parent.children[name] = made
      return made
    }

    /**
     * A full collection takes the hidden classes that have no object left, and with them all code that was compiled for
     * such objects: it would be compiled anew after each. So one item lives on, with all that hangs on one.
     */
    letGo(): void {
      const { shown, filled } = this
      const batch = this.#batch
      this.#batch = this.shown = null
      if (batch === null || batch.count === 0) return
      this.#modelling = true
      try {
        this.#model = this.item(this.#copied(batch, batch.count - 1), 0)
        if (shown !== null) this.#use(this.#model as Plain, batch.layout, ownKeys(shown))
      } catch {
        // What had not come is not fetched for a model, nor is anybody told of a getter that the script put in its way.
      }
      this.#modelling = false
      this.filled = filled
      this.shown = null
    }

    /** Reads these fields of an item, as far as they came. */
    #use(model: Plain, { columns }: Layout, names: (string | symbol)[]): void {
      const came = (field: Field | undefined) => field !== undefined && (columns[field.id] ?? -1) >= 0
      for (const name of names) {
        const field = typeof name === 'string' ? this.#root.children[name] : undefined
        if (field === undefined || !(came(field) || came(this.#root))) continue
        const part = getOf(model, name)
        if (typeof part !== 'object' || part === null) continue
        for (const inner in field.children) if (came(field.children[inner])) getOf(part, inner)
      }
    }

    /** One item as a batch of its own, which keeps nothing else alive. */
    #copied({ seq, layout, cells, texts, ascii }: ItemBatch, row: number): ItemBatch {
      const { stride } = layout
      const own: unknown[] = []
      let text = ''
      for (let column = 0; column < stride; column++) {
        const cell = cells[row * stride + column]
        if (!isText(cell)) {
          own[column] = cell
          continue
        }
        const start = text.length
        text += slice(texts, cell[0], cell[1])
        own[column] = [start, text.length]
      }
      // A slice keeps the whole of which it is one.
      return this.#batchOf(seq, 1, layout, own, parse(stringify(text)), ascii)
    }

    fetch(batch: ItemBatch, row: number, field: Field, whole: boolean): Fetched {
      if (this.#modelling) throw new TypeError(`${field.path.join('.')} has not come`)
      const [everyRow, kind, cells, texts, ascii] = this.#fetch(batch.seq, row, stringify(field.path), whole)
      const block = { everyRow, marks: kind === 'object', cells: parse(cells), texts, ascii }
      if (everyRow) {
        batch.fetched ??= []
        batch.fetched[field.id] = block
      }
      return block
    }
  }

  function open(
    reader: Reader,
    batch: ItemBatch,
    row: number,
    field: Field,
    block: Block,
    cell: number[] | null,
  ): object {
    const handler = new LazyObject(reader, batch, row, field)
    if (cell !== null && cell.length === 2) {
      handler.block = block
      handler.start = cell[0]!
      handler.end = cell[1]!
    }
    const target = {}
    if (field.id === 0) reader.shown = target
    const proxy = new ProxyOf(target, handler)
    handler.proxy = proxy
    return proxy
  }

  function text(block: Block, start: number, end: number): string {
    const piece = slice(block.texts, start, end)
    return block.ascii ? piece : decode(escapeBytes(piece))
  }

  /** The traps of one object. Until it is `filled` its target holds only what was written or handed out. */
  class LazyObject implements ProxyHandler<Plain> {
    readonly reader: Reader
    readonly batch: ItemBatch
    readonly row: number
    readonly field: Field
    proxy: object | null = null
    /** Where the object's own text lies, if it has come; -1: nowhere. */
    block: Block | null = null
    start = -1
    end = -1
    filled = false
    touched = false

    constructor(reader: Reader, batch: ItemBatch, row: number, field: Field) {
      this.reader = reader
      this.batch = batch
      this.row = row
      this.field = field
    }

    get(target: Plain, key: string | symbol, receiver: unknown): unknown {
      if (this.filled || typeof key === 'symbol') return getOf(target, key, receiver)
      if (this.touched && hasOwn(target, key)) return target[key]
      const value = this.read(target, key)
      return value === ABSENT ? getOf(target, key, receiver) : value
    }

    has(target: Plain, key: string | symbol): boolean {
      if (hasOf(target, key)) return true
      return !this.filled && typeof key === 'string' && this.read(target, key) !== ABSENT
    }

    getOwnPropertyDescriptor(target: Plain, key: string | symbol): PropertyDescriptor | undefined {
      if (this.filled || typeof key === 'symbol' || hasOwn(target, key)) return getOwnPropertyDescriptor(target, key)
      const value = this.read(target, key)
      return value === ABSENT ? undefined : property(value)
    }

    set(target: Plain, key: string | symbol, value: unknown, receiver: unknown): boolean {
      if (this.filled || typeof key === 'symbol' || receiver !== this.proxy) {
        this.fill(target)
        return setOf(target, key, value, receiver)
      }
      const named = this.field.id === 0 && this.field.children[key] !== undefined
      if (!named && !hasOwn(target, key) && key in target && this.read(target, key) === ABSENT) {
        this.fill(target)
        return setOf(target, key, value, receiver)
      }
      this.keep(target, key, value)
      return true
    }

    ownKeys(target: Plain): (string | symbol)[] {
      this.fill(target)
      return ownKeys(target)
    }

    deleteProperty(target: Plain, key: string | symbol): boolean {
      this.fill(target)
      return deleteProperty(target, key)
    }

    defineProperty(target: Plain, key: string | symbol, descriptor: PropertyDescriptor): boolean {
      this.fill(target)
      return defineProperty(target, key, descriptor)
    }

    preventExtensions(target: Plain): boolean {
      this.fill(target)
      return preventExtensions(target)
    }

    /** The value of the field `key`, or ABSENT. Objects are kept, so that they are the same ones next time. */
    private read(target: Plain, key: string): unknown {
      const { batch, field } = this
      let child = field.children[key]
      if (child === undefined) {
        // All names of an item itself are known.
        if (field.id === 0) return ABSENT
        child = this.reader.child(field, key)
      }
      const { id } = child
      const { columns, stride, marks } = batch.layout
      const column = id < columns.length ? columns[id]! : -1
      if (column >= 0) {
        const cell = batch.cells[this.row * stride + column]
        if (cell === 1 && marks[column]) return this.keep(target, key, this.object(child, batch, null))
        return typeof cell === 'object' && cell !== null ? this.complex(target, key, child, batch, cell) : cell
      }
      if (this.start >= 0 || batch.lines !== null) return this.readFilled(target, key)
      const fetched = batch.fetched === null ? undefined : batch.fetched[id]
      if (fetched === undefined) return this.readFetched(target, key, child)
      return this.take(target, key, child, fetched, fetched.cells[this.row])
    }

    private take(target: Plain, key: string, child: Field, block: Fetched, cell: unknown): unknown {
      if (cell === 1 && block.marks) return this.keep(target, key, this.object(child, block, null))
      if (typeof cell === 'object' && cell !== null) return this.complex(target, key, child, block, cell as number[])
      return cell
    }

    private complex(target: Plain, key: string, child: Field, block: Block, cell: number[]): unknown {
      if (cell.length === 0) return ABSENT
      if (cell.length === 1) {
        if (cell[0] === 0) return this.keep(target, key, this.object(child, block, null))
        return this.start >= 0 || this.batch.lines !== null
          ? this.readFilled(target, key)
          : this.readFetched(target, key, child)
      }
      if (block.texts[cell[0]!] === '{') return this.keep(target, key, this.object(child, block, cell))
      return this.keep(target, key, parse(text(block, cell[0]!, cell[1]!)))
    }

    private object(child: Field, block: Block, cell: number[] | null): object {
      if (child.path.length <= DEEPEST) return open(this.reader, this.batch, this.row, child, block, cell)
      return cell === null ? this.whole(child) : parse(text(block, cell[0]!, cell[1]!))
    }

    private readFilled(target: Plain, key: string): unknown {
      this.fill(target)
      return hasOwn(target, key) ? target[key] : ABSENT
    }

    private readFetched(target: Plain, key: string, child: Field): unknown {
      const block = this.reader.fetch(this.batch, this.row, child, false)
      const value = this.take(target, key, child, block, block.cells[block.everyRow ? this.row : 0])
      if (!block.everyRow && value !== ABSENT) this.keep(target, key, value)
      return value
    }

    private keep(target: Plain, key: string, value: unknown): unknown {
      this.touched = true
      // An inherited setter, or `__proto__`, must not see it; defining is several times slower.
      if (key in target) defineProperty(target, key, property(value))
      else target[key] = value
      return value
    }

    /** Gives the target all its fields, in their order. What was written or handed out stays. */
    private fill(target: Plain): void {
      if (this.filled) return
      const source = this.start >= 0 ? parse(text(this.block!, this.start, this.end)) : this.whole(this.field)
      this.filled = true
      if (this.field.id === 0) this.reader.filled++
      const kept = this.touched ? ownKeys(target) : NOTHING
      const values: Plain = create(null)
      for (const key of kept) {
        if (typeof key === 'symbol') continue
        values[key] = target[key]
        deleteProperty(target, key)
      }
      for (const key of ownKeys(source) as string[]) this.keep(target, key, key in values ? values[key] : source[key])
      for (const key of kept) if (typeof key === 'string' && !hasOwn(target, key)) this.keep(target, key, values[key])
      this.block = null
      // Without traps its target answers for it, which is several times faster.
      setPrototypeOf(this, null)
    }

    private whole(field: Field): Plain {
      const { batch, row } = this
      if (batch.lines !== null) {
        const { starts } = batch.lines
        const block = { cells: [], texts: batch.lines.text, ascii: batch.lines.ascii }
        let value = parse(text(block, starts[row]!, starts[row + 1]! - 1))
        for (const name of field.path) value = value[name]
        return value
      }
      const column = batch.layout.columns[field.id] ?? -1
      let block: Block = batch
      let cell: unknown = column < 0 ? null : batch.cells[row * batch.layout.stride + column]
      if (!isText(cell)) {
        const found = batch.fetched?.[field.id]
        cell = found?.cells[row]
        block = found ?? batch
      }
      if (!isText(cell)) {
        const fetched = this.reader.fetch(batch, row, field, true)
        cell = fetched.cells[fetched.everyRow ? row : 0]
        block = fetched
      }
      const [start, end] = cell as [number, number]
      return parse(text(block, start, end))
    }
  }

  function isText(cell: unknown): cell is [start: number, end: number] {
    return typeof cell === 'object' && cell !== null && (cell as number[]).length === 2
  }

  function property(value: unknown): PropertyDescriptor {
    const descriptor: PropertyDescriptor = create(null)
    descriptor.value = value
    descriptor.writable = true
    descriptor.enumerable = true
    descriptor.configurable = true
    return descriptor
  }

  return Reader
}
