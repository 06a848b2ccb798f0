/** Finds out whose message begins with bytes that nobody has claimed yet, by asking the dissectors. */
import type { Connection, Half } from './connections.ts'
import { type Cursor, Incomplete, Malformed } from './cursor.ts'
import type { Context, Dissector, Side, Transport } from './dissector.ts'

export interface Found {
  dissector: Dissector
  /** Whose message it is. */
  side: Side
  /** The port is one of that protocol. */
  hinted: boolean
}

export class Recognition {
  private readonly dissectors: readonly Dissector[]
  private readonly byTransport: Readonly<Record<Transport, readonly Dissector[]>>
  /** Those that may begin within what nobody knows. */
  private readonly interrupting: readonly Dissector[]
  private readonly at: Cursor
  private readonly context: Context

  /** `at` and `context` are what is shown to the dissectors. */
  constructor(dissectors: readonly Dissector[], at: Cursor, context: Context) {
    this.dissectors = dissectors
    const of = (transport: Transport) => dissectors.filter(({ transports }) => transports.includes(transport))
    this.byTransport = {
      tcp: of('tcp'),
      udp: of('udp'),
      icmp: of('icmp'),
      icmpv6: of('icmpv6'),
      sctp: of('sctp'),
    }
    this.interrupting = of('tcp').filter(({ opening }) => opening !== undefined)
    this.at = at
    this.context = context
  }

  named(name: string): Dissector | null {
    return this.dissectors.find(one => one.name === name || one.aliases?.includes(name)) ?? null
  }

  /** Whose message begins with these bytes? Those whose port it is are asked first. */
  find(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): Found | 'more' | null {
    const sides = c.client === null ? likelySides(c, half) : c.client === half ? CLIENT : SERVER
    let open = false
    for (const hinted of HINTS)
      for (const side of sides) {
        const port = (half === c.forth) === (side === 'client') ? c.otherPort : c.port
        for (const dissector of this.byTransport[c.transport]) {
          if (dissector.ports.includes(port) !== hinted) continue
          const answer = this.probe(c, dissector, side, port, hinted, bytes, start, end)
          if (answer === 'yes') return { dissector, side, hinted }
          if (answer === 'more') open = true
        }
      }
    return open ? 'more' : null
  }

  /** A protocol that needs nobody's certainty but its own: its client's first bytes are like no other's. */
  opening(c: Connection, half: Half, bytes: Uint8Array, start: number, end: number): Found | null {
    const port = half === c.forth ? c.otherPort : c.port
    for (const dissector of this.interrupting) {
      const [first, second] = dissector.opening!
      if (bytes[start] !== first || bytes[start + 1] !== second || end - start < 2) continue
      const hinted = dissector.ports.includes(port)
      if (this.probe(c, dissector, 'client', port, hinted, bytes, start, end) === 'yes')
        return { dissector, side: 'client', hinted }
    }
    return null
  }

  probe(
    c: Connection,
    d: Dissector,
    side: Side,
    port: number,
    hinted: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): 'yes' | 'no' | 'more' {
    const { at, context } = this
    at.bytes = bytes
    at.position = start
    at.end = end
    at.whole = c.transport !== 'tcp'
    at.progress = null
    context.state = c.state
    context.from = side
    context.transport = c.transport
    context.port = port
    context.hinted = hinted
    context.midstream = c.midstream
    context.learnt = null
    try {
      const answer = d.probe(at, side, context)
      if (answer === true) return 'yes'
      context.learnt = null
      return answer === false ? 'no' : 'more'
    } catch (thrown) {
      context.learnt = null
      if (thrown === Incomplete) return 'more'
      if (thrown instanceof Malformed) return 'no'
      throw thrown
    }
  }
}

/** Of an end whose role is not known: the end with the smaller port is more often the server. */
function likelySides(c: Connection, half: Half): readonly Side[] {
  const [own, other] = half === c.forth ? [c.port, c.otherPort] : [c.otherPort, c.port]
  return own < other ? SERVER_FIRST : CLIENT_FIRST
}

const HINTS = [true, false]
const CLIENT: readonly Side[] = ['client']
const SERVER: readonly Side[] = ['server']
const CLIENT_FIRST: readonly Side[] = ['client', 'server']
const SERVER_FIRST: readonly Side[] = ['server', 'client']
