/**
 * Capture by PF_RING (ntop): its kernel module takes the place of AF_PACKET underneath a libpcap that was built for it, and
 * all else is as with libpcap. What is missing for it is told; nothing is installed.
 */
import { existsSync, readFileSync } from 'node:fs'
import type { Capture, CaptureOptions, CaptureSink, CaptureSource } from '../capture.ts'
import { whyNoNative } from '../native.ts'
import { libpcap } from './libpcap.ts'

export const pfRing: CaptureSource = {
  name: 'pf_ring',
  title: 'PF_RING',
  obstacle,
  open,
}

async function obstacle(options: CaptureOptions): Promise<string | null> {
  if (process.platform !== 'linux') return 'PF_RING is of Linux alone'
  if (!existsSync(MODULE))
    return `the kernel module pf_ring is not loaded (there is no ${MODULE}): install pfring-dkms of ntop and run \`modprobe pf_ring\``
  const missing = whyNoNative()
  if (missing !== null) return missing
  const library = loadedLibrary()
  if (library === null || !readFileSync(library).includes(SYMBOL))
    return `${library ?? 'libpcap'} knows nothing of PF_RING: install the libpcap of ntop (package pfring) where it is found first`
  return libpcap.obstacle(options)
}

async function open(options: CaptureOptions, sink: CaptureSink): Promise<Capture> {
  const capture = await libpcap.open(options, sink)
  return {
    name: 'pf_ring',
    retarget: addresses => capture.retarget(addresses),
    count: () => capture.count(),
    stop: () => capture.stop(),
  }
}

const MODULE = '/proc/net/pf_ring'
/** Whatever opens PF_RING calls it. */
const SYMBOL = 'pfring_open'

/** The libpcap that our addon was given, which is the one that `cap` is given: both find it in the same way. */
function loadedLibrary(): string | null {
  return /\s(\/\S*\/libpcap\.so\S*)$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[1] ?? null
}
