import assert from 'node:assert/strict'
import { readFileSync, readlinkSync } from 'node:fs'
import type { Item } from '../core/item.ts'
import { batchOf, httpItem } from './testing/items.ts'
import { SHORT, Stage } from './testing/stage.ts'

const items = (count: number, from = 0): Item[] => Array.from({ length: count }, (_, i) => httpItem(from + i))

/** Prints the number of each item that it sees. */
const WITNESS = '// Witness\nfunction onItemCaptured(data) { console.log(data.index) }'

const seenBy = (stage: Stage, title = 'Witness'): number[] => stage.printed(title).map(Number)
const all = (count: number): number[] => [...Array(count).keys()]

describe('the script host', () => {
  it('hands every item to every script, in order', async () => {
    const stage = await Stage.open({ 'a.js': WITNESS, 'b.js': WITNESS.replace('Witness', 'Other') })
    await stage.hand(items(200), 7)
    const summary = await stage.end()
    assert.deepEqual(seenBy(stage), all(200))
    assert.deepEqual(seenBy(stage, 'Other'), all(200))
    assert.equal(summary.Witness!.itemsSeen, 200)
  })

  it('has shown everything when drained', async () => {
    const stage = await Stage.open({ 'a.js': WITNESS })
    await stage.hand(items(50))
    await stage.host.drain()
    assert.deepEqual(seenBy(stage), all(50))
    await stage.end()
  })

  it('wants nothing when nobody hooks', async () => {
    const stage = await Stage.open({ 'a.js': '// Idle\nvar x = 1' })
    assert.deepEqual(stage.host.wants, { items: false, packets: false })
    assert.equal(stage.host.items(batchOf(items(3))), undefined)
    assert.equal((await stage.end()).Idle!.itemsSeen, 0)
  })

  it('tells of packets, by either name', async () => {
    const stage = await Stage.open({
      'a.js': '// Packets\nfunction onPacketCaptured(info) { console.log(JSON.stringify(info)) }',
      'b.js': '// Short\nfunction onPacket(info) { console.log(info.length) }',
      'c.js': WITNESS,
    })
    assert.deepEqual(stage.host.wants, { items: true, packets: true })
    await stage.host.packets({
      count: 2,
      timestamp: Float64Array.of(1000.5, 1001, 0),
      captureLength: Uint32Array.of(60, 96, 0),
      length: Uint32Array.of(60, 1500, 0),
      flags: Uint8Array.of(2, 1, 0),
    })
    const summary = await stage.end()
    assert.deepEqual(
      stage.printed('Packets').map(line => JSON.parse(line)),
      [
        { timestamp: 1000.5, captureLength: 60, length: 60, truncated: false, fragmented: true },
        { timestamp: 1001, captureLength: 96, length: 1500, truncated: true, fragmented: false },
      ],
    )
    assert.deepEqual(stage.printed('Short'), ['60', '1500'])
    assert.equal(summary.Packets!.packetsSeen, 2)
    assert.equal(summary.Witness!.packetsSeen, 0)
  })

  it('makes the caller wait while a script is behind, and loses nothing', async () => {
    const stage = await Stage.open(
      {
        'a.js': '// Slow\nfunction onItemCaptured(d) { for (var end = Date.now() + 2; Date.now() < end;); }',
        'b.js': WITNESS,
      },
      { ...SHORT, heldBytes: 40_000, sheafBytes: 8_000 },
    )
    let waited = 0
    for (let i = 0; i < 200; i++) {
      const wait = stage.host.items(batchOf([httpItem(i)]))
      if (wait !== undefined) {
        waited++
        await wait
      }
    }
    const summary = await stage.end()
    assert.ok(waited > 3, `waited ${waited} times`)
    assert.equal(summary.Slow!.itemsSeen, 200)
    assert.deepEqual(seenBy(stage), all(200))
  })

  it('lets scripts keep items, whole, long after the hook returned', async () => {
    const code = `// Collector
var kept = []
function onItemCaptured(data) {
  kept.push(data)
  if (data.index === 199) {
    console.log(kept.map(one => one.response.content.text).join())
    console.log(kept.map(one => JSON.stringify(one).length).join())
  }
}`
    const stage = await Stage.open(
      { 'a.js': code, 'b.js': WITNESS },
      { ...SHORT, heldBytes: 60_000, sheafBytes: 8_000 },
    )
    const sent = items(200)
    await stage.hand(sent, 5)
    await stage.end()
    assert.deepEqual(stage.errors, [])
    assert.deepEqual(stage.printed('Collector'), [
      sent.map(item => item.response!.content.text).join(),
      sent.map(item => JSON.stringify(item).length).join(),
    ])
    assert.deepEqual(seenBy(stage), all(200))
  })

  it('counts what scripts return as passed and failed', async () => {
    const code = '// Judge\nfunction onItemCaptured(d) { return d.index % 4 === 0 ? test.fail(d) : test.pass(d) }'
    const stage = await Stage.open({ 'a.js': code })
    await stage.hand(items(40))
    const { passed, failed } = (await stage.end()).Judge!
    assert.deepEqual({ passed, failed }, { passed: 30, failed: 10 })
  })

  it('waits for promises and timers when it stops', async () => {
    const code = `// Later
async function onItemCaptured(data) {
  await null
  await new Promise(done => setTimeout(done, 20))
  console.log('after', data.index)
}`
    const stage = await Stage.open({ 'a.js': code })
    await stage.hand(items(3))
    const summary = await stage.end()
    assert.deepEqual(stage.printed('Later'), ['after 0', 'after 1', 'after 2'])
    assert.equal(summary.Later!.unfinished, 0)
  })

  it('says what had not ended when it stopped', async () => {
    const stage = await Stage.open({ 'a.js': '// Never\nfunction onItemCaptured() { return new Promise(() => {}) }' })
    await stage.hand(items(2))
    assert.equal((await stage.end()).Never!.unfinished, 2)
  })

  it('drops console lines that are too many, and counts them', async () => {
    const stage = await Stage.open(
      { 'a.js': '// Chatter\nfunction onItemCaptured(d) { for (var i = 0; i < 100; i++) console.log(d.index, i) }' },
      { ...SHORT, consoleLines: 50, consoleLinesPerSecond: 1 },
    )
    await stage.hand(items(10))
    const { linesDropped } = (await stage.end()).Chatter!
    const printed = stage.printed('Chatter').length
    assert.ok(printed >= 50 && printed < 60, `${printed} lines`)
    assert.equal(printed + linesDropped, 1000)
  })
})

describe('a script may be written', () => {
  const prints = async (code: string, file = 'a.js'): Promise<string[]> => {
    const stage = await Stage.open({ [file]: `// T\n${code}` })
    await stage.hand(items(1))
    await stage.end()
    assert.deepEqual(stage.errors, [])
    return stage.lines.map(line => line.text)
  }

  it('in old JavaScript: this, octal escapes, implicit globals', async () => {
    const code =
      "this.count = 0; function onItemCaptured(d) { total = ++count; console.log('\\033[34m' + total, this.count) }"
    assert.deepEqual(await prints(code), ['\u001b[34m1 1'])
  })
  it('in new JavaScript', async () => {
    const code =
      'const onItemCaptured = ({ index, response: { status = 0 } = {} }) => console.log([index, status].at(-1), [3, 1].toSorted())'
    assert.deepEqual(await prints(code), ['200 [1,3]'])
  })
  it('as a variable', async () => {
    assert.deepEqual(await prints('var onItemCaptured = function (d) { console.log(d.index) }'), ['0'])
  })
  it('as a module that exports its hooks', async () => {
    const code =
      'const word: string = "typed"\nexport function onItemCaptured(data: { index: number }): void { console.log(word, data.index) }'
    assert.deepEqual(await prints(code, 'a.ts'), ['typed 0'])
  })
  it('with env, which is frozen', async () => {
    const code =
      "function onItemCaptured() { env.GREETING = 'x'; env.NESTED.limit = 6; console.log(env.GREETING, env.NESTED, utils.nodeName()) }"
    assert.deepEqual(await prints(code), ['hello {"limit":5} node-7'])
  })
})

describe('a script that sends', () => {
  it('waits until what it sends is safe, and others do not', async () => {
    let release = (): void => undefined
    const safe = new Promise<void>(resolve => {
      release = resolve
    })
    const stage = await Stage.open(
      {
        'a.js':
          "// Sender\nfunction onItemCaptured(d) { console.log(vendor.webhook('post', 'http://hooks.local/x', { n: d.index }, { 'X-A': 1 })) }",
        'b.js': WITNESS,
      },
      SHORT,
      async () => {
        await safe
        return { body: 'stored' }
      },
    )
    await stage.hand(items(3))
    // Longer than a call may run and longer than the watch has patience: waiting is not running.
    await until(() => seenBy(stage).length === 3)
    await new Promise(resolve => setTimeout(resolve, 1200))
    assert.deepEqual(stage.printed('Sender'), [])
    release()
    await stage.end()
    assert.deepEqual(stage.errors, [])
    assert.deepEqual(stage.printed('Sender'), ['stored', 'stored', 'stored'])
    assert.deepEqual(stage.orders[1], {
      kind: 'webhook',
      script: 'Sender',
      method: 'POST',
      url: 'http://hooks.local/x',
      body: '{"n":1}',
      headers: { 'X-A': '1' },
    })
  })

  const refusals: [call: string, says: string][] = [
    ["vendor.webhook('GET')", 'vendor.webhook: expected url (argument 2) to be a string, found nothing'],
    [
      "vendor.webhook('G T', 'http://x')",
      'vendor.webhook: expected method (argument 1) to be an HTTP method, found "G T"',
    ],
    [
      "vendor.webhook('GET', 'file:///etc/passwd')",
      'vendor.webhook: expected url (argument 2) to be an http or https address, found "file:///etc/passwd"',
    ],
    [
      "vendor.webhook('GET', 'http://x', '', { a: {} })",
      'vendor.webhook: expected headers.a (argument 4) to be a string, found {}',
    ],
    [
      "vendor.webhook('POST', 'http://x', { n: 1n })",
      'vendor.webhook: expected argument 3 to be JSON: Do not know how to serialize a BigInt',
    ],
    ["vendor.slack('http://x', 'p', 7, 'red')", 'vendor.slack: expected text (argument 3) to be a string, found 7'],
    ["vendor.s3.put('bucket', 'path')", 'vendor.s3.put is not available in this version'],
    ["jobs.schedule('t', '* * * * * *', function () {})", 'jobs.schedule is not available in this version'],
  ]
  for (const [call, says] of refusals) {
    it(`is told what is wrong with ${call}`, async () => {
      const stage = await Stage.open({
        'a.js': `// S\nfunction onItemCaptured() { try { ${call} } catch (e) { console.log(e.message) } }`,
      })
      await stage.hand(items(1))
      await stage.end()
      assert.deepEqual(stage.printed('S'), [says])
      assert.deepEqual(stage.orders, [])
    })
  }

  it('is thrown what the host could not do', async () => {
    const code = "// S\nfunction onItemCaptured() { vendor.slack('http://x', 'p', 't', 'red') }"
    const stage = await Stage.open({ 'a.js': code }, SHORT, () => Promise.reject(new Error('the spool is full')))
    await stage.hand(items(1))
    await stage.end()
    assert.match(stage.errors[0]!.message, /a\.js:2:\d+: onItemCaptured: Error: the spool is full/)
  })
})

describe('a script that fails', () => {
  const faults: { does: string; code: string; kind: string; place: string; cause: RegExp }[] = [
    {
      does: 'spins',
      code: '  while (true);',
      kind: 'time',
      place: 'bad.js:4',
      cause: /ran longer than 1000 ms/,
    },
    {
      does: 'runs a catastrophic regular expression',
      code: "  /^(a+)+$/.test('a'.repeat(50) + 'b')",
      kind: 'time',
      place: 'bad.js:4',
      cause: /ran longer than 1000 ms/,
    },
    {
      does: 'allocates without end',
      code: "  for (var all = []; ; ) all.push({ text: 'x' + all.length })",
      kind: 'memory',
      place: 'bad.js:2',
      cause: /used more than 32 MB of memory/,
    },
    {
      does: 'takes the process with it',
      code: "  'x'.repeat(5e8).split('')",
      kind: 'crash',
      place: 'bad.js:2',
      cause: /the sandbox process died: SIG|MB of memory/,
    },
  ]
  for (const { does, code, kind, place, cause } of faults) {
    it(`is set apart when it ${does}; the others miss nothing`, async () => {
      const bad = `// Bad one\nfunction onItemCaptured(data) {\n  if (data.index === 17)\n  ${code}\n}`
      const stage = await Stage.open(
        { 'bad.js': bad, 'good.js': WITNESS },
        {
          ...SHORT,
          // Enough for whoever is to be stopped by another limit, on a machine that has other things to do.
          callMs: kind === 'time' ? 1000 : 20_000,
        },
      )
      await stage.hand(items(60))
      await stage.host.drain()
      await stage.hand(items(20, 60))
      const summary = await stage.end()
      assert.deepEqual([...new Set(seenBy(stage))], all(80))
      assert.equal(summary.Witness!.itemsSeen, 80)
      assert.equal(summary.Witness!.setApart, null)
      assert.equal(stage.errors.length, 1, stage.errors.map(error => error.message).join('\n'))
      const [error] = stage.errors
      assert.equal(error!.title, 'Bad one')
      assert.ok(error!.setApart)
      assert.equal(error!.hook, 'onItemCaptured')
      assert.match(error!.cause, cause)
      assert.ok(error!.message.includes(place), error!.message)
      if (kind !== 'crash') assert.equal(error!.kind, kind)
      assert.match(summary['Bad one']!.setApart!, cause)
    })
  }

  for (const [does, code, cause] of [
    ['throws', "throw new TypeError('no ' + typeof data)", /TypeError: no object/],
    ['recurses', '(function down() { down() })()', /RangeError: Maximum call stack/],
    ['throws null', 'throw null', /null/],
    ['throws what cannot be shown', 'throw { toString() { throw 1 }, toJSON() { throw 2 } }', /cannot be shown/],
    ['rejects', "return Promise.reject(new Error('later'))", /Error: later/],
  ] as const) {
    it(`goes on when it ${does}, and is reported once and counted`, async () => {
      const stage = await Stage.open({
        'bad.js': `// Bad one\nfunction onItemCaptured(data) {\n  ${code}\n}`,
        'good.js': WITNESS,
      })
      await stage.hand(items(20))
      const summary = await stage.end()
      assert.deepEqual(seenBy(stage), all(20))
      assert.equal(stage.errors.length, 1)
      assert.match(stage.errors[0]!.cause, cause)
      if (/Error/.test(cause.source)) assert.equal(stage.errors[0]!.line, 3)
      assert.equal(stage.errors[0]!.setApart, false)
      assert.equal(summary['Bad one']!.errors, 20)
      assert.equal(summary['Bad one']!.itemsSeen, 20)
    })
  }

  for (const [does, code, cause] of [
    ['recurses', '(function down() { down() })()', /RangeError: Maximum call stack/],
    ['allocates', 'for (var all = []; ; ) all.push(new ArrayBuffer(1e7))', /RangeError: Array buffer allocation/],
  ] as const) {
    it(`is set apart when it ${does} without end at every call; the others miss nothing`, async () => {
      const stage = await Stage.open({
        'bad.js': `// Bad one\nfunction onItemCaptured(data) {\n  if (data.index !== 5) ${code}\n}`,
        'good.js': WITNESS,
      })
      await stage.hand(items(100))
      const summary = await stage.end()
      assert.deepEqual(seenBy(stage), all(100))
      assert.match(summary['Bad one']!.setApart!, /30 calls in a row ended with/)
      assert.match(summary['Bad one']!.setApart!, cause)
      // The calls before the one that went well do not count.
      assert.equal(summary['Bad one']!.errors, 5 + 30 + 1)
    })
  }

  it('is set apart when its top level throws', async () => {
    const stage = await Stage.open({
      'bad.js': "// Bad\nfunction onItemCaptured() {}\nthrow new Error('not here')",
      'good.js': WITNESS,
    })
    await stage.hand(items(5))
    await stage.end()
    assert.match(stage.errors[0]!.message, /^Bad: bad\.js:3:7: load: Error: not here; the script is set apart$/)
    assert.deepEqual(seenBy(stage), all(5))
  })

  it('is found among several that were inside when the process died', async () => {
    const busy = (title: string): string =>
      `// ${title}\nfunction onItemCaptured(d) { for (var end = Date.now() + 1; Date.now() < end;); console.log(d.index) }`
    const killer = '// Killer\nfunction onItemCaptured(d) { if (d.index === 30) "x".repeat(5e8).split("") }'
    const stage = await Stage.open({ 'a.js': busy('A'), 'b.js': killer, 'c.js': busy('C') })
    await stage.hand(items(100))
    const summary = await stage.end()
    assert.deepEqual(
      stage.errors.map(error => error.title),
      ['Killer'],
    )
    for (const title of ['A', 'C']) {
      assert.deepEqual(
        [...new Set(seenBy(stage, title))].sort((a, b) => a - b),
        all(100),
      )
      assert.equal(summary[title]!.itemsSeen, 100)
      const told = stage.lines.filter(line => line.script === title && /global variables begin anew/.test(line.text))
      assert.ok(told.length > 0)
      for (const { text } of told) assert.match(text, /because of b\.js|not known whose fault/)
    }
  })

  it('may be several at once', async () => {
    const spin = '// Spin\nfunction onItemCaptured() { while (true); }'
    const scripts = Object.fromEntries(all(6).map(n => [`s${n}.js`, spin.replace('Spin', `Spin ${n}`)]))
    const stage = await Stage.open({ ...scripts, 'w.js': WITNESS })
    await stage.hand(items(30))
    const summary = await stage.end()
    assert.deepEqual([...new Set(seenBy(stage))], all(30))
    for (const n of all(6)) assert.match(summary[`Spin ${n}`]!.setApart!, /ran longer/)
  })
})

describe('the sandbox process', () => {
  it('has no rights, no environment, no network and no files', async function () {
    const stage = await Stage.open({ 'a.js': WITNESS })
    const { pid, confinement } = stage.host
    if (process.getuid!() !== 0) {
      await stage.end()
      assert.ok(confinement.missing.length > 0)
      this.skip()
    }
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    assert.match(status, /^CapPrm:\t0+$/m)
    assert.match(status, /^CapEff:\t0+$/m)
    assert.match(status, /^CapInh:\t0+$/m)
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Groups:\t ?$/m)
    assert.match(status, /^NoNewPrivs:\t1$/m)
    assert.equal(readFileSync(`/proc/${pid}/environ`, 'utf8'), '')
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/')
    const interfaces = readFileSync(`/proc/${pid}/net/dev`, 'utf8').split('\n').slice(2).filter(Boolean)
    assert.ok(
      interfaces.every(line => /^\s*(lo|sit0|tunl0|ip6tnl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6gre0):/.test(line)),
      interfaces.join(),
    )
    assert.doesNotMatch(readFileSync(`/proc/${pid}/net/route`, 'utf8'), /\n\w/)
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max open files\s+0\s+0\s/m)
    assert.deepEqual(confinement.missing, [])
    await stage.end()
  })

  it('ends when the host stops', async () => {
    const stage = await Stage.open({ 'a.js': WITNESS })
    const { pid } = stage.host
    await stage.end()
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  })

  it('is started again when somebody kills it, and nothing is missed', async () => {
    const stage = await Stage.open({ 'a.js': WITNESS })
    await stage.hand(items(20))
    // Whoever is inside when the process dies is blamed for it.
    await stage.host.drain()
    await stage.hand(items(20, 20))
    process.kill(stage.host.pid, 'SIGKILL')
    await stage.hand(items(20, 40))
    const summary = await stage.end()
    assert.deepEqual([...new Set(seenBy(stage))], all(60))
    assert.equal(summary.Witness!.itemsSeen, 60)
    assert.deepEqual(stage.errors, [])
  })
})

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise(resolve => setTimeout(resolve, 5))
}
