/**
 * Drives the process that captures and records (recorder-process.ts). It alone is privileged; whoever drives it reads the
 * ring's files like any other reader, and hears over the channel what was appended so far, what was counted and what went
 * wrong. Packets never travel here.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Fault } from '../core/fault.ts'
import type { CaptureCounters, CapturedInterface, CaptureName, CaptureOptions } from './capture.ts'
import type { RingCounts, RingLimits } from './ring.ts'
import { checkCapture } from './sources/live.ts'

export interface RecorderSettings {
  wanted: 'best' | CaptureName
  capture: CaptureOptions
  /** Folder of the ring. */
  directory: string
  limits: RingLimits
  /** The ring is there, and nothing of this capture is in it yet: a reader of its tail that is opened here sees all. */
  prepared?(): void
  /** Something that is worth a line to the user. */
  remark(text: string): void
}

/** How packets are captured. */
export interface Chosen {
  name: CaptureName
  title: string
  /** Those that would have come first, and what keeps them from it. */
  passedOver: readonly { name: CaptureName; why: string }[]
}

export interface CountedInterface {
  described: CapturedInterface
  /** null: nothing was counted yet. */
  counters: CaptureCounters | null
}

export type ToRecorder =
  | { type: 'start'; wanted: 'best' | CaptureName; capture: CaptureOptions; directory: string; limits: RingLimits }
  /** The answer to `prepared`. */
  | { type: 'capture' }
  | { type: 'retarget'; addresses: readonly string[] | null }
  | { type: 'count' }
  | { type: 'stop' }

export type FromRecorder =
  | { type: 'prepared' }
  | ({ type: 'started' } & Chosen)
  | ({ type: 'interface' } & CountedInterface)
  | { type: 'ring'; counts: RingCounts }
  /** `position`: packets that the ring has ever taken. `at`: ms since 1970. */
  | { type: 'appended'; position: number; at: number }
  | { type: 'remark'; text: string }
  | { type: 'fault'; code: string; message: string }
  | { type: 'stopped' }

const PROCESS = fileURLToPath(new URL('./recorder-process.ts', import.meta.url))
/** It holds chunks on their way to the disk and indexes of segments, and no objects that live: small spaces do. */
const FLAGS = ['--max-semi-space-size=2', '--max-old-space-size=256', '--disable-warning=ExperimentalWarning']
/** A disk that answers no more must not keep the command from ending. */
const STOP_MS = 10_000

/** Throws a Fault when nothing can be captured, or not be recorded. */
export async function startRecorder(settings: RecorderSettings): Promise<Recorder> {
  await checkCapture(settings.capture)
  const child = spawn(process.execPath, [...FLAGS, PROCESS], {
    // Its own group: Ctrl-C is for the driver, who ends it when everything is taken.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const recorder = new Recorder(child, settings)
  try {
    await recorder.started
  } catch (error) {
    await recorder.stop()
    throw error
  }
  return recorder
}

export class Recorder {
  readonly pid: number
  readonly directory: string
  readonly interfaces = new Map<number, CountedInterface>()
  chosen: Chosen | null = null
  /** Packets that the ring has ever taken: a reader can have them all. */
  position = 0
  /** ms since 1970 by the recorder's clock, when it told of that position. */
  now = 0
  ring: RingCounts | null = null
  /** Why it ended by itself; null while it lives, and when it was stopped. */
  fault: Fault | null = null
  /** It records no more, and its ring is as it will stay. */
  ended = false
  readonly started: Promise<void>
  private readonly child: ChildProcess
  private readonly prepared: () => void
  private readonly remark: (text: string) => void
  private readonly gone: Promise<unknown>
  private stopping = false
  private complaint = ''
  private waiters: (() => void)[] = []

  constructor(child: ChildProcess, settings: RecorderSettings) {
    const { wanted, capture, directory, limits, prepared = () => {}, remark } = settings
    this.child = child
    this.pid = child.pid ?? 0
    this.directory = directory
    this.prepared = prepared
    this.remark = remark
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.started = promise
    this.gone = goneOf(child).then(how => {
      this.end(how)
      reject(this.fault ?? new Fault('RECORDER_ENDED', 'the recording process was stopped before it began'))
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.complaint = (this.complaint + text).slice(-2000)
    })
    child.on('message', (message: FromRecorder) => {
      if (message.type === 'started') resolve()
      this.take(message)
    })
    this.tell({ type: 'start', wanted, capture, directory, limits })
  }

  /** Packets of other addresses than these are left out from now on; null: none is. */
  retarget(addresses: readonly string[] | null): void {
    this.tell({ type: 'retarget', addresses })
  }

  /** Counters are read soon. They are every second, too. */
  count(): void {
    this.tell({ type: 'count' })
  }

  /** Resolves with the next news, or soon after `ms`. */
  async news(ms: number): Promise<void> {
    if (this.ended) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.waiters.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Captures no more, records what was seen, seals the ring, ends. What the counters say afterwards is final. */
  async stop(): Promise<void> {
    if (!this.stopping) {
      this.stopping = true
      this.tell({ type: 'stop' })
      const overdue = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS)
      await this.gone
      clearTimeout(overdue)
    }
    await this.gone
  }

  private take(message: FromRecorder): void {
    switch (message.type) {
      case 'prepared':
        this.prepare()
        break
      case 'started':
        this.chosen = { name: message.name, title: message.title, passedOver: message.passedOver }
        break
      case 'interface':
        this.interfaces.set(message.described.id, { described: message.described, counters: message.counters })
        break
      case 'ring':
        this.ring = message.counts
        break
      case 'appended':
        this.position = message.position
        this.now = message.at
        break
      case 'remark':
        this.remark(message.text)
        break
      case 'fault':
        this.fault = new Fault(message.code, message.message)
        break
      case 'stopped':
        this.stopping = true
    }
    this.wake()
  }

  private prepare(): void {
    try {
      this.prepared()
      this.tell({ type: 'capture' })
    } catch (error) {
      this.fault = error instanceof Fault ? error : new Fault('RECORDER_ENDED', (error as Error).message)
      this.tell({ type: 'stop' })
    }
  }

  private end(how: string): void {
    this.ended = true
    if (!this.stopping && this.fault === null) {
      const cause = this.complaint.trim().split('\n').at(-1) || how
      this.fault = new Fault('RECORDER_ENDED', `the recording process ended by itself: ${cause}`)
    }
    this.wake()
  }

  private wake(): void {
    const { waiters } = this
    this.waiters = []
    for (const waiter of waiters) waiter()
  }

  private tell(message: ToRecorder): void {
    if (this.child.connected) this.child.send(message, () => {})
  }
}

/** When it has ended and everything that it told is heard: how it ended. */
async function goneOf(child: ChildProcess): Promise<string> {
  const disconnected = once(child, 'disconnect')
  const { promise, resolve } = Promise.withResolvers<string>()
  child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  child.on('error', error => {
    // Else it is the channel of a process that has just died.
    if (child.pid === undefined) resolve(error.message)
  })
  const how = await promise
  if (child.pid !== undefined) await disconnected
  return how
}
