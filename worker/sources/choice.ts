/** Chooses how packets are captured: what was asked for by name, or the best that works here and sees all that is wanted. */
import { Fault } from '../../core/fault.ts'
import type { CaptureName, CaptureOptions, CaptureSource } from '../capture.ts'
import { afPacket } from './af-packet.ts'
import { afXdp } from './af-xdp.ts'
import { ebpf } from './ebpf.ts'
import { libpcap } from './libpcap.ts'
import { pfRing } from './pf-ring.ts'

export interface Choice {
  source: CaptureSource
  /** Those that would have come first, and what speaks against them. */
  passedOver: { name: CaptureName; why: string }[]
}

/** In the order in which `best` asks them. */
export const SOURCES: readonly CaptureSource[] = [ebpf, pfRing, afPacket, afXdp, libpcap]

/** It takes the packets away from those for whom they are: nobody gets it who has not asked for it. */
const BY_NAME_ONLY: readonly CaptureName[] = ['af_xdp']

/** Names for `--capture`. */
export const CAPTURES: readonly ('best' | CaptureName)[] = ['best', 'ebpf', 'pf_ring', 'af_packet', 'af_xdp', 'libpcap']

/** A Fault when none works. */
export async function chooseSource(
  wanted: 'best' | CaptureName,
  options: CaptureOptions,
  sources = SOURCES,
): Promise<Choice> {
  if (wanted !== 'best') return { source: await named(wanted, options, sources), passedOver: [] }
  const passedOver: Choice['passedOver'] = []
  let reserve: CaptureSource | null = null
  for (const source of sources.filter(({ name }) => !BY_NAME_ONLY.includes(name))) {
    const obstacle = await obstacleOf(source, options)
    const reservation = obstacle === null ? ((await source.reservation?.(options)) ?? null) : null
    if (obstacle === null && reservation === null) return { source, passedOver }
    if (obstacle === null) reserve ??= source
    passedOver.push({ name: source.name, why: obstacle ?? reservation! })
  }
  // Better to see some than none.
  if (reserve !== null) return { source: reserve, passedOver: passedOver.filter(({ name }) => name !== reserve.name) }
  throw new Fault(
    'CAPTURE_IMPOSSIBLE',
    `nothing can capture here: ${inWords(passedOver)} (\`hookline doctor\` tells more)`,
  )
}

async function named(
  name: CaptureName,
  options: CaptureOptions,
  sources: readonly CaptureSource[],
): Promise<CaptureSource> {
  const source = sources.find(known => known.name === name)
  if (source === undefined) throw new Fault('CAPTURE_UNKNOWN', `nothing captures by ${name} here`)
  const obstacle = await obstacleOf(source, options)
  if (obstacle !== null) throw new Fault('CAPTURE_IMPOSSIBLE', `${name} cannot capture here: ${obstacle}`)
  return source
}

async function obstacleOf(source: CaptureSource, options: CaptureOptions): Promise<string | null> {
  const obstacle = await source.obstacle(options)
  const { mostFanout = 1 } = source
  const { fanout } = options
  if (obstacle !== null || fanout <= mostFanout) return obstacle
  if (mostFanout > 1) return `at most ${mostFanout} sockets share an interface, and ${fanout} were asked for`
  return `an interface's packets cannot be shared among ${fanout} sockets there`
}

function inWords(passedOver: Choice['passedOver']): string {
  return passedOver.map(({ name, why }) => `${name}: ${why}`).join('; ')
}
