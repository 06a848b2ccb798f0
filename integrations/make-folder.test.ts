import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeFolder } from './make-folder.ts'

describe('a folder that is made', () => {
  const root = mkdtempSync(join(tmpdir(), 'hookline-folder-'))
  after(() => rmSync(root, { recursive: true, force: true }))

  it('is there, with those above it, and may be there already', () => {
    const path = join(root, 'a', 'b', 'c')
    makeFolder(path)
    makeFolder(path)
    makeFolder(join(root, 'a', 'd/'))
    for (const one of ['a', 'a/b', 'a/b/c', 'a/d']) assert.equal(statSync(join(root, one)).mode & 0o777, 0o700)
  })

  it('is none where a file is, or nothing can be', () => {
    writeFileSync(join(root, 'file'), '')
    assert.throws(() => makeFolder(join(root, 'file')), { code: 'EEXIST' })
    assert.throws(() => makeFolder(join(root, 'file', 'a')), { code: 'ENOTDIR' })
    assert.throws(() => makeFolder('/proc/hookline/ring'), { code: 'ENOENT' })
  })

  it('is none in a working directory that was removed', () => {
    const gone = join(root, 'gone')
    mkdirSync(gone)
    const module = fileURLToPath(new URL('make-folder.ts', import.meta.url))
    const code = `import('${module}').then(({ makeFolder }) => {
      require('fs').rmdirSync('${gone}')
      try { makeFolder('a/b') } catch (error) { console.log(error.code) } })`
    const { stdout } = spawnSync(process.execPath, ['-e', code], { cwd: gone, encoding: 'utf8', timeout: 10_000 })
    assert.equal(stdout, 'ENOENT\n')
  })
})
