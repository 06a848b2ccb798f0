/**
 * Compares items with what ping printed, what a program with raw sockets sent, and which errors a firewall was told to
 * answer TCP connections with.
 */
import type { IcmpMessage } from '../../core/dissectors/icmp.ts'
import type { Item } from '../../core/item.ts'
import type { Circumstances, Comparison, Finding } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

export const counters: Counters = {
  'icmp.types': item => messagesOf(item).flatMap(typesOf),
  'icmp.echo': echoWords,
}

export const explanations: readonly Explanation[] = [
  {
    path: 'icmp/own__ping6',
    count: 'icmp.echo',
    why: 'who answers an echo to a group does it under another address: two halves here',
  },
  { path: 'linktypes/own__any_sll', count: 'icmp.', why: 'captured on all interfaces: each packet is there twice' },
  { path: 'fragments/own__router_any', count: 'icmp.', why: 'captured on all interfaces: each packet is there twice' },
  { path: 'tunnels/zeek__tunnels_ayiya3', count: 'icmp.', why: 'AYIYA (UDP 5072) is not unwrapped' },
  { path: 'tunnels/zeek__tunnels_gtp_gtp8_teredo', count: 'icmp.', why: 'one solicitation twice within 4 µs: a copy' },
  { path: 'tunnels/zeek__tunnels_gtp_gtp_control_prime', count: 'icmp.', why: 'GTP version 0 is not unwrapped' },
  { path: 'tunnels/zeek__tunnels_gtp_pdp_ctx', count: 'icmp.', why: 'GTP version 0 is not unwrapped' },
  { path: 'tunnels/tcpdump__vxlan_port_8472', count: 'icmp.', why: 'tshark does not look for VXLAN on this port' },
  {
    path: '',
    count: 'icmp.echo id_seq_with_both',
    why: 'several pings with one identifier and sequence number: tshark has them as one',
  },
]

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const mine = items.filter(item => item.protocol.name === 'icmp')
  const out: unknown[] = source.out ?? []
  comparePings(
    out.filter(text => typeof text === 'string' && text !== ''),
    mine,
    result,
  )
  compareRejections(
    out.filter(one => Array.isArray(one)),
    items,
    result,
  )
  compareSent(source.sentHex ?? [], mine, result)
  return result
}

function settle(result: Comparison, what: string, found: unknown, difference: string | null): void {
  result.expected++
  const finding: Finding = { what: difference === null ? what : `${what}: ${difference}` }
  if (found === undefined) result.missing.push(finding)
  else if (difference !== null) result.wrong.push(finding)
  else result.equal++
}

function messagesOf({ protocol, request, response, event }: Item): IcmpMessage[] {
  if (protocol.name !== 'icmp') return []
  return [request, response, event].filter(one => one !== null) as IcmpMessage[]
}

/** tshark counts what an error quotes, too. */
function typesOf({ version, type, quoted }: IcmpMessage): string[] {
  const own = `${version === 6 ? 'icmpv6' : 'icmp'} ${type}`
  return quoted?.type === undefined ? [own] : [own, `${quoted.protocol} ${quoted.type}`]
}

const ECHO = [8, 128]
const ECHO_REPLY = [0, 129]

function echoWords({ protocol, request, response }: Item): string[] {
  if (protocol.name !== 'icmp') return []
  const asked = ECHO.includes(request?.type)
  const answered = ECHO_REPLY.includes(response?.type)
  return [
    ...(asked ? ['requests'] : []),
    ...(answered ? ['replies'] : []),
    ...(asked && answered ? ['id_seq_with_both'] : []),
    ...(asked && !answered ? ['id_seq_without_reply'] : []),
  ]
}

// ── ping ────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Ping {
  target: string
  transmitted: number
  replies: { bytes: number; from: string; seq: number; ms: number }[]
  errors: { from: string; seq: number; text: string }[]
}

function readPing(text: string): Ping {
  const replies = [
    ...text.matchAll(/^(\d+) bytes from ([^%\s]+?)(?:%\w+)?: icmp_seq=(\d+) ttl=\d+(?: time=([\d.]+) ms)?/gm),
  ]
  const errors = [...text.matchAll(/^From (\S+) icmp_seq=(\d+) (.+)$/gm)]
  return {
    target: /^PING ([^%(\s]+)/m.exec(text)![1]!,
    transmitted: Number(/(\d+) packets transmitted/.exec(text)![1]),
    replies: replies.map(([, bytes, from, seq, ms]) => ({
      bytes: Number(bytes),
      from: from!,
      seq: Number(seq),
      ms: ms === undefined ? Number.POSITIVE_INFINITY : Number(ms),
    })),
    errors: errors.map(([, from, seq, text]) => ({ from: from!, seq: Number(seq), text: text! })),
  }
}

function isGroup(address: string): boolean {
  return address.startsWith('ff')
}

/** Each run of ping has an identifier of its own, and runs came one after the other. */
function comparePings(texts: unknown[], items: Item[], result: Comparison): void {
  const runs = new Map<number, Item[]>()
  const echoes = items.filter(({ request }) => ECHO.includes(request?.type))
  for (const item of [...echoes].sort((a, b) => a.timestamp - b.timestamp)) {
    const id: number = item.request!.identifier
    runs.set(id, [...(runs.get(id) ?? []), item])
  }
  const left = [...runs.entries()]
  for (const text of texts) {
    const ping = readPing(text as string)
    // To a host that nobody is at no packet can be sent.
    const nobody = ping.replies.length === 0 && left[0]?.[1][0]?.dst.ip !== ping.target
    if (nobody) continue
    const [id, run] = left.shift() ?? [0, []]
    const what = `ping ${ping.target}`
    settle(result, `${what}: requests`, run, differs('requests', run.length, ping.transmitted))
    for (const reply of ping.replies) {
      comparePong(what, reply, isGroup(ping.target) ? items : run, id, result)
      const last = result.missing.at(-1)
      if (last !== undefined && reply.from === run[0]?.src.ip) last.why ??= 'its own answer never was on the wire'
    }
    for (const error of ping.errors) compareError(what, error, items, id, run, result)
  }
}

function comparePong(
  what: string,
  { bytes, from, seq, ms }: Ping['replies'][number],
  items: readonly Item[],
  id: number,
  result: Comparison,
): void {
  const item = items.find(
    ({ src, dst, request, response }) =>
      response?.sequence === seq && response.identifier === id && (request === null ? dst : dst).ip === from && src,
  )
  const difference =
    item === undefined
      ? null
      : (differs('bytes', item.response!.length, bytes) ??
        (item.request === null && !isGroup(from)
          ? null
          : item.elapsedTime! <= ms + TOLERANCE_MS
            ? null
            : `took ${item.elapsedTime} ms, ${ms} for ping`))
  settle(result, `${what}: answer ${seq} of ${from}`, item, difference)
}

/** ping reads its clock a little after the kernel. */
const TOLERANCE_MS = 0.01

function compareError(
  what: string,
  { from, seq, text }: Ping['errors'][number],
  items: readonly Item[],
  id: number,
  run: readonly Item[],
  result: Comparison,
): void {
  const error = items.find(({ event }) => event?.quoted?.identifier === id && event.quoted.sequence === seq)
  const expected = /exceeded/.test(text) ? 'time exceeded' : 'destination unreachable'
  settle(
    result,
    `${what}: ${text} for ${seq}`,
    error,
    error === undefined
      ? null
      : (differs('from', error.src.ip, from) ??
          differs('name', error.event!.name, expected) ??
          differs('stream', error.event!.stream, run[0]?.stream) ??
          differs('error', run.find(({ request }) => request!.sequence === seq)?.error?.type, 'connection')),
  )
}

// ── rejected connections ────────────────────────────────────────────────────────────────────────────────────────────

const REJECTIONS: Readonly<Record<string, string>> = {
  'icmp-net-unreachable': 'network unreachable',
  'icmp-host-unreachable': 'host unreachable',
  'icmp-proto-unreachable': 'protocol unreachable',
  'icmp-port-unreachable': 'port unreachable',
  'icmp-net-prohibited': 'network prohibited',
  'icmp-host-prohibited': 'host prohibited',
  'icmp-admin-prohibited': 'communication prohibited',
  'icmp6-no-route': 'no route to destination',
  'icmp6-adm-prohibited': 'communication prohibited',
  'icmp6-addr-unreachable': 'address unreachable',
  'icmp6-port-unreachable': 'port unreachable',
}

/** One connection was tried for each kind of rejection, in this order. */
function compareRejections(kinds: unknown[], items: readonly Item[], result: Comparison): void {
  const streams = new Map<string, IcmpMessage[]>()
  for (const { protocol, event } of items) {
    const told = event as IcmpMessage | null
    if (protocol.name !== 'icmp' || told?.quoted?.protocol !== 'tcp') continue
    const key = `${told.quoted.src.ip} ${told.quoted.src.port} ${told.stream}`
    streams.set(key, [...(streams.get(key) ?? []), told])
  }
  const attempts = [...streams.values()]
  for (const [kind] of kinds as [string, string][]) {
    const reason = REJECTIONS[kind]
    if (reason === undefined) continue
    const told = attempts.shift()
    settle(
      result,
      kind,
      told,
      told === undefined
        ? null
        : (differs('reasons', [...new Set(told.map(one => one.reason))], [reason]) ??
            differs('stream', typeof told[0]!.stream, 'string')),
    )
  }
}

// ── raw messages ────────────────────────────────────────────────────────────────────────────────────────────────────

function compareSent(sent: readonly string[], items: readonly Item[], result: Comparison): void {
  const told = items.flatMap(item =>
    (item.request ?? item.event) ? [(item.request ?? item.event) as IcmpMessage] : [],
  )
  for (const hex of sent) {
    const bytes = /^[0-9a-f]{8,}$/.test(hex) ? Buffer.from(hex, 'hex') : null
    const i = told.findIndex(({ type, code, checksumValid }) =>
      bytes === null ? checksumValid === false : type === bytes[0] && code === bytes[1],
    )
    const found = i < 0 ? undefined : told.splice(i, 1)[0]!
    const difference =
      found === undefined || bytes === null
        ? null
        : (differs('length', found.length, bytes.length) ??
          (found.identifier === undefined ? null : differs('identifier', found.identifier, bytes.readUInt16BE(4))))
    settle(result, hex, found, difference)
  }
}

function differs(what: string, found: unknown, expected: unknown): string | null {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)]
  return a === b ? null : `${what} ${b} expected, ${a} found`
}
