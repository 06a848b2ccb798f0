/** Runs a program to its end and says what it cost; finds the programs to compare with. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Fault } from '../core/fault.ts'

export const HOOKLINE = fileURLToPath(new URL('../hookline', import.meta.url))

export interface Cost {
  /** Seconds of CPU, user and system, of the program and every process it waited for. */
  cpu: number
  /** Seconds on the clock. */
  wall: number
  /** Largest resident size of one process, in MB of 10^6 bytes. */
  resident: number
}

/** GNU time is the only one that tells the resident size of somebody else's process. */
const TIME = '/usr/bin/time'

/** Standard output goes to /dev/null. Throws when the program fails. */
export async function measure(command: readonly string[]): Promise<Cost> {
  return inFolder(async folder => {
    const report = `${folder}/time`
    await run([TIME, '-q', '-o', report, '-f', '%U %S %e %M', ...command], 'ignore')
    const [user, system, wall, kibibytes] = readFileSync(report, 'utf8').trim().split(' ').map(Number)
    return { cpu: user! + system!, wall: wall!, resident: (kibibytes! * 1024) / 1e6 }
  })
}

/** Lines of standard output that hold `text`. */
export async function countLines(command: readonly string[], text: string): Promise<number> {
  let count = 0
  let rest = ''
  await run(command, chunk => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) if (line.includes(text)) count++
  })
  return count
}

/** First line of what the program says about itself, null when it is not installed. */
export async function versionOf(command: readonly string[]): Promise<string | null> {
  let text = ''
  try {
    await run(command, chunk => {
      text += chunk
    })
  } catch (error) {
    if (error instanceof Fault || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  return text.split('\n')[0]!
}

/** A folder for the time of `work`. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(`${tmpdir()}/hookline-bench-`)
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** One line that a machine can read too. */
export function figure(name: string, value: number, unit: string): void {
  const digits = unit === 'x' || (unit === 's' && value < 100) ? 2 : unit === '%' ? 1 : 0
  process.stdout.write(`figure ${name} ${value.toFixed(digits)} ${unit}\n`)
}

export function note(text: string): void {
  process.stdout.write(`# ${text}\n`)
}

function run(command: readonly string[], output: 'ignore' | ((chunk: string) => void)): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', output === 'ignore' ? 'ignore' : 'pipe', 'pipe'],
    })
    let complaint = ''
    if (output !== 'ignore') child.stdout!.setEncoding('utf8').on('data', output)
    child.stderr!.setEncoding('utf8').on('data', chunk => {
      complaint = (complaint + chunk).slice(-2000)
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else
        reject(
          new Fault(
            'PROGRAM_FAILED',
            `${command.join(' ')}: expected exit code 0, found ${code ?? signal}: ${complaint.trim()}`,
          ),
        )
    })
  })
}
