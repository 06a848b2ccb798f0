/** gRPC-Web: what is read of bodies, and of which not. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { Item, Json } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'

const FIXTURES = new URL('../fixtures/grpc-web/', import.meta.url)

describe('grpc-web', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  golden('grpc-web')

  for (const name of ['http1', 'http2', 'text', 'unary'])
    it(`says what the client did: ${name}`, () => {
      const items = readItems(readPackets(new URL(`${name}.pcap`, FIXTURES)), protocols).sort(byTime)
      const told: Json[] = JSON.parse(readFileSync(new URL(`${name}.truth.json`, FIXTURES), 'utf8'))
      assert.deepEqual(
        items.map(item => ({
          rpc: item.request!.rpc,
          sku: item.request!.message['1'],
          items: (item.response!.messages ?? [item.response!.message]).flatMap((one: Json | null) => one?.['1'] ?? []),
          code: item.response!.grpcStatus,
          message: item.response!.grpcMessage,
          failed: item.failed,
        })),
        told.map(({ rpc, request, items, code = 0, message = '' }) => ({
          rpc,
          sku: request.sku,
          items,
          code,
          message,
          failed: code !== 0,
        })),
      )
      for (const { protocol } of items) assert.deepEqual([protocol.name, protocol.macro], ['http', 'grpc-web'])
    })

  it('keeps what else is said at the end, and how long the client waits', () => {
    const [item] = readItems(readPackets(new URL('http1.pcap', FIXTURES)), protocols)
    assert.equal(item!.request!.timeout, 5000)
    assert.deepEqual(item!.response!.grpcTrailers, { 'x-served-by': 'shelf 3' })
  })

  it('tells without bodies what headers and the path tell', () => {
    const [item] = dissect(readPackets(new URL('http1.pcap', FIXTURES)), protocols, 0).items
    const { rpc, messageCount } = item!.request!
    assert.deepEqual([rpc, messageCount, item!.response!.grpcStatus], ['GetItem', undefined, undefined])
  })

  it('finds the status in the headers of an answer without a body', () => {
    const [item] = exchange('', 'grpc-status: 7\r\nGrpc-Message: nicht%20da\r\n')
    const { grpcStatusName, grpcMessage, messageCount } = item!.response!
    assert.deepEqual(
      [grpcStatusName, grpcMessage, messageCount, item!.failed],
      ['PERMISSION_DENIED', 'nicht da', undefined, true],
    )
  })

  it('counts no messages where the body is not made of frames, or ends within one', () => {
    for (const body of ['\x02\0\0\0\x01a', '\0\0\0\0\x02a', '\0\0\0', '\0\xff\xff\xff\xff']) {
      const [item] = exchange(body, '')
      assert.equal(item!.response!.messageCount, undefined, JSON.stringify(body))
      assert.equal(item!.response!.message, undefined)
      assert.equal(item!.response!.status, 200)
    }
  })

  it('tells a thousand messages, and counts them all', () => {
    const [item] = exchange('\0\0\0\0\x02\x08\x01'.repeat(3000), '')
    assert.deepEqual([item!.response!.messageCount, item!.response!.messages.length], [3000, 1000])
  })

  it('is not what only begins like its type', () => {
    for (const type of ['application/grpc', 'application/json', 'text/grpc-web']) {
      const [item] = exchange('\0\0\0\0\0', '', type)
      assert.notEqual(item!.protocol.macro, 'grpc-web', type)
    }
  })

  function exchange(body: string, headers: string, type = 'application/grpc-web+proto'): Item[] {
    const d = new Dialogue().open()
    d.ask(`POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0`)
    const bytes = Buffer.from(body, 'latin1')
    d.tell(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\n${headers}Content-Length: ${bytes.length}\r\n\r\n`)
    for (let p = 0; p < bytes.length; p += 1400) d.tell(bytes.subarray(p, p + 1400))
    return dissect(d.packets, protocols, 1 << 20).items
  }
})

function byTime(a: Item, b: Item): number {
  return a.timestamp - b.timestamp
}
