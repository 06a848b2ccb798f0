/** How the sandbox process is started with as few rights as this machine allows, and a look at what it really has. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, readlink } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** What is in force, as the kernel says it of the running process. */
export interface Confinement {
  /** A network of its own without any interface that is up. */
  network: boolean
  capabilities: boolean
  noNewPrivileges: boolean
  /** Neither root nor the user who runs the host. */
  user: boolean
  environment: boolean
  /** No file or socket can be opened any more. */
  files: boolean
  /** For each that is not in force: why not. */
  missing: string[]
}

const run = promisify(execFile)

const ENTRY = fileURLToPath(new URL('sandbox/process.js', import.meta.url))
const PROJECT = fileURLToPath(new URL('../', import.meta.url))
/** Bytes; V8 takes 984 KB of it for the process's own thread, which the flag below lowers. */
const STACK = 1_048_576
/** KB. */
const OWN_STACK = 640
const TOOLS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']

/**
 * All isolates of a process share one read-only heap, so their snapshots must agree on it: Node's own and V8's, of which
 * isolated-vm makes its isolates. They do where Node was built so that its snapshot adds nothing to that heap, as the
 * releases of Node 24 are; any other has to start without, which takes twice the time.
 */
const SHARES_ITS_HEAP = String(Object(process.config.variables).v8_enable_extensible_ro_snapshot) === '0'

/** Program and arguments. `--permission` leaves the process what it must read to start: its own modules. */
export async function command(): Promise<[program: string, args: string[]]> {
  const node = [
    process.execPath,
    '--permission',
    '--allow-addons',
    `--allow-fs-read=${PROJECT}`,
    // isolated-vm's loader looks there which C library it is on.
    '--allow-fs-read=/etc/alpine-release',
    ...(SHARES_ITS_HEAP ? [] : ['--no-node-snapshot']),
    `--stack-size=${OWN_STACK}`,
    '--v8-pool-size=1',
    '--preserve-symlinks',
    '--preserve-symlinks-main',
    // Scripts' heaps are small: helping threads cost more than they help.
    '--single-threaded-gc',
    // Code ages by the collections it was not run in, and here they are many: it would be compiled again and again.
    '--no-flush-bytecode',
    '--disable-warning=SecurityWarning',
    '--disable-warning=ExperimentalWarning',
    ENTRY,
  ]
  const prefix = (await Promise.all([ownNetwork(), noPrivileges()])).flat()
  const [program, ...args] = [...prefix, ...shortStacks(), ...node]
  return [program!, args]
}

async function ownNetwork(): Promise<string[]> {
  const unshare = tool('unshare')
  if (unshare === null) return []
  const ways = [
    ['--net', '--ipc', '--uts'],
    ['--user', '--map-current-user', '--net', '--ipc', '--uts'],
  ]
  for (const way of ways) if (await works(unshare, way)) return [unshare, ...way, '--']
  return []
}

async function noPrivileges(): Promise<string[]> {
  const setpriv = tool('setpriv')
  if (setpriv === null) return []
  const ways = [['--no-new-privs', '--inh-caps', '-all', '--bounding-set', '-all,+setuid,+setgid'], ['--no-new-privs']]
  for (const way of ways) if (await works(setpriv, way)) return [setpriv, ...way, '--']
  return []
}

/**
 * A script's thread has the stack that the system gives to every thread, 8 MB on most. One that recurses without end
 * fills it before it is told, and unwinding so many frames takes ten times as long as a stack of Node's own size.
 */
function shortStacks(): string[] {
  const prlimit = tool('prlimit')
  return prlimit === null ? [] : [prlimit, `--stack=${STACK}:`, '--']
}

async function works(program: string, args: string[]): Promise<boolean> {
  const idle = tool('true')
  if (idle === null) return false
  return run(program, [...args, '--', idle], { env: {} }).then(
    () => true,
    () => false,
  )
}

function tool(name: string): string | null {
  return TOOLS.map(folder => `${folder}/${name}`).find(path => existsSync(path)) ?? null
}

/** For the running process: no more files or sockets, no dumps of its memory. Before the first script runs. */
export async function closeDoors(pid: number): Promise<void> {
  const prlimit = tool('prlimit')
  if (prlimit === null) return
  const limits = ['--nofile=0:0', '--core=0:0', '--fsize=0:0', '--msgqueue=0:0']
  await run(prlimit, ['--pid', String(pid), ...limits], { env: {} }).catch(() => null)
}

export async function look(pid: number): Promise<Confinement> {
  const [status, limits, environment, own, theirs] = await Promise.all([
    read(`/proc/${pid}/status`),
    read(`/proc/${pid}/limits`),
    read(`/proc/${pid}/environ`),
    readlink('/proc/self/ns/net').catch(() => ''),
    readlink(`/proc/${pid}/ns/net`).catch(() => ''),
  ])
  const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? ''
  const uid = field('Uid')
  const facts = {
    network: theirs !== '' && own !== theirs,
    capabilities: /^0+$/.test(field('CapEff')) && /^0+$/.test(field('CapPrm')),
    noNewPrivileges: field('NoNewPrivs') === '1',
    user: uid !== '' && uid !== '0' && uid !== String(process.getuid?.()),
    environment: status !== '' && environment === '',
    files: /^Max open files\s+0\s/m.test(limits),
  }
  return { ...facts, missing: WHY.filter(([fact]) => !facts[fact]).map(([, why]) => why) }
}

const WHY: readonly (readonly [keyof Omit<Confinement, 'missing'>, string])[] = [
  ['network', 'no network namespace of its own: unshare (util-linux) is missing or not allowed'],
  ['capabilities', 'capabilities are not known to be dropped: /proc cannot be read'],
  ['noNewPrivileges', 'no_new_privs is not set: setpriv (util-linux) is missing'],
  ['user', 'same user as the host: only root can become nobody'],
  ['environment', 'the environment is not known to be empty: /proc cannot be read'],
  ['files', 'file descriptors are not limited: prlimit (util-linux) is missing or not allowed'],
]

function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}
