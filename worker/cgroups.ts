/** The hierarchy of cgroups of version 2: where it is mounted, and how the cgroup of a number is called. */
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { loadNative } from './native.ts'

/** null: no cgroup file system of version 2 is mounted here. One that shows the whole hierarchy is preferred. */
export function cgroupMount(): string | null {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(mount => mount.includes(' - cgroup2 '))
    // Blanks are written as octal numbers.
    .map(mount =>
      mount.split(' ')[4]!.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
  return points.find(isWholeHierarchy) ?? points[0] ?? null
}

/** Whether a mount begins with the root of all cgroups: it alone has no events. A container is shown its own part. */
export function isWholeHierarchy(mount: string): boolean {
  return !existsSync(`${mount}/cgroup.events`)
}

export class Cgroups {
  readonly mount: string
  /** Its descriptor. */
  readonly root: number
  private readonly native = loadNative<Native>()
  /** Paths by number where the kernel does not tell them to us. */
  private walked: Map<bigint, string> | null = null

  constructor(mount: string) {
    this.mount = mount
    this.root = openSync(mount, constants.O_RDONLY | constants.O_DIRECTORY)
  }

  /** Beginning with `/`; null: it has gone. `found` is what the kernel said of it earlier: a path or an error number. */
  path(id: bigint, found = this.native.cgroupPath(this.root, id)): string | null {
    if (typeof found === 'string') return this.within(found)
    return getSystemErrorName(found) === 'EPERM' ? this.walkTo(id) : null
  }

  close(): void {
    closeSync(this.root)
  }

  /** Without the capability DAC_READ_SEARCH. */
  private walkTo(id: bigint): string | null {
    const known = this.walked?.get(id)
    if (known !== undefined) return known
    this.walked = new Map(folders(this.mount).map(path => [statSync(path, { bigint: true }).ino, this.within(path)]))
    return this.walked.get(id) ?? null
  }

  private within(path: string): string {
    return (path.startsWith(this.mount) ? path.slice(this.mount.length) : path) || '/'
  }
}

function folders(path: string): string[] {
  try {
    const within = readdirSync(path, { withFileTypes: true }).filter(entry => entry.isDirectory())
    return [path, ...within.flatMap(({ name }) => folders(`${path}/${name}`))]
  } catch {
    // It has gone while it was looked at.
    return []
  }
}

interface Native {
  cgroupPath(root: number, id: bigint): string | number
}
