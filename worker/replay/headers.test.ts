import assert from 'node:assert/strict'
import { editedHead, withHeaders } from './headers.ts'
import type { Send, Stream } from './plan.ts'

describe('headers of a request', () => {
  const edited = (head: string, ...set: [name: string, value: string][]) =>
    editedHead(
      head,
      set.map(([name, value]) => ({ name, value })),
    )

  it('are replaced in their place, whatever their case and however many', () => {
    assert.equal(
      edited('GET / HTTP/1.1\r\nhost: a\r\nX: 1\r\nHOST:b\r\nY: 2\r\n\r\n', ['Host', 'c']),
      'GET / HTTP/1.1\r\nHost: c\r\nX: 1\r\nY: 2\r\n\r\n',
    )
  })

  it('are added behind the others', () => {
    assert.equal(edited('GET / HTTP/1.0\r\n\r\n', ['A', '1'], ['B', '']), 'GET / HTTP/1.0\r\nA: 1\r\nB: \r\n\r\n')
  })

  it('go with the lines they go on in', () => {
    assert.equal(
      edited('GET / HTTP/1.1\r\nX: 1\r\n 2\r\n\t3\r\nY: 4\r\n\r\n', ['X', '5']),
      'GET / HTTP/1.1\r\nX: 5\r\nY: 4\r\n\r\n',
    )
  })

  it('leave the rest as it is: bare line feeds, empty lines before, bytes that are no text', () => {
    assert.equal(edited('\r\nGET / HTTP/1.1\nX: \xff\xfe\n\n', ['A', '1']), '\r\nGET / HTTP/1.1\nX: \xff\xfe\nA: 1\n\n')
  })

  it('are not looked for in the request line', () => {
    assert.equal(edited('GET:x / HTTP/1.1\r\n\r\n', ['GET', '1']), 'GET:x / HTTP/1.1\r\nGET: 1\r\n\r\n')
  })
})

describe('streams with other headers', () => {
  const ENDS = { client: { ip: '10.0.0.1', port: 40_000 }, server: { ip: '10.0.0.2', port: 80 } }

  /** A stream of these requests, cut into pieces of `size` bytes. */
  function streamOf(requests: readonly string[], size: number): Stream {
    const all = Buffer.from(requests.join(''))
    const sends: Send[] = []
    for (let start = 0; start < all.length; start += size) {
      const bytes = all.subarray(start, start + size)
      sends.push({ start, bytes, at: start, heard: 0, heardAt: null, took: 0, answered: 0, more: false })
    }
    let start = 0
    const exchanges = requests.map((request, i) => {
      start += request.length
      const end = start
      return { id: String(i), protocol: 'http', start: end - request.length, end, answerEnd: null, text: null }
    })
    return {
      ...{
        name: 's',
        transport: 'tcp',
        ...ENDS,
        protocol: 'http',
        comparing: 'http',
        began: 0,
        ended: 0,
        sends,
        exchanges,
      },
      ...{
        tail: null,
        answers: [],
        answersLength: 0,
        answersGap: null,
        isMalformed: false,
        close: null,
        took: 0,
        cut: 0,
      },
    }
  }

  const before = (i: number) => `POST /${i} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc`
  const after = (i: number) => `POST /${i} HTTP/1.1\r\nHost: longer\r\nContent-Length: 3\r\nX: 1\r\n\r\nabc`
  const HEADERS = [
    { name: 'Host', value: 'longer' },
    { name: 'X', value: '1' },
  ]

  it('have each of them once, wherever the pieces are cut', () => {
    const numbers = [0, 1, 2, 3]
    for (let size = 1; size < 250; size++) {
      const { sends, exchanges } = withHeaders(streamOf(numbers.map(before), size), HEADERS)
      const all = Buffer.concat(sends.map(({ bytes }) => bytes)).toString()
      assert.equal(all, numbers.map(after).join(''), `pieces of ${size}`)
      let place = 0
      for (const send of sends) {
        assert.equal(send.start, place)
        place += send.bytes.length
      }
      for (const [i, { start, end }] of exchanges.entries()) assert.equal(all.slice(start, end), after(i))
    }
  })

  it('are made in time, however many requests there are', () => {
    const began = performance.now()
    withHeaders(
      streamOf(
        Array.from({ length: 50_000 }, (_, i) => before(i)),
        64,
      ),
      HEADERS,
    )
    assert(performance.now() - began < 10_000)
  })
})
