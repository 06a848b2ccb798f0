import assert from 'node:assert/strict'
import { flag, json, listOf, number, orNull, plain, shapeOf, text } from './json-shape.ts'
import { JsonWriter } from './json-writer.ts'

interface Sample {
  name: string
  title: string | null
  size: number
  open: boolean
  parts: readonly { id: number }[]
  left?: string
  rest: unknown
}

const write = shapeOf<Sample>({
  name: plain,
  title: orNull(text),
  size: number,
  open: flag,
  parts: listOf(shapeOf<{ id: number }>({ id: number })),
  left: plain,
  rest: json,
})

const SAMPLE: Sample = { name: 'a', title: null, size: 0, open: true, parts: [], rest: null }

describe('json shape', () => {
  it('writes what JSON.stringify writes, with its fields in the order of the shape', () => {
    for (const changes of [
      {},
      { parts: [{ id: 1 }, { id: 2 }], open: false },
      { name: 'x'.repeat(100), left: 'here', rest: { a: ['b', null] } },
      { title: 'plain' },
      { title: 'q"b\\n\n\u0000é€😀\ud800\u007f' },
      ...[0.000001, 0.25, 2 ** 31, 2 ** 53, -1, 1e21].map(size => ({ size })),
    ]) {
      const value = { ...SAMPLE, ...changes }
      const { name, title, size, open, parts, left, rest } = value as Sample
      assert.equal(written(value), JSON.stringify({ name, title, size, open, parts, left, rest }))
    }
  })

  it('leaves out what is undefined, the first field as well', () => {
    const optional = shapeOf<{ a?: number; b?: number }>({ a: number, b: number })
    const out = new JsonWriter(1)
    for (const value of [{}, { b: 1 }, { a: 1 }, { a: 1, b: 2 }]) optional(out, value)
    assert.equal(out.save().toString(), '{}{"b":1}{"a":1}{"a":1,"b":2}')
  })
})

function written(value: Sample): string {
  const out = new JsonWriter(1)
  write(out, value)
  return out.save().toString('utf8')
}
