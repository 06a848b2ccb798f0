/**
 * Capture by eBPF at cgroups: programs at the root of the hierarchy see what every socket of the machine sends and receives,
 * in all network namespaces, and to which container it belongs. Each cgroup is an interface of its own. What is merely
 * forwarded or mirrored, and what the firewall or nobody takes, passes no socket and is not seen.
 */
import { closeSync, constants, openSync, readdirSync } from 'node:fs'
import { Fault } from '../../core/fault.ts'
import { Bpf, type BpfCall, ifOlderThan, possibleProcessors } from '../bpf/bpf.ts'
import { CGROUP_PACKETS_MAPS, cgroupPackets, FATES, type Fate, MAX_CAPTURED, STATE } from '../bpf/cgroup-packets.ts'
import { type ClassicInstruction, readClassic } from '../bpf/classic.ts'
import { Targets } from '../bpf/selection.ts'
import type { Capture, CaptureCounters, CaptureOptions, CaptureSink, CaptureSource } from '../capture.ts'
import { Cgroups, cgroupMount, isWholeHierarchy } from '../cgroups.ts'
import { containerOf } from '../container.ts'
import { errorName, type Handle, isAllowed, loadNative, whyNoNative } from '../native.ts'
import { OwnTraffic, ownProcesses } from '../own-traffic.ts'
import { NICENESS, openChunkQueue, type QueueFunctions } from './chunk-queue.ts'

export const ebpf: CaptureSource = {
  name: 'ebpf',
  title: 'eBPF at cgroups',
  obstacle: async options => obstacleOf(options),
  reservation: async () => reservationOf(),
  open: async (options, sink) => CgroupCapture.open(options, sink, mountOrFault()),
}

/** As `ebpf.open`, for the cgroup of that path and those within. */
export function openAtCgroup(cgroup: string, options: CaptureOptions, sink: CaptureSink): Capture {
  return CgroupCapture.open(options, sink, cgroup)
}

function obstacleOf(options: CaptureOptions): string | null {
  const missing = whyNoNative()
  if (missing !== null) return missing
  if (options.interfaces !== 'any') return 'it captures at sockets and not at interfaces, of which some were named'
  if (options.namespace !== null) return 'it captures in all network namespaces at once, and one was named'
  const mount = cgroupMount()
  if (mount === null)
    return 'no cgroup file system of version 2 is mounted: cgroups of version 1 do not tell containers apart'
  if (!isWholeHierarchy(mount))
    return `of the cgroups only those within this container are to be seen at ${mount}: mount the /sys/fs/cgroup of the host, or share its cgroup namespace`
  if (!isAllowed('sysAdmin') && !(isAllowed('bpf') && isAllowed('netAdmin')))
    return 'it needs root or the capabilities BPF and NET_ADMIN'
  try {
    // The whole of it, with the least memory: what the kernel cannot do, it says itself.
    const bpf = new Bpf(loadNative<Native>().bpf)
    const programs = new Programs(bpf, { ...options, bufferBytes: LEAST_BUFFER_BYTES }, null)
    try {
      programs.attach(mount)
    } finally {
      programs.close()
    }
    return null
  } catch (error) {
    if (error instanceof Fault) return error.message + ifOlderThan(5, 8)
    throw error
  }
}

function reservationOf(): string | null {
  const mount = cgroupMount()
  if (mount === null || hasContainers(mount, '', 0)) return null
  return 'no containers run here, and at cgroups nothing is seen of packets that pass no socket of this machine'
}

/** Deeper than any runtime puts a container. */
const MAX_DEPTH = 8

function hasContainers(mount: string, path: string, depth: number): boolean {
  if (containerOf(path) !== null) return true
  if (depth === MAX_DEPTH) return false
  try {
    return readdirSync(`${mount}${path}`, { withFileTypes: true }).some(
      entry => entry.isDirectory() && hasContainers(mount, `${path}/${entry.name}`, depth + 1),
    )
  } catch {
    // It has gone.
    return false
  }
}

function mountOrFault(): string {
  const mount = cgroupMount()
  if (mount === null) throw new Fault('CGROUP_MISSING', 'no cgroup file system of version 2 is mounted')
  return mount
}

/** Two sights of a packet are of one within this time. */
const TWICE_MS = 200
/** The kernel wants a power of two, of pages, and a packet of the longest kind must find room. */
const LEAST_BUFFER_BYTES = 256 << 10
const MOST_BUFFER_BYTES = 1 << 30
/** So often own connections are looked for in /proc, and cgroups that have gone. */
const LOOK_MS = 1000
const SWEEP_LOOKS = 60
/** DLT_RAW for libpcap, LINKTYPE_RAW for files. */
const DLT_RAW = 12
const LINKTYPE_RAW = 101
/** Number of cgroup and of interface: whatever is of no other. */
const OTHERS = 0

class CgroupCapture implements Capture {
  readonly name = 'ebpf'
  private readonly native: Native
  private readonly sink: CaptureSink
  private readonly programs: Programs
  private readonly own: OwnTraffic | null
  private readonly cgroups: Cgroups
  private readonly queue: Handle
  private reader: Handle | null = null
  /** Number of each interface's cgroup, by id of interface. */
  private readonly described: bigint[] = []
  /** What the interface of the others has told of cgroups that had no interface then. */
  private readonly told = new Map<bigint, Counts>()
  /** What the kernel had counted of cgroups with an interface, and of all others, when it was made to forget them. */
  private readonly settled = new Map<bigint, Counts>()
  private settledOthers: Counts = NONE
  /** Packets seen of cgroups that had gone at the last sweep. */
  private quiet = new Map<bigint, number>()
  private timer: NodeJS.Timeout | null = null
  private looks = 0
  private ended = false
  private readerEnded: (code: number) => void = () => {}

  static open(options: CaptureOptions, sink: CaptureSink, cgroup: string): CgroupCapture {
    const capture = new CgroupCapture(options, sink)
    try {
      capture.begin(options, cgroup)
      return capture
    } catch (error) {
      capture.free()
      throw error
    }
  }

  private constructor(options: CaptureOptions, sink: CaptureSink) {
    this.native = loadNative<Native>()
    this.sink = sink
    this.cgroups = new Cgroups(mountOrFault())
    const bpf = new Bpf(this.native.bpf)
    this.programs = new Programs(bpf, options, compile(this.native, options.filter))
    this.own = options.own ? null : new OwnTraffic(bpf, this.programs.maps, ownProcesses())
    this.queue = openChunkQueue(this.native, {
      packets: (blocks, count) => {
        this.describe()
        sink.packets(blocks, count)
      },
      ended: (_, code) => this.end(code),
    })
  }

  retarget(addresses: readonly string[] | null): void {
    this.programs.targets.set(addresses)
  }

  count(): void {
    if (!this.ended) this.tell()
  }

  async stop(): Promise<void> {
    if (this.ended) return
    this.ended = true
    this.programs.detach()
    await new Promise<number>(resolve => {
      this.readerEnded = resolve
      this.native.stopRingBuffer(this.reader!)
    })
    this.tell()
    this.free()
  }

  private begin(options: CaptureOptions, cgroup: string): void {
    this.programs.targets.set(options.addresses)
    const late = this.own?.begin() ?? null
    if (late !== null) this.sink.remark(`own connections are left out from their first second on, not before: ${late}`)
    const reader = this.native.openRingBuffer(this.queue, {
      ring: this.programs.ring,
      bytes: this.programs.ringBytes,
      state: this.programs.maps.state,
      mount: this.cgroups.root,
      windowMs: options.deduplicate ? TWICE_MS : 0,
      niceness: NICENESS,
      tag: 0,
    })
    if (typeof reader === 'number')
      throw new Fault('CAPTURE_REFUSED', `eBPF: the ring buffer cannot be read: ${errorName(reader)}`)
    this.reader = reader
    this.describe()
    this.programs.attach(cgroup)
    this.timer = setInterval(() => this.look(), LOOK_MS)
  }

  private end(code: number): void {
    this.readerEnded(code)
    if (this.ended) return
    this.ended = true
    this.free()
    this.sink.fault(new Fault('CAPTURE_ENDED', `eBPF: the ring buffer was read no further: ${errorName(code)}`))
  }

  /** The thread gives numbers to cgroups whose packets it meets; they are told before their first chunk is. */
  private describe(): void {
    const rows = this.rows(this.described.length)
    for (const { cgroup } of rows) {
      const id = this.described.push(cgroup) - 1
      const path = cgroup === 0n ? null : this.cgroups.path(cgroup, this.native.ringBufferPath(this.reader!, id))
      this.sink.interface({ id, linkType: LINKTYPE_RAW, index: null, namespace: null, ...nameOf(cgroup, path) })
    }
  }

  /** From that id of interface on. */
  private rows(first: number): Row[] {
    const count = this.native.ringBufferCgroups(this.reader!, first, NO_ROWS)
    if (count <= first) return []
    const cells = new BigUint64Array(3 * (count - first))
    this.native.ringBufferCgroups(this.reader!, first, cells)
    return Array.from({ length: count - first }, (_, i) => ({
      cgroup: cells[3 * i]!,
      passed: Number(cells[3 * i + 1]),
      duplicates: Number(cells[3 * i + 2]),
    }))
  }

  private tell(): void {
    this.describe()
    const counts = this.programs.counts()
    for (const [cgroup, before] of this.settled) counts.set(cgroup, sum(before, counts.get(cgroup) ?? NONE))
    const named = new Set(this.described)
    for (const [cgroup, now] of counts) if (!named.has(cgroup)) this.told.set(cgroup, now)
    const others = [...this.told.values(), this.settledOthers].reduce(sum, counts.get(0n) ?? NONE)
    const freezes = this.programs.freezes()
    for (const [id, row] of this.rows(0).entries()) {
      if (id >= this.described.length) break
      const own = counts.get(row.cgroup) ?? NONE
      const kernel = id === OTHERS ? others : difference(own, this.told.get(row.cgroup) ?? NONE)
      this.sink.counters(id, countersOf(row, kernel, id === OTHERS ? freezes : 0))
    }
  }

  private look(): void {
    try {
      this.own?.look()
      if (++this.looks % SWEEP_LOOKS === 0) this.sweep()
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      this.sink.remark(error.message)
    }
  }

  /** The kernel's counters have room for so many cgroups: those that have gone, and of which nothing comes any more, leave. */
  private sweep(): void {
    const quiet = new Map<bigint, number>()
    for (const [cgroup, now] of this.programs.counts()) {
      if (cgroup === 0n || this.cgroups.path(cgroup) !== null) continue
      quiet.set(cgroup, now.seen)
      if (this.quiet.get(cgroup) !== now.seen) continue
      this.programs.forget(cgroup)
      if (this.described.includes(cgroup)) this.settled.set(cgroup, sum(this.settled.get(cgroup) ?? NONE, now))
      else {
        this.settledOthers = sum(this.settledOthers, now)
        this.told.delete(cgroup)
      }
    }
    this.quiet = quiet
  }

  private free(): void {
    if (this.timer !== null) clearInterval(this.timer)
    if (this.reader !== null) this.native.closeRingBuffer(this.reader)
    this.programs.close()
    this.own?.close()
    this.native.closeQueue(this.queue)
    this.cgroups.close()
  }
}

/** What lies in the kernel. */
class Programs {
  readonly maps: Record<keyof typeof CGROUP_PACKETS_MAPS, number>
  readonly ring: number
  readonly ringBytes: number
  readonly targets: Targets
  private readonly bpf: Bpf
  private readonly loaded: [attach: 'cgroup_inet_ingress' | 'cgroup_inet_egress', program: number][] = []
  private links: number[] = []
  private readonly opened: number[] = []
  private readonly values = new BigUint64Array(FATES.length * possibleProcessors())

  constructor(bpf: Bpf, options: CaptureOptions, filter: readonly ClassicInstruction[] | null) {
    this.bpf = bpf
    try {
      const entries = Object.entries(CGROUP_PACKETS_MAPS).map(([name, shape]) => [
        name,
        this.keep(bpf.createMap(name, shape)),
      ])
      this.maps = Object.fromEntries(entries)
      this.ringBytes = ringBytesOf(options.bufferBytes)
      const shape = { type: 'ringbuf', keyBytes: 0, valueBytes: 0, entries: this.ringBytes } as const
      this.ring = this.keep(bpf.createMap('ring', shape))
      this.targets = new Targets(bpf, this.maps)
      bpf.update(this.maps.counters, new Uint8Array(8), new Uint8Array(this.values.buffer))
      for (const direction of ['ingress', 'egress'] as const) {
        const attach = `cgroup_inet_${direction}` as const
        const { samplePercent, own } = options
        const program = cgroupPackets({ direction, samplePercent, filter, leaveOutOwn: !own })
        const maps = { ...this.maps, ring: this.ring }
        this.loaded.push([attach, this.keep(bpf.loadProgram(direction, { type: 'cgroup_skb', attach }, program, maps))])
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  attach(cgroup: string): void {
    const folder = openCgroup(cgroup)
    try {
      for (const [attach, program] of this.loaded) this.links.push(this.bpf.linkCgroup(program, attach, folder))
    } finally {
      closeSync(folder)
    }
  }

  /** A program that still runs finishes its packet. */
  detach(): void {
    for (const link of this.links) closeSync(link)
    this.links = []
  }

  counts(): Map<bigint, Counts> {
    const counts = new Map<bigint, Counts>()
    for (const key of this.bpf.keys(this.maps.counters, 8)) {
      if (!this.bpf.lookup(this.maps.counters, key, new Uint8Array(this.values.buffer))) continue
      const cgroup = new DataView(key.buffer).getBigUint64(0, true)
      const found = { ...NONE }
      for (const [at, value] of this.values.entries()) found[FATES[at % FATES.length]!] += Number(value)
      counts.set(cgroup, found)
    }
    return counts
  }

  freezes(): number {
    const state = new Uint8Array(CGROUP_PACKETS_MAPS.state.valueBytes)
    this.bpf.lookup(this.maps.state, new Uint8Array(4), state)
    return Number(new DataView(state.buffer).getBigUint64(STATE.freezes, true))
  }

  forget(cgroup: bigint): void {
    const key = new DataView(new ArrayBuffer(8))
    key.setBigUint64(0, cgroup, true)
    this.bpf.delete(this.maps.counters, new Uint8Array(key.buffer))
  }

  close(): void {
    this.detach()
    for (const descriptor of this.opened.splice(0)) closeSync(descriptor)
  }

  private keep(descriptor: number): number {
    this.opened.push(descriptor)
    return descriptor
  }
}

type Counts = Record<Fate, number>

interface Row {
  cgroup: bigint
  passed: number
  duplicates: number
}

const NONE: Counts = { seen: 0, accepted: 0, dropped: 0, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 }
const NO_ROWS = new BigUint64Array(0)

function sum(a: Counts, b: Counts): Counts {
  return Object.fromEntries(FATES.map(fate => [fate, a[fate] + b[fate]])) as Counts
}

function difference(a: Counts, b: Counts): Counts {
  return Object.fromEntries(FATES.map(fate => [fate, a[fate] - b[fate]])) as Counts
}

function countersOf({ passed, duplicates }: Row, kernel: Counts, freezes: number): CaptureCounters {
  const { accepted, seen, dropped, filtered, untargeted, sampledOut, own } = kernel
  // What lies in the ring at this moment is not seen yet: then the sum is right at any time.
  const waiting = accepted - passed - duplicates
  return {
    seen: seen - waiting,
    passed,
    dropped,
    overrun: 0,
    filtered,
    untargeted,
    sampledOut,
    duplicates,
    own,
    freezes,
  }
}

function nameOf(cgroup: bigint, path: string | null): { name: string; description: string } {
  if (cgroup === 0n) return { name: 'cgroups', description: 'packets of no known cgroup' }
  if (path === null)
    return { name: `cgroup ${cgroup}`, description: 'a cgroup that had gone before it was asked for its name' }
  return { name: containerOf(path)?.id ?? path, description: path }
}

function compile(native: Native, expression: string): ClassicInstruction[] | null {
  if (expression.trim() === '') return null
  const program = native.compileFilter(expression, DLT_RAW, MAX_CAPTURED)
  if (typeof program === 'string')
    throw new Fault('FILTER_WRONG', `libpcap says of the filter, for packets without a link layer: ${program}`)
  return readClassic(program)
}

function openCgroup(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (error) {
    throw new Fault('CGROUP_MISSING', `the cgroup ${path} cannot be opened: ${(error as Error).message}`)
  }
}

function ringBytesOf(bytes: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(LEAST_BUFFER_BYTES, Math.min(MOST_BUFFER_BYTES, bytes))))
}

/** worker/native/*.c say what these do; numbers below 0 are errors. */
interface Native extends QueueFunctions {
  bpf: BpfCall
  compileFilter(expression: string, linkType: number, snapLength: number): Uint8Array | string
  openRingBuffer(queue: Handle, settings: Record<string, number>): Handle | number
  stopRingBuffer(reader: Handle): void
  closeRingBuffer(reader: Handle): void
  ringBufferCgroups(reader: Handle, first: number, rows: BigUint64Array): number
  ringBufferPath(reader: Handle, number: number): string | number
}
