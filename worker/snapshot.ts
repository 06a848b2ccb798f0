/**
 * A window of time of one or several rings as one tar.gz, which never changes: for each worker a folder with its packets
 * and the names of addresses, and a manifest that says what there is.
 *
 *     node-a/packets.pcapng  node-a/names.json  node-b/…  manifest.json
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, createReadStream, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { Fault } from '../core/fault.ts'
import type { ItemMarks } from '../core/item-marks.ts'
import type { Packet } from '../core/packet.ts'
import type { AddressName } from './dns-names.ts'
import { type Exported, type ExportInput, type ExportOptions, exportPackets, PLAIN } from './export.ts'

export interface SnapshotWorker {
  /** Also its folder's. */
  name: string
  input: ExportInput
  names: readonly AddressName[]
  /** In which packets items begin; null: that is not to be said. */
  marks: ItemMarks | null
  /** As ExportOptions has them. */
  secrets: ExportOptions['secrets']
}

/** manifest.json. Times are ns since 1970 as decimal strings. */
export interface Manifest {
  version: 1
  /** What wrote it. */
  program: string
  /** ms since 1970. */
  created: number
  /** As it was asked for; null: as far as the rings reached. */
  window: { from: string | null; to: string | null; filter: string | null }
  /** Of all workers. */
  packets: number
  workers: ManifestWorker[]
}

export interface ManifestWorker {
  name: string
  packets: number
  first: string | null
  last: string | null
  /** Packets that the ring dropped while the snapshot was taken, and bytes of it that could not be read. */
  missed: number
  damaged: number
  interfaces: Exported['interfaces']
  files: ManifestFile[]
}

export interface ManifestFile {
  path: string
  bytes: number
  sha256: string
}

/** Fast: packets are large, and mostly compress well or not at all. */
const GZIP_LEVEL = 1

/** Each worker's packets lie unpacked in the folder for temporary files while they are packed. */
export async function writeSnapshot(
  workers: readonly SnapshotWorker[],
  about: Pick<Manifest, 'program' | 'created' | 'window'>,
  write: (chunk: Uint8Array) => void,
  signal: AbortSignal,
): Promise<Manifest> {
  const archive = pack()
  const manifest: Manifest = { version: 1, ...about, packets: 0, workers: [] }
  const fill = async () => {
    try {
      for (const worker of workers) {
        const entered = await addWorker(archive, worker, about, signal)
        manifest.workers.push(entered)
        manifest.packets += entered.packets
        if (signal.aborted) throw new Fault('SNAPSHOT_INTERRUPTED', 'the snapshot was interrupted: there is none')
      }
      await addText(archive, 'manifest.json', `${JSON.stringify(manifest, null, 2)}\n`, about)
      archive.finalize()
    } catch (error) {
      archive.destroy(error as Error)
      throw error
    }
  }
  const compressed = pipeline(archive, createGzip({ level: GZIP_LEVEL }), async source => {
    for await (const chunk of source) write(chunk)
  })
  // Whichever failed first is the cause of the other's failure.
  const [filled, packed] = await Promise.allSettled([fill(), compressed])
  if (filled.status === 'rejected' && filled.reason instanceof Fault) throw filled.reason
  for (const one of [packed, filled]) if (one.status === 'rejected') throw one.reason
  return manifest
}

type Archive = ReturnType<typeof pack>
type About = Pick<Manifest, 'program' | 'created'>

async function addWorker(
  archive: Archive,
  { name, input, names, marks, secrets }: SnapshotWorker,
  about: About,
  signal: AbortSignal,
): Promise<ManifestWorker> {
  const folder = mkdtempSync(join(tmpdir(), 'hookline-'))
  const path = join(folder, 'packets.pcapng')
  try {
    const hash = createHash('sha256')
    const file = openSync(path, 'wx', 0o600)
    let done: Exported
    try {
      const comment = marks === null ? null : (packet: Packet) => marks.of(packet)
      const settings = { ...PLAIN, format: 'pcapng', title: about.program, names, secrets, comment, signal } as const
      done = await exportPackets([input], settings, chunk => {
        hash.update(chunk)
        writeAll(file, chunk)
      })
    } finally {
      closeSync(file)
    }
    const packets = { path: `${name}/packets.pcapng`, bytes: done.bytes, sha256: hash.digest('hex') }
    await addEntry(archive, packets.path, done.bytes, createReadStream(path), about)
    const told = await addText(archive, `${name}/names.json`, `${JSON.stringify(names, null, 1)}\n`, about)
    const { first, last, missed, damaged, interfaces } = done
    const span = { first: first === null ? null : String(first), last: last === null ? null : String(last) }
    return { name, packets: done.packets, ...span, missed, damaged, interfaces, files: [packets, told] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function writeAll(file: number, chunk: Uint8Array): void {
  try {
    for (let done = 0; done < chunk.length; ) done += writeSync(file, chunk, done)
  } catch (error) {
    throw new Fault(
      'SNAPSHOT_NO_ROOM',
      `expected room for the packets of a worker in ${tmpdir()}, found: ${(error as Error).message}`,
    )
  }
}

async function addText(archive: Archive, path: string, text: string, about: About): Promise<ManifestFile> {
  const bytes = Buffer.from(text)
  await addEntry(archive, path, bytes.length, [bytes], about)
  return { path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

async function addEntry(
  archive: Archive,
  name: string,
  size: number,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { created }: About,
): Promise<void> {
  const ended = Promise.withResolvers<void>()
  const header = { name, size, mode: 0o444, mtime: new Date(created) }
  const entry = archive.entry(header, error => (error ? ended.reject(error) : ended.resolve()))
  for await (const chunk of content) if (!entry.write(chunk)) await Promise.race([once(entry, 'drain'), ended.promise])
  entry.end()
  await ended.promise
}
