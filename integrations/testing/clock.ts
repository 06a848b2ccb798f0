/** Clock: a World whose time stands still until the test moves it, and whose chance is always the same. */
import type { World } from '../delivery.ts'

export class Clock implements World {
  #now: number
  #alarms: { at: number; then: () => void }[] = []

  constructor(now: number) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  /** Pauses are then whole: 500 ms, 1 s, 2 s, … */
  random(): number {
    return 1
  }

  after(ms: number, then: () => void): () => void {
    const alarm = { at: this.#now + ms, then }
    this.#alarms.push(alarm)
    return () => {
      this.#alarms = this.#alarms.filter(other => other !== alarm)
    }
  }

  advance(ms: number): void {
    this.#now += ms
    const due = this.#alarms.filter(({ at }) => at <= this.#now)
    this.#alarms = this.#alarms.filter(({ at }) => at > this.#now)
    for (const { then } of due) then()
  }
}
