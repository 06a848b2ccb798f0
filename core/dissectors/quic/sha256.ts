/**
 * HMAC (RFC 2104) with SHA-256 (FIPS 180-4) for keys and messages of at most one block, as keys of QUIC are made: a call
 * of node:crypto takes ten times as long as what it computes, and each connection would need nine.
 */

const BLOCK = 64
/** A message, its closing bit and its length share the last block. */
const MAX_MESSAGE = BLOCK - 9
const MAX_KEY = BLOCK

/** HMAC under one key, as often as it takes. */
export class Hmac {
  /** States behind the block of the key, by which both hashes begin. */
  private readonly inner = new Int32Array(8)
  private readonly outer = new Int32Array(8)

  constructor(key: Uint8Array) {
    if (key.length > MAX_KEY) throw new RangeError(`a key of at most ${MAX_KEY} bytes, found ${key.length}`)
    padded(key, 0x36)
    compress(START, this.inner)
    padded(key, 0x5c)
    compress(START, this.outer)
  }

  /** 32 bytes. */
  of(message: Uint8Array): Uint8Array {
    const { length } = message
    if (length > MAX_MESSAGE) throw new RangeError(`a message of at most ${MAX_MESSAGE} bytes, found ${length}`)
    SCHEDULE.fill(0, 0, 16)
    for (let i = 0; i < length; i++) SCHEDULE[i >> 2]! |= message[i]! << (24 - (i & 3) * 8)
    SCHEDULE[length >> 2]! |= 0x80 << (24 - (length & 3) * 8)
    SCHEDULE[15] = (BLOCK + length) * 8
    compress(this.inner, SUM)
    for (let i = 0; i < 8; i++) SCHEDULE[i] = SUM[i]!
    SCHEDULE.fill(0, 8, 16)
    SCHEDULE[8] = 0x80000000
    SCHEDULE[15] = (BLOCK + 32) * 8
    compress(this.outer, SUM)
    const bytes = new Uint8Array(32)
    for (let i = 0; i < 32; i++) bytes[i] = SUM[i >> 2]! >>> (24 - (i & 3) * 8)
    return bytes
  }
}

/** Every byte of the key's block is changed by the same one. */
function padded(key: Uint8Array, pad: number): void {
  SCHEDULE.fill(pad * 0x01010101, 0, 16)
  for (let i = 0; i < key.length; i++) SCHEDULE[i >> 2]! ^= key[i]! << (24 - (i & 3) * 8)
}

/** The block lies in the first 16 words of the schedule. FIPS 180-4, 6.2.2. */
function compress(from: Int32Array, to: Int32Array): void {
  const w = SCHEDULE
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15]!
    const y = w[i - 2]!
    const low = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)
    const high = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10)
    w[i] = (w[i - 16]! + low + w[i - 7]! + high) | 0
  }
  let a = from[0]!
  let b = from[1]!
  let c = from[2]!
  let d = from[3]!
  let e = from[4]!
  let f = from[5]!
  let g = from[6]!
  let h = from[7]!
  for (let i = 0; i < 64; i++) {
    const sum1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
    const t1 = (h + sum1 + ((e & f) ^ (~e & g)) + ROUNDS[i]! + w[i]!) | 0
    const sum0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
    const t2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
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

const SCHEDULE = new Int32Array(64)
const SUM = new Int32Array(8)

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
