/**
 * Runs scripts: hands items and packets to the sandbox process, carries out what scripts ask for, and reports what
 * they do wrong. When the process dies it is started again without the script that killed it; what the others had not
 * seen is delivered again. They begin anew then: their global variables are lost, and what was in flight when the
 * process died they may see a second time.
 */
import { type Batch, SPANS } from '../core/batch.ts'
import { Fault } from '../core/fault.ts'
import type { Carried } from '../core/item-packets.ts'
import { JsonWriter } from '../core/json-writer.ts'
import type { Reclaimed } from '../core/tally.ts'
import { type Column, ColumnCutter, FIELDS } from './columns.ts'
import { type Confinement, command } from './confinement.ts'
import { Arguments, type Helper, loadHelpers, type SendOrder, type SendReply } from './helper.ts'
import { LIMITS, type Limits } from './limits.ts'
import { type PacketColumns, packColumns } from './packet-columns.ts'
import { Reading } from './reading.ts'
import type { DissectionSettings } from './sandbox/dissection.ts'
import { assemble } from './sandbox/inside/assemble.ts'
import type { Definition } from './sandbox/inside/dissectors.ts'
import type { Counts, ToHost } from './sandbox/messages.ts'
import { definitionsOf, findingsOf } from './sandbox/testimony.ts'
import { SandboxProcess } from './sandbox-process.ts'
import { hookLine, type Script } from './script.ts'
import { ScriptClaimant } from './script-claimant.ts'
import { type Failure, ScriptError, type ScriptFailure } from './script-error.ts'
import { type Sheaf, Shelf } from './shelf.ts'

export interface ScriptSettings {
  scripts: readonly Script[]
  env: Record<string, unknown>
  limits?: Partial<Limits>
  nodeName: string
  console(line: ConsoleLine): void
  failed(error: ScriptError): void
  /** Resolves when the order is safe on disk. Its rejection is thrown in the script. */
  send(order: SendOrder): Promise<SendReply>
  /** Without it dissectors of scripts are not asked. */
  dissection?: HostDissection
}

/** What dissectors of scripts need, and where their items go. */
export interface HostDissection extends DissectionSettings {
  /** Names of the protocols that need no script. */
  protocols: readonly string[]
  /** What they have made of streams that nobody else knew. */
  dissected(reclaimed: Reclaimed, batch: Batch | null): void
  /** They have made the item that is sought. */
  found?(parts: readonly Carried[]): void
}

export interface ConsoleLine {
  /** Title of the script. */
  script: string
  /** `warning` comes from the host: what a script's author should know. */
  level: 'log' | 'error' | 'clear' | 'warning'
  text: string
}

export interface ScriptSummary {
  title: string
  file: string
  itemsSeen: number
  packetsSeen: number
  /** Exceptions, rejections and limits hit, each time it happened. */
  errors: number
  /** Items that a hook returned as passed or failed. */
  passed: number
  failed: number
  /** Lines of console that were too many. */
  linesDropped: number
  /** Timers and promises that had not ended when the host stopped. */
  unfinished: number
  /** Items and packets that were not shown to it, because somebody was in a hurry. */
  unseen: number
  cpuMs: number
  /** Why the script is no longer called; null while it is. */
  setApart: string | null
}

/** One cell: an object. */
const MARK = Buffer.from('[0]]')

const NO_CELLS = Buffer.from(']')
const CLOSE_BRACKET = 93

/** Part of what may be held at which scripts are asked what they keep. */
const SETTLE_AT = 0.75

/** Ticks of the watch on the sandbox, ms. */
const WATCH_MS = 100

/** Deaths in a row of which no script is found guilty, before all that were inside are set apart. */
const MAX_UNEXPLAINED = 3

export class ScriptHost {
  readonly #settings: ScriptSettings
  readonly #limits: Limits
  readonly #runs: Run[]
  readonly #helpers: Map<string, Helper>
  readonly #inside: string
  readonly #shelf: Shelf
  readonly #reading = new Reading()
  readonly #cells = new JsonWriter(64 * 1024)
  readonly #texts = new JsonWriter(64 * 1024)
  /** Of the open sheaf, cut by `#cutter`. */
  readonly #openCells = new JsonWriter(64 * 1024)
  readonly #openTexts = new JsonWriter(64 * 1024)
  #cutter = new ColumnCutter([])
  /** Takes the streams of unknown protocols; null when no script has a dissector. */
  readonly claimant: ScriptClaimant | null
  readonly #dissects: boolean
  readonly #launch: typeof command
  /** Sent to the dissectors and not yet answered. */
  #parcels = 0
  #parcelBytes = 0
  #process: SandboxProcess | null = null
  #isReady = false
  #alone = false
  #suspects = new Set<Run>()
  #unexplained = 0
  #stopping = false
  #hurry: NodeJS.Timeout | undefined
  #items = 0
  #linger: NodeJS.Timeout | null = null
  #watch: NodeJS.Timeout | null = null
  /** Why the watch killed the process. */
  #killed: Death | null = null
  /** The settlement under way: sheaves up to here are dropped when no script is left in `settling`. */
  #settleThrough = 0
  readonly #settling = new Map<number, { keeping: Set<number>; told: boolean }>()
  #waiters: { until(): boolean; resolve(): void }[] = []
  #fault: Error | null = null

  private constructor(
    settings: ScriptSettings,
    limits: Limits,
    helpers: Helper[],
    inside: string,
    launch: typeof command,
  ) {
    this.#settings = settings
    this.#launch = launch
    this.#limits = limits
    this.#runs = settings.scripts.map((script, number) => new Run(script, number))
    this.#helpers = new Map(helpers.map(helper => [helper.name, helper]))
    this.#inside = inside
    this.#shelf = new Shelf(limits.sheafItems, limits.sheafBytes)
    const defines = settings.scripts.some(({ code }) => /\bdissector\s*\(/.test(code))
    this.#dissects = defines && settings.dissection !== undefined
    this.claimant = this.#dissects ? new ScriptClaimant(parcel => this.#sendStreams(parcel)) : null
  }

  /** `launch`: program and arguments of the sandbox process. */
  static async start(settings: ScriptSettings, launch = command): Promise<ScriptHost> {
    const helpers = await loadHelpers()
    const host = new ScriptHost(settings, { ...LIMITS, ...settings.limits }, helpers, assemble(helpers), launch)
    for (const { script } of host.#runs) {
      for (const hook of script.unserved)
        settings.console({
          script: script.title,
          level: 'warning',
          text: `${hook} is not served yet: it is never called`,
        })
    }
    await host.#startProcess()
    await host.#until(() => host.#isReady || host.#fault !== null)
    if (host.#fault !== null) throw host.#fault
    host.#watch = setInterval(() => void host.#look(), WATCH_MS)
    host.#watch.unref()
    return host
  }

  /** Nobody hooks: nothing need be handed over. */
  get wants(): { items: boolean; packets: boolean } {
    return { items: this.#runs.some(run => run.wantsItems), packets: this.#runs.some(run => run.wantsPackets) }
  }

  /** What keeps the sandbox process from the world, as the kernel says. */
  get confinement(): Confinement {
    return this.#process!.confinement!
  }

  /** Of the sandbox process; another one after a restart. */
  get pid(): number {
    return this.#process!.pid
  }

  /** What is needed of the batch is copied or kept. Wait for the promise, if there is one, before handing over more. */
  items(batch: Batch): undefined | Promise<void> {
    const to = this.#runs.filter(run => run.wantsItems).map(run => run.number)
    if (to.length === 0) return
    const isFirst = this.#items === 0
    this.#items += batch.count
    if (!this.#shelf.fits(batch)) this.#flush()
    this.#shelf.add(batch)
    // While the bytes are still warm from being written.
    this.#cutter.cutAll(batch, this.#openCells, this.#openTexts)
    // What scripts read is learned from it: until then each field is asked for.
    if (isFirst) this.#flush()
    else this.#linger ??= setTimeout(() => this.#flush(), this.#limits.lingerMs)
    return this.#room()
  }

  packets(packets: PacketColumns): undefined | Promise<void> {
    const to = this.#runs.filter(run => run.wantsPackets).map(run => run.number)
    if (to.length === 0 || packets.count === 0) return
    this.#flush()
    this.#deliver(this.#shelf.putPackets(packets.count, packColumns(packets), to))
    return this.#room()
  }

  /** Until every script has seen all that was handed over so far, and what its dissectors made of it. */
  async drain(): Promise<void> {
    this.claimant?.flush()
    await this.#until(() => this.#parcels === 0 || !this.#isReady)
    this.#flush()
    const last = [...this.#shelf.sheaves]
    await this.#until(() => last.every(sheaf => sheaf.waiting.size === 0))
  }

  /** Somebody wants to leave: what scripts have not seen `patience` ms from now, they will not see. */
  hurry(patience: number): void {
    this.#hurry ??= setTimeout(() => {
      this.#stopping = true
      this.#process?.kill()
      this.#progressed()
    }, patience)
  }

  /** Drains, lets promises and timers end, and ends the sandbox. */
  async stop(): Promise<ScriptSummary[]> {
    await this.drain()
    await this.#until(() => this.#isReady || this.#fault !== null)
    clearTimeout(this.#hurry)
    this.#stopping = true
    if (this.#isReady) {
      this.#process!.send({ type: 'end' })
      const overdue = setTimeout(() => this.#process?.kill(), this.#limits.stopMs + this.#limits.graceMs)
      await this.#until(() => this.#process === null)
      clearTimeout(overdue)
    }
    if (this.#watch !== null) clearInterval(this.#watch)
    for (const sheaf of this.#shelf.sheaves)
      for (const number of sheaf.waiting) this.#runs[number]!.unseen += sheaf.count
    return this.#runs.map(run => run.summary())
  }

  // ---- handing over

  #flush(): void {
    if (this.#linger !== null) clearTimeout(this.#linger)
    this.#linger = null
    const sheaf = this.#shelf.closeItems(this.#runs.filter(run => run.wantsItems).map(run => run.number))
    if (sheaf !== null) {
      if (this.#cutter.columns === this.#reading.columns) this.#send(sheaf, ...closed(this.#openCells, this.#openTexts))
      else this.#deliver(sheaf)
    }
    this.#openCells.length = this.#openTexts.length = 0
    if (this.#cutter.columns !== this.#reading.columns) this.#cutter = new ColumnCutter(this.#reading.columns)
    this.#settle()
  }

  #deliver(sheaf: Sheaf): void {
    if (!this.#isReady || sheaf.waiting.size === 0) return
    const { seq, count, packets } = sheaf
    if (packets !== null) this.#process!.send({ type: 'packets', seq, count, to: [...sheaf.waiting] }, packets)
    else this.#send(sheaf, ...this.#cutAll(new ColumnCutter(this.#reading.columns), sheaf))
  }

  #send(sheaf: Sheaf, cells: Uint8Array, texts: Uint8Array): void {
    if (!this.#isReady || sheaf.waiting.size === 0) return
    const { seq, count } = sheaf
    const columns = JSON.stringify(this.#reading.columns.map(({ kind, path }) => [kind, ...path]))
    this.#process!.send(
      { type: 'items', seq, count, columns, cells: cells.length, to: [...sheaf.waiting] },
      cells,
      texts,
    )
  }

  /** Valid until the next cut. */
  #cutAll(cutter: ColumnCutter, sheaf: Sheaf): [cells: Uint8Array, texts: Uint8Array] {
    this.#cells.length = this.#texts.length = 0
    for (const part of sheaf.parts) cutter.cutAll(part, this.#cells, this.#texts)
    return closed(this.#cells, this.#texts)
  }

  #cutOne(cutter: ColumnCutter, batch: Batch, index: number): [cells: Uint8Array, texts: Uint8Array] {
    this.#cells.length = this.#texts.length = 0
    cutter.cut(batch, index, this.#cells, this.#texts)
    return closed(this.#cells, this.#texts)
  }

  /** Streams travel, too: wait for the promise, if there is one, before handing over more packets. */
  get pressure(): undefined | Promise<void> {
    if (this.#parcelBytes < this.#limits.heldBytes) return undefined
    return this.#until(() => this.#parcels === 0 || !this.#isReady)
  }

  #room(): undefined | Promise<void> {
    if (this.#shelf.held < this.#limits.heldBytes) return
    this.#flush()
    return this.#until(
      () => this.#shelf.held < this.#limits.heldBytes * SETTLE_AT || !this.#runs.some(run => run.hooks.size > 0),
    )
  }

  #until(until: () => boolean): Promise<void> {
    if (until() || this.#isGone) return Promise.resolve()
    return new Promise(resolve => this.#waiters.push({ until, resolve }))
  }

  /** Nothing that somebody waits for will come. */
  get #isGone(): boolean {
    return this.#stopping && this.#process === null
  }

  #progressed(): void {
    const done = this.#waiters.filter(waiter => this.#isGone || waiter.until())
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter(waiter => !done.includes(waiter))
    for (const waiter of done) waiter.resolve()
  }

  // ---- dissectors of scripts

  #sendStreams(parcel: Buffer): void {
    if (!this.#isReady) {
      this.claimant?.lose()
      return
    }
    this.#parcels++
    this.#parcelBytes += parcel.length
    this.#process!.send({ type: 'streams' }, parcel)
  }

  #define(run: Run, told: unknown): void {
    const { claimant } = this
    const { dissection } = this.#settings
    if (claimant === null || dissection === undefined) return
    run.definitions = definitionsOf(told)
    const others = this.#runs.filter(one => one !== run).flatMap(({ definitions }) => definitions)
    const known = [...dissection.protocols, ...others.map(({ name }) => name)]
    for (const { name } of run.definitions) {
      if (known.includes(name)) {
        const text = `dissector ${name}: there is a protocol of that name already; it is asked nevertheless`
        this.#settings.console({ script: run.title, level: 'warning', text })
      }
    }
    claimant.definitions = [...others, ...run.definitions]
  }

  #dissected(told: unknown, body: Buffer): void {
    const { claimant } = this
    if (claimant === null || this.#parcels === 0)
      throw new TypeError('expected streams to be asked for before findings')
    const { count, parsed, skipped, limits, protocols, unwanted, sought } = findingsOf(told, body, claimant.unread)
    this.#parcels--
    if (this.#parcels === 0) this.#parcelBytes = 0
    claimant.refuse(unwanted)
    claimant.unread -= skipped.reduce((sum, [, bytes]) => sum + bytes, parsed)
    const batch = count === 0 ? null : batchOf(Buffer.from(body), count)
    if (sought !== null) this.#settings.dissection?.found?.(sought)
    this.#settings.dissection?.dissected({ parsed, skipped, limits, protocols }, batch)
    this.#progressed()
  }

  // ---- letting go

  /**
   * Asks the scripts which items they keep. Those batches are handed to them whole, the others dropped. Rarely, since
   * the scripts' memory has to be searched for it.
   */
  #settle(): void {
    if (this.#settling.size > 0 || !this.#isReady || this.#shelf.held < this.#limits.heldBytes * SETTLE_AT) return
    let through = 0
    for (const sheaf of this.#shelf.sheaves) {
      if (sheaf.waiting.size > 0) break
      through = sheaf.seq
    }
    if (through === 0) return
    this.#settleThrough = through
    for (const run of this.#runs) {
      if (!run.wantsItems) continue
      this.#settling.set(run.number, { keeping: new Set(), told: false })
      this.#process!.send({ type: 'settle', script: run.number, through })
    }
    this.#settled()
  }

  #settled(): void {
    for (const [script, { told, keeping }] of this.#settling)
      if (told && keeping.size === 0) this.#settling.delete(script)
    if (this.#settling.size > 0) return
    for (const sheaf of this.#shelf.sheaves) {
      if (sheaf.seq > this.#settleThrough) break
      this.#shelf.drop(sheaf)
    }
    this.#settleThrough = 0
    this.#settle()
    this.#progressed()
  }

  #keep(script: number, seq: number): void {
    const sheaf = this.#shelf.get(seq)
    if (sheaf === undefined) return
    const [bytes, starts] = sheaf.text()
    this.#settling.get(script)?.keeping.add(seq)
    this.#process!.send({ type: 'keep', script, seq, starts: JSON.stringify(starts) }, bytes)
  }

  // ---- what the sandbox says

  #receive(message: ToHost, body: Buffer): void {
    if (message.type === 'up') return void this.#process!.closeDoors()
    if (message.type === 'dropped') return void this.#load(this.#process!)
    if (message.type === 'ready') {
      this.#becomeReady()
      return
    }
    if (message.type === 'ended') {
      for (const { script, count } of message.unfinished) this.#runs[script]!.unfinished = count
      this.#process!.kill()
      return
    }
    if (message.type === 'dissected') {
      this.#dissected(message.findings, body)
      return
    }
    const run = this.#runs[message.script]
    if (run === undefined) return
    switch (message.type) {
      case 'loaded':
        run.loaded(message.hooks)
        this.#define(run, message.dissectors)
        return
      case 'enter':
        run.enter(message.hook)
        return
      case 'leave':
        run.leave(message.cpuMs)
        if (message.seen !== null) this.#seen(run, message.seen, message.rows)
        return
      case 'progress':
        run.ticks = 0
        if (message.counts !== null) run.count(message.counts)
        return
      case 'fetch':
        this.#fetch(run, message.call, message.seq, message.row, JSON.parse(message.path), message.whole)
        return
      case 'order':
        void this.#order(run, message.call, message.global, message.member, message.args)
        return
      case 'console':
        this.#settings.console({ script: run.title, level: message.level as ConsoleLine['level'], text: message.text })
        return
      case 'failed':
        this.#failed(run, JSON.parse(message.report))
        return
      case 'apart': {
        const [line, column] = placeIn(run.script.file, message.stack)
        this.#setApart(run, {
          hook: message.hook,
          kind: message.kind,
          cause: message.cause,
          line,
          column,
          setApart: true,
        })
        return
      }
      case 'settled': {
        const settling = this.#settling.get(run.number)
        if (settling === undefined) return
        settling.told = true
        for (const seq of message.alive) this.#keep(run.number, seq)
        this.#settled()
        return
      }
      case 'kept':
        this.#settling.get(run.number)?.keeping.delete(message.seq)
        this.#settled()
    }
  }

  #seen(run: Run, seq: number, rows: number): void {
    const sheaf = this.#shelf.get(seq)
    if (sheaf === undefined || !sheaf.waiting.delete(run.number)) return
    if (sheaf.packets !== null) {
      run.packetsSeen += Math.min(rows || 0, sheaf.count)
      if (sheaf.waiting.size === 0) this.#shelf.drop(sheaf)
    } else run.itemsSeen += Math.min(rows || 0, sheaf.count)
    this.#unexplained = 0
    if (this.#suspects.size > 0) this.#acquit(run)
    this.#settle()
    this.#progressed()
  }

  #fetch(run: Run, call: number, seq: number, row: number, path: string[], whole: boolean): void {
    const sheaf = this.#shelf.get(seq)
    const found = sheaf?.find(row) ?? null
    if (sheaf === undefined || found === null) {
      this.#process!.send({ type: 'refused', call, error: `item ${row} of batch ${seq} is no longer held` })
      return
    }
    const one: Column = { path, kind: whole ? 'whole' : 'value', large: true }
    let [cells, texts] = this.#cutOne(new ColumnCutter([one]), ...found)
    const kind =
      !whole && cells.length === MARK.length && MARK.every((byte, i) => cells[i] === byte) ? 'object' : one.kind
    const everyRow = this.#reading.ask(path, kind, cells.length - 1 + texts.length, this.#items)
    const column = everyRow ? (this.#reading.column(path) ?? one) : one
    if (everyRow) [cells, texts] = this.#cutAll(new ColumnCutter([column]), sheaf)
    run.ticks = 0
    this.#process!.send({ type: 'fetched', call, everyRow, kind: column.kind, cells: cells.length }, cells, texts)
  }

  async #order(run: Run, call: number, global: string, member: string, args: string): Promise<void> {
    const sandbox = this.#process!
    run.waiting++
    run.ticks = 0
    try {
      const known = this.#helpers.get(global)?.calls?.[member]
      if (known === undefined) throw new TypeError(`${global}.${member} is not available in this version`)
      const order = known.order(new Arguments(`${global}.${member}`, JSON.parse(args)))
      const reply = await this.#settings.send({ ...order, script: run.title })
      sandbox.send({ type: 'ordered', call, value: JSON.stringify(known.value(reply) ?? null) })
    } catch (error) {
      sandbox.send({ type: 'refused', call, error: error instanceof Error ? error.message : String(error) })
    }
    // Its process may have died meanwhile; then the run has been reset.
    if (sandbox === this.#process) run.waiting--
  }

  // ---- failures

  #failed(run: Run, report: Partial<Failure> & { stack?: string }): void {
    const [line, column] =
      report.stack === undefined ? [report.line, report.column] : placeIn(run.script.file, report.stack)
    const failure: Failure = {
      hook: String(report.hook),
      kind: (report.kind ?? 'exception') as ScriptFailure,
      cause: String(report.cause),
      line: line ?? null,
      column: column ?? null,
      setApart: report.hook === 'load',
    }
    if (failure.setApart) this.#setApart(run, failure)
    else this.#settings.failed(new ScriptError(run.script, failure))
  }

  #setApart(run: Run, failure: Failure): void {
    // A limit that no stack tells of: at least where the hook begins.
    const line = failure.line ?? hookLine(failure.hook, run.script.code)
    const error = new ScriptError(run.script, { ...failure, line })
    run.errors++
    run.setApart = error.cause
    run.hooks.clear()
    this.#suspects.delete(run)
    for (const sheaf of this.#shelf.sheaves) sheaf.waiting.delete(run.number)
    this.#settling.delete(run.number)
    if (this.#settling.size === 0 && this.#settleThrough > 0) this.#settled()
    this.#settings.failed(error)
    this.#progressed()
  }

  // ---- the process

  async #startProcess(): Promise<void> {
    this.#killed = null
    this.#process = await SandboxProcess.start(
      {
        message: (message, body, from) => {
          if (from === this.#process) this.#receive(message, body)
        },
        exit: (how, from) => {
          if (from === this.#process) this.#exited(how)
        },
      },
      this.#dissects,
      this.#launch,
    )
  }

  async #load(sandbox: SandboxProcess): Promise<void> {
    await sandbox.look()
    const {
      worker,
      node,
      keepBodies,
      sought = null,
    } = this.#settings.dissection ?? { worker: '', node: null, keepBodies: 0 }
    const { consoleLines, consoleLinesPerSecond, consoleText, timers, exhaustions, causes } = this.#limits
    sandbox.send({
      type: 'load',
      inside: this.#inside,
      limits: this.#limits,
      alone: this.#alone,
      dissection: { worker, node, keepBodies, sought },
      settings: {
        env: JSON.stringify(this.#settings.env),
        nodeName: this.#settings.nodeName,
        fields: [...FIELDS],
        helpers: [...this.#helpers.values()].map(({ name, calls, later }) => ({
          name,
          calls: Object.keys(calls ?? {}),
          later: later ?? [],
        })),
        consoleLines,
        consoleLinesPerSecond,
        consoleText,
        timers,
        exhaustions,
        causes,
      },
      scripts: this.#runs
        .filter(run => run.setApart === null)
        .map(run => ({ script: run.number, file: run.script.file, code: run.script.code })),
    })
  }

  #becomeReady(): void {
    this.#isReady = true
    for (const sheaf of this.#shelf.sheaves) this.#deliver(sheaf)
    this.#progressed()
  }

  #exited(how: string): void {
    this.#process = null
    const wasReady = this.#isReady
    this.#isReady = false
    this.#parcels = 0
    this.#parcelBytes = 0
    this.claimant?.lose()
    if (this.claimant !== null) this.claimant.definitions = []
    if (this.#stopping) {
      this.#progressed()
      return
    }
    const death: Death = this.#killed ?? { kind: 'crash', cause: `the sandbox process died: ${how}` }
    const { cause } = death
    // A script that waits for its order is not what killed the process.
    const inside = this.#runs.filter(run => run.setApart === null && run.inside !== null && run.waiting === 0)
    this.#settling.clear()
    this.#settleThrough = 0
    if (inside.length === 1) this.#crashed(inside[0]!, death)
    else if (++this.#unexplained >= MAX_UNEXPLAINED) {
      for (const run of inside) this.#crashed(run, death)
      if (inside.length === 0) {
        this.#giveUp(new Fault('SANDBOX_NOT_STARTED', `expected the sandbox process to start, found that ${cause}`))
        return
      }
    }
    for (const run of this.#runs) run.reset()
    // Whoever was inside runs alone until the guilty one is found.
    this.#suspects = new Set(inside.filter(run => run.setApart === null))
    this.#alone = this.#suspects.size > 0
    // Nobody keeps anything any more.
    for (const sheaf of this.#shelf.sheaves) if (sheaf.waiting.size === 0) this.#shelf.drop(sheaf)
    if (wasReady) {
      // Who reads it below a script's name must not take that one for the culprit.
      const why = inside.length === 1 ? `because of ${inside[0]!.script.file}` : `(${cause}; not known whose fault)`
      const text = `the sandbox process was started again ${why}: global variables begin anew`
      for (const run of this.#runs)
        if (run.setApart === null) this.#settings.console({ script: run.title, level: 'warning', text })
    }
    this.#startProcess().catch((error: Error) => this.#giveUp(error))
  }

  #crashed(run: Run, death: Death): void {
    this.#unexplained = 0
    this.#setApart(run, { hook: run.inside ?? 'load', ...death, line: null, column: null, setApart: true })
  }

  /** Scripts that have run through what they were suspected for are innocent. */
  #acquit(run: Run): void {
    this.#suspects.delete(run)
    if (this.#suspects.size > 0) return
    this.#alone = false
    this.#process!.send({ type: 'alone', alone: false })
  }

  #giveUp(error: Error): void {
    this.#fault = error
    for (const run of this.#runs) {
      if (run.setApart !== null) continue
      this.#setApart(run, {
        hook: 'load',
        kind: 'crash',
        cause: error.message,
        line: null,
        column: null,
        setApart: true,
      })
    }
    this.#progressed()
  }

  /** Engine calls that hear no time limit, and memory that no isolate's limit counts. */
  async #look(): Promise<void> {
    const sandbox = this.#process
    const inside = this.#runs.filter(run => run.inside !== null)
    if (sandbox === null || inside.length === 0) return
    for (const run of inside) {
      // Ticks are counted, not time: when the host itself was busy, the sandbox's word may not have been read yet.
      if (run.waiting === 0) run.ticks++
      const limit = run.inside === 'load' ? this.#limits.loadMs : this.#limits.callMs
      if (run.ticks * WATCH_MS > limit + this.#limits.graceMs) {
        this.#kill(sandbox, { kind: 'time', cause: `ran longer than ${limit} ms and could not be interrupted` })
        return
      }
    }
    const most = (this.#limits.processMb + this.#runs.length * this.#limits.memoryMb) * 1024 * 1024
    const used = await sandbox.memory()
    if (used > most)
      this.#kill(sandbox, { kind: 'memory', cause: `used ${Math.round(used / 1024 / 1024)} MB of memory` })
  }

  #kill(sandbox: SandboxProcess, death: Death): void {
    this.#killed ??= death
    sandbox.kill()
  }
}

interface Death {
  kind: 'time' | 'memory' | 'crash'
  cause: string
}

/** One script as the host knows it. */
class Run {
  readonly script: Script
  readonly number: number
  hooks = new Set<string>()
  definitions: readonly Definition[] = []
  setApart: string | null = null
  itemsSeen = 0
  packetsSeen = 0
  errors = 0
  passed = 0
  failed = 0
  muted = 0
  unfinished = 0
  unseen = 0
  /** The hook whose call has begun and not ended, as the sandbox said; null: none. */
  inside: string | null = null
  /** Ticks of the watch since the last sign of life. */
  ticks = 0
  /** Orders that it waits for. */
  waiting = 0
  /** CPU time in processes that are gone, and in the present one. */
  #cpuBefore = 0
  #cpuMs = 0

  constructor(script: Script, number: number) {
    this.script = script
    this.number = number
  }

  get title(): string {
    return this.script.title
  }

  get wantsItems(): boolean {
    return this.hooks.has('onItemCaptured')
  }

  get wantsPackets(): boolean {
    return this.hooks.has('onPacketCaptured') || this.hooks.has('onPacket')
  }

  loaded(hooks: string[]): void {
    this.hooks = new Set(hooks)
  }

  enter(hook: string): void {
    this.inside = hook
    this.ticks = 0
  }

  leave(cpuMs: number): void {
    this.inside = null
    if (cpuMs > 0) this.#cpuMs = cpuMs
  }

  count(counts: Counts): void {
    this.passed += counts.passed || 0
    this.failed += counts.failed || 0
    this.errors += counts.errors || 0
    this.muted += counts.muted || 0
  }

  /** Its process is gone. */
  reset(): void {
    this.#cpuBefore += this.#cpuMs
    this.#cpuMs = 0
    this.definitions = []
    this.inside = null
    this.waiting = 0
    this.ticks = 0
  }

  summary(): ScriptSummary {
    return {
      title: this.script.title,
      file: this.script.file,
      itemsSeen: this.itemsSeen,
      packetsSeen: this.packetsSeen,
      errors: this.errors,
      passed: this.passed,
      failed: this.failed,
      linesDropped: this.muted,
      unfinished: this.unfinished,
      unseen: this.unseen,
      cpuMs: this.#cpuBefore + this.#cpuMs,
      setApart: this.setApart,
    }
  }
}

/** Valid until the writers are used again. The cells become a JSON array: each is followed by a comma. */
function closed(cells: JsonWriter, texts: JsonWriter): [cells: Uint8Array, texts: Uint8Array] {
  if (cells.length === 0) return [NO_CELLS, NO_CELLS.subarray(1)]
  cells.bytes[cells.length - 1] = CLOSE_BRACKET
  return [cells.bytes.subarray(0, cells.length), texts.bytes.subarray(0, texts.length)]
}

/** Lines of JSON as a batch; where the parts of each item lie is not known. */
function batchOf(lines: Buffer, count: number): Batch {
  const starts = new Int32Array(count + 1)
  for (let i = 1, at = 0; i <= count; i++) {
    at = lines.indexOf(10, at) + 1
    starts[i] = at
  }
  const spans = new Int32Array(count * SPANS).fill(-1)
  return { bytes: lines, length: lines.length, count, starts, spans, keep() {}, free() {} }
}

/** Line and column of the first place in the stack that names the file. */
function placeIn(file: string, stack: string): [line: number | null, column: number | null] {
  const at = stack.indexOf(`${file}:`)
  if (at < 0) return [null, null]
  const [line, column] = stack.slice(at + file.length + 1, at + file.length + 20).split(':')
  return [Number.parseInt(line!, 10) || null, Number.parseInt(column ?? '', 10) || null]
}
