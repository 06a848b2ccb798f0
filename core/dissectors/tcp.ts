/** Bytes in order that no protocol claims (RFC 9293): one event for each run, the payload in `data`. Told of when asked for. */
import type { Face } from '../dissector.ts'
import type { Json } from '../item.ts'

export const face: Face = {
  name: 'tcp',
  title: 'Transmission Control Protocol',
  abbr: 'TCP',
  version: '',
  color: '#6b7280',
  reference: 'https://www.rfc-editor.org/rfc/rfc9293',
  ports: [],
  priority: 110,
  optional: true,
  unclaimed: 'tcp',
  summarize,
}

function summarize(_request: Json | null, _response: Json | null, event: Json | null) {
  return { method: 'DATA', summary: event === null ? '' : `${event.length} bytes from the ${event.from}`, status: '' }
}
