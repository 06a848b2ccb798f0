/**
 * What is said in a stream after CONNECT was answered with 2xx (RFC 9113, 8.5), in DATA of both sides: WebSocket (RFC 8441)
 * is read by its own reader, everything else is passed over.
 */
import type { Context, Ending, Message, Side } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { WebSocketStream } from '../ws/stream.ts'

/** What a client says before it has the answer. A WebSocket's first messages are short. */
const MAX_EARLY = 65_536

export class Tunnel {
  readonly protocol: string
  /** The answer came, and it was 2xx. */
  isOpen = false
  private reader: WebSocketStream | null = null
  private early: Uint8Array[] = []
  private earlyBytes = 0
  private lost = false
  private readonly ended: Record<Side, boolean> = { client: false, server: false }

  /** `protocol`: that of extended CONNECT, or empty. */
  constructor(protocol: string) {
    this.protocol = protocol
  }

  get weight(): number {
    return this.earlyBytes + (this.reader?.weight ?? 0)
  }

  /** `headers` are those of the answer. */
  open(headers: Json, ctx: Context, made: Message[]): void {
    this.isOpen = true
    if (this.protocol === 'websocket' && !this.lost) this.reader = new WebSocketStream(headers)
    for (const bytes of this.early) made.push(...(this.reader?.read(bytes, 0, bytes.length, 'client', ctx) ?? []))
    this.early = []
    this.earlyBytes = 0
  }

  data(b: Uint8Array, start: number, end: number, ctx: Context, made: Message[]): void {
    if (this.reader !== null) made.push(...this.reader.read(b, start, end, ctx.from, ctx))
    else if (!this.isOpen && this.protocol === 'websocket') {
      if (this.earlyBytes + end - start > MAX_EARLY) this.lose()
      if (this.lost) return
      this.earlyBytes += end - start
      this.early.push(new Uint8Array(b.subarray(start, end)))
    }
  }

  /** Bytes of it were lost: where its next message begins is not known. */
  lose(): void {
    this.lost = true
    this.reader = null
    this.early = []
    this.earlyBytes = 0
  }

  /** A side sends no more; says whether both have ended. */
  end(from: Side, ctx: Context, why: Ending, made: Message[]): boolean {
    this.ended[from] = true
    const message = this.reader?.end(from, ctx, why) ?? null
    if (message !== null) made.push(message)
    return this.ended.client && this.ended.server
  }
}
