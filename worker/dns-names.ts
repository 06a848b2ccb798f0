/** Names of addresses, by the answers of DNS that packets hold. */
import type { Batch } from '../core/batch.ts'
import { dissector as dns } from '../core/dissectors/dns.ts'
import type { Packet } from '../core/packet.ts'
import { Pipeline } from '../core/pipeline.ts'
import type { FlowFilter } from './flow.ts'

export interface AddressName {
  address: string
  name: string
}

/** Packets that may hold such answers. */
export const DNS_FLOWS: FlowFilter = {
  wants: ({ lowerPort, upperPort, portsKnown }) => lowerPort === PORT || upperPort === PORT || !portsKnown,
  strangers: false,
}

const PORT = 53
/** A resolver under attack answers with addresses without end. */
const MAX_NAMES = 50_000
/** One address may serve thousands of hosts; the first ones will do. */
const MAX_NAMES_OF_ADDRESS = 4

export class DnsNames {
  private readonly pipeline: Pipeline
  private readonly found = new Map<string, Set<string>>()
  private count = 0

  constructor() {
    const protocols = { dissectors: [dns], refiners: [], observers: [], faces: [dns] }
    this.pipeline = new Pipeline({ protocols, worker: '', node: null, keepBodies: 0 }, batch => this.read(batch))
  }

  packet(packet: Packet): void {
    this.pipeline.packet(packet)
  }

  /** After the last packet. In the order in which they were heard. */
  names(): AddressName[] {
    this.pipeline.finish()
    return [...this.found].flatMap(([address, names]) => [...names].map(name => ({ address, name })))
  }

  private read({ bytes, length }: Batch): void {
    for (const line of Buffer.from(bytes.buffer, bytes.byteOffset, length).toString().split('\n')) {
      if (line === '') continue
      const { request, response } = JSON.parse(line) as DnsItem
      for (const { ip, name } of response?.answers ?? []) {
        if (typeof ip !== 'string' || ip === '') continue
        // Behind an alias the address has the name that was asked for.
        this.add(ip, request?.questions?.[0]?.name ?? name)
      }
    }
  }

  private add(address: string, name: string): void {
    const plain = name.replace(/\.$/, '')
    if (plain === '' || this.count >= MAX_NAMES) return
    const names = this.found.get(address) ?? new Set()
    if (names.has(plain) || names.size >= MAX_NAMES_OF_ADDRESS) return
    names.add(plain)
    this.found.set(address, names)
    this.count++
  }
}

interface DnsItem {
  request: { questions?: { name: string }[] } | null
  response: { answers?: { name: string; ip?: string | null }[] } | null
}
