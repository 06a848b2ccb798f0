// @ts-check
/**
 * The sandbox process: other people's scripts, an isolate each. It has no rights, no environment, no network and no
 * files: what scripts want done, it asks of the host over its standard input and output, its only way out.
 * JavaScript, with its types in comments: stripping types would take longer than all the rest of its start.
 */
import { isAscii } from 'node:buffer'
import { writeSync } from 'node:fs'
import { FrameReader, frame } from './frames.js'
import { Lost, ScriptIsolate } from './isolate.js'

/** @import { Limits } from '../limits.ts' */
/** @import { Progress } from './inside/runtime.ts' */
/** @import { Definition } from './inside/dissectors.ts' */
/** @import { HostSettings, Load, ToHost, ToSandbox } from './messages.ts' */

const STDOUT = 1

/** The user and group that own nothing. */
const NOBODY = 65534

/**
 * @typedef {object} Task
 * @property {string} hook
 * @property {'items' | 'packets' | 'timer' | 'settle' | 'keep'} name
 * @property {number} seq
 * @property {unknown[]} args
 *
 * @typedef {object} Asker
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 */

/** @import { Dissection, Answering } from './dissection.ts' */

/** @type {Map<number, Asker>} */
const waiting = new Map()
/** @type {Map<number, Lane>} */
const lanes = new Map()
let calls = 0
/** Scripts run one at a time: the host looks for the one that takes the process with it. */
let alone = false
let running = 0
let ending = false
/**
 * The engine is loaded when a script is known to need it: no file can be read later.
 *
 * @type {typeof Dissection | null}
 */
const DissectionOf = process.argv.includes('--dissect') ? (await import('./dissection.ts')).Dissection : null
const definitionsOf = DissectionOf === null ? () => [] : (await import('./testimony.ts')).definitionsOf
/** @type {Dissection | null} */
let dissection = null
/**
 * Records that wait until no script with dissectors is busy.
 *
 * @type {Buffer[]}
 */
const streams = []
let dissecting = false
let stopMs = 0
/** @type {Buffer[]} */
let unsaid = []

/** @type {FrameReader<ToSandbox>} */
const reader = new FrameReader(receive)
process.stdin.on('data', (/** @type {Buffer} */ chunk) => reader.push(chunk))
process.stdin.on('end', die)
tell({ type: 'up' })

/**
 * Said with the next `tell`: one write costs less than two.
 *
 * @param {ToHost} message
 */
function mention(message) {
  unsaid.push(frame(message))
}

/**
 * Said at once: after the next call into an isolate there may be no process to say it.
 *
 * @param {ToHost} message
 */
function tell(message) {
  mention(message)
  say()
}

function say() {
  const bytes = unsaid.length === 1 ? /** @type {Buffer} */ (unsaid[0]) : Buffer.concat(unsaid)
  unsaid = []
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(STDOUT, bytes, at)
  } catch {
    // The host is gone, perhaps killed.
    die()
  }
}

/** Nobody listens any more. An orderly exit would wait for scripts that wait for an answer of the host. */
function die() {
  process.kill(process.pid, 'SIGKILL')
}

/**
 * @param {ToHost & { call: number }} message
 * @returns {Promise<any>}
 */
function ask(message) {
  return new Promise((resolve, reject) => {
    waiting.set(message.call, { resolve, reject })
    tell(message)
  })
}

/**
 * @param {ToSandbox} head
 * @param {Buffer} body
 */
function receive(head, body) {
  switch (head.type) {
    case 'drop':
      dropRights()
      tell({ type: 'dropped' })
      return
    case 'load':
      alone = head.alone
      void loadAll(head)
      return
    case 'items': {
      const args = [head.seq, head.count, head.columns, ...openCells(body, head.cells)]
      for (const to of head.to) lanes.get(to)?.push({ hook: 'onItemCaptured', name: 'items', seq: head.seq, args })
      return
    }
    case 'packets': {
      const args = [head.count, new Uint8Array(body).buffer]
      /** @type {Task} */
      const task = { hook: 'onPacketCaptured', name: 'packets', seq: head.seq, args }
      for (const to of head.to) lanes.get(to)?.push(task)
      return
    }
    case 'streams':
      streams.push(Buffer.from(body))
      dissect()
      return
    case 'fetched':
      answer(head.call)?.resolve([head.everyRow, head.kind, ...openCells(body, head.cells)])
      return
    case 'ordered':
      answer(head.call)?.resolve(head.value)
      return
    case 'refused':
      answer(head.call)?.reject(new Error(head.error))
      return
    case 'settle':
      lanes.get(head.script)?.push({ hook: 'settle', name: 'settle', seq: head.through, args: [head.through] })
      return
    case 'keep': {
      const args = [head.seq, body.toString('latin1'), isAscii(body), head.starts]
      lanes.get(head.script)?.push({ hook: 'keep', name: 'keep', seq: head.seq, args })
      return
    }
    case 'alone':
      alone = head.alone
      pumpAll()
      return
    case 'end':
      ending = true
      endIfDone()
      setTimeout(end, stopMs)
  }
}

/**
 * @param {Buffer} body
 * @param {number} cells
 * @returns {[cells: string, texts: string, ascii: boolean]}
 */
function openCells(body, cells) {
  const texts = body.subarray(cells)
  return [`[${body.toString('utf8', 0, cells)}`, texts.toString('latin1'), isAscii(texts)]
}

/** @param {number} call */
function answer(call) {
  const found = waiting.get(call)
  waiting.delete(call)
  return found
}

/** @param {Extract<ToSandbox, { type: 'load' }>} head */
async function loadAll({ scripts, inside, settings, limits, dissection: about }) {
  stopMs = limits.stopMs
  for (const load of scripts) lanes.set(load.script, new Lane(load.script, limits))
  const loads = scripts.map(load => () => lanes.get(load.script)?.load(load, inside, settings))
  if (alone) for (const load of loads) await load()
  else await Promise.all(loads.map(load => load()))
  if (DissectionOf !== null)
    dissection = new DissectionOf(
      [...lanes.values()].map(lane => lane.answering),
      about,
    )
  tell({ type: 'ready' })
}

/** Dissectors answer at once, which they can only while their script does nothing else. */
function dissect() {
  const asked = [...lanes.values()].filter(lane => lane.isDissecting)
  if (dissection === null || dissecting || asked.some(lane => lane.busy)) return
  dissecting = true
  for (let body = streams.shift(); body !== undefined; body = streams.shift()) {
    for (const lane of asked) {
      lane.enter('dissector')
      lane.forget()
    }
    const { items, ...findings } = dissection.feed(body)
    for (const lane of asked) {
      lane.count()
      lane.leave(null, 0)
    }
    unsaid.push(frame({ type: 'dissected', findings }, items))
    say()
  }
  dissecting = false
  pumpAll()
}

function pumpAll() {
  for (const lane of lanes.values()) lane.pump()
  if (ending) endIfDone()
}

function endIfDone() {
  if ([...lanes.values()].every(lane => lane.idle)) end()
}

function end() {
  const unfinished = [...lanes.values()].filter(lane => !lane.idle)
  tell({ type: 'ended', unfinished: unfinished.map(({ script, unfinished: count }) => ({ script, count })) })
}

/** One script's tasks, in order. */
class Lane {
  #limits
  #isolate
  /** @type {Task[]} */
  #queue = []
  busy = true
  /** @type {Definition[]} */
  #definitions = []
  #gone = false
  #pending = 0
  #timers = 0

  /**
   * @param {number} script
   * @param {Limits} limits
   */
  constructor(script, limits) {
    /** @readonly */
    this.script = script
    this.#limits = limits
    this.#isolate = new ScriptIsolate(limits)
  }

  get unfinished() {
    return this.#gone ? 0 : this.#pending + this.#timers + this.#queue.length
  }

  get idle() {
    return this.#gone || (!this.busy && this.unfinished === 0)
  }

  /**
   * @param {Load} load
   * @param {string} inside
   * @param {HostSettings} settings
   */
  async load(load, inside, settings) {
    const { script } = this
    this.enter('load')
    try {
      const hooks = await this.#isolate.load(load, inside, settings, {
        fetch: (seq, row, path, whole) => ask({ type: 'fetch', script, call: ++calls, seq, row, path, whole }),
        order: (global, member, args) => ask({ type: 'order', script, call: ++calls, global, member, args }),
        console: (level, text) => tell({ type: 'console', script, level, text }),
        failed: report => tell({ type: 'failed', script, report }),
        timer: (id, ms) => this.#startTimer(id, ms),
      })
      this.#definitions = definitionsOf(JSON.parse(await this.#isolate.call('definitions', [])))
      tell({ type: 'loaded', script, hooks, dissectors: this.#definitions })
    } catch (error) {
      if (error instanceof Lost) this.#setApart('load', error)
      else {
        const { message, stack, name } = /** @type {Error} */ (error)
        const cause = message === undefined ? String(error) : `${name}: ${message}`
        tell({ type: 'failed', script, report: JSON.stringify({ hook: 'load', kind: 'exception', cause, stack }) })
        this.#gone = true
      }
    }
    this.leave(null, 0)
  }

  get isDissecting() {
    return !this.#gone && this.#definitions.length > 0
  }

  /** @returns {Answering} */
  get answering() {
    return {
      definitions: this.#definitions,
      ask: (name, asking, bytes) => this.#ask(name, [asking, bytes], null),
      open: definition => this.#ask('open', [definition], 0),
      drop: state => this.#dropped.push(state),
      failed: report => tell({ type: 'failed', script: this.script, report }),
    }
  }

  /** Tells what its dissectors did wrong since they were counted last. */
  count() {
    this.#progress(/** @type {Progress} */ (parsed(this.#ask('report', [], '{}'))))
  }

  /** States that nobody holds any more; the collector may say so at any time. */
  forget() {
    for (const state of this.#dropped.splice(0)) this.#ask('drop', [state], undefined)
  }
  /** @type {number[]} */
  #dropped = []

  /**
   * @template T
   * @param {'probe' | 'read' | 'end' | 'open' | 'drop' | 'report'} name
   * @param {any[]} args
   * @param {T} otherwise
   * @returns {T | any}
   */
  #ask(name, args, otherwise) {
    if (this.#gone) return otherwise
    try {
      return this.#isolate.ask(name, args)
    } catch (error) {
      if (!(error instanceof Lost)) throw error
      this.#setApart(name, error)
      return otherwise
    }
  }
  /** @param {Task} task */
  push(task) {
    if (this.#gone) return
    this.#queue.push(task)
    this.pump()
  }

  pump() {
    if (this.busy || this.#gone || (alone && running > 0) || (streams.length > 0 && this.isDissecting)) return
    const task = this.#queue.shift()
    if (task !== undefined) void this.#run(task)
  }

  /** @param {Task} task */
  async #run(task) {
    /** @type {number | null} */
    let seen = null
    let rows = 0
    this.enter(task.hook)
    try {
      const answer = await this.#isolate.call(task.name, task.args)
      if (task.name === 'settle') {
        tell({ type: 'settled', script: this.script, through: task.seq, alive: numbers(answer) })
      } else {
        let progress = /** @type {Progress} */ (parsed(answer))
        this.#progress(progress)
        while (progress.more) {
          progress = /** @type {Progress} */ (parsed(await this.#isolate.call('resume', [])))
          this.#progress(progress)
        }
        // Promises go on between two calls; what they did is in the next answer.
        for (let before = Number.POSITIVE_INFINITY; this.#pending > 0 && this.#pending < before; ) {
          before = this.#pending
          this.#progress(/** @type {Progress} */ (parsed(await this.#isolate.call('report', []))))
        }
        if (task.name === 'keep') tell({ type: 'kept', script: this.script, seq: task.seq })
        if (task.name === 'items' || task.name === 'packets') seen = task.seq
        rows = Number(progress.rows)
        if (progress.exhausted !== undefined) {
          const cause = `${this.#limits.exhaustions} calls in a row ended with ${String(progress.exhausted)}`
          throw new Lost('memory', cause, '')
        }
      }
    } catch (error) {
      if (!(error instanceof Lost)) throw error
      this.#setApart(task.hook, error)
    }
    this.leave(seen, rows)
  }

  /** @param {Progress} progress */
  #progress(progress) {
    const { passed, failed, errors, muted, more } = progress
    const counts = passed > 0 || failed > 0 || errors > 0 || muted > 0 ? { passed, failed, errors, muted } : null
    if (more || counts !== null) tell({ type: 'progress', script: this.script, counts })
    this.#pending = Number(progress.pending) || 0
  }

  /**
   * @param {number} id
   * @param {number} ms
   */
  #startTimer(id, ms) {
    if (this.#timers >= this.#limits.timers) return
    this.#timers++
    setTimeout(() => {
      this.#timers--
      this.push({ hook: 'setTimeout', name: 'timer', seq: 0, args: [id] })
    }, ms)
  }

  /** @param {string} hook */
  enter(hook) {
    this.busy = true
    running++
    tell({ type: 'enter', script: this.script, hook })
  }

  /**
   * @param {number | null} seen
   * @param {number} rows
   */
  leave(seen, rows) {
    this.busy = false
    running--
    mention({ type: 'leave', script: this.script, cpuMs: this.#isolate.cpuMs, seen, rows })
    if (streams.length > 0) dissect()
    if (alone || ending) pumpAll()
    else this.pump()
    if (unsaid.length > 0) say()
  }

  /**
   * @param {string} hook
   * @param {Lost} lost
   */
  #setApart(hook, lost) {
    this.#gone = true
    this.#queue.length = 0
    const { kind, cause, stack } = lost
    tell({ type: 'apart', script: this.script, hook, kind, cause, stack })
    this.#isolate.dispose()
  }
}

/**
 * What an isolate answers may be anything: its script may have broken its runtime.
 *
 * @param {unknown} text
 * @returns {object}
 */
function parsed(text) {
  try {
    /** @type {unknown} */
    const value = JSON.parse(String(text))
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // No JSON counts for nothing.
  }
  return {}
}

/**
 * @param {unknown} text
 * @returns {number[]}
 */
function numbers(text) {
  const value = parsed(text)
  return Array.isArray(value) ? value.filter(one => typeof one === 'number') : []
}

function dropRights() {
  if (process.getuid?.() !== 0) return
  process.setgroups?.([])
  process.setgid?.(NOBODY)
  process.setuid?.(NOBODY)
}
