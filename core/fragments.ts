/**
 * Puts IP datagrams together from their fragments (RFC 791, 3.2; RFC 8200, 4.5). Offsets count blocks of 8 bytes, so
 * what has arrived is noted block by block; the bytes that came first win.
 */
import type { Frame } from './frame.ts'

/** Why a fragment will never be part of a datagram. */
export type FragmentDrop =
  /** Other fragments did not come in time, or before the capture ended. */
  | 'incomplete'
  /** The capture left out bytes of this fragment or of another one of its datagram. */
  | 'truncated'
  /** Every byte of it had been here. */
  | 'duplicate'
  /** IPv6: a datagram whose fragments overlap is thrown away whole (RFC 5722). */
  | 'overlap'
  /** The fragments of its datagram disagree about the length. */
  | 'malformed'
  | 'too-many-datagrams'
  | 'too-many-bytes'

export class Fragments {
  /** Fragments, by cause. All that came in are `joined`, waiting, or in here. */
  readonly drops: Record<FragmentDrop, number> = {
    incomplete: 0,
    truncated: 0,
    duplicate: 0,
    overlap: 0,
    malformed: 0,
    'too-many-datagrams': 0,
    'too-many-bytes': 0,
  }
  /** Fragments that became part of a whole datagram. */
  joined = 0
  /** Fragments of datagrams that are not complete yet. */
  waiting = 0

  /** Oldest first. */
  readonly #datagrams = new Map<string, Datagram>()
  #bytes = 0

  /**
   * Takes what `decode` called a fragment; its bytes are copied. True when the datagram is complete: then the frame
   * shows its whole payload, which stays as it is, and `resume` goes on.
   */
  add(frame: Frame, seconds: number): boolean {
    this.#expire(seconds)
    const key = keyOf(frame)
    let datagram = this.#datagrams.get(key)
    if (datagram?.isOver(frame, seconds)) {
      this.#datagrams.delete(key)
      datagram = undefined
    }
    if (datagram === undefined) {
      datagram = new Datagram(seconds)
      this.#datagrams.set(key, datagram)
      if (this.#datagrams.size > MAX_DATAGRAMS) this.#forgetOldest('too-many-datagrams')
    }
    if (datagram.fate !== null) {
      this.drops[datagram.fate]++
      return false
    }

    datagram.fragments++
    this.waiting++
    const verdict = datagram.add(frame)
    switch (verdict) {
      case 'more':
        this.#limitBytes(datagram)
        return false
      case 'complete':
        this.#show(datagram, frame)
        return true
      case 'duplicate':
        datagram.fragments--
        this.waiting--
        this.drops.duplicate++
        return false
      default:
        this.#settle(datagram, verdict)
        this.drops[verdict] += datagram.fragments
        return false
    }
  }

  /** The capture has ended: what waits is counted as incomplete. */
  end(): void {
    while (this.#datagrams.size > 0) this.#forgetOldest('incomplete')
  }

  #show(datagram: Datagram, frame: Frame): void {
    frame.bytes = datagram.bytes
    frame.start = 0
    frame.end = datagram.length
    frame.missing = 0
    frame.payloadLength = datagram.length
    frame.protocol = datagram.protocol
    frame.fragmentOffset = 0
    frame.moreFragments = false
    this.joined += datagram.fragments
    this.#settle(datagram, 'duplicate')
  }

  /** Nothing waits here any more; repetitions that follow at once are known for what they are. */
  #settle(datagram: Datagram, fate: FragmentDrop): void {
    this.waiting -= datagram.fragments
    this.#bytes -= datagram.counted
    datagram.settle(fate)
  }

  #limitBytes(datagram: Datagram): void {
    const size = datagram.bytes.length + datagram.blocks.length
    this.#bytes += size - datagram.counted
    datagram.counted = size
    while (this.#bytes > MAX_BYTES) this.#forgetOldest('too-many-bytes')
  }

  #expire(seconds: number): void {
    for (const datagram of this.#datagrams.values()) {
      // Captures are merged and clocks are set: time that jumps back is as good as time that passed.
      if (Math.abs(seconds - datagram.since) <= MAX_SECONDS) return
      this.#forgetOldest('incomplete')
    }
  }

  #forgetOldest(cause: FragmentDrop): void {
    for (const [key, datagram] of this.#datagrams) {
      if (datagram.fate === null) {
        this.drops[cause] += datagram.fragments
        this.#settle(datagram, cause)
      }
      this.#datagrams.delete(key)
      return
    }
  }
}

/** Fragments whose others never come: a sender that floods them, or a capture that lost some. RFC 791 and 8200 wait as long. */
const MAX_SECONDS = 30
const MAX_DATAGRAMS = 4096
const MAX_BYTES = 16 * 1024 * 1024
/**
 * How long the leavings of a datagram that is done with are known. A capture on several interfaces shows each fragment
 * more than once, the last one also after the datagram was complete; and some senders give all datagrams one identification.
 */
const MAX_REPEAT_SECONDS = 1

/** RFC 8200, 4.5: an IPv6 datagram is told by addresses and identification alone, its protocol by the first fragment. */
function keyOf(frame: Frame): string {
  const protocol = frame.version === 6 ? -1 : frame.protocol
  return `${frame.words.join()},${frame.scope},${frame.identification},${protocol}`
}

class Datagram {
  bytes: Uint8Array = EMPTY
  /** 1 where the block of 8 bytes is here. */
  blocks: Uint8Array = EMPTY
  /** Of the whole payload; -1 until the last fragment has come. */
  length = -1
  protocol = -1
  fragments = 0
  /** Bytes that the limit was told of. */
  counted = 0
  /** What becomes of further fragments; null while they are wanted. */
  fate: FragmentDrop | null = null
  readonly since: number
  /** Where the furthest fragment ended, where the latest began, and how many blocks are here. */
  #furthest = 0
  #latest = 0
  #arrived = 0

  constructor(since: number) {
    this.since = since
  }

  settle(fate: FragmentDrop): void {
    this.fate = fate
    this.bytes = EMPTY
    this.blocks = EMPTY
  }

  /** This one is done with, and `frame` belongs to another datagram of the same identification. */
  isOver(frame: Frame, seconds: number): boolean {
    if (this.fate === null) return false
    if (Math.abs(seconds - this.since) > MAX_REPEAT_SECONDS) return true
    // All but the fragment that completed it have had their repetitions before.
    return this.fate === 'duplicate' && frame.fragmentOffset !== this.#latest
  }

  add(frame: Frame): 'more' | 'complete' | FragmentDrop {
    if (frame.missing > 0) return 'truncated'
    const offset = frame.fragmentOffset
    const end = offset + frame.end - frame.start
    if (this.#contradicts(end, frame.moreFragments)) return 'malformed'

    const first = offset >> 3
    const last = (end + 7) >> 3
    this.#grow(last)
    const known = this.#known(first, last)
    if (known > 0 && frame.version === 6 && !this.#repeats(frame)) return 'overlap'
    if (known === last - first) return 'duplicate'

    if (!frame.moreFragments) this.length = end
    if (first === 0 && this.blocks[0] === 0) this.protocol = frame.protocol
    this.#furthest = Math.max(this.#furthest, end)
    this.#latest = offset
    this.#copy(frame, first, last)
    this.#arrived += last - first - known
    return this.length >= 0 && this.#arrived === (this.length + 7) >> 3 ? 'complete' : 'more'
  }

  #contradicts(end: number, more: boolean): boolean {
    if (this.length >= 0) return more ? end > this.length : end !== this.length
    return !more && end < this.#furthest
  }

  #grow(blocks: number): void {
    if (blocks <= this.blocks.length) return
    const size = Math.max(blocks, 2 * this.blocks.length, FIRST_BLOCKS)
    const bytes = new Uint8Array(8 * size)
    bytes.set(this.bytes)
    this.bytes = bytes
    const flags = new Uint8Array(size)
    flags.set(this.blocks)
    this.blocks = flags
  }

  #known(first: number, last: number): number {
    let known = 0
    for (let i = first; i < last; i++) known += this.blocks[i]!
    return known
  }

  /** RFC 8200 allows the same fragment twice; it is the same when it brings nothing but what is here. */
  #repeats(frame: Frame): boolean {
    const offset = frame.fragmentOffset
    for (let i = frame.start; i < frame.end; i++) {
      const place = offset + i - frame.start
      if (this.blocks[place >> 3] === 0 || this.bytes[place] !== frame.bytes[i]) return false
    }
    return true
  }

  #copy(frame: Frame, first: number, last: number): void {
    for (let i = first; i < last; i++) {
      if (this.blocks[i] === 1) continue
      const from = i
      while (i < last && this.blocks[i] === 0) this.blocks[i++] = 1
      const start = frame.start + 8 * (from - first)
      this.bytes.set(frame.bytes.subarray(start, Math.min(frame.start + 8 * (i - first), frame.end)), 8 * from)
    }
  }
}

const EMPTY = new Uint8Array(0)
/** Two full Ethernet frames: what most fragmented datagrams need. */
const FIRST_BLOCKS = 384
