import assert from 'node:assert/strict'
import { Connection } from './connections.ts'
import type { Dissector } from './dissector.ts'
import { Dormant } from './dormant.ts'
import { Frame } from './frame.ts'
import { endsHash } from './stream-name.ts'
import { generator } from './testing/golden.ts'

/** Only what waking asks for. */
const ASKED = { name: 'asked', open: () => 'opened' } as unknown as Dissector
const OTHER = { name: 'other' } as unknown as Dissector

describe('dormant flows', () => {
  it('wake as they were, from either end', () => {
    for (const [from, forth] of [
      ['client', true],
      ['server', false],
    ] as const) {
      const dormant = new Dormant()
      const asleep = flow(1, { number: 77, scope: 0xfedcba98, seconds: 5_000_000_000 })
      asleep.items = 3
      asleep.hinted = true
      asleep.dissector = OTHER
      dormant.add(flow(2))
      assert.equal(dormant.add(asleep), true)
      const woken = take(dormant, 1, { from, scope: 0xfedcba98 })!
      assert.equal(dormant.forth, forth)
      assert.equal(woken.woken, true)
      assert.equal(woken.stream, asleep.stream)
      for (const key of ['number', 'hash', 'scope', 'backScope', 'port', 'otherPort', 'items', 'hinted'] as const)
        assert.equal(woken[key], asleep[key], key)
      assert.deepEqual([woken.dissector, woken.state], [OTHER, undefined])
      assert.deepEqual([woken.lastSeconds, woken.lastNanoseconds], [asleep.lastSeconds, asleep.lastNanoseconds])
      assert.deepEqual(woken.words, asleep.words)
      assert.deepEqual([woken.forth, woken.back], [asleep.forth, asleep.back])
      assert.equal(woken.client, woken.back)
      assert.deepEqual([dormant.count, take(dormant, 1, { from, scope: 0xfedcba98 })], [1, null])
      assert.equal(take(dormant, 2)!.state, 'opened')
    }
  })

  it('are told apart by scope, ports and addresses', () => {
    const dormant = new Dormant()
    dormant.add(flow(1))
    assert.equal(take(dormant, 1, { scope: 1 }), null)
    assert.equal(take(dormant, 2), null)
    const [frame, port, otherPort] = packet(1)
    const hash = endsHash(frame.words, port, otherPort)
    assert.equal(dormant.take(hash, frame, otherPort, port), null, 'ports the other way round')
    frame.words[3]! ^= 1
    assert.equal(dormant.take(hash, frame, port, otherPort), null, 'the same hash, another address')
    assert.notEqual(take(dormant, 1), null)
  })

  it('come, wake and are forgotten in any order without losing one another', () => {
    const random = generator(5)
    const dormant = new Dormant(1024)
    const known = new Map<number, number>()
    let seconds = 1000
    for (let round = 0; round < 30_000; round++) {
      const id = random() % 1500
      const found = take(dormant, id)
      assert.equal(found?.lastSeconds ?? null, known.get(id) ?? null, `flow ${id} in round ${round}`)
      known.delete(id)
      if (random() % 4 > 0) {
        if (!dormant.add(flow(id, { seconds }))) {
          const [oldest] = known.keys()
          known.delete(oldest!)
        }
        known.set(id, seconds)
      }
      if (random() % 50 === 0) {
        seconds += random() % (round > 20_000 ? 20 : 2)
        dormant.expire(seconds, 10)
        for (const [id, heard] of known) if (seconds - heard > 10) known.delete(id)
      }
      assert.equal(dormant.count, known.size)
    }
    for (const [id, heard] of known) assert.equal(take(dormant, id)!.lastSeconds, heard)
  })

  it('that are too many give way to newer ones, the oldest first', () => {
    const dormant = new Dormant(256)
    for (let id = 0; id < 256; id++) assert.equal(dormant.add(flow(id)), true)
    assert.equal(dormant.add(flow(256)), false)
    assert.deepEqual([dormant.count, take(dormant, 0)], [256, null])
    // Where some have woken there is room.
    for (let id = 100; id < 250; id++) assert.notEqual(take(dormant, id), null)
    assert.equal(dormant.add(flow(257)), true)
    for (const id of [1, 99, 250, 256, 257]) assert.notEqual(take(dormant, id), null, String(id))
  })
})

interface About {
  number?: number
  scope?: number
  seconds?: number
}

/** What was asked from the far end. */
function flow(id: number, { number = id, scope = 0, seconds = 1000 }: About = {}): Connection {
  const [frame, port, otherPort] = packet(id)
  frame.scope = scope
  const hash = endsHash(frame.words, port, otherPort)
  const c = new Connection(number, hash, 'udp', frame, port, otherPort, { seconds, nanoseconds: id })
  c.backScope = scope
  c.dissector = ASKED
  c.client = c.back
  c.items = 1
  c.lastSeconds = seconds
  c.lastNanoseconds = 999_999_999
  for (const [i, half] of [c.forth, c.back].entries()) {
    half.seen = true
    half.lastLength = 40 + i
    half.lastSum = -id - i
    half.lastSeconds = seconds
    half.lastNanoseconds = 5 + i
  }
  return c
}

function packet(id: number): [frame: Frame, port: number, otherPort: number] {
  const frame = new Frame()
  frame.words.set([0, 0, 0xffff, 0x0a000001 + (id >> 3), 0, 0, 0xffff, 0xc0a80001 | 0])
  return [frame, 60_000 + (id & 7), 53]
}

function take(dormant: Dormant, id: number, asked: { from?: 'client' | 'server'; scope?: number } = {}) {
  const [frame, port, otherPort] = packet(id)
  const hash = endsHash(frame.words, port, otherPort)
  frame.scope = asked.scope ?? 0
  if (asked.from !== 'server') return dormant.take(hash, frame, port, otherPort)
  frame.words.set([...frame.words.slice(4), ...frame.words.slice(0, 4)])
  return dormant.take(hash, frame, otherPort, port)
}
