/**
 * The filter of AF_PACKET: which packets the kernel puts into our ring, and why not the others. One program for all
 * interfaces of a namespace; each packet is counted once, by cause, for the interface at which it was seen.
 */
import { Assembler } from './assembler.ts'
import type { MapShape } from './bpf.ts'
import type { ClassicInstruction } from './classic.ts'
import { type Context, SKB } from './context.ts'
import { OWN_MAPS, OWN_STACK_BYTES, ownPackets } from './own-packets.ts'
import { SELECTION_MAPS, SELECTION_STACK_BYTES, selectPackets } from './selection.ts'

export interface PacketFilter {
  /** For frames of Ethernet, and for the packets of IP in whatever else there is. */
  ethernet: LinkFilter
  network: LinkFilter
  /**
   * Whether the filter sees frames with the tags of VLANs that the kernel has taken out. libpcap, when it captures, shows
   * them to expressions that speak of VLANs, and to others the frame without.
   */
  tags: boolean
  samplePercent: number
  /** Whether packets of `own_flows` are left out. */
  leaveOutOwn: boolean
}

/** null: everything. `none`: nothing, because what was asked for cannot be on such a link. */
export type LinkFilter = readonly ClassicInstruction[] | null | 'none'

/** What becomes of a packet, in the order in which the values of `counters` and `strays` have them, 64 bits each. */
export const FATES = ['accepted', 'filtered', 'untargeted', 'sampledOut', 'own'] as const
export type Fate = (typeof FATES)[number]

/** Values of the map `links`; interfaces that are not in it are taken for Ethernet. */
export const LINK = { ethernet: 0, network: 1 } as const
/** Of interfaces, also of those that have gone since they were counted last. */
const MAX_COUNTED = 1 << 14

export const PACKET_FILTER_MAPS = {
  ...SELECTION_MAPS,
  ...OWN_MAPS,
  /** By index of interface; the program adds those that it does not find. */
  counters: {
    type: 'percpu_hash',
    keyBytes: 4,
    valueBytes: 8 * FATES.length,
    entries: MAX_COUNTED,
    flags: 1,
  },
  /** For packets of interfaces that found no room in `counters`. */
  strays: { type: 'percpu_array', keyBytes: 4, valueBytes: 8 * FATES.length, entries: 1 },
  links: { type: 'hash', keyBytes: 4, valueBytes: 4, entries: MAX_COUNTED, flags: 1 },
} as const satisfies Record<string, MapShape>

/** r6: the context, r9: the counters of the packet's interface. */
export function packetFilter(filter: PacketFilter): Assembler {
  const to = new Assembler()
  to.alu('r6', '=', 'r1').load('r1', 'u32', 'r6', SKB.ifindex).store('u32', 'r10', KEY, 'r1')
  // The loopback shows each packet twice: when it goes out, and when the same comes in.
  to.jumpIf('r1', '!=', LOOPBACK, 'seen').load('r1', 'u32', 'r6', SKB.pkt_type)
  to.jumpIf('r1', '==', PACKET_OUTGOING, 'ignored').label('seen')
  findCounters(to)
  if (filter.ethernet === null && filter.network === null && filter.samplePercent >= 100) skipSelection(to, filter)
  lookUp(to, 'links')
  to.jumpIf('r0', '==', 0, 'ethernet').load('r1', 'u32', 'r0', 0).jumpIf('r1', '==', LINK.network, 'network')
  to.label('ethernet')
  select(to, filter, filter.ethernet, 'ethernet', filter.tags ? 'tagged' : 'skb')
  to.label('network')
  select(to, filter, filter.network, 'ip', 'network')
  // The kernel refuses a program with a part that nothing leads to.
  const reached: Record<Fate, boolean> = {
    accepted: true,
    filtered: filter.ethernet !== null || filter.network !== null,
    untargeted: true,
    sampledOut: filter.samplePercent < 100,
    own: filter.leaveOutOwn,
  }
  for (const [index, fate] of FATES.entries()) {
    if (!reached[fate]) continue
    to.label(fate)
      .load('r1', 'u64', 'r9', 8 * index)
      .alu('r1', '+=', 1)
      .store('u64', 'r9', 8 * index, 'r1')
    to.alu('w0', '=', fate === 'accepted' ? SNAP_LENGTH : 0).exit()
  }
  return to.label('ignored').alu('w0', '=', 0).exit()
}

/** What the kernel has no longer packet than. */
export const SNAP_LENGTH = 0x40000

const LOOPBACK = 1
const PACKET_OUTGOING = 4
/** Of the stack: the index of the interface, then what the parts need. */
const KEY = -4
const TOP = -8
/** BPF_NOEXIST */
const ONLY_NEW = 1

function findCounters(to: Assembler): void {
  lookUp(to, 'counters')
  to.jumpIf('r0', '!=', 0, 'found')
  for (let i = 1; i <= FATES.length; i++) to.store('u64', 'r10', TOP - 8 * i, 0)
  to.map('r1', 'counters').alu('r2', '=', 'r10').alu('r2', '+=', KEY)
  to.alu('r3', '=', 'r10')
    .alu('r3', '+=', TOP - 8 * FATES.length)
    .alu('r4', '=', ONLY_NEW)
    .call('map_update_elem')
  // Another processor may have been faster.
  lookUp(to, 'counters')
  to.jumpIf('r0', '!=', 0, 'found').store('u32', 'r10', TOP - 8, 0)
  to.map('r1', 'strays')
    .alu('r2', '=', 'r10')
    .alu('r2', '+=', TOP - 8)
    .call('map_lookup_elem')
  to.jumpIf('r0', '==', 0, 'ignored').label('found').alu('r9', '=', 'r0')
}

/** The value of the packet's interface, or 0, in r0. */
function lookUp(to: Assembler, map: string): void {
  to.map('r1', map).alu('r2', '=', 'r10').alu('r2', '+=', KEY).call('map_lookup_elem')
}

/** Most of the time nobody asks where a packet comes from. */
function skipSelection(to: Assembler, { leaveOutOwn }: PacketFilter): void {
  to.mapValue('r1', 'targeting', 0).load('r1', 'u32', 'r1', 0)
  if (leaveOutOwn) to.mapValue('r2', 'own_known', 0).load('r2', 'u32', 'r2', 0).alu('r1', '|=', 'r2')
  to.jumpIf('r1', '==', 0, 'accepted')
}

function select(
  to: Assembler,
  { samplePercent, leaveOutOwn }: PacketFilter,
  filter: LinkFilter,
  link: 'ethernet' | 'ip',
  context: Context,
): void {
  const packets = context === 'tagged' ? 'skb' : context
  if (leaveOutOwn) ownPackets(to, { context: packets, link }, TOP, 'own')
  const outcomes = { wanted: 'accepted', untargeted: 'untargeted', sampledOut: 'sampledOut', filtered: 'filtered' }
  if (filter === 'none') to.jump('filtered')
  else selectPackets(to, { context, link, samplePercent, filter }, TOP, outcomes)
}

/** What the parts need of the stack must be there: the kernel gives 512 bytes. */
export const PACKET_FILTER_STACK_BYTES = -TOP + Math.max(SELECTION_STACK_BYTES, OWN_STACK_BYTES, 8 * FATES.length)
