/** A progress bar for long files, as text. */
import { sized } from './terminal.ts'

/** With fewer bytes a file is read before anybody could look at it. */
const LONG_FILE = 20_000_000
const BAR = 30

/** `size` in bytes; null: it has no end. The answer to a position is null where there is nothing to show. */
export function progressBar(size: number | null): (position: number) => string | null {
  const began = performance.now()
  return position => {
    if (size === null || size < LONG_FILE) return null
    const part = Math.min(1, position / size)
    const seconds = (performance.now() - began) / 1000
    const full = Math.round(part * BAR)
    const left = part > 0 ? Math.ceil((seconds * (1 - part)) / part) : 0
    return `${'━'.repeat(full)}${'─'.repeat(BAR - full)} ${Math.floor(part * 100)} %  ${sized(position)} of ${sized(size)}, ${left} s left`
  }
}
