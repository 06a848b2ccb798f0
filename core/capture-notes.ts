/**
 * What a capture tells beside its packets: interfaces, names, comments, secrets, and what of it could not be read.
 * Plain data. `bytes` = `parsed` + the bytes of every damage + the bytes of every block that was passed over,
 * as soon as the parser has been told of the end.
 */

export interface CaptureNotes {
  /** In the order of the capture; `Packet.interfaceId` is an index into it. */
  interfaces: CaptureInterface[]
  /** Sections of a pcapng; a classic pcap is one. */
  sections: number
  /** Packets handed out. */
  packets: number
  /** Bytes of input, after decompression. */
  bytes: number
  /** Bytes that were understood, headers of records and blocks included. */
  parsed: number
  /** One entry a cause. */
  damage: Damage[]
  /** Blocks that carry nothing for us, by their name or their number in hexadecimal. */
  skippedBlocks: Record<string, { count: number; bytes: number }>
  /** Names of a Name Resolution Block. */
  names: { address: string; name: string }[]
  /** `packet` counts from 1; null when the comment is about a section, an interface or another block. */
  comments: { packet: number | null; text: string }[]
  /** Key logs of Decryption Secrets Blocks; `kind` is the four letters of its type: `TLSK`, `SSHK`, `WGKL`. */
  secrets: { kind: string; text: string }[]
  /** What was not kept because its limit was reached. */
  dropped: { names: number; comments: number; secrets: number }
}

export interface CaptureInterface {
  name: string | null
  description: string | null
  /** LINKTYPE_ value of https://www.tcpdump.org/linktypes.html. */
  linkType: number
  /** Bytes that were captured of a packet at most; 0: no limit was written down. */
  snapLength: number
  /** What the capturing system counted, null where it does not say. */
  counters: InterfaceCounters | null
  /** Packets that single packets say were lost before them. */
  lost: number
}

/** Packets, as numbers or, beyond 2^53, decimal strings; null where the capture does not say. */
export interface InterfaceCounters {
  received: number | string | null
  /** Dropped by the interface. */
  dropped: number | string | null
  accepted: number | string | null
  /** Dropped by the operating system. */
  droppedBySystem: number | string | null
  delivered: number | string | null
}

export type DamageCause =
  | 'record cut short'
  | 'record length'
  | 'block cut short'
  | 'block length'
  | 'block contents'
  | 'option length'
  | 'unknown interface'
  | 'byte order'
  | 'version'
  | 'another capture follows'
  | 'time out of range'
  | 'fraction of a second'
  | 'too many interfaces'
  | 'compression'
  | 'archive'

export interface Damage {
  cause: DamageCause
  /** Where it was met first: bytes from the beginning of the input, after decompression. */
  offset: number
  expected: string
  found: string
  /** How often. */
  count: number
  /** Bytes that were not read because of it. */
  bytes: number
}

export function emptyNotes(): CaptureNotes {
  return {
    interfaces: [],
    sections: 0,
    packets: 0,
    bytes: 0,
    parsed: 0,
    damage: [],
    skippedBlocks: {},
    names: [],
    comments: [],
    secrets: [],
    dropped: { names: 0, comments: 0, secrets: 0 },
  }
}

/** Counts a damage; the first one of its cause is described. Returns its entry. */
export function noteDamage(
  notes: CaptureNotes,
  cause: DamageCause,
  offset: number,
  expected: string,
  found: string,
): Damage {
  let entry = notes.damage.find(damage => damage.cause === cause)
  if (entry === undefined) {
    entry = { cause, offset, expected, found, count: 0, bytes: 0 }
    notes.damage.push(entry)
  }
  entry.count++
  return entry
}
