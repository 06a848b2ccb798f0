/**
 * Key logs of TLS (RFC 9850, SSLKEYLOGFILE), a secret a line, and which of the lines belong to handshakes that somebody
 * has captured: with these other programs decrypt the packets. What is not in the packets stays secret.
 *
 *   CLIENT_TRAFFIC_SECRET_0 7816dd48…(32 bytes, the client's random number) a815d1bf…
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { type Batch, REQUEST_END, REQUEST_START, SPANS } from '../core/batch.ts'
import { utf8 } from '../core/cursor.ts'
import { Fault } from '../core/fault.ts'
import type { Packet } from '../core/packet.ts'
import { Pipeline } from '../core/pipeline.ts'
import type { Protocols } from '../core/registry.ts'
import { only } from '../core/selection.ts'

/** TLS, also within DTLS and QUIC, whose handshakes begin with the same hello. */
const HANDSHAKES = ['tlsx', 'dtls', 'quic']
/** Readers bound what they keep of secrets, ours too; it is a hundred thousand connections. */
const MAX_KEYS = 16 << 20
/** As RFC 9850 has it: any label, for each new one is a secret too. Comments and what else stands there is left out. */
const KEY_LINE = /^[A-Z0-9_]+ ([0-9a-f]{64}) (?:[0-9a-f]{2})+$/i

/** Finds the handshakes among packets, by the random numbers of their clients. */
export class ClientRandoms {
  /** In lower case. */
  readonly found = new Set<string>()
  private readonly pipeline: Pipeline

  constructor(protocols: Protocols) {
    const settings = { protocols: only(protocols, HANDSHAKES), worker: '', node: null, keepBodies: 0 }
    this.pipeline = new Pipeline(settings, batch => this.take(batch))
  }

  packet(packet: Packet): void {
    this.pipeline.packet(packet)
  }

  finish(): void {
    this.pipeline.finish()
  }

  private take({ bytes, count, spans }: Batch): void {
    for (let i = 0; i < count; i++) {
      const request = utf8(bytes, spans[i * SPANS + REQUEST_START]!, spans[i * SPANS + REQUEST_END]!)
      const { random = null } = (JSON.parse(request) ?? {}) as { random?: string | null }
      if (random !== null) this.found.add(random.toLowerCase())
    }
  }
}

export interface Keys {
  /** Lines of the key log, for a Decryption Secrets Block; empty: none belongs to a handshake. */
  text: string
  /** Handshakes that were captured, and of how many of them there is a key at least. */
  captured: number
  handshakes: number
}

/** For each of the sets, the lines that belong to it. Throws a Fault when the file is no key log. */
export async function readKeyLog(path: string, wanted: readonly ReadonlySet<string>[]): Promise<Keys[]> {
  const found = wanted.map(() => ({ lines: new Set<string>(), randoms: new Set<string>(), bytes: 0 }))
  let keys = 0
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      const random = KEY_LINE.exec(line)?.[1]?.toLowerCase()
      if (random === undefined) continue
      keys++
      for (const [i, one] of found.entries()) {
        if (!wanted[i]!.has(random) || one.lines.has(line)) continue
        one.lines.add(line)
        one.randoms.add(random)
        one.bytes += line.length + 1
        if (one.bytes > MAX_KEYS)
          throw new Fault('KEYLOG_TOO_LARGE', `${path} has more than ${MAX_KEYS >> 20} MB of keys for these packets`)
      }
    }
  } catch (error) {
    if (error instanceof Fault) throw error
    throw new Fault('KEYLOG_UNREADABLE', `expected a key log at ${path}, found: ${(error as Error).message}`)
  }
  if (keys === 0)
    throw new Fault(
      'KEYLOG_EMPTY',
      `expected a key log as SSLKEYLOGFILE makes it, with lines as "CLIENT_RANDOM (64 hexadecimal digits) (secret)", found none in ${path}`,
    )
  return found.map(({ lines, randoms }, i) => ({
    text: [...lines].map(line => `${line}\n`).join(''),
    captured: wanted[i]!.size,
    handshakes: randoms.size,
  }))
}
