/**
 * Captures: bytes of a pcap or pcapng in, packets out. This file reads and writes the classic pcap
 * (draft-ietf-opsawg-pcap), core/pcapng.ts the blocks of pcapng.
 *
 *     magic(4) major(2) minor(2) zone(4) accuracy(4) snap length(4) link type(4)      once
 *     seconds(4) fraction(4) captured(4) length(4) bytes(captured)                    a packet
 */
import { type CaptureNotes, type Damage, emptyNotes, noteDamage } from './capture-notes.ts'
import { Fault } from './fault.ts'
import { Intake, MAX_CAPTURED, maxCaptured } from './intake.ts'
import { emptyPacket, type Packet } from './packet.ts'
import { isLittle, PcapngBlocks, SECTION_BLOCK } from './pcapng.ts'

const FILE_HEADER = 24
const RECORD_HEADER = 16
/** Kuznetzov's patch to libpcap added interface(4) protocol(2) direction(1) padding(1). */
const PATCHED_RECORD_HEADER = 24

/** Type, size and byte order of a pcapng section. */
const SECTION_START = 12

const MICROSECONDS = 0xa1b2c3d4
const NANOSECONDS = 0xa1b23c4d

/** By the magic number, read in the byte order of the file. */
const VARIANTS = new Map<number, Variant>([
  [MICROSECONDS, { unit: 1000, recordHeader: RECORD_HEADER }],
  [NANOSECONDS, { unit: 1, recordHeader: RECORD_HEADER }],
  [0xa1b2cd34, { unit: 1000, recordHeader: PATCHED_RECORD_HEADER }],
])

interface Variant {
  /** ns that one unit of a record's fraction stands for. */
  unit: number
  recordHeader: number
}

/**
 * Feed it with `room` and `filled`, ask `next` until it says null, feed it again, and say `end`.
 * Throws a Fault only for what is no capture at all; damage later on is noted.
 */
export class CaptureParser {
  readonly notes: CaptureNotes = emptyNotes()
  private readonly intake = new Intake()
  private readonly packet = emptyPacket()
  private records: PcapRecords | null = null
  private blocks: PcapngBlocks | null = null

  get format(): 'pcap' | 'pcapng' | null {
    if (this.records !== null) return 'pcap'
    return this.blocks !== null ? 'pcapng' : null
  }

  /** The damage after which nothing can be read any more: further bytes are only counted. */
  get stopped(): Damage | null {
    return this.records?.stopped ?? this.blocks?.stopped ?? null
  }

  /** Where the source puts its next bytes: at least LEAST_ROOM of them. */
  room(): Uint8Array {
    return this.intake.room()
  }

  /** `count` bytes were put into `room()`. */
  filled(count: number): void {
    this.intake.filled(count)
    this.notes.bytes += count
    if (this.stopped !== null) this.stopped.bytes += this.intake.drain()
  }

  /** `count` bytes follow that the source will not read, because the parser has stopped. */
  unread(count: number): void {
    this.notes.bytes += count
    if (this.stopped !== null) this.stopped.bytes += count
  }

  /**
   * The same object each time, a view into the parser's buffer, valid until the next call of `room`.
   * null: more bytes are wanted, or none will be read any more.
   */
  next(): Packet | null {
    if (this.records !== null) return this.records.next()
    if (this.blocks !== null) return this.blocks.next()
    return this.begin() ? this.next() : null
  }

  /** No more bytes will come. `because`: the damage that has cut them off, which a record cut short then belongs to. */
  end(because: Damage | null = null): void {
    const { intake, notes } = this
    if (notes.bytes === 0) throw new Fault('CAPTURE_EMPTY', 'expected a pcap or pcapng capture, found no bytes at all')
    if (notes.sections === 0) throw this.stopped === null ? cutHeader(intake) : brokenHeader(this.stopped)
    const left = intake.unread
    if (left === 0) return
    const cause = this.format === 'pcap' ? 'record cut short' : 'block cut short'
    const damage =
      because ?? noteDamage(notes, cause, intake.offset, `${intake.wanted} bytes`, `${left} bytes and then the end`)
    damage.bytes += intake.drain()
  }

  private begin(): boolean {
    const { intake, notes, packet } = this
    intake.wanted = FILE_HEADER
    if (intake.unread < 4) return false
    const magic = intake.view.getUint32(intake.position, true)
    if (magic === SECTION_BLOCK) {
      if (intake.unread < SECTION_START) return false
      if (isLittle(intake.view, intake.position) === null) throw noCapture(intake)
      this.blocks = new PcapngBlocks(intake, notes, packet)
      return true
    }
    const little = VARIANTS.has(magic)
    const variant = VARIANTS.get(little ? magic : intake.view.getUint32(intake.position, false))
    if (variant === undefined) throw noCapture(intake)
    if (intake.unread < FILE_HEADER) return false
    this.records = new PcapRecords(intake, notes, packet, variant, little)
    return true
  }
}

/** Up to 2.2 the two lengths of a record stood the other way round, in 2.3 some programs wrote them so. */
type LengthOrder = 'captured first' | 'captured last' | 'captured is the smaller'

class PcapRecords {
  stopped: Damage | null = null
  private readonly intake: Intake
  private readonly notes: CaptureNotes
  private readonly packet: Packet
  private readonly little: boolean
  private readonly headerSize: number
  private readonly unit: number
  private readonly unitsPerSecond: number
  private readonly mostCaptured: number
  private readonly lengthOrder: LengthOrder
  /** Bytes of the frame check sequence at the end of every packet. */
  private readonly frameCheck: number

  constructor(intake: Intake, notes: CaptureNotes, packet: Packet, variant: Variant, little: boolean) {
    this.intake = intake
    this.notes = notes
    this.packet = packet
    this.little = little
    this.headerSize = variant.recordHeader
    this.unit = variant.unit
    this.unitsPerSecond = 1e9 / variant.unit

    const { view, position } = intake
    const major = view.getUint16(position + 4, little)
    const minor = view.getUint16(position + 6, little)
    if (major !== 2 || minor > 4)
      throw new Fault('CAPTURE_VERSION', `expected a pcap of version 2.0 to 2.4, found version ${major}.${minor}`)
    this.lengthOrder = minor === 4 ? 'captured first' : minor === 3 ? 'captured is the smaller' : 'captured last'

    // FCS length in 16-bit words(4 bits) unused(1) FCS length given(1) reserved(10) link type(16)
    const link = view.getUint32(position + 20, little)
    this.frameCheck = (link & 0x04000000) !== 0 ? 2 * (link >>> 28) : 0
    packet.linkType = link & 0xffff
    packet.interfaceId = 0
    this.mostCaptured = maxCaptured(packet.linkType)
    notes.interfaces.push({
      name: null,
      description: null,
      linkType: packet.linkType,
      snapLength: view.getUint32(position + 16, little),
      counters: null,
      lost: 0,
    })
    notes.sections++
    notes.parsed += FILE_HEADER
    intake.position += FILE_HEADER
  }

  next(): Packet | null {
    const { intake, packet, little } = this
    const at = intake.position
    const start = at + this.headerSize
    if (start > intake.end) {
      intake.wanted = this.headerSize
      return null
    }
    const view = intake.view
    let seconds = view.getUint32(at, little)
    let fraction = view.getUint32(at + 4, little)
    let captured = view.getUint32(at + 8, little)
    let length = view.getUint32(at + 12, little)
    if (this.lengthOrder !== 'captured first' && (this.lengthOrder === 'captured last' || captured > length)) {
      const first = captured
      captured = length
      length = first
    }
    if (captured > this.mostCaptured || captured === 0) {
      if (this.otherCapture(at)) return this.stop('another capture follows', 'a packet', 'the beginning of a capture')
      if (captured > this.mostCaptured)
        return this.stop('record length', `at most ${this.mostCaptured} bytes of a packet`, `a length of ${captured}`)
    }
    let end = start + captured
    if (end > intake.end) {
      intake.wanted = this.headerSize + captured
      return null
    }
    intake.position = end
    this.notes.parsed += end - at
    this.notes.packets++

    if (fraction >= this.unitsPerSecond) {
      noteDamage(
        this.notes,
        'fraction of a second',
        intake.offset - (end - at),
        `less than ${this.unitsPerSecond}`,
        `${fraction}`,
      )
      seconds += Math.floor(fraction / this.unitsPerSecond)
      fraction %= this.unitsPerSecond
    }
    // Traffic that was recorded before the kernel had set the length says 0, or less than there is.
    if (length < captured) length = captured
    if (this.frameCheck > 0) {
      length = Math.max(0, length - this.frameCheck)
      if (captured > length) end = start + length
    }
    packet.bytes = intake.bytes
    packet.start = start
    packet.end = end
    packet.length = length
    packet.seconds = seconds
    packet.nanoseconds = fraction * this.unit
    return packet
  }

  /** Two captures behind each other (`cat a.pcap b.pcap`): the second one's header stands where a record should be. */
  private otherCapture(at: number): boolean {
    const { view } = this.intake
    const word = view.getUint32(at, this.little)
    if (word === SECTION_BLOCK) return isLittle(view, at) !== null
    const [major, minor] = [view.getUint16(at + 4, this.little), view.getUint16(at + 6, this.little)]
    if (VARIANTS.has(word)) return major === 2 && minor === 4
    return VARIANTS.has(view.getUint32(at, !this.little)) && major === 0x0200 && minor === 0x0400
  }

  private stop(cause: Damage['cause'], expected: string, found: string): null {
    this.stopped = noteDamage(this.notes, cause, this.intake.offset, expected, found)
    this.stopped.bytes += this.intake.drain()
    return null
  }
}

/** What people take for captures, by its first bytes in hexadecimal. */
const FOREIGN: readonly [magic: string, name: string][] = [
  ['1f8b', 'gzip-compressed bytes'],
  ['28b52ffd', 'zstd-compressed bytes'],
  ['425a68', 'a bzip2 file (unpack it first)'],
  ['fd377a585a00', 'an xz file (unpack it first)'],
  ['04224d18', 'an lz4 file (unpack it first)'],
  ['504b0304', 'a zip archive (unpack it first)'],
  ['377abcaf271c', 'a 7z archive (unpack it first)'],
  ['736e6f6f70000000', 'a snoop capture (editcap converts it)'],
  ['474d4255', 'a Network Monitor capture (editcap converts it)'],
  ['5452534e49464620', 'a Sniffer capture (editcap converts it)'],
  ['7f454c46', 'a program'],
]

/** Of what is no capture this much is shown. */
const SHOWN = 24

function noCapture(intake: Intake): Fault {
  const head = intake.bytes.subarray(intake.position, Math.min(intake.position + SHOWN, intake.end))
  return new Fault('CAPTURE_UNKNOWN', `expected a pcap or pcapng capture, found ${describe(head)}`)
}

function describe(head: Uint8Array): string {
  const hex = Buffer.from(head).toString('hex')
  const foreign = FOREIGN.find(([magic]) => hex.startsWith(magic))
  if (foreign !== undefined) return foreign[1]
  const text = new TextDecoder().decode(head)
  if (/^[\t\n\r\x20-\x7e]+$/.test(text)) return `text that begins with ${JSON.stringify(text)}`
  return `bytes that begin with ${hex.slice(0, 16).replace(/..(?=.)/g, '$& ')}`
}

function cutHeader(intake: Intake): Fault {
  const found = `${intake.unread} byte${intake.unread === 1 ? '' : 's'}`
  return new Fault('CAPTURE_HEADER_CUT', `expected a capture's header of ${intake.wanted} bytes, found ${found}`)
}

function brokenHeader({ expected, offset, found }: Damage): Fault {
  return new Fault('CAPTURE_DAMAGED', `expected ${expected} at byte ${offset} of the capture, found ${found}`)
}

/** The last second that fits into a classic pcap: 2106-02-07. */
const MAX_SECONDS = 0xffffffff

/** Writes a classic pcap with nanoseconds, for files and for streams. Every chunk is the caller's to keep. */
export class PcapWriter {
  private readonly linkType: number

  constructor(linkType: number) {
    this.linkType = linkType
  }

  header(): Uint8Array {
    const chunk = new Uint8Array(FILE_HEADER)
    const view = new DataView(chunk.buffer)
    view.setUint32(0, NANOSECONDS, true)
    view.setUint16(4, 2, true)
    view.setUint16(6, 4, true)
    view.setUint32(16, MAX_CAPTURED, true)
    view.setUint32(20, this.linkType, true)
    return chunk
  }

  /** A classic pcap has one link type: a packet of another one, or from after 2106, is a Fault. */
  record(packet: Packet): Uint8Array {
    if (packet.linkType !== this.linkType)
      throw new Fault(
        'CAPTURE_LINK_TYPE',
        `expected packets of link type ${this.linkType} in a pcap, found ${packet.linkType}: write a pcapng`,
      )
    if (packet.seconds > MAX_SECONDS || packet.seconds < 0)
      throw new Fault(
        'CAPTURE_TIME',
        `expected a time from 1970 to 2106 in a pcap, found second ${packet.seconds}: write a pcapng`,
      )
    const captured = packet.end - packet.start
    const chunk = new Uint8Array(RECORD_HEADER + captured)
    const view = new DataView(chunk.buffer)
    view.setUint32(0, packet.seconds, true)
    view.setUint32(4, packet.nanoseconds, true)
    view.setUint32(8, captured, true)
    view.setUint32(12, packet.length, true)
    chunk.set(packet.bytes.subarray(packet.start, packet.end), RECORD_HEADER)
    return chunk
  }
}
