/** What an item shows of bytes that no protocol claims: text where people can read it, base64 where they cannot. */
import { isUtf8 } from 'node:buffer'
import { utf8 } from './cursor.ts'

export interface Payload {
  /** The first bytes, as many as are kept; null when none are. */
  payload: string | null
  /** How `payload` is written; null for plain text. */
  encoding: 'base64' | null
}

/** Of `bytes[start..end)` the first `keep`; null for none. */
export function payloadOf(bytes: Uint8Array, start: number, end: number, keep: number): Payload {
  if (keep === 0 || end <= start) return { payload: end <= start ? '' : null, encoding: null }
  const stop = Math.min(end, start + keep)
  const kept = bytes.subarray(start, stop)
  if (isReadable(kept) && isUtf8(kept)) return { payload: utf8(bytes, start, stop), encoding: null }
  return {
    payload: Buffer.from(bytes.buffer, bytes.byteOffset + start, stop - start).toString('base64'),
    encoding: 'base64',
  }
}

/** Control characters that text has not, line ends and tabs apart. */
function isReadable(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 13) return false
  return true
}
