/** Names of addresses, by the answers of DNS over UDP that packets hold. */
import { readAnswer } from '../core/dissectors/dns.ts'
import { decode, Frame } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'
import type { FlowFilter } from './flow.ts'

export interface AddressName {
  address: string
  name: string
}

/** Packets that may hold such answers. */
export const DNS_FLOWS: FlowFilter = {
  wants: ({ lowerPort, upperPort, protocol }) => protocol === UDP && (lowerPort === PORT || upperPort === PORT),
  strangers: false,
}

const UDP = 17
const UDP_HEADER = 8
const PORT = 53
/** A resolver under attack answers with addresses without end. */
const MAX_NAMES = 50_000
/** One address may serve thousands of hosts; the first ones will do. */
const MAX_NAMES_OF_ADDRESS = 4
/** Most answers are given again and again; of so many it is remembered that they were read. */
const MAX_REMEMBERED = 200_000

export class DnsNames {
  private readonly frame = new Frame()
  private readonly seen = new Set<number>()
  private readonly found = new Map<string, Set<string>>()
  private count = 0

  packet(packet: Packet): void {
    const { frame, seen } = this
    if (decode(packet, frame) !== 'ok' || frame.protocol !== UDP) return
    const { bytes, start, end } = frame
    const message = start + UDP_HEADER
    // An answer: from port 53, with its first bit of flags set.
    if (end - message < 12 || bytes[start] !== 0 || bytes[start + 1] !== PORT || bytes[message + 2]! < 0x80) return
    // Every asker chooses an id of its own.
    const hash = hashOf(bytes, message + 2, end)
    if (seen.has(hash)) return
    if (seen.size < MAX_REMEMBERED) seen.add(hash)
    const response = readAnswer(bytes, message, end)
    // Behind an alias the address has the name that was asked for.
    const asked = response?.questions[0]?.name
    for (const { ip, name } of response?.answers ?? []) if (typeof ip === 'string') this.add(ip, asked ?? name)
  }

  /** In the order in which they were heard. */
  names(): AddressName[] {
    return [...this.found].flatMap(([address, names]) => [...names].map(name => ({ address, name })))
  }

  private add(ip: string, name: string): void {
    if (name === '' || this.count >= MAX_NAMES) return
    const names = this.found.get(ip) ?? new Set()
    if (names.has(name) || names.size >= MAX_NAMES_OF_ADDRESS) return
    names.add(name)
    this.found.set(ip, names)
    this.count++
  }
}

/** FNV-1a with 32 bits, and the length. */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return (end - start) * 0x100000000 + (hash >>> 0)
}
