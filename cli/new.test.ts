import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readScript } from '../scripting/script.ts'
import { hookline, SHOP_PCAP } from './testing/hookline.ts'

describe('new script', function () {
  this.timeout(30_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-new-'))
  after(() => rmSync(folder, { recursive: true }))

  for (const [language, ending, flags] of [
    ['JavaScript', '.js', []],
    ['TypeScript', '.ts', ['--typescript']],
  ] as const) {
    it(`writes ${language} that runs as it is`, async () => {
      const made = await hookline(folder, ['new', 'script', join(folder, 'slow-answers'), ...flags])
      assert.equal(made.code, 0, made.stderr)
      const path = join(folder, `slow-answers${ending}`)
      assert.ok(made.stdout.includes(path))
      const { stderr, code } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP])
      assert.equal(code, 0, stderr)
      assert.match(stderr, /^\[Slow answers: .*\] HTTP 10\.244\.2\.23:8080 took \d{3} ms \(slow: 1\)$/m)
    })

    it(`writes a ${language} hook for packets that runs when uncommented`, async () => {
      const path = join(folder, `packets${ending}`)
      await hookline(folder, ['new', 'script', path, ...flags])
      const code = readFileSync(path, 'utf8').replace(/^\/\/ (function onPacket|\}| {2})/gm, '$1')
      assert.deepEqual(readScript(path, code).unserved, [])
      assert.match(readScript(path, code).code, /^function onPacketCaptured\(/m)
    })
  }

  it('points the editor to the types', async () => {
    const path = join(folder, 'typed.ts')
    await hookline(folder, ['new', 'script', path, '--typescript'])
    const reference = /<reference path="(.*)" \/>/.exec(readFileSync(path, 'utf8'))![1]!
    assert.match(readFileSync(join(folder, reference), 'utf8'), /onItemCaptured|interface Item/)
  })
})
