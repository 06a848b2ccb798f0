import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { packetsIn } from '../core/testing/golden.ts'
import { ClientRandoms, readKeyLog } from './key-log.ts'

const FIXTURES = fileURLToPath(new URL('../core/fixtures/', import.meta.url))
const KEY_LOG = `${FIXTURES}tlsx/http2.keylog`
const [A, B, C] = ['a', 'b', 'c'].map(digit => digit.repeat(64)) as [string, string, string]

describe('key log', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-keys-'))
  after(() => rmSync(folder, { recursive: true }))
  let protocols: Protocols
  before(async () => {
    protocols = await loadProtocols()
  })

  function handshakesIn(capture: string): ReadonlySet<string> {
    const randoms = new ClientRandoms(protocols)
    for (const packet of packetsIn(readFileSync(`${FIXTURES}${capture}`))) randoms.packet(packet)
    randoms.finish()
    return randoms.found
  }

  function file(text: string): string {
    const path = join(folder, 'keys.txt')
    writeFileSync(path, text)
    return path
  }

  it('has the keys of handshakes of TLS, DTLS and QUIC that were captured', async () => {
    const [keys] = await readKeyLog(KEY_LOG, [handshakesIn('tlsx/http2.pcap')])
    assert.deepEqual(keys, { text: readFileSync(KEY_LOG, 'utf8'), captured: 1, handshakes: 1 })
    for (const capture of ['quic/v1.pcap', 'dtls/cookie.pcap', 'tlsx/tls12-dhe.pcap', 'tlsx/hello-retry-request.pcap'])
      assert.equal(handshakesIn(capture).size, 1, capture)
    assert.equal(handshakesIn('http/pipelined.pcap').size, 0)
  })

  it('gives each capture its own lines, each once, and leaves out what is no key', async () => {
    const lines = [
      '# a comment',
      `CLIENT_RANDOM ${A} 00ff`,
      `CLIENT_RANDOM ${A} 00ff`,
      `SERVER_HANDSHAKE_TRAFFIC_SECRET ${B.toUpperCase()} ab`,
      `CLIENT_RANDOM ${C} 01`,
      `CLIENT_RANDOM ${A} 0`,
      `CLIENT_RANDOM ${A}`,
      `client random ${A} 00`,
      `RSA 0011223344556677 00`,
      `CLIENT_RANDOM ${A} 00${'x'.repeat(3)}`,
    ]
    const found = await readKeyLog(file(lines.join('\r\n')), [new Set([A]), new Set([A, B]), new Set()])
    assert.deepEqual(found, [
      { text: `${lines[1]}\n`, captured: 1, handshakes: 1 },
      { text: `${lines[1]}\n${lines[3]}\n`, captured: 2, handshakes: 2 },
      { text: '', captured: 0, handshakes: 0 },
    ])
  })

  it('says what a file is that is none', async () => {
    await assert.rejects(readKeyLog(file('Dear diary,\n'), []), { code: 'KEYLOG_EMPTY', message: /SSLKEYLOGFILE/ })
    await assert.rejects(readKeyLog(join(folder, 'nope'), []), { code: 'KEYLOG_UNREADABLE', message: /ENOENT/ })
    await assert.rejects(readKeyLog(folder, []), { code: 'KEYLOG_UNREADABLE', message: /EISDIR/ })
  })
})
