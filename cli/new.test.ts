import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Delivery } from '../integrations/delivery.ts'
import { readScript } from '../scripting/script.ts'
import { HOME, hookline, SHOP_PCAP } from './testing/hookline.ts'

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
      // It sends nothing: vendor is in its comments alone. So it need not have the spool for itself.
      const spool = join(folder, 'in-use')
      const other = Delivery.open(spool, { integrations: new Map() })
      const { stderr, code } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP, '--spool', spool])
      await other.close()
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

  it('points the editor to types that it agrees with', async () => {
    for (const flags of [[], ['--typescript']])
      await hookline(folder, ['new', 'script', join(folder, 'typed'), ...flags])
    for (const file of ['typed.js', 'typed.ts']) {
      const words = [
        '--noEmit',
        '--strict',
        '--checkJs',
        '--target',
        'es2023',
        '--lib',
        'es2023',
        '--module',
        'nodenext',
      ]
      const checked = spawnSync(`${HOME}node_modules/.bin/tsc`, [...words, '--types', '', join(folder, file)], {
        encoding: 'utf8',
        cwd: folder,
      })
      assert.equal(checked.stdout, '')
      assert.equal(checked.status, 0)
    }
    const wrong = join(folder, 'typed.ts')
    writeFileSync(wrong, readFileSync(wrong, 'utf8').replace('data.elapsedTime ===', 'data.elapsed ==='))
    const { stdout } = spawnSync(`${HOME}node_modules/.bin/tsc`, ['--noEmit', '--strict', '--types', '', wrong], {
      encoding: 'utf8',
      cwd: folder,
    })
    assert.match(stdout, /'elapsed' does not exist/)
  })
  it('says how to try it in words that a shell reads so, whatever the name', async () => {
    const odd = join(folder, 'odd')
    mkdirSync(odd)
    for (const name of ['we ird.js', '-x.js', "it's", '$(touch evil)', 'v1.2']) {
      const made = run(odd, 'new', 'script', '--', name)
      assert.equal(made.status, 0, made.stderr)
      const words = /Try it: (.*)\n$/.exec(made.stdout)![1]!
      const tried = spawnSync('sh', ['-c', `${words} --quiet`], { cwd: odd, encoding: 'utf8' })
      assert.equal(tried.status, 0, `${words}: ${tried.stderr}`)
    }
    assert.deepEqual(readdirSync(odd).sort(), ['$(touch evil).js', '-x.js', "it's.js", 'v1.2.js', 'we ird.js'])
  })

  it('refuses a name that is none, or is that of something else', () => {
    const bare = join(folder, 'bare')
    mkdirSync(bare)
    for (const name of ['.', '..', './', 'x/', '', '.js', '../x.py', 'x.mjs', 'x.ts']) {
      const { stderr, status } = run(bare, 'new', 'script', name)
      assert.equal(stderr, `hookline: expected a name that ends in .js, or in nothing, found "${name}"\n`)
      assert.equal(status, 2)
    }
    assert.deepEqual(readdirSync(bare), [])
    assert.ok(!existsSync(join(folder, 'x.py.js')))
  })

  it('leaves nothing behind where it cannot be written whole', () => {
    // No file may grow: what a full disk does, for whoever has no disk to fill.
    const script = 'ulimit -f 0; exec "$0" new script full'
    const { stderr, status } = spawnSync('sh', ['-c', script, `${HOME}hookline`], { cwd: folder, encoding: 'utf8' })
    assert.match(stderr, /^hookline: expected to write full\.js, found EFBIG[^\n]*\n$/)
    assert.equal(status, 2)
    assert.ok(!existsSync(join(folder, 'full.js')))
  })

  function run(cwd: string, ...words: string[]) {
    return spawnSync(`${HOME}hookline`, words, { cwd, encoding: 'utf8' })
  }
})
