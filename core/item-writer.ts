/** Writes items as lines of JSON into batches. The order of the fields is that of `Item`. */
import { formatAddress } from './address.ts'
import { type Batch, REQUEST_BODY_START, REQUEST_START, RESPONSE_BODY_START, RESPONSE_START, SPANS } from './batch.ts'
import type { Connection, Prefix } from './connections.ts'
import type { Face, Side, Transport } from './dissector.ts'
import type { Endpoint, ItemError, Json, Protocol } from './item.ts'
import { constant, JsonWriter, Written } from './json-writer.ts'
import type { Request } from './pairing.ts'
import { writeStreamName } from './stream-name.ts'
import type { Span, Trace } from './trace.ts'

/** A batch is handed over when it holds this many bytes or items: small enough to stay in the processor's cache. */
const BATCH_BYTES = 262_144
const BATCH_ITEMS = 256
/** Room for the item that goes beyond; a larger one makes its own. */
const SLACK = 65_536
const DAY = 86_400
/** Today and yesterday, or the days of some captures. */
const MAX_DATES = 64
/** A sender of ever new versions must not fill its connection. */
const MAX_PREFIXES = 4
/** And a server that names ever new versions must not fill the memory: each is a text of its own. */
const MAX_PROTOCOLS = 16
/** Batches that were kept and given back, and wait to be written again. */
const MAX_SPARE = 256

const ID = constant('{"id":"')
const INDEX = constant('","index":')
const STREAM = constant(',"stream":"')
const SRC = constant(',"tls":false,"src":')
const DST = constant(',"dst":')
const IP = constant('{"ip":"')
const PORT = constant('","port":"')
const TIMESTAMP = constant(',"timestamp":')
const START_TIME = constant(',"startTime":"')
const REQUEST = constant('Z","request":')
const RESPONSE = constant(',"response":')
const REQUEST_SIZE = constant(',"requestSize":')
const RESPONSE_SIZE = constant(',"responseSize":')
const ELAPSED = constant(',"elapsedTime":')
const PASSED = constant(',"passed":false,"failed":false,"error":null,"event":null,"data":null,"size":')
const FAILED = constant(',"passed":false,"failed":')
const ERROR = constant(',"error":')
const EVENT = constant(',"event":')
const DATA = constant(',"data":')
const SIZE = constant(',"size":')
const LAST = constant(',"entryFile":null,"record":null}\n')
const [COMMA, FULL_STOP, SLASH, COLON, OPENING_BRACE] = [44, 46, 47, 58, 123]
const EMPTY_OBJECT = '{}'
const NULL = constant('null')
const TRUE = constant('true')
const FALSE = constant('false')

/** What answers a request, or comes by itself. */
export interface Answer {
  face: Face
  /** Whose request it is for. Of what comes by itself always the client. */
  asker: Side
  body: Json | Written
  size: number
  /** Sequence number behind its last byte, in a stream. */
  end?: number
  failed: boolean
  version: string | undefined
  /** Fields that a refiner adds. */
  gained?: Json | Written | undefined
  /** Of an event: the item's `data`. */
  data?: Json
  /** Where somebody asks for packets: those that it came in. */
  span?: Span | undefined
}

interface ProtocolText {
  version: string
  transport: Transport
  layer: 'ipv4' | 'ipv6'
  text: Uint8Array
}

/** A batch that is being written, or was. */
class Sheet implements Batch {
  readonly out = new JsonWriter(BATCH_BYTES + SLACK)
  readonly starts = new Int32Array(BATCH_ITEMS + 1)
  readonly spans = new Int32Array(BATCH_ITEMS * SPANS)
  bytes: Uint8Array = this.out.bytes
  length = 0
  count = 0
  kept = false
  private readonly home: Sheet[]

  constructor(home: Sheet[]) {
    this.home = home
  }

  close(count: number): void {
    this.bytes = this.out.bytes
    this.length = this.out.length
    this.count = count
    this.starts[count] = this.length
  }

  keep(): void {
    this.kept = true
  }

  free(): void {
    this.kept = false
    if (this.home.length < MAX_SPARE) this.home.push(this)
  }
}

export class ItemWriter {
  private readonly spare: Sheet[] = []
  private sheet = new Sheet(this.spare)
  private out = this.sheet.out
  private starts = this.sheet.starts
  private spans = this.sheet.spans
  private count = 0
  private readonly sink: (batch: Batch) => void
  private readonly trace: Pick<Trace, 'item'> | null
  /** As it stands within a JSON string, and with the node as fields of an item. */
  private readonly workerText: Uint8Array
  private readonly origin: string
  /** By days since 1970: `2023-11-14T`. */
  private readonly dates = new Map<number, Uint8Array>()

  constructor(
    worker: string,
    node: { ip: string; name: string } | null,
    sink: (batch: Batch) => void,
    trace: Pick<Trace, 'item'> | null = null,
  ) {
    this.trace = trace
    this.workerText = constant(JSON.stringify(worker).slice(1, -1))
    this.origin = JSON.stringify({ worker, node }).slice(1, -1)
    this.sink = sink
  }

  /** Hands over what has been written. */
  flush(): void {
    if (this.count === 0) return
    const { sheet } = this
    sheet.close(this.count)
    this.count = 0
    this.sink(sheet)
    if (sheet.kept) {
      this.sheet = this.spare.pop() ?? new Sheet(this.spare)
      this.out = this.sheet.out
      this.starts = this.sheet.starts
      this.spans = this.sheet.spans
    }
    this.out.length = 0
  }

  /** Something that is neither a request nor an answer. */
  writeEvent(c: Connection, event: Answer, error: ItemError | null, seconds: number, nanoseconds: number): void {
    this.event = event
    this.write(c, null, null, error, seconds, nanoseconds, -1)
    this.event = null
  }

  /** A message that wants no answer and is none, with what the item says as its event. */
  writeOneWay(
    c: Connection,
    kind: 'request' | 'response',
    message: Answer,
    event: Json | Written,
    error: ItemError | null,
    seconds: number,
    nanoseconds: number,
  ): void {
    this.event = { face: message.face, asker: message.asker, body: event, size: 0, failed: false, version: undefined }
    const isRequest = kind === 'request'
    this.write(c, isRequest ? message : null, isRequest ? null : message, error, seconds, nanoseconds, -1)
    this.event = null
  }
  private event: Answer | null = null

  /**
   * One item: a pair or a half of one. `seconds` and `nanoseconds` are the time of the first byte;
   * `elapsed` is in nanoseconds, -1 for none.
   */
  write(
    c: Connection,
    request: Request | Answer | null,
    answer: Answer | null,
    error: ItemError | null,
    seconds: number,
    nanoseconds: number,
    elapsed: number,
  ): void {
    const { out, event } = this
    const at = this.count * SPANS
    this.starts[this.count] = out.length
    const { face } = request ?? answer ?? event!
    const version = request?.version ?? answer?.version ?? event?.version ?? face.version
    const asker = request?.asker ?? answer?.asker ?? event!.asker
    let prefix = c.prefixes[0]
    if (prefix === undefined || prefix.face !== face || prefix.version !== version || prefix.asker !== asker) {
      // Most flows of datagrams have one item, and there are tens of thousands of them: theirs is not kept.
      const once = c.items === 0 && c.transport === 'udp'
      prefix = once ? this.passing(c, face, version, asker) : this.prefix(c, face, version, asker)
    }

    out.raw(ID)
    out.raw(prefix.identity)
    out.byte(45)
    const index = c.items++
    this.trace?.item(c, index, spansOf(request, answer, event))
    out.integer(index)
    out.raw(INDEX)
    out.integer(index)
    out.raw(prefix.text)
    this.time(seconds, nanoseconds)

    out.raw(REQUEST)
    this.body(request, at + REQUEST_START, at + REQUEST_BODY_START)
    out.raw(RESPONSE)
    this.body(answer, at + RESPONSE_START, at + RESPONSE_BODY_START)

    const requestSize = request === null ? 0 : request.size
    const responseSize = answer === null ? 0 : answer.size
    out.raw(REQUEST_SIZE)
    out.integer(requestSize)
    out.raw(RESPONSE_SIZE)
    out.integer(responseSize)
    out.raw(ELAPSED)
    if (elapsed < 0) out.raw(NULL)
    else this.milliseconds(elapsed)
    const failed = request?.failed === true || answer?.failed === true || event?.failed === true
    if (!failed && error === null && event === null) out.raw(PASSED)
    else {
      out.raw(FAILED)
      out.raw(failed ? TRUE : FALSE)
      out.raw(ERROR)
      if (error === null) out.raw(NULL)
      else out.value(error)
      out.raw(EVENT)
      if (event === null) out.raw(NULL)
      else this.json(event)
      out.raw(DATA)
      if (event?.data === undefined) out.raw(NULL)
      else out.value(event.data)
      out.raw(SIZE)
    }
    out.integer(requestSize + responseSize + (event === null ? 0 : event.size))
    out.raw(LAST)
    this.count++
    if (this.count === BATCH_ITEMS || out.length >= BATCH_BYTES) this.flush()
  }

  /** A request or an answer; notes in `spans`, at two places, where it and its body begin and end. */
  private body(message: Answer | null, place: number, bodyPlace: number): void {
    const { out, spans } = this
    const start = out.length
    let bodyStart = -1
    let bodyEnd = -1
    if (message === null) out.raw(NULL)
    else {
      const { body } = message
      if (body instanceof Written && body.bodyStart >= 0) {
        bodyStart = start + body.bodyStart - body.start
        bodyEnd = start + body.bodyEnd - body.start
      }
      this.json(message)
    }
    spans[place] = start
    spans[place + 1] = out.length
    spans[bodyPlace] = bodyStart
    spans[bodyPlace + 1] = bodyEnd
  }

  /** What was read, and what a refiner adds to it. */
  private json({ body, gained }: Answer): void {
    const { out } = this
    if (body instanceof Written) out.written(body)
    else out.value(body)
    if (gained === undefined) return
    const added = gained instanceof Written ? gained : JSON.stringify(gained)
    const size = typeof added === 'string' ? added.length : added.end - added.start
    if (size === EMPTY_OBJECT.length) return
    // Over the closing brace: whatever is refined is an object.
    out.length--
    if (out.bytes[out.length - 1] !== OPENING_BRACE) out.byte(COMMA)
    if (typeof added === 'string') out.ascii(added.slice(1))
    else out.rawRange(added.bytes, added.start + 1, added.end)
  }

  private prefix(c: Connection, face: Face, version: string, asker: Side): Prefix {
    const { prefixes } = c
    const known = prefixes.findIndex(one => one.face === face && one.version === version && one.asker === asker)
    if (known < 0 && prefixes.length === MAX_PREFIXES) prefixes.pop()
    const prefix = known < 0 ? this.lasting(c, face, version, asker) : prefixes.splice(known, 1)[0]!
    prefixes.unshift(prefix)
    return prefix
  }

  private lasting(c: Connection, face: Face, version: string, asker: Side): Prefix {
    const { about, named } = this
    this.describe(c, face, version, asker)
    c.identity ??= named.save()
    return { face, version, asker, identity: c.identity, text: about.save() }
  }

  /** Until the next one is described. */
  private passing(c: Connection, face: Face, version: string, asker: Side): Prefix {
    const { about, named } = this
    this.describe(c, face, version, asker)
    const identity = named.bytes.subarray(0, named.length)
    return { face, version, asker, identity, text: about.bytes.subarray(0, about.length) }
  }

  /** What items of a connection have in common: the beginning of their id, and `stream` to the key of `timestamp`. */
  private describe(c: Connection, face: Face, version: string, asker: Side): void {
    const { about, named, workerText } = this
    named.length = 0
    named.raw(workerText)
    named.byte(SLASH)
    writeStreamName(named, c.seconds, c.nanoseconds, c.streamHash, c.transport)
    about.length = 0
    about.raw(STREAM)
    about.rawRange(named.bytes, workerText.length + 1, named.length)
    about.raw(this.protocol(c, face, version))
    const asked = (c.client === c.back) === (asker === 'client')
    about.raw(SRC)
    if (asked) endpoint(about, c, 4, c.otherPort)
    else endpoint(about, c, 0, c.port)
    about.raw(DST)
    if (asked) endpoint(about, c, 0, c.port)
    else endpoint(about, c, 4, c.otherPort)
    about.raw(TIMESTAMP)
  }
  private readonly named = new JsonWriter(256)
  private readonly about = new JsonWriter(2048)

  /** From behind `stream` to `protocol`. Thousands of connections speak the same few. */
  private protocol(c: Connection, face: Face, version: string): Uint8Array {
    const { transport } = c
    const layer = layer3(c)
    let texts = this.protocols.get(face)
    if (texts === undefined) {
      texts = []
      this.protocols.set(face, texts)
    }
    for (const known of texts)
      if (known.version === version && known.transport === transport && known.layer === layer) return known.text
    if (texts.length === MAX_PROTOCOLS) texts.length = 0
    const text = constant(`",${this.origin},"protocol":${JSON.stringify(describeProtocol(face, version, c))}`)
    texts.push({ version, transport, layer, text })
    return text
  }
  /** Weak, for a user's dissectors come and go. */
  private readonly protocols = new WeakMap<Face, ProtocolText[]>()

  /** ms since 1970 with what is below a ms as decimals, then the start of RFC 3339: `2023-11-14T22:13:20.000000000`. */
  private time(seconds: number, nanoseconds: number): void {
    const { out } = this
    out.reserve(80)
    const whole = (nanoseconds / 1e6) | 0
    if (seconds === 0) out.integer(whole)
    else {
      out.integer(seconds)
      out.digits(whole, 3)
    }
    this.fraction(nanoseconds - whole * 1e6)
    out.raw(START_TIME)
    const day = Math.floor(seconds / DAY)
    out.raw(this.dates.get(day) ?? this.date(day))
    const second = seconds - day * DAY
    out.digits((second / 3600) | 0, 2)
    out.byte(COLON)
    out.digits(((second / 60) | 0) % 60, 2)
    out.byte(COLON)
    out.digits(second % 60, 2)
    out.byte(FULL_STOP)
    out.digits(nanoseconds, 9)
  }

  private date(day: number): Uint8Array {
    if (this.dates.size === MAX_DATES) this.dates.clear()
    const date = constant(new Date(day * DAY * 1000).toISOString().slice(0, 11))
    this.dates.set(day, date)
    return date
  }

  private milliseconds(nanoseconds: number): void {
    const whole = Math.floor(nanoseconds / 1e6)
    this.out.integer(whole)
    this.fraction(nanoseconds - whole * 1e6)
  }

  /** Six decimals at most, without trailing zeros. */
  private fraction(millionths: number): void {
    if (millionths === 0) return
    let digits = 6
    while (millionths % 10 === 0) {
      millionths /= 10
      digits--
    }
    this.out.byte(FULL_STOP)
    this.out.digits(millionths, digits)
  }
}

function spansOf(...parts: (Answer | null)[]): Span[] {
  return parts.flatMap(part => part?.span ?? [])
}

/** What only Kubernetes or the kernel knows of an end. */
const UNRESOLVED: Omit<Endpoint, 'ip' | 'port'> = {
  name: null,
  namespace: null,
  pod: null,
  endpointSlice: null,
  service: null,
  processId: null,
  processName: null,
  resolutionMechanism: 'none',
}
const UNRESOLVED_TEXT = constant(`",${JSON.stringify(UNRESOLVED).slice(1)}`)

/** An `Endpoint`; addresses and ports need no escape. */
function endpoint(out: JsonWriter, c: Connection, offset: 0 | 4, port: number): void {
  out.raw(IP)
  out.ascii(formatAddress(c.words, offset))
  out.raw(PORT)
  // ICMP has none: there the engine notes who asked.
  if (c.transport !== 'icmp' && c.transport !== 'icmpv6') out.integer(port)
  out.raw(UNRESOLVED_TEXT)
}

function layer3({ words }: Connection): 'ipv4' | 'ipv6' {
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff ? 'ipv4' : 'ipv6'
}

function describeProtocol(d: Face, version: string, c: Connection): Protocol {
  return {
    name: d.family ?? d.name,
    version,
    abbr: d.abbr,
    longName: d.title,
    macro: d.name,
    backgroundColor: d.color,
    foregroundColor: '#ffffff',
    fontSize: 12,
    referenceLink: d.reference,
    ports: d.ports.map(String),
    layer4: c.transport,
    layer3: layer3(c),
    priority: d.priority,
  }
}
