import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { hookline, SHOP_PCAP } from './testing/hookline.ts'
import { ringOf } from './testing/ring.ts'

describe('snapshot', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-snapshot-'))
  const rings = ['node-a', 'node-b'].map(name => join(folder, name, 'ring'))
  const words = rings.flatMap(ring => ['--ring', ring])
  let count = 0
  before(async () => {
    for (const [i, ring] of rings.entries()) count += ringOf(ring, SHOP_PCAP, n => n % 2 === i)
  })
  after(() => rmSync(folder, { recursive: true }))

  const snapshot = (...more: string[]) => hookline(folder, ['snapshot', ...words, ...more])

  async function unpack(path: string): Promise<Map<string, Buffer>> {
    const files = new Map<string, Buffer>()
    const archive = extract()
    archive.end(gunzipSync(readFileSync(path)))
    for await (const entry of archive) files.set(entry.header.name, await buffer(Readable.from(entry)))
    return files
  }

  it('holds the packets and names of each worker, and a manifest that is true', async () => {
    const path = join(folder, 'all.tar.gz')
    const { code, stderr } = await snapshot('--dest', path)
    assert.equal(code, 0)
    assert.match(stderr, /^[\d ]+ packets of 2 workers -> .*all\.tar\.gz\n$/)
    assert.equal(statSync(path).mode & 0o777, 0o400)
    const files = await unpack(path)
    assert.deepEqual(
      [...files.keys()],
      ['node-a/packets.pcapng', 'node-a/names.json', 'node-b/packets.pcapng', 'node-b/names.json', 'manifest.json'],
    )
    const manifest = JSON.parse(files.get('manifest.json')!.toString())
    assert.equal(manifest.packets, count)
    for (const worker of manifest.workers)
      for (const { path, bytes, sha256 } of worker.files) {
        assert.equal(files.get(path)!.length, bytes)
        assert.equal(createHash('sha256').update(files.get(path)!).digest('hex'), sha256)
      }
  })

  it('is named by its time in a folder', async () => {
    const into = mkdtempSync(join(folder, 'into-'))
    assert.equal((await snapshot('--dest', into)).code, 0)
    assert.match(readdirSync(into).join(), /^hookline-\d{8}T\d{6}Z\.tar\.gz$/)
  })

  it('is opened again, and says what the rings said', async () => {
    const path = join(folder, 'again.tar.gz')
    await snapshot('--dest', path)
    const [again, before] = await Promise.all(
      [path, SHOP_PCAP].map(pcap => hookline(folder, ['run', '--json', '--pcap', pcap])),
    )
    const found = (text: string) => text.trim().split('\n').length
    assert.equal(found(again!.stdout), found(before!.stdout))
    assert.equal(again!.stderr.split('\n').at(-2), before!.stderr.split('\n').at(-2))
  })

  it('never writes over a file, and leaves none behind when it fails', async () => {
    const path = join(folder, 'there.tar.gz')
    writeFileSync(path, 'mine')
    const { code, stderr } = await snapshot('--dest', path)
    assert.equal(code, 2)
    assert.match(stderr, /^hookline: expected a new file for the snapshot/)
    assert.equal(readFileSync(path, 'utf8'), 'mine')
    const nowhere = await snapshot('--dest', join(folder, 'none', 'x.tar.gz'))
    assert.equal(nowhere.code, 2)
    assert.match(nowhere.stderr, /no such folder/)
  })
})
