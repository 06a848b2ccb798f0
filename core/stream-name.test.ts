import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import type { Connection, Half } from './connections.ts'
import type { Item, Json } from './item.ts'
import { JsonWriter } from './json-writer.ts'
import type { Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { including } from './selection.ts'
import {
  endsHash,
  formatStreamName,
  parseItemId,
  parseStreamName,
  type StreamName,
  streamHash,
  writeStreamName,
} from './stream-name.ts'
import { readPackets } from './testing/golden.ts'
import { CLIENT, Dialogue, fragments, packetOf, SERVER, udp } from './testing/packets.ts'
import type { Trace } from './trace.ts'

const FIXTURES = new URL('fixtures/', import.meta.url)
/** Of one capture, so many connections are read again on their own. */
const MOST_STREAMS = 40

describe('stream names', () => {
  let protocols: Protocols
  before(async () => {
    const all = await loadProtocols()
    protocols = including(
      all,
      (all.optional ?? []).map(({ name }) => name),
    )
  })

  it('say when the connection began and what its ends are, and can be read back', () => {
    for (const [name, text] of [
      [
        { seconds: 1_700_000_000, nanoseconds: 123, hash: 0x0ff1ce, transport: 'tcp' },
        '1700000000000000123_000ff1ce.pcap',
      ],
      [
        { seconds: 7, nanoseconds: 999_999_999, hash: 0xffffffff, transport: 'icmpv6' },
        '0000000007999999999_ffffffff_icmpv6.pcap',
      ],
      // Past 2038, and past 2286.
      [
        { seconds: 0x8000_0000, nanoseconds: 0, hash: 0x8000_0000, transport: 'udp' },
        '2147483648000000000_80000000_udp.pcap',
      ],
      [
        { seconds: 12_345_678_901, nanoseconds: 5, hash: 1, transport: 'sctp' },
        '12345678901000000005_00000001_sctp.pcap',
      ],
    ] as const) {
      assert.equal(formatStreamName(name), text)
      assert.equal(written(name), text)
      assert.deepEqual(parseStreamName(text), name)
    }
    for (const text of ['', '000000000007.pcap', '1700000000000000123_000ff1ce', '1700000000000000123_0_gre.pcap'])
      assert.equal(parseStreamName(text), null, text)
  })

  it('are found in the ids of items, whatever their worker is called', () => {
    const stream = '1700000000000000123_000ff1ce_udp.pcap'
    for (const worker of ['local', '10.0.0.1:8897', 'a/b-1', '[fe80::1]:1'])
      assert.deepEqual(parseItemId(`${worker}/${stream}-12`), { worker, stream, index: 12 })
    for (const id of ['', stream, `local/${stream}`, `local/${stream}-x`]) assert.equal(parseItemId(id), null, id)
  })

  it('are the same from both ends, and differ by transport, scope and any port or address', () => {
    const there = endsHash(words(1, 2), 1000, 80)
    assert.equal(endsHash(words(2, 1), 80, 1000), there)
    const all = [
      streamHash(there, 'tcp', 0),
      streamHash(there, 'udp', 0),
      streamHash(there, 'tcp', 1),
      streamHash(endsHash(words(1, 2), 1001, 80), 'tcp', 0),
      streamHash(endsHash(words(1, 3), 1000, 80), 'tcp', 0),
      streamHash(endsHash(words(1, 2), 80, 1000), 'tcp', 0),
    ]
    assert.equal(new Set(all).size, all.length)
  })

  it('hash the flows of one server so that the lower bits spread', () => {
    const bits = 14
    const taken = new Map<number, number>()
    const flows = 1 << bits
    for (let i = 0; i < flows; i++) {
      const client = 0x0a000000 + ((i * 2654435761) >>> 24)
      const slot = endsHash(words(client, 0x0a600a0a), 1024 + (i % 60_000), 53) & (flows - 1)
      taken.set(slot, (taken.get(slot) ?? 0) + 1)
    }
    // Balls thrown at random into as many bins leave 1/e of them empty.
    assert.ok(Math.abs(1 - taken.size / flows - 1 / Math.E) < 0.02, `${taken.size} of ${flows} bins are taken`)
    assert.ok(Math.max(...taken.values()) < 12)
  })

  it('sort as connections began', () => {
    const { items } = read(
      [...new Dialogue(999).open().packets, ...ask(new Dialogue(0, { client: { address: 1, port: 2 } })).packets],
      protocols,
    )
    const { items: later } = read(ask(new Dialogue(12_345_678)).packets, protocols)
    assert.ok(items[0]!.stream < later[0]!.stream)
  })

  it('name a datagram that came in fragments by the packet that completed it', () => {
    const pieces = fragments(udp(CLIENT, { ...SERVER, port: 53 }, new Uint8Array(64)), 24)
    const { seen } = read(
      pieces.map((bytes, i) => packetOf(bytes, i)),
      protocols,
    )
    const [[stream, packets]] = [...seen.packets] as [[string, number[]]]
    assert.match(stream, /^1700000000002000000_/)
    assert.deepEqual(packets, [0, 1, 2])
  })

  for (const folder of readdirSync(FIXTURES))
    for (const file of readdirSync(new URL(`${folder}/`, FIXTURES)).filter(name => /\.pcap(ng)?$/.test(name)))
      it(`find the same items, with the same ids, in a connection's own packets: ${folder}/${file}`, () => {
        let packets: Packet[]
        try {
          packets = readPackets(new URL(`${folder}/${file}`, FIXTURES))
        } catch {
          // Captures that are damaged on purpose.
          return
        }
        // Simple packets of pcapng have no time.
        if (packets.some(({ seconds }) => seconds === 0)) return
        const whole = read(packets, protocols)
        assert.deepEqual(read(packets, protocols).items, whole.items)
        assert.equal(new Set(whole.items.map(({ id }) => id)).size, whole.items.length, 'every id once')
        const streams = [...new Set(whole.items.map(({ stream }) => stream))]
        for (const stream of streams.slice(0, MOST_STREAMS)) {
          const own = [...whole.seen.packets.get(stream)!, ...(whole.seen.quotes.get(stream) ?? [])]
          const mine = [...new Set(own)].sort((a, b) => a - b).map(number => packets[number]!)
          const alone = read(mine, protocols, packets.at(-1)!.seconds)
          assert.deepEqual(of(alone.items, stream), of(whole.items, stream))
        }
      })
})

function written({ seconds, nanoseconds, hash, transport }: StreamName): string {
  const out = new JsonWriter(8)
  writeStreamName(out, seconds, nanoseconds, hash, transport)
  return out.bytes.toString('latin1', 0, out.length)
}

function words(a: number, b: number): Int32Array {
  return Int32Array.of(0, 0, 0xffff, a, 0, 0, 0xffff, b)
}

function ask(dialogue: Dialogue): Dialogue {
  dialogue.open().ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  return dialogue
}

/** What other connections have to do with them is not in the packets of their own. */
function of(items: readonly Item[], stream: string): Json[] {
  return items.filter(item => item.stream === stream).map(item => ({ ...item, event: unrelated(item.event) }))
}

function unrelated(event: Json | null): Json | null {
  return event === null ? null : { ...event, stream: null }
}

/** Numbers of packets, by the names of the connections that they are of or speak of. */
class Seen implements Trace {
  readonly packets = new Map<string, number[]>()
  readonly quotes = new Map<string, number[]>()
  number = 0
  private waiting: number[] = []
  private pieces: number[] = []

  packet(c: Connection, _half: Half): void {
    this.note(this.packets, c, [...this.pieces, this.number])
  }

  quote(c: Connection): void {
    this.note(this.quotes, c, [...this.pieces, this.number])
  }

  wait(): void {
    this.waiting.push(this.number)
  }

  join(): void {
    this.pieces = this.waiting
  }

  private note(where: Map<string, number[]>, { stream }: Connection, numbers: number[]): void {
    const noted = where.get(stream) ?? []
    noted.push(...numbers)
    where.set(stream, noted)
  }

  item(): void {}
  end(): void {}
}

function read(packets: readonly Packet[], protocols: Protocols, until = 0): { items: Item[]; seen: Seen } {
  const items: Item[] = []
  const trace = new Seen()
  const pipeline = new Pipeline({ protocols, worker: 'test', node: null, keepBodies: 1 << 20, trace }, batch => {
    const text = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.length).toString()
    for (const line of text.split('\n')) if (line !== '') items.push(JSON.parse(line))
  })
  for (const packet of packets) {
    pipeline.packet(packet)
    trace.number++
  }
  if (until > 0) pipeline.tick(until)
  pipeline.finish()
  return { items, seen: trace }
}
