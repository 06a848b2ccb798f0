import assert from 'node:assert/strict'
import { type Operation, operationsIn } from './document.ts'

describe('a document of GraphQL', () => {
  const DOCUMENTS: readonly [text: string, operations: [type: string, name: string | null][]][] = [
    ['{ a }', [['query', null]]],
    ['query{a}', [['query', null]]],
    ['query Q { a }', [['query', 'Q']]],
    ['mutation M($a: [Int!]! = [1, 2] @d, $b: S) @x(y: 1) { a }', [['mutation', 'M']]],
    ['subscription on { on }', [['subscription', 'on']]],
    [
      'query A { a } query B { b } fragment F on T { c }',
      [
        ['query', 'A'],
        ['query', 'B'],
      ],
    ],
    ['fragment fragment on query { query } { ...fragment }', [['query', null]]],
    ['{ query: mutation { fragment } ... on T @d { a } ... @include(if: $x) { b } ... { c } }', [['query', null]]],
    [
      '{ a(s: "q \\" }", b: """block "" \\""" }""", n: -1.5e3, e: RED, o: { a: [], b: {} }, v: $v, t: true) }',
      [['query', null]],
    ],
    ['\uFEFF# comment {\n"what it does" query Q, {,a,b # }\n}', [['query', 'Q']]],
  ]
  for (const [text, operations] of DOCUMENTS)
    it(`is ${text}`, () => {
      assert.deepEqual(
        operationsIn(text),
        operations.map(([type, name]) => ({ type, name }) as Operation),
      )
    })

  const OTHERS = [
    '',
    ' ',
    '{}',
    '{ a',
    '{ a } }',
    'query',
    'select * from t',
    'shoes',
    'shoes { size }',
    '{ "a": 1 }',
    '{a:1}',
    '{ a(b) }',
    '{ a() }',
    '{ a(b: ) }',
    '{ a(b: 01) }',
    '{ a(b: "x\n") }',
    '{ a(b: "x) }',
    '{ ... }',
    'fragment F on T { a }',
    'fragment on on T { a } { b }',
    'query Q() { a }',
    'query Q($a) { a }',
    'type T { a: Int }',
    'query: hello',
    '{ a; b }',
    `{ a } ${'#'.repeat(300_000)}`,
  ]
  for (const text of OTHERS)
    it(`is not ${text.slice(0, 40).trim()}`, () => {
      assert.equal(operationsIn(text), null)
    })

  it('may be deep, within a limit', () => {
    assert.notEqual(operationsIn('{a'.repeat(150) + '}'.repeat(150)), null)
    assert.equal(operationsIn('{a'.repeat(100_000)), null)
    assert.equal(operationsIn(`{a(b:${'['.repeat(100_000)}`), null)
  })
})
