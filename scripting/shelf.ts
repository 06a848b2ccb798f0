/**
 * What was handed over and is not yet done with: sheaves of items (copies of the caller's batches, put together) and of
 * packets, each with the scripts that still have to see it. Items stay after that until no script keeps one of them.
 */
import { type Batch, REQUEST_START, RESPONSE_BODY_END, SPANS } from '../core/batch.ts'

export interface Sheaf {
  seq: number
  /** null for packets. */
  items: Batch | null
  packets: Uint8Array | null
  count: number
  /** Scripts that have not seen it. */
  waiting: Set<number>
}

export class Shelf {
  readonly #sheafItems: number
  readonly #sheafBytes: number
  readonly #sheaves = new Map<number, Sheaf>()
  readonly #spare: Batch[] = []
  #open: Batch | null = null
  #seq = 0
  /** Bytes of all sheaves that are held, the open one included. */
  held = 0

  constructor(sheafItems: number, sheafBytes: number) {
    this.#sheafItems = sheafItems
    this.#sheafBytes = sheafBytes
  }

  get sheaves(): IterableIterator<Sheaf> {
    return this.#sheaves.values()
  }

  get(seq: number): Sheaf | undefined {
    return this.#sheaves.get(seq)
  }

  /** Copies items from number `from` on into the open sheaf; returns the first that found no room. */
  add(batch: Batch, from: number): number {
    const first = batch.starts[from]!
    this.#open ??= this.#empty(batch.starts[from + 1]! - first)
    const open = this.#open
    const shift = open.length - first
    let to = from
    while (to < batch.count && open.count + to - from < this.#sheafItems) {
      if (batch.starts[to + 1]! + shift > open.bytes.length) break
      to++
    }
    if (to === from) return from
    open.bytes.set(batch.bytes.subarray(first, batch.starts[to]), open.length)
    let at = open.count
    for (let i = from; i < to; i++) {
      open.starts[++at] = batch.starts[i + 1]! + shift
      for (let s = REQUEST_START; s <= RESPONSE_BODY_END; s++) {
        const place = batch.spans[i * SPANS + s]!
        open.spans[(at - 1) * SPANS + s] = place < 0 ? place : place + shift
      }
    }
    open.count = at
    this.held += open.starts[at]! - open.length
    open.length = open.starts[at]!
    return to
  }

  /** The open sheaf, closed; null when it holds nothing. */
  closeItems(to: Iterable<number>): Sheaf | null {
    const items = this.#open
    if (items === null || items.count === 0) return null
    this.#open = null
    return this.#put({ seq: ++this.#seq, items, packets: null, count: items.count, waiting: new Set(to) })
  }

  putPackets(count: number, packets: Uint8Array, to: Iterable<number>): Sheaf {
    this.held += packets.length
    return this.#put({ seq: ++this.#seq, items: null, packets, count, waiting: new Set(to) })
  }

  drop(sheaf: Sheaf): void {
    if (!this.#sheaves.delete(sheaf.seq)) return
    this.held -= sheaf.packets?.length ?? sheaf.items!.length
    if (sheaf.items !== null && sheaf.items.bytes.length === this.#sheafBytes) this.#spare.push(sheaf.items)
  }

  #put(sheaf: Sheaf): Sheaf {
    this.#sheaves.set(sheaf.seq, sheaf)
    return sheaf
  }

  /** Memory is used again: fresh pages cost as much as the copy. */
  #empty(least: number): Batch {
    const spare = least <= this.#sheafBytes ? this.#spare.pop() : undefined
    if (spare !== undefined) {
      spare.length = spare.count = 0
      return spare
    }
    return {
      bytes: new Uint8Array(Math.max(least, this.#sheafBytes)),
      length: 0,
      count: 0,
      starts: new Int32Array(this.#sheafItems + 1),
      spans: new Int32Array(this.#sheafItems * SPANS),
    }
  }
}
