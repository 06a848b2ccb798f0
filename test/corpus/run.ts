/**
 * Reads the captures of the corpus, compares what came out with what the programs on the wire wrote down (`*.truth.json`)
 * and, beside that, with what tshark counted.
 *
 *   npm run corpus [-- FOLDER… --corpus DIR --json]
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Comparison, Truthful } from './comparison.ts'
import { EXPLANATIONS, type Explanation, explain } from './explained.ts'
import { type Counters, type Counts, differences } from './oracle.ts'
import { Reader, type Reading } from './reading.ts'

interface CaptureRecord {
  path: string
  packets: number
  counts: Counts
  truth?: string
}

interface Totals {
  files: number
  expected: number
  equal: number
  missing: number
  wrong: number
  /** Missing or wrong, and known why; not expected. */
  explained: number
}

/** What is resident at the end, whatever was read. */
const MAX_RESIDENT_MB = 400
const SHOWN_FINDINGS = 5

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { corpus: { type: 'string' }, json: { type: 'boolean', default: false }, help: { type: 'boolean' } },
})
const corpus = resolve(values.corpus ?? fileURLToPath(new URL('../../../shared/corpus', import.meta.url)))
if (values.help) {
  process.stderr.write('usage: npm run corpus [-- FOLDER… --corpus DIR --json]\n')
} else if (!existsSync(`${corpus}/index.json`)) {
  process.stderr.write(`corpus: expected index.json in ${corpus}, found none: name the folder with --corpus DIR\n`)
  process.exitCode = 2
} else {
  process.exitCode = (await readAll(positionals)) ? 0 : 1
}

/** Says whether everything was as it should be. */
async function readAll(folders: string[]): Promise<boolean> {
  const all: CaptureRecord[] = JSON.parse(readFileSync(`${corpus}/index.json`, 'utf8'))
  for (const folder of folders) {
    if (!all.some(({ path }) => path.startsWith(`${folder}/`))) {
      process.stderr.write(`corpus: no captures in ${folder}/\n`)
      return false
    }
  }
  const captures = all.filter(({ path }) => folders.length === 0 || folders.includes(path.split('/')[0]!))
  const comparisons = await loadComparisons()
  const counters = Object.assign({}, ...[...comparisons.values()].map(({ counters }) => counters))
  const explanations: Explanation[] = [...comparisons.values()].flatMap(({ explanations }) => explanations ?? [])
  explanations.push(...EXPLANATIONS)
  const totals: Record<string, Totals> = {}
  const reader = new Reader()
  let [crashes, faults, unexplained, explained] = [0, 0, 0, 0]
  let everything = true

  for (const capture of captures) {
    const reading = await reader.read(`${corpus}/${capture.path}`)
    const lines: string[] = []
    if (reading.crash !== null) {
      crashes++
      lines.push(`  CRASH ${reading.crash}`)
    }
    if (reading.fault !== null) {
      faults++
      lines.push(`  said: ${reading.fault}`)
    }
    if (reading.unaccounted !== 0) {
      everything = false
      lines.push(`  ${reading.unaccounted} bytes neither parsed nor skipped`)
    }

    const results = compareWithTruth(capture, reading, comparisons)
    for (const [protocol, result] of results) {
      totals[protocol] ??= { files: 0, expected: 0, equal: 0, missing: 0, wrong: 0, explained: 0 }
      const why = explain(explanations, capture.path, protocol)
      if (why !== undefined) for (const finding of [...result.missing, ...result.wrong]) finding.why ??= why
      lines.push(...add(totals[protocol], protocol, result))
    }

    const proven = countsProvenBy(results, comparisons)
    for (const difference of countsThatDiffer(capture, reading, counters)) {
      const { count, tshark, found } = difference
      const why =
        explain(explanations, capture.path, count, difference, reading.items) ??
        (proven.some(name => count.startsWith(name)) ? 'the truth file agrees with what was found' : undefined)
      if (why === undefined) unexplained++
      else explained++
      lines.push(`  ${count}: tshark ${tshark}, found ${found}${why === undefined ? '  UNEXPLAINED' : ` (${why})`}`)
    }
    if (lines.length > 0) print(`${capture.path}\n${lines.join('\n')}`)
  }
  await reader.close()

  const resident = Math.round(process.resourceUsage().maxRSS / 1024)
  print('')
  for (const [protocol, t] of Object.entries(totals)) {
    const share = t.expected === 0 ? '' : ` (${((100 * t.equal) / t.expected).toFixed(2)} %)`
    print(
      `${protocol}: ${t.files} files, ${t.expected} expected, ${t.equal} equal${share}, ${t.missing} missing, ${t.wrong} wrong, ${t.explained} explained`,
    )
    everything &&= t.missing + t.wrong === 0
  }
  print(`${captures.length} captures: ${crashes} crashes or hangs, ${faults} refused with a clear line`)
  print(`tshark's counts: ${unexplained} differences unexplained, ${explained} explained`)
  print(`at most ${resident} MB resident (limit ${MAX_RESIDENT_MB})`)
  if (values.json) process.stdout.write(`${JSON.stringify(totals)}\n`)
  return everything && crashes === 0 && unexplained === 0 && resident <= MAX_RESIDENT_MB
}

/** The files of this folder that know a protocol's truth files, by the name of the corpus's folder. */
async function loadComparisons(): Promise<Map<string, Truthful>> {
  const found = new Map<string, Truthful>()
  for (const file of readdirSync(new URL('.', import.meta.url)).sort()) {
    const protocol = basename(file, '.ts')
    if (!existsSync(`${corpus}/${protocol}`)) continue
    const module = await import(new URL(file, import.meta.url).href)
    if (typeof module.compare !== 'function') throw new TypeError(`test/corpus/${file} must export \`compare\``)
    found.set(protocol, module)
  }
  return found
}

/** One comparison for each truth that the capture holds and that there is a comparison for. */
function compareWithTruth(
  capture: CaptureRecord,
  reading: Reading,
  comparisons: Map<string, Truthful>,
): [protocol: string, result: Comparison][] {
  if (capture.truth === undefined || reading.crash !== null) return []
  const truth = JSON.parse(readFileSync(`${corpus}/${capture.truth}`, 'utf8'))
  const bases: (string | null)[] = truth.derived_from === undefined ? [null] : [truth.derived_from].flat()
  return bases.flatMap((base): [string, Comparison][] => {
    const protocol = (base ?? capture.path).split('/')[0]!
    const compare = comparisons.get(protocol)?.compare
    if (compare === undefined) return []
    const context = {
      capture: capture.path,
      base: base === null ? null : JSON.parse(readFileSync(`${corpus}/${base}`, 'utf8')),
      expect: expectationOf(truth.expect),
    }
    return [[protocol, compare(truth, reading.items, context)]]
  })
}

/** Names of the counts that are beyond doubt: of protocols of which something was compared, and all was equal. */
function countsProvenBy(
  results: readonly [protocol: string, result: Comparison][],
  comparisons: Map<string, Truthful>,
): string[] {
  const equal = results.filter(([, one]) => one.equal > 0 && one.missing.length + one.wrong.length === 0)
  return equal.flatMap(([protocol]) => Object.keys(comparisons.get(protocol)?.counters ?? {}))
}

/** The corpus says it in sentences: `subset, no crash`, `flows only / no crash`. */
function expectationOf(sentence: string | undefined): string | undefined {
  return (
    ['same', 'subset', 'twice'].find(word => sentence?.startsWith(word)) ??
    (sentence?.includes('no crash') ? 'no crash' : sentence)
  )
}

function add(total: Totals, protocol: string, result: Comparison): string[] {
  const missing = result.missing.filter(({ why }) => why === undefined)
  const wrong = result.wrong.filter(({ why }) => why === undefined)
  const known = [...result.missing, ...result.wrong].filter(({ why }) => why !== undefined)
  const explained = known.length
  total.files++
  total.expected += result.expected - known.filter(({ unexpected }) => !unexpected).length
  total.equal += result.equal
  total.missing += missing.length
  total.wrong += wrong.length
  total.explained += explained
  const lines = [
    `  ${protocol}: ${result.equal} equal, ${missing.length} missing, ${wrong.length} wrong${explained > 0 ? `, ${explained} explained` : ''}`,
  ]
  for (const [label, list] of [
    ['missing', missing],
    ['wrong', wrong],
  ] as const) {
    for (const { what } of list.slice(0, SHOWN_FINDINGS)) lines.push(`    ${label}: ${what}`)
    if (list.length > SHOWN_FINDINGS) lines.push(`    ${label}: ${list.length - SHOWN_FINDINGS} more`)
  }
  return lines
}

function countsThatDiffer(
  capture: CaptureRecord,
  reading: Reading,
  counters: Counters,
): { count: string; tshark: number; found: number }[] {
  if (reading.crash !== null) return []
  const found = differences(counters, capture.counts, reading.items)
  if (reading.packets !== capture.packets) {
    found.unshift({ count: 'packets', tshark: capture.packets, found: reading.packets })
  }
  return found
}

function print(line: string): void {
  ;(values.json ? process.stderr : process.stdout).write(`${line}\n`)
}
