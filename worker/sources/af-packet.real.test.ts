import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import type { CaptureOptions } from '../capture.ts'
import { Network, type Seen, type Sender, Watcher, whyNoNetworks } from '../testing/network.ts'
import { type Datagram, frameOf } from '../testing/traffic.ts'
import { afPacket } from './af-packet.ts'

describe('capture by AF_PACKET', function () {
  this.timeout(60_000)
  let network: Network
  let sender: Sender
  const began: Watcher[] = []

  before(function () {
    const reason = whyNoNetworks()
    if (reason !== null) {
      console.error(`skipped: ${reason}`)
      this.skip()
    }
    network = new Network('packet')
    network.add('here')
    network.add('there')
    network.pair(['there', 'away'], ['here', 'home'])
    sender = network.sender('there', 'away')
  })
  afterEach(async () => {
    for (const watcher of began.splice(0)) await watcher.capture.stop()
  })
  after(() => network?.close())

  /** Of what arrives at `home`, unless told otherwise. */
  async function watch(options: Partial<CaptureOptions> = {}): Promise<Watcher> {
    const watcher = await Watcher.open(afPacket, { interfaces: ['home'], namespace: network.path('here'), ...options })
    began.push(watcher)
    return watcher
  }

  it('hands over every packet as it was sent, in order, with its time in nanoseconds', async () => {
    const watcher = await watch()
    assert.equal(await afPacket.obstacle({ ...Watcher.everything, namespace: network.path('here') }), null)
    const began = BigInt(Date.now()) * 1_000_000n
    const frames = Array.from({ length: 3000 }, (_, i) => datagram({ payload: numbered(i, 8 + (i % 1400)) }))
    for (const frame of frames) sender.send(frame)
    const { passed, seen } = await watcher.stop()
    const ended = BigInt(Date.now() + 1) * 1_000_000n
    assert.deepEqual([seen, passed], [3000, 3000])
    assert.deepEqual(
      watcher.packets.map(({ bytes }) => bytes.toString('hex')),
      frames.map(frame => frame.toString('hex')),
    )
    const times = watcher.packets.map(({ ns }) => ns)
    assert.ok(times.every((ns, i) => ns >= (times[i - 1] ?? began) && ns <= ended))
    assert.ok(times.some(ns => ns % 1000n !== 0n))
    assert.deepEqual(watcher.interfaces, [
      { id: 0, name: 'home', linkType: 1, index: watcher.interfaces[0]!.index, namespace: network.path('here') },
    ])
  })

  it('hands over a packet soon, though no other follows', async () => {
    const watcher = await watch()
    sender.send(datagram({}))
    for (let waited = 0; watcher.packets.length === 0 && waited < 200; waited += 5) await pause(5)
    assert.equal(watcher.packets.length, 1)
  })

  it('knows soon of what kind a new interface is, though its packets came first', async function () {
    const watcher = await watch({ interfaces: 'any', filter: 'not udp port 53' })
    const tunnel = await Tunnel.open(network, ARPHRD.none)
    if (tunnel === null) return this.skip()
    const packet = (toPort: number) => datagram({ toPort }).subarray(14)
    tunnel.send(packet(54))
    await settled(() => watcher.handed === 1)
    await pause(600)
    for (const port of [53, 54, 53]) tunnel.send(packet(port))
    await settled(() => watcher.handed === 2)
    const { seen, passed, filtered } = await watcher.stop()
    tunnel.close()
    assert.deepEqual({ seen, passed, filtered }, { seen: 4, passed: 2, filtered: 2 })
  })

  it('takes the kernel’s times where the network card stamps no packets', async () => {
    const watcher = await watch({ hardwareTimes: true })
    const before = BigInt(Date.now()) * 1_000_000n
    sender.send(datagram({}))
    await watcher.stop()
    const { ns } = watcher.packets[0]!
    assert.ok(ns >= before && ns <= BigInt(Date.now() + 1) * 1_000_000n)
  })

  it('puts tags of VLANs back to where they were on the wire', async () => {
    const frames = [tagged(datagram({}), 7), tagged(tagged(datagram({}), 7), 0x2064, 0x88a8), datagram({})]
    const watcher = await watch()
    for (const frame of frames) sender.send(frame)
    await watcher.stop()
    assert.deepEqual(
      watcher.packets.map(({ bytes, length }) => [bytes.toString('hex'), length]),
      frames.map(frame => [frame.toString('hex'), frame.length]),
    )
  })

  /** Each with how many of the packets in SAMPLER it wants. */
  const FILTERS: readonly [expression: string, wanted: number][] = [
    ['', 10],
    ['ip', 8],
    ['ip6', 1],
    ['arp', 1],
    ['udp', 8],
    ['tcp', 1],
    ['udp port 53', 2],
    ['host 10.0.0.9', 2],
    ['dst net 10.0.0.0/8 and not port 53', 5],
    ['src host 2001:db8::1', 1],
    ['greater 500', 1],
    ['tcp[tcpflags] & tcp-syn != 0', 1],
    ['udp[8:4] = 0x01020304', 1],
    ['vlan', 1],
    ['vlan 7 and udp', 1],
    ['vlan 8', 0],
    ['not vlan', 9],
    ['ether host 02:00:00:00:00:09', 1],
    ['ether broadcast', 0],
    ['icmp', 0],
    ['port 53 or arp or vlan', 4],
  ]
  for (const [expression, wanted] of FILTERS) {
    it(`counts what the filter "${expression}" leaves out`, async () => {
      const watcher = await watch({ filter: expression })
      for (const frame of SAMPLER) sender.send(frame)
      const { seen, passed, filtered } = await watcher.stop()
      assert.deepEqual({ seen, passed, filtered }, { seen: 10, passed: wanted, filtered: 10 - wanted })
    })
  }

  it('says what libpcap does not like about a filter, and which interfaces there are', async () => {
    await assert.rejects(watch({ filter: 'port of call' }), { code: 'FILTER_WRONG' })
    await assert.rejects(watch({ interfaces: ['eth99'] }), {
      message: 'no interface is called eth99; there are: home, lo',
    })
    await assert.rejects(watch({ namespace: '/run/netns/nowhere' }), { code: 'NAMESPACE_MISSING' })
  })

  it('keeps the packets of an address while thousands of others change', async () => {
    const ours = ['10.9.9.9', '2001:db8::9']
    const others = (round: number) =>
      Array.from({ length: 5000 }, (_, i) =>
        i % 2 ? `10.${round}.${i >> 8}.${i & 255}` : `2001:db8:${round.toString(16)}::${i.toString(16)}`,
      )
    const watcher = await watch({ addresses: [...ours, ...others(0)] })
    const flood = spawnFlood(network, [datagram({ to: ours[0]! }), datagram6({ to: ours[1]! }), datagram({})])
    let rounds = 0
    for (const until = Date.now() + 1500; rounds < 8 || Date.now() < until; await pause(10))
      watcher.capture.retarget([...ours, ...others(++rounds)])
    const sent = await flood.stop()
    const { seen, passed, untargeted, dropped } = await watcher.stop()
    assert.ok(sent > 300, `only ${sent} were sent`)
    assert.deepEqual(
      { seen, passed, untargeted, dropped },
      { seen: sent, passed: (sent / 3) * 2, untargeted: sent / 3, dropped: 0 },
    )
  })

  it('captures everything again when no addresses are wanted any more', async () => {
    const watcher = await watch({ addresses: ['10.0.0.77'] })
    sender.send(datagram({}))
    watcher.capture.retarget(null)
    sender.send(datagram({}))
    watcher.capture.retarget([])
    sender.send(datagram({}))
    const { passed, untargeted } = await watcher.stop()
    assert.deepEqual([passed, untargeted], [1, 2])
  })

  it('takes a sample of flows, each whole and in both directions', async () => {
    const watcher = await watch({ samplePercent: 30 })
    const flows = 1000
    for (let round = 0; round < 4; round++)
      for (let flow = 0; flow < flows; flow++) sender.send(inFlow(flow, round % 2 === 1))
    const { passed, sampledOut } = await watcher.stop()
    assert.equal(passed + sampledOut, 4 * flows)
    const counts = new Map<number, number>()
    for (const { bytes } of watcher.packets) counts.set(flowOf(bytes), (counts.get(flowOf(bytes)) ?? 0) + 1)
    assert.ok([...counts.values()].every(count => count === 4))
    assert.ok(counts.size > 0.24 * flows && counts.size < 0.36 * flows, `${counts.size} of ${flows} flows`)
  })

  it('shares the packets among several sockets, a flow at one of them', async () => {
    const watcher = await watch({ fanout: 4, interfaces: 'any' })
    for (let i = 0; i < 8000; i++) sender.send(inFlow(i % 100, false, i))
    const { seen, passed } = await watcher.stop()
    assert.deepEqual([seen, passed], [8000, 8000])
    const last = new Map<number, number>()
    for (const { bytes } of watcher.packets) {
      const number = bytes.readUInt32BE(42)
      assert.ok(number > (last.get(flowOf(bytes)) ?? -1))
      last.set(flowOf(bytes), number)
    }
  })

  it('recognises a packet that is seen on both ends of a veth, and no packet that is sent again', async () => {
    network.pair(['here', 'left'], ['here', 'right'])
    const left = network.sender('here', 'left')
    const watcher = await watch({ interfaces: ['left', 'right'], deduplicate: true })
    for (let i = 0; i < 500; i++) left.send(datagram({ payload: numbered(i % 50, 20) }))
    const { seen, passed, duplicates } = await watcher.stop()
    assert.deepEqual({ seen, passed, duplicates }, { seen: 1000, passed: 500, duplicates: 500 })
    const all = await watch({ interfaces: ['left', 'right'] })
    left.send(datagram({}))
    assert.equal((await all.stop()).passed, 2)
    network.ip('here', 'link', 'delete', 'left')
  })

  it('recognises a packet before and after it was routed', async () => {
    network.add('beyond')
    network.pair(['here', 'onward'], ['beyond', 'end'])
    for (const words of ['address add 10.0.0.254/24 dev home', 'address add 10.1.0.254/24 dev onward'])
      network.ip('here', ...words.split(' '))
    network.ip('here', ...'neighbour add 10.1.0.2 lladdr 02:00:00:00:00:77 dev onward'.split(' '))
    network.run('here', 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward')
    const router = /ether ([0-9a-f:]+)/.exec(network.run('here', 'ip', 'link', 'show', 'home'))![1]!
    const watcher = await watch({ interfaces: 'any', deduplicate: true, filter: 'dst host 10.1.0.2' })
    for (let i = 0; i < 100; i++) {
      const frame = datagram({ to: '10.1.0.2', payload: numbered(i, 20) })
      frame.write(router.replaceAll(':', ''), 0, 'hex')
      sender.send(withChecksum(frame))
    }
    await settled(() => watcher.handed === 100)
    const { seen, passed, duplicates } = await watcher.stop()
    network.ip('here', 'link', 'delete', 'onward')
    network.ip('here', 'address', 'flush', 'dev', 'home')
    assert.deepEqual({ seen, passed, duplicates }, { seen: 200, passed: 100, duplicates: 100 })
    assert.equal(watcher.counters('home').passed, 100)
  })

  it('captures at interfaces that come, and goes on when they go', async () => {
    const any = await watch({ interfaces: 'any' })
    const named = await watch({ interfaces: ['home', 'guest'] })
    assert.match(named.remarks.join(), /no interface is called guest: it is captured when it comes/)
    network.pair(['there', 'visit'], ['here', 'guest'])
    const visitor = network.sender('there', 'visit')
    // At once where all are captured, though nobody has heard of the interface yet.
    for (let i = 0; i < 100; i++) visitor.send(datagram({}))
    await settled(() => named.interfaces.length === 2)
    for (let i = 0; i < 100; i++) visitor.send(datagram({}))
    network.ip('here', 'link', 'delete', 'guest')
    sender.send(datagram({}))
    await settled(() => any.counters('guest').passed === 200 && named.counters('guest').passed === 100)
    assert.match(named.remarks.join(), /guest has gone: it is captured again when it comes/)
    assert.deepEqual(any.remarks, [])
    network.pair(['there', 'visit'], ['here', 'guest'])
    await settled(() => named.interfaces.length === 3)
    const again = network.sender('there', 'visit')
    for (let i = 0; i < 50; i++) again.send(datagram({}))
    await Promise.all([any.stop(), named.stop()])
    network.ip('here', 'link', 'delete', 'guest')
    const passed = (watcher: Watcher) =>
      watcher.interfaces
        .map(({ id, name }) => [name, watcher.counted.get(id)!.passed])
        .filter(([, count]) => count !== 0)
    assert.deepEqual(passed(any), [
      ['home', 1],
      ['guest', 200],
      ['guest', 50],
    ])
    assert.deepEqual(passed(named), [
      ['home', 1],
      ['guest', 100],
      ['guest', 50],
    ])
  })

  it('goes on with an interface that was down for a while', async () => {
    const watcher = await watch()
    network.ip('here', 'link', 'set', 'home', 'down')
    await pause(100)
    network.ip('here', 'link', 'set', 'home', 'up')
    sender.send(datagram({}))
    assert.equal((await watcher.stop()).passed, 1)
    assert.deepEqual(watcher.faults, [])
  })

  it('finds the namespace of a process', async () => {
    const sleeper = spawn('ip', ['netns', 'exec', network.path('here').split('/').at(-1)!, 'sleep', '60'])
    await pause(300)
    const watcher = await watch({ namespace: `/proc/${sleeper.pid}/ns/net` })
    sender.send(datagram({}))
    assert.equal((await watcher.stop()).passed, 1)
    sleeper.kill('SIGKILL')
  })

  it('captures packets of IP at tunnels, and cooked ones where nobody knows the link layer', async function () {
    const packets = [datagram({}), datagram({ toPort: 53 }), datagram6({ to: '2001:db8::2' })].map(frame =>
      frame.subarray(14),
    )
    for (const [hardware, linkType, cooked] of [
      [ARPHRD.none, 101, ''],
      [ARPHRD.ppp, 113, '0000' + '0200' + '0000' + '0000000000000000'],
    ] as const) {
      const tunnel = await Tunnel.open(network, hardware)
      if (tunnel === null) return this.skip()
      const all = await watch({ interfaces: ['tunnel'] })
      const some = await watch({
        interfaces: 'any',
        filter: 'udp port 53 or ip6',
        addresses: ['10.0.0.2', '2001:db8::1'],
      })
      const none = await watch({ interfaces: ['tunnel'], filter: 'ether host 02:00:00:00:00:01' })
      for (const packet of packets) tunnel.send(packet)
      await settled(() => all.handed === 3)
      const counts = await Promise.all([all.stop(), some.stop(), none.stop()])
      tunnel.close()
      assert.deepEqual(
        counts.map(({ seen, passed, filtered }) => [seen, passed, filtered]),
        [
          [3, 3, 0],
          [3, 2, 1],
          [3, 0, 3],
        ],
      )
      assert.equal(all.interfaces[0]!.linkType, linkType)
      assert.match(none.remarks.join(), /tunnel has no frames of Ethernet/)
      const types = ['0800', '0800', '86dd']
      const expected = packets.map((packet, i) => {
        const head = cooked === '' ? '' : cooked + types[i]
        return [head + packet.toString('hex'), packet.length + head.length / 2]
      })
      assert.deepEqual(
        all.packets.map(({ bytes, length }) => [bytes.toString('hex'), length]),
        expected,
      )
    }
  })

  it('sees a packet of the loopback once', async () => {
    const watcher = await watch({ interfaces: ['lo'] })
    const local = network.sender('here', 'lo')
    for (let i = 0; i < 10; i++) local.send(datagram({ to: '127.0.0.1' }))
    const { seen, passed } = await watcher.stop()
    // The datagrams are for nobody, and nobody answers them.
    assert.deepEqual([seen, passed], [10, 10])
  })

  it('leaves packets in the kernel while nobody takes them, and counts those that find no room there', async () => {
    const watcher = await watch({ bufferBytes: 1 << 20 })
    watcher.remember = false
    const big = datagram({ payload: Buffer.alloc(1400) })
    const sent = 40_000
    // The event loop is busy as long as this takes.
    for (let i = 0; i < sent; i++) sender.send(big)
    const { seen, passed, dropped, freezes } = await watcher.stop()
    assert.equal(seen, sent)
    assert.equal(passed + dropped, sent)
    assert.ok(dropped > 0 && freezes > 0 && passed * 1400 > 12 << 20)
  })

  it('tells the truth in the middle of a capture, too', async () => {
    const watcher = await watch({ interfaces: 'any', filter: 'udp port 53' })
    for (let i = 0; i < 100; i++) sender.send(datagram({ toPort: i % 2 ? 53 : 54 }))
    await settled(() => watcher.handed === 50)
    watcher.capture.count()
    const { seen, passed, filtered } = watcher.counters('home')
    assert.deepEqual({ seen, passed, filtered }, { seen: 100, passed: 50, filtered: 50 })
  })

  for (const host of ['127.0.0.1', '::1'])
    it(`leaves Hookline’s own connections to ${host} out, and nobody else’s to the same server`, async function () {
      const server = createServer(socket => socket.on('error', () => {}).pipe(socket)).listen(0, host)
      const [refused] = (await Promise.race([once(server, 'listening'), once(server, 'error')])) as [Error?]
      if (refused !== undefined) return this.skip()
      const { port } = server.address() as { port: number }
      const script = `
        const socket = require('node:net').connect(${port}, '${host}', () => socket.write('theirs'))
        socket.on('data', () => { console.log(socket.localPort); socket.end() })`
      const options = { namespace: null, interfaces: ['lo'], filter: `tcp port ${port}`, own: false }
      const watcher = await watch(options)
      assert.deepEqual(watcher.remarks, [])
      for (let i = 0; i < 20; i++) await talk(host, port)
      const other = spawn(process.execPath, ['-e', script])
      const [theirs] = (await once(createInterface(other.stdout), 'line')) as [string]
      await once(other, 'exit')
      await pause(100)
      const { own, passed } = await watcher.stop()
      assert.ok(own >= 20 * 6 && passed >= 6, `${own} own packets, ${passed} others`)
      const transport = host === '::1' ? 54 : 34
      const ports = new Set(
        watcher.packets.flatMap(({ bytes }) => [bytes.readUInt16BE(transport), bytes.readUInt16BE(transport + 2)]),
      )
      assert.deepEqual([...ports].sort(), [port, Number(theirs)].sort())

      const everything = await watch({ ...options, own: true })
      await talk(host, port)
      const all = await everything.stop()
      server.close()
      assert.deepEqual([all.own, all.passed >= 6], [0, true])
    })

  it('leaves out a connection that Hookline had before it began to capture', async () => {
    const server = createServer(socket => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const watcher = await watch({ namespace: null, interfaces: ['lo'], filter: `tcp port ${port}`, own: false })
    socket.write('hello')
    await once(socket, 'data')
    const { own, passed } = await watcher.stop()
    socket.destroy()
    server.close()
    assert.ok(own >= 3)
    assert.equal(passed, 0)
  })

  async function talk(host: string, port: number): Promise<void> {
    const socket = connect(port, host)
    socket.write('ours')
    await once(socket, 'data')
    socket.end()
    await once(socket, 'close')
  }

  async function settled(condition: () => boolean): Promise<void> {
    for (let waited = 0; !condition(); waited += 10) {
      assert.ok(waited < 5000, 'it does not come')
      await pause(10)
    }
  }
})

const UDP: Datagram = {
  from: '10.0.0.1',
  to: '10.0.0.2',
  fromPort: 40_000,
  toPort: 9999,
  protocol: 17,
  payload: Buffer.from('hello, world'),
}

function datagram(changes: Partial<Datagram>): Buffer {
  return frameOf({ ...UDP, ...changes })
}

function datagram6(changes: Partial<Datagram>): Buffer {
  return datagram({ from: '2001:db8::1', ...changes })
}

/** Of IPv4's header: routers look at it. */
function withChecksum(frame: Buffer): Buffer {
  let sum = 0
  for (let at = 14; at < 34; at += 2) sum += at === 24 ? 0 : frame.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  frame.writeUInt16BE(~sum & 0xffff, 24)
  return frame
}

function numbered(number: number, size: number): Buffer {
  const payload = Buffer.alloc(size, number & 255)
  payload.writeUInt32BE(number, 0)
  return payload
}

function tagged(frame: Buffer, control: number, type = 0x8100): Buffer {
  return Buffer.concat([
    frame.subarray(0, 12),
    Buffer.from([type >> 8, type & 255, control >> 8, control & 255]),
    frame.subarray(12),
  ])
}

function syn(): Buffer {
  const frame = datagram({ protocol: 6, toPort: 80 })
  frame[14 + 20 + 13] = 2
  return frame
}

function arp(): Buffer {
  const frame = Buffer.alloc(60)
  frame.write('020000000102020000000002', 'hex')
  frame.writeUInt16BE(0x0806, 12)
  return frame
}

function fromStation(frame: Buffer): Buffer {
  frame.write('020000000009', 6, 'hex')
  return frame
}

const SAMPLER: readonly Buffer[] = [
  datagram({}),
  datagram({ toPort: 53 }),
  datagram({ fromPort: 53, from: '10.0.0.2', to: '10.0.0.1' }),
  datagram({ to: '10.0.0.9', payload: Buffer.alloc(600) }),
  fromStation(datagram({ from: '10.0.0.9', to: '192.168.0.1' })),
  datagram({ payload: Buffer.of(1, 2, 3, 4) }),
  syn(),
  datagram6({ to: '2001:db8::2' }),
  arp(),
  tagged(datagram({ toPort: 9998 }), 7),
]

function inFlow(flow: number, back: boolean, number = 0): Buffer {
  const [here, there] = [10_000 + flow, 443]
  const payload = numbered(number, 16)
  return back
    ? datagram({ from: '10.0.0.2', to: '10.0.0.1', fromPort: there, toPort: here, payload })
    : datagram({ fromPort: here, toPort: there, payload })
}

function flowOf(bytes: Seen['bytes']): number {
  return Math.max(bytes.readUInt16BE(34), bytes.readUInt16BE(36))
}

const ARPHRD = { none: 0xfffe, ppp: 512 } as const

/** A device `tunnel` within `here`, whose packets come from a process behind it; it goes with the process. */
class Tunnel {
  private readonly child: ChildProcess

  static async open(network: Network, hardware: number): Promise<Tunnel | null> {
    const script = `
import fcntl, struct, sys
tunnel = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(tunnel, 0x400454ca, struct.pack('16sH', b'tunnel', 0x1001))
fcntl.ioctl(tunnel, 0x400454cd, ${hardware})
print('ready', flush=True)
for line in sys.stdin: tunnel.write(bytes.fromhex(line.strip()))`
    const name = network.path('here').split('/').at(-1)!
    const child = spawn('ip', ['netns', 'exec', name, 'python3', '-c', script], { stdio: ['pipe', 'pipe', 'ignore'] })
    const [line] = (await Promise.race([once(createInterface(child.stdout), 'line'), once(child, 'exit')])) as [unknown]
    if (line !== 'ready') return null
    network.ip('here', 'link', 'set', 'tunnel', 'up')
    return new Tunnel(child)
  }

  private constructor(child: ChildProcess) {
    this.child = child
  }

  send(packet: Uint8Array): void {
    this.child.stdin!.write(`${Buffer.from(packet).toString('hex')}\n`)
  }

  close(): void {
    this.child.kill('SIGKILL')
  }
}

/** A process that sends the frames over and over again. */
function spawnFlood(network: Network, frames: readonly Buffer[]): { stop(): Promise<number> } {
  const module = new URL('../testing/network.ts', import.meta.url).href
  const script = `
    const { Sender } = await import(${JSON.stringify(module)})
    const sender = new Sender(${JSON.stringify(network.path('there'))}, 'away')
    const frames = ${JSON.stringify(frames.map(frame => frame.toString('hex')))}.map(text => Buffer.from(text, 'hex'))
    let [sent, going] = [0, true]
    process.stdin.on('end', () => { going = false }).resume()
    while (going) {
      for (let i = 0; i < 10; i++) for (const frame of frames) { sender.send(frame); sent++ }
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    console.log(sent)`
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return {
    async stop() {
      child.stdin!.end()
      const [sent] = (await once(createInterface(child.stdout!), 'line')) as [string]
      return Number(sent)
    },
  }
}
