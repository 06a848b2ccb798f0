/** vendor.webhookForm: the fields of a form to any URL, as multipart/form-data (RFC 7578). */
import { Fault } from '../core/fault.ts'
import { type Call, exchange } from './exchange.ts'
import type { Integration, Order } from './integration.ts'
import { BODILESS, callTo, stamped, urlDestination } from './webhook.ts'

export interface WebhookFormArguments {
  method: string
  url: string
  fields: { [name: string]: string | number | boolean }
}

export const integration: Integration = {
  name: 'webhook-form',
  title: 'Webhook (form)',
  check(order) {
    form(order)
    formCall(order)
  },
  destination: order => urlDestination(formCall(order).url),
  async deliver(order, signal) {
    const multipart = new Response(form(order))
    const call = formCall(order)
    call.headers.set('content-type', multipart.headers.get('content-type')!)
    return exchange(stamped({ ...call, body: new Uint8Array(await multipart.arrayBuffer()) }, order), signal)
  },
}

function formCall(order: Order): Call {
  const call = callTo(order.arguments.method, order.arguments.url, null)
  if (BODILESS.has(call.method)) throw new Fault('WEBHOOK_METHOD', `${call.method} carries no form; use POST`)
  return call
}

function form(order: Order): FormData {
  const { fields } = order.arguments
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw new Fault('WEBHOOK_FORM_FIELDS', 'fields must be an object of names and texts')
  }
  const data = new FormData()
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'object') {
      throw new Fault(
        'WEBHOOK_FORM_FIELDS',
        `the field "${name}" must be text, found ${value === null ? 'null' : 'object'}`,
      )
    }
    data.append(name, String(value))
  }
  return data
}
