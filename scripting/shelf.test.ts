import assert from 'node:assert/strict'
import { Shelf } from './shelf.ts'
import { batchOf, httpItem } from './testing/items.ts'

describe('the shelf', () => {
  it('copies a small batch, whose writer goes on in the same bytes', () => {
    const shelf = new Shelf(100, 1 << 20)
    const batch = batchOf([httpItem(1, 'first')])
    const bytes = Buffer.from(batch.bytes)
    const before = bytes.toString('latin1', 0, batch.length)
    shelf.add({ ...batch, bytes, keep: () => assert.fail('it is too small to be kept') })
    bytes.fill(0)
    const sheaf = shelf.closeItems([0])!
    const [text] = sheaf.text()
    assert.equal(Buffer.from(text).toString('latin1'), before)
  })
})
