/**
 * The head of a frame (RFC 6455, 5.2), and unmasking (5.3).
 *
 *   FIN(1) RSV(3) opcode(4)  MASK(1) length(7)  [ length(16) if 126 | length(64) if 127 ]  [ mask(32) ]  payload
 */
import type { Cursor } from '../../cursor.ts'

export const CONTINUATION = 0
export const TEXT = 1
export const CLOSE = 8

/** 5.5: of a control frame. */
const MAX_CONTROL = 125
const FIN = 0x80
const RSV1 = 0x40
const RSV2_AND_3 = 0x30
const MASKED = 0x80

/** By opcode; the others mean nothing (5.2). */
export const OPCODES: readonly (string | undefined)[] = [
  'continuation',
  'text',
  'binary',
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  'close',
  'ping',
  'pong',
]

export interface Frame {
  fin: boolean
  /** What permessage-deflate sets on the first frame of a compressed message. */
  rsv1: boolean
  opcode: number
  masked: boolean
  /** Zero where it is not masked. */
  mask: number
  length: number
}

export function isControl(opcode: number): boolean {
  return opcode >= CLOSE
}

/** Leaves the cursor at the payload. `extended`: an extension may have given the reserved bits a meaning. */
export function readFrame(at: Cursor, extended: boolean): Frame {
  const first = at.u8()
  const opcode = first & 0x0f
  if (OPCODES[opcode] === undefined) at.fail(`an opcode of WebSocket, found ${opcode}`)
  const rsv1 = (first & RSV1) !== 0
  if (!extended && (first & (RSV1 | RSV2_AND_3)) !== 0) at.fail('reserved bits of 0: no extension was agreed on')
  const fin = (first & FIN) !== 0
  const second = at.u8()
  const masked = (second & MASKED) !== 0
  let length = second & 0x7f
  if (isControl(opcode) && (!fin || length > MAX_CONTROL)) at.fail('a control frame that is short and in one part')
  if (length === 126) length = at.u16()
  else if (length === 127) {
    const long = at.u64()
    if (typeof long === 'string') at.fail(`a length below 2^53, found ${long}`)
    length = long as number
  }
  return { fin, rsv1, opcode, masked, mask: masked ? at.u32() : 0, length }
}

/** How many bytes with a loop, before the words of 32 bits are worth their preparation. */
const FEW = 64

/** `bytes[start..end)` with the mask taken off, into `target` from `to` on; `phase`: bytes of the payload before them. */
export function unmask(
  bytes: Uint8Array,
  start: number,
  end: number,
  mask: number,
  phase: number,
  target: Uint8Array,
  to: number,
): void {
  const turn = (phase & 3) * 8
  // The mask as it meets the first byte.
  const turned = turn === 0 ? mask : (mask << turn) | (mask >>> (32 - turn))
  let i = start
  let o = to
  if (end - start >= FEW && (target.byteOffset & 3) === 0) {
    for (; (o & 3) !== 0; i++, o++) target[o] = bytes[i]! ^ (turned >>> (24 - ((o - to) & 3) * 8))
    const words = (end - i) >> 2
    target.set(bytes.subarray(i, i + words * 4), o)
    const view = new Int32Array(target.buffer, target.byteOffset + o, words)
    const word = inMemory(turned, (o - to) & 3)
    for (let k = 0; k < words; k++) view[k]! ^= word
    i += words * 4
    o += words * 4
  }
  for (; i < end; i++, o++) target[o] = bytes[i]! ^ (turned >>> (24 - ((o - to) & 3) * 8))
}

/** The mask, begun `by` bytes late, as this machine reads four bytes. */
function inMemory(mask: number, by: number): number {
  const bytes = new Uint8Array(4)
  for (let i = 0; i < 4; i++) bytes[i] = mask >>> (24 - ((i + by) & 3) * 8)
  return new Int32Array(bytes.buffer)[0]!
}
