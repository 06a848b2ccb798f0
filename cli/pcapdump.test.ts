import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CaptureNotes } from '../core/capture-notes.ts'
import type { Item } from '../core/item.ts'
import { openCapture } from '../worker/sources/file.ts'
import { hookline, SHOP_PCAP } from './testing/hookline.ts'
import { ringOf } from './testing/ring.ts'

describe('pcapdump', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-pcapdump-'))
  const all = join(folder, 'all')
  const [even, odd] = [join(folder, 'even', 'ring'), join(folder, 'odd', 'ring')]
  let count = 0
  before(async () => {
    count = ringOf(all, SHOP_PCAP)
    ringOf(even, SHOP_PCAP, n => n % 2 === 0)
    ringOf(odd, SHOP_PCAP, n => n % 2 === 1)
  })
  after(() => rmSync(folder, { recursive: true }))

  const dump = (...words: string[]) => hookline(folder, ['pcapdump', ...words])

  /** A line a packet, and the notes. */
  async function read(path: string): Promise<{ lines: string[]; notes: CaptureNotes }> {
    const file = await openCapture(path)
    const lines: string[] = []
    while (await file.load())
      for (let p = file.next(); p !== null; p = file.next())
        lines.push(`${p.seconds}.${p.nanoseconds} ${Buffer.from(p.bytes.subarray(p.start, p.end)).toString('base64')}`)
    assert.deepEqual(file.notes.damage, [])
    return { lines, notes: file.notes }
  }

  it('writes everything, with the names that DNS gave', async () => {
    const path = join(folder, 'out.pcapng')
    const { code, stderr } = await dump('--ring', all, '--dest', path)
    assert.equal(code, 0)
    assert.match(stderr, /^[\d ]+ packets, .* -> .*out\.pcapng\n$/)
    const { lines, notes } = await read(path)
    assert.deepEqual(lines, (await read(SHOP_PCAP)).lines)
    assert.equal(lines.length, count)
    assert.ok(notes.names.length > 0)
    assert.equal(notes.interfaces[0]!.name, 'eth0')
  })

  it('merges several rings', async () => {
    const path = join(folder, 'merged.pcap')
    await dump('--ring', odd, '--ring', even, '--dest', path)
    const { lines } = await read(path)
    const times = lines.map(line => line.split(' ')[0])
    const { lines: expected } = await read(SHOP_PCAP)
    assert.deepEqual(
      times,
      expected.map(line => line.split(' ')[0]),
    )
    // Of those with one time, the first ring's come first.
    assert.deepEqual([...lines].sort(), [...expected].sort())
  })

  it('cuts out a window of time', async () => {
    const { lines } = await read(SHOP_PCAP)
    const timeOf = (line: string) => Number(line.split(' ')[0]!.split('.')[0])
    const second = timeOf(lines[lines.length >> 1]!)
    const path = join(folder, 'window.pcapng')
    await dump('--ring', all, '--dest', path, '--from', `${second}`, '--to', `${second + 1}`)
    const inside = lines.filter(line => timeOf(line) === second)
    assert.ok(inside.length > 0 && inside.length < lines.length)
    assert.deepEqual((await read(path)).lines, inside)
    const from = new Date(second * 1000).toISOString()
    await dump('--ring', all, '--dest', path, '--from', from, '--time', '1s').then(({ code, stderr }) => {
      assert.equal(code, 2)
      assert.match(stderr, /^hookline: --time and --from both/)
    })
  })

  it('writes the packets of a stream, and those that carried an item with its id beside the first', async () => {
    const { stdout } = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    const items = stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Item)
    const { lines } = await read(SHOP_PCAP)
    for (const item of [items[1]!, items[items.length >> 1]!, items.at(-2)!]) {
      const streamPath = join(folder, item.stream)
      // The other ring has none of it, or half.
      const told = await dump('--ring', all, '--ring', even, '--stream', item.stream, '--dest', streamPath)
      assert.equal(told.code, 0, told.stderr)
      const stream = (await read(streamPath)).lines
      const again = await hookline(folder, ['run', '--pcap', streamPath, '--json'])
      assert.ok(again.stdout.includes(`"id":"${item.id}"`))

      await dump('--ring', all, '--item', item.id, '--dest', `${folder}/`)
      const { lines: carried, notes } = await read(join(folder, `${item.stream}-${item.index}.pcapng`))
      assert.deepEqual(
        notes.comments.filter(({ packet }) => packet !== null),
        [{ packet: 1, text: item.id }],
      )
      assert.ok(carried.length >= 2 && carried.length <= stream.length)
      assert.ok(carried.every(line => stream.includes(line)) && stream.every(line => lines.includes(line)))
      const [seconds, nanoseconds] = carried[0]!.split(' ')[0]!.split('.').map(Number)
      assert.equal(seconds! * 1000 + nanoseconds! / 1e6, item.timestamp)
    }
  })

  it('finds an item that a script has made, with that script', async () => {
    const ring = join(folder, 'statsd')
    const script = fileURLToPath(new URL('../examples/scripts/dissect-statsd.js', import.meta.url))
    const capture = fileURLToPath(new URL('../examples/captures/statsd.pcap', import.meta.url))
    ringOf(ring, capture)
    const path = join(folder, 'statsd.pcapng')
    let id = ''
    for (const more of [['--with', 'udp-conn'], []]) {
      const { stdout } = await hookline(folder, ['run', script, '--pcap', capture, '--json', ...more])
      const lines = stdout.split('\n').filter(line => line !== '')
      const items: Item[] = lines.map(line => JSON.parse(line))
      assert.equal(new Set(items.map(one => one.id)).size, items.length)
      const item = items.filter(({ protocol }) => protocol.name === 'statsd')[1]!
      id = item.id
      const told = await dump(script, '--ring', ring, '--item', id, '--dest', path, ...more)
      assert.equal(told.code, 0, told.stderr)
      const { lines: packets, notes } = await read(path)
      assert.equal(packets.length, 1)
      assert.equal(Number(packets[0]!.split(' ')[0]!.split('.')[0]), Math.floor(item.timestamp / 1000))
      assert.deepEqual(
        notes.comments.filter(({ packet }) => packet !== null),
        [{ packet: 1, text: id }],
      )
    }
    const without = await dump('--ring', ring, '--item', id, '--dest', path)
    assert.equal(without.code, 2)
    assert.match(without.stderr, /has packets of \S+_udp\.pcap, and finds no item .*: give what it was shown with/)
    const windowed = await dump(script, '--ring', ring, '--dest', path)
    assert.match(windowed.stderr, /dissect-statsd\.js was given without --item/)
  })

  it('writes beside each packet in which an item begins the id of the item', async () => {
    const { stdout } = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    const ids = stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => (JSON.parse(line) as Item).id)
    const path = join(folder, 'marked.pcapng')
    await dump('--ring', all, '--dest', path)
    const { notes } = await read(path)
    const told = notes.comments.filter(({ packet }) => packet !== null).flatMap(({ text }) => text.split('\n'))
    assert.deepEqual(told.sort(), ids.sort())
    await dump('--ring', all, '--dest', path, '--no-items')
    assert.deepEqual(
      (await read(path)).notes.comments.filter(({ packet }) => packet !== null),
      [],
    )
  })

  it('writes to standard output, and into a folder', async () => {
    const { code, stdout } = await dump('--ring', all, '--dest', '-', '--format', 'pcap')
    assert.equal(code, 0)
    assert.equal(stdout.slice(4, 8), '\u0002\u0000\u0004\u0000')
    const into = mkdtempSync(join(folder, 'into-'))
    await dump('--ring', all, '--dest', into)
    const files = readdirSync(into)
    assert.equal(files.length, 1)
    assert.match(files[0]!, /^hookline-\d{8}T\d{6}Z\.pcapng$/)
  })

  it('says when the ring does not reach back so far', async () => {
    const { code, stderr } = await dump('--ring', all, '--dest', '-', '--from', '2001-01-01T00:00:00Z')
    assert.equal(code, 0)
    assert.match(stderr, /^the ring of all begins at 20\S+Z: there is nothing older$/m)
  })

  it('says that there is nothing to write', async () => {
    const { code, stderr } = await dump('--ring', all, '--dest', '-', '--filter', 'udp port 1')
    assert.equal(code, 0)
    assert.match(stderr, /^nothing that was recorded is of that time, or passes the filter$/m)
  })

  it('leaves no file behind when it fails', async () => {
    const into = mkdtempSync(join(folder, 'into-'))
    const { code } = await dump('--ring', all, '--dest', join(into, 'none', 'out.pcap'))
    assert.equal(code, 2)
    assert.deepEqual(readdirSync(into), [])
  })

  for (const [words, complaint] of [
    [['--time', '5'], /Expected a duration as 90s, 5m/],
    [['--from', 'yesterday'], /Expected a time as/],
    [['--from', '1700000001', '--to', '1700000000'], /is not before --to/],
    [['--format', 'snoop'], /Expected pcap or pcapng/],
    [['--ring', join(folder, 'nowhere')], /expected the folder of a ring at .*nowhere, found nothing/],
    [['--ring', join(folder, 'empty')], /expected a ring, found none of its segments/],
    [['--ring', SHOP_PCAP], /expected the folder of a ring at .*shop\.pcap, found a file/],
    [[], /expected the folder of a ring at .*hookline\/ring, found nothing/],
  ] as const)
    it(`refuses ${words.join(' ').replace(folder, '') || 'no ring'}`, async () => {
      const empty = join(folder, 'empty')
      mkdirSync(empty, { recursive: true })
      writeFileSync(join(empty, 'other'), '')
      const { code, stdout, stderr } = await dump(...words)
      assert.equal(code, 2)
      assert.equal(stdout, '')
      assert.match(stderr, complaint)
      assert.equal(stderr.trim().split('\n').length, 1)
    })
})
