import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const PROJECT = fileURLToPath(new URL('../', import.meta.url))
const FLAGS = [
  '--ignoreConfig',
  '--noEmit',
  '--strict',
  '--target',
  'es2023',
  '--lib',
  'es2023',
  '--types',
  '',
  '--allowImportingTsExtensions',
  '--module',
  'nodenext',
]

describe('script.d.ts', function () {
  this.timeout(60_000)
  let folder = ''
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'script-types-'))
  })
  after(() => rm(folder, { recursive: true }))

  async function complaints(code: string): Promise<string> {
    const file = join(folder, 'script.ts')
    await writeFile(file, `/// <reference path="${PROJECT}scripting/script.d.ts" />\n${code}`)
    const done = promisify(execFile)(process.execPath, [`${PROJECT}node_modules/typescript/bin/tsc`, ...FLAGS, file])
    return done.then(
      () => '',
      error => error.stdout || String(error),
    )
  }

  it('knows what a script may use', async () => {
    const code = `
const slow: Item[] = []
async function onItemCaptured(data: Item): Promise<void> {
  if (data.response?.status >= 500 && (data.elapsedTime ?? 0) > 100) slow.push(data)
  console.log(data.src.ip, data.protocol.name, env.TOKEN, utils.nodeName())
  const answer: string = vendor.webhook('POST', 'http://x', data, { A: 1 })
  vendor.slack('http://x', 'a', answer, 'good')
  const path: string = pcap.path(data.stream)
  console.log(path)
  clearTimeout(setTimeout(() => test.pass(data), 10))
}
function onPacketCaptured(info: PacketInfo): boolean { return info.truncated || info.fragmented || info.length > info.captureLength }`
    assert.equal(await complaints(code), '')
  })

  it('knows dissectors', async () => {
    const code = `
dissector<{ messages: number }>({
  name: 'echo',
  open: () => ({ messages: 0 }),
  probe: (at, from, ctx) => from === 'client' && ctx.hinted && at.u16() > 2,
  read(at, ctx) {
    const text: string = at.within(at.u16()).text(2)
    ctx.state.messages++
    return text === '' ? at.fail('a text') : { kind: 'request', body: { text }, key: at.u64() }
  },
})`
    assert.equal(await complaints(code), '')
    assert.match(
      await complaints("dissector({ name: 'a', probe: () => true, read: () => ({ kind: 'x', body: {} }) })"),
      /"x"/,
    )
  })

  it('knows what is wrong', async () => {
    assert.match(await complaints('function f(data: Item) { return data.elapsedTme }'), /elapsedTme/)
    assert.match(await complaints("vendor.slack('http://x')"), /Expected 4 arguments/)
    assert.match(await complaints("env.A = 'x'"), /only permits reading|read-only/)
  })

  it('describes the item that is sent, no more and no less', async () => {
    const code = `
import type * as core from '${PROJECT}core/item.ts'
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const keys: Same<keyof Item, keyof core.Item> = true
const ends: Same<keyof ItemEndpoint, keyof core.Endpoint> = true
const protocols: Same<keyof ItemProtocol, keyof core.Protocol> = true
declare let mine: Item
declare let theirs: core.Item
mine = theirs
theirs = mine
keys; ends; protocols`
    assert.equal(await complaints(code), '')
  })
})
