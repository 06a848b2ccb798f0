/** One capture through the pipeline, in a thread that can be ended when it does not come back. */
import { parentPort, Worker } from 'node:worker_threads'
import { Fault } from '../../core/fault.ts'
import type { Item } from '../../core/item.ts'
import { Pipeline } from '../../core/pipeline.ts'
import { loadProtocols } from '../../core/registry.ts'
import { including } from '../../core/selection.ts'
import { openCapture } from '../../worker/sources/file.ts'

export interface Reading {
  items: Item[]
  packets: number
  /** Bytes in that are neither headers nor parsed nor skipped with a cause: must be 0. */
  unaccounted: number
  /** What a person was told about the file, in one line. */
  fault: string | null
  /** What must not happen: an exception that is no Fault, or no end in time. */
  crash: string | null
}

/** The largest capture of the corpus has a megabyte: whoever needs this long hangs. */
const MAX_SECONDS = 20
const KEEP_BODIES = 1 << 20
const MAX_HEAP_MB = 512

/** A thread that reads captures one after the other; after a crash the next one gets a new thread. */
export class Reader {
  private worker: Worker | null = null

  read(path: string): Promise<Reading> {
    this.worker ??= new Worker(new URL(import.meta.url), {
      argv: ['thread'],
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    })
    const worker = this.worker
    return new Promise(resolve => {
      const settle = (reading: Reading) => {
        clearTimeout(timer)
        worker.off('message', settle)
        worker.off('error', crashed)
        resolve(reading)
      }
      const giveUp = (crash: string) => {
        this.worker = null
        settle({ items: [], packets: 0, unaccounted: 0, fault: null, crash })
        void worker.terminate()
      }
      const crashed = (error: unknown) => giveUp(String(error))
      const timer = setTimeout(() => giveUp(`no end within ${MAX_SECONDS} s`), MAX_SECONDS * 1000)
      worker.once('message', settle)
      worker.once('error', crashed)
      worker.postMessage(path)
    })
  }

  async close(): Promise<void> {
    await this.worker?.terminate()
  }
}

async function readCapture(path: string): Promise<Reading> {
  const items: Item[] = []
  const protocols = including(await loadProtocols(), ['tcp-conn'])
  const pipeline = new Pipeline({ protocols, worker: 'local', node: null, keepBodies: KEEP_BODIES }, batch => {
    const lines = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.length).toString('utf8')
    for (const line of lines.split('\n')) if (line !== '') items.push(JSON.parse(line))
  })
  let fault: string | null = null
  let crash: string | null = null
  try {
    const capture = await openCapture(path)
    try {
      do {
        for (let packet = capture.next(); packet !== null; packet = capture.next()) pipeline.packet(packet)
      } while (await capture.load())
      for (let packet = capture.next(); packet !== null; packet = capture.next()) pipeline.packet(packet)
    } finally {
      capture.close()
    }
    pipeline.finish()
  } catch (error) {
    if (error instanceof Fault) fault = error.message
    else crash = error instanceof Error ? (error.stack ?? error.message) : `thrown: ${JSON.stringify(error)}`
  }
  const { packets, bytes, headers, parsed, skippedBytes } = pipeline.tally
  return { items, packets, unaccounted: bytes - headers - parsed - skippedBytes, fault, crash }
}

if (parentPort !== null && process.argv.includes('thread')) {
  const port = parentPort
  port.on('message', async (path: string) => port.postMessage(await readCapture(path)))
}
