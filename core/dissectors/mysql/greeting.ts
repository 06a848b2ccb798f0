/**
 * What greets a client of MySQL.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
 *
 *   10 version NUL connection(4) nonce(8) 00 capabilities(2) character-set(1) status(2) capabilities(2) nonce-length(1)
 *   reserved(10) nonce(13 or so) plugin NUL             9 version NUL connection(4) nonce NUL
 */
import { type Cursor, indexOf } from '../../cursor.ts'
import { PLUGIN_AUTH } from './commands.ts'
import { textToNul } from './request.ts'
import type { Greeting } from './session.ts'

const NONCE = 8
const MAX_VERSION = 100

/** null: no greeting. */
export function readGreeting(at: Cursor): Greeting | null {
  const protocol = at.u8()
  if (protocol !== 9 && protocol !== 10) return null
  const end = indexOf(at.bytes, 0, at.position, Math.min(at.end, at.position + MAX_VERSION))
  if (end < 0) return null
  const version = textToNul(at)
  if (!/^\d+\.\d+[ -~]*$/.test(version) || at.remaining < 4 + NONCE) return null
  const connectionId = at.u32le()
  if (protocol === 9) return { version, connectionId, authPlugin: null, capabilities: 0 }
  at.skip(NONCE)
  if (at.remaining < 3 || at.u8() !== 0) return null
  let capabilities = at.u16le()
  if (at.remaining < 16) return { version, connectionId, authPlugin: null, capabilities }
  at.skip(3)
  capabilities |= at.u16le() << 16
  const nonce = at.u8()
  at.skip(10)
  at.skip(Math.min(at.remaining, Math.max(13, nonce - NONCE)))
  const authPlugin = capabilities & PLUGIN_AUTH && at.remaining > 0 ? textToNul(at) : null
  return { version, connectionId, authPlugin, capabilities }
}
