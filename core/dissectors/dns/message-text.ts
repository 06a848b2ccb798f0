/** A message as JSON text: of all that crosses a cluster these are the most, and mostly made of the same few words. */
import { constant, type JsonWriter } from '../../json-writer.ts'
import type { DnsFlags, DnsQuestion, DnsRecord, DnsRequest, DnsResponse } from '../dns.ts'
import type { Edns } from './edns.ts'

/** The same text as JSON.stringify makes. */
export function writeMessage(out: JsonWriter, body: DnsRequest | DnsResponse): void {
  if ('code' in body) {
    out.raw(CODE)
    text(out, body.code)
    out.raw(RCODE)
    out.integer(body.rcode)
    out.raw(OP_CODE)
  } else out.raw(FIRST_OP_CODE)
  text(out, body.opCode)
  out.raw(ID)
  out.integer(body.id)
  out.raw(FLAGS)
  out.raw(flagsText(body.flags))
  out.raw(QUESTIONS)
  list(out, body.questions, writeQuestion)
  out.raw(ANSWERS)
  list(out, body.answers, writeRecord)
  out.raw(AUTHORITIES)
  list(out, body.authorities, writeRecord)
  out.raw(ADDITIONALS)
  list(out, body.additionals, writeRecord)
  out.raw(EDNS)
  if (body.edns === null) out.raw(NULL)
  else writeEdns(out, body.edns)
  if (body.operations !== undefined) {
    out.raw(OPERATIONS)
    out.value(body.operations)
  }
  out.byte(CLOSE)
}

function writeQuestion(out: JsonWriter, { name, type, class: of, unicast }: DnsQuestion): void {
  out.raw(NAME)
  text(out, name)
  out.raw(TYPE)
  text(out, type)
  out.raw(CLASS)
  text(out, of)
  if (unicast !== undefined) {
    out.raw(UNICAST)
    flag(out, unicast)
  }
  out.byte(CLOSE)
}

/** Which fields there are, the type says. */
function writeRecord(out: JsonWriter, record: DnsRecord): void {
  let first = true
  for (const key in record) {
    out.byte(first ? OPEN : COMMA)
    first = false
    out.raw(keyText(key))
    const value: unknown = record[key]
    if (typeof value === 'string') text(out, value)
    else if (typeof value === 'number') out.integer(value)
    else out.value(value)
  }
  out.byte(CLOSE)
}

function writeEdns(out: JsonWriter, edns: Edns): void {
  out.raw(UDP_SIZE)
  out.integer(edns.udpSize)
  out.raw(VERSION)
  out.integer(edns.version)
  out.raw(DO)
  flag(out, edns.do)
  out.raw(Z)
  out.integer(edns.z)
  out.raw(OPTIONS)
  if (edns.options.length === 0) out.raw(EMPTY)
  else out.value(edns.options)
  out.byte(CLOSE)
}

function list<Entry>(out: JsonWriter, entries: readonly Entry[], write: (out: JsonWriter, entry: Entry) => void): void {
  if (entries.length === 0) {
    out.raw(EMPTY)
    return
  }
  for (const [i, entry] of entries.entries()) {
    out.byte(i === 0 ? OPEN_LIST : COMMA)
    write(out, entry)
  }
  out.byte(CLOSE_LIST)
}

function text(out: JsonWriter, value: string): void {
  if (!out.asciiString(value)) out.value(value)
}

function flag(out: JsonWriter, value: boolean): void {
  out.raw(value ? TRUE : FALSE)
}

/** Of 128 combinations few are seen. */
function flagsText(flags: DnsFlags): Uint8Array {
  const { aa, tc, rd, ra, z, ad, cd } = flags
  const number = +aa | (+tc << 1) | (+rd << 2) | (+ra << 3) | (+z << 4) | (+ad << 5) | (+cd << 6)
  FLAGS_TEXTS[number] ??= constant(JSON.stringify(flags))
  return FLAGS_TEXTS[number]
}
const FLAGS_TEXTS: (Uint8Array | undefined)[] = new Array(128).fill(undefined)

/** Names of fields are the code's own, never a stranger's: there are as many as types have fields. */
function keyText(key: string): Uint8Array {
  let found = KEYS.get(key)
  if (found === undefined) {
    found = constant(`${JSON.stringify(key)}:`)
    KEYS.set(key, found)
  }
  return found
}
const KEYS = new Map<string, Uint8Array>()

const CODE = constant('{"code":')
const RCODE = constant(',"rcode":')
const OP_CODE = constant(',"opCode":')
const FIRST_OP_CODE = constant('{"opCode":')
const ID = constant(',"id":')
const FLAGS = constant(',"flags":')
const QUESTIONS = constant(',"questions":')
const ANSWERS = constant(',"answers":')
const AUTHORITIES = constant(',"authorities":')
const ADDITIONALS = constant(',"additionals":')
const EDNS = constant(',"edns":')
const OPERATIONS = constant(',"operations":')
const NAME = constant('{"name":')
const TYPE = constant(',"type":')
const CLASS = constant(',"class":')
const UNICAST = constant(',"unicast":')
const UDP_SIZE = constant('{"udpSize":')
const VERSION = constant(',"version":')
const DO = constant(',"do":')
const Z = constant(',"z":')
const OPTIONS = constant(',"options":')
const EMPTY = constant('[]')
const NULL = constant('null')
const TRUE = constant('true')
const FALSE = constant('false')
const [OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, COMMA] = [0x7b, 0x7d, 0x5b, 0x5d, 0x2c]
