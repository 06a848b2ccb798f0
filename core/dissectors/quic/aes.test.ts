import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { generator } from '../../testing/golden.ts'
import { encrypt } from './aes.ts'
import { bytesOf, wordsOf } from './sha256.ts'

describe('AES-128', () => {
  it('encrypts as FIPS 197, appendix B says', () => {
    const key = wordsOf(Buffer.from('2b7e151628aed2a6abf7158809cf4f3c', 'hex'))
    assert.equal(
      hex(key, Buffer.from('3243f6a8885a308d313198a2e0370734', 'hex'), 0),
      '3925841d02dc09fbdc118597196a0b32',
    )
  })

  it('encrypts as OpenSSL does', () => {
    const random = generator(128)
    for (let i = 0; i < 1000; i++) {
      const [key, block] = [bytes(16, random), bytes(20, random)]
      const expected = createCipheriv('aes-128-ecb', key, null).update(block.subarray(3, 19))
      assert.equal(hex(wordsOf(key), block, 3), expected.toString('hex'))
    }
  })
})

function bytes(length: number, random: () => number): Uint8Array {
  return Uint8Array.from({ length }, () => random() & 0xff)
}

function hex(key: Int32Array, block: Uint8Array, at: number): string {
  const words = new Int32Array(4)
  encrypt(key, block, at, words)
  return bytesOf(words, Buffer.alloc(16)).toString('hex')
}
