/**
 * One command as clients send it, as a master sends it to its replicas, or typed by hand.
 *
 *   *count CRLF ($length CRLF bytes CRLF) ...          word word "quoted word" LF
 */
import { type Cursor, latin1 } from '../../cursor.ts'
import type { Json, JsonValue } from '../../item.ts'
import { Blob, type Bulk, bulk, keptSize } from './bulk.ts'
import { type Command, findCommand, looksLikeName, MAX_NAME, UNLISTED } from './commands.ts'
import { splitArguments } from './inline.ts'
import { COMMIT_AFTER, LONG_BULK, MAX_BULK, number } from './reply.ts'
import { redactArguments } from './secrets.ts'

/** PROTO_INLINE_MAX_SIZE of Redis. */
export const MAX_INLINE = 64 * 1024
/** A pipe of a million members in one SADD must not become a million strings; the others are counted. */
const MAX_KEPT_ARGUMENTS = 10_000
/** Bytes of memory for one, besides its text; about. */
const ARGUMENT_WEIGHT = 32
/** Arguments and bytes that are read when nobody wants bodies, to find the key. */
const HEAD_ARGUMENTS = 16
const HEAD_BYTES = 1024

/** What an item says about a command. */
export interface CallBody extends Json {
  /** Array: as programs send it; Inline: as typed; Monitor and Replicated: as the server tells others of it. */
  type: 'Array' | 'Inline' | 'Monitor' | 'Replicated'
  /** In upper case. */
  command: string
  /** The first key, or channel. */
  key: Bulk | null
  /** What follows the key: one argument, or an array of them. */
  value: Bulk | Bulk[] | null
  /** The subcommand: `GET` of CONFIG GET. */
  keyword: string | null
  /** All that follows the command; null when bodies are not wanted. */
  args: Bulk[] | null
  /** Arguments that were not kept. */
  omitted?: number
  /** The server may keep the client waiting on purpose. */
  blocking?: true
}

export class Call {
  command: Command = UNLISTED
  name = ''
  args: Bulk[] = []
  /** Arguments, kept or not. */
  count = 0

  private readonly keep: number
  private room: number
  /** Arguments still to come, the command included; -1: not known yet. */
  private left = -1
  private limit = MAX_KEPT_ARGUMENTS
  private blob: Blob | null = null
  private begun = false

  constructor(keep: number) {
    this.keep = keep
    this.room = Math.max(keep, HEAD_BYTES)
  }

  /**
   * Reads on to the end of the command. Whenever much has been read, it is committed with this object as progress.
   * False: there was none in it.
   */
  read(at: Cursor): boolean {
    const start = at.position
    if (this.left < 0) {
      const count = number(at)
      if (count <= 0) return false
      this.left = count
    } else if (this.blob !== null) this.readBlob(at)
    while (this.left > 0) {
      if (this.begun || at.position - start > COMMIT_AFTER) this.commit(at)
      this.readArgument(at)
    }
    return true
  }

  /** Reads a line without its LF. False: there was no command in it; null: Redis cannot split it either. */
  readLine(bytes: Uint8Array, start: number, end: number): boolean | null {
    const words = splitArguments(bytes, start, end)
    if (words === null) return null
    for (const word of words) this.add(word, 0, word.length)
    return words.length > 0
  }

  /** Bytes that were not captured matter only outside of a long string. */
  bridge(length: number): boolean {
    return this.blob?.miss(length) ?? false
  }

  body(type: CallBody['type']): CallBody {
    redactArguments(this.name, this.args)
    const { command, args } = this
    const keyAt = this.keyPosition()
    const body: CallBody = {
      type,
      command: this.name,
      key: keyAt > 0 ? args[keyAt - 1]! : null,
      value: null,
      keyword: command.container && typeof args[0] === 'string' ? args[0].toUpperCase() : null,
      args: null,
    }
    if (this.keep > 0) {
      body.value = this.value(keyAt)
      body.args = args
      if (this.count > args.length) body.omitted = this.count - args.length
    }
    if (command.blocking) body.blocking = true
    return body
  }

  private value(keyAt: number): JsonValue {
    const { command, args } = this
    if (command.keysOnly) return null
    if (command.value !== null) return args[command.value - 1] ?? null
    const first = keyAt > 0 ? keyAt : command.container ? 1 : 0
    if (args.length - first <= 1) return args[first] ?? null
    return args.slice(first)
  }

  /** Position of the first key, 0 if there is none. */
  private keyPosition(): number {
    const { command, args } = this
    if (command.keyCount > 0)
      return Number(args[command.keyCount - 1]) > 0 && args.length > command.keyCount ? command.keyCount + 1 : 0
    if (command.key > 0 && command.key <= args.length && (args[command.key - 1] !== '' || command.keyAfter === null))
      return command.key
    if (command.keyAfter === null) return 0
    const word = args.findIndex(arg => typeof arg === 'string' && arg.toUpperCase() === command.keyAfter)
    return word >= 0 && word + 1 < args.length ? word + 2 : 0
  }

  private commit(at: Cursor): void {
    this.begun = true
    at.commit(this, this.args.length * ARGUMENT_WEIGHT + Math.max(this.keep, HEAD_BYTES) - this.room)
  }

  private readArgument(at: Cursor): void {
    if (at.u8() !== 36) at.fail("a bulk string, '$'")
    const length = number(at)
    if (length < 0 || length > MAX_BULK) at.fail(`a string of at most ${MAX_BULK} bytes, found ${length}`)
    if (length > LONG_BULK && at.remaining < length + 2) {
      this.blob = new Blob(length, this.isWanted() ? this.room : 0)
      this.commit(at)
      this.readBlob(at)
      return
    }
    const start = at.position
    at.skip(length)
    if (at.u16() !== 0x0d0a) at.fail(`CR LF after ${length} bytes`)
    if (this.name === '' && !this.isName(at.bytes, start, start + length)) at.fail('the name of a command')
    this.add(at.bytes, start, start + length)
    this.left--
  }

  private readBlob(at: Cursor): void {
    const blob = this.blob!
    if (this.name === '') at.fail('the name of a command')
    if (at.remaining > 0 && blob.left > 0) {
      blob.take(at)
      this.commit(at)
    }
    if (blob.left > 0) at.need(1)
    if (at.u16() !== 0x0d0a) at.fail(`CR LF after ${blob.size} bytes`)
    this.blob = null
    this.left--
    this.count++
    if (this.isWanted()) this.push(blob.value())
  }

  private isName(bytes: Uint8Array, start: number, end: number): boolean {
    return end > start && end - start <= MAX_NAME && typeof bulk(bytes, start, end, MAX_NAME) === 'string'
  }

  private add(bytes: Uint8Array, start: number, end: number): void {
    if (this.name === '') this.begin(bytes, start, end)
    else {
      this.count++
      if (this.isWanted()) this.push(bulk(bytes, start, end, this.room))
    }
  }

  private push(arg: Bulk): void {
    this.args.push(arg)
    this.room -= keptSize(arg)
  }

  private begin(bytes: Uint8Array, start: number, end: number): void {
    const found = looksLikeName(bytes, start, end) ? findCommand(bytes, start, end) : undefined
    this.command = found ?? UNLISTED
    this.name = found?.name ?? latin1(bytes, start, Math.min(end, start + MAX_NAME)).toUpperCase()
    if (this.keep > 0) return
    const { key, keyCount, keyAfter, container, role } = this.command
    const isFixed = keyCount === 0 && keyAfter === null && role === 'plain'
    this.limit = isFixed ? Math.max(key, container ? 1 : 0) : HEAD_ARGUMENTS
  }

  private isWanted(): boolean {
    return this.args.length < this.limit
  }
}
