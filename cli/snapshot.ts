/** `hookline snapshot`: a window of time of one or several rings as one tar.gz that never changes. */
import { chmodSync, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { Fault } from '../core/fault.ts'
import { RingWindow } from '../worker/ring-window.ts'
import { writeSnapshot } from '../worker/snapshot.ts'
import { writeWholeFile } from '../worker/whole-file.ts'
import { EXIT } from './exit.ts'
import { Interruption } from './interruption.ts'
import { duration } from './moment.ts'
import {
  atTime,
  collect,
  keysOf,
  lossesOf,
  marksOf,
  ringsOf,
  secretsOf,
  shortRings,
  spanOf,
  stampOf,
  toldOfKeys,
  unmarkedOf,
} from './pcapdump.ts'
import { names as namesOf } from './protocols.ts'
import { stateFolder } from './state.ts'
import { counted, printable } from './terminal.ts'
import { version } from './version.ts'

interface Options {
  time?: bigint
  from?: bigint
  to?: bigint
  dest?: string
  filter?: string
  ring?: string[]
  with?: string[]
  bodies: boolean
  items: boolean
  keylog?: string
}

export function addSnapshot(program: Command): void {
  program
    .command('snapshot')
    .description('keep a window of time of the ring as one tar.gz with its packets, names and a manifest')
    .option('--time <duration>', 'the last so much: 90s, 5m, 1h30m', duration)
    .option('--from <time>', 'RFC 3339, seconds since 1970, or "5m ago" (default: the oldest packet)', atTime)
    .option('--to <time>', 'up to before this (default: the newest packet)', atTime)
    .option('--filter <expression>', 'only these packets, as pcap-filter(7) says')
    .option('--dest <file>', 'a file that is not there yet, or a folder for one named by its time (default: here)')
    .option('--with <list>', 'as it was given when the items were shown: it decides their numbers', namesOf)
    .option('--no-bodies', 'as it was given when the items were shown')
    .option('--keylog <file>', 'with the keys of TLS (SSLKEYLOGFILE) that belong to the packets')
    .option('--no-items', 'do not write beside packets which items begin in them: faster')
    .option('--ring <dir>', `folder of a ring; may be given again (default: ${stateFolder('ring')})`, collect)
    .addHelpText(
      'after',
      `
Examples:
  $ hookline snapshot --from '10m ago' --to '5m ago'
  $ hookline snapshot --time 1h --ring /var/node-a/ring --ring /var/node-b/ring --dest incident.tar.gz
  $ hookline run --pcap incident.tar.gz`,
    )
    .action(async (options: Options) => {
      process.exitCode = await snapshot(options)
    })
}

async function snapshot(options: Options): Promise<number> {
  const { filter = null } = options
  const span = spanOf(options)
  const path = pathOf(options)
  if (existsSync(path))
    throw new Fault(
      'SNAPSHOT_EXISTS',
      `expected a new file for the snapshot, found one at ${path}: it is never changed`,
    )
  const interruption = new Interruption()
  const control = new AbortController()
  void interruption.requested.then(() => control.abort())
  try {
    const window = new RingWindow(ringsOf(options), { ...span, filter }, `snapshot, process ${process.pid}`)
    try {
      const names = await window.names()
      const marks = await marksOf(window, options, control.signal)
      const keys = await keysOf(window, options, control.signal)
      const workers = window.inputs.map((input, i) => ({
        name: window.workers[i]!,
        input,
        names: names[i]!,
        marks: marks?.[i] ?? null,
        secrets: secretsOf(keys?.[i]),
      }))
      const about = {
        program: `Hookline ${await version()}`,
        created: Date.now(),
        window: { from: textOf(span.from), to: textOf(span.to), filter },
      }
      const made = await writeWholeFile(path, write => writeSnapshot(workers, about, write, control.signal))
      chmodSync(path, 0o400)
      const of = counted(made.workers.length, 'worker')
      process.stderr.write(`${counted(made.packets, 'packet')} of ${of} -> ${printable(path)}\n`)
      const remarks = [
        ...(await shortRings(window, span.from)),
        ...made.workers.flatMap(lossesOf),
        ...unmarkedOf(marks),
        ...toldOfKeys(keys),
      ]
      for (const remark of remarks) process.stderr.write(`${remark}\n`)
      return EXIT.ok
    } finally {
      window.close()
    }
  } catch (error) {
    if (interruption.code === null || !(error instanceof Fault)) throw error
    process.stderr.write(`hookline: ${error.message}\n`)
    return interruption.code
  } finally {
    interruption.release()
  }
}

function pathOf({ dest = '.', to }: Options): string {
  if (dest === '-')
    throw new Fault('SNAPSHOT_TO_NOBODY', 'a snapshot is a file that never changes: give --dest FILE or a folder')
  const isFolder = dest.endsWith('/') || (existsSync(dest) && statSync(dest).isDirectory())
  return isFolder ? join(dest, `hookline-${stampOf(to)}.tar.gz`) : dest
}

function textOf(time: bigint | null): string | null {
  return time === null ? null : String(time)
}
