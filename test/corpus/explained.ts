/**
 * Why a capture's counts differ from tshark's, or why what the truth tells of is missing. The first entry that matches
 * counts; whoever adds one has looked at the packets.
 */
export interface Explanation {
  /** Start of the path within the corpus. */
  path: string
  /** Start of the count's name (`http.`); empty for all. */
  count: string
  why: string
}

export const EXPLANATIONS: readonly Explanation[] = []

export function explain(path: string, count: string): string | undefined {
  return EXPLANATIONS.find(one => path.startsWith(one.path) && count.startsWith(one.count))?.why
}
