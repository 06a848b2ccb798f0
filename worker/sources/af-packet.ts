/**
 * Capture by AF_PACKET: the kernel copies packets into a ring of memory that a thread of worker/native/af-packet.c empties.
 * One socket for all interfaces, or one for each that is named; each may be several that share its packets by flow. What is
 * wanted is decided in the kernel by the program of worker/bpf/packet-filter.ts, which counts what it leaves out.
 */
import { closeSync } from 'node:fs'
import { Fault } from '../../core/fault.ts'
import { Bpf, type BpfCall, word } from '../bpf/bpf.ts'
import { readClassic } from '../bpf/classic.ts'
import { LINK, type LinkFilter, PACKET_FILTER_MAPS, packetFilter, SNAP_LENGTH } from '../bpf/packet-filter.ts'
import { Targets } from '../bpf/selection.ts'
import { type Capture, type CaptureOptions, type CaptureSink, type CaptureSource, MOST_FANOUT } from '../capture.ts'
import { HARDWARE, type Interface, Interfaces, openNamespace } from '../interfaces.ts'
import { errorName, type Handle, isAllowed, loadNative, whyNoNative } from '../native.ts'
import { OwnTraffic, ownProcesses } from '../own-traffic.ts'
import { NICENESS, openChunkQueue, type QueueFunctions } from './chunk-queue.ts'
import { type CountingFunctions, type CountingSocket, PacketCounters } from './packet-counters.ts'

export const afPacket: CaptureSource = {
  name: 'af_packet',
  title: 'AF_PACKET',
  mostFanout: MOST_FANOUT,
  obstacle: async options => obstacleOf(options),
  open: async (options, sink) => PacketCapture.open(options, sink),
}

function obstacleOf({ namespace }: CaptureOptions): string | null {
  const missing = whyNoNative()
  if (missing !== null) return missing
  if (!isAllowed('netRaw')) return 'it needs root or the capability NET_RAW'
  if (!isAllowed('bpf') && !isAllowed('sysAdmin')) return 'its filter needs root or the capability BPF'
  if (namespace !== null && !isAllowed('sysAdmin'))
    return 'another network namespace needs root or the capability SYS_ADMIN'
  try {
    if (namespace !== null) closeSync(openNamespace(namespace))
    // The whole of it: what the kernel cannot do, it says itself.
    const bpf = new Bpf(loadNative<Native>().bpf)
    const maps = createMaps(bpf)
    try {
      const everything = { ethernet: null, network: null, tags: true, samplePercent: 50, leaveOutOwn: true }
      closeSync(bpf.loadProgram('packet_filter', { type: 'socket_filter' }, packetFilter(everything), maps))
    } finally {
      closeMaps(maps)
    }
    return null
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return error.code === 'BPF_REFUSED' ? `${error.message} (it needs Linux 5.2 or later)` : error.message
  }
}

/** Two sights of a packet are of one within this time; queues between two interfaces hold it no longer. */
const TWICE_MS = 200
/** The kernel hands over a block that is not full after this long. */
const RETIRE_MS = 10
/** So often it is asked whether interfaces have come or gone. */
const WATCH_MS = 250
/** After so many, the last count of an interface that has gone is made though its packets may still be on their way. */
const MOST_LEAVING_TICKS = 8
/** Between looks for own connections in /proc, in the units above. */
const LOOKS_APART = 4
/** The largest packet that offloading makes fits into half a block. */
const LEAST_BLOCK_BYTES = 128 << 10
const MOST_BLOCK_BYTES = 1 << 20
const LEAST_BLOCKS = 4
/** A ring is cut into about so many blocks. */
const BLOCKS = 64
/** PACKET_FANOUT_HASH with PACKET_FANOUT_FLAG_UNIQUEID: by flow, in a group that nobody else has. */
const NEW_FANOUT = 0x2000 << 16
const ENOMEM = -12
const DLT = { ethernet: 1, raw: 12 } as const

class PacketCapture implements Capture {
  readonly name = 'af_packet'
  private readonly native: Native
  private readonly options: CaptureOptions
  private readonly sink: CaptureSink
  private readonly queue: Handle
  private readonly handle: Handle
  private readonly bpf: Bpf
  private readonly maps: Maps
  private readonly targets: Targets
  private readonly namespace: number
  private readonly watched: Interfaces
  private readonly own: OwnTraffic | null
  private program = -1
  /** By tag. */
  private readonly sockets = new Map<number, PacketSocket>()
  private tags = 0
  private readonly counters: PacketCounters
  /** Interfaces that have a number. */
  private met = 0
  /** By index, as `watch` has seen them last. */
  private present = new Map<number, Interface>()
  private readonly filterFor: { ethernet: LinkFilter; network: LinkFilter }
  private timer: NodeJS.Timeout | null = null
  private ticks = 0
  /** No more packets come: it was stopped, or a socket has failed. */
  private ended = false
  private stopped = false
  /** Interfaces that have gone, and of which packets may still be in the ring. */
  private leaving: Leaving[] = []
  private readonly scratch = new Float64Array(5)
  private bufferBytes: number

  static open(options: CaptureOptions, sink: CaptureSink): PacketCapture {
    const capture = new PacketCapture(options, sink)
    try {
      capture.begin()
      return capture
    } catch (error) {
      capture.free()
      throw error
    }
  }

  private constructor(options: CaptureOptions, sink: CaptureSink) {
    this.native = loadNative<Native>()
    this.options = options
    this.sink = sink
    this.bufferBytes = options.bufferBytes
    this.filterFor = compile(this.native, options.filter)
    this.bpf = new Bpf(this.native.bpf)
    this.namespace = options.namespace === null ? -1 : openNamespace(options.namespace)
    this.watched = new Interfaces(this.namespace)
    this.maps = createMaps(this.bpf)
    this.targets = new Targets(this.bpf, this.maps)
    this.own = options.own ? null : new OwnTraffic(this.bpf, this.maps, ownProcesses())
    this.queue = openChunkQueue(this.native, {
      packets: (blocks, count) => {
        this.describe()
        sink.packets(blocks, count)
      },
      ended: (tag, code) => this.socketEnded(tag, code),
    })
    this.handle = must(
      this.native.openCapture(this.queue, options.deduplicate ? TWICE_MS : 0),
      'reserve the memory of packets seen twice',
    )
    this.counters = new PacketCounters(this.native, this.handle, this.bpf, this.maps)
  }

  retarget(addresses: readonly string[] | null): void {
    this.targets.set(addresses)
  }

  count(): void {
    if (this.ended) return
    this.describe()
    for (const counted of this.counters.read(this.sockets.values())) this.sink.counters(...counted)
  }

  async stop(): Promise<void> {
    if (this.stopped) return
    this.stopped = this.ended = true
    if (this.timer !== null) clearInterval(this.timer)
    await Promise.all([...this.sockets.values()].map(socket => this.stopSocket(socket)))
    this.describe()
    for (const counted of this.counters.readLast(this.sockets.values())) this.sink.counters(...counted)
    this.tellOfStrays()
    this.free()
  }

  private begin(): void {
    const { options } = this
    this.targets.set(options.addresses)
    const interfaces = this.list()
    if (options.interfaces !== 'any') this.checkNames(options.interfaces, interfaces)
    const filter = {
      ...this.filterFor,
      tags: /\bvlan\b/.test(options.filter),
      samplePercent: options.samplePercent,
      leaveOutOwn: this.own !== null,
    }
    this.program = this.bpf.loadProgram('packet_filter', { type: 'socket_filter' }, packetFilter(filter), this.maps)
    const late = this.own?.begin() ?? null
    if (late !== null)
      this.sink.remark(`Hookline’s own connections are left out when they are found in /proc, within a second: ${late}`)
    for (const found of interfaces) if (this.isWanted(found)) this.meet(found)
    if (options.interfaces === 'any') this.openSockets(0, interfaces)
    else for (const found of interfaces) if (this.isWanted(found)) this.openSockets(found.index, [found])
    this.timer = setInterval(() => this.watch(), WATCH_MS)
  }

  private checkNames(names: readonly string[], interfaces: readonly Interface[]): void {
    const absent = names.filter(name => !interfaces.some(found => found.name === name))
    const known = interfaces.map(({ name }) => name).sort()
    for (const name of absent) {
      if (absent.length === names.length)
        throw new Fault('INTERFACE_UNKNOWN', `no interface is called ${name}; there are: ${known.join(', ')}`)
      this.sink.remark(`no interface is called ${name}: it is captured when it comes`)
    }
  }

  private isWanted({ name }: Interface): boolean {
    return this.options.interfaces === 'any' || this.options.interfaces.includes(name)
  }

  private list(): Interface[] {
    const interfaces = this.watched.list()
    this.present = new Map(interfaces.map(found => [found.index, found]))
    return interfaces
  }

  /** Gives the interface its number, and tells the sink of it. */
  private meet(found: Interface): void {
    const isEthernet = found.hardware === HARDWARE.ethernet || found.hardware === HARDWARE.loopback
    if (!isEthernet) {
      this.bpf.update(this.maps.links, word(found.index), word(LINK.network))
      if (this.filterFor.network === 'none')
        this.sink.remark(
          `${found.name} has no frames of Ethernet, which the filter asks for: nothing of it is captured`,
        )
    }
    this.native.numberInterface(this.handle, found.index, found.hardware)
    this.describe()
  }

  /** Numbers are given here, and by the threads to interfaces whose packets came before the news of them. */
  private describe(): void {
    const count = this.native.countInterfaces(this.handle)
    for (; this.met < count; this.met++) {
      const id = this.met
      this.native.readInterface(this.handle, id, this.scratch)
      const [index = 0, , linkType = 0] = this.scratch
      // It may have come and gone between two looks. What `present` says is left to `watch`, which looks for news.
      const found = this.present.get(index) ?? this.watched.list().find(listed => listed.index === index)
      const name = found?.name ?? `if${index}`
      this.counters.add(id, index)
      this.sink.interface({ id, name, linkType, index, namespace: this.options.namespace })
    }
  }

  private openSockets(interfaceIndex: number, interfaces: readonly Interface[]): void {
    const { fanout } = this.options
    let group = fanout > 1 ? NEW_FANOUT : -1
    const opened: PacketSocket[] = []
    try {
      for (let i = 0; i < fanout; i++) {
        const socket = this.openSocket(interfaceIndex, fanout, group)
        opened.push(socket)
        if (fanout > 1) group = this.native.fanoutOf(socket.handle)
      }
      for (const { handle } of opened)
        mustNumber(this.native.beginPacketSocket(handle, this.program), 'begin to capture')
    } catch (error) {
      for (const { handle, tag } of opened) {
        this.native.closePacketSocket(handle)
        this.sockets.delete(tag)
      }
      throw error
    }
    for (const found of interfaces) this.watchClosely(opened[0]!, found)
  }

  private openSocket(index: number, fanout: number, group: number): PacketSocket {
    const { interfaces } = this.options
    const shares = fanout * (interfaces === 'any' ? 1 : interfaces.length)
    for (;;) {
      const tag = this.tags++
      const settings = {
        ...blocksOf(this.bufferBytes / shares),
        namespace: this.namespace,
        interface: index,
        retireMs: RETIRE_MS,
        fanout: group,
        hardwareTimes: Number(this.options.hardwareTimes === true),
        niceness: NICENESS,
        tag,
      }
      const handle = this.native.openPacketSocket(this.handle, this.queue, settings)
      if (typeof handle !== 'number') {
        let ended: (code: number) => void = () => {}
        const end = new Promise<number>(resolve => {
          ended = resolve
        })
        const socket = { tag, index, handle, end, ended, drops: 0, freezes: 0, stopping: false }
        this.sockets.set(tag, socket)
        return socket
      }
      if (handle !== ENOMEM || settings.blocks <= LEAST_BLOCKS)
        throw new Fault('CAPTURE_REFUSED', `AF_PACKET: ${errorName(handle)}`)
      this.bufferBytes /= 2
      this.sink.remark(`the kernel has no memory for a ring of this size: ${this.bufferBytes >> 20} MB are tried`)
    }
  }

  /** Ends with the socket, or with the interface. */
  private watchClosely({ handle }: PacketSocket, { index, hardware, name }: Interface): void {
    if (!this.options.promiscuous || hardware !== HARDWARE.ethernet) return
    const refused = this.native.setPromiscuous(handle, index, 1)
    if (refused < 0) this.sink.remark(`${name} does not become promiscuous: ${errorName(refused)}`)
  }

  private socketEnded(tag: number, code: number): void {
    const socket = this.sockets.get(tag)
    if (socket === undefined) return
    socket.ended(code)
    if (socket.stopping || this.ended) return
    this.ended = true
    if (this.timer !== null) clearInterval(this.timer)
    this.sink.fault(new Fault('CAPTURE_ENDED', `AF_PACKET ended by itself: ${errorName(code)}`))
  }

  private async stopSocket(socket: PacketSocket): Promise<void> {
    socket.stopping = true
    this.native.stopPacketSocket(socket.handle)
    await socket.end
  }

  /** Interfaces come and go. */
  private watch(): void {
    try {
      if (this.own !== null && this.ticks++ % LOOKS_APART === 0) this.own.look()
      this.leaving = this.leaving.filter(entry => !this.hasLeft(entry))
      if (!this.watched.haveChanged()) return
      const before = this.present
      const interfaces = this.list()
      for (const found of interfaces) if (!before.has(found.index)) this.come(found)
      for (const gone of before.values())
        if (!this.present.has(gone.index)) this.go(gone).catch(error => this.sink.remark((error as Error).message))
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      this.sink.remark(error.message)
    }
  }

  private come(found: Interface): void {
    if (!this.isWanted(found)) return
    this.meet(found)
    const [everything] = this.sockets.values()
    if (this.options.interfaces !== 'any') this.openSockets(found.index, [found])
    else if (everything !== undefined) this.watchClosely(everything, found)
  }

  private async go({ index, name }: Interface): Promise<void> {
    const own = [...this.sockets.values()].filter(socket => socket.index === index)
    if (own.length > 0) this.sink.remark(`${name} has gone: it is captured again when it comes`)
    await Promise.all(own.map(socket => this.stopSocket(socket)))
    if (this.ended) return
    this.leaving.push({ index, ticks: 0 })
    this.bpf.delete(this.maps.links, word(index))
    if (own.length === 0) return
    this.count()
    for (const socket of own) this.closeSocket(socket)
  }

  /** What it has counted is told a last time. */
  private hasLeft(entry: Leaving): boolean {
    const isEmpty = [...this.sockets.values()].every(socket => this.counters.isEmpty(socket))
    if (++entry.ticks < MOST_LEAVING_TICKS && !isEmpty) return false
    this.count()
    const last = this.counters.remove(entry.index)
    if (last !== null) this.sink.counters(...last)
    return true
  }

  private closeSocket(socket: PacketSocket): void {
    this.native.closePacketSocket(socket.handle)
    this.sockets.delete(socket.tag)
  }

  private tellOfStrays(): void {
    const left = Object.entries(this.counters.strays()).filter(([, count]) => count > 0)
    if (left.length === 0) return
    const counts = left.map(([fate, count]) => `${count} ${fate}`).join(', ')
    this.sink.remark(`packets of too many interfaces to be counted by interface: ${counts}`)
  }

  private free(): void {
    for (const socket of this.sockets.values()) this.closeSocket(socket)
    this.native.closeQueue(this.queue)
    this.own?.close()
    closeMaps(this.maps)
    if (this.program >= 0) closeSync(this.program)
    this.watched.close()
    if (this.namespace >= 0) closeSync(this.namespace)
  }
}

interface PacketSocket extends CountingSocket {
  tag: number
  end: Promise<number>
  ended(code: number): void
  stopping: boolean
}

interface Leaving {
  index: number
  /** Since it has gone. */
  ticks: number
}

function blocksOf(bytes: number): { blockBytes: number; blocks: number } {
  const wanted = 2 ** Math.floor(Math.log2(Math.max(1, bytes / BLOCKS)))
  const blockBytes = Math.max(LEAST_BLOCK_BYTES, Math.min(MOST_BLOCK_BYTES, wanted))
  return { blockBytes, blocks: Math.max(LEAST_BLOCKS, Math.floor(bytes / blockBytes)) }
}

/** A filter that Ethernet alone can answer does not compile for other links, and nothing of theirs passes it. */
function compile(native: Native, expression: string): { ethernet: LinkFilter; network: LinkFilter } {
  if (expression.trim() === '') return { ethernet: null, network: null }
  const ethernet = native.compileFilter(expression, DLT.ethernet, SNAP_LENGTH)
  if (typeof ethernet === 'string')
    throw new Fault('FILTER_WRONG', `libpcap says of the filter: ${ethernet || 'it cannot be compiled'}`)
  const network = native.compileFilter(expression, DLT.raw, SNAP_LENGTH)
  return { ethernet: readClassic(ethernet), network: typeof network === 'string' ? 'none' : readClassic(network) }
}

type MapName = keyof typeof PACKET_FILTER_MAPS
type Maps = Record<MapName, number>

function createMaps(bpf: Bpf): Maps {
  const maps: Partial<Maps> = {}
  try {
    for (const name of Object.keys(PACKET_FILTER_MAPS) as MapName[])
      maps[name] = bpf.createMap(name, PACKET_FILTER_MAPS[name])
    return maps as Maps
  } catch (error) {
    closeMaps(maps)
    throw error
  }
}

function closeMaps(maps: Partial<Maps>): void {
  for (const descriptor of Object.values(maps)) closeSync(descriptor)
}

function must<Given extends object>(result: Given | number, what: string): Given {
  if (typeof result === 'number') throw new Fault('CAPTURE_REFUSED', `AF_PACKET cannot ${what}: ${errorName(result)}`)
  return result
}

function mustNumber(result: number, what: string): void {
  if (result < 0) throw new Fault('CAPTURE_REFUSED', `AF_PACKET cannot ${what}: ${errorName(result)}`)
}

/** worker/native/*.c say what these do; numbers below 0 are errors. */
interface Native extends CountingFunctions, QueueFunctions {
  bpf: BpfCall
  compileFilter(expression: string, linkType: number, snapLength: number): Uint8Array | string
  openCapture(queue: Handle, windowMs: number): Handle | number
  numberInterface(capture: Handle, index: number, hardware: number): number
  countInterfaces(capture: Handle): number
  openPacketSocket(capture: Handle, queue: Handle, settings: Record<string, number>): Handle | number
  beginPacketSocket(socket: Handle, program: number): number
  fanoutOf(socket: Handle): number
  setPromiscuous(socket: Handle, index: number, on: 0 | 1): number
  stopPacketSocket(socket: Handle): void
  closePacketSocket(socket: Handle): void
}
