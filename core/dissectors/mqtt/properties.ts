/**
 * Properties of MQTT 5.0 (2.2.2).   length(1-4) { identifier(1) value }
 */
import type { Cursor } from '../../cursor.ts'
import type { Json, JsonValue } from '../../item.ts'
import { type Words, words } from '../../words.ts'

export const REDACTED = '[REDACTED]'

type Type = 'byte' | 'u16' | 'u32' | 'number' | 'text' | 'pair' | 'secret'

/** By identifier: how items name it, and what it is. A `number` may come more than once, a `pair` too. */
const PROPERTIES: readonly (readonly [name: string, type: Type] | undefined)[] = sparse({
  1: ['payloadFormatIndicator', 'byte'],
  2: ['messageExpiryInterval', 'u32'],
  3: ['contentType', 'text'],
  8: ['responseTopic', 'text'],
  9: ['correlationData', 'text'],
  11: ['subscriptionIdentifiers', 'number'],
  17: ['sessionExpiryInterval', 'u32'],
  18: ['assignedClientIdentifier', 'text'],
  19: ['serverKeepAlive', 'u16'],
  21: ['authenticationMethod', 'text'],
  22: ['authenticationData', 'secret'],
  23: ['requestProblemInformation', 'byte'],
  24: ['willDelayInterval', 'u32'],
  25: ['requestResponseInformation', 'byte'],
  26: ['responseInformation', 'text'],
  28: ['serverReference', 'text'],
  31: ['reasonString', 'text'],
  33: ['receiveMaximum', 'u16'],
  34: ['topicAliasMaximum', 'u16'],
  35: ['topicAlias', 'u16'],
  36: ['maximumQoS', 'byte'],
  37: ['retainAvailable', 'byte'],
  38: ['userProperties', 'pair'],
  39: ['maximumPacketSize', 'u32'],
  40: ['wildcardSubscriptionAvailable', 'byte'],
  41: ['subscriptionIdentifierAvailable', 'byte'],
  42: ['sharedSubscriptionAvailable', 'byte'],
})

/** Those that are there; user properties by name, as an array where a name comes more than once. */
export function readProperties(at: Cursor): Json {
  const within = at.within(variable(at))
  const properties: Json = {}
  while (within.remaining > 0) {
    const identifier = variable(within)
    const property = PROPERTIES[identifier]
    if (property === undefined) return within.fail(`a property, found identifier ${identifier}`)
    const [name, type] = property
    if (type === 'pair') {
      properties[name] ??= {}
      add(properties[name], within.text(within.u16()), string(within))
    } else if (type === 'number') {
      properties[name] ??= []
      properties[name].push(variable(within))
    } else properties[name] = read(within, type)
  }
  return properties
}

function read(at: Cursor, type: Exclude<Type, 'pair' | 'number'>): JsonValue {
  switch (type) {
    case 'byte':
      return at.u8()
    case 'u16':
      return at.u16()
    case 'u32':
      return at.u32()
    case 'text':
      return string(at)
    case 'secret':
      at.skip(at.u16())
      return REDACTED
  }
}

/** Length in two bytes, then UTF-8, or bytes where the sender means bytes. */
export function string(at: Cursor): Words {
  return words(at, at.u16())
}

/** A number of one to four bytes, seven bits each, the lowest first (1.5.5). */
export function variable(at: Cursor): number {
  let value = 0
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = at.u8()
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return value
  }
  return at.fail('a number of at most four bytes')
}

/**
 * Where the properties end that may begin at `start`, -1 if those are none. Said without reading them, because where the
 * version is not known they may be something else.
 */
export function endOfProperties(b: Uint8Array, start: number, end: number): number {
  let at = start
  let length = 0
  for (let shift = 0; ; shift += 7) {
    if (at >= end || shift === 28) return -1
    const byte = b[at++]!
    length |= (byte & 0x7f) << shift
    if (byte < 0x80) break
  }
  const stop = at + length
  if (stop > end) return -1
  while (at < stop) {
    const property = PROPERTIES[b[at++]!]
    if (property === undefined) return -1
    at = endOfValue(b, at, property[1])
  }
  return at === stop ? stop : -1
}

function endOfValue(b: Uint8Array, at: number, type: Type): number {
  switch (type) {
    case 'byte':
      return at + 1
    case 'u16':
      return at + 2
    case 'u32':
      return at + 4
    case 'number': {
      let end = at
      while ((b[end] ?? 0) >= 0x80 && end - at < 3) end++
      return end + 1
    }
    case 'pair': {
      const name = at + 2 + sizeAt(b, at)
      return name + 2 + sizeAt(b, name)
    }
    default:
      return at + 2 + sizeAt(b, at)
  }
}

function sizeAt(b: Uint8Array, at: number): number {
  return ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0)
}

function add(values: Json, name: string, value: JsonValue): void {
  if (!Object.hasOwn(values, name))
    Object.defineProperty(values, name, { value, enumerable: true, configurable: true, writable: true })
  else if (Array.isArray(values[name])) values[name].push(value)
  else values[name] = [values[name], value]
}

function sparse<T>(entries: Readonly<Record<number, T>>): (T | undefined)[] {
  const list: (T | undefined)[] = []
  for (const [place, entry] of Object.entries(entries)) list[Number(place)] = entry
  return list
}
