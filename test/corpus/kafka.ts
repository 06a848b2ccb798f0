/**
 * Compares items with what clients and brokers of Kafka wrote down: the exchanges that librdkafka logged, those that a
 * small broker logged, and the records that were delivered and consumed, by offset, length and hash.
 */
import type { Item, Json, JsonValue } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

export const counters: Counters = {
  'kafka.requests': item => isKafka(item) && item.request !== null,
  'kafka.responses': item => isKafka(item) && item.response !== null,
  'kafka.apis': item => {
    if (!isKafka(item) || item.request === null) return null
    const { apiKey, apiVersion } = item.request
    const words = [`request key ${apiKey} v${apiVersion}`]
    if (item.response !== null) words.push(`response key ${apiKey}`)
    return words
  },
}

const TAKEN_FOR_BROKER =
  "the port that tshark was told is the client's: it takes the answer, of correlation id 120, for a request of version 120"
const NOT_READ = 'tshark 4.0 calls the request malformed, and then takes no answer for its own'

export const explanations: readonly Explanation[] = [
  { path: 'kafka/deepflow__kafka_00-produce-v9', count: 'kafka.', why: NOT_READ },
  { path: 'kafka/deepflow__kafka_01-fetch-v12', count: 'kafka.', why: NOT_READ },
  { path: 'kafka/deepflow__kafka_11-join-group-v7', count: 'kafka.', why: TAKEN_FOR_BROKER },
  { path: 'kafka/deepflow__kafka_14-sync-group-v5', count: 'kafka.', why: TAKEN_FOR_BROKER },
  {
    path: 'kafka/ndpi__kafka',
    count: 'kafka.',
    why: 'tshark counts neither the answer to Produce 9, which it cannot read, nor the one whose request is missing (131)',
  },
  {
    path: 'kafka/own__derived_',
    count: 'kafka.',
    why: 'tshark 4.0 takes no answer for its own where it calls the request malformed, and finds few messages behind a gap',
  },
]

function isKafka(item: Item): boolean {
  return item.protocol.name === 'kafka'
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const told = items.filter(isKafka).map(item => ({ item, used: false }))
  const judge = new Judge(told, result, expect === 'subset' ? 'packets missing from the capture' : undefined)
  const logs = Object.values(source).filter(Array.isArray) as JsonValue[][]
  for (const log of logs) {
    for (const { wire } of log.filter(({ ev }) => ev === 'wire_log')) judge.exchanges(exchangesOf(wire))
    judge.records('produced', producedRecords(items), log.filter(isDelivered))
    judge.records(
      'fetched',
      fetchedRecords(items),
      log.filter(({ ev }) => ev === 'consumed'),
    )
  }
  judge.exchanges((source.brokerLog ?? []).map(brokerExchange))
  for (const line of (source.out ?? []).flatMap(consumedLines)) judge.records('fetched', fetchedRecords(items), [line])
  judge.unexpected()
  judge.secrets(source.brokerLog ?? [])
  return result
}

/** One request and, if there was one, its answer; sizes as in items. */
interface Exchange {
  api: string
  version: number
  correlationId: number
  brokerPort?: string | undefined
  clientPort?: string
  clientId?: string
  requestSize: number
  /** null: not answered; undefined: the client did not log one, for it may have been closing. */
  responseSize: number | null | undefined
  /** What the broker understood. */
  request?: Json
}

interface Told {
  item: Item
  used: boolean
}

// ── what the programs wrote down ──────────────────────────────────────────────────────────────────────────────────────

/**
 * librdkafka counts a request with its size field, a response without its correlation id. Of some connections it says
 * what they are for (`GroupCoordinator`) instead of the address.
 */
function exchangesOf(wire: readonly Json[]): Exchange[] {
  const open = new Map<string, Exchange>()
  const exchanges: Exchange[] = []
  for (const { dir, broker, api, version, bytes, corrId } of wire) {
    const brokerPort = /:(\d+)/.exec(broker)?.[1]
    const key = `${brokerPort ?? broker} ${api} ${version} ${corrId}`
    if (dir === 'response') {
      const asked = open.get(key)
      if (asked !== undefined) asked.responseSize = bytes + 4
      continue
    }
    const exchange: Exchange = {
      api: api === 'ApiVersion' ? 'ApiVersions' : api,
      version,
      correlationId: corrId,
      brokerPort,
      requestSize: bytes - 4,
      responseSize: undefined,
    }
    open.set(key, exchange)
    exchanges.push(exchange)
  }
  return exchanges
}

function brokerExchange(log: Json): Exchange {
  return {
    api: log.api,
    version: log.version,
    correlationId: log.correlationId,
    clientPort: String(log.clientPort),
    clientId: log.clientId,
    requestSize: log.requestBytes,
    responseSize: log.responseBytes ?? null,
    request: log.request,
  }
}

function isDelivered({ ev, err }: Json): boolean {
  return ev === 'delivered' && err === 'NO_ERROR'
}

/** `partition offset key value`, as kcat printed it. */
function consumedLines(out: string): Json[] {
  return [...out.matchAll(/^(\d+) (\d+) (\S+) (.+)$/gm)].map(([, partition, offset, key, value]) => ({
    partition: Number(partition),
    offset: Number(offset),
    keyLen: key!.length,
    key: key!,
    valueLen: value!.length,
    valueFnv1a: fnv1a(Buffer.from(value!)),
  }))
}

// ── what items say ────────────────────────────────────────────────────────────────────────────────────────────────────

interface Found {
  topic: string | undefined
  partition: number
  offset: number
  key: string | null
  keyLen: number
  valueLen: number
  valueFnv1a: number
}

/** The offsets of what was produced are in the answer. */
function producedRecords(items: readonly Item[]): Found[] {
  return items.filter(isKafka).flatMap(({ request, response }) => {
    if (request?.apiKeyName !== 'Produce' || response === null) return []
    const answers = response.payload.responses.flatMap((one: Json) =>
      one.partitionResponses.map((answer: Json) => ({ ...answer, topic: one.name })),
    )
    return request.payload.topicData.flatMap(({ topic, partitions }: Json) =>
      partitions.flatMap(({ index, records }: Json) => {
        const answer = answers.find((one: Json) => one.index === index && one.topic === topic)
        return recordsOf(records, topic, index).map((record, i) => ({ ...record, offset: answer.baseOffset + i }))
      }),
    )
  })
}

function fetchedRecords(items: readonly Item[]): Found[] {
  return items.filter(isKafka).flatMap(({ request, response }) => {
    if (request?.apiKeyName !== 'Fetch' || response === null || !Array.isArray(response.payload.responses)) return []
    return response.payload.responses.flatMap(({ topic, partitions }: Json) =>
      partitions.flatMap(({ partitionIndex, records }: Json) => recordsOf(records, topic, partitionIndex)),
    )
  })
}

function recordsOf(records: Json | null, topic: string | undefined, partition: number): Found[] {
  return (records?.recordBatches ?? []).flatMap((batch: Json) => {
    const parts = batch.magic === 2 ? batch.record : (batch.messages ?? [batch])
    return parts.map((record: Json) => ({
      topic,
      partition,
      offset: batch.magic === 2 ? batch.baseOffset + record.offsetDelta : record.offset,
      key: record.key,
      keyLen: record.keyLength,
      valueLen: record.valueLen,
      valueFnv1a: fnv1a(bytesOf(record)),
    }))
  })
}

function bytesOf({ value, valueEncoding }: Json): Buffer {
  return Buffer.from(value ?? '', valueEncoding ?? 'utf8')
}

function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

// ── one beside the other ──────────────────────────────────────────────────────────────────────────────────────────────

class Judge {
  private readonly told: Told[]
  private readonly result: Comparison
  private readonly absence: string | undefined

  constructor(told: Told[], result: Comparison, absence: string | undefined) {
    this.told = told
    this.result = result
    this.absence = absence
  }

  exchanges(exchanges: readonly Exchange[]): void {
    for (const exchange of exchanges) this.exchange(exchange)
  }

  private exchange(exchange: Exchange): void {
    const { api, version, correlationId, responseSize } = exchange
    const what = `${api} ${version} #${correlationId}`
    this.result.expected++
    const candidates = this.told.filter(one => !one.used && isRequest(exchange, one.item))
    const right =
      candidates.find(({ item }) => (item.response?.size ?? null) === (responseSize ?? null)) ??
      (responseSize === undefined ? candidates[0] : undefined)
    const found = right ?? candidates[0]
    if (found === undefined) {
      this.miss(what)
      return
    }
    found.used = true
    const { request, response } = found.item
    const problem =
      right === undefined && response !== null
        ? `an answer of ${responseSize} bytes expected, ${response.size} found`
        : differenceOf(exchange, request!)
    if (problem !== null) this.result.wrong.push({ what: `${what}: ${problem}` })
    else if (right === undefined) this.miss(`${what}: its answer`)
    else this.result.equal++
  }

  records(how: string, found: readonly Found[], expected: readonly Json[]): void {
    for (const record of expected) {
      const what = `${how} ${record.topic ?? ''}/${record.partition} at ${record.offset}`
      const same = found.find(
        one =>
          one.partition === record.partition &&
          one.offset === record.offset &&
          (one.topic === undefined || record.topic === undefined || one.topic === record.topic),
      )
      this.result.expected++
      if (same === undefined) this.miss(what)
      else if (!isSameRecord(record, same)) this.result.wrong.push({ what: `${what}: ${JSON.stringify(same)}` })
      else this.result.equal++
    }
  }

  /** Every pair was told of, where exchanges were. */
  unexpected(): void {
    if (!this.told.some(one => one.used)) return
    for (const { item, used } of this.told)
      if (!used && item.request !== null && item.response !== null)
        this.result.wrong.push({ what: `unexpected: ${JSON.stringify(item.request).slice(0, 160)}`, unexpected: true })
  }

  /** Whoever proved himself had his password on the wire, and has it nowhere else. */
  secrets(log: readonly Json[]): void {
    if (!log.some(({ api }) => api === 'SaslAuthenticate')) return
    for (const { item } of this.told)
      if (/made-up-pw|wrong/.test(JSON.stringify(item)))
        this.result.wrong.push({ what: 'a password is in an item', unexpected: true })
  }

  private miss(what: string): void {
    this.result.missing.push(this.absence === undefined ? { what } : { what, why: this.absence })
  }
}

function isRequest(exchange: Exchange, { request, src, dst }: Item): boolean {
  return (
    request !== null &&
    request.apiKeyName === exchange.api &&
    request.apiVersion === exchange.version &&
    request.correlationID === exchange.correlationId &&
    request.size === exchange.requestSize &&
    (exchange.brokerPort === undefined || exchange.brokerPort === dst.port) &&
    (exchange.clientPort === undefined || exchange.clientPort === src.port)
  )
}

function differenceOf({ clientId, request: expected }: Exchange, { clientID, payload }: Json): string | null {
  if (clientId !== undefined && clientId !== clientID) return `client ${clientId} expected, ${clientID} found`
  if (expected?.acks !== undefined && expected.acks !== payload.requiredAcks)
    return `acks ${expected.acks} expected, ${payload.requiredAcks} found`
  if (expected?.software !== undefined && expected.software !== payload.clientSoftwareName)
    return `${expected.software} expected, ${payload.clientSoftwareName} found`
  const names = (expected?.topics ?? []).map((one: JsonValue) => one.name ?? one)
  const topics = payload.topicData ?? payload.topics ?? payload.topicNames ?? []
  const found = topics.map((one: JsonValue) => one.topic ?? one.name ?? one)
  if (expected?.topics != null && names.join() !== found.join()) return `topics ${names} expected, ${found} found`
  for (const [i, topic] of (payload.topicData ?? []).entries())
    for (const [k, { records, index }] of topic.partitions.entries()) {
      const same = expected?.topics?.[i]?.partitions?.[k]
      if (same === undefined) continue
      const count = recordsOf(records, topic.topic, index).length
      if (same.index !== index || same.recordSetBytes !== records.size || same.records !== count)
        return `${JSON.stringify(same)} expected, ${count} records of ${records.size} bytes in ${index} found`
    }
  return null
}

function isSameRecord(expected: Json, found: Found): boolean {
  if (expected.key !== undefined && expected.keyLen >= 0 && expected.key !== found.key) return false
  if (expected.keyLen !== undefined && expected.keyLen !== found.keyLen) return false
  return expected.valueLen === found.valueLen && expected.valueFnv1a === found.valueFnv1a
}
