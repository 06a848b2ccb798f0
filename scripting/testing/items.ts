/** Items and batches for tests and measurements, with the places that a dissector would note. */
import { type Batch, SPANS } from '../../core/batch.ts'
import type { Endpoint, Item, Json } from '../../core/item.ts'

/** A web shop's item; every 50th fails. */
export function httpItem(i: number, body = `{"order":${i}}`): Item {
  const failed = i % 50 === 49
  return {
    id: `worker-1/${1000 + i}-${i}`,
    index: i,
    stream: `170000000000000${1000 + i}_00c0ffee.pcap`,
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
    src: endpoint('10.1.2.3', String(40000 + i)),
    dst: endpoint('10.1.9.9', '8080'),
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
      status: failed ? 503 : 200,
      statusText: failed ? 'Service Unavailable' : 'OK',
      httpVersion: '1.1',
      cookies: {},
      headers: { Server: 'nginx', 'Content-Type': 'application/json', 'Content-Length': String(body.length) },
      content: { size: body.length, mimeType: 'application/json', text: body },
      redirectURL: '',
      headersSize: -1,
      bodySize: body.length,
    },
    requestSize: 211,
    responseSize: 180 + body.length,
    elapsedTime: 3.25 + i,
    passed: false,
    failed,
    error: null,
    event: null,
    data: null,
    size: 391 + body.length,
    entryFile: null,
    record: null,
  }
}

export function batchOf(items: readonly object[]): Batch {
  const starts = new Int32Array(items.length + 1)
  const spans = new Int32Array(items.length * SPANS)
  const lines = items.map((item, i) => {
    const [line, places] = lineOf(item as Item)
    starts[i + 1] = starts[i]! + line.length
    spans.set(
      places.map(place => (place < 0 ? -1 : place + starts[i]!)),
      i * SPANS,
    )
    return line
  })
  const bytes = Buffer.concat(lines)
  return { bytes, length: bytes.length, count: items.length, starts, spans, keep() {}, free() {} }
}

function lineOf(item: Item): [line: Buffer, places: number[]] {
  const places: number[] = []
  const bodies: number[] = []
  let text = '{'
  for (const [name, value] of Object.entries(item)) {
    if (text.length > 1) text += ','
    text += `${JSON.stringify(name)}:`
    const start = Buffer.byteLength(text)
    const json = JSON.stringify(value)
    text += json
    if (name !== 'request' && name !== 'response') continue
    places.push(start, Buffer.byteLength(text))
    bodies.push(...bodyOf(value as Json | null, json, start))
  }
  return [Buffer.from(`${text}}\n`), places.length === 4 ? [...places, ...bodies] : Array(SPANS).fill(-1)]
}

function bodyOf(message: Json | null, json: string, start: number): [number, number] {
  const body = message?.postData ?? message?.content
  if (typeof body?.text !== 'string') return [-1, -1]
  const text = JSON.stringify(body.text)
  const at = start + Buffer.byteLength(json.slice(0, json.lastIndexOf(`"text":${text}`) + 7))
  return [at, at + Buffer.byteLength(text)]
}

function endpoint(ip: string, port: string): Endpoint {
  return {
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
  }
}
