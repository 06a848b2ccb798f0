/** Which protocols are told of, by the names that users know. */
import type { Face } from './dissector.ts'
import { Fault } from './fault.ts'
import type { Protocols } from './registry.ts'

/** Exactly these. What they travel within is read as ever, since a connection may be several things. */
export function only(all: Protocols, names: readonly string[]): Protocols {
  const faces = named(all, names)
  return {
    dissectors: all.dissectors,
    refiners: all.refiners.filter(one => faces.includes(one)),
    observers: [...all.observers, ...optionalObservers(all)].filter(one => faces.includes(one)),
    faces,
    optional: [],
    told: new Set(faces.map(({ name }) => name)),
  }
}

/** Those that are told of by default, and these. */
export function including(all: Protocols, names: readonly string[]): Protocols {
  const chosen = named(all, names).filter(face => all.optional?.includes(face))
  const observers = optionalObservers(all).filter(one => chosen.includes(one))
  return { ...all, observers: [...all.observers, ...observers], faces: [...all.faces, ...chosen], optional: [] }
}

function optionalObservers({ optional = [] }: Protocols) {
  return optional.filter(face => 'observe' in face) as unknown as Protocols['observers']
}

function named({ faces, optional = [] }: Protocols, names: readonly string[]): Face[] {
  const all = [...faces, ...optional]
  const unknown = names.filter(name => !all.some(face => isCalled(face, name)))
  if (unknown.length > 0)
    throw new Fault(
      'PROTOCOL_UNKNOWN',
      `expected protocols of ${namesOf(all)}, found ${unknown.map(name => `"${name}"`).join(', ')}`,
    )
  return all.filter(face => names.some(name => isCalled(face, name)))
}

/** `http` means HTTP/2 too, as in an item's `protocol.name`. */
function isCalled({ name, family }: Face, wanted: string): boolean {
  return name === wanted || family === wanted
}

function namesOf(faces: readonly Face[]): string {
  return [...new Set(faces.map(({ name }) => name))].sort().join(', ')
}
