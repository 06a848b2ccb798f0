/** The command line: finds the command, and turns what went wrong into one line and an exit code. */
import { Command, CommanderError } from 'commander'
import { Fault } from '../core/fault.ts'
import { EXIT } from './exit.ts'
import { printable } from './terminal.ts'

type Add = (program: Command) => void

/** In the order of the help. Loaded when they are asked for: what the others import would double the start of `run`. */
const COMMANDS: Readonly<Record<string, () => Promise<Add>>> = {
  run: async () => (await import('./run.ts')).addRun,
  tap: async () => (await import('./tap.ts')).addTap,
  new: async () => (await import('./new.ts')).addNew,
  replay: async () => (await import('./replay.ts')).addReplay,
  pcapdump: async () => (await import('./pcapdump.ts')).addPcapdump,
  snapshot: async () => (await import('./snapshot.ts')).addSnapshot,
  spool: async () => (await import('./spool.ts')).addSpool,
  doctor: async () => (await import('./doctor.ts')).addDoctor,
  demo: async () => (await import('./demo.ts')).addDemo,
  version: async () => (await import('./version.ts')).addVersion,
}

/** Only a run that is asked for it reads it. */
const version = process.argv.some(word => word === '-V' || word === '--version')
  ? await (await import('./version.ts')).described()
  : ''
const program = new Command('hookline')
  .description('See every request on the wire, act on it with JavaScript.')
  .version(version, '-V, --version', 'print the version')
  .exitOverride()
  .configureOutput({ outputError: () => {} })
  .showSuggestionAfterError()
  .addHelpText(
    'after',
    `
Examples:
  $ hookline run --pcap traffic.pcap                          every request and its answer, as a table
  $ hookline run --pcap traffic.pcap.gz --json | jq .elapsedTime
  $ hookline new script slow                                  writes slow.js, a starter with every hook
  $ hookline run slow.js --pcap traffic.pcap
  $ sudo hookline run slow.js -i eth0                         the same, live
  $ sudo hookline tap                                         records, and shows what passes
  $ hookline replay traffic.pcap --to 127.0.0.1:8080          the same requests again; what is answered otherwise
  $ hookline demo                                             a small shop, and what two scripts make of it

Exit codes: 0 done, 1 a bug in Hookline (of replay: answers differ), 2 wrong usage or input, 3 a script failed, 4 alerts undelivered,
130 interrupted.`,
  )
const asked = process.argv[2] ?? ''
// The help lists them all, and a word that is none of them is compared with all.
for (const load of Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]!] : Object.values(COMMANDS))
  (await load())(program)

// `2>&1 | head`: nobody reads what we have to say, which is no reason to fail.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {})

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = report(error)
}

/** Says it in one line on standard error, whatever strangers' words are in it. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0 || error.code === 'commander.help') return error.exitCode === 0 ? EXIT.ok : EXIT.input
    return complain(error.message.replace(/^error: /, ''), EXIT.input)
  }
  if (error instanceof Fault) return complain(error.message, EXIT.input)
  console.error(error)
  return complain('this is a bug in Hookline, and the lines above say where', EXIT.bug)
}

function complain(message: string, code: number): number {
  console.error(`hookline: ${printable(message.replace(/\s*\n\s*/g, ' '))}`)
  return code
}
