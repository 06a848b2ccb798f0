/** Memcached: what is read from bytes, what pairs with what, and what is not taken for it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Cursor, Malformed } from '../cursor.ts'
import type { Message, Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { golden, only, readItems, readPackets } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import { dissector } from './memcached.ts'

const FIXTURES = new URL('../fixtures/memcached/', import.meta.url)

describe('memcached', () => {
  golden('memcached')

  describe('says what the client did', () => {
    for (const name of ['text', 'login'])
      it(`one command after the other: ${name}`, () => {
        const items = read(name)
        const told = truth(name)
        assert.equal(items.length, told.length)
        for (const [i, { sent, heard }] of told.entries()) {
          const { request, response } = items[i]!
          assert.equal(request!.command, sent.split(/[ \r]/, 1)[0])
          assert.equal(response === null, heard === null, sent)
          if (heard === null) continue
          const values = [...heard.matchAll(/^VALUE (\S+) (\d+) (\d+)/gm)].map(([, key, flags, size]) => [
            key,
            +flags,
            +size,
          ])
          assert.deepEqual(
            (response!.values ?? []).map((v: Json) => [v.key, v.flags, v.valueSize]),
            values,
          )
          if (/^[A-Z]+_/.test(heard)) assert.equal(response!.status, heard.split(/[ \r]/, 1)[0])
        }
        assert.doesNotMatch(JSON.stringify(items), /made-up/)
      })

    for (const name of ['meta', 'pipelined', 'large'])
      it(`every byte of both sides, as far as it is written down: ${name}`, () => {
        const items = read(name)
        const sent = items.map(({ request }) => (request === null ? '' : asSent(request))).join('')
        const heard = items.map(({ response, event }) => asHeard(response ?? event)).join('')
        let [sentSoFar, heardSoFar] = [0, 0]
        for (const one of truth(name)) {
          assert.equal(sent.slice(sentSoFar, sentSoFar + one.sent.length), one.sent)
          assert.equal(heard.slice(heardSoFar, heardSoFar + one.heard.length), one.heard)
          // Long ones are written down in part.
          sentSoFar = one.sent.endsWith('\n') ? sentSoFar + one.sent.length : asSent(items[0]!.request!).length
          heardSoFar += one.heard.length
        }
      })

    it('frames', () => {
      const items = read('binary')
      for (const { opaque, answer } of truth('binary').filter((one: Json) => one.answer !== undefined)) {
        const item = items.find(({ request }) => request?.opaque === opaque)!
        assert.equal(item.response!.opaque, answer[1])
        assert.equal(item.response!.status === 'OK' || item.response!.status === 'HIT', answer[2] === 0)
      }
      const { quiet, answers } = truth('binary').find((one: Json) => one.quiet !== undefined)
      const alone = items.filter(({ request, response }) => request !== null && response === null)
      assert.deepEqual(
        alone.map(({ request }) => request!.opaque),
        quiet,
      )
      const events = items.filter(({ event }) => event !== null)
      assert.deepEqual(
        events.map(({ event }) => event!.opaque),
        answers.slice(0, 2).map((one: number[]) => one[1]),
      )
      const { stats } = truth('binary').find((one: Json) => one.stats !== undefined)
      const told = items.find(({ request }) => request?.command === 'stat')!
      assert.deepEqual(Object.keys(told.response!.stats).sort(), stats.sort())
      assert.doesNotMatch(JSON.stringify(items), /made-up/)
    })

    it('a client library', () => {
      const found = read('client').find(({ request }) => request?.keys?.length === 4)!.response!.values
      assert.deepEqual(Object.fromEntries(found.map((v: Json) => [v.key, v.value])), truth('client')[0].found)
    })
  })

  it('recognises what cannot be anything else, and at its port more', () => {
    const certain: [Side, string][] = [
      ['client', 'set k 0 0 3\r\nabc\r\n'],
      ['client', 'gets k\r\n'],
      ['client', 'mg k v\r\n'],
      ['server', 'STORED\r\n'],
      ['server', 'VALUE k 0 3\r\nabc\r\nEND\r\n'],
      ['server', 'VA 3\r\nabc\r\n'],
      ['client', '\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'],
    ]
    for (const [from, text] of certain) assert.equal(probe(from, text), true, text)
    const others: [Side, string][] = [
      ['client', 'get k\r\n'],
      ['client', 'set k 0 0 3\r\nabcde'],
      ['client', 'set k v\r\n'],
      ['client', 'GET / HTTP/1.1\r\n'],
      ['client', 'quit\r\n'],
      ['server', 'OK\r\n'],
      ['server', '220 mail\r\n'],
      ['client', '\x80\x2e\x01\0\x02\0\x15\0\0\0\x10\x01\0\x80\0\0\0\0\0\0\0\0\0\0\0\0'],
    ]
    for (const [from, text] of others) assert.equal(probe(from, text), false, text)
    assert.equal(probe('client', 'get k\r\n', { hinted: true }), true)
    assert.equal(probe('server', 'END\r\n', { hinted: true }), true)
  })

  it('waits for more only where the beginning was seen', () => {
    assert.equal(probe('client', 'se'), 'more')
    assert.equal(probe('client', 'HELO'), false)
    assert.equal(probe('client', 'se', { midstream: true }), false)
    assert.equal(probe('client', '\x80\x0a', { midstream: true }), false)
    assert.equal(probe('client', 'set k 0 0 3\r\na', { midstream: true }), 'more')
  })

  it('pairs nothing between a flag q and the answer to mn', () => {
    const state = dissector.open!()
    const told = ['mg a v q\r\n', 'get b\r\n', 'mn\r\n', 'get c\r\n'].map(text => say(text, { state }))
    assert.deepEqual(
      told.map(({ unanswered }) => unanswered === true),
      [true, true, false, false],
    )
    const awaited = told[2]!.memo
    assert.equal(say('EN\r\n', { state, from: 'server', awaited }).kind, 'event')
    assert.equal(say('MN\r\n', { state, from: 'server', awaited }).kind, 'response')
  })

  it('refuses what cannot be', () => {
    for (const text of ['set k 0 0 x\r\n', 'set k 0 0 1\r\nabc', `get ${'k'.repeat(251)}\r\n`, 'get\r\n', 'GET k\r\n'])
      assert.throws(() => say(text), Malformed, text)
    const { memo } = say('set k 0 0 1\r\na\r\n')
    assert.throws(() => say('VALUE k 0 1\r\na\r\nEND\r\n', { from: 'server', awaited: memo }), Malformed)
  })

  it('keeps no more of values than is wanted, for all of an answer together', () => {
    const { values } = say('VALUE a 0 3\r\nabc\r\nVALUE b 0 3\r\ndef\r\nEND\r\n', { from: 'server', keep: 4 })
      .body as Json
    assert.deepEqual(
      values.map((v: Json) => [v.value, v.truncated]),
      [
        ['abc', undefined],
        ['d', true],
      ],
    )
    assert.equal((say('set k 0 0 3\r\nabc\r\n', { keep: 0 }).body as Json).value, null)
  })
})

function read(name: string): Item[] {
  return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), only(dissector))
}

/** The command as it was sent, made of its item. */
function asSent({ command, key, keys, flags, exptime, value, valueSize, metaFlags = [] }: Json): string {
  const words = command.startsWith('m')
    ? [key, valueSize, ...metaFlags]
    : command === 'get'
      ? keys
      : [key, flags, exptime, valueSize]
  const line = [command, ...words.filter((word: unknown) => word !== undefined && word !== null)].join(' ')
  return `${line}\r\n${value === undefined ? '' : `${value}\r\n`}`
}

function asHeard(told: Json | null): string {
  if (told === null) return ''
  const { code, status, values, valueSize, value, key, metaFlags = [], details = [] } = told
  if (values !== undefined)
    return `${values.map((v: Json) => `VALUE ${v.key} ${v.flags} ${v.valueSize}\r\n${v.value}\r\n`).join('')}END\r\n`
  const words = [code ?? status, valueSize, key, ...metaFlags, ...details]
  return `${words.filter(word => word !== undefined).join(' ')}\r\n${value === undefined ? '' : `${value}\r\n`}`
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as captures.
function truth(name: string): any {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

function say(text: string, changes: object = {}): Message {
  const ctx = contextOf(dissector.open!(), { keep: 1 << 20, ...changes })
  return dissector.read(new Cursor(Buffer.from(text, 'latin1')), ctx) as Message
}

function probe(from: Side, text: string, changes: object = {}): boolean | 'more' {
  return probed(dissector, Buffer.from(text, 'latin1'), contextOf(dissector.open!(), { from, ...changes }))
}
