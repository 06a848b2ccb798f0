/** AMQP: what is read from frames, and which answer belongs to which method. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Cursor, Malformed } from '../cursor.ts'
import type { Message, Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { golden, only, readItems, readPackets } from '../testing/golden.ts'
import { probed, Talk, type Told } from '../testing/talk.ts'
import { readTable } from './amqp/fields.ts'
import { dissector } from './amqp.ts'

const FIXTURES = new URL('../fixtures/amqp/', import.meta.url)
const MANY = 1 << 20

describe('amqp', () => {
  golden('amqp')

  describe('says what the client did', () => {
    it('messages of two channels, sent in turns, delivered and confirmed', () => {
      const items = read('interleaved')
      const { published, delivered } = truth('interleaved')
      const sent = items.filter(({ request }) => request?.method === 'basic publish')
      assert.deepEqual(
        sent.map(({ request }) => request!.body),
        published,
      )
      assert.deepEqual(
        sent.map(({ request, response }) => [request!.channel, response?.method, response?.channel]),
        [
          [1, 'basic ack', 1],
          [2, 'basic ack', 2],
        ],
      )
      const told = items.filter(({ event }) => event?.method === 'basic deliver')
      assert.deepEqual(
        told.map(({ event }) => event!.body),
        delivered,
      )
    })

    it('a connection that the server blocks, and a secret renewed', () => {
      const items = read('blocked')
      const told = items.filter(({ event }) => event?.method.startsWith('connection '))
      assert.deepEqual(
        told.map(({ event }) => [event!.method.slice(11), event!.reason].filter(word => word !== undefined)),
        truth('blocked').events,
      )
      const pairs = items.filter(({ request }) => request !== null)
      const methods = pairs.map(({ request, response }) => [request!.method, response?.method])
      assert.deepEqual(methods.at(-2), ['connection update-secret', 'connection update-secret-ok'])
      assert.deepEqual(methods.at(-3), ['basic recover', 'basic recover-ok'])
      assert.doesNotMatch(JSON.stringify(items), /made-up/)
    })
  })

  describe('field tables', () => {
    it('have values of every type', () => {
      const types: [string, string, unknown][] = [
        ['t', '01', true],
        ['b', 'ff', -1],
        ['B', 'ff', 255],
        ['s', 'fffe', -2],
        ['U', 'fffe', -2],
        ['u', 'fffe', 65_534],
        ['I', 'fffffffd', -3],
        ['i', 'fffffffd', 4_294_967_293],
        ['l', 'fffffffffffffffc', -4],
        ['L', '7fffffffffffffff', '9223372036854775807'],
        ['f', '3dcccccd', 0.1],
        ['d', '3fb999999999999a', 0.1],
        ['d', '7ff0000000000000', 'inf'],
        ['D', '0200000c45', '31.41'],
        ['D', '03ffffffff', '-0.001'],
        ['D', '0000000007', '7'],
        ['S', '00000003c3a978', 'éx'],
        ['S', '00000002ff00', { base64: '/wA=', size: 2 }],
        ['x', '000000024142', { base64: 'QUI=', size: 2 }],
        ['T', '000000006553f100', 1_700_000_000],
        ['V', '', null],
        ['A', '00000003740156', [true, null]],
        ['F', '000000040161742a', { a: true }],
      ]
      for (const [letter, hex, expected] of types) {
        const { value, fault } = tableOf(Buffer.concat([field('k', letter), Buffer.from(hex, 'hex')]))
        assert.deepEqual([value, fault], [{ k: expected }, null], letter)
      }
    })

    it('are read up to a type that nobody knows', () => {
      const { value, fault } = tableOf(Buffer.concat([field('a', 'V'), field('b', 'z'), Buffer.from('what follows')]))
      assert.deepEqual(value, { a: null, b: null })
      assert.equal(fault, 'expected a type of field, found byte 122')
    })

    it('may be called anything', () => {
      const { value } = tableOf(Buffer.concat([field('__proto__', 'V'), field('constructor', 'V')]))
      assert.deepEqual(Object.keys(value), ['__proto__', 'constructor'])
    })

    it('are shown as bytes where they lie too deep', () => {
      let table = Buffer.alloc(0)
      for (let i = 0; i < 10_000; i++) {
        const size = Buffer.alloc(4)
        size.writeUInt32BE(table.length)
        table = Buffer.concat([field('', 'F'), size, table])
      }
      const { value, fault } = tableOf(table)
      assert.equal(fault, null)
      assert.match(JSON.stringify(value), /"base64"/)
    })
  })

  describe('content', () => {
    it('of several channels may come frame by frame in turns', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', publish(1, 'a'), publish(2, 'b'), header(2, 4), header(1, 6), body(1, 'one'), body(2, 'two!'))
      assert.deepEqual(bodies(talk.say('client', body(1, 'end'))), ['1 a oneend'])
      assert.deepEqual(bodies(talk.said), ['2 b two!', '1 a oneend'])
      assert.deepEqual(
        talk.said.map(({ size }) => size),
        [18 + 22 + 12, 18 + 22 + 11 + 11],
      )
    })

    it('is kept as far as it is wanted, in whole characters', () => {
      const talk = new Talk(dissector, 3)
      const [message] = talk.say('client', publish(1, 'a'), header(1, 8), body(1, 'aéé'), body(1, 'éx'))
      assert.deepEqual(
        [message!.body.body, message!.body.encoding, message!.body.bodySize, message!.body.truncated],
        ['aé', null, 8, true],
      )
      const none = new Talk(dissector, 0).say('client', publish(1, 'a'), header(1, 3), body(1, 'abc'))[0]!
      assert.deepEqual([none.body.body, none.body.bodySize, none.body.truncated], [null, 3, undefined])
    })

    it('that people cannot read is base64', () => {
      const [message] = new Talk(dissector, MANY).say(
        'client',
        publish(1, 'a'),
        header(1, 2),
        body(1, Buffer.from([0x80, 0])),
      )
      assert.deepEqual([message!.body.body, message!.body.encoding], ['gAA=', 'base64'])
    })

    it('whose bytes were lost in its middle goes on behind them', () => {
      const talk = new Talk(dissector, MANY)
      const frame = body(1, 'x'.repeat(100))
      talk.say('client', publish(1, 'a'), header(1, 100), frame.subarray(0, 27))
      assert.equal(dissector.bridge!(200, talk.progress.client), false)
      assert.equal(dissector.bridge!(50, talk.progress.client), true)
      const [message] = talk.say('client', frame.subarray(77))
      assert.equal(message!.body.body, 'x'.repeat(20))
      assert.deepEqual(message!.error, { type: 'dissection', msg: '50 bytes of the body were not captured' })
    })

    it('that ends with its connection says so', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', publish(1, 'a'), header(1, 100), body(1, 'x'.repeat(100)).subarray(0, 17))
      const message = talk.end('client')
      assert.equal(message?.body.body, 'x'.repeat(10))
      assert.deepEqual(message?.error, { type: 'connection', msg: 'closed after 10 of 100 bytes of the body' })
    })

    it('of which frames are still to come when the connection ends says so', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', publish(1, 'a'), header(1, 6), body(1, 'one'))
      const [message] = dissector.close!(contextOf(talk.state, { keep: MANY }), 'capture-ended') as Told[]
      assert.deepEqual([message!.body.body, message!.body.truncated, message!.error?.type], ['one', true, 'dissection'])
    })

    it('larger than announced is none', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', publish(1, 'a'), header(1, 3))
      assert.throws(() => talk.say('client', body(1, 'four')), Malformed)
    })
  })

  describe('answers', () => {
    it('belong to the method of their channel that they are for', () => {
      const talk = new Talk(dissector, MANY)
      const declare = method(50, 10, '0000', short('q'), '00', '00000000')
      const [first, second] = [...talk.say('client', frame(1, 1, declare)), ...talk.say('client', frame(1, 2, declare))]
      const ok = method(50, 11, short('q'), '0000000000000000')
      assert.deepEqual(keys(talk.say('server', frame(1, 2, ok), frame(1, 1, ok))), [second!.key, first!.key])
      assert.equal(talk.say('server', frame(1, 1, ok))[0]!.key, -1)
    })

    it('do not come to who waits for none', () => {
      const [purge] = new Talk(dissector, MANY).say('client', frame(1, 1, method(50, 30, '0000', short('q'), '01')))
      assert.equal(purge!.unanswered, true)
    })

    it('confirm one message, or all up to it', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', frame(1, 1, method(85, 10, '00')))
      const sent = ['a', 'b', 'c', 'd'].flatMap(key => talk.say('client', publish(1, key), header(1, 0)))
      assert.deepEqual(keys(talk.say('server', ack(1, 2, false))), [sent[1]!.key])
      assert.deepEqual(keys(talk.say('server', ack(1, 3, true))), [sent[0]!.key, sent[2]!.key])
      assert.equal(talk.say('server', ack(1, 3, true))[0]!.kind, 'event')
      assert.deepEqual(keys(talk.say('server', ack(1, 0, true))), [sent[3]!.key])
    })

    it('are not awaited for more messages than memory allows', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', frame(1, 1, method(85, 10, '00')))
      for (let i = 0; i < 5000; i++) talk.say('client', publish(1, 'a'), header(1, 0))
      assert.equal(talk.said.filter(({ unanswered }) => unanswered).length, 5000 - 4096)
      assert.equal(talk.say('server', ack(1, 4999, true)).length, 4096)
    })

    it('may be lost: then nothing is paired that was asked before, and messages keep their numbers', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', frame(1, 1, method(85, 10, '00')))
      const [before] = talk.say('client', publish(1, 'a'), header(1, 0))
      talk.state = dissector.lost!(talk.state, 'server')
      const [after, ...forgotten] = talk.say('client', publish(1, 'b'), header(1, 0))
      assert.deepEqual(
        forgotten.map(({ key, body, error }) => [key, body, error?.type]),
        [
          [talk.said[0]!.key, null, 'pair-not-found'],
          [before!.key, null, 'pair-not-found'],
        ],
      )
      assert.deepEqual(keys(talk.say('server', ack(1, 2, true))), [after!.key])
      talk.state = dissector.lost!(talk.state, 'client')
      assert.equal(talk.say('client', publish(1, 'c'), header(1, 0))[0]!.unanswered, true)
    })

    it('are given by a server that closes', () => {
      const talk = new Talk(dissector, MANY)
      const declare = talk.say('client', frame(1, 1, method(50, 10, '0000', short('q'), '00', '00000000')))
      const closed = talk.say('server', frame(1, 1, method(20, 40, '0194', short('NOT_FOUND'), '0032000a')))
      assert.deepEqual(keys(closed), keys(declare))
      assert.deepEqual([closed[0]!.failed, closed[0]!.body.replyCode], [true, 404])
      assert.equal(talk.say('client', frame(1, 1, method(20, 41)))[0]!.kind, 'event')
    })
  })

  describe('a protocol header', () => {
    it('is answered by the version of the server', () => {
      const talk = new Talk(dissector, MANY)
      const [asked] = talk.say('client', Buffer.from('AMQP\0\x01\0\0', 'latin1'))
      const [told] = talk.say('server', Buffer.from('AMQP\0\0\x09\x01', 'latin1'))
      assert.deepEqual([asked!.body.version, told!.body.version, told!.failed], ['1-0', '0-9-1', true])
      assert.equal(told!.key, asked!.key)
    })

    it('of AMQP 1.0 that both send leads elsewhere', () => {
      const talk = new Talk(dissector, MANY)
      talk.say('client', Buffer.from('AMQP\0\x01\0\0', 'latin1'))
      assert.equal(talk.say('server', Buffer.from('AMQP\0\x01\0\0', 'latin1'))[0]!.becomes, 'unknown')
    })
  })

  it('shows no password', () => {
    const properties = '00000000'
    const logins: [string, Buffer, unknown][] = [
      ['PLAIN', Buffer.from('\0me\0secret'), 'me'],
      ['AMQPLAIN', Buffer.concat([field('LOGIN', 'S'), long('me'), field('PASSWORD', 'S'), long('secret')]), 'me'],
      ['EXTERNAL', Buffer.from('secret'), undefined],
    ]
    for (const [mechanism, response, user] of logins) {
      const login = method(10, 11, properties, short(mechanism), long(response), short('en_US'))
      const [message] = new Talk(dissector, MANY).say('client', frame(1, 0, login))
      assert.deepEqual([message!.body.response, message!.body.user], ['[REDACTED]', user])
      assert.doesNotMatch(JSON.stringify(message), /secret/)
    }
    const [update] = new Talk(dissector, MANY).say(
      'client',
      frame(1, 0, method(10, 70, long('secret'), short('expired'))),
    )
    assert.deepEqual([update!.body.newSecret, update!.body.reason], ['[REDACTED]', 'expired'])
  })

  describe('is found', () => {
    const tune = frame(1, 0, method(10, 30, '07ff00020000003c'))
    const deliver = frame(1, 1, method(60, 60, short('tag'), '000000000000000100', short(''), short('q')))

    it('by its header, and by methods of the side that may send them', () => {
      assert.equal(probe(Buffer.from('AMQP\0\0\x09\x01', 'latin1'), 'client'), true)
      assert.equal(probe(tune, 'server'), true)
      assert.equal(probe(tune, 'client'), false)
      assert.equal(probe(deliver, 'server'), true)
      assert.equal(probe(deliver.subarray(0, 9), 'server'), 'more')
    })

    it('by what both may send where it is known who is the server', () => {
      for (const told of [ack(1, 1, false), frame(8, 0, Buffer.alloc(0)), header(1, 5)]) {
        assert.equal(probe(told, 'client'), false)
        assert.equal(probe(told, 'client', true), true)
      }
    })

    it('not in what only looks like it', () => {
      const damaged = Buffer.from(tune)
      damaged[damaged.length - 1] = 0xcd
      const wrong = [
        damaged,
        Buffer.from('AMQP is a protocol'),
        frame(1, 1, method(10, 30, '07ff00020000003c')),
        frame(1, 0, method(10, 30, '07ff00020000003c00')),
        frame(1, 0, method(99, 30, '07ff00020000003c')),
        body(1, 'a body'),
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
        Buffer.alloc(32),
      ]
      for (const bytes of wrong) assert.equal(probe(bytes, 'server', true), false, bytes.toString('latin1'))
    })
  })
})

function probe(bytes: Uint8Array, from: Side, hinted = false): boolean | 'more' {
  return probed(dissector, bytes, contextOf(undefined as never, { from, hinted }))
}

function read(name: string): Item[] {
  return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), only(dissector))
}

function truth(name: string): Json {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

function bodies(messages: Told[]): string[] {
  return messages
    .map(({ body }) => body as Json)
    .map(({ channel, routingKey, body }) => `${channel} ${routingKey} ${body}`)
}

function keys(messages: Message[]): unknown[] {
  return messages.map(({ key }) => key)
}

// ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function frame(type: number, channel: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(7)
  head.writeUInt8(type)
  head.writeUInt16BE(channel, 1)
  head.writeUInt32BE(payload.length, 3)
  return Buffer.concat([head, payload, Buffer.from([0xce])])
}

/** Text is hexadecimal. */
function method(classId: number, methodId: number, ...parts: (string | Buffer)[]): Buffer {
  const ids = Buffer.from([0, classId, 0, methodId])
  return Buffer.concat([ids, ...parts.map(part => (typeof part === 'string' ? Buffer.from(part, 'hex') : part))])
}

function publish(channel: number, routingKey: string): Buffer {
  return frame(1, channel, method(60, 40, '0000', short(''), short(routingKey), '00'))
}

function header(channel: number, size: number): Buffer {
  const payload = Buffer.alloc(14)
  payload.writeUInt16BE(60)
  payload.writeUInt32BE(size, 8)
  return frame(2, channel, payload)
}

function body(channel: number, payload: string | Buffer): Buffer {
  return frame(3, channel, Buffer.from(payload))
}

function ack(channel: number, tag: number, multiple: boolean): Buffer {
  return frame(1, channel, method(60, 80, tag.toString(16).padStart(16, '0'), multiple ? '01' : '00'))
}

function short(text: string): Buffer {
  return Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)])
}

function long(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text)
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bytes.length)
  return Buffer.concat([size, bytes])
}

/** Name and type; the value follows. */
function field(name: string, letter: string): Buffer {
  return Buffer.concat([short(name), Buffer.from(letter)])
}

function tableOf(fields: Buffer): ReturnType<typeof readTable> {
  return readTable(new Cursor(long(fields)))
}
