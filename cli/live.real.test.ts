import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startRedis } from '../examples/captures/shop.ts'
import { whyNoWire } from '../worker/wire.ts'
import { wireOptions } from './source.ts'
import { ended, hookline, start } from './testing/hookline.ts'

describe('run -i lo', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-live-'))
  after(() => rmSync(folder, { recursive: true }))
  before(async function () {
    const reason = await whyNoWire(wireOptions('lo', ''))
    if (reason === null) return
    console.error(`skipped: ${reason}`)
    this.skip()
  })

  it('sees every HTTP request that a client sent, each with its own answer', async () => {
    const server = createServer((question, answer) => {
      const status = Number(question.url!.split('/')[2])
      answer.writeHead(status)
      answer.end(`answer to ${question.url}`)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const capture = await capturing(['--json', '--filter', `tcp port ${port}`])

    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    const did = await Promise.all(
      Array.from({ length: 400 }, (_, i) => get(port, `/${i}/${i % 10 === 3 ? 503 : 200}`, agent)),
    )
    agent.destroy()
    server.close()

    const { code, stdout, stderr } = await capture.stop()
    assert.equal(code, 130)
    assert.match(stderr, /, interrupted$/m)
    assert.doesNotMatch(stderr, /dropped|half pairs 1/)
    const halves = items(stdout).filter(({ request, response }) => request === null || response === null)
    assert.deepEqual(halves, [])
    const seen = items(stdout).map(({ request, response }) => ({
      path: request.path,
      status: response.status,
      body: response.content.text,
    }))
    const order = (a: { path: string }, b: { path: string }) => a.path.localeCompare(b.path)
    assert.deepEqual(seen.sort(order), did.sort(order))
  })

  it('sees what a Redis client asked and what redis-server answered', async function () {
    const port = await freePort()
    const redis = await startRedis('127.0.0.1', port)
    if (redis === null) return this.skip()
    try {
      const capture = await capturing(['--json', '--filter', `tcp port ${port}`])
      const socket = connect(port, '127.0.0.1').setEncoding('utf8')
      await once(socket, 'connect')
      for (let i = 0; i < 50; i++) {
        socket.write(`*3\r\n$3\r\nSET\r\n$5\r\nkey${10 + i}\r\n$2\r\n${10 + i}\r\n`)
        await once(socket, 'data')
      }
      socket.destroy()
      const { stdout } = await capture.stop()
      const halves = items(stdout).filter(({ request, response }) => request === null || response === null)
      assert.deepEqual(halves, [])
      const seen = items(stdout).map(({ request, response }) => [request.command, request.key, response.value])
      assert.deepEqual(
        seen,
        Array.from({ length: 50 }, (_, i) => ['SET', `key${10 + i}`, 'OK']),
      )
    } finally {
      redis.stop()
    }
  })

  it('shows an answer while the capture goes on', async () => {
    const server = createServer((_, answer) => answer.end('now')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const capture = await capturing(['--json', '--filter', `tcp port ${port}`])
    const shown = once(capture.child.stdout, 'data')
    await get(port, '/soon/200', new Agent())
    const began = performance.now()
    await shown
    assert.ok(performance.now() - began < 2000)
    server.close()
    await capture.stop()
  })

  it('runs scripts on live items', async () => {
    const script = join(folder, 'live.js')
    writeFileSync(
      script,
      '// Live.\nfunction onItemCaptured(data) { console.log(data.request.path, data.response.status) }\n',
    )
    const server = createServer((_, answer) => answer.writeHead(404).end()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const capture = await capturing([script, '-q', '--filter', `tcp port ${port}`])
    await get(port, '/here/404', new Agent())
    server.close()
    const { stderr } = await capture.stop()
    assert.match(stderr, /Live.*\/here\/404 404/)
  })

  it('captures in a process that ends when the command is killed', async () => {
    const capture = await capturing(['--json', '--filter', 'tcp port 1'])
    const captor = children(capture.child.pid!).find(({ words }) => words.includes('wire-process.ts'))
    assert.ok(captor, 'a process of its own')
    capture.child.kill('SIGKILL')
    for (let i = 0; i < 50 && alive(captor.pid); i++) await pause(100)
    assert.equal(alive(captor.pid), false)
  })

  it('shows what was captured until the capturing process died, and says that it did', async () => {
    const server = createServer((_, answer) => answer.end('last words')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const capture = await capturing(['--json', '--filter', `tcp port ${port}`])
    await get(port, '/before', new Agent())
    await pause(300)
    process.kill(children(capture.child.pid!).find(({ words }) => words.includes('wire-process.ts'))!.pid, 'SIGKILL')
    const { code, stdout, stderr } = await capture.all
    server.close()
    assert.equal(items(stdout)[0].request.path, '/before')
    assert.match(stderr, /^HTTP +1 +1 +0/m)
    assert.match(stderr, /^hookline: the capturing process ended by itself/m)
    assert.equal(code, 2)
  })

  it('says which interfaces there are when asked for another', async () => {
    const { code, stderr } = await hookline(folder, ['run', '-i', 'eth99'])
    assert.match(stderr, /^hookline: no interface is called eth99; there are: [^\n]*\blo\b[^\n]*\n$/)
    assert.equal(code, 2)
  })

  it('says what libpcap does not like about a filter', async () => {
    const { code, stderr } = await hookline(folder, ['run', '-i', 'lo', '--filter', 'port of call'])
    assert.match(stderr, /^hookline: libpcap says of the filter: [^\n]*\n$/)
    assert.equal(code, 2)
  })

  it('says how to be allowed when it is not', function () {
    const words = ['--reuid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all']
    const { status, stderr } = spawnSync('setpriv', [...words, process.execPath, 'cli/main.ts', 'run', '-i', 'lo'], {
      encoding: 'utf8',
      env: { ...process.env, XDG_STATE_HOME: folder },
    })
    // Where other users may not read this checkout, they cannot run it either.
    if (status === null || /EACCES|Cannot find module/.test(stderr)) return this.skip()
    assert.match(
      stderr,
      /^hookline: capturing on lo needs root or the capability NET_RAW[^\n]*: sudo \.\/hookline run -i lo\n$/,
    )
    assert.equal(status, 2)
  })

  async function capturing(words: string[]) {
    const child = start(folder, ['run', '-i', 'lo', ...words])
    const all = ended(child)
    // The capture says on standard error when it has begun.
    for await (const [text] of on(child.stderr)) if (text.includes('capturing on lo')) break
    return {
      child,
      all,
      async stop() {
        await pause(400)
        child.kill('SIGINT')
        return all
      },
    }
  }
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function* on(stream: NodeJS.ReadableStream): AsyncGenerator<[string]> {
  for (;;) yield (await once(stream, 'data')) as [string]
}

async function get(port: number, path: string, agent: Agent): Promise<{ path: string; status: number; body: string }> {
  const asked = request({ host: '127.0.0.1', port, path, agent })
  asked.end()
  const [answer] = await once(asked, 'response')
  let body = ''
  for await (const chunk of answer.setEncoding('utf8')) body += chunk
  return { path, status: answer.statusCode, body }
}

// biome-ignore lint/suspicious/noExplicitAny: items of any protocol.
function items(ndjson: string): any[] {
  return ndjson
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
}

function children(parent: number): { pid: number; words: string }[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=,args=', '--ppid', String(parent)], { encoding: 'utf8' })
  return stdout
    .trim()
    .split('\n')
    .map(line => ({ pid: Number.parseInt(line, 10), words: line }))
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
