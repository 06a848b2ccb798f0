import assert from 'node:assert/strict'
import { type Call, exchange, MAX_REPLY_BYTES, retryAfter } from './exchange.ts'
import { type Answer, OK, Receiver } from './testing/receiver.ts'

const NEVER = new AbortController().signal

describe('exchange', () => {
  let receiver: Receiver
  let answers: Answer[]
  beforeEach(async () => {
    answers = []
    receiver = await Receiver.open(() => answers.shift() ?? OK)
  })
  afterEach(() => receiver.close())

  function call(method = 'POST', url = `${receiver.url}/hook`): Call {
    const headers = new Headers({ authorization: 'Bearer secret', 'content-type': 'text/plain' })
    return { method, url: new URL(url), headers, body: method === 'GET' ? null : 'hello' }
  }

  it('tells what passes from what stays', async () => {
    const passes = [408, 425, 429, 500, 502, 503, 504]
    const stays = [300, 304, 400, 401, 403, 404, 410, 413, 422]
    for (const status of [...passes, ...stays]) {
      answers = [{ status, body: status === 304 ? '' : 'because' }]
      const code = passes.includes(status) ? { reason: `http-${status}` } : { code: `HTTP_${status}`, status }
      await assert.rejects(exchange(call(), NEVER), code)
    }
    for (const status of [200, 201, 202, 204]) {
      answers = [{ status }]
      assert.equal((await exchange(call(), NEVER)).status, status)
    }
  })

  it('reads how long to wait: seconds, or a date by the clock of who said it', async () => {
    const date = 'Fri, 17 Jan 2025 12:00:00 GMT'
    const asked: [{ [name: string]: string }, number | null][] = [
      [{ 'retry-after': '7' }, 7_000],
      [{ 'retry-after': 'Fri, 17 Jan 2025 12:00:09 GMT', date }, 9_000],
      [{ 'retry-after': 'Friday, 17-Jan-25 12:00:09 GMT', date }, 9_000],
      [{ 'retry-after': 'Fri, 17 Jan 2025 11:00:00 GMT', date }, 0],
      [{ 'retry-after': 'soon' }, null],
      [{ 'retry-after': '-3' }, null],
      [{}, null],
    ]
    for (const [headers, after] of asked) {
      answers = [{ status: 429, headers }]
      await assert.rejects(exchange(call(), NEVER), { after })
    }
    assert.equal(retryAfter('Fri, 17 Jan 2025 12:00:09 GMT', Date.UTC(2025, 0, 17, 12)), 9_000)
  })

  it('calls a broken connection and a refused one what they are', async () => {
    answers = ['drop']
    await assert.rejects(exchange(call(), NEVER), { name: 'Retryable', reason: 'UND_ERR_SOCKET' })
    const gone = call()
    await receiver.close()
    await assert.rejects(exchange(gone, NEVER), { name: 'Retryable', reason: 'ECONNREFUSED' })
    await assert.rejects(exchange(call('POST', 'http://127.0.0.1:6000/'), NEVER), { code: 'HTTP_PORT_BLOCKED' })
    receiver = await Receiver.open(() => OK)
  })

  it('ends when told to', async () => {
    answers = ['silence']
    await assert.rejects(exchange(call(), AbortSignal.timeout(20)), { name: 'TimeoutError' })
  })

  it('reads a bounded answer', async () => {
    answers = [{ status: 200, body: 'x'.repeat(MAX_REPLY_BYTES + 1) }]
    const reply = await exchange(call(), NEVER)
    assert.equal(reply.body.length, MAX_REPLY_BYTES)
    assert.equal(reply.truncated, true)
    answers = [{ status: 200, body: 'x'.repeat(MAX_REPLY_BYTES) }]
    assert.equal((await exchange(call(), NEVER)).truncated, false)
  })

  it('follows a redirect with its method and body, so that what arrives is what was sent', async () => {
    for (const status of [301, 302, 307, 308]) {
      answers = [{ status, headers: { location: '/moved' } }]
      await exchange(call(), NEVER)
      const { method, url, body, headers } = receiver.received.at(-1)!
      assert.deepEqual([method, url, body, headers.authorization], ['POST', '/moved', 'hello', 'Bearer secret'])
    }
    answers = [{ status: 303, headers: { location: '/result' } }]
    await exchange(call(), NEVER)
    const { method, url, body, headers } = receiver.received.at(-1)!
    assert.deepEqual([method, url, body, headers['content-type']], ['GET', '/result', '', undefined])
  })

  it('does not show another host what was meant for this one', async () => {
    answers = [{ status: 307, headers: { location: `${receiver.url.replace('127.0.0.1', 'localhost')}/other` } }]
    await exchange(call(), NEVER)
    const { headers, body } = receiver.received.at(-1)!
    assert.deepEqual([headers.authorization, headers['content-type'], body], [undefined, 'text/plain', 'hello'])
  })

  it('does not run in circles, nor to places that are no web', async () => {
    const circle: Answer = { status: 307, headers: { location: '/hook' } }
    answers = [circle, circle, circle, circle, circle]
    await assert.rejects(exchange(call(), NEVER), { code: 'HTTP_TOO_MANY_REDIRECTS' })
    answers = [{ status: 307, headers: { location: 'ftp://127.0.0.1/' } }]
    await assert.rejects(exchange(call(), NEVER), { code: 'HTTP_BAD_REDIRECT' })
  })
})
