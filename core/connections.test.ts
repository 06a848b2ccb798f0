import assert from 'node:assert/strict'
import { type Connection, Connections, MAX_CLOSED, type Prefix } from './connections.ts'
import { Frame } from './frame.ts'
import { generator } from './testing/golden.ts'

interface Ends {
  from: [address: number, port: number]
  to: [address: number, port: number]
  scope?: number
}

const FORTH: Ends = { from: [1, 1000], to: [2, 80] }
const BACK: Ends = { from: [2, 80], to: [1, 1000] }

describe('connections', () => {
  it('are found from both ends, and know the direction', () => {
    const table = new Connections()
    const c = add(table, FORTH)
    assert.equal(find(table, FORTH), c)
    assert.equal(table.forth, true)
    assert.equal(find(table, BACK), c)
    assert.equal(table.forth, false)
  })

  it('differ by transport, by each address word and by each port', () => {
    const table = new Connections()
    add(table, FORTH)
    assert.equal(table.find(frame(FORTH), 'udp', 1000, 80), null)
    for (let word = 0; word < 8; word++) {
      const other = frame(FORTH)
      other.words[word]! ^= 1
      assert.equal(table.find(other, 'tcp', 1000, 80), null, `word ${word}`)
    }
    assert.equal(find(table, { from: [1, 1001], to: [2, 80] }), null)
    assert.equal(find(table, { from: [1, 80], to: [2, 1000] }), null)
  })

  it('between equal ends in different scopes are different, but for an answer that nobody has given yet', () => {
    const table = new Connections()
    const c = add(table, { ...FORTH, scope: 7 })
    assert.equal(find(table, { ...FORTH, scope: 8 }), null)
    assert.equal(find(table, { ...BACK, scope: 8 }), c)
    assert.equal(table.forth, false)
    // From then on that is where its answers come from.
    assert.equal(find(table, { ...BACK, scope: 8 }), c)
    assert.equal(find(table, { ...BACK, scope: 9 }), null)
    assert.equal(find(table, { ...BACK, scope: 7 }), null)
    assert.equal(find(table, { ...FORTH, scope: 7 }), c)
  })

  it('between equal ends that are answered in their own scopes are told apart', () => {
    const table = new Connections()
    const one = add(table, { ...FORTH, scope: 1 })
    const two = add(table, { ...FORTH, scope: 2 })
    assert.equal(find(table, { ...BACK, scope: 2 }), two)
    assert.equal(find(table, { ...BACK, scope: 1 }), one)
  })

  it('come and go in any order without losing one another', () => {
    const random = generator(3)
    const table = new Connections()
    const known = new Map<string, { ends: Ends; c: Connection }>()
    for (let round = 0; round < 20_000; round++) {
      const ends: Ends = { from: [random() % 40, random() % 20], to: [1000 + (random() % 3), 80] }
      const key = JSON.stringify(ends)
      const found = find(table, ends)
      assert.equal(found, known.get(key)?.c ?? null)
      if (found === null) known.set(key, { ends, c: add(table, ends) })
      else if (random() % 3 === 0) {
        table.remove(found)
        known.delete(key)
      }
    }
    assert.equal(table.count, known.size)
    for (const { ends, c } of known.values()) assert.equal(find(table, ends), c)
    assert.deepEqual(new Set(table), new Set([...known.values()].map(({ c }) => c)))
  })

  it('expire in the order of their silence, each kind after its own time', () => {
    const table = new Connections()
    const open = add(table, { from: [1, 1], to: [2, 80] })
    const busy = add(table, { from: [1, 2], to: [2, 80] })
    const closed = add(table, { from: [1, 3], to: [2, 80] })
    const datagrams = add(table, { from: [1, 4], to: [2, 53] }, 'udp')
    for (const c of [open, busy, closed, datagrams]) table.touch(c, 1000, 0)
    table.close(closed)
    table.touch(busy, 1100, 0)
    const order = [
      [datagrams, 1010],
      [closed, 1060],
      [open, 2200],
      [busy, 2300],
    ] as const
    for (const [c, last] of order) {
      assert.equal(table.expired(last), null)
      assert.equal(table.expired(last + 1), c)
      table.remove(c)
    }
    assert.equal(table.count, 0)
  })

  it('that are closed are the first to be forgotten, then those silent the longest', () => {
    const table = new Connections()
    const [first, second, third] = [1, 2, 3].map(port => add(table, { from: [1, port], to: [2, 80] }))
    table.touch(first!, 5, 0)
    table.close(third!)
    for (const c of [third, second, first]) {
      assert.equal(table.oldest(), c)
      table.remove(c!)
    }
    assert.equal(table.oldest(), null)
  })

  it('that are closed are few, and hold nothing of what was said', () => {
    const table = new Connections()
    for (let port = 0; port < MAX_CLOSED + 10; port++) {
      const c = add(table, { from: [1, port], to: [2, 80] })
      c.state = {}
      c.prefixes.push({} as Prefix)
      table.close(c)
      table.close(c)
      if (table.surplus !== null) table.remove(table.surplus)
      assert.deepEqual([c.state, c.waiting, c.identity, c.prefixes], [undefined, null, null, []])
    }
    assert.equal(table.count, MAX_CLOSED)
    assert.equal(find(table, { from: [1, 9], to: [2, 80] }), null)
    assert.notEqual(find(table, { from: [1, 10], to: [2, 80] }), null)
  })
})

function frame({ from, to, scope = 0 }: Ends): Frame {
  const made = new Frame()
  made.words.set([0, 0, 0xffff, from[0], 0, 0, 0xffff, to[0]])
  made.scope = scope
  return made
}

function find(table: Connections, ends: Ends): Connection | null {
  return table.find(frame(ends), 'tcp', ends.from[1], ends.to[1])
}

function add(table: Connections, ends: Ends, transport: 'tcp' | 'udp' = 'tcp'): Connection {
  assert.equal(table.find(frame(ends), transport, ends.from[1], ends.to[1]), null)
  return table.add(frame(ends), transport, ends.from[1], ends.to[1], { seconds: 5, nanoseconds: 7 })
}
