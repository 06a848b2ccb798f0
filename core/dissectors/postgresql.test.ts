import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, it } from 'mocha'
import { Cursor } from '../cursor.ts'
import type { Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { contextOf } from '../testing/context.ts'
import { dissect, golden, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { probed } from '../testing/talk.ts'
import { openSession } from './postgresql/session.ts'
import { decodeBinary } from './postgresql/values.ts'
import { dissector } from './postgresql.ts'

const FIXTURES = new URL('../fixtures/postgresql/', import.meta.url)
const KEEP = 1 << 20
const READY = message('Z', 'I')
const COLUMN = description('x')

describe('postgresql', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  golden('postgresql')

  describe('says what the client did', () => {
    for (const name of ['simple', 'prepared', 'midstream', 'cancelled'])
      it(name, () => {
        const told = queries(name)
        for (const [i, did] of truth(name).entries()) {
          const { request, response, failed } = told[i + told.length - truth(name).length]!
          assert.equal(failed, did.code !== undefined)
          assert.equal(response!.error?.code, did.code)
          if (did.message !== undefined) assert.equal(response!.error.message, did.message)
          if (did.statement !== undefined) assert.equal(request!.statement, did.statement)
          if (did.parameters !== undefined) assert.deepEqual(request!.parameters, did.parameters)
          if (did.query !== undefined && request!.query !== undefined && !did.query.includes('s3cr3t'))
            assert.equal(request!.query, did.query)
          if (did.command) assert.ok(response!.commandTag.startsWith(did.command))
          if (did.rowCount !== undefined) assert.equal(response!.rowCount, did.rowCount)
          if (did.rows?.length > 0) assert.deepEqual(response!.rows, did.rows)
        }
      })

    it('pipelined', () => {
      const told = queries('pipelined').filter(item => item.request!.command === 'Execute')
      const did = truth('pipelined')
      assert.equal(told.length, did.length)
      for (const [i, { response }] of told.entries()) {
        assert.equal(response!.error?.code, did[i].code)
        if (did[i].rows !== undefined) assert.deepEqual(response!.rows, did[i].rows)
      }
    })

    it('binary values', () => {
      const told = queries('psycopg-pipeline')
      const texts = truth('psycopg-pipeline').filter((one: Json) => one.text !== undefined)
      assert.ok(texts.length > 25)
      for (const { query, text } of texts)
        for (const item of told.filter(({ request }) => request!.query === query))
          assert.deepEqual(item.response!.rows, [[text]], query)
      assert.equal(told.find(({ failed }) => failed)!.response!.error.code, '42703')
      assert.ok(told.some(({ response }) => response!.skipped))
    })

    it('notifications, also between the parts of an answer', () => {
      const heard = read('notifications').filter(({ event }) => event !== null)
      assert.deepEqual(
        heard.map(({ event }) => [event!.channel, event!.payload]),
        truth('notifications'),
      )
    })

    it('logins', () => {
      const told = read('logins')
      assert.deepEqual(
        told.map(({ request, response }) => [request!.user, request!.database, response!.error?.code ?? null]),
        truth('logins').map(({ user, database, code }: Json) => [user, database, code]),
      )
      assert.deepEqual(
        told.map(({ response }) => response!.authentication ?? null),
        ['SCRAM-SHA-256', 'SCRAM-SHA-256', 'password', 'md5', 'trust', null, 'SCRAM-SHA-256', 'SCRAM-SHA-256'],
      )
      for (const secret of ['made-up-pw', 'wrong-pw', 'pw-secret', 'md-secret'])
        assert.ok(!JSON.stringify(told).includes(secret))
    })

    it('rows of a cursor', () => {
      const told = queries('cursor').filter(item => item.request!.command === 'Execute')
      const sizes = truth('cursor').filter((size: number) => size > 0)
      assert.deepEqual(
        told.map(({ response }) => response!.rowCount),
        sizes,
      )
    })

    it('copied rows', () => {
      const out = queries('copy').find(({ request }) => request!.query === 'copy copied to stdout')!
      assert.equal(out.response!.copy.data, truth('copy'))
    })

    it('replicated changes', () => {
      const lines = read('replication').flatMap(({ event }) => (event?.type === 'XLogData' ? [event.data] : []))
      assert.deepEqual(lines, truth('replication'))
    })
  })

  describe('an answer', () => {
    it('belongs to no Execute that an error made the server skip', () => {
      const batch = group('a') + group('b') + group('c') + message('S')
      const error = message('E', 'SERROR\0VERROR\0C42601\0Mno\0\0')
      const items = talk([
        [batch, `${message('1')}${message('2')}${message('n')}${message('C', 'A 1\0')}${error}${READY}`],
        [group('d') + message('S'), `${message('1')}${message('2')}${message('n')}${message('C', 'D 1\0')}${READY}`],
      ])
      assert.deepEqual(
        items.map(({ request, response }) => [
          request!.query,
          response!.commandTag,
          response!.error?.code ?? null,
          response!.skipped ?? false,
        ]),
        [
          ['select a', 'A 1', null, false],
          ['select b', null, '42601', false],
          ['select c', null, null, true],
          ['select d', 'D 1', null, false],
        ],
      )
    })

    it('tells of an error at the end of the transaction that Sync makes', () => {
      const error = message('E', 'SERROR\0VERROR\0C23503\0Mdeferred\0\0')
      const [item] = talk([
        [
          group('a') + message('S'),
          `${message('1')}${message('2')}${message('n')}${message('C', 'INSERT 0 1\0')}${error}${READY}`,
        ],
      ])
      assert.deepEqual([item!.response!.error.code, item!.failed], ['23503', true])
    })

    it('counts rows exactly and keeps no more than is wanted', () => {
      const rows = message('D', `\0\x01\0\0\0\x03abc`).repeat(20_000)
      const [item] = talk(
        [[message('Q', 'select x\0'), `${COLUMN}${rows}${message('C', 'SELECT 20000\0')}${READY}`]],
        40,
      )
      assert.equal(item!.response!.rowCount, 20_000)
      assert.equal(item!.response!.rows.length, 10)
      assert.equal(item!.response!.omittedRows, 19_990)
      const [none] = talk(
        [[message('Q', 'select x\0'), `${COLUMN}${rows}${message('C', 'SELECT 20000\0')}${READY}`]],
        0,
      )
      assert.deepEqual([none!.response!.rowCount, none!.response!.rows], [20_000, undefined])
    })

    it('with a value of megabytes keeps its beginning', () => {
      const value = 'x'.repeat(3_000_000)
      const row = message('D', `\0\x01${u32(value.length)}${value}`)
      const [item] = talk([[message('Q', 'select x\0'), `${COLUMN}${row}${message('C', 'SELECT 1\0')}${READY}`]], 1000)
      const [[kept]] = item!.response!.rows
      assert.equal(kept.size, 3_000_000)
      assert.ok(kept.text.length > 900 && kept.text.length <= 1000)
    })

    it('to SSLRequest decides what comes next', () => {
      for (const [answer, becomes] of [
        ['S', 'tls'],
        ['N', undefined],
      ] as const) {
        const at = new Cursor(Buffer.from(answer))
        const awaited = { kind: 'encryption' }
        const told = dissector.read(at, contextOf(openSession(), { from: 'server', awaited }))
        assert.ok(told !== null && !Array.isArray(told))
        assert.equal(told.becomes, becomes)
        assert.equal((told.body as Json).accepted, answer === 'S')
      }
    })
  })

  describe('a statement', () => {
    it('is known by its name until the name means another', () => {
      const prepare = (name: string, query: string) => message('P', `${name}\0${query}\0\0\0`)
      const run = (name: string) => message('B', `\0${name}\0\0\0\0\0\0\0`) + message('E', '\0\0\0\0\0') + message('S')
      const done = `${message('2')}${message('C', 'SELECT 1\0')}${READY}`
      const failure = `${message('E', 'SERROR\0C42601\0Mno\0\0')}${READY}`
      const items = talk([
        [prepare('a', 'select 1') + run('a'), message('1') + done],
        [run('a'), done],
        [prepare('a', 'select 2') + run('a'), failure],
        [run('a'), done],
        [message('C', 'Sa\0') + prepare('a', 'select 3') + run('a'), message('3') + message('1') + done],
        [prepare('b', 'nonsense') + run('b'), failure],
        [run('b'), done],
        [message('Q', 'deallocate all\0'), `${message('C', 'DEALLOCATE ALL\0')}${READY}`],
        [run('a'), done],
      ])
      assert.deepEqual(
        items.map(({ request }) => request!.query),
        [
          'select 1',
          'select 1',
          'select 2',
          'select 1',
          'select 3',
          'nonsense',
          undefined,
          'deallocate all',
          undefined,
        ],
      )
    })

    describe('that has a name is known after a loss', () => {
      const prepare = (name: string, query: string) => message('P', `${name}\0${query}\0\0\0`)
      const run = (name: string) => message('B', `\0${name}\0\0\0\0\0\0\0`) + message('E', '\0\0\0\0\0') + message('S')
      const done = `${message('2')}${message('C', 'SELECT 1\0')}${READY}`
      const login = `${u32(27)}\0\x03\0\0user\0bob\0options\0\0\0`

      /** What is asked and told, and of which of both the packet is lost. */
      function readWithout(parts: [asked: string, told: string, lost?: 'asked' | 'told'][]): Item[] {
        const dialogue = new Dialogue().open()
        for (const [asked, told, lost] of parts) {
          dialogue.ask(latin(asked))
          if (lost === 'asked') dialogue.packets.pop()
          dialogue.tell(latin(told))
          if (lost === 'told') dialogue.packets.pop()
        }
        return dissect(dialogue.packets, protocols, KEEP).items
      }

      function queriesOf(items: Item[]): (string | undefined)[] {
        return items.flatMap(({ request }) => (request?.command === 'Execute' ? [request.query] : []))
      }

      const first: [string, string] = [prepare('a', 'select 1') + run('a'), message('1') + done]

      it('of what the server said, with user and database', () => {
        const items = readWithout([
          [login, `${message('R', u32(0))}${READY}`],
          first,
          [run('a'), done, 'told'],
          [run('a'), done],
        ])
        assert.deepEqual(queriesOf(items), ['select 1', 'select 1', 'select 1'])
        assert.deepEqual(
          items.map(({ request }) => [request!.user, request!.database]),
          Array(4).fill(['bob', 'bob']),
        )
      })

      it('of what the client said, when an answer shows that nothing was prepared meanwhile', () => {
        const items = readWithout([first, [run('a'), done, 'asked'], [run('a'), done], [run('a'), done]])
        assert.deepEqual(queriesOf(items), ['select 1', undefined, 'select 1'])
      })

      it('of what the client said, but not when something was', () => {
        const again = message('C', 'Sa\0') + prepare('a', 'select 2') + run('a')
        const items = readWithout([
          first,
          [again, message('3') + message('1') + done, 'asked'],
          [run('a'), done],
          [run('a'), done],
          [again, message('3') + message('1') + done],
          [run('a'), done],
        ])
        assert.deepEqual(queriesOf(items), ['select 1', undefined, undefined, 'select 2', 'select 2'])
      })

      it('unless the answer that confirms it is lost, too', () => {
        const items = readWithout([
          [prepare('a', 'select 1') + run('a'), message('1') + done, 'told'],
          [run('a'), done],
        ])
        assert.deepEqual(queriesOf(items), ['select 1', undefined])
      })

      it('until the name is given another', () => {
        const items = readWithout([
          first,
          [message('Q', 'deallocate a\0'), `${message('C', 'DEALLOCATE\0')}${READY}`, 'told'],
          [prepare('a', 'select 2') + run('a'), message('1') + done],
          [run('a'), done],
        ])
        assert.deepEqual(queriesOf(items), ['select 1', 'select 2', 'select 2'])
      })
    })

    it('is not remembered without limit', () => {
      const state = openSession()
      for (let i = 0; i < 3000; i++) {
        const bytes = Buffer.from(message('P', `s${i}\0select ${'x'.repeat(2000)}\0\0\0`) + message('S'), 'latin1')
        dissector.read(new Cursor(bytes), contextOf(state))
      }
      assert.ok(state.statements.size < 600, `${state.statements.size}`)
      assert.equal(state.statements.has('s2999'), true)
    })
  })

  describe('replication', () => {
    it('is not seen in lines of COPY that look like it', () => {
      const line = `r${'x'.repeat(32)}\n`
      const items = talk([
        [message('Q', 'copy t from stdin\0'), message('G', '\0\0\0')],
        [message('d', line) + message('c'), `${message('C', 'COPY 1\0')}${READY}`],
        [
          message('Q', 'copy t to stdout\0'),
          `${message('H', '\0\0\0')}${message('d', `w${'x'.repeat(40)}\n`)}${message('c')}${message('C', 'COPY 1\0')}${READY}`,
        ],
      ])
      assert.deepEqual(
        items.map(({ event, response }) => event ?? response!.copy.bytes),
        [34, 42],
      )
    })

    it('is found where its beginning was not seen, by what keeps it alive', () => {
      const dialogue = new Dialogue()
      dialogue.tell(latin(message('d', `k${'\0'.repeat(16)}\x01`)))
      dialogue.ask(latin(message('d', `r${'\0'.repeat(33)}`)))
      dialogue.tell(latin(message('d', `w${'\0'.repeat(24)}BEGIN 1`)))
      const { items } = dissect(dialogue.packets, protocols, KEEP)
      assert.deepEqual(
        items.map(({ event }) => event!.type),
        ['Keepalive', 'StandbyStatusUpdate', 'XLogData'],
      )
    })
  })

  describe('probe', () => {
    const sure: [Side, string][] = [
      ['client', startup('someone')],
      ['client', '\0\0\0\x08\x04\xd2\x16\x2f'],
      ['client', message('Q', 'select 1\0')],
      ['client', message('Q', '/* tag */ with x as (select 1) select * from x\0')],
      ['client', message('P', 's1\0update t set a = $1\0\0\x01\0\0\0\x17')],
      ['client', message('B', '\0s1\0\0\0\0\x01\0\0\0\x011\0\0')],
      ['server', message('1') + message('2')],
      ['server', READY],
      ['server', description('id')],
      ['server', message('D', `\0\x02\xff\xff\xff\xff\0\0\0\x01x`)],
      ['server', message('C', 'INSERT 0 1\0')],
      ['server', message('E', 'SERROR\0VERROR\0C42P01\0Mno\0\0')],
    ]
    const never: [Side, string][] = [
      ['client', 'QUIT\r\n'],
      ['client', message('Q', 'hello world\0')],
      ['client', message('B', '\0s1\0\0\0\0\x01\0\0\0\x021\0\0')],
      ['client', '\0\0\0\x08\0\x03\0\0'],
      ['server', 'HTTP/1.1 200 OK\r\n\r\n'],
      ['server', message('Z', 'X')],
      ['server', message('C', 'lower case\0')],
      ['server', 'ERR unknown\r\n'],
      // To wait for what these announce would keep other protocols from being found.
      ['server', '33\r\nsigma'],
      ['server', message('D', 'x'.repeat(8000)).slice(0, 30)],
      ['client', message('B', 'x'.repeat(8000)).slice(0, 30)],
    ]
    it('knows what can be nothing else, on any port', () => {
      for (const [side, bytes] of sure) assert.equal(probe(side, bytes), true, JSON.stringify(bytes))
      for (const [side, bytes] of never) assert.equal(probe(side, bytes), false, JSON.stringify(bytes))
    })
    it('asks for more of what may become an answer', () => {
      for (const [side, bytes] of sure)
        for (let size = 0; size < Math.min(bytes.length, 12); size++)
          assert.notEqual(probe(side, bytes.slice(0, size)), false, JSON.stringify(bytes))
    })
  })

  describe('a binary value', () => {
    it('that is none of its type is base64', () => {
      const decode = (type: number, hex: string) => {
        const bytes = Buffer.from(hex, 'hex')
        return decodeBinary(type, bytes, 0, bytes.length, bytes.length)
      }
      assert.equal(decode(23, '0000002a'), '42')
      assert.deepEqual(decode(23, '00002a'), { base64: 'AAAq', size: 3 })
      assert.deepEqual(decode(99_999, '01'), { base64: 'AQ==', size: 1 })
      // An array that promises more elements than there are bytes, and one of nothing in endless rows.
      for (const sizes of ['7fffffff00000001', '7fffffff0000000100000000', '00000000'])
        assert.equal(typeof decode(1007, `00000002000000000000001700${sizes}`), 'object')
      assert.equal(typeof decode(1700, '00017fff00000000270f'), 'object')
    })
  })

  it('summarises statement and outcome', () => {
    const summary = dissector.summarize(
      { command: 'Query', query: 'select 1' },
      { commandTag: 'SELECT 1', error: null },
      null,
    )
    assert.deepEqual(summary, { method: 'SELECT', summary: 'select 1', status: 'SELECT 1' })
    const failed = dissector.summarize({ command: 'Execute', statement: 's' }, { error: { code: '42P01' } }, null)
    assert.deepEqual(failed, { method: 'Execute', summary: 's', status: '42P01' })
  })

  function read(name: string): Item[] {
    return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), protocols)
  }

  /** What the client asked for once it was logged in. */
  function queries(name: string): Item[] {
    const others = ['SSLRequest', 'Startup', 'CancelRequest']
    return read(name).filter(({ request }) => request !== null && !others.includes(request.command))
  }

  /** Each request answered before the next, after a login. */
  function talk(parts: [string, string][], keep = KEEP): Item[] {
    const dialogue = new Dialogue().open()
    dialogue.ask(latin(startup('u')))
    dialogue.tell(latin(message('R', '\0\0\0\0') + READY))
    for (const [asked, told] of parts) {
      for (const part of pieces(asked)) dialogue.ask(part)
      for (const part of pieces(told)) dialogue.tell(part)
    }
    const { items, tally } = dissect(dialogue.packets, protocols, keep)
    assert.equal(tally.skippedBytes, 0)
    return items.slice(1)
  }
})

// biome-ignore lint/suspicious/noExplicitAny: as many shapes as there are captures.
function truth(name: string): any {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

/** As messages cross a network. */
function pieces(text: string): Buffer[] {
  const bytes = latin(text)
  return Array.from({ length: Math.ceil(bytes.length / 1400) }, (_, i) => bytes.subarray(i * 1400, (i + 1) * 1400))
}

function latin(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

function u32(value: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes.toString('latin1')
}

function startup(user: string): string {
  return `${u32(user.length + 15)}\0\x03\0\0user\0${user}\0\0`
}

function message(type: string, body = ''): string {
  return `${type}${u32(body.length + 4)}${body}`
}

/** Parse, Bind, Describe and Execute of `select <what>`. */
function group(what: string): string {
  return `${message('P', `\0select ${what}\0\0\0`)}${message('B', '\0\0\0\0\0\0\0\0')}${message('D', 'P\0')}${message('E', '\0\0\0\0\0')}`
}

function description(name: string): string {
  return message('T', `\0\x01${name}\0\0\0\0\0\0\0\0\0\0\x19\0\0\0\0\0\0\0\0`)
}

function probe(side: Side, bytes: string): boolean | 'more' {
  return probed(dissector, latin(bytes), contextOf(openSession(), { from: side }))
}
