/** Of the package tar-stream what is used here; it brings no types. */
declare module 'tar-stream' {
  import type { Readable, Writable } from 'node:stream'

  interface Header {
    name: string
    size: number
    type: string | null
  }

  /** A file in the archive; the next one comes when it was read to its end. */
  interface Entry extends AsyncIterable<Uint8Array> {
    header: Header
    resume(): void
  }

  export function extract(): Writable & AsyncIterable<Entry>

  export function pack(): Readable & {
    entry(
      header: { name: string; size: number; mode: number; mtime: Date },
      ended: (error: Error | null) => void,
    ): Writable
    finalize(): void
  }
}
