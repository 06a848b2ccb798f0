/**
 * Deterministic traffic for benchmarks: the same arguments give the same bytes on every machine, so that figures can be
 * compared. Ethernet, IPv4, MSS 1460: HTTP/1.1 with keep-alive and JSON bodies, DNS, Redis.
 *
 *   node bench/make-capture.ts OUT.pcap PACKETS http|mix
 */
import { closeSync, openSync, writeSync } from 'node:fs'

export interface Made {
  packets: number
  bytes: number
  /** Transactions by protocol. */
  messages: { http: number; dns: number; redis: number }
}

/** Ends with the first whole exchange that brings the file to `packets`. */
export function makeCapture(path: string, packets: number, mix: 'http' | 'mix'): Made {
  const random = xorshift(88172645)
  const wire = new Wire(path, random)
  const messages = { http: 0, dns: 0, redis: 0 }
  while (wire.packets < packets) {
    const dice = mix === 'http' ? 0 : random(10)
    if (dice < 5) messages.http += http(wire, random)
    else if (dice < 8) messages.redis += redis(wire, random)
    else for (let i = 0; i < 20; i++) messages.dns += dns(wire, random)
  }
  wire.close()
  return { packets: wire.packets, bytes: wire.bytes, messages }
}

type Random = (below: number) => number

/** Marsaglia's xorshift32. */
function xorshift(state: number): Random {
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

const ITEM =
  '{"id":123456,"name":"item-abcdef","tags":["a","b","c"],"price":12.34,"desc":"lorem ipsum dolor sit amet"},'
const FILLER = ITEM.repeat(80)
const TOKEN = 'x'.repeat(120)
const STATUSES = [200, 200, 200, 200, 201, 404, 500]

function http(wire: Wire, random: Random): number {
  const connection = new Connection(wire, random, 8080)
  const exchanges = 1 + random(20)
  for (let i = 0; i < exchanges; i++) {
    const method = random(4) === 0 ? 'POST' : 'GET'
    const body =
      method === 'POST' ? `{"user":"u${random(1e6)}","q":"${FILLER.slice(0, random(600)).replaceAll('"', "'")}"}` : ''
    connection.request(
      `${method} /api/v1/items/${random(5000)}?page=${random(50)} HTTP/1.1\r\n` +
        `Host: svc-${random(40)}.shop.svc.cluster.local\r\n` +
        'User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench/1.0\r\n' +
        'Accept: application/json\r\n' +
        `X-Request-Id: ${random(1e9).toString(16)}-${random(1e9).toString(16)}\r\n` +
        `Authorization: Bearer ${TOKEN}\r\n` +
        (body === '' ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`) +
        `\r\n${body}`,
    )
    const answer = `[${FILLER.slice(0, random(6000))}]`
    connection.respond(
      `HTTP/1.1 ${STATUSES[random(7)]} OK\r\n` +
        'Content-Type: application/json\r\n' +
        'Server: nginx\r\n' +
        'Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n' +
        `Content-Length: ${answer.length}\r\n` +
        `\r\n${answer}`,
    )
  }
  connection.close()
  return exchanges
}

function redis(wire: Wire, random: Random): number {
  const connection = new Connection(wire, random, 6379)
  const commands = 1 + random(60)
  for (let i = 0; i < commands; i++) {
    const key = `user:${random(1e6)}:profile`
    const value = FILLER.slice(0, random(400))
    if (random(2) === 1) {
      connection.request(`*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`)
      connection.respond(`$${value.length}\r\n${value}\r\n`)
    } else {
      connection.request(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`)
      connection.respond('+OK\r\n')
    }
  }
  connection.close()
  return commands
}

const RESOLVER = 0x0a600a0a

function dns(wire: Wire, random: Random): number {
  const client = clientAddress(random)
  const port = 1024 + random(60000)
  const id = random(65536)
  const labels = `svc-${random(40)}.shop.svc.cluster.local`
    .split('.')
    .map(label => [label.length, ...Buffer.from(label)])
  const question = [...labels.flat(), 0, 0, 1, 0, 1]
  const query = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question])
  wire.udp({ from: client, to: RESOLVER, fromPort: port, toPort: 53 }, query)
  // The name by pointer, A, IN, 30 s, 10.1.0.x.
  const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 1, 0, random(255)]
  const response = Buffer.from([id >> 8, id & 255, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, ...question, ...answer])
  wire.udp({ from: RESOLVER, to: client, fromPort: 53, toPort: port }, response)
  return 1
}

const MSS = 1460
const [FIN_ACK, SYN, PSH_ACK, ACK, SYN_ACK] = [0x11, 0x02, 0x18, 0x10, 0x12]
const NOTHING = Buffer.alloc(0)

/** One TCP connection, from its handshake; each direction acknowledges what the other one sent. */
class Connection {
  private readonly wire: Wire
  private readonly up: Path
  private readonly down: Path
  private sent: number
  private received: number

  constructor(wire: Wire, random: Random, port: number) {
    this.wire = wire
    const client = clientAddress(random)
    const server = 0x0a010000 + random(200) + 1
    const clientPort = 20000 + random(40000)
    this.up = { from: client, to: server, fromPort: clientPort, toPort: port }
    this.down = { from: server, to: client, fromPort: port, toPort: clientPort }
    this.sent = random(1e9)
    this.received = random(1e9)
    wire.tcp(this.up, this.sent++, 0, SYN, NOTHING)
    wire.tcp(this.down, this.received++, this.sent, SYN_ACK, NOTHING)
    this.upward(ACK)
  }

  request(text: string): void {
    const bytes = Buffer.from(text)
    for (let i = 0; i < bytes.length; i += MSS) {
      const segment = bytes.subarray(i, i + MSS)
      this.upward(PSH_ACK, segment)
      this.sent += segment.length
    }
    this.downward(ACK)
  }

  respond(text: string): void {
    const bytes = Buffer.from(text)
    for (let i = 0; i < bytes.length; i += MSS) {
      const segment = bytes.subarray(i, i + MSS)
      this.downward(PSH_ACK, segment)
      this.received += segment.length
    }
    this.upward(ACK)
  }

  close(): void {
    this.upward(FIN_ACK)
    this.sent++
    this.downward(FIN_ACK)
    this.received++
    this.upward(ACK)
  }

  private upward(flags: number, payload: Buffer = NOTHING): void {
    this.wire.tcp(this.up, this.sent, this.received, flags, payload)
  }

  private downward(flags: number, payload: Buffer = NOTHING): void {
    this.wire.tcp(this.down, this.received, this.sent, flags, payload)
  }
}

function clientAddress(random: Random): number {
  return 0x0a000000 + random(4000) + 1
}

/** One direction between two ports; addresses are IPv4 as numbers. */
interface Path {
  from: number
  to: number
  fromPort: number
  toPort: number
}

const TCP = 6
const UDP = 17
const RECORD_HEADER = 16
const ETHERNET_HEADER = 14
const IP_HEADER = 20
const TCP_HEADER = 20
const UDP_HEADER = 8
const SNAP_LENGTH = 262144
const CHUNK = 4 << 20
const LARGEST_RECORD = RECORD_HEADER + ETHERNET_HEADER + IP_HEADER + TCP_HEADER + MSS
/** 14 Nov 2023, in µs since 1970. */
const BEGINNING = 1700000000 * 1e6

/** The pcap file (little endian, µs), with a clock that advances by 3 to 10 µs a packet. */
class Wire {
  packets = 0
  bytes = 24
  private readonly random: Random
  private readonly file: number
  private readonly chunk = Buffer.alloc(CHUNK)
  private length = 0
  private time = BEGINNING

  constructor(path: string, random: Random) {
    this.random = random
    this.file = openSync(path, 'w')
    const b = this.chunk
    b.writeUInt32LE(0xa1b2c3d4, 0)
    b.writeUInt16LE(2, 4)
    b.writeUInt16LE(4, 6)
    b.writeUInt32LE(SNAP_LENGTH, 16)
    b.writeUInt32LE(1, 20)
    this.length = 24
  }

  tcp(path: Path, sequence: number, acknowledged: number, flags: number, payload: Buffer): void {
    const at = this.begin(path, TCP, TCP_HEADER, payload)
    const b = this.chunk
    b.writeUInt32BE(sequence >>> 0, at + 4)
    b.writeUInt32BE(acknowledged >>> 0, at + 8)
    b[at + 12] = 0x50
    b[at + 13] = flags
    b.writeUInt16BE(0xffff, at + 14)
    this.seal(at, TCP, TCP_HEADER + payload.length, at + 16)
  }

  udp(path: Path, payload: Buffer): void {
    const at = this.begin(path, UDP, UDP_HEADER, payload)
    this.chunk.writeUInt16BE(UDP_HEADER + payload.length, at + 4)
    this.seal(at, UDP, UDP_HEADER + payload.length, at + 6)
  }

  close(): void {
    this.flush()
    closeSync(this.file)
  }

  /** Writes everything up to the ports, and the payload; returns where the transport's header begins. */
  private begin(path: Path, protocol: number, headerSize: number, payload: Buffer): number {
    if (this.length + LARGEST_RECORD > CHUNK) this.flush()
    const b = this.chunk
    const record = this.length
    const size = ETHERNET_HEADER + IP_HEADER + headerSize + payload.length
    b.fill(0, record, record + RECORD_HEADER + size)
    this.time += 3 + this.random(8)
    b.writeUInt32LE(Math.floor(this.time / 1e6), record)
    b.writeUInt32LE(this.time % 1e6, record + 4)
    b.writeUInt32LE(size, record + 8)
    b.writeUInt32LE(size, record + 12)

    const ethernet = record + RECORD_HEADER
    b.writeUIntBE(0x020000000001, ethernet, 6)
    b.writeUIntBE(0x020000000002, ethernet + 6, 6)
    b.writeUInt16BE(0x0800, ethernet + 12)

    const ip = ethernet + ETHERNET_HEADER
    b[ip] = 0x45
    b.writeUInt16BE(IP_HEADER + headerSize + payload.length, ip + 2)
    b.writeUInt16BE(this.packets & 0xffff, ip + 4)
    b[ip + 6] = 0x40
    b[ip + 8] = 64
    b[ip + 9] = protocol
    b.writeUInt32BE(path.from, ip + 12)
    b.writeUInt32BE(path.to, ip + 16)
    b.writeUInt16BE(checksum(b, ip, ip + IP_HEADER, 0), ip + 10)

    const transport = ip + IP_HEADER
    b.writeUInt16BE(path.fromPort, transport)
    b.writeUInt16BE(path.toPort, transport + 2)
    payload.copy(b, transport + headerSize)
    this.length = record + RECORD_HEADER + size
    return transport
  }

  /** RFC 9293, 3.1: the checksum covers the addresses, the protocol and the length too. */
  private seal(transport: number, protocol: number, size: number, checksumAt: number): void {
    const b = this.chunk
    let pseudoHeader = protocol + size
    for (let i = transport - 8; i < transport; i += 2) pseudoHeader += b.readUInt16BE(i)
    b.writeUInt16BE(checksum(b, transport, transport + size, pseudoHeader), checksumAt)
    this.bytes += RECORD_HEADER + ETHERNET_HEADER + IP_HEADER + size
    this.packets++
  }

  private flush(): void {
    for (let done = 0; done < this.length; ) done += writeSync(this.file, this.chunk, done, this.length - done)
    this.length = 0
  }
}

/** RFC 1071. */
function checksum(b: Buffer, start: number, end: number, sum: number): number {
  for (let i = start; i < end - 1; i += 2) sum += (b[i]! << 8) | b[i + 1]!
  if ((end - start) & 1) sum += b[end - 1]! << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

if (import.meta.main) {
  const [path, packets, mix] = process.argv.slice(2)
  if (path === undefined || !(Number(packets) > 0) || (mix !== 'http' && mix !== 'mix')) {
    process.stderr.write('usage: node bench/make-capture.ts OUT.pcap PACKETS http|mix\n')
    process.exitCode = 2
  } else {
    process.stdout.write(`${JSON.stringify(makeCapture(path, Number(packets), mix))}\n`)
  }
}
