/** A ring with the traffic of a capture, for tests of the command line. */
import { readFileSync } from 'node:fs'
import { packetsIn } from '../../core/testing/golden.ts'
import { fillRing } from '../../worker/testing/filled-ring.ts'

/** Its packets as if one interface, `eth0`, had seen them. Returns how many. */
export function ringOf(directory: string, capture: string, wants = (_: number) => true): number {
  return fillRing(
    directory,
    packetsIn(readFileSync(capture)).filter((_, number) => wants(number)),
  )
}
