/** What is believed of an isolate and of the sandbox process, and what is not. */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { Pipeline } from '../../core/pipeline.ts'
import { loadProtocols } from '../../core/registry.ts'
import type { Tally } from '../../core/tally.ts'
import { Dialogue } from '../../core/testing/packets.ts'
import { ScriptHost } from '../host.ts'
import { readScript } from '../script.ts'
import { SHORT } from '../testing/stage.ts'
import { definitionsOf, findingsOf } from './testimony.ts'

const HOSTILE = fileURLToPath(new URL('../testing/hostile.js', import.meta.url))

const DEFINITION = {
  name: 'echo-plus',
  title: 'Echo Plus',
  abbr: 'ECHO+',
  version: '1',
  color: '#495057',
  reference: '',
  transports: ['tcp', 'udp'],
  ports: [7007],
  priority: 100,
  keyed: true,
  patience: null,
  ends: false,
}
const TALLY = { items: 1, pairs: 1, halfPairs: 0, events: 0, failed: 0, bytes: 9 }
const FINDINGS = {
  count: 1,
  parsed: 9,
  skipped: [['malformed', 1]],
  limits: [['buffered bytes', 1]],
  protocols: [['echo-plus', TALLY]],
  unwanted: [3],
  sought: [{ half: 'back', first: { seconds: 1, nanoseconds: 2 }, last: { seconds: 1, nanoseconds: 3 } }],
}
const LINE = '{"id":"a"}\n'

/** Each with one part that is wrong. */
const WRONG_DEFINITIONS: Record<string, unknown> = {
  'no array': {},
  'too many': Array(17).fill(DEFINITION),
  null: [null],
  'a name with other characters': [{ ...DEFINITION, name: '\u001b[2J' }],
  'a name that is none': [{ ...DEFINITION, name: { length: 1 } }],
  'no transports': [{ ...DEFINITION, transports: undefined }],
  'transports that are one text': [{ ...DEFINITION, transports: 'tcp' }],
  'a transport that is none': [{ ...DEFINITION, transports: [null] }],
  'ports that are one number': [{ ...DEFINITION, ports: 7007 }],
  'a title without end': [{ ...DEFINITION, title: 'x'.repeat(501) }],
  'a colour that is none': [{ ...DEFINITION, color: '0m' }],
  'a priority that does not compare': [{ ...DEFINITION, priority: 'first' }],
}

const WRONG_FINDINGS: Record<string, [findings: unknown, lines?: string]> = {
  'no record': [null],
  'an item that was sought in more parts than any has': [{ ...FINDINGS, sought: Array(4).fill(FINDINGS.sought[0]) }],
  'a half that is none': [{ ...FINDINGS, sought: [{ ...FINDINGS.sought[0], half: 'constructor' }] }],
  'a moment that is none': [
    { ...FINDINGS, sought: [{ ...FINDINGS.sought[0], last: { seconds: 'x', nanoseconds: 0 } }] },
  ],
  'bytes fewer than none': [{ ...FINDINGS, parsed: -1 }],
  'more bytes than were sent': [{ ...FINDINGS, parsed: 10 }],
  'more bytes passed over than were sent': [{ ...FINDINGS, skipped: [['malformed', 2]] }],
  'a cause that would write to a terminal': [{ ...FINDINGS, skipped: [['\u001b[2J', 0]] }],
  'a limit that was reached half a time': [{ ...FINDINGS, limits: [['buffered bytes', 0.5]] }],
  'a protocol without counts': [{ ...FINDINGS, protocols: [['echo-plus', null]] }],
  'a protocol that has no name': [{ ...FINDINGS, protocols: [[7, TALLY]] }],
  'streams that are none': [{ ...FINDINGS, unwanted: 3 }],
  'a count of which nobody has so many': [{ ...FINDINGS, count: 1e9 }],
  'more lines than items': [FINDINGS, LINE + LINE],
  'a line without an end': [FINDINGS, LINE.trimEnd()],
  'a line that is no JSON': [FINDINGS, '{"id":\n'],
  'a line that is no item': [FINDINGS, '7\n'],
}

describe('what the sandbox tells of dissectors', () => {
  it('is believed when it can be', () => {
    assert.deepEqual(definitionsOf([DEFINITION]), [DEFINITION])
    assert.deepEqual(findingsOf(FINDINGS, Buffer.from(LINE), 10), FINDINGS)
  })

  for (const [what, definitions] of Object.entries(WRONG_DEFINITIONS))
    it(`is refused: definitions with ${what}`, () => assert.throws(() => definitionsOf(definitions), TypeError))

  for (const [what, [findings, lines = LINE]] of Object.entries(WRONG_FINDINGS))
    it(`is refused: findings with ${what}`, () =>
      assert.throws(() => findingsOf(findings, Buffer.from(lines), 10), { name: /TypeError|SyntaxError/ }))

  describe('does not harm the host when somebody has broken out', () => {
    const loaded = (dissectors: unknown) => ({ on: 'load', head: { type: 'loaded', script: 0, hooks: [], dissectors } })

    for (const [what, lies] of Object.entries({
      'findings that are none': [loaded([DEFINITION]), { on: 'streams', head: { type: 'dissected', findings: 5 } }],
      'findings twice': [
        loaded([DEFINITION]),
        ...[1, 2].map(() => ({
          on: 'streams',
          head: { type: 'dissected', findings: { ...FINDINGS, parsed: 1 } },
          body: LINE,
        })),
      ],
      'more bytes than there are': [
        loaded([DEFINITION]),
        { on: 'streams', head: { type: 'dissected', findings: { ...FINDINGS, parsed: 1e6 } }, body: LINE },
      ],
    }))
      it(what, async () => {
        const tally = await run(lies)
        assert.equal(tally.headers + tally.parsed + tally.skippedBytes, tally.bytes)
        for (const [cause, bytes] of tally.skipped) assert.ok(bytes >= 0, cause)
      })

    it('when it never has anything else to say', async () => {
      await assert.rejects(
        run([loaded([{ ...DEFINITION, transports: 'tcp' }])]),
        /TypeError: expected transports to be/,
      )
      const unasked = { on: 'load', head: { type: 'dissected', findings: FINDINGS }, body: LINE }
      await assert.rejects(run([unasked]), /TypeError: expected streams to be asked for/)
    })
  })
})

/** Packets of a protocol that nobody knows, read beside a sandbox that lies; killed as often as it lies, until it is given up. */
async function run(lies: object[]): Promise<Tally> {
  let tally: Tally | null = null
  const about = { worker: 'local', node: null, keepBodies: 100 }
  const host = await ScriptHost.start(
    {
      scripts: [readScript('a.js', '// A\ndissector({})')],
      env: {},
      limits: SHORT,
      nodeName: 'local',
      console: () => {},
      failed: () => {},
      send: async () => ({ body: '' }),
      dissection: { ...about, protocols: [], dissected: reclaimed => tally!.reclaim(reclaimed) },
    },
    async () => [process.execPath, [HOSTILE, JSON.stringify(lies)]],
  )
  const d = new Dialogue().open()
  for (let i = 0; i < 5; i++) {
    d.ask('\x01\x02\x03\x04')
    d.tell('\x05\x06')
  }
  const protocols = { ...(await loadProtocols()), observers: [] }
  const pipeline = new Pipeline({ ...about, protocols, claimant: host.claimant }, () => {})
  tally = pipeline.tally
  for (const packet of d.close().packets) pipeline.packet(packet)
  pipeline.finish()
  host.claimant!.flush()
  await host.stop()
  return tally
}
