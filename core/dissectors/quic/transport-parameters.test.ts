import assert from 'node:assert/strict'
import { Cursor } from '../../cursor.ts'
import { JsonWriter } from '../../json-writer.ts'
import { writeTransportParameters } from './transport-parameters.ts'

describe('transport parameters', () => {
  it('are told by name, in the order in which they come', () => {
    assert.equal(
      read('0404800100000c000f02abcd'),
      '{"initialMaxData":65536,"disableActiveMigration":true,"initialSourceConnectionId":"abcd"}',
    )
  })

  it('of no name are told by number, but for those that mean nothing', () => {
    assert.equal(read('3a0101' + '7fff0101'), '{"0x3fff":"01"}')
    // 27 and 27 + 31 * 10^17, which no float holds.
    assert.equal(read('1b00' + 'eb05699353b6001b00' + '0c00'), '{"disableActiveMigration":true}')
  })

  it('that come twice count once', () => {
    assert.equal(read('0c00' + '010105' + '010106'), '{"disableActiveMigration":true,"maxIdleTimeout":5}')
  })

  it('are those before the first that cannot be read', () => {
    assert.equal(read('010105' + '0402c000'), '{"maxIdleTimeout":5}')
    assert.equal(read('010105' + '04'), '{"maxIdleTimeout":5}')
    assert.equal(read('0109'), '{}')
    assert.equal(read(''), '{}')
  })

  it('may be as large as numbers of QUIC are', () => {
    assert.equal(read('0408ffffffffffffffff'), '{"initialMaxData":"4611686018427387903"}')
  })
})

function read(digits: string): string {
  const out = new JsonWriter(8)
  const bytes = Buffer.from(digits, 'hex')
  writeTransportParameters(out, new Cursor(bytes, 0, bytes.length, true))
  return out.save().toString()
}
