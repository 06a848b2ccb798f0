import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Json } from '../core/item.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { packetsFeed, Replay, type ReplaySettings, readPlan, type Selection, type Verdict } from './replay.ts'
import { openCapture } from './sources/file.ts'

const EVERYTHING: Selection = { streams: null, item: null, servers: null, protocols: null }

/** What real clients said to real servers, recorded by tcpdump on loopback, is said to the servers again. */
describe('replay to real servers', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-replay-'))
  const running: ChildProcess[] = []
  let protocols: Protocols
  before(async function () {
    protocols = await loadProtocols()
    if (process.getuid?.() === 0 && has('tcpdump')) return
    console.error('skipped: recording by tcpdump needs it, and root')
    this.skip()
  })
  afterEach(async () => {
    for (const child of running.splice(0).reverse()) await stopped(child)
  })
  after(() => rmSync(folder, { recursive: true }))

  it('redis-server answers as before, and tells when its data has changed', async function () {
    if (!has('redis-server') || !has('redis-cli')) return this.skip()
    const port = await freePort()
    const start = () =>
      run('redis-server', [
        '--port',
        `${port}`,
        '--bind',
        '127.0.0.1',
        '--save',
        '',
        '--appendonly',
        'no',
        '--dir',
        folder,
      ])
    const cli = (input: string, ...words: string[]) =>
      spawnSync('redis-cli', ['-p', `${port}`, ...words], { input, encoding: 'utf8' })
    const redis = start()
    await listening(port)
    const file = await recording(`tcp port ${port}`, () => {
      cli('SET a 1\nINCR a\nGET a\nRPUSH l x y z\nLRANGE l 0 -1\nHSET h f 1 g 2\nHGETALL h\nLPUSH a 1\nTIME\nPING\n')
      cli('SADD s 1 2 3\nSMEMBERS s\nMULTI\nINCR n\nGET n\nEXEC\nXADD st * a 1\nCLIENT ID\n', '-3')
      cli('', 'SET', 'long', 'x'.repeat(300_000))
      cli('', 'GET', 'long')
    })
    cli('FLUSHALL')
    const same = await replay(file, { port, rate: 1 })
    assert.deepEqual(same.bad, [])
    assert(same.counts.equal >= 19, `${same.counts.equal} equal`)

    await stopped(redis)
    start()
    await listening(port)
    cli('SET a 41\nRPUSH l w\n')
    const changed = await replay(file, { port })
    const requests = changed.bad.map(({ name }) => name)
    // SET a 1 puts `a` right.
    assert.deepEqual(requests, ['RPUSH', 'LRANGE'])
  })

  it('dnsmasq answers as before over UDP and TCP, and tells when a name has moved', async function () {
    if (!has('dnsmasq') || !has('dig')) return this.skip()
    const port = await freePort()
    const start = (address: string) =>
      run('dnsmasq', [
        ...[
          '--no-daemon',
          '--no-resolv',
          '--no-hosts',
          '--user=root',
          '--listen-address=127.0.0.1',
          '--bind-interfaces',
        ],
        ...[`--port=${port}`, '--pid-file', `--address=/web.test/${address}`, '--address=/other.test/10.0.0.9'],
        ...['--txt-record=txt.test,hello', '--local=/test/'],
      ])
    const first = start('10.0.0.1')
    await answering(port)
    const ask = (...words: string[]) =>
      spawnSync('dig', ['@127.0.0.1', '-p', `${port}`, '+tries=1', '+time=2', ...words], { encoding: 'utf8' })
    const file = await recording(`port ${port}`, () => {
      for (const name of ['web.test', 'other.test', 'none.test']) ask(name, 'A')
      ask('txt.test', 'TXT', '+tcp')
      ask('web.test', 'A', '+tcp')
      ask('web.test', 'A', '+keepopen', '+tcp', 'other.test', 'A', '+keepopen', '+tcp')
    })
    const same = await replay(file, { port })
    assert.deepEqual(same.bad, [])
    assert.equal(same.counts.equal, 7)
    await stopped(first)
    start('10.0.0.2')
    await answering(port)
    const moved = await replay(file, { port })
    assert.deepEqual(
      moved.bad.map(({ verdict }) => verdict),
      Array(3).fill({
        kind: 'different',
        differences: [
          { what: 'answer', recorded: 'web.test IN A 10.0.0.1', replayed: null },
          { what: 'answer', recorded: null, replayed: 'web.test IN A 10.0.0.2' },
        ],
      }),
    )
  })

  it('nginx answers as before, compressed, in parts, and to uploads in chunks', async function () {
    if (!has('nginx') || !has('curl')) return this.skip()
    const port = await freePort()
    const root = join(folder, 'nginx')
    mkdirSync(root)
    // Its workers are nobody.
    chmodSync(folder, 0o755)
    writeFileSync(join(root, 'page.txt'), 'a line of it\n'.repeat(5000))
    writeFileSync(
      join(root, 'nginx.conf'),
      `daemon off; pid ${root}/pid; error_log ${root}/error; events {}
       http { access_log off; default_type text/plain; gzip on; gzip_types text/plain; client_body_temp_path ${root}/body;
         proxy_temp_path ${root}/p; fastcgi_temp_path ${root}/f; uwsgi_temp_path ${root}/u; scgi_temp_path ${root}/s;
         server { listen 127.0.0.1:${port}; root ${root}; location /up { return 200 "got $request_method $content_type\\n"; }
           location /teapot { return 418; } } }`,
    )
    run('nginx', ['-c', join(root, 'nginx.conf'), '-p', root])
    await listening(port)
    const url = (path: string) => `http://127.0.0.1:${port}${path}`
    const curl = (...words: string[]) => spawnSync('curl', ['-s', '-o', '/dev/null', ...words])
    const file = await recording(`tcp port ${port}`, () => {
      curl('--compressed', url('/page.txt'))
      curl('-H', 'Range: bytes=100-199', url('/page.txt'), '--next', '-I', url('/page.txt'), '--next', url('/teapot'))
      curl(
        '-H',
        'Transfer-Encoding: chunked',
        '-H',
        'Content-Type: text/plain',
        '--data-binary',
        'x'.repeat(70_000),
        url('/up'),
      )
      curl('-H', 'Expect: 100-continue', '--data-binary', 'x'.repeat(2000), url('/up'))
      curl('-0', url('/none'))
    })
    const same = await replay(file, { port, rate: 2 })
    assert.deepEqual(same.bad, [])
    assert.equal(same.counts.equal, 7)
    assert.equal(same.counts.reopened, 0)
    writeFileSync(join(root, 'page.txt'), 'another line\n'.repeat(5000))
    const changed = await replay(file, { port, ignore: ['etag'] })
    assert.deepEqual(
      changed.bad.map(({ name, verdict }) => [
        name,
        verdict.kind === 'different' && verdict.differences.map(({ what }) => what),
      ]),
      [
        ['GET /page.txt', ['body']],
        ['GET /page.txt', ['body']],
      ],
    )
  })

  // ── servers, clients, captures ──────────────────────────────────────────────────────────────────────────────────

  async function replay(file: string, settings: Partial<ReplaySettings> & { port: number }) {
    const plan = await readPlan(
      packetsFeed(await openCapture(file), () => false),
      protocols,
      EVERYTHING,
    )
    const bad: { name: string; verdict: Verdict }[] = []
    const defaults: Omit<ReplaySettings, 'port'> = {
      ...{ host: '127.0.0.1', rate: 'max', count: 1, concurrency: 64, timeout: 5000 },
      ...{ headers: [], ignore: [], strict: false },
    }
    const one = new Replay(plan, { ...defaults, ...settings }, protocols, played => {
      if (played.verdict.kind !== 'equal') bad.push({ ...named(played.recorded!.request!), verdict: played.verdict })
    })
    await one.run()
    return { bad, counts: one.counts }
  }

  /** What tcpdump sees on loopback while it is done. */
  async function recording(filter: string, what: () => void): Promise<string> {
    const file = join(mkdtempSync(join(folder, 'capture-')), 'lo.pcap')
    const tcpdump = spawn('tcpdump', ['-i', 'lo', '-U', '-s', '0', '-B', '8192', '-w', file, filter])
    tcpdump.stderr.setEncoding('utf8')
    let said = ''
    await new Promise<void>(resolve => {
      tcpdump.stderr.on('data', text => {
        said += text
        if (said.includes('listening on')) resolve()
      })
    })
    what()
    // What is still in the kernel's buffer is handed over within a second.
    await sleep(1200)
    await stopped(tcpdump)
    return file
  }

  function run(command: string, words: readonly string[]): ChildProcess {
    const child = spawn(command, words, { stdio: 'ignore' })
    running.push(child)
    return child
  }
})

/** Not the whole of it: what differs is told, and bodies are long. */
function named({ method, path, command, questions }: Json): { name: string } {
  return { name: command ?? questions?.[0].name ?? `${method} ${path}` }
}

function has(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const found = await Promise.race([
      once(socket, 'connect').then(() => true),
      new Promise<false>(resolve => socket.once('error', () => resolve(false))),
    ]).catch(() => false)
    socket.destroy()
    if (found) return
    await sleep(50)
  }
}

/** A server of DNS. */
async function answering(port: number): Promise<void> {
  const socket = createSocket('udp4')
  let heard = false
  socket.on('message', () => {
    heard = true
  })
  socket.on('error', () => {})
  while (!heard) {
    socket.send(Buffer.from('000101000001000000000000037765620474657374000001' + '0001', 'hex'), port, '127.0.0.1')
    await sleep(50)
  }
  socket.close()
}
