import assert from 'node:assert/strict'
import { Cursor } from './cursor.ts'
import { Skim } from './skim.ts'

describe('a skim', () => {
  it('keeps the beginning, up to a gap', () => {
    const skim = new Skim(10, 6)
    assert.equal(skim.take(new Cursor(Buffer.from('abc'))), false)
    assert.equal(skim.miss(8), false)
    assert.equal(skim.miss(2), true)
    assert.equal(skim.take(new Cursor(Buffer.from('fghijXX'))), true)
    assert.equal(Buffer.from(skim.kept.subarray(0, skim.count)).toString(), 'abc')
  })
})
