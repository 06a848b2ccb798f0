import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Delivery } from '../integrations/delivery.ts'
import { loadIntegrations } from '../integrations/integration.ts'
import { Receiver } from '../integrations/testing/receiver.ts'
import { hookline } from './testing/hookline.ts'

describe('spool', function () {
  this.timeout(30_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-spool-'))
  after(() => rmSync(folder, { recursive: true }))

  it('deliver goes on as long as something is delivered, and gives up when nothing is', async () => {
    const spool = join(folder, 'slow')
    const receiver = await Receiver.open((_, number) =>
      number <= 4 ? { status: 200, afterMs: 500 } : { status: 503, headers: { 'retry-after': '60' } },
    )
    try {
      const before = Delivery.open(spool, { integrations: await loadIntegrations() })
      const order = { integration: 'webhook', script: '', arguments: { method: 'POST', url: receiver.url, body: 'a' } }
      for (let i = 0; i < 5; i++) await before.accept(order)
      await before.close()
      const { stdout, code } = await hookline(folder, ['spool', 'deliver', '--seconds', '1', '--spool', spool])
      assert.match(stdout, /^5 sent = 4 delivered \+ 1 in the spool \+ 0 dead letters$/m)
      assert.equal(code, 4)
    } finally {
      await receiver.close()
    }
  })
})
