// @ts-check
/**
 * One script in an isolate of its own: compiled, run, its hooks found; then called in its own thread. JavaScript, as
 * process.js says why.
 */
import { setFlagsFromString } from 'node:v8'
import ivm from 'isolated-vm'

/** @import { Limits } from '../limits.ts' */
/** @import { Bridge, Inside, Settings } from './inside/runtime.ts' */
/** @import { HostSettings, Load } from './messages.ts' */

/**
 * The bridge as this side of it: what the isolate waits for may be a promise here.
 *
 * @typedef {Omit<Bridge, 'fetch' | 'order'> & {
 *   fetch(...args: Parameters<Bridge['fetch']>): Promise<ReturnType<Bridge['fetch']>>
 *   order(...args: Parameters<Bridge['order']>): Promise<string>
 * }} OuterBridge
 */

/** The isolate is gone or must go, and why. */
export class Lost {
  /**
   * @param {'time' | 'memory'} kind
   * @param {string} cause
   * @param {string} stack
   */
  constructor(kind, cause, stack) {
    this.kind = kind
    this.cause = cause
    this.stack = stack
  }
}

/** @type {(keyof Inside)[]} */
const CALLS = [
  'ready',
  'items',
  'packets',
  'resume',
  'report',
  'timer',
  'settle',
  'keep',
  'loadFailed',
  'definitions',
  'probe',
  'open',
  'drop',
  'read',
  'end',
]

/** ms after which a batch pauses, so that the time of one call can be told from that of many. */
const SLICE_MS = 25

export class ScriptIsolate {
  #limits
  #isolate
  #collect
  /** @type {Map<string, ivm.Reference>} */
  #calls = new Map()

  /** @param {Limits} limits */
  constructor(limits) {
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

  get cpuMs() {
    return this.#isolate.isDisposed ? 0 : Number(this.#isolate.cpuTime / 1000n) / 1000
  }

  /**
   * Names of the hooks that the script defines. Throws `Lost`.
   *
   * @param {Load} load
   * @param {string} inside
   * @param {HostSettings} settings
   * @param {OuterBridge} bridge
   */
  async load(load, inside, settings, bridge) {
    const context = await this.#isolate.createContext()
    const { fetch, order, console, failed, timer } = bridge
    /** @type {{ ignored: true }} */
    const ignored = { ignored: true }
    /** @type {Settings} */
    const all = { ...settings, file: load.file, sliceMs: SLICE_MS }
    const text = JSON.stringify(all)
    const calls = await context.evalClosure(
      inside,
      [
        new ivm.Reference((/** @type {Parameters<typeof fetch>} */ ...args) =>
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
    for (const name of CALLS) this.#calls.set(name, await calls.get(name, { reference: true }))
    try {
      const script = await this.#isolate.compileScript(load.code, { filename: load.file })
      await script.run(context, { timeout: this.#limits.loadMs })
    } catch (error) {
      throw this.#lost(error, this.#limits.loadMs) ?? error
    }
    return this.#findHooks(context)
  }

  /**
   * Hooks may be declared by `let` and `const`, which are no properties of the global object.
   *
   * @param {ivm.Context} context
   */
  async #findHooks(context) {
    const names = ['onItemCaptured', 'onPacketCaptured', 'onPacket']
    const pairs = names.map(name => `${name}: typeof ${name} === 'function' ? ${name} : undefined`)
    const found = await context.eval(`({ ${pairs.join(', ')} })`, { reference: true, timeout: this.#limits.callMs })
    await this.#inside('ready').apply(undefined, [found.derefInto()], { timeout: this.#limits.callMs })
    const hooks = []
    for (const name of names) {
      const hook = await found.get(name, { reference: true })
      if (hook.typeof === 'function') hooks.push(name)
    }
    return hooks
  }

  /**
   * Throws `Lost`.
   *
   * @param {keyof Inside} name
   * @param {any[]} args
   * @returns {Promise<string>}
   */
  async call(name, args) {
    const timeout = this.#limits.callMs + SLICE_MS
    const sent = args.map(one =>
      one instanceof ArrayBuffer ? new ivm.ExternalCopy(one).copyInto({ release: true }) : one,
    )
    try {
      return /** @type {string} */ (await this.#inside(name).apply(undefined, sent, { timeout }))
    } catch (error) {
      throw this.#lost(error, this.#limits.callMs) ?? error
    }
  }

  /**
   * Answers before the next line: only while no other call is under way. Throws `Lost`.
   *
   * @param {keyof Inside} name
   * @param {any[]} args
   * @returns {any}
   */
  ask(name, args) {
    const timeout = this.#limits.dissectMs
    const sent = args.map(one =>
      one instanceof ArrayBuffer ? new ivm.ExternalCopy(one).copyInto({ release: true }) : one,
    )
    try {
      return this.#inside(name).applySync(undefined, sent, { timeout })
    } catch (error) {
      throw this.#lost(error, timeout) ?? error
    }
  }

  /**
   * @param {keyof Inside} name
   * @returns {ivm.Reference}
   */
  #inside(name) {
    const found = this.#calls.get(name)
    if (found === undefined) throw new TypeError(`the runtime has no call named ${name}`)
    return found
  }

  dispose() {
    if (!this.#isolate.isDisposed) this.#isolate.dispose()
  }

  /**
   * @param {unknown} error
   * @param {number} ms
   */
  #lost(error, ms) {
    const { message, stack } = /** @type {Error} */ (error)
    if (/timed out/.test(message)) return new Lost('time', `ran longer than ${ms} ms`, String(stack))
    if (this.#isolate.isDisposed)
      return new Lost('memory', `used more than ${this.#limits.memoryMb} MB of memory`, String(stack))
    return null
  }
}
