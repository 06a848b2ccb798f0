/** A progress bar for long files: one line of standard error that is wiped before anything else is written there. */
import { type Look, sized } from './terminal.ts'

/** Redrawing more often only costs. */
const EVERY_MS = 100
const BAR = 30

export class Progress {
  private readonly size: number
  private readonly look: Look
  private readonly began = performance.now()
  private drawn = this.began
  private shown = false

  /** `size` in bytes. */
  constructor(size: number, look: Look) {
    this.size = size
    this.look = look
  }

  at(position: number): void {
    const now = performance.now()
    if (now - this.drawn < EVERY_MS) return
    this.drawn = now
    const part = Math.min(1, position / this.size)
    const seconds = (now - this.began) / 1000
    const full = Math.round(part * BAR)
    const left = part > 0 ? Math.ceil((seconds * (1 - part)) / part) : 0
    const text = `${'━'.repeat(full)}${'─'.repeat(BAR - full)} ${Math.floor(part * 100)} %  ${sized(position)} of ${sized(this.size)}, ${left} s left`
    process.stderr.write(`\r${text.slice(0, (this.look.width ?? 80) - 1)}\x1b[K`)
    this.shown = true
  }

  wipe(): void {
    if (!this.shown) return
    process.stderr.write('\r\x1b[K')
    this.shown = false
  }
}
