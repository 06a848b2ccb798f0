/** What OP_COMPRESSED wraps, out of its wrapping. */
import { inflateSync, zstdDecompressSync } from 'node:zlib'
import { Malformed } from '../../cursor.ts'

/** A kilobyte that inflates to the 48 MB of the largest message must not be believed. */
export const MAX_INFLATED = 4 << 20

interface Compressor {
  name: string
  /** undefined: nobody here can. */
  decompress?(bytes: Uint8Array, size: number): Uint8Array
  /** What compressed bytes begin with; undefined: anything. */
  begins?: readonly number[]
}

/** By compressorId. */
export const COMPRESSORS: readonly Compressor[] = [
  { name: 'noop', decompress: bytes => bytes },
  { name: 'snappy' },
  { name: 'zlib', decompress: (bytes, size) => inflateSync(bytes, { maxOutputLength: size }), begins: [0x78] },
  {
    name: 'zstd',
    decompress: (bytes, size) => zstdDecompressSync(bytes, { maxOutputLength: size }),
    begins: [0x28, 0xb5, 0x2f, 0xfd],
  },
]

/** null: too large, or by a compressor that nobody here knows. */
export function decompress(id: number, bytes: Uint8Array, size: number): Uint8Array | null {
  const decompress = COMPRESSORS[id]?.decompress
  if (decompress === undefined || size > MAX_INFLATED) return null
  let found: Uint8Array
  try {
    found = decompress(bytes, Math.max(1, size))
  } catch (thrown) {
    throw new Malformed(`expected bytes compressed with ${COMPRESSORS[id]!.name}: ${thrown}`)
  }
  if (found.length !== size) throw new Malformed(`expected ${size} bytes, ${found.length} came of the compressed ones`)
  return found
}
