// @ts-check
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

/**
 * @param {object} head
 * @param {Uint8Array[]} bodies
 * @returns {Buffer}
 */
export function frame(head, ...bodies) {
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

/**
 * Cuts a stream of chunks into frames. `body` is only valid during the call.
 *
 * @template Head
 */
export class FrameReader {
  /** @type {Buffer[]} */
  #chunks = []
  #size = 0
  #each

  /** @param {(head: Head, body: Buffer) => void} each */
  constructor(each) {
    this.#each = each
  }

  /**
   * Throws when the other side does not speak frames.
   *
   * @param {Buffer} chunk
   */
  push(chunk) {
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
      /** @type {Head} */
      const head = JSON.parse(bytes.toString('utf8', PREFIX, PREFIX + headLength))
      this.#each(head, bytes.subarray(PREFIX + headLength, PREFIX + length))
    }
  }

  /**
   * The first chunk, made at least `count` bytes long.
   *
   * @param {number} count
   * @returns {Buffer}
   */
  #first(count) {
    const [first] = this.#chunks
    if (first !== undefined && first.length >= count) return first
    const whole = Buffer.concat(this.#chunks)
    this.#chunks = [whole]
    return whole
  }
}
