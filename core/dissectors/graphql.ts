/**
 * GraphQL (October 2021) within other protocols: in HTTP as JSON (GraphQL over HTTP), in WebSocket by the subprotocols
 * graphql-transport-ws and the older graphql-ws, in events of a response (graphql-sse).
 *
 *   request  = { "query": document, "operationName", "variables", "extensions" }, or an array of them, or in the target
 *   response = { "data", "errors", "extensions" }
 *
 * A field named `query` proves nothing: its text must be a document, or the answer one of GraphQL.
 */
import { indexOf } from '../cursor.ts'
import type { Exchange, Refinement, Refiner } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { Members } from '../json-text.ts'
import { constant, Written } from '../json-writer.ts'
import { type Operation, type OperationType, operationsIn } from './graphql/document.ts'

/** `request.graphql` of an item. */
export interface GraphqlRequest {
  /** Of the operation that is meant; null where no document tells, and for a batch. */
  operationType: OperationType | null
  /** As the request or else the document names it; null for an anonymous one. */
  operationName: string | null
  /** The document; null where only its name was sent, and for a batch. */
  query: string | null
  variables: Json | null
  extensions: Json | null
  /** A document that the server knows already: its identifier, or the hash of a persisted query. */
  documentId: string | null
  /** All that the document has. */
  operations: Operation[]
  /** Several requests in one, each as above; null for a single one. */
  batch: GraphqlRequest[] | null
  /** Files that were sent with it (multipart/form-data); absent without. */
  uploads?: GraphqlUpload[]
}

export interface GraphqlUpload {
  /** Where in the request the file stands for `null`: `variables.file`, in a batch `0.variables.file`. */
  paths: string[]
  fileName: string
  /** null where the part has none. */
  contentType: string | null
}

/** `response.graphql` of an item, `event.graphql` where the answer is an event. */
export interface GraphqlResponse {
  /** null also where the answer has none: then there are errors. */
  data: JsonValue
  /** Whatever went wrong; the data may still be there in part. null when nothing did. */
  errors: GraphqlError[] | null
  extensions: Json | null
  /** Parts that come later (incremental delivery), as they were sent; null for an answer in one piece. */
  incremental: JsonValue[] | null
  /** Answers to a batch, each as above; `errors` has those of all. null for a single one. */
  batch: GraphqlResponse[] | null
}

export interface GraphqlError {
  message: string
  path?: (string | number)[]
  locations?: { line: number; column: number }[]
  extensions?: Json
}

/** Beside the fields above where a subprotocol of WebSocket frames them. */
export interface GraphqlFrame {
  /** `subscribe`, `next`, `complete`, …; `start`, `data`, … in the older one. */
  type: string
  /** Of the operation within its connection; null for what concerns the connection. */
  id: string | null
}

export const refiner: Refiner = {
  name: 'gql',
  family: 'http',
  title: 'GraphQL',
  abbr: 'GQL',
  version: '1.1',
  color: '#e10098',
  reference: 'https://spec.graphql.org/October2021/',
  ports: [80, 443, 8080],
  priority: 0,
  refines: ['http', 'http2', 'ws', 'sse'],
  refine,
  summarize(request, response, event) {
    const asked: (GraphqlRequest & Partial<GraphqlFrame>) | undefined = request?.graphql
    const answered: (GraphqlResponse & Partial<GraphqlFrame>) | undefined = (response ?? event)?.graphql
    const failed = (answered?.errors?.length ?? 0) > 0
    return {
      method: asked?.type ?? answered?.type ?? asked?.operationType ?? '',
      summary: asked?.operationName ?? asked?.query ?? asked?.id ?? answered?.id ?? request?.path ?? '',
      status: failed ? 'errors' : (response?.status?.toString() ?? ''),
    }
  },
}

/** Larger bodies are not read: what they say would be in the item twice. */
const MAX_BODY = 262_144
const MAX_BATCH = 100
/** Objects within objects: an answer of nothing but brackets must not exhaust the stack. */
const MAX_DEPTH = 500

function refine({ host, request, response, event }: Exchange): Refinement | null {
  if (host === 'ws') return refineFrame(request, response)
  if (event !== null) return refineEvent(event)
  if (request === null) return refineOrphan(response)
  if (!(request instanceof Written)) return null
  const asked = request.bodyStart < 0 ? askedInTarget(request) : askedInBody(request)
  if (asked === null) return null
  const answered = answeredIn(response)
  if (!asked.certain && answered === null) return null
  return {
    request: { graphql: asked.request },
    response: answered === null ? undefined : { graphql: answered },
    failed: isFailure(answered),
  }
}

function isFailure(answered: GraphqlResponse | null): boolean {
  return answered !== null && answered.errors !== null
}

// ── a cheap look ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Media types, as JSON strings begin with them. */
const JSON_TYPE = '"application/json'
const GRAPHQL_TYPE = '"application/graphql'
const RESPONSE_TYPE = '"application/graphql-response+json'
const MULTIPART_TYPE = '"multipart/mixed'
const FORM_TYPE = '"multipart/form-data'

/** As it stands within a JSON string. Those who send no document tell its name, and that in front. */
const QUERY_FIELD = Buffer.from('\\"query\\"')
const FIRST_FIELDS = ['extensions', 'documentId', 'id', 'operationName', 'variables'].map(name =>
  Buffer.from(`\\"${name}\\"`),
)

/** In shorter bodies a loop is done before the engine's search has begun. */
const SHORT = 512
const BACKSLASH = 92
const LETTER_Q = 113

function mayBeRequest({ bytes, bodyStart, bodyEnd }: Written): boolean {
  // Behind a quote, a brace, and the bracket of a batch.
  const first = indexOf(bytes, BACKSLASH, bodyStart, bodyEnd)
  if (first < 0) return false
  for (const name of FIRST_FIELDS) if (startsWith(bytes, first, name)) return true
  if (bodyEnd - first > SHORT)
    return Buffer.from(bytes.buffer, bytes.byteOffset + first, bodyEnd - first).includes(QUERY_FIELD)
  for (let p = first + 2; p < bodyEnd; p++)
    if (bytes[p] === LETTER_Q && startsWith(bytes, p - 2, QUERY_FIELD)) return true
  return false
}

function startsWith(bytes: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false
  return true
}

/** In small letters, for media types are the same in any case. */
function hasType(part: Written, type: string): boolean {
  const { bytes, typeStart, typeEnd } = part
  if (typeStart < 0 || typeEnd - typeStart < type.length) return false
  for (let i = 0; i < type.length; i++) {
    const byte = bytes[typeStart + i]!
    if ((byte >= 65 && byte <= 90 ? byte | 0x20 : byte) !== type.charCodeAt(i)) return false
  }
  return true
}

/** The body begins as an object or an array. */
function isObject({ bytes, bodyStart, bodyEnd }: Written): boolean {
  let p = bodyStart + 1
  while (p < bodyEnd && bytes[p] === 32) p++
  return bytes[p] === 123 || bytes[p] === 91
}

function bodyOf(part: Written): string {
  return JSON.parse(textOf(part, part.bodyStart, part.bodyEnd))
}

function textOf({ bytes }: Written, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString()
}

/** undefined: it is no JSON, or deeper than whoever writes it again can go down. */
function parse(text: string): JsonValue {
  if (isTooDeep(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    // Cut off, or never JSON: then it is not for us.
    return undefined
  }
}

function isTooDeep(text: string): boolean {
  let depth = 0
  for (let p = 0; p < text.length; p++) {
    const code = text.charCodeAt(p)
    if (code === 34) {
      for (p++; p < text.length && text.charCodeAt(p) !== 34; p++) if (text.charCodeAt(p) === 92) p++
    } else if (code === 91 || code === 123) {
      if (++depth > MAX_DEPTH) return true
    } else if (code === 93 || code === 125) depth--
  }
  return false
}

// ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

interface Asked {
  request: GraphqlRequest
  /** The request proves by itself that it is GraphQL. */
  certain: boolean
}

function askedInBody(part: Written): Asked | null {
  if (hasType(part, FORM_TYPE)) return askedInForm(part)
  const size = part.bodyEnd - part.bodyStart
  if (size > MAX_BODY) return null
  if (hasType(part, JSON_TYPE)) {
    if (!isObject(part) || !mayBeRequest(part)) return null
    return askedIn(parse(bodyOf(part)))
  }
  if (!hasType(part, GRAPHQL_TYPE)) return null
  const text = bodyOf(part)
  return (isObject(part) ? askedIn(parse(text)) : null) ?? askedIn({ query: text })
}

/**
 * https://github.com/jaydenseric/graphql-multipart-request-spec: `operations` is the request, with null for each file,
 * `map` says by their names in the form where they belong.
 */
function askedInForm(part: Written): Asked | null {
  const { start, bodyStart, bodyEnd, end } = part
  const { params } = parse(`${textOf(part, start, bodyStart)}null${textOf(part, bodyEnd, end)}`).postData
  const partNamed = (wanted: string): JsonValue => {
    const found = params.find(({ name, fileName }: Json) => name === wanted && fileName === undefined)
    return found === undefined ? undefined : parse(found.value)
  }
  const map = partNamed('map')
  const asked = isRecord(map) ? askedIn(partNamed('operations')) : null
  if (asked === null) return null
  asked.request.uploads = params.flatMap(({ name, fileName, contentType = null }: Json): GraphqlUpload[] => {
    const paths = Object.hasOwn(map, name) ? map[name] : null
    if (fileName === undefined || !Array.isArray(paths) || !paths.every(path => typeof path === 'string')) return []
    return [{ paths, fileName, contentType }]
  })
  return asked
}

/** `GET /graphql?query=…` */
function askedInTarget(part: Written): Asked | null {
  if (!hasQuery(part)) return null
  const { queryString } = parse(textOf(part, part.start, part.end))
  const { query, operationName, documentId, variables, extensions } = queryString
  if (query === undefined && documentId === undefined && extensions === undefined) return null
  return askedIn({
    query,
    operationName,
    documentId,
    variables: once(variables),
    extensions: once(extensions),
  })
}

/** A parameter that is repeated is an array, which is nothing that a request may have. */
function once(parameter: JsonValue): JsonValue {
  return typeof parameter === 'string' ? parse(parameter) : parameter
}

/** Of which a target has one at least. */
const PARAMETERS = ['query=', 'documentId=', 'extensions='].map(constant)

/** The target stands in front: `{"method":"GET","url":"/graphql?query=`. */
function hasQuery({ bytes, start, end }: Written): boolean {
  let quotes = 0
  let p = start
  for (; p < end && quotes < QUOTES_BEFORE_TARGET; p++) if (bytes[p] === 34) quotes++
  while (p < end && bytes[p] !== 63 && bytes[p] !== 34) p++
  for (; p < end && bytes[p] !== 34; p++) {
    if (bytes[p] !== 63 && bytes[p] !== 38) continue
    for (const parameter of PARAMETERS) if (startsWith(bytes, p + 1, parameter)) return true
  }
  return false
}

const QUOTES_BEFORE_TARGET = 7

function askedIn(value: JsonValue): Asked | null {
  if (!Array.isArray(value)) return isRecord(value) ? single(value) : null
  if (value.length === 0 || value.length > MAX_BATCH) return null
  const all: Asked[] = []
  for (const one of value) {
    const asked = isRecord(one) ? single(one) : null
    if (asked === null) return null
    all.push(asked)
  }
  const batch = all.map(({ request }) => request)
  return { request: { ...NO_REQUEST, batch }, certain: all.every(({ certain }) => certain) }
}

const NO_REQUEST: GraphqlRequest = {
  operationType: null,
  operationName: null,
  query: null,
  variables: null,
  extensions: null,
  documentId: null,
  operations: [],
  batch: null,
}

/** A document's name alone is sent as `documentId`, or to older servers as `id`. */
function single(value: Json): Asked | null {
  const { query, operationName, variables, extensions, documentId, id } = value
  if (!isTextOrNone(query) || !isTextOrNone(operationName) || !isRecordOrNone(variables) || !isRecordOrNone(extensions))
    return null
  const hash = extensions?.persistedQuery?.sha256Hash
  const name = documentId ?? (typeof hash === 'string' ? hash : undefined) ?? (query == null ? id : undefined)
  if (query == null && typeof name !== 'string') return null
  const operations = typeof query === 'string' ? operationsIn(query) : null
  const meant =
    operationName == null
      ? operations?.length === 1
        ? operations[0]
        : undefined
      : operations?.find(one => one.name === operationName)
  return {
    request: {
      operationType: meant?.type ?? null,
      operationName: operationName ?? meant?.name ?? null,
      query: query ?? null,
      variables: variables ?? null,
      extensions: extensions ?? null,
      documentId: typeof name === 'string' ? name : null,
      operations: operations ?? [],
      batch: null,
    },
    certain: operations !== null || (typeof hash === 'string' && HASH.test(hash)),
  }
}

const HASH = /^[0-9a-f]{64}$/i

function isRecord(value: JsonValue): boolean {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isRecordOrNone(value: JsonValue): boolean {
  return value === null || value === undefined || isRecord(value)
}

function isTextOrNone(value: JsonValue): boolean {
  return value === null || value === undefined || typeof value === 'string'
}

// ── responses ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** An answer has nothing else, those that come in parts have more. */
const RESULT_FIELDS: ReadonlySet<string> = new Set(['data', 'errors', 'extensions'])
const PART_FIELDS: ReadonlySet<string> = new Set([
  ...RESULT_FIELDS,
  'hasNext',
  'incremental',
  'pending',
  'completed',
  'items',
  'path',
  'label',
  'id',
  'subPath',
])

function answeredIn(response: Json | Written | null): GraphqlResponse | null {
  if (!(response instanceof Written) || response.bodyStart < 0 || response.bodyEnd - response.bodyStart > MAX_BODY)
    return null
  if (hasType(response, MULTIPART_TYPE)) return inParts(response)
  const isJson = response.typeStart < 0 || hasType(response, JSON_TYPE) || hasType(response, GRAPHQL_TYPE)
  if (!isJson || !isObject(response)) return null
  return resultIn(parse(bodyOf(response)))
}

/** An answer whose request was not seen: other services too have `data`, but not such errors. */
function refineOrphan(response: Json | Written | null): Refinement | null {
  if (!(response instanceof Written) || response.bodyStart < 0) return null
  const said = hasType(response, RESPONSE_TYPE)
  if (!said && !hasType(response, JSON_TYPE)) return null
  const answered = answeredIn(response)
  if (answered === null || !(said || answered.errors?.some(isTelling))) return null
  return { response: { graphql: answered }, failed: isFailure(answered) }
}

function isTelling({ locations, path }: GraphqlError): boolean {
  return Array.isArray(path) || locations?.every(({ line, column }) => line > 0 && column > 0) === true
}

function resultIn(value: JsonValue): GraphqlResponse | null {
  if (!Array.isArray(value)) return isRecord(value) ? result(value, RESULT_FIELDS) : null
  if (value.length === 0 || value.length > MAX_BATCH) return null
  const batch: GraphqlResponse[] = []
  for (const one of value) {
    const answered = isRecord(one) ? result(one, RESULT_FIELDS) : null
    if (answered === null) return null
    batch.push(answered)
  }
  const errors = batch.flatMap(one => one.errors ?? [])
  return { ...NO_RESPONSE, errors: errors.length > 0 ? errors : null, batch }
}

const NO_RESPONSE: GraphqlResponse = { data: null, errors: null, extensions: null, incremental: null, batch: null }

function result(value: Json, fields: ReadonlySet<string>): GraphqlResponse | null {
  const { data = null, errors = null, extensions = null } = value
  if (!Object.keys(value).every(key => fields.has(key)) || !isRecordOrNone(data) || !isRecordOrNone(extensions))
    return null
  if (errors === null ? !('data' in value) : !isErrors(errors)) return null
  return { ...NO_RESPONSE, data, errors: errors?.length > 0 ? errors : null, extensions }
}

function isErrors(value: JsonValue): boolean {
  return Array.isArray(value) && value.every(error => isRecord(error) && typeof error.message === 'string')
}

/** Incremental delivery over multipart/mixed: the first part is an answer, the others add to it. */
function inParts(response: Written): GraphqlResponse | null {
  const type = JSON.parse(textOf(response, response.typeStart, response.typeEnd))
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(type)
  const parts: Json[] = []
  for (const part of bodyOf(response).split(`--${boundary?.[1] ?? boundary?.[2] ?? '-'}`, MAX_BATCH)) {
    const begin = part.search(/\r?\n\r?\n/)
    const value = begin < 0 ? undefined : parse(part.slice(begin))
    if (isRecord(value) && Object.keys(value).every(key => PART_FIELDS.has(key))) parts.push(value)
  }
  const [first, ...others] = parts
  const answered = first === undefined ? null : result(first, PART_FIELDS)
  if (answered === null) return null
  const errors = others.flatMap(({ errors = [], incremental = [] }) => [errors, incremental.map(errorsOf)].flat(2))
  return {
    ...answered,
    errors: errors.length > 0 ? [...(answered.errors ?? []), ...errors] : answered.errors,
    incremental: others,
  }
}

function errorsOf(part: Json): GraphqlError[] {
  return part.errors ?? []
}

// ── WebSocket ─────────────────────────────────────────────────────────────────────────────────────────────────────

type Direction = 'request' | 'response'

/** Names of both subprotocols for what is sent in a frame, and what its payload is. */
const FRAMES: Readonly<Record<Direction, Readonly<Record<string, 'operation' | 'result' | 'errors' | 'nothing'>>>> = {
  request: {
    connection_init: 'nothing',
    connection_terminate: 'nothing',
    ping: 'nothing',
    pong: 'nothing',
    subscribe: 'operation',
    start: 'operation',
    complete: 'nothing',
    stop: 'nothing',
  },
  response: {
    connection_ack: 'nothing',
    connection_error: 'errors',
    ka: 'nothing',
    ping: 'nothing',
    pong: 'nothing',
    next: 'result',
    data: 'result',
    error: 'errors',
    complete: 'nothing',
  },
}

const SUBPROTOCOLS: ReadonlySet<string> = new Set(['graphql-transport-ws', 'graphql-ws'])
const TYPE_FIELD = Buffer.from('\\"type\\"')

function refineFrame(request: Json | Written | null, response: Json | Written | null): Refinement | null {
  const direction = request === null ? 'response' : 'request'
  const part = request ?? response
  if (!(part instanceof Written) || part.bodyStart < 0 || part.bodyEnd - part.bodyStart > MAX_BODY) return null
  if (!isObject(part)) return null
  const { bytes, bodyStart, bodyEnd, end } = part
  if (!Buffer.from(bytes.buffer, bytes.byteOffset + bodyStart, bodyEnd - bodyStart).includes(TYPE_FIELD)) return null
  // What follows the payload is short, and ends with the subprotocol.
  const { subprotocol } = parse(`{"x":0${textOf(part, bodyEnd, end)}`)
  const agreed = SUBPROTOCOLS.has(subprotocol)
  if (!agreed && subprotocol !== null) return null
  const frame = parse(bodyOf(part))
  if (!isRecord(frame)) return null
  const { type, id = null, payload } = frame
  const kind = Object.hasOwn(FRAMES[direction], type) ? FRAMES[direction][type] : undefined
  if (kind === undefined || !(id === null || typeof id === 'string')) return null
  const head: GraphqlFrame = { type, id }
  if (kind === 'operation') {
    const asked = isRecord(payload) ? single(payload) : null
    if (!agreed && asked?.certain !== true) return null
    return { request: { graphql: { ...head, ...(asked?.request ?? NO_REQUEST) } } }
  }
  const answered = kind === 'result' ? partial(payload) : kind === 'errors' ? failure(payload) : null
  if (!agreed && (answered === null || id === null)) return null
  if (direction === 'request') return { request: { graphql: { ...head, ...NO_REQUEST } } }
  return { response: { graphql: { ...head, ...(answered ?? NO_RESPONSE) } }, failed: isFailure(answered) }
}

function partial(payload: JsonValue): GraphqlResponse | null {
  return isRecord(payload) ? result(payload, PART_FIELDS) : null
}

/** Several errors, or in the older subprotocol one. */
function failure(payload: JsonValue): GraphqlResponse | null {
  const errors = Array.isArray(payload) ? payload : [payload]
  return isErrors(errors) ? { ...NO_RESPONSE, errors } : null
}

// ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────

const EVENT = constant('event')
const RESULTS = [constant('"next"'), constant('"complete"')]

function isResult({ bytes, start }: Written): boolean {
  const members = new Members()
  for (members.enter(bytes, start); members.next(); )
    if (members.isNamed(EVENT)) return RESULTS.some(name => startsWith(bytes, members.valueStart, name))
  return false
}

/** graphql-sse: `event: next` with a result, where a connection serves several operations within `{ id, payload }`. */
function refineEvent(told: Json | Written): Refinement | null {
  if (told instanceof Written && !isResult(told)) return null
  const event: Json = told instanceof Written ? JSON.parse(textOf(told, told.start, told.end)) : told
  if (event.event !== 'next' && event.event !== 'complete') return null
  const value = typeof event.data === 'string' && event.data.length <= MAX_BODY ? parse(event.data) : undefined
  if (!isRecord(value)) return null
  const { id = null, payload = value } = value
  const answered = event.event === 'next' ? partial(payload) : null
  if (answered === null) return null
  const head: GraphqlFrame = { type: event.event, id: typeof id === 'string' ? id : null }
  return { event: { graphql: { ...head, ...answered } }, failed: isFailure(answered) }
}
