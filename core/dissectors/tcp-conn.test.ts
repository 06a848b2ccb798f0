import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import type { Item } from '../item.ts'
import type { Packet } from '../packet.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { including } from '../selection.ts'
import { golden, observeItems, readPackets } from '../testing/golden.ts'
import { ACK, Dialogue, FIN, ipv4Packet, packetOf, RST, SYN } from '../testing/packets.ts'
import { observer, type TcpConnection } from './tcp-conn.ts'

/** Bytes of the link's, IPv4's and TCP's headers, options not among them, by link type. */
const HEADERS: Record<number, number> = { 1: 54, 101: 40 }
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

describe('tcp-conn', () => {
  golden('tcp-conn')

  let protocols: Protocols
  before(async () => {
    protocols = including(await loadProtocols(), ['tcp-conn'])
  })

  function items(packets: readonly Packet[]): Item[] {
    return observeItems(packets, protocols).filter(({ protocol }) => protocol.name === 'tcp-conn')
  }

  function told(packets: readonly Packet[]): TcpConnection {
    const found = items(packets)
    assert.equal(found.length, 1)
    return found[0]!.event as TcpConnection
  }

  it('tells of a whole conversation: how long the way is, what was said, how it ended', () => {
    const d = new Dialogue().open()
    d.ask(GET)
    d.wait(20).tell(OK)
    const event = told(d.close().packets)
    assert.deepEqual(pick(event, 'state', 'ended', 'l7_detected', 'connection_completeness'), {
      state: 'closed',
      ended: 'fin',
      l7_detected: ['http'],
      connection_completeness: 31,
    })
    assert.deepEqual(pick(event, 'initial_rtt_us', 'handshake_time_us', 'time_to_first_byte_us'), {
      initial_rtt_us: 2000,
      handshake_time_us: 2000,
      time_to_first_byte_us: 21_000,
    })
    assert.equal(event.goodput_bytes, GET.length + OK.length)
    assert.equal(event.local.goodput_bytes, GET.length)
    assert.deepEqual([event.local_pkts, event.remote_pkts, event.fin_count], [5, 3, 2])
  })

  it('tells of packets that were cut within their options what is certain', () => {
    const packets = readPackets(new URL('../fixtures/tcp-conn/tail-loss.pcap', import.meta.url))
    const whole = told(packets)
    const cut = (behind: number) =>
      told(packets.map(packet => ({ ...packet, end: Math.min(packet.end, HEADERS[packet.linkType]! + behind) })))
    const unknown = { window_scale: null, avg_receive_window: whole.avg_receive_window }
    for (const bytes of [0, 1, 7]) {
      const { local, remote, window_scale, avg_receive_window: _, ...rest } = cut(bytes)
      const { local: wholeLocal, remote: wholeRemote, ...wholeRest } = whole
      assert.deepEqual({ ...rest, ...unknown }, { ...wholeRest, ...unknown })
      assert.equal(window_scale, null)
      assert.deepEqual(
        [local.payload_bytes, remote.payload_bytes],
        [wholeLocal.payload_bytes, wholeRemote.payload_bytes],
      )
      assert.deepEqual([local.mss, local.timestamps], [bytes < 4 ? null : wholeLocal.mss, false])
    }
  })

  it('is told of once, behind the items of its stream, and with what came late', () => {
    const d = new Dialogue().open()
    d.ask(GET)
    d.tell(OK)
    d.close()
    const found = observeItems(d.packets, protocols)
    assert.deepEqual(
      found.map(({ protocol, index }) => `${protocol.name} ${index}`),
      ['http 0', 'tcp-conn 1'],
    )
    assert.equal(found[0]!.stream, found[1]!.stream)
    assert.equal(found[1]!.timestamp, 1_700_000_000_000)
  })

  it('is told of every minute in which it was heard of, and again at its end', () => {
    const d = new Dialogue().open()
    for (let i = 0; i < 4; i++) {
      d.wait(30_000)
      d.ask(GET)
      d.tell(OK)
    }
    d.wait(5_000).close()
    d.wait(10_000)
    assert.deepEqual(
      items(d.packets).map(({ event }) => [event!.state, event!.goodput_bytes]),
      [
        ['open', 2 * GET.length + OK.length],
        ['in_progress', 4 * GET.length + 3 * OK.length],
        ['closed', 4 * (GET.length + OK.length)],
      ],
    )
  })

  it('tells what came again from what was overtaken on the way, by the length of the way', () => {
    const late = (milliseconds: number) => {
      const d = new Dialogue()
      d.send(d.client, '', SYN)
      d.wait(40).send(d.server, '', SYN | ACK)
      d.send(d.client, '')
      d.ask('first ')
      const lost = d.ask('second ')
      d.ask('third ')
      const { packets } = d
      packets.splice(packets.indexOf(lost), 1)
      const at = packets.at(-1)!.nanoseconds + milliseconds * 1e6
      packets.push({ ...lost, nanoseconds: at })
      return told(packets)
    }
    assert.deepEqual(pick(late(2), 'out_of_order', 'retransmissions'), { out_of_order: 1, retransmissions: 0 })
    assert.deepEqual(pick(late(60), 'out_of_order', 'retransmissions'), { out_of_order: 0, retransmissions: 1 })
    assert.deepEqual(pick(late(60).local, 'missing_segments', 'missing_bytes', 'goodput_bytes'), {
      missing_segments: 1,
      missing_bytes: 0,
      goodput_bytes: 19,
    })
  })

  it('knows a fast retransmission by the acknowledgements before it, and one that nobody needed', () => {
    const d = new Dialogue().open()
    const { next } = d.client
    d.ask('first ')
    d.ask('second ')
    const ack = d.client.next - 7
    for (let i = 0; i < 4; i++) d.stray(d.server, { seq: d.server.next, ack })
    d.stray(d.client, { seq: next + 6, payload: 'second ' })
    d.stray(d.server, { seq: d.server.next, ack: d.client.next })
    d.stray(d.client, { seq: next, payload: 'first ' })
    const event = told(d.packets)
    assert.deepEqual(pick(event, 'dup_acks', 'retransmissions', 'fast_retransmissions', 'spurious_retransmissions'), {
      dup_acks: 3,
      retransmissions: 2,
      fast_retransmissions: 1,
      spurious_retransmissions: 1,
    })
    assert.equal(event.goodput_bytes, 13)
  })

  it('tells of bytes that were acknowledged and never seen', () => {
    const d = new Dialogue().open()
    d.ask('seen')
    d.client.next += 100
    d.tell('answer')
    const { local } = told(d.packets)
    assert.deepEqual(pick(local, 'acked_unseen', 'missing_segments', 'missing_bytes'), {
      acked_unseen: 1,
      missing_segments: 1,
      missing_bytes: 100,
    })
  })

  it('says who refused, who reset and who never answered', () => {
    const refused = new Dialogue()
    refused.send(refused.client, '', SYN)
    refused.send(refused.server, '', RST | ACK)
    assert.deepEqual(errors(items(refused.packets)), ['refused connection refused: a reset answers the SYN'])

    const reset = new Dialogue().open()
    reset.ask(GET)
    reset.send(reset.server, '', RST | ACK)
    assert.deepEqual(errors(items(reset.packets)), ['reset connection reset by the server'])

    const silent = new Dialogue()
    for (const wait of [0, 1000, 2000, 4000]) silent.wait(wait).stray(silent.client, { seq: 7, ack: 0, flags: SYN })
    assert.deepEqual(errors(items(silent.packets)), ['timeout timeout no answer to 4 SYNs in 7.0 s'])

    const patient = new Dialogue()
    for (const wait of [0, 1000, 2000, 4000, 8000, 16_000, 32_000])
      patient.wait(wait).stray(patient.client, { seq: 7, ack: 0, flags: SYN })
    assert.deepEqual(errors(items(patient.packets)), [
      'null timeout no answer to 7 SYNs in 63.0 s',
      'timeout timeout no answer to 7 SYNs in 63.0 s',
    ])

    const orderly = new Dialogue().open()
    orderly.ask(GET)
    orderly.send(orderly.server, OK, FIN | ACK)
    orderly.send(orderly.client, '', RST | ACK)
    assert.deepEqual(errors(items(orderly.packets)), ['reset null undefined'])
  })

  it('says why a host cannot be reached, as ICMP tells', () => {
    const d = new Dialogue()
    const syn = d.send(d.client, '', SYN)
    const router = { address: 0x0a0000fe, port: 0 }
    const error = Uint8Array.from([3, 1, 0, 0, 0, 0, 0, 0, ...syn.bytes.subarray(14)])
    const packets = [syn, packetOf(ipv4Packet(router, d.client.end, 1, error), 5)]
    assert.deepEqual(errors(items(packets)), ['null connection destination unreachable: host unreachable'])
  })

  it('tells of keep-alives, zero windows and windows that are full', () => {
    const d = new Dialogue().open()
    d.ask('x')
    d.stray(d.client, { seq: d.client.next - 1 })
    const event = told(d.packets)
    assert.equal(event.keepalive_count, 1)
    assert.equal(event.local.window_full_events, 0)
  })

  it('forgets nothing when thousands close at once', () => {
    const packets: Packet[] = []
    for (let port = 1; port <= 6000; port++) {
      const d = new Dialogue(0, { client: { address: 0x0a000001, port } }).open()
      packets.push(...d.close().packets)
    }
    assert.equal(items(packets).length, 6000)
  })

  it('is one line', () => {
    const d = new Dialogue().open()
    d.ask(GET)
    const event = told(d.packets)
    assert.deepEqual(observer.summarize(null, null, event), {
      method: 'TCP',
      summary: `http: 4 packets, ${GET.length} bytes in 0.003 s`,
      status: 'open',
    })
  })
})

function pick<T extends object>(from: T, ...names: (keyof T & string)[]): Partial<T> {
  return Object.fromEntries(names.map(name => [name, from[name]])) as Partial<T>
}

function errors(items: readonly Item[]): string[] {
  return items.map(({ event, error }) => `${event!.ended} ${error?.type ?? null} ${error?.msg}`)
}
