import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import { golden } from '../testing/golden.ts'
import { face } from './tcp.ts'

describe('tcp', () => {
  golden('tcp')

  it('is told of only when asked for', () => {
    assert.equal(face.optional, true)
    assert.equal(face.unclaimed, 'tcp')
  })

  it('is one line', () => {
    const event = { from: 'client', length: 7 }
    assert.equal(face.summarize(null, null, event).summary, '7 bytes from the client')
  })
})
