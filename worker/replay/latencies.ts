/** How long answers took, for percentiles: counted in buckets, for there may be millions. */

/** A bucket is so much wider than the one before: what is said is at most two per cent off. */
const STEP = Math.log(1.04)
/** ms; what is faster is counted as this. */
const LEAST = 0.001

export class Latencies {
  count = 0
  private readonly buckets = new Map<number, number>()

  add(ms: number): void {
    this.count++
    const bucket = Math.round(Math.log(Math.max(ms, LEAST)) / STEP)
    this.buckets.set(bucket, (this.buckets.get(bucket) ?? 0) + 1)
  }

  /** ms that `part` of all took at most; null where there are none. */
  percentile(part: number): number | null {
    let left = Math.ceil(this.count * part)
    for (const [bucket, count] of [...this.buckets].sort(([a], [b]) => a - b)) {
      left -= count
      if (left <= 0) return Math.exp(bucket * STEP)
    }
    return null
  }
}
