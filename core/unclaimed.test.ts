/** What is offered to whoever may know a stream that no dissector knows, and what is not. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import type { Connection, Half } from './connections.ts'
import type { Dissector } from './dissector.ts'
import type { Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { including } from './selection.ts'
import type { Tally } from './tally.ts'
import { readPackets } from './testing/golden.ts'
import { Dialogue, packetOf, SERVER, udp } from './testing/packets.ts'
import type { Claimant } from './unclaimed.ts'

const FIXTURES = new URL('fixtures/', import.meta.url)
/** Packets of each capture that are read. */
const MANY = 60
/** In each capture so many are lost, one at a time. */
const LOSSES = 8

describe('streams that nobody knows', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  for (const name of readdirSync(FIXTURES))
    it(`are offered no further than they are counted as unknown: ${name}`, () => {
      const folder = new URL(`${name}/`, FIXTURES)
      const dissectors = protocols.dissectors.filter(one => one.name !== name)
      for (const file of readdirSync(folder).filter(one => /\.pcap(ng)?$/.test(one))) {
        const packets = readPackets(new URL(file, folder)).slice(0, MANY)
        const step = Math.max(1, Math.ceil(packets.length / LOSSES))
        for (const some of [
          packets,
          packets.slice(3),
          ...packets.map((_, lost) => packets.filter((_, i) => i !== lost)).filter((_, i) => i % step === 1),
        ]) {
          const { tally, listener } = read(some, { ...protocols, dissectors })
          const unknown = tally.skipped.get('unknown protocol') ?? 0
          assert.ok(listener.offered <= unknown, `${file}: ${listener.offered} of ${unknown}`)
        }
      }
    })

  it('are told of from their first byte on, in order, when the last dissector has said no', () => {
    const d = new Dialogue().open()
    d.ask('what')
    d.tell('ever')
    d.ask('else')
    assert.deepEqual(read(d.close().packets, protocols).listener.told, [
      'forth what',
      'back ever',
      'forth else',
      'forth end',
      'back end',
      'finish',
    ])
  })

  it('are not offered while a dissector that came late to them wants to see more', () => {
    const late = patient('late')
    const d = new Dialogue()
    d.ask('late')
    d.tell('what')
    d.ask('comer')
    const { listener, tally } = read(d.packets, { ...protocols, dissectors: [late] })
    assert.deepEqual(listener.told, [])
    assert.equal(tally.parsed, 9)
  })

  it('are offered with a gap where what a dissector held was lost with its message', () => {
    const d = new Dialogue().open()
    d.ask('late')
    d.client.next += 10
    d.ask('what')
    d.ask('ever')
    const { listener, tally } = read(d.packets, { ...protocols, dissectors: [patient('late')] })
    assert.deepEqual(listener.told, ['forth gap 4', 'forth gap 10', 'forth what', 'forth ever', 'finish'])
    assert.equal(tally.skipped.get('message cut short'), 4)
  })

  it('that begin behind a protocol that ended within a segment begin with a gap', () => {
    const short: Dissector = {
      ...patient('short'),
      read(at) {
        at.skip(9)
        return { kind: 'nothing', body: null, becomes: 'x' }
      },
    }
    const d = new Dialogue().open()
    d.ask('shortcome then')
    d.ask('more')
    const { listener } = read(d.packets, { ...protocols, dissectors: [short] })
    assert.deepEqual(listener.told, ['forth gap 14', 'forth more', 'finish'])
  })

  it('are not offered when their payload is told of as it is', () => {
    const d = new Dialogue().open()
    d.ask('what')
    d.tell('ever')
    const packets = [...d.packets, packetOf(udp(SERVER, { ...SERVER, port: 1 }, 'datagram'), 9)]
    const { listener, tally } = read(packets, including(protocols, ['tcp', 'udp']))
    assert.deepEqual(listener.told, [])
    assert.equal(tally.parsed, 16)
  })
})

/** Knows a connection by nine bytes, of which it wants to see all. */
function patient(beginning: string): Dissector {
  return {
    name: 'patient',
    title: '',
    abbr: '',
    version: '',
    color: '',
    reference: '',
    transports: ['tcp'],
    ports: [],
    priority: 1,
    probe: at => at.text(4) === beginning.slice(0, 4) && at.text(5).length === 5,
    read: at => ({ kind: 'event', body: { text: at.text(at.remaining) } }),
    summarize: () => ({ method: '', summary: '', status: '' }),
  }
}

function read(packets: readonly Packet[], protocols: Protocols): { tally: Tally; listener: Listening } {
  const listener = new Listening()
  const pipeline = new Pipeline({ protocols, worker: '', node: null, keepBodies: 0, claimant: listener }, () => {})
  for (const packet of packets) pipeline.packet(packet)
  pipeline.finish()
  return { tally: pipeline.tally, listener }
}

/** Wants everything. */
class Listening implements Claimant {
  readonly told: string[] = []
  offered = 0

  wants(): boolean {
    return true
  }

  bytes(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
    this.offered += end - start
    this.told.push(`${side(c, half)} ${Buffer.from(bytes.subarray(start, end)).toString('latin1')}`)
  }

  gap(c: Connection, half: Half, length: number): void {
    this.told.push(`${side(c, half)} gap ${length}`)
  }

  end(c: Connection, half: Half): void {
    this.told.push(`${side(c, half)} end`)
  }

  finish(): void {
    this.told.push('finish')
  }

  forget(): void {}
}

function side(c: Connection, half: Half): string {
  return half === c.forth ? 'forth' : 'back'
}
