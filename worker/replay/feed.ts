/** The packets of what is to be said again: of a capture file all, of a ring those that the index says are wanted. */
import { setImmediate as breathe } from 'node:timers/promises'
import { parseAddress } from '../../core/address.ts'
import { Fault } from '../../core/fault.ts'
import type { Packet } from '../../core/packet.ts'
import { parseItemId } from '../../core/stream-name.ts'
import type { Flow, FlowFilter } from '../flow.ts'
import { readStream, ringRecording } from '../recording.ts'
import type { Selection } from './plan.ts'

/** Hands over packets in order, each valid during the call. */
export type Feed = (take: (packet: Packet) => void) => Promise<void>

/** Of a file, of the ring: `next` until it says null, then `load`, until that says false. */
export interface Packets {
  load(): Promise<boolean>
  next(): Packet | null
}

/** Everything. `interrupted` is asked between blocks of packets. */
export function packetsFeed(packets: Packets, interrupted: () => boolean): Feed {
  return async take => {
    while (!interrupted()) {
      // Reading a file never waits: without this, Ctrl-C would not be heard.
      await breathe()
      if (!(await packets.load())) return
      for (let packet = packets.next(); packet !== null; packet = packets.next()) take(packet)
    }
  }
}

/** `from`: ns since 1970; what is chosen by name may be older. */
export function ringFeed(directory: string, from: bigint, selection: Selection, interrupted: () => boolean): Feed {
  const recording = ringRecording(directory)
  const names = selection.item === null ? selection.streams : [readItemId(selection.item).stream]
  return async take => {
    if (names !== null) {
      // Names begin with their time.
      for (const name of [...names].sort()) if (!interrupted()) await readStream(recording, name, take)
      return
    }
    const reading = await recording.read({ from, to: null, filter: filterOf(selection.servers) })
    try {
      await packetsFeed(reading, interrupted)(take)
    } finally {
      reading.close()
    }
  }
}

export function readItemId(id: string): { stream: string; index: number } {
  const found = parseItemId(id)
  if (found === null)
    throw new Fault('ITEM_ID', `expected the id of an item, as \`hookline run --json\` prints it, found "${id}"`)
  return found
}

/** Flows that one of these may be an end of. */
function filterOf(servers: Selection['servers']): FlowFilter | null {
  if (servers === null) return null
  const wanted = servers.map(({ ip, port }) => ({ words: ip === null ? null : parseAddress(ip), port }))
  return {
    strangers: true,
    wants: flow =>
      wanted.some(
        ({ words, port }) => isEnd(flow, 0, flow.lowerPort, words, port) || isEnd(flow, 4, flow.upperPort, words, port),
      ),
  }
}

function isEnd(flow: Flow, offset: 0 | 4, flowPort: number, words: Int32Array | null, port: number | null): boolean {
  if (port !== null && flow.portsKnown && flowPort !== port) return false
  return words === null || words.every((word, i) => flow.words[offset + i] === word)
}
