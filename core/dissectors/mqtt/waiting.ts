/**
 * Which packets of a connection wait for an answer: by who sent them, their kind and their packet identifier. An identifier
 * is free for another packet once the answer has come.
 */
import type { Side } from '../../dissector.ts'

export interface Waiting {
  /** Sizes by key. */
  sizes: Map<number, number>
  bytes: number
}

/** Who never answers must not fill the memory: what is sent beyond these counts as unanswered at once. */
const MAX_WAITING = 4096
const MAX_WAITING_BYTES = 4 << 20
const SERVER = 1 << 24

export function keyOf(asker: Side, type: number, id: number): number {
  return (asker === 'server' ? SERVER : 0) | (type << 16) | id
}

/** false: its answer will not be known as such. */
export function expect(waiting: Waiting, key: number, size: number): boolean {
  // Sent again: the first is answered with it.
  const known = waiting.sizes.get(key) ?? 0
  if (waiting.sizes.size >= MAX_WAITING || waiting.bytes + size - known > MAX_WAITING_BYTES) return false
  waiting.sizes.set(key, size)
  waiting.bytes += size - known
  return true
}

export function take(waiting: Waiting, key: number): boolean {
  const size = waiting.sizes.get(key)
  if (size === undefined) return false
  waiting.sizes.delete(key)
  waiting.bytes -= size
  return true
}
