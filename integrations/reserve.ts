/**
 * Reserve: room on the disk that is held by a file of nothing. SQLite needs room even to delete; given up when the disk is
 * full, the file lets the spool write down what has been delivered, and so become empty by itself.
 */
import { randomBytes } from 'node:crypto'
import { rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** As much as SQLite's log holds, at most: folding it into the file may take so much. */
const MOST_BYTES = 4 * 1024 * 1024
/** With less, the log would have to be folded with every few orders. */
const LEAST_BYTES = 256 * 1024
/** Of a small disk's room: the log takes as much again, and the rest is for orders. */
const SHARE = 1 / 4

export class Reserve {
  readonly #path: string
  /** What is held, or was. Never becomes less: it is needed most when little is free. */
  bytes: number
  held: boolean

  constructor(path: string) {
    this.#path = path
    const there = statSync(path, { throwIfNoEntry: false })?.size ?? 0
    this.bytes = Math.max(there, LEAST_BYTES)
    this.held = (there >= LEAST_BYTES && share(this.free + there) <= there) || this.#take(this.free + there)
  }

  /** What must be free for it to be held again: twice as much as it takes, lest it be given up again at once. */
  get needed(): number {
    return 2 * this.bytes
  }

  get free(): number {
    const { bavail, bsize } = statfsSync(dirname(this.#path))
    return bavail * bsize
  }

  /** Whether there was room. */
  hold(): boolean {
    this.held = this.#take(this.free)
    return this.held
  }

  release(): void {
    rmSync(this.#path, { force: true })
    this.held = false
  }

  #take(room: number): boolean {
    if (room < this.needed) return false
    this.bytes = Math.max(this.bytes, share(room))
    return written(this.#path, this.bytes)
  }
}

function share(room: number): number {
  return Math.min(MOST_BYTES, Math.floor(room * SHARE))
}

function written(path: string, bytes: number): boolean {
  try {
    // Zeros take no room where the file system compresses.
    writeFileSync(path, randomBytes(bytes))
    return true
  } catch {
    // Somebody else was faster (ENOSPC, EDQUOT): the same as no room above.
    rmSync(path, { force: true })
    return false
  }
}
