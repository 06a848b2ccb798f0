import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CaptureNotes } from './capture-notes.ts'
import { Fault } from './fault.ts'
import { emptyPacket, type Packet } from './packet.ts'
import { CaptureParser, PcapWriter } from './pcap.ts'
import { PcapngWriter } from './pcapng-writer.ts'

const FIXTURES = join(import.meta.dirname, 'fixtures/pcap')
const fixtures = readdirSync(FIXTURES)
  .filter(name => /\.pcap(ng)?$/.test(name))
  .map(name => ({ name, bytes: new Uint8Array(readFileSync(join(FIXTURES, name))) }))

const BODY = Uint8Array.of(0xca, 0xfe, 0x07)
const NOTHING: Uint8Array = new Uint8Array(0)
const BODY4 = Uint8Array.of(1, 2, 3, 4)

const NAMES = [
  { address: '10.0.0.7', name: 'cart.shop' },
  { address: '2001:db8::1', name: 'cart6.shop' },
]
const COUNTERS = { received: 1200, dropped: 0, accepted: null, droppedBySystem: '18446744073709551615', delivered: 7 }
const SECRETS = 'CLIENT_RANDOM 00 11\n'

/** One packet as plain data: time, captured, length, link type, interface, hash. */
type Fact = string

interface Reading {
  format: string | null
  packets: Fact[]
  notes: CaptureNotes
  fault: string | null
}

describe('a capture', () => {
  for (const { name, bytes } of fixtures)
    it(`reads as written down: ${name}`, () => {
      const { format, packets, notes } = read(bytes)
      const path = join(FIXTURES, `${name}.json`)
      const found = `${JSON.stringify({ format, packets, notes }, null, 2)}\n`
      if (process.env.UPDATE === '1') writeFileSync(path, found)
      assert.deepEqual(JSON.parse(found), JSON.parse(readFileSync(path, 'utf8')))
    })

  for (const { name, bytes } of [...fixtures, ...built()]) {
    it(`reads the same in pieces of any size: ${name}`, () => {
      const whole = read(bytes)
      for (const size of [1, 3, 7, 16, 61]) assert.deepEqual(read(bytes, size), whole)
    })

    it(`cut anywhere, gives the packets before the cut and says what was cut: ${name}`, () => {
      const whole = read(bytes)
      for (let length = 0; length < bytes.length; length++) {
        const cut = read(bytes.subarray(0, length))
        assert.deepEqual(cut.packets, whole.packets.slice(0, cut.packets.length))
        assert.equal(cut.notes.bytes, length)
        if (cut.fault === null) assertAccounted(cut.notes)
        else assert.match(cut.fault, /CAPTURE_(EMPTY|HEADER_CUT)/)
      }
    })

    it(`changed at random, throws nothing but a Fault, ends, and accounts for every byte: ${name}`, () => {
      const random = xorshift(20_240_607)
      for (let round = 0; round < 300; round++) {
        const changed = bytes.slice()
        for (let i = random(8); i >= 0; i--) changed[random(changed.length)] = random(256)
        const { notes, fault } = read(changed)
        if (fault === null) assertAccounted(notes)
      }
    })
  }
})

describe('a classic pcap', () => {
  const orders = [
    { order: 'little endian', little: true },
    { order: 'big endian', little: false },
  ]
  for (const { order, little } of orders)
    for (const { magic, fraction, nanoseconds } of [
      { magic: 0xa1b2c3d4, fraction: 123_456, nanoseconds: 123_456_000 },
      { magic: 0xa1b23c4d, fraction: 123_456_789, nanoseconds: 123_456_789 },
      { magic: 0xa1b2cd34, fraction: 123_456, nanoseconds: 123_456_000 },
    ])
      it(`of magic ${magic.toString(16)} is read, ${order}`, () => {
        const patched = magic === 0xa1b2cd34 ? u32s(little, 5, 6) : NOTHING
        const record = concat(u32s(little, 0xfffffffe, fraction, 3, 1500), patched, BODY)
        const packet = only(concat(pcapHeader({ little, magic, link: 101 }), record))
        assert.equal(packet.seconds, 0xfffffffe)
        assert.equal(packet.nanoseconds, nanoseconds)
        assert.equal(packet.length, 1500)
        assert.equal(packet.linkType, 101)
        assert.deepEqual(view(packet), BODY)
      })

  it('has its lengths the other way round up to version 2.2, and in 2.3 where they would contradict each other', () => {
    for (const [minor, first, second] of [
      [2, 1500, 3],
      [3, 1500, 3],
      [3, 3, 1500],
      [4, 3, 1500],
    ] as const) {
      const packet = only(concat(pcapHeader({ minor }), u32s(true, 1, 2, first, second), BODY))
      assert.deepEqual([view(packet), packet.length], [BODY, 1500])
    }
  })

  it('has the frame check sequence cut off where its length is declared', () => {
    const header = pcapHeader({ link: 0x24000001 })
    const whole = only(concat(header, u32s(true, 1, 2, 7, 7), BODY, u32s(true, 0xdeadbeef)))
    assert.deepEqual([whole.linkType, whole.length, view(whole)], [1, 3, BODY])
    const cut = only(concat(header, u32s(true, 1, 2, 3, 5), BODY))
    assert.deepEqual([cut.length, view(cut)], [1, BODY.subarray(0, 1)])
  })

  it('never says that a packet was shorter on the wire than in the capture', () => {
    assert.equal(only(concat(pcapHeader({}), u32s(true, 1, 2, 3, 0), BODY)).length, 3)
  })

  it('may hold packets longer than its snap length', () => {
    const long = new Uint8Array(262_144).fill(7)
    const { packets, notes } = read(concat(pcapHeader({ snap: 96 }), u32s(true, 1, 2, long.length, long.length), long))
    assert.equal(packets.length, 1)
    assert.deepEqual(notes.damage, [])
  })

  it('may hold packets of some link types that are larger than the buffer', () => {
    const long = new Uint8Array(3_000_000).map((_, i) => i % 251)
    const record = concat(u32s(true, 1, 2, long.length, long.length), long)
    const { packets } = read(concat(pcapHeader({ link: 231 }), record, record), 200_000)
    assert.equal(packets.length, 2)
    assert.equal(new Set(packets).size, 1)
    assert.ok(packets[0]!.endsWith(hash(long)))
  })
})

describe('a pcapng', () => {
  it('counts time in any unit, exactly to the nanosecond', () => {
    for (const [resolution, units, offset, seconds, nanoseconds] of [
      [6, 1_700_000_000_123_456n, 0n, 1_700_000_000, 123_456_000],
      [9, 1_700_000_000_999_999_999n, 0n, 1_700_000_000, 999_999_999],
      [9, 18_446_744_073_709_551_615n, 0n, 18_446_744_073, 709_551_615],
      [0, 1_700_000_000n, 0n, 1_700_000_000, 0],
      [3, 1_700_000_000_007n, 0n, 1_700_000_000, 7_000_000],
      [12, 1_700_000_123_456_789_012n, 0n, 1_700_000, 123_456_789],
      [0x80 | 20, (1_700_000_000n << 20n) | 524_289n, 0n, 1_700_000_000, 500_000_953],
      [0x80 | 32, (1_700_000_000n << 32n) | 0xffffffffn, 0n, 1_700_000_000, 999_999_999],
      [6, 5_000_001n, 1_700_000_000n, 1_700_000_005, 1000],
      [6, 1_700_000_000_000_001n, -3600n, 1_699_996_400, 1000],
    ] as const)
      for (const little of [true, false]) {
        const ng = builder(little)
        const offsetOption = new Uint8Array(8)
        new DataView(offsetOption.buffer).setBigInt64(0, offset, little)
        const packet = only(
          concat(
            ng.section(),
            ng.interface(1, [
              [9, Uint8Array.of(resolution)],
              [14, offsetOption],
            ]),
            ng.packet({ units }),
          ),
        )
        assert.deepEqual([packet.seconds, packet.nanoseconds], [seconds, nanoseconds], `${resolution}: ${units}`)
      }
  })

  it('gives a packet with an impossible time the time 0, and counts it', () => {
    const ng = builder(true)
    const { packets, notes } = read(
      concat(ng.section(), ng.interface(1, [[9, Uint8Array.of(0)]]), ng.packet({ units: 1n << 40n })),
    )
    assert.ok(packets[0]!.startsWith('0.000000000 '))
    assert.deepEqual(
      notes.damage.map(({ cause, offset, count }) => [cause, offset, count]),
      [['time out of range', 28 + 28, 1]],
    )
  })

  it('begins its interfaces and its byte order anew with every section', () => {
    const [little, big] = [builder(true), builder(false)]
    const bytes = concat(
      ...[little.section(), little.interface(1, []), little.interface(113, []), little.packet({ id: 1 })],
      ...[big.section(), big.interface(101, []), big.packet({ id: 0 }), big.packet({ id: 1 })],
    )
    const { packets, notes } = read(bytes)
    assert.deepEqual(
      packets.map(fact => fact.split(' ').slice(3, 5)),
      [
        ['113', '1'],
        ['101', '2'],
      ],
    )
    assert.equal(notes.sections, 2)
    assert.deepEqual(
      notes.damage.map(damage => damage.cause),
      ['unknown interface'],
    )
  })

  it('has the frame check sequence cut off that an interface or a packet declares', () => {
    const ng = builder(true)
    for (const [declared, flags, length] of [
      [4, null, 3],
      [32, null, 3],
      [0, 4 << 5, 3],
      [4, 2 << 5, 5],
      [0, null, 7],
    ] as const) {
      const options: Option[] = flags === null ? [] : [[2, u32s(true, flags)]]
      const body = concat(BODY, u32s(true, 0xdeadbeef))
      const packet = only(
        concat(ng.section(), ng.interface(1, [[13, Uint8Array.of(declared)]]), ng.packet({ body, options })),
      )
      assert.deepEqual([packet.length, packet.end - packet.start], [length, length])
    }
  })

  it('adds up the packets that its packets say were lost before them', () => {
    const ng = builder(true)
    const lost: Option[] = [[4, u32s(true, 40, 0)]]
    const old = (count: number) => ng.block(2, u16s(true, 0, count), u32s(true, 0, 0, 3, 3), padded(BODY))
    const { notes, packets } = read(
      concat(ng.section(), ng.interface(1, []), ng.packet({ options: lost }), old(2), old(0xffff), ng.packet({})),
    )
    assert.equal(packets.length, 4)
    assert.equal(notes.interfaces[0]!.lost, 42)
  })

  it('knows of a simple packet only that it was cut at the snap length, and no time', () => {
    const ng = builder(true)
    const described = ng.block(1, u16s(true, 1, 0), u32s(true, 5))
    const packet = only(concat(ng.section(), described, ng.block(3, u32s(true, 100), BODY4, BODY4)))
    assert.deepEqual([packet.end - packet.start, packet.length, packet.seconds], [5, 100, 0])
  })

  it('skips blocks that it does not know, and counts them by type, of which there may be very many', () => {
    const ng = builder(true)
    const strange = Array.from({ length: 1000 }, (_, i) => ng.block(0x70000000 + i, BODY4))
    const { notes } = read(concat(ng.section(), ng.block(0xbad, BODY4), ...strange))
    assert.deepEqual(notes.skippedBlocks.custom, { count: 1, bytes: 16 })
    assert.ok(Object.keys(notes.skippedBlocks).length <= 65)
    assert.equal(notes.skippedBlocks.others!.count + Object.keys(notes.skippedBlocks).length - 2, 1000)
    assertAccounted(notes)
  })

  it('keeps names, comments and secrets up to a limit, and counts the rest', () => {
    const writer = new PcapngWriter()
    const long = 'n'.repeat(1000)
    const names = writer.names(Array.from({ length: 9000 }, () => ({ address: '10.0.0.7', name: long })))
    const comments = Array.from({ length: 1100 }, () => writer.section(long))
    const secrets = Array.from({ length: 18 }, () => writer.secrets('TLSK', long.repeat(1000)))
    const { notes } = read(concat(writer.section(null), names, ...comments, ...secrets))
    assert.equal(notes.names.length + notes.dropped.names, 9000)
    assert.equal(notes.comments.length + notes.dropped.comments, 1100)
    assert.equal(notes.secrets.length + notes.dropped.secrets, 18)
    for (const dropped of Object.values(notes.dropped)) assert.ok(dropped > 0)
    assertAccounted(notes)
  })
})

describe('damage', () => {
  const ng = builder(true)
  const start = concat(ng.section(), ng.interface(1, []), ng.packet({}))
  const classic = concat(pcapHeader({}), u32s(true, 1, 2, 3, 3), BODY)

  for (const { what, bytes, cause, packets, found } of [
    {
      what: 'a record cut in its bytes',
      bytes: [classic, u32s(true, 1, 2, 9, 9), BODY],
      cause: 'record cut short',
      packets: 1,
      found: '19 bytes and then the end',
    },
    {
      what: 'a record cut in its header',
      bytes: [classic, u32s(true, 1, 2)],
      cause: 'record cut short',
      packets: 1,
      found: '8 bytes and then the end',
    },
    {
      what: 'a record of an absurd length',
      bytes: [classic, u32s(true, 1, 2, 262_145, 3), BODY, classic],
      cause: 'record length',
      packets: 1,
      found: 'a length of 262145',
    },
    {
      what: 'a pcap behind a pcap',
      bytes: [classic, classic],
      cause: 'another capture follows',
      packets: 1,
      found: 'the beginning of a capture',
    },
    {
      what: 'a big-endian pcap behind a pcap',
      bytes: [classic, pcapHeader({ little: false })],
      cause: 'another capture follows',
      packets: 1,
      found: 'the beginning of a capture',
    },
    {
      what: 'a pcapng behind a pcap',
      bytes: [classic, start],
      cause: 'another capture follows',
      packets: 1,
      found: 'the beginning of a capture',
    },
    {
      what: 'too many units in a second',
      bytes: [pcapHeader({}), u32s(true, 1, 1_000_000, 3, 3), BODY],
      cause: 'fraction of a second',
      packets: 1,
      found: '1000000',
    },
    {
      what: 'a block cut short',
      bytes: [start, ng.packet({}).subarray(0, 20)],
      cause: 'block cut short',
      packets: 1,
      found: '20 bytes and then the end',
    },
    {
      what: 'a block of size 0',
      bytes: [start, u32s(true, 6, 0, 0, 0), start],
      cause: 'block length',
      packets: 1,
      found: '0',
    },
    {
      what: 'a block of size 13',
      bytes: [start, u32s(true, 6, 13, 0, 0), start],
      cause: 'block length',
      packets: 1,
      found: '13',
    },
    {
      what: 'a block larger than any',
      bytes: [start, u32s(true, 6, 0x7ffffffc, 0, 0), start],
      cause: 'block length',
      packets: 1,
      found: '2147483644',
    },
    {
      what: 'two sizes that differ',
      bytes: [start, u32s(true, 6, 16, 0, 20), start],
      cause: 'block length',
      packets: 1,
      found: '20',
    },
    {
      what: 'a packet longer than its block',
      bytes: [start, ng.packet({ captured: 5 }), ng.packet({})],
      cause: 'block contents',
      packets: 2,
      found: 'a length of 5',
    },
    {
      what: 'a packet block without its fields',
      bytes: [start, ng.block(6, BODY4), ng.packet({})],
      cause: 'block contents',
      packets: 2,
      found: '16',
    },
    {
      what: 'secrets longer than their block',
      bytes: [start, ng.block(10, u32s(true, 0x544c534b, 5, 0)), ng.packet({})],
      cause: 'block contents',
      packets: 2,
      found: '5',
    },
    {
      what: 'a packet of an interface that is not described',
      bytes: [start, ng.packet({ id: 7 }), ng.packet({})],
      cause: 'unknown interface',
      packets: 2,
      found: 'interface 7',
    },
    {
      what: 'statistics of such an interface',
      bytes: [start, ng.block(5, u32s(true, 7, 0, 0)), ng.packet({})],
      cause: 'unknown interface',
      packets: 2,
      found: 'interface 7',
    },
    {
      what: 'an option longer than its block',
      bytes: [ng.section(), ng.block(1, u32s(true, 1, 0, 0x13880002)), ng.packet({})],
      cause: 'option length',
      packets: 1,
      found: '5000 bytes too many',
    },
    {
      what: 'a section in no byte order',
      bytes: [start, ng.block(0x0a0d0d0a, u32s(true, 0x11111111, 1, 0, 0)), start],
      cause: 'byte order',
      packets: 1,
      found: '11111111',
    },
    {
      what: 'a section of version 2',
      bytes: [start, ng.block(0x0a0d0d0a, u32s(true, 0x1a2b3c4d, 2, 0, 0)), start],
      cause: 'version',
      packets: 1,
      found: 'version 2.0',
    },
    {
      what: 'a pcap behind a pcapng',
      bytes: [start, classic],
      cause: 'another capture follows',
      packets: 1,
      found: 'the beginning of a pcap',
    },
    {
      what: 'interfaces without end',
      bytes: [ng.section(), ...Array.from({ length: 65_537 }, () => ng.interface(1, []))],
      cause: 'too many interfaces',
      packets: 0,
      found: 'one more',
    },
  ] as const)
    it(`is noted with its cause and place, and costs no more than it must: ${what}`, () => {
      const whole = concat(...bytes)
      const { packets: read1, notes, fault } = read(whole)
      assert.equal(fault, null)
      assert.equal(read1.length, packets)
      assert.deepEqual(
        notes.damage.map(damage => [damage.cause, damage.found]),
        [[cause, found]],
      )
      assert.ok(notes.damage[0]!.offset < whole.length)
      assertAccounted(notes)
    })

  it('is told with the place where it is, counted from the beginning of the input', () => {
    const many = Array.from({ length: 20_000 }, () => concat(u32s(true, 1, 2, 100, 100), new Uint8Array(100)))
    const before = concat(pcapHeader({}), ...many)
    const { notes } = read(concat(before, u32s(true, 1, 2, 0xffffffff, 3)))
    assert.equal(notes.damage[0]!.offset, before.length)
  })

  it('of which there is much is one entry with a count', () => {
    const { notes } = read(concat(start, ...Array.from({ length: 5000 }, () => ng.packet({ id: 3 }))))
    assert.deepEqual(
      notes.damage.map(({ cause, count, bytes }) => ({ cause, count, bytes })),
      [{ cause: 'unknown interface', count: 5000, bytes: 5000 * 36 }],
    )
  })
})

describe('what is no capture', () => {
  for (const { what, bytes, code, says } of [
    { what: 'nothing', bytes: '', code: 'CAPTURE_EMPTY', says: /found no bytes at all/ },
    {
      what: 'text',
      bytes: 'GET / HTTP/1.1\r\n',
      code: 'CAPTURE_UNKNOWN',
      says: /text that begins with "GET \/ HTTP\/1.1\\r\\n"/,
    },
    {
      what: 'other bytes',
      bytes: '\x00\x01\x02\x03\x04',
      code: 'CAPTURE_UNKNOWN',
      says: /bytes that begin with 00 01 02 03 04$/,
    },
    { what: 'a zip archive', bytes: 'PK\x03\x04........', code: 'CAPTURE_UNKNOWN', says: /a zip archive/ },
    {
      what: 'half a pcap header',
      bytes: '\xd4\xc3\xb2\xa1\x02\x00',
      code: 'CAPTURE_HEADER_CUT',
      says: /24 bytes, found 6 bytes/,
    },
    { what: 'two bytes', bytes: '\xd4\xc3', code: 'CAPTURE_HEADER_CUT', says: /found 2 bytes/ },
    {
      what: 'half a pcapng header',
      bytes: '\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a',
      code: 'CAPTURE_HEADER_CUT',
      says: /28 bytes, found 12 bytes/,
    },
    {
      what: 'a pcapng header in no byte order',
      bytes: '\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x00\x00\x00\x00',
      code: 'CAPTURE_UNKNOWN',
      says: /0a 0d 0d 0a/,
    },
    {
      what: 'a pcapng header of size 0',
      bytes: '\x0a\x0d\x0d\x0a\x00\x00\x00\x00\x4d\x3c\x2b\x1a',
      code: 'CAPTURE_DAMAGED',
      says: /found 0$/,
    },
    {
      what: 'a pcap of version 7.9',
      bytes: `\xd4\xc3\xb2\xa1\x07\x00\x09\x00${'\x00'.repeat(16)}`,
      code: 'CAPTURE_VERSION',
      says: /found version 7\.9/,
    },
  ])
    it(`is a Fault that says what was found: ${what}`, () => {
      const { fault, packets } = read(new Uint8Array(Buffer.from(bytes, 'latin1')))
      assert.match(fault!, new RegExp(`^${code}: expected .*`))
      assert.match(fault!, says)
      assert.deepEqual(packets, [])
    })
})

describe('a written capture', () => {
  it('is read back as it was: pcap', () => {
    const writer = new PcapWriter(101)
    const packets = [...samples(101)]
    const { packets: found, notes } = read(concat(writer.header(), ...packets.map(packet => writer.record(packet))))
    assert.deepEqual(found, packets.map(fact))
    assert.deepEqual(notes.damage, [])
  })

  it('is read back as it was: pcapng, with all that stands beside the packets', () => {
    const written = writtenPcapng()
    const { packets, notes } = read(written.bytes)
    assert.deepEqual(packets, written.packets.map(fact))
    assert.deepEqual(notes.damage, [])
    assert.deepEqual(notes.names, NAMES)
    assert.deepEqual(notes.secrets, [{ kind: 'TLSK', text: SECRETS }])
    assert.deepEqual(notes.comments, [
      { packet: null, text: 'nightly' },
      { packet: written.packets.length, text: 'the last one: größer' },
    ])
    assert.deepEqual(notes.interfaces, [
      { name: 'eth0', description: null, linkType: 1, snapLength: 262_144, counters: COUNTERS, lost: 0 },
      { name: 'tun0', description: null, linkType: 101, snapLength: 262_144, counters: null, lost: 0 },
    ])
    assertAccounted(notes)
  })

  it('refuses what its format cannot hold', () => {
    const [packet] = samples(1)
    assert.throws(() => new PcapWriter(101).record(packet!), { code: 'CAPTURE_LINK_TYPE' })
    assert.throws(() => new PcapWriter(1).record({ ...packet!, seconds: 2 ** 32 }), { code: 'CAPTURE_TIME' })
    assert.throws(() => new PcapngWriter().packet(packet!), RangeError)
  })

  for (const [name, bytes, packets] of [
    ['pcap', writtenPcap(), [...samples(1)]],
    ['pcapng', writtenPcapng().bytes, writtenPcapng().packets],
  ] as const)
    it(`is what tshark reads: ${name}`, function () {
      if (spawnSync('tshark', ['--version']).status !== 0) this.skip()
      const folder = mkdtempSync(join(tmpdir(), 'hookline-'))
      try {
        const path = join(folder, `written.${name}`)
        writeFileSync(path, bytes)
        const fields = ['frame.time_epoch', 'frame.cap_len', 'frame.len'].flatMap(field => ['-e', field])
        const { status, stdout } = spawnSync('tshark', ['-n', '-r', path, '-T', 'fields', ...fields], {
          encoding: 'utf8',
        })
        assert.equal(status, 0)
        assert.deepEqual(
          stdout
            .trim()
            .split('\n')
            .map(line => line.split('\t').join(' ')),
          packets.map(packet => fact(packet).split(' ').slice(0, 3).join(' ')),
        )
      } finally {
        rmSync(folder, { recursive: true })
      }
    })
})

function read(bytes: Uint8Array, size = bytes.length): Reading {
  const parser = new CaptureParser()
  const packets: Fact[] = []
  let fault: string | null = null
  try {
    for (let at = 0; at < bytes.length; ) {
      const room = parser.room()
      const piece = bytes.subarray(at, at + Math.min(size, room.length))
      room.set(piece)
      parser.filled(piece.length)
      at += piece.length
      for (let packet = parser.next(); packet !== null; packet = parser.next()) packets.push(fact(packet))
    }
    parser.end()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    fault = `${error.code}: ${error.message}`
  }
  return { format: parser.format, packets, notes: parser.notes, fault }
}

function only(bytes: Uint8Array): Packet {
  const parser = new CaptureParser()
  parser.room().set(bytes)
  parser.filled(bytes.length)
  const packet = parser.next()
  assert.ok(packet !== null)
  return packet
}

function assertAccounted(notes: CaptureNotes): void {
  const lost = notes.damage.reduce((sum, damage) => sum + damage.bytes, 0)
  const skipped = Object.values(notes.skippedBlocks).reduce((sum, block) => sum + block.bytes, 0)
  assert.equal(notes.parsed + lost + skipped, notes.bytes)
}

function fact(packet: Packet): Fact {
  const { seconds, nanoseconds, length, linkType, interfaceId } = packet
  const time = `${seconds}.${String(nanoseconds).padStart(9, '0')}`
  return `${time} ${packet.end - packet.start} ${length} ${linkType} ${interfaceId} ${hash(view(packet))}`
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12)
}

function view(packet: Packet): Uint8Array {
  return new Uint8Array(packet.bytes.subarray(packet.start, packet.end))
}

function* samples(linkType: number): Generator<Packet> {
  const bytes = new Uint8Array(4000).map((_, i) => (i * 31) & 255)
  for (const [i, nanoseconds] of [0, 1, 999_999_999, 123_456_789].entries())
    yield {
      ...emptyPacket(),
      bytes,
      start: 100 * i,
      end: 100 * i + 61 + i,
      length: 1500 + i,
      seconds: [0, 1_700_000_000, 2_147_483_648, 4_294_967_295][i]!,
      nanoseconds,
      linkType,
    }
}

function writtenPcap(): Uint8Array {
  const writer = new PcapWriter(1)
  return concat(writer.header(), ...[...samples(1)].map(packet => writer.record(packet)))
}

function writtenPcapng(): { bytes: Uint8Array; packets: Packet[] } {
  const writer = new PcapngWriter()
  const packets = [...samples(1), ...[...samples(101)].map(packet => ({ ...packet, interfaceId: 1 }))]
  const bytes = concat(
    writer.section('nightly'),
    writer.interface('eth0', 1),
    writer.interface('tun0', 101),
    writer.secrets('TLSK', SECRETS),
    writer.names(NAMES),
    ...packets.slice(0, -1).map(packet => writer.packet(packet)),
    writer.packetWithComment(packets.at(-1)!, 'the last one: größer'),
    writer.counters(0, 1_700_000_000, 5, COUNTERS),
  )
  return { bytes, packets }
}

function built(): { name: string; bytes: Uint8Array }[] {
  return [
    { name: 'a written pcap', bytes: writtenPcap() },
    { name: 'a written pcapng', bytes: writtenPcapng().bytes },
  ]
}

function pcapHeader({ little = true, magic = 0xa1b2c3d4, minor = 4, snap = 65_535, link = 1 }): Uint8Array {
  const version = little ? (minor << 16) | 2 : (2 << 16) | minor
  return u32s(little, magic, version, 0, 0, snap, link)
}

type Option = readonly [code: number, value: Uint8Array]

/** Hand-made blocks, in both byte orders: what a writer of ours would never write. */
function builder(little: boolean) {
  const block = (type: number, ...body: Uint8Array[]) => {
    const size = 12 + body.reduce((sum, part) => sum + part.length, 0)
    return concat(u32s(little, type, size), ...body, u32s(little, size))
  }
  const options = (list: readonly Option[]) =>
    concat(...list.flatMap(([code, value]) => [u16s(little, code, value.length), padded(value)]))
  return {
    block,
    section: () =>
      block(0x0a0d0d0a, u32s(little, 0x1a2b3c4d), u16s(little, 1, 0), u32s(little, 0xffffffff, 0xffffffff)),
    interface: (link: number, list: readonly Option[]) =>
      block(1, u16s(little, link, 0), u32s(little, 0), options(list)),
    packet: ({
      id = 0,
      units = 0n,
      body = BODY as Uint8Array,
      captured = -1,
      options: list = [] as readonly Option[],
    }) =>
      block(
        6,
        u32s(
          little,
          id,
          Number(units >> 32n),
          Number(units & 0xffffffffn),
          captured < 0 ? body.length : captured,
          body.length,
        ),
        padded(body),
        options(list),
      ),
  }
}

function padded(bytes: Uint8Array): Uint8Array {
  return concat(bytes, new Uint8Array(-bytes.length & 3))
}

function u16s(little: boolean, ...values: number[]): Uint8Array {
  const bytes = new Uint8Array(2 * values.length)
  for (const [i, value] of values.entries()) new DataView(bytes.buffer).setUint16(2 * i, value, little)
  return bytes
}

function u32s(little: boolean, ...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length)
  for (const [i, value] of values.entries()) new DataView(bytes.buffer).setUint32(4 * i, value, little)
  return bytes
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

function xorshift(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}
