/**
 * What programs at a packet are handed and how they look into it. By the programs of this folder r6 holds the context from
 * the first instruction to the last, and bytes of the packet are read by a helper: it reads what lies in fragments too, and
 * says where the packet ends.
 */
import type { Assembler, Wide } from './assembler.ts'

/** `struct __sk_buff` (socket filters, classifiers, cgroups) or `struct xdp_md`. */
export type Context = 'skb' | 'xdp'

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
  to.alu('r1', '=', 'r6').alu('r3', '=', 'r10').alu('r3', '+=', place).alu('r4', '=', bytes)
  to.call(context === 'skb' ? 'skb_load_bytes' : 'xdp_load_bytes').jumpIf('r0', '!=', 0, short)
}

/** Bytes that the packet has here. r0 to r5 are lost. */
export function loadLength(to: Assembler, context: Context, into: Wide): void {
  if (context === 'skb') to.load(into, 'u32', 'r6', SKB.len)
  else to.alu('r1', '=', 'r6').call('xdp_get_buff_len').alu(into, '=', 'r0')
}

const WIDTHS = { u8: 1, u16: 2, u32: 4 } as const
