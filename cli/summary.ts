/** What is said at the end: what was found, what became of every byte, of scripts and of what they sent. */
import type { Face } from '../core/dissector.ts'
import type { ProtocolTally, Tally } from '../core/tally.ts'
import type { ScriptSummary } from '../scripting/host.ts'
import type { Sent } from './outbox.ts'
import { counted, grouped, paint, printable } from './terminal.ts'

export interface Ended {
  /** null: nobody asked for items, and nothing was dissected. */
  tally: Tally | null
  faces: readonly Face[]
  remarks: readonly string[]
  /** What became of packets before they were read. */
  account: readonly string[]
  scripts: readonly ScriptSummary[]
  sent: Sent | null
  spool: string
  seconds: number
  interrupted: boolean
}

export function summary(ended: Ended, depth: number): string {
  const { tally, remarks, account, scripts, sent } = ended
  const lines = tally === null ? [''] : ['', ...protocols(tally, ended, depth), '', ...bytes(tally, ended)]
  lines.push(...account)
  for (const [cause, count] of tally?.limits ?? [])
    lines.push(paint(`limit reached: ${cause}, ${counted(count, 'time')}`, 'yellow', depth))
  for (const remark of remarks) lines.push(paint(`capture: ${remark}`, 'yellow', depth))
  for (const script of scripts) lines.push(scriptLine(script, depth))
  if (sent) lines.push(...deliveries(sent, ended.spool, depth))
  return `${lines.join('\n')}\n`
}

const HEADINGS = ['items', 'pairs', 'half pairs', 'events', 'failed', 'bytes']

function protocols(tally: Tally, { faces }: Ended, depth: number): string[] {
  const titles = new Map(faces.map(({ name, abbr }) => [name, abbr]))
  const found = [...withoutCarriers(tally, faces)].sort(([, a], [, b]) => b.items - a.items)
  if (found.length === 0) return [`no items: ${whyNone(tally)}`]
  const rows = found.map(([name, p]) => [
    titles.get(name) ?? name,
    ...[p.items, p.pairs, p.halfPairs, p.events, p.failed, p.bytes].map(grouped),
  ])
  const table = [['', ...HEADINGS], ...rows]
  const widths = table[0]!.map((_, i) => Math.max(...table.map(row => row[i]!.length)))
  return table.map((row, i) => {
    const text = row.map((cell, k) => (k === 0 ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!))).join('  ')
    return i === 0 ? paint(text, 'dim', depth) : text
  })
}

function whyNone({ packets, protocols, unknownLinks }: Tally): string {
  if (packets === 0) return 'no packet was read'
  const unread = [...unknownLinks.values()].reduce((sum, count) => sum + count, 0)
  if (unread === packets) return 'no packet could be read'
  return `nothing here speaks a protocol that ${protocols.size > 0 ? 'was asked for' : 'Hookline knows'}`
}

/**
 * Bytes are counted by who read them, items by what they are. Who only carried another protocol (HTTP/2 with nothing but
 * gRPC in it) has no row of its own, and its bytes are the other's, if that is one.
 */
function withoutCarriers({ protocols }: Tally, faces: readonly Face[]): Map<string, ProtocolTally> {
  const families = new Map(faces.map(({ name, family = name }) => [name, family]))
  const rows = new Map([...protocols].map(([name, counts]) => [name, { ...counts }]))
  for (const [name, carrier] of rows) {
    if (carrier.items > 0) continue
    const family = families.get(name)
    // It was not asked for.
    if (family === undefined) rows.delete(name)
    const carried = [...protocols].filter(([one, p]) => families.get(one) === family && p.items > 0 && p.bytes === 0)
    if (family === undefined || carried.length !== 1) continue
    rows.delete(name)
    rows.get(carried[0]![0])!.bytes += carrier.bytes
  }
  return rows
}

function bytes(tally: Tally, { seconds, interrupted }: Ended): string[] {
  const { packets, bytes, headers, parsed, skipped, skippedBytes, unknownLinks, missing, gaps, connections } = tally
  const lines = [
    `${counted(packets, 'packet')} of ${counted(connections, 'connection')} in ${seconds.toFixed(1)} s${interrupted ? ', interrupted' : ''}`,
    `${grouped(bytes)} bytes = ${grouped(headers)} headers + ${grouped(parsed)} parsed + ${grouped(skippedBytes)} skipped`,
  ]
  if (skipped.size > 0) {
    const causes = [...skipped].sort(([, a], [, b]) => b - a).map(([cause, count]) => `${grouped(count)} ${cause}`)
    lines.push(`skipped: ${causes.join(', ')}`)
  }
  for (const [linkType, count] of unknownLinks)
    lines.push(
      `${linkType === null ? 'more link types are' : `link type ${linkType} is`} not read: ${counted(count, 'packet')}`,
    )
  if (missing > 0) lines.push(`not captured: ${grouped(missing)} bytes in ${counted(gaps, 'gap')}`)
  return lines
}

function scriptLine(script: ScriptSummary, depth: number): string {
  const { title, itemsSeen, packetsSeen, passed, failed, errors, linesDropped, unfinished, unseen, setApart } = script
  const seen = [
    ...(itemsSeen > 0 || packetsSeen === 0 ? [counted(itemsSeen, 'item')] : []),
    ...(packetsSeen > 0 ? [counted(packetsSeen, 'packet')] : []),
    ...(passed + failed > 0 ? [`${grouped(passed)} passed`, `${grouped(failed)} failed`] : []),
    ...(errors > 0 ? [counted(errors, 'error')] : []),
    ...(linesDropped > 0 ? [`${counted(linesDropped, 'line')} too many not shown`] : []),
    ...(unseen > 0 ? [`${counted(unseen, 'item or packet', 'items or packets')} not seen`] : []),
    ...(unfinished > 0 ? [`${counted(unfinished, 'timer or promise', 'timers or promises')} unfinished`] : []),
    ...(setApart === null ? [] : [`set apart: ${setApart}`]),
  ].join(', ')
  const line = `script "${printable(title)}": ${seen}`
  return errors > 0 || setApart !== null ? paint(line, 'red', depth) : line
}

function deliveries(sent: Sent, spool: string, depth: number): string[] {
  const { before, produced, delivered, spooled, deadLettered, refused } = sent
  const from =
    before > 0 ? `${grouped(produced)} sent + ${grouped(before)} waiting before` : `${grouped(produced)} sent`
  const line = `deliveries: ${from} = ${grouped(delivered)} delivered + ${grouped(spooled)} in the spool + ${counted(deadLettered, 'dead letter')}`
  const lines = [spooled + deadLettered > 0 ? paint(line, 'yellow', depth) : line]
  if (refused > 0) lines.push(paint(`${grouped(refused)} were refused, and their scripts told`, 'yellow', depth))
  if (spooled > 0) lines.push(`what waits in the spool is delivered by: ./hookline spool deliver --spool ${spool}`)
  if (deadLettered > 0) lines.push(`why they could not be delivered: ./hookline spool dead --spool ${spool}`)
  return lines
}
