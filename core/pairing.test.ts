import assert from 'node:assert/strict'
import type { Face } from './dissector.ts'
import { JsonWriter, Written } from './json-writer.ts'
import { type Request, Slab, Waiting, weightOf } from './pairing.ts'

const FACE = { name: 'sample' } as Face

describe('waiting requests', () => {
  it('are answered in their order as long as nothing was lost', () => {
    const waiting = of(request('a', 10), request('b', 10))
    assert.deepEqual(waiting.next(99)?.body, { name: 'a' })
  })

  it('sent after a loss are answered only at the byte they acknowledged', () => {
    const waiting = of({ ...request('a', 100), exact: true })
    assert.deepEqual(waiting.next(99), null)
    assert.deepEqual(waiting.next(101), null)
    assert.deepEqual(waiting.next(100)?.body, { name: 'a' })
    // Once it is known whose answer begins here, the rest of it comes at other bytes.
    assert.deepEqual(waiting.next(120)?.body, { name: 'a' })
  })

  it('are overtaken by an answer behind their own, and doubt passes to the next', () => {
    const waiting = of({ ...request('a', 100), exact: true }, request('b', 130))
    assert.deepEqual(waiting.overtaken(100), null)
    assert.deepEqual(waiting.overtaken(130)?.body, { name: 'a' })
    assert.deepEqual(waiting.overtaken(130), null)
    assert.deepEqual(waiting.next(129), null)
    assert.deepEqual(waiting.next(130)?.body, { name: 'b' })
  })

  it('compare sequence numbers across their wrap', () => {
    const waiting = of({ ...request('a', 0xfffffff0 | 0), exact: true })
    assert.deepEqual(waiting.overtaken(0x10)?.body, { name: 'a' })
  })

  it('with the same key: the newest is answered, the older one waits', () => {
    const waiting = of(
      { ...request('old', 0), key: 7 },
      { ...request('new', 0), key: 7 },
      { ...request('other', 0), key: '7' },
    )
    assert.deepEqual(waiting.peek(7)?.body, { name: 'new' })
    assert.deepEqual(waiting.take(7)?.body, { name: 'new' })
    assert.deepEqual(waiting.take(8), null)
    assert.deepEqual(
      waiting.clear().map(each => each.body),
      [{ name: 'old' }, { name: 'other' }],
    )
    assert.equal(waiting.count, 0)
  })

  it('weigh at least their text', () => {
    assert.ok(weightOf({ ...request('a', 0), size: 5000 }) > 5000)
    assert.ok(weightOf({ ...request('a', 0), body: new Written(new Uint8Array(900), 100, 900) }) > 800)
  })
})

describe('slab', () => {
  it('keeps every text as it was, small and large, with the place of its body', () => {
    const slab = new Slab()
    const out = new JsonWriter(64)
    const kept: { text: string; body: string; written: Written }[] = []
    for (let i = 0; i < 400; i++) {
      out.length = 0
      const body = JSON.stringify(String(i).repeat(1 + ((i * 37) % 300) * (i % 90 === 0 ? 100 : 1)))
      out.ascii(`noise{"n":${i},"body":`)
      const written = out.since('noise'.length)
      written.bodyStart = out.length
      out.ascii(body)
      written.bodyEnd = out.length
      out.ascii('}')
      written.end = out.length
      written.bytes = i % 2 === 0 ? out.bytes : new Uint8Array(out.bytes)
      kept.push({ text: `{"n":${i},"body":${body}}`, body, written: slab.keep(written) })
    }
    for (const { text, body, written } of kept) {
      const bytes = Buffer.from(written.bytes.buffer, written.bytes.byteOffset, written.bytes.length)
      assert.equal(bytes.toString('utf8', written.start, written.end), text)
      assert.equal(bytes.toString('utf8', written.bodyStart, written.bodyEnd), body)
    }
  })

  it('says that there is no body where there is none', () => {
    const { bodyStart, bodyEnd } = new Slab().keep(new Written(Buffer.from('{}'), 0, 2))
    assert.deepEqual([bodyStart, bodyEnd], [-1, -1])
  })
})

function of(...requests: Request[]): Waiting {
  const waiting = new Waiting()
  waiting.queue.push(...requests)
  return waiting
}

function request(name: string, ack: number): Request {
  return {
    face: FACE,
    asker: 'client',
    body: { name },
    size: 1,
    end: 0,
    seconds: 0,
    nanoseconds: 0,
    key: undefined,
    memo: undefined,
    ack,
    exact: false,
    followed: false,
    version: undefined,
    failed: false,
    error: null,
    gained: undefined,
    answers: 0,
  }
}
