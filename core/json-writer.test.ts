import assert from 'node:assert/strict'
import { JsonWriter, Written } from './json-writer.ts'
import { generator } from './testing/golden.ts'

/** Lengths around those at which the writer takes another way. */
const LENGTHS = [0, 1, 39, 40, 41, 79, 80, 81, 500]

describe('json writer', () => {
  it('writes any bytes as the string that JSON.parse reads as their UTF-8', () => {
    const random = generator(1)
    for (let round = 0; round < 3000; round++) {
      const bytes = someBytes(random)
      assert.equal(
        parsed(out => out.string(bytes, 0, bytes.length)),
        bytes.toString('utf8'),
        bytes.toString('hex'),
      )
    }
  })

  it('writes every single byte and every pair with a lead byte', () => {
    for (let first = 0; first < 256; first++)
      for (const second of [0x00, 0x22, 0x5c, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff]) {
        const bytes = Buffer.from([first, second, 0x80, 0x80, 0x41])
        for (let end = 1; end <= 5; end++)
          assert.equal(
            parsed(out => out.string(bytes, 0, end)).replace(/\ufffd+/g, '\ufffd'),
            bytes.toString('utf8', 0, end).replace(/\ufffd+/g, '\ufffd'),
          )
      }
  })

  it('writes text alone as text: UTF-8 without control characters', () => {
    assert.equal(textOf('naïve\t"\\\r\n€😀'), 'naïve\t"\\\r\n€😀')
    for (const odd of ['a\u0000b', '\u001b[0m']) assert.equal(textOf(odd), null)
    for (const odd of [[0xff], [0xc3], [0x41, 0xed, 0xa0, 0x80], [0xf0, 0x9f, 0x98], [0xc0, 0x80]])
      assert.equal(textOf(Buffer.from(odd)), null)
  })

  it('leaves out the part of a character where text was cut, and nothing more', () => {
    const whole = Buffer.from('ab😀')
    for (let end = 3; end < whole.length; end++) assert.equal(textOf(whole.subarray(0, end), true), 'ab')
    assert.equal(textOf(whole, true), 'ab😀')
    // Four bytes before the end no character is cut off.
    assert.equal(textOf(Buffer.from([0xff, 0x41, 0x41, 0x41]), true), null)
  })

  it('copies and converts what is short and what is long', () => {
    for (const length of LENGTHS)
      for (const letter of ['a', 'é', '€', '😀']) {
        const value = letter.repeat(length)
        const bytes = Buffer.from(JSON.stringify(value))
        const view = new Uint8Array(bytes)
        assert.equal(
          parsed(out => out.value(value)),
          value,
        )
        assert.equal(
          parsed(out => out.raw(view)),
          value,
        )
        assert.equal(
          parsed(out => out.rawRange(view, 0, view.length)),
          value,
        )
        assert.equal(
          parsed(out => out.written(new Written(bytes, 0, bytes.length))),
          value,
        )
      }
  })

  it('writes whole numbers of any size', () => {
    for (const value of [0, 9, 10, 99, 2 ** 31 - 1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, -1])
      assert.equal(
        parsed(out => out.integer(value)),
        value,
      )
    const out = new JsonWriter(1)
    out.digits(42, 9)
    assert.equal(out.save().toString(), '000000042')
  })

  it('repeats what it wrote when that makes it grow', () => {
    const out = new JsonWriter(16)
    out.ascii('"0123456789ab"')
    out.repeat(1, 13)
    out.repeat(1, 25)
    assert.equal(out.save().toString(), `"0123456789ab"${'0123456789ab'}${'0123456789ab"0123456789a'}`)
  })

  it('saves a copy that later writing does not touch', () => {
    const out = new JsonWriter(4)
    out.ascii('first')
    const saved = out.save()
    out.length = 0
    out.ascii('other')
    assert.equal(saved.toString(), 'first')
  })

  it('writes base64 of any length', () => {
    for (const size of [0, 1, 2, 3, 4, 5, 100, 1023, 1024, 1025, 1026, 5000]) {
      const bytes = Uint8Array.from({ length: size + 2 }, (_, i) => (i * 37 + size) & 0xff)
      const out = new JsonWriter(8)
      out.base64(bytes, 1, size + 1)
      const expected = Buffer.from(bytes.subarray(1, size + 1)).toString('base64')
      assert.equal(out.bytes.toString('utf8', 0, out.length), `"${expected}"`)
    }
  })

  it('writes what needs no escape without making JSON of it', () => {
    const out = new JsonWriter(8)
    assert.equal(out.asciiString('a longer text than it has room for'), true)
    assert.equal(out.bytes.toString('utf8', 0, out.length), '"a longer text than it has room for"')
    const { length } = out
    for (const text of ['a"b', 'a\\b', 'a\nb', 'ü', '\u0000']) assert.equal(out.asciiString(text), false)
    assert.equal(out.length, length)
  })
})

/** Read back from a writer that is too small at first. */
function parsed(write: (out: JsonWriter) => void) {
  const out = new JsonWriter(1)
  write(out)
  return JSON.parse(out.save().toString('utf8'))
}

function textOf(from: string | Buffer, cut = false): string | null {
  const bytes = Buffer.from(from)
  const out = new JsonWriter(1)
  return out.text(bytes, 0, bytes.length, cut) ? JSON.parse(out.save().toString('utf8')) : null
}

const PIECES = ['a', '"', '\\', '\u0000', '\u001f', '\n', '\u007f', 'é', '€', '😀', '\u2028'].map(text =>
  Buffer.from(text),
)

/** Characters of every kind, here and there with a foreign byte between them. */
function someBytes(random: () => number): Buffer {
  const pieces = Array.from({ length: random() % 12 }, () =>
    random() % 8 === 0 ? Buffer.from([0xff]) : PIECES[random() % PIECES.length]!,
  )
  return Buffer.concat(pieces)
}
