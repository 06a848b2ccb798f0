/** What the handshake agreed on: Sec-WebSocket-Protocol and Sec-WebSocket-Extensions of the answer (RFC 6455, 4.2.2). */
import type { Json } from '../../item.ts'

export interface Agreed {
  subprotocol: string | null
  /** 'unknown': the handshake was not seen. 'other': an extension that is not read here. */
  compression: 'none' | 'permessage-deflate' | 'other' | 'unknown'
  /** RFC 7692, 7.1.1: this side begins each message with an empty window. */
  clientForgets: boolean
  serverForgets: boolean
}

export const UNKNOWN: Agreed = {
  subprotocol: null,
  compression: 'unknown',
  clientForgets: false,
  serverForgets: false,
}

/** From the headers of the answer, names in any case. */
export function agreedIn(headers: Json): Agreed {
  const extensions = (field(headers, 'sec-websocket-extensions') ?? '').toLowerCase()
  const parts = extensions.split(/[;,]/).map(part => part.trim())
  return {
    subprotocol: field(headers, 'sec-websocket-protocol'),
    compression: parts.includes('permessage-deflate') ? 'permessage-deflate' : parts[0] === '' ? 'none' : 'other',
    clientForgets: parts.includes('client_no_context_takeover'),
    serverForgets: parts.includes('server_no_context_takeover'),
  }
}

function field(headers: Json, name: string): string | null {
  const found = Object.keys(headers).find(key => key.toLowerCase() === name)
  return found === undefined ? null : String(headers[found])
}
