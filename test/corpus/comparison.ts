/**
 * What comparing one capture with its truth file gives. Each file beside this one that is named after a folder of the
 * corpus is a `Truthful`; test/corpus/run.ts finds it by that name.
 */
import type { Item } from '../../core/item.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

export interface Truthful {
  compare: Compare
  /** What tshark counts of this protocol. */
  counters?: Counters
  /** Why some captures differ. */
  explanations?: readonly Explanation[]
}

/**
 * `expected = equal + missing.length + wrong` where a wrong finding is about something expected; a wrong finding may
 * also be about something that nobody sent.
 */
export interface Comparison {
  /** Messages (or pairs) that the truth file tells of and that the capture can show. */
  expected: number
  equal: number
  /** Told by the truth, not found among the items. */
  missing: Finding[]
  /** Found, but not as it was: a wrong pair, another value, an item that nobody sent. */
  wrong: Finding[]
}

export interface Finding {
  /** `GET /orders/7: status 200 expected, 404 found`. */
  what: string
  /** Why this is right nevertheless, when it is known. A finding with a reason is not counted as missing or wrong. */
  why?: string
  /** About something that nobody sent: not among the `expected`. */
  unexpected?: true
}

export interface Circumstances {
  /** Path within the corpus: `dns/own__all_types.pcap`. */
  capture: string
  /** The truth of the capture that this one was derived from; null for an original. */
  // biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
  base: any | null
  /** What a derived capture must give: `same`, `subset`, `twice`, `no crash`, or a sentence. */
  expect: string | undefined
}

// biome-ignore lint/suspicious/noExplicitAny: as above.
export type Compare = (truth: any, items: Item[], context: Circumstances) => Comparison
