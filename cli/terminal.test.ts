import assert from 'node:assert/strict'
import {
  badge,
  columned,
  columnsOf,
  counted,
  grouped,
  paint,
  printable,
  printableWithColor,
  sized,
  timed,
} from './terminal.ts'

describe('what is shown on a terminal', () => {
  it('never obeys words from the wire', () => {
    const evil = 'a\x1b]0;title\x07b\x9b2Jc\r\nd\x7f\u202egnp.exe\u2066'
    const shown = printable(evil)
    assert.doesNotMatch(shown, /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/)
    assert.equal([...shown].length, [...evil].length)
  })

  it('lets scripts have colours, and nothing else', () => {
    assert.equal(
      printableWithColor('\x1b[31mred\x1b[0m\tthen \x1b[2J\x1b]8;;x\x07'),
      '\x1b[31mred\x1b[0m\tthen ·[2J·]8;;x·',
    )
  })

  it('fills or cuts any text to the columns it is given', () => {
    for (const text of [
      '',
      'short',
      'a text that is too long for most',
      '日本語のテキスト',
      'ab日',
      'e\u0301te\u0301',
      '😀😀😀😀',
    ])
      for (let width = 2; width < 40; width++)
        assert.equal(columnsOf(columned(text, width)), width, `${text} to ${width}`)
    assert.equal(columned('abcdef', 4), 'abc…')
    assert.equal(columned('日本語', 4), '日… ')
  })

  it('counts no colour as a column', () => {
    assert.equal(columnsOf(paint('four', 'red', 8)), 4)
    assert.equal(columnsOf(badge('four', '#326de6', 24)), 4)
    assert.equal(badge('four', '#326de6', 1), 'four')
  })

  it('writes sizes, times and counts as people read them', () => {
    assert.deepEqual([0, 812, 999, 1000, 1234, 9960, 34_000_000, 2e9].map(sized), [
      '0 B',
      '812 B',
      '999 B',
      '1.0 kB',
      '1.2 kB',
      '10 kB',
      '34 MB',
      '2.0 GB',
    ])
    assert.deepEqual([0.4, 9.994, 18.4, 1240].map(timed), ['0.40 ms', '9.99 ms', '18 ms', '1.24 s'])
    assert.deepEqual([1, 999, 1000, 1234567].map(grouped), ['1', '999', '1 000', '1 234 567'])
    assert.equal(counted(1, 'packet'), '1 packet')
    assert.equal(counted(2000, 'packet'), '2 000 packets')
  })
})
