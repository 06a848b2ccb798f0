import assert from 'node:assert/strict'
import type { AcceptedOrder } from './integration.ts'
import { OK, Receiver } from './testing/receiver.ts'
import { integration } from './webhook-form.ts'

function order(args: { [name: string]: unknown }): AcceptedOrder {
  return { id: 'an-id', integration: 'webhook-form', script: 'A script', acceptedAt: 0, arguments: args }
}

describe('webhook-form', () => {
  it('sends its fields as multipart/form-data that another reader reads', async () => {
    const receiver = await Receiver.open(() => OK)
    const fields = { name: 'Grüße', har: '{"log":\r\n{}}', count: 3, dry: false }
    const sent = order({ method: 'POST', url: receiver.url, fields })
    integration.check(sent)
    await integration.deliver(sent, new AbortController().signal)
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[0]]
    const form = await new Response(body, { headers: { 'content-type': headers['content-type']! } }).formData()
    assert.deepEqual(Object.fromEntries(form), { ...fields, count: '3', dry: 'false' })
    assert.equal(headers['idempotency-key'], 'an-id')
    await receiver.close()
  })

  it('says what is wrong before anything is sent', () => {
    const url = 'https://example.com/'
    const wrong: [{ [name: string]: unknown }, string][] = [
      [{ method: 'GET', url, fields: {} }, 'WEBHOOK_METHOD'],
      [{ method: 'POST', url, fields: null }, 'WEBHOOK_FORM_FIELDS'],
      [{ method: 'POST', url, fields: { a: {} } }, 'WEBHOOK_FORM_FIELDS'],
      [{ method: 'POST', url: '', fields: {} }, 'WEBHOOK_URL'],
    ]
    for (const [args, code] of wrong) assert.throws(() => integration.check(order(args)), { code })
  })
})
