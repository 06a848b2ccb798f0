/** Descriptions of gRPC's messages: .proto files and descriptor sets, read once, then asked for each message. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, isAbsolute, join, resolve } from 'node:path'
import type { Describe } from '../core/dissector.ts'
import { Fault } from '../core/fault.ts'
import type { JsonValue } from '../core/item.ts'

/** Each path is a .proto file, a descriptor set (`protoc -o`, `buf build -o`), or a directory of them. */
export function readDescriptions(paths: readonly string[]): Describe {
  const protobuf = loadLibrary()
  const files = paths.flatMap(path => filesAt(path))
  const folders = paths.map(path => (isDirectory(path) ? path : dirname(path)))
  const roots = files.filter(isDescriptorSet).map(file => readDescriptorSet(protobuf, file))
  const sources = files.filter(file => !isDescriptorSet(file))
  if (sources.length > 0) roots.push(readSources(protobuf, sources, folders))
  return describer(protobuf, roots)
}

// ── the library ───────────────────────────────────────────────────────────────────────────────────────────────────

/** What is used of protobufjs. */
interface Library {
  Root: {
    new (): Root
    fromDescriptor(set: object): Root
  }
  util: { Long: new (...parts: never[]) => Long }
}

interface Root {
  resolvePath(origin: string, target: string): string | null
  loadSync(files: string[], options: { keepCase: boolean }): Root
  resolveAll(): Root
  lookup(path: string): Service | null
}

interface Service {
  methods?: Record<string, { resolvedRequestType: Type | null; resolvedResponseType: Type | null; resolve(): void }>
}

interface Type {
  decode(bytes: Uint8Array): object
  toObject(message: object, options: object): Record<string, unknown>
}

interface Long {
  toNumber(): number
  toString(): string
}

/** Only for those who ask for it: a run without descriptions starts without it. */
function loadLibrary(): Library {
  const require = createRequire(import.meta.url)
  try {
    require('protobufjs/ext/descriptor')
    return require('protobufjs')
  } catch {
    throw new Fault('PROTOBUF_MISSING', '--proto needs the package protobufjs: run `npm install` where Hookline lies')
  }
}

// ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A folder of everything is no folder of descriptions. */
const MAX_FILES = 10_000

function filesAt(path: string): string[] {
  if (!isDirectory(path)) return [path]
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter(
    name => extname(name) === '.proto' || isDescriptorSet(name),
  )
  if (names.length === 0)
    throw new Fault('PROTO_MISSING', `--proto ${path}: no .proto file and no descriptor set there`)
  if (names.length > MAX_FILES)
    throw new Fault('PROTO_TOO_MANY', `--proto ${path}: at most ${MAX_FILES} files, found ${names.length}`)
  return names.sort().map(name => join(path, name))
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    throw new Fault('PROTO_MISSING', `--proto ${path}: there is no such file or directory`)
  }
}

function isDescriptorSet(name: string): boolean {
  return ['.pb', '.protoset', '.desc', '.binpb'].includes(extname(name))
}

function readDescriptorSet(protobuf: Library, file: string): Root {
  const require = createRequire(import.meta.url)
  const { FileDescriptorSet } = require('protobufjs/ext/descriptor')
  try {
    return protobuf.Root.fromDescriptor(FileDescriptorSet.decode(readFileSync(file))).resolveAll()
  } catch (error) {
    throw unreadable(file, error)
  }
}

/** Imports are looked for beside the importing file, and in every folder that was given. */
function readSources(protobuf: Library, files: string[], folders: readonly string[]): Root {
  const root = new protobuf.Root()
  const resolvePath = root.resolvePath.bind(root)
  root.resolvePath = (origin, target) => {
    if (isAbsolute(target) || origin === '') return resolvePath(origin, target)
    const beside = [dirname(origin), ...folders].map(folder => resolve(folder, target))
    return beside.find(isFile) ?? resolvePath(origin, target)
  }
  try {
    root.loadSync(
      files.map(file => resolve(file)),
      { keepCase: true },
    )
    return root.resolveAll()
  } catch (error) {
    throw unreadable(files.length === 1 ? files[0]! : `${files[0]} and ${files.length - 1} more`, error)
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function unreadable(file: string, error: unknown): Fault {
  return new Fault('PROTO_UNREADABLE', `--proto ${file}: ${error instanceof Error ? error.message : error}`)
}

// ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Paths that strangers make up are not remembered without end. */
const MAX_PATHS = 10_000

interface Types {
  request: Type | null
  response: Type | null
}

function describer(protobuf: Library, roots: readonly Root[]): Describe {
  const known = new Map<string, Types | null>()
  const plain = (value: unknown): JsonValue => plainValue(protobuf, value)
  return (path, direction, content) => {
    let types = known.get(path)
    if (types === undefined) {
      types = typesOf(roots, path)
      if (known.size < MAX_PATHS) known.set(path, types)
    }
    const type = types?.[direction] ?? null
    if (type === null) return null
    try {
      return plain(type.toObject(type.decode(content), { enums: String, objects: false, arrays: false }))
    } catch {
      // Not what the description says: then it is told without one.
      return null
    }
  }
}

function typesOf(roots: readonly Root[], path: string): Types | null {
  const slash = path.lastIndexOf('/')
  for (const root of roots) {
    const methods = root.lookup(path.slice(1, slash))?.methods ?? {}
    const rpc = path.slice(slash + 1)
    if (!Object.hasOwn(methods, rpc)) continue
    const method = methods[rpc]!
    method.resolve()
    return { request: method.resolvedRequestType, response: method.resolvedResponseType }
  }
  return null
}

/** As items have it: 64-bit numbers beyond 2^53 and what is no number as text, bytes as base64. */
function plainValue(protobuf: Library, value: unknown): JsonValue {
  if (value instanceof Uint8Array) return { encoding: 'base64', text: Buffer.from(value).toString('base64') }
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (value instanceof protobuf.util.Long)
    return Number.isSafeInteger(value.toNumber()) ? value.toNumber() : value.toString()
  if (Array.isArray(value)) return value.map(one => plainValue(protobuf, one))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plainValue(protobuf, one)]))
}
