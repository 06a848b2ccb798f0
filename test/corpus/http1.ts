/**
 * HTTP/1 items against what the client (or server) program wrote down. The truth files have one form for each kind of
 * program: all are read into `Expected`, one a message pair, and only then compared.
 */
import { createHash } from 'node:crypto'
import type { Item, Json } from '../../core/item.ts'
import type { Circumstances, Comparison, Finding } from './comparison.ts'
import type { Counters } from './oracle.ts'

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
type Truth = any

/** tshark's `http` is HTTP/1; an interim answer (1xx) is a response to it. */
export const counters: Counters = {
  'http.requests': item => isHttp1(item) && item.request !== null,
  'http.methods': item => (isHttp1(item) ? (item.request?.method ?? null) : null),
  'http.statuses': item => (isHttp1(item) && item.response !== null ? String(item.response.status) : null),
}

export function compare(truth: Truth, items: Item[], context: Circumstances): Comparison {
  const told: Truth = context.base ?? truth
  const expect = context.expect ?? 'same'
  const nothing: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return nothing

  const expected = expectations(told)
  // The same conversations once more; translation may have given the copy another port.
  if (expect === 'twice') expected.push(...expectations(told).map(one => ({ ...one, port: null })))
  const measured = context.base === null
  // Several bases share one capture: what lies on other ports belongs to them.
  const ours = new Set(expected.map(({ port }) => port))
  // Where only answers were written down, some were not: what else lies in the capture was sent too.
  const complete = told.responses === undefined
  const candidates = items.filter(
    item =>
      isHttp1(item) &&
      (measured || ours.has(null) || ours.has(Number(item.src.port)) || ours.has(Number(item.dst.port))),
  )
  const result = match(expected, candidates, measured, expect === 'subset')
  return complete ? result : { ...result, wrong: result.wrong.filter(({ unexpected }) => !unexpected) }
}

/** One request with its answer as a program saw it. What that program could not know is undefined and not compared. */
interface Expected {
  /** The client's port, null where it was not written down. */
  port: number | null
  /** null: what was sent is no HTTP request. */
  request: ExpectedRequest | null | undefined
  /** null: no answer came, or the capture does not hold it. */
  response: ExpectedResponse | null | undefined
  /** The connection ended within the message; `withheld`: the client waited to be asked for the body, in vain. */
  cut: boolean | 'withheld'
  /** ms that the client measured: the wire took no longer. */
  atMost?: number
  /** ms that the server waited before it answered. */
  atLeast?: number
}

interface ExpectedRequest {
  method: string
  target: string
  version?: string
  /** Some of the headers: programs do not write down what their library adds. */
  headers?: Headers
  body?: Body
}

interface ExpectedResponse {
  status: number
  reason?: string
  version?: string
  /** All headers. */
  headers?: Headers
  body?: Body
  /** After content decoding. */
  decoded?: Body
  trailers?: Headers
}

/** Lower-case name to values joined by commas, as text. */
type Headers = Map<string, string>

interface Body {
  size: number
  sha256?: string
}

function match(expected: Expected[], candidates: Item[], measured: boolean, partial: boolean): Comparison {
  const unused = new Set(candidates)
  const found = new Map<Expected, Item>()
  const result: Comparison = { expected: expected.length, equal: 0, missing: [], wrong: [] }
  const take = (one: Expected, item: Item) => {
    unused.delete(item)
    found.set(one, item)
  }
  // Those of a known port first, so that one of unknown port does not take their items; and first what is equal, so
  // that nobody takes an item for a bad likeness of his own.
  const ordered = [...expected.filter(({ port }) => port !== null), ...expected.filter(({ port }) => port === null)]
  for (const one of ordered) {
    for (const item of unused) {
      if (!concerns(item, one) || differences(item, one, measured, partial).length > 0) continue
      take(one, item)
      result.equal++
      break
    }
  }
  for (const one of ordered) {
    if (found.has(one)) continue
    const item = [...unused].find(item => concerns(item, one))
    if (item === undefined) result.missing.push(missing(one, partial))
    else {
      take(one, item)
      result.wrong.push({ what: `${name(one)}: ${differences(item, one, measured, partial).join('; ')}` })
    }
  }
  for (const item of unused) {
    // Where packets are missing, a pair may come as two halves.
    const other = [...found].find(([one, half]) => partial && completes(item, half, one))?.[0]
    if (other === undefined) result.wrong.push(unasked(item))
    else found.delete(other)
  }
  return result
}

function missing(one: Expected, partial: boolean): Finding {
  if (partial) return { what: name(one), why: 'packets are missing from the capture' }
  if (one.request === null)
    return { what: name(one), why: 'the client spoke no HTTP: the connection is not taken for HTTP' }
  return { what: name(one) }
}

function completes(item: Item, half: Item, one: Expected): boolean {
  const apart = item.request === null ? half.response === null : item.response === null && half.request === null
  return apart && concerns(item, one) && differences(item, one, false, true).length === 0
}

function unasked(item: Item): Finding {
  const { request, response } = item
  const words = `${request?.method ?? '?'} ${request?.url ?? '?'} -> ${response?.status ?? '?'}`
  return { what: `nobody sent this: ${words} (${item.id})`, unexpected: true }
}

function isHttp1(item: Item): boolean {
  return item.protocol.name === 'http' && !item.protocol.version.startsWith('2')
}

/** Could this item be meant? */
function concerns(item: Item, one: Expected): boolean {
  if (one.port !== null && ![item.src.port, item.dst.port].includes(String(one.port))) return false
  if (item.request !== null && one.request) {
    return item.request.method === one.request.method && targetOf(item.request) === one.request.target
  }
  return one.response != null && item.response?.status === one.response.status
}

/** `partial`: packets are missing, so that an item may lack a half or, if its `error` says so, a part of a half. */
function differences(item: Item, one: Expected, measured: boolean, partial: boolean): string[] {
  const found: string[] = []
  const admitted = item.error !== null
  const differ = (what: string, was: unknown, is: unknown) => {
    if (was !== undefined && was !== is) found.push(`${what} ${brief(was)} expected, ${brief(is)} found`)
  }

  if (item.request === null) {
    if (one.request && !partial) found.push('request expected, none found')
  } else if (one.request === null) {
    // HTTP/0.9 had no version; everything else that is no request must not look like one.
    if (item.request.httpVersion !== 'HTTP/0.9' && item.request.httpVersion !== '0.9')
      found.push('a request of garbage')
  } else if (one.request !== undefined) {
    differ('method', one.request.method, item.request.method)
    differ('target', one.request.target, targetOf(item.request))
    differ('version', one.request.version, versionOf(item.request))
    const headers = headersOf(item.request)
    for (const [key, value] of one.request.headers ?? []) differ(`header ${key}`, value, headers.get(key))
    if (one.request.body !== undefined && !one.cut && !(partial && admitted)) {
      differ('request body size', one.request.body.size, item.request.bodySize)
      const text = item.request.postData?.text
      if (typeof text === 'string' && !headers.has('content-encoding')) {
        differ('request body', one.request.body.sha256, sha256(bytesOf(item.request.postData)))
      }
    }
  }

  if (item.response === null) {
    if (one.response && !partial) found.push(`response ${one.response.status} expected, none found`)
  } else if (one.response === null) {
    found.push(`no response expected, ${item.response.status} found`)
  } else if (one.response !== undefined) {
    compareResponse(item.response, one, partial && admitted, differ)
  }

  if (one.cut === true && !admitted && item.response !== null)
    found.push('an error expected: the connection ended within the message')
  if (!one.cut && !partial && one.response && one.request && admitted) {
    found.push(`no error expected, ${brief(item.error!.msg)} found`)
  }
  if (measured && item.elapsedTime !== null) {
    if (one.atMost !== undefined && item.elapsedTime > one.atMost + CLOCKS_DIFFER) {
      found.push(`at most ${one.atMost} ms expected, ${item.elapsedTime} found`)
    }
    if (one.atLeast !== undefined && item.elapsedTime < one.atLeast - CLOCKS_DIFFER) {
      found.push(`at least ${one.atLeast} ms expected, ${item.elapsedTime} found`)
    }
  }
  return found
}

/** ms: timers of the program and of the capture are not read at the same moment. */
const CLOCKS_DIFFER = 2

type Differ = (what: string, was: unknown, is: unknown) => void

function compareResponse(is: Json, one: Expected, excused: boolean, differ: Differ): void {
  const was = one.response!
  differ('status', was.status, is.status)
  differ('reason', was.reason, is.statusText)
  differ('response version', was.version, versionOf(is))
  const headers = headersOf(is)
  if (was.headers !== undefined) {
    for (const [key, value] of was.headers) differ(`header ${key}`, value, headers.get(key))
    for (const [key, value] of headers) if (!was.headers.has(key)) differ(`header ${key}`, 'none', value)
  }
  if (one.cut === true || excused) return
  if (was.body !== undefined) {
    differ('response body size', was.body.size, is.bodySize)
    if (typeof is.content?.text === 'string' && !headers.has('content-encoding')) {
      differ('response body', was.body.sha256, sha256(bytesOf(is.content)))
    }
  }
  if (was.decoded !== undefined) {
    differ('decoded size', was.decoded.size, is.content?.size)
    if (typeof is.content?.text === 'string') differ('decoded body', was.decoded.sha256, sha256(bytesOf(is.content)))
  }
  const trailers = lowerCased(is.trailers ?? {})
  for (const [key, value] of was.trailers ?? []) differ(`trailer ${key}`, value, trailers.get(key))
}

function expectations(told: Truth): Expected[] {
  return [
    ...(told.exchanges ?? []).flatMap((exchange: Truth) => fromExchange(exchange, told)),
    ...(told.requests === undefined ? [] : fromPipeline(told)),
    ...[told.connections, Object.values(told.cases ?? {}), told.raws].flatMap(texts => (texts ?? []).flatMap(fromText)),
    ...(told.curl === undefined ? [] : fromCurl(told)),
    ...(told.responses ?? []).map((head: string) => ({
      port: null,
      request: undefined,
      response: fromHead(head),
      cut: false,
    })),
    ...(told.parallel ?? []).map((line: string) => {
      const [status, port] = line.split(' ').map(Number)
      return { port: port!, request: undefined, response: { status: status! }, cut: false }
    }),
  ]
}

/** A client that wrote down what it sent and got. */
function fromExchange(exchange: Truth, told: Truth): Expected[] {
  // Refused: no request ever went out.
  if (exchange.clientPort === undefined) return []
  const oneSided = /\bsrc host\b/.test(told.filter ?? '')
  // Refused without the body: it was never sent.
  const withheld = exchange.reqHeaders.expect === '100-continue' && exchange.interim.length === 0
  const wait = /[?&]sleep=(\d+)/.exec(exchange.target)?.[1]
  const answered = exchange.status !== undefined && !oneSided
  return [
    {
      port: exchange.clientPort,
      request: {
        method: exchange.method,
        target: exchange.target,
        headers: fromObject(exchange.reqHeaders),
        ...(exchange.reqBodyLen === undefined || withheld
          ? {}
          : { body: { size: exchange.reqBodyLen, sha256: exchange.reqBodySha256 } }),
      },
      response: answered
        ? {
            status: exchange.status,
            reason: exchange.reason,
            version: exchange.httpVersion,
            headers: fromPairs(exchange.resRawHeaders),
            body: { size: exchange.resBodyLen, sha256: exchange.resBodySha256 },
            trailers: fromPairs(exchange.resTrailers ?? []),
            ...(exchange.decodedLen === undefined
              ? {}
              : { decoded: { size: exchange.decodedLen, sha256: exchange.decodedSha256 } }),
          }
        : // The server may have answered what the client gave up before it read the answer.
          exchange.aborted
          ? undefined
          : null,
      cut: withheld ? 'withheld' : exchange.error !== undefined,
      ...(exchange.ms === undefined ? {} : { atMost: exchange.ms }),
      ...(wait === undefined ? {} : { atLeast: Number(wait) }),
    },
  ]
}

/** Several requests in one write: their first words, their statuses, and what came back as one text. */
function fromPipeline(told: Truth): Expected[] {
  const heads = headsOf(told.raw.received)
  return told.requests.map((words: string, i: number): Expected => {
    const [method, target] = words.split(' ')
    const logged = told.serverLog?.[i]
    return {
      port: told.raw.clientPort,
      request: {
        method: method!,
        target: target!,
        ...(logged === undefined ? {} : { body: { size: logged.reqBodyLen, sha256: logged.reqBodySha256 } }),
      },
      response: heads[i] ?? { status: told.expectedStatuses[i] },
      cut: false,
    }
  })
}

/** What a hand-made client wrote and read, as two texts. */
function fromText(text: Truth): Expected[] {
  const requests = [...text.sent.matchAll(/^([!-~]+) (\S+) HTTP\/(1\.\d)\r?$/gm)]
  const heads = headsOf(text.received)
  if (requests.length === 0)
    return heads.map(response => ({ port: text.clientPort, request: null, response, cut: false }))
  return requests.map(([, method, target, version], i) => ({
    port: text.clientPort,
    request: { method: method!, target: target!, version: version! },
    response: heads[i] ?? null,
    cut: false,
  }))
}

/**
 * curl's --write-out lines, one a run, beside the log of the server: `POST 200 58284 20293 20293 1` is method, status,
 * port, bytes sent, bytes received, connections; through a proxy `200 34006 127` status, port, bytes received, with a
 * tunnel `200 200 34008 3000` its status too, and `000 502` a refused tunnel.
 */
function fromCurl(told: Truth): Expected[] {
  const results = new Map<number, { status: number; received?: number }[]>()
  const expected: Expected[] = []
  for (const line of told.curl.join('\n').split('\n')) {
    const words = line.split(' ')
    const numbers = words.map(Number)
    if (words.length === 6) results.set(numbers[2]!, [{ status: numbers[1]!, received: numbers[4]! }])
    else if (words.length === 2 && words[0] === '000') {
      expected.push({ port: null, request: undefined, response: { status: numbers[1]! }, cut: false })
    } else if (words.length === 2) {
      results.set(numbers[1]!, [...(results.get(numbers[1]!) ?? []), { status: numbers[0]! }])
    } else if (words.length === 3) {
      const response = { status: numbers[0]!, body: { size: numbers[2]! } }
      expected.push({ port: numbers[1]!, request: undefined, response, cut: false })
    } else if (words.length === 4) {
      const response = { status: numbers[0]!, body: { size: numbers[3]! } }
      expected.push({ port: numbers[2]!, request: undefined, response: { status: numbers[1]! }, cut: false })
      expected.push({ port: numbers[2]!, request: undefined, response, cut: false })
    }
  }
  const ofPort = Map.groupBy(told.serverLog as Truth[], logged => logged.remotePort as number)
  for (const [port, requests] of ofPort) {
    for (const [i, logged] of requests.entries()) {
      const known = results.get(port)?.at(i - requests.length)
      const asked = /[?&]c=(\d{3})/.exec(logged.url)?.[1]
      expected.push({
        port,
        request: {
          method: logged.method,
          target: logged.url,
          version: logged.httpVersion,
          body: { size: logged.reqBodyLen, sha256: logged.reqBodySha256 },
        },
        response: {
          status: asked === undefined ? (known?.status ?? 200) : Number(asked),
          ...(known?.received === undefined ? {} : { body: { size: known.received } }),
        },
        cut: false,
      })
    }
  }
  return expected
}

function headsOf(received: string): ExpectedResponse[] {
  const heads = [...received.matchAll(/HTTP\/1\.\d \d{3}[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n/g)].map(([head]) =>
    fromHead(head),
  )
  return heads.filter(({ status }) => status >= 200 || status === 101)
}

function fromHead(head: string): ExpectedResponse {
  const [first, ...lines] = head.trimEnd().split('\r\n')
  const [, version, status, reason] = /^HTTP\/(1\.\d) (\d{3}) ?(.*)$/.exec(first!)!
  const pairs = lines.flatMap(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
  return { status: Number(status), reason: reason!, version: version!, headers: fromPairs(pairs) }
}

/** Node's raw headers: name, value, name, value, …, each byte a character. */
function fromPairs(pairs: string[]): Headers {
  const headers: Headers = new Map()
  for (let i = 0; i + 1 < pairs.length; i += 2) append(headers, pairs[i]!, pairs[i + 1]!)
  return headers
}

function fromObject(object: Record<string, string | number | string[]>): Headers {
  const headers: Headers = new Map()
  for (const [key, value] of Object.entries(object)) for (const one of [value].flat()) append(headers, key, String(one))
  return headers
}

function append(headers: Headers, key: string, bytes: string): void {
  const before = headers.get(key.toLowerCase())
  // White space around a value is not part of it (RFC 9110, 5.5).
  const value = Buffer.from(bytes, 'latin1').toString('utf8').trim()
  headers.set(key.toLowerCase(), before === undefined ? value : `${before},${value}`)
}

function headersOf(message: Json): Headers {
  return lowerCased(message.headers)
}

function lowerCased(object: Json): Headers {
  const headers: Headers = new Map()
  for (const [key, value] of Object.entries(object)) {
    const before = headers.get(key.toLowerCase())
    headers.set(key.toLowerCase(), before === undefined ? value : `${before},${value}`)
  }
  return headers
}

function targetOf(request: Json): string {
  return request.targetUri ?? request.url
}

function versionOf(message: Json): string {
  return String(message.httpVersion).replace(/^HTTP\//, '')
}

function bytesOf(content: { text: string; encoding?: string }): Buffer {
  return Buffer.from(content.text, content.encoding === 'base64' ? 'base64' : 'utf8')
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function name({ port, request, response }: Expected): string {
  return `${request ? `${request.method} ${brief(request.target)}` : '?'} -> ${response?.status ?? 'no answer'}${port === null ? '' : ` (port ${port})`}`
}

function brief(value: unknown): string {
  const text = typeof value === 'string' ? value : String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
