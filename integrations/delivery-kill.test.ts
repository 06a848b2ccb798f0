/** What was accepted survives SIGKILL at any moment: it is delivered, spooled or a dead letter, and the counts agree. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { ATTEMPT_TIMEOUT_MS, Delivery } from './delivery.ts'
import { loadIntegrations } from './integration.ts'
import { HURRY, hurried } from './testing/hurried-world.ts'
import { type Answer, OK, Receiver } from './testing/receiver.ts'

const KILLS = 20
/** More than a process gets accepted before it is killed late: then it is killed while it only delivers. */
const ALERTS_PER_PROCESS = 250
const SEED = 20_250_117

describe('delivery, killed', () => {
  it(`loses nothing it accepted over ${KILLS} SIGKILLs, with a receiver that fails half the time`, async function () {
    this.timeout(60_000)
    const chance = seeded(SEED)
    const directory = mkdtempSync(join(tmpdir(), 'hookline-kill-'))
    const spool = join(directory, 'spool')
    const received = new Map<number, number>()
    const receiver = await Receiver.open(({ body }) => {
      const answer = moody(chance())
      const { number } = JSON.parse(body)
      received.set(number, (received.get(number) ?? 0) + (accepts(answer) ? 1 : 0))
      return answer
    })
    const acknowledged = new Set<number>()
    let recovering = 0
    let first = 1
    for (let kill = 0; kill < KILLS; kill++) {
      const said = await killedProcess(spool, receiver.url, first, chance)
      if (!said.open) recovering++
      for (const number of said.numbers) acknowledged.add(number)
      first += ALERTS_PER_PROCESS
      cpSync(spool, join(directory, `after-${kill}`), { recursive: true })
      assertNothingVanished(join(directory, `after-${kill}`), acknowledged, received)
    }

    const delivery = Delivery.open(spool, { integrations: await loadIntegrations(), world: hurried })
    delivery.run()
    const left = await delivery.drain(20_000 * HURRY)
    const counts = delivery.counts()
    await delivery.close()
    await receiver.close()
    assertNothingVanished(spool, acknowledged, received)
    rmSync(directory, { recursive: true })

    assert.deepEqual(left, [])
    assert.ok(acknowledged.size > 200, `only ${acknowledged.size} alerts were accepted before the kills`)
    assert.ok(counts.retries > 100, `only ${counts.retries} retries: the receiver was too kind`)
    const twice = [...received.values()].filter(times => times > 1).length
    console.log(
      `      ${acknowledged.size} acknowledged, ${counts.produced} produced, ${counts.delivered} delivered (${twice} of them twice or more), ` +
        `${counts.deadLettered} dead letters, ${counts.retries} retries, ${recovering} of ${KILLS} kills before the spool was open`,
    )
    console.log(`      ${JSON.stringify(counts.byCause)}`)
  })
})

function moody(chance: number): Answer {
  if (chance < 0.5) return OK
  if (chance < 0.68) return { status: 500, body: 'out of order' }
  if (chance < 0.8) return 'drop'
  if (chance < 0.96) return { status: 429, headers: { 'Retry-After': '1' } }
  if (chance < 0.98) return { status: 404, body: 'no such hook' }
  // Slower than the sender's patience, and answered 200 all the same.
  return { status: 200, body: 'ok', afterMs: (ATTEMPT_TIMEOUT_MS / HURRY) * 1.2 }
}

function accepts(answer: Answer): boolean {
  return typeof answer === 'object' && answer.status === 200
}

/** One process, killed at a moment of chance: mostly while it accepts, sometimes while it still recovers. */
async function killedProcess(spool: string, url: string, first: number, chance: () => number) {
  const script = join(import.meta.dirname, 'testing/alerting-process.ts')
  const child = spawn(process.execPath, [script, spool, url, String(first), String(ALERTS_PER_PROCESS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  const opened = Promise.withResolvers<void>()
  child.stdout.setEncoding('utf8').on('data', text => {
    said += text
    opened.resolve()
  })
  const ended = new Promise<NodeJS.Signals | null>(resolve => child.once('close', (_, signal) => resolve(signal)))
  const early = chance() < 0.3
  if (!early) await Promise.race([opened.promise, ended])
  await pause(early ? 30 + chance() * 120 : chance() * 250)
  child.kill('SIGKILL')
  assert.equal(await ended, 'SIGKILL', 'the process ended by itself')
  const lines = said.split('\n').slice(0, -1)
  return { open: lines.includes('open'), numbers: lines.map(Number).filter(number => number > 0) }
}

/** Reads the file as the next process would find it. */
function assertNothingVanished(spool: string, acknowledged: Set<number>, received: Map<number, number>): void {
  const database = new DatabaseSync(join(spool, 'spool.db'))
  const numbers = (table: string) =>
    database
      .prepare(`select arguments from ${table}`)
      .all()
      .map(row => numberOf(row.arguments as string))
  const hasTables = database.prepare('select 1 from sqlite_schema').get() !== undefined
  const spooled = hasTables ? numbers('orders') : []
  const dead = hasTables ? numbers('dead_letters') : []
  const counts = hasTables ? database.prepare('select name, value from counts').all() : []
  database.close()

  const kept = new Set([...spooled, ...dead])
  const vanished = [...acknowledged].filter(number => !kept.has(number) && !received.get(number))
  assert.deepEqual(vanished, [])
  const count = (name: string) => (counts.find(row => row.name === name)?.value ?? 0) as number
  assert.equal(count('spooled'), spooled.length)
  assert.equal(count('deadLettered'), dead.length)
  assert.equal(count('produced'), count('delivered') + spooled.length + dead.length)
  assert.ok(count('produced') >= acknowledged.size)
}

function numberOf(json: string): number {
  return JSON.parse(JSON.parse(json).body).number
}

/** mulberry32 */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
