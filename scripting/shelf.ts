/**
 * What was handed over and is not yet done with: sheaves of items and of packets, each with the scripts that still have
 * to see it. Items stay after that until no script keeps one of them.
 */
import { type Batch, SPANS } from '../core/batch.ts'

/** Smaller batches are copied: what a live capture brings in a tenth of a second must not keep a whole buffer. */
const WORTH_KEEPING = 65_536

/** Items or packets that travel to the sandbox together. */
export class Sheaf {
  readonly seq: number
  /** Items; empty for packets. */
  readonly parts: Batch[] = []
  readonly packets: Uint8Array | null
  /** Scripts that have not seen it. */
  readonly waiting = new Set<number>()
  count = 0
  /** Bytes of memory. */
  size = 0

  constructor(seq: number, packets: Uint8Array | null) {
    this.seq = seq
    this.packets = packets
  }

  /** The batch that holds an item, and its number in there. */
  find(row: number): [batch: Batch, index: number] | null {
    if (!(row >= 0)) return null
    for (const part of this.parts) {
      if (row < part.count) return [part, row]
      row -= part.count
    }
    return null
  }

  /** The lines of all items, and where each begins. */
  text(): [bytes: Uint8Array, starts: number[]] {
    const starts = [0]
    let before = 0
    for (const part of this.parts) {
      for (let i = 1; i <= part.count; i++) starts.push(before + part.starts[i]!)
      before += part.length
    }
    return [Buffer.concat(this.parts.map(part => part.bytes.subarray(0, part.length))), starts]
  }
}

export class Shelf {
  readonly #sheafItems: number
  readonly #sheafBytes: number
  readonly #sheaves = new Map<number, Sheaf>()
  #open: Sheaf | null = null
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

  /** Has the open sheaf room for these items? */
  fits(batch: Batch): boolean {
    const open = this.#open
    if (open === null) return true
    return open.count + batch.count <= this.#sheafItems && open.size + batch.bytes.length <= this.#sheafBytes
  }

  /** Puts the items into the open sheaf: a full batch is kept as it is, a small one copied. */
  add(batch: Batch): void {
    let part = batch
    if (batch.length >= WORTH_KEEPING) batch.keep()
    else part = copyOf(batch)
    this.#open ??= new Sheaf(++this.#seq, null)
    this.#open.parts.push(part)
    this.#open.count += part.count
    this.#open.size += part.bytes.length
    this.held += part.bytes.length
  }

  /** The open sheaf, closed; null when it holds nothing. */
  closeItems(to: Iterable<number>): Sheaf | null {
    const sheaf = this.#open
    this.#open = null
    return sheaf === null ? null : this.#put(sheaf, to)
  }

  putPackets(count: number, packets: Uint8Array, to: Iterable<number>): Sheaf {
    const sheaf = new Sheaf(++this.#seq, packets)
    sheaf.count = count
    sheaf.size = packets.length
    this.held += sheaf.size
    return this.#put(sheaf, to)
  }

  drop(sheaf: Sheaf): void {
    if (!this.#sheaves.delete(sheaf.seq)) return
    this.held -= sheaf.size
    for (const part of sheaf.parts) part.free()
  }

  #put(sheaf: Sheaf, to: Iterable<number>): Sheaf {
    for (const script of to) sheaf.waiting.add(script)
    this.#sheaves.set(sheaf.seq, sheaf)
    return sheaf
  }
}

function copyOf({ bytes, length, count, starts, spans }: Batch): Batch {
  return {
    // Not its slice, which copies nothing where the writer's bytes are a Buffer.
    bytes: Uint8Array.prototype.slice.call(bytes, 0, length),
    length,
    count,
    starts: starts.slice(0, count + 1),
    spans: spans.slice(0, count * SPANS),
    keep() {},
    free() {},
  }
}
