import assert from 'node:assert/strict'
import type { AcceptedOrder } from './integration.ts'
import { integration } from './slack.ts'
import { type Answer, OK, Receiver } from './testing/receiver.ts'

const NEVER = new AbortController().signal

describe('slack', () => {
  let receiver: Receiver
  let answer: Answer
  beforeEach(async () => {
    answer = OK
    receiver = await Receiver.open(() => answer)
  })
  afterEach(() => receiver.close())

  function order(args: { [name: string]: unknown } = {}): AcceptedOrder {
    const webhookUrl = `${receiver.url}/services/T0/B0/secret`
    return {
      id: 'an-id',
      integration: 'slack',
      script: 'Alert on 5xx',
      acceptedAt: 1_737_115_200_789,
      arguments: { webhookUrl, pretext: 'Server error', text: 'GET /cart: 500', color: '#ff0000', ...args },
    }
  }

  it('writes the message that Slack documents', async () => {
    integration.check(order())
    assert.deepEqual(await integration.deliver(order(), NEVER), { status: 200, body: 'ok', truncated: false })
    const [{ method, url, headers, body }] = receiver.received as [(typeof receiver.received)[0]]
    assert.deepEqual([method, url, headers['content-type']], ['POST', '/services/T0/B0/secret', 'application/json'])
    assert.deepEqual(JSON.parse(body), {
      attachments: [
        {
          fallback: 'Server error: GET /cart: 500',
          pretext: 'Server error',
          text: 'GET /cart: 500',
          color: '#ff0000',
          mrkdwn_in: ['pretext', 'text'],
          footer: 'Alert on 5xx',
          ts: '1737115200',
        },
      ],
    })
  })

  it('takes a message without a colour', async () => {
    await integration.deliver(order({ color: null }), NEVER)
    assert.equal('color' in JSON.parse(receiver.received[0]!.body).attachments[0], false)
  })

  it('takes no for an answer', async () => {
    const refusals: [number, string][] = [
      [400, 'invalid_payload'],
      [400, 'no_text'],
      [403, 'action_prohibited'],
      [403, 'invalid_token'],
      [404, 'channel_not_found'],
      [404, 'no_service'],
      [410, 'channel_is_archived'],
    ]
    for (const [status, body] of refusals) {
      answer = { status, body }
      const refused = { name: 'Refused', code: `SLACK_${body.toUpperCase()}`, status, excerpt: body }
      await assert.rejects(integration.deliver(order(), NEVER), refused)
    }
    answer = { status: 404, body: 'a page of some proxy' }
    await assert.rejects(integration.deliver(order(), NEVER), { code: 'HTTP_404', excerpt: 'a page of some proxy' })
    answer = { status: 302, headers: { location: '/login' } }
    await assert.rejects(integration.deliver(order(), NEVER), { code: 'HTTP_302' })
  })

  it('comes again when Slack says so, after as long as it says, and asks once at a time', async () => {
    answer = { status: 429, headers: { 'retry-after': '30' }, body: 'rate_limited' }
    await assert.rejects(integration.deliver(order(), NEVER), { name: 'Retryable', reason: 'http-429', after: 30_000 })
    answer = { status: 500, body: 'rollup_error' }
    await assert.rejects(integration.deliver(order(), NEVER), { name: 'Retryable', reason: 'http-500', after: null })
    answer = 'drop'
    await assert.rejects(integration.deliver(order(), NEVER), { name: 'Retryable', reason: 'UND_ERR_SOCKET' })
    assert.equal(receiver.received.length, 3)
  })

  it('ends when told to', async () => {
    answer = 'silence'
    await assert.rejects(integration.deliver(order(), AbortSignal.timeout(20)), { name: 'TimeoutError' })
  })

  it('says what is wrong before anything is sent, and never the URL, which is its password', () => {
    const wrong: [{ [name: string]: unknown }, string][] = [
      [{ webhookUrl: undefined }, 'SLACK_WEBHOOK_URL'],
      [{ webhookUrl: 'T0/B0/secret' }, 'SLACK_WEBHOOK_URL'],
      [{ text: { a: 1 } }, 'SLACK_TEXT'],
      [{ pretext: '', text: '' }, 'SLACK_TEXT'],
    ]
    for (const [args, code] of wrong) {
      assert.throws(
        () => integration.check(order(args)),
        (error: Error & { code: string }) => error.code === code && !error.message.includes('secret'),
      )
    }
    assert.ok(!integration.destination(order()).includes('secret'))
  })
})
