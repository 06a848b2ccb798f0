/** Multicast listener discovery: RFC 2710 (version 1) and RFC 3810 (version 2). */
import type { Cursor } from '../../cursor.ts'
import type { Context } from '../../dissector.ts'
import type { Json } from '../../item.ts'
import { address6, hex } from './errors.ts'

/** delay(2) 0(2) group(16); version 2 adds 0(4 bits) suppress(1) robustness(3) interval(1) count(2) sources(16 each) */
export function listenerQuery(at: Cursor, _ctx: Context, into: Json): void {
  into.maxDelay = at.u16()
  at.skip(2)
  into.group = address6(at)
  if (at.remaining < 4) return
  const flags = at.u8()
  into.suppress = (flags & 8) !== 0
  into.robustness = flags & 7
  into.interval = at.u8()
  into.sources = addresses(at, at.u16())
}

/** delay(2) 0(2) group(16) */
export function listenerReport(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(4)
  into.group = address6(at)
}

const RECORDS = ['', 'include', 'exclude', 'change to include', 'change to exclude', 'allow', 'block']

/** 0(2) count(2), records: type(1) words of extra data(1) count(2) group(16) sources(16 each) extra data */
export function listenerReport2(at: Cursor, _ctx: Context, into: Json): void {
  at.skip(2)
  const count = at.u16()
  const records: Json[] = []
  into.records = records
  for (let i = 0; i < count; i++) {
    const type = at.u8()
    const extra = at.u8() * 4
    const sources = at.u16()
    const record: Json = { type: RECORDS[type] ?? String(type), group: address6(at), sources: addresses(at, sources) }
    if (extra > 0) record.data = hex(at, extra)
    records.push(record)
  }
}

/** Bounded by what is there: reading beyond it ends the message. */
function addresses(at: Cursor, count: number): string[] {
  const found: string[] = []
  for (let i = 0; i < count; i++) found.push(address6(at))
  return found
}
