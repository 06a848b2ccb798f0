import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type SourceFile, violations } from './structure.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

describe('structure of the house', () => {
  it('keeps its rules', () => {
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
    const packages = Object.keys({ ...dependencies, ...optionalDependencies })
    const found = violations([...textFiles('')], packages)
    assert.equal(found.map(({ path, what }) => `${path} ${what}`).join('\n'), '')
  })
})

describe('structure checker', () => {
  const opening = '/** A sample. */\n'

  /** Each is one file that breaks one rule; the words are what the complaint must say. */
  const BAD: readonly [rule: string, path: string, text: string, complaint: RegExp][] = [
    [
      'core importing another room',
      'core/a.ts',
      `${opening}import { b } from '../worker/b.ts'\n`,
      /imports worker\/b\.ts/,
    ],
    [
      'a test importing against the arrows',
      'core/a.test.ts',
      `import { b } from '../worker/b.ts'\n`,
      /imports worker\/b\.ts/,
    ],
    [
      'types imported against the arrows',
      'scripting/a.ts',
      `${opening}import type { B } from '../integrations/b.ts'\n`,
      /integrations/,
    ],
    [
      'imports over several lines',
      'hub/a.ts',
      `${opening}import {\n  b,\n  c,\n} from '../worker/b.ts'\n`,
      /worker\/b/,
    ],
    ['re-exports', 'worker/a.ts', `${opening}export * from '../hub/b.ts'\n`, /hub\/b/],
    ['imports at run time', 'worker/a.ts', `${opening}const b = await import('../hub/b.ts')\n`, /hub\/b/],
    ['imports for their effect', 'integrations/a.ts', `${opening}import '../scripting/b.ts'\n`, /scripting\/b/],
    [
      'code of core in the dashboard',
      'dashboard/a.ts',
      `${opening}import { b } from '../core/item.ts'\n`,
      /core\/item/,
    ],
    ['network in core', 'core/a.ts', `${opening}import net from 'node:net'\n`, /node:net/],
    ['files in core', 'core/a.ts', `${opening}import { readFileSync } from 'node:fs'\n`, /node:fs/],
    ['a clock in core', 'core/a.ts', `${opening}const now = Date.now()\n`, /Date\.now/],
    ['chance in core', 'core/a.ts', `${opening}const id = Math.random()\n`, /Math\.random/],
    ['packages in core', 'core/a.ts', `${opening}import { Command } from 'commander'\n`, /core imports no packages/],
    ['undeclared packages', 'worker/a.ts', `${opening}import glob from 'glob'\n`, /not among the dependencies/],
    ['isolates elsewhere', 'cli/a.ts', `${opening}import ivm from 'isolated-vm'\n`, /only scripting\/sandbox/],
    ['a folder that says nothing', 'worker/utils/a.ts', opening, /folder named utils/],
    ['a name that says nothing', 'core/helpers.ts', opening, /named helpers\.ts/],
    ['camel case', 'core/jsonWriter.ts', opening, /kebab-case/],
    ['no opening comment', 'core/a.ts', 'export const a = 1\n', /does not open with a comment/],
    ['a dissector without test', 'core/dissectors/smtp.ts', opening, /has no core\/dissectors\/smtp\.test\.ts/],
    ['a dissector without captures', 'core/dissectors/smtp.ts', opening, /no captures in core\/fixtures\/smtp/],
    ['a long example', 'examples/scripts/a.js', `// Counts.\n${'count++\n'.repeat(60)}`, /has 61 lines/],
    ['an example without a sentence', 'examples/scripts/a.js', 'let count = 0\n', /does not begin with a sentence/],
    ['a test that silences others', 'core/a.test.ts', `it${'.only'}('works')\n`, /\.only\(/],
    ['a path of one machine', 'docs/a.md', `see /${'root'}/notes\n`, /a path of one machine/],
  ]

  for (const [rule, path, text, complaint] of BAD) {
    it(`finds ${rule}`, () => {
      const complaints = violations([{ path, text }], ['commander', 'isolated-vm'])
      assert.match(complaints.map(({ what }) => what).join('\n'), complaint)
      assert(complaints.every(({ path: named }) => named === path))
    })
  }

  const GOOD: readonly SourceFile[] = [
    {
      path: 'core/a.ts',
      text: `${opening}import { b } from './filter/b.ts'\nimport { gunzipSync } from 'node:zlib'\n`,
    },
    { path: 'core/registry.ts', text: `${opening}import { readdir } from 'node:fs/promises'\n` },
    { path: 'core/a.test.ts', text: `import { readFileSync } from 'node:fs'\n` },
    { path: 'core/dissectors/smtp.ts', text: opening },
    { path: 'core/dissectors/smtp.test.ts', text: '' },
    { path: 'core/fixtures/smtp/hello.json', text: '[]' },
    { path: 'dashboard/a.ts', text: `${opening}import type { Item } from '../core/item.ts'\n` },
    { path: 'dashboard/b.ts', text: `${opening}import { parse } from '../core/filter/parser.ts'\n` },
    { path: 'scripting/sandbox/isolate.js', text: `${opening}import ivm from 'isolated-vm'\n` },
    { path: 'scripting/a.ts', text: `${opening}// import { b } from '../hub/b.ts'\n` },
    { path: 'cli/run.ts', text: `#!/usr/bin/env node\n${opening}import { b } from '../worker/b.ts'\n` },
    { path: 'examples/scripts/a.js', text: '// Counts requests by route.\n' },
  ]

  it('lets good files be', () => {
    assert.deepEqual(violations(GOOD, ['commander', 'isolated-vm']), [])
  })
})

/** Captures and other bytes are not text to be checked. */
const TEXT = /(^|\/)[^.]+$|\.(ts|tsx|js|mjs|cjs|json|md|sh|ya?ml|c|h|css|html)$/
const NOT_OURS = new Set(['node_modules', '.git', '.cache', 'scratch', 'package-lock.json'])

function* textFiles(folder: string): Generator<SourceFile> {
  for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
    if (NOT_OURS.has(entry.name)) continue
    const path = folder + entry.name
    if (entry.isDirectory()) yield* textFiles(`${path}/`)
    else if (TEXT.test(path)) yield { path, text: readFileSync(root + path, 'utf8') }
    else yield { path, text: '' }
  }
}
