/** A message as JSON text: of all that crosses a cluster these are the most, and mostly made of the same few words. */
import { flag, json, listOf, number, orNull, shapeOf, text } from '../../json-shape.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import type { DnsFlags, DnsQuestion, DnsRecord, DnsRequest, DnsResponse } from '../dns.ts'
import type { Edns } from './edns.ts'

const question = shapeOf<DnsQuestion>({ name: text, type: text, class: text, unicast: flag })
const edns = shapeOf<Edns>({ udpSize: number, version: number, do: flag, z: number, options: json })
const parts = {
  opCode: text,
  id: number,
  flags,
  questions: listOf(question),
  answers: listOf(record),
  authorities: listOf(record),
  additionals: listOf(record),
  edns: orNull(edns),
  operations: json,
}

/** The same text as JSON.stringify makes. */
export const writeRequest = shapeOf<DnsRequest>(parts)
export const writeResponse = shapeOf<DnsResponse>({ code: text, rcode: number, ...parts })

/** Which fields there are, the type says. */
function record(out: JsonWriter, value: DnsRecord): void {
  let first = true
  for (const key in value) {
    out.byte(first ? OPEN : COMMA)
    first = false
    out.raw(keyText(key))
    const field: unknown = value[key]
    if (typeof field === 'string') text(out, field)
    else if (typeof field === 'number') number(out, field)
    else json(out, field)
  }
  out.byte(CLOSE)
}

/** Of 128 combinations few are seen. */
function flags(out: JsonWriter, value: DnsFlags): void {
  const { aa, tc, rd, ra, z, ad, cd } = value
  const combination = +aa | (+tc << 1) | (+rd << 2) | (+ra << 3) | (+z << 4) | (+ad << 5) | (+cd << 6)
  FLAGS[combination] ??= constant(JSON.stringify(value))
  out.raw(FLAGS[combination])
}
const FLAGS: (Uint8Array | undefined)[] = new Array(128).fill(undefined)

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

const [OPEN, CLOSE, COMMA] = [0x7b, 0x7d, 0x2c]
