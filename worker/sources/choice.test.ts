import assert from 'node:assert/strict'
import type { CaptureName, CaptureSource } from '../capture.ts'
import { Watcher } from '../testing/network.ts'
import { chooseSource, SOURCES } from './choice.ts'

describe('the choice of a way to capture', () => {
  /** What it says when it is asked; `reserved:` works, and should not be taken. */
  function source(name: CaptureName, says: string | null): CaptureSource {
    const reserved = says?.startsWith('reserved:') ?? false
    return {
      name,
      title: name,
      obstacle: async () => (reserved ? null : says),
      reservation: async () => (reserved ? says : null),
      open: () => Promise.reject(new Error('nothing is opened here')),
    }
  }

  const CASES: readonly [says: (string | null)[], chosen: CaptureName, passedOver: CaptureName[]][] = [
    [[null, null, null, null, null], 'ebpf', []],
    [['too old', null, null, null, null], 'pf_ring', ['ebpf']],
    [['too old', 'no module', null, null, null], 'af_packet', ['ebpf', 'pf_ring']],
    [['reserved: sees less', 'no module', null, null, null], 'af_packet', ['ebpf', 'pf_ring']],
    [['reserved: sees less', 'no', 'no', null, 'no'], 'ebpf', ['pf_ring', 'af_packet', 'libpcap']],
    [['no', 'no', 'no', null, null], 'libpcap', ['ebpf', 'pf_ring', 'af_packet']],
  ]
  const NAMES = ['ebpf', 'pf_ring', 'af_packet', 'af_xdp', 'libpcap'] as const

  for (const [says, chosen, passedOver] of CASES)
    it(`is ${chosen} where they say ${says.map(said => said ?? 'yes').join(', ')}`, async () => {
      const sources = NAMES.map((name, i) => source(name, says[i]!))
      const choice = await chooseSource('best', Watcher.everything, sources)
      assert.equal(choice.source.name, chosen)
      assert.deepEqual(
        choice.passedOver.map(({ name }) => name),
        passedOver,
      )
      assert.ok(choice.passedOver.every(({ why }) => why !== ''))
    })

  it('is the one that was asked for, also if another should be preferred', async () => {
    const sources = NAMES.map(name => source(name, 'reserved: sees less'))
    assert.equal((await chooseSource('af_xdp', Watcher.everything, sources)).source.name, 'af_xdp')
  })

  it('says why nothing works', async () => {
    const sources = NAMES.map(name => source(name, `${name} is too old`))
    await assert.rejects(chooseSource('af_packet', Watcher.everything, sources), {
      code: 'CAPTURE_IMPOSSIBLE',
      message: 'af_packet cannot capture here: af_packet is too old',
    })
    await assert.rejects(chooseSource('best', Watcher.everything, sources), {
      code: 'CAPTURE_IMPOSSIBLE',
      message: /^nothing can capture here: ebpf: ebpf is too old; pf_ring: .*; libpcap: libpcap is too old \(/,
    })
  })

  it('is one that can share an interface among so many sockets', async () => {
    const sources = NAMES.map(name => ({ ...source(name, null), ...(name === 'af_packet' && { mostFanout: 8 }) }))
    const choice = (wanted: 'best' | CaptureName, fanout: number) =>
      chooseSource(wanted, { ...Watcher.everything, fanout }, sources)
    assert.equal((await choice('best', 8)).source.name, 'af_packet')
    assert.match((await choice('best', 8)).passedOver[0]!.why, /cannot be shared among 8 sockets/)
    await assert.rejects(choice('ebpf', 2), { code: 'CAPTURE_IMPOSSIBLE', message: /shared among 2 sockets/ })
    await assert.rejects(choice('af_packet', 9), { code: 'CAPTURE_IMPOSSIBLE', message: /at most 8 .* 9 were asked/ })
  })

  it('takes packets away only when it is asked to', async () => {
    const sources = NAMES.map(name => source(name, name === 'af_xdp' ? null : 'no'))
    await assert.rejects(chooseSource('best', Watcher.everything, sources), { code: 'CAPTURE_IMPOSSIBLE' })
  })

  it('asks them in the order that is promised', () => {
    const order = SOURCES.map(({ name }) => NAMES.indexOf(name as (typeof NAMES)[number]))
    assert.deepEqual(order, [...order].sort())
  })
})
