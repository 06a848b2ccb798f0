/**
 * Deflate (RFC 1951) that comes in pieces, each flushed by its sender so that it can be read at once: messages of
 * WebSocket (RFC 7692), events in a compressed response. A piece refers back to what the pieces before it unfolded to,
 * 32 KiB at most: that is the window.
 */
import { constants, inflateRawSync } from 'node:zlib'

const WINDOW = 32_768
/** Room for some pieces more, so that not each one moves the window. Each side of thousands of connections has one. */
const ROOM = WINDOW + 8192
const NOTHING = new Uint8Array(0)

/** Plain data, because it lies in a dissector's state. */
export interface Window {
  /** What was unfolded last ends at `length`. */
  bytes: Uint8Array
  length: number
}

export function emptyWindow(): Window {
  return { bytes: NOTHING, length: 0 }
}

/**
 * What the piece unfolds to; null when it is no deflate data, refers back further than is known, or unfolds to more
 * than `limit` bytes: a kilobyte may become a megabyte.
 */
export function inflatePiece(piece: Uint8Array, window: Window, limit: number): Uint8Array | null {
  const { bytes, length } = window
  try {
    return inflateRawSync(piece, {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: limit,
      ...(length > 0 && { dictionary: bytes.subarray(Math.max(0, length - WINDOW), length) }),
    })
  } catch {
    // Whatever is wrong with it, there is nothing to be read.
    return null
  }
}

/** The window behind a piece that unfolded to `output`. */
export function moveWindow(window: Window, output: Uint8Array): void {
  const kept = output.length > WINDOW ? output.subarray(output.length - WINDOW) : output
  const size = window.length + kept.length
  if (size > window.bytes.length) {
    // As long as little was said, little is kept: thousands of connections say nothing but greetings.
    const tail = window.bytes.subarray(Math.max(0, window.length - (WINDOW - kept.length)), window.length)
    const needed = tail.length + kept.length
    if (window.bytes.length < ROOM) {
      const larger = new Uint8Array(needed * 2 >= WINDOW ? ROOM : needed * 2)
      larger.set(tail)
      window.bytes = larger
    } else window.bytes.copyWithin(0, window.length - tail.length, window.length)
    window.length = tail.length
  }
  window.bytes.set(kept, window.length)
  window.length += kept.length
}
