/**
 * Decimal128 of IEEE 754-2008 as text, in its binary form as BSON has it.
 * https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md
 *
 *   sign(1) combination(17) coefficient(110)             the highest byte is the last one
 */

const BIAS = 6176
/** The largest coefficient; larger ones mean 0. */
const MOST = 10n ** 34n - 1n
/** Numbers with an exponent below this are written with it. */
const LEAST_PLAIN = -6

export function decimal128(bytes: Uint8Array, at: number): string {
  const high = u64(bytes, at + 8)
  const sign = high >> 63n === 1n ? '-' : ''
  const combination = Number((high >> 58n) & 31n)
  if (combination === 31) return 'NaN'
  if (combination === 30) return `${sign}Infinity`
  // With both upper bits set the coefficient would begin with 100 in binary: more than 34 digits.
  const isLarge = combination >> 3 === 3
  const exponent = Number((high >> (isLarge ? 47n : 49n)) & 0x3fffn) - BIAS
  const coefficient = isLarge ? 0n : ((high & 0x1ffffffffffffn) << 64n) | u64(bytes, at)
  return sign + text((coefficient > MOST ? 0n : coefficient).toString(), exponent)
}

function text(digits: string, exponent: number): string {
  const scientific = exponent + digits.length - 1
  if (exponent > 0 || scientific < LEAST_PLAIN) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : ''
    return `${digits[0]}${fraction}E${scientific < 0 ? '' : '+'}${scientific}`
  }
  if (exponent === 0) return digits
  const point = digits.length + exponent
  return point > 0 ? `${digits.slice(0, point)}.${digits.slice(point)}` : `0.${'0'.repeat(-point)}${digits}`
}

function u64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset + at, 8).getBigUint64(0, true)
}
