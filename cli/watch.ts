/** What `run` and `tap` do with packets: through the pipeline, to the table, to JSON and to scripts. */
import { type Command, InvalidArgumentError } from 'commander'
import type { Batch } from '../core/batch.ts'
import { Fault } from '../core/fault.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols } from '../core/registry.ts'
import type { Tally } from '../core/tally.ts'
import { KEPT_BODY, WORKER } from '../worker/own-items.ts'
import { StreamFiles } from '../worker/stream-files.ts'
import { readDescriptions } from './descriptions.ts'
import { EXIT } from './exit.ts'
import { Feed } from './feed.ts'
import { Interruption } from './interruption.ts'
import { LastLine } from './last-line.ts'
import { defaultSpool, Outbox } from './outbox.ts'
import { ReaderGone, writeAll, writeText } from './output.ts'
import { choose, names } from './protocols.ts'
import { Scripts } from './scripts.ts'
import type { Source } from './source.ts'
import { stateFolder } from './state.ts'
import { summary } from './summary.ts'
import { lookOf } from './terminal.ts'

export interface WatchOptions {
  json?: true
  quiet?: true
  bodies: boolean
  proto?: string[]
  protocols?: string[]
  with?: string[]
  env?: Record<string, string>
  spool: string
}

/** As both commands offer them. */
export function addWatchOptions(command: Command): Command {
  return command
    .option('--json', 'one item a line, as JSON')
    .option('-q, --quiet', 'no table: only what scripts print, and the summary')
    .option('--no-bodies', 'leave the bodies of messages out: faster')
    .option(
      '--proto <path>',
      'names for messages of gRPC: .proto, descriptor set or directory; may be given again',
      list,
    )
    .option('--protocols <list>', 'exactly these, as in `--protocols http,dns`; all are read, these are shown', names)
    .option(
      '--with <list>',
      'these too: tcp, udp (payload that no protocol claims), tcp-conn, udp-conn (connections)',
      names,
    )
    .option('--env <name=value>', 'what scripts find in `env`; may be given again', collect)
    .option('--spool <dir>', 'where alerts wait until they are delivered', defaultSpool())
}

/** Live: what is ready is shown at least this often. */
const FLUSH_MS = 100
/** How long the end waits for deliveries; what is not delivered then stays in the spool. */
const PATIENCE_MS = 10_000
const HURRIED_PATIENCE_MS = 2_000
const NEVER = new Promise<void>(() => {})

/** Returns the exit code. `open` is asked last: a script with a mistake is known before anything is captured. */
export async function watch(paths: string[], options: WatchOptions, open: () => Promise<Source>): Promise<number> {
  if (options.json && options.quiet)
    throw new Fault('OPTIONS_CONFLICT', '--json prints every item and --quiet none: give one of them')
  const describe = options.proto === undefined ? null : readDescriptions(options.proto)
  const protocols = choose(await loadProtocols(), options)
  const [shown, told] = [lookOf(1), lookOf(2)]
  const feed = options.json || options.quiet ? null : new Feed(protocols.faces, shown)
  if (shown.width !== null) process.stdout.on('resize', () => feed?.resize(process.stdout.columns))

  const outbox = new Outbox(options.spool)
  const scripts = await Scripts.load(paths, options.env ?? {}, outbox, told)
  const interruption = new Interruption()
  let packets: Source | null = null
  let lastLine: LastLine | null = null
  try {
    packets = await open()
    const keepBodies = options.bodies ? KEPT_BODY : 0
    const about = { worker: WORKER, node: null, keepBodies }
    const deliver = (batch: Batch) => {
      // A pipe's reader sees nothing of that line.
      if (lastLine !== null && shown.width !== null) lastLine.above(() => show(batch, options, feed))
      else show(batch, options, feed)
      scripts.items(batch)
    }
    let tally: Tally | null = null
    let readerGone = false
    if (packets.recording !== null) {
      const files = new StreamFiles(stateFolder('pcaps'), packets.recording, packets.live ? 'growing' : 'whole')
      scripts.streams = stream => files.path(stream)
    }
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
    for (const line of packets.greeting) process.stderr.write(`${line}\n`)
    const began = performance.now()
    const pipeline = new Pipeline({ ...about, protocols, describe, claimant: scripts.claimant }, deliver)
    tally = pipeline.tally
    const source = packets
    const tableThere = feed !== null && shown.width !== null
    // A log needs to know of what is recorded only.
    if (told.width !== null || source.recorded) lastLine = new LastLine(told, () => source.status())
    scripts.beforeLine = () => lastLine?.wipe()
    const { items, packets: passing } = scripts.wants
    const dissected = options.json || feed !== null || items || scripts.claimant !== null
    const demand = dissected ? 'items' : passing ? 'packets' : 'nothing'
    let broken: Fault | null
    try {
      if (tableThere) writeText(1, feed.heading())
      broken = await read(source, demand, { pipeline, scripts, interruption, lastLine })
    } catch (error) {
      // `| head` has seen enough: this is how it says so.
      if (!(error instanceof ReaderGone)) throw error
      return EXIT.ok
    }
    lastLine?.wipe()
    if (!readerGone) await scripts.stop()
    if (readerGone) return EXIT.ok
    const hurry = interruption.code === null ? interruption.requested : NEVER
    await outbox.drain(interruption.code === null ? PATIENCE_MS : HURRIED_PATIENCE_MS, hurry)
    const text = summary(
      {
        tally: dissected || !source.recorded ? pipeline.tally : null,
        faces: protocols.faces,
        remarks: packets.remarks(),
        account: packets.account(),
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
    lastLine?.wipe()
    interruption.release()
    await packets?.close()
    await scripts.stop()
    await outbox.close()
  }
}

function collect(pair: string, all: Record<string, string> = {}): Record<string, string> {
  const at = pair.indexOf('=')
  if (at < 1) throw new InvalidArgumentError(`Expected NAME=VALUE.`)
  return { ...all, [pair.slice(0, at)]: pair.slice(at + 1) }
}

function list(path: string, all: string[] = []): string[] {
  return [...all, path]
}

interface Readers {
  pipeline: Pipeline
  scripts: Scripts
  interruption: Interruption
  lastLine: LastLine | null
}

/** Returns what ended the packets before their time; throws it when there were none. */
async function read(
  packets: Source,
  demand: 'items' | 'packets' | 'nothing',
  { pipeline, scripts, interruption, lastLine }: Readers,
): Promise<Fault | null> {
  void interruption.requested.then(() => {
    packets.stop()
    scripts.hurry(HURRIED_PATIENCE_MS)
  })
  // A file is read for its summary, if for nothing else.
  const dissect = demand === 'items' || !packets.recorded
  if (packets.recorded && demand === 'nothing') packets.skip()
  let flushed = performance.now()
  let broken: Fault | null = null
  for (;;) {
    try {
      if (!(await packets.load())) break
    } catch (error) {
      if (!(error instanceof Fault) || (pipeline.tally.packets === 0 && !packets.recorded)) throw error
      broken = error
      break
    }
    for (let packet = packets.next(); packet !== null; packet = packets.next()) {
      if (dissect) pipeline.packet(packet)
      scripts.packet(packet)
      if (scripts.pressure !== null) await scripts.relief()
    }
    lastLine?.draw()
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

function show(batch: Batch, { json }: WatchOptions, feed: Feed | null): void {
  if (json) writeAll(1, batch.bytes, 0, batch.length)
  else if (feed) writeText(1, feed.lines(batch))
}
