/**
 * Why a capture's counts differ from tshark's, or why what the truth tells of is missing. The first entry that matches
 * counts; whoever adds one has looked at the packets.
 */
export interface Explanation {
  /** Start of the path within the corpus. */
  path: string
  /** Start of the count's name (`http.`); empty for all. */
  count: string
  why: string
}

export const EXPLANATIONS: readonly Explanation[] = [
  { path: 'tls/', count: 'http.', why: 'tshark was given the keys; what is encrypted is not read here' },
  { path: 'sctp/', count: 'http.', why: 'HTTP over SCTP: SCTP is not dissected' },
  { path: 'http2/suricata__dns-over-http2', count: 'dns.', why: 'DNS over HTTP/2: HTTP/2 is not dissected' },
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
  { path: 'dns/tcpdump__dns_tcp_8053', count: 'dns.', why: 'tshark does not look for DNS on this port' },
  { path: 'dns/suricata__dns-tcp-ts-gap', count: 'dns.queries', why: 'tshark misses the query behind the gap' },
  { path: 'pcapng/pcapngtest__', count: 'packets', why: 'tshark counts custom blocks as packets' },
  { path: 'http1/own__odd_requests', count: 'http.methods', why: 'methods that tshark does not know' },
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
]

export function explain(path: string, count: string): string | undefined {
  return EXPLANATIONS.find(one => path.startsWith(one.path) && count.startsWith(one.count))?.why
}
