import assert from 'node:assert/strict'
import { parseAddress } from '../core/address.ts'
import { between, type FlowFilter } from './flow.ts'
import { IndexBuilder, SegmentIndex } from './segment-index.ts'
import { type Datagram, frameOf } from './testing/traffic.ts'

/** ns since 1970. */
const BEGINNING = 1.7e18
/** Of the packet's block. */
const SIZE = 100
const HEAD = 200

describe('index of a segment', () => {
  /** Packet i lies at HEAD + i * SIZE, a millisecond after the one before. */
  function built(datagrams: readonly Datagram[], segmentBytes = 1 << 20): SegmentIndex {
    const builder = new IndexBuilder(segmentBytes)
    builder.begin(HEAD)
    for (const [i, datagram] of datagrams.entries()) enter(builder, i, datagram)
    return SegmentIndex.parse(builder.finish(HEAD + datagrams.length * SIZE))!
  }

  function enter(builder: IndexBuilder, i: number, datagram: Datagram): void {
    const frame = frameOf(datagram)
    builder.packet(HEAD + i * SIZE, BEGINNING + i * 1e6, frame, 0, frame.length, frame.length, 1)
  }

  function datagram(host: number): Datagram {
    const from = `10.${host >> 16}.${(host >> 8) & 255}.${host & 255}`
    return { from, to: '10.255.0.1', fromPort: 1000, toPort: 80, protocol: 6, payload: new Uint8Array(0) }
  }

  function of(host: number): FlowFilter {
    const end = (address: string, port: number) => ({ address: parseAddress(address)!, port })
    return between(end(datagram(host).from, 1000), end('10.255.0.1', 80), 6)
  }

  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
  const anywhen = [0, Number.POSITIVE_INFINITY] as const

  it('says what there is', () => {
    const { head } = built(upTo(1000).map(datagram))
    assert.deepEqual(head, {
      segmentBytes: HEAD + 1000 * SIZE,
      packets: 1000,
      earliest: BEGINNING,
      latest: BEGINNING + 999e6,
      unknown: 0,
    })
  })

  it('leads to the packets of a flow alone', () => {
    const index = built(
      upTo(100_000).map(i => datagram(i % 1000)),
      128 << 20,
    )
    const ranges = index.select(of(7), ...anywhen)
    assert.deepEqual(ranges[0], { start: 0, end: HEAD })
    const places = upTo(100).map(i => HEAD + (7 + 1000 * i) * SIZE)
    assert.deepEqual(
      ranges.slice(1),
      places.map(start => ({ start, end: start + 4 })),
    )
    assert.deepEqual(index.select(of(1000), ...anywhen), [])
  })

  it('reads on where jumping is not worth it', () => {
    const index = built(upTo(10_000).map(i => datagram(i % 10)))
    assert.deepEqual(index.select(of(3), ...anywhen), [
      { start: 0, end: HEAD },
      { start: HEAD + 3 * SIZE, end: HEAD + 9993 * SIZE + 4 },
    ])
  })

  it('leads to a window of time, with or without a flow', () => {
    const index = built(
      upTo(100_000).map(i => datagram(i % 5000)),
      128 << 20,
    )
    const window = [BEGINNING + 50_000e6, BEGINNING + 50_001e6] as const
    const whole = index.select(null, ...window)
    assert.ok(whole[1]!.start <= HEAD + 50_000 * SIZE && whole[1]!.end > HEAD + 50_000 * SIZE)
    assert.ok(whole[1]!.end - whole[1]!.start < 3 * 65_536)
    assert.deepEqual(index.select(of(0), ...window).slice(1), [
      { start: HEAD + 50_000 * SIZE, end: HEAD + 50_000 * SIZE + 4 },
    ])
    assert.deepEqual(index.select(of(2500), ...window), [])
    assert.deepEqual(index.select(null, BEGINNING + 200_000e6, BEGINNING + 300_000e6), [])
  })

  it('has so many flows and no more: the others are looked at by everybody, and counted', () => {
    const index = built(upTo(3000).map(datagram), 1)
    assert.equal(index.head.unknown, 3000 - 1024)
    // One that it knows, and all that it does not.
    assert.deepEqual(index.select(of(5), ...anywhen).slice(1), [
      { start: HEAD + 5 * SIZE, end: HEAD + 5 * SIZE + 4 },
      { start: HEAD + 1024 * SIZE, end: HEAD + 2999 * SIZE + 4 },
    ])
  })

  it('always leads to blocks that are no packets', () => {
    const builder = new IndexBuilder(1 << 20)
    builder.begin(HEAD)
    for (const i of upTo(10_000)) {
      if (i === 5000) builder.description(HEAD + i * SIZE)
      else enter(builder, i, datagram(i % 5000))
    }
    const index = SegmentIndex.parse(builder.finish(HEAD + 10_000 * SIZE))!
    const found = index.select(of(1), BEGINNING, BEGINNING + 10e6)
    assert.ok(found.some(({ start }) => start === HEAD + 5000 * SIZE))
  })

  it('forgets what could not be written', () => {
    const [builder, other] = [new IndexBuilder(1 << 20), new IndexBuilder(1 << 20)]
    for (const one of [builder, other]) {
      one.begin(HEAD)
      for (const i of upTo(500)) enter(one, i, datagram(i))
    }
    const mark = builder.mark()
    for (const i of upTo(3000)) enter(builder, 500 + i, datagram(i % 500))
    builder.forget(mark)
    for (const one of [builder, other]) enter(one, 500, datagram(3))
    assert.deepEqual(builder.finish(1e6), other.finish(1e6))
  })

  it('is not believed when a bit of it is wrong', () => {
    const builder = new IndexBuilder(1 << 20)
    builder.begin(HEAD)
    for (const i of upTo(100)) enter(builder, i, datagram(i))
    const bytes = builder.finish(1e6)
    assert.notEqual(SegmentIndex.parse(bytes), null)
    for (let i = 0; i < bytes.length; i += 7) {
      bytes[i]! ^= 4
      assert.equal(SegmentIndex.parse(bytes), null)
      bytes[i]! ^= 4
    }
    for (const length of [0, 8, 79, 80, bytes.length - 1])
      assert.equal(SegmentIndex.parse(bytes.subarray(0, length)), null)
  })
})
