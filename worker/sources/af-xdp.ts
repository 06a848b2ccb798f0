/**
 * Capture by AF_XDP, for mirror ports and interfaces that are there for nothing else: a program at XDP gives each wanted
 * packet to our socket, before the kernel has looked at it, and takes it away from everybody else on this machine. Only what
 * comes in is seen. One socket with a thread for each queue of an interface.
 */
import { closeSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { getSystemErrorName } from 'node:util'
import { Fault } from '../../core/fault.ts'
import { Bpf, type BpfCall, ifOlderThan, possibleProcessors, word } from '../bpf/bpf.ts'
import { type ClassicInstruction, readClassic } from '../bpf/classic.ts'
import { Targets } from '../bpf/selection.ts'
import { FATES, type Fate, XDP_COUNTERS, XDP_SHARED_MAPS, xdpPackets } from '../bpf/xdp-packets.ts'
import type { Capture, CaptureCounters, CaptureOptions, CaptureSink, CaptureSource } from '../capture.ts'
import { HARDWARE, type Interface, Interfaces, openNamespace } from '../interfaces.ts'
import { errorName, type Handle, isAllowed, loadNative, whyNoNative } from '../native.ts'
import { OwnTraffic, ownProcesses } from '../own-traffic.ts'
import { NICENESS, openChunkQueue, type QueueFunctions } from './chunk-queue.ts'

export const afXdp: CaptureSource = {
  name: 'af_xdp',
  title: 'AF_XDP',
  obstacle: async options => obstacleOf(options),
  open: (options, sink) => XdpCapture.open(options, sink),
}

function obstacleOf(options: CaptureOptions): string | null {
  const missing = whyNoNative()
  if (missing !== null) return missing
  const { interfaces, namespace } = options
  if (interfaces === 'any') return 'it takes packets away from the kernel: the interfaces that are for it must be named'
  if (!isAllowed('netRaw') || !isAllowed('netAdmin')) return 'it needs root or the capabilities NET_RAW and NET_ADMIN'
  if (!isAllowed('bpf') && !isAllowed('sysAdmin')) return 'its program needs root or the capability BPF'
  if (namespace !== null && !isAllowed('sysAdmin'))
    return 'another network namespace needs root or the capability SYS_ADMIN'
  const used = namespace === null ? interfaces.flatMap(whyUsed)[0] : undefined
  if (used !== undefined) return used
  try {
    const bpf = new Bpf(loadNative<Native>().bpf)
    const shared = new SharedMaps(bpf)
    try {
      const tap = new Tap(bpf, shared, xdpPackets({ samplePercent: 100, filter: null, leaveOutOwn: true }), 1)
      tap.close()
    } finally {
      shared.close()
    }
    return null
  } catch (error) {
    if (error instanceof Fault) return error.message + ifOlderThan(5, 18)
    throw error
  }
}

/** An interface with which this machine is reached is no mirror port, and whoever asks for it would be cut off. */
function whyUsed(name: string): string[] {
  const used = networkInterfaces()[name]?.find(({ address }) => !address.startsWith('fe80:'))
  if (used === undefined) return []
  return [`${name} has the address ${used.address}: AF_XDP would take its packets away from this machine`]
}

/** So often it is asked whether interfaces have come or gone. */
const WATCH_MS = 250
/** Between looks for own connections in /proc, in the units above. */
const LOOKS_APART = 4
/** Of worker/native/xsk.c: a packet takes at least one. */
const FRAME_BYTES = 4096
const LEAST_FRAMES = 256
const MOST_FRAMES = 1 << 16
const RELEASE_MS = 1000
const RELEASE_STEP_MS = 20
/** No interface has more. */
const MAX_QUEUES = 1024
const DLT_ETHERNET = 1
const LINKTYPE_ETHERNET = 1
const SNAP_LENGTH = 0x40000

class XdpCapture implements Capture {
  readonly name = 'af_xdp'
  private readonly native: Native
  private readonly options: CaptureOptions & { interfaces: readonly string[] }
  private readonly sink: CaptureSink
  private readonly bpf: Bpf
  private readonly shared: SharedMaps
  private readonly filter: readonly ClassicInstruction[] | null
  private readonly own: OwnTraffic | null
  private readonly namespace: number
  private readonly watched: Interfaces
  private readonly queue: Handle
  /** By index of interface. */
  private readonly taps = new Map<number, OpenTap>()
  private ids = 0
  private tags = 0
  private timer: NodeJS.Timeout | null = null
  private ticks = 0
  private watching: Promise<void> | null = null
  private ended = false

  static async open(options: CaptureOptions, sink: CaptureSink): Promise<XdpCapture> {
    const { interfaces } = options
    if (interfaces === 'any') throw new Fault('CAPTURE_IMPOSSIBLE', 'AF_XDP is for interfaces that are named')
    const capture = new XdpCapture({ ...options, interfaces }, sink)
    try {
      await capture.begin()
      return capture
    } catch (error) {
      capture.free()
      throw error
    }
  }

  private constructor(options: CaptureOptions & { interfaces: readonly string[] }, sink: CaptureSink) {
    this.native = loadNative<Native>()
    this.options = options
    this.sink = sink
    this.bpf = new Bpf(this.native.bpf)
    this.filter = compile(this.native, options.filter)
    this.namespace = options.namespace === null ? -1 : openNamespace(options.namespace)
    this.watched = new Interfaces(this.namespace)
    this.shared = new SharedMaps(this.bpf)
    this.own = options.own ? null : new OwnTraffic(this.bpf, this.shared.maps, ownProcesses())
    this.queue = openChunkQueue(this.native, {
      packets: (blocks, count) => sink.packets(blocks, count),
      ended: (tag, code) => this.socketEnded(tag, code),
    })
  }

  retarget(addresses: readonly string[] | null): void {
    this.shared.targets.set(addresses)
  }

  count(): void {
    if (this.ended) return
    for (const tap of this.taps.values()) this.sink.counters(tap.id, this.read(tap))
  }

  async stop(): Promise<void> {
    if (this.ended) return
    this.ended = true
    if (this.timer !== null) clearInterval(this.timer)
    await this.watching
    await Promise.all([...this.taps.values()].map(tap => this.end(tap)))
    this.free()
  }

  private async begin(): Promise<void> {
    const { interfaces, addresses } = this.options
    this.shared.targets.set(addresses)
    const late = this.own?.begin() ?? null
    if (late !== null) this.sink.remark(`own connections are left out from their first second on, not before: ${late}`)
    const here = this.watched.list()
    const absent = interfaces.filter(name => !here.some(found => found.name === name))
    if (absent.length === interfaces.length) {
      const known = here.map(({ name }) => name).sort()
      throw new Fault('INTERFACE_UNKNOWN', `no interface is called ${absent[0]}; there are: ${known.join(', ')}`)
    }
    for (const name of absent) this.sink.remark(`no interface is called ${name}: it is captured when it comes`)
    for (const found of here) if (interfaces.includes(found.name)) await this.take(found)
    this.timer = setInterval(() => {
      this.watching ??= this.watch().finally(() => {
        this.watching = null
      })
    }, WATCH_MS)
  }

  private async take(found: Interface): Promise<void> {
    const { name, hardware, index } = found
    if (hardware !== HARDWARE.ethernet)
      throw new Fault('CAPTURE_REFUSED', `AF_XDP: ${name} does not carry frames of Ethernet`)
    this.sink.remark(
      `af_xdp takes packets of ${name} away from the kernel: what is captured reaches no other program, bridge or ` +
        'container of this machine until the capture ends; packets that go out are not seen',
    )
    const { samplePercent, own } = this.options
    const program = xdpPackets({ samplePercent, filter: this.filter, leaveOutOwn: !own })
    const id = this.ids
    const sockets = await this.openSockets(found, id)
    let tap: Tap | null = null
    try {
      tap = new Tap(this.bpf, this.shared, program, sockets.length)
      for (const [queue, { handle }] of sockets.entries()) tap.connect(queue, this.native.xskDescriptor(handle))
      for (const { handle } of sockets) mustNumber(this.native.beginXsk(handle), name)
      this.ids++
      this.sink.interface({ id, name, linkType: LINKTYPE_ETHERNET, index, namespace: this.options.namespace })
      const open = { id, name, index, tap, sockets, dropped: 0, freezes: 0 }
      this.taps.set(index, open)
      const why = tap.attach(index, this.namespace)
      if (why !== null) this.sink.remark(`${name}: its driver has no XDP, the kernel does it more slowly (${why})`)
    } catch (error) {
      this.taps.delete(index)
      tap?.close()
      for (const { handle } of sockets) this.native.closeXsk(handle)
      throw error
    }
  }

  /** One for each queue. Drivers that do not tell how many there are have one, or the kernel says where there are no more. */
  private async openSockets({ name, index }: Interface, id: number): Promise<XdpSocket[]> {
    const sockets: XdpSocket[] = []
    const queues = Math.max(1, this.native.countQueues(this.namespace, name))
    const frames = framesOf(this.options.bufferBytes / this.options.interfaces.length / queues)
    const open = (number: number) =>
      this.native.openXsk(this.queue, {
        namespace: this.namespace,
        interface: index,
        number,
        frames,
        id,
        promiscuous: this.options.promiscuous && number === 0 ? 1 : 0,
        niceness: NICENESS,
        tag: this.tags,
      })
    for (let number = 0; number < MAX_QUEUES; number++) {
      let handle = open(number)
      // The kernel needs a moment to let go of a queue whose socket was closed.
      for (let waited = 0; isBusy(handle) && waited < RELEASE_MS; waited += RELEASE_STEP_MS) {
        await pause(RELEASE_STEP_MS)
        handle = open(number)
      }
      if (typeof handle === 'number') {
        if (number > 0 && getSystemErrorName(handle) === 'EINVAL') break
        for (const socket of sockets) this.native.closeXsk(socket.handle)
        throw new Fault('CAPTURE_REFUSED', `AF_XDP at queue ${number} of ${name}: ${whyNoSocket(handle)}`)
      }
      let ended: (code: number) => void = () => {}
      const end = new Promise<number>(resolve => {
        ended = resolve
      })
      sockets.push({ tag: this.tags++, handle, end, ended })
    }
    return sockets
  }

  private socketEnded(tag: number, code: number): void {
    for (const { sockets } of this.taps.values()) sockets.find(socket => socket.tag === tag)?.ended(code)
  }

  private async watch(): Promise<void> {
    try {
      if (this.own !== null && this.ticks++ % LOOKS_APART === 0) this.own.look()
      for (const tap of this.taps.values()) {
        const { dropped } = this.read(tap)
        if (dropped > tap.dropped) tap.freezes++
        tap.dropped = dropped
      }
      if (!this.watched.haveChanged()) return
      const here = this.watched.list()
      for (const tap of this.taps.values()) if (!here.some(({ index }) => index === tap.index)) void this.end(tap)
      for (const found of here)
        if (this.options.interfaces.includes(found.name) && !this.taps.has(found.index)) await this.take(found)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      this.sink.remark(error.message)
    }
  }

  /** What it has is taken, and it is counted a last time. */
  private async end(tap: OpenTap): Promise<void> {
    tap.tap.detach()
    for (const { handle } of tap.sockets) this.native.stopXsk(handle)
    await Promise.all(tap.sockets.map(({ end }) => end))
    if (!this.taps.delete(tap.index)) return
    const counters = this.read(tap)
    // Nothing is on its way any more: what was given to the sockets and not taken was dropped.
    const dropped = tap.tap.counts().accepted - counters.passed
    this.sink.counters(tap.id, { ...counters, dropped, seen: counters.seen - counters.dropped + dropped })
    tap.tap.close()
    for (const { handle } of tap.sockets) this.native.closeXsk(handle)
  }

  private read({ tap, sockets, freezes }: OpenTap): CaptureCounters {
    const { filtered, untargeted, sampledOut, own } = tap.counts()
    const into = new Float64Array(4)
    let [passed, dropped] = [0, 0]
    for (const { handle } of sockets) {
      this.native.readXsk(handle, into)
      const [taken = 0, noRoom = 0, ringFull = 0] = into
      passed += taken
      dropped += noRoom + ringFull
    }
    const seen = passed + dropped + filtered + untargeted + sampledOut + own
    return { seen, passed, dropped, overrun: 0, filtered, untargeted, sampledOut, duplicates: 0, own, freezes }
  }

  private free(): void {
    for (const { tap, sockets } of this.taps.values()) {
      tap.close()
      for (const { handle } of sockets) this.native.closeXsk(handle)
    }
    this.taps.clear()
    this.native.closeQueue(this.queue)
    this.own?.close()
    this.shared.close()
    this.watched.close()
    if (this.namespace >= 0) closeSync(this.namespace)
  }
}

interface XdpSocket {
  tag: number
  handle: Handle
  end: Promise<number>
  ended(code: number): void
}

interface OpenTap {
  id: number
  name: string
  index: number
  tap: Tap
  sockets: readonly XdpSocket[]
  /** As they were seen last. */
  dropped: number
  freezes: number
}

/** Maps that the programs of all interfaces have in common. */
class SharedMaps {
  readonly maps: Record<keyof typeof XDP_SHARED_MAPS, number>
  readonly targets: Targets

  constructor(bpf: Bpf) {
    const entries = Object.entries(XDP_SHARED_MAPS).map(([name, shape]) => [name, bpf.createMap(name, shape)])
    this.maps = Object.fromEntries(entries)
    this.targets = new Targets(bpf, this.maps)
  }

  close(): void {
    for (const descriptor of Object.values(this.maps)) closeSync(descriptor)
  }
}

/** The program at one interface, and its maps. */
class Tap {
  private readonly bpf: Bpf
  private readonly opened: number[] = []
  private readonly counters: number
  private readonly sockets: number
  private readonly program: number
  private link: number | null = null
  private readonly values = new BigUint64Array(FATES.length * possibleProcessors())

  constructor(bpf: Bpf, shared: SharedMaps, program: ReturnType<typeof xdpPackets>, queues: number) {
    this.bpf = bpf
    try {
      this.counters = this.keep(bpf.createMap('counters', XDP_COUNTERS))
      const sockets = { type: 'xskmap', keyBytes: 4, valueBytes: 4, entries: queues } as const
      this.sockets = this.keep(bpf.createMap('sockets', sockets))
      const maps = { ...shared.maps, counters: this.counters, sockets: this.sockets }
      this.program = this.keep(bpf.loadProgram('xdp_packets', { type: 'xdp' }, program, maps))
    } catch (error) {
      this.close()
      throw error
    }
  }

  connect(queue: number, socket: number): void {
    this.bpf.update(this.sockets, word(queue), word(socket))
  }

  /** Why it is not the driver that runs the program, in words; null: it is. */
  attach(index: number, namespace: number): string | null {
    try {
      this.link = this.bpf.linkInterface(this.program, 'driver', index, namespace)
      return null
    } catch (error) {
      if (!(error instanceof Fault) || /EBUSY/.test(error.message)) throw error
      this.link = this.bpf.linkInterface(this.program, 'generic', index, namespace)
      return error.message
    }
  }

  detach(): void {
    if (this.link !== null) closeSync(this.link)
    this.link = null
  }

  counts(): Record<Fate, number> {
    const found: Record<Fate, number> = { seen: 0, accepted: 0, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 }
    this.bpf.lookup(this.counters, word(0), new Uint8Array(this.values.buffer))
    for (const [at, value] of this.values.entries()) found[FATES[at % FATES.length]!] += Number(value)
    return found
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

function compile(native: Native, expression: string): ClassicInstruction[] | null {
  if (expression.trim() === '') return null
  const program = native.compileFilter(expression, DLT_ETHERNET, SNAP_LENGTH)
  if (typeof program === 'string') throw new Fault('FILTER_WRONG', `libpcap says of the filter: ${program}`)
  return readClassic(program)
}

function isBusy(handle: Handle | number): boolean {
  return typeof handle === 'number' && getSystemErrorName(handle) === 'EBUSY'
}

function whyNoSocket(code: number): string {
  const name = getSystemErrorName(code)
  if (name === 'EBUSY') return 'another program has a socket of AF_XDP there'
  if (name === 'ENOBUFS')
    return `${errorName(code)}: its memory is locked, raise \`ulimit -l\` or grant the capability IPC_LOCK`
  return errorName(code)
}

function framesOf(bytes: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(LEAST_FRAMES, Math.min(MOST_FRAMES, bytes / FRAME_BYTES))))
}

function mustNumber(result: number, name: string): void {
  if (result < 0) throw new Fault('CAPTURE_REFUSED', `AF_XDP at ${name}: ${errorName(result)}`)
}

/** worker/native/*.c say what these do; numbers below 0 are errors. */
interface Native extends QueueFunctions {
  bpf: BpfCall
  compileFilter(expression: string, linkType: number, snapLength: number): Uint8Array | string
  countQueues(namespace: number, name: string): number
  openXsk(queue: Handle, settings: Record<string, number>): Handle | number
  xskDescriptor(socket: Handle): number
  beginXsk(socket: Handle): number
  readXsk(socket: Handle, into: Float64Array): void
  stopXsk(socket: Handle): void
  closeXsk(socket: Handle): void
}
