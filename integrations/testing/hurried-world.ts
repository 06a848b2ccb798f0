/** A World in which a minute passes in less than half a second, for tests of real processes: pauses of seconds are milliseconds. */
import type { World } from '../delivery.ts'

export const HURRY = 150

export const hurried: World = {
  now: () => Date.now() * HURRY,
  random: Math.random,
  after(ms, then) {
    const timer = setTimeout(then, ms / HURRY)
    return () => clearTimeout(timer)
  },
}
