/**
 * The dissectors of scripts without their hooks: for finding the packets of an item that one of them has made. Nothing is
 * handed to the scripts but streams, and what they would send is refused.
 */
import type { Carried, Seeker } from '../core/item-packets.ts'
import type { Claimant } from '../core/unclaimed.ts'
import { ScriptHost } from '../scripting/host.ts'
import { loadScripts } from '../scripting/script.ts'
import { WORKER } from '../worker/own-items.ts'
import { printable } from './terminal.ts'

export class ScriptDissectors implements Seeker {
  readonly claimant: Claimant
  private readonly host: ScriptHost
  private readonly carried: { parts: readonly Carried[] | null }

  /** null: none of the scripts has a dissector. `protocols`: names of those that need no script. */
  static async start(
    paths: readonly string[],
    sought: { stream: string; index: number },
    protocols: readonly string[],
    keepBodies: number,
  ): Promise<ScriptDissectors | null> {
    const carried: ScriptDissectors['carried'] = { parts: null }
    const say = (script: string, text: string) =>
      void process.stderr.write(`[${printable(script)}] ${printable(text)}\n`)
    const host = await ScriptHost.start({
      scripts: await loadScripts(paths),
      env: {},
      nodeName: WORKER,
      console: ({ script, level, text }) => {
        if (level === 'error' || level === 'warning') say(script, text)
      },
      failed: error => say(error.title, error.message),
      send: () => Promise.reject(new TypeError('nothing is sent while an item is looked for')),
      dissection: {
        worker: WORKER,
        node: null,
        keepBodies,
        protocols,
        sought,
        dissected() {},
        found(parts) {
          carried.parts = parts
        },
      },
    })
    if (host.claimant !== null) return new ScriptDissectors(host, host.claimant, carried)
    await host.stop()
    return null
  }

  private constructor(host: ScriptHost, claimant: Claimant, carried: ScriptDissectors['carried']) {
    this.host = host
    this.claimant = claimant
    this.carried = carried
  }

  async relief(): Promise<void> {
    await this.host.pressure
  }

  async found(): Promise<readonly Carried[] | null> {
    await this.host.drain()
    return this.carried.parts
  }

  async stop(): Promise<void> {
    await this.host.stop()
  }
}
