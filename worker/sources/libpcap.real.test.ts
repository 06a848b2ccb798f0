import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { setTimeout as pause } from 'node:timers/promises'
import { Watcher } from '../testing/network.ts'
import { libpcap } from './libpcap.ts'
import { whyNotLive } from './live.ts'

describe('capture through libpcap', function () {
  this.timeout(20_000)
  before(async function () {
    const reason = await whyNotLive('lo')
    if (reason === null) return
    console.error(`skipped: ${reason}`)
    this.skip()
  })

  it('hands over what was sent, counts it, and says what it cannot do', async () => {
    const socket = createSocket('udp4')
    await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve))
    const { port } = socket.address()
    const watcher = await Watcher.open(libpcap, { interfaces: ['lo'], filter: `udp port ${port}`, own: false })
    for (let i = 0; i < 200; i++)
      await new Promise(resolve => socket.send(Buffer.from(`number ${i}`), port, '127.0.0.1', resolve))
    await pause(300)
    const { seen, passed } = await watcher.stop()
    socket.close()
    assert.deepEqual([seen, passed], [200, 200])
    assert.deepEqual(
      watcher.packets.map(({ bytes }) => bytes.toString('latin1', 42)),
      Array.from({ length: 200 }, (_, i) => `number ${i}`),
    )
    assert.equal(watcher.interfaces[0]!.linkType, 1)
    assert.match(watcher.remarks.join('; '), /Hookline itself are captured too; .*what the kernel drops is not known/)
  })

  it('says what it has no way to do', async () => {
    const options = { ...Watcher.everything, interfaces: ['lo'] }
    assert.equal(await libpcap.obstacle(options), null)
    assert.match((await libpcap.obstacle({ ...options, addresses: [] }))!, /no set of addresses/)
    assert.match((await libpcap.obstacle({ ...options, samplePercent: 10 }))!, /no sample/)
    assert.match((await libpcap.obstacle({ ...options, namespace: '/run/netns/x' }))!, /its own network namespace/)
    assert.match((await libpcap.obstacle({ ...options, interfaces: ['eth99'] }))!, /no interface is called eth99/)
  })
})
