import assert from 'node:assert/strict'
import { JsonWriter } from '../../json-writer.ts'
import type { DnsFlags, DnsRecord, DnsRequest, DnsResponse } from '../dns.ts'
import { writeRequest, writeResponse } from './message-text.ts'

const REQUEST: DnsRequest = {
  opCode: 'Query',
  id: 65_535,
  flags: flags(0b0000100),
  questions: [{ name: 'a.example', type: 'A', class: 'IN' }],
  answers: [],
  authorities: [],
  additionals: [],
  edns: null,
}

const RECORDS: DnsRecord[] = [
  { name: 'a.example', type: 'A', class: 'IN', ttl: 0, ip: '10.0.0.1', data: '10.0.0.1' },
  { name: '_http._tcp.local', type: 'PTR', class: 'IN', ttl: 4_294_967_295, cacheFlush: true, ptr: 'x', data: 'x' },
  { name: 'odd\\"\u0000ü', type: 'TYPE65280', class: 'CLASS7', ttl: 1, data: '"quoted" \u007f\n' },
  { name: '.', type: 'MX', class: 'IN', ttl: 5, mx: { preference: 10, exchange: 'm.example' }, data: '10 m.example.' },
  { name: 't', type: 'TXT', class: 'IN', ttl: 5, txts: ['v=spf1', 'ü'], data: '"v=spf1" "ü"' },
]

describe('text of DNS messages', () => {
  it('is what JSON.stringify makes of them', () => {
    const response: DnsResponse = {
      code: 'NXDOMAIN',
      rcode: 3,
      ...REQUEST,
      questions: [],
      answers: RECORDS,
      authorities: RECORDS.slice(0, 1),
      additionals: RECORDS.slice(1, 3),
      edns: { udpSize: 1232, version: 0, do: true, z: 0, options: [{ code: 10, name: 'COOKIE', client: 'ff' }] },
    }
    for (const body of [
      REQUEST,
      response,
      { ...REQUEST, questions: [{ name: '_x.local', type: 'ANY', class: 'IN', unicast: false }] },
      { ...REQUEST, edns: { udpSize: 512, version: 255, do: false, z: 1, options: [] } },
      { ...REQUEST, opCode: 'DSO', operations: [{ name: 'keepalive', timeout: 1 }] },
    ])
      assert.equal(textOf(body), JSON.stringify(body))
  })

  it('has every combination of flags', () => {
    for (let bits = 0; bits < 128; bits++) {
      const body = { ...REQUEST, flags: flags(bits) }
      assert.equal(textOf(body), JSON.stringify(body))
    }
  })
})

function textOf(body: DnsRequest): string {
  const out = new JsonWriter(16)
  if ('code' in body) writeResponse(out, body as DnsResponse)
  else writeRequest(out, body)
  return out.bytes.toString('utf8', 0, out.length)
}

function flags(bits: number): DnsFlags {
  const [aa, tc, rd, ra, z, ad, cd] = [0, 1, 2, 3, 4, 5, 6].map(bit => ((bits >> bit) & 1) === 1)
  return { aa: aa!, tc: tc!, rd: rd!, ra: ra!, z: z!, ad: ad!, cd: cd! }
}
