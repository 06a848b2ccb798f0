/**
 * Compares items with what clients of GraphQL wrote down: each operation with its document, variables and answer, and
 * each frame of the WebSocket subprotocol that was sent and received.
 */
import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Item, JsonValue } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'

export const explanations: readonly Explanation[] = [
  { path: 'graphql/own__tls_http2', count: '', why: 'tshark was given the keys; what is encrypted is not read here' },
]

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const source = base ?? truth
  const told = items.filter(item => item.protocol.macro === 'gql').map(item => ({ item, used: false }))
  const why =
    source.keylog !== undefined ? 'encrypted' : expect === 'subset' ? 'packets missing from the capture' : undefined
  if (source.sent === undefined) for (const operation of source.operations) judge(operation, told, why, result)
  for (const frame of source.sent ?? []) judgeFrame(frame, 'request', told, result)
  for (const frame of source.received ?? []) judgeFrame(frame, 'response', told, result)
  for (const { item, used } of told)
    if (!used && !isHalf(item, source.operations))
      result.wrong.push({ what: `${item.id} is in no truth`, unexpected: true })
  return result
}

/** An answer whose request is missing from the capture. */
function isHalf({ request, response }: Item, operations: Operation[]): boolean {
  return request === null && operations.some(one => one.response === response!.content.text)
}

interface Told {
  item: Item
  used: boolean
}

interface Operation {
  path?: string
  stream?: number
  clientPort?: number
  request?: JsonValue
  status: number
  response: string | { len: number; sha256: string }
}

function judge(operation: Operation, told: Told[], why: string | undefined, result: Comparison): void {
  result.expected++
  const { request, path, clientPort } = operation
  const what = request?.query?.slice(0, 60) ?? path
  const candidates = told.filter(
    ({ item, used }) =>
      !used && (clientPort === undefined || item.src.port === String(clientPort)) && isAsked(operation, item),
  )
  const right = candidates.find(({ item }) => isAnswered(operation, item))
  if (right !== undefined) {
    right.used = true
    result.equal++
    return
  }
  const answered = candidates.find(({ item }) => item.response !== null)
  for (const one of candidates) one.used = true
  if (answered === undefined) result.missing.push(why === undefined ? { what } : { what, why })
  else result.wrong.push({ what: `${what}: answered with ${JSON.stringify(answered.item.response).slice(0, 200)}` })
}

function isAsked({ request, path }: Operation, { request: found }: Item): boolean {
  if (found === null) return false
  if (request === undefined) return found.url === path
  const { query, variables, operationName, extensions, operations } = found.graphql
  const isNamed = request.operationName ?? (operations.length === 1 ? operations[0].name : null)
  return (
    query === request.query &&
    operationName === isNamed &&
    isDeepStrictEqual(variables, request.variables ?? null) &&
    isDeepStrictEqual(extensions, request.extensions ?? null)
  )
}

function isAnswered({ status, response: expected }: Operation, { response, failed }: Item): boolean {
  if (response === null || response.status !== status) return false
  const { text } = response.content
  if (typeof expected !== 'string') return createHash('sha256').update(text).digest('hex') === expected.sha256
  const { data = null, errors = null } = JSON.parse(expected)
  const { graphql } = response
  return (
    text === expected &&
    isDeepStrictEqual([graphql.data, graphql.errors], [data, errors]) &&
    failed === (errors !== null || status >= 400)
  )
}

function judgeFrame(frame: JsonValue, direction: 'request' | 'response', told: Told[], result: Comparison): void {
  result.expected++
  const { type, id = null, payload } = frame
  const found = told.find(({ item, used }) => {
    const graphql = item[direction]?.graphql
    if (used || graphql?.type !== type || graphql.id !== id) return false
    if (type === 'subscribe') return graphql.query === payload.query && isSame(graphql.variables, payload.variables)
    if (type === 'next') return isSame(graphql.data, payload.data) && isSame(graphql.errors, payload.errors)
    return type !== 'error' || isSame(graphql.errors, payload)
  })
  if (found === undefined) result.missing.push({ what: `${direction} ${type} ${id}` })
  else {
    found.used = true
    result.equal++
  }
}

function isSame(found: JsonValue, expected: JsonValue): boolean {
  return isDeepStrictEqual(found, expected ?? null)
}
