import assert from 'node:assert/strict'
import { Malformed } from '../../cursor.ts'
import { block, indexed, remembered, tableSize } from '../../testing/http2.ts'
import { type Field, HeaderTable, UNKNOWN, whoseBlock } from './hpack.ts'

const REQUEST = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com']

describe('hpack', () => {
  /** RFC 7541, appendix C. */
  const SEQUENCES: [name: string, limit: number, blocks: [hex: string, fields: string[]][]][] = [
    [
      'C.3: requests without Huffman code',
      4096,
      [
        ['828684410f7777772e6578616d706c652e636f6d', REQUEST],
        ['828684be58086e6f2d6361636865', [...REQUEST, 'cache-control: no-cache']],
        [
          '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
          [
            ':method: GET',
            ':scheme: https',
            ':path: /index.html',
            ':authority: www.example.com',
            'custom-key: custom-value',
          ],
        ],
      ],
    ],
    [
      'C.4: requests with Huffman code',
      4096,
      [
        ['828684418cf1e3c2e5f23a6ba0ab90f4ff', REQUEST],
        ['828684be5886a8eb10649cbf', [...REQUEST, 'cache-control: no-cache']],
      ],
    ],
    [
      'C.6: responses whose table gives up fields',
      256,
      [
        [
          '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
          [
            ':status: 302',
            'cache-control: private',
            'date: Mon, 21 Oct 2013 20:13:21 GMT',
            'location: https://www.example.com',
          ],
        ],
        [
          '4883640effc1c0bf',
          [
            ':status: 307',
            'cache-control: private',
            'date: Mon, 21 Oct 2013 20:13:21 GMT',
            'location: https://www.example.com',
          ],
        ],
        [
          '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
          [
            ':status: 200',
            'cache-control: private',
            'date: Mon, 21 Oct 2013 20:13:22 GMT',
            'location: https://www.example.com',
            'content-encoding: gzip',
            'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
          ],
        ],
      ],
    ],
  ]
  for (const [name, limit, blocks] of SEQUENCES)
    it(name, () => {
      const table = new HeaderTable()
      decode(table, tableSize(limit))
      for (const [hex, fields] of blocks) assert.deepEqual(decode(table, Buffer.from(hex, 'hex')).map(line), fields)
    })

  it('knows of a table that it heard late what came in since, and nothing else', () => {
    const table = new HeaderTable()
    table.forget()
    const late = decode(table, Buffer.concat([indexed(62), remembered('a', '1'), indexed(62), indexed(63)]))
    assert.deepEqual(late.map(line), [': ', 'a: 1', 'a: 1', ': '])
    assert.deepEqual([late[0], late[3]], [UNKNOWN, UNKNOWN])
    // A name that is not known makes a field that is not known, and keeps its place.
    assert.deepEqual(decode(table, Buffer.from([0x7f, 0, 1, 120])), [UNKNOWN])
    assert.deepEqual(decode(table, Buffer.concat([indexed(62), indexed(63)])).map(line), [': ', 'a: 1'])
  })

  it('knows a table again that had to give up everything', () => {
    const table = new HeaderTable()
    table.forget()
    decode(table, Buffer.concat([tableSize(0), tableSize(4096)]))
    assert.throws(() => decode(table, indexed(62)), Malformed)
  })

  it('keeps no more than its limit, and none of what is larger', () => {
    const table = new HeaderTable()
    for (let i = 0; i < 1000; i++) decode(table, remembered(`name-${i}`, 'x'.repeat(100)))
    assert.ok(table.size <= 4096)
    decode(table, remembered('large', 'x'.repeat(5000)))
    assert.equal(table.size, 0)
    decode(table, tableSize(1 << 23))
    for (let i = 0; i < 5000; i++) decode(table, remembered(`name-${i}`, 'x'.repeat(100)))
    assert.ok(table.size <= 262_144)
    // What a larger table still has is not known here.
    assert.deepEqual(decode(table, indexed(5000)), [UNKNOWN])
  })

  it('says of bytes that come again what they mean by then', () => {
    const table = new HeaderTable()
    const said = (bytes: Uint8Array) => table.read(bytes, 0, bytes.length).fields.map(line)
    for (const value of ['1', '2', '3']) {
      said(remembered('a', value))
      for (let i = 0; i < 4; i++) assert.deepEqual(said(indexed(62)), [`a: ${value}`])
    }
    for (let i = 0; i < 4; i++) assert.deepEqual(said(indexed(64)), ['a: 1'])
    said(tableSize(0))
    assert.throws(() => said(indexed(62)), Malformed)
    table.forget()
    for (let i = 0; i < 4; i++) assert.deepEqual(table.read(indexed(62), 0, 1).fields, [UNKNOWN])
  })

  it('keeps the values of different names apart, and those of the same length', () => {
    for (let round = 0; round < 4; round++)
      for (const name of ['a', 'b', 'content-length'])
        for (const value of ['1', '2', '', 'x'.repeat(98), 'x'.repeat(99), 'x'.repeat(200)])
          assert.deepEqual(decode(new HeaderTable(), block({ [name]: value })).map(line), [`${name}: ${value}`])
  })

  it('remembers little of a connection whose blocks are ever new', () => {
    const table = new HeaderTable()
    for (let i = 0; i < 10_000; i++) table.read(block({ a: String(i >> 1) }), 0, 4 + String(i >> 1).length)
    assert.ok(table.weight <= 8192)
  })

  it('counts octets, not characters', () => {
    const table = new HeaderTable()
    decode(table, remembered('n', 'üü'))
    assert.equal(table.size, 1 + 4 + 32)
  })

  it('reads values as UTF-8, and as Latin-1 where they are not', () => {
    assert.equal(decode(new HeaderTable(), block({ n: 'ü' }))[0]!.value, 'ü')
    assert.equal(decode(new HeaderTable(), Buffer.from([0, 1, 110, 1, 0xfc]))[0]!.value, 'ü')
  })

  for (const [name, bytes] of [
    ['index 0', [0x80]],
    ['a number without end', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['a number cut short', [0xff]],
    ['a string that is longer than its block', [0x00, 5, 97]],
    ['no value', [0x00, 1, 97]],
    ['Huffman code with the end of the string in it', [0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0]],
    ['Huffman code padded with zeros', [0x00, 0x81, 0x00, 0]],
    ['an index beyond both tables', [0xbe]],
  ] as const)
    it(`refuses ${name}`, () => {
      assert.throws(() => decode(new HeaderTable(), Buffer.from(bytes)), Malformed)
    })

  it('tells whose a block is', () => {
    const whose = (bytes: Buffer) => whoseBlock(bytes, 0, bytes.length)
    assert.equal(whose(block({ ':method': 'GET' })), 'client')
    assert.equal(whose(Buffer.concat([indexed(8), indexed(99)])), 'server')
    assert.equal(whose(indexed(99)), 'certain')
    assert.equal(whose(block({ 'Upper-Case': 'x' })), 'no')
    assert.equal(whose(block({ name: 'a\u0000b' })), 'no')
    assert.equal(whose(Buffer.alloc(0)), 'no')
  })
})

function decode(table: HeaderTable, bytes: Uint8Array): Field[] {
  const fields: Field[] = []
  table.decode(bytes, 0, bytes.length, fields)
  return fields
}

function line({ name, value }: Field): string {
  return `${name}: ${value}`
}
