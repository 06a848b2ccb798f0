import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Cursor, Malformed } from '../cursor.ts'
import type { Context, Message, Side } from '../dissector.ts'
import type { Json } from '../item.ts'
import type { Written } from '../json-writer.ts'
import { contextOf } from '../testing/context.ts'
import { dissect, generator, golden, only, readPackets } from '../testing/golden.ts'
import { Dialogue } from '../testing/packets.ts'
import { probed } from '../testing/talk.ts'
import { dissector, type Session } from './tlsx.ts'

const FIXTURES = new URL('../fixtures/tlsx/', import.meta.url)

describe('tlsx', () => {
  golden('tlsx')

  describe('recognises', () => {
    const hello = record(22, clientHello())

    it('a hello, on any port, from the client alone', () => {
      assert.equal(probe(hello, 'client'), true)
      // Any record of a handshake may begin in mid-stream: the one behind it tells.
      assert.equal(probe(hello, 'server'), 'more')
      assert.equal(probe(Buffer.concat([hello, Buffer.from('250 OK\r\n')]), 'server'), false)
    })

    it('a hello in records of a byte each', () => {
      const pieces = Buffer.concat([...clientHello()].map(byte => record(22, Uint8Array.of(byte))))
      assert.equal(probe(pieces, 'client'), true)
    })

    it('application data in the middle of a connection: whole, followed by another record, or long and random', () => {
      const random = generator(1)
      const bytes = Uint8Array.from({ length: 4000 }, () => random() & 0xff)
      assert.equal(probe(record(23, bytes), 'client'), true)
      assert.equal(probe(Buffer.concat([record(23, bytes), record(23, bytes).subarray(0, 900)]), 'server'), true)
      assert.equal(probe(record(23, bytes).subarray(0, 1400), 'server'), true)
    })

    it('not text that begins like application data', () => {
      const text = record(23, Buffer.from('all work and no play '.repeat(200)))
      assert.equal(probe(text.subarray(0, 1400), 'client'), false)
    })

    it('neither other versions, nor lengths that no record has', () => {
      assert.equal(probe(Uint8Array.of(22, 3, 9, 0, 50, 1, 0, 0, 46, 3, 3), 'client'), false)
      assert.equal(probe(Uint8Array.of(22, 3, 1, 0xff, 0xff, 1, 0, 0, 46, 3, 3), 'client'), false)
      const long = record(22, Uint8Array.of(1, 9, 0, 46, 3, 3))
      assert.equal(probe(Buffer.concat([long, Buffer.from('250 OK\r\n')]), 'client'), false)
    })

    it('nothing, with certainty, in bytes at random', () => {
      const random = generator(7)
      for (let i = 0; i < 20_000; i++) {
        const bytes = Uint8Array.from({ length: 64 }, () => random() & 0xff)
        bytes[0] = 20 + (i % 4)
        assert.equal(probe(bytes, i % 2 === 0 ? 'client' : 'server'), false)
      }
    })
  })

  describe('a ClientHello', () => {
    it('keeps what was read beside an extension whose length lies, and says which', () => {
      const { body, error } = ask(clientHello({ extensions: [extension(0, Uint8Array.of(9)), extension(35, hex(''))] }))
      assert.deepEqual(body.extensions, ['server_name', 'session_ticket'])
      assert.equal(body.sessionTicket, 0)
      assert.match(error?.msg ?? '', /^extension server_name: /)
    })

    it('has GREASE where it was sent, and fingerprints without it', () => {
      const plain = ask(clientHello({ suites: [0x1301, 0x1302] })).body
      const greased = ask(clientHello({ suites: [0x2a2a, 0x1301, 0x1302] })).body
      assert.deepEqual(greased.cipherSuites, ['GREASE', 'TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384'])
      assert.equal(greased.ja3, plain.ja3)
      assert.equal(greased.ja4, plain.ja4)
    })

    it('is fingerprinted as the specification of JA4 does it', () => {
      const suites = '1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035'
      const types = '001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015'
      const signatures = '0403080404010503080505010806' + '0601'
      const data = new Map([
        [0x10, hex('0003026832')],
        [0x0d, hex(`0010${signatures}`)],
        [0x2b, hex('020304')],
      ])
      const extensions = codes(types).map(type => extension(type, data.get(type) ?? hex('')))
      assert.equal(
        ask(clientHello({ suites: codes(suites), extensions })).body.ja4,
        't13d1516h2_8daaf6152771_e5627efa2ab1',
      )
    })

    it('warns of what is offered: old versions, weak suites', () => {
      assert.deepEqual(ask(clientHello({ version: 0x0301, suites: [0x0005] })).body.warnings, [
        'deprecated-version',
        'weak-cipher-suite',
      ])
      assert.deepEqual(ask(clientHello({ suites: [0x1301, 0x00ff, 0x5600] })).body.warnings, [])
    })

    it('may be one of SSL 2.0', () => {
      const bytes = hex(`802b010300001200000010${'0100800700c0030080060040020080040080'}${'11'.repeat(16)}`)
      assert.equal(probe(bytes, 'client'), true)
      const { body } = told(read(bytes, contextOf(dissector.open!())))
      assert.equal(body.version, 'SSL 3.0')
      assert.equal(body.cipherSuites[0], 'SSL_CK_RC4_128_WITH_MD5')
    })
  })

  describe('a handshake', () => {
    it('is over with the ServerHello in TLS 1.3, and the rest is encrypted', () => {
      const d = new Dialogue().open()
      d.ask(text(record(22, clientHello())))
      d.tell(
        text(
          Buffer.concat([
            record(22, serverHello({ extensions: [extension(43, hex('0304'))] })),
            record(23, hex('00'.repeat(40))),
          ]),
        ),
      )
      d.ask(text(record(23, hex('11'.repeat(100)))))
      const { items, tally } = dissect(d.packets, only(dissector), 0)
      assert.equal(items.length, 1)
      assert.equal(items[0]!.response!.version, 'TLS 1.3')
      assert.equal(items[0]!.protocol.version, '1.3')
      assert.deepEqual([...tally.skipped], [['encrypted', 45 + 105]])
    })

    it('fails with a fatal alert of the client, which says what of the server was seen', () => {
      const d = new Dialogue().open()
      d.ask(text(record(22, clientHello())))
      d.tell(text(record(22, serverHello({}))))
      d.ask(text(record(21, hex('0230'))))
      const { items } = dissect(d.packets, only(dissector), 0)
      assert.equal(items.length, 1)
      const { response, failed, error, responseSize } = items[0]!
      assert.equal(failed, true)
      assert.deepEqual(response!.alerts, [{ from: 'client', level: 'fatal', description: 'unknown_ca', code: 48 }])
      assert.equal(response!.version, 'TLS 1.2')
      assert.equal(responseSize, record(22, serverHello({})).length)
      assert.deepEqual(error, { type: 'connection', msg: 'the client gave up: unknown_ca (alert 48)' })
    })

    it('goes on after a warning', () => {
      const d = new Dialogue().open()
      d.ask(text(record(22, clientHello())))
      d.tell(text(record(21, hex('0170'))))
      d.tell(text(record(22, serverHello({ extensions: [extension(43, hex('0304'))] }))))
      const { items } = dissect(d.packets, only(dissector), 0)
      assert.equal(items[0]!.failed, false)
      assert.equal(items[0]!.response!.alerts[0].description, 'unrecognized_name')
    })

    it('is read where the capture has what the client says last before what the server said', () => {
      const packets = readPackets(new URL('tls12-dhe.pcap', FIXTURES))
      const known = dissect(packets, only(dissector), 0).items[0]!
      // The client's last flight goes before the server's hello.
      const [hello, last] = [13, 17]
      const mixed = [
        ...packets.slice(0, hello),
        packets[last]!,
        ...packets.slice(hello, last),
        ...packets.slice(last + 1),
      ]
      const { items } = dissect(mixed, only(dissector), 0)
      assert.deepEqual(
        items.map(({ response }) => response),
        [known.response],
      )
    })

    it('is not believed to be whole when its messages are longer than any', () => {
      const ctx = contextOf(dissector.open!())
      assert.throws(() => read(record(22, hex('01ffffff0303')), ctx), Malformed)
    })

    it('tells of certificates that were not valid when they were captured', () => {
      const packets = readPackets(new URL('tls12-dhe.pcap', FIXTURES))
      const warnings = (seconds: number) =>
        dissect(
          packets.map(packet => ({ ...packet, seconds: packet.seconds + seconds })),
          only(dissector),
          0,
        ).items[0]!.response!.warnings
      const century = 100 * 365 * 86_400
      assert.deepEqual(warnings(0), ['self-signed-certificate'])
      assert.deepEqual(warnings(-86_400 * 365), ['self-signed-certificate', 'certificate-not-yet-valid'])
      assert.deepEqual(warnings(century), ['self-signed-certificate', 'certificate-expired'])
    })
  })

  it('sums itself up as hello, server name and version', () => {
    const [item] = JSON.parse(readFileSync(new URL('tls13.json', FIXTURES), 'utf8'))
    const { request, response } = item
    const expected = { method: 'ClientHello', summary: 'rsa.corpus.test', status: 'TLS 1.3' }
    assert.deepEqual(dissector.summarize(request, response, null), expected)
    const [refused] = JSON.parse(readFileSync(new URL('refused.json', FIXTURES), 'utf8'))
    assert.equal(dissector.summarize(refused.request, refused.response, null).status, 'handshake_failure')
  })
})

// ── the wire, written down ──────────────────────────────────────────────────────────────────────────────────────────

interface Draft {
  version?: number
  suites?: number[]
  extensions?: Uint8Array[]
}

function clientHello({ version = 0x0303, suites = [0x1301], extensions = [] }: Draft = {}): Uint8Array {
  const list = Buffer.concat(suites.map(u16))
  return message(1, [
    u16(version),
    hex('07'.repeat(32)),
    hex('00'),
    u16(list.length),
    list,
    hex('0100'),
    block(extensions),
  ])
}

function serverHello({ extensions = [] }: Draft): Uint8Array {
  return message(2, [u16(0x0303), hex('09'.repeat(32)), hex('00'), u16(0xc02f), hex('00'), block(extensions)])
}

function block(extensions: Uint8Array[]): Uint8Array {
  const all = Buffer.concat(extensions)
  return extensions.length === 0 ? hex('') : Buffer.concat([u16(all.length), all])
}

function extension(type: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([u16(type), u16(data.length), data])
}

function message(type: number, parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts)
  return Buffer.concat([Uint8Array.of(type, 0, body.length >> 8, body.length & 255), body])
}

function record(type: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(type, 3, 3), u16(body.length), body])
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255)
}

function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}

function codes(list: string): number[] {
  return list.split(',').map(digits => Number.parseInt(digits, 16))
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

// ── asking the dissector ────────────────────────────────────────────────────────────────────────────────────────────

function probe(bytes: Uint8Array, from: Side): boolean | 'more' {
  return probed(dissector, bytes, contextOf(undefined as never, { from }))
}

function read(bytes: Uint8Array, ctx: Context<Session>): Message | null {
  return dissector.read(new Cursor(bytes), ctx) as Message | null
}

function ask(hello: Uint8Array): Message & { body: Json } {
  return told(read(record(22, hello), contextOf(dissector.open!())))
}

/** With the body as what its text says. */
function told(message: Message | null): Message & { body: Json } {
  const { bytes, start, end } = message!.body as Written
  return { ...message!, body: JSON.parse(Buffer.from(bytes).toString('utf8', start, end)) }
}
