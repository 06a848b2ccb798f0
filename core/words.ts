/** Fields that should be text and may be anything: text where they are UTF-8, base64 where they are not. */
import { isUtf8 } from 'node:buffer'
import { type Cursor, latin1, utf8 } from './cursor.ts'

export type Words = string | { base64: string; size: number }

/** The next `count` bytes. */
export function words(at: Cursor, count: number): Words {
  at.need(count)
  const { bytes, position } = at
  const end = position + count
  for (let i = position; i < end; i++)
    if (bytes[i]! >= 0x80) {
      if (!isUtf8(bytes.subarray(position, end))) return base64(at, count)
      at.position = end
      return utf8(bytes, position, end)
    }
  at.position = end
  return latin1(bytes, position, end)
}

export function base64(at: Cursor, count: number): { base64: string; size: number } {
  const view = at.view(count)
  return { base64: Buffer.from(view.buffer, view.byteOffset, count).toString('base64'), size: count }
}
