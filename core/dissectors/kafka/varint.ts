/** Numbers of variable length: seven bits a byte, the low ones first; signed ones as 0, -1, 1, -2, ... */
import type { Cursor } from '../../cursor.ts'

/** 32 bits. */
export function uvarint(at: Cursor): number {
  const first = at.u8()
  if (first < 0x80) return first
  let value = first & 0x7f
  for (let shift = 7; shift < 35; shift += 7) {
    const byte = at.u8()
    // The fifth byte has four bits.
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return value >>> 0
  }
  return at.fail('a number of at most five bytes')
}

/** 32 bits, signed. */
export function varint(at: Cursor): number {
  const value = uvarint(at)
  return (value >>> 1) ^ -(value & 1)
}

/** 64 bits, signed: a number up to 2^53 - 1, a decimal string beyond. */
export function varlong(at: Cursor): number | string {
  const first = at.u8()
  if (first < 0x80) return (first >>> 1) ^ -(first & 1)
  let value = first & 0x7f
  for (let power = 0x80, size = 1; size < 7; power *= 0x80, size++) {
    const byte = at.u8()
    value += (byte & 0x7f) * power
    // Seven bytes are 49 bits.
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  let long = BigInt(value)
  for (let shift = 49n; shift < 70n; shift += 7n) {
    const byte = at.u8()
    long |= BigInt(byte & 0x7f) << shift
    if (byte < 0x80) return exact(BigInt.asIntN(64, (long >> 1n) ^ -(long & 1n)))
  }
  return at.fail('a number of at most ten bytes')
}

function exact(value: bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value.toString()
}
