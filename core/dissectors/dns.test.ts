import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Context, Message, Side, Transport } from '../dissector.ts'
import type { Json } from '../item.ts'
import type { Written } from '../json-writer.ts'
import { contextOf } from '../testing/context.ts'
import { golden } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import type { Transfers } from './dns/transfers.ts'
import { dissector } from './dns.ts'

const [A, NS, SOA, PTR, TXT, OPT, IXFR, AXFR] = [1, 2, 6, 12, 16, 41, 251, 252]
const [RD, AA, RESPONSE, UPDATE] = [0x100, 0x400, 0x8000, 5 << 11]

describe('dns', () => {
  golden('dns')

  describe('a message', () => {
    it('keeps what was read before a record whose length lies, and says what was wrong', () => {
      const bytes = message({ bits: RESPONSE, questions: [question('a.test', A)], answers: [a('a.test'), a('b.test')] })
      bytes[bytes.length - 5] = 200
      const { body, error } = datagram(bytes, 'server')
      assert.deepEqual(body.questions, [{ name: 'a.test', type: 'A', class: 'IN' }])
      assert.deepEqual(names(body.answers), ['a.test'])
      assert.deepEqual(error, { type: 'dissection', msg: 'answer 2: expected 200 more bytes, found 4' })
    })

    it('keeps the records after one whose data is not what its type promises', () => {
      const answers = [record('a.test', A, hex('0a0000')), a('b.test')]
      const { body, error } = datagram(message({ bits: RESPONSE, answers }), 'server')
      assert.deepEqual(names(body.answers), ['a.test', 'b.test'])
      assert.equal(body.answers[0].data, '\\# 3 0A0000')
      assert.equal(body.answers[0].ip, undefined)
      assert.match(error!.msg, /^answer 1: /)
    })

    it('tells of bytes after its end', () => {
      const bytes = concat([message({ questions: [question('a.test', A)] }), hex('deadbeef')])
      assert.equal(datagram(bytes, 'client').error?.msg, 'expected the end of the message, found 4 more bytes')
    })

    it('is a header alone where the answer is that the question could not be read', () => {
      const { key, body, failed, error } = datagram(message({ id: 7, bits: RESPONSE | 1 }), 'server')
      assert.deepEqual([key, body.code, failed, error], [7, 'FORMERR', true, undefined])
    })

    it('has the upper bits of its response code in the OPT record', () => {
      const additionals = [record('.', OPT, hex(''), { class: 1232, ttl: 0x01008000 })]
      const { body, failed } = datagram(message({ bits: RESPONSE, additionals }), 'server')
      assert.deepEqual([body.code, body.rcode, failed], ['BADVERS', 16, true])
      assert.deepEqual(body.edns, { udpSize: 1232, version: 0, do: true, z: 0, options: [] })
      assert.deepEqual(body.additionals, [])
    })

    it('speaks in an UPDATE of records by name and type alone', () => {
      const { body, error } = datagram(
        message({
          bits: UPDATE,
          questions: [question('z.test', SOA)],
          answers: [record('a.test', A, hex(''), { class: 254 })],
        }),
        'client',
      )
      assert.equal(error, undefined)
      assert.equal(body.opCode, 'Update')
      assert.deepEqual(body.answers, [{ name: 'a.test', type: 'A', class: 'NONE', ttl: 60, data: '' }])
    })

    it('matches answers by id alone', () => {
      assert.equal(datagram(message({ id: 513, questions: [question('a.test', A)] }), 'client').key, 513)
      assert.equal(datagram(message({ id: 513, bits: RESPONSE }), 'server').key, 513)
    })
  })

  describe('a name', () => {
    const named = (name: Uint8Array) => datagram(message({ questions: [concat([name, hex('00010001')])] }), 'client')

    it('is written without its last dot, and the root as a dot', () => {
      assert.equal(named(encode('edge.Example.test')).body.questions[0].name, 'edge.Example.test')
      assert.equal(named(encode('.')).body.questions[0].name, '.')
    })

    it('escapes what would be read as something else (RFC 4343)', () => {
      assert.equal(named(hex('06612e5c2220ff00')).body.questions[0].name, 'a\\.\\\\\\"\\032\\255')
    })

    it('may point back', () => {
      const answers = [concat([hex('c00c'), hex('00020001000000050005'), hex('026e73c00c')])]
      const { body } = datagram(message({ bits: RESPONSE, questions: [question('a.test', NS)], answers }), 'server')
      assert.equal(body.answers[0].ns, 'ns.a.test')
      assert.equal(body.answers[0].data, 'ns.a.test.')
    })

    for (const [what, name] of [
      ['at itself', 'c00c'],
      ['forward', 'c00e'],
      ['at a label that leads back to it', '0161c00c'],
    ])
      it(`may not point ${what}`, () => {
        assert.match(named(hex(name!)).error!.msg, /question 1: expected a compression pointer to an earlier name/)
      })

    it('is at most 255 bytes long, also with what it points at', () => {
      const label = `3f${'61'.repeat(63)}`
      assert.equal(named(hex(`${label.repeat(3)}3d${'61'.repeat(61)}00`)).error, undefined)
      assert.match(named(hex(`${label.repeat(3)}3e${'61'.repeat(62)}00`)).error!.msg, /at most 255 bytes/)
      const pointing = question('.', A)
      const bytes = message({ questions: [concat([hex(`${label.repeat(3)}00`), hex('00010001')]), pointing] })
      const answers = concat([bytes.subarray(0, bytes.length - pointing.length), hex(`${label}c00c00010001`)])
      assert.match(datagram(answers, 'client').error!.msg, /question 2: expected a name of at most 255 bytes/)
    })

    it('costs no more text than a message may hold, however often it is pointed at', () => {
      const long = concat([hex(`${`3f${'00'.repeat(63)}`.repeat(3)}00`), hex('00010001')])
      const answers = Array.from({ length: 4000 }, () => hex('c00c0002000100000000' + '0002c00c'))
      const { body, error } = datagram(message({ bits: RESPONSE, questions: [long], answers }), 'server')
      assert.match(error!.msg, /names of at most/)
      assert.ok(JSON.stringify(body).length < 4 << 20)
    })
  })

  describe('options of EDNS', () => {
    for (const [code, value, expected] of [
      [3, '6e7331', { name: 'NSID', data: 'ns1', text: 'ns1' }],
      [5, '080d', { name: 'DAU', data: '8 13', algorithms: [8, 13] }],
      [
        8,
        '00011800 0a0000',
        { name: 'CLIENT-SUBNET', data: '10.0.0.0/24/0', ip: '10.0.0.0', sourcePrefix: 24, scopePrefix: 0 },
      ],
      [
        8,
        '00022000 20010db8',
        { name: 'CLIENT-SUBNET', data: '2001:db8::/32/0', ip: '2001:db8::', sourcePrefix: 32, scopePrefix: 0 },
      ],
      [9, '00000e10', { name: 'EXPIRE', data: '3600', seconds: 3600 }],
      [10, '0011223344556677', { name: 'COOKIE', data: '0011223344556677', client: '0011223344556677', server: null }],
      [11, '012c', { name: 'TCP-KEEPALIVE', data: '30.0 secs', seconds: 30 }],
      [12, '00000000', { name: 'PADDING', data: '(4 bytes)', size: 4 }],
      [13, '047465737400', { name: 'CHAIN', data: 'test.', trustPoint: 'test' }],
      [14, '4f664a5c', { name: 'KEY-TAG', data: '20326 19036', tags: [20326, 19036] }],
      [15, '000f6e6f', { name: 'EDE', data: '15 (Blocked): (no)', infoCode: 15, purpose: 'Blocked', text: 'no' }],
      [18, '047465737400', { name: 'REPORT-CHANNEL', data: 'test.', agent: 'test' }],
      [19, '02000000000a', { name: 'ZONEVERSION', data: '2 0 10', labels: 2, type: 0, version: 10 }],
      [65001, 'abcd', { name: 'OPT65001', data: 'abcd' }],
    ] as const)
      it(`are read: ${expected.name}`, () => {
        const { body, error } = datagram(
          message({ additionals: [option(code, hex(value.replace(' ', '')))] }),
          'client',
        )
        assert.equal(error, undefined)
        assert.deepEqual(body.edns.options, [{ code, ...expected }])
      })

    it('are shown as hex when they are not what they promise', () => {
      const { body, error } = datagram(message({ additionals: [option(8, hex('000140'))] }), 'client')
      assert.deepEqual(body.edns.options, [{ code: 8, name: 'CLIENT-SUBNET', data: '000140' }])
      assert.match(error!.msg, /^additional 1: /)
    })
  })

  describe('a zone transfer', () => {
    const soa = (serial: number) => record('z.test', SOA, concat([hex('0000'), u32(serial), new Uint8Array(16)]))
    const one = [a('a.z.test')]

    for (const [what, type, messages, more] of [
      ['a whole zone in one message', AXFR, [[soa(9), ...one, soa(9)]], [false]],
      ['a whole zone in several', AXFR, [[soa(9)], one, one, [soa(9)]], [true, true, true, false]],
      ['changes in one message', IXFR, [[soa(9), soa(7), ...one, soa(9), ...one, soa(9)]], [false]],
      [
        'changes in several',
        IXFR,
        [[soa(9), soa(7)], one, [soa(8), ...one, soa(8)], [soa(9)], [soa(9)]],
        [true, true, true, true, false],
      ],
      ['no changes', IXFR, [[soa(7)]], [false]],
      [
        'a whole zone instead of changes',
        IXFR,
        [
          [soa(9), ...one],
          [...one, soa(9)],
        ],
        [true, false],
      ],
      ['nothing', AXFR, [[]], [false]],
    ] as const)
      it(`ends with the last record of ${what}`, () => {
        const ctx = context('client', 'tcp', 53)
        const authorities = type === IXFR ? [soa(7)] : []
        read(prefixed(message({ id: 3, questions: [question('z.test', type)], authorities })), ctx)
        ctx.from = 'server'
        const found = messages.map(
          answers => read(prefixed(message({ id: 3, bits: RESPONSE, answers: [...answers] })), ctx).more === true,
        )
        assert.deepEqual(found, more)
        assert.equal(ctx.state.size, 0)
      })

    it('ends when it is refused', () => {
      const ctx = context('client', 'tcp', 53)
      read(prefixed(message({ id: 3, questions: [question('z.test', AXFR)] })), ctx)
      assert.equal(read(prefixed(message({ id: 3, bits: RESPONSE | 5 })), { ...ctx, from: 'server' }).more, undefined)
      assert.equal(ctx.state.size, 0)
    })

    it('never takes more than its share of memory', () => {
      const ctx = context('client', 'tcp', 53)
      for (let id = 0; id < 5000; id++) read(prefixed(message({ id, questions: [question('z.test', AXFR)] })), ctx)
      assert.equal(ctx.state.size, 100)
    })
  })

  describe('multicast', () => {
    it('asks without waiting for an answer, and tells whether one to the asker alone would do', () => {
      const { body, kind, unanswered } = datagram(
        message({ questions: [question('_http._tcp.local', PTR, 0x8001)] }),
        'client',
        5353,
      )
      assert.deepEqual([kind, unanswered], ['request', true])
      assert.deepEqual(body.questions, [{ name: '_http._tcp.local', type: 'PTR', class: 'IN', unicast: true }])
    })

    it('announces as events, and tells what others shall forget', () => {
      const answers = [record('a.local', A, hex('0a000001'), { class: 0x8001 })]
      const { body, kind } = datagram(message({ bits: RESPONSE | AA, answers }), 'client', 5353)
      assert.equal(kind, 'event')
      assert.deepEqual(body.answers, [
        { name: 'a.local', type: 'A', class: 'IN', ttl: 60, cacheFlush: true, ip: '10.0.0.1', data: '10.0.0.1' },
      ])
    })

    it('is not what a resolver on its port does, whose clients choose an id', () => {
      const asked = datagram(message({ id: 5, bits: RD, questions: [question('a.test', A)] }), 'client', 5353)
      const answered = datagram(message({ id: 5, bits: RESPONSE, questions: [question('a.test', A)] }), 'server', 5353)
      assert.deepEqual([asked.kind, asked.unanswered, answered.kind], ['request', undefined, 'response'])
    })

    it('asks a group by LLMNR over UDP, one end over TCP', () => {
      const bytes = message({ id: 5, questions: [question('host', A)] })
      assert.equal(datagram(bytes, 'client', 5355).unanswered, true)
      assert.equal(read(prefixed(bytes), context('client', 'tcp', 5355)).unanswered, undefined)
    })
  })

  it('reads stateful operations (RFC 8490)', () => {
    const bytes = concat([message({ bits: 6 << 11 }), hex('0001000800003a9800007530')])
    const { body, unanswered } = read(prefixed(bytes), context('client', 'tcp', 53))
    assert.deepEqual(body.operations, [{ type: 'KEEPALIVE', inactivityMs: 15000, intervalMs: 30000 }])
    assert.equal(unanswered, true)
  })

  describe('recognition', () => {
    const query = message({ id: 1, bits: RD, questions: [question('a.test', A)] })
    const answer = message({ id: 1, bits: RESPONSE, questions: [question('a.test', A)], answers: [a('a.test')] })

    it('knows questions by their sender and answers by theirs, on any port', () => {
      for (const port of [53, 8053]) {
        assert.equal(probe(query, 'client', 'udp', port), true)
        assert.equal(probe(answer, 'server', 'udp', port), true)
        assert.equal(probe(query, 'server', 'udp', port), false)
        assert.equal(probe(answer, 'client', 'udp', port), false)
        assert.equal(probe(prefixed(query), 'client', 'tcp', port), true)
        assert.equal(probe(prefixed(answer), 'server', 'tcp', port), true)
        assert.equal(probe(prefixed(query), 'server', 'tcp', port), false)
      }
    })

    it('shows damaged messages on its own ports only', () => {
      const damaged = query.subarray(0, query.length - 3)
      assert.equal(probe(damaged, 'client', 'udp', 53), true)
      assert.equal(probe(damaged, 'client', 'udp', 8053), false)
    })

    it('wants to see a whole message where the port says nothing', () => {
      const bytes = prefixed(query)
      for (let length = 0; length < bytes.length; length++)
        assert.equal(probed(dissector, bytes.subarray(0, length), context('client', 'tcp', 8053)), 'more')
    })

    it('takes no random bytes for a message', () => {
      const random = mulberry32(1)
      let hinted = 0
      for (let i = 0; i < 100_000; i++) {
        const bytes = Uint8Array.from({ length: 12 + Math.floor(random() * 60) }, () => Math.floor(random() * 256))
        for (const side of ['client', 'server'] as const) assert.equal(probe(bytes, side, 'udp', 9999), false)
        if (probe(bytes, 'client', 'udp', 53)) hinted++
      }
      assert.equal(hinted, 0)
    })
  })

  it('leaves its state as it was whenever the bytes run out', () => {
    const ctx = context('client', 'tcp', 53)
    const bytes = prefixed(message({ id: 3, questions: [question('z.test', AXFR)] }))
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(
        () => dissector.read(new Cursor(bytes, 0, length), ctx),
        thrown => thrown === Incomplete,
      )
      assert.equal(ctx.state.size, 0)
    }
    assert.equal(read(bytes, ctx).kind, 'request')
  })

  it('survives whatever is changed in a message', () => {
    const random = mulberry32(2)
    const original = message({
      bits: RESPONSE,
      questions: [question('a.test', A)],
      answers: [a('a.test'), record('b.test', TXT, hex('03616263')), record('c.test', NS, hex('026e73c00c'))],
      additionals: [option(8, hex('000118000a0000'))],
    })
    for (let i = 0; i < 20_000; i++) {
      const bytes = original.slice(0, 1 + Math.floor(random() * original.length))
      for (let changes = 0; changes < 3; changes++)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
      try {
        datagram(bytes, 'server')
      } catch (thrown) {
        assert.ok(thrown instanceof Malformed, String(thrown))
      }
    }
  })

  it('sums itself up as type, name and response code', () => {
    const { body: request } = datagram(message({ questions: [question('a.test', A)] }), 'client')
    const { body: response } = datagram(message({ bits: RESPONSE | 3, questions: [question('a.test', A)] }), 'server')
    const { body: event } = datagram(message({ bits: RESPONSE, answers: [a('a.local')] }), 'client', 5353)
    assert.deepEqual(dissector.summarize(request, response, null), {
      method: 'A',
      summary: 'a.test',
      status: 'NXDOMAIN',
    })
    assert.deepEqual(dissector.summarize(request, null, null), { method: 'A', summary: 'a.test', status: '' })
    assert.deepEqual(dissector.summarize(null, null, event), { method: 'A', summary: 'a.local', status: '' })
  })
})

// ── the wire, written down ──────────────────────────────────────────────────────────────────────────────────────────

interface Draft {
  id?: number
  /** The second 16 bits of the header. */
  bits?: number
  questions?: Uint8Array[]
  answers?: Uint8Array[]
  authorities?: Uint8Array[]
  additionals?: Uint8Array[]
}

function message({
  id = 0,
  bits = 0,
  questions = [],
  answers = [],
  authorities = [],
  additionals = [],
}: Draft): Uint8Array {
  const sections = [questions, answers, authorities, additionals]
  return concat([u16(id), u16(bits), ...sections.map(section => u16(section.length)), ...sections.flat()])
}

function question(name: string, type: number, classBits = 1): Uint8Array {
  return concat([encode(name), u16(type), u16(classBits)])
}

function record(name: string, type: number, data: Uint8Array, { class: classBits = 1, ttl = 60 } = {}): Uint8Array {
  return concat([encode(name), u16(type), u16(classBits), u32(ttl), u16(data.length), data])
}

function a(name: string): Uint8Array {
  return record(name, A, hex('0a000001'))
}

function option(code: number, value: Uint8Array): Uint8Array {
  return record('.', OPT, concat([u16(code), u16(value.length), value]), { class: 1232, ttl: 0 })
}

function prefixed(bytes: Uint8Array): Uint8Array {
  return concat([u16(bytes.length), bytes])
}

function encode(name: string): Uint8Array {
  const labels = name === '.' ? [] : name.split('.')
  return concat([
    ...labels.map(label => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1')),
    hex('00'),
  ])
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255)
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
}

function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

// ── asking the dissector ────────────────────────────────────────────────────────────────────────────────────────────

function context(from: Side, transport: Transport, port: number): Context<Transfers> {
  return contextOf(dissector.open!(), { from, transport, port, hinted: dissector.ports.includes(port) })
}

function read(bytes: Uint8Array, ctx: Context<Transfers>): Message & { body: Json } {
  const at = new Cursor(bytes, 0, bytes.length, ctx.transport === 'udp')
  ctx.out.length = 0
  const found = dissector.read(at, ctx) as Message & { body: Written }
  assert.equal(at.remaining, 0)
  const text = Buffer.from(found.body.bytes).toString('utf8', found.body.start, found.body.end)
  return { ...found, body: JSON.parse(text) }
}

function datagram(bytes: Uint8Array, from: Side, port = 53) {
  return read(bytes, context(from, 'udp', port))
}

function probe(bytes: Uint8Array, from: Side, transport: Transport, port: number): boolean | 'more' {
  return dissector.probe(new Cursor(bytes, 0, bytes.length, transport === 'udp'), from, context(from, transport, port))
}

function names(records: readonly { name: string }[]): string[] {
  return records.map(({ name }) => name)
}

/** Random numbers that are the same each time. */
function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
