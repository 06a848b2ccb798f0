import assert from 'node:assert/strict'
import { editedHead } from './headers.ts'

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
