import assert from 'node:assert/strict'
import { emptyPacket, type Packet } from '../../core/packet.ts'
import { frameOf } from '../testing/traffic.ts'
import type { ClassicInstruction } from './classic.ts'
import { packetTest } from './packet-test.ts'

describe('classic BPF over packets', () => {
  /** `code jt jf k` a line, as `tcpdump -ddd` prints them. */
  function program(text: string): ClassicInstruction[] {
    const lines = text.trim().split('\n')
    return lines.map(line => {
      const [code, jt, jf, k] = line.trim().split(/\s+/).map(Number)
      return { code: code!, jt: jt!, jf: jf!, k: k! | 0 }
    })
  }

  function packetOf(bytes: Uint8Array, length = bytes.length): Packet {
    // Not at the beginning of its buffer, as packets mostly are.
    return {
      ...emptyPacket(),
      bytes: Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(9, 0xff)]),
      start: 3,
      end: 3 + bytes.length,
      length,
    }
  }

  const payload = Buffer.from('hello')
  const udp = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 1234, toPort: 53, protocol: 17, payload }

  it('runs what libpcap makes of `udp dst port 53 and len <= 100`', () => {
    const test = packetTest(
      program(`
        40 0 0 12
        21 0 4 34525
        48 0 0 20
        21 0 13 17
        40 0 0 56
        21 8 11 53
        21 0 10 2048
        48 0 0 23
        21 0 8 17
        40 0 0 20
        69 6 0 8191
        177 0 0 14
        72 0 0 16
        21 0 3 53
        128 0 0 0
        37 1 0 100
        6 0 0 262144
        6 0 0 0`),
    )
    assert.equal(test(packetOf(frameOf(udp))), true)
    assert.equal(test(packetOf(frameOf({ ...udp, toPort: 54 }))), false)
    assert.equal(test(packetOf(frameOf({ ...udp, protocol: 6 }))), false)
    assert.equal(test(packetOf(frameOf({ ...udp, from: '2001:db8::1', to: '2001:db8::2' }))), true)
    assert.equal(test(packetOf(frameOf(udp), 101)), false)
    assert.equal(test(packetOf(frameOf(udp).subarray(0, 37))), false, 'cut before its ports')
  })

  /** Loads A from the first four bytes and X from byte 4 (its lower half times four), and wants what has the result 1. */
  const operations: [name: string, code: number, a: number, x: number, result: number][] = [
    ['add', 0x0c, 0xffffffff, 8, 7],
    ['sub', 0x1c, 4, 8, -4],
    ['mul', 0x2c, 0x80000001, 4, 4],
    ['div, unsigned', 0x3c, 0xfffffff0, 4, 0x3ffffffc],
    ['mod, unsigned', 0x9c, 0xfffffff1, 4, 1],
    ['or', 0x4c, 0x10, 8, 0x18],
    ['and', 0x5c, 0x1c, 8, 8],
    ['xor', 0xac, 0x1c, 8, 0x14],
    ['shift left', 0x6c, 3, 4, 0x30],
    ['shift left by all', 0x6c, 3, 32, 0],
    ['shift right, unsigned', 0x7c, 0xf0000000, 28, 0xf],
    ['negate', 0x84, 5, 0, -5],
  ]
  for (const [name, code, a, x, result] of operations)
    it(`knows ${name}`, () => {
      const bytes = Buffer.alloc(5)
      bytes.writeUInt32BE(a)
      bytes[4] = (x >> 2) | 0x40
      // X is a nibble times four at most; larger ones are doubled up by hand.
      const load = x <= 60 ? [{ code: 0xb1, jt: 0, jf: 0, k: 4 }] : []
      const test = packetTest([
        ...load,
        { code: 0x20, jt: 0, jf: 0, k: 0 },
        { code, jt: 0, jf: 0, k: 0 },
        { code: 0x15, jt: 0, jf: 1, k: result | 0 },
        { code: 0x06, jt: 0, jf: 0, k: 1 },
        { code: 0x06, jt: 0, jf: 0, k: 0 },
      ])
      assert.equal(test(packetOf(bytes)), true)
    })

  it('does not want what it divides by zero, or reads beyond', () => {
    const accept = { code: 0x06, jt: 0, jf: 0, k: 1 }
    assert.equal(packetTest([{ code: 0x3c, jt: 0, jf: 0, k: 0 }, accept])(packetOf(payload)), false)
    for (const code of [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1])
      for (const k of [5, 0x7fffffff, -1])
        assert.equal(packetTest([{ code, jt: 0, jf: 0, k }, accept])(packetOf(payload)), false)
    assert.equal(packetTest([accept])(packetOf(payload)), true)
  })

  it('refuses what may not end', () => {
    const accept = { code: 0x06, jt: 0, jf: 0, k: 1 }
    for (const bad of [
      [],
      [{ code: 0x20, jt: 0, jf: 0, k: 0 }],
      [{ code: 0x15, jt: 1, jf: 0, k: 0 }, accept],
      [{ code: 0x05, jt: 0, jf: 0, k: -1 }, accept],
      [{ code: 0x60, jt: 0, jf: 0, k: 16 }, accept],
      [{ code: 0x34, jt: 0, jf: 0, k: 0 }, accept],
      [{ code: 0xff, jt: 0, jf: 0, k: 0 }, accept],
      Array.from({ length: 4097 }, () => accept),
    ])
      assert.throws(() => packetTest(bad), { code: 'FILTER_PROGRAM' })
  })
})
