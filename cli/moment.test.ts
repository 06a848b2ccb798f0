import assert from 'node:assert/strict'
import { duration, moment, written } from './moment.ts'

describe('times on the command line', () => {
  const NOW = 1_700_000_000_000

  for (const [text, expected] of [
    ['2023-11-14T22:13:20Z', 1_700_000_000_000_000_000n],
    ['2023-11-14t22:13:20.000000001z', 1_700_000_000_000_000_001n],
    ['2023-11-14 23:13:20.5+01:00', 1_700_000_000_500_000_000n],
    ['2023-11-14T22:13Z', 1_699_999_980_000_000_000n],
    ['1700000000', 1_700_000_000_000_000_000n],
    ['1700000000.25', 1_700_000_000_250_000_000n],
    ['now', 1_700_000_000_000_000_000n],
    ['5m ago', 1_699_999_700_000_000_000n],
    ['1h30m ago', 1_699_994_600_000_000_000n],
  ] as const)
    it(`reads \`${text}\``, () => assert.equal(moment(text, NOW), expected))

  it('takes a time without a zone for ours', () => {
    const local = new Date(2023, 10, 14, 12, 30).getTime()
    assert.equal(moment('2023-11-14T12:30', NOW), BigInt(local) * 1_000_000n)
    assert.equal(moment('2023-11-14', NOW), BigInt(new Date(2023, 10, 14).getTime()) * 1_000_000n)
  })

  for (const text of ['', 'yesterday', '5m', 'ago', '5x ago', '2023-13-14T00:00:00Z', '2023-11-14T25:00:00Z', '-5'])
    it(`refuses \`${text}\``, () => assert.throws(() => moment(text, NOW), /Expected a/))

  it('reads durations', () => {
    assert.equal(duration('90s'), 90_000_000_000n)
    assert.equal(duration('1d2h'), 93_600_000_000_000n)
    assert.equal(duration('250ms'), 250_000_000n)
    for (const text of ['', '5', 'm5', '5m 3', '-5m', '1.5h'])
      assert.throws(() => duration(text), /Expected a duration/)
  })

  it('writes times', () => assert.equal(written(1_700_000_000_123_999_999n), '2023-11-14T22:13:20.123Z'))
})
