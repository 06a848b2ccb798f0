import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadIntegrations } from './integration.ts'

describe('integrations', () => {
  it('are what lies in the folder', async () => {
    assert.deepEqual([...(await loadIntegrations()).keys()], ['slack', 'webhook-form', 'webhook'])
  })

  it('are told from their tests and from what they share, and bear the names of their files', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'hookline-integrations-'))
    writeFileSync(join(directory, 'pager.ts'), "export const integration = { name: 'pager' }")
    writeFileSync(join(directory, 'pager.test.ts'), 'throw new Error("a test was loaded")')
    writeFileSync(join(directory, 'wire.ts'), 'export const speed = 1')
    assert.deepEqual([...(await loadIntegrations(directory)).keys()], ['pager'])
    writeFileSync(join(directory, 'mail.ts'), "export const integration = { name: 'male' }")
    await assert.rejects(loadIntegrations(directory), { code: 'INTEGRATION_MISNAMED' })
    rmSync(directory, { recursive: true })
  })
})
