/**
 * vendor.webhook: one HTTP request to any URL. `Idempotency-Key` carries the order's id, the same on every attempt
 * (draft-ietf-httpapi-idempotency-key-header), so that a receiver can drop repetitions.
 */
import { createHash } from 'node:crypto'
import { Fault } from '../core/fault.ts'
import { type Call, exchange } from './exchange.ts'
import type { AcceptedOrder, Integration, Order } from './integration.ts'

export interface WebhookArguments {
  method: string
  /** http or https. */
  url: string
  /** An object is JSON already. */
  body?: string | null
  headers?: { [name: string]: string } | null
}

export const integration: Integration = {
  name: 'webhook',
  title: 'Webhook',
  check(order) {
    webhookCall(order)
  },
  destination: order => urlDestination(webhookCall(order).url),
  deliver: (order, signal) => exchange(stamped(webhookCall(order), order), signal),
}

function webhookCall(order: Order): Call {
  const { method, url, body, headers } = order.arguments
  if (body !== undefined && body !== null && typeof body !== 'string') {
    throw new Fault('WEBHOOK_BODY', `the body of a webhook must be text, found ${typeof body}`)
  }
  const call = callTo(method, url, headers)
  if (!body) return call
  if (BODILESS.has(call.method)) {
    throw new Fault('WEBHOOK_BODY', `${call.method} carries no body; use POST, or leave the body empty`)
  }
  if (!call.headers.has('content-type')) call.headers.set('content-type', isJson(body) ? JSON_TYPE : TEXT_TYPE)
  return { ...call, body }
}

const JSON_TYPE = 'application/json'
const TEXT_TYPE = 'text/plain; charset=utf-8'

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** A call without a body, its parts checked. */
export function callTo(method: unknown, url: unknown, headers: unknown): Call {
  const target = httpUrl(url, 'WEBHOOK_URL')
  const checked = checkedHeaders(headers ?? {})
  if (target.username !== '' || target.password !== '') {
    // fetch refuses credentials in a URL; they mean this header (RFC 7617).
    const credentials = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`
    if (!checked.has('authorization')) {
      checked.set('authorization', `Basic ${Buffer.from(credentials).toString('base64')}`)
    }
    target.username = ''
    target.password = ''
  }
  return { method: checkedMethod(method), url: target, headers: checked, body: null }
}

export function httpUrl(url: unknown, code: string): URL {
  const parsed = typeof url === 'string' ? URL.parse(url) : null
  // What was found is not repeated: a webhook's URL is often its password.
  if (parsed === null) throw new Fault(code, `the URL must be complete (https://host/path), found ${shape(url)}`)
  if (!PROTOCOLS.has(parsed.protocol)) {
    throw new Fault(code, `the URL must begin with http:// or https://, found ${parsed.protocol}`)
  }
  return parsed
}

const PROTOCOLS: ReadonlySet<string> = new Set(['http:', 'https:'])

function shape(url: unknown): string {
  if (url === undefined || url === null || url === '') return 'nothing (is its variable set in env?)'
  return typeof url === 'string' ? `${url.length} characters that are no URL` : typeof url
}

function checkedMethod(method: unknown): string {
  const upper = typeof method === 'string' ? method.toUpperCase() : ''
  if (!METHODS.has(upper)) {
    throw new Fault('WEBHOOK_METHOD', `the method must be one of ${[...METHODS].join(', ')}, found "${method}"`)
  }
  return upper
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
export const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD'])

function checkedHeaders(headers: unknown): Headers {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    throw new Fault('WEBHOOK_HEADERS', 'headers must be an object of names and texts')
  }
  const checked = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    if (FRAMING.has(name.toLowerCase())) {
      throw new Fault('WEBHOOK_HEADERS', `the header "${name}" is set by the connection, not by a script`)
    }
    try {
      checked.append(name, String(value))
    } catch {
      throw new Fault('WEBHOOK_HEADERS', `"${name}" or its value can't be a header (RFC 9110, 5.1 and 5.5)`)
    }
  }
  return checked
}

/** How a message is cut on the connection: a script that sets one of these breaks it, or smuggles a second request. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export function stamped(call: Call, order: AcceptedOrder): Call {
  if (!call.headers.has('idempotency-key')) call.headers.set('idempotency-key', order.id)
  if (!call.headers.has('user-agent')) call.headers.set('user-agent', 'Hookline')
  return call
}

/** Origin, and the rest as a hash: paths and queries of webhooks are passwords. */
export function urlDestination(url: URL): string {
  const rest = createHash('sha256').update(url.pathname + url.search)
  return `${url.origin}#${rest.digest('hex').slice(0, 12)}`
}
