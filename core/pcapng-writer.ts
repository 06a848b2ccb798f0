/**
 * Writes pcapng (draft-ietf-opsawg-pcapng), little endian, times in nanoseconds, for files and for streams.
 *
 *     type(4) size(4) body(size - 12) size(4)
 */
import { parseAddress } from './address.ts'
import type { InterfaceCounters } from './capture-notes.ts'
import { MAX_CAPTURED } from './intake.ts'
import type { Packet } from './packet.ts'

const ENCODER = new TextEncoder()

/** An option's length has 16 bits; what is longer is cut at a character. */
const MAX_OPTION = 0xffff

/**
 * One section: `section` first, then `interface` for every interface before its first packet.
 * Every chunk is a whole block, and the caller's to keep.
 */
export class PcapngWriter {
  private interfaces: number

  /** For a section that somebody else has begun, with so many interfaces. */
  constructor(interfaces = 0) {
    this.interfaces = interfaces
  }

  /** type(4) size(4) byte order(4) major(2) minor(2) section size(8) options size(4) */
  section(comment: string | null): Uint8Array {
    this.interfaces = 0
    const options = comment === null ? NO_OPTIONS : optionList([[1, text(comment)]])
    const { chunk, view } = block(0x0a0d0d0a, 16, options)
    view.setUint32(8, 0x1a2b3c4d, true)
    view.setUint16(12, 1, true)
    // The section's size is not known before its end.
    view.setBigInt64(16, -1n, true)
    return chunk
  }

  /** Interfaces are numbered from 0 in the order of these calls. type(4) size(4) link type(2) 0(2) snap length(4) */
  interface(name: string, linkType: number, description: string | null = null): Uint8Array {
    this.interfaces++
    const { chunk, view } = block(
      1,
      8,
      optionList([
        [2, text(name)],
        ...(description === null ? [] : [[3, text(description)] as const]),
        [9, Uint8Array.of(9)],
      ]),
    )
    view.setUint16(8, linkType, true)
    view.setUint32(12, MAX_CAPTURED, true)
    return chunk
  }

  /** `packet.interfaceId` must have been described. */
  packet(packet: Packet): Uint8Array {
    return this.enhancedPacket(packet, NO_OPTIONS)
  }

  packetWithComment(packet: Packet, comment: string): Uint8Array {
    return this.enhancedPacket(packet, optionList([[1, text(comment)]]))
  }

  /** kind(2) size(2) address name NUL padding, for each name. */
  names(names: readonly { address: string; name: string }[]): Uint8Array {
    return block(4, 0, optionList(names.map(nameRecord))).chunk
  }

  /** type(4) size(4) interface(4) time high(4) low(4) options size(4) */
  counters(interfaceId: number, seconds: number, nanoseconds: number, counters: InterfaceCounters): Uint8Array {
    this.checkInterface(interfaceId)
    const values: readonly [number, number | string | null][] = [
      [4, counters.received],
      [5, counters.dropped],
      [6, counters.accepted],
      [7, counters.droppedBySystem],
      [8, counters.delivered],
    ]
    const known = values.filter(([, value]) => value !== null)
    const { chunk, view } = block(5, 12, optionList(known.map(([code, value]) => [code, u64(value!)])))
    view.setUint32(8, interfaceId, true)
    setTime(view, 12, seconds, nanoseconds)
    return chunk
  }

  /** `kind` is the four letters of a type: `TLSK` for a TLS key log. type(4) size(4) kind(4) length(4) secrets padding */
  secrets(kind: string, secrets: string): Uint8Array {
    const bytes = ENCODER.encode(secrets)
    const { chunk, view } = block(10, 8 + padded(bytes.length), NO_OPTIONS)
    for (let i = 0; i < 4; i++) chunk[11 - i] = kind.charCodeAt(i)
    view.setUint32(12, bytes.length, true)
    chunk.set(bytes, 16)
    return chunk
  }

  /** type(4) size(4) interface(4) time high(4) low(4) captured(4) length(4) bytes(captured) padding options size(4) */
  private enhancedPacket(packet: Packet, options: Uint8Array): Uint8Array {
    this.checkInterface(packet.interfaceId)
    const captured = packet.end - packet.start
    const { chunk, view } = block(6, 20 + padded(captured), options)
    view.setUint32(8, packet.interfaceId, true)
    setTime(view, 12, packet.seconds, packet.nanoseconds)
    view.setUint32(20, captured, true)
    view.setUint32(24, packet.length, true)
    chunk.set(packet.bytes.subarray(packet.start, packet.end), 28)
    return chunk
  }

  private checkInterface(id: number): void {
    if (id >= this.interfaces) throw new RangeError(`interface ${id} of ${this.interfaces} was not described`)
  }
}

const NO_OPTIONS = new Uint8Array(0)

function block(type: number, body: number, options: Uint8Array): { chunk: Uint8Array; view: DataView } {
  const size = 12 + body + options.length
  const chunk = new Uint8Array(size)
  const view = new DataView(chunk.buffer)
  view.setUint32(0, type, true)
  view.setUint32(4, size, true)
  view.setUint32(size - 4, size, true)
  chunk.set(options, 8 + body)
  return { chunk, view }
}

/** code(2) length(2) value(length) padding, and four zeros at the end. */
function optionList(options: readonly (readonly [code: number, value: Uint8Array])[]): Uint8Array {
  const list = new Uint8Array(options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4))
  const view = new DataView(list.buffer)
  let at = 0
  for (const [code, value] of options) {
    view.setUint16(at, code, true)
    view.setUint16(at + 2, value.length, true)
    list.set(value, at + 4)
    at += 4 + padded(value.length)
  }
  return list
}

function nameRecord({ address, name }: { address: string; name: string }): readonly [number, Uint8Array] {
  const words = parseAddress(address)
  if (words === null) throw new RangeError(`"${address}" is not an IP address`)
  const encoded = text(name).subarray(0, MAX_NAME)
  const ipv4 = !address.includes(':')
  const size = ipv4 ? 4 : 16
  const value = new Uint8Array(size + encoded.length + 1)
  const view = new DataView(value.buffer)
  for (let i = 0; i < size; i += 4) view.setInt32(i, words[4 - size / 4 + i / 4]!, false)
  value.set(encoded, size)
  return [ipv4 ? 1 : 2, value]
}

/** A record's address and name together have 16 bits for their size; the DNS allows 255 bytes. */
const MAX_NAME = 1024

function text(value: string): Uint8Array {
  const bytes = new Uint8Array(Math.min(MAX_OPTION, 3 * value.length))
  return bytes.subarray(0, ENCODER.encodeInto(value, bytes).written)
}

function u64(value: number | string): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
  return bytes
}

function padded(length: number): number {
  return (length + 3) & ~3
}

/** 64 bits of ns since 1970, the upper half first; computed in steps of 16 bits to stay exact below 2^53. */
function setTime(view: DataView, at: number, seconds: number, nanoseconds: number): void {
  const upper = Math.floor(seconds / 0x10000)
  const low = (seconds - upper * 0x10000) * 1e9 + nanoseconds
  const carry = Math.floor(low / 0x10000)
  const middle = upper * 1e9 + carry
  const high = Math.floor(middle / 0x10000)
  view.setUint32(at, high, true)
  view.setUint32(at + 4, (middle - high * 0x10000) * 0x10000 + (low - carry * 0x10000), true)
}
