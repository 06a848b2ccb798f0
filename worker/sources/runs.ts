/**
 * Sorts packets by time however many there are: as many as the memory may hold are sorted and put aside in a file, and
 * in the end all these runs are merged. Packets of one time stay in the order in which they came.
 *
 *     seconds(8) nanoseconds(4) captured(4) length(4) link type(4) interface(4) 0(4) bytes(captured)      a packet, in a run
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../../core/fault.ts'
import { emptyPacket, type Packet } from '../../core/packet.ts'
import { isEarlier, type Timed } from '../in-order.ts'

const RECORD = 32
const RUN_BYTES = 64 << 20
const READ_BYTES = 256 * 1024
/** What a small archive may unpack to must not fill the disk of a machine that others live on. */
const MAX_BYTES = 64 * 2 ** 30

export class Runs {
  private readonly runBytes: number
  private held = new Held()
  private readonly files: FileRun[] = []
  private spilled = 0
  private runs: Run[] | null = null
  private given: Run | null = null

  constructor(runBytes = RUN_BYTES) {
    this.runBytes = runBytes
  }

  add(packet: Packet, interfaceId: number): void {
    if (this.held.length + packet.end - packet.start > this.runBytes) this.spill()
    this.held.add(packet, interfaceId)
  }

  /**
   * After the last `add`: the earliest packet of those that are left, valid until the next call; null: there are none.
   */
  next(): Packet | null {
    this.runs ??= [...this.files, this.held.sorted()]
    this.given?.pass()
    let found: Run | null = null
    for (const run of this.runs)
      if (run.packet !== null && (found === null || isEarlier(run.packet, found.packet!))) found = run
    this.given = found
    return found?.packet ?? null
  }

  close(): void {
    for (const file of this.files) file.close()
  }

  private spill(): void {
    const { held } = this
    if (held.length === 0) return
    this.spilled += held.length
    if (this.spilled > MAX_BYTES)
      throw new Fault('ARCHIVE_TOO_LARGE', `expected an archive of at most ${MAX_BYTES} bytes of captures, found more`)
    this.files.push(writeRun(held))
    this.held = new Held()
  }
}

interface Run {
  /** null: there are no more. */
  packet: Packet | null
  pass(): void
}

/** Packets in memory. */
class Held implements Run {
  packet: Packet | null = null
  length = 0
  private bytes = new Uint8Array(READ_BYTES)
  private view = new DataView(this.bytes.buffer)
  private readonly places: Place[] = []
  private at = 0

  add({ bytes, start, end, length, seconds, nanoseconds, linkType }: Packet, interfaceId: number): void {
    const at = this.length
    const captured = end - start
    this.length += RECORD + captured
    if (this.length > this.bytes.length) this.grow()
    const { view } = this
    view.setFloat64(at, seconds, true)
    view.setUint32(at + 8, nanoseconds, true)
    view.setUint32(at + 12, captured, true)
    view.setUint32(at + 16, length, true)
    view.setUint32(at + 20, linkType, true)
    view.setUint32(at + 24, interfaceId, true)
    this.bytes.set(bytes.subarray(start, end), at + RECORD)
    this.places.push({ seconds, nanoseconds, start: at, end: this.length })
  }

  sorted(): this {
    this.places.sort((a, b) => a.seconds - b.seconds || a.nanoseconds - b.nanoseconds)
    this.at = -1
    this.pass()
    return this
  }

  *records(): Generator<Uint8Array> {
    for (const { start, end } of this.sorted().places) yield this.bytes.subarray(start, end)
  }

  pass(): void {
    const place = this.places[++this.at]
    this.packet =
      place === undefined ? null : packetAt(this.packet ?? emptyPacket(), this.bytes, this.view, place.start)
  }

  private grow(): void {
    const larger = new Uint8Array(2 * this.length)
    larger.set(this.bytes)
    this.bytes = larger
    this.view = new DataView(larger.buffer)
  }
}

interface Place extends Timed {
  start: number
  end: number
}

/** A file that has no name any more: however this process ends, nothing stays behind. */
function writeRun(held: Held): FileRun {
  let folder: string | null = null
  try {
    folder = mkdtempSync(join(tmpdir(), 'hookline-'))
    const file = openSync(join(folder, 'run'), 'wx+', 0o600)
    const chunk = new Uint8Array(READ_BYTES)
    let length = 0
    for (const record of held.records()) {
      if (length + record.length > chunk.length) {
        writeAll(file, chunk.subarray(0, length))
        length = 0
      }
      if (record.length > chunk.length) writeAll(file, record)
      else {
        chunk.set(record, length)
        length += record.length
      }
    }
    writeAll(file, chunk.subarray(0, length))
    return new FileRun(file)
  } catch (error) {
    throw new Fault(
      'ARCHIVE_NO_ROOM',
      `expected room for the unpacked captures in ${tmpdir()}, found: ${(error as Error).message}`,
    )
  } finally {
    if (folder !== null) rmSync(folder, { recursive: true, force: true })
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
}

class FileRun implements Run {
  packet: Packet | null = emptyPacket()
  private readonly file: number
  private bytes = new Uint8Array(READ_BYTES)
  private view = new DataView(this.bytes.buffer)
  private at = 0
  private length = 0
  private position = 0

  constructor(file: number) {
    this.file = file
    this.pass()
  }

  pass(): void {
    if (!this.isHere(RECORD)) this.packet = null
    else {
      const size = RECORD + this.view.getUint32(this.at + 12, true)
      this.isHere(size)
      packetAt(this.packet!, this.bytes, this.view, this.at)
      this.at += size
    }
  }

  close(): void {
    closeSync(this.file)
  }

  /** false: there are no more bytes. */
  private isHere(count: number): boolean {
    if (this.length - this.at >= count) return true
    this.bytes.copyWithin(0, this.at, this.length)
    this.length -= this.at
    this.at = 0
    if (count > this.bytes.length) {
      const larger = new Uint8Array(2 * count)
      larger.set(this.bytes.subarray(0, this.length))
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
    while (this.length < count) {
      const read = readSync(this.file, this.bytes, this.length, this.bytes.length - this.length, this.position)
      if (read === 0) return false
      this.length += read
      this.position += read
    }
    return true
  }
}

function packetAt(packet: Packet, bytes: Uint8Array, view: DataView, at: number): Packet {
  packet.bytes = bytes
  packet.start = at + RECORD
  packet.end = packet.start + view.getUint32(at + 12, true)
  packet.length = view.getUint32(at + 16, true)
  packet.seconds = view.getFloat64(at, true)
  packet.nanoseconds = view.getUint32(at + 8, true)
  packet.linkType = view.getUint32(at + 20, true)
  packet.interfaceId = view.getUint32(at + 24, true)
  return packet
}
