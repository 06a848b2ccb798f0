/**
 * The process that captures for live.ts: it holds libpcap's handle, stamps each packet with the time and passes it on. It
 * understands nothing, and ends when whoever started it ends or closes the channel.
 */
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { setPriority } from 'node:os'
import { CHANNEL, type Hello, RECORD_HEAD, SNAP_LENGTH } from './live.ts'

/** As `cap` names them, and LINKTYPE_ numbers. */
const LINK_TYPES: Record<string, number> = {
  NULL: 0,
  ETHERNET: 1,
  RAW: 101,
  LINKTYPE_LINUX_SLL: 113,
  IEEE802_11_RADIO: 127,
}
/**
 * What the kernel keeps for us while we are busy. `cap` has it cut into slots of one packet each, as large as the
 * largest: on loopback 128 kB, so that this is room for a thousand packets.
 */
const KERNEL_BUFFER = 128 << 20
/** Ahead of what it watches: packets are stamped when they are read, so waiting for a processor falsifies their times. */
const PRIORITY = -10
/** What waits here while the other side is busy; beyond it packets are dropped, and counted. */
const MAX_BACKLOG = 64 << 20
/** Packets travel together: a block is passed on when it is full, or this long after its first packet. */
const BLOCK = 256 << 10
const FLUSH_MS = 20
/** So often the other side hears that time passes, packets or not. */
const TICK_MS = 100

const [name = '', filter = ''] = process.argv.slice(2)
const channel = new Socket({ fd: CHANNEL, readable: true, writable: true })
channel.on('error', () => process.exit(0))

try {
  setPriority(PRIORITY)
} catch {
  // Without the capability SYS_NICE: times are then a little less exact.
}

const packet = Buffer.alloc(SNAP_LENGTH)
const { Cap } = createRequire(import.meta.url)('cap') as { Cap: new () => Capture }
const capture = new Cap()
// `cap` frees what the garbage collector finds: both must stay reachable for as long as packets may come.
Object.assign(globalThis, { hookline: { capture, packet } })

let block = Buffer.allocUnsafe(BLOCK)
let used = 0
let dropped = 0
let timer: NodeJS.Timeout | null = null

const hello = open()
const text = Buffer.from(JSON.stringify(hello))
const head = Buffer.alloc(4)
head.writeUInt32LE(text.length)
channel.write(Buffer.concat([head, text]))
if (hello.fault) channel.end(() => process.exit(0))
else passOn()

function open(): Hello {
  try {
    const linkName = capture.open(name, filter, KERNEL_BUFFER, packet)
    const linkType = LINK_TYPES[linkName]
    if (linkType !== undefined) return { linkType }
    return { fault: { code: 'LINK_TYPE_UNKNOWN', message: `cannot be read: ${linkName}` } }
  } catch (error) {
    return { fault: { code: 'CAPTURE_REFUSED', message: `libpcap says: ${(error as Error).message}` } }
  }
}

function passOn(): void {
  capture.on('packet', length => {
    if (channel.writableLength > MAX_BACKLOG) {
      dropped++
      return
    }
    write(length)
    timer ??= setTimeout(pass, FLUSH_MS)
  })
  const ticking = setInterval(() => {
    write(0)
    pass()
  }, TICK_MS)
  // The other side has closed, or is gone: hand over what is here and end.
  channel.on('end', () => {
    clearInterval(ticking)
    capture.close()
    write(0)
    pass()
    channel.end(() => process.exit(0))
  })
  channel.resume()
}

function write(length: number): void {
  if (used + RECORD_HEAD + length > BLOCK) pass()
  const now = performance.timeOrigin + performance.now()
  const seconds = Math.floor(now / 1000)
  block.writeUInt32LE(length, used)
  block.writeUInt32LE(dropped, used + 4)
  block.writeUInt32LE(seconds, used + 8)
  block.writeUInt32LE(Math.min(999_999_999, Math.round((now - seconds * 1000) * 1e6)), used + 12)
  packet.copy(block, used + RECORD_HEAD, 0, length)
  used += RECORD_HEAD + length
  dropped = 0
}

function pass(): void {
  if (timer) clearTimeout(timer)
  timer = null
  if (used === 0) return
  channel.write(block.subarray(0, used))
  block = Buffer.allocUnsafe(BLOCK)
  used = 0
}

interface Capture {
  open(device: string, filter: string, bufferSize: number, buffer: Buffer): string
  on(event: 'packet', listener: (length: number, truncated: boolean) => void): void
  close(): void
}
