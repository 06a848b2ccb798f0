/**
 * Reserve: room on the disk that is held by a file of nothing. SQLite needs room even to delete; given up when the disk is
 * full, the file lets the spool write down what has been delivered, and so become empty by itself.
 */
import { randomBytes } from 'node:crypto'
import { rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** What SQLite's log holds before it is folded into the file (1000 pages). */
const RESERVE_BYTES = 4 * 1024 * 1024

export class Reserve {
  readonly #path: string
  held: boolean

  constructor(path: string) {
    this.#path = path
    this.held = statSync(path, { throwIfNoEntry: false })?.size === RESERVE_BYTES || this.hold()
  }

  /** Whether there was room: twice as much as it takes, lest it be given up again at once. */
  hold(): boolean {
    const { bavail, bsize } = statfsSync(dirname(this.#path))
    this.held = bavail * bsize >= 2 * RESERVE_BYTES && written(this.#path)
    return this.held
  }

  release(): void {
    rmSync(this.#path, { force: true })
    this.held = false
  }
}

function written(path: string): boolean {
  try {
    // Zeros take no room where the file system compresses.
    writeFileSync(path, randomBytes(RESERVE_BYTES))
    return true
  } catch {
    // Somebody else was faster (ENOSPC, EDQUOT): the same as no room above.
    rmSync(path, { force: true })
    return false
  }
}
