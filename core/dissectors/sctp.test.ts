import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import type { Item } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { golden, readItems } from '../testing/golden.ts'
import { type End, ipv4Packet, packetOf, udp } from '../testing/packets.ts'
import { dissector, type SctpData } from './sctp.ts'

const CLIENT: End = { address: 0x0a000001, port: 41_000 }
const SERVER: End = { address: 0x0a000002, port: 5000 }
const [FIRST, LAST, WHOLE, UNORDERED] = [2, 1, 3, 4]
const [DATA, INIT, INIT_ACK, ABORT, COOKIE_ECHO, COOKIE_ACK, I_DATA, FORWARD_TSN] = [0, 1, 2, 6, 10, 11, 64, 192]
const NGAP = 60

describe('sctp', () => {
  golden('sctp')

  let protocols: Protocols
  before(async () => {
    protocols = { ...(await loadProtocols()), observers: [] }
  })

  function items(...packets: Packet[]): Item[] {
    return readItems(
      packets.map(([from, to, tag, ...chunks], i) =>
        packetOf(ipv4Packet(from, to, 132, packet(from, to, tag, chunks)), i),
      ),
      protocols,
    )
  }

  function told(...packets: Packet[]): SctpData[] {
    return items(...packets).map(({ event }) => event as SctpData)
  }

  it('is set up by one item, from the INIT to the answer to the cookie', () => {
    const found = items(
      [CLIENT, SERVER, 0, init(INIT, 7, 100)],
      [CLIENT, SERVER, 0, init(INIT, 7, 100)],
      [SERVER, CLIENT, 7, init(INIT_ACK, 9, 500)],
      [CLIENT, SERVER, 9, chunk(COOKIE_ECHO, 0, [1, 2, 3])],
      [SERVER, CLIENT, 7, chunk(COOKIE_ACK, 0, [])],
    )
    assert.equal(found.length, 1)
    const [{ request, response, elapsedTime, src }] = found as [Item]
    assert.deepEqual([request!.initiateTag, response!.initiateTag], [7, 9])
    assert.deepEqual([request!.chunkType, response!.chunkType], ['INIT', 'INIT_ACK'])
    assert.deepEqual([request!.outboundStreams, request!.inboundStreams], [10, 12])
    assert.deepEqual(request!.addresses, ['10.1.2.3'])
    assert.equal(elapsedTime, 4)
    assert.equal(src.port, '41000')
  })

  it('is refused by an ABORT, which is the answer then', () => {
    const abort = chunk(ABORT, 0, [0, 12, 0, 8, 98, 117, 115, 121])
    const [item] = items([CLIENT, SERVER, 0, init(INIT, 7, 100)], [SERVER, CLIENT, 7, abort])
    assert.equal(item!.failed, true)
    assert.deepEqual(item!.response!.causes, [{ code: 12, name: 'user-initiated abort', text: 'busy' }])
  })

  it('puts fragments together in any order, each once, of several streams at a time', () => {
    const a = (tsn: number, flags: number, text: string) => data(tsn, 1, 0, flags, text)
    const found = told(
      [CLIENT, SERVER, 9, a(10, FIRST, 'one '), data(12, 2, 5, WHOLE, 'alone')],
      [CLIENT, SERVER, 9, a(13, LAST, 'nothing of it')],
      [CLIENT, SERVER, 9, a(10, FIRST, 'one ')],
      [CLIENT, SERVER, 9, a(11, LAST, 'two')],
    )
    assert.deepEqual(
      found.map(({ payload, stream, fragments, tsn }) => [payload, stream, fragments, tsn]),
      [
        ['alone', 2, 1, 12],
        ['one two', 1, 2, 10],
      ],
    )
    assert.deepEqual([found[0]!.protocol, found[0]!.from, found[0]!.ssn], ['NGAP', 'client', 5])
  })

  it('puts unordered and interleaved messages together', () => {
    const unordered = told(
      [CLIENT, SERVER, 9, data(20, 1, 0, UNORDERED | FIRST, 'a')],
      [CLIENT, SERVER, 9, data(21, 1, 0, UNORDERED | LAST, 'b')],
    )
    assert.deepEqual([unordered[0]!.payload, unordered[0]!.unordered, unordered[0]!.ssn], ['ab', true, null])
    const interleaved = told([
      CLIENT,
      SERVER,
      9,
      interleavedData(30, 1, 0, FIRST, NGAP, 'a'),
      interleavedData(31, 2, 0, FIRST, NGAP, 'x'),
      interleavedData(32, 1, 0, LAST, 1, 'b'),
      interleavedData(33, 2, 0, LAST, 1, 'y'),
    ])
    assert.deepEqual(
      interleaved.map(({ payload, chunkType, stream, ppid }) => [payload, chunkType, stream, ppid]),
      [
        ['ab', 'I_DATA', 1, NGAP],
        ['xy', 'I_DATA', 2, NGAP],
      ],
    )
  })

  it('forgets what the sender has given up', () => {
    const found = told(
      [CLIENT, SERVER, 9, data(10, 1, 0, FIRST, 'a')],
      [CLIENT, SERVER, 9, chunk(FORWARD_TSN, 0, [0, 0, 0, 10])],
      [CLIENT, SERVER, 9, data(11, 1, 0, LAST, 'b')],
      [CLIENT, SERVER, 9, data(12, 1, 1, WHOLE, 'c')],
    )
    assert.deepEqual(
      found.map(({ payload }) => payload),
      ['c'],
    )
  })

  it('holds little of a message that never ends', () => {
    const packets: Packet[] = []
    for (let i = 0; i < 3000; i++)
      packets.push([CLIENT, SERVER, 9, data(i + 1, 1, 0, i === 0 ? FIRST : 0, 'x'.repeat(900))])
    packets.push([CLIENT, SERVER, 9, data(3001, 1, 0, LAST, 'end')])
    packets.push([CLIENT, SERVER, 9, data(3002, 1, 1, WHOLE, 'next')])
    assert.deepEqual(
      told(...packets).map(({ payload }) => payload),
      ['next'],
    )
  })

  it('travels in UDP, at its port alone', () => {
    const at = (port: number) => {
      const to = { ...SERVER, port }
      const bytes = packet(CLIENT, SERVER, 9, [data(1, 1, 0, WHOLE, 'hello')])
      return readItems([packetOf(udp(CLIENT, to, bytes))], protocols).filter(({ protocol }) => protocol.name === 'sctp')
    }
    assert.equal(at(9899)[0]!.event!.payload, 'hello')
    assert.deepEqual(at(9898), [])
  })

  it('is one line', () => {
    const [item] = items([CLIENT, SERVER, 9, data(1, 3, 0, WHOLE, 'hello')])
    assert.deepEqual(dissector.summarize(null, null, item!.event), {
      method: 'DATA',
      summary: 'NGAP: stream 3, 5 bytes from the client',
      status: '',
    })
  })
})

type Packet = [from: End, to: End, tag: number, ...chunks: number[][]]

function packet(from: End, to: End, tag: number, chunks: number[][]): Uint8Array {
  return Uint8Array.from([...u16(from.port), ...u16(to.port), ...u32(tag), 0, 0, 0, 0, ...chunks.flat()])
}

function chunk(type: number, flags: number, value: number[]): number[] {
  const padding = new Array<number>(-value.length & 3).fill(0)
  return [type, flags, ...u16(4 + value.length), ...value, ...padding]
}

function init(type: number, tag: number, tsn: number): number[] {
  const address = [0, 5, 0, 8, 10, 1, 2, 3]
  return chunk(type, 0, [...u32(tag), 0, 1, 0, 0, ...u16(10), ...u16(12), ...u32(tsn), ...address])
}

function data(tsn: number, stream: number, ssn: number, flags: number, text: string): number[] {
  return chunk(DATA, flags, [...u32(tsn), ...u16(stream), ...u16(ssn), ...u32(NGAP), ...Buffer.from(text)])
}

function interleavedData(tsn: number, stream: number, id: number, flags: number, last: number, text: string): number[] {
  const head = [...u32(tsn), ...u16(stream), 0, 0, ...u32(id), ...u32(last)]
  return chunk(I_DATA, flags, [...head, ...Buffer.from(text)])
}

function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255]
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)]
}
