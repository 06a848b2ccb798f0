/** What is captured, through the ring: the recorder writes, and this reads at its own pace. */
import { setImmediate as breathe, setTimeout as pause } from 'node:timers/promises'
import type { Packet } from '../core/packet.ts'
import type { CaptureCounters } from '../worker/capture.ts'
import { openReader, type Reader } from '../worker/reader.ts'
import { type Recorder, type RecorderSettings, startRecorder } from '../worker/recorder.ts'
import { ringRecording } from '../worker/recording.ts'
import type { RingCounts } from '../worker/ring.ts'
import { accountOfCounters, sumOfCounters } from './captured.ts'
import type { Source } from './source.ts'
import { counted, grouped, sized } from './terminal.ts'

/** The recorder tells of what it appends every 20 ms; without news somebody still looks at the clock. */
const NEWS_MS = 100
/** After the recorder's end what it wrote last is there at once. */
const LAST_MS = 300
/** Who ends the command does not wait for a slow script to read all that was recorded: it stays in the ring. */
const READ_ON_MS = 5000
/** Packets come through buffers: those of this second may still be on their way. Seconds. */
const UNDERWAY = 1

export async function openRing(settings: Omit<RecorderSettings, 'prepared' | 'remark'>): Promise<Source> {
  const remarks: string[] = []
  let reader: Reader | null = null
  let begun = false
  const recorder = await startRecorder({
    ...settings,
    prepared() {
      // What the ring held before is not what was asked for.
      reader = openReader(settings.directory, { from: 'tail', live: true })
    },
    remark(text) {
      // What the user must know before it begins, such as that packets are taken away from others, is told before.
      if (begun) remarks.push(text)
      else process.stderr.write(`capture: ${text}\n`)
    },
  })
  begun = true
  return sourceOf(recorder, reader!, remarks)
}

function sourceOf(recorder: Recorder, reader: Reader, told: string[]): Source {
  let read = 0
  const most = { packets: 0, seconds: 0 }
  let stopped = Number.POSITIVE_INFINITY
  let lastRead = 0
  let clock = 0
  let skipping = false

  async function forward(): Promise<void> {
    for (;;) {
      await recorder.news(NEWS_MS)
      reader.nudge()
      if (recorder.ended) return
    }
  }
  const forwarding = forward()

  /** true: there is something, or only time has passed. */
  async function load(): Promise<boolean> {
    // Reading from the page cache never waits: without this, messages and Ctrl-C would not be heard.
    await breathe()
    if (skipping) {
      await recorder.news(NEWS_MS)
      return !recorder.ended
    }
    if (performance.now() - stopped > READ_ON_MS) return false
    most.packets = Math.max(most.packets, lag())
    most.seconds = Math.max(most.seconds, behind())
    waiting ??= reader.load()
    const found = await Promise.race([waiting, pause(recorder.ended ? LAST_MS : NEWS_MS, null)])
    if (found === null) return !recorder.ended
    waiting = null
    return found
  }
  let waiting: Promise<boolean> | null = null

  return {
    live: true,
    recorded: true,
    recording: ringRecording(recorder.directory),
    greeting: greetingOf(recorder),
    async load() {
      if (await load()) return true
      if (recorder.fault !== null) throw recorder.fault
      return false
    },
    next() {
      const packet: Packet | null = skipping ? null : reader.next()
      if (packet === null) return null
      read++
      lastRead = packet.seconds + packet.nanoseconds / 1e9
      return packet
    },
    skip() {
      skipping = true
    },
    now() {
      // Never ahead of packets that were not read yet: they tell the time themselves.
      clock = Math.max(clock, Math.floor(lag() === 0 ? recorder.now / 1000 - UNDERWAY : lastRead))
      return clock
    },
    status: () => statusOf(recorder, skipping ? null : { packets: lag(), seconds: behind(), missed: reader.missed }),
    stop() {
      stopped = performance.now()
      void recorder.stop()
    },
    async close() {
      await recorder.stop()
      await forwarding
      reader.close()
      await waiting
    },
    remarks: () => told,
    account() {
      const lines = accountOf(recorder)
      if (!skipping)
        lines.push(
          `reader: ${counted(read, 'packet')} read, ${grouped(lag())} left in the ring, ${grouped(reader.missed)} missed; at most ${counted(most.packets, 'packet')}, ${most.seconds.toFixed(1)} s behind`,
        )
      return lines
    },
  }

  function lag(): number {
    return Math.max(0, recorder.position - reader.position)
  }

  function behind(): number {
    return lag() === 0 || lastRead === 0 ? 0 : Math.max(0, recorder.now / 1000 - lastRead)
  }
}

function greetingOf({ chosen, directory, interfaces }: Recorder): string[] {
  const names = [...interfaces.values()].map(({ described }) => described.name)
  const where = names.length === 0 ? '' : ` on ${names.join(', ')}`
  return [
    `capturing by ${chosen!.title}${where} into ${directory}; Ctrl-C ends it`,
    ...chosen!.passedOver.map(({ name, why }) => `not by ${name}: ${why}`),
  ]
}

interface Lag {
  packets: number
  seconds: number
  missed: number
}

function statusOf(recorder: Recorder, lag: Lag | null): string {
  const { ring } = recorder
  const sum = sumOf(recorder)
  const parts = [counted(ring?.given ?? 0, 'packet recorded', 'packets recorded')]
  const lost = sum.dropped + sum.overrun + (ring === null ? 0 : lostOf(ring))
  parts.push(`${grouped(lost)} lost`)
  if (ring !== null) parts.push(`ring ${sized(ring.held.bytes)}${spanOf(ring, recorder.now)}`)
  if (lag !== null) parts.push(`reader ${grouped(lag.packets)} packets, ${lag.seconds.toFixed(1)} s behind`)
  if (lag !== null && lag.missed > 0) parts.push(`${grouped(lag.missed)} missed`)
  return parts.join(' · ')
}

function accountOf(recorder: Recorder): string[] {
  const { ring, directory } = recorder
  const sum = sumOf(recorder)
  const lines = accountOfCounters(sum, 'recorded')
  if (ring === null) return lines
  const { held, dropped, lost } = ring
  lines.push(
    `ring: ${counted(held.packets, 'packet')}, ${sized(held.bytes)}${spanOf(ring, recorder.now)}, in ${directory}`,
  )
  for (const [cause, count] of Object.entries(dropped))
    if (count > 0) lines.push(`ring: ${counted(count, 'packet')} dropped, the oldest, by ${cause}`)
  for (const [cause, count] of Object.entries(lost))
    if (count > 0) lines.push(`ring: ${counted(count, 'packet')} lost: ${cause}`)
  return lines
}

function sumOf({ interfaces }: Recorder): CaptureCounters {
  return sumOfCounters([...interfaces.values()].flatMap(({ counters }) => counters ?? []))
}

function lostOf({ lost }: RingCounts): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0)
}

function spanOf({ oldest }: RingCounts, now: number): string {
  return oldest === null || now === 0 ? '' : ` of ${lasting((now - oldest) / 1000)}`
}

/** `42 s`, `17 min`, `3.2 h`. */
function lasting(seconds: number): string {
  if (seconds < 120) return `${Math.max(0, seconds).toFixed(0)} s`
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`
}
