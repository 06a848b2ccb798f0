/**
 * Expressions of pcap-filter(7) for packets that lie in a file: libpcap compiles them, by our addon or, where that is not
 * built, by tcpdump; the program runs here, for each packet.
 */
import { spawnSync } from 'node:child_process'
import { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import { loadNative, whyNoNative } from '../native.ts'
import type { ClassicInstruction } from './classic.ts'
import { packetTest } from './packet-test.ts'

/** Gives the program of an expression for a link type. Throws a Fault when the expression is wrong. */
export type Compile = (expression: string, linkType: number) => readonly ClassicInstruction[]

/** An expression; for each link type it is another program. */
export class PacketFilter {
  private readonly expression: string
  private readonly compile: Compile
  private readonly tests = new Map<number, (packet: Packet) => boolean>()

  /** What is wrong with the expression is told at once, for Ethernet. */
  constructor(expression: string, compile: Compile = compileExpression) {
    this.expression = expression
    this.compile = compile
    this.testFor(1)
  }

  wants(packet: Packet): boolean {
    return (this.tests.get(packet.linkType) ?? this.testFor(packet.linkType))(packet)
  }

  private testFor(linkType: number): (packet: Packet) => boolean {
    const test = packetTest(this.compile(this.expression, linkType))
    this.tests.set(linkType, test)
    return test
  }
}

/** A packet in a file may be as long as this, and is wanted whole. */
const SNAP_LENGTH = 262_144

function compileExpression(expression: string, linkType: number): readonly ClassicInstruction[] {
  return whyNoNative() === null ? compileByAddon(expression, linkType) : compileByTcpdump(expression, linkType)
}

interface Native {
  /** The program as an array of struct bpf_insn, or what is wrong with the expression. */
  compileFilter(expression: string, linkType: number, snapLength: number): Uint8Array | string
}

export function compileByAddon(expression: string, linkType: number): readonly ClassicInstruction[] {
  const known = linkTypeOf(linkType)
  const program = loadNative<Native>().compileFilter(expression, known.dlt, SNAP_LENGTH)
  if (typeof program === 'string') throw new Fault('FILTER_WRONG', `--filter "${expression}": ${program}`)
  const view = new DataView(program.buffer, program.byteOffset, program.length)
  return Array.from({ length: program.length / 8 }, (_, i) => ({
    code: view.getUint16(8 * i, true),
    jt: view.getUint8(8 * i + 2),
    jf: view.getUint8(8 * i + 3),
    k: view.getInt32(8 * i + 4, true),
  }))
}

/** By LINKTYPE_ value, the number and the name that libpcap has for it: what interfaces and kernels give. */
const LINK_TYPES = new Map([
  [0, { dlt: 0, name: 'NULL' }],
  [1, { dlt: 1, name: 'EN10MB' }],
  [9, { dlt: 9, name: 'PPP' }],
  [12, { dlt: 12, name: 'RAW' }],
  [50, { dlt: 50, name: 'PPP_SERIAL' }],
  [51, { dlt: 51, name: 'PPP_ETHER' }],
  [101, { dlt: 12, name: 'RAW' }],
  [104, { dlt: 104, name: 'C_HDLC' }],
  [105, { dlt: 105, name: 'IEEE802_11' }],
  [107, { dlt: 107, name: 'FRELAY' }],
  [108, { dlt: 108, name: 'LOOP' }],
  [113, { dlt: 113, name: 'LINUX_SLL' }],
  [119, { dlt: 119, name: 'PRISM_HEADER' }],
  [127, { dlt: 127, name: 'IEEE802_11_RADIO' }],
  [228, { dlt: 228, name: 'IPV4' }],
  [229, { dlt: 229, name: 'IPV6' }],
  [239, { dlt: 239, name: 'NFLOG' }],
  [276, { dlt: 276, name: 'LINUX_SLL2' }],
])

function linkTypeOf(linkType: number): { dlt: number; name: string } {
  const known = LINK_TYPES.get(linkType)
  if (known === undefined)
    throw new Fault('FILTER_LINK_TYPE', `no filter can be made for packets of link type ${linkType}`)
  return known
}

const MAX_PROGRAM_BYTES = 1 << 20

export function compileByTcpdump(expression: string, linkType: number): readonly ClassicInstruction[] {
  const { name } = linkTypeOf(linkType)
  // -d needs no interface and no privilege when -y is there.
  const words = ['-ddd', '-y', name, '--', expression]
  const { error, status, stdout, stderr } = spawnSync('tcpdump', words, {
    encoding: 'utf8',
    maxBuffer: MAX_PROGRAM_BYTES,
  })
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    throw new Fault(
      'FILTER_COMPILER_MISSING',
      '--filter is compiled by libpcap: install tcpdump, or libpcap-dev and a C compiler and run `make setup`',
    )
  if (error !== undefined) throw error
  if (status !== 0) throw new Fault('FILTER_WRONG', `--filter "${expression}": ${reasonIn(stderr)}`)
  const [count, ...lines] = stdout.trim().split('\n')
  const program = lines.map(line => {
    const [code, jt, jf, k] = line.split(' ').map(Number)
    return { code: code!, jt: jt!, jf: jf!, k: k! | 0 }
  })
  if (program.length !== Number(count))
    throw new Fault('FILTER_PROGRAM', `expected ${count} instructions, found ${program.length}`)
  return program
}

/** tcpdump warns on other lines. */
function reasonIn(stderr: string): string {
  const lines = stderr.trim().split('\n')
  const said = lines.findLast(line => line.startsWith('tcpdump: ') && !line.startsWith('tcpdump: WARNING'))
  return (said ?? lines.at(-1) ?? 'tcpdump failed').replace(/^tcpdump: /, '')
}
