/** One script in an isolate of its own: compiled, run, its hooks found; then called in its own thread. */
import { setFlagsFromString } from 'node:v8'
import ivm from 'isolated-vm'
import type { Limits } from '../limits.ts'
import type { Bridge, Inside, Settings } from './inside/runtime.ts'
import type { HostSettings, Load } from './messages.ts'

/** The bridge as this side of it: what the isolate waits for may be a promise here. */
export interface OuterBridge extends Omit<Bridge, 'fetch' | 'order'> {
  fetch(...args: Parameters<Bridge['fetch']>): Promise<ReturnType<Bridge['fetch']>>
  order(...args: Parameters<Bridge['order']>): Promise<string>
}

/** The isolate is gone or must go, and why. */
export class Lost {
  readonly kind: 'time' | 'memory'
  readonly cause: string
  readonly stack: string
  constructor(kind: 'time' | 'memory', cause: string, stack: string) {
    this.kind = kind
    this.cause = cause
    this.stack = stack
  }
}

/** ms after which a batch pauses, so that the time of one call can be told from that of many. */
const SLICE_MS = 25

export class ScriptIsolate {
  readonly #limits: Limits
  readonly #isolate: ivm.Isolate
  readonly #collect: ivm.Reference
  #calls: Record<string, ivm.Reference> = {}

  constructor(limits: Limits) {
    this.#limits = limits
    this.#isolate = new ivm.Isolate({
      memoryLimit: limits.memoryMb,
      // V8 has lost this isolate and perhaps more: the host starts the process again without the culprit.
      onCatastrophicError: () => process.abort(),
    })
    // The collector is a global that cannot be deleted: it is taken from a context that no script sees.
    setFlagsFromString('--expose-gc')
    this.#collect = this.#isolate.createContextSync().global.getSync('gc', { reference: true })
    setFlagsFromString('--no-expose-gc')
  }

  get cpuMs(): number {
    return this.#isolate.isDisposed ? 0 : Number(this.#isolate.cpuTime / 1000n) / 1000
  }

  /** Names of the hooks that the script defines. Throws `Lost`. */
  async load(load: Load, inside: string, settings: HostSettings, bridge: OuterBridge): Promise<string[]> {
    const context = await this.#isolate.createContext()
    const { fetch, order, console, failed, timer } = bridge
    const ignored = { ignored: true } as const
    const all: Settings = { ...settings, file: load.file, sliceMs: SLICE_MS }
    const text = JSON.stringify(all)
    const calls = await context.evalClosure(
      inside,
      [
        new ivm.Reference((...args: Parameters<typeof fetch>) =>
          fetch(...args).then(answer => new ivm.ExternalCopy(answer).copyInto({ release: true })),
        ),
        new ivm.Reference(order),
        new ivm.Callback(console, ignored),
        new ivm.Callback(failed, ignored),
        new ivm.Callback(timer, ignored),
        text,
        this.#collect.derefInto(),
      ],
      { result: { reference: true }, filename: 'hookline:runtime' },
    )
    for (const name of ['ready', 'items', 'packets', 'resume', 'report', 'timer', 'settle', 'keep', 'loadFailed'])
      this.#calls[name] = await (calls as ivm.Reference).get(name, { reference: true })
    try {
      const script = await this.#isolate.compileScript(load.code, { filename: load.file })
      await script.run(context, { timeout: this.#limits.loadMs })
    } catch (error) {
      throw this.#lost(error, this.#limits.loadMs) ?? error
    }
    return this.#findHooks(context)
  }

  /** Hooks may be declared by `let` and `const`, which are no properties of the global object. */
  async #findHooks(context: ivm.Context): Promise<string[]> {
    const names = ['onItemCaptured', 'onPacketCaptured', 'onPacket']
    const pairs = names.map(name => `${name}: typeof ${name} === 'function' ? ${name} : undefined`)
    const found = await context.eval(`({ ${pairs.join(', ')} })`, { reference: true, timeout: this.#limits.callMs })
    await this.#calls.ready!.apply(undefined, [(found as ivm.Reference).derefInto()], { timeout: this.#limits.callMs })
    const hooks: string[] = []
    for (const name of names) {
      const hook = await (found as ivm.Reference).get(name, { reference: true })
      if (hook.typeof === 'function') hooks.push(name)
    }
    return hooks
  }

  /** Throws `Lost`. */
  async call<Name extends keyof Inside>(name: Name, args: unknown[]): Promise<string> {
    const timeout = this.#limits.callMs + SLICE_MS
    const sent = args.map(one =>
      one instanceof ArrayBuffer ? new ivm.ExternalCopy(one).copyInto({ release: true }) : one,
    )
    try {
      return (await this.#calls[name]!.apply(undefined, sent as string[], { timeout })) as string
    } catch (error) {
      throw this.#lost(error, this.#limits.callMs) ?? error
    }
  }

  dispose(): void {
    if (!this.#isolate.isDisposed) this.#isolate.dispose()
  }

  #lost(error: unknown, ms: number): Lost | null {
    const { message, stack } = error as Error
    if (/timed out/.test(message)) return new Lost('time', `ran longer than ${ms} ms`, String(stack))
    if (this.#isolate.isDisposed)
      return new Lost('memory', `used more than ${this.#limits.memoryMb} MB of memory`, String(stack))
    return null
  }
}
