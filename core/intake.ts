/** The one buffer between a source of bytes and a parser: the source fills its end, the parser reads its front. */

const FIRST_CAPACITY = 1024 * 1024

/** What a source may always read at once: smaller reads cost more in calls than in copying. */
export const LEAST_ROOM = 256 * 1024

/**
 * The largest record or block that is waited for: a damaged length must not make the buffer as large as the file.
 * Wireshark draws the line for blocks in the same place.
 */
export const MAX_RECORD = 16 * 1024 * 1024

/**
 * More than libpcap ever captures of one packet (MAXIMUM_SNAPLEN): a larger length is a damaged length. Wireshark
 * draws the same line and, as here, does not mind a packet longer than the snap length that was written down.
 */
export const MAX_CAPTURED = 262_144

/** Link types whose packets are messages of any size: D-Bus, USBPcap, EBHSCR. */
const LONG_LINK_TYPES = [231, 249, 279]

/** Of MAX_RECORD a packet may not use everything: headers and options stand around it. */
const MAX_CAPTURED_LONG = MAX_RECORD - 1024

/** The longest captured length that is believed. */
export function maxCaptured(linkType: number): number {
  return LONG_LINK_TYPES.includes(linkType) ? MAX_CAPTURED_LONG : MAX_CAPTURED
}

export class Intake {
  bytes = new Uint8Array(FIRST_CAPACITY)
  view = new DataView(this.bytes.buffer)
  /** `bytes[position..end)` is here and unread. */
  position = 0
  end = 0
  /** Bytes from `position` on without which the parser cannot go on; at most MAX_RECORD. */
  wanted = 0
  /** Offset in the input of `bytes[0]`. */
  private base = 0

  /** Offset in the input of the next unread byte. */
  get offset(): number {
    return this.base + this.position
  }

  get unread(): number {
    return this.end - this.position
  }

  /** Free space of at least LEAST_ROOM bytes, and enough for what is wanted. Moves the unread bytes to the front. */
  room(): Uint8Array {
    const capacity = Math.max(this.unread + LEAST_ROOM, this.wanted)
    if (capacity > this.bytes.length) this.grow(capacity)
    else if (this.position > 0) this.bytes.copyWithin(0, this.position, this.end)
    this.base += this.position
    this.end -= this.position
    this.position = 0
    return this.bytes.subarray(this.end)
  }

  filled(count: number): void {
    if (count < 0 || this.end + count > this.bytes.length) throw new RangeError(`${count} bytes were not in the room`)
    this.end += count
  }

  /** Passes over everything that is here, and says how much it was. */
  drain(): number {
    const count = this.unread
    this.position = this.end
    this.wanted = 0
    return count
  }

  private grow(capacity: number): void {
    const larger = new Uint8Array(Math.max(capacity, 2 * this.bytes.length))
    larger.set(this.bytes.subarray(this.position, this.end))
    this.bytes = larger
    this.view = new DataView(larger.buffer)
  }
}
