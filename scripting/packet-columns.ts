/** Packets as scripts are told of them, in columns: a number or two a packet, for tens of thousands a second. */

export interface PacketColumns {
  count: number
  /** ms since 1970, with a fraction. */
  timestamp: Float64Array
  captureLength: Uint32Array
  /** Bytes on the wire. */
  length: Uint32Array
  /** TRUNCATED and FRAGMENTED. */
  flags: Uint8Array
}

export const TRUNCATED = 1
export const FRAGMENTED = 2

/** The columns one after the other, of `count` values each: timestamp(8) captureLength(4) length(4) flags(1). */
export function packColumns(packets: PacketColumns): Uint8Array {
  const { count } = packets
  const packed = new Uint8Array(count * 17)
  new Float64Array(packed.buffer, 0, count).set(packets.timestamp.subarray(0, count))
  new Uint32Array(packed.buffer, count * 8, count).set(packets.captureLength.subarray(0, count))
  new Uint32Array(packed.buffer, count * 12, count).set(packets.length.subarray(0, count))
  packed.set(packets.flags.subarray(0, count), count * 16)
  return packed
}
