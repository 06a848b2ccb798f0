import assert from 'node:assert/strict'
import { constants, createDeflateRaw } from 'node:zlib'
import { emptyWindow, inflatePiece, moveWindow } from './inflate.ts'
import { generator } from './testing/golden.ts'

const LIMIT = 1 << 20

describe('inflate', () => {
  it('reads pieces that refer back to those before them, whatever their sizes', async () => {
    const random = generator(7)
    const texts = Array.from({ length: 60 }, (_, i) =>
      `${i} `.concat('the same words again and again '.repeat(random() % (i % 10 === 0 ? 3000 : 20))),
    )
    const window = emptyWindow()
    for (const [i, piece] of (await packed(texts)).entries()) {
      const text = inflatePiece(piece, window, LIMIT)!
      assert.equal(Buffer.from(text).toString(), texts[i])
      moveWindow(window, text)
      assert.ok(window.bytes.length <= 40_960)
    }
  })

  it('refuses what refers back to what is not known, what unfolds to too much, and what is no deflate data', async () => {
    const [first, second] = await packed(['some words to be repeated', 'some words to be repeated'])
    assert.equal(inflatePiece(second!, emptyWindow(), LIMIT), null)
    assert.equal(inflatePiece(first!, emptyWindow(), 10), null)
    assert.equal(inflatePiece(Uint8Array.of(7, 255, 255), emptyWindow(), LIMIT), null)
  })

  it('keeps little of little', () => {
    const window = emptyWindow()
    moveWindow(window, new Uint8Array(100))
    assert.ok(window.bytes.length < 1000)
  })
})

/** Each text compressed and flushed, with one window over all. */
async function packed(texts: string[]): Promise<Buffer[]> {
  const deflate = createDeflateRaw()
  const pieces: Buffer[] = []
  for (const text of texts) {
    const chunks: Buffer[] = []
    const take = (chunk: Buffer) => chunks.push(chunk)
    deflate.on('data', take)
    deflate.write(text)
    await new Promise<void>(done => deflate.flush(constants.Z_SYNC_FLUSH, done))
    deflate.off('data', take)
    pieces.push(Buffer.concat(chunks))
  }
  deflate.destroy()
  return pieces
}
