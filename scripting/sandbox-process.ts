/** The host's end of the sandbox process: starts it, speaks frames with it, watches its memory, kills it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { Fault } from '../core/fault.ts'
import { type Confinement, closeDoors, type command, look } from './confinement.ts'
import { FrameReader, frame } from './sandbox/frames.js'
import type { ToHost, ToSandbox } from './sandbox/messages.ts'

/** What the process says before it dies is kept up to here: a script must not fill the host's memory with it. */
const LAST_WORDS = 4096

/** Of /proc/PID/statm: Linux on every machine that Node runs on. */
const PAGE = 4096

export interface Events {
  /** `body` is only valid during the call. */
  message(message: ToHost, body: Buffer, from: SandboxProcess): void
  /** The process has ended; `how` says by what: `SIGABRT: … JavaScript heap out of memory`. */
  exit(how: string, from: SandboxProcess): void
}

export class SandboxProcess {
  readonly #child: ChildProcess
  #lastWords = ''
  /** What it said that no sandbox says. */
  #nonsense: string | null = null
  confinement: Confinement | null = null

  private constructor(child: ChildProcess, events: Events) {
    this.#child = child
    const reader = new FrameReader<ToHost>((message, body) => events.message(message, body, this))
    child.stdout!.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        // Somebody broke out of an isolate and speaks nonsense.
        this.#nonsense ??= String(error)
        this.kill()
      }
    })
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#lastWords = (this.#lastWords + chunk.toString('latin1')).slice(-LAST_WORDS)
    })
    // Writing to a process that has just died: its exit is what counts.
    child.stdin!.on('error', () => undefined)
    child.on('close', (code, signal) => events.exit(this.#nonsense ?? ending(code, signal, this.#lastWords), this))
  }

  /** `dissects`: scripts may define dissectors, for which it needs the engine. */
  static async start(events: Events, dissects: boolean, launch: typeof command): Promise<SandboxProcess> {
    const [program, args] = await launch()
    const child = spawn(program, dissects ? [...args, '--dissect'] : args, {
      cwd: '/',
      env: {},
      // Its own group: Ctrl-C is for us, and scripts still see what was captured.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', cause =>
        reject(new Fault('SANDBOX_NOT_STARTED', `expected to start the sandbox by ${program}, found ${cause.message}`)),
      )
    })
    return new SandboxProcess(child, events)
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** While it is still of the host's user. */
  async closeDoors(): Promise<void> {
    await closeDoors(this.pid)
    this.send({ type: 'drop' })
  }

  async look(): Promise<void> {
    this.confinement = await look(this.pid)
  }

  send(message: ToSandbox, ...bodies: Uint8Array[]): void {
    this.#child.stdin!.write(frame(message, ...bodies))
  }

  /** Bytes of memory in use; 0 where nobody says. */
  async memory(): Promise<number> {
    const text = await readFile(`/proc/${this.pid}/statm`, 'latin1').catch(() => '')
    return (Number(text.split(' ')[1]) || 0) * PAGE
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

/** What an engine says before it dies, the telling lines first. */
const LAST_LINES = [/out of memory|fatal javascript|check failed/i, /fatal|error/i]

function ending(code: number | null, signal: string | null, words: string): string {
  const how = signal ?? `exit code ${code}`
  const lines = words.split('\n')
  const told = LAST_LINES.map(telling => lines.find(line => telling.test(line))).find(line => line !== undefined)
  return told === undefined ? how : `${how}: ${told.replace(/^[#\s]+/, '').trim()}`
}
