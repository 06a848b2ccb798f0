/**
 * One HTTP exchange of an integration: request, bounded answer, few redirects (RFC 9110, 15.4), and the answer sorted
 * into delivered, try again (429, 408, 425, 5xx, network) and refused (everything else).
 */
import { type Delivered, Refused, Retryable } from './integration.ts'

export interface Call {
  method: string
  url: URL
  headers: Headers
  body: string | Uint8Array<ArrayBuffer> | null
}

/** A script reads the answer, nobody reads a gigabyte: a receiver that never stops talking must not fill the memory. */
export const MAX_REPLY_BYTES = 1024 * 1024
/** What a dead letter keeps of the answer: an error page of a proxy is long and says nothing after its title. */
const MAX_EXCERPT_CHARS = 1000
/** A loop of redirects has no end. */
const MAX_REDIRECTS = 3

export async function exchange(call: Call, signal: AbortSignal): Promise<Delivered> {
  for (let redirects = 0; ; redirects++) {
    const response = await send(call, signal)
    const location = response.headers.get('location')
    if (!REDIRECTS.has(response.status) || location === null) return acknowledgement(response)
    await response.body?.cancel()
    if (redirects === MAX_REDIRECTS) {
      throw new Refused('HTTP_TOO_MANY_REDIRECTS', `more than ${MAX_REDIRECTS} redirects`, response.status, location)
    }
    call = redirected(call, response.status, location)
  }
}

/** A 2xx as what it says; everything else thrown as what it means. */
export async function acknowledgement(response: Response): Promise<Delivered> {
  const { body, truncated } = await boundedText(response)
  if (response.ok) return { status: response.status, body, truncated }
  throw failure(response.status, body, waitAsked(response.headers))
}

export function failure(status: number, body: string, after: number | null): Retryable | Refused {
  const excerpt = body.slice(0, MAX_EXCERPT_CHARS)
  const said = `the receiver answered ${status}${excerpt === '' ? '' : `: ${excerpt}`}`
  if (status >= 500 || PASSING.has(status)) return new Retryable(`http-${status}`, said, after)
  return new Refused(`HTTP_${status}`, said, status, excerpt)
}

/** 408 Request Timeout, 425 Too Early, 429 Too Many Requests: the other 4xx repeat themselves. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429])

/** ms that the answer asks to wait, by the answer's own clock where it shows one: ours may be wrong. */
export function waitAsked(headers: Headers): number | null {
  const theirNow = Date.parse(headers.get('date') ?? '')
  return retryAfter(headers.get('retry-after'), Number.isNaN(theirNow) ? Date.now() : theirNow)
}

/** RFC 9110, 10.2.3.   Retry-After = HTTP-date / delay-seconds */
export function retryAfter(value: string | null, now: number): number | null {
  if (value === null) return null
  if (/^\d+$/.test(value)) return Number(value) * 1000
  const at = /^[A-Z][a-z]+,? /.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(at) ? null : Math.max(0, at - now)
}

/** The answer's text up to the limit. An answer that breaks off is still an answer: its status has been heard. */
export async function boundedText(response: Response): Promise<{ body: string; truncated: boolean }> {
  if (response.body === null) return { body: '', truncated: false }
  const chunks: Uint8Array[] = []
  let room = MAX_REPLY_BYTES
  let truncated = false
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk.subarray(0, room))
      room -= chunk.length
      truncated = room < 0
      if (truncated) break
    }
  } catch {
    truncated = true
  }
  return { body: Buffer.concat(chunks).toString('utf8'), truncated }
}

/** `fetch` with what never arrived told apart from what can never be sent. */
export async function send(call: Call, signal: AbortSignal): Promise<Response> {
  const { method, headers, body } = call
  try {
    return await fetch(call.url, { method, headers, body, signal, redirect: 'manual' })
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw networkFailure(error)
  }
}

export function networkFailure(error: unknown): Retryable | Refused {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (!(cause instanceof Error)) throw error
  // The fetch standard blocks ports of other protocols (6000, 6667, …) before anything is sent.
  if (cause.message === 'bad port') return new Refused('HTTP_PORT_BLOCKED', 'fetch does not send to this port', 0, '')
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : 'network'
  return new Retryable(code, `nothing was answered: ${cause.message || code}`)
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

function redirected(call: Call, status: number, location: string): Call {
  const url = URL.parse(location, call.url.href)
  if (url === null || !(url.protocol === 'https:' || url.protocol === call.url.protocol)) {
    throw new Refused('HTTP_BAD_REDIRECT', `a redirect must lead to a URL no less safe`, status, location)
  }
  // What the script's headers hold (tokens, most often) is meant for the host it named.
  const headers = url.hostname === call.url.hostname ? call.headers : keep(call.headers, IMPERSONAL)
  // 301 and 302 keep the method: a GET in its place would be answered 200 and the message would be gone.
  if (status !== 303) return { ...call, url, headers }
  return { method: 'GET', url, headers: keep(headers, new Set()), body: null }
}

const IMPERSONAL: ReadonlySet<string> = new Set(['content-type', 'idempotency-key', 'user-agent'])

function keep(headers: Headers, names: ReadonlySet<string>): Headers {
  return new Headers([...headers].filter(([name]) => names.has(name)))
}
