/**
 * The programs at cgroups: each packet that a socket sends or receives is put into a BPF ring buffer with the number of the
 * socket's cgroup, or counted for it by cause. They let every packet pass. A record of the ring:
 *
 *   time(8, CLOCK_MONOTONIC) cgroup(8) length(4) captured(4) outbound(4) unused(4) bytes(captured) ...
 *
 * Packets begin with the header of IP here.
 */
import { Assembler } from './assembler.ts'
import { MAP_FLAGS, type MapShape } from './bpf.ts'
import type { ClassicInstruction } from './classic.ts'
import { SKB } from './context.ts'
import { OWN_MAPS, OWN_STACK_BYTES, ownPackets } from './own-packets.ts'
import { SELECTION_MAPS, SELECTION_STACK_BYTES, selectPackets } from './selection.ts'

export interface CgroupPackets {
  direction: 'ingress' | 'egress'
  samplePercent: number
  /** null: everything. */
  filter: readonly ClassicInstruction[] | null
  /** Whether packets of `own_flows` are left out. */
  leaveOutOwn: boolean
}

/** What becomes of a packet, in the order in which the values of `counters` have them, 64 bits each; `seen` is their sum. */
export const FATES = ['seen', 'accepted', 'dropped', 'filtered', 'untargeted', 'sampledOut', 'own'] as const
export type Fate = (typeof FATES)[number]

/** Of `counters`: cgroups that have no room in it are counted for number 0. */
const MAX_COUNTED = 1 << 16

/** Places in the value of `state`, which worker/native/ring-buffer.c shares. */
export const STATE = { full: 0, wakeAt: 4, freezes: 8 } as const

export const CGROUP_PACKETS_MAPS = {
  ...SELECTION_MAPS,
  ...OWN_MAPS,
  /** By number of cgroup; the programs add those that they do not find, and need number 0 to be there. */
  counters: {
    type: 'percpu_hash',
    keyBytes: 8,
    valueBytes: 8 * FATES.length,
    entries: MAX_COUNTED,
    flags: MAP_FLAGS.noPreallocation,
  },
  state: { type: 'array', keyBytes: 4, valueBytes: 16, entries: 1, flags: MAP_FLAGS.mappable },
} as const satisfies Record<string, MapShape>

/** Names the maps of CGROUP_PACKETS_MAPS and `ring`, the ring buffer. r6: the context, r9: the counters of the cgroup. */
export function cgroupPackets({ direction, samplePercent, filter, leaveOutOwn }: CgroupPackets): Assembler {
  const to = new Assembler()
  to.alu('r6', '=', 'r1').call('skb_cgroup_id').store('u64', 'r10', KEY, 'r0')
  findCounters(to)
  count(to, 'seen')
  if (leaveOutOwn) ownPackets(to, { context: 'skb', link: 'ip' }, TOP, 'own')
  selectPackets(to, { context: 'skb', link: 'ip', samplePercent, filter }, TOP, {
    wanted: 'wanted',
    untargeted: 'untargeted',
    sampledOut: 'sampledOut',
    filtered: 'filtered',
  })
  to.label('wanted')
  reserve(to)
  fill(to, direction)
  submit(to)
  to.jump('pass')

  to.label('unreadable').alu('r1', '=', 'r8').alu('r2', '=', 0).call('ringbuf_discard').jump('dropped')
  to.label('full').mapValue('r1', 'state', STATE.full).load('r2', 'u32', 'r1', 0).jumpIf('r2', '!=', 0, 'dropped')
  to.store('u32', 'r1', 0, 1)
    .mapValue('r1', 'state', STATE.freezes)
    .alu('r2', '=', 1)
    .addAtomically('u64', 'r1', 0, 'r2')
  for (const fate of ['dropped', 'filtered', 'untargeted', 'sampledOut', 'own'] as const) {
    to.label(fate)
    count(to, fate)
    to.jump('pass')
  }
  return to.label('pass').alu('r0', '=', 1).exit()
}

/** What is reserved must be of a size that the verifier knows: the smallest of these that holds the packet. */
const SIZES = [96, 192, 384, 768, 1536, 3072, 9216, 18_432, 36_864, 65_536] as const
/** What offloading makes may be longer, and is cut. */
export const MAX_CAPTURED = SIZES.at(-1)!
const RECORD = { time: 0, cgroup: 8, length: 16, captured: 20, outbound: 24, unused: 28, bytes: 32 } as const

/** Of the stack: the number of the cgroup, then what the parts need. */
const KEY = -8
const TOP = -8

/** BPF_NOEXIST */
const ONLY_NEW = 1
const AVAILABLE_DATA = 0
const NO_WAKEUP = 1
const FORCE_WAKEUP = 2

function findCounters(to: Assembler): void {
  const value = TOP - 8 * FATES.length
  lookUp(to)
  to.jumpIf('r0', '!=', 0, 'found')
  for (let at = value; at < TOP; at += 8) to.store('u64', 'r10', at, 0)
  to.map('r1', 'counters').alu('r2', '=', 'r10').alu('r2', '+=', KEY).alu('r3', '=', 'r10').alu('r3', '+=', value)
  to.alu('r4', '=', ONLY_NEW).call('map_update_elem')
  // The reader asks for its name at once: a container may be gone soon.
  to.mapValue('r1', 'state', STATE.wakeAt).store('u32', 'r1', 0, 1)
  // Another processor may have been faster.
  lookUp(to)
  to.jumpIf('r0', '!=', 0, 'found').store('u64', 'r10', KEY, 0)
  lookUp(to)
  to.jumpIf('r0', '==', 0, 'pass').label('found').alu('r9', '=', 'r0')
}

function lookUp(to: Assembler): void {
  to.map('r1', 'counters').alu('r2', '=', 'r10').alu('r2', '+=', KEY).call('map_lookup_elem')
}

/** A program is interrupted by others of its kind on the same processor. */
function count(to: Assembler, fate: Fate): void {
  to.alu('r1', '=', 1).addAtomically('u64', 'r9', 8 * FATES.indexOf(fate), 'r1')
}

/** Room for the packet in r8, its length, as far as it is captured, in r7. */
function reserve(to: Assembler): void {
  to.load('r7', 'u32', 'r6', SKB.len).jumpIf('r7', '==', 0, 'dropped')
  for (const size of SIZES) {
    const larger = to.newLabel('larger')
    if (size === MAX_CAPTURED) to.jumpIf('r7', '<=', size, larger).alu('r7', '=', size).label(larger)
    else to.jumpIf('r7', '>', size, larger)
    to.alu('r2', '=', RECORD.bytes + size)
    if (size !== MAX_CAPTURED) to.jump('reserve').label(larger)
  }
  to.label('reserve').map('r1', 'ring').alu('r3', '=', 0).call('ringbuf_reserve').jumpIf('r0', '==', 0, 'full')
  to.alu('r8', '=', 'r0')
}

function fill(to: Assembler, direction: CgroupPackets['direction']): void {
  to.load('r1', 'u64', 'r10', KEY).store('u64', 'r8', RECORD.cgroup, 'r1')
  to.load('r1', 'u32', 'r6', SKB.len).store('u32', 'r8', RECORD.length, 'r1')
  to.store('u32', 'r8', RECORD.captured, 'r7').store('u32', 'r8', RECORD.unused, 0)
  to.store('u32', 'r8', RECORD.outbound, direction === 'egress' ? 1 : 0)
  to.call('ktime_get_ns').store('u64', 'r8', RECORD.time, 'r0')
  to.alu('r1', '=', 'r6').alu('r2', '=', 0).alu('r3', '=', 'r8').alu('r3', '+=', RECORD.bytes).alu('r4', '=', 'r7')
  to.call('skb_load_bytes').jumpIf('r0', '!=', 0, 'unreadable')
}

/** The reader looks by itself every few milliseconds; it is woken where it wants to be. */
function submit(to: Assembler): void {
  count(to, 'accepted')
  to.mapValue('r1', 'state', STATE.wakeAt).load('r7', 'u32', 'r1', 0).alu('r2', '=', NO_WAKEUP)
  to.jumpIf('r7', '==', 0, 'submit')
  to.map('r1', 'ring').alu('r2', '=', AVAILABLE_DATA).call('ringbuf_query').alu('r2', '=', NO_WAKEUP)
  to.jumpIf('r0', '<', 'r7', 'submit')
  to.mapValue('r1', 'state', STATE.wakeAt).store('u32', 'r1', 0, 0).alu('r2', '=', FORCE_WAKEUP)
  to.label('submit').alu('r1', '=', 'r8').call('ringbuf_submit')
}

/** What the parts need of the stack must be there: the kernel gives 512 bytes. */
export const CGROUP_PACKETS_STACK_BYTES = -TOP + Math.max(SELECTION_STACK_BYTES, OWN_STACK_BYTES, 8 * FATES.length)
