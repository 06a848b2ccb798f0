/** NATS: what is read from bytes, what pairs with what, and what is not taken for it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Message, Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { golden, only, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { probed } from '../testing/talk.ts'
import { dissector, type State } from './nats.ts'

const FIXTURES = new URL('../fixtures/nats/', import.meta.url)
const INFO = 'INFO {"server_id":"N","version":"2.9.10","tls_available":true}\r\n'
const CONNECT = 'CONNECT {"verbose":false,"lang":"go"}\r\n'

describe('nats', () => {
  golden('nats')

  describe('says what the client did', () => {
    it('requests with their answers, and publications', () => {
      const items = read('requests')
      const { exchanges, published, received, nobody, silent } = truth('requests')
      const pairs = items.filter(({ request, response }) => response?.sid !== undefined && request !== null)
      const told = pairs.map(({ request, response }) => [request!.subject, request!.payload, response!.payload])
      // Of several answers to one request the first is paired.
      const first = exchanges.filter(([, , answer]: string[]) => !['two', 'three'].includes(answer!))
      assert.deepEqual(told.filter(([subject]) => subject !== 'nobody.home').sort(), first.sort())
      const failed = items.filter(item => item.failed)
      assert.deepEqual(
        failed.map(({ request, response }) => [request!.subject, response!.status]),
        nobody.map((subject: string) => [subject, 503]),
      )
      const alone = items.filter(({ request, response }) => request?.command === 'PUB' && response === null)
      assert.deepEqual(
        alone.map(({ request }) => request!.subject),
        silent,
      )
      for (const [commands, expected] of [
        [['PUB', 'HPUB'], published],
        [['MSG', 'HMSG'], received],
      ])
        assert.deepEqual(
          items
            .filter(({ event }) => commands.includes(event?.command) && event!.subject.startsWith('news.'))
            .map(({ event }) => [event!.subject, bytesOf(event!)]),
          expected,
        )
    })

    it('calls of the API of JetStream, and what it delivered', () => {
      const items = read('jetstream')
      const { api, acknowledged, delivered, errors } = truth('jetstream')
      const calls = items.filter(({ request }) => request?.jetstream !== undefined)
      for (const name of api)
        assert.ok(
          calls.some(({ request, response }) => request!.jetstream.api === name && response?.jetstream.api === name),
          name,
        )
      assert.deepEqual(
        calls.filter(item => item.failed).map(({ response }) => response!.jetstream.body.error.description),
        errors,
      )
      const stored = items.filter(({ request }) => request?.subject === 'orders.new')
      assert.deepEqual(
        stored.map(({ response }) => JSON.parse(response!.payload).seq),
        acknowledged,
      )
      const messages = items.filter(({ event }) => event?.delivery !== undefined)
      assert.deepEqual(
        messages.map(({ event }) => [event!.subject, event!.delivery.streamSequence, event!.payload]),
        delivered,
      )
    })

    it('what was typed, with what the server said to it', () => {
      const connections = truth('verbose')
      const items = read('verbose')
      for (const { sent, received, clientPort } of connections) {
        const own = items.filter(({ src }) => Number(src.port) === clientPort)
        const words = (text: string) => text.match(/^(\+OK|-ERR|MSG|PONG|CONNECT|SUB|UNSUB|H?PUB|PING)/gim)?.sort()
        const asked = own.map(({ request }) => request?.command).filter(command => command !== undefined)
        const known = sent.replace('NONSENSE\r\n', '').toUpperCase()
        assert.deepEqual(asked.sort(), words(known), 'asked')
        const answers = own.flatMap(({ response, event }) => [response, event]).filter(said => said !== null)
        const said = answers.map(({ command }) => command).filter(command => command !== 'INFO')
        // The first PONG answers CONNECT, too.
        if (!sent.includes('echo') && received.includes('PONG')) said.splice(said.indexOf('PONG'), 1)
        // The connection is lost at what is no operation.
        const heard = sent.includes('NONSENSE') ? received.replace(/-ERR.*\r\n/, '') : received
        assert.deepEqual(said.sort(), words(heard), 'answered')
      }
      assert.doesNotMatch(JSON.stringify(items), /made-up/)
    })

    it('payloads of any size', () => {
      const events = read('large').map(({ event }) => event)
      const messages = events.filter(event => event?.command === 'MSG' || event?.command === 'HMSG')
      assert.deepEqual(
        messages.map(event => bytesOf(event!).length),
        truth('large').sizes,
      )
    })

    it('servers that pass messages on', () => {
      const items = read('servers')
      assert.ok(items.every(({ request }) => request === null))
      const passed = items.filter(({ event }) => event!.words?.includes('across') && event!.payload !== undefined)
      assert.deepEqual(
        passed.map(({ event }) => event!.payload),
        truth('servers').received,
      )
    })
  })

  describe('recognises', () => {
    it('a connection by its first bytes, at any port', () => {
      assert.equal(probe('server', INFO), true)
      assert.equal(probe('client', CONNECT), true)
    })

    it('one whose beginning was not seen', () => {
      const packets = readPackets(new URL('requests.pcap', FIXTURES)).slice(24)
      const pairs = readItems(packets, only(dissector)).filter(
        ({ request, response }) => request !== null && response !== null,
      )
      assert.ok(pairs.length >= 6, `${pairs.length} pairs`)
    })

    it('nothing else', () => {
      const others: [Side, string][] = [
        ['client', 'CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n'],
        ['client', 'PING\r\n'],
        ['client', 'PUB orders 5\nhello'],
        ['client', 'pub a 5\r\nhello\r\n'],
        ['client', 'PUB a 5\r\nhello world\r\n'],
        ['client', 'SUB orders archive\n'],
        ['client', 'INFO replication\r\n'],
        ['client', 'INFO sip:bob@example.com SIP/2.0\r\n'],
        ['server', '+OK\r\n'],
        ['server', '-ERR unknown command\r\n'],
        ['server', 'MSG a b 1\r\nx\r\n'],
        ['server', 'MSG 1 <reply@example.com>\r\n'],
      ]
      for (const [from, text] of others) assert.equal(probe(from, text), false, text)
      assert.equal(probe('server', "-ERR 'Stale Connection'\r\n", true), true)
      assert.equal(probe('server', '-ERR unknown command\r\n', true), false)
    })
  })

  describe('does not pair', () => {
    it('what is sent to an inbox that is used again', () => {
      const [state, told] = talk(
        client(`${CONNECT}PUB a inbox 1\r\n1\r\nPUB b inbox 1\r\n2\r\n`),
        server('MSG inbox 1 1\r\nx\r\nMSG inbox 1 1\r\ny\r\n'),
      )
      assert.deepEqual(kinds(told), ['request CONNECT', 'request > inbox', 'alone', 'response > inbox', 'event'])
      assert.equal(state.inboxes.size, 1)
    })

    it('what is sent to an inbox of nobody knows how many requests, where the beginning was not seen', () => {
      const [, told] = talk(
        client('PUB a inbox 0\r\n\r\nPUB a _INBOX.x.1 0\r\n\r\n'),
        server('MSG inbox 1 0\r\n\r\nMSG _INBOX.x.1 1 0\r\n\r\n'),
      )
      assert.deepEqual(kinds(told), ['alone', 'request > _INBOX.x.1', 'event', 'response > _INBOX.x.1'])
    })

    it('PONG and +OK where not every PING and operation was seen', () => {
      const [, told] = talk(client('PING\r\nSUB a 1\r\n'), server('PONG\r\n+OK\r\n'))
      assert.deepEqual(kinds(told), ['event', 'event', 'event', 'event'])
    })

    it('an error that nobody asked for', () => {
      const [, told] = talk(
        client('CONNECT {"verbose":true}\r\nPUB a 0\r\n\r\n'),
        server("+OK\r\n-ERR 'Slow Consumer'\r\n+OK\r\n"),
      )
      assert.deepEqual(kinds(told), ['request CONNECT', 'request ok 0', 'response CONNECT', 'event', 'response ok 0'])
    })
  })

  it('waits a minute for an answer; one that comes later is a message like any other', () => {
    const d = new Dialogue().open()
    d.tell(INFO)
    d.ask(CONNECT)
    d.ask('PUB slow _INBOX.a.1 1\r\n1\r\nPUB never _INBOX.a.2 1\r\n2\r\n')
    d.wait(59_000)
    d.tell('MSG _INBOX.a.1 1 4\r\ndone\r\n')
    d.wait(2000)
    d.tell('MSG _INBOX.a.2 1 4\r\nlate\r\n')
    const items = readItems(d.packets, only(dissector))
      .filter(({ request }) => request?.command !== 'CONNECT')
      .slice(1)
    assert.deepEqual(
      items.map(({ request, response, event, error }) => [
        request?.subject,
        response?.payload ?? event?.payload,
        error?.type,
      ]),
      [
        ['slow', 'done', undefined],
        ['never', undefined, 'timeout'],
        [undefined, 'late', undefined],
      ],
    )
  })

  describe('reads', () => {
    it('what an acknowledgement is for, in both forms', () => {
      for (const [subject, stream] of [
        ['$JS.ACK.S.c.1.2.3.1795268876745825915.0', 'S'],
        ['$JS.ACK.hub.ACC.S.c.1.2.3.1795268876745825915.0.token', 'S'],
      ]) {
        const { acknowledges } = bodyOf(client(`PUB ${subject} 4\r\n+ACK\r\n`))
        assert.deepEqual(acknowledges, {
          stream,
          consumer: 'c',
          deliveries: 1,
          streamSequence: 2,
          consumerSequence: 3,
          timestamp: '1795268876745825915',
          pending: 0,
        })
      }
      assert.equal(bodyOf(client('PUB $JS.ACK.S.c.x.2.3.4.5 0\r\n\r\n')).acknowledges, undefined)
    })

    it('names of the API, also of a domain, and JSON that is not too deep', () => {
      const calls: [string, string, string | null, string | null][] = [
        ['$JS.API.INFO', 'INFO', null, null],
        ['$JS.hub.API.STREAM.NAMES', 'STREAM.NAMES', null, null],
        ['$JS.API.CONSUMER.CREATE.S.c.orders.new', 'CONSUMER.CREATE', 'S', 'c'],
        ['$JS.API.CONSUMER.DURABLE.CREATE.S.c', 'CONSUMER.DURABLE.CREATE', 'S', 'c'],
        ['$JS.API.STREAM.MSG.GET.S', 'STREAM.MSG.GET', 'S', null],
      ]
      for (const [subject, api, stream, consumer] of calls)
        assert.deepEqual(bodyOf(client(`PUB ${subject} 2\r\n{}\r\n`)).jetstream, { api, stream, consumer, body: {} })
      const deep = '['.repeat(100) + ']'.repeat(100)
      assert.equal(bodyOf(client(`PUB $JS.API.INFO 200\r\n${deep}\r\n`)).jetstream.body, null)
    })

    it('headers with names of all kinds, and statuses', () => {
      const { headers, status, description } = bodyOf(
        server('HMSG a 1 63 63\r\nNATS/1.0 404 No Messages\r\n__proto__: x\r\nA:1\r\nA: 2\r\nno colon\r\n\r\n\r\n'),
      )
      assert.deepEqual(JSON.parse(JSON.stringify(headers)), JSON.parse('{"__proto__":"x","A":["1","2"]}'))
      assert.deepEqual([status, description], [404, 'No Messages'])
    })

    it('no more of a payload than is wanted', () => {
      const text = 'é'.repeat(600)
      const { payload, payloadSize, truncated } = bodyOf(client(`PUB a 1200\r\n${text}\r\n`), 1001)
      assert.deepEqual([payload, payloadSize, truncated], ['é'.repeat(500), 1200, true])
      assert.equal(bodyOf(client('PUB a 2\r\nxy\r\n'), 0).payload, null)
      assert.equal(bodyOf(client(CONNECT), 0).options, null)
    })

    it('TLS behind INFO, where that offers it', () => {
      const [, told] = talk(server(INFO), client('\x16\x03\x01'))
      assert.equal(told[1]!.becomes, 'tls')
      assert.throws(() => talk(client('\x16\x03\x01')), Malformed)
    })

    it('nothing that cannot be', () => {
      for (const text of [
        'PUB a\r\n',
        'PUB a b c 1\r\nx\r\n',
        'PUB a 99999999999\r\n',
        'PUB a -1\r\n',
        'HPUB a 5 4\r\nxxxx\r\n',
        'PUB a 1\r\nxyz',
        'MSG a 1 0\r\n\r\n',
        'SUB \x01 1\r\n',
        'NONSENSE\r\n',
        `${'P'.repeat(100)}`,
      ])
        assert.throws(() => talk(client(text)), Malformed, text)
    })

    it('the rest of a payload of which a part was not captured', () => {
      const ctx = contextOf(dissector.open!(), { keep: 100 })
      const at = new Cursor(Buffer.from(`PUB a 20000\r\n${'x'.repeat(50)}`))
      assert.throws(() => dissector.read(at, ctx), isIncomplete)
      assert.equal(dissector.bridge!(19_950, at.progress), true)
      assert.equal(dissector.bridge!(1, at.progress), false)
      const rest = new Cursor(Buffer.from('\r\n'))
      rest.progress = at.progress
      const { body } = dissector.read(rest, ctx) as Message
      assert.equal((body as Json).payload, 'x'.repeat(50))
      assert.equal((body as Json).truncated, true)
    })
  })
})

function isIncomplete(thrown: unknown): boolean {
  return thrown === Incomplete
}

function read(name: string): Item[] {
  return readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), only(dissector))
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as captures.
function truth(name: string): any {
  return JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
}

function bytesOf({ payload, encoding }: Json): number[] {
  return [...Buffer.from(payload, encoding ?? 'utf8')]
}

interface Said {
  from: Side
  text: string
}

function client(text: string): Said {
  return { from: 'client', text }
}

function server(text: string): Said {
  return { from: 'server', text }
}

function talk(...said: Said[]): [State, Message[]] {
  const state = dissector.open!()
  return [state, said.flatMap(one => messages(one, state, 1 << 20))]
}

function messages({ from, text }: Said, state: State, keep: number): Message[] {
  const at = new Cursor(Buffer.from(text))
  const found: Message[] = []
  while (at.remaining > 0) {
    const message = dissector.read(at, contextOf(state, { from, keep }))
    if (Array.isArray(message)) found.push(...message)
    else if (message !== null) found.push(message)
    if (found.at(-1)?.becomes !== undefined) break
  }
  return found
}

function bodyOf(said: Said, keep = 1 << 20): Json {
  return messages(said, dissector.open!(), keep)[0]!.body as Json
}

function kinds(told: Message[]): string[] {
  return told.map(({ kind, key, unanswered }) => (unanswered ? 'alone' : key === undefined ? kind : `${kind} ${key}`))
}

function probe(from: Side, text: string, hinted = false): boolean | 'more' {
  return probed(dissector, Buffer.from(text), contextOf(dissector.open!(), { from, hinted }))
}
