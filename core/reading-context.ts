/** What the engine shows a dissector beside the bytes. A class: an object literal with accessors is looked up by name. */
import { BufferPool } from './buffer-pool.ts'
import type { Connection, Half } from './connections.ts'
import type { Quote } from './conversation.ts'
import type { Context, Describe, Moment, Side, Transport } from './dissector.ts'
import type { Json } from './item.ts'
import { JsonWriter, type Written } from './json-writer.ts'
import type { Request } from './pairing.ts'

const ROOM = 65_536

export class ReadingContext implements Context {
  state: unknown = undefined
  from: Side = 'client'
  transport: Transport = 'tcp'
  port = 0
  hinted = false
  midstream = false
  readonly keep: number
  missing = 0
  learnt: unknown = null
  awaited: unknown = undefined
  readonly out = new JsonWriter(ROOM)
  readonly buffers = new BufferPool()
  readonly describe: Describe | null
  /** Whose bytes are shown, or were last. */
  connection: Connection | null = null
  /** Of the datagram in hand. */
  quoted: Quote | null = null
  private half: Half | null = null
  /** The request that is answered by what is at the cursor. */
  private asked: Request | null = null

  constructor(keep: number, describe: Describe | null) {
    this.keep = keep
    this.describe = describe
  }

  /** The bytes of `half` come next. */
  aim(c: Connection, half: Half, asked: Request | null): void {
    this.connection = c
    this.half = half
    this.asked = asked
    this.state = c.state
    this.from = half === c.client ? 'client' : 'server'
    this.transport = c.transport
    this.port = c.serverPort
    this.hinted = c.hinted
    this.midstream = c.midstream
    this.awaited = asked === null ? undefined : asked.memo
    this.out.length = 0
  }

  get request(): Json | Written | null {
    return this.asked === null ? null : this.asked.body
  }

  get related(): string | null {
    return this.quoted === null ? null : this.quoted.c.stream
  }

  get moment(): Moment {
    const { seconds, nanoseconds, ack } = this.half!
    return { seconds, nanoseconds, ack }
  }

  requestOf(key: string | number): unknown {
    return this.connection?.waiting?.peek(key)?.memo
  }
}
