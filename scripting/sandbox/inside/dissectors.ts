/**
 * Dissectors that a script defines: its global `dissector`, and the calls by which the process around the isolate asks
 * them. Runs inside the isolate, where it travels as text: uses nothing from around it.
 */
import type { Cursor } from '../../../core/cursor.ts'

/** What of a definition leaves the isolate. */
export interface Definition {
  name: string
  title: string
  abbr: string
  version: string
  color: string
  reference: string
  transports: ('tcp' | 'udp')[]
  ports: number[]
  priority: number
  keyed: boolean
  patience: number | null
  ends: boolean
}

/** The cursor of core/cursor.ts, and what it throws. */
export interface CursorParts {
  Cursor: typeof Cursor
  Incomplete: object
  Malformed: new (reason: string) => { reason: string }
}

export interface Asking {
  definition: number
  /** Number of the connection's state; 0: none. */
  state: number
  from: string
  transport: string
  port: number
  hinted: boolean
  keep: number
  /** No byte will follow. */
  whole: boolean
  /** Of a connection's end. */
  why: string
  /** JSON text of the awaited request's memo. */
  awaited: string
}

export interface Dissecting {
  definitions(): string
  /** JSON text: `yes`, `no`, `more`, or as of `read`. */
  probe(asking: string, bytes: ArrayBuffer): string
  open(definition: number): number
  drop(state: number): void
  /**
   * JSON text: `more`, `{ reason, report? }` (wrong bytes, or a mistake of the script), or `{ at, message }`: bytes that
   * were read, and what came of them.
   */
  read(asking: string, bytes: ArrayBuffer): string
  end(asking: string, bytes: ArrayBuffer): string
}

export type DissectorsInside = (
  parts: CursorParts,
  reportOf: (hook: string, kind: string, error: unknown) => string | null,
) => Dissecting

export function dissectorsInside(
  { Cursor, Incomplete, Malformed }: CursorParts,
  reportOf: (hook: string, kind: string, error: unknown) => string | null,
): Dissecting {
  type Call = (...args: unknown[]) => unknown
  const { parse, stringify } = JSON
  const { isArray } = Array
  /** A script's names must not fill the registry of protocols. */
  const MAX_DEFINITIONS = 16
  const KINDS = ['request', 'response', 'event']
  const defined: {
    definition: Definition
    object: Record<string, unknown>
    calls: Record<string, Call | undefined>
  }[] = []
  const states = new Map<number, unknown>()
  let numbers = 0

  Object.defineProperty(globalThis, 'dissector', { value: define, writable: true, configurable: true })

  function define(object: Record<string, unknown>): void {
    if (typeof object !== 'object' || object === null) wrong('an object', object)
    if (defined.length >= MAX_DEFINITIONS) throw new RangeError(`dissector: expected at most ${MAX_DEFINITIONS}`)
    const { name, color, ports = [], transports = ['tcp'], priority = 100, patience = null } = object
    if (typeof name !== 'string' || !/^[a-z][a-z0-9-]{0,31}$/.test(name))
      wrong('name to be lower-case letters, digits and hyphens', name)
    for (const call of ['probe', 'read'])
      if (typeof object[call] !== 'function') wrong(`${call} to be a function`, object[call])
    for (const call of ['open', 'end'])
      if (object[call] !== undefined && typeof object[call] !== 'function')
        wrong(`${call} to be a function`, object[call])
    if (!isArray(ports) || ports.some(port => !Number.isInteger(port) || port < 1 || port > 65535))
      wrong('ports to be an array of port numbers', ports)
    if (!isArray(transports) || transports.length === 0 || transports.some(one => one !== 'tcp' && one !== 'udp'))
      wrong("transports to be an array of 'tcp' and 'udp'", transports)
    if (typeof priority !== 'number') wrong('priority to be a number', priority)
    if (patience !== null && typeof patience !== 'number') wrong('patience to be a number of ms', patience)
    if (color !== undefined && !/^#[0-9a-f]{6}$/i.test(String(color))) wrong('color to be like #495057', color)
    const text = (field: string, otherwise: string) => {
      const value = object[field]
      if (value === undefined) return otherwise
      if (typeof value !== 'string') wrong(`${field} to be a string`, value)
      return value
    }
    const definition: Definition = {
      name,
      title: text('title', name),
      abbr: text('abbr', name.toUpperCase()),
      version: text('version', ''),
      color: text('color', '#495057'),
      reference: text('reference', ''),
      transports: [...new Set(transports)] as ('tcp' | 'udp')[],
      ports: ports as number[],
      priority,
      keyed: object.keyed === true,
      patience: patience as number | null,
      ends: object.end !== undefined,
    }
    const { probe, read, open, end } = object as Record<string, Call | undefined>
    defined.push({ definition, object, calls: { probe, read, open, end } })
  }

  function wrong(expected: string, found: unknown): never {
    throw new TypeError(`dissector: expected ${expected}, found ${found === undefined ? 'nothing' : stringify(found)}`)
  }

  function contextOf(asking: Asking): object {
    const { from, transport, port, hinted, keep, state, awaited } = asking
    return {
      from,
      transport,
      port,
      hinted,
      keep,
      state: states.get(state),
      awaited: awaited === '' ? undefined : parse(awaited),
    }
  }

  /** What a call of the script's code came to; what it throws by mistake is reported, and is no message. */
  function attempt(hook: string, call: () => unknown): string {
    try {
      return stringify(call())
    } catch (thrown) {
      if (thrown === Incomplete) return '"more"'
      if (thrown instanceof Malformed) return stringify({ reason: String(thrown.reason) })
      return stringify({ reason: `${hook} without an exception`, report: reportOf(hook, 'exception', thrown) })
    }
  }

  function message(found: unknown): object | null {
    if (found === null || found === undefined) return null
    const { kind, body, key, failed, memo, unanswered, more, version, error } = found as Record<string, unknown>
    if (!KINDS.includes(kind as string))
      throw new TypeError(`read: expected kind to be one of ${KINDS.join(', ')}, found ${stringify(kind)}`)
    if (typeof body !== 'object' || body === null || isArray(body))
      throw new TypeError('read: expected body to be an object')
    return {
      kind,
      body,
      ...(typeof key === 'string' || typeof key === 'number' ? { key } : {}),
      ...(memo === undefined ? {} : { memo: stringify(memo) }),
      ...(typeof version === 'string' ? { version } : {}),
      ...(typeof error === 'string' ? { error: { type: 'dissection', msg: error } } : {}),
      failed: failed === true,
      unanswered: unanswered === true,
      more: more === true,
    }
  }

  function take(hook: 'read' | 'end', text: string, bytes: ArrayBuffer): string {
    const asking = parse(text) as Asking
    const { object, calls } = defined[asking.definition]!
    const at = new Cursor(new Uint8Array(bytes), 0, bytes.byteLength, asking.whole)
    return attempt(hook, () => {
      const context = contextOf(asking)
      const found = calls[hook]!.call(object, at, context, asking.why)
      states.set(asking.state, (context as { state: unknown }).state)
      return { at: at.position, message: message(found) }
    })
  }

  return {
    definitions: () => stringify(defined.map(({ definition }) => definition)),
    probe(text, bytes) {
      const asking = parse(text) as Asking
      const { object, calls } = defined[asking.definition]!
      const at = new Cursor(new Uint8Array(bytes), 0, bytes.byteLength, asking.whole)
      return attempt('probe', () =>
        calls.probe!.call(object, at, asking.from, contextOf(asking)) === true ? 'yes' : 'no',
      )
    },
    open(definition) {
      const { object, calls } = defined[definition]!
      const number = ++numbers
      attempt('open', () => {
        states.set(number, calls.open?.call(object))
        return null
      })
      return number
    },
    drop(state) {
      states.delete(state)
    },
    read: (text, bytes) => take('read', text, bytes),
    end: (text, bytes) => take('end', text, bytes),
  }
}
