/**
 * Snappy, https://github.com/google/snappy/blob/main/format_description.txt
 *
 *   size (varint), then elements:   literal  xxxxxx00 [size] bytes     copy of 4 to 11   oooxxx01 offset(1)
 *                                   copy of 1 to 64  xxxxxx10 offset(2, little)  xxxxxx11 offset(4, little)
 *
 * Java clients frame it (xerial): 82 "SNAPPY" 00 version(4) compatible(4), then blocks: size(4) snappy.
 */
import { Cursor } from '../../cursor.ts'
import { uvarint } from './varint.ts'

const XERIAL = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]
const XERIAL_HEADER = 16

export function inflateSnappy(bytes: Uint8Array, limit: number): Uint8Array {
  const at = new Cursor(bytes, 0, bytes.length, true)
  if (!XERIAL.every((byte, i) => bytes[i] === byte)) return block(at, limit)
  at.skip(XERIAL_HEADER)
  const blocks: Uint8Array[] = []
  let total = 0
  while (at.remaining > 0) {
    const inflated = block(at.within(at.u32()), limit - total)
    total += inflated.length
    blocks.push(inflated)
  }
  return blocks.length === 1 ? blocks[0]! : Buffer.concat(blocks, total)
}

function block(at: Cursor, limit: number): Uint8Array {
  const size = uvarint(at)
  if (size > limit) at.fail(`at most ${limit} bytes, found ${size}`)
  const out = Buffer.allocUnsafe(size)
  const { bytes } = at
  let done = 0
  while (at.remaining > 0) {
    const tag = at.u8()
    const kind = tag & 3
    if (kind === 0) {
      const length = literalLength(at, tag >> 2)
      at.need(length)
      if (done + length > size) at.fail(`${size} bytes, found more`)
      const from = at.position
      if (length > SHORT) out.set(bytes.subarray(from, from + length), done)
      else for (let i = 0; i < length; i++) out[done + i] = bytes[from + i]!
      at.position = from + length
      done += length
      continue
    }
    const length = kind === 1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2)
    const offset = kind === 1 ? ((tag >> 5) << 8) | at.u8() : kind === 2 ? at.u16le() : at.u32le()
    if (offset === 0 || offset > done) at.fail(`an offset within ${done} bytes, found ${offset}`)
    if (done + length > size) at.fail(`${size} bytes, found more`)
    // It may overlap what it makes: that is how bytes are repeated.
    for (let i = 0; i < length; i++, done++) out[done] = out[done - offset]!
  }
  if (done !== size) at.fail(`${size} bytes, found ${done}`)
  return out
}

/** Below it a loop beats the call. */
const SHORT = 32
/** From 60 on the number says in how many bytes the length follows. */
const LONG_LITERAL = 60

function literalLength(at: Cursor, code: number): number {
  if (code < LONG_LITERAL) return code + 1
  let length = 0
  for (let i = 0, count = code - LONG_LITERAL + 1; i < count; i++) length += at.u8() * 2 ** (8 * i)
  return length + 1
}
