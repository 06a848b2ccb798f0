/** Makes one text of the runtime and of the helpers' inner parts, to be run inside each isolate. */
import { Cursor, indexOf, MAX_SAFE_HIGH, Malformed } from '../../../core/cursor.ts'
import type { Helper } from '../../helper.ts'
import { dissectorsInside } from './dissectors.ts'
import { lazyItems } from './lazy-item.ts'
import { start } from './runtime.ts'

/**
 * Body of a function of seven arguments: the five calls of the bridge, the settings as JSON, the garbage collector.
 * Returns `Inside`.
 */
export function assemble(helpers: readonly Helper[]): string {
  return `'use strict'
const fetchAsked = $0.applySyncPromise.bind($0)
const orderAsked = $1.applySyncPromise.bind($1)
return (${start})(
  (${lazyItems})(),
  {
    fetch: (seq, row, path, whole) => fetchAsked(undefined, [seq, row, path, whole]),
    order: (global, member, args) => orderAsked(undefined, [global, member, args]),
    console: $2,
    failed: $3,
    timer: $4,
  },
  JSON.parse($5),
  { __proto__: null, ${helpers.flatMap(opener).join(', ')} },
  $6,
  ${dissectorsInside},
  ${CURSOR},
)`
}

/** The engine's own cursor; isolates have neither TextDecoder nor Buffer. */
const CURSOR = `(() => {
  const Incomplete = Object.freeze({ incomplete: true })
  const MAX_SAFE_HIGH = ${MAX_SAFE_HIGH}
  ${Malformed}
  ${indexOf}
  function latin1(bytes, start, end) {
    let text = ''
    for (let at = start; at < end; at += 8192) text += String.fromCharCode.apply(null, bytes.subarray(at, Math.min(end, at + 8192)))
    return text
  }
  function utf8(bytes, start, end) {
    const text = latin1(bytes, start, end)
    try {
      return decodeURIComponent(escape(text))
    } catch {
      // Not UTF-8: what is no character becomes U+FFFD.
      return text.replace(/[\\x80-\\xff]+/g, part => {
        try {
          return decodeURIComponent(escape(part))
        } catch {
          return '\\ufffd'.repeat(part.length)
        }
      })
    }
  }
  ${Cursor}
  return { Cursor, Incomplete, Malformed }
})()`

function opener(helper: Helper): string[] {
  if (helper.inside === undefined) return []
  const text = helper.inside.toString()
  if (!text.startsWith('inside('))
    throw new TypeError(`helper ${helper.name}: expected inside to be written as a method`)
  return [`${helper.name}: ({ ${text} }).inside`]
}
