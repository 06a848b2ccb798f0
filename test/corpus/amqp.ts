/**
 * Compares items with what clients of RabbitMQ wrote down: what they published, got and were delivered (amqplib, py-amqp),
 * which confirms and errors they saw, and what the tools of librabbitmq printed.
 */
import { createHash } from 'node:crypto'
import type { Item, JsonValue } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const told = items.filter(item => item.protocol.name === 'amqp')
  const judge = new Judge(told, result, expect === 'subset' ? 'packets missing from the capture' : undefined)
  judge.messages('basic publish', source.published, source.confirms)
  judge.messages('basic deliver', source.delivered)
  judge.messages('basic return', source.returned)
  for (const one of source.got ?? []) judge.got(one)
  for (const step of source.steps ?? []) if (step !== 'publish') judge.answered(step.replace('.', ' '), `${step}-ok`)
  for (const event of source.events ?? []) if (event === 'consumer cancelled') judge.event('basic cancel')
  for (const error of source.errors ?? []) judge.error(error)
  if (source.badHeaderAnswerHex !== undefined) judge.answered('protocol header', 'connection.start')
  if (source.out !== undefined) judge.printed(source.out)
  judge.secrets()
  return result
}

/** Every method by its name, whatever side of an item it is on. What answers a protocol header is counted by itself. */
export const counters: Counters = {
  'amqp.methods': ({ protocol, request, response, event }) =>
    protocol.name !== 'amqp' || request?.method === 'protocol header'
      ? null
      : [request, response, event]
          .filter(one => one !== null && one.method !== 'heartbeat' && one.method !== 'protocol header')
          .map(one => one!.method.replace(' ', '.')),
}

export const explanations: readonly Explanation[] = [
  {
    path: 'amqp/own__confirms_returns',
    count: 'amqp.methods basic.ack',
    why: 'three of the four confirm several messages at once: each message has its answer',
  },
  {
    path: 'amqp/own__derived_publish_consume__reordered',
    count: 'amqp.',
    why: 'segments out of order: tshark calls the version unknown and reads no method',
  },
  {
    path: 'amqp/own__derived_publish_consume__resegmented',
    count: 'amqp.',
    why: 'segments of a few bytes: tshark does not recognise the connection',
  },
  {
    path: 'amqp/own__derived_publish_consume__fuzzed',
    count: 'amqp.',
    why: 'the protocol header is damaged: tshark takes it for the beginning of a frame that never ends',
  },
  {
    path: 'broken/own__snap_96',
    count: 'amqp.',
    why: 'every packet is cut: frames that are whole are found behind the holes, cut ones are not shown',
  },
]

/** What a client says of a message; which of it, depends on the client. */
interface Told {
  exchange?: string
  routingKey?: string
  deliveryTag?: number
  redelivered?: boolean
  replyCode?: number
  replyText?: string
  len?: number
  sha256?: string
  contentType?: string
  headers?: JsonValue
  properties?: Record<string, JsonValue>
}

class Judge {
  private readonly items: readonly Item[]
  private readonly result: Comparison
  private readonly absence: string | undefined
  private readonly used = new Set<Item>()

  constructor(items: readonly Item[], result: Comparison, absence: string | undefined) {
    this.items = items
    this.result = result
    this.absence = absence
  }

  /** A number where the program only counted. */
  messages(method: string, truth: Told[] | number | undefined, confirms: string[] = []): void {
    if (truth === undefined) return
    const own = this.items.filter(({ request, event }) => (request ?? event)?.method === method)
    if (typeof truth === 'number') {
      for (let i = 0; i < truth; i++) this.settle(`${method} ${i} of ${truth}`, own[i], null)
      if (own.length > truth)
        this.result.wrong.push({ what: `${own.length} of ${method}, ${truth} sent`, unexpected: true })
      return
    }
    for (const [i, one] of truth.entries()) {
      const what = `${method} ${one.exchange ?? ''} ${one.routingKey ?? ''} ${one.len ?? ''}`
      const free = own.filter(item => !this.used.has(item))
      const isSame = (item: Item) => difference(one, (item.request ?? item.event)!) === null
      const found = free.find(isSame) ?? (this.absence === undefined ? free[0] : undefined)
      const wrong = found === undefined ? null : difference(one, (found.request ?? found.event)!)
      const confirm = confirms[i]
      const answer = found?.response?.method
      this.settle(
        what,
        found,
        wrong ??
          (confirm !== undefined && answer !== `basic ${confirm}` ? `confirmed by ${answer}, not ${confirm}` : null),
      )
    }
    // Programs do not list all that they send, but nothing that they list was sent more often.
    for (const item of own) {
      const said = (item.request ?? item.event)!
      if (!this.used.has(item) && truth.some(one => difference(one, said) === null))
        this.result.wrong.push({ what: `${method} that nobody sent again: ${describe(said)}`, unexpected: true })
    }
  }

  /** null: the queue was empty. */
  got(truth: Told | null): void {
    const isSame = ({ request, response }: Item) =>
      request?.method === 'basic get' &&
      (truth === null
        ? response?.method === 'basic get-empty'
        : response !== null && difference(truth, response) === null)
    this.find(`basic get ${truth?.len ?? 'of nothing'}`, isSame)
  }

  answered(method: string, answer: string): void {
    const isSame = ({ request, response }: Item) =>
      request?.method === method && response?.method === answer.replace('.', ' ')
    this.find(`${method} with its answer`, isSame)
  }

  event(method: string): void {
    this.find(method, ({ event }) => event?.method === method)
  }

  /** As amqplib words them. */
  error(text: string): void {
    const code = Number(/(\d{3}) \(/.exec(text)?.[1])
    const refused = /Operation failed: (\w+)/.exec(text)?.[1] ?? /Expected (\w+)Ok;/.exec(text)?.[1]
    const reason = /with message "(.*)"/.exec(text)?.[1]
    const isSame = ({ request, response, event, failed }: Item) => {
      const close = event ?? response
      if (!failed || !String(close?.method).endsWith(' close')) return false
      if (refused !== undefined && request?.method !== wordsOf(refused)) return false
      return reason === undefined || (close?.replyCode === code && close.replyText === reason)
    }
    // The client tells of one close twice: once for the channel, once for the operation.
    this.settle(text, this.items.find(isSame), null)
  }

  /** declare prints the queue, get a body; consume hands bodies to a program, whose output is told by its length. */
  printed(out: (string | number)[]): void {
    const bodies = this.items.filter(({ event }) => event?.method === 'basic deliver').map(({ event }) => event!)
    for (const line of out) {
      if (line === '') continue
      this.settle(
        `printed ${line}`,
        this.items.find(({ response }) => {
          if (response === null) return false
          if (typeof line === 'number') return bodies.length > 0
          const word = line.trim()
          return response.queue === word || response.body === word || response.messageCount === Number(word)
        }),
        null,
      )
    }
  }

  /** Nobody's password is shown. */
  secrets(): void {
    for (const { request, response, id } of this.items)
      for (const one of [request, response])
        if (one?.method === 'connection start-ok' && one.response !== '[REDACTED]')
          this.result.wrong.push({ what: `a password in ${id}`, unexpected: true })
  }

  private find(what: string, isSame: (item: Item) => boolean): void {
    this.settle(
      what,
      this.items.find(item => !this.used.has(item) && isSame(item)),
      null,
    )
  }

  private settle(what: string, found: Item | undefined, wrong: string | null): void {
    this.result.expected++
    if (found === undefined)
      this.result.missing.push(this.absence === undefined ? { what } : { what, why: this.absence })
    else if (wrong !== null) this.result.wrong.push({ what: `${what}: ${wrong}` })
    else this.result.equal++
    if (found !== undefined) this.used.add(found)
  }
}

/** `QueueDeclare` as `queue declare`. */
function wordsOf(name: string): string {
  return name.replace(/(?!^)([A-Z])/, ' $1').toLowerCase()
}

function difference(truth: Told, found: JsonValue): string | null {
  for (const name of ['exchange', 'routingKey', 'deliveryTag', 'redelivered', 'replyCode', 'replyText'] as const)
    if (truth[name] !== undefined && truth[name] !== found[name])
      return `${name} ${truth[name]} expected, ${describe(found[name])} found`
  const properties = { ...truth.properties }
  if (truth.contentType !== undefined) properties.contentType = truth.contentType
  if (truth.headers !== undefined && Object.keys(truth.headers).length > 0) properties.headers = truth.headers
  for (const [name, value] of Object.entries(properties))
    if (!isSame(value, found.properties?.[name]))
      return `${name} ${describe(value)} expected, ${describe(found.properties?.[name])} found`
  if (truth.len === undefined) return null
  const body = Buffer.from(found.body ?? '', found.encoding === 'base64' ? 'base64' : 'utf8')
  if (found.bodySize !== truth.len || body.length !== truth.len)
    return `${truth.len} bytes expected, ${body.length} found`
  const hash = createHash('sha256').update(body).digest('hex')
  return hash === truth.sha256 ? null : 'another body'
}

/** amqplib tells of bytes as a Buffer in JSON, and of timestamps as an object with a mark. */
function isSame(expected: JsonValue, found: JsonValue): boolean {
  if (expected === null || typeof expected !== 'object') return expected === found
  if (expected['!'] === 'timestamp') return expected.value === found
  if (expected.type === 'Buffer') return Buffer.from(expected.data).toString('base64') === found?.base64
  if (found === null || typeof found !== 'object') return false
  const keys = Object.keys(expected)
  return keys.length === Object.keys(found).length && keys.every(key => isSame(expected[key], found[key]))
}

function describe(value: JsonValue): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 160)
}
