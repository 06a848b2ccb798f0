/**
 * What a script costs that reads two fields of every item: `run --pcap` with it and without it, in turns, the sandbox
 * process counted in. bench/sandbox.ts shows where inside that time goes.
 *
 *   node bench/hooks.ts [--packets N]… [--pairs N]      prints lines `figure <name> <value> <unit>`
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { makeCapture } from './make-capture.ts'
import { type Cost, countLines, figure, HOOKLINE, inFolder, measure, median, note } from './measure.ts'

const { values } = parseArgs({
  options: {
    packets: { type: 'string', multiple: true, default: ['500000', '2000000'] },
    pairs: { type: 'string', default: '5' },
  },
})

const TOLD_EVERY = 1000

const SCRIPT = `// Counts server errors and slow answers.
let failures = 0, slow = 0, items = 0
function onItemCaptured(item) {
  items++
  if (item.response.status >= 500) failures++
  if (item.elapsedTime > 100) slow++
  if (items % ${TOLD_EVERY} === 0) console.log('seen', items, failures, slow)
}
`

note(`${cpus()[0]?.model}, Node ${process.version}`)
// Short captures show what a start costs, long ones what an item costs.
for (const packets of values.packets.map(Number)) await inFolder(folder => compare(folder, packets))

async function compare(folder: string, packets: number): Promise<void> {
  const capture = `${folder}/http.pcap`
  const made = makeCapture(capture, packets, 'http')
  const count = made.messages.http
  const script = `${folder}/two-fields.js`
  writeFileSync(script, SCRIPT)
  const base = [HOOKLINE, 'run', '--pcap', capture, '--json']
  const hooked = [HOOKLINE, 'run', script, '--pcap', capture, '--json']
  figure(`items_${count}_without_script`, await countLines(base, '"elapsedTime":'), 'items')
  figure(`items_${count}_with_script`, await countLines(hooked, '"elapsedTime":'), 'items')
  const told = await countLines(['sh', '-c', 'exec "$0" "$@" 2>&1 >/dev/null', ...hooked], ' seen ')
  figure(`items_${count}_calls_at_least`, told * TOLD_EVERY, 'calls')

  for (const [name, output] of [
    ['table', []],
    ['json', ['--json']],
  ] as const) {
    const without: Cost[] = []
    const with_: Cost[] = []
    for (let pair = 0; pair < Number(values.pairs); pair++) {
      without.push(await measure([HOOKLINE, 'run', '--pcap', capture, ...output]))
      with_.push(await measure([HOOKLINE, 'run', script, '--pcap', capture, ...output]))
    }
    const [a, b] = [without, with_].map(costs => median(costs.map(({ cpu }) => cpu))) as [number, number]
    figure(`run_${name}_${count}_cpu`, a, 's')
    figure(`run_${name}_${count}_with_script_cpu`, b, 's')
    figure(
      `script_added_to_${name}_${count}`,
      median(with_.map(({ cpu }, i) => (100 * (cpu - without[i]!.cpu)) / without[i]!.cpu)),
      '%',
    )
    figure(`script_added_to_${name}_${count}_per_item`, ((b - a) * 1e9) / count, 'ns')
    figure(`calls_per_cpu_second_added_to_${name}_${count}`, count / (b - a), 'calls/s')
  }
}
