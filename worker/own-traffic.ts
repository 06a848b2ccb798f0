/**
 * Finds Hookline's own connections, so that they can be left out of what is captured. A program at the birth of sockets
 * remembers those that our processes open, another at our cgroup notes their flows before the first packet leaves. What was
 * open before, and what others open to us, is found in /proc within a second.
 */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Fault } from '../core/fault.ts'
import { Assembler } from './bpf/assembler.ts'
import { type Bpf, type MapShape, word } from './bpf/bpf.ts'
import { type OWN_MAPS, reverseEnds } from './bpf/own-packets.ts'
import { ADDRESS_BYTES, ENDS_BYTES, loadEnds, PORTS, PROTOCOL } from './bpf/selection.ts'

export class OwnTraffic {
  private readonly bpf: Bpf
  private readonly flows: number
  private readonly known: number
  private readonly processes: readonly number[]
  /** Descriptors that end with it. */
  private readonly held: number[] = []
  private seen = new Set<string>()

  /** `maps` are those of OWN_MAPS, `processes` Hookline's. */
  constructor(bpf: Bpf, maps: Readonly<Record<keyof typeof OWN_MAPS, number>>, processes: readonly number[]) {
    this.bpf = bpf
    this.flows = maps.own_flows
    this.known = maps.own_known
    this.processes = processes
  }

  /** What keeps it from knowing a connection from its first packet on, in words; null: nothing. */
  begin(): string | null {
    let obstacle: string | null = null
    try {
      this.attach()
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      obstacle = error.message
    }
    this.look()
    return obstacle
  }

  /** Finds connections by /proc; cheap where there are no new ones. To be called once a second. */
  look(): void {
    const here = new Set<string>()
    for (const process of this.processes) {
      const sockets = socketsOf(process)
      for (const socket of sockets) here.add(socket)
      if (!sockets.some(socket => !this.seen.has(socket))) continue
      for (const { inode, ends } of connectionsOf(process)) if (sockets.includes(inode)) this.add(ends)
    }
    this.seen = here
  }

  close(): void {
    for (const descriptor of this.held.splice(0)) closeSync(descriptor)
  }

  private add(ends: Uint8Array): void {
    const now = new DataView(new ArrayBuffer(8))
    now.setBigUint64(0, process.hrtime.bigint(), true)
    for (const key of [ends, reversed(ends)]) this.bpf.update(this.flows, key, new Uint8Array(now.buffer))
    this.bpf.update(this.known, new Uint8Array(4), Uint8Array.of(1, 0, 0, 0))
  }

  private attach(): void {
    const cgroup = openSync(cgroupFolder(), constants.O_RDONLY | constants.O_DIRECTORY)
    const opened: number[] = [cgroup]
    try {
      const maps: Record<string, number> = { own_flows: this.flows, own_known: this.known }
      for (const [name, shape] of Object.entries(MAPS)) {
        const map = this.bpf.createMap(name, shape)
        opened.push(map)
        maps[name] = map
      }
      // In a container all of its cgroup is ours, and the kernel's numbers of our processes are not known.
      const byProcess = readlinkSync('/proc/self/ns/pid') === FIRST_PID_NAMESPACE
      if (byProcess)
        for (const process of this.processes) this.bpf.update(maps.own_processes!, word(process), Uint8Array.of(1))
      for (const [name, type, attach, program] of [
        ['own_birth', 'cgroup_sock', 'cgroup_inet_sock_create', birth(byProcess)],
        ['own_departure', 'cgroup_skb', 'cgroup_inet_egress', departure()],
      ] as const) {
        const loaded = this.bpf.loadProgram(name, { type, attach }, program, maps)
        opened.push(loaded)
        this.held.push(this.bpf.linkCgroup(loaded, attach, cgroup))
      }
    } catch (error) {
      this.close()
      throw error
    } finally {
      // Links hold their programs, programs their maps.
      for (const descriptor of opened) closeSync(descriptor)
    }
  }
}

/** This process, and the one that started it to capture for it. */
export function ownProcesses(): number[] {
  return process.channel ? [process.pid, process.ppid] : [process.pid]
}

const MAPS = {
  own_processes: { type: 'hash', keyBytes: 4, valueBytes: 1, entries: 64 },
  /** By cookie. */
  own_sockets: { type: 'lru_hash', keyBytes: 8, valueBytes: 1, entries: 1 << 14 },
} as const satisfies Record<string, MapShape>

/** PROC_PID_INIT_INO of the kernel: the namespace in which every process has its real number. */
const FIRST_PID_NAMESPACE = 'pid:[4026531836]'

/** A socket is born: remember its cookie if it is ours. */
function birth(byProcess: boolean): Assembler {
  const to = new Assembler().alu('r6', '=', 'r1')
  if (byProcess) {
    to.call('get_current_pid_tgid').alu('r0', '>>=', 32).store('u32', 'r10', -4, 'r0')
    to.map('r1', 'own_processes').alu('r2', '=', 'r10').alu('r2', '+=', -4).call('map_lookup_elem')
    to.jumpIf('r0', '==', 0, 'done')
  }
  to.alu('r1', '=', 'r6').call('get_socket_cookie').store('u64', 'r10', -16, 'r0').store('u64', 'r10', -24, 1)
  to.map('r1', 'own_sockets')
  update(to, -16, -24)
  return to.label('done').alu('r0', '=', 1).exit()
}

/** A packet leaves a socket, in front of any interface: note its flow if the socket is ours. */
function departure(): Assembler {
  const [cookie, time, ends] = [-8, -16, -16 - ENDS_BYTES]
  const back = ends - ENDS_BYTES
  const to = new Assembler().alu('r6', '=', 'r1').call('get_socket_cookie').store('u64', 'r10', cookie, 'r0')
  to.map('r1', 'own_sockets').alu('r2', '=', 'r10').alu('r2', '+=', cookie).call('map_lookup_elem')
  to.jumpIf('r0', '==', 0, 'done')
  loadEnds(to, { context: 'skb', link: 'ip' }, ends, 'done')
  reverseEnds(to, ends, back)
  to.call('ktime_get_ns').store('u64', 'r10', time, 'r0')
  for (const key of [ends, back]) {
    to.map('r1', 'own_flows')
    update(to, key, time)
  }
  to.mapValue('r1', 'own_known', 0).store('u32', 'r1', 0, 1)
  return to.label('done').alu('r0', '=', 1).exit()
}

function update(to: Assembler, key: number, value: number): void {
  to.alu('r2', '=', 'r10').alu('r2', '+=', key).alu('r3', '=', 'r10').alu('r3', '+=', value)
  to.alu('r4', '=', 0).call('map_update_elem')
}

/** Where our cgroup of version 2 lies. */
function cgroupFolder(): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const mount = mounts.find(line => / - cgroup2 /.test(line))?.split(' ')
  const path = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  if (mount === undefined || path === undefined)
    throw new Fault('CGROUP_MISSING', 'no cgroup file system of version 2 is mounted')
  const [root = '/', point = ''] = mount.slice(3)
  return path.startsWith(root) ? `${point}/${path.slice(root.length)}` : `${point}/${path}`
}

/** Inodes of the sockets that a process has open. */
function socketsOf(process: number): string[] {
  try {
    const found: string[] = []
    for (const descriptor of readdirSync(`/proc/${process}/fd`)) {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${process}/fd/${descriptor}`))?.[1]
        if (inode !== undefined) found.push(inode)
      } catch {
        // Closed in the meantime.
      }
    }
    return found
  } catch {
    // The process has ended, or is none of ours to look at.
    return []
  }
}

interface Connection {
  inode: string
  ends: Uint8Array
}

const TABLES: readonly [name: string, protocol: number][] = [
  ['tcp', 6],
  ['tcp6', 6],
  ['udp', 17],
  ['udp6', 17],
]

/** What is connected in the network namespace of a process: `  0: 0100007F:1F90 0100007F:C350 01 ... inode`. */
function connectionsOf(process: number): Connection[] {
  const found: Connection[] = []
  for (const [table, protocol] of TABLES) {
    let text: string
    try {
      text = readFileSync(`/proc/${process}/net/${table}`, 'utf8')
    } catch {
      continue
    }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/)
      const [, local = '', remote = ''] = fields
      if (fields.length < 10 || remote.endsWith(':0000')) continue
      found.push({ inode: fields[9]!, ends: endsOf(local, remote, protocol) })
    }
  }
  return found
}

/** Addresses are written as words of the machine, ports as numbers. */
function endsOf(local: string, remote: string, protocol: number): Uint8Array {
  const ends = new DataView(new ArrayBuffer(ENDS_BYTES))
  for (const [index, end] of [local, remote].entries()) {
    const [address = '', port = ''] = end.split(':')
    const words = address.match(/.{8}/g) ?? []
    if (words.length === 1) ends.setUint32(index * ADDRESS_BYTES + 8, 0xffff)
    for (const [at, value] of words.entries())
      ends.setUint32(index * ADDRESS_BYTES + ADDRESS_BYTES - 4 * (words.length - at), Number.parseInt(value, 16), true)
    ends.setUint16(PORTS + 2 * index, Number.parseInt(port, 16))
  }
  ends.setUint32(PROTOCOL, protocol, true)
  return new Uint8Array(ends.buffer)
}

function reversed(ends: Uint8Array): Uint8Array {
  const back = ends.slice()
  back.set(ends.subarray(0, ADDRESS_BYTES), ADDRESS_BYTES)
  back.set(ends.subarray(ADDRESS_BYTES, PORTS), 0)
  back.set(ends.subarray(PORTS, PORTS + 2), PORTS + 2)
  back.set(ends.subarray(PORTS + 2, PROTOCOL), PORTS)
  return back
}
