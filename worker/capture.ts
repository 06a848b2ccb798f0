/**
 * The contract between where packets come from and the ring: a capture source says what it can do here, and writes whole
 * pcapng blocks that the ring appends as they are. Nobody between the kernel and the disk takes a packet apart.
 */
import type { Fault } from '../core/fault.ts'

/** One file in sources/ each. `best` asks them in the order of sources/choice.ts. */
export interface CaptureSource {
  name: CaptureName
  /** Two or three words, as in `capturing by …`. */
  title: string
  /** `CaptureOptions.fanout` that it can do; without it 1. */
  mostFanout?: number
  /** What keeps it from capturing on this machine and what that thing needs, in words; null: nothing does. */
  obstacle(options: CaptureOptions): Promise<string | null>
  /**
   * Why `best` should rather take another, though this one works here: what it would not see. Whoever asks for it by name
   * gets it. Without this method, and with null: nothing speaks against it.
   */
  reservation?(options: CaptureOptions): Promise<string | null>
  /** Throws a Fault when it cannot begin. */
  open(options: CaptureOptions, sink: CaptureSink): Promise<Capture>
}

export type CaptureName = 'ebpf' | 'pf_ring' | 'af_packet' | 'af_xdp' | 'libpcap'

export interface CaptureOptions {
  /** Names; `any` is every interface, also those that come later. */
  interfaces: 'any' | readonly string[]
  /** Path of another network namespace (`/proc/1234/ns/net`, `/run/netns/blue`); null: our own. */
  namespace: string | null
  /** pcap-filter(7), '' for everything. */
  filter: string
  /** Only packets from or to one of these IP addresses; null: all. `Capture.retarget` changes them. */
  addresses: readonly string[] | null
  promiscuous: boolean
  /** Of the kernel, for all interfaces together. */
  bufferBytes: number
  /** Sockets and threads that share the packets of an interface (PACKET_FANOUT), 1 to MOST_FANOUT. */
  fanout: number
  /** Also the packets of Hookline itself. */
  own: boolean
  /** Of a hundred flows, so many are captured, each whole. */
  samplePercent: number
  /**
   * Times of the network card where it stamps packets, else the kernel's. For clocks that something keeps right (ptp4l,
   * phc2sys): packets of two interfaces are ordered by them.
   */
  hardwareTimes?: boolean
  /** Leave out the second sight of a packet that is seen on both ends of a veth. */
  deduplicate: boolean
}

/** What a source tells, from the event loop it was opened in. None of these may throw. */
export interface CaptureSink {
  /** Before the first packet of that interface. Ids count from 0 and are never used again. */
  interface(described: CapturedInterface): void
  /**
   * Whole Enhanced Packet Blocks (little endian, times in ns), one after the other, each of an interface described
   * before. The bytes are the sink's until it returns.
   */
  packets(blocks: Uint8Array, count: number): void
  /** An interface has gone, or its counters were read; what is said of it last is true. */
  counters(id: number, counters: CaptureCounters): void
  /** Something that is worth a line to the user and does not end the capture: an interface that cannot be opened. */
  remark(text: string): void
  /** The capture has ended by itself. Nothing comes after it. */
  fault(fault: Fault): void
}

export interface CapturedInterface {
  id: number
  name: string
  /** LINKTYPE_ value of https://www.tcpdump.org/linktypes.html. */
  linkType: number
  /** Number in its namespace, null where nobody knows. */
  index: number | null
  /** As it was opened: path of the namespace, null for our own. */
  namespace: string | null
  /** Words for people, as the if_description of pcapng: of a container, the path of its cgroup. */
  description?: string
}

/** Packets since the beginning. `seen = passed + all others`, exactly. */
export interface CaptureCounters {
  /** By the kernel, on this interface. */
  seen: number
  /** Given to the sink. */
  passed: number
  /** The kernel had no room for them. */
  dropped: number
  /** Our own queue between the thread that captures and the event loop was full. */
  overrun: number
  /** The filter expression did not want them. */
  filtered: number
  /** Neither address was wanted. */
  untargeted: number
  /** Of flows that sampling left out. */
  sampledOut: number
  duplicates: number
  /** Hookline's own. */
  own: number
  /** Times that the kernel's ring was full. */
  freezes: number
}

export function noCounters(): CaptureCounters {
  return {
    seen: 0,
    passed: 0,
    dropped: 0,
    overrun: 0,
    filtered: 0,
    untargeted: 0,
    sampledOut: 0,
    duplicates: 0,
    own: 0,
    freezes: 0,
  }
}

export interface Capture {
  readonly name: CaptureName
  /** Packets of other addresses than these are left out from now on, without a gap for those that stay. */
  retarget(addresses: readonly string[] | null): void
  /** Reads the kernel's counters and tells the sink. */
  count(): void
  /** Sees no more packets, hands over what was seen, counts a last time, frees everything. */
  stop(): Promise<void>
}

/** More than the processors of any node that has anything else to do: each has a ring of the kernel's of its own. */
export const MOST_FANOUT = 64

/** A disk that stalls for some seconds at 200 000 small packets a second costs none. */
export const DEFAULT_BUFFER_BYTES = 128 << 20
