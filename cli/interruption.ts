/** Ctrl-C: the first asks for an orderly end, the second ends at once. SIGTERM alike. */
import { EXIT } from './exit.ts'

export class Interruption {
  /** The exit code that the signal asks for; null while there was none. */
  code: number | null = null
  /** Resolves with the first signal. */
  readonly requested: Promise<void>
  private readonly resolve: () => void
  private readonly onInterrupt = () => this.take(EXIT.interrupted)
  private readonly onTerminate = () => this.take(EXIT.terminated)

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.requested = promise
    this.resolve = resolve
    process.on('SIGINT', this.onInterrupt)
    process.on('SIGTERM', this.onTerminate)
  }

  /** Signals are the system's again. */
  release(): void {
    process.off('SIGINT', this.onInterrupt)
    process.off('SIGTERM', this.onTerminate)
  }

  private take(code: number): void {
    if (this.code !== null) process.exit(code)
    this.code = code
    this.resolve()
  }
}
