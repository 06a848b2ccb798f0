/** A script: its file, its title, and its code as plain JavaScript whose lines and columns are those of the file. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { basename, join, resolve } from 'node:path'
import { Script as Compiled } from 'node:vm'
import { Fault } from '../core/fault.ts'
import { HOOKS, nearestHook } from './hooks.ts'

export interface Script {
  /** Text of the file's first comment, else the file's name. */
  title: string
  file: string
  code: string
  /** Hooks that it defines and that are not served yet. */
  unserved: readonly string[]
  /** It names no hook and no `dissector`: nothing of it will be called. */
  idle: boolean
}

/** `.js` and `.ts` files, or folders of such (not their subfolders). */
export async function loadScripts(paths: readonly string[]): Promise<Script[]> {
  const files: string[] = []
  for (const path of paths) files.push(...(await filesAt(path)))
  const twice = files.find((file, i) => files.findIndex(other => resolve(other) === resolve(file)) < i)
  if (twice !== undefined) throw new Fault('SCRIPT_TWICE', `expected each script once, found ${twice} twice`)
  const scripts = await Promise.all(files.map(async file => readScript(file, await read(file))))
  return scripts.map(script => ({ ...script, title: distinctTitle(script, scripts) }))
}

/** Where others have the same title, the file says which is which: in front, since long titles are cut at their end. */
function distinctTitle({ title, file }: Script, scripts: readonly Script[]): string {
  const namesakes = scripts.filter(other => other.title === title)
  if (namesakes.length === 1) return title
  const name = basename(file)
  const shown = namesakes.filter(other => basename(other.file) === name).length === 1 ? name : file
  return title === name ? shown : `${shown}: ${title}`
}

export function readScript(file: string, source: string): Script {
  const shortName = basename(file)
  const code = plain(source, file)
  compile(code, file)
  const outline = withoutWords(code)
  const defined = topLevelFunctions(outline)
  for (const { name, line } of defined) {
    if (HOOKS.some(hook => hook.name === name)) continue
    const near = nearestHook(name)
    const hint = near === null ? `expected one of ${HOOKS.map(hook => hook.name).join(', ')}` : `did you mean ${near}?`
    throw new Fault('SCRIPT_UNKNOWN_HOOK', `${file}:${line}: there is no hook ${name}; ${hint}`)
  }
  const unserved = HOOKS.filter(hook => !hook.served && defined.some(({ name }) => name === hook.name))
  return {
    title: titleOf(source) ?? shortName,
    file,
    code,
    unserved: unserved.map(hook => hook.name),
    idle: !NAMES_WHAT_IS_CALLED.test(outline),
  }
}

const NAMES_WHAT_IS_CALLED = new RegExp(`\\b(${HOOKS.map(hook => hook.name).join('|')}|dissector)\\b`)

async function filesAt(path: string): Promise<string[]> {
  const found = await stat(path).catch(cause => {
    throw unreadable(path, cause)
  })
  if (!found.isDirectory()) {
    if (!isScript(path))
      throw new Fault('SCRIPT_NOT_A_SCRIPT', `expected a file that ends in .js or .ts, found ${path}`)
    return [path]
  }
  const entries = await readdir(path, { withFileTypes: true }).catch(cause => {
    throw unreadable(path, cause)
  })
  const names = entries
    .filter(entry => entry.isFile() && isScript(entry.name))
    .map(entry => entry.name)
    .sort()
  if (names.length === 0) throw new Fault('SCRIPT_NOT_FOUND', `expected .js or .ts files in ${path}, found none`)
  return names.map(name => join(path, name))
}

function read(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(cause => {
    throw unreadable(file, cause)
  })
}

function unreadable(path: string, { code, message }: NodeJS.ErrnoException): Fault {
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new Fault('SCRIPT_NOT_FOUND', `expected a script or a folder of scripts, found nothing at ${path}`)
  const found = code === 'EACCES' || code === 'EPERM' ? 'no permission to read' : message
  return new Fault('SCRIPT_UNREADABLE', `expected a readable script or folder of scripts at ${path}, found ${found}`)
}

function isScript(file: string): boolean {
  return /\.[jt]s$/.test(file) && !/(\.d|\.test)\.ts$/.test(file)
}

/** TypeScript loses its types, modules their `export`; both leave blanks, so that positions stay. */
function plain(source: string, file: string): string {
  let code = source.startsWith('\uFEFF') ? ` ${source.slice(1)}` : source
  if (file.endsWith('.ts')) {
    try {
      code = stripTypeScriptTypes(code, { mode: 'strip' })
    } catch (error) {
      throw syntaxFault(file, error as Error)
    }
  }
  const imported = /^import\b(?!\s*\()/m.exec(withoutWords(code))
  if (imported !== null) {
    const line = code.slice(0, imported.index).split('\n').length
    throw new Fault('SCRIPT_SYNTAX', `${file}:${line}:1: a script stands alone and cannot import`)
  }
  return code
    .replace(/^export\s+(?:default\s+)?(?=(?:async\s+)?function\b|const\b|let\b|var\b|class\b)/gm, blanks)
    .replace(/^export\s*\{[^}]*\};?/gm, blanks)
}

function blanks(text: string): string {
  return text.replace(/[^\n]/g, ' ')
}

function compile(code: string, file: string): void {
  try {
    new Compiled(code, { filename: file })
  } catch (error) {
    throw syntaxFault(file, error as Error)
  }
}

/** The stack begins with `file:line`, the line itself, perhaps those around it, and a line of blanks and carets below. */
function syntaxFault(file: string, { message, stack }: Error): Fault {
  const lines = String(stack).split('\n')
  const line = /:(\d+)$/.exec(lines[0]!)?.[1] ?? '1'
  const column = (lines.find(text => /^\s*\^+\s*$/.test(text))?.indexOf('^') ?? 0) + 1
  const cause = message.split('\n').find(text => text.trim() !== '') ?? ''
  return new Fault('SCRIPT_SYNTAX', `${file}:${line}:${column}: ${cause.trim()}`)
}

function titleOf(source: string): string | null {
  const comment = [...source.matchAll(WORDS)].find(([text]) => text.startsWith('/'))?.[0]
  if (comment === undefined) return null
  const lines = comment
    .replace(/\*\/$/, '')
    .split('\n')
    .map(line => line.replace(/^[\s*/]+|[\s*]+$/g, ''))
  return lines.find(line => line !== '') ?? null
}

/** Functions that begin at the start of a line: `function onX`, `var onX = function`, `const onX = async () =>`. */
/** Line on which the script defines the hook; null where it does not, or in a way that cannot be seen. */
export function hookLine(hook: string, code: string): number | null {
  return topLevelFunctions(withoutWords(code)).find(({ name }) => name === hook)?.line ?? null
}

function topLevelFunctions(outline: string): { name: string; line: number }[] {
  const found: { name: string; line: number }[] = []
  const pattern =
    /^(?:(?:async\s+)?function\s*\*?\s*(on[A-Z]\w*)|(?:var|let|const)\s+(on[A-Z]\w*)\s*=\s*(?:async\s*)?(?:function\b|\(|\w+\s*=>))/gm
  for (const match of outline.matchAll(pattern)) {
    found.push({ name: (match[1] ?? match[2])!, line: outline.slice(0, match.index).split('\n').length })
  }
  return found
}

/** The code with comments and strings blanked. */
export function withoutWords(code: string): string {
  return code.replace(WORDS, blanks)
}

/** Comments and strings. */
const WORDS = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g
