import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { HARDWARE, Interfaces } from './interfaces.ts'
import { whyNoNative } from './native.ts'
import { Network, whyNoNetworks } from './testing/network.ts'

describe('interfaces', () => {
  it('are those that the kernel tells of in /sys', function () {
    if (whyNoNative() !== null) return this.skip()
    const interfaces = new Interfaces(-1)
    const found = interfaces.list()
    interfaces.close()
    // bonding_masters is a switch.
    const expected = readdirSync('/sys/class/net').filter(name => name !== 'bonding_masters')
    assert.deepEqual(found.map(({ name }) => name).sort(), expected.sort())
    assert.deepEqual(
      found.find(({ name }) => name === 'lo'),
      { index: 1, name: 'lo', hardware: HARDWARE.loopback, up: true },
    )
  })

  it('come and go in another namespace, and this is told once', function () {
    const reason = whyNoNetworks()
    if (reason !== null) {
      console.error(`skipped: ${reason}`)
      return this.skip()
    }
    const network = new Network('interfaces')
    const namespace = openSync(network.add('there'), 'r')
    const interfaces = new Interfaces(namespace)
    const names = () => interfaces.list().map(({ name }) => name)
    try {
      assert.deepEqual(names(), ['lo'])
      assert.equal(interfaces.haveChanged(), false)
      for (let i = 0; i < 40; i++) network.ip('there', 'link', 'add', `bridge${i}`, 'type', 'bridge')
      assert.equal(interfaces.haveChanged(), true)
      assert.equal(names().length, 41)
      assert.equal(interfaces.haveChanged(), false)
      network.ip('there', 'link', 'delete', 'bridge7')
      // News that come while they are listed are not lost.
      assert.ok(!names().includes('bridge7'))
      assert.equal(interfaces.haveChanged(), true)
    } finally {
      interfaces.close()
      closeSync(namespace)
      network.close()
    }
  })
})
