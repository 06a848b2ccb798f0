import assert from 'node:assert/strict'
import { constants, deflateRawSync } from 'node:zlib'
import type { Item } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden, readItems, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { clientFrame, serverFrame } from '../testing/websocket.ts'
import { dissector, type WebSocketMessage } from './ws.ts'

const KEEP = 1 << 20

describe('ws', () => {
  golden('ws')

  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  it('says nothing that was not sent when a packet is lost', () => {
    for (const name of ['fragments', 'deflate-with-takeover', 'deflate-without-takeover']) {
      const packets = readPackets(new URL(`../fixtures/ws/${name}.pcap`, import.meta.url))
      const known = new Set(messages(readItems(packets, protocols)).map(text))
      for (let lost = 0; lost < packets.length; lost++)
        for (const item of messages(
          readItems(
            packets.filter((_, i) => i !== lost),
            protocols,
          ),
        ))
          if (item.error === null) assert.ok(known.has(text(item)), `without packet ${lost}: ${text(item)}`)
    }
  })

  it('finds its way back after a loss', () => {
    const d = open()
    for (let i = 0; i < 20; i++) d.tell(serverFrame(`message ${i}`))
    const some = d.packets.filter((_, i) => i !== 10)
    assert.equal(messages(readItems(some, protocols)).length, 19)
  })

  it('is recognised where the handshake was not seen, once three frames line up', () => {
    const d = open()
    for (let i = 0; i < 5; i++) d.ask(clientFrame(`from the client ${i}`))
    for (let i = 0; i < 5; i++) d.tell(serverFrame(`from the server ${i}`))
    const late = d.packets.slice(5)
    assert.deepEqual(
      messages(readItems(late, protocols)).map(({ request, response }) => (request ?? response)!.payload),
      ['client', 'server'].flatMap(side => [0, 1, 2, 3, 4].map(i => `from the ${side} ${i}`)),
    )
  })

  /** In the middle of a connection. */
  const OTHERS: readonly [what: string, bytes: Uint8Array][] = [
    ['zeros', new Uint8Array(400)],
    ['frames with reserved bits', Buffer.concat(Array(9).fill(serverFrame('abc', { rsv: 1 })))],
    ['lengths that take more bytes than they need', Buffer.concat(Array(9).fill(Buffer.from([0x81, 126, 0, 1, 65])))],
    [
      'one side that masks now and then',
      Buffer.concat(
        Array(9)
          .fill([clientFrame('abc'), serverFrame('abc')])
          .flat(),
      ),
    ],
    ['texts that are not UTF-8', Buffer.concat(Array(9).fill(clientFrame(Uint8Array.of(255, 254))))],
    ['continuations of nothing', Buffer.concat(Array(9).fill(clientFrame('abc', { opcode: 0 })))],
    ['two frames', Buffer.concat(Array(2).fill(clientFrame('abc')))],
  ]
  for (const [what, bytes] of OTHERS)
    it(`is not seen in ${what}`, () => {
      const d = new Dialogue()
      d.ask(bytes)
      assert.deepEqual(messages(readItems(d.packets, protocols)), [])
    })

  describe('payloads', () => {
    it('of text are text, whatever control characters it has', () => {
      const [item] = messages(
        readItems(open().tellAll(serverFrame('{"type":6}\u001e'), serverFrame('MESSAGE\n\nhi\0')), protocols),
      )
      assert.deepEqual([item!.response!.payload, item!.response!.encoding], ['{"type":6}\u001e', undefined])
    })

    it('of close are a code and its reason', () => {
      const items = messages(
        readItems(
          open().tellAll(
            serverFrame(Buffer.concat([Buffer.from([0x03, 0xf3]), Buffer.from('gone "away"')]), { opcode: 8 }),
            serverFrame('', { opcode: 8 }),
          ),
          protocols,
        ),
      )
      assert.deepEqual(
        items.map(({ response }) => [response!.code, response!.reason, response!.payloadLength]),
        [
          [1011, 'gone "away"', 13],
          [null, '', 0],
        ],
      )
    })

    it('are cut at what is kept, and left out where nobody wants bodies', () => {
      const d = open()
      const long = 'ä'.repeat(3000)
      d.ask(clientFrame(long))
      d.ask(clientFrame('end'))
      const [cut] = messages(dissect(d.packets, protocols, 101).items)
      assert.deepEqual(
        [cut!.request!.payload, cut!.request!.truncated, cut!.request!.payloadLength],
        ['ä'.repeat(50), true, 6000],
      )
      const none = messages(dissect(d.packets, protocols, 0).items)
      assert.deepEqual(
        none.map(({ request }) => [request!.payload, request!.payloadLength]),
        [
          [null, 6000],
          [null, 3],
        ],
      )
    })

    it('keep their mask in step over segments and gaps', () => {
      const d = open()
      const frame = clientFrame('0123456789'.repeat(2000))
      for (let i = 0; i < frame.length; i += 1003) d.ask(frame.subarray(i, i + 1003))
      d.ask(clientFrame('next'))
      const whole = messages(readItems(d.packets, protocols))
      assert.equal(whole[0]!.request!.payload, '0123456789'.repeat(2000))
      const gap = messages(
        readItems(
          d.packets.filter((_, i) => i !== 12),
          protocols,
        ),
      )
      assert.match(gap[0]!.error!.msg, /1003 bytes of the message are missing/)
      assert.ok('0123456789'.repeat(2000).startsWith(gap[0]!.request!.payload))
      assert.equal(gap[1]!.request!.payload, 'next')
    })
  })

  describe('compression', () => {
    const agreed = 'Sec-WebSocket-Extensions: permessage-deflate\r\n'

    it('that unfolds to more than a limit is told as it was', () => {
      const bomb = deflated(Buffer.alloc(40 << 20))
      const [item] = messages(readItems(open(agreed).tellAll(serverFrame(bomb, { rsv: 4 })), protocols))
      assert.equal(item!.response!.payloadLength, bomb.length)
      assert.match(item!.error!.msg, /is not known/)
    })

    it('that nobody agreed on is no WebSocket', () => {
      const { items, tally } = dissect(open().tellAll(serverFrame(deflated('x'), { rsv: 4 })), protocols, KEEP)
      assert.deepEqual(messages(items), [])
      assert.ok(tally.skipped.get('malformed')! > 0)
    })

    it('of another kind is left as it is', () => {
      const headers = 'Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n'
      const [item] = messages(readItems(open(headers).tellAll(serverFrame(deflated('x'), { rsv: 4 })), protocols))
      assert.deepEqual([item!.response!.encoding, item!.response!.compressed, item!.error], ['base64', true, null])
    })
  })

  it('shows in one line who says what', () => {
    const line = (item: Item) => Object.values(dissector.summarize(item.request, item.response, item.event)).join(' ')
    const d = open()
    d.ask(clientFrame('hello'))
    d.tell(serverFrame(Buffer.from([3, 232, 98, 121, 101]), { opcode: 8 }))
    assert.deepEqual(messages(readItems(d.packets, protocols)).map(line), ['text → hello ', 'close ← bye 1000'])
    assert.equal(line(messages(dissect(d.packets, protocols, 0).items)[0]!), 'text → 5 bytes ')
  })

  it('tells the subprotocol', () => {
    const [item] = messages(readItems(open('Sec-WebSocket-Protocol: soap\r\n').tellAll(serverFrame('a')), protocols))
    assert.equal((item!.response as WebSocketMessage).subprotocol, 'soap')
  })
})

class Talk extends Dialogue {
  tellAll(...frames: Uint8Array[]) {
    for (const frame of frames) this.tell(frame)
    return this.packets
  }
}

/** A connection behind its handshake. */
function open(headers = ''): Talk {
  const d = new Talk()
  d.open()
  d.ask('GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  d.tell(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${headers}\r\n`)
  return d
}

function messages(items: Item[]): Item[] {
  return items.filter(item => item.protocol.name === 'ws')
}

function text({ request, response, event }: Item): string {
  return JSON.stringify([request, response, event])
}

function deflated(content: string | Uint8Array): Buffer {
  return deflateRawSync(content, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
}
