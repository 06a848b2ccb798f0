import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HOME, hookline, SHOP_PCAP } from '../cli/testing/hookline.ts'
import { OK, Receiver } from '../integrations/testing/receiver.ts'

/** What the recording holds, as the shop's own code makes it: each failed charge fails its order and its checkout. */
const FAILED_CHARGES = 17

/** Three datagrams of a shop's metrics; made by `printf '…' | nc -u 127.0.0.1 8125`. */
const STATSD_PCAP = fileURLToPath(new URL('captures/statsd.pcap', import.meta.url))

describe('example scripts on the bundled capture', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-examples-'))
  after(() => rmSync(folder, { recursive: true }))
  const tried = new Set<string>()

  async function run(script: string, env: Record<string, string> = {}, capture = SHOP_PCAP) {
    tried.add(script)
    const words = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`])
    const ended = await hookline(folder, [
      'run',
      `${HOME}examples/scripts/${script}`,
      '-q',
      '--pcap',
      capture,
      ...words,
    ])
    assert.equal(ended.code, 0, ended.stderr)
    return ended.stderr
  }

  it('alert-on-5xx.js sends one alert for each service that fails, and says so', async () => {
    const slack = await Receiver.open(() => OK)
    try {
      const said = await run('alert-on-5xx.js', { SLACK_WEBHOOK: `${slack.url}/services/T/B/x` })
      const alerts = slack.received.map(({ body }) => JSON.parse(body).attachments[0])
      assert.deepEqual(
        alerts.map(({ pretext }) => pretext),
        ['payment.shop', 'orders.shop', 'web.shop'].map(name => `${name}: 5 answers of 5xx within 10 s`),
      )
      for (const { text, color } of alerts) {
        assert.equal(color, 'danger')
        assert.match(
          text,
          /^(\d\d:\d\d:\d\d\.\d{3} POST \/(api\/charges|api\/orders|checkout): 50[23] after \d+ ms\n?){5}$/,
        )
      }
      for (const { pretext } of alerts) assert.ok(said.includes(`[Alerts Slack on bursts of 5xx] alert: ${pretext}\n`))
      assert.match(said, /^deliveries: 3 sent = 3 delivered \+ 0 in the spool \+ 0 dead letters$/m)
    } finally {
      await slack.close()
    }
  })

  it('slowest-routes.js puts the recommendations, and the page that waits for them, first', async () => {
    const said = await run('slowest-routes.js')
    const tables = said.split(/^.*p95 +worst.*\n/m).slice(1)
    assert.equal(tables.length, 3)
    for (const table of tables) {
      const routes = table.split('\n').slice(0, 5)
      assert.match(routes[0]!, / \d{3} ms +\d{3} ms +\d+ {2}GET web\.shop\/$/)
      assert.match(routes[1]!, / \d{3} ms +\d{3} ms +\d+ {2}GET recommendations\.shop\/api\/recommendations$/)
      const times = routes.map(route => Number(/\] +(\d+) ms/.exec(route)![1]))
      assert.deepEqual(
        times,
        times.toSorted((a, b) => b - a),
      )
    }
  })

  it('dissect-statsd.js reads datagrams that no other protocol knows', async () => {
    const said = await run('dissect-statsd.js', {}, STATSD_PCAP)
    assert.match(said, /\] shop\.orders 3, shop\.checkout\.time 2, shop\.cart\.size 1$/m)
    assert.match(said, /^statsd +3 /m)
  })

  it('packet-byte-counter.js counts every packet', async () => {
    const said = await run('packet-byte-counter.js')
    const lines = [...said.matchAll(/\] (\d+) packets, (\d+) bytes on the wire$/gm)].map(([, packets]) => packets)
    assert.deepEqual(lines, ['1000', '2000', '3000'])
    assert.match(said, /^script "Counts packets and bytes\.": 3 875 packets$/m)
  })

  it('pass-fail.js fails the answers of 5xx and no others', async () => {
    const said = await run('pass-fail.js')
    const failures = [...said.matchAll(/\] (\S+): 50[23] \(/g)].map(([, path]) => path)
    const counts = Object.groupBy(failures, path => path!)
    assert.deepEqual(Object.fromEntries(Object.entries(counts).map(([path, all]) => [path, all!.length])), {
      '/api/charges': FAILED_CHARGES,
      '/api/orders': FAILED_CHARGES,
      '/checkout': FAILED_CHARGES,
    })
    assert.match(said, /^script "Passes or fails HTTP answers\.": 1 273 items, 445 passed, 63 failed$/m)
  })

  it('webhook-on-5xx.js posts each answer of 5xx once', async () => {
    const receiver = await Receiver.open(() => OK)
    try {
      await run('webhook-on-5xx.js', { WEBHOOK_URL: `${receiver.url}/hook` })
      const posts = receiver.received.map(({ body }) => JSON.parse(body))
      assert.equal(posts.length, 3 * FAILED_CHARGES)
      assert.equal(new Set(posts.map(({ id }) => id)).size, posts.length)
      for (const { status, method, server } of posts) {
        assert.ok(status === 502 || status === 503)
        assert.equal(method, 'POST')
        assert.match(server, /^10\.244\./)
      }
    } finally {
      await receiver.close()
    }
  })

  it('unresolved-names.ts lists the two names that orders asks for in vain', async () => {
    const said = await run('unresolved-names.ts')
    const names = [...said.matchAll(/\] (\S+) does not exist \(asked for (\d+) times\)/g)].map(found => found.slice(1))
    const expected = ['1', '2', '4', '8', '16'].flatMap(count => [
      ['payment-legacy.shop.svc.cluster.local', count],
      ['payment-legacy.svc.cluster.local', count],
    ])
    assert.deepEqual(names.sort(), expected.sort())
  })

  it('keep-5xx-packets.js keeps a pcap of each connection with a failure, and the failure is in it', async () => {
    const said = await run('keep-5xx-packets.js')
    const files = [...said.matchAll(/ (\S+) answered (50[23]): (\/\S+\.pcap)$/gm)].map(found => found.slice(1))
    assert.ok(files.length > 3 && new Set(files.map(([, , file]) => file)).size === files.length, said)
    for (const [path, status, file] of files.slice(0, 3)) {
      const { stdout } = await hookline(folder, ['run', '--pcap', file!, '--json'])
      const items = stdout
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line))
      assert.ok(items.some(({ request, response }) => request.path === path && response.status === Number(status)))
      assert.ok(items.every(({ stream }) => file!.endsWith(`/${stream}`)))
    }
  })

  it('has tried every example by now', () => {
    const examples = readdirSync(`${HOME}examples/scripts`).filter(name => /\.[jt]s$/.test(name))
    assert.deepEqual([...tried].sort(), examples.sort())
  })
})
