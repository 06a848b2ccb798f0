/** What became of captured packets, in words. */
import { type CaptureCounters, noCounters } from '../worker/capture.ts'
import { counted, grouped } from './terminal.ts'

/** A line or two; `passed` says what became of those that nothing kept. */
export function accountOfCounters(sum: CaptureCounters, passed: string): string[] {
  const causes = CAUSES.filter(([name]) => sum[name] > 0).map(([name, what]) => `${grouped(sum[name])} ${what}`)
  const lines = [`captured: ${[`${grouped(sum.seen)} seen = ${grouped(sum.passed)} ${passed}`, ...causes].join(' + ')}`]
  if (sum.freezes > 0) lines.push(`the kernel's buffer was full ${counted(sum.freezes, 'time')}`)
  return lines
}

/** `seen` is their sum and `passed`. */
const CAUSES: readonly (readonly [keyof CaptureCounters, string])[] = [
  ['dropped', 'dropped by the kernel'],
  ['overrun', 'dropped by our own queue'],
  ['filtered', 'filtered out'],
  ['untargeted', 'of other addresses'],
  ['sampledOut', 'not sampled'],
  ['duplicates', 'seen twice'],
  ['own', "Hookline's own"],
]

export function sumOfCounters(all: Iterable<CaptureCounters>): CaptureCounters {
  const sum = noCounters()
  for (const counters of all)
    for (const name of Object.keys(sum) as (keyof CaptureCounters)[]) sum[name] += counters[name]
  return sum
}
