/**
 * What a string of Redis becomes in an item: text where it is UTF-8, base64 where it is not, and its size where it is
 * not all there. A string may have 512 MB: `Blob` takes it in as it comes and keeps no more than was asked for.
 */
import { isUtf8 } from 'node:buffer'
import { latin1, utf8 } from '../../cursor.ts'
import { Skim } from '../../skim.ts'

/** `size` is the number of bytes on the wire; the text or base64 beside it may be of the first of them only. */
export type Bulk = string | { text: string; size: number } | { base64: string; size: number } | { size: number }

/** `bytes[start..end)`, of which the first `keep` are kept. */
export function bulk(bytes: Uint8Array, start: number, end: number, keep: number): Bulk {
  const size = end - start
  if (size <= keep) {
    for (let i = start; i < end; i++) if (bytes[i]! >= 0x80) return beyondAscii(bytes, start, end)
    return latin1(bytes, start, end)
  }
  return beginning(bytes.subarray(start, start + Math.max(keep, 0)), size)
}

/** A string of `size` bytes of which only `kept` was kept; all of it, if they are as many. */
export function beginning(kept: Uint8Array, size: number): Bulk {
  if (kept.length === size) return bulk(kept, 0, size, size)
  if (kept.length === 0) return { size }
  const whole = kept.subarray(0, wholeCharacters(kept))
  return isUtf8(whole) ? { text: utf8(whole, 0, whole.length), size } : { base64: base64(kept), size }
}

/** How many bytes of a string were kept. */
export function keptSize(value: Bulk): number {
  if (typeof value === 'string') return value.length
  if ('text' in value) return value.text.length
  return 'base64' in value ? value.base64.length : 0
}

function beyondAscii(bytes: Uint8Array, start: number, end: number): Bulk {
  const part = bytes.subarray(start, end)
  return isUtf8(part) ? utf8(bytes, start, end) : { base64: base64(part), size: part.length }
}

/** Length without a character that the end cuts in two. */
function wholeCharacters(kept: Uint8Array): number {
  const end = kept.length
  for (let back = 1; back <= 4 && back <= end; back++) {
    const byte = kept[end - back]!
    if (byte < 0x80) return end
    if (byte < 0xc0) continue
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return needs > back ? end - back : end
  }
  return end
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}

/** A string that is longer than what should wait in memory. */
export class Blob extends Skim {
  value(): Bulk {
    return beginning(this.beginning, this.size)
  }
}
