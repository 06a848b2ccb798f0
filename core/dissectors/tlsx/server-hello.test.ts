import assert from 'node:assert/strict'
import { Cursor } from '../../cursor.ts'
import { generator } from '../../testing/golden.ts'
import { readServerHello } from './server-hello.ts'

describe('a ServerHello', () => {
  it('is read as what it says, whatever others said before', () => {
    const random = generator(5246)
    for (let i = 0; i < 1500; i++) {
      // Of few values, so that many hellos are almost the same.
      const [suite, version, group] = [0x1301 + (random() % 2), 0x0303 + (random() % 2), 0x001d + (random() % 2)]
      const protocol = ['h2', 'h', '2h'][random() % 3]!
      const others = [0x0029, 0x0033, 0x001d].filter(() => random() % 2 === 0)
      const extensions = Buffer.concat([
        extension(43, u16(version)),
        extension(16, sized(u16, sized(u8, Buffer.from(protocol)))),
        ...others.map(type => extension(type, type === 0x33 ? Buffer.concat([u16(group), Buffer.alloc(4, i)]) : EMPTY)),
      ])
      const bytes = Buffer.concat([
        u16(0x0303),
        Buffer.alloc(32, i),
        sized(u8, Buffer.alloc(random() % 3, i)),
        u16(suite),
        u8(0),
        sized(u16, extensions),
      ])
      const { choice, random: own } = readServerHello(new Cursor(bytes, 0, bytes.length, true))
      assert.equal(own, Buffer.alloc(32, i).toString('hex'))
      assert.deepEqual(
        [choice.suite, choice.version, choice.alpn, choice.preSharedKey, choice.extensions.codes, choice.problem],
        [suite, version, protocol, others.includes(0x0029), [43, 16, ...others], null],
      )
      assert.equal(choice.group, others.includes(0x33) ? (group === 0x1d ? 'x25519' : 'x448') : null)
      assert.equal(choice.tls13, version === 0x0304)
    }
  })
})

const EMPTY = Buffer.alloc(0)

function extension(type: number, data: Uint8Array): Buffer {
  return Buffer.concat([u16(type), sized(u16, data)])
}

/** Behind its length. */
function sized(length: (value: number) => Buffer, data: Uint8Array): Buffer {
  return Buffer.concat([length(data.length), data])
}

function u16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255)
}

function u8(value: number): Buffer {
  return Buffer.of(value)
}
