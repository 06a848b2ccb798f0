import assert from 'node:assert/strict'
import { Flows } from '../flow.ts'
import { frameOf } from '../testing/traffic.ts'
import { narrow } from './narrowing.ts'

describe('what the index answers of a filter expression', () => {
  const payload = Buffer.alloc(4)
  const web = { from: '10.0.0.1', to: '10.0.1.2', fromPort: 40000, toPort: 80, protocol: 6, payload }
  const dns = { from: '2001:db8::1', to: '2001:db8::53', fromPort: 40000, toPort: 53, protocol: 17, payload }

  function wants(expression: string, datagram: typeof web): boolean | null {
    const filter = narrow(expression)
    const flows = new Flows()
    const frame = frameOf(datagram)
    flows.read(frame, 0, frame.length, frame.length, 1)
    assert.equal(flows.count, 1)
    assert.ok(filter === null || filter.strangers)
    return filter === null ? null : filter.wants(flows.list[0])
  }

  for (const [expression, ofWeb, ofDns] of [
    ['host 10.0.0.1', true, false],
    ['10.0.0.1', null, null],
    ['src 10.0.1.2', true, false],
    ['ip host 10.0.0.9', false, false],
    ['host 2001:db8::1', false, true],
    ['net 10.0.0.0/16', true, false],
    ['net 10.0.1.0/24', true, false],
    ['net 10.0.2.0/24', false, false],
    ['dst net 2001:db8::/32', false, true],
    ['net 0.0.0.0/0', true, false],
    ['port 80', true, false],
    ['tcp port 53', false, false],
    ['udp src port 53', false, true],
    ['portrange 50-60', false, true],
    ['tcp', true, false],
    ['ip6', false, true],
    ['udp or tcp', true, true],
    ['tcp && port 80', true, false],
    ['port 80 and (host 10.0.0.1 or host 10.0.0.2)', true, false],
    ['port 53 or port 81 and tcp', false, false],
    ['not port 80', true, true],
    ['not port 80 and udp', false, true],
    ['tcp and not (port 80 or port 81)', true, false],
    ['src or dst port 80', true, false],
    ['host 10.0.0.1 and not udp', true, false],
    ['host example.org', null, null],
    ['port http', null, null],
    ['vlan 5 and host 10.0.0.1', null, null],
    ['mpls and port 80', null, null],
    ['tcp[13] & 2 != 0', null, null],
    ['len > 100', null, null],
    ['ether host 02:00:00:00:00:01', null, null],
    ['net 10.0.0.0 mask 255.0.0.0', null, null],
    ['net 10', null, null],
    ['port 80 and', null, null],
    ['(port 80', null, null],
    ['port 80)', null, null],
    ['', null, null],
    ['constructor', null, null],
    ['host 10.0.0.1 or 10.0.0.2', null, null],
  ] as const)
    it(`reads \`${expression}\``, () => {
      assert.equal(wants(expression, web), ofWeb)
      assert.equal(wants(expression, dns), ofDns)
    })
})
