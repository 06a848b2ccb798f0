import assert from 'node:assert/strict'
import { payloadOf } from './payload.ts'

describe('payload', () => {
  it('is text where people can read it, and base64 where they cannot', () => {
    assert.deepEqual(of('häl\tlo\r\n', 100), { payload: 'häl\tlo\r\n', encoding: null })
    assert.deepEqual(of(Buffer.from([0x68, 0]), 100), { payload: 'aAA=', encoding: 'base64' })
    assert.deepEqual(of(Buffer.from([0xff]), 100), { payload: '/w==', encoding: 'base64' })
  })

  it('is as long as what is kept, and null where nothing is', () => {
    assert.deepEqual(of('hello', 2), { payload: 'he', encoding: null })
    assert.deepEqual(of('hello', 0), { payload: null, encoding: null })
    assert.deepEqual(of('', 0), { payload: '', encoding: null })
  })
})

function of(bytes: string | Buffer, keep: number) {
  const whole = Buffer.concat([Buffer.from('before'), Buffer.from(bytes), Buffer.from('behind')])
  return payloadOf(whole, 6, whole.length - 6, keep)
}
