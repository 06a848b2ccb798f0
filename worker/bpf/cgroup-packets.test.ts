import assert from 'node:assert/strict'
import { type Datagram, frameOf } from '../testing/traffic.ts'
import {
  CGROUP_PACKETS_MAPS,
  CGROUP_PACKETS_STACK_BYTES,
  type CgroupPackets,
  cgroupPackets,
  FATES,
  type Fate,
  MAX_CAPTURED,
  STATE,
} from './cgroup-packets.ts'
import { Machine } from './testing/machine.ts'

const PASS = 1
const NONE = { seen: 0, accepted: 0, dropped: 0, filtered: 0, untargeted: 0, sampledOut: 0, own: 0 }

describe('the programs at cgroups', () => {
  it('fit into the stack of the kernel', () => {
    assert.ok(CGROUP_PACKETS_STACK_BYTES <= 512)
  })

  it('put packets into the ring as they are, with what is known of them', () => {
    for (const direction of ['ingress', 'egress'] as const) {
      const program = new Program({ direction })
      program.machine.now = 1_234_567_890_123n
      const packet = datagram({ payload: Buffer.from('hello') })
      program.run(packet, 77n)
      assert.deepEqual(program.records(), [
        {
          time: 1_234_567_890_123n,
          cgroup: 77n,
          length: packet.length,
          outbound: direction === 'egress' ? 1 : 0,
          packet,
        },
      ])
    }
  })

  it('take packets of every length whole, up to the longest', () => {
    const program = new Program({})
    program.machine.ringBytes = 1 << 24
    const lengths = [
      28, 96, 97, 192, 193, 384, 385, 1500, 1536, 1537, 9216, 9217, 18_433, 36_865, 65_535, 65_536, 65_600,
    ]
    const longest = Buffer.concat([datagram({}), Buffer.alloc(1 << 17, 7)])
    for (const length of lengths) program.run(longest.subarray(0, length), 1n)
    assert.deepEqual(
      program.records().map(({ length, packet }) => [length, packet.length]),
      lengths.map(length => [length, Math.min(length, MAX_CAPTURED)]),
    )
    assert.deepEqual(program.counts(1n), { ...NONE, seen: lengths.length, accepted: lengths.length })
  })

  it('count every packet once, by cause, for the cgroup of its socket', () => {
    const reject = [{ code: 6, jt: 0, jf: 0, k: 0 }]
    const filtered = new Program({ filter: reject })
    for (const cgroup of [1n, 1n, 2n]) filtered.run(datagram({}), cgroup)
    assert.deepEqual(filtered.counts(1n), { ...NONE, seen: 2, filtered: 2 })
    assert.deepEqual(filtered.counts(2n), { ...NONE, seen: 1, filtered: 1 })
    const targeted = new Program({})
    targeted.machine.set('targeting', word(0), word(1))
    targeted.run(datagram({}), 3n)
    assert.deepEqual(targeted.counts(3n), { ...NONE, seen: 1, untargeted: 1 })
    const sample = new Program({ samplePercent: 50 })
    for (let port = 1; port <= 200; port++) sample.run(datagram({ fromPort: port }), 4n)
    const { seen, accepted, sampledOut } = sample.counts(4n)
    assert.deepEqual([seen, accepted + sampledOut], [200, 200])
    assert.ok(accepted > 60 && accepted < 140)
  })

  it('count what finds no room, and how often it became so', () => {
    const program = new Program({})
    program.machine.ringBytes = 400
    for (let i = 0; i < 5; i++) program.run(datagram({}), 1n)
    const [kept, lost] = [program.records().length, 5 - program.records().length]
    assert.ok(kept > 0 && lost > 1)
    assert.deepEqual(program.counts(1n), { ...NONE, seen: 5, accepted: kept, dropped: lost })
    assert.equal(program.state(STATE.freezes), 1)
    assert.equal(program.state(STATE.full), 1)
    // The reader has emptied it.
    program.machine.records.length = 0
    program.set(STATE.full, 0)
    for (let i = 0; i < 5; i++) program.run(datagram({}), 1n)
    assert.equal(program.state(STATE.freezes), 2)
  })

  it('wake a reader that sleeps, once, when as much is there as it said', () => {
    const program = new Program({})
    program.run(datagram({}), 1n)
    program.machine.wakeups = 0
    program.run(datagram({}), 1n)
    assert.equal(program.machine.wakeups, 0)
    program.set(STATE.wakeAt, program.machine.ringUsed + 100)
    for (let i = 0; i < 5; i++) program.run(datagram({}), 1n)
    assert.equal(program.machine.wakeups, 1)
    assert.equal(program.state(STATE.wakeAt), 0)
  })

  it('wake the reader for each new cgroup, whose name may be gone soon', () => {
    const program = new Program({})
    for (const cgroup of [1n, 2n, 1n, 2n]) program.run(datagram({}), cgroup)
    assert.equal(program.machine.wakeups, 2)
  })

  it('count packets of cgroups that find no room for counters as of no known one', () => {
    const program = new Program({})
    const { machine } = program
    const set = machine.set.bind(machine)
    machine.set = (map, key, value) => {
      if (map !== 'counters') set(map, key, value)
    }
    program.run(datagram({}), 99n)
    assert.deepEqual(program.counts(0n), { ...NONE, seen: 1, accepted: 1 })
    assert.equal(program.records()[0]!.cgroup, 0n)
  })
})

class Program {
  readonly machine = new Machine({ ...CGROUP_PACKETS_MAPS, ring: { type: 'ringbuf', keyBytes: 0, valueBytes: 0 } })
  private readonly program: Uint8Array

  constructor(given: Partial<CgroupPackets>) {
    const asked: CgroupPackets = { direction: 'egress', samplePercent: 100, filter: null, leaveOutOwn: true, ...given }
    this.program = cgroupPackets(asked).assemble(this.machine.descriptors)
    this.machine.set('counters', keyOf(0n), new Uint8Array(8 * FATES.length))
  }

  run(packet: Uint8Array, cgroup: bigint): void {
    const skb = { frame: packet, network: 0, ifindex: 1, outgoing: false, tag: null, cgroup }
    assert.equal(this.machine.run(this.program, skb), PASS)
  }

  counts(cgroup: bigint): Record<Fate, number> {
    const value = this.machine.get('counters', keyOf(cgroup)) ?? new Uint8Array(8 * FATES.length)
    const view = new DataView(value.buffer)
    return Object.fromEntries(FATES.map((fate, at) => [fate, Number(view.getBigUint64(8 * at, true))])) as Record<
      Fate,
      number
    >
  }

  state(offset: number): number {
    return new DataView(this.machine.get('state', word(0))!.buffer).getUint32(offset, true)
  }

  set(offset: number, value: number): void {
    new DataView(this.machine.get('state', word(0))!.buffer).setUint32(offset, value, true)
  }

  records() {
    return this.machine.records.map(record => {
      const view = new DataView(record.buffer)
      return {
        time: view.getBigUint64(0, true),
        cgroup: view.getBigUint64(8, true),
        length: view.getUint32(16, true),
        outbound: view.getUint32(24, true),
        packet: Buffer.from(record.subarray(32, 32 + view.getUint32(20, true))),
      }
    })
  }
}

/** From the header of IP on. */
function datagram(given: Partial<Datagram>): Buffer {
  const whole = {
    from: '10.0.0.1',
    to: '10.0.0.2',
    fromPort: 40_000,
    toPort: 53,
    protocol: 17,
    payload: Buffer.alloc(9),
  }
  return frameOf({ ...whole, ...given }).subarray(14)
}

function keyOf(cgroup: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, cgroup, true)
  return new Uint8Array(view.buffer)
}

function word(value: number): Uint8Array {
  return Uint8Array.of(value, 0, 0, 0)
}
