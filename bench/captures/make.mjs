// Makes http.pcap.gz, http2.pcap.gz and grpc.pcap.gz: the same 500 orders of a shop, each over one connection that stays,
// as services in a cluster talk. As root, where @grpc/grpc-js and @grpc/proto-loader are installed: node make.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import * as grpc from '@grpc/grpc-js'
import loader from '@grpc/proto-loader'

const ORDERS = 500
const { Orders } = grpc.loadPackageDefinition(loader.loadSync('orders.proto', { keepCase: true })).shop.v1
const order = i => ({ customer: `customer-${i % 50}`, note: 'leave it at the door', lines: lines(i, 3) })
const lines = (i, count) =>
  Array.from({ length: count }, (_, k) => ({ sku: `sku-${(i * 7 + k) % 900}`, count: k + 1, price: 4.25 + k }))
const receipt = i => ({
  id: `order-${100000 + i}`,
  status: 'ACCEPTED',
  total: 27.5,
  lines: lines(i, 8),
  message: 'thank you for your order; it will be with you within three days',
})
const answerJson = (status, text, end) =>
  end(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }, text)

/** Answers a POST of an order with its receipt, as node:http and node:http2 alike hand it over. */
function serve(request, response) {
  const parts = []
  request
    .on('data', part => parts.push(part))
    .on('end', () => {
      const { number } = JSON.parse(Buffer.concat(parts))
      answerJson(200, JSON.stringify(receipt(number)), (status, headers, text) => {
        response.writeHead(status, headers)
        response.end(text)
      })
    })
}

const KINDS = {
  async http(port) {
    const server = http.createServer(serve).listen(port, '127.0.0.1')
    await once(server, 'listening')
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < ORDERS; i++) {
      const body = JSON.stringify({ number: i, ...order(i) })
      const headers = {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'shop/1.0',
        'x-request-id': `r-${i}`,
      }
      const request = http.request({
        port,
        host: '127.0.0.1',
        method: 'POST',
        path: `/api/orders?region=eu&try=${i % 3}`,
        agent,
        headers,
      })
      request.end(body)
      const [response] = await once(request, 'response')
      for await (const _ of response);
    }
    agent.destroy()
    server.close()
  },
  async http2(port) {
    const server = http2.createServer(serve).listen(port, '127.0.0.1')
    await once(server, 'listening')
    const session = http2.connect(`http://127.0.0.1:${port}`)
    for (let i = 0; i < ORDERS; i++) {
      const body = JSON.stringify({ number: i, ...order(i) })
      const stream = session.request({
        ':method': 'POST',
        ':path': `/api/orders?region=eu&try=${i % 3}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'shop/1.0',
        'x-request-id': `r-${i}`,
      })
      stream.end(body)
      for await (const _ of stream);
    }
    session.close()
    server.close()
  },
  async grpc(port) {
    const server = new grpc.Server()
    server.addService(Orders.service, { Place: ({ request }, answer) => answer(null, receipt(request.number)) })
    await new Promise(done => server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), done))
    const client = new Orders(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
    for (let i = 0; i < ORDERS; i++) {
      const metadata = new grpc.Metadata()
      metadata.set('x-request-id', `r-${i}`)
      await new Promise((done, failed) =>
        client.Place({ number: i, ...order(i) }, metadata, error => (error ? failed(error) : done())),
      )
    }
    client.close()
    server.forceShutdown()
  },
}

let port = 18_560
for (const [name, talk] of Object.entries(KINDS)) {
  const file = `${name}.pcap`
  const dump = spawn(
    'tcpdump',
    ['-i', 'lo', '-U', '--immediate-mode', '-B', '16384', '-Z', 'root', '-w', file, 'tcp', 'port', String(++port)],
    { stdio: 'ignore' },
  )
  await sleep(1000)
  await talk(port)
  await sleep(500)
  dump.kill('SIGINT')
  await once(dump, 'exit')
  await once(spawn('gzip', ['-9nf', file]), 'exit')
}
