/** `hookline pcapdump`: packets of a window of time out of one or several rings, as one file. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { Fault } from '../core/fault.ts'
import type { ItemMarks } from '../core/item-marks.ts'
import type { Packet } from '../core/packet.ts'
import { loadProtocols, type Protocols } from '../core/registry.ts'
import { parseItemId } from '../core/stream-name.ts'
import { type Evidence, itemEvidence, streamEvidence } from '../worker/evidence.ts'
import { type Exported, exportPackets, PLAIN, type Write } from '../worker/export.ts'
import { type Keys, readKeyLog } from '../worker/key-log.ts'
import { KEPT_BODY, WORKER } from '../worker/own-items.ts'
import { RingWindow } from '../worker/ring-window.ts'
import { writeWholeFile } from '../worker/whole-file.ts'
import { EXIT } from './exit.ts'
import { Interruption } from './interruption.ts'
import { duration, moment, written } from './moment.ts'
import { ReaderGone, writeAll } from './output.ts'
import { choose, names as namesOf } from './protocols.ts'
import { stateFolder } from './state.ts'
import { counted, grouped, printable, sized } from './terminal.ts'
import { version } from './version.ts'

interface Options {
  time?: bigint
  from?: bigint
  to?: bigint
  dest: string
  filter?: string
  format?: Format
  ring?: string[]
  item?: string
  stream?: string
  with?: string[]
  bodies: boolean
  items: boolean
  keylog?: string
}

type Format = 'pcap' | 'pcapng'

export function addPcapdump(program: Command): void {
  program
    .command('pcapdump')
    .description('write packets out of the ring into one file: of a window of time, a stream or an item')
    .argument('[script...]', 'with --item: the scripts whose dissectors made it, as they were given then')
    .option('--time <duration>', 'the last so much: 90s, 5m, 1h30m', duration)
    .option('--from <time>', 'RFC 3339, seconds since 1970, or "5m ago" (default: the oldest packet)', atTime)
    .option('--to <time>', 'up to before this (default: the newest packet)', atTime)
    .option('--dest <path>', 'a file, a folder for one named by its time, or - for standard output', '.')
    .option('--filter <expression>', 'only these packets, as pcap-filter(7) says: "host 10.0.0.7 and port 80"')
    .option('--item <id>', 'the packets that carried this item, with its id as a comment on the first')
    .option('--stream <name>', 'the packets of this stream, as items name it')
    .option('--with <list>', 'as it was given when the items were shown: it decides their numbers', namesOf)
    .option('--no-bodies', 'as it was given when the items were shown')
    .option('--keylog <file>', 'write the keys of TLS (SSLKEYLOGFILE) that belong to the packets before them')
    .option('--no-items', 'do not write beside packets which items begin in them: faster')
    .option('--format <format>', 'pcapng or pcap (default: as the file is named, else pcapng)', formatNamed)
    .option('--ring <dir>', `folder of a ring; may be given again (default: ${stateFolder('ring')})`, collect)
    .addHelpText(
      'after',
      `
Several rings are merged in order of time. A ring may be read while it is written.

Examples:
  $ hookline pcapdump --time 5m
  $ hookline pcapdump --from 2026-11-21T16:30:00Z --to 2026-11-21T16:31:00Z --dest incident.pcapng
  $ hookline pcapdump --item local/1795236942970057000_5f3a9c01.pcap-3 --dest item.pcapng
  $ hookline pcapdump dissect-statsd.js --item local/1795236942970057000_77c0ffee_udp.pcap-0
  $ hookline pcapdump --time 1h --filter 'tcp port 5432' --dest - | tshark -r -`,
    )
    .action(async (scripts: string[], options: Options) => {
      process.exitCode = await dump(scripts, options)
    })
}

async function dump(scripts: readonly string[], options: Options): Promise<number> {
  const evidence = await evidenceOf(scripts, options)
  try {
    return await dumpWindow(options, evidence)
  } finally {
    evidence?.close()
  }
}

/** null: a window of time is asked for. */
async function evidenceOf(scripts: readonly string[], options: Options): Promise<Evidence | null> {
  const { item, stream } = options
  if (scripts.length > 0 && item === undefined)
    throw new Fault(
      'OPTIONS_CONFLICT',
      `scripts help to find an item that one of them has made, and ${scripts[0]} was given without --item`,
    )
  if (item !== undefined && stream !== undefined)
    throw new Fault('OPTIONS_CONFLICT', '--item names its stream itself: give --item or --stream')
  if (item === undefined && stream === undefined) return null
  for (const name of ['time', 'from', 'to', 'filter'] as const)
    if (options[name] !== undefined)
      throw new Fault(
        'OPTIONS_CONFLICT',
        `--${name} chooses packets, and so does ${item ? '--item' : '--stream'}: give one`,
      )
  const rings = ringsOf(options)
  if (item === undefined) return streamEvidence(rings, stream!)
  const { protocols, keepBodies } = await dissectionOf(options)
  const sought = parseItemId(item)
  const names = protocols.faces.map(({ name }) => name)
  const seeker =
    scripts.length === 0 || sought === null
      ? null
      : await (await import('./script-dissectors.ts')).ScriptDissectors.start(scripts, sought, names, keepBodies)
  try {
    return await itemEvidence(rings, item, protocols, keepBodies, seeker)
  } finally {
    await seeker?.stop()
  }
}

/** How items are found again: as they were shown, or they would have other numbers. */
export async function dissectionOf(options: {
  with?: string[]
  bodies: boolean
}): Promise<{ protocols: Protocols; keepBodies: number }> {
  const protocols = choose(await loadProtocols(), options.with === undefined ? {} : { with: options.with })
  return { protocols, keepBodies: options.bodies ? KEPT_BODY : 0 }
}

/** For each ring of the window; null: nobody wants to know. */
export async function marksOf(
  window: RingWindow,
  options: { with?: string[]; bodies: boolean; items: boolean },
  signal: AbortSignal,
): Promise<ItemMarks[] | null> {
  if (!options.items) return null
  const { protocols, keepBodies } = await dissectionOf(options)
  return window.marks(window.workers.length === 1 ? WORKER : null, protocols, keepBodies, signal)
}

/** Items without a mark, a line if there are any. */
export function unmarkedOf(marks: readonly ItemMarks[] | null): string[] {
  const count = marks?.reduce((sum, { unmarked }) => sum + unmarked, 0) ?? 0
  return count === 0 ? [] : [`${counted(count, 'item')} not marked in the packets: there are too many`]
}

/** For each ring, the keys that belong to its packets; null: nobody wants them. */
export async function keysOf(
  window: RingWindow,
  { keylog }: { keylog?: string },
  signal: AbortSignal,
  evidence: Evidence | null = null,
): Promise<Keys[] | null> {
  if (keylog === undefined) return null
  const protocols = await loadProtocols()
  const wanted = evidence === null ? await window.handshakes(protocols, signal) : [await evidence.handshakes(protocols)]
  return readKeyLog(keylog, wanted)
}

export function secretsOf(keys: Keys | undefined): { kind: string; text: string }[] {
  return keys === undefined || keys.text === '' ? [] : [{ kind: 'TLSK', text: keys.text }]
}

export function toldOfKeys(keys: readonly Keys[] | null): string[] {
  if (keys === null) return []
  const handshakes = keys.reduce((sum, one) => sum + one.handshakes, 0)
  const captured = keys.reduce((sum, one) => sum + one.captured, 0)
  return [
    handshakes === 0
      ? 'no key of the key log belongs to a handshake in these packets: none was written'
      : `with the keys of ${grouped(handshakes)} of ${counted(captured, 'TLS handshake')}: whoever has the file can read what was said`,
  ]
}

async function dumpWindow(options: Options, evidence: Evidence | null): Promise<number> {
  const span = evidence ?? spanOf(options)
  const path = options.dest === '-' ? null : pathOf(options)
  const format = options.format ?? (path?.endsWith('.pcap') ? 'pcap' : 'pcapng')
  if (options.keylog !== undefined && format === 'pcap')
    throw new Fault('OPTIONS_CONFLICT', 'a pcap has no place for keys: leave --keylog out, or write a pcapng')
  if (options.keylog !== undefined && options.item !== undefined)
    throw new Fault(
      'OPTIONS_CONFLICT',
      '--keylog needs the handshake among the packets, which --item leaves out: give --stream',
    )
  const interruption = new Interruption()
  const control = new AbortController()
  void interruption.requested.then(() => control.abort())
  try {
    const rings = evidence === null ? ringsOf(options) : [evidence.ring]
    const window = new RingWindow(
      rings,
      { from: span.from, to: span.to, filter: options.filter ?? null },
      `pcapdump, process ${process.pid}`,
    )
    try {
      const names = format === 'pcapng' ? (await window.names()).flat() : []
      const inputs = evidence === null ? window.inputs : [evidence.input]
      const title = `Hookline ${await version()}`
      const marks = evidence === null && format === 'pcapng' ? await marksOf(window, options, control.signal) : null
      const keys = await keysOf(window, options, control.signal, evidence)
      const secrets = keys?.flatMap(secretsOf) ?? []
      const comment = (packet: Packet, input: number) => evidence?.comment(packet) ?? marks?.[input]?.of(packet) ?? null
      const settings = { ...PLAIN, format, title, names, secrets, comment, signal: control.signal }
      const save = (write: Write) => exportPackets(inputs, settings, write)
      const done = path === null ? await save(toStandardOutput) : await writeWholeFile(path, save)
      process.stderr.write(`${toldOf(done)} -> ${printable(path ?? 'standard output')}\n`)
      const remarks = [
        ...(evidence === null ? await shortRings(window, span.from) : beginningOf(evidence)),
        ...(done.packets === 0 ? [NONE] : []),
        ...lossesOf(done),
        ...unmarkedOf(marks),
        ...toldOfKeys(keys),
      ]
      for (const remark of remarks) process.stderr.write(`${remark}\n`)
    } finally {
      window.close()
    }
    if (interruption.code !== null) process.stderr.write('interrupted: what is written ends early\n')
    return interruption.code ?? EXIT.ok
  } catch (error) {
    // `| head` has seen enough.
    if (error instanceof ReaderGone) return EXIT.ok
    throw error
  } finally {
    interruption.release()
  }
}

const NONE = 'nothing that was recorded is of that time, or passes the filter'

function beginningOf({ whole, from }: Evidence): string[] {
  return whole ? [] : [`its first packets have left the ring: these are those since ${written(from)}`]
}

function toStandardOutput(chunk: Uint8Array): void {
  writeAll(1, chunk, 0, chunk.length)
}

/** ns since 1970. */
export function spanOf(options: { time?: bigint; from?: bigint; to?: bigint }): {
  from: bigint | null
  to: bigint | null
} {
  const { time, from = null, to = null } = options
  if (time !== undefined && from !== null)
    throw new Fault('OPTIONS_CONFLICT', '--time and --from both say where to begin: give one of them')
  if (from !== null && to !== null && from >= to)
    throw new Fault('WINDOW_EMPTY', `--from ${written(from)} is not before --to ${written(to)}`)
  if (time === undefined) return { from, to }
  return { from: (to ?? atTime('now')) - time, to }
}

export function ringsOf({ ring = [] }: { ring?: readonly string[] }): readonly string[] {
  return ring.length > 0 ? ring : [stateFolder('ring')]
}

function pathOf({ dest, format = 'pcapng', to, item, stream }: Options): string {
  const isFolder = dest.endsWith('/') || (existsSync(dest) && statSync(dest).isDirectory())
  const name = item?.split('/').at(-1) ?? stream?.replace(/\.pcap$/, '') ?? `hookline-${stampOf(to)}`
  return isFolder ? join(dest, `${name}.${format}`) : dest
}

/** 20261121T163000Z */
export function stampOf(time: bigint | undefined): string {
  return `${written(time ?? atTime('now'))
    .slice(0, 19)
    .replace(/[-:]/g, '')}Z`
}

export function toldOf({ packets, bytes, first, last }: Exported): string {
  const when = first === null || last === null ? '' : `, ${written(first)} to ${written(last)}`
  return `${counted(packets, 'packet')}, ${sized(bytes)}${when}`
}

/** Rings that do not reach back as far as was asked for, a line each. */
export async function shortRings(window: RingWindow, from: bigint | null): Promise<string[]> {
  const remarks: string[] = []
  for (const [i, first] of (await window.beginnings()).entries()) {
    const ring = `the ring of ${printable(window.workers[i]!)}`
    if (first === null) remarks.push(`${ring} is empty`)
    else if (from !== null && first > from) remarks.push(`${ring} begins at ${written(first)}: there is nothing older`)
  }
  return remarks
}

/** What is not in the file, though it was within the window, a line each. */
export function lossesOf({
  interfaces,
  missed,
  damaged,
}: Pick<Exported, 'interfaces' | 'missed' | 'damaged'>): string[] {
  const remarks: string[] = []
  for (const { name, worker, dropped } of interfaces) {
    const where = printable(worker === null ? name : `${worker}: ${name}`)
    if (dropped !== null && dropped > 0)
      remarks.push(`${where} lost ${counted(dropped, 'packet')} while these were captured`)
  }
  if (missed > 0) remarks.push(`${counted(missed, 'packet')} left the ring before they were read`)
  if (damaged > 0) remarks.push(`${grouped(damaged)} bytes of the ring are damaged and could not be read`)
  return remarks
}

export function atTime(text: string): bigint {
  return moment(text, Date.now())
}

export function collect(path: string, all: string[] = []): string[] {
  return [...all, path]
}

function formatNamed(text: string): Format {
  if (text !== 'pcap' && text !== 'pcapng') throw new InvalidArgumentError('Expected pcap or pcapng.')
  return text
}
