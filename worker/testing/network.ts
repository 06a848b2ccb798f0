/**
 * Network namespaces and veth pairs for tests of capture, made and taken down by `ip`; frames sent into them, and a sink that
 * remembers what a source hands over. Nothing in the namespaces speaks by itself: what is counted was sent.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import {
  type Capture,
  type CaptureCounters,
  type CapturedInterface,
  type CaptureOptions,
  type CaptureSink,
  type CaptureSource,
  noCounters,
} from '../capture.ts'
import { Interfaces } from '../interfaces.ts'
import { isAllowed, loadNative, whyNoNative } from '../native.ts'

/** What keeps a test from making networks, in words; null: nothing. */
export function whyNoNetworks(): string | null {
  const missing = whyNoNative()
  if (missing !== null) return missing
  if (!isAllowed('sysAdmin') || !isAllowed('netAdmin')) return 'making network namespaces needs root'
  try {
    execFileSync('ip', ['-V'], { stdio: 'ignore' })
    return null
  } catch {
    return '`ip` is missing: install iproute2'
  }
}

export class Network {
  private readonly prefix: string
  private readonly made: string[] = []
  private readonly senders: Sender[] = []

  constructor(label: string) {
    this.prefix = `hl-${label}-${process.pid}`
  }

  /** A namespace of that name within this network; its path. */
  add(name: string): string {
    const full = `${this.prefix}-${name}`
    ip('netns', 'add', full)
    this.made.push(full)
    for (const which of ['all', 'default'])
      this.run(name, 'sh', '-c', `echo 1 >/proc/sys/net/ipv6/conf/${which}/disable_ipv6`)
    this.run(name, 'ip', 'link', 'set', 'lo', 'up')
    return this.path(name)
  }

  path(name: string): string {
    return `/run/netns/${this.prefix}-${name}`
  }

  /** Both ends are up when it returns. */
  pair(first: [namespace: string, link: string], second: [namespace: string, link: string]): void {
    const [from, to] = [first, second].map(([namespace]) => `${this.prefix}-${namespace}`)
    ip('-n', from!, 'link', 'add', first[1], 'type', 'veth', 'peer', 'name', second[1], 'netns', to!)
    ip('-n', from!, 'link', 'set', first[1], 'up')
    ip('-n', to!, 'link', 'set', second[1], 'up')
  }

  /** `ip` within the namespace. */
  ip(name: string, ...words: string[]): void {
    ip('-n', `${this.prefix}-${name}`, ...words)
  }

  run(name: string, ...words: string[]): string {
    return execFileSync('ip', ['netns', 'exec', `${this.prefix}-${name}`, ...words], { encoding: 'utf8' })
  }

  sender(name: string, link: string): Sender {
    const sender = new Sender(this.path(name), link)
    this.senders.push(sender)
    return sender
  }

  close(): void {
    for (const sender of this.senders.splice(0)) sender.close()
    for (const name of this.made.splice(0)) ip('netns', 'delete', name)
  }
}

/** Sends frames as they are. */
export class Sender {
  private readonly native = loadNative<{
    openSocket(namespace: number, domain: number, type: number, protocol: number): number
    bindSocket(socket: number, address: Uint8Array): number
    sendSocket(socket: number, bytes: Uint8Array): number
  }>()
  private readonly socket: number

  constructor(namespace: string, link: string) {
    const descriptor = openSync(namespace, 'r')
    const interfaces = new Interfaces(descriptor)
    const { index } = interfaces.list().find(({ name }) => name === link)!
    interfaces.close()
    this.socket = this.native.openSocket(descriptor, AF_PACKET, SOCK_RAW, 0)
    closeSync(descriptor)
    const address = new DataView(new ArrayBuffer(20))
    address.setUint16(0, AF_PACKET, true)
    address.setInt32(4, index, true)
    if (this.native.bindSocket(this.socket, new Uint8Array(address.buffer)) < 0)
      throw new Error(`cannot send on ${link}`)
  }

  send(frame: Uint8Array): void {
    if (this.native.sendSocket(this.socket, frame) !== frame.length) throw new Error('the kernel did not take a frame')
  }

  close(): void {
    closeSync(this.socket)
  }
}

const AF_PACKET = 17
const SOCK_RAW = 3

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'inherit'] })
}

export interface Seen {
  id: number
  ns: bigint
  /** On the wire. */
  length: number
  bytes: Buffer
  /** epb_flags: 1 is inbound, 2 outbound; 0 where nothing is said. */
  flags: number
}

/** A capture whose packets are remembered. */
export class Watcher {
  static readonly everything: CaptureOptions = {
    interfaces: 'any',
    namespace: null,
    filter: '',
    addresses: null,
    promiscuous: true,
    bufferBytes: 16 << 20,
    fanout: 1,
    own: true,
    samplePercent: 100,
    deduplicate: false,
  }
  readonly interfaces: CapturedInterface[] = []
  readonly packets: Seen[] = []
  readonly counted = new Map<number, CaptureCounters>()
  readonly remarks: string[] = []
  readonly faults: Error[] = []
  /** As the source counted them. */
  handed = 0
  /** false: packets are only counted. */
  remember = true
  capture!: Capture

  static async open(source: CaptureSource, options: Partial<CaptureOptions>): Promise<Watcher> {
    const watcher = new Watcher()
    watcher.capture = await source.open({ ...Watcher.everything, ...options }, watcher.sink())
    return watcher
  }

  /** The sum over all interfaces, or the counters of one. */
  counters(name?: string): CaptureCounters {
    const sum = noCounters()
    for (const [id, counters] of this.counted) {
      if (name !== undefined && this.interfaces[id]?.name !== name) continue
      for (const key of Object.keys(sum) as (keyof CaptureCounters)[]) sum[key] += counters[key]
    }
    return sum
  }

  /** Stops, and checks that everything that was seen is accounted for. */
  async stop(): Promise<CaptureCounters> {
    await this.capture.stop()
    for (const { seen, freezes: _, ...fates } of this.counted.values()) {
      const sum = Object.values(fates).reduce((total, count) => total + count, 0)
      if (sum !== seen) throw new Error(`${seen} packets were seen, and ${sum} are accounted for`)
    }
    const sum = this.counters()
    if (this.handed !== sum.passed)
      throw new Error(`${this.handed} packets were handed over, ${sum.passed} were counted`)
    return sum
  }

  private sink(): CaptureSink {
    return {
      interface: described => {
        if (described.id !== this.interfaces.length) throw new Error(`interface ${described.id} comes out of turn`)
        this.interfaces.push(described)
      },
      packets: (blocks, count) => this.take(blocks, count),
      counters: (id, counters) => this.counted.set(id, { ...counters }),
      remark: text => this.remarks.push(text),
      fault: fault => this.faults.push(fault),
    }
  }

  private take(blocks: Uint8Array, count: number): void {
    this.handed += count
    if (!this.remember) return
    const bytes = Buffer.from(blocks)
    let found = 0
    for (let at = 0; at < bytes.length; found++) {
      const size = bytes.readUInt32LE(at + 4)
      const id = bytes.readUInt32LE(at + 8)
      if (bytes.readUInt32LE(at) !== 6 || size % 4 !== 0 || bytes.readUInt32LE(at + size - 4) !== size)
        throw new Error(`no Enhanced Packet Block at ${at}`)
      if (this.interfaces[id] === undefined) throw new Error(`interface ${id} was not described`)
      const captured = bytes.readUInt32LE(at + 20)
      const options = at + 28 + ((captured + 3) & ~3)
      this.packets.push({
        id,
        flags:
          options + 8 < at + size && bytes.readUInt16LE(options) === EPB_FLAGS ? bytes.readUInt32LE(options + 4) : 0,
        ns: (BigInt(bytes.readUInt32LE(at + 12)) << 32n) | BigInt(bytes.readUInt32LE(at + 16)),
        length: bytes.readUInt32LE(at + 24),
        bytes: bytes.subarray(at + 28, at + 28 + captured),
      })
      at += size
    }
    if (found !== count) throw new Error(`${count} packets were announced, ${found} came`)
  }
}

const EPB_FLAGS = 2
