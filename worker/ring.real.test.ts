import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openReader } from './reader.ts'
import { Ring } from './ring.ts'
import { BEGINNING, chunk, ETH0, numberOf } from './testing/traffic.ts'

const KILLS = 100
/** Where chance comes from: another seed is another test. */
const SEED = 20_261_121
const WRITER = fileURLToPath(new URL('testing/ring-writer.ts', import.meta.url))
const NOW = Number(BEGINNING / 1_000_000n)

describe('a ring whose recorder is killed', function () {
  this.timeout(600_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-ring-'))
  after(() => rmSync(folder, { recursive: true }))
  before(skipWithoutWireshark)

  it(`has every packet that it took, and whole segments, over ${KILLS} deaths`, async () => {
    const random = seeded(SEED)
    /** A sealed segment never changes: each is read once. */
    const opened = new Set<string>()
    let mended = 0
    /** The one that was being written at the last death. */
    let unsealed: string | null = null
    let taken = 0
    for (let death = 0; death < KILLS; death++) {
      const child = spawn(process.execPath, [WRITER, folder, String(16 << 20)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const said = text(child.stdout)
      // Every tenth while it mends what the one before has left.
      if (death % 10 !== 9) await once(child.stdout, 'readable')
      else await pause(100 + random() * 100)
      await pause(random() * 80)
      child.kill('SIGKILL')
      const told = Number((await said).trim().split('\n').at(-1))
      if (told > 0) taken = told

      const numbers = await numbersIn(folder)
      // What it took after it last said so may be there too: one chunk.
      assert.ok(numbers.at(-1)! >= taken - 1 && numbers.at(-1)! < taken + 60, `${numbers.at(-1)} after ${taken}`)
      taken = numbers.at(-1)! + 1
      assert.ok(
        numbers.every((n, i) => n === numbers[0]! + i),
        'no gap',
      )
      const fresh = sealedIn(folder).filter(name => !opened.has(name))
      await assertOpen(folder, fresh)
      for (const name of fresh) opened.add(name)
      if (unsealed !== null && fresh.includes(unsealed)) mended++
      const hidden = readdirSync(folder).find(name => /^\..*\.pcapng$/.test(name))
      unsealed = hidden?.slice(1) ?? null
    }
    assert.ok(mended >= KILLS / 2, `${mended} segments that were not sealed were opened afterwards`)
  })
})

describe('a reader in another process', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-ring-'))
  after(() => rmSync(folder, { recursive: true }))

  it('gets every packet once and in order, or knows how many it missed', async () => {
    const child = spawn(process.execPath, [WRITER, folder, String(4 << 20)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const said = text(child.stdout)
    await once(child.stdout, 'readable')
    const reader = openReader(folder, { live: true })
    let next = 0
    let gaps = 0
    let read = 0
    const take = () => {
      for (let p = reader.next(); p !== null; p = reader.next()) {
        const n = numberOf(p)
        assert.ok(n >= next, `${n} after ${next - 1}`)
        gaps += n - next
        next = n + 1
        read++
      }
    }
    for (const end = Date.now() + 3000; Date.now() < end; ) {
      await reader.load()
      take()
      // It is slow now and then, so that it is overtaken.
      if (read % 7 === 0) await pause(50)
    }
    child.kill('SIGKILL')
    const taken = Number((await said).trim().split('\n').at(-1))
    while (next < taken && (await reader.load())) take()
    reader.close()
    assert.ok(read > 1000 && gaps > 0, `${read} read, ${gaps} missed`)
    assert.equal(reader.missed, gaps)
    assert.equal(reader.damaged, 0)
  })
})

describe('a ring on a disk that is full', function () {
  this.timeout(300_000)
  const mount = mkdtempSync(join(tmpdir(), 'hookline-full-'))
  const folder = join(mount, 'ring')
  let mounted = false
  before(function () {
    skipWithoutWireshark.call(this)
    mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'hookline', mount]).status === 0
    if (!mounted) this.skip()
  })
  after(() => {
    if (mounted) spawnSync('umount', ['-l', mount])
    rmSync(mount, { recursive: true, force: true })
  })

  it('goes on, says so once, drops the oldest, and its counts are true', async () => {
    mkdirSync(folder)
    const remarks: string[] = []
    // Three quarters of the disk are somebody else's already, when it opens.
    const foreign = join(mount, 'foreign')
    writeFileSync(foreign, Buffer.alloc(16 << 20))
    const ring = Ring.open(folder, { bytes: 1 << 30, age: 1e9, pinnedBytes: 0 }, NOW, text => remarks.push(text))
    ring.interface(ETH0)
    let n = 0
    const fill = (packets: number) => {
      for (const end = n + packets; n < end; n += 200) ring.packets(chunk(n, 200, { size: 1000 }), 200)
    }
    const check = async () => {
      const { given, held, dropped, lost } = ring.counts()
      const away = Object.values(dropped).reduce((a, b) => a + b) + Object.values(lost).reduce((a, b) => a + b)
      assert.equal(given, n)
      assert.equal(held.packets + away, n)
      const numbers = await numbersIn(folder)
      assert.equal(numbers.length, held.packets)
      assert.equal(new Set(numbers).size, numbers.length)
      return { numbers, lost: lost['disk full'], dropped: dropped['disk full'] }
    }

    fill(30_000)
    assert.equal(remarks.length, 0)
    fill(100_000)
    const full = await check()
    assert.ok(full.dropped > 50_000)
    assert.equal(full.lost, 0)
    assert.equal(full.numbers.at(-1), n - 1)
    assert.equal(remarks.length, 1)
    assert.match(remarks[0]!, /is full: the oldest packets are dropped before their time/)

    // Somebody takes everything else, and the ring has to live with nearly nothing.
    fillUp(mount)
    fill(60_000)
    fillUp(mount)
    fill(60_000)
    const starved = await check()
    assert.equal(starved.numbers.at(-1), n - 1)
    ring.close()
    await check()
    await assertWhole(folder, sealedIn(folder))

    // Whoever comes next on the full disk takes it up all the same.
    fillUp(mount)
    const kept = ring.counts().held.packets
    const next = Ring.open(folder, { bytes: 1 << 30, age: 1e9, pinnedBytes: 0 }, NOW, text => remarks.push(text))
    const taken = next.counts()
    assert.equal(taken.held.packets + taken.dropped['disk full'], kept)
    next.interface(ETH0)
    next.packets(chunk(n, 200, { size: 1000 }), 200)
    const after = next.counts()
    assert.equal(after.held.packets + after.dropped['disk full'] + after.lost['disk full'], kept + 200)
    assert.equal((await numbersIn(folder)).at(-1), n + 199)
    next.close()
    await assertWhole(folder, sealedIn(folder))

    // Not even room for a segment's beginning.
    rmSync(folder, { recursive: true })
    mkdirSync(folder)
    const empty = Ring.open(folder, { bytes: 1 << 30, age: 1e9, pinnedBytes: 0 }, NOW, text => remarks.push(text))
    empty.interface(ETH0)
    fillUp(mount)
    remarks.length = 0
    for (let i = 0; i < 100; i++) empty.packets(chunk(0, 100, { size: 1400 }), 100)
    const { given, held, lost, dropped } = empty.counts()
    assert.equal(given, 10_000)
    assert.equal(held.packets + lost['disk full'] + dropped['disk full'], given)
    assert.equal((await numbersIn(folder)).length, held.packets)

    // The disk is given back.
    for (const name of readdirSync(mount)) if (name.startsWith('foreign')) rmSync(join(mount, name))
    const before = empty.counts().held.packets
    for (let i = 0; i < 150; i++) empty.packets(chunk(100 * i, 100, { size: 1000 }), 100)
    assert.ok(empty.counts().held.packets > before + 12_000)
    assert.match(remarks.at(-1)!, /can be written again/)
    assert.ok(remarks.length <= 4, remarks.join('\n'))
    empty.close()
    await assertOpen(folder, sealedIn(folder))
  })
})

function fillUp(mount: string): void {
  const { bsize, bavail } = statfsSync(mount)
  if (bavail === 0) return
  const path = join(mount, `foreign-${process.hrtime.bigint()}`)
  writeFileSync(path, Buffer.alloc(bsize * bavail))
}

async function numbersIn(directory: string): Promise<number[]> {
  const reader = openReader(directory, {})
  const found: number[] = []
  while (await reader.load()) for (let p = reader.next(); p !== null; p = reader.next()) found.push(numberOf(p))
  reader.close()
  assert.equal(reader.damaged, 0)
  return found
}

function skipWithoutWireshark(this: Mocha.Context): void {
  for (const program of ['tshark', 'capinfos']) if (spawnSync(program, ['--version']).error) this.skip()
}

function sealedIn(directory: string): string[] {
  return readdirSync(directory).filter(name => /^\d.*\.pcapng$/.test(name))
}

/** tshark takes one file: it is started for each, a few at a time. */
async function assertOpen(folder: string, segments: readonly string[]): Promise<void> {
  await assertWhole(folder, segments)
  const waiting = segments.map(name => join(folder, name))
  const read = async () => {
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop())
      await assertSilent('tshark', ['-r', path, '-w', '/dev/null'])
  }
  await Promise.all(Array.from({ length: 4 }, read))
}

/** capinfos takes them all at once. */
async function assertWhole(folder: string, segments: readonly string[]): Promise<void> {
  const paths = segments.map(name => join(folder, name))
  if (paths.length > 0) await assertSilent('capinfos', ['-c', '-M', ...paths])
}

async function assertSilent(program: string, words: readonly string[]): Promise<void> {
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] })
  const [said, [status]] = await Promise.all([text(child.stderr), once(child, 'close')])
  assert.equal(said.replace(/^Running as user.*\n/m, ''), '', words.join(' '))
  assert.equal(status, 0)
}

/** Marsaglia's xorshift32; from 0 to 1. */
function seeded(state: number): () => number {
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
