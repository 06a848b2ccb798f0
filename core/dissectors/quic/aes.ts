/**
 * AES-128 (FIPS 197) for single blocks: node:crypto takes microseconds to set up what is used for one packet. Its time
 * depends on the key, which is no secret where this is used: keys of Initial packets are public.
 */

const ROUNDS = 10

/** The 16 bytes at `at` under a key of four words; what comes of them are four words. */
export function encrypt(key: Int32Array, bytes: Uint8Array, at: number, to: Int32Array): void {
  const keys = SCHEDULE
  expand(key, keys)
  let a = word(bytes, at) ^ keys[0]!
  let b = word(bytes, at + 4) ^ keys[1]!
  let c = word(bytes, at + 8) ^ keys[2]!
  let d = word(bytes, at + 12) ^ keys[3]!
  for (let k = 4; k < 4 * ROUNDS; k += 4) {
    const e = T0[a >>> 24]! ^ T1[(b >>> 16) & 255]! ^ T2[(c >>> 8) & 255]! ^ T3[d & 255]! ^ keys[k]!
    const f = T0[b >>> 24]! ^ T1[(c >>> 16) & 255]! ^ T2[(d >>> 8) & 255]! ^ T3[a & 255]! ^ keys[k + 1]!
    const g = T0[c >>> 24]! ^ T1[(d >>> 16) & 255]! ^ T2[(a >>> 8) & 255]! ^ T3[b & 255]! ^ keys[k + 2]!
    d = T0[d >>> 24]! ^ T1[(a >>> 16) & 255]! ^ T2[(b >>> 8) & 255]! ^ T3[c & 255]! ^ keys[k + 3]!
    a = e
    b = f
    c = g
  }
  to[0] = last(a, b, c, d) ^ keys[40]!
  to[1] = last(b, c, d, a) ^ keys[41]!
  to[2] = last(c, d, a, b) ^ keys[42]!
  to[3] = last(d, a, b, c) ^ keys[43]!
}

/** The keys of all rounds: FIPS 197, 5.2. */
function expand(key: Int32Array, keys: Int32Array): void {
  for (let i = 0; i < 4; i++) keys[i] = key[i]!
  for (let i = 4, constant = 1; i < keys.length; i += 4) {
    const before = keys[i - 1]!
    const turned =
      (SBOX[(before >>> 16) & 255]! << 24) |
      (SBOX[(before >>> 8) & 255]! << 16) |
      (SBOX[before & 255]! << 8) |
      SBOX[before >>> 24]!
    keys[i] = keys[i - 4]! ^ turned ^ (constant << 24)
    keys[i + 1] = keys[i - 3]! ^ keys[i]!
    keys[i + 2] = keys[i - 2]! ^ keys[i + 1]!
    keys[i + 3] = keys[i - 1]! ^ keys[i + 2]!
    constant = twice(constant)
  }
}

const SCHEDULE = new Int32Array(4 * (ROUNDS + 1))

/** The last round mixes no columns. */
function last(a: number, b: number, c: number, d: number): number {
  return (SBOX[a >>> 24]! << 24) | (SBOX[(b >>> 16) & 255]! << 16) | (SBOX[(c >>> 8) & 255]! << 8) | SBOX[d & 255]!
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}

/** Times x in the field of AES (FIPS 197, 4.2.1). */
function twice(byte: number): number {
  return ((byte << 1) ^ (byte & 0x80 ? 0x11b : 0)) & 0xff
}

/** FIPS 197, 5.1.1: the inverse in the field, then a sum of its rotations. */
const SBOX = new Uint8Array(256)
/** Substitution, rows and columns in one: for each byte of a column the words that it adds to. */
const [T0, T1, T2, T3] = [new Int32Array(256), new Int32Array(256), new Int32Array(256), new Int32Array(256)]
for (let power = 1, inverse = 1, i = 0; i < 255; i++) {
  const turned = inverse | (inverse << 8)
  const byte = (inverse ^ (turned >> 7) ^ (turned >> 6) ^ (turned >> 5) ^ (turned >> 4) ^ 0x63) & 0xff
  SBOX[power] = byte
  // 3 generates the field: `power` goes through all of it upwards, and what undoes it downwards.
  power ^= twice(power)
  inverse ^= inverse << 1
  inverse ^= inverse << 2
  inverse ^= inverse << 4
  inverse &= 0xff
  if (inverse & 0x80) inverse ^= 0x09
}
SBOX[0] = 0x63
for (let i = 0; i < 256; i++) {
  const byte = SBOX[i]!
  const double = twice(byte)
  const column = (double << 24) | (byte << 16) | (byte << 8) | (double ^ byte)
  T0[i] = column
  T1[i] = (column >>> 8) | (column << 24)
  T2[i] = (column >>> 16) | (column << 16)
  T3[i] = (column >>> 24) | (column << 8)
}
