/**
 * Damaged captures through all dissectors: nothing may throw, take long, keep memory or lose count of a byte. The same
 * seed gives the same cases on every machine.
 *
 *   npm run fuzz [-- --cases 200000 --seed 1 --only PROTOCOL --jobs 2]        --case N repeats one case
 */
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { decode, Frame } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { dissect, generator, readPackets } from '../core/testing/golden.ts'

/** Bytes of captured packets in one case. */
const CASE_BYTES = 65_536
/** CPU time that a case may take, ms. */
const MOST_MS = 100
/** Bytes that may be in use at the end beyond what was after the first cases. */
const MOST_GROWTH = 16 << 20
/** Cases between two looks at the memory in use. */
const LOOK_EVERY = 5000
const KEEP = 1 << 20
const SHOWN_FAILURES = 20
/** Values at which lengths and counts break. */
const EDGES = [0, 1, 0x7f, 0x80, 0xfe, 0xff]
const DIGITS = '0123456789-'
const FIXTURES = new URL('../core/fixtures/', import.meta.url)
const frame = new Frame()
let collect: (() => void) | undefined

interface Base {
  name: string
  packets: Packet[]
}

interface Failure {
  number: number
  capture: string
  what: string
}

interface Report {
  cases: number
  failures: Failure[]
  slowest: { ms: number; number: number; capture: string }
  /** Bytes in use after a collection: after the first `LOOK_EVERY` cases, and at the end. */
  memory: { before: number; after: number }
  cpuMs: number
}

interface Share {
  seed: number
  first: number
  step: number
  end: number
  only: string | null
}

if (isMainThread) await main()
else parentPort!.postMessage(await run(workerData as Share))

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '200000' },
      seed: { type: 'string', default: '1' },
      only: { type: 'string' },
      jobs: { type: 'string', default: String(Math.min(8, availableParallelism())) },
      case: { type: 'string' },
    },
  })
  const [cases, seed, jobs] = [numberOf(values.cases), numberOf(values.seed), numberOf(values.jobs)]
  const only = values.only ?? null
  if (values.case !== undefined) {
    const number = numberOf(values.case)
    print([await run({ seed, first: number, step: 1, end: number + 1, only })])
    return
  }
  const shares = Array.from({ length: jobs }, (_, first): Share => ({ seed, first, step: jobs, end: cases, only }))
  print(await Promise.all(shares.map(inThread)))
}

function numberOf(text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 0) throw new TypeError(`expected a number, found ${text}`)
  return number
}

function inThread(share: Share): Promise<Report> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: share })
    worker.once('message', resolve)
    worker.once('error', reject)
  })
}

function print(reports: readonly Report[]): void {
  const failures = reports.flatMap(report => report.failures).sort((a, b) => a.number - b.number)
  for (const { number, capture, what } of failures.slice(0, SHOWN_FAILURES))
    console.log(`case ${number} (${capture}): ${what}`)
  if (failures.length > SHOWN_FAILURES) console.log(`and ${failures.length - SHOWN_FAILURES} more`)
  const total = (of: (report: Report) => number) => reports.reduce((sum, report) => sum + of(report), 0)
  const slowest = reports.map(report => report.slowest).reduce((a, b) => (b.ms > a.ms ? b : a))
  const growth = Math.max(...reports.map(({ memory }) => memory.after - memory.before))
  const cases = total(report => report.cases)
  console.log(
    `figure fuzz_cases ${cases} captures\nfigure fuzz_failures ${failures.length} captures\n` +
      `figure fuzz_slowest ${slowest.ms.toFixed(1)} ms (case ${slowest.number}, ${slowest.capture})\n` +
      `figure fuzz_mean ${(total(report => report.cpuMs) / Math.max(1, cases)).toFixed(3)} ms\n` +
      `figure fuzz_memory_growth ${(growth / (1 << 20)).toFixed(1)} MB\n` +
      `figure fuzz_resident ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`,
  )
  if (growth > MOST_GROWTH) console.log(`memory grew by more than ${MOST_GROWTH >> 20} MB`)
  if (failures.length > 0 || growth > MOST_GROWTH) process.exitCode = 1
}

async function run({ seed, first, step, end, only }: Share): Promise<Report> {
  const protocols = await loadProtocols()
  const bases = loadBases(only)
  if (bases.length === 0) throw new TypeError(`core/fixtures has no captures of ${only}`)
  const report: Report = {
    cases: 0,
    failures: [],
    slowest: { ms: 0, number: -1, capture: '' },
    memory: { before: 0, after: 0 },
    cpuMs: 0,
  }
  for (let number = first; number < end; number += step) {
    const base = bases[number % bases.length]!
    const random = generator(seed * 1_000_003 + number + 1)
    const packets = damaged(windowOf(base.packets, random), bases, random)
    let ms = measured(packets, protocols, base, number, report)
    // The first run of new code is compiled meanwhile, and a collection may fall into any.
    if (ms > MOST_MS) ms = measured(packets, protocols, base, number, report)
    if (ms > MOST_MS) report.failures.push({ number, capture: base.name, what: `${ms.toFixed(0)} ms of CPU time` })
    if (ms > report.slowest.ms) report.slowest = { ms, number, capture: base.name }
    report.cpuMs += ms
    report.cases++
    if (report.cases === LOOK_EVERY) report.memory.before = await memoryInUse()
  }
  report.memory.after = await memoryInUse()
  if (report.memory.before === 0) report.memory.before = report.memory.after
  return report
}

function measured(packets: Packet[], protocols: Protocols, base: Base, number: number, report: Report): number {
  const before = process.threadCpuUsage()
  try {
    dissect(packets, protocols, number % 3 === 0 ? 0 : KEEP)
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : `thrown: ${JSON.stringify(error)}`
    report.failures.push({ number, capture: base.name, what })
  }
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}

function loadBases(only: string | null): Base[] {
  return readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
    .filter(name => /\.pcap(ng)?$/.test(name) && (only === null || name.startsWith(`${only}/`)))
    .sort()
    .map(name => ({ name, packets: readPackets(new URL(name, FIXTURES)) }))
    .filter(({ packets }) => packets.length > 0)
}

/** The beginning of the capture, or any part of it. */
function windowOf(packets: readonly Packet[], random: () => number): Packet[] {
  const start = random() % 4 === 0 ? random() % packets.length : 0
  const some: Packet[] = []
  let bytes = 0
  for (let i = start; i < packets.length; i++) {
    bytes += packets[i]!.end
    if (bytes > CASE_BYTES && some.length > 0) break
    some.push(packets[i]!)
  }
  return some
}

/** Lost, repeated, swapped, cut and overwritten, here and there; what is overwritten is mostly payload. */
function damaged(packets: readonly Packet[], bases: readonly Base[], random: () => number): Packet[] {
  const rarely = [2, 4, 8, 32][random() % 4]!
  const some: Packet[] = []
  for (const packet of packets) {
    if (random() % rarely !== 0) {
      some.push(packet)
      continue
    }
    const copy = { ...packet, bytes: packet.bytes.slice() }
    const what = random() % 12
    if (what === 0) continue
    if (what === 1) some.push(packet)
    else if (what === 2) copy.end = random() % (packet.end + 1)
    else if (what === 3) copy.seconds = random() % 3 === 0 ? random() : copy.seconds + (random() % 100)
    else if (what === 4) overwrite(copy.bytes, 0, random)
    else if (what === 5) graft(copy.bytes, payloadOf(copy), bases, random)
    else if (what > 5) overwrite(copy.bytes, payloadOf(copy), random)
    some.splice(what === 6 ? Math.max(0, some.length - (random() % 20)) : some.length, 0, copy)
  }
  return some
}

/** Where the payload of the transport begins. */
function payloadOf(packet: Packet): number {
  if (decode(packet, frame) !== 'ok' || frame.bytes !== packet.bytes) return 0
  if (frame.protocol === 6) return frame.start + (packet.bytes[frame.start + 12]! >> 4) * 4
  return frame.start + 8
}

function overwrite(bytes: Uint8Array, from: number, random: () => number): void {
  const room = bytes.length - from
  if (room <= 0) return
  for (let i = random() % 6; i >= 0; i--) {
    const at = from + (random() % room)
    const how = random() % 5
    if (how === 0) bytes[at] = random() & 0xff
    else if (how === 1) bytes[at]! ^= 1 << (random() & 7)
    else if (how === 2) bytes.fill(EDGES[random() % EDGES.length]!, at, at + 1 + (random() % 8))
    else if (how === 3) bytes[at] = DIGITS.charCodeAt(random() % DIGITS.length)
    else bytes.copyWithin(at, from + (random() % room), from + (random() % room))
  }
}

/** Bytes of another capture, of another protocol perhaps, in the midst of this one. */
function graft(bytes: Uint8Array, from: number, bases: readonly Base[], random: () => number): void {
  const { packets } = bases[random() % bases.length]!
  const donor = packets[random() % packets.length]!
  const start = payloadOf(donor)
  if (from >= bytes.length || start >= donor.end) return
  const at = from + (random() % (bytes.length - from))
  bytes.set(donor.bytes.subarray(start, Math.min(donor.end, start + bytes.length - at)), at)
}

async function memoryInUse(): Promise<number> {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  // Buffers go a turn after the objects that held them.
  for (let i = 0; i < 3; i++) {
    collect()
    await pause(20)
  }
  // Not `external`: Node counts a decoder that is refused its parameters as 4 GB, for a while.
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
