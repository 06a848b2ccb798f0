import assert from 'node:assert/strict'
import { milliseconds, percentDecoded, splitPath, statusName } from './status.ts'

describe('what gRPC says in headers', () => {
  it('names statuses', () => {
    assert.deepEqual([0, 5, 16, 17].map(statusName), ['OK', 'NOT_FOUND', 'UNAUTHENTICATED', '17'])
  })

  it('tells the parts of a path', () => {
    assert.deepEqual(splitPath('/shop.v1.Catalog/GetItem'), { service: 'shop.v1.Catalog', rpc: 'GetItem' })
    assert.deepEqual(splitPath('/prefix/shop.Catalog/Get'), { service: 'prefix/shop.Catalog', rpc: 'Get' })
    assert.deepEqual(splitPath(''), { service: '', rpc: '' })
  })

  it('tells times in ms', () => {
    const times = ['1H', '2M', '3S', '100m', '5u', '7n', '99999999n', '', 'm', '-1S', '1.5S', '1X', null]
    assert.deepEqual(times.map(milliseconds), [
      3_600_000,
      120_000,
      3000,
      100,
      0.005,
      0.000007,
      99.999999,
      null,
      null,
      null,
      null,
      null,
      null,
    ])
  })

  it('decodes percent signs that escape something', () => {
    assert.equal(percentDecoded('100 %25 gr%C3%B6%C3%9Fer'), '100 % größer')
    assert.equal(percentDecoded('100 % of %zz%4'), '100 % of %zz%4')
  })
})
