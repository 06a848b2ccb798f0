/**
 * What INIT and INIT-ACK offer, and why there was an error: RFC 9260, 3.3.
 *
 *   INIT: initiate tag(4) window(4) streams out(2) streams in(2) initial tsn(4) parameters
 *   parameter, cause: type(2) length(2) value(length - 4), padded to 4
 */
import { formatAddress } from '../../address.ts'
import type { Cursor } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import { CAUSES, chunkName } from './codes.ts'

/** INIT as the request, INIT-ACK as the response of an association's set-up. */
export interface SctpSetup extends Json {
  chunkType: string
  checksum: number
  /** Bytes of the chunk. */
  length: number
  /** What the other side writes into every packet as the verification tag. */
  initiateTag: number
  receiverWindow: number
  outboundStreams: number
  inboundStreams: number
  initialTsn: number
  /** Further addresses of this end: paths of the same association, whose packets are streams of their own here. */
  addresses: string[]
  /** Chunk types that this end knows beside the usual ones. */
  extensions: string[]
  ecn: boolean
  forwardTsn: boolean
  /** Indication of what lies above (RFC 5061). */
  adaptation: number | null
}

export function readInit(at: Cursor, chunkType: string, checksum: number, length: number): SctpSetup {
  const setup: SctpSetup = {
    chunkType,
    checksum,
    length,
    initiateTag: at.u32(),
    receiverWindow: at.u32(),
    outboundStreams: at.u16(),
    inboundStreams: at.u16(),
    initialTsn: at.u32(),
    addresses: [],
    extensions: [],
    ecn: false,
    forwardTsn: false,
    adaptation: null,
  }
  eachParameter(at, (type, value) => PARAMETERS[type]?.(value, setup))
  return setup
}

const PARAMETERS: Readonly<Record<number, (at: Cursor, setup: SctpSetup) => void>> = {
  5: (at, setup) => {
    if (at.remaining >= 4) setup.addresses.push(`${at.u8()}.${at.u8()}.${at.u8()}.${at.u8()}`)
  },
  6: (at, setup) => {
    if (at.remaining >= 16) setup.addresses.push(formatAddress(Int32Array.of(at.i32(), at.i32(), at.i32(), at.i32())))
  },
  32768: (_, setup) => {
    setup.ecn = true
  },
  32776: (at, setup) => {
    while (at.remaining > 0) setup.extensions.push(chunkName(at.u8()))
  },
  49152: (_, setup) => {
    setup.forwardTsn = true
  },
  49158: (at, setup) => {
    if (at.remaining >= 4) setup.adaptation = at.u32()
  },
}

/** Of ABORT and ERROR. */
export function readCauses(at: Cursor): Json[] {
  const causes: Json[] = []
  eachParameter(at, (code, value) => {
    const cause: Json = { code, name: CAUSES.get(code) ?? String(code) }
    if (TOLD.includes(code)) cause.text = value.text(value.remaining).replace(/\0+$/, '')
    causes.push(cause)
  })
  return causes
}

/** Causes whose value is for people: user-initiated abort, protocol violation. */
const TOLD = [12, 13]

function eachParameter(at: Cursor, take: (type: number, value: Cursor) => void): void {
  while (at.remaining >= 4) {
    const type = at.u16()
    const length = at.u16()
    // What the capture cut off, or a length that lies: the rest cannot be told.
    if (length < 4 || length - 4 > at.remaining) return
    take(type, at.within(length - 4))
    at.position = Math.min(at.end, at.position + ((-length >>> 0) & 3))
  }
}
