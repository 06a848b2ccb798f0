/**
 * Asks the refiners about each item before it is written, and says which items are wanted at all. An item that one of
 * them takes shows the refiner's face, under the name of the protocol that carried it: whoever filters for `http` goes on
 * seeing it.
 */
import type { Exchange, Face, Refiner, Transport } from './dissector.ts'
import type { Json } from './item.ts'
import type { Answer } from './item-writer.ts'
import { JsonWriter, type Written } from './json-writer.ts'
import type { Protocols } from './registry.ts'

export class Refining {
  private readonly refiners: readonly Refiner[]
  private readonly asked = new Map<Face, readonly Asked[]>()
  /** Names of protocols; null: all. */
  private told: ReadonlySet<string> | null = null
  private readonly nobodys = new Map<Transport, Face>()
  /** One for all items: nobody keeps it. */
  private readonly exchange: { -readonly [name in keyof Exchange]: Exchange[name] } = {
    host: '',
    request: null,
    response: null,
    event: null,
    out: new JsonWriter(4096),
  }

  constructor(refiners: readonly Refiner[]) {
    this.refiners = refiners
  }

  /** Before the first item: which are told of, and who tells of what is nobody's. Without it all are, and nobody does. */
  select({ faces, told }: Pick<Protocols, 'faces' | 'told'>): void {
    this.told = told ?? null
    for (const face of faces) if (face.unclaimed !== undefined) this.nobodys.set(face.unclaimed, face)
  }

  isTold({ name }: Face): boolean {
    return this.told === null || this.told.has(name)
  }

  /** Under which face payload is told of that no protocol claims. */
  unclaimed(transport: Transport): Face | undefined {
    return this.nobodys.get(transport)
  }

  /** Gives the parts of an item, of which one at least is there, what a refiner makes of them. */
  refine(request: Answer | null, response: Answer | null, event: Answer | null): void {
    const host = (request ?? response ?? event!).face
    let asked = this.asked.get(host)
    if (asked === undefined) {
      asked = this.refiners.filter(one => one.refines.includes(host.name)).map(one => new Asked(one, host))
      this.asked.set(host, asked)
    }
    if (asked.length === 0) return
    const { exchange } = this
    exchange.out.length = 0
    exchange.host = host.name
    exchange.request = request === null ? null : request.body
    exchange.response = response === null ? null : response.body
    exchange.event = event === null ? null : event.body
    for (const { refiner, face } of asked) {
      const found = refiner.refine(exchange)
      if (found === null) continue
      if (request !== null) adopt(request, face, found.request)
      if (response !== null) adopt(response, face, found.response)
      if (event !== null) adopt(event, face, found.event)
      if (found.failed === true) (response ?? request ?? event!).failed = true
      return
    }
  }
}

function adopt(part: Answer, face: Face, gained: Json | Written | undefined): void {
  part.face = face
  part.gained = gained
}

/** A refiner for one host. */
class Asked {
  readonly refiner: Refiner
  readonly face: Face

  constructor(refiner: Refiner, host: Face) {
    this.refiner = refiner
    this.face = { ...refiner, family: host.family ?? host.name, version: host.version }
  }
}
