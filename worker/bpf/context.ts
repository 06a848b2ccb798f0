/**
 * What programs at a packet are handed and how they look into it. By the programs of this folder r6 holds the context from
 * the first instruction to the last, and bytes of the packet are read by a helper: it reads what lies in fragments too, and
 * says where the packet ends.
 */
import type { Assembler, Wide } from './assembler.ts'

/**
 * `struct __sk_buff` (socket filters, classifiers, cgroups) or `struct xdp_md`. Two more ways to look at the former: from its
 * network header on, whatever link layer is in front; and as a frame whose VLAN tag, which the kernel has taken out, is back.
 */
export type Context = 'skb' | 'xdp' | 'network' | 'tagged'

/** Offsets in `struct __sk_buff`, under its names. */
export const SKB = {
  len: 0,
  pkt_type: 4,
  mark: 8,
  queue_mapping: 12,
  protocol: 16,
  vlan_present: 20,
  vlan_tci: 24,
  vlan_proto: 28,
  ingress_ifindex: 36,
  ifindex: 40,
  hash: 68,
  tstamp: 152,
  wire_len: 160,
  gso_segs: 164,
  sk: 168,
  gso_size: 176,
} as const

/** Offsets in `struct xdp_md`, under its names. */
export const XDP = { data: 0, data_end: 4, ingress_ifindex: 12, rx_queue_index: 16 } as const

/** What `loadPacket` needs of the stack, below its `top`. */
export const LOAD_STACK_BYTES = 8

/** Bytes of the packet at the offset in w2, in the machine's order, or on to `short`. r0 to r5 are lost. */
export function loadPacket(
  to: Assembler,
  context: Context,
  size: 'u8' | 'u16' | 'u32',
  top: number,
  into: Wide,
  short: string,
): void {
  copyPacket(to, context, WIDTHS[size], top - LOAD_STACK_BYTES, short)
  to.load(into, size, 'r10', top - LOAD_STACK_BYTES)
  if (size !== 'u8') to.swap(into, size === 'u16' ? 16 : 32)
}

/** As many bytes of the packet, from the offset in w2, to `place` on the stack, or on to `short`. r0 to r5 are lost. */
export function copyPacket(to: Assembler, context: Context, bytes: number, place: number, short: string): void {
  const done = to.newLabel('copied')
  if (context === 'tagged') loadTag(to, bytes, place, done)
  to.alu('r1', '=', 'r6').alu('r3', '=', 'r10').alu('r3', '+=', place).alu('r4', '=', bytes)
  if (context === 'network') to.alu('r5', '=', FROM_NETWORK_HEADER)
  to.call(LOADERS[context]).jumpIf('r0', '!=', 0, short).label(done)
}

/** What lies behind the tag lies four bytes nearer in the kernel's packet, and the tag itself is a field of the context. */
function loadTag(to: Assembler, bytes: number, place: number, done: string): void {
  const plain = to.newLabel('plain')
  const behind = to.newLabel('behind')
  to.load('r1', 'u32', 'r6', SKB.vlan_present).jumpIf('r1', '==', 0, plain).jumpIf('w2', '<', TAG_AT, plain)
  to.jumpIf('w2', '>=', TAG_AT + TAG_BYTES, behind)
  if (bytes <= 2) {
    const control = to.newLabel('control')
    to.jumpIf('w2', '>=', TAG_AT + 2, control)
    to.load('r1', 'u32', 'r6', SKB.vlan_proto).store('u16', 'r10', place, 'r1').jump(done)
    to.label(control).load('r1', 'u32', 'r6', SKB.vlan_tci).swap('r1', 16).store('u16', 'r10', place, 'r1').jump(done)
  }
  to.label(behind).alu('w2', '-=', TAG_BYTES).label(plain)
}

/** Bytes that the packet has here. r0 to r5 are lost. */
export function loadLength(to: Assembler, context: Context, into: Wide): void {
  if (context === 'xdp') to.alu('r1', '=', 'r6').call('xdp_get_buff_len').alu(into, '=', 'r0')
  else to.load(into, 'u32', 'r6', SKB.len)
  if (context !== 'tagged') return
  const untagged = to.newLabel('untagged')
  to.load('r1', 'u32', 'r6', SKB.vlan_present).jumpIf('r1', '==', 0, untagged)
  to.alu(into, '+=', TAG_BYTES).label(untagged)
}

const WIDTHS = { u8: 1, u16: 2, u32: 4 } as const
const LOADERS = {
  skb: 'skb_load_bytes',
  tagged: 'skb_load_bytes',
  network: 'skb_load_bytes_relative',
  xdp: 'xdp_load_bytes',
} as const
/** BPF_HDR_START_NET */
const FROM_NETWORK_HEADER = 1
/** Behind the addresses of Ethernet: type(2) control(2). */
const TAG_AT = 12
const TAG_BYTES = 4
