/**
 * Answers that depend on nothing but the question, kept for those who ask the same again: a client offers the same
 * lists all day, a server shows the same certificates.
 */

/** Longer questions are asked by nobody twice. */
const MAX_KEY = 4096
/** Questions that were asked once. Browsers ask another one each time: their answers are not worth keeping. */
const MAX_ONCE = 500

export class Memo<Value> {
  private readonly known = new Map<string, Value>()
  private readonly once = new Set<string>()
  private readonly most: number

  /** Strangers ask without end: what is kept is forgotten as a whole when it is `most`. */
  constructor(most: number) {
    this.most = most
  }

  get(key: string, make: () => Value): Value {
    if (key.length > MAX_KEY) return make()
    const found = this.known.get(key)
    if (found !== undefined) return found
    const value = make()
    if (this.once.delete(key)) {
      if (this.known.size >= this.most) this.known.clear()
      this.known.set(key, value)
    } else {
      if (this.once.size >= MAX_ONCE) this.once.clear()
      this.once.add(key)
    }
    return value
  }
}
