/** Finds the protocols by listing core/dissectors: a file there is a protocol, and nothing else has to be edited. */
import { readdir } from 'node:fs/promises'
import type { Dissector, Face, Observer, Refiner } from './dissector.ts'
import { Fault } from './fault.ts'

const FOLDER = new URL('./dissectors/', import.meta.url)

export interface Protocols {
  /** Those to be asked first in front. */
  dissectors: readonly Dissector[]
  refiners: readonly Refiner[]
  observers: readonly Observer[]
  /** All of them, and those that only travel within others: what a table needs. */
  faces: readonly Face[]
  /** Those that are told of only when somebody asks (core/selection.ts), observers among them. */
  optional?: readonly Face[]
  /** Names of those whose items are wanted. Default: of all that are read. */
  told?: ReadonlySet<string>
}

export async function loadProtocols(): Promise<Protocols> {
  const names = (await readdir(FOLDER)).filter(name => /^[^.]+\.(ts|js)$/.test(name)).sort()
  const modules = await Promise.all(names.map(name => import(new URL(name, FOLDER).href)))
  const dissectors: Dissector[] = []
  const refiners: Refiner[] = []
  const observers: Observer[] = []
  const faces: Face[] = []
  const optional: Face[] = []
  for (const [i, module] of modules.entries()) {
    const { dissector, refiner, observer, face } = module
    const found: Face[] = [dissector, refiner, observer, face].filter(one => one !== undefined)
    if (found.length === 0)
      throw new Fault(
        'DISSECTOR_MISSING',
        `core/dissectors/${names[i]} must export \`dissector\`, \`refiner\`, \`observer\` or \`face\`, found ${Object.keys(module)}`,
      )
    if (dissector !== undefined) dissectors.push(dissector)
    if (refiner !== undefined) refiners.push(refiner)
    if (observer !== undefined && observer.optional !== true) observers.push(observer)
    for (const one of found) (one.optional === true ? optional : faces).push(one)
  }
  dissectors.sort((a, b) => a.priority - b.priority)
  return { dissectors, refiners, observers, faces, optional }
}
