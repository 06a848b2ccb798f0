/** One line of standard error that tells how it goes, and is wiped before anything else is written there. */
import type { Look } from './terminal.ts'

/** Redrawing more often only costs. */
const EVERY_MS = 100

export class LastLine {
  private readonly look: Look
  private readonly text: () => string | null
  private drawn = performance.now()
  private shown = false

  /** `text` answers null while there is nothing to say. */
  constructor(look: Look, text: () => string | null) {
    this.look = look
    this.text = text
  }

  /** As often as one likes. */
  draw(): void {
    const now = performance.now()
    if (now - this.drawn < EVERY_MS) return
    this.drawn = now
    const text = this.text()
    if (text === null) return
    process.stderr.write(`\r${text.slice(0, (this.look.width ?? 80) - 1)}\x1b[K`)
    this.shown = true
  }

  wipe(): void {
    if (!this.shown) return
    process.stderr.write('\r\x1b[K')
    this.shown = false
  }
}
