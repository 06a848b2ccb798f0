/**
 * The packets of one reader in order of time. A ring has them in the order in which they were handed over: interfaces,
 * and the threads that share one, take turns, so that neighbours may be some tens of milliseconds apart.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { emptyPacket, type Packet } from '../core/packet.ts'
import type { Reader } from './reader.ts'
import { PACKET_BYTES } from './segment.ts'

/** A packet that comes later than this behind a younger one stays behind it. Seconds. */
const DISORDER = 2
const FIRST_BYTES = 1 << 20

export class InOrder {
  /** The earliest packet that is here, overwritten by `pass`; null: `load`. */
  current: Packet | null = null
  private readonly reader: Reader
  private readonly wants: ((packet: Packet) => boolean) | null
  private readonly bytes: number
  private readonly packet = emptyPacket()
  /** Whole blocks. */
  private store = new Uint8Array(FIRST_BYTES)
  private length = 0
  /** Sorted by time as far as `ready`; `held[at..ready)` can be given. */
  private held: Held[] = []
  private at = 0
  private ready = 0
  private ended = false

  /** Holds at most `bytes` of packets; of a fast capture that is less than DISORDER. null: all packets are wanted. */
  constructor(reader: Reader, wants: ((packet: Packet) => boolean) | null, bytes: number) {
    this.reader = reader
    this.wants = wants
    this.bytes = bytes
  }

  /** false: there are no more packets. Else `current` is one. */
  async load(): Promise<boolean> {
    if (this.current !== null) return true
    this.compact()
    while (!this.ended && this.length < this.bytes) {
      // Reading a ring never waits: whoever else lives in this process has a turn here.
      await breathe()
      if (!(await this.reader.load())) this.ended = true
      for (let packet = this.reader.next(); packet !== null; packet = this.reader.next())
        if (this.wants === null || this.wants(packet)) this.take(packet)
    }
    this.release()
    this.show()
    return this.current !== null
  }

  /** Of `current`, the whole Enhanced Packet Block. */
  block(): Uint8Array {
    const { start, end } = this.held[this.at]!
    return this.store.subarray(start, end)
  }

  pass(): void {
    this.at++
    this.show()
  }

  private show(): void {
    if (this.at === this.ready) {
      this.current = null
      return
    }
    const { packet } = this
    const { seconds, nanoseconds, start, captured, length, linkType, interfaceId } = this.held[this.at]!
    packet.bytes = this.store
    packet.start = start + PACKET_BYTES
    packet.end = packet.start + captured
    packet.length = length
    packet.seconds = seconds
    packet.nanoseconds = nanoseconds
    packet.linkType = linkType
    packet.interfaceId = interfaceId
    this.current = packet
  }

  private take(packet: Packet): void {
    const block = this.reader.block()
    const start = this.length
    if (start + block.length > this.store.length) {
      const larger = new Uint8Array(Math.max(2 * this.store.length, start + block.length))
      larger.set(this.store.subarray(0, start))
      this.store = larger
    }
    this.store.set(block, start)
    this.length += block.length
    const { seconds, nanoseconds, length, linkType, interfaceId } = packet
    const captured = packet.end - packet.start
    this.held.push({ seconds, nanoseconds, start, end: this.length, captured, length, linkType, interfaceId })
  }

  private release(): void {
    const { held } = this
    if (!held.every((one, i) => i === 0 || !isEarlier(one, held[i - 1]!))) held.sort(byTime)
    this.ready = held.length
    if (this.ended || held.length === 0) return
    const settled = held.at(-1)!.seconds - DISORDER
    this.ready = held.findIndex(({ seconds }) => seconds >= settled)
    // Moving what stays must not cost more than reading it did.
    this.ready = Math.max(this.ready, Math.ceil(held.length / 2))
  }

  /** Forgets what was given. */
  private compact(): void {
    const rest = this.held.slice(this.ready)
    const { store } = this
    // In the order in which they lie there, so that none is overwritten before it is moved.
    let to = 0
    for (const one of [...rest].sort((a, b) => a.start - b.start)) {
      const size = one.end - one.start
      store.copyWithin(to, one.start, one.end)
      one.start = to
      one.end = to + size
      to += size
    }
    this.length = to
    this.held = rest
    this.at = 0
    this.ready = 0
  }
}

interface Held {
  seconds: number
  nanoseconds: number
  /** Of the block, in `store`. */
  start: number
  end: number
  captured: number
  length: number
  linkType: number
  interfaceId: number
}

export interface Timed {
  seconds: number
  nanoseconds: number
}

export function isEarlier(one: Timed, other: Timed): boolean {
  return one.seconds < other.seconds || (one.seconds === other.seconds && one.nanoseconds < other.nanoseconds)
}

/** Sorting is stable: packets of one time stay in their order. */
function byTime(one: Timed, other: Timed): number {
  return one.seconds - other.seconds || one.nanoseconds - other.nanoseconds
}
