/** Writing to standard output at full speed: straight to the descriptor, in order, with nothing kept in memory. */
import { writeSync } from 'node:fs'
import { Fault } from '../core/fault.ts'

/** Whoever read our output wants no more of it (`| head`). */
export class ReaderGone extends Error {}

/** A full pipe that somebody else has set non-blocking is asked again this often. */
const RETRY_MS = 2
const NAPPING = new Int32Array(new SharedArrayBuffer(4))

/** Throws ReaderGone, or a Fault where nothing can be written any more. */
export function writeAll(descriptor: number, bytes: Uint8Array, start: number, end: number): void {
  while (start < end) {
    try {
      start += writeSync(descriptor, bytes, start, end - start)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'EPIPE') throw new ReaderGone()
      if (code !== 'EAGAIN') {
        const found = code === 'ENOSPC' || code === 'EDQUOT' ? 'a full disk' : message
        throw new Fault('OUTPUT_UNWRITABLE', `expected to write to standard output, found ${found}`)
      }
      Atomics.wait(NAPPING, 0, 0, RETRY_MS)
    }
  }
}

export function writeText(descriptor: number, text: string): void {
  const bytes = Buffer.from(text)
  writeAll(descriptor, bytes, 0, bytes.length)
}
