/**
 * Mocha's `spec` reporter, which also appends `{passed, failed, skipped}` to the file that HOOKLINE_TALLY names, one
 * line a run: .ci/run adds the runs up.
 */
import { appendFileSync } from 'node:fs'
import Mocha from 'mocha'

export default class TallyReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options)
    const file = process.env.HOOKLINE_TALLY
    if (file === undefined) return
    runner.once('end', () => {
      const { passes, failures, pending } = runner.stats!
      appendFileSync(file, `${JSON.stringify({ passed: passes, failed: failures, skipped: pending })}\n`)
    })
  }
}
