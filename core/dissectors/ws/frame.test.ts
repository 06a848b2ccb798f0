import assert from 'node:assert/strict'
import { Cursor, Malformed } from '../../cursor.ts'
import { readFrame, unmask } from './frame.ts'

describe('a frame of WebSocket', () => {
  it('is unmasked alike from any place to any place, in any step with the mask', () => {
    const mask = 0x91f2037e
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i * 7)
    for (const [start, phase, to, length] of STEPS) {
      const target = Buffer.allocUnsafeSlow(320)
      unmask(bytes, start, start + length, mask, phase, target, to)
      const expected = bytes
        .slice(start, start + length)
        .map((byte, i) => byte ^ (mask >>> (24 - ((i + phase) & 3) * 8)))
      assert.deepEqual([...target.subarray(to, to + length)], [...expected])
    }
  })

  const HEADS: readonly [bytes: number[], length: number, mask: number][] = [
    [[0x81, 5], 5, 0],
    [[0x82, 126, 1, 0], 256, 0],
    [[0x01, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536, 0],
    [[0x81, 0x85, 1, 2, 3, 4], 5, 0x01020304],
  ]
  for (const [bytes, length, mask] of HEADS)
    it(`has a head of ${bytes.length} bytes`, () => {
      const at = new Cursor(Uint8Array.from(bytes))
      const frame = readFrame(at, false)
      assert.deepEqual([frame.length, frame.mask, at.remaining], [length, mask, 0])
    })

  const WRONG: readonly [what: string, bytes: number[]][] = [
    ['an opcode that means nothing', [0x83, 0]],
    ['reserved bits', [0xc1, 0]],
    ['a ping in parts', [0x09, 0]],
    ['a long ping', [0x89, 126, 0, 126]],
    ['a length beyond 2^53', [0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0]],
  ]
  for (const [what, bytes] of WRONG)
    it(`has not ${what}`, () => {
      assert.throws(
        () => readFrame(new Cursor(Uint8Array.from(bytes)), false),
        thrown => thrown instanceof Malformed,
      )
    })
})

const STEPS = [0, 1, 2, 3].flatMap(a =>
  [0, 1, 2, 3].flatMap(b => [0, 1, 2, 3].flatMap(c => [0, 5, 63, 64, 200].map(d => [a, b, c, d] as const))),
)
