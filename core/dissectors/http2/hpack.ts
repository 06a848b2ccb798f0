/**
 * HPACK (RFC 7541): header fields by reference to tables that both ends keep alike.
 *
 *   1xxxxxxx                  a field of a table            01xxxxxx name [string] string   a field that enters the table
 *   001xxxxx                  the table's size from now on  000Nxxxx name [string] string   a field that does not
 *   string = H(1) length(7+) bytes     H: Huffman           numbers go on in further bytes, seven bits each
 *
 * Whoever begins to listen late, or has lost bytes, does not know what the table held before: entries that come in later
 * are known, as their number counts from the newest, and a reference beyond them is `UNKNOWN`.
 */
import { isUtf8 } from 'node:buffer'
import { latin1, Malformed, utf8 } from '../../cursor.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import type { KnownHead, Trailers } from './head.ts'
import { mostUnhuffed, unhuffman } from './huffman.ts'

/** What a field is for, where that matters to a reader of messages. */
export type Role = (typeof ROLES)[number] | ''

const ROLES = [
  ':method',
  ':path',
  ':authority',
  ':scheme',
  ':status',
  ':protocol',
  'content-type',
  'content-encoding',
  'content-length',
  'cookie',
  'set-cookie',
  'location',
  'grpc-encoding',
  'grpc-timeout',
  'grpc-status',
  'grpc-message',
  'grpc-status-details-bin',
] as const
const ROLE_OF: ReadonlyMap<string, Role> = new Map(ROLES.map(role => [role, role]))

export interface Field {
  readonly name: string
  /** `"name":` */
  readonly label: Uint8Array
  readonly value: string
  readonly role: Role
  /** One of 31 bits, the same for the same name. */
  readonly bit: number
  /** What it takes in the table (RFC 7541, 4.1). */
  readonly size: number
  /** `"name":"value"`, once it was written twice. */
  text: Uint8Array | null
  uses: number
  /** JSON of a path and its parts, once somebody made it. */
  target: Uint8Array | null
}

/** A reference to what was not seen. */
export const UNKNOWN: Field = {
  name: '',
  label: constant('"":'),
  value: '',
  role: '',
  bit: 0,
  size: 32,
  text: null,
  uses: 0,
  target: null,
}

/** RFC 9113, 6.5.2: SETTINGS_HEADER_TABLE_SIZE before anybody sets it. */
const INITIAL_LIMIT = 4096
/** Browsers use 64 KiB. A client that asks for gigabytes and fills them gets this much of our memory. */
const MAX_LIMIT = 262_144
/** Beyond this a number is no index and no length of anything. */
const MAX_NUMBER = 1 << 24
/** Nothing of a packet stays behind. */
const NOTHING: Uint8Array = new Uint8Array(0)
/** Room for what most strings decode to; longer ones make their own. */
const SCRATCH = 512

/** What a header block says. */
export interface FieldList {
  readonly fields: readonly Field[]
  /** It came before, and the same bytes mean the same again as long as nothing enters the table. */
  readonly isKnown: boolean
  /** What was written of it as the beginning of a message, and as its end. */
  head: KnownHead | null
  trailers: Trailers | null
}

/** Blocks that refer to what is known take few bytes; longer ones have something new in them. */
const MAX_KNOWN_BLOCK = 64
/** Answers of one server, and their trailers: a connection has a handful that come again and again. */
const KNOWN_BLOCKS = 8
/** What each of them takes, with the text that is made of it. */
const KNOWN_BLOCK_BYTES = 1024

interface KnownBlock {
  version: number
  bytes: Uint8Array
  list: FieldList
}

/** What one side's encoder has in its table, and the reading of its header blocks. */
export class HeaderTable {
  /** The newest last. */
  private readonly fields: Field[] = []
  private limit = INITIAL_LIMIT
  /** Nothing was in it before that is not in `fields`. */
  private whole = true
  /** What RFC 7541, 4.1 says it takes. */
  size = 0
  /** Another one whenever numbers begin to mean other fields. */
  private version = 0
  /** By a hash of their bytes; the hashes are those of what came last. Empty until a block has come twice. */
  private readonly blocks: (KnownBlock | undefined)[] = []
  private readonly hashes: number[] = []

  private bytes = NOTHING
  private position = 0
  private end = 0
  private octets = 0
  private scratch = NOTHING

  /** Memory in use, about. */
  get weight(): number {
    return this.size + this.blocks.length * KNOWN_BLOCK_BYTES
  }

  /** What it holds is not known any more. */
  forget(): void {
    this.fields.length = 0
    this.size = 0
    this.limit = MAX_LIMIT
    this.whole = false
    this.version++
  }

  /** As `decode`; what comes again is not read again. */
  read(b: Uint8Array, start: number, end: number): FieldList {
    const { version, blocks, hashes } = this
    let hash = version
    let place = -1
    if (end - start <= MAX_KNOWN_BLOCK) {
      for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + b[i]!) | 0
      place = (hash ^ (hash >>> 15)) & (KNOWN_BLOCKS - 1)
      const known = blocks[place]
      if (known !== undefined && known.version === version && isSame(known.bytes, b, start, end)) return known.list
    }
    const fields: Field[] = []
    this.decode(b, start, end, fields)
    const isKnown = place >= 0 && this.version === version && hashes[place] === hash
    const list: FieldList = { fields, isKnown, head: null, trailers: null }
    if (isKnown) blocks[place] = { version, bytes: new Uint8Array(b.subarray(start, end)), list }
    else if (place >= 0) {
      while (hashes.length < place) hashes.push(0)
      hashes[place] = hash
    }
    return list
  }

  /**
   * Decodes a whole header block, appends its fields to `found` and brings the table up to date. Throws Malformed for
   * what no encoder writes.
   */
  decode(b: Uint8Array, start: number, end: number, found: Field[]): void {
    this.bytes = b
    this.position = start
    this.end = end
    try {
      while (this.position < end) {
        const first = b[this.position]!
        if ((first & 0x80) !== 0) found.push(this.at(this.number(0x7f)))
        else if ((first & 0xc0) === 0x40) {
          const field = this.literal(this.number(0x3f))
          this.insert(field)
          found.push(field)
        } else if ((first & 0xe0) === 0x20) this.resize(this.number(0x1f))
        else found.push(this.literal(this.number(0x0f)))
      }
    } finally {
      this.bytes = NOTHING
    }
  }

  /** RFC 7541, 5.1. */
  private number(mask: number): number {
    const { bytes, end } = this
    let value = bytes[this.position++]! & mask
    if (value < mask) return value
    for (let scale = 1; ; scale *= 128) {
      if (this.position === end || scale > MAX_NUMBER) throw new Malformed('expected a number of HPACK')
      const byte = bytes[this.position++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }

  private text(): string {
    const { bytes, end } = this
    if (this.position === end) throw new Malformed('expected a string, found the end of the header block')
    const huffman = (bytes[this.position]! & 0x80) !== 0
    const length = this.number(0x7f)
    const start = this.position
    if (length > end - start) throw new Malformed(`expected a string of ${length} bytes, found ${end - start}`)
    this.position = start + length
    this.octets = length
    if (!huffman) return decoded(bytes, start, start + length)
    const most = mostUnhuffed(length)
    if (this.scratch.length === 0) this.scratch = new Uint8Array(SCRATCH)
    const into = most > SCRATCH ? new Uint8Array(most) : this.scratch
    this.octets = unhuffman(bytes, start, start + length, into)
    if (this.octets < 0) throw new Malformed('expected Huffman code')
    return decoded(into, 0, this.octets)
  }

  private literal(index: number): Field {
    if (index === 0) {
      const name = nameOf(this.text())
      return this.valued(name)
    }
    const named = this.at(index)
    if (named !== UNKNOWN) return this.valued(named)
    this.text()
    return UNKNOWN
  }

  private valued(name: Name): Field {
    const { bytes, position, end } = this
    const next = position + 1 + (bytes[position]! & 0x7f)
    if (position === end || next > end || next - position > MAX_KNOWN_VALUE)
      return field(name, this.text(), this.octets)
    let hash = name.bit
    for (let i = position; i < next; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0
    const place = (hash ^ (hash >>> 15)) & (KNOWN_FIELDS - 1)
    const known = FIELDS[place]
    if (known != null && known.field.label === name.label && isSame(known.bytes, bytes, position, next)) {
      this.position = next
      return known.field
    }
    const made = field(name, this.text(), this.octets)
    if (HASHES[place] === hash) {
      made.uses = 1
      FIELDS[place] = { bytes: new Uint8Array(bytes.subarray(position, next)), field: made }
    } else HASHES[place] = hash
    return made
  }

  private at(index: number): Field {
    if (index < STATIC.length) {
      if (index === 0) throw new Malformed('expected an index of at least 1')
      return STATIC[index]!
    }
    const { fields } = this
    const place = fields.length - 1 - (index - STATIC.length)
    if (place >= 0) return fields[place]!
    if (this.whole)
      throw new Malformed(`expected an index of at most ${STATIC.length + fields.length - 1}, found ${index}`)
    return UNKNOWN
  }

  private insert(field: Field): void {
    this.version++
    this.fields.push(field)
    this.size += field.size
    this.evict()
  }

  private resize(limit: number): void {
    this.version++
    // A table that had to give up everything is known again; of one larger than ours the oldest fields are not.
    if (limit === 0) this.whole = true
    if (limit > MAX_LIMIT) this.whole = false
    this.limit = Math.min(limit, MAX_LIMIT)
    this.evict()
  }

  private evict(): void {
    const { fields, limit } = this
    let gone = 0
    while (this.size > limit) this.size -= fields[gone++]!.size
    if (gone === 1) fields.shift()
    else if (gone > 0) fields.splice(0, gone)
  }
}

/** Whose header block is this, as far as can be said without a table? */
export function whoseBlock(b: Uint8Array, start: number, end: number): 'client' | 'server' | 'certain' | 'no' {
  const table = new HeaderTable()
  table.forget()
  const found: Field[] = []
  try {
    table.decode(b, start, end, found)
  } catch (thrown) {
    if (thrown instanceof Malformed) return 'no'
    throw thrown
  }
  if (found.length === 0) return 'no'
  let whose: 'client' | 'server' | 'certain' = 'certain'
  for (const { name, value, role } of found) {
    if ((name !== '' && !NAME.test(name)) || !VALUE.test(value)) return 'no'
    if (REQUEST_ROLES.has(role)) whose = 'client'
    else if (role === ':status' || role === 'grpc-status') whose = 'server'
  }
  return whose
}

const REQUEST_ROLES: ReadonlySet<Role> = new Set<Role>([':method', ':path', ':scheme', ':authority', 'grpc-timeout'])
const NAME = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/
const VALUE = /^[^\x00-\x08\x0a-\x1f\x7f]*$/

/** `"name":"value"` */
export function writeField(out: JsonWriter, field: Field): void {
  if (field.text !== null) {
    out.raw(field.text)
    return
  }
  const start = out.length
  out.raw(field.label)
  if (!out.asciiString(field.value)) out.value(field.value)
  // Most fields come once; those that come again do so often.
  if (field.uses++ > 0) field.text = Uint8Array.prototype.slice.call(out.bytes, start, out.length)
}

function isSame(known: Uint8Array, b: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false
  for (let i = 0; i < known.length; i++) if (known[i] !== b[start + i]) return false
  return true
}

/**
 * Fields that come as literals again and again, on whatever connection: paths, lengths, and all that a client says on each
 * new one. They are read and written once. The hashes are those of what came last: kept is what comes twice.
 */
const KNOWN_FIELDS = 1024
/** As they are on the wire, with the byte of the length. */
const MAX_KNOWN_VALUE = 100
const HASHES = new Int32Array(KNOWN_FIELDS)
const FIELDS: ({ bytes: Uint8Array; field: Field } | null)[] = new Array(KNOWN_FIELDS).fill(null)

/** Values are UTF-8 today and were Latin-1 once. */
function decoded(b: Uint8Array, start: number, end: number): string {
  for (let i = start; i < end; i++)
    if (b[i]! >= 0x80) return isUtf8(b.subarray(start, end)) ? utf8(b, start, end) : latin1(b, start, end)
  return latin1(b, start, end)
}

function field({ name, label, role, bit }: Name, value: string, octets: number): Field {
  return { name, label, value, role, bit, size: name.length + octets + 32, text: null, uses: 0, target: null }
}

/** What fields of one name have in common. */
type Name = Pick<Field, 'name' | 'label' | 'role' | 'bit'>

/** Senders have some dozens of them; one who makes up ever new and ever longer ones must not fill the memory. */
const MAX_NAMES = 1024
const MAX_KNOWN_NAME = 64
const NAMES = new Map<string, Name>()

function nameOf(name: string): Name {
  const known = NAMES.get(name)
  if (known !== undefined) return known
  const made: Name = {
    name,
    label: constant(`${JSON.stringify(name)}:`),
    role: ROLE_OF.get(name) ?? '',
    bit: bitOf(name),
  }
  if (name.length > MAX_KNOWN_NAME) return made
  if (NAMES.size === MAX_NAMES) NAMES.clear()
  NAMES.set(name, made)
  return made
}

function bitOf(name: string): number {
  let hash = 0
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0
  return 1 << ((hash ^ (hash >>> 16)) & 31)
}

/** RFC 7541, appendix A. */
const STATIC: readonly Field[] = [
  ['', ''],
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
].map(([name, value]) => ({
  ...field(nameOf(name!), value!, value!.length),
  text: constant(`${JSON.stringify(name)}:${JSON.stringify(value)}`),
}))
