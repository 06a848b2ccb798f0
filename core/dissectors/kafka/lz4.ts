/**
 * LZ4 frames, https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md; numbers are little-endian.
 *
 *   magic(4)=0x184D2204 flags(1) sizes(1) [content size(8)] [dictionary(4)] checksum(1), then blocks until size 0:
 *   size(4), its highest bit: not compressed; bytes [checksum(4)]
 *   block: sequences of   lengths(1) [more literals] literals offset(2) [more match]
 *
 * Checksums are not looked at: Kafka before 0.10 wrote wrong ones.
 */
import { Cursor } from '../../cursor.ts'

const MAGIC = 0x184d2204
const CONTENT_SIZE = 0x08
const BLOCK_CHECKSUM = 0x10
const DICTIONARY = 0x01
const STORED = 0x80000000
/** How much the output has room for at first, as a multiple of the input. */
const GUESS = 4
const LEAST_ROOM = 4096

export function inflateLz4(bytes: Uint8Array, limit: number): Uint8Array {
  const at = new Cursor(bytes, 0, bytes.length, true)
  const magic = at.u32le()
  if (magic !== MAGIC) at.fail(`an LZ4 frame, found ${magic.toString(16)}`)
  const flags = at.u8()
  at.skip(1 + ((flags & CONTENT_SIZE) !== 0 ? 8 : 0) + ((flags & DICTIONARY) !== 0 ? 4 : 0) + 1)
  const output = new Output(limit, bytes.length * GUESS)
  for (let size = at.u32le(); size !== 0; size = at.u32le()) {
    const block = at.within(size >= STORED ? size - STORED : size)
    if (size >= STORED) output.literals(block, block.remaining)
    else readBlock(block, output)
    if ((flags & BLOCK_CHECKSUM) !== 0) at.skip(4)
  }
  return output.bytes.subarray(0, output.length)
}

function readBlock(at: Cursor, output: Output): void {
  while (at.remaining > 0) {
    const lengths = at.u8()
    output.literals(at, length(at, lengths >> 4))
    // The last sequence has literals only.
    if (at.remaining === 0) return
    const offset = at.u16le()
    output.match(at, offset, length(at, lengths & 15) + LEAST_MATCH)
  }
}

const LEAST_MATCH = 4

function length(at: Cursor, code: number): number {
  if (code < 15) return code
  let length = code
  for (;;) {
    const more = at.u8()
    length += more
    if (more < 255) return length
  }
}

/** Blocks may refer to what came before them, so that all of them are written into one. */
class Output {
  bytes: Buffer
  length = 0
  private readonly limit: number

  constructor(limit: number, guess: number) {
    this.limit = limit
    this.bytes = Buffer.allocUnsafe(Math.min(limit, Math.max(LEAST_ROOM, guess)))
  }

  literals(at: Cursor, count: number): void {
    at.need(count)
    this.reserve(at, count)
    const { bytes, length } = this
    const from = at.position
    if (count > SHORT) bytes.set(at.bytes.subarray(from, from + count), length)
    else for (let i = 0; i < count; i++) bytes[length + i] = at.bytes[from + i]!
    at.position = from + count
    this.length = length + count
  }

  match(at: Cursor, offset: number, count: number): void {
    if (offset === 0 || offset > this.length) at.fail(`an offset within ${this.length} bytes, found ${offset}`)
    this.reserve(at, count)
    const { bytes } = this
    let { length } = this
    // It may overlap what it makes: that is how bytes are repeated.
    for (const end = length + count; length < end; length++) bytes[length] = bytes[length - offset]!
    this.length = length
  }

  private reserve(at: Cursor, count: number): void {
    const needed = this.length + count
    if (needed <= this.bytes.length) return
    if (needed > this.limit) at.fail(`at most ${this.limit} bytes, found more`)
    const larger = Buffer.allocUnsafe(Math.min(this.limit, Math.max(needed, this.bytes.length * 2)))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }
}

/** Below it a loop beats the call. */
const SHORT = 32
