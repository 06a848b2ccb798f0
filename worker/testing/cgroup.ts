/** Cgroups and a network namespace for one test: processes in them stand for containers. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, rmdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { cgroupMount } from '../cgroups.ts'
import { whyNoNetworks } from './network.ts'

/** Why there can be none here; null: they can be made. */
export function whyNoCgroups(): string | null {
  const missing = whyNoNetworks()
  if (missing !== null) return missing
  try {
    const mount = cgroupMount()
    if (mount === null) return 'no cgroup file system of version 2 is mounted'
    accessSync(mount, constants.W_OK)
    execFileSync('nsenter', ['--version'], { stdio: 'ignore' })
    return null
  } catch (error) {
    return (error as Error).message
  }
}

export class TestCgroup {
  readonly path: string
  readonly namespace: string
  private readonly within: string[] = []
  private readonly processes: ChildProcess[] = []

  constructor(name: string) {
    this.path = `${cgroupMount()}/hookline-${name}-${process.pid}`
    this.namespace = `hookline-${name}-${process.pid}`
    mkdirSync(this.path)
    execFileSync('ip', ['netns', 'add', this.namespace])
    execFileSync('ip', ['-n', this.namespace, 'link', 'set', 'lo', 'up'])
  }

  /** A cgroup of a container with that id, as Docker makes them. */
  container(id: string): string {
    const path = `${this.path}/docker-${id}.scope`
    mkdirSync(path)
    this.within.push(path)
    return path
  }

  /** Of a container whose processes have ended. */
  remove(path: string): void {
    this.within.splice(this.within.indexOf(path), 1)
    rmdirSync(path)
  }

  /** JavaScript in a process of that cgroup and of the namespace; `lines` is what it prints. */
  run(cgroup: string, code: string): { process: ChildProcess; lines: AsyncIterator<string>; end: Promise<unknown> } {
    const enter = 'echo $$ > "$0"/cgroup.procs; exec nsenter --net=/run/netns/"$1" "$2" -e "$3"'
    const child = spawn('sh', ['-c', enter, cgroup, this.namespace, process.execPath, code], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.processes.push(child)
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    return { process: child, lines, end: once(child, 'exit') }
  }

  async close(): Promise<void> {
    for (const child of this.processes) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    for (const path of [...this.within, this.path]) rmdirSync(path)
    execFileSync('ip', ['netns', 'del', this.namespace])
  }
}
