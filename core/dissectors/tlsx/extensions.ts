/** What hellos of clients and servers have in common: session ids, and extensions, framed by their lengths. */
import { type Cursor, Malformed } from '../../cursor.ts'
import { extensionName } from './codes.ts'
import { MAX_LISTED } from './lists.ts'

/**
 * Each extension is framed by its length: one that lies costs no more than what follows it. Returns what was wrong.
 * Hellos before TLS 1.2 may end before the extensions.
 */
export function readExtensions(
  at: Cursor,
  types: number[],
  read: (type: number, data: Cursor) => unknown,
): string | null {
  if (at.remaining === 0) return null
  let problem: string | null = null
  let reading = -1
  const complain = (cause: unknown) => {
    if (!(cause instanceof Malformed)) throw cause
    problem ??= `${reading < 0 ? 'extensions' : `extension ${extensionName(reading)}`}: ${cause.reason}`
  }
  try {
    const list = at.within(at.u16())
    while (list.remaining > 0) {
      const type = list.u16()
      reading = type
      const data = list.within(list.u16())
      types.push(type)
      try {
        read(type, data)
      } catch (cause) {
        complain(cause)
      }
    }
  } catch (cause) {
    complain(cause)
  }
  return problem
}

/** RFC 7301, 3.1:   n(1) name(n) … */
export function readProtocols(list: Cursor): string[] {
  const names: string[] = []
  while (list.remaining > 0) {
    const name = list.text(list.u8())
    if (names.length < MAX_LISTED) names.push(name)
  }
  return names
}

const MAX_SESSION_ID = 32

export function readSessionId(at: Cursor): string {
  const length = at.u8()
  if (length > MAX_SESSION_ID) at.fail(`a session id of at most ${MAX_SESSION_ID} bytes, found ${length}`)
  return readHex(at, length)
}

/** The next `count` bytes, two digits each. */
export function readHex(at: Cursor, count: number): string {
  const { bytes, position } = at
  at.skip(count)
  return Buffer.from(bytes.buffer, bytes.byteOffset + position, count).toString('hex')
}
