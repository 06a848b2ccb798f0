import assert from 'node:assert/strict'
import type { AcceptedOrder } from './integration.ts'
import { Receiver } from './testing/receiver.ts'
import { integration } from './webhook.ts'

const NEVER = new AbortController().signal

function order(args: { [name: string]: unknown }): AcceptedOrder {
  return { id: 'an-id', integration: 'webhook', script: 'A script', acceptedAt: 0, arguments: args }
}

describe('webhook', () => {
  let receiver: Receiver
  beforeEach(async () => {
    receiver = await Receiver.open(() => ({ status: 202, body: 'thank you' }))
  })
  afterEach(() => receiver.close())

  async function send(args: { [name: string]: unknown }) {
    const sent = order({ method: 'POST', url: `${receiver.url}/hook?x=1`, ...args })
    integration.check(sent)
    const reply = await integration.deliver(sent, NEVER)
    return { reply, ...receiver.received.at(-1)! }
  }

  it('sends what it was given, with a key that is the same every time', async () => {
    const first = await send({ body: 'hello', headers: { 'X-Team': 'shop' } })
    assert.deepEqual(first.reply, { status: 202, body: 'thank you', truncated: false })
    assert.deepEqual([first.method, first.url, first.body], ['POST', '/hook?x=1', 'hello'])
    assert.equal(first.headers['x-team'], 'shop')
    assert.equal(first.headers['idempotency-key'], 'an-id')
    assert.equal((await send({ body: 'hello' })).headers['idempotency-key'], 'an-id')
    assert.equal((await send({ headers: { 'Idempotency-Key': 'mine' } })).headers['idempotency-key'], 'mine')
  })

  it('says what the body is, unless the script does', async () => {
    assert.equal((await send({ body: '{"a":1}' })).headers['content-type'], 'application/json')
    assert.equal((await send({ body: '{"a":1' })).headers['content-type'], 'text/plain; charset=utf-8')
    const own = { body: '{"a":1}', headers: { 'content-type': 'application/vnd.shop+json' } }
    assert.equal((await send(own)).headers['content-type'], 'application/vnd.shop+json')
  })

  it('calls by any common method, with or without a body', async () => {
    for (const method of ['get', 'HEAD', 'DELETE', 'OPTIONS', 'PUT', 'PATCH']) {
      assert.equal((await send({ method, body: '' })).method, method.toUpperCase())
    }
    assert.equal((await send({ method: 'DELETE', body: 'x' })).body, 'x')
  })

  it('turns credentials in the URL into their header, and shows them to nobody', async () => {
    const url = `${receiver.url.replace('//', '//us%40er:secret@')}/hooks/T0/secret`
    assert.equal((await send({ url })).headers.authorization, `Basic ${Buffer.from('us@er:secret').toString('base64')}`)
    const destination = integration.destination(order({ method: 'POST', url }))
    assert.match(destination, /^http:\/\/127\.0\.0\.1:\d+#[0-9a-f]{12}$/)
    assert.notEqual(destination, integration.destination(order({ method: 'POST', url: `${url}x` })))
  })

  it('says what is wrong before anything is sent, and repeats no URL', () => {
    const url = 'https://example.com/'
    const wrong: [{ [name: string]: unknown }, string, RegExp][] = [
      [{ method: 'POST', url: 'hooks/secret' }, 'WEBHOOK_URL', /found 12 characters/],
      [{ method: 'POST', url: undefined }, 'WEBHOOK_URL', /nothing.*env/],
      [{ method: 'POST', url: 'file:///etc/passwd' }, 'WEBHOOK_URL', /file:/],
      [{ method: 'CONNECT', url }, 'WEBHOOK_METHOD', /CONNECT/],
      [{ method: undefined, url }, 'WEBHOOK_METHOD', /undefined/],
      [{ method: 'POST', url, body: {} }, 'WEBHOOK_BODY', /object/],
      [{ method: 'GET', url, body: 'x' }, 'WEBHOOK_BODY', /GET/],
      [{ method: 'POST', url, headers: { 'Content-Length': '3' } }, 'WEBHOOK_HEADERS', /Content-Length/],
      [{ method: 'POST', url, headers: { a: 'b\r\nc: d' } }, 'WEBHOOK_HEADERS', /"a"/],
      [{ method: 'POST', url, headers: ['a'] }, 'WEBHOOK_HEADERS', /object/],
    ]
    for (const [args, code, message] of wrong) {
      assert.throws(() => integration.check(order(args)), { name: 'Fault', code, message })
    }
  })

  it('asks again on the same connection, since it reads every answer to its end', async () => {
    for (let i = 0; i < 20; i++) await send({ body: 'x' })
    assert.ok(receiver.connections < 5, `${receiver.connections} connections for 20 requests`)
  })
})
