import assert from 'node:assert/strict'
import { Malformed } from '../../cursor.ts'
import { JsonWriter } from '../../json-writer.ts'
import { generator } from '../../testing/golden.ts'
import { Head } from './head.ts'

describe('http head', () => {
  it('writes fields as they were sent, without the white space around them', () => {
    assert.deepEqual(fields('Host: a\r\nX-Empty:\r\nx-space : \t b c \t\r\n'), {
      Host: 'a',
      'X-Empty': '',
      'x-space': 'b c',
    })
    assert.deepEqual(fields(''), {})
    assert.deepEqual(fields('a: 1\nb: 2\n', '\n'), { a: '1', b: '2' })
  })

  it('writes values with quotes, backslashes, tabs, UTF-8 and Latin-1', () => {
    assert.deepEqual(fields('a: "q\\"\tx\r\nb: é\r\n'), { a: '"q\\"\tx', b: 'é' })
    assert.deepEqual(fields(Buffer.from('a: caf\xe9 "\u0001\r\n', 'latin1')), { a: 'café "\u0001' })
  })

  it('joins repeated names, however they are spelt, in the place of the first', () => {
    assert.deepEqual(Object.entries(fields('Accept: a\r\nHost: h\r\naccept: b\r\nACCEPT: c\r\n')), [
      ['Accept', 'a,b,c'],
      ['Host', 'h'],
    ])
  })

  it('does not take names for repeats that are none', () => {
    const names = Array.from({ length: 300 }, (_, i) => `x-${i}`)
    assert.deepEqual(Object.keys(fields(names.map(name => `${name}: 1\r\n`).join(''))), names)
    assert.deepEqual(fields('ab: 1\r\na: 2\r\nabc: 3\r\n'), { ab: '1', a: '2', abc: '3' })
  })

  it('reads a folded line as one, whatever else the head repeats', () => {
    const folded = 'Content-Type: multipart/form-data;\r\n\t boundary=x \r\n \r\n y\r\n'
    for (const before of ['', 'A: 1\r\na: 2\r\n', 'b: 1\r\n'])
      for (const behind of ['', 'C: 1\r\nc: 2\r\n']) {
        const { head, out } = read(before + folded + behind)
        assert.equal(JSON.parse(out)['Content-Type'], 'multipart/form-data; boundary=x y')
        assert.equal(out.slice(head.typeStart, head.typeEnd), '"multipart/form-data; boundary=x y"')
      }
    assert.equal(read('Transfer-Encoding:\r\n chunked\r\n').head.chunked, true)
    const { head } = read('Cookie: a=1\r\nContent-Length: 5\r\nX: a\r\n b\r\n')
    assert.deepEqual([head.length, head.cookies], [5, ['a=1']])
  })

  it('reads a CR by itself within a value as a space', () => {
    assert.deepEqual(fields('a: b\rc\r\nd:\r\r e\r\r\r\nf: \r\r\ng: "\ré\n'), { a: 'b c', d: 'e', f: '', g: '" é' })
    const { head, out } = read('Transfer-Encoding: \rchunked\r\r\nContent-Type: a/b;\rc=d\r\nCookie: a=1;\rb=2\r\n')
    assert.deepEqual([head.chunked, head.cookies], [true, ['a=1; b=2']])
    assert.equal(out.slice(head.typeStart, head.typeEnd), '"a/b; c=d"')
    assert.equal(read('Transfer-Encoding: chun\rked\r\n').head.chunked, false)
  })

  it('notes what tells how to read the message', () => {
    const { head, out } = read(
      'content-length: 42\r\nContent-Encoding: GZIP, br\r\nTransfer-Encoding: deflate, Chunked\r\nUPGRADE: WebSocket\r\n' +
        'location: /x\r\nCookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: text/plain\r\n',
    )
    assert.equal(head.length, 42)
    assert.equal(head.chunked, true)
    assert.deepEqual(head.codings, ['gzip', 'br', 'deflate'])
    assert.deepEqual([head.upgrade, head.location], ['websocket', '/x'])
    assert.deepEqual([head.cookies, head.setCookies], [['a=1'], ['b=2']])
    assert.equal(out.slice(head.typeStart, head.typeEnd), '"text/plain"')
  })

  it('notes it in repeated fields too', () => {
    const { head, out } = read(
      'Set-Cookie: a=1\r\nContent-Type: a/b\r\nset-cookie: b=2\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n',
    )
    assert.deepEqual([head.setCookies, head.length, head.chunked, head.codings], [['a=1', 'b=2'], 7, true, ['gzip']])
    assert.equal(out.slice(head.typeStart, head.typeEnd), '"a/b"')
  })

  it('takes equal Content-Lengths for one, and refuses others', () => {
    for (const good of ['5', '5, 5', '5,5 ,5', '5\r\nContent-Length: 5'])
      assert.equal(read(`Content-Length: ${good}\r\n`).head.length, 5)
    for (const bad of ['5, 6', '5\r\nContent-Length: 6', '', '-5', '+5', '0x5', '5 5', '9'.repeat(30), '５'])
      assert.throws(() => read(`Content-Length: ${bad}\r\n`), Malformed, bad)
  })

  it('refuses what is no head', () => {
    for (const bad of [' a: 1\r\n', 'no colon\r\n', ': 1\r\n', 'a\u0000: 1\r\n', 'é: 1\r\n', '\rx: 1\r\n'])
      assert.throws(() => read(bad), Malformed, JSON.stringify(bad))
    for (const many of ['a: 1\r\n', 'a: 1\r\n b\r\n']) assert.throws(() => read(many.repeat(2001)), Malformed)
    assert.throws(() => read(Array.from({ length: 2001 }, (_, i) => `a${i}: 1\r\n`).join('')), Malformed)
  })

  it('cut anywhere, waits for more and leaves nothing behind', () => {
    const whole = 'Host: a\r\nX: "é\r\n folded\r\nA: 1\r\na: 2\r\n\r\n'
    const bytes = Buffer.from(whole)
    for (let end = 0; end < bytes.length; end++)
      assert.equal(new Head().fields(bytes, 0, end, new JsonWriter(8)), -1, `cut at ${end}`)
    assert.equal(new Head().fields(bytes, 0, bytes.length, new JsonWriter(8)), bytes.length)
  })

  it('writes JSON whatever the bytes are', () => {
    const random = generator(5)
    const pieces = [
      'a',
      'B',
      ':',
      ': ',
      '\r\n',
      '\n',
      '\r',
      ' ',
      '\t',
      '"',
      '\\',
      'é',
      '\u0000',
      'Content-Type',
      'content-length',
      '7',
    ]
    for (let round = 0; round < 20_000; round++) {
      const text = Array.from({ length: random() % 20 }, () => pieces[random() % pieces.length]).join('')
      try {
        const { out, head } = read(text)
        const parsed = JSON.parse(out)
        if (head.typeStart >= 0)
          assert.equal(typeof JSON.parse(Buffer.from(out).toString('utf8', head.typeStart, head.typeEnd)), 'string')
        assert.ok(Object.values(parsed).every(value => typeof value === 'string'))
      } catch (thrown) {
        if (!(thrown instanceof Malformed)) throw thrown
      }
    }
  })

  it('costs what its length costs, also when every name has to be compared', () => {
    const names = Array.from({ length: 1999 }, (_, i) => `x${i}: 1\r\n`).join('')
    const started = process.cpuUsage()
    for (let i = 0; i < 40; i++) read(names)
    const { user } = process.cpuUsage(started)
    assert.ok(user < 1_000_000, `${user} µs`)
  })
})

function read(lines: string | Uint8Array, last = '\r\n'): { head: Head; out: string } {
  const bytes = Buffer.concat([Buffer.from('noise'), Buffer.from(lines as string), Buffer.from(last)])
  const head = new Head()
  const out = new JsonWriter(8)
  const end = head.fields(bytes, 5, bytes.length, out)
  // Bytes may hold an empty line of their own.
  assert.ok(end < 0 || end <= bytes.length)
  if (end < 0) throw new Malformed('not here')
  return { head, out: out.save().toString() }
}

function fields(lines: string | Uint8Array, last = '\r\n'): Record<string, string> {
  return JSON.parse(read(lines, last).out)
}
