import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import type { Connection, Half } from './connections.ts'
import type { Packet } from './packet.ts'
import type { Request } from './pairing.ts'
import { Pipeline } from './pipeline.ts'
import { loadProtocols, type Protocols } from './registry.ts'
import { readPackets } from './testing/golden.ts'
import { CLIENT, Dialogue, packetOf, SERVER, udp } from './testing/packets.ts'
import type { Witness } from './witness.ts'

const FIXTURES = new URL('./fixtures/', import.meta.url)

describe('witness', () => {
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  /** What each half said, with `.` for each byte that is missing, and what was told of it. */
  class Stenographer implements Witness {
    readonly said = new Map<Half, { text: string; next: number }>()
    readonly told: string[] = []
    readonly requests: { c: Connection; text: string }[] = []

    bytes(_: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
      this.note(half, Buffer.from(bytes.subarray(start, end)).toString('latin1'), half.next)
    }

    datagram(_: Connection, half: Half, bytes: Uint8Array, start: number, end: number): void {
      this.note(half, Buffer.from(bytes.subarray(start, end)).toString('latin1'), 0)
    }

    gap(c: Connection, half: Half, length: number): void {
      this.told.push(`gap of ${length}`)
      if (c.transport === 'tcp') this.note(half, '.'.repeat(length), half.next)
    }

    end(): void {
      this.told.push('end')
    }

    finish(_: Connection, why: string): void {
      this.told.push(`finish: ${why}`)
    }

    item(c: Connection, request: Request | null): void {
      if (request === null || c.transport !== 'tcp') return
      const { text, next } = this.said.get(c.client!)!
      const end = text.length + ((request.end - next) | 0)
      this.requests.push({ c, text: text.slice(end - request.size, end) })
    }

    private note(half: Half, text: string, next: number): void {
      const before = this.said.get(half)?.text ?? ''
      this.said.set(half, { text: before + text, next })
    }
  }

  function hear(packets: readonly Packet[]): Stenographer {
    const witness = new Stenographer()
    const pipeline = new Pipeline({ protocols, worker: 't', node: null, keepBodies: 1 << 20, witness }, () => {})
    for (const packet of packets) pipeline.packet(packet)
    pipeline.finish()
    return witness
  }

  for (const [folder, beginning] of [
    ['http', /^[\r\n]*\S+ \S+ HTTP\/1\.\d\r?\n/],
    ['redis', /^(\*\d+\r\n\$|[A-Za-z"']).*\n$/s],
  ] as const)
    it(`is told where each request of ${folder} lies in what was said`, () => {
      for (const name of readdirSync(new URL(folder, FIXTURES)).filter(name => /\.pcap(ng)?$/.test(name))) {
        const { requests } = hear(readPackets(new URL(`${folder}/${name}`, FIXTURES)))
        const own = requests.filter(({ c }) => c.spoken.length === 0 && c.dissector?.name === folder)
        for (const { text } of own) assert.match(text, beginning, `${name} ${JSON.stringify(text.slice(0, 60))}`)
      }
    })

  it('hears each byte once and in order, gaps, and who ends', () => {
    const dialogue = new Dialogue().open()
    const first = dialogue.ask('GET /1 HTTP/1.1\r\n')
    dialogue.ask('\r\n')
    dialogue.tell('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n')
    const lost = dialogue.tell('ab')
    dialogue.tell('cd')
    dialogue.ask('GET /2 HTTP/1.1\r\n\r\n')
    const { packets } = dialogue.close()
    const swapped = packets.toSpliced(4, 0, first)
    const { said, told, requests } = hear(swapped.filter(packet => packet !== lost))
    assert.deepEqual(
      [...said.values()].map(({ text }) => text),
      ['GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n..cd'],
    )
    assert.deepEqual(
      requests.map(({ text }) => text),
      ['GET /1 HTTP/1.1\r\n\r\n', 'GET /2 HTTP/1.1\r\n\r\n'],
    )
    // Only the end of the capture tells that it does not come any more, and that both had ended behind it.
    assert.deepEqual(told, ['gap of 2', 'end', 'end', 'finish: closed'])
    assert.deepEqual(hear(swapped).told, ['end', 'end', 'finish: closed'])
  })

  it('hears datagrams, and that one was cut', () => {
    const whole = packetOf(udp(CLIENT, SERVER, 'hello'))
    const cut = packetOf(udp(CLIENT, SERVER, 'hello again'), 10)
    const { said, told } = hear([whole, { ...cut, end: cut.end - 6 }])
    assert.deepEqual(
      [...said.values()].map(({ text }) => text),
      ['hello'],
    )
    assert.deepEqual(told, ['gap of 6', 'finish: capture-ended'])
  })
})
