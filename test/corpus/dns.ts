/**
 * Compares items with what dig, nsupdate and a client of raw datagrams wrote down: the parts of every answer as text,
 * the records of zone transfers, what was sent and received byte by byte.
 */
import type { DnsQuestion, DnsRecord, DnsRequest, DnsResponse } from '../../core/dissectors/dns.ts'
import type { Item, ItemError } from '../../core/item.ts'
import type { Circumstances, Comparison, Finding } from './comparison.ts'
import type { Counters } from './oracle.ts'

export const counters: Counters = {
  'dns.queries': item => item.protocol.name === 'dns' && item.request !== null,
  // An announcement on multicast DNS answers nobody: an event here, a response to tshark.
  'dns.responses': item => item.protocol.name === 'dns' && (item.response !== null || item.event !== null),
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const exchanges = items.filter(item => item.protocol.name === 'dns').map(readExchange)
  const checks: Check[] = [
    ...digs(source).flatMap(digChecks),
    ...(source.transfers ?? []).map(transferCheck),
    ...(source.out ?? []).flatMap(updateChecks),
    ...(source.sentHex ?? []).map(sentCheck),
    ...(source.receivedHex ?? []).map(receivedCheck),
  ]
  const incomplete = expect === 'subset'
  for (const check of checks) judge(check, exchanges, incomplete, result)
  result.wrong.push(...wrongPairs(exchanges))
  return result
}

/** An item, and which of its halves have been found in the truth. */
interface Exchange {
  request: DnsRequest | null
  response: DnsResponse | null
  transport: string
  stream: string
  error: ItemError | null
  told: Set<Half>
}

type Half = 'request' | 'response'

interface Check {
  what: string
  half: Half
  concerns: (exchange: Exchange) => boolean
  /** What differs, null when nothing does. One item, unless the check is about all that it concerns. */
  difference: (found: readonly Exchange[]) => string | null
  all?: true
  /** An answer that nobody asked for. */
  unasked?: true
  /** Why nothing can be there. */
  absence?: string
}

function judge(check: Check, exchanges: readonly Exchange[], incomplete: boolean, result: Comparison): void {
  const { what, half } = check
  const found = exchanges.filter(
    exchange => exchange[half] !== null && !exchange.told.has(half) && check.concerns(exchange),
  )
  if (check.absence !== undefined) {
    if (found.length > 0) result.wrong.push({ what: `${what}: an item, though ${check.absence}` })
    return
  }
  result.expected++
  if (found.length === 0) {
    result.missing.push(incomplete ? { what, why: 'packets missing from the capture' } : { what })
    return
  }
  // Of several with the same id the one that is right, if any.
  const chosen = check.all ? found : [found.find(exchange => check.difference([exchange]) === null) ?? found[0]!]
  for (const exchange of chosen) exchange.told.add(half)
  const difference = check.difference(chosen)
  // Whoever has an answer asked: only packets that were lost excuse two halves.
  const halves = half === 'response' && !check.unasked && !incomplete && chosen.some(({ request }) => request === null)
  if (difference !== null) result.wrong.push({ what: `${what}: ${difference}` })
  else if (halves) result.missing.push({ what: `${what}: the answer is there, not paired with its request` })
  else result.equal++
}

/** Whoever answers repeats the id, and the question if he could read it. */
function wrongPairs(exchanges: readonly Exchange[]): Finding[] {
  const wrong: Finding[] = []
  for (const { request, response } of exchanges) {
    if (request === null || response === null) continue
    const [asked, repeated] = [request.questions.map(questionText), response.questions.map(questionText)]
    const same = repeated.length === 0 || repeated.join().toLowerCase() === asked.join().toLowerCase()
    if (request.id !== response.id || !same)
      wrong.push({ what: `${request.id} ${asked} is paired with ${response.id} ${repeated}` })
  }
  return wrong
}

// ── dig +yaml ───────────────────────────────────────────────────────────────────────────────────────────────────────

interface Dig {
  args: string
  messages: DigMessage[]
}

interface DigMessage {
  half: Half
  transport: string
  /** As dig names its parts. */
  // biome-ignore lint/suspicious/noExplicitAny: YAML of another program.
  data: any
}

// biome-ignore lint/suspicious/noExplicitAny: see `compare`.
function digs(truth: any): Dig[] {
  return [...(truth.digs ?? []), ...(truth.after === undefined ? [] : [truth.after])].map(({ args, result }) => ({
    args,
    // dig shows a message that it sent when it is asked to (+qr), else answers only.
    // biome-ignore lint/suspicious/noExplicitAny: see `compare`.
    messages: result.flat(2).map(({ message }: any) => ({
      half: message.response_message_data === undefined ? 'request' : 'response',
      transport: message.socket_protocol.toLowerCase(),
      data: message.response_message_data ?? message.query_message_data,
    })),
  }))
}

function digChecks({ args, messages }: Dig): Check[] {
  return messages.map(({ half, transport, data }) => ({
    what: `dig ${args}: ${half}`,
    half,
    // A question over UDP and its repetition over TCP may share their id.
    concerns: exchange => exchange[half]!.id === data.id && exchange.transport === transport,
    difference: ([exchange]) => unreadable(exchange!) ?? messageDifference(exchange![half]!, data),
  }))
}

function unreadable({ error }: Exchange): string | null {
  return error?.type === 'dissection' ? error.msg : null
}

// biome-ignore lint/suspicious/noExplicitAny: YAML of another program.
function messageDifference(message: DnsRequest | DnsResponse, data: any): string | null {
  const isResponse = 'code' in message
  const edns = data.OPT_PSEUDOSECTION?.EDNS
  return (
    differs('opcode', message.opCode.toUpperCase(), data.opcode) ??
    differs('status', isResponse ? message.code : 'NOERROR', data.status) ??
    differs('flags', flagsText(message, isResponse), data.flags) ??
    differs('QUESTION', sectionTexts(message.questions, questionText), normalised(data.QUESTION_SECTION)) ??
    differs('ANSWER', sectionTexts(message.answers, recordText), normalised(data.ANSWER_SECTION)) ??
    differs('AUTHORITY', sectionTexts(message.authorities, recordText), normalised(data.AUTHORITY_SECTION)) ??
    differs('ADDITIONAL', sectionTexts(message.additionals, recordText), normalised(data.ADDITIONAL_SECTION)) ??
    differs('counts', counts(message), [data.QUESTION, data.ANSWER, data.AUTHORITY, data.ADDITIONAL]) ??
    differs('EDNS', ednsTexts(message), edns === undefined ? null : digEdns(edns))
  )
}

function counts(message: DnsRequest): number[] {
  const additionals = message.additionals.length + (message.edns === null ? 0 : 1)
  return [message.questions.length, message.answers.length, message.authorities.length, additionals]
}

function ednsTexts({ edns }: DnsRequest): object | null {
  if (edns === null) return null
  const options: { [name: string]: string } = {}
  for (const { name, data } of edns.options) options[name] = data
  return { version: edns.version, flags: edns.do ? 'do' : null, udp: edns.udpSize, ...options }
}

/** dig adds to a cookie what it thinks of it. */
// biome-ignore lint/suspicious/noExplicitAny: YAML of another program.
function digEdns({ version, flags, udp, ...options }: any): object {
  for (const name of Object.keys(options)) options[name] = String(options[name]).replace(/ \((good|bad)\)$/, '')
  return { version, flags, udp, ...options }
}

// ── zone transfers ──────────────────────────────────────────────────────────────────────────────────────────────────

/** dig counts the records of a transfer and shows the last ones. */
function transferCheck({ args, records, tail }: { args: string; records: number; tail: string }): Check {
  const [zone, kind] = args.split(' ') as [string, string]
  const type = kind.split('=')[0]!
  const last = tail.split('\n').filter(line => /^[^;\s]/.test(line))
  const asks = ({ questions: [question] }: DnsRequest) => question?.name === zone && question.type === type
  return {
    what: `dig ${args}`,
    half: 'response',
    all: true,
    concerns: ({ request }) => request !== null && asks(request),
    difference: found => {
      const answers = found.flatMap(({ response }) => response?.answers ?? [])
      const refused = found.find(({ response }) => response === null || response.rcode !== 0)
      return (
        differs('streams', new Set(found.map(({ stream }) => stream)).size, 1) ??
        differs('refused', refused !== undefined, records === 0) ??
        differs('records', answers.length, records) ??
        differs('last records', answers.slice(-last.length || answers.length).map(recordText), last.map(normalise))
      )
    },
  }
}

// ── nsupdate ────────────────────────────────────────────────────────────────────────────────────────────────────────

const NSUPDATE_SECTIONS: { readonly [heading: string]: 'questions' | 'answers' | 'authorities' | 'additionals' } = {
  ZONE: 'questions',
  PREREQUISITE: 'answers',
  UPDATE: 'authorities',
  'TSIG PSEUDOSECTION': 'additionals',
}

/** One text holds what was sent and what came back, each as dig would print it. */
function updateChecks(text: string): Check[] {
  const parts = text.split(/^(?=;; ->>HEADER<<-)/m).slice(1)
  return parts.map((part, i) => {
    const half = i === 0 ? 'request' : 'response'
    const [, opcode, status, id] = /opcode: (\w+), status: (\w+), id: +(\d+)/.exec(part)!
    const expected = nsupdateSections(part)
    return {
      what: `nsupdate ${id}: ${half}`,
      half,
      concerns: exchange => exchange[half]!.id === Number(id) && exchange[half]!.opCode === 'Update',
      difference: ([exchange]) => {
        const message = exchange![half]!
        return (
          unreadable(exchange!) ??
          differs('opcode', message.opCode.toUpperCase(), opcode) ??
          differs('status', 'code' in message ? message.code : 'NOERROR', status) ??
          differs('zone', message.questions.map(questionText), expected.questions) ??
          differs('prerequisites', message.answers.map(recordText), expected.answers) ??
          differs('updates', message.authorities.map(recordText), expected.authorities) ??
          differs('additionals', message.additionals.map(recordText), expected.additionals)
        )
      },
    }
  })
}

type Section = 'questions' | 'answers' | 'authorities' | 'additionals'

function nsupdateSections(part: string): { [section in Section]: string[] } {
  const sections: { [section in Section]: string[] } = { questions: [], answers: [], authorities: [], additionals: [] }
  for (const [, heading, lines] of part.matchAll(/^;; ([A-Z ]+?)(?: SECTION)?:\n((?:[^\n]+\n)*)/gm)) {
    const section = NSUPDATE_SECTIONS[heading!]
    if (section !== undefined)
      sections[section] = lines!
        .trim()
        .split('\n')
        .map(line => normalise(line.replace(/^;/, '')))
  }
  return sections
}

// ── datagrams ───────────────────────────────────────────────────────────────────────────────────────────────────────

const HEADER_DIGITS = 24

/** What a client of its own sent, byte by byte: answers among it are nobody's. */
function sentCheck(hex: string): Check {
  return { ...receivedCheck(hex), unasked: true }
}

/** The header tells how a datagram must come out. */
function receivedCheck(hex: string): Check {
  const id = Number.parseInt(hex.slice(0, 4), 16)
  const bits = Number.parseInt(hex.slice(4, 8), 16)
  const check: Check = {
    what: `datagram ${hex}`,
    half: bits & 0x8000 ? 'response' : 'request',
    concerns: exchange => exchange[check.half]!.id === id,
    difference: ([exchange]) => {
      const message = exchange![check.half]!
      return (
        differs('rd', message.flags.rd, (bits & 0x100) !== 0) ??
        ('code' in message ? differs('rcode', message.rcode, bits & 15) : null)
      )
    },
  }
  if (hex.length < HEADER_DIGITS) check.absence = 'it is shorter than a header'
  return check
}

// ── texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function readExchange(item: Item): Exchange {
  const request = item.request as unknown as DnsRequest | null
  return {
    request,
    response: item.response as unknown as DnsResponse | null,
    transport: item.protocol.layer4,
    stream: item.stream,
    error: item.error,
    told: new Set(),
  }
}

function questionText(question: DnsQuestion): string {
  return `${absolute(question.name)} ${question.class} ${question.type}`
}

function recordText(record: DnsRecord): string {
  return normalise(`${absolute(record.name)} ${record.ttl} ${record.class} ${record.type} ${record.data}`)
}

function absolute(name: string): string {
  return name === '.' ? name : `${name}.`
}

function flagsText(message: DnsRequest, isResponse: boolean): string {
  const set = (['aa', 'tc', 'rd', 'ra', 'ad', 'cd'] as const).filter(flag => message.flags[flag])
  return [...(isResponse ? ['qr'] : []), ...set].join(' ')
}

function sectionTexts<Entry>(entries: readonly Entry[], text: (entry: Entry) => string): string[] {
  return entries.map(text).sort()
}

function normalised(lines: readonly string[] | undefined): string[] {
  return (lines ?? []).map(normalise).sort()
}

/** dig cuts base64 and hex into pieces of 56 characters; blanks outside quotes say nothing more than one. */
function normalise(line: string): string {
  const words = line.match(/"(?:\\.|[^"\\])*"|[^\s"]+(?:"(?:\\.|[^"\\])*")?/g) ?? []
  const joined: string[] = []
  for (const word of words) {
    const previous = joined.at(-1)
    if (
      previous !== undefined &&
      previous.length % 56 === 0 &&
      previous.length > 0 &&
      /^[0-9A-Za-z+/=]+$/.test(previous + word)
    )
      joined[joined.length - 1] = previous + word
    else joined.push(word)
  }
  return joined.join(' ')
}

function differs(what: string, found: unknown, expected: unknown): string | null {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)]
  return a === b ? null : `${what} ${b} expected, ${a} found`
}
