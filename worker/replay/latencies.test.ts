import assert from 'node:assert/strict'
import { Latencies } from './latencies.ts'

describe('latencies', () => {
  it('has percentiles that are at most two per cent off', () => {
    const latencies = new Latencies()
    for (let ms = 1; ms <= 10_000; ms++) latencies.add(ms)
    for (const part of [0.01, 0.5, 0.95, 0.99, 1]) {
      const found = latencies.percentile(part)!
      assert(Math.abs(found / (part * 10_000) - 1) <= 0.02, `${part}: ${found}`)
    }
  })

  it('has none of nothing, and takes no time at all for very little', () => {
    const latencies = new Latencies()
    assert.equal(latencies.percentile(0.5), null)
    latencies.add(0)
    assert(latencies.percentile(1)! < 0.002)
  })
})
