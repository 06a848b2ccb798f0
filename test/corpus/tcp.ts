/**
 * Compares what is told of connections with what both ends sent and received, how they ended, and which packets the
 * link between them dropped. Captures whose name ends in _a were taken at the client, those in _b at the server.
 */
import type { TcpConnection } from '../../core/dissectors/tcp-conn.ts'
import type { Item } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
type Truth = any

export function compare(truth: Truth, items: Item[], { capture }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  const found = items.filter(({ protocol, event }) => protocol.name === 'tcp-conn' && event!.final)
  const check = (what: string, value: unknown, expected: unknown) => {
    result.expected++
    if (JSON.stringify(value) === JSON.stringify(expected)) result.equal++
    else result.wrong.push({ what: `${what}: ${JSON.stringify(expected)} expected, ${JSON.stringify(value)} found` })
  }
  const atClient = capture.endsWith('_a.pcap')
  compareEnds(truth, found, check)
  compareLink(truth.link, found, atClient, check)
  const name = /own__(.+)_[ab]\.pcap$/.exec(capture)?.[1] ?? ''
  STORIES[name]?.(truth, found.map(told), check)
  return result
}

type Check = (what: string, value: unknown, expected: unknown) => void

function told({ event, error }: Item): TcpConnection & { error: string | null } {
  return { ...(event as TcpConnection), error: error?.type ?? null }
}

/** Programs that noted their ports: what each end sent came once, however often the network needed it. */
function compareEnds({ client, server }: Truth, found: readonly Item[], check: Check): void {
  const ends = Array.isArray(client) ? client : [client]
  for (const [i, end] of ends.entries()) {
    if (end?.sent === undefined && end?.received === undefined) continue
    const item = end.localPort === undefined ? found[i] : found.find(({ src }) => src.port === String(end.localPort))
    const sent = end.sent ?? server.received?.length
    const received = end.received?.length ?? end.received ?? end.answer?.length
    const event = item === undefined ? null : told(item)
    check(`${item?.src.port}: bytes`, [event?.local.goodput_bytes, event?.remote.goodput_bytes], [sent, received])
    check(`${item?.src.port}: ended`, event?.ended, 'fin')
  }
}

/** Every packet that went through the link, and those that came again because it dropped them. */
function compareLink(link: Truth, found: readonly Item[], atClient: boolean, check: Check): void {
  if (link === undefined) return
  const { packets_ab, packets_ba, dropped_on_the_link: dropped } = link
  const lost = (way: string) => dropped.filter(([direction]: [string]) => direction === way).length
  const sum = (of: (event: TcpConnection) => number) => found.reduce((all, item) => all + of(told(item)), 0)
  check(
    'packets of the client',
    sum(event => event.local_pkts),
    packets_ab - (atClient ? 0 : lost('ab')),
  )
  check(
    'packets of the server',
    sum(event => event.remote_pkts),
    packets_ba - (atClient ? lost('ba') : 0),
  )
  if (dropped.length === 0) return
  // Where it was sent, everything that was dropped is seen to come again.
  const again = sum(event => (atClient ? event.local : event.remote).retransmissions)
  const data = dropped.filter(
    ([way, , size]: [string, number, number]) => way === (atClient ? 'ab' : 'ba') && size > MOST_BARE,
  )
  check('dropped segments that came again', again >= data.length, true)
  const other = sum(event => (atClient ? event.remote : event.local).missing_bytes)
  check('bytes that never came', other, 0)
}

/** A header of IPv6 and one of TCP with three blocks of SACK. */
const MOST_BARE = 40 + 32 + 28

const STORIES: Readonly<Record<string, (truth: Truth, found: ReturnType<typeof told>[], check: Check) => void>> = {
  resets({ server }, found, check) {
    check('connections', found.length, server.length)
    check(
      'ends',
      found.map(({ ended }) => ended),
      ['reset', 'reset', 'reset', 'reset', 'refused'],
    )
    check(
      'by whom',
      found.map(({ reset_by }) => reset_by),
      // The third is what a client answers that has closed already.
      ['remote', 'remote', 'local', 'local', 'remote'],
    )
    check('refused', found.at(-1)?.error, 'connection')
  },
  syn_no_answer({ link }, found, check) {
    check('connections', found.length, 1)
    check('ended', [found[0]?.ended, found[0]?.error], ['timeout', 'timeout'])
    check('SYNs', found[0]?.local.syn_count, link.packets_ab)
  },
  port_reuse({ client }, found, check) {
    check('connections', found.length, client.length)
  },
  fast_open({ server }, found, check) {
    check(
      'bytes in and behind the SYN',
      found.map(({ local }) => local.goodput_bytes),
      server.map((text: string) => text.length),
    )
  },
  half_close({ client, server }, found, check) {
    check('connections', found.length, 1)
    check(
      'bytes',
      [found[0]?.local.goodput_bytes, found[0]?.remote.goodput_bytes],
      [server.received.length, client.received.length],
    )
  },
  interactive({ client, server }, found, check) {
    check('bytes', [found[0]?.local.goodput_bytes, found[0]?.remote.goodput_bytes], [server, client.length])
  },
  simultaneous_open_close({ client, server }, found, check) {
    check('connections', found.length, 1)
    check('bytes', found[0]?.goodput_bytes, client.length + server.length)
    check('FINs', found[0]?.fin_count, 2)
  },
  urgent({ server }, found, check) {
    check('bytes', found[0]?.local.goodput_bytes, server.length)
  },
  zero_window(_truth, found, check) {
    check('zero windows', found[0]!.remote.zero_window_events > 0, true)
    check('windows that were full', found[0]!.local.window_full_events > 0, true)
  },
}

// ── tshark ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is told of a connection last holds all of it. */
function counted(of: (event: TcpConnection) => number) {
  return ({ protocol, event }: Item): number | null =>
    protocol.name === 'tcp-conn' && event!.final ? of(event as TcpConnection) : null
}

export const counters: Counters = {
  'tcp.streams': counted(() => 1),
  'tcp.syn+tcp.synack': counted(({ local, remote }) => local.syn_count + remote.syn_count),
  'tcp.fin': counted(event => event.fin_count),
  'tcp.rst': counted(event => event.rst_count),
  // Which is which is guessed from the time that passed, here from that since the hole was seen.
  'tcp.retransmission+tcp.out_of_order': counted(event => event.retransmissions + event.out_of_order),
  'tcp.duplicate_ack': counted(event => event.dup_acks),
  'tcp.zero_window': counted(event => event.zero_window_events),
  'tcp.window_full': counted(event => event.window_full_events),
  'tcp.keep_alive': counted(event => event.keepalive_count),
  'tcp.lost_segment': counted(event => event.missing_segments),
}

const AGAIN = 'tcp.retransmission+tcp.out_of_order'

export const explanations: readonly Explanation[] = [
  {
    path: '',
    count: 'tcp.lost_segment',
    why: 'bytes that were acknowledged and not seen are missing here; tshark calls that ack_lost_segment',
    holds: ({ tshark, found }, items) => found > tshark && found - acknowledgedUnseen(items) <= tshark,
  },
  {
    path: '',
    count: AGAIN,
    why: 'data behind the acknowledgement that overtook it is out of order here, and in order to tshark',
    holds: ({ tshark, found }, items) => found > tshark && found - acknowledgedUnseen(items) <= tshark,
  },
  ...[
    'amqp/own__derived_publish_consume',
    'http2/own__derived_prior_basic',
    'redis/own__derived_resp3_suite',
    'websocket/own__derived_fragments',
  ].map(base => ({
    path: `${base}__overlaps`,
    count: AGAIN,
    why: 'a segment that repeats one byte and brings more: tshark takes the byte for a probe of a window',
  })),
  {
    path: 'kafka/own__derived_consumer_group_classic__reordered',
    count: 'tcp.keep_alive',
    why: 'an acknowledgement behind the FIN that overtook it looks like a keep-alive',
  },
  {
    path: 'http2/own__derived_h2c_upgrade_small__reordered',
    count: AGAIN,
    why: 'a SYN behind its own answer: tshark takes it for one sent again',
  },
  ...['grpc/deepflow__http_grpc-unary', 'http2/deepflow__http_http2-multi'].map(path => ({
    path,
    count: 'tcp.lost_segment',
    why: 'the acknowledgement in the first packet tells where the other end stood; tshark waits for a packet of that end',
  })),
  { path: 'kafka/own__derived_produce_basic__midstream', count: 'tcp.fin', why: 'a FIN alone opens no connection' },
  { path: 'tunnels/zeek__tunnels_gre-aruba', count: 'tcp.fin', why: 'a FIN alone opens no connection' },
  { path: 'tcp/zeek__tcp_single-rst', count: 'tcp.', why: 'a reset alone opens no connection' },
  {
    path: 'tcp/tcpdump__tcp_eight',
    count: 'tcp.',
    why: 'a reset alone opens no connection, whatever other flags it has',
  },
  { path: 'tcp/zeek__tcp_rst-inject', count: 'tcp.streams', why: 'a SYN behind a reset begins another connection' },
  {
    path: 'tls/ndpi__tls_multiple_synack',
    count: 'tcp.',
    why: 'each SYN with another number begins another connection',
  },
  { path: 'tcp/suricata__tcp-split-handshake', count: 'tcp.', why: 'tshark begins another stream at the second SYN' },
  {
    path: 'tls/suricata__bug-7264',
    count: 'tcp.',
    why: 'a connection is told of 2 s after its end; what is sent again later is not in it',
  },
  {
    path: 'tcp/zeek__tcp_truncated-header',
    count: 'tcp.',
    why: 'the header of the SYN is cut: what is left is not read',
  },
  { path: 'tcp/pcpp__PacketExamples_tcp-malformed', count: 'tcp.', why: 'no header of TCP in it is whole' },
  {
    path: 'tcp/zeek__tcp_reassembly',
    count: 'tcp.',
    why: 'tshark counts a loss when it is acknowledged, and again behind it',
  },
  {
    path: 'http1/own__odd_requests',
    count: 'tcp.',
    why: 'one connection is seen by its keep-alives alone: the first of them is taken for its beginning',
  },
  {
    path: 'http1/suricata__http-pipeline-files-with-gap',
    count: 'tcp.duplicate_ack',
    why: 'bytes behind an acknowledgement that were not seen: tshark does not count the next one as equal',
  },
  { path: 'icmp/own__unreachables', count: 'tcp.syn', why: 'tshark counts the SYNs that errors of ICMP quote, too' },
  {
    path: 'linktypes/own__frelay',
    count: 'tcp.window_full',
    why: 'tshark does not apply the scale of windows to this link type',
  },
  {
    path: 'tunnels/own__same_flow_two_vlans',
    count: 'tcp.',
    why: 'two connections, one in each VLAN: tshark takes one for retransmissions of the other',
  },
  {
    path: 'http2/own__derived_h2c_upgrade_small__midstream',
    count: 'tcp.window_full',
    why: 'only one SYN was captured: whether windows are scaled is not known',
  },
  { path: 'broken/own__caplen_', count: 'tcp.', why: 'tshark does not look into the record before the damaged one' },
  { path: 'broken/ndpi__fuzz-2006-06-26-2594', count: 'tcp.', why: 'damaged headers, which tshark reads further' },
  {
    path: 'dns/pcpp__PacketExamples_dns_over_tcp',
    count: 'tcp.',
    why: 'the capture goes on after 51 years: another connection',
  },
  {
    path: 'pcapng/own__pcap_time_zero_and_2106',
    count: 'tcp.',
    why: 'the clock jumps by 136 years: another connection',
  },
  {
    path: 'pcapng/pcpp__PcapExamples_pcapng-example',
    count: 'tcp.',
    why: 'the clock jumps by 46 years: another connection',
  },
  { path: 'tunnels/zeek__tunnels_ayiya3', count: 'tcp.', why: 'AYIYA (UDP 5072) is not unwrapped' },
]

function acknowledgedUnseen(items: readonly Item[]): number {
  const all = items.filter(({ protocol, event }) => protocol.name === 'tcp-conn' && event!.final)
  return all.reduce((sum, { event }) => sum + event!.local.acked_unseen + event!.remote.acked_unseen, 0)
}
