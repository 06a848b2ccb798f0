/** What a dissector is shown when a test asks it directly. */
import { BufferPool } from '../buffer-pool.ts'
import type { Context } from '../dissector.ts'
import { JsonWriter } from '../json-writer.ts'

/** A client's bytes over TCP, at no known port, no bodies wanted; `changes` says what is different. */
export function contextOf<State>(state: State, changes: Partial<Context<State>> = {}): Context<State> {
  return {
    state,
    from: 'client',
    transport: 'tcp',
    port: 0,
    hinted: false,
    midstream: false,
    keep: 0,
    missing: 0,
    learnt: null,
    related: null,
    awaited: undefined,
    request: null,
    requestOf: () => undefined,
    moment: { seconds: 0, nanoseconds: 0, ack: 0 },
    out: new JsonWriter(64),
    buffers: new BufferPool(),
    describe: null,
    ...changes,
  }
}
