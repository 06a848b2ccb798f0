/**
 * Capture through libpcap, by `cap` in processes of their own (live.ts): the last resort, and what there is on other systems
 * than Linux. It knows neither the kernel's times nor what the kernel has dropped, and copies each packet three times more.
 */
import { Fault } from '../../core/fault.ts'
import { PcapngWriter } from '../../core/pcapng-writer.ts'
import {
  type Capture,
  type CaptureCounters,
  type CaptureOptions,
  type CaptureSink,
  type CaptureSource,
  noCounters,
} from '../capture.ts'
import { type Live, openLive, whyNotLive } from './live.ts'

export const libpcap: CaptureSource = {
  name: 'libpcap',
  title: 'libpcap',
  obstacle,
  async open(options, sink) {
    const lives: Live[] = []
    try {
      for (const name of namesOf(options)) lives.push(await openLive(name, options.filter))
    } catch (error) {
      await Promise.all(lives.map(live => live.close()))
      throw error
    }
    return new LibpcapCapture(options, lives, sink)
  },
}

/** What it cannot do at all. What it cannot do well, `open` remarks. */
async function obstacle(options: CaptureOptions): Promise<string | null> {
  if (options.namespace !== null) return 'it captures in its own network namespace alone'
  if (options.addresses !== null) return 'it has no set of addresses that can change'
  if (options.samplePercent < 100) return 'it takes no sample of flows'
  return whyNotLive(namesOf(options)[0] ?? 'any')
}

/** Bytes handed over at once: a block more than fills it. */
const CHUNK_BYTES = 256 << 10

class LibpcapCapture implements Capture {
  readonly name = 'libpcap'
  private readonly lives: readonly Live[]
  private readonly sink: CaptureSink
  private readonly writer = new PcapngWriter()
  private readonly chunk = new Uint8Array(2 * CHUNK_BYTES)
  private readonly pumps: Promise<void>[]
  private ended = false

  constructor(options: CaptureOptions, lives: readonly Live[], sink: CaptureSink) {
    this.lives = lives
    this.sink = sink
    this.writer.section(null)
    for (const [id, name] of namesOf(options).entries()) {
      const { linkType } = lives[id]!
      this.writer.interface(name, linkType)
      sink.interface({ id, name, linkType, index: null, namespace: null })
    }
    if (!options.own) sink.remark('libpcap: packets of Hookline itself are captured too')
    if (options.deduplicate) sink.remark('libpcap: packets seen at two interfaces are captured twice')
    sink.remark('libpcap: what the kernel drops is not known')
    this.pumps = lives.map((live, id) => this.pump(live, id))
  }

  retarget(addresses: readonly string[] | null): void {
    if (addresses !== null) throw new Fault('CANNOT_RETARGET', 'libpcap has no set of addresses that can change')
  }

  count(): void {
    for (const [id, live] of this.lives.entries()) this.sink.counters(id, countersOf(live))
  }

  async stop(): Promise<void> {
    if (this.ended) return
    this.ended = true
    for (const live of this.lives) live.stop()
    await Promise.all(this.pumps)
    this.count()
    await Promise.all(this.lives.map(live => live.close()))
  }

  private async pump(live: Live, id: number): Promise<void> {
    try {
      while (await live.load()) this.take(live, id)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      if (this.ended) return
      this.ended = true
      this.sink.fault(error)
    }
  }

  /** Everything that is here. */
  private take(live: Live, id: number): void {
    let [used, count] = [0, 0]
    const hand = () => {
      if (count > 0) this.sink.packets(this.chunk.subarray(0, used), count)
      used = count = 0
    }
    for (let packet = live.next(); packet !== null; packet = live.next()) {
      packet.interfaceId = id
      const block = this.writer.packet(packet)
      if (used + block.length > this.chunk.length) hand()
      this.chunk.set(block, used)
      used += block.length
      count++
    }
    hand()
  }
}

function namesOf({ interfaces }: CaptureOptions): readonly string[] {
  return interfaces === 'any' ? ['any'] : interfaces
}

function countersOf({ packets, dropped }: Live): CaptureCounters {
  return { ...noCounters(), seen: packets + dropped, passed: packets, overrun: dropped }
}
