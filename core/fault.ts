/** An error that a person can mend: settings, files, arguments. The message says what was expected and what was found. */
export class Fault extends Error {
  /** Stable and greppable: `CAPTURE_NOT_FOUND`. */
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.name = 'Fault'
    this.code = code
  }
}
