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

const KINDS: readonly Kind[] = ['http', 'mix']
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
for (const kind of KINDS) {
  await inFolder(async folder => {
    const capture = `${folder}/${kind}.pcap`
    const made = makeCapture(capture, Number(values.packets), kind)
    const { http, dns, redis } = made.messages
    note(`${made.packets} packets, ${made.bytes} bytes, transactions: ${http} HTTP, ${dns} DNS, ${redis} Redis`)
    const contenders = [
      ...hookline(kind, capture),
      ...(await suricata(kind, capture, folder)),
      ...(await tshark(kind, folder, made)),
    ]
    await compareCounts(contenders, made)
    report(kind, contenders, await race(contenders), made)
  })
}
if (values.long) await inFolder(flatness)

/** `mix` has DNS and Redis, too. What is compared is the number of HTTP transactions: the others are counted differently. */
type Kind = 'http' | 'mix'

function hookline(kind: Kind, capture: string): Contender[] {
  const bodies = [HOOKLINE, 'run', '--pcap', capture, '--json']
  const noBodies = [...bodies, '--no-bodies']
  return [
    { name: `${kind}_nobodies`, command: noBodies, count: () => countLines(noBodies, '"macro":"http"'), share: 1 },
    { name: `${kind}_bodies`, command: bodies, count: () => countLines(bodies, '"macro":"http"'), share: 1 },
  ]
}

/** Its own configuration, which writes all of EVE; no rules. */
async function suricata(kind: Kind, capture: string, folder: string): Promise<Contender[]> {
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
  return [{ name: `${kind}_suricata`, command, count, share: 1 }]
}

async function tshark(kind: Kind, folder: string, whole: Made): Promise<Contender[]> {
  const version = await versionOf(['tshark', '--version'])
  if (version === null) {
    note('tshark is not installed')
    return []
  }
  const slice = `${folder}/slice.pcap`
  const made = makeCapture(slice, Math.round(whole.packets * TSHARK_SHARE), kind)
  const share = made.messages.http / whole.messages.http
  note(`${version}: reads ${made.packets} packets, its time is stretched to ${whole.packets}`)
  const fields = ['http.request.method', 'http.request.uri', 'http.response.code'].flatMap(field => ['-e', field])
  const command = ['tshark', '-n', '-r', slice, '-Y', 'http', '-T', 'fields', ...fields]
  // One line a message; a response has no method.
  const count = () =>
    countLines([...command.slice(0, 4), '-Y', 'http.response', '-T', 'fields', '-e', 'frame.number'], '')
  return [{ name: `${kind}_tshark`, command, count, share }]
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

function report(kind: Kind, contenders: Contender[], costs: Map<string, Cost[]>, made: Made): void {
  const { http, dns, redis } = made.messages
  const cpu = (name: string) => median(costs.get(name)!.map(cost => cost.cpu))
  for (const { name, share } of contenders) {
    const runs = costs.get(name)!
    figure(`${name}_cpu`, cpu(name) / share, 's')
    figure(`${name}_wall`, median(runs.map(({ wall }) => wall)) / share, 's')
    figure(`${name}_resident`, Math.max(...runs.map(({ resident }) => resident)), 'MB')
    figure(`${name}_transactions_per_cpu_second`, ((http + dns + redis) * share) / cpu(name), 'transactions/s')
  }
  for (const peer of ['suricata', 'tshark']) {
    const found = contenders.find(({ name }) => name === `${kind}_${peer}`)
    if (found === undefined) continue
    for (const own of [`${kind}_nobodies`, `${kind}_bodies`])
      figure(`${own}_cpu_ratio_${peer}`, cpu(own) / (cpu(found.name) / found.share), 'x')
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
