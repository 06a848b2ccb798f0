import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Item } from '../core/item.ts'
import { packetsIn } from '../core/testing/golden.ts'
import { fillRing } from '../worker/testing/filled-ring.ts'
import { hookline, SHOP_PCAP } from './testing/hookline.ts'

const TLS = fileURLToPath(new URL('../core/fixtures/tlsx/', import.meta.url))

describe('pcapdump with a key log, in the eyes of Wireshark', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-keys-'))
  const [ring, keylog, path] = ['ring', 'keys.txt', 'out.pcapng'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  after(() => rmSync(folder, { recursive: true }))
  before(function () {
    if (spawnSync('tshark', ['--version']).error) this.skip()
    fillRing(ring, [...packetsIn(readFileSync(`${TLS}http2.pcap`)), ...packetsIn(readFileSync(SHOP_PCAP))])
    const own = readFileSync(`${TLS}http2.keylog`, 'utf8')
    writeFileSync(keylog, `CLIENT_RANDOM ${'ab'.repeat(32)} ${'cd'.repeat(48)}\n${own}`)
  })

  /** What its HTTP/2 says, as tshark reads it without being told of keys. */
  function read(file: string): string {
    const words = [
      '-r',
      file,
      '-Y',
      'tls && http2',
      '-T',
      'fields',
      '-e',
      'http2.headers.path',
      '-e',
      'http2.headers.status',
    ]
    const { stdout, stderr, status } = spawnSync('tshark', words, { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    return stdout.trim()
  }

  it('writes what decrypts the packets, and no other key', async () => {
    const before = await hookline(folder, ['pcapdump', '--ring', ring, '--dest', path])
    assert.equal(before.code, 0)
    assert.equal(read(path), '')
    for (const chosen of [[], ['--stream', await streamName()]]) {
      const { code, stderr } = await hookline(folder, [
        'pcapdump',
        '--ring',
        ring,
        '--dest',
        path,
        '--keylog',
        keylog,
        ...chosen,
      ])
      assert.equal(code, 0, stderr)
      assert.match(stderr, /^with the keys of 1 of 1 TLS handshake: /m)
      assert.match(read(path), /\/graphql/)
      assert.ok(!readFileSync(path).includes('ab'.repeat(32)))
    }
    const { stderr } = await hookline(folder, [
      'pcapdump',
      '--ring',
      ring,
      '--dest',
      path,
      '--keylog',
      keylog,
      '--filter',
      'udp',
    ])
    assert.match(stderr, /^no key of the key log belongs to a handshake in these packets: none was written$/m)
  })

  it('says where keys have no place', async () => {
    const refused = async (...words: string[]) => {
      const { code, stderr } = await hookline(folder, ['pcapdump', '--ring', ring, '--keylog', keylog, ...words])
      assert.equal(code, 2)
      return stderr
    }
    assert.match(await refused('--dest', join(folder, 'out.pcap')), /a pcap has no place for keys/)
    assert.match(await refused('--item', `local/${await streamName()}-0`), /--keylog needs the handshake/)
  })

  it('writes them into a snapshot, too', async () => {
    const archive = join(folder, 'all.tar.gz')
    const { code, stderr } = await hookline(folder, ['snapshot', '--ring', ring, '--dest', archive, '--keylog', keylog])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /^with the keys of 1 of 1 TLS handshake: /m)
    spawnSync('tar', ['-xzf', archive, '-C', folder])
    const found = spawnSync('sh', ['-c', `ls ${folder}/*/packets.pcapng`], { encoding: 'utf8' }).stdout.trim()
    assert.match(read(found), /\/graphql/)
  })

  async function streamName(): Promise<string> {
    const { stdout } = await hookline(folder, ['run', '--pcap', `${TLS}http2.pcap`, '--json'])
    return (JSON.parse(stdout.split('\n')[0]!) as Item).stream
  }
})
