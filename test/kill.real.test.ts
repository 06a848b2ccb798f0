import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ended, hookline, SHOP_PCAP, start } from '../cli/testing/hookline.ts'
import { type Answer, OK, Receiver } from '../integrations/testing/receiver.ts'

const KILLS = 20
/** Where chance comes from: another seed is another test. */
const SEED = 20_261_121

/** Sends each answer of 5xx, by Slack and by webhook in turn, and prints what it sent when the call has returned. */
const SCRIPT = `// Sends.
let sent = 0
function onItemCaptured(data) {
  if (data.protocol.name !== 'http' || !data.response || data.response.status < 500) return
  const mark = env.RUN + '/' + data.id
  if (sent++ % 2) vendor.slack(env.RECEIVER + '/slack', mark, 'failed', 'danger')
  else vendor.webhook('POST', env.RECEIVER + '/hook', JSON.stringify({ mark }))
  console.log('sent ' + mark)
}
`

describe('SIGKILL while alerts are sent to a receiver that fails half the time', function () {
  this.timeout(300_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-kill-'))
  const script = join(folder, 'sends.js')
  writeFileSync(script, SCRIPT)
  after(() => rmSync(folder, { recursive: true }))

  it(`loses nothing that a script was told is sent, over ${KILLS} deaths`, async () => {
    const random = seeded(SEED)
    const delivered = new Set<string>()
    let well = false
    const receiver = await Receiver.open(({ url, body }): Answer => {
      const roll = well ? 1 : random()
      if (roll < 0.3) return { status: 503, body: 'busy' }
      if (roll < 0.4) return 'drop'
      const mark = url === '/slack' ? JSON.parse(body).attachments[0].pretext : JSON.parse(body).mark
      // One that no patience helps.
      if (mark.endsWith('-7')) return { status: 404, body: 'no such place' }
      // It has arrived, even if the sender never hears of it.
      delivered.add(mark)
      return roll < 0.5 ? 'drop' : OK
    })
    const spool = join(folder, 'spool')
    const told = new Set<string>()
    const sandboxes = new Set<number>()
    let atWork = 0
    try {
      for (let death = 0; death < KILLS; death++) {
        const before = told.size
        const env = ['--env', `RUN=${death}`, '--env', `RECEIVER=${receiver.url}`]
        const child = start(folder, ['run', script, '-q', '--pcap', SHOP_PCAP, '--spool', spool, ...env])
        const all = ended(child)
        // Most points lie while it sends, some before and some while it waits for deliveries.
        const started = once(child.stderr, 'data')
        if (random() < 0.85) await Promise.race([started, all])
        // Every fourth at once: then its script is certainly still at work.
        const later = random() * 600
        if (death % 4 !== 0) await pause(later)
        for (const sandbox of childrenOf(child.pid!)) sandboxes.add(sandbox)
        child.kill('SIGKILL')
        const { stderr } = await all
        for (const [, mark] of stderr.matchAll(/\] sent (\S+)$/gm)) told.add(mark!)
        if (told.size > before && !/^deliveries:/m.test(stderr)) atWork++
      }
      await pause(500)
      assert.deepEqual([...sandboxes].filter(isAlive), [], 'sandboxes that outlive their host')
      assert.ok(sandboxes.size > 0, 'no sandbox was seen')
      assert.ok(atWork >= KILLS / 2, `${atWork} deaths came in the middle of the work`)

      // Half of the time is for dying; with a receiver that is well again, what is left takes seconds and not minutes.
      well = true
      const { stdout, code } = await hookline(folder, ['spool', 'deliver', '--seconds', '240', '--spool', spool])
      const [, sent, arrived, waiting, dead] =
        /^([\d ]+) sent = ([\d ]+) delivered \+ ([\d ]+) in the spool \+ ([\d ]+) dead/.exec(stdout)!.map(number)
      assert.equal(sent!, arrived! + waiting! + dead!)
      assert.equal(waiting, 0, stdout)
      assert.equal(code, dead! > 0 ? 4 : 0)

      const letters = await hookline(folder, ['spool', 'dead', '--spool', spool])
      assert.equal(letters.stdout.match(/HTTP_404/g)?.length ?? 0, dead)
      const refused = [...told].filter(mark => mark.endsWith('-7'))
      assert.ok(refused.length <= dead!, `${refused.length} refused, ${dead} dead letters`)
      const vanished = [...told].filter(mark => !delivered.has(mark) && !mark.endsWith('-7'))
      assert.deepEqual(vanished, [])
      assert.ok(told.size > 100, `${told.size} were told`)
      assert.ok(arrived! >= told.size - refused.length)
    } finally {
      await receiver.close()
    }
  })
})

function childrenOf(pid: number): number[] {
  const processes = readdirSync('/proc').filter(name => /^\d+$/.test(name))
  return processes.map(Number).filter(one => statusOf(one, 'PPid') === String(pid))
}

/** null: it has ended. */
function statusOf(pid: number, field: string): string | null {
  try {
    return new RegExp(`^${field}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? null
  } catch {
    return null
  }
}

function isAlive(pid: number): boolean {
  return statusOf(pid, 'State') !== null && statusOf(pid, 'State') !== 'Z'
}

function number(text: string): number {
  return Number(text.replaceAll(' ', ''))
}

/** Mulberry32. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
