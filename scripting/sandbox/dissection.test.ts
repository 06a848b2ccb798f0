/** The engine in the sandbox, asked without a sandbox. */
import assert from 'node:assert/strict'
import { Pipeline } from '../../core/pipeline.ts'
import type { Tally } from '../../core/tally.ts'
import { CLIENT, Dialogue } from '../../core/testing/packets.ts'
import { ScriptClaimant } from '../script-claimant.ts'
import { type Answering, Dissection, type Findings } from './dissection.ts'
import type { Definition } from './inside/dissectors.ts'

const MANY: Definition = {
  name: 'many',
  title: '',
  abbr: '',
  version: '',
  color: '#495057',
  reference: '',
  transports: ['tcp'],
  ports: [],
  priority: 1,
  keyed: false,
  patience: null,
  ends: false,
}
const ABOUT = { worker: '', node: null, keepBodies: 0 }
const STREAMS = 40
const SIZE = 50_000
const MOST = 1 << 20

describe('the engine for dissectors of scripts', () => {
  it('bounds the memory of messages that do not end: who was silent the longest is given up, and said to be', () => {
    const { dissection, tally, findings, most } = read(() => '"more"')
    assert.ok(most <= MOST + 4 * SIZE, `${most} bytes held`)
    const unwanted = findings.flatMap(one => one.unwanted)
    assert.ok(unwanted.length >= STREAMS / 2)
    assert.deepEqual(unwanted.slice(0, 3), [0, 1, 2])
    assert.equal(tally.limits.get('buffered bytes'), unwanted.length)
    assert.equal(dissection.held, 0)
  })

  it('bounds the memory of requests that nobody answers', () => {
    const { most, items, findings } = read(asking => {
      const { size } = asking
      return JSON.stringify({ at: size, message: { kind: 'request', body: { text: 'x'.repeat(size) } } })
    })
    assert.ok(most <= MOST + 4 * SIZE, `${most} bytes held`)
    assert.ok(findings.some(one => one.unwanted.length > 0))
    // Those that waited are told of, and the others when their streams end.
    assert.equal(items, STREAMS)
  })
})

function read(answer: (asking: { size: number }) => string): {
  dissection: Dissection
  tally: Tally
  findings: Findings[]
  items: number
  most: number
} {
  const answering: Answering = {
    definitions: [MANY],
    ask: (name, _asking, bytes) => (name === 'probe' ? '"yes"' : answer({ size: bytes.byteLength })),
    open: () => 1,
    drop: () => {},
    failed: report => assert.fail(report),
  }
  const dissection = new Dissection([answering], ABOUT, MOST)
  const findings: Findings[] = []
  let most = 0
  const claimant = new ScriptClaimant(parcel => {
    const found = dissection.feed(parcel)
    findings.push(found)
    claimant.refuse(found.unwanted)
    pipeline.tally.reclaim(found)
    most = Math.max(most, dissection.held)
  })
  claimant.definitions = [MANY]
  const none = { dissectors: [], refiners: [], observers: [], faces: [] }
  const pipeline = new Pipeline({ ...ABOUT, protocols: none, claimant }, () => {})
  for (let i = 0; i < STREAMS; i++) {
    const d = new Dialogue(i, { client: { ...CLIENT, port: 40_000 + i } })
    d.open()
    d.ask('x'.repeat(SIZE))
    for (const packet of d.packets) pipeline.packet(packet)
    claimant.flush()
  }
  pipeline.finish()
  claimant.flush()
  const { tally } = pipeline
  assert.equal(tally.headers + tally.parsed + tally.skippedBytes, tally.bytes)
  for (const [cause, bytes] of tally.skipped) assert.ok(bytes >= 0, cause)
  return { dissection, tally, findings, items: findings.reduce((sum, { count }) => sum + count, 0), most }
}
