import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import { Flows } from '../flow.ts'
import { whyNoNative } from '../native.ts'
import { openCapture } from '../sources/file.ts'
import { type Compile, compileByAddon, compileByTcpdump, PacketFilter } from './expression.ts'
import { narrow } from './narrowing.ts'

const FIXTURES = fileURLToPath(new URL('../../core/fixtures/', import.meta.url))
/** Their first word is in the byte order of whoever captured, which libpcap learns from the file. */
const LOOPBACK = [0, 108]
const EXPRESSIONS = [
  'tcp',
  'udp port 53',
  'not port 53',
  'host 127.0.0.1',
  'net 10.0.0.0/8',
  'net 192.168.0.0/16 and tcp',
  'src portrange 1024-65535 and len > 200',
  'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
  'ip6 or arp',
  'icmp or icmp6',
  'ip[6:2] & 0x1fff != 0',
  'greater 500 or less 70',
  'ether broadcast or ip multicast',
  'ip proto 4 or ip proto 47',
  'host 10.0.0.1 and not port 80',
  'dst port 80 or (src port 80 and tcp[((tcp[12] & 0xf0) >> 2):4] = 0x48545450)',
  'sctp or portrange 5000-6000',
]

describe('filters of libpcap over captures', function () {
  this.timeout(300_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-filter-'))
  after(() => rmSync(folder, { recursive: true }))
  before(function () {
    if (spawnSync('tcpdump', ['--version']).error) this.skip()
  })

  /** Every ninth of those that are neither damaged on purpose nor of a link type whose bytes depend on the machine. */
  const captures = readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
    .filter(name => /\.pcap(ng)?$/.test(name) && !/^(pcap|frame)\//.test(name))
    .sort()
    .filter((_, i) => i % 9 === 0)
    .map(name => join(FIXTURES, name))

  it('wants what tcpdump wants, and leaves out no flow of it', async () => {
    let compared = 0
    let wanted = 0
    for (const expression of EXPRESSIONS) {
      const filter = new PacketFilter(expression, compileByTcpdump)
      const narrowed = narrow(expression)
      const flows = new Flows()
      each: for (const path of captures) {
        const expected = await tcpdumpOf(path, expression)
        if (expected === null) continue
        const found: string[] = []
        const capture = await openCapture(path)
        while (await capture.load())
          for (let p = capture.next(); p !== null; p = capture.next()) {
            if (LOOPBACK.includes(p.linkType)) continue each
            if (!filter.wants(p)) continue
            found.push(inShort(p))
            flows.read(p.bytes, p.start, p.end, p.length, p.linkType)
            const kept =
              narrowed === null ||
              flows.stranger ||
              [...flows.list].slice(0, flows.count).some(flow => narrowed.wants(flow))
            assert.ok(kept, `${expression} loses a packet of ${path}`)
          }
        assert.deepEqual(found, expected, `${expression} over ${path}`)
        compared++
        wanted += found.length
      }
    }
    assert.ok(compared > 100 && wanted > 1000, `${compared} comparisons, ${wanted} packets`)
  })

  it('gets the same programs of the addon', async function () {
    if (whyNoNative() !== null) return this.skip()
    for (const expression of EXPRESSIONS)
      for (const linkType of [1, 101, 113, 276]) {
        assert.deepEqual(
          compiled(compileByAddon, expression, linkType),
          compiled(compileByTcpdump, expression, linkType),
        )
      }
  })

  it('says what is wrong with an expression', () => {
    assert.throws(() => new PacketFilter('port 80 an', compileByTcpdump), {
      code: 'FILTER_WRONG',
      message: /port 80 an.*syntax error/,
    })
    assert.throws(() => compileByTcpdump('tcp', 9999), { code: 'FILTER_LINK_TYPE' })
  })

  function compiled(by: Compile, expression: string, linkType: number) {
    try {
      return by(expression, linkType)
    } catch (error) {
      return (error as Fault).code
    }
  }

  /** null: it does not read this capture as we do. */
  async function tcpdumpOf(path: string, expression: string): Promise<string[] | null> {
    const out = join(folder, 'out.pcap')
    // One of a file for which libpcap has several programs is none to compare with.
    const { status } = spawnSync('tcpdump', ['-r', path, '-w', out, '--', expression])
    if (status !== 0) return null
    const found: string[] = []
    const capture = await openCapture(out)
    while (await capture.load()) for (let p = capture.next(); p !== null; p = capture.next()) found.push(inShort(p))
    return found
  }

  /** tcpdump writes microseconds. */
  function inShort({ seconds, nanoseconds, start, end }: Packet): string {
    return `${seconds}.${Math.floor(nanoseconds / 1000)} ${end - start}`
  }
})
