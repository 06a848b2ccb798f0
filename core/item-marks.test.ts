import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { ItemMarks } from './item-marks.ts'
import type { Packet } from './packet.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { observeItems, readPackets } from './testing/golden.ts'
import { Dialogue } from './testing/packets.ts'

const FIXTURES = new URL('fixtures/', import.meta.url)

describe('in which packets items begin', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  it('marks a request in its first packet, and several in one', () => {
    const dialogue = new Dialogue().open()
    dialogue.ask('GET /0 HTTP/1.1\r\nHost: a\r\n')
    dialogue.ask('\r\n')
    dialogue.tell('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    dialogue.ask('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
    for (let i = 0; i < 2; i++) dialogue.tell('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    const { marks, told } = read(dialogue.packets)
    const [item] = observeItems(dialogue.packets, protocols)
    const id = (index: number) => `node/${item!.stream}-${index}`
    assert.deepEqual(told, [null, null, null, id(0), null, null, `${id(1)}\n${id(2)}`, null, null])
    assert.equal(marks.of(dialogue.packets[3]!), null)
  })

  for (const protocol of readdirSync(FIXTURES))
    for (const file of readdirSync(new URL(`${protocol}/`, FIXTURES)).filter(name => /\.pcap(ng)?$/.test(name)))
      it(`marks each item of ${protocol}/${file} once, where it was captured`, () => {
        const packets = readPackets(new URL(`${protocol}/${file}`, FIXTURES))
        const items = observeItems(packets, protocols)
        const { marks, told } = read(packets)
        const when = new Map<string, number>()
        for (const [i, ids] of told.entries())
          for (const id of ids?.split('\n') ?? []) {
            assert.ok(!when.has(id), `${id} twice`)
            when.set(id, packets[i]!.seconds * 1000 + packets[i]!.nanoseconds / 1e6)
          }
        assert.equal(marks.unmarked, 0)
        assert.equal(when.size, items.length)
        for (const { stream, index, timestamp } of items)
          assert.equal(when.get(`node/${stream}-${index}`), timestamp, `${stream}-${index}`)
      })

  function read(packets: readonly Packet[]): { marks: ItemMarks; told: (string | null)[] } {
    const marks = new ItemMarks('node', protocols, 1 << 20)
    for (const packet of packets) marks.packet(packet)
    marks.finish()
    return { marks, told: packets.map(packet => marks.of(packet)) }
  }
})
