import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { decode, Frame } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { endsHash, formatStreamName, parseStreamName, streamHash } from '../core/stream-name.ts'
import { readItems, readPackets } from '../core/testing/golden.ts'
import { Dialogue } from '../core/testing/packets.ts'
import { fileRecording, findItem, type Reading, type Recording, readStream, ringRecording } from './recording.ts'
import { StreamFiles } from './stream-files.ts'
import { fillRing } from './testing/filled-ring.ts'

const SHOP = new URL('../examples/captures/shop.pcap', import.meta.url)

describe('streams as files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-streams-'))
  after(() => rmSync(folder, { recursive: true }))
  const packets = readPackets(SHOP)
  let protocols: Protocols
  let streams: string[]
  before(async () => {
    protocols = await loadProtocols()
    streams = [...new Set(readItems(packets, protocols).map(({ stream }) => stream))]
  })

  it('hold every packet of their stream and no other, whatever it is read from', async () => {
    const ring = ringOf(packets, join(folder, 'ring'))
    for (const stream of [streams[0]!, streams[streams.length >> 1]!, streams.at(-1)!]) {
      const file = await new StreamFiles(join(folder, 'a'), fileRecording(SHOP.pathname), 'whole').path(stream)
      const same = await new StreamFiles(join(folder, 'b'), ring, 'growing').path(stream)
      assert.equal(file, join(folder, 'a', stream))
      assert.deepEqual(readFileSync(same), readFileSync(file))
      const own = readPackets(pathToFileURL(file))
      const items = readItems(packets, protocols).filter(item => item.stream === stream)
      assert.deepEqual(readItems(own, protocols), items)
    }
  })

  it('are made once, and asked for by any of the names that scripts have used', async () => {
    let read = 0
    const counting: Recording = {
      indexed: false,
      read: async wanted => {
        read++
        return fileRecording(SHOP.pathname).read(wanted)
      },
    }
    const files = new StreamFiles(join(folder, 'c'), counting, 'whole')
    const [stream] = streams
    const paths = await Promise.all([files.path(stream!), files.path(stream!), files.path(`${stream}.pcap`)])
    assert.deepEqual(new Set(paths), new Set([join(folder, 'c', stream!)]))
    assert.equal(read, 1)
    assert.deepEqual(readdirSync(join(folder, 'c')), [stream])
  })

  for (const [what, name, says] of [
    ['a word that is no name', 'orders', /expected a stream's name/],
    ['a path', '../../../etc/passwd', /expected a stream's name/],
    ['a stream that is not here', '1700000000123456789_5f3a9c01.pcap', /no packets of 1700000000123456789_5f3a9c01/],
  ] as const)
    it(`refuse ${what}, and leave nothing behind`, async () => {
      const files = new StreamFiles(join(folder, 'd'), fileRecording(SHOP.pathname), 'whole')
      await assert.rejects(files.path(name), { name: 'Fault', message: says })
      assert.deepEqual(readdirSync(folder).includes('d') ? readdirSync(join(folder, 'd')) : [], [])
    })

  it('have packets of several link types as pcapng', async () => {
    const cooked = packets.map((packet, i) => (i % 2 === 0 ? packet : asCooked(packet)))
    const ring = ringOf(cooked, join(folder, 'ring-of-two'))
    const file = await new StreamFiles(join(folder, 'e'), ring, 'growing').path(streams[0]!)
    const own = readPackets(pathToFileURL(file))
    assert.deepEqual([...new Set(own.map(({ linkType }) => linkType))].sort(), [1, 113])
    assert.deepEqual(
      readItems(own, protocols),
      readItems(packets, protocols).filter(({ stream }) => stream === streams[0]),
    )
  })

  it('hold what is left of a connection whose first packets have left the ring', async () => {
    const ofTcp = streams.filter(stream => parseStreamName(stream)!.transport === 'tcp')
    const all = await Promise.all(ofTcp.slice(0, 20).map(stream => packetsOf(fileRecording(SHOP.pathname), stream)))
    const longest = all.reduce((best, some, i) => (some.length > all[best]!.length ? i : best), 0)
    const own = all[longest]!
    assert.ok(own.length > 8)
    const since = packets.findIndex(packet => bytesOf(packet) === bytesOf(own[5]!))
    const rest = ringOf(packets.slice(since), join(folder, 'ring-of-the-rest'))
    assert.deepEqual((await packetsOf(rest, ofTcp[longest]!)).map(bytesOf), own.slice(5).map(bytesOf))
  })

  it('hold nothing of the next connection between the same ends', async () => {
    const first = new Dialogue(0).open().close().packets
    const next = new Dialogue(5000, { clientSeq: 7_000_000, serverSeq: 8_000_000 }).open().close().packets
    const named = ringOf([...first, ...next], join(folder, 'ring-of-both'))
    const stream = formatStreamName({ ...first[0]!, transport: 'tcp', hash: hashOf(first[0]!) })
    assert.equal((await packetsOf(named, stream)).length, first.length)
    assert.deepEqual(await packetsOf(ringOf(next, join(folder, 'ring-of-the-next')), stream), [])
  })

  it('lead from an item to the packets that carried it', async () => {
    const directory = join(folder, 'ring-of-items')
    const ring = ringOf(packets, directory)
    const items = readItems(packets, protocols)
    for (const item of [items[0]!, items[items.length >> 1]!, items.at(-1)!]) {
      const carried: Packet[][] = []
      for (const recording of [ring, fileRecording(SHOP.pathname)]) {
        const { wanted, numbers, first } = (await findItem(recording, item, protocols, 1 << 20))!
        const all = await everything(await recording.read(wanted))
        const { seconds, nanoseconds } = all[first]!
        assert.equal(seconds * 1000 + nanoseconds / 1e6, item.timestamp)
        carried.push(all.filter((_, number) => numbers.has(number)))
      }
      assert.deepEqual(carried[0]!.map(bytesOf), carried[1]!.map(bytesOf))
      assert.ok(carried[0]!.length >= 2)
    }
  })
})

async function packetsOf(recording: Recording, stream: string): Promise<Packet[]> {
  const own: Packet[] = []
  await readStream(recording, stream, packet =>
    own.push({
      ...packet,
      bytes: packet.bytes.slice(packet.start, packet.end),
      start: 0,
      end: packet.end - packet.start,
    }),
  )
  return own
}

function hashOf(packet: Packet): number {
  const frame = new Frame()
  decode(packet, frame)
  const port = (at: number) => (frame.bytes[frame.start + at]! << 8) | frame.bytes[frame.start + at + 1]!
  return streamHash(endsHash(frame.words, port(0), port(2)), 'tcp', frame.scope)
}

async function everything(reading: Reading): Promise<Packet[]> {
  const all: Packet[] = []
  do {
    for (let packet = reading.next(); packet !== null; packet = reading.next())
      all.push({ ...packet, bytes: packet.bytes.slice(packet.start, packet.end) })
  } while (await reading.load())
  reading.close()
  return all
}

function bytesOf({ bytes }: Packet): string {
  return Buffer.from(bytes).toString('hex')
}

function ringOf(packets: readonly Packet[], directory: string): Recording {
  fillRing(directory, packets)
  return ringRecording(directory)
}

/** Ethernet as LINUX_SLL has it. */
function asCooked(packet: Packet): Packet {
  const head = Buffer.alloc(16)
  head.set(packet.bytes.subarray(12, 14), 14)
  const bytes = Buffer.concat([head, packet.bytes.subarray(14)])
  return { ...packet, bytes, end: bytes.length, length: bytes.length, linkType: 113 }
}
