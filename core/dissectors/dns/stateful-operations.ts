/** DNS stateful operations (RFC 8490, 5.4).   type(2) length(2) value(length), as often as there is room */
import type { Json } from '../../item.ts'
import { hexText } from './fields.ts'
import type { MessageCursor } from './message-cursor.ts'

export function readStatefulOperations(at: MessageCursor): Json[] {
  const operations: Json[] = []
  const end = at.end
  while (at.remaining > 0) {
    const number = at.u16()
    const length = at.u16()
    at.need(length)
    at.end = at.position + length
    const operation: Json = { type: NAMES[number] ?? `DSO${number}` }
    if (number === KEEP_ALIVE) {
      operation.inactivityMs = at.u32()
      operation.intervalMs = at.u32()
    } else if (number === RETRY_DELAY) operation.retryMs = at.u32()
    else operation.data = hexText(at, length).toLowerCase()
    if (at.remaining > 0) at.fail(`the end of ${operation.type}, found ${at.remaining} more bytes`)
    operations.push(operation)
    at.end = end
  }
  return operations
}

const KEEP_ALIVE = 1
const RETRY_DELAY = 2

/** RFC 8490, 7; from 0x40 on RFC 8765, 6. */
const NAMES: { readonly [number: number]: string } = {
  [KEEP_ALIVE]: 'KEEPALIVE',
  [RETRY_DELAY]: 'RETRYDELAY',
  3: 'PADDING',
  64: 'SUBSCRIBE',
  65: 'PUSH',
  66: 'UNSUBSCRIBE',
  67: 'RECONFIRM',
}
