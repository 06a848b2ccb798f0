/** A window of time in one or several rings, held by pins while it is read. */
import { hostname } from 'node:os'
import { resolve, sep } from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import { Fault } from '../core/fault.ts'
import { ItemMarks } from '../core/item-marks.ts'
import type { Packet } from '../core/packet.ts'
import type { Protocols } from '../core/registry.ts'
import { PacketFilter } from './bpf/expression.ts'
import { narrow } from './bpf/narrowing.ts'
import { type AddressName, DNS_FLOWS, DnsNames } from './dns-names.ts'
import type { ExportInput } from './export.ts'
import type { FlowFilter } from './flow.ts'
import { ClientRandoms } from './key-log.ts'
import { type HeldPin, setPin } from './pins.ts'
import { openReader, type Reader } from './reader.ts'
import { listSegments } from './segment.ts'

export interface Window {
  /** ns since 1970, inclusive; null: from the oldest packet on. */
  from: bigint | null
  /** ns since 1970, exclusive; null: up to the newest packet. */
  to: bigint | null
  /** pcap-filter(7); null: all packets. */
  filter: string | null
}

/** How long segments stay held when whoever holds them has died. ms. */
const PIN_MS = 60_000

export class RingWindow {
  /** One for each ring, in their order. */
  readonly inputs: readonly ExportInput[]
  /** Names of the workers whose rings these are, after their folders; no two are the same. */
  readonly workers: readonly string[]
  private readonly directories: readonly string[]
  private readonly window: Window
  /** What the index can tell of the filter, and what each packet has to be asked. */
  private readonly flows: FlowFilter | null
  private readonly wants: ((packet: Packet) => boolean) | null
  private readonly readers: Reader[] = []
  private readonly pins: HeldPin[] = []
  private readonly renewal: NodeJS.Timeout

  /** `holder` says to people who holds the rings' segments. Throws a Fault when one of them is no ring. */
  constructor(rings: readonly string[], window: Window, holder: string) {
    this.window = window
    this.directories = rings.map(ring => resolve(ring))
    this.workers = unlike(this.directories.map(workerOf))
    const filter = window.filter === null ? null : new PacketFilter(window.filter)
    this.flows = window.filter === null ? null : narrow(window.filter)
    this.wants = filter === null ? null : packet => filter.wants(packet)
    for (const directory of this.directories) checkRing(directory)
    try {
      for (const directory of this.directories) {
        this.pin(directory, holder)
        this.readers.push(openReader(directory, { from: window.from, to: window.to, filter: this.flows }))
      }
    } catch (error) {
      this.close()
      throw error
    }
    this.renewal = setInterval(() => this.renew(), PIN_MS / 3)
    const { wants } = this
    const several = rings.length > 1
    this.inputs = this.readers.map((reader, i) => ({ reader, wants, worker: several ? this.workers[i]! : null }))
  }

  /** For each ring, names that DNS gave to addresses within the window, whatever the filter leaves of it. */
  async names(): Promise<AddressName[][]> {
    const { from, to } = this.window
    const all: AddressName[][] = []
    for (const directory of this.directories) {
      const found = new DnsNames()
      const reader = openReader(directory, { from, to, filter: DNS_FLOWS })
      while (await reader.load()) for (let p = reader.next(); p !== null; p = reader.next()) found.packet(p)
      reader.close()
      all.push(found.names())
    }
    return all
  }

  /**
   * For each ring, in which packets of the window items begin; `worker` as their ids have it, null: after its folder.
   * What a connection said before the window nobody sees here: its items are numbered from the window's beginning.
   */
  async marks(
    worker: string | null,
    protocols: Protocols,
    keepBodies: number,
    signal: AbortSignal,
  ): Promise<ItemMarks[]> {
    const all = this.workers.map(name => new ItemMarks(worker ?? name, protocols, keepBodies))
    await this.show(all, signal)
    return all
  }

  /** For each ring, the handshakes of TLS in its packets, by their clients' random numbers. */
  async handshakes(protocols: Protocols, signal: AbortSignal): Promise<ReadonlySet<string>[]> {
    const all = this.workers.map(() => new ClientRandoms(protocols))
    await this.show(all, signal)
    return all.map(({ found }) => found)
  }

  /** The packets of each ring to one of these. */
  private async show(
    takers: readonly { packet(packet: Packet): void; finish(): void }[],
    signal: AbortSignal,
  ): Promise<void> {
    const { from, to } = this.window
    for (const [i, taker] of takers.entries()) {
      const reader = openReader(this.directories[i]!, { from, to, filter: this.flows })
      while (await reader.load()) {
        for (let p = reader.next(); p !== null; p = reader.next()) if (this.wants?.(p) !== false) taker.packet(p)
        // Nothing here waits: Ctrl-C must be heard all the same.
        await breathe()
        if (signal.aborted) break
      }
      reader.close()
      taker.finish()
    }
  }

  /** For each ring, when its oldest packet was captured, ns since 1970; null: it holds none. */
  async beginnings(): Promise<(bigint | null)[]> {
    return Promise.all(this.directories.map(firstOf))
  }

  close(): void {
    clearInterval(this.renewal)
    for (const reader of this.readers) reader.close()
    for (const pin of this.pins) pin.release()
  }

  private pin(directory: string, holder: string): void {
    const now = Date.now()
    const { from, to } = this.window
    try {
      this.pins.push(setPin(directory, { holder, from, to, created: now, expires: now + PIN_MS }))
    } catch {
      // Of a ring that we may only read. If it drops something, the reader knows.
    }
  }

  private renew(): void {
    for (const pin of this.pins) pin.renew(Date.now() + PIN_MS)
  }
}

function checkRing(directory: string): void {
  let segments = 0
  try {
    segments = listSegments(directory).length
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const found = code === 'ENOENT' ? 'nothing' : code === 'ENOTDIR' ? 'a file' : message
    throw new Fault('RING_MISSING', `expected the folder of a ring at ${directory}, found ${found}`)
  }
  if (segments === 0) throw new Fault('RING_MISSING', `expected a ring, found none of its segments in ${directory}`)
}

async function firstOf(directory: string): Promise<bigint | null> {
  const reader = openReader(directory, {})
  try {
    while (await reader.load()) {
      const packet = reader.next()
      if (packet !== null) return BigInt(packet.seconds) * 1_000_000_000n + BigInt(packet.nanoseconds)
    }
    return null
  } finally {
    reader.close()
  }
}

/** A ring lies in `ring` of a folder that says more, or in the usual place of this machine. */
function workerOf(directory: string): string {
  const telling = directory.split(sep).findLast(folder => folder !== 'ring')
  return telling === undefined || telling === '' || telling === 'hookline' ? hostname() : telling
}

/** `node-a`, `node-a-2`. */
function unlike(names: readonly string[]): string[] {
  const found: string[] = []
  for (const name of names) {
    let one = name
    for (let n = 2; found.includes(one); n++) one = `${name}-${n}`
    found.push(one)
  }
  return found
}
