/** Where packets come from, as `run` and `tap` see it: a file, standard input, an interface, or a ring that is recorded. */
import { setImmediate as breathe } from 'node:timers/promises'
import { InvalidArgumentError } from 'commander'
import type { Packet } from '../core/packet.ts'
import { type CaptureOptions, DEFAULT_BUFFER_BYTES } from '../worker/capture.ts'
import { fileRecording, type Recording } from '../worker/recording.ts'
import { type OpenedCapture, openCapture } from '../worker/sources/file.ts'
import { accountOfCounters, sumOfCounters } from './captured.ts'
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

/** For `--pcap`. */
export function oneCapture(path: string, before?: string): string {
  if (before !== undefined)
    throw new InvalidArgumentError('One capture is read at a time: several as one tar, or merged by mergecap.')
  return path
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
    remarks: () => captureRemarks(file),
    account: () => [],
  }
}

/** `names`: `any`, or several with commas between. */
export async function openInterface(names: string, filter: string): Promise<Source> {
  const { openWire } = await import('../worker/wire.ts')
  const wire = await openWire(wireOptions(names, filter))
  return {
    live: true,
    recorded: false,
    recording: null,
    greeting: [`capturing on ${names} by ${wire.title}; Ctrl-C ends it`],
    skip() {},
    load: () => wire.load(),
    next: () => wire.next(),
    status: () => null,
    now: () => wire.seconds,
    stop: () => wire.stop(),
    close: () => wire.close(),
    remarks: () => wire.remarks,
    account: () => accountOfCounters(sumOfCounters(wire.counters.values()), 'read'),
  }
}

export function wireOptions(names: string, filter: string): CaptureOptions {
  return {
    interfaces: names === 'any' ? 'any' : names.split(','),
    namespace: null,
    filter,
    addresses: null,
    promiscuous: true,
    bufferBytes: DEFAULT_BUFFER_BYTES,
    fanout: 1,
    own: false,
    samplePercent: 100,
    deduplicate: names === 'any' || names.includes(','),
  }
}

function captureRemarks({ notes, size, compression }: OpenedCapture): string[] {
  // What is compressed, in an archive or still to come is not fetched to be counted.
  const atLeast = notes.bytes === size ? '' : 'at least '
  const remarks = notes.damage.map(({ cause, offset, expected, found, count, bytes }) => {
    const often = count > 1 ? `, ${grouped(count)} times` : ''
    const unread = bytes > 0 ? `; ${atLeast}${grouped(bytes)} bytes not read` : ''
    if (cause === 'another capture follows')
      return `another capture follows: ${found} at byte ${grouped(offset)}${often}, and only what is before it is read${unread}`
    return `damaged at byte ${grouped(offset)}${often}: ${cause}, expected ${expected}, found ${found}${unread}`
  })
  const causes = notes.damage.map(({ cause }) => cause)
  const inside = causes.some(cause => cause !== 'compression' && cause !== 'another capture follows')
  if (compression !== null && inside && !causes.includes('compression'))
    remarks.push(`it is compressed, and that may be what is damaged: \`${compression} -t\` tells`)
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
