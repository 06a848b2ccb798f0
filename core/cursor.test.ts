import assert from 'node:assert/strict'
import { Cursor, Incomplete, indexOf, latin1, Malformed, utf8 } from './cursor.ts'

const BYTES = Uint8Array.of(0x81, 0x02, 0x83, 0x04, 0x85, 0x06, 0x87, 0x08, 0x89)

/** Each read, the bytes it takes, and what it makes of BYTES. */
const READS: readonly [name: string, size: number, read: (at: Cursor) => unknown, found: unknown][] = [
  ['u8', 1, at => at.u8(), 0x81],
  ['u16', 2, at => at.u16(), 0x8102],
  ['u24', 3, at => at.u24(), 0x810283],
  ['u32', 4, at => at.u32(), 0x81028304],
  ['i8', 1, at => at.i8(), 0x81 - 0x100],
  ['i16', 2, at => at.i16(), 0x8102 - 0x10000],
  ['i32', 4, at => at.i32(), 0x81028304 - 0x100000000],
  ['u64', 8, at => at.u64(), String(0x8102830485068708n)],
  ['i64', 8, at => at.i64(), String(0x8102830485068708n - (1n << 64n))],
  ['u16le', 2, at => at.u16le(), 0x0281],
  ['u32le', 4, at => at.u32le(), 0x04830281],
  ['f64', 8, at => at.f64(), new DataView(BYTES.buffer).getFloat64(0)],
  ['text', 3, at => at.text(3), '\ufffd\u0002\ufffd'],
  ['latin1', 3, at => at.latin1(3), '\u0081\u0002\u0083'],
  ['view', 3, at => [...at.view(3)], [0x81, 0x02, 0x83]],
  ['skip', 3, at => at.skip(3), undefined],
  ['within', 3, at => [...at.within(3).view(3)], [0x81, 0x02, 0x83]],
]

describe('cursor', () => {
  for (const [name, size, read, found] of READS) {
    it(`${name} takes ${size} bytes, from the middle of a larger buffer too`, () => {
      for (const padding of [0, 5]) {
        const buffer = new Uint8Array(3 + padding + BYTES.length).subarray(3)
        buffer.set(BYTES, padding)
        const at = new Cursor(buffer, padding)
        assert.deepEqual(read(at), found)
        assert.equal(at.position, padding + size)
      }
    })

    it(`${name} of too few bytes is Incomplete, or Malformed where no more will come`, () => {
      for (let length = 0; length < size; length++) {
        // The bytes behind `end` are there: they are another message's.
        assert.equal(
          thrown(() => read(new Cursor(BYTES, 0, length))),
          Incomplete,
        )
        assert.ok(thrown(() => read(new Cursor(BYTES, 0, length, true))) instanceof Malformed)
      }
    })
  }

  it('gives 64 bits as a number as long as that is exact, as text beyond', () => {
    assert.equal(of64(0x001fffff, 0xffffffff).u64(), Number.MAX_SAFE_INTEGER)
    assert.equal(of64(0x00200000, 0).u64(), '9007199254740992')
    assert.equal(of64(0xffffffff, 0xffffffff).u64(), '18446744073709551615')
    assert.equal(of64(0xffffffff, 0xffffffff).i64(), -1)
    assert.equal(of64(0x001fffff, 0xffffffff).i64(), Number.MAX_SAFE_INTEGER)
    assert.equal(of64(0x80000000, 0).i64(), '-9223372036854775808')
  })

  it('refuses to go back by a negative count, whole or not', () => {
    for (const whole of [true, false])
      assert.ok(thrown(() => new Cursor(BYTES, 5, 9, whole).skip(-1)) instanceof Malformed)
  })

  it('peeks without moving and not past the end', () => {
    const at = new Cursor(BYTES, 1, 3)
    assert.equal(at.peek(), 0x02)
    assert.equal(at.peek(1), 0x83)
    assert.equal(
      thrown(() => at.peek(2)),
      Incomplete,
    )
    assert.equal(at.position, 1)
  })

  it('ends the cursor over a field where the field ends', () => {
    const at = new Cursor(BYTES)
    const inner = at.within(2)
    inner.skip(2)
    assert.ok(thrown(() => inner.u8()) instanceof Malformed)
    assert.equal(at.u8(), 0x83)
  })

  it('finds the end of a line only within its own bytes and its limit', () => {
    const bytes = Buffer.from('ab\ncd\n')
    assert.equal(new Cursor(bytes, 0, 6).lineEnd(2), 2)
    assert.equal(
      thrown(() => new Cursor(bytes, 3, 5).lineEnd(2)),
      Incomplete,
    )
    assert.ok(thrown(() => new Cursor(bytes, 3, 5).lineEnd(1)) instanceof Malformed)
    assert.ok(thrown(() => new Cursor(bytes, 0, 6).lineEnd(1)) instanceof Malformed)
  })

  it('notes where a commit was made', () => {
    const at = new Cursor(BYTES)
    at.skip(4)
    at.commit('so far', 17)
    at.skip(1)
    assert.deepEqual([at.progress, at.weight, at.committed], ['so far', 17, 4])
  })

  it('reads text as UTF-8 with its mark, and what is none as U+FFFD', () => {
    const bytes = Buffer.from([0xef, 0xbb, 0xbf, 0xc3, 0xa9, 0xff])
    assert.equal(utf8(bytes, 0, 6), '\ufeffé\ufffd')
    assert.equal(latin1(bytes, 3, 6), 'Ã©ÿ')
    assert.equal(latin1(bytes, 3, 3), '')
    assert.equal(indexOf(bytes, 0xff, 0, 5), -1)
  })
})

function of64(high: number, low: number): Cursor {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setUint32(0, high)
  new DataView(bytes.buffer).setUint32(4, low)
  return new Cursor(bytes)
}

function thrown(run: () => unknown): unknown {
  try {
    run()
  } catch (what) {
    return what
  }
  return assert.fail('expected a throw')
}
