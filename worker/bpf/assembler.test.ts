import assert from 'node:assert/strict'
import { Assembler } from './assembler.ts'

/** Encodings of RFC 9669; listings as LLVM's assembler writes them. */
const ENCODINGS: readonly [listing: string, write: (to: Assembler) => unknown, bytes: string][] = [
  ['r6 = r1', a => a.alu('r6', '=', 'r1'), 'bf16000000000000'],
  ['r0 = 1', a => a.alu('r0', '=', 1), 'b700000001000000'],
  ['w0 = -1', a => a.alu('w0', '=', -1), 'b4000000ffffffff'],
  ['w3 = w4', a => a.alu('w3', '=', 'w4'), 'bc43000000000000'],
  ['r1 += r2', a => a.alu('r1', '+=', 'r2'), '0f21000000000000'],
  ['r2 += -8', a => a.alu('r2', '+=', -8), '07020000f8ffffff'],
  ['r1 -= r9', a => a.alu('r1', '-=', 'r9'), '1f91000000000000'],
  ['w1 *= 3', a => a.alu('w1', '*=', 3), '2401000003000000'],
  ['w1 /= w2', a => a.alu('w1', '/=', 'w2'), '3c21000000000000'],
  ['r1 |= 0xf', a => a.alu('r1', '|=', 15), '470100000f000000'],
  ['w1 &= 0xffffffff', a => a.alu('w1', '&=', 0xffff_ffff), '54010000ffffffff'],
  ['r1 <<= 32', a => a.alu('r1', '<<=', 32), '6701000020000000'],
  ['r1 >>= 32', a => a.alu('r1', '>>=', 32), '7701000020000000'],
  ['w5 %= 100', a => a.alu('w5', '%=', 100), '9405000064000000'],
  ['r1 ^= r2', a => a.alu('r1', '^=', 'r2'), 'af21000000000000'],
  ['r1 s>>= 1', a => a.alu('r1', 's>>=', 1), 'c701000001000000'],
  ['r1 = -r1', a => a.negate('r1'), '8701000000000000'],
  ['w1 = -w1', a => a.negate('w1'), '8401000000000000'],
  ['r3 = be16 r3', a => a.swap('r3', 16), 'dc03000010000000'],
  ['r3 = be64 r3', a => a.swap('r3', 64), 'dc03000040000000'],
  ['r0 = *(u8 *)(r1 + 3)', a => a.load('r0', 'u8', 'r1', 3), '7110030000000000'],
  ['r0 = *(u16 *)(r10 - 8)', a => a.load('r0', 'u16', 'r10', -8), '69a0f8ff00000000'],
  ['r2 = *(u32 *)(r6 + 76)', a => a.load('r2', 'u32', 'r6', 76), '61624c0000000000'],
  ['r2 = *(u64 *)(r6 + 152)', a => a.load('r2', 'u64', 'r6', 152), '7962980000000000'],
  ['*(u32 *)(r10 - 4) = 7', a => a.store('u32', 'r10', -4, 7), '620afcff07000000'],
  ['*(u8 *)(r1 + 0) = 0', a => a.store('u8', 'r1', 0, 0), '7201000000000000'],
  ['*(u64 *)(r10 - 16) = r0', a => a.store('u64', 'r10', -16, 'r0'), '7b0af0ff00000000'],
  ['*(u16 *)(r7 + 2) = r3', a => a.store('u16', 'r7', 2, 'r3'), '6b37020000000000'],
  ['lock *(u64 *)(r0 + 8) += r1', a => a.addAtomically('u64', 'r0', 8, 'r1'), 'db10080000000000'],
  ['lock *(u32 *)(r0 + 0) += r1', a => a.addAtomically('u32', 'r0', 0, 'r1'), 'c310000000000000'],
  ['r0 = *(u16 *)skb[12]', a => a.loadAbsolute('u16', 12), '280000000c000000'],
  ['r0 = *(u8 *)skb[r7 + 14]', a => a.loadIndirect('u8', 'r7', 14), '507000000e000000'],
  ['r1 = 0x1122334455667788 ll', a => a.constant('r1', 0x1122_3344_5566_7788n), '18010000887766550000000044332211'],
  ['r1 = -1 ll', a => a.constant('r1', -1n), '18010000ffffffff00000000ffffffff'],
  ['r1 = map[fd:5]', a => a.map('r1', 'five'), '18110000050000000000000000000000'],
  ['r1 = map[fd:5][0] + 24', a => a.mapValue('r1', 'five', 24), '18210000050000000000000018000000'],
  ['call map_lookup_elem', a => a.call('map_lookup_elem'), '8500000001000000'],
  ['call ringbuf_reserve', a => a.call('ringbuf_reserve'), '8500000083000000'],
  ['exit', a => a.exit(), '9500000000000000'],
  ['goto +0', a => a.jump('next').label('next'), '0500000000000000'],
  ['goto -1', a => a.label('again').jump('again'), '0500ffff00000000'],
  ['if r0 == 0 goto +0', a => a.jumpIf('r0', '==', 0, 'next').label('next'), '1500000000000000'],
  ['if w0 != 4 goto +0', a => a.jumpIf('w0', '!=', 4, 'next').label('next'), '5600000004000000'],
  ['if r1 > r2 goto +0', a => a.jumpIf('r1', '>', 'r2', 'next').label('next'), '2d21000000000000'],
  ['if w1 & 1 goto +0', a => a.jumpIf('w1', '&', 1, 'next').label('next'), '4601000001000000'],
  ['if r1 s< 0 goto +0', a => a.jumpIf('r1', 's<', 0, 'next').label('next'), 'c501000000000000'],
  ['if r1 s> r2 goto +0', a => a.jumpIf('r1', 's>', 'r2', 'next').label('next'), '6d21000000000000'],
  ['if r1 <= 9 goto +0', a => a.jumpIf('r1', '<=', 9, 'next').label('next'), 'b501000009000000'],
]

describe('the assembler', () => {
  for (const [listing, write, bytes] of ENCODINGS) {
    it(`writes ${listing}`, () => {
      const assembler = new Assembler()
      write(assembler)
      if (listing !== 'exit' && listing !== 'goto -1') assembler.exit()
      assert.equal(
        Buffer.from(assembler.assemble({ five: 5 }))
          .subarray(0, bytes.length / 2)
          .toString('hex'),
        bytes,
      )
    })
  }

  it('counts jumps from the instruction behind, and a wide constant as two', () => {
    const program = new Assembler()
      .jumpIf('r1', '==', 0, 'end')
      .constant('r0', 1n)
      .label('again')
      .alu('r1', '-=', 1)
      .jumpIf('r1', '!=', 0, 'again')
      .label('end')
      .exit()
      .assemble()
    const view = new DataView(program.buffer)
    assert.equal(view.getInt16(0 * 8 + 2, true), 4)
    assert.equal(view.getInt16(4 * 8 + 2, true), -2)
  })

  it('leaves out what nothing leads to, and shortens the jumps across it', () => {
    const program = new Assembler()
      .jumpIf('r1', '==', 0, 'end')
      .jump('end')
      .constant('r0', 1n)
      .label('never')
      .alu('r0', '=', 2)
      .jump('never')
      .label('end')
      .alu('r0', '=', 3)
      .exit()
      .assemble()
    assert.equal(
      Buffer.from(program).toString('hex'),
      '15010100000000000500000000000000b7000000030000009500000000000000',
    )
  })

  it('gives names that nobody else has', () => {
    const program = new Assembler()
    assert.notEqual(program.newLabel('next'), program.newLabel('next'))
  })

  /** Each would become another program than the one that was meant. */
  const REFUSED: readonly [what: string, write: (to: Assembler) => unknown, complaint: RegExp][] = [
    ['labels that stand nowhere', a => a.jump('away').assemble(), /nothing is called away/],
    ['programs without an end', a => a.alu('r0', '=', 1).assemble(), /beyond its end/],
    ['labels that stand twice', a => a.label('a').label('a'), /a stands twice/],
    ['maps without a descriptor', a => a.map('r1', 'lost').exit().assemble(), /no map is called lost/],
    ['constants of more than 32 bits', a => a.alu('r1', '=', 2 ** 32), /does not fit into 32 bits/],
    ['fractions', a => a.alu('r1', '=', 0.5), /does not fit/],
    [
      'offsets of more than 16 bits',
      a => a.load('r1', 'u8', 'r1', 40_000).exit().assemble(),
      /does not fit into 16 bits/,
    ],
    ['registers of different widths', a => a.alu('r1', '=', 'w2'), /not equally wide/],
    [
      'jumps that are too far',
      a => {
        a.jump('end')
        a.label('begin')
        for (let i = 0; i < 40_000; i++) a.alu('r0', '=', 1)
        a.exit().label('end').jump('begin').assemble()
      },
      /does not fit into 16 bits/,
    ],
  ]

  for (const [what, write, complaint] of REFUSED) {
    it(`refuses ${what}`, () => {
      assert.throws(() => write(new Assembler()), complaint)
    })
  }
})
