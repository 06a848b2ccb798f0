/**
 * How many packets are lost at which rate, and the CPU it takes: one load by tcpreplay for everybody, one after the other,
 * each alone. Every count is checked: what was sent is what came to the interface, and that is what was recorded and what
 * was lost, by cause. See capture.sh.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { TwoHosts } from '../worker/testing/two-hosts.ts'
import { makeCapture } from './make-capture.ts'
import { figure, HOOKLINE, inFolder, note, versionOf } from './measure.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    rates: { type: 'string', default: '50000,100000,200000' },
    burst: { type: 'string', default: '660000' },
    only: { type: 'string', default: 'hookline,tcpdump,cap,filtering,dissecting' },
  },
})

const WIRE = 'to-client'
const LOADED_PACKETS = 330_000
/** What comes to the interface last is still on its way through buffers. */
const SETTLE_MS = 1500
const RING = '20G'
const SCRIPT = `// Counts.
let count = 0
function onItemCaptured(data) { if (data.response && data.response.status >= 500) count++ }
`

interface Load {
  name: string
  /** Packets a second; null: as fast as it goes. */
  rate: number | null
  packets: number
}

interface Told {
  /** In the files that it wrote. */
  recorded: number
  /** As it says itself, by all causes but the filter; null: it does not say. */
  dropped: number | null
  /** By its filter. */
  filtered: number
  /** As it says itself; null: it does not say. */
  seen: number | null
  /** Where somebody reads what is recorded: how far behind that was at most. */
  behind: { packets: number; seconds: number; read: number; left: number; missed: number } | null
  lines: string[]
}

interface Contender {
  name: string
  command(host: string, folder: string): string[]
  /** It says this on standard error when it captures. */
  ready: RegExp
  told(stderr: string, folder: string): Told
}

const CONTENDERS: readonly Contender[] = [
  {
    name: 'hookline',
    command: (host, folder) => tap(host, folder),
    ready: /^capturing by /m,
    told: tapTold,
  },
  {
    name: 'tcpdump',
    command: (host, folder) =>
      inside(host, ['tcpdump', '-i', WIRE, '-n', '-B', '65536', '-Z', 'root', '-w', `${folder}/it.pcap`]),
    ready: /listening on/,
    told(stderr, folder) {
      const count = (what: string) =>
        Number(new RegExp(`^(\\d+) packets? ${what}`, 'm').exec(stderr)?.[1] ?? Number.NaN)
      return {
        recorded: packetsIn([`${folder}/it.pcap`]),
        seen: count('received by filter'),
        dropped: count('dropped by kernel'),
        filtered: 0,
        behind: null,
        lines: [],
      }
    },
  },
  {
    name: 'cap',
    command: (host, folder) =>
      inside(host, [
        process.execPath,
        fileURLToPath(new URL('cap-writer.ts', import.meta.url)),
        WIRE,
        `${folder}/it.pcap`,
      ]),
    ready: /^ready/m,
    told: (_, folder) => ({
      recorded: packetsIn([`${folder}/it.pcap`]),
      seen: null,
      dropped: null,
      filtered: 0,
      behind: null,
      lines: [],
    }),
  },
  {
    name: 'filtering',
    command: (host, folder) => tap(host, folder, '--filter', 'udp port 53'),
    ready: /^capturing by /m,
    told: tapTold,
  },
  {
    name: 'dissecting',
    command: (host, folder) => {
      writeFileSync(`${folder}/count.js`, SCRIPT)
      return tap(host, folder, `${folder}/count.js`)
    },
    ready: /^capturing by /m,
    told: tapTold,
  },
]

const seconds = Number(values.seconds)
const loads: Load[] = values.rates
  .split(',')
  .map(Number)
  .map(rate => ({ name: `${rate / 1000}k`, rate, packets: rate * seconds }))
loads.push({ name: 'burst', rate: null, packets: Number(values.burst) })

note(`${cpus().length} x ${cpus()[0]?.model}, Node ${process.version}, ${await versionOf(['tcpdump', '--version'])}`)
note(`${seconds} s at each rate, a burst of ${values.burst} packets as fast as tcpreplay sends them`)
const hosts = new TwoHosts('hlbench')
let wrong = 0
/** The group of whoever captures at present. */
let capturing: number | null = null
// Nobody is left behind, however this ends.
process.on('exit', () => {
  if (capturing !== null) process.kill(-capturing, 'SIGKILL')
  hosts.remove()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
await inFolder(async folder => {
  const capture = `${folder}/load.pcap`
  makeCapture(capture, LOADED_PACKETS, 'mix')
  for (const load of loads)
    for (const contender of CONTENDERS.filter(({ name }) => values.only.split(',').includes(name)))
      await run(contender, load, capture, `${folder}/${contender.name}`)
})
if (wrong > 0) {
  note(`${wrong} sums do not hold`)
  process.exitCode = 1
}

async function run(contender: Contender, load: Load, capture: string, folder: string): Promise<void> {
  mkdirSync(folder)
  const report = `${folder}/time`
  const child = spawn(
    '/usr/bin/time',
    ['-q', '-o', report, '-f', '%U %S %M', ...contender.command(hosts.server, folder)],
    {
      // A group of its own: the signal at the end is for all of it.
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, XDG_STATE_HOME: folder },
    },
  )
  let stderr = ''
  const ready = Promise.withResolvers<void>()
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (contender.ready.test(stderr)) ready.resolve()
  })
  capturing = child.pid!
  const closed = once(child, 'close')
  void closed.then(() => ready.reject(new Error(`${contender.name} ended: ${stderr}`)))
  await ready.promise
  await pause(SETTLE_MS)

  const before = cameIn()
  const [sent, took] = replay(capture, load)
  await pause(SETTLE_MS)
  const came = cameIn() - before
  process.kill(-child.pid!, 'SIGINT')
  await closed
  capturing = null

  const { recorded, seen, dropped, filtered, behind, lines } = contender.told(stderr, folder)
  const [user, system, kibibytes] = readFileSync(report, 'utf8').trim().split(' ').map(Number)
  const name = `${contender.name}_${load.name}`
  figure(`${name}_sent`, sent, 'packets')
  figure(`${name}_rate`, sent / took, 'packets/s')
  figure(`${name}_recorded`, recorded, 'packets')
  figure(`${name}_lost`, came - recorded - filtered, 'packets')
  figure(`${name}_cpu`, user! + system!, 's')
  figure(`${name}_resident`, (kibibytes! * 1024) / 1e6, 'MB')
  if (behind !== null) {
    figure(`${name}_behind`, behind.packets, 'packets')
    figure(`${name}_behind_time`, behind.seconds, 's')
    figure(`${name}_missed`, behind.missed, 'packets')
    check(name, 'recorded = read + left + missed', recorded, behind.read + behind.left + behind.missed)
  }
  for (const line of lines) note(`${name}: ${line}`)
  check(name, 'sent = came to the interface', sent, came)
  if (seen !== null) check(name, 'came to the interface = seen', came, seen)
  if (dropped !== null) check(name, 'came = recorded + dropped + filtered', came, recorded + dropped + filtered)
  rmSync(folder, { recursive: true })
}

function check(name: string, what: string, one: number, other: number): void {
  if (one === other) return
  wrong++
  note(`${name}: WRONG: ${what}: ${one} and ${other}`)
}

/** Packets that were sent, and the seconds it took. */
function replay(capture: string, { rate, packets }: Load): [sent: number, seconds: number] {
  const speed = rate === null ? '--topspeed' : `--pps=${rate}`
  const words = ['tcpreplay', '-i', 'to-server', '-K', speed, '--loop=0', `--limit=${packets}`, '--unique-ip', capture]
  const said = execFileSync('ip', ['netns', 'exec', hosts.client, ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [, sent, took] = /^Actual: (\d+) packets .* sent in ([\d.]+) seconds/m.exec(said) ?? []
  return [Number(sent), Number(took)]
}

/** Packets that came to the interface since it is there. */
function cameIn(): number {
  const [wire] = JSON.parse(
    execFileSync('ip', ['-n', hosts.server, '-j', '-s', 'link', 'show', WIRE], { encoding: 'utf8' }),
  )
  return wire.stats64.rx.packets
}

function inside(host: string, command: string[]): string[] {
  return ['ip', 'netns', 'exec', host, ...command]
}

function tap(host: string, folder: string, ...more: string[]): string[] {
  const where = ['-i', WIRE, '--namespace', `/run/netns/${host}`, '--ring', `${folder}/ring`, '--ring-size', RING]
  return [HOOKLINE, 'tap', ...more, '-q', ...where]
}

/** `captured: 46 seen = 40 recorded + 4 dropped by the kernel + 2 filtered out` */
function tapTold(stderr: string, folder: string): Told {
  const line = /^captured: ([\d ]+) seen = ([\d ]+) recorded(.*)$/m.exec(stderr)
  if (line === null) throw new Error(stderr)
  const causes = [...line[3]!.matchAll(/\+ ([\d ]+) ([^+]+)/g)]
  const sum = (some: typeof causes) => some.reduce((all, [, count]) => all + number(count!), 0)
  const filtered = causes.filter(([, , cause]) => cause!.startsWith('filtered'))
  const read =
    /^reader: ([\d ]+) packets? read, ([\d ]+) left in the ring, ([\d ]+) missed; at most ([\d ]+) packets?, ([\d.]+) s behind$/m.exec(
      stderr,
    )
  const segments = readdirSync(`${folder}/ring`).filter(name => /^\d.*\.pcapng$/.test(name))
  return {
    recorded: packetsIn(segments.map(name => `${folder}/ring/${name}`)),
    seen: number(line[1]!),
    dropped: sum(causes) - sum(filtered),
    filtered: sum(filtered),
    behind:
      read === null
        ? null
        : {
            read: number(read[1]!),
            left: number(read[2]!),
            missed: number(read[3]!),
            packets: number(read[4]!),
            seconds: Number(read[5]),
          },
    lines: stderr.split('\n').filter(text => /^(captured|ring|reader|script|HTTP|the kernel|\[)/.test(text)),
  }
}

function number(text: string): number {
  return Number(text.replaceAll(' ', ''))
}

function packetsIn(files: readonly string[]): number {
  if (files.length === 0) return 0
  const said = execFileSync('capinfos', ['-Mc', ...files], { encoding: 'utf8' })
  return [...said.matchAll(/^Number of packets: +(\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0)
}
