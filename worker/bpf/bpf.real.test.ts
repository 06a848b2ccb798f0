import assert from 'node:assert/strict'
import { isAllowed, loadNative, whyNoNative } from '../native.ts'
import { Assembler } from './assembler.ts'
import { Bpf, type BpfCall } from './bpf.ts'
import { type ClassicInstruction, classicFilter, readClassic } from './classic.ts'
import { SELECTION_MAPS, SELECTION_STACK_BYTES, type Selection, selectPackets, Targets } from './selection.ts'

const DLT_EN10MB = 1
const DLT_RAW = 12
/** Of Ethernet and IPv6. */
const HEADERS = 54

interface Native {
  bpf: BpfCall
  compileFilter(expression: string, dlt: number, snapLength: number): Uint8Array | string
  filterMatches(program: Uint8Array, packet: Uint8Array): boolean
}

const missing = whyNoNative() ?? (isAllowed('sysAdmin') || isAllowed('bpf') ? null : 'without the capability BPF')

describe(`programs in the kernel${missing === null ? '' : ` (skipped: ${missing})`}`, () => {
  let native: Native
  let bpf: Bpf
  const open: number[] = []

  before(function () {
    if (missing !== null) this.skip()
    native = loadNative<Native>()
    bpf = new Bpf(native.bpf)
  })

  afterEach(() => {
    for (const descriptor of open.splice(0)) bpf.close(descriptor)
  })

  it('keeps what is put into a map', () => {
    const map = keep(bpf.createMap('test', { type: 'hash', keyBytes: 4, valueBytes: 8, entries: 100 }))
    for (let i = 0; i < 100; i++) bpf.update(map, Uint8Array.of(i, 0, 0, 0), new Uint8Array(8).fill(i))
    const value = new Uint8Array(8)
    assert.equal(bpf.lookup(map, Uint8Array.of(99, 0, 0, 0), value), true)
    assert.deepEqual(value, new Uint8Array(8).fill(99))
    assert.equal(bpf.lookup(map, Uint8Array.of(100, 0, 0, 0), value), false)
    assert.equal(bpf.delete(map, Uint8Array.of(99, 0, 0, 0)), true)
    assert.equal(bpf.delete(map, Uint8Array.of(99, 0, 0, 0)), false)
    assert.equal([...bpf.keys(map, 4)].length, 99)
    assert.throws(() => {
      for (let i = 0; i < 200; i++) bpf.update(map, Uint8Array.of(i, 1, 0, 0), value)
    }, /update a map: E2BIG/)
  })

  it('changes many keys at once, whatever was there', () => {
    const map = keep(bpf.createMap('test', { type: 'hash', keyBytes: 4, valueBytes: 8, entries: 1000 }))
    const keys = Array.from({ length: 900 }, (_, i) => Uint8Array.of(i & 255, i >> 8, 0, 0))
    bpf.updateAll(map, keys.slice(0, 500), new Uint8Array(8).fill(1))
    bpf.updateAll(map, keys, new Uint8Array(8).fill(2))
    assert.equal([...bpf.keys(map, 4)].length, 900)
    const value = new Uint8Array(8)
    assert.ok(keys.every(key => bpf.lookup(map, key, value) && value[7] === 2))
    bpf.delete(map, keys[100]!)
    bpf.deleteAll(map, keys.slice(0, 300))
    assert.equal([...bpf.keys(map, 4)].length, 600)
    bpf.updateAll(map, [], value)
    assert.throws(
      () =>
        bpf.updateAll(
          map,
          Array.from({ length: 2000 }, (_, i) => Uint8Array.of(i & 255, i >> 8, 1, 0)),
          value,
        ),
      /E2BIG/,
    )
  })

  it('tells what the verifier does not like', () => {
    const program = new Assembler().load('r0', 'u32', 'r1', 1000).exit()
    assert.throws(
      () => bpf.loadProgram('wrong', { type: 'socket_filter' }, program, {}),
      /load the program wrong: EACCES: .*invalid bpf_context access off=1000/,
    )
  })

  it('calculates as RFC 9669 says', () => {
    const CASES: readonly [write: (to: Assembler) => Assembler, expected: number][] = [
      [a => a.alu('r0', '=', 7).alu('r0', '*=', 6), 42],
      [a => a.alu('r0', '=', -1).alu('w0', '>>=', 28), 15],
      [a => a.alu('r0', '=', -16).alu('r0', 's>>=', 2), 0xffff_fffc],
      [a => a.constant('r0', 0x1_0000_0002n).alu('r0', '>>=', 32), 1],
      [a => a.constant('r0', 0x1_0000_0002n).alu('w0', '+=', 0), 2],
      [a => a.alu('r0', '=', 0x1234).swap('r0', 16), 0x3412],
      [a => a.alu('r0', '=', 0x1234).swap('r0', 32), 0x3412_0000],
      [a => a.alu('r0', '=', 17).alu('r0', '%=', 5).negate('w0').alu('w0', '&=', 0xff), 254],
      [
        a =>
          a
            .store('u64', 'r10', -8, 5)
            .alu('r1', '=', 37)
            .addAtomically('u64', 'r10', -8, 'r1')
            .load('r0', 'u64', 'r10', -8),
        42,
      ],
      [a => a.alu('w0', '=', 1).alu('r1', '=', -1).jumpIf('r1', 's<', 0, 'end').alu('w0', '=', 2).label('end'), 1],
      [a => a.alu('w0', '=', 1).alu('r1', '=', -1).jumpIf('r1', '<', 9, 'end').alu('w0', '=', 2).label('end'), 2],
    ]
    for (const [write, expected] of CASES) {
      const program = keep(bpf.loadProgram('sum', { type: 'socket_filter' }, write(new Assembler()).exit(), {}))
      assert.equal(bpf.test(program, new Uint8Array(64)), expected, write.toString())
    }
  })

  describe('filters of libpcap', () => {
    const EXPRESSIONS = [
      '',
      'tcp',
      'udp port 53',
      'host 10.1.2.3',
      'net 10.0.0.0/8 and not port 22',
      'ip6',
      'ip6 host 2001:db8::1',
      'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
      'ip[6:2] & 0x1fff = 0',
      'tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)',
      'portrange 1000-2000',
      'tcp[25] = 0',
      'greater 100',
      'less 80',
      'icmp[icmptype] = 8',
      'ip proto 17 or ip6 proto 17',
      'src host 10.1.2.3 and dst port 8080 or dst host 10.9.9.9 and src portrange 30000-40000',
      'ip[8] * 2 > 100',
      'ip[8] / 3 = ip[9] % 7',
      'ip[8] ^ ip[9] = 3 or -ip[8] & 0xff = 0xc0',
    ]

    for (const [context, dlt] of [
      ['Ethernet', DLT_EN10MB],
      ['IP', DLT_RAW],
    ] as const)
      it(`decide as libpcap does, at packets that begin with ${context}`, () => {
        const random = randomNumbers(7)
        for (const expression of [
          ...EXPRESSIONS,
          ...(dlt === DLT_EN10MB ? ['vlan 5', 'arp', 'ether[0] & 1 = 1'] : []),
        ]) {
          const classic = native.compileFilter(expression, dlt, 262_144)
          assert.ok(typeof classic !== 'string', `${expression}: ${classic}`)
          const program = keep(loadClassic(readClassic(classic), dlt))
          let matched = 0
          for (let i = 0; i < 400; i++) {
            const packet = randomPacket(random, dlt)
            const expected = native.filterMatches(classic, packet)
            if (expected) matched++
            assert.equal(
              bpf.test(program, framed(packet, dlt)) === 1,
              expected,
              `${expression}: ${Buffer.from(packet).toString('hex')}`,
            )
          }
          if (expression === 'tcp') assert.ok(matched > 50)
        }
      })

    /** A classifier is shown the Ethernet header of the test run, a socket filter what comes behind it. */
    function loadClassic(filter: readonly ClassicInstruction[], dlt: number): number {
      const program = new Assembler().alu('r6', '=', 'r1')
      classicFilter(program, filter, 'skb', 0, 'yes', 'no')
      program.label('yes').alu('r0', '=', 1).exit().label('no').alu('r0', '=', 0).exit()
      return bpf.loadProgram('filter', { type: dlt === DLT_EN10MB ? 'sched_cls' : 'socket_filter' }, program, {})
    }
  })

  describe('the selection of packets', () => {
    const WANTED = 1
    const UNTARGETED = 2
    const SAMPLED_OUT = 3

    it('keeps to addresses while they change', () => {
      const { program, targets } = load({ context: 'skb', link: 'ethernet', samplePercent: 100, filter: null })
      const ask = (packet: Uint8Array) => bpf.test(program, packet)
      const v4 = ethernet(ipv4('10.1.2.3', '10.9.9.9', 6, 1000, 80))
      const v6 = ethernet(ipv6('2001:db8::1', 'fd00::2', 17, 1000, 53), 0x86dd)
      const arp = ethernet(new Uint8Array(46), 0x0806)
      assert.deepEqual([v4, v6, arp].map(ask), [WANTED, WANTED, WANTED])
      targets.set([])
      assert.deepEqual([v4, v6, arp].map(ask), [UNTARGETED, UNTARGETED, UNTARGETED])
      targets.set(['10.1.2.3'])
      assert.deepEqual([v4, v6, arp].map(ask), [WANTED, UNTARGETED, UNTARGETED])
      targets.set(['10.9.9.9', 'fd00:0::2'])
      assert.deepEqual([v4, v6, arp].map(ask), [WANTED, WANTED, UNTARGETED])
      targets.set(['fd00::2', '2001:0db8::1'])
      assert.deepEqual([v4, v6, arp].map(ask), [UNTARGETED, WANTED, UNTARGETED])
      targets.set(['2001:db8::1'])
      assert.deepEqual([v4, v6, arp].map(ask), [UNTARGETED, WANTED, UNTARGETED])
      targets.set(null)
      assert.deepEqual([v4, v6, arp].map(ask), [WANTED, WANTED, WANTED])
      assert.throws(() => targets.set(['10.1.2']), /10\.1\.2 is no IP address/)
    })

    it('finds the addresses behind tags of VLANs', () => {
      const { program, targets } = load({ context: 'skb', link: 'ethernet', samplePercent: 100, filter: null })
      targets.set(['10.1.2.3'])
      const packet = ipv4('10.1.2.3', '10.9.9.9', 6, 1000, 80)
      const tag = (type: number, inner: number, rest: Uint8Array) =>
        Uint8Array.of(...new Uint8Array(12), type >> 8, type & 255, 0, 5, inner >> 8, inner & 255, ...rest)
      assert.equal(bpf.test(program, tag(0x8100, 0x0800, packet)), WANTED)
      const two = Uint8Array.of(0x81, 0x00, 0, 7, 0x08, 0x00, ...packet)
      assert.equal(bpf.test(program, Uint8Array.of(...new Uint8Array(12), 0x88, 0xa8, 0, 5, ...two)), WANTED)
      assert.equal(bpf.test(program, tag(0x8100, 0x0806, packet)), UNTARGETED)
    })

    it('keeps so many of a hundred flows, both directions of each', () => {
      for (const [percent, link] of [
        [10, 'ethernet'],
        [50, 'ethernet'],
      ] as const) {
        const { program } = load({ context: 'skb', link, samplePercent: percent, filter: null })
        const random = randomNumbers(percent)
        let kept = 0
        const flows = 3000
        for (let i = 0; i < flows; i++) {
          const a = `10.0.${i >> 8}.${i & 255}`
          const port = 30_000 + (random() % 20_000)
          const forth = bpf.test(program, ethernet(ipv4(a, '10.96.0.1', 6, port, 443)))
          const back = bpf.test(program, ethernet(ipv4('10.96.0.1', a, 6, 443, port)))
          assert.equal(forth, back)
          assert.ok(forth === WANTED || forth === SAMPLED_OUT)
          if (forth === WANTED) kept++
        }
        assert.ok(Math.abs(kept / flows - percent / 100) < 0.03, `${kept} of ${flows} at ${percent} %`)
      }
    })

    it('never reads beyond any packet', () => {
      const filter = native.compileFilter('tcp port 80 or udp', DLT_EN10MB, 262_144) as Uint8Array
      const selection = { context: 'skb', link: 'ethernet', samplePercent: 50, filter: readClassic(filter) } as const
      const { program, targets } = load(selection)
      targets.set(['10.1.2.3'])
      const random = randomNumbers(3)
      for (let i = 0; i < 2000; i++) {
        const answer = bpf.test(program, randomPacket(random, DLT_EN10MB))
        assert.ok(answer >= 1 && answer <= 4, String(answer))
      }
    })

    it('decides the same at XDP', () => {
      const filter = readClassic(native.compileFilter('tcp port 80 or udp', DLT_EN10MB, 262_144) as Uint8Array)
      const skb = load({ context: 'skb', link: 'ethernet', samplePercent: 50, filter })
      const xdp = load({ context: 'xdp', link: 'ethernet', samplePercent: 50, filter }, 'xdp')
      const random = randomNumbers(5)
      for (let i = 0; i < 1000; i++) {
        const packet = randomPacket(random, DLT_EN10MB)
        assert.equal(bpf.test(xdp.program, packet), bpf.test(skb.program, packet))
      }
    })

    function load(selection: Selection, type: 'sched_cls' | 'xdp' = 'sched_cls') {
      const maps = {
        targets: keep(bpf.createMap('targets', SELECTION_MAPS.targets)),
        targeting: keep(bpf.createMap('targeting', SELECTION_MAPS.targeting)),
      }
      const to = new Assembler().alu('r6', '=', 'r1')
      const names = { wanted: 'wanted', untargeted: 'untargeted', sampledOut: 'sampledOut', filtered: 'filtered' }
      selectPackets(to, selection, 0, names)
      for (const [index, name] of Object.values(names).entries())
        to.label(name)
          .alu('r0', '=', index + 1)
          .exit()
      assert.ok(SELECTION_STACK_BYTES < 400)
      return { program: keep(bpf.loadProgram('selection', { type }, to, maps)), targets: new Targets(bpf, maps) }
    }
  })

  function keep(descriptor: number): number {
    open.push(descriptor)
    return descriptor
  }
})

function ethernet(packet: Uint8Array, type = 0x0800): Uint8Array {
  return Uint8Array.of(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 255, ...packet)
}

function ipv4(from: string, to: string, protocol: number, source: number, destination: number): Uint8Array {
  const addresses = [...from.split('.'), ...to.split('.')].map(Number)
  const ports = [source >> 8, source & 255, destination >> 8, destination & 255]
  return Uint8Array.of(0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, protocol, 0, 0, ...addresses, ...ports, ...new Uint8Array(36))
}

function ipv6(from: string, to: string, protocol: number, source: number, destination: number): Uint8Array {
  const ports = [source >> 8, source & 255, destination >> 8, destination & 255]
  return Uint8Array.of(
    0x60,
    0,
    0,
    0,
    0,
    24,
    protocol,
    64,
    ...bytes6(from),
    ...bytes6(to),
    ...ports,
    ...new Uint8Array(20),
  )
}

function bytes6(address: string): number[] {
  const [left = '', right = ''] = address.split('::')
  const words = (text: string) => (text === '' ? [] : text.split(':').map(word => Number.parseInt(word, 16)))
  const [before, after] = [words(left), words(right)]
  const all = [...before, ...new Array(8 - before.length - after.length).fill(0), ...after]
  return all.flatMap(word => [word >> 8, word & 255])
}

/** What the filters of the tests ask for is likely in it, and it may end anywhere. */
function randomPacket(random: () => number, dlt: number): Uint8Array {
  const pick = <T>(values: readonly T[]) => values[random() % values.length]!
  const address = () => pick(['10.1.2.3', '10.9.9.9', `10.${random() % 256}.0.1`, '192.168.1.1'])
  const port = () => pick([22, 53, 80, 8080, 1000 + (random() % 2000), 30_000 + (random() % 10_000)])
  const six = random() % 4 === 0
  const protocol = pick([1, 6, 6, 17, 17, 58])
  const packet = six
    ? ipv6(pick(['2001:db8::1', 'fd00::2']), 'fd00::3', protocol, port(), port())
    : ipv4(address(), address(), protocol, port(), port())
  for (let i = 0; i < 3; i++)
    packet[pick([0, 2, 3, 6, 7, 8, 12, 20, 32, 33])] ^= pick([0, 0, 1, 2, 0x20, random() % 256])
  const type = six ? 0x86dd : pick([0x0800, 0x0800, 0x0800, 0x0806, 0x8100])
  const whole = dlt === DLT_EN10MB ? ethernet(packet, type) : packet
  // The kernel's test run wants the header of IP to be whole.
  return random() % 3 === 0 ? whole.slice(0, HEADERS + (random() % (whole.length - HEADERS))) : whole
}

/** What the kernel's test run wants: it takes the first fourteen bytes for an Ethernet header. */
function framed(packet: Uint8Array, dlt: number): Uint8Array {
  return dlt === DLT_EN10MB ? packet : ethernet(packet)
}

function randomNumbers(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return seed >>> 8
  }
}
