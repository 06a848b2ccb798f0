import assert from 'node:assert/strict'
import type { Item } from '../../core/item.ts'
import type { Comparison } from './comparison.ts'
import { compare } from './http1.ts'

const TRUTH = {
  exchanges: [
    {
      method: 'GET',
      target: '/orders/7',
      clientPort: 40000,
      interim: [],
      reqHeaders: { host: 'shop', 'x-dup': ['a', 'b'] },
      status: 200,
      reason: 'OK',
      httpVersion: '1.1',
      resRawHeaders: ['Content-Type', 'text/plain', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
      resTrailers: [],
      resBodyLen: 2,
      // `ok`
      resBodySha256: '2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df',
      ms: 10,
    },
  ],
}

describe('comparison of HTTP/1', () => {
  it('finds what is equal', () => {
    assert.deepEqual(compared([pair()]), { expected: 1, equal: 1, missing: [], wrong: [] })
  })

  it('finds what is missing', () => {
    assert.equal(compared([]).missing.length, 1)
  })

  it('finds what nobody sent', () => {
    assert.match(compared([pair(), pair({ url: '/other' })]).wrong[0]!.what, /nobody sent this: GET \/other/)
  })

  const WRONG: [what: string, item: Item, complaint: RegExp][] = [
    ['status', pair({}, { status: 404 }), /status 200 expected, 404 found/],
    ['body', pair({}, { content: { size: 2, text: 'no' } }), /response body/],
    ['size of a body', pair({}, { bodySize: 3 }), /response body size 2 expected, 3 found/],
    ['header', pair({}, { headers: { 'Content-Type': 'text/html', 'Set-Cookie': 'a=1,b=2' } }), /header content-type/],
    ['header that was not sent', pair({}, { headers: { ...responseHeaders(), Via: 'x' } }), /header via none expected/],
    ['request header', pair({ headers: { Host: 'shop', 'X-Dup': 'a' } }), /header x-dup a,b expected, a found/],
    ['lost half', { ...pair(), response: null }, /response 200 expected, none found/],
    ['time', { ...pair(), elapsedTime: 50 }, /at most 10 ms expected, 50 found/],
  ]
  for (const [what, item, complaint] of WRONG) {
    it(`finds a wrong ${what}`, () => {
      const { equal, wrong } = compared([item])
      assert.equal(equal, 0)
      assert.match(wrong[0]!.what, complaint)
    })
  }

  it('lets a pair come as two halves where packets are missing, but no wrong one', () => {
    const halves = [
      { ...pair(), response: null },
      { ...pair(), request: null },
    ]
    assert.deepEqual(compared(halves, 'subset'), { expected: 1, equal: 1, missing: [], wrong: [] })
    assert.equal(compared([pair({}, { status: 404 })], 'subset').wrong.length, 1)
  })

  it('wants everything twice where everything was captured twice', () => {
    assert.equal(compared([pair(), pair()], 'twice').equal, 2)
    assert.equal(compared([pair()], 'twice').missing.length, 1)
  })
})

function compared(items: Item[], expect?: string): Comparison {
  return compare(TRUTH, items, { capture: 'http1/own__x.pcap', base: expect === undefined ? null : TRUTH, expect })
}

function responseHeaders(): Record<string, string> {
  return { 'Content-Type': 'text/plain', 'Set-Cookie': 'a=1,b=2' }
}

function pair(request: object = {}, response: object = {}): Item {
  return {
    id: 'local/0-0',
    protocol: { name: 'http', version: '1.1' },
    src: { ip: '10.0.0.1', port: '40000' },
    dst: { ip: '10.0.0.2', port: '80' },
    request: {
      method: 'GET',
      url: '/orders/7',
      httpVersion: 'HTTP/1.1',
      headers: { Host: 'shop', 'X-Dup': 'a,b' },
      bodySize: 0,
      postData: null,
      ...request,
    },
    response: {
      status: 200,
      statusText: 'OK',
      httpVersion: 'HTTP/1.1',
      headers: responseHeaders(),
      content: { size: 2, text: 'ok' },
      bodySize: 2,
      ...response,
    },
    elapsedTime: 5,
    error: null,
  } as unknown as Item
}
