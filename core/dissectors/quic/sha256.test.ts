import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { generator } from '../../testing/golden.ts'
import { blockOf, bytesOf, Hmac, wordsOf } from './sha256.ts'

describe('HMAC with SHA-256', () => {
  it('is that of OpenSSL, for keys and messages of all lengths', () => {
    const random = generator(256)
    for (let i = 0; i < 1000; i++) {
      const key = bytes(i % 65, random)
      const message = bytes(i % 56, random)
      const sum = bytesOf(new Hmac().under(wordsOf(key)).of(blockOf(message), words()), Buffer.alloc(32))
      assert.deepEqual(sum, createHmac('sha256', key).update(message).digest())
    }
  })

  it('is the same under one key again and again', () => {
    const hmac = new Hmac().under(wordsOf(Uint8Array.of(1, 2, 3)))
    const first = hmac.of(blockOf(Uint8Array.of(4)), words())
    hmac.of(blockOf(Uint8Array.of(5, 6)), words())
    assert.deepEqual(hmac.of(blockOf(Uint8Array.of(4)), words()), first)
  })

  it('refuses what does not fit into a block', () => {
    assert.throws(() => wordsOf(new Uint8Array(65)), RangeError)
    assert.throws(() => blockOf(new Uint8Array(56)), RangeError)
  })
})

function words(): Int32Array {
  return new Int32Array(8)
}

function bytes(length: number, random: () => number): Uint8Array {
  return Uint8Array.from({ length }, () => random() & 0xff)
}
