/** Frames of HTTP/2 and header blocks without Huffman code, for tests that need a case no capture holds. */

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const body = Buffer.from(payload as string)
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, body])
}

export function data(stream: number, payload: Uint8Array | string, last: 'last' | 'more' = 'last'): Buffer {
  return frame(0, last === 'last' ? 1 : 0, stream, payload)
}

export function headers(stream: number, block: Uint8Array, last: 'last' | 'more' = 'last'): Buffer {
  return frame(1, last === 'last' ? 5 : 4, stream, block)
}

/** Fields that do not enter the table. */
export function block(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(fields).map(([name, value]) => literal(0x00, name, value)))
}

/** A field that enters the table. */
export function remembered(name: string, value: string): Buffer {
  return literal(0x40, name, value)
}

/** A field of a table: 62 is the one that entered last. */
export function indexed(index: number): Buffer {
  return number(0x80, 7, index)
}

export function tableSize(size: number): Buffer {
  return number(0x20, 5, size)
}

export function get(path: string): Buffer {
  return block({ ':method': 'GET', ':path': path, ':scheme': 'http', ':authority': 'h' })
}

/** A message of gRPC. */
export function message(content: Uint8Array | string, compressed: 0 | 1 = 0): Buffer {
  const body = Buffer.from(content as string)
  const prefix = Buffer.alloc(5)
  prefix[0] = compressed
  prefix.writeUInt32BE(body.length, 1)
  return Buffer.concat([prefix, body])
}

function literal(kind: number, name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([kind]), text(name), text(value)])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([number(0, 7, bytes.length), bytes])
}

/** RFC 7541, 5.1. */
function number(kind: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1
  if (value < most) return Buffer.from([kind | value])
  const bytes = [kind | most]
  let rest = value - most
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return Buffer.from([...bytes, rest])
}
