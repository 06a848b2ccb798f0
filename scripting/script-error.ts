/** What went wrong in a script, for the person who wrote it. */

export class ScriptError extends Error {
  readonly title: string
  readonly file: string
  /** The hook, or `load`. */
  readonly hook: string
  readonly kind: ScriptFailure
  /** From 1; null where unknown. */
  readonly line: number | null
  readonly column: number | null
  override readonly cause: string
  /** The script is no longer called. */
  readonly setApart: boolean

  constructor(script: { title: string; file: string }, found: Failure) {
    const place = `${script.file}${found.line === null ? '' : `:${found.line}`}${found.column === null ? '' : `:${found.column}`}`
    const end = found.setApart ? '; the script is set apart' : ''
    super(`${script.title}: ${place}: ${found.hook}: ${found.cause}${end}`)
    this.name = 'ScriptError'
    this.title = script.title
    this.file = script.file
    this.hook = found.hook
    this.kind = found.kind
    this.line = found.line
    this.column = found.column
    this.cause = found.cause
    this.setApart = found.setApart
  }
}

/** exception, rejection: thrown by the script; time, memory: a limit; crash: it took the sandbox process with it. */
export type ScriptFailure = 'exception' | 'rejection' | 'time' | 'memory' | 'crash'

export interface Failure {
  hook: string
  kind: ScriptFailure
  cause: string
  line: number | null
  column: number | null
  setApart: boolean
}
