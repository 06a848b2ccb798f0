import assert from 'node:assert/strict'
import { Memo } from './memo.ts'

describe('a memo', () => {
  it('makes an answer twice, and no more', () => {
    const memo = new Memo<number>(10)
    let made = 0
    const asked = [1, 2, 3, 4].map(() => memo.get('a', () => ++made))
    assert.deepEqual(asked, [1, 2, 2, 2])
  })

  it('knows what is asked again and again among what is asked once', () => {
    const memo = new Memo<number>(10)
    let made = 0
    for (let i = 0; i < 10_000; i++) {
      memo.get(`stranger ${i}`, () => i)
      memo.get('a', () => ++made)
    }
    assert.equal(made, 2)
  })

  it('forgets all when there is too much', () => {
    const memo = new Memo<number>(2)
    for (const key of ['a', 'b', 'c']) for (let i = 0; i < 2; i++) memo.get(key, () => 0)
    assert.equal(
      memo.get('a', () => 1),
      1,
    )
    assert.equal(
      memo.get('c', () => 1),
      0,
    )
  })

  it('does not keep long questions', () => {
    const memo = new Memo<number>(2)
    const long = 'a'.repeat(5000)
    assert.deepEqual(
      [1, 2, 3].map(i => memo.get(long, () => i)),
      [1, 2, 3],
    )
  })
})
