/**
 * One file of the ring: a whole pcapng section, little endian, times in ns. It is named after its number and after how
 * many packets the ring had taken before it, so that a list of the folder says what has gone:
 *
 *     000000000042-000000123456789.pcapng     sealed           .000000000042-000000123456789.pcapng     still written
 *     000000000042-000000123456789.index      its index, see segment-index.ts
 */
import { readdirSync } from 'node:fs'
import type { InterfaceCounters } from '../core/capture-notes.ts'
import { MAX_RECORD } from '../core/intake.ts'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import type { CaptureCounters, CapturedInterface } from './capture.ts'

export interface SegmentName {
  /** Counts from 1 and is never used again. */
  number: number
  /** Packets that the ring had taken before this segment's first one. */
  before: number
  /** Whole, and never written again. */
  sealed: boolean
}

const NAME = /^(\.?)(\d{12})-(\d{15})\.pcapng$/

export function segmentFile({ number, before, sealed }: SegmentName): string {
  return `${sealed ? '' : '.'}${stem(number, before)}.pcapng`
}

export function indexFile({ number, before }: SegmentName): string {
  return `${stem(number, before)}.index`
}

function stem(number: number, before: number): string {
  return `${String(number).padStart(12, '0')}-${String(before).padStart(15, '0')}`
}

/** Oldest first. Of a segment that is just being sealed the sealed name. */
export function listSegments(directory: string): SegmentName[] {
  const found = new Map<number, SegmentName>()
  for (const file of readdirSync(directory)) {
    const parts = NAME.exec(file)
    if (parts === null) continue
    const name = { number: Number(parts[2]), before: Number(parts[3]), sealed: parts[1] === '' }
    if (name.sealed || !found.has(name.number)) found.set(name.number, name)
  }
  return [...found.values()].sort((a, b) => a.number - b.number)
}

export const SECTION = 0x0a0d0d0a
export const INTERFACE = 1
export const STATISTICS = 5
export const ENHANCED_PACKET = 6

/** type(4) size(4) interface(4) time high(4) low(4) captured(4) length(4) bytes(captured) padding options size(4) */
export const LEAST_PACKET = 32
export const PACKET_BYTES = 28
export const LARGEST_BLOCK = MAX_RECORD

/** What a segment begins with. */
export function segmentHead(interfaces: readonly CapturedInterface[], counters: readonly SeenCounters[]): Uint8Array {
  const writer = new PcapngWriter()
  const blocks = [writer.section(null)]
  for (const one of interfaces) blocks.push(describe(writer, one))
  for (const one of counters) blocks.push(statistics(writer, one))
  return Buffer.concat(blocks)
}

/** For one that comes when the segment has begun. */
export function interfaceBlock(described: CapturedInterface): Uint8Array {
  return describe(new PcapngWriter(), described)
}

function describe(writer: PcapngWriter, described: CapturedInterface): Uint8Array {
  const { name, linkType, index, namespace, description: words = '' } = described
  const place = [words, index === null ? '' : `index ${index}`, namespace === null ? '' : `in ${namespace}`]
  const description = place.filter(word => word !== '').join(' ')
  return writer.interface(name, linkType, description === '' ? null : description)
}

/** What was told of an interface last, and when. */
export interface SeenCounters {
  id: number
  counters: CaptureCounters
  /** Packets of it that the ring itself could not keep. */
  lost: number
  /** ms since 1970. */
  at: number
}

/** For a segment that describes so many interfaces. */
export function statisticsBlocks(interfaces: number, counters: readonly SeenCounters[]): Uint8Array {
  const writer = new PcapngWriter(interfaces)
  return Buffer.concat(counters.map(one => statistics(writer, one)))
}

function statistics(writer: PcapngWriter, { id, counters, lost, at }: SeenCounters): Uint8Array {
  const seconds = Math.floor(at / 1000)
  return writer.counters(id, seconds, Math.round((at - seconds * 1000) * 1e6), told(counters, lost))
}

/** In pcapng's words. Everything that was lost on the way to the disk is "dropped by the system". */
function told(counters: CaptureCounters, lost: number): InterfaceCounters {
  const { seen, passed, dropped, overrun } = counters
  return {
    received: seen,
    dropped: null,
    accepted: passed + dropped + overrun,
    droppedBySystem: dropped + overrun + lost,
    delivered: passed - lost,
  }
}

/** Nanoseconds since 1970 as pcapng has them, 32 bits each; exact up to 256 ns. */
export function roughTime(high: number, low: number): number {
  return high * 0x100000000 + low
}

/** Splits 64 bits of nanoseconds into what a Packet has; exact. */
export function splitTime(high: number, low: number, into: { seconds: number; nanoseconds: number }): void {
  let seconds = Math.floor((high * 0x100000000 + low) / 1e9)
  // Modulo 2^32 the rest is exact, and it has 30 bits: the quotient is at most one too large or too small.
  let rest = (low - Math.imul(seconds >>> 0, 1e9)) >>> 0
  if (rest >= 0xfffff000) {
    seconds--
    rest = (rest + 1e9) >>> 0
  } else if (rest >= 1e9) {
    seconds++
    rest -= 1e9
  }
  into.seconds = seconds
  into.nanoseconds = rest
}
