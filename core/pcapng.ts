/**
 * Blocks of pcapng (draft-ietf-opsawg-pcapng). Numbers are in the byte order that the section's header declares.
 *
 *     type(4) size(4) body(size - 12) size(4)
 *
 * Damage inside a block costs that block; where the two sizes contradict each other nothing behind can be believed.
 */
import { formatAddress } from './address.ts'
import {
  type CaptureInterface,
  type CaptureNotes,
  type Damage,
  type DamageCause,
  type InterfaceCounters,
  noteDamage,
} from './capture-notes.ts'
import { utf8 } from './cursor.ts'
import { type Intake, MAX_RECORD, maxCaptured } from './intake.ts'
import type { Packet } from './packet.ts'

/** Reads the same in both byte orders. */
export const SECTION_BLOCK = 0x0a0d0d0a
const INTERFACE_BLOCK = 1
const OLD_PACKET_BLOCK = 2
const SIMPLE_PACKET_BLOCK = 3
const NAMES_BLOCK = 4
const STATISTICS_BLOCK = 5
const PACKET_BLOCK = 6
const SECRETS_BLOCK = 10

/** What else may be met, for the notes. */
const BLOCK_NAMES = new Map([
  [0x00000007, 'IRIG timestamp'],
  [0x00000008, 'ARINC 429'],
  [0x00000009, 'systemd journal'],
  [0x00000bad, 'custom'],
  [0x40000bad, 'custom, not to be copied'],
])

/** A capture may be made of blocks of a new kind each. */
const MAX_BLOCK_NAMES = 64

/** A capture may be made of interface descriptions alone, and every one of them is kept. */
const MAX_INTERFACES = 65_536

/** Such a capture should not fill the memory with long names either. Characters. */
const MAX_INTERFACE_NAME = 256

/** Bytes kept of what a capture may repeat without end, KEPT_OVERHEAD for each included. */
const MAX_KEPT = { comments: 1024 * 1024, names: 8 * 1024 * 1024, secrets: 16 * 1024 * 1024 }
const KEPT_OVERHEAD = 64

/** What 64 bits of nanoseconds hold: year 2554. Beyond lies damage, and what no date can be written for. */
const MAX_SECONDS = 18_446_744_073

/** Any block: type, size, size again. */
const FRAMING = 12

const PCAP_MAGICS = [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0xd4c3b2a1, 0x4d3cb2a1, 0x34cdb2a1]

/** What a packet block needs to know of its interface. */
interface Interface {
  /** Index into the notes. */
  id: number
  notes: CaptureInterface
  clock: Clock
  mostCaptured: number
  /** Bytes of the frame check sequence at the end of its packets. */
  frameCheck: number
}

export class PcapngBlocks {
  stopped: Damage | null = null
  private readonly intake: Intake
  private readonly notes: CaptureNotes
  private readonly packet: Packet
  private readonly options = new Options()
  private readonly kept = { comments: 0, names: 0, secrets: 0 }
  private little = true
  /** Those of the current section. */
  private interfaces: Interface[] = []

  constructor(intake: Intake, notes: CaptureNotes, packet: Packet) {
    this.intake = intake
    this.notes = notes
    this.packet = packet
  }

  next(): Packet | null {
    const { intake } = this
    for (;;) {
      const at = intake.position
      const here = intake.end - at
      if (here < FRAMING) {
        intake.wanted = FRAMING
        return null
      }
      const view = intake.view
      const type = view.getUint32(at, this.little)
      if (type === SECTION_BLOCK && !this.turnByteOrder(at)) return null
      const size = view.getUint32(at + 4, this.little)
      if (size < FRAMING || size % 4 !== 0 || size > MAX_RECORD) return this.stopAtSize(type, size)
      if (here < size) {
        intake.wanted = size
        return null
      }
      const again = view.getUint32(at + size - 4, this.little)
      if (again !== size) return this.stop('block length', `the size ${size} again at the block's end`, `${again}`)
      if (type === PACKET_BLOCK) {
        if (this.readPacket(at, size)) return this.packet
      } else if (type === SIMPLE_PACKET_BLOCK) {
        if (this.readSimplePacket(at, size)) return this.packet
      } else if (type === OLD_PACKET_BLOCK) {
        if (this.readOldPacket(at, size)) return this.packet
      } else this.readOther(type, at, size)
    }
  }

  /** type(4) size(4) interface(4) time high(4) low(4) captured(4) length(4) bytes(captured) padding options size(4) */
  private readPacket(at: number, size: number): boolean {
    const { view } = this.intake
    if (size < 32) return this.skip('block contents', size, 'an Enhanced Packet Block of at least 32 bytes', `${size}`)
    const from = this.interfaceOf(view.getUint32(at + 8, this.little), size)
    if (from === null) return false
    const captured = view.getUint32(at + 20, this.little)
    if (!this.fits(captured, size - 32, from, size)) return false
    const length = view.getUint32(at + 24, this.little)
    const frameCheck = this.readPacketOptions(at + 28 + padded(captured), at + size - 4, from)
    this.setTime(from.clock, view.getUint32(at + 12, this.little), view.getUint32(at + 16, this.little))
    this.take(at + 28, captured, length, from, frameCheck, size)
    return true
  }

  /** type(4) size(4) length(4) bytes padding size(4); there is no time, and the interface is the section's first. */
  private readSimplePacket(at: number, size: number): boolean {
    const { packet } = this
    if (size < 16) return this.skip('block contents', size, 'a Simple Packet Block of at least 16 bytes', `${size}`)
    const from = this.interfaceOf(0, size)
    if (from === null) return false
    const length = this.intake.view.getUint32(at + 8, this.little)
    const limit = from.notes.snapLength === 0 ? length : Math.min(length, from.notes.snapLength)
    const captured = Math.min(limit, size - 16)
    if (!this.fits(captured, size - 16, from, size)) return false
    this.take(at + 12, captured, length, from, from.frameCheck, size)
    packet.seconds = 0
    packet.nanoseconds = 0
    return true
  }

  /** type(4) size(4) interface(2) lost(2) time high(4) low(4) captured(4) length(4) bytes padding options size(4) */
  private readOldPacket(at: number, size: number): boolean {
    const { view } = this.intake
    if (size < 32) return this.skip('block contents', size, 'a Packet Block of at least 32 bytes', `${size}`)
    const from = this.interfaceOf(view.getUint16(at + 8, this.little), size)
    if (from === null) return false
    const captured = view.getUint32(at + 20, this.little)
    if (!this.fits(captured, size - 32, from, size)) return false
    const lost = view.getUint16(at + 10, this.little)
    if (lost !== 0xffff) from.notes.lost += lost
    const length = view.getUint32(at + 24, this.little)
    const frameCheck = this.readPacketOptions(at + 28 + padded(captured), at + size - 4, from)
    this.setTime(from.clock, view.getUint32(at + 12, this.little), view.getUint32(at + 16, this.little))
    this.take(at + 28, captured, length, from, frameCheck, size)
    return true
  }

  private interfaceOf(id: number, size: number): Interface | null {
    if (id < this.interfaces.length) return this.interfaces[id]!
    const described = `${this.interfaces.length} described before it`
    this.skip('unknown interface', size, `an interface among the ${described}`, `interface ${id}`)
    return null
  }

  private fits(captured: number, space: number, from: Interface, size: number): boolean {
    const most = Math.min(space, from.mostCaptured)
    if (captured <= most) return true
    return this.skip('block contents', size, `at most ${most} bytes of a packet`, `a length of ${captured}`)
  }

  private take(
    start: number,
    captured: number,
    length: number,
    from: Interface,
    frameCheck: number,
    size: number,
  ): void {
    const { packet } = this
    // Traffic that was recorded before the kernel had set the length says 0, or less than there is.
    if (length < captured) length = captured
    if (frameCheck > 0) {
      length = Math.max(0, length - frameCheck)
      if (captured > length) captured = length
    }
    packet.bytes = this.intake.bytes
    packet.start = start
    packet.end = start + captured
    packet.length = length
    packet.linkType = from.notes.linkType
    packet.interfaceId = from.id
    this.notes.packets++
    this.pass(size)
  }

  private setTime(clock: Clock, high: number, low: number): void {
    const { packet } = this
    clock.read(high, low)
    const seconds = clock.seconds
    if (seconds >= 0 && seconds <= MAX_SECONDS) {
      packet.seconds = seconds
      packet.nanoseconds = clock.nanoseconds
      return
    }
    packet.seconds = 0
    packet.nanoseconds = 0
    noteDamage(this.notes, 'time out of range', this.intake.offset, 'a time from 1970 to 2554', `second ${seconds}`)
  }

  /** Returns the bytes of the frame check sequence. */
  private readPacketOptions(start: number, end: number, from: Interface): number {
    let frameCheck = from.frameCheck
    if (end - start < 4) return frameCheck
    const { options } = this
    options.begin(this.intake, this.little, start, end)
    while (options.next()) {
      if (options.code === 1) this.keepComment(this.notes.packets + 1)
      // Bits 5 to 8 of the flags.
      else if (options.code === 2 && options.length === 4) frameCheck = (options.u32(0) >>> 5) & 15 || frameCheck
      else if (options.code === 4 && options.length === 8) from.notes.lost += Number(options.u64(0))
    }
    this.checkOptions()
    return frameCheck
  }

  private readOther(type: number, at: number, size: number): void {
    const reader = OTHER_BLOCKS.get(type)
    if (reader === undefined) this.skipUnknown(type, size)
    else if (size < reader.least)
      this.skip('block contents', size, `a ${reader.name} of at least ${reader.least} bytes`, `${size}`)
    else {
      this.options.begin(this.intake, this.little, at + reader.options, at + size - 4)
      if (reader.read(this, at, at + size - 4)) this.pass(size)
    }
  }

  /** type(4) size(4) byte order(4) major(2) minor(2) section size(8) options size(4) */
  readSection(at: number): boolean {
    const { view } = this.intake
    const major = view.getUint16(at + 12, this.little)
    const minor = view.getUint16(at + 14, this.little)
    if (major !== 1) {
      this.stop('version', 'a pcapng section of version 1', `version ${major}.${minor}`)
      return false
    }
    this.notes.sections++
    this.interfaces = []
    this.readComments()
    return true
  }

  /** type(4) size(4) link type(2) reserved(2) snap length(4) options size(4) */
  readInterface(at: number): boolean {
    const { notes, options } = this
    if (notes.interfaces.length >= MAX_INTERFACES) {
      this.stop('too many interfaces', `at most ${MAX_INTERFACES} interfaces`, 'one more')
      return false
    }
    const { view } = this.intake
    const described: CaptureInterface = {
      name: null,
      description: null,
      linkType: view.getUint16(at + 8, this.little),
      snapLength: view.getUint32(at + 12, this.little),
      counters: null,
      lost: 0,
    }
    let resolution = 6
    let offset = 0
    let frameCheck = 0
    while (options.next()) {
      if (options.code === 1) this.keepComment(null)
      else if (options.code === 2) described.name = options.text().slice(0, MAX_INTERFACE_NAME)
      else if (options.code === 3) described.description = options.text().slice(0, MAX_INTERFACE_NAME)
      else if (options.code === 9 && options.length === 1) resolution = options.u8(0)
      // The specification counts bits here, and programs write bytes: 4 and 32 mean the same.
      else if (options.code === 13 && options.length === 1)
        frameCheck = options.u8(0) >= 16 ? options.u8(0) >> 3 : options.u8(0)
      else if (options.code === 14 && options.length === 8) offset = options.seconds(0)
    }
    this.interfaces.push({
      id: notes.interfaces.length,
      notes: described,
      clock: new Clock(resolution, offset),
      mostCaptured: maxCaptured(described.linkType),
      frameCheck,
    })
    notes.interfaces.push(described)
    this.checkOptions()
    return true
  }

  /** type(4) size(4) records options size(4); a record is kind(2) size(2) address names padding, kind 0 the last. */
  readNames(): boolean {
    const { options, notes } = this
    while (options.next()) {
      const size = options.code === 1 ? 4 : options.code === 2 ? 16 : 0
      if (size === 0 || options.length < size) continue
      const address = options.address(size)
      for (const name of options.textFrom(size).split('\0')) {
        if (name === '') continue
        if (this.keep('names', name.length)) notes.names.push({ address, name })
        else notes.dropped.names++
      }
    }
    this.checkOptions()
    options.begin(this.intake, this.little, options.after, options.end)
    this.readComments()
    return true
  }

  /** type(4) size(4) interface(4) time high(4) low(4) options size(4) */
  readStatistics(at: number, end: number): boolean {
    const { options } = this
    const from = this.interfaceOf(this.intake.view.getUint32(at + 8, this.little), end + 4 - at)
    if (from === null) return false
    const counters: InterfaceCounters = {
      received: null,
      dropped: null,
      accepted: null,
      droppedBySystem: null,
      delivered: null,
    }
    while (options.next()) {
      if (options.code === 1) this.keepComment(null)
      const counter = COUNTERS.get(options.code)
      if (counter !== undefined && options.length === 8) counters[counter] = options.u64(0)
    }
    from.notes.counters = counters
    this.checkOptions()
    return true
  }

  /** type(4) size(4) kind(4) length(4) secrets(length) padding options size(4) */
  readSecrets(at: number, end: number): boolean {
    const { notes, intake } = this
    const kind = intake.view.getUint32(at + 8, this.little)
    const length = intake.view.getUint32(at + 12, this.little)
    const start = at + 16
    if (length > end - start)
      return this.skip('block contents', end + 4 - at, `at most ${end - start} bytes of secrets`, `${length}`)
    const name = String.fromCharCode(kind >>> 24, (kind >>> 16) & 255, (kind >>> 8) & 255, kind & 255)
    if (!KEY_LOGS.includes(name) || !this.keep('secrets', length)) notes.dropped.secrets++
    else notes.secrets.push({ kind: name, text: utf8(intake.bytes, start, start + length) })
    this.options.begin(intake, this.little, Math.min(start + padded(length), end), end)
    this.readComments()
    return true
  }

  private readComments(): void {
    while (this.options.next()) if (this.options.code === 1) this.keepComment(null)
    this.checkOptions()
  }

  private keepComment(packet: number | null): void {
    if (this.keep('comments', this.options.length)) this.notes.comments.push({ packet, text: this.options.text() })
    else this.notes.dropped.comments++
  }

  private keep(what: keyof typeof MAX_KEPT, bytes: number): boolean {
    if (this.kept[what] + bytes + KEPT_OVERHEAD > MAX_KEPT[what]) return false
    this.kept[what] += bytes + KEPT_OVERHEAD
    return true
  }

  /** Options that run over their block are ignored: the rest of it is whole. */
  private checkOptions(): void {
    const { options, notes } = this
    if (options.overrun > 0)
      noteDamage(
        notes,
        'option length',
        this.intake.offset,
        'options that end with their block',
        `${options.overrun} bytes too many`,
      )
  }

  /** The byte order counts from the section's header on, its own size included. */
  private turnByteOrder(at: number): boolean {
    const { view } = this.intake
    const little = isLittle(view, at)
    if (little === null) {
      const found = view
        .getUint32(at + 8)
        .toString(16)
        .padStart(8, '0')
      this.stop('byte order', "1a2b3c4d or 4d3c2b1a in a section's header", found)
      return false
    }
    this.little = little
    return true
  }

  private skipUnknown(type: number, size: number): void {
    const { skippedBlocks } = this.notes
    let name = BLOCK_NAMES.get(type) ?? `0x${type.toString(16).padStart(8, '0')}`
    if (!(name in skippedBlocks) && Object.keys(skippedBlocks).length >= MAX_BLOCK_NAMES) name = 'others'
    skippedBlocks[name] ??= { count: 0, bytes: 0 }
    skippedBlocks[name]!.count++
    skippedBlocks[name]!.bytes += size
    this.intake.position += size
  }

  private skip(cause: DamageCause, size: number, expected: string, found: string): false {
    noteDamage(this.notes, cause, this.intake.offset, expected, found).bytes += size
    this.intake.position += size
    return false
  }

  private pass(size: number): void {
    this.notes.parsed += size
    this.intake.position += size
  }

  private stopAtSize(type: number, size: number): null {
    if (PCAP_MAGICS.includes(type)) return this.stop('another capture follows', 'a block', 'the beginning of a pcap')
    return this.stop('block length', `a multiple of 4 from ${FRAMING} to ${MAX_RECORD}`, `${size}`)
  }

  private stop(cause: DamageCause, expected: string, found: string): null {
    this.stopped = noteDamage(this.notes, cause, this.intake.offset, expected, found)
    this.stopped.bytes += this.intake.drain()
    return null
  }
}

/** The byte order of the section whose header begins at `at`; null when it is none. */
export function isLittle(view: DataView, at: number): boolean | null {
  if (view.getUint32(at + 8, true) === BYTE_ORDER) return true
  return view.getUint32(at + 8, false) === BYTE_ORDER ? false : null
}

const BYTE_ORDER = 0x1a2b3c4d

/** Blocks without packets. `read` returns false when it has accounted for the block's bytes itself. */
interface OtherBlock {
  name: string
  /** Bytes of the smallest one. */
  least: number
  /** Where its options (or records of the same form) begin. */
  options: number
  read(blocks: PcapngBlocks, at: number, end: number): boolean
}

const OTHER_BLOCKS = new Map<number, OtherBlock>([
  [
    SECTION_BLOCK,
    { name: 'Section Header Block', least: 28, options: 24, read: (blocks, at) => blocks.readSection(at) },
  ],
  [
    INTERFACE_BLOCK,
    { name: 'Interface Description Block', least: 20, options: 16, read: (blocks, at) => blocks.readInterface(at) },
  ],
  [NAMES_BLOCK, { name: 'Name Resolution Block', least: 12, options: 8, read: blocks => blocks.readNames() }],
  [
    STATISTICS_BLOCK,
    {
      name: 'Interface Statistics Block',
      least: 24,
      options: 20,
      read: (blocks, at, end) => blocks.readStatistics(at, end),
    },
  ],
  [
    SECRETS_BLOCK,
    {
      name: 'Decryption Secrets Block',
      least: 20,
      options: 16,
      read: (blocks, at, end) => blocks.readSecrets(at, end),
    },
  ],
])

/** Options of the Interface Statistics Block. */
const COUNTERS = new Map<number, keyof InterfaceCounters>([
  [4, 'received'],
  [5, 'dropped'],
  [6, 'accepted'],
  [7, 'droppedBySystem'],
  [8, 'delivered'],
])

/** Secrets that are text. */
const KEY_LOGS = ['TLSK', 'SSHK', 'WGKL']

function padded(length: number): number {
  return (length + 3) & ~3
}

/** code(2) length(2) value(length) padding, up to code 0 or the end of the block. */
class Options {
  code = 0
  length = 0
  /** Bytes by which the last option is longer than its block. */
  overrun = 0
  /** Where the next option begins. */
  after = 0
  end = 0
  private start = 0
  private little = true
  private intake: Intake | null = null

  begin(intake: Intake, little: boolean, start: number, end: number): void {
    this.intake = intake
    this.little = little
    this.after = start
    this.end = end
    this.overrun = 0
  }

  next(): boolean {
    const at = this.after
    if (this.end - at < 4) return false
    const { view } = this.intake!
    this.code = view.getUint16(at, this.little)
    this.length = view.getUint16(at + 2, this.little)
    this.start = at + 4
    if (this.length > this.end - this.start) {
      this.overrun = this.length - (this.end - this.start)
      this.after = this.end
      return false
    }
    this.after = this.start + padded(this.length)
    return this.code !== 0
  }

  u8(at: number): number {
    return this.intake!.bytes[this.start + at]!
  }

  u32(at: number): number {
    return this.intake!.view.getUint32(this.start + at, this.little)
  }

  /** A number up to 2^53 - 1, a decimal string beyond. */
  u64(at: number): number | string {
    const value = this.intake!.view.getBigUint64(this.start + at, this.little)
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString()
  }

  /** Signed; beyond 2^53 it is no time of any clock. */
  seconds(at: number): number {
    return Number(this.intake!.view.getBigInt64(this.start + at, this.little))
  }

  /** Up to the NUL that some programs write. */
  text(): string {
    const text = this.textFrom(0)
    const end = text.indexOf('\0')
    return end < 0 ? text : text.slice(0, end)
  }

  textFrom(at: number): string {
    return utf8(this.intake!.bytes, this.start + at, this.start + this.length)
  }

  /** Addresses are in network order whatever the section's is. */
  address(size: 4 | 16): string {
    const { view } = this.intake!
    const words = new Int32Array([0, 0, 0xffff, 0])
    for (let i = 0; i < size; i += 4) words[4 - size / 4 + i / 4] = view.getInt32(this.start + i, false)
    return formatAddress(words)
  }
}

/** if_tsresol: the largest divisors with which `read` is exact in floating-point numbers. */
const MAX_DECIMAL = 9
const MAX_BINARY = 22

/** How an interface counts time: 64 bits of units, 10^-n or 2^-n s each, plus an offset in seconds. */
class Clock {
  /** What `read` found. */
  seconds = 0
  nanoseconds = 0
  private readonly unitsPerSecond: number
  /** ns a unit; 0 where that is no whole number. */
  private readonly unit: number
  private readonly exactUnitsPerSecond: bigint
  private readonly offset: number
  private readonly large: boolean

  constructor(resolution: number, offset: number) {
    const exponent = resolution & 0x7f
    const binary = resolution >= 0x80
    this.exactUnitsPerSecond = (binary ? 2n : 10n) ** BigInt(exponent)
    this.unitsPerSecond = Number(this.exactUnitsPerSecond)
    this.unit = binary || exponent > MAX_DECIMAL ? 0 : 10 ** (9 - exponent)
    this.large = exponent > (binary ? MAX_BINARY : MAX_DECIMAL)
    this.offset = offset
  }

  /** Long division in steps of 16 bits: what is divided stays below 2^53. */
  read(high: number, low: number): void {
    if (this.large) {
      this.readLarge(high, low)
      return
    }
    const divisor = this.unitsPerSecond
    const first = Math.floor(high / divisor)
    const middle = (high - first * divisor) * 0x10000 + (low >>> 16)
    const second = Math.floor(middle / divisor)
    const last = (middle - second * divisor) * 0x10000 + (low & 0xffff)
    const third = Math.floor(last / divisor)
    const rest = last - third * divisor
    this.seconds = first * 0x100000000 + second * 0x10000 + third + this.offset
    this.nanoseconds = this.unit !== 0 ? rest * this.unit : Math.floor((rest * 1e9) / divisor)
  }

  private readLarge(high: number, low: number): void {
    const units = (BigInt(high) << 32n) | BigInt(low)
    const divisor = this.exactUnitsPerSecond
    this.seconds = Number(units / divisor) + this.offset
    this.nanoseconds = Number(((units % divisor) * 1_000_000_000n) / divisor)
  }
}
