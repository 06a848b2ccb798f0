import assert from 'node:assert/strict'
import { Fragments } from './fragments.ts'
import { Frame } from './frame.ts'

const UDP = 17

interface Piece {
  offset: number
  bytes: Uint8Array
  more: boolean
  version?: 4 | 6
  protocol?: number
  identification?: number
  source?: number
  scope?: number
  missing?: number
}

/** A frame as `decode` leaves it for a fragment; its bytes lie amid others. */
function frameOf(piece: Piece): Frame {
  const {
    offset,
    bytes,
    more,
    version = 4,
    protocol = UDP,
    identification = 7,
    source = 1,
    scope = 0,
    missing = 0,
  } = piece
  const frame = new Frame()
  frame.bytes = new Uint8Array(bytes.length + 20).fill(0xee)
  frame.bytes.set(bytes, 10)
  frame.start = 10
  frame.end = 10 + bytes.length
  frame.missing = missing
  frame.payloadLength = bytes.length + missing
  frame.version = version
  frame.protocol = protocol
  frame.words.set([0, 0, 0xffff, source, 0, 0, 0xffff, 2])
  frame.scope = scope
  frame.identification = identification
  frame.fragmentOffset = offset
  frame.moreFragments = more
  return frame
}

function payloadOf(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) + seed) & 255)
}

function cut(payload: Uint8Array, size: number, rest: Partial<Piece> = {}): Piece[] {
  const pieces: Piece[] = []
  for (let offset = 0; offset < payload.length; offset += size) {
    const more = offset + size < payload.length
    pieces.push({ ...rest, offset, bytes: payload.subarray(offset, offset + size), more })
  }
  return pieces
}

/** The payloads that come out, in order. */
function join(fragments: Fragments, pieces: readonly Piece[], seconds = 100): Uint8Array[] {
  const whole: Uint8Array[] = []
  for (const piece of pieces) {
    const frame = frameOf(piece)
    if (fragments.add(frame, seconds)) whole.push(frame.bytes.slice(frame.start, frame.end))
  }
  return whole
}

function dropped(fragments: Fragments): Record<string, number> {
  return Object.fromEntries(Object.entries(fragments.drops).filter(([, count]) => count > 0))
}

/** What came in is somewhere. */
function assertCounted(fragments: Fragments, count: number): void {
  const drops = Object.values(fragments.drops).reduce((sum, each) => sum + each, 0)
  assert.equal(fragments.joined + fragments.waiting + drops, count)
}

function seeded(seed: number): (limit: number) => number {
  return limit => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0
    return (seed >>> 8) % limit
  }
}

function shuffled<T>(list: readonly T[], random: (limit: number) => number): T[] {
  const copy = [...list]
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random(i + 1)
    ;[copy[i], copy[j]] = [copy[j]!, copy[i]!]
  }
  return copy
}

describe('fragments', () => {
  it('gives the same payload in any order', () => {
    const random = seeded(3)
    for (let round = 0; round < 400; round++) {
      const payload = payloadOf(1 + random(round % 10 === 0 ? 65_535 : 5000), round)
      const pieces = cut(payload, 8 * (1 + random(200)), { version: round % 2 === 0 ? 4 : 6 })
      const fragments = new Fragments()
      assert.deepEqual(join(fragments, shuffled(pieces, random)), [payload])
      assert.equal(fragments.joined, pieces.length)
      assert.equal(fragments.waiting, 0)
    }
  })

  it('shows the whole datagram in the frame, with the protocol of the first fragment', () => {
    const payload = payloadOf(3000)
    const fragments = new Fragments()
    const [first, second, third] = cut(payload, 1448, { version: 6 })
    // Only the first fragment of IPv6 has a say about the protocol.
    assert.equal(fragments.add(frameOf({ ...third!, protocol: 0 }), 1), false)
    assert.equal(fragments.add(frameOf({ ...first!, protocol: 60 }), 1), false)
    const frame = frameOf({ ...second!, protocol: 99 })
    assert.equal(fragments.add(frame, 1), true)
    const { protocol, start, end, missing, payloadLength, fragmentOffset, moreFragments } = frame
    assert.deepEqual(
      { protocol, start, end, missing, payloadLength, fragmentOffset, moreFragments },
      { protocol: 60, start: 0, end: 3000, missing: 0, payloadLength: 3000, fragmentOffset: 0, moreFragments: false },
    )
    const kept = frame.bytes
    join(fragments, cut(payloadOf(3000, 9), 1448))
    assert.deepEqual(kept.slice(0, 3000), payload, 'a later datagram does not overwrite it')
  })

  it('keeps datagrams apart by address, identification, protocol and scope', () => {
    const variants: Partial<Piece>[] = [
      {},
      { source: 3 },
      { identification: 8 },
      { protocol: 1 },
      { scope: 5 },
      { version: 6, source: 9 },
    ]
    const payloads = variants.map((_, i) => payloadOf(100, i))
    const pieces = variants.map((variant, i) => cut(payloads[i]!, 48, variant))
    const interleaved = [0, 1, 2].flatMap(i => pieces.map(each => each[i]!))
    const fragments = new Fragments()
    assert.deepEqual(join(fragments, interleaved), payloads)
    assertCounted(fragments, interleaved.length)
  })

  for (const version of [4, 6] as const) {
    it(`passes over repetitions (IPv${version})`, () => {
      const payload = payloadOf(100)
      const fragments = new Fragments()
      const twice = cut(payload, 24, { version }).flatMap(piece => [piece, piece])
      assert.deepEqual(join(fragments, twice), [payload])
      assert.deepEqual(dropped(fragments), { duplicate: 5 })
      assert.equal(fragments.waiting, 0)
      assertCounted(fragments, twice.length)
    })
  }

  it('takes the next datagram of a sender that has but one identification', () => {
    const payloads = [payloadOf(100, 1), payloadOf(100, 2), payloadOf(90, 3)]
    const fragments = new Fragments()
    assert.deepEqual(
      join(
        fragments,
        payloads.flatMap(payload => cut(payload, 48)),
      ),
      payloads,
    )
    assert.deepEqual(dropped(fragments), {})
  })

  it('lets the bytes that came first win in IPv4', () => {
    const fragments = new Fragments()
    const a = new Uint8Array(16).fill(1)
    const b = new Uint8Array(32).fill(2)
    const c = new Uint8Array(40).fill(3)
    const [whole] = join(fragments, [
      { offset: 8, bytes: a, more: true },
      { offset: 0, bytes: b, more: true },
      { offset: 16, bytes: c, more: false },
    ])
    assert.deepEqual([...whole!], [...b.slice(0, 8), ...a, ...b.slice(24), ...c.slice(16)])
  })

  it('throws an IPv6 datagram away whose fragments overlap, and those that follow', () => {
    const payload = payloadOf(96)
    const [first, second, third, fourth] = cut(payload, 24, { version: 6 })
    const overlapping: Piece = { ...first!, offset: 8 }
    const fragments = new Fragments()
    assert.deepEqual(join(fragments, [first!, overlapping, second!, third!, fourth!]), [])
    assert.deepEqual(dropped(fragments), { overlap: 5 })
  })

  it('throws datagrams away whose fragments contradict each other about the length', () => {
    const bytes = new Uint8Array(24)
    const last: Piece = { offset: 48, bytes, more: false }
    for (const other of [
      { offset: 24, bytes, more: false },
      { offset: 72, bytes, more: false },
      { offset: 72, bytes, more: true },
      { offset: 48, bytes: bytes.subarray(1), more: false },
    ]) {
      const fragments = new Fragments()
      assert.deepEqual(join(fragments, [last, other, { offset: 0, bytes: new Uint8Array(48), more: true }]), [])
      assert.deepEqual(dropped(fragments), { malformed: 3 })
    }
    const fragments = new Fragments()
    join(fragments, [
      { ...last, more: true },
      { offset: 24, bytes, more: false },
    ])
    assert.deepEqual(dropped(fragments), { malformed: 2 })
  })

  it('never completes a datagram of which the snap length cut a fragment', () => {
    const [first, second, third] = cut(payloadOf(72), 24)
    const fragments = new Fragments()
    assert.deepEqual(join(fragments, [first!, { ...second!, missing: 4 }, third!]), [])
    assert.deepEqual(dropped(fragments), { truncated: 3 })
  })

  it('counts what stays incomplete, by age and at the end', () => {
    const [first, second] = cut(payloadOf(48), 24)
    const fragments = new Fragments()
    join(fragments, [first!], 100)
    join(fragments, [{ ...first!, identification: 8 }], 130)
    assert.deepEqual(dropped(fragments), {})
    assert.equal(fragments.waiting, 2)
    assert.deepEqual(join(fragments, [second!], 131), [], 'the first half is too old')
    assert.deepEqual(dropped(fragments), { incomplete: 1 })
    join(fragments, [{ ...first!, identification: 9 }], 50)
    assert.deepEqual(dropped(fragments), { incomplete: 3 }, 'time that jumps back')
    fragments.end()
    assert.deepEqual(dropped(fragments), { incomplete: 4 })
    assert.equal(fragments.waiting, 0)
    assertCounted(fragments, 4)
  })

  it('keeps a bounded number of datagrams and forgets the oldest', () => {
    const fragments = new Fragments()
    const [first, second] = cut(payloadOf(48), 24)
    const COUNT = 10_000
    for (let identification = 0; identification < COUNT; identification++)
      join(fragments, [{ ...first!, identification }])
    const forgotten = fragments.drops['too-many-datagrams']
    assert.equal(forgotten + fragments.waiting, COUNT)
    assert.ok(fragments.waiting > 1000 && fragments.waiting < 5000)
    assert.equal(join(fragments, [{ ...second!, identification: COUNT - 1 }]).length, 1)
    assert.equal(join(fragments, [{ ...second!, identification: 0 }]).length, 0)
  })

  it('keeps a bounded number of bytes', () => {
    const fragments = new Fragments()
    const COUNT = 1000
    for (let identification = 0; identification < COUNT; identification++) {
      join(fragments, [{ offset: 65_520, bytes: new Uint8Array(8), more: true, identification }])
    }
    assert.equal(fragments.drops['too-many-bytes'] + fragments.waiting, COUNT)
    assert.ok(fragments.waiting >= 200 && fragments.waiting <= 256, `${fragments.waiting}`)
  })

  it('loses count of nothing, whatever comes', () => {
    const random = seeded(11)
    const fragments = new Fragments()
    const COUNT = 30_000
    for (let i = 0; i < COUNT; i++) {
      const length = 8 * (1 + random(4))
      const more = random(3) > 0
      const frame = frameOf({
        offset: 8 * random(8),
        bytes: payloadOf(more ? length : length - random(8), random(2)),
        more,
        version: random(2) === 0 ? 4 : 6,
        identification: random(40),
        missing: random(50) === 0 ? 3 : 0,
      })
      if (fragments.add(frame, 100 + Math.floor(i / 300))) assert.ok(frame.end > 0 && frame.end <= frame.bytes.length)
      if (i % 1000 === 0) assertCounted(fragments, i + 1)
    }
    fragments.end()
    assert.equal(fragments.waiting, 0)
    assertCounted(fragments, COUNT)
    for (const cause of ['incomplete', 'truncated', 'duplicate', 'overlap', 'malformed'] as const) {
      assert.ok(fragments.drops[cause] > 0, cause)
    }
  })
})
