/** What tshark counted in a capture, beside what came out here: every difference wants a reason. */
import type { Item } from '../../core/item.ts'

/** tshark's counts by name, as index.json of the corpus has them: numbers, numbers by word, or the different words. */
export type Counts = Record<string, number | Record<string, number> | readonly string[]>

export interface Difference {
  /** `http.statuses 404`. */
  count: string
  tshark: number
  found: number
}

/**
 * Counts that both sides have a notion of, by tshark's name: true for an item that counts, or the word that it counts
 * under, or several, or how often it counts. A name like `tcp.fin+tcp.rst` is the sum of tshark's counts.
 */
export type Counters = Readonly<Record<string, (item: Item) => string | readonly string[] | number | boolean | null>>

export function differences(counters: Counters, counts: Counts, items: readonly Item[]): Difference[] {
  const found: Difference[] = []
  for (const [name, counter] of Object.entries(counters)) {
    const theirs = countOf(counts, name) ?? (items.some(item => wordsOf(counter(item)).length > 0) ? {} : 0)
    if (typeof theirs === 'number') {
      const ours = items.reduce((sum, item) => sum + Number(counter(item) ?? 0), 0)
      if (ours !== theirs) found.push({ count: name, tshark: theirs, found: ours })
      continue
    }
    if (isList(theirs)) {
      const ours = new Set(items.flatMap(item => wordsOf(counter(item))))
      const missing = theirs.filter(word => !ours.has(word))
      for (const word of missing) found.push({ count: `${name} ${word}`, tshark: 1, found: 0 })
      for (const word of ours) if (!theirs.includes(word)) found.push({ count: `${name} ${word}`, tshark: 0, found: 1 })
      continue
    }
    const ours = new Map<string, number>()
    for (const item of items) {
      for (const word of wordsOf(counter(item))) ours.set(word, (ours.get(word) ?? 0) + 1)
    }
    for (const word of new Set([...Object.keys(theirs), ...ours.keys()])) {
      // Interim answers are no answers here: the final one is.
      if (name === 'http.statuses' && word.startsWith('1') && word !== '101') continue
      const [a, b] = [theirs[word] ?? 0, ours.get(word) ?? 0]
      if (a !== b) found.push({ count: `${name} ${word}`, tshark: a, found: b })
    }
  }
  return found
}

function countOf(counts: Counts, name: string): Counts[string] | undefined {
  if (!name.includes('+')) return counts[name]
  return name.split('+').reduce((sum, one) => sum + Number(counts[one] ?? 0), 0)
}

function wordsOf(counted: string | readonly string[] | number | boolean | null): readonly string[] {
  return typeof counted === 'string' ? [counted] : Array.isArray(counted) ? counted : []
}

function isList(count: Counts[string]): count is readonly string[] {
  return Array.isArray(count)
}
