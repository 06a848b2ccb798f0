import assert from 'node:assert/strict'
import { Cursor } from '../../cursor.ts'
import { JsonWriter } from '../../json-writer.ts'
import { generator } from '../../testing/golden.ts'
import { readClientHello, writeHello } from './hello.ts'

describe('a ClientHello', () => {
  it('is read as what it says, whatever others said before', () => {
    const random = generator(8446)
    // Of few values, so that many hellos are almost the same.
    const some = (values: readonly number[]) => values.filter(() => random() % 2 === 0)
    for (let i = 0; i < 2000; i++) {
      const suites = some([0x1301, 0x001d, 0x0033])
      const [groups, shares, versions] = [
        some([0x001d, 0x0017]),
        some([0x001d, 0x0017, 0x0018]),
        some([0x0303, 0x0304]),
      ]
      const [keys, ticket, identity] = [random() % 3, random() % 3, random() % 2]
      const name = random() % 2 === 0 ? 'a.test' : `${random() % 100}.b.test`
      const others = some([0x001d, 0x0017, 0x0005, 0x002a])
      const bytes = Buffer.concat([
        u16(0x0303),
        Buffer.alloc(32, i),
        Buffer.of(0),
        sized(2, ...suites.map(u16)),
        Buffer.of(1, 0),
        sized(
          2,
          extension(0, sized(2, Buffer.of(0), sized(2, Buffer.from(name)))),
          extension(10, sized(2, ...groups.map(u16))),
          extension(
            51,
            sized(2, ...shares.map(group => Buffer.concat([u16(group), sized(2, Buffer.alloc(identity, i))]))),
          ),
          ...others.map(type => extension(type, Buffer.alloc(random() % 2, i))),
          extension(43, sized(1, ...versions.map(u16))),
          extension(35, Buffer.alloc(ticket, i)),
          extension(
            41,
            sized(2, ...Array(keys).fill(Buffer.concat([sized(2, Buffer.alloc(identity, i)), Buffer.alloc(4)]))),
          ),
        ),
      ])
      const hello = readClientHello(new Cursor(bytes, 0, bytes.length, true), 't')
      const { offered, problem } = hello.offer
      const types = [0, 10, 51, ...others, 43, 35, 41]
      assert.deepEqual(
        [hello.random, hello.sni, offered.cipherSuites.codes, offered.groups.codes, offered.extensions.codes, problem],
        [Buffer.alloc(32, i).toString('hex'), name, suites, groups, types, null],
      )
      assert.equal(offered.keyShares.length, shares.length)
      assert.equal(offered.versions.length, Math.max(versions.length, 1))
      assert.deepEqual(
        [offered.preSharedKeys, offered.sessionTicket, offered.ocsp, offered.earlyData],
        [keys, ticket, others.includes(0x0005), others.includes(0x002a)],
      )
      const { version, sni, extensions, preSharedKeys } = written(hello)
      assert.deepEqual(
        [version, sni, extensions, preSharedKeys],
        [offered.version, name, offered.extensions.names, keys],
      )
    }
  })

  it('is read again when it is longer than what is remembered', () => {
    const bytes = (suite: number) =>
      Buffer.concat([u16(0x0303), Buffer.alloc(33), sized(2, Buffer.alloc(600, 7), u16(suite)), Buffer.of(1, 0)])
    for (const suite of [0x1301, 0x1302]) {
      const hello = bytes(suite)
      const { offered } = readClientHello(new Cursor(hello, 0, hello.length, true), 't').offer
      assert.equal(offered.cipherSuites.codes.at(-1), suite)
    }
  })
})

function written(hello: Parameters<typeof writeHello>[1]): Record<string, unknown> {
  const out = new JsonWriter(64)
  writeHello(out, hello)
  return JSON.parse(`${out.save().toString()}}`)
}

function extension(type: number, data: Uint8Array): Buffer {
  return Buffer.concat([u16(type), sized(2, data)])
}

/** Behind their length in so many bytes. */
function sized(bytes: 1 | 2, ...parts: Uint8Array[]): Buffer {
  const all = Buffer.concat(parts)
  return Buffer.concat([bytes === 1 ? Buffer.of(all.length) : u16(all.length), all])
}

function u16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255)
}
