import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { Cursor, Malformed } from '../cursor.ts'
import type { Context, Message, Side } from '../dissector.ts'
import type { Item, Json } from '../item.ts'
import { JsonWriter, Written } from '../json-writer.ts'
import { loadProtocols } from '../registry.ts'
import { contextOf } from '../testing/context.ts'
import { golden, readItems, readPackets } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import { DEFINITIONS, findApi } from './kafka/apis.ts'
import { CLASSIC, FLEXIBLE } from './kafka/body.ts'
import { type Plan, parse } from './kafka/definition.ts'
import { dissector, type State } from './kafka.ts'

describe('kafka', () => {
  golden('kafka')

  describe('a broker of Kafka 4.3', () => {
    for (const part of ['produce', 'transactions', 'groups', 'admin', 'sasl'])
      it(`says what the client did: ${part}`, async () => {
        const items = readItems(readPackets(new URL(`kafka-4-${part}.pcap`, FIXTURES)), await loadProtocols())
        const lines = readFileSync(new URL(`kafka-4-${part}.jsonl`, FIXTURES), 'utf8')
          .trim()
          .split('\n')
        const records = items.flatMap(recordsOf)
        for (const line of lines) {
          const told = JSON.parse(line)
          if (told.ev === 'produced' || told.ev === 'consumed') {
            // Without acknowledgements the client knows no offset.
            const isSame = (one: Json) =>
              RECORD.every(name => one[name] === told[name] || (name === 'offset' && told.offset < 0))
            assert.ok(records.some(isSame), line)
          } else
            assert.ok(
              items.some(item => isTold(item, told)),
              line,
            )
        }
        assert.equal(JSON.stringify(items).includes('made-up-pw'), false)
      })
  })

  describe('tables', () => {
    it('can be read in every version', () => {
      for (const { key, versions } of DEFINITIONS)
        for (let version = versions[0]; version <= versions[1]; version++)
          assert.notEqual(findApi(key)!.version(version), null, `${key} ${version}`)
      assert.equal(findApi(0)!.version(99), null)
    })

    it('have each key once', () => {
      const keys = DEFINITIONS.map(({ key }) => key).sort((a, b) => a - b)
      assert.deepEqual(keys, [...Array(95).keys()])
    })

    // Else a count could keep the reader busy without a byte being read.
    it('have something in each structure', () => {
      const check = (plan: Plan, what: string): void => {
        for (const { plan: inner, read, element } of [...plan.fields, ...(plan.tags?.values() ?? [])]) {
          if (element !== CLASSIC.shapes.structure && element !== FLEXIBLE.shapes.structure) continue
          if (read === CLASSIC.shapes.embedded || read === FLEXIBLE.shapes.embedded) continue
          assert.ok(inner.fields.length > 0 || inner.tags !== null, what)
          check(inner, what)
        }
      }
      for (const { key, versions } of DEFINITIONS)
        for (let version = versions[0]; version <= versions[1]; version++) {
          const exchange = findApi(key)!.version(version)!
          check(exchange.request, `${key} ${version}`)
          check(exchange.response, `${key} ${version}`)
        }
    })

    it('say where they are wrong', () => {
      assert.throws(() => parse('a:i32 b:[i32'), /no field at/)
      assert.throws(() => parse('a[b:i32'), /not closed/)
    })
  })

  describe('requests', () => {
    it('say the same of a known version and of tags that came later', () => {
      const tags = [1, 5, 2, 0xca, 0xfe]
      const { request } = ask(message(18, 3, [...compact('lib'), ...compact('1.0'), ...tags]))
      assert.deepEqual(request.payload, {
        clientSoftwareName: 'lib',
        clientSoftwareVersion: '1.0',
        taggedFields: [{ tag: 5, value: 'yv4=', valueEncoding: 'base64' }],
      })
    })

    it('are bytes where the version came later', () => {
      const { request } = ask(message(3, 99, [0xca, 0xfe]))
      assert.deepEqual([request.apiKeyName, request.payload, request.payloadEncoding], ['Metadata', 'yv4=', 'base64'])
    })

    it('show no secret, also where they cannot be read', () => {
      const plain = text('\0alice\0open sesame')
      const known = ask(message(36, 1, [...int(plain.length), ...plain])).request
      assert.deepEqual(known.payload, { authBytes: '[REDACTED]', username: 'alice' })
      assert.equal(ask(message(36, 99, plain)).request.payload, '[REDACTED]')
      assert.equal(ask(message(36, 1, plain)).request.payload, '[REDACTED]')
      const envelope = ask(message(58, 0, [plain.length + 1, ...plain, 0, 1, 0])).request.payload
      assert.deepEqual(envelope, { requestData: '[REDACTED]', requestPrincipal: null, clientHostAddress: '' })
      const setting = [...int(1), 4, ...short('b'), ...int(1), ...short('ssl.key.password'), 0, ...short('x'), 0]
      const { configs } = ask(message(44, 0, setting)).request.payload.resources[0]
      assert.deepEqual(configs, [{ name: 'ssl.key.password', configOperation: 0, value: '[REDACTED]' }])
    })

    it('with acks 0 wait for nothing', () => {
      assert.equal(ask(message(0, 2, [0, 0, ...int(1), ...int(0)])).message.unanswered, true)
      assert.equal(ask(message(0, 2, [0, 1, ...int(1), ...int(0)])).message.unanswered, undefined)
    })
  })

  describe('responses', () => {
    it('are bytes where nobody asked', () => {
      const { body, message } = answer([0xca, 0xfe], undefined)
      assert.deepEqual(body, {
        size: 6,
        correlationID: 7,
        payload: 'yv4=',
        payloadEncoding: 'base64',
        errorCode: null,
        errorName: null,
      })
      assert.equal(message.failed, undefined)
    })

    it('tell of an error anywhere within', () => {
      const topic = [...int(1), ...short('t'), ...int(1), ...int(0), 0, 3, ...long(-1)]
      const { body, message } = answer(topic, findApi(0)!.version(0))
      assert.deepEqual([body.errorCode, body.errorName, message.failed], [3, 'UNKNOWN_TOPIC_OR_PARTITION', true])
    })

    it('are in the oldest version where the broker knows no other', () => {
      const oldest = [0, 35, ...int(1), 0, 18, 0, 0, 0, 2]
      const { body } = answer(oldest, findApi(18)!.version(3))
      assert.deepEqual(body.payload, { errorCode: 35, apiKeys: [{ apiKey: 18, minVersion: 0, maxVersion: 2 }] })
    })

    it('without a place for it keep no bytes', () => {
      const { body } = answer(fetched(batch([record('k', 'v')])), findApi(1)!.version(4), 0)
      const [{ record: records, omitted }] = body.payload.responses[0].partitions[0].records.recordBatches
      assert.deepEqual([records, omitted], [[], 1])
    })
  })

  describe('records', () => {
    const read = (set: number[], keep?: number): Json =>
      answer(fetched(set), findApi(1)!.version(4), keep).body.payload.responses[0].partitions[0].records
    const values = (records: Json): string[] => records.recordBatches[0].record.map(({ value }: Json) => value)
    const content = Buffer.from([record('k', 'one'), record('k', 'two')].flat())

    it('are text or base64', () => {
      const [{ record: records }] = read(batch([record('k', 'grün'), record('k', '\xff', 'latin1')])).recordBatches
      assert.deepEqual(
        records.map((one: Json) => [one.value, one.valueEncoding, one.valueLen]),
        [
          ['grün', undefined, 5],
          ['/w==', 'base64', 1],
        ],
      )
    })

    it('are decompressed', () => {
      for (const [codec, bytes] of [
        [1, gzipSync(content)],
        [2, snappyOf(content)],
        [2, xerialOf(snappyOf(content))],
        [3, lz4Of(content)],
        [4, zstdCompressSync(content)],
      ] as const)
        assert.deepEqual(values(read(batch([[...bytes]], codec, 2))), ['one', 'two'], `codec ${codec}`)
    })

    it('say why they cannot be decompressed', () => {
      for (const codec of [1, 2, 3, 4]) {
        const [found] = read(batch([[1, 2, 3, 4, 5, 6, 7, 8, 9]], codec, 2)).recordBatches
        assert.equal(found.omitted, 2)
        assert.match(found.unreadable, /^expected /)
      }
    })

    it('become no more than a limit', () => {
      const bomb = gzipSync(Buffer.alloc(20 << 20))
      const [found] = read(batch([[...bomb]], 1, 2)).recordBatches
      assert.match(found.unreadable, /gzip/)
      const [small] = read(batch([[0x80, 0x80, 0x80, 0x80, 0x0f, 0]], 2, 2)).recordBatches
      assert.match(small.unreadable, /at most 16777216 bytes/)
    })

    it('are kept as far as bodies are', () => {
      const [found] = read(batch([record('', 'one'), record('', 'two'), record('', 'three')]), 5).recordBatches
      assert.deepEqual(
        found.record.map((one: Json) => [one.value, one.valueTruncated]),
        [
          ['one', undefined],
          ['tw', true],
        ],
      )
      assert.equal(found.omitted, 1)
    })

    it('end where the broker cut the last batch', () => {
      const whole = batch([record('k', 'v')])
      const records = read([...whole, ...whole.slice(0, 65)])
      assert.deepEqual([records.recordBatches.length, records.unread], [1, 65])
    })

    it('tell what a control batch says', () => {
      const commit = record('\0\0\0\x01', '\0\0\0\0\0\0', 'latin1')
      const [found] = read(batch([commit], 0x30, 1)).recordBatches
      assert.deepEqual([found.isControl, found.isTransactional, found.record[0].control], [true, true, 'COMMIT'])
    })

    it('may be messages within a message', () => {
      const inner = [...oldMessage(0, 0, 'one'), ...oldMessage(1, 0, 'two')]
      const compressed = gzipSync(Buffer.from(inner)).toString('latin1')
      const [found] = read(oldMessage(1, 1, compressed)).recordBatches
      assert.deepEqual(
        found.messages.map(({ offset, value }: Json) => [offset, value]),
        [
          [0, 'one'],
          [1, 'two'],
        ],
      )
    })
  })

  describe('large messages', () => {
    const value = 'x'.repeat(400_000)
    const bytes = response(fetched(batch([record('k', value)])))
    const asked = findApi(1)!.version(4)

    it('are read from their beginning', () => {
      const { body, missed } = piecewise(bytes, asked, 10_000)
      const { records } = body.payload.responses[0].partitions[0]
      assert.equal(body.truncated, true)
      assert.equal(records.recordBatches[0].omitted, 1)
      assert.equal(missed, undefined)
    })

    it('whole where there is room', () => {
      const { body } = piecewise(bytes, asked, 1 << 20)
      assert.equal(body.truncated, undefined)
      assert.equal(body.payload.responses[0].partitions[0].records.recordBatches[0].record[0].value, value)
    })

    it('that end with their connection are told of as far as they came', () => {
      const ctx = serverContext(asked, 1 << 20)
      const at = new Cursor(Uint8Array.from(bytes), 0, 50_000)
      assert.equal(dissector.read(at, ctx), null)
      const rest = new Cursor(at.bytes, at.position, at.position)
      rest.progress = at.progress
      const message = dissector.end!(rest, ctx, 'closed') as Message
      assert.deepEqual(message.error, { type: 'dissection', msg: 'its end was not captured' })
      assert.equal(bodyOf(message).payload.responses[0].topic, 't')
      assert.equal(dissector.end!(new Cursor(at.bytes, 0, 5), ctx, 'closed'), null)
    })

    it('are nothing where not even their header came', () => {
      const ctx = serverContext(asked, 1 << 20)
      const at = new Cursor(Uint8Array.from(bytes), 0, 4)
      assert.equal(dissector.read(at, ctx), null)
      assert.equal(dissector.bridge!(bytes.length - 5, at.progress), true)
      const last = new Cursor(at.bytes, bytes.length - 1, bytes.length)
      last.progress = at.progress
      assert.throws(() => dissector.read(last, ctx), Malformed)
    })

    it('survive that a part is missing', () => {
      const { body, missed } = piecewise(bytes, asked, 1 << 20, 100_000)
      assert.equal(body.payload.responses[0].partitions[0].records.recordBatches[0].omitted, 1)
      assert.deepEqual(missed, { type: 'dissection', msg: 'a part of it was not captured' })
    })
  })

  describe('tokens behind SaslHandshake 0', () => {
    it('are none of the requests', () => {
      const state: State = { mechanism: 'PLAIN', tokens: true }
      const token = text('\0alice\0open sesame')
      const { request, message } = ask([...int(token.length), ...token], state)
      assert.equal(request.apiKeyName, 'SaslToken')
      assert.deepEqual(request.payload, { mechanism: 'PLAIN', authBytes: '[REDACTED]', username: 'alice' })
      assert.equal(message.key, 'token')
      assert.equal(state.tokens, true)
      const { request: next } = ask(Uint8Array.from(message3()), state)
      assert.equal(next.apiKeyName, 'Metadata')
      assert.equal(state.tokens, false)
    })

    const message3 = () => message(3, 1, int(0))
  })

  describe('recognising', () => {
    it('takes a request on any port', () => {
      assert.equal(probe(message(3, 1, int(0))), true)
      assert.equal(probe(message(18, 3, [...compact('lib'), ...compact('1'), 0])), true)
    })

    it('takes one of ApiVersions that came later', () => {
      assert.equal(probe(message(18, 9, [1, 2, 3])), true)
    })

    it('waits for the rest where the beginning may be anything', () => {
      const anonymous = message(3, 1, int(0), null)
      assert.equal(probe(anonymous.slice(0, -1)), 'more')
      assert.equal(probe(anonymous), true)
    })

    it('takes no other protocol', () => {
      const others: [string, number[]][] = [
        ['zeros', Array(64).fill(0)],
        ['a start of PostgreSQL', [...int(41), 0, 3, 0, 0, ...text('user\0postgres\0database\0shop\0\0\0\0')]],
        ['a session of ZooKeeper', [...int(44), ...int(0), ...long(0), ...int(30_000), ...long(0), ...int(16)]],
        ['a message of MongoDB', [58, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 0, 0, 0, 0, 0]],
        ['DNS over TCP', [0, 29, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]],
        ['an API that nobody has', message(2000, 1, int(0))],
        ['a body that goes on', message(3, 1, [...int(0), 1, 2, 3])],
        ['a body that ends too early', message(3, 1, int(9))],
        ['a client id with control characters', message(3, 1, int(0), 'a\u0001b')],
      ]
      for (const [what, bytes] of others) assert.notEqual(probe(bytes), true, what)
    })

    it('takes a response for one only by its request', () => {
      const bytes = response([0, 0, ...int(0)])
      assert.equal(probe(bytes, 'server'), false)
      assert.equal(probe(bytes, 'server', findApi(18)!.version(0)), true)
      assert.equal(probe(bytes, 'server', findApi(3)!.version(8)), false)
    })
  })

  it('has one line for a table', () => {
    const { request } = ask(message(3, 1, [...int(2), ...short('orders'), ...short('bills')]))
    assert.deepEqual(dissector.summarize(request, { errorName: null }, null), {
      method: 'Metadata',
      summary: 'orders bills',
      status: 'OK',
    })
    const group = ask(message(12, 0, [...short('g'), ...int(1), ...short('m')])).request
    assert.deepEqual(dissector.summarize(group, { errorName: 'REBALANCE_IN_PROGRESS' }, null), {
      method: 'Heartbeat',
      summary: 'g',
      status: 'REBALANCE_IN_PROGRESS',
    })
  })
})

// ── what a client did ─────────────────────────────────────────────────────────────────────────────────────────────────

const FIXTURES = new URL('../fixtures/kafka/', import.meta.url)
const RECORD = ['ev', 'partition', 'offset', 'key', 'value']

/** Records that an item produces or fetches; offsets of what was produced are in the answer. */
function recordsOf({ request, response }: Item): Json[] {
  if (response === null) return partitionsOf('produced', request!.payload.topicData ?? [], () => -1)
  if (request?.apiKeyName === 'Fetch') return partitionsOf('consumed', response.payload.responses, () => 0)
  if (request?.apiKeyName !== 'Produce') return []
  const answers: Json[] = response.payload.responses.flatMap((topic: Json) => topic.partitionResponses)
  return partitionsOf('produced', request.payload.topicData, index =>
    Number(answers.find(answer => answer.index === index)!.baseOffset),
  )
}

function partitionsOf(ev: string, topics: Json[], offset: (partition: number) => number): Json[] {
  return topics.flatMap(topic =>
    topic.partitions.flatMap(({ index, partitionIndex, records }: Json) => {
      const partition = index ?? partitionIndex
      return (records?.recordBatches ?? []).flatMap((batch: Json) =>
        batch.record.map(({ key, value, offsetDelta }: Json) => {
          return { ev, partition, offset: batch.baseOffset + offset(partition) + offsetDelta, key, value }
        }),
      )
    }),
  )
}

/** What Java's client calls otherwise than the protocol. */
const CALLS: Readonly<Record<string, string>> = { DescribeFeatures: 'ApiVersions' }

function isTold({ request, response, failed }: Item, told: Json): boolean {
  const api = request?.apiKeyName
  switch (told.ev) {
    case 'login':
      return api === 'DescribeCluster' && response!.payload.brokers.length === told.nodes
    case 'token':
      return api === 'CreateDelegationToken' && `User:${response!.payload.principalName}` === told.owner
    case 'refused':
      return api === 'SaslAuthenticate' && response!.errorName === 'SASL_AUTHENTICATION_FAILED'
    default:
      return api === (CALLS[told.api] ?? told.api) && (told.error === undefined || failed)
  }
}

// ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const CLIENT_ID = 'test'

function message(key: number, version: number, body: readonly number[], clientId: string | null = CLIENT_ID): number[] {
  const id = clientId === null ? [0xff, 0xff] : short(clientId)
  const flexible = DEFINITIONS.find(one => one.key === key)?.flexible ?? null
  const tags = flexible !== null && version >= flexible && findApi(key)!.version(version) !== null ? [0] : []
  const content = [key >> 8, key & 255, version >> 8, version & 255, ...int(7), ...id, ...tags, ...body]
  return [...int(content.length), ...content]
}

function response(body: readonly number[]): number[] {
  return [...int(body.length + 4), ...int(7), ...body]
}

/** Fetch 4: one partition of one topic. */
function fetched(records: readonly number[]): number[] {
  const partition = [...int(0), 0, 0, ...long(9), ...long(9), ...int(-1), ...int(records.length)]
  return [...int(0), ...int(1), ...short('t'), ...int(1), ...partition, ...records]
}

function batch(records: readonly (readonly number[])[], attributes = 0, count = records.length): number[] {
  const rest = [0, attributes, ...int(count - 1), ...long(1), ...long(1), ...long(-1), 0xff, 0xff, ...int(-1)]
  const content = [...int(0), 2, ...int(0), ...rest, ...int(count), ...records.flat()]
  return [...long(0), ...int(content.length), ...content]
}

function record(key: string, value: string, encoding: BufferEncoding = 'utf8'): number[] {
  const bytes = (one: string) => [...zigzag(Buffer.from(one, encoding).length), ...Buffer.from(one, encoding)]
  const content = [0, 0, 0, ...bytes(key), ...bytes(value), 0]
  return [...zigzag(content.length), ...content]
}

function oldMessage(offset: number, attributes: number, value: string): number[] {
  const bytes = Buffer.from(value, 'latin1')
  const content = [...int(0), 0, attributes, ...int(-1), ...int(bytes.length), ...bytes]
  return [...long(offset), ...int(content.length), ...content]
}

function text(characters: string): number[] {
  return [...Buffer.from(characters)]
}

function short(characters: string): number[] {
  return [characters.length >> 8, characters.length & 255, ...text(characters)]
}

function compact(characters: string): number[] {
  return [characters.length + 1, ...text(characters)]
}

function int(value: number): number[] {
  return [24, 16, 8, 0].map(shift => (value >>> shift) & 255)
}

function long(value: number): number[] {
  return [...int(value < 0 ? -1 : 0), ...int(value)]
}

function zigzag(value: number): number[] {
  const bytes: number[] = []
  let rest = value * 2
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return [...bytes, rest]
}

/** One literal. */
function snappyOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([bytes.length, 60 << 2, bytes.length - 1]), bytes])
}

function xerialOf(block: Buffer): Buffer {
  const header = Buffer.from([0x82, ...text('SNAPPY'), 0, ...int(1), ...int(1)])
  return Buffer.concat([header, Buffer.from(int(block.length)), block])
}

/** One block that is not compressed. */
function lz4Of(bytes: Buffer): Buffer {
  const header = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0, bytes.length, 0, 0, 0x80]
  return Buffer.concat([Buffer.from(header), bytes, Buffer.alloc(4)])
}

// ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const KEEP = 1 << 20

function bodyOf({ body }: Message): Json {
  if (!(body instanceof Written)) return body ?? {}
  return JSON.parse(Buffer.from(body.bytes.subarray(body.start, body.end)).toString())
}

function read(bytes: ArrayLike<number>, ctx: Context<State>): Message {
  const found = dissector.read(new Cursor(Uint8Array.from(bytes)), ctx)
  assert.ok(found !== null && !Array.isArray(found))
  return found
}

function ask(bytes: ArrayLike<number>, state: State = { mechanism: '', tokens: false }) {
  const found = read(bytes, contextOf(state, { keep: KEEP }))
  return { message: found, request: bodyOf(found) }
}

function answer(body: readonly number[], asked: unknown, keep = KEEP) {
  const found = read(response(body), serverContext(asked, keep))
  return { message: found, body: bodyOf(found) }
}

function serverContext(asked: unknown, keep: number): Context<State> {
  const state: State = { mechanism: '', tokens: false }
  return contextOf(state, { from: 'server', keep, requestOf: key => (key === 7 ? asked : undefined) })
}

/** As the engine shows what comes in several segments; `lost` bytes of which were not captured. */
function piecewise(bytes: readonly number[], asked: unknown, keep: number, lost = 0) {
  const ctx = serverContext(asked, keep)
  const all = Uint8Array.from(bytes)
  let progress: unknown = null
  for (let start = 0; start < all.length; ) {
    const at = new Cursor(all, start, Math.min(all.length, start + 20_000))
    at.progress = progress
    const found = dissector.read(at, ctx)
    if (found !== null) {
      assert.ok(!Array.isArray(found))
      return { body: bodyOf(found), missed: found.error }
    }
    assert.ok(at.committed >= 0)
    start = at.committed
    if (lost > 0 && progress === null) {
      assert.equal(dissector.bridge!(lost, at.progress), true)
      start += lost
    }
    progress = at.progress
  }
  throw assert.fail('no message came of it')
}

function probe(bytes: ArrayLike<number>, from: Side = 'client', asked?: unknown): boolean | 'more' {
  return probed(dissector, Uint8Array.from(bytes), { ...serverContext(asked, 0), from, out: new JsonWriter(64) })
}
