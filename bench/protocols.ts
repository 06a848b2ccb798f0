/**
 * What an item and a byte cost in each protocol, without reading files and printing items: a capture of ordinary
 * traffic among its fixtures, again and again from other clients, through all dissectors on one core. `orders` is the
 * same work over HTTP/1, HTTP/2 and gRPC.
 *
 *   node bench/protocols.ts [--seconds N] [--all] [PROTOCOL… | orders]      prints lines `figure <name> <value> <unit>`
 */
import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { decode, Frame } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols } from '../core/registry.ts'
import { including } from '../core/selection.ts'
import { packetsIn, readPackets } from '../core/testing/golden.ts'
import { figure, note } from './measure.ts'

/** Bodies kept, as `hookline run` does. */
const KEEP = 1 << 20
/** What most connections of a protocol look like; where none is named, all of its captures. */
const ORDINARY: Readonly<Record<string, string>> = {
  amqp: 'publish-consume',
  dns: 'all-types',
  grpc: 'unary',
  http: 'basic-keepalive',
  http2: 'prior-knowledge',
  kafka: 'produce-basic',
  memcached: 'text',
  mongodb: 'crud',
  mqtt: 'qos-3.1.1',
  mysql: 'text',
  nats: 'requests',
  postgresql: 'simple',
  quic: 'v1',
  sctp: 'basic',
  tlsx: 'tls13',
}
/** How often the processor is asked for its time. */
const ASK_MS = 10
const FIXTURES = new URL('../core/fixtures/', import.meta.url)
/** The same orders of the same shop over connections that stay (captures/make.mjs): what one protocol costs beside another. */
const ORDERS = new URL('captures/', import.meta.url)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  // Each capture by itself, the odd and the damaged ones too.
  options: { seconds: { type: 'string', default: '2' }, all: { type: 'boolean', default: false } },
})

note(`${cpus()[0]?.model}, Node ${process.version}`)
const protocols = await loadProtocols()
const names = [...protocols.faces, ...(protocols.optional ?? [])].map(({ name }) => name)
for (const name of readdirSync(FIXTURES).sort())
  if (names.includes(name) && (positionals.length === 0 || positionals.includes(name))) {
    const files = readdirSync(new URL(`${name}/`, FIXTURES)).filter(file => /\.pcap(ng)?$/.test(file))
    const [ordinary] = files.filter(file => file.startsWith(`${ORDINARY[name]}.`))
    const inFolder = (chosen: readonly string[]) =>
      chosen.map(file => readPackets(new URL(`${name}/${file}`, FIXTURES)))
    bench(name, inFolder(ordinary === undefined ? files : [ordinary]), name)
    if (values.all) for (const file of files) bench(name, inFolder([file]), `${name}_${file.replace(/\.[^.]*$/, '')}`)
  }
if (positionals.length === 0 || positionals.includes('orders')) {
  const [http = 0, ...others] = ['http', 'http2', 'grpc'].map(name => {
    const capture = gunzipSync(readFileSync(new URL(`${name}.pcap.gz`, ORDERS)))
    return bench(name, [packetsIn(capture)], `orders_over_${name}`)
  })
  for (const [i, name] of ['http2', 'grpc'].entries()) figure(`orders_over_${name}_to_http`, others[i]! / http, 'x')
}

/** Returns items/s. */
function bench(name: string, captures: readonly Packet[][], title: string): number {
  const observers = including(protocols, [name]).observers.filter(observer => observer.name === name)
  const pipeline = new Pipeline(
    { protocols: { ...protocols, observers }, worker: 'bench', node: null, keepBodies: KEEP },
    () => {},
  )
  const copies = captures.map(packets => packets.map(packet => ({ ...packet, bytes: packet.bytes.slice() })))
  const ends = captures.map(packets => packets.map(placeOfClient))
  let round = 0
  const until = (seconds: number) => {
    const before = process.cpuUsage()
    for (let asked = performance.now(); ; ) {
      for (const [i, packets] of copies.entries()) play(packets, ends[i]!, pipeline, round)
      round++
      // Not after each round: asking for the processor's time takes longer than some connections do.
      const now = performance.now()
      if (now - asked < ASK_MS) continue
      asked = now
      const { user, system } = process.cpuUsage(before)
      if (user + system > seconds * 1e6) return (user + system) / 1e6
    }
  }
  // Warm: what is measured is a worker in its tenth minute. After a second half of the code is still being compiled.
  until(Number(values.seconds) * 2)
  const { tally } = pipeline
  const itemsOf = () => tally.protocols.get(name)?.items ?? 0
  const [itemsBefore, bytesBefore] = [itemsOf(), tally.parsed]
  const cpu = until(Number(values.seconds))
  const [items, bytes] = [itemsOf() - itemsBefore, tally.parsed - bytesBefore]
  figure(`dissect_${title}`, items / cpu, 'items/s')
  figure(`dissect_${title}_item`, bytes / Math.max(1, items), 'bytes')
  figure(`dissect_${title}_byte`, (cpu * 1e9) / Math.max(1, bytes), 'ns')
  return items / cpu
}

interface Ends {
  /** Where the lower two bytes of both addresses are. */
  source: number
  destination: number
}

/** null: no IPv4 or IPv6 right before the transport. */
function placeOfClient(packet: Packet): Ends | null {
  const frame = new Frame()
  if (decode(packet, frame) !== 'ok' || frame.bytes !== packet.bytes) return null
  const { start } = frame
  const { bytes } = packet
  if (start >= 20 && bytes[start - 20] === 0x45) return { source: start - 6, destination: start - 2 }
  if (start >= 40 && bytes[start - 40]! >> 4 === 6) return { source: start - 18, destination: start - 2 }
  return null
}

/** The capture once more, between other hosts and later. */
function play(packets: readonly Packet[], ends: readonly (Ends | null)[], pipeline: Pipeline, round: number): void {
  for (const [i, packet] of packets.entries()) {
    const place = ends[i]
    if (place !== null && place !== undefined && round > 0) {
      for (const at of [place.source, place.destination]) {
        // Both ends move by the same step each round, so that they stay two.
        const host = ((packet.bytes[at]! << 8) | packet.bytes[at + 1]!) + 1
        packet.bytes[at] = (host >> 8) & 0xff
        packet.bytes[at + 1] = host & 0xff
      }
    }
    packet.seconds += 1
    pipeline.packet(packet)
  }
}
