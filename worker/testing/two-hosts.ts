/** Two hosts on one wire, for tests: network namespaces joined by a veth pair, which only root can make. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'

export const CLIENT_ADDRESS = '10.99.0.1'
export const SERVER_ADDRESS = '10.99.0.2'

/** Why there can be none; null: nothing is known to keep us from it. */
export function whyNoHosts(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    execFileSync('ip', ['-V'], { stdio: 'ignore' })
    return null
  } catch {
    return 'network namespaces need ip, of iproute2'
  }
}

export class TwoHosts {
  readonly client: string
  readonly server: string
  private readonly children: ChildProcess[] = []

  /** `name`: unique among all that run at the same time, and short. The interfaces are called `to-server` and `to-client`. */
  constructor(name: string) {
    this.client = `${name}-c`
    this.server = `${name}-s`
    this.remove()
    ip('netns', 'add', this.client)
    ip('netns', 'add', this.server)
    ip(...words(`link add to-server netns ${this.client} type veth peer name to-client netns ${this.server}`))
    for (const [host, wire, address] of [
      [this.client, 'to-server', CLIENT_ADDRESS],
      [this.server, 'to-client', SERVER_ADDRESS],
    ] as const) {
      // Without it both ends tell of themselves by ICMPv6 when they please.
      execFileSync('ip', ['netns', 'exec', host, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'])
      ip('-n', host, 'addr', 'add', `${address}/24`, 'dev', wire)
      ip('-n', host, 'link', 'set', 'lo', 'up')
      ip('-n', host, 'link', 'set', wire, 'up')
    }
  }

  /** Starts a server that answers `/200/x` with status 200 and `x`, over HTTP, on port 8080. */
  async serve(): Promise<void> {
    const child = spawn('ip', ['netns', 'exec', this.server, process.execPath, '-e', SERVER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.children.push(child)
    await once(child.stdout!, 'data')
  }

  /** Asks for each path in turn, over one connection each. */
  async ask(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const url = `http://${SERVER_ADDRESS}:8080${path}`
      const child = spawn('ip', [
        'netns',
        'exec',
        this.client,
        'curl',
        '-s',
        '-o',
        '/dev/null',
        '--max-time',
        '10',
        url,
      ])
      const [code] = await once(child, 'close')
      if (code !== 0) throw new Error(`curl ${url} ended with ${code}`)
    }
  }

  remove(): void {
    for (const child of this.children) child.kill('SIGKILL')
    for (const host of [this.client, this.server])
      try {
        ip('netns', 'del', host)
      } catch {
        // There is none.
      }
  }
}

const SERVER = `
require('node:http').createServer((question, answer) => {
  const [, status, text] = question.url.split('/')
  answer.writeHead(Number(status)).end(text)
}).listen(8080, '${SERVER_ADDRESS}', () => console.log('listening'))`

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

function words(text: string): string[] {
  return text.split(' ')
}
