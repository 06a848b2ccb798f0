/**
 * Orders a second of one core through accept (on disk), deliver (to a sink that takes all at once) and record.
 * node bench/delivery.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Delivery } from '../integrations/delivery.ts'
import type { Integration } from '../integrations/integration.ts'

const ORDERS = 40_000
const DESTINATIONS = 16
/** What a script's page of alerts weighs. */
const BODY = JSON.stringify({ path: '/cart/checkout', status: 500, text: 'x'.repeat(300) })

const sink: Integration = {
  name: 'sink',
  title: 'Sink',
  check() {},
  destination: order => order.arguments.to,
  deliver: async () => ({ status: 200, body: '', truncated: false }),
}

for (const atOnce of [1, 16, 256]) {
  const directory = mkdtempSync(join(tmpdir(), 'hookline-bench-'))
  const delivery = Delivery.open(directory, { integrations: new Map([[sink.name, sink]]) })
  delivery.run()
  // One at a time waits for the disk every time: fewer show as much.
  const orders = Math.min(ORDERS, atOnce * 400)
  const waits: number[] = []
  let next = 0
  const cpuBefore = process.cpuUsage()
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < orders) {
        const to = `destination ${next++ % DESTINATIONS}`
        const asked = performance.now()
        await delivery.accept({ integration: 'sink', script: 'Bench', arguments: { to, body: BODY } })
        waits.push(performance.now() - asked)
      }
    }),
  )
  await delivery.drain(10_000)
  const seconds = (performance.now() - begun) / 1000
  const cpu = process.cpuUsage(cpuBefore)
  const { delivered } = delivery.counts()
  await delivery.close()
  rmSync(directory, { recursive: true })
  if (delivered !== orders) throw new Error(`${delivered} of ${orders} orders were delivered`)
  waits.sort((a, b) => a - b)
  const cpuSeconds = (cpu.user + cpu.system) / 1e6
  console.log(`figure delivery-${atOnce}-at-once-per-second ${Math.round(orders / seconds)} orders/s`)
  console.log(`figure delivery-${atOnce}-at-once-per-core ${Math.round(orders / cpuSeconds)} orders/cpu-s`)
  console.log(`figure delivery-${atOnce}-at-once-accept-median ${waits[orders >> 1]!.toFixed(2)} ms`)
  console.log(`figure delivery-${atOnce}-at-once-accept-p99 ${waits[Math.floor(orders * 0.99)]!.toFixed(2)} ms`)
}
