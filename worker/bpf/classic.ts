/**
 * Filters of libpcap (classic BPF) as parts of eBPF programs. What classic BPF does at a glance:
 *
 *   code(16) true(8) false(8) k(32)      registers A and X, sixteen words of memory; a load past the end rejects
 *
 * Packets are read by a helper and not by the old packet instructions, which programs at cgroups and XDP do not have.
 */
import type { AluOperation, Assembler, Comparison } from './assembler.ts'
import { type Context, LOAD_STACK_BYTES, loadLength, loadPacket, SKB } from './context.ts'

/** As `struct sock_filter` has it: jumps count from the instruction behind. */
export interface ClassicInstruction {
  code: number
  jt: number
  jf: number
  k: number
}

/**
 * Goes to `accept` or `reject`. Expects the context in r6; A and X live in r7 and r8, r9 is left alone, r0 to r5 are lost.
 * Below `top` of the stack, CLASSIC_STACK_BYTES are its own.
 */
export function classicFilter(
  to: Assembler,
  filter: readonly ClassicInstruction[],
  context: Context,
  top: number,
  accept: string,
  reject: string,
): void {
  const names = filter.map(() => to.newLabel('classic'))
  to.alu('w7', '=', 0).alu('w8', '=', 0)
  for (const word of new Set(filter.filter(touchesMemory).map(({ k }) => k))) to.store('u32', 'r10', slot(top, word), 0)
  for (const [index, instruction] of filter.entries()) {
    to.label(names[index]!)
    translate({ to, context, top, accept, reject, instruction, target: ahead => nameOf(names, index + 1 + ahead) })
  }
}

/** An array of `struct sock_filter`, as libpcap's compiler gives it. */
export function readClassic(program: Uint8Array): ClassicInstruction[] {
  const view = new DataView(program.buffer, program.byteOffset, program.length)
  const filter: ClassicInstruction[] = []
  for (let at = 0; at + CLASSIC_INSTRUCTION_BYTES <= program.length; at += CLASSIC_INSTRUCTION_BYTES)
    filter.push({
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    })
  return filter
}

const CLASSIC_INSTRUCTION_BYTES = 8

interface Step {
  to: Assembler
  context: Context
  top: number
  accept: string
  reject: string
  instruction: ClassicInstruction
  target(ahead: number): string
}

const CLASS_MASK = 0x07
const LD = 0x00
const LDX = 0x01
const ST = 0x02
const STX = 0x03

const MODE_MASK = 0xe0
const IMM = 0x00
const ABS = 0x20
const IND = 0x40
const MEM = 0x60
const LEN = 0x80
const MSH = 0xa0

const OPERATION_MASK = 0xf0
const SOURCE_X = 0x08
const RETURN_A = 0x10
const TXA = 0x80
const NEG = 0x80
const JA = 0x00
const DIV = 0x30
const MOD = 0x90

const SIZES = new Map<number, 'u8' | 'u16' | 'u32'>([
  [0x00, 'u32'],
  [0x08, 'u16'],
  [0x10, 'u8'],
])
const OPERATIONS = new Map<number, AluOperation>([
  [0x00, '+='],
  [0x10, '-='],
  [0x20, '*='],
  [0x30, '/='],
  [0x40, '|='],
  [0x50, '&='],
  [0x60, '<<='],
  [0x70, '>>='],
  [0x90, '%='],
  [0xa0, '^='],
])
const COMPARISONS = new Map<number, Comparison>([
  [0x10, '=='],
  [0x20, '>'],
  [0x30, '>='],
  [0x40, '&'],
])

const MEMORY_WORDS = 16
/** The words, and room to read into. */
export const CLASSIC_STACK_BYTES = LOAD_STACK_BYTES + 4 * MEMORY_WORDS
/** Offsets from here on up are no bytes of the packet but what the kernel knows of it: SKF_AD_OFF of <linux/filter.h>. */
const ANCILLARY = -0x1000
/** By SKF_AD_ number; those that libpcap writes. */
const ANCILLARY_FIELDS: Readonly<Record<number, { field: number; swapped?: boolean }>> = {
  0: { field: SKB.protocol, swapped: true },
  4: { field: SKB.pkt_type },
  8: { field: SKB.ifindex },
  44: { field: SKB.vlan_tci },
  48: { field: SKB.vlan_present },
  60: { field: SKB.vlan_proto, swapped: true },
}

function translate(step: Step): void {
  BY_CLASS[step.instruction.code & CLASS_MASK]!(step)
}

const BY_CLASS: readonly ((step: Step) => void)[] = [
  step => load(step, 'r7', 'w7'),
  step => load(step, 'r8', 'w8'),
  ({ to, top, instruction }) => to.store('u32', 'r10', slot(top, instruction.k), 'r7'),
  ({ to, top, instruction }) => to.store('u32', 'r10', slot(top, instruction.k), 'r8'),
  calculate,
  compare,
  decide,
  exchange,
]

function load(step: Step, into: 'r7' | 'r8', narrow: 'w7' | 'w8'): void {
  const { to, instruction, context, top, reject } = step
  const { code, k } = instruction
  const mode = code & MODE_MASK
  if (mode === IMM) to.alu(narrow, '=', k | 0)
  else if (mode === MEM) to.load(into, 'u32', 'r10', slot(top, k))
  else if (mode === LEN) loadLength(to, context, into)
  else if (mode === ABS && into === 'r7' && (k | 0) < 0) loadAncillary(step)
  else if (mode === ABS && into === 'r7') {
    to.alu('w2', '=', k)
    loadPacket(to, context, sizeOf(instruction), top, into, reject)
  } else if (mode === IND && into === 'r7') {
    to.alu('w2', '=', 'w8').alu('w2', '+=', k | 0)
    loadPacket(to, context, sizeOf(instruction), top, into, reject)
  } else if (mode === MSH && into === 'r8') {
    // 4 * (byte & 15): the length of an IPv4 header.
    to.alu('w2', '=', k)
    loadPacket(to, context, 'u8', top, into, reject)
    to.alu('w8', '&=', 15).alu('w8', '<<=', 2)
  } else throw unknown(instruction)
}

function loadAncillary({ to, instruction, context }: Step): void {
  const known = ANCILLARY_FIELDS[(instruction.k | 0) - ANCILLARY]
  if (known === undefined || context === 'xdp') throw unknown(instruction)
  to.load('r7', 'u32', 'r6', known.field)
  if (known.swapped) to.swap('r7', 16)
}

function calculate({ to, instruction, reject }: Step): void {
  const { code, k } = instruction
  const operation = code & OPERATION_MASK
  if (operation === NEG) {
    to.negate('w7')
    return
  }
  const written = OPERATIONS.get(operation)
  if (written === undefined) throw unknown(instruction)
  const fromX = (code & SOURCE_X) !== 0
  if (operation === DIV || operation === MOD) {
    if (fromX) to.jumpIf('w8', '==', 0, reject)
    else if (k === 0) throw unknown(instruction)
  }
  to.alu('w7', written, fromX ? 'w8' : k | 0)
}

function compare({ to, instruction, target }: Step): void {
  const { code, jt, jf, k } = instruction
  const operation = code & OPERATION_MASK
  if (operation === JA) {
    to.jump(target(k))
    return
  }
  const comparison = COMPARISONS.get(operation)
  if (comparison === undefined) throw unknown(instruction)
  to.jumpIf('w7', comparison, (code & SOURCE_X) !== 0 ? 'w8' : k | 0, target(jt))
  if (jf !== 0) to.jump(target(jf))
}

function decide({ to, instruction, accept, reject }: Step): void {
  const source = instruction.code & 0x18
  if (source === RETURN_A) to.jumpIf('w7', '!=', 0, accept).jump(reject)
  else if (source === 0) to.jump(instruction.k === 0 ? reject : accept)
  else throw unknown(instruction)
}

function exchange({ to, instruction }: Step): void {
  if ((instruction.code & 0xf8) === TXA) to.alu('w7', '=', 'w8')
  else to.alu('w8', '=', 'w7')
}

function touchesMemory({ code }: ClassicInstruction): boolean {
  const kind = code & CLASS_MASK
  return kind === ST || kind === STX || ((kind === LD || kind === LDX) && (code & MODE_MASK) === MEM)
}

function slot(top: number, word: number): number {
  if (!(word >= 0 && word < MEMORY_WORDS)) throw new RangeError(`classic BPF has no word of memory number ${word}`)
  return top - LOAD_STACK_BYTES - 4 * (word + 1)
}

function sizeOf(instruction: ClassicInstruction): 'u8' | 'u16' | 'u32' {
  const size = SIZES.get(instruction.code & 0x18)
  if (size === undefined) throw unknown(instruction)
  return size
}

function nameOf(names: readonly string[], index: number): string {
  const name = names[index]
  if (name === undefined) throw new RangeError('a filter of classic BPF jumps beyond its end')
  return name
}

function unknown({ code, k }: ClassicInstruction): RangeError {
  return new RangeError(`classic BPF has no instruction of code ${code} with ${k}`)
}
