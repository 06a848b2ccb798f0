import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import type { Json } from '../../item.ts'
import { MessageCursor } from './message-cursor.ts'
import { readData, typeName } from './records.ts'

/** Number, name, data on the wire (RFC examples, encoded with dnspython 2.9 where it knows the type), master file. */
const RECORDS: readonly [number: number, name: string, wire: string, presentation: string][] = [
  [1, 'A', '0a000001', '10.0.0.1'],
  [2, 'NS', '026e73076578616d706c6500', 'ns.example.'],
  [5, 'CNAME', '05612e622063076578616d706c6500', 'a\\.b\\032c.example.'],
  [
    6,
    'SOA',
    '016d076578616d706c65000172076578616d706c6500ffffffff00000001000000020000000300000004',
    'm.example. r.example. 4294967295 1 2 3 4',
  ],
  [10, 'NULL', '010203', '\\# 3 010203'],
  [12, 'PTR', '0178076578616d706c6500', 'x.example.'],
  [13, 'HINFO', '025043064c69226e7578', '"PC" "Li\\"nux"'],
  [14, 'MINFO', '016100016200', 'a. b.'],
  [15, 'MX', '000a046d61696c076578616d706c6500', '10 mail.example.'],
  [16, 'TXT', '0361206204ff00785c00', '"a b" "\\255\\000x\\\\" ""'],
  [17, 'RP', '0161076578616d706c65000162076578616d706c6500', 'a.example. b.example.'],
  [18, 'AFSDB', '00010161076578616d706c6500', '1 a.example.'],
  [19, 'X25', '0c333131303631373030393536', '"311061700956"'],
  [20, 'ISDN', '0f31353038363230323830303332313703303034', '"150862028003217" "004"'],
  [21, 'RT', '000a0161076578616d706c6500', '10 a.example.'],
  [24, 'SIG', '00000500000000003e7ca2cf3e552b1f0a5200010203', 'TYPE0 5 0 0 20030322175215 20030220192311 2642 . AQID'],
  [25, 'KEY', '01000305010203', '256 3 5 AQID'],
  [26, 'PX', '000a0161076578616d706c65000162076578616d706c6500', '10 a.example. b.example.'],
  [27, 'GPOS', '082d33322e36383832083131362e383635320431302e30', '"-32.6882" "116.8652" "10.0"'],
  [28, 'AAAA', '20010db8000000000000000000000001', '2001:db8::1'],
  [28, 'AAAA', '00000000000000000000000000000000', '::'],
  [28, 'AAAA', '00010000000000020000000000000003', '1:0:0:2::3'],
  [28, 'AAAA', '00000000000000000000ffff01020304', '::ffff:1.2.3.4'],
  [28, 'AAAA', '00010000000200030004000500060007', '1:0:2:3:4:5:6:7'],
  [29, 'LOC', '001114138b0d2c8c7ff8fca400989680', '51 30 12.748 N 0 7 39.612 W 0.00m 0.10m 100m 10m'],
  [29, 'LOC', '0033161376e8d2308f41ea1000988cee', '42 21 54.000 S 71 6 18.000 E -24.50m 30m 10000m 10m'],
  [33, 'SRV', '0001000200030173076578616d706c6500', '1 2 3 s.example.'],
  [
    35,
    'NAPTR',
    '0064000a0175074532552b7369701c215e2e2a24217369703a696e666f406578616d706c652e746573742100',
    '100 10 "u" "E2U+sip" "!^.*$!sip:info@example.test!" .',
  ],
  [36, 'KX', '000a0161076578616d706c6500', '10 a.example.'],
  [37, 'CERT', 'fffefffffe01020304', '65534 65535 254 AQIDBA=='],
  [39, 'DNAME', '0164076578616d706c6500', 'd.example.'],
  [42, 'APL', '00011503c0a82000011c83c0a82600020801ff', '1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8'],
  [43, 'DS', 'ec4505012bb183af5f22588179a53b0a98631fad1a292118', '60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118'],
  [44, 'SSHFP', '0201123456789abcdef67890123456789abcdef67890', '2 1 123456789ABCDEF67890123456789ABCDEF67890'],
  [45, 'IPSECKEY', '0a0102c0000226010351537986', '10 1 2 192.0.2.38 AQNRU3mG'],
  [45, 'IPSECKEY', '0a0002010351537986', '10 0 2 . AQNRU3mG'],
  [45, 'IPSECKEY', '0a03020167076578616d706c6500010351537986', '10 3 2 g.example. AQNRU3mG'],
  [45, 'IPSECKEY', '0a020220010db8000080020000000020000001010351537986', '10 2 2 2001:db8:0:8002::2000:1 AQNRU3mG'],
  [
    46,
    'RRSIG',
    '00010503000151803e7c9dd73e5510d70a52076578616d706c6500010351537986',
    'A 5 3 86400 20030322173103 20030220173103 2642 example. AQNRU3mG',
  ],
  [
    47,
    'NSEC',
    '04686f7374076578616d706c65000006400100000003041b000000000000000000000000000000000000000000000000000020',
    'host.example. A MX RRSIG NSEC TYPE1234',
  ],
  [48, 'DNSKEY', '010003050103d22a6ca77f35b8', '256 3 5 AQPSKmynfzW4'],
  [
    49,
    'DHCID',
    '000201636fc0b8271c82825bb1ac5c41cf5351aa69b4febd94e8f17cdb95000da48c40',
    'AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=',
  ],
  [
    50,
    'NSEC3',
    '0101000c04aabbccdd14174eb2409fe28bcb4887a1836f957f0a8425e27b000722010000000290',
    '1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR NS SOA MX RRSIG DNSKEY NSEC3PARAM',
  ],
  [50, 'NSEC3', '010100000014174eb2409fe28bcb4887a1836f957f0a8425e27b', '1 1 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR'],
  [51, 'NSEC3PARAM', '0100000c04aabbccdd', '1 0 12 AABBCCDD'],
  [51, 'NSEC3PARAM', '0100000000', '1 0 0 -'],
  [
    52,
    'TLSA',
    '030101abababababababababababababababababababababababababababababababab',
    '3 1 1 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB',
  ],
  [
    53,
    'SMIMEA',
    '030101abababababababababababababababababababababababababababababababab',
    '3 1 1 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB',
  ],
  [
    55,
    'HIP',
    '10020006200100107b1a74df365639cc39f1d57803010001b7710472767331076578616d706c65000472767332076578616d706c6500',
    '2 200100107B1A74DF365639CC39F1D578 AwEAAbdx rvs1.example. rvs2.example.',
  ],
  [56, 'NINFO', '01610162', '"a" "b"'],
  [59, 'CDS', 'ec4505012bb183af5f22588179a53b0a98631fad1a292118', '60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118'],
  [60, 'CDNSKEY', '010003050103d22a6ca77f35b8', '256 3 5 AQPSKmynfzW4'],
  [61, 'OPENPGPKEY', '0103d22a6ca77f35b8', 'AQPSKmynfzW4'],
  [62, 'CSYNC', '000000420003000460000008', '66 3 A NS AAAA'],
  [
    63,
    'ZONEMD',
    '7848b78c0101febe3d4ce2ec2ffa4ba99d46cd69d6d29711e55217057beefebe3d4ce2ec2ffa4ba99d46cd69d6d29711e55217057bee',
    '2018031500 1 1 FEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEEFEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEE',
  ],
  [
    64,
    'SVCB',
    '001003666f6f076578616d706c65000000000400010004000100090268320568332d313900040004c0000201',
    '16 foo.example. mandatory=alpn,ipv4hint alpn="h2,h3-19" ipv4hint=192.0.2.1',
  ],
  [64, 'SVCB', '000103666f6f076578616d706c6500029b000968656c6c6fd2716f6f', '1 foo.example. key667="hello\\210qoo"'],
  [65, 'HTTPS', '000003666f6f076578616d706c6500', '0 foo.example.'],
  [65, 'HTTPS', '0001000001000c08665c6f6f2c626172026832', '1 . alpn="f\\\\\\\\oo\\\\,bar,h2"'],
  [
    65,
    'HTTPS',
    '000100000200000003000200350005000201020006001020010db8000000000000000000000001000700072f717b3f646e7300080000',
    '1 . no-default-alpn port=53 ech=AQI= ipv6hint=2001:db8::1 dohpath="/q{?dns" ohttp',
  ],
  [66, 'DSYNC', '003b0114e70173076578616d706c6500', 'CDS 1 5351 s.example.'],
  [99, 'SPF', '0b763d73706631202d616c6c', '"v=spf1 -all"'],
  [104, 'NID', '000a00144fffff20ee64', '10 0014:4fff:ff20:ee64'],
  [105, 'L32', '000a0a010200', '10 10.1.2.0'],
  [106, 'L64', '000a20010db811401000', '10 2001:0db8:1140:1000'],
  [107, 'LP', '000a036c3634076578616d706c6500', '10 l64.example.'],
  [108, 'EUI48', '00005e00532a', '00-00-5e-00-53-2a'],
  [109, 'EUI64', '00005eef1000002a', '00-00-5e-ef-10-00-00-2a'],
  [249, 'TKEY', '03616c6700000000010000000200030010000201020000', 'alg. 1 2 3 BADSIG 2 AQI= 0'],
  [
    250,
    'TSIG',
    '03616c670000016b00eeac012c00020102b18b00120006000000000001',
    'alg. 6090190508 300 2 AQI= 45451 BADTIME 6 000000000001',
  ],
  [
    256,
    'URI',
    '000a00016674703a2f2f667470312e6578616d706c652e636f6d2f7075626c6963',
    '10 1 "ftp://ftp1.example.com/public"',
  ],
  [257, 'CAA', '0005697373756563612e6578616d706c652e6e65743b20783d227922', '0 issue "ca.example.net; x=\\"y\\""'],
  [258, 'AVC', '116170702d6e616d653a574f4c4647414e47', '"app-name:WOLFGANG"'],
  [261, 'RESINFO', '08716e616d656d696e', '"qnamemin"'],
  [262, 'WALLET', '074558414d504c450430313233', '"EXAMPLE" "0123"'],
  [
    32769,
    'DLV',
    'ec4505012bb183af5f22588179a53b0a98631fad1a292118',
    '60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118',
  ],
  [65280, 'TYPE65280', '0a000001', '\\# 4 0A000001'],
]

function cursor(hex: string): MessageCursor {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
  return new MessageCursor(bytes, 0, bytes.length)
}

describe('dns records', () => {
  for (const [number, name, wire, presentation] of RECORDS)
    it(`prints ${name} as a master file does: ${presentation.slice(0, 40)}`, () => {
      const record: Json = {}
      assert.equal(readData(cursor(wire), number, record), null)
      assert.equal(record.data, presentation)
      assert.equal(typeName(number), name)
    })

  it('shows data that is cut short as hex with the reason, unless it is complete there', () => {
    for (const [number, name, wire] of RECORDS)
      for (let length = 0; length < wire.length; length += 2) {
        const cut = wire.slice(0, length)
        const record: Json = {}
        if (readData(cursor(cut), number, record) === null) continue
        assert.deepEqual(record, { data: `\\# ${length / 2}${cut === '' ? '' : ` ${cut.toUpperCase()}`}` }, name)
      }
  })

  it('does not overlook a byte after the data', () => {
    for (const [number, name, wire] of RECORDS)
      if (
        /^(A|AAAA|NS|CNAME|SOA|PTR|HINFO|MX|RP|AFSDB|LOC|SRV|NAPTR|KX|DNAME|NSEC3PARAM|EUI48|EUI64|TSIG|TKEY|L32|LP)$/.test(
          name,
        )
      )
        assert.match(readData(cursor(`${wire}ff`), number, {})!, /found 1 more bytes/, name)
  })

  it('gives fields that scripts can use', () => {
    const fields = (number: number, wire: string) => {
      const record: Json = {}
      readData(cursor(wire), number, record)
      return record
    }
    assert.equal(fields(1, '0a000001').ip, '10.0.0.1')
    assert.deepEqual(fields(15, '000a046d61696c00').mx, { preference: 10, name: 'mail' })
    assert.deepEqual(fields(33, '000100020003017300').srv, { priority: 1, weight: 2, port: 3, name: 's' })
    assert.deepEqual(fields(16, '0161026262').txts, ['a', 'bb'])
    assert.deepEqual(fields(16, '02c3a9').txts, ['é'])
    assert.deepEqual(fields(65, '000100000100030268320003000220fb').https, {
      priority: 1,
      target: '.',
      params: { alpn: ['h2'], port: 8443 },
    })
  })
})
