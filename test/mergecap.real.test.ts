import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCapture } from '../bench/make-capture.ts'
import type { Packet } from '../core/packet.ts'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import { type ExportOptions, exportPackets, PLAIN } from '../worker/export.ts'
import { openReader } from '../worker/reader.ts'
import { Ring } from '../worker/ring.ts'
import { RingWindow } from '../worker/ring-window.ts'
import { openCapture } from '../worker/sources/file.ts'
import { BEGINNING } from '../worker/testing/traffic.ts'
import { writeWholeFile } from '../worker/whole-file.ts'

const PACKETS = 60_000
const NOW = Number(BEGINNING / 1_000_000n)

describe('exports, in the eyes of Wireshark', function () {
  this.timeout(300_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-export-'))
  const traffic = join(folder, 'traffic.pcap')
  after(() => rmSync(folder, { recursive: true }))
  before(async function () {
    for (const program of ['tshark', 'capinfos', 'mergecap', 'reordercap'])
      if (spawnSync(program, ['--version']).error) this.skip()
    makeCapture(traffic, PACKETS, 'mix')
    await ringOf('a', n => n % 3 === 0)
    await ringOf('b', n => n % 3 === 1 && n % 1000 < 700)
    await ringOf('c', n => n % 3 === 2 || n % 1000 >= 700)
    await ringOf('d', () => true, 50)
  })

  /** Of the packets that are wanted; `mess`: so many of them are handed over in the opposite order. */
  async function ringOf(name: string, wants: (n: number) => boolean, mess = 1): Promise<void> {
    const limits = { bytes: 64 << 20, age: 1e9, pinnedBytes: 0 }
    const ring = Ring.open(join(folder, name), limits, NOW, () => {})
    const writer = new PcapngWriter()
    for (const id of [0, 1]) {
      ring.interface({ id, name: `eth${id}`, linkType: 1, index: id + 2, namespace: null })
      writer.interface('', 1)
    }
    const capture = await openCapture(traffic)
    let blocks: Uint8Array[] = []
    let n = 0
    const hand = () => {
      if (mess > 1) blocks.reverse()
      for (const block of blocks) ring.packets(block, 1)
      blocks = []
    }
    while (await capture.load())
      for (let p = capture.next(); p !== null; p = capture.next()) {
        if (wants(n++)) blocks.push(writer.packet({ ...p, interfaceId: n & 1 }))
        if (blocks.length >= mess) hand()
      }
    hand()
    const counted = { seen: n + 5, passed: n, dropped: 3, overrun: 2, filtered: 0, untargeted: 0, sampledOut: 0 }
    ring.counters(0, { ...counted, duplicates: 0, own: 0, freezes: 1 })
    ring.close()
  }

  async function exported(names: readonly string[], file: string, options: Partial<ExportOptions> = {}) {
    const path = join(folder, file)
    const inputs = names.map(name => ({ reader: openReader(join(folder, name), {}), wants: null, worker: name }))
    const settings = { ...PLAIN, format: 'pcapng', ...options } as const
    const done = await writeWholeFile(path, write => exportPackets(inputs, settings, write))
    for (const { reader } of inputs) reader.close()
    return { path, done }
  }

  it('hold the packets of mergecap, in its order', async () => {
    const parts = []
    for (const name of ['a', 'b', 'c']) parts.push((await exported([name], `${name}.pcapng`)).path)
    const merged = join(folder, 'mergecap.pcapng')
    silent('mergecap', ['-w', merged, ...parts])
    const { path, done } = await exported(['a', 'b', 'c'], 'ours.pcapng')
    const [ours, theirs] = [await digests(path), await digests(merged)]
    assert.equal(done.packets, ours.length)
    assert.ok(ours.length > PACKETS)
    assert.deepEqual(ours, theirs)
  })

  it('are in the order of reordercap where a ring is not', async () => {
    const ring = openReader(join(folder, 'd'), {})
    const unsorted = join(folder, 'unsorted.pcapng')
    const writer = new PcapngWriter()
    await writeWholeFile(unsorted, async write => {
      write(writer.section(null))
      for (const id of ['eth0', 'eth1']) write(writer.interface(id, 1))
      while (await ring.load()) for (let p = ring.next(); p !== null; p = ring.next()) write(writer.packet(p))
    })
    ring.close()
    const sorted = join(folder, 'reordercap.pcapng')
    spawnSync('reordercap', [unsorted, sorted])
    const { path } = await exported(['d'], 'd.pcapng')
    assert.deepEqual(await digests(path), await digests(sorted))
    assert.notDeepEqual(await digests(path), await digests(unsorted))
  })

  it('are read without a complaint, with all that is in them', async () => {
    const full: Partial<ExportOptions> = {
      title: 'Hookline test',
      names: [
        { address: '10.0.0.1', name: 'shop.example' },
        { address: '2001:db8::1', name: 'bank.example' },
      ],
      secrets: [{ kind: 'TLSK', text: `CLIENT_RANDOM ${'00'.repeat(32)} ${'11'.repeat(48)}\n` }],
      comment: (_, input) => (input === 1 ? 'node/1-2 ü' : null),
    }
    for (const [file, options] of [
      ['plain.pcapng', {}],
      ['full.pcapng', full],
      ['plain.pcap', { format: 'pcap' }],
    ] as const) {
      const { path, done } = await exported(['a', 'b'], file, options)
      silent('tshark', ['-r', path, '-w', '/dev/null'])
      const told = silent('capinfos', ['-M', path])
      assert.equal(Number(/^Number of packets:\s+(\d+)/m.exec(told)![1]), done.packets)
      assert.match(told, /^Strict time order:\s+True/m)
    }
    const path = join(folder, 'full.pcapng')
    const told = silent('capinfos', ['-M', path])
    assert.match(told, /^Capture comment:\s+Hookline test/m)
    assert.match(told, /^Number of decryption secrets in file: 1/m)
    assert.match(told, /^Number of resolved IPv4 addresses in file: 1/m)
    assert.match(told, /^Number of resolved IPv6 addresses in file: 1/m)
    assert.match(told, /Number of stat entries = 1/)
    const words = ['-r', path, '-Y', 'frame.comment == "node/1-2 ü"', '-T', 'fields', '-e', 'frame.number']
    const commented = silent('tshark', words).trim().split('\n').length
    assert.equal(commented, (await exported(['b'], 'b.pcapng')).done.packets)
    const counts = silent('tshark', [
      '-r',
      path,
      '-c',
      '1',
      '-N',
      'n',
      '-T',
      'fields',
      '-e',
      'ip.src_host',
      '-e',
      'ip.dst_host',
    ])
    assert.ok(counts.length > 0)
  })

  it('hold of a filter what tcpdump takes for it', async function () {
    if (spawnSync('tcpdump', ['--version']).error) this.skip()
    const expected = join(folder, 'tcpdump.pcap')
    for (const filter of [
      'udp port 53',
      'host 10.0.0.7',
      'net 10.0.1.0/24 and tcp port 6379',
      'src portrange 1024-2000 or dst host 10.96.10.10',
      'tcp and not port 8080',
      'tcp[tcpflags] & tcp-fin != 0',
      'len > 1000 and port 8080',
      'icmp',
    ]) {
      spawnSync('tcpdump', ['-r', traffic, '-w', expected, filter])
      const window = new RingWindow([join(folder, 'd')], { from: null, to: null, filter }, 'a test')
      const path = join(folder, 'filtered.pcap')
      const settings = { ...PLAIN, format: 'pcap' } as const
      await writeWholeFile(path, write => exportPackets(window.inputs, settings, write))
      window.close()
      const nameless = async (path: string) => (await digests(path)).map(line => line.replace(/ (eth\d|null) /, ' '))
      assert.deepEqual(await nameless(path), await nameless(expected), filter)
    }
  })

  async function digests(path: string): Promise<string[]> {
    const file = await openCapture(path)
    const found: string[] = []
    while (await file.load())
      for (let p = file.next(); p !== null; p = file.next())
        found.push(digest(p, file.notes.interfaces[p.interfaceId]!.name))
    assert.deepEqual(file.notes.damage, [])
    return found
  }

  function digest({ bytes, start, end, seconds, nanoseconds, length }: Packet, name: string | null): string {
    const hash = createHash('sha256').update(bytes.subarray(start, end)).digest('base64')
    return `${seconds}.${nanoseconds} ${length} ${name} ${hash}`
  }

  function silent(program: string, words: readonly string[]): string {
    const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', maxBuffer: 1 << 28 })
    assert.equal(stderr.replace(/^Running as user.*\n/m, ''), '')
    assert.equal(status, 0)
    return stdout
  }
})
