/** `hookline run`: packets from a file or an interface through the pipeline, to the table, to JSON and to scripts. */
import type { Command } from 'commander'
import { Fault } from '../core/fault.ts'
import { oneCapture, openFile, openInterface, type Source } from './source.ts'
import { addWatchOptions, type WatchOptions, watch } from './watch.ts'

interface Options extends WatchOptions {
  pcap?: string
  interface?: string
  filter?: string
}

export function addRun(program: Command): void {
  const command = program
    .command('run')
    .description('read a capture or an interface, show every item, run scripts on each')
    .argument('[script...]', 'JavaScript or TypeScript files with hooks (`hookline new script` writes one)')
    .option('--pcap <file>', 'pcap or pcapng, also compressed by gzip or zstd; - for standard input', oneCapture)
    .option('-i, --interface <name>', 'capture live; needs root or the capability NET_RAW')
    .option('--filter <expression>', 'with -i: only these packets, as pcap-filter(7) says: "tcp port 80"')
  addWatchOptions(command)
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
      process.exitCode = await watch(scripts, options, source(options))
    })
}

function source({ pcap, interface: name, filter }: Options): () => Promise<Source> {
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
