/**
 * Internet Control Message Protocol: RFC 792 for IPv4, RFC 4443 for IPv6, with neighbour discovery (RFC 4861) and
 * multicast listener discovery (RFC 3810).
 *
 *   type(1) code(1) checksum(2), then as the type says; a request and its reply: identifier(2) sequence(2) …
 */
import { type Cursor, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message } from '../dissector.ts'
import type { Json } from '../item.ts'
import { checksum, type Quoted } from './icmp/errors.ts'
import { ICMP, ICMPV6, type Kind } from './icmp/messages.ts'

export const dissector: Dissector = {
  name: 'icmp',
  title: 'Internet Control Message Protocol',
  abbr: 'ICMP',
  version: '4',
  color: '#8a6d3b',
  reference: 'https://www.rfc-editor.org/rfc/rfc792',
  transports: ['icmp', 'icmpv6'],
  ports: [],
  priority: 60,
  keyed: true,
  // As long as `ping` waits for the last answer by default.
  patience: 10_000,
  // The IP header says what it is.
  probe: at => at.remaining >= LEAST,
  read,
  summarize,
}

/** A request, a reply or, as an `event`, everything else. Fields of the types are added to it, named as their RFCs do. */
export interface IcmpMessage extends Json {
  version: 4 | 6
  type: number
  /** `echo request`; the number where the type is not known. */
  name: string
  code: number
  /** `host unreachable`; null where the type has but one meaning. */
  reason: string | null
  /** Bytes of the message, as the IP header tells. */
  length: number
  /** Whether it is right; null where the message was not captured whole, and for IPv6, whose sum covers the IP header. */
  checksumValid: boolean | null
  /** Errors: the packet they are about, and the `stream` of its items, null when it was not seen. */
  quoted?: Quoted | null
  stream?: string | null
  /** Echo: bytes that are repeated by the answer, and the bytes themselves where bodies are kept. */
  identifier?: number
  sequence?: number
  payloadSize?: number
  payload?: string | null
  encoding?: 'base64' | null
}

const LEAST = 4

function read(at: Cursor, ctx: Context): Message {
  const version = ctx.transport === 'icmpv6' ? 6 : 4
  const start = at.position
  const type = at.u8()
  const code = at.u8()
  at.skip(2)
  const kind = (version === 6 ? ICMPV6 : ICMP).get(type)
  const whole = version === 4 && ctx.missing === 0
  const body: IcmpMessage = {
    version,
    type,
    name: kind?.name ?? String(type),
    code,
    reason: kind?.codes === undefined ? null : (kind.codes[code] ?? String(code)),
    length: at.end - start + ctx.missing,
    checksumValid: whole ? checksum(at.bytes, start, at.end) === 0 : null,
  }
  const message: Message = { kind: 'event', body, version: String(version) }
  try {
    kind?.read?.(at, ctx, body)
    pair(message, body, kind, type)
  } catch (thrown) {
    if (!(thrown instanceof Malformed)) throw thrown
    // What the capture cut off was not wrong.
    if (ctx.missing === 0) message.error = { type: 'dissection', msg: thrown.reason }
  }
  if (kind?.lost?.(code) === true) message.refuses = `${body.name}: ${body.reason ?? code}`
  at.position = at.end
  return message
}

/** Requests and replies that can be told apart; the rest happens without being asked for. */
function pair(message: Message, { identifier, sequence = 0 }: IcmpMessage, kind: Kind | undefined, type: number): void {
  if (kind === undefined || identifier === undefined) return
  const asked = kind.answers ?? (kind.answeredBy === undefined ? null : type)
  if (asked === null) return
  message.kind = kind.answers === undefined ? 'request' : 'response'
  message.key = asked * 2 ** 32 + identifier * 2 ** 16 + sequence
}

function summarize(request: Json | null, response: Json | null, event: Json | null) {
  const told = (request ?? response ?? event) as IcmpMessage | null
  if (told === null) return { method: '', summary: '', status: '' }
  return { method: methodOf(told), summary: subjectOf(told), status: response === null ? '' : statusOf(response) }
}

/** One word as it is, several by their first letters, as their RFCs do: RS, NA, PTB. */
function methodOf({ name }: IcmpMessage): string {
  const words = name.replace(/ (request|reply)$/, '').split(' ')
  return words.length === 1 ? name.split(' ')[0]! : words.map(word => word[0]!.toUpperCase()).join('')
}

function subjectOf(told: IcmpMessage): string {
  if (told.quoted) return `${told.reason ?? told.name}: ${endOf(told.quoted.dst)} (${told.quoted.protocol})`
  if (told.target !== undefined) return told.target
  if (told.identifier !== undefined) return `id ${told.identifier} seq ${told.sequence ?? 0}, ${told.length} bytes`
  if (told.group !== undefined) return told.group
  if (Array.isArray(told.records)) return told.records.map(record => `${record.type} ${record.group}`).join(', ')
  return told.reason ?? told.name
}

function endOf({ ip, port }: { ip: string; port?: number }): string {
  if (port === undefined) return ip
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

function statusOf({ reason }: Json): string {
  return reason ?? 'OK'
}
