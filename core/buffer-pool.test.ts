/** Buffers come back, of the right size, and not more of them than may lie idle. */
import assert from 'node:assert/strict'
import { BufferPool } from './buffer-pool.ts'

describe('BufferPool', () => {
  it('hands out what was given back', () => {
    const pool = new BufferPool()
    const first = pool.take(5000)
    assert.equal(first.length, 8192)
    pool.give(first)
    assert.notEqual(pool.take(4096), first)
    assert.equal(pool.take(8192), first)
    assert.notEqual(pool.take(8192), first)
  })

  it('gives at least what was asked for', () => {
    const pool = new BufferPool()
    for (const size of [0, 1, 4096, 4097, 1 << 20, (1 << 20) + 1]) assert.ok(pool.take(size).length >= size)
  })

  it('keeps no more than 4 MB idle', () => {
    const pool = new BufferPool()
    const taken = Array.from({ length: 8 }, () => pool.take(1 << 20))
    for (const buffer of taken) pool.give(buffer)
    const again = new Set(Array.from({ length: 8 }, () => pool.take(1 << 20)))
    assert.equal(taken.filter(buffer => again.has(buffer)).length, 4)
  })
})
