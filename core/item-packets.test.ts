import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import type { Item } from './item.ts'
import { type ItemPackets, ItemSearch } from './item-packets.ts'
import type { Packet } from './packet.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { parseStreamName } from './stream-name.ts'
import { StreamPackets } from './stream-packets.ts'
import { observeItems, readPackets } from './testing/golden.ts'
import { CLIENT, Dialogue, fragments, packetOf, SERVER, udp } from './testing/packets.ts'

const FIXTURES = new URL('fixtures/', import.meta.url)
/** Of one capture, so many items are searched for. */
const MOST_ITEMS = 25

describe('from a stream to its packets, and from an item', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  it('finds exactly the packets of one connection between ends that meet again', () => {
    const first = exchange(new Dialogue(0)).close()
    const second = exchange(new Dialogue(5000, { clientSeq: 9_000_000, serverSeq: 7_000_000 })).close()
    const other = exchange(new Dialogue(2, { client: { address: 1, port: 2 } })).close()
    const packets = inOrder([...first.packets, ...second.packets, ...other.packets])
    const streams = new Set(observeItems(packets, protocols).map(({ stream }) => stream))
    assert.equal(streams.size, 3)
    const found = [...streams].map(stream => own(packets, stream))
    for (const { packets: expected } of [first, second, other])
      assert.ok(
        found.some(some => same(some, expected)),
        `${found.map(some => some.length)}`,
      )
  })

  it('finds nothing where the stream did not begin', () => {
    const { packets } = exchange(new Dialogue())
    assert.deepEqual(own(packets, '1700000000000000001_00c0ffee.pcap'), [])
    assert.deepEqual(own(packets.slice(1), observeItems(packets, protocols)[0]!.stream), [])
  })

  it('finds the packets of a request and its response, and none of its neighbours', () => {
    const dialogue = new Dialogue().open()
    for (let i = 0; i < 3; i++) {
      dialogue.ask(`GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`)
      dialogue.tell('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc')
      dialogue.tell('def')
    }
    const items = observeItems(dialogue.packets, protocols)
    assert.equal(items.length, 3)
    for (const [i, item] of items.entries()) {
      const at = 3 + 3 * i
      assert.deepEqual(search(dialogue.packets, item, protocols), { packets: [at, at + 1, at + 2], first: at })
    }
  })

  it('finds all fragments of a datagram', () => {
    const question = udp(
      CLIENT,
      { ...SERVER, port: 53 },
      Buffer.from(`0001010000010000000000000161${'00'}00010001`, 'hex'),
    )
    const pieces = fragments(question, 8).map((bytes, i) => packetOf(bytes, i))
    const [item] = observeItems(pieces, protocols)
    assert.deepEqual(search(pieces, item!, protocols), { packets: pieces.map((_, i) => i), first: 0 })
  })

  for (const folder of readdirSync(FIXTURES).filter(name => name !== 'frame' && name !== 'pcap'))
    for (const file of readdirSync(new URL(`${folder}/`, FIXTURES)).filter(name => /\.pcap(ng)?$/.test(name)))
      it(`finds the packet with the first byte of every item: ${folder}/${file}`, () => {
        const packets = readPackets(new URL(`${folder}/${file}`, FIXTURES))
        const items = observeItems(packets, protocols)
        const step = Math.max(1, Math.ceil(items.length / MOST_ITEMS))
        for (let i = 0; i < items.length; i += step) {
          const item = items[i]!
          const found = search(packets, item, protocols)
          assert.ok(found !== null, item.id)
          const stream = own(packets, item.stream)
          const { seconds, nanoseconds } = stream[found.first]!
          assert.equal(startTime(seconds, nanoseconds), item.startTime, item.id)
        }
      })
})

function exchange(dialogue: Dialogue): Dialogue {
  dialogue.open().ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  dialogue.tell('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  return dialogue
}

function own(packets: readonly Packet[], stream: string): Packet[] {
  const found: Packet[] = []
  const picker = new StreamPackets(parseStreamName(stream)!, {
    own: packet => found.push({ ...packet, bytes: packet.bytes.slice() }),
  })
  for (const packet of packets) picker.packet(packet)
  return found
}

function search(
  packets: readonly Packet[],
  item: Item,
  protocols: Protocols,
): Pick<ItemPackets, 'packets' | 'first'> | null {
  const all: Packet[] = []
  const numbers: number[] = []
  let count = 0
  const picker = new StreamPackets(parseStreamName(item.stream)!, {
    own(packet) {
      numbers.push(count++)
      all.push({ ...packet, bytes: packet.bytes.slice() })
    },
    quote(packet) {
      numbers.push(-1)
      all.push({ ...packet, bytes: packet.bytes.slice() })
    },
  })
  for (const packet of packets) picker.packet(packet)
  const searching = new ItemSearch(item.stream, item.index, protocols, 1 << 20)
  for (const packet of all) searching.packet(packet)
  searching.finish()
  const { found } = searching
  return found === null
    ? null
    : { packets: found.packets.map(number => numbers[number]!), first: numbers[found.first]! }
}

function inOrder(packets: readonly Packet[]): Packet[] {
  return packets.toSorted((a, b) => a.seconds - b.seconds || a.nanoseconds - b.nanoseconds)
}

function same(some: readonly Packet[], others: readonly Packet[]): boolean {
  return some.length === others.length && some.every(({ bytes }, i) => Buffer.compare(bytes, others[i]!.bytes) === 0)
}

function startTime(seconds: number, nanoseconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 20)}${String(nanoseconds).padStart(9, '0')}Z`
}
