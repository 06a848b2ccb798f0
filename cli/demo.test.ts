import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { whyNoWire } from '../worker/wire.ts'
import { wireOptions } from './source.ts'
import { ended, start } from './testing/hookline.ts'

describe('demo', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-demo-test-'))
  after(() => rmSync(folder, { recursive: true }))

  it('plays to its end without a terminal, alerts arriving, and leaves nothing behind', async () => {
    const began = performance.now()
    const { stdout, stderr, code } = await ended(start(folder, ['demo'], { TMPDIR: folder }))
    assert.equal(code, 0, stderr)
    assert.ok(performance.now() - began < 40_000)
    for (const service of ['payment', 'orders', 'web'])
      assert.match(stdout, new RegExp(`^▌ ${service}\\.shop: 5 answers of 5xx within 10 s$`, 'm'))
    assert.match(stdout, /HTTP +503 +POST .*\/api\/charges$/m)
    assert.match(stdout, /^\[Prints the slowest routes\] .*GET web\.shop\/$/m)
    assert.match(stdout, /^deliveries: 3 sent = 3 delivered \+ 0 in the spool \+ 0 dead letters$/m)
    assert.match(stdout, /What to try next/)
    // The summary of scripts, on standard error as what goes wrong in them.
    assert.match(stdout + stderr, /^script "Alerts Slack on bursts of 5xx\.": [\d ]+ items$/m)
    assert.doesNotMatch(stdout + stderr, /^script .* errors?$/m)
    const live = await whyNoWire(wireOptions('lo', ''))
    if (live === null) assert.match(stdout, /^deliveries: 1 sent = 1 delivered/m)
    else assert.ok(stdout.includes(`Left out: ${live}`))
    assert.deepEqual(left(), [])
    assert.deepEqual(readdirSync(folder), [])
  })

  it('ends all that it has begun on Ctrl-C', async () => {
    const demo = start(folder, ['demo'], { TMPDIR: folder })
    const all = ended(demo)
    let shown = ''
    await new Promise<void>(resolve =>
      demo.stdout.on('data', text => {
        shown += text
        if (shown.includes('live on the loopback')) resolve()
      }),
    )
    await pause(1500)
    demo.kill('SIGINT')
    assert.equal((await all).code, 130)
    assert.deepEqual(left(), [])
    assert.deepEqual(readdirSync(folder), [])
  })

  /** Processes of this test that still run: they have inherited its environment. */
  function left(): string[] {
    return readdirSync('/proc')
      .filter(pid => /^\d+$/.test(pid) && environment(pid).includes(`XDG_STATE_HOME=${folder}`))
      .map(pid => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '))
  }
})

function environment(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}
