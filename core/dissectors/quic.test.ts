import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import type { Item, Json } from '../item.ts'
import { dissect, golden, only, readPackets } from '../testing/golden.ts'
import { CLIENT, packetOf, SERVER, udp } from '../testing/packets.ts'
import { Seals, versionOf } from './quic/protection.ts'
import { bytesOf } from './quic/sha256.ts'
import { dissector } from './quic.ts'
import { Pieces } from './tlsx/pieces.ts'

const FIXTURES = new URL('../fixtures/quic/', import.meta.url)

describe('quic', () => {
  golden('quic')

  describe('says what the client did', () => {
    for (const file of readdirSync(FIXTURES).filter(name => name.endsWith('.truth.json')))
      it(file.replace('.truth.json', ''), () => {
        const { connections } = JSON.parse(readFileSync(new URL(file, FIXTURES), 'utf8'))
        const items = read(file.replace('.truth.json', '.pcap'))
        for (const connection of connections) {
          if (connection.error === undefined) compare(connection, items)
          else assert.ok(items.some(({ failed, response }) => failed || response === null))
        }
      })
  })

  describe('makes the keys of', () => {
    it('version 1: RFC 9001, A.1', () => {
      const seals = new Seals(versionOf(1)!, Buffer.from('8394c8f03e515708', 'hex'))
      const [client, server] = [seals.of('client'), seals.of('server')]
      assert.equal(hex(Buffer.from(client.key, 'latin1')), '1f369613dd76d5467730efcbe3b1a22d')
      assert.equal(hex(bytesOf(client.iv, Buffer.alloc(12))), 'fa044b2f42a3fd3b46fb255c')
      assert.equal(hex(Buffer.from(server.key, 'latin1')), 'cf3a5331653c364c88f0f379b6067e37')
      assert.equal(hex(bytesOf(server.iv, Buffer.alloc(12))), '0ac1493ca1905853b0bba03e')
    })

    it('version 2: RFC 9369, A.1', () => {
      const seals = new Seals(versionOf(0x6b3343cf)!, Buffer.from('8394c8f03e515708', 'hex'))
      const [client, server] = [seals.of('client'), seals.of('server')]
      assert.equal(hex(Buffer.from(client.key, 'latin1')), '8b1a0bc121284290a29e0971b5cd045d')
      assert.equal(hex(Buffer.from(server.key, 'latin1')), '82db637861d55e1d011f19ea71d5d2a7')
    })
  })

  describe('the bytes of CRYPTO frames', () => {
    const text = 'the quick brown fox'

    it('come in order out of any order, and once', () => {
      const stream = new Pieces()
      const pieces = [
        [10, 19],
        [4, 12],
        [0, 5],
        [0, 10],
      ] as const
      const found = pieces.map(([from, to]) => stream.add(from, Buffer.from(text.slice(from, to))))
      assert.deepEqual(
        found.map(some => Buffer.concat(some).toString()),
        ['', '', text, ''],
      )
    })

    it('are not waited for without end', () => {
      const stream = new Pieces()
      for (let i = 0; i < 100_000; i++) stream.add(1 + i * 2, Uint8Array.of(1))
      assert.deepEqual(stream.add(1 << 20, Uint8Array.of(1)), [])
    })
  })

  it('takes nothing for QUIC that its keys do not open', () => {
    const packets = readPackets(new URL('v1.pcap', FIXTURES))
    const [first] = packets
    const damaged = { ...first!, bytes: first!.bytes.slice() }
    damaged.bytes[damaged.end - 1]! ^= 1
    assert.deepEqual(dissect([damaged], only(dissector), 0).items, [])
    const noise = Uint8Array.from({ length: 1200 }, (_, i) => (i * 7) & 255)
    noise.set([0xc3, 0, 0, 0, 1, 8])
    assert.deepEqual(dissect([packetOf(udp(CLIENT, SERVER, noise))], only(dissector), 0).items, [])
  })

  it('leaves the bytes as they were, in whatever array they lie', () => {
    const packets = readPackets(new URL('v1.pcap', FIXTURES))
    const copies = packets.map(packet => ({ ...packet, bytes: Buffer.from(packet.bytes) }))
    const expected = dissect(packets, only(dissector), 0).items
    for (let i = 0; i < 2; i++) assert.deepEqual(dissect(copies, only(dissector), 0).items, expected)
  })

  it('says that the ServerHello is missing where the client goes on without it', () => {
    const packets = readPackets(new URL('v1.pcap', FIXTURES))
    const [item] = dissect(packets.toSpliced(1, 1), only(dissector), 0).items
    assert.deepEqual(item!.error, { type: 'dissection', msg: 'the ServerHello is missing from the capture' })
  })

  it('counts all that follows the handshake as encrypted', () => {
    const { tally } = dissect(readPackets(new URL('v1.pcap', FIXTURES)), only(dissector), 0)
    assert.deepEqual([...tally.skipped.keys()], ['encrypted'])
  })
})

/** A connection as quic-go told of it. */
interface Told {
  clientPort: number
  version: string
  serverName: string
  offered: string[]
  cipher: string
  curve: string
  resumed: boolean
  used0RTT: boolean
  helloRetryRequest: boolean
}

function compare(told: Told, items: readonly Item[]): void {
  const found = items.find(({ src, response }) => Number(src.port) === told.clientPort && response?.version !== null)
  assert.ok(found, `no item from port ${told.clientPort}`)
  const [request, response] = [found.request as Json, found.response as Json]
  assert.equal(response.quicVersion, told.version)
  assert.equal(request.sni, told.serverName)
  assert.deepEqual(request.alpn, told.offered)
  assert.equal(response.cipherSuite, told.cipher)
  assert.equal(response.group, GROUPS[told.curve])
  assert.equal(response.resumption, told.resumed ? 'psk' : 'full')
  assert.equal(request.earlyData, told.used0RTT)
  assert.equal(response.zeroRtt ?? false, told.used0RTT)
  assert.equal(response.helloRetryRequest !== null, told.helloRetryRequest)
  assert.equal(found.error, null)
}

const GROUPS: Readonly<Record<string, string>> = {
  X25519: 'x25519',
  CurveP384: 'secp384r1',
  X25519MLKEM768: 'X25519MLKEM768',
}

function read(name: string): Item[] {
  return dissect(readPackets(new URL(name, FIXTURES)), only(dissector), 0).items
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
