/**
 * An API of Kafka in the notation of the tables in apis/, and the plan that it makes of a message in one version:
 *
 *   name:type            a field; the types are the names in `readers` of body.ts
 *   name[type] name[...] an array of values, of structures
 *   name{...} name?{...} a structure, one that may be null
 *   name(...)            bytes that hold a structure with a version of its own
 *   name@3 @-12 @4-7     the versions that have it: from 3 on, up to 12, 4 to 7; without: all
 *   name#0               a tagged field
 */
import { constant } from '../../json-writer.ts'
import { type Body, CLASSIC, FLEXIBLE, type Shape } from './body.ts'

export interface Definition {
  key: number
  /** `Fetch`. */
  name: string
  /** The first and the last one known. */
  versions: readonly [number, number]
  /** From this version on lengths are variable and fields may be tagged; null: never. */
  flexible: number | null
  request: string
  response: string
}

/** How a structure is read in one version. */
export interface Plan {
  fields: readonly Field[]
  /** By tag; null where there are no tagged fields. */
  tags: ReadonlyMap<number, Field> | null
}

export interface Field {
  /** `,"name":`, without the comma where it comes first. */
  label: Uint8Array
  /** `,"nameEncoding":"base64"` */
  encoding: Uint8Array
  /** `,"nameTruncated":true` */
  truncated: Uint8Array
  read: (body: Body, field: Field) => void
  /** Of structures. */
  plan: Plan
  /** Of bytes that hold a structure: by its version, the last one also for those that came later. */
  plans: readonly Plan[]
  /** Of arrays of values: how each one is read. */
  element: (body: Body, field: Field) => void
}

/** A field as it is declared, for all versions. */
export interface Declared {
  name: string
  type: string
  shape: Shape | 'value'
  since: number
  until: number
  tag: number | null
  fields: readonly Declared[]
}

const NO_PLAN: Plan = { fields: [], tags: null }

export function compile(declared: readonly Declared[], version: number, flexible: boolean): Plan {
  const present = declared.filter(({ since, until }) => version >= since && version <= until)
  const fields = present.filter(({ tag }) => tag === null)
  const tagged = present.filter(({ tag }) => tag !== null)
  return {
    fields: fields.map((one, i) => field(one, version, flexible, i === 0 ? '' : ',')),
    // Whoever writes them knows whether a comma has to come before.
    tags: flexible ? new Map(tagged.map(one => [one.tag!, field(one, version, flexible, '')])) : null,
  }
}

function field(declared: Declared, version: number, flexible: boolean, comma: string): Field {
  const { name, type, shape, fields } = declared
  const { values, shapes } = flexible ? FLEXIBLE : CLASSIC
  const element = type === '' ? shapes.structure : values[type]
  if (element === undefined) throw new Error(`${name} has no type ${type}`)
  return {
    label: constant(`${comma}"${name}":`),
    encoding: constant(`,"${name}Encoding":"base64"`),
    truncated: constant(`,"${name}Truncated":true`),
    read: shape === 'value' ? element : shapes[shape],
    plan: shape === 'embedded' || fields.length === 0 ? NO_PLAN : compile(fields, version, flexible),
    plans: shape === 'embedded' ? embedded(fields) : [],
    element,
  }
}

function embedded(fields: readonly Declared[]): Plan[] {
  const last = Math.max(...fields.map(({ since }) => since))
  return Array.from({ length: last + 1 }, (_, version) => compile(fields, version, false))
}

const TOKEN = /\s*(?:([\]})])|(\w+)(\?)?(?:@(\d+)?(?:-(\d+))?)?(?:#(\d+))?(?::(\w+)|\[(\w+)\]|([[{(])))\s*/y
const SHAPES: Readonly<Record<string, Shape>> = {
  '[': 'structures',
  '{': 'structure',
  '?{': 'nullable structure',
  '(': 'embedded',
}
const LAST_VERSION = 0x7fff

export function parse(notation: string): readonly Declared[] {
  const stack: Declared[][] = [[]]
  TOKEN.lastIndex = 0
  for (let end = 0; end < notation.length; end = TOKEN.lastIndex) {
    const match = TOKEN.exec(notation)
    if (match === null) throw new Error(`no field at: ${notation.slice(end, end + 40)}`)
    const [, close, name, nullable, since, until, tag, value, values, open] = match
    if (close !== undefined) {
      stack.pop()
      continue
    }
    const fields: Declared[] = []
    stack.at(-1)!.push({
      name: name!,
      type: value ?? values ?? '',
      shape: open === undefined ? (values === undefined ? 'value' : 'values') : SHAPES[(nullable ?? '') + open]!,
      since: Number(since ?? 0),
      until: Number(until ?? LAST_VERSION),
      tag: tag === undefined ? null : Number(tag),
      fields,
    })
    if (open !== undefined) stack.push(fields)
  }
  if (stack.length !== 1) throw new Error(`not closed: ${notation}`)
  return stack[0]!
}
