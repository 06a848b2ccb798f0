import assert from 'node:assert/strict'
import type { Bpf } from '../bpf/bpf.ts'
import { FATES, type Fate } from '../bpf/packet-filter.ts'
import type { Handle } from '../native.ts'
import { type CountingSocket, PacketCounters } from './packet-counters.ts'

describe('counters of AF_PACKET', () => {
  it('add up at any time, and are exact for each interface at the end', () => {
    const { kernel, counters } = counting(3)
    kernel.see(7, { accepted: 100, filtered: 10 })
    kernel.see(8, { accepted: 300, own: 5 })
    kernel.take(0, 90)
    kernel.take(1, 100)
    const both = socket(0)
    kernel.drop(both, 60, 2)
    const during = [...counters.read([both])]
    // 10 and 200 packets are missing, of which 60 were dropped.
    assert.deepEqual(
      during.map(([id, { seen, passed, dropped, filtered, own, freezes }]) => [
        id,
        seen,
        passed,
        dropped,
        filtered,
        own,
        freezes,
      ]),
      [
        [0, 102, 90, 2, 10, 0, 0],
        [1, 163, 100, 58, 0, 5, 2],
        [2, 0, 0, 0, 0, 0, 0],
      ],
    )
    kernel.take(0, 5)
    kernel.take(1, 145)
    const last = [...counters.readLast([both])]
    assert.deepEqual(
      last.map(([id, { seen, passed, dropped, freezes }]) => [id, seen, passed, dropped, freezes]),
      [
        [0, 110, 95, 5, 0],
        [1, 305, 245, 55, 2],
        [2, 0, 0, 0, 0],
      ],
    )
  })

  it('give what a socket of one interface has dropped to that interface', () => {
    const { kernel, counters } = counting(2)
    kernel.see(7, { accepted: 50 })
    kernel.see(8, { accepted: 50 })
    kernel.take(0, 10)
    kernel.take(1, 10)
    const [first, second] = [socket(7), socket(8)]
    kernel.drop(second, 30, 1)
    const dropped = [...counters.read([first, second])].map(([, counted]) => counted.dropped)
    assert.deepEqual(dropped, [0, 30])
  })

  it('leave duplicates out of what passed, not out of what was seen', () => {
    const { kernel, counters } = counting(1)
    kernel.see(7, { accepted: 10 })
    kernel.take(0, 10, 4)
    const [[, { seen, passed, duplicates }] = assert.fail()] = [...counters.read([])]
    assert.deepEqual([seen, passed, duplicates], [10, 6, 4])
  })

  it('say a last word of an interface that has gone', () => {
    const { kernel, counters } = counting(2)
    kernel.see(7, { accepted: 10, untargeted: 3 })
    kernel.take(0, 9)
    const [id, { seen, dropped, untargeted }] = counters.remove(7)!
    assert.deepEqual([id, seen, dropped, untargeted], [0, 13, 1, 3])
    assert.deepEqual(
      [...counters.read([])].map(([number]) => number),
      [1],
    )
    assert.equal(counters.remove(7), null)
    assert.equal(kernel.knows(7), false)
  })
})

/** Interfaces with the indexes 7, 8 ... and the numbers 0, 1 ... */
function counting(interfaces: number): { kernel: Kernel; counters: PacketCounters } {
  const kernel = new Kernel()
  const maps = { counters: 1, strays: 2 }
  const counters = new PacketCounters(kernel, {} as Handle, kernel as unknown as Bpf, maps)
  for (let id = 0; id < interfaces; id++) counters.add(id, 7 + id)
  return { kernel, counters }
}

function socket(index: number): CountingSocket {
  return { handle: {} as Handle, index, drops: 0, freezes: 0 }
}

/** What the kernel and the threads would have counted; of two processors the second saw it all. */
class Kernel {
  private readonly fates = new Map<number, Partial<Record<Fate, number>>>()
  private readonly taken = new Map<number, [taken: number, duplicates: number]>()
  private readonly sockets = new Map<Handle, [drops: number, freezes: number]>()

  see(index: number, fates: Partial<Record<Fate, number>>): void {
    this.fates.set(index, fates)
  }

  take(id: number, more: number, duplicates = 0): void {
    const [before, twice] = this.taken.get(id) ?? [0, 0]
    this.taken.set(id, [before + more, twice + duplicates])
  }

  drop({ handle }: CountingSocket, drops: number, freezes: number): void {
    this.sockets.set(handle, [drops, freezes])
  }

  knows(index: number): boolean {
    return this.fates.has(index)
  }

  readInterface(_: Handle, id: number, into: Float64Array): void {
    into.set([7 + id, 1, 1, ...(this.taken.get(id) ?? [0, 0])])
  }

  readPacketSocket(handle: Handle, into: Float64Array): void {
    into.set([0, ...(this.sockets.get(handle) ?? [0, 0]), 0])
  }

  lookup(map: number, key: Uint8Array, value: Uint8Array): boolean {
    const fates = map === 1 ? this.fates.get(key[0]!) : undefined
    if (fates === undefined) return false
    const counts = new BigUint64Array(value.buffer)
    counts.fill(0n)
    const processor = counts.length > FATES.length ? FATES.length : 0
    for (const [at, fate] of FATES.entries()) counts[processor + at] = BigInt(fates[fate] ?? 0)
    return true
  }

  delete(_: number, key: Uint8Array): boolean {
    return this.fates.delete(key[0]!)
  }
}
