import assert from 'node:assert/strict'
import type { Context, Side } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { JsonWriter, Written } from '../../json-writer.ts'
import { contextOf } from '../../testing/context.ts'
import { clientFrame, serverFrame } from '../../testing/websocket.ts'
import { WebSocketStream } from './stream.ts'

describe('WebSocket in a stream', () => {
  const sent = [
    clientFrame('one'),
    clientFrame('begun, ', { fin: false }),
    clientFrame('there?', { opcode: 9 }),
    clientFrame('ended', { opcode: 0 }),
    clientFrame('x'.repeat(10_000)),
  ]

  for (const size of [1, 3, 1000, 20_000])
    it(`reads the same in pieces of ${size} bytes`, () => {
      const told = tell(Buffer.concat(sent), size, 'client')
      assert.deepEqual(told, [
        ['request', 'text', 'one'],
        ['request', 'ping', 'there?'],
        ['request', 'text', 'begun, ended'],
        ['request', 'text', 'x'.repeat(10_000)],
      ])
    })

  it('reads both sides, and stops at what is no frame', () => {
    const stream = new WebSocketStream({})
    const ctx = context()
    const bytes = Buffer.concat([serverFrame('hi'), Buffer.from([0x83, 0])])
    assert.equal(stream.read(bytes, 0, bytes.length, 'server', ctx).length, 1)
    assert.deepEqual(stream.read(serverFrame('lost'), 0, 6, 'server', ctx), [])
    assert.equal(stream.end('server', ctx, 'closed'), null)
  })

  it('tells what there is of a message that does not end, and of its memory', () => {
    const stream = new WebSocketStream({ 'Sec-WebSocket-Protocol': 'chat' })
    const ctx = context()
    const begun = clientFrame('begun', { fin: false })
    assert.deepEqual(stream.read(begun, 0, begun.length, 'client', ctx), [])
    assert.ok(stream.weight > 0)
    const message = stream.end('client', ctx, 'reset')!
    const { payload, subprotocol } = parsed(message.body)
    assert.deepEqual([payload, subprotocol, message.error!.type], ['begun', 'chat', 'connection'])
    assert.equal(stream.weight, 0)
  })
})

function tell(bytes: Uint8Array, size: number, from: Side): unknown[] {
  const stream = new WebSocketStream({})
  const told: unknown[] = []
  for (let i = 0; i < bytes.length; i += size) {
    const messages = stream.read(bytes, i, Math.min(bytes.length, i + size), from, context())
    for (const { kind, body, within } of messages) {
      assert.equal(within, undefined)
      const { opcode, payload } = parsed(body)
      told.push([kind, opcode, payload])
    }
  }
  return told
}

function parsed(body: Json | Written | null): Json {
  assert.ok(body instanceof Written)
  return JSON.parse(Buffer.from(body.bytes.slice(body.start, body.end)).toString())
}

function context(): Context<unknown> {
  return contextOf<unknown>(undefined, { keep: 1 << 20, out: new JsonWriter(64) })
}
