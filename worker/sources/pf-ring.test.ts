import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { pfRing } from './pf-ring.ts'

describe('capture by PF_RING', () => {
  it('says what is missing where the module is not loaded', async function () {
    if (existsSync('/proc/net/pf_ring') || process.platform !== 'linux') this.skip()
    const obstacle = await pfRing.obstacle({
      interfaces: 'any',
      namespace: null,
      filter: '',
      addresses: null,
      promiscuous: true,
      bufferBytes: 1 << 20,
      fanout: 1,
      own: true,
      samplePercent: 100,
      deduplicate: false,
    })
    assert.match(obstacle ?? '', /the kernel module pf_ring is not loaded .*\/proc\/net\/pf_ring.*modprobe pf_ring/)
  })
})
