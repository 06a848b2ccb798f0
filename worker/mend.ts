/**
 * Reads a segment from its beginning and makes it whole: what a process that was killed left half-written at its end is
 * cut off, and the index is built again.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { ENHANCED_PACKET, INTERFACE, LARGEST_BLOCK, LEAST_PACKET, PACKET_BYTES, roughTime, SECTION } from './segment.ts'
import { IndexBuilder } from './segment-index.ts'

export interface Mended {
  bytes: number
  packets: number
  /** Bytes that were cut off. */
  torn: number
  /** Rough ns; null: no packets. */
  span: { earliest: number; latest: number } | null
  /** The index's file. */
  index: Uint8Array
}

const CHUNK = 4 << 20

export function mendSegment(path: string, segmentBytes: number): Mended {
  const file = openSync(path, 'r+')
  try {
    const size = fstatSync(file).size
    const index = new IndexBuilder(Math.max(segmentBytes, size))
    const bytes = walk(file, index)
    if (bytes < size) ftruncateSync(file, bytes)
    return { bytes, packets: index.packets, torn: size - bytes, span: index.span, index: index.finish(bytes) }
  } finally {
    closeSync(file)
  }
}

/** Returns where the last whole block ends. */
function walk(file: number, index: IndexBuilder): number {
  let buffer = new Uint8Array(CHUNK)
  let base = 0
  let length = 0
  const linkTypes: number[] = []
  let inHead = true
  for (;;) {
    const view = new DataView(buffer.buffer)
    let at = 0
    let wanted = 12
    while (length - at >= 12) {
      const type = view.getUint32(at, true)
      const size = view.getUint32(at + 4, true)
      if (size < 12 || size % 4 !== 0 || size > LARGEST_BLOCK) return base + at
      // Every segment is one section.
      if ((type === SECTION) !== (base + at === 0)) return base + at
      wanted = size
      if (length - at < size) break
      if (view.getUint32(at + size - 4, true) !== size) return base + at
      if (type === ENHANCED_PACKET) {
        if (inHead) index.begin(base + at)
        inHead = false
        const linkType = linkTypes[view.getUint32(at + 8, true)]
        const captured = size < LEAST_PACKET ? -1 : view.getUint32(at + 20, true)
        if (linkType === undefined || captured < 0 || captured > size - LEAST_PACKET) return base + at
        const time = roughTime(view.getUint32(at + 12, true), view.getUint32(at + 16, true))
        const start = at + PACKET_BYTES
        index.packet(base + at, time, buffer, start, start + captured, view.getUint32(at + 24, true), linkType)
      } else {
        if (type === INTERFACE && size >= 20) linkTypes.push(view.getUint16(at + 8, true))
        if (!inHead) index.description(base + at)
      }
      at += size
    }
    buffer.copyWithin(0, at, length)
    base += at
    length -= at
    if (wanted > buffer.length) {
      const larger = new Uint8Array(wanted)
      larger.set(buffer.subarray(0, length))
      buffer = larger
    }
    const count = readSync(file, buffer, length, buffer.length - length, base + length)
    if (count === 0) {
      if (inHead) index.begin(base)
      return base
    }
    length += count
  }
}
