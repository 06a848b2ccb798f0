import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setImmediate as immediate, setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { CaptureOptions } from '../capture.ts'
import { Network, type Sender, Watcher, whyNoNetworks } from '../testing/network.ts'
import { type Datagram, frameOf } from '../testing/traffic.ts'
import { afPacket } from './af-packet.ts'
import { afXdp } from './af-xdp.ts'

describe('capture by AF_XDP', function () {
  this.timeout(60_000)
  let network: Network
  let sender: Sender
  const began: Watcher[] = []

  before(async function () {
    const reason = whyNoNetworks() ?? (await afXdp.obstacle({ ...OPTIONS, interfaces: ['none'] }))
    if (reason !== null) {
      console.error(`skipped: ${reason}`)
      this.skip()
    }
    network = new Network('xdp')
    network.add('here')
    network.add('there')
    network.pair(['there', 'away'], ['here', 'home'])
    sender = network.sender('there', 'away')
  })
  afterEach(async () => {
    for (const watcher of began.splice(0)) await watcher.capture.stop()
  })
  after(() => network?.close())

  async function watch(options: Partial<CaptureOptions> = {}, source = afXdp): Promise<Watcher> {
    const watcher = await Watcher.open(source, { interfaces: ['home'], namespace: network.path('here'), ...options })
    began.push(watcher)
    return watcher
  }

  /** The queue of a veth is short: what is sent while nobody empties it is lost before anyone sees it. */
  async function sendAll(frames: readonly Buffer[], by = sender): Promise<void> {
    for (const [index, frame] of frames.entries()) {
      if (index % TOGETHER === 0) await immediate()
      by.send(frame)
    }
  }

  it('gets every packet as it was sent, with tags of VLANs, and says that it takes them away', async () => {
    const watcher = await watch()
    const before = BigInt(Date.now()) * 1_000_000n
    const frames = Array.from({ length: 3000 }, (_, i) => {
      const frame = datagram({ payload: numbered(i, 8 + (i % 1400)) })
      return i % 10 === 0 ? tagged(frame, 7) : frame
    })
    await sendAll(frames)
    const { seen, passed, dropped } = await watcher.stop()
    const after = BigInt(Date.now() + 1) * 1_000_000n
    assert.deepEqual([seen, passed, dropped], [3000, 3000, 0])
    assert.deepEqual(
      watcher.packets.map(({ bytes }) => bytes.toString('hex')),
      frames.map(frame => frame.toString('hex')),
    )
    assert.ok(watcher.packets.every(({ ns }) => ns >= before && ns <= after))
    assert.deepEqual(
      watcher.interfaces.map(({ id, name, linkType }) => [id, name, linkType]),
      [[0, 'home', 1]],
    )
    assert.match(watcher.remarks[0] ?? '', /takes packets of home away from the kernel/)
  })

  it('takes packets from all queues, also those that need several frames', async () => {
    const queues = ['numtxqueues', '4', 'numrxqueues', '4', 'mtu', '9000']
    const there = ['netns', network.path('there').split('/').at(-1)!]
    network.ip('here', 'link', 'add', 'large', ...queues, 'type', 'veth', 'peer', 'name', 'vast', ...queues, ...there)
    for (const [name, link] of [
      ['here', 'large'],
      ['there', 'vast'],
    ] as const)
      network.ip(name, 'link', 'set', link, 'up')
    const vast = network.sender('there', 'vast')
    const watcher = await watch({ interfaces: ['large'] })
    const frames = Array.from({ length: 800 }, (_, i) =>
      datagram({ fromPort: 2000 + (i % 100), payload: numbered(i, i % 4 === 0 ? 8900 : 100) }),
    )
    await sendAll(frames, vast)
    const { seen, passed, dropped } = await watcher.stop()
    assert.deepEqual([seen, passed, dropped], [800, 800, 0], watcher.remarks.join('\n'))
    const sorted = (all: Buffer[]) => all.map(bytes => bytes.toString('hex')).sort()
    assert.deepEqual(sorted(watcher.packets.map(({ bytes }) => bytes)), sorted(frames))
    assert.equal(watcher.remarks.length, 1, watcher.remarks.join('\n'))
  })

  it('leaves to the kernel what it does not want, and nothing else', async () => {
    const kernel = await watch({}, afPacket)
    const watcher = await watch({ filter: 'udp dst port 9999' })
    for (let i = 0; i < 400; i++) sender.send(datagram({ toPort: i % 4 === 0 ? 9998 : 9999 }))
    const { seen, passed, filtered } = await watcher.stop()
    assert.deepEqual([seen, passed, filtered], [400, 300, 100])
    assert.equal((await kernel.stop()).passed, 100)
  })

  it('gives the packets back when it ends', async () => {
    await (await watch()).stop()
    const kernel = await watch({}, afPacket)
    for (let i = 0; i < 50; i++) sender.send(datagram({}))
    assert.equal((await kernel.stop()).passed, 50)
  })

  it('follows the addresses without losing packets of those who stay', async () => {
    const watcher = await watch({ addresses: ['10.1.0.1'], bufferBytes: 64 << 20 })
    for (let i = 0; i < 6000; i++) {
      if (i % TOGETHER === 0) await immediate()
      if (i % 1000 === 0) {
        const others = Array.from({ length: 5000 }, (_, n) => `10.${20 + (i / 1000) * 10}.${n >> 8}.${n & 255}`)
        watcher.capture.retarget([...others, '10.1.0.1'])
      }
      sender.send(datagram({ to: i % 3 === 0 ? '10.2.0.9' : '10.1.0.1' }))
    }
    const { seen, passed, untargeted, dropped } = await watcher.stop()
    assert.deepEqual([seen, passed, untargeted, dropped], [6000, 4000, 2000, 0])
  })

  it('keeps whole flows of a sample, the same that others keep', async () => {
    const other = await watch({ samplePercent: 30 }, afPacket)
    for (let i = 0; i < 1000; i++) sender.send(datagram({ fromPort: 2000 + (i % 200) }))
    await other.stop()
    const watcher = await watch({ samplePercent: 30 })
    for (let i = 0; i < 1000; i++) sender.send(datagram({ fromPort: 2000 + (i % 200) }))
    const { seen, passed, sampledOut } = await watcher.stop()
    assert.equal(seen, 1000)
    assert.equal(passed + sampledOut, 1000)
    const ports = ({ packets }: Watcher) => packets.map(({ bytes }) => bytes.readUInt16BE(34))
    assert.deepEqual(ports(watcher), ports(other))
    assert.ok(new Set(ports(watcher)).size > 30 && new Set(ports(watcher)).size < 90)
  })

  it('counts what found no room', async () => {
    const watcher = await watch({ bufferBytes: 1 })
    watcher.remember = false
    // Nothing is taken from the chunks while this loop sends.
    const payload = Buffer.alloc(1300)
    for (let i = 0; i < 20_000; i++) sender.send(datagram({ payload }))
    const { seen, passed, dropped } = await watcher.stop()
    assert.equal(seen, 20_000)
    assert.equal(passed + dropped, 20_000)
    assert.ok(dropped > 1000, `${dropped} were dropped`)
    assert.equal(watcher.handed, passed)
  })

  it('follows an interface that goes and comes again', async () => {
    const watcher = await watch({ interfaces: ['home', 'guest'] })
    assert.ok(watcher.remarks.some(text => /guest: it is captured when it comes/.test(text)))
    for (const round of [1, 2]) {
      network.pair(['there', 'visitor'], ['here', 'guest'])
      const visitor = network.sender('there', 'visitor')
      for (let waited = 0; watcher.interfaces.length <= round && waited < 3000; waited += 20) await pause(20)
      assert.equal(watcher.interfaces[round]?.name, 'guest')
      for (let i = 0; i < 10 * round; i++) visitor.send(datagram({}))
      await pause(50)
      network.ip('there', 'link', 'del', 'visitor')
      for (let waited = 0; !watcher.counted.has(round) && waited < 3000; waited += 20) await pause(20)
      assert.equal(watcher.counted.get(round)?.passed, 10 * round)
    }
    await watcher.stop()
  })

  it('hands over a packet soon, though no other follows', async () => {
    const watcher = await watch()
    sender.send(datagram({}))
    for (let waited = 0; watcher.packets.length === 0 && waited < 200; waited += 5) await pause(5)
    assert.equal(watcher.packets.length, 1)
  })

  it('tells the user what it takes away before it begins', async () => {
    const ring = mkdtempSync(`${tmpdir()}/hookline-xdp-`)
    const words = [
      'tap',
      '-q',
      '-i',
      'home',
      '--namespace',
      network.path('here'),
      '--capture',
      'af_xdp',
      '--ring',
      ring,
    ]
    const hookline = fileURLToPath(new URL('../../hookline', import.meta.url))
    const tap = spawn(hookline, words, { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    for await (const text of tap.stderr.setEncoding('utf8')) {
      said += text
      if (/^capturing by AF_XDP/m.test(said)) tap.kill('SIGINT')
    }
    rmSync(ring, { recursive: true })
    assert.match(said, /^capture: af_xdp takes packets of home away .*\n(.*\n)*capturing by AF_XDP/m)
  })

  it('says what it cannot do', async () => {
    assert.match((await afXdp.obstacle(OPTIONS)) ?? '', /must be named/)
    assert.match((await afXdp.obstacle({ ...OPTIONS, interfaces: ['lo'] })) ?? '', /lo has the address 127\.0\.0\.1/)
    await assert.rejects(watch({ interfaces: ['nowhere'] }), /no interface is called nowhere; there are: home, /)
    const first = await watch()
    await assert.rejects(watch(), /another program has a socket of AF_XDP there/)
    await first.stop()
  })
})

const TOGETHER = 50

function datagram(given: Partial<Datagram>): Buffer {
  return frameOf({
    from: '10.0.0.7',
    to: '10.1.0.1',
    fromPort: 40_000,
    toPort: 9999,
    protocol: 17,
    payload: Buffer.alloc(100),
    ...given,
  })
}

function numbered(n: number, size: number): Buffer {
  const payload = Buffer.alloc(size)
  payload.writeUInt32BE(n)
  return payload
}

function tagged(frame: Buffer, tag: number): Buffer {
  return Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0x00, tag >> 8, tag & 255]), frame.subarray(12)])
}

const OPTIONS: CaptureOptions = Watcher.everything
