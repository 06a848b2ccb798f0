import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CaptureNotes } from '../core/capture-notes.ts'
import type { Packet } from '../core/packet.ts'
import { CaptureParser } from '../core/pcap.ts'
import { noCounters } from './capture.ts'
import { type Exported, type ExportOptions, exportPackets, PLAIN } from './export.ts'
import { openReader } from './reader.ts'
import { Ring } from './ring.ts'
import { BEGINNING, blockOf, chunk, ETH0, ETH1, frameOf, numbered, numberOf } from './testing/traffic.ts'

const LIMITS = { bytes: 64 << 20, age: 3600, pinnedBytes: 0 }
const NOW = Number(BEGINNING / 1_000_000n)

describe('export of rings', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hookline-export-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  function ring(name: string, fill: (ring: Ring) => void): void {
    const one = Ring.open(join(folder, name), LIMITS, NOW, () => {})
    one.interface(ETH0)
    fill(one)
    one.close()
  }

  async function exported(
    rings: readonly string[],
    options: Partial<ExportOptions> = {},
  ): Promise<{ bytes: Buffer; done: Exported }> {
    const chunks: Uint8Array[] = []
    const inputs = rings.map(name => ({ reader: openReader(join(folder, name), {}), wants: null, worker: name }))
    const done = await exportPackets(inputs, { ...PLAIN, format: 'pcapng', ...options }, chunk => {
      chunks.push(chunk.slice())
    })
    const bytes = Buffer.concat(chunks)
    assert.equal(done.bytes, bytes.length)
    return { bytes, done }
  }

  it('merges rings in order of time, and of the same time the first ring first', async () => {
    const at = (n: number) => BEGINNING + BigInt(n >> 1) * 1000n
    ring('a', ring => ring.packets(Buffer.concat(evens(2000).map(n => numbered(n, { time: at(n) }))), 1000))
    ring('b', ring => ring.packets(Buffer.concat(evens(2000).map(n => numbered(n + 1, { time: at(n) }))), 1000))
    const { bytes, done } = await exported(['a', 'b'])
    assert.deepEqual(read(bytes).numbers, upTo(2000))
    assert.deepEqual((await exported(['b', 'a'])).done.packets, 2000)
    assert.deepEqual([done.first, done.last], [BEGINNING, BEGINNING + 999_000n])
    assert.deepEqual(
      done.interfaces.map(({ worker, name, packets }) => [worker, name, packets]),
      [
        ['a', 'eth0', 1000],
        ['b', 'eth0', 1000],
      ],
    )
  })

  it('puts in order what several threads captured side by side', async () => {
    // Two threads that hand over 500 packets each in turn, of the same time.
    ring('a', ring => {
      for (let block = 0; block < 40; block += 2)
        for (const odd of [1, 0])
          ring.packets(Buffer.concat(upTo(500).map(n => numbered(block * 500 + 2 * n + odd, { size: 1000 }))), 500)
    })
    const { bytes } = await exported(['a'])
    assert.deepEqual(read(bytes).numbers, upTo(20_000))
  })

  it('keeps of every packet its bytes, its time to the nanosecond, its length and its options', async () => {
    const frame = frameOf({
      from: '10.0.0.1',
      to: '10.0.0.2',
      fromPort: 1,
      toPort: 2,
      protocol: 17,
      payload: Buffer.alloc(33),
    })
    const plain = Buffer.from(blockOf(frame, BEGINNING + 123_456_789n))
    // Cut to its first bytes, with a comment of the capture's own.
    const comment = Buffer.from('010006006d696e656521000000000000', 'hex')
    const cut = Buffer.concat([plain.subarray(0, 28 + 60), comment, Buffer.alloc(4)])
    cut.writeUInt32LE(cut.length, 4)
    cut.writeUInt32LE(60, 20)
    cut.writeUInt32LE(cut.length, cut.length - 4)
    ring('a', ring => ring.packets(Buffer.concat([plain, cut]), 2))
    const { bytes } = await exported(['a'], { comment: (_, input) => `item ${input} ü` })
    const { packets, notes } = read(bytes)
    assert.deepEqual(
      packets.map(({ seconds, nanoseconds, length, start, end }) => [seconds, nanoseconds, length, end - start]),
      [
        [1_700_000_000, 123_456_789, 75, 75],
        [1_700_000_000, 123_456_789, 75, 60],
      ],
    )
    assert.deepEqual(packets[0]!.bytes, frame)
    assert.deepEqual(
      notes.comments.map(({ packet, text }) => [packet, text]),
      [
        [1, 'item 0 ü'],
        [2, 'item 0 ü'],
        [2, 'minee!'],
      ],
    )
  })

  it('writes names, secrets and what was lost', async () => {
    ring('a', ring => {
      ring.packets(chunk(0, 10), 10)
      ring.counters(0, { ...noCounters(), seen: 13, passed: 10, dropped: 2, overrun: 1 })
      ring.interface(ETH1)
    })
    const names = [
      { address: '10.0.0.1', name: 'shop' },
      { address: '2001:db8::1', name: 'bank' },
    ]
    const { bytes, done } = await exported(['a'], {
      names,
      secrets: [{ kind: 'TLSK', text: 'CLIENT_RANDOM 00 00\n' }],
      title: 'Evidence',
    })
    const { notes } = read(bytes)
    assert.deepEqual(notes.names, names)
    assert.deepEqual(notes.secrets, [{ kind: 'TLSK', text: 'CLIENT_RANDOM 00 00\n' }])
    assert.deepEqual(notes.comments, [{ packet: null, text: 'Evidence' }])
    assert.equal(notes.interfaces.length, 1)
    assert.deepEqual(notes.interfaces[0]!.counters, {
      received: 13,
      dropped: null,
      accepted: 13,
      droppedBySystem: 3,
      delivered: 10,
    })
    assert.deepEqual(done.interfaces, [
      { worker: 'a', name: 'eth0', linkType: 1, packets: 10, received: 13, dropped: 3 },
    ])
  })

  it('writes a pcap, and no packet of another link type into it', async () => {
    ring('a', ring => ring.packets(chunk(0, 100), 100))
    const { bytes } = await exported(['a'], { format: 'pcap' })
    assert.deepEqual(read(bytes).numbers, upTo(100))
    const other = Ring.open(join(folder, 'b'), LIMITS, NOW, () => {})
    other.interface({ ...ETH0, linkType: 101 })
    other.packets(chunk(100, 1), 1)
    other.close()
    await assert.rejects(exported(['a', 'b'], { format: 'pcap' }), { code: 'CAPTURE_LINK_TYPE' })
    assert.equal((await exported(['a', 'b'])).done.packets, 101)
  })

  it('writes a whole file of nothing', async () => {
    ring('a', () => {})
    for (const format of ['pcap', 'pcapng'] as const) {
      const { bytes, done } = await exported(['a'], { format })
      assert.equal(done.packets, 0)
      assert.equal(read(bytes).notes.packets, 0)
    }
  })
})

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

function evens(below: number): number[] {
  return upTo(below).filter(n => n % 2 === 0)
}

/** Their bytes are copies, and begin with the packet. */
function read(bytes: Uint8Array): { packets: Packet[]; numbers: number[]; notes: CaptureNotes } {
  const parser = new CaptureParser()
  const packets: Packet[] = []
  const numbers: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const room = parser.room()
    const count = Math.min(room.length, bytes.length - at)
    room.set(bytes.subarray(at, at + count))
    parser.filled(count)
    at += count
    for (let p = parser.next(); p !== null; p = parser.next()) {
      if (p.end - p.start >= 50) numbers.push(numberOf(p))
      packets.push({ ...p, bytes: Buffer.from(p.bytes.subarray(p.start, p.end)) })
    }
  }
  parser.end()
  assert.deepEqual(parser.notes.damage, [])
  return { packets, numbers, notes: parser.notes }
}
