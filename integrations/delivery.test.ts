import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { Fault } from '../core/fault.ts'
import {
  ATTEMPT_TIMEOUT_MS,
  ATTEMPTS_IN_LINE,
  Delivery,
  FIRST_PAUSE_MS,
  LONGEST_PAUSE_ASKED_MS,
  MAX_AGE_MS,
  MAX_ATTEMPTS,
} from './delivery.ts'
import { type AcceptedOrder, type Delivered, type Integration, type Order, Refused, Retryable } from './integration.ts'
import { SPOOL_LIMITS, type SpoolLimits } from './spool.ts'
import { Clock } from './testing/clock.ts'

const ACKNOWLEDGED: Delivered = { status: 200, body: 'ok', truncated: false }
const NOON = Date.UTC(2025, 0, 17, 12)

/** Another side that answers as the test says and remembers what arrived. */
class Sink implements Integration {
  readonly name = 'sink'
  readonly title = 'Sink'
  readonly attempts: string[] = []
  readonly arrived: string[] = []
  readonly ids: string[] = []
  answer: (order: AcceptedOrder, signal: AbortSignal) => Promise<Delivered> = async () => ACKNOWLEDGED

  check(order: Order): void {
    if (typeof order.arguments.say !== 'string') throw new Fault('SINK_SAY', 'say must be text')
  }

  destination(order: Order): string {
    return order.arguments.to ?? 'somewhere'
  }

  async deliver(order: AcceptedOrder, signal: AbortSignal): Promise<Delivered> {
    this.attempts.push(order.arguments.say)
    this.ids.push(order.id)
    const reply = await this.answer(order, signal)
    this.arrived.push(order.arguments.say)
    return reply
  }
}

function say(text: string, to = 'somewhere'): Order {
  return { integration: 'sink', script: 'A script', arguments: { say: text, to } }
}

/** Lets everything happen that needs no time to pass. */
async function settle(delivery: Delivery): Promise<void> {
  const stands = () => JSON.stringify(delivery.counts())
  for (let quiet = 0, before = ''; quiet < 20; ) {
    await turn()
    const now = stands()
    quiet = now === before ? quiet + 1 : 0
    before = now
  }
}

describe('delivery', () => {
  let directory: string
  let sink: Sink
  let clock: Clock
  let opened: Delivery[]

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hookline-delivery-'))
    sink = new Sink()
    clock = new Clock(NOON)
    opened = []
  })

  afterEach(async () => {
    for (const delivery of opened) {
      if (!closed.has(delivery)) assertCountsAgree(delivery)
      await delivery.close()
    }
    rmSync(directory, { recursive: true })
  })

  const closed = new WeakSet<Delivery>()

  function open(limits: Partial<SpoolLimits> = {}): Delivery {
    const delivery = Delivery.open(join(directory, 'spool'), {
      integrations: new Map([['sink', sink]]),
      world: clock,
      limits: { ...SPOOL_LIMITS, ...limits },
    })
    opened.push(delivery)
    return delivery
  }

  async function close(delivery: Delivery): Promise<void> {
    assertCountsAgree(delivery)
    closed.add(delivery)
    await delivery.close()
  }

  function assertCountsAgree(delivery: Delivery): void {
    const { produced, delivered, spooled, deadLettered, dropped } = delivery.counts()
    assert.equal(produced, delivered + spooled + deadLettered)
    assert.equal(delivery.deadLetters().length, deadLettered - dropped)
  }

  it('delivers what it accepted, once, and tells who waits what the other side answered', async () => {
    const delivery = open()
    delivery.run()
    const { id } = await delivery.accept(say('hello'))
    assert.deepEqual(await delivery.settled(id), { kind: 'delivered', reply: ACKNOWLEDGED })
    assert.deepEqual(await delivery.drain(0), [])
    assert.deepEqual(sink.arrived, ['hello'])
    assert.equal(delivery.counts().delivered, 1)
    assert.deepEqual(await delivery.settled(id), { kind: 'delivered earlier' })
  })

  it('keeps the order of one destination, over failures', async () => {
    const delivery = open()
    const texts = Array.from({ length: 50 }, (_, number) => `number ${number}`)
    await Promise.all(texts.map(text => delivery.accept(say(text))))
    let failures = 0
    sink.answer = async () => {
      if (failures++ % 3 === 0) throw new Retryable('http-503', 'busy')
      return ACKNOWLEDGED
    }
    delivery.run()
    while (delivery.counts().spooled > 0) {
      await settle(delivery)
      clock.advance(FIRST_PAUSE_MS)
    }
    assert.deepEqual(sink.arrived, texts)
  })

  it('lets no destination wait for another', async () => {
    const delivery = open()
    sink.answer = async ({ arguments: { to } }) => {
      if (to === 'down') throw new Retryable('http-503', 'busy')
      return ACKNOWLEDGED
    }
    delivery.run()
    await delivery.accept(say('stuck', 'down'))
    await delivery.accept(say('free', 'up'))
    await settle(delivery)
    assert.deepEqual(sink.arrived, ['free'])
  })

  it('doubles its pauses, and begins again after a success', async () => {
    const delivery = open()
    const times: number[] = []
    sink.answer = async () => {
      times.push(clock.now() - NOON)
      if (times.length !== 4 && times.length !== 6) throw new Retryable('ECONNREFUSED', 'nobody there')
      return ACKNOWLEDGED
    }
    delivery.run()
    await delivery.accept(say('hello'))
    await delivery.accept(say('again'))
    for (let i = 0; i < 10; i++) {
      await settle(delivery)
      clock.advance(FIRST_PAUSE_MS)
    }
    assert.deepEqual(times, [0, 500, 1500, 3500, 3500, 4000])
  })

  it('asks a receiver that has just answered well again soon, and keeps the order for as long as ever', async () => {
    const delivery = open()
    const times: number[] = []
    sink.answer = async () => {
      times.push(clock.now() - NOON)
      if (times.length > 1 && times.length < 9) throw new Retryable('http-503', 'busy')
      return ACKNOWLEDGED
    }
    for (const text of ['first', 'second', 'third']) await delivery.accept(say(text))
    delivery.run()
    for (let ms = 0; ms < 4300; ms++) {
      if (ms % 31 < 2) await settle(delivery)
      clock.advance(1)
    }
    await settle(delivery)
    const pauses = times.slice(1, 9).map((time, i, all) => (i === 0 ? time : time - all[i - 1]!))
    const expected = [0, 31, 63, 125, 250, 500, 1000, 2000]
    assert.ok(
      expected.every((pause, i) => pauses[i]! >= pause && pauses[i]! <= pause + 31),
      `${pauses}`,
    )
    assert.deepEqual(sink.arrived, ['first', 'second', 'third'])
  })

  it('waits as long as the other side asks, but not for ever', async () => {
    const delivery = open()
    const asked = [7_000, 365 * MAX_AGE_MS]
    sink.answer = async () => {
      const after = asked.shift()
      if (after !== undefined) throw new Retryable('http-429', 'slow down', after)
      return ACKNOWLEDGED
    }
    delivery.run()
    await delivery.accept(say('hello'))
    await settle(delivery)
    clock.advance(6_999)
    await settle(delivery)
    assert.equal(sink.attempts.length, 1)
    clock.advance(1)
    await settle(delivery)
    assert.equal(sink.attempts.length, 2)
    clock.advance(LONGEST_PAUSE_ASKED_MS)
    await settle(delivery)
    assert.deepEqual(sink.arrived, ['hello'])
  })

  it('lays aside at once what the other side refuses, with its words', async () => {
    const delivery = open()
    sink.answer = async () => {
      throw new Refused('HTTP_404', 'the receiver answered 404: no such hook', 404, 'no such hook')
    }
    delivery.run()
    const { id } = await delivery.accept(say('hello'))
    const outcome = {
      code: 'HTTP_404',
      reason: 'the receiver answered 404: no such hook',
      status: 404,
      excerpt: 'no such hook',
    }
    assert.deepEqual(await delivery.settled(id), { kind: 'dead-lettered', ...outcome })
    const [letter] = delivery.deadLetters()
    assert.deepEqual({ ...letter }, { ...letter, ...outcome, id, attempts: 1, script: 'A script', died: NOON })
    assert.deepEqual(delivery.deadLetter(id).arguments, JSON.stringify(say('hello').arguments))
    assert.deepEqual(delivery.counts().byCause, { 'dead HTTP_404': 1 })
  })

  it('lets the others pass an order that fails again and again, and gives it up in the end', async () => {
    const delivery = open()
    sink.answer = async ({ arguments: { say } }) => {
      if (say === 'poison') throw new Retryable('http-500', 'the receiver answered 500')
      return ACKNOWLEDGED
    }
    delivery.run()
    const { id } = await delivery.accept(say('poison'))
    await delivery.accept(say('behind it'))
    for (let attempt = 1; attempt < ATTEMPTS_IN_LINE; attempt++) {
      await settle(delivery)
      assert.deepEqual(sink.arrived, [])
      clock.advance(FIRST_PAUSE_MS * 2 ** (attempt - 1))
    }
    await settle(delivery)
    clock.advance(FIRST_PAUSE_MS * 2 ** (ATTEMPTS_IN_LINE - 1))
    await settle(delivery)
    assert.deepEqual(sink.arrived, ['behind it'])
    while (delivery.counts().spooled > 0) {
      clock.advance(10 * 60 * 1000)
      await settle(delivery)
    }
    assert.equal(delivery.deadLetter(id).code, 'ATTEMPTS_EXHAUSTED')
    assert.equal(delivery.deadLetter(id).attempts, MAX_ATTEMPTS)
  })

  it('gives up what is too old, but not untried', async () => {
    const delivery = open()
    sink.answer = async () => {
      throw new Retryable('ECONNREFUSED', 'nobody there')
    }
    const { id } = await delivery.accept(say('old'))
    clock.advance(MAX_AGE_MS)
    delivery.run()
    await settle(delivery)
    assert.equal(delivery.deadLetter(id).code, 'TOO_OLD')
    assert.deepEqual(sink.attempts, ['old'])
  })

  it('gives a receiver that says nothing so long, and no longer', async () => {
    const delivery = open()
    sink.answer = () => new Promise(() => {})
    delivery.run()
    const { id } = await delivery.accept(say('hello'))
    const settled = delivery.settled(id)
    await settle(delivery)
    clock.advance(ATTEMPT_TIMEOUT_MS)
    assert.equal((await settled).kind, 'retrying')
    assert.deepEqual(delivery.counts().byCause, { 'retried timeout': 1 })
  })

  it('keeps what an integration fails at by its own fault', async () => {
    const delivery = open()
    sink.answer = async () => {
      throw new TypeError('undefined is not a function')
    }
    delivery.run()
    const { id } = await delivery.accept(say('hello'))
    await delivery.settled(id)
    assert.equal(delivery.deadLetter(id).code, 'INTEGRATION_FAILED')
    assert.match(delivery.deadLetter(id).reason, /undefined is not a function[\s\S]*delivery\.test\.ts/)
  })

  it('goes on after a restart where it stopped, with the same ids', async () => {
    const before = open()
    sink.answer = async () => {
      throw new Retryable('http-503', 'busy', 60_000)
    }
    before.run()
    await before.accept(say('first'))
    await before.accept(say('second'))
    await settle(before)
    await close(before)

    const after = open()
    sink.answer = async () => ACKNOWLEDGED
    after.run()
    await settle(after)
    assert.deepEqual(sink.arrived, [], 'what the other side asked for holds over a restart')
    clock.advance(60_000)
    await settle(after)
    assert.deepEqual(sink.arrived, ['first', 'second'])
    assert.equal(sink.ids[0], sink.ids[1])
  })

  it('breaks off at close, and keeps what was under way', async () => {
    const before = open()
    let stopped = false
    sink.answer = (_, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          stopped = true
          reject(signal.reason)
        })
      })
    before.run()
    const { id } = await before.accept(say('hello'))
    const settled = before.settled(id)
    await settle(before)
    await before.close()
    closed.add(before)
    assert.ok(stopped)
    assert.deepEqual(await settled, { kind: 'spooled' })
    await assert.rejects(before.accept(say('late')), { code: 'DELIVERY_CLOSED' })

    const after = open()
    assert.equal(after.counts().spooled, 1)
    assert.equal(after.counts().retries, 0)
  })

  it('says what is left when the time to drain is over', async () => {
    const delivery = open()
    sink.answer = async () => {
      throw new Retryable('http-503', 'the receiver answered 503')
    }
    delivery.run()
    await delivery.accept(say('one', 'down'))
    await delivery.accept(say('two', 'down'))
    const drained = delivery.drain(200)
    await settle(delivery)
    clock.advance(200)
    const [left] = await drained
    const cause = 'the receiver answered 503'
    assert.deepEqual({ ...left }, { destination: 'sink down', spooled: 2, attempts: 1, cause })
  })

  it('waits for its own orders alone when asked, not for what lay there before', async () => {
    const before = open()
    await before.accept(say('old', 'down'))
    await close(before)
    const after = open()
    sink.answer = async ({ arguments: { to } }) => {
      if (to === 'down') throw new Retryable('http-503', 'the receiver answered 503')
      return ACKNOWLEDGED
    }
    after.run()
    assert.equal((await after.drain(1000, { own: true })).length, 1)
    await after.accept(say('new', 'up'))
    const [left] = await after.drain(1000, { own: true })
    assert.equal(left!.destination, 'sink down')
    assert.deepEqual(sink.arrived, ['new'])
  })

  it('waits on while orders leave the spool, when asked', async () => {
    const delivery = open()
    for (let number = 0; number < 4; number++) await delivery.accept(say(`${number}`))
    const answers: (() => void)[] = []
    sink.answer = () => new Promise(resolve => answers.push(() => resolve(ACKNOWLEDGED)))
    delivery.run()
    let over = false
    const drained = delivery.drain(1000, { whileAnythingMoves: true }).finally(() => {
      over = true
    })
    for (let number = 0; number < 3; number++) {
      await settle(delivery)
      clock.advance(900)
      answers.shift()!()
    }
    await settle(delivery)
    clock.advance(999)
    await settle(delivery)
    assert.equal(over, false)
    clock.advance(1)
    assert.equal((await drained)[0]!.spooled, 1)
  })

  it('delivers dead letters again when asked, and forgets them when asked', async () => {
    const delivery = open()
    sink.answer = async () => {
      throw new Refused('HTTP_410', 'gone', 410, '')
    }
    delivery.run()
    const again = await delivery.accept(say('again'))
    const never = await delivery.accept(say('never'))
    await settle(delivery)
    sink.answer = async () => ACKNOWLEDGED
    await Promise.all([delivery.redeliver(again.id), delivery.redeliver(again.id), delivery.accept(say('beside'))])
    await delivery.drop(never.id)
    await settle(delivery)
    assert.deepEqual(sink.arrived, ['again', 'beside'])
    assert.deepEqual(delivery.deadLetters(), [])
    const { produced, delivered, deadLettered, dropped } = delivery.counts()
    assert.deepEqual(
      { produced, delivered, deadLettered, dropped },
      { produced: 3, delivered: 2, deadLettered: 1, dropped: 1 },
    )
    await assert.rejects(delivery.redeliver(never.id), { code: 'DEAD_LETTER_UNKNOWN' })
  })

  it('refuses wrong orders before it promises anything, and counts them', async () => {
    const delivery = open({ orderBytes: 1000 })
    const wrong: [Order, string][] = [
      [{ integration: 'sink', script: '', arguments: {} }, 'SINK_SAY'],
      [{ integration: 'sunk', script: '', arguments: {} }, 'INTEGRATION_UNKNOWN'],
      [say('x'.repeat(1000)), 'ORDER_TOO_LARGE'],
    ]
    for (const [order, code] of wrong) await assert.rejects(delivery.accept(order), { code })
    await settle(delivery)
    const { produced, refused, byCause } = delivery.counts()
    assert.deepEqual({ produced, refused }, { produced: 0, refused: 3 })
    assert.deepEqual(byCause, Object.fromEntries(wrong.map(([, code]) => [`refused ${code}`, 1])))
  })

  it('says that it is full, by count and by bytes, and takes again when there is room', async () => {
    for (const limits of [{ orders: 3 }, { bytes: 150 }]) {
      const delivery = open(limits)
      const results = await Promise.allSettled(
        Array.from({ length: 5 }, (_, number) => delivery.accept(say(`${number}`))),
      )
      assert.deepEqual(
        results.map(result => (result.status === 'rejected' ? result.reason.code : 'accepted')),
        ['accepted', 'accepted', 'accepted', 'SPOOL_FULL', 'SPOOL_FULL'],
      )
      delivery.run()
      await settle(delivery)
      await delivery.accept(say('room again'))
      await settle(delivery)
      assert.equal(delivery.counts().spooled, 0)
      assert.equal(delivery.counts().byCause['refused SPOOL_FULL']! % 2, 0)
      await close(delivery)
    }
  })

  it('keeps the youngest dead letters, and counts those that went', async () => {
    const delivery = open({ deadLetters: 2 })
    sink.answer = async () => {
      throw new Refused('HTTP_404', 'no', 404, '')
    }
    delivery.run()
    const ids: string[] = []
    for (const text of ['a', 'b', 'c', 'd']) ids.push((await delivery.accept(say(text))).id)
    await settle(delivery)
    assert.deepEqual(
      delivery.deadLetters().map(letter => letter.id),
      [ids[3], ids[2]],
    )
    assert.equal(delivery.counts().deadLettered, 4)
    assert.equal(delivery.counts().dropped, 2)
  })

  it('gives one directory to one process', async () => {
    const delivery = open()
    assert.throws(() => open(), { code: 'SPOOL_IN_USE', message: new RegExp(`process ${process.pid}$`) })
    await close(delivery)
    open()
  })

  it('takes over from a process that died, and only then', async () => {
    const path = join(directory, 'spool')
    const script = `
      const { Delivery } = await import(${JSON.stringify(join(import.meta.dirname, 'delivery.ts'))})
      Delivery.open(${JSON.stringify(path)}, { integrations: new Map() })
      console.log('open')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    assert.throws(() => open(), { code: 'SPOOL_IN_USE', message: new RegExp(`process ${child.pid}$`) })
    child.kill('SIGKILL')
    await once(child, 'close')
    open()
  })

  it('lets nobody else read the spool: URLs of webhooks are passwords', async () => {
    await open().accept(say('hello'))
    for (const [file, mode] of [
      ['.', 0o700],
      ['spool.db', 0o600],
      ['spool.db-wal', 0o600],
    ] as const) {
      assert.equal(statSync(join(directory, 'spool', file)).mode & 0o777, mode, file)
    }
  })
})
