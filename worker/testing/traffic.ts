/** Packets for tests of the ring, as a capture source hands them over: whole pcapng blocks. */
import { parseAddress } from '../../core/address.ts'
import { emptyPacket, type Packet } from '../../core/packet.ts'
import { PcapngWriter } from '../../core/pcapng-writer.ts'
import type { CapturedInterface } from '../capture.ts'

export const ETH0: CapturedInterface = { id: 0, name: 'eth0', linkType: 1, index: 2, namespace: null }
export const ETH1: CapturedInterface = { id: 1, name: 'eth1', linkType: 1, index: 3, namespace: '/run/netns/blue' }

export interface Datagram {
  from: string
  to: string
  fromPort: number
  toPort: number
  /** 6 or 17. */
  protocol: number
  payload: Uint8Array
}

/** Ethernet, IPv4 or IPv6, and the ports; of TCP and UDP no more is right than a ring looks at. */
export function frameOf({ from, to, fromPort, toPort, protocol, payload }: Datagram): Buffer {
  const header = protocol === 6 ? 20 : 8
  const transport = Buffer.alloc(header + payload.length)
  transport.writeUInt16BE(fromPort, 0)
  transport.writeUInt16BE(toPort, 2)
  if (protocol === 6) transport[12] = 0x50
  else transport.writeUInt16BE(transport.length, 4)
  transport.set(payload, header)
  const ethernet = Buffer.from(
    from.includes(':') ? '0200000000010200000000028600' : '0200000000010200000000020800',
    'hex',
  )
  if (from.includes(':')) ethernet.writeUInt16BE(0x86dd, 12)
  return Buffer.concat([ethernet, ipHeader(from, to, protocol, transport.length), transport])
}

function ipHeader(from: string, to: string, protocol: number, length: number): Buffer {
  if (from.includes(':')) {
    const ip = Buffer.alloc(40)
    ip[0] = 0x60
    ip.writeUInt16BE(length, 4)
    ip[6] = protocol
    ip[7] = 64
    for (const [i, word] of [...parseAddress(from)!, ...parseAddress(to)!].entries()) ip.writeInt32BE(word, 8 + 4 * i)
    return ip
  }
  const ip = Buffer.alloc(20)
  ip[0] = 0x45
  ip.writeUInt16BE(20 + length, 2)
  ip[8] = 64
  ip[9] = protocol
  ip.writeInt32BE(parseAddress(from)![3]!, 12)
  ip.writeInt32BE(parseAddress(to)![3]!, 16)
  return ip
}

/** One block; `time` in ns since 1970. */
export function blockOf(frame: Uint8Array, time: bigint, interfaceId = 0): Uint8Array {
  const writer = new PcapngWriter()
  for (let id = 0; id <= interfaceId; id++) writer.interface('', 1)
  return writer.packet({
    ...emptyPacket(),
    bytes: frame,
    start: 0,
    end: frame.length,
    length: frame.length,
    seconds: Number(time / 1_000_000_000n),
    nanoseconds: Number(time % 1_000_000_000n),
    interfaceId,
  })
}

/** 14 Nov 2023, ns. */
export const BEGINNING = 1_700_000_000_000_000_000n

/**
 * The packet number `n`: UDP from one of `hosts` addresses 10.0.x.y to 10.1.0.1:53, 100 µs after the one before, whose
 * payload begins with its number.
 */
export function numbered(
  n: number,
  { hosts = 100, size = 100, time = BEGINNING + BigInt(n) * 100_000n } = {},
): Uint8Array {
  const payload = Buffer.alloc(size)
  payload.writeDoubleBE(n)
  const host = n % hosts
  const from = `10.0.${host >> 8}.${host & 255}`
  return blockOf(frameOf({ from, to: '10.1.0.1', fromPort: 1024 + host, toPort: 53, protocol: 17, payload }), time)
}

export function chunk(first: number, count: number, how?: Parameters<typeof numbered>[1]): Uint8Array {
  return Buffer.concat(Array.from({ length: count }, (_, i) => numbered(first + i, how)))
}

/** The number in a packet that `numbered` made. */
export function numberOf({ bytes, start }: Packet): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(start + 42)
}
