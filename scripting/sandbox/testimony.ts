/**
 * What an isolate or the sandbox process tells of dissectors, checked before anybody believes it: a script may have
 * broken the runtime around it, and somebody may have broken out.
 */
import type { Instant } from '../../core/connections.ts'
import type { Carried } from '../../core/item-packets.ts'
import type { ProtocolTally } from '../../core/tally.ts'
import type { Findings } from './dissection.ts'
import type { Definition } from './inside/dissectors.ts'

/** Of one script; each is asked about every stream that nobody knows. */
const MAX_DEFINITIONS = 16
/** Characters; every item repeats them. */
const MAX_TEXT = 500
/** Causes, limits, protocols: of each there are few, and the host keeps them all. */
const MAX_ENTRIES = 1000

/** Of an item: request, response, event. */
const MAX_PARTS = 3

const NAME = /^[a-z][a-z0-9-]{0,31}$/
const COLOR = /^#[0-9a-f]{6}$/i
const CAUSE = /^[A-Za-z -]{1,40}$/

/** Throws TypeError when they are none. */
export function definitionsOf(told: unknown): Definition[] {
  return listOf('definitions', told, MAX_DEFINITIONS).map(one => {
    const { name, title, abbr, version, color, reference, transports, ports, priority, keyed, patience, ends } =
      recordOf('a definition', one)
    return {
      name: matching('name', NAME, name),
      title: textOf('title', title),
      abbr: textOf('abbr', abbr),
      version: textOf('version', version),
      color: matching('color', COLOR, color),
      reference: textOf('reference', reference),
      transports: listOf('transports', transports, 2).map(transport => {
        if (transport !== 'tcp' && transport !== 'udp') wrong('a transport of tcp and udp', transport)
        return transport
      }),
      ports: listOf('ports', ports, 0xffff).map(port => countOf('a port', port)),
      priority: numberOf('priority', priority),
      keyed: keyed === true,
      patience: patience === null ? null : numberOf('patience', patience),
      ends: ends === true,
    }
  })
}

/** Throws TypeError when they are none, or tell of more than `unread` bytes, which is what was sent and not told of. */
export function findingsOf(told: unknown, lines: Buffer, unread: number): Omit<Findings, 'items'> {
  const { count, parsed, skipped, limits, protocols, unwanted, sought } = recordOf('findings', told)
  const findings = {
    count: countOf('count', count),
    parsed: countOf('parsed', parsed),
    skipped: pairsOf('skipped', skipped, countOf),
    limits: pairsOf('limits', limits, countOf),
    protocols: pairsOf('protocols', protocols, tallyOf),
    unwanted: listOf('unwanted', unwanted, Number.POSITIVE_INFINITY).map(stream => countOf('a stream', stream)),
    sought: sought === null ? null : listOf('sought', sought, MAX_PARTS).map(carriedOf),
  }
  const bytes = findings.skipped.reduce((sum, [, one]) => sum + one, findings.parsed)
  if (bytes > unread) wrong(`at most ${unread} bytes that were read`, bytes)
  checkLines(lines, findings.count)
  return findings
}

function carriedOf(told: unknown): Carried {
  const { half, first, last } = recordOf('a part', told)
  if (half !== 'forth' && half !== 'back') wrong('a half of forth and back', half)
  return { half, first: instantOf(first), last: instantOf(last) }
}

function instantOf(told: unknown): Instant {
  const { seconds, nanoseconds } = recordOf('a moment', told)
  return { seconds: countOf('seconds', seconds), nanoseconds: countOf('nanoseconds', nanoseconds) }
}

function checkLines(lines: Buffer, count: number): void {
  let found = 0
  for (let at = 0; at < lines.length; found++) {
    const end = lines.indexOf(10, at)
    if (end < 0) wrong('lines', 'one without an end')
    recordOf('an item', JSON.parse(lines.toString('utf8', at, end)))
    at = end + 1
  }
  if (found !== count) wrong(`${count} items`, found)
}

function pairsOf<Value>(what: string, told: unknown, read: (what: string, told: unknown) => Value): [string, Value][] {
  return listOf(what, told, MAX_ENTRIES).map(pair => {
    const [name, value] = listOf(what, pair, 2)
    return [matching(what, what === 'protocols' ? NAME : CAUSE, name), read(what, value)]
  })
}

function tallyOf(what: string, told: unknown): ProtocolTally {
  const { items, pairs, halfPairs, events, failed, bytes } = recordOf(what, told)
  return {
    items: countOf('items', items),
    pairs: countOf('pairs', pairs),
    halfPairs: countOf('halfPairs', halfPairs),
    events: countOf('events', events),
    failed: countOf('failed', failed),
    bytes: countOf('bytes', bytes),
  }
}

function recordOf(what: string, told: unknown): Record<string, unknown> {
  if (typeof told !== 'object' || told === null || Array.isArray(told)) wrong(what, told)
  return told as Record<string, unknown>
}

function listOf(what: string, told: unknown, most: number): unknown[] {
  if (!Array.isArray(told) || told.length > most) wrong(`${what} to be an array of at most ${most}`, told)
  return told
}

function textOf(what: string, told: unknown): string {
  if (typeof told !== 'string' || told.length > MAX_TEXT) wrong(`${what} to be text of at most ${MAX_TEXT}`, told)
  return told
}

function matching(what: string, pattern: RegExp, told: unknown): string {
  if (typeof told !== 'string' || !pattern.test(told)) wrong(`${what} to be like ${pattern.source}`, told)
  return told
}

function countOf(what: string, told: unknown): number {
  if (!Number.isSafeInteger(told) || (told as number) < 0) wrong(`${what} to be a count`, told)
  return told as number
}

function numberOf(what: string, told: unknown): number {
  if (typeof told !== 'number') wrong(`${what} to be a number`, told)
  return told
}

/** Characters of what was found instead. */
const SHOWN = 100

function wrong(expected: string, found: unknown): never {
  throw new TypeError(`expected ${expected}, found ${(JSON.stringify(found) ?? 'nothing').slice(0, SHOWN)}`)
}
