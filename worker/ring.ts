/**
 * The ring: everything that was captured, as pcapng segments in one folder, bounded by bytes and by age. It appends what
 * the capture hands over, block by block as it is, and drops the oldest. Readers (reader.ts) look at the files.
 */
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Fault } from '../core/fault.ts'
import { makeFolder } from '../integrations/make-folder.ts'
import type { CaptureCounters, CapturedInterface } from './capture.ts'
import { mendSegment } from './mend.ts'
import { type Pinned, pinnedOf, readPins } from './pins.ts'
import {
  ENHANCED_PACKET,
  indexFile,
  interfaceBlock,
  LARGEST_BLOCK,
  LEAST_PACKET,
  listSegments,
  PACKET_BYTES,
  roughTime,
  type SeenCounters,
  type SegmentName,
  segmentFile,
  segmentHead,
  statisticsBlocks,
} from './segment.ts'
import { INDEX_HEAD, IndexBuilder, readIndexHead } from './segment-index.ts'

export interface RingLimits {
  /** Of all files together. */
  bytes: number
  /** Seconds. */
  age: number
  /** What pins may hold; at most half of `bytes`, so that there is always room for what comes. */
  pinnedBytes: number
}

/** Why packets are not, or no longer, in the ring. */
export type DropCause = 'size' | 'age' | 'disk full'
export type LossCause = 'disk full' | 'disk error' | 'not packets'

/** Packets that were there at the beginning + given = held + dropped + lost, exactly. */
export interface RingCounts {
  /** Packets that were handed over since the ring was opened. */
  given: number
  /** In the ring at present. */
  held: { packets: number; bytes: number; segments: number }
  /** They were in the ring; the oldest first. */
  dropped: Record<DropCause, number>
  /** They never came to lie in it. */
  lost: Record<LossCause, number>
  /** Packets that every search looks at, since their segment had more flows than an index has room for, or no IP. */
  unindexed: number
  pinned: { bytes: number; limit: number; refused: number; holders: string[] }
  /** ms since 1970 of the oldest packet that is held; null: there is none. */
  oldest: number | null
  /** Packets that the ring has ever taken: the place of the next one. */
  taken: number
}

/** Of this many parts the oldest goes when the ring is full. */
const PARTS = 16
const LARGEST_SEGMENT = 64 << 20
const LEAST_SEGMENT = 256 * 1024
const LEAST_RING = 4 << 20

interface Segment {
  name: SegmentName
  /** With its index. */
  bytes: number
  packets: number
  /** Rough ns since 1970. */
  earliest: number
  latest: number
  unknown: number
}

/** What the user is told of. */
type Trouble = 'dropped early' | 'lost' | 'unwritable' | 'not ended' | 'gone' | 'no index'

/** The one that is written. */
interface OpenSegment {
  name: SegmentName
  file: number
  path: string
  /** Up to the end of the last whole block. */
  bytes: number
  /** ms since 1970. */
  began: number
}

export class Ring {
  private readonly directory: string
  private readonly limits: RingLimits
  private readonly remark: (text: string) => void
  private readonly lock: DatabaseSync
  private readonly index: IndexBuilder
  private segmentBytes: number
  private sealed: Segment[] = []
  private sealedBytes = 0
  private open: OpenSegment | null = null
  private nextNumber = 1
  private taken = 0
  private now: number
  private readonly interfaces: CapturedInterface[] = []
  private readonly counted = new Map<number, SeenCounters>()
  /** What the last statistics of an interface said of lost packets. */
  private readonly toldLost = new Map<number, number>()
  private readonly lostOf = new Map<number, number>()
  private given = 0
  private readonly dropped: Record<DropCause, number> = { size: 0, age: 0, 'disk full': 0 }
  private readonly lost: Record<LossCause, number> = { 'disk full': 0, 'disk error': 0, 'not packets': 0 }
  /** What kept the last write from ending. */
  private failure: LossCause | null = null
  /** What the user was told of the disk, and the losses then. */
  private trouble: { told: Set<Trouble>; since: number } | null = null

  /** Takes up what an earlier recorder left there. `now` in ms since 1970. Throws a Fault when it is in use. */
  static open(directory: string, limits: RingLimits, now: number, remark: (text: string) => void): Ring {
    if (!(limits.bytes >= LEAST_RING))
      throw new Fault('RING_TOO_SMALL', `a ring needs at least ${LEAST_RING} bytes, found ${limits.bytes}`)
    if (!(limits.age > 0)) throw new Fault('RING_AGE', `a ring keeps packets for more than 0 s, found ${limits.age}`)
    try {
      makeFolder(directory)
      return new Ring(directory, limits, now, remark)
    } catch (error) {
      if (error instanceof Fault || (error as NodeJS.ErrnoException).code === undefined) throw error
      throw new Fault(
        'RING_UNUSABLE',
        `expected a folder for the ring at ${directory}, found: ${(error as Error).message}`,
      )
    }
  }

  private constructor(directory: string, limits: RingLimits, now: number, remark: (text: string) => void) {
    this.directory = directory
    this.limits = { ...limits, pinnedBytes: Math.min(limits.pinnedBytes, limits.bytes / 2) }
    this.now = now
    this.remark = remark
    this.lock = claim(directory)
    try {
      this.segmentBytes = segmentSize(directory, limits)
      this.index = new IndexBuilder(this.segmentBytes)
      this.resume()
      this.tick(now)
    } catch (error) {
      this.lock.close()
      throw error
    }
  }

  /** As CaptureSink says. */
  interface(described: CapturedInterface): void {
    if (described.id !== this.interfaces.length)
      throw new RangeError(`interface ${described.id} came where ${this.interfaces.length} was expected`)
    this.interfaces.push(described)
    this.describe(interfaceBlock(described))
  }

  /** As CaptureSink says. Never throws: what cannot be kept is counted. */
  packets(blocks: Uint8Array, count: number): void {
    this.given += count
    let rest = blocks
    let entered = 0
    while (rest.length > 0) {
      if (this.open === null && !this.begin()) break
      const before = this.index.packets
      const taken = this.append(rest)
      entered += this.index.packets - before
      rest = rest.subarray(taken)
      if (rest.length === 0) break
      if (this.failure === null || !this.makeRoom()) break
    }
    if (rest.length > 0) this.lose(rest, Math.max(0, count - entered), this.failure)
    // Of what is whole the blocks tell the number.
    else this.given += entered - count
    this.failure = null
    if (this.open !== null && this.open.bytes >= this.segmentBytes) this.rotate()
  }

  /** As CaptureSink says. */
  counters(id: number, counters: CaptureCounters): void {
    const lost = this.lostOf.get(id) ?? 0
    this.counted.set(id, { id, counters: { ...counters }, lost, at: this.now })
    const all = counters.dropped + counters.overrun + lost
    if (all === (this.toldLost.get(id) ?? 0)) return
    this.toldLost.set(id, all)
    this.describe(statisticsBlocks(this.interfaces.length, [this.counted.get(id)!]))
  }

  /** Age counts also when no packets come: call it every second or so. `now` in ms since 1970. */
  tick(now: number): void {
    this.now = now
    const { open } = this
    const oldest = (now - this.limits.age * 1000) * 1e6
    if (open !== null && this.index.packets > 0) {
      const { latest } = this.index.span!
      if (now - open.began >= (this.limits.age * 1000) / PARTS || latest < oldest) this.rotate()
    }
    if (this.open === null) this.begin()
    if (this.sealed.some(({ latest }) => latest < oldest)) {
      const { segments: pinned } = this.pinned()
      for (const segment of [...this.sealed])
        if (segment.latest < oldest && !pinned.has(segment)) this.drop(segment, 'age')
    }
    this.shrink(0)
  }

  counts(): RingCounts {
    const { open, index } = this
    const pins = readPins(this.directory, this.now)
    const { bytes, refused } = pinnedOf(this.sealed, pins, this.limits.pinnedBytes)
    const span = open === null ? null : index.span
    let oldest = span?.earliest ?? Number.POSITIVE_INFINITY
    for (const { earliest } of this.sealed) oldest = Math.min(oldest, earliest)
    return {
      given: this.given,
      held: {
        packets: sum(this.sealed, segment => segment.packets) + (open === null ? 0 : index.packets),
        bytes: this.bytes,
        segments: this.sealed.length + (open === null ? 0 : 1),
      },
      dropped: { ...this.dropped },
      lost: { ...this.lost },
      unindexed: sum(this.sealed, segment => segment.unknown) + (open === null ? 0 : index.unknown),
      pinned: { bytes, limit: this.limits.pinnedBytes, refused, holders: pins.map(pin => pin.holder) },
      oldest: oldest === Number.POSITIVE_INFINITY ? null : oldest / 1e6,
      taken: this.position,
    }
  }

  /** Packets that the ring has ever taken; a reader's `position` lags behind it. */
  get position(): number {
    return this.taken + (this.open === null ? 0 : this.index.packets)
  }

  close(): void {
    if (this.open !== null) {
      // A segment without packets stays, hidden: its name says how far the ring has come.
      if (this.index.packets > 0) this.seal()
      else closeSync(this.open.file)
      this.open = null
    }
    this.lock.close()
  }

  // ---- writing

  /** Enters and writes whole packet blocks; returns how many bytes are in the segment, always whole blocks. */
  private append(blocks: Uint8Array): number {
    const open = this.open!
    const { index } = this
    const mark = index.mark()
    const whole = this.enter(blocks, open.bytes)
    this.shrink(whole)
    const written = this.write(open, blocks, whole)
    if (written === whole) {
      open.bytes += whole
      return whole
    }
    index.forget(mark)
    const kept = this.enter(blocks.subarray(0, written), open.bytes)
    open.bytes += kept
    try {
      ftruncateSync(open.file, open.bytes)
    } catch {
      // What stands there is written over, and cut off when the segment is sealed.
    }
    return kept
  }

  /** Returns where the last whole packet block ends. */
  private enter(blocks: Uint8Array, offset: number): number {
    const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length)
    const { interfaces, index } = this
    let at = 0
    while (blocks.length - at >= LEAST_PACKET) {
      const size = view.getUint32(at + 4, true)
      if (view.getUint32(at, true) !== ENHANCED_PACKET || size < LEAST_PACKET || size % 4 !== 0) break
      if (size > blocks.length - at || size > LARGEST_BLOCK || view.getUint32(at + size - 4, true) !== size) break
      const from = interfaces[view.getUint32(at + 8, true)]
      const captured = view.getUint32(at + 20, true)
      if (from === undefined || captured > size - LEAST_PACKET) break
      const time = roughTime(view.getUint32(at + 12, true), view.getUint32(at + 16, true))
      const start = at + PACKET_BYTES
      index.packet(offset + at, time, blocks, start, start + captured, view.getUint32(at + 24, true), from.linkType)
      at += size
    }
    return at
  }

  private write(open: OpenSegment, bytes: Uint8Array, length: number): number {
    for (let done = 0; ; ) {
      try {
        while (done < length) done += writeSync(open.file, bytes, done, length - done, open.bytes + done)
        return done
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'EAGAIN' || code === 'EINTR') continue
        this.failure = code === 'ENOSPC' || code === 'EDQUOT' ? 'disk full' : 'disk error'
        if (this.failure === 'disk error')
          this.say('unwritable', `the ring cannot be written, packets are lost: ${(error as Error).message}`)
        return done
      }
    }
  }

  /** A block that is no packet. Without room for it the segment ends here: the next one begins with all of them. */
  private describe(block: Uint8Array): void {
    const { open } = this
    if (open === null) return
    this.shrink(block.length)
    if (this.write(open, block, block.length) === block.length) {
      if (this.index.packets > 0) this.index.description(open.bytes)
      else this.index.begin(open.bytes + block.length)
      open.bytes += block.length
    } else this.rotate()
    this.failure = null
  }

  private begin(): boolean {
    const name = { number: this.nextNumber, before: this.taken, sealed: false }
    const path = join(this.directory, segmentFile(name))
    const head = segmentHead(this.interfaces, [...this.counted.values()])
    let file: number
    try {
      // Somebody may have removed it.
      makeFolder(this.directory)
      file = openSync(path, 'wx', 0o600)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      this.failure = code === 'ENOSPC' || code === 'EDQUOT' ? 'disk full' : 'disk error'
      this.say('unwritable', `the ring cannot be written, packets are lost: ${(error as Error).message}`)
      return false
    }
    const open = { name, file, path, bytes: 0, began: this.now }
    while (this.write(open, head, head.length) !== head.length) {
      if (this.failure === 'disk full' && this.dropOldest('disk full')) continue
      closeSync(file)
      rmSync(path, { force: true })
      return false
    }
    this.failure = null
    open.bytes = head.length
    this.nextNumber++
    this.open = open
    this.index.begin(head.length)
    return true
  }

  private rotate(): void {
    this.seal()
    this.begin()
  }

  /** Statistics at its end, the index beside it, and its name: from then on it is whole. */
  private seal(): void {
    const open = this.open!
    const { index } = this
    const statistics = statisticsBlocks(this.interfaces.length, [...this.counted.values()])
    if (statistics.length > 0 && this.write(open, statistics, statistics.length) === statistics.length) {
      index.description(open.bytes)
      open.bytes += statistics.length
    }
    this.open = null
    const { packets, unknown } = index
    const span = index.span ?? { earliest: this.now * 1e6, latest: this.now * 1e6 }
    const file = index.finish(open.bytes)
    this.taken += packets
    const name = { ...open.name, sealed: true }
    const segment: Segment = { name, bytes: open.bytes + file.length, packets, unknown, ...span }
    try {
      // Of what could not be written whole, something may stand there.
      ftruncateSync(open.file, open.bytes)
      closeSync(open.file)
    } catch (error) {
      this.say('not ended', `a segment of the ring could not be ended: ${(error as Error).message}`)
    }
    if (!this.writeIndex(name, file)) segment.bytes = open.bytes
    try {
      renameSync(open.path, join(this.directory, segmentFile(name)))
      this.keep(segment)
    } catch (error) {
      // Somebody has removed it.
      rmSync(join(this.directory, indexFile(name)), { force: true })
      this.lost['disk error'] += packets
      this.say('gone', `a segment of the ring is gone, with its packets: ${(error as Error).message}`)
    }
    if (this.trouble !== null && this.failure === null && this.lossesNow === this.trouble.since) {
      this.remark('the ring can be written again')
      this.trouble = null
    } else if (this.trouble !== null) this.trouble.since = this.lossesNow
    this.failure = null
  }

  private keep(segment: Segment): void {
    this.sealed.push(segment)
    this.sealedBytes += segment.bytes
  }

  /** Readers do without an index: they then read everything. */
  private writeIndex(name: SegmentName, bytes: Uint8Array): boolean {
    const path = join(this.directory, indexFile(name))
    for (;;) {
      try {
        writeFileSync(`${path}.draft`, bytes, { mode: 0o600 })
        renameSync(`${path}.draft`, path)
        return true
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if ((code === 'ENOSPC' || code === 'EDQUOT') && this.dropOldest('disk full')) continue
        rmSync(`${path}.draft`, { force: true })
        this.say('no index', `an index of the ring could not be written: ${(error as Error).message}`)
        return false
      }
    }
  }

  // ---- dropping

  private get bytes(): number {
    return this.sealedBytes + (this.open?.bytes ?? 0)
  }

  private get lossesNow(): number {
    return this.dropped['disk full'] + this.lost['disk full'] + this.lost['disk error']
  }

  /** Until `more` bytes fit in. */
  private shrink(more: number): void {
    while (this.bytes + more > this.limits.bytes) if (!this.dropOldest('size')) return
  }

  /** false: there is none that may go. */
  private dropOldest(cause: DropCause): boolean {
    if (this.sealed.length === 0) return false
    const { segments: pinned } = this.pinned()
    const oldest = this.sealed.find(segment => !pinned.has(segment))
    if (oldest === undefined) return false
    if (cause === 'disk full') {
      this.say(
        'dropped early',
        `the disk of ${this.directory} is full: the oldest packets are dropped before their time`,
      )
      this.segmentBytes = Math.max(LEAST_SEGMENT, Math.min(this.segmentBytes, Math.floor(this.bytes / PARTS)))
    }
    this.drop(oldest, cause)
    return true
  }

  private drop(segment: Segment, cause: DropCause): void {
    for (const file of [segmentFile(segment.name), indexFile(segment.name)])
      rmSync(join(this.directory, file), { force: true })
    this.sealed.splice(this.sealed.indexOf(segment), 1)
    this.sealedBytes -= segment.bytes
    this.dropped[cause] += segment.packets
  }

  /** After a write that failed. false: nothing more can be done. */
  private makeRoom(): boolean {
    if (this.failure !== 'disk full') return false
    this.failure = null
    if (this.dropOldest('disk full')) return true
    // What is written at present is the oldest that we have.
    const { open, index } = this
    if (open === null || index.packets === 0 || this.pinsOpen()) {
      this.failure = 'disk full'
      return false
    }
    this.say('dropped early', `the disk of ${this.directory} is full: the oldest packets are dropped before their time`)
    closeSync(open.file)
    unlinkSync(open.path)
    this.open = null
    this.dropped['disk full'] += index.packets
    this.taken += index.packets
    this.segmentBytes = Math.max(LEAST_SEGMENT, Math.floor(Math.min(this.segmentBytes, open.bytes) / PARTS))
    return this.begin()
  }

  private pinned(): Pinned<Segment> {
    return pinnedOf(this.sealed, readPins(this.directory, this.now), this.limits.pinnedBytes)
  }

  private pinsOpen(): boolean {
    const span = this.index.span
    if (span === null) return false
    const open = { bytes: this.open!.bytes, ...span }
    const pins = readPins(this.directory, this.now)
    return pinnedOf<Segment | typeof open>([...this.sealed, open], pins, this.limits.pinnedBytes).segments.has(open)
  }

  private lose(blocks: Uint8Array, count: number, failure: LossCause | null): void {
    this.lost[failure ?? 'not packets'] += count
    if (failure === null) return
    if (failure === 'disk full') this.say('lost', `the disk of ${this.directory} is full: packets are lost`)
    const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length)
    for (let at = 0; blocks.length - at >= LEAST_PACKET; ) {
      const id = view.getUint32(at + 8, true)
      this.lostOf.set(id, (this.lostOf.get(id) ?? 0) + 1)
      const size = view.getUint32(at + 4, true)
      if (size < LEAST_PACKET) return
      at += size
    }
  }

  /** Of each kind once, until it is over. */
  private say(kind: Trouble, text: string): void {
    this.trouble ??= { told: new Set(), since: this.lossesNow }
    if (this.trouble.told.has(kind)) return
    this.trouble.told.add(kind)
    this.remark(text)
  }

  // ---- taking up what is there

  private resume(): void {
    const names = listSegments(this.directory)
    for (const name of names) {
      const segment = this.takeUp(name)
      if (segment !== null) this.keep(segment)
      this.nextNumber = name.number + 1
      this.taken = Math.max(this.taken, name.before + (segment?.packets ?? 0))
    }
    // Only when the next one is there: its name may be all that says how far the ring has come.
    if (!this.begin()) return
    for (const name of names) if (!name.sealed) rmSync(join(this.directory, segmentFile(name)), { force: true })
  }

  /** null: there is nothing in it. */
  private takeUp(name: SegmentName): Segment | null {
    const path = join(this.directory, segmentFile(name))
    const indexPath = join(this.directory, indexFile(name))
    const size = statSync(path).size
    if (name.sealed) {
      const head = indexHeadOf(indexPath)
      if (head !== null && head.segmentBytes === size && head.packets > 0)
        return { name, bytes: size + statSync(indexPath).size, ...head }
    }
    const { bytes, packets, torn, span, index } = mendSegment(path, this.segmentBytes)
    if (!name.sealed && torn > 0)
      this.remark(`${segmentFile({ ...name, sealed: true })} was not ended: ${torn} torn bytes are cut off`)
    if (span === null) {
      if (name.sealed) rmSync(path)
      rmSync(indexPath, { force: true })
      return null
    }
    const whole = { ...name, sealed: true }
    const written = this.writeIndex(whole, index)
    if (!name.sealed) renameSync(path, join(this.directory, segmentFile(whole)))
    const unknown = readIndexHead(index)!.unknown
    return { name: whole, bytes: bytes + (written ? index.length : 0), packets, unknown, ...span }
  }
}

function indexHeadOf(path: string) {
  const head = new Uint8Array(INDEX_HEAD)
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return null
  }
  try {
    return readSync(file, head) === head.length ? readIndexHead(head) : null
  } finally {
    closeSync(file)
  }
}

/** Small enough that the oldest part of the ring, and of what the disk has for it, can go alone. */
function segmentSize(directory: string, { bytes }: RingLimits): number {
  const { bsize, bavail } = statfsSync(directory)
  const own = sum(listSegments(directory), name => statSync(join(directory, segmentFile(name))).size)
  const room = Math.min(bytes, bsize * bavail + own)
  return Math.floor(Math.max(LEAST_SEGMENT, Math.min(LARGEST_SEGMENT, room / PARTS)))
}

/**
 * SQLite's own lock on a file, held for as long as the ring is open: the kernel lets go of it however the process ends,
 * so that there is no stale one to be told from one that holds, and it holds between containers.
 */
function claim(directory: string): DatabaseSync {
  const lock = new DatabaseSync(join(directory, LOCK))
  try {
    lock.exec('pragma locking_mode = exclusive')
    // Nothing is ever written there, and a full disk has no room for a journal.
    lock.exec('pragma journal_mode = memory')
    lock.exec('begin exclusive')
  } catch (error) {
    lock.close()
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error
    throw new Fault('RING_IN_USE', `the ring in ${directory} is being written by process ${owner(directory)}`)
  }
  try {
    writeFileSync(join(directory, OWNER), `${process.pid}\n`)
  } catch {
    // It is only for whoever comes second, and a full disk is no reason not to record.
  }
  return lock
}

const LOCK = 'lock'
const OWNER = 'owner.pid'
const SQLITE_BUSY = 5

function owner(directory: string): string {
  try {
    return readFileSync(join(directory, OWNER), 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  let total = 0
  for (const one of all) total += of(one)
  return total
}
