/**
 * What scripts cost: CPU of host and sandbox together, a hooked item at a time, for a script that reads two fields of
 * every item, one that reads nothing, and one that writes every item out.
 *
 *   node bench/sandbox.ts [ITEMS]      prints lines `figure <name> <value> <unit>`
 */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type Batch, SPANS } from '../core/batch.ts'
import { ScriptHost } from '../scripting/host.ts'
import { readScript } from '../scripting/script.ts'

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
  const batch = httpBatch(bodySize)
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

function httpBatch(bodySize: number): Batch {
  const parts: Buffer[] = []
  const starts = new Int32Array(BATCH + 1)
  const spans = new Int32Array(BATCH * SPANS).fill(-1)
  let at = 0
  for (let i = 0; i < BATCH; i++) {
    const item = httpItem(i, bodySize)
    const text = JSON.stringify(item)
    const request = text.indexOf(',"request":') + 11
    const response = text.indexOf(',"response":') + 12
    const tail = text.indexOf(',"requestSize":')
    const body = text.indexOf('"text":', response) + 7
    const bodyEnd = text.indexOf('"},"redirectURL"', body) + 1
    spans.set(
      [request, response - 12, response, tail, -1, -1, body, bodyEnd].map(n => (n < 0 ? n : n + at)),
      i * SPANS,
    )
    parts.push(Buffer.from(`${text}\n`))
    at += text.length + 1
    starts[i + 1] = at
  }
  return { bytes: Buffer.concat(parts), length: at, count: BATCH, starts, spans }
}

function httpItem(i: number, bodySize: number): object {
  const end = (ip: string, port: string): object => ({
    ip,
    port,
    name: null,
    namespace: null,
    pod: null,
    endpointSlice: null,
    service: null,
    processId: null,
    processName: null,
    resolutionMechanism: 'none',
  })
  return {
    id: `worker-1/${1000 + i}-${i}`,
    index: i,
    stream: `00000000${1000 + i}.pcap`,
    worker: 'worker-1',
    node: { ip: '10.0.0.7', name: 'node-7' },
    protocol: {
      name: 'http',
      version: '1.1',
      abbr: 'HTTP',
      longName: 'Hypertext Transfer Protocol',
      macro: 'http',
      backgroundColor: '#326de6',
      foregroundColor: '#ffffff',
      fontSize: 12,
      referenceLink: 'https://www.rfc-editor.org/rfc/rfc9112',
      ports: ['80', '443', '8080'],
      layer4: 'tcp',
      layer3: 'ip',
      priority: 0,
    },
    tls: false,
    src: end('10.1.2.3', String(40000 + i)),
    dst: end('10.1.9.9', '8080'),
    timestamp: 1760000000000.125 + i,
    startTime: '2025-10-09T08:53:20.000125000Z',
    request: {
      method: 'GET',
      url: `/api/orders/${i}?page=2`,
      httpVersion: '1.1',
      cookies: {},
      headers: { Host: 'shop.local', 'User-Agent': 'load/1.0', Accept: '*/*', 'X-Request-Id': `r-${i}` },
      queryString: { page: '2' },
      headersSize: -1,
      bodySize: 0,
      postData: null,
      targetUri: `/api/orders/${i}`,
      path: `/api/orders/${i}`,
      pathSegments: ['api', 'orders', String(i)],
    },
    response: {
      status: i % 50 === 0 ? 503 : 200,
      statusText: i % 50 === 0 ? 'Service Unavailable' : 'OK',
      httpVersion: '1.1',
      cookies: {},
      headers: { Server: 'nginx', 'Content-Type': 'application/json', 'Content-Length': String(bodySize) },
      content: { size: bodySize, mimeType: 'application/json', text: 'x'.repeat(bodySize) },
      redirectURL: '',
      headersSize: -1,
      bodySize,
    },
    requestSize: 211,
    responseSize: 180 + bodySize,
    elapsedTime: 3.25 + i,
    passed: false,
    failed: i % 50 === 0,
    error: null,
    event: null,
    data: null,
    size: 391 + bodySize,
    entryFile: null,
    record: null,
  }
}
