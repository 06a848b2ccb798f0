import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../core/fault.ts'
import type { CaptureCounters, CaptureOptions } from './capture.ts'
import { openReader } from './reader.ts'
import { type Recorder, type RecorderSettings, startRecorder } from './recorder.ts'
import { chooseSource } from './sources/choice.ts'
import { SERVER_ADDRESS, TwoHosts, whyNoHosts } from './testing/two-hosts.ts'

describe('a recorder', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-recorder-'))
  let hosts: TwoHosts
  let capture: CaptureOptions
  let rings = 0
  before(async function () {
    let reason = whyNoHosts()
    if (reason === null) {
      hosts = new TwoHosts('rect')
      capture = {
        interfaces: ['to-server'],
        namespace: `/run/netns/${hosts.client}`,
        filter: 'tcp',
        addresses: null,
        promiscuous: true,
        bufferBytes: 16 << 20,
        fanout: 1,
        own: false,
        samplePercent: 100,
        deduplicate: true,
      }
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

  it('counts every packet, also while its targets change', async () => {
    const recorder = await record({ capture: { ...capture, addresses: ['192.0.2.1'] } })
    await hosts.ask(['/200/nobody'])
    await counted(recorder, ({ untargeted }) => untargeted >= 8)
    recorder.retarget([SERVER_ADDRESS])
    await pause(300)
    await hosts.ask(['/200/target'])
    await counted(recorder, ({ passed }) => passed >= 8)
    recorder.retarget(['192.0.2.1', '192.0.2.2'])
    await pause(300)
    await hosts.ask(['/200/nobody'])
    await recorder.stop()
    const { seen, passed, dropped, overrun, filtered, untargeted } = countersOf(recorder)
    assert.equal(seen, passed + dropped + overrun + filtered + untargeted)
    assert.equal(await packetsIn(recorder.directory), passed)
    assert.equal(recorder.position, passed)
    assert.ok(passed >= 8 && untargeted >= 16, `${passed} ${untargeted}`)
    assert.equal(recorder.fault, null)
  })

  it('has little memory of its own, and goes before who reads', async () => {
    const recorder = await record({})
    await hosts.ask(['/200/one'])
    const status = readFileSync(`/proc/${recorder.pid}/status`, 'utf8')
    const kibibytes = Number(/^RssAnon:\s+(\d+) kB/m.exec(status)![1])
    assert.ok(kibibytes < 64 << 10, `${kibibytes} KiB`)
    const [, nice] = /^\d+ \(.*\) (?:\S+ ){16}(\S+) /.exec(readFileSync(`/proc/${recorder.pid}/stat`, 'utf8'))!
    assert.equal(Number(nice), -10)
    await recorder.stop()
  })

  it('records nothing when nobody can read it', async () => {
    const prepared = () => {
      throw new Fault('NO_READER', 'there is no room for a reader')
    }
    await assert.rejects(record({ prepared }), { code: 'NO_READER' })
  })

  it('says what keeps it from recording', async () => {
    await assert.rejects(record({ directory: '/dev/null/ring' }), { name: 'Fault', message: /\/dev\/null\/ring/ })
    await assert.rejects(record({ capture: { ...capture, filter: 'port of call' } }), {
      name: 'Fault',
      message: /filter/,
    })
  })

  async function record(some: Partial<RecorderSettings>): Promise<Recorder> {
    return startRecorder({
      wanted: 'best',
      capture,
      directory: join(folder, `ring-${rings++}`),
      limits: { bytes: 64 << 20, age: 3600, pinnedBytes: 0 },
      remark() {},
      ...some,
    })
  }
})

async function counted(recorder: Recorder, enough: (counters: CaptureCounters) => boolean): Promise<void> {
  for (let i = 0; i < 50; i++) {
    recorder.count()
    await recorder.news(100)
    if ([...recorder.interfaces.values()].some(({ counters }) => counters !== null && enough(counters))) return
  }
  assert.fail(JSON.stringify([...recorder.interfaces.values()]))
}

function countersOf({ interfaces }: Recorder): CaptureCounters {
  const [only] = interfaces.values()
  return only!.counters!
}

async function packetsIn(directory: string): Promise<number> {
  const reader = openReader(directory, {})
  let count = 0
  while (await reader.load()) while (reader.next() !== null) count++
  reader.close()
  return count
}
