/** `kfl`: the filter language. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'kfl',
  later: ['match', 'validate'],
}
