import assert from 'node:assert/strict'
import { isIPv4, isIPv6 } from 'node:net'
import { formatAddress, parseAddress } from './address.ts'

/** Text as a person may write it, and the one text that RFC 5952 allows. */
const SPELLINGS: readonly (readonly [string, string])[] = [
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['10.1.2.3', '10.1.2.3'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:c000:0201', '192.0.2.1'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['fe80::', 'fe80::'],
  ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['0:0:1:2:3:4:5:6', '::1:2:3:4:5:6'],
  ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
  ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ['::1:2:3:4:5:6:7', '0:1:2:3:4:5:6:7'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ['::ffff:0:0:0', '::ffff:0:0:0'],
  ['::192.0.2.1', '::c000:201'],
]

const NOT_ADDRESSES = [
  '',
  '.',
  ':',
  ':::',
  '1',
  '1.2.3',
  '1.2.3.4.5',
  '256.1.1.1',
  '01.2.3.4',
  '1.2.3.4 ',
  '1.2.3.-4',
  '0x1.2.3.4',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1::2::3',
  '1:2:3:4::5:6:7:8',
  ':1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:',
  '12345::',
  'g::',
  'fe80::1%eth0',
  '::1.2.3.256',
  '1.2.3.4::',
  '1.2.3.4:1::',
  '::1.2.3.4:1',
]

describe('address', () => {
  for (const [written, canonical] of SPELLINGS) {
    it(`${written} is ${canonical}`, () => {
      const words = parseAddress(written)
      assert.ok(words)
      assert.equal(formatAddress(words), canonical)
      assert.deepEqual(parseAddress(canonical), words)
    })
  }

  it('refuses what is not an address', () => {
    for (const text of NOT_ADDRESSES) assert.equal(parseAddress(text), null, JSON.stringify(text))
  })

  it('keeps IPv4 as IPv4-mapped words', () => {
    assert.deepEqual(parseAddress('200.1.2.3'), Int32Array.of(0, 0, 0xffff, 0xc8010203 | 0))
  })

  it('reads the address at its offset', () => {
    const words = Int32Array.of(9, 9, 9, 9, 0, 0, 0xffff, 0x0a000001)
    assert.equal(formatAddress(words, 4), '10.0.0.1')
  })

  it('writes what it reads back, and what Node takes for the same kind of address', () => {
    let seed = 7
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) | 0
      return seed >>> 8
    }
    const words = new Int32Array(4)
    for (let round = 0; round < 5000; round++) {
      for (let i = 0; i < 4; i++) words[i] = [0, 0xffff, random(), random() << 16][random() & 3]!
      const text = formatAddress(words)
      assert.deepEqual(parseAddress(text), words, text)
      assert.ok(text.includes(':') ? isIPv6(text) : isIPv4(text), text)
    }
  })
})
