/** Sends the streams that no dissector of ours knows to the sandbox, where scripts may have dissectors for them. */
import type { Connection, Half } from '../core/connections.ts'
import type { Ending } from '../core/dissector.ts'
import type { Claimant, When } from '../core/unclaimed.ts'
import type { Definition } from './sandbox/inside/dissectors.ts'
import { HEAD, type Opening, type StreamRecord, writeRecord } from './sandbox/stream-records.ts'

/** Bytes of records that travel together. */
const PARCEL = 256 * 1024
/**
 * Where we may still have items of our own to tell of a stream, of the connection itself or of a protocol that is found in
 * its middle, those of scripts are numbered from here on: no two of a stream have one id.
 */
const OWN_ITEMS = 1_000_000

export class ScriptClaimant implements Claimant {
  /** What scripts define; changes when the sandbox is started. */
  definitions: readonly Definition[] = []
  /** Bytes that were handed over and of which nothing was told yet. */
  unread = 0
  readonly #send: (parcel: Buffer) => void
  readonly #open = new Map<number, Connection>()
  readonly #refused = new WeakSet<Connection>()
  #parcel = Buffer.allocUnsafe(PARCEL)
  #used = 0

  constructor(send: (parcel: Buffer) => void) {
    this.#send = send
  }

  wants(c: Connection): boolean {
    if (this.#refused.has(c)) return false
    return (
      this.#open.has(c.number) || this.definitions.some(({ transports }) => transports.some(one => one === c.transport))
    )
  }

  bytes(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number, when: When): void {
    this.#begin(c)
    this.unread += end - start
    const at = this.#record(c, half, { kind: 'bytes', length: end - start, ...when }, end - start)
    this.#parcel.set(bytes.subarray(start, end), at)
  }

  gap(c: Connection, half: Half, length: number, next: number): void {
    this.#begin(c)
    this.#record(c, half, { kind: 'gap', length, next }, 0)
  }

  end(c: Connection, half: Half, why: Ending): void {
    if (this.#open.has(c.number)) this.#record(c, half, { kind: 'end', why }, 0)
  }

  finish(c: Connection, why: Ending): void {
    if (!this.#open.delete(c.number)) return
    this.#record(c, c.forth, { kind: 'finish', why }, 0)
  }

  forget(c: Connection): void {
    if (!this.#open.delete(c.number)) return
    this.#refused.add(c)
    this.#record(c, c.forth, { kind: 'forget' }, 0)
  }

  /** No script knows these. */
  refuse(streams: readonly number[]): void {
    for (const stream of streams) {
      const c = this.#open.get(stream)
      if (c === undefined) continue
      this.#open.delete(stream)
      this.#refused.add(c)
    }
  }

  /** Whoever knew them is gone: what follows would begin in the middle. */
  lose(): void {
    this.refuse([...this.#open.keys()])
    this.#used = 0
    this.unread = 0
  }

  flush(): void {
    if (this.#used === 0) return
    const parcel = this.#parcel.subarray(0, this.#used)
    this.#parcel = Buffer.allocUnsafe(PARCEL)
    this.#used = 0
    this.#send(parcel)
  }

  #begin(c: Connection): void {
    if (this.#open.has(c.number)) return
    this.#open.set(c.number, c)
    const { transport, seconds, nanoseconds, hash, scope, port, otherPort, midstream, watch } = c
    const items = watch === null && !midstream ? c.items : c.items + OWN_ITEMS
    const client = c.client === null ? null : c.client === c.forth ? 'forth' : 'back'
    const began = { transport, seconds, nanoseconds, hash }
    const opening: Opening = { ...began, words: [...c.words], scope, port, otherPort, midstream, client, items }
    const text = Buffer.from(JSON.stringify(opening))
    text.copy(this.#parcel, this.#record(c, c.forth, { kind: 'open', length: text.length }, text.length))
  }

  /** Index of the room for the record's bytes. */
  #record(c: Connection, half: Half, told: Partial<StreamRecord> & Pick<StreamRecord, 'kind'>, size: number): number {
    const needed = HEAD + size
    if (this.#used + needed > this.#parcel.length) {
      this.flush()
      if (needed > this.#parcel.length) this.#parcel = Buffer.allocUnsafe(needed)
    }
    const at = this.#used
    this.#used += needed
    writeRecord(this.#parcel, at, {
      half: half === c.forth ? 'forth' : 'back',
      why: 'closed',
      stream: c.number,
      length: 0,
      seconds: 0,
      nanoseconds: 0,
      ack: 0,
      next: 0,
      ...told,
    })
    return at + HEAD
  }
}
