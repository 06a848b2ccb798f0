import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readCertificate } from './certificates.ts'

describe('a certificate', () => {
  it('is not taken for another one that ends in the same way', () => {
    for (let round = 0; round < 3; round++)
      for (const [size, first] of [
        [100, 1],
        [100, 2],
        [200, 1],
        [20, 1],
        [20, 2],
      ] as const) {
        const bytes = Buffer.alloc(size)
        bytes[0] = first
        const { shown } = readCertificate(bytes)
        assert.deepEqual(shown, { fingerprint: createHash('sha256').update(bytes).digest('hex'), size })
      }
  })

  it('is the same object each time once it was seen twice', () => {
    const bytes = Buffer.alloc(50, 7)
    readCertificate(bytes)
    const known = readCertificate(bytes)
    bytes.fill(8)
    assert.equal(readCertificate(Buffer.alloc(50, 7)), known)
  })
})
