/**
 * Records shop.pcap: a minute of the shop in a network namespace of its own, by tcpdump. Needs root, tcpdump, ip, unshare
 * and redis-server: `sudo node examples/captures/record-shop.ts [FILE]`.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Addresses, Shop, startRedis } from './shop.ts'

/** As a cluster hands them out: two nodes' pods, the service network for DNS, customers behind an ingress. */
const CLUSTER: Addresses = {
  customers: ['10.244.0.4', '10.244.0.5', '10.244.0.6'],
  web: '10.244.1.11',
  catalog: '10.244.1.12',
  cart: '10.244.1.13',
  orders: '10.244.2.21',
  payment: '10.244.2.22',
  recommendations: '10.244.2.23',
  dns: '10.96.0.10',
  redis: '10.244.2.30',
  httpPort: 8080,
  dnsPort: 53,
  redisPort: 6379,
}
const SECONDS = 60
/** The payment service is down in between, seconds after the start. */
const DOWN = { from: 26, until: 35 }
const INSIDE = 'HOOKLINE_SHOP_INSIDE'

const file = process.argv[2] ?? fileURLToPath(new URL('shop.pcap', import.meta.url))
if (process.env[INSIDE]) await record(file)
else {
  const { status } = spawnSync('unshare', ['--net', process.execPath, fileURLToPath(import.meta.url), file], {
    env: { ...process.env, [INSIDE]: '1' },
    stdio: 'inherit',
  })
  process.exitCode = status ?? 1
}

async function record(path: string): Promise<void> {
  execFileSync('ip', ['link', 'set', 'lo', 'mtu', '1500', 'up'])
  const addresses = Object.values(CLUSTER)
    .flat()
    .filter(value => typeof value === 'string')
  for (const address of addresses) execFileSync('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'])
  const tcpdump = spawn('tcpdump', ['-i', 'lo', '-U', '-Z', 'root', '-w', path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await once(tcpdump.stderr, 'data')
  const redis = await startRedis(CLUSTER.redis, CLUSTER.redisPort)
  const shop = new Shop(CLUSTER)
  await shop.open(redis !== null)
  const began = performance.now()
  const visits: Promise<void>[] = []
  for (let number = 0; ; number++) {
    const second = (performance.now() - began) / 1000
    if (second > SECONDS) break
    shop.paymentDown = second > DOWN.from && second < DOWN.until
    visits.push(shop.visit(number, shop.paymentDown || number % 3 === 0))
    await pause(shop.paymentDown ? 500 : 1400)
  }
  await Promise.all(visits)
  await shop.close()
  redis?.stop()
  await pause(300)
  tcpdump.kill('SIGINT')
  await once(tcpdump, 'exit')
}
