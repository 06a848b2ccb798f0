/**
 * `hookline demo`: the bundled recording of a small shop through two example scripts, their alerts arriving at a receiver
 * that speaks like Slack, and then the same shop live on loopback. It runs the command line as a user would.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { whyNoWire } from '../worker/wire.ts'
import { EXIT } from './exit.ts'
import { Interruption } from './interruption.ts'
import { type SlackMessage, SlackReceiver } from './slack-receiver.ts'
import { wireOptions } from './source.ts'
import { counted, type Look, lookOf, paint, printable, withoutColor } from './terminal.ts'

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('a small shop, recorded and live, watched by two example scripts')
    .action(async () => {
      const folder = await mkdtemp(join(tmpdir(), 'hookline-demo-'))
      const demo = new Demo(folder)
      const interruption = new Interruption()
      try {
        const code = await Promise.race([demo.play(), interruption.requested])
        process.exitCode = interruption.code ?? code ?? EXIT.bug
      } finally {
        await demo.close()
        await rm(folder, { recursive: true, force: true })
        interruption.release()
      }
    })
}

const HOME = fileURLToPath(new URL('..', import.meta.url))
const SHOP = join(HOME, 'examples/captures/shop.ts')
const CAPTURE = 'examples/captures/shop.pcap'
const ALERTS = 'examples/scripts/alert-on-5xx.js'
const ROUTES = 'examples/scripts/slowest-routes.js'

/** Lines of the table that are shown at its beginning, and once payment fails. */
const FIRST_LINES = 17
const BURST_LINES = 8
/** A line at a time can be read along; a file is not a show. */
const LINE_MS = 45
const LIVE_SECONDS = 8
/** For what is asked to end before it has. */
const LEAVING_MS = 4000
/** Nothing in here takes half as long. */
const STEP_PATIENCE_MS = 30_000

class Demo {
  private readonly folder: string
  private readonly look: Look = lookOf(1)
  private readonly children = new Set<ChildProcess>()
  private slack: SlackReceiver | null = null
  /** Messages that arrived while the table is shown more slowly than it was made; null when they are shown at once. */
  private held: SlackMessage[] | null = null

  constructor(folder: string) {
    this.folder = folder
  }

  async play(): Promise<number> {
    const slack = await SlackReceiver.open(message => this.arrived(message))
    this.slack = slack
    this.title(
      'A minute of a small shop: six services that speak HTTP, DNS and Redis. For nine seconds, payment is down.',
    )
    await this.recorded(slack)
    if (slack.messages.length === 0) throw new Error('no alert has arrived')
    this.title('The same shop, live on the loopback interface, for a few seconds.')
    await this.live(slack)
    this.next()
    return EXIT.ok
  }

  /** Ends what still runs: nothing, unless somebody was in a hurry or something went wrong. */
  async close(): Promise<void> {
    const left = [...this.children]
    const gone = Promise.all(left.map(child => once(child, 'exit')))
    for (const child of left) child.kill('SIGTERM')
    await Promise.race([gone, pause(LEAVING_MS, null, { ref: false })])
    for (const child of this.children) child.kill('SIGKILL')
    await this.slack?.close()
  }

  private async recorded(slack: SlackReceiver): Promise<void> {
    const run = this.hookline('run', ALERTS, ROUTES, '--pcap', CAPTURE, '--env', `SLACK_WEBHOOK=${slack.url}`)
    const excerpt = new Excerpt()
    const code = await this.finish(run, line => excerpt.take(line))
    if (code !== 0) throw new Error(`hookline run ended with ${code}`)
  }

  private async live(slack: SlackReceiver): Promise<void> {
    const reason = await whyNoWire(wireOptions('lo', ''))
    if (reason !== null) {
      this.say(`Left out: ${reason}`, 'yellow')
      return
    }
    // What the customers see, and the carts.
    const filter = 'net 127.0.1.0/24 or port 18379'
    const run = this.hookline('run', ALERTS, '-i', 'lo', '--filter', filter, '--env', `SLACK_WEBHOOK=${slack.url}`)
    // The shop opens when somebody watches.
    await once(run.stderr!, 'readable')
    const shop = this.start(process.execPath, [SHOP, String(LIVE_SECONDS)])
    const complaints = array(lines(shop.stderr!))
    shop.stdout!.resume()
    void once(shop, 'exit').then(async () => {
      // What the shop did last is on its way through the kernel.
      await pause(300)
      run.kill('SIGINT')
    })
    await this.follow(run)
    if (shop.exitCode)
      this.say(`The shop could not stay open: ${(await complaints).find(line => /Error/.test(line))}`, 'yellow')
  }

  /** Shows what `run` prints: the table first, then what scripts and the summary say; and resolves with its exit code. */
  private async finish(run: ChildProcess, excerpt: (line: string) => string | null): Promise<number | null> {
    this.held = []
    const told = array(lines(run.stderr!))
    const ended = this.end(run)
    const pace = this.look.width === null ? 0 : LINE_MS
    for await (const line of lines(run.stdout!)) {
      const shown = excerpt(line)
      if (shown === null) continue
      console.log(shown)
      await pause(pace)
    }
    const code = await ended
    const arrived = this.held
    this.held = null
    for (const message of arrived) this.show(message)
    for (const line of await told) console.log(line)
    return code
  }

  /** The same, each line when it comes. */
  private async follow(run: ChildProcess): Promise<void> {
    const ended = this.end(run)
    await Promise.all(
      [run.stdout!, run.stderr!].map(async stream => {
        for await (const line of lines(stream)) console.log(line)
      }),
    )
    await ended
  }

  private async end(child: ChildProcess): Promise<number | null> {
    const timer = setTimeout(() => child.kill('SIGKILL'), STEP_PATIENCE_MS)
    const [code] = (await once(child, 'exit')) as [number | null]
    clearTimeout(timer)
    return code
  }

  private hookline(...words: string[]): ChildProcess {
    const quoted = words.map(word => (/^[\w./:=-]+$/.test(word) ? word : `'${word}'`))
    const options = quoted.findIndex(word => word.startsWith('-'))
    const shown = [`./hookline ${quoted.slice(0, options).join(' ')}`, quoted.slice(options).join(' ')].join(
      ' \\\n    ',
    )
    console.log(`${paint('$', 'dim', this.look.depth)} ${paint(shown, 'bold', this.look.depth)}\n`)
    return this.start(join(HOME, 'hookline'), [...words, '--spool', join(this.folder, 'spool')])
  }

  private start(command: string, words: string[]): ChildProcess {
    const env = { ...process.env }
    if (this.look.width !== null)
      Object.assign(env, { FORCE_COLOR: colorLevel(this.look), COLUMNS: String(this.look.width) })
    const child = spawn(command, words, { cwd: HOME, env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.children.add(child)
    child.on('exit', () => this.children.delete(child))
    return child
  }

  private arrived(message: SlackMessage): void {
    if (this.held) this.held.push(message)
    else this.show(message)
  }

  private show({ attachments, text }: SlackMessage): void {
    const { pretext = '', text: more = '', footer = '' } = attachments?.[0] ?? {}
    const bar = paint('▌', 'red', this.look.depth)
    console.log(
      `\n${bar} ${paint('Slack  #shop-alerts', 'bold', this.look.depth)}  ${paint(printable(footer), 'dim', this.look.depth)}`,
    )
    console.log(`${bar} ${paint(printable(pretext || text || ''), 'bold', this.look.depth)}`)
    for (const line of more.split('\n')) console.log(`${bar} ${printable(line)}`)
    console.log('')
  }

  private title(text: string): void {
    const width = Math.min(this.look.width ?? 100, 120)
    console.log(`\n${paint('─'.repeat(width), 'dim', this.look.depth)}\n${paint(text, 'cyan', this.look.depth)}\n`)
  }

  private say(text: string, how: 'yellow' | 'dim'): void {
    console.log(paint(text, how, this.look.depth))
  }

  private next(): void {
    this.title('What to try next')
    const here = relative(process.cwd(), HOME) || '.'
    const sudo = process.getuid?.() !== 0
    for (const [command, what] of [
      [`run --pcap ${CAPTURE} --json | head -1`, 'one item, with all its fields'],
      [`run examples/scripts/unresolved-names.ts -q --pcap ${CAPTURE}`, 'a script in TypeScript'],
      ['new script slow && ./hookline run slow.js --pcap examples/captures/shop.pcap', 'your own script'],
      ['run -i any', LIVE],
    ])
      console.log(
        `  ${paint(`${sudo && what === LIVE ? 'sudo ' : ''}${here}/hookline ${command}`, 'bold', this.look.depth)}\n      ${paint(what!, 'dim', this.look.depth)}`,
      )
    console.log('')
  }
}

const LIVE = 'what your own machine says, live'

/** Of a long table the beginning, and what happens when the first answer of 5xx is seen. */
class Excerpt {
  private shown = 0
  private skipped = 0
  private burst = 0

  take(line: string): string | null {
    if (this.shown < FIRST_LINES) {
      this.shown++
      return line
    }
    const failed = /\bHTTP +5\d\d\b/.test(withoutColor(line))
    if (this.burst > 0 ? this.burst < BURST_LINES : failed) {
      this.burst++
      const gap = this.skipped > 0 ? `  ⋮  ${counted(this.skipped, 'line')}\n` : ''
      this.skipped = 0
      return gap + line
    }
    this.skipped++
    return null
  }
}

function lines(stream: Readable): AsyncIterable<string> {
  return createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })
}

async function array(lines: AsyncIterable<string>): Promise<string[]> {
  const all = []
  for await (const line of lines) all.push(line)
  return all
}

/** As FORCE_COLOR counts. */
function colorLevel({ depth }: Look): string {
  return depth === 24 ? '3' : depth === 8 ? '2' : depth === 4 ? '1' : '0'
}
