/**
 * Executable documents of GraphQL (October 2021, 2): whether a text is one, and what operations it has. Text that is
 * something else must not pass: whoever names a field `query` need not mean GraphQL.
 *
 *   query GetUser($id: ID!) @live { user(id: $id) { id ...Rest } }      fragment Rest on User { name }
 */

/** Longer texts are not read: a document has some kilobytes. */
const MAX_TEXT = 262_144
/** Selections within selections, and lists within lists: deeper ones would be a way to exhaust the stack. */
const MAX_DEPTH = 200

export interface Operation {
  type: OperationType
  /** null for an anonymous one. */
  name: string | null
}

export type OperationType = 'query' | 'mutation' | 'subscription'

const TYPES: ReadonlySet<string> = new Set(['query', 'mutation', 'subscription'])

/** In their order; null when the text is no executable document. */
export function operationsIn(text: string): Operation[] | null {
  return text.length > MAX_TEXT ? null : new Reader(text).document()
}

/** Recursive descent; each method says whether it found what it is named after, and stands behind it. */
class Reader {
  private readonly text: string
  private position = 0
  /** The token at hand: a punctuator, a word, `0` for a number, `"` for a string; empty at the end, a blank for what is no token. */
  private token = ''

  constructor(text: string) {
    this.text = text
    this.advance()
  }

  document(): Operation[] | null {
    const found: Operation[] = []
    while (this.token !== '') {
      // A description.
      if (this.token === '"') this.advance()
      if (!(this.token === 'fragment' ? this.fragment() : this.operation(found))) return null
    }
    return found.length === 0 ? null : found
  }

  private operation(found: Operation[]): boolean {
    if (this.token === '{') {
      found.push({ type: 'query', name: null })
      return this.selections(0)
    }
    const type = this.token
    if (!TYPES.has(type)) return false
    this.advance()
    const name = this.isName() ? this.token : null
    if (name !== null) this.advance()
    found.push({ type: type as OperationType, name })
    return this.variables() && this.directives() && this.selections(0)
  }

  private fragment(): boolean {
    this.advance()
    if (this.token === 'on' || !this.name()) return false
    return this.variables() && this.word('on') && this.name() && this.directives() && this.selections(0)
  }

  private selections(depth: number): boolean {
    if (depth > MAX_DEPTH || !this.word('{')) return false
    do if (!this.selection(depth)) return false
    while (this.token !== '}')
    this.advance()
    return true
  }

  private selection(depth: number): boolean {
    if (!this.word('...')) {
      if (!this.name() || (this.word(':') && !this.name()) || !this.parameters() || !this.directives()) return false
      return this.token === '{' ? this.selections(depth + 1) : true
    }
    if (this.isName() && this.token !== 'on') return this.name() && this.directives()
    if (this.word('on') && !this.name()) return false
    return this.directives() && this.selections(depth + 1)
  }

  private parameters(): boolean {
    if (!this.word('(')) return true
    do if (!(this.name() && this.word(':') && this.value(0))) return false
    while (this.token !== ')')
    this.advance()
    return true
  }

  private variables(): boolean {
    if (!this.word('(')) return true
    do {
      if (!(this.word('$') && this.name() && this.word(':') && this.type(0))) return false
      if ((this.word('=') && !this.value(0)) || !this.directives()) return false
    } while (this.token !== ')')
    this.advance()
    return true
  }

  private type(depth: number): boolean {
    if (depth > MAX_DEPTH) return false
    const isThere = this.word('[') ? this.type(depth + 1) && this.word(']') : this.name()
    this.word('!')
    return isThere
  }

  private directives(): boolean {
    while (this.word('@')) if (!(this.name() && this.parameters())) return false
    return true
  }

  private value(depth: number): boolean {
    if (depth > MAX_DEPTH) return false
    if (this.word('$')) return this.name()
    if (this.word('0') || this.word('"')) return true
    if (this.word('[')) {
      while (!this.word(']')) if (!this.value(depth + 1)) return false
      return true
    }
    if (!this.word('{')) return this.name()
    while (!this.word('}')) if (!(this.name() && this.word(':') && this.value(depth + 1))) return false
    return true
  }

  private name(): boolean {
    if (!this.isName()) return false
    this.advance()
    return true
  }

  private isName(): boolean {
    return isLetter(this.token.charCodeAt(0))
  }

  private word(token: string): boolean {
    if (this.token !== token) return false
    this.advance()
    return true
  }

  // ── tokens (2.1) ────────────────────────────────────────────────────────────────────────────────────────────────

  private advance(): void {
    this.skipIgnored()
    const { text, position: start } = this
    if (start >= text.length) {
      this.token = ''
      return
    }
    const char = text[start]!
    const code = char.charCodeAt(0)
    let p = start + 1
    if (isLetter(code)) {
      while (isLetter(text.charCodeAt(p)) || isDigit(text.charCodeAt(p))) p++
      this.token = text.slice(start, p)
    } else if (PUNCTUATORS.includes(char)) this.token = char
    else if (text.startsWith('...', start)) {
      p = start + 3
      this.token = '...'
    } else if (char === '"') {
      p = this.stringEnd(start)
      this.token = p < 0 ? ' ' : '"'
    } else {
      NUMBER.lastIndex = start
      const number = NUMBER.exec(text)
      this.token = number === null ? ' ' : '0'
      if (number !== null) p = start + number[0].length
    }
    this.position = this.token === ' ' ? text.length : p
  }

  /** White space, commas, comments. */
  private skipIgnored(): void {
    const { text } = this
    let p = this.position
    for (;;) {
      const code = text.charCodeAt(p)
      if (code === 35) while (p < text.length && text.charCodeAt(p) !== 10 && text.charCodeAt(p) !== 13) p++
      else if (code === 32 || code === 44 || code === 10 || code === 13 || code === 9 || code === 0xfeff) p++
      else break
    }
    this.position = p
  }

  /** -1: it does not end. */
  private stringEnd(start: number): number {
    const { text } = this
    if (text.startsWith('"""', start)) {
      let end = text.indexOf('"""', start + 3)
      while (end > 0 && text[end - 1] === '\\') end = text.indexOf('"""', end + 3)
      return end < 0 ? -1 : end + 3
    }
    for (let p = start + 1; p < text.length; p++) {
      const code = text.charCodeAt(p)
      if (code === 34) return p + 1
      if (code === 10 || code === 13) return -1
      if (code === 92) p++
    }
    return -1
  }
}

const PUNCTUATORS = '!$&():=@[]{|}'
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y

function isLetter(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}
