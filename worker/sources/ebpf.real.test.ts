import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { type CaptureOptions, type CaptureSink, noCounters } from '../capture.ts'
import { TestCgroup, whyNoCgroups } from '../testing/cgroup.ts'
import { Watcher } from '../testing/network.ts'
import { ebpf, openAtCgroup } from './ebpf.ts'

const ALICE = 'a'.repeat(64)
const BOB = 'b'.repeat(64)

const OPTIONS: CaptureOptions = { ...Watcher.everything, deduplicate: true }

describe('capture by eBPF at cgroups', function () {
  this.timeout(60_000)
  let cgroup: TestCgroup
  let alice: string
  let bob: string
  const began: Watcher[] = []

  before(function () {
    const reason = whyNoCgroups()
    if (reason === null) return
    console.error(`skipped: ${reason}`)
    this.skip()
  })

  beforeEach(() => {
    cgroup = new TestCgroup('ebpf')
    alice = cgroup.container(ALICE)
    bob = cgroup.container(BOB)
  })

  afterEach(async () => {
    for (const watcher of began.splice(0)) await watcher.capture.stop()
    await cgroup?.close()
  })

  it('has no obstacle here', async () => {
    assert.equal(await ebpf.obstacle(OPTIONS), null)
  })

  it('says what it cannot do', async () => {
    assert.match((await ebpf.obstacle({ ...OPTIONS, interfaces: ['eth0'] })) ?? '', /at sockets and not at interfaces/)
    assert.match((await ebpf.obstacle({ ...OPTIONS, namespace: '/proc/1/ns/net' })) ?? '', /in all network namespaces/)
    const code = `import('${new URL('./ebpf.ts', import.meta.url)}').then(({ ebpf }) => ebpf.obstacle(JSON.parse(process.argv[1]))).then(console.log)`
    const weak = spawnSync(
      'setpriv',
      ['--bounding-set=-sys_admin,-bpf', process.execPath, '-e', code, JSON.stringify(OPTIONS)],
      { encoding: 'utf8' },
    )
    assert.match(weak.stdout, /needs root or the capabilities BPF and NET_ADMIN/, weak.stderr)
  })

  it('says so where only the cgroups of a container are to be seen', () => {
    const folder = mkdtempSync(`${tmpdir()}/hookline-`)
    const ask = `import('${new URL('./ebpf.ts', import.meta.url)}').then(({ ebpf }) => ebpf.obstacle(JSON.parse(process.argv[1]))).then(console.log)`
    // As a runtime does it: a cgroup of its own, a namespace that begins there, and nothing mounted but that.
    const contain = `echo $$ > "$0"/cgroup.procs
      exec unshare --cgroup --mount sh -c 'awk "/ - cgroup2 /{print \\$5}" /proc/self/mountinfo | xargs -n 1 umount -l
        mount -t cgroup2 none "$0"; exec "$@"' "$@"`
    const asked = [process.execPath, '-e', ask, JSON.stringify(OPTIONS)]
    const { stdout, stderr } = spawnSync('sh', ['-c', contain, alice, folder, ...asked], { encoding: 'utf8' })
    rmdirSync(folder)
    assert.match(stdout, /only those within this container are to be seen/, stderr)
  })

  it('tells two containers apart, and the second sight of a packet from the first', async () => {
    const sink = await watch({})
    const before = BigInt(Date.now()) * 1_000_000n
    await send(2000, [9999])
    await sink.stop()
    const after = BigInt(Date.now() + 1) * 1_000_000n
    assert.deepEqual(sink.counters(ALICE), { ...noCounters(), seen: 2000, passed: 2000 })
    assert.deepEqual(sink.counters(BOB), { ...noCounters(), seen: 2000, duplicates: 2000 })
    const [interface_] = sink.interfaces.filter(({ name }) => name === ALICE)
    assert.equal(interface_!.description, `${alice.slice(alice.indexOf('/hookline-'))}`)
    assert.equal(sink.packets.length, 2000)
    for (const [index, packet] of sink.packets.entries()) {
      assert.equal(packet.id, interface_!.id)
      assert.equal(packet.flags, OUTBOUND)
      assert.ok(packet.ns >= before && packet.ns <= after)
      assert.equal(packet.length, 20 + 8 + 100)
      assert.equal(packet.bytes.readUInt32BE(28), index)
    }
  })

  it('hands over a packet soon, though there was none for long and no other follows', async () => {
    const sink = await watch({})
    const sender = cgroup.run(
      alice,
      `const s = require('dgram').createSocket('udp4')
      setTimeout(() => s.send('x', 9999, '127.0.0.1', () => { console.log(Date.now()); s.close() }), 600)`,
    )
    const sent = Number((await sender.lines.next()).value)
    while (sink.packets.length === 0 && Date.now() < sent + 2000) await new Promise(resolve => setTimeout(resolve, 5))
    assert.ok(Date.now() - sent < 300, `${Date.now() - sent} ms`)
  })

  it('tells many containers apart', async () => {
    const sink = await watch({})
    const ids = Array.from({ length: 150 }, (_, i) => i.toString(16).padStart(64, 'c'))
    const paths = ids.map(id => cgroup.container(id))
    const mover = cgroup.run(
      alice,
      `(async () => { for (const [i, path] of ${JSON.stringify(paths)}.entries()) {
        require('fs').writeFileSync(path + '/cgroup.procs', String(process.pid))
        const s = require('dgram').createSocket('udp4')
        for (let n = 0; n <= i % 3; n++) await new Promise(done => s.send('x', 9999, '127.0.0.1', done))
        s.close() } })()`,
    )
    await mover.end
    await sink.stop()
    for (const [i, id] of ids.entries())
      assert.deepEqual(sink.counters(id), { ...noCounters(), seen: 1 + (i % 3), passed: 1 + (i % 3) }, id)
  })

  it('shows both sights where they are wanted, each at its container', async () => {
    const sink = await watch({ deduplicate: false })
    await send(500, [9999])
    await sink.stop()
    assert.deepEqual(sink.counters(ALICE), { ...noCounters(), seen: 500, passed: 500 })
    assert.deepEqual(sink.counters(BOB), { ...noCounters(), seen: 500, passed: 500 })
    const inbound = sink.packets.filter(({ flags }) => flags === INBOUND)
    assert.equal(inbound.length, 500)
    assert.ok(inbound.every(packet => sink.interfaces[packet.id]!.name === BOB))
  })

  it('shows nothing of cgroups outside of the one it is for', async () => {
    const sink = await watch({}, bob)
    await send(500, [9999])
    await sink.stop()
    assert.deepEqual(sink.counters(BOB), { ...noCounters(), seen: 500, passed: 500 })
    assert.ok(sink.interfaces.every(({ name }) => name !== ALICE))
  })

  it('counts what the filter does not want, for cgroups of which no packet was kept too', async () => {
    const sink = await watch({ filter: 'udp dst port 9999' })
    await send(600, [9999, 9998])
    await sink.stop()
    assert.deepEqual(sink.counters(ALICE), { ...noCounters(), seen: 600, passed: 300, filtered: 300 })
    assert.deepEqual(sink.counters(BOB), { ...noCounters(), seen: 600, duplicates: 300, filtered: 300 })
    const nothing = await watch({ filter: 'tcp' })
    await send(100, [9999])
    await nothing.stop()
    assert.deepEqual(
      nothing.interfaces.map(({ name }) => name),
      ['cgroups'],
    )
    assert.deepEqual(nothing.counters('cgroups'), { ...noCounters(), seen: 200, filtered: 200 })
  })

  it('keeps the sum right while a cgroup whose packets were left out begins to be kept', async () => {
    const sink = await watch({ addresses: ['127.0.0.77'] })
    await send(100, [9999])
    sink.capture.count()
    assert.deepEqual(sink.counters('cgroups'), { ...noCounters(), seen: 200, untargeted: 200 })
    sink.capture.retarget(['127.0.0.1'])
    await send(50, [9999])
    await sink.stop()
    assert.deepEqual(sink.counters('cgroups'), { ...noCounters(), seen: 200, untargeted: 200 })
    assert.deepEqual(sink.counters(ALICE), { ...noCounters(), seen: 50, passed: 50 })
    assert.deepEqual(sink.counters(BOB), { ...noCounters(), seen: 50, duplicates: 50 })
  })

  it('loses no packet of those who stay while five thousand addresses change', async () => {
    const sink = await watch({ addresses: ['127.0.0.1'] })
    const sent = send(20_000, [9999])
    let changes = 0
    let done = false
    void sent.then(() => {
      done = true
    })
    while (!done) {
      const base = changes++ % 2 === 0 ? 10 : 11
      const others = Array.from({ length: 5000 }, (_, i) => `${base}.0.${i >> 8}.${i & 255}`)
      sink.capture.retarget([...others, '127.0.0.1'])
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    await sink.stop()
    assert.ok(changes > 3, `${changes} changes`)
    assert.deepEqual(sink.counters(ALICE), { ...noCounters(), seen: 20_000, passed: 20_000 })
  })

  it('keeps what it has counted of cgroups that have gone', async () => {
    const sink = await watch({ filter: 'udp src port 7777 or udp dst port 9999' })
    for (const [id, port] of [
      ['e'.repeat(64), 9999],
      ['f'.repeat(64), 9998],
    ] as const) {
      const path = cgroup.container(id)
      const sender = cgroup.run(
        path,
        `const s = require('dgram').createSocket('udp4'); s.send('x', ${port}, '127.0.0.1', () => s.close())`,
      )
      await sender.end
      // One that has gone before its packet is read has no name.
      const isNamed = () => port === 9998 || sink.interfaces.some(({ name }) => name === id)
      for (let waited = 0; !isNamed() && waited < 2000; waited += 20) await pause(20)
      cgroup.remove(path)
    }
    const { capture } = sink as unknown as { capture: { sweep(): void; programs: { counts(): Map<bigint, unknown> } } }
    for (let i = 0; i < 50 && capture.programs.counts().size > 1; i++) {
      capture.sweep()
      sink.capture.count()
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    assert.deepEqual([...capture.programs.counts().keys()], [0n])
    await sink.stop()
    assert.deepEqual(sink.counters('e'.repeat(64)), { ...noCounters(), seen: 1, passed: 1 })
    assert.deepEqual(sink.counters('cgroups'), { ...noCounters(), seen: 1, filtered: 1 })
  })

  it('keeps whole flows of a sample', async () => {
    const sink = await watch({ samplePercent: 50 })
    const ports = Array.from({ length: 200 }, (_, i) => 20_000 + i)
    await send(2000, ports)
    await sink.stop()
    const flows = new Map<number, number>()
    for (const { bytes } of sink.packets) {
      const port = bytes.readUInt16BE(22)
      flows.set(port, (flows.get(port) ?? 0) + 1)
    }
    assert.ok(flows.size > 50 && flows.size < 150, `${flows.size} of 200 flows`)
    assert.ok([...flows.values()].every(count => count === 10))
    const counters = sink.counters(ALICE)
    assert.deepEqual(counters, {
      ...noCounters(),
      seen: 2000,
      passed: 10 * flows.size,
      sampledOut: 2000 - 10 * flows.size,
    })
  })

  it('counts what found no room in the ring buffer', async () => {
    const sink = await watch({ bufferBytes: 256 << 10, deduplicate: false })
    const sent = send(1500, [9999], 60_000)
    await new Promise(resolve => setTimeout(resolve, 200))
    // The event loop does nothing else for so long.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000)
    await sent
    await sink.stop()
    const counters = sink.counters(ALICE)
    assert.equal(counters.seen, 1500)
    assert.equal(counters.passed + counters.dropped, 1500)
    assert.ok(counters.dropped > 100, `${counters.dropped} were dropped`)
    assert.equal(sink.packets.filter(({ flags }) => flags === OUTBOUND).length, counters.passed)
    assert.ok(sink.counters('cgroups').freezes > 0)
  })

  it('captures large packets whole', async () => {
    const sink = await watch({})
    await send(20, [9999], 65_000)
    await sink.stop()
    assert.equal(sink.packets.length, 20)
    for (const { bytes, length } of sink.packets) assert.deepEqual([bytes.length, length], [65_028, 65_028])
  })

  it('leaves out our own packets unless they are asked for', async () => {
    const receiver = createSocket('udp4').bind(0, '127.0.0.1')
    await once(receiver, 'listening')
    const { port } = receiver.address()
    for (const own of [false, true]) {
      const sink = await Watcher.open(ebpf, { own, filter: `udp dst port ${port}` })
      began.push(sink)
      const sender = createSocket('udp4')
      await new Promise(resolve => sender.connect(port, '127.0.0.1', () => resolve(null)))
      for (let i = 0; i < 50; i++) await new Promise(resolve => sender.send(Buffer.from('own'), resolve))
      await sink.stop()
      sender.close()
      assert.equal(sink.packets.length, own ? 100 : 0)
      const left = sink.counters().own
      assert.ok(own ? left === 0 : left >= 100, String(left))
    }
    receiver.close()
  })

  it('sees the packets of TCP from the first to the last', async () => {
    const sink = await watch({})
    const server = cgroup.run(
      bob,
      `require('net').createServer(s => s.on('data', d => s.write(d)).on('end', () => s.end()))
        .listen(8080, '127.0.0.1', () => console.log('up'))`,
    )
    await server.lines.next()
    const client = cgroup.run(
      alice,
      `(async () => { for (let i = 0; i < 50; i++) await new Promise(done => {
        const s = require('net').connect(8080, '127.0.0.1').on('close', done).on('data', () => s.end()); s.write('hello ' + i) }) })()`,
    )
    await client.end
    await sink.stop()
    const count = (flags: number, from: number) =>
      sink.packets.filter(({ bytes }) => bytes[33] === flags && (bytes.readUInt16BE(20) === 8080) === (from === 8080))
        .length
    assert.equal(count(SYN, 0), 50)
    assert.equal(count(SYN | ACK, 8080), 50)
    assert.equal(count(PSH | ACK, 0), 50)
    assert.equal(count(PSH | ACK, 8080), 50)
    assert.equal(count(FIN | ACK, 0), 50)
    assert.equal(count(FIN | ACK, 8080), 50)
  })

  it('tells a container that runc runs, in its own network, and then is the best there is', async function () {
    const tools = ['runc', 'busybox'].map(name => spawnSync('which', [name], { encoding: 'utf8' }).stdout.trim())
    if (tools.includes('')) {
      console.error('skipped: runc or busybox is missing')
      this.skip()
    }
    const id = 'd'.repeat(64)
    const bundle = mkdtempSync(`${tmpdir()}/hookline-runc-`)
    mkdirSync(`${bundle}/rootfs/bin`, { recursive: true })
    copyFileSync(tools[1]!, `${bundle}/rootfs/bin/busybox`)
    execFileSync('runc', ['spec'], { cwd: bundle })
    const spec = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8'))
    const talk =
      'busybox nc -l -p 47111 -e busybox echo hello & busybox sleep 0.3; busybox nc 127.0.0.1 47111; busybox sleep 1'
    spec.process = { ...spec.process, terminal: false, args: ['/bin/busybox', 'sh', '-c', talk] }
    writeFileSync(`${bundle}/config.json`, JSON.stringify(spec))
    const sink = await Watcher.open(ebpf, { filter: 'tcp port 47111', deduplicate: true })
    began.push(sink)
    const container = spawn('runc', ['--root', `${bundle}/state`, 'run', id], {
      cwd: bundle,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [said] = await once(container.stdout, 'data')
    assert.equal(String(said), 'hello\n')
    assert.equal(await ebpf.reservation?.(OPTIONS), null)
    await once(container, 'exit')
    await sink.stop()
    rmSync(bundle, { recursive: true })
    const { seen, passed, duplicates, filtered } = sink.counters(id)
    assert.deepEqual([seen, filtered], [passed + duplicates, 0])
    assert.equal(passed, sink.packets.length)
    assert.ok(passed >= 7, `${passed} packets of a connection`)
    assert.ok(sink.packets.every(packet => sink.interfaces[packet.id]!.name === id))
  })

  async function watch(options: Partial<CaptureOptions>, at = cgroup.path): Promise<Watcher> {
    const source = { ...ebpf, open: async (all: CaptureOptions, sink: CaptureSink) => openAtCgroup(at, all, sink) }
    const watcher = await Watcher.open(source, { deduplicate: true, ...options })
    began.push(watcher)
    return watcher
  }

  /** Alice sends so many numbered datagrams to Bob, in turn to each of his ports. */
  async function send(count: number, ports: readonly number[], size = 100): Promise<void> {
    const receiver = cgroup.run(
      bob,
      `let up = 0; for (const port of ${JSON.stringify(ports)})
        require('dgram').createSocket('udp4').bind(port, '127.0.0.1', () => { if (++up === ${ports.length}) console.log('up') })`,
    )
    await receiver.lines.next()
    const sender = cgroup.run(
      alice,
      `(async () => { const s = require('dgram').createSocket('udp4'); const ports = ${JSON.stringify(ports)}
        const b = Buffer.alloc(${size})
        for (let i = 0; i < ${count}; i++) { b.writeUInt32BE(i)
          await new Promise(done => s.send(b, ports[i % ports.length], '127.0.0.1', done)) }
        s.close() })()`,
    )
    await sender.end
    receiver.process.kill('SIGKILL')
    await receiver.end
  }
})

const INBOUND = 1
const OUTBOUND = 2
const [FIN, SYN, PSH, ACK] = [1, 2, 8, 16] as const
