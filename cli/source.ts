/** Where packets come from, as `run` and `tap` see it: a file, standard input, an interface, or a ring that is recorded. */
import { setImmediate as breathe } from 'node:timers/promises'
import type { CaptureNotes } from '../core/capture-notes.ts'
import type { Packet } from '../core/packet.ts'
import { fileRecording, type Recording } from '../worker/recording.ts'
import { openCapture } from '../worker/sources/file.ts'
import { progressBar } from './progress.ts'
import { counted, grouped } from './terminal.ts'

export interface Source {
  /** Packets come as they are captured, until `stop`. */
  live: boolean
  /** They are kept by somebody else: where nobody asks for items, none need be read. */
  recorded: boolean
  /** Where they can be read again; null: they are gone. */
  recording: Recording | null
  /** For the user, before the first packet. */
  greeting: readonly string[]
  /** Waits for packets. false: there will be none any more. */
  load(): Promise<boolean>
  /** The next packet that is here; null: `load` again. */
  next(): Packet | null
  /** From now on `load` only waits for the end. */
  skip(): void
  /** How it goes, in a line; null: there is nothing to say. */
  status(): string | null
  /** The clock of what is live, seconds since 1970; of a file, null: only packets tell the time. */
  now(): number | null
  /** No more packets than were seen by now. */
  stop(): void
  close(): Promise<void>
  /** What must be said of it at the end, a line each. */
  remarks(): string[]
  /** What became of packets before they came here, a line each. */
  account(): string[]
}

/** `-` is standard input. */
export async function openFile(path: string): Promise<Source> {
  const file = await openCapture(path)
  const bar = progressBar(file.size)
  return {
    live: false,
    recorded: false,
    recording: file.size === null ? null : fileRecording(path),
    greeting: [],
    skip() {},
    async load() {
      // Reading a file never waits: without this, messages of scripts and Ctrl-C would not be heard before its end.
      await breathe()
      return file.load()
    },
    next: () => file.next(),
    status: () => bar(file.position),
    now: () => null,
    stop: () => file.close(),
    close: async () => file.close(),
    remarks: () => captureRemarks(file.notes),
    account: () => [],
  }
}

export async function openInterface(name: string, filter: string): Promise<Source> {
  const { openLive } = await import('../worker/sources/live.ts')
  const live = await openLive(name, filter)
  return {
    live: true,
    recorded: false,
    recording: null,
    greeting: [`capturing on ${name}; Ctrl-C ends it`],
    skip() {},
    load: () => live.load(),
    next: () => live.next(),
    status: () => null,
    now: () => live.seconds,
    stop: () => live.stop(),
    close: () => live.close(),
    remarks() {
      const remarks = []
      if (live.dropped > 0)
        remarks.push(`${counted(live.dropped, 'packet')} dropped: they came faster than they were understood`)
      if (live.cut > 0) remarks.push(`${counted(live.cut, 'packet')} longer than what libpcap captures of one`)
      return remarks
    },
    account: () => [],
  }
}

function captureRemarks(notes: CaptureNotes): string[] {
  const remarks = notes.damage.map(({ cause, offset, expected, found, count, bytes }) => {
    const often = count > 1 ? `, ${grouped(count)} times` : ''
    return `damaged at byte ${grouped(offset)}${often}: ${cause}, expected ${expected}, found ${found}; ${grouped(bytes)} bytes not read`
  })
  for (const [name, { count, bytes }] of Object.entries(notes.skippedBlocks))
    remarks.push(`${counted(count, 'block')} of kind ${name} passed over, ${grouped(bytes)} bytes`)
  for (const [what, count] of Object.entries(notes.dropped))
    if (count > 0) remarks.push(`${counted(count, 'entry of its', 'entries of its')} ${what} not kept`)
  for (const { name, counters, lost } of notes.interfaces) {
    const gone = Number(counters?.dropped ?? 0) + Number(counters?.droppedBySystem ?? 0) + lost
    if (gone > 0) remarks.push(`${counted(gone, 'packet')} lost while it was captured${name ? ` on ${name}` : ''}`)
  }
  return remarks
}
