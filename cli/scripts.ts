/** The scripts of a run: started with the sandbox, fed with items and packets, heard on standard error. */
import type { Batch } from '../core/batch.ts'
import type { Packet } from '../core/packet.ts'
import type { Outbox } from './outbox.ts'
import type { ScriptEnd } from './summary.ts'
import type { Look } from './terminal.ts'

export class Scripts {
  /** Not null: the sandbox is behind, and `relief` waits for it. */
  pressure: Promise<void> | null = null
  failed = false
  /** Called before a line is printed: something else may be on the terminal's last line. */
  beforeLine: () => void = () => {}

  static async load(_paths: string[], _env: Record<string, string>, _outbox: Outbox, _look: Look): Promise<Scripts> {
    return new Scripts()
  }
  async start(): Promise<void> {}
  items(_batch: Batch): void {}
  packet(_packet: Packet): void {}
  async relief(): Promise<void> {}
  async drain(_hurry: Promise<void>): Promise<void> {}
  async stop(): Promise<void> {}
  ends(): ScriptEnd[] {
    return []
  }
}
