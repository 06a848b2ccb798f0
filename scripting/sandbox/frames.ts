/**
 * What the host and the sandbox process say to each other over their pipes:
 *
 *   length(4) headLength(4) head(headLength, JSON) body(length - headLength)      numbers little-endian
 *
 * `length` counts head and body. The body carries item and packet columns, which are never turned into objects here.
 */

/** A broken sandbox must not make the host collect bytes for ever. */
export const MAX_FRAME = 256 * 1024 * 1024

const PREFIX = 8

export function frame(head: object, ...bodies: Uint8Array[]): Buffer {
  const text = JSON.stringify(head)
  const headLength = Buffer.byteLength(text)
  let length = headLength
  for (const body of bodies) length += body.length
  const bytes = Buffer.allocUnsafe(PREFIX + length)
  bytes.writeUInt32LE(length, 0)
  bytes.writeUInt32LE(headLength, 4)
  bytes.write(text, PREFIX)
  let at = PREFIX + headLength
  for (const body of bodies) {
    bytes.set(body, at)
    at += body.length
  }
  return bytes
}

/** Cuts a stream of chunks into frames. `body` is only valid during the call. */
export class FrameReader<Head> {
  #chunks: Buffer[] = []
  #size = 0
  readonly #each: (head: Head, body: Buffer) => void

  constructor(each: (head: Head, body: Buffer) => void) {
    this.#each = each
  }

  /** Throws when the other side does not speak frames. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    while (this.#size >= PREFIX) {
      const length = this.#first(PREFIX).readUInt32LE(0)
      if (length > MAX_FRAME) throw new Error(`expected a frame of at most ${MAX_FRAME} bytes, found ${length}`)
      if (this.#size < PREFIX + length) return
      const bytes = this.#first(PREFIX + length)
      const headLength = bytes.readUInt32LE(4)
      this.#chunks[0] = bytes.subarray(PREFIX + length)
      this.#size -= PREFIX + length
      const head = JSON.parse(bytes.toString('utf8', PREFIX, PREFIX + headLength)) as Head
      this.#each(head, bytes.subarray(PREFIX + headLength, PREFIX + length))
    }
  }

  /** The first chunk, made at least `count` bytes long. */
  #first(count: number): Buffer {
    if (this.#chunks[0]!.length < count) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0]!
  }
}
