/**
 * What of a pcap-filter(7) expression the ring's index can answer. It only leaves flows out of which no packet can be
 * wanted; the packets that remain are still to be tested. An expression, or a part of one, that is not understood for
 * certain leaves out nothing.
 */
import { parseAddress } from '../../core/address.ts'
import type { Flow, FlowFilter } from '../flow.ts'

/** null: everything has to be read. */
export function narrow(expression: string): FlowFilter | null {
  const words = wordsOf(expression)
  // Behind these, offsets count from another header, and `host` means another host.
  if (words === null || words.some(word => SHIFTING.includes(word))) return null
  const parser = new Parser(words)
  const may = parser.either()
  return may === null || !parser.atEnd ? null : { wants: may, strangers: true }
}

type May = (flow: Flow) => boolean

const SHIFTING = ['vlan', 'mpls', 'pppoes', 'pppoed', 'geneve', 'vxlan']
const TCP = 6
const UDP = 17
const SCTP = 132

/** null: it holds something that is no plain word, number or bracket. */
function wordsOf(expression: string): string[] | null {
  const words = expression.match(/\s+|[()!]|&&|\|\||[^\s()!&|]+|./g) ?? []
  const found = words.filter(word => word.trim() !== '')
  return found.every(word => /^([()!]|&&|\|\||[\w.:/-]+)$/.test(word)) ? found : null
}

/** Each method returns null when it does not understand for certain. */
class Parser {
  private readonly words: readonly string[]
  private at = 0

  constructor(words: readonly string[]) {
    this.words = words
  }

  get atEnd(): boolean {
    return this.at === this.words.length
  }

  /** `and` and `or` bind alike in pcap-filter, and to the left. */
  either(): May | null {
    let left = this.one()
    while (left !== null && !this.atEnd && this.words[this.at] !== ')') {
      const joint = this.words[this.at++]!
      const both = joint === 'and' || joint === '&&'
      if (!both && joint !== 'or' && joint !== '||') return null
      const right = this.one()
      if (right === null) return null
      const first = left
      left = both ? flow => first(flow) && right(flow) : flow => first(flow) || right(flow)
    }
    return left
  }

  private one(): May | null {
    const word = this.words[this.at++]
    if (word === undefined) return null
    if (word === '(') {
      const inner = this.either()
      return inner !== null && this.words[this.at++] === ')' ? inner : null
    }
    if (word === 'not' || word === '!') {
      // A flow that may be wanted may also hold packets that are not: this leaves out nothing.
      return this.one() === null ? null : () => true
    }
    this.at--
    return this.primitive()
  }

  private primitive(): May | null {
    const protocol = this.protocol()
    const directed = this.direction()
    const word = this.words[this.at]
    if (word === 'host' || word === 'net' || word === 'port' || word === 'portrange') {
      this.at++
      const value = this.words[this.at++]
      const test = value === undefined ? null : PRIMITIVES[word](value)
      return test === null ? null : both(protocol, test)
    }
    // `src 10.0.0.1` is `src host 10.0.0.1`.
    if (directed && word !== undefined) {
      this.at++
      const test = PRIMITIVES.host(word)
      return test === null ? null : both(protocol, test)
    }
    return directed ? null : protocol
  }

  private protocol(): May | null {
    const may = PROTOCOLS.get(this.words[this.at] ?? '')
    if (may === undefined) return null
    this.at++
    return may
  }

  private direction(): boolean {
    const word = this.words[this.at]
    if (word !== 'src' && word !== 'dst') return false
    this.at++
    const joint = this.words[this.at]
    const other = this.words[this.at + 1]
    if ((joint === 'or' || joint === 'and') && (other === 'src' || other === 'dst')) this.at += 2
    return true
  }
}

function both(protocol: May | null, test: May): May {
  return protocol === null ? test : flow => protocol(flow) && test(flow)
}

/** Behind extension headers or in a later fragment there may be another protocol than the index knows. */
function ofProtocol(number: number): May {
  return flow => flow.protocol === number || !flow.portsKnown
}

const PROTOCOLS: ReadonlyMap<string, May> = new Map([
  ['ip', (flow: Flow) => isIpv4(flow, 0)],
  ['ip6', (flow: Flow) => !isIpv4(flow, 0)],
  ['tcp', ofProtocol(TCP)],
  ['udp', ofProtocol(UDP)],
  ['sctp', ofProtocol(SCTP)],
  ['icmp', ofProtocol(1)],
  ['icmp6', ofProtocol(58)],
])

const PRIMITIVES = {
  host(value: string): May | null {
    const words = parseAddress(value)
    return words === null ? null : flow => isAt(flow, 0, words, 128) || isAt(flow, 4, words, 128)
  },
  net(value: string): May | null {
    const parts = /^([^/]+)\/(\d{1,3})$/.exec(value)
    const words = parts === null ? null : parseAddress(parts[1]!)
    if (words === null) return null
    const ipv4 = !parts![1]!.includes(':')
    const bits = Number(parts![2])
    if (bits > (ipv4 ? 32 : 128)) return null
    const all = ipv4 ? 96 + bits : bits
    return flow => isAt(flow, 0, words, all) || isAt(flow, 4, words, all)
  },
  port(value: string): May | null {
    const port = portOf(value)
    return port === null ? null : withinPorts(port, port)
  },
  portrange(value: string): May | null {
    const parts = /^(\d+)-(\d+)$/.exec(value)
    const [first, last] = [portOf(parts?.[1] ?? ''), portOf(parts?.[2] ?? '')]
    return first === null || last === null ? null : withinPorts(Math.min(first, last), Math.max(first, last))
  },
} satisfies Record<string, (value: string) => May | null>

function portOf(text: string): number | null {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : null
}

function withinPorts(first: number, last: number): May {
  return flow =>
    !flow.portsKnown ||
    (flow.lowerPort >= first && flow.lowerPort <= last) ||
    (flow.upperPort >= first && flow.upperPort <= last)
}

function isIpv4({ words }: Flow, end: number): boolean {
  return words[end] === 0 && words[end + 1] === 0 && words[end + 2] === 0xffff
}

function isAt(flow: Flow, end: number, words: Int32Array, bits: number): boolean {
  for (let i = 0; i < 4 && bits > 0; i++, bits -= 32) {
    const mask = bits >= 32 ? -1 : -1 << (32 - bits)
    if ((flow.words[end + i]! & mask) !== (words[i]! & mask)) return false
  }
  return true
}
