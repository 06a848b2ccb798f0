import assert from 'node:assert/strict'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { Item } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden, readPackets } from '../testing/golden.ts'
import { block, data, frame, headers, message, PREFACE } from '../testing/http2.ts'
import { Dialogue } from '../testing/packets.ts'
import { face } from './grpc.ts'

const SETTINGS = frame(4, 0, 0)
const CALL = { ':method': 'POST', ':path': '/shop.v1.Shop/GetItem', 'content-type': 'application/grpc', te: 'trailers' }
const BEGUN = block({ ':status': '200', 'content-type': 'application/grpc' })
const DONE = block({ 'grpc-status': '0' })

describe('grpc', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })
  golden('grpc')

  function talk(...turns: Uint8Array[]): Item[] {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS]))
    dialogue.tell(SETTINGS)
    for (const [i, turn] of turns.entries()) if (turn.length > 0) i % 2 === 0 ? dialogue.ask(turn) : dialogue.tell(turn)
    dialogue.close()
    return dissect(dialogue.packets, protocols, 1 << 20).items
  }

  function ask(fields: Readonly<Record<string, string>> = {}, content: Uint8Array = message('')): Buffer {
    return Buffer.concat([headers(1, block({ ...CALL, ...fields }), 'more'), data(1, content)])
  }

  it('says what the client of calls.pcap did', () => {
    const packets = readPackets(new URL('../fixtures/grpc/calls.pcap', import.meta.url))
    const { items } = dissect(packets, protocols, 1 << 20)
    assert.deepEqual(items.map(line), [
      'GetItem OK 1 1',
      'GetItem OK 1 1',
      'GetItem NOT_FOUND 1 0',
      'GetItem timeout 1 ',
      'ListItems response 0',
      'ListItems response 1',
      'ListItems response 2',
      'ListItems OK 1 3',
      'ListItems response 0',
      'ListItems response 1',
      'ListItems connection 1 ',
      'Upload request 0',
      'Upload request 1',
      'Upload OK 2 1',
      'Chat request 0',
      'Chat request 1',
      'Chat response 0',
      'Chat response 1',
      'Chat request 2',
      'Chat response 2',
      'Chat OK 3 3',
    ])
    const refused = items[2]!.response!
    assert.equal(refused.grpcMessage, 'kein Artikel: 100 % größer')
    assert.deepEqual(refused.grpcDetails, { 1: 5, 2: 'no such item' })
    assert.deepEqual(items[1]!.request!.message, { 1: 'z'.repeat(500) })
    assert.equal(items[3]!.request!.timeout, 100)
  })

  it('tells the same of frames that come together and of those that come one by one', () => {
    const call = headers(1, block(CALL), 'more')
    const begun = headers(1, BEGUN, 'more')
    const done = headers(1, DONE)
    const unknown = headers(1, block({ ':status': '200' }), 'more')
    const one = message('\n\u0001a')
    const two = Buffer.concat([one, message('\n\u0001b')])
    const half = one.subarray(0, 6)
    const calls = [
      [call, data(1, one)],
      [call, data(1, two)],
      [call, data(1, half, 'more'), data(1, one.subarray(6))],
      [call, data(1, message('', 1))],
      [call, data(1, 'no message')],
      [call, data(1, half)],
    ]
    const answers = [
      [begun, data(1, one, 'more'), done],
      [begun, data(1, two, 'more'), done],
      [begun, data(1, one, 'more'), data(1, one, 'more'), done],
      [begun, data(1, '', 'more'), done],
      [begun, data(1, one, 'more'), headers(1, Buffer.from([0xbe]))],
      [unknown, data(1, one, 'more'), done],
      [unknown, data(1, one)],
      [headers(1, block({ ':status': '200', 'content-type': 'application/grpc', 'grpc-status': '7' }))],
    ]
    const essential = ({ request, response, event, error, failed, requestSize, responseSize }: Item) => {
      return { request, response, event, error, failed, requestSize, responseSize }
    }
    const nothing = Buffer.alloc(0)
    for (const asked of calls)
      for (const told of answers) {
        const together = talk(Buffer.concat(asked), Buffer.concat(told))
        const turns = [...asked.flatMap(bytes => [bytes, nothing]), ...told.flatMap(bytes => [nothing, bytes])]
        assert.deepEqual(together.map(essential), talk(...turns).map(essential))
      }
  })

  it('tells messages of a stream while it lives, and where it ends what was said of it', () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS, ask()]))
    dialogue.tell(Buffer.concat([SETTINGS, headers(1, BEGUN, 'more'), data(1, message('\n\u0001a'), 'more')]))
    assert.deepEqual(dissect(dialogue.packets, protocols, 1000).items.map(line), ['GetItem dissection 1 '])
    dialogue.tell(data(1, message('\n\u0001b'), 'more'))
    const { items } = dissect(dialogue.packets, protocols, 1000)
    assert.deepEqual(items.map(line), ['GetItem response 0', 'GetItem response 1', 'GetItem dissection 1 '])
    assert.deepEqual(
      items
        .slice(0, 2)
        .map(({ event, timestamp, size }) => [event!.message, event!.content.text, timestamp % 1000, size]),
      [
        [{ 1: 'a' }, '\n\u0001a', 4, 8],
        [{ 1: 'b' }, '\n\u0001b', 5, 8],
      ].map(([message, text, at, size]) => [message, Buffer.from(text as string).toString('base64'), at, size]),
    )
  })

  it('reads messages in as many frames as they come, and several from one', () => {
    const both = Buffer.concat([message('\n\u0001a'), message('\n\u0001b')])
    for (const size of [1, 4, 7, 100]) {
      const pieces = []
      for (let i = 0; i < both.length; i += size) pieces.push(data(1, both.subarray(i, i + size), 'more'))
      const items = talk(ask(), Buffer.concat([headers(1, BEGUN, 'more'), ...pieces, headers(1, DONE)]))
      assert.deepEqual(items.map(line), ['GetItem response 0', 'GetItem response 1', 'GetItem OK 1 2'])
    }
  })

  describe('compression', () => {
    for (const [coding, compress] of [
      ['gzip', gzipSync],
      ['zstd', zstdCompressSync],
      ['identity', (bytes: Buffer) => bytes],
    ] as const)
      it(`by ${coding} is undone`, () => {
        const content = message(compress(Buffer.from('\n\u0001a')), 1)
        const [item] = talk(ask({ 'grpc-encoding': coding }, content))
        assert.deepEqual(item!.request!.message, { 1: 'a' })
      })

    it('that nobody knows leaves the bytes', () => {
      const [item] = talk(ask({ 'grpc-encoding': 'snappy' }, message('???', 1)))
      assert.equal(item!.request!.message, null)
      assert.equal(Buffer.from(item!.request!.postData.text, 'base64').toString('latin1', 5), '???')
    })
  })

  it('says of messages of a stream that they are as they were sent', () => {
    const sent = Buffer.concat([message('?', 1), message('!', 1)])
    const events = talk(ask({ 'grpc-encoding': 'snappy' }, sent)).filter(({ event }) => event !== null)
    assert.deepEqual(
      events.map(({ event, error }) => [event!.content.text, error!.msg]),
      ['?', '!'].map(text => [text, 'compressed (snappy): the content is as it was sent']),
    )
  })

  it('tells JSON as JSON', () => {
    const [item] = talk(ask({ 'content-type': 'application/grpc+json' }, message('{"sku":"a"}')))
    assert.deepEqual(item!.request!.message, { sku: 'a' })
  })

  it('is not what only looks like it', () => {
    const [item] = talk(
      Buffer.concat([headers(1, block({ ':method': 'POST', ':path': '/' }), 'more'), data(1, message(''))]),
    )
    assert.equal(item!.protocol.macro, 'http2')
  })

  it('goes on in HTTP where no status was said', () => {
    const [item] = talk(ask(), headers(1, block({ ':status': '503', 'content-type': 'text/html' })))
    assert.deepEqual(
      [item!.protocol.macro, item!.response!.status, item!.response!.grpcStatus, item!.failed],
      ['grpc', 503, undefined, true],
    )
  })

  it('stops at bytes that are no message, and keeps the call', () => {
    const [item] = talk(
      ask({}, Buffer.from('\u0009no message')),
      Buffer.concat([headers(1, BEGUN, 'more'), headers(1, DONE)]),
    )
    assert.deepEqual([item!.request!.messageCount, item!.response!.grpcStatusName], [undefined, 'OK'])
  })

  it('keeps no more of a message than is wanted', () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, block(CALL), 'more')]))
    const long = message(Buffer.alloc(60_000, 97))
    for (let i = 0; i < 3; i++) {
      dialogue.ask(data(1, long.subarray(0, 16_000), 'more'))
      dialogue.ask(data(1, long.subarray(16_000), 'more'))
    }
    dialogue.ask(data(1, ''))
    const { items } = dissect(dialogue.packets, protocols, 1000)
    const events = items.filter(({ event }) => event !== null)
    assert.deepEqual(
      events.map(({ event }) => [event!.content.size, event!.content.truncated, event!.message]),
      Array.from({ length: 3 }, () => [60_000, true, null]),
    )
  })

  it('tells of several messages that end within a frame whose rest is still to come', () => {
    const sent = Buffer.concat(['a', 'b', 'c', 'd'].map(text => message(text)))
    const whole = data(1, sent)
    for (let cut = 9; cut < whole.length; cut++) {
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, block(CALL), 'more'), whole.subarray(0, cut)]))
      dialogue.ask(whole.subarray(cut))
      dialogue.tell(Buffer.concat([SETTINGS, headers(1, BEGUN, 'more'), headers(1, DONE)]))
      const { items, tally } = dissect(dialogue.packets, protocols, 1 << 20)
      assert.deepEqual(
        items.filter(({ event }) => event !== null).map(({ event }) => event!.content.text),
        ['a', 'b', 'c', 'd'],
        `cut at ${cut}`,
      )
      assert.equal(items.at(-1)!.request!.messageCount, 4)
      assert.equal(tally.skippedBytes, 0)
    }
  })

  it('finds messages again behind a gap', () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS, ask()]))
    dialogue.tell(Buffer.concat([SETTINGS, headers(1, BEGUN, 'more')]))
    for (const text of ['a', 'b']) dialogue.tell(data(1, message(text), 'more'))
    const lost = dialogue.tell(data(1, message('c'), 'more'))
    for (const text of ['d', 'e']) dialogue.tell(data(1, message(text), 'more'))
    dialogue.ask(frame(6, 0, 0, Buffer.alloc(8)))
    dialogue.tell(headers(1, DONE))
    const packets = dialogue.packets.filter(packet => packet !== lost)
    const { items } = dissect(packets, protocols, 1000)
    assert.deepEqual(
      items.filter(({ event }) => event !== null).map(({ event }) => [event!.content.text, event!.index]),
      [
        ['a', 0],
        ['b', 1],
        ['d', undefined],
        ['e', undefined],
      ],
    )
    const call = items.at(-1)!
    assert.deepEqual([call.response!.grpcStatus, call.response!.messageCount], [0, undefined])
    assert.equal(call.error!.type, 'dissection')
  })

  it('tells nothing of a message that was lost in the middle as that of the next', () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, block(CALL), 'more')]))
    const long = message(Buffer.alloc(3000, 97))
    dialogue.ask(data(1, long.subarray(0, 1000), 'more'))
    const lost = dialogue.ask(data(1, long.subarray(1000), 'more'))
    for (const text of ['next', 'last']) dialogue.ask(data(1, message(text), 'more'))
    dialogue.tell(SETTINGS)
    dialogue.ask(data(1, ''))
    const packets = dialogue.packets.filter(packet => packet !== lost)
    const events = dissect(packets, protocols, 1 << 20).items.filter(({ event }) => event !== null)
    assert.deepEqual(
      events.map(({ event }) => event!.content.text),
      ['next', 'last'],
    )
  })

  it('is summarised by its path and status', () => {
    const [item] = talk(ask(), Buffer.concat([headers(1, BEGUN, 'more'), headers(1, DONE)]))
    assert.deepEqual(face.summarize(item!.request, item!.response, null), {
      method: 'GetItem',
      summary: '/shop.v1.Shop/GetItem',
      status: 'OK',
    })
  })
})

function line({ request, response, event, error }: Item): string {
  if (event !== null) return `${event.rpc} ${event.direction} ${event.index}`
  return `${request?.rpc} ${error?.type ?? response?.grpcStatusName} ${request?.messageCount} ${response?.messageCount ?? ''}`
}
