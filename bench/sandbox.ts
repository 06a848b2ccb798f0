/**
 * What scripts cost: CPU of host and sandbox together, a hooked item at a time, for a script that reads two fields of
 * every item, one that reads nothing, and one that writes every item out.
 *
 *   node bench/sandbox.ts [ITEMS]      prints lines `figure <name> <value> <unit>`
 */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import type { Batch } from '../core/batch.ts'
import { ScriptHost } from '../scripting/host.ts'
import { readScript } from '../scripting/script.ts'
import { batchOf, httpItem } from '../scripting/testing/items.ts'

const BATCH = 128
const ITEMS = Math.ceil(Number(process.argv[2] ?? 200_000) / BATCH) * BATCH
const WARM_UP = 160 * BATCH

/** Clock ticks a second in /proc/PID/stat, on every Linux. */
const TICKS = 100

const SCRIPTS = {
  nothing: '// Nothing\nfunction onItemCaptured(data) {}',
  'two-fields': `// Two fields
var failures = 0, slow = 0
function onItemCaptured(data) {
  if (data.response.status >= 500) failures++
  if (data.elapsedTime > 100) slow++
}`,
  headers: `// A header
var agents = {}
function onItemCaptured(data) {
  var agent = data.request.headers['User-Agent']
  agents[agent] = (agents[agent] || 0) + 1
}`,
  whole: `// Whole
var bytes = 0
function onItemCaptured(data) { bytes += JSON.stringify(data).length }`,
}

console.log(`# ${cpus()[0]!.model}, Node ${process.version}, ${ITEMS} items`)
for (const [bodies, bodySize] of [
  ['no-bodies', 0],
  ['3kb-bodies', 3000],
] as const) {
  const batch = batchOf(Array.from({ length: BATCH }, (_, i) => httpItem(i, 'x'.repeat(bodySize))))
  for (const [name, code] of Object.entries(SCRIPTS)) await measure(`${name}/${bodies}`, code, batch)
}

async function measure(name: string, code: string, batch: Batch): Promise<void> {
  const host = await ScriptHost.start({
    scripts: [readScript('bench.js', code)],
    env: {},
    nodeName: 'bench',
    console: line => console.log(`# ${line.level} ${line.text}`),
    failed: error => {
      throw error
    },
    send: () => Promise.reject(new Error('nothing is sent')),
  })
  await hand(host, batch, WARM_UP)
  const child = childCpu(host.pid)
  const own = process.cpuUsage()
  const begun = performance.now()
  await hand(host, batch, ITEMS)
  const seconds = (performance.now() - begun) / 1000
  const { user, system } = process.cpuUsage(own)
  const parentMicros = (user + system) / ITEMS
  const childMicros = ((childCpu(host.pid) - child) * 1e6) / ITEMS
  const seen = (await host.stop())[0]!.itemsSeen
  if (seen !== WARM_UP + ITEMS) throw new Error(`expected ${WARM_UP + ITEMS} items seen, found ${seen}`)
  console.log(`figure ${name}/host ${parentMicros.toFixed(2)} µs/item`)
  console.log(`figure ${name}/sandbox ${childMicros.toFixed(2)} µs/item`)
  console.log(`figure ${name}/total ${(parentMicros + childMicros).toFixed(2)} µs/item`)
  console.log(`figure ${name}/calls-per-cpu-second ${Math.round(1e6 / (parentMicros + childMicros))} calls/s`)
  console.log(`figure ${name}/calls-per-second ${Math.round(ITEMS / seconds)} calls/s`)
}

async function hand(host: ScriptHost, batch: Batch, items: number): Promise<void> {
  for (let at = 0; at < items; at += batch.count) {
    const wait = host.items(batch)
    if (wait !== undefined) await wait
  }
  await host.drain()
}

/** Seconds of CPU that the process has used. */
function childCpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}
