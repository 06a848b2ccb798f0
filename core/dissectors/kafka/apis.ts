/** The APIs of Kafka by their key, and the shape of their messages in each version. */
import { ADMINISTRATION } from './apis/administration.ts'
import { CLUSTER } from './apis/cluster.ts'
import { GROUPS } from './apis/groups.ts'
import { RECORDS } from './apis/records.ts'
import { SESSIONS } from './apis/sessions.ts'
import { SHARE_GROUPS } from './apis/share-groups.ts'
import { TRANSACTIONS } from './apis/transactions.ts'
import { compile, type Declared, type Definition, type Plan, parse } from './definition.ts'

export const API_VERSIONS = 18
const CONTROLLED_SHUTDOWN = 7

/** One API in one version. */
export interface Exchange {
  key: number
  name: string
  version: number
  request: Plan
  response: Plan
  /** Fields of the request's header: only the oldest ControlledShutdown has no client id. */
  hasClientId: boolean
  hasRequestTags: boolean
  hasResponseTags: boolean
}

export class Api {
  readonly name: string
  private readonly definition: Definition
  private readonly first: number
  /** Made when first met: of hundreds, a capture has a dozen. */
  private declared: { request: readonly Declared[]; response: readonly Declared[] } | null = null
  private readonly exchanges: (Exchange | undefined)[] = []

  constructor(definition: Definition) {
    this.definition = definition
    this.name = definition.name
    this.first = definition.versions[0]
  }

  /** null: a version that came later. */
  version(version: number): Exchange | null {
    const known = this.exchanges[version - this.first]
    if (known !== undefined) return known
    const { versions } = this.definition
    if (version < versions[0] || version > versions[1]) return null
    const made = this.make(version)
    this.exchanges[version - this.first] = made
    return made
  }

  private make(version: number): Exchange {
    const { key, name, flexible } = this.definition
    this.declared ??= { request: parse(this.definition.request), response: parse(this.definition.response) }
    const isFlexible = flexible !== null && version >= flexible
    return {
      key,
      name,
      version,
      request: compile(this.declared.request, version, isFlexible),
      response: compile(this.declared.response, version, isFlexible),
      hasClientId: key !== CONTROLLED_SHUTDOWN || version > 0,
      hasRequestTags: isFlexible,
      // A client that asks for versions does not know yet whether the broker has tags.
      hasResponseTags: isFlexible && key !== API_VERSIONS,
    }
  }
}

export const DEFINITIONS: readonly Definition[] = [
  ...RECORDS,
  ...GROUPS,
  ...TRANSACTIONS,
  ...SESSIONS,
  ...ADMINISTRATION,
  ...CLUSTER,
  ...SHARE_GROUPS,
]

const APIS: readonly (Api | undefined)[] = DEFINITIONS.reduce<Api[]>((apis, definition) => {
  apis[definition.key] = new Api(definition)
  return apis
}, [])

export function findApi(key: number): Api | undefined {
  return APIS[key]
}
