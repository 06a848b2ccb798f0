/** HTTP/1 against its captures, and what no capture holds. */
import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'

const KEEP = 1 << 20
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

let protocols: Protocols

describe('http', () => {
  golden('http')

  before(async () => {
    protocols = await loadProtocols()
  })

  describe('target', () => {
    /** Target, path, segments and query of a GET. */
    const TARGETS: readonly [target: string, path: string, segments: string[], query: object][] = [
      ['/', '/', [''], {}],
      ['/a/b%20c/', '/a/b%20c/', ['a', 'b%20c', ''], {}],
      ['//a?', '//a', ['', 'a'], {}],
      ['/a?x=1&y=2', '/a', ['a'], { x: '1', y: '2' }],
      ['/a?x=1&x=2&x=3', '/a', ['a'], { x: ['1', '2', '3'] }],
      ['/a?q=a+b%26c&n%C3%A9=1&flag&e=', '/a', ['a'], { q: 'a b&c', né: '1', flag: '', e: '' }],
      ['/a?u=/b?c=d', '/a', ['a'], { u: '/b?c=d' }],
      ['/a"b\\c?d="', '/a"b\\c', ['a"b\\c'], { d: '"' }],
      ['/é?é=ü', '/é', ['é'], { é: 'ü' }],
      ['http://h:80/a?x=1', '/a', ['a'], { x: '1' }],
      ['http://h', '/', [''], {}],
      ['http://h?x=1', '', [''], { x: '1' }],
      ['*', '*', ['*'], {}],
    ]
    for (const [target, path, segments, query] of TARGETS)
      it(target, () => {
        const [item] = talk([['?', utf8(`GET ${target} HTTP/1.1\r\n\r\n`)]])
        const { url, targetUri, path: found, pathSegments, queryString } = item!.request!
        assert.deepEqual([url, targetUri, found, pathSegments, queryString], [target, target, path, segments, query])
      })

    it('with as many parameters as one likes: none takes another’s place', () => {
      const query = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`p${i}`, String(i)]))
      const [item] = talk([['?', `GET /?${new URLSearchParams(query)} HTTP/1.1\r\n\r\n`]])
      assert.deepEqual(item!.request!.queryString, query)
    })
  })

  describe('an answer', () => {
    const BODYLESS: readonly [method: string, head: string][] = [
      ['HEAD', '200 OK\r\nContent-Length: 500'],
      ['HEAD', '200 OK\r\nTransfer-Encoding: chunked'],
      ['GET', '204 No Content\r\nContent-Length: 5'],
      ['GET', '304 Not Modified\r\nContent-Length: 500'],
      ['GET', '200 OK\r\nContent-Length: 0'],
    ]
    for (const [method, head] of BODYLESS)
      it(`to ${method} has no body: ${head.replace('\r\n', ', ')}`, () => {
        const items = talk([
          ['?', `${method} /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n`],
          ['!', `HTTP/1.1 ${head}\r\n\r\n${OK}`],
        ])
        assert.deepEqual(items.map(line), [`/1 ${head.slice(0, 3)}`, '/2 200'])
      })

    it('follows its 1xx answers, which it tells of, but for a limit', () => {
      const items = talk([
        ['?', 'POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n'],
        ['!', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n'],
        ['?', 'hi'],
        ['!', OK],
        ['?', get('/2')],
        ['!', `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(20_000)}${OK}`],
        ['?', get('/3')],
        ['!', OK],
      ])
      assert.deepEqual(items.map(line), ['/1 200', '/2 200', '/3 200'])
      assert.deepEqual(
        items[0]!.response!.interim.map(({ status, headers }: never) => [status, headers]),
        [
          [100, {}],
          [103, { Link: '</s>' }],
        ],
      )
      assert.ok(JSON.stringify(items[1]!.response!.interim).length < 100_000)
      assert.equal(items[2]!.response!.interim, undefined)
    })

    it('may come before the request is complete', () => {
      const items = talk([
        ['?', 'POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n'],
        ['!', 'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n'],
        ['?', 'body'],
        ['?', get('/2')],
        ['!', OK],
      ])
      assert.deepEqual(items.map(line), ['/1 417', '/2 200'])
      assert.equal(items[0]!.failed, true)
    })

    it('ends with its connection where nothing else ends it', () => {
      const [item] = talk([
        ['?', 'GET / HTTP/1.0\r\n\r\n'],
        ['!', 'HTTP/1.0 200 OK\r\n\r\nab'],
        ['!', 'cd'],
      ])
      assert.deepEqual([item!.response!.content.text, item!.protocol.version, item!.error], ['abcd', '1.0', null])
    })

    it('that is cut by the end of its connection says so', () => {
      const [item] = talk([
        ['?', get('/')],
        ['!', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
      ])
      const { text, truncated } = item!.response!.content
      assert.deepEqual([text, truncated, item!.error!.type], ['abc', true, 'connection'])
      assert.match(item!.error!.msg, /after 3 of 10 bytes/)
    })

    it('to CONNECT opens a tunnel, in which another protocol is found', () => {
      const items = talk([
        ['?', 'CONNECT h:6379 HTTP/1.1\r\n\r\n'],
        ['!', 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n'],
        ['?', '*1\r\n$4\r\nPING\r\n'],
        ['!', '+PONG\r\n'],
      ])
      assert.deepEqual(
        items.map(({ protocol }) => protocol.name),
        ['http', 'redis'],
      )
      assert.deepEqual([items[0]!.request!.path, items[0]!.error], ['h:6379', null])
    })

    it('that refuses CONNECT opens none', () => {
      const items = talk([
        ['?', 'CONNECT h:1 HTTP/1.1\r\n\r\n'],
        ['!', 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'],
        ['?', get('/2')],
        ['!', OK],
      ])
      assert.deepEqual(items.map(line), ['h:1 403', '/2 200'])
    })

    it('of 101 ends HTTP on both sides, whatever name it gives', () => {
      for (const name of ['websocket', 'h2c', 'constructor', '__proto__', 'http', 'unknown', '']) {
        const items = talk([
          ['?', 'GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n'],
          ['!', `HTTP/1.1 101 Switching\r\nUpgrade: ${name}\r\n\r\n\u0081\u0002hi`],
          ['?', '\u0081\u0082abcdef'],
        ])
        const own = items.filter(({ protocol }) => protocol.name === 'http')
        // The upgraded request is asked again in HTTP/2, where nobody answers it here.
        assert.deepEqual(own.map(line), name === 'h2c' ? ['/ 101', '/ null'] : ['/ 101'], name)
      }
    })
  })

  describe('a body', () => {
    it('beyond the limit is cut and says so, its size stays exact; with 0 none is kept', () => {
      for (const split of [1400, 50_000])
        for (const keep of [0, 10, 20_000]) {
          const body = 'abcde'.repeat(4000)
          const items = talk(
            [
              ['?', `POST / HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`],
              ['!', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n${body}\r\n0\r\n\r\n`],
            ],
            { keep, split },
          )
          const { postData, bodySize } = items[0]!.request!
          const { content } = items[0]!.response!
          const expected = keep === 0 ? [null, undefined] : [body.slice(0, keep), keep < body.length || undefined]
          assert.deepEqual([bodySize, postData.text, postData.truncated], [body.length, ...expected])
          assert.deepEqual([content.size, content.text, content.truncated], [body.length, ...expected])
        }
    })

    it('that was compressed is text, with the size of the text even where that is cut', () => {
      for (const length of [10, 3 << 20]) {
        const text = 'x'.repeat(length)
        const encoded = gzipSync(text)
        const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${encoded.length}\r\n\r\n`
        const [item] = talk([
          ['?', get('/')],
          ['!', Buffer.concat([Buffer.from(head), encoded])],
        ])
        const { content, bodySize } = item!.response!
        assert.deepEqual(
          [content.size, bodySize, content.truncated],
          [length, encoded.length, length > KEEP || undefined],
        )
        assert.equal(content.text, text.slice(0, KEEP))
        assert.equal(content.contentEncoding, undefined)
      }
    })

    it('that cannot be decoded is what it was on the wire, and says in which codings', () => {
      const post = 'POST / HTTP/1.1\r\nContent-Encoding: zstd\r\nContent-Length: 5\r\n\r\nplain'
      const [item] = talk([
        ['?', post],
        ['!', 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip, zstd\r\nContent-Length: 5\r\n\r\nplain'],
      ])
      const { postData } = item!.request!
      const { content } = item!.response!
      assert.deepEqual([postData.text, postData.contentEncoding], ['plain', 'zstd'])
      assert.deepEqual([content.text, content.size, content.contentEncoding], ['plain', 5, 'gzip, zstd'])
    })

    it('of a form is read by name, also under a folded Content-Type', () => {
      const form = 'a=1&b=2'
      const parts = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
      const items = talk([
        [
          '?',
          `POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}`,
        ],
        ['!', OK],
        [
          '?',
          `POST / HTTP/1.1\r\nContent-Type: multipart/form-data;\r\n boundary=x\r\nContent-Length: ${parts.length}\r\n\r\n${parts}`,
        ],
        ['!', OK],
      ])
      assert.deepEqual(
        items.map(({ request }) => request!.postData.params),
        [
          [
            { name: 'a', value: '1' },
            { name: 'b', value: '2' },
          ],
          [{ name: 'a', value: '1' }],
        ],
      )
    })
  })

  it('pairs a pipeline in its order', () => {
    const items = talk([
      ['?', `${get('/1')}${get('/2')}${get('/3')}`],
      ['!', `${OK}HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n${OK}`],
    ])
    assert.deepEqual(items.map(line), ['/1 200', '/2 500', '/3 200'])
    assert.deepEqual(
      items.map(({ failed }) => failed),
      [false, true, false],
    )
  })

  it('ignores empty lines before a request', () => {
    assert.deepEqual(
      talk([
        ['?', `\r\n\r\n${get('/1')}`],
        ['!', OK],
        ['?', `\r\n${get('/2')}`],
        ['!', OK],
      ]).map(line),
      ['/1 200', '/2 200'],
    )
  })
})

/** A connection in which the client (`?`) and the server (`!`) say this and then close. */
function talk(parts: readonly ['?' | '!', string | Uint8Array][], { keep = KEEP, split = 1400 } = {}) {
  const d = new Dialogue().open()
  for (const [who, what] of parts) {
    const bytes = Buffer.from(what as string, 'latin1')
    for (let i = 0; i < bytes.length; i += split) {
      const piece = bytes.subarray(i, i + split)
      if (who === '?') d.ask(piece)
      else d.tell(piece)
    }
  }
  return dissect(d.close().packets, protocols, keep).items
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
}

/** Each byte as a character of its own. */
function utf8(text: string): string {
  return Buffer.from(text).toString('latin1')
}

function line({ request, response }: ReturnType<typeof talk>[number]): string {
  return `${request?.path ?? null} ${response?.status ?? null}`
}
