import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { Item, Json, JsonValue } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { golden, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { clientFrame, serverFrame } from '../testing/websocket.ts'

const FIXTURES = new URL('../fixtures/graphql/', import.meta.url)
const DONE = { data: { a: 1 } }

describe('graphql', () => {
  golden('graphql')

  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  describe('in HTTP', () => {
    it('keeps all that HTTP tells, the name of the protocol too', () => {
      const item = exchange(post({ query: 'query Q { a }' }), answer(DONE))
      const { name, abbr, macro, version } = item.protocol
      assert.deepEqual([name, abbr, macro, version], ['http', 'GQL', 'gql', '1.1'])
      assert.deepEqual(
        [item.request!.method, item.request!.postData.text, item.response!.status, item.response!.content.text],
        ['POST', '{"query":"query Q { a }"}', 200, '{"data":{"a":1}}'],
      )
    })

    /** What the client sends, and some of what `request.graphql` says. */
    const REQUESTS: readonly [what: string, request: string, expected: Json][] = [
      ['an anonymous query', post({ query: '{ a }' }), { operationType: 'query', operationName: null }],
      ['a named one', post({ query: 'mutation M { a }' }), { operationType: 'mutation', operationName: 'M' }],
      [
        'one of several',
        post({ query: 'query A { a } subscription B { b }', operationName: 'B', variables: { x: 1 } }),
        {
          operationType: 'subscription',
          operationName: 'B',
          variables: { x: 1 },
          operations: [
            { type: 'query', name: 'A' },
            { type: 'subscription', name: 'B' },
          ],
        },
      ],
      ['none of several', post({ query: 'query A { a } query B { b }' }), { operationType: null, operationName: null }],
      ['a charset', post({ query: '{ a }' }, 'Application/JSON; charset=utf-8'), { operationType: 'query' }],
      [
        'a document alone',
        post('query Q { a }', 'application/graphql'),
        { operationName: 'Q', query: 'query Q { a }' },
      ],
      [
        'a hash in place of a document',
        post({ operationName: 'Q', extensions: { persistedQuery: { version: 1, sha256Hash: 'ab'.repeat(32) } } }),
        { query: null, operationName: 'Q', documentId: 'ab'.repeat(32), operationType: null },
      ],
      ['an identifier in place of a document', post({ documentId: 'Q:7' }), { query: null, documentId: 'Q:7' }],
      ['what the server cannot read', post({ query: '{ a' }), { query: '{ a', operationType: null, operations: [] }],
      [
        'the target',
        get('/graphql?query=query%20Q(%24x%3AI)%7Ba%7D&variables=%7B%22x%22%3A1%7D'),
        { operationName: 'Q', variables: { x: 1 } },
      ],
    ]
    for (const [what, request, expected] of REQUESTS)
      it(`reads ${what}`, () => {
        const { graphql } = exchange(request, answer(DONE)).request!
        assert.deepEqual(pick(graphql, expected), expected)
      })

    it('reads batches', () => {
      const error = { message: 'no', path: ['b'] }
      const item = exchange(
        post([{ query: '{ a }' }, { query: 'mutation M { b }' }]),
        answer([DONE, { data: null, errors: [error] }]),
      )
      assert.deepEqual(
        item.request!.graphql.batch.map((one: Json) => one.operationType),
        ['query', 'mutation'],
      )
      const { batch, errors } = item.response!.graphql
      assert.deepEqual([batch[0].data, batch[1].data, errors], [{ a: 1 }, null, [error]])
      assert.equal(item.failed, true)
    })

    it('fails when there are errors, also beside data', () => {
      const errors = [{ message: 'no', path: ['b', 0], extensions: { code: 'X' } }]
      const item = exchange(post({ query: '{ a b }' }), answer({ data: { a: 1, b: null }, errors }))
      assert.deepEqual(
        [item.response!.graphql.data, item.response!.graphql.errors, item.failed, item.response!.status],
        [{ a: 1, b: null }, errors, true, 200],
      )
      assert.equal(exchange(post({ query: '{ a }' }), answer({ data: null })).failed, false)
    })

    it('says of uploads what the client did', () => {
      const items = readItems(readPackets(new URL('upload.pcap', FIXTURES)), protocols)
      const told: Json[] = JSON.parse(readFileSync(new URL('upload.truth.json', FIXTURES), 'utf8'))
      items.sort((a, b) => a.timestamp - b.timestamp)
      assert.deepEqual(
        items.map(({ request, response, failed }) => ({
          name: request!.graphql.operationName,
          files: Object.fromEntries(
            request!.graphql.uploads.flatMap(({ paths, fileName }: Json) =>
              paths.map((path: string) => [path, fileName]),
            ),
          ),
          data: response!.graphql.data,
          failed,
        })),
        told,
      )
      for (const { request } of items) assert.equal(request!.graphql.operationType, 'mutation')
    })

    it('is no request whose parameters are repeated', () => {
      for (const repeated of ['query=%7Ba%7D', 'variables=%7B%7D', 'extensions=%7B%7D', 'operationName=a'])
        assert.equal(
          exchange(get(`/?query=%7Ba%7D&${repeated}&${repeated}`), answer('')).protocol.macro,
          'http',
          repeated,
        )
    })

    it('takes no other form for an upload', () => {
      const operations = JSON.stringify({ query: 'mutation($f: File) { a(f: $f) }', variables: { f: null } })
      const form = (...parts: [head: string, value: string][]) => {
        const body = parts
          .map(([head, value]) => `--x\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`)
          .join('')
        return post(`${body}--x--\r\n`, 'multipart/form-data; boundary=x')
      }
      const map: [string, string] = ['name="map"', '{"0":["variables.f"]}']
      const file: [string, string] = ['name="0"; filename="a"', 'bytes']
      const macro = (request: string) => exchange(request, answer(DONE)).protocol.macro
      assert.equal(macro(form(['name="operations"', operations], map, file)), 'gql')
      for (const other of [
        form(['name="operations"', operations], file),
        form(['name="operations"', 'no JSON'], map, file),
        form(['name="operations"', operations], ['name="map"', '[]'], file),
        form(['name="operations"; filename="operations"', operations], map, file),
        form(map, file),
      ])
        assert.equal(macro(other), 'http', other)
      // What the map does not name, or names by something else than texts, is no upload.
      const odd = exchange(
        form(
          ['name="operations"', operations],
          ['name="map"', '{"0":[7],"__proto__":["a"],"1":"b"}'],
          file,
          ['name="1"; filename="b"', ''],
          ['name="constructor"; filename="c"', ''],
        ),
        answer(DONE),
      )
      assert.deepEqual(odd.request!.graphql.uploads, [])
    })

    it('reads incremental delivery', () => {
      const later = { incremental: [{ path: ['b'], data: { c: 2 }, errors: [{ message: 'no' }] }], hasNext: false }
      const part = (value: Json) => `\r\n---\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(value)}`
      const body = `${part({ ...DONE, hasNext: true })}${part(later)}\r\n-----\r\n`
      const query = '{ a ...F @defer } fragment F on T { b }'
      const item = exchange(post({ query }), answer(body, 'multipart/mixed; boundary="-"; deferSpec=20220824'))
      const { data, incremental, errors } = item.response!.graphql
      assert.deepEqual([data, incremental.length, errors], [{ a: 1 }, 1, [{ message: 'no' }]])
    })

    it('is what an answer without its request says it is, and what has errors of GraphQL', () => {
      const lone = (response: string) => read(d => d.tell(response))[0]!
      const errors = [{ message: 'no', locations: [{ line: 1, column: 3 }] }]
      assert.equal(lone(answer(DONE, 'application/graphql-response+json')).protocol.macro, 'gql')
      assert.equal(lone(answer({ errors })).protocol.macro, 'gql')
      assert.equal(lone(answer(DONE)).protocol.macro, 'http')
      assert.equal(lone(answer({ errors: [{ message: 'no' }] })).protocol.macro, 'http')
    })

    it('is what a request without an answer proves to be', () => {
      const alone = (request: string) => read(d => d.ask(request))[0]!
      assert.equal(alone(post({ query: '{ a }' })).protocol.macro, 'gql')
      assert.equal(alone(get('/?query=%7Ba%7D')).protocol.macro, 'gql')
      assert.equal(alone(post({ documentId: 'x' })).protocol.macro, 'http')
    })

    it('goes down into answers within a limit', () => {
      const nested = (depth: number) => `{"data":{"a":${'['.repeat(depth)}"]"${']'.repeat(depth)}}}`
      const response = (depth: number) => exchange(post({ query: '{ a }' }), answer(nested(depth))).response!
      assert.notEqual(response(400).graphql, undefined)
      assert.equal(response(100_000).graphql, undefined)
    })

    const OTHERS: readonly [what: string, request: string, response: string][] = [
      ['a search', post({ query: 'shoes', size: 10 }), answer({ hits: [] })],
      ['a search that answers with data', post({ query: 'shoes', size: 10 }), answer({ data: [1], total: 1 })],
      ['a query that is an object', post({ query: { match: { a: 1 } } }), answer({ data: {} })],
      ['JSON:API', post({ data: { id: '1', type: 'a' } }), answer({ data: { id: '1' } })],
      ['an id', post({ id: '7' }), answer({ id: '7' })],
      ['a search in the target', get('/search?query=shoes'), answer({ data: [] })],
      ['PromQL', get('/api?query=up%7Bjob%3D%22a%22%7D'), answer({ status: 'success', data: {} })],
      ['SQL', post({ query: 'select 1' }), answer({ rows: [] })],
      ['text', post({ query: '{ a }' }, 'text/plain'), answer(DONE)],
      ['JSON that is none', post('{"query":"{ a }"', 'application/json'), answer(DONE)],
    ]
    for (const [what, request, response] of OTHERS)
      it(`is not seen in ${what}`, () => {
        assert.equal(exchange(request, response).protocol.macro, 'http')
      })
  })

  describe('in WebSocket', () => {
    it('reads the older subprotocol', () => {
      const items = frames('graphql-ws', [
        ['client', { type: 'connection_init', payload: { token: 't' } }],
        ['server', { type: 'ka' }],
        ['client', { id: '1', type: 'start', payload: { query: 'subscription S { a }' } }],
        ['server', { id: '1', type: 'data', payload: { data: { a: 1 } } }],
        ['server', { id: '1', type: 'error', payload: { message: 'no' } }],
        ['client', { id: '1', type: 'stop' }],
      ])
      assert.deepEqual(
        items.map(({ request, response, failed }) => [
          (request ?? response)!.graphql.type,
          (request ?? response)!.graphql.id,
          request?.graphql.operationName ?? response?.graphql.data ?? response?.graphql.errors ?? null,
          failed,
        ]),
        [
          ['connection_init', null, null, false],
          ['ka', null, null, false],
          ['start', '1', 'S', false],
          ['data', '1', { a: 1 }, false],
          ['error', '1', [{ message: 'no' }], true],
          ['stop', '1', null, false],
        ],
      )
      assert.deepEqual([items[0]!.protocol.name, items[0]!.protocol.macro], ['ws', 'gql'])
      assert.equal(items[0]!.request!.graphql.token, undefined)
    })

    it('where no subprotocol is known, is what proves it alone', () => {
      const items = frames(null, [
        ['client', { type: 'ping' }],
        ['client', { id: '1', type: 'subscribe', payload: { query: '{ a }' } }],
        ['client', { id: '1', type: 'subscribe', payload: { query: 'prices' } }],
        ['client', { id: '1', type: 'subscribe', payload: { channel: 'x' } }],
        ['server', { id: '1', type: 'next', payload: { data: { a: 1 } } }],
        ['server', { id: '1', type: 'next', payload: { item: 1 } }],
        ['server', { id: 1, type: 'data', payload: { data: { a: 1 } } }],
        ['server', { id: '1', type: 'complete' }],
      ])
      assert.deepEqual(
        items.map(({ protocol }) => protocol.macro),
        ['ws', 'gql', 'ws', 'ws', 'gql', 'ws', 'ws', 'ws'],
      )
    })

    it('is nothing that another subprotocol carries', () => {
      const items = frames('chat', [['client', { id: '1', type: 'subscribe', payload: { query: '{ a }' } }]])
      assert.equal(items[0]!.protocol.macro, 'ws')
    })
  })

  function exchange(request: string, response: string): Item {
    const items = read(d => {
      d.ask(request)
      d.tell(response)
    })
    assert.equal(items.length, 1)
    return items[0]!
  }

  function read(say: (d: Dialogue) => void): Item[] {
    const d = new Dialogue().open()
    say(d)
    return readItems(d.packets, protocols)
  }

  function frames(subprotocol: string | null, said: [from: 'client' | 'server', value: Json][]): Item[] {
    const items = read(d => {
      d.ask('GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n')
      const agreed = subprotocol === null ? '' : `Sec-WebSocket-Protocol: ${subprotocol}\r\n`
      d.tell(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n${agreed}\r\n`)
      for (const [from, value] of said)
        if (from === 'client') d.ask(clientFrame(JSON.stringify(value)))
        else d.tell(serverFrame(JSON.stringify(value)))
    })
    return items.slice(1)
  }
})

function post(body: JsonValue, type = 'application/json'): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return `POST /graphql HTTP/1.1\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
}

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`
}

function answer(body: JsonValue, type = 'application/json'): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
}

/** The fields of `expected` alone. */
function pick(found: Json, expected: Json): Json {
  return Object.fromEntries(Object.keys(expected).map(key => [key, found[key]]))
}
