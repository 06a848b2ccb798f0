/** What OP_COMPRESSED wraps, out of its wrapping. */
import { inflateSync, zstdDecompressSync } from 'node:zlib'
import { Malformed } from '../../cursor.ts'
import { inflateSnappy } from '../kafka/snappy.ts'

/** A kilobyte that inflates to the 48 MB of the largest message must not be believed. */
export const MAX_INFLATED = 4 << 20

interface Compressor {
  name: string
  decompress(bytes: Uint8Array, size: number): Uint8Array
  /** What compressed bytes begin with; undefined: anything. */
  begins?: readonly number[]
}

/** By compressorId. */
export const COMPRESSORS: readonly Compressor[] = [
  { name: 'noop', decompress: bytes => bytes },
  { name: 'snappy', decompress: inflateSnappy },
  { name: 'zlib', decompress: (bytes, size) => inflateSync(bytes, { maxOutputLength: size }), begins: [0x78] },
  {
    name: 'zstd',
    decompress: (bytes, size) => zstdDecompressSync(bytes, { maxOutputLength: size }),
    begins: [0x28, 0xb5, 0x2f, 0xfd],
  },
]

/** null: too large, or by a compressor that nobody knows. */
export function decompress(id: number, bytes: Uint8Array, size: number): Uint8Array | null {
  const compressor = COMPRESSORS[id]
  if (compressor === undefined || size > MAX_INFLATED) return null
  let found: Uint8Array
  try {
    found = compressor.decompress(bytes, Math.max(1, size))
  } catch (thrown) {
    if (thrown instanceof Malformed) throw thrown
    // What Node's zlib throws is about the bytes, or about the limit.
    throw new Malformed(`expected bytes compressed with ${compressor.name}: ${(thrown as Error).message}`)
  }
  if (found.length !== size) throw new Malformed(`expected ${size} bytes, ${found.length} came of the compressed ones`)
  return found
}
