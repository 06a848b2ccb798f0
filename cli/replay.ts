/** `hookline replay`: says to a server what clients said in a capture, and prints what it answers otherwise. */
import { type Command, InvalidArgumentError } from 'commander'
import { formatAddress, parseAddress } from '../core/address.ts'
import type { Face } from '../core/dissector.ts'
import { Fault } from '../core/fault.ts'
import { loadProtocols } from '../core/registry.ts'
import { only } from '../core/selection.ts'
import { COMPARISONS, ignoredNames } from '../worker/replay/comparison.ts'
import {
  CONCURRENCY,
  checkOneServer,
  type Header,
  MAX_CONCURRENCY,
  type Plan,
  type Played,
  packetsFeed,
  Replay,
  type ReplayCounts,
  readPlan,
  ringFeed,
  type Selection,
  TIMEOUT_MS,
} from '../worker/replay.ts'
import { EXIT } from './exit.ts'
import { Interruption } from './interruption.ts'
import { LastLine } from './last-line.ts'
import { duration } from './moment.ts'
import { ReaderGone, writeText } from './output.ts'
import { names } from './protocols.ts'
import { oneCapture, openFile } from './source.ts'
import { counted, grouped, type Look, lookOf, type Paint, paint, printable, sized, timed } from './terminal.ts'

interface Options {
  pcap?: string
  ring?: string
  time?: bigint
  item?: string
  stream?: string[]
  server?: Server[]
  protocol?: string[]
  to: Address
  rate?: number | 'max'
  count: number
  set?: Header[]
  ignore?: string[]
  strict?: true
  concurrency: number
  timeout: number
  json?: true
  quiet?: true
}

interface Address {
  host: string
  port: number
}

type Server = NonNullable<Selection['servers']>[number]

export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('say to a server what clients said in a capture, and compare the answers with the recorded ones')
    .argument('[capture]', 'pcap or pcapng, also compressed; - for standard input')
    .requiredOption('--to <host:port>', 'the server; nobody else is contacted', address)
    .option('--pcap <file>', 'the capture, where it is not the argument', oneCapture)
    .option('--ring <dir>', 'from a ring, as `hookline tap` records it')
    .option('--time <duration>', 'with --ring: the last so much of it: 90s, 5m, 1h30m', duration)
    .option('--item <id>', 'only the request of this item, on a connection of its own')
    .option('--stream <name>', 'only this stream, as items name it; may be given again', list)
    .option('--server <ip:port>', 'only streams to this server, or `:port`, or `ip`; may be given again', servers)
    .option('--protocol <list>', 'only streams that speak these: http (1.x), redis, dns, … or tcp, udp', names)
    .option('--rate <rate>', 'as fast as recorded (1x), 2x, 0.5x, …, or max: only answers are waited for', rate)
    .option('--count <n>', 'say everything so often', count(1_000_000), 1)
    .option('--set <header=value>', 'HTTP/1: set or replace a header; may be given again', header)
    .option(
      '--ignore <name>',
      'not compared: a header, `body`, `ttl` of DNS, `id` or `moment` of Redis; may be given again',
      list,
    )
    .option('--strict', 'compare also what differs by its nature: dates, ids, cookies')
    .option('--concurrency <n>', 'connections at a time', count(MAX_CONCURRENCY), CONCURRENCY)
    .option('--timeout <seconds>', 'how much longer than recorded an answer may take', seconds, TIMEOUT_MS / 1000)
    .option('--json', 'one line of JSON for each answer, also for those that are equal')
    .option('-q, --quiet', 'only the summary')
    .addHelpText(
      'after',
      `
Examples:
  $ hookline replay traffic.pcap --to 127.0.0.1:8080 --protocol http
  $ hookline replay traffic.pcap --to staging:80 --server :8080 --rate max --set Host=staging
  $ hookline replay --ring /var/lib/hookline/ring --time 5m --server :8080 --to 127.0.0.1:8080
  $ hookline replay --pcap traffic.pcap --item local/1795236942970057000_5f3a9c01.pcap-3 --to 127.0.0.1:8080

Exit codes: 0 all answers are equal, 1 some differ or are missing, 2 wrong usage or input, 130 interrupted.`,
    )
    .action(async (capture: string | undefined, options: Options) => {
      process.exitCode = await replay(capture, options)
    })
}

async function replay(capture: string | undefined, options: Options): Promise<number> {
  const path = pathOf(capture, options)
  const selection = selectionOf(options)
  const protocols = await loadProtocols()
  // Names that nobody has are told of.
  if (selection.protocols !== null) only(protocols, selection.protocols)
  const [shown, told] = [lookOf(1), lookOf(2)]
  const interruption = new Interruption()
  const interrupted = () => interruption.code !== null
  const file = path === null ? null : await openFile(path)
  try {
    void interruption.requested.then(() => file?.stop())
    const feed =
      file === null ? ringFeed(options.ring!, since(options), selection, interrupted) : packetsFeed(file, interrupted)
    const plan = await readPlan(feed, protocols, selection)
    for (const remark of file?.remarks() ?? [])
      process.stderr.write(`${paint(`capture: ${remark}`, 'yellow', told.depth)}\n`)
    if (interruption.code !== null) return interruption.code
    checkOneServer(plan, selection.servers !== null || selection.streams !== null || selection.item !== null)
    const { to, rate = 1, count, set: headers = [], ignore = [], strict, concurrency, timeout } = options
    const printer = options.quiet ? null : new Printer(protocols.faces, options.json === true, shown)
    const settings = {
      ...to,
      rate,
      count,
      headers,
      ignore,
      strict: strict === true,
      concurrency,
      timeout: timeout * 1e3,
    }
    let gone = false
    const lastLine = told.width === null ? null : new LastLine(told, () => progressOf(plan, replay.counts, options))
    const replay: Replay = new Replay(plan, settings, protocols, (played, round) => {
      try {
        if (!gone) printer?.print(played, round, lastLine)
      } catch (error) {
        // `| head` has seen enough.
        if (!(error instanceof ReaderGone)) throw error
        gone = true
        replay.stop()
      }
    })
    void interruption.requested.then(() => replay.stop())
    const began = performance.now()
    const drawing = setInterval(() => lastLine?.draw(), DRAW_MS)
    try {
      await replay.run()
    } finally {
      clearInterval(drawing)
      lastLine?.wipe()
    }
    if (gone) return EXIT.ok
    const ended = { plan, counts: replay.counts, options, seconds: (performance.now() - began) / 1000 }
    process.stderr.write(summary({ ...ended, interrupted: interruption.code !== null }, told.depth))
    const { different, missing, notSent } = replay.counts
    return interruption.code ?? (different + sum(missing) + sum(notSent) > 0 ? EXIT.different : EXIT.ok)
  } finally {
    interruption.release()
    await file?.close()
  }
}

const DRAW_MS = 200

function progressOf({ streams }: Plan, counts: ReplayCounts, { count }: Options): string {
  const { equal, different, missing, notCompared } = counts
  const answers = equal + different + sum(missing) + sum(notCompared)
  return `${grouped(counts.streams)} of ${counted(streams.length * count, 'stream')} begun, ${counted(answers, 'answer')}, ${grouped(different + sum(missing))} not as recorded`
}

/** null: packets come from a ring. */
function pathOf(capture: string | undefined, { pcap, ring, time, json, quiet }: Options): string | null {
  if (time !== undefined && ring === undefined)
    throw new Fault(
      'OPTIONS_CONFLICT',
      '--time is counted from the end of a ring, and a capture has ended already: give --ring',
    )
  if (json && quiet)
    throw new Fault('OPTIONS_CONFLICT', '--json prints every answer and --quiet none: give one of them')
  const sources = [capture, pcap, ring].filter(one => one !== undefined)
  if (sources.length > 1)
    throw new Fault(
      'SOURCE_TWICE',
      `what to replay comes from one place, found ${sources.map(one => `"${one}"`).join(' and ')}`,
    )
  if (sources.length === 0)
    throw new Fault('SOURCE_MISSING', 'what to replay is missing: give a capture, or --ring DIR')
  return capture ?? pcap ?? null
}

/** ns since 1970. */
function since({ time }: Options): bigint {
  return time === undefined ? 0n : BigInt(Date.now()) * 1_000_000n - time
}

function selectionOf({ item, stream, server, protocol }: Options): Selection {
  const chosen = [item, stream].filter(one => one !== undefined)
  if (chosen.length > 1 || (item !== undefined && (server ?? protocol) !== undefined))
    throw new Fault('OPTIONS_CONFLICT', '--item names one request: leave --stream, --server and --protocol out')
  return { item: item ?? null, streams: stream ?? null, servers: server ?? null, protocols: protocol ?? null }
}

// ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────────────

function address(text: string): Address {
  const found = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(found?.[3])
  if (found === null || port < 1 || port > 65_535)
    throw new InvalidArgumentError('Expected HOST:PORT: 127.0.0.1:8080, [::1]:8080 or staging:80.')
  return { host: found[1] ?? found[2]!, port }
}

function servers(text: string, before: Server[] = []): Server[] {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)|([0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*))?(?::(\d{1,5}))?$/.exec(
    text,
  )
  const address = found?.[1] ?? found?.[2] ?? found?.[3]
  const words = address === undefined ? null : parseAddress(address)
  const ip = words === null ? null : formatAddress(words, 0)
  const port = found?.[4] === undefined ? null : Number(found[4])
  if (found === null || (address !== undefined && ip === null) || (ip === null && port === null))
    throw new InvalidArgumentError('Expected an address, a port or both: 10.0.0.5, :8080, 10.0.0.5:8080, [::1]:80.')
  return [...before, { ip, port }]
}

function rate(text: string): number | 'max' {
  if (text === 'max') return 'max'
  const value = /^\d+(\.\d+)?x?$/.test(text) ? Number.parseFloat(text) : 0
  if (!(value > 0 && value <= 1e6)) throw new InvalidArgumentError('Expected 1x, 2x, 0.5x, … or max.')
  return value
}

function count(most: number): (text: string) => number {
  return text => {
    const value = /^\d+$/.test(text) ? Number(text) : 0
    if (value < 1 || value > most) throw new InvalidArgumentError(`Expected a number from 1 to ${most}.`)
    return value
  }
}

function seconds(text: string): number {
  const value = text === '' ? Number.NaN : Number(text)
  if (!(value > 0 && value <= 86_400)) throw new InvalidArgumentError('Expected seconds, more than 0 and up to 86400.')
  return value
}

function header(text: string, before: Header[] = []): Header[] {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Expected HEADER=VALUE: Host=staging.')
  return [...before, { name: text.slice(0, at).trim(), value: text.slice(at + 1).trim() }]
}

function list(name: string, before: string[] = []): string[] {
  return [...before, name]
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const VERDICTS: Readonly<Record<Played['verdict']['kind'], Paint>> = {
  equal: 'green',
  different: 'red',
  missing: 'red',
  'not compared': 'dim',
  'not sent': 'yellow',
}

class Printer {
  private readonly faces: ReadonlyMap<string, Face>
  private readonly json: boolean
  private readonly look: Look

  constructor(faces: readonly Face[], json: boolean, look: Look) {
    this.faces = new Map(faces.map(face => [face.name, face]))
    this.json = json
    this.look = look
  }

  print(played: Played, round: number, lastLine: LastLine | null): void {
    if (!this.json && !['different', 'missing'].includes(played.verdict.kind)) return
    lastLine?.wipe()
    writeText(1, this.json ? `${JSON.stringify(this.plain(played, round))}\n` : this.lines(played))
  }

  private plain({ stream, recorded, verdict, replayed }: Played, round: number) {
    return {
      round,
      stream: stream.name,
      item: recorded?.id ?? null,
      protocol: stream.protocol,
      request: this.requestOf(recorded),
      verdict: verdict.kind,
      why: 'why' in verdict ? verdict.why : null,
      differences: verdict.kind === 'different' ? verdict.differences : [],
      elapsedTime: { recorded: recorded?.elapsedTime ?? null, replayed: replayed?.elapsedTime ?? null },
    }
  }

  private lines({ stream, recorded: item, verdict }: Played): string {
    const { depth } = this.look
    const request = item === null ? `what ${stream.protocol} answers` : this.requestOf(item)
    const where = item?.id ?? stream.name
    const why = 'why' in verdict ? `: ${verdict.why}` : ''
    const lines = [
      `${paint(verdict.kind, VERDICTS[verdict.kind], depth)}  ${printable(request ?? '')}  ${paint(printable(where), 'dim', depth)}${why}`,
    ]
    const differences = verdict.kind === 'different' ? verdict.differences : []
    for (const { what, recorded, replayed } of differences)
      lines.push(`    ${printable(what)}: ${value(recorded)} ${paint('→', 'dim', depth)} ${value(replayed)}`)
    return `${lines.join('\n')}\n`
  }

  /** `GET /orders/7` */
  private requestOf(item: Played['recorded']): string | null {
    if (item === null) return null
    const summary = this.faces.get(item.protocol.macro)?.summarize(item.request, item.response, item.event)
    return summary === undefined ? item.protocol.macro : `${summary.method} ${summary.summary}`.trim()
  }
}

function value(text: string | null): string {
  return text === null ? '(nothing)' : printable(text)
}

// ── summary ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Ended {
  plan: Plan
  counts: ReplayCounts
  options: Options
  seconds: number
  interrupted: boolean
}

function summary(ended: Ended, depth: number): string {
  const { plan, counts, options, seconds, interrupted } = ended
  const { equal, different, missing, notCompared, notSent } = counts
  const first = plan.streams[0]?.began ?? 0
  const last = plan.streams.reduce((latest, { ended }) => Math.max(latest, ended), first)
  const planned = plan.streams.length * options.count
  const some = counts.streams < planned ? `${grouped(counts.streams)} of ` : ''
  const streams = `${some}${counted(planned, 'stream')}`
  const rounds = options.count > 1 ? `, ${counted(counts.rounds, 'time')} over` : ''
  const all = equal + different + sum(missing) + sum(notCompared) + sum(notSent)
  const lines = [
    '',
    `${streams} to ${nameOf(options.to)}${rounds}, ${sized(counts.bytesSent)} sent in ${seconds.toFixed(1)} s (recorded: ${((last - first) / 1000).toFixed(1)} s)${interrupted ? ', interrupted' : ''}`,
    `${counted(all, 'answer')} = ${grouped(equal)} equal + ${grouped(different)} different + ${grouped(sum(missing))} missing + ${grouped(sum(notCompared))} not compared + ${grouped(sum(notSent))} not asked for`,
    ...causes('different in', mostOf(counts.differing)),
    ...causes('missing', missing),
    ...causes('not compared', notCompared),
    ...causes('not asked for', notSent),
    ...causes('streams refused', counts.refused),
    ...causes('streams ended early', counts.broken),
  ]
  if (counts.cut > 0)
    lines.push(`${counted(counts.cut, 'request')} not sent: bytes before them are missing in the capture`)
  if (counts.reopened > 0)
    lines.push(`${counted(counts.reopened, 'connection')} more than recorded: the target closes earlier`)
  lines.push(...latency(counts), ...lateness(counts), ...leftOut(ended))
  return `${lines.map((line, i) => (i === 2 ? paint(line, different + sum(missing) > 0 ? 'red' : 'green', depth) : line)).join('\n')}\n`
}

/** Kinds of differences that are worth a line. */
const MOST_KINDS = 6

function mostOf(counts: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const sorted = [...counts].sort(([, a], [, b]) => b - a)
  return new Map(sorted.slice(0, MOST_KINDS).map(([what, count]) => [printable(what), count]))
}

function nameOf({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function causes(what: string, counts: ReadonlyMap<string, number>): string[] {
  if (counts.size === 0) return []
  const told = [...counts].sort(([, a], [, b]) => b - a).map(([why, count]) => `${grouped(count)} ${why}`)
  return [`${what}: ${told.join('; ')}`]
}

const PERCENTILES = [
  ['half', 0.5],
  ['95 %', 0.95],
  ['99 %', 0.99],
] as const

function latency({ recorded, replayed }: ReplayCounts): string[] {
  if (recorded.count === 0) return []
  const told = PERCENTILES.map(
    ([name, part]) =>
      `${name} within ${timed(replayed.percentile(part)!)} (recorded: ${timed(recorded.percentile(part)!)})`,
  )
  return [`answered: ${told.join(', ')}`]
}

/** ms behind the recorded time that are worth a line. */
const LATE_MS = 100

function lateness({ late }: ReplayCounts): string[] {
  return late < LATE_MS ? [] : [`sent up to ${timed(late)} behind the recorded time`]
}

function leftOut({ plan, options }: Ended): string[] {
  const { ignore = [], strict } = options
  const ignored = ignoredNames(strict === true, ignore)
  const spoken = new Set(plan.streams.map(({ comparing }) => comparing))
  const defaults = [...spoken].flatMap(name => (name === 'bytes' ? [] : COMPARISONS[name].ignored))
  const told = [...new Set([...defaults.filter(name => ignored.has(name)), ...ignore])]
  return told.length === 0 ? [] : [`left out: ${told.join(', ')}${strict ? '' : ' (--strict compares everything)'}`]
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((all, one) => all + one, 0)
}
