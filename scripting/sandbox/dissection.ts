/**
 * The engine for dissectors that live in scripts: conversations as in core, whose dissectors ask an isolate. Runs in
 * the sandbox process, where a question is answered before the next line.
 */
import type { Batch } from '../../core/batch.ts'
import { Connection, type Half } from '../../core/connections.ts'
import { Conversation } from '../../core/conversation.ts'
import { type Cursor, Incomplete, Malformed } from '../../core/cursor.ts'
import type { Context, Dissector, Ending, Message, Side } from '../../core/dissector.ts'
import { Frame } from '../../core/frame.ts'
import type { Carried } from '../../core/item-packets.ts'
import { ItemWriter } from '../../core/item-writer.ts'
import { Refining } from '../../core/refining.ts'
import { type ProtocolTally, Tally } from '../../core/tally.ts'
import type { Trace } from '../../core/trace.ts'
import type { Asking, Definition } from './inside/dissectors.ts'
import { type Opening, readRecords, type StreamRecord } from './stream-records.ts'

export interface DissectionSettings {
  worker: string
  node: { ip: string; name: string } | null
  keepBodies: number
  /** The item whose packets somebody wants. */
  sought?: { stream: string; index: number } | null
}

/** One script's dissectors. A call that the isolate does not survive answers null. */
export interface Answering {
  definitions: Definition[]
  ask(name: 'probe' | 'read' | 'end', asking: string, bytes: ArrayBuffer): string | null
  open(definition: number): number
  drop(state: number): void
  /** A mistake of the script's. */
  failed(report: string): void
}

/** What came of a body of records. */
export interface Findings {
  /** Lines of JSON. */
  items: Buffer
  count: number
  /** Bytes that belong to messages, and bytes passed over by cause, those of no known protocol not among them. */
  parsed: number
  skipped: [cause: string, bytes: number][]
  /** Limits that were reached, each with its count. */
  limits: [cause: string, count: number][]
  protocols: [name: string, tally: ProtocolTally][]
  /** Streams that no script knows either, or that took too much memory. */
  unwanted: number[]
  /** The item that is sought, once it was made. */
  sought: Carried[] | null
}

/** A message may be so large that it is not shown to the isolate whole before it must be. */
const FIRST_LOOK = 65_536

/**
 * Unfinished messages and requests that wait, over all streams: whoever opens many and ends none must not take the
 * process, and all scripts with it.
 */
const MAX_HELD = 64 << 20

/** State within an isolate. */
class StateHandle {
  readonly number: number
  constructor(number: number) {
    this.number = number
  }
}

export class Dissection {
  readonly #conversation: Conversation
  readonly #writer: ItemWriter
  /** Who was heard of last is the last. */
  readonly #connections = new Map<number, Connection>()
  readonly #most: number
  #tally = new Tally()
  #lines: Buffer[] = []
  #count = 0
  #sought: Carried[] | null = null
  readonly #before = {
    parsed: 0,
    skipped: new Map<string, number>(),
    limits: new Map<string, number>(),
    protocols: new Map<string, ProtocolTally>(),
  }

  constructor(answering: readonly Answering[], settings: DissectionSettings, most = MAX_HELD) {
    const { worker, node, keepBodies, sought = null } = settings
    this.#most = most
    const dissectors = answering.flatMap(one => one.definitions.map((definition, i) => dissectorOf(one, definition, i)))
    dissectors.sort((a, b) => a.priority - b.priority)
    const written = (batch: Batch) => {
      this.#lines.push(Buffer.from(batch.bytes.subarray(0, batch.length)))
      this.#count += batch.count
    }
    const trace: Pick<Trace, 'item'> = {
      item: (c, index, spans) => {
        if (c.stream !== sought?.stream || index !== sought.index) return
        this.#sought = spans.map(({ half, first, last }) => ({
          half: half === c.forth ? 'forth' : 'back',
          first,
          last,
        }))
      },
    }
    this.#writer = new ItemWriter(worker, node, written, sought === null ? null : trace)
    this.#conversation = new Conversation(dissectors, new Refining([]), this.#writer, this.#tally, keepBodies, null)
    this.#conversation.traced = sought !== null
  }

  /** Bytes of memory for what is not finished. */
  get held(): number {
    return this.#conversation.held
  }

  feed(body: Buffer): Findings {
    const unwanted: number[] = []
    for (const record of readRecords(body)) {
      const c = record.kind === 'open' ? this.#open(record) : this.#connections.get(record.stream)
      if (c === undefined) continue
      if (this.#connections.delete(record.stream)) this.#connections.set(record.stream, c)
      this.#take(c, record)
      if (c.unknown && this.#connections.delete(record.stream)) unwanted.push(record.stream)
      if (this.#conversation.held > this.#most) unwanted.push(...this.#shed())
    }
    this.#writer.flush()
    return this.#report(unwanted)
  }

  /** Who has been silent the longest holds the least that is still wanted. */
  #shed(): number[] {
    const shed: number[] = []
    for (const [stream, c] of this.#connections) {
      if (this.#conversation.held <= this.#most) break
      this.#tally.limit('buffered bytes')
      this.#conversation.finish(c, 'idle')
      this.#connections.delete(stream)
      shed.push(stream)
    }
    return shed
  }

  #open({ stream, bytes }: StreamRecord): Connection {
    const opening: Opening = JSON.parse(bytes.toString())
    const { transport, hash, words, scope, port, otherPort, midstream, client, items } = opening
    const frame = new Frame()
    frame.words.set(words)
    frame.scope = scope
    const c = new Connection(stream, hash, transport, frame, port, otherPort, opening)
    c.midstream = midstream
    c.items = items
    if (client !== null) c.client = c[client]
    this.#connections.set(stream, c)
    return c
  }

  #take(c: Connection, { kind, half: name, why, length, seconds, nanoseconds, ack, next, bytes }: StreamRecord): void {
    const half: Half = c[name]
    switch (kind) {
      case 'bytes':
        half.next = next
        half.begun = true
        if (c.transport === 'tcp') this.#conversation.bytes(c, half, bytes, 0, bytes.length, seconds, nanoseconds, ack)
        else this.#conversation.datagram(c, half, bytes, 0, bytes.length, seconds, nanoseconds, 0)
        return
      case 'gap':
        half.next = next
        this.#conversation.gap(c, half, length)
        return
      case 'end':
        this.#conversation.end(c, half, why)
        return
      case 'finish':
      case 'forget':
        this.#conversation.finish(c, kind === 'finish' ? why : 'lost')
        this.#connections.delete(c.number)
    }
  }

  /** What has changed since the last report. */
  #report(unwanted: number[]): Findings {
    const { parsed, skipped, limits, protocols } = this.#tally
    const before = this.#before
    const causes = [...skipped].filter(([cause]) => cause !== 'unknown protocol')
    const findings: Findings = {
      items: Buffer.concat(this.#lines),
      count: this.#count,
      parsed: parsed - before.parsed,
      skipped: causes.map(([cause, bytes]) => [cause, bytes - (before.skipped.get(cause) ?? 0)]),
      limits: [...limits]
        .map(([cause, count]): [string, number] => [cause, count - (before.limits.get(cause) ?? 0)])
        .filter(([, count]) => count > 0),
      protocols: [...protocols].map(([name, tally]) => [name, difference(tally, before.protocols.get(name))]),
      unwanted,
      sought: this.#sought,
    }
    before.parsed = parsed
    for (const [cause, bytes] of causes) before.skipped.set(cause, bytes)
    for (const [cause, count] of limits) before.limits.set(cause, count)
    for (const [name, tally] of protocols) before.protocols.set(name, { ...tally })
    this.#lines = []
    this.#count = 0
    this.#sought = null
    return findings
  }
}

function difference(now: ProtocolTally, before: ProtocolTally | undefined): ProtocolTally {
  const result = { ...now }
  if (before !== undefined) for (const key of Object.keys(result) as (keyof ProtocolTally)[]) result[key] -= before[key]
  return result
}

function dissectorOf(answering: Answering, definition: Definition, number: number): Dissector {
  const { name, title, abbr, version, color, reference, transports, ports, priority, keyed, patience, ends } =
    definition
  const released = new FinalizationRegistry<number>(state => answering.drop(state))

  function ask(
    call: 'probe' | 'read' | 'end',
    at: Cursor,
    from: Side,
    ctx: Context,
    why: string,
    size: number,
  ): unknown {
    const { transport, port, hinted, keep, state, awaited } = ctx
    const asking: Asking = {
      definition: number,
      state: state instanceof StateHandle ? state.number : 0,
      from,
      transport,
      port,
      hinted,
      keep,
      whole: at.whole || why !== '',
      why,
      awaited: typeof awaited === 'string' ? awaited : '',
    }
    // Not `slice`: of a Buffer that is a view.
    const bytes = new Uint8Array(size)
    bytes.set(at.bytes.subarray(at.position, at.position + size))
    const answer = answering.ask(call, JSON.stringify(asking), bytes.buffer)
    if (answer === null) throw new Malformed('a script that goes on')
    const found = JSON.parse(answer)
    if (typeof found.report === 'string') answering.failed(found.report)
    return found
  }

  /** A long message is shown whole only when its beginning does not do. */
  function look(call: 'probe' | 'read', at: Cursor, from: Side, ctx: Context): unknown {
    if (at.remaining <= FIRST_LOOK || at.whole) return ask(call, at, from, ctx, '', at.remaining)
    const first = ask(call, at, from, ctx, '', FIRST_LOOK)
    return first === 'more' ? ask(call, at, from, ctx, '', at.remaining) : first
  }

  function take(answer: unknown, at: Cursor): Message | null {
    if (answer === 'more') throw Incomplete
    const { reason, at: read, message } = answer as { reason?: string; at: number; message: Message | null }
    if (reason !== undefined) throw new Malformed(reason)
    const moved = Math.min(at.remaining, Math.max(0, Number(read) || 0))
    if (message !== null && moved === 0 && at.remaining > 0) throw new Malformed('a message to have at least one byte')
    at.skip(moved)
    return message
  }

  const dissector: Dissector = {
    name,
    title,
    abbr,
    version,
    color,
    reference,
    transports,
    ports,
    priority,
    keyed,
    probe(at, from, ctx) {
      const answer = look('probe', at, from, ctx)
      if (answer === 'more') throw Incomplete
      // A probe that throws recognises nothing.
      return answer === 'yes'
    },
    open() {
      const state = new StateHandle(answering.open(number))
      released.register(state, state.number)
      return state
    },
    read: (at, ctx) => take(look('read', at, ctx.from, ctx), at),
    summarize: () => ({ method: '', summary: '', status: '' }),
  }
  if (patience !== null) dissector.patience = patience
  if (ends)
    dissector.end = (at: Cursor, ctx: Context, why: Ending) =>
      take(ask('end', at, ctx.from, ctx, why, at.remaining), at)
  return dissector
}
