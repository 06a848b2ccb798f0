/**
 * Packets that are kept and can be read again: a capture file, or a ring. From the name of a stream to its packets, and
 * from the id of an item to those that carried it.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Connection, Instant } from '../core/connections.ts'
import { Fault } from '../core/fault.ts'
import { ItemSearch, type Seeker } from '../core/item-packets.ts'
import type { Packet } from '../core/packet.ts'
import type { Protocols } from '../core/registry.ts'
import { endsHash, parseStreamName, type StreamName, streamHash } from '../core/stream-name.ts'
import { FRAGMENTS_BEFORE, StreamPackets, type StreamTaker } from '../core/stream-packets.ts'
import { between, type FlowFilter } from './flow.ts'
import { openReader } from './reader.ts'
import { openCapture } from './sources/file.ts'

export interface Recording {
  /** Reading few flows costs less than reading all. */
  indexed: boolean
  /** More may come than was asked for. */
  read(wanted: Wanted): Promise<Reading>
}

/** Times in ns since 1970. */
export interface Wanted {
  from: bigint
  to: bigint | null
  filter: FlowFilter | null
}

interface Place extends Wanted {
  begin: 'first packet' | 'middle'
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

/** Every packet of the stream that is there, in order, valid during the call; false: there are none. */
export async function readStream(
  recording: Recording,
  stream: string,
  own: (packet: Packet) => void,
): Promise<boolean> {
  const name = nameOf(stream)
  const wanted = (await locate(recording, name)) ?? (await locateRest(recording, name))
  return wanted !== null && pick(recording, name, wanted, { own })
}

export interface Found {
  /** What to read, and which of the packets that come then: their numbers, from 0. */
  wanted: Wanted
  numbers: ReadonlySet<number>
  /** The one with the first byte. */
  first: number
  /** When the first and the last of them were captured. */
  begin: Instant
  end: Instant
  /** false: its first packets have left the ring. */
  whole: boolean
}

/** null: it is not there. */
export async function findStream(recording: Recording, stream: string): Promise<Found | null> {
  const name = nameOf(stream)
  const wanted = (await locate(recording, name)) ?? (await locateRest(recording, name))
  if (wanted === null) return null
  const numbers: number[] = []
  let begin: Instant | null = null
  let end: Instant = name
  await pick(recording, name, wanted, {
    own({ seconds, nanoseconds }, number) {
      numbers.push(number)
      end = { seconds, nanoseconds }
      begin ??= end
    },
  })
  if (begin === null) return null
  return { wanted, numbers: new Set(numbers), first: numbers[0]!, begin, end, whole: wanted.begin === 'first packet' }
}

/** The packets that carried this item; null: it is not there. `protocols` and `seeker` are those that it was found with. */
export async function findItem(
  recording: Recording,
  { stream, index }: { stream: string; index: number },
  protocols: Protocols,
  keepBodies: number,
  seeker: Seeker | null = null,
): Promise<Found | null> {
  const name = nameOf(stream)
  const wanted = await locate(recording, name)
  if (wanted === null) return null
  const search = new ItemSearch(stream, index, protocols, keepBodies, seeker?.claimant)
  /** Of what was searched; errors of ICMP are read too, and are no part of it. */
  const numbers: number[] = []
  const taker: StreamTaker = {
    own(packet, number) {
      numbers.push(number)
      search.packet(packet)
    },
    quote(packet) {
      numbers.push(-1)
      search.packet(packet)
    },
  }
  await pick(recording, name, wanted, taker, () => seeker?.relief())
  search.finish()
  if (search.found === null && seeker !== null) search.tell(await seeker.found())
  const { found } = search
  if (found === null) return null
  const { packets, first, begin, end } = found
  return {
    wanted,
    numbers: new Set(packets.map(number => numbers[number]!)),
    first: numbers[first]!,
    begin,
    end,
    whole: true,
  }
}

export function nameOf(stream: string): StreamName {
  const name = parseStreamName(stream)
  if (name === null)
    throw new Fault('STREAM_NAME', `expected a stream's name, as 1700000000123456789_5f3a9c01.pcap, found "${stream}"`)
  return name
}

/** Where the packets of a stream are; null: its first packet is not there. */
async function locate(recording: Recording, name: StreamName): Promise<Place | null> {
  const began = nanosecondsOf(name)
  const from = began - FRAGMENTS_BEFORE_NS
  if (!recording.indexed) return { from, to: null, filter: null, begin: 'first packet' }
  // Who the ends are, the first packet says; where it came in fragments, those before it too.
  for (const since of [began, from]) {
    const picker = new StreamPackets(name, { own() {} })
    await readAll(recording, { from: since, to: began + 1n, filter: null }, picker)
    if (picker.connection !== null) return { from, to: null, filter: flowOf(picker.connection), begin: 'first packet' }
  }
  return null
}

/** What is left of a stream whose first packets have left the ring; null: nothing, or they would be there. */
async function locateRest(recording: Recording, name: StreamName): Promise<Place | null> {
  // A flow of datagrams has no handshake that tells it from the next one.
  if (!recording.indexed || name.transport !== 'tcp') return null
  const began = nanosecondsOf(name)
  const reading = await recording.read({ from: 0n, to: began, filter: null })
  try {
    while (await reading.load()) if (reading.next() !== null) return null
  } finally {
    reading.close()
  }
  return { from: began, to: null, filter: hashedAs(name.hash), begin: 'middle' }
}

/** By the hash alone: whoever else has the same is told apart later, by a handshake or a tunnel that they have not. */
function hashedAs(hash: number): FlowFilter {
  return {
    strangers: false,
    wants({ words, lowerPort, upperPort, protocol, portsKnown }) {
      return (
        protocol === PROTOCOLS.tcp && portsKnown && streamHash(endsHash(words, lowerPort, upperPort), 'tcp', 0) === hash
      )
    },
  }
}

export const FRAGMENTS_BEFORE_NS = BigInt(FRAGMENTS_BEFORE) * 1_000_000_000n

async function pick(
  recording: Recording,
  name: StreamName,
  wanted: Place,
  taker: StreamTaker,
  relief: () => Promise<void> | undefined = () => undefined,
): Promise<boolean> {
  const picker = new StreamPackets(name, taker, wanted.begin)
  await readAll(recording, wanted, picker, relief)
  return picker.found
}

async function readAll(
  recording: Recording,
  wanted: Wanted,
  picker: StreamPackets,
  relief: () => Promise<void> | undefined = () => undefined,
): Promise<void> {
  const reading = await recording.read(wanted)
  try {
    do {
      for (let packet = reading.next(); packet !== null; packet = reading.next()) {
        picker.packet(packet)
        if (picker.done) return
      }
      // Reading a ring never waits: whoever else lives in this process has a turn here.
      await breathe()
      await relief()
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

export function nanosecondsOf({ seconds, nanoseconds }: Instant): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
}
