import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { emptyPacket } from '../../core/packet.ts'
import { PcapWriter } from '../../core/pcap.ts'
import { PcapngWriter } from '../../core/pcapng-writer.ts'
import { openCapture } from './file.ts'
import { Runs } from './runs.ts'

describe('an archive of captures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-archive-'))
  after(() => rmSync(folder, { recursive: true }))

  async function archive(files: Record<string, Uint8Array | string>): Promise<Buffer> {
    const tar = pack()
    for (const [name, content] of Object.entries(files)) {
      const bytes = Buffer.from(content)
      tar.entry({ name, size: bytes.length, mode: 0o644, mtime: new Date(0) }, () => {}).end(bytes)
    }
    tar.finalize()
    return buffer(tar)
  }

  /** Of packets whose bytes are their number, `time` seconds after 1970. */
  function pcap(numbers: readonly number[], time = (n: number) => n): Buffer {
    const writer = new PcapWriter(1)
    return Buffer.concat([writer.header(), ...numbers.map(n => writer.record(packetOf(n, time(n))))])
  }

  function pcapng(numbers: readonly number[], name: string): Buffer {
    const writer = new PcapngWriter()
    const blocks = [
      writer.section('from here'),
      writer.interface(name, 1),
      ...numbers.map(n => writer.packet(packetOf(n, n))),
    ]
    return Buffer.concat([...blocks, writer.names([{ address: '10.0.0.1', name }])])
  }

  function packetOf(n: number, seconds: number) {
    const bytes = Buffer.alloc(60)
    bytes.writeUInt32BE(n)
    return { ...emptyPacket(), bytes, start: 0, end: 60, length: 60, seconds }
  }

  async function read(content: Uint8Array, name = 'archive') {
    const path = join(folder, name)
    writeFileSync(path, content)
    const capture = await openCapture(path)
    const found: [number, number][] = []
    try {
      while (await capture.load())
        for (let p = capture.next(); p !== null; p = capture.next())
          found.push([Buffer.from(p.bytes).readUInt32BE(p.start), p.interfaceId])
    } finally {
      capture.close()
    }
    assert.equal(capture.notes.packets, found.length)
    return { numbers: found.map(([n]) => n), interfaces: found.map(([, id]) => id), notes: capture.notes }
  }

  const FILES = {
    '10.0.0.1/000000000001.pcap': pcap([1, 4, 7]),
    '10.0.0.1/000000000002_udp.pcap': pcap([3, 5, 9]),
    'node-b/packets.pcapng': pcapng([2, 6, 8], 'eth7'),
    'manifest.json': '{}',
    'node-b/._packets.pcapng': 'a shadow',
    'README.md': 'x'.repeat(10_000),
  }

  it('gives the packets of all, in order of time, however it is packed', async () => {
    const tar = await archive(FILES)
    for (const content of [tar, gzipSync(tar), zstdCompressSync(tar)]) {
      const { numbers, interfaces, notes } = await read(content)
      assert.deepEqual(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9])
      assert.deepEqual(interfaces, [0, 2, 1, 0, 1, 2, 0, 2, 1])
      assert.deepEqual(
        notes.interfaces.map(({ name }) => name),
        [null, null, 'eth7'],
      )
      assert.deepEqual(notes.names, [{ address: '10.0.0.1', name: 'eth7' }])
      assert.deepEqual(notes.damage, [])
      assert.equal(notes.bytes, notes.parsed)
    }
  })

  it('reads captures that are packed themselves', async () => {
    const tar = await archive({
      'a.pcap.gz': gzipSync(FILES['10.0.0.1/000000000001.pcap']),
      'b.pcapng.zst': zstdCompressSync(FILES['node-b/packets.pcapng']),
    })
    assert.deepEqual((await read(tar)).numbers, [1, 2, 4, 6, 7, 8])
  })

  it('keeps packets of one time in the order of the archive', async () => {
    const tar = await archive({
      'a.pcap': pcap([1, 2], () => 5),
      'b.pcap': pcap([3, 4], () => 5),
      'c.pcap': pcap([5], () => 4),
    })
    assert.deepEqual((await read(tar)).numbers, [5, 1, 2, 3, 4])
  })

  it('reads what there is of one that is cut or damaged, and says so', async () => {
    const tar = await archive(FILES)
    const cut = await read(gzipSync(tar).subarray(0, -40))
    assert.deepEqual(cut.numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert.match(cut.notes.damage.map(({ cause }) => cause).join(), /compression/)
    const long = await archive({ 'a.pcap': pcap(Array.from({ length: 20_000 }, (_, n) => n)) })
    const torn = await read(long.subarray(0, long.length >> 1))
    assert.ok(torn.numbers.length > 5000 && torn.numbers.length < 10_010)
    assert.match(torn.notes.damage.map(({ cause }) => cause).join(), /archive/)
    const none = await read(await archive({ 'a.pcap': 'no capture', 'b.pcap': pcap([1]) }))
    assert.deepEqual(none.numbers, [1])
    assert.match(none.notes.damage[0]!.expected, /a capture in a\.pcap/)
  })

  it('is refused when nothing in it is a capture', async () => {
    await assert.rejects(read(await archive({ 'manifest.json': '{}' })), { code: 'ARCHIVE_EMPTY' })
  })

  it('can be closed in the middle', async () => {
    const path = join(folder, 'closed')
    writeFileSync(path, await archive(FILES))
    const capture = await openCapture(path)
    await capture.load()
    capture.close()
    assert.equal(await capture.load(), false)
    assert.equal(capture.next(), null)
  })
})

describe('runs of packets', () => {
  it('sorts more than the memory may hold, and leaves nothing behind', () => {
    const before = readdirSync(tmpdir()).filter(name => name.startsWith('hookline-')).length
    const runs = new Runs(20_000)
    let seed = 7
    const expected: [number, number][] = []
    for (let i = 0; i < 5000; i++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      const seconds = (seed >>> 8) % 1000
      const bytes = Buffer.alloc(10 + (i % 300) + (i % 1000 === 0 ? 300_000 : 0))
      bytes.writeUInt32BE(i)
      runs.add({ ...emptyPacket(), bytes, start: 0, end: bytes.length, length: bytes.length, seconds }, i % 3)
      expected.push([seconds, i])
    }
    expected.sort(([a], [b]) => a - b)
    for (const [seconds, i] of expected) {
      const packet = runs.next()!
      const at = Buffer.from(packet.bytes.buffer, packet.bytes.byteOffset)
      assert.deepEqual([packet.seconds, at.readUInt32BE(packet.start), packet.interfaceId], [seconds, i, i % 3])
      assert.equal(packet.end - packet.start, packet.length)
    }
    assert.equal(runs.next(), null)
    runs.close()
    assert.equal(readdirSync(tmpdir()).filter(name => name.startsWith('hookline-')).length, before)
  })
})
