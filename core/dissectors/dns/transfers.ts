/**
 * Zone transfers over TCP: one question, as many messages in answer as the zone needs, the last of which is told by
 * its last record only.
 *
 *   whole zone (RFC 5936, 2.2):   SOA(new) records… SOA(new)
 *   changes    (RFC 1995, 4):     SOA(new) [SOA(old) deleted… SOA(newer) added…]… SOA(new)     or SOA(new) alone: no changes
 */
import type { ItemError, Json } from '../../item.ts'

/** By message id, those of one connection that are under way. */
export type Transfers = Map<number, Transfer>

interface Transfer {
  /** IXFR: the serial number that the client has. */
  since: number | null
  /** SOA(new), once the first message has come. */
  serial: number | null
  /** Records seen. */
  records: number
  /** How often SOA(new) has still to come. */
  left: number
}

/** A client that asks for transfers and never reads them must not fill the memory; real ones have a few at a time. */
const MAX_TRANSFERS = 100

export function expectTransfer(transfers: Transfers, id: number, request: Json): void {
  const type: string | undefined = request.questions[0]?.type
  if (type !== 'AXFR' && type !== 'IXFR') return
  if (transfers.size >= MAX_TRANSFERS) transfers.delete(transfers.keys().next().value!)
  const since: number | null = type === 'IXFR' ? (request.authorities[0]?.soa?.serial ?? null) : null
  transfers.set(id, { since, serial: null, records: 0, left: 1 })
}

/** Will more messages answer the same request? */
export function advance(transfers: Transfers, id: number, response: Json, error: ItemError | null): boolean {
  const transfer = transfers.get(id)
  if (transfer === undefined) return false
  if (response.rcode !== 0 || error !== null || isLast(transfer, response.answers)) {
    transfers.delete(id)
    return false
  }
  return true
}

function isLast(transfer: Transfer, answers: readonly Json[]): boolean {
  for (const record of answers) {
    const serial: number | undefined = record.soa?.serial
    transfer.records++
    if (transfer.records === 1) {
      // Not a transfer but an ordinary answer.
      if (serial === undefined) return true
      transfer.serial = serial
      if (transfer.since !== null && !isNewer(serial, transfer.since)) return true
    } else if (
      transfer.records === 2 &&
      transfer.since !== null &&
      serial !== undefined &&
      serial !== transfer.serial
    ) {
      // The last change ends in SOA(new) too, before its added records.
      transfer.left = 2
    } else if (serial === transfer.serial) {
      transfer.left--
      if (transfer.left === 0) return true
    }
  }
  // Without even one record nothing was transferred.
  return transfer.records === 0
}

/** RFC 1982, 3.2. */
function isNewer(serial: number, than: number): boolean {
  return ((serial - than) | 0) > 0
}
