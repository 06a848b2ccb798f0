/**
 * Packets of interfaces as they come, without a ring: `run -i`. They are captured, in the best way that works, by a process
 * of its own (wire-process.ts), because a fault of native code must not take items, scripts and undelivered alerts with it.
 * That process writes blocks of pcapng to a channel: interfaces, packets, and statistics that only tell the time. What it
 * has chosen, counted and remarked it sends as messages.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Fault } from '../core/fault.ts'
import { emptyPacket, type Packet } from '../core/packet.ts'
import type { CaptureCounters, CaptureName, CaptureOptions } from './capture.ts'
import { chooseSource } from './sources/choice.ts'
import { checkCapture } from './sources/live.ts'

/** Descriptor on which the capturing process writes. */
export const CHANNEL = 3
export const BLOCK = { interface: 1, statistics: 5, packet: 6 } as const

export type FromWire =
  | { type: 'started'; title: string; passedOver: { name: CaptureName; why: string }[] }
  | { type: 'counters'; id: number; counters: CaptureCounters }
  | { type: 'remark'; text: string }
  | { type: 'fault'; code: string; message: string }
  | { type: 'ended' }

/** Throws a Fault when nothing can be captured. */
export async function openWire(options: CaptureOptions): Promise<Wire> {
  await checkCapture(options)
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', PROCESS, JSON.stringify(options)], {
    // Its own group: Ctrl-C is for us, and we end it when all that it has seen is taken.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ipc'],
  })
  const wire = new Wire(child)
  try {
    await wire.started
    return wire
  } catch (error) {
    await wire.close()
    throw error
  }
}

/** What keeps this process from capturing so, in words; null when nothing is known to. */
export async function whyNoWire(options: CaptureOptions): Promise<string | null> {
  try {
    await checkCapture(options)
    await chooseSource('best', options)
    return null
  } catch (error) {
    if (error instanceof Fault) return error.message
    throw error
  }
}

const PROCESS = fileURLToPath(new URL('./wire-process.ts', import.meta.url))
const BLOCK_HEAD = 8
const NS = 1_000_000_000n

export class Wire {
  title = ''
  passedOver: readonly { name: CaptureName; why: string }[] = []
  readonly counters = new Map<number, CaptureCounters>()
  readonly remarks: string[] = []
  packets = 0
  /** Clock of the capture: of the last packet, or later. */
  seconds = 0
  readonly started: Promise<void>
  private readonly child: ChildProcess
  private readonly channel: Duplex
  private readonly chunks: AsyncIterator<Buffer>
  private readonly gone: Promise<unknown>
  private readonly linkTypes: number[] = []
  private readonly packet: Packet = emptyPacket()
  private bytes: Buffer = Buffer.alloc(0)
  private position = 0
  private fault: Fault | null = null
  private complaint = ''
  private closing = false

  constructor(child: ChildProcess) {
    this.child = child
    this.channel = child.stdio[CHANNEL] as Duplex
    this.chunks = this.channel[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.started = promise
    this.gone = once(child, 'close').then(() => reject(this.ended()))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.complaint = (this.complaint + text).slice(-2000)
    })
    child.on('message', (message: FromWire) => {
      if (message.type === 'started') resolve()
      this.take(message)
    })
    // The channel of a process that has just died.
    child.on('error', () => {})
  }

  /** Waits for packets. false: the capture was stopped and everything it had seen is handed out. */
  async load(): Promise<boolean> {
    if (await this.more()) return true
    // Its last words are on another channel.
    await this.gone
    if (!this.closing || this.fault !== null) throw this.ended()
    return false
  }

  /** The next packet that is here; null: `load` again. */
  next(): Packet | null {
    const { bytes, packet } = this
    for (;;) {
      const at = this.position
      if (at + BLOCK_HEAD > bytes.length) return null
      const end = at + bytes.readUInt32LE(at + 4)
      if (end > bytes.length) return null
      this.position = end
      const type = bytes.readUInt32LE(at)
      if (type === BLOCK.interface) this.linkTypes.push(bytes.readUInt16LE(at + 8))
      if (type === BLOCK.packet || type === BLOCK.statistics) {
        const ns = (BigInt(bytes.readUInt32LE(at + 12)) << 32n) | BigInt(bytes.readUInt32LE(at + 16))
        packet.seconds = Number(ns / NS)
        packet.nanoseconds = Number(ns % NS)
        this.seconds = Math.max(this.seconds, packet.seconds)
      }
      if (type !== BLOCK.packet) continue
      this.packets++
      packet.interfaceId = bytes.readUInt32LE(at + 8)
      packet.linkType = this.linkTypes[packet.interfaceId]!
      packet.bytes = bytes
      packet.start = at + 28
      packet.end = packet.start + bytes.readUInt32LE(at + 20)
      packet.length = bytes.readUInt32LE(at + 24)
      return packet
    }
  }

  /** Sees no more packets; `load` and `next` hand out those that were seen before. */
  stop(): void {
    if (this.closing) return
    this.closing = true
    if (this.child.connected) this.child.send('stop', () => {})
  }

  async close(): Promise<void> {
    this.closing = true
    this.channel.destroy()
    this.child.kill('SIGKILL')
    await this.gone
    await this.started.catch(() => {})
  }

  private async more(): Promise<boolean> {
    const { value, done } = await this.chunks.next()
    if (done) return false
    const rest = this.bytes.subarray(this.position)
    this.bytes = rest.length === 0 ? value : Buffer.concat([rest, value])
    this.position = 0
    return true
  }

  private take(message: FromWire): void {
    switch (message.type) {
      case 'started':
        this.title = message.title
        this.passedOver = message.passedOver
        break
      case 'counters':
        this.counters.set(message.id, message.counters)
        break
      case 'remark':
        this.remarks.push(message.text)
        break
      case 'fault':
        this.fault = new Fault(message.code, message.message)
    }
  }

  private ended(): Fault {
    if (this.fault !== null) return this.fault
    const cause = this.complaint.trim().split('\n').at(-1) || 'no reason was given'
    return new Fault('CAPTURE_ENDED', `the capturing process ended by itself: ${cause}`)
  }
}
