/**
 * The six laws that every capture of a protocol must hold. `golden('redis')` in a test runs them over
 * core/fixtures/redis; `UPDATE=1` writes down what is read instead of comparing it. An observer counts packets: of law 2
 * it holds what does not depend on their number, of law 3 that a loss brings no ends that were not there, and no byte
 * between them.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Incomplete } from '../cursor.ts'
import type { Context, Dissector } from '../dissector.ts'
import { decode, Frame } from '../frame.ts'
import type { Item, Json } from '../item.ts'
import type { Packet } from '../packet.ts'
import { CaptureParser } from '../pcap.ts'
import { Pipeline } from '../pipeline.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { including } from '../selection.ts'
import type { Tally } from '../tally.ts'

const FIXTURES = new URL('../fixtures/', import.meta.url)
const KEEP = 1 << 20
/** Above so many packets not each one is left out, but so many of them, evenly spread. */
const MOST_LOSSES = 150
/** Lengths at which packets are cut: each one within the headers, then fewer. */
const CUTS = [...Array(120).keys(), ...Array.from({ length: 40 }, (_, i) => 120 + i * 37)]
const MUTATIONS = 60

export function golden(protocol: string): void {
  const folder = new URL(`${protocol}/`, FIXTURES)
  const names = readdirSync(folder).filter(name => /\.pcap(ng)?$/.test(name))
  let protocols: Protocols
  before(async () => {
    const all = await loadProtocols()
    // What is told of connections would repeat itself in every protocol's goldens.
    const asked = all.optional?.some(({ name }) => name === protocol) === true
    const chosen = asked ? including(all, [protocol]) : all
    protocols = { ...chosen, observers: chosen.observers.filter(({ name }) => name === protocol) }
  })

  assert.ok(names.length > 0, `core/fixtures/${protocol} has no captures`)
  for (const name of names)
    describe(`${protocol}/${name}`, () => {
      const packets = readPackets(new URL(name, folder))
      const read = (some: Packet[], using = protocols) => dissectAll(some, using, KEEP).items

      it('1. reads as written down', () => {
        const items = read(packets).map(essence)
        const file = new URL(name.replace(/\.pcap(ng)?$/, '.json'), folder)
        if (process.env.UPDATE === '1') writeFileSync(file, `${JSON.stringify(items, null, 1)}\n`)
        assert.ok(existsSync(file), `${file.pathname} is missing: run with UPDATE=1 and review it`)
        assert.deepEqual(items, JSON.parse(readFileSync(file, 'utf8')))
      })

      it('2. reads the same one byte per segment', () => {
        const small = packets.flatMap(bytePackets)
        assert.deepEqual(told(read(small)), told(read(packets)))
      })

      it('3. never pairs wrongly when a packet is lost', () => {
        const known = read(packets)
        const step = Math.max(1, Math.ceil(packets.length / MOST_LOSSES))
        for (let lost = 0; lost < packets.length; lost += step) {
          const some = read(packets.filter((_, i) => i !== lost))
          for (const item of some)
            if (item.request !== null && item.response !== null)
              assert.ok(
                known.some(other => isSamePair(item, other)),
                `without packet ${lost}: ${JSON.stringify(item)}`,
              )
          const carried = bytesBetween(known)
          for (const [ends, bytes] of bytesBetween(some))
            assert.ok(bytes <= (carried.get(ends) ?? -1), `without packet ${lost}: ${ends} ${bytes}`)
        }
      })

      it('4. throws nothing when packets are cut', () => {
        for (const length of CUTS) read(packets.map(packet => cut(packet, length)))
      })

      it('5. throws nothing on damaged bytes', () => {
        const random = generator(packets.length)
        for (let round = 0; round < MUTATIONS; round++) read(packets.map(packet => damage(packet, random)))
      })

      it('6. keeps the state when bytes run out', () => {
        read(packets.flatMap(bytePackets), {
          ...protocols,
          dissectors: protocols.dissectors.map(guarded),
        })
      })
    })
}

/** What a capture means, without what depends on its place in a run. */
function essence(item: Item): Json {
  const {
    protocol,
    src,
    dst,
    timestamp,
    request,
    response,
    requestSize,
    responseSize,
    elapsedTime,
    failed,
    error,
    event,
    data,
  } = item
  return {
    protocol: `${protocol.name} ${protocol.version}`,
    from: `${src.ip} ${src.port}`,
    to: `${dst.ip} ${dst.port}`,
    timestamp,
    request,
    response,
    requestSize,
    responseSize,
    elapsedTime,
    failed,
    error,
    event,
    ...(data === null ? {} : { data }),
  }
}

/** Without times and in order of nothing, what nobody claims as one piece a direction. */
function told(items: readonly Item[]): string[] {
  const pieces = new Map<string, string>()
  for (const { stream, event, data } of items)
    if (data !== null)
      pieces.set(`${stream} ${event!.from}`, (pieces.get(`${stream} ${event!.from}`) ?? '') + bytesOf(data))
  return [...items.filter(({ data }) => data === null).map(timeless), ...[...pieces].map(String)].sort()
}

function bytesOf({ payload, encoding }: Json): string {
  return Buffer.from(payload, encoding ?? 'utf8').toString('latin1')
}

function timeless(item: Item): string {
  const told = essence(item)
  if (item.event !== null && STEADY[0]! in item.event)
    told.event = Object.fromEntries(STEADY.map(name => [name, item.event![name]]))
  return JSON.stringify({ ...told, timestamp: 0, elapsedTime: 0 })
}

/** What observers told of the payload between two ends. */
function bytesBetween(items: readonly Item[]): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { src, dst, event } of items) {
    if (event === null || !(STEADY[0]! in event)) continue
    const ends = [`${src.ip} ${src.port}`, `${dst.ip} ${dst.port}`].sort().join(' ')
    sums.set(ends, (sums.get(ends) ?? 0) + (event.goodput_bytes ?? 0))
  }
  return sums
}

/** What is told of a connection, however many packets carried it. */
const STEADY = ['l7_detected', 'state', 'ended', 'reset_by', 'half_closed_by', 'goodput_bytes']

function isSamePair(item: Item, other: Item): boolean {
  if (item.src.port !== other.src.port || item.src.ip !== other.src.ip) return false
  const lacking = item.error === null ? INTERIM : BODIES
  return isHalf(item.request, other.request, lacking) && isHalf(item.response, other.response, lacking)
}

function isHalf(half: Json | null, other: Json | null, lacking: Set<string>): boolean {
  return isPart(half, other, half?.incompleteHeaders === true ? new Set([...lacking, ...TOLD_BY_HEADERS]) : lacking)
}

/** Interim answers may have been in the lost packet. */
const INTERIM = new Set(['interim'])
/** Parts that a message with an error may lack. */
const BODIES = new Set([
  'text',
  'size',
  'body',
  'bodySize',
  'payload',
  'postData',
  'truncated',
  'encoding',
  'params',
  'trailers',
  ...INTERIM,
])
/** What follows from headers, where a message says that it lacks some. */
const TOLD_BY_HEADERS = [
  'incompleteHeaders',
  'headersSize',
  'mimeType',
  'redirectURL',
  'params',
  'text',
  'encoding',
  'size',
]

/** Whatever `a` says, `b` says too; a lost packet may have held more. */
function isPart(a: unknown, b: unknown, lacking: Set<string>): boolean {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return a === b
  const [left, right] = [a as Json, b as Json]
  return Object.keys(left).every(key => lacking.has(key) || (key in right && isPart(left[key], right[key], lacking)))
}

export function readPackets(file: URL): Packet[] {
  return packetsIn(readFileSync(file))
}

/** Of a whole capture. */
export function packetsIn(bytes: Uint8Array): Packet[] {
  const parser = new CaptureParser()
  const packets: Packet[] = []
  for (let done = 0; ; ) {
    for (let packet = parser.next(); packet !== null; packet = parser.next())
      packets.push({
        ...packet,
        bytes: packet.bytes.slice(packet.start, packet.end),
        start: 0,
        end: packet.end - packet.start,
      })
    if (done === bytes.length) break
    const room = parser.room()
    const count = Math.min(room.length, bytes.length - done)
    room.set(bytes.subarray(done, done + count))
    parser.filled(count)
    done += count
  }
  return packets
}

/** These dissectors and nothing else. */
export function only<State>(...dissectors: readonly Dissector<State>[]): Protocols {
  const list = dissectors as unknown as readonly Dissector[]
  return { dissectors: list, refiners: [], observers: [], faces: list }
}

/** What is said; what is told of connections themselves would stand between the lines of every test. */
export function readItems(packets: readonly Packet[], protocols: Protocols): Item[] {
  return dissect(packets, protocols, KEEP).items
}

/** What is told of connections, too. */
export function observeItems(packets: readonly Packet[], protocols: Protocols): Item[] {
  return dissectAll(packets, protocols, KEEP).items
}

/** The items of what is said and the tally, after the laws that hold for whatever is read. */
export function dissect(packets: readonly Packet[], protocols: Protocols, keepBodies: number): Dissected {
  return dissectAll(packets, { ...protocols, observers: [] }, keepBodies)
}

interface Dissected {
  items: Item[]
  tally: Tally
}

function dissectAll(packets: readonly Packet[], protocols: Protocols, keepBodies: number): Dissected {
  const items: Item[] = []
  const pipeline = new Pipeline({ protocols, worker: 'test', node: null, keepBodies }, batch => {
    const text = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.length).toString()
    for (const line of text.split('\n')) if (line !== '') items.push(JSON.parse(line))
  })
  for (const packet of packets) pipeline.packet(packet)
  pipeline.finish()
  const { tally } = pipeline
  assert.equal(tally.headers + tally.parsed + tally.skippedBytes, tally.bytes, 'bytes in = headers + parsed + skipped')
  assert.equal(pipeline.held, 0, 'bytes held at the end')
  return { items, tally }
}

/** The packet as many, each with one byte of its TCP payload. */
function bytePackets(packet: Packet): Packet[] {
  const frame = new Frame()
  if (decode(packet, frame) !== 'ok' || frame.protocol !== 6 || frame.bytes !== packet.bytes) return [packet]
  const payload = frame.start + (packet.bytes[frame.start + 12]! >> 4) * 4
  const length = frame.end - payload
  if (length < 2 || frame.missing > 0) return [packet]
  const seq = view(packet.bytes).getUint32(frame.start + 4)
  return Array.from({ length }, (_, i) => {
    const bytes = packet.bytes.slice(0, payload + 1)
    bytes[payload] = packet.bytes[payload + i]!
    view(bytes).setUint32(frame.start + 4, (seq + i) >>> 0)
    // SYN belongs to the first, FIN and RST to the last.
    const flags = bytes[frame.start + 13]!
    bytes[frame.start + 13] = flags & (i === 0 ? 0xff : ~2) & (i === length - 1 ? 0xff : ~5)
    if (i > 0 && (flags & 2) !== 0) view(bytes).setUint32(frame.start + 4, (seq + i + 1) >>> 0)
    shorten(bytes, frame.start, length - 1)
    return { ...packet, bytes, end: bytes.length, length: bytes.length }
  })
}

/** Makes the IP header before `transport` tell of a packet that is `less` bytes shorter. */
function shorten(bytes: Uint8Array, transport: number, less: number): void {
  const data = view(bytes)
  for (const size of [20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]) {
    const ip = transport - size
    if (ip >= 0 && bytes[ip] === (0x40 | (size / 4)) && bytes[ip + 9] === 6) {
      data.setUint16(ip + 2, data.getUint16(ip + 2) - less)
      return
    }
  }
  const ip = transport - 40
  if (ip >= 0 && bytes[ip]! >> 4 === 6) data.setUint16(ip + 4, data.getUint16(ip + 4) - less)
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function cut(packet: Packet, length: number): Packet {
  return { ...packet, end: Math.min(packet.end, length) }
}

/** Every third packet gets one to eight wrong bytes behind its addresses. */
function damage(packet: Packet, random: () => number): Packet {
  if (random() % 3 !== 0 || packet.end < 60) return packet
  const bytes = packet.bytes.slice()
  for (let i = random() % 8; i >= 0; i--) bytes[50 + (random() % (packet.end - 50))] = random() & 0xff
  return { ...packet, bytes }
}

/** xorshift32: the same numbers in every run. */
export function generator(seed: number): () => number {
  let x = seed * 2654435761 || 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x >>> 0
  }
}

function guarded(dissector: Dissector): Dissector {
  return {
    ...dissector,
    read(at, ctx: Context) {
      const before = structuredClone(ctx.state)
      const start = at.position
      try {
        const message = dissector.read(at, ctx)
        if (message === null && at.position === start && at.committed < 0)
          assert.deepEqual(structuredClone(ctx.state), before)
        return message
      } catch (thrown) {
        if (thrown === Incomplete) assert.deepEqual(structuredClone(ctx.state), before)
        throw thrown
      }
    },
  }
}
