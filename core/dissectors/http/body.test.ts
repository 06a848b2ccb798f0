import assert from 'node:assert/strict'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { BufferPool } from '../../buffer-pool.ts'
import { Cursor, Malformed } from '../../cursor.ts'
import { JsonWriter } from '../../json-writer.ts'
import { generator } from '../../testing/golden.ts'
import { Body, decode, type Framing, writeText } from './body.ts'

const CHUNKED = '5;name="v"\r\nhello\r\n00006 ; x\r\n world\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n'

describe('http body', () => {
  it('takes as many bytes as were announced, and none of the next message', () => {
    const { body, rest } = read('length', 5, ['hel', 'loHTTP'])
    assert.deepEqual([content(body), body.size, body.cut, rest], ['hello', 5, false, 'HTTP'])
  })

  it('takes chunks with extensions, and their trailers', () => {
    const { body, rest } = read('chunked', 0, [`${CHUNKED}next`])
    assert.deepEqual([content(body), body.size, rest], ['hello world', 11, 'next'])
    assert.deepEqual(JSON.parse(body.trailers!), { 'X-Sum': '1,2' })
    for (const none of ['0\r\n\r\n', '0\n\n', '000\r\n\r\n'])
      assert.deepEqual([read('chunked', 0, [none]).body.trailers, read('chunked', 0, [none]).ended], [null, true])
    assert.equal(content(read('chunked', 0, ['3\nabc\n0\n\n']).body), 'abc')
  })

  it('reads the same however chunks are cut', () => {
    for (let first = 0; first <= CHUNKED.length; first++) {
      const { body, ended } = read('chunked', 0, [CHUNKED.slice(0, first), CHUNKED.slice(first)])
      assert.deepEqual([content(body), body.size, ended], ['hello world', 11, true])
    }
    assert.equal(content(read('chunked', 0, [...CHUNKED]).body), 'hello world')
  })

  it('refuses chunks that are none', () => {
    for (const bad of ['x\r\n', '\r\n', '-1\r\n', '5x\r\n', `${'f'.repeat(14)}\r\n`, '3\r\nabcd\r\n', '3\r\nabc\rx\n'])
      assert.throws(() => read('chunked', 0, [bad]), Malformed, JSON.stringify(bad))
    assert.throws(() => read('chunked', 0, ['1'.repeat(5000)]), Malformed)
    assert.throws(() => read('chunked', 0, [`0\r\n${'x'.repeat(70_000)}`]), Malformed)
  })

  it('takes everything until the end of the connection', () => {
    const { body, ended } = read('close', 0, ['abc', 'def'])
    assert.deepEqual([content(body), ended], ['abcdef', false])
  })

  it('keeps no more than was asked for, and counts all', () => {
    for (const keep of [0, 1, 7, 99_999, 100_000, 100_001])
      for (const step of [1400, 100_000]) {
        const text = 'abcdefghij'.repeat(10_000)
        const pieces = Array.from({ length: Math.ceil(text.length / step) }, (_, i) =>
          text.slice(i * step, (i + 1) * step),
        )
        const { body } = read('length', text.length, pieces, keep)
        assert.equal(content(body), text.slice(0, keep))
        assert.deepEqual([body.size, body.cut], [100_000, keep < 100_000])
        assert.ok(body.weight <= Math.max(4096, 2 * keep))
      }
  })

  it('needs no memory for what was only announced', () => {
    const { body } = read('length', 1e12, ['x'], 1 << 20)
    assert.ok(body.weight <= 65_536)
  })

  it('bridges what is missing within a body or a chunk, and keeps what came before', () => {
    const { body, at } = read('length', 10, ['abc'])
    assert.equal(body.bridge(8), false)
    assert.equal(body.bridge(4), true)
    at('hij')
    assert.deepEqual([content(body), body.size, body.missing, body.cut], ['abc', 10, 4, true])
    const chunk = read('chunked', 0, ['5\r\nab'])
    assert.deepEqual([chunk.body.bridge(4), chunk.body.bridge(3)], [false, true])
    assert.equal(chunk.at('\r\n0\r\n\r\n'), true)
    for (const between of ['5', '5\r\nabcde', '5\r\nabcde\r\n', '0\r\n'])
      assert.equal(read('chunked', 0, [between]).body.bridge(1), false, between)
    assert.equal(read('close', 0, ['abc']).body.bridge(1), false)
  })
})

describe('http content codings', () => {
  const text = Buffer.from('Hello, hello, hello. '.repeat(100))
  const codings = {
    gzip: gzipSync,
    'x-gzip': gzipSync,
    deflate: deflateSync,
    br: brotliCompressSync,
    zstd: zstdCompressSync,
  }

  for (const [name, encode] of Object.entries(codings)) {
    it(`${name} is decoded, also when the end is missing`, () => {
      const encoded = encode(text)
      assert.deepEqual(plain(decode(encoded, [name])), text)
      const noise = Buffer.concat(Array.from({ length: 3000 }, (_, i) => Buffer.from([i * 7, (i * i) >> 3])))
      const part = plain(decode(encode(noise).subarray(0, 4000), [name]))
      assert.ok(part.length > 0 && part.equals(noise.subarray(0, part.length)))
    })

    it(`${name} that inflates without measure costs no more than an honest body`, () => {
      const bomb = encode(Buffer.alloc(24 << 20))
      const before = process.memoryUsage().rss
      assert.equal(decode(bomb, [name]), null)
      assert.ok(process.memoryUsage().rss - before < 24 << 20)
    })

    it(`what is not ${name} is left as it is`, () => {
      assert.equal(decode(Buffer.from('\u0000\u0001plain text, no coding'), [name]), null)
    })
  }

  it('deflate may lack its zlib header', () => {
    assert.deepEqual(plain(decode(deflateRawSync(text), ['deflate'])), text)
  })

  it('are undone in the reverse of their order, and not endlessly', () => {
    assert.deepEqual(plain(decode(brotliCompressSync(gzipSync(text)), ['gzip', 'br'])), text)
    assert.equal(decode(brotliCompressSync(gzipSync(text)), ['br', 'gzip']), null)
    let many: Buffer = text
    for (let i = 0; i < 6; i++) many = gzipSync(many)
    assert.equal(decode(many, new Array(6).fill('gzip')), null)
  })

  it('that nobody knows are left, also those with names that objects have by birth', () => {
    for (const name of ['compress', 'constructor', '__proto__', 'hasownproperty'])
      assert.equal(decode(text, [name]), null, name)
  })

  it('of damaged bytes throw nothing', () => {
    const random = generator(9)
    for (const [name, encode] of Object.entries(codings))
      for (let round = 0; round < 100; round++) {
        const damaged = Buffer.from(encode(text))
        damaged[random() % damaged.length]! ^= 1 << (random() % 8)
        decode(damaged.subarray(0, random() % damaged.length), [name])
      }
  })
})

describe('http body text', () => {
  it('is text, or base64 and says so', () => {
    assert.deepEqual(written(Buffer.from('naïve'), false), { text: 'naïve' })
    assert.deepEqual(written(Buffer.from([0xff, 0]), false), { text: '/wA=', encoding: 'base64' })
    assert.deepEqual(written(Buffer.from('naïve').subarray(0, 3), true), { text: 'na', truncated: true })
    assert.deepEqual(written(Buffer.from([0xff, 0, 1, 2]), true), {
      text: '/wABAg==',
      encoding: 'base64',
      truncated: true,
    })
  })
})

/** Feeds the pieces as segments: what is not taken is there again with the next. */
function read(framing: Framing, length: number, pieces: string[], keep = 1 << 20) {
  const body = new Body(framing, length, keep, new BufferPool())
  let rest = ''
  const at = (piece: string): boolean => {
    const bytes = Buffer.from(rest + piece, 'latin1')
    const cursor = new Cursor(bytes)
    const done = body.read(cursor)
    rest = bytes.toString('latin1', cursor.position)
    bytes.fill(0)
    return done
  }
  let ended = false
  for (const piece of pieces) ended = ended ? assert.equal(piece, '') === undefined : at(piece)
  return { body, rest, ended, at }
}

function content(body: Body): string {
  return Buffer.from(body.content).toString('latin1')
}

function plain(bytes: Uint8Array | null): Buffer {
  assert.ok(bytes !== null)
  return Buffer.from(bytes)
}

function written(bytes: Uint8Array, cut: boolean) {
  const out = new JsonWriter(8)
  out.ascii('{')
  const [start, end] = writeText(out, bytes, 0, bytes.length, cut)
  out.ascii('}')
  const found = JSON.parse(out.save().toString())
  assert.equal(JSON.parse(out.bytes.toString('utf8', start, end)), found.text)
  return found
}
