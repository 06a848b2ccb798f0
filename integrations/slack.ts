/**
 * vendor.slack: a message through a Slack incoming webhook, as one attachment (docs.slack.dev/messaging/
 * sending-messages-using-incoming-webhooks and /legacy/legacy-messaging/legacy-secondary-message-attachments).
 */
import { IncomingWebhook, IncomingWebhookHTTPError, IncomingWebhookRequestError } from '@slack/webhook'
import { Fault } from '../core/fault.ts'
import { boundedText, failure, networkFailure, waitAsked } from './exchange.ts'
import { type AcceptedOrder, type Delivered, type Integration, type Order, Refused } from './integration.ts'
import { httpUrl, urlDestination } from './webhook.ts'

export interface SlackArguments {
  webhookUrl: string
  /** Above the attachment. */
  pretext: string
  text: string
  /** `good`, `warning`, `danger` or `#rrggbb`: the bar at the left. */
  color?: string | null
}

export const integration: Integration = {
  name: 'slack',
  title: 'Slack (incoming webhook)',
  check(order) {
    slackArguments(order)
  },
  destination: order => urlDestination(new URL(order.arguments.webhookUrl)),
  deliver,
}

async function deliver(order: AcceptedOrder, signal: AbortSignal): Promise<Delivered> {
  const { webhookUrl } = slackArguments(order)
  let answer = { status: 0, truncated: false, after: null as number | null }
  const webhook = new IncomingWebhook(webhookUrl, {
    // Slack's client keeps neither Retry-After nor the status of a success, and reads answers of any length.
    fetch: async (url, init) => {
      const response = await fetch(url, { ...init, signal, redirect: 'manual' })
      const { body, truncated } = await boundedText(response)
      answer = { status: response.status, truncated, after: waitAsked(response.headers) }
      return new Response(BODYLESS.has(response.status) ? null : body, { status: response.status })
    },
  })
  try {
    const { text } = await webhook.send(message(order))
    return { status: answer.status, body: text, truncated: answer.truncated }
  } catch (error) {
    if (signal.aborted) throw signal.reason
    if (error instanceof IncomingWebhookHTTPError) throw slackFailure(error.statusCode, error.body, answer.after)
    if (error instanceof IncomingWebhookRequestError) throw networkFailure(error.original)
    throw error
  }
}

/** A Response of these must have none (fetch standard, null body status). */
const BODYLESS: ReadonlySet<number> = new Set([204, 205, 304])

function slackArguments(order: Order): SlackArguments {
  const { webhookUrl, pretext, text, color } = order.arguments
  httpUrl(webhookUrl, 'SLACK_WEBHOOK_URL')
  for (const [name, value] of Object.entries({ pretext, text, color: color ?? '' })) {
    if (typeof value !== 'string') throw new Fault('SLACK_TEXT', `${name} must be text, found ${typeof value}`)
  }
  if (pretext === '' && text === '') throw new Fault('SLACK_TEXT', 'pretext and text are both empty')
  return { webhookUrl, pretext, text, color }
}

function message(order: AcceptedOrder) {
  const { pretext, text, color } = slackArguments(order)
  return {
    attachments: [
      {
        fallback: [pretext, text].filter(part => part !== '').join(': '),
        pretext,
        text,
        ...(color ? { color } : {}),
        mrkdwn_in: ['pretext' as const, 'text' as const],
        footer: order.script,
        // The moment it was sent: after an outage it arrives hours later.
        ts: String(Math.floor(order.acceptedAt / 1000)),
      },
    ],
  }
}

function slackFailure(status: number, body: string, after: number | null) {
  const advice = REFUSALS.get(body.trim())
  if (advice === undefined) return failure(status, body, after)
  const said = body.trim()
  return new Refused(`SLACK_${said.toUpperCase()}`, `Slack answered ${status} ${said}: ${advice}`, status, said)
}

/** The bodies Slack documents for what will not pass by waiting. `rollup_error` (500) and 429 do, and are not here. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  ['invalid_payload', 'the message is malformed'],
  ['invalid_token', 'the webhook URL has been revoked or is not complete'],
  ['no_active_hooks', 'the webhook is disabled'],
  ['no_service', 'the webhook is disabled, removed or not valid'],
  ['no_service_id', 'the webhook URL lacks its service'],
  ['no_team', 'the workspace of the webhook is missing or not valid'],
  ['no_text', 'the message has no text'],
  ['team_disabled', 'the workspace is no longer active'],
  ['too_many_attachments', 'a message may hold 100 attachments'],
  ['user_not_found', 'the user that the webhook writes to does not exist'],
  ['channel_not_found', 'the channel that the webhook writes to does not exist'],
  ['channel_is_archived', 'the channel is archived; choose another in the app of the webhook'],
  ['action_prohibited', 'an administrator restricts posting there'],
  ['posting_to_general_channel_denied', 'an administrator restricts posting to #general'],
])
