/** `jobs`: work that runs by the clock. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'jobs',
  later: [
    'schedule',
    'remove',
    'removeAll',
    'list',
    'run',
    'runAll',
    'scheduler.isRunning',
    'scheduler.start',
    'scheduler.stop',
  ],
}
