/**
 * The Huffman code of HPACK (RFC 7541, 5.2 and appendix B), decoded four bits at a time: a state is a node of the code's
 * tree, and a table tells for each state and each four bits the next state and the byte that was completed on the way.
 */

/** Decodes `b[start..end)` into `out` and returns how many bytes came out, -1 if this is no Huffman text. */
export function unhuffman(b: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let state = 0
  let length = 0
  for (let i = start; i < end; i++) {
    const byte = b[i]!
    let step = STEPS[(state << 4) | (byte >> 4)]!
    if ((step & EMITS) !== 0) out[length++] = step & 0xff
    step = STEPS[((step >>> 16) << 4) | (byte & 15)]!
    if ((step & EMITS) !== 0) out[length++] = step & 0xff
    state = step >>> 16
  }
  return PADDING[state] === 1 ? length : -1
}

/** The shortest code has 5 bits. */
export function mostUnhuffed(size: number): number {
  return (size * 8) / 5 + 1
}

/** Bits of the code of each byte, and of the end of the string. Codes of one length are in the order of the bytes. */
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30,
]

const END_OF_STRING = 256
/** Nodes of the tree that are no leaves, and one more: whoever gets there has read what is no code. */
const FAILED = 256
const EMITS = 0x100

/** By state and four bits: the next state in the upper half, EMITS and a byte in the lower. */
const STEPS = new Uint32Array((FAILED + 1) << 4)
/** States in which a string may end: less than a byte of the end-of-string's code has been read. */
const PADDING = new Uint8Array(FAILED + 1)
fillTables()

function fillTables(): void {
  // Each node's two children: above 0 another node, below a leaf: -1 - byte.
  const children: [number, number][] = [[0, 0]]
  let code = 0
  for (let length = 1; length <= 30; length++) {
    for (const [symbol, own] of LENGTHS.entries()) {
      if (own !== length) continue
      let node = 0
      for (let bit = length - 1; bit > 0; bit--) {
        const side = (code >>> bit) & 1
        let next = children[node]![side]!
        if (next === 0) {
          next = children.push([0, 0]) - 1
          children[node]![side] = next
        }
        node = next
      }
      children[node]![code & 1] = -1 - symbol
      code++
    }
    code = (code << 1) >>> 0
  }
  for (const state of children.keys())
    for (let bits = 0; bits < 16; bits++) {
      let node = state
      let emitted = 0
      for (let bit = 3; bit >= 0 && node !== FAILED; bit--) {
        const next = children[node]![(bits >>> bit) & 1]!
        if (next >= 0) node = next
        else if (next === -1 - END_OF_STRING) node = FAILED
        else {
          emitted = EMITS | (-1 - next)
          node = 0
        }
      }
      STEPS[(state << 4) | bits] = (node << 16) | emitted
    }
  for (let bits = 0; bits < 16; bits++) STEPS[(FAILED << 4) | bits] = FAILED << 16
  // Up to seven bits of ones.
  for (let node = 0, depth = 0; depth < 8; depth++) {
    PADDING[node] = 1
    node = children[node]![1]!
  }
}
