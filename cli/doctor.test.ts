import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Finding } from '../worker/diagnosis.ts'
import { hookline } from './testing/hookline.ts'

describe('hookline doctor', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-doctor-'))
  after(() => rmSync(folder, { recursive: true }))

  it('says of everything whether it works', async () => {
    const { stdout, code } = await hookline(folder, ['doctor', '--json'])
    const { works, findings } = JSON.parse(stdout) as { works: boolean; findings: Finding[] }
    const names = findings.map(({ name }) => name)
    for (const name of [
      'node',
      'system',
      'privileges',
      'addon',
      'af_packet',
      'libpcap',
      'capture',
      'sandbox',
      'ring',
      'spool',
    ])
      assert.ok(names.includes(name), name)
    const stateOf = (name: string) => findings.find(finding => finding.name === name)!.state
    assert.equal(stateOf('node'), 'works')
    assert.notEqual(stateOf('sandbox'), 'fails')
    assert.notEqual(stateOf('ring'), 'fails')
    assert.equal(works, stateOf('capture') === 'works')
    assert.equal(code, works ? 0 : 2)
    assert.ok(findings.every(({ says }) => says !== ''))
  })

  it('leaves nothing behind', async () => {
    const ring = join(folder, 'not', 'there', 'yet')
    const { stdout } = await hookline(folder, ['doctor', '--ring', ring])
    assert.match(stdout, /^. ring +\S*not\/there\/yet on .* free/m)
    assert.equal(existsSync(join(folder, 'not')), false)
    assert.deepEqual(
      readdirSync(folder).filter(name => name.includes('doctor')),
      [],
    )
  })

  it('ends with 2 when something is missing that nothing can stand in for', async () => {
    const { stdout, code } = await hookline(folder, ['doctor', '--ring', '/proc/ring'])
    assert.match(stdout, /^✗ ring +\/proc\/ring cannot be written: E/m)
    assert.equal(code, 2)
  })
})
