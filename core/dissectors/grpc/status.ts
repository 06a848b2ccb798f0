/** What gRPC says in headers and trailers: the path's parts, statuses, times, texts. */

/** grpc/doc/statuscodes.md */
const STATUSES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
]

export function statusName(code: number): string {
  return STATUSES[code] ?? String(code)
}

/** Of `/shop.v1.Catalog/GetItem`. */
export function splitPath(path: string): { service: string; rpc: string } {
  const last = path.lastIndexOf('/')
  return { service: path.slice(path.startsWith('/') ? 1 : 0, Math.max(0, last)), rpc: path.slice(last + 1) }
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ['H', 3_600_000],
  ['M', 60_000],
  ['S', 1000],
  ['m', 1],
  ['u', 1e-3],
  ['n', 1e-6],
])

/** ms of a grpc-timeout such as `100m`; null if it is none. */
export function milliseconds(timeout: string | null): number | null {
  if (timeout === null) return null
  const unit = UNITS.get(timeout.at(-1) ?? '')
  const digits = timeout.slice(0, -1)
  if (unit === undefined || !/^\d{1,10}$/.test(digits)) return null
  return unit < 1 ? Number(digits) / (1 / unit) : Number(digits) * unit
}

/** What escapes nothing stays as it is. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text
  const bytes = Buffer.from(text, 'latin1')
  let length = 0
  for (let i = 0; i < bytes.length; i++) {
    const code = bytes[i] === 37 ? hex(bytes, i + 1) : -1
    bytes[length++] = code < 0 ? bytes[i]! : code
    if (code >= 0) i += 2
  }
  return bytes.toString('utf8', 0, length)
}

function hex(bytes: Uint8Array, at: number): number {
  const text = String.fromCharCode(bytes[at] ?? 0, bytes[at + 1] ?? 0)
  return /^[0-9a-f]{2}$/i.test(text) ? Number.parseInt(text, 16) : -1
}
