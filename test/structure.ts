/**
 * What a machine can check of how the house is built: arrows between rooms, names, pairs of files, opening comments.
 * docs/architecture.md says why each rule is there; test/structure.test.ts runs them over the house and over bad samples.
 */

/** A text file of the repository; `path` is relative to its root, with slashes. */
export interface SourceFile {
  path: string
  text: string
}

export interface Violation {
  path: string
  what: string
}

/** `runtimePackages` are those that package.json installs for users, not only for developers. */
export function violations(files: readonly SourceFile[], runtimePackages: readonly string[]): Violation[] {
  const paths = new Set(files.map(file => file.path))
  const found: Violation[] = []
  for (const file of files) {
    for (const rule of RULES) {
      for (const what of rule(file, paths, runtimePackages)) found.push({ path: file.path, what })
    }
  }
  return found
}

type Rule = (file: SourceFile, paths: ReadonlySet<string>, runtimePackages: readonly string[]) => string[]

const RULES: readonly Rule[] = [
  arrows,
  purityOfCore,
  packages,
  names,
  openingComment,
  dissectorPair,
  exampleScript,
  exclusiveTest,
  foreignPath,
]

/** What each room may import of the house. Two words are no rooms: core's types, and its filter language. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  core: ['core'],
  scripting: ['core', 'scripting'],
  integrations: ['core', 'integrations'],
  worker: ['core', 'scripting', 'integrations', 'worker'],
  hub: ['core', 'scripting', 'integrations', 'hub'],
  dashboard: ['dashboard', 'core (types)', 'core/filter'],
  cli: ['core', 'scripting', 'integrations', 'worker', 'hub', 'cli'],
  bench: ['core', 'scripting', 'integrations', 'worker', 'hub', 'cli', 'bench'],
  examples: ['core', 'scripting', 'integrations', 'worker', 'hub', 'cli', 'examples'],
  test: ['core', 'scripting', 'integrations', 'worker', 'hub', 'dashboard', 'cli', 'bench', 'test'],
}

function arrows(file: SourceFile): string[] {
  const room = roomOf(file.path)
  const allowed = ARROWS[room]
  if (allowed === undefined || !isCode(file.path)) return []
  const wrong: string[] = []
  for (const imported of imports(file.text)) {
    if (!imported.from.startsWith('.')) continue
    const target = resolve(file.path, imported.from)
    const reached = roomOf(target)
    if (allowed.includes(reached)) continue
    if (imported.typesOnly && allowed.includes(`${reached} (types)`)) continue
    // Tests may use the traffic of the examples.
    if (isTest(file.path) && reached === 'examples') continue
    if (allowed.some(place => target.startsWith(`${place}/`))) continue
    wrong.push(`imports ${target}: ${room} may import ${allowed.join(', ')}`)
  }
  return wrong
}

/** Node's modules that compute and reach nothing. */
const PURE = ['node:buffer', 'node:crypto', 'node:string_decoder', 'node:url', 'node:util', 'node:zlib']
/** The folder is the registry: this one file lists it. */
const LISTS_ITS_FOLDER = { path: 'core/registry.ts', modules: ['node:fs', 'node:fs/promises', 'node:path'] }
const CLOCK_OR_CHANCE =
  /\b(Date\.now|performance\.now|process\.hrtime|Math\.random|setTimeout|setInterval|fetch)\(|\bnew Date\(\)/

function purityOfCore(file: SourceFile): string[] {
  if (roomOf(file.path) !== 'core' || !isCode(file.path) || isTest(file.path)) return []
  if (file.path.startsWith('core/testing/')) return []
  const wrong: string[] = []
  for (const { from } of imports(file.text)) {
    if (!from.startsWith('node:') || PURE.includes(from)) continue
    if (file.path === LISTS_ITS_FOLDER.path && LISTS_ITS_FOLDER.modules.includes(from)) continue
    wrong.push(`imports ${from}: core opens nothing, it may import ${PURE.join(', ')}`)
  }
  const call = CLOCK_OR_CHANCE.exec(withoutComments(file.text))
  if (call !== null) wrong.push(`calls ${call[0]}: time and chance come into core as arguments`)
  return wrong
}

/** Packages that only one place may touch, because what they can do is dangerous or fragile elsewhere. */
const ONLY_IN: Readonly<Record<string, string>> = {
  'isolated-vm': 'scripting/sandbox/',
  cap: 'worker/sources/',
}
const ROOMS_OF_THE_PRODUCT = ['core', 'scripting', 'integrations', 'worker', 'hub', 'cli']
/** Small pure decoders that Node has not. */
const PACKAGES_OF_CORE: readonly string[] = []

function packages(file: SourceFile, _paths: ReadonlySet<string>, runtimePackages: readonly string[]): string[] {
  const room = roomOf(file.path)
  if (!ROOMS_OF_THE_PRODUCT.includes(room) || !isCode(file.path)) return []
  const wrong: string[] = []
  for (const { from } of imports(file.text)) {
    if (from.startsWith('.') || from.startsWith('node:')) continue
    const name = from.split('/', from.startsWith('@') ? 2 : 1).join('/')
    const place = ONLY_IN[name]
    if (place !== undefined && !file.path.startsWith(place)) wrong.push(`imports ${name}: only ${place} may`)
    if (isTest(file.path)) continue
    if (!runtimePackages.includes(name)) wrong.push(`imports ${name}: not among the dependencies in package.json`)
    if (room === 'core' && !PACKAGES_OF_CORE.includes(name)) wrong.push(`imports ${name}: core imports no packages`)
  }
  return wrong
}

const NOWHERE_FOLDERS = ['src', 'lib', 'utils', 'common']
/** A helper's file is named after the global that scripts see, and `utils` is one. */
const NAMED_AFTER_GLOBALS = 'scripting/helpers/'
const NOTHING_NAMES = ['helpers', 'types', 'index', 'utils', 'common']
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*$/

function names(file: SourceFile): string[] {
  if (!(roomOf(file.path) in ARROWS) || !isCode(file.path)) return []
  const folders = file.path.split('/')
  const name = folders.pop()!
  const wrong: string[] = []
  for (const folder of folders) {
    if (NOWHERE_FOLDERS.includes(folder)) wrong.push(`lies in a folder named ${folder}, which says nothing`)
  }
  if (NOTHING_NAMES.includes(name.split('.')[0]!) && !file.path.startsWith(NAMED_AFTER_GLOBALS)) {
    wrong.push(`is named ${name}, which says nothing`)
  }
  if (!KEBAB.test(name)) wrong.push(`is named ${name}: expected kebab-case`)
  return wrong
}

function openingComment(file: SourceFile): string[] {
  if (!(roomOf(file.path) in ARROWS) || !isCode(file.path) || isTest(file.path)) return []
  const start = file.text.replace(/^#!.*\n/, '').trimStart()
  return /^\/[/*]/.test(start) ? [] : ['does not open with a comment that says what it is']
}

function dissectorPair(file: SourceFile, paths: ReadonlySet<string>): string[] {
  const name = /^core\/dissectors\/([^/]+)\.ts$/.exec(file.path)?.[1]
  if (name === undefined || isTest(file.path)) return []
  const wrong: string[] = []
  const test = `core/dissectors/${name}.test.ts`
  if (!paths.has(test)) wrong.push(`has no ${test}`)
  const fixtures = `core/fixtures/${name}/`
  if (![...paths].some(path => path.startsWith(fixtures))) wrong.push(`has no captures in ${fixtures}`)
  return wrong
}

/** An example is read in one sitting, or it is no example. */
const MAX_EXAMPLE_LINES = 60

function exampleScript(file: SourceFile): string[] {
  if (!/^examples\/scripts\/[^/]+\.[jt]s$/.test(file.path) || isTest(file.path)) return []
  const wrong: string[] = []
  const lines = file.text.trimEnd().split('\n').length
  if (lines > MAX_EXAMPLE_LINES) wrong.push(`has ${lines} lines: an example has at most ${MAX_EXAMPLE_LINES}`)
  if (!/^(\/\/|\/\*\*?)\s*\S.*?[.!?]/s.test(file.text)) wrong.push('does not begin with a sentence in a comment')
  return wrong
}

function exclusiveTest(file: SourceFile): string[] {
  if (!isTest(file.path)) return []
  const call = /\b(describe|context|it|specify)\.only\(/.exec(file.text)
  return call === null ? [] : [`calls ${call[0]}: the other tests would not run`]
}

/** Where somebody happened to write the code is nobody else's business. */
const FOREIGN_PATH = /(?<![\w.}-])\/(work|root)\/|\/tmp\/preface/

function foreignPath(file: SourceFile): string[] {
  const found = FOREIGN_PATH.exec(file.text)
  return found === null ? [] : [`names ${found[0]}: a path of one machine`]
}

interface Import {
  from: string
  typesOnly: boolean
}

function imports(text: string): Import[] {
  const code = withoutComments(text)
  const found: Import[] = []
  for (const [, typesOnly, from] of code.matchAll(
    /^\s*(?:import|export)\s+(type\s)?(?:[\w$*{}\s,]*?\sfrom\s+)?['"]([^'"\n]+)['"]/gm,
  )) {
    found.push({ from: from!, typesOnly: typesOnly !== undefined })
  }
  for (const [, from] of code.matchAll(/\b(?:import|require)\(\s*['"]([^'"\n]+)['"]/g)) {
    found.push({ from: from!, typesOnly: false })
  }
  return found
}

/** Whole-line and block comments only: a string that holds `//` must stay. */
function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*.*?\*\//gms, '').replace(/^\s*\/\/.*$/gm, '')
}

function roomOf(path: string): string {
  return path.slice(0, path.indexOf('/'))
}

function isCode(path: string): boolean {
  return /\.(ts|tsx|mts|js|mjs|cjs)$/.test(path) && !path.includes('/fixtures/')
}

function isTest(path: string): boolean {
  return /\.test\.tsx?$/.test(path)
}

function resolve(importer: string, from: string): string {
  return new URL(from, `file:///${importer}`).pathname.slice(1)
}
