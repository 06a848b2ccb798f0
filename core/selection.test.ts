import assert from 'node:assert/strict'
import type { Fault } from './fault.ts'
import type { Item } from './item.ts'
import type { Packet } from './packet.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { including, only } from './selection.ts'
import { observeItems } from './testing/golden.ts'
import { CLIENT, Dialogue, packetOf, SERVER, udp } from './testing/packets.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

describe('selection', () => {
  let all: Protocols
  before(async () => {
    all = await loadProtocols()
  })

  function traffic(): Packet[] {
    const d = new Dialogue().open()
    d.ask(GET)
    d.tell(OK)
    const datagram = packetOf(udp(CLIENT, { ...SERVER, port: 7007 }, 'hello'), 50)
    return [...d.close().packets, datagram]
  }

  function names(protocols: Protocols): string[] {
    return observeItems(traffic(), protocols).map(({ protocol }) => protocol.name)
  }

  it('leaves what is optional out until it is asked for', () => {
    assert.deepEqual(names(all), ['http'])
    assert.deepEqual(names(including(all, [])), ['http'])
    assert.deepEqual(names(including(all, ['udp', 'tcp-conn'])).sort(), ['http', 'tcp-conn', 'udp'])
    assert.deepEqual(names(including(all, ['udp-conn', 'http'])).sort(), ['http', 'udp-conn'])
  })

  it('tells of nothing else than what is named', () => {
    assert.deepEqual(names(only(all, ['http'])), ['http'])
    assert.deepEqual(names(only(all, ['tcp-conn', 'udp'])).sort(), ['tcp-conn', 'udp'])
    assert.deepEqual(names(only(all, ['dns'])), [])
  })

  it('takes the name of a family for all of it', () => {
    assert.ok(only(all, ['http']).faces.some(({ name }) => name === 'http2'))
    assert.deepEqual(
      only(all, ['http2']).faces.map(({ name }) => name),
      ['http2'],
    )
  })

  it('knows what there is', () => {
    assert.throws(
      () => only(all, ['http', 'nothing']),
      (fault: Fault) => fault.code === 'PROTOCOL_UNKNOWN' && /dns, .*udp, .*found "nothing"$/.test(fault.message),
    )
    assert.throws(() => including(all, ['']), /found ""/)
  })

  it('tells of payload as it is, in `data`, with the end that sent it', () => {
    const raw = including(all, ['tcp', 'udp'])
    const d = new Dialogue().open()
    d.ask('no protocol at all, and long enough for nobody')
    d.tell(Uint8Array.of(0, 1, 2, 255))
    const packets = [
      ...d.packets,
      packetOf(udp(CLIENT, { ...SERVER, port: 7007 }, 'ping'), 50),
      packetOf(udp({ ...SERVER, port: 7007 }, CLIENT, 'pong'), 51),
    ]
    const found = observeItems(packets, raw).filter(({ protocol }) => protocol.name !== 'tcp-conn')
    assert.deepEqual(found.map(told).sort(), [
      'tcp client 46 no protocol at all, and long enough for nobody null 40000',
      'tcp server 4 AAEC/w== base64 80',
      'udp client 4 ping null 40000',
      'udp server 4 pong null 7007',
    ])
  })
})

function told({ protocol, src, event, data }: Item): string {
  return `${protocol.name} ${event!.from} ${event!.length} ${data!.payload} ${data!.encoding} ${src.port}`
}
