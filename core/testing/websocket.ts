/** Frames of WebSocket (RFC 6455, 5.2) as a test wants them. */

const MASK = [0x37, 0xfa, 0x21, 0x3d]

interface Shape {
  opcode?: number
  fin?: boolean
  rsv?: number
}

/** Masked, as a client must. */
export function clientFrame(payload: string | Uint8Array, shape: Shape = {}): Buffer {
  const masked = Buffer.from(payload).map((byte, i) => byte ^ MASK[i & 3]!)
  return Buffer.concat([head(masked.length, 0x80, shape), Buffer.from(MASK), masked])
}

export function serverFrame(payload: string | Uint8Array, shape: Shape = {}): Buffer {
  const bytes = Buffer.from(payload)
  return Buffer.concat([head(bytes.length, 0, shape), bytes])
}

function head(length: number, mask: number, { opcode = 1, fin = true, rsv = 0 }: Shape): Buffer {
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  if (length < 126) return Buffer.from([first, mask | length])
  if (length < 65_536) return Buffer.from([first, mask | 126, length >> 8, length & 0xff])
  const long = Buffer.alloc(10)
  long.writeUInt16BE((first << 8) | mask | 127)
  long.writeBigUInt64BE(BigInt(length), 2)
  return long
}
