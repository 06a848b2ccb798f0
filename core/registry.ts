/** Finds the protocols by listing core/dissectors: a file there is a protocol, and nothing else has to be edited. */
import { readdir } from 'node:fs/promises'
import type { Dissector } from './dissector.ts'
import { Fault } from './fault.ts'

const FOLDER = new URL('./dissectors/', import.meta.url)

/** All dissectors, those to be asked first in front. */
export async function loadDissectors(): Promise<Dissector[]> {
  const names = (await readdir(FOLDER)).filter(name => /^[^.]+\.(ts|js)$/.test(name)).sort()
  const modules = await Promise.all(names.map(name => import(new URL(name, FOLDER).href)))
  const found: Dissector[] = []
  for (const [i, module] of modules.entries()) {
    if (module.dissector === undefined)
      throw new Fault(
        'DISSECTOR_MISSING',
        `core/dissectors/${names[i]} must export \`dissector\`, found ${Object.keys(module)}`,
      )
    found.push(module.dissector)
  }
  return found.sort((a, b) => a.priority - b.priority)
}
