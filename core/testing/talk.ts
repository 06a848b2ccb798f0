/** Asks a dissector as the engine does, without an engine: for tests of what it makes of single bytes. */
import { Cursor, Incomplete, Malformed } from '../cursor.ts'
import type { Context, Dissector, Message, Side } from '../dissector.ts'
import type { Json } from '../item.ts'
import { contextOf } from './context.ts'

export type Told = Message & { body: Json }

/** What the engine hears: wrong bytes are nobody's. Anything else that is thrown is a mistake of the dissector. */
export function probed<State>(dissector: Dissector<State>, bytes: Uint8Array, ctx: Context<State>): boolean | 'more' {
  try {
    return dissector.probe(new Cursor(bytes, 0, bytes.length, ctx.transport !== 'tcp'), ctx.from, ctx)
  } catch (thrown) {
    if (thrown === Incomplete) return 'more'
    if (thrown instanceof Malformed) return false
    throw thrown
  }
}

/** What both sides say, one after the other. */
export class Talk<State> {
  readonly said: Told[] = []
  readonly progress: Record<Side, unknown> = { client: null, server: null }
  /** What the dissector knows of the connection; tests may lose some of it. */
  state: State
  private readonly dissector: Dissector<State>
  private readonly keep: number

  constructor(dissector: Dissector<State>, keep: number) {
    this.dissector = dissector
    this.state = dissector.open!()
    this.keep = keep
  }

  say(from: Side, ...parts: Uint8Array[]): Told[] {
    const at = new Cursor(Buffer.concat(parts))
    const told: Told[] = []
    while (at.position < at.end) {
      at.progress = this.progress[from]
      at.committed = -1
      const message = this.dissector.read(at, contextOf(this.state, { from, keep: this.keep }))
      this.progress[from] = at.committed >= 0 ? at.progress : null
      if (message !== null) told.push(...([message].flat() as Told[]))
    }
    this.said.push(...told)
    return told
  }

  end(from: Side): Told | null {
    const at = new Cursor(Buffer.alloc(0))
    at.progress = this.progress[from]
    return this.dissector.end!(at, contextOf(this.state, { from, keep: this.keep }), 'closed') as Told | null
  }
}
