/** Datagrams that no protocol claims (RFC 768): one event each, the payload in the item's `data`. Told of when asked for. */
import type { Face } from '../dissector.ts'
import type { Json } from '../item.ts'

export const face: Face = {
  name: 'udp',
  title: 'User Datagram Protocol',
  abbr: 'UDP',
  version: '',
  color: '#6b7280',
  reference: 'https://www.rfc-editor.org/rfc/rfc768',
  ports: [],
  priority: 110,
  optional: true,
  unclaimed: 'udp',
  summarize,
}

function summarize(_request: Json | null, _response: Json | null, event: Json | null) {
  return { method: 'DATA', summary: event === null ? '' : `${event.length} bytes from the ${event.from}`, status: '' }
}
