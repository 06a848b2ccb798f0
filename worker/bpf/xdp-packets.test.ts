import assert from 'node:assert/strict'
import { type Datagram, frameOf } from '../testing/traffic.ts'
import { Machine } from './testing/machine.ts'
import {
  FATES,
  type Fate,
  XDP_COUNTERS,
  XDP_PACKETS_STACK_BYTES,
  XDP_SHARED_MAPS,
  type XdpPackets,
  xdpPackets,
} from './xdp-packets.ts'

const PASS = 2
const REDIRECT = 4
const NONE = { seen: 0, accepted: 0, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 }

describe('the program at XDP', () => {
  it('fits into the stack of the kernel', () => {
    assert.ok(XDP_PACKETS_STACK_BYTES <= 512)
  })

  it('gives packets to the socket of their queue', () => {
    const program = new Program({}, [0, 1])
    assert.deepEqual(
      [0, 1, 0].map(queue => program.run(datagram({}), queue)),
      [REDIRECT, REDIRECT, REDIRECT],
    )
    assert.deepEqual(program.counts(), { ...NONE, seen: 3, accepted: 3 })
  })

  it('leaves to the kernel what comes in by a queue without a socket', () => {
    assert.equal(new Program({}, [0]).run(datagram({}), 1), PASS)
  })

  it('leaves to the kernel what is not wanted, and counts it once, by cause', () => {
    const none = new Program({ filter: [{ code: 6, jt: 0, jf: 0, k: 0 }] })
    assert.equal(none.run(datagram({}), 0), PASS)
    assert.deepEqual(none.counts(), { ...NONE, seen: 1, filtered: 1 })
    const targeted = new Program({})
    targeted.machine.set('targeting', word(0), word(1))
    assert.equal(targeted.run(datagram({}), 0), PASS)
    assert.deepEqual(targeted.counts(), { ...NONE, seen: 1, untargeted: 1 })
    const sample = new Program({ samplePercent: 50 })
    const kept = Array.from({ length: 200 }, (_, port) => sample.run(datagram({ fromPort: port }), 0))
    const { accepted, sampledOut } = sample.counts()
    assert.equal(kept.filter(answer => answer === REDIRECT).length, accepted)
    assert.equal(kept.filter(answer => answer === PASS).length, sampledOut)
    assert.ok(accepted > 60 && accepted < 140)
  })

  it('takes what is no packet of IP too, where nobody asks for addresses', () => {
    const arp = Buffer.concat([Buffer.alloc(12), Buffer.from([0x08, 0x06]), Buffer.alloc(46)])
    assert.equal(new Program({ samplePercent: 1 }).run(arp, 0), REDIRECT)
  })
})

class Program {
  readonly machine = new Machine({
    ...XDP_SHARED_MAPS,
    counters: XDP_COUNTERS,
    sockets: { type: 'xskmap', keyBytes: 4, valueBytes: 4 },
  })
  private readonly program: Uint8Array

  constructor(given: Partial<XdpPackets>, queues: readonly number[] = [0]) {
    const asked: XdpPackets = { samplePercent: 100, filter: null, leaveOutOwn: true, ...given }
    this.program = xdpPackets(asked).assemble(this.machine.descriptors)
    for (const queue of queues) this.machine.set('sockets', word(queue), word(0))
  }

  run(frame: Uint8Array, queue: number): number {
    return this.machine.runXdp(this.program, frame, queue)
  }

  counts(): Record<Fate, number> {
    const view = new DataView(this.machine.get('counters', word(0))!.buffer)
    return Object.fromEntries(FATES.map((fate, at) => [fate, Number(view.getBigUint64(8 * at, true))])) as Record<
      Fate,
      number
    >
  }
}

function datagram(given: Partial<Datagram>): Buffer {
  const whole = {
    from: '10.0.0.1',
    to: '10.0.0.2',
    fromPort: 40_000,
    toPort: 53,
    protocol: 17,
    payload: Buffer.alloc(9),
  }
  return frameOf({ ...whole, ...given })
}

function word(value: number): Uint8Array {
  return Uint8Array.of(value, 0, 0, 0)
}
