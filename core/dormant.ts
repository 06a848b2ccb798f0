/**
 * Flows of datagrams that were answered: they may go on, and mostly do not. A resolver asks from a new port each time, so
 * that there are tens of thousands of them at any moment. Each is a row of numbers, in order of falling silent.
 */
import { Connection } from './connections.ts'
import type { Dissector } from './dissector.ts'
import { Frame } from './frame.ts'

/** What a busy node's resolver answers in the time that a flow is remembered, 26 000 a second: 33 MB. */
export const MAX_DORMANT = 1 << 18
const FEWEST_ROWS = 1 << 8

/** Columns of a row: seconds of its first packet, its last one, and the last one of each half. */
const [BEGAN, HEARD, FORTH_HEARD, BACK_HEARD, TIMES] = [0, 1, 2, 3, 4]
/** Nanoseconds on top of these, in the same order; addresses as in Frame.words; what halves know of their last datagram. */
const [NANOSECONDS, HASH, NUMBER, SCOPE, PORTS, WORDS, ITEMS] = [0, 4, 5, 6, 7, 8, 16]
const [FORTH_LENGTH, FORTH_SUM, BACK_LENGTH, BACK_SUM, FLAGS, INTS] = [17, 18, 19, 20, 21, 22]
/** FLAGS; above them the number of the dissector. */
const WOKEN = 1
const HINTED = 2
const CLIENT_BACK = 4
const DISSECTOR_SHIFT = 3

export class Dormant {
  count = 0
  /** Direction of the packet that `take` was asked for last. */
  forth = true
  private readonly most: number
  /** A circle of rows: those from `head` to `tail`, which only grow. */
  private rows = 0
  private head = 0
  private tail = 0
  private ints = new Int32Array(0)
  private times = new Float64Array(0)
  /** Open addressing by hash: a row and 1; 0: free. */
  private slots = new Int32Array(0)
  private readonly dissectors: Dissector[] = []
  private readonly frame = new Frame()

  constructor(most = MAX_DORMANT) {
    this.most = most
  }

  /** Of an answered flow of datagrams, both of whose directions have the same scope. False: the oldest had to make room. */
  add(c: Connection): boolean {
    const fitted = this.makeRoom()
    const row = this.tail++ & (this.rows - 1)
    const { ints, times } = this
    const { forth, back, words } = c
    const t = row * TIMES
    times[t + BEGAN] = c.seconds
    times[t + HEARD] = c.lastSeconds
    times[t + FORTH_HEARD] = forth.lastSeconds
    times[t + BACK_HEARD] = back.lastSeconds
    const p = row * INTS
    ints[p + NANOSECONDS + BEGAN] = c.nanoseconds
    ints[p + NANOSECONDS + HEARD] = c.lastNanoseconds
    ints[p + NANOSECONDS + FORTH_HEARD] = forth.lastNanoseconds
    ints[p + NANOSECONDS + BACK_HEARD] = back.lastNanoseconds
    ints[p + HASH] = c.hash
    ints[p + NUMBER] = c.number
    ints[p + SCOPE] = c.scope
    ints[p + PORTS] = (c.port << 16) | c.otherPort
    for (let i = 0; i < 8; i++) ints[p + WORDS + i] = words[i]!
    ints[p + ITEMS] = c.items
    ints[p + FORTH_LENGTH] = forth.lastLength
    ints[p + FORTH_SUM] = forth.lastSum
    ints[p + BACK_LENGTH] = back.lastLength
    ints[p + BACK_SUM] = back.lastSum
    ints[p + FLAGS] =
      (c.hinted ? HINTED : 0) | (c.client === back ? CLIENT_BACK : 0) | (this.numberOf(c.dissector!) << DISSECTOR_SHIFT)
    this.place(row)
    this.count++
    return fitted
  }

  /** The flow that this packet belongs to, as it was and no longer among these; null: it is not here. */
  take(hash: number, frame: Frame, source: number, destination: number): Connection | null {
    if (this.count === 0) return null
    const { slots, ints } = this
    const mask = slots.length - 1
    for (let i = hash & mask; slots[i] !== 0; i = (i + 1) & mask) {
      const row = slots[i]! - 1
      const p = row * INTS
      if (ints[p + HASH] !== hash || ints[p + SCOPE] !== (frame.scope | 0)) continue
      this.forth = isBetween(ints, p, frame.words, 0, source, destination)
      if (!this.forth && !isBetween(ints, p, frame.words, 4, destination, source)) continue
      const c = this.waken(row, frame.scope)
      this.remove(i)
      return c
    }
    return null
  }

  /** Forgets those that were heard of last more than `patience` seconds before `seconds`. */
  expire(seconds: number, patience: number): void {
    for (; this.head < this.tail; this.head++) {
      const row = this.head & (this.rows - 1)
      if (this.isAwake(row)) continue
      if (!(seconds - this.times[row * TIMES + HEARD]! > patience)) return
      this.remove(this.slotOf(row))
    }
    // A quiet night gives back what a busy day took.
    if (this.rows > FEWEST_ROWS) this.resize(FEWEST_ROWS)
  }

  private waken(row: number, scope: number): Connection {
    const { ints, times, frame } = this
    const p = row * INTS
    const t = row * TIMES
    const flags = ints[p + FLAGS]!
    const ports = ints[p + PORTS]!
    for (let i = 0; i < 8; i++) frame.words[i] = ints[p + WORDS + i]!
    frame.scope = scope
    const began = { seconds: times[t + BEGAN]!, nanoseconds: ints[p + NANOSECONDS + BEGAN]! }
    const c = new Connection(ints[p + NUMBER]!, ints[p + HASH]!, 'udp', frame, ports >>> 16, ports & 0xffff, began)
    c.backScope = scope
    c.lastSeconds = times[t + HEARD]!
    c.lastNanoseconds = ints[p + NANOSECONDS + HEARD]!
    c.items = ints[p + ITEMS]!
    c.dissector = this.dissectors[flags >> DISSECTOR_SHIFT]!
    c.state = c.dissector.open?.('beginning')
    c.hinted = (flags & HINTED) !== 0
    c.client = (flags & CLIENT_BACK) !== 0 ? c.back : c.forth
    c.woken = true
    for (const [half, heard, length, sum] of [
      [c.forth, FORTH_HEARD, FORTH_LENGTH, FORTH_SUM],
      [c.back, BACK_HEARD, BACK_LENGTH, BACK_SUM],
    ] as const) {
      half.seen = true
      half.lastSeconds = times[t + heard]!
      half.lastNanoseconds = ints[p + NANOSECONDS + heard]!
      half.lastLength = ints[p + length]!
      half.lastSum = ints[p + sum]!
    }
    return c
  }

  private isAwake(row: number): boolean {
    return (this.ints[row * INTS + FLAGS]! & WOKEN) !== 0
  }

  private numberOf(dissector: Dissector): number {
    const known = this.dissectors.indexOf(dissector)
    return known < 0 ? this.dissectors.push(dissector) - 1 : known
  }

  private makeRoom(): boolean {
    if (this.tail - this.head < this.rows) return true
    const sparse = this.count * 2 < this.rows
    if (sparse || this.rows < this.most) {
      this.resize(sparse ? this.rows : Math.max(FEWEST_ROWS, this.rows * 2))
      return true
    }
    const row = this.head++ & (this.rows - 1)
    if (this.isAwake(row)) return true
    this.remove(this.slotOf(row))
    return false
  }

  /** Those that sleep move to the front of `rows` rows. */
  private resize(rows: number): void {
    const { ints, times, head, tail, rows: before } = this
    this.ints = new Int32Array(rows * INTS)
    this.times = new Float64Array(rows * TIMES)
    this.slots = new Int32Array(rows * 2)
    this.rows = rows
    this.head = 0
    this.tail = 0
    for (let from = head; from < tail; from++) {
      const row = from & (before - 1)
      if ((ints[row * INTS + FLAGS]! & WOKEN) !== 0) continue
      this.ints.set(ints.subarray(row * INTS, row * INTS + INTS), this.tail * INTS)
      this.times.set(times.subarray(row * TIMES, row * TIMES + TIMES), this.tail * TIMES)
      this.place(this.tail++)
    }
  }

  private place(row: number): void {
    const { slots } = this
    const mask = slots.length - 1
    let i = this.ints[row * INTS + HASH]! & mask
    while (slots[i] !== 0) i = (i + 1) & mask
    slots[i] = row + 1
  }

  private slotOf(row: number): number {
    const { slots } = this
    const mask = slots.length - 1
    let i = this.ints[row * INTS + HASH]! & mask
    while (slots[i] !== row + 1) i = (i + 1) & mask
    return i
  }

  /** Linear probing without tombstones: what comes behind moves up into the hole. */
  private remove(hole: number): void {
    const { slots, ints } = this
    const mask = slots.length - 1
    ints[(slots[hole]! - 1) * INTS + FLAGS]! |= WOKEN
    for (let j = (hole + 1) & mask; slots[j] !== 0; j = (j + 1) & mask) {
      const home = ints[(slots[j]! - 1) * INTS + HASH]! & mask
      if (((j - home) & mask) < ((j - hole) & mask)) continue
      slots[hole] = slots[j]!
      hole = j
    }
    slots[hole] = 0
    this.count--
  }
}

/** `words` from `first` on, around, are the ends of that row, as are these ports. */
function isBetween(ints: Int32Array, p: number, words: Int32Array, first: 0 | 4, port: number, otherPort: number) {
  if (ints[p + PORTS] !== ((port << 16) | otherPort)) return false
  for (let i = 0; i < 8; i++) if (ints[p + WORDS + i] !== words[i ^ first]) return false
  return true
}
