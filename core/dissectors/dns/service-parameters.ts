/** Parameters of SVCB and HTTPS records (RFC 9460, 2.2).   key(2) length(2) value(length), as often as there is room */
import type { Json } from '../../item.ts'
import { base64, type Field, field, fromOctets, ip4Text, ip6Text, longString, quote, u16 } from './fields.ts'
import type { MessageCursor } from './message-cursor.ts'

export function serviceParameters(name: string): Field {
  return (at, into) => {
    const params: Json = {}
    const shown: string[] = []
    const end = at.end
    while (at.remaining > 0) {
      const key = at.u16()
      const length = at.u16()
      at.need(length)
      at.end = at.position + length
      const { name, read } = BY_KEY.get(key) ?? { name: `key${key}`, read: longString(`key${key}`) }
      const text = read(at, params)
      if (at.remaining > 0) at.fail(`the end of ${name}, found ${at.remaining} more bytes`)
      shown.push(text === '' || text === '""' ? name : `${name}=${text}`)
      at.end = end
    }
    into[name] = params
    return shown.join(' ')
  }
}

interface Parameter {
  key: number
  name: string
  read: Field
}

const PARAMETERS: readonly Parameter[] = [
  { key: 0, name: 'mandatory', read: list('mandatory', at => keyName(at.u16())) },
  { key: 1, name: 'alpn', read: alpn },
  { key: 2, name: 'no-default-alpn', read: flag('no-default-alpn') },
  { key: 3, name: 'port', read: u16('port') },
  { key: 4, name: 'ipv4hint', read: list('ipv4hint', at => ip4Text(at.u32())) },
  { key: 5, name: 'ech', read: base64('ech') },
  { key: 6, name: 'ipv6hint', read: list('ipv6hint', at => ip6Text(at.view(16))) },
  // RFC 9461
  { key: 7, name: 'dohpath', read: longString('dohpath') },
  // RFC 9540
  { key: 8, name: 'ohttp', read: flag('ohttp') },
]

const BY_KEY: ReadonlyMap<number, Parameter> = new Map(PARAMETERS.map(parameter => [parameter.key, parameter]))

function keyName(key: number): string {
  return BY_KEY.get(key)?.name ?? `key${key}`
}

function list(name: string, read: (at: MessageCursor) => string): Field {
  return field(
    name,
    at => {
      const all: string[] = []
      while (at.remaining > 0) all.push(read(at))
      return all
    },
    all => all.join(','),
  )
}

function flag(name: string): Field {
  return field(
    name,
    () => true,
    () => '',
  )
}

/** length(1) protocol(length), as often as there is room. What separates them is escaped first (RFC 9460, A.1). */
function alpn(at: MessageCursor, into: Json): string {
  const all: string[] = []
  while (at.remaining > 0) all.push(at.latin1(at.u8()))
  into.alpn = all.map(fromOctets)
  return quote(all.map(protocol => protocol.replace(/[\\,]/g, '\\$&')).join(','))
}
