/**
 * One side's message on a stream: headers, then DATA, then perhaps trailers, in frames between those of other streams.
 * It is kept until it ends, within limits, and then written as HTTP/1's are.
 */
import type { Context, Moment } from '../../dissector.ts'
import type { Written } from '../../json-writer.ts'
import { constant } from '../../json-writer.ts'
import type { MessageFlow } from '../grpc/messages.ts'
import { type Described, writeEnd } from '../http/message-end.ts'
import type { EventStream } from '../sse.ts'
import { type Begun, type GrpcFields, type Head, type KnownHead, NOTHING_SAID, writeKnown } from './head.ts'

export type Direction = 'request' | 'response'

const NOTHING = Buffer.alloc(0)
const NONE: readonly string[] = []
const INTERIM = constant(',"interim":')
const INCOMPLETE = constant(',"incompleteHeaders":true')
/** Of a message whose headers were not seen. */
const HEADLESS = {
  request: constant('{"httpVersion":"HTTP/2.0"'),
  response: constant('{"statusText":"","httpVersion":"HTTP/2.0"'),
}

export class Part implements Begun, Described {
  readonly direction: Direction
  /** When its first frame came, and its last. */
  readonly since: Moment
  until: Moment | null = null
  /** null: its headers were not seen. */
  head: Head | null = null
  typeStart = -1
  typeEnd = -1
  /** JSON of the head, as far as it is written. */
  text: Uint8Array = NOTHING
  /** What it can be written from again instead. */
  known: KnownHead | null = null
  /** Bytes of its frames, and of those with headers. */
  size = 0
  headSize = 0
  /** Bytes of DATA without padding, and how many of them were not captured. */
  bodySize = 0
  missing = 0
  /** Frames of this side were lost while it was under way: some may have been its own. */
  doubtful = false
  trailers: Uint8Array | null = null
  ended = false
  /** Heads of 1xx answers. */
  interim: readonly string[] = NONE
  /** What headers and trailers say of gRPC. */
  said: GrpcFields = NOTHING_SAID
  /** Of a call of gRPC. */
  flow: MessageFlow | null = null
  /** Of a body that is events, told as they come. */
  events: EventStream | null = null
  /** What the connection's sum holds of `weight`. */
  counted = 0

  private kept: Buffer = NOTHING
  private keptLength = 0

  constructor(direction: Direction, since: Moment) {
    this.direction = direction
    this.since = since
  }

  /** Memory in use. */
  get weight(): number {
    return this.kept.length + this.text.length + (this.events?.weight ?? 0)
  }

  get content(): Uint8Array {
    return this.kept.subarray(0, this.keptLength)
  }

  get codings(): string[] | null {
    return this.head === null ? null : this.head.codings
  }

  get location(): string {
    return this.head === null ? '' : this.head.location
  }

  /** Headers are missing, or trailers. */
  get lacks(): boolean {
    return this.head?.incomplete !== false || this.trailersLack
  }
  trailersLack = false

  get isWhole(): boolean {
    return this.head !== null && !this.doubtful && this.missing === 0
  }

  /** More of the body, of which `limit` bytes are kept at most. */
  append(b: Uint8Array, start: number, end: number, limit: number, ctx: Context): void {
    this.bodySize += end - start
    if (this.missing === 0 && !this.doubtful) this.keep(b, start, end, limit, ctx)
  }

  keep(b: Uint8Array, start: number, end: number, limit: number, ctx: Context): void {
    const wanted = Math.min(end - start, limit - this.keptLength)
    if (wanted <= 0) return
    if (this.keptLength + wanted > this.kept.length) {
      const larger = ctx.buffers.take(this.keptLength + wanted)
      this.kept.copy(larger, 0, 0, this.keptLength)
      this.release(ctx)
      this.kept = larger
    }
    this.kept.set(b.subarray(start, start + wanted), this.keptLength)
    this.keptLength += wanted
  }

  /** What was kept of the body is not wanted any more. */
  clear(): void {
    this.keptLength = 0
  }

  release(ctx: Context): void {
    if (this.kept !== NOTHING) ctx.buffers.give(this.kept)
    this.kept = NOTHING
  }
}

/** Writes a message whose head stands in `ctx.out` from `from` on; `b[start..end)` is what was kept of its body. */
export function finish(
  ctx: Context,
  part: Part,
  from: number,
  b: Uint8Array,
  start: number,
  end: number,
  wanted: boolean,
): Written {
  const cut = end - start < part.bodySize || !part.ended
  return writeEnd(
    ctx.out,
    from,
    part,
    b,
    start,
    end,
    cut,
    part.bodySize,
    part.headSize,
    part.trailers,
    part.direction,
    wanted,
  )
}

/** Writes the head as far as it is known and leaves the object open. */
export function writeKeptHead({ out }: Context, part: Part, stream: number): void {
  const { head, direction, text, known, interim } = part
  if (known !== null) writeKnown(out, known, stream, part)
  else if (head === null) {
    out.raw(HEADLESS[direction])
    out.raw(INCOMPLETE)
  } else out.raw(text)
  if (interim.length > 0) {
    out.raw(INTERIM)
    out.ascii(`[${interim.join(',')}]`)
  }
}
