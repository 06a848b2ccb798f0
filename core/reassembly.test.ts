import assert from 'node:assert/strict'
import { Connection, type Half } from './connections.ts'
import { Frame } from './frame.ts'
import { Reassembly } from './reassembly.ts'
import { Tally } from './tally.ts'
import { generator } from './testing/golden.ts'

/** One direction of a connection whose next byte is `start`, and what became of its bytes. */
class Stream {
  readonly c = new Connection(0, 0, 'tcp', new Frame(), 1000, 80, { seconds: 0, nanoseconds: 0 })
  readonly tally = new Tally()
  /** Bytes and gaps in the order in which they were told: `>` from the client, `<` from the server. */
  readonly told: string[] = []
  readonly reassembly: Reassembly
  given = 0
  delivered = 0

  constructor(start = 1000, back = 5000) {
    const { c, told } = this
    this.reassembly = new Reassembly(
      {
        bytes: (_, half, bytes, from, to) => {
          told.push(`${this.arrow(half)}${Buffer.from(bytes.subarray(from, to)).toString('latin1')}`)
          this.delivered += to - from
        },
        gap: (_, half, length) => told.push(`${this.arrow(half)}[${length}]`),
      },
      this.tally,
    )
    c.client = c.forth
    Object.assign(c.forth, { next: start | 0, begun: true, seen: true })
    Object.assign(c.back, { next: back | 0, begun: true, seen: true })
  }

  /** A segment of the client, or, with `half`, of the server. */
  take(seq: number, payload: string, { half = this.c.forth, ack = this.c.peer(half).next, missing = 0, at = 0 } = {}) {
    const bytes = Buffer.from(`..${payload}..`, 'latin1')
    this.given += payload.length
    this.reassembly.segment(this.c, half, seq | 0, bytes, 2, 2 + payload.length, missing, at, 0, ack)
    bytes.fill(0x2e)
  }

  /** A packet without payload has passed: the server has received everything before `ack`. */
  acknowledge(ack: number): void {
    this.c.forth.acked = ack | 0
    this.c.forth.ackSeen = true
    this.reassembly.reconsider(this.c)
  }

  get text(): string {
    return this.told.map(each => each.slice(1)).join('')
  }

  /** What came in was told or skipped, and nothing is kept. */
  assertSettled(): void {
    assert.equal(this.delivered + this.tally.skippedBytes, this.given)
    assert.equal(this.reassembly.held, 0)
    assert.equal(this.reassembly.stalled.size, 0)
  }

  private arrow(half: Half): string {
    return half === this.c.forth ? '>' : '<'
  }
}

describe('reassembly', () => {
  it('gives bytes in their order, however they came', () => {
    const s = new Stream()
    s.take(1006, 'ghi')
    s.take(1003, 'def')
    assert.equal(s.text, '')
    s.take(1000, 'abc')
    assert.equal(s.text, 'abcdefghi')
    s.assertSettled()
  })

  it('passes over what was sent twice, whole or in part', () => {
    const s = new Stream()
    s.take(1000, 'abcdef')
    s.take(1000, 'ABCDEF')
    s.take(1003, 'DEFghi')
    assert.equal(s.text, 'abcdefghi')
    assert.deepEqual([...s.tally.skipped], [['sent twice', 9]])
  })

  it('takes a keep-alive probe for what it is', () => {
    const s = new Stream()
    s.take(1000, 'ab')
    s.take(1001, '\0')
    s.take(1002, 'c')
    assert.equal(s.text, 'abc')
  })

  it('lets the first copy win, whatever the order, the overlaps and the sequence number', () => {
    const random = generator(11)
    for (let round = 0; round < 400; round++) {
      const start = round % 2 === 0 ? 1000 : 0xffffffe0
      const s = new Stream(start)
      const length = 60
      const first: (string | undefined)[] = new Array(length)
      let missing = length
      for (let copy = 0; missing > 0; copy++) {
        const from = random() % length
        const payload = String.fromCharCode(65 + (copy % 26), 97 + (random() % 26)).repeat(1 + (random() % 8))
        const bytes = payload.slice(0, length - from)
        for (const [i, byte] of [...bytes].entries())
          if (first[from + i] === undefined) {
            first[from + i] = byte
            missing--
          }
        s.take(start + from, bytes)
      }
      assert.equal(s.text, first.join(''))
      s.assertSettled()
    }
  })

  it('reports a gap only when the receiver has what is missing here, and some packets have passed', () => {
    const s = new Stream()
    s.take(1005, 'late')
    for (let i = 0; i < 100; i++) s.acknowledge(1000)
    assert.deepEqual(s.told, [])
    for (let i = 0; i < 15; i++) s.acknowledge(1009)
    assert.deepEqual(s.told, [])
    s.acknowledge(1009)
    assert.deepEqual(s.told, ['>[5]', '>late'])
    assert.deepEqual([s.tally.gaps, s.tally.missing], [1, 5])
    s.assertSettled()
  })

  it('reports it after two seconds where few packets pass', () => {
    const s = new Stream()
    s.take(1005, 'late', { at: 10 })
    s.reassembly.tick(20)
    assert.deepEqual(s.told, [])
    s.acknowledge(1009)
    s.reassembly.tick(12)
    assert.deepEqual(s.told, [])
    s.reassembly.tick(13)
    assert.deepEqual(s.told, ['>[5]', '>late'])
  })

  it('reports every gap when nothing more will come', () => {
    const s = new Stream()
    s.take(1005, 'b')
    s.take(1010, 'c')
    s.reassembly.finish(s.c)
    assert.deepEqual(s.told, ['>[5]', '>b', '>[4]', '>c'])
    s.assertSettled()
  })

  it('reports bytes that the capture cut off, and no more of them than are missing', () => {
    const s = new Stream()
    s.take(1000, 'ab', { missing: 3 })
    s.take(1005, 'c')
    // One that was cut and came early, of whose missing bytes another brings some.
    s.take(1010, 'x', { missing: 4 })
    s.take(1006, 'defg')
    assert.deepEqual(s.told, ['>ab', '>[3]', '>c', '>defg', '>x', '>[4]'])
    // One whose end is here already: what it lacks lies behind that.
    const t = new Stream()
    t.take(1004, 'ef')
    t.take(1002, 'cdEF', { missing: 3 })
    t.take(1000, 'ab')
    assert.deepEqual(t.told, ['>ab', '>cd', '>ef'])
  })

  it('lets an answer wait for its request', () => {
    const s = new Stream()
    s.take(5000, 'answer', { half: s.c.back, ack: 1003 })
    assert.deepEqual(s.told, [])
    s.take(1000, 'ask')
    assert.deepEqual(s.told, ['>ask', '<answer'])
    s.assertSettled()
  })

  it('reports the request as missing when only its answer comes', () => {
    const s = new Stream()
    s.take(5000, 'answer', { half: s.c.back, ack: 1003 })
    for (let i = 0; i < 16; i++) s.reassembly.reconsider(s.c)
    assert.deepEqual(s.told, ['>[3]', '<answer'])
    s.assertSettled()
  })

  it('does not wait for a side of which no packet was captured', () => {
    const s = new Stream()
    s.c.forth.seen = false
    s.take(5000, 'one', { half: s.c.back, ack: 1003 })
    s.take(5003, 'two', { half: s.c.back, ack: 1500 })
    assert.deepEqual(s.told, ['<one', '<two'])
  })

  it('gives both sides when each waits for the other, the client first', () => {
    const s = new Stream()
    s.take(5000, 'answer', { half: s.c.back, ack: 1003 })
    s.take(1000, 'ask', { ack: 5006 })
    assert.deepEqual(s.told, [])
    for (let i = 0; i < 16; i++) s.reassembly.reconsider(s.c)
    assert.deepEqual(s.told, ['>ask', '<answer'])
    s.assertSettled()
  })

  it('passes over what lies beyond any window', () => {
    const s = new Stream()
    s.take(1000 + 0x50000000, 'stray')
    s.take(1000, 'ab')
    assert.equal(s.text, 'ab')
    assert.deepEqual([...s.tally.skipped], [['after a gap', 5]])
    s.assertSettled()
  })

  it('gives up behind a hole when too much has piled up, in bytes or in segments', () => {
    for (const [count, size] of [
      [5000, 1],
      [500, 10_000],
    ] as const) {
      const s = new Stream()
      for (let i = 0; i < count; i++) {
        s.take(1001 + i * size, 'x'.repeat(size))
        s.reassembly.reconsider(s.c)
      }
      assert.equal(s.tally.limits.get('out-of-order bytes'), 1)
      assert.equal(s.told[0], '>[1]')
      s.assertSettled()
    }
  })

  it('counts the memory of the smallest segments too', () => {
    const s = new Stream()
    for (let i = 0; i < 100; i++) s.take(1001 + 2 * i, 'x')
    assert.ok(s.reassembly.held > 100 * 200, `${s.reassembly.held}`)
  })
})
