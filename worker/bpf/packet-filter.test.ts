import assert from 'node:assert/strict'
import { loadNative, whyNoNative } from '../native.ts'
import { type Datagram, frameOf } from '../testing/traffic.ts'
import { readClassic } from './classic.ts'
import {
  FATES,
  type Fate,
  LINK,
  PACKET_FILTER_MAPS,
  PACKET_FILTER_STACK_BYTES,
  type PacketFilter,
  packetFilter,
  SNAP_LENGTH,
} from './packet-filter.ts'
import { Machine, type Skb } from './testing/machine.ts'

const UDP: Datagram = {
  from: '10.0.0.1',
  to: '10.0.0.2',
  fromPort: 40_000,
  toPort: 9999,
  protocol: 17,
  payload: Buffer.from('hello, world'),
}

describe('the filter of packets', () => {
  it('fits into the stack of the kernel', () => {
    assert.ok(PACKET_FILTER_STACK_BYTES <= 512)
  })

  it('counts every packet once, by cause, for the interface at which it was seen', () => {
    const filter = new Filter({})
    for (const ifindex of [7, 8, 8]) assert.equal(filter.fateOf(skbOf(datagram({}), { ifindex })), 'accepted')
    assert.deepEqual(filter.counts(7), { accepted: 1, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 })
    assert.equal(filter.counts(8).accepted, 2)
  })

  it('sees a packet of the loopback when it comes in, and not when it goes out', () => {
    const filter = new Filter({})
    assert.equal(filter.run(skbOf(datagram({}), { ifindex: 1, outgoing: true })), 0)
    assert.equal(filter.run(skbOf(datagram({}), { ifindex: 2, outgoing: true })), SNAP_LENGTH)
    assert.deepEqual([filter.counts(1).accepted, filter.counts(2).accepted], [0, 1])
  })

  it('asks for addresses only when it is told to', () => {
    const filter = new Filter({})
    const [wanted, other] = [skbOf(datagram({ to: '10.0.0.9' })), skbOf(datagram({}))]
    filter.target('10.0.0.9')
    assert.deepEqual(
      [wanted, other].map(skb => filter.fateOf(skb)),
      ['accepted', 'untargeted'],
    )
    assert.equal(filter.fateOf(skbOf(arp())), 'untargeted')
    // Also behind a tag that the kernel did not take out.
    assert.equal(filter.fateOf(skbOf(tagged(datagram({ from: '10.0.0.9' }), 7))), 'accepted')
    filter.machine.set('targeting', word(0), word(0))
    assert.equal(filter.fateOf(other), 'accepted')
  })

  it('looks at the packets of tunnels from their first byte on', () => {
    const filter = new Filter({ network: none, ethernet: null })
    filter.machine.set('links', word(5), word(LINK.network))
    const [ethernet, tunnel] = [{ ifindex: 4 }, { ifindex: 5 }]
    assert.equal(filter.fateOf(skbOf(datagram({}), ethernet)), 'accepted')
    assert.equal(filter.fateOf(skbOf(datagram({}), tunnel)), 'filtered')
    const wanting = new Filter({})
    wanting.target('10.0.0.9')
    wanting.machine.set('links', word(5), word(LINK.network))
    const packet = datagram({ to: '10.0.0.9' }).subarray(14)
    assert.equal(wanting.fateOf({ ...skbOf(packet, tunnel), network: 0 }), 'accepted')
    // A link layer that nobody knows.
    const cooked = Buffer.concat([Buffer.alloc(6), packet])
    assert.equal(wanting.fateOf({ ...skbOf(cooked, tunnel), network: 6 }), 'accepted')
  })

  it('keeps so many of a hundred flows, both directions of each', () => {
    const filter = new Filter({ samplePercent: 25 })
    let kept = 0
    for (let port = 1000; port < 2000; port++) {
      const forth = filter.fateOf(skbOf(datagram({ fromPort: port })))
      const back = filter.fateOf(skbOf(datagram({ from: UDP.to, to: UDP.from, fromPort: UDP.toPort, toPort: port })))
      assert.equal(forth, back)
      if (forth === 'accepted') kept++
    }
    assert.ok(kept > 200 && kept < 300, `${kept} of 1000`)
    assert.equal(filter.counts(4).accepted + filter.counts(4).sampledOut, 2000)
  })

  describe('leaves out own flows', () => {
    const SECOND = 1_000_000_000n
    const tcp = (changes: Partial<Datagram>, flags: number) => {
      const frame = datagram({ protocol: 6, ...changes })
      frame[47] = flags
      return frame
    }
    const [SYN, ACK] = [2, 16]
    const BACK = { from: UDP.to, to: UDP.from, fromPort: UDP.toPort, toPort: UDP.fromPort }

    function own(protocol: number): Filter {
      const filter = new Filter({ leaveOutOwn: true })
      filter.machine.now = 1000n * SECOND
      for (const { from, to, fromPort, toPort } of [UDP, BACK])
        filter.machine.set('own_flows', endsOf(from, to, fromPort, toPort, protocol), time(filter.machine.now))
      filter.machine.set('own_known', word(0), word(1))
      return filter
    }

    it('of TCP, until the connection begins anew without us', () => {
      const filter = own(6)
      assert.equal(filter.fateOf(skbOf(tcp({}, SYN))), 'own')
      filter.machine.now += 3600n * SECOND
      assert.equal(filter.fateOf(skbOf(tcp({}, ACK))), 'own')
      assert.equal(filter.fateOf(skbOf(tcp(BACK, SYN | ACK))), 'own')
      assert.equal(filter.fateOf(skbOf(tcp({ fromPort: 1 }, SYN))), 'accepted')
      assert.equal(filter.fateOf(skbOf(tcp({}, SYN))), 'accepted')
      assert.equal(filter.fateOf(skbOf(tcp(BACK, SYN | ACK))), 'accepted')
      assert.equal(filter.fateOf(skbOf(tcp({}, ACK))), 'accepted')
    })

    it('of UDP, for a minute after we have sent last', () => {
      const filter = own(17)
      filter.machine.now += 60n * SECOND
      assert.equal(filter.fateOf(skbOf(datagram(BACK))), 'own')
      filter.machine.now += SECOND
      assert.equal(filter.fateOf(skbOf(datagram(BACK))), 'accepted')
    })
  })

  describe('decides as libpcap does', () => {
    const EXPRESSIONS = [
      'ip',
      'ip6',
      'arp',
      'tcp',
      'udp port 53',
      'not udp',
      'host 10.0.0.9',
      'net 10.0.0.0/24 and not port 53',
      'portrange 40000-40010',
      'src host 2001:db8::1',
      'ip6 and udp port 53',
      'greater 100',
      'less 60',
      'udp[8] & 1 = 1',
      'ip[8] * 2 > 100 or ip[2:2] % 7 = 3',
      '(udp[4:2] - 8) / 3 = 4',
    ]
    const OF_ETHERNET = ['ether host 02:00:00:00:00:01', 'ether[12:2] = 0x0806', 'ether broadcast or ether multicast']
    const OF_TAGS = [
      'vlan',
      'vlan 7',
      'vlan 7 and udp port 53',
      'vlan and vlan 9',
      'not vlan',
      'vlan 7 and greater 100',
      'vlan and ip6',
    ]

    let native: {
      compileFilter(expression: string, dlt: number, length: number): Uint8Array
      filterMatches(program: Uint8Array, packet: Uint8Array): boolean
    }
    before(function () {
      const missing = whyNoNative()
      if (missing !== null) {
        console.error(`skipped: ${missing}`)
        this.skip()
      }
      native = loadNative()
    })

    it('of frames of Ethernet', () => {
      for (const expression of [...EXPRESSIONS, ...OF_ETHERNET]) {
        const program = native.compileFilter(expression, 1, SNAP_LENGTH)
        const filter = new Filter({ ethernet: readClassic(program), network: none })
        for (const frame of frames())
          agree(expression, frame, filter.fateOf(skbOf(frame)), native.filterMatches(program, frame))
      }
    })

    it('of packets behind any other link layer', () => {
      for (const expression of EXPRESSIONS) {
        // What the length of a packet is depends on the link layer, and there is no ARP.
        if (/greater|less|arp/.test(expression)) continue
        const program = native.compileFilter(expression, 12, SNAP_LENGTH)
        const filter = new Filter({ ethernet: none, network: readClassic(program) })
        filter.machine.set('links', word(4), word(LINK.network))
        for (const frame of frames()) {
          if (frame.readUInt16BE(12) === 0x0806) continue
          const packet = frame.subarray(14)
          const expected = native.filterMatches(program, packet)
          agree(expression, frame, filter.fateOf({ ...skbOf(packet), network: 0 }), expected)
          const cooked = Buffer.concat([Buffer.alloc(10, 0x45), packet])
          agree(expression, frame, filter.fateOf({ ...skbOf(cooked), network: 10 }), expected)
        }
      }
    })

    it('of tags of VLANs that the kernel has taken out', () => {
      for (const expression of OF_TAGS) {
        const program = native.compileFilter(expression, 1, SNAP_LENGTH)
        const filter = new Filter({ ethernet: readClassic(program), network: none, tags: true })
        for (const frame of frames())
          for (const control of [null, 7, 0x2009]) {
            const tag = control === null ? null : { type: 0x8100, control }
            const wire = control === null ? frame : tagged(frame, control)
            agree(expression, wire, filter.fateOf(skbOf(frame, { tag })), native.filterMatches(program, wire))
            const twice = tagged(wire, 9)
            const outer = { type: 0x88a8, control: 7 }
            agree(
              expression,
              wire,
              filter.fateOf(skbOf(twice, { tag: outer })),
              native.filterMatches(program, tagged(twice, 7, 0x88a8)),
            )
          }
      }
    })

    function agree(expression: string, frame: Buffer, fate: Fate, matches: boolean): void {
      assert.equal(fate, matches ? 'accepted' : 'filtered', `${expression}: ${frame.toString('hex')}`)
    }
  })
})

const none = 'none' as const

class Filter {
  readonly machine = new Machine(PACKET_FILTER_MAPS)
  private readonly program: Uint8Array

  constructor(changes: Partial<PacketFilter>) {
    const everything = { ethernet: null, network: null, tags: false, samplePercent: 100, leaveOutOwn: false }
    this.program = packetFilter({ ...everything, ...changes }).assemble(this.machine.descriptors)
  }

  run(skb: Skb): number {
    return this.machine.run(this.program, skb)
  }

  /** The one that was counted; the program must say the same. */
  fateOf(skb: Skb): Fate {
    const before = this.counts(skb.ifindex)
    const kept = this.run(skb)
    const after = this.counts(skb.ifindex)
    const counted = FATES.filter(fate => after[fate] !== before[fate])
    assert.deepEqual(
      counted.map(fate => after[fate] - before[fate]),
      [1],
    )
    assert.equal(kept, counted[0] === 'accepted' ? SNAP_LENGTH : 0)
    return counted[0]!
  }

  counts(ifindex: number): Record<Fate, number> {
    const value = this.machine.get('counters', word(ifindex))
    const words = value === undefined ? FATES.map(() => 0n) : [...new BigUint64Array(value.slice().buffer)]
    return Object.fromEntries(FATES.map((fate, i) => [fate, Number(words[i])])) as Record<Fate, number>
  }

  target(address: string): void {
    this.machine.set('targets', endsOf(address, '0.0.0.0', 0, 0, 0).subarray(0, 16), Uint8Array.of(1))
    this.machine.set('targeting', word(0), word(1))
  }
}

function skbOf(frame: Uint8Array, changes: Partial<Skb> = {}): Skb {
  return { frame, network: 14, ifindex: 4, outgoing: false, tag: null, ...changes }
}

function word(value: number): Uint8Array {
  return Uint8Array.of(value, 0, 0, 0)
}

function time(ns: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, ns, true)
  return new Uint8Array(view.buffer)
}

function endsOf(from: string, to: string, fromPort: number, toPort: number, protocol: number): Uint8Array {
  const ends = Buffer.alloc(40)
  for (const [at, address] of [from, to].entries()) {
    ends.writeUInt16BE(0xffff, 16 * at + 10)
    for (const [i, byte] of address.split('.').entries()) ends[16 * at + 12 + i] = Number(byte)
  }
  ends.writeUInt16BE(fromPort, 32)
  ends.writeUInt16BE(toPort, 34)
  ends.writeUInt32LE(protocol, 36)
  return ends
}

function datagram(changes: Partial<Datagram>): Buffer {
  return frameOf({ ...UDP, ...changes })
}

function tagged(frame: Buffer, control: number, type = 0x8100): Buffer {
  const tag = Buffer.from([type >> 8, type & 255, control >> 8, control & 255])
  return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)])
}

function arp(): Buffer {
  const frame = Buffer.alloc(60)
  frame.write('ffffffffffff0200000000020806', 'hex')
  return frame
}

/** Whole ones, and each cut at every length: a load behind the end rejects. */
function frames(): Buffer[] {
  const whole = [
    datagram({}),
    datagram({ toPort: 53 }),
    datagram({ to: '10.0.0.9', payload: Buffer.alloc(120, 3) }),
    datagram({ protocol: 6, toPort: 80 }),
    datagram({ from: '2001:db8::1', to: '2001:db8::2', toPort: 53 }),
    datagram({ from: '2001:db8::3', to: '2001:db8::2', protocol: 6 }),
    arp(),
  ]
  const fragment = datagram({ toPort: 53 })
  fragment.writeUInt16BE(0x2003, 20)
  return [...whole, fragment].flatMap(frame =>
    Array.from({ length: 12 }, (_, i) => frame.subarray(0, Math.max(14, frame.length - i * 5))),
  )
}
