/**
 * Compares items with what clients of Redis wrote down: commands with their replies as node-redis gave them, the bytes
 * that raw clients sent and received, messages of channels, and what redis-cli printed.
 */
import { createHash } from 'node:crypto'
import type { Item, JsonValue } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const told = items.filter(item => item.protocol.name === 'redis').map(readItem)
  const absence = expect === 'subset' ? 'packets missing from the capture' : undefined
  const judge = new Judge(told, result, absence)
  for (const exchange of exchanges(source)) judge.exchange(exchange)
  for (const raw of rawConnections(source)) judge.raw(raw)
  for (const [channel, message] of source.received ?? [])
    if (Array.isArray(source.received)) judge.message(channel, message)
  if (source.receivedTail !== undefined) judge.pipeline(source)
  for (const line of (source.out ?? []).flatMap(printedReplies)) judge.printed(line)
  judge.secrets(source)
  return result
}

interface Told {
  item: Item
  /** Command and arguments. */
  words: JsonValue[] | null
  used: boolean
}

interface Exchange {
  cmd: JsonValue[]
  reply?: JsonValue
  error?: string
}

interface Raw {
  sent: string[]
  received: string
  clientPort: number
}

function readItem(item: Item): Told {
  const { request } = item
  return { item, words: request === null ? null : [request.command, ...(request.args ?? [])], used: false }
}

// biome-ignore lint/suspicious/noExplicitAny: see above.
function exchanges(source: any): Exchange[] {
  const ofConnections = (source.connections ?? []).filter(Array.isArray).flat()
  return [
    ...(source.commands ?? []),
    ...(source.a ?? []),
    ...(source.b ?? []),
    ...(source.published ?? []),
    ...ofConnections,
  ]
}

// biome-ignore lint/suspicious/noExplicitAny: see above.
function rawConnections(source: any): Raw[] {
  return [source, source.monitor, ...(source.connections ?? [])].filter(
    one => Array.isArray(one?.sent) && typeof one.received === 'string',
  )
}

/** What of redis-cli's output is a reply: not what it says itself. */
function printedReplies(out: string): string[] {
  return out
    .split('\n')
    .filter(line => line !== '' && !/^(All data transferred|Last reply received|errors: )/.test(line))
}

class Judge {
  private readonly told: Told[]
  private readonly result: Comparison
  private readonly absence: string | undefined

  constructor(told: Told[], result: Comparison, absence: string | undefined) {
    this.told = told
    this.result = result
    this.absence = absence
  }

  exchange({ cmd, reply, error }: Exchange): void {
    const what = describe(cmd)
    const isReply = (item: Item) =>
      error === undefined ? isSameReply(reply, item.response!.value) : item.failed && item.response!.value === error
    this.pair(what, one => one.words !== null && isSameCommand(cmd, one.words), isReply)
  }

  raw({ sent, received, clientPort }: Raw): void {
    const own = this.told.filter(
      one => Number(one.item.src.port) === clientPort || Number(one.item.dst.port) === clientPort,
    )
    const commands = new Wire(sent.join('')).commands()
    const replies = new Wire(received).replies()
    for (const reply of replies) {
      const isEvent = reply.type === '>' || (reply.type === '+' && /^\d+\.\d{6} \[/.test(String(reply.value)))
      if (isEvent) this.event(`${clientPort}: ${describe(reply.value)}`, own, reply)
    }
    const answers = replies.filter(
      reply => reply.type !== '>' && !(reply.type === '+' && /^\d+\.\d{6} \[/.test(String(reply.value))),
    )
    for (const [i, answer] of answers.entries()) {
      const command = commands[i]
      const what = `${clientPort}: ${command === undefined ? 'what is no command' : describe(command)}`
      const concerns = (one: Told) =>
        own.includes(one) &&
        (command === undefined
          ? one.item.response !== null && (one.words === null || one.item.error?.type === 'dissection')
          : one.words !== null && isSameCommand(command, one.words))
      this.pair(what, concerns, item => isSameReply(answer.value, item.response!.value))
    }
  }

  message(channel: string, message: string): void {
    this.count(
      `message of ${channel}: ${message}`,
      this.told.find(one => !one.used && one.item.event?.key === channel && one.item.event.value === message),
    )
  }

  // biome-ignore lint/suspicious/noExplicitAny: see above.
  pipeline(source: any): void {
    const own = this.told.filter(one => Number(one.item.src.port) === source.clientPort)
    for (let i = 0; i < source.commandCount; i++)
      this.count(
        `command ${i} of ${source.commandCount} with its answer`,
        own[i]?.item.response == null ? undefined : own[i],
      )
    const size = own.reduce((sum, one) => sum + one.item.responseSize, 0)
    if (size !== source.receivedLen)
      this.result.wrong.push({ what: `${source.receivedLen} bytes received, ${size} in items` })
    const tail = source.receivedTail.slice(source.receivedTail.indexOf('\r\n') + 2)
    const replies = new Wire(tail).replies()
    for (const [i, reply] of replies.entries()) {
      const found = own.at(i - replies.length)?.item.response?.value
      if (!isSameReply(reply.value, found))
        this.result.wrong.push({
          what: `answer ${i - replies.length}: ${describe(reply.value)} expected, ${describe(found)} found`,
        })
    }
  }

  printed(line: string): void {
    const isPrinted = ({ item: { response } }: Told) =>
      response !== null && scalars(response.value).some(value => value.trim() === line.trim())
    const found = this.told.find(one => !one.used && isPrinted(one)) ?? this.told.find(isPrinted)
    if (found === undefined && Number(line) === this.scanned()) {
      this.result.expected++
      this.result.equal++
    } else this.count(`redis-cli printed ${line}`, found)
  }

  /** The shell counted what `redis-cli --scan` printed. */
  private scanned(): number {
    const scans = this.told.filter(one => one.words?.[0] === 'SCAN')
    return scans.reduce((sum, { item }) => sum + (item.response?.value[1].length ?? 0), 0)
  }

  /** Whatever was a password must be in no item. */
  secrets(source: JsonValue): void {
    if (!JSON.stringify(source).includes('made-up-pw')) return
    for (const { item } of this.told)
      if (/made-up-pw|"wrong"/.test(JSON.stringify(item))) this.result.wrong.push({ what: `a password in ${item.id}` })
  }

  private event(what: string, own: Told[], reply: Reply): void {
    const isSame = ({ item: { event } }: Told) => {
      if (event === null) return false
      if (reply.type === '>') return isSameReply(reply.value, [event.command, event.value])
      const [time, ...words] = monitorWords(String(reply.value))
      return event.time === time && isSameReply(words, [event.command, ...(event.args ?? [])])
    }
    this.count(
      what,
      own.find(one => !one.used && isSame(one)),
    )
  }

  private count(what: string, found: Told | undefined): void {
    this.result.expected++
    if (found === undefined) this.miss(what)
    else {
      found.used = true
      this.result.equal++
    }
  }

  private pair(what: string, concerns: (one: Told) => boolean, isReply: (item: Item) => boolean): void {
    this.result.expected++
    const candidates = this.told.filter(one => !one.used && concerns(one))
    const answered = candidates.filter(one => one.item.response !== null)
    const right = answered.find(one => isReply(one.item))
    if (right !== undefined) {
      right.used = true
      this.result.equal++
    } else if (answered.length === 0) this.miss(candidates.length > 0 ? `${what}: without its answer` : what)
    else if (this.absence !== undefined && answered.length < candidates.length) this.miss(what)
    else {
      answered[0]!.used = true
      this.result.wrong.push({ what: `${what}: answered with ${describe(answered[0]!.item.response!.value)}` })
    }
  }

  private miss(what: string): void {
    this.result.missing.push(this.absence === undefined ? { what } : { what, why: this.absence })
  }
}

/** The name of a command is the same in any case; passwords are not shown. */
function isSameCommand(expected: JsonValue[], found: JsonValue[]): boolean {
  if (expected.length !== found.length || String(expected[0]).toUpperCase() !== found[0]) return false
  return expected.every(
    (word, i) => i === 0 || found[i] === '[REDACTED]' || found[i] === '>[REDACTED]' || isSameReply(word, found[i]),
  )
}

/**
 * node-redis makes objects of maps and of flat arrays alike, and numbers of doubles that RESP2 sends as text; JSON has
 * no inf. Strings may be told by length and hash.
 */
function isSameReply(expected: JsonValue, found: JsonValue): boolean {
  const bytes = bytesOf(found)
  if (expected === null) return found === null || found === 'inf' || found === '-inf' || found === 'nan'
  if (typeof expected === 'string' || typeof expected === 'number') {
    if (typeof found === 'number') return Number(expected) === found
    if (bytes === null) return false
    return typeof expected === 'number' ? Number(bytes) === expected : bytes.equals(Buffer.from(expected))
  }
  if (typeof expected === 'boolean') return expected === found
  if (Array.isArray(expected)) {
    if (!Array.isArray(found))
      return (
        found !== null &&
        typeof found === 'object' &&
        bytes === null &&
        isSameReply(expected, Object.entries(found).flat())
      )
    if (expected.length === found.length) return expected.every((value, i) => isSameReply(value, found[i]))
    return found.every(Array.isArray) && found.flat().length === expected.length && isSameReply(expected, found.flat())
  }
  if (typeof expected.sha256 === 'string')
    return bytes !== null && createHash('sha256').update(bytes).digest('hex') === expected.sha256
  if (typeof expected.error === 'string') return found?.error === expected.error
  return isSameReply(Object.entries(expected).flat(), Array.isArray(found) ? found : Object.entries(found ?? {}).flat())
}

/** Of a string in an item; null for what is none. */
function bytesOf(value: JsonValue): Buffer | null {
  if (typeof value === 'string') return Buffer.from(value)
  return typeof value?.base64 === 'string' ? Buffer.from(value.base64, 'base64') : null
}

function scalars(value: JsonValue): string[] {
  if (value === null) return []
  if (typeof value !== 'object') return [String(value)]
  return Object.values(value).flatMap(scalars)
}

function describe(value: JsonValue): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 160)
}

/** `time [db client] "word" ...`: the words of these captures have no escapes. */
function monitorWords(line: string): string[] {
  return [line.slice(0, line.indexOf(' ')), ...[...line.matchAll(/"([^"]*)"/g)].map(match => match[1]!)]
}

interface Reply {
  type: string
  value: JsonValue
}

/** RESP read in the plainest way, from text that is all there. */
class Wire {
  private readonly text: Buffer
  private at = 0

  constructor(text: string) {
    this.text = Buffer.from(text)
  }

  /** undefined: what Redis refuses to read. */
  commands(): (string[] | undefined)[] {
    const found: (string[] | undefined)[] = []
    while (this.at < this.text.length) {
      const isTyped = this.text[this.at] !== 42
      const words = isTyped ? typedWords(this.line()) : this.words()
      if (words === undefined) return [...found, undefined]
      if (words.length > 0) found.push(words)
    }
    return found
  }

  replies(): Reply[] {
    const found: Reply[] = []
    while (this.at < this.text.length) {
      const reply = this.reply()
      // Attributes are no reply.
      if (reply.type !== '|') found.push(reply)
    }
    return found
  }

  private words(): string[] | undefined {
    const count = Number(this.line().slice(1))
    const words: string[] = []
    for (let i = 0; i < count; i++) {
      const header = this.line()
      if (!header.startsWith('$') || Number(header.slice(1)) > 512 << 20) return undefined
      words.push(this.string(Number(header.slice(1))))
    }
    return words
  }

  private reply(): Reply {
    const line = this.line()
    const type = line.charAt(0)
    const rest = line.slice(1)
    return { type, value: this.value(type, rest) }
  }

  private value(type: string, rest: string): JsonValue {
    if ('+-(,'.includes(type)) return rest
    if (type === ':') return Number(rest)
    if (type === '#') return rest === 't'
    if (type === '_' || rest === '-1') return null
    if ('$!='.includes(type)) {
      const text = this.string(Number(rest))
      return type === '=' ? text.slice(4) : text
    }
    const values = Array.from({ length: Number(rest) * (type === '%' || type === '|' ? 2 : 1) }, () => {
      const { type, value } = this.reply()
      return type === '-' ? { error: value } : value
    })
    return values
  }

  private string(size: number): string {
    const text = this.text.toString('utf8', this.at, this.at + size)
    this.at += size + 2
    return text
  }

  private line(): string {
    const end = this.text.indexOf(10, this.at)
    const line = this.text.toString('utf8', this.at, end < 0 ? this.text.length : end)
    this.at = end < 0 ? this.text.length : end + 1
    return line.endsWith('\r') ? line.slice(0, -1) : line
  }
}

function typedWords(line: string): string[] | undefined {
  if (line.split('"').length % 2 === 0) return undefined
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(match => match[1] ?? match[2]!)
}
