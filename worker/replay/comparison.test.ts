import assert from 'node:assert/strict'
import type { Json } from '../../core/item.ts'
import { COMPARISONS, compareBytes, compareDatagrams, ignoredNames } from './comparison.ts'

const DEFAULTS = ignoredNames(false, [])
const STRICT = ignoredNames(true, [])

function http(recorded: Json, replayed: Json, ignored = DEFAULTS): string[] {
  const answer = { status: 200, headers: {}, cookies: {}, content: { size: 0, text: '' } }
  const found = COMPARISONS.http.compare({}, { ...answer, ...recorded }, { ...answer, ...replayed }, ignored)
  return found.map(({ what, recorded, replayed }) => `${what}: ${recorded} → ${replayed}`)
}

function redis(
  command: string,
  recorded: unknown,
  replayed: unknown,
  ignored = DEFAULTS,
  args: string[] = [],
): string[] {
  const answer = { type: 'Array', keyword: null }
  const [a, b] = [recorded, replayed].map(value => ({ ...answer, value }))
  const [name, keyword = null] = command.split(' ')
  return COMPARISONS.redis.compare({ command: name, keyword, args }, a!, b!, ignored).map(({ what }) => what)
}

function dns(recorded: Json, replayed: Json, ignored = DEFAULTS): string[] {
  const answer = { code: 'NOERROR', id: 1, flags: { tc: false }, questions: [], answers: [] }
  const found = COMPARISONS.dns.compare({}, { ...answer, ...recorded }, { ...answer, ...replayed }, ignored)
  return found.map(({ what, recorded, replayed }) => `${what}: ${recorded} → ${replayed}`)
}

describe('comparison of answers', () => {
  describe('HTTP', () => {
    it('knows a header by its name in any case', () => {
      assert.deepEqual(http({ headers: { ETag: 'a' } }, { headers: { etag: 'a' } }), [])
      assert.deepEqual(http({ headers: { ETag: 'a' } }, { headers: { etag: 'b' } }), ['header etag: a → b'])
    })

    it('compares the names of cookies, unless everything is compared', () => {
      const [a, b] = ['1', '2'].map(value => ({ headers: { 'Set-Cookie': `s=${value}` }, cookies: { s: { value } } }))
      assert.deepEqual(http(a!, b!), [])
      assert.deepEqual(http(a!, b!, STRICT), ['header set-cookie: s=1 → s=2'])
      assert.deepEqual(http(a!, {}), ['names of cookies: s → '])
    })

    it('compares JSON by its values, and text from where it differs', () => {
      const body = (text: string) => ({ content: { size: text.length, text } })
      assert.deepEqual(http(body('{"a":1,"b":[1]}'), body('{ "b": [1], "a": 1 }')), [])
      assert.deepEqual(http(body('{"a":{"b":[1,2]}}'), body('{"a":{"b":[1]},"c":null}')), [
        'body.a.b[1]: 2 → null',
        'body.c: null → null',
      ])
      const long = 'x'.repeat(500)
      assert.deepEqual(http(body(`${long}one`), body(`${long}two`)), [
        `body from character 480: ${'x'.repeat(20)}one → ${'x'.repeat(20)}two`,
      ])
      assert.deepEqual(http(body('{"a":1}'), body('sorry')), ['body: {"a":1} → sorry'])
    })

    it('compares binary bodies byte by byte, and sizes where the rest is not kept', () => {
      const binary = (hex: string) => ({
        content: { size: 2, text: Buffer.from(hex, 'hex').toString('base64'), encoding: 'base64' },
      })
      assert.deepEqual(http(binary('00ff'), binary('00fe')), ['body, byte 1: ff → fe'])
      assert.deepEqual(http({ content: { size: 5, text: 'a' } }, { content: { size: 6, text: 'a' } }), [
        'size of the body: 5 → 6',
      ])
    })

    it('ends with bodies that are nested without end', () => {
      const deep = (inner: string) => ({ content: { size: 0, text: '['.repeat(100_000) + inner } })
      assert.equal(http(deep('1'), deep('2')).length, 1)
      const whole = (inner: string) => ({
        content: { size: 0, text: `${'['.repeat(100_000)}${inner}${']'.repeat(100_000)}` },
      })
      assert.equal(http(whole('1'), whole('2')).length, 1)
    })

    it('tells a bounded number of differences', () => {
      const many = (n: number) => ({ content: { size: 0, text: JSON.stringify(Array(5000).fill(n)) } })
      assert.equal(http(many(1), many(2)).length, 20)
    })
  })

  describe('Redis', () => {
    it('compares values, and none that have no order by their order', () => {
      assert.deepEqual(redis('LRANGE', ['a', 'b'], ['b', 'a']), ['value[0]', 'value[1]'])
      assert.deepEqual(redis('SMEMBERS', ['a', 'b'], ['b', 'a']), [])
      assert.deepEqual(redis('HGETALL', ['a', '1', 'b', '2'], ['b', '2', 'a', '1']), [])
      assert.deepEqual(redis('HGETALL', ['a', '1', 'b', '2'], ['b', '1', 'a', '2']), ['value[1]', 'value[3]'])
    })

    it('leaves out what servers make up and what is of the moment, unless everything is compared', () => {
      const cases: [string, unknown, unknown, string[]?][] = [
        ['TIME', ['1', '2'], ['3', '4']],
        ['CLIENT ID', 1, 2],
        ['CLIENT LIST', 'id=1', 'id=2'],
        ['HELLO', { id: 1, proto: 3 }, { id: 2, proto: 3 }],
        ['HELLO', ['proto', 2, 'id', 1], ['proto', 2, 'id', 2]],
        ['XADD', '1-0', '2-0', ['s', '*', 'a', '1']],
      ]
      for (const [command, a, b, args] of cases) {
        assert.deepEqual(redis(command, a, b, DEFAULTS, args), [], command)
        assert.notDeepEqual(redis(command, a, b, STRICT, args), [], command)
      }
      assert.deepEqual(redis('HELLO', { id: 1, proto: 3 }, { id: 2, proto: 2 }), ['value.proto'])
    })
  })

  describe('DNS', () => {
    const record = (data: string, ttl = 5) => ({ name: 'a.test', class: 'IN', type: 'A', ttl, data })

    it('compares answers in any order, and neither ids nor TTLs', () => {
      assert.deepEqual(
        dns({ id: 1, answers: [record('1'), record('2', 9)] }, { id: 2, answers: [record('2'), record('1')] }),
        [],
      )
      assert.deepEqual(dns({ answers: [record('1', 5)] }, { answers: [record('1', 4)] }, STRICT), [
        'answer: a.test 5 IN A 1 → null',
        'answer: null → a.test 4 IN A 1',
      ])
    })

    it('tells which answers are gone and which are new', () => {
      assert.deepEqual(
        dns({ answers: [record('1'), record('1'), record('2')] }, { answers: [record('1'), record('3')] }),
        ['answer: a.test IN A 1 → null', 'answer: a.test IN A 2 → null', 'answer: null → a.test IN A 3'],
      )
      assert.deepEqual(dns({}, { code: 'NXDOMAIN' }), ['code: NOERROR → NXDOMAIN'])
    })
  })

  describe('bytes', () => {
    it('says where they part', () => {
      const found = (a: string, b: string) => compareBytes(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'))
      assert.deepEqual(found('same', 'same'), [])
      assert.deepEqual(found('one', 'one more'), [{ what: 'byte 3', recorded: null, replayed: '" more"' }])
      assert.deepEqual(found('a\x00b', 'a\x01b'), [{ what: 'byte 1', recorded: '0062', replayed: '0162' }])
      assert.match(found('x'.repeat(100), 'y')[0]!.recorded!, /^"x{32}"… \(100 bytes\)$/)
    })

    it('says which datagram', () => {
      const found = compareDatagrams([Buffer.from('a'), Buffer.from('b')], [Buffer.from('a')])
      assert.deepEqual(found, [{ what: 'datagram 1', recorded: '"b"', replayed: null }])
    })
  })
})
