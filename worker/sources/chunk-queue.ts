/**
 * Chunks of memory that travel between the threads of worker/native/chunk.c, which fill them with whole packet blocks, and
 * the event loop, which hands these on. A loop that is busy for longer leaves packets where the kernel keeps them.
 */
import type { Handle } from '../native.ts'

/** Both ways together, some tens of milliseconds of the fastest capture. */
const CHUNKS = 24
const CHUNK_BYTES = 512 << 10

/** Of the threads: they come before those that we watch, for what waits in the kernel may be lost. */
export const NICENESS = -10

/** worker/native/chunk.c says what these do. */
export interface QueueFunctions {
  openQueue(chunks: readonly Uint8Array[], receive: (index: number, a: number, b: number) => void): Handle
  closeQueue(queue: Handle): void
}

export interface ChunkReceiver {
  /** The bytes are the receiver's until it returns. */
  packets(blocks: Uint8Array, count: number): void
  /** The thread that was started with this tag has ended: 0, or -errno. */
  ended(tag: number, code: number): void
}

/** A capture closes it with `closeQueue` when its threads have ended. */
export function openChunkQueue(native: QueueFunctions, receiver: ChunkReceiver): Handle {
  const chunks = Array.from({ length: CHUNKS }, () => new Uint8Array(CHUNK_BYTES))
  return native.openQueue(chunks, (index, a, b) => {
    if (index < 0) receiver.ended(a, b)
    else receiver.packets(chunks[index]!.subarray(0, a), b)
  })
}
