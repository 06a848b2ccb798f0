/** `hookline doctor`: what works on this machine, and what each thing that does not needs. */
import type { Command } from 'commander'
import { DEFAULT_BUFFER_BYTES } from '../worker/capture.ts'
import { diagnose, type Finding, isHealthy } from '../worker/diagnosis.ts'
import { EXIT } from './exit.ts'
import { defaultSpool } from './outbox.ts'
import { stateFolder } from './state.ts'
import { lookOf, type Paint, paint, printable } from './terminal.ts'

interface Options {
  json?: true
  ring: string
  spool: string
  namespace?: string
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('what works on this machine, and what the rest needs')
    .option('--json', 'for programs')
    .option('--ring <dir>', 'the ring to look at', stateFolder('ring'))
    .option('--spool <dir>', 'the spool to look at', defaultSpool())
    .option(
      '--namespace <path>',
      'whether another network can be captured: /run/netns/blue, or the id of a process in it',
    )
    .addHelpText(
      'after',
      `
Ends with 0 when packets can be captured and recorded, scripts run, and what they send is kept; with 2 otherwise.

Examples:
  $ sudo hookline doctor
  $ sudo hookline doctor --json | jq '.findings[] | select(.state != "works")'`,
    )
    .action(async (options: Options) => {
      process.exitCode = await examine(options)
    })
}

const MARKS: Readonly<Record<Finding['state'], [mark: string, colour: Paint]>> = {
  works: ['✓', 'green'],
  limited: ['!', 'yellow'],
  missing: ['–', 'dim'],
  fails: ['✗', 'red'],
}
const NAME_COLUMNS = 11

async function examine({ json, ring, spool, namespace }: Options): Promise<number> {
  const findings = await diagnose(
    { ring, spool },
    {
      interfaces: 'any',
      namespace: namespace === undefined ? null : /^\d+$/.test(namespace) ? `/proc/${namespace}/ns/net` : namespace,
      filter: '',
      addresses: null,
      promiscuous: false,
      bufferBytes: DEFAULT_BUFFER_BYTES,
      fanout: 1,
      own: false,
      samplePercent: 100,
      deduplicate: false,
    },
  )
  const works = isHealthy(findings)
  if (json) console.log(JSON.stringify({ works, findings }))
  else for (const finding of findings) console.log(line(finding, lookOf(1).depth))
  return works ? EXIT.ok : EXIT.input
}

function line({ name, state, says }: Finding, depth: number): string {
  const [mark, colour] = MARKS[state]
  return `${paint(mark, colour, depth)} ${name.padEnd(NAME_COLUMNS)} ${printable(says)}`
}
