/**
 * What an item and a byte cost in each protocol, without reading files and printing items: a capture of ordinary
 * traffic among its fixtures, again and again from other clients, through all dissectors on one core. `orders` is the
 * same work over HTTP/1, HTTP/2 and gRPC, in turns, so that what else the machine does befalls all of them alike.
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
  'grpc-web': 'unary',
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
  sse: 'events',
  tlsx: 'tls13',
}
/** Seconds of one turn. */
const TURN = 0.1
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

const seconds = Number(values.seconds)
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
  const kinds = ['http', 'http2', 'grpc'].map(name => {
    const capture = gunzipSync(readFileSync(new URL(`${name}.pcap.gz`, ORDERS)))
    return { name, traffic: trafficOf(name, [packetsIn(capture)]) }
  })
  for (let turn = 0; turn < seconds / TURN; turn++) for (const { traffic } of kinds) traffic.measure(TURN)
  for (const { name, traffic } of kinds) traffic.tell(`orders_over_${name}`)
  const [http, ...others] = kinds
  for (const { name, traffic } of others)
    figure(`orders_over_${name}_to_http`, traffic.rate() / http!.traffic.rate(), 'x')
}

function bench(name: string, captures: readonly Packet[][], title: string): void {
  const traffic = trafficOf(name, captures)
  traffic.measure(seconds)
  traffic.tell(title)
}

interface Traffic {
  measure(duration: number): void
  /** Items/s. */
  rate(): number
  tell(title: string): void
}

/** A pipeline that reads captures of one protocol, warm: measured is a worker in its tenth minute. */
function trafficOf(name: string, captures: readonly Packet[][]): Traffic {
  const chosen = including(protocols, [name])
  const observers = chosen.observers.filter(observer => observer.name === name)
  const pipeline = new Pipeline(
    { protocols: { ...chosen, observers }, worker: 'bench', node: null, keepBodies: KEEP },
    () => {},
  )
  const rows = captures.map(inARow)
  let round = 0
  /** For so many seconds of the processor; returns how many they were. */
  const play = (duration: number) => {
    const before = process.cpuUsage()
    for (let asked = performance.now(); ; ) {
      for (const row of rows) playOnce(row, pipeline, round)
      round++
      // Not after each round: asking for the processor's time takes longer than some connections do.
      const now = performance.now()
      if (now - asked < ASK_MS) continue
      asked = now
      const { user, system } = process.cpuUsage(before)
      if (user + system > duration * 1e6) return (user + system) / 1e6
    }
  }
  const { tally } = pipeline
  const itemsOf = () => tally.protocols.get(name)?.items ?? 0
  // After a second half of the code is still being compiled.
  play(seconds * 2)
  const sum = { cpu: 0, items: 0, bytes: 0 }
  const rate = () => sum.items / sum.cpu
  return {
    measure: duration => {
      const [items, bytes] = [itemsOf(), tally.parsed]
      sum.cpu += play(duration)
      sum.items += itemsOf() - items
      sum.bytes += tally.parsed - bytes
    },
    rate,
    tell: title => {
      figure(`dissect_${title}`, rate(), 'items/s')
      figure(`dissect_${title}_item`, sum.bytes / Math.max(1, sum.items), 'bytes')
      figure(`dissect_${title}_byte`, (sum.cpu * 1e9) / Math.max(1, sum.bytes), 'ns')
    },
  }
}

/** The capture once more, between other hosts and later. */
function playOnce(row: readonly Sent[], pipeline: Pipeline, round: number): void {
  for (let i = 0; i < row.length; i++) {
    const { packet, source, destination } = row[i]!
    // Both ends move by the same step each round, so that they stay two.
    if (round > 0 && source > 0) {
      step(packet.bytes, source)
      step(packet.bytes, destination)
    }
    packet.seconds += 1
    pipeline.packet(packet)
  }
}

interface Sent {
  packet: Packet
  /** Where the lower two bytes of both addresses are; 0 where there are none. */
  source: number
  destination: number
}

/** Packets lie one behind the other, as in a segment of the ring. */
function inARow(packets: readonly Packet[]): Sent[] {
  const row = new Uint8Array(packets.reduce((sum, { bytes }) => sum + bytes.length, 0))
  let used = 0
  return packets.map(packet => {
    const bytes = row.subarray(used, used + packet.bytes.length)
    bytes.set(packet.bytes)
    used += bytes.length
    const own = { ...packet, bytes }
    return { packet: own, ...endsOf(own) }
  })
}

/** No IPv4 or IPv6 right before the transport: none. */
function endsOf(packet: Packet): Omit<Sent, 'packet'> {
  const frame = new Frame()
  if (decode(packet, frame) === 'ok' && frame.bytes === packet.bytes) {
    const { start } = frame
    const { bytes } = packet
    if (start >= 20 && bytes[start - 20] === 0x45) return { source: start - 6, destination: start - 2 }
    if (start >= 40 && bytes[start - 40]! >> 4 === 6) return { source: start - 18, destination: start - 2 }
  }
  return { source: 0, destination: 0 }
}

function step(bytes: Uint8Array, at: number): void {
  const host = ((bytes[at]! << 8) | bytes[at + 1]!) + 1
  bytes[at] = (host >> 8) & 0xff
  bytes[at + 1] = host & 0xff
}
