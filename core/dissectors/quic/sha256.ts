/**
 * HMAC (RFC 2104) with SHA-256 (FIPS 180-4) for keys and messages of at most one block, as keys of QUIC are made: a call
 * of node:crypto takes ten times as long as what it computes, and each connection would need nine. All is in words, as
 * SHA-256 has it.
 */

const BLOCK = 64
/** A message, its closing bit and its length share the last block. */
const MAX_MESSAGE = BLOCK - 9
const MAX_KEY = BLOCK

/** A block of 16 words with the other 48 of its schedule (FIPS 180-4, 6.2.2). */
export type Block = Int32Array

export function emptyBlock(): Block {
  return new Int32Array(64)
}

/** HMAC under one key, as often as it takes. */
export class Hmac {
  /** States behind the block of the key, by which both hashes begin. */
  private readonly inner = new Int32Array(8)
  private readonly outer = new Int32Array(8)

  /** From now on under this key: words as `of` writes them, or as `wordsOf` makes them. */
  under(key: Int32Array): this {
    const w = SCRATCH
    const { length } = key
    for (let i = 0; i < 16; i++) w[i] = (i < length ? key[i]! : 0) ^ 0x36363636
    expand(w)
    compress(w, START, this.inner)
    for (let i = 0; i < 16; i++) w[i] = (i < length ? key[i]! : 0) ^ 0x5c5c5c5c
    expand(w)
    compress(w, START, this.outer)
    return this
  }

  /** Of a message that `blockOf` has made ready: eight words. */
  of(message: Block, to: Int32Array): Int32Array {
    compress(message, this.inner, to)
    const w = SCRATCH
    for (let i = 0; i < 8; i++) w[i] = to[i]!
    w[8] = 0x80000000
    for (let i = 9; i < 15; i++) w[i] = 0
    w[15] = (BLOCK + 32) * 8
    expand(w)
    compress(w, this.outer, to)
    return to
  }
}

/** The key, filled up with zeros to whole words. */
export function wordsOf(key: Uint8Array): Int32Array {
  const { length } = key
  if (length > MAX_KEY) throw new RangeError(`a key of at most ${MAX_KEY} bytes, found ${length}`)
  const words = new Int32Array((length + 3) >> 2)
  for (let i = 0; i < length; i++) words[i >> 2]! |= key[i]! << (24 - (i & 3) * 8)
  return words
}

/** The last block of what is hashed: the message, its closing bit and the length of all with the key's block. */
export function blockOf(message: Uint8Array, block: Block = emptyBlock()): Block {
  const { length } = message
  if (length > MAX_MESSAGE) throw new RangeError(`a message of at most ${MAX_MESSAGE} bytes, found ${length}`)
  for (let i = 0; i < 16; i++) block[i] = 0
  for (let i = 0; i < length; i++) block[i >> 2]! |= message[i]! << (24 - (i & 3) * 8)
  block[length >> 2]! |= 0x80 << (24 - (length & 3) * 8)
  block[15] = (BLOCK + length) * 8
  expand(block)
  return block
}

/** As many bytes of the words as there is room for. */
export function bytesOf<Bytes extends Uint8Array>(words: Int32Array, to: Bytes): Bytes {
  for (let i = 0; i < to.length; i++) to[i] = words[i >> 2]! >>> (24 - (i & 3) * 8)
  return to
}

function expand(w: Block): void {
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15]!
    const y = w[i - 2]!
    const low = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)
    const high = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10)
    w[i] = (w[i - 16]! + low + w[i - 7]! + high) | 0
  }
}

function compress(w: Block, from: Int32Array, to: Int32Array): void {
  let a = from[0]!
  let b = from[1]!
  let c = from[2]!
  let d = from[3]!
  let e = from[4]!
  let f = from[5]!
  let g = from[6]!
  let h = from[7]!
  for (let i = 0; i < 64; i++) {
    // What waits for the round before is added last.
    const turned1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
    const t1 = (((h + ROUNDS[i]! + w[i]!) | 0) + (g ^ (e & (f ^ g))) + turned1) | 0
    const turned0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
    const t2 = (((a & b) | (c & (a | b))) + turned0) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  to[0] = from[0]! + a
  to[1] = from[1]! + b
  to[2] = from[2]! + c
  to[3] = from[3]! + d
  to[4] = from[4]! + e
  to[5] = from[5]! + f
  to[6] = from[6]! + g
  to[7] = from[7]! + h
}

const SCRATCH = emptyBlock()

/** The first 32 bits behind the point of the roots of the first primes: 8 square roots, 64 cube roots. */
const START = new Int32Array(8)
const ROUNDS = new Int32Array(64)
for (let candidate = 2, found = 0; found < 64; candidate++) {
  let prime = true
  for (let divisor = 2; divisor * divisor <= candidate && prime; divisor++) prime = candidate % divisor !== 0
  if (!prime) continue
  if (found < 8) START[found] = fraction(Math.sqrt(candidate))
  ROUNDS[found++] = fraction(Math.cbrt(candidate))
}

function fraction(root: number): number {
  return ((root % 1) * 2 ** 32) | 0
}
