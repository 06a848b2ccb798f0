/** A ring of packets that somebody has at hand, for tests of what reads rings. */
import type { Packet } from '../../core/packet.ts'
import { PcapngWriter } from '../../core/pcapng-writer.ts'
import { Ring } from '../ring.ts'

/** As if one interface for each link type (`eth0`, `eth1`…) had captured them, in their order. Returns how many it holds. */
export function fillRing(directory: string, packets: Iterable<Packet>): number {
  let ring: Ring | null = null
  const writer = new PcapngWriter()
  const kinds: number[] = []
  for (const packet of packets) {
    ring ??= Ring.open(directory, { bytes: 64 << 20, age: 1e10, pinnedBytes: 8 << 20 }, packet.seconds * 1000, () => {})
    const { linkType } = packet
    if (!kinds.includes(linkType)) {
      const name = `eth${kinds.length}`
      ring.interface({ id: kinds.length, name, linkType, index: null, namespace: null })
      writer.interface(name, linkType)
      kinds.push(linkType)
    }
    ring.packets(writer.packet({ ...packet, interfaceId: kinds.indexOf(linkType) }), 1)
  }
  const held = ring?.counts().held.packets ?? 0
  ring?.close()
  return held
}
