import assert from 'node:assert/strict'
import { type Batch, SPANS } from './batch.ts'
import { Connection } from './connections.ts'
import type { Dissector } from './dissector.ts'
import { Frame } from './frame.ts'
import type { Item, Json } from './item.ts'
import { type Answer, ItemWriter } from './item-writer.ts'
import { JsonWriter, type Written } from './json-writer.ts'
import type { Request } from './pairing.ts'

const DISSECTOR = {
  name: 'spoken',
  title: 'Spoken Words',
  abbr: 'SPOKEN',
  version: '1',
  color: '#123456',
  reference: 'https://example.org/',
  ports: [7, 77],
  priority: 3,
} as unknown as Dissector

/** A batch as its receiver may keep it. */
interface Kept {
  lines: string[]
  spans: string[][]
}

describe('item writer', () => {
  it('writes every field of an item, in the order of its declaration', () => {
    const [item] = itemsOf(writer =>
      writer.write(connection(), request({ q: 'é' }), answer({ a: 1 }), null, 5, 7, 2.5e6),
    )
    assert.deepEqual(item, {
      id: 'node "1"/0000000005000000007_087fcd5c.pcap-0',
      index: 0,
      stream: '0000000005000000007_087fcd5c.pcap',
      worker: 'node "1"',
      node: { ip: '10.0.0.9', name: 'n' },
      protocol: {
        name: 'spoken',
        version: '1',
        abbr: 'SPOKEN',
        longName: 'Spoken Words',
        macro: 'spoken',
        backgroundColor: '#123456',
        foregroundColor: '#ffffff',
        fontSize: 12,
        referenceLink: 'https://example.org/',
        ports: ['7', '77'],
        layer4: 'tcp',
        layer3: 'ipv4',
        priority: 3,
      },
      tls: false,
      src: endpoint('10.0.0.1', '1000'),
      dst: endpoint('10.0.0.2', '7'),
      timestamp: 5000.000007,
      startTime: '1970-01-01T00:00:05.000000007Z',
      request: { q: 'é' },
      response: { a: 1 },
      requestSize: 10,
      responseSize: 20,
      elapsedTime: 2.5,
      passed: false,
      failed: false,
      error: null,
      event: null,
      data: null,
      size: 30,
      entryFile: null,
      record: null,
    })
  })

  it('writes halves, errors, failures and events', () => {
    const error = { type: 'timeout', msg: 'no answer "came"' } as const
    const [alone, orphan, event] = itemsOf(writer => {
      writer.write(connection(), request({ q: 1 }), null, error, 0, 0, -1)
      writer.write(connection(), null, { ...answer({ a: 1 }), failed: true }, null, 0, 0, -1)
      const event = { ...answer({ e: 1 }), size: 9 }
      writer.writeEvent(connection(), event, null, 0, 999_999_999)
    })
    assert.deepEqual([alone!.response, alone!.error, alone!.failed, alone!.elapsedTime], [null, error, false, null])
    assert.deepEqual([orphan!.request, orphan!.error, orphan!.failed, orphan!.requestSize], [null, null, true, 0])
    assert.deepEqual([event!.event, event!.request, event!.size, event!.timestamp], [{ e: 1 }, null, 9, 999.999999])
  })

  it('adds what a refiner makes of a part, also where it or the part has no fields', () => {
    const parts = [
      { ...answer({ a: 1 }), gained: { b: 2 } },
      { ...answer({ a: {} }), gained: {} },
      { ...answer({}), gained: { b: 2 } },
      { ...answer({}), gained: {} },
      { ...answer({ a: 1 }), gained: written('{}') },
      { ...answer({}), gained: written('{"b":2}') },
    ]
    const items = itemsOf(writer => {
      for (const part of parts) writer.write(connection(), null, part, null, 0, 0, -1)
    })
    assert.deepEqual(
      items.map(({ response }) => response),
      [{ a: 1, b: 2 }, { a: {} }, { b: 2 }, {}, { a: 1 }, { b: 2 }],
    )
  })

  it('writes times exactly', () => {
    for (const [seconds, nanoseconds, timestamp, startTime] of [
      [0, 0, '0', '1970-01-01T00:00:00.000000000Z'],
      [0, 1, '0.000001', '1970-01-01T00:00:00.000000001Z'],
      [86_399, 0, '86399000', '1970-01-01T23:59:59.000000000Z'],
      [951_827_696, 0, '951827696000', '2000-02-29T12:34:56.000000000Z'],
      [1_700_000_000, 10_000_000, '1700000000010', '2023-11-14T22:13:20.010000000Z'],
      [1_700_000_000, 120_340_050, '1700000000120.34005', '2023-11-14T22:13:20.120340050Z'],
      [4_294_967_295, 999_999_999, '4294967295999.999999', '2106-02-07T06:28:15.999999999Z'],
    ] as const) {
      const line = write(writer => writer.write(connection(), null, answer(1), null, seconds, nanoseconds, -1))[0]!
        .lines[0]!
      assert.ok(line.includes(`"timestamp":${timestamp},"startTime":"${startTime}"`), line)
    }
    for (const [elapsed, text] of [
      [0, '0'],
      [1, '0.000001'],
      [1_000_100, '1.0001'],
      [3.6e12, '3600000'],
    ] as const) {
      const line = write(writer => writer.write(connection(), request(1), answer(1), null, 0, 0, elapsed))[0]!.lines[0]!
      assert.ok(line.includes(`"elapsedTime":${text},`), line)
    }
  })

  it('numbers the items of a connection, and says anew what a version changes', () => {
    const c = connection()
    const items = itemsOf(writer => {
      for (const version of ['1', '2', '1']) writer.write(c, { ...request(1), version }, null, null, 0, 0, -1)
    })
    assert.deepEqual(
      items.map(({ index, id, protocol }) => [index, id.split('-')[1], protocol.version]),
      [
        [0, '0', '1'],
        [1, '1', '2'],
        [2, '2', '1'],
      ],
    )
  })

  it('names the client as source, whoever sent the first packet', () => {
    const c = connection()
    c.client = c.back
    const [item] = itemsOf(writer => writer.write(c, request(1), null, null, 0, 0, -1))
    assert.deepEqual([item!.src.port, item!.dst.port], ['7', '1000'])
  })

  it('says where each request, response and body stands', () => {
    const batches = write(writer => {
      for (let i = 0; i < 5; i++)
        writer.write(
          connection(),
          { ...request(0), body: withBody('b'.repeat(i)) },
          i === 2 ? null : { ...answer(0), body: i === 3 ? { plain: 3 } : withBody('answer') },
          null,
          0,
          0,
          -1,
        )
    })
    for (const [i, [asked, told, askedBody, toldBody]] of batches[0]!.spans.entries()) {
      const item = JSON.parse(batches[0]!.lines[i]!) as Item
      assert.deepEqual(JSON.parse(asked!), item.request)
      assert.deepEqual(JSON.parse(told!), item.response)
      assert.equal(askedBody, JSON.stringify('b'.repeat(i)))
      assert.equal(toldBody, i === 2 || i === 3 ? '' : '"answer"')
    }
  })

  it('hands over full batches by themselves, by count and by size, and the rest when asked', () => {
    const small = (writer: ItemWriter) => {
      for (let i = 0; i < 600; i++) writer.write(connection(), request(i), null, null, 0, 0, -1)
    }
    const many = write(small, null, 'w')
    assert.deepEqual(
      many.map(({ lines }) => lines.length),
      [256, 256, 88],
    )
    const large = write(writer => {
      for (let i = 0; i < 5; i++) writer.write(connection(), request('x'.repeat(150_000)), null, null, 0, 0, -1)
      writer.write(connection(), request('y'.repeat(3_000_000)), null, null, 0, 0, -1)
    })
    assert.deepEqual(
      large.map(({ lines }) => lines.length),
      [2, 2, 2],
    )
    assert.deepEqual(
      write(() => {}),
      [],
    )
  })
})

function write(
  use: (writer: ItemWriter) => void,
  node: Item['node'] = { ip: '10.0.0.9', name: 'n' },
  worker = 'node "1"',
): Kept[] {
  const kept: Kept[] = []
  const writer = new ItemWriter(worker, node, batch => kept.push(keep(batch)))
  use(writer)
  writer.flush()
  writer.flush()
  return kept
}

function itemsOf(use: (writer: ItemWriter) => void): Item[] {
  return write(use).flatMap(({ lines }) => lines.map(line => JSON.parse(line)))
}

function keep({ bytes, length, count, starts, spans }: Batch): Kept {
  const text = (start: number, end: number) => Buffer.from(bytes.subarray(start, end)).toString()
  assert.equal(starts[count], length)
  return {
    lines: Array.from({ length: count }, (_, i) => {
      const line = text(starts[i]!, starts[i + 1]!)
      assert.equal(line.indexOf('\n'), line.length - 1)
      return line
    }),
    spans: Array.from({ length: count }, (_, i) =>
      [0, 2, 4, 6].map(k => text(Math.max(0, spans[i * SPANS + k]!), Math.max(0, spans[i * SPANS + k + 1]!))),
    ),
  }
}

function connection(): Connection {
  const frame = new Frame()
  frame.words.set([0, 0, 0xffff, 0x0a000001, 0, 0, 0xffff, 0x0a000002])
  const c = new Connection(42, 0x2a, 'tcp', frame, 1000, 7, { seconds: 5, nanoseconds: 7 })
  c.client = c.forth
  c.dissector = DISSECTOR
  return c
}

function request(body: unknown): Request {
  return {
    face: DISSECTOR,
    asker: 'client',
    body: body as Json,
    size: 10,
    failed: false,
    version: undefined,
    error: null,
  } as unknown as Request
}

function answer(body: unknown): Answer {
  return { face: DISSECTOR, asker: 'client', body: body as Json, size: 20, failed: false, version: undefined }
}

function written(json: string): Written {
  const out = new JsonWriter(8)
  out.ascii(json)
  return out.since(0)
}

/** Text with a body, not at the beginning of its buffer. */
function withBody(body: string): Written {
  const out = new JsonWriter(8)
  out.ascii('....{"body":')
  const written = out.since(4)
  written.bodyStart = out.length
  out.value(body)
  written.bodyEnd = out.length
  out.ascii('}')
  return Object.assign(written, { bytes: out.bytes, end: out.length })
}

function endpoint(ip: string, port: string) {
  return {
    ip,
    port,
    name: null,
    namespace: null,
    pod: null,
    endpointSlice: null,
    service: null,
    processId: null,
    processName: null,
    resolutionMechanism: 'none',
  }
}
