import assert from 'node:assert/strict'
import type { Item } from '../core/item.ts'
import { type Carried, ItemSearch } from '../core/item-packets.ts'
import type { Packet } from '../core/packet.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import type { Tally } from '../core/tally.ts'
import { CLIENT, Dialogue, packetOf, SERVER, udp } from '../core/testing/packets.ts'
import { ScriptHost } from './host.ts'
import type { Limits } from './limits.ts'
import { readScript } from './script.ts'
import { SHORT } from './testing/stage.ts'

const OTHER = { ...CLIENT, port: 40_001 }
const ABOUT = { worker: 'local', node: null, keepBodies: 1 << 20 }

/** length(2) id(2) text(length - 2): a request and the answer with the same id. */
const ECHO = `// Echo
dissector({
  name: 'echo-plus',
  title: 'Echo Plus',
  abbr: 'ECHO+',
  version: '1',
  transports: ['tcp', 'udp'],
  ports: [7007],
  keyed: true,
  open: () => ({ messages: 0 }),
  probe: (at, from, ctx) => at.u8() === 0xec && at.u16() < 5000,
  read(at, ctx) {
    at.skip(1)
    const id = at.u16()
    const text = at.text(at.u16())
    if (text === 'bad') at.fail('a good text')
    ctx.state.messages++
    const kind = ctx.from === 'client' ? 'request' : 'response'
    return { kind, key: id, body: { text, nth: ctx.state.messages }, failed: text.startsWith('!') }
  },
})
`

/** Lines; answers in order. */
const LINES = `// Lines
dissector({
  name: 'lines',
  probe: (at, from) => at.u8() === (from === 'client' ? 0x3f : 0x21),
  read(at, ctx) {
    const line = at.text(at.lineEnd(100) + 1 - at.position).trimEnd()
    return ctx.from === 'client' ? { kind: 'request', body: { line }, memo: line.length } : { kind: 'response', body: { line, of: ctx.awaited } }
  },
})
`

describe('dissectors of scripts', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  it('read what no other knows: pairs, faces, sizes and every byte are as of any protocol', async () => {
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    d.wait(5)
    d.tell(echo(1, 'eno').subarray(0, 4))
    d.ask(echo(2, 'two'))
    d.tell(echo(1, 'eno').subarray(4))
    d.tell(echo(2, '!owt'))
    const { items, tally } = await run({ 'echo.js': ECHO }, d.close().packets)
    assert.deepEqual(
      items.map(({ protocol, request, response, failed }) => [protocol.name, protocol.abbr, request, response, failed]),
      [
        ['echo-plus', 'ECHO+', { text: 'one', nth: 1 }, { text: 'eno', nth: 3 }, false],
        ['echo-plus', 'ECHO+', { text: 'two', nth: 2 }, { text: '!owt', nth: 4 }, true],
      ],
    )
    const [first] = items
    assert.deepEqual([first!.requestSize, first!.responseSize, first!.src.port], [8, 8, String(CLIENT.port)])
    assert.ok(first!.elapsedTime! >= 5)
    assert.equal(tally.headers + tally.parsed, tally.bytes)
    assert.deepEqual([tally.protocols.get('echo-plus')!.pairs, tally.protocols.get('echo-plus')!.failed], [2, 1])
  })

  it('are asked about datagrams', async () => {
    const packets = [packetOf(udp(CLIENT, SERVER, echo(9, 'hi')), 0), packetOf(udp(SERVER, CLIENT, echo(9, 'ih')), 3)]
    const { items } = await run({ 'echo.js': ECHO }, packets)
    assert.deepEqual([items[0]!.request!.text, items[0]!.response!.text, items[0]!.elapsedTime], ['hi', 'ih', 3])
  })

  it('find what was awaited, and share the connections out', async () => {
    const one = new Dialogue(0).open()
    one.ask('?abc\n')
    one.tell('!a\n')
    const other = new Dialogue(0, { client: OTHER }).open()
    other.ask(echo(1, 'x'))
    other.tell(echo(1, 'y'))
    const { items } = await run({ 'echo.js': ECHO, 'lines.js': LINES }, [...one.packets, ...other.packets])
    assert.deepEqual(items.map(({ protocol, response }) => [protocol.name, response]).sort(), [
      ['echo-plus', { text: 'y', nth: 2 }],
      ['lines', { line: '!a', of: 4 }],
    ])
  })

  it('leave known protocols and what nobody knows as they are', async () => {
    const d = new Dialogue(0).open()
    d.ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    d.tell('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    const stranger = new Dialogue(0, { client: OTHER }).open()
    stranger.ask('\x01\x02\x03\x04')
    stranger.tell('\x05\x06')
    const { items, tally } = await run({ 'echo.js': ECHO }, [...d.packets, ...stranger.packets])
    assert.deepEqual(
      items.map(({ protocol }) => protocol.name),
      ['http'],
    )
    assert.deepEqual([...tally.skipped], [['unknown protocol', 6]])
  })

  it('show their items to hooks of all scripts', async () => {
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    d.tell(echo(1, 'eno'))
    const hook = '// Hook\nfunction onItemCaptured(item) { console.log(item.protocol.name, item.request.text) }'
    const { printed } = await run({ 'echo.js': ECHO, 'hook.js': hook }, d.close().packets)
    assert.deepEqual(printed, ['echo-plus one'])
  })

  it('may say that bytes are wrong: what was missing comes back at the next message', async () => {
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    d.tell(echo(1, 'eno'))
    d.ask(echo(2, 'bad'))
    d.wait(3000)
    d.ask(echo(3, 'three'))
    d.tell(echo(3, 'eerht'))
    const { items, tally } = await run({ 'echo.js': ECHO }, d.close().packets)
    assert.deepEqual(
      items.map(({ request }) => request?.text),
      ['one', 'three'],
    )
    assert.equal(tally.skipped.get('malformed'), 8)
    assert.equal(tally.headers + tally.parsed + tally.skippedBytes, tally.bytes)
  })

  it('that throw are reported by name and line, once, and cost only their connection', async () => {
    const broken = "// Broken\ndissector({ name: 'broken', probe: at => at.u8() === 0xec,\n  read() { null.x } })"
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    const { errors, items } = await run({ 'broken.js': broken }, d.packets)
    assert.deepEqual(items, [])
    assert.equal(errors.length, 1)
    assert.match(errors[0]!, /broken\.js:3/)
  })

  it('that spin are cut and set apart; the others read on', async () => {
    const spin = "// Spin\ndissector({ name: 'spin', priority: 1, probe() { for (;;); }, read: () => null })"
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    d.tell(echo(1, 'eno'))
    const { errors, items } = await run({ 'spin.js': spin, 'echo.js': ECHO }, d.close().packets)
    assert.deepEqual(
      items.map(({ request }) => request?.text),
      ['one'],
    )
    assert.match(errors[0]!, /Spin.*probe.*longer than 50 ms/s)
  })

  it('that kill the process lose what they knew, and the run goes on', async () => {
    const killer =
      "// Killer\ndissector({ name: 'killer', probe: () => true, read() { new Array(1e9).fill(0); return null } })"
    const d = new Dialogue().open()
    d.ask(echo(1, 'one'))
    const after = new Dialogue(0, { client: OTHER }).open()
    after.ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    after.tell('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    const { errors, items, tally } = await run({ 'killer.js': killer }, [...d.packets, ...after.packets])
    assert.deepEqual(
      items.map(({ protocol }) => protocol.name),
      ['http'],
    )
    assert.ok(
      errors.some(error => /Killer/.test(error)),
      errors.join('\n'),
    )
    assert.equal(tally.headers + tally.parsed + tally.skippedBytes, tally.bytes)
  }).timeout(20_000)

  it('that are not understood are refused with what was expected', async () => {
    for (const [definition, complaint] of [
      ["{ name: 'Bad Name', probe() {}, read() {} }", /name to be lower-case/],
      ["{ name: 'a', read() {} }", /probe to be a function, found nothing/],
      ["{ name: 'a', probe() {}, read() {}, ports: ['x'] }", /ports to be an array of port numbers, found \["x"\]/],
      ["{ name: 'a', probe() {}, read() {}, transports: ['sctp'] }", /transports to be/],
      ["{ name: 'a', probe() {}, read() {}, color: 'red' }", /color to be like #495057, found "red"/],
    ] as const) {
      const { errors } = await run({ 'a.js': `// A\ndissector(${definition})` }, [])
      assert.match(errors.join('\n'), complaint)
    }
  })

  it('of a script that broke what its definitions pass through are refused', async () => {
    const broken = 'Array.prototype.toJSON = () => [{ name: "a", transports: 7 }]'
    const { errors } = await run({ 'a.js': `// A\ndissector({ name: 'a', probe() {}, read() {} })\n${broken}` }, [])
    assert.match(errors.join('\n'), /expected title to be text of at most 500, found nothing/)
  })

  it('are asked again which packets carried one of their items', async () => {
    const d = new Dialogue().open()
    d.ask(echo(1, 'one').subarray(0, 3))
    d.ask(Buffer.concat([echo(1, 'one').subarray(3), echo(2, 'two')]))
    d.tell(echo(2, 'owt').subarray(0, 4))
    d.ask('')
    d.tell(Buffer.concat([echo(2, 'owt').subarray(4), echo(1, 'eno')]))
    const { packets } = d.close()
    const { items } = await run({ 'echo.js': ECHO }, packets)
    assert.deepEqual(
      items.map(({ request }) => request!.text),
      ['two', 'one'],
    )
    // Three packets are the handshake.
    assert.deepEqual(await carriersOf(items[0]!, packets), [4, 5, 7])
    assert.deepEqual(await carriersOf(items[1]!, packets), [3, 4, 7])
    assert.equal(await carriersOf({ ...items[1]!, index: 7 }, packets), null)
  })

  it('cannot have messages without bytes, or bodies that are none', async () => {
    for (const [read, complaint] of [
      ["() => ({ kind: 'request', body: {} })", null],
      ["at => (at.u8(), { kind: 'question', body: {} })", /expected kind to be one of/],
      ["at => (at.u8(), { kind: 'event', body: 'x' })", /expected body to be an object/],
    ] as const) {
      const d = new Dialogue().open()
      d.ask('zzz')
      const { items, errors } = await run(
        { 'a.js': `// A\ndissector({ name: 'a', probe: () => true, read: ${read} })` },
        d.packets,
      )
      assert.deepEqual(items, [])
      if (complaint !== null) assert.match(errors.join('\n'), complaint)
    }
  })

  /** Numbers of packets, from 0. */
  async function carriersOf({ stream, index }: Item, packets: readonly Packet[]): Promise<readonly number[] | null> {
    let carried: readonly Carried[] | null = null
    const host = await ScriptHost.start({
      scripts: [readScript('echo.js', ECHO)],
      env: {},
      nodeName: 'local',
      console() {},
      failed: error => assert.fail(error),
      send: async () => ({ body: '' }),
      dissection: {
        ...ABOUT,
        protocols: [],
        sought: { stream, index },
        dissected() {},
        found(parts) {
          carried = parts
        },
      },
    })
    const reading = { ...protocols, observers: [] }
    const search = new ItemSearch(stream, index, reading, ABOUT.keepBodies, host.claimant)
    for (const packet of packets) search.packet(packet)
    search.finish()
    await host.drain()
    await host.stop()
    search.tell(carried)
    return search.found?.packets ?? null
  }

  async function run(
    scripts: Record<string, string>,
    packets: readonly Packet[],
    limits: Partial<Limits> = SHORT,
  ): Promise<{ items: Item[]; tally: Tally; errors: string[]; printed: string[] }> {
    const items: Item[] = []
    const errors: string[] = []
    const printed: string[] = []
    let tally: Tally | null = null
    const deliver = (batch: Parameters<ScriptHost['items']>[0]) => {
      const text = Buffer.from(batch.bytes.subarray(0, batch.length)).toString()
      for (const line of text.split('\n')) if (line !== '') items.push(JSON.parse(line))
      void host.items(batch)
    }
    const host: ScriptHost = await ScriptHost.start({
      scripts: Object.entries(scripts).map(([file, code]) => readScript(file, code)),
      env: {},
      limits,
      nodeName: 'local',
      console: line => line.level === 'log' && printed.push(line.text),
      failed: error => errors.push(error.message),
      send: async () => ({ body: '' }),
      dissection: {
        ...ABOUT,
        protocols: protocols.faces.map(({ name }) => name),
        dissected(reclaimed, batch) {
          tally!.reclaim(reclaimed)
          if (batch !== null) deliver(batch)
        },
      },
    })
    const reading = { ...protocols, observers: [] }
    const pipeline = new Pipeline({ ...ABOUT, protocols: reading, claimant: host.claimant }, deliver)
    tally = pipeline.tally
    for (const packet of packets) pipeline.packet(packet)
    pipeline.finish()
    await host.stop()
    return { items, tally, errors, printed }
  }
})

function echo(id: number, text: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(0xec, id >> 8, id, text.length >> 8, text.length), Buffer.from(text)])
}
