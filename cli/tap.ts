/** `hookline tap`: records what passes into a ring, and shows it, and runs scripts on it, as far as somebody asks. */
import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { parseAddress } from '../core/address.ts'
import { Fault } from '../core/fault.ts'
import { type CaptureName, MOST_FANOUT } from '../worker/capture.ts'
import { CAPTURES } from '../worker/sources/choice.ts'
import { openRing } from './ring-source.ts'
import { oneCapture, openFile, type Source, wireOptions } from './source.ts'
import { stateFolder } from './state.ts'
import { addWatchOptions, type WatchOptions, watch } from './watch.ts'

interface Options extends WatchOptions {
  pcap?: string
  interface?: 'any' | string[]
  capture?: 'best' | CaptureName
  filter?: string
  address?: string[]
  namespace?: string
  ring?: string
  ringSize?: number
  ringAge?: number
  sample?: number
  fanout?: number
  own?: true
  hardwareTimes?: true
  dissect: boolean
}

const RING_BYTES = 1e9
const RING_SECONDS = 24 * 3600
/** What exports and dashboards may keep from being dropped, as a part of the ring. */
const PINNED = 0.5

export function addTap(program: Command): void {
  const command = program
    .command('tap')
    .description('record what passes on interfaces into a ring, show every item, run scripts on each')
    .argument('[script...]', 'JavaScript or TypeScript files with hooks (`hookline new script` writes one)')
    .option('-i, --interface <names>', 'eth0, or eth0,eth1, or any; needs root (default: any)', interfaces)
    .option('--pcap <file>', 'open what was recorded instead: pcap, pcapng, or a snapshot (.tar.gz)', oneCapture)
    .option('--capture <name>', `${CAPTURES.join('|')} (default: best)`, capture)
    .option('--filter <expression>', 'record only these packets, as pcap-filter(7) says: "tcp port 80"')
    .option('--address <list>', 'record only packets from or to these IP addresses; may be given again', addresses)
    .option('--namespace <path>', 'of another network: blue, /run/netns/blue, or the id of a process in it', namespace)
    .option('--ring <dir>', `where packets are kept (default: ${stateFolder('ring')})`)
    .option('--ring-size <size>', 'as 500M or 10G; the oldest packets go first (default: 1G)', size)
    .option('--ring-age <age>', 'as 30m, 24h or 7d (default: 24h)', age)
    .option('--sample <percent>', 'record so many of a hundred flows, each whole', percent)
    .option(
      '--fanout <n>',
      `sockets and threads that share the packets of an interface, up to ${MOST_FANOUT} (default: 1)`,
      threads,
    )
    .option('--own', 'also what Hookline itself sends and receives')
    .option('--hardware-times', 'by the network card, where it stamps packets and its clock is kept right')
    .option('--no-dissect', 'only record: no table (scripts still see what they have hooks for)')
  addWatchOptions(command)
    .addHelpText(
      'after',
      `
Nothing is understood that nobody asks for: with -q and without scripts packets are only recorded.

Examples:
  $ sudo hookline tap
  $ sudo hookline tap -i eth0,eth1 --filter 'not port 22' --ring-size 10G --ring-age 7d
  $ sudo hookline tap alert-on-5xx.js -q --namespace 4242
  $ hookline tap --pcap snapshot.tar.gz`,
    )
    .action(async (scripts: string[], options: Options) => {
      const { quiet, dissect } = options
      const shown = quiet || !dissect ? { ...options, quiet: true as const } : options
      process.exitCode = await watch(scripts, shown, source(options))
    })
}

function source(options: Options): () => Promise<Source> {
  const { pcap, json, dissect } = options
  if (json && !dissect)
    throw new Fault('OPTIONS_CONFLICT', '--json prints every item and --no-dissect makes none: give one of them')
  if (pcap === undefined) return () => openRing(recorderOf(options))
  const recording = RECORDING.filter(name => options[name] !== undefined).map(optionOf)
  if (recording.length > 0)
    throw new Fault(
      'OPTIONS_CONFLICT',
      `--pcap opens what is recorded already, and how to record is told by ${recording.join(', ')}: give one or the other`,
    )
  return () => openFile(pcap)
}

const RECORDING = [
  'interface',
  'capture',
  'filter',
  'address',
  'namespace',
  'ring',
  'ringSize',
  'ringAge',
  'sample',
  'fanout',
  'own',
  'hardwareTimes',
] as const

function optionOf(name: string): string {
  return name === 'interface' ? '-i' : `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`
}

function recorderOf(options: Options) {
  const { ringSize: bytes = RING_BYTES, ringAge = RING_SECONDS } = options
  return {
    wanted: options.capture ?? 'best',
    directory: options.ring ?? stateFolder('ring'),
    limits: { bytes, age: ringAge, pinnedBytes: Math.floor(bytes * PINNED) },
    capture: {
      ...wireOptions('any', options.filter ?? ''),
      interfaces: options.interface ?? 'any',
      namespace: options.namespace ?? null,
      addresses: options.address ?? null,
      own: options.own === true,
      hardwareTimes: options.hardwareTimes === true,
      samplePercent: options.sample ?? 100,
      fanout: options.fanout ?? 1,
    },
  } as const
}

function interfaces(text: string): 'any' | string[] {
  return text === 'any' ? 'any' : listed(text, 'names of interfaces between commas: eth0,eth1')
}

/** Its path. */
function namespace(text: string): string {
  const isProcess = /^\d+$/.test(text)
  const path = isProcess ? `/proc/${text}/ns/net` : text.includes('/') ? text : `/run/netns/${text}`
  if (existsSync(path)) return path
  throw new InvalidArgumentError(isProcess ? 'No such process is here.' : `There is no network namespace at ${path}.`)
}

function capture(text: string): 'best' | CaptureName {
  const found = CAPTURES.find(name => name === text)
  if (found === undefined) throw new InvalidArgumentError(`Expected one of ${CAPTURES.join(', ')}.`)
  return found
}

function addresses(text: string, before: string[] = []): string[] {
  const found = listed(text, 'IP addresses between commas: 10.0.0.1,fe80::1')
  const wrong = found.find(address => parseAddress(address) === null)
  if (wrong !== undefined) throw new InvalidArgumentError(`Expected IP addresses, found ${wrong}.`)
  return [...before, ...found]
}

function listed(text: string, expected: string): string[] {
  const found = text.split(',').map(name => name.trim())
  if (found.includes('')) throw new InvalidArgumentError(`Expected ${expected}.`)
  return found
}

const SIZES: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, G: 1e9, T: 1e12 }

/** Bytes. */
function size(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT])i?B?$/i.exec(text) ?? []
  if (digits === undefined) throw new InvalidArgumentError('Expected a size as 500M or 10G.')
  return Math.round(Number(digits) * SIZES[unit!.toUpperCase()]!)
}

const AGES: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** Seconds. */
function age(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text) ?? []
  if (digits === undefined || Number(digits) === 0) throw new InvalidArgumentError('Expected an age as 30m, 24h or 7d.')
  return Number(digits) * AGES[unit!]!
}

function threads(text: string): number {
  const value = Number(text)
  if (!(Number.isInteger(value) && value >= 1 && value <= MOST_FANOUT))
    throw new InvalidArgumentError(`Expected a number of threads, from 1 to ${MOST_FANOUT}.`)
  return value
}

function percent(text: string): number {
  const found = Number(text)
  if (!(found > 0 && found <= 100)) throw new InvalidArgumentError('Expected a number above 0, up to 100.')
  return found
}
