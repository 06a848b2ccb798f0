import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseAddress } from '../core/address.ts'
import { between } from './flow.ts'
import { openReader, type Reader, type Wanted } from './reader.ts'
import { Ring } from './ring.ts'
import { BEGINNING, chunk, ETH0, ETH1, numberOf } from './testing/traffic.ts'

const NOW = Number(BEGINNING / 1_000_000n)

describe('reader of a ring', () => {
  let folder: string
  let ring: Ring
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hookline-reader-'))
    ring = Ring.open(folder, { bytes: 4 << 20, age: 3600, pinnedBytes: 0 }, NOW, () => {})
    ring.interface(ETH0)
  })
  afterEach(() => {
    ring.close()
    rmSync(folder, { recursive: true, force: true })
  })

  function fill(first: number, count: number): void {
    for (let n = first; n < first + count; n += 100) ring.packets(chunk(n, 100), 100)
  }

  async function all(reader: Reader): Promise<number[]> {
    const found: number[] = []
    while (await reader.load()) for (let p = reader.next(); p !== null; p = reader.next()) found.push(numberOf(p))
    reader.close()
    return found
  }

  const sealed = () =>
    readdirSync(folder)
      .filter(name => /^\d.*pcapng$/.test(name))
      .sort()
  const numbers = (wanted: Wanted = {}) => all(openReader(folder, wanted))
  const upTo = (count: number, first = 0) => Array.from({ length: count }, (_, i) => first + i)
  /** Of the packet with that number. */
  const timeOf = (n: number) => BEGINNING + BigInt(n) * 100_000n

  it('gives exactly what is within its window, to the nanosecond', async () => {
    fill(0, 10_000)
    for (const [from, to] of [
      [0, 10_000],
      [1, 9999],
      [4321, 4322],
      [4321, 4321],
      [2500, 7500],
    ] as const)
      assert.deepEqual(await numbers({ from: timeOf(from), to: timeOf(to) }), upTo(to - from, from))
    assert.deepEqual(await numbers({ from: timeOf(5000) + 1n, to: timeOf(5001) + 1n }), [5001])
  })

  it('knows how far it is, in the middle of what is sealed too', async () => {
    fill(0, 10_000)
    assert.ok(sealed().length > 2)
    const reader = openReader(folder, { live: true })
    for (let read = 0; read < 10_000; ) {
      assert.ok(await reader.load())
      while (reader.next() !== null) assert.equal(reader.position, ++read)
    }
    reader.close()
  })

  it('gives exactly the packets of a flow, sealed or not', async () => {
    fill(0, 10_000)
    const one = { address: parseAddress('10.0.0.7')!, port: 1031 }
    const other = { address: parseAddress('10.1.0.1')!, port: 53 }
    const expected = upTo(10_000).filter(n => n % 100 === 7)
    assert.deepEqual(await numbers({ filter: between(other, one, 17) }), expected)
    assert.deepEqual(
      await numbers({ filter: between(one, other, 17), from: timeOf(3000), to: timeOf(9000) }),
      expected.filter(n => n >= 3000 && n < 9000),
    )
    assert.deepEqual(await numbers({ filter: between(one, other, 6) }), [])
  })

  it('reads of a large ring only what it needs', async () => {
    fill(0, 10_000)
    // What nobody needs to read may be gone, or be nonsense.
    for (const file of sealed().slice(0, -1)) writeFileSync(join(folder, file), Buffer.alloc(100, 0xff))
    const found = await numbers({ from: timeOf(9900) })
    assert.deepEqual(found, upTo(100, 9900))
  })

  it('passes over what a disk has spoilt, and counts it', async () => {
    fill(0, 10_000)
    const file = sealed()[1]!
    const bytes = readFileSync(join(folder, file))
    bytes.fill(0xff, 20_000, 20_400)
    writeFileSync(join(folder, file), bytes)
    const reader = openReader(folder, {})
    const found = await all(reader)
    assert.ok(reader.damaged > 0 && found.length > 8000 && found.length < 10_000)
    assert.equal(reader.missed, 0)
    assert.deepEqual(
      found,
      [...found].sort((a, b) => a - b),
    )
  })

  it('does not follow an index into a segment that was cut', async () => {
    fill(0, 10_000)
    const file = sealed()[1]!
    const bytes = readFileSync(join(folder, file))
    writeFileSync(join(folder, file), bytes.subarray(0, bytes.length >> 1))
    const one = { address: parseAddress('10.0.0.7')!, port: 1031 }
    const other = { address: parseAddress('10.1.0.1')!, port: 53 }
    const reader = openReader(folder, { filter: between(one, other, 17) })
    const found = await all(reader)
    assert.ok(found.length > 85 && found.length < 100)
    assert.ok(reader.damaged > 0)
    assert.equal(reader.missed, 0)
  })

  it('follows a ring as it grows, from its tail or from any time', async () => {
    fill(0, 1000)
    const tail = openReader(folder, { from: 'tail', live: true })
    const past = openReader(folder, { from: timeOf(500), live: true })
    const [fromTail, fromPast] = [collect(tail, 4000), collect(past, 4500)]
    for (let n = 1000; n < 5000; n += 500) {
      fill(n, 500)
      tail.nudge()
      await pause(5)
    }
    assert.deepEqual(await fromTail, upTo(4000, 1000))
    assert.deepEqual(await fromPast, upTo(4500, 500))
    assert.equal(tail.position, ring.position)
  })

  it('knows to the packet what it missed', async () => {
    fill(0, 2000)
    const slow = openReader(folder, { live: true })
    const found: number[] = []
    await slow.load()
    for (let i = 0; i < 150; i++) found.push(numberOf(slow.next()!))
    fill(2000, 50_000)
    const rest = await collect(slow, Number.POSITIVE_INFINITY, 51_999)
    found.push(...rest)
    assert.equal(slow.missed, 52_000 - found.length)
    assert.ok(slow.missed > 10_000)
  })

  it('knows what it missed also when it looks for a flow', async () => {
    fill(0, 2000)
    const filter = between(
      { address: parseAddress('10.0.0.99')!, port: 1123 },
      { address: parseAddress('10.1.0.1')!, port: 53 },
      17,
    )
    const slow = openReader(folder, { live: true, filter })
    await slow.load()
    slow.next()
    fill(2000, 50_000)
    const { dropped } = ring.counts()
    await collect(slow, Number.POSITIVE_INFINITY, 51_999)
    // The segment that it had open stays its own.
    assert.ok(slow.missed > 0 && slow.missed < dropped.size)
  })

  it('never gives a torn block, and gives it when it is whole', async () => {
    fill(0, 100)
    ring.close()
    const name = readdirSync(folder).find(file => file.endsWith('.pcapng'))!
    const bytes = readFileSync(join(folder, name))
    const growing = mkdtempSync(join(tmpdir(), 'hookline-reader-'))
    const open = join(growing, `.${name}`)
    writeFileSync(open, bytes.subarray(0, 0))
    const reader = openReader(growing, { live: true })
    let found = 0
    for (let length = 0; length <= bytes.length; length += 37) {
      // What stood behind the last whole block before need not be its beginning.
      writeFileSync(open, Buffer.concat([bytes.subarray(0, length), Buffer.alloc(5, 0xff)]))
      reader.nudge()
      const loading = reader.load()
      await Promise.race([loading, pause(1)])
      for (let p = reader.next(); p !== null; p = reader.next()) assert.equal(numberOf(p), found++)
    }
    assert.ok(found >= 99)
    reader.close()
    rmSync(growing, { recursive: true })
    ring = Ring.open(folder, { bytes: 4 << 20, age: 3600, pinnedBytes: 0 }, NOW, () => {})
  })

  it('tells interfaces that come later, and what was lost over what it read', async () => {
    const counters = { seen: 0, passed: 0, overrun: 0, filtered: 0, untargeted: 0, sampledOut: 0 }
    const told = { ...counters, duplicates: 0, own: 0, freezes: 0 }
    fill(0, 5000)
    ring.counters(0, { ...told, seen: 5007, passed: 5000, dropped: 7 })
    fill(5000, 2500)
    ring.interface(ETH1)
    ring.counters(0, { ...told, seen: 7510, passed: 7500, dropped: 10 })
    fill(7500, 2500)
    const reader = openReader(folder, { from: timeOf(7500) })
    const found = await all(reader)
    assert.deepEqual(found, upTo(2500, 7500))
    assert.deepEqual(
      reader.interfaces.map(({ name }) => name),
      ['eth0', 'eth1'],
    )
    assert.equal(reader.interfaces[0]!.counters!.droppedBySystem, 3)
  })

  it('says that there is no ring', () => {
    assert.throws(() => openReader(join(folder, 'none'), {}), { code: 'RING_MISSING' })
  })

  /** Until so many, or the one with that number. */
  async function collect(reader: Reader, count: number, last = -1): Promise<number[]> {
    const found: number[] = []
    while (found.length < count && found.at(-1) !== last && (await reader.load()))
      for (let p = reader.next(); p !== null; p = reader.next()) {
        found.push(numberOf(p))
        if (found.length >= count || found.at(-1) === last) break
        if (reader.position > last && last >= 0 && count === Number.POSITIVE_INFINITY) break
      }
    return found
  }
})
