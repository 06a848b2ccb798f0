/**
 * Which packets are kept, as a part of every program that captures: those from or to certain addresses, of a share of all
 * flows, that a filter accepts. The addresses lie in a map and change while the program runs.
 *
 *   ends of a packet, on the stack:   source(16) destination(16) source port(2) destination port(2) protocol(4)
 *
 * in the order of the network; IPv4 addresses are mapped into IPv6 (::ffff:0:0/96). Ports are 0 where there are none, and in
 * fragments, of which only the first would have any.
 */
import { parseAddress } from '../../core/address.ts'
import { Fault } from '../../core/fault.ts'
import type { Assembler } from './assembler.ts'
import { type Bpf, MAP_FLAGS, type MapShape, word } from './bpf.ts'
import { CLASSIC_STACK_BYTES, type ClassicInstruction, classicFilter } from './classic.ts'
import { type Context, copyPacket, LOAD_STACK_BYTES, loadPacket } from './context.ts'

export interface Selection {
  context: Context
  /** What packets begin with here: an Ethernet header or that of IP. */
  link: 'ethernet' | 'ip'
  samplePercent: number
  /** null: everything. */
  filter: readonly ClassicInstruction[] | null
}

/** Where to go on. */
export interface Outcomes {
  wanted: string
  untargeted: string
  sampledOut: string
  filtered: string
}

/** At once; there is room for as many again while they are exchanged. */
export const MAX_TARGETS = 1 << 16

/** The maps that the part names. */
export const SELECTION_MAPS = {
  /** Its keys are the wanted addresses. */
  targets: {
    type: 'hash',
    keyBytes: 16,
    valueBytes: 1,
    entries: 2 * MAX_TARGETS,
    flags: MAP_FLAGS.noPreallocation,
  },
  /** A word: whether `targets` is asked. */
  targeting: { type: 'array', keyBytes: 4, valueBytes: 4, entries: 1 },
} as const satisfies Record<string, MapShape>

/**
 * Expects the context in r6; r9 is left alone, all others are lost. Below `top` of the stack, SELECTION_STACK_BYTES are its
 * own. Names the maps of SELECTION_MAPS.
 */
export function selectPackets(to: Assembler, selection: Selection, top: number, outcomes: Outcomes): void {
  const { filter, samplePercent, context } = selection
  const everywhere = to.newLabel('everywhere')
  const sampled = to.newLabel('sampled')
  const accepted = to.newLabel('accepted')
  const ends = top - ENDS_BYTES

  to.mapValue('r1', 'targeting', 0).load('r1', 'u32', 'r1', 0).jumpIf('r1', '==', 0, everywhere)
  loadEnds(to, selection, ends, outcomes.untargeted)
  for (const [place, found] of [
    [ends, sampled],
    [ends + ADDRESS_BYTES, sampled],
  ] as const)
    to.map('r1', 'targets')
      .alu('r2', '=', 'r10')
      .alu('r2', '+=', place)
      .call('map_lookup_elem')
      .jumpIf('r0', '!=', 0, found)
  to.jump(outcomes.untargeted)

  to.label(everywhere)
  if (samplePercent < 100) loadEnds(to, selection, ends, accepted)
  to.label(sampled)
  if (samplePercent < 100) {
    hashEnds(to, ends)
    to.constant('r1', BigInt(Math.floor((samplePercent / 100) * 2 ** 32))).jumpIf('r0', '>=', 'r1', outcomes.sampledOut)
  }

  to.label(accepted)
  if (filter === null) to.jump(outcomes.wanted)
  else
    classicFilter(
      to,
      filter,
      context,
      top - SELECTION_STACK_BYTES + CLASSIC_STACK_BYTES,
      outcomes.wanted,
      outcomes.filtered,
    )
}

/** Keeps the map `targets` as it was last told. Addresses that stay are in it all the time. */
export class Targets {
  private readonly bpf: Bpf
  private readonly targets: number
  private readonly targeting: number
  private present = new Map<string, Uint8Array>()

  constructor(bpf: Bpf, maps: Readonly<Record<keyof typeof SELECTION_MAPS, number>>) {
    this.bpf = bpf
    this.targets = maps.targets
    this.targeting = maps.targeting
  }

  /** null: packets of all addresses are wanted. */
  set(addresses: readonly string[] | null): void {
    const wanted = new Map<string, Uint8Array>()
    for (const address of addresses ?? []) {
      const key = keyOf(address)
      wanted.set(Buffer.from(key).toString('latin1'), key)
    }
    if (wanted.size > MAX_TARGETS)
      throw new Fault('TOO_MANY_ADDRESSES', `${wanted.size} addresses are given, at most ${MAX_TARGETS} can be`)
    if (addresses === null) this.bpf.update(this.targeting, FIRST, word(0))
    this.bpf.updateAll(this.targets, missingFrom(this.present, wanted), PRESENT)
    if (addresses !== null) this.bpf.update(this.targeting, FIRST, word(1))
    this.bpf.deleteAll(this.targets, missingFrom(wanted, this.present))
    this.present = wanted
  }
}

function missingFrom(have: ReadonlyMap<string, Uint8Array>, all: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
  return [...all].filter(([name]) => !have.has(name)).map(([, key]) => key)
}

/** Both ends onto the stack at `place`, or on to `none` where the packet is not of IP. Uses r7 and r8. */
export function loadEnds(
  to: Assembler,
  { context, link }: Pick<Selection, 'context' | 'link'>,
  place: number,
  none: string,
): void {
  const scratch = place - SCRATCH_BYTES
  const version6 = to.newLabel('version6')
  const transport = to.newLabel('transport')
  const done = to.newLabel('ends')

  to.alu('r7', '=', 0)
  if (link === 'ethernet') skipEthernet(to, context, scratch, none)
  for (let word = 0; word < ENDS_BYTES; word += 8) to.store('u64', 'r10', place + word, 0)
  to.alu('w2', '=', 'w7')
  loadPacket(to, context, 'u8', scratch, 'r8', none)
  to.alu('r1', '=', 'r8').alu('r1', '>>=', 4).jumpIf('r1', '==', 6, version6).jumpIf('r1', '!=', 4, none)

  to.alu('w2', '=', 'w7')
  copyPacket(to, context, IPV4_HEADER, scratch, none)
  to.store('u16', 'r10', place + 10, 0xffff).store('u16', 'r10', place + ADDRESS_BYTES + 10, 0xffff)
  to.load('r1', 'u32', 'r10', scratch + 12).store('u32', 'r10', place + 12, 'r1')
  to.load('r1', 'u32', 'r10', scratch + 16).store('u32', 'r10', place + ADDRESS_BYTES + 12, 'r1')
  to.alu('r8', '&=', 15).alu('r8', '<<=', 2).alu('r7', '+=', 'r8')
  to.load('r8', 'u8', 'r10', scratch + 9).store('u32', 'r10', place + PROTOCOL, 'r8')
  to.load('r1', 'u16', 'r10', scratch + 6)
    .swap('r1', 16)
    .jumpIf('r1', '&', MORE_OR_OFFSET, done)
    .jump(transport)

  to.label(version6).alu('w2', '=', 'w7')
  copyPacket(to, context, IPV6_HEADER, scratch, none)
  for (let at = 0; at < 2 * ADDRESS_BYTES; at += 8)
    to.load('r1', 'u64', 'r10', scratch + 8 + at).store('u64', 'r10', place + at, 'r1')
  to.load('r8', 'u8', 'r10', scratch + 6).alu('r7', '+=', IPV6_HEADER)
  for (let i = 0; i < MAX_EXTENSIONS; i++) skipExtension(to, context, scratch, place, done)
  to.store('u32', 'r10', place + PROTOCOL, 'r8')

  to.label(transport)
  const ported = to.newLabel('ported')
  for (const protocol of WITH_PORTS) to.jumpIf('r8', '==', protocol, ported)
  to.jump(done).label(ported).alu('w2', '=', 'w7')
  copyPacket(to, context, 4, scratch, done)
  to.load('r1', 'u32', 'r10', scratch).store('u32', 'r10', place + PORTS, 'r1')
  to.label(done)
}

/** Leaves the length of the Ethernet header in r7. */
function skipEthernet(to: Assembler, context: Context, scratch: number, none: string): void {
  const network = to.newLabel('network')
  to.alu('r7', '=', ETHERNET_HEADER)
  for (let i = 0; i <= MAX_VLANS; i++) {
    const tagged = to.newLabel('tagged')
    to.alu('w2', '=', 'w7').alu('w2', '+=', -2)
    loadPacket(to, context, 'u16', scratch, 'r8', none)
    to.jumpIf('r8', '==', ETHERTYPE.ipv4, network).jumpIf('r8', '==', ETHERTYPE.ipv6, network)
    if (i === MAX_VLANS) break
    for (const type of ETHERTYPE.vlan) to.jumpIf('r8', '==', type, tagged)
    to.jump(none).label(tagged).alu('r7', '+=', VLAN_TAG)
  }
  to.jump(none).label(network)
}

/** The extension header of number r8 at r7, if it is one: steps over it. Fragments have no ports and are done. */
function skipExtension(to: Assembler, context: Context, scratch: number, place: number, done: string): void {
  const skipped = to.newLabel('skipped')
  const inEights = to.newLabel('in_eights')
  const known = to.newLabel('known')
  for (const header of EXTENSION.inEights) to.jumpIf('r8', '==', header, inEights)
  to.jumpIf('r8', '!=', EXTENSION.fragment, skipped)
  to.alu('w2', '=', 'w7')
  copyPacket(to, context, 2, scratch, done)
  to.load('r8', 'u8', 'r10', scratch)
    .store('u32', 'r10', place + PROTOCOL, 'r8')
    .jump(done)
  to.label(inEights).alu('w2', '=', 'w7')
  copyPacket(to, context, 2, scratch, done)
  to.load('r8', 'u8', 'r10', scratch).load('r1', 'u8', 'r10', scratch + 1)
  to.alu('r1', '+=', 1).alu('r1', '<<=', 3).alu('r7', '+=', 'r1')
  to.label(known).label(skipped)
}

/** A number of 32 bits in r0, the same for both directions of a flow. */
function hashEnds(to: Assembler, place: number): void {
  to.constant('r3', MIX[0])
    .constant('r4', MIX[1])
    .load('r0', 'u32', 'r10', place + PROTOCOL)
  for (const end of [0, 1]) {
    const address = place + end * ADDRESS_BYTES
    to.load('r1', 'u64', 'r10', address).alu('r1', '*=', 'r3')
    stir(to, 'r1')
    to.load('r2', 'u64', 'r10', address + 8)
      .alu('r1', '+=', 'r2')
      .alu('r1', '*=', 'r4')
    stir(to, 'r1')
    to.load('r2', 'u16', 'r10', place + PORTS + 2 * end)
      .alu('r1', '+=', 'r2')
      .alu('r1', '*=', 'r3')
    stir(to, 'r1')
    to.alu('r0', '+=', 'r1')
  }
  to.alu('r0', '*=', 'r4').alu('r0', '>>=', 32)
}

/** Multiplying moves what differs upwards, this brings it down again. */
function stir(to: Assembler, register: 'r1'): void {
  to.alu('r5', '=', register).alu('r5', '>>=', 32).alu(register, '^=', 'r5')
}

function keyOf(address: string): Uint8Array {
  const words = parseAddress(address)
  if (words === null) throw new Fault('NOT_AN_ADDRESS', `${address} is no IP address`)
  const key = new Uint8Array(ADDRESS_BYTES)
  const view = new DataView(key.buffer)
  for (const [index, value] of words.entries()) view.setInt32(4 * index, value)
  return key
}

const FIRST = word(0)
const PRESENT = Uint8Array.of(1)

const ETHERNET_HEADER = 14
const VLAN_TAG = 4
const IPV4_HEADER = 20
const IPV6_HEADER = 40
const ETHERTYPE = { ipv4: 0x0800, ipv6: 0x86dd, vlan: [0x8100, 0x88a8, 0x9100] } as const
/** Providers stack two; what has more is taken for no packet of IP. */
const MAX_VLANS = 2
/** More fragments, or an offset. */
const MORE_OR_OFFSET = 0x3fff
/** TCP, UDP, DCCP, SCTP, UDP-Lite: ports are their first four bytes. */
const WITH_PORTS = [6, 17, 33, 132, 136] as const
/** Hop-by-hop, routing, destination options. */
const EXTENSION = { inEights: [0, 43, 60], fragment: 44 } as const
/** Each may stand once, destination options twice. */
const MAX_EXTENSIONS = 5

const MIX = [0x9e37_79b9_7f4a_7c15n, 0xc2b2_ae3d_27d4_eb4fn] as const

export const ADDRESS_BYTES = 16
export const PORTS = 2 * ADDRESS_BYTES
export const PROTOCOL = PORTS + 4
export const ENDS_BYTES = PROTOCOL + 4
/** The longer header, and what `loadPacket` takes below it. */
const SCRATCH_BYTES = IPV6_HEADER
export const SELECTION_STACK_BYTES = ENDS_BYTES + SCRATCH_BYTES + LOAD_STACK_BYTES + CLASSIC_STACK_BYTES
