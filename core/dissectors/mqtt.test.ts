/** MQTT: what is read from packets of each version, who answers whom, and what is not taken for it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Malformed } from '../cursor.ts'
import type { Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { golden, only, readItems, readPackets } from '../testing/golden.ts'
import { probed, Talk } from '../testing/talk.ts'
import { dissector, type State } from './mqtt.ts'

const FIXTURES = new URL('../fixtures/mqtt/', import.meta.url)
const MANY = 1 << 20

describe('mqtt', () => {
  golden('mqtt')

  describe('says what the clients did', () => {
    for (const version of ['3.1.1', '5.0'])
      it(`in ${version}: messages of each QoS, subscriptions, a ping`, () => {
        const items = read(`qos-${version}`)
        const { published, received, granted, pings } = truth(`qos-${version}`)
        assert.deepEqual(messages(items, 'client'), published.map(withoutRetain))
        assert.deepEqual(sorted(messages(items, 'server')), sorted(received.map(withoutRetain)))
        for (const { request, response } of items)
          if (request!.type === 'PUBLISH' && request!.qos > 0)
            assert.equal(response!.type, request!.qos === 1 ? 'PUBACK' : 'PUBREC')
        const { request, response } = items.find(item => item.request!.type === 'SUBSCRIBE')!
        const told = request!.topics.map(({ filter }: Json, i: number) => [filter, response!.reasonCodes[i]])
        assert.deepEqual(told, granted)
        const answered = (type: string) => items.filter(item => item.request!.type === type && item.response !== null)
        assert.equal(answered('PINGREQ').length, pings)
        assert.equal(answered('PUBREL').length, 2 * published.filter(({ qos }: Json) => qos === 2).length)
        assert.ok(items.every(item => item.protocol.version === version))
      })

    it('with properties: aliases stand for topics, the server answers with an identifier', () => {
      const items = read('properties')
      const { received, reason } = truth('properties')
      assert.deepEqual(messages(items, 'server'), received.map(withoutRetain))
      const sent = items.filter(({ request, src }) => request?.type === 'PUBLISH' && src.port !== '28831')
      assert.deepEqual(new Set(sent.map(({ request }) => request!.topic)), new Set(['shop/orders']))
      assert.deepEqual(sent[1]!.request!.properties, {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 3600,
        topicAlias: 1,
        responseTopic: 'shop/answers',
        correlationData: { base64: 'AP8=', size: 2 },
        userProperties: { trace: ['1', '2'], größe: 'XL' },
        contentType: 'text/plain',
      })
      const last = items.filter(({ request }) => request?.type === 'DISCONNECT').at(-1)!.request!
      assert.deepEqual([last.reason, last.properties], [reason, { reasonString: 'bye' }])
    })

    it('where they were refused, without their passwords', () => {
      const items = read('refused')
      const { refused, errors } = truth('refused')
      const connects = items.filter(({ request, failed }) => request!.type === 'CONNECT' && failed)
      assert.deepEqual(
        connects.map(({ request, response }) => [request!.protocolLevel, response!.reasonCode]),
        refused,
      )
      const publishes = items.filter(({ request, failed }) => request!.type === 'PUBLISH' && failed)
      assert.deepEqual(
        publishes.map(({ response }) => response!.reasonCode),
        errors,
      )
      assert.doesNotMatch(JSON.stringify(items), /made-up/)
    })

    it('with the tools of mosquitto, in three versions', () => {
      const items = read('tools')
      const { sent, out } = truth('tools')
      const text = (from: Side) =>
        messages(items, from).map(({ topic, payload }) => `${topic} ${Buffer.from(payload, 'base64')}`)
      assert.deepEqual(text('client'), sent)
      assert.deepEqual(text('server'), out)
      const connects = items.filter(({ request }) => request!.type === 'CONNECT')
      assert.deepEqual(new Set(connects.map(({ protocol }) => protocol.version)), new Set(['3.1', '3.1.1', '5.0']))
    })

    it('with a large message', () => {
      const sizes = read('large').filter(({ request }) => request!.type === 'PUBLISH')
      assert.deepEqual(
        sizes.map(({ request }) => request!.payloadSize),
        truth('large').sizes,
      )
    })

    it('where the beginning was not seen', () => {
      assert.deepEqual(messages(read('midstream'), 'server'), truth('midstream').received.map(withoutRetain))
    })
  })

  describe('the version', () => {
    const shared = { topic: 'a/b', qos: 0 }

    it('is inferred where it was not seen', () => {
      const cases: [string, number][] = [
        ['82080001' + '0003612f6200', 4],
        ['8209000100' + '0003612f6200', 5],
        ['820b0001020b05' + '0003612f6200', 5],
        ['a2070001' + '0003612f62', 4],
        ['a208000100' + '0003612f62', 5],
        ['3008' + '0003612f62' + '7b227d', 4],
        ['3005' + '0003612f62', 4],
        ['300a' + '0003612f62' + '020101' + '7b7d', 5],
        ['40020001', 0],
        ['4003000110', 5],
        ['e0018e', 5],
      ]
      for (const [bytes, level] of cases) {
        const talk = talkAt(0)
        talk.say('client', Buffer.from(bytes, 'hex'))
        assert.equal(talk.state.level, level, bytes)
      }
    })

    it('that cannot be told leaves the payload out', () => {
      const [message] = talkAt(0).say('server', Buffer.from('3008' + '0003612f62' + '007b7d', 'hex'))
      const { topic, qos, payload, payloadSize } = message!.body
      assert.deepEqual({ topic, qos }, shared)
      assert.deepEqual([payload, payloadSize, message!.error?.type], [null, null, 'dissection'])
    })

    it('outlives a loss', () => {
      const talk = talkAt(5)
      talk.state = dissector.lost!(talk.state, 'client')
      assert.equal(talk.state.level, 5)
    })
  })

  describe('answers', () => {
    it('of both sides have identifiers of their own', () => {
      const talk = talkAt(4)
      const publish = Buffer.from('3207' + '0003612f62' + '0001', 'hex')
      const [ours] = talk.say('client', publish)
      const [theirs] = talk.say('server', publish)
      assert.notEqual(ours!.key, theirs!.key)
      const ack = Buffer.from('40020001', 'hex')
      assert.equal(talk.say('client', ack)[0]!.key, theirs!.key)
      assert.equal(talk.say('server', ack)[0]!.key, ours!.key)
      assert.equal(talk.say('server', ack)[0]!.key, -1)
    })

    it('to an identifier that was in use before a loss are nobody’s', () => {
      const talk = talkAt(4)
      talk.say('client', Buffer.from('3207' + '0003612f62' + '0001', 'hex'))
      talk.state = dissector.lost!(talk.state, 'server')
      const [orphan, forgotten] = talk.say('server', Buffer.from('40020001', 'hex'))
      assert.equal(orphan!.key, -1)
      assert.deepEqual([forgotten!.body, forgotten!.error?.type], [null, 'pair-not-found'])
    })

    it('of an exchange of AUTH come in turns, and the last is that of CONNECT, too', () => {
      const talk = talkAt(0)
      const connect =
        '10' +
        '1a' +
        '00044d515454' +
        '05' +
        '02' +
        '003c' +
        '0c' +
        '150003' +
        '534352' +
        '160003' +
        '736563' +
        '000178'
      const auth = 'f0' + '0e' + '18' + '0c' + '150003' + '534352' + '160003' + '736563'
      const [first] = talk.say('client', Buffer.from(connect, 'hex'))
      const [challenge] = talk.say('server', Buffer.from(auth, 'hex'))
      const [proof] = talk.say('client', Buffer.from(auth, 'hex'))
      const accepted = talk.say('server', Buffer.from('2003000000', 'hex'))
      assert.deepEqual([challenge!.key, challenge!.more], [first!.key, true])
      assert.deepEqual(
        accepted.map(({ key }) => key),
        [proof!.key, first!.key],
      )
      assert.deepEqual(first!.body.properties, { authenticationMethod: 'SCR', authenticationData: '[REDACTED]' })
    })

    it('are not awaited for more messages than memory allows', () => {
      const talk = talkAt(4)
      for (let id = 1; id <= 5000; id++) {
        const bytes = Buffer.from('3207' + '0003612f62' + '0000', 'hex')
        bytes.writeUInt16BE(id, 7)
        talk.say('client', bytes)
      }
      assert.equal(talk.said.filter(({ unanswered }) => unanswered).length, 5000 - 4096)
    })
  })

  describe('a payload', () => {
    const publish = Buffer.from('301d' + '0003612f62', 'hex')

    it('whose bytes were lost in its middle goes on behind them', () => {
      const talk = talkAt(4)
      talk.say('client', publish, Buffer.from('begin'))
      assert.equal(dissector.bridge!(20, talk.progress.client), false)
      assert.equal(dissector.bridge!(16, talk.progress.client), true)
      const [message] = talk.say('client', Buffer.from('end'))
      assert.deepEqual([message!.body.payload, message!.body.truncated], ['begin', true])
      assert.deepEqual(message!.error, { type: 'dissection', msg: '16 bytes of the payload were not captured' })
    })

    it('that ends with its connection says so', () => {
      const talk = talkAt(4)
      talk.say('client', publish, Buffer.from('begin'))
      const message = talk.end('client')
      assert.equal(message?.body.payload, 'begin')
      assert.deepEqual(message?.error, { type: 'connection', msg: 'closed after 5 of 24 bytes of the payload' })
    })

    it('is kept as far as it is wanted', () => {
      const body = (keep: number) => talkAt(4, keep).say('client', publish, Buffer.alloc(24, 'x'))[0]!.body
      assert.deepEqual([body(3).payload, body(3).payloadSize, body(3).truncated], ['xxx', 24, true])
      assert.deepEqual([body(0).payload, body(0).payloadSize, body(0).truncated], [null, 24, undefined])
    })
  })

  describe('is found', () => {
    const connect = Buffer.from('100d' + '00044d515454' + '04' + '02' + '003c' + '000178', 'hex')

    it('by CONNECT, at any port', () => {
      assert.equal(probe(connect, 'client'), true)
      assert.equal(probe(connect, 'server'), false)
      assert.equal(probe(connect.subarray(0, 6), 'client'), 'more')
      assert.equal(
        probe(Buffer.from('100f' + '00064d5149736470' + '03' + '02' + '003c' + '000178', 'hex'), 'client'),
        true,
      )
    })

    it('by whole packets, where something speaks for it', () => {
      for (const bytes of [
        '40020001',
        '3008' + '0003612f62' + '7b227d',
        'd000',
        '40020001d000',
        '3fff7f' + '0003612f62',
      ]) {
        const isTruncated = bytes.startsWith('3fff')
        if (!isTruncated) assert.equal(probe(Buffer.from(bytes, 'hex'), 'server'), false, bytes)
        assert.equal(probe(Buffer.from(bytes.replace('3f', '3d'), 'hex'), 'server', true), true, bytes)
      }
    })

    it('not in what only looks like it', () => {
      const wrong = [
        '40020001ff',
        '4003000103',
        '3608' + '0003612f62' + '7b227d',
        '3008' + '0003232f62' + '7b227d',
        'd001',
        '8002',
      ]
      for (const bytes of wrong) assert.equal(probe(Buffer.from(bytes, 'hex'), 'server', true), false, bytes)
      for (const text of [
        'GET / HTTP/1.1\r\n\r\n',
        'POST / HTTP/1.1\r\n\r\n',
        '0123 and more text than that',
        '*1\r\n$4\r\nPING\r\n',
      ])
        for (const side of ['client', 'server'] as const)
          assert.equal(probe(Buffer.from(text), side, true), false, text)
    })
  })

  it('stumbles over what no version allows', () => {
    const wrong = ['36050003612f62', '4102000a', 'c001', '8a00', '101000044d51545406', 'd0ffffffff00']
    for (const bytes of wrong)
      assert.throws(
        () => talkAt(4).say('client', Buffer.from(bytes, 'hex'), Buffer.alloc(20)),
        (thrown: unknown) => thrown instanceof Malformed,
        bytes,
      )
  })
})

/** Both sides of a connection whose CONNECT told of this protocol level. */
function talkAt(level: number, keep = MANY): Talk<State> {
  const talk = new Talk(dissector, keep)
  talk.state.level = level
  return talk
}

function probe(bytes: Uint8Array, from: Side, hinted = false): boolean | 'more' {
  return probed(dissector, bytes, contextOf(undefined as never, { from, hinted }))
}

function read(name: string): Item[] {
  return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), only(dissector))
}

function truth(name: string): Json {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

/** What `from` published, as clients note it. */
function messages(items: Item[], from: Side): Json[] {
  return items
    .filter(({ request }) => request?.type === 'PUBLISH')
    .filter(({ src }) => Number(src.port) < 30_000 === (from === 'server'))
    .map(({ request }) => ({
      topic: request!.topic,
      payload: Buffer.from(request!.payload, request!.encoding ?? 'utf8').toString('base64'),
      qos: request!.qos,
    }))
}

function withoutRetain({ topic, payload, qos }: Json): Json {
  return { topic, payload, qos }
}

function sorted(list: Json[]): string[] {
  return list.map(one => JSON.stringify(one)).sort()
}
