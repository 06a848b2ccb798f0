/**
 * Tells on standard error how it goes: on a terminal by its last line, which is wiped before anything else is written
 * there; elsewhere, as in a log, by a line a minute.
 */
import type { Look } from './terminal.ts'

/** Redrawing more often only costs. */
const EVERY_MS = 100
const LOG_EVERY_MS = 60_000

export class LastLine {
  private readonly look: Look
  private readonly text: () => string | null
  private drawn = performance.now()
  private shown = false
  private last = ''

  /** `text` answers null while there is nothing to say. */
  constructor(look: Look, text: () => string | null) {
    this.look = look
    this.text = text
  }

  /** As often as one likes. */
  draw(): void {
    const now = performance.now()
    const { width } = this.look
    if (now - this.drawn < (width === null ? LOG_EVERY_MS : EVERY_MS)) return
    this.drawn = now
    const text = this.text()
    if (text === null) return
    this.last = width === null ? `${text}\n` : `\r${text.slice(0, width - 1)}\x1b[K`
    process.stderr.write(this.last)
    this.shown = width !== null
  }

  /** Writes what belongs above it. */
  above(write: () => void): void {
    const { shown } = this
    this.wipe()
    write()
    if (shown) process.stderr.write(this.last)
    this.shown = shown
  }

  wipe(): void {
    if (!this.shown) return
    process.stderr.write('\r\x1b[K')
    this.shown = false
  }
}
