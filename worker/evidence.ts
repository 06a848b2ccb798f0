/** The packets of one stream, or those that carried one item, out of rings, for an export. */
import type { Instant } from '../core/connections.ts'
import { Fault } from '../core/fault.ts'
import type { Seeker } from '../core/item-packets.ts'
import type { Packet } from '../core/packet.ts'
import type { Protocols } from '../core/registry.ts'
import { parseItemId } from '../core/stream-name.ts'
import type { ExportInput } from './export.ts'
import { ClientRandoms } from './key-log.ts'
import { openReader } from './reader.ts'
import {
  type Found,
  FRAGMENTS_BEFORE_NS,
  findItem,
  findStream,
  nameOf,
  nanosecondsOf,
  type Recording,
  readStream,
  ringRecording,
} from './recording.ts'
import { RingWindow } from './ring-window.ts'

export interface Evidence {
  /** The first of the rings that has it. */
  ring: string
  /** Of its packets, ns since 1970: from the first to behind the last. */
  from: bigint
  to: bigint
  /** false: of the stream the first packets have left the ring. */
  whole: boolean
  input: ExportInput
  /** The item's id, for the packet with its first byte; null: nothing to say of this packet. */
  comment(packet: Packet): string | null
  /** Of TLS in the packets of its stream, by their clients' random numbers. */
  handshakes(protocols: Protocols): Promise<ReadonlySet<string>>
  close(): void
}

/** `protocols`, `keepBodies` and `seeker` are those that the item was found with. Throws a Fault when it is nowhere. */
export async function itemEvidence(
  rings: readonly string[],
  id: string,
  protocols: Protocols,
  keepBodies: number,
  seeker: Seeker | null = null,
): Promise<Evidence> {
  const item = parseItemId(id)
  if (item === null)
    throw new Fault(
      'ITEM_ID',
      `expected the id of an item, as local/1700000000123456789_5f3a9c01.pcap-0, found "${id.slice(0, SHOWN)}"`,
    )
  return evidence(rings, id, item.stream, ring => findItem(ring, item, protocols, keepBodies, seeker))
}

export async function streamEvidence(rings: readonly string[], stream: string): Promise<Evidence> {
  return evidence(rings, null, stream, ring => findStream(ring, stream))
}

/** Enough of a wrong word to recognise it. */
const SHOWN = 80

async function evidence(
  rings: readonly string[],
  id: string | null,
  stream: string,
  find: (ring: Recording) => Promise<Found | null>,
): Promise<Evidence> {
  const from = nanosecondsOf(nameOf(stream)) - FRAGMENTS_BEFORE_NS
  for (const ring of rings) {
    // It is read twice and must be the same then, without the oldest packets gone in between.
    const held = new RingWindow([ring], { from, to: null, filter: null }, `pcapdump, process ${process.pid}`)
    try {
      const found = await find(ringRecording(ring))
      if (found !== null) return evidenceOf(ring, found, id, stream, held)
    } catch (error) {
      held.close()
      throw error
    }
    held.close()
  }
  if (id !== null)
    for (const ring of rings)
      if ((await findStream(ringRecording(ring), stream)) !== null)
        throw new Fault(
          'ITEM_NOT_FOUND',
          `${ring} has packets of ${stream}, and finds no item ${id} in them: give what it was shown with (scripts that have dissectors, --with, --no-bodies), or take the whole stream by --stream`,
        )
  throw new Fault('EVIDENCE_GONE', `no packets of ${id ?? stream} are in ${rings.join(', ')}, or no longer`)
}

function evidenceOf(ring: string, found: Found, id: string | null, stream: string, held: RingWindow): Evidence {
  const reader = openReader(ring, found.wanted)
  let number = 0
  /** When the packet with the first byte was captured, once it was met and until it was commented on. */
  let first: Instant | null = null
  return {
    ring,
    from: nanosecondsOf(found.begin),
    to: nanosecondsOf(found.end) + 1n,
    whole: found.whole,
    input: {
      reader,
      wants({ seconds, nanoseconds }) {
        if (number === found.first) first = { seconds, nanoseconds }
        return found.numbers.has(number++)
      },
      worker: null,
    },
    comment({ seconds, nanoseconds }) {
      if (first?.seconds !== seconds || first.nanoseconds !== nanoseconds) return null
      first = null
      return id
    },
    async handshakes(protocols) {
      const randoms = new ClientRandoms(protocols)
      await readStream(ringRecording(ring), stream, packet => randoms.packet(packet))
      randoms.finish()
      return randoms.found
    },
    close() {
      reader.close()
      held.close()
    },
  }
}
