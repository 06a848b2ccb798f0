/**
 * Packets of Hookline's own connections, as a part of programs that capture. `own_flows` has both directions of each flow,
 * by the ends of a packet as selection.ts lays them out, with the time of the last packet that went out of an own socket.
 */
import type { Assembler } from './assembler.ts'
import type { MapShape } from './bpf.ts'
import { LOAD_STACK_BYTES, loadPacket } from './context.ts'
import { ADDRESS_BYTES, ENDS_BYTES, loadEnds, PORTS, PROTOCOL, type Selection } from './selection.ts'

/** Connections that are remembered; the least used ones go first. */
const MAX_FLOWS = 1 << 14

export const OWN_MAPS = {
  /** Each value: ns, as the helper ktime_get_ns counts. */
  own_flows: { type: 'lru_hash', keyBytes: ENDS_BYTES, valueBytes: 8, entries: MAX_FLOWS },
  /** A word: whether there is anything in `own_flows`. */
  own_known: { type: 'array', keyBytes: 4, valueBytes: 4, entries: 1 },
} as const satisfies Record<string, MapShape>

/**
 * On to `own` for packets of an own flow. Ports are used again by others: a flow of TCP is ours until it begins anew without
 * us, one of anything else for a minute after we have sent last. Expects the context in r6; r9 is left alone.
 */
export function ownPackets(
  to: Assembler,
  packets: Pick<Selection, 'context' | 'link'>,
  top: number,
  own: string,
): void {
  const foreign = to.newLabel('foreign')
  const datagram = to.newLabel('datagram')
  const ends = top - ENDS_BYTES
  to.mapValue('r1', 'own_known', 0).load('r1', 'u32', 'r1', 0).jumpIf('r1', '==', 0, foreign)
  loadEnds(to, packets, ends, foreign)
  to.map('r1', 'own_flows').alu('r2', '=', 'r10').alu('r2', '+=', ends).call('map_lookup_elem')
  to.jumpIf('r0', '==', 0, foreign).load('r8', 'u64', 'r0', 0)
  to.load('r1', 'u32', 'r10', ends + PROTOCOL).jumpIf('r1', '!=', TCP, datagram)
  to.alu('w2', '=', 'w7').alu('w2', '+=', TCP_FLAGS)
  loadPacket(to, packets.context, 'u8', ends, 'r7', own)
  to.alu('w7', '&=', SYN | ACK).jumpIf('w7', '!=', SYN, own)
  to.call('ktime_get_ns').alu('r0', '-=', 'r8').constant('r1', NEW_CONNECTION_NS).jumpIf('r0', 's<=', 'r1', own)
  forget(to, ends)
  reverseEnds(to, ends, ends - ENDS_BYTES)
  forget(to, ends - ENDS_BYTES)
  to.jump(foreign).label(datagram)
  to.call('ktime_get_ns').alu('r0', '-=', 'r8').constant('r1', DATAGRAM_NS).jumpIf('r0', 's<=', 'r1', own)
  to.label(foreign)
}

/** The same ends as the other direction has them. */
export function reverseEnds(to: Assembler, from: number, place: number): void {
  for (let at = 0; at < ADDRESS_BYTES; at += 8) {
    to.load('r1', 'u64', 'r10', from + at).store('u64', 'r10', place + ADDRESS_BYTES + at, 'r1')
    to.load('r1', 'u64', 'r10', from + ADDRESS_BYTES + at).store('u64', 'r10', place + at, 'r1')
  }
  to.load('r1', 'u16', 'r10', from + PORTS).store('u16', 'r10', place + PORTS + 2, 'r1')
  to.load('r1', 'u16', 'r10', from + PORTS + 2).store('u16', 'r10', place + PORTS, 'r1')
  to.load('r1', 'u32', 'r10', from + PROTOCOL).store('u32', 'r10', place + PROTOCOL, 'r1')
}

function forget(to: Assembler, ends: number): void {
  to.map('r1', 'own_flows').alu('r2', '=', 'r10').alu('r2', '+=', ends).call('map_delete_elem')
}

const TCP = 6
const TCP_FLAGS = 13
const SYN = 0x02
const ACK = 0x10
/** A first packet of ours was noted on its way out, and comes to an interface at once, or after a queue. */
const NEW_CONNECTION_NS = 1_000_000_000n
const DATAGRAM_NS = 60_000_000_000n

/** Two flows' ends, and the room that `loadEnds` takes. */
export const OWN_STACK_BYTES = 2 * ENDS_BYTES + LOAD_STACK_BYTES + 64
