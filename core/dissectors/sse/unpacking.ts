/**
 * A compressed body read while it lasts. Servers that send events flush the compressor behind each, which leaves a mark:
 * an empty block, whose last bytes are 00 00 FF FF (RFC 1951, 3.2.4). Up to such a mark everything can be unfolded.
 */
import { emptyWindow, inflatePiece, moveWindow } from '../../inflate.ts'
import { decode } from '../http/body.ts'

/** A piece that is longer without a mark is not waited for any more. */
const MAX_PIECE = 1 << 20
/** What a piece may unfold to. */
const MAX_UNPACKED = 8 << 20
const NOTHING = new Uint8Array(0)

/** Codings whose pieces can be read. */
const FORMATS: ReadonlyMap<string, (bytes: Uint8Array) => number | 'more' | 'other'> = new Map([
  ['gzip', gzipHead],
  ['x-gzip', gzipHead],
  ['deflate', zlibHead],
])

export class Unpacking {
  private readonly codings: readonly string[]
  /** Of `FORMATS`; null where the body is read at its end alone. Plain data, because it lies in a dissector's state. */
  private format: string | null
  private isBehindHead = false
  private lost = false
  private readonly window = emptyWindow()
  private held = NOTHING
  private length = 0

  constructor(codings: readonly string[]) {
    this.codings = codings
    this.format = codings.length === 1 && FORMATS.has(codings[0]!) ? codings[0]! : null
  }

  get weight(): number {
    return this.held.length + this.window.bytes.length
  }

  /** What these bytes complete, null when nothing yet. */
  add(bytes: Uint8Array): Uint8Array | null {
    if (this.format === null || this.lost) return null
    this.hold(bytes)
    if (!this.isBehindHead) {
      const size = FORMATS.get(this.format)!(this.held.subarray(0, this.length))
      if (size === 'more') return null
      if (size === 'other') {
        this.format = null
        return null
      }
      this.held.copyWithin(0, size, this.length)
      this.length -= size
      this.isBehindHead = true
    }
    return this.isMarked() ? this.unfold() : null
  }

  /** The rest, when the body has ended. */
  finish(content: Uint8Array): Uint8Array | null {
    if (this.lost) return null
    return this.format === null ? decode(content, this.codings) : this.unfold()
  }

  /** Bytes are missing. */
  lose(): void {
    this.lost = true
    this.held = NOTHING
    this.length = 0
  }

  private unfold(): Uint8Array | null {
    const text = inflatePiece(this.held.subarray(0, this.length), this.window, MAX_UNPACKED)
    if (text === null) {
      this.lose()
      return null
    }
    moveWindow(this.window, text)
    this.length = 0
    return text
  }

  private isMarked(): boolean {
    const { held, length } = this
    return (
      length >= 4 &&
      held[length - 1] === 255 &&
      held[length - 2] === 255 &&
      held[length - 3] === 0 &&
      held[length - 4] === 0
    )
  }

  private hold(bytes: Uint8Array): void {
    const size = this.length + bytes.length
    if (size > MAX_PIECE) {
      this.lose()
      return
    }
    if (size > this.held.length) {
      const larger = new Uint8Array(size * 2)
      larger.set(this.held.subarray(0, this.length))
      this.held = larger
    }
    this.held.set(bytes, this.length)
    this.length = size
  }
}

/** RFC 1952, 2.3: without the optional fields, which servers leave out. */
function gzipHead(bytes: Uint8Array): number | 'more' | 'other' {
  if (bytes.length < 10) return 'more'
  return bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[3] === 0 ? 10 : 'other'
}

/** RFC 1950, 2.2. */
function zlibHead(bytes: Uint8Array): number | 'more' {
  if (bytes.length < 2) return 'more'
  // Some servers send deflate data without it.
  return (bytes[0]! & 0x0f) === 8 && ((bytes[0]! << 8) | bytes[1]!) % 31 === 0 ? 2 : 0
}
