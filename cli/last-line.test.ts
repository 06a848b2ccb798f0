import assert from 'node:assert/strict'
import { LastLine } from './last-line.ts'
import type { Look } from './terminal.ts'

const TERMINAL: Look = { width: 40, depth: 1 }

describe('the last line of a terminal', () => {
  const { write } = process.stderr
  let written: string[] = []
  beforeEach(() => {
    written = []
    process.stderr.write = ((text: string) => written.push(text) > 0) as typeof write
  })
  afterEach(() => {
    process.stderr.write = write
  })

  async function drawn(text: string): Promise<LastLine> {
    const line = new LastLine(TERMINAL, () => text)
    await new Promise(resolve => setTimeout(resolve, 120))
    line.draw()
    return line
  }

  it('stays below what is written above it', async () => {
    const line = await drawn('half of it')
    line.above(() => written.push('row'))
    line.wipe()
    assert.deepEqual(written, ['\rhalf of it\x1b[K', '\r\x1b[K', 'row', '\rhalf of it\x1b[K', '\r\x1b[K'])
  })

  it('is not there before it was drawn, nor once it was wiped', async () => {
    new LastLine(TERMINAL, () => 'early').above(() => written.push('row'))
    const line = await drawn('late')
    line.wipe()
    line.above(() => written.push('row'))
    assert.deepEqual(written, ['row', '\rlate\x1b[K', '\r\x1b[K', 'row'])
  })

  it('is no wider than the terminal', async () => {
    await drawn('x'.repeat(50))
    assert.deepEqual(written, [`\r${'x'.repeat(39)}\x1b[K`])
  })
})
