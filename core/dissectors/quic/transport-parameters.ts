/** What an end of QUIC asks of the other in its hello: RFC 9000, 18.   id(varint) length(varint) value(length), … */
import { type Cursor, Malformed } from '../../cursor.ts'
import type { Json, JsonValue } from '../../item.ts'
import { hex } from '../tlsx/extensions.ts'
import { versionName } from './protection.ts'

/** By name: numbers, true for those that say all by being there, hex for ids and for what has no name here. */
export function readTransportParameters(at: Cursor): Json {
  const found: Json = {}
  try {
    for (let i = 0; at.remaining > 0 && i < MAX_PARAMETERS; i++) {
      const id = readVarint(at)
      const value = at.within(Number(readVarint(at)))
      const known = PARAMETERS.get(Number(id))
      // Values without a name are there so that others get used to them (RFC 9000, 18.1).
      if (known !== undefined) found[known.name] = known.read(value)
      else if ((Number(id) - 27) % 31 !== 0) found[`0x${id.toString(16)}`] = hex(value.view(value.remaining))
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    // What was read so far is there; the hello around it is not in doubt.
  }
  return found
}

/** The registry has some forty. */
const MAX_PARAMETERS = 100

/** RFC 9000, 16: the first two bits say how many bytes it has. */
export function readVarint(at: Cursor): number | bigint {
  const first = at.u8()
  const more = (1 << (first >> 6)) - 1
  let value = BigInt(first & 0x3f)
  if (more < 4) {
    let small = first & 0x3f
    for (let i = 0; i < more; i++) small = small * 256 + at.u8()
    return small
  }
  for (let i = 0; i < more; i++) value = (value << 8n) | BigInt(at.u8())
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

interface Parameter {
  name: string
  read: (value: Cursor) => JsonValue
}

const number = (value: Cursor): JsonValue => {
  const read = readVarint(value)
  return typeof read === 'number' ? read : read.toString()
}
const bytes = (value: Cursor): JsonValue => hex(value.view(value.remaining))
const presence = (): JsonValue => true
const versions = (value: Cursor): JsonValue => {
  const chosen = versionName(value.u32())
  const available: string[] = []
  while (value.remaining > 0) available.push(versionName(value.u32()))
  return { chosen, available }
}

const PARAMETERS = new Map<number, Parameter>([
  [0x00, { name: 'originalDestinationConnectionId', read: bytes }],
  [0x01, { name: 'maxIdleTimeout', read: number }],
  [0x02, { name: 'statelessResetToken', read: bytes }],
  [0x03, { name: 'maxUdpPayloadSize', read: number }],
  [0x04, { name: 'initialMaxData', read: number }],
  [0x05, { name: 'initialMaxStreamDataBidiLocal', read: number }],
  [0x06, { name: 'initialMaxStreamDataBidiRemote', read: number }],
  [0x07, { name: 'initialMaxStreamDataUni', read: number }],
  [0x08, { name: 'initialMaxStreamsBidi', read: number }],
  [0x09, { name: 'initialMaxStreamsUni', read: number }],
  [0x0a, { name: 'ackDelayExponent', read: number }],
  [0x0b, { name: 'maxAckDelay', read: number }],
  [0x0c, { name: 'disableActiveMigration', read: presence }],
  [0x0d, { name: 'preferredAddress', read: bytes }],
  [0x0e, { name: 'activeConnectionIdLimit', read: number }],
  [0x0f, { name: 'initialSourceConnectionId', read: bytes }],
  [0x10, { name: 'retrySourceConnectionId', read: bytes }],
  [0x11, { name: 'versionInformation', read: versions }],
  [0x20, { name: 'maxDatagramFrameSize', read: number }],
  [0x2ab2, { name: 'greaseQuicBit', read: presence }],
])
