// @ts-check
/**
 * A sandbox process in which somebody has broken out: says what its argument says, `[{ on, head, body }]`, as soon as the
 * host says `on`. Of itself it says what makes the host go on.
 */
import { writeSync } from 'node:fs'
import { FrameReader, frame } from '../sandbox/frames.js'

/** @type {{ on: string, head: object, body?: string }[]} */
const lies = JSON.parse(process.argv[2] ?? '[]')

/** @type {Record<string, object[]>} */
const ORDERLY = {
  drop: [{ type: 'dropped' }],
  load: [{ type: 'ready' }],
  end: [{ type: 'ended', unfinished: [] }],
}

/** @type {FrameReader<{ type: string }>} */
const reader = new FrameReader(({ type }) => {
  const said = lies.filter(({ on }) => on === type).map(({ head, body = '' }) => frame(head, Buffer.from(body)))
  writeSync(1, Buffer.concat([...said, ...(ORDERLY[type] ?? []).map(head => frame(head))]))
})
process.stdin.on('data', (/** @type {Buffer} */ chunk) => reader.push(chunk))
process.stdin.on('end', () => process.exit())
writeSync(1, frame({ type: 'up' }))
