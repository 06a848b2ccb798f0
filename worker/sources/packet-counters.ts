/**
 * What AF_PACKET saw at each interface, and what became of it. The filter in the kernel counts by interface what it let
 * through and what it left out, the threads what they took out of the ring, the kernel what it dropped: for a socket, which
 * may serve many interfaces. Once a ring is empty, let through - taken = dropped, for each interface exactly.
 */
import { type Bpf, possibleProcessors, word } from '../bpf/bpf.ts'
import { FATES, type Fate } from '../bpf/packet-filter.ts'
import type { CaptureCounters } from '../capture.ts'
import type { Handle } from '../native.ts'

/** A socket as far as it counts. */
export interface CountingSocket {
  readonly handle: Handle
  /** Of its interface; 0: it serves all. */
  readonly index: number
  /** As they were read last; 0 in the beginning. */
  drops: number
  freezes: number
}

/** Functions of worker/native/af-packet.c. */
export interface CountingFunctions {
  readInterface(capture: Handle, id: number, into: Float64Array): void
  readPacketSocket(socket: Handle, into: Float64Array): void
}

export class PacketCounters {
  private readonly native: CountingFunctions
  private readonly capture: Handle
  private readonly bpf: Bpf
  private readonly maps: Readonly<Record<'counters' | 'strays', number>>
  private counted: Counted[] = []
  private readonly values = new Uint8Array(8 * FATES.length * possibleProcessors())
  private readonly scratch = new Float64Array(5)

  constructor(
    native: CountingFunctions,
    capture: Handle,
    bpf: Bpf,
    maps: Readonly<Record<'counters' | 'strays', number>>,
  ) {
    this.native = native
    this.capture = capture
    this.bpf = bpf
    this.maps = maps
  }

  /** `id` is its number in the capture, `index` that of the kernel. */
  add(id: number, index: number): void {
    this.counted.push({ id, index, dropped: 0, freezes: 0 })
  }

  /** While packets come: where one socket serves many interfaces, what each has lost is shared out in proportion. */
  *read(sockets: Iterable<CountingSocket>): Generator<[id: number, counters: CaptureCounters]> {
    const readings = new Map(this.counted.map(counted => [counted, this.readingOf(counted)]))
    for (const socket of sockets) this.share(socket, readings)
    for (const [counted, reading] of readings) yield [counted.id, countersOf(counted, reading)]
  }

  /** When everything was taken out of the rings. */
  *readLast(sockets: Iterable<CountingSocket>): Generator<[id: number, counters: CaptureCounters]> {
    // How often a ring was full is told by the sockets alone.
    for (const _ of this.read(sockets));
    for (const counted of this.counted) yield [counted.id, this.lastOf(counted)]
  }

  /** Its last counters, when its packets were taken out of the rings; the kernel forgets it. null: nobody knows it. */
  remove(index: number): [id: number, counters: CaptureCounters] | null {
    const counted = this.counted.find(known => known.index === index)
    if (counted === undefined) return null
    const last = this.lastOf(counted)
    this.counted = this.counted.filter(known => known !== counted)
    this.bpf.delete(this.maps.counters, word(index))
    return [counted.id, last]
  }

  /** Everything that the kernel has put into its ring was taken. */
  isEmpty({ handle }: CountingSocket): boolean {
    this.native.readPacketSocket(handle, this.scratch)
    const [packets = 0, drops = 0, , taken = 0] = this.scratch
    return packets - drops <= taken
  }

  /** What was left out of interfaces that found no room among those that are counted; what passed was counted when it was taken. */
  strays(): Partial<Record<Fate, number>> {
    if (!this.bpf.lookup(this.maps.strays, word(0), this.values)) return {}
    const { accepted: _, ...leftOut } = this.fates()
    return leftOut
  }

  /** What a socket has dropped since it was asked last, to its interfaces. */
  private share(socket: CountingSocket, readings: ReadonlyMap<Counted, Reading>): void {
    this.native.readPacketSocket(socket.handle, this.scratch)
    const [, drops = 0, freezes = 0] = this.scratch
    const [newDrops, newFreezes] = [drops - socket.drops, freezes - socket.freezes]
    socket.drops = drops
    socket.freezes = freezes
    if (newDrops === 0 && newFreezes === 0) return
    const served = [...readings].filter(([{ index }]) => socket.index === 0 || socket.index === index)
    const missing = served.map(([{ dropped }, { accepted, taken }]) => Math.max(0, accepted - taken - dropped))
    const all = missing.reduce((sum, count) => sum + count, 0)
    let left = newDrops
    for (const [at, [counted]] of served.entries()) {
      const part = all === 0 ? 0 : Math.min(left, Math.floor((newDrops * missing[at]!) / all))
      counted.dropped += part
      left -= part
    }
    const [worst] = served[missing.indexOf(Math.max(...missing))] ?? []
    if (worst === undefined) return
    worst.dropped += left
    worst.freezes += newFreezes
  }

  private lastOf(counted: Counted): CaptureCounters {
    const reading = this.readingOf(counted)
    counted.dropped = Math.max(0, reading.accepted - reading.taken)
    return countersOf(counted, reading)
  }

  private readingOf({ id, index }: Counted): Reading {
    this.native.readInterface(this.capture, id, this.scratch)
    const [, , , taken = 0, duplicates = 0] = this.scratch
    if (!this.bpf.lookup(this.maps.counters, word(index), this.values)) this.values.fill(0)
    return { ...this.fates(), taken, duplicates }
  }

  /** The sum over all processors of what was looked up last. */
  private fates(): Record<Fate, number> {
    const fates: Record<Fate, number> = { accepted: 0, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 }
    for (const [at, count] of new BigUint64Array(this.values.buffer).entries())
      fates[FATES[at % FATES.length]!] += Number(count)
    return fates
  }
}

interface Counted {
  id: number
  index: number
  dropped: number
  freezes: number
}

interface Reading extends Record<Fate, number> {
  taken: number
  duplicates: number
}

function countersOf({ dropped, freezes }: Counted, reading: Reading): CaptureCounters {
  const { taken, duplicates, filtered, untargeted, sampledOut, own } = reading
  return {
    // What is in the ring at this moment is not seen yet: then the sum is right at any time.
    seen: taken + dropped + filtered + untargeted + sampledOut + own,
    passed: taken - duplicates,
    dropped,
    // Threads that find no room leave packets in the kernel's ring.
    overrun: 0,
    filtered,
    untargeted,
    sampledOut,
    duplicates,
    own,
    freezes,
  }
}
