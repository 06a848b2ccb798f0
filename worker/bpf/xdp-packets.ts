/**
 * The program at XDP for AF_XDP: packets that are wanted are given away to the socket of their queue, all others go on to
 * the kernel, as if nobody looked. Each is counted by cause.
 */
import { Assembler } from './assembler.ts'
import type { MapShape } from './bpf.ts'
import type { ClassicInstruction } from './classic.ts'
import { XDP } from './context.ts'
import { OWN_MAPS, OWN_STACK_BYTES, ownPackets } from './own-packets.ts'
import { SELECTION_MAPS, SELECTION_STACK_BYTES, selectPackets } from './selection.ts'

export interface XdpPackets {
  samplePercent: number
  /** null: everything. */
  filter: readonly ClassicInstruction[] | null
  /** Whether packets of `own_flows` are left out. */
  leaveOutOwn: boolean
}

/** What becomes of a packet, in the order in which the value of `counters` has them, 64 bits each; `seen` is their sum. */
export const FATES = ['seen', 'accepted', 'filtered', 'untargeted', 'sampledOut', 'own'] as const
export type Fate = (typeof FATES)[number]

/** For all interfaces of a capture. */
export const XDP_SHARED_MAPS = { ...SELECTION_MAPS, ...OWN_MAPS } as const satisfies Record<string, MapShape>
/** For one interface. */
export const XDP_COUNTERS = {
  type: 'percpu_array',
  keyBytes: 4,
  valueBytes: 8 * FATES.length,
  entries: 1,
} as const satisfies MapShape

/** Names the maps of XDP_SHARED_MAPS, `counters` and `sockets`, the sockets by queue. */
export function xdpPackets({ samplePercent, filter, leaveOutOwn }: XdpPackets): Assembler {
  const to = new Assembler().alu('r6', '=', 'r1').store('u32', 'r10', KEY, 0)
  to.map('r1', 'counters').alu('r2', '=', 'r10').alu('r2', '+=', KEY).call('map_lookup_elem')
  to.jumpIf('r0', '==', 0, 'pass').alu('r9', '=', 'r0')
  count(to, 'seen')
  if (leaveOutOwn) ownPackets(to, { context: 'xdp', link: 'ethernet' }, TOP, 'own')
  selectPackets(to, { context: 'xdp', link: 'ethernet', samplePercent, filter }, TOP, {
    wanted: 'wanted',
    untargeted: 'untargeted',
    sampledOut: 'sampledOut',
    filtered: 'filtered',
  })
  to.label('wanted')
  count(to, 'accepted')
  to.map('r1', 'sockets').load('r2', 'u32', 'r6', XDP.rx_queue_index).alu('r3', '=', XDP_PASS)
  to.call('redirect_map').exit()
  for (const fate of ['filtered', 'untargeted', 'sampledOut', 'own'] as const) {
    to.label(fate)
    count(to, fate)
    to.jump('pass')
  }
  return to.label('pass').alu('r0', '=', XDP_PASS).exit()
}

/** What becomes of a packet of a queue without a socket, too. */
const XDP_PASS = 2

/** Of the stack: the key of the counters, then what the parts need. */
const KEY = -4
const TOP = -8

function count(to: Assembler, fate: Fate): void {
  to.alu('r1', '=', 1).addAtomically('u64', 'r9', 8 * FATES.indexOf(fate), 'r1')
}

/** What the parts need of the stack must be there: the kernel gives 512 bytes. */
export const XDP_PACKETS_STACK_BYTES = -TOP + Math.max(SELECTION_STACK_BYTES, OWN_STACK_BYTES)
