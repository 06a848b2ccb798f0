/** The table at the end: what is counted under which name. */
import assert from 'node:assert/strict'
import type { Face } from '../core/dissector.ts'
import { Tally } from '../core/tally.ts'
import { summary } from './summary.ts'

const FACES = [
  face('http', 'HTTP'),
  face('http2', 'HTTP/2', 'http'),
  face('grpc', 'gRPC', 'http'),
  face('gql', 'GQL', 'http'),
]

describe('summary', () => {
  it('has no row for who carried another protocol and nothing else: its bytes are the other’s', () => {
    assert.deepEqual(rows({ http2: [0, 700], grpc: [7, 0] }), [['gRPC', 7, 700]])
    assert.deepEqual(rows({ http: [3, 90], http2: [0, 700], grpc: [7, 0] }), [
      ['gRPC', 7, 700],
      ['HTTP', 3, 90],
    ])
  })

  it('has one where it cannot say whose the bytes are', () => {
    assert.deepEqual(rows({ http2: [0, 700], grpc: [7, 0], gql: [2, 0] }), [
      ['gRPC', 7, 0],
      ['GQL', 2, 0],
      ['HTTP/2', 0, 700],
    ])
    assert.deepEqual(rows({ http2: [0, 700] }), [['HTTP/2', 0, 700]])
  })

  it('has rows of scripts’ protocols, and none of those that were not asked for', () => {
    assert.deepEqual(rows({ http: [0, 700], echo: [7, 9] }, []), [['echo', 7, 9]])
    assert.match(told({ http: [0, 700] }, [], 1), /^no items: nothing here speaks a protocol that was asked for$/m)
    assert.match(told({}, FACES, 1), /^no items: nothing here speaks a protocol that Hookline knows$/m)
    assert.match(told({}, FACES, 0), /^no items: no packet was read$/m)
  })

  it('names link types that are not read, and claims nothing of packets that nobody has looked into', () => {
    const all = told({}, FACES, 4, [9999, 9999, 147, 9999])
    assert.match(all, /^no items: no packet could be read$/m)
    assert.match(all, /^link type 9999 is not read: 3 packets\nlink type 147 is not read: 1 packet$/m)
    assert.match(told({}, FACES, 2, [147]), /^no items: nothing here speaks a protocol that Hookline knows$/m)
    const many = Array.from({ length: 100 }, (_, i) => 500 + i)
    assert.match(told({}, FACES, 100, many), /^link type 515 is not read: 1 packet\nmore link types are not read: 84 /m)
  })
})

function face(name: string, abbr: string, family = name): Face {
  const summarize = () => ({ method: '', summary: '', status: '' })
  return { name, abbr, family, title: '', version: '', color: '', reference: '', ports: [], priority: 0, summarize }
}

type Counts = Record<string, [items: number, bytes: number]>

function told(counts: Counts, faces: Face[], packets = 0, unknownLinks: number[] = []): string {
  const tally = new Tally()
  tally.packets = packets
  for (const linkType of unknownLinks) tally.unknownLink(linkType)
  for (const [name, [items, bytes]] of Object.entries(counts)) Object.assign(tally.protocol(name), { items, bytes })
  const nothing = { remarks: [], account: [], scripts: [], sent: null, spool: '', seconds: 0, interrupted: false }
  return summary({ tally, faces, ...nothing }, 1)
}

function rows(counts: Counts, faces = FACES): [string, number, number][] {
  const table = told(counts, faces).split('\n').slice(2)
  return table.slice(0, table.indexOf('')).map(line => {
    const cells = line.split(/ {2,}/)
    return [cells[0]!, Number(cells[1]), Number(cells.at(-1))]
  })
}
