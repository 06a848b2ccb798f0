/** The scripts of a run: fed with items and packets, heard on standard error, and what they send put into the outbox. */
import type { Batch } from '../core/batch.ts'
import { decode, Frame } from '../core/frame.ts'
import type { Packet } from '../core/packet.ts'
import type { Claimant } from '../core/unclaimed.ts'
import type { SendOrder, SendReply } from '../scripting/helper.ts'
import type { ConsoleLine, HostDissection, ScriptHost, ScriptSummary } from '../scripting/host.ts'
import { FRAGMENTED, type PacketColumns, TRUNCATED } from '../scripting/packet-columns.ts'
import type { Script } from '../scripting/script.ts'
import type { ScriptError } from '../scripting/script-error.ts'
import type { Outbox } from './outbox.ts'
import { columned, columnsOf, type Look, paint, printable, printableWithColor, withoutColor } from './terminal.ts'

/** Packets that travel to the sandbox together. */
const PACKETS = 4096

export class Scripts {
  /** Not null: the sandbox is behind, and `relief` waits for it. */
  pressure: Promise<void> | null = null
  /** Called before a line is printed: something else may be on the terminal's last line. */
  beforeLine: () => void = () => {}
  /** Makes a file of a stream's packets, for scripts that ask for one. */
  streams: (stream: string) => Promise<string> = async () => {
    throw new TypeError('the packets that are read here are not kept: give --pcap FILE, or tap')
  }
  private readonly scripts: readonly Script[]
  private readonly env: Record<string, string>
  private readonly outbox: Outbox
  private readonly look: Look
  private host: ScriptHost | null = null
  private stopping = false
  private summaries: ScriptSummary[] = []
  private readonly columns: PacketColumns = {
    count: 0,
    timestamp: new Float64Array(PACKETS),
    captureLength: new Uint32Array(PACKETS),
    length: new Uint32Array(PACKETS),
    flags: new Uint8Array(PACKETS),
  }
  private wantsPackets = false
  private readonly frame = new Frame()

  /** Throws a Fault when one of them cannot be a script. */
  static async load(
    paths: readonly string[],
    env: Record<string, string>,
    outbox: Outbox,
    look: Look,
  ): Promise<Scripts> {
    if (paths.length === 0) return new Scripts([], env, outbox, look)
    const { loadScripts } = await import('../scripting/script.ts')
    return new Scripts(await loadScripts(paths), env, outbox, look)
  }

  private constructor(scripts: readonly Script[], env: Record<string, string>, outbox: Outbox, look: Look) {
    this.scripts = scripts
    this.env = env
    this.outbox = outbox
    this.look = look
  }

  /** `dissection`: where the items of their dissectors go. */
  async start(dissection: HostDissection): Promise<void> {
    if (this.scripts.length === 0) return
    const [{ ScriptHost }, { withoutWords }] = await Promise.all([
      import('../scripting/host.ts'),
      import('../scripting/script.ts'),
    ])
    // A spool that cannot be had is better known now than with the first alert.
    if (this.scripts.some(({ code }) => /\bvendor\b/.test(withoutWords(code)))) await this.outbox.open()
    this.host = await ScriptHost.start({
      scripts: this.scripts,
      env: this.env,
      nodeName: 'local',
      console: line => this.print(line),
      failed: error => this.print({ script: error.title, level: 'error', text: withoutTitle(error) }),
      send: order => this.send(order),
      dissection,
    })
    await this.warnOfIdle()
    const { missing } = this.host.confinement
    if (missing.length > 0) this.say(`scripts are confined less than they can be: ${missing.join('; ')}`)
    this.wantsPackets = this.wants.packets
  }

  /** Somebody hooks: without it nothing need be handed over. */
  get wants(): { items: boolean; packets: boolean } {
    return this.host?.wants ?? { items: false, packets: false }
  }

  /** Takes the streams of protocols that only scripts may know. */
  get claimant(): Claimant | null {
    return this.host?.claimant ?? null
  }

  items(batch: Batch): void {
    this.press(this.host?.items(batch))
  }

  packet(packet: Packet): void {
    if (this.host?.claimant) this.press(this.host.pressure)
    if (!this.wantsPackets) return
    const { columns } = this
    const at = columns.count++
    const captured = packet.end - packet.start
    columns.timestamp[at] = packet.seconds * 1000 + packet.nanoseconds / 1e6
    columns.captureLength[at] = captured
    columns.length[at] = packet.length
    const fragmented = decode(packet, this.frame) === 'fragment'
    columns.flags[at] = (captured < packet.length ? TRUNCATED : 0) | (fragmented ? FRAGMENTED : 0)
    if (columns.count === PACKETS) this.flush()
  }

  /** Hands over the packets and the streams that wait for company. */
  flush(): void {
    this.host?.claimant?.flush()
    if (this.columns.count === 0) return
    this.press(this.host?.packets(this.columns))
    this.columns.count = 0
  }

  async relief(): Promise<void> {
    const { pressure } = this
    this.pressure = null
    await pressure
  }

  /** Until every script has seen everything, and what they began has ended. */
  async stop(): Promise<void> {
    const { host } = this
    if (!host || this.stopping) return
    this.stopping = true
    this.flush()
    this.summaries = await host.stop()
  }

  /** What scripts have not seen `patience` ms from now, they will not see. */
  hurry(patience: number): void {
    this.host?.hurry(patience)
  }

  /** In the order in which they were given. */
  ends(): readonly ScriptSummary[] {
    return this.summaries
  }

  private press(promise: Promise<void> | undefined): void {
    if (!promise) return
    this.pressure = this.pressure ? Promise.all([this.pressure, promise]).then(() => {}) : promise
  }

  private async send(order: SendOrder): Promise<SendReply> {
    if (order.kind === 'pcap.path') return { body: await this.streams(order.stream) }
    const { kind, script, ...rest } = order
    return { body: await this.outbox.send({ integration: kind, script, arguments: rest }) }
  }

  private async warnOfIdle(): Promise<void> {
    const { HOOKS } = await import('../scripting/hooks.ts')
    const hooks = HOOKS.filter(({ served, alias }) => served && alias === undefined).map(({ name }) => name)
    for (const { title, file, idle } of this.scripts) {
      const text = `${file} has no hook: nothing of it is called after its start. Hooks are ${hooks.join(' and ')}`
      if (idle) this.print({ script: title, level: 'warning', text })
    }
  }

  private say(text: string): void {
    this.beforeLine()
    process.stderr.write(`${paint(printable(text), 'yellow', this.look.depth)}\n`)
  }

  private print({ script, level, text }: ConsoleLine): void {
    // Clearing would take the table away with it.
    if (level === 'clear') return
    this.beforeLine()
    const { depth } = this.look
    const prefix = paint(
      `[${shortened(printable(script))}]`,
      level === 'log' ? 'cyan' : level === 'warning' ? 'yellow' : 'red',
      depth,
    )
    for (const line of text.split('\n')) {
      const safe = printableWithColor(line)
      process.stderr.write(`${prefix} ${depth === 1 ? withoutColor(safe) : safe}\n`)
    }
  }
}

/** A title may be a sentence; what the script prints matters more. */
const TITLE_COLUMNS = 32

function shortened(title: string): string {
  const bare = title.replace(/\.$/, '')
  return columnsOf(bare) <= TITLE_COLUMNS ? bare : columned(bare, TITLE_COLUMNS).trimEnd()
}

/** The title stands before every line already. */
function withoutTitle({ message, title }: ScriptError): string {
  return message.startsWith(`${title}: `) ? message.slice(title.length + 2) : message
}
