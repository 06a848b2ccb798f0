/**
 * Live capture from a network interface. libpcap (`cap`) runs in a process of its own, live-process.ts, because a fault of
 * native code must not take items, scripts and undelivered alerts with it. What that process writes:
 *
 *   hello:   u32 length, JSON {linkType} or {fault}
 *   record:  u32 captured bytes, u32 packets dropped since the last record, u32 seconds, u32 nanoseconds, the bytes
 *            (0 bytes: no packet, time has passed)
 *
 * All numbers little-endian.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Fault } from '../../core/fault.ts'
import { emptyPacket, type Packet } from '../../core/packet.ts'
import type { CaptureOptions } from '../capture.ts'

export const RECORD_HEAD = 16
/** The kernel has no longer packet, and libpcap is asked for no more. */
export const SNAP_LENGTH = 65_535
/** Descriptor on which the capturing process writes, and by whose end it learns that nobody listens. */
export const CHANNEL = 3

export interface Hello {
  linkType?: number
  fault?: { code: string; message: string }
}

const PROCESS = fileURLToPath(new URL('./live-process.ts', import.meta.url))
/** Bit of CAP_NET_RAW in the masks of /proc/self/status. */
const CAP_NET_RAW = 13n

/** Opens `name` for capture; `filter` is in pcap-filter(7), '' for everything. */
export async function openLive(name: string, filter: string): Promise<Live> {
  await checkInterface(name)
  await checkPrivilege(name)
  checkModule()
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', PROCESS, name, filter], {
    // Its own group: Ctrl-C is for us, and we end it when all that it has seen is taken.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  })
  const live = new Live(child)
  try {
    await live.hello(name)
  } catch (error) {
    await live.close()
    throw error
  }
  return live
}

/** What keeps this process from capturing on `name`, in words; null when nothing is known to. */
export async function whyNotLive(name: string): Promise<string | null> {
  try {
    await checkInterface(name)
    await checkPrivilege(name)
    checkModule()
    return null
  } catch (error) {
    if (error instanceof Fault) return error.message
    throw error
  }
}

export class Live {
  /** Packets that came faster than they were understood, as far as the capturing process knows; the kernel's own it does not. */
  dropped = 0
  /** Packets longer than `SNAP_LENGTH`. */
  cut = 0
  packets = 0
  /** Clock of the capture: of the last packet, or later. */
  seconds = 0
  nanoseconds = 0
  private readonly child: ChildProcess
  private readonly channel: Duplex
  private readonly chunks: AsyncIterator<Buffer>
  private readonly gone: Promise<unknown>
  private readonly packet: Packet = emptyPacket()
  private bytes: Buffer = Buffer.alloc(0)
  private position = 0
  private complaint = ''
  private closing = false

  constructor(child: ChildProcess) {
    this.child = child
    this.channel = child.stdio[CHANNEL] as Duplex
    this.chunks = this.channel[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    this.gone = once(child, 'exit')
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.complaint = (this.complaint + text).slice(-2000)
    })
  }

  /** LINKTYPE_ value of what is captured. */
  get linkType(): number {
    return this.packet.linkType
  }

  async hello(name: string): Promise<void> {
    while (this.bytes.length < 4 || this.bytes.length < 4 + this.bytes.readUInt32LE(0))
      if (!(await this.more())) throw this.ended()
    this.position = 4 + this.bytes.readUInt32LE(0)
    const { linkType, fault } = JSON.parse(this.bytes.toString('utf8', 4, this.position)) as Hello
    if (fault) throw new Fault(fault.code, `${name}: ${fault.message}`)
    this.packet.linkType = linkType!
  }

  /** Waits for packets. false: the capture was closed and everything it had seen is handed out. */
  async load(): Promise<boolean> {
    if (await this.more()) return true
    if (!this.closing) throw this.ended()
    return false
  }

  /** The next packet that is here; null: `load` again. */
  next(): Packet | null {
    const { bytes, packet } = this
    for (;;) {
      const start = this.position + RECORD_HEAD
      if (start > bytes.length) return null
      const length = bytes.readUInt32LE(this.position)
      const end = start + length
      if (end > bytes.length) return null
      this.dropped += bytes.readUInt32LE(this.position + 4)
      this.seconds = packet.seconds = bytes.readUInt32LE(this.position + 8)
      this.nanoseconds = packet.nanoseconds = bytes.readUInt32LE(this.position + 12)
      this.position = end
      if (length === 0) continue
      this.packets++
      if (length === SNAP_LENGTH) this.cut++
      packet.bytes = bytes
      packet.start = start
      packet.end = end
      packet.length = length
      return packet
    }
  }

  /** Sees no more packets; `load` and `next` hand out those that were seen before. */
  stop(): void {
    this.closing = true
    this.channel.end()
  }

  async close(): Promise<void> {
    this.stop()
    this.channel.destroy()
    this.child.kill('SIGKILL')
    await this.gone
  }

  private async more(): Promise<boolean> {
    const { value, done } = await this.chunks.next()
    if (done) return false
    const rest = this.bytes.subarray(this.position)
    this.bytes = rest.length === 0 ? value : Buffer.concat([rest, value])
    this.position = 0
    return true
  }

  private ended(): Fault {
    const cause = this.complaint.trim().split('\n').at(-1) || 'no reason was given'
    return new Fault('CAPTURE_ENDED', `the capturing process ended by itself: ${cause}`)
  }
}

async function checkInterface(name: string): Promise<void> {
  const known = await readdir('/sys/class/net').catch(() => null)
  if (known === null || name === 'any' || known.includes(name)) return
  throw new Fault('INTERFACE_UNKNOWN', `no interface is called ${name}; there are: ${known.sort().join(', ')}`)
}

/** Throws a Fault for what is better said by whoever was asked, in words of the command. */
export async function checkCapture({ interfaces, namespace }: CaptureOptions): Promise<void> {
  const names = interfaces === 'any' ? ['any'] : interfaces
  if (namespace === null) for (const name of names) await checkInterface(name)
  await checkPrivilege(names.join(','))
}

async function checkPrivilege(name: string): Promise<void> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1]
  if (effective === undefined || (BigInt(`0x${effective}`) >> CAP_NET_RAW) & 1n) return
  throw new Fault(
    'CAPTURE_NOT_PERMITTED',
    `capturing on ${name} needs root or the capability NET_RAW, and this process has neither: sudo ./hookline ${process.argv.slice(2).join(' ')}`,
  )
}

function checkModule(): void {
  try {
    createRequire(import.meta.url).resolve('cap/build/Release/cap.node')
  } catch {
    throw new Fault(
      'CAPTURE_NOT_BUILT',
      'live capture needs the native module `cap`, which is not built: install g++, make, python3 and libpcap-dev, then run `make setup`',
    )
  }
}
