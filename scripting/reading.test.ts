import assert from 'node:assert/strict'
import { Reading } from './reading.ts'

const paths = (reading: Reading): string[] => reading.columns.map(column => column.path.join('.'))

describe('reading', () => {
  it('learns a small field at once', () => {
    const reading = new Reading()
    assert.equal(reading.ask(['response', 'status'], 'value', 3, 0), true)
    assert.deepEqual(paths(reading), ['response.status'])
  })

  it('learns a large field when it is asked for often', () => {
    const reading = new Reading()
    const answers = [1, 2, 3].map(items => reading.ask(['response', 'content', 'text'], 'value', 3000, items))
    assert.deepEqual(answers, [false, false, true])
  })

  it('never learns a large field that is asked for once in a hundred items', () => {
    const reading = new Reading()
    for (let items = 0; items < 100_000; items += 100) assert.equal(reading.ask([], 'whole', 3000, items), items < 0)
    assert.deepEqual(paths(reading), [])
  })

  it('sends an object whole when too many of its fields are read, and has a bound', () => {
    const reading = new Reading()
    for (let i = 0; i < 40; i++) reading.ask(['request', 'headers', `x-${i}`], 'value', 3, 0)
    assert.ok(paths(reading).includes('request.headers'))
    assert.ok(reading.columns.length <= 17)
    for (let i = 0; i < 1000; i++) reading.ask([`a${i % 40}`, `b${i}`], 'value', 3, 0)
    assert.ok(reading.columns.length <= 65, `${reading.columns.length} columns`)
  })
})
