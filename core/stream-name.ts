/**
 * Names of connections, each a function of packets alone: when its first packet was captured, and a hash of its ends.
 *
 *   1700000000123456789_5f3a9c01.pcap       ns since 1970, hash(8 hexadecimal digits)
 *   1700000000123456789_77c0ffee_udp.pcap   every transport but TCP is named
 *
 * Names of one capture sort by time, and a name finds its packets wherever they are recorded.
 */
import type { Transport } from './dissector.ts'
import { constant, type JsonWriter } from './json-writer.ts'

export interface StreamName {
  /** Of the first packet; of one that came in fragments, of the fragment that completed it. */
  seconds: number
  nanoseconds: number
  /** As `streamHash` makes it. */
  hash: number
  transport: Transport
}

export function formatStreamName({ seconds, nanoseconds, hash, transport }: StreamName): string {
  const time = `${String(seconds).padStart(10, '0')}${String(nanoseconds).padStart(9, '0')}`
  return `${time}_${hash.toString(16).padStart(8, '0')}${transport === 'tcp' ? '' : `_${transport}`}.pcap`
}

/** As `formatStreamName`, without making strings: most flows of datagrams are told of once. */
export function writeStreamName(
  out: JsonWriter,
  seconds: number,
  nanoseconds: number,
  hash: number,
  transport: Transport,
): void {
  if (seconds >= 0 && seconds <= MAX_INT32) out.digits(seconds, 10)
  else out.ascii(String(seconds).padStart(10, '0'))
  out.digits(nanoseconds, 9)
  out.byte(UNDERSCORE)
  out.hex(hash, 8)
  out.raw(ENDINGS[transport])
}

const MAX_INT32 = 0x7fffffff
const UNDERSCORE = 0x5f
const ENDINGS: Readonly<Record<Transport, Uint8Array>> = {
  tcp: constant('.pcap'),
  udp: constant('_udp.pcap'),
  icmp: constant('_icmp.pcap'),
  icmpv6: constant('_icmpv6.pcap'),
  sctp: constant('_sctp.pcap'),
}

/** null: no name of a stream. */
export function parseStreamName(text: string): StreamName | null {
  const found = NAME.exec(text)
  if (found === null) return null
  const [, seconds, nanoseconds, hash, transport = 'tcp'] = found
  return {
    seconds: Number(seconds),
    nanoseconds: Number(nanoseconds),
    hash: Number.parseInt(hash!, 16),
    transport: transport as Transport,
  }
}

const TRANSPORTS: readonly Transport[] = ['tcp', 'udp', 'icmp', 'icmpv6', 'sctp']
const NAME = new RegExp(`^(\\d{10,})(\\d{9})_([0-9a-f]{8})(?:_(${TRANSPORTS.slice(1).join('|')}))?\\.pcap$`)

/** `worker/stream-index`, as items are numbered; null: no id of an item. */
export function parseItemId(id: string): { worker: string; stream: string; index: number } | null {
  const found = /^(.*)\/([^/]+)-(\d{1,15})$/s.exec(id)
  if (found === null) return null
  const [, worker, stream, index] = found
  return { worker: worker!, stream: stream!, index: Number(index) }
}

/** Of both ends; `scope` is that of the first packet. */
export function streamHash(ends: number, transport: Transport, scope: number): number {
  return mix(ends ^ Math.imul(scope, 0x9e3779b1), TRANSPORTS.indexOf(transport)) >>> 0
}

/**
 * Of the addresses in `words` (as Frame has them) and their ports: the same for both directions, and mixed so that
 * neighbouring ports and addresses spread. 30 bits.
 */
export function endsHash(words: Int32Array, source: number, destination: number): number {
  const w = words
  const a = mix(w[0]! ^ Math.imul(w[1]!, 31) ^ Math.imul(w[2]!, 17) ^ w[3]!, source)
  const b = mix(w[4]! ^ Math.imul(w[5]!, 31) ^ Math.imul(w[6]!, 17) ^ w[7]!, destination)
  // Tables take the lower bits: where one end is the same for all, they have to differ by every bit of the other.
  const both = Math.imul((a ^ b) + Math.imul(a & b, 0x9e3779b1), 0xc2b2ae35)
  return (both ^ (both >>> 15)) & 0x3fffffff
}

function mix(address: number, port: number): number {
  let h = Math.imul(address ^ (port << 16) ^ port, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
