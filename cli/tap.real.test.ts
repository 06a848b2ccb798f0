import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Item } from '../core/item.ts'
import { chooseSource } from '../worker/sources/choice.ts'
import { TwoHosts, whyNoHosts } from '../worker/testing/two-hosts.ts'
import { wireOptions } from './source.ts'
import { ended, hookline, start } from './testing/hookline.ts'

describe('tap', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-tap-'))
  let hosts: TwoHosts
  let rings = 0
  before(async function () {
    let reason = whyNoHosts()
    if (reason === null) {
      hosts = new TwoHosts('tapt')
      const capture = { ...wireOptions('any', ''), namespace: `/run/netns/${hosts.client}` }
      reason = await chooseSource('best', capture).then(
        () => null,
        (error: Error) => error.message,
      )
    }
    if (reason !== null) {
      console.error(`skipped: ${reason}`)
      this.skip()
    }
    await hosts.serve()
  })
  after(() => {
    hosts?.remove()
    rmSync(folder, { recursive: true, force: true })
  })

  it('records and shows every request, and what it recorded reads as it was shown', async () => {
    const tap = await tapping(['--json'])
    const paths = Array.from({ length: 20 }, (_, i) => `/${i % 7 === 3 ? 503 : 200}/answer-${i}`)
    await hosts.ask(paths)
    const { code, stdout, stderr } = await tap.stop()
    assert.equal(code, 130)
    const shown = items(stdout)
    assert.deepEqual(
      shown.map(({ request, response }) => `${request!.path} ${response!.status} ${response!.content.text}`),
      paths.map(path => `${path} ${path.split('/')[1]} ${path.split('/')[2]}`),
    )
    const account = accountOf(stderr)
    assert.equal(account.seen, account.recorded + account.others)
    assert.equal(account.recorded, packetsIn(tap.ring))
    assert.match(
      stderr,
      /^reader: [\d ]+ packets read, 0 left in the ring, 0 missed; at most [\d ]+ packets?, [\d.]+ s behind$/m,
    )

    const [segment] = segments(tap.ring)
    const again = await hookline(folder, ['tap', '--pcap', join(tap.ring, segment!), '--json'])
    assert.deepEqual(items(again.stdout), shown)
  })

  it('records when nobody asks for items, and understands nothing', async () => {
    const tap = await tapping(['-q'])
    await hosts.ask(['/200/unseen'])
    const { stdout, stderr } = await tap.stop()
    assert.equal(stdout, '')
    assert.doesNotMatch(stderr, /HTTP|reader:/)
    assert.ok(accountOf(stderr).recorded >= 8)
    assert.equal(packetsIn(tap.ring), accountOf(stderr).recorded)
  })

  it('gives scripts the packets of a stream as a file', async () => {
    const script = join(folder, 'evidence.js')
    writeFileSync(script, '// Evidence.\nfunction onItemCaptured(data) { console.log(pcap.path(data.stream)) }\n')
    const tap = await tapping([script, '-q'])
    await hosts.ask(['/200/one', '/200/two'])
    await pause(500)
    const { stderr } = await tap.stop()
    const files = [...stderr.matchAll(/^\[Evidence\] (\/\S+\.pcap)$/gm)].map(([, path]) => path!)
    assert.equal(files.length, 2, stderr)
    for (const [i, file] of files.entries()) {
      const { stdout } = await hookline(folder, ['run', '--pcap', file, '--json'])
      assert.deepEqual(
        items(stdout).map(({ request, stream }) => [request!.path, stream]),
        [[['/200/one', '/200/two'][i], file.split('/').at(-1)]],
      )
    }
  })

  it('hands over what was captured when it is interrupted in the middle', async () => {
    const tap = await tapping(['--json'])
    const asking = hosts.ask(Array.from({ length: 30 }, (_, i) => `/200/${i}`))
    await pause(300)
    const { code, stdout, stderr } = await tap.stop()
    await asking
    assert.equal(code, 130)
    const account = accountOf(stderr)
    assert.equal(account.recorded, packetsIn(tap.ring))
    const paths = items(stdout).map(({ request }) => request!.path)
    assert.deepEqual(
      paths,
      paths.map((_, i) => `/200/${i}`),
    )
  })

  it('loses nothing while it is stopped itself', async () => {
    const tap = await tapping(['--json'])
    tap.child.kill('SIGSTOP')
    const paths = Array.from({ length: 10 }, (_, i) => `/200/stopped-${i}`)
    await hosts.ask(paths)
    tap.child.kill('SIGCONT')
    await pause(500)
    const { stdout } = await tap.stop()
    assert.deepEqual(
      items(stdout).map(({ request }) => request!.path),
      paths,
    )
  })

  it('leaves a sealed ring and no process when it is killed', async () => {
    const tap = await tapping(['--json'])
    const [recorder] = recordersOf(tap.child.pid!)
    await hosts.ask(['/200/before'])
    tap.child.kill('SIGKILL')
    for (let i = 0; i < 50 && alive(recorder!); i++) await pause(100)
    assert.equal(alive(recorder!), false)
    assert.deepEqual(
      readdirSync(tap.ring).filter(name => /^\..*pcapng$/.test(name)),
      [],
    )
    const [segment] = segments(tap.ring)
    const { stdout } = await hookline(folder, ['run', '--pcap', join(tap.ring, segment!), '--json'])
    assert.deepEqual(
      items(stdout).map(({ request }) => request!.path),
      ['/200/before'],
    )
  })

  it('shows what was recorded until the recorder died, says so, and takes its ring up again', async () => {
    const tap = await tapping(['--json'])
    await hosts.ask(['/200/last'])
    await pause(300)
    process.kill(recordersOf(tap.child.pid!)[0]!, 'SIGKILL')
    const { code, stdout, stderr } = await tap.all
    assert.deepEqual(
      items(stdout).map(({ request }) => request!.path),
      ['/200/last'],
    )
    assert.match(stderr, /^hookline: the recording process ended by itself: SIGKILL$/m)
    assert.equal(code, 2)
    const next = await tapping(['-q', '--ring', tap.ring])
    const { stderr: said } = await next.stop()
    assert.match(said, /not ended: [\d ]+ torn bytes|^ring: [\d ]+ packets/m)
    assert.ok(packetsIn(tap.ring) >= 8)
  })

  it('refuses a ring that somebody else writes', async () => {
    const tap = await tapping(['-q'])
    const { code, stderr } = await hookline(folder, ['tap', '-i', 'lo', '--ring', tap.ring])
    await tap.stop()
    assert.match(stderr, /^hookline: the ring in \S+ is being written by process \d+\n$/)
    assert.equal(code, 2)
  })

  it('says which interface there is not', async () => {
    const { code, stderr } = await hookline(folder, ['tap', '-i', 'eth99', '--ring', join(folder, 'none')])
    assert.match(stderr, /^hookline: [^\n]*eth99[^\n]*\n$/)
    assert.equal(code, 2)
  })

  it('says how to be allowed when it is not', function () {
    const words = ['--reuid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all']
    const { status, stderr } = spawnSync('setpriv', [...words, process.execPath, 'cli/main.ts', 'tap', '-i', 'lo'], {
      encoding: 'utf8',
      env: { ...process.env, XDG_STATE_HOME: folder },
    })
    // Where other users may not read this checkout, they cannot run it either.
    if (status === null || /EACCES|Cannot find module/.test(stderr)) return this.skip()
    assert.match(
      stderr,
      /^hookline: capturing on lo needs root or the capability NET_RAW[^\n]*: sudo .\/hookline tap -i lo\n$/,
    )
    assert.equal(status, 2)
  })

  async function tapping(words: string[]) {
    const own = words.includes('--ring') ? [] : ['--ring', join(folder, `ring-${rings++}`)]
    const all = ['tap', '-i', 'to-server', '--namespace', `/run/netns/${hosts.client}`, ...own, ...words]
    const child = start(folder, all)
    const end = ended(child)
    const ring = all[all.indexOf('--ring') + 1]!
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', text => {
        said += text
        if (/^capturing by /m.test(said)) resolve()
      })
      child.on('close', () => reject(new Error(said)))
    })
    return {
      child,
      ring,
      all: end,
      async stop() {
        await pause(300)
        child.kill('SIGINT')
        return end
      },
    }
  }
})

function items(ndjson: string): Item[] {
  return ndjson
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
}

/** `captured: 46 seen = 40 recorded + 6 filtered out` */
function accountOf(stderr: string): { seen: number; recorded: number; others: number } {
  const [, seen, recorded, others = ''] = /^captured: ([\d ]+) seen = ([\d ]+) recorded(.*)$/m.exec(stderr) ?? []
  assert.ok(seen !== undefined, stderr)
  const numbers = [...others.matchAll(/\+ ([\d ]+)/g)].map(([, count]) => number(count!))
  return { seen: number(seen), recorded: number(recorded!), others: numbers.reduce((a, b) => a + b, 0) }
}

function number(text: string): number {
  return Number(text.replaceAll(' ', ''))
}

function segments(ring: string): string[] {
  return readdirSync(ring).filter(name => /^\d.*\.pcapng$/.test(name))
}

function packetsIn(ring: string): number {
  return segments(ring)
    .map(name => execFileSync('capinfos', ['-Mc', join(ring, name)], { encoding: 'utf8' }))
    .map(said => Number(/packets: +(\d+)/.exec(said)![1]))
    .reduce((a, b) => a + b, 0)
}

function recordersOf(parent: number): number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=,args=', '--ppid', String(parent)], { encoding: 'utf8' })
  const lines = stdout.split('\n').filter(line => line.includes('recorder-process.ts'))
  return lines.map(line => Number.parseInt(line, 10))
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
