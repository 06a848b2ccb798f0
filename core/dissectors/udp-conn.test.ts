import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import type { Packet } from '../packet.ts'
import { loadProtocols, type Protocols } from '../registry.ts'
import { including } from '../selection.ts'
import { golden, observeItems } from '../testing/golden.ts'
import { CLIENT, packetOf, SERVER, udp } from '../testing/packets.ts'
import { observer, type UdpFlow } from './udp-conn.ts'

describe('udp-conn', () => {
  golden('udp-conn')

  let protocols: Protocols
  before(async () => {
    protocols = including(await loadProtocols(), ['udp-conn'])
  })

  function told(packets: readonly Packet[]): UdpFlow[] {
    const items = observeItems(packets, protocols)
    return items.filter(({ protocol }) => protocol.name === 'udp-conn').map(({ event }) => event as UdpFlow)
  }

  const ask = (at: number) => packetOf(udp(CLIENT, SERVER, 'question'), at)
  const answer = (at: number) => packetOf(udp(SERVER, CLIENT, 'the answer'), at)

  it('adds up what went each way', () => {
    const [flow] = told([ask(0), answer(30), ask(40)])
    assert.deepEqual(
      [flow!.local_pkts, flow!.local_payload_bytes, flow!.remote_pkts, flow!.remote_payload_bytes],
      [2, 16, 1, 10],
    )
    assert.deepEqual(
      [flow!.local_bytes, flow!.connection_time_us, flow!.state, flow!.final],
      [100, 40_000, 'open', true],
    )
  })

  it('ends with a silence, and is told of every minute without one', () => {
    const chatter = Array.from({ length: 16 }, (_, i) => ask(i * 9000))
    const flows = told([...chatter, ask(300_000)])
    assert.deepEqual(
      flows.map(({ state, final, local_pkts }) => `${state} ${final} ${local_pkts}`),
      ['open false 8', 'in_progress false 15', 'closed true 16', 'open true 1'],
    )
  })

  it('is one line', () => {
    const [flow] = told([ask(0), answer(30)])
    assert.deepEqual(observer.summarize(null, null, flow!), {
      method: 'UDP',
      summary: '2 packets, 18 bytes in 0.030 s',
      status: 'open',
    })
  })
})
