/** Makes one text of the runtime and of the helpers' inner parts, to be run inside each isolate. */
import { readFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import type { Helper } from '../../helper.ts'

const FILES = ['lazy-item.ts', 'runtime.ts']

/** Body of a function of seven arguments: the five calls of the bridge, the settings as JSON, the garbage collector. Returns `Inside`. */
export async function assemble(helpers: readonly Helper[]): Promise<string> {
  const texts = await Promise.all(FILES.map(file => readFile(new URL(file, import.meta.url), 'utf8')))
  const modules = texts.map(text => stripTypeScriptTypes(text).replace(/^import .*$|^export (?=\w)/gm, ''))
  return `'use strict'
${modules.join('\n')}
const fetchAsked = $0.applySyncPromise.bind($0)
const orderAsked = $1.applySyncPromise.bind($1)
return start(
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
)`
}

function opener(helper: Helper): string[] {
  if (helper.inside === undefined) return []
  const text = helper.inside.toString()
  if (!text.startsWith('inside('))
    throw new TypeError(`helper ${helper.name}: expected inside to be written as a method`)
  return [`${helper.name}: ({ ${text} }).inside`]
}
