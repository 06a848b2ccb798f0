/**
 * bpf(2): maps, programs and links as descriptors. Each method lays out `union bpf_attr` of <linux/bpf.h> for one command;
 * what the kernel refuses becomes a Fault with its name and, for programs, with the last words of the verifier.
 */
import { closeSync, readFileSync } from 'node:fs'
import { release as kernelRelease } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { Fault } from '../../core/fault.ts'
import { type Assembler, INSTRUCTION_BYTES } from './assembler.ts'

/** Of the addon: the result, or an error number below 0. `buffers`: offset in the attributes and what its address goes to. */
export type BpfCall = (
  command: number,
  attributes: Uint8Array,
  buffers: (number | Uint8Array)[],
  namespace: number,
) => number

export interface MapShape {
  type: keyof typeof MAP_TYPES
  keyBytes: number
  valueBytes: number
  entries: number
  flags?: number
}

export interface ProgramShape {
  type: keyof typeof PROGRAM_TYPES
  /** Where it will be attached, for the types that must know. */
  attach?: keyof typeof ATTACH_TYPES
}

/** BPF_F_ flags of maps. */
export const MAP_FLAGS = { noPreallocation: 1, mappable: 1 << 10 } as const

export class Bpf {
  private readonly call: BpfCall

  constructor(call: BpfCall) {
    this.call = call
  }

  createMap(name: string, { type, keyBytes, valueBytes, entries, flags = 0 }: MapShape): number {
    const attributes = new Attributes(48)
      .u32(0, MAP_TYPES[type])
      .u32(4, keyBytes)
      .u32(8, valueBytes)
      .u32(12, entries)
      .u32(16, flags)
      .name(28, name)
    return this.must(`create the map ${name}`, MAP_CREATE, attributes)
  }

  loadProgram(name: string, { type, attach }: ProgramShape, program: Assembler, maps: Record<string, number>): number {
    const instructions = program.assemble(maps)
    const log = new Uint8Array(LOG_BYTES)
    const attributes = new Attributes(72)
      .u32(0, PROGRAM_TYPES[type])
      .u32(4, instructions.length / INSTRUCTION_BYTES)
      .buffer(8, instructions)
      .buffer(16, LICENSE)
      .u32(44, type === 'xdp' ? XDP_HAS_FRAGS : 0)
      .name(48, name)
      .u32(68, attach === undefined ? 0 : ATTACH_TYPES[attach])
    const done = this.run(PROG_LOAD, attributes)
    if (done >= 0) return done
    // Once more for the verifier's words, which cost time: what is accepted is not asked for them.
    attributes.u32(24, 1).u32(28, LOG_BYTES).buffer(32, log)
    const again = this.run(PROG_LOAD, attributes)
    if (again >= 0) return again
    throw refusal(`load the program ${name}`, done, lastWords(log))
  }

  /** Attaches to a cgroup, until the descriptor that is returned is closed. */
  linkCgroup(program: number, attach: keyof typeof ATTACH_TYPES, cgroup: number): number {
    const attributes = new Attributes(16).u32(0, program).u32(4, cgroup).u32(8, ATTACH_TYPES[attach])
    return this.must(`attach to ${attach}`, LINK_CREATE, attributes)
  }

  /** As above, to the interface of that index in a network namespace (its descriptor, -1: our own). */
  linkInterface(program: number, mode: keyof typeof XDP_MODES, index: number, namespace: number): number {
    const attributes = new Attributes(16)
      .u32(0, program)
      .u32(4, index)
      .u32(8, ATTACH_TYPES.xdp)
      .u32(12, XDP_MODES[mode])
    const done = this.run(LINK_CREATE, attributes, namespace)
    if (done < 0) throw refusal(`attach to XDP (${mode})`, done, '')
    return done
  }

  /** false: there is no such key. */
  lookup(map: number, key: Uint8Array, value: Uint8Array): boolean {
    return this.element('look up', LOOKUP, map, key, value)
  }

  update(map: number, key: Uint8Array, value: Uint8Array): void {
    this.must('update a map', UPDATE, element(map, key, value))
  }

  /** false: there was no such key. */
  delete(map: number, key: Uint8Array): boolean {
    return this.element('delete', DELETE, map, key, NOTHING)
  }

  /** Puts the key that follows `key` (null: the first) into `next`. false: there is none. */
  private nextKey(map: number, key: Uint8Array | null, next: Uint8Array): boolean {
    return this.element('walk', NEXT_KEY, map, key, next)
  }

  /** The same value for many keys, at once where the kernel can (5.6). */
  updateAll(map: number, keys: readonly Uint8Array[], value: Uint8Array): void {
    if (this.batch(UPDATE_BATCH, map, keys, value)) return
    for (const key of keys) this.update(map, key, value)
  }

  /** As `updateAll`. */
  deleteAll(map: number, keys: readonly Uint8Array[]): void {
    if (this.batch(DELETE_BATCH, map, keys, null)) return
    for (const key of keys) this.delete(map, key)
  }

  /** Keys of a map, as they are while it is walked. */
  *keys(map: number, keyBytes: number): Generator<Uint8Array> {
    let key: Uint8Array | null = null
    for (;;) {
      const next: Uint8Array = new Uint8Array(keyBytes)
      if (!this.nextKey(map, key, next)) return
      yield next
      key = next
    }
  }

  /** Puts a program through the kernel's test run with a packet; what it returns. */
  test(program: number, packet: Uint8Array): number {
    const attributes = new Attributes(80).u32(0, program).u32(8, packet.length).buffer(16, packet).u32(32, 1)
    this.must('test a program', TEST_RUN, attributes)
    return attributes.view.getUint32(4, true)
  }

  close(descriptor: number): void {
    closeSync(descriptor)
  }

  /** false: it cannot be done like this, or not for all. */
  private batch(command: number, map: number, keys: readonly Uint8Array[], value: Uint8Array | null): boolean {
    if (keys.length === 0) return true
    const attributes = new Attributes(56).buffer(16, Buffer.concat(keys)).u32(32, keys.length).u32(36, map)
    if (value !== null) attributes.buffer(24, Buffer.alloc(keys.length * value.length, value))
    return this.run(command, attributes) >= 0
  }

  private element(what: string, command: number, map: number, key: Uint8Array | null, value: Uint8Array): boolean {
    const done = this.run(command, element(map, key, value))
    if (done >= 0) return true
    if (getSystemErrorName(done) === 'ENOENT') return false
    throw refusal(`${what} in a map`, done, '')
  }

  private must(what: string, command: number, attributes: Attributes): number {
    const done = this.run(command, attributes)
    if (done < 0) throw refusal(what, done, '')
    return done
  }

  private run(command: number, { bytes, buffers }: Attributes, namespace = -1): number {
    return this.call(command, bytes, buffers, namespace)
  }
}

/** To be said of a refusal where the kernel is older than this: ` (this is Linux 4.19.0, it needs 5.8)`. */
export function ifOlderThan(major: number, minor: number, release = kernelRelease()): string {
  const [ours = 0, next = 0] = release.split('.').map(Number.parseFloat)
  return ours < major || (ours === major && next < minor)
    ? ` (this is Linux ${release}, it needs ${major}.${minor})`
    : ''
}

/** A key or a value of 32 bits. */
export function word(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4))
  view.setUint32(0, value, true)
  return new Uint8Array(view.buffer)
}

/** Values of maps per processor are as many as the kernel might have processors: `0-127`. */
export function possibleProcessors(): number {
  const text = readFileSync('/sys/devices/system/cpu/possible', 'utf8')
  return 1 + Math.max(...(text.match(/\d+/g) ?? ['0']).map(Number))
}

const MAP_CREATE = 0
const LOOKUP = 1
const UPDATE = 2
const DELETE = 3
const NEXT_KEY = 4
const PROG_LOAD = 5
const TEST_RUN = 10
const UPDATE_BATCH = 26
const DELETE_BATCH = 27
const LINK_CREATE = 28

const MAP_TYPES = {
  hash: 1,
  array: 2,
  percpu_hash: 5,
  percpu_array: 6,
  lru_hash: 9,
  lpm_trie: 11,
  array_of_maps: 12,
  hash_of_maps: 13,
  xskmap: 17,
  ringbuf: 27,
} as const
const PROGRAM_TYPES = { socket_filter: 1, sched_cls: 3, xdp: 6, cgroup_skb: 8, cgroup_sock: 9 } as const
const ATTACH_TYPES = {
  cgroup_inet_ingress: 0,
  cgroup_inet_egress: 1,
  cgroup_inet_sock_create: 2,
  xdp: 37,
  tcx_ingress: 46,
  tcx_egress: 47,
} as const

/** XDP_FLAGS_ of <linux/if_link.h>: by the driver, or by the kernel behind any driver. */
const XDP_MODES = { driver: 1 << 2, generic: 1 << 1 } as const
/** BPF_F_XDP_HAS_FRAGS: our programs read packets by a helper, wherever they lie. */
const XDP_HAS_FRAGS = 1 << 5
/** Helpers that only programs under the GPL may call are not used. */
const LICENSE = new TextEncoder().encode('Apache-2.0\0')
const LOG_BYTES = 1 << 20
const NAME_BYTES = 16
const NOTHING = new Uint8Array(0)

class Attributes {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly buffers: (number | Uint8Array)[] = []

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
    this.view = new DataView(this.bytes.buffer)
  }

  u32(offset: number, value: number): this {
    this.view.setUint32(offset, value, true)
    return this
  }

  u64(offset: number, value: bigint): this {
    this.view.setBigUint64(offset, value, true)
    return this
  }

  buffer(offset: number, bytes: Uint8Array): this {
    this.buffers.push(offset, bytes)
    return this
  }

  /** The kernel takes letters, digits, dots and underscores. */
  name(offset: number, name: string): this {
    this.bytes.set(new TextEncoder().encode(name.slice(0, NAME_BYTES - 1)), offset)
    return this
  }
}

function element(map: number, key: Uint8Array | null, value: Uint8Array): Attributes {
  const attributes = new Attributes(32).u32(0, map)
  if (key !== null) attributes.buffer(8, key)
  return value.length === 0 ? attributes : attributes.buffer(16, value)
}

function refusal(what: string, code: number, detail: string): Fault {
  return new Fault('BPF_REFUSED', `the kernel will not ${what}: ${getSystemErrorName(code)}${detail && `: ${detail}`}`)
}

/** Its last line counts what it did; the complaint stands before. */
function lastWords(log: Uint8Array): string {
  const text = new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0))))
  return text.trim().split('\n').slice(-8).join('; ')
}
