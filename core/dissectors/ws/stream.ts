/**
 * WebSocket over something that is no connection of its own: the DATA of a stream of HTTP/2 (RFC 8441), where `CONNECT`
 * with `:protocol: websocket` was answered with 200. Whoever reads the host protocol makes one for each such stream.
 */
import { Cursor, Incomplete, Malformed } from '../../cursor.ts'
import type { Context, Ending, Message, Moment, Side } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { dissector, type State } from '../ws.ts'

export class WebSocketStream {
  private readonly state: State
  private readonly sides: Record<Side, Half> = { client: emptyHalf(), server: emptyHalf() }
  /** Bytes came that are no WebSocket: nothing more is read. */
  private lost = false

  /** `headers` are those of the answer, names in any case. */
  constructor(headers: Json) {
    this.state = dissector.open!('beginning', { headers })
  }

  /** Memory in use, about. */
  get weight(): number {
    const { client, server } = this.state
    const { client: one, server: other } = this.sides
    return client.bytes.length + server.bytes.length + one.held.length + other.held.length + one.weight + other.weight
  }

  /** The messages that end within these bytes, to be delivered as they are; their texts lie in `ctx.out`. */
  read(bytes: Uint8Array, start: number, end: number, from: Side, ctx: Context<unknown>): Message[] {
    const half = this.sides[from]
    const found: Message[] = []
    if (this.lost || start === end) return found
    const at = this.cursor(half, bytes, start, end)
    const inner: Context<State> = { ...ctx, state: this.state, from }
    half.since ??= ctx.moment
    while (at.position < at.end) {
      const position = at.position
      at.progress = half.progress
      at.committed = -1
      let message: Message | Message[] | null
      try {
        message = dissector.read(at, inner)
      } catch (thrown) {
        if (thrown !== Incomplete && !(thrown instanceof Malformed)) throw thrown
        this.lost = thrown !== Incomplete
        at.position = position
        break
      }
      half.progress = at.committed < 0 ? null : at.progress
      half.weight = at.committed < 0 ? 0 : at.weight
      for (const one of message === null ? [] : [message].flat()) found.push(this.own(one, half, ctx.moment))
      if (half.progress === null) half.since = at.position < at.end ? ctx.moment : null
    }
    half.held = this.lost ? NOTHING : Uint8Array.prototype.slice.call(at.bytes, at.position, at.end)
    return found
  }

  /** The side sends no more: what there is of a message that did not end. */
  end(from: Side, ctx: Context<unknown>, why: Ending): Message | null {
    const half = this.sides[from]
    const at = new Cursor(half.held)
    at.progress = half.progress
    const ended = this.lost ? null : dissector.end!(at, { ...ctx, state: this.state, from }, why)
    const [message = null] = ended === null ? [] : [ended].flat()
    Object.assign(half, emptyHalf())
    return message === null ? null : this.own(message, half, ctx.moment)
  }

  private cursor(half: Half, bytes: Uint8Array, start: number, end: number): Cursor {
    const { held } = half
    if (held.length === 0) return new Cursor(bytes, start, end)
    const joined = new Uint8Array(held.length + end - start)
    joined.set(held)
    joined.set(bytes.subarray(start, end), held.length)
    return new Cursor(joined)
  }

  /** A control frame within a message is as any other to the host, for whom there is no such message. */
  private own({ within, ...message }: Message, half: Half, moment: Moment): Message {
    return { ...message, as: dissector, since: within ? moment : (half.since ?? moment) }
  }
}

interface Half {
  /** The beginning of a frame. */
  held: Uint8Array
  progress: unknown
  weight: number
  /** When the message at hand began. */
  since: Moment | null
}

function emptyHalf(): Half {
  return { held: NOTHING, progress: null, weight: 0, since: null }
}

const NOTHING = new Uint8Array(0)
