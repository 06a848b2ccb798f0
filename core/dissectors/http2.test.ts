import assert from 'node:assert/strict'
import type { Item } from '../item.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { dissect, golden, readPackets } from '../testing/golden.ts'
import { block, data, frame, get, headers, indexed, PREFACE, remembered, tableSize } from '../testing/http2.ts'
import { Dialogue, RST } from '../testing/packets.ts'

const OK = block({ ':status': '200' })
const SETTINGS = frame(4, 0, 0)

const NOTHING = Buffer.alloc(0)

/** What does not depend on when its packets came. */
function essential({ request, response, event, error, failed, requestSize, responseSize }: Item): unknown {
  return { request, response, event, error, failed, requestSize, responseSize }
}

describe('http2', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })
  golden('http2')

  /** Client's bytes and server's in turn, after both have said hello. */
  function talk(...turns: Uint8Array[]): Item[] {
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS]))
    dialogue.tell(SETTINGS)
    for (const [i, turn] of turns.entries()) if (turn.length > 0) i % 2 === 0 ? dialogue.ask(turn) : dialogue.tell(turn)
    dialogue.close()
    return dissect(dialogue.packets, protocols, 1 << 20).items
  }

  it('says what the client of exchanges.pcap did', () => {
    const packets = readPackets(new URL('../fixtures/http2/exchanges.pcap', import.meta.url))
    const { items } = dissect(packets, protocols, 1 << 20)
    const text = 'the same text again and again '.repeat(20)
    const coded = items.filter(({ request }) => request?.path === '/coded')
    assert.deepEqual(
      coded.map(({ request, response }) => [request!.queryString, response!.content.text]),
      ['gzip', 'deflate', 'br', 'zstd'].map(coding => [{ [coding]: '' }, text]),
    )
    assert.deepEqual(items.filter(({ request }) => request?.path !== '/coded').map(line), [
      '/page 200',
      '/style.css 200',
      '/early 200',
      '/form 303',
      '/refuse the stream was reset by the server: REFUSED_STREAM',
      '/broken 200',
      '/slow the stream was reset by the client: CANCEL',
      '/too-large 413',
      '/too-large 413',
      '/chat 200',
      'hello',
      'hello',
      '/a 404',
      '/b 404',
      '/c 404',
      'ENHANCE_YOUR_CALM',
    ])
  })

  describe('exchanges', () => {
    it('are told apart by their streams, in whatever order they end', () => {
      const items = talk(
        Buffer.concat([headers(1, get('/1')), headers(3, get('/3')), headers(5, get('/5'))]),
        Buffer.concat([
          headers(5, OK, 'more'),
          headers(1, OK, 'more'),
          data(5, 'fi', 'more'),
          data(1, 'one'),
          data(5, 've'),
          headers(3, OK),
        ]),
      )
      assert.deepEqual(
        items.map(({ request, response }) => `${request!.path} ${response!.content.text}`),
        ['/1 one', '/5 five', '/3 '],
      )
    })

    it('say the same whether their frames come together or one by one', () => {
      const post = headers(1, block({ ':method': 'POST', ':path': '/up', 'content-type': 'text/plain' }), 'more')
      const ok = headers(1, block({ ':status': '200', 'content-type': 'text/plain' }), 'more')
      const early = headers(1, block({ ':status': '103', link: '</a>' }), 'more')
      const trailers = headers(1, block({ 'x-sum': '7' }))
      const broken = headers(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))
      const bodies = [
        [data(1, 'all')],
        [data(1, '')],
        [data(1, 'all', 'more'), trailers],
        [data(1, '', 'more'), trailers],
        [data(1, 'one', 'more'), data(1, ' two')],
        [data(1, 'one', 'more'), data(1, ' two', 'more'), trailers],
        [data(3, 'of another', 'more'), data(1, 'all')],
        [frame(0, 0x09, 1, Buffer.from([1, 97, 0]))],
        [data(1, 'all', 'more'), broken],
        [data(1, 'cut short', 'more')],
      ]
      for (const asked of bodies)
        for (const told of bodies)
          for (const interim of [[], [early]]) {
            const request = [post, ...asked]
            const response = [...interim, ok, ...told]
            const together = talk(Buffer.concat(request), Buffer.concat(response))
            const alone = talk(
              ...request.flatMap(one => [one, NOTHING]),
              NOTHING,
              ...response.flatMap(one => [one, NOTHING]),
            )
            assert.deepEqual(together.map(essential), alone.map(essential))
          }
    })

    it('are told whole though the end of the request was lost, however the answer ends', () => {
      const ok = headers(1, OK, 'more')
      for (const answer of [
        [headers(1, OK)],
        [ok, data(1, 'a')],
        [ok, data(1, 'a', 'more'), headers(1, block({ x: '1' }))],
      ])
        for (const turns of [answer, [Buffer.concat(answer)]]) {
          const d = new Dialogue().open()
          d.ask(Buffer.concat([PREFACE, SETTINGS]))
          d.tell(SETTINGS)
          d.ask(headers(1, block({ ':method': 'POST', ':path': '/up' }), 'more'))
          d.ask(data(1, 'some', 'more'))
          const lost = d.ask(data(1, 'rest'))
          d.ask(frame(6, 0, 0, Buffer.alloc(8)))
          for (const bytes of turns) d.tell(bytes)
          d.close()
          const packets = d.packets.filter(packet => packet !== lost)
          const { items } = dissect(packets, protocols, 1 << 20)
          assert.deepEqual(
            items.map(({ request, response, error }) => [request?.path, response?.status, error?.type]),
            [['/up', 200, 'dissection']],
          )
        }
    })

    it('whose response is whole first wait for the request, not for its time', () => {
      const [item] = talk(
        headers(1, block({ ':method': 'POST', ':path': '/up' }), 'more'),
        headers(1, block({ ':status': '413' })),
        data(1, 'the rest'),
      )
      assert.deepEqual([item!.request!.postData.text, item!.response!.status], ['the rest', 413])
      assert.equal(item!.elapsedTime, 1)
    })

    it('whose response is whole first end with a reset, too', () => {
      const items = talk(
        headers(1, block({ ':method': 'POST', ':path': '/up' }), 'more'),
        Buffer.concat([headers(1, block({ ':status': '413' })), frame(3, 0, 1, Buffer.alloc(4))]),
        data(1, 'nobody listens'),
      )
      assert.deepEqual(items.map(line), ['/up 413'])
      assert.equal(items[0]!.error, null)
    })

    it('that are cut short say how', () => {
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, get('/1')), headers(3, get('/3'))]))
      dialogue.ask(headers(5, block({ ':method': 'POST', ':path': '/5' }), 'more'))
      dialogue.tell(Buffer.concat([SETTINGS, headers(1, OK, 'more'), data(1, 'hal', 'more')]))
      dialogue.send(dialogue.server, '', RST)
      const { items } = dissect(dialogue.packets, protocols, 1000)
      assert.deepEqual(items.map(line).sort(), [
        '/1 200',
        '/3 reset by the server before the answer',
        '/5 the message ends early: the connection was reset',
      ])
      assert.equal(items.find(({ request }) => request!.path === '/1')!.error!.type, 'connection')
    })

    it('have interim answers, trailers, forms and cookies in crumbs as HTTP/1 has', () => {
      const form = block({ ':method': 'POST', ':path': '/', 'content-type': 'application/x-www-form-urlencoded' })
      const crumbs = Buffer.concat([
        form,
        block({ cookie: 'a=1' }),
        block({ cookie: 'b=2' }),
        block({ x: '1' }),
        block({ x: '2' }),
      ])
      const [item] = talk(
        Buffer.concat([headers(1, crumbs, 'more'), data(1, 'k=v')]),
        Buffer.concat([
          headers(1, block({ ':status': '103', link: '<a>' }), 'more'),
          headers(1, OK, 'more'),
          data(1, 'x', 'more'),
          headers(1, block({ sum: '9' })),
        ]),
      )
      const { request, response } = item!
      assert.deepEqual(request!.cookies, { a: '1', b: '2' })
      assert.deepEqual([request!.headers.cookie, request!.headers.x], ['a=1; b=2', '1,2'])
      assert.deepEqual(request!.postData.params, [{ name: 'k', value: 'v' }])
      assert.deepEqual(response!.interim[0].headers.link, '<a>')
      assert.deepEqual([response!.content.text, response!.trailers], ['x', { sum: '9' }])
    })

    it('have no bodies where nobody wants them', () => {
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, block({ ':method': 'PUT', ':path': '/' }), 'more')]))
      dialogue.ask(data(1, 'some'))
      dialogue.tell(Buffer.concat([SETTINGS, headers(1, OK, 'more'), data(1, 'more')]))
      const [item] = dissect(dialogue.packets, protocols, 0).items
      assert.deepEqual([item!.request!.postData.text, item!.request!.bodySize], [null, 4])
      assert.deepEqual([item!.response!.content.text, item!.response!.bodySize], [null, 4])
    })
  })

  describe('GOAWAY', () => {
    const goAway = (last: number, code: number) => {
      const payload = Buffer.alloc(8)
      payload.writeUInt32BE(last)
      payload.writeUInt32BE(code, 4)
      return frame(7, 0, 0, payload)
    }

    it('refuses the streams behind it', () => {
      const items = talk(
        Buffer.concat([headers(1, get('/1')), headers(3, get('/3'))]),
        Buffer.concat([goAway(1, 0), headers(1, OK)]),
      )
      assert.deepEqual(items.map(line), ['/3 not looked at: the server goes away (NO_ERROR)', '/1 200'])
    })

    it('with an error is an event', () => {
      const [item] = talk(goAway(0, 1))
      assert.deepEqual(item!.event, {
        type: 'GOAWAY',
        from: 'client',
        lastStreamId: 0,
        errorCode: 1,
        errorName: 'PROTOCOL_ERROR',
        debugData: '',
      })
    })
  })

  describe('a connection whose beginning was not seen', () => {
    function late(turns: [from: 'client' | 'server', payload: Uint8Array][]): Item[] {
      const dialogue = new Dialogue()
      for (const [from, payload] of turns) dialogue.send(dialogue[from], payload)
      return dissect(dialogue.packets, protocols, 1 << 20).items
    }

    it('tells what it knows, and says that it lacks the rest', () => {
      const request = Buffer.concat([indexed(2), indexed(70), remembered('x-new', '1'), indexed(62)])
      const [item] = late([
        ['client', headers(7, request)],
        ['server', headers(7, Buffer.concat([indexed(8), indexed(65)]))],
      ])
      assert.deepEqual(item!.request, {
        method: 'GET',
        httpVersion: 'HTTP/2.0',
        streamId: 7,
        headers: { ':method': 'GET', 'x-new': '1,1' },
        cookies: {},
        incompleteHeaders: true,
        headersSize: 9 + request.length,
        bodySize: 0,
        postData: null,
      })
      assert.deepEqual([item!.response!.status, item!.response!.incompleteHeaders], [200, true])
    })

    it('is found by frames that nothing else looks like', () => {
      assert.equal(late([['client', headers(1, get('/'))]]).length, 1)
      for (const bytes of [
        Buffer.alloc(40),
        Buffer.from([0, 0, 1, 0, 1, 0, 0, 0, 1, 0]),
        Buffer.concat([Buffer.from([0, 0, 9, 1, 5, 0, 0, 0, 1]), Buffer.from('not HPACK')]),
        headers(1, block({ 'Not-Lower-Case': 'x' })),
        frame(8, 0, 1, Buffer.alloc(4)),
        frame(3, 0, 1, Buffer.from([9, 9, 9, 9])),
      ])
        assert.deepEqual(late([['client', bytes]]), [], bytes.toString('hex'))
    })

    it('knows who is the client by what is said, not by ports', () => {
      const dialogue = new Dialogue(0, { client: { address: 1, port: 80 }, server: { address: 2, port: 40_000 } })
      dialogue.ask(headers(1, get('/')))
      dialogue.tell(headers(1, OK))
      const [item] = dissect(dialogue.packets, protocols, 1000).items
      assert.deepEqual([item!.src.port, item!.response!.status], ['80', 200])
    })

    it('whose beginning of a response was lost leaves the request without it', () => {
      const items = late([
        ['client', headers(1, get('/'))],
        ['server', Buffer.concat([frame(6, 0, 0, Buffer.alloc(8)), data(1, 'the end of something')])],
      ])
      assert.deepEqual(items.map(line), ['/ the headers of the response are missing from the capture'])
    })
  })

  describe('what is sent to exhaust', () => {
    it('an HPACK bomb writes no more than its limit', () => {
      const bomb = Buffer.concat([
        remembered('x', 'y'.repeat(4000)),
        ...Array.from({ length: 16_000 }, () => indexed(62)),
      ])
      const [item] = talk(headers(1, Buffer.concat([get('/'), bomb.subarray(0, 16_000)])))
      assert.ok(JSON.stringify(item).length < 300_000)
      assert.equal(item!.request!.incompleteHeaders, true)
    })

    it('CONTINUATION without end is malformed, empty or not', () => {
      for (const size of [0, 16_000]) {
        const flood = Array.from({ length: 2000 }, () => frame(9, 0, 1, Buffer.alloc(size, 0x82)))
        const start = performance.now()
        const dialogue = new Dialogue().open()
        dialogue.ask(Buffer.concat([PREFACE, SETTINGS, frame(1, 1, 1, get('/'))]))
        for (const one of flood) dialogue.ask(one)
        const { items, tally } = dissect(dialogue.packets, protocols, 1000)
        assert.deepEqual(items, [])
        assert.ok((tally.skipped.get('malformed') ?? 0) > 0)
        assert.ok(performance.now() - start < 2000)
      }
    })

    it('a rapid reset is one item for each stream, and nothing stays', () => {
      const count = 20_000
      const cancel = Buffer.from([0, 0, 0, 8])
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS]))
      for (let i = 0; i < count; i++)
        dialogue.ask(Buffer.concat([headers(2 * i + 1, get('/')), frame(3, 0, 2 * i + 1, cancel)]))
      const start = performance.now()
      const { items } = dissect(dialogue.packets, protocols, 1000)
      assert.equal(items.length, count)
      assert.ok(performance.now() - start < 5000)
    })

    it('SETTINGS, PING and PRIORITY without end make nothing', () => {
      const flood = Buffer.concat(
        Array.from({ length: 1000 }, () =>
          Buffer.concat([SETTINGS, frame(6, 0, 0, Buffer.alloc(8)), frame(2, 0, 1, Buffer.alloc(5))]),
        ),
      )
      assert.deepEqual(talk(flood, flood), [])
    })

    it('streams without end are given up, the oldest first', () => {
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS]))
      for (let i = 0; i < 5000; i++)
        dialogue.ask(headers(2 * i + 1, block({ ':method': 'POST', ':path': `/${i}` }), 'more'))
      const { items } = dissect(dialogue.packets, protocols, 1000)
      assert.equal(items.length, 5000)
      assert.match(items[0]!.error!.msg, /many streams have begun since/)
    })

    it('bodies that wait for their end are kept within a limit', () => {
      const dialogue = new Dialogue().open()
      dialogue.ask(Buffer.concat([PREFACE, SETTINGS]))
      const chunk = Buffer.alloc(16_384, 120)
      for (let i = 0; i < 40; i++) {
        dialogue.ask(headers(2 * i + 1, block({ ':method': 'POST', ':path': '/' }), 'more'))
        for (let k = 0; k < 64; k++) dialogue.ask(data(2 * i + 1, chunk, 'more'))
      }
      const { items } = dissect(dialogue.packets, protocols, 1 << 20)
      const kept = items.reduce((sum, { request }) => sum + request!.postData.text.length, 0)
      assert.ok(kept <= 18 << 20, `${kept} bytes`)
      assert.equal(items.at(-1)!.request!.bodySize, 1 << 20)
      assert.equal(items.at(-1)!.request!.postData.truncated, true)
    })
  })

  describe('frames that cannot be', () => {
    for (const [what, bytes] of [
      ['DATA on stream 0', data(0, 'x')],
      ['padding that is longer than its frame', frame(0, 8, 1, Buffer.from([9, 0]))],
      ['an even stream of a client', headers(2, get('/'))],
      [
        'a frame between HEADERS and CONTINUATION',
        Buffer.concat([frame(1, 0, 1, get('/')), frame(6, 0, 0, Buffer.alloc(8))]),
      ],
      ['CONTINUATION of nothing', frame(9, 4, 1, get('/'))],
      ['a promise of a client', frame(5, 4, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), get('/')]))],
      ['a block that is no HPACK', headers(1, Buffer.from([0x80]))],
      ['a priority that is cut short', frame(1, 0x25, 1, Buffer.from([0, 0]))],
    ] as [string, Buffer][])
      it(`${what} cost the connection until it is found again`, () => {
        const items = talk(bytes, Buffer.alloc(0), headers(21, get('/again')), headers(21, OK))
        assert.deepEqual(items.map(line), ['/again 200'])
      })
  })

  it('bridges what is missing within DATA, and nowhere else', () => {
    const body = Buffer.alloc(3000, 97)
    const frames = Buffer.concat([headers(1, OK, 'more'), data(1, body)])
    const dialogue = new Dialogue().open()
    dialogue.ask(Buffer.concat([PREFACE, SETTINGS, headers(1, get('/')), headers(3, get('/3'))]))
    dialogue.tell(SETTINGS)
    dialogue.tell(frames.subarray(0, 1000))
    const lost = dialogue.tell(frames.subarray(1000, 2000))
    dialogue.tell(frames.subarray(2000))
    dialogue.tell(headers(3, Buffer.concat([OK, remembered('x', '1'), indexed(62)])))
    dialogue.ask(frame(6, 0, 0, Buffer.alloc(8)))
    dialogue.close()
    const { items } = dissect(
      dialogue.packets.filter(packet => packet !== lost),
      protocols,
      1 << 20,
    )
    assert.deepEqual(items.map(line), ['/ 200', '/3 200'])
    assert.equal(items[0]!.error!.msg, '1000 bytes of the body are missing from the capture')
    assert.deepEqual([items[0]!.response!.bodySize, items[0]!.response!.content.truncated], [3000, true])
    assert.equal(items[1]!.response!.incompleteHeaders, undefined)
  })

  it('follows changes of the table', () => {
    const first = Buffer.concat([tableSize(0), tableSize(100), get('/1'), remembered('a', '1'), remembered('b', '2')])
    const items = talk(
      Buffer.concat([headers(1, first), headers(3, Buffer.concat([get('/3'), indexed(62), indexed(63)]))]),
      Buffer.concat([headers(1, OK), headers(3, OK)]),
    )
    assert.deepEqual([items[1]!.request!.headers.a, items[1]!.request!.headers.b], ['1', '2'])
  })
})

function line({ request, response, event, error }: Item): string {
  if (response?.opcode !== undefined || request?.opcode !== undefined) return (request ?? response)!.payload
  if (event !== null) return event.errorName
  return `${request?.path} ${response?.status ?? error?.msg}`
}
