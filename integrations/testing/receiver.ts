/** Receiver: an HTTP server on loopback that remembers every request whole and answers as the test says. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Received {
  method: string
  url: string
  headers: IncomingHttpHeaders
  body: string
}

export type Answer =
  | { status: number; headers?: { [name: string]: string }; body?: string; afterMs?: number }
  /** The connection breaks before a word is said. */
  | 'drop'
  /** It never answers. */
  | 'silence'

export const OK: Answer = { status: 200, body: 'ok' }

export class Receiver {
  readonly received: Received[] = []
  /** How many it was asked to open. */
  connections = 0
  readonly #server: Server

  static async open(answer: (request: Received, number: number) => Answer): Promise<Receiver> {
    const receiver = new Receiver(answer)
    receiver.#server.listen(0, '127.0.0.1')
    await once(receiver.#server, 'listening')
    return receiver
  }

  private constructor(answer: (request: Received, number: number) => Answer) {
    this.#server = createServer(async (incoming, response) => {
      const chunks: Buffer[] = []
      try {
        for await (const chunk of incoming) chunks.push(chunk)
      } catch {
        // The sender was killed in the middle: that request was never received.
        return
      }
      const { method, url, headers } = incoming
      const request = { method: method!, url: url!, headers, body: Buffer.concat(chunks).toString('utf8') }
      this.received.push(request)
      say(answer(request, this.received.length), response)
    })
    this.#server.on('connection', () => this.connections++)
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

function say(answer: Answer, response: ServerResponse): void {
  if (answer === 'silence') return
  if (answer === 'drop') {
    response.socket?.destroy()
    return
  }
  const speak = () => response.writeHead(answer.status, answer.headers ?? {}).end(answer.body ?? '')
  if (answer.afterMs === undefined) speak()
  else setTimeout(speak, answer.afterMs)
}
