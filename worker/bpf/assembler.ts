/**
 * An assembler for eBPF (RFC 9669), as small as the programs of this house need: text-like calls in, instructions out.
 *
 *   opcode(8) dst(4) src(4) offset(16) immediate(32)      little endian; a wide constant takes two of them
 *
 * Registers are written as the kernel's own listings write them: `r1` means all 64 bits, `w1` the lower 32 (and zeroes the
 * rest). Maps are named, and become descriptors only when the program is loaded.
 */
export class Assembler {
  private readonly instructions: Instruction[] = []
  private readonly places = new Map<string, number>()
  private labels = 0

  /** `alu('r1', '+=', 4)`, `alu('w2', '=', 'w3')`. */
  alu(to: Register, operation: AluOperation, from: Register | number): this {
    const kind = isWide(to) ? CLASS.alu64 : CLASS.alu32
    return this.compute(kind | ALU[operation], to, from)
  }

  negate(register: Register): this {
    return this.add({ code: (isWide(register) ? CLASS.alu64 : CLASS.alu32) | ALU_NEGATE, to: number(register) })
  }

  /** Between the machine's order of bytes and the network's; what lies above `bits` becomes 0. */
  swap(register: Wide, bits: 16 | 32 | 64): this {
    return this.add({ code: CLASS.alu32 | ALU_END | FROM_REGISTER, to: number(register), immediate: bits })
  }

  /** `to = *(size *)(base + offset)`, and zeroes above. */
  load(to: Wide, size: Size, base: Wide, offset: number): this {
    return this.add({ code: CLASS.load | MODE.memory | SIZE[size], to: number(to), from: number(base), offset })
  }

  /** `*(size *)(base + offset) = from` */
  store(size: Size, base: Wide, offset: number, from: Wide | number): this {
    const code = MODE.memory | SIZE[size]
    if (typeof from === 'number')
      return this.add({ code: CLASS.storeImmediate | code, to: number(base), offset, immediate: signed32(from) })
    return this.add({ code: CLASS.store | code, to: number(base), from: number(from), offset })
  }

  /** `*(size *)(base + offset) += from`, whoever else adds at the same time. */
  addAtomically(size: 'u32' | 'u64', base: Wide, offset: number, from: Wide): this {
    const code = CLASS.store | MODE.atomic | SIZE[size]
    return this.add({ code, to: number(base), from: number(from), offset, immediate: 0 })
  }

  /**
   * Bytes of the packet into r0, in the machine's order; ends the program with 0 where the packet is too short. Only
   * socket filters and classifiers may; r6 must hold the context, and r1 to r5 are lost.
   */
  loadAbsolute(size: 'u8' | 'u16' | 'u32', offset: number): this {
    return this.add({ code: CLASS.loadImmediate | MODE.absolute | SIZE[size], immediate: signed32(offset) })
  }

  /** As `loadAbsolute`, at `base + offset`. */
  loadIndirect(size: 'u8' | 'u16' | 'u32', base: Wide, offset: number): this {
    const code = CLASS.loadImmediate | MODE.indirect | SIZE[size]
    return this.add({ code, from: number(base), immediate: signed32(offset) })
  }

  constant(to: Wide, value: bigint): this {
    const bits = BigInt.asUintN(64, value)
    return this.wide(number(to), 0, Number(bits & 0xffff_ffffn), Number(bits >> 32n))
  }

  /** The map of that name, as the helpers want it. */
  map(to: Wide, name: string): this {
    return this.wide(number(to), PSEUDO_MAP, 0, 0, name)
  }

  /** The address of a byte within the first value of an array map (not per processor), which needs no look-up. */
  mapValue(to: Wide, name: string, offset: number): this {
    return this.wide(number(to), PSEUDO_MAP_VALUE, 0, offset, name)
  }

  /** Arguments in r1 to r5, the result in r0; r1 to r5 are lost. */
  call(helper: Helper): this {
    return this.add({ code: CLASS.jump64 | JUMP_CALL, immediate: HELPERS[helper] })
  }

  jump(label: string): this {
    return this.add({ code: CLASS.jump64 | JUMP_ALWAYS, label })
  }

  /** `&` asks whether they have a bit in common; `s<` and the like compare with sign. */
  jumpIf(left: Register, operation: Comparison, right: Register | number, label: string): this {
    const kind = isWide(left) ? CLASS.jump64 : CLASS.jump32
    return this.compute(kind | JUMP[operation], left, right, label)
  }

  exit(): this {
    return this.add({ code: CLASS.jump64 | JUMP_EXIT })
  }

  /** A name for the next instruction. */
  label(name: string): this {
    if (this.places.has(name)) throw new RangeError(`the label ${name} stands twice`)
    this.places.set(name, this.instructions.length)
    return this
  }

  /** A label that nobody else uses: parts of programs are written many times over. */
  newLabel(name: string): string {
    return `${name}.${this.labels++}`
  }

  /**
   * The program with a descriptor for each map that it names. What nothing leads to is left out: the kernel refuses it, and
   * programs that are made of parts have it.
   */
  assemble(maps: Readonly<Record<string, number>> = {}): Uint8Array {
    const kept = this.reachable()
    const places: number[] = []
    let length = 0
    for (const keep of kept) places.push(keep ? length++ : length)
    const view = new DataView(new ArrayBuffer(length * INSTRUCTION_BYTES))
    for (const [index, instruction] of this.instructions.entries()) {
      if (!kept[index]) continue
      const { code, to = 0, from = 0, label, map, offset = 0, immediate = 0 } = instruction
      const place = places[index]!
      const at = place * INSTRUCTION_BYTES
      view.setUint8(at, code)
      view.setUint8(at + 1, (from << 4) | to)
      view.setInt16(at + 2, checked16(label === undefined ? offset : places[this.target(label)]! - place - 1), true)
      view.setInt32(at + 4, map === undefined ? immediate : descriptor(maps, map), true)
    }
    return new Uint8Array(view.buffer)
  }

  private reachable(): boolean[] {
    const reached: boolean[] = new Array(this.instructions.length).fill(false)
    const ahead = [0]
    for (let index = ahead.pop(); index !== undefined; index = ahead.pop()) {
      const instruction = this.instructions[index]
      if (instruction === undefined) throw new RangeError('the program runs beyond its end')
      if (reached[index]) continue
      reached[index] = true
      const { code, label } = instruction
      if (label !== undefined) ahead.push(this.target(label))
      if (code !== (CLASS.jump64 | JUMP_ALWAYS) && code !== (CLASS.jump64 | JUMP_EXIT)) ahead.push(index + 1)
    }
    return reached
  }

  private target(label: string): number {
    const place = this.places.get(label)
    if (place === undefined) throw new RangeError(`nothing is called ${label}`)
    return place
  }

  private compute(code: number, to: Register, from: Register | number, label?: string): this {
    const target = label === undefined ? {} : { label }
    if (typeof from === 'number') return this.add({ code, to: number(to), immediate: signed32(from), ...target })
    if (isWide(from) !== isWide(to)) throw new RangeError(`${to} and ${from} are not equally wide`)
    return this.add({ code: code | FROM_REGISTER, to: number(to), from: number(from), ...target })
  }

  private wide(to: number, kind: number, low: number, high: number, map?: string): this {
    const target = map === undefined ? {} : { map }
    this.add({ code: CLASS.loadImmediate | SIZE.u64, to, from: kind, immediate: low | 0, ...target })
    return this.add({ code: 0, immediate: high | 0 })
  }

  private add(instruction: Instruction): this {
    this.instructions.push(instruction)
    return this
  }
}

export type Wide = 'r0' | 'r1' | 'r2' | 'r3' | 'r4' | 'r5' | 'r6' | 'r7' | 'r8' | 'r9' | 'r10'
export type Narrow = 'w0' | 'w1' | 'w2' | 'w3' | 'w4' | 'w5' | 'w6' | 'w7' | 'w8' | 'w9'
export type Register = Wide | Narrow
export type Size = keyof typeof SIZE
export type AluOperation = keyof typeof ALU
export type Comparison = keyof typeof JUMP
export type Helper = keyof typeof HELPERS

export const INSTRUCTION_BYTES = 8

interface Instruction {
  code: number
  to?: number
  from?: number
  offset?: number
  immediate?: number
  label?: string
  map?: string
}

const CLASS = {
  loadImmediate: 0,
  load: 1,
  storeImmediate: 2,
  store: 3,
  alu32: 4,
  jump64: 5,
  jump32: 6,
  alu64: 7,
} as const
const FROM_REGISTER = 0x08
const SIZE = { u32: 0x00, u16: 0x08, u8: 0x10, u64: 0x18 } as const
const MODE = { absolute: 0x20, indirect: 0x40, memory: 0x60, atomic: 0xc0 } as const
const ALU = {
  '+=': 0x00,
  '-=': 0x10,
  '*=': 0x20,
  '/=': 0x30,
  '|=': 0x40,
  '&=': 0x50,
  '<<=': 0x60,
  '>>=': 0x70,
  '%=': 0x90,
  '^=': 0xa0,
  '=': 0xb0,
  's>>=': 0xc0,
} as const
const ALU_NEGATE = 0x80
const ALU_END = 0xd0
const JUMP = {
  '==': 0x10,
  '>': 0x20,
  '>=': 0x30,
  '&': 0x40,
  '!=': 0x50,
  's>': 0x60,
  's>=': 0x70,
  '<': 0xa0,
  '<=': 0xb0,
  's<': 0xc0,
  's<=': 0xd0,
} as const
const JUMP_ALWAYS = 0x00
const JUMP_CALL = 0x80
const JUMP_EXIT = 0x90
const PSEUDO_MAP = 1
const PSEUDO_MAP_VALUE = 2

/** Numbers of <linux/bpf.h>, under its names. */
const HELPERS = {
  map_lookup_elem: 1,
  map_update_elem: 2,
  map_delete_elem: 3,
  ktime_get_ns: 5,
  get_prandom_u32: 7,
  get_smp_processor_id: 8,
  get_current_pid_tgid: 14,
  skb_load_bytes: 26,
  get_socket_cookie: 46,
  redirect_map: 51,
  skb_load_bytes_relative: 68,
  skb_cgroup_id: 79,
  skb_ancestor_cgroup_id: 83,
  sk_storage_get: 107,
  get_netns_cookie: 122,
  ktime_get_boot_ns: 125,
  sk_cgroup_id: 128,
  ringbuf_output: 130,
  ringbuf_reserve: 131,
  ringbuf_submit: 132,
  ringbuf_discard: 133,
  ringbuf_query: 134,
  xdp_get_buff_len: 188,
  xdp_load_bytes: 189,
} as const

function isWide(register: Register): register is Wide {
  return register.startsWith('r')
}

function number(register: Register): number {
  return Number(register.slice(1))
}

function signed32(value: number): number {
  if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0xffff_ffff)
    throw new RangeError(`${value} does not fit into 32 bits`)
  return value | 0
}

function checked16(value: number): number {
  if (value < -0x8000 || value > 0x7fff) throw new RangeError(`${value} does not fit into 16 bits`)
  return value
}

function descriptor(maps: Readonly<Record<string, number>>, name: string): number {
  const found = maps[name]
  if (found === undefined) throw new RangeError(`no map is called ${name}`)
  return found
}
