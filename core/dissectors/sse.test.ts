import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { constants, deflateSync, gzipSync } from 'node:zlib'
import type { Item, Json } from '../item.ts'
import type { Written } from '../json-writer.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden, readItems, readPackets } from '../testing/golden.ts'
import { block, data, frame, get, headers, PREFACE } from '../testing/http2.ts'
import { Dialogue } from '../testing/packets.ts'
import { EventStream } from './sse.ts'

const FIXTURES = new URL('../fixtures/sse/', import.meta.url)

describe('sse', () => {
  golden('sse')

  /** The body, and what its events say. */
  const BODIES: readonly [what: string, body: string, events: unknown[]][] = [
    ['a line of data', 'data: a\n\n', [['message', 'a', null, null]]],
    ['several lines', 'data: a\ndata\ndata:  b\n\n', [['message', 'a\n\n b', null, null]]],
    ['all fields', 'event:e\ndata:a\nid:7\nretry:10\n\n', [['e', 'a', '7', 10]]],
    ['all ends of lines', 'data: a\r\ndata: b\rdata: c\n\r\n', [['message', 'a\nb\nc', null, null]]],
    ['comments and fields that mean nothing', ': hi\n\nfoo: bar\n\n:\ndata: a\n\n', [['message', 'a', null, null]]],
    [
      'a byte order mark',
      '\ufeffdata: a\n\ndata: b\n\n',
      [
        ['message', 'a', null, null],
        ['message', 'b', null, null],
      ],
    ],
    ['a retry that is no number', 'retry: soon\ndata: a\n\n', [['message', 'a', null, null]]],
    [
      'no data',
      'event: ping\n\nid\n\n',
      [
        ['ping', null, null, null],
        ['message', null, '', null],
      ],
    ],
    ['an end without an empty line', 'data: a\n\ndata: lost\n', [['message', 'a', null, null]]],
  ]
  for (const [what, body, events] of BODIES)
    it(`reads ${what}, also byte by byte`, () => {
      const bytes = Buffer.from(body)
      for (const step of [bytes.length, 1, 3]) assert.deepEqual(told(bytes, step).map(fields), events)
    })

  for (const [coding, pack] of [
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ] as const)
    it(`reads ${coding} as it comes`, () => {
      const packed = pack('data: a\n\ndata: b\n\n', { finishFlush: constants.Z_SYNC_FLUSH })
      for (const step of [packed.length, 1]) assert.equal(told(packed, step, [coding]).length, 2)
    })

  it('takes the coding `none` for none', () => {
    assert.equal(told(Buffer.from('data: a\n\n'), 3, ['none']).length, 1)
  })

  it('reads nothing in codings that nobody knows, whatever they are called', () => {
    for (const coding of ['snappy', '__proto__', 'constructor', 'toString'])
      assert.deepEqual(told(Buffer.from('data: a\n\n'), 3, [coding]), [])
  })

  it('cuts what is too long, and leaves data out where nobody wants bodies', () => {
    const long = Buffer.from(`data: ${'x'.repeat(100)}\ndata: y\n\n`)
    const [cut] = told(long, 10, null, 50)
    assert.deepEqual([cut!.data, cut!.truncated], [`${'x'.repeat(50)}\n`, true])
    const [none] = told(long, 10, null, 0)
    assert.deepEqual([none!.data, none!.truncated], [null, undefined])
    const endless = new EventStream(null, null, 50)
    const piece = new Uint8Array(1 << 20).fill(97)
    for (let i = 0; i < 20; i++) endless.read(piece, 0, piece.length)
    assert.ok(endless.weight < 8 << 20)
  })

  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  describe('in a stream of HTTP/2', () => {
    it('says what the server sent', () => {
      const items = readItems(readPackets(new URL('http2.pcap', FIXTURES)), protocols)
      const sent: Json[] = JSON.parse(readFileSync(new URL('http2.truth.json', FIXTURES), 'utf8'))
      const inOrder = (a: Json, b: Json) => `${a.url} ${a.id}`.localeCompare(`${b.url} ${b.id}`)
      assert.deepEqual(
        events(items)
          .map(({ url, id, event, data }) => ({ url, id, event, data }))
          .sort(inOrder),
        sent.sort(inOrder),
      )
      assert.equal(items.length - sent.length, 5)
    })

    it('is told while the answer lasts, also several in a frame of which only a part has come', () => {
      const sent = 'data: 1\n\ndata: 2\n\ndata: 3\n\n'
      const frames = Buffer.concat([data(1, sent, 'more'), data(1, 'data: 4\n\n')])
      for (let cut = 1; cut < frames.length; cut++) {
        const d = openStream()
        d.tell(frames.subarray(0, cut))
        d.wait(5000)
        d.tell(frames.subarray(cut))
        const items = readItems(d.packets, protocols)
        assert.deepEqual(
          items.map(({ event }) => event?.data),
          ['1', '2', '3', '4', undefined],
          `cut at ${cut}`,
        )
        assert.equal(items[4]!.response!.content.text, `${sent}data: 4\n\n`)
        assert.ok(items[3]!.timestamp - items[0]!.timestamp <= 5001)
      }
    })

    it('goes on behind a packet that is missing', () => {
      const read = (lost: number) => {
        const d = openStream()
        for (const text of ['data: 1\n\nda', 'ta: 2\n\ndata: 3\n', '\ndata: 4\n\ndata: 5\n\n'])
          d.tell(data(1, text, 'more'))
        d.ask(frame(6, 0, 0, Buffer.alloc(8)))
        const packets = d.packets.filter((_, i) => i !== lost)
        return events(readItems(packets, protocols)).map(event => event.data)
      }
      assert.deepEqual(read(-1), ['1', '2', '3', '4', '5'])
      assert.deepEqual(read(6), ['1', '4', '5'])
    })
  })

  describe('in an answer', () => {
    it('is told while the answer lasts, with the time of its packet', () => {
      const d = open()
      d.tell(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n`)
      for (const n of [1, 2]) {
        d.wait(5000)
        d.tell(`data: ${n}\n\n`)
      }
      const items = readItems(d.packets, protocols)
      assert.deepEqual(
        items.map(({ protocol, event }) => [protocol.name, event?.url, event?.data]),
        [
          ['sse', '/feed', '1'],
          ['sse', '/feed', '2'],
          ['http', undefined, undefined],
        ],
      )
      assert.ok(items[1]!.timestamp - items[0]!.timestamp >= 5000)
      assert.equal(items[2]!.response!.content.text, 'data: 1\n\ndata: 2\n\n')
      assert.equal(items[0]!.size, 9)
    })

    it('goes on behind packets that are missing within a chunk', () => {
      const d = open()
      d.tell(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\ndata: 1\n\n`)
      d.tell('data: 2\n\ndata: 3 be')
      d.tell('gins\n\ndata: 4\n\n')
      const without = (lost: number) =>
        events(
          readItems(
            d.packets.filter((_, i) => i !== lost),
            protocols,
          ),
        ).map(event => event.data)
      assert.deepEqual(without(-1), ['1', '2', '3 begins', '4'])
      assert.deepEqual(without(5), ['1', '4'])
    })

    it('of GraphQL shows its face', () => {
      const d = open()
      const result = JSON.stringify({ data: null, errors: [{ message: 'no' }] })
      d.tell(
        `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: next\ndata: ${result}\n\ndata: {"data":1}\n\n`,
      )
      const [next, other] = readItems(d.packets, protocols)
      assert.deepEqual(
        [next!.protocol.name, next!.protocol.macro, next!.event!.graphql.errors, next!.failed],
        ['sse', 'gql', [{ message: 'no' }], true],
      )
      assert.equal(other!.protocol.macro, 'sse')
    })

    it('leaves no byte unaccounted for', () => {
      const d = open()
      d.tell(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n`)
      for (const text of ['data: 1\n\n', 'data: 2\n', '\n']) d.tell(`${text.length.toString(16)}\r\n${text}\r\n`)
      d.tell('0\r\n\r\n')
      const { tally } = dissect(d.packets, protocols, 100)
      assert.deepEqual([tally.skippedBytes, tally.protocol('sse').events, tally.protocol('http').pairs], [0, 2, 1])
    })
  })
})

function open(): Dialogue {
  const d = new Dialogue().open()
  d.ask('GET /feed HTTP/1.1\r\nHost: h\r\n\r\n')
  return d
}

function openStream(): Dialogue {
  const settings = frame(4, 0, 0)
  const d = new Dialogue().open()
  d.ask(Buffer.concat([PREFACE, settings, headers(1, get('/feed'))]))
  d.tell(
    Buffer.concat([settings, headers(1, block({ ':status': '200', 'content-type': 'text/event-stream' }), 'more')]),
  )
  return d
}

function events(items: Item[]): Json[] {
  return items.flatMap(({ event }) => event ?? [])
}

function told(bytes: Uint8Array, step: number, codings: string[] | null = null, keep = 1000): Json[] {
  const stream = new EventStream(null, codings, keep)
  for (let i = 0; i < bytes.length; i += step) stream.read(bytes, i, Math.min(bytes.length, i + step))
  stream.end(bytes)
  return stream.take().map(({ body }) => JSON.parse(Buffer.from((body as Written).bytes).toString()))
}

function fields({ event, data, id, retry }: Json): unknown[] {
  return [event, data, id, retry]
}
