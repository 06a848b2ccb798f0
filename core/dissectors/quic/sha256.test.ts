import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { generator } from '../../testing/golden.ts'
import { Hmac } from './sha256.ts'

describe('HMAC with SHA-256', () => {
  it('is that of OpenSSL, for keys and messages of all lengths', () => {
    const random = generator(256)
    for (let i = 0; i < 1000; i++) {
      const key = bytes(i % 65, random)
      const message = bytes(i % 56, random)
      assert.deepEqual(Buffer.from(new Hmac(key).of(message)), createHmac('sha256', key).update(message).digest())
    }
  })

  it('is the same under one key again and again', () => {
    const hmac = new Hmac(Uint8Array.of(1, 2, 3))
    const first = hmac.of(Uint8Array.of(4))
    hmac.of(Uint8Array.of(5, 6))
    assert.deepEqual(hmac.of(Uint8Array.of(4)), first)
  })

  it('refuses what does not fit into a block', () => {
    assert.throws(() => new Hmac(new Uint8Array(65)), RangeError)
    assert.throws(() => new Hmac(new Uint8Array(1)).of(new Uint8Array(56)), RangeError)
  })
})

function bytes(length: number, random: () => number): Uint8Array {
  return Uint8Array.from({ length }, () => random() & 0xff)
}
