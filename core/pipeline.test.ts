import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { MAX_CLOSED, MAX_CONNECTIONS } from './connections.ts'
import type { Item } from './item.ts'
import type { Packet } from './packet.ts'
import { Pipeline } from './pipeline.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { dissect, generator, readPackets } from './testing/golden.ts'
import {
  ACK,
  CLIENT,
  Dialogue,
  type End,
  FIN,
  fragments,
  ipv4Packet,
  packetOf,
  RST,
  SERVER,
  SYN,
  tcp,
  udp,
  vxlan,
} from './testing/packets.ts'
import type { Trace } from './trace.ts'

const FIXTURES = new URL('fixtures/', import.meta.url)
const KEEP = 1 << 20
const NOT_FOUND = 'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

let protocols: Protocols

describe('pipeline', () => {
  before(async () => {
    // Connections themselves are tested with their observer.
    protocols = { ...(await loadProtocols()), observers: [] }
  })

  describe('TCP', () => {
    it('reads the same in any order within a window, with everything sent twice, across the wrap', () => {
      const plain = conversation(1000)
      const expected = pairs(plain)
      assert.deepEqual(expected, ['/0 200', '/1 200', '/2 200', '/3 200'])
      const random = generator(4)
      for (const start of [1000, 0xffffffc0, 0x7fffffc0])
        for (let round = 0; round < 30; round++) {
          const packets = conversation(start)
          const twice = packets.flatMap(packet => (random() % 3 === 0 ? [packet, packet] : [packet]))
          for (let i = 3; i + 2 < twice.length; i += 3)
            if (random() % 2 === 0) twice.splice(i, 2, ...twice.slice(i, i + 2).reverse())
          assert.deepEqual(pairs(twice), expected, `round ${round} from ${start}`)
        }
    })

    it('reads what comes with the SYN, once', () => {
      const d = new Dialogue()
      const first = d.client.next
      d.send(d.client, get('/fast'), SYN)
      d.send(d.server, '', SYN | ACK)
      const again = d.stray(d.client, { seq: first + 1, payload: get('/fast') })
      d.tell(OK)
      assert.deepEqual(pairs(d.packets), ['/fast 200'])
      const once = d.packets.filter(packet => packet !== again)
      assert.equal(dissect(once, protocols, KEEP).items[0]!.request!.method, 'GET')
    })

    it('is not led astray by keep-alive probes', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.tell(OK)
      d.stray(d.client, { seq: d.client.next - 1, payload: '\0' })
      d.stray(d.server, { seq: d.server.next - 1 })
      d.ask(get('/2'))
      d.tell(OK)
      assert.deepEqual(pairs(d.packets), ['/1 200', '/2 200'])
    })

    it('reads on from the middle', () => {
      const d = new Dialogue()
      d.tell('the rest of a body')
      d.ask(get('/1'))
      d.tell(OK)
      assert.deepEqual(pairs(d.packets), ['/1 200'])
    })

    it('makes halves of what was captured in one direction', () => {
      const d = new Dialogue().open()
      for (const path of ['/1', '/2']) {
        d.ask(get(path))
        d.tell(OK)
      }
      const only = (port: number) => d.packets.filter(({ bytes }) => bytes[34]! * 256 + bytes[35]! === port)
      assert.deepEqual(pairs(only(CLIENT.port)), ['/1 null', '/2 null'])
      assert.deepEqual(pairs(only(SERVER.port)), ['null 200', 'null 200'])
    })

    it('tells connections between the same ends apart', () => {
      const first = new Dialogue().open()
      first.ask(get('/left'))
      const second = new Dialogue(10, { clientSeq: 70_000, serverSeq: 90_000 }).open()
      second.ask(get('/second'))
      second.tell(NOT_FOUND)
      second.close()
      const third = new Dialogue(30, { clientSeq: 500_000, serverSeq: 10 }).open()
      third.ask(get('/third'))
      third.tell(OK)
      const { items, tally } = dissect([...first.packets, ...second.packets, ...third.packets], protocols, KEEP)
      assert.deepEqual(items.map(line), ['/left null', '/second 404', '/third 200'])
      assert.equal(tally.connections, 3)
      assert.equal(new Set(items.map(({ stream }) => stream)).size, 3)
    })

    it('takes the same SYN again for the same connection', () => {
      const d = new Dialogue().open()
      d.packets.splice(1, 0, d.packets[0]!)
      d.ask(get('/1'))
      d.packets.push(d.packets[0]!, d.packets[2]!)
      d.tell(OK)
      assert.equal(dissect(d.packets, protocols, KEEP).tally.connections, 1)
      assert.deepEqual(pairs(d.packets), ['/1 200'])
    })

    it('does not open a connection anew for what comes late', () => {
      const d = new Dialogue().open()
      const asked = d.ask(get('/1'))
      d.tell(OK)
      d.close()
      const { items, tally } = dissect([...d.packets, asked], protocols, KEEP)
      assert.deepEqual(items.map(line), ['/1 200'])
      assert.deepEqual([tally.connections, tally.skipped.get('sent twice')], [1, get('/1').length])
    })

    it('knows the next connection between the same ends after a minute, also without its SYN', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.tell(OK)
      d.close()
      const next = new Dialogue(1000, { clientSeq: 90_000, serverSeq: 80_000 })
      for (let i = 0; i < 40; i++) {
        next.ask(get(`/${i}`))
        next.tell(OK)
        next.wait(5000)
      }
      const found = pairs([...d.packets, ...next.packets])
      assert.ok(found.length > 20 && found.includes('/39 200'), `${found.length}`)
    })

    it('ends a connection at a reset, whose own text is nobody’s, but not at a stray one', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.stray(d.server, { seq: d.server.next + 0x20000000, flags: RST })
      d.tell(OK)
      d.ask(get('/2'))
      d.send(d.server, 'go away', RST | ACK)
      const { items, tally } = dissect(d.packets, protocols, KEEP)
      assert.deepEqual(items.map(line), ['/1 200', '/2 null'])
      assert.equal(items[1]!.error!.msg, 'reset by the server before the answer')
      assert.equal(tally.skipped.get('in a reset'), 7)
    })

    it('waits with a FIN for what was sent before it', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.tell('HTTP/1.1 200 OK\r\n\r\nab')
      const late = d.tell('cd')
      const fin = d.send(d.server, 'ef', FIN | ACK)
      d.packets.splice(d.packets.indexOf(late), 2, fin, late)
      d.send(d.client, '', FIN | ACK)
      const [item] = dissect(d.packets, protocols, KEEP).items
      assert.deepEqual([item!.response!.content.text, item!.error], ['abcdef', null])
    })

    it('reports what is missing before a FIN, at once', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.tell('HTTP/1.1 200 OK\r\n\r\nab')
      const lost = d.tell('cd')
      d.close()
      const { items, tally } = dissect(
        d.packets.filter(packet => packet !== lost),
        protocols,
        KEEP,
      )
      assert.deepEqual([tally.gaps, tally.missing], [1, 2])
      assert.equal(items[0]!.error!.type, 'dissection')
    })
  })

  describe('UDP', () => {
    const ask = question(7)

    it('counts a second copy within two milliseconds once, and a later one again', () => {
      const end = { address: SERVER.address, port: 53 }
      const frame = udp(CLIENT, end, ask)
      const near = dissect([packetOf(frame, 0), packetOf(frame, 1.9)], protocols, KEEP)
      assert.deepEqual([near.items.length, near.tally.skipped.get('sent twice')], [1, ask.length])
      assert.equal(dissect([packetOf(frame, 0), packetOf(frame, 2.1)], protocols, KEEP).items.length, 2)
      const other = udp(CLIENT, end, question(8))
      assert.equal(dissect([packetOf(frame, 0), packetOf(other, 1)], protocols, KEEP).items.length, 2)
    })

    it('goes on under the same name after an answer, and under another one after ten seconds of silence', () => {
      const server = { address: SERVER.address, port: 53 }
      const exchange = (id: number, milliseconds: number) => [
        packetOf(udp(CLIENT, server, question(id)), milliseconds),
        packetOf(udp(server, CLIENT, answer(id)), milliseconds + 1),
      ]
      const packets = [0, 500, 9000, 20_000].flatMap((milliseconds, i) => exchange(i, milliseconds))
      // A copy of an answer, and a port that is closed when it comes.
      packets.splice(2, 0, packetOf(udp(server, CLIENT, answer(0)), 1.5))
      packets.splice(3, 0, packetOf(unreachable(CLIENT, server, packets[1]!.bytes.subarray(14)), 2))
      const { items, tally } = dissect(packets, protocols, KEEP)
      const dns = items.filter(({ protocol }) => protocol.name === 'dns')
      assert.deepEqual(
        dns.map(({ index, response }) => [index, response?.id]),
        [
          [0, 0],
          [1, 1],
          [2, 2],
          [0, 3],
        ],
      )
      const [first, second, third, fourth] = dns.map(({ stream }) => stream)
      assert.deepEqual([second, third], [first, first])
      assert.notEqual(fourth, first)
      assert.equal(tally.skipped.get('sent twice'), answer(0).length)
      assert.equal(items.find(({ protocol }) => protocol.name === 'icmp')!.event!.stream, first)
      assert.deepEqual([...tally.limits], [])
    })

    it('is told alike whether somebody remembers its flows or not', () => {
      for (const file of readdirSync(new URL('dns/', FIXTURES)).filter(name => /\.pcap(ng)?$/.test(name))) {
        const packets = readPackets(new URL(`dns/${file}`, FIXTURES))
        assert.deepEqual(itemsOf(packets, false), itemsOf(packets, true), file)
      }
    })

    it('does not read a datagram that the capture cut', () => {
      const packet = packetOf(udp(CLIENT, { address: SERVER.address, port: 53 }, ask))
      const { items, tally } = dissect([{ ...packet, end: packet.end - 3 }], protocols, KEEP)
      assert.deepEqual([items.length, tally.missing, tally.skipped.get('message cut short')], [0, 3, ask.length - 3])
    })
  })

  it('misses no byte where a FIN is acknowledged that waited behind a gap of the other side', () => {
    const d = new Dialogue().open()
    d.ask('\u0001one')
    const lost = d.tell('welcome')
    d.ask('\u0001two')
    const packets = d.close().packets.filter(packet => packet !== lost)
    const { tally } = dissect(packets, protocols, KEEP)
    assert.deepEqual([tally.missing, tally.gaps], ['welcome'.length, 1])
  })

  describe('a packet of TCP that the capture cut', () => {
    /** With twelve bytes of options. */
    const optional = (frame: Uint8Array) => {
      const whole = Buffer.concat([frame.subarray(0, 54), Buffer.alloc(12, 1), frame.subarray(54)])
      whole.writeUInt16BE(whole.readUInt16BE(16) + 12, 16)
      whole[46] = 0x80
      return packetOf(whole)
    }
    const ask = get('/1')
    const packet = optional(tcp(CLIENT, SERVER, { seq: 1000, payload: ask }))

    it('within its options is one whose payload is missing', () => {
      for (const kept of [54, 60, 65, 66]) {
        const { tally } = dissect([{ ...packet, end: kept }], protocols, KEEP)
        assert.deepEqual([tally.connections, tally.missing, tally.headers], [1, ask.length, kept], `${kept} bytes`)
        assert.equal(tally.skipped.size, 0)
      }
    })

    it('within its header is none', () => {
      const { tally } = dissect([{ ...packet, end: 53 }], protocols, KEEP)
      assert.deepEqual([tally.connections, tally.missing, tally.skipped.get('unreadable headers')], [0, 0, 19])
    })

    it('and whose header is longer than the packet was, is none', () => {
      const short = { ...packetOf(packet.bytes.slice(0, 60)), end: 60 }
      short.bytes[17] = 46
      const { tally } = dissect([short], protocols, KEEP)
      assert.deepEqual([tally.connections, tally.skipped.get('unreadable headers')], [0, 26])
    })
  })

  describe('fragments', () => {
    it('are one packet, in any order, in a tunnel, around a tunnel, and one in the other', () => {
      const d = new Dialogue().open()
      d.ask(get('/1'))
      d.tell(OK)
      const cut = (frame: Uint8Array) => fragments(frame, 24)
      const ways: Record<string, (frame: Uint8Array) => Uint8Array[]> = {
        plain: cut,
        reversed: frame => cut(frame).reverse(),
        'in a tunnel': frame => cut(frame).map(vxlan),
        'around a tunnel': frame => cut(vxlan(frame)),
        'one in the other': frame => cut(frame).flatMap(inner => fragments(vxlan(inner), 48)),
      }
      for (const [name, way] of Object.entries(ways)) {
        const packets = d.packets.flatMap((packet, i) =>
          way(packet.bytes).map(bytes => packetOf(renumbered(bytes, i), i)),
        )
        assert.ok(packets.length > d.packets.length)
        assert.deepEqual(pairs(packets), ['/1 200'], name)
      }
    })

    it('that lack one are counted', () => {
      const [first, ...rest] = fragments(udp(CLIENT, SERVER, 'x'.repeat(100)), 40)
      const { tally } = dissect(
        rest.map(bytes => packetOf(bytes)),
        protocols,
        KEEP,
      )
      assert.equal(tally.skipped.get('IP fragments not completed'), 108 - 40)
      assert.ok(first)
    })
  })

  describe('limits', () => {
    it('forget the oldest connection when there are too many', () => {
      const pipeline = quiet()
      for (let i = 0; i < MAX_CONNECTIONS + 5; i++)
        pipeline.packet(packetOf(tcp({ address: i, port: 4000 }, SERVER, { seq: 1, flags: SYN })))
      assert.equal(pipeline.tally.limits.get('connections'), 5)
      assert.equal(pipeline.tally.connections, MAX_CONNECTIONS + 5)
    })

    it('forget connections that are silent, and tell what waited in them', () => {
      const items: Item[] = []
      const pipeline = quiet(items)
      const d = new Dialogue().open()
      d.ask(get('/1'))
      for (const packet of d.packets) pipeline.packet(packet)
      pipeline.tick(1_700_000_000 + 1200)
      pipeline.flush()
      assert.equal(items.length, 0)
      pipeline.tick(1_700_000_000 + 1201)
      pipeline.flush()
      assert.deepEqual(items.map(line), ['/1 null'])
      assert.equal(items[0]!.error!.type, 'timeout')
    })

    const unfinished: Record<string, (d: Dialogue) => void> = {
      'heads that do not end': d => {
        d.ask('GET / HTTP/1.1\r\n')
        for (let i = 0; i < 4; i++) d.ask(`X-${i}: ${'x'.repeat(50_000)}\r\n`)
      },
      'bodies that do not end': d => {
        d.ask('POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n')
        for (let i = 0; i < 4; i++) d.ask('x'.repeat(50_000))
      },
      'heads of bodies that do not begin': d => {
        d.ask(`POST / HTTP/1.1\r\nContent-Length: 1000000\r\nX: ${'x'.repeat(50_000)}\r\n\r\n`)
      },
      'segments before their turn': d => {
        d.client.next += 1
        for (let i = 0; i < 4; i++) d.ask('x'.repeat(50_000))
      },
      'requests that nobody answers': d => {
        for (let i = 0; i < 4; i++) d.ask(`POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n${'x'.repeat(50_000)}`)
      },
      'answers whose requests do not end': d => {
        d.ask('POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx')
        d.tell(`HTTP/1.1 417 No\r\nContent-Length: 50000\r\n\r\n${'x'.repeat(50_000)}`)
      },
    }
    for (const [what, talk] of Object.entries(unfinished))
      it(`bound the memory of ${what}, whoever sends them`, () => {
        const pipeline = quiet()
        let most = 0
        for (let port = 1000; port < 4000 && !pipeline.tally.limits.has('buffered bytes'); port++) {
          const d = new Dialogue(port / 10, { client: { ...CLIENT, port } }).open()
          talk(d)
          for (const packet of d.packets) {
            pipeline.packet(packet)
            most = Math.max(most, pipeline.held)
          }
        }
        assert.ok(pipeline.tally.limits.has('buffered bytes'))
        assert.ok(most <= 64 << 20)
        pipeline.finish()
        assert.equal(pipeline.held, 0)
      })
  })

  for (const protocol of readdirSync(FIXTURES, { withFileTypes: true }))
    if (protocol.isDirectory())
      it(`accounts for every byte of damaged ${protocol.name} captures, and throws nothing`, () => {
        const folder = new URL(`${protocol.name}/`, FIXTURES)
        for (const name of readdirSync(folder).filter(file => file.endsWith('.pcap'))) {
          const packets = readPackets(new URL(name, folder)).slice(0, 400)
          const random = generator(packets.length)
          for (let round = 0; round < 6; round++)
            dissect(damaged(packets, random), protocols, random() % 2 === 0 ? 0 : KEEP)
        }
      })

  it('ends with open connections where as many have closed as are kept', () => {
    const items: Item[] = []
    const pipeline = quiet(items)
    const open = 3
    for (let i = 0; i < MAX_CLOSED + open; i++) {
      const d = new Dialogue(0, { client: { address: i, port: 40_000 } }).open()
      d.ask(get(`/${i}`))
      if (i >= open) d.close()
      for (const packet of d.packets) pipeline.packet(packet)
    }
    pipeline.finish()
    assert.equal(new Set(items.map(({ id }) => id)).size, MAX_CLOSED + open)
  })
})

/** Lost, repeated, swapped, cut and overwritten anywhere, headers and times included. */
function damaged(packets: readonly Packet[], random: () => number): Packet[] {
  const some: Packet[] = []
  for (const packet of packets) {
    const bytes = packet.bytes.slice()
    const copy = { ...packet, bytes }
    const what = random() % 16
    if (what === 0) continue
    if (what === 1) some.push(packet)
    if (what === 2) copy.end = random() % (packet.end + 1)
    if (what === 3) copy.seconds = random()
    if (what >= 4 && what < 8 && bytes.length > 0)
      for (let i = random() % 4; i >= 0; i--) bytes[random() % bytes.length] = random() & 0xff
    some.splice(what === 8 ? Math.max(0, some.length - 1 - (random() % 20)) : some.length, 0, copy)
  }
  return some
}

/** Four exchanges, each message in several segments. */
function conversation(start: number): Packet[] {
  const d = new Dialogue(0, { clientSeq: start, serverSeq: start + 0x100 }).open()
  for (let i = 0; i < 4; i++) {
    for (const part of [`GET /${i} HT`, 'TP/1.1\r\nHo', 'st: a\r\n\r\n']) d.ask(part)
    for (const part of ['HTTP/1.1 200 OK\r\nContent-', 'Length: 2\r\n', '\r\nhi']) d.tell(part)
  }
  return d.close().packets
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
}

function pairs(packets: readonly Packet[]): string[] {
  return dissect(packets, protocols, KEEP).items.map(line)
}

function line({ request, response }: Item): string {
  return `${request?.path ?? null} ${response?.status ?? null}`
}

function quiet(items: Item[] = []): Pipeline {
  return new Pipeline({ protocols, worker: 'test', node: null, keepBodies: KEEP }, ({ bytes, length }) => {
    const text = Buffer.from(bytes.subarray(0, length)).toString()
    for (const each of text.split('\n')) if (each !== '') items.push(JSON.parse(each))
  })
}

/** A DNS question for `a.` (RFC 1035, 4.1). */
function question(id: number): Uint8Array {
  return Uint8Array.of(0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1)
}

/** Nobody has that name. */
function answer(id: number): Uint8Array {
  const bytes = question(id)
  bytes[2]! |= 0x80
  bytes[3]! |= 3
  return bytes
}

/** ICMP's word on an IPv4 packet that came to a closed port. */
function unreachable(from: End, to: End, packet: Uint8Array): Uint8Array {
  return ipv4Packet(from, to, 1, Uint8Array.of(3, 3, 0, 0, 0, 0, 0, 0, ...packet.subarray(0, 28)))
}

/** `traced`: somebody remembers connections beside the table. */
function itemsOf(packets: readonly Packet[], traced: boolean): Item[] {
  const items: Item[] = []
  const trace: Trace = { packet() {}, quote() {}, wait() {}, join() {}, item() {}, end() {} }
  const settings = { protocols, worker: 'test', node: null, keepBodies: KEEP, trace: traced ? trace : null }
  const pipeline = new Pipeline(settings, batch => {
    const text = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.length).toString()
    for (const line of text.split('\n')) if (line !== '') items.push(JSON.parse(line))
  })
  for (const packet of packets) pipeline.packet(packet)
  pipeline.finish()
  return items
}

/** Every datagram that is cut has its own identification. */
function renumbered(frame: Uint8Array, identification: number): Uint8Array {
  const copy = frame.slice()
  copy[19] = identification
  return copy
}
