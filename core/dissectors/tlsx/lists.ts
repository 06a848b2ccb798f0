/** Lists of numbers that have names, as hellos have them: a client sends the same ones all day. */
import type { Cursor } from '../../cursor.ts'
import { constant, type JsonWriter } from '../../json-writer.ts'
import { cipherSuiteName } from './cipher-suites.ts'
import { extensionName, groupName, signatureName } from './codes.ts'
import { Listing } from './fingerprints.ts'
import { Memo } from './memo.ts'

export class Named extends Listing {
  readonly names: readonly string[]
  /** As JSON; names need no escape. */
  readonly text: Uint8Array
  constructor(codes: readonly number[], name: (code: number) => string) {
    super(codes)
    this.names = named(codes, name)
    this.text = constant(codes.length === 0 ? '[]' : `["${this.names.join('","')}"]`)
  }
}

export function names(out: JsonWriter, { text }: Named): void {
  out.raw(text)
}

/** Entries of a list that are shown; only a fuzzer offers more. */
export const MAX_LISTED = 256
/** Of programs and their settings there are some hundreds. */
const MAX_REMEMBERED = 1000

/** Lists of one kind. */
class Lists {
  readonly none: Named
  private readonly remembered = new Memo<Named>(MAX_REMEMBERED)
  private readonly name: (code: number) => string

  constructor(name: (code: number) => string) {
    this.name = name
    this.none = new Named([], name)
  }

  /** Of `length` bytes at the cursor, two for each number. */
  read(at: Cursor, length: number): Named {
    const { position } = at
    return this.remembered.get(at.latin1(length), () => {
      at.position = position
      return new Named(readNumbers(at.within(length), 2), this.name)
    })
  }
}

export const SUITES = new Lists(cipherSuiteName)
export const GROUPS = new Lists(groupName)
export const SIGNATURES = new Lists(signatureName)

/** Those of browsers are in another order each time. */
export function extensionsOf(types: readonly number[]): Named {
  return types.length === 0 ? NO_EXTENSIONS : new Named(types, extensionName)
}

export const NO_EXTENSIONS = new Named([], extensionName)

export function readNumbers(list: Cursor, size: 1 | 2 | 3): number[] {
  const numbers: number[] = []
  while (list.remaining > 0) numbers.push(size === 2 ? list.u16() : size === 1 ? list.u8() : list.u24())
  return numbers
}

export function named(codes: readonly number[], name: (code: number) => string): string[] {
  const names: string[] = []
  for (let i = 0; i < codes.length && i < MAX_LISTED; i++) names.push(name(codes[i]!))
  return names
}
