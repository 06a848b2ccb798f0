/**
 * MySQL and MariaDB, client/server protocol with handshakes of version 9 and 10: statements as text and prepared ones,
 * several results, files, replication, compression.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
 * https://mariadb.com/kb/en/clientserver-protocol/
 *
 *   length(3, low byte first) sequence(1) payload(length)
 *
 * The server speaks first. A command of the client begins a new sequence of packets, and the answer goes on counting.
 */
import type { Cursor } from '../cursor.ts'
import type { Context, Dissector, Message, Summary } from '../dissector.ts'
import type { Json } from '../item.ts'
import { verbOf } from '../sql.ts'
import { binlogEvent, checksumOf, isBinlogEvent } from './mysql/binlog.ts'
import { isCompressed } from './mysql/compressed.ts'
import { readGreeting } from './mysql/greeting.ts'
import { Intake } from './mysql/intake.ts'
import { probe } from './mysql/probe.ts'
import { Reply, type ResponseBody, readServerError } from './mysql/reply.ts'
import { Request, type RequestBody } from './mysql/request.ts'
import { type Asked, loseSome, openSession, type Session } from './mysql/session.ts'

export type { RequestBody, ResponseBody }

export const dissector: Dissector<Session> = {
  name: 'mysql',
  title: 'MySQL Client/Server Protocol',
  abbr: 'MYSQL',
  version: '10',
  color: '#00758f',
  reference: 'https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html',
  transports: ['tcp'],
  ports: [3306],
  priority: 21,
  probe,
  open: openSession,
  lost: loseSome,
  read,
  bridge: (length, progress) => (progress as Request | Reply | Lone).intake.bridge(length),
  summarize,
}

/** A packet that belongs to no answer, or only to itself. */
class Lone {
  readonly intake = new Intake()
}

/** What is looked at of an event, and of an error. */
const HEAD = 4096
const ERROR = 0xff
const END = 0xfe
const END_LENGTH = 5
const SHORTEST_EVENT = 20

function read(at: Cursor, ctx: Context<Session>): Message | Message[] | null {
  const { state } = ctx
  const inner = ctx.from === 'client' ? readClient : readServer
  const stream = state.streams[ctx.from]
  if (state.compressed) return stream.read(at, ctx, inner)
  // What is compressed from the first command on that was seen was agreed upon before.
  if (ctx.from === 'client' && state.last === null && at.progress === null && isCompressed(at)) {
    const message = stream.read(at, ctx, inner)
    state.compressed = true
    return message
  }
  return inner(at, ctx)
}

function readClient(at: Cursor, ctx: Context<Session>): Message | null {
  const request = at.progress instanceof Request ? at.progress : new Request()
  return request.read(at, ctx)
}

function readServer(at: Cursor, ctx: Context<Session>): Message | null {
  if (at.progress instanceof Reply) return at.progress.read(at, ctx)
  if (at.progress instanceof Lone) return readLone(at, ctx, at.progress)
  const asked = ctx.awaited as Asked | undefined
  const length = at.peek() | (at.peek(1) << 8) | (at.peek(2) << 16)
  const sequence = at.peek(3)
  if (asked !== undefined && !ctx.state.streaming) {
    // The EOF of an answer that was taken for complete without it.
    const isLeft = length === END_LENGTH && sequence !== asked.sequence + 1 && at.peek(4) === END
    return isLeft ? readLone(at, ctx, new Lone()) : new Reply(asked, ctx.state, ctx.keep).read(at, ctx)
  }
  if (ctx.state.streaming || sequence !== 1 || length === 0) return readLone(at, ctx, new Lone())
  const first = at.peek(4)
  // What OK answers cannot be told without the question.
  const isResult = first === ERROR || (first > 0 && first < 0xfb && length < 3)
  return isResult ? new Reply(null, ctx.state, ctx.keep).read(at, ctx) : readLone(at, ctx, new Lone())
}

function readLone(at: Cursor, ctx: Context<Session>, lone: Lone): Message | null {
  const { state } = ctx
  const { intake } = lone
  intake.next(at, lone, HEAD, 0)
  const body = intake.cursor()
  if (body.remaining === 0) return null
  const first = body.peek()
  // The answer to what was lost, which may have changed anything.
  if (intake.sequence === 1) state.doubt = null
  if (first === ERROR && (intake.sequence === 0 || state.streaming))
    return { kind: 'event', body: { type: 'Error', ...readServerError(body) } }
  // A replica that asked before the capture began waits for no other answer.
  const isUnseen = state.last === null && intake.length > SHORTEST_EVENT && isBinlogEvent(body, intake.length)
  if (state.streaming || isUnseen) {
    state.streaming = true
    const checksum = checksumOf(body)
    const event = binlogEvent(body, intake.length, state)
    if (event !== null && checksum !== null) state.checksum = checksum
    return event === null ? null : { kind: 'event', body: event }
  }
  if (intake.sequence === 0 && state.last === null) state.greeting = readGreeting(body)
  return null
}

function summarize(request: Json | null, response: Json | null, event: Json | null): Summary {
  if (event !== null)
    return {
      method: event.eventType ?? event.type,
      summary: event.query ?? event.message ?? event.table ?? '',
      status: '',
    }
  const query: string = request?.query ?? ''
  return {
    method: verbOf(query) || (request?.command ?? ''),
    summary: query || String(request?.database ?? request?.user ?? ''),
    status: response === null ? '' : String(response.error?.code ?? response.status),
  }
}
