import assert from 'node:assert/strict'
import { JsonWriter } from '../../json-writer.ts'
import { generator } from '../../testing/golden.ts'
import { readProtobuf, writeProtobuf } from './protobuf.ts'

const MESSAGES: [what: string, hex: string, expected: unknown][] = [
  ['a number', '089601', { 1: 150 }],
  ['numbers that JSON cannot hold', '08ffffffffffffffffff01', { 1: '18446744073709551615' }],
  ['the largest that it can', '08ffffffffffffff0f', { 1: Number.MAX_SAFE_INTEGER }],
  ['text', '120774657374696e67', { 2: 'testing' }],
  ['a message in a message', '1a03089601', { 3: { 1: 150 } }],
  ['a message whose text looks like lines', `1a260a24${'61'.repeat(36)}`, { 3: { 1: 'a'.repeat(36) } }],
  ['text with line ends', `0a0c${Buffer.from('two\nlines\r\n!').toString('hex')}`, { 1: 'two\nlines\r\n!' }],
  ['text beyond ASCII', '0a04c3bcc3bc', { 1: 'üü' }],
  ['text, though it could be a message', '0a024869', { 1: 'Hi' }],
  ['bytes', '0a0300ff01', { 1: { encoding: 'base64', text: 'AP8B' } }],
  ['packed numbers, as bytes', '220600038e029ea7', { 4: { encoding: 'base64', text: 'AAOOAp6n' } }],
  ['what is repeated', '080108020803', { 1: [1, 2, 3] }],
  ['32 bits, in both readings', '0d0000c03f', { 1: { fixed32: 1069547520, float: 1.5 } }],
  ['64 bits, in both readings', '09000000000000f83f', { 1: { fixed64: '4609434218613702656', double: 1.5 } }],
  ['no number', '0d0000c07f', { 1: { fixed32: 2143289344, float: 'NaN' } }],
  ['a group', '0b10011a01610c', { 1: { 2: 1, 3: 'a' } }],
  ['an empty message', '', {}],
  ['an empty field', '0a00', { 1: '' }],
]
const NONE: [what: string, hex: string][] = [
  ['field 0', '0001'],
  ['a type that there is not', '0e'],
  ['a number cut short', '0896'],
  ['a number without end', '08ffffffffffffffffffff01'],
  ['bytes cut short', '0a05616263'],
  ['32 bits cut short', '0d0000'],
  ['a group without end', '0b1001'],
  ['an end of another group', '0b100114'],
]

describe('protobuf without a description', () => {
  for (const [what, hex, expected] of MESSAGES)
    it(`reads ${what}`, () => assert.deepEqual(read(Buffer.from(hex, 'hex')), expected))
  for (const [what, hex] of NONE) it(`refuses ${what}`, () => assert.equal(read(Buffer.from(hex, 'hex')), null))

  it('writes without objects what it reads with them, or nothing', () => {
    const written = (bytes: Uint8Array) => {
      const out = new JsonWriter(8)
      if (writeProtobuf(out, bytes, 0, bytes.length)) return JSON.parse(out.bytes.toString('utf8', 0, out.length))
      assert.equal(out.length, 0)
      return 'nothing'
    }
    for (const [what, hex, expected] of MESSAGES) {
      const found = written(Buffer.from(hex, 'hex'))
      if (what === 'a group') assert.equal(found, 'nothing')
      else assert.deepEqual(found, expected)
    }
    const random = generator(1)
    const likely = [8, 9, 10, 13, 16, 18, 26, 1, 2, 3, 4, 65, 97, 0x80, 0xff]
    for (let round = 0; round < 50_000; round++) {
      const bytes = Uint8Array.from({ length: random() % 20 }, () => likely[random() % likely.length]!)
      const found = written(bytes)
      if (found !== 'nothing') assert.deepEqual(found, JSON.parse(JSON.stringify(read(bytes))))
    }
  })

  it('writes every 64 bits as they are', () => {
    const random = generator(2)
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.from([9, ...Array.from({ length: 8 }, (_, i) => (i < round % 9 ? random() & 0xff : 0))])
      const out = new JsonWriter(8)
      assert.equal(writeProtobuf(out, bytes, 0, bytes.length), true)
      assert.equal(out.bytes.toString('utf8', 0, out.length), JSON.stringify(read(bytes)))
    }
  })

  it('writes every varint as it is, also of more bits than there are', () => {
    const random = generator(3)
    for (let round = 0; round < 50_000; round++) {
      const bytes = Buffer.from([8, ...Array.from({ length: 1 + (round % 12) }, () => random() & 0xff)])
      const choice = random() % 4
      // Only the last byte says that it is the last.
      for (let i = 1; i < bytes.length - 1; i++) bytes[i] = choice === 0 ? 0x80 : choice === 1 ? 0xff : bytes[i]! | 0x80
      bytes[bytes.length - 1] = choice === 0 ? round & 3 : bytes[bytes.length - 1]! & (choice === 2 ? 1 : 0x7f)
      const out = new JsonWriter(8)
      const expected = read(bytes)
      assert.equal(writeProtobuf(out, bytes, 0, bytes.length), expected !== null)
      if (expected !== null) assert.equal(out.bytes.toString('utf8', 0, out.length), JSON.stringify(expected))
    }
  })

  it('ends in messages within messages, however many', () => {
    let nested = Buffer.from([0x0a, 0x00])
    for (let i = 0; i < 3000 && nested.length < 16_000; i++)
      nested = Buffer.concat([Buffer.from([0x0a, (nested.length & 127) | 128, nested.length >> 7]), nested])
    const start = performance.now()
    assert.notEqual(read(nested), null)
    assert.ok(performance.now() - start < 1000)
  })

  it('costs what its length costs, also when everything could be a message', () => {
    const start = performance.now()
    read(Buffer.alloc(1 << 20, '0a0408010801', 'hex'))
    read(Buffer.alloc(1 << 20, 0x0a))
    assert.ok(performance.now() - start < 2000)
  })
})

function read(bytes: Uint8Array): unknown {
  return readProtobuf(bytes, 0, bytes.length)
}
