/**
 * The process that captures and records: takes blocks from a capture source, appends them to the ring, and understands
 * nothing. Ends, with the ring sealed, when its driver says so, ends, or is killed.
 */
import { setPriority } from 'node:os'
import { Fault } from '../core/fault.ts'
import type { Capture, CapturedInterface, CaptureOptions, CaptureSink } from './capture.ts'
import type { FromRecorder, ToRecorder } from './recorder.ts'
import { Ring } from './ring.ts'
import { type Choice, chooseSource } from './sources/choice.ts'

/** Ahead of what it watches, and of who reads: it is what must not wait. */
const PRIORITY = -10
/** Readers hear that something was appended at most this often; an item is shown so much later. */
const TELL_MS = 20
const COUNT_MS = 1000
/** A driver that was stopped by a signal hears nothing: what it was not told then must not fill the memory. */
const MAX_UNHEARD = 1000
/** Nor may it keep the end from coming. */
const LAST_WORDS_MS = 1000

let ring: Ring | null = null
let capture: Capture | null = null
/** Waits for the driver's word. */
let begin: (() => Promise<void>) | null = null
let ending = false
const interfaces: CapturedInterface[] = []
/** What was told and not yet heard. */
let unheard = 0
/** Packets that the driver knows to be in the ring. */
let told = -1

try {
  setPriority(PRIORITY)
} catch {
  // Without the capability SYS_NICE: under load the kernel's buffer is what helps.
}

process.on('message', (message: ToRecorder) => {
  if (message.type === 'start') void prepare(message)
  else if (message.type === 'capture') void begin?.()
  else if (message.type === 'retarget') attempt(() => capture?.retarget(message.addresses))
  else if (message.type === 'count') attempt(() => capture?.count())
  else void end(null)
})
process.on('disconnect', () => void end(null))
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.on(signal, () => void end(new Fault('RECORDER_ENDED', `the recording process was sent ${signal}`)))
process.on('uncaughtException', error => {
  process.stderr.write(`${error.stack}\n`)
  void end(new Fault('RECORDER_ENDED', `the recording process failed: ${error.message}`))
})

async function prepare({ wanted, capture: options, directory, limits }: ToRecorder & { type: 'start' }): Promise<void> {
  try {
    const choice = await chooseSource(wanted, options)
    const opened = Ring.open(directory, limits, Date.now(), text => tell({ type: 'remark', text }))
    ring = opened
    begin = () => start(choice, options, opened)
    tell({ type: 'prepared' })
  } catch (error) {
    await end(faultOf(error))
  }
}

async function start({ source, passedOver }: Choice, options: CaptureOptions, into: Ring): Promise<void> {
  begin = null
  try {
    capture = await source.open(options, sinkOf(into))
  } catch (error) {
    await end(faultOf(error))
    return
  }
  if (ending) return
  tell({ type: 'started', name: capture.name, title: source.title, passedOver })
  setInterval(appended, TELL_MS)
  setInterval(() => {
    attempt(() => capture?.count())
    into.tick(Date.now())
    tell({ type: 'ring', counts: into.counts() })
    // Time passes, too.
    told = -1
  }, COUNT_MS)
}

function faultOf(error: unknown): Fault {
  return error instanceof Fault ? error : new Fault('RECORDER_ENDED', (error as Error).message)
}

function sinkOf(into: Ring): CaptureSink {
  return {
    interface(described) {
      into.interface(described)
      interfaces.push(described)
      tell({ type: 'interface', described, counters: null })
    },
    packets: (blocks, count) => into.packets(blocks, count),
    counters(id, counters) {
      into.counters(id, counters)
      tell({ type: 'interface', described: interfaces[id]!, counters })
    },
    remark: text => tell({ type: 'remark', text }),
    fault: fault => void end(fault),
  }
}

/** Once, whoever asks first. */
async function end(fault: Fault | null): Promise<void> {
  if (ending) return
  ending = true
  if (fault !== null) tell({ type: 'fault', code: fault.code, message: fault.message })
  await finish()
}

async function finish(): Promise<void> {
  try {
    await capture?.stop()
  } catch (error) {
    tell({ type: 'remark', text: `the capture did not end in order: ${(error as Error).message}` })
  }
  if (ring !== null) {
    ring.close()
    tell({ type: 'ring', counts: ring.counts() })
    tell({ type: 'appended', position: ring.position, at: Date.now() })
  }
  if (!process.connected) process.exit(0)
  setTimeout(() => process.exit(0), LAST_WORDS_MS)
  process.send!({ type: 'stopped' } satisfies FromRecorder, () => process.exit(0))
}

function appended(): void {
  if (ring === null || ending || ring.position === told || unheard > 1) return
  told = ring.position
  tell({ type: 'appended', position: told, at: Date.now() })
}

function tell(message: FromRecorder): void {
  if (!process.connected || unheard >= MAX_UNHEARD) return
  unheard++
  process.send!(message, () => {
    unheard--
  })
}

/** What a source throws at a request is no reason not to record. */
function attempt(action: () => void): void {
  try {
    action()
  } catch (error) {
    tell({ type: 'remark', text: (error as Error).message })
  }
}
