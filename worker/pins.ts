/**
 * Pins hold a stretch of time in a ring: while somebody looks at it or exports it, its segments are not dropped. A pin is
 * a file in the ring's folder, so that any process may set one; it ends with its expiry, however its holder ended.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder } from '../integrations/make-folder.ts'

const FOLDER = 'pins'

export interface Pin {
  /** Who holds it, for people. */
  holder: string
  /** ns since 1970, decimal; null: the oldest there is. */
  from: string | null
  /** null: also what is still to come. */
  to: string | null
  /** ms since 1970. */
  created: number
  /** ms since 1970. */
  expires: number
}

/** Readers in other processes: a recorder on a ring of many gigabytes needs no more. */
const MAX_PINS = 1000

export class HeldPin {
  private readonly path: string
  private pin: Pin

  constructor(path: string, pin: Pin) {
    this.path = path
    this.pin = pin
    this.write()
  }

  /** It now expires at `expires`, ms since 1970. false: it cannot be renewed, and holds for as long as it did. */
  renew(expires: number): boolean {
    this.pin = { ...this.pin, expires }
    try {
      this.write()
      return true
    } catch {
      return false
    }
  }

  release(): void {
    rmSync(this.path, { force: true })
  }

  private write(): void {
    const draft = `${this.path}.draft`
    writeFileSync(draft, `${JSON.stringify(this.pin)}\n`, { mode: 0o600 })
    renameSync(draft, this.path)
  }
}

/** From and to in ns since 1970. */
export function setPin(
  directory: string,
  pin: { holder: string; from: bigint | null; to: bigint | null; created: number; expires: number },
): HeldPin {
  const folder = join(directory, FOLDER)
  makeFolder(folder)
  const { from, to } = pin
  return new HeldPin(join(folder, `${randomUUID()}.json`), {
    ...pin,
    from: from === null ? null : String(from),
    to: to === null ? null : String(to),
  })
}

/** Those that hold at `now` (ms), the oldest first; files of the others are removed. */
export function readPins(directory: string, now: number): Pin[] {
  const folder = join(directory, FOLDER)
  const pins: Pin[] = []
  let files: string[]
  try {
    files = readdirSync(folder)
  } catch {
    return []
  }
  for (const file of files.slice(0, MAX_PINS)) {
    if (!file.endsWith('.json')) continue
    const pin = read(join(folder, file))
    if (pin !== null && pin.expires > now) pins.push(pin)
    else rmSync(join(folder, file), { force: true })
  }
  return pins.sort((a, b) => a.created - b.created)
}

function read(path: string): Pin | null {
  try {
    const { holder, from, to, created, expires } = JSON.parse(readFileSync(path, 'utf8'))
    const time = (text: unknown) => (text === null ? null : String(BigInt(text as string)))
    if (typeof created !== 'number' || typeof expires !== 'number') return null
    return { holder: String(holder), from: time(from), to: time(to), created, expires }
  } catch {
    return null
  }
}

/** What pins may hold of segments. `span` is in rough ns. */
export interface Pinnable {
  bytes: number
  earliest: number
  latest: number
}

export interface Pinned<S> {
  segments: Set<S>
  bytes: number
  /** Bytes that somebody wants to hold, and that are beyond the limit. */
  refused: number
}

/** Older pins first, and of each its oldest segments, up to `limit` bytes. */
export function pinnedOf<S extends Pinnable>(segments: readonly S[], pins: readonly Pin[], limit: number): Pinned<S> {
  const found: Pinned<S> = { segments: new Set(), bytes: 0, refused: 0 }
  const beyond = new Set<S>()
  for (const pin of pins) {
    const from = pin.from === null ? Number.NEGATIVE_INFINITY : Number(pin.from)
    const to = pin.to === null ? Number.POSITIVE_INFINITY : Number(pin.to)
    for (const segment of segments) {
      if (found.segments.has(segment) || beyond.has(segment)) continue
      if (segment.latest < from || segment.earliest > to) continue
      if (found.bytes + segment.bytes <= limit) {
        found.segments.add(segment)
        found.bytes += segment.bytes
      } else {
        beyond.add(segment)
        found.refused += segment.bytes
      }
    }
  }
  return found
}
