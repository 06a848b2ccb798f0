/** Redis: what is read from bytes, however they are cut, and which answer belongs to which command. */
import assert from 'node:assert/strict'
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Context, Message, Side } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { golden } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import { dissector, type State } from './redis.ts'

const MANY = 1 << 20

describe('redis', () => {
  golden('redis')

  describe('commands', () => {
    it('are read with key, value and all arguments', () => {
      assert.deepEqual(request(call('set', 'k', 'v', 'EX', '100')), {
        type: 'Array',
        command: 'SET',
        key: 'k',
        value: 'v',
        keyword: null,
        args: ['k', 'v', 'EX', '100'],
      })
    })

    it('have their key where their command has it', () => {
      const keys: [string[], string | null][] = [
        [['GET', 'k'], 'k'],
        [['PING'], null],
        [['EVAL', 'return 1', '1', 'k', 'a'], 'k'],
        [['EVAL', 'return 1', '0', 'a'], null],
        [['XREAD', 'COUNT', '2', 'STREAMS', 's', '0'], 's'],
        [['OBJECT', 'ENCODING', 'k'], 'k'],
        [['BITOP', 'AND', 'to', 'from'], 'to'],
        [['MIGRATE', 'h', '6379', '', '0', '10', 'KEYS', 'k', 'l'], 'k'],
        [['MIGRATE', 'h', '6379', 'k', '0', '10'], 'k'],
        [['ZUNION', '2', 'a', 'b'], 'a'],
        [['UNHEARD', 'of'], null],
        [['GET'], null],
      ]
      for (const [words, key] of keys) assert.equal(request(call(...words)).key, key, words.join(' '))
    })

    it('have what follows the key as value', () => {
      const values: [string[], JsonValue][] = [
        [['SETEX', 'k', '10', 'v'], 'v'],
        [['DEL', 'a', 'b'], null],
        [['LPUSH', 'l', 'x'], 'x'],
        [
          ['LPUSH', 'l', 'x', 'y'],
          ['x', 'y'],
        ],
        [['CONFIG', 'GET', 'maxmemory'], 'maxmemory'],
        [['HGETALL', 'h'], null],
      ]
      for (const [words, value] of values) assert.deepEqual(request(call(...words)).value, value, words.join(' '))
    })

    it('say which of them may wait on purpose', () => {
      assert.equal(request(call('BLPOP', 'q', '0')).blocking, true)
      assert.equal(request(call('LPOP', 'q')).blocking, undefined)
    })

    it('show bytes that are not UTF-8 as base64, and text as text', () => {
      const binary = Buffer.from([0xff, 0x00, 0x80])
      assert.deepEqual(request(call('SET', 'ключ', binary)).args, ['ключ', { base64: '/wCA', size: 3 }])
    })

    it('keep the beginning of what is too long, in whole characters', () => {
      const { value } = request(call('SET', 'k', 'é'.repeat(2000)), 1501)
      assert.deepEqual(value, { text: 'é'.repeat(750), size: 4000 })
    })

    it('keep command and key alone when nobody wants bodies', () => {
      assert.deepEqual(request(call('SET', 'k', 'v'), 0), {
        type: 'Array',
        command: 'SET',
        key: 'k',
        value: null,
        keyword: null,
        args: null,
      })
      assert.equal(request(call('XREAD', 'COUNT', '2', 'STREAMS', 's', '0'), 0).key, 's')
    })

    it('may be typed by hand, with quotes as Redis reads them', () => {
      const lines: [string, string[]][] = [
        ['SET k "two words"', ['k', 'two words']],
        ["SET k 'it\\'s'", ['k', "it's"]],
        ['SET k "\\x41\\n\\"" ""', ['k', 'A\n"', '']],
        ['  SET\tk   v ', ['k', 'v']],
        ['SET k a"b"', ['k', 'ab']],
      ]
      for (const [line, args] of lines) assert.deepEqual(request(`${line}\r\n`).args, args, line)
      assert.equal(request('PING\n').type, 'Inline')
    })

    it('with unbalanced quotes are items with an error, and the answer is theirs', () => {
      const [item] = talk([client('SET k "open\r\n'), server('-ERR Protocol error: unbalanced quotes in request\r\n')])
      assert.equal(item!.message.error?.type, 'dissection')
      assert.equal(item!.answer?.keyword, 'ERR')
    })

    it('that are empty have no answer and are none', () => {
      const items = talk([client('*0\r\n\r\n*-1\r\nPING\r\n'), server('+PONG\r\n')])
      assert.deepEqual(
        items.map(item => [item.request?.command, item.answer?.value]),
        [['PING', 'PONG']],
      )
    })

    it('are refused when they cannot be commands', () => {
      for (const bytes of [
        '*2\r\n$3\r\nGET\r\n:5\r\n',
        '*1\r\n$999999999999\r\n',
        '*1\r\n$4\r\nPINGxx',
        '*x\r\n',
        'GET / HTTP/1.1\u0001',
        '\u0000\n',
      ])
        assert.throws(() => talk([client(`${bytes}\n`)]), Malformed, JSON.stringify(bytes))
    })

    it('typed by hand are not looked for among those of a program', () => {
      assert.throws(() => talk([client(`${call('PING')}lost bytes\r\n`)]), Malformed)
    })
  })

  describe('answers', () => {
    const answers: [string, string, JsonValue][] = [
      ['+OK\r\n', 'Simple String', 'OK'],
      ['-WRONGTYPE Operation\r\n', 'Error', 'WRONGTYPE Operation'],
      [':-12\r\n', 'Integer', -12],
      [':9223372036854775807\r\n', 'Integer', '9223372036854775807'],
      [':-9223372036854775808\r\n', 'Integer', '-9223372036854775808'],
      ['$5\r\nhe\r\no\r\n', 'Bulk String', 'he\r\no'],
      ['$0\r\n\r\n', 'Bulk String', ''],
      ['$-1\r\n', 'Null', null],
      ['*-1\r\n', 'Null', null],
      ['_\r\n', 'Null', null],
      ['*0\r\n', 'Array', []],
      ['*3\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n-ERR no\r\n', 'Array', [1, ['a', null], { error: 'ERR no' }]],
      [',3.25\r\n', 'Double', 3.25],
      [',1e3\r\n', 'Double', 1000],
      [',inf\r\n', 'Double', 'inf'],
      [',-inf\r\n', 'Double', '-inf'],
      [',nan\r\n', 'Double', 'nan'],
      ['#t\r\n', 'Boolean', true],
      ['#f\r\n', 'Boolean', false],
      ['(3492890328409238509324850943850943825024385\r\n', 'Big Number', '3492890328409238509324850943850943825024385'],
      ['!10\r\nSYNTAX bad\r\n', 'Bulk Error', 'SYNTAX bad'],
      ['=8\r\ntxt:Some\r\n', 'Verbatim String', 'Some'],
      ['%2\r\n$1\r\na\r\n:1\r\n+b\r\n%0\r\n', 'Map', { a: 1, b: {} }],
      ['%1\r\n+__proto__\r\n:1\r\n', 'Map', JSON.parse('{"__proto__":1}')],
      [
        '%2\r\n+a\r\n:1\r\n+a\r\n:2\r\n',
        'Map',
        [
          ['a', 1],
          ['a', 2],
        ],
      ],
      [
        '%2\r\n:1\r\n#t\r\n+a\r\n_\r\n',
        'Map',
        [
          [1, true],
          ['a', null],
        ],
      ],
      ['~2\r\n+a\r\n+b\r\n', 'Set', ['a', 'b']],
      ['$?\r\n;4\r\nHell\r\n;3\r\no \xc3\r\n;1\r\n\xa9\r\n;0\r\n', 'Bulk String', 'Hello é'],
      ['*?\r\n:1\r\n*?\r\n.\r\n.\r\n', 'Array', [1, []]],
      ['%?\r\n+a\r\n:1\r\n.\r\n', 'Map', { a: 1 }],
      ['~?\r\n+a\r\n.\r\n', 'Set', ['a']],
    ]
    for (const [bytes, type, value] of answers)
      it(`of type ${type}: ${JSON.stringify(bytes).slice(1, 40)}`, () => {
        const [item] = talk([client('PING\r\n'), server(bytes)])
        assert.equal(item!.answer!.type, type)
        assert.deepEqual(item!.answer!.value, value)
      })

    it('have the first word of an error as keyword, and are failed', () => {
      for (const bytes of ['-MOVED 3999 127.0.0.1:6381\r\n', '!26\r\nMOVED 3999 127.0.0.1:63810\r\n']) {
        const [item] = talk([client(call('GET', 'x')), server(bytes)])
        assert.equal(item!.answer!.keyword, 'MOVED')
        assert.equal(item!.response!.failed, true)
      }
    })

    it('carry attributes with the place they are for', () => {
      const [whole, part] = talk([
        client('PING\r\nPING\r\n'),
        server('|1\r\n+hits\r\n:7\r\n+PONG\r\n*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n'),
      ])
      assert.deepEqual(whole!.answer!.attributes, [{ at: '', value: { hits: 7 } }])
      assert.equal(whole!.answer!.value, 'PONG')
      assert.deepEqual(part!.answer!.attributes, [{ at: '/2', value: { ttl: 3600 } }])
      assert.deepEqual(part!.answer!.value, [1, 2, 3])
    })

    it('with more elements than anybody looks at are read to the end and counted', () => {
      const count = 25_000
      const [item, next] = talk([
        client('PING\r\nPING\r\n'),
        server(`*${count}\r\n${'$1\r\nx\r\n'.repeat(count)}+PONG\r\n`),
      ])
      assert.equal(item!.answer!.value.length + item!.answer!.omitted, count)
      assert.equal(next!.answer!.value, 'PONG')
    })

    it('are kept up to the number of bytes that were asked for', () => {
      const [item] = talk([client('PING\r\n'), server(`*3\r\n${`$2000\r\n${'x'.repeat(2000)}\r\n`.repeat(3)}`)], {
        keep: 3000,
      })
      assert.deepEqual(item!.answer!.value, ['x'.repeat(2000), { text: 'x'.repeat(1000), size: 2000 }, { size: 2000 }])
    })

    it('keep status and numbers alone when nobody wants bodies', () => {
      const items = talk([client('PING\r\nPING\r\nPING\r\n'), server('+OK\r\n$5\r\nhello\r\n*1\r\n:1\r\n')], {
        keep: 0,
      })
      assert.deepEqual(
        items.map(item => [item.answer!.type, item.answer!.value]),
        [
          ['Simple String', 'OK'],
          ['Bulk String', null],
          ['Array', null],
        ],
      )
    })

    it('are refused when they are none', () => {
      const bad = [
        'hello\r\n',
        '$5\r\nhello!!',
        '*1\r\n.\r\n',
        ':1x\r\n',
        ':\r\n',
        '#x\r\n',
        ',one\r\n',
        '(1e5\r\n',
        '%?\r\n+a\r\n.\r\n',
        '+a\n',
      ]
      bad.push('*9999999999\r\n', '$?\r\n:1\r\n', ';1\r\na\r\n', '$-2\r\n', '*1\r\n'.repeat(200), '>?\r\n', '_x\r\n')
      for (const bytes of bad)
        assert.throws(() => talk([client('PING\r\n'), server(bytes)]), Malformed, JSON.stringify(bytes))
    })
  })

  describe('pairs', () => {
    it('commands and answers of a pipeline in their order', () => {
      const items = talk([
        client(call('GET', 'a') + call('GET', 'b') + call('INCR', 'c')),
        server('$1\r\n1\r\n$-1\r\n:8\r\n'),
      ])
      assert.deepEqual(
        items.map(item => [item.request!.key, item.answer!.value]),
        [
          ['a', '1'],
          ['b', null],
          ['c', 8],
        ],
      )
    })

    it('SUBSCRIBE with its first confirmation; the others and the messages are events (RESP2)', () => {
      const items = talk([
        client(call('SUBSCRIBE', 'a', 'b', 'c')),
        server(
          array('subscribe', 'a', 1) +
            array('subscribe', 'b', 2) +
            array('message', 'a', 'early') +
            array('subscribe', 'c', 3),
        ),
        client(call('PSUBSCRIBE', 'x*')),
        server(array('message', 'a', 'hello') + array('psubscribe', 'x*', 4) + array('pmessage', 'x*', 'x1', 'you')),
        client(call('PING')),
        server(array('message', 'b', 'ping?') + array('pong', '')),
        client(call('UNSUBSCRIBE')),
        server(array('unsubscribe', 'a', 3) + array('unsubscribe', 'b', 2) + array('unsubscribe', 'c', 1)),
        client(call('PUNSUBSCRIBE', 'x*')),
        server(array('punsubscribe', 'x*', 0)),
        client(call('UNSUBSCRIBE')),
        server('*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n'),
        client(call('LRANGE', 'l', '0', '-1')),
        server(array('message', 'is', 'in the list')),
      ])
      assert.deepEqual(
        items
          .filter(item => item.request !== null)
          .map(item => [item.request!.command, item.answer!.value.slice(0, 2)]),
        [
          ['SUBSCRIBE', ['subscribe', 'a']],
          ['PSUBSCRIBE', ['psubscribe', 'x*']],
          ['PING', ['pong', '']],
          ['UNSUBSCRIBE', ['unsubscribe', 'a']],
          ['PUNSUBSCRIBE', ['punsubscribe', 'x*']],
          ['UNSUBSCRIBE', ['unsubscribe', null]],
          ['LRANGE', ['message', 'is']],
        ],
      )
      assert.deepEqual(
        items.filter(item => item.event !== null).map(({ event }) => [event!.command, event!.key, event!.value]),
        [
          ['subscribe', 'b', 2],
          ['message', 'a', 'early'],
          ['subscribe', 'c', 3],
          ['message', 'a', 'hello'],
          ['pmessage', 'x1', 'you'],
          ['message', 'b', 'ping?'],
          ['unsubscribe', 'b', 2],
          ['unsubscribe', 'c', 1],
        ],
      )
    })

    it('commands sent between messages with their own answers (RESP3)', () => {
      const items = talk([
        client(call('SUBSCRIBE', 'a', 'b') + call('GET', 'k')),
        server(
          '>3\r\n+subscribe\r\n+a\r\n:1\r\n>3\r\n+subscribe\r\n+b\r\n:2\r\n>3\r\n+message\r\n+a\r\n+m\r\n$1\r\nv\r\n',
        ),
        server('>2\r\n+invalidate\r\n*1\r\n+k\r\n'),
      ])
      assert.deepEqual(
        items.map(item => [item.request?.command ?? null, item.answer?.type ?? null, item.event?.command ?? null]),
        [
          ['SUBSCRIBE', 'Push', null],
          [null, null, 'subscribe'],
          [null, null, 'message'],
          ['GET', 'Bulk String', null],
          [null, null, 'invalidate'],
        ],
      )
      assert.equal(items[4]!.event!.key, 'k')
      assert.equal(items[4]!.message.version, '3')
    })

    it('nothing with a push that comes before the answer', () => {
      const items = talk([
        client(call('DEBUG', 'PROTOCOL', 'push')),
        server('>2\r\n+server-cpu-usage\r\n:42\r\n$4\r\nreal\r\n'),
      ])
      assert.deepEqual(
        items.map(item => item.event?.value ?? item.answer?.value),
        [42, 'real'],
      )
    })

    it('no answer with what CLIENT REPLY silences', () => {
      const items = talk([
        client(
          'PING\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nECHO a\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO b\r\n',
        ),
        server('+PONG\r\n+OK\r\n$1\r\na\r\n$1\r\nb\r\n'),
      ])
      assert.deepEqual(
        items.filter(item => item.answer !== null).map(item => [item.request!.args, item.answer!.value]),
        [
          [[], 'PONG'],
          [['REPLY', 'ON'], 'OK'],
          [['a'], 'a'],
          [['b'], 'b'],
        ],
      )
      assert.equal(items.filter(item => item.message.unanswered).length, 5)
    })

    it('MONITOR with +OK; its lines are events', () => {
      const items = talk([
        client(call('MONITOR')),
        server(
          '+OK\r\n+1795221575.558031 [0 10.20.0.2:33375] "SET" "k" "a \\"b\\"\\xff"\r\n+1795221575.558032 [3 [::1]:5] "AUTH" "pw"\r\n',
        ),
      ])
      const [answered, first, second] = items
      assert.equal(answered!.answer!.value, 'OK')
      assert.deepEqual(first!.event, {
        type: 'Monitor',
        command: 'SET',
        key: 'k',
        value: { base64: 'YSAiYiL/', size: 6 },
        keyword: null,
        args: ['k', { base64: 'YSAiYiL/', size: 6 }],
        time: '1795221575.558031',
        database: 0,
        client: '10.20.0.2:33375',
      })
      assert.deepEqual(
        [second!.event!.args, second!.event!.client, second!.event!.database],
        [['[REDACTED]'], '[::1]:5', 3],
      )
    })

    it('each command of a transaction with QUEUED, and EXEC with all answers', () => {
      const items = talk([
        client(call('MULTI') + call('SET', 'a', '1') + call('SUBSCRIBE', 'c') + call('EXEC')),
        server('+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n-ERR no\r\n'),
      ])
      assert.deepEqual(
        items.map(item => item.answer!.value),
        ['OK', 'QUEUED', 'QUEUED', ['OK', { error: 'ERR no' }]],
      )
    })

    it('a replica and its master', () => {
      const rdb = 'REDIS0010\r\n$binary'
      const mark = '0123456789012345678901234567890123456789'
      for (const snapshot of [`$${rdb.length}\r\n${rdb}`, `$EOF:${mark}\r\n${rdb}${mark}`]) {
        const items = talk([
          client(call('PING')),
          server('+PONG\r\n'),
          client(call('PSYNC', '?', '-1')),
          server(`+FULLRESYNC 8de1787ba490483314a4d30f1c628bc5025eb761 0\r\n\n\n${snapshot}${call('SELECT', '0')}`),
          client(call('REPLCONF', 'ACK', '14')),
          server(call('SET', 'k', 'v')),
        ])
        assert.deepEqual(
          items.map(item => [
            item.request?.command ?? null,
            item.event?.type ?? null,
            item.event?.size ?? item.event?.key ?? null,
          ]),
          [
            ['PING', null, null],
            ['PSYNC', null, null],
            [null, 'RDB', rdb.length],
            [null, 'Replicated', null],
            ['REPLCONF', null, null],
            [null, 'Replicated', 'k'],
          ],
        )
      }
    })

    it('SYNC with the snapshot itself', () => {
      const items = talk([client('SYNC\r\n'), server(`$3\r\nabc${call('SET', 'k', 'v')}`)])
      assert.deepEqual([items[0]!.answer?.type, items[0]!.answer?.size, items[1]!.event?.key], ['RDB', 3, 'k'])
    })

    it('nothing when no command was seen: messages and lines are events all the same', () => {
      const items = talk([server(`${array('message', 'a', 'b')}+1795221575.558031 [0 lua] "GET" "k"\r\n+OK\r\n`)])
      assert.deepEqual(
        items.map(item => item.message.kind),
        ['event', 'event', 'response'],
      )
    })
  })

  describe('passwords', () => {
    const SECRET = 's3cr3t-pa55'
    const told: string[][] = [
      ['AUTH', SECRET],
      ['AUTH', 'bob', SECRET],
      ['HELLO', '3', 'AUTH', 'bob', SECRET, 'SETNAME', 'c'],
      ['CONFIG', 'SET', 'maxmemory', '1', 'requirepass', SECRET],
      ['config', 'set', 'MasterAuth', SECRET],
      ['ACL', 'SETUSER', 'bob', 'on', `>${SECRET}`, '~*'],
      ['MIGRATE', 'h', '6379', 'k', '0', '10', 'AUTH', SECRET],
      ['MIGRATE', 'h', '6379', '', '0', '10', 'AUTH2', 'bob', SECRET, 'KEYS', 'k'],
      ['SENTINEL', 'SET', 'mymaster', 'auth-pass', SECRET],
    ]
    for (const words of told)
      it(`do not appear: ${words.join(' ').replace(SECRET, '…')}`, () => {
        const items = talk([
          client(call(...words) + call('MONITOR')),
          server(`+OK\r\n+OK\r\n+1795221575.558031 [0 lua] ${words.map(word => `"${word}"`).join(' ')}\r\n`),
        ])
        assert.equal(items.length, 3)
        const text = JSON.stringify(items)
        assert.ok(!text.includes(SECRET), text)
        assert.ok(JSON.stringify(items[0]).includes('[REDACTED]'))
        assert.ok(JSON.stringify(items[2]).includes('[REDACTED]'))
      })

    it('do not appear in answers, nor in those of a transaction', () => {
      const setting = array('requirepass', SECRET, 'port', '6379')
      const items = talk([
        client(
          call('CONFIG', 'GET', '*') + call('ACL', 'GENPASS') + call('SLOWLOG', 'GET') + call('CONFIG', 'GET', '*'),
        ),
        server(
          `${setting}$11\r\n${SECRET}\r\n*1\r\n*4\r\n:1\r\n:2\r\n:3\r\n${array('AUTH', SECRET)}%1\r\n+masterauth\r\n+${SECRET}\r\n`,
        ),
        client(call('MULTI') + call('PING') + call('CONFIG', 'GET', 'requirepass') + call('EXEC')),
        server(`+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+PONG\r\n${setting}`),
      ])
      assert.ok(!JSON.stringify(items).includes(SECRET))
      assert.deepEqual(items[0]!.answer!.value, ['requirepass', '[REDACTED]', 'port', '6379'])
      assert.deepEqual(items[3]!.answer!.value, { masterauth: '[REDACTED]' })
      assert.deepEqual(items.at(-1)!.answer!.value, ['PONG', ['requirepass', '[REDACTED]', 'port', '6379']])
    })
  })

  describe('probe', () => {
    const sure: [Side, string][] = [
      ['client', call('GET', 'k')],
      ['server', '*1\r\n$3\r\nabc\r\n'],
      ['server', '$3\r\nabc\r\n'],
      ['server', ':12\r\n'],
      ['server', '-WRONGTYPE Operation\r\n'],
      ['server', '+1795221575.558031 [0 lua] "GET" "k"\r\n'],
    ]
    const hinted: [Side, string][] = [
      ['client', 'PING\r\n'],
      ['client', 'set a b\n'],
      ['client', call('UNHEARD', 'of')],
      ['server', '+OK\r\n'],
      ['server', '-ERR unknown\r\n'],
      ['server', '$-1\r\n'],
    ]
    const never: [Side, string][] = [
      ['client', 'GET / HTTP/1.1\u0000\r\n'],
      ['client', 'USER bob\r\n'],
      ['client', 'GET / HTTP/1.1\r\n'],
      ['server', '+PING\u0000OK ready\r\n'],
      ['server', 'HTTP/1.1 200 OK\r\n'],
      ['server', ':irc.example.org NOTICE\r\n'],
    ]
    it('knows what can be nothing else on any port', () => {
      for (const [side, bytes] of [...sure]) assert.equal(probe(side, bytes, false), true, bytes)
      for (const [side, bytes] of [...hinted, ...never]) assert.equal(probe(side, bytes, false), false, bytes)
    })
    it('believes a port in what is likely', () => {
      for (const [side, bytes] of [...sure, ...hinted]) assert.equal(probe(side, bytes, true), true, bytes)
      for (const [side, bytes] of never) assert.equal(probe(side, bytes, true), false, bytes)
    })
    it('asks for more of what may become an answer', () => {
      for (const [side, bytes] of sure)
        for (let size = 0; size < Math.min(bytes.length, 12); size++)
          assert.notEqual(probe(side, bytes.slice(0, size), true), false, bytes)
    })
  })

  describe('a long message', () => {
    it('does not wait in memory', () => {
      const size = 1 << 20
      const held = mostHeld([client('PING\r\n'), server(`$${size}\r\n${'x'.repeat(size)}\r\n`)])
      assert.ok(held < 32_000, `${held} bytes were held`)
      assert.ok(mostHeld([client('PING\r\n'), server(`*100000\r\n${':1\r\n'.repeat(100_000)}`)]) < 4000)
      assert.ok(mostHeld([client(`*100001\r\n$4\r\nSADD\r\n${'$1\r\nx\r\n'.repeat(100_000)}`)]) < 4000)
    })

    it('bridges bytes that were not captured within a string, and nowhere else', () => {
      const at = new Cursor(Buffer.from(`$40000\r\n${'x'.repeat(20_000)}`))
      const ctx = context(MANY)
      ctx.from = 'server'
      assert.throws(() => dissector.read(at, ctx), isIncomplete)
      assert.equal(dissector.bridge!(30_000, at.progress), false)
      assert.equal(dissector.bridge!(10_000, at.progress), true)
      const rest = new Cursor(Buffer.from(`${'y'.repeat(10_000)}\r\n`))
      rest.progress = at.progress
      const message = dissector.read(rest, ctx) as Message
      assert.deepEqual((message.body as Json).value, { text: 'x'.repeat(20_000), size: 40_000 })
    })

    it('is not read again from its beginning when it comes byte by byte', () => {
      const bytes = `*60000\r\n${'*1\r\n$1\r\nx\r\n'.repeat(60_000)}`
      const held = mostHeld([client('PING\r\n'), server(bytes)], 1)
      assert.ok(held < 1000, `${held} bytes were held`)
    })
  })

  it('summarises command, key and status', () => {
    const cases: [string, string, [string, string, string]][] = [
      [call('SET', 'k', 'v'), '+OK\r\n', ['SET', 'k', 'OK']],
      [call('CONFIG', 'GET', 'x'), '*0\r\n', ['CONFIG', 'GET', 'Array']],
      [call('GET', 'k'), '-WRONGTYPE no\r\n', ['GET', 'k', 'WRONGTYPE']],
    ]
    for (const [asked, answered, expected] of cases) {
      const [item] = talk([client(asked), server(answered)])
      const { method, summary, status } = dissector.summarize(item!.request, item!.answer, null)
      assert.deepEqual([method, summary, status], expected)
    }
  })
})

// ── a conversation of strings ───────────────────────────────────────────────────────────────────────────────────────

type Part = { from: Side; bytes: Buffer }
interface Told {
  request: Json | null
  answer: Json | null
  event: Json | null
  message: Message
  response: Message | null
}

function client(bytes: string): Part {
  return { from: 'client', bytes: Buffer.from(bytes, 'latin1') }
}

function server(bytes: string): Part {
  return { from: 'server', bytes: Buffer.from(bytes, 'latin1') }
}

/** A command as programs send it; one character a byte. */
function call(...words: (string | Buffer)[]): string {
  const args = words.map(word => Buffer.from(word).toString('latin1'))
  return `*${args.length}\r\n${args.map(arg => `$${arg.length}\r\n${arg}\r\n`).join('')}`
}

function array(...values: (string | number)[]): string {
  return `*${values.length}\r\n${values.map(value => (typeof value === 'number' ? `:${value}\r\n` : call(value).slice(4))).join('')}`
}

function request(bytes: string, keep = MANY): Json {
  return talk([client(bytes)], { keep })[0]!.request!
}

/** What is told of these bytes, which must be the same however they are cut. */
function talk(parts: Part[], { keep = MANY } = {}): Told[] {
  const whole = talkCut(parts, part => part.length, { keep })
  const size = parts.reduce((sum, part) => sum + part.bytes.length, 0)
  if (size < 20_000) assert.deepEqual(plain(talkCut(parts, () => 1, { keep })), plain(whole), 'byte by byte')
  let seed = 1
  const random = () => {
    seed = (seed * 48271) % 0x7fffffff
    return 1 + (seed % 40)
  }
  for (let i = 0; i < 3; i++) assert.deepEqual(plain(talkCut(parts, random, { keep })), plain(whole), 'cut at random')
  return whole
}

function plain(told: Told[]): JsonValue {
  return JSON.parse(JSON.stringify(told))
}

function mostHeld(parts: Part[], cut = 1000): number {
  const held = { most: 0 }
  talkCut(parts, () => cut, { keep: 1000 }, held)
  return held.most
}

/** As the engine does it: bytes of an unfinished message wait, those before a commit do not. */
function talkCut(parts: Part[], cut: (part: Buffer) => number, { keep }: { keep: number }, held = { most: 0 }): Told[] {
  const told: Told[] = []
  const waiting: Told[] = []
  const ctx = context(keep)
  const sides = {
    client: { left: Buffer.alloc(0), progress: null as unknown },
    server: { left: Buffer.alloc(0), progress: null as unknown },
  }
  for (const { from, bytes } of parts) {
    const side = sides[from]
    for (let start = 0; start < bytes.length; ) {
      const end = Math.min(bytes.length, start + Math.max(1, cut(bytes)))
      const at = new Cursor(Buffer.concat([side.left, bytes.subarray(start, end)]))
      start = end
      at.progress = side.progress
      let last = 0
      while (at.position < at.end) {
        ctx.from = from
        ctx.awaited = waiting[0]?.message.memo
        const before = JSON.stringify(ctx.state)
        at.committed = -1
        let message: Message | null = null
        try {
          message = dissector.read(at, ctx) as Message | null
        } catch (thrown) {
          if (thrown !== Incomplete) throw thrown
          assert.equal(JSON.stringify(ctx.state), before, 'state is changed only by a whole message')
          if (at.committed >= 0) last = at.committed
          break
        }
        last = at.position
        at.progress = null
        if (message !== null) note(message, told, waiting)
      }
      side.left = Buffer.from(at.bytes.subarray(last))
      side.progress = at.progress
      held.most = Math.max(held.most, side.left.length)
    }
  }
  return told
}

function note(message: Message, told: Told[], waiting: Told[]): void {
  const body = structuredClone(message.body) as Json
  if (message.kind === 'response' && waiting.length > 0) {
    const item = waiting.shift()!
    item.answer = body
    item.response = message
    // In the order of their ends, as the engine delivers them.
    told.splice(told.indexOf(item), 1)
    told.push(item)
    return
  }
  const item: Told = {
    request: message.kind === 'request' ? body : null,
    answer: message.kind === 'response' ? body : null,
    event: message.kind === 'event' ? body : null,
    message,
    response: message.kind === 'response' ? message : null,
  }
  told.push(item)
  if (message.kind === 'request' && !message.unanswered) waiting.push(item)
}

function context(keep: number): Context<State> {
  return contextOf(dissector.open!(), { port: 6379, hinted: true, keep })
}

function probe(from: Side, bytes: string, hinted: boolean): boolean | 'more' {
  return probed(dissector, Buffer.from(bytes, 'latin1'), contextOf(dissector.open!(), { from, port: 6379, hinted }))
}

function isIncomplete(thrown: unknown): boolean {
  return thrown === Incomplete
}
