/**
 * Says to a server what clients said in a plan, and tells how its answers compare with the recorded ones.
 *
 * Only the client's bytes are sent, and to nobody but the target that was named.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Fault } from '../core/fault.ts'
import type { Protocols } from '../core/registry.ts'
import { ignoredNames } from './replay/comparison.ts'
import { checkHeader, type Header, withHeaders } from './replay/headers.ts'
import { Interpreter } from './replay/interpreter.ts'
import type { Played } from './replay/judging.ts'
import { Latencies } from './replay/latencies.ts'
import { accepts, type Target } from './replay/line.ts'
import type { Plan, Refusal, Stream } from './replay/plan.ts'
import { type Playing, play, type StreamEnd } from './replay/playing.ts'

export type { Difference } from './replay/comparison.ts'
export { packetsFeed, ringFeed } from './replay/feed.ts'
export type { Header } from './replay/headers.ts'
export type { Played, Verdict } from './replay/judging.ts'
export { type Plan, readPlan, type Selection, type Stream } from './replay/plan.ts'

export interface ReplaySettings {
  /** A name or an address. */
  host: string
  port: number
  /** 2: twice as fast as recorded; `max`: only answers are waited for. */
  rate: number | 'max'
  /** How often everything is said, one time after the other. */
  count: number
  /** Connections at a time. */
  concurrency: number
  /** ms, beyond what it took when it was recorded. */
  timeout: number
  /** Of HTTP/1. */
  headers: readonly Header[]
  /** Names that are not compared, beside those of the defaults. */
  ignore: readonly string[]
  /** Nothing is left out by default. */
  strict: boolean
}

export interface ReplayCounts {
  rounds: number
  /** Streams that were begun, over all rounds. */
  streams: number
  /** Streams of the plan, by why they are not sent. */
  refused: Map<Refusal, number>
  /** Requests behind a gap of the plan, over all rounds. */
  cut: number
  /** Streams that ended before everything was said, by why. */
  broken: Map<string, number>
  reopened: number
  bytesSent: number
  /** Requests, and streams whose bytes are compared. */
  equal: number
  different: number
  /** Answers by what differs in them, numbers in it left out. */
  differing: Map<string, number>
  missing: Map<string, number>
  notCompared: Map<string, number>
  notSent: Map<string, number>
  /** Of requests that were answered both times. */
  recorded: Latencies
  replayed: Latencies
  /** ms that something was sent behind its time. */
  late: number
}

/** Defaults that users may change; the limits are those of file descriptors, and of patience. */
export const CONCURRENCY = 256
export const MAX_CONCURRENCY = 10_000
export const TIMEOUT_MS = 10_000

export class Replay {
  readonly counts: ReplayCounts
  private readonly streams: readonly Stream[]
  private readonly settings: ReplaySettings
  private readonly protocols: Protocols
  private readonly played: (played: Played, round: number) => void
  private readonly stopping = new AbortController()
  /** The target has shown that it is there. */
  private reached = false
  private unreachable: StreamEnd['over'] = null
  /** Not told of while nobody has shown that he is there: the target may have to be told of instead. */
  private readonly held: [Played, number][] = []
  /** Flows that were answered then, and nobody answers. */
  private silent = 0

  /** Throws a Fault when the settings do not fit what is to be said. */
  constructor(
    plan: Plan,
    settings: ReplaySettings,
    protocols: Protocols,
    played: (played: Played, round: number) => void,
  ) {
    for (const header of settings.headers) checkHeader(header)
    const other = plan.streams.find(({ comparing }) => comparing !== 'http')
    if (settings.headers.length > 0 && other !== undefined)
      throw new Fault(
        'HEADERS_WITHOUT_HTTP',
        `--set sets headers of HTTP/1, and stream ${other.name} speaks ${other.protocol}: choose with --protocol http, or leave it out`,
      )
    this.streams = plan.streams.map(stream => withHeaders(stream, settings.headers))
    this.settings = settings
    this.protocols = protocols
    this.played = played
    this.counts = newCounts()
    for (const { why } of plan.refused) add(this.counts.refused, why)
  }

  /** Throws a Fault when the target is not there. */
  async run(): Promise<void> {
    const { host, port, count, rate, timeout, ignore, strict } = this.settings
    const { counts } = this
    const playing: Omit<Playing, 'played'> = {
      target: await resolve(host, port, this.streams[0]?.transport ?? 'tcp', timeout),
      interpreter: new Interpreter(this.protocols),
      rate: rate === 'max' ? null : rate,
      timeout,
      ignored: ignoredNames(strict, ignore),
      signal: this.stopping.signal,
      reached: () => {
        this.reached = true
        this.tellHeld()
      },
    }
    for (let round = 1; round <= count && !this.isStopped; round++) {
      counts.rounds++
      await this.round({ ...playing, played: played => this.take(played, round) })
    }
    if (this.unreachable === null) this.tellHeld()
    else {
      const transport = this.streams[0]?.transport === 'udp' ? 'UDP' : 'TCP'
      throw new Fault('TARGET_UNREACHABLE', `${host}:${port} over ${transport}: ${this.unreachable}`)
    }
  }

  /** Cuts every connection. What was not said stays unsaid. */
  stop(): void {
    this.stopping.abort()
  }

  private get isStopped(): boolean {
    return this.stopping.signal.aborted
  }

  private async round(playing: Playing): Promise<void> {
    const first = this.streams[0]?.began ?? 0
    const began = performance.now()
    const most = concurrencyOf(this.streams)
    const active = new Set<Promise<void>>()
    for (const [i, stream] of this.streams.entries()) {
      if (playing.rate !== null) await this.rest(began + (stream.began - first) / playing.rate - performance.now())
      const limit = Math.min(this.settings.concurrency, playing.rate === null ? most[i]! : Number.POSITIVE_INFINITY)
      while (active.size >= limit) await Promise.race(active)
      if (this.isStopped) break
      const playback: Promise<void> = this.one(stream, playing).finally(() => active.delete(playback))
      active.add(playback)
    }
    await Promise.all(active)
  }

  private async one(stream: Stream, playing: Playing): Promise<void> {
    const { counts } = this
    counts.streams++
    counts.cut += stream.cut
    const { over, isSilent, reopened, bytesSent, late } = await play(stream, playing)
    counts.reopened += reopened
    counts.bytesSent += bytesSent
    counts.late = Math.max(counts.late, late)
    if (over !== null) add(counts.broken, over)
    if (this.reached || this.isStopped) return
    // Nobody is there: the other streams would only say so again. Datagrams may get lost.
    if (isSilent) this.silent++
    if (over === null && this.silent < MOST_SILENT) return
    this.unreachable = over ?? 'no answer within the timeout'
    this.stop()
  }

  private async rest(ms: number): Promise<void> {
    const { signal } = this.stopping
    for (let left = ms; left > 0 && !signal.aborted; left -= LONGEST_MS)
      await sleep(Math.min(left, LONGEST_MS), undefined, { signal }).catch(() => {})
  }

  private take(played: Played, round: number): void {
    const { counts } = this
    const { verdict, recorded, replayed } = played
    if (verdict.kind === 'equal') counts.equal++
    else if (verdict.kind === 'different') {
      counts.different++
      for (const what of new Set(verdict.differences.map(({ what }) => what.replaceAll(/\d+/g, 'N'))))
        if (counts.differing.size < MAX_DIFFERING || counts.differing.has(what)) add(counts.differing, what)
    } else
      add(
        { missing: counts.missing, 'not compared': counts.notCompared, 'not sent': counts.notSent }[verdict.kind],
        verdict.why,
      )
    const before = recorded?.elapsedTime ?? null
    const after = replayed?.elapsedTime ?? null
    if (before !== null && after !== null) {
      counts.recorded.add(before)
      counts.replayed.add(after)
    }
    const isSilence = verdict.kind === 'missing' || verdict.kind === 'not sent'
    if (isSilence && !this.reached) this.held.push([played, round])
    else this.played(played, round)
  }

  private tellHeld(): void {
    for (const [played, round] of this.held.splice(0)) this.played(played, round)
  }
}

/** Flows without any answer, at the beginning, after which nobody is thought to be there. */
const MOST_SILENT = 3
/** Kinds of differences that are counted: names come from the target. */
const MAX_DIFFERING = 1000
/** What a timer can count to. */
const LONGEST_MS = 2 ** 31 - 1

/** Throws a Fault when there is nothing to say, or what was said to several servers, of which none `isChosen`. */
export function checkOneServer({ streams, refused }: Plan, isChosen: boolean): void {
  if (streams.length === 0) throw nothingToReplay(refused)
  const servers = new Map<string, { count: number; protocols: Set<string> }>()
  for (const { protocol, server } of streams) {
    const name = nameOf(server)
    const found = servers.get(name) ?? { count: 0, protocols: new Set() }
    servers.set(name, found)
    found.count++
    found.protocols.add(protocol)
  }
  if (servers.size < 2 || isChosen) return
  const sorted = [...servers].sort(([, a], [, b]) => b.count - a.count)
  const told = sorted
    .slice(0, MAX_SERVERS)
    .map(([name, { count, protocols }]) => `${[...protocols].join('+')} ${name} (${count})`)
  const more = sorted.length > MAX_SERVERS ? ` and ${sorted.length - MAX_SERVERS} more` : ''
  throw new Fault(
    'SEVERAL_SERVERS',
    `the streams go to ${servers.size} servers, and --to is one: choose by --server IP:PORT (:PORT for all at a port) among ${told.join(', ')}${more}`,
  )
}

function nameOf({ ip, port }: Stream['server']): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

/** Servers that are named where one has to be chosen. */
const MAX_SERVERS = 6

function nothingToReplay(refused: Plan['refused']): Fault {
  const causes = new Map<string, number>()
  for (const { why } of refused) add(causes, why)
  const told = [...causes].map(([why, count]) => `${count} of them: ${why}`)
  const found =
    refused.length === 0
      ? 'no stream of TCP or UDP that was asked for'
      : `${refused.length} streams, ${told.join('; ')}`
  return new Fault('NOTHING_TO_REPLAY', `there is nothing to replay: found ${found}`)
}

/** For each stream, how many were open when it began, itself included. */
function concurrencyOf(streams: readonly Stream[]): number[] {
  const ends = streams.map(({ ended }) => ended).sort((a, b) => a - b)
  let over = 0
  return streams.map(({ began }, i) => {
    while (ends[over]! < began) over++
    return i + 1 - over
  })
}

/** A name is asked for once, and every connection goes where it led. */
async function resolve(host: string, port: number, transport: 'tcp' | 'udp', timeout: number): Promise<Target> {
  const literal = isIP(host)
  if (literal !== 0) return { address: host, family: literal === 6 ? 6 : 4, port }
  const found = await lookup(host, { all: true }).catch(() => [])
  const targets = found.map(({ address, family }): Target => ({ address, family: family === 6 ? 6 : 4, port }))
  if (targets.length === 0)
    throw new Fault('TARGET_UNKNOWN', `expected the name or address of a server, found no address for "${host}"`)
  // `localhost` is two, and servers often listen at one of them.
  if (targets.length > 1 && transport === 'tcp')
    for (const target of targets) if (await accepts(target, timeout)) return target
  return targets[0]!
}

function add<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function newCounts(): ReplayCounts {
  return {
    rounds: 0,
    streams: 0,
    refused: new Map(),
    cut: 0,
    broken: new Map(),
    reopened: 0,
    bytesSent: 0,
    equal: 0,
    different: 0,
    differing: new Map(),
    missing: new Map(),
    notCompared: new Map(),
    notSent: new Map(),
    recorded: new Latencies(),
    replayed: new Latencies(),
    late: 0,
  }
}
