/** One captured packet as its source hands it over: a view into the source's own buffer. */

/**
 * The source overwrites this object and the bytes behind it with the next packet:
 * whoever wants to keep something copies it.
 */
export interface Packet {
  bytes: Uint8Array
  /** The captured bytes are `bytes[start..end)`. */
  start: number
  end: number
  /** Bytes that the packet had on the wire; more than `end - start` when a snap length cut it. */
  length: number
  /** Time of capture: whole seconds since 1970, and nanoseconds (0 to 999 999 999) on top. */
  seconds: number
  nanoseconds: number
  /** LINKTYPE_ value of https://www.tcpdump.org/linktypes.html. */
  linkType: number
  /** Number of the capturing interface within the source, from 0. */
  interfaceId: number
}

export function emptyPacket(): Packet {
  return {
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
    length: 0,
    seconds: 0,
    nanoseconds: 0,
    linkType: 1,
    interfaceId: 0,
  }
}
