/**
 * Domain Name System: RFC 1035 over UDP and TCP, EDNS (RFC 6891), UPDATE, NOTIFY, zone transfers, stateful operations
 * (RFC 8490), multicast DNS (RFC 6762) and LLMNR (RFC 4795).
 *
 *   TCP: length(2), then as UDP:
 *   id(2) qr(1 bit) opcode(4) aa tc rd ra z ad cd(1 each) rcode(4) qdcount(2) ancount(2) nscount(2) arcount(2)
 *   question: name type(2) class(2)        record: name type(2) class(2) ttl(4) length(2) data(length)
 */
import { type Cursor, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message, Side } from '../dissector.ts'
import type { ItemError, Json } from '../item.ts'
import { CLASS_ANY, CLASS_NONE, className, DSO, OPCODES, rcodeName } from './dns/codes.ts'
import { type Edns, readEdns, readOptions } from './dns/edns.ts'
import { MessageCursor } from './dns/message-cursor.ts'
import { writeRequest, writeResponse } from './dns/message-text.ts'
import { OPT, readData, typeName } from './dns/records.ts'
import { readStatefulOperations } from './dns/stateful-operations.ts'
import { advance, expectTransfer, type Transfers } from './dns/transfers.ts'

export const dissector: Dissector<Transfers> = {
  name: 'dns',
  title: 'Domain Name System',
  abbr: 'DNS',
  version: '',
  color: '#606060',
  reference: 'https://www.rfc-editor.org/rfc/rfc1035',
  transports: ['udp', 'tcp'],
  ports: [53, 5353, 5355],
  priority: 4,
  // The id alone: an answer to what could not be read (FORMERR) repeats no question. Whoever reuses an id within one
  // five-tuple repeats his question, and the newest one is the one that was answered.
  keyed: true,
  // Stub resolvers ask again after 5 s by default (resolv.conf, `timeout`).
  patience: 10_000,
  answeredIsOver: true,
  open: () => new Map(),
  probe,
  read,
  summarize,
}

/** Of a message as users see it. In an UPDATE questions, answers and authorities are zone, prerequisites and updates. */
export interface DnsRequest {
  opCode: string
  id: number
  flags: DnsFlags
  questions: DnsQuestion[]
  /** Not empty in UPDATE, NOTIFY and where multicast DNS tells what is known already. */
  answers: DnsRecord[]
  authorities: DnsRecord[]
  /** Without the OPT record, which is `edns`. */
  additionals: DnsRecord[]
  edns: Edns | null
  /** Only with `opCode` DSO. */
  operations?: Json[]
}

export interface DnsResponse extends DnsRequest {
  /** `NOERROR`, `NXDOMAIN`; with the upper bits from `edns`: `BADVERS`. */
  code: string
  rcode: number
}

/** Named as in RFC 1035, 4.1.1 and RFC 4035, 3. */
export interface DnsFlags {
  aa: boolean
  tc: boolean
  rd: boolean
  ra: boolean
  z: boolean
  ad: boolean
  cd: boolean
}

export interface DnsQuestion {
  name: string
  type: string
  class: string
  /** Multicast DNS: an answer to the asker alone would do. */
  unicast?: boolean
}

/** And the fields of its type: `ip`, `cname`, `ns`, `ptr`, `txts`, `soa`, `srv`, `mx`, … */
export interface DnsRecord extends Json {
  name: string
  type: string
  class: string
  ttl: number
  /** Multicast DNS: replaces what others have told of this name and type. */
  cacheFlush?: boolean
  /** As in a master file: `10 mail.example.test.`. */
  data: string
}

const HEADER = 12
/** The shortest question is a root name, type and class; the shortest record has a TTL and a length on top. */
const MIN_QUESTION = 5
const MIN_RECORD = 11
/**
 * A damaged message may announce more entries than it has room for, and is still worth showing. Four random counts
 * that add up to no more than this come once in 10^11 datagrams.
 */
const MAX_ANNOUNCED = 255
const MDNS = 5353
const LLMNR = 5355

interface Header {
  id: number
  response: boolean
  opcode: number
  /** The second 16 bits as they are. */
  bits: number
  counts: readonly [questions: number, answers: number, authorities: number, additionals: number]
}

function probe(at: Cursor, from: Side, ctx: Context<Transfers>): boolean | 'more' {
  const length = ctx.transport === 'tcp' ? at.u16() : at.remaining
  if (length < HEADER) return false
  const start = at.position
  if (at.remaining < HEADER) return 'more'
  const head = readHeader(at)
  if (!isPlausible(head, length)) return false
  // Announcements and questions go the same way there, to everybody: the sender is the only known end.
  if (isMulticast(head, ctx)) return from === 'client'
  if (head.response !== (from === 'server')) return false
  if (ctx.hinted) return true
  if ((head.bits & 0x40) !== 0 || head.opcode === DSO || head.counts[0] !== 1) return false
  if (!head.response && (head.bits & 0x068f) !== 0) return false
  at.position = start
  at.need(length)
  const { body, error } = readMessage(new MessageCursor(at.bytes, start, start + length), isForGroups(ctx))
  return error === null && isCommon(body)
}

/** The answer in a datagram, as far as it can be read; null: it is none. */
export function readAnswer(bytes: Uint8Array, start: number, end: number): DnsResponse | null {
  try {
    const { head, body } = readMessage(new MessageCursor(bytes, start, end), false)
    return head.response ? body : null
  } catch (thrown) {
    if (thrown instanceof Malformed) return null
    throw thrown
  }
}

function read(at: Cursor, ctx: Context<Transfers>): Message {
  const length = ctx.transport === 'tcp' ? at.u16() : at.remaining
  if (length < HEADER) at.fail(`a DNS message of at least ${HEADER} bytes, found ${length}`)
  const start = at.position
  at.need(length)
  const cursor = new MessageCursor(at.bytes, start, start + length)
  const { head, body, error } = readMessage(cursor, isForGroups(ctx))
  at.skip(length)
  if (head.response) writeResponse(ctx.out, body)
  else writeRequest(ctx.out, body)
  const message: Message = { kind: head.response ? 'response' : 'request', body: ctx.out.since(0), key: head.id }
  if (error !== null) message.error = error
  if (head.response) {
    message.failed = body.rcode !== 0
    if (ctx.transport === 'tcp' && advance(ctx.state, head.id, body, error)) message.more = true
    // Meant for everybody who listens, asked for or not: no one's answer.
    if (isMulticast(head, ctx)) message.kind = 'event'
  } else if (ctx.transport === 'tcp') expectTransfer(ctx.state, head.id, body)
  // Both ask a group. Whoever answers does it under another address, on multicast DNS to the group again.
  else if (isMulticast(head, ctx) || ctx.port === LLMNR) message.unanswered = true
  // A stateful operation with id 0 tells and asks nothing (RFC 8490, 5.4).
  if (head.opcode === DSO && head.id === 0 && !head.response) message.unanswered = true
  return message
}

function summarize(request: Json | null, response: Json | null, event: Json | null) {
  const told = request ?? response ?? event
  const subject = told?.questions[0] ?? told?.answers[0] ?? told?.authorities[0]
  const opCode: string = told?.opCode ?? ''
  return {
    method: opCode === 'Query' && subject !== undefined ? subject.type : opCode.toUpperCase(),
    summary: subject?.name ?? '',
    status: response?.code ?? '',
  }
}

function readHeader(at: Cursor): Header {
  const id = at.u16()
  const bits = at.u16()
  return {
    id,
    response: (bits & 0x8000) !== 0,
    opcode: (bits >> 11) & 15,
    bits,
    counts: [at.u16(), at.u16(), at.u16(), at.u16()],
  }
}

function isPlausible({ opcode, counts }: Header, length: number): boolean {
  if (OPCODES[opcode] === undefined) return false
  const records = counts[1] + counts[2] + counts[3]
  return counts[0] + records <= MAX_ANNOUNCED || counts[0] * MIN_QUESTION + records * MIN_RECORD <= length - HEADER
}

/** Port 5353 is not enough: clusters run ordinary resolvers on it, whose clients choose an id. */
function isMulticast({ id }: Header, ctx: Context<Transfers>): boolean {
  return id === 0 && isForGroups(ctx)
}

function isForGroups({ port, transport }: Context<Transfers>): boolean {
  return port === MDNS && transport === 'udp'
}

/** Random bytes that happen to have the form of a question rarely ask for a type that exists. */
function isCommon(body: DnsRequest): boolean {
  return body.questions.every(question => !question.type.startsWith('TYPE') && !question.class.startsWith('CLASS'))
}

const SECTIONS = ['question', 'answer', 'authority', 'additional']

interface Parsed {
  head: Header
  body: DnsResponse
  error: ItemError | null
}

/**
 * What can be read of a message. Its boundaries are known from outside, so that a bad record costs no more than itself:
 * people who look for it want to see the question.
 */
function readMessage(at: MessageCursor, forGroups: boolean): Parsed {
  const length = at.remaining
  const head = readHeader(at)
  if (!isPlausible(head, length)) at.fail(`a DNS header, found opcode ${head.opcode} and counts of ${head.counts}`)
  const { counts } = head
  const body = head.response ? emptyResponse(head) : (emptyRequest(head) as DnsResponse)
  let problem: string | null = null
  const multicast = forGroups && head.id === 0
  let section = 0
  let entry = 0
  try {
    for (; entry < counts[0]; entry++) body.questions.push(readQuestion(at, multicast))
    for (section = 1; section < 4; section++) {
      const into = section === 1 ? body.answers : section === 2 ? body.authorities : body.additionals
      for (entry = 0; entry < counts[section]!; entry++) {
        const found = readRecord(at, multicast, into, body)
        if (found !== null) problem ??= `${SECTIONS[section]} ${entry + 1}: ${found}`
      }
    }
    if (head.opcode === DSO) body.operations = readStatefulOperations(at)
    if (at.remaining > 0) at.fail(`the end of the message, found ${at.remaining} more bytes`)
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    problem ??= section < 4 ? `${SECTIONS[section]} ${entry + 1}: ${cause.reason}` : cause.reason
  }
  if (head.response) body.code = rcodeName(body.rcode)
  return { head, body, error: problem === null ? null : { type: 'dissection', msg: problem } }
}

function emptyRequest(head: Header): DnsRequest {
  return {
    opCode: OPCODES[head.opcode]!,
    id: head.id,
    flags: readFlags(head.bits),
    questions: [],
    answers: [],
    authorities: [],
    additionals: [],
    edns: null,
  }
}

function emptyResponse(head: Header): DnsResponse {
  return {
    code: '',
    rcode: head.bits & 15,
    opCode: OPCODES[head.opcode]!,
    id: head.id,
    flags: readFlags(head.bits),
    questions: [],
    answers: [],
    authorities: [],
    additionals: [],
    edns: null,
  }
}

function readFlags(bits: number): DnsFlags {
  return {
    aa: (bits & 0x400) !== 0,
    tc: (bits & 0x200) !== 0,
    rd: (bits & 0x100) !== 0,
    ra: (bits & 0x80) !== 0,
    z: (bits & 0x40) !== 0,
    ad: (bits & 0x20) !== 0,
    cd: (bits & 0x10) !== 0,
  }
}

function readQuestion(at: MessageCursor, multicast: boolean): DnsQuestion {
  const name = at.domain()
  const type = typeName(at.u16())
  const classBits = at.u16()
  // RFC 6762, 5.4: the top bit is not part of the class.
  if (multicast) return { name, type, class: className(classBits & 0x7fff), unicast: classBits > 0x7fff }
  return { name, type, class: className(classBits) }
}

/** Adds one record to its section, or its OPT record to the message; returns what was wrong within its data. */
function readRecord(at: MessageCursor, multicast: boolean, into: DnsRecord[], body: DnsResponse): string | null {
  const name = at.domain()
  const type = at.u16()
  const classBits = at.u16()
  const ttl = at.u32()
  const length = at.u16()
  at.need(length)
  const end = at.end
  at.end = at.position + length
  let problem: string | null
  if (type === OPT && body.edns === null) {
    body.edns = readEdns(classBits, ttl)
    // A response's code has its upper eight bits here (RFC 6891, 6.1.3).
    if (body.rcode !== undefined) body.rcode |= (ttl >>> 24) << 4
    problem = readOptions(at, body.edns)
  } else {
    // RFC 6762, 10.2.
    const record = {
      name,
      type: typeName(type),
      class: className(multicast ? classBits & 0x7fff : classBits),
      ttl,
    } as DnsRecord
    if (multicast) record.cacheFlush = classBits > 0x7fff
    into.push(record)
    // In an UPDATE a class of ANY or NONE speaks of records by their name and type alone (RFC 2136, 2.4 and 2.5).
    if (length === 0 && (classBits === CLASS_ANY || classBits === CLASS_NONE)) {
      record.data = ''
      problem = null
    } else problem = readData(at, type, record)
  }
  at.position = at.end
  at.end = end
  return problem
}
