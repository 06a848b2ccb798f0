/** Decompresses records, no further than a limit: what a few bytes become may be gigabytes. */
import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { Malformed } from '../../cursor.ts'
import { inflateLz4 } from './lz4.ts'
import { inflateSnappy } from './snappy.ts'

/** By number, as attributes of batches and messages have it. */
export const CODECS: readonly (Codec | undefined)[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

export type Codec = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** A frame that asks for a larger window than this asks for memory. */
const MAX_ZSTD_WINDOW_LOG = 24

const INFLATERS: Readonly<Record<Codec, (bytes: Uint8Array, limit: number) => Uint8Array>> = {
  none: bytes => bytes,
  gzip: (bytes, limit) => gunzipSync(bytes, { maxOutputLength: limit }),
  snappy: inflateSnappy,
  lz4: inflateLz4,
  zstd: (bytes, limit) =>
    zstdDecompressSync(bytes, {
      maxOutputLength: limit,
      params: { [constants.ZSTD_d_windowLogMax]: MAX_ZSTD_WINDOW_LOG },
    }),
}

/** Throws Malformed where it is not what `codec` makes, or becomes more than `limit` bytes. */
export function inflate(codec: Codec, bytes: Uint8Array, limit: number): Uint8Array {
  if (limit <= 0) throw new Malformed('expected fewer compressed bytes')
  try {
    return INFLATERS[codec](bytes, limit)
  } catch (thrown) {
    if (thrown instanceof Malformed) throw thrown
    // What Node's zlib throws is about the bytes, or about the limit.
    throw new Malformed(`expected ${codec}: ${(thrown as Error).message}`)
  }
}
