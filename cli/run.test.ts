import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawnSync } from 'node:child_process'
import { on, once } from 'node:events'
import { chmodSync, createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PcapWriter } from '../core/pcap.ts'
import { Dialogue } from '../core/testing/packets.ts'
import { Delivery } from '../integrations/delivery.ts'
import { loadIntegrations } from '../integrations/integration.ts'
import { OK, Receiver } from '../integrations/testing/receiver.ts'
import { ended, HOME, hookline, SHOP_PCAP, start } from './testing/hookline.ts'

describe('run', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-run-'))
  after(() => rmSync(folder, { recursive: true }))

  function script(name: string, code: string): string {
    const path = join(folder, name)
    writeFileSync(path, code)
    return path
  }

  function ticks(name: string, count: number): string {
    const d = new Dialogue().open()
    for (let i = 0; i < count; i++) d.ask('tick\n')
    const writer = new PcapWriter(1)
    const path = join(folder, name)
    writeFileSync(path, Buffer.concat([writer.header(), ...d.packets.map(packet => writer.record(packet))]))
    return path
  }

  it('prints a line of plain text for each item where standard output is no terminal', async () => {
    const table = await hookline(folder, ['run', '--pcap', SHOP_PCAP])
    const json = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    const rows = table.stdout.trimEnd().split('\n')
    const items = json.stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    assert.equal(rows.length, items.length)
    assert.doesNotMatch(table.stdout, /\x1b/)
    for (const [i, { protocol, src, dst, response }] of items.entries()) {
      assert.ok(rows[i]!.includes(` ${protocol.abbr} `), rows[i])
      assert.ok(rows[i]!.includes(`${src.ip}:${src.port} → ${dst.ip}:${dst.port} `), rows[i])
      if (protocol.name === 'http') assert.ok(rows[i]!.includes(` ${response.status} `), rows[i])
    }
  })

  it('uses the width and the colours it is told of, and NO_COLOR takes the colours away', async () => {
    for (const width of [60, 80, 100, 130, 200]) {
      const { stdout } = await coloured({ FORCE_COLOR: '3', COLUMNS: String(width) })
      assert.match(stdout, /\x1b\[48;2;50;109;230;/)
      const widest = Math.max(...stdout.split('\n').map(line => [...line.replace(/\x1b\[[\d;]*m/g, '')].length))
      assert.ok(widest <= width && widest > width * 0.7, `${widest} of ${width} columns`)
    }
    const { stdout } = await coloured({ FORCE_COLOR: '', NO_COLOR: '1' })
    assert.doesNotMatch(stdout, /\x1b/)
  })

  it('leaves bodies out with --no-bodies, and nothing else', async () => {
    const whole = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    const without = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json', '--no-bodies'])
    assert.match(whole.stdout, /Moka pot/)
    assert.doesNotMatch(without.stdout, /Moka pot/)
    assert.equal(whole.stdout.split('\n').length, without.stdout.split('\n').length)
    assert.deepEqual(counts(whole.stderr), counts(without.stderr))
  })

  it('shows exactly the protocols of --protocols, and those of --with too', async () => {
    const shown = async (...options: string[]) => {
      const { stdout } = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json', ...options])
      const names = stdout
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line).protocol.name)
      return [...new Set(names)].sort()
    }
    assert.deepEqual(await shown('--protocols', 'dns, redis'), ['dns', 'redis'])
    assert.deepEqual(await shown('--with', 'tcp-conn,udp-conn'), ['dns', 'http', 'redis', 'tcp-conn', 'udp-conn'])
  })

  it('names the protocols that there are when one is asked for that is none', async () => {
    const { stderr, code } = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--protocols', 'http,htpt'])
    assert.match(stderr, /expected protocols of .*\bdns, .*http, .*udp-conn.*, found "htpt"/)
    assert.equal(code, 2)
    const both = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--protocols', 'http', '--with', 'udp'])
    assert.match(both.stderr, /give one of them/)
    assert.equal(both.code, 2)
  })

  it('gives scripts what --env says, the last word counting', async () => {
    const path = script('env.js', '// Env.\nconsole.log(JSON.stringify(env))\n')
    const env = ['--env', 'A=1', '--env', 'B=x=y', '--env', 'A=2']
    const { stderr, code } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP, ...env])
    assert.match(stderr, /^\[Env\] \{"A":"2","B":"x=y"\}$/m)
    assert.equal(code, 0)
  })

  it('ends with 3 when a script has thrown, and names script, line and cause', async () => {
    const path = script('throws.js', '// Throws.\nfunction onItemCaptured(data) {\n  data.nothing.at.all\n}\n')
    const { stderr, code } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP])
    assert.match(stderr, /^\[Throws\] .*throws\.js:3.*undefined/m)
    assert.match(stderr, /^script "Throws\.": 1 273 items, 1 273 errors/m)
    assert.equal(code, 3)
  })

  it('shows payload as it is with --with tcp, and does not ask scripts about it', async () => {
    const path = script('ticks.js', TICKS)
    const capture = ticks('few.pcap', 10)
    const { stdout, stderr } = await hookline(folder, ['run', path, '--json', '--with', 'tcp', '--pcap', capture])
    assert.match(stderr, /^tcp shows payload as it is: dissectors of scripts are not asked about it$/m)
    assert.equal(stdout.match(/tick\\n/g)!.length, 10)
    const { bytes, headers, parsed, skipped } = counts(stderr)
    assert.deepEqual([parsed, skipped], [50, 0])
    assert.equal(bytes, headers + parsed)
  })

  it("ends quietly when nobody reads any more what a script's dissector makes: | head", async () => {
    const path = script('ticks.js', TICKS)
    const capture = ticks('many.pcap', 10_000)
    const child = start(folder, ['run', path, '--json', '--pcap', capture])
    child.stdout.once('data', () => child.stdout.destroy())
    const { stderr, code } = await ended(child)
    assert.equal(stderr.replace(CONFINED_LESS, ''), '')
    assert.equal(code, 0)
  })

  it('does not let a script tell the terminal more than colours', async () => {
    const path = script('orders.js', "// Orders.\nconsole.log('\\x1b]0;owned\\x07 \\x1b[31mred\\x1b[0m \\x1b[2J')\n")
    const { stderr } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP])
    assert.match(stderr, /^\[Orders\] ·\]0;owned· red ·\[2J$/m)
  })

  it('leaves what cannot be delivered in the spool, and names the command that delivers it', async () => {
    let down = true
    const receiver = await Receiver.open(() => (down ? { status: 503 } : OK))
    try {
      const path = script('sends.js', SENDS)
      const spool = join(folder, 'left')
      const child = start(folder, [
        'run',
        path,
        '-q',
        '--pcap',
        SHOP_PCAP,
        '--spool',
        spool,
        '--env',
        `URL=${receiver.url}`,
      ])
      const all = ended(child)
      // The wait for deliveries, ten seconds, need not be sat out.
      let told = false
      child.stderr.on('data', text => {
        if (told || !text.includes('sent')) return
        told = true
        setTimeout(() => child.kill('SIGINT'), 300)
      })
      const { stderr, code } = await all
      assert.equal(code, 130)
      assert.match(stderr, /^deliveries: 1 sent = 0 delivered \+ 1 in the spool \+ 0 dead letters$/m)
      const command = /^what waits in the spool is delivered by: \.\/hookline (.*)$/m.exec(stderr)![1]!
      assert.equal(command, `spool deliver --spool ${spool}`)
      down = false
      const later = await hookline(folder, command.split(' '))
      assert.match(later.stdout, /^1 sent = 1 delivered \+ 0 in the spool \+ 0 dead letters$/m)
      assert.equal(later.code, 0)
    } finally {
      await receiver.close()
    }
  })

  it('does not wait at its end for what others have left in the spool', async () => {
    const spool = join(folder, 'of-others')
    const before = Delivery.open(spool, { integrations: await loadIntegrations() })
    const url = 'http://127.0.0.1:1234/'
    await before.accept({ integration: 'webhook', script: '', arguments: { method: 'POST', url, body: 'old' } })
    await before.close()
    const path = script('silent.js', '// Silent.\nif (env.URL) vendor.webhook("POST", env.URL)\n')
    const { stderr, code } = await hookline(folder, ['run', path, '-q', '--pcap', SHOP_PCAP, '--spool', spool])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /^deliveries: 0 sent \+ 1 waiting before = 0 delivered \+ 1 in the spool/m)
    assert.ok(Number(/ connections in ([\d.]+) s$/m.exec(stderr)![1]) < 8, stderr)
  })

  it('on Ctrl-C ends in order: what was read is shown, and the summary adds up', async () => {
    const child = start(folder, ['run', '--pcap', '-', '--json'])
    const all = ended(child)
    child.stdin.on('error', () => {})
    // A pipe that stays open: without Ctrl-C this would never end.
    createReadStream(SHOP_PCAP).pipe(child.stdin, { end: false })
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    const { stdout, stderr, code } = await all
    assert.equal(code, 130)
    assert.ok(stdout.endsWith('}\n'))
    assert.match(stderr, /, interrupted$/m)
    const { bytes, headers, parsed, skipped } = counts(stderr)
    assert.equal(bytes, headers + parsed + skipped)
  })

  it('on Ctrl-C at a terminal, which every process of the group gets, costs no script its variables', async () => {
    const path = script('seen.js', '// Seen.\nlet seen = 0\nfunction onItemCaptured() { console.log(++seen) }\n')
    const child = start(folder, ['run', path, '-q', '--pcap', '-'], {}, { detached: true })
    const all = ended(child)
    child.stdin.on('error', () => {})
    createReadStream(SHOP_PCAP, { end: 200_000 }).pipe(child.stdin, { end: false })
    await said(child, '] ')
    process.kill(-child.pid!, 'SIGINT')
    const { stderr, code } = await all
    assert.equal(code, 130)
    assert.doesNotMatch(stderr, /sandbox process died/)
    assert.equal(stderr.match(/^\[Seen\] 1$/gm)?.length, 1)
  })

  it('on Ctrl-C leaves a slow script behind, and says how much it did not see', async () => {
    const path = script(
      'slower.js',
      "// Slower.\nfunction onItemCaptured() { const end = Date.now() + 900; while (Date.now() < end); console.log('one') }\n",
    )
    const child = start(folder, ['run', path, '-q', '--pcap', SHOP_PCAP])
    const all = ended(child)
    await said(child, '] ')
    child.kill('SIGINT')
    const { stderr, code } = await all
    assert.equal(code, 130)
    assert.match(stderr, /^script "Slower\.": .*\b1 ?\d+ items or packets not seen/m)
  })

  it('ends at once on the second Ctrl-C', async () => {
    const path = script(
      'slow.js',
      "// Slow.\nfunction onItemCaptured() { const end = Date.now() + 900; while (Date.now() < end); console.log('one') }\n",
    )
    const child = start(folder, ['run', path, '-q', '--pcap', SHOP_PCAP])
    const all = ended(child)
    await said(child, '] ')
    child.kill('SIGINT')
    setTimeout(() => child.kill('SIGINT'), 200)
    const began = performance.now()
    assert.equal((await all).code, 130)
    assert.ok(performance.now() - began < 3000)
  })

  it('says that a script has no hook, and which there are', async () => {
    const idle = script('idle.js', '// Idle.\nsetTimeout(() => {}, 1)\n')
    const { stderr, code } = await hookline(folder, ['run', idle, '-q', '--pcap', SHOP_PCAP])
    assert.match(stderr, /^\[Idle\] .*idle\.js has no hook: .*\bonItemCaptured and onPacketCaptured$/m)
    assert.equal(code, 0)
    const { stderr: other } = await hookline(folder, ['run', script('ticks.js', TICKS), '-q', '--pcap', SHOP_PCAP])
    assert.doesNotMatch(other, /has no hook/)
  })

  it('says what keeps scripts less apart than can be, where it is not run by root', function () {
    const path = script('apart.js', '// Apart.\nfunction onItemCaptured() {}\n')
    const words = ['run', path, '-q', '--pcap', SHOP_PCAP]
    const env = { ...process.env, XDG_STATE_HOME: folder }
    const run = (before: string[]) =>
      spawnSync('env', [...before, process.execPath, 'cli/main.ts', ...words], { cwd: HOME, env, encoding: 'utf8' })
    chmodSync(folder, 0o755)
    const isRoot = process.getuid?.() === 0
    const other = run(isRoot ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [])
    // Where other users may not read this checkout, they cannot run it either.
    if (/EACCES|Cannot find module|not permitted/.test(other.stderr)) return this.skip()
    assert.match(other.stderr, /^scripts are confined less than they can be: .*only root can become nobody$/m)
    assert.equal(other.status, 0)
    const { stderr } = run([])
    if (isRoot) assert.doesNotMatch(stderr, /become nobody/)
  })

  async function coloured(env: Record<string, string>) {
    const child = start(folder, ['run', '--pcap', SHOP_PCAP], env)
    child.stdin.end()
    return ended(child)
  }
})

const SENDS = `// Sends.
let sent = false
function onItemCaptured() {
  if (sent) return
  sent = true
  vendor.slack(env.URL, 'a', 'b', 'good')
  console.log('sent')
}
`

/** Items of some hundred bytes each: many times what a pipe holds. */
const TICKS = `// Ticks.
dissector({
  name: 'tick',
  probe: (at, from) => from === 'client' && at.text(5) === 'tick\\n',
  read: at => ({ kind: 'event', body: { text: at.text(5) } }),
})
`

function counts(stderr: string): { bytes: number; headers: number; parsed: number; skipped: number } {
  const line = /^([\d ]+) bytes = ([\d ]+) headers \+ ([\d ]+) parsed \+ ([\d ]+) skipped$/m.exec(stderr)
  assert.ok(line, stderr)
  const [bytes, headers, parsed, skipped] = line.slice(1).map(text => Number(text.replaceAll(' ', '')))
  return { bytes: bytes!, headers: headers!, parsed: parsed!, skipped: skipped! }
}

/** What is said first where it is not root who runs the tests. */
const CONFINED_LESS = /^scripts are confined less than .*\n/m

/** Waits until standard error has it. */
async function said(child: ChildProcessWithoutNullStreams, text: string): Promise<void> {
  for await (const [chunk] of on(child.stderr, 'data')) if (String(chunk).includes(text)) return
}
