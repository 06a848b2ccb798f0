/**
 * Packets of one or several rings in order of time, as one pcapng or pcap, written as they are read. Of packets with the
 * same time those of the first ring come first, as mergecap has it.
 */
import type { Packet } from '../core/packet.ts'
import { PcapWriter } from '../core/pcap.ts'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import { InOrder, isEarlier } from './in-order.ts'
import type { Reader } from './reader.ts'
import { PACKET_BYTES } from './segment.ts'

export interface ExportInput {
  reader: Reader
  /** Which of its packets; null: all that it gives. */
  wants: ((packet: Packet) => boolean) | null
  /** Of the worker whose ring it is, to tell interfaces of several apart; null: there is one worker only. */
  worker: string | null
}

export interface ExportOptions {
  format: 'pcap' | 'pcapng'
  /** Says of the file what it is. */
  title: string | null
  names: readonly { address: string; name: string }[]
  /** `kind` is the four letters of pcapng: `TLSK` for a TLS key log. */
  secrets: readonly { kind: string; text: string }[]
  /** What to write beside a packet of that input; null: nothing. A pcap has no place for it. */
  comment: ((packet: Packet, input: number) => string | null) | null
  /** Ends it early, with what was written so far. */
  signal: AbortSignal | null
}

export const PLAIN: Omit<ExportOptions, 'format'> = {
  title: null,
  names: [],
  secrets: [],
  comment: null,
  signal: null,
}

export interface Exported {
  packets: number
  /** Of the file. */
  bytes: number
  /** ns since 1970; null without packets. */
  first: bigint | null
  last: bigint | null
  /** Packets that a ring dropped before they were read. */
  missed: number
  /** Bytes of rings that could not be read. */
  damaged: number
  interfaces: ExportedInterface[]
}

export interface ExportedInterface {
  worker: string | null
  name: string
  linkType: number
  /** In the file. */
  packets: number
  /** By the capture, over the segments that were read: received, and lost before they reached the ring; null: unknown. */
  received: number | null
  dropped: number | null
}

/** What is written at once. Its bytes are free again when the call, or its promise, has ended. */
export type Write = (chunk: Uint8Array) => void | Promise<void>

/** Of packets, for all rings together. */
const HELD_BYTES = 16 << 20
const LEAST_HELD_BYTES = 2 << 20

export async function exportPackets(
  inputs: readonly ExportInput[],
  options: ExportOptions,
  write: Write,
): Promise<Exported> {
  const bytes = Math.max(LEAST_HELD_BYTES, HELD_BYTES / inputs.length)
  let sources = inputs.map(({ reader, wants }, input) => ({ input, packets: new InOrder(reader, wants, bytes) }))
  const file = options.format === 'pcapng' ? new PcapngFile(inputs, options, write) : new PcapFile(inputs, write)
  let packets = 0
  let first: bigint | null = null
  const last = { seconds: 0, nanoseconds: 0 }
  while (options.signal?.aborted !== true) {
    for (const source of sources) await source.packets.load()
    sources = sources.filter(source => source.packets.current !== null)
    if (sources.length === 0) break
    // Until one of them has to be asked for more.
    for (;;) {
      const source = earliest(sources)
      const packet = source.packets.current
      if (packet === null) break
      first ??= timeOf(packet)
      last.seconds = packet.seconds
      last.nanoseconds = packet.nanoseconds
      packets++
      file.packet(source.input, packet, source.packets.block())
      source.packets.pass()
      if (file.isFull) await file.flush()
    }
  }
  file.end()
  await file.flush()
  return {
    packets,
    bytes: file.bytes,
    first,
    last: packets === 0 ? null : timeOf(last),
    missed: inputs.reduce((sum, { reader }) => sum + reader.missed, 0),
    damaged: inputs.reduce((sum, { reader }) => sum + reader.damaged, 0),
    interfaces: file.interfaces.map(({ worker, name, linkType, packets, counters }) => ({
      worker,
      name,
      linkType,
      packets,
      received: counters()?.received ?? null,
      dropped: counters()?.droppedBySystem ?? null,
    })),
  }
}

interface Source {
  input: number
  packets: InOrder
}

/** One that has nothing here stands before all others. */
function earliest(sources: readonly Source[]): Source {
  let found = sources[0]!
  for (const source of sources) {
    const packet = source.packets.current
    if (packet === null) return source
    if (isEarlier(packet, found.packets.current!)) found = source
  }
  return found
}

function timeOf({ seconds, nanoseconds }: { seconds: number; nanoseconds: number }): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
}

const CHUNK = 1 << 20

interface WrittenInterface {
  worker: string | null
  name: string
  linkType: number
  packets: number
  counters(): Reader['interfaces'][number]['counters']
}

/** Collects what is written. */
class OutputFile {
  bytes = 0
  /** In the order of the file. */
  readonly interfaces: WrittenInterface[] = []
  private readonly inputs: readonly ExportInput[]
  private readonly write: Write
  /** By input and by the reader's number, the number in the file. */
  private readonly numbers: number[][]
  private chunk = new Uint8Array(2 * CHUNK)
  private length = 0

  constructor(inputs: readonly ExportInput[], write: Write) {
    this.inputs = inputs
    this.write = write
    this.numbers = inputs.map(() => [])
  }

  get isFull(): boolean {
    return this.length >= CHUNK
  }

  async flush(): Promise<void> {
    if (this.length === 0) return
    const { length } = this
    this.bytes += length
    this.length = 0
    await this.write(this.chunk.subarray(0, length))
  }

  protected put(bytes: Uint8Array): void {
    this.space(bytes.length).set(bytes)
  }

  /** Room for so many bytes, which count as written. */
  protected space(bytes: number): Uint8Array {
    if (this.length + bytes > this.chunk.length) {
      const larger = new Uint8Array(Math.max(2 * this.chunk.length, this.length + bytes))
      larger.set(this.chunk.subarray(0, this.length))
      this.chunk = larger
    }
    this.length += bytes
    return this.chunk.subarray(this.length - bytes, this.length)
  }

  /** The number in the file, and whether it is new there. */
  protected interfaceOf(input: number, id: number): { number: number; isNew: boolean } {
    const numbers = this.numbers[input]!
    const known = numbers[id]
    if (known !== undefined) return { number: known, isNew: false }
    const { reader, worker } = this.inputs[input]!
    const { name, linkType } = reader.interfaces[id]!
    numbers[id] = this.interfaces.length
    const counters = () => reader.interfaces[id]!.counters
    this.interfaces.push({ worker, name, linkType, packets: 0, counters })
    return { number: numbers[id], isNew: true }
  }

  protected descriptionOf(input: number, id: number): string | null {
    const { reader, worker } = this.inputs[input]!
    const { description } = reader.interfaces[id]!
    if (worker === null) return description
    return description === null ? worker : `${worker}: ${description}`
  }
}

class PcapngFile extends OutputFile {
  private readonly writer = new PcapngWriter()
  private readonly comment: ExportOptions['comment']
  private readonly last = { seconds: 0, nanoseconds: 0 }

  constructor(inputs: readonly ExportInput[], { title, names, secrets, comment }: ExportOptions, write: Write) {
    super(inputs, write)
    this.comment = comment
    this.put(this.writer.section(title))
    // Readers that go through a file once must have met them before the packets.
    for (const { kind, text } of secrets) this.put(this.writer.secrets(kind, text))
    for (let i = 0; i < names.length; i += NAMES_IN_A_BLOCK)
      this.put(this.writer.names(names.slice(i, i + NAMES_IN_A_BLOCK)))
  }

  packet(input: number, packet: Packet, block: Uint8Array): void {
    const { number, isNew } = this.interfaceOf(input, packet.interfaceId)
    const described = this.interfaces[number]!
    if (isNew)
      this.put(this.writer.interface(described.name, described.linkType, this.descriptionOf(input, packet.interfaceId)))
    described.packets++
    this.last.seconds = packet.seconds
    this.last.nanoseconds = packet.nanoseconds
    const comment = this.comment?.(packet, input) ?? null
    if (comment !== null) this.putCommented(block, packet.end - packet.start, comment, number)
    else setU32(putCopy(this.space(block.length), block), 8, number)
  }

  end(): void {
    const { seconds, nanoseconds } = this.last
    for (const [id, { packets, counters }] of this.interfaces.entries()) {
      const told = counters()
      this.put(
        this.writer.counters(id, seconds, nanoseconds, {
          received: told?.received ?? null,
          dropped: null,
          accepted: told?.accepted ?? null,
          droppedBySystem: told?.droppedBySystem ?? null,
          delivered: packets,
        }),
      )
    }
  }

  /** The comment's option comes first, those that are there stay behind it. */
  private putCommented(block: Uint8Array, captured: number, comment: string, id: number): void {
    const optionsAt = PACKET_BYTES + padded(captured)
    const options = block.subarray(optionsAt, block.length - 4)
    const text = Buffer.from(comment).subarray(0, MAX_COMMENT)
    const end = options.length > 0 ? options : NO_MORE_OPTIONS
    const size = optionsAt + 4 + padded(text.length) + end.length + 4
    const into = this.space(size).fill(0)
    into.set(block.subarray(0, optionsAt))
    setU32(into, 4, size)
    setU32(into, 8, id)
    into[optionsAt] = 1
    into[optionsAt + 2] = text.length & 0xff
    into[optionsAt + 3] = text.length >> 8
    into.set(text, optionsAt + 4)
    into.set(end, size - 4 - end.length)
    setU32(into, size - 4, size)
  }
}

/** A name's record has up to some hundred bytes, and readers bound a block. */
const NAMES_IN_A_BLOCK = 10_000
const MAX_COMMENT = 0xfff0
const NO_MORE_OPTIONS = new Uint8Array(4)

class PcapFile extends OutputFile {
  private writer: PcapWriter | null = null

  packet(input: number, packet: Packet, _block: Uint8Array): void {
    this.interfaces[this.interfaceOf(input, packet.interfaceId).number]!.packets++
    this.begin(packet.linkType)
    this.put(this.writer!.record(packet))
  }

  end(): void {
    this.begin(1)
  }

  /** The first packet decides of what link type the file is. */
  private begin(linkType: number): void {
    if (this.writer !== null) return
    this.writer = new PcapWriter(linkType)
    this.put(this.writer.header())
  }
}

function padded(length: number): number {
  return (length + 3) & ~3
}

function putCopy(into: Uint8Array, bytes: Uint8Array): Uint8Array {
  into.set(bytes)
  return into
}

function setU32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i)
}
