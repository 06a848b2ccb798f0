/** What an end of QUIC asks of the other in its hello: RFC 9000, 18.   id(varint) length(varint) value(length), … */
import { type Cursor, Malformed } from '../../cursor.ts'
import { flag, json, number, plain, type Writes } from '../../json-shape.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { readHex } from '../tlsx/extensions.ts'
import { versionName } from './protection.ts'

/** By name: numbers, true for those that say all by being there, hex for ids and for what has no name here. */
export function writeTransportParameters(out: JsonWriter, at: Cursor): void {
  const start = out.length
  let end = start
  const seen: number[] = []
  try {
    while (at.remaining > 0 && seen.length < MAX_PARAMETERS) {
      const code = readVarint(at)
      const id = Number(code)
      const value = at.within(Number(readVarint(at)))
      // Who says one twice breaks off the connection (RFC 9000, 7.4).
      if (seen.includes(id)) continue
      seen.push(id)
      const known = PARAMETERS.get(id)
      // Values without a name are there so that others get used to them (RFC 9000, 18.1).
      if (known === undefined && (BigInt(code) - 27n) % 31n === 0n) continue
      out.raw(known === undefined ? keyOf(`0x${code.toString(16)}`) : known.key)
      if (known === undefined) bytes(out, value)
      else known.write(out, value)
      end = out.length
    }
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause
    // What was read so far is there; the hello around it is not in doubt.
  }
  out.length = end
  if (end === start) out.byte(COMMA)
  out.bytes[start] = OPEN
  out.byte(CLOSE)
}

const [COMMA, OPEN, CLOSE] = [0x2c, 0x7b, 0x7d]

/** The registry has some forty. */
const MAX_PARAMETERS = 100

/** RFC 9000, 16: the first two bits say how many bytes it has. */
export function readVarint(at: Cursor): number | bigint {
  const first = at.u8()
  const more = (1 << (first >> 6)) - 1
  if (more < 4) {
    let small = first & 0x3f
    for (let i = 0; i < more; i++) small = small * 256 + at.u8()
    return small
  }
  let value = BigInt(first & 0x3f)
  for (let i = 0; i < more; i++) value = (value << 8n) | BigInt(at.u8())
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

interface Parameter {
  /** As JSON, behind a comma. */
  key: Uint8Array
  write: Writes<Cursor>
}

function parameter(name: string, write: Writes<Cursor>): Parameter {
  return { key: keyOf(name), write }
}

function keyOf(name: string): Uint8Array {
  return constant(`,"${name}":`)
}

const count: Writes<Cursor> = (out, value) => {
  const read = readVarint(value)
  if (typeof read === 'number') number(out, read)
  else plain(out, read.toString())
}
const bytes: Writes<Cursor> = (out, value) => plain(out, readHex(value, value.remaining))
const presence: Writes<Cursor> = out => flag(out, true)
const versions: Writes<Cursor> = (out, value) => {
  const chosen = versionName(value.u32())
  const available: string[] = []
  while (value.remaining > 0) available.push(versionName(value.u32()))
  json(out, { chosen, available })
}

const PARAMETERS = new Map([
  [0x00, parameter('originalDestinationConnectionId', bytes)],
  [0x01, parameter('maxIdleTimeout', count)],
  [0x02, parameter('statelessResetToken', bytes)],
  [0x03, parameter('maxUdpPayloadSize', count)],
  [0x04, parameter('initialMaxData', count)],
  [0x05, parameter('initialMaxStreamDataBidiLocal', count)],
  [0x06, parameter('initialMaxStreamDataBidiRemote', count)],
  [0x07, parameter('initialMaxStreamDataUni', count)],
  [0x08, parameter('initialMaxStreamsBidi', count)],
  [0x09, parameter('initialMaxStreamsUni', count)],
  [0x0a, parameter('ackDelayExponent', count)],
  [0x0b, parameter('maxAckDelay', count)],
  [0x0c, parameter('disableActiveMigration', presence)],
  [0x0d, parameter('preferredAddress', bytes)],
  [0x0e, parameter('activeConnectionIdLimit', count)],
  [0x0f, parameter('initialSourceConnectionId', bytes)],
  [0x10, parameter('retrySourceConnectionId', bytes)],
  [0x11, parameter('versionInformation', versions)],
  [0x20, parameter('maxDatagramFrameSize', count)],
  [0x2ab2, parameter('greaseQuicBit', presence)],
])
