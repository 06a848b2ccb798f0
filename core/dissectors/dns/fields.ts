/**
 * What records are made of. A field reads itself into the record's JSON and returns its presentation, as master files
 * have it (RFC 1035, 5.1); an empty string where it has none.
 */
import { utf8 } from '../../cursor.ts'
import type { Json } from '../../item.ts'
import type { MessageCursor } from './message-cursor.ts'

export type Field = (at: MessageCursor, into: Json) => string

export function field<T>(name: string, read: (at: MessageCursor) => T, print: (value: T) => string = String): Field {
  return (at, into) => {
    const value = read(at)
    into[name] = value
    return print(value)
  }
}

export function u8(name: string): Field {
  return field(name, at => at.u8())
}

export function u16(name: string): Field {
  return field(name, at => at.u16())
}

export function u32(name: string): Field {
  return field(name, at => at.u32())
}

/** Seconds since 1970, printed as they are (TSIG). */
export function u48(name: string): Field {
  return field(name, at => at.u16() * 0x1_0000_0000 + at.u32())
}

/** Seconds since 1970 modulo 2^32, printed as YYYYMMDDHHmmSS (RFC 4034, 3.2). */
export function time(name: string): Field {
  return field(name, at => new Date(at.u32() * 1000).toISOString().replace(/\.000Z$|[-T:]/g, ''))
}

export function domain(name: string): Field {
  return field(name, at => at.domain(), absolute)
}

/** Names up to the end of the record. */
export function domains(name: string): Field {
  return field(name, readDomains, names => names.map(absolute).join(' '))
}

function readDomains(at: MessageCursor): string[] {
  const names: string[] = []
  while (at.remaining > 0) names.push(at.domain())
  return names
}

/** A name in master files ends with its dot. */
export function absolute(name: string): string {
  return name === '.' ? name : `${name}.`
}

export function ip4(name: string): Field {
  return field(name, at => ip4Text(at.u32()))
}

export function ip4Text(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
}

export function ip6(name: string): Field {
  return field(name, at => ip6Text(at.view(16)))
}

/** RFC 5952: lower case, the longest run of two or more zero groups is `::`, IPv4-mapped with dots. */
export function ip6Text(bytes: Uint8Array): string {
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!)
  let from = -1
  let longest = 1
  for (let i = 0; i < 8; i++) {
    let run = 0
    while (i + run < 8 && groups[i + run] === 0) run++
    if (run > longest) {
      longest = run
      from = i
    }
    i += run
  }
  const words = groups.map(group => group.toString(16))
  const mapped = from === 0 && longest === 5 && groups[5] === 0xffff
  if (mapped) words.splice(6, 2, ip4Text(((groups[6]! << 16) | groups[7]!) >>> 0))
  if (from < 0) return words.join(':')
  return `${words.slice(0, from).join(':')}::${words.slice(from + longest).join(':')}`
}

/** length(1) octets(length): RFC 1035, 3.3. */
export function string(name: string): Field {
  return text(name, at => at.latin1(at.u8()), quote)
}

/** Strings up to the end of the record. */
export function strings(name: string): Field {
  return (at, into) => {
    const all: string[] = []
    const shown: string[] = []
    while (at.remaining > 0) {
      const octets = at.latin1(at.u8())
      all.push(fromOctets(octets))
      shown.push(quote(octets))
    }
    into[name] = all
    return shown.join(' ')
  }
}

/** Text without a length, up to the end of the record. */
export function longString(name: string): Field {
  return text(name, at => at.latin1(at.remaining), quote)
}

/** length(1) octets(length), printed without quotes where they are not needed (CAA's tag). */
export function word(name: string): Field {
  return text(
    name,
    at => at.latin1(at.u8()),
    octets => (/^[0-9A-Za-z]+$/.test(octets) ? octets : quote(octets)),
  )
}

/** Text is read as one character an octet: what of it is printable is seen octet by octet. */
function text(name: string, read: (at: MessageCursor) => string, print: (octets: string) => string): Field {
  return (at, into) => {
    const octets = read(at)
    into[name] = fromOctets(octets)
    return print(octets)
  }
}

/** Octets up to the end of the record, in the words that master files use for them. */
export function hex(name: string): Field {
  return field(name, at => hexText(at, at.remaining))
}

export function base64(name: string): Field {
  return field(name, at => base64Text(at, at.remaining))
}

/** length(1) octets(length); `-` where there are none (the salt of NSEC3). */
export function salt(name: string): Field {
  return field(
    name,
    at => hexText(at, at.u8()),
    digits => digits || '-',
  )
}

/** length(1) octets(length) in base32hex without padding (RFC 5155, 3.3). */
export function base32(name: string): Field {
  return field(name, at => base32Text(at.view(at.u8())))
}

/** length(2) octets(length): printed with its length, as in TSIG and TKEY. */
export function sized(name: string, print: (at: MessageCursor, count: number) => string): Field {
  return (at, into) => {
    const size = at.u16()
    const shown = print(at, size)
    into[name] = shown
    return size === 0 ? '0' : `${size} ${shown}`
  }
}

/** Octets printed as `aa-bb-cc` (RFC 7043) or `aaaa:bbbb` (RFC 6742). */
export function grouped(name: string, count: number, group: number, between: string): Field {
  const digits = new RegExp(`.{${group}}`, 'g')
  return field(name, at => hexText(at, count).toLowerCase().match(digits)!.join(between))
}

/** A bit per type: window(1) length(1)=1..32 bits(length), as often as there is room (RFC 4034, 4.1.2). */
export function typeBitmap(name: string, typeName: (number: number) => string): Field {
  return (at, into) => {
    const types: string[] = []
    while (at.remaining > 0) {
      const window = at.u8()
      const length = at.u8()
      if (length === 0 || length > 32) at.fail(`a type bitmap of 1 to 32 bytes, found ${length}`)
      const bits = at.view(length)
      for (let bit = 0; bit < length * 8; bit++)
        if (bits[bit >> 3]! & (0x80 >> (bit & 7))) types.push(typeName((window << 8) | bit))
    }
    into[name] = types
    return types.join(' ')
  }
}

export function hexText(at: MessageCursor, count: number): string {
  return buffer(at.view(count)).toString('hex').toUpperCase()
}

export function base64Text(at: MessageCursor, count: number): string {
  return buffer(at.view(count)).toString('base64')
}

export function base32Text(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += BASE32[(held >> bits) & 31]!
    }
  }
  return bits > 0 ? text + BASE32[(held << (5 - bits)) & 31]! : text
}
const BASE32 = '0123456789ABCDEFGHIJKLMNOPQRSTUV'

/** RFC 3597, 5: what nobody knows how to print. */
export function unknownText(at: MessageCursor): string {
  const size = at.remaining
  return size === 0 ? '\\# 0' : `\\# ${size} ${hexText(at, size)}`
}

/** A character string as master files have it. */
export function quote(octets: string): string {
  if (/^[ !#-[\]-~]*$/.test(octets)) return `"${octets}"`
  return `"${octets.replace(/["\\]/g, '\\$&').replace(/[^ -~]/g, octet => `\\${String(octet.charCodeAt(0)).padStart(3, '0')}`)}"`
}

/** UTF-8 that was read as one character an octet. */
export function fromOctets(octets: string): string {
  if (/^[\x00-\x7f]*$/.test(octets)) return octets
  const bytes = Buffer.from(octets, 'latin1')
  return utf8(bytes, 0, bytes.length)
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
