/**
 * Runs eBPF programs without a kernel, for tests that have no privileges: instructions of RFC 9669, the helpers that look at
 * packets and maps, and memory in regions, an address being region << 32 | offset. What is out of a region throws.
 */
import { INSTRUCTION_BYTES } from '../assembler.ts'
import { SKB, XDP } from '../context.ts'

/** A frame as the kernel has it: the tag of a VLAN beside it. */
export interface Skb {
  frame: Uint8Array
  /** Where the header of the network begins. */
  network: number
  ifindex: number
  outgoing: boolean
  tag: { type: number; control: number } | null
  /** Of the socket that sends or takes it. */
  cgroup?: bigint
}

export interface MachineMap {
  keyBytes: number
  valueBytes: number
  values: Map<string, Uint8Array>
}

export class Machine {
  /** ns, for ktime_get_ns. */
  now = 0n
  /** What a ring buffer has room for, and what has been put into it. */
  ringBytes = 1 << 20
  readonly records: Uint8Array[] = []
  reserved = 0
  wakeups = 0
  readonly maps: Readonly<Record<string, MachineMap>>
  private readonly numbers: Record<string, number> = {}
  private readonly names: string[] = []

  constructor(shapes: Readonly<Record<string, { type: string; keyBytes: number; valueBytes: number }>>) {
    const maps: Record<string, MachineMap> = {}
    for (const [name, { type, keyBytes, valueBytes }] of Object.entries(shapes)) {
      this.numbers[name] = this.names.length
      this.names.push(name)
      maps[name] = { keyBytes, valueBytes, values: new Map() }
      // An array has all its values from the beginning.
      if (type.endsWith('array')) maps[name].values.set(keyOf(new Uint8Array(keyBytes)), new Uint8Array(valueBytes))
    }
    this.maps = maps
  }

  /** Descriptors for `assemble`. */
  get descriptors(): Readonly<Record<string, number>> {
    return this.numbers
  }

  get(map: string, key: Uint8Array): Uint8Array | undefined {
    return this.maps[map]!.values.get(keyOf(key))
  }

  set(map: string, key: Uint8Array, value: Uint8Array): void {
    this.maps[map]!.values.set(keyOf(key), value)
  }

  remove(map: string, key: Uint8Array): void {
    this.maps[map]!.values.delete(keyOf(key))
  }

  /** What the program returns. */
  run(program: Uint8Array, skb: Skb): number {
    return new Run(this, this.names, program, skb, contextOf(skb)).result()
  }

  /** What a program at XDP returns for a frame that came in by that queue. */
  runXdp(program: Uint8Array, frame: Uint8Array, queue: number): number {
    const context = new DataView(new ArrayBuffer(24))
    context.setUint32(XDP.rx_queue_index, queue, true)
    const skb = { frame, network: 14, ifindex: 0, outgoing: false, tag: null }
    return new Run(this, this.names, program, skb, new Uint8Array(context.buffer)).result()
  }

  /** Of the ring buffer; what is reserved counts, as the kernel has it. */
  get ringUsed(): number {
    return this.reserved + this.records.reduce((sum, record) => sum + 8 + record.length, 0)
  }
}

const MOST_STEPS = 100_000
const STACK_BYTES = 512
const WORD = (1n << 64n) - 1n
const HALF = (1n << 32n) - 1n
const XDP_REDIRECT = 4n
const WIDTH: Readonly<Record<number, number>> = { 0: 4, 8: 2, 16: 1, 24: 8 }

class Run {
  private readonly machine: Machine
  private readonly names: readonly string[]
  private readonly program: DataView
  private readonly skb: Skb
  private readonly registers = new BigUint64Array(11)
  private readonly regions: Uint8Array[] = [new Uint8Array(0)]

  constructor(machine: Machine, names: readonly string[], program: Uint8Array, skb: Skb, context: Uint8Array) {
    this.machine = machine
    this.names = names
    this.program = new DataView(program.buffer, program.byteOffset, program.length)
    this.skb = skb
    this.registers[1] = this.region(context)
    this.registers[10] = this.region(new Uint8Array(STACK_BYTES)) + BigInt(STACK_BYTES)
  }

  result(): number {
    let at = 0
    for (let steps = 0; steps < MOST_STEPS; steps++) {
      const next = this.step(at)
      if (next === null) return Number(this.registers[0]! & HALF)
      at = next
    }
    throw new Error('the program does not end')
  }

  /** The number of the next instruction; null: this was the last. */
  private step(at: number): number | null {
    const place = at * INSTRUCTION_BYTES
    const code = this.program.getUint8(place)
    const [to, from] = [this.program.getUint8(place + 1) & 15, this.program.getUint8(place + 1) >> 4]
    const offset = this.program.getInt16(place + 2, true)
    const immediate = this.program.getInt32(place + 4, true)
    const { registers } = this
    const width = WIDTH[code & 0x18]!
    switch (code & 7) {
      case 0: {
        const high = this.program.getInt32(place + INSTRUCTION_BYTES + 4, true)
        if (from === 1) registers[to] = BigInt(immediate)
        else if (from === 2) registers[to] = this.value(immediate, new Uint8Array(4)) + BigInt(high)
        else registers[to] = (BigInt(high >>> 0) << 32n) | BigInt(immediate >>> 0)
        return at + 2
      }
      case 1:
        registers[to] = this.read(registers[from]! + BigInt(offset), width)
        return at + 1
      case 2:
        this.write(registers[to]! + BigInt(offset), width, BigInt(immediate))
        return at + 1
      case 3: {
        const place = registers[to]! + BigInt(offset)
        const isAtomicAddition = (code & 0xe0) === 0xc0
        const before = isAtomicAddition ? this.read(place, width) : 0n
        this.write(place, width, (before + registers[from]!) & WORD)
        return at + 1
      }
      case 4:
      case 7:
        registers[to] = this.calculate(
          code,
          registers[to]!,
          (code & 8) !== 0 ? registers[from]! : BigInt(immediate),
          immediate,
        )
        return at + 1
    }
    if (code === 0x95) return null
    if (code === 0x85) {
      this.call(immediate)
      return at + 1
    }
    if (code === 0x05) return at + 1 + offset
    const right = (code & 8) !== 0 ? registers[from]! : BigInt(immediate)
    return at + 1 + (compare(code, registers[to]!, right) ? offset : 0)
  }

  private calculate(code: number, left: bigint, right: bigint, immediate: number): bigint {
    const wide = (code & 7) === 7
    const [mask, bits] = wide ? [WORD, 64n] : [HALF, 32n]
    const [a, b] = [left & mask, right & mask]
    switch (code & 0xf0) {
      case 0x00:
        return (a + b) & mask
      case 0x10:
        return (a - b) & mask
      case 0x20:
        return (a * b) & mask
      case 0x30:
        return b === 0n ? 0n : a / b
      case 0x40:
        return a | b
      case 0x50:
        return a & b
      case 0x60:
        return (a << (b % bits)) & mask
      case 0x70:
        return a >> (b % bits)
      case 0x80:
        return -a & mask
      case 0x90:
        return b === 0n ? a : a % b
      case 0xa0:
        return a ^ b
      case 0xb0:
        return b
      case 0xc0:
        return (BigInt.asIntN(Number(bits), a) >> (b % bits)) & mask
    }
    let swapped = 0n
    for (let i = 0; i < immediate; i += 8) swapped = (swapped << 8n) | ((left >> BigInt(i)) & 255n)
    return swapped
  }

  private call(helper: number): void {
    const [, r1 = 0n, r2 = 0n, r3 = 0n, r4 = 0n, r5 = 0n] = this.registers
    const { registers, machine, skb } = this
    registers[0] = (() => {
      switch (helper) {
        case 1:
          return this.value(Number(r1), this.bytes(r2, this.map(r1).keyBytes))
        case 2: {
          const { keyBytes, valueBytes } = this.map(r1)
          const key = this.bytes(r2, keyBytes)
          if (r4 === 1n && machine.get(this.names[Number(r1)]!, key) !== undefined) return WORD
          machine.set(this.names[Number(r1)]!, key, this.bytes(r3, valueBytes).slice())
          return 0n
        }
        case 3:
          machine.remove(this.names[Number(r1)]!, this.bytes(r2, this.map(r1).keyBytes))
          return 0n
        case 5:
          return machine.now
        case 26:
          return this.copy(Number(r2), r3, Number(r4))
        case 51:
          return machine.get(this.names[Number(r1)]!, this.key(r2, r1)) === undefined ? r3 : XDP_REDIRECT
        case 79:
          return skb.cgroup ?? 0n
        case 131:
          if (machine.ringUsed + 8 + Number(r2) > machine.ringBytes) return 0n
          machine.reserved += 8 + Number(r2)
          return this.region(new Uint8Array(Number(r2)))
        case 132:
          machine.records.push(this.regions[Number(r1 >> 32n)]!)
          machine.reserved = 0
          if (r2 === 2n) machine.wakeups++
          return 0n
        case 133:
          machine.reserved = 0
          return 0n
        case 134:
          return BigInt(machine.ringUsed)
        case 188:
          return BigInt(skb.frame.length)
        case 189:
          return this.copy(Number(r2), r3, Number(r4))
        case 68:
          return this.copy(Number(r2) + (r5 === 1n ? skb.network : 0), r3, Number(r4))
      }
      throw new Error(`this machine has no helper ${helper}`)
    })()
    // Lost, as the kernel has it: whoever relies on them is found.
    for (let i = 1; i <= 5; i++) registers[i] = 0xdead_0000_0000n
  }

  private copy(from: number, to: bigint, count: number): bigint {
    if (from < 0 || from + count > this.skb.frame.length) return WORD
    this.bytes(to, count).set(this.skb.frame.subarray(from, from + count))
    return 0n
  }

  /** A number that is handed over in a register, as the key that it is. */
  private key(value: bigint, map: bigint): Uint8Array {
    const key = new DataView(new ArrayBuffer(this.map(map).keyBytes))
    key.setUint32(0, Number(value), true)
    return new Uint8Array(key.buffer)
  }

  private map(number: bigint): MachineMap {
    return this.machine.maps[this.names[Number(number)]!]!
  }

  private value(map: number, key: Uint8Array): bigint {
    const found = this.machine.get(this.names[map]!, key)
    return found === undefined ? 0n : this.region(found)
  }

  private region(bytes: Uint8Array): bigint {
    this.regions.push(bytes)
    return BigInt(this.regions.length - 1) << 32n
  }

  private bytes(address: bigint, count: number): Uint8Array {
    const region = this.regions[Number(address >> 32n)]
    const offset = Number(address & HALF)
    if (region === undefined || offset + count > region.length)
      throw new Error(`nothing lies at ${address.toString(16)}`)
    return region.subarray(offset, offset + count)
  }

  private read(address: bigint, width: number): bigint {
    return this.bytes(address, width).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)
  }

  private write(address: bigint, width: number, value: bigint): void {
    const bytes = this.bytes(address, width)
    for (let i = 0; i < width; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 255n)
  }
}

function compare(code: number, left: bigint, right: bigint): boolean {
  const bits = (code & 7) === 5 ? 64 : 32
  const [a, b] = [BigInt.asUintN(bits, left), BigInt.asUintN(bits, right)]
  const [signedA, signedB] = [BigInt.asIntN(bits, left), BigInt.asIntN(bits, right)]
  switch (code & 0xf0) {
    case 0x10:
      return a === b
    case 0x20:
      return a > b
    case 0x30:
      return a >= b
    case 0x40:
      return (a & b) !== 0n
    case 0x50:
      return a !== b
    case 0x60:
      return signedA > signedB
    case 0x70:
      return signedA >= signedB
    case 0xa0:
      return a < b
    case 0xb0:
      return a <= b
    case 0xc0:
      return signedA < signedB
    default:
      return signedA <= signedB
  }
}

function contextOf({ frame, network, ifindex, outgoing, tag }: Skb): Uint8Array {
  const view = new DataView(new ArrayBuffer(192))
  const swapped = (value: number) => ((value & 255) << 8) | (value >> 8)
  view.setUint32(SKB.len, frame.length, true)
  view.setUint32(SKB.pkt_type, outgoing ? 4 : 0, true)
  view.setUint32(SKB.protocol, network >= 2 ? frame[network - 2]! | (frame[network - 1]! << 8) : 0, true)
  view.setUint32(SKB.ifindex, ifindex, true)
  if (tag !== null) {
    view.setUint32(SKB.vlan_present, 1, true)
    view.setUint32(SKB.vlan_tci, tag.control, true)
    view.setUint32(SKB.vlan_proto, swapped(tag.type), true)
  }
  return new Uint8Array(view.buffer)
}

function keyOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex')
}
