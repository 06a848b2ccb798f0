import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { deflateSync, zstdCompressSync } from 'node:zlib'
import { before, describe, it } from 'mocha'
import { Cursor } from '../cursor.ts'
import type { Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { contextOf } from '../testing/context.ts'
import { dissect, golden, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { probed } from '../testing/talk.ts'
import { openSession } from './mysql/session.ts'
import { dissector } from './mysql.ts'

const FIXTURES = new URL('../fixtures/mysql/', import.meta.url)
const KEEP = 1 << 20
const COMPRESS = 1 << 5
const DEPRECATE_EOF = 1 << 24
/** PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH. */
const USUAL = 0x0008_8200
/** A column x of type VAR_STRING. */
const COLUMN = `\x03def\0\0\0\x01x\0\x0c\x21\0\xff\0\0\0\xfd\0\0\x1f\0\0`
const OK = packet(1, '\0\0\0\x02\0\0\0')

describe('mysql', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  golden('mysql')

  describe('says what the client did', () => {
    for (const name of ['text', 'prepared', 'midstream'])
      it(name, () => {
        const told = read(name).filter(({ request }) => ['COM_QUERY', 'COM_STMT_EXECUTE'].includes(request?.command))
        const refused = read(name).filter(({ request, failed }) => failed && request?.command === 'COM_STMT_PREPARE')
        for (const did of truth(name)) {
          const { request, response, failed } = (did.errno !== undefined && refused.shift()) || told.shift()!
          assert.equal(failed, did.errno !== undefined)
          assert.equal(response!.error?.code, did.errno)
          assert.equal(response!.error?.sqlState, did.sqlState)
          assert.equal(response!.error?.message, did.message)
          if (request!.query !== undefined && !did.query.includes('s3cr3t')) assert.equal(request!.query, did.query)
          if (request!.parameters !== undefined) assert.deepEqual(request!.parameters, did.parameters)
          if (did.rows !== undefined) assert.deepEqual(response!.rows, did.rows.map(asTold))
          if (did.rows !== undefined) assert.equal(response!.rowCount, did.rows.length)
          if (did.affectedRows !== undefined) assert.equal(response!.affectedRows, did.affectedRows)
          if (did.insertId !== undefined) assert.equal(response!.lastInsertId, did.insertId)
          if (did.info !== undefined) assert.equal(response!.info, did.info)
        }
        assert.deepEqual(told, [])
        assert.ok(!JSON.stringify(read(name)).includes('s3cr3t'))
      })

    it('several results', () => {
      const told = read('several-results').filter(({ request }) => request!.command === 'COM_QUERY')
      for (const [i, { query, results }] of truth('several-results').entries()) {
        const { request, response } = told[i + 1]!
        assert.equal(request!.query, query)
        if (typeof results === 'number') assert.equal(response!.error.code, results)
        else
          assert.deepEqual(
            response!.results.map(({ rows, affectedRows }: Json) => rows ?? { affectedRows }),
            results,
          )
      }
    })

    it('bulk and pipeline', () => {
      const told = read('bulk-and-pipeline')
      const did = truth('bulk-and-pipeline')
      const bulk = told.find(({ request }) => request!.command === 'COM_STMT_BULK_EXECUTE')!
      assert.deepEqual(bulk.request!.bulk, did.rows)
      assert.equal(bulk.response!.affectedRows, did.affectedRows)
      const rows = (command: string) =>
        told.flatMap(({ request, response }) => (request!.command === command && response?.rows ? [response.rows] : []))
      assert.deepEqual(rows('COM_STMT_EXECUTE'), did.all)
      assert.deepEqual(rows('COM_QUERY'), did.text)
    })

    it('logins', () => {
      const told = read('logins').filter(({ request }) => request!.command === 'Login')
      assert.deepEqual(
        told.map(({ request, response }) => [request!.user, request!.database, response!.error?.code ?? null]),
        truth('logins').map(({ user, database, errno }: Json, i: number) => [
          user,
          database ?? (i < 4 ? 'shop' : undefined),
          errno,
        ]),
      )
      assert.ok(!JSON.stringify(told).includes('-pw'))
    })

    it('compressed', () => {
      const told = read('compressed').flatMap(({ response }) => response?.rows ?? [])
      assert.equal(told.length, truth('compressed'))
      const later = read('compressed-midstream').flatMap(({ response }) => (response?.rows ? [response.rows] : []))
      assert.deepEqual(
        later,
        truth('compressed-midstream').map(({ rows }: Json) => rows),
      )
    })

    it('a file', () => {
      const [first] = read('infile').filter(({ request }) => request!.query?.startsWith('load data'))
      assert.equal(first!.response!.affectedRows, 3)
      assert.deepEqual(first!.response!.infile, { name: 'rows.tsv', bytes: 20 })
      assert.ok(first!.response!.progress.length > 0)
    })

    it('events of a binary log', () => {
      const events = read('binlog').flatMap(({ event }) => (event === null ? [] : [event]))
      assert.ok(events.some(({ eventType, table }) => eventType === 'TABLE_MAP_EVENT' && table === 'b'))
      assert.ok(events.some(({ query }) => query === 'create or replace table other (x int)'))
    })

    it('events of a binary log, also where the request for them was not seen', () => {
      const types = read('prepared').flatMap(({ event }) => (event === null ? [] : [event.eventType]))
      assert.ok(types.includes('WRITE_ROWS_EVENT_V1') && types.includes('XID_EVENT'), String(types))
    })

    it('commands', () => {
      const told = read('commands').filter(({ response }) => response !== null)
      const codes = (command: string) =>
        told.filter(({ request }) => request!.command === command).map(({ response }) => response!.error?.code ?? 0)
      const did = (what: string) =>
        truth('commands').flatMap((line: string) => (line.startsWith(`${what} `) ? [line.slice(what.length + 1)] : []))
      for (const [command, name] of [
        ['COM_PING', 'ping'],
        ['COM_INIT_DB', 'select_db'],
        ['COM_DEBUG', 'dump_debug_info'],
        ['COM_SET_OPTION', 'set_server_option'],
        ['COM_REFRESH', 'refresh'],
        ['COM_CHANGE_USER', 'change_user'],
        ['COM_RESET_CONNECTION', 'reset_connection'],
      ] as const)
        assert.deepEqual(codes(command).map(String), did(name), command)
      const [fields] = told.filter(({ request }) => request!.command === 'COM_FIELD_LIST')
      assert.equal(String(fields!.response!.columns.length), did('list_fields')[0])
      const [statistics] = told.filter(({ request }) => request!.command === 'COM_STATISTICS')
      assert.equal(statistics!.response!.text, did('stat')[0])
      const fetched = told.filter(({ request }) => request!.command === 'COM_STMT_FETCH')
      const rows = fetched.reduce((sum, { response }) => sum + response!.rowCount, 0)
      assert.equal(String(rows), did('fetched')[0])
    })
  })

  describe('an answer', () => {
    for (const deprecates of [false, true])
      it(`is read with EOF or without it (${deprecates ? 'without' : 'with'})`, () => {
        const eof = (sequence: number) => (deprecates ? '' : packet(sequence, '\xfe\0\0\x02\0'))
        const next = deprecates ? 3 : 4
        const last = deprecates ? '\xfe\0\0\x02\0\0\0' : '\xfe\0\0\x02\0'
        const rows = `${packet(1, '\x01')}${packet(2, COLUMN)}${eof(3)}${packet(next, '\x01a')}${packet(next + 1, last)}`
        const prepared = `${packet(1, '\0\x07\0\0\0\0\0\x01\0\0\0\0')}${packet(2, COLUMN)}${eof(3)}`
        const items = talk(deprecates ? DEPRECATE_EOF : 0, [
          ['\x03select 1', rows],
          ['\x16insert into t values (?)', prepared],
          ['\x03select 2', rows],
        ])
        assert.deepEqual(
          items.map(({ response }) => response!.rows ?? response!.parameterCount),
          [[['a']], 1, [['a']]],
        )
      })

    it('may be of a connection whose beginning was not seen, with or without EOF', () => {
      for (const eof of ['', packet(3, '\xfe\0\0\x02\0')]) {
        const dialogue = new Dialogue()
        const prepared = `${packet(1, '\0\x07\0\0\0\0\0\x01\0\0\0\0')}${packet(2, COLUMN)}${eof}`
        for (const [asked, told] of [
          [packet(0, '\x16insert into t values (?)'), prepared],
          [packet(0, '\x03insert into t values (1)'), OK],
        ] as const) {
          dialogue.ask(latin(asked))
          dialogue.tell(latin(told))
        }
        const { items } = dissect(dialogue.packets, protocols, KEEP)
        assert.deepEqual(
          items.map(({ request, response }) => [request!.command, response!.status]),
          [
            ['COM_STMT_PREPARE', 'OK'],
            ['COM_QUERY', 'OK'],
          ],
        )
      }
    })

    it('counts rows exactly and keeps no more than is wanted', () => {
      let rows = ''
      for (let i = 0; i < 20_000; i++) rows += packet((4 + i) & 255, '\x03abc')
      const told = `${packet(1, '\x01')}${packet(2, COLUMN)}${packet(3, '\xfe\0\0\x02\0')}${rows}${packet(20_004 & 255, '\xfe\0\0\x02\0')}`
      const [item] = talk(0, [['\x03select x', told]], 40)
      assert.deepEqual(
        [item!.response!.rowCount, item!.response!.rows.length, item!.response!.omittedRows],
        [20_000, 10, 19_990],
      )
      const [none] = talk(0, [['\x03select x', told]], 0)
      assert.deepEqual([none!.response!.rowCount, none!.response!.rows], [20_000, undefined])
    })

    it('with a packet out of turn is none', () => {
      const { items } = talkAll(0, [['\x03select 1', packet(2, '\0\0\0\x02\0\0\0')]])
      assert.equal(items.at(-1)!.response, null)
    })
  })

  describe('after a loss', () => {
    const answer = (row: string) =>
      `${packet(1, '\x01')}${packet(2, COLUMN)}${packet(3, row)}${packet(4, '\xfe\0\0\x02\0\0\0')}`
    const texts = answer('\x01a')
    const rows = answer('\0\0\x01a')
    const prepared = `${packet(1, '\0\x07\0\0\0\x01\0\x01\0\0\0\0')}${packet(2, COLUMN)}${packet(3, COLUMN)}`
    const execute = '\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x08\0\x2a\0\0\0\0\0\0\0'
    const typeless = '\x17\x07\0\0\0\0\x01\0\0\0\0\0\x2a\0\0\0\0\0\0\0'

    /** What is asked and told, and of which of both the packet is lost; what each request is known to be, since then. */
    function tellsWithout(parts: [asked: string, told: string, lost?: 'asked' | 'told'][]): unknown[][] {
      const dialogue = new Dialogue().open()
      login(dialogue, DEPRECATE_EOF)
      for (const [asked, told, lost] of [
        ['\x02shop', OK],
        ['\x16select ?', prepared],
        [execute, rows],
        ...parts,
      ] as typeof parts) {
        // A silence, behind which nothing is under way.
        dialogue.wait(2000).ask(latin(packet(0, asked)))
        if (lost === 'asked') dialogue.packets.pop()
        if (told !== '') dialogue.tell(latin(told))
        if (lost === 'told') dialogue.packets.pop()
      }
      const { items } = dissect(dialogue.packets, protocols, KEEP)
      return items.slice(4).flatMap(({ request }) => {
        if (request === null) return []
        const { user, database, query, parameters } = request
        return [[user, database, query, parameters]]
      })
    }

    const known = ['bob', 'shop', 'select ?', [42]]
    const unknown = [undefined, undefined, undefined, undefined]

    it('of what the server said, the connection is known as before', () => {
      assert.deepEqual(
        tellsWithout([
          [execute, rows, 'told'],
          [typeless, rows],
        ]),
        [known, known],
      )
    })

    it('of the answer to what changes the database, that is not known', () => {
      assert.deepEqual(
        tellsWithout([
          ['\x02other', OK, 'told'],
          [execute, rows],
        ])[1],
        ['bob', undefined, 'select ?', [42]],
      )
    })

    it('of what the client said, it is known when an answer shows that nothing has changed', () => {
      assert.deepEqual(
        tellsWithout([
          [execute, rows, 'asked'],
          [execute, rows],
          [execute, rows],
        ]),
        [unknown, known],
      )
    })

    it('of what the client said, nothing is known if it may have changed', () => {
      assert.deepEqual(
        tellsWithout([
          ['\x02other', OK, 'asked'],
          [execute, rows],
          [execute, rows],
        ]),
        [unknown, unknown],
      )
    })

    it('of what the client said, parameters are not told that may have been sent ahead, or with other types', () => {
      const ahead = '\x18\x07\0\0\0\0\0long'
      const lacks = '\x17\x07\0\0\0\0\x01\0\0\0\0\x01\xfd\0'
      const some = ['bob', 'shop', 'select ?', undefined]
      assert.deepEqual(
        tellsWithout([
          [ahead, '', 'asked'],
          ['\x03select 1', texts],
          ['\x03select 1', texts],
          [lacks, rows],
          [execute, rows],
        ]).slice(2),
        [some, known],
      )
      assert.deepEqual(
        tellsWithout([
          [execute, rows, 'asked'],
          ['\x03select 1', texts],
          ['\x03select 1', texts],
          [typeless, rows],
          [execute, rows],
        ]).slice(2),
        [some, known],
      )
    })
  })

  describe('a message of more than 16 MB', () => {
    it('goes on in the next packet', () => {
      const size = 0xffffff + 100
      const query = `\x03select '${'x'.repeat(size - 10)}'`
      const asked = packet(0, query.slice(0, 0xffffff)) + packet(1, query.slice(0xffffff))
      const long = `\xfd\xff\xff\xff${'y'.repeat(0xffffff)}`
      const row = packet(4, long.slice(0, 0xffffff)) + packet(5, long.slice(0xffffff))
      const told = `${packet(2, '\x01')}${packet(3, COLUMN)}${row}${packet(6, '\xfe\0\0\x02\0\0\0')}`
      const dialogue = new Dialogue().open()
      login(dialogue, DEPRECATE_EOF)
      for (const part of pieces(asked, 60_000)) dialogue.ask(part)
      for (const part of pieces(told, 60_000)) dialogue.tell(part)
      const { items, tally } = dissect(dialogue.packets, protocols, 1000)
      assert.equal(tally.skippedBytes, 0)
      const [, item] = items
      assert.equal(item!.request!.querySize, query.length - 1)
      assert.equal(item!.response!.rowCount, 1)
      assert.equal(item!.response!.rows[0][0].size, 0xffffff)
      assert.equal(item!.requestSize, asked.length)
    })
  })

  describe('compression', () => {
    for (const [name, compress] of [
      ['zlib', deflateSync],
      ['zstd', zstdCompressSync],
    ] as const)
      it(`by ${name}, with packets across compressed ones`, () => {
        const text = `\x03select '${'x'.repeat(300)}'`
        const rows = `${packet(1, '\x01')}${packet(2, COLUMN)}${packet(3, `\xfc\x2c\x01${'y'.repeat(300)}`)}${packet(4, '\xfe\0\0\x02\0\0\0')}`
        const squeezed = (bytes: string, sequence: number) =>
          wrapped(compress(latin(bytes)).toString('latin1'), sequence, bytes.length)
        const dialogue = new Dialogue().open()
        login(dialogue, DEPRECATE_EOF | (name === 'zlib' ? COMPRESS : 1 << 26))
        dialogue.ask(latin(squeezed(packet(0, text), 0)))
        dialogue.tell(latin(squeezed(rows.slice(0, 150), 1) + squeezed(rows.slice(150), 2)))
        // Two commands at once, answered at once.
        dialogue.ask(latin(wrapped(packet(0, '\x0e'), 0) + wrapped(packet(0, '\x03set @a = 1'), 0)))
        dialogue.tell(latin(wrapped(OK + OK, 1)))
        const { items, tally } = dissect(dialogue.packets, protocols, KEEP)
        assert.equal(tally.skippedBytes, 0)
        assert.deepEqual(
          items.map(({ request, response }) => [request!.command, response!.rows?.[0][0].length ?? response!.status]),
          [
            ['Login', 'OK'],
            ['COM_QUERY', 300],
            ['COM_PING', 'OK'],
            ['COM_QUERY', 'OK'],
          ],
        )
      })

    it('that lies about its length costs the connection and nothing else', () => {
      const dialogue = new Dialogue().open()
      login(dialogue, COMPRESS)
      const bomb = deflateSync(Buffer.alloc(1 << 20)).toString('latin1')
      dialogue.ask(latin(wrapped(bomb, 0, 100)))
      const { items } = dissect(dialogue.packets, protocols, KEEP)
      assert.equal(items.length, 1)
    })
  })

  describe('probe', () => {
    const sure: [Side, string][] = [
      ['server', greeting(0)],
      ['server', packet(0, "\xff\x6a\x04Host 'x' is not allowed to connect")],
      ['server', packet(1, '\xff\x7a\x04#42S02Table does not exist')],
      ['server', OK],
      ['server', packet(1, '\x01') + packet(2, COLUMN)],
      ['client', response(USUAL)],
      ['client', packet(0, '\x03select 1')],
      ['client', packet(0, '\x03\0\x01select 1')],
      ['client', packet(0, '\x16update t set a = ?')],
      ['client', packet(0, '\x17\x01\0\0\0\0\x01\0\0\0')],
      ['client', wrapped(packet(0, '\x03select 1'), 0)],
    ]
    const never: [Side, string][] = [
      ['client', packet(0, '\x03hello world')],
      ['client', packet(0, '\x0e')],
      ['client', packet(3, '\x03select 1')],
      ['client', 'GET / HTTP/1.1\r\n\r\n'],
      ['server', packet(0, '\x0anonsense\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0')],
      ['server', packet(1, '\0\0\0\0\0\0\0')],
      ['server', packet(1, '\x01') + packet(2, '\x03abc')],
      ['server', 'SSH-2.0-OpenSSH_9.2\r\n'],
      // To wait for what these announce would keep other protocols from being found.
      ['server', packet(1, `\0${'x'.repeat(8000)}`).slice(0, 30)],
      ['server', packet(1, 'x'.repeat(3000)).slice(0, 30)],
      ['client', packet(1, 'x'.repeat(3000)).slice(0, 40)],
    ]
    it('knows what can be nothing else, on any port', () => {
      for (const [side, bytes] of sure) assert.equal(probe(side, bytes), true, JSON.stringify(bytes))
      for (const [side, bytes] of never) assert.equal(probe(side, bytes), false, JSON.stringify(bytes))
    })
    it('asks for more of what may become an answer', () => {
      for (const [side, bytes] of sure)
        for (let size = 0; size < Math.min(bytes.length, 12); size++)
          assert.notEqual(probe(side, bytes.slice(0, size)), false, JSON.stringify(bytes.slice(0, size)))
    })
  })

  it('hands the connection to TLS when the client asks for it', () => {
    const at = new Cursor(latin(packet(1, `${u32(USUAL | 0x800)}${'\0'.repeat(28)}`)))
    const told = dissector.read(at, contextOf(openSession()))
    assert.ok(told !== null && !Array.isArray(told))
    assert.deepEqual([told.becomes, told.unanswered], ['tls', true])
  })

  it('summarises statement and outcome', () => {
    const ok = dissector.summarize({ command: 'COM_QUERY', query: 'select 1' }, { status: 'OK', error: null }, null)
    assert.deepEqual(ok, { method: 'SELECT', summary: 'select 1', status: 'OK' })
    const failed = dissector.summarize(
      { command: 'COM_INIT_DB', database: 'x' },
      { status: 'ERR', error: { code: 1049 } },
      null,
    )
    assert.deepEqual(failed, { method: 'COM_INIT_DB', summary: 'x', status: '1049' })
  })

  function read(name: string): Item[] {
    return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), protocols)
  }

  /** Each command answered before the next, after a login. */
  function talkAll(capabilities: number, parts: [string, string][], keep = KEEP): ReturnType<typeof dissect> {
    const dialogue = new Dialogue().open()
    login(dialogue, capabilities)
    for (const [asked, told] of parts) {
      dialogue.ask(latin(packet(0, asked)))
      for (const part of pieces(told, 1400)) dialogue.tell(part)
    }
    return dissect(dialogue.packets, protocols, keep)
  }

  function talk(capabilities: number, parts: [string, string][], keep = KEEP): Item[] {
    const { items, tally } = talkAll(capabilities, parts, keep)
    assert.equal(tally.skippedBytes, 0)
    return items.slice(1)
  }
})

// biome-ignore lint/suspicious/noExplicitAny: as many shapes as there are captures.
function truth(name: string): any {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

/** A row as mysql2 gives it: bytes are Buffers. */
function asTold(row: Json[]): Json[] {
  return row.map(value => {
    if (value?.type !== 'Buffer') return value
    const bytes = Buffer.from(value.data)
    const text = bytes.toString()
    return Buffer.from(text).equals(bytes) ? text : { base64: bytes.toString('base64'), size: bytes.length }
  }) as Json[]
}

function pieces(text: string, size: number): Buffer[] {
  const bytes = latin(text)
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
}

function latin(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

function u24(value: number): string {
  return String.fromCharCode(value & 255, (value >> 8) & 255, (value >> 16) & 255)
}

function u32(value: number): string {
  return u24(value) + String.fromCharCode((value >>> 24) & 255)
}

function packet(sequence: number, payload: string): string {
  return `${u24(payload.length)}${String.fromCharCode(sequence)}${payload}`
}

/** As a compressed packet; 0: it is not. */
function wrapped(payload: string, sequence: number, length = 0): string {
  return `${u24(payload.length)}${String.fromCharCode(sequence)}${u24(length)}${payload}`
}

function greeting(capabilities: number): string {
  const all = u32((USUAL | capabilities) >>> 0)
  const head = `\x0a8.0.1\0\x01\0\0\0abcdefgh\0${all.slice(0, 2)}\x21\x02\0${all.slice(2)}\x15`
  return packet(0, `${head}${'\0'.repeat(10)}abcdefghijkl\0mysql_native_password\0`)
}

function response(capabilities: number): string {
  return packet(1, `${u32(capabilities >>> 0)}\0\0\0\x01\x21${'\0'.repeat(23)}bob\0\x04hash`)
}

function login(dialogue: Dialogue, capabilities: number): void {
  dialogue.tell(latin(greeting(capabilities)))
  dialogue.ask(latin(response(USUAL | capabilities)))
  dialogue.tell(latin(packet(2, '\0\0\0\x02\0\0\0')))
}

function probe(side: Side, bytes: string): boolean | 'more' {
  return probed(dissector, latin(bytes), contextOf(openSession(), { from: side }))
}
