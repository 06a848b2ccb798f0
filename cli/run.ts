/** `hookline run`: packets from a file or an interface through the pipeline, to the table, to JSON and to scripts. */
import { type Command, InvalidArgumentError } from 'commander'
import type { Batch } from '../core/batch.ts'
import { Fault } from '../core/fault.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols } from '../core/registry.ts'
import type { Tally } from '../core/tally.ts'
import { readDescriptions } from './descriptions.ts'
import { EXIT } from './exit.ts'
import { Feed } from './feed.ts'
import { Interruption } from './interruption.ts'
import { defaultSpool, Outbox } from './outbox.ts'
import { ReaderGone, writeAll, writeText } from './output.ts'
import { Progress } from './progress.ts'
import { choose, names } from './protocols.ts'
import { Scripts } from './scripts.ts'
import { openFile, openInterface, type Source } from './source.ts'
import { summary } from './summary.ts'
import { lookOf } from './terminal.ts'

interface Options {
  pcap?: string
  interface?: string
  filter?: string
  json?: true
  quiet?: true
  bodies: boolean
  proto: string[]
  protocols?: string[]
  with?: string[]
  env: Record<string, string>
  spool: string
}

export function addRun(program: Command): void {
  program
    .command('run')
    .description('read a capture or an interface, show every item, run scripts on each')
    .argument('[script...]', 'JavaScript or TypeScript files with hooks (`hookline new script` writes one)')
    .option('--pcap <file>', 'pcap or pcapng, also compressed by gzip or zstd; - for standard input')
    .option('-i, --interface <name>', 'capture live; needs root or the capability NET_RAW')
    .option('--filter <expression>', 'with -i: only these packets, as pcap-filter(7) says: "tcp port 80"')
    .option('--json', 'one item a line, as JSON')
    .option('-q, --quiet', 'no table: only what scripts print, and the summary')
    .option('--no-bodies', 'leave the bodies of messages out: faster')
    .option(
      '--proto <path>',
      'names for messages of gRPC: .proto, descriptor set or directory; may be given again',
      list,
      [],
    )
    .option('--protocols <list>', 'exactly these, as in `--protocols http,dns`; all are read, these are shown', names)
    .option('--with <list>', 'these too: tcp, udp (payload that no protocol claims), udp-conn (flows of UDP)', names)
    .option('--env <name=value>', 'what scripts find in `env`; may be given again', collect, {})
    .option('--spool <dir>', 'where alerts wait until they are delivered', defaultSpool())
    .addHelpText(
      'after',
      `
Examples:
  $ hookline run --pcap traffic.pcapng
  $ tcpdump -w - | hookline run --pcap - --json --no-bodies
  $ hookline run alert-on-5xx.js --pcap traffic.pcap --env SLACK_WEBHOOK=https://hooks.slack.com/services/…
  $ sudo hookline run slowest-routes.js -i eth0 --filter 'not port 22'`,
    )
    .action(async (scripts: string[], options: Options) => {
      process.exitCode = await run(scripts, options)
    })
}

/** With fewer bytes a file is read before anybody could look at a progress bar. */
const LONG_FILE = 20_000_000
/** Live: what is ready is shown at least this often. */
const FLUSH_MS = 100
/** How long the end waits for deliveries; what is not delivered then stays in the spool. */
const PATIENCE_MS = 10_000
const HURRIED_PATIENCE_MS = 2_000
const NEVER = new Promise<void>(() => {})
/** Bytes of a body that an item keeps. */
const KEPT_BODY = 1 << 20

async function run(paths: string[], options: Options): Promise<number> {
  const open = source(options)
  const describe = options.proto.length > 0 ? readDescriptions(options.proto) : null
  const protocols = choose(await loadProtocols(), options)
  const [shown, told] = [lookOf(1), lookOf(2)]
  const feed = options.json || options.quiet ? null : new Feed(protocols.faces, shown)
  if (shown.width !== null) process.stdout.on('resize', () => feed?.resize(process.stdout.columns))

  const outbox = new Outbox(options.spool)
  const scripts = await Scripts.load(paths, options.env, outbox, told)
  const interruption = new Interruption()
  let packets: Source | null = null
  try {
    packets = await open()
    const keepBodies = options.bodies ? KEPT_BODY : 0
    const about = { worker: 'local', node: null, keepBodies }
    const deliver = (batch: Batch) => {
      show(batch, options, feed)
      scripts.items(batch)
    }
    let tally: Tally | null = null
    let readerGone = false
    await scripts.start({
      ...about,
      protocols: protocols.faces.map(({ name }) => name),
      dissected(reclaimed, batch) {
        tally?.reclaim(reclaimed)
        if (batch === null || readerGone) return
        try {
          deliver(batch)
        } catch (error) {
          if (!(error instanceof ReaderGone)) throw error
          // The sandbox must not be blamed for it: who reads the packets ends the run.
          readerGone = true
          packets?.stop()
        }
      },
    })
    if (scripts.claimant !== null)
      for (const { name, unclaimed } of protocols.faces)
        if (unclaimed !== undefined)
          process.stderr.write(`${name} shows payload as it is: dissectors of scripts are not asked about it\n`)
    if (packets.live) process.stderr.write(`capturing on ${options.interface}; Ctrl-C ends it\n`)
    const began = performance.now()
    const pipeline = new Pipeline({ ...about, protocols, describe, claimant: scripts.claimant }, deliver)
    tally = pipeline.tally
    if (feed && shown.width !== null) writeText(1, feed.heading())
    const long = (packets.size ?? 0) >= LONG_FILE && told.width !== null && (feed === null || shown.width === null)
    const progress = long ? new Progress(packets.size!, told) : null
    scripts.beforeLine = () => progress?.wipe()
    let broken: Fault | null
    try {
      broken = await read(packets, pipeline, scripts, interruption, progress)
    } catch (error) {
      // `| head` has seen enough: this is how it says so.
      if (!(error instanceof ReaderGone)) throw error
      return EXIT.ok
    }
    progress?.wipe()
    if (!readerGone) await scripts.stop()
    if (readerGone) return EXIT.ok
    const hurry = interruption.code === null ? interruption.requested : NEVER
    await outbox.drain(interruption.code === null ? PATIENCE_MS : HURRIED_PATIENCE_MS, hurry)
    const text = summary(
      {
        tally: pipeline.tally,
        faces: protocols.faces,
        remarks: packets.remarks(),
        scripts: scripts.ends(),
        sent: outbox.sent(),
        spool: options.spool,
        seconds: (performance.now() - began) / 1000,
        interrupted: interruption.code !== null,
      },
      told.depth,
    )
    process.stderr.write(text)
    if (broken) throw broken
    const failed = scripts.ends().some(({ errors, setApart }) => errors > 0 || setApart !== null)
    return interruption.code ?? (failed ? EXIT.script : EXIT.ok)
  } finally {
    interruption.release()
    await packets?.close()
    await scripts.stop()
    await outbox.close()
  }
}

function source({ pcap, interface: name, filter, json, quiet }: Options): () => Promise<Source> {
  if (json && quiet) throw new Fault('OPTIONS_CONFLICT', '--json prints every item and --quiet none: give one of them')
  if (pcap !== undefined && name !== undefined)
    throw new Fault('SOURCE_TWICE', 'packets come from a file (--pcap) or from an interface (-i), found both')
  if (name !== undefined) return () => openInterface(name, filter ?? '')
  if (pcap === undefined)
    throw new Fault('SOURCE_MISSING', 'where packets come from is missing: give --pcap FILE, or -i INTERFACE')
  if (filter !== undefined)
    throw new Fault(
      'FILTER_WITHOUT_INTERFACE',
      '--filter tells an interface what to capture, and a file is captured already: give -i',
    )
  return () => openFile(pcap)
}

function collect(pair: string, all: Record<string, string>): Record<string, string> {
  const at = pair.indexOf('=')
  if (at < 1) throw new InvalidArgumentError(`Expected NAME=VALUE.`)
  return { ...all, [pair.slice(0, at)]: pair.slice(at + 1) }
}

function list(path: string, all: string[]): string[] {
  return [...all, path]
}

/** Returns what ended the packets before their time; throws it when there were none. */
async function read(
  packets: Source,
  pipeline: Pipeline,
  scripts: Scripts,
  interruption: Interruption,
  progress: Progress | null,
): Promise<Fault | null> {
  void interruption.requested.then(() => {
    packets.stop()
    scripts.hurry(HURRIED_PATIENCE_MS)
  })
  let flushed = performance.now()
  let broken: Fault | null = null
  for (;;) {
    try {
      if (!(await packets.load())) break
    } catch (error) {
      if (!(error instanceof Fault) || pipeline.tally.packets === 0) throw error
      broken = error
      break
    }
    for (let packet = packets.next(); packet !== null; packet = packets.next()) {
      pipeline.packet(packet)
      scripts.packet(packet)
      if (scripts.pressure !== null) await scripts.relief()
    }
    progress?.at(packets.position())
    const now = packets.now()
    if (now === null) continue
    pipeline.tick(now)
    if (performance.now() - flushed < FLUSH_MS) continue
    pipeline.flush()
    scripts.flush()
    flushed = performance.now()
    if (scripts.pressure !== null) await scripts.relief()
  }
  pipeline.finish()
  scripts.flush()
  await scripts.relief()
  return broken
}

function show(batch: Batch, { json }: Options, feed: Feed | null): void {
  if (json) writeAll(1, batch.bytes, 0, batch.length)
  else if (feed) writeText(1, feed.lines(batch))
}
