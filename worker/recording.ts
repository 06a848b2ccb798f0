/**
 * Packets that are kept and can be read again: a capture file, or a ring. From the name of a stream to its packets, and
 * from the id of an item to those that carried it.
 */
import type { Connection } from '../core/connections.ts'
import { Fault } from '../core/fault.ts'
import { type ItemPackets, ItemSearch } from '../core/item-packets.ts'
import type { Packet } from '../core/packet.ts'
import type { Protocols } from '../core/registry.ts'
import { parseStreamName, type StreamName } from '../core/stream-name.ts'
import { FRAGMENTS_BEFORE, StreamPackets } from '../core/stream-packets.ts'
import { between, type FlowFilter } from './flow.ts'
import { openReader } from './reader.ts'
import { openCapture } from './sources/file.ts'

export interface Recording {
  /** Reading few flows costs less than reading all. */
  indexed: boolean
  /** Times in ns since 1970. More may come than was asked for. */
  read(wanted: { from: bigint; to: bigint | null; filter: FlowFilter | null }): Promise<Reading>
}

/** Ask `next` until it says null, then `load`, until that says false. */
export interface Reading {
  load(): Promise<boolean>
  next(): Packet | null
  close(): void
}

export function fileRecording(path: string): Recording {
  return { indexed: false, read: () => openCapture(path) }
}

export function ringRecording(directory: string): Recording {
  return { indexed: true, read: async wanted => openReader(directory, wanted) }
}

/** Every packet of the stream, in order, valid during the call; false: its beginning is not there. */
export async function readStream(
  recording: Recording,
  stream: string,
  own: (packet: Packet) => void,
): Promise<boolean> {
  return pick(recording, nameOf(stream), { own })
}

/** Numbers among the packets of the stream; null: it is not there. `protocols` are those that the item was found with. */
export async function findItem(
  recording: Recording,
  stream: string,
  index: number,
  protocols: Protocols,
  keepBodies: number,
): Promise<ItemPackets | null> {
  const search = new ItemSearch(stream, index, protocols, keepBodies)
  /** Errors of ICMP are read with them, and are none of them. */
  const numbers: number[] = []
  let count = 0
  await pick(recording, nameOf(stream), {
    own(packet) {
      numbers.push(count++)
      search.packet(packet)
    },
    quote(packet) {
      numbers.push(-1)
      search.packet(packet)
    },
  })
  search.finish()
  const { found } = search
  return found === null
    ? null
    : { packets: found.packets.map(number => numbers[number]!), first: numbers[found.first]! }
}

function nameOf(stream: string): StreamName {
  const name = parseStreamName(stream)
  if (name === null)
    throw new Fault('STREAM_NAME', `expected a stream's name, as 1700000000123456789_5f3a9c01.pcap, found "${stream}"`)
  return name
}

async function pick(
  recording: Recording,
  name: StreamName,
  taker: { own(packet: Packet): void; quote?(packet: Packet): void },
): Promise<boolean> {
  const began = nanosecondsOf(name)
  const from = began - BigInt(FRAGMENTS_BEFORE) * 1_000_000_000n
  let filter: FlowFilter | null = null
  if (recording.indexed) {
    const first = await locate(recording, name, began)
    if (first === null) return false
    filter = flowOf(first)
  }
  const picker = new StreamPackets(name, taker)
  await readAll(recording, { from, to: null, filter }, picker)
  return picker.found
}

/** Who the ends are, the first packet says; where it came in fragments, those before it too. */
async function locate(recording: Recording, name: StreamName, began: bigint): Promise<Connection | null> {
  for (const before of [0, FRAGMENTS_BEFORE]) {
    const picker = new StreamPackets(name, { own() {} })
    const from = began - BigInt(before) * 1_000_000_000n
    await readAll(recording, { from, to: began + 1n, filter: null }, picker)
    if (picker.connection !== null) return picker.connection
  }
  return null
}

async function readAll(
  recording: Recording,
  wanted: { from: bigint; to: bigint | null; filter: FlowFilter | null },
  picker: StreamPackets,
): Promise<void> {
  const reading = await recording.read(wanted)
  try {
    do {
      for (let packet = reading.next(); packet !== null; packet = reading.next()) {
        picker.packet(packet)
        if (picker.done) return
      }
    } while (await reading.load())
  } finally {
    reading.close()
  }
}

/** Of a connection, and all ICMP: what quotes it comes from anybody on the way. */
function flowOf({ transport, words, port, otherPort }: Connection): FlowFilter {
  const protocol = PROTOCOLS[transport]
  const ports = transport === 'icmp' || transport === 'icmpv6' ? [0, 0] : [port, otherPort]
  const own = between(
    { address: words.subarray(0, 4), port: ports[0]! },
    { address: words.subarray(4), port: ports[1]! },
    protocol,
  )
  return {
    strangers: false,
    wants: flow => flow.protocol === PROTOCOLS.icmp || flow.protocol === PROTOCOLS.icmpv6 || own.wants(flow),
  }
}

const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const

function nanosecondsOf({ seconds, nanoseconds }: StreamName): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
}
