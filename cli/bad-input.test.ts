import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { HOME, hookline, SHOP_PCAP, start } from './testing/hookline.ts'

describe('bad input on the command line', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'hookline-bad-'))
  after(() => rmSync(folder, { recursive: true }))
  const shop = readFileSync(SHOP_PCAP)

  function file(name: string, content: string | Uint8Array): string {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }

  const text = file('notes.txt', 'Dear diary,\ntoday nothing was captured.\n')
  const empty = file('empty.pcap', '')
  const directory = join(folder, 'captures')
  mkdirSync(directory)
  const good = file('good.js', '// Good.\nfunction onItemCaptured(data) {}\n')
  const broken = file('broken.js', '// Broken.\nfunction onItemCaptured(data) {\n  return data.(\n}\n')
  const misspelt = file('misspelt.js', '// Misspelt.\nfunction onItemCapturd(data) {}\n')

  const cases: [what: string, words: string[], said: RegExp][] = [
    [
      'a text file',
      ['run', '--pcap', text],
      /notes\.txt: expected a pcap or pcapng capture, found text that begins with "Dear/,
    ],
    ['an empty file', ['run', '--pcap', empty], /empty\.pcap: expected a pcap or pcapng capture, found no bytes/],
    [
      'half a header',
      ['run', '--pcap', file('short.pcap', shop.subarray(0, 20))],
      /short\.pcap: .*24 bytes, found 20 bytes/,
    ],
    ['a missing file', ['run', '--pcap', join(folder, 'nope.pcap')], /found nothing at .*nope\.pcap/],
    ['a directory', ['run', '--pcap', directory], /expected a capture file, found a directory/],
    [
      'a damaged gzip file',
      ['run', '--pcap', file('x.gz', Buffer.from([0x1f, 0x8b, 8, 0, 1, 2]))],
      /x\.gz: expected a whole gzip stream/,
    ],
    ['a script with a syntax error', ['run', broken, '--pcap', SHOP_PCAP], /broken\.js:3:\d+: Unexpected token/],
    ['an unknown hook', ['run', misspelt, '--pcap', SHOP_PCAP], /misspelt\.js:2: .*onItemCapturd.*onItemCaptured/],
    ['a missing script', ['run', join(folder, 'nope.js'), '--pcap', SHOP_PCAP], /found nothing at .*nope\.js/],
    ['a capture in the place of a script', ['run', SHOP_PCAP, '--pcap', SHOP_PCAP], /ends in \.js or \.ts/],
    ['--env without =', ['run', good, '--pcap', SHOP_PCAP, '--env', 'TOKEN'], /'TOKEN' is invalid.*NAME=VALUE/],
    ['--env without a name', ['run', good, '--pcap', SHOP_PCAP, '--env', '=1'], /'=1' is invalid.*NAME=VALUE/],
    ['an unknown flag', ['run', '--pcap', SHOP_PCAP, '--jsn'], /unknown option '--jsn' \(Did you mean --json\?\)/],
    ['an unknown command', ['rnu'], /unknown command 'rnu' \(Did you mean run\?\)/],
    ['--pcap and -i together', ['run', '--pcap', SHOP_PCAP, '-i', 'lo'], /--pcap.*-i.*found both/],
    ['neither --pcap nor -i', ['run', good], /give --pcap FILE, or -i INTERFACE/],
    ['two captures', ['run', '--pcap', SHOP_PCAP, '--pcap', 'b.pcap'], /'b\.pcap' is invalid\. One capture is read at/],
    ['two captures for tap', ['tap', '--pcap', 'a.pcap', '--pcap', 'b.pcap'], /'b\.pcap' is invalid\. One capture/],
    [
      'two --pcap to replay',
      replay('--to', '127.0.0.1:1', '--pcap', 'a', '--pcap', 'b'),
      /'b' is invalid\. One capture/,
    ],
    ['--filter without -i', ['run', '--pcap', SHOP_PCAP, '--filter', 'tcp'], /--filter.*give -i/],
    ['--json and --quiet', ['run', '--pcap', SHOP_PCAP, '--json', '-q'], /--json.*--quiet/],
    ['tap by a name that is no capture', ['tap', '--capture', 'ebfp'], /'ebfp' is invalid.*best, ebpf/],
    ['a size of a ring without a unit', ['tap', '--ring-size', '1000'], /'1000' is invalid.*500M or 10G/],
    ['a ring that is too small', ['tap', '-i', 'lo', '--ring-size', '1K', ...ringless()], /a ring needs at least|root/],
    ['an age of a ring of nothing', ['tap', '--ring-age', '0h'], /'0h' is invalid.*30m, 24h or 7d/],
    ['an address that is none', ['tap', '--address', '10.0.0.1,10.0.0.256'], /found 10\.0\.0\.256/],
    ['an interface without a name', ['tap', '-i', 'eth0,'], /'eth0,' is invalid/],
    ['no thread', ['tap', '--fanout', '0'], /'0' is invalid.*from 1 to 64/],
    ['more threads than there may be', ['tap', '--fanout', '65'], /'65' is invalid.*from 1 to 64/],
    ['a sample of none', ['tap', '--sample', '0'], /'0' is invalid.*above 0/],
    ['a sample of all and more', ['tap', '--sample', '101'], /'101' is invalid.*up to 100/],
    [
      'a capture that is to be captured',
      ['tap', '--pcap', SHOP_PCAP, '-i', 'lo', '--ring-size', '1G'],
      /-i, --ring-size/,
    ],
    ['items of what is not dissected', ['tap', '--json', '--no-dissect'], /--json.*--no-dissect/],
    [
      'a namespace that is none',
      ['tap', '--namespace', '/no/such'],
      /'\/no\/such' is invalid. There is no network namespace/,
    ],
    ['a namespace of nobody', ['tap', '--namespace', '99999999'], /'99999999' is invalid. No such process/],
    ['a snapshot for nobody', ['snapshot', '--dest', '-'], /give --dest FILE or a folder/],
    ['an id that is none', ['pcapdump', '--item', 'local-3', ...ringless()], /expected the id of an item/],
    ['a stream that is none', ['pcapdump', '--stream', 'a.pcap', ...ringless()], /expected a stream's name/],
    ['an item and its stream', ['pcapdump', '--item', 'a', '--stream', 'b'], /give --item or --stream/],
    ['an item and a time', ['pcapdump', '--item', 'a', '--time', '5m'], /--time chooses packets, and so does --item/],
    ['an option without its value', ['run', '--pcap'], /argument missing/],
    ['a spool that is not there', ['spool', 'list', '--spool', join(folder, 'none')], /there is no spool in/],
    [
      'a spool in a file',
      ['run', vendor(), '--pcap', SHOP_PCAP, '--spool', join(text, 'x')],
      /the spool needs a directory.*notes\.txt/,
    ],
    ['a spool where nothing can be', ['run', vendor(), '--pcap', SHOP_PCAP, '--spool', '/proc/x'], /\/proc\/x/],
    ['a replay without target', ['replay', SHOP_PCAP], /required option '--to <host:port>' not specified/],
    ['a target without port', replay('--to', 'staging'), /'staging' is invalid.*HOST:PORT/],
    ['a target with port 0', replay('--to', '127.0.0.1:0'), /'127\.0\.0\.1:0' is invalid.*HOST:PORT/],
    ['a target that has no address', replay('--to', 'nobody.invalid:1', '--server', ':6379'), /no address for "nobody/],
    ['a replay to one of several servers', replay('--to', '127.0.0.1:1'), /go to 8 servers.*choose by --server/],
    ['a replay of nothing', replay('--to', '127.0.0.1:1', '--protocol', 'kafka'), /there is nothing to replay/],
    ['a protocol that is none', replay('--to', '127.0.0.1:1', '--protocol', 'htpt'), /expected protocols of.*"htpt"/],
    ['a replay of no stream', replay('--to', '127.0.0.1:1', '--stream', 'no.pcap'), /there is nothing to replay/],
    [
      'a replay of a ping',
      replay('--to', '127.0.0.1:1', '--item', 'local/1700000000123456789_5f3a9c01_icmp.pcap-0'),
      /said over TCP and UDP, and 1700000000123456789_5f3a9c01_icmp\.pcap is of ICMP/,
    ],
    [
      'a replay of an association',
      replay('--to', '127.0.0.1:1', '--stream', '1700000000123456789_5f3a9c01_sctp.pcap'),
      /is of SCTP/,
    ],
    ['no capture to replay', ['replay', '--to', '127.0.0.1:1'], /what to replay is missing/],
    ['two captures to replay', replay('--to', '127.0.0.1:1', '--pcap', SHOP_PCAP), /comes from one place, found/],
    ['--time of a capture', replay('--to', '127.0.0.1:1', '--time', '5m'), /--time is counted.*give --ring/],
    ['a ring that is not there', ['replay', ...ringless(), '--to', '127.0.0.1:1'], /found no folder at/],
    ['a text file to replay', ['replay', text, '--to', '127.0.0.1:1'], /found text that begins with "Dear/],
    ['a rate of 0', replay('--to', '127.0.0.1:1', '--rate', '0x'), /'0x' is invalid.*1x, 2x, 0\.5x/],
    ['a rate in words', replay('--to', '127.0.0.1:1', '--rate', 'fast'), /'fast' is invalid/],
    ['a count of 0', replay('--to', '127.0.0.1:1', '--count', '0'), /'0' is invalid.*from 1 to 1000000/],
    ['too many connections', replay('--to', '127.0.0.1:1', '--concurrency', '99999'), /from 1 to 10000/],
    ['a timeout of 0', replay('--to', '127.0.0.1:1', '--timeout', '0'), /'0' is invalid.*seconds/],
    ['--set without =', replay('--to', '127.0.0.1:1', '--set', 'Host'), /'Host' is invalid.*HEADER=VALUE/],
    [
      '--set of a length',
      replay('--to', '127.0.0.1:1', '--server', ':8080', '--set', 'content-length=1'),
      /says where a body ends/,
    ],
    [
      '--set for Redis',
      replay('--to', '127.0.0.1:1', '--server', ':6379', '--set', 'a=1'),
      /sets headers of HTTP\/1.*speaks redis/,
    ],
    ['an item that is none', replay('--to', '127.0.0.1:1', '--item', 'seven'), /expected the id of an item/],
    ['an item of no stream', replay('--to', '127.0.0.1:1', '--item', 'local/no.pcap-1'), /no stream no\.pcap/],
    [
      '--item and --stream',
      replay('--to', '127.0.0.1:1', '--item', 'a-1', '--stream', 'b'),
      /--item names one request/,
    ],
    ['a server that is none', replay('--to', '127.0.0.1:1', '--server', 'web'), /'web' is invalid.*10\.0\.0\.5:8080/],
    ['--json and --quiet of replay', replay('--to', '127.0.0.1:1', '--json', '-q'), /--json.*--quiet/],
    ['a starter over a script', ['new', 'script', good.replace(/\.js$/, '')], /good\.js is there already/],
    ['a starter in a missing folder', ['new', 'script', join(folder, 'no/such')], /there is no folder/],
  ]

  function ringless(): string[] {
    return ['--ring', join(folder, 'ring')]
  }

  function replay(...words: string[]): string[] {
    return ['replay', SHOP_PCAP, ...words]
  }

  function vendor(): string {
    return file(
      'vendor.js',
      "// Sends.\nfunction onItemCaptured() { vendor.slack('http://127.0.0.1:9/', 'a', 'b', 'good') }\n",
    )
  }

  for (const [what, words, said] of cases) {
    it(`says what is wrong with ${what}, in one line, and ends with 2`, async () => {
      const { code, stdout, stderr } = await hookline(folder, words)
      assert.match(stderr, said)
      assert.match(stderr, /^hookline: [^\n]+\n$/, 'one line')
      assert.equal(stdout, '')
      assert.equal(code, 2)
    })
  }

  it('says that standard output takes nothing', function () {
    if (!existsSync('/dev/full')) this.skip()
    for (const words of [
      ['run', '--pcap', SHOP_PCAP, '--json'],
      ['run', '--pcap', SHOP_PCAP],
    ]) {
      const full = openSync('/dev/full', 'w')
      const child = spawnSync(`${HOME}hookline`, words, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' })
      closeSync(full)
      assert.equal(child.stderr, 'hookline: expected to write to standard output, found a full disk\n')
      assert.equal(child.status, 2)
    }
  })

  it('knows its version by the option that every program has', async () => {
    const { stdout: said } = await hookline(folder, ['version'])
    assert.match(said, /^hookline \d+\.\d+\.\d+ \(Node 24\./)
    for (const option of ['--version', '-V']) {
      const { code, stdout, stderr } = await hookline(folder, [option])
      assert.deepEqual([code, stdout, stderr], [0, said, ''])
    }
  })

  it('says the same of standard input', async () => {
    const { code, stderr } = await hookline(folder, ['run', '--pcap', '-'], Buffer.from('no capture at all'))
    assert.match(stderr, /^hookline: expected a pcap or pcapng capture, found text[^\n]+\n$/)
    assert.equal(code, 2)
  })

  it('does not obey what a file tells the terminal', async () => {
    const { stderr } = await hookline(folder, ['run', '--pcap', file('evil', 'abc\x1b]0;owned\x07def')])
    assert.doesNotMatch(stderr, /[\x00-\x09\x0b-\x1f]/)
  })

  it('delivers what a cut capture holds, reports the damage, and ends with 0', async () => {
    const whole = await hookline(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    const cut = await hookline(folder, [
      'run',
      '--pcap',
      file('cut.pcap', shop.subarray(0, shop.length / 2 - 7)),
      '--json',
    ])
    assert.equal(cut.code, 0)
    assert.match(cut.stderr, /^capture: damaged at byte [\d ]+: record cut short/m)
    const expected = new Set(whole.stdout.split('\n').map(pairOf))
    const pairs = cut.stdout
      .split('\n')
      .filter(line => line.includes('"response":{'))
      .map(pairOf)
    assert.ok(pairs.length > 300, `${pairs.length} pairs`)
    assert.deepEqual(
      pairs.filter(pair => !expected.has(pair)),
      [],
    )
  })

  it('says that another capture follows in the same file, also where both are compressed', async () => {
    const plain = await hookline(folder, ['run', '-q', '--pcap', file('two.pcap', Buffer.concat([shop, shop]))])
    assert.match(
      plain.stderr,
      /^capture: another capture follows: the beginning of a capture at byte 599 478, and only what is before it is read; 599 478 bytes not read$/m,
    )
    const packed = gzipSync(shop)
    const zipped = await hookline(folder, ['run', '-q', '--pcap', file('two.gz', Buffer.concat([packed, packed]))])
    assert.match(zipped.stderr, /another capture follows: .* at byte 599 478, .*; at least [\d ]+ bytes not read$/m)
    assert.doesNotMatch(zipped.stderr, /may be what is damaged/)
    assert.equal(zipped.code, 0)
  })

  it('tells the damage of a compressed capture once, and that it is compressed', async () => {
    const packed = gzipSync(shop)
    const remarks = async (bytes: Buffer) => {
      const { stderr } = await hookline(folder, ['run', '-q', '--pcap', file('damaged.gz', bytes)])
      return stderr.split('\n').filter(line => line.startsWith('capture: '))
    }
    const cut = await remarks(packed.subarray(0, packed.length / 2))
    assert.equal(cut.length, 1)
    assert.match(
      cut[0]!,
      /^capture: damaged at byte [\d ]+: compression, expected a whole gzip stream, found unexpected end of file; at least \d+ bytes not read$/,
    )
    const nonsense = await remarks(gzipSync(Buffer.concat([shop.subarray(0, 1000), Buffer.alloc(1000, 0xff)])))
    assert.match(nonsense[0]!, /^capture: damaged at byte /)
    assert.equal(nonsense.at(-1), 'capture: it is compressed, and that may be what is damaged: `gzip -t` tells')
  })

  it('reads half a pcapng block as damage, not as the end of everything', async () => {
    const block = sectionAndInterface(1)
    const { code, stderr } = await hookline(folder, [
      'run',
      '--pcap',
      file('half.pcapng', block.subarray(0, block.length - 9)),
    ])
    assert.match(stderr, /^capture: damaged at byte 28: block cut short/m)
    assert.equal(code, 0)
  })

  it('counts every byte of an unknown link type as skipped', async () => {
    const unknown = Buffer.from(shop)
    unknown.writeUInt32LE(147, 20)
    const { code, stdout, stderr } = await hookline(folder, ['run', '--pcap', '-', '--json'], unknown)
    assert.equal(stdout, '')
    assert.match(stderr, /^no items: no packet could be read$/m)
    assert.match(stderr, /^skipped: ([\d ]+) unknown link type\nlink type 147 is not read: [\d ]+ packets$/m)
    assert.deepEqual(sums(stderr), { bytes: true })
    assert.equal(code, 0)
  })

  it('adds every byte of a good capture up, also from gzip on standard input', async () => {
    const { code, stdout, stderr } = await hookline(folder, ['run', '--pcap', '-', '--json'], gzipSync(shop))
    assert.equal(code, 0)
    assert.deepEqual(sums(stderr), { bytes: true })
    assert.equal(stdout.trim().split('\n').length, 1273)
  })

  it('ends quietly when its reader has seen enough', async () => {
    const child = start(folder, ['run', '--pcap', SHOP_PCAP, '--json'])
    child.stdin.end()
    let stderr = ''
    child.stderr.on('data', text => {
      stderr += text
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise(resolve => child.on('close', resolve))
    assert.equal(code, 0)
    assert.doesNotMatch(stderr, /EPIPE|Error/)
  })
})

/** What must not change when the rest of the capture is missing. */
function pairOf(line: string): string {
  if (line === '') return ''
  const { src, startTime, request, response } = JSON.parse(line)
  return JSON.stringify([src.port, startTime, request, response])
}

function sums(stderr: string): { bytes: boolean } {
  const line = /^([\d ]+) bytes = ([\d ]+) headers \+ ([\d ]+) parsed \+ ([\d ]+) skipped$/m.exec(stderr)
  assert.ok(line, stderr)
  const [bytes, headers, parsed, skipped] = line.slice(1).map(text => Number(text.replaceAll(' ', '')))
  return { bytes: bytes === headers! + parsed! + skipped! && bytes! > 0 }
}

/** pcapng: a Section Header Block (28 bytes) and an Interface Description Block (20). */
function sectionAndInterface(linkType: number): Buffer {
  const bytes = Buffer.alloc(48)
  bytes.writeUInt32LE(0x0a0d0d0a, 0)
  bytes.writeUInt32LE(28, 4)
  bytes.writeUInt32LE(0x1a2b3c4d, 8)
  bytes.writeUInt16LE(1, 12)
  bytes.writeBigInt64LE(-1n, 16)
  bytes.writeUInt32LE(28, 24)
  bytes.writeUInt32LE(1, 28)
  bytes.writeUInt32LE(20, 32)
  bytes.writeUInt16LE(linkType, 36)
  bytes.writeUInt32LE(20, 44)
  return bytes
}
