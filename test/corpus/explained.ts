/**
 * Why a capture's counts differ from tshark's, or why what the truth tells of is missing. The first entry that matches
 * counts. Most were found by looking at the packets, the others follow from what the capture was made for.
 */
import type { Item } from '../../core/item.ts'
import type { Difference } from './oracle.ts'

export interface Explanation {
  /** Start of the path within the corpus. */
  path: string
  /** Start of the count's name (`http.`), or the protocol whose truth is meant (`http1`); empty for all. */
  count: string
  why: string
  /** Whether it is so in this capture, where that can be seen. */
  holds?: (difference: Difference, items: readonly Item[]) => boolean
}

export const EXPLANATIONS: readonly Explanation[] = [
  ...['http.', 'websocket.'].map(count => ({
    path: 'tls/',
    count,
    why: 'tshark was given the keys; what is encrypted is not read here',
  })),
  { path: 'sctp/', count: 'http.', why: 'HTTP over SCTP: told as messages of SCTP' },
  {
    path: 'icmp/',
    count: 'dns.',
    why: 'tshark reads what an ICMP error quotes; that message was sent before, and is counted there',
  },
  { path: 'linktypes/tcpdump__arcnet', count: '', why: 'ARCNET is no link type that is read' },
  {
    path: 'linktypes/tcpdump__LINKTYPE_USER2_PKTAP',
    count: 'dns.',
    why: 'LINKTYPE_USER2 is private: that PKTAP lies there is known to nobody else',
  },
  { path: 'linktypes/zeek__raw_packets', count: 'http.', why: 'SSDP over UDP, which tshark counts as HTTP' },
  {
    path: 'linktypes/pcpp__PacketExamples_SllPacket',
    count: 'http.',
    why: 'one segment cut by the snap length, in the middle of a connection',
  },
  {
    path: 'linktypes/pcpp__PacketExamples_NullLoopback',
    count: 'dns.',
    why: 'the family in the loopback header is not one of IP',
  },
  {
    path: 'broken/own__linktype_unknown',
    count: 'packets',
    why: 'tshark refuses the file; here its packets are counted and passed over',
  },
  { path: 'broken/own__caplen_', count: 'packets', why: 'tshark counts the record whose length is damaged, too' },
  {
    path: 'broken/own__fuzz_file_0',
    count: 'http.statuses 500',
    why: 'a byte of its field `Connection` is damaged: no message of HTTP',
  },
  ...['packets', 'dns.', 'http.', 'tcp.'].map(count => ({
    path: 'broken/own__fuzz_file_0',
    count,
    why: 'tshark ends at the 67th packet, whose block is damaged, and reads no request behind the gap before',
  })),
  {
    path: 'broken/own__fuzz_file_2',
    count: 'http.methods P',
    why: 'the empty line behind the head of PUT is damaged: tshark takes it for one, and the next request for its rest',
  },
  {
    path: 'broken/own__fuzz_file_2',
    count: 'http.statuses 200',
    why: 'its encoding is damaged, so it has no end but the capture’s: tshark counts whole answers alone',
  },
  {
    path: 'broken/own__fuzz_file_2',
    count: 'http.',
    why: 'a damaged address takes one request out of the connection: tshark needs the bytes in between',
  },
  { path: 'broken/own__fuzz_file_4', count: 'http.', why: 'a request line in which a space is damaged' },
  {
    path: 'broken/own__fuzz_file_5',
    count: 'http.',
    why: 'a damaged port takes one request out of the connection: tshark needs the bytes in between',
  },
  ...['54', '60', '68'].map(length => ({
    path: `broken/own__snap_${length}`,
    count: 'dns.',
    why: 'datagrams that the snap length cuts are not read; tshark shows their headers',
  })),
  ...['54', '60', '68'].map(length => ({
    path: `broken/own__snap_${length}`,
    count: 'tcp.',
    why: 'what is cut within the header of TCP, in its options, is not read; and a reset alone opens no connection',
  })),
  {
    path: 'broken/own__snap_96',
    count: 'dns.',
    why: 'datagrams that the snap length cuts are not read; tshark shows their headers',
  },
  { path: 'broken/own__snap_96', count: 'http.', why: 'the snap length leaves 30 bytes of each head' },
  {
    path: 'broken/own__snap_96',
    count: 'http2.',
    why: 'behind frames that are cut HEADERS are found again here, with the fields that need no other frame',
  },
  {
    path: 'broken/own__snap_96',
    count: 'kafka.',
    why: 'what is cut is not read; tshark shows its header, and misses what is whole behind it',
  },
  ...['packets', 'tcp.'].flatMap(count => [
    { path: 'broken/own__ng_caplen_huge', count, why: 'tshark ends at the second packet, whose block is damaged' },
    { path: 'broken/own__ng_option_overrun', count, why: 'tshark ends at the damaged option, before any packet' },
  ]),
  {
    path: 'broken/ndpi__badpackets',
    count: 'dns.',
    why: 'first fragments whose others are not in the capture: tshark reads them alone',
  },
  {
    path: 'broken/ndpi__fuzz-2006-06-26-2594',
    count: 'dns.',
    why: 'damaged datagrams: tshark counts what it cannot read to the end',
  },
  {
    path: 'broken/tcpdump__ipv4_invalid_total_length',
    count: 'dns.',
    why: 'the datagram ends before its announced length',
  },
  {
    path: 'broken/tcpdump__ipv6_invalid_length_2',
    count: 'dns.',
    why: 'the datagram ends before its announced length',
  },
  {
    path: 'dns/pcpp__PacketExamples_DnsTooManyResources',
    count: 'dns.',
    why: 'more records announced than fit: no message of DNS',
  },
  { path: 'dns/tcpdump__dns-badlabel', count: 'dns.', why: 'labels that cannot be: no message of DNS' },
  { path: 'dns/tcpdump__dns_fwdptr', count: 'dns.', why: 'a pointer that points forward: no message of DNS' },
  { path: 'dns/tcpdump__dns_udp_2', count: 'dns.', why: 'the answer is cut by the snap length' },
  {
    path: 'dns/own__derived_truncation_tcp_retry__fuzzed',
    count: 'dns.',
    why: 'damaged on purpose: a connection whose first query has impossible counts is nobody’s, with its answer',
  },
  { path: 'dns/tcpdump__dns_tcp_8053', count: 'dns.', why: 'tshark does not look for DNS on this port' },
  { path: 'dns/suricata__dns-tcp-ts-gap', count: 'dns.queries', why: 'tshark misses the query behind the gap' },
  { path: 'pcapng/pcapngtest__', count: 'packets', why: 'tshark counts custom blocks as packets' },
  ...['be', 'le'].map(endian => ({
    path: `pcapng/own__ng_${endian}_unknown_blocks`,
    count: 'packets',
    why: 'tshark counts custom blocks as packets',
  })),
  { path: 'http1/suricata__http-missing-protocol', count: 'http.', why: 'a request line without a version' },
  {
    path: 'http1/zeek__http_methods',
    count: 'http.',
    why: 'request lines without target or version, on connections of their own',
  },
  {
    path: 'http1/zeek__http_http-09-content-length-confusion',
    count: 'http.',
    why: 'a request line without a version',
  },
  { path: 'http1/zeek__http_deeply-nested-mime', count: 'http.', why: 'tshark gives up on parts nested so deeply' },
  {
    path: 'http1/arkime__http-tcp-seq-issue',
    count: 'http.statuses',
    why: 'the capture ends within the body: tshark counts whole answers alone',
  },
  {
    path: 'http1/scapy__http_compressed-zstd',
    count: 'http.statuses',
    why: 'the capture ends within the body: tshark counts whole answers alone',
  },
  {
    path: 'http1/pcpp__PcapExamples_4KHttpRequests',
    count: 'http.',
    why: 'requests that follow a gap: tshark needs the bytes in between',
  },
  {
    path: 'http1/pcpp__PcapExamples_650HttpResponses',
    count: 'http.',
    why: 'answers whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'http1/suricata__http-gap-',
    count: 'http.statuses',
    why: 'answers whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'http1/suricata__http-pipeline-files-with-gap',
    count: 'http.statuses',
    why: 'answers whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'http1/zeek__http_content-range-gap-skip',
    count: 'http.statuses',
    why: 'answers whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'http1/zeek__http_entity_gap',
    count: 'http.statuses',
    why: 'answers whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'http1/zeek__http_zero-length-bodies-with-drops',
    count: 'http.',
    why: 'messages behind a gap: tshark needs the bytes in between',
  },
  {
    path: 'graphql/own__derived_post__lost_in_capture',
    count: 'http.',
    why: 'messages behind a gap: tshark needs the bytes in between',
  },
  {
    path: 'tcp/suricata__tcp-urgp-',
    count: 'http.',
    why: 'tshark does not look for HTTP on this port when its first segment holds half a word',
  },
  { path: 'tcp/zeek__communityid_tcp', count: 'http.', why: 'segments cut by the snap length, with gaps between' },
  {
    path: 'redis/zeek__redis_oss-fuzz',
    count: 'http.',
    why: 'made by a fuzzer: a status line with an impossible version',
  },
  {
    path: 'tunnels/arkime__twovlan',
    count: 'http.statuses',
    why: 'the capture ends within the body: tshark counts whole answers alone',
  },
  { path: 'tunnels/zeek__tunnels_ayiya3', count: 'http.', why: 'AYIYA (UDP 5072) is not unwrapped' },
  {
    path: 'tunnels/zeek__mixed-vlan-mpls',
    count: 'http.',
    why: 'a trailer of a load balancer behind each Ethernet frame, and one request without a version',
  },
  {
    path: 'http1/deepflow__http_client-ip',
    count: 'http.statuses',
    why: 'the body has a gap: tshark counts whole answers alone',
  },
  {
    path: 'linktypes/pcpp__PcapExamples_raw_ip',
    count: 'http.statuses',
    why: 'the capture ends within a body: tshark counts whole answers alone',
  },
  {
    path: 'dns/pcpp__PacketExamples_dns_over_tcp',
    count: 'dns.responses',
    why: 'the same segment again after 51 years: tshark calls it a retransmission',
  },
  {
    path: 'tcp/pcpp__PcapExamples_unidirectional',
    count: 'http.',
    why: 'requests whose bodies have gaps: tshark counts whole ones alone',
  },
  {
    path: 'pcapng/own__ng_be_spb',
    count: '',
    why: 'simple packet blocks: cut by the snap length, which tshark shows as answers, and all at time 0',
  },
  {
    path: 'pcapng/own__ng_le_spb',
    count: '',
    why: 'simple packet blocks: cut by the snap length, which tshark shows as answers, and all at time 0',
  },
  {
    path: 'pcapng/pcpp__PcapExamples_pcapng-example',
    count: 'http.',
    why: 'cut by the snap length within the headers',
  },
  {
    path: 'pcapng/own__pcap_time_zero_and_2106',
    count: 'http1',
    why: 'the clock jumps from 1970 to 2106 within an exchange: it was given up before its answer came',
  },
  {
    path: 'pcapng/own__pcap_time_backwards',
    count: 'redis',
    why: 'its second half comes first: the file begins with an answer and ends with the request for it',
  },
  {
    path: 'dns/own__derived_truncation_tcp_retry__reordered',
    count: 'dns',
    why: 'two answers over UDP come before their questions: they stay halves',
  },
  {
    path: 'graphql/own__derived_post__resegmented',
    count: 'http.statuses',
    why: 'segments of a few bytes: tshark loses answers',
  },
  {
    path: 'fragments/zeek__tunnels_gtp_gtp1_gn',
    count: 'http.statuses',
    why: 'the body has gaps: tshark counts whole answers alone',
  },
  {
    path: 'http1/own__odd_requests',
    count: 'http.',
    why: 'tshark knows neither `get` nor BREW; and it shows answers to clients that spoke no HTTP',
  },
  {
    path: 'http1/suricata__http-connect_http-connect-simple',
    count: 'http.',
    why: 'tshark takes the answer within the tunnel for data',
  },
  {
    path: 'mixed/zeek__wikipedia',
    count: 'dns.queries',
    why: 'LLMNR and NetBIOS names, which tshark counts by themselves',
  },
  {
    path: 'http1/own__derived_basic_keepalive__fuzzed',
    count: 'http.',
    why: 'damaged on purpose: an answer and a request with lines that cannot be fields are no messages',
  },
  {
    path: 'http1/own__derived_pipelined__fuzzed',
    count: 'http.statuses',
    why: 'damaged on purpose: two answers run into one, where tshark takes a CR alone for the end of a line',
  },
  {
    path: 'http2/own__derived_h2c_upgrade_small__fuzzed',
    count: 'http2.',
    why: 'damaged on purpose: tshark waits for the rest of a frame of 36 KB, here the next one is found again',
  },
  ...['grpc.messages', 'http2.requests'].map(count => ({
    path: 'grpc/own__derived_unary__fuzzed',
    count,
    why: 'damaged on purpose: behind a frame whose length is wrong tshark reads no request, here the next ones are found',
  })),
  {
    path: 'grpc/own__deadline_cancel',
    count: 'http2.responses',
    why: 'an answer behind the reset of its stream by the client: the exchange is over',
  },
  {
    path: 'http2/own__derived_h2c_upgrade_small__reordered',
    count: 'http.',
    why: 'segments out of order: tshark loses an answer',
  },
  {
    path: 'graphql/own__derived_post__fuzzed',
    count: 'http.',
    why: 'damaged on purpose: tshark believes a damaged answer',
  },
]

export function explain(
  all: readonly Explanation[],
  path: string,
  count: string,
  difference?: Difference,
  items: readonly Item[] = [],
): string | undefined {
  const applies = ({ holds }: Explanation) =>
    holds === undefined || (difference !== undefined && holds(difference, items))
  return all.find(one => path.startsWith(one.path) && count.startsWith(one.count) && applies(one))?.why
}
