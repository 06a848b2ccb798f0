/**
 * Reads a ring at its own pace, its past or as it grows, in this process or another: from the files, which the page cache
 * mostly holds. It slows nobody, and when the ring drops what it has not read yet, it knows how much that was.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../core/fault.ts'
import { emptyPacket, type Packet } from '../core/packet.ts'
import { type FlowFilter, Flows } from './flow.ts'
import {
  ENHANCED_PACKET,
  INTERFACE,
  indexFile,
  LARGEST_BLOCK,
  LEAST_PACKET,
  listSegments,
  PACKET_BYTES,
  type SegmentName,
  STATISTICS,
  segmentFile,
  splitTime,
} from './segment.ts'
import { INDEX_HEAD, type IndexHead, mayHold, type Range, readIndexHead, SegmentIndex } from './segment-index.ts'

export interface Wanted {
  /** ns since 1970, inclusive; null: the oldest there is; `tail`: only what comes from now on. */
  from?: bigint | 'tail' | null
  /** ns since 1970, exclusive; null: up to the end. */
  to?: bigint | null
  /** null: all packets. */
  filter?: FlowFilter | null
  /** true: waits for packets that are still to come. false: ends where the ring ended when it was opened. */
  live?: boolean
}

export interface ReadInterface {
  name: string
  /** LINKTYPE_ value. */
  linkType: number
  /** Where it is, as `index 3 in /run/netns/blue`; null: nothing was said. */
  description: string | null
  /** Packets over what was read, by the capture's own counters; null: it told none. */
  counters: ReadCounters | null
}

export interface ReadCounters {
  received: number
  accepted: number
  droppedBySystem: number
  delivered: number
}

export function openReader(directory: string, wanted: Wanted): Reader {
  try {
    return new Reader(directory, wanted)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new Fault('RING_MISSING', `expected a ring, found no folder at ${directory}`)
  }
}

/** Without a nudge it looks so often whether there is more. */
const POLL_MS = 100
const BUFFER = 1 << 20
/** A single packet is read with so many bytes; further ones follow when that was too little. */
const LEAST_READ = 4096
/** Live, with an end: packets of several interfaces are not in exact order of time. ns. */
const DISORDER = 2_000_000_000n

/** Ask `next` until it says null, then `load`, until that says false. */
export class Reader {
  /** Packets that the ring dropped before they were read, wanted or not; exact. */
  missed = 0
  /** Bytes of sealed segments that could not be read, being damaged. */
  damaged = 0
  /** Those met so far; `Packet.interfaceId` is an index into it. */
  readonly interfaces: ReadInterface[] = []
  private readonly directory: string
  private readonly filter: FlowFilter | null
  private readonly from: Instant | null
  private readonly to: Instant | null
  private readonly live: boolean
  private readonly limit: SegmentName | null
  private readonly limitBytes: number
  private readonly stopAt: number
  private readonly known = new Map<string, number>()
  private readonly flows = new Flows()
  private readonly packet: Packet = emptyPacket()
  private listed: readonly SegmentName[]
  private segment: OpenedSegment | null = null
  private nextNumber = 0
  /** Packets that the ring had taken before what is read next; null: not known yet. */
  private before: number | null = null
  private buffer = new Uint8Array(BUFFER)
  private view = new DataView(this.buffer.buffer)
  /** `buffer[at..length)` is unread, and begins at `offset` of the segment. */
  private at = 0
  private length = 0
  private offset = 0
  private blockStart = 0
  private blockEnd = 0
  private closed = false
  private ended = false
  private nudged = false
  private waiting: (() => void) | null = null

  constructor(directory: string, { from = null, to = null, filter = null, live = false }: Wanted) {
    this.directory = directory
    this.filter = filter
    this.from = from === null || from === 'tail' ? null : instantOf(from)
    this.to = to === null ? null : instantOf(to)
    this.live = live
    this.stopAt = to === null ? Number.POSITIVE_INFINITY : Number((to + DISORDER) / 1_000_000_000n)
    const names = listSegments(directory)
    this.listed = names
    const last = names.at(-1) ?? null
    this.limit = live ? null : last
    this.limitBytes = last === null ? 0 : sizeOf(directory, last)
    if (names.length > 0) {
      const first = from === 'tail' ? last! : names[0]!
      this.nextNumber = first.number
      this.before = first.before
    }
    if (from === 'tail' && last !== null) this.skipTo(this.limitBytes)
  }

  /**
   * Reads on. false: there is no more. Without `live` it never waits: whoever reads much lets others have their turn in
   * between.
   */
  async load(): Promise<boolean> {
    while (!this.closed && !this.ended) {
      this.nudged = false
      if (this.segment === null && !this.openNext()) {
        if (!this.live) return false
        await this.news()
        continue
      }
      if (this.fill()) return true
      const { whole, path } = this.segment!
      if (whole) this.leave()
      // Sealed in the meantime: what was written before that comes first.
      else if (this.live && !existsSync(path)) this.segment!.whole = true
      else if (this.live) await this.news()
      else return false
    }
    return false
  }

  /** The same object each time, overwritten by the next call; its bytes are valid until the next `load`. */
  next(): Packet | null {
    const { packet } = this
    while (this.segment !== null && this.blockHere()) {
      if (!this.passBlock()) continue
      const { view, blockStart: at } = this
      const from = this.segment.interfaces[view.getUint32(at + 8, true)]
      if (from === undefined) continue
      splitTime(view.getUint32(at + 12, true), view.getUint32(at + 16, true), packet)
      if (!this.inTime()) continue
      packet.bytes = this.buffer
      packet.start = at + PACKET_BYTES
      packet.end = packet.start + view.getUint32(at + 20, true)
      packet.length = view.getUint32(at + 24, true)
      packet.linkType = this.interfaces[from]!.linkType
      packet.interfaceId = from
      if (this.filter === null || this.wanted()) return packet
    }
    return null
  }

  /** The whole Enhanced Packet Block of the packet that `next` gave, options and all; valid until the next `load`. */
  block(): Uint8Array {
    return this.buffer.subarray(this.blockStart, this.blockEnd)
  }

  /** There is more, or may be: who has a channel to the recorder need not wait for the next look. */
  nudge(): void {
    this.nudged = true
    this.waiting?.()
  }

  /**
   * Packets of the ring that are behind us, read or not: the ring's `position` less this is the lag. With a filter or
   * from a time on, as of the beginning of the segment that is being read.
   */
  get position(): number {
    const { segment, before } = this
    if (segment === null) return before ?? 0
    const whole = segment.ranges === null || (this.filter === null && this.from === null)
    return segment.name.before + (whole ? segment.packets : 0)
  }

  /** At any time, also while `load` waits: that one then says false. */
  close(): void {
    this.closed = true
    if (this.segment !== null) closeSync(this.segment.file)
    this.segment = null
    this.waiting?.()
  }

  // ---- segments

  private openNext(): boolean {
    for (let isFresh = false; ; ) {
      const name = this.listed.find(({ number }) => number >= this.nextNumber)
      if (name !== undefined && this.limit !== null && name.number > this.limit.number) return false
      if (name !== undefined) {
        if (this.before !== null && name.before > this.before) this.missed += name.before - this.before
        this.before = name.before
        this.nextNumber = name.number
        if (this.enter(name)) return true
        if (this.nextNumber > name.number) continue
      }
      // There are none any more, or this one was sealed or dropped since they were listed.
      if (isFresh && name === undefined) return false
      this.listed = listSegments(this.directory)
      isFresh = true
    }
  }

  /** false: it has gone, or nothing in it is wanted; then look for the next one. */
  private enter(name: SegmentName): boolean {
    const [from, to] = [this.from?.rough ?? 0, this.to?.rough ?? Number.POSITIVE_INFINITY]
    const found = name.sealed ? this.indexOf(name, from, to) : null
    const index = found instanceof SegmentIndex ? found : null
    const ranges = index?.select(this.filter, from, to) ?? null
    const head = index?.head ?? (found as IndexHead | null)
    if (head !== null && (ranges === null || ranges.length === 0)) {
      this.before = name.before + head.packets
      this.nextNumber = name.number + 1
      return false
    }
    const path = join(this.directory, segmentFile(name))
    let file: number
    try {
      file = openSync(path, 'r')
    } catch (error) {
      // Sealed, or dropped, since it was listed.
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return false
      if (code !== 'EACCES' && code !== 'EIO') throw error
      throw new Fault('RING_UNREADABLE', `expected a ring that can be read in ${this.directory}, found: ${message}`)
    }
    // An index of another file is none.
    const fits = index !== null && index.head.segmentBytes === fstatSync(file).size
    const told = fits
      ? { ranges, counted: index.head.packets, headBytes: index.headBytes }
      : { ranges: null, counted: null, headBytes: null }
    const opened = { name, file, path, ...told, range: 0, packets: 0 }
    this.segment = { ...opened, whole: name.sealed, damaged: false, interfaces: [], counters: new Map() }
    this.at = 0
    this.length = 0
    this.offset = 0
    return true
  }

  /** Its head where that says that nothing is wanted; null: there is none, and the whole segment has to be read. */
  private indexOf(name: SegmentName, from: number, to: number): SegmentIndex | IndexHead | null {
    let file: number
    try {
      file = openSync(join(this.directory, indexFile(name)), 'r')
    } catch {
      return null
    }
    try {
      const start = new Uint8Array(INDEX_HEAD)
      readSync(file, start, 0, INDEX_HEAD, 0)
      const head = readIndexHead(start)
      if (head === null || !mayHold(head, from, to)) return head
      const bytes = new Uint8Array(fstatSync(file).size)
      return readSync(file, bytes, 0, bytes.length, 0) === bytes.length ? SegmentIndex.parse(bytes) : null
    } catch {
      return null
    } finally {
      closeSync(file)
    }
  }

  private leave(): void {
    const { name, file, counted, packets, damaged } = this.segment!
    closeSync(file)
    this.segment = null
    // How many there were in what is damaged nobody knows.
    this.before = damaged && counted === null ? null : name.before + (counted ?? packets)
    this.nextNumber = name.number + 1
  }

  /** What lies in the last segment before `bytes` is not wanted, but for its interfaces. */
  private skipTo(bytes: number): void {
    if (!this.openNext()) return
    while (this.offset + this.at < bytes && this.fill()) {
      while (this.offset + this.at < bytes && this.blockHere()) this.passBlock()
    }
  }

  // ---- bytes

  /** false: this segment has no more for us, or not yet. What is there of an unfinished block is read again then. */
  private fill(): boolean {
    const segment = this.segment!
    let position = this.offset + this.at
    let end = this.limitOf(segment.name)
    if (segment.ranges !== null) {
      const { ranges } = segment
      while (segment.range < ranges.length && position >= ranges[segment.range]!.end) segment.range++
      const range = ranges[segment.range]
      if (range === undefined) return false
      position = Math.max(position, range.start)
      end = range.end + LEAST_READ
    }
    this.offset = position
    this.at = 0
    this.length = 0
    for (let wanted = Math.min(BUFFER, end - position); wanted >= LEAST_BLOCK; ) {
      if (wanted > this.buffer.length) this.grow(wanted)
      this.length = readSync(segment.file, this.buffer, 0, wanted, position)
      if (this.blockHere()) return true
      const size = this.length < 8 ? 0 : this.view.getUint32(4, true)
      const believable = size >= LEAST_BLOCK && size % 4 === 0 && size <= LARGEST_BLOCK
      if (this.length === wanted && believable && size > wanted && size <= end - position) wanted = size
      else {
        // The end of a sealed segment is the end of a block; another's may be in the middle of one.
        if (segment.whole && this.length > 0) this.giveUp()
        break
      }
    }
    this.length = 0
    return false
  }

  /** What was appended since the ring was opened is only wanted live. */
  private limitOf(name: SegmentName): number {
    const { limit } = this
    return limit !== null && limit.number === name.number && !limit.sealed ? this.limitBytes : Number.MAX_SAFE_INTEGER
  }

  /** A sealed segment is whole unless the disk failed. The rest of it is passed over. */
  private giveUp(): void {
    const segment = this.segment!
    segment.damaged = true
    this.damaged += fstatSync(segment.file).size - this.offset
    segment.ranges = []
  }

  /** A whole block lies at `at`, and begins within what is to be read. */
  private blockHere(): boolean {
    const { at, length, view, segment } = this
    if (length - at < LEAST_BLOCK) return false
    const range = segment!.ranges?.[segment!.range]
    if (range !== undefined && this.offset + at >= range.end) return false
    const size = view.getUint32(at + 4, true)
    return size >= LEAST_BLOCK && size <= length - at && view.getUint32(at + size - 4, true) === size
  }

  private grow(bytes: number): void {
    this.buffer = new Uint8Array(bytes)
    this.view = new DataView(this.buffer.buffer)
  }

  private news(): Promise<void> {
    if (this.nudged || this.closed) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(() => this.waiting?.(), POLL_MS)
      this.waiting = () => {
        clearTimeout(timer)
        this.waiting = null
        resolve()
      }
    })
  }

  // ---- blocks

  /** Steps over the block at `at`. true: it is a packet. */
  private passBlock(): boolean {
    const { view, at } = this
    const type = view.getUint32(at, true)
    const size = view.getUint32(at + 4, true)
    this.blockStart = at
    this.blockEnd = at + size
    this.at = at + size
    if (type === ENHANCED_PACKET) {
      this.segment!.packets++
      return size >= LEAST_PACKET && view.getUint32(at + 20, true) <= size - LEAST_PACKET
    }
    this.readDescription(type, at, size)
    return false
  }

  private inTime(): boolean {
    const { packet, from, to } = this
    if (from !== null && isBefore(packet, from)) return false
    if (to === null || isBefore(packet, to)) return true
    if (this.live && packet.seconds > this.stopAt) this.ended = true
    return false
  }

  private wanted(): boolean {
    const { flows, packet } = this
    const filter = this.filter!
    flows.read(packet.bytes, packet.start, packet.end, packet.length, packet.linkType)
    for (let i = 0; i < flows.count; i++) if (filter.wants(flows.list[i]!)) return true
    return flows.stranger && filter.strangers
  }

  private readDescription(type: number, at: number, size: number): void {
    const { segment } = this
    if (type === INTERFACE && size >= 20) segment!.interfaces.push(this.interfaceAt(at, size))
    else if (type === STATISTICS && size >= 24) this.readCounters(at, size)
  }

  private interfaceAt(at: number, size: number): number {
    const options = optionsOf(this.buffer, at + 16, at + size - 4)
    const linkType = this.view.getUint16(at + 8, true)
    const name = options.get(2)?.toString() ?? ''
    const description = options.get(3)?.toString() ?? null
    const key = JSON.stringify([name, linkType, description])
    const known = this.known.get(key)
    if (known !== undefined) return known
    this.known.set(key, this.interfaces.length)
    this.interfaces.push({ name, linkType, description, counters: null })
    return this.interfaces.length - 1
  }

  /** They count from the beginning of the capture: what a segment says last, less what it says before its packets. */
  private readCounters(at: number, size: number): void {
    const { counters, interfaces, headBytes, packets } = this.segment!
    const id = interfaces[this.view.getUint32(at + 8, true)]
    if (id === undefined) return
    const options = optionsOf(this.buffer, at + 20, at + size - 4)
    const count = (code: number) => (options.get(code)?.length === 8 ? Number(options.get(code)!.readBigUInt64LE()) : 0)
    const told = { received: count(4), accepted: count(6), droppedBySystem: count(7), delivered: count(8) }
    const inHead = headBytes === null ? packets === 0 : this.offset + at < headBytes
    const before = counters.get(id) ?? (inHead ? told : NOTHING)
    counters.set(id, told)
    const one = this.interfaces[id]!
    const sum = one.counters ?? NOTHING
    one.counters = {
      received: sum.received + told.received - before.received,
      accepted: sum.accepted + told.accepted - before.accepted,
      droppedBySystem: sum.droppedBySystem + told.droppedBySystem - before.droppedBySystem,
      delivered: sum.delivered + told.delivered - before.delivered,
    }
  }
}

interface OpenedSegment {
  name: SegmentName
  file: number
  path: string
  /** It was sealed when it was opened, or has been read to its end since. */
  whole: boolean
  damaged: boolean
  /** null: all of it. */
  ranges: Range[] | null
  /** Of `ranges`, the one that is being read. */
  range: number
  /** Packets in it by its index. */
  counted: number | null
  headBytes: number | null
  /** Packets passed. */
  packets: number
  /** Of the segment's interfaces, their place in the reader's. */
  interfaces: number[]
  counters: Map<number, ReadCounters>
}

const NOTHING: ReadCounters = { received: 0, accepted: 0, droppedBySystem: 0, delivered: 0 }
/** type(4) size(4) size(4) */
const LEAST_BLOCK = 12

interface Instant {
  seconds: number
  nanoseconds: number
  /** ns since 1970, within 256. */
  rough: number
}

function instantOf(time: bigint): Instant {
  return { seconds: Number(time / 1_000_000_000n), nanoseconds: Number(time % 1_000_000_000n), rough: Number(time) }
}

function isBefore(packet: Packet, { seconds, nanoseconds }: Instant): boolean {
  return packet.seconds < seconds || (packet.seconds === seconds && packet.nanoseconds < nanoseconds)
}

function sizeOf(directory: string, name: SegmentName): number {
  try {
    return statSync(join(directory, segmentFile(name))).size
  } catch {
    // Sealed in the meantime: then all of it was there.
    return Number.MAX_SAFE_INTEGER
  }
}

/** code(2) length(2) value(length) padding, up to code 0. Of several with one code the last. */
function optionsOf(bytes: Uint8Array, at: number, end: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  while (end - at >= 4) {
    const code = buffer.readUInt16LE(at)
    const length = buffer.readUInt16LE(at + 2)
    if (code === 0 || length > end - at - 4) break
    found.set(code, buffer.subarray(at + 4, at + 4 + length))
    at += 4 + ((length + 3) & ~3)
  }
  return found
}
