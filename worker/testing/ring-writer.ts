/**
 * Writes numbered packets into a ring as fast as it can, until it is killed, and prints how many the ring has taken.
 *
 *   node worker/testing/ring-writer.ts DIRECTORY BYTES
 */
import { writeSync } from 'node:fs'
import { Ring } from '../ring.ts'
import { BEGINNING, chunk, ETH0 } from './traffic.ts'

const [directory, bytes] = process.argv.slice(2)
const now = Number(BEGINNING / 1_000_000n)
const limits = { bytes: Number(bytes), age: 1e9, pinnedBytes: 0 }
const ring = Ring.open(directory!, limits, now, text => process.stderr.write(`${text}\n`))
ring.interface(ETH0)
for (let turn = 0; ; turn++) {
  const count = 1 + (turn % 60)
  ring.packets(chunk(ring.position, count, { size: 8 + ((turn * 37) % 1400) }), count)
  writeSync(1, `${ring.position}\n`)
}
