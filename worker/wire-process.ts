/**
 * The process that captures for wire.ts: what the best source hands over goes to the channel as it is. It understands
 * nothing, and ends when whoever started it ends, or says so.
 */
import { writeSync } from 'node:fs'
import { setPriority } from 'node:os'
import { Fault } from '../core/fault.ts'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import type { Capture, CaptureOptions } from './capture.ts'
import { chooseSource } from './sources/choice.ts'
import { BLOCK, CHANNEL, type FromWire } from './wire.ts'

/** Ahead of what it watches: what waits in the kernel may be lost. */
const PRIORITY = -10
/** So often the other side hears that time passes, packets or not. */
const TICK_MS = 100
/** Packets are no longer than this on their way through the kernel's ring and ours. */
const UNDERWAY_MS = 50
/** type(4) size(4) interface(4) time high(4) low(4) size(4) */
const STATISTICS_BYTES = 24

let capture: Capture | null = null
let interfaces = 0
let ending = false
const writer = new PcapngWriter()

try {
  setPriority(PRIORITY)
} catch {
  // Without the capability SYS_NICE: under load the kernel's buffer is what helps.
}
process.on('message', () => void end())
process.on('disconnect', () => process.exit(0))
await begin(JSON.parse(process.argv[2] ?? '{}') as CaptureOptions)

async function begin(options: CaptureOptions): Promise<void> {
  try {
    const { source, passedOver } = await chooseSource('best', options)
    capture = await source.open(options, {
      interface({ name, linkType }) {
        interfaces++
        write(writer.interface(name, linkType))
      },
      packets: blocks => write(blocks),
      counters: (id, counters) => tell({ type: 'counters', id, counters }),
      remark: text => tell({ type: 'remark', text }),
      fault: fault => void fail(fault),
    })
    tell({ type: 'started', title: source.title, passedOver })
  } catch (error) {
    await fail(error)
    return
  }
  setInterval(tick, TICK_MS)
}

async function end(): Promise<void> {
  if (ending) return
  ending = true
  await capture?.stop()
  leave()
}

async function fail(error: unknown): Promise<void> {
  const { code, message } =
    error instanceof Fault ? error : { code: 'CAPTURE_ENDED', message: (error as Error).message }
  tell({ type: 'fault', code, message })
  await end()
}

/** When what was told has been heard. */
function leave(): void {
  if (!process.connected) process.exit(0)
  process.send!({ type: 'ended' } satisfies FromWire, () => process.exit(0))
}

function tick(): void {
  if (interfaces === 0 || ending) return
  const view = new DataView(new ArrayBuffer(STATISTICS_BYTES))
  const ns = BigInt(Date.now() - UNDERWAY_MS) * 1_000_000n
  view.setUint32(0, BLOCK.statistics, true)
  view.setUint32(4, STATISTICS_BYTES, true)
  view.setUint32(12, Number(ns >> 32n), true)
  view.setUint32(16, Number(ns & 0xffff_ffffn), true)
  view.setUint32(20, STATISTICS_BYTES, true)
  write(new Uint8Array(view.buffer))
}

/** Waits for as long as the other side is busy: packets wait in the kernel meanwhile, which counts those that find no room. */
function write(bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(CHANNEL, bytes, at)
  } catch {
    // Nobody reads any more.
    process.exit(0)
  }
}

function tell(message: FromWire): void {
  if (process.connected) process.send!(message, () => {})
}
