/**
 * HTTP/2 items against what clients wrote down: node's http2 (headers and hashes of bodies of each exchange), and curl
 * and nghttp after an upgrade (a line for each answer).
 */
import { createHash } from 'node:crypto'
import type { Item, Json } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
type Truth = any

/** tshark counts HEADERS with :method and with :status, those of interim answers too. */
export const counters: Counters = {
  'http2.requests': item =>
    isHttp2(item) &&
    item.request?.streamId !== undefined &&
    item.request.pushedOn === undefined &&
    'method' in item.request,
  'http2.responses': item =>
    isHttp2(item) && item.response?.status !== undefined ? 1 + (item.response.interim?.length ?? 0) : 0,
  'http2.RST_STREAM': item => isHttp2(item) && /reset by the (client|server): [A-Z]/.test(item.error?.msg ?? ''),
  'http2.PUSH_PROMISE': item => isHttp2(item) && item.request?.pushedOn !== undefined,
}

const LOST = 'messages behind a gap: tshark needs the bytes in between'

export const explanations: readonly Explanation[] = [
  {
    path: 'http2/suricata__dns-over-http2',
    count: 'dns.',
    why: 'DNS over HTTPS: its messages are the bodies of HTTP/2 items',
  },
  {
    path: 'http2/suricata__dns-over-http2-limit',
    count: 'http2.RST_STREAM',
    why: 'resets behind the end of the answer, and of a stream that is over: they say nothing about an exchange',
  },
  {
    path: 'http2/suricata__http2-continuation',
    count: 'http2.RST_STREAM',
    why: 'a reset behind the end of the answer says nothing about the exchange',
  },
  {
    path: 'graphql/own__tls_http2',
    count: 'http2.',
    why: 'tshark was given the keys; what is encrypted is not read here',
  },
  { path: 'http2/own__derived_prior_basic__lost_in_capture', count: 'http2.', why: LOST },
  { path: 'http2/own__derived_h2c_upgrade_small__lost_in_capture', count: 'http2.', why: LOST },
]

export function compare(truth: Truth, items: Item[], { base, expect }: Circumstances): Comparison {
  const told = base ?? truth
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const expected = [
    ...(told.exchanges ?? []).map((exchange: Truth) => fromNode(exchange, base === null)),
    ...upgraded(told),
  ]
  const ports = new Set(expected.map(({ port }) => port))
  const unused = new Set(
    items.filter(item => isHttp2(item) && (ports.has(item.src.port) || ports.has(null)) && item.event === null),
  )
  for (const item of unused)
    if (
      item.request?.streamId !== undefined &&
      item.response !== null &&
      item.request.streamId !== item.response.streamId
    )
      result.wrong.push({ what: `stream ${item.request.streamId} is paired with ${item.response.streamId}` })
  const wanted = expect === 'twice' ? [...expected, ...expected] : expected
  for (const one of wanted) {
    result.expected++
    const concerned = [...unused].filter(item => concerns(item, one))
    const differs = (item: Item) => differences(item, expect === 'subset' ? { ...one, interim: [] } : one)
    const found = concerned.find(item => differs(item).length === 0) ?? concerned[0]
    if (found === undefined) {
      result.missing.push({
        what: one.what,
        ...(expect === 'subset' && { why: 'packets are missing from the capture' }),
      })
      continue
    }
    unused.delete(found)
    const different = differs(found)
    const isPart = expect === 'subset' && (found.error !== null || found.request === null || found.response === null)
    if (different.length === 0) result.equal++
    else if (isPart) result.missing.push({ what: one.what, why: 'packets are missing from the capture' })
    else result.wrong.push({ what: `${one.what}: ${different.join('; ')}` })
  }
  if (told.exchanges !== undefined)
    for (const item of unused)
      result.wrong.push({
        what: `nobody sent this: ${item.request?.method} ${item.request?.url} -> ${item.response?.status} (${item.id})`,
        unexpected: true,
      })
  return result
}

export function isHttp2(item: Item): boolean {
  return item.protocol.name === 'http' && item.protocol.version.startsWith('2')
}

interface Expected {
  what: string
  port: string | null
  stream: number | null
  method: string
  path: string | null
  status: number | null
  requestHeaders: Json
  responseHeaders: Json | null
  requestBody: Body | null
  responseBody: Body | null
  trailers: Json
  interim: Json[]
  atMost: number | null
}

interface Body {
  size: number
  sha256: string | null
}

/** `measured`: this is the capture that was made while the client looked at its clock. */
function fromNode(exchange: Truth, measured: boolean): Expected {
  const path = exchange.reqHeaders[':path']
  const method = exchange.reqHeaders[':method'] ?? 'GET'
  return {
    what: `stream ${exchange.stream}: ${method} ${path}`,
    port: String(exchange.clientPort),
    stream: exchange.stream,
    method,
    path,
    status: exchange.status,
    requestHeaders: exchange.reqHeaders,
    responseHeaders: exchange.resHeaders,
    requestBody:
      exchange.reqBodyLen === undefined ? null : { size: exchange.reqBodyLen, sha256: exchange.reqBodySha256 },
    responseBody: { size: exchange.resBodyLen, sha256: exchange.resBodySha256 },
    trailers: exchange.resTrailers ?? {},
    interim: exchange.interim,
    atMost: measured ? exchange.ms : null,
  }
}

/** `2 200 36672 5 GET`: version, status, port, bytes; nghttp: a table of streams. */
function upgraded(told: Truth): Expected[] {
  const lines: string[] = [...(told.upgrade ?? []), ...(told.two_urls?.split('\n') ?? [])]
  const answers = lines.flatMap(line => {
    const [version, status, port, size, method] = line.split(' ')
    if (version !== '2') return []
    const body = size === undefined ? null : { size: Number(size), sha256: null }
    return [bare(`curl: ${line}`, port!, null, method ?? 'GET', null, Number(status), body)]
  })
  const streams = [...(told.nghttp_upgrade ?? '').matchAll(/^ *(\d+) +\+\S+ +\+\S+ +\S+ +(\d+) +\S+ (\S+)$/gm)]
  const tabled = streams.map(([line, stream, status, path]) =>
    // The upgraded request has no stream of its own.
    bare(`nghttp: ${line}`, null, stream === '1' ? null : Number(stream), 'GET', path!, Number(status), null),
  )
  return [...answers, ...tabled]
}

function bare(
  what: string,
  port: string | null,
  stream: number | null,
  method: string,
  path: string | null,
  status: number,
  responseBody: Body | null,
): Expected {
  return {
    what,
    port,
    stream,
    method,
    path,
    status,
    requestHeaders: {},
    responseHeaders: null,
    requestBody: null,
    responseBody,
    trailers: {},
    interim: [],
    atMost: null,
  }
}

function concerns({ src, request, response }: Item, one: Expected): boolean {
  if (one.port !== null && src.port !== one.port) return false
  if (one.stream !== null) return (request?.streamId ?? response?.streamId) === one.stream
  return (one.path === null || request?.path === one.path) && response?.status === one.status
}

function differences({ request, response, error, elapsedTime }: Item, one: Expected): string[] {
  const found: string[] = []
  const differ = (what: string, was: unknown, is: unknown) => {
    if (was !== is) found.push(`${what} ${JSON.stringify(was)} expected, ${JSON.stringify(is)} found`)
  }
  if (request === null) found.push('no request')
  if (response === null) found.push('no response')
  if (error !== null) found.push(error.msg)
  if (request === null || response === null) return found
  differ('method', one.method, request.method)
  if (one.path !== null && !lacks(request, 'url')) differ('path', one.path, request.url)
  differ('status', one.status, response.status)
  compareHeaders(one.requestHeaders, request, differ)
  if (one.responseHeaders !== null) {
    compareHeaders(one.responseHeaders, response, differ)
    const more = Object.keys(response.headers).filter(name => !(name in one.responseHeaders!))
    differ('other headers', '', more.join())
  }
  compareBody('request', one.requestBody, request.bodySize, request.postData, differ)
  compareBody('response', one.responseBody, response.bodySize, response.content, differ)
  for (const [name, value] of Object.entries(one.trailers)) differ(name, text(value), response.trailers?.[name])
  for (const [i, headers] of one.interim.entries())
    for (const [name, value] of Object.entries(headers)) differ(name, text(value), response.interim?.[i]?.headers[name])
  if (one.atMost !== null && (elapsedTime === null || elapsedTime > one.atMost + CLOCKS_DIFFER))
    found.push(`at most ${one.atMost} ms expected, ${elapsedTime} found`)
  return found
}

/** A late listener does not know all headers; what it does not know is not there, and said to be missing. */
function lacks(half: Json, name: string): boolean {
  return half.incompleteHeaders === true && !(name in half) && !(name in half.headers)
}

function compareHeaders(was: Json, half: Json, differ: Differ): void {
  for (const [name, value] of Object.entries(was)) if (!lacks(half, name)) differ(name, text(value), half.headers[name])
}

type Differ = (what: string, was: unknown, is: unknown) => void

/** ms: timers of the program and of the capture are not read at the same moment. */
const CLOCKS_DIFFER = 2

function compareBody(whose: string, was: Body | null, size: number, body: Json | null, differ: Differ): void {
  if (was === null) return
  differ(`size of the ${whose}'s body`, was.size, size)
  if (was.sha256 === null || was.size === 0) return
  differ(`${whose}'s body`, was.sha256, sha256(bytesOf(body)))
}

/** The bytes of a `postData` or `content`. */
export function bytesOf(body: Json | null): Buffer {
  return Buffer.from(body?.text ?? '', body?.encoding === 'base64' ? 'base64' : 'utf8')
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function text(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : String(value)
}
