/**
 * The part of the sandbox that runs inside a script's isolate: makes its globals, calls its hooks, catches what they
 * throw. A script may break it, and then has broken only itself: nothing that others rely on is decided here.
 */
import type { CursorParts, Dissecting, DissectorsInside } from './dissectors.ts'
import type { Fetch, ItemBatch, ItemReaders } from './lazy-item.ts'

/** What the process around the isolate does for it. */
export interface Bridge {
  fetch: Fetch
  /** Waits for the host; throws what the host answers with. */
  order(global: string, member: string, args: string): string
  console(level: string, text: string): void
  failed(report: string): void
  /** Calls `timer(id)` after `ms`. */
  timer(id: number, ms: number): void
}

export interface Settings {
  file: string
  env: string
  nodeName: string
  /** Fields of every item. */
  fields: string[]
  helpers: { name: string; calls: readonly string[]; later: readonly string[] }[]
  consoleLines: number
  consoleLinesPerSecond: number
  consoleText: number
  sliceMs: number
  timers: number
  exhaustions: number
  causes: number
}

/** What a helper's `inside` may use. */
export interface HelperBridge {
  call(member: string, ...args: unknown[]): unknown
  print(level: 'log' | 'error' | 'clear', text: string): void
  nodeName: string
  env: string
}

type Hook = (...args: unknown[]) => unknown

/** Answer to every call: how far it went, and what happened since the last answer. */
export interface Progress {
  rows: number
  more: boolean
  passed: number
  failed: number
  errors: number
  pending: number
  muted: number
  /** Why the script must not be called again: what its last calls all ended with. */
  exhausted?: string
}

export interface Inside extends Dissecting {
  /** `hooks`: the script's functions by hook name. */
  ready(hooks: Record<string, Hook | undefined>): void
  items(seq: number, count: number, columns: string, cells: string, texts: string, ascii: boolean): string
  packets(count: number, columns: ArrayBuffer): string
  resume(): string
  /** What promises did since the last answer. */
  report(): string
  timer(id: number): string
  /** The batches up to `through` of which items are kept. */
  settle(through: number): string
  keep(seq: number, text: string, ascii: boolean, starts: string): string
  loadFailed(error: unknown): void
}

/** Travels into the isolate as text: uses nothing from around it. */
export function start(
  ItemReader: ItemReaders,
  bridge: Bridge,
  settings: Settings,
  openers: Record<string, (bridge: HelperBridge) => unknown>,
  collect: () => void,
  dissectorsOf: DissectorsInside,
  cursorParts: CursorParts,
): Inside {
  /** Quick calls between two looks at the clock, which costs as much as a small hook. */
  const STRIDE = 8

  const { parse, stringify } = JSON
  const { now } = Date
  const { defineProperty, create } = Object
  const StringOf = String
  const PromiseOf = Promise
  const RangeErrorOf = RangeError
  const then = Function.prototype.call.bind(Promise.prototype.then) as (
    promise: Promise<unknown>,
    done: () => void,
    failed: (error: unknown) => void,
  ) => void
  // Memory that no limit counts, and a way to sleep that no limit wakes.
  for (const name of ['WebAssembly', 'SharedArrayBuffer', 'Atomics']) delete (globalThis as never)[name]

  const reader = new ItemReader(bridge.fetch, settings.fields)
  const counts = { passed: 0, failed: 0, errors: 0, muted: 0 }
  let pending = 0

  // ---- globals

  let lines = settings.consoleLines
  let lastLine = now()
  function print(level: 'log' | 'error' | 'clear', text: string): void {
    const time = now()
    lines = Math.min(settings.consoleLines, lines + ((time - lastLine) / 1000) * settings.consoleLinesPerSecond)
    lastLine = time
    if (lines < 1) {
      counts.muted++
      return
    }
    lines--
    const rest = text.length - settings.consoleText
    bridge.console(level, rest > 0 ? `${text.slice(0, settings.consoleText)}… (${rest} characters more)` : text)
  }

  for (const helper of settings.helpers) {
    const { name } = helper
    const call = (member: string, ...args: unknown[]): unknown => {
      const text = json(`${name}.${member}`, args)
      let answer: string
      try {
        answer = bridge.order(name, member, text)
      } catch (error) {
        // The host's error knows no place in the script.
        throw new Error((error as Error).message)
      }
      return parse(answer)
    }
    const inside = openers[name]?.({ call, print, nodeName: settings.nodeName, env: settings.env })
    const value = (inside ?? {}) as Record<string, unknown>
    for (const member of helper.calls) place(value, member, (...args: unknown[]) => call(member, ...args))
    for (const member of helper.later) {
      place(value, member, () => {
        const error = new Error(`${name}.${member} is not available in this version`)
        error.name = 'ScriptError'
        throw error
      })
    }
    defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true })
  }

  /** BigInts, circles and what throws when it is looked at have no JSON. */
  function json(call: string, args: unknown[]): string {
    try {
      return stringify(args)
    } catch (failure) {
      for (let i = 0; i < args.length; i++) {
        try {
          stringify(args[i])
        } catch (error) {
          throw new TypeError(`${call}: expected argument ${i + 1} to be JSON: ${(error as Error)?.message}`)
        }
      }
      throw failure
    }
  }

  function place(object: Record<string, unknown>, path: string, value: unknown): void {
    const names = path.split('.')
    const last = names.pop()!
    for (const name of names) {
      object[name] ??= {}
      object = object[name] as Record<string, unknown>
    }
    object[last] = value
  }

  const timers = new Map<number, () => void>()
  let timerIds = 0
  defineProperty(globalThis, 'setTimeout', {
    value: function setTimeout(task: unknown, ms: unknown, ...args: unknown[]): number {
      if (typeof task !== 'function') throw new TypeError(`setTimeout: expected a function, found ${typeof task}`)
      if (timers.size >= settings.timers)
        throw new RangeError(`setTimeout: expected at most ${settings.timers} timers waiting, found one more`)
      const id = ++timerIds
      timers.set(id, () => task(...args))
      const delay = Number(ms)
      bridge.timer(id, delay > 0 ? Math.min(delay, 0x7fffffff) : 0)
      return id
    },
    writable: true,
    configurable: true,
    enumerable: true,
  })
  defineProperty(globalThis, 'clearTimeout', {
    value: function clearTimeout(id: unknown): void {
      timers.delete(id as number)
    },
    writable: true,
    configurable: true,
    enumerable: true,
  })

  // ---- failures

  const causes = new Set<string>()
  function failed(hook: string, kind: string, error: unknown): void {
    const report = reportOf(hook, kind, error)
    if (report !== null) bridge.failed(report)
  }

  /** Counts it; null: has been reported before. */
  function reportOf(hook: string, kind: string, error: unknown): string | null {
    counts.errors++
    if (causes.size >= settings.causes) return null
    const cause = describe(error)
    const [line, column] = place_(error)
    const key = `${hook} ${line}:${column} ${cause}`
    if (causes.has(key)) return null
    causes.add(key)
    return stringify({ hook, kind, cause, line, column })
  }

  /** Text of whatever was thrown; its own code may throw again. */
  function describe(error: unknown): string {
    try {
      if (error instanceof Error) return StringOf(`${error.name}: ${error.message}`).slice(0, settings.consoleText)
      if (typeof error === 'object' && error !== null) {
        const { message } = error as { message?: unknown }
        return (typeof message === 'string' ? message : (stringify(error) ?? StringOf(error))).slice(
          0,
          settings.consoleText,
        )
      }
      return StringOf(error).slice(0, settings.consoleText)
    } catch {
      return 'a value that cannot be shown as text'
    }
  }

  /** Line and column within the script: the first place in the stack that names its file. */
  function place_(error: unknown): [number | null, number | null] {
    try {
      const stack = (error as { stack?: unknown }).stack
      if (typeof stack !== 'string') return [null, null]
      const at = stack.indexOf(`${settings.file}:`)
      if (at < 0) return [null, null]
      const [line, column] = stack.slice(at + settings.file.length + 1, at + settings.file.length + 20).split(':')
      return [Number.parseInt(line!, 10) || null, Number.parseInt(column ?? '', 10) || null]
    } catch {
      return [null, null]
    }
  }

  const dissecting = dissectorsOf(cursorParts, reportOf)

  // ---- hooks

  const hooks: { onItemCaptured?: Hook | undefined; onPacketCaptured?: Hook | undefined } = create(null)

  /** Calls in a row that ended for want of stack or memory, and with what the last one did. */
  let exhaustions = 0
  let exhaustion = ''

  function call(name: string, hook: Hook, argument: unknown): void {
    try {
      const result = hook(argument)
      if (result !== undefined) returned(name, result)
      if (exhaustions > 0) exhaustions = 0
    } catch (error) {
      failed(name, 'exception', error)
      const wanted = want(error)
      exhaustion = wanted ?? ''
      exhaustions = wanted === null ? 0 : exhaustions + 1
    }
  }

  /** Of what the call had too little. */
  function want(error: unknown): string | null {
    try {
      if (!(error instanceof RangeErrorOf)) return null
      const cause = describe(error)
      return cause.includes('Maximum call stack size') || cause.includes('allocation failed') ? cause : null
    } catch {
      // A proxy that throws when it is looked at.
      return null
    }
  }

  function returned(name: string, result: unknown): void {
    if (typeof result !== 'object' || result === null) return
    if (result instanceof PromiseOf) {
      wait(name, result)
      return
    }
    const { passed, failed } = result as { passed?: unknown; failed?: unknown }
    if (passed === true) counts.passed++
    if (failed === true) counts.failed++
  }

  function wait(name: string, promise: Promise<unknown>): void {
    pending++
    then(
      promise,
      () => {
        pending--
      },
      error => {
        pending--
        failed(name, 'rejection', error)
      },
    )
  }

  // ---- batches

  /** Kept items keep their batch; a batch whose items are all gone is found gone here. */
  const batches = new Map<number, WeakRef<ItemBatch>>()
  let batch: ItemBatch | null = null
  let packets: Packets | null = null
  let row = 0

  function run(): string {
    const begun = now()
    let look = row + 1
    if (batch !== null) {
      const hook = hooks.onItemCaptured!
      const { count } = batch
      while (row < count && exhaustions < settings.exhaustions) {
        call('onItemCaptured', hook, reader.item(batch, row++))
        if (row < look) continue
        const time = now() - begun
        if (time > settings.sliceMs && row < count) return progress(true)
        look = row + (time < 2 ? STRIDE : 1)
      }
    } else if (packets !== null) {
      const hook = hooks.onPacketCaptured!
      const { count } = packets
      while (row < count && exhaustions < settings.exhaustions) {
        call('onPacketCaptured', hook, packetAt(packets, row++))
        if (row < look) continue
        const time = now() - begun
        if (time > settings.sliceMs && row < count) return progress(true)
        look = row + (time < 2 ? STRIDE : 1)
      }
    }
    batch = null
    packets = null
    return progress(false)
  }

  function progress(more: boolean): string {
    const told: Progress = { rows: row, more, ...counts, pending }
    if (exhaustions >= settings.exhaustions) told.exhausted = exhaustion
    const text = stringify(told)
    counts.passed = counts.failed = counts.errors = counts.muted = 0
    return text
  }

  return {
    ...dissecting,
    ready(found) {
      hooks.onItemCaptured = found.onItemCaptured
      const onPacketCaptured = found.onPacketCaptured ?? found.onPacket
      const both = found.onPacketCaptured !== undefined && found.onPacket !== undefined
      hooks.onPacketCaptured = both
        ? info => {
            call('onPacketCaptured', found.onPacketCaptured!, info)
            call('onPacket', found.onPacket!, info)
          }
        : onPacketCaptured
    },
    items(seq, count, columns, cells, texts, ascii) {
      row = 0
      batch = reader.open(seq, count, columns, cells, texts, ascii)
      batches.set(seq, new WeakRef(batch))
      return run()
    },
    packets(count, columns) {
      row = 0
      packets = openPackets(count, columns)
      return run()
    },
    resume: run,
    report: () => progress(false),
    timer(id) {
      const task = timers.get(id)
      timers.delete(id)
      if (task !== undefined) {
        try {
          const result: unknown = task()
          if (result instanceof PromiseOf) wait('setTimeout', result)
        } catch (error) {
          failed('setTimeout', 'exception', error)
        }
      }
      return progress(false)
    },
    settle(through) {
      const due = [...batches.keys()].filter(seq => seq <= through)
      reader.letGo()
      if (due.length > 0) collect()
      const alive: number[] = []
      for (const seq of due) {
        const kept = batches.get(seq)!.deref()
        if (kept === undefined) batches.delete(seq)
        else if (kept.lines === null) alive.push(seq)
      }
      return stringify(alive)
    },
    keep(seq, text, ascii, starts) {
      const kept = batches.get(seq)?.deref()
      if (kept !== undefined) kept.lines = { text, ascii, starts: parse(starts) }
      batches.delete(seq)
      return progress(false)
    },
    loadFailed(error) {
      failed('load', 'exception', error)
    },
  }

  // ---- packets

  interface Packets {
    count: number
    timestamp: Float64Array
    captureLength: Uint32Array
    length: Uint32Array
    flags: Uint8Array
  }

  function openPackets(count: number, columns: ArrayBuffer): Packets {
    return {
      count,
      timestamp: new Float64Array(columns, 0, count),
      captureLength: new Uint32Array(columns, count * 8, count),
      length: new Uint32Array(columns, count * 12, count),
      flags: new Uint8Array(columns, count * 16, count),
    }
  }

  function packetAt(from: Packets, at: number): object {
    const flags = from.flags[at]!
    return {
      timestamp: from.timestamp[at],
      captureLength: from.captureLength[at],
      length: from.length[at],
      truncated: (flags & 1) !== 0,
      fragmented: (flags & 2) !== 0,
    }
  }
}
