import assert from 'node:assert/strict'
import type { Exchange, Face, Refinement, Refiner } from './dissector.ts'
import type { Json } from './item.ts'
import type { Answer } from './item-writer.ts'
import { Refining } from './refining.ts'

const HOST: Face = {
  name: 'host2',
  family: 'host',
  title: 'Host',
  abbr: 'HOST',
  version: '1',
  color: '#000',
  reference: 'https://example.org/',
  ports: [],
  priority: 0,
  summarize: () => ({ method: '', summary: '', status: '' }),
}

describe('refining', () => {
  it('gives an item the face of the refiner that takes it, under the name of its host', () => {
    const [request, response] = [part({ q: 1 }), part({ a: 1 })]
    new Refining([refiner(() => ({ request: { guest: 1 } }))]).refine(request, response, null)
    for (const { face } of [request, response])
      assert.deepEqual([face.name, face.family, face.abbr], ['guest', 'host', 'GUEST'])
    assert.deepEqual([request.gained, response.gained], [{ guest: 1 }, undefined])
    assert.equal(response.failed, false)
  })

  it('shows a refiner what there is, and lets it tell of a failure', () => {
    const seen: Omit<Exchange, 'out'>[] = []
    const refining = new Refining([
      refiner(exchange => {
        const { out: _, ...shown } = exchange
        seen.push(shown)
        return { failed: true }
      }),
    ])
    const [request, event] = [part({ q: 1 }), part({ e: 1 })]
    refining.refine(request, null, null)
    refining.refine(null, null, event)
    assert.deepEqual(seen, [
      { host: 'host2', request: { q: 1 }, response: null, event: null },
      { host: 'host2', request: null, response: null, event: { e: 1 } },
    ])
    assert.deepEqual([request.failed, event.failed], [true, true])
  })

  it('leaves alone what nobody takes, and what nobody asked to see', () => {
    const answer = part({ a: 1 })
    new Refining([refiner(() => null)]).refine(null, answer, null)
    new Refining([{ ...refiner(() => assert.fail('asked')), refines: ['host'] }]).refine(null, answer, null)
    assert.deepEqual([answer.face, answer.gained], [HOST, undefined])
  })
})

function part(body: Json): Answer {
  return { face: HOST, asker: 'client', body, size: 1, failed: false, version: undefined }
}

function refiner(refine: (exchange: Exchange) => Refinement | null): Refiner {
  return { ...HOST, name: 'guest', family: 'host', abbr: 'GUEST', refines: ['host2'], refine }
}
