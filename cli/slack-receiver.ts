/**
 * A stand-in for Slack's incoming webhooks on loopback, for the demo: takes what Slack takes, refuses what Slack refuses
 * and in its words (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SlackMessage {
  text?: string
  blocks?: unknown[]
  attachments?: { pretext?: string; text?: string; fallback?: string; color?: string; footer?: string }[]
}

export class SlackReceiver {
  readonly messages: SlackMessage[] = []
  readonly url: string
  private readonly server: Server

  static async open(arrived: (message: SlackMessage) => void): Promise<SlackReceiver> {
    const server = createServer(async (question, answer) => {
      const verdict = judge(question, await bodyOf(question))
      if (typeof verdict === 'object') {
        receiver.messages.push(verdict)
        arrived(verdict)
      }
      answer.writeHead(typeof verdict === 'object' ? 200 : verdict === 'no_service' ? 404 : 400)
      answer.end(typeof verdict === 'object' ? 'ok' : verdict)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const receiver = new SlackReceiver(server)
    return receiver
  }

  private constructor(server: Server) {
    this.server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${PATH}`
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }
}

const PATH = '/services/T00000000/B00000000/demo'
/** Slack allows a hundred; a script that adds one an item would send them all. */
const MAX_ATTACHMENTS = 100
const MAX_BODY = 1 << 20

type Refusal = 'no_service' | 'invalid_payload' | 'no_text' | 'too_many_attachments'

function judge(question: IncomingMessage, body: string | null): SlackMessage | Refusal {
  if (question.method !== 'POST' || question.url !== PATH) return 'no_service'
  if (body === null || !/^application\/json\b/.test(question.headers['content-type'] ?? '')) return 'invalid_payload'
  let message: SlackMessage
  try {
    message = JSON.parse(body)
  } catch {
    return 'invalid_payload'
  }
  if (typeof message !== 'object' || message === null) return 'invalid_payload'
  const { text, blocks, attachments } = message
  if (attachments !== undefined && !Array.isArray(attachments)) return 'invalid_payload'
  if ((attachments?.length ?? 0) > MAX_ATTACHMENTS) return 'too_many_attachments'
  return text || blocks?.length || attachments?.some(one => one.text || one.fallback) ? message : 'no_text'
}

async function bodyOf(question: IncomingMessage): Promise<string | null> {
  let text = ''
  for await (const chunk of question.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_BODY) return null
  }
  return text
}
