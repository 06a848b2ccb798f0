import assert from 'node:assert/strict'
import { formatAddress, parseAddress } from '../core/address.ts'
import { between, Flows } from './flow.ts'
import { type Datagram, frameOf } from './testing/traffic.ts'

describe('flows of packets', () => {
  const web: Datagram = {
    from: '10.0.0.1',
    to: '10.0.0.2',
    fromPort: 40000,
    toPort: 80,
    protocol: 6,
    payload: Buffer.from('hello'),
  }
  const flows = new Flows()

  /** `address:port address:port protocol`, without ports where they are not known; and whether there may be more. */
  function told(frame: Uint8Array, linkType = 1, length = frame.length): string[] {
    flows.read(frame, 0, frame.length, length, linkType)
    const list = flows.list.slice(0, flows.count).map(({ words, lowerPort, upperPort, protocol, portsKnown }) => {
      const [lower, upper] = [formatAddress(words), formatAddress(words, 4)]
      return portsKnown ? `${lower} ${lowerPort} ${upper} ${upperPort} ${protocol}` : `${lower} ${upper} ${protocol}`
    })
    return flows.stranger ? [...list, 'stranger'] : list
  }

  const WEB = '10.0.0.1 40000 10.0.0.2 80 6'
  const tagged = (frame: Buffer, ...tags: string[]) =>
    Buffer.concat([frame.subarray(0, 12), Buffer.from(tags.join(''), 'hex'), frame.subarray(12)])

  it('have no direction', () => {
    assert.deepEqual(told(frameOf(web)), [WEB])
    assert.deepEqual(told(frameOf({ ...web, from: web.to, to: web.from, fromPort: 80, toPort: 40000 })), [WEB])
    const self = { ...web, to: web.from }
    const back = { ...self, fromPort: self.toPort, toPort: self.fromPort }
    assert.deepEqual(told(frameOf(self)), told(frameOf(back)))
    const six = { ...web, from: '2001:db8::2', to: '2001:db8::1' }
    assert.deepEqual(told(frameOf(six)), ['2001:db8::1 80 2001:db8::2 40000 6'])
  })

  it('are those of the addresses behind VLAN tags, and of any link type', () => {
    const frame = frameOf(web)
    assert.deepEqual(told(tagged(frame, '81000005')), [WEB])
    assert.deepEqual(told(tagged(frame, '88a80007', '81000005')), [WEB])
    assert.deepEqual(told(frame.subarray(14), 101), [WEB])
    assert.deepEqual(
      told(Buffer.concat([Buffer.from('00000001000600000000000000000800', 'hex'), frame.subarray(14)]), 113),
      [WEB],
    )
    const cooked2 = Buffer.from('0800000000000002000100060200000000010000', 'hex')
    assert.deepEqual(told(Buffer.concat([cooked2, frame.subarray(14)]), 276), [WEB])
  })

  it('are two where there is a tunnel', () => {
    const vxlan = Buffer.concat([Buffer.from('0800000000002a00', 'hex'), frameOf(web)])
    const outer = frameOf({
      from: '192.0.2.1',
      to: '192.0.2.2',
      fromPort: 50000,
      toPort: 4789,
      protocol: 17,
      payload: vxlan,
    })
    assert.deepEqual(told(outer), ['192.0.2.1 50000 192.0.2.2 4789 17', WEB])
    const ipip = frameOf({ ...web, from: '192.0.2.1', to: '192.0.2.2', protocol: 4 }).subarray(0, 34)
    const inner = Buffer.concat([ipip, frameOf(web).subarray(14)])
    inner.writeUInt16BE(inner.length - 14, 16)
    assert.deepEqual(told(inner), ['192.0.2.1 0 192.0.2.2 0 4', WEB])
    // A port alone is none.
    const plain = frameOf({ ...web, protocol: 17, toPort: 4789 })
    assert.deepEqual(told(plain), ['10.0.0.1 40000 10.0.0.2 4789 17'])
  })

  it('are those inside of MPLS', () => {
    const frame = frameOf(web)
    const mpls = Buffer.concat([frame.subarray(0, 12), Buffer.from('884700001140', 'hex'), frame.subarray(14)])
    assert.deepEqual(told(mpls), [WEB])
  })

  it('have no ports in later fragments, and in packets that are cut', () => {
    const later = frameOf(web)
    later.writeUInt16BE(3, 20)
    assert.deepEqual(told(later), ['10.0.0.1 10.0.0.2 6'])
    const first = frameOf({ ...web, payload: Buffer.alloc(36) })
    first.writeUInt16BE(0x2000, 20)
    assert.deepEqual(told(first), [WEB])
    assert.deepEqual(told(frameOf(web).subarray(0, 36), 1, 59), ['10.0.0.1 10.0.0.2 6'])
    const icmp = frameOf({ ...web, protocol: 1 })
    assert.deepEqual(told(icmp), ['10.0.0.1 0 10.0.0.2 0 1'])
  })

  it('are not known of what is not IP, or cut before its addresses', () => {
    const arp = Buffer.concat([frameOf(web).subarray(0, 12), Buffer.from('0806', 'hex'), Buffer.alloc(40)])
    for (const frame of [arp, frameOf(web).subarray(0, 25), Buffer.alloc(0), Buffer.alloc(5), Buffer.alloc(60)])
      assert.deepEqual(told(frame, 1, 60), ['stranger'])
    assert.ok(told(frameOf(web), 9999).includes('stranger'))
  })

  it('are found by their two ends', () => {
    const end = (address: string, port: number) => ({ address: parseAddress(address)!, port })
    const wanted = between(end('10.0.0.2', 80), end('10.0.0.1', 40000), 6)
    const wants = (datagram: Datagram) => {
      const frame = frameOf(datagram)
      flows.read(frame, 0, frame.length, frame.length, 1)
      return wanted.wants(flows.list[0])
    }
    assert.equal(wants(web), true)
    assert.equal(wants({ ...web, from: web.to, to: web.from, fromPort: 80, toPort: 40000 }), true)
    assert.equal(wants({ ...web, fromPort: 40001 }), false)
    assert.equal(wants({ ...web, protocol: 17 }), false)
    assert.equal(wants({ ...web, from: '10.0.0.3' }), false)
    assert.equal(wants({ ...web, fromPort: 80, toPort: 40000 }), false)
  })
})
