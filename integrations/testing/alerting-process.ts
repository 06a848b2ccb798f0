/**
 * The process that delivery-kill.test.ts kills: accepts numbered alerts as fast as it can and says each number on standard
 * output after its accept has resolved.   node alerting-process.ts SPOOL URL FIRST COUNT
 */
import { writeSync } from 'node:fs'
import { Delivery } from '../delivery.ts'
import { loadIntegrations } from '../integration.ts'
import { hurried } from './hurried-world.ts'

const STANDARD_OUTPUT = 1
/** Receivers that are waited for separately. */
const DESTINATIONS = 12
/** Accepts under way at once, so that several share a transaction. */
const AT_ONCE = 16

const [spool, url, first, count] = process.argv.slice(2)
const delivery = Delivery.open(spool!, { integrations: await loadIntegrations(), world: hurried })
delivery.run()
writeSync(STANDARD_OUTPUT, 'open\n')

let next = Number(first)
const end = next + Number(count)
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < end) {
      const number = next++
      await delivery.accept({
        integration: 'webhook',
        script: 'Numbered alerts',
        arguments: { method: 'POST', url: `${url}/${number % DESTINATIONS}`, body: JSON.stringify({ number }) },
      })
      writeSync(STANDARD_OUTPUT, `${number}\n`)
    }
  }),
)
writeSync(STANDARD_OUTPUT, 'all\n')
// Goes on delivering until it is killed.
setInterval(() => {}, 1000)
