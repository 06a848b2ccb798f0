import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseAddress } from '../core/address.ts'
import { CaptureParser } from '../core/pcap.ts'
import { noCounters } from './capture.ts'
import { between } from './flow.ts'
import { setPin } from './pins.ts'
import { openReader, type Wanted } from './reader.ts'
import { Ring, type RingLimits } from './ring.ts'
import { BEGINNING, chunk, ETH0, ETH1, numbered, numberOf } from './testing/traffic.ts'

const LIMITS: RingLimits = { bytes: 64 << 20, age: 3600, pinnedBytes: 8 << 20 }
/** ms since 1970. */
const NOW = Number(BEGINNING / 1_000_000n)

describe('ring', () => {
  let folder: string
  let remarks: string[]
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hookline-ring-'))
    remarks = []
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  function opened(limits: Partial<RingLimits> = {}, now = NOW): Ring {
    return Ring.open(folder, { ...LIMITS, ...limits }, now, text => remarks.push(text))
  }

  /** In chunks of 100, as a capture hands them over. */
  function fill(ring: Ring, first: number, count: number): void {
    for (let n = first; n < first + count; n += 100)
      ring.packets(chunk(n, Math.min(100, first + count - n)), Math.min(100, first + count - n))
  }

  async function numbers(wanted: Wanted = {}): Promise<number[]> {
    const reader = openReader(folder, wanted)
    const found: number[] = []
    while (await reader.load()) for (let p = reader.next(); p !== null; p = reader.next()) found.push(numberOf(p))
    assert.equal(reader.damaged, 0)
    reader.close()
    return found
  }

  function upTo(count: number, first = 0): number[] {
    return Array.from({ length: count }, (_, i) => first + i)
  }

  it('gives back every packet as it was, before and after it was closed', async () => {
    const ring = opened()
    ring.interface(ETH0)
    fill(ring, 0, 25_000)
    assert.deepEqual(await numbers(), upTo(25_000))
    ring.close()
    assert.deepEqual(await numbers(), upTo(25_000))
  })

  it('writes segments that a parser of pcapng reads to the last byte', () => {
    const ring = opened({ bytes: 4 << 20 })
    ring.interface(ETH0)
    fill(ring, 0, 2000)
    ring.interface(ETH1)
    ring.counters(0, { ...noCounters(), seen: 2003, passed: 2000, dropped: 3 })
    fill(ring, 2000, 4000)
    ring.close()
    const files = readdirSync(folder)
      .filter(name => /^\d.*pcapng$/.test(name))
      .sort()
    assert.ok(files.length > 2)
    let packets = 0
    let last = parse(readFileSync(join(folder, files[0]!)))
    assert.equal(last.interfaces.length, 1)
    for (const file of files) {
      const notes = parse(readFileSync(join(folder, file)))
      assert.deepEqual(notes.damage, [])
      last = notes
      packets += notes.packets
    }
    assert.equal(packets, 6000)
    assert.deepEqual(
      last.interfaces.map(({ name, counters }) => [name, counters?.droppedBySystem]),
      [
        ['eth0', 3],
        ['eth1', undefined],
      ],
    )
  })

  it('never grows beyond its bytes, drops the oldest, and counts them', async () => {
    const ring = opened({ bytes: 4 << 20 })
    ring.interface(ETH0)
    for (let n = 0; n < 100_000; n += 100) {
      ring.packets(chunk(n, 100), 100)
      assert.ok(ring.counts().held.bytes <= 4 << 20)
    }
    const { given, held, dropped, lost } = ring.counts()
    assert.equal(given, 100_000)
    assert.deepEqual(lost, { 'disk full': 0, 'disk error': 0, 'not packets': 0 })
    assert.equal(held.packets + dropped.size, given)
    assert.ok(held.bytes > 3 << 20)
    assert.deepEqual(await numbers(), upTo(held.packets, dropped.size))
    ring.close()
  })

  it('drops by age also when no packets come', async () => {
    const ring = opened({ age: 60 })
    ring.interface(ETH0)
    fill(ring, 0, 1000)
    ring.tick(NOW + 30_000)
    assert.equal(ring.counts().held.packets, 1000)
    ring.tick(NOW + 61_000)
    const { held, dropped } = ring.counts()
    assert.equal(held.packets, 0)
    assert.equal(dropped.age, 1000)
    fill(ring, 1000, 100)
    assert.deepEqual(await numbers(), upTo(100, 1000))
    ring.close()
  })

  it('goes on where an earlier recorder stopped, and counts on', async () => {
    const first = opened()
    first.interface(ETH0)
    fill(first, 0, 1000)
    first.close()
    const second = opened()
    assert.equal(second.position, 1000)
    second.interface({ ...ETH1, id: 0 })
    fill(second, 1000, 500)
    assert.deepEqual(await numbers(), upTo(1500))
    const reader = openReader(folder, {})
    while (await reader.load()) while (reader.next() !== null);
    assert.deepEqual(
      reader.interfaces.map(({ name, description }) => [name, description]),
      [
        ['eth0', 'index 2'],
        ['eth1', 'index 3 in /run/netns/blue'],
      ],
    )
    reader.close()
    second.close()
    // Once more without any packets.
    const third = opened()
    assert.equal(third.position, 1500)
    third.close()
    assert.equal(opened().position, 1500)
  })

  it('lets one recorder alone write', () => {
    const ring = opened()
    assert.throws(() => opened(), { code: 'RING_IN_USE' })
    ring.close()
    opened().close()
  })

  it('cuts off a torn end, whatever its length, and keeps the rest', async () => {
    for (const torn of [1, 7, 8, 40, 100, 170, 175]) {
      const ring = opened()
      ring.interface(ETH0)
      fill(ring, ring.position, 300)
      const before = ring.position
      abandon(ring)
      const hidden = readdirSync(folder).find(name => name.startsWith('.') && name.endsWith('.pcapng'))!
      const bytes = readFileSync(join(folder, hidden))
      truncateSync(join(folder, hidden), bytes.length - torn)
      const again = opened()
      assert.equal(again.position, before - 1)
      assert.deepEqual(await numbers(), upTo(before - 1))
      assert.match(remarks.at(-1)!, /torn bytes are cut off/)
      again.close()
    }
  })

  it('builds an index again that is lost, cut or of another size', async () => {
    const ring = opened({ bytes: 4 << 20 })
    ring.interface(ETH0)
    fill(ring, 0, 8000)
    ring.close()
    const files = readdirSync(folder)
      .filter(name => name.endsWith('.index'))
      .sort()
    const whole = readFileSync(join(folder, files[2]!))
    rmSync(join(folder, files[0]!))
    truncateSync(join(folder, files[1]!), 50)
    writeFileSync(join(folder, files[2]!), whole.subarray(0, whole.length - 5))
    const filter = between(end('10.0.0.7', 1031), end('10.1.0.1', 53), 17)
    const expected = upTo(8000).filter(n => n % 100 === 7)
    assert.deepEqual(await numbers({ filter }), expected)
    opened({ bytes: 4 << 20 }).close()
    assert.deepEqual(
      readdirSync(folder).filter(name => name.endsWith('.index')),
      files,
    )
    assert.deepEqual(await numbers({ filter }), expected)
  })

  it('keeps what a power failure left of sealed segments', async () => {
    const ring = opened({ bytes: 4 << 20 })
    ring.interface(ETH0)
    fill(ring, 0, 8000)
    ring.close()
    const segments = readdirSync(folder)
      .filter(name => name.endsWith('.pcapng'))
      .sort()
    const left = [0, 27, 5000].map((bytes, i) => {
      const [first, next] = [segments[2 * i]!, segments[2 * i + 1]!].map(name => Number(name.slice(13, 28)))
      truncateSync(join(folder, segments[2 * i]!), bytes)
      return { first: first!, next: next!, bytes }
    })
    const again = opened({ bytes: 4 << 20 })
    again.interface(ETH0)
    fill(again, 8000, 100)
    const found = await numbers()
    const gone = left.flatMap(({ first, next }) => upTo(next - first).map(n => first + n))
    const kept = gone.filter(n => found.includes(n))
    // What was whole within the 5000 bytes, from its segment's beginning on.
    assert.ok(kept.length > 10 && kept.every((n, i) => n === left[2]!.first + i), `${kept}`)
    assert.deepEqual(
      found,
      upTo(8100).filter(n => kept.includes(n) || !gone.includes(n)),
    )
    assert.equal(again.counts().held.packets, found.length)
    again.close()
  })

  it('refuses what are no packet blocks, and counts it', async () => {
    const ring = opened()
    ring.interface(ETH0)
    ring.packets(Buffer.concat([chunk(0, 10), Buffer.alloc(64)]), 11)
    ring.packets(chunk(10, 10), 10)
    const { given, held, lost } = ring.counts()
    assert.deepEqual([given, held.packets, lost['not packets']], [21, 20, 1])
    assert.deepEqual(await numbers(), upTo(20))
    ring.close()
  })

  it('keeps pinned segments while they are held, within the limit', async () => {
    const ring = opened({ bytes: 4 << 20, pinnedBytes: 1 << 20 })
    ring.interface(ETH0)
    fill(ring, 0, 3000)
    const pin = setPin(folder, {
      holder: 'a dashboard',
      from: BEGINNING,
      to: BEGINNING + 300_000_000n,
      created: NOW,
      expires: NOW + 10_000,
    })
    const greedy = { holder: 'greedy', from: null, to: null, created: NOW + 1, expires: NOW + 10_000 }
    setPin(folder, greedy)
    fill(ring, 3000, 60_000)
    const { pinned } = ring.counts()
    assert.deepEqual(pinned.holders, ['a dashboard', 'greedy'])
    assert.ok(pinned.bytes <= pinned.limit && pinned.refused > 0)
    assert.deepEqual(await numbers({ to: BEGINNING + 300_000_000n }), upTo(3000))
    pin.release()
    ring.tick(NOW + 20_000)
    fill(ring, 63_000, 30_000)
    assert.deepEqual(ring.counts().pinned.holders, [])
    assert.ok((await numbers())[0]! > 30_000)
    ring.close()
  })

  it('goes on when somebody removes its folder, and counts what went with it', async () => {
    const ring = opened()
    ring.interface(ETH0)
    fill(ring, 0, 1000)
    rmSync(folder, { recursive: true })
    ring.tick(NOW + 1000)
    for (let n = 1000; ring.counts().held.packets === n; n += 100) ring.packets(chunk(n, 100, { size: 10_000 }), 100)
    const { given } = ring.counts()
    fill(ring, given, 500)
    const { held, lost } = ring.counts()
    assert.equal(lost['disk error'], given)
    assert.equal(held.packets, 500)
    assert.deepEqual(await numbers(), upTo(500, given))
    assert.match(remarks.join('\n'), /is gone, with its packets/)
    ring.close()
  })

  it('says what it cannot use', () => {
    writeFileSync(join(folder, 'file'), '')
    assert.throws(() => Ring.open(join(folder, 'file'), LIMITS, NOW, () => {}), { code: 'RING_UNUSABLE' })
    assert.throws(() => opened({ bytes: 1000 }), { code: 'RING_TOO_SMALL' })
  })

  it('survives whole runs of random sizes', async () => {
    let seed = 1
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      return (seed >>> 8) % below
    }
    let n = 0
    for (let run = 0; run < 10; run++) {
      const ring = opened({ bytes: 4 << 20 })
      ring.interface(ETH0)
      for (let i = 0; i < 30; i++) {
        const blocks = Array.from({ length: 1 + random(50) }, () => numbered(n++, { size: 8 + random(3000) }))
        ring.packets(Buffer.concat(blocks), blocks.length)
      }
      if (run % 2) ring.close()
      else abandon(ring)
    }
    const found = await numbers()
    assert.deepEqual(found, upTo(found.length, n - found.length))
    assert.ok(found.length > 500)
  })
})

/** As if the process had been killed. */
function abandon(ring: Ring): void {
  ;(ring as unknown as { lock: { close(): void } }).lock.close()
}

function end(address: string, port: number) {
  return { address: parseAddress(address)!, port }
}

function parse(bytes: Uint8Array) {
  const parser = new CaptureParser()
  for (let at = 0; at < bytes.length; ) {
    const room = parser.room()
    const count = Math.min(room.length, bytes.length - at)
    room.set(bytes.subarray(at, at + count))
    parser.filled(count)
    at += count
    while (parser.next() !== null);
  }
  parser.end()
  return parser.notes
}
