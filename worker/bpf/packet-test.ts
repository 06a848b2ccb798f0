/**
 * Runs filters of libpcap over packets: classic BPF, the machine that pcap-filter expressions are compiled for (bpf(4) of the BSDs, McCanne and Jacobson 1993):
 * an accumulator A, a register X, sixteen words of scratch, and jumps that only go forward.
 *
 *     code(2) true(1) false(1) k(4)       a program ends where it returns how many bytes of the packet it wants
 */
import { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import type { ClassicInstruction } from './classic.ts'

/** As the kernel has it. */
const MAX_INSTRUCTIONS = 4096
const SCRATCH = 16

/** Whether the program wants a packet. Throws a Fault when it is no program that ends on every path. */
export function packetTest(program: readonly ClassicInstruction[]): (packet: Packet) => boolean {
  check(program)
  const [codes, trues, falses, constants] = [0, 1, 2, 3].map(() => new Int32Array(program.length))
  for (const [i, { code, jt, jf, k }] of program.entries()) {
    codes![i] = code
    // From here on they are places, and no longer distances.
    trues![i] = i + 1 + (code === JUMP ? k : jt)
    falses![i] = i + 1 + jf
    constants![i] = k
  }
  const scratch = new Int32Array(SCRATCH)
  return packet => run(codes!, trues!, falses!, constants!, scratch, packet)
}

// Classes, widths, modes and operations make up a code. Those that exist, by name:
const [LD_W_ABS, LD_H_ABS, LD_B_ABS] = [0x20, 0x28, 0x30]
const [LD_W_IND, LD_H_IND, LD_B_IND] = [0x40, 0x48, 0x50]
const [LD_IMM, LD_MEM, LD_LEN] = [0x00, 0x60, 0x80]
const [LDX_IMM, LDX_MEM, LDX_LEN, LDX_MSH] = [0x01, 0x61, 0x81, 0xb1]
const [ST, STX] = [0x02, 0x03]
const [ADD_K, SUB_K, MUL_K, DIV_K, OR_K, AND_K] = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54]
const [LSH_K, RSH_K, NEG, MOD_K, XOR_K] = [0x64, 0x74, 0x84, 0x94, 0xa4]
const [ADD_X, SUB_X, MUL_X, DIV_X, OR_X, AND_X] = [0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c]
const [LSH_X, RSH_X, MOD_X, XOR_X] = [0x6c, 0x7c, 0x9c, 0xac]
const [JUMP, JEQ_K, JGT_K, JGE_K, JSET_K] = [0x05, 0x15, 0x25, 0x35, 0x45]
const [JEQ_X, JGT_X, JGE_X, JSET_X] = [0x1d, 0x2d, 0x3d, 0x4d]
const [RET_K, RET_A] = [0x06, 0x16]
const [TAX, TXA] = [0x07, 0x87]

const CONDITIONS = [JEQ_K, JGT_K, JGE_K, JSET_K, JEQ_X, JGT_X, JGE_X, JSET_X]
const RETURNS = [RET_K, RET_A]
const ON_SCRATCH = [LD_MEM, LDX_MEM, ST, STX]
const KNOWN = new Set([
  ...[LD_W_ABS, LD_H_ABS, LD_B_ABS, LD_W_IND, LD_H_IND, LD_B_IND, LD_IMM, LD_LEN, LDX_IMM, LDX_LEN, LDX_MSH],
  ...[ADD_K, SUB_K, MUL_K, DIV_K, OR_K, AND_K, LSH_K, RSH_K, NEG, MOD_K, XOR_K],
  ...[ADD_X, SUB_X, MUL_X, DIV_X, OR_X, AND_X, LSH_X, RSH_X, MOD_X, XOR_X],
  ...[JUMP, ...CONDITIONS, ...RETURNS, ...ON_SCRATCH, TAX, TXA],
])

function check(program: readonly ClassicInstruction[]): void {
  const wrong = (what: string) => new Fault('FILTER_PROGRAM', `expected a filter program, found ${what}`)
  const { length } = program
  if (length === 0 || length > MAX_INSTRUCTIONS) throw wrong(`one of ${length} instructions`)
  if (!RETURNS.includes(program[length - 1]!.code)) throw wrong('one that does not end by returning')
  for (const [i, { code, jt, jf, k }] of program.entries()) {
    if (!KNOWN.has(code)) throw wrong(`the unknown instruction 0x${code.toString(16)}`)
    const farthest = code === JUMP ? k >>> 0 : CONDITIONS.includes(code) ? Math.max(jt, jf) : 0
    if (i + 1 + farthest >= length && !RETURNS.includes(code)) throw wrong(`a jump from ${i} behind its end`)
    if (ON_SCRATCH.includes(code) && k >>> 0 >= SCRATCH) throw wrong(`word ${k} of ${SCRATCH} words`)
    if ((code === DIV_K || code === MOD_K) && k === 0) throw wrong('a division by zero')
  }
}

/** A load from outside the packet, and a division by zero, end the program: the packet is not wanted. */
function run(
  codes: Int32Array,
  trues: Int32Array,
  falses: Int32Array,
  constants: Int32Array,
  scratch: Int32Array,
  packet: Packet,
): boolean {
  const { bytes, start } = packet
  const captured = packet.end - start
  let a = 0
  let x = 0
  for (let at = 0; ; ) {
    const k = constants[at]!
    let next = at + 1
    switch (codes[at]) {
      case LD_W_ABS:
      case LD_W_IND: {
        const from = codes[at] === LD_W_ABS ? k >>> 0 : (k >>> 0) + (x >>> 0)
        if (from + 4 > captured) return false
        const i = start + from
        a = (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!
        break
      }
      case LD_H_ABS:
      case LD_H_IND: {
        const from = codes[at] === LD_H_ABS ? k >>> 0 : (k >>> 0) + (x >>> 0)
        if (from + 2 > captured) return false
        a = (bytes[start + from]! << 8) | bytes[start + from + 1]!
        break
      }
      case LD_B_ABS:
      case LD_B_IND: {
        const from = codes[at] === LD_B_ABS ? k >>> 0 : (k >>> 0) + (x >>> 0)
        if (from + 1 > captured) return false
        a = bytes[start + from]!
        break
      }
      case LDX_MSH:
        if ((k >>> 0) + 1 > captured) return false
        x = (bytes[start + k]! & 15) << 2
        break
      case LD_IMM:
        a = k
        break
      case LD_LEN:
        a = packet.length
        break
      case LD_MEM:
        a = scratch[k]!
        break
      case LDX_IMM:
        x = k
        break
      case LDX_LEN:
        x = packet.length
        break
      case LDX_MEM:
        x = scratch[k]!
        break
      case ST:
        scratch[k] = a
        break
      case STX:
        scratch[k] = x
        break
      case TAX:
        x = a
        break
      case TXA:
        a = x
        break
      case JUMP:
        next = trues[at]!
        break
      case JEQ_K:
        next = a === k ? trues[at]! : falses[at]!
        break
      case JGT_K:
        next = a >>> 0 > k >>> 0 ? trues[at]! : falses[at]!
        break
      case JGE_K:
        next = a >>> 0 >= k >>> 0 ? trues[at]! : falses[at]!
        break
      case JSET_K:
        next = (a & k) !== 0 ? trues[at]! : falses[at]!
        break
      case JEQ_X:
        next = a === x ? trues[at]! : falses[at]!
        break
      case JGT_X:
        next = a >>> 0 > x >>> 0 ? trues[at]! : falses[at]!
        break
      case JGE_X:
        next = a >>> 0 >= x >>> 0 ? trues[at]! : falses[at]!
        break
      case JSET_X:
        next = (a & x) !== 0 ? trues[at]! : falses[at]!
        break
      case RET_K:
        return k !== 0
      case RET_A:
        return a !== 0
      case NEG:
        a = -a | 0
        break
      default: {
        const operand = (codes[at]! & 8) === 0 ? k : x
        const result = calculate(codes[at]! & ~8, a, operand)
        if (result === null) return false
        a = result
      }
    }
    at = next
  }
}

/** null: a division by zero. */
function calculate(operation: number, a: number, b: number): number | null {
  switch (operation) {
    case ADD_K:
      return (a + b) | 0
    case SUB_K:
      return (a - b) | 0
    case MUL_K:
      return Math.imul(a, b)
    case DIV_K:
      return b === 0 ? null : ((a >>> 0) / (b >>> 0)) | 0
    case MOD_K:
      return b === 0 ? null : ((a >>> 0) % (b >>> 0)) | 0
    case OR_K:
      return a | b
    case AND_K:
      return a & b
    case XOR_K:
      return a ^ b
    // Beyond 31 bits nothing is left.
    case LSH_K:
      return b >>> 0 > 31 ? 0 : a << b
    default:
      return b >>> 0 > 31 ? 0 : (a >>> b) | 0
  }
}
