/** What of Hookline works on this machine, and what each thing that does not needs: for `hookline doctor` and for whoever asks. */
import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { release } from 'node:os'
import { dirname, join } from 'node:path'
import { Fault } from '../core/fault.ts'
import { ScriptHost } from '../scripting/host.ts'
import { readScript } from '../scripting/script.ts'
import type { CaptureOptions } from './capture.ts'
import { CAPABILITY, isAllowed, whyNoNative } from './native.ts'
import { chooseSource, SOURCES } from './sources/choice.ts'

export interface Finding {
  /** `capture`, `af_packet`, `sandbox` ... */
  name: string
  /** `limited`: it works, and `says` tells what speaks against it. `missing`: something else does its work. */
  state: 'works' | 'limited' | 'missing' | 'fails'
  says: string
}

export interface Folders {
  /** Where the ring lies, and the spool; they need not exist yet. */
  ring: string
  spool: string
}

/** In the order in which they depend on each other. Nothing that is looked at is changed. */
export async function diagnose({ ring, spool }: Folders, options: CaptureOptions): Promise<Finding[]> {
  return [
    node(),
    system(),
    privileges(),
    addon(),
    ...(await sources(options)),
    await capture(options),
    await sandbox(),
    folder('ring', ring),
    folder('spool', spool),
  ]
}

/** Everything that no other thing can stand in for works. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== 'fails')
}

const LEAST_NODE = 24

function node(): Finding {
  const version = process.versions.node
  if (Number.parseInt(version, 10) >= LEAST_NODE) return { name: 'node', state: 'works', says: version }
  return { name: 'node', state: 'fails', says: `expected ${LEAST_NODE} or later, found ${version}: run \`make setup\`` }
}

function system(): Finding {
  const says = `${process.platform} ${release()} on ${process.arch}`
  return { name: 'system', state: process.platform === 'linux' ? 'works' : 'limited', says }
}

function privileges(): Finding {
  const all = Object.keys(CAPABILITY) as (keyof typeof CAPABILITY)[]
  const missing = all.filter(capability => !isAllowed(capability))
  const words = missing.map(capability => capability.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase())
  if (missing.length === 0) return { name: 'privileges', state: 'works', says: 'all that capturing wants' }
  return {
    name: 'privileges',
    state: 'missing',
    says: `not ${words.join(', ')}: capturing wants root (sudo) or these capabilities`,
  }
}

function addon(): Finding {
  const why = whyNoNative()
  return {
    name: 'addon',
    state: why === null ? 'works' : 'missing',
    says: why ?? 'AF_PACKET and eBPF can be asked for',
  }
}

async function sources(options: CaptureOptions): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const source of SOURCES) {
    const { name, title } = source
    const obstacle = await source.obstacle(options)
    const reservation = obstacle === null ? ((await source.reservation?.(options)) ?? null) : null
    if (obstacle !== null) findings.push({ name, state: 'missing', says: obstacle })
    else
      findings.push({
        name,
        state: reservation === null ? 'works' : 'limited',
        says: reservation ?? `${title} can capture here`,
      })
  }
  return findings
}

async function capture(options: CaptureOptions): Promise<Finding> {
  try {
    const { source } = await chooseSource('best', options)
    return { name: 'capture', state: 'works', says: `by ${source.name}, unless another is asked for` }
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return { name: 'capture', state: 'fails', says: 'by none of these; files can be read all the same' }
  }
}

async function sandbox(): Promise<Finding> {
  const heard: string[] = []
  try {
    const host = await ScriptHost.start({
      scripts: [readScript('doctor.js', '// Doctor.\nconsole.log(6 * 7)\n')],
      env: {},
      nodeName: 'local',
      console: ({ text }) => heard.push(text),
      failed: error => heard.push(error.message),
      send: () => Promise.reject(new Error('nothing is sent')),
    })
    const { missing } = host.confinement
    await host.stop()
    if (heard.join() !== '42')
      return { name: 'sandbox', state: 'fails', says: `a script said "${heard.join()}", expected "42"` }
    if (missing.length === 0)
      return { name: 'sandbox', state: 'works', says: 'scripts are confined in every way there is' }
    return { name: 'sandbox', state: 'limited', says: `scripts run, but ${missing.join('; ')}` }
  } catch (error) {
    return { name: 'sandbox', state: 'fails', says: `no script can run: ${(error as Error).message}` }
  }
}

/** By the magic numbers of statfs(2); `why`: what speaks against it. */
const FILE_SYSTEMS: Readonly<Record<number, { name: string; why?: string }>> = {
  61267: { name: 'ext4' },
  1481003842: { name: 'XFS' },
  2435016766: { name: 'Btrfs' },
  801189825: { name: 'ZFS' },
  4076150800: { name: 'F2FS' },
  16914836: { name: 'tmpfs', why: 'it lies in memory and is lost with the next start' },
  2035054128: { name: 'overlay', why: 'it is lost with the container: mount a volume there' },
  26985: { name: 'NFS', why: 'over the network writes may be slower than packets come, and locks may not hold' },
  4283649346: { name: 'CIFS', why: 'over the network writes may be slower than packets come, and locks may not hold' },
  1702057286: { name: 'FUSE', why: 'writes may be slower than packets come, and locks may not hold' },
}
const PROBE = '.hookline-doctor'
/** With less there is no ring worth having. */
const LITTLE = 100e6

function folder(name: 'ring' | 'spool', path: string): Finding {
  let existing = path
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing)
  try {
    const probe = join(existing, `${PROBE}-${process.pid}`)
    const file = openSync(probe, 'wx', 0o600)
    try {
      writeSync(file, 'x')
      fsyncSync(file)
    } finally {
      closeSync(file)
      rmSync(probe)
    }
  } catch (error) {
    return { name, state: 'fails', says: `${path} cannot be written: ${(error as Error).message}` }
  }
  const { type, bsize, bavail } = statfsSync(existing)
  const free = bsize * bavail
  const { name: system, why } = FILE_SYSTEMS[type >>> 0] ?? { name: `file system ${type.toString(16)}` }
  const says = `${path} on ${system}, ${(free / 1e9).toFixed(1)} GB free`
  if (free < LITTLE) return { name, state: 'limited', says: `${says}: little room` }
  return { name, state: why === undefined ? 'works' : 'limited', says: why === undefined ? says : `${says}: ${why}` }
}
