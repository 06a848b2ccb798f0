/** Times as people give them: RFC 3339, seconds since 1970, `now`, `5m ago`. In ns since 1970. */
import { InvalidArgumentError } from 'commander'

const SECOND = 1_000_000_000n
const UNITS: Readonly<Record<string, bigint>> = {
  ms: SECOND / 1000n,
  s: SECOND,
  m: 60n * SECOND,
  h: 3600n * SECOND,
  d: 86_400n * SECOND,
}

/** RFC 3339, 5.6; a blank for the T as there, and no zone for ours. */
const DATE = /^(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9})\d*)?\s*([Zz]|[+-]\d{2}:\d{2})?)?$/
const EPOCH = /^(\d{1,10})(?:\.(\d{1,9})\d*)?$/

/** `now` in ms since 1970. */
export function moment(text: string, now: number): bigint {
  const at = text.trim()
  if (at === 'now') return BigInt(now) * 1_000_000n
  const ago = /^(.*\S)\s+ago$/.exec(at)
  if (ago !== null) return BigInt(now) * 1_000_000n - duration(ago[1]!)
  const epoch = EPOCH.exec(at)
  if (epoch !== null) return BigInt(epoch[1]!) * SECOND + fraction(epoch[2])
  const date = DATE.exec(at)
  if (date !== null) {
    const [, day, time = '00:00', digits, zone = ''] = date
    const ms = Date.parse(`${day}T${time}${zone.toUpperCase()}`)
    if (!Number.isNaN(ms)) return BigInt(ms) * 1_000_000n + fraction(digits)
  }
  throw new InvalidArgumentError('Expected a time as 2026-11-21T16:30:00Z, 1795278600, now or "5m ago".')
}

/** `90s`, `5m`, `1h30m`, `7d`; in ns. */
export function duration(text: string): bigint {
  const parts = [...text.matchAll(/(\d{1,9})(ms|s|m|h|d)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text.trim())
    throw new InvalidArgumentError('Expected a duration as 90s, 5m, 1h30m or 7d.')
  return parts.reduce((sum, [, digits, unit]) => sum + BigInt(digits!) * UNITS[unit!]!, 0n)
}

/** RFC 3339, to the millisecond, rounded down. */
export function written(time: bigint): string {
  return new Date(Number(time / 1_000_000n)).toISOString()
}

/** Digits behind the point, in ns. */
function fraction(digits = ''): bigint {
  return BigInt(digits.padEnd(9, '0'))
}
