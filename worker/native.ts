/**
 * Loads the addon of worker/native/, which asks the kernel for what Node cannot: packet rings, bpf(2), sockets of other
 * namespaces. `.ci/setup` builds it where a compiler is. Each file that uses functions of it declares them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { getSystemErrorMap } from 'node:util'
import { Fault } from '../core/fault.ts'

/** A thing of the addon's own: it is freed when nobody refers to it any more. */
export type Handle = { readonly handle: unique symbol }

/** `Functions` is what the caller says the addon has; a Fault with the remedy when there is no addon. */
export function loadNative<Functions>(): Functions {
  const missing = whyNoNative()
  if (missing !== null) throw new Fault('NATIVE_NOT_BUILT', missing)
  return require(ADDON) as Functions
}

/** Why there is no addon, and what to do about it; null: there is one. */
export function whyNoNative(): string | null {
  if (process.platform !== 'linux') return 'AF_PACKET and eBPF are of Linux alone'
  try {
    require(ADDON)
    return isCurrent() ? null : 'the native addon was built from other sources than these: run `make setup`'
  } catch (error) {
    const cause = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND' ? 'is not built' : 'does not load'
    const detail = cause === 'is not built' ? '' : ` (${(error as Error).message})`
    return `the native addon ${cause}${detail}: install gcc, g++, make, python3 and libpcap-dev, then run \`make setup\``
  }
}

/** `ENOMEM (not enough memory)` for what a function of the addon returned below 0. */
export function errorName(code: number): string {
  const [name, words] = getSystemErrorMap().get(code) ?? [`error ${-code}`, 'unknown']
  return `${name} (${words})`
}

/** The privileges that this process has in effect: bits of <linux/capability.h>. */
export const CAPABILITY = { netAdmin: 12, netRaw: 13, sysAdmin: 21, perfmon: 38, bpf: 39 } as const

/** true also where nobody can know. */
export function isAllowed(capability: keyof typeof CAPABILITY): boolean {
  try {
    const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    return effective === undefined || ((BigInt(`0x${effective}`) >> BigInt(CAPABILITY[capability])) & 1n) === 1n
  } catch {
    return true
  }
}

/** What it was built from lies beside it. Calling functions with what others expect would be worse than having none. */
function isCurrent(): boolean {
  return readdirSync(SOURCES).every(name => {
    try {
      return readFileSync(join(SOURCES, name)).equals(readFileSync(join(BUILT, name)))
    } catch {
      return false
    }
  })
}

const require = createRequire(import.meta.url)
const SOURCES = fileURLToPath(new URL('native/', import.meta.url))
const BUILT = fileURLToPath(new URL('../node_modules/.native/', import.meta.url))
const ADDON = '../node_modules/.native/build/Release/hookline.node'
