/**
 * A small shop: six services that speak HTTP/1.1 to each other, look each other up by DNS and keep carts and counters in
 * Redis. Its payment service fails for a while, its recommendations are slow. record-shop.ts records it; `hookline demo`
 * watches it live. Run alone it needs no more than loopback: `node examples/captures/shop.ts [SECONDS]`.
 */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

const SERVICES = ['web', 'catalog', 'cart', 'orders', 'payment', 'recommendations'] as const
type Service = (typeof SERVICES)[number]

export interface Addresses extends Record<Service, string> {
  customers: readonly string[]
  dns: string
  redis: string
  /** Where every service listens; DNS and Redis have their own below. */
  httpPort: number
  dnsPort: number
  redisPort: number
}

/** Every address in 127/8 is this machine's own on Linux; the ports need no privilege. */
export const LOOPBACK: Addresses = {
  customers: ['127.0.1.1', '127.0.1.2', '127.0.1.3'],
  web: '127.0.2.1',
  catalog: '127.0.2.2',
  cart: '127.0.2.3',
  orders: '127.0.2.4',
  payment: '127.0.2.5',
  recommendations: '127.0.2.6',
  dns: '127.0.3.1',
  redis: '127.0.3.2',
  httpPort: 18080,
  dnsPort: 18053,
  redisPort: 18379,
}

const PRODUCTS = [
  ['1001', 'Moka pot', 2890],
  ['1002', 'Hand grinder', 6450],
  ['1003', 'Pour-over kettle', 5200],
  ['1004', 'Paper filters (100)', 590],
  ['1005', 'Ethiopia Guji, 250 g', 1150],
  ['1006', 'Espresso cups, set of four', 3400],
].map(([id, name, price]) => ({ id, name, price, currency: 'EUR', stock: 40 }))

export class Shop {
  private readonly at: Addresses
  private readonly servers: Server[] = []
  private readonly dns = createSocket('udp4')
  private readonly agents = new Map<string, Agent>()
  private readonly resolvers = new Map<string, Resolver>()
  private redis: Redis | null = null
  private orders = 0
  private charges = 0
  /** While true, the payment service answers 503. */
  paymentDown = false

  constructor(at: Addresses) {
    this.at = at
  }

  /** Without Redis the cart keeps nothing; the rest works. */
  async open(withRedis: boolean): Promise<void> {
    const routes: Record<Service, Handler> = {
      web: question => this.web(question),
      catalog: question => this.catalog(question),
      cart: question => this.cart(question),
      orders: question => this.order(question),
      payment: () => this.payment(),
      recommendations: () => this.recommendations(),
    }
    for (const service of SERVICES) this.servers.push(await serve(routes[service], this.at[service], this.at.httpPort))
    this.dns.on('message', (question, from) => this.dns.send(this.lookUp(question), from.port, from.address))
    this.dns.bind(this.at.dnsPort, this.at.dns)
    await once(this.dns, 'listening')
    if (withRedis) this.redis = await Redis.connect(this.at.redis, this.at.redisPort, this.at.cart)
  }

  async close(): Promise<void> {
    for (const agent of this.agents.values()) agent.destroy()
    this.redis?.close()
    this.dns.close()
    for (const server of this.servers) {
      server.closeAllConnections()
      server.close()
    }
  }

  /** One customer looks around, fills a cart and, if asked to, pays. Deterministic in `number`. */
  async visit(number: number, buys: boolean): Promise<void> {
    const from = this.at.customers[number % this.at.customers.length]!
    const product = PRODUCTS[(number * 5) % PRODUCTS.length]!
    const cookie = `session=s${1000 + number}`
    const visit = (method: string, path: string, body?: unknown) => this.call(from, 'web', method, path, body, cookie)
    await visit('GET', '/')
    await visit('GET', number % 9 === 4 ? '/products/9999' : `/products/${product.id}`)
    if (number % 4 === 1) await visit('GET', `/search?q=${encodeURIComponent(String(product.name).split(' ')[0]!)}`)
    await visit('POST', '/cart', { product: product.id, quantity: 1 + (number % 3) })
    if (buys) await visit('POST', '/checkout', { card: 'tok_4f2a', total: product.price })
  }

  private async web({ method, path, body, session }: Question): Promise<Answer> {
    const ask = (service: Service, how: string, where: string, what?: unknown) =>
      this.call(this.at.web, service, how, where, what, `session=${session}`)
    if (path === '/') {
      const [products, picks] = await Promise.all([
        ask('catalog', 'GET', '/api/products'),
        ask('recommendations', 'GET', `/api/recommendations?for=${session}`),
      ])
      return { status: 200, body: { products: JSON.parse(products.text), picks: JSON.parse(picks.text) } }
    }
    if (path.startsWith('/products/') || path.startsWith('/search'))
      return pass(await ask('catalog', 'GET', `/api${path}`))
    if (path === '/cart') return pass(await ask('cart', method, '/api/cart', body))
    if (path === '/checkout') {
      const order = await ask('orders', 'POST', '/api/orders', body)
      if (order.status < 500) return pass(order)
      return { status: 502, body: { error: 'the order could not be placed', cause: JSON.parse(order.text) } }
    }
    return { status: 404, body: { error: `no such page: ${path}` } }
  }

  private async catalog({ path }: Question): Promise<Answer> {
    if (path === '/api/products') return { status: 200, body: PRODUCTS }
    if (path.startsWith('/api/search')) {
      await pause(180)
      const wanted = decodeURIComponent(path.split('q=')[1] ?? '').toLowerCase()
      return { status: 200, body: PRODUCTS.filter(({ name }) => String(name).toLowerCase().includes(wanted)) }
    }
    const product = PRODUCTS.find(({ id }) => path === `/api/products/${id}`)
    return product ? { status: 200, body: product } : { status: 404, body: { error: 'no such product' } }
  }

  private async cart({ body, session }: Question): Promise<Answer> {
    const { product, quantity } = JSON.parse(body) as { product: string; quantity: number }
    const redis = this.redis
    if (!redis) return { status: 201, body: { [product]: String(quantity) } }
    await redis.command('HINCRBY', `cart:${session}`, product, String(quantity))
    await redis.command('EXPIRE', `cart:${session}`, '1800')
    const lines = (await redis.command('HGETALL', `cart:${session}`)) as string[]
    // A counter that another release kept as a list: Redis answers WRONGTYPE.
    if (Number(session.slice(1)) % 11 === 7) await redis.command('LPUSH', 'visits', session)
    await redis.command('INCR', 'visits')
    return { status: 201, body: { [lines[0]!]: lines[1] } }
  }

  private async order({ body, session }: Question): Promise<Answer> {
    const id = 70_000 + ++this.orders
    // The release before asked for a host name that is gone: two NXDOMAIN for every order, as search lists make them.
    await this.resolve(this.at.orders, 'payment-legacy')
    const charge = await this.call(this.at.orders, 'payment', 'POST', '/api/charges', body, `session=${session}`)
    if (charge.status !== 201) return { status: 503, body: { error: 'payment is not available', order: id } }
    return { status: 201, body: { order: id, charge: JSON.parse(charge.text).id } }
  }

  private async payment(): Promise<Answer> {
    await pause(this.paymentDown ? 5 : 45)
    if (this.paymentDown) return { status: 503, body: { error: 'upstream acquirer timed out' } }
    return { status: 201, body: { id: `ch_${3000 + ++this.charges}`, state: 'captured' } }
  }

  private async recommendations(): Promise<Answer> {
    await pause(240 + ((this.orders * 97) % 400))
    return { status: 200, body: PRODUCTS.slice(0, 2).map(({ id }) => id) }
  }

  private async call(
    from: string,
    to: Service,
    method: string,
    path: string,
    body: unknown,
    cookie: string,
  ): Promise<{ status: number; text: string }> {
    const address = (await this.resolve(from, to)) ?? this.at[to]
    const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
    const headers: Record<string, string> = { host: `${to}.shop`, cookie, accept: 'application/json' }
    if (text) Object.assign(headers, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    let agent = this.agents.get(from)
    if (!agent) {
      agent = new Agent({ keepAlive: true, localAddress: from })
      this.agents.set(from, agent)
    }
    const outgoing = request({ host: address, port: this.at.httpPort, method, path, headers, agent })
    outgoing.end(text)
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    return { status: answer.statusCode ?? 0, text: await textOf(answer) }
  }

  private async resolve(from: string, name: string): Promise<string | null> {
    let resolver = this.resolvers.get(from)
    if (!resolver) {
      resolver = new Resolver({ timeout: 500, tries: 1 })
      resolver.setServers([`${this.at.dns}:${this.at.dnsPort}`])
      resolver.setLocalAddress(from)
      this.resolvers.set(from, resolver)
    }
    for (const suffix of ['.shop.svc.cluster.local', '.svc.cluster.local']) {
      try {
        return (await resolver.resolve4(name + suffix))[0] ?? null
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOTFOUND') throw error
      }
    }
    return null
  }

  /** RFC 1035, 4.1: a query of one question gets its A record, or NXDOMAIN. */
  private lookUp(query: Buffer): Buffer {
    let end = 12
    const labels: string[] = []
    while (query[end]) {
      labels.push(query.toString('latin1', end + 1, end + 1 + query[end]!))
      end += 1 + query[end]!
    }
    const question = query.subarray(12, end + 5)
    const service = labels.slice(1).join('.') === 'shop.svc.cluster.local' ? (labels[0] as Service) : null
    const address = service && SERVICES.includes(service) ? this.at[service] : null
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    head.writeUInt16BE(address ? 0x8580 : 0x8583, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(address ? 1 : 0, 6)
    if (!address) return Buffer.concat([head, question])
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...address.split('.').map(Number)])
    return Buffer.concat([head, question, record])
  }
}

interface Question {
  method: string
  path: string
  body: string
  session: string
}
interface Answer {
  status: number
  body: unknown
}
type Handler = (question: Question) => Promise<Answer>

const pass = ({ status, text }: { status: number; text: string }): Answer => ({ status, body: JSON.parse(text) })

async function serve(handler: Handler, address: string, port: number): Promise<Server> {
  const server = createServer(async (question, answer) => {
    const session = /session=(\w+)/.exec(question.headers.cookie ?? '')?.[1] ?? 's0'
    const { method = 'GET', url: path = '/' } = question
    const { status, body } = await handler({ method, path, session, body: await textOf(question) })
    answer.writeHead(status, { 'content-type': 'application/json' })
    answer.end(JSON.stringify(body))
  })
  server.listen(port, address)
  await once(server, 'listening')
  return server
}

async function textOf(message: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of message.setEncoding('utf8')) text += chunk
  return text
}

/** As much of RESP2 as the cart needs: flat answers, one command at a time. */
class Redis {
  private readonly socket: Socket
  private readonly waiting: PromiseWithResolvers<unknown>[] = []
  private text = ''

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      this.text += chunk
      for (let answer = this.take(); answer !== undefined; answer = this.take()) this.waiting.shift()?.resolve(answer)
    })
    socket.on('close', () => {
      for (const { reject } of this.waiting) reject(new Error('Redis hung up'))
    })
  }

  static async connect(host: string, port: number, localAddress: string): Promise<Redis> {
    const socket = connect({ host, port, localAddress })
    await once(socket, 'connect')
    return new Redis(socket)
  }

  command(...words: string[]): Promise<unknown> {
    this.socket.write(`*${words.length}\r\n${words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`)
    const answer = Promise.withResolvers<unknown>()
    this.waiting.push(answer)
    return answer.promise
  }

  close(): void {
    this.socket.destroy()
  }

  private take(): unknown {
    const lines = this.text.split('\r\n')
    const count = lines[0]!.startsWith('*') ? Number(lines[0]!.slice(1)) : 0
    const used = lines[0]!.startsWith('*') ? 1 + 2 * count : lines[0]!.startsWith('$') ? 2 : 1
    if (lines.length <= used) return undefined
    this.text = lines.slice(used).join('\r\n')
    if (count) return lines.slice(1, used).filter((_, index) => index % 2 === 1)
    return used === 2 ? lines[1] : lines[0]!.slice(1)
  }
}

/** Redis as it is installed here; null when it is not. */
export async function startRedis(host: string, port: number): Promise<{ stop(): void } | null> {
  // Its protected mode knows 127.0.0.1 and no other address of this machine.
  const options = ['--port', String(port), '--bind', host, '--save', '', '--appendonly', 'no', '--protected-mode', 'no']
  const server = spawn('redis-server', options, { stdio: 'ignore', cwd: '/' })
  // Not installed, or its port is taken: then what answers there is somebody else's.
  const failed = Promise.race([once(server, 'error').catch(() => {}), once(server, 'exit').catch(() => {})]).then(
    () => true,
  )
  for (let attempt = 0; attempt < 50; attempt++) {
    if (await Promise.race([failed, pause(100, false)])) return null
    const socket = connect({ host, port })
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return { stop: () => void server.kill() }
  }
  server.kill()
  return null
}

if (import.meta.main) {
  const seconds = Number(process.argv[2] ?? 10)
  const redis = await startRedis(LOOPBACK.redis, LOOPBACK.redisPort)
  const shop = new Shop(LOOPBACK)
  try {
    await shop.open(redis !== null)
    console.log(`open: ${SERVICES.join(', ')}, dns${redis ? ', redis' : ' (no redis-server here: carts forget)'}`)
    const until = performance.now() + seconds * 1000
    let closing = false
    const closeEarly = () => {
      closing = true
    }
    process.once('SIGINT', closeEarly).once('SIGTERM', closeEarly)
    for (let number = 0; performance.now() < until && !closing; number++) {
      shop.paymentDown = performance.now() > until - (seconds * 1000 * 2) / 3
      await shop.visit(number, true)
      await pause(200)
    }
  } finally {
    await shop.close()
    redis?.stop()
  }
}
