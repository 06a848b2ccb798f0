/** What is remembered of fragments until their datagram is complete, for a `Trace` that must name all of its packets. */
import type { Frame } from './frame.ts'

/** Most of them never are in a flood of fragments: the oldest go first. */
const MAX_WEIGHT = 16 << 20

export class FragmentPieces<Piece> {
  private readonly datagrams = new Map<string, { pieces: Piece[]; weight: number }>()
  private weight = 0

  /** `weight`: bytes that are kept. */
  add(frame: Frame, piece: Piece, weight: number): void {
    const key = keyOf(frame)
    const datagram = this.datagrams.get(key) ?? { pieces: [], weight: 0 }
    this.datagrams.set(key, datagram)
    datagram.pieces.push(piece)
    datagram.weight += weight
    this.weight += weight
    for (const oldest of this.datagrams.keys()) {
      if (this.weight <= MAX_WEIGHT) return
      this.remove(oldest)
    }
  }

  /** Of the frame's datagram, which is complete. */
  take(frame: Frame): Piece[] {
    return this.remove(keyOf(frame))
  }

  private remove(key: string): Piece[] {
    const datagram = this.datagrams.get(key)
    if (datagram === undefined) return []
    this.datagrams.delete(key)
    this.weight -= datagram.weight
    return datagram.pieces
  }
}

function keyOf({ words, identification, scope }: Frame): string {
  return `${words.join(' ')} ${identification} ${scope}`
}
