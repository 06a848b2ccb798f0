/** Starts ./hookline as users do, for tests: with a home of its own and no terminal. */
import { type ChildProcessWithoutNullStreams, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export const HOME = fileURLToPath(new URL('../..', import.meta.url))
export const SHOP_PCAP = `${HOME}examples/captures/shop.pcap`

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** `stateHome`: an empty folder, where spools go. */
export function start(
  stateHome: string,
  words: readonly string[],
  more: Record<string, string> = {},
  options: Pick<SpawnOptions, 'detached'> = {},
): ChildProcessWithoutNullStreams {
  const { FORCE_COLOR: _, NO_COLOR: __, COLUMNS: ___, ...env } = process.env
  return spawn(`${HOME}hookline`, words, {
    cwd: HOME,
    env: { ...env, XDG_STATE_HOME: stateHome, ...more },
    ...options,
  })
}

export async function hookline(stateHome: string, words: readonly string[], input?: Uint8Array): Promise<Ended> {
  const child = start(stateHome, words)
  // It may end before it has read everything.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return ended(child)
}

export async function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const all = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', text => {
    all.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    all.stderr += text
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...all }
}
