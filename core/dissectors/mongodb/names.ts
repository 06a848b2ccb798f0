/** Names that are looked for among thousands of others: compared as bytes, because a string for each would cost more. */

export class Names<Name extends string> {
  private readonly byLength: readonly (readonly Known<Name>[])[]

  constructor(names: readonly Name[]) {
    const longest = Math.max(...names.map(name => name.length))
    this.byLength = Array.from({ length: longest + 1 }, (_, length) =>
      names.filter(name => name.length === length).map(name => ({ name, bytes: Buffer.from(name) })),
    )
  }

  /** The one that stands at `start` to `end`; null: none of them. */
  find(bytes: Uint8Array, start: number, end: number): Name | null {
    const known = this.byLength[end - start]
    if (known === undefined) return null
    for (const one of known) if (isSame(one.bytes, bytes, start)) return one.name
    return null
  }
}

interface Known<Name> {
  name: Name
  bytes: Uint8Array
}

function isSame(known: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false
  return true
}
