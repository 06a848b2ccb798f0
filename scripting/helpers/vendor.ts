/** `vendor`: sends to other people's services. A call returns when what it sends is safe on disk. */
import type { Helper } from '../helper.ts'

declare module '../helper.ts' {
  interface SendOrders {
    webhook: { method: string; url: string; body: string; headers: Record<string, string> }
    slack: { webhookUrl: string; pretext: string; text: string; color: string }
  }
}

/** RFC 9110, 5.6.2: a token. */
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

export const helper: Helper = {
  name: 'vendor',
  calls: {
    webhook: {
      order(args) {
        const method = args.text(0, 'method')
        if (!METHOD.test(method)) args.fail(0, 'method', 'an HTTP method')
        return {
          kind: 'webhook',
          method: method.toUpperCase(),
          url: args.url(1, 'url'),
          body: args.body(2),
          headers: args.texts(3, 'headers'),
        }
      },
      value: reply => reply.body,
    },
    slack: {
      order: args => ({
        kind: 'slack',
        webhookUrl: args.url(0, 'webhookUrl'),
        pretext: args.text(1, 'pretext'),
        text: args.text(2, 'text'),
        color: args.text(3, 'color'),
      }),
      value: () => null,
    },
  },
  later: [
    'webhookForm',
    'slackBot',
    'influxdb',
    'elastic',
    's3.put',
    's3.clear',
    'gcs.put',
    'gcs.clear',
    'azure.put',
    'kinesis.put',
  ],
}
