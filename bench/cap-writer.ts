/** A recorder as one writes it with `cap` alone: every packet with its time into a pcap. `cap-writer.ts INTERFACE FILE` */
import { closeSync, openSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { emptyPacket } from '../core/packet.ts'
import { PcapWriter } from '../core/pcap.ts'

interface Cap {
  open(device: string, filter: string, bufferSize: number, buffer: Buffer): string
  on(event: 'packet', listener: (length: number) => void): void
  close(): void
}

const [name = '', file = ''] = process.argv.slice(2)
const { Cap } = createRequire(import.meta.url)('cap') as { Cap: new () => Cap }
const cap = new Cap()
const buffer = Buffer.alloc(65_535)
// It frees what the garbage collector finds.
Object.assign(globalThis, { cap, buffer })

const writer = new PcapWriter(1)
const target = openSync(file, 'w')
const packet = { ...emptyPacket(), bytes: buffer }
/** Written together. */
const CHUNK = 1 << 20
let chunks: Uint8Array[] = [writer.header()]
let waiting = 0
let packets = 0

// As much as tcpdump gets.
cap.open(name, '', 65_536 << 10, buffer)
cap.on('packet', length => {
  const now = performance.timeOrigin + performance.now()
  packet.seconds = Math.floor(now / 1000)
  packet.nanoseconds = Math.floor((now - packet.seconds * 1000) * 1e6)
  packet.end = length
  packet.length = length
  packets++
  chunks.push(writer.record(packet))
  waiting += length
  if (waiting >= CHUNK) write()
})
process.on('SIGINT', () => {
  cap.close()
  write()
  closeSync(target)
  process.stderr.write(`${packets} packets\n`, () => process.exit(0))
})
process.stderr.write('ready\n')

function write(): void {
  writeSync(target, Buffer.concat(chunks))
  chunks = []
  waiting = 0
}
