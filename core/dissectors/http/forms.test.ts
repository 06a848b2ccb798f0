import assert from 'node:assert/strict'
import { parseCookies, parseForm, parseMultipart, parseQuery, parseSetCookies } from './forms.ts'

describe('http forms', () => {
  it('read queries with escapes, repeats, and what is neither', () => {
    assert.deepEqual(
      { ...parseQuery('a=1&b=x+y%20z&a=2&a=3&flag&=none&&e=a=b&%C3%A9=%E2%82%AC') },
      { a: ['1', '2', '3'], b: 'x y z', flag: '', '': 'none', e: 'a=b', é: '€' },
    )
  })

  it('leave percent signs that escape nothing, and bytes that are not UTF-8', () => {
    assert.deepEqual({ ...parseQuery('a=100%&b=%zz%20c&c=%ff%41') }, { a: '100%', b: '%zz c', c: '%ffA' })
  })

  it('keep names that objects have by birth', () => {
    const found = parseQuery('__proto__=1&constructor=2&constructor=3')
    assert.deepEqual(Object.entries(found), [
      ['__proto__', '1'],
      ['constructor', ['2', '3']],
    ])
    assert.deepEqual(Object.keys(parseCookies(['__proto__=1; toString=2'])), ['__proto__', 'toString'])
  })

  it('keep the order of a form, repeats included', () => {
    assert.deepEqual(parseForm('b=1&a=2&b=3'), [
      { name: 'b', value: '1' },
      { name: 'a', value: '2' },
      { name: 'b', value: '3' },
    ])
  })

  it('read a thousand parameters and no more', () => {
    assert.equal(parseForm('a=1&'.repeat(5000)).length, 1000)
  })

  it('read cookies of a request and of an answer', () => {
    assert.deepEqual({ ...parseCookies(['a=1; b="2"; c=3=4; bad; =x', 'd=5']) }, { a: '1', b: '"2"', c: '3=4', d: '5' })
    assert.deepEqual({ ...parseSetCookies(['sid=7; Path=/; HttpOnly', 'x=; Max-Age=0']) }, { sid: '7', x: '' })
  })

  it('read the parts of multipart/form-data', () => {
    const body = [
      'preamble',
      '--B x',
      'Content-Disposition: form-data; name="text"',
      '',
      'näme\r\nline 2',
      '--B x',
      'content-type: image/png',
      'content-disposition: form-data; name="file"; filename="ü \\"q\\".png"',
      '',
      '\u0000\u0001',
      '--B x',
      'Content-Disposition: form-data',
      '',
      'no name',
      '--B x--',
      'epilogue',
    ].join('\r\n')
    const found = parseMultipart(Buffer.from(body), 'multipart/form-data; charset=x; boundary="B x"')
    assert.deepEqual(found, [
      { name: 'text', value: 'näme\r\nline 2' },
      { name: 'file', value: '', fileName: 'ü \\"q\\".png', contentType: 'image/png' },
    ])
    assert.deepEqual(parseMultipart(Buffer.from(body), 'multipart/form-data'), [])
    // A file name is no name.
    const lone = '--b\r\nContent-Disposition: form-data; filename="f"\r\n\r\nx\r\n--b--'
    assert.deepEqual(parseMultipart(Buffer.from(lone), 'multipart/form-data; boundary=b'), [])
  })

  it('cost little on fields that are made to be searched in vain', () => {
    for (const hostile of ['content-disposition:', 'content-disposition:; name="', ';name=', 'content-type:\r']) {
      const body = Buffer.from(`--b\r\n${hostile.repeat(1_000_000 / hostile.length)}\r\n\r\nx\r\n`.repeat(1))
      const small = Buffer.from(`--b\r\n${hostile.repeat(8000 / hostile.length)}\r\n\r\nx\r\n`.repeat(100))
      const started = process.cpuUsage()
      parseMultipart(body, 'multipart/form-data; boundary=b')
      parseMultipart(small, 'multipart/form-data; boundary=b')
      const { user } = process.cpuUsage(started)
      assert.ok(user < 1_000_000, `${hostile}: ${user} µs`)
    }
  })
})
