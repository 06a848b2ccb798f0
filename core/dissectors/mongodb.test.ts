/** MongoDB: what is read from bytes, what pairs with what, and what is not taken for it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { deflateSync } from 'node:zlib'
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Message, Side } from '../dissector.ts'
import type { Item, Json, JsonValue } from '../item.ts'
import { JsonWriter, Written } from '../json-writer.ts'
import { contextOf } from '../testing/context.ts'
import { golden, only, readItems, readPackets } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import { dissector, type State } from './mongodb.ts'

const FIXTURES = new URL('../fixtures/mongodb/', import.meta.url)
const MSG = 2013
const MANY = 1 << 20

describe('mongodb', () => {
  golden('mongodb')

  describe('says what the client did', () => {
    it('commands with their answers', () => {
      const items = read('crud').filter(({ request }) => request?.opcode === 'OP_MSG')
      const told = truth('crud')
      for (const { command, database, sent, reply, failure } of told) {
        const found = items.findIndex(
          ({ request }) => request!.command === command && isSame(request!.body, asHere(sent)),
        )
        assert.ok(found >= 0, `${command} is missing`)
        const [{ request, response, failed }] = items.splice(found, 1) as [Item]
        assert.equal(request!.database, database)
        if (request!.flags.includes('moreToCome')) continue
        if (failure !== undefined) assert.equal(response!.errorCode, failure)
        else assert.ok(isSame(response!.body, asHere(reply)), `${command}: ${JSON.stringify(response)}`)
        assert.equal(failed, failure !== undefined || reply.writeErrors !== undefined)
      }
      assert.deepEqual(items, [])
    })

    it('no password', () => {
      const text = JSON.stringify(read('authentication'))
      assert.doesNotMatch(text, /made-up/)
      for (const secret of ['made-up-pw', '\0reader\0made-up-pw', 'n,,n=reader'])
        assert.ok(!text.includes(Buffer.from(secret).toString('base64').slice(0, 12)), secret)
      assert.match(text, /"mechanism":"SCRAM-SHA-256","payload":"\[REDACTED\]"/)
    })

    it('documents of any number', () => {
      const { inserted, found } = truth('large')
      const items = read('large')
      const named = (name: string) => items.find(({ request }) => request!.command === name)!
      assert.equal(named('insert').request!.body.documents.length, inserted)
      assert.equal(named('find').response!.body.cursor.firstBatch.length, found)
    })

    it('the same, compressed', () => {
      const told = truth('compressed').filter(({ sent }: Json) => /^notes_/.test(collectionName(sent)))
      const items = read('compressed').filter(({ request }) => request?.compressor !== undefined)
      for (const { command, sent } of told) {
        const compressor = collectionName(sent).replace('notes_', '')
        const own = items.filter(({ request }) => request!.compressor === compressor)
        assert.ok(
          own.some(({ request }) => request!.command === command && isSame(request!.body, asHere(sent))),
          `${command} with ${compressor}`,
        )
      }
    })

    it('queries of old, and what failed', () => {
      const items = read('legacy')
      const { found, failures } = truth('legacy')
      const batches = items.filter(({ request }) => request!.command === 'find' || request!.command === 'getMore')
      const documents = batches.slice(0, 2).flatMap(({ response }) => response!.body.documents)
      assert.deepEqual(documents, found)
      const messages = items.filter(({ failed }) => failed).map(({ response }) => response!.errorMessage)
      assert.deepEqual(messages, failures)
    })

    it('every type of BSON', () => {
      const insert = read('stream').find(({ request }) => request!.body.uuid !== undefined)!
      const { everyType } = truth('stream')
      // What differs from relaxed Extended JSON on purpose.
      everyType.minusZero = 0
      everyType.beyond = '9223372036854775807'
      everyType.least = '-9223372036854775808'
      const { insert: _insert, $db: _db, ...rest } = insert.request!.body
      assert.deepEqual(rest, asHere(everyType))
    })
  })

  describe('pairs', () => {
    it('each answer of a stream with its request', () => {
      const [, told] = talk(
        client(message(7, 0, 0x10000, { hello: 1, $db: 'admin' })),
        server(message(20, 7, 2, { ok: 1 })),
        server(message(21, 20, 2, { ok: 1 })),
        server(message(22, 21, 0, { ok: 1 })),
        server(message(23, 22, 0, { ok: 1 })),
      )
      assert.deepEqual(
        told.map(({ key, more }) => [key, more === true]),
        [
          [7, false],
          [7, true],
          [7, true],
          [7, false],
          [22, false],
        ],
      )
    })

    it('nothing with a write that forbids an answer', () => {
      const [, told] = talk(
        client(message(7, 0, 2, { insert: 'a', $db: 'b' })),
        server(message(20, 7, 0, { ok: 1 })),
        server(message(21, 8, 0, { ok: 1 })),
      )
      assert.equal(told[0]!.unanswered, true)
      assert.deepEqual(
        told.map(({ kind }) => kind),
        ['request', 'event', 'response'],
      )
    })

    it('an answer with the query or the getMore of the same id', () => {
      const query = Buffer.concat([int32(0), text('a.b'), int32(0, 0), bson({ x: 1 })])
      const getMore = Buffer.concat([int32(0), text('a.b'), int32(5, 9, 0)])
      const reply = (from: number) => Buffer.concat([int32(0, 9, 0, from, 1), bson({ x: 1 })])
      const keys = (...said: Said[]) => talk(...said)[1].map(({ key }) => key)
      const asked = [client(packet(8, 0, 2004, query)), client(packet(8, 0, 2005, getMore))] as const
      assert.deepEqual(keys(...asked, server(packet(1, 8, 1, reply(0))), server(packet(2, 8, 1, reply(1)))), [
        8,
        '8 more',
        8,
        '8 more',
      ])
      // A cursor that has found nothing yet.
      assert.deepEqual(keys(asked[0], server(packet(1, 8, 1, reply(0))), asked[1], server(packet(2, 8, 1, reply(0)))), [
        8,
        8,
        '8 more',
        '8 more',
      ])
      // The query was not seen.
      assert.deepEqual(keys(server(packet(2, 8, 1, reply(4)))), ['8 more'])
    })
  })

  describe('says of an answer', () => {
    const answers: [string, Json, Json][] = [
      ['all is well', { ok: 1 }, { success: true, errorCode: null }],
      ['an error', { ok: 0, errmsg: 'no', code: 13, codeName: 'Unauthorized' }, { success: false, errorCode: 13 }],
      ['an error without a name', { ok: 0, errmsg: 'no', code: 13 }, { errorName: 'Unauthorized', errorMessage: 'no' }],
      [
        'a write that failed',
        { n: 0, writeErrors: [{ index: 0, code: 11000, errmsg: 'E11000' }], ok: 1 },
        { success: false, errorCode: 11000, errorName: 'DuplicateKey', errorMessage: 'E11000' },
      ],
      [
        'a write that was not replicated',
        { n: 1, writeConcernError: { code: 64, codeName: 'WriteConcernFailed', errmsg: 'late' }, ok: 1 },
        { success: false, errorCode: 64, errorMessage: 'late' },
      ],
      ['writes in bulk that failed', { nErrors: 1, ok: 1 }, { success: false }],
      ['its cursor', { cursor: { firstBatch: [], id: 5, ns: 'a.b' }, ok: 1 }, { cursorId: 5 }],
    ]
    for (const [what, answer, expected] of answers)
      it(what, () => {
        const [, [message]] = talk(server(messageOf(answer)))
        const body = json(message!)
        for (const [name, value] of Object.entries(expected)) assert.deepEqual(body[name], value, name)
        assert.equal(message!.failed === true, body.success === false)
      })
  })

  describe('says of a command', () => {
    const commands: [Json, string | null][] = [
      [{ find: 'orders', $db: 'shop' }, 'orders'],
      [{ getMore: 1, collection: 'orders', $db: 'shop' }, 'orders'],
      [{ aggregate: 1, $db: 'shop' }, null],
      [{ renameCollection: 'shop.a.b', to: 'shop.c', $db: 'admin' }, 'a.b'],
      [{ createUser: 'reader', $db: 'shop' }, null],
      [{ hello: 1, $db: 'admin' }, null],
    ]
    for (const [command, collection] of commands)
      it(`the collection of ${Object.keys(command)[0]}`, () => {
        const [, [message]] = talk(client(messageOf(command)))
        assert.equal(json(message!).collection, collection)
      })

    it('the database of a query without a collection', () => {
      const query = Buffer.concat([int32(0), text('shop'), int32(0, 0), bson({ x: 1 })])
      const [, [message]] = talk(client(packet(1, 0, 2004, query)))
      const { database, collection } = json(message!)
      assert.deepEqual([database, collection], ['shop', null])
    })

    it('its name within the options of old', () => {
      const query = Buffer.concat([int32(4), text('a.$cmd'), int32(0, -1), bson({ $query: { ping: 1 }, x: 1 })])
      const [, [message]] = talk(client(packet(1, 0, 2004, query)))
      const { command, database, flags, body } = json(message!)
      assert.deepEqual([command, database, flags, body], ['ping', 'a', ['slaveOk'], { ping: 1 }])
    })
  })

  describe('keeps', () => {
    it('nothing of a body that nobody wants, and what it is about', () => {
      const [, [message]] = talkWith(0, client(messageOf({ find: 'a', $db: 'b', filter: { x: 1 } })))
      const { command, collection, body } = json(message!)
      assert.deepEqual([command, collection, body], ['find', 'a', null])
    })

    it('no more of a body than is wanted', () => {
      const documents = Array.from({ length: 1000 }, (_, i) => ({ i, text: 'é'.repeat(40) }))
      const [, [message]] = talkWith(2000, client(messageOf({ insert: 'a', $db: 'b', documents })))
      const { body, truncated } = json(message!)
      assert.ok(JSON.stringify(body).length < 2300)
      assert.equal(truncated, true)
      assert.deepEqual(body.documents[0], documents[0])
    })

    it('the end of an answer whose middle was not kept', () => {
      const firstBatch = Array.from({ length: 3000 }, (_, i) => ({ i, text: 'x'.repeat(40) }))
      const answer = { cursor: { firstBatch, id: 77, ns: 'a.b' }, ok: 0, code: 50, errmsg: 'slow' }
      for (const size of [1, 1000, 100_000]) {
        const told = inSegments(messageOf(answer, 9), size, 20_000)
        const { cursorId, errorCode, errorMessage, body, truncated } = json(told)
        assert.deepEqual([cursorId, errorCode, errorMessage, truncated], [77, 50, 'slow', true])
        assert.equal(body.code, 50)
        assert.deepEqual(body.cursor.firstBatch.slice(0, 100), firstBatch.slice(0, 100))
        assert.ok(body.cursor.firstBatch.length < 500)
      }
    })

    it('no deeper documents than servers take', () => {
      const deep = `${'{"a":'.repeat(250)}1${'}'.repeat(250)}`
      const [, [message]] = talk(client(messageOf({ find: 'a', filter: JSON.parse(deep) })))
      assert.equal(json(message!).truncated, true)
    })
  })

  describe('does not read', () => {
    it('a compressed message that is too large, and pairs it', () => {
      const wrapped = (size: number, bytes: Buffer) =>
        packet(3, 0, 2012, Buffer.concat([int32(MSG, size), Buffer.from([2]), bytes]))
      const [, [message]] = talk(client(wrapped(5 << 20, deflateSync(Buffer.alloc(5 << 20)))))
      assert.equal(message!.key, 3)
      assert.equal(json(message!).command, null)
      assert.throws(() => talk(client(wrapped(100, deflateSync(Buffer.alloc(1 << 20))))), Malformed)
      assert.throws(() => talk(client(wrapped(100, Buffer.from('nonsense')))), Malformed)
    })

    it('what cannot be', () => {
      const good = messageOf({ find: 'a', $db: 'b' })
      const changed = (at: number, value: number) => {
        const bytes = Buffer.from(good)
        bytes.writeInt32LE(value, at)
        return bytes
      }
      for (const [what, bytes] of Object.entries({
        'a length below the header': changed(0, 15),
        'a length above all': changed(0, 49_000_000),
        'an opcode': changed(12, 2003),
        'an unknown flag': changed(16, 4),
        'a document beyond the message': changed(21, 1000),
        'a negative string': changed(21 + 4 + 6, -1),
        'an opcode of the server': packet(1, 0, 1, Buffer.concat([int32(0, 0, 0, 0, 0)])),
      }))
        assert.throws(() => talk(client(bytes)), Malformed, what)
    })
  })

  describe('recognises', () => {
    it('each opcode, at any port, from its own side', () => {
      for (const name of ['crud', 'legacy', 'stream', 'compressed']) {
        const items = readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)).slice(3), only(dissector))
        assert.ok(items.length > 3, name)
      }
      assert.equal(probe('client', messageOf({ ping: 1 })), true)
      assert.equal(probe('server', messageOf({ ping: 1 })), false)
      assert.equal(probe('server', messageOf({ ok: 1 }, 7)), true)
      assert.equal(probe('client', messageOf({ ok: 1 }, 7)), false)
    })

    it('nothing else', () => {
      const header = (length: number, opcode: number) => Buffer.concat([int32(length, 1, 0, opcode), Buffer.alloc(200)])
      for (const bytes of [
        Buffer.from('GET / HTTP/1.1\r\nHost: shop\r\n\r\n'),
        Buffer.alloc(64),
        header(100, MSG),
        header(100, 2004),
        header(100, 2012),
        header(21, MSG),
        packet(1, 0, MSG, Buffer.concat([int32(0), Buffer.from([0]), int32(20), Buffer.from([99]), text('name')])),
        packet(1, 0, MSG, Buffer.concat([int32(0), Buffer.from([0]), int32(20), Buffer.from([2]), text('a\nb')])),
      ])
        assert.equal(probe('client', bytes), false, bytes.toString('latin1', 0, 30))
    })
  })
})

function read(name: string): Item[] {
  return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), only(dissector))
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as captures.
function truth(name: string): any {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

/** UUIDs as text, which is not how the driver writes them. */
function asHere(value: JsonValue): JsonValue {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map(asHere)
  if (value.$binary?.subType === '04')
    return { $uuid: uuid(Buffer.from(value.$binary.base64, 'base64').toString('hex')) }
  return Object.fromEntries(Object.entries(value).map(([name, within]) => [name, asHere(within)]))
}

function uuid(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function isSame(one: JsonValue, other: JsonValue): boolean {
  try {
    assert.deepEqual(one, other)
    return true
  } catch {
    return false
  }
}

function collectionName(command: Json): string {
  return String(Object.values(command)[0])
}

interface Said {
  from: Side
  bytes: Buffer
}

function client(bytes: Buffer): Said {
  return { from: 'client', bytes }
}

function server(bytes: Buffer): Said {
  return { from: 'server', bytes }
}

interface Told extends Message {
  text: string
}

function talk(...said: Said[]): [State, Told[]] {
  return talkWith(MANY, ...said)
}

function talkWith(keep: number, ...said: Said[]): [State, Told[]] {
  const state = dissector.open!()
  const told = said.map(({ from, bytes }) => {
    const message = dissector.read(new Cursor(bytes), contextOf(state, { from, keep })) as Message
    return { ...message, text: textOf(message) }
  })
  return [state, told]
}

function textOf({ body }: Message): string {
  return body instanceof Written
    ? Buffer.from(body.bytes.subarray(body.start, body.end)).toString()
    : JSON.stringify(body)
}

function json(message: Told): Json {
  return JSON.parse(message.text)
}

/** The answer as it comes from a network: the engine shows what was not committed again. */
function inSegments(bytes: Buffer, size: number, keep: number): Told {
  const state = dissector.open!()
  let progress: unknown = null
  let done = 0
  for (let end = size; ; end += size) {
    const at = new Cursor(bytes, done, Math.min(end, bytes.length))
    at.progress = progress
    try {
      const message = dissector.read(at, contextOf(state, { from: 'server', keep, out: new JsonWriter(64) })) as Message
      return { ...message, text: textOf(message) }
    } catch (thrown) {
      assert.equal(thrown, Incomplete)
      if (at.committed >= 0) {
        done = at.committed
        progress = at.progress
      }
    }
  }
}

function probe(from: Side, bytes: Buffer): boolean | 'more' {
  return probed(dissector, bytes, contextOf(dissector.open!(), { from }))
}

function messageOf(document: Json, responseTo = 0): Buffer {
  return message(1, responseTo, 0, document)
}

function message(requestId: number, responseTo: number, flags: number, document: Json): Buffer {
  return packet(requestId, responseTo, MSG, Buffer.concat([int32(flags), Buffer.from([0]), bson(document)]))
}

function packet(requestId: number, responseTo: number, opcode: number, body: Buffer): Buffer {
  return Buffer.concat([int32(16 + body.length, requestId, responseTo, opcode), body])
}

function int32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [i, value] of values.entries()) bytes.writeInt32LE(value | 0, i * 4)
  return bytes
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

/** The plainest writer: int32, text, objects and arrays. */
function bson(document: Json | JsonValue[]): Buffer {
  const fields = Object.entries(document).map(([name, value]) => {
    if (typeof value === 'number') return Buffer.concat([Buffer.from([16]), text(name), int32(value)])
    if (typeof value === 'string')
      return Buffer.concat([Buffer.from([2]), text(name), int32(Buffer.byteLength(value) + 1), text(value)])
    return Buffer.concat([Buffer.from([Array.isArray(value) ? 4 : 3]), text(name), bson(value)])
  })
  const inside = Buffer.concat(fields)
  return Buffer.concat([int32(inside.length + 5), inside, Buffer.from([0])])
}
