import assert from 'node:assert/strict'
import type { Cursor } from './cursor.ts'
import { Malformed } from './cursor.ts'
import type { Context, Dissector, Face, Message, Moment } from './dissector.ts'
import type { Json } from './item.ts'
import type { Packet } from './packet.ts'
import { MAX_WAITING } from './pairing.ts'
import { Pipeline } from './pipeline.ts'
import { dissect, generator, only } from './testing/golden.ts'
import { ACK, CLIENT, Dialogue, FIN, packetOf, RST, SERVER, udp } from './testing/packets.ts'

interface State {
  lines: number
}

interface Upload {
  name: string
  left: number
}

/**
 * A protocol of lines, so that each test shows what is said.
 *
 *   client   ?words     a request                     server   !words   its answer; !!words one that tells of an error
 *   client   -words     one without an answer         server   +words   an answer of several; *words an event
 *   client   <n         n bytes follow, committed     server   =name    an answer behind which the protocol changes
 *                                                     server   ~name    the same without an answer
 *   server   ?words     a request, too                client   !words   its answer (keyed)
 *
 * In the keyed dialect a request and its answers share the first letter of their words.
 */
const LINES: Dissector<State> = {
  name: 'lines',
  title: 'Lines',
  abbr: 'LINES',
  version: '1',
  color: '#000',
  reference: 'https://example.org/',
  transports: ['tcp', 'udp'],
  ports: [80],
  priority: 0,
  open: () => ({ lines: 0 }),
  probe: (at, from) => (from === 'client' ? '?-<' : '!*+=~').includes(String.fromCharCode(at.peek())),
  read(at, ctx) {
    if (at.progress !== null) return upload(at, at.progress as Upload)
    const line = at.text(at.lineEnd(1_000_000) + 1 - at.position).trimEnd()
    if (line[0] === '<') return upload(at, { name: line, left: Number(line.slice(1)) })
    ctx.state.lines++
    return messageOf(line, ctx)
  },
  end(at, _, why) {
    const pending = at.progress as Upload | null
    return pending && { kind: 'request', body: { say: pending.name }, error: { type: 'dissection', msg: why } }
  },
  bridge(length, progress) {
    const pending = progress as Upload
    if (length > pending.left) return false
    pending.left -= length
    return true
  },
  summarize: () => ({ method: '', summary: '', status: '' }),
}

const KEYED: Dissector<State> = { ...LINES, name: 'keyed', keyed: true }
/** What `=other` leads to: the same words, and it would stumble over another protocol's progress. */
const OTHER: Dissector<State> = {
  ...LINES,
  name: 'other',
  ports: [],
  probe: () => false,
  read: (at, ctx) => {
    assert.equal(at.progress, null)
    return LINES.read(at, ctx)
  },
}

function upload(at: Cursor, pending: Upload): Message | null {
  const taken = Math.min(pending.left, at.remaining)
  at.skip(taken)
  const left = pending.left - taken
  if (left === 0) return { kind: 'request', body: { say: pending.name } }
  at.commit({ ...pending, left })
  return null
}

function messageOf(line: string, ctx: Context<State>): Message {
  const message = { body: { say: line }, key: line[1]! }
  switch (ctx.from === 'client' ? line[0] : `s${line[0]}`) {
    case '?':
      return { kind: 'request', ...message, memo: line }
    case '-':
      return { kind: 'request', ...message, unanswered: true }
    case 's?':
      return { kind: 'request', ...message, asker: 'server' }
    case '!':
      return { kind: 'response', ...message, asker: 'server' }
    case 's!':
      return { kind: 'response', ...message, failed: line[1] === '!' }
    case 's+':
      return { kind: 'response', ...message, more: true }
    case 's*':
      return { kind: 'event', body: { say: `${line} line ${ctx.state.lines}` } }
    case 's=':
      return { kind: 'response', ...message, becomes: line.slice(1) }
    case 's~':
      return { kind: 'nothing', body: {}, becomes: line.slice(1) }
  }
  throw new Malformed(`expected a line of this protocol, found ${line}`)
}

describe('conversation', () => {
  it('pairs answers with requests in their order, also of a pipeline and of a segment that holds several', () => {
    const d = new Dialogue().open()
    d.ask('?a\n?b\n?')
    d.ask('c\n')
    d.tell('!a\n!!')
    d.tell('b\n!c\n')
    assert.deepEqual(said(d), ['?a !a', '?b !!b failed', '?c !c'])
  })

  it('reads the same however the bytes are cut', () => {
    const asked = '?one\n-alone\n<5\nabcde?two\n'
    const told = '*event\n!one\n+part\n!up\n!two\n'
    const whole = new Dialogue().open()
    whole.ask(asked)
    whole.tell(told)
    const bytes = new Dialogue().open()
    for (const letter of asked) bytes.ask(letter)
    for (const letter of told) bytes.tell(letter)
    assert.deepEqual(said(bytes), said(whole))
    assert.equal(said(whole).length, 6)
  })

  it('finds the protocol by what either side says first, on any port', () => {
    const server = { address: SERVER.address, port: 4444 }
    const first = new Dialogue(0, { server }).open()
    first.tell('*hello\n')
    first.ask('?a\n')
    first.tell('!a\n')
    assert.deepEqual(said(first), ['*hello line 1', '?a !a'])
  })

  it('finds the ends by what they say where no SYN was seen', () => {
    const d = new Dialogue()
    d.tell('*hello\n')
    d.ask('?a\n')
    d.tell('!a\n')
    const { items } = read(d)
    assert.deepEqual(
      items.map(({ src, dst }) => [src.port, dst.port]),
      [
        [String(CLIENT.port), '80'],
        [String(CLIENT.port), '80'],
      ],
    )
  })

  it('waits for more bytes where a dissector wants to see them, by exception or not', () => {
    const patient: Dissector<State> = {
      ...LINES,
      probe: (at, from, ctx) => (at.remaining < 3 ? 'more' : LINES.probe(at, from, ctx)),
    }
    const d = new Dialogue().open()
    for (const byte of '?a\n') d.ask(byte)
    d.tell('!b\n')
    const [item] = dissect(d.packets, only(patient), 0).items
    assert.deepEqual([item!.request, item!.response], [{ say: '?a' }, { say: '!b' }])
  })

  it('hands what is found out while recognising to the read that follows, and to no other', () => {
    const learnt: unknown[] = []
    const denying: Dissector<State> = {
      ...LINES,
      name: 'denying',
      probe: (_at, _from, ctx) => {
        ctx.learnt = 'denied'
        return false
      },
    }
    const telling: Dissector<State> = {
      ...LINES,
      probe: (at, from, ctx) => {
        ctx.learnt = 'told'
        return LINES.probe(at, from, ctx)
      },
      read: (at, ctx) => {
        learnt.push(ctx.learnt)
        return LINES.read(at, ctx)
      },
    }
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.tell('!b\n')
    d.ask('?c\n')
    dissect(d.packets, only(denying, telling), 0)
    dissect(d.packets, only(telling, denying), 0)
    assert.deepEqual(learnt, ['told', null, null, 'told', null, null])
  })

  it('asks nobody again once a beginning is nobody’s, and counts its bytes', () => {
    const d = new Dialogue().open()
    d.ask('hello\n')
    d.tell('!a\n')
    d.ask('?a\n')
    const { items, tally } = read(d)
    assert.deepEqual(items, [])
    assert.equal(tally.skipped.get('unknown protocol'), 12)
  })

  it('asks again in mid-stream, but not for ever', () => {
    const between = (count: number) => {
      const d = new Dialogue()
      for (let i = 0; i < count; i++) d.ask('middle\n')
      d.ask('?a\n')
      d.tell('!a\n')
      return said(d)
    }
    assert.deepEqual(between(60), ['?a !a'])
    assert.deepEqual(between(70), [])
  })

  describe('with keys', () => {
    it('tells whoever reads an answer what came with its request', () => {
      const knowing: Dissector<State> = {
        ...KEYED,
        read(at, ctx) {
          const message = LINES.read(at, ctx) as Message
          const { say } = message.body as Json
          const memo = ctx.requestOf(message.key!)
          return message.kind === 'response' ? { ...message, body: { say: `${say} of ${memo}` } } : message
        },
      }
      const d = new Dialogue().open()
      d.ask('?a\n?b\n')
      d.tell('!b\n!a\n!a\n')
      assert.deepEqual(said(d, [knowing]), ['?b !b of ?b', '?a !a of ?a', 'null !a of undefined pair-not-found'])
    })

    it('pairs answers in any order, and several with one request', () => {
      const d = new Dialogue().open()
      d.ask('?a\n?b\n?c\n')
      d.tell('!c\n+a1\n!b\n!a2\n!x\n')
      assert.deepEqual(said(d, [KEYED]), ['?c !c', '?a +a1', '?b !b', '?a !a2', 'null !x pair-not-found'])
    })

    it('pairs what the server asks with what the client answers, and shows who asked', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      d.tell('?s\n!a\n')
      d.ask('!s\n!t\n')
      const { items } = read(d, [KEYED] as never)
      assert.deepEqual(items.map(line), ['?a !a', '?s !s', 'null !t pair-not-found'])
      assert.deepEqual(
        items.map(({ src, dst }) => [src.port, dst.port]),
        [
          [String(CLIENT.port), '80'],
          ['80', String(CLIENT.port)],
          ['80', String(CLIENT.port)],
        ],
      )
    })

    it('goes on after a loss', () => {
      const d = new Dialogue().open()
      d.ask('?a\n?b\n')
      const lost = d.tell('!a\n')
      d.tell('!b\n')
      d.ask('')
      assert.deepEqual(said(d, [KEYED], [lost]), ['?b !b', '?a null pair-not-found'])
    })
  })

  describe('after a loss', () => {
    it('of a request: its answer is nobody’s', () => {
      const d = new Dialogue().open()
      const lost = d.ask('?a\n')
      d.tell('!a\n')
      d.ask('?b\n')
      d.tell('!b\n')
      assert.deepEqual(said(d, [LINES], [lost]), ['null !a pair-not-found', '?b !b'])
    })

    it('of an answer: its request is nobody’s', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      const lost = d.tell('!a\n')
      d.ask('?b\n')
      d.tell('!b\n')
      assert.deepEqual(said(d, [LINES], [lost]), ['?a null pair-not-found', '?b !b'])
    })

    it('believes no request that was sent before the lost one had its answer', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      d.tell('!a\n')
      const lost = d.ask('?b\n')
      d.ask('?c\n')
      d.tell('!b\n')
      d.tell('!c\n')
      d.wait(3000).ask('?d\n')
      d.tell('!d\n')
      assert.deepEqual(said(d, [LINES], [lost]), [
        '?a !a',
        '?c null pair-not-found',
        'null !b pair-not-found',
        'null !c pair-not-found',
        '?d !d',
      ])
    })

    it('believes nothing of a pipeline before a silence', () => {
      const d = new Dialogue().open()
      d.ask('?a\n?b\n')
      d.tell('!a\n')
      const lost = d.tell('!b\n')
      d.ask('?c\n')
      d.tell('!c\n')
      d.wait(3000).ask('?d\n?e\n')
      d.tell('!d\n!e\n')
      const found = said(d, [LINES], [lost])
      for (const pair of ['?a !a', '?d !d', '?e !e']) assert.ok(found.includes(pair), found.join())
      assert.ok(!found.some(pair => pair.startsWith('?b !') || pair.startsWith('?c !b')), found.join())
    })

    it('believes a whole pipeline again after a silence', () => {
      const d = new Dialogue().open()
      d.ask('?a\n?b\n')
      d.tell('!a\n')
      const lost = d.tell('!b\n')
      d.wait(3000).ask('?c\n?d\n')
      d.tell('!c\n!d\n')
      assert.deepEqual(said(d, [LINES], [lost]), ['?a !a', '?b null pair-not-found', '?c !c', '?d !d'])
    })

    it('takes a client for one that waits when it has waited long enough', () => {
      for (const [count, last] of [
        [3, '?z null pair-not-found'],
        [4, '?z !z'],
      ] as const) {
        const d = new Dialogue().open()
        d.ask('?a\n?b\n')
        d.tell('!a\n!b\n')
        for (let i = 1; i < count; i++) {
          d.ask(`?${i}\n`)
          d.tell(`!${i}\n`)
        }
        d.ask('?y\n')
        const lost = d.tell('!y\n')
        d.ask('?z\n')
        d.tell('!z\n')
        assert.ok(said(d, [LINES], [lost]).includes(last), last)
      }
    })

    it('doubts a request with the one that came in the same packet', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      d.tell('!a\n')
      const lost = d.ask('?b\n')
      d.tell('!b\n')
      d.wait(3000).ask('?c\n?d\n')
      d.tell('!c\n!d\n')
      for (const pair of said(d, [LINES], [lost])) assert.doesNotMatch(pair, /\?[cd] !/)
    })

    it('of any one packet: pairs nothing wrongly, however the client waits', () => {
      for (let seed = 1; seed <= 60; seed++) {
        const d = talk(generator(seed))
        for (const lost of d.packets)
          for (const found of said(d, [LINES], [lost])) {
            const pair = /^\?(\w) !(\w)/.exec(found)
            assert.ok(pair === null || pair[1] === pair[2], `${found} of seed ${seed}`)
          }
      }
    })

    it('of bytes within what is committed: goes on', () => {
      const d = new Dialogue().open()
      d.ask('<9\nabc')
      const lost = d.ask('def')
      d.ask('ghi')
      d.tell('!up\n')
      const { items, tally } = read(d, [LINES], [lost])
      assert.deepEqual([items[0]!.request, items[0]!.requestSize, items[0]!.error], [{ say: '<9' }, 12, null])
      assert.deepEqual([tally.gaps, tally.missing], [1, 3])
    })

    it('beyond it: the message ends there, and says so', () => {
      const d = new Dialogue().open()
      d.ask('<5\nabc')
      const lost = d.ask('de?b\n')
      d.ask('?c\n')
      d.tell('!up\n')
      assert.deepEqual(said(d, [LINES], [lost]), ['?c null pair-not-found', '<5 !up dissection'])
    })

    it('opens a new state', () => {
      const d = new Dialogue().open()
      d.tell('*a\n*b\n')
      const lost = d.tell('*c\n')
      d.tell('*d\n')
      d.ask('')
      assert.deepEqual(said(d, [LINES], [lost]), ['*a line 1', '*b line 2', '*d line 1'])
    })
  })

  describe('when a message is malformed', () => {
    it('delivers what waits alone, and finds the way at the next request', () => {
      const d = new Dialogue().open()
      d.ask('?a\n?b\n')
      d.tell('!a\n')
      d.tell('nonsense\n')
      d.wait(3000).ask('?c\n')
      d.tell('!c\n')
      const { items, tally } = read(d)
      assert.deepEqual(items.map(line), ['?a !a', '?b null pair-not-found', '?c !c'])
      assert.equal(tally.skipped.get('malformed'), 9)
    })

    it('again and again: it is another protocol', () => {
      const d = new Dialogue().open()
      for (let i = 0; i < 20; i++) {
        d.ask('?a\n')
        d.tell('nonsense\n')
      }
      const { items, tally } = read(d)
      assert.equal(items.length, 8)
      assert.ok(tally.skipped.get('unknown protocol')! > 0)
    })
  })

  describe('when the protocol changes', () => {
    it('reads the rest of both sides with the next one, and nothing of the old is left', () => {
      const d = new Dialogue().open()
      d.ask('?a\n<9\nabc')
      d.tell('=other\n*event\n')
      d.ask('?b\n')
      d.tell('!b\n')
      const { items } = read(d, [LINES, OTHER])
      assert.deepEqual(items.map(line), ['?a =other', '*event line 1', '?b !b'])
      assert.deepEqual(
        items.map(({ protocol }) => protocol.name),
        ['lines', 'other', 'other'],
      )
    })

    it('passes over what nobody knows', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      d.tell('=websocket\nabc')
      d.ask('?b\n')
      const { items, tally } = read(d)
      assert.deepEqual(items.map(line), ['?a =websocket'])
      assert.equal(tally.skipped.get('unknown protocol'), 6)
    })

    it('probes afresh when it is not told to what', () => {
      const d = new Dialogue().open()
      d.ask('?a\n')
      d.tell('=unknown\n')
      d.ask('?b\n')
      d.tell('!b\n')
      assert.deepEqual(said(d), ['?a =unknown', '?b !b'])
    })

    it('with the last bytes of a side', () => {
      for (const name of ['unknown', 'websocket', 'other']) {
        const d = new Dialogue().open()
        d.ask('?a\n')
        // Held back, because a long message is not read again for each segment.
        d.tell(`=${name}${' '.repeat(20_000)}`)
        d.tell('\n')
        d.close()
        assert.deepEqual(said(d, [LINES, OTHER]), [`?a =${name}`])
      }
    })
  })

  it('hands what was agreed to the protocol that follows, under any of its names, also when bytes are lost', () => {
    const opened: [where: string | undefined, memo: unknown][] = []
    const first: Dissector<State> = {
      ...LINES,
      read: (at, ctx) => {
        const message = LINES.read(at, ctx) as Message
        return message.becomes === undefined ? message : { ...message, becomes: { name: 'another', memo: ctx.request } }
      },
    }
    const other: Dissector<State> = {
      ...OTHER,
      aliases: ['another'],
      open: (where, memo) => {
        opened.push([where, memo])
        return { lines: 0 }
      },
    }
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.tell('=go\n')
    d.ask('?b\n')
    const lost = d.ask('?c\n')
    d.ask('?d\n')
    d.tell('!d\n')
    read(d, [first, other] as never, [lost])
    assert.deepEqual(opened, [
      ['beginning', { say: '?a' }],
      ['middle', { say: '?a' }],
    ])
  })

  describe('at the end', () => {
    it('says why a request has no answer', () => {
      const whys = (finish: (d: Dialogue) => unknown) => {
        const d = new Dialogue().open()
        d.ask('?a\n')
        finish(d)
        return read(d).items.map(({ error }) => error?.msg)
      }
      assert.deepEqual(
        whys(d => d.close()),
        ['closed before the answer'],
      )
      assert.deepEqual(
        whys(d => d.send(d.server, '', RST | ACK)),
        ['reset by the server before the answer'],
      )
      assert.deepEqual(
        whys(d => d.send(d.client, '', RST)),
        ['reset by the client before the answer'],
      )
      assert.deepEqual(
        whys(() => {}),
        ['the capture ends before the answer'],
      )
      assert.deepEqual(
        whys(d => d.wait(1_300_000).packets.push(packetOf(udp(CLIENT, SERVER, '?u\n'), 1_300_000))),
        ['no answer came', 'the capture ends before the answer'],
      )
    })

    it('waits for the answers when the client has said all', () => {
      const d = new Dialogue().open()
      d.send(d.client, '?a\n', FIN | ACK)
      d.tell('!a\n')
      assert.deepEqual(said(d), ['?a !a'])
    })

    it('passes over what a side sends behind its FIN', () => {
      const d = new Dialogue().open()
      d.send(d.client, '?a\n', FIN | ACK)
      d.ask('?b')
      d.tell('!a\n')
      const { items, tally } = read(d)
      assert.deepEqual(items.map(line), ['?a !a'])
      assert.equal(tally.skipped.get('behind the end'), 2)
    })

    it('gives the dissector the last word on a message that was cut', () => {
      const d = new Dialogue().open()
      d.ask('<9\nabc')
      d.close()
      assert.equal(read(d).items[0]!.error!.msg, 'closed')
    })
  })

  describe('limits', () => {
    it('of requests that wait: those are delivered alone, the others go on', () => {
      const d = new Dialogue().open()
      const all = Array.from({ length: MAX_WAITING + 200 }, (_, i) => `?${i}\n`).join('')
      for (let i = 0; i < all.length; i += 1001) d.ask(all.slice(i, i + 1001))
      d.tell('!0\n')
      d.wait(3000).ask('?last\n')
      d.tell('!last\n')
      const { items, tally } = read(d)
      assert.equal(tally.limits.get('waiting requests'), 1)
      assert.ok(items.length > MAX_WAITING)
      assert.equal(items.filter(({ error }) => error?.type === 'pair-not-found').length, items.length - 1)
      assert.equal(line(items.at(-1)!), '?last !last')
    })

    it('of the memory of requests that wait', () => {
      const d = new Dialogue().open()
      for (let i = 0; i < 12; i++) for (const part of ['?', 'x'.repeat(999_999), '\n']) sendLong(d, part)
      assert.equal(read(d).tally.limits.get('waiting requests'), 1)
    })

    it('of a message that does not end', () => {
      const d = new Dialogue().open()
      d.ask('?')
      const endless = { ...LINES, read: (at: Cursor) => at.need(1 << 30) as never }
      for (let i = 0; i < 300; i++) d.ask('x'.repeat(60_000))
      const { tally } = read(d, [endless])
      assert.equal(tally.limits.get('message size'), 1)
    })
  })

  it('reads a message that comes byte by byte in time that does not grow with its square', () => {
    let bytesRead = 0
    const counting: Dissector<State> = {
      ...LINES,
      read: (at, ctx) => {
        bytesRead += at.remaining
        return LINES.read(at, ctx)
      },
    }
    const d = new Dialogue().open()
    const long = `?${'x'.repeat(60_000)}\n`
    for (const letter of long) d.ask(letter)
    d.tell('!long\n')
    assert.equal(read(d, [counting]).items.length, 1)
    assert.ok(bytesRead < 100 * long.length, `${bytesRead} bytes read`)
  })

  it('reads datagrams alone: none continues another', () => {
    const packets = ['?a\n', '?b', '?c\n'].map((text, i) => packetOf(udp(CLIENT, SERVER, text), i))
    packets.push(packetOf(udp(SERVER, CLIENT, '!a\n'), 9))
    const { items, tally } = dissect(packets, only(KEYED), 0)
    assert.deepEqual(items.map(line), ['?a !a', '?c null pair-not-found'])
    assert.equal(tally.skipped.get('malformed'), 2)
  })

  it('waits for the answer to a datagram as long as the protocol’s users do', () => {
    const patient = { ...KEYED, patience: 5000 }
    const packets = [
      packetOf(udp(CLIENT, SERVER, '?a\n'), 0),
      packetOf(udp(CLIENT, SERVER, '?b\n'), 4000),
      packetOf(udp(SERVER, CLIENT, '!a\n'), 5000),
      packetOf(udp(SERVER, CLIENT, '!b\n'), 8999),
    ]
    assert.deepEqual(dissect(packets, only(patient), 0).items.map(line), [
      '?a null timeout',
      'null !a pair-not-found',
      '?b !b',
    ])
  })
})

describe('patience on a stream', () => {
  it('ends for requests with keys, and not while their answers still come', () => {
    const patient = { ...KEYED, transports: ['tcp' as const], patience: 5000 }
    const d = new Dialogue().open()
    d.ask('?a\n?b\n')
    d.tell('!b\n')
    d.wait(4900)
    d.ask('?c\n')
    d.wait(200)
    d.ask('?d\n')
    d.tell('!d\n!c\n')
    assert.deepEqual(read(d, [patient]).items.map(line), ['?b !b', '?a null timeout', '?d !d', '?c !c'])
  })

  it('has no end where answers come in order: the next one would be taken for that of another', () => {
    const patient = { ...LINES, patience: 5000 }
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.wait(9000)
    d.ask('?b\n')
    d.tell('!a\n!b\n')
    assert.deepEqual(read(d, [patient]).items.map(line), ['?a !a', '?b !b'])
  })
})

describe('several answers that are read at once', () => {
  /** `!a!b`: two answers. */
  const AT_ONCE: Dissector<State> = {
    ...LINES,
    read(at, ctx) {
      const line = at.text(at.lineEnd(1000) + 1 - at.position).trimEnd()
      return line.split(/(?=[!*])/).map(one => messageOf(one, ctx) as Message)
    },
  }

  it('belong to one request each, in order', () => {
    const d = new Dialogue().open()
    d.ask('?a\n?b\n?c\n')
    d.tell('!a*event!b\n')
    d.tell('!c!d\n')
    assert.deepEqual(read(d, [AT_ONCE]).items.map(line), [
      '?a !a',
      '*event line 0',
      '?b !b',
      '?c !c',
      'null !d pair-not-found',
    ])
  })

  it('belong to none, where requests may be missing between', () => {
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.ask('?b\n')
    d.packets.pop()
    d.ask('?c\n')
    d.tell('!a!b\n')
    d.tell('!c\n')
    for (const one of read(d, [AT_ONCE]).items.map(line)) assert.doesNotMatch(one, /\?a !b|\?c !b|\?b !c/)
  })
})

describe('messages that go one way', () => {
  const ONE_WAY: Dissector<State> = {
    ...LINES,
    read: (at, ctx) => ({ ...(LINES.read(at, ctx) as Message), event: { source: ctx.from } }),
  }

  it('are the request or the response of an item with an event, and leave those that wait alone', () => {
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.tell('!b\n')
    const { items, tally } = read(d, [ONE_WAY] as never)
    const shown = items.map(({ request, response, event, error, size }) => ({ request, response, event, error, size }))
    assert.deepEqual(shown, [
      { request: { say: '?a' }, response: null, event: { source: 'client' }, error: null, size: 3 },
      { request: null, response: { say: '!b' }, event: { source: 'server' }, error: null, size: 3 },
    ])
    assert.deepEqual(
      [tally.protocol('lines').events, tally.protocol('lines').halfPairs, tally.protocol('lines').pairs],
      [2, 0, 0],
    )
  })
})

describe('events within a message', () => {
  /** Each letter of an upload is an event when it comes. */
  const SPELLED: Dissector<State> = {
    ...LINES,
    read(at, ctx) {
      const start = at.position
      const message = LINES.read(at, ctx)
      if (message !== null || at.committed === start) return message
      const letters = Buffer.from(at.bytes.slice(start, at.committed)).toString()
      return [...letters].map(say => ({ kind: 'event', body: { say }, within: true, size: 1 }))
    },
  }

  it('are told when they come, and the message when it ends', () => {
    const d = new Dialogue().open()
    d.ask('<4\n')
    d.wait(500)
    d.ask('ab')
    d.wait(500)
    d.ask('cd?x\n')
    d.tell('!up\n!x\n')
    const { items, tally } = read(d, [SPELLED] as never)
    assert.deepEqual(items.map(line), ['<', '4', '\n', 'a', 'b', '<4 !up', '?x !x'])
    const [first, , , letter, , upload] = items
    assert.ok(letter!.timestamp - first!.timestamp >= 500)
    assert.ok(upload!.timestamp < letter!.timestamp)
    assert.equal(upload!.requestSize, 7)
    assert.equal(tally.skippedBytes, 0)
  })
})

describe('messages that travel within others', () => {
  const GUEST: Face = { ...LINES, name: 'guest', family: 'hosts', version: '2' }

  it('carry the face of their own protocol, in items and in the tally', () => {
    const host = { ...LINES, read: (at: Cursor, ctx: Context<State>) => asGuest(LINES.read(at, ctx) as Message) }
    const d = new Dialogue().open()
    d.ask('?a\n?guest b\n')
    d.tell('!a\n!b\n*guest c\n')
    const { items, tally } = read(d, [host])
    assert.deepEqual(
      items.map(({ protocol: { name, macro, version } }) => [name, macro, version]),
      [
        ['lines', 'lines', '1'],
        ['hosts', 'guest', '2'],
        ['hosts', 'guest', '2'],
      ],
    )
    assert.deepEqual([tally.protocols.get('guest')!.items, tally.protocols.get('lines')!.items], [2, 1])
  })

  it('began when their first part came, and have the size of their parts', () => {
    const moments: Moment[] = []
    const parts = {
      ...LINES,
      read: (at: Cursor, ctx: Context<State>) => {
        const message = LINES.read(at, ctx) as Message
        if (ctx.from === 'server') return message
        moments.push(ctx.moment)
        return moments.length < 3 ? null : { ...message, since: moments[0]!, size: 42 }
      },
    }
    const d = new Dialogue().open()
    for (const part of ['?a\n', '?b\n', '?c\n']) {
      d.ask(part)
      d.wait(1000)
    }
    d.tell('!c\n')
    const [item] = read(d, [parts]).items
    assert.deepEqual([item!.requestSize, Math.round(item!.elapsedTime! / 1000)], [42, 3])
  })

  it('may end together', () => {
    const twins = {
      ...LINES,
      read: (at: Cursor, ctx: Context<State>) => {
        const message = LINES.read(at, ctx) as Message
        return message.kind === 'event' ? [message, message] : message
      },
    }
    const d = new Dialogue().open()
    d.ask('-a\n')
    d.tell('*b\n')
    assert.deepEqual(said(d, [twins]), ['-a null', '*b line 2', '*b line 2'])
  })

  function asGuest(message: Message): Message {
    return (message.body as Json).say.startsWith('guest', 1) ? { ...message, as: GUEST } : message
  }
})

describe('a protocol that keeps messages in its state', () => {
  interface Kept {
    words: string[]
    moment: Moment | null
    lost: string[]
  }

  /**
   * Beside the keyed lines: &words stay in the state until its end, 0words says that no answer will come, @words is an
   * answer that ended when the last words came to stay, #words an answer behind which `second` answers once more.
   */
  const KEEPER: Dissector<Kept> = {
    ...(KEYED as unknown as Dissector<Kept>),
    open: () => ({ words: [], moment: null, lost: [] }),
    lost: (state, from) => ({ ...state, lost: [...state.lost, from] }),
    weight: ({ words }) => words.join('').length,
    close: ({ state }, why) => {
      const told = state.words.map(say => `${say} ${why} ${state.lost.join()}`.trim())
      state.words = []
      return told.map((say): Message => ({ kind: 'event', body: { say } }))
    },
    read(at, ctx) {
      const { position } = at
      const line = at.text(at.lineEnd(1_000_000) + 1 - position).trimEnd()
      const answer: Message = { kind: 'response', body: { say: line }, key: line[1]! }
      switch (line[0]) {
        case '&':
          ctx.state.words.push(line)
          ctx.state.moment = ctx.moment
          return null
        case '0':
          return { ...answer, body: null, failed: true, error: { type: 'connection', msg: line } }
        case '@':
          return { ...answer, until: ctx.state.moment! }
        case '#':
          return { ...answer, becomes: 'second', again: 'z' }
      }
      at.position = position
      return KEYED.read(at, ctx as never)
    },
  }
  const SECOND: Dissector<State> = { ...KEYED, name: 'second', probe: () => false }
  const tell = (d: Dialogue, lost: readonly Packet[] = []) => read(d, [KEEPER, SECOND] as never, lost).items.map(line)

  it('says at the end what it still holds, before those who wait hear that it is over', () => {
    const d = new Dialogue().open()
    d.ask('?a\n&x\n')
    assert.deepEqual(tell(d), ['&x capture-ended', '?a null pair-not-found'])
  })

  it('is told whose bytes were lost, and keeps the rest', () => {
    const d = new Dialogue().open()
    d.ask('?a\n&x\n')
    d.tell('&y\n')
    const lost = d.tell('!b\n')
    d.tell('!a\n')
    d.ask('?c\n')
    d.tell('!c\n')
    assert.deepEqual(tell(d, [lost]), ['?a !a', '?c !c', '&x capture-ended server', '&y capture-ended server'])
  })

  it('counts what it keeps among what is held', () => {
    const d = new Dialogue().open()
    d.ask('?a\n')
    const bytes = (words: string) => {
      const settings = { protocols: only(KEEPER), worker: 'test', node: null, keepBodies: 0 }
      const pipeline = new Pipeline(settings, () => {})
      for (const packet of [...d.packets, d.ask(words)]) pipeline.packet(packet)
      d.packets.pop()
      d.client.next -= words.length
      return pipeline.held
    }
    assert.equal(bytes('&1234567\n') - bytes('&\n'), 7)
  })

  it('may know that no answer will come', () => {
    const d = new Dialogue().open()
    d.ask('?a\n?b\n')
    d.tell('0a\n0x\n!b\n')
    assert.deepEqual(tell(d), ['?a null failed connection', '?b !b'])
  })

  it('may tell an answer later than it ended', () => {
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.tell('&ended\n')
    d.wait(100)
    d.tell('@a\n')
    const [item] = read(d, [KEEPER] as never).items
    assert.equal(item!.elapsedTime, 1)
  })

  it('may hand the request on that another protocol answers once more', () => {
    const d = new Dialogue().open()
    d.ask('?a\n')
    d.tell('#a\n!z\n')
    assert.deepEqual(tell(d), ['?a #a', '?a !z'])
  })
})

it('finds a message in mid-stream behind bytes of which another protocol wants to see more', () => {
  const greedy = { ...OTHER, priority: -1, ports: [80], probe: (at: Cursor) => at.need(5000) as never }
  const d = new Dialogue()
  d.ask('the end of something\n')
  d.ask('?a\n')
  d.tell('!a\n')
  assert.deepEqual(said(d, [greedy, LINES]), ['?a !a'])
})

it('passes over what is encrypted from the next byte on, by that cause', () => {
  const d = new Dialogue().open()
  d.ask('?a\n')
  d.tell('=encrypted\nxyz')
  d.ask('12345')
  const { tally } = read(d)
  assert.deepEqual([...tally.skipped], [['encrypted', 8]])
})

it('reads a protocol that begins within what nobody knows, if it says with which two bytes', () => {
  const d = new Dialogue().open()
  d.ask('HELLO\n')
  d.tell('GO ON\n')
  d.ask('?other\n')
  d.ask('?a\n')
  d.tell('!a\n')
  d.ask('?b\n')
  assert.deepEqual(said(d, [LINES]), [])
  const opening = [63, 97] as const
  assert.deepEqual(said(d, [{ ...LINES, opening }]), ['?a !a', '?b null pair-not-found'])
  const { tally } = read(d, [{ ...LINES, opening }] as never)
  assert.deepEqual([...tally.skipped], [['unknown protocol', 6 + 6 + 7]])
})

it('passes over what it held of the other side, and makes no item of a message that is nothing', () => {
  const d = new Dialogue().open()
  d.ask('?half a line')
  d.tell('~encrypted\nxyz')
  const { items, tally } = read(d)
  assert.deepEqual(items, [])
  assert.deepEqual([...tally.skipped], [['encrypted', 15]])
})

/** Twelve requests, some sent before the answer to the one before; an answer takes less than a second. */
function talk(random: () => number): Dialogue {
  const d = new Dialogue().open()
  const names = [...'abcdefghijkl']
  for (const waiting: string[] = []; names.length + waiting.length > 0; ) {
    if (names.length > 0 && (waiting.length === 0 || random() % 3 === 0)) {
      const name = names.shift()!
      waiting.push(name)
      d.ask(`?${name}\n`)
    } else d.tell(`!${waiting.shift()}\n`)
    if (random() % 6 === 0) d.wait(random() % (waiting.length > 0 ? 100 : 3000))
  }
  return d
}

function sendLong(d: Dialogue, text: string): void {
  for (let i = 0; i < text.length; i += 60_000) d.ask(text.slice(i, i + 60_000))
}

function read(d: Dialogue, dissectors: readonly Dissector[] = [LINES] as never, lost: readonly Packet[] = []) {
  return dissect(
    d.packets.filter(packet => !lost.includes(packet)),
    only(...(dissectors as never[])),
    0,
  )
}

function said(d: Dialogue, dissectors: readonly Dissector<State>[] = [LINES], lost: readonly Packet[] = []): string[] {
  return read(d, dissectors as never, lost).items.map(line)
}

/** `?a !a`, and what is wrong with it. */
function line({ request, response, event, error, failed }: ReturnType<typeof read>['items'][number]): string {
  if (event !== null) return event.say
  const parts = [request?.say ?? 'null', response?.say ?? 'null']
  if (failed) parts.push('failed')
  if (error !== null) parts.push(error.type)
  return parts.join(' ')
}
