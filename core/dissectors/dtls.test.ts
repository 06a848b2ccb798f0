import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import type { Json } from '../item.ts'
import { contextOf } from '../testing/context.ts'
import { dissect, generator, golden, only, readPackets } from '../testing/golden.ts'
import { probed } from '../testing/talk.ts'
import { dissector, type Session } from './dtls.ts'

const FIXTURES = new URL('../fixtures/dtls/', import.meta.url)

describe('dtls', () => {
  golden('dtls')

  describe('says what OpenSSL printed', () => {
    for (const file of readdirSync(FIXTURES).filter(name => name.endsWith('.truth.txt')))
      it(file.replace('.truth.txt', ''), () => {
        const printed = readFileSync(new URL(file, FIXTURES), 'utf8')
        const items = read(file.replace('.truth.txt', '.pcap'))
        const handshakes = [...printed.matchAll(/^(New|Reused), (.*), Cipher is (.*)$/gm)]
        assert.equal(items.length, handshakes.length)
        for (const [i, [, how, version, cipher]] of handshakes.entries()) {
          const { request, response, failed } = items[i]!
          assert.equal(request!.sni, 'dtls.corpus.test')
          assert.equal(failed, cipher === '(NONE)')
          if (failed) assert.equal(response!.alerts[0].code, Number(/SSL alert number (\d+)/.exec(printed)![1]))
          else {
            assert.equal(response!.version, VERSIONS[version!])
            assert.equal(response!.cipherSuite, SUITES[cipher!])
            assert.equal(response!.resumption, how === 'New' ? 'full' : 'ticket')
          }
          const subject = /^subject=(.*)$/m.exec(printed)?.[1]?.replaceAll(' ', '')
          if (how === 'New' && subject !== undefined) assert.equal(response!.certificates[0].subject, subject)
        }
      })
  })

  it('takes fragments in any order, and repeated', () => {
    const packets = readPackets(new URL('fragments.pcap', FIXTURES))
    const whole = dissect(packets, only(dissector), 0).items[0]!
    const random = generator(3)
    // The fragments of the server's certificate lie in datagrams 6 to 10.
    for (let round = 0; round < 20; round++) {
      const shuffled = packets.toSpliced(6, 4, ...packets.slice(6, 10).sort(() => (random() & 2) - 1), packets[7]!)
      const { items } = dissect(shuffled, only(dissector), 0)
      assert.deepEqual(items[0]!.response!.certificates, whole.response!.certificates)
      assert.equal(items[0]!.error, null)
    }
  })

  it('says that packets are missing, and what it has seen, rather than that there was no more', () => {
    const packets = readPackets(new URL('client-certificate.pcap', FIXTURES))
    const lossy = packets.map((_, lost) => dissect(packets.toSpliced(lost, 1), only(dissector), 0).items[0])
    const partial = lossy.filter(item => item?.error?.msg === 'packets are missing from the capture')
    assert.ok(partial.length > 0)
    for (const item of partial) assert.equal('resumption' in item!.response!, false)
  })

  it('takes nothing for DTLS that only begins like it', () => {
    const random = generator(5)
    for (let i = 0; i < 20_000; i++) {
      const bytes = Uint8Array.from({ length: 120 }, () => random() & 0xff)
      bytes.set([22, 0xfe, 0xfd, 0, 0], 0)
      assert.equal(probe(bytes), false)
    }
  })
})

const VERSIONS: Readonly<Record<string, string>> = { 'TLSv1.2': 'DTLS 1.2', 'TLSv1.0': 'DTLS 1.0' }
const SUITES: Readonly<Record<string, string>> = {
  'ECDHE-ECDSA-AES256-GCM-SHA384': 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
  'ECDHE-ECDSA-AES256-SHA': 'TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA',
}

function read(name: string): Json[] {
  return dissect(readPackets(new URL(name, FIXTURES)), only(dissector), 0).items as unknown as Json[]
}

function probe(bytes: Uint8Array): boolean | 'more' {
  return probed(dissector, bytes, contextOf(undefined as unknown as Session, { transport: 'udp' }))
}
