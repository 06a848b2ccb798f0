/** Values within JSON text: the same as a parser finds. */
import assert from 'node:assert/strict'
import { endOfValue, Members, stringAt } from './json-text.ts'
import { constant } from './json-writer.ts'

const VALUES = [
  { plain: 1, next: 'two' },
  { 'na"me': 'a"b\\', 'back\\': [1, ['}', { a: ']' }], '"'], nothing: null, yes: true, last: {} },
  { größe: 'ä', empty: '', list: [], n: -1.5e300 },
  {},
]

describe('json text', () => {
  it('finds the members that a parser finds', () => {
    for (const value of VALUES) {
      const text = JSON.stringify(value)
      const bytes = constant(`[0,${text},1]`)
      const members = new Members()
      const found: [unknown, unknown][] = []
      for (members.enter(bytes, 3); members.next(); ) {
        const { nameStart, nameEnd, valueStart, valueEnd } = members
        const name = stringAt(bytes, nameStart - 1, nameEnd + 1)
        assert.ok(members.isNamed(bytes.subarray(nameStart, nameEnd)))
        assert.ok(!members.isNamed(constant(`${name}x`)))
        found.push([name, JSON.parse(Buffer.from(bytes.subarray(valueStart, valueEnd)).toString())])
      }
      assert.deepEqual(found, Object.entries(value))
      assert.equal(endOfValue(bytes, 3), bytes.length - 3)
    }
  })

  it('ends where the text does, also where it is cut', () => {
    const whole = constant(JSON.stringify(VALUES[1]))
    for (let length = 0; length < whole.length; length++) {
      const members = new Members()
      let count = 0
      for (members.enter(whole.subarray(0, length), 0); members.next(); ) count++
      assert.ok(count <= 5)
    }
  })
})
