import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Packet } from '../core/packet.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { ACK, CLIENT, Dialogue, type End, FIN, packetOf, RST, SERVER, udp } from '../core/testing/packets.ts'
import {
  checkOneServer,
  type Plan,
  type Played,
  packetsFeed,
  Replay,
  type ReplaySettings,
  readPlan,
  ringFeed,
  type Selection,
} from './replay.ts'
import { openCapture } from './sources/file.ts'
import { fillRing } from './testing/filled-ring.ts'
import { mirrorTcp, mirrorUdp, readTapes } from './testing/mirror.ts'

const FIXTURES = fileURLToPath(new URL('../core/fixtures/', import.meta.url))
const NEVER = () => false
const EVERYTHING: Selection = { streams: null, item: null, servers: null, protocols: null }
const SETTINGS: Omit<ReplaySettings, 'port'> = {
  host: '127.0.0.1',
  rate: 'max',
  count: 1,
  concurrency: 256,
  timeout: 2000,
  headers: [],
  ignore: [],
  strict: false,
}

describe('replay', () => {
  let protocols: Protocols
  const opened: { close(): void }[] = []
  before(async () => {
    protocols = await loadProtocols()
  })
  afterEach(() => {
    for (const one of opened.splice(0)) one.close()
  })

  // ── recordings and servers ──────────────────────────────────────────────────────────────────────────────────────

  function record(packets: readonly Packet[], selection: Partial<Selection> = {}): Promise<Plan> {
    const sorted = [...packets].sort((a, b) => a.seconds - b.seconds || a.nanoseconds - b.nanoseconds)
    let at = -1
    const source = { load: async () => at++ < 0, next: () => sorted[at++] ?? null }
    return readPlan(packetsFeed(source, NEVER), protocols, { ...EVERYTHING, ...selection })
  }

  async function recordFile(path: string, selection: Partial<Selection> = {}): Promise<Plan> {
    return readPlan(packetsFeed(await openCapture(path), NEVER), protocols, { ...EVERYTHING, ...selection })
  }

  async function listen(server: Server): Promise<number> {
    const sockets = new Set<Socket>()
    server.on('connection', socket => {
      sockets.add(socket)
      socket.on('error', () => {})
    })
    opened.push({
      close() {
        server.close()
        for (const socket of sockets) socket.destroy()
      },
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  const http = (listener: RequestListener) => listen(createHttp(listener))
  const tcp = (listener: (socket: Socket) => void) => listen(createServer({ allowHalfOpen: true }, listener))

  async function run(plan: Plan, settings: Partial<ReplaySettings> & { port: number }) {
    const played: Played[] = []
    const replay = new Replay(plan, { ...SETTINGS, ...settings }, protocols, one => played.push(one))
    await replay.run()
    return { played, counts: replay.counts, verdicts: played.map(verdictOf) }
  }

  /** One keep-alive connection: each request with its answer. */
  function exchanges(...pairs: readonly [request: string, answer: string][]): Dialogue {
    const dialogue = new Dialogue().open()
    for (const [request, answer] of pairs) {
      dialogue.ask(request)
      dialogue.tell(answer)
    }
    return dialogue.close()
  }

  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`
  const ok = (body: string, more = '') => `HTTP/1.1 200 OK\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`

  // ── the law ─────────────────────────────────────────────────────────────────────────────────────────────────────

  describe('against a server that answers as recorded', () => {
    /** Where the capture lacks bytes of the server, nobody can answer as recorded. */
    const LACKING = ['http/gap-in-body.pcap']

    for (const folder of [
      'dns',
      'http',
      'http2',
      'memcached',
      'mysql',
      'nats',
      'postgresql',
      'redis',
      'tcp',
      'udp',
      'ws',
    ])
      it(`finds every stream of ${folder} equal, and sends exactly what its client sent`, async () => {
        for (const name of readdirSync(FIXTURES + folder).filter(name => /\.pcap(ng)?$/.test(name))) {
          const path = `${FIXTURES}${folder}/${name}`
          if (LACKING.includes(`${folder}/${name}`)) continue
          const tapes = await readTapes(path, protocols)
          for (const transport of ['tcp', 'udp'] as const) {
            const plan = await recordFile(path)
            plan.streams = plan.streams.filter(stream => stream.transport === transport)
            if (plan.streams.length === 0) continue
            const recorded = plan.streams.map(stream => tapes.get(stream.name)!)
            const mirror = await (transport === 'tcp' ? mirrorTcp : mirrorUdp)(recorded)
            const { played, counts } = await run(plan, { port: mirror.port, concurrency: 1, strict: true })
            const bad = played.filter(({ verdict }) => !['equal', 'not compared'].includes(verdict.kind))
            assert.deepEqual(bad.map(verdictOf), [], `${folder}/${name}`)
            assert.equal(counts.broken.size, 0)
            for (const [i, { sends }] of plan.streams.entries()) {
              const said = Buffer.concat(sends.map(({ bytes }) => bytes))
              // A last datagram that nobody answers is still under way.
              while ((mirror.heard[i]?.length ?? 0) < said.length) await sleep(1)
              assert.deepEqual(mirror.heard[i], said, `${folder}/${name}`)
            }
            await mirror.close()
          }
        }
      })
  })

  // ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────

  it('compares status, headers and body, and leaves out what always differs', async () => {
    const plan = await record(
      exchanges(
        [
          get('/same'),
          ok('{"a":1,"b":[1,2]}', 'Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n'),
        ],
        [get('/other'), ok('{"a":1,"b":[1,2]}', 'Content-Type: application/json\r\nSet-Cookie: s=1\r\n')],
      ).packets,
    )
    const port = await http((request, response) => {
      response.setHeader('Content-Type', 'application/json')
      if (request.url === '/same') response.end('{"b": [1, 2], "a": 1}')
      else {
        response.statusCode = 503
        response.setHeader('X-Cause', 'tired')
        response.end('{"a":1,"b":[1,3]}')
      }
    })
    const { played, counts } = await run(plan, { port })
    assert.equal(played[0]!.verdict.kind, 'equal')
    const [, { verdict }] = played as [Played, Played]
    assert.deepEqual(verdict.kind === 'different' && verdict.differences, [
      { what: 'status', recorded: '200', replayed: '503' },
      { what: 'names of cookies', recorded: 's', replayed: '' },
      { what: 'header x-cause', recorded: null, replayed: 'tired' },
      { what: 'body.b[1]', recorded: '2', replayed: '3' },
    ])
    assert.equal(counts.recorded.count, 2)
    assert.equal(counts.replayed.count, 2)
  })

  it('compares everything when asked to be strict, and nothing that the user leaves out', async () => {
    const plan = await record(exchanges([get('/'), ok('then', 'Date: yesterday\r\nX-A: 1\r\n')]).packets)
    const port = await http((_, response) => {
      response.sendDate = false
      response.setHeader('Date', 'today')
      response.end('now')
    })
    const strict = await run(plan, { port, strict: true, ignore: ['BODY'] })
    const [{ verdict }] = strict.played as [Played]
    const whats = verdict.kind === 'different' ? verdict.differences.map(({ what }) => what) : []
    for (const what of ['header date', 'header x-a', 'header content-length'])
      assert(whats.includes(what), `${what} of ${whats}`)
    assert(!whats.includes('body'))
    assert.deepEqual((await run(plan, { port, ignore: ['body', 'x-a'] })).verdicts, ['equal'])
  })

  it('waits for the answer where the client had it before it went on, and does not where it had not', async () => {
    const waiting = exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')])
    const pipelining = new Dialogue(1000, { client: { ...CLIENT, port: 40_001 } }).open()
    for (const path of ['/1', '/2', '/3']) pipelining.ask(get(path))
    for (const body of ['1', '2', '3']) pipelining.tell(ok(body))
    pipelining.close()
    for (const [dialogue, expected] of [
      [waiting, 1],
      [pipelining, 3],
    ] as const) {
      let most = 0
      const port = await tcp(socket => {
        let asked = 0
        let answered = 0
        socket.on('data', async bytes => {
          asked += bytes.toString().split('GET ').length - 1
          most = Math.max(most, asked - answered)
          await sleep(20)
          for (; answered < asked; answered++) socket.write(ok(String(answered + 1)))
        })
        socket.on('end', () => socket.end())
      })
      const { verdicts } = await run(await record(dialogue.packets), { port })
      assert.deepEqual(verdicts, ['equal', 'equal', 'equal'])
      assert.equal(most, expected)
    }
  })

  it('sets headers, adds those that are not there, and keeps lengths and chunks right', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask('POST /chunked HTTP/1.1\r\nHost: shop\r\nTransfer-Enc')
    dialogue.ask('oding: chunked\r\nauthorization: old\r\nAuthorization: older\r\n\r\n5\r\nhel')
    dialogue.ask('lo\r\n6\r\n world\r\n0\r\n\r\n')
    dialogue.tell(ok('hello world'))
    dialogue.ask('POST /sized HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nh')
    dialogue.ask('ello')
    dialogue.tell(ok('hello'))
    dialogue.ask(get('/a') + get('/b'))
    dialogue.tell(ok(''))
    dialogue.tell(ok(''))
    const seen: (string | undefined)[][] = []
    const port = await http(async (request, response) => {
      const body = Buffer.concat(await request.toArray()).toString()
      seen.push([
        request.url,
        request.headers.host,
        request.headers.authorization,
        request.headers['x-new'] as string,
        body,
      ])
      response.end(body)
    })
    const headers = [
      { name: 'Host', value: 'staging' },
      { name: 'Authorization', value: 'Bearer new' },
      { name: 'X-New', value: 'a=b' },
    ]
    const { verdicts } = await run(await record(dialogue.close().packets), { port, headers })
    assert.deepEqual(verdicts, ['equal', 'equal', 'equal', 'equal'])
    assert.deepEqual(seen, [
      ['/chunked', 'staging', 'Bearer new', 'a=b', 'hello world'],
      ['/sized', 'staging', 'Bearer new', 'a=b', 'hello'],
      ['/a', 'staging', 'Bearer new', 'a=b', ''],
      ['/b', 'staging', 'Bearer new', 'a=b', ''],
    ])
  })

  it('refuses to set what says where a body ends, what is no header, and headers of what is not HTTP', async () => {
    const plan = await record(exchanges([get('/'), ok('')]).packets)
    const replay = (headers: ReplaySettings['headers'], of = plan) =>
      new Replay(of, { ...SETTINGS, port: 1, headers }, protocols, () => {})
    assert.throws(() => replay([{ name: 'Content-Length', value: '3' }]), /says where a body ends/)
    assert.throws(() => replay([{ name: 'A B', value: '' }]), /expected the name of a header/)
    assert.throws(() => replay([{ name: 'A', value: '1\r\nB: 2' }]), /must be one line/)
    const redis = await recordFile(`${FIXTURES}redis/pipeline.pcap`)
    assert.throws(() => replay([{ name: 'A', value: '1' }], redis), /speaks redis/)
  })

  it('opens another connection where the target closes what was recorded as staying open', async () => {
    const plan = await record(exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')]).packets)
    const port = await http((request, response) => {
      response.setHeader('Connection', 'close')
      response.end(request.url!.slice(1))
    })
    const { verdicts, counts } = await run(plan, { port })
    assert.deepEqual(verdicts, ['equal', 'equal', 'equal'])
    assert.equal(counts.reopened, 2)
  })

  it('goes on after pipelined requests that the target did not answer before it closed', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(get('/1') + get('/2'))
    dialogue.tell(ok('1') + ok('2'))
    dialogue.ask(get('/3'))
    dialogue.tell(ok('3'))
    const port = await tcp(socket => {
      socket.once('data', bytes => {
        const [, path] = /\/(\d)/.exec(bytes.toString())!
        socket.end(ok(path!, 'Connection: close\r\n'))
      })
    })
    const began = performance.now()
    const { verdicts } = await run(await record(dialogue.close().packets), { port, timeout: 20_000 })
    assert.deepEqual(verdicts, ['equal', 'missing: the target closed the connection', 'equal'])
    assert(performance.now() - began < 5000)
  })

  it('reads answers that end with their connection', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(get('/'))
    dialogue.tell('HTTP/1.0 200 OK\r\n\r\nall of it')
    dialogue.send(dialogue.server, '', FIN | ACK)
    dialogue.send(dialogue.client, '', FIN | ACK)
    const answer = (text: string) =>
      tcp(socket => {
        socket.once('data', () => socket.end(text))
      })
    const plan = await record(dialogue.packets)
    const whole = await run(plan, { port: await answer('HTTP/1.0 200 OK\r\n\r\nall of it') })
    assert.deepEqual(whole.verdicts, ['equal'])
    const part = await run(plan, { port: await answer('HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nall') })
    assert.match(part.verdicts.join(), /different end: .*the body ends early/)
  })

  it('says the whole of a request that was answered before it had ended', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nhello')
    dialogue.tell(ok('enough'))
    dialogue.ask('world')
    dialogue.ask(get('/2'))
    dialogue.tell(ok('2'))
    const port = await tcp(socket => {
      socket.once('data', () => {
        socket.write(ok('enough'))
        socket.on('data', bytes => {
          if (bytes.includes('GET')) socket.write(ok('2'))
        })
      })
      socket.on('end', () => socket.end())
    })
    assert.deepEqual((await run(await record(dialogue.close().packets), { port })).verdicts, ['equal', 'equal'])
  })

  it('waits for an interim answer, and not for ever', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
    dialogue.tell('HTTP/1.1 100 Continue\r\n\r\n')
    dialogue.ask('body')
    dialogue.tell(ok('body'))
    const plan = await record(dialogue.close().packets)
    for (const interim of ['HTTP/1.1 100 Continue\r\n\r\n', '']) {
      let said = ''
      const port = await tcp(socket => {
        socket.on('data', async bytes => {
          said += bytes
          if (said.endsWith('\r\n\r\n')) {
            await sleep(50)
            assert.doesNotMatch(said, /body$/)
            socket.write(interim)
          } else socket.write(ok('body'))
        })
        socket.on('end', () => socket.end())
      })
      assert.deepEqual((await run(plan, { port })).verdicts, ['equal'])
    }
  })

  it('keeps a connection half open where its client did', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(get('/'))
    dialogue.send(dialogue.client, '', FIN | ACK)
    dialogue.tell(ok('behind the end'))
    dialogue.send(dialogue.server, '', FIN | ACK)
    let ended = false
    const port = await tcp(socket => {
      socket.resume()
      socket.on('end', () => {
        ended = true
        socket.end(ok('behind the end'))
      })
    })
    assert.deepEqual((await run(await record(dialogue.packets), { port })).verdicts, ['equal'])
    assert(ended)
  })

  it('resets where the client did', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(get('/'))
    dialogue.send(dialogue.client, '', RST | ACK)
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    const port = await tcp(socket => {
      socket.resume()
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      socket.on('close', () => resolve(undefined))
    })
    const { verdicts } = await run(await record(dialogue.packets), { port })
    assert.deepEqual(verdicts, ['not compared: no answer was recorded'])
    assert.equal(await promise, 'ECONNRESET')
  })

  it('sends one request alone, also from the middle of a connection whose beginning is missing', async () => {
    const dialogue = exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')])
    const packets = dialogue.packets.slice(4)
    const [name] = (await record(packets)).refused.map(({ name }) => name)
    const paths: (string | undefined)[] = []
    const port = await http((request, response) => {
      paths.push(request.url)
      response.end(request.url!.slice(1))
    })
    assert.deepEqual((await run(await record(packets, { item: `local/${name}-2` }), { port })).verdicts, ['equal'])
    assert.deepEqual(paths, ['/3'])
    await assert.rejects(
      record(packets, { item: `local/${name}-7` }),
      /no request of HTTP\/1, Redis or DNS with the id/,
    )
    await assert.rejects(record(packets, { item: 'seven' }), /expected the id of an item/)
  })

  it('finds in a ring what the index says is wanted, by stream, item and server', async () => {
    const dialogues = [0, 1, 2].map(i => exchangesFrom(42_000 + i, i * 100))
    const packets = dialogues.flatMap(dialogue => dialogue.packets)
    const folder = mkdtempSync(join(tmpdir(), 'hookline-replay-'))
    opened.push({ close: () => rmSync(folder, { recursive: true }) })
    fillRing(folder, packets)
    const names = (await record(packets)).streams.map(({ name }) => name)
    const plan = async (selection: Partial<Selection>) => {
      const all = { ...EVERYTHING, ...selection }
      return (await readPlan(ringFeed(folder, 0n, all, NEVER), protocols, all)).streams
    }
    const found = async (selection: Partial<Selection>) => (await plan(selection)).map(({ name }) => name)
    assert.equal(names.length, 3)
    assert.deepEqual(await found({}), names)
    assert.deepEqual(await found({ streams: [names[2]!, names[0]!] }), [names[0], names[2]])
    assert.deepEqual(await found({ servers: [{ ip: '10.0.0.2', port: 80 }] }), names)
    assert.deepEqual(await found({ servers: [{ ip: null, port: 80 }] }), names)
    assert.deepEqual(await found({ servers: [{ ip: '10.0.0.1', port: 80 }] }), [])
    const [one] = await plan({ item: `any/${names[1]}-0` })
    assert.equal(Buffer.from(one!.sends[0]!.bytes).toString(), get('/'))
    await assert.rejects(plan({ item: 'any/1700000000123456789_5f3a9c01.pcap-0' }), /there is no stream 17/)
  })

  // ── what cannot be said ─────────────────────────────────────────────────────────────────────────────────────────

  it('refuses streams without beginning, with bytes missing or encrypted, and says why', async () => {
    const refused = async (packets: readonly Packet[]) => (await record(packets)).refused.map(({ why }) => why)
    const { packets } = exchanges([get('/1'), ok('1')], [get('/2'), ok('2')])
    assert.deepEqual(await refused(packets.slice(3)), ['its beginning is missing'])
    const raw = exchanges(['\x01\x02\x03', '\x04'], ['\x05\x06', '\x07'], ['\x08', '\x09']).packets
    assert.deepEqual(await refused(raw.toSpliced(5, 1)), ['bytes of the client are missing'])
    const { refused: encrypted } = await recordFile(`${FIXTURES}tlsx/${firstCapture('tlsx')}`)
    assert(encrypted.some(({ why }) => why.startsWith('encrypted')))
  })

  it('says what was said before a gap, up to the last whole request', async () => {
    const dialogue = exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')], [get('/4'), ok('4')])
    const paths: (string | undefined)[] = []
    const port = await http((request, response) => {
      paths.push(request.url)
      response.end(request.url!.slice(1))
    })
    // Without the third request.
    const { verdicts, counts } = await run(await record(dialogue.packets.toSpliced(7, 1)), { port })
    assert.deepEqual(verdicts, ['equal', 'equal'])
    assert.deepEqual(paths, ['/1', '/2'])
    assert.equal(counts.cut, 1)
  })

  it('sends requests whose recorded answers are missing, and compares nothing with them', async () => {
    const dialogue = exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')])
    const port = await http((request, response) => response.end(request.url!.slice(1)))
    const { verdicts } = await run(await record(dialogue.packets.toSpliced(6, 1)), { port })
    assert.deepEqual(verdicts, ['equal', 'not compared: no answer was recorded', 'equal'])
  })

  it('goes on where the recorded client went on, though the answer said that the connection ends', async () => {
    const old = (body: string) => `HTTP/1.0 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const plan = await record(exchanges([get('/1'), old('1')], [get('/2'), old('2')]).packets)
    let connections = 0
    const port = await tcp(socket => {
      connections++
      socket.on('data', bytes => socket.write(old(/\/(\d)/.exec(bytes.toString())![1]!)))
    })
    assert.deepEqual((await run(plan, { port })).verdicts, ['equal', 'equal'])
    assert.equal(connections, 1)
  })

  it('says everything to whose answers were not all of their protocol then either', async () => {
    const plan = await record(
      exchanges([get('/1'), ok('1')], [get('/2'), 'oops\r\n\r\n'], [get('/3'), ok('3')]).packets,
    )
    const paths: string[] = []
    const port = await tcp(socket => {
      socket.on('data', bytes => {
        for (const [, path] of bytes.toString().matchAll(/GET \/(\d)/g)) {
          paths.push(path!)
          socket.write(path === '2' ? 'oops\r\n\r\n' : ok(path!))
        }
      })
    })
    const { verdicts } = await run(plan, { port })
    assert.deepEqual(paths, ['1', '2', '3'])
    assert.ok(!verdicts.some(verdict => /missing|not sent|different/.test(verdict)), `${verdicts}`)
    assert.equal(verdicts[0], 'equal')
  })

  it('gives a target whose answers it does not understand the time to read to the end', async () => {
    const long = `POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1e6)}`
    const dialogue = new Dialogue().open()
    for (let at = 0; at < long.length; at += 50_000) dialogue.ask(long.slice(at, at + 50_000))
    dialogue.tell(ok('1'))
    let heard = 0
    const port = await tcp(socket => {
      socket.write('SSH-2.0-other\r\n')
      socket.on('data', async bytes => {
        heard += bytes.length
        socket.write('more\r\n')
        // It reads slowly.
        socket.pause()
        await sleep(1)
        socket.resume()
      })
    })
    const { verdicts } = await run(await record(dialogue.close().packets), { port })
    assert.deepEqual(verdicts, ['missing: the answer is not of this protocol'])
    while (heard < long.length) await sleep(1)
  })

  it('does not wait for ever for what the capture lacks of a server', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask('\u0001one')
    const lost = dialogue.tell('welcome, it is a fine day\n')
    dialogue.ask('\u0001two')
    const said: string[] = []
    const port = await tcp(socket => socket.on('data', bytes => said.push(bytes.toString())))
    const packets = dialogue.close().packets.filter(packet => packet !== lost)
    const { verdicts } = await run(await record(packets), { port, timeout: 50 })
    assert.equal(said.join(''), '\u0001one\u0001two')
    assert.deepEqual(verdicts, ['not compared: the recorded answer is not whole'])
  })

  it('refuses datagrams to groups, and those that nobody asked for', async () => {
    const group: End = { address: 0xe0000001, port: 9999 }
    const dns = { ...SERVER, port: 53 }
    const answer = Buffer.from('0001818000010001000000000161000001000101c00c000100010000000500040a000001', 'hex')
    const { refused, streams } = await record([
      packetOf(udp(CLIENT, group, 'hello')),
      packetOf(udp({ ...CLIENT, port: 5000 }, { ...SERVER, port: 8125 }, 'count:1|c'), 1),
      packetOf(udp(dns, CLIENT, answer), 2),
    ])
    assert.deepEqual(refused.map(({ why }) => why).sort(), [
      'sent to a group, not to a server',
      'the server spoke first: nobody asked it',
    ])
    assert.deepEqual(
      streams.map(({ protocol, server }) => `${protocol} ${server.port}`),
      ['udp 8125'],
    )
  })

  it('wants one server to be chosen among several', async () => {
    const one = exchanges([get('/1'), ok('1')])
    const other = new Dialogue(1000, { server: { ...SERVER, address: 0x0a000003 } }).open()
    other.ask(get('/1'))
    other.tell(ok('1'))
    const both = [...one.packets, ...other.close().packets]
    const all = await record(both)
    assert.throws(() => checkOneServer(all, false), /2 servers.*http 10\.0\.0\.2:80 \(1\), http 10\.0\.0\.3:80 \(1\)/)
    checkOneServer(all, true)
    checkOneServer(await record(both, { servers: [{ ip: '10.0.0.3', port: null }] }), false)
    assert.equal((await record(both, { servers: [{ ip: null, port: 80 }] })).streams.length, 2)
    assert.equal((await record(both, { protocols: ['redis'] })).streams.length, 0)
    const { name } = all.streams[1]!
    assert.deepEqual(
      (await record(both, { streams: [name] })).streams.map(({ name }) => name),
      [name],
    )
    assert.throws(() => checkOneServer({ streams: [], refused: [] }, false), /nothing to replay/)
  })

  // ── targets that do not do as they should ───────────────────────────────────────────────────────────────────────

  it('says once that the target refuses', async () => {
    const many = [0, 1, 2, 3].map(i => exchangesFrom(40_000 + i, i * 100))
    const port = await http(() => {})
    for (const one of opened.splice(0)) one.close()
    const plan = await record(many.flatMap(({ packets }) => packets))
    const replay = new Replay(plan, { ...SETTINGS, port }, protocols, () => assert.fail('nothing was said'))
    await assert.rejects(replay.run(), { code: 'TARGET_UNREACHABLE', message: /refuses connections/ })
    const datagrams = await recordFile(`${FIXTURES}udp/echo.pcap`)
    await assert.rejects(run(datagrams, { port }), /over UDP: the target refuses connections/)
    await assert.rejects(run(plan, { port, host: 'nobody.invalid' }), /found no address for "nobody.invalid"/)
  })

  function exchangesFrom(port: number, ms: number): Dialogue {
    const dialogue = new Dialogue(ms, { client: { ...CLIENT, port } }).open()
    dialogue.ask(get('/'))
    dialogue.tell(ok(''))
    return dialogue.close()
  }

  it('gives an answer that does not come up after the timeout, and what would have followed it', async () => {
    const plan = await record(exchanges([get('/1'), ok('1')], [get('/2'), ok('2')], [get('/3'), ok('3')]).packets)
    const port = await http((request, response) => {
      if (request.url !== '/2') response.end(request.url!.slice(1))
    })
    const { verdicts } = await run(plan, { port, timeout: 100 })
    assert.deepEqual(verdicts, [
      'equal',
      'missing: no answer within the timeout',
      'not sent: no answer within the timeout',
    ])
  })

  it('tells when the target closes before it has answered', async () => {
    const plan = await record(exchanges([get('/1'), ok('1')]).packets)
    const { verdicts } = await run(plan, { port: await tcp(socket => socket.end()) })
    assert.match(verdicts.join(), /^missing: the target (closed|reset) the connection$/)
  })

  it('sees at once that the target speaks another protocol', async () => {
    const plan = await record(exchanges([get('/1'), ok('1')]).packets)
    const port = await tcp(socket => socket.write('-ERR unknown command\r\n'))
    const began = performance.now()
    const { verdicts } = await run(plan, { port, timeout: 20_000 })
    assert.deepEqual(verdicts, ['missing: the answer is not of this protocol'])
    assert(performance.now() - began < 5000)
  })

  it('cuts everything when it is stopped in the middle', async () => {
    const plan = await record(exchanges([get('/1'), ok('1')], [get('/2'), ok('2')]).packets)
    const { promise, resolve } = Promise.withResolvers<void>()
    const port = await http((request, response) => {
      if (request.url === '/1') response.end('1')
      else resolve()
    })
    const played: Played[] = []
    const replay = new Replay(plan, { ...SETTINGS, port, timeout: 60_000, count: 5 }, protocols, one =>
      played.push(one),
    )
    const done = replay.run()
    await promise
    replay.stop()
    await done
    assert.deepEqual(played.map(verdictOf), ['equal', 'missing: interrupted'])
    assert.equal(replay.counts.rounds, 1)
  })

  // ── other protocols ─────────────────────────────────────────────────────────────────────────────────────────────

  it('tells where bytes part, and goes on behind an answer that is shorter than the recorded one', async () => {
    const raw = exchanges(['\x01\x02', 'one two'], ['\x03', 'three'])
    const answers = async (first: string) => {
      const port = await tcp(socket => {
        socket.on('data', bytes => socket.write(bytes[0] === 1 ? first : 'three'))
        socket.on('end', () => socket.end())
      })
      return (await run(await record(raw.packets), { port })).verdicts
    }
    assert.deepEqual(await answers('one two'), ['equal'])
    assert.deepEqual(await answers('one 2'), ['different byte 4: "twothree" → "2three"'])
    const silent = await tcp(socket => socket.resume().on('end', () => socket.end()))
    const { verdicts } = await run(await record(raw.packets), { port: silent, timeout: 100 })
    assert.deepEqual(verdicts, ['not sent: no answer within the timeout'])
  })

  it('compares datagrams one by one, and does not wait for ever for lost ones', async () => {
    const asked = { ...SERVER, port: 9000 }
    const packets: Packet[] = []
    for (let i = 0; i < 3; i++)
      packets.push(
        packetOf(udp(CLIENT, asked, `ask ${i}`), i * 10),
        packetOf(udp(asked, CLIENT, `tell ${i}`), i * 10 + 5),
      )
    const plan = await record(packets)
    const verdicts = async (answer: (i: string) => string | null) => {
      const socket = createSocket('udp4')
      opened.push(socket)
      socket.on('message', (bytes, { port, address }) => {
        const text = answer(bytes.toString().slice(4))
        if (text !== null) socket.send(text, port, address)
      })
      socket.bind(0, '127.0.0.1')
      await once(socket, 'listening')
      return (await run(plan, { port: socket.address().port, timeout: 100 })).verdicts
    }
    assert.deepEqual(await verdicts(i => `tell ${i}`), ['equal'])
    assert.deepEqual(await verdicts(i => (i === '1' ? 'tell x' : `tell ${i}`)), [
      'different datagram 1, byte 5: "1" → "x"',
    ])
    assert.deepEqual(await verdicts(i => (i === '2' ? null : `tell ${i}`)), ['different datagram 2: "tell 2" → null'])
    // One that is lost costs the timeout, and the others are sent all the same.
    const lost = await verdicts(i => (i === '0' ? null : `tell ${i}`))
    assert.match(lost.join(), /^different datagram 0, byte 5: "0" → "1"; .*datagram 2: "tell 2" → null$/)
    await assert.rejects(
      verdicts(() => null),
      /over UDP: no answer within the timeout/,
    )
  })

  // ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  it('keeps the recorded times, or a multiple of them', async () => {
    const dialogue = new Dialogue().open()
    dialogue.ask(get('/1'))
    dialogue.tell(ok('1'))
    dialogue.wait(300).ask(get('/2'))
    dialogue.tell(ok('2'))
    const plan = await record(dialogue.close().packets)
    const times: number[] = []
    const port = await http((request, response) => {
      times.push(performance.now())
      response.end(request.url!.slice(1))
    })
    for (const [rate, least, most] of [
      [1, 240, 2000],
      [3, 50, 240],
      ['max', 0, 200],
    ] as const) {
      times.length = 0
      assert.deepEqual((await run(plan, { port, rate })).verdicts, ['equal', 'equal'])
      const gap = times[1]! - times[0]!
      assert(gap >= least && gap <= most, `${gap} ms at rate ${rate}`)
    }
  })

  it('has as many connections at a time as were recorded, and never more than allowed', async () => {
    const dialogues = [0, 1, 2].map(i => new Dialogue(i, { client: { ...CLIENT, port: 41_000 + i } }).open())
    for (const dialogue of dialogues) dialogue.ask(get('/'))
    for (const dialogue of dialogues) {
      dialogue.wait(50).tell(ok(''))
      dialogue.close()
    }
    const later = [3, 4].map(i => exchangesFrom(41_000 + i, i * 1000))
    const plan = await record([...dialogues, ...later].flatMap(({ packets }) => packets))
    let most = 0
    let active = 0
    const port = await http(async (_, response) => {
      most = Math.max(most, ++active)
      // Long enough for all that will come meanwhile.
      await sleep(250)
      active--
      response.end()
    })
    for (const [concurrency, expected] of [
      [256, 3],
      [2, 2],
    ] as const) {
      most = 0
      const { verdicts } = await run(plan, { port, concurrency })
      assert.deepEqual(verdicts, Array(5).fill('equal'))
      assert.equal(most, expected)
    }
  })

  it('says everything as often as asked', async () => {
    let asked = 0
    const port = await http((_, response) => {
      asked++
      response.end('1')
    })
    const { counts } = await run(await record(exchanges([get('/1'), ok('1')]).packets), { port, count: 7 })
    assert.equal(asked, 7)
    assert.deepEqual([counts.rounds, counts.streams, counts.equal], [7, 7, 7])
  })
})

function firstCapture(folder: string): string {
  return readdirSync(FIXTURES + folder).find(name => name.endsWith('.pcap'))!
}

/** `different status: 200 → 503`, `missing: interrupted` */
function verdictOf({ verdict }: Played): string {
  if (verdict.kind === 'equal') return 'equal'
  if (verdict.kind !== 'different') return `${verdict.kind}: ${verdict.why}`
  const told = verdict.differences.map(({ what, recorded, replayed }) => `${what}: ${recorded} → ${replayed}`)
  return `different ${told.join('; ')}`
}
