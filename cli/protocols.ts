/** The protocols that `--protocols` and `--with` choose. */
import { InvalidArgumentError } from 'commander'
import { Fault } from '../core/fault.ts'
import type { Protocols } from '../core/registry.ts'
import { including, only } from '../core/selection.ts'

interface Choice {
  protocols?: string[]
  with?: string[]
}

export function choose(all: Protocols, { protocols, with: more }: Choice): Protocols {
  if (protocols !== undefined && more !== undefined)
    throw new Fault('OPTIONS_CONFLICT', '--protocols names all that are shown, --with some more: give one of them')
  return protocols !== undefined ? only(all, protocols) : including(all, more ?? [])
}

/** `http,dns` */
export function names(text: string): string[] {
  const found = text.split(',').map(name => name.trim())
  if (found.includes('')) throw new InvalidArgumentError('Expected names between commas: http,dns.')
  return found
}
