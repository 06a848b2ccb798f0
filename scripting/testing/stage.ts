/** Scripts on a real sandbox, and a record of all that they say, send and do wrong. */
import type { Item } from '../../core/item.ts'
import type { SendOrder, SendReply } from '../helper.ts'
import { type ConsoleLine, ScriptHost, type ScriptSummary } from '../host.ts'
import type { Limits } from '../limits.ts'
import { readScript, type Script } from '../script.ts'
import type { ScriptError } from '../script-error.ts'
import { batchOf } from './items.ts'

/** Short, so that tests of what never ends do. */
export const SHORT: Partial<Limits> = { callMs: 600, loadMs: 1000, graceMs: 500, memoryMb: 32, stopMs: 500 }

export class Stage {
  readonly host: ScriptHost
  readonly lines: ConsoleLine[]
  readonly errors: ScriptError[]
  readonly orders: SendOrder[]

  private constructor(host: ScriptHost, lines: ConsoleLine[], errors: ScriptError[], orders: SendOrder[]) {
    this.host = host
    this.lines = lines
    this.errors = errors
    this.orders = orders
  }

  /** `scripts`: code by file name. */
  static async open(
    scripts: Record<string, string>,
    limits: Partial<Limits> = SHORT,
    send: (order: SendOrder) => Promise<SendReply> = async () => ({ body: 'ok' }),
  ): Promise<Stage> {
    const lines: ConsoleLine[] = []
    const errors: ScriptError[] = []
    const orders: SendOrder[] = []
    const host = await ScriptHost.start({
      scripts: Object.entries(scripts).map(([file, code]): Script => readScript(file, code)),
      env: { GREETING: 'hello', NESTED: { limit: 5 } },
      limits,
      nodeName: 'node-7',
      console: line => lines.push(line),
      failed: error => errors.push(error),
      send: order => {
        orders.push(order)
        return send(order)
      },
    })
    return new Stage(host, lines, errors, orders)
  }

  async hand(items: readonly Item[], atOnce = 10): Promise<void> {
    for (let at = 0; at < items.length; at += atOnce) await this.host.items(batchOf(items.slice(at, at + atOnce)))
  }

  /** What one script printed. */
  printed(title: string): string[] {
    return this.lines.filter(line => line.script === title && line.level === 'log').map(line => line.text)
  }

  async end(): Promise<Record<string, ScriptSummary>> {
    return Object.fromEntries((await this.host.stop()).map(summary => [summary.title, summary]))
  }
}
