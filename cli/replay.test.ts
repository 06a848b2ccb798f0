import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ended, HOME, hookline, SHOP_PCAP, start } from './testing/hookline.ts'

const PIPELINED = `${HOME}core/fixtures/http/pipelined.pcap`

describe('hookline replay', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-replay-'))
  let server: Server
  let to: string
  /** Path to answer. */
  let paths: string[] = []
  let isSilent = false

  before(async () => {
    server = createServer((request, response) => {
      paths.push(`${request.method} ${request.headers.host} ${request.url}`)
      if (!isSilent) response.end(`you asked for \u202e${request.url}`)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    to = `127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  beforeEach(() => {
    paths = []
    isSilent = false
  })
  after(() => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true })
  })

  const replay = (...words: string[]) => hookline(folder, ['replay', '--to', to, '--rate', 'max', ...words])

  /** The first one in the capture with this method. */
  async function itemOf(method: string) {
    const { stdout } = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json', '--protocols', 'http'])
    const items = stdout.trim().split('\n')
    return items.map(line => JSON.parse(line)).find(({ request }) => request?.method === method)
  }

  it('prints what is answered otherwise, a summary, and ends with 1', async () => {
    const { code, stdout, stderr } = await replay(SHOP_PCAP, '--server', '10.244.1.11:8080')
    assert.equal(code, 1)
    assert.match(stdout, /^different {2}GET \/ {2}local\/\w+\.pcap-0\n {4}header content-type: .* → \(nothing\)\n/)
    assert.match(stdout, / {4}body: .* → you asked for ·\/\n/)
    assert.doesNotMatch(stdout, /\u202e/)
    assert.match(stderr, /^3 streams to 127\.0\.0\.1:\d+, .* sent in [\d.]+ s \(recorded: [\d.]+ s\)$/m)
    const counts =
      /^(\d+) answers = 0 equal \+ (\d+) different \+ 0 missing \+ 0 not compared \+ 0 not asked for$/m.exec(stderr)
    assert.equal(counts?.[1], counts?.[2])
    assert.equal(Number(counts?.[1]), paths.length)
    assert.match(stderr, /^answered: half within .* \(recorded: .*\), 95 % within/m)
    assert.match(stderr, /^left out: date, age, .*set-cookie.*\(--strict compares everything\)$/m)
  })

  it('ends with 0 where nothing that is compared differs', async () => {
    const ignored = ['--ignore', 'Content-Type', '--ignore', 'body']
    const { code, stdout, stderr } = await replay(SHOP_PCAP, '--item', (await itemOf('GET')).id, ...ignored)
    assert.equal(stdout, '')
    assert.match(stderr, /^1 answer = 1 equal \+ 0 different \+ 0 missing/m)
    assert.equal(code, 0)
  })

  it('prints one line of JSON for each answer, and sets headers', async () => {
    const { code, stdout } = await replay(PIPELINED, '--json', '--set', 'Host=staging', '--count', '2')
    assert.equal(code, 1)
    const lines = stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
    assert.equal(lines.length, paths.length)
    assert.deepEqual([...new Set(lines.map(({ round }) => round))], [1, 2])
    for (const { stream, item, protocol, request, verdict, elapsedTime } of lines) {
      assert.equal(protocol, 'http')
      assert(item.startsWith(`local/${stream}-`))
      assert.match(request, /^[A-Z]+ \//)
      assert.equal(verdict, 'different')
      assert(elapsedTime.replayed > 0 && elapsedTime.recorded > 0)
    }
    assert(paths.every(path => path.split(' ')[1] === 'staging'))
  })

  it('sends the request of one item', async () => {
    const item = await itemOf('POST')
    const { code } = await replay('--pcap', SHOP_PCAP, '--item', item.id)
    assert.equal(code, 1)
    assert.deepEqual(paths, [`POST ${item.request.headers.host} ${item.request.url}`])
  })

  it('says in one line that nobody is there', async () => {
    const { code, stdout, stderr } = await hookline(folder, ['replay', PIPELINED, '--to', '127.0.0.1:1'])
    assert.equal(stderr, 'hookline: 127.0.0.1:1 over TCP: the target refuses connections\n')
    assert.equal(stdout, '')
    assert.equal(code, 2)
  })

  it('ends with a summary on Ctrl-C', async () => {
    isSilent = true
    const child = start(folder, ['replay', PIPELINED, '--to', to, '--timeout', '600'])
    child.stdin.end()
    const done = ended(child)
    while (paths.length === 0) await new Promise(resolve => setTimeout(resolve, 20))
    child.kill('SIGINT')
    const { code, stderr } = await done
    assert.match(stderr, /^1 stream to .*, interrupted$/m)
    assert.match(stderr, /^missing: \d+ interrupted$/m)
    assert.equal(code, 130)
  })
})
