import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import { Cursor } from '../cursor.ts'
import type { Context, Message } from '../dissector.ts'
import type { Item } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { contextOf } from '../testing/context.ts'
import { golden, readItems } from '../testing/golden.ts'
import { CLIENT, type End, ipv4Packet, packetOf, SERVER, udp } from '../testing/packets.ts'
import { dissector, type IcmpMessage } from './icmp.ts'

const [ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED] = [0, 3, 8, 11]
const PORT_UNREACHABLE = 3

describe('icmp', () => {
  golden('icmp')

  let protocols: Protocols
  before(async () => {
    const all = await loadProtocols()
    protocols = { ...all, observers: [] }
  })

  /** Each message comes a millisecond after the one before. */
  function items(...messages: [from: End, to: End, bytes: number[]][]): Item[] {
    return readItems(
      messages.map(([from, to, bytes], i) => packetOf(ipv4Packet(from, to, 1, Uint8Array.from(bytes)), i)),
      protocols,
    )
  }

  it('tells the pings of both ends apart', () => {
    const found = items(
      [CLIENT, SERVER, echo(ECHO, 1, 1)],
      [SERVER, CLIENT, echo(ECHO, 1, 1)],
      [CLIENT, SERVER, echo(ECHO_REPLY, 1, 1)],
      [SERVER, CLIENT, echo(ECHO_REPLY, 1, 1)],
    )
    assert.deepEqual(found.map(ends), ['10.0.0.2 10.0.0.1', '10.0.0.1 10.0.0.2'])
    assert.equal(new Set(found.map(({ stream }) => stream)).size, 2)
    for (const { request, response } of found) assert.ok(request !== null && response !== null)
  })

  it('takes a copy of a packet for what it is, and the same ping again for another one', () => {
    const [ask, answer] = [echo(ECHO, 7, 7), echo(ECHO_REPLY, 7, 7)]
    const copied = items([CLIENT, SERVER, ask], [CLIENT, SERVER, ask], [SERVER, CLIENT, answer])
    assert.equal(copied.length, 1)
    const again = items(
      [CLIENT, SERVER, ask],
      [SERVER, CLIENT, answer],
      [CLIENT, SERVER, ask],
      [SERVER, CLIENT, answer],
    )
    assert.equal(again.filter(({ response }) => response !== null).length, 2)
  })

  it('ends the wait of the very question that a router sends back', () => {
    const dns = { ...SERVER, port: 53 }
    const [first, second] = [question(1), question(2)].map(bytes => udp(CLIENT, dns, bytes))
    const error = [UNREACHABLE, PORT_UNREACHABLE, 0, 0, 0, 0, 0, 0, ...second!.subarray(14)]
    const found = readItems(
      [first!, second!, ipv4Packet(SERVER, CLIENT, 1, Uint8Array.from(error)), udp(dns, CLIENT, answerTo(1))].map(
        packetOf,
      ),
      protocols,
    )
    const told = found.find(({ event }) => event !== null)!.event as IcmpMessage
    assert.deepEqual([told.quoted!.src, told.quoted!.dst.port], [{ ip: '10.0.0.1', port: 40_000 }, 53])
    const refused = found.find(({ request }) => request?.id === 2)!
    assert.deepEqual(refused.error, { type: 'connection', msg: 'destination unreachable: port unreachable' })
    assert.equal(refused.stream, told.stream)
    assert.ok(found.find(({ request }) => request?.id === 1)!.response !== null)
  })

  it('reads the labels of a traceroute through MPLS, announced or not', () => {
    const quote = ipv4Packet(CLIENT, SERVER, 17, new Uint8Array(8)).subarray(14)
    const padded = [...quote, ...new Uint8Array(128 - quote.length)]
    const object = [0, 8, 1, 1, 0x00, 0x01, 0x11, 0x05]
    const structure = withChecksum([0x20, 0, 0, 0, ...object], 2)
    const labels = [{ label: 17, class: 0, last: true, ttl: 5 }]
    for (const announced of [32, 0]) {
      const { body } = message([TIME_EXCEEDED, 0, 0, 0, 0, announced, 0, 0, ...padded, ...structure])
      assert.deepEqual(body.extensions, [{ class: 1, type: 1, name: 'mpls', labels }])
      assert.equal(body.quoted!.dst.ip, '10.0.0.2')
    }
    const wrong = structure.with(2, structure[2]! ^ 1)
    const { body } = message([TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0, ...padded, ...wrong])
    assert.equal(body.extensions, undefined)
  })

  it('says what it could not read, but not of what the capture cut off', () => {
    const cut = [13, 0, 0, 0, 0, 1, 0, 1, 0, 0]
    assert.equal(message(cut).error?.type, 'dissection')
    assert.equal(message(cut, { missing: 10 }).error, undefined)
    assert.equal(message(cut, { missing: 10 }).body.length, 20)
  })

  it('keeps payloads only where bodies are kept', () => {
    const bytes = [...echo(ECHO, 1, 1), ...Buffer.from('hello')]
    assert.equal(message(bytes, { keep: 100 }).body.payload, 'hello')
    assert.equal(message(bytes, { keep: 2 }).body.payload, 'he')
    assert.equal(message(bytes).body.payload, null)
    assert.equal(message(bytes).body.payloadSize, 5)
  })

  it('is one line', () => {
    assert.deepEqual(dissector.summarize(message(echo(ECHO, 1, 2)).body, message(echo(ECHO_REPLY, 1, 2)).body, null), {
      method: 'echo',
      summary: 'id 1 seq 2, 8 bytes',
      status: 'OK',
    })
    assert.equal(dissector.summarize(null, null, message([10, 0, 0, 0, 0, 0, 0, 0]).body).method, 'RS')
  })
})

function echo(type: number, id: number, sequence: number): number[] {
  return [type, 0, 0, 0, id >> 8, id & 255, sequence >> 8, sequence & 255]
}

function message(bytes: number[], changes: Partial<Context> = {}): Message & { body: IcmpMessage } {
  const context = contextOf(undefined, { transport: 'icmp', ...changes })
  const read = dissector.read(new Cursor(Uint8Array.from(bytes), 0, bytes.length, true), context)
  return read as Message & { body: IcmpMessage }
}

function withChecksum(bytes: number[], at: number): number[] {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return bytes.with(at, (~sum >> 8) & 255).with(at + 1, ~sum & 255)
}

function ends({ src, dst }: Item): string {
  return `${src.ip} ${dst.ip}`
}

function question(id: number): Uint8Array {
  return Uint8Array.of(0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1)
}

function answerTo(id: number): Uint8Array {
  return Uint8Array.of(0, id, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1)
}
