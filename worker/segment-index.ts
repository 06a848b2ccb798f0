/**
 * What lies where in a segment: for each flow the places of its packets, and for each piece of the segment from when to
 * when its packets are. Little endian; a place is an offset in the segment divided by 4.
 *
 *     magic(8) version(4) CRC-32 of what follows(4) segment bytes(8) packets(8) earliest(8) latest(8) head bytes(4)
 *     pieces(4) IPv4 flows(4) IPv6 flows(4) bytes of lists(4) packets without a flow(4) CRC-32 from segment bytes to here(4) 0(4)
 *     of each piece, one column each: earliest(8) latest(8) place(4)
 *     of each list and the end: where it begins(4). The first lists blocks that are no packets, the second packets of
 *         which no flow is known, then one for each flow
 *     of each IPv4 flow, one column each: lower address(4) upper address(4) ports(2 + 2) protocol and PORTS_KNOWN(4)
 *     of each IPv6 flow, one column each: eight words of addresses(32) ports(4) protocol(4)
 *     lists: the first place and then the differences, seven bits a byte, the last byte below 128
 *
 * Numbers of 8 bytes are floating-point. Times are ns since 1970, true within 256 ns.
 */
import { crc32 } from 'node:zlib'
import { Flow, type FlowFilter, Flows } from './flow.ts'

const MAGIC = 'hookline'
const VERSION = 1
const HEADER = 80
const PORTS_KNOWN = 0x100
/** Words of a flow in the builder's table: addresses, ports, protocol. */
const ROW = 10

/**
 * A scan makes a flow a packet. Every flow costs up to 40 bytes in memory and 20 on disk, so a segment has one for so
 * many of its bytes; packets of further flows have to be looked at by every search.
 */
const BYTES_PER_FLOW = 1024
const LEAST_FLOWS = 1024

/** Pieces between two marks of time. */
const PIECE_BYTES = 64 * 1024

const DESCRIPTIONS = 0
const UNKNOWN = 1
const FIRST_FLOW = 2

/** The index of a segment that is still written. */
export class IndexBuilder {
  packets = 0
  /** Packets that have no flow in the index: not IP, or one flow too many. */
  unknown = 0
  private readonly maxFlows: number
  private readonly rows: Int32Array
  private readonly slots: Int32Array
  private flows = 0
  private readonly found = new Flows()
  /** List and place of each entry, in the order of the segment. */
  private lists = new Uint32Array(4096)
  private places = new Uint32Array(4096)
  private entries = 0
  private pieces: { place: number; earliest: number; latest: number }[] = []
  private pieceEnd = 0
  private headBytes = 0

  constructor(segmentBytes: number) {
    this.maxFlows = Math.max(LEAST_FLOWS, Math.ceil(segmentBytes / BYTES_PER_FLOW))
    this.rows = new Int32Array(this.maxFlows * ROW)
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * this.maxFlows)))
  }

  /** A new segment, whose first packet comes `headBytes` behind its beginning. */
  begin(headBytes: number): void {
    this.packets = 0
    this.unknown = 0
    this.flows = 0
    this.slots.fill(0)
    this.entries = 0
    this.pieces = []
    this.pieceEnd = 0
    this.headBytes = headBytes
  }

  /** The block that begins at `offset` of the segment holds the packet `bytes[start..end)`. Time in rough ns. */
  packet(
    offset: number,
    time: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    length: number,
    linkType: number,
  ): void {
    const place = offset / 4
    if (offset >= this.pieceEnd) {
      this.pieces.push({ place, earliest: time, latest: time })
      this.pieceEnd = offset + PIECE_BYTES
    } else {
      const piece = this.pieces[this.pieces.length - 1]!
      if (time < piece.earliest) piece.earliest = time
      else if (time > piece.latest) piece.latest = time
    }
    this.packets++
    const { found } = this
    found.read(bytes, start, end, length, linkType)
    let stranger = found.stranger
    for (let i = 0; i < found.count; i++) {
      const list = this.listOf(found.list[i]!)
      if (list === UNKNOWN) stranger = true
      else this.enter(list, place)
    }
    if (!stranger) return
    this.unknown++
    this.enter(UNKNOWN, place)
  }

  /** A block at `offset` that a reader must see before any packet behind it. */
  description(offset: number): void {
    this.enter(DESCRIPTIONS, offset / 4)
  }

  /** Earliest and latest packet, rough ns; null without packets. */
  get span(): { earliest: number; latest: number } | null {
    if (this.pieces.length === 0) return null
    let { earliest, latest } = this.pieces[0]!
    for (const piece of this.pieces) {
      if (piece.earliest < earliest) earliest = piece.earliest
      if (piece.latest > latest) latest = piece.latest
    }
    return { earliest, latest }
  }

  /** What a later `forget` goes back to. */
  mark(): IndexMark {
    const last = this.pieces.at(-1)
    return {
      packets: this.packets,
      unknown: this.unknown,
      entries: this.entries,
      pieces: this.pieces.length,
      pieceEnd: this.pieceEnd,
      last: last === undefined ? null : { ...last },
    }
  }

  /** As if nothing had been entered since. Flows that came since stay, without packets. */
  forget(mark: IndexMark): void {
    this.packets = mark.packets
    this.unknown = mark.unknown
    this.entries = mark.entries
    this.pieces.length = mark.pieces
    this.pieceEnd = mark.pieceEnd
    if (mark.last !== null) this.pieces[mark.pieces - 1] = mark.last
  }

  /** The file's bytes. The builder may then `begin` again. */
  finish(segmentBytes: number): Uint8Array {
    const order = this.order()
    const [ipv4, ipv6] = [order.ipv4.length, order.ipv6.length]
    const lists = FIRST_FLOW + ipv4 + ipv6
    const encoded = this.encode(order.listOf, lists)
    const pieces = this.pieces.length
    const columns = pieces * 20 + (lists + 1) * 4 + ipv4 * 16 + ipv6 * 40
    const file = new Uint8Array(HEADER + columns + encoded.bytes.length)
    const view = new DataView(file.buffer)
    for (let i = 0; i < MAGIC.length; i++) file[i] = MAGIC.charCodeAt(i)
    view.setUint32(8, VERSION, true)
    view.setFloat64(16, segmentBytes, true)
    view.setFloat64(24, this.packets, true)
    const span = this.span ?? { earliest: 0, latest: 0 }
    view.setFloat64(32, span.earliest, true)
    view.setFloat64(40, span.latest, true)
    view.setUint32(48, this.headBytes, true)
    view.setUint32(52, pieces, true)
    view.setUint32(56, ipv4, true)
    view.setUint32(60, ipv6, true)
    view.setUint32(64, encoded.bytes.length, true)
    view.setUint32(68, this.unknown, true)
    view.setUint32(72, crc32(file.subarray(16, 72)), true)

    const place = layout({ pieces, ipv4, ipv6 })
    for (const [i, piece] of this.pieces.entries()) {
      view.setFloat64(place.earliest + 8 * i, piece.earliest, true)
      view.setFloat64(place.latest + 8 * i, piece.latest, true)
      view.setUint32(place.pieces + 4 * i, piece.place, true)
    }
    for (let i = 0; i <= lists; i++) view.setUint32(place.lists + 4 * i, encoded.starts[i]!, true)
    const { rows } = this
    for (let i = 0; i < ipv4; i++) {
      const row = order.ipv4[i]! * ROW
      view.setInt32(place.ipv4 + 4 * i, rows[row + 3]!, true)
      view.setInt32(place.ipv4 + 4 * (ipv4 + i), rows[row + 7]!, true)
      view.setInt32(place.ipv4 + 4 * (2 * ipv4 + i), rows[row + 8]!, true)
      view.setInt32(place.ipv4 + 4 * (3 * ipv4 + i), rows[row + 9]!, true)
    }
    for (let i = 0; i < ipv6; i++) {
      const row = order.ipv6[i]! * ROW
      for (let j = 0; j < 8; j++) view.setInt32(place.ipv6 + 4 * (8 * i + j), rows[row + j]!, true)
      view.setInt32(place.ipv6 + 4 * (8 * ipv6 + i), rows[row + 8]!, true)
      view.setInt32(place.ipv6 + 4 * (9 * ipv6 + i), rows[row + 9]!, true)
    }
    file.set(encoded.bytes, HEADER + columns)
    view.setUint32(12, crc32(file.subarray(16)), true)
    return file
  }

  private listOf(flow: Flow): number {
    const { rows, slots } = this
    const { words } = flow
    const ports = (flow.lowerPort << 16) | flow.upperPort
    const protocol = flow.protocol | (flow.portsKnown ? PORTS_KNOWN : 0)
    let hash = Math.imul(words[3]! ^ words[0]!, 0x9e3779b1) ^ Math.imul(words[7]! ^ words[4]!, 0x85ebca6b)
    hash ^= Math.imul(words[1]! ^ words[2]!, 0xc2b2ae35) ^ Math.imul(words[5]! ^ words[6]!, 0x27d4eb2f)
    hash = Math.imul(hash ^ ports ^ (hash >>> 15), 0x2c1b3c6d) ^ protocol
    hash = Math.imul(hash ^ (hash >>> 13), 0x297a2d39)
    const mask = slots.length - 1
    for (let slot = (hash ^ (hash >>> 16)) & mask; ; slot = (slot + 1) & mask) {
      const flowHere = slots[slot]!
      if (flowHere === 0) {
        if (this.flows === this.maxFlows) return UNKNOWN
        const row = this.flows * ROW
        for (let i = 0; i < 8; i++) rows[row + i] = words[i]!
        rows[row + 8] = ports
        rows[row + 9] = protocol
        slots[slot] = ++this.flows
        return this.flows + FIRST_FLOW - 1
      }
      const row = (flowHere - 1) * ROW
      if (
        rows[row + 3] === words[3] &&
        rows[row + 7] === words[7] &&
        rows[row + 8] === ports &&
        rows[row + 9] === protocol &&
        rows[row] === words[0] &&
        rows[row + 4] === words[4] &&
        rows[row + 1] === words[1] &&
        rows[row + 2] === words[2] &&
        rows[row + 5] === words[5] &&
        rows[row + 6] === words[6]
      )
        return flowHere + FIRST_FLOW - 1
    }
  }

  private enter(list: number, place: number): void {
    if (this.entries === this.lists.length) {
      const [lists, places] = [this.lists, this.places]
      this.lists = new Uint32Array(2 * this.entries)
      this.places = new Uint32Array(2 * this.entries)
      this.lists.set(lists)
      this.places.set(places)
    }
    this.lists[this.entries] = list
    this.places[this.entries] = place
    this.entries++
  }

  /** Rows of either version, and the number in the file of each list here. */
  private order(): { ipv4: number[]; ipv6: number[]; listOf: Uint32Array } {
    const ipv4: number[] = []
    const ipv6: number[] = []
    for (let flow = 0; flow < this.flows; flow++) {
      const row = flow * ROW
      const mapped = this.rows[row] === 0 && this.rows[row + 1] === 0 && this.rows[row + 2] === 0xffff
      const both = mapped && this.rows[row + 4] === 0 && this.rows[row + 5] === 0 && this.rows[row + 6] === 0xffff
      ;(both ? ipv4 : ipv6).push(flow)
    }
    const listOf = new Uint32Array(FIRST_FLOW + this.flows)
    listOf[UNKNOWN] = UNKNOWN
    for (const [i, flow] of [...ipv4, ...ipv6].entries()) listOf[FIRST_FLOW + flow] = FIRST_FLOW + i
    return { ipv4, ipv6, listOf }
  }

  /** Entries by list, in each of them by place, which is the order they came in. */
  private encode(listOf: Uint32Array, lists: number): { bytes: Uint8Array; starts: Uint32Array } {
    const next = new Uint32Array(lists + 1)
    for (let i = 0; i < this.entries; i++) next[listOf[this.lists[i]!]! + 1]!++
    for (let i = 0; i < lists; i++) next[i + 1]! += next[i]!
    const ends = next.slice(1)
    const sorted = new Uint32Array(this.entries)
    for (let i = 0; i < this.entries; i++) {
      const list = listOf[this.lists[i]!]!
      sorted[next[list]!++] = this.places[i]!
    }
    const bytes = new Uint8Array(5 * this.entries)
    const starts = new Uint32Array(lists + 1)
    let length = 0
    let at = 0
    for (let list = 0; list < lists; list++) {
      starts[list] = length
      let before = 0
      for (const end = ends[list]!; at < end; at++) {
        let value = sorted[at]! - before
        before = sorted[at]!
        while (value >= 0x80) {
          bytes[length++] = (value & 0x7f) | 0x80
          value >>>= 7
        }
        bytes[length++] = value
      }
    }
    starts[lists] = length
    return { bytes: bytes.subarray(0, length), starts }
  }
}

export interface IndexMark {
  packets: number
  unknown: number
  entries: number
  pieces: number
  pieceEnd: number
  last: { place: number; earliest: number; latest: number } | null
}

function layout({ pieces, ipv4, ipv6 }: { pieces: number; ipv4: number; ipv6: number }) {
  const earliest = HEADER
  const latest = earliest + 8 * pieces
  const places = latest + 8 * pieces
  const lists = places + 4 * pieces
  const four = lists + 4 * (FIRST_FLOW + ipv4 + ipv6 + 1)
  const six = four + 16 * ipv4
  return { earliest, latest, pieces: places, lists, ipv4: four, ipv6: six, encoded: six + 40 * ipv6 }
}

/** Bytes from which `readIndexHead` reads. */
export const INDEX_HEAD = HEADER

/** What can be said of a segment without reading its whole index. */
export interface IndexHead {
  segmentBytes: number
  packets: number
  /** Rough ns since 1970. */
  earliest: number
  latest: number
  /** Packets that every search has to look at. */
  unknown: number
}

/** null: this is no index. Behind its head it may still be damaged. */
export function readIndexHead(bytes: Uint8Array): IndexHead | null {
  if (bytes.length < HEADER) return null
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC.charCodeAt(i)) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (view.getUint32(8, true) !== VERSION) return null
  if (view.getUint32(72, true) !== crc32(bytes.subarray(16, 72))) return null
  return {
    segmentBytes: view.getFloat64(16, true),
    packets: view.getFloat64(24, true),
    earliest: view.getFloat64(32, true),
    latest: view.getFloat64(40, true),
    unknown: view.getUint32(68, true),
  }
}

/** Whether a packet from `from` up to `to` (rough ns) may be in it. */
export function mayHold({ earliest, latest }: IndexHead, from: number, to: number): boolean {
  return latest + SLACK >= from && earliest - SLACK < to
}

/** A part of a segment: blocks that begin in [start, end) are to be looked at. */
export interface Range {
  start: number
  end: number
}

/** Between two packets that are wanted, so many bytes are rather read than jumped over. */
const WORTH_A_JUMP = 16 * 1024
/** Times here are rough: ns. */
const SLACK = 1024
const EVERYTHING = Number.MAX_SAFE_INTEGER

/** The index of a sealed segment. */
export class SegmentIndex {
  readonly head: IndexHead
  private readonly view: DataView
  private readonly bytes: Uint8Array
  /** Where the first packet's block begins. */
  readonly headBytes: number
  private readonly pieces: number
  private readonly ipv4: number
  private readonly ipv6: number
  private readonly place: ReturnType<typeof layout>

  private constructor(bytes: Uint8Array, head: IndexHead) {
    this.bytes = bytes
    this.head = head
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.headBytes = this.view.getUint32(48, true)
    this.pieces = this.view.getUint32(52, true)
    this.ipv4 = this.view.getUint32(56, true)
    this.ipv6 = this.view.getUint32(60, true)
    this.place = layout({ pieces: this.pieces, ipv4: this.ipv4, ipv6: this.ipv6 })
  }

  /** null: it is damaged, or none at all. */
  static parse(bytes: Uint8Array): SegmentIndex | null {
    const head = readIndexHead(bytes)
    if (head === null) return null
    const index = new SegmentIndex(bytes, head)
    if (index.place.encoded + index.view.getUint32(64, true) !== bytes.length) return null
    return crc32(bytes.subarray(16)) === index.view.getUint32(12, true) ? index : null
  }

  /**
   * What has to be read of the segment for packets from `from` up to `to` (rough ns) of certain flows; null: of any.
   * Ranges that follow each other; nothing: no packet is wanted.
   */
  select(filter: FlowFilter | null, from: number, to: number): Range[] {
    const wanted = this.piecesWithin(from, to)
    const ranges = filter === null ? this.whole(wanted) : this.ofFlows(filter, wanted)
    return ranges.length === 0 ? [] : merged([{ start: 0, end: this.headBytes }, ...ranges], this.list(DESCRIPTIONS))
  }

  private piecesWithin(from: number, to: number): Uint8Array {
    const wanted = new Uint8Array(this.pieces)
    for (let i = 0; i < this.pieces; i++) {
      const earliest = this.view.getFloat64(this.place.earliest + 8 * i, true)
      const latest = this.view.getFloat64(this.place.latest + 8 * i, true)
      if (latest + SLACK >= from && earliest - SLACK < to) wanted[i] = 1
    }
    return wanted
  }

  private whole(wanted: Uint8Array): Range[] {
    const ranges: Range[] = []
    for (let i = 0; i < wanted.length; i++) {
      if (wanted[i] === 0) continue
      const start = this.pieceStart(i)
      const end = this.pieceStart(i + 1)
      const last = ranges.at(-1)
      if (last !== undefined && last.end === start) last.end = end
      else ranges.push({ start, end })
    }
    return ranges
  }

  private pieceStart(piece: number): number {
    return piece < this.pieces ? 4 * this.view.getUint32(this.place.pieces + 4 * piece, true) : EVERYTHING
  }

  private ofFlows(filter: FlowFilter, wanted: Uint8Array): Range[] {
    const lists: number[] = []
    if (this.listBytes(UNKNOWN) > 0) lists.push(UNKNOWN)
    const flow = new Flow()
    const { view, place, ipv4, ipv6 } = this
    flow.words[2] = flow.words[6] = 0xffff
    for (let i = 0; i < ipv4; i++) {
      flow.words[3] = view.getInt32(place.ipv4 + 4 * i, true)
      flow.words[7] = view.getInt32(place.ipv4 + 4 * (ipv4 + i), true)
      this.readPorts(flow, place.ipv4 + 4 * (2 * ipv4 + i), place.ipv4 + 4 * (3 * ipv4 + i))
      if (filter.wants(flow)) lists.push(FIRST_FLOW + i)
    }
    for (let i = 0; i < ipv6; i++) {
      for (let j = 0; j < 8; j++) flow.words[j] = view.getInt32(place.ipv6 + 4 * (8 * i + j), true)
      this.readPorts(flow, place.ipv6 + 4 * (8 * ipv6 + i), place.ipv6 + 4 * (9 * ipv6 + i))
      if (filter.wants(flow)) lists.push(FIRST_FLOW + ipv4 + i)
    }
    if (lists.length === FIRST_FLOW - 1 + ipv4 + ipv6) return this.whole(wanted)
    return this.ranges(this.within(this.placesOf(lists), wanted))
  }

  private readPorts(flow: Flow, portsAt: number, protocolAt: number): void {
    flow.lowerPort = this.view.getUint16(portsAt + 2, true)
    flow.upperPort = this.view.getUint16(portsAt, true)
    const protocol = this.view.getUint32(protocolAt, true)
    flow.protocol = protocol & 0xff
    flow.portsKnown = (protocol & PORTS_KNOWN) !== 0
  }

  private placesOf(lists: readonly number[]): Uint32Array {
    let bytes = 0
    for (const list of lists) bytes += this.listBytes(list)
    // A place takes at least one byte.
    const places = new Uint32Array(bytes)
    let count = 0
    for (const list of lists) count = this.decode(list, places, count)
    return places.subarray(0, count).sort()
  }

  private within(places: Uint32Array, wanted: Uint8Array): Uint32Array {
    let count = 0
    let piece = 0
    for (let i = 0; i < places.length; i++) {
      const place = places[i]!
      while (piece + 1 < wanted.length && this.pieceStart(piece + 1) <= 4 * place) piece++
      if (wanted[piece] !== 0) places[count++] = place
    }
    return places.subarray(0, count)
  }

  private ranges(places: Uint32Array): Range[] {
    const ranges: Range[] = []
    let last: Range | null = null
    for (const place of places) {
      const start = 4 * place
      if (last !== null && start - last.end <= WORTH_A_JUMP) last.end = start + 4
      else {
        last = { start, end: start + 4 }
        ranges.push(last)
      }
    }
    return ranges
  }

  private list(list: number): Uint32Array {
    const places = new Uint32Array(this.listBytes(list))
    return places.subarray(0, this.decode(list, places, 0))
  }

  private listBytes(list: number): number {
    const at = this.place.lists + 4 * list
    return this.view.getUint32(at + 4, true) - this.view.getUint32(at, true)
  }

  private decode(list: number, into: Uint32Array, count: number): number {
    const { bytes } = this
    const at = this.place.encoded
    let next = at + this.view.getUint32(this.place.lists + 4 * list, true)
    const end = at + this.view.getUint32(this.place.lists + 4 * list + 4, true)
    let place = 0
    while (next < end) {
      let difference = 0
      let shift = 0
      let byte: number
      do {
        byte = bytes[next++]!
        difference |= (byte & 0x7f) << shift
        shift += 7
      } while (byte >= 0x80 && next < end)
      place += difference >>> 0
      into[count++] = place
    }
    return count
  }
}

/** Every block of `also` is looked at too. */
function merged(ranges: readonly Range[], also: Uint32Array): Range[] {
  const all = [...ranges, ...Array.from(also, place => ({ start: 4 * place, end: 4 * place + 4 }))]
  all.sort((a, b) => a.start - b.start)
  const found: Range[] = []
  for (const range of all) {
    const last = found.at(-1)
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end)
    else found.push({ ...range })
  }
  return found
}
