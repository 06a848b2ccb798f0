/**
 * What it costs to turn a capture into JSON, beside Suricata and tshark: the same file, equal counts first, then rounds in
 * which everybody runs once, so that a noisy minute meets all.
 *
 *   node bench/dissect.ts [--packets N] [--long]      prints lines `figure <name> <value> <unit>`
 */
import { statSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { type Made, makeCapture } from './make-capture.ts'
import { type Cost, countLines, figure, HOOKLINE, inFolder, measure, median, note, versionOf } from './measure.ts'

const { values } = parseArgs({
  options: {
    packets: { type: 'string', default: '500000' },
    /** Also 100 MB beside 2 GB: two more minutes, and the room on the disk. */
    long: { type: 'boolean', default: false },
  },
})

const ROUNDS = 3
/** tshark needs 20 s of CPU for what the others do in one: it reads a slice, and its figure is stretched. */
const TSHARK_SHARE = 0.1
const BYTES_A_PACKET = 641

interface Contender {
  name: string
  command: string[]
  /** Transactions that it found, to be compared before its time is. */
  count(): Promise<number>
  /** What it reads, as a share of the whole. */
  share: number
}

note(`${cpus()[0]?.model}, Node ${process.version}`)
await inFolder(async folder => {
  const capture = `${folder}/http.pcap`
  const made = makeCapture(capture, Number(values.packets), 'http')
  note(`${made.packets} packets, ${made.bytes} bytes, ${made.messages.http} HTTP transactions`)
  const contenders = [...hookline(capture), ...(await suricata(capture, folder)), ...(await tshark(folder, made))]
  await compareCounts(contenders, made)
  const costs = await race(contenders)
  report(contenders, costs, made)
  if (values.long) await flatness(folder)
})

function hookline(capture: string): Contender[] {
  const bodies = [HOOKLINE, 'run', '--pcap', capture, '--json']
  const noBodies = [...bodies, '--no-bodies']
  return [
    { name: 'http_nobodies', command: noBodies, count: () => countLines(noBodies, '"elapsedTime":'), share: 1 },
    { name: 'http_bodies', command: bodies, count: () => countLines(bodies, '"elapsedTime":'), share: 1 },
  ]
}

/** Its own configuration, which writes all of EVE; no rules. */
async function suricata(capture: string, folder: string): Promise<Contender[]> {
  const version = await versionOf(['suricata', '-V'])
  if (version === null) {
    note('suricata is not installed (Debian: bookworm-backports): no ratio')
    return []
  }
  note(version)
  const command = ['suricata', '--runmode', 'single', '-k', 'none', '-S', '/dev/null', '-l', folder, '-r', capture]
  const eve = `${folder}/eve.json`
  const count = async () => {
    await measure(['rm', '-f', eve])
    await measure(command)
    return countLines(['cat', eve], '"event_type":"http"')
  }
  return [{ name: 'suricata', command, count, share: 1 }]
}

async function tshark(folder: string, whole: Made): Promise<Contender[]> {
  const version = await versionOf(['tshark', '--version'])
  if (version === null) {
    note('tshark is not installed')
    return []
  }
  const slice = `${folder}/slice.pcap`
  const made = makeCapture(slice, Math.round(whole.packets * TSHARK_SHARE), 'http')
  const share = made.messages.http / whole.messages.http
  note(`${version}: reads ${made.packets} packets, its time is stretched to ${whole.packets}`)
  const fields = ['http.request.method', 'http.request.uri', 'http.response.code'].flatMap(field => ['-e', field])
  const command = ['tshark', '-n', '-r', slice, '-Y', 'http', '-T', 'fields', ...fields]
  // One line a message; a response has no method.
  const count = () =>
    countLines([...command.slice(0, 4), '-Y', 'http.response', '-T', 'fields', '-e', 'frame.number'], '')
  return [{ name: 'tshark', command, count, share }]
}

async function compareCounts(contenders: Contender[], made: Made): Promise<void> {
  for (const { name, count, share } of contenders) {
    const expected = Math.round(made.messages.http * share)
    const found = await count()
    figure(`${name}_transactions`, found, 'transactions')
    if (found !== expected)
      note(`${name}: expected ${expected} transactions, found ${found}: its figures are not comparable`)
  }
}

async function race(contenders: Contender[]): Promise<Map<string, Cost[]>> {
  const costs = new Map<string, Cost[]>(contenders.map(({ name }) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, command, share } of contenders) {
      if (share < 1 && round > 0) continue
      costs.get(name)!.push(await measure(command))
    }
  }
  return costs
}

function report(contenders: Contender[], costs: Map<string, Cost[]>, made: Made): void {
  const cpu = (name: string) => median(costs.get(name)!.map(cost => cost.cpu))
  for (const { name, share } of contenders) {
    const runs = costs.get(name)!
    figure(`${name}_cpu`, cpu(name) / share, 's')
    figure(`${name}_wall`, median(runs.map(({ wall }) => wall)) / share, 's')
    figure(`${name}_resident`, Math.max(...runs.map(({ resident }) => resident)), 'MB')
    figure(`${name}_transactions_per_cpu_second`, (made.messages.http * share) / cpu(name), 'transactions/s')
  }
  for (const peer of ['suricata', 'tshark']) {
    if (!costs.has(peer)) continue
    const share = contenders.find(({ name }) => name === peer)!.share
    for (const own of ['http_nobodies', 'http_bodies']) {
      figure(`${own}_cpu_ratio_${peer}`, cpu(own) / (cpu(peer) / share), 'x')
    }
  }
}

/** Resident size must not follow the size of the input. */
async function flatness(folder: string): Promise<void> {
  for (const megabytes of [100, 2000]) {
    const capture = `${folder}/${megabytes}.pcap`
    makeCapture(capture, Math.round((megabytes * 1e6) / BYTES_A_PACKET), 'http')
    const { resident, cpu } = await measure([HOOKLINE, 'run', '--pcap', capture, '--json'])
    figure(`input_${megabytes}mb_size`, statSync(capture).size / 1e6, 'MB')
    figure(`input_${megabytes}mb_cpu`, cpu, 's')
    figure(`input_${megabytes}mb_resident`, resident, 'MB')
    await measure(['rm', capture])
  }
}
