/**
 * Events of a binary log as a server sends them to its replicas; what they hold is told of some of them only.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html
 *
 *   00 [ef acknowledge(1)] timestamp(4) type(1) server(4) size(4) position(4) flags(2) data [checksum(4)]
 */
import type { Cursor } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { redactStatement } from '../../sql.ts'
import { u64le } from './intake.ts'
import type { Session } from './session.ts'

const HEADER = 19
const SEMISYNC = 0xef
const ROTATE = 4
const CHECKSUM = 4
/** Of a query; the whole is in the item of whoever sent it. */
const MAX_QUERY = 4096

/** Log_event_type of MySQL, and from 160 on of MariaDB. */
const TYPES: { readonly [type: number]: string } = {
  0: 'UNKNOWN_EVENT',
  1: 'START_EVENT_V3',
  2: 'QUERY_EVENT',
  3: 'STOP_EVENT',
  4: 'ROTATE_EVENT',
  5: 'INTVAR_EVENT',
  13: 'RAND_EVENT',
  14: 'USER_VAR_EVENT',
  15: 'FORMAT_DESCRIPTION_EVENT',
  16: 'XID_EVENT',
  17: 'BEGIN_LOAD_QUERY_EVENT',
  18: 'EXECUTE_LOAD_QUERY_EVENT',
  19: 'TABLE_MAP_EVENT',
  23: 'WRITE_ROWS_EVENT_V1',
  24: 'UPDATE_ROWS_EVENT_V1',
  25: 'DELETE_ROWS_EVENT_V1',
  26: 'INCIDENT_EVENT',
  27: 'HEARTBEAT_LOG_EVENT',
  28: 'IGNORABLE_LOG_EVENT',
  29: 'ROWS_QUERY_LOG_EVENT',
  30: 'WRITE_ROWS_EVENT',
  31: 'UPDATE_ROWS_EVENT',
  32: 'DELETE_ROWS_EVENT',
  33: 'GTID_LOG_EVENT',
  34: 'ANONYMOUS_GTID_LOG_EVENT',
  35: 'PREVIOUS_GTIDS_LOG_EVENT',
  36: 'TRANSACTION_CONTEXT_EVENT',
  37: 'VIEW_CHANGE_EVENT',
  38: 'XA_PREPARE_LOG_EVENT',
  39: 'PARTIAL_UPDATE_ROWS_EVENT',
  40: 'TRANSACTION_PAYLOAD_EVENT',
  41: 'HEARTBEAT_LOG_EVENT_V2',
  42: 'GTID_TAGGED_LOG_EVENT',
  160: 'ANNOTATE_ROWS_EVENT',
  161: 'BINLOG_CHECKPOINT_EVENT',
  162: 'GTID_EVENT',
  163: 'GTID_LIST_EVENT',
  164: 'START_ENCRYPTION_EVENT',
  165: 'QUERY_COMPRESSED_EVENT',
  166: 'WRITE_ROWS_COMPRESSED_EVENT_V1',
  167: 'UPDATE_ROWS_COMPRESSED_EVENT_V1',
  168: 'DELETE_ROWS_COMPRESSED_EVENT_V1',
}

/** `length` is that of the packet, of which perhaps only the beginning was kept. null: no event. */
export function binlogEvent(at: Cursor, length: number, session: Session): Json | null {
  if (at.remaining < 1 + HEADER || at.u8() !== 0) return null
  const marked = at.peek() === SEMISYNC && at.remaining > HEADER + 2 ? 2 : 0
  at.skip(marked)
  if (at.remaining < HEADER) return null
  const [seconds, type, serverId, size] = [at.u32le(), at.u8(), at.u32le(), at.u32le()]
  if (size !== length - 1 - marked) return null
  const event: Json = { type: 'BinlogEvent', eventType: TYPES[type] ?? String(type), seconds, serverId, size }
  event.nextPosition = at.u32le()
  event.flags = at.u16le()
  // The text at the end of an event cannot be told from a checksum whose description was not seen.
  const isTold = at.remaining === size - HEADER && (session.checksum !== null || !TEXTS.has(type))
  const data = at.remaining - (session.checksum && type !== ROTATE ? CHECKSUM : 0)
  if (isTold && data > 0) DETAILS[type]?.(at.within(data), event)
  return event
}

/** Certainly an event, whatever was asked: its own size is in it. `at` holds the payload or its first bytes. */
export function isBinlogEvent(at: Cursor, length: number): boolean {
  at.need(1 + HEADER)
  const { bytes, position: p } = at
  const size = (bytes[p + 10]! | (bytes[p + 11]! << 8) | (bytes[p + 12]! << 16) | (bytes[p + 13]! << 24)) >>> 0
  return bytes[p] === 0 && size === length - 1 && TYPES[bytes[p + 5]!] !== undefined
}

/** Events that end with text. */
const TEXTS = new Set([2, 160])

const DETAILS: { readonly [type: number]: ((data: Cursor, event: Json) => void) | undefined } = {
  // session(4) seconds(4) schema length(1) error(2) variables length(2) variables schema NUL query
  2: (data, event) => {
    data.skip(8)
    const schema = data.u8()
    data.skip(2)
    const variables = data.u16le()
    data.skip(variables)
    event.database = data.text(schema)
    data.skip(1)
    event.query = redactStatement(data.text(Math.min(data.remaining, MAX_QUERY)))
  },
  // position(8) file, and perhaps a checksum, which is no part of a name
  [ROTATE]: (data, event) => {
    event.position = u64le(data)
    event.file = /^[ -~]*\.\d+/.exec(data.latin1(data.remaining))?.[0] ?? null
  },
  16: (data, event) => {
    event.xid = u64le(data)
  },
  // table id(6) flags(2) schema length(1) schema NUL table length(1) table NUL
  19: (data, event) => {
    data.skip(8)
    event.database = data.text(data.u8())
    data.skip(1)
    event.table = data.text(data.u8())
  },
  160: (data, event) => {
    event.query = redactStatement(data.text(Math.min(data.remaining, MAX_QUERY)))
  },
}

const FORMAT_DESCRIPTION = 15
const CRC32 = 1

/** Whether events end with a checksum from here on, as a description of the format says; null: it is none. */
export function checksumOf(at: Cursor): boolean | null {
  const { bytes, position: p, end } = at
  const start = p + 1 + (bytes[p + 1] === SEMISYNC ? 2 : 0)
  if (end - start < HEADER + CHECKSUM + 1 || bytes[start + 4] !== FORMAT_DESCRIPTION) return null
  return bytes[end - CHECKSUM - 1] === CRC32
}
