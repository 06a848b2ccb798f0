import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, createWriteStream, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip, gzipSync, zstdCompressSync } from 'node:zlib'
import { emptyPacket, type Packet } from '../../core/packet.ts'
import { PcapWriter } from '../../core/pcap.ts'
import { type OpenedCapture, openCapture } from './file.ts'

const PACKETS = 5000

describe('a capture file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-'))
  after(() => rmSync(folder, { recursive: true }))
  const capture = written(PACKETS)
  const half = capture.length >> 1

  for (const { what, bytes, compression } of [
    { what: 'plain', bytes: capture, compression: null },
    { what: 'gzip', bytes: gzipSync(capture), compression: 'gzip' },
    { what: 'zstd', bytes: zstdCompressSync(capture), compression: 'zstd' },
    {
      what: 'gzip of two members',
      bytes: Buffer.concat([gzipSync(capture.subarray(0, half)), gzipSync(capture.subarray(half))]),
      compression: 'gzip',
    },
    {
      what: 'zstd of many frames, one to be skipped before them',
      bytes: Buffer.concat([Buffer.from('502a4d1804000000aabbccdd', 'hex'), ...frames(capture)]),
      compression: 'zstd',
    },
  ])
    for (const way of [
      'a file whose name says nothing',
      'standard input from a file',
      'standard input from a pipe',
      'a named pipe',
    ])
      it(`gives every packet, whatever it is packed in and wherever it comes from: ${what}, ${way}`, async () => {
        const path = join(folder, 'capture')
        writeFileSync(path, bytes)
        if (way === 'a file whose name says nothing') {
          const file = await openCapture(path)
          assert.equal(file.size, bytes.length)
          assert.deepEqual(await read(file), SEEN)
          assert.equal(file.position, file.size)
          assert.equal(file.compression, compression)
          assert.deepEqual(file.notes.damage, [])
        } else if (way === 'a named pipe') {
          const pipe = join(folder, 'pipe')
          execFileSync('mkfifo', [pipe])
          const writer = spawn('cp', [path, pipe])
          const file = await openCapture(pipe)
          assert.equal(file.size, null)
          assert.deepEqual(await read(file), SEEN)
          rmSync(pipe)
          assert.equal(writer.exitCode ?? 0, 0)
        } else {
          const command = way === 'standard input from a pipe' ? 'cat "$1" | "$0" -e "$2"' : '"$0" -e "$2" < "$1"'
          const { stdout, stderr } = spawnSync('sh', ['-c', command, process.execPath, path, READ_STDIN], {
            encoding: 'utf8',
          })
          assert.equal(stderr, '')
          assert.deepEqual(JSON.parse(stdout), { ...SEEN, size: null, position: bytes.length })
        }
      })

  for (const [what, bytes, least] of [
    ['gzip', gzipSync(capture), 0.95],
    ['zstd', Buffer.concat(frames(capture)), 0.8],
  ] as const) {
    it(`cut short gives what could be unpacked, and says so: ${what}`, async () => {
      const file = await openCapture(wrote(bytes.subarray(0, bytes.length - 200)))
      const { packets } = await read(file)
      assert.ok(packets < PACKETS && packets > PACKETS * least, `${packets} packets`)
      const [damage] = file.notes.damage
      assert.deepEqual([damage!.cause, damage!.expected], ['compression', `a whole ${what} stream`])
      assert.equal(damage!.offset, file.notes.bytes)
    })

    it(`damaged in the middle gives what came before, and says so: ${what}`, async () => {
      const damaged = Buffer.from(bytes)
      damaged.fill(0xff, damaged.length >> 1, (damaged.length >> 1) + 64)
      const file = await openCapture(wrote(damaged))
      const { packets } = await read(file)
      assert.ok(packets > PACKETS * 0.1 && packets < PACKETS, `${packets} packets`)
      // Bytes that were unpacked wrongly may look wrong to the parser first.
      assert.match(file.notes.damage[0]!.cause, /^(compression|record length)$/)
    })
  }

  it('behind which something else follows, packed with zstd, says so', async () => {
    const file = await openCapture(wrote(Buffer.concat([zstdCompressSync(capture), Buffer.from('something else')])))
    assert.deepEqual(await read(file), SEEN)
    assert.deepEqual(
      file.notes.damage.map(damage => damage.cause),
      ['compression'],
    )
  })

  it('that is damaged is not read to its end, and the rest is counted all the same', async () => {
    const huge = Buffer.concat([written(1), Buffer.alloc(16, 0xff), Buffer.alloc(8_000_000)])
    const file = await openCapture(wrote(huge))
    assert.deepEqual(await read(file), { packets: 1, bytes: sizeOf(0) })
    assert.ok(file.position < huge.length)
    const { parsed, bytes, damage } = file.notes
    assert.deepEqual([bytes, parsed + damage[0]!.bytes], [huge.length, huge.length])
  })

  it('says how far it was read', async () => {
    const file = await openCapture(wrote(written(20 * PACKETS)))
    const positions: number[] = []
    while (await file.load()) {
      positions.push(file.position)
      while (file.next() !== null);
    }
    assert.ok(positions.length > 10)
    assert.deepEqual(
      positions,
      [...positions].sort((a, b) => a - b),
    )
    assert.equal(positions.at(-1), file.size)
  })

  for (const [what, bytes] of [
    ['plain', capture],
    ['gzip', gzipSync(capture)],
  ] as const)
    it(`can be closed in the middle: ${what}`, async () => {
      const file = await openCapture(wrote(bytes))
      assert.ok(await file.load())
      assert.ok(file.next() !== null)
      file.close()
      assert.equal(await file.load(), false)
      file.close()
    })

  it('can be closed while it waits for bytes', async () => {
    const pipe = join(folder, 'waiting')
    execFileSync('mkfifo', [pipe])
    // Opened for both so that neither side waits for the other, and no end ever comes.
    const writer = createWriteStream(pipe, { fd: openSync(pipe, 'r+') })
    writer.write(capture.subarray(0, 1000))
    const file = await openCapture(pipe)
    while (file.notes.bytes < 1000) assert.ok(await file.load())
    const loading = file.load()
    file.close()
    assert.equal(await loading, false)
    writer.destroy()
  })

  it('unpacks no more at a time than it needs', async () => {
    const path = join(folder, 'zeros.gz')
    const packet = { ...emptyPacket(), bytes: new Uint8Array(262_144), end: 262_144, length: 262_144 }
    const writer = new PcapWriter(1)
    await pipeline(
      function* () {
        yield writer.header()
        for (let i = 0; i < 800; i++) yield writer.record(packet)
      },
      createGzip({ level: 1 }),
      createWriteStream(path),
    )
    const file = await openCapture(path)
    const before = process.memoryUsage().arrayBuffers
    let [packets, most] = [0, 0]
    do {
      while (file.next() !== null) packets++
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    } while (await file.load())
    assert.equal(packets, 800)
    assert.ok(most < 64e6, `${most} bytes of buffers for 200 MB`)
  })

  for (const { what, path, code, says } of [
    {
      what: 'a missing file',
      path: () => join(folder, 'nowhere.pcap'),
      code: 'CAPTURE_NOT_FOUND',
      says: /found nothing at ".*nowhere\.pcap"$/,
    },
    {
      what: 'a path through a file',
      path: () => join(wrote(capture), 'x'),
      code: 'CAPTURE_NOT_FOUND',
      says: /found nothing/,
    },
    { what: 'a directory', path: () => folder, code: 'CAPTURE_IS_DIRECTORY', says: /found a directory/ },
    { what: 'an empty file', path: () => wrote(Buffer.alloc(0)), code: 'CAPTURE_EMPTY', says: /found no bytes/ },
    { what: 'an empty device', path: () => '/dev/null', code: 'CAPTURE_EMPTY', says: /found no bytes/ },
    {
      what: 'a text file',
      path: () => wrote(Buffer.from('hello\nworld\n')),
      code: 'CAPTURE_UNKNOWN',
      says: /text that begins with "hello/,
    },
    {
      what: 'a packed text file',
      path: () => wrote(gzipSync('hello world')),
      code: 'CAPTURE_UNKNOWN',
      says: /text that begins/,
    },
    {
      what: 'a packed capture, packed again',
      path: () => wrote(gzipSync(gzipSync(capture))),
      code: 'CAPTURE_UNKNOWN',
      says: /gzip-compressed/,
    },
    {
      what: 'gzip from its magic on broken',
      path: () => wrote(Buffer.from('1f8bffffffffffffffffffff', 'hex')),
      code: 'CAPTURE_UNREADABLE',
      says: /expected a whole gzip stream, found /,
    },
    { what: 'one byte', path: () => wrote(Buffer.from([0xd4])), code: 'CAPTURE_HEADER_CUT', says: /found 1 byte$/ },
  ])
    it(`is refused with one clear line: ${what}`, async () => {
      await assert.rejects(
        async () => read(await openCapture(path())),
        (error: Error) => {
          assert.deepEqual([error.name, (error as Error & { code: string }).code], ['Fault', code])
          assert.match(error.message, says)
          assert.doesNotMatch(error.message, /\n/)
          return true
        },
      )
    })

  it('is refused with one clear line: a file that may not be read', async function () {
    if (process.getuid?.() === 0) this.skip()
    const path = wrote(capture)
    chmodSync(path, 0)
    await assert.rejects(openCapture(path), { code: 'CAPTURE_UNREADABLE', message: /found no permission to read$/ })
  })

  let files = 0
  function wrote(bytes: Uint8Array): string {
    mkdirSync(folder, { recursive: true })
    const path = join(folder, `case-${files++}`)
    writeFileSync(path, bytes)
    return path
  }
})

interface Seen {
  packets: number
  bytes: number
}

const SEEN: Seen = {
  packets: PACKETS,
  bytes: Array.from({ length: PACKETS }, (_, i) => sizeOf(i)).reduce((a, b) => a + b),
}

const READ_STDIN = `
  import(${JSON.stringify(new URL('file.ts', import.meta.url).href)}).then(async ({ openCapture }) => {
    const file = await openCapture('-')
    let [packets, bytes] = [0, 0]
    do {
      for (let packet = file.next(); packet !== null; packet = file.next()) {
        packets++
        bytes += packet.end - packet.start
      }
    } while (await file.load())
    console.log(JSON.stringify({ packets, bytes, size: file.size, position: file.position }))
  })`

async function read(file: OpenedCapture): Promise<Seen> {
  const seen = { packets: 0, bytes: 0 }
  do {
    for (let packet = file.next(); packet !== null; packet = file.next()) {
      assert.equal(packet.bytes[packet.start], seen.packets & 255)
      seen.packets++
      seen.bytes += packet.end - packet.start
    }
  } while (await file.load())
  return seen
}

function sizeOf(index: number): number {
  return 60 + ((index * 7919) % 1400)
}

/** Packet i is of `sizeOf(i)` bytes that do not compress well and begin with i. */
function written(count: number): Buffer {
  const writer = new PcapWriter(1)
  const noise = new Uint8Array(4096)
  for (let i = 0, state = 1; i < noise.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    noise[i] = state >>> 16
  }
  const packet: Packet = { ...emptyPacket(), bytes: noise, seconds: 1_700_000_000 }
  const parts = [writer.header()]
  for (let i = 0; i < count; i++) {
    packet.start = i % 2000
    packet.end = packet.start + sizeOf(i)
    packet.length = sizeOf(i)
    const record = writer.record(packet)
    record[16] = i
    parts.push(record)
  }
  return Buffer.concat(parts)
}

function frames(bytes: Buffer): Buffer[] {
  const size = Math.ceil(bytes.length / 10)
  return Array.from({ length: 10 }, (_, i) => zstdCompressSync(bytes.subarray(i * size, (i + 1) * size)))
}
