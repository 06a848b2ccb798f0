/**
 * What a ring costs to write, and how soon a filter over 1 GB of it answers, beside tcpdump and tshark on the same packets.
 * The files are in the page cache, for all of them alike.
 *
 *   node bench/ring-query.ts [BYTES] [--peers]
 */
import { readdirSync, statSync } from 'node:fs'
import { PcapngWriter } from '../core/pcapng-writer.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols } from '../core/registry.ts'
import { PacketFilter } from '../worker/bpf/expression.ts'
import { narrow } from '../worker/bpf/narrowing.ts'
import { openReader } from '../worker/reader.ts'
import { Ring } from '../worker/ring.ts'
import { openCapture } from '../worker/sources/file.ts'
import { makeCapture } from './make-capture.ts'
import { countLines, figure, HOOKLINE, inFolder, measure, note, versionOf } from './measure.ts'

const BYTES = 1e9
/** What makes a gigabyte of pcapng: `mix` has about this many bytes a packet there. */
const BYTES_PER_PACKET = 357
/** As a TPACKET_V3 block of a busy interface. */
const CHUNK = 256 * 1024

await inFolder(async folder => {
  const bytes = Number(process.argv[2]) || BYTES
  const capture = `${folder}/traffic.pcap`
  const ring = `${folder}/ring`
  makeCapture(capture, Math.round(bytes / BYTES_PER_PACKET), 'mix')
  const packets = await write(capture, ring, bytes)
  const { ends, time } = await connectionIn(ring, packets / 2)
  const stream = ends.map(({ address, port }) => `host ${address} and tcp port ${port}`).join(' and ')
  await query(ring, 'stream', stream, null)
  await query(ring, 'host', `host ${ends[0]!.address}`, null)
  await query(ring, 'port', 'udp port 53', null)
  await query(ring, 'second', null, time)
  await query(ring, 'not-indexed', 'len > 1500', null)
  await queryItems(ring, 'stream', stream)
  await queryItems(ring, 'port', 'udp port 53')
  for (const [name, more] of [
    ['pcapdump.stream', ['--filter', stream]],
    ['pcapdump.everything', ['--no-items']],
  ] as const) {
    const { wall, resident } = await measure([
      HOOKLINE,
      'pcapdump',
      '--ring',
      ring,
      '--dest',
      `${folder}/out.pcapng`,
      ...more,
    ])
    figure(`${name}.last`, wall, 's')
    figure(`${name}.resident`, resident, 'MB')
  }
  if (!process.argv.includes('--peers')) return
  const display = ends.map(({ address, port }) => `ip.addr == ${address} && tcp.port == ${port}`).join(' && ')
  for (const command of [
    ['tcpdump', '-n', '-r', capture, stream],
    ['tshark', '-n', '-r', capture, '-Y', display],
  ]) {
    const peer = command[0]!
    if ((await versionOf([peer, '--version'])) === null) {
      note(`${peer} is not installed`)
      continue
    }
    const began = performance.now()
    const found = await countLines(command, '')
    figure(`${peer}.stream.packets`, found, 'packets')
    figure(`${peer}.stream.last`, (performance.now() - began) / 1000, 's')
  }
})

/** Returns how many packets there are. */
async function write(capture: string, directory: string, bytes: number): Promise<number> {
  const limits = { bytes: 2 * bytes, age: 1e10, pinnedBytes: 0 }
  const ring = Ring.open(directory, limits, Date.now(), text => note(text))
  ring.interface({ id: 0, name: 'eth0', linkType: 1, index: 2, namespace: null })
  const file = await openCapture(capture)
  const writer = new PcapngWriter()
  writer.interface('eth0', 1)
  const chunk = Buffer.alloc(CHUNK + 4096)
  const used = { user: 0, system: 0 }
  let [length, count, packets, longest] = [0, 0, 0, 0]
  const hand = () => {
    const [cpu, began] = [process.cpuUsage(), performance.now()]
    ring.packets(chunk.subarray(0, length), count)
    longest = Math.max(longest, performance.now() - began)
    const { user, system } = process.cpuUsage(cpu)
    used.user += user
    used.system += system
    packets += count
    length = count = 0
  }
  while (await file.load())
    for (let packet = file.next(); packet !== null; packet = file.next()) {
      const block = writer.packet(packet)
      chunk.set(block, length)
      length += block.length
      count++
      if (length >= CHUNK) hand()
    }
  hand()
  ring.close()
  const sizeOf = (ending: string) =>
    readdirSync(directory)
      .filter(name => name.endsWith(ending))
      .reduce((sum, name) => sum + statSync(`${directory}/${name}`).size, 0)
  note(`${packets} packets, ${sizeOf('.pcapng')} bytes of segments`)
  figure('append.cpu', ((used.user + used.system) * 1000) / packets, 'ns/packet')
  figure('append.longest', longest, 'ms')
  figure('append.cpu-at-200k', (100 * 0.2 * (used.user + used.system)) / packets, '%')
  figure('index.share', (100 * sizeOf('.index')) / sizeOf('.pcapng'), '%')
  return packets
}

interface End {
  address: string
  port: number
}

/** The first one of TCP that has a packet behind the packet number `after`; `time` of that packet in ns since 1970. */
async function connectionIn(directory: string, after: number): Promise<{ ends: [End, End]; time: bigint }> {
  const reader = openReader(directory, {})
  const TCP = 6
  let n = 0
  try {
    while (await reader.load())
      for (let p = reader.next(); p !== null; p = reader.next()) {
        if (n++ < after || p.bytes[p.start + 23] !== TCP) continue
        // Ethernet and IPv4 without options: addresses, then ports.
        const at = p.start + 26
        const address = (from: number) => p.bytes.subarray(from, from + 4).join('.')
        const port = (from: number) => (p.bytes[from]! << 8) | p.bytes[from + 1]!
        const time = BigInt(p.seconds) * 1_000_000_000n + BigInt(p.nanoseconds)
        return {
          ends: [
            { address: address(at), port: port(at + 8) },
            { address: address(at + 4), port: port(at + 10) },
          ],
          time,
        }
      }
  } finally {
    reader.close()
  }
  throw new Error('there is no TCP in the second half')
}

/** An expression over all, or the second from `from` on. */
async function query(directory: string, name: string, expression: string | null, from: bigint | null): Promise<void> {
  const cpu = process.cpuUsage()
  const began = performance.now()
  const filter = expression === null ? null : new PacketFilter(expression)
  const flows = expression === null ? null : narrow(expression)
  const to = from === null ? null : from + 1_000_000_000n
  const reader = openReader(directory, { from, to, filter: flows })
  let first = 0
  let packets = 0
  while (await reader.load())
    for (let packet = reader.next(); packet !== null; packet = reader.next()) {
      if (filter !== null && !filter.wants(packet)) continue
      if (packets++ === 0) first = performance.now() - began
    }
  const last = performance.now() - began
  const { user, system } = process.cpuUsage(cpu)
  reader.close()
  note(expression ?? 'one second of time')
  figure(`${name}.packets`, packets, 'packets')
  figure(`${name}.first`, first / 1000, 's')
  figure(`${name}.last`, last / 1000, 's')
  figure(`${name}.cpu`, (user + system) / 1e6, 's')
}

/** As `query`, and understood: when the first and the last item are there. */
async function queryItems(directory: string, name: string, expression: string): Promise<void> {
  const protocols = await loadProtocols()
  const cpu = process.cpuUsage()
  const began = performance.now()
  const filter = new PacketFilter(expression)
  const reader = openReader(directory, { from: null, to: null, filter: narrow(expression) })
  let first = 0
  let items = 0
  const pipeline = new Pipeline({ protocols, worker: 'bench', node: null, keepBodies: 1 << 20 }, batch => {
    if (items === 0) first = performance.now() - began
    items += batch.count
  })
  while (await reader.load()) {
    for (let packet = reader.next(); packet !== null; packet = reader.next())
      if (filter.wants(packet)) pipeline.packet(packet)
    // Whoever looks on sees them as they come.
    pipeline.flush()
  }
  pipeline.finish()
  const last = performance.now() - began
  const { user, system } = process.cpuUsage(cpu)
  reader.close()
  note(`${expression}, as items`)
  figure(`items.${name}.items`, items, 'items')
  figure(`items.${name}.first`, first / 1000, 's')
  figure(`items.${name}.last`, last / 1000, 's')
  figure(`items.${name}.cpu`, (user + system) / 1e6, 's')
}
