/** A ring with the traffic of a capture, for tests of the command line. */
import { PcapngWriter } from '../../core/pcapng-writer.ts'
import { Ring } from '../../worker/ring.ts'
import { openCapture } from '../../worker/sources/file.ts'

/** Its packets as if one interface, `eth0`, had seen them. Returns how many. */
export async function ringOf(directory: string, capture: string, wants = (_: number) => true): Promise<number> {
  const ring = Ring.open(directory, { bytes: 64 << 20, age: 1e9, pinnedBytes: 8 << 20 }, Date.now(), () => {})
  const file = await openCapture(capture)
  const writer = new PcapngWriter()
  let number = 0
  while (await file.load())
    for (let packet = file.next(); packet !== null; packet = file.next()) {
      if (number === 0) {
        ring.interface({ id: 0, name: 'eth0', linkType: packet.linkType, index: 2, namespace: null })
        writer.interface('', packet.linkType)
      }
      if (wants(number++)) ring.packets(writer.packet({ ...packet, interfaceId: 0 }), 1)
    }
  const { held } = ring.counts()
  ring.close()
  return held.packets
}
